//! Agents: whoever can hold locks and wait.
//!
//! The number of an agent's *frame* is all that a lock remembers of its holder. Numbers are never
//! used again, so a holder that has ended is simply somebody who does not wait.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ptr;
// What only names things is no business of the model checkers.
use std::sync::atomic::AtomicU64 as NameCounter;
use std::sync::{Arc, LazyLock, Weak};
use std::task::Waker;

use parking_lot::Mutex as PlainMutex;

use crate::calls::{self, Origin, Who};
use crate::faults::{self, Fault};
use crate::frame;
use crate::report::{AgentInfo, AgentKind};
use crate::sync::atomic::{AtomicBool, AtomicI8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, global_state, thread_local_state};
use crate::task::TaskWaker;
use crate::waiter::{How, Signal};

/// The frame of everybody of whom nothing is known: it never counts as waiting.
pub(crate) const ANONYMOUS: u64 = 1;

static NEXT: NameCounter = NameCounter::new(ANONYMOUS + 1);

/// The threads, so that a holder which does not wait has a name too.
static THREADS: LazyLock<PlainMutex<HashMap<u64, Weak<Agent>>>> =
    LazyLock::new(PlainMutex::default);

global_state! {
    static NOBODY: Arc<Agent> = Arc::new(Agent::with_frame(ANONYMOUS, AgentKind::Task, None));
}

thread_local_state! {
    // The frame that this thread runs as. Zero until it first needs one.
    static FRAME: Cell<u64> = Cell::new(0);
    // The frame that what is awaited on this thread belongs to.
    static TASK_FRAME: Cell<u64> = Cell::new(ANONYMOUS);
    // What wakes the task that is polled, to compare with.
    static TASK_WAKER: Cell<*const ()> = Cell::new(ptr::null());
    // Who runs as that frame, if it is not the thread itself, and what it runs inside of.
    static LAYERS: RefCell<Vec<Layer>> = RefCell::new(Vec::new());
    // The agent of the thread itself.
    static ROOT: RefCell<Option<Arc<Agent>>> = RefCell::new(None);
}

/// What runs on a thread inside of something else.
struct Layer {
    whose: Whose,
    /// What ran until it began, and goes on when it has ended.
    outer: Outer,
}

/// What a thread ran as.
#[derive(Clone, Copy)]
struct Outer {
    frame: u64,
    task_frame: u64,
    task_waker: *const (),
}

/// Who runs as the frame of a thread.
enum Whose {
    /// Nobody needed to know yet.
    Unknown,
    Agent(Arc<Agent>),
    /// A task that is polled.
    Task(Arc<TaskWaker>),
}

/// Whoever can hold locks and wait: a thread, a task, or a call being served.
pub(crate) struct Agent {
    pub(crate) frame: u64,
    pub(crate) kind: AgentKind,
    /// Few have that, so it takes no more room.
    more: Option<Box<More>>,
    /// When the chain began whose root it is; zero until it makes a call.
    birth: AtomicU64,
    /// How often it has been a victim, up to some number.
    pub(crate) times_victim: AtomicU16,
    /// What it has set, and zero else.
    priority: AtomicI8,
    /// How many futures are part of it, each with a waker of its own.
    pub(crate) parts: AtomicU32,
    /// On how many threads it runs, as far as it can be on several.
    pub(crate) entered: AtomicU32,
    /// The detector has seen it wait, as a task.
    pub(crate) waits: AtomicBool,
    /// The detector looks at it again soon.
    pub(crate) marked: AtomicBool,
    /// Its next poll is to use a new waker, and whether that has been tried for its present waits.
    pub(crate) renew: AtomicBool,
    pub(crate) renewed: AtomicBool,
    /// What wakes the task at present.
    pub(crate) waker: Mutex<Weak<TaskWaker>>,
}

/// What few agents have.
struct More {
    name: Option<Arc<str>>,
    origin: Option<Origin>,
}

impl Agent {
    /// An agent that is not the root of a thread.
    pub(crate) fn new(kind: AgentKind, name: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self::with_frame(new_frame(), kind, name))
    }

    pub(crate) fn with_frame(frame: u64, kind: AgentKind, name: Option<Arc<str>>) -> Self {
        Self::with_origin(frame, kind, name, None)
    }

    pub(crate) fn with_origin(
        frame: u64,
        kind: AgentKind,
        name: Option<Arc<str>>,
        origin: Option<Origin>,
    ) -> Self {
        let has_more = name.is_some() || origin.is_some();
        Self {
            frame,
            kind,
            more: has_more.then(|| Box::new(More { name, origin })),
            birth: AtomicU64::new(0),
            times_victim: AtomicU16::new(0),
            priority: AtomicI8::new(0),
            parts: AtomicU32::new(0),
            entered: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            renew: AtomicBool::new(false),
            renewed: AtomicBool::new(false),
            waker: Mutex::default(),
        }
    }

    /// The agent that this thread runs as.
    pub(crate) fn current() -> Arc<Self> {
        let current = |layers: &RefCell<Vec<Layer>>| {
            let mut layers = layers.borrow_mut();
            match &mut layers.last_mut()?.whose {
                Whose::Agent(agent) => Some(Arc::clone(agent)),
                Whose::Task(task) => Some(Arc::clone(task.agent())),
                unknown => {
                    let agent = frame::made_now()?;
                    *unknown = Whose::Agent(Arc::clone(&agent));
                    Some(agent)
                }
            }
        };
        match LAYERS.try_with(current) {
            Ok(agent) => agent.unwrap_or_else(Self::root),
            // The thread is ending.
            Err(_) => Self::nobody(),
        }
    }

    /// It is awake.
    pub(crate) fn wake(&self) {
        if let Some(task) = self.waker.lock().upgrade() {
            task.pulse.wake();
        }
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.more.as_deref()?.name.as_ref()
    }

    /// Where the call comes from that it is.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.more.as_deref()?.origin.as_ref()
    }

    /// The chain that it is part of.
    pub(crate) fn chain_id(&self) -> u128 {
        let origin = self.origin();
        origin.map_or_else(
            || calls::chain_of_root(self.frame),
            |origin| origin.chain.id,
        )
    }

    /// Whether others of this process may wait for it, because it serves their call.
    pub(crate) fn has_ancestors(&self) -> bool {
        let origin = self.origin();
        origin.is_some_and(|origin| origin.ancestors.is_some())
    }

    /// When the chain began whose root it is: with its first call.
    pub(crate) fn birth(&self) -> u64 {
        let known = self.birth.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let now = calls::birth_now(self.frame);
        let first = self
            .birth
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|known| known, |_| now)
    }

    /// Its own priority, or that of its chain.
    pub(crate) fn priority(&self) -> i8 {
        match self.priority.load(Ordering::Relaxed) {
            0 => self.origin().map_or(0, |origin| origin.chain.priority),
            own => own,
        }
    }

    /// It was a victim once more.
    pub(crate) fn add_victim(&self) {
        let times = self.times_victim.load(Ordering::Relaxed);
        self.times_victim
            .store(times.saturating_add(1), Ordering::Relaxed);
    }

    /// The agent of this thread itself.
    fn root() -> Arc<Self> {
        ROOT.try_with(|root| {
            let mut root = root.borrow_mut();
            let agent = root.get_or_insert_with(|| {
                let agent = Self::of_thread(std::thread::current().name().map(Arc::from));
                let _ = FRAME.try_with(|current| current.set(agent.frame));
                agent
            });
            Arc::clone(agent)
        })
        .unwrap_or_else(|_| Self::nobody())
    }

    /// The agent of a thread that may have yet to be started.
    pub(crate) fn of_thread(name: Option<Arc<str>>) -> Arc<Self> {
        let agent = Arc::new(Self::with_frame(new_frame(), AgentKind::Thread, name));
        THREADS.lock().insert(agent.frame, Arc::downgrade(&agent));
        agent
    }

    /// Makes this the agent of the thread that calls it, which has not needed one yet.
    pub(crate) fn begin_thread(self: Arc<Self>) {
        let _ = FRAME.try_with(|current| current.set(self.frame));
        let _ = ROOT.try_with(|root| root.replace(Some(self)));
    }

    /// Somebody of whom nothing is known.
    pub(crate) fn nobody() -> Arc<Self> {
        Arc::clone(&NOBODY)
    }

    /// Who it is, for people.
    pub(crate) fn info(&self) -> AgentInfo {
        AgentInfo {
            frame: self.frame,
            kind: self.kind,
            name: self.name().map(|name| str::to_owned(name)),
            place: None,
        }
    }

    /// The thread of this frame, if it is one's root and still runs.
    pub(crate) fn thread(frame: u64) -> Option<AgentInfo> {
        let agent = THREADS.lock().get(&frame)?.upgrade()?;
        Some(agent.info())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.kind == AgentKind::Thread {
            THREADS.lock().remove(&self.frame);
        }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

/// Sets how much would be lost with what this thread, task or call does: of those in a deadlock, one of
/// the lowest priority fails, if they were victims equally often and all or none of them have deadlines.
///
/// The calls that are made for it from now on have the same, also in other processes. At first, and
/// with zero, a call has the priority that it was made with, and everybody else has zero.
///
/// ```
/// // A backup can be made again; what it waits for is to go on.
/// antifreeze_sync::set_priority(-10);
/// ```
pub fn set_priority(priority: i8) {
    let agent = Agent::current();
    if agent.frame != ANONYMOUS {
        agent.priority.store(priority, Ordering::Relaxed);
    }
}

/// Whoever this thread runs as, without making more of it than there is.
pub(crate) fn caller() -> Who {
    let current = |layers: &RefCell<Vec<Layer>>| match &layers.borrow().last()?.whose {
        Whose::Agent(agent) => Some(Who::Agent(Arc::clone(agent))),
        Whose::Task(task) => Some(Who::Agent(Arc::clone(task.agent()))),
        Whose::Unknown => frame::unmade().map(Who::Unmade),
    };
    match LAYERS.try_with(current) {
        Ok(who) => who.unwrap_or_else(|| Who::Agent(Agent::root())),
        Err(_) => Who::Agent(Agent::nobody()),
    }
}

/// The frame that this thread runs as.
#[inline]
pub(crate) fn frame() -> u64 {
    match FRAME.try_with(Cell::get) {
        Ok(0) => first_frame(),
        Ok(frame) => frame,
        Err(_) => ANONYMOUS,
    }
}

#[cold]
fn first_frame() -> u64 {
    Agent::current().frame
}

/// The frame to which a lock belongs that is acquired by awaiting it.
///
/// Outside of our own tasks that is nobody's: the thread that happens to poll has no part in it.
#[inline]
pub(crate) fn task_frame() -> u64 {
    if faults::is(Fault::ThreadsOwnWhatIsAwaited) {
        return frame();
    }
    TASK_FRAME.try_with(Cell::get).unwrap_or(ANONYMOUS)
}

/// The frames that cannot go on while this thread is blocked, other than the one that blocks it.
pub(crate) fn outer_frames() -> Vec<u64> {
    let present = frame();
    let mut outer = Vec::new();
    let _ = LAYERS.try_with(|layers| {
        for layer in &*layers.borrow() {
            if layer.outer.frame > ANONYMOUS && layer.outer.frame != present {
                outer.push(layer.outer.frame);
            }
        }
    });
    outer
}

/// Who waits, in which way, and what is to be woken, when a future is polled with this waker.
pub(crate) fn polled_by(waker: &Waker) -> (Arc<Agent>, How, Signal) {
    let foreign = || Signal::Waker(Box::new(waker.clone()));
    if task_frame() == ANONYMOUS {
        return (Agent::nobody(), How::Foreign, foreign());
    }
    match own_waker(waker) {
        Some(own) => (Arc::clone(own.agent()), How::Task, Signal::Task(own)),
        None => (Agent::current(), How::Foreign, foreign()),
    }
}

/// What wakes the task that is polled on this thread, if that is what `waker` does.
fn own_waker(waker: &Waker) -> Option<Arc<TaskWaker>> {
    let own = |layers: &RefCell<Vec<Layer>>| match &layers.borrow().last()?.whose {
        Whose::Task(task) if task.is_behind(waker) => Some(Arc::clone(task)),
        _ => None,
    };
    LAYERS.try_with(own).ok().flatten()
}

/// Whether a task of ours is polled on this thread, with this waker.
pub(crate) fn is_polled_with(waker: &Waker) -> bool {
    task_frame() != ANONYMOUS
        && TASK_WAKER
            .try_with(Cell::get)
            .is_ok_and(|own| own == waker.data())
}

/// Runs as another agent until it is dropped.
pub(crate) struct Scope {
    /// Whose it is when the thread is ending and keeps no layers any more.
    spare: Option<Whose>,
    /// The agent that was counted as running on one thread more.
    counted: Option<Arc<Agent>>,
}

impl Scope {
    /// Runs as `agent` from now on, on this thread alone.
    pub(crate) fn enter(agent: Arc<Agent>) -> Self {
        let counted = Self::count(&agent);
        let mut scope = Self::begin(agent.frame, Whose::Agent(agent), ANONYMOUS, ptr::null());
        scope.counted = counted;
        scope
    }

    /// Counts that `agent` runs here too, unless it does already.
    fn count(agent: &Arc<Agent>) -> Option<Arc<Agent>> {
        let elsewhere = !FRAME
            .try_with(Cell::get)
            .is_ok_and(|frame| frame == agent.frame);
        elsewhere.then(|| {
            agent.entered.fetch_add(1, Ordering::SeqCst);
            Arc::clone(agent)
        })
    }

    /// Runs as this frame from now on, whose agent is made when it is needed.
    #[inline]
    pub(crate) fn enter_unmade(frame: u64) -> Self {
        Self::begin(frame, Whose::Unknown, ANONYMOUS, ptr::null())
    }

    /// Runs as the agent of this task from now on, as does what is awaited with its waker.
    #[inline]
    pub(crate) fn poll(task: Arc<TaskWaker>, shared: bool) -> Self {
        let frame = task.agent().frame;
        let waker = Arc::as_ptr(&task).cast();
        let counted = if shared {
            Self::count(task.agent())
        } else {
            None
        };
        let mut scope = Self::begin(frame, Whose::Task(task), frame, waker);
        scope.counted = counted;
        scope
    }

    #[inline]
    fn begin(frame: u64, whose: Whose, task_frame: u64, task_waker: *const ()) -> Self {
        let outer = Outer::replace(Outer {
            frame,
            task_frame,
            task_waker,
        });
        let mut layer = Some(Layer { whose, outer });
        let _ = LAYERS.try_with(|layers| layers.borrow_mut().extend(layer.take()));
        Self {
            spare: layer.map(|layer| layer.whose),
            counted: None,
        }
    }

    /// Ends the poll of a task, and gives it back.
    #[inline]
    pub(crate) fn leave(mut self) -> Arc<TaskWaker> {
        let whose = self.end();
        std::mem::forget(self);
        match whose {
            Some(Whose::Task(task)) => task,
            _ => unreachable!("scopes end in the order opposite to that of their beginnings"),
        }
    }

    #[inline]
    fn end(&mut self) -> Option<Whose> {
        if let Some(agent) = self.counted.take() {
            agent.entered.fetch_sub(1, Ordering::SeqCst);
        }
        let layer = LAYERS.try_with(|layers| layers.borrow_mut().pop());
        match layer.ok().flatten() {
            Some(layer) => {
                Outer::replace(layer.outer);
                Some(layer.whose)
            }
            None => self.spare.take(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.end();
    }
}

impl Outer {
    /// The thread runs as this from now on. Gives back what it ran as until now.
    #[inline]
    fn replace(now: Self) -> Self {
        let frame = FRAME.try_with(|current| current.replace(now.frame));
        let task_frame = TASK_FRAME.try_with(|current| current.replace(now.task_frame));
        let task_waker = TASK_WAKER.try_with(|current| current.replace(now.task_waker));
        Self {
            frame: frame.unwrap_or(0),
            task_frame: task_frame.unwrap_or(ANONYMOUS),
            task_waker: task_waker.unwrap_or(ptr::null()),
        }
    }
}

/// A number for a frame that nobody had before; later ones are greater.
pub(crate) fn new_frame() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Counts what a task does. Odd while it sleeps: its last poll is over, and nobody has woken it
/// since. Two equal odd readings mean that it slept in between.
#[derive(Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn sleeps(reading: u64) -> bool {
        reading % 2 == 1
    }

    /// A poll begins.
    pub(crate) fn begin(&self) -> u64 {
        // Acquire: what it was woken for before this must be seen by the poll, or the task would fall
        // asleep again although it has yet to be polled for that.
        match self.0.load(Ordering::Acquire) {
            // Nobody woke it.
            asleep if Self::sleeps(asleep) => self.wake(),
            awake => awake,
        }
    }

    /// It is awake. Must come before whatever the task will be woken by is forgotten.
    pub(crate) fn wake(&self) -> u64 {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let next = (now | 1) + 1;
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return next,
                Err(actual) => now = actual,
            }
        }
    }

    /// A poll is over, without a result, that [began](Self::begin) at this reading. It sleeps unless it
    /// was woken since.
    pub(crate) fn sleep_after(&self, began: u64) {
        let (asleep, order) = (began + 1, Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) == began {
            let _ = self
                .0
                .compare_exchange(began, asleep, order, Ordering::Relaxed);
        }
    }
}
