//! What a call needs before it may run, and where it waits for that.
//!
//! A method needs its object, if it uses that, and one of the workers, unless it promises to be
//! quick. Whatever is not free is waited for in a queue, without a thread, and as the call: so those
//! that can never go on are found. Workers are counted here and not in the driver's pool, so that a
//! daemon whose workers are all inside methods still shakes hands, answers pings and says that it is
//! busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antifreeze_serial::Exception;
use antifreeze_sync::{
    BoundedSemaphore, Frame, LockError, OwnedPermit, OwnedRwLockReadGuard, OwnedRwLockWriteGuard,
    PendingLock,
};

use super::exception::{self, TIMEOUT_ERROR};
use super::host::Host;
use super::object::Cell;
use super::queue::{Pending, Queue, QueueLimits, Refusal, Ticket};

/// Where calls wait, and for how long.
pub(crate) struct Room {
    pub(crate) host: Arc<dyn Host>,
    /// For the queue of one object.
    pub(crate) objects: QueueLimits,
    /// For the queue for a worker.
    pub(crate) calls: QueueLimits,
    pub(crate) workers: Arc<BoundedSemaphore>,
    /// Those that wait for a worker.
    pub(crate) queue: Queue,
    pub(crate) wait: Duration,
    /// Is told of calls that failed.
    pub(crate) on_error: Option<OnError>,
}

/// Is told of calls that failed; see [`DaemonBuilder::on_error`](crate::DaemonBuilder::on_error).
pub(crate) type OnError = Box<dyn Fn(&FailedCall<'_>) + Send + Sync>;

/// A call that has failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FailedCall<'a> {
    /// The id of the object.
    pub object: &'a str,
    /// The method or attribute.
    pub member: &'static str,
    /// What the caller is told, unless the call is oneway.
    pub exception: &'a Exception,
}

/// A way to be inside of an object, for as long as the value is there.
pub(crate) trait Access: Sized + Send + 'static {
    /// What it is taken from.
    type Of;

    /// Goes in as the call with this frame, if that is possible without waiting.
    #[track_caller]
    fn try_enter(of: &Self::Of, frame: u64) -> Option<Self>;

    /// Calls `then` when the call with this frame is inside, or cannot be. What comes back ends the
    /// wait; it is none if that is over.
    #[track_caller]
    fn enter_then(
        of: &Self::Of,
        frame: &Frame,
        then: impl FnOnce(Result<Self, LockError>) + Send + 'static,
    ) -> Option<PendingLock>;

    /// Those who wait for it.
    fn queue(of: &Self::Of) -> Queue;
}

/// `&self`: with other readers.
impl<T: Send + Sync + 'static> Access for OwnedRwLockReadGuard<T> {
    type Of = Cell<T>;

    #[track_caller]
    fn try_enter(cell: &Cell<T>, frame: u64) -> Option<Self> {
        cell.lock.try_read_for(frame)
    }

    #[track_caller]
    fn enter_then(
        cell: &Cell<T>,
        frame: &Frame,
        then: impl FnOnce(Result<Self, LockError>) + Send + 'static,
    ) -> Option<PendingLock> {
        cell.lock.read_then(frame, then)
    }

    fn queue(cell: &Cell<T>) -> Queue {
        cell.queue()
    }
}

/// `&self` of a method that is `#[lock(none)]`: with other readers, whoever waits to write.
pub(crate) struct Passing<T>(pub(crate) OwnedRwLockReadGuard<T>);

impl<T: Send + Sync + 'static> Access for Passing<T> {
    type Of = Cell<T>;

    #[track_caller]
    fn try_enter(cell: &Cell<T>, frame: u64) -> Option<Self> {
        cell.lock.try_read_past_for(frame).map(Self)
    }

    #[track_caller]
    fn enter_then(
        cell: &Cell<T>,
        frame: &Frame,
        then: impl FnOnce(Result<Self, LockError>) + Send + 'static,
    ) -> Option<PendingLock> {
        let inside = |entered: Result<_, _>| then(entered.map(Self));
        cell.lock.read_past_then(frame, inside)
    }

    fn queue(cell: &Cell<T>) -> Queue {
        cell.queue()
    }
}

/// `&mut self`: alone.
impl<T: Send + Sync + 'static> Access for OwnedRwLockWriteGuard<T> {
    type Of = Cell<T>;

    #[track_caller]
    fn try_enter(cell: &Cell<T>, frame: u64) -> Option<Self> {
        cell.lock.try_write_for(frame)
    }

    #[track_caller]
    fn enter_then(
        cell: &Cell<T>,
        frame: &Frame,
        then: impl FnOnce(Result<Self, LockError>) + Send + 'static,
    ) -> Option<PendingLock> {
        cell.lock.write_then(frame, then)
    }

    fn queue(cell: &Cell<T>) -> Queue {
        cell.queue()
    }
}

/// Functions without `self` are always outside.
pub(crate) struct Outside;

impl Access for Outside {
    type Of = ();

    fn try_enter((): &(), _: u64) -> Option<Self> {
        Some(Self)
    }

    fn enter_then(
        (): &(),
        _: &Frame,
        then: impl FnOnce(Result<Self, LockError>) + Send + 'static,
    ) -> Option<PendingLock> {
        then(Ok(Self));
        None
    }

    fn queue((): &()) -> Queue {
        Queue::default()
    }
}

/// What a call has while it runs: first the object is given back, then the worker.
pub(crate) struct Held<G> {
    pub(crate) object: G,
    _worker: Option<OwnedPermit>,
}

/// Why a call did not get what it needs.
pub(crate) struct Stuck {
    at: At,
    why: Refusal,
    /// How long a wait may last.
    patience: Duration,
}

#[derive(Clone, Copy)]
enum At {
    Object,
    Workers,
}

/// What runs when the wait is over.
pub(crate) type Work<G> = Box<dyn FnOnce(Result<Held<G>, Stuck>) + Send>;

impl Room {
    /// Takes the object, and one of the workers if there shall be one, if both are free; else gives
    /// the object if that could be had.
    #[track_caller]
    #[inline]
    pub(crate) fn try_enter<G: Access>(
        &self,
        of: &G::Of,
        frame: u64,
        worker: bool,
    ) -> Result<Held<G>, Option<G>> {
        let Some(object) = G::try_enter(of, frame) else {
            return Err(None);
        };
        if !worker {
            return Ok(Held::new(object, None));
        }
        match self.workers.try_acquire_for(frame) {
            Some(permit) => Ok(Held::new(object, Some(permit))),
            None => Err(Some(object)),
        }
    }

    /// Waits for what is missing, but no longer than until `deadline`, and then runs `work` on a thread of the host.
    ///
    /// The ticket ends the first wait early; it is none if that is over already.
    #[track_caller]
    pub(crate) fn wait<G: Access>(
        self: &Arc<Self>,
        of: &G::Of,
        had: Option<G>,
        frame: &Frame,
        worker: bool,
        deadline: Option<Instant>,
        work: Work<G>,
    ) -> Option<Ticket> {
        if let Some(object) = had {
            return self.wait_for_worker(object, frame, worker, deadline, work);
        }
        let ticket = Ticket::default();
        let then = {
            let (room, frame, ticket) = (Arc::clone(self), frame.clone(), ticket.clone());
            move |entered| match entered {
                Ok(object) => {
                    ticket.close();
                    room.wait_for_worker(object, &frame, worker, deadline, work);
                }
                Err(stuck) => room.refuse(stuck, work),
            }
        };
        self.wait_for_object(of, frame, &ticket, deadline, then);
        ticket.is_waiting().then_some(ticket)
    }

    /// Waits for the object alone, and calls `then` where it is let go: that must not block.
    #[track_caller]
    pub(crate) fn wait_for_object<G: Access>(
        self: &Arc<Self>,
        of: &G::Of,
        frame: &Frame,
        ticket: &Ticket,
        deadline: Option<Instant>,
        then: impl FnOnce(Result<G, Stuck>) + Send + 'static,
    ) {
        let patience = self.patience(deadline);
        let stuck = move |why| Stuck::at_object(why, patience);
        let place = match self.objects.take_place(&G::queue(of)) {
            Ok(place) => place,
            Err(why) => return then(Err(stuck(why))),
        };
        let entered = {
            let ticket = ticket.clone();
            move |entered: Result<G, LockError>| {
                let entered = entered.map_err(|error| stuck(ticket.refusal(error, &place)));
                drop(place);
                then(entered);
            }
        };
        if let Some(pending) = G::enter_then(of, frame, entered) {
            self.watch(ticket, Pending::Object(pending), patience);
        }
    }

    fn wait_for_worker<G: Access>(
        self: &Arc<Self>,
        object: G,
        frame: &Frame,
        worker: bool,
        deadline: Option<Instant>,
        work: Work<G>,
    ) -> Option<Ticket> {
        let permit = worker.then(|| self.workers.try_acquire_for(frame.id()));
        if let None | Some(Some(_)) = permit {
            self.run(Held::new(object, permit.flatten()), deadline, work);
            return None;
        }
        let patience = self.patience(deadline);
        let stuck = move |why| Stuck {
            at: At::Workers,
            why,
            patience,
        };
        let place = match self.calls.take_place(&self.queue) {
            Ok(place) => place,
            Err(why) => {
                self.refuse(stuck(why), work);
                return None;
            }
        };
        let ticket = Ticket::default();
        let then = {
            let (room, ticket) = (Arc::clone(self), ticket.clone());
            move |acquired| match acquired {
                Ok(permit) => {
                    ticket.close();
                    drop(place);
                    room.run(Held::new(object, Some(permit)), deadline, work);
                }
                Err(error) => {
                    let stuck = stuck(ticket.refusal(error, &place));
                    drop((place, object));
                    room.refuse(stuck, work);
                }
            }
        };
        let pending = self.workers.acquire_then(frame, then)?;
        self.watch(&ticket, Pending::Worker(pending), patience);
        ticket.is_waiting().then_some(ticket)
    }

    /// Runs `work` on a thread of the host, unless its caller has given up by then.
    pub(super) fn run<G: Access>(&self, held: Held<G>, deadline: Option<Instant>, work: Work<G>) {
        self.host.spawn(Box::new(move || {
            work(if is_over(deadline) {
                Err(Stuck::late())
            } else {
                Ok(held)
            });
        }));
    }

    /// How long a call may wait that begins to.
    pub(super) fn patience(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        left.map_or(self.wait, |left| left.min(self.wait))
    }

    /// Ends a wait that has begun when it has lasted long enough.
    fn watch(&self, ticket: &Ticket, pending: Pending, patience: Duration) {
        if ticket.begin(pending) {
            self.host.expire_after(patience, ticket.clone());
        }
    }

    /// Runs what has to be done at some time and nobody waits for, on a worker.
    pub(super) fn run_eventually(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let (frame, host) = (Frame::new(name), Arc::clone(&self.host));
        let own = frame.clone();
        // It is done in any case, if need be on a thread of the reserve.
        let run = move |permit| {
            host.spawn(Box::new(move || {
                let _permit: Result<OwnedPermit, LockError> = permit;
                own.enter(work);
            }));
        };
        match self.workers.try_acquire_for(frame.id()) {
            Some(permit) => run(Ok(permit)),
            None => drop(self.workers.acquire_then(&frame, run)),
        }
    }

    fn refuse<G: Access>(&self, stuck: Stuck, work: Work<G>) {
        self.host.spawn(Box::new(move || work(Err(stuck))));
    }
}

impl<G> Held<G> {
    fn new(object: G, worker: Option<OwnedPermit>) -> Self {
        Self {
            object,
            _worker: worker,
        }
    }
}

/// Whether a caller has given up.
pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| at <= Instant::now())
}

impl Stuck {
    pub(super) fn at_object(why: Refusal, patience: Duration) -> Self {
        let at = At::Object;
        Self { at, why, patience }
    }

    /// It could begin only when its caller had given up.
    pub(super) fn late() -> Self {
        Self::at_object(Refusal::Late, Duration::ZERO)
    }

    /// The answer to the call.
    pub(crate) fn exception(&self, object: &str) -> Exception {
        let whose = match self.at {
            At::Object => format!("object {object} is busy"),
            At::Workers => "all workers of the daemon are busy".to_owned(),
        };
        let text = match &self.why {
            Refusal::Full { queued } => {
                format!("{whose}: {queued} calls queued, as many as may wait")
            }
            Refusal::TooLong { queued } => {
                let waited = self.patience.as_secs_f64();
                format!("{whose}: {queued} calls queued, waited {waited:.1} s")
            }
            Refusal::Late => "the time of the caller was over before the call began".to_owned(),
            Refusal::Lost => format!("{whose}, and the caller is gone"),
            Refusal::Closing => return exception::closing(&format!(", and {whose}")),
            Refusal::Failed(error) => return exception::from_refusal(error),
        };
        Exception::new(TIMEOUT_ERROR, text)
    }
}
