//! When a call is sent again, and how long a lost daemon is looked for.

use std::time::{Duration, Instant};

use tracing::debug;

use crate::error::{Error, ErrorKind, Sent};
use crate::uri::Uri;

/// The pause before the second attempt to reconnect; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts to reconnect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a call that certainly did not run, or may run twice, is sent.
const ATTEMPTS: usize = 3;

/// The attempts at one call.
pub(crate) struct Attempts {
    failed: usize,
    idempotent: bool,
    /// How much of it was sent in all of them.
    sent: Sent,
}

impl Attempts {
    pub(crate) fn new(idempotent: bool) -> Self {
        Self {
            failed: 0,
            idempotent,
            sent: Sent::No,
        }
    }

    /// An attempt has cost the connection; an error if there shall not be another one.
    pub(crate) fn failed(&mut self, error: Error, uri: &Uri) -> Result<(), Error> {
        self.failed += 1;
        let harmless = error.sent() == Sent::No || self.idempotent;
        let is_vain = error.is_timeout() || error.kind() == ErrorKind::Deadlock;
        if !harmless || is_vain || self.failed == ATTEMPTS {
            return Err(error.context(format_args!("calling {uri}")));
        }
        debug!(%error, attempt = self.failed, "sending the call again");
        self.sent = error.sent().max(self.sent);
        Ok(())
    }

    /// The error in which the call ended, which may have run in an earlier attempt.
    pub(crate) fn over(&self, error: Error) -> Error {
        let sent = self.sent.max(error.sent());
        error.with_sent(sent)
    }
}

/// The attempts at one connection; where there was one before, it is worth some patience.
pub(crate) struct Patience {
    begun: Instant,
    give_up: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(now: Instant, window: Option<Duration>) -> Self {
        Self {
            begun: now,
            give_up: now + window.unwrap_or_default(),
            pause: FIRST_PAUSE,
        }
    }

    /// An attempt has failed: how long to wait before the next one, or the error if there is none.
    pub(crate) fn failed(
        &mut self,
        error: Error,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<Duration, Error> {
        let worth_waiting = matches!(
            error.kind(),
            ErrorKind::Connect | ErrorKind::Closed | ErrorKind::Naming | ErrorKind::Timeout
        );
        let pause = self.pause;
        let next = now + pause;
        if !worth_waiting || next > self.give_up || deadline.is_some_and(|at| next > at) {
            return Err(if pause > FIRST_PAUSE {
                let tried = now.duration_since(self.begun).as_secs_f64();
                error.context(format_args!("reconnecting failed for {tried:.1} s"))
            } else {
                error
            });
        }
        debug!(%error, ?pause, "cannot reconnect yet");
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        Ok(pause)
    }
}
