//! The end of a connection whose peer was refused.

use std::io;
use std::time::Duration;

use antifreeze_proto::{CloseCause, Time};

use crate::net::Socket;

/// How long a refused peer is listened to, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(1);
const ALLOWANCE: usize = 1 << 20;

/// A peer that was told why it must go, and has yet to read it.
///
/// Closing a socket in which bytes of the peer lie unread resets the connection, and a reset
/// destroys the refusal before the peer has read it. So we stop writing, and read on for a moment.
pub(crate) struct Farewell {
    until: Time,
    /// How many bytes the peer may still send.
    allowance: usize,
}

impl Farewell {
    /// Stops writing, if a connection that ends for this `cause` has to be listened to.
    pub(crate) fn begin(socket: &Socket, cause: &CloseCause, now: Time) -> Option<Self> {
        matches!(cause, CloseCause::Refused | CloseCause::Protocol(_)).then(|| {
            socket.shutdown_write();
            Self {
                until: now + PATIENCE,
                allowance: ALLOWANCE,
            }
        })
    }

    /// Reads what is there, and says until when to wait for more; none if it is over.
    pub(crate) fn listen(&mut self, socket: &Socket, now: Time) -> Option<Time> {
        let mut scratch = [0; 4096];
        while now < self.until {
            match socket.recv_now(&mut scratch) {
                Ok(bytes) if bytes > 0 && bytes < self.allowance => self.allowance -= bytes,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Some(self.until),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
        None
    }
}
