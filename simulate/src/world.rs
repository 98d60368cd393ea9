//! A program while it runs: processes in virtual time, each Rust one with a detector.

mod baselines;
mod calls;
mod detectors;
mod frames;
mod mishaps;
mod truth;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

use antifreeze_detector::faults::Fault;
use antifreeze_detector::{CallId, Config, Core, Counters, Input, Peer};
use fastrand::Rng;

pub use self::baselines::Baseline;
use self::baselines::{Minds, Probe};
pub(crate) use self::detectors::By;
use self::detectors::Mail;
use crate::program::{Kind, MICRO, MILLI, Program, SECOND, Script, Time};

/// How much may happen in a program that comes to an end.
const MOST_EVENTS: u64 = 200_000;
/// How long a deadlock may last.
const LIMIT: Time = 60 * SECOND;
/// When the detector of one process looks at a wait.
const LOCAL: Time = MILLI;

/// What came of a program.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Deadlocks that were found.
    pub found: u64,
    /// Those that were not.
    pub missed: u64,
    /// Those of either sort with Python programs in them.
    pub opaque_found: u64,
    pub opaque_missed: u64,
    /// Those that something else ended first.
    pub dissolved: u64,
    /// Those that nobody could find.
    pub impossible: u64,
    pub false_positives: u64,
    /// Of those who failed though their deadlock was over, though not their wait: for how long, in
    /// microseconds.
    pub late: Vec<u32>,
    /// False reports where they cannot be told from deadlocks.
    pub ambiguous: u64,
    /// And those because the answer of a Python program was under way for longer than detectors wait.
    pub overdue: u64,
    /// Members of reports who were in no deadlock in the wait that is named.
    pub misnamed: u64,
    /// Frames that wait at the end, and are in no deadlock.
    pub left_over: u64,
    pub verdicts: u64,
    pub admitted: u64,
    /// Somebody waited for longer than a millisecond.
    pub contended: bool,
    pub deadlocked: bool,
    pub latencies: Vec<Latency>,
    pub messages: u64,
    pub bytes: u64,
    pub events: u64,
    pub counters: Counters,
    pub largest_closure: usize,
    /// The first thing that went wrong.
    pub problem: Option<String>,
}

/// How long it took to find a deadlock.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// From the last wait to the first verdict, in microseconds.
    pub took: u32,
    pub path: Path,
    /// There are Python programs in it.
    pub opaque: bool,
}

/// Where a deadlock is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Path {
    /// Within one process.
    Local,
    /// Through several, near each other, where nothing goes wrong.
    Near,
    /// The same, through Python.
    Opaque,
    /// Over a slow or lossy network, or with mishaps.
    Rough,
}

pub struct World {
    pub now: Time,
    pub program: Program,
    pub(crate) random: Rng,
    pub(crate) places: Vec<Site>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) calls: Vec<Call>,
    pub(crate) fault: Option<Fault>,
    pub seen: Seen,
    pub(crate) scratch: crate::oracle::Scratch,
    chains: Vec<ChainState>,
    queue: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    /// Events of the program that are still to come.
    to_come: usize,
    onsets: Vec<Onset>,
    /// What the detector that was asked last answered.
    answer: Vec<u8>,
    cut: Vec<(usize, usize, Time)>,
    config: Config,
    /// What is there instead of our detectors.
    baseline: Option<Baseline>,
    minds: Minds,
    /// Truth is looked at only where it may have changed, as there are very many frames.
    pub large: bool,
    rough: bool,
}

/// A process.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) workers: Option<usize>,
    pub(crate) node: u64,
    pub(crate) core: Option<Core>,
    pub(crate) readings: VecDeque<Kept>,
    pub(crate) reading_count: u64,
    /// Those who wait, if there is a leader.
    waiting: BTreeSet<usize>,
    incarnation: u64,
    paused_until: Time,
    timer: Option<Time>,
}

/// What a detector read: in which waits the frames were.
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) at: Time,
    pub(crate) epochs: Vec<(usize, u64)>,
}

pub(crate) struct Resource {
    pub(crate) permits: u32,
    pub(crate) free: u32,
    pub(crate) place: usize,
    pub(crate) is_pool: bool,
    barging: bool,
    pub(crate) holders: Vec<(usize, u32)>,
    pub(crate) queue: VecDeque<Queued>,
}

/// Somebody in a queue.
pub(crate) struct Queued {
    pub(crate) frame: usize,
    permits: u32,
    /// Those who came first no longer keep it out.
    passes: bool,
}

pub(crate) struct Frame {
    pub(crate) place: usize,
    chain: Option<usize>,
    pub(crate) root: u64,
    pub(crate) birth: u64,
    pub(crate) depth: u32,
    pub(crate) times_victim: u32,
    pub(crate) priority: i8,
    script: Rc<Script>,
    next: usize,
    pub(crate) waits: Vec<Wait>,
    pub(crate) timed: bool,
    /// Odd while it waits.
    pub(crate) epoch: u64,
    pub(crate) since: Time,
    /// The call that it serves.
    call: Option<usize>,
    pub(crate) context: Option<Context>,
    served: bool,
    /// The connection that its call came over has ended, as its process knows.
    hung_up: bool,
    done: bool,
    /// The waits, by their numbers, in which it was in a deadlock; and the last one in which it was in
    /// one that was not made by who came first.
    pub(crate) stuck_in: Vec<u64>,
    pub(crate) was_hard: u64,
    /// When that was over, though the wait goes on.
    pub(crate) free_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    Lock(usize, u32),
    Call(usize),
    /// It will wake up by itself.
    Timer,
}

/// What a call tells about where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) parent: CallId,
    caller: Peer,
    via: Option<String>,
}

pub(crate) struct Call {
    pub(crate) caller: usize,
    pub(crate) to: usize,
    pub(crate) to_node: u64,
    script: Rc<Script>,
    pub(crate) state: CallState,
    /// When it was answered.
    over_since: Time,
    /// Its caller knows how it ended.
    pub(crate) answered: bool,
    /// It is sent over a connection that is there already.
    pub(crate) established: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallState {
    OnItsWay,
    Served(usize),
    Over,
}

struct ChainState {
    times_victim: u32,
    retries: u32,
    root: usize,
}

/// A wait that closed a cycle.
struct Onset {
    frame: usize,
    epoch: u64,
    at: Time,
    members: Vec<usize>,
    found: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Done,
    Deadlock,
    Error,
}

struct Entry {
    at: Time,
    number: u64,
    event: Event,
}

enum Event {
    Start(usize),
    Go(usize, u64),
    Timeout(usize, u64),
    Arrive(usize),
    Oneway(usize, Rc<Script>, Option<Context>),
    Return(usize, Outcome),
    Wake(usize),
    Mishap(usize),
    LocalCheck(usize, u64),
    Tell(usize, u64, Told),
    Timer(usize, u64),
    Message(Box<Letter>),
    Chase(Probe),
    Tick(usize),
}

enum Told {
    Leaves(usize, u64),
    Served(usize),
    Ended(usize),
    HungUp(usize),
    Lost(u64),
}

struct Letter {
    from: usize,
    from_node: u64,
    to: usize,
    mail: Mail,
}

impl Resource {
    /// Those who keep this one out only because they came first.
    pub(crate) fn ahead(&self, frame: usize) -> impl Iterator<Item = usize> {
        let mut before = self
            .queue
            .iter()
            .take_while(move |queued| queued.frame != frame);
        let me = self.queue.iter().find(|queued| queued.frame == frame);
        let passes = me.is_some_and(|me| me.passes);
        std::iter::from_fn(move || before.next().map(|queued| queued.frame))
            .take_while(move |_| !passes)
    }
}

impl Frame {
    fn note_stuck(&mut self) {
        if self.stuck_in.last() != Some(&self.epoch) {
            self.stuck_in.push(self.epoch);
        }
    }

    fn note_hard(&mut self) {
        self.was_hard = self.epoch;
        self.free_since = None;
    }

    /// The call for which it was called, as far as it knows.
    pub(crate) fn parent(&self) -> Option<CallId> {
        let context = self.context.as_ref().filter(|_| !self.hung_up);
        context.map(|context| context.parent)
    }
}

impl Event {
    /// Whether it has to do with detectors, so that it waits while one of them reads.
    fn is_of_detectors(&self) -> bool {
        matches!(
            self,
            Self::LocalCheck(..)
                | Self::Tell(..)
                | Self::Timer(..)
                | Self::Message(_)
                | Self::Chase(_)
                | Self::Tick(_)
        )
    }

    fn has_to_wait(&self) -> bool {
        self.is_of_detectors() || matches!(self, Self::Mishap(_))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Runs a program to its end.
pub fn run(program: Program, seed: u64, fault: Option<Fault>) -> Seen {
    let mut world = World::new(program, seed, fault);
    world.run();
    world.seen
}

impl World {
    pub fn new(program: Program, seed: u64, fault: Option<Fault>) -> Self {
        let config = Config {
            seed,
            ..Config::default()
        };
        let resources = program.resources.iter().map(|resource| Resource {
            permits: resource.permits,
            free: resource.permits,
            place: resource.place,
            is_pool: resource.is_pool,
            barging: resource.barging,
            holders: Vec::new(),
            queue: VecDeque::new(),
        });
        let network = &program.network;
        let rough = network.lost > 0
            || network.delay > 2 * MILLI
            || !program.mishaps.is_empty()
            || program.slow_reads > 0;
        let mut world = Self {
            now: 0,
            random: Rng::with_seed(seed),
            places: Vec::new(),
            resources: resources.collect(),
            frames: Vec::new(),
            calls: Vec::new(),
            fault,
            seen: Seen::default(),
            scratch: crate::oracle::Scratch::default(),
            chains: Vec::new(),
            queue: BinaryHeap::new(),
            entries: 0,
            to_come: 0,
            onsets: Vec::new(),
            answer: Vec::new(),
            cut: Vec::new(),
            config,
            baseline: None,
            minds: Minds::default(),
            large: false,
            rough,
            program,
        };
        for place in 0..world.program.places.len() {
            let crate::program::Place { kind, workers } = world.program.places[place];
            world.places.push(Site {
                kind,
                workers,
                node: 0,
                core: None,
                readings: VecDeque::new(),
                reading_count: 0,
                waiting: BTreeSet::new(),
                incarnation: 0,
                paused_until: 0,
                timer: None,
            });
            world.boot(place);
        }
        for number in 0..world.program.chains.len() {
            let at = world.program.chains[number].start;
            world.chains.push(ChainState {
                times_victim: 0,
                retries: world.program.chains[number].retries,
                root: usize::MAX,
            });
            world.later(at, Event::Start(number));
        }
        for number in 0..world.program.mishaps.len() {
            let at = world.program.mishaps[number].0;
            world.later(at, Event::Mishap(number));
        }
        world
    }

    fn boot(&mut self, place: usize) {
        let site = &mut self.places[place];
        site.incarnation += 1;
        site.node = (place as u64 + 1) + 10_000_000 * site.incarnation;
        site.readings.clear();
        site.timer = None;
        if site.kind == Kind::Rust && self.baseline.is_none() {
            let peer = Peer {
                node: site.node,
                address: address(place),
            };
            let mut core = Core::new(peer, self.config.clone());
            core.set_fault(self.fault);
            site.core = Some(core);
        }
    }

    fn later(&mut self, at: Time, event: Event) {
        self.entries += 1;
        self.to_come += usize::from(!event.is_of_detectors());
        self.queue.push(Reverse(Entry {
            at: at.max(self.now),
            number: self.entries,
            event,
        }));
    }

    /// Runs until nothing happens any more but in detectors, and no deadlock is left that they may
    /// find.
    pub fn run(&mut self) {
        let mut last = 0;
        while let Some(Reverse(entry)) = self.queue.pop() {
            if self.to_come > 0 {
                last = entry.at;
            } else if self.onsets.is_empty() || entry.at > last + LIMIT {
                break;
            }
            self.step(entry);
            if !self.large && self.seen.events > MOST_EVENTS {
                self.seen.left_over += 1;
                self.problem(format!("no end at {}", self.now));
                return;
            }
        }
        self.finish();
    }

    /// Lets the program go on for a moment while a detector reads.
    pub(crate) fn linger(&mut self) {
        if self.program.slow_reads == 0 || self.random.bool() {
            return;
        }
        let until = self.now + self.random.u64(..self.program.slow_reads);
        let mut waiting = Vec::new();
        while let Some(Reverse(first)) = self.queue.peek()
            && first.at <= until
        {
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            match entry.event.has_to_wait() {
                true => waiting.push(Reverse(entry)),
                false => self.step(entry),
            }
        }
        self.queue.extend(waiting);
        self.now = self.now.max(until);
    }

    fn step(&mut self, entry: Entry) {
        self.now = self.now.max(entry.at);
        if let Some(place) = self.place_of(&entry.event)
            && self.places[place].paused_until > self.now
        {
            let at = self.places[place].paused_until;
            self.queue.push(Reverse(Entry { at, ..entry }));
            return;
        }
        self.seen.events += 1;
        self.to_come -= usize::from(!entry.event.is_of_detectors());
        match entry.event {
            Event::Start(chain) => self.start(chain),
            Event::Go(frame, epoch) => {
                if self.frames[frame].epoch == epoch && !self.frames[frame].done {
                    self.go(frame);
                }
            }
            Event::Timeout(frame, epoch) => {
                if self.waits_in(frame, epoch) {
                    let timer = self.frames[frame].waits.contains(&Wait::Timer);
                    self.end_wait(frame);
                    match timer {
                        true => self.go_soon(frame),
                        false => self.failed(frame, Outcome::Error),
                    }
                }
            }
            Event::Arrive(call) => self.arrive(call),
            Event::Oneway(to, script, context) => {
                let frame = self.frame(to, None, script, None, context);
                self.frames[frame].root = frame as u64 + 1_000_000_000;
                self.served(frame);
                self.go(frame);
            }
            Event::Return(call, outcome) => self.returned(call, outcome),
            Event::Wake(resource) => self.settle(resource),
            Event::Mishap(number) => self.mishap(number),
            Event::LocalCheck(frame, epoch) => self.local_check(frame, epoch),
            Event::Tell(place, node, told) => self.tell(place, node, told),
            Event::Timer(place, node) => {
                if self.places[place].node == node {
                    if self.places[place]
                        .timer
                        .is_some_and(|timer| timer <= self.now)
                    {
                        self.places[place].timer = None;
                    }
                    self.on(place, Input::Time);
                }
            }
            Event::Message(letter) => self.deliver(*letter),
            Event::Chase(probe) => self.chase(probe),
            Event::Tick(place) => self.tick(place),
        }
    }

    fn place_of(&self, event: &Event) -> Option<usize> {
        Some(match event {
            Event::Start(chain) => self.program.chains[*chain].place,
            Event::Go(frame, _) | Event::Timeout(frame, _) | Event::LocalCheck(frame, _) => {
                self.frames[*frame].place
            }
            Event::Arrive(call) => self.calls[*call].to,
            Event::Return(call, _) => self.frames[self.calls[*call].caller].place,
            Event::Oneway(place, ..)
            | Event::Tell(place, ..)
            | Event::Timer(place, _)
            | Event::Tick(place) => *place,
            Event::Chase(probe) => self.frames[probe.origin].place,
            Event::Message(letter) => letter.to,
            Event::Wake(resource) => self.resources[*resource].place,
            Event::Mishap(_) => return None,
        })
    }

    /// How long something takes from one process to another.
    fn delay(&mut self, from: usize, to: usize) -> Time {
        let usual = match from == to {
            true => 20 * MICRO,
            false => self.program.network.delay,
        };
        let slow = if self.random.u32(..50) == 0 { 5 } else { 0 };
        usual / 2 + self.random.u64(..=usual) + usual * slow
    }

    /// Until when two processes cannot reach each other.
    fn cut_until(&self, one: usize, other: usize) -> Time {
        let between = |(a, b, _): &&(usize, usize, Time)| {
            (*a, *b) == (one, other) || (*a, *b) == (other, one)
        };
        let cut = self.cut.iter().filter(between);
        cut.map(|(.., until)| *until).max().unwrap_or(0)
    }

    fn travel(&mut self, from: usize, to: usize) -> Time {
        self.now.max(self.cut_until(from, to)) + self.delay(from, to)
    }
}

pub(crate) fn address(place: usize) -> String {
    format!("p{place}")
}
