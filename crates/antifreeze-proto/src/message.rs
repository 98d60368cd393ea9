//! The 40-byte header as types, and the message that follows it.
//!
//! # Wire
//!
//! ```text
//! 0  tag "PYRO"      8  flags              16  annotations length   38  magic 0x4DC5
//! 4  version 502    10  sequence number    20  correlation id       40  annotations, then payload
//! 6  kind           12  payload length     36  reserved
//! 7  serializer id
//! ```
//!
//! All integers are big-endian.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

use bytes::Bytes;

use crate::annotations::Annotations;
use crate::chain::CHAIN;
use crate::error::ProtocolError;

/// The first four bytes of every message.
pub const TAG: [u8; 4] = *b"PYRO";
/// The version of the wire protocol that we speak.
pub const VERSION: u16 = 502;
/// The last two bytes of every header.
pub const MAGIC: u16 = 0x4dc5;
/// How many bytes a header has.
pub const HEADER_BYTES: usize = 40;

/// What a message is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A client asks to be let in.
    Connect = 1,
    /// The daemon lets the client in.
    ConnectOk = 2,
    /// The daemon does not let the client in.
    ConnectFail = 3,
    /// A call.
    Invoke = 4,
    /// The answer to a call.
    Result = 5,
    /// A sign of life, and the answer to one.
    Ping = 6,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::ConnectOk,
        Self::ConnectFail,
        Self::Invoke,
        Self::Result,
        Self::Ping,
    ];

    /// The kind with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Connect),
            2 => Some(Self::ConnectOk),
            3 => Some(Self::ConnectFail),
            4 => Some(Self::Invoke),
            5 => Some(Self::Result),
            6 => Some(Self::Ping),
            _ => None,
        }
    }

    /// The number of this kind on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnectOk => "CONNECTOK",
            Self::ConnectFail => "CONNECTFAIL",
            Self::Invoke => "INVOKE",
            Self::Result => "RESULT",
            Self::Ping => "PING",
        })
    }
}

/// The flags of a message, including bits that nobody has given a meaning.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self(0);
    /// The payload of a RESULT is an exception.
    pub const EXCEPTION: Self = Self(0x01);
    /// The payload is one zlib stream.
    pub const COMPRESSED: Self = Self(0x02);
    /// The INVOKE wants no RESULT.
    pub const ONEWAY: Self = Self(0x04);
    /// The payload is a batch of calls, or their results.
    pub const BATCH: Self = Self(0x08);
    /// The result is an iterator, whose items are fetched one by one.
    pub const ITEM_STREAM: Self = Self(0x10);
    /// The arguments are a blob that the daemon passes on unread.
    pub const KEEP_SERIALIZED: Self = Self(0x20);
    /// The correlation id in the header means something.
    pub const CORRELATION: Self = Self(0x40);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags and `other` if `yes`.
    #[must_use]
    pub const fn with_if(self, other: Self, yes: bool) -> Self {
        if yes { self.with(other) } else { self }
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}

impl BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = [
            "EXCEPTION",
            "COMPRESSED",
            "ONEWAY",
            "BATCH",
            "ITEM_STREAM",
            "KEEP_SERIALIZED",
            "CORRELATION",
        ];
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        let unnamed = self.0 & !0x7f;
        if unnamed != 0 || self.0 == 0 {
            write!(f, "{separator}{unnamed:#x}")?;
        }
        Ok(())
    }
}

/// The sequence number of a call, which its answer repeats.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Seq(pub u16);

impl Seq {
    /// The number after this one; zero follows the largest.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which serializer wrote a payload; the core only carries the number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SerializerId(pub u8);

impl SerializerId {
    /// Python literals, Pyro's default.
    pub const SERPENT: Self = Self(1);
    /// Python's own marshal format.
    pub const MARSHAL: Self = Self(2);
    /// JSON.
    pub const JSON: Self = Self(3);
    /// MessagePack.
    pub const MSGPACK: Self = Self(4);
}

impl fmt::Display for SerializerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that all calls made on behalf of one another share, across processes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct CorrelationId(pub [u8; 16]);

impl fmt::Display for CorrelationId {
    /// Writes the id as UUID text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The fixed part of a message, as it stands on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the message is for.
    pub kind: Kind,
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The flags, [`Flags::COMPRESSED`] and [`Flags::CORRELATION`] included.
    pub flags: Flags,
    /// The sequence number.
    pub seq: Seq,
    /// Length of the payload as transmitted.
    pub payload_bytes: u32,
    /// Length of all annotations with their chunk headers.
    pub annotations_bytes: u32,
    /// The field of the correlation id, whatever the flags say about it.
    pub correlation: CorrelationId,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&TAG);
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[6] = self.kind.as_u8();
        bytes[7] = self.serializer.0;
        bytes[8..10].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.payload_bytes.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.annotations_bytes.to_be_bytes());
        bytes[20..36].copy_from_slice(&self.correlation.0);
        bytes[38..40].copy_from_slice(&MAGIC.to_be_bytes());
        bytes
    }

    /// Reads a header; the reserved field may hold anything.
    ///
    /// # Errors
    ///
    /// The bytes are not the header of a message that we know.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ProtocolError> {
        Self::check_start(bytes)?;
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let magic = u16_at(38);
        if magic != MAGIC {
            return Err(ProtocolError::WrongMagic { got: magic });
        }
        let kind = Kind::from_u8(bytes[6]).ok_or(ProtocolError::UnknownKind { got: bytes[6] })?;
        let mut correlation = CorrelationId::default();
        correlation.0.copy_from_slice(&bytes[20..36]);
        Ok(Self {
            kind,
            serializer: SerializerId(bytes[7]),
            flags: Flags(u16_at(8)),
            seq: Seq(u16_at(10)),
            payload_bytes: u32_at(12),
            annotations_bytes: u32_at(16),
            correlation,
        })
    }

    /// Checks as much of tag and version as `bytes` has.
    ///
    /// # Errors
    ///
    /// No message of ours starts like this, whatever follows.
    pub fn check_start(bytes: &[u8]) -> Result<(), ProtocolError> {
        let known = bytes.len().min(TAG.len());
        if bytes[..known] != TAG[..known] {
            return Err(ProtocolError::NotPyro);
        }
        if let Some(&[high, low]) = bytes.get(4..6) {
            let got = u16::from_be_bytes([high, low]);
            if got != VERSION {
                return Err(ProtocolError::UnsupportedVersion {
                    got,
                    expected: VERSION,
                });
            }
        }
        Ok(())
    }

    /// Length of the whole message, this header included.
    pub const fn message_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.payload_bytes as u64 + self.annotations_bytes as u64
    }
}

/// A whole message as it came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// What the message is for.
    pub kind: Kind,
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The flags; [`Flags::COMPRESSED`] is among them if the payload is still to be inflated, as that of
    /// a call or a ping may be.
    pub flags: Flags,
    /// The sequence number.
    pub seq: Seq,
    /// The correlation id, if the flags say that there is one.
    pub correlation: Option<CorrelationId>,
    /// The annotations.
    pub annotations: Annotations,
    /// The one among them that tells of the chain of a call.
    pub chain: Option<Bytes>,
    /// The payload.
    pub payload: Bytes,
}

impl Message {
    /// What tells of a chain is an annotation like the others where there is no call.
    pub(crate) fn without_chain(mut self) -> Self {
        if let Some(chain) = self.chain.take() {
            self.annotations.insert(CHAIN, chain);
        }
        self
    }
}
