//! What the two drivers of a daemon have in common: how a peer is let in, answered and left, and
//! the threads where methods may block.

mod farewell;
mod link;
mod pool;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use ::tokio::time::Instant;
use antifreeze_proto::Time;
use tracing::warn;

pub(crate) use farewell::Farewell;
pub(crate) use link::{Blocked, Link, Sealed};
pub(crate) use pool::{Pool, Work};
pub(crate) use timers::Timers;

use crate::net::{Listener, Socket};
use crate::rpc::{Finished, Outcome};
use crate::sleep::{SleepClock, SleepWatch};

/// Oneway calls of one connection that may run or wait; further ones hold the connection back.
pub(crate) const ONEWAYS: usize = 64;

/// How long a daemon that has closed waits for its last answers to be written.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(200);

/// For how long nobody is accepted when the system cannot give us another connection.
pub(crate) const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How many connections beyond the limit are heard out, to be refused with a reason.
const REFUSABLE: usize = 100;

/// What a server may take up.
#[derive(Clone)]
pub(crate) struct ServerConfig {
    pub(crate) protocol: Arc<antifreeze_proto::Config>,
    pub(crate) workers: usize,
    pub(crate) connections: usize,
    pub(crate) drain: Duration,
    pub(crate) sleep: SleepClock,
}

/// How peers come in.
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<Listener>,
    /// The only connection that there will be.
    pub(crate) connected: Option<Socket>,
}

/// What becomes of a connection that was just accepted.
pub(crate) enum Welcome {
    In,
    /// It is told why not.
    Refuse(&'static str),
    /// There are too many even to be told so.
    Drop,
}

/// Asks a server to stop, from any thread.
#[derive(Clone)]
pub(crate) struct Stop(Arc<dyn Fn() + Send + Sync>);

/// Nanoseconds since the daemon was made, and whether the machine slept.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
    sleep: SleepClock,
}

impl ServerConfig {
    /// Whether there is room for one more connection beside those that are open.
    pub(crate) fn welcome(&self, open: usize) -> Welcome {
        let limit = self.connections;
        if open < limit {
            Welcome::In
        } else if open < limit + REFUSABLE {
            warn!(open, limit, "too many connections, one refused");
            Welcome::Refuse("too many connections, try again later")
        } else {
            warn!(open, limit, "too many connections, one dropped");
            Welcome::Drop
        }
    }
}

impl Stop {
    pub(crate) fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(crate) fn ask(&self) {
        (self.0)();
    }
}

impl Clock {
    pub(crate) fn start(sleep: SleepClock) -> Self {
        Self {
            epoch: Instant::now(),
            sleep,
        }
    }

    pub(crate) fn now(self) -> Time {
        Time::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Notices sleep from now on.
    pub(crate) fn watch_sleep(self) -> SleepWatch {
        self.sleep.watch()
    }

    /// When that is; none if it is further away than the system can tell.
    pub(crate) fn instant(self, at: Time) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(at.as_nanos()))
    }
}

/// Nobody waits for what became of a oneway call, so an exception is told to the log.
pub(crate) fn log_oneway(finished: Finished) {
    if let Outcome::Raised(exception) = finished.outcome.0 {
        warn!(class = %exception.class, message = %exception.message(), "a oneway call raised");
    }
}
