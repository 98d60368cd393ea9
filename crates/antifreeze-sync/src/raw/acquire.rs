//! Waiting for a lock as a task.

use std::any::type_name;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{ALONE, MOVED, RawLock, is_free};
use crate::agent;
use crate::error::LockError;
use crate::faults::{self, Fault};
use crate::report::Mode;
use crate::sync::atomic::Ordering;
use crate::sync::spin_loop;
use crate::waiter::{self, How, Request, State, Wait};

/// As long as a lock's patience is less, tasks do not look whether it becomes free before they wait, but each
/// time one does not look it grows by one. From there on they look once, and once more for each that it is
/// above it.
const IMPATIENT: u8 = 16;
/// So often they look again at the most.
const MOST_LOOKS: u8 = 15;
/// The patience of a new lock: what begins with a queue stays one.
pub(super) const HOPEFUL: u8 = 22;
/// Between two looks there are twice as many pauses as before, up to two to the power of this.
const LONGEST_PAUSE: u8 = 4;

/// Acquires a lock for a task.
///
/// Dropping it ends the wait: nobody else loses their place, and a lock that was given to it already
/// goes on to the next.
#[must_use = "futures do nothing unless they are polled"]
pub(crate) struct Acquire<'a, T: ?Sized> {
    pub(super) lock: &'a RawLock,
    pub(super) site: &'static Location<'static>,
    pub(super) waiter: Option<Wait>,
    pub(super) mode: Mode,
    /// What the lock protects, for its name.
    pub(super) data: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Acquire<'_, T> {
    /// Where the lock is acquired.
    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }
}

impl<T: ?Sized> Future for Acquire<'_, T> {
    /// The frame that has the lock.
    type Output = Result<u64, LockError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let lock = this.lock;
        if let Some(waiter) = &this.waiter {
            if waiter.is(State::Granted) {
                let frame = waiter.agent.frame;
                waiter::give_back(this.waiter.take());
                return Poll::Ready(Ok(frame));
            }
            return lock.poll_wait(&mut this.waiter, type_name::<T>, context);
        }
        let frame = agent::task_frame();
        if lock.word.load(Ordering::Relaxed) & MOVED == 0
            && (lock.try_word(this.mode, frame, this.site)
                || lock.spin_as_task(this.mode, frame, this.site))
        {
            return Poll::Ready(Ok(frame));
        }
        let request = Request {
            mode: this.mode,
            site: this.site,
            timed: false,
        };
        lock.poll_first(&mut this.waiter, request, type_name::<T>, context)
    }
}

impl RawLock {
    /// Looks for a moment whether who has the lock alone lets go of it, as long as nobody waits.
    ///
    /// Those in a queue get the lock in turn, and each of them has to be polled for that while the lock is
    /// nobody's to use: with few threads and many tasks a queue that has formed does not end soon. How long
    /// is worth it is learnt; where locks are held across awaits hardly anybody looks.
    #[cold]
    fn spin_as_task(&self, mode: Mode, frame: u64, site: &'static Location<'static>) -> bool {
        if self.policy.fair || mode == Mode::Upgrade || cfg!(any(loom, shuttle)) {
            return false;
        }
        let patience = self.patience.load(Ordering::Relaxed);
        let learn = |patience| self.patience.store(patience, Ordering::Relaxed);
        let Some(most) = patience.checked_sub(IMPATIENT) else {
            learn(patience + 1);
            return false;
        };
        for look in 0..=most {
            (0..1 << look.min(LONGEST_PAUSE)).for_each(|_| spin_loop());
            let word = self.word.load(Ordering::Relaxed);
            if is_free(word, mode) {
                if self.try_word(mode, frame, site) {
                    if look >= most / 2 && most < MOST_LOOKS {
                        learn(patience + 1);
                    }
                    return true;
                }
            } else if word & (MOVED | ALONE) != ALONE {
                // Somebody waits, or those who read may be many.
                return false;
            }
        }
        learn(match most {
            0 => 0,
            _ => patience - most.div_ceil(4),
        });
        false
    }

    /// Gets the lock for a task by its monitor, or puts the task into the queue.
    #[inline(never)]
    fn poll_first(
        &self,
        waiter: &mut Option<Wait>,
        request: Request,
        data: fn() -> &'static str,
        context: &mut Context<'_>,
    ) -> Poll<Result<u64, LockError>> {
        let frame = agent::task_frame();
        let monitor = self.monitor(data);
        let mut inner = self.moved(monitor);
        if inner.come(request.mode, frame, request.site, How::Task) {
            self.move_back(&mut inner);
            return Poll::Ready(Ok(frame));
        }
        if faults::is(Fault::OwnTaskFails) && inner.state.owner == Some(frame) {
            return Poll::Ready(Err(LockError::Cancelled));
        }
        *waiter = Some(match request.mode {
            Mode::Upgrade => monitor.wait_anew(inner, request, true, context, 0),
            _ => monitor.wait(inner, request, context),
        });
        Poll::Pending
    }

    /// Looks how the wait of a task stands that had not got the lock a moment ago.
    #[inline(never)]
    fn poll_wait(
        &self,
        wait: &mut Option<Wait>,
        data: fn() -> &'static str,
        context: &mut Context<'_>,
    ) -> Poll<Result<u64, LockError>> {
        let Some(waiter) = wait else {
            return Poll::Pending;
        };
        if waiter.is_waiting() {
            self.monitor(data).set_waker(waiter, context);
            if waiter.is_waiting() {
                return Poll::Pending;
            }
        }
        let frame = waiter.agent.frame;
        if waiter.is(State::Granted) {
            waiter::give_back(wait.take());
            return Poll::Ready(Ok(frame));
        }
        let outcome = waiter.outcome();
        *wait = None;
        self.put_back();
        Poll::Ready(outcome.map(|()| frame))
    }
}

impl<T: ?Sized> Drop for Acquire<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.lock.give_up(&waiter);
        }
    }
}
