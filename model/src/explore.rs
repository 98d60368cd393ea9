//! Goes through all states, level by level.
//!
//! The set of states seen keeps 64 bits of each ("hash compaction"). Two states that share them
//! would be taken for one, and what only the second leads to be missed: among 150 million states
//! the probability that there is such a pair at all is 150 million² / 2⁶⁵ = 0.0006.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Expect;

/// What can be driven through all its states: one configuration.
pub trait Machine: Sync {
    /// What it is in.
    type State: Copy + Send + Sync;
    /// What leads to the next.
    type Step: Copy + Send;
    /// The renamings that leave the configuration as it is.
    type Symmetry: Sync;

    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it is about.
    fn about(&self) -> &'static str;
    /// What must come of it.
    fn expect(&self) -> Expect;
    /// Whether it is only for `--full`.
    fn large(&self) -> bool;
    /// After how many states to give up.
    fn bound(&self) -> u64;

    /// Where it begins.
    fn start(&self) -> Self::State;
    /// All states one step away.
    fn successors(&self, state: &Self::State, out: &mut Vec<(Self::Step, Self::State)>);
    /// Finds the renamings.
    fn symmetry(&self) -> Self::Symmetry;
    /// The representative of all states that are `state` but for names, and its fingerprint.
    fn canonical(symmetry: &Self::Symmetry, state: &Self::State) -> (u64, Self::State);
    /// A number that differs for different states, but for one pair in 2⁶⁴. Never 0.
    fn fingerprint(state: &Self::State) -> u64;
    /// What is wrong with a state.
    fn wrong(&self, state: &Self::State) -> Option<Outcome>;

    /// How a step counts.
    fn kind(&self, step: &Self::Step, before: &Self::State, after: &Self::State) -> Kind;
    /// A sentence on a step, and the state after it.
    fn tell(&self, step: &Self::Step, after: &Self::State) -> String;
    /// The names of the frames that are deadlocked.
    fn stuck(&self, state: &Self::State) -> String;
}

/// How a step counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It fails a frame.
    Failed,
    /// It lets a waiter past others.
    Admitted,
    /// It puts a check off, which had come to pass 2.
    PutOff,
    /// None of these.
    Other,
}

/// What an exploration came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All states are explored, and all are right.
    Sound,
    /// As many states as allowed are explored, and all are right.
    Bound,
    /// A frame was failed that was not deadlocked.
    Phantom,
    /// A deadlock stays that no check will find.
    Miss,
}

impl Outcome {
    /// Whether this is what was expected.
    pub fn is(self, expected: Expect) -> bool {
        match expected {
            Expect::Sound => matches!(self, Self::Sound | Self::Bound),
            Expect::Phantom => self == Self::Phantom,
            Expect::Miss => self == Self::Miss,
        }
    }
}

/// What an exploration has seen.
pub struct Report<M: Machine> {
    /// How it ended.
    pub outcome: Outcome,
    /// How many states, names apart.
    pub states: u64,
    /// How many steps.
    pub steps: u64,
    /// How many steps from the start to the last state, or to what went wrong.
    pub depth: usize,
    /// How many of the steps failed a frame.
    pub failed: u64,
    /// How many let a waiter past others.
    pub admitted: u64,
    /// How many put a check off.
    pub put_off: u64,
    /// How long it took.
    pub time: Duration,
    /// The shortest way to what went wrong, if asked for.
    pub trace: Vec<(M::Step, M::State)>,
}

/// How to explore.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// On so many threads.
    pub threads: usize,
    /// Keep the way, for [`Report::trace`]. Names are not merged then.
    pub trace: bool,
    /// Say on stderr how it goes.
    pub progress: bool,
    /// Give up after so many states, if not earlier.
    pub bound: u64,
}

/// Goes through all states of a configuration.
pub fn explore<M: Machine>(config: &M, options: Options) -> Report<M> {
    let begun = Instant::now();
    let symmetry = (!options.trace).then(|| config.symmetry());
    let mut seen = Seen::new(options.trace);
    let mut start = config.start();
    if let Some(symmetry) = &symmetry {
        start = M::canonical(symmetry, &start).1;
    }
    seen.insert(M::fingerprint(&start), 0);
    let bound = config.bound().min(options.bound);
    let mut report = Report {
        outcome: Outcome::Sound,
        states: 1,
        steps: 0,
        depth: 0,
        failed: 0,
        admitted: 0,
        put_off: 0,
        time: Duration::ZERO,
        trace: Vec::new(),
    };
    let mut level = vec![vec![start]];
    'levels: while !level.is_empty() {
        let mut next_level = Vec::new();
        for batch in level {
            seen.make_room(report.states);
            let share = batch.len().div_ceil(options.threads);
            let parts: Vec<Part<M>> = if batch.len() < 512 {
                vec![expand(config, symmetry.as_ref(), &seen, &batch)]
            } else {
                std::thread::scope(|scope| {
                    let workers: Vec<_> = batch
                        .chunks(share)
                        .map(|chunk| {
                            scope.spawn(|| expand(config, symmetry.as_ref(), &seen, chunk))
                        })
                        .collect();
                    let join = |worker: std::thread::ScopedJoinHandle<'_, Part<M>>| {
                        worker.join().expect("a worker does not panic")
                    };
                    workers.into_iter().map(join).collect()
                })
            };
            for part in parts {
                report.states += part.new;
                report.steps += part.steps;
                report.failed += part.failed;
                report.admitted += part.admitted;
                report.put_off += part.put_off;
                next_level.extend(part.states);
                if let (Some((outcome, bad)), Outcome::Sound) = (part.wrong, report.outcome) {
                    report.outcome = outcome;
                    if options.trace {
                        report.trace = way_to(config, &seen, bad);
                    }
                }
            }
            if report.outcome != Outcome::Sound {
                report.depth += 1;
                break 'levels;
            }
            if report.states >= bound {
                report.outcome = Outcome::Bound;
                break 'levels;
            }
        }
        level = next_level;
        if !level.is_empty() {
            report.depth += 1;
        }
        if options.progress {
            let width: usize = level.iter().map(Vec::len).sum();
            eprintln!(
                "{}: depth {}, {} states, {width} at the front, {:.0?}",
                config.name(),
                report.depth,
                report.states,
                begun.elapsed()
            );
        }
    }
    report.time = begun.elapsed();
    report
}

const BATCH: usize = 1 << 16;

struct Part<M: Machine> {
    states: Vec<Vec<M::State>>,
    new: u64,
    steps: u64,
    failed: u64,
    admitted: u64,
    put_off: u64,
    wrong: Option<(Outcome, u64)>,
}

fn expand<M: Machine>(
    config: &M,
    symmetry: Option<&M::Symmetry>,
    seen: &Seen,
    batch: &[M::State],
) -> Part<M> {
    let mut part = Part {
        states: Vec::new(),
        new: 0,
        steps: 0,
        failed: 0,
        admitted: 0,
        put_off: 0,
        wrong: None,
    };
    let mut current = Vec::new();
    let mut out = Vec::new();
    let mut nexts = Vec::new();
    for state in batch {
        let from = if seen.parents.is_empty() {
            0
        } else {
            M::fingerprint(state)
        };
        out.clear();
        config.successors(state, &mut out);
        part.steps += out.len() as u64;
        nexts.clear();
        for (step, next) in &out {
            match config.kind(step, state, next) {
                Kind::Failed => part.failed += 1,
                Kind::Admitted => part.admitted += 1,
                Kind::PutOff => part.put_off += 1,
                Kind::Other => {}
            }
            nexts.push(match symmetry {
                Some(symmetry) => M::canonical(symmetry, next),
                None => (M::fingerprint(next), *next),
            });
        }
        // Fetches what `insert` will need, all at a time.
        std::hint::black_box(nexts.iter().fold(0, |all, next| all ^ seen.peek(next.0)));
        for &(fingerprint, next) in &nexts {
            if !seen.insert(fingerprint, from) {
                continue;
            }
            part.new += 1;
            if let Some(outcome) = config.wrong(&next) {
                part.wrong = Some((outcome, fingerprint));
                return part;
            }
            current.push(next);
            if current.len() == BATCH {
                part.states.push(std::mem::take(&mut current));
            }
        }
    }
    if !current.is_empty() {
        part.states.push(current);
    }
    part
}

/// The fingerprints of all states seen, and of the state before each, if wanted.
struct Seen {
    slots: Vec<AtomicU64>,
    parents: Vec<AtomicU64>,
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default)
        .take(count)
        .collect()
}

impl Seen {
    fn new(parents: bool) -> Self {
        let size = 1 << 20;
        Self {
            slots: zeros(size),
            parents: zeros(if parents { size } else { 0 }),
        }
    }

    /// What lies where it would begin to look.
    fn peek(&self, fingerprint: u64) -> u64 {
        self.slots[fingerprint as usize & (self.slots.len() - 1)].load(Ordering::Relaxed)
    }

    /// Whether it was not there yet.
    fn insert(&self, fingerprint: u64, parent: u64) -> bool {
        let mask = self.slots.len() - 1;
        let mut place = fingerprint as usize & mask;
        loop {
            let slot = &self.slots[place];
            let mut found = slot.load(Ordering::Relaxed);
            if found == 0 {
                let exchanged =
                    slot.compare_exchange(0, fingerprint, Ordering::Relaxed, Ordering::Relaxed);
                match exchanged {
                    Ok(_) => {
                        if let Some(slot) = self.parents.get(place) {
                            slot.store(parent, Ordering::Relaxed);
                        }
                        return true;
                    }
                    Err(other) => found = other,
                }
            }
            if found == fingerprint {
                return false;
            }
            place = (place + 1) & mask;
        }
    }

    /// Grows if one more batch might fill it too much.
    fn make_room(&mut self, states: u64) {
        // A batch of states rarely has more new successors than four each.
        let needed = (states as usize + 4 * BATCH) * 10 / 7;
        if needed <= self.slots.len() {
            return;
        }
        let size = needed.next_power_of_two();
        let slots = std::mem::replace(&mut self.slots, zeros(size));
        let parents = match self.parents.len() {
            0 => Vec::new(),
            _ => std::mem::replace(&mut self.parents, zeros(size)),
        };
        for (place, slot) in slots.into_iter().enumerate() {
            let fingerprint = slot.into_inner();
            if fingerprint != 0 {
                let parent = parents
                    .get(place)
                    .map_or(0, |slot| slot.load(Ordering::Relaxed));
                self.insert(fingerprint, parent);
            }
        }
    }

    fn parent(&self, fingerprint: u64) -> u64 {
        let mask = self.slots.len() - 1;
        let mut place = fingerprint as usize & mask;
        while self.slots[place].load(Ordering::Relaxed) != fingerprint {
            place = (place + 1) & mask;
        }
        self.parents[place].load(Ordering::Relaxed)
    }
}

/// The steps from the start to a state.
fn way_to<M: Machine>(config: &M, seen: &Seen, mut fingerprint: u64) -> Vec<(M::Step, M::State)> {
    let mut fingerprints = Vec::new();
    let mut state = config.start();
    while fingerprint != M::fingerprint(&state) {
        fingerprints.push(fingerprint);
        fingerprint = seen.parent(fingerprint);
    }
    let mut way = Vec::new();
    let mut out = Vec::new();
    for fingerprint in fingerprints.into_iter().rev() {
        out.clear();
        config.successors(&state, &mut out);
        let found = out
            .iter()
            .find(|(_, next)| M::fingerprint(next) == fingerprint);
        let &(step, next) = found.expect("a state follows from the one it was found from");
        way.push((step, next));
        state = next;
    }
    way
}
