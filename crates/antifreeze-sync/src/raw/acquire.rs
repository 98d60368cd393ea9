//! Waiting for a lock as a task.

use std::any::type_name;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{MOVED, RawLock};
use crate::agent;
use crate::error::LockError;
use crate::faults::{self, Fault};
use crate::report::Mode;
use crate::sync::atomic::Ordering;
use crate::waiter::{How, Request, State, Waiter};

/// Acquires a lock for a task.
///
/// Dropping it ends the wait: nobody else loses their place, and a lock that was given to it already
/// goes on to the next.
#[must_use = "futures do nothing unless they are polled"]
pub(crate) struct Acquire<'a, T: ?Sized> {
    pub(super) lock: &'a RawLock,
    pub(super) site: &'static Location<'static>,
    pub(super) waiter: Option<Arc<Waiter>>,
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

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(waiter) = &this.waiter {
            if waiter.is_waiting() {
                this.lock.monitor(type_name::<T>).set_waker(waiter, context);
            }
            return match waiter.state() {
                State::Waiting => Poll::Pending,
                _ => {
                    let frame = waiter.agent.frame;
                    let outcome = waiter.outcome();
                    this.waiter = None;
                    if outcome.is_err() {
                        this.lock.put_back();
                    }
                    Poll::Ready(outcome.map(|()| frame))
                }
            };
        }
        let frame = agent::task_frame();
        if this.lock.word.load(Ordering::Relaxed) & MOVED == 0
            && this.lock.try_word(this.mode, frame, this.site)
        {
            return Poll::Ready(Ok(frame));
        }
        let monitor = this.lock.monitor(type_name::<T>);
        let mut inner = this.lock.moved(monitor);
        if inner.come(this.mode, frame, this.site, How::Task) {
            this.lock.move_back(&mut inner);
            return Poll::Ready(Ok(frame));
        }
        if faults::is(Fault::OwnTaskFails) && inner.state.owner == Some(frame) {
            return Poll::Ready(Err(LockError::Cancelled));
        }
        let request = Request {
            mode: this.mode,
            site: this.site,
            timed: false,
        };
        let front = this.mode == Mode::Upgrade;
        this.waiter = Some(monitor.wait(inner, request, front, context));
        Poll::Pending
    }
}

impl<T: ?Sized> Drop for Acquire<'_, T> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        self.lock.give_up(&waiter);
    }
}
