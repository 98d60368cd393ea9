//! Four-letter chunks between the header and the payload: parse and write.

use std::fmt;
use std::str::FromStr;
use std::vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{ProtocolError, UsageError};

/// How many bytes stand before the value of each annotation.
pub(crate) const CHUNK_HEADER_BYTES: usize = 8;

/// How many annotations a message that comes in may have, those of the same id counted each.
///
/// Pyro knows no limit, but its peers send a handful, and to tell many apart takes time.
pub const MAX_ANNOTATIONS: usize = 1_000;

/// The name of an annotation: four ASCII characters.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AnnotationId([u8; 4]);

impl AnnotationId {
    /// The id with these four characters, or `None` if one is not ASCII.
    pub const fn new(id: [u8; 4]) -> Option<Self> {
        if id.is_ascii() { Some(Self(id)) } else { None }
    }

    /// The id with these four characters, for ids that the program itself knows.
    ///
    /// # Panics
    ///
    /// If a character is not ASCII; at compile time where the id is a constant.
    pub const fn known(id: &[u8; 4]) -> Self {
        match Self::new(*id) {
            Some(id) => id,
            None => panic!("an annotation id has four ascii characters"),
        }
    }

    /// The four characters.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// The four characters as text.
    pub fn as_str(&self) -> &str {
        // Always ASCII, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for AnnotationId {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        <[u8; 4]>::try_from(text.as_bytes())
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| UsageError::AnnotationId { got: text.into() })
    }
}

impl fmt::Display for AnnotationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AnnotationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The annotations of a message: a small map that keeps the order of insertion.
///
/// An empty one has allocated nothing.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Annotations {
    chunks: Vec<(AnnotationId, Bytes)>,
}

impl Annotations {
    /// No annotations.
    pub const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Sets `id` to `value` and returns what it was before.
    pub fn insert(&mut self, id: AnnotationId, value: impl Into<Bytes>) -> Option<Bytes> {
        let value = value.into();
        match self.chunks.iter_mut().find(|(known, _)| *known == id) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.chunks.push((id, value));
                None
            }
        }
    }

    /// The value of `id`.
    pub fn get(&self, id: AnnotationId) -> Option<&Bytes> {
        self.chunks
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, value)| value)
    }

    /// Takes `id` out and returns its value.
    pub fn remove(&mut self, id: AnnotationId) -> Option<Bytes> {
        let at = self.chunks.iter().position(|(known, _)| *known == id)?;
        Some(self.chunks.remove(at).1)
    }

    /// All ids and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (AnnotationId, &Bytes)> {
        self.chunks.iter().map(|(id, value)| (*id, value))
    }

    /// Keeps only what `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(AnnotationId, &Bytes) -> bool) {
        self.chunks.retain(|(id, value)| keep(*id, value));
    }

    /// How many annotations there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many bytes they take on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|(_, value)| (CHUNK_HEADER_BYTES + value.len()) as u64)
            .sum()
    }

    /// Reads annotations; of those with the same id the last one stays.
    ///
    /// # Errors
    ///
    /// A chunk is longer than what is left, an id is not ASCII, or there are more than
    /// [`MAX_ANNOTATIONS`].
    pub fn decode(bytes: Bytes) -> Result<Self, ProtocolError> {
        let mut annotations = Self::new();
        read(bytes, |id, value| drop(annotations.insert(id, value)))?;
        Ok(annotations)
    }

    /// The same, with the value of one of them apart from the others.
    pub(crate) fn decode_apart(
        bytes: Bytes,
        which: AnnotationId,
    ) -> Result<(Self, Option<Bytes>), ProtocolError> {
        let (mut others, mut apart) = (Self::new(), None);
        read(bytes, |id, value| {
            if id == which {
                apart = Some(value);
            } else {
                others.insert(id, value);
            }
        })?;
        Ok((others, apart))
    }

    /// Their bytes on the wire after those of `first`, in one piece.
    ///
    /// The caller has checked that [`Annotations::wire_bytes`] fits the header's field.
    pub(crate) fn encode_after(&self, first: Bytes) -> Bytes {
        if self.is_empty() {
            return first;
        }
        let mut bytes = BytesMut::with_capacity(first.len() + self.wire_bytes() as usize);
        bytes.put_slice(&first);
        for (id, value) in &self.chunks {
            bytes.put_slice(&id.0);
            bytes.put_u32(value.len() as u32);
            bytes.put_slice(value);
        }
        bytes.freeze()
    }
}

/// Reads chunk after chunk.
fn read(mut bytes: Bytes, mut each: impl FnMut(AnnotationId, Bytes)) -> Result<(), ProtocolError> {
    let mut count = 0;
    while !bytes.is_empty() {
        let Some((head, _)) = bytes.split_first_chunk::<CHUNK_HEADER_BYTES>() else {
            return Err(ProtocolError::AnnotationCut {
                need: CHUNK_HEADER_BYTES as u64,
                left: bytes.len() as u64,
            });
        };
        let [a, b, c, d, length @ ..] = *head;
        let id = AnnotationId::new([a, b, c, d]).ok_or(ProtocolError::AnnotationNotAscii)?;
        let need = u32::from_be_bytes(length);
        let left = bytes.len() - CHUNK_HEADER_BYTES;
        let length = usize::try_from(need).unwrap_or(usize::MAX);
        if length > left {
            return Err(ProtocolError::AnnotationCut {
                need: u64::from(need),
                left: left as u64,
            });
        }
        bytes.advance(CHUNK_HEADER_BYTES);
        count += 1;
        if count <= MAX_ANNOTATIONS {
            each(id, bytes.split_to(length));
        } else {
            // Only counted, for the error to tell.
            bytes.advance(length);
        }
    }
    if count > MAX_ANNOTATIONS {
        return Err(ProtocolError::TooManyAnnotations {
            got: count,
            limit: MAX_ANNOTATIONS,
        });
    }
    Ok(())
}

impl fmt::Debug for Annotations {
    /// Names the ids and sizes; values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(id, value)| (id, format_args!("{} bytes", value.len()).to_string())),
            )
            .finish()
    }
}

impl IntoIterator for Annotations {
    type Item = (AnnotationId, Bytes);
    type IntoIter = vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter()
    }
}

impl FromIterator<(AnnotationId, Bytes)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (AnnotationId, Bytes)>>(chunks: I) -> Self {
        let mut annotations = Self::new();
        annotations.extend(chunks);
        annotations
    }
}

impl Extend<(AnnotationId, Bytes)> for Annotations {
    fn extend<I: IntoIterator<Item = (AnnotationId, Bytes)>>(&mut self, chunks: I) {
        for (id, value) in chunks {
            self.insert(id, value);
        }
    }
}
