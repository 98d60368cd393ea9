//! One wait: who waits for what, and how it ended.
//!
//! A wait begins and ends under the lock of the queue in which it stands, so exactly one of grant,
//! verdict, time-out and cancellation ends it. Each wait is an object of its own as far as anybody can
//! tell, so "the same object still waits" means that its agent has been blocked all the time: a task
//! uses an object again only if nobody else has it any more.

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr;
use std::sync::Arc;
// What only tells tasks apart is no business of the model checkers.
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering as Order, fence};
use std::task::Waker;

use parking_lot::Mutex as PlainMutex;

use crate::agent::{self, Agent, Polling};
use crate::clock::Moment;
use crate::detector;
use crate::error::LockError;
use crate::report::{Mode, Report};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering};
use crate::sync::{Unparker, thread_local_state};
use crate::task::TaskWaker;

/// One wait.
///
/// A million may wait at once, so it is small: what is needed to tell of its end is in the queue only.
pub(crate) struct Waiter {
    pub(crate) agent: Arc<Agent>,
    own: Own,
    pub(crate) site: &'static Location<'static>,
    pub(crate) since: Moment,
    /// The number of what it waits for.
    pub(crate) resource: u64,
    pub(crate) how: How,
    pub(crate) mode: Mode,
    pub(crate) timed: bool,
    state: AtomicU8,
    /// A [`Lent`] has it, without being counted.
    lent: AtomicBool,
    /// Where its primitive finds what goes with the wait. Means what the primitive has it mean.
    place: AtomicU32,
    /// Its place in the queue. Set once per wait, under the lock of the queue.
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

/// A wait, as whoever waits has it. It is kept for as long as it is [lent](Waiter::lent).
#[derive(Clone)]
pub(crate) struct Wait(Arc<Waiter>);

impl Wait {
    /// Makes the next wait of what is polled with `waker` of one that is over, if that is a task of ours that
    /// has one.
    #[inline(always)]
    pub(crate) fn again(
        waker: &Waker,
        request: Request,
        since: Moment,
        resource: u64,
        place: u32,
    ) -> Option<Self> {
        let again = |polling: &Polling<'_>| {
            let mut reserve = polling.take_reserve()?;
            let Some(free) = alone(&mut reserve) else {
                // It is not dropped here, where the queue is locked.
                polling.keep(reserve);
                return None;
            };
            free.begin_again(request, since, resource, place);
            polling.use_idle();
            Some(reserve)
        };
        agent::with_task(waker, again).flatten()
    }
}

impl Deref for Wait {
    type Target = Arc<Waiter>;

    fn deref(&self) -> &Arc<Waiter> {
        &self.0
    }
}

impl Drop for Wait {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_lent() {
            limbo::keep(&self.0);
        }
    }
}

/// A wait that stands in a queue, with what is to be done when it ends.
pub(crate) enum Queued {
    Lent(Lent),
    Kept(Kept),
}

/// A wait that is [lent](Waiter::lent), and has what wakes its task.
///
/// Not to count it among those that have the wait makes two atomic operations less of each hand-over, of
/// eight.
pub(crate) struct Lent(ManuallyDrop<Arc<Waiter>>);

/// A wait with what tells of its end.
pub(crate) struct Kept {
    signal: Signal,
    waiter: Arc<Waiter>,
}

impl Deref for Queued {
    type Target = Arc<Waiter>;

    #[inline(always)]
    fn deref(&self) -> &Arc<Waiter> {
        match self {
            Self::Lent(lent) => lent,
            Self::Kept(kept) => &kept.waiter,
        }
    }
}

impl Deref for Lent {
    type Target = Arc<Waiter>;

    #[inline(always)]
    fn deref(&self) -> &Arc<Waiter> {
        &self.0
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
            Self::Task(task) => Arc::as_ptr(task).cast(),
            Self::Waker(waker) => waker.data(),
            Self::Thread(_) | Self::Call(_) => ptr::null(),
        }
    }

    fn will_wake(&self, waker: &Waker) -> bool {
        match self {
            Self::Task(task) => task.is_behind(waker),
            Self::Waker(known) => known.will_wake(waker),
            Self::Thread(_) | Self::Call(_) => false,
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
    fn new(
        agent: Arc<Agent>,
        how: How,
        request: Request,
        since: Moment,
        resource: u64,
        place: u32,
        woken_by: *const (),
    ) -> Self {
        let outer = match how {
            How::Blocked => agent::outer_frames(),
            _ => Vec::new(),
        };
        Self {
            agent,
            own: Own::none(),
            site: request.site,
            since,
            resource,
            how,
            mode: request.mode,
            timed: request.timed,
            state: AtomicU8::new(State::Waiting as u8),
            lent: AtomicBool::new(false),
            place: AtomicU32::new(place),
            ticket: AtomicI64::new(NO_TICKET),
            woken_by: AtomicPtr::new(woken_by.cast_mut()),
            outer: (!outer.is_empty()).then(|| Box::new(outer)),
        }
    }

    /// A wait of a task of ours.
    #[cold]
    fn of_task(
        task: &Arc<TaskWaker>,
        request: Request,
        since: Moment,
        resource: u64,
        place: u32,
    ) -> Self {
        let (agent, data) = (Arc::clone(task.agent()), Arc::as_ptr(task).cast());
        let mut waiter = Self::new(agent, How::Task, request, since, resource, place, data);
        waiter.own = Own::new(Arc::clone(task));
        waiter
    }

    /// Makes another wait of it, of the same task: nobody else has it, so nobody takes the two for the
    /// same.
    #[inline]
    fn begin_again(&mut self, request: Request, since: Moment, resource: u64, place: u32) {
        self.site = request.site;
        self.since = since;
        self.resource = resource;
        self.mode = request.mode;
        self.timed = request.timed;
        self.state.store(State::Waiting as u8, Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
        self.ticket.store(NO_TICKET, Ordering::Relaxed);
    }

    /// Whether a [`Lent`] has it, which is not counted. If not, whoever had it has done with it.
    #[inline]
    fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Acquire)
    }

    /// Has the detector look again if it has seen its agent wait, which has something now that others may
    /// wait for, though it may be blocked elsewhere and not run.
    #[inline(always)]
    fn look_again(&self) {
        if self.agent.waits.load(Ordering::SeqCst) {
            detector::look_again(&self.agent);
        }
    }

    /// Whether it is over and has what wakes `task` still.
    #[inline]
    pub(crate) fn is_idle_of(&self, task: &Arc<TaskWaker>) -> bool {
        let is_own = |own| Arc::ptr_eq(own, task);
        !self.is_waiting() && self.own.get().is_some_and(is_own)
    }

    /// Its place in the queue, if it has one.
    pub(crate) fn ticket(&self) -> Option<i64> {
        let ticket = self.ticket.load(Ordering::Relaxed);
        (ticket != NO_TICKET).then_some(ticket)
    }

    /// Under the lock of the queue, once per wait.
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
        ptr::from_ref(self).addr()
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

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.is(State::Waiting)
    }

    #[inline]
    pub(crate) fn is(&self, state: State) -> bool {
        self.state.load(Ordering::SeqCst) == state as u8
    }

    /// Whether it is the waker with this data that wakes the task.
    pub(crate) fn is_woken_by(&self, data: *const ()) -> bool {
        self.woken_by.load(Ordering::Relaxed).cast_const() == data
    }

    /// What came of a wait that has ended otherwise than by being woken to try again.
    #[inline]
    pub(crate) fn outcome(&self) -> Result<(), LockError> {
        if self.is(State::Granted) {
            return Ok(());
        }
        self.failure()
    }

    #[cold]
    fn failure(&self) -> Result<(), LockError> {
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
        if CHECKED {
            // Model checkers know nothing of what `Arc` puts in order, but this sees the newest value.
            let is_lent = self.lent.swap(false, Ordering::SeqCst);
            assert!(!is_lent, "somebody has it still");
        }
        if self.is(State::Failed) {
            VERDICTS.lock().remove(&self.address());
        }
        if let Some(own) = self.own.get()
            && !self.is_waiting()
        {
            // Before it is gone: there may seem to be one too many, but not one too few.
            own.pulse.take_idle(1);
        }
    }
}

/// The copy that a wait has of what wakes its task, if it has one. It is taken out if somebody else has
/// the wait when that ends: then the task will not use it again, and nobody is to keep what is not ours.
struct Own(UnsafeCell<Option<Arc<TaskWaker>>>);

// SAFETY: it is changed by nobody but who has a wait in its queue, under the lock of that and before the
// wait has ended. Until then it is read under that lock only, and later nobody changes it any more, until
// the wait is used again or dropped, for both of which nobody else may have it.
unsafe impl Sync for Own {}

impl Own {
    const fn none() -> Self {
        Self(UnsafeCell::new(None))
    }

    fn new(task: Arc<TaskWaker>) -> Self {
        Self(UnsafeCell::new(Some(task)))
    }

    /// Under the lock of the queue in which the wait stands, or when it has ended.
    #[inline]
    fn get(&self) -> Option<&Arc<TaskWaker>> {
        // SAFETY: nobody changes it at the same time, as said above.
        unsafe { &*self.0.get() }.as_ref()
    }

    /// Under the lock of the queue in which the wait stands, while nothing that `get` gave is in use.
    fn take(&self) -> Option<Arc<TaskWaker>> {
        // SAFETY: nobody reads or changes it at the same time, as said above.
        unsafe { &mut *self.0.get() }.take()
    }
}

/// Whether what must hold of waits that are lent is looked at, too.
const CHECKED: bool = cfg!(any(debug_assertions, loom, shuttle));

/// Waits that were dropped while they were lent: while somebody tells of their end.
pub(crate) mod limbo {
    use super::{Arc, AtomicUsize, Order, Waiter};
    use crate::sync::{Mutex, global_state};

    global_state! {
        static WAITS: Mutex<Vec<Arc<Waiter>>> = Mutex::default();
    }

    /// How many there are.
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// Keeps `waiter` until it is given back.
    #[cold]
    pub(super) fn keep(waiter: &Arc<Waiter>) {
        let mut waits = WAITS.lock();
        waits.push(Arc::clone(waiter));
        COUNT.store(waits.len(), Order::SeqCst);
        drop(waits);
        // It may have been given back just now, by somebody who saw nothing here. If neither sees the other,
        // it stays until the next one is given back.
        if !waiter.is_lent() {
            clear();
        }
    }

    /// Lets go of those that were given back. Not under the lock of a queue.
    #[inline(always)]
    pub(super) fn clear() {
        // Model checkers run several models at once, each with waits of its own.
        if cfg!(any(loom, shuttle)) || COUNT.load(Order::Relaxed) != 0 {
            clear_now();
        }
    }

    /// How many were not given back.
    #[cfg(all(test, loom))]
    pub(crate) fn count() -> usize {
        clear();
        WAITS.lock().len()
    }

    #[cold]
    fn clear_now() {
        let mut waits = WAITS.lock();
        let (kept, over) = waits.drain(..).partition(|waiter| waiter.is_lent());
        *waits = kept;
        COUNT.store(waits.len(), Order::SeqCst);
        drop(waits);
        // What they have is not ours, and may come back here when it is dropped.
        let over: Vec<_> = over;
        drop(over);
    }
}

impl Queued {
    /// A wait that begins.
    pub(crate) fn new(
        agent: Arc<Agent>,
        how: How,
        request: Request,
        since: Moment,
        resource: u64,
        place: u32,
        signal: Signal,
    ) -> (Self, Wait) {
        let waiter = Waiter::new(agent, how, request, since, resource, place, signal.data());
        let waiter = Arc::new(waiter);
        let kept = Kept {
            signal,
            waiter: Arc::clone(&waiter),
        };
        (Self::Kept(kept), Wait(waiter))
    }

    /// A wait that begins of what is polled with `waker`.
    pub(crate) fn polled(
        waker: &Waker,
        request: Request,
        since: Moment,
        resource: u64,
        place: u32,
    ) -> (Self, Wait) {
        let of_task = |polling: &Polling<'_>| {
            let waiter = Waiter::of_task(polling.task, request, since, resource, place);
            let wait = Wait(Arc::new(waiter));
            (Self::Lent(Lent::of(&wait)), wait)
        };
        agent::with_task(waker, of_task).unwrap_or_else(|| {
            let agent = agent::of_awaited();
            let signal = Signal::Waker(Box::new(waker.clone()));
            Self::new(agent, How::Foreign, request, since, resource, place, signal)
        })
    }

    /// Ends the wait. Under the lock of its queue, from which it was just taken.
    pub(crate) fn end(&mut self, state: State) {
        match self {
            Self::Lent(lent) if state == State::Granted && lent.is_alone() => lent.grant(),
            _ => self.keep().end(state),
        }
    }

    /// Has it counted, and takes what wakes its task out of it. Under the lock of its queue, before it has
    /// ended.
    pub(crate) fn keep(&mut self) -> &mut Kept {
        if let Self::Lent(lent) = self {
            let kept = lent.keep();
            lent.give_back();
            // Not dropped: what lies in limbo is not ours, and may want this very queue.
            mem::forget(mem::replace(self, Self::Kept(kept)));
        }
        match self {
            Self::Kept(kept) => kept,
            Self::Lent(_) => unreachable!("it was just made another one"),
        }
    }

    /// Ends the wait as the victim of a deadlock. Under the lock of its queue.
    pub(crate) fn fail(&mut self, report: Arc<Report>) {
        VERDICTS.lock().insert(self.address(), report);
        self.end(State::Failed);
    }

    /// Tells whoever waits that the wait has ended. Not under the lock of the queue.
    ///
    /// Until a task is told, it seems to sleep still, but not to be woken by its waits only: there is one
    /// copy of its waker that belongs to none of those that go on, and is not idle yet.
    #[inline]
    pub(crate) fn tell(self) {
        match self {
            Self::Lent(lent) => lent.tell(),
            Self::Kept(kept) => kept.tell(),
        }
    }

    /// Whether `waker` wakes what is woken already. Under the lock of its queue.
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        match self {
            Self::Lent(lent) => lent.own.get().is_some_and(|own| own.is_behind(waker)),
            Self::Kept(kept) => kept.signal.will_wake(waker),
        }
    }
}

impl Lent {
    /// Lends a wait that begins, which nobody else has yet and which has what wakes its task.
    #[inline(always)]
    pub(crate) fn of(wait: &Wait) -> Self {
        assert!(!CHECKED || !wait.is_lent() && Arc::strong_count(wait) == 1);
        wait.0.lent.store(true, Ordering::Relaxed);
        // SAFETY: it is never dropped, and whoever has the other copy, which is private, does not drop that
        // while the wait is lent, but leaves it in limbo.
        Self(ManuallyDrop::new(unsafe { ptr::read(&raw const wait.0) }))
    }

    /// Whether nobody but whoever waits has it. Under the lock of its queue.
    ///
    /// If whoever ends it has another one, the wait is not used again, which is all that comes of it.
    #[inline(always)]
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Ends the wait of somebody who has what they waited for, and is alone. Under the lock of its queue,
    /// from which it was just taken.
    #[inline(always)]
    pub(crate) fn grant(&self) {
        debug_assert!(self.0.is_waiting());
        // Its pulse comes after that, which is in one order with all else.
        self.0.state.store(State::Granted as u8, Ordering::Release);
    }

    /// Tells a task that it [has](Self::grant) what it waited for.
    #[inline(always)]
    pub(crate) fn tell(self) {
        if let Some(task) = self.0.own.get() {
            task.pulse.wake_with_idle();
            self.0.look_again();
            task.have_polled();
        }
    }

    /// Nothing is done with it after this.
    #[inline(always)]
    fn give_back(&self) {
        let lent = &raw const self.0.lent;
        // SAFETY: it is there until this says so, and a reference to this field alone may outlive it.
        unsafe { &*lent }.store(false, Ordering::Release);
    }

    #[cold]
    fn keep(&self) -> Kept {
        let Some(task) = self.0.own.take() else {
            unreachable!("what is lent has what wakes its task");
        };
        Kept {
            signal: Signal::Task(task),
            waiter: Arc::clone(&self.0),
        }
    }
}

impl Drop for Lent {
    #[inline(always)]
    fn drop(&mut self) {
        self.give_back();
        limbo::clear();
    }
}

impl Kept {
    fn end(&self, state: State) {
        debug_assert!(self.waiter.is_waiting());
        let store = |order| self.waiter.state.store(state as u8, order);
        match &self.signal {
            _ if state == State::Cancelled => store(Ordering::SeqCst),
            // As in `grant`.
            Signal::Task(_) => store(Ordering::Release),
            // It has no copy of the waker of its task any more, as it would have until it is told.
            Signal::Waker(_) if self.waiter.how == How::Task => {
                store(Ordering::SeqCst);
                self.waiter.agent.wake();
            }
            _ => store(Ordering::SeqCst),
        }
    }

    fn tell(self) {
        let Self { signal, waiter } = self;
        // Nobody is woken, and nearly always the task itself has dropped it while it was polled: it may
        // fall asleep after that.
        let is_cancelled = waiter.is(State::Cancelled);
        if let Signal::Task(task) = &signal
            && !is_cancelled
        {
            task.pulse.wake();
        }
        if waiter.is(State::Granted) && waiter.how != How::Blocked {
            waiter.look_again();
        }
        match signal {
            Signal::Thread(thread) => {
                thread.unpark();
            }
            Signal::Task(_) | Signal::Waker(_) if is_cancelled => {}
            Signal::Task(task) => task.have_polled(),
            Signal::Waker(waker) => waker.wake(),
            Signal::Call(call) => make(*call, waiter.outcome()),
        }
    }

    /// Has what waits woken by another waker from now on. Under the lock of its queue.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        let own = agent::with_task(waker, |polling| Signal::Task(Arc::clone(polling.task)));
        self.signal = own.unwrap_or_else(|| Signal::Waker(Box::new(waker.clone())));
        let data = self.signal.data().cast_mut();
        self.waiter.woken_by.store(data, Ordering::Relaxed);
    }
}

/// The wait, if nobody else has it: what `Arc::get_mut` does, which takes an atomic operation more to
/// rule out weak references, of which there are none.
#[inline]
fn alone(wait: &mut Wait) -> Option<&mut Waiter> {
    let waiter = &wait.0;
    // In this order: what was lent may have been counted instead.
    if waiter.is_lent() || Arc::strong_count(waiter) != 1 {
        return None;
    }
    // Whoever had it before has done with it.
    fence(Ordering::Acquire);
    // SAFETY: this is the only reference to it, and nobody makes weak ones, so that nobody else can come
    // by one while this is borrowed.
    Some(unsafe { &mut *Arc::as_ptr(waiter).cast_mut() })
}

/// Gives back a wait that is over and was looked at for the last time, so that its task can use it for
/// the next one.
#[inline]
pub(crate) fn give_back(wait: Option<Wait>) {
    if let Some(wait) = wait {
        agent::keep(wait);
    }
}

/// Waits whose end is still to be told, when no lock is held any more.
#[must_use]
#[derive(Default)]
pub(crate) struct Ended {
    /// Usually there is one, and no allocation is worth it.
    first: Option<Queued>,
    rest: Option<Vec<Queued>>,
}

impl Ended {
    #[inline]
    pub(crate) fn push(&mut self, queued: Queued) {
        match self.first {
            None => self.first = Some(queued),
            Some(_) => self.rest.get_or_insert_default().push(queued),
        }
    }

    /// Ends a wait that was just taken from its queue, whose lock is held.
    pub(crate) fn end(&mut self, mut queued: Queued, state: State) {
        queued.end(state);
        self.push(queued);
    }

    /// Tells all of them. If what one of them has called panics, the others are told all the same,
    /// and then the panic goes on.
    #[inline]
    pub(crate) fn tell(self) {
        match (self.first, self.rest) {
            (None, _) => {}
            (Some(first), None) => first.tell(),
            (Some(first), Some(rest)) => Self::tell_all(first, rest),
        }
    }

    #[cold]
    fn tell_all(first: Queued, rest: Vec<Queued>) {
        let mut outcome = Ok(());
        for queued in iter::once(first).chain(rest) {
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
    // Whether some are to be made later, to be asked quickly.
    static IS_REST: Cell<bool> = Cell::new(false);
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
            let _ = IS_REST.try_with(|is_rest| is_rest.set(true));
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
#[inline]
pub(crate) fn make_rest() {
    if IS_REST.try_with(Cell::get).unwrap_or(false) {
        make_all();
    }
}

#[cold]
fn make_all() {
    let next = |calling: &RefCell<Option<Calling>>| calling.borrow_mut().as_mut()?.rest.pop_front();
    // What is called may block, and has the others made then.
    while let Ok(Some((call, outcome))) = CALLING.try_with(next) {
        make_one(call, outcome);
    }
    let _ = IS_REST.try_with(|is_rest| is_rest.set(false));
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

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::future::{Future, poll_fn};
    use std::task::{Context, Poll};

    use super::*;
    use crate::agent::Pulse;
    use crate::report::AgentKind;
    use crate::task::{Task, block_on, task};

    /// Begins a wait of what is polled with `waker`, as a queue does.
    fn begin(waker: &Waker, mode: Mode) -> (Queued, Wait) {
        let request = Request {
            mode,
            site: Location::caller(),
            timed: false,
        };
        let now = Moment::now();
        match Wait::again(waker, request, now, 1, 0) {
            Some(wait) => (Queued::Lent(Lent::of(&wait)), wait),
            None => Queued::polled(waker, request, now, 1, 0),
        }
    }

    /// Begins a wait of the task that is polled, and ends it. Gives back the wait.
    fn wait(waker: &Waker, mode: Mode) -> Wait {
        let (queued, wait) = begin(waker, mode);
        assert!(wait.is_waiting() && wait.ticket().is_none());
        wait.set_ticket(7);
        let mut ended = Ended::default();
        ended.end(queued, State::Granted);
        ended.tell();
        wait
    }

    #[test]
    fn a_task_uses_a_wait_again_that_nobody_else_has() {
        /// Whether the second of two waits is the same as the first, if somebody may keep that.
        fn is_same(modes: [Mode; 2], keep: bool) -> bool {
            let waits = poll_fn(|context| {
                let waker = context.waker();
                let first = wait(waker, modes[0]);
                let seen = Arc::as_ptr(&first);
                let kept = keep.then(|| Arc::clone(&first));
                give_back(Some(first));
                // It would lie where the first was, if that were not kept.
                let other = wait(Waker::noop(), modes[1]);
                let second = wait(waker, modes[1]);
                drop((kept, other));
                Poll::Ready(seen == Arc::as_ptr(&second) && second.mode == modes[1])
            });
            block_on(task(waits))
        }
        assert!(is_same([Mode::Write, Mode::Write], false));
        assert!(is_same([Mode::Read, Mode::Write], false));
        assert!(!is_same([Mode::Write, Mode::Write], true));
    }

    #[test]
    fn what_is_idle_is_counted_however_a_poll_ends() {
        #[derive(Clone, Copy, PartialEq)]
        enum End {
            Pending,
            Woken,
            Ready,
            Panic,
        }
        for end in [End::Pending, End::Woken, End::Ready, End::Panic] {
            let mut polls = 0;
            let mut going_on = None;
            let agent = Agent::new(AgentKind::Task, None);
            let mut task = Box::pin(Task::made(
                poll_fn(|context| {
                    let waker = context.waker();
                    if polls == 0 {
                        polls = 1;
                        give_back(Some(wait(waker, Mode::Write)));
                        return Poll::Pending;
                    }
                    // It is the first one again.
                    going_on = Some(begin(waker, Mode::Write));
                    match end {
                        End::Pending => Poll::Pending,
                        End::Woken => {
                            waker.wake_by_ref();
                            Poll::Pending
                        }
                        End::Ready => Poll::Ready(()),
                        End::Panic => panic!("as it is asked to"),
                    }
                }),
                Arc::clone(&agent),
            ));
            let idle = || {
                let waker = agent.waker.lock().upgrade();
                Pulse::idle(waker.unwrap().pulse.read())
            };
            let mut context = Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(&mut context).is_pending());
            assert_eq!(idle(), 1);
            let outcome = catch(|| {
                let _ = task.as_mut().poll(&mut context);
            });
            assert_eq!(outcome.is_err(), end == End::Panic);
            assert_eq!(idle(), 0);
        }
    }
}
