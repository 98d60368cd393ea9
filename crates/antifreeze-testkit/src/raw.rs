//! Messages byte by byte, written apart from the core so that the two check each other.

use antifreeze_proto::{CorrelationId, Flags, Kind, SerializerId};

const HEADER_BYTES: usize = 40;

/// A message as it stands on the wire; every field may lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawMessage {
    /// The first four bytes.
    pub tag: [u8; 4],
    /// The protocol version.
    pub version: u16,
    /// The message type.
    pub kind: u8,
    /// The serializer id.
    pub serializer: u8,
    /// The flags.
    pub flags: u16,
    /// The sequence number.
    pub seq: u16,
    /// The field of the correlation id.
    pub correlation: [u8; 16],
    /// The reserved field.
    pub reserved: u16,
    /// The magic number.
    pub magic: u16,
    /// The annotations with their chunk headers.
    pub annotations: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// What the header says of the payload's length, if not the truth.
    pub claimed_payload: Option<u32>,
    /// What the header says of the annotations' length, if not the truth.
    pub claimed_annotations: Option<u32>,
}

impl RawMessage {
    /// A message of this kind by serpent, with no flags and sequence number 0.
    pub fn new(kind: Kind, payload: impl AsRef<[u8]>) -> Self {
        Self {
            tag: *b"PYRO",
            version: 502,
            kind: kind.as_u8(),
            serializer: SerializerId::SERPENT.0,
            flags: 0,
            seq: 0,
            correlation: [0; 16],
            reserved: 0,
            magic: 0x4dc5,
            annotations: Vec::new(),
            payload: payload.as_ref().to_vec(),
            claimed_payload: None,
            claimed_annotations: None,
        }
    }

    /// The CONNECT of a stock Python client with serpent, for this object.
    pub fn connect(object: &str) -> Self {
        let payload =
            format!("# serpent utf-8 python3.2\n{{'handshake':'hello','object':'{object}'}}");
        Self::new(Kind::Connect, payload)
    }

    /// An INVOKE with this payload.
    pub fn invoke(seq: u16, payload: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Invoke, payload).seq(seq)
    }

    /// An INVOKE of a method without arguments, in serpent.
    pub fn invoke_method(seq: u16, object: &str, method: &str) -> Self {
        Self::invoke(
            seq,
            format!("# serpent utf-8 python3.2\n('{object}','{method}',(),{{}})"),
        )
    }

    /// The RESULT to the call with this sequence number.
    pub fn result(seq: u16, payload: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Result, payload).seq(seq)
    }

    /// A PING as a Python client sends it.
    pub fn ping() -> Self {
        Self::new(Kind::Ping, "ping").serializer(SerializerId(42))
    }

    /// Sets the sequence number.
    #[must_use]
    pub fn seq(mut self, seq: u16) -> Self {
        self.seq = seq;
        self
    }

    /// Sets the serializer.
    #[must_use]
    pub fn serializer(mut self, serializer: SerializerId) -> Self {
        self.serializer = serializer.0;
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags |= flags.0;
        self
    }

    /// Sets the correlation id and its flag.
    #[must_use]
    pub fn correlation(mut self, id: CorrelationId) -> Self {
        self.correlation = id.0;
        self.flags(Flags::CORRELATION)
    }

    /// Adds an annotation, whatever its id.
    #[must_use]
    pub fn annotation(mut self, id: &[u8; 4], value: &[u8]) -> Self {
        self.annotations.extend_from_slice(id);
        self.annotations
            .extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.annotations.extend_from_slice(value);
        self
    }

    /// Adds the AFNH of an Antifreeze peer that takes so many calls at once.
    #[must_use]
    pub fn hello(self, nonce: [u8; 16], calls: u16) -> Self {
        let node = 7_u64.to_be_bytes();
        let capabilities = 1_u32.to_be_bytes();
        let [high, low] = calls.to_be_bytes();
        let parts = [
            &[1, 0, 0, 0][..],
            &node,
            &nonce,
            &capabilities,
            &[6, 0, 2, high, low],
        ];
        self.annotation(b"AFNH", &parts.concat())
    }

    /// Adds the AFCK of a caller that has so much time left.
    #[must_use]
    pub fn millis_left(self, millis: u32) -> Self {
        let mut bytes = [0; 63];
        bytes[0] = 1;
        bytes[56..59].copy_from_slice(&[5, 0, 4]);
        bytes[59..].copy_from_slice(&millis.to_be_bytes());
        self.annotation(b"AFCK", &bytes)
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.claimed_payload.unwrap_or(self.payload.len() as u32);
        let annotations = self
            .claimed_annotations
            .unwrap_or(self.annotations.len() as u32);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.tag);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&[self.kind, self.serializer]);
        bytes.extend_from_slice(&self.flags.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&payload.to_be_bytes());
        bytes.extend_from_slice(&annotations.to_be_bytes());
        bytes.extend_from_slice(&self.correlation);
        bytes.extend_from_slice(&self.reserved.to_be_bytes());
        bytes.extend_from_slice(&self.magic.to_be_bytes());
        bytes.extend_from_slice(&self.annotations);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// How long the message is whose first 40 bytes these are, or `None` if there are fewer.
    pub fn length(bytes: &[u8]) -> Option<usize> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        Some(HEADER_BYTES + u32_at(12) as usize + u32_at(16) as usize)
    }

    /// The message at the front of `bytes` and its length, or `None` if not all of it is here.
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = Self::length(bytes)?;
        if bytes.len() < length {
            return None;
        }
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let annotations = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let message = Self {
            tag: bytes[0..4].try_into().unwrap(),
            version: u16_at(4),
            kind: bytes[6],
            serializer: bytes[7],
            flags: u16_at(8),
            seq: u16_at(10),
            correlation: bytes[20..36].try_into().unwrap(),
            reserved: u16_at(36),
            magic: u16_at(38),
            annotations: bytes[HEADER_BYTES..HEADER_BYTES + annotations].to_vec(),
            payload: bytes[HEADER_BYTES + annotations..length].to_vec(),
            claimed_payload: None,
            claimed_annotations: None,
        };
        Some((message, length))
    }

    /// All messages in `bytes`.
    ///
    /// # Panics
    ///
    /// If something is left that is no whole message.
    pub fn decode_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let (message, length) = Self::decode(bytes).expect("only whole messages");
            messages.push(message);
            bytes = &bytes[length..];
        }
        messages
    }

    /// The kind, if there is such a one.
    pub fn known_kind(&self) -> Option<Kind> {
        Kind::from_u8(self.kind)
    }
}

/// A text as marshal writes a short ASCII string.
pub fn marshal_text(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xfa, u8::try_from(text.len()).expect("a short text")];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The text in a short ASCII string of marshal, or `None` if it is something else.
pub fn unmarshal_text(bytes: &[u8]) -> Option<&str> {
    match bytes {
        [0xfa, length, text @ ..] if usize::from(*length) == text.len() => {
            std::str::from_utf8(text).ok()
        }
        _ => None,
    }
}
