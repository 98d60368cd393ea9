//! What the objects need of the driver that runs them.

use std::time::Duration;

use super::queue::Ticket;

/// A driver, seen from the objects.
pub(crate) trait Host: Send + Sync {
    /// Runs `job` on a thread that may block.
    fn spawn(&self, job: Box<dyn FnOnce() + Send>);

    /// Ends the wait that `ticket` names when it has lasted that long.
    fn expire_after(&self, wait: Duration, ticket: Ticket);
}
