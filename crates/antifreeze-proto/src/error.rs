//! Whose fault it was: the peer's, our caller's, or the world's.

use std::borrow::Cow;
use std::io;

use crate::io::{RequestId, StateName};
use crate::message::{Kind, Seq, SerializerId};
use crate::timer::Timer;

/// The peer's bytes do not follow the Pyro protocol; always ends the connection.
///
/// Not here: our own caller's mistakes ([`UsageError`]) and a failing socket
/// ([`CloseCause::Failed`]).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes do not start with `PYRO`.
    #[error("expected a pyro message, got something else")]
    NotPyro,
    /// The peer speaks another version of the wire protocol.
    #[error("expected protocol version {expected}, got {got}")]
    UnsupportedVersion {
        /// The version in the header.
        got: u16,
        /// Our version.
        expected: u16,
    },
    /// The header does not end with the magic number.
    #[error("expected magic number 0x4dc5 at the end of the header, got {got:#06x}")]
    WrongMagic {
        /// The number that stood there.
        got: u16,
    },
    /// No message has this type.
    #[error("expected message type 1 to 6, got {got}")]
    UnknownKind {
        /// The type in the header.
        got: u8,
    },
    /// Payload and annotations together exceed the limit; found from the header alone.
    #[error("expected a message of at most {limit} bytes, got one of {size} bytes")]
    TooLarge {
        /// What the header announced.
        size: u64,
        /// The configured limit.
        limit: u64,
    },
    /// The annotations exceed the limit; found from the header alone.
    #[error("expected at most {limit} bytes of annotations, got {size} bytes")]
    AnnotationsTooLarge {
        /// What the header announced.
        size: u64,
        /// The configured limit.
        limit: u64,
    },
    /// A message has more annotations than it may.
    #[error("expected at most {limit} annotations, got {got}")]
    TooManyAnnotations {
        /// How many came.
        got: usize,
        /// [`MAX_ANNOTATIONS`](crate::annotations::MAX_ANNOTATIONS).
        limit: usize,
    },
    /// An annotation is longer than what is left of them all.
    #[error("expected an annotation of at most {left} bytes, got one of {need} bytes")]
    AnnotationCut {
        /// What the annotation needs.
        need: u64,
        /// What there is.
        left: u64,
    },
    /// The id of an annotation is not ASCII.
    #[error("expected four ascii characters as annotation id, got others")]
    AnnotationNotAscii,
    /// The payload is marked as compressed and is no zlib stream, or only part of one.
    #[error("expected a whole zlib stream of {size} bytes, got a corrupt or cut one")]
    BadCompression {
        /// How long the payload was.
        size: u64,
    },
    /// The payload inflates to more than the limit.
    #[error("expected a payload that inflates to at most {limit} bytes, got a larger one")]
    InflatesTooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// A well-formed message that this state does not allow.
    #[error("expected {expected} while {state}, got {got}")]
    Unexpected {
        /// What came.
        got: Kind,
        /// What may come.
        expected: &'static str,
        /// Where the connection was.
        state: StateName,
    },
    /// A reply to some other call than the one that is out.
    #[error("expected a reply with sequence number {expected}, got {got}")]
    WrongSequence {
        /// The number of our call.
        expected: Seq,
        /// The number in the reply.
        got: Seq,
    },
    /// A call with the sequence number of one that is not answered yet.
    #[error("expected a new sequence number, got {got}, which is in use")]
    RepeatedSequence {
        /// The number of both calls.
        got: Seq,
    },
    /// More calls at once than were agreed on.
    #[error("expected at most {limit} unanswered calls, got one more")]
    TooManyCalls {
        /// What was agreed on.
        limit: usize,
    },
    /// A reply by another serializer than that of the call.
    #[error("expected a reply by serializer {expected}, got one by {got}")]
    WrongSerializer {
        /// The serializer of our call.
        expected: SerializerId,
        /// The serializer of the reply.
        got: SerializerId,
    },
}

/// Our own caller asked for something that cannot be; the connection is as it was before.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The connection is closed.
    #[error("connection is closed: {0}")]
    Closed(CloseCause),
    /// This state does not allow it.
    #[error("cannot {what} while {state}")]
    WrongState {
        /// What was asked for.
        what: &'static str,
        /// Where the connection is.
        state: StateName,
    },
    /// As many calls are out as the connection may have.
    #[error("expected at most {limit} unanswered calls")]
    Busy {
        /// The configured limit.
        limit: usize,
    },
    /// More bytes wait to be written than the connection may hold back.
    #[error("expected at most {limit} bytes to wait to be written, {pending} do")]
    QueueFull {
        /// What waits.
        pending: u64,
        /// The configured limit.
        limit: u64,
    },
    /// No such call waits for a reply.
    #[error("request {0} waits for no reply")]
    UnknownRequest(RequestId),
    /// The message exceeds the limit, so nothing of it was sent.
    #[error("expected a message of at most {limit} bytes, got one of {size} bytes")]
    TooLarge {
        /// How large it would have been.
        size: u64,
        /// The configured limit.
        limit: u64,
    },
    /// The annotations exceed the limit, so nothing of the message was sent.
    #[error("expected at most {limit} bytes of annotations, got {size} bytes")]
    AnnotationsTooLarge {
        /// How large they would have been.
        size: u64,
        /// The configured limit.
        limit: u64,
    },
    /// There are more annotations than a message may have, so nothing of it was sent.
    #[error("expected at most {limit} annotations, got {got}")]
    TooManyAnnotations {
        /// How many there are.
        got: usize,
        /// [`MAX_ANNOTATIONS`](crate::annotations::MAX_ANNOTATIONS).
        limit: usize,
    },
    /// Not an id for an annotation.
    #[error("expected an annotation id of four ascii characters, got {got:?}")]
    AnnotationId {
        /// What was given.
        got: Box<str>,
    },
}

/// Why a connection ended; a closed connection says the same every time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer closed between two messages.
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer closed in the middle of a message.
    #[error("closed by the peer after {got} bytes of a message{}", expected_bytes(*.expected))]
    Truncated {
        /// How many bytes of the message came.
        got: u64,
        /// How many it has, if that many came that we know.
        expected: Option<u64>,
    },
    /// The handshake ended with a refusal.
    #[error("connection refused in the handshake")]
    Refused,
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(ProtocolError),
    /// Somebody took too long.
    #[error("timed out: {0}")]
    TimedOut(Timer),
    /// Reading or writing failed.
    #[error("connection failed: {0}")]
    Failed(io::ErrorKind),
    /// Drained: no call is out any more.
    #[error("closed after the last call")]
    Drained,
    /// Our own side closed it, for this reason.
    #[error("closed by us: {0}")]
    Local(Cow<'static, str>),
}

impl CloseCause {
    /// Our own reason to close.
    pub fn local(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Local(why.into())
    }
}

impl From<ProtocolError> for CloseCause {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

fn expected_bytes(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |bytes| format!(", expected {bytes}"))
}
