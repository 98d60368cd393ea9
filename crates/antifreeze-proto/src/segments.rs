//! A payload on its way out: one piece mostly, several where that saves a copy.

use bytes::{Bytes, BytesMut};

use crate::compress;

/// The bytes of a payload in one or more pieces, which are sent one after the other uncopied.
///
/// One piece costs no allocation: `Segments::from(bytes)`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Segments {
    first: Bytes,
    rest: Vec<Bytes>,
    deflated: bool,
}

impl Segments {
    /// No bytes.
    pub const fn new() -> Self {
        Self {
            first: Bytes::new(),
            rest: Vec::new(),
            deflated: false,
        }
    }

    /// Adds a piece at the end.
    ///
    /// # Panics
    ///
    /// If it [was deflated](Self::deflate): nothing can follow the end of a zlib stream.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        assert!(!self.deflated, "nothing is added to what is deflated");
        let piece = piece.into();
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.rest.push(piece);
        }
    }

    /// The pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Compresses it, unless it has 100 bytes or less.
    ///
    /// A connection does that itself with what is not [deflated](Self::is_deflated), if it
    /// [is to](crate::Config::compress). Whoever must not be kept waiting has it done before, by somebody
    /// else: it takes one to three seconds for a hundred megabytes.
    pub fn deflate(&mut self) {
        if !self.deflated && self.len() > compress::THRESHOLD_BYTES {
            *self = Self {
                first: compress::deflate(self),
                rest: Vec::new(),
                deflated: true,
            };
        }
    }

    /// Whether it is compressed.
    pub const fn is_deflated(&self) -> bool {
        self.deflated
    }

    /// How many bytes all pieces have.
    pub fn len(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one piece, copied only if there are several.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        for piece in self.iter() {
            bytes.extend_from_slice(piece);
        }
        bytes.freeze()
    }
}

impl<B: Into<Bytes>> From<B> for Segments {
    fn from(piece: B) -> Self {
        Self {
            first: piece.into(),
            rest: Vec::new(),
            deflated: false,
        }
    }
}

impl<B: Into<Bytes>> FromIterator<B> for Segments {
    fn from_iter<I: IntoIterator<Item = B>>(pieces: I) -> Self {
        let mut segments = Self::new();
        for piece in pieces {
            segments.push(piece);
        }
        segments
    }
}
