//! An answer that is not there yet, and somebody who wants it: they meet here, in either order.

use std::sync::Arc;

use parking_lot::Mutex;

use super::invocation::{Progress, Step};
use super::outcome::Finished;
use super::queue::Ticket;

/// The answer to a call that waits for its object.
#[derive(Default)]
pub(crate) struct Pending(Mutex<Slot>);

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Answered(Finished),
    Wanted(Box<dyn FnOnce(Finished) + Send>),
    Over,
}

impl Pending {
    /// Gives the answer.
    pub(crate) fn complete(&self, finished: Finished) {
        let mut slot = self.0.lock();
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Wanted(take) => {
                drop(slot);
                take(finished);
            }
            _ => *slot = Slot::Answered(finished),
        }
    }

    /// Hands the answer to `take` on the thread that completes it.
    ///
    /// If it is there already, both come back: calling `take` here could nest without end.
    pub(crate) fn on_complete<F>(&self, take: F) -> Option<(F, Finished)>
    where
        F: FnOnce(Finished) + Send + 'static,
    {
        let mut slot = self.0.lock();
        match std::mem::replace(&mut *slot, Slot::Over) {
            Slot::Answered(finished) => Some((take, finished)),
            _ => {
                *slot = Slot::Wanted(Box::new(take));
                None
            }
        }
    }

    /// Gives the answer that `step` has, or will have; `ticket` names its wait from now on.
    pub(crate) fn follow(self: &Arc<Self>, step: Step, ticket: &Ticket) {
        match step.0 {
            Progress::Done(finished) => self.complete(finished),
            Progress::Missing(exception) => self.complete(Finished::raised(exception)),
            Progress::Parked(other, its) => {
                if let Some(its) = its {
                    ticket.follow(its);
                }
                let itself = Arc::clone(self);
                if let Some((complete, finished)) =
                    other.on_complete(move |finished| itself.complete(finished))
                {
                    complete(finished);
                }
            }
        }
    }
}
