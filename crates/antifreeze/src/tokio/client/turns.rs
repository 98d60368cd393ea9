//! The queue of those who want one of a proxy's sessions.
//!
//! With one session this is a fair lock; with several a fair pool. A turn goes with a request to
//! the task of a connection, so that it outlasts a caller who does not wait any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ::tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ::tokio::time::timeout_at;
use parking_lot::Mutex;

/// Turns to use the sessions of these numbers, one at a time each.
pub(super) struct Turns {
    free: Mutex<Vec<usize>>,
    /// As many as are free; gives them out first come, first served.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One may use a session. Dropping it lets the next one.
pub(super) struct Turn {
    turns: Arc<Turns>,
    session: usize,
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new(sessions: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new((0..sessions).rev().collect()),
            permits: Arc::new(Semaphore::new(sessions)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Waits for a session; gives up at the deadline and says how many were ahead.
    pub(super) async fn take(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Turn, usize> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let place = Place(&self.waiting);
                let ahead = 1 + self.waiting.fetch_add(1, Ordering::Relaxed);
                let permit = Arc::clone(&self.permits).acquire_owned();
                let permit = match deadline {
                    Some(at) => timeout_at(at.into(), permit).await.map_err(|_| ahead)?,
                    None => permit.await,
                };
                drop(place);
                permit.expect("the semaphore is never closed")
            }
        };
        let session = self.free.lock().pop();
        Ok(Turn {
            turns: Arc::clone(self),
            session: session.expect("there are as many as permits"),
            _permit: permit,
        })
    }

    /// Does something with the number of every session that nobody uses now.
    pub(super) fn for_each_free(&self, f: impl FnMut(&usize)) {
        self.free.lock().iter().for_each(f);
    }
}

impl Turn {
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

/// A place in the queue, which its owner may leave.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
