//! The two doors: what the driver tells a connection, and what the connection tells the driver.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::time::Time;

/// What happened in the world.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// This many bytes were read into the start of the buffer that the core lent last.
    Read(usize),
    /// The peer sends nothing more.
    Eof,
    /// The socket took this many bytes of what the core lent.
    ///
    /// `Wrote(0)` says that it takes nothing now: [`Output::Transmit`] is not repeated until a
    /// later `Wrote` of more, which the driver tries when the socket is writable again.
    Wrote(usize),
    /// Reading or writing failed for good.
    ///
    /// When writing failed, the driver reads what has come before it says so: it may hold the
    /// answer, or the peer's reason.
    Failed(io::ErrorKind),
    /// Time has passed. The driver reads what has come before it says so.
    Tick,
    /// The machine slept that long: every running timer is given [`grace`](crate::Limits::grace).
    ///
    /// To be said before the first [`Input::Tick`] after the sleep.
    Resumed(Duration),
}

/// What the driver shall do next.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Output<E> {
    /// Write what `transmit` lends and answer with [`Input::Wrote`] or [`Input::Failed`].
    Transmit,
    /// Something happened.
    Event(E),
    /// Nothing to do until the next input, or until this time, which is an [`Input::Tick`].
    Wait(Option<Time>),
}

/// Names one call on one connection; never used twice on the same connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The number behind the id; the first call of a connection has number 1.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a connection is in its life, without what belongs to the state.
///
/// The diagrams are with [`ServerConnection`](crate::ServerConnection) and
/// [`ClientConnection`](crate::ClientConnection).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StateName {
    /// CONNECT is on its way, or its answer.
    Handshaking,
    /// Server: CONNECT was given out and waits for `accept` or `refuse`.
    Deciding,
    /// Server: accepted, and nothing is going on.
    Idle,
    /// Server: part of a message is here.
    Receiving,
    /// Server: at least one call is unanswered.
    Serving,
    /// Server: the peer sends nothing more, and waits for its last answers.
    HalfClosed,
    /// Client: accepted, and no call is out.
    Ready,
    /// Client: at least one call is out.
    Awaiting,
    /// No new calls; those that are out are finished.
    Draining,
    /// The last bytes are being written.
    Flushing,
    /// Nothing more happens.
    Closed,
}

impl StateName {
    /// The name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshaking => "handshaking",
            Self::Deciding => "deciding",
            Self::Idle => "idle",
            Self::Receiving => "receiving",
            Self::Serving => "serving",
            Self::HalfClosed => "half-closed",
            Self::Ready => "ready",
            Self::Awaiting => "awaiting",
            Self::Draining => "draining",
            Self::Flushing => "flushing",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
