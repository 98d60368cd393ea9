//! One wait: who waits for what, and how it ended.
//!
//! A wait begins and ends under the lock of the queue in which it stands, so exactly one of grant,
//! verdict, time-out and cancellation ends it. Each wait is an object of its own, so "the same object
//! still waits" means that its agent has been blocked all the time.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
// What only tells tasks apart is no business of the model checkers.
use std::sync::atomic::AtomicPtr;
use std::task::Waker;

use parking_lot::Mutex as PlainMutex;

use crate::agent::{self, Agent};
use crate::clock::Moment;
use crate::detector;
use crate::error::LockError;
use crate::report::{Mode, Report};
use crate::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use crate::sync::{Unparker, thread_local_state};
use crate::task::TaskWaker;

/// One wait.
///
/// A million may wait at once, so it is small: what is needed to tell of its end is in the queue only.
pub(crate) struct Waiter {
    pub(crate) agent: Arc<Agent>,
    pub(crate) site: &'static Location<'static>,
    pub(crate) since: Moment,
    /// The number of what it waits for.
    pub(crate) resource: u64,
    pub(crate) how: How,
    pub(crate) mode: Mode,
    pub(crate) timed: bool,
    state: AtomicU8,
    /// Where its primitive finds what goes with the wait. Means what the primitive has it mean.
    place: AtomicU32,
    /// Its place in the queue. Set once, under the lock of the queue.
    ticket: AtomicI64,
    /// The data of the waker that is in the queue.
    woken_by: AtomicPtr<()>,
    /// Other frames that cannot go on either, because they are on the same blocked thread.
    #[expect(
        clippy::box_collection,
        reason = "there is nearly always none, and waits are many"
    )]
    outer: Option<Box<Vec<u64>>>,
}

/// Why waits failed that have, by their addresses: few do. Nothing else happens under its lock, so
/// that is no business of the model checkers.
static VERDICTS: PlainMutex<BTreeMap<usize, Arc<Report>>> = PlainMutex::new(BTreeMap::new());

/// A wait that stands in a queue, with what is to be done when it ends.
pub(crate) struct Queued {
    waiter: Arc<Waiter>,
    signal: Signal,
}

impl Deref for Queued {
    type Target = Arc<Waiter>;

    fn deref(&self) -> &Arc<Waiter> {
        &self.waiter
    }
}

/// In which way somebody waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// A thread is blocked.
    Blocked,
    /// A task of ours, woken by its own waker: other branches of it may go on.
    Task,
    /// A task that others poll: nothing is known of what else can wake it.
    Foreign,
    /// Nobody: something is called at the end. The agent does nothing else meanwhile.
    Call,
}

/// How the end of a wait is told.
pub(crate) enum Signal {
    Thread(Unparker),
    /// A task of ours.
    Task(Arc<TaskWaker>),
    /// A task that others poll.
    Waker(Box<Waker>),
    Call(Box<Call>),
}

impl Signal {
    /// What a waker has in common with its copies, and only with them.
    fn data(&self) -> *const () {
        match self {
            Self::Task(own) => Arc::as_ptr(own).cast(),
            Self::Waker(waker) => waker.data(),
            Self::Thread(_) | Self::Call(_) => std::ptr::null(),
        }
    }
}

/// Called with what came of a wait.
pub(crate) type Call = Box<dyn FnOnce(Result<(), LockError>) + Send>;

/// How a wait stands or ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum State {
    Waiting,
    /// It has what it waited for.
    Granted,
    /// It is no longer in the queue, and may try once more.
    Woken,
    /// It was the victim of a deadlock.
    Failed,
    Cancelled,
    TimedOut,
    Closed,
    Broken,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Granted,
        Self::Woken,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Closed,
        Self::Broken,
    ];
}

/// What is the same for every wait that one operation begins.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) mode: Mode,
    pub(crate) site: &'static Location<'static>,
    pub(crate) timed: bool,
}

/// It stands in no queue yet.
const NO_TICKET: i64 = i64::MIN;

impl Waiter {
    /// Its place in the queue, if it has one.
    pub(crate) fn ticket(&self) -> Option<i64> {
        let ticket = self.ticket.load(Ordering::Relaxed);
        (ticket != NO_TICKET).then_some(ticket)
    }

    /// Under the lock of the queue, once.
    pub(crate) fn set_ticket(&self, ticket: i64) {
        debug_assert!(self.ticket().is_none(), "a wait stands in one queue, once");
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    /// Other frames that cannot go on either, because they are on the same blocked thread.
    pub(crate) fn outer_frames(&self) -> &[u64] {
        self.outer.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Where its verdict is.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::SeqCst))]
    }

    pub(crate) fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    /// Notes where what goes with the wait is found. Under the lock of its queue, while it goes on.
    pub(crate) fn set_place(&self, place: u32) {
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state() == State::Waiting
    }

    /// Whether it is the waker with this data that wakes the task.
    pub(crate) fn is_woken_by(&self, data: *const ()) -> bool {
        self.woken_by.load(Ordering::Relaxed).cast_const() == data
    }

    /// What came of a wait that has ended otherwise than by being woken to try again.
    pub(crate) fn outcome(&self) -> Result<(), LockError> {
        Err(match self.state() {
            State::Granted => return Ok(()),
            State::Failed => match VERDICTS.lock().get(&self.address()) {
                Some(report) => LockError::told(Arc::clone(report)),
                None => unreachable!("a wait fails with its report"),
            },
            State::TimedOut => LockError::Timeout,
            State::Closed => LockError::Closed,
            State::Broken => LockError::Broken,
            State::Waiting | State::Woken | State::Cancelled => LockError::Cancelled,
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.state() == State::Failed {
            VERDICTS.lock().remove(&self.address());
        }
    }
}

impl Queued {
    /// A wait that begins.
    pub(crate) fn new(
        agent: Arc<Agent>,
        how: How,
        request: Request,
        resource: u64,
        place: u32,
        signal: Signal,
    ) -> Self {
        let (since, outer) = if how == How::Blocked {
            (Moment::now(), agent::outer_frames())
        } else {
            (detector::about_now(), Vec::new())
        };
        let waiter = Arc::new(Waiter {
            agent,
            site: request.site,
            since,
            resource,
            how,
            mode: request.mode,
            timed: request.timed,
            state: AtomicU8::new(State::Waiting as u8),
            place: AtomicU32::new(place),
            ticket: AtomicI64::new(NO_TICKET),
            woken_by: AtomicPtr::new(signal.data().cast_mut()),
            outer: (!outer.is_empty()).then(|| Box::new(outer)),
        });
        Self { waiter, signal }
    }

    /// Ends the wait. Under the lock of its queue, from which it was just taken.
    pub(crate) fn end(&self, state: State) {
        debug_assert!(self.is_waiting());
        let store = |order| self.waiter.state.store(state as u8, order);
        match (&self.signal, self.how) {
            // Nobody is woken for it, and nearly always the task itself has dropped it while it was
            // polled: it may fall asleep after that.
            _ if state == State::Cancelled => store(Ordering::SeqCst),
            (Signal::Task(task), _) => {
                store(Ordering::Release);
                task.pulse.wake();
            }
            (_, How::Task) => {
                store(Ordering::SeqCst);
                self.agent.wake();
            }
            _ => store(Ordering::SeqCst),
        }
    }

    /// Ends the wait as the victim of a deadlock. Under the lock of its queue.
    pub(crate) fn fail(&self, report: Arc<Report>) {
        VERDICTS.lock().insert(self.address(), report);
        self.end(State::Failed);
    }

    /// Tells whoever waits that the wait has ended. Not under the lock of the queue.
    fn tell(self) {
        let ended = self.state();
        if ended == State::Granted
            && self.how != How::Blocked
            && self.agent.waits.load(Ordering::SeqCst)
        {
            // It has what others may wait for, though it may be blocked elsewhere and not run.
            detector::look_again(&self.agent);
        }
        match self.signal {
            Signal::Thread(thread) => {
                thread.unpark();
            }
            // Whoever dropped the future knows.
            Signal::Task(_) | Signal::Waker(_) if ended == State::Cancelled => {}
            // It was noted when the wait ended.
            Signal::Task(task) => task.have_polled(),
            Signal::Waker(waker) => waker.wake(),
            Signal::Call(call) => make(*call, self.waiter.outcome()),
        }
    }

    /// Has the task woken by another waker from now on. Under the lock of its queue.
    pub(crate) fn set_signal(&mut self, signal: Signal) {
        self.waiter
            .woken_by
            .store(signal.data().cast_mut(), Ordering::Relaxed);
        self.signal = signal;
    }

    /// Whether `waker` wakes what is woken already. Under the lock of its queue.
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        match &self.signal {
            Signal::Task(own) => own.is_behind(waker),
            Signal::Waker(known) => known.will_wake(waker),
            Signal::Thread(_) | Signal::Call(_) => false,
        }
    }
}

/// Waits whose end is still to be told, when no lock is held any more.
#[must_use]
#[derive(Default)]
pub(crate) struct Ended(Few);

/// Usually there is one, and no allocation is worth it.
#[derive(Default)]
enum Few {
    #[default]
    None,
    One(Queued),
    Many(Vec<Queued>),
}

impl Ended {
    pub(crate) fn push(&mut self, queued: Queued) {
        self.0 = match std::mem::take(&mut self.0) {
            Few::None => Few::One(queued),
            Few::One(first) => Few::Many(vec![first, queued]),
            Few::Many(mut all) => {
                all.push(queued);
                Few::Many(all)
            }
        };
    }

    /// Ends a wait that was just taken from its queue, whose lock is held.
    pub(crate) fn end(&mut self, queued: Queued, state: State) {
        queued.end(state);
        self.push(queued);
    }

    /// Tells all of them. If what one of them has called panics, the others are told all the same,
    /// and then the panic goes on.
    pub(crate) fn tell(self) {
        let all = match self.0 {
            Few::None => return,
            Few::One(queued) => return queued.tell(),
            Few::Many(all) => all,
        };
        let mut outcome = Ok(());
        for queued in all {
            let told = catch(|| queued.tell());
            outcome = outcome.and(told);
        }
        if let Err(panic) = outcome {
            panic::resume_unwind(panic);
        }
    }
}

/// What somebody panicked with.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Calls what is not ours, and stops its panic.
///
/// What follows only tells others, so nothing half done is looked at.
pub(crate) fn catch(call: impl FnOnce()) -> Result<(), Panic> {
    // Under a model checker a panic is how an execution ends.
    if cfg!(any(loom, shuttle)) {
        call();
        return Ok(());
    }
    panic::catch_unwind(AssertUnwindSafe(call))
}

/// While a call is made on a thread.
#[derive(Default)]
struct Calling {
    /// Those to be made after it.
    rest: VecDeque<(Call, Result<(), LockError>)>,
    /// Of the first one that panicked.
    panic: Option<Panic>,
}

thread_local_state! {
    static CALLING: RefCell<Option<Calling>> = RefCell::new(None);
}

/// Makes a call now, or after the one that is under way on this thread.
///
/// Whoever is called lets go of what it was given, and that is the next one's turn: if that were
/// called there and then, a long queue would need a deep stack.
fn make(call: Call, outcome: Result<(), LockError>) {
    let mut next = Some((call, outcome));
    let is_first = CALLING.try_with(|calling| match &mut *calling.borrow_mut() {
        Some(calling) => {
            calling.rest.extend(next.take());
            false
        }
        none => {
            *none = Some(Calling::default());
            true
        }
    });
    let Some((call, outcome)) = next else {
        return;
    };
    if is_first.is_err() {
        // The thread is ending.
        return call(outcome);
    }
    make_one(call, outcome);
    make_rest();
    let calling = CALLING.try_with(|calling| calling.borrow_mut().take());
    if let Some(panic) = calling.ok().flatten().and_then(|calling| calling.panic) {
        panic::resume_unwind(panic);
    }
}

/// Makes the calls at once that were to be made later on this thread, which is about to block.
///
/// If they panic, that goes on when the call that is under way has returned.
pub(crate) fn make_rest() {
    let next = |calling: &RefCell<Option<Calling>>| calling.borrow_mut().as_mut()?.rest.pop_front();
    while let Ok(Some((call, outcome))) = CALLING.try_with(next) {
        make_one(call, outcome);
    }
}

fn make_one(call: Call, outcome: Result<(), LockError>) {
    let Err(panic) = catch(|| call(outcome)) else {
        return;
    };
    let _ = CALLING.try_with(|calling| {
        if let Some(calling) = &mut *calling.borrow_mut()
            && calling.panic.is_none()
        {
            calling.panic = Some(panic);
        }
    });
}
