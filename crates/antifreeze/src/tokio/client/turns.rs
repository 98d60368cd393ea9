//! The queue of those who want one of a proxy's sessions.
//!
//! With one session this is a fair lock; with several a fair pool. A turn goes with a request to
//! the task of a connection, so that it outlasts a caller who does not wait any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use ::tokio::time::timeout_at;
use antifreeze_sync::{BoundedSemaphore, LockError, OwnedPermit};
use parking_lot::Mutex;

/// Turns to use the sessions of these numbers, one at a time each.
pub(super) struct Turns {
    free: Mutex<Vec<usize>>,
    /// As many as are free; gives them out first come, first served.
    permits: Arc<BoundedSemaphore>,
    waiting: AtomicUsize,
}

/// One may use a session. Dropping it lets the next one.
pub(super) struct Turn {
    turns: Arc<Turns>,
    session: usize,
    permit: Arc<OwnedPermit>,
}

/// Says that a task has a permit, until this is dropped: then the permit may go on, but nobody knows
/// any more who gives it back. It does not keep the permit.
pub(super) struct Claim(Weak<OwnedPermit>);

impl Turns {
    /// Those of a queue of this name.
    pub(super) fn new(name: impl Into<String>, sessions: usize) -> Arc<Self> {
        let permits = u32::try_from(sessions).unwrap_or(u32::MAX);
        Arc::new(Self {
            free: Mutex::new((0..sessions).rev().collect()),
            permits: Arc::new(BoundedSemaphore::new(permits).with_name(name)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Waits for a session. Gives up at the deadline, or if that could never end, and says how many
    /// were ahead.
    pub(super) async fn take(
        self: &Arc<Self>,
        deadline: Option<Instant>,
    ) -> Result<Turn, (LockError, usize)> {
        let permit = match self.permits.try_acquire_owned() {
            Some(permit) => permit,
            None => {
                let _place = Place(&self.waiting);
                let ahead = 1 + self.waiting.fetch_add(1, Ordering::Relaxed);
                let permit = acquire(&self.permits, deadline).await;
                permit.map_err(|why| (why, ahead))?
            }
        };
        let session = self.free.lock().pop();
        Ok(Turn {
            turns: Arc::clone(self),
            session: session.expect("there are as many as permits"),
            permit: Arc::new(permit),
        })
    }

    /// Whether nobody has a session, or waits for one.
    pub(super) fn are_free(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
            && self.permits.available() == self.permits.total()
    }

    /// Does something with the number of every session that nobody uses now.
    pub(super) fn for_each_free(&self, f: impl FnMut(&usize)) {
        self.free.lock().iter().for_each(f);
    }
}

/// Waits for a permit until the deadline, which nobody has yet.
pub(super) async fn acquire(
    permits: &Arc<BoundedSemaphore>,
    deadline: Option<Instant>,
) -> Result<OwnedPermit, LockError> {
    if let Some(permit) = permits.try_acquire_owned() {
        return Ok(permit);
    }
    let permit = permits.acquire_owned_async();
    match deadline {
        Some(at) => timeout_at(at.into(), permit)
            .await
            .unwrap_or(Err(LockError::Timeout)),
        None => permit.await,
    }
}

impl Claim {
    /// Says that the task that is polled has this permit.
    pub(super) fn new(permit: &Arc<OwnedPermit>) -> Self {
        permit.bind_to_task();
        Self(Arc::downgrade(permit))
    }
}

impl Turn {
    pub(super) fn permit(&self) -> &Arc<OwnedPermit> {
        &self.permit
    }

    /// The number of the session.
    pub(super) fn session(&self) -> usize {
        self.session
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The permit follows, so that whoever gets it finds the session.
        self.turns.free.lock().push(self.session);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(permit) = self.0.upgrade() {
            permit.unbind();
        }
    }
}

/// A place in the queue, which its owner may leave.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
