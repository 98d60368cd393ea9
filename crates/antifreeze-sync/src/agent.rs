//! Agents: whoever can hold locks and wait.
//!
//! The number of an agent's *frame* is all that a lock remembers of its holder. Numbers are never
//! used again, so a holder that has ended is simply somebody who does not wait.

use std::cell::{Cell, OnceCell, RefCell};
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
use crate::frame::Unmade;
use crate::report::{AgentInfo, AgentKind};
use crate::sync::atomic::{AtomicBool, AtomicI8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, global_state, thread_local_state};
use crate::task::TaskWaker;
use crate::waiter::Wait;

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
    // What this thread runs as.
    static NOW: Now = Now::at_first();
    // The agent of the thread itself.
    static ROOT: RefCell<Option<Arc<Agent>>> = RefCell::new(None);
}

/// What a thread runs as.
struct Now {
    /// Zero until the thread first needs one.
    frame: Cell<u64>,
    /// The frame that what is awaited belongs to.
    task_frame: Cell<u64>,
    /// Who runs as that frame, if it is not the thread itself, and what it runs inside of.
    layer: Cell<*const Layer<'static>>,
}

/// What runs on a thread inside of something else. It lies on the stack of that thread.
struct Layer<'a> {
    whose: Whose<'a>,
    /// What ran until it began, and goes on when it has ended.
    outer: Outer,
}

/// What a thread ran as, or is to run as.
#[derive(Clone, Copy)]
struct Outer {
    frame: u64,
    task_frame: u64,
    layer: *const Layer<'static>,
}

/// Who runs as the frame of a thread.
enum Whose<'a> {
    /// A frame whose agent is made when somebody needs to know it.
    Unmade(&'a Unmade, OnceCell<Arc<Agent>>),
    Agent(&'a Arc<Agent>),
    /// A task that is polled.
    Task(&'a Polling<'a>),
}

/// A task while it is polled.
pub(crate) struct Polling<'a> {
    /// What wakes it.
    pub(crate) task: &'a Arc<TaskWaker>,
    /// A wait of it that is over, for the next one.
    reserve: &'a Cell<Option<Wait>>,
    /// It has been woken by itself.
    woken: Cell<bool>,
    /// How many of its idle waits go on as other ones.
    used: Cell<u32>,
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
        with_layer(|layer| match &layer.whose {
            Whose::Agent(agent) => Arc::clone(agent),
            Whose::Task(polling) => Arc::clone(polling.task.agent()),
            Whose::Unmade(unmade, made) => Arc::clone(made.get_or_init(|| unmade.make())),
        })
        .unwrap_or_else(Self::root)
    }

    /// It is awake.
    #[cold]
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
                let _ = NOW.try_with(|now| now.frame.set(agent.frame));
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
        let _ = NOW.try_with(|now| now.frame.set(self.frame));
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
    let current = |layer: &Layer<'_>| match &layer.whose {
        Whose::Agent(agent) => Who::Agent(Arc::clone(agent)),
        Whose::Task(polling) => Who::Agent(Arc::clone(polling.task.agent())),
        Whose::Unmade(unmade, made) => match made.get() {
            Some(agent) => Who::Agent(Arc::clone(agent)),
            None => Who::Unmade(Box::new((*unmade).clone())),
        },
    };
    with_layer(current).unwrap_or_else(|| Who::Agent(Agent::root()))
}

/// The frame that this thread runs as.
#[inline]
pub(crate) fn frame() -> u64 {
    match NOW.try_with(|now| now.frame.get()) {
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
    let frame = NOW.try_with(|now| now.task_frame.get());
    frame.unwrap_or(ANONYMOUS)
}

/// The frames that cannot go on while this thread is blocked, other than the one that blocks it.
pub(crate) fn outer_frames() -> Vec<u64> {
    let present = frame();
    let mut outer = Vec::new();
    let mut next = with_layer(|layer| layer.outer);
    while let Some(around) = next {
        if around.frame > ANONYMOUS && around.frame != present {
            outer.push(around.frame);
        }
        // SAFETY: as in `with_layer`: a layer goes on for as long as what runs inside of it.
        next = unsafe { around.layer.as_ref() }.map(|layer| layer.outer);
    }
    outer
}

/// The agent of what is awaited on this thread with a waker that is not its own.
pub(crate) fn of_awaited() -> Arc<Agent> {
    if task_frame() == ANONYMOUS {
        Agent::nobody()
    } else {
        Agent::current()
    }
}

/// Does something with the task of ours that is polled on this thread, if it is polled with this
/// waker.
#[inline(always)]
pub(crate) fn with_task<R>(waker: &Waker, f: impl FnOnce(&Polling<'_>) -> R) -> Option<R> {
    with_layer(|layer| match layer.whose {
        Whose::Task(polling) if polling.task.is_behind(waker) => Some(f(polling)),
        _ => None,
    })
    .flatten()
}

/// Whether a task of ours is polled on this thread, with this waker.
#[inline]
pub(crate) fn is_polled_with(waker: &Waker) -> bool {
    with_task(waker, |_| ()).is_some()
}

/// Keeps a wait of the task that is polled on this thread, which is over, for the next one.
#[inline]
pub(crate) fn keep(wait: Wait) {
    with_layer(|layer| match layer.whose {
        Whose::Task(polling) if wait.is_idle_of(polling.task) => {
            polling.keep(wait);
        }
        _ => {}
    });
}

/// Notes that a task is woken while it is polled on this thread. Says whether it is.
#[inline]
pub(crate) fn is_woken_by_itself(task: &Arc<TaskWaker>) -> bool {
    let is_polled = with_layer(|layer| match layer.whose {
        Whose::Task(polling) if Arc::ptr_eq(polling.task, task) => {
            polling.woken.set(true);
            true
        }
        _ => false,
    });
    is_polled.unwrap_or(false)
}

/// Runs `f` as `agent`, on this thread alone.
pub(crate) fn run_as<R>(agent: &Arc<Agent>, f: impl FnOnce() -> R) -> R {
    let _counted = Counted::new(agent, true);
    run_inside(Whose::Agent(agent), agent.frame, ANONYMOUS, f)
}

/// Runs `f` as this frame, whose agent is made when it is needed.
#[inline]
pub(crate) fn run_as_unmade<R>(unmade: &Unmade, f: impl FnOnce() -> R) -> R {
    let whose = Whose::Unmade(unmade, OnceCell::new());
    run_inside(whose, unmade.frame(), ANONYMOUS, f)
}

impl<'a> Polling<'a> {
    #[inline]
    pub(crate) fn new(task: &'a Arc<TaskWaker>, reserve: &'a Cell<Option<Wait>>) -> Self {
        Self {
            task,
            reserve,
            woken: Cell::new(false),
            used: Cell::new(0),
        }
    }

    /// Runs `f` as the agent of this task, as does what is awaited with its waker.
    #[inline]
    pub(crate) fn run<R>(&self, shared: bool, f: impl FnOnce() -> R) -> R {
        let agent = self.task.agent();
        let _counted = Counted::new(agent, shared);
        run_inside(Whose::Task(self), agent.frame, agent.frame, f)
    }

    /// It has been polled, without a result, since its pulse was `began`. Says whether it sleeps.
    #[inline]
    pub(crate) fn end(self, began: u64) -> bool {
        // If it was woken by itself, it is awake until it is polled again.
        let sleeps = !self.woken.get() && self.task.pulse.sleep_after(began, self.used.get());
        if sleeps {
            self.used.set(0);
        }
        sleeps
    }

    /// A wait that is over, for the next one.
    #[inline]
    pub(crate) fn take_reserve(&self) -> Option<Wait> {
        self.reserve.take()
    }

    /// Keeps a wait that is over for a later one.
    #[inline]
    pub(crate) fn keep(&self, wait: Wait) {
        self.reserve.set(Some(wait));
    }

    /// A wait that was over is the next one.
    #[inline]
    pub(crate) fn use_idle(&self) {
        self.used.set(self.used.get() + 1);
    }
}

impl Drop for Polling<'_> {
    #[inline]
    fn drop(&mut self) {
        // It does not sleep: it was woken, or is done, or has panicked.
        if self.used.get() > 0 {
            self.task.pulse.take_idle(self.used.get());
        }
    }
}

#[inline]
fn run_inside<R>(whose: Whose<'_>, frame: u64, task_frame: u64, f: impl FnOnce() -> R) -> R {
    let outer = NOW.try_with(Now::get).unwrap_or(Outer::NOTHING);
    // It is not moved until it is dropped, which puts back what ran before.
    let layer = Layer { whose, outer };
    let inside = Outer {
        frame,
        task_frame,
        layer: ptr::from_ref(&layer).cast(),
    };
    let _ = NOW.try_with(|now| now.set(inside));
    f()
}

impl Drop for Layer<'_> {
    #[inline]
    fn drop(&mut self) {
        let own: *const Layer<'static> = ptr::from_ref(self).cast();
        let _ = NOW.try_with(|now| {
            if now.layer.get() != own {
                not_nested();
            }
            now.set(self.outer);
        });
    }
}

impl Outer {
    /// A thread by itself, which has not needed a frame yet.
    const NOTHING: Self = Self {
        frame: 0,
        task_frame: ANONYMOUS,
        layer: ptr::null(),
    };
}

impl Now {
    const fn at_first() -> Self {
        let Outer {
            frame,
            task_frame,
            layer,
        } = Outer::NOTHING;
        Self {
            frame: Cell::new(frame),
            task_frame: Cell::new(task_frame),
            layer: Cell::new(layer),
        }
    }

    #[inline]
    fn get(&self) -> Outer {
        Outer {
            frame: self.frame.get(),
            task_frame: self.task_frame.get(),
            layer: self.layer.get(),
        }
    }

    #[inline]
    fn set(&self, outer: Outer) {
        self.frame.set(outer.frame);
        self.task_frame.set(outer.task_frame);
        self.layer.set(outer.layer);
    }
}

/// Coroutines with stacks of their own can take turns on one thread. What one of them left would be
/// put back here after it has ended.
#[cold]
fn not_nested() -> ! {
    eprintln!("antifreeze-sync: what runs inside of a task or a call must end before that");
    std::process::abort()
}

/// Does something with what runs on this thread, if that is not the thread itself.
#[inline(always)]
fn with_layer<R>(f: impl FnOnce(&Layer<'_>) -> R) -> Option<R> {
    let layer = NOW.try_with(|now| now.layer.get()).ok()?;
    // SAFETY: the pointer is null, or that of a layer on the stack of this thread: when that is dropped
    // it puts back the one around it, and until then what it borrows is borrowed. The one around it is
    // still there, as the program ends if layers are dropped in another order.
    unsafe { layer.as_ref() }.map(f)
}

/// Counts that an agent runs here too, until it is dropped.
struct Counted<'a>(Option<&'a Agent>);

impl<'a> Counted<'a> {
    /// Does so if it can run on several threads, and does not run here already.
    #[inline]
    fn new(agent: &'a Agent, shared: bool) -> Self {
        let is_here = || NOW.try_with(|now| now.frame.get() == agent.frame);
        let is_new = shared && !is_here().unwrap_or(false);
        Self(is_new.then(|| {
            agent.entered.fetch_add(1, Ordering::SeqCst);
            agent
        }))
    }
}

impl Drop for Counted<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(agent) = self.0 {
            agent.entered.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A number for a frame that nobody had before; later ones are greater.
pub(crate) fn new_frame() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a task does, in one word: whether it sleeps, that is, its last poll is over and nobody has woken
/// it since; how many waits of it are idle, that is, over, with the copy of its waker that they had; and,
/// above that, how often it was woken. If it slept at two readings that are equal, it slept in between.
#[derive(Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    const ASLEEP: u64 = 1;
    const ONE_IDLE: u64 = 1 << 1;
    const WOKEN: u64 = 1 << 25;

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn sleeps(reading: u64) -> bool {
        reading & Self::ASLEEP != 0
    }

    /// How many waits are idle.
    pub(crate) fn idle(reading: u64) -> usize {
        (reading % Self::WOKEN / Self::ONE_IDLE) as usize
    }

    /// A poll begins.
    #[inline]
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
    #[inline]
    pub(crate) fn wake(&self) -> u64 {
        self.wake_and(0)
    }

    /// It is awake, and one more of its waits is idle.
    #[inline]
    pub(crate) fn wake_with_idle(&self) {
        self.wake_and(Self::ONE_IDLE);
    }

    #[inline]
    fn wake_and(&self, more: u64) -> u64 {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let next = (now & !Self::ASLEEP).wrapping_add(Self::WOKEN + more);
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return next,
                Err(actual) => now = actual,
            }
        }
    }

    /// So many of its waits are idle no more. Must come before what they had is gone.
    pub(crate) fn take_idle(&self, count: u32) {
        self.0
            .fetch_sub(u64::from(count) * Self::ONE_IDLE, Ordering::SeqCst);
    }

    /// A poll is over, without a result, that [began](Self::begin) at this reading, and so many of its
    /// waits are idle no more. It sleeps unless it was woken since: says whether it does, and changes
    /// nothing if not.
    #[inline]
    pub(crate) fn sleep_after(&self, began: u64, used: u32) -> bool {
        let mut now = self.0.load(Ordering::Relaxed);
        // Others may have dropped waits of it that were idle, which wakes nobody.
        while now / Self::WOKEN == began / Self::WOKEN {
            let asleep = now + Self::ASLEEP - u64::from(used) * Self::ONE_IDLE;
            match self
                .0
                .compare_exchange_weak(now, asleep, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(actual) => now = actual,
            }
        }
        false
    }
}
