//! Finds those who can never go on, and fails the wait of one of them.
//!
//! Nothing happens until somebody has waited for a millisecond. Then a thread of our own follows what
//! it waits for: to whoever has that, to what those wait for, and so on. Almost always it comes to
//! somebody who runs, and that was it. If it does not, everything is read once more, and then it is
//! looked whether everybody still is in the same wait. If so, all of them were blocked by each other
//! at the moment between the two readings; and since nobody else can let go of what they hold, they
//! still are.
//!
//! A cycle is closed by its last wait, so looking at each wait once is enough. It is looked again
//! only where a cycle can close without a new wait: when a task ran while it waited or was given
//! something, when somebody's wait failed, and when a second reading differed from the first.

mod elsewhere;
mod past;
mod waits;

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::elsewhere::Kept;
pub use self::elsewhere::{
    Beyond, Part, ReadFrame, ReadWait, Reading, admit, confirm, fail, on_beyond, read,
};
pub use self::past::{Past, past, remember};
use self::waits::Waits;
use crate::agent::{ANONYMOUS, Agent, Pulse};
use crate::calls::{self, CallId, Open, Who};
use crate::clock::{Moment, Tick};
use crate::faults::{self, Fault};
use crate::graph::{self, Candidate, Graph};
use crate::monitor::{Holding, Monitor, Obstacles, Resource, Rules};
use crate::report::{
    AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, Site,
    WaitInfo,
};
use crate::sync::{HashMap, HashSet, Parker, Unparker, global_state, in_order};
use crate::task::{OWN_COPIES, TaskWaker};
use crate::view::{Holder, ResourceState, Snapshot, WaiterState};
use crate::waiter::{self, Ended, How, Waiter};
use crate::waiters::Unseen;

/// How long a wait lasts before it is looked at.
const PATIENCE: Duration = Duration::from_millis(1);

/// When it comes back to a queue at which somebody else was. Often that is a thread whose CPU it took, and
/// which would have to wait for it next: so it does not wait there itself.
const SOON: Duration = Duration::from_micros(100);

/// If it knows of more waits than this, it looks once more a while after the last of them, to forget
/// those that are over.
const MANY: usize = 1024;
const A_WHILE: Duration = Duration::from_secs(1);

/// How many waits are taken out of a queue at a time, so that its lock is not held for long.
const BATCH: usize = 256;

global_state! {
    static INBOX: Mutex<Inbox> = Mutex::default();
    static CORE: Mutex<Core> = Mutex::default();
}
static THREAD: OnceLock<Unparker> = OnceLock::new();
/// The thread sleeps until somebody has news for it.
static IDLE: AtomicBool = AtomicBool::new(false);
static MANUAL: AtomicBool = AtomicBool::new(false);

/// What the detector does not know yet.
#[derive(Default)]
struct Inbox {
    resources: Vec<Arc<dyn Resource>>,
    /// Those whose waits are to be looked at without patience.
    hurried: Vec<Arc<dyn Resource>>,
    agents: Vec<Arc<Agent>>,
}

/// Looks at every wait now, also at those that have just begun, and fails one in each cycle.
///
/// Says how many it failed. There is no need to call it, except in tests that cannot wait for the
/// detector's own thread.
pub fn settle() -> usize {
    let mut verdicts = 0;
    loop {
        let found = with_core(Core::settle_once);
        verdicts += found;
        if found == 0 {
            return verdicts;
        }
    }
}

/// Does something with what the detector knows, and then, when others can get at that again, has
/// happen what came of it.
fn with_core<R>(act: impl FnOnce(&mut Core) -> R) -> R {
    let mut core = CORE.lock();
    let result = act(&mut core);
    let effects = std::mem::take(&mut core.effects);
    drop(core);
    effects.happen();
    result
}

/// Looks at one frame and what it waits for.
#[cfg(feature = "faults")]
pub(crate) fn check_from(frame: u64) -> usize {
    with_core(|core| {
        core.collect(None);
        core.check(&[frame], Instant::now())
    })
}

/// With `true`, nothing is looked at but by [`settle`]. For tests and replays.
pub fn set_manual(manual: bool) {
    MANUAL.store(manual, Ordering::SeqCst);
    wake();
}

/// Whether the agent with this frame waits for something.
///
/// Takes long if very many wait.
pub fn is_waiting(frame: u64) -> bool {
    let core = CORE.lock();
    let news = INBOX.lock().resources.clone();
    let known = core.resources.values().filter_map(Weak::upgrade);
    news.iter()
        .cloned()
        .chain(known)
        .any(|queue| queue.has(frame))
}

/// What everybody waits for at this moment.
///
/// Every queue is read by itself, so what goes on at the same time may show twice or not at all.
/// Locks for which nobody waits are not in it.
pub fn snapshot() -> Snapshot {
    let mut core = CORE.lock();
    core.collect(None);
    core.snapshot()
}

/// Has a queue looked at, into which somebody has just gone.
pub(crate) fn watch<S: Rules>(monitor: &Arc<Monitor<S>>) {
    if !cfg!(feature = "deadlock-detection") {
        return;
    }
    INBOX
        .lock()
        .resources
        .push(Arc::clone(monitor) as Arc<dyn Resource>);
    wake();
}

/// Has a queue looked at at once, for somebody in it who may well wait for what a caller of it holds.
pub(crate) fn hurry<S: Rules>(monitor: &Arc<Monitor<S>>) {
    if !cfg!(feature = "deadlock-detection") {
        return;
    }
    INBOX
        .lock()
        .hurried
        .push(Arc::clone(monitor) as Arc<dyn Resource>);
    wake();
}

/// Has an agent looked at once more.
pub(crate) fn look_again(agent: &Arc<Agent>) {
    let marked = &agent.marked;
    // Nearly always it is marked already, and a load costs far less than an exchange.
    if marked.load(Ordering::SeqCst) || marked.swap(true, Ordering::SeqCst) {
        return;
    }
    INBOX.lock().agents.push(Arc::clone(agent));
    wake();
}

/// When the detector's thread last looked at the clock, while it is awake.
static TICK: Tick = Tick::new();

/// The time, or the time a moment ago: a clock is slow to read.
pub(crate) fn about_now() -> Moment {
    TICK.about_now()
}

/// Whether something changed while it was looked at, so that it has to be looked at again.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn is_unsure() -> bool {
    !CORE.lock().later.is_empty()
}

#[cfg(any(loom, shuttle))]
use crate::checked::wake;

#[cfg(not(any(loom, shuttle)))]
fn wake() {
    let thread = THREAD.get_or_init(start);
    if IDLE.swap(false, Ordering::SeqCst) {
        thread.unpark();
    }
}

fn start() -> Unparker {
    let parker = Parker::new();
    let unparker = parker.unparker();
    let started = std::thread::Builder::new()
        .name("antifreeze-detector".into())
        .spawn(move || run(&parker));
    if let Err(error) = started {
        tracing::error!(%error, "deadlocks will not be found: the detector's thread cannot be started");
    }
    unparker
}

fn run(parker: &Parker) {
    loop {
        let now = Instant::now();
        TICK.note(now);
        let due = if MANUAL.load(Ordering::SeqCst) {
            None
        } else {
            with_core(|core| core.tick(now))
        };
        match due {
            // Whoever begins to wait now is not due before.
            Some(due) if due <= now + PATIENCE => {
                parker.park_deadline(due);
            }
            _ => {
                TICK.stop();
                IDLE.store(true, Ordering::SeqCst);
                let inbox = INBOX.lock();
                let news = !inbox.resources.is_empty()
                    || !inbox.hurried.is_empty()
                    || !inbox.agents.is_empty();
                drop(inbox);
                // Somebody else who looks may have taken in what it held.
                let news = news || CORE.lock().has_news();
                if !news || MANUAL.load(Ordering::SeqCst) {
                    match due {
                        Some(due) => {
                            parker.park_deadline(due);
                        }
                        None => parker.park(),
                    }
                }
                IDLE.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// What the detector knows.
#[derive(Default)]
pub(crate) struct Core {
    /// Queues in which somebody waits who was not looked at yet.
    watched: Vec<Arc<dyn Resource>>,
    waits: Waits,
    /// When to forget those that are over.
    tidy_at: Option<Instant>,
    /// Everything that somebody waits for, and some things for which nobody waits any more.
    resources: HashMap<u64, Weak<dyn Resource>>,
    pruned_resources: usize,
    /// Frames to look at now.
    fresh: Vec<u64>,
    /// Frames to look at later.
    later: Vec<(Instant, u64)>,
    /// What was read for others who look further.
    kept: Kept,
    /// What is still to happen.
    effects: Effects,
}

/// What comes of looking. It runs what is not ours: subscribers, wakers and calls. They may ask what
/// everybody waits for, so it happens when nothing is locked.
#[derive(Default)]
struct Effects {
    reports: Vec<Arc<Report>>,
    /// Tasks to be polled with new wakers.
    renewed: Vec<Arc<Agent>>,
    beyond: Vec<Beyond>,
    ended: Ended,
}

impl Effects {
    fn happen(self) {
        for report in self.reports {
            remember(&report);
            go_on_after(|| tracing::warn!(target: "antifreeze_sync", id = report.id, "{report}"));
        }
        for agent in self.renewed {
            go_on_after(|| {
                let waker = agent.waker.lock().upgrade();
                if let Some(waker) = waker {
                    std::task::Waker::from(waker).wake();
                }
            });
        }
        if !self.beyond.is_empty() {
            go_on_after(|| elsewhere::tell(&self.beyond));
        }
        go_on_after(|| self.ended.tell());
    }
}

/// Calls what is not ours. If it panics, deadlocks are to be found all the same.
fn go_on_after(call: impl FnOnce()) {
    if let Err(panic) = waiter::catch(call) {
        // A subscriber that panicked may do so again.
        let _ = waiter::catch(|| {
            tracing::error!(target: "antifreeze_sync", "somebody panicked when told by the detector");
            drop(panic);
        });
    }
}

impl Core {
    /// Does what is due, and says when there is something to do again.
    fn tick(&mut self, now: Instant) -> Option<Instant> {
        let next = self.collect(Some(now));
        let mut frames = std::mem::take(&mut self.fresh);
        self.later.retain(|&(due, frame)| {
            if due <= now {
                frames.push(frame);
            }
            due > now
        });
        if !frames.is_empty() {
            self.check(&frames, now);
        }
        if self.tidy_at.is_some_and(|at| at <= now) {
            self.waits.tidy();
            self.tidy_at = None;
        }
        let later = self.later.iter().map(|&(due, _)| due).min();
        next.into_iter().chain(later).chain(self.tidy_at).min()
    }

    /// Looks at everything now. If it found something, there may be more.
    fn settle_once(&mut self) -> usize {
        self.collect(None);
        self.fresh.clear();
        self.later.clear();
        let frames: Vec<_> = self.waits.frames().collect();
        self.check(&frames, Instant::now())
    }

    /// Takes in the waits that have lasted long enough at `now`, or all of them. Says when the next
    /// will have.
    fn collect(&mut self, now: Option<Instant>) -> Option<Instant> {
        let hurried = self.empty_inbox(now.unwrap_or_else(Instant::now));
        let before = match now {
            Some(now) => Moment::of(now).before(PATIENCE),
            None => Moment::END,
        };
        let mut next: Option<Instant> = None;
        let mut look_at = |due: Instant| next = Some(next.map_or(due, |next| next.min(due)));
        let mut seen = Vec::new();
        for resource in &hurried {
            // Those that come after are seen in their time.
            resource.see(Moment::END, BATCH, &mut seen);
        }
        self.watched.retain(|resource| {
            let from = seen.len();
            let goes_on = loop {
                match resource.see(before, BATCH, &mut seen) {
                    Unseen::More => {}
                    Unseen::Nothing => break false,
                    Unseen::Since(since) => {
                        look_at(since.instant() + PATIENCE);
                        break true;
                    }
                    Unseen::Busy => {
                        look_at(now.unwrap_or_else(Instant::now) + SOON);
                        break true;
                    }
                }
            };
            // What is never claimed is as good as not waited for.
            if !resource.may_be_claimed() {
                seen.truncate(from);
            }
            if seen.len() > from {
                self.resources
                    .insert(resource.id(), Arc::downgrade(resource));
            }
            goes_on
        });
        if !seen.is_empty() && self.waits.len() + seen.len() > MANY {
            self.tidy_at = Some(now.unwrap_or_else(Instant::now) + A_WHILE);
        }
        for waiter in seen {
            self.keep(waiter);
        }
        self.prune();
        if now.is_none() && self.has_news() {
            wake();
        }
        next
    }

    /// Whether there is something that only the detector's own thread looks at.
    fn has_news(&self) -> bool {
        !self.fresh.is_empty() || !self.later.is_empty()
    }

    /// Gives those resources whose waits are not to be waited for any longer.
    fn empty_inbox(&mut self, now: Instant) -> Vec<Arc<dyn Resource>> {
        let mut inbox = INBOX.lock();
        for resource in inbox.resources.drain(..) {
            self.resources
                .insert(resource.id(), Arc::downgrade(&resource));
            self.watched.push(resource);
        }
        let agents = std::mem::take(&mut inbox.agents);
        let hurried = std::mem::take(&mut inbox.hurried);
        drop(inbox);
        for agent in agents {
            agent.marked.store(false, Ordering::SeqCst);
            in_order();
            if self.waits.of(agent.frame).next().is_some() || calls::calls(agent.frame) {
                self.later.push((now + PATIENCE, agent.frame));
            } else {
                agent.waits.store(false, Ordering::SeqCst);
            }
        }
        hurried
    }

    fn keep(&mut self, waiter: Arc<Waiter>) {
        let frame = waiter.agent.frame;
        if frame == ANONYMOUS {
            return;
        }
        if waiter.how != How::Blocked {
            waiter.agent.renewed.store(false, Ordering::Relaxed);
            // Before its pulse is read: if it is awake then, it will see this before it sleeps.
            waiter.agent.waits.store(true, Ordering::SeqCst);
            in_order();
        }
        self.fresh.push(frame);
        for &outer in waiter.outer_frames() {
            self.waits.keep(outer, Arc::clone(&waiter));
        }
        self.waits.keep(frame, waiter);
    }

    /// Throws out what nobody waits for any more.
    fn prune(&mut self) {
        self.waits.prune();
        if self.resources.len() > 64 + 2 * self.pruned_resources {
            self.resources.retain(|_, resource| {
                resource
                    .upgrade()
                    .is_some_and(|resource| resource.is_waited_for())
            });
            self.pruned_resources = self.resources.len();
        }
    }

    /// What this wait is for, if that is still there.
    fn resource_of(&self, waiter: &Waiter) -> Option<Arc<dyn Resource>> {
        self.resources.get(&waiter.resource)?.upgrade()
    }

    /// Looks at `frames` and all that they wait for. Says how many waits it failed.
    fn check(&mut self, frames: &[u64], now: Instant) -> usize {
        let first = self.read(1, frames);
        let stuck = graph::stuck(&first.graph, true);
        self.effects.beyond.extend(first.beyond(frames, &stuck));
        // Also when others are stuck: those in doubt are not looked at again otherwise.
        first.renew_wakers(&mut self.effects.renewed);
        if stuck.is_empty() {
            return 0;
        }
        let Some(mut second) = self.confirm(first, &stuck) else {
            self.look_later(&stuck, now);
            return 0;
        };
        faults::has_read(3, 0);
        let mut verdicts = 0;
        // Whoever is let in past others, or fails, can go on; that may be enough for the rest.
        loop {
            let stuck = graph::stuck(&second.graph, true);
            if stuck.is_empty() {
                return verdicts;
            }
            if let Some(frame) = second.let_past(&stuck, &mut self.effects.ended) {
                second.graph.frames.remove(&frame);
                // Those behind it in the queue may still be behind others, which was not read.
                self.look_later(&stuck, now);
                continue;
            }
            // Whoever could not be let past others may just have given up, or those in its way have.
            let left = second.left(&stuck);
            if !left.is_empty() {
                for frame in left {
                    second.graph.frames.remove(&frame);
                }
                self.look_later(&stuck, now);
                continue;
            }
            let Some(victim) = second.fail_one(&stuck, now, &mut self.effects) else {
                self.look_later(&stuck, now);
                return verdicts;
            };
            verdicts += 1;
            second.graph.frames.remove(&victim);
            // Others may now stand behind somebody else than what was read.
            self.look_later(&stuck, now);
        }
    }

    fn look_later(&mut self, frames: &[u64], now: Instant) {
        self.later
            .extend(frames.iter().map(|&frame| (now + PATIENCE, frame)));
    }

    /// Reads what `frames` wait for, and in the first pass what those wait for, and so on.
    fn read(&self, pass: u32, frames: &[u64]) -> Closure {
        let mut reading = Closure::default();
        let mut stack = frames.to_vec();
        let mut known: HashSet<u64> = frames.iter().copied().collect();
        let mut go_on = HashSet::new();
        while let Some(frame) = stack.pop() {
            let Some(facts) = self.facts(frame) else {
                continue;
            };
            faults::has_read(pass, frame);
            if pass == 1 {
                // Usually somebody runs who will let it go on, however many others there are.
                let runs = |frame: u64| {
                    let idle = self.waits.of(frame).next().is_none() && !calls::calls(frame);
                    idle || go_on.contains(&frame)
                };
                let ends = (facts.waits.iter()).any(|wait| wait.obstacles.ends_anyway(runs));
                if ends && !faults::is(Fault::OrAsAnd) {
                    go_on.insert(frame);
                    continue;
                }
                for wait in &facts.waits {
                    for holding in wait.obstacles.everybody() {
                        if known.insert(holding.frame) {
                            stack.push(holding.frame);
                        }
                    }
                }
            }
            reading.graph.frames.insert(frame, self.node(&facts));
            reading.facts.insert(frame, facts);
        }
        reading
    }

    fn node(&self, facts: &Facts) -> graph::Frame {
        let waits = facts.waits.iter().map(|wait| &wait.obstacles);
        let mut node = graph::Frame {
            external: facts.external,
            waits: waits.clone().map(Obstacles::need).collect(),
        };
        if faults::is(Fault::OrAsAnd) {
            let all = waits
                .clone()
                .flat_map(Obstacles::everybody)
                .copied()
                .collect();
            node.waits = vec![Obstacles::All(all).need()];
        }
        if faults::is(Fault::StopAtRunning) {
            node.external |= waits
                .flat_map(Obstacles::everybody)
                .any(|holding| self.waits.of(holding.frame).next().is_none());
        }
        node
    }

    /// Reads everything about the `stuck` once more. None if anything has changed.
    fn confirm(&self, mut first: Closure, stuck: &[u64]) -> Option<Closure> {
        if faults::is(Fault::NoSecondPass) {
            first
                .graph
                .frames
                .retain(|frame, _| stuck.binary_search(frame).is_ok());
            return Some(first);
        }
        let second = self.read(2, stuck);
        faults::has_read(2, 0);
        // Only now, after all has been read: whoever was blocked from the first reading until here
        // has not let go of anything in between, whatever others did.
        let same =
            stuck.iter().all(
                |frame| match (first.facts.get(frame), second.facts.get(frame)) {
                    (Some(before), Some(after)) => before.is_same(after),
                    _ => false,
                },
            );
        let still = graph::stuck(&second.graph, true);
        (same && still == stuck).then_some(second)
    }

    fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let mut agents: HashMap<u64, AgentInfo> = HashMap::new();
        let mut resources = Vec::new();
        for resource in self.resources.values().filter_map(Weak::upgrade) {
            let waiters = resource.waiters();
            if waiters.is_empty() {
                continue;
            }
            agents.extend(
                waiters
                    .iter()
                    .map(|waiter| (waiter.agent.frame, waiter.agent.info())),
            );
            let (holders, others) = resource.holders();
            let holders = holders.into_iter().map(|holding| Holder {
                frame: holding.frame,
                agent: Agent::thread(holding.frame).or_else(|| calls::who(holding.frame)),
                mode: holding.mode,
                site: holding.site.map(Into::into),
            });
            resources.push(ResourceState {
                resource: resource.info(),
                holders: holders.collect(),
                others,
                waiters: waiters
                    .iter()
                    .map(|waiter| WaiterState::of(waiter, now))
                    .collect(),
            });
        }
        for holder in resources.iter_mut().flat_map(|state| &mut state.holders) {
            holder.agent = holder
                .agent
                .take()
                .or_else(|| agents.get(&holder.frame).cloned());
        }
        resources.sort_by_key(|state| state.resource.id);
        Snapshot { resources }
    }
}

impl WaiterState {
    fn of(waiter: &Waiter, now: Instant) -> Self {
        Self {
            agent: waiter.agent.info(),
            mode: waiter.mode,
            site: waiter.site.into(),
            waited: waiter.since.until(now),
            timed: waiter.timed,
            chain: waiter.agent.chain_id(),
            parent: waiter.agent.origin().and_then(|origin| origin.parent),
        }
    }
}

/// What was read of some frames.
#[derive(Default)]
struct Closure {
    graph: Graph,
    facts: HashMap<u64, Facts>,
}

/// What was read of one frame.
struct Facts {
    frame: u64,
    /// Who waits: itself, or somebody on the same thread.
    who: Who,
    waits: Vec<Wait>,
    /// Of a task that is not blocked as a whole, what it is woken by, and the reading of its pulse.
    asleep: Option<(Weak<TaskWaker>, u64)>,
    /// Others have wakers of it, too.
    external: bool,
}

/// What was read of one wait.
struct Wait {
    what: What,
    obstacles: Obstacles,
}

/// What is waited for.
enum What {
    Resource(Arc<Waiter>, Arc<dyn Resource>),
    /// The answer to a call.
    Answer(Open),
}

impl Core {
    /// What this frame does. None if it does not wait.
    fn facts(&self, frame: u64) -> Option<Facts> {
        let waits = self.waits.of(frame);
        let mut calls = calls::of(frame);
        let who = match waits.clone().next() {
            Some(first) => Who::Agent(Arc::clone(&first.agent)),
            None => calls.first()?.who.clone(),
        };
        let blocks = |how: How| matches!(how, How::Blocked | How::Call);
        let is_blocked = waits.clone().any(|waiter| blocks(waiter.how))
            || calls.iter().any(|open| blocks(open.how));
        let mut asleep = None;
        let mut external = false;
        if let Some(agent) = who.agent() {
            if !is_blocked && !calls.is_empty() {
                // As for one that was seen to wait for a lock: if it runs, it is looked at when it sleeps.
                agent.waits.store(true, Ordering::SeqCst);
                in_order();
                // They may have other wakers by now, or be over.
                calls = calls::of(frame);
            }
            // On another thread it may go on, and let go of anything.
            if agent.entered.load(Ordering::SeqCst) > u32::from(is_blocked) {
                return None;
            }
            if !is_blocked {
                let task = agent.waker.lock().clone();
                let pulse = read_pulse(&task)?;
                if !Pulse::sleeps(pulse) {
                    return None;
                }
                let data: *const () = task.as_ptr().cast();
                let own = waits.clone().filter(|waiter| waiter.is_woken_by(data));
                let answers = calls.iter().filter(|open| open.woken_by == data.addr());
                let answers = answers.map(|open| usize::from(open.copies)).sum::<usize>();
                let own = own.count() + Pulse::idle(pulse) + answers;
                let copies = task.strong_count();
                // If a copy is gone that was used, the pulse that is read next is a later one.
                fence(Ordering::Acquire);
                let others = copies != OWN_COPIES + own || agent.parts.load(Ordering::SeqCst) > 1;
                external = others && !faults::is(Fault::OthersCannotWake);
                asleep = Some((task, pulse));
            }
        }
        let waiters = waits.filter(|waiter| !is_blocked || blocks(waiter.how));
        let waiters = waiters.filter_map(|waiter| {
            let resource = self.resource_of(waiter)?;
            let inner = waiter.agent.frame;
            let obstacles = match inner == frame {
                true => resource.obstacles(waiter)?,
                // It is on the same thread as whoever waits, and goes on after that one.
                false => Obstacles::All(vec![Holding::nested(inner)]),
            };
            let what = What::Resource(Arc::clone(waiter), resource);
            Some(Wait { what, obstacles })
        });
        let answers = calls.iter().filter(|open| !is_blocked || blocks(open.how));
        let answers = answers.map(|open| Wait {
            obstacles: match open.frame == frame {
                true => self.obstacles_of_call(open),
                false => Obstacles::All(vec![Holding::nested(open.frame)]),
            },
            what: What::Answer(open.clone()),
        });
        let waits: Vec<_> = waiters.chain(answers).collect();
        (!waits.is_empty()).then_some(Facts {
            frame,
            who,
            waits,
            asleep,
            external,
        })
    }

    /// What has to happen for a call to be answered.
    fn obstacles_of_call(&self, open: &Open) -> Obstacles {
        let serving = self.serving(open.id());
        let mut known = serving.iter().filter(|(_, opaque)| !opaque);
        match (known.next(), known.next()) {
            (Some((frame, _)), None) => Obstacles::All(vec![Holding::serving(*frame)]),
            (None, _) if open.away => Obstacles::Away,
            // Whoever serves it runs, or it is not known who does.
            _ => Obstacles::Unknown,
        }
    }

    /// The frames of this process that serve `call` and wait for something, and whether it reached
    /// them through other hands.
    fn serving(&self, call: CallId) -> Vec<(u64, bool)> {
        let mut frames = calls::serving(call);
        frames.extend(self.waits.serving(call));
        frames.sort_unstable();
        frames.dedup();
        let parent = |frame: &u64| {
            let waiting = self.waits.of(*frame).next();
            let who = match waiting {
                Some(waiter) => Who::Agent(Arc::clone(&waiter.agent)),
                None => calls::of(*frame).into_iter().next()?.who,
            };
            let parent = who.origin()?.parent?;
            (parent.call == call).then_some((*frame, parent.opaque))
        };
        frames.iter().filter_map(parent).collect()
    }
}

/// The pulse of a task, if that is still woken by this.
fn read_pulse(task: &Weak<TaskWaker>) -> Option<u64> {
    task.upgrade().map(|task| task.pulse.read())
}

impl Facts {
    /// Whether it does not wait itself, but somebody on the same thread does.
    fn is_nesting(&self) -> bool {
        self.frame != self.who.frame()
    }

    fn who(&self) -> AgentInfo {
        if !self.is_nesting() {
            return self.who.info();
        }
        Agent::thread(self.frame).unwrap_or(AgentInfo {
            frame: self.frame,
            kind: AgentKind::Call,
            name: None,
            place: None,
        })
    }

    /// Whether none of its waits can be failed.
    fn is_spared(&self) -> bool {
        // Whoever is on the same thread as somebody who waits goes on after that one.
        self.is_nesting() || self.failable().is_none()
    }

    /// A wait that can be failed.
    fn failable(&self) -> Option<(&Arc<Waiter>, &Arc<dyn Resource>)> {
        self.waits.iter().find_map(|wait| match &wait.what {
            What::Resource(waiter, resource) => Some((waiter, resource)),
            // Others work on it still.
            What::Answer(_) => None,
        })
    }

    /// Whether it is a call that has yet to begin with what it is to do.
    fn is_entering(&self) -> bool {
        let is_entering = |wait: &Wait| match &wait.what {
            What::Resource(waiter, _) => waiter.how == How::Call,
            What::Answer(_) => false,
        };
        self.waits.iter().all(is_entering)
    }

    fn is_timed(&self) -> bool {
        self.waits.iter().any(|wait| match &wait.what {
            What::Resource(waiter, _) => waiter.timed,
            What::Answer(open) => open.timed,
        })
    }

    /// Whether it was blocked in the same waits all the time until now. `self` was read before.
    fn is_same(&self, after: &Self) -> bool {
        let both = || self.waits.iter().zip(&after.waits);
        let same_members =
            both().all(|(before, after)| before.obstacles.has_same_members(&after.obstacles));
        if !same_members && !faults::is(Fault::MembersUnnoticed) {
            return false;
        }
        if faults::is(Fault::NoRereading) {
            return true;
        }
        let same_sleep = match (&self.asleep, &after.asleep) {
            (None, None) => true,
            (Some((before, pulse)), Some((task, again))) => {
                before.ptr_eq(task) && pulse == again && read_pulse(task) == Some(*pulse)
            }
            _ => false,
        };
        self.waits.len() == after.waits.len()
            && both().all(|(before, after)| before.is_same(after))
            && after.waits.iter().all(Wait::goes_on)
            && same_sleep
    }
}

impl Closure {
    /// Has tasks polled with new wakers if only copies of the old ones that others hold speak for
    /// them: those may be left over from something that the task no longer waits for.
    fn renew_wakers(&self, renewed: &mut Vec<Arc<Agent>>) {
        if faults::is(Fault::NoRenewal) {
            return;
        }
        let is_new = |agent: &Arc<Agent>| !agent.renewed.load(Ordering::Relaxed);
        let doubtful = |facts: &&Facts| facts.external && facts.who.agent().is_some_and(is_new);
        if !self.facts.values().any(|facts| doubtful(&facts)) {
            return;
        }
        let mut graph = self.graph.clone();
        for (frame, node) in &mut graph.frames {
            if let Some(facts) = self.facts.get(frame) {
                node.external &= !doubtful(&facts);
            }
        }
        for frame in graph::stuck(&graph, true) {
            let facts = self.facts.get(&frame).filter(doubtful);
            let Some(agent) = facts.and_then(|facts| facts.who.agent()) else {
                continue;
            };
            agent.renewed.store(true, Ordering::Relaxed);
            agent.renew.store(true, Ordering::Relaxed);
            renewed.push(Arc::clone(agent));
        }
    }

    /// Lets somebody in past those who only came first, if that undoes the deadlock.
    fn let_past(&self, stuck: &[u64], ended: &mut Ended) -> Option<u64> {
        if faults::is(Fault::SoftReported) {
            return None;
        }
        let hard = graph::stuck(&self.graph, false);
        stuck
            .iter()
            .copied()
            .filter(|frame| hard.binary_search(frame).is_err())
            .find(|frame| {
                self.facts
                    .get(frame)
                    .is_some_and(|facts| facts.waits.iter().any(|wait| wait.overtake(ended)))
            })
    }

    /// Those of the `stuck` of whom a wait is over by now.
    fn left(&self, stuck: &[u64]) -> Vec<u64> {
        if faults::is(Fault::LeavingUnnoticed) {
            return Vec::new();
        }
        let waits = |facts: &Facts| facts.waits.iter().all(Wait::goes_on);
        let has_left = |frame: &u64| self.facts.get(frame).is_some_and(|facts| !waits(facts));
        stuck.iter().copied().filter(has_left).collect()
    }

    /// Fails the wait of one of the `stuck`. None if that has changed in the last moment.
    fn fail_one(&self, stuck: &[u64], now: Instant, effects: &mut Effects) -> Option<u64> {
        let victim = graph::victim(&self.graph, stuck, |frame| {
            let facts = self.facts.get(&frame);
            facts.map_or_else(
                || Candidate {
                    frame,
                    spared: true,
                    ..Candidate::default()
                },
                Facts::candidate,
            )
        })?;
        let members = graph::closed_set(&self.graph, stuck, victim);
        let facts = self.facts.get(&victim)?;
        let report = Arc::new(self.report(&members, victim, now));
        let (waiter, resource) = facts.failable()?;
        if !resource.fail(waiter, &report, &mut effects.ended) {
            return None;
        }
        waiter.agent.add_victim();
        effects.reports.push(report);
        Some(victim)
    }

    /// What a wait is for: a call goes by the name of who serves it, if that is known.
    fn resource(&self, wait: &Wait) -> ResourceInfo {
        let mut resource = wait.resource();
        if let (What::Answer(_), Obstacles::All(serving)) = (&wait.what, &wait.obstacles)
            && let [one] = &serving[..]
            && let Some(facts) = self.facts.get(&one.frame)
        {
            resource.name = facts.who().name;
        }
        resource
    }

    fn report(&self, members: &[u64], victim: u64, now: Instant) -> Report {
        let known: Vec<_> = members
            .iter()
            .filter_map(|frame| self.facts.get(frame))
            .collect();
        let mut upgrade = false;
        let mut holds: HashMap<u64, Vec<HoldInfo>> = HashMap::new();
        let waiting = known.iter().filter(|facts| !facts.is_nesting());
        for wait in waiting.flat_map(|facts| &facts.waits) {
            let resource = self.resource(wait);
            for holding in wait.obstacles.everybody() {
                upgrade |= wait.is_upgrade(holding);
                let info = holding.info(&resource);
                let held = holds.entry(holding.frame).or_default();
                // Several may wait for the same.
                if !held.iter().any(|other| {
                    (other.resource.id, other.mode, other.queued)
                        == (info.resource.id, info.mode, info.queued)
                }) {
                    held.push(info);
                }
            }
        }
        let told: Vec<_> = known
            .iter()
            .map(|facts| Member {
                agent: facts.who(),
                waits: facts
                    .waits
                    .iter()
                    .map(|wait| WaitInfo {
                        resource: self.resource(wait),
                        ..wait.info(now)
                    })
                    .collect(),
                holds: holds.remove(&facts.frame).unwrap_or_default(),
            })
            .collect();
        let mut waits = told.iter().flat_map(|member| &member.waits);
        let is_pool = waits.any(|wait| wait.resource.is_pool());
        let mut chains = known.iter().map(|facts| facts.who.chain().id);
        let first = chains.next();
        // Calls that are made for each other are one, seen from outside.
        let is_one = told.len() == 1 || chains.all(|chain| Some(chain) == first);
        let kind = match (is_one, upgrade) {
            _ if is_pool => DeadlockKind::Pool,
            (true, true) => DeadlockKind::Upgrade,
            (true, false) => DeadlockKind::SelfLock,
            (false, _) => DeadlockKind::Cycle,
        };
        // Somebody outside the ring who waits for it has no place in it.
        let victim = told
            .iter()
            .position(|member| member.agent.frame == victim)
            .unwrap_or(told.len());
        Report::new(kind, told, victim)
    }
}

impl Wait {
    /// What it is for, for people.
    fn resource(&self) -> ResourceInfo {
        match &self.what {
            What::Resource(_, resource) => resource.info(),
            What::Answer(open) => open.resource(),
        }
    }

    /// The wait, for people.
    fn info(&self, now: Instant) -> WaitInfo {
        let resource = self.resource();
        match &self.what {
            What::Resource(waiter, _) => WaitInfo {
                resource,
                mode: waiter.mode,
                site: waiter.site.into(),
                waited: waiter.since.until(now),
                timed: waiter.timed,
            },
            What::Answer(open) => WaitInfo {
                resource,
                mode: Mode::Answer,
                site: open.site.map_or_else(Site::unknown, Site::from),
                waited: now.saturating_duration_since(open.since),
                timed: open.timed,
            },
        }
    }

    fn mode(&self) -> Mode {
        match &self.what {
            What::Resource(waiter, _) => waiter.mode,
            What::Answer(_) => Mode::Answer,
        }
    }

    /// Whether it wants alone what `holding` has with others.
    fn is_upgrade(&self, holding: &Holding) -> bool {
        let shares = matches!(
            holding.mode,
            Mode::Read | Mode::UpgradableRead | Mode::Upgrade
        );
        self.mode() == Mode::Write && shares && !holding.queued
    }

    /// Whether it is for the same.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::Resource(before, _), What::Resource(after, _)) => Arc::ptr_eq(before, after),
            (What::Answer(before), What::Answer(after)) => before.seq == after.seq,
            _ => false,
        }
    }

    fn goes_on(&self) -> bool {
        match &self.what {
            What::Resource(waiter, _) => waiter.is_waiting(),
            What::Answer(open) => open.ancestor().is_waiting(),
        }
    }

    /// Lets it in past those who only came first.
    fn overtake(&self, ended: &mut Ended) -> bool {
        match &self.what {
            What::Resource(waiter, resource) => {
                self.obstacles.everybody().any(|holding| holding.queued)
                    && resource.overtake(waiter, ended)
            }
            What::Answer(_) => false,
        }
    }
}

impl Facts {
    fn candidate(&self) -> Candidate {
        let chain = self.who.origin().map(|_| self.who.chain());
        let own = self
            .who
            .agent()
            .map_or(0, |agent| agent.times_victim.load(Ordering::Relaxed).into());
        Candidate {
            frame: self.frame,
            times_victim: chain.map_or(own, |chain| chain.times_victim.into()),
            timed: self.is_timed(),
            priority: match self.who.agent() {
                Some(agent) => agent.priority(),
                None => chain.map_or(0, |chain| chain.priority),
            },
            before_body: self.is_entering(),
            // Here, whoever has a later number is younger.
            birth: self.who.origin().map_or(self.frame, |origin| origin.elder),
            depth: self.who.depth().into(),
            spared: self.is_spared(),
        }
    }
}

impl Holding {
    fn info(&self, resource: &ResourceInfo) -> HoldInfo {
        HoldInfo {
            resource: resource.clone(),
            mode: self.mode,
            site: self.site.map(Into::into),
            queued: self.queued,
        }
    }
}

impl Member {
    /// Somebody who would wait for itself.
    pub(crate) fn alone<S: Rules>(
        agent: &Agent,
        monitor: &Monitor<S>,
        request: waiter::Request,
        holding: Option<Holding>,
    ) -> Self {
        let resource = monitor.info();
        let wait = WaitInfo {
            resource: resource.clone(),
            mode: request.mode,
            site: request.site.into(),
            waited: Duration::ZERO,
            timed: request.timed,
        };
        let holds = match holding {
            Some(holding) => holding.info(&resource),
            None => Holding {
                frame: agent.frame,
                mode: Mode::Read,
                site: None,
                queued: false,
            }
            .info(&resource),
        };
        Self {
            agent: agent.info(),
            waits: vec![wait],
            holds: vec![holds],
        }
    }
}
