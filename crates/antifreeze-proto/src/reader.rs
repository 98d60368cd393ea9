//! Bytes to messages: in any pieces, limits checked before memory is taken.

use std::cell::Cell;
use std::mem;

use bytes::{Buf, Bytes, BytesMut};

use crate::annotations::Annotations;
use crate::chain::CHAIN;
use crate::compress;
use crate::config::{Limits, Memory};
use crate::error::{CloseCause, ProtocolError};
use crate::message::{Flags, HEADER_BYTES, Header, Kind, Message};

/// The first buffer of a connection, enough for most calls.
const SMALL_CHUNK_BYTES: usize = 4096;
/// The first buffer of a connection whose messages are larger.
const LARGE_CHUNK_BYTES: usize = 65_536;
/// What a header may make us allocate before any byte of its message is here.
const ADVANCE_BYTES: usize = 262_144;
/// How much larger the next buffer of a large message is than what has come of it. Nobody touches
/// the memory beyond that before it is needed, and a few steps copy less than many.
const GROWTH: usize = 8;
/// How much of a call is inflated before it is given out.
const AT_ONCE_BYTES: u64 = 65_536;
/// A read of less room than this is not worth its system call.
const ROOM_BYTES: usize = 512;

thread_local! {
    /// A small buffer in which nothing is, for whoever reads next: connections that are idle in turn
    /// need no new memory for each message.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// What has come in and is no message yet.
pub(crate) struct Reader {
    /// All of it is initialized; what was read is in front.
    buffer: BytesMut,
    /// In place of `buffer`, all that is here of a large message.
    large: Vec<u8>,
    /// How many bytes at the front of either were read.
    filled: usize,
    /// The header of the message at the front, once it is here and was found good.
    header: Option<Header>,
    /// How large the next buffer shall be.
    chunk: usize,
    /// The memory of `buffer` is a small one, for others too.
    is_small: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            large: Vec::new(),
            filled: 0,
            header: None,
            chunk: SMALL_CHUNK_BYTES,
            is_small: false,
        }
    }

    /// Lends room for the next read.
    pub(crate) fn lend(&mut self, memory: &Memory) -> &mut [u8] {
        let total = self.header.as_ref().map_or(0, total_bytes);
        let missing = total.saturating_sub(self.filled);
        if missing > self.chunk || !self.large.is_empty() {
            self.make_room_for(total, memory);
            // Not a byte of the next message: the payload shall own its memory alone.
            let end = self.large.len().min(total);
            return &mut self.large[self.filled..end];
        }
        // The rest of a message needs no more room than itself; what comes next may be anything.
        let least = if missing == 0 { ROOM_BYTES } else { missing };
        if self.buffer.is_empty() && self.chunk == SMALL_CHUNK_BYTES {
            // A thread that ends has none any more.
            self.buffer = SPARE.try_with(Cell::take).unwrap_or_default();
            self.is_small = true;
        }
        if self.buffer.len() - self.filled < least {
            let want = self.chunk.max(self.filled + least);
            self.is_small &= want == SMALL_CHUNK_BYTES;
            if self.buffer.capacity() == 0 {
                self.buffer = BytesMut::zeroed(want);
            } else {
                // Moves back to the start of the same memory if nobody holds a payload in it.
                self.buffer.reserve(want - self.buffer.len());
                self.buffer.resize(want, 0);
            }
        }
        &mut self.buffer[self.filled..]
    }

    /// Makes room for a large message as its bytes arrive: a constant first, then ever more.
    fn make_room_for(&mut self, total: usize, memory: &Memory) {
        let here = self.large.len();
        if here > self.filled && here >= total.min(ADVANCE_BYTES) {
            return;
        }
        let least = total.min(self.filled.saturating_mul(GROWTH).max(ADVANCE_BYTES));
        let mut larger = (memory.take)(least, total);
        let filled = match here {
            0 => &self.buffer[..self.filled],
            _ => &self.large[..self.filled],
        };
        larger[..self.filled].copy_from_slice(filled);
        self.buffer = BytesMut::new();
        // For others to use.
        drop((memory.share)(mem::replace(&mut self.large, larger), 0));
    }

    /// Takes note that `count` bytes were read into what was lent.
    pub(crate) fn commit(&mut self, count: usize) {
        // What was lent may have been dropped since, by a drain; then so is what was read.
        let here = self.buffer.len().max(self.large.len());
        self.filled = (self.filled + count).min(here);
    }

    /// How many bytes wait here.
    pub(crate) const fn buffered(&self) -> usize {
        self.filled
    }

    /// The end of the stream inside or outside of a message.
    pub(crate) fn cause_of_eof(&self) -> CloseCause {
        if self.filled == 0 {
            return CloseCause::PeerClosed;
        }
        let expected = self.header.as_ref().map(Header::message_bytes);
        CloseCause::Truncated {
            got: self.filled as u64,
            expected,
        }
    }

    /// Drops what has come in.
    pub(crate) fn clear(&mut self) {
        self.buffer = BytesMut::new();
        self.large = Vec::new();
        self.filled = 0;
        self.header = None;
    }

    /// Gives the buffer to others if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.filled == 0 {
            if self.is_small && !self.buffer.is_empty() {
                let _ = SPARE.try_with(|spare| spare.set(mem::take(&mut self.buffer)));
            }
            self.clear();
        }
    }

    /// The next message, if all of it is here.
    ///
    /// `allow` judges a header as soon as it is here, before memory is taken for the rest.
    pub(crate) fn next(
        &mut self,
        limits: &Limits,
        memory: &Memory,
        allow: impl FnOnce(&Header) -> Result<(), ProtocolError>,
    ) -> Result<Option<Message>, ProtocolError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let seen = &self.buffer[..self.filled];
                let Some(bytes) = seen.first_chunk::<HEADER_BYTES>() else {
                    Header::check_start(seen)?;
                    return Ok(None);
                };
                let header = Header::decode(bytes)?;
                allow(&header)?;
                check_size(&header, limits)?;
                self.header = Some(header);
                header
            }
        };
        let total = total_bytes(&header);
        if self.filled < total {
            return Ok(None);
        }
        self.header = None;
        let whole = self.cut(total, memory);
        assemble(header, whole, limits).map(Some)
    }

    /// Takes the first `total` bytes out.
    fn cut(&mut self, total: usize, memory: &Memory) -> Bytes {
        self.filled -= total;
        // Peers tend to repeat themselves: let one read fetch the next message of this size.
        self.chunk = if total > self.chunk {
            total.next_power_of_two().min(LARGE_CHUNK_BYTES)
        } else if total < self.chunk / 4 {
            (self.chunk / 2).max(SMALL_CHUNK_BYTES)
        } else {
            self.chunk
        };
        if !self.large.is_empty() {
            return (memory.share)(mem::take(&mut self.large), total);
        }
        if self.buffer.len() == total {
            return mem::take(&mut self.buffer).freeze();
        }
        let whole = self.buffer.split_to(total);
        if total > LARGE_CHUNK_BYTES {
            // A small rest must not keep the memory of a large message.
            self.buffer = BytesMut::from(&self.buffer[..self.filled]);
        }
        whole.freeze()
    }
}

/// Length of the message; checked against the limits, so it fits.
fn total_bytes(header: &Header) -> usize {
    usize::try_from(header.message_bytes()).unwrap_or(usize::MAX)
}

fn check_size(header: &Header, limits: &Limits) -> Result<(), ProtocolError> {
    let size = header.message_bytes() - HEADER_BYTES as u64;
    let limit = limits.message_bytes.min(usize::MAX as u64 / 4);
    if size > limit {
        return Err(ProtocolError::TooLarge { size, limit });
    }
    let size = u64::from(header.annotations_bytes);
    let limit = limits.annotations_bytes;
    if size > limit {
        return Err(ProtocolError::AnnotationsTooLarge { size, limit });
    }
    Ok(())
}

fn assemble(header: Header, mut payload: Bytes, limits: &Limits) -> Result<Message, ProtocolError> {
    payload.advance(HEADER_BYTES);
    let (mut annotations, mut chain) = (Annotations::new(), None);
    if header.annotations_bytes != 0 {
        let all = payload.split_to(header.annotations_bytes as usize);
        (annotations, chain) = Annotations::decode_apart(all, CHAIN)?;
    }
    let mut compressed = header.flags.contains(Flags::COMPRESSED);
    if compressed {
        let limit = limits.inflated_bytes;
        let most = match header.kind {
            // Nobody reads it.
            Kind::Ping => 0,
            // A larger one waits for somebody who has the time.
            Kind::Invoke => AT_ONCE_BYTES.min(limit),
            _ => limit,
        };
        match compress::inflate(&payload, most) {
            Ok(inflated) => (payload, compressed) = (inflated, false),
            Err(ProtocolError::InflatesTooLarge { .. }) if most < limit => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Message {
        kind: header.kind,
        serializer: header.serializer,
        flags: header
            .flags
            .without(Flags::COMPRESSED)
            .with_if(Flags::COMPRESSED, compressed),
        seq: header.seq,
        correlation: header
            .flags
            .contains(Flags::CORRELATION)
            .then_some(header.correlation),
        annotations,
        chain,
        payload,
    })
}
