//! What the objects need of the driver that runs them.

use std::io;
use std::time::{Duration, Instant};

use antifreeze_proto::Time;
use tokio::runtime::Handle;

use super::queue::Ticket;

/// A driver, seen from the objects.
pub(crate) trait Host: Send + Sync {
    /// Runs `job` on a thread that may block.
    fn spawn(&self, job: Box<dyn FnOnce() + Send>);

    /// Whether this thread may block, so that methods run on it there and then. On an event loop only
    /// those do that promise to be quick.
    fn may_block(&self) -> bool;

    /// When that time of the driver's clock is; none if it is further away than the system can tell.
    fn instant(&self, at: Time) -> Option<Instant>;

    /// Where async methods run.
    ///
    /// # Errors
    ///
    /// The system has no threads for it.
    fn runtime(&self) -> io::Result<Handle>;

    /// Ends the wait that `ticket` names when it has lasted that long.
    fn expire_after(&self, wait: Duration, ticket: Ticket);
}
