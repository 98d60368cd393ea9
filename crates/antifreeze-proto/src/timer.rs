//! Which timers exist, and which of them run.

use std::fmt;

/// What a connection waits for no longer than some time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Timer {
    /// The peer's part of the handshake.
    Handshake,
    /// A request, between two of them.
    Idle,
    /// The next byte of a message.
    Stall,
    /// The peer taking a byte of what waits for it.
    Write,
    /// The answer to our call.
    Reply,
    /// The last calls of a connection that drains.
    Drain,
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "expected the handshake, it did not come",
            Self::Idle => "expected a request, none came",
            Self::Stall => "expected the rest of a message, no byte came",
            Self::Write => "expected the peer to read, it took no byte",
            Self::Reply => "expected the reply before the deadline, it did not come",
            Self::Drain => "expected the last calls to end, they did not",
        })
    }
}
