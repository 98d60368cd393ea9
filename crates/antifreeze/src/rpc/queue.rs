//! How many calls may wait, and what ends a wait from outside.
//!
//! The queues themselves are those of the locks. Here calls are counted that stand in them, and a
//! [`Ticket`] names one wait, so that a timer or the death of the caller can end it. That of an async
//! method goes on to name the task that it runs as.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use antifreeze_sync::{LockError, PendingLock, PendingPermit};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// Calls that wait at one place.
#[derive(Clone, Default)]
pub(crate) struct Queue(Arc<AtomicUsize>);

/// How long queues may become.
#[derive(Clone)]
pub(crate) struct QueueLimits {
    pub(crate) per_queue: usize,
    pub(crate) in_all: usize,
    /// Of all queues together.
    pub(crate) all: Queue,
}

/// A call that waits, as it is counted.
pub(crate) struct Place {
    queue: Queue,
    all: Queue,
}

/// Why a call did not get what it waited for.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// As many calls wait already as may.
    Full { queued: usize },
    /// The wait took too long.
    TooLong { queued: usize },
    /// The caller has given up.
    Late,
    /// The caller is gone.
    Lost,
    /// The daemon waits for nobody any more.
    Closing,
    /// The wait would never have ended, or could not begin.
    Failed(LockError),
}

impl QueueLimits {
    /// Counts one more call, if there may be one more.
    pub(crate) fn take_place(&self, queue: &Queue) -> Result<Place, Refusal> {
        let refused = |queued| Err(Refusal::Full { queued });
        let (here, everywhere) = (queue.enter(), self.all.enter());
        let place = Place {
            queue: queue.clone(),
            all: self.all.clone(),
        };
        if here >= self.per_queue {
            refused(here)
        } else if everywhere >= self.in_all {
            refused(everywhere)
        } else {
            Ok(place)
        }
    }
}

impl Queue {
    /// One more; gives how many there were.
    fn enter(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Place {
    /// How many calls stand in the queue, this one included.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.leave();
        self.all.leave();
    }
}

/// Names one wait, so that it can be ended from outside.
#[derive(Clone, Default)]
pub(crate) struct Ticket(Arc<Mutex<Wait>>);

/// How a wait stands.
#[derive(Default)]
enum Wait {
    #[default]
    Begins,
    Waits(Pending),
    /// It has what it waited for, and becomes a task.
    Granted,
    /// It runs as this task.
    Runs(AbortHandle),
    /// It is being ended from outside, for this reason.
    Ends(Reason),
    /// Nothing is kept of it: what it waited for may be the last handle of an object.
    Over,
}

/// What is waited for.
pub(crate) enum Pending {
    Object(PendingLock),
    Worker(PendingPermit),
    /// This task does nothing yet but wait for its object.
    Task(AbortHandle),
    /// What the call has come to since.
    Step(Ticket),
    /// Only its time, when this is to happen.
    Time(Box<dyn FnOnce() + Send>),
}

/// Why a wait or a task was ended from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    TooLong,
    /// The caller is gone.
    Lost,
    /// The daemon is shutting down.
    Closing,
    /// It was to make an item of a stream that is over.
    Terminated,
}

impl Ticket {
    /// The wait has begun. Says whether it still goes on.
    pub(crate) fn begin(&self, pending: Pending) -> bool {
        let mut wait = self.0.lock();
        let goes_on = matches!(*wait, Wait::Begins);
        if goes_on {
            *wait = Wait::Waits(pending);
        }
        goes_on
    }

    /// The wait is over with this error, while the call stood at `place`.
    pub(crate) fn refusal(&self, error: LockError, place: &Place) -> Refusal {
        match (self.finish(), error) {
            (Wait::Ends(Reason::TooLong), LockError::Cancelled) => Refusal::TooLong {
                queued: place.queued(),
            },
            (Wait::Ends(Reason::Lost), LockError::Cancelled) => Refusal::Lost,
            (Wait::Ends(Reason::Closing), LockError::Cancelled) => Refusal::Closing,
            (_, error) => Refusal::Failed(error),
        }
    }

    /// The wait is over.
    pub(crate) fn close(&self) {
        drop(self.finish());
    }

    /// The call has what it waited for, and will [run](Self::run) as a task.
    pub(crate) fn grant(&self) {
        let mut wait = self.0.lock();
        if matches!(*wait, Wait::Begins | Wait::Waits(_)) {
            let before = std::mem::replace(&mut *wait, Wait::Granted);
            drop(wait);
            drop(before);
        }
    }

    /// The call runs as `task`, which is ended at once if the call was ended before it began.
    pub(crate) fn run(&self, task: AbortHandle) {
        let mut wait = self.0.lock();
        match *wait {
            Wait::Granted => *wait = Wait::Runs(task),
            Wait::Ends(_) => task.abort(),
            _ => {}
        }
    }

    /// The call goes on as what `step` names, which is ended at once if the call was ended before.
    pub(crate) fn follow(&self, step: Self) {
        let mut wait = self.0.lock();
        match *wait {
            Wait::Begins | Wait::Waits(_) => *wait = Wait::Waits(Pending::Step(step)),
            Wait::Ends(reason) => {
                drop(wait);
                step.end(reason);
            }
            _ => {}
        }
    }

    /// The call waits for its object as `task`, which is ended at once if the call was ended before.
    pub(crate) fn stand(&self, task: AbortHandle) {
        if !self.begin(Pending::Task(task.clone())) {
            task.abort();
        }
    }

    /// The task has what it waited for, and goes on.
    pub(crate) fn pass(&self) {
        let mut wait = self.0.lock();
        if let Wait::Waits(Pending::Task(task)) = &*wait {
            *wait = Wait::Runs(task.clone());
        }
    }

    /// The task is over. Gives why, if it was ended from outside.
    pub(crate) fn leave(&self) -> Option<Reason> {
        match self.finish() {
            Wait::Ends(reason) => Some(reason),
            _ => None,
        }
    }

    /// Why the call was ended from outside, if it was.
    pub(crate) fn ended(&self) -> Option<Reason> {
        match *self.0.lock() {
            Wait::Ends(reason) => Some(reason),
            _ => None,
        }
    }

    fn finish(&self) -> Wait {
        std::mem::replace(&mut *self.0.lock(), Wait::Over)
    }

    /// Whether the wait still goes on; that is not said of a task.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(*self.0.lock(), Wait::Waits(_))
    }

    /// Whether a timer may end it yet: one that is about to wait shall not wait for ever.
    pub(crate) fn may_expire(&self) -> bool {
        matches!(*self.0.lock(), Wait::Begins | Wait::Waits(_))
    }

    /// The wait has taken as long as it may.
    pub(crate) fn expire(&self) {
        self.end(Reason::TooLong);
    }

    /// The caller is gone.
    pub(crate) fn cancel(&self) {
        self.end(Reason::Lost);
    }

    /// The daemon is shutting down, and the caller shall be told so.
    pub(crate) fn refuse(&self) {
        self.end(Reason::Closing);
    }

    /// The stream is over of which the call makes an item as a task. One that still waits will see for
    /// itself.
    pub(crate) fn end_running(&self, why: Reason) {
        let runs = matches!(*self.0.lock(), Wait::Granted | Wait::Runs(_));
        if runs {
            self.end(why);
        }
    }

    /// Whether there is nothing to end any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.0.lock(), Wait::Ends(_) | Wait::Over)
    }

    fn end(&self, reason: Reason) {
        let mut wait = self.0.lock();
        match *wait {
            Wait::Begins | Wait::Waits(_) => {}
            // Only waits can take too long.
            Wait::Granted | Wait::Runs(_) if reason != Reason::TooLong => {}
            _ => return,
        }
        let waits = std::mem::replace(&mut *wait, Wait::Ends(reason));
        drop(wait);
        match waits {
            Wait::Waits(Pending::Object(pending)) => pending.cancel(),
            Wait::Waits(Pending::Worker(pending)) => pending.cancel(),
            Wait::Waits(Pending::Step(step)) => step.end(reason),
            Wait::Waits(Pending::Time(then)) => then(),
            Wait::Waits(Pending::Task(task)) | Wait::Runs(task) => task.abort(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use antifreeze_sync::{Frame, RwLock};

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_counts_stay_right() {
        let limits = QueueLimits {
            per_queue: 2,
            in_all: 3,
            all: Queue::default(),
        };
        let count = |queue: &Queue| queue.0.load(Ordering::Relaxed);
        let refused = |queue: &Queue| match limits.take_place(queue) {
            Err(Refusal::Full { queued }) => Some(queued),
            _ => None,
        };
        let (one, other) = (Queue::default(), Queue::default());
        let places = [limits.take_place(&one), limits.take_place(&one)];
        assert_eq!(refused(&one), Some(2));
        let last = limits.take_place(&other);
        assert_eq!(refused(&other), Some(3));
        assert_eq!((count(&one), count(&other), count(&limits.all)), (2, 1, 3));
        drop((places, last));
        assert_eq!((count(&one), count(&other), count(&limits.all)), (0, 0, 0));
    }

    #[test]
    fn a_wait_ends_once_and_lets_those_behind_it_in() {
        let limits = QueueLimits {
            per_queue: 9,
            in_all: 9,
            all: Queue::default(),
        };
        let queue = Queue::default();
        let lock = Arc::new(RwLock::new(()).fair());
        let reading = lock.try_read_for(Frame::new("reader").id());
        let (tell, told) = mpsc::channel();
        let wait = |name: &'static str, writes: bool| {
            let (ticket, place) = (Ticket::default(), limits.take_place(&queue).unwrap());
            let (tell, its) = (tell.clone(), ticket.clone());
            let done = move |ended: Result<(), LockError>| {
                tell.send(match ended {
                    Ok(()) => {
                        its.close();
                        format!("{name} is in")
                    }
                    Err(error) => format!("{name}: {:?}", its.refusal(error, &place)),
                })
                .unwrap();
            };
            let frame = Frame::new(name);
            let pending = if writes {
                lock.write_then(&frame, move |entered| done(entered.map(drop)))
            } else {
                lock.read_then(&frame, move |entered| done(entered.map(drop)))
            };
            assert!(ticket.begin(Pending::Object(pending.unwrap())));
            ticket
        };
        let waiting = [
            ("writer", true),
            ("lost", true),
            ("late", true),
            ("behind", false),
        ];
        let [writer, lost, late, reader] = waiting.map(|(name, writes)| wait(name, writes));
        writer.expire();
        writer.cancel();
        assert!(!writer.is_waiting() && reader.is_waiting());
        lost.cancel();
        late.refuse();
        assert!(!reader.is_waiting());
        reader.expire();
        let mut story: Vec<_> = told.try_iter().collect();
        // Who left and who could go in because of that are told in no particular order.
        story.sort();
        let expected = [
            "behind is in",
            "late: Closing",
            "lost: Lost",
            "writer: TooLong { queued: 4 }",
        ];
        assert_eq!(story, expected);
        assert_eq!(limits.all.0.load(Ordering::Relaxed), 0);
        // Nothing keeps what was waited for, though the tickets are still there.
        drop(reading);
        assert_eq!(Arc::strong_count(&lock), 1);
    }
}
