//! One wait: who waits for what, and how it ended.
//!
//! A wait begins and ends under the lock of the queue in which it stands, so exactly one of grant,
//! verdict, time-out and cancellation ends it. Each wait is an object of its own, so "the same object
//! still waits" means that its agent has been blocked all the time.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Instant;

use crate::agent::{self, Agent};
use crate::detector;
use crate::error::LockError;
use crate::monitor::Resource;
use crate::report::{Mode, Report, WaitInfo};
use crate::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use crate::sync::{Mutex, Unparker, thread_local_state};

/// One wait.
pub(crate) struct Waiter {
    pub(crate) agent: Arc<Agent>,
    pub(crate) how: How,
    pub(crate) mode: Mode,
    pub(crate) site: &'static Location<'static>,
    pub(crate) since: Instant,
    pub(crate) timed: bool,
    pub(crate) resource: Arc<dyn Resource>,
    /// Other frames that cannot go on either, because they are on the same blocked thread.
    #[expect(
        clippy::box_collection,
        reason = "there is nearly always none, and waits are many"
    )]
    pub(crate) outer: Option<Box<Vec<u64>>>,
    /// Its place in the queue. Set once, under the lock of the queue.
    ticket: AtomicI64,
    /// Where its primitive finds what goes with the wait. Means what the primitive has it mean.
    place: AtomicU32,
    state: AtomicU8,
    verdict: OnceLock<Arc<Report>>,
    signal: Mutex<Signal>,
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
    Told,
    Thread(Unparker),
    Task(Waker),
    Call(Call),
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

    pub(crate) fn new(
        agent: Arc<Agent>,
        how: How,
        request: Request,
        resource: Arc<dyn Resource>,
        signal: Signal,
    ) -> Arc<Self> {
        Arc::new(Self {
            agent,
            how,
            mode: request.mode,
            site: request.site,
            since: match how {
                How::Blocked => Instant::now(),
                _ => detector::about_now(),
            },
            timed: request.timed,
            resource,
            outer: (how == How::Blocked)
                .then(agent::outer_frames)
                .filter(|outer| !outer.is_empty())
                .map(Box::new),
            ticket: AtomicI64::new(NO_TICKET),
            place: AtomicU32::new(0),
            state: AtomicU8::new(State::Waiting as u8),
            verdict: OnceLock::new(),
            signal: Mutex::new(signal),
        })
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

    /// Ends the wait. Under the lock of its queue, from which it was just taken.
    pub(crate) fn end(&self, state: State) {
        debug_assert!(self.is_waiting());
        self.state.store(state as u8, Ordering::SeqCst);
        if self.how == How::Task {
            self.agent.pulse.wake();
        }
    }

    /// Ends the wait as the victim of a deadlock. Under the lock of its queue.
    pub(crate) fn fail(&self, report: Arc<Report>) {
        let _ = self.verdict.set(report);
        self.end(State::Failed);
    }

    /// Tells whoever waits that the wait has ended. Not under the lock of the queue.
    pub(crate) fn tell(&self) {
        let ended = self.state();
        if ended == State::Granted
            && self.how != How::Blocked
            && self.agent.waits.load(Ordering::SeqCst)
        {
            // It has what others may wait for, though it may be blocked elsewhere and not run.
            detector::look_again(&self.agent);
        }
        let signal = std::mem::replace(&mut *self.signal.lock(), Signal::Told);
        match signal {
            Signal::Told => {}
            Signal::Thread(thread) => {
                thread.unpark();
            }
            // Whoever dropped the future knows.
            Signal::Task(_) if ended == State::Cancelled => {}
            Signal::Task(waker) => waker.wake(),
            Signal::Call(call) => make(call, self.outcome()),
        }
    }

    /// Has the task woken by another waker from now on.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut signal = self.signal.lock();
        if let Signal::Task(old) = &mut *signal
            && !old.will_wake(waker)
        {
            old.clone_from(waker);
        }
    }

    /// Whether it is this waker's data that wakes the task.
    pub(crate) fn is_woken_by(&self, data: *const ()) -> bool {
        matches!(&*self.signal.lock(), Signal::Task(waker) if waker.data() == data)
    }

    /// What came of a wait that has ended otherwise than by being woken to try again.
    pub(crate) fn outcome(&self) -> Result<(), LockError> {
        Err(match self.state() {
            State::Granted => return Ok(()),
            State::Failed => match self.verdict.get() {
                Some(report) => LockError::told(Arc::clone(report)),
                None => unreachable!("a wait fails with its report"),
            },
            State::TimedOut => LockError::Timeout,
            State::Closed => LockError::Closed,
            State::Broken => LockError::Broken,
            State::Waiting | State::Woken | State::Cancelled => LockError::Cancelled,
        })
    }

    /// The wait, for people.
    pub(crate) fn info(&self, now: Instant) -> WaitInfo {
        WaitInfo {
            resource: self.resource.info(),
            mode: self.mode,
            site: self.site,
            waited: now.saturating_duration_since(self.since),
            timed: self.timed,
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
    One(Arc<Waiter>),
    Many(Vec<Arc<Waiter>>),
}

impl Ended {
    pub(crate) fn push(&mut self, waiter: Arc<Waiter>) {
        self.0 = match std::mem::take(&mut self.0) {
            Few::None => Few::One(waiter),
            Few::One(first) => Few::Many(vec![first, waiter]),
            Few::Many(mut all) => {
                all.push(waiter);
                Few::Many(all)
            }
        };
    }

    /// Tells all of them. If what one of them has called panics, the others are told all the same,
    /// and then the panic goes on.
    pub(crate) fn tell(self) {
        match self.0 {
            Few::None => {}
            Few::One(waiter) => waiter.tell(),
            Few::Many(all) => tell_all(all.iter().map(|waiter| &**waiter)),
        }
    }

    /// The same, but tells `first` before.
    pub(crate) fn tell_after(self, first: &Waiter) {
        let rest = match &self.0 {
            Few::None => return first.tell(),
            Few::One(waiter) => std::slice::from_ref(waiter),
            Few::Many(all) => all,
        };
        tell_all(std::iter::once(first).chain(rest.iter().map(|waiter| &**waiter)));
    }
}

fn tell_all<'a>(waiters: impl Iterator<Item = &'a Waiter>) {
    let mut outcome = Ok(());
    for waiter in waiters {
        let told = catch(|| waiter.tell());
        outcome = outcome.and(told);
    }
    if let Err(panic) = outcome {
        panic::resume_unwind(panic);
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
