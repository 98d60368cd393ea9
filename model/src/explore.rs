//! Goes through all states, level by level.
//!
//! The set of states seen keeps 64 bits of each ("hash compaction"). Two states that share them
//! would be taken for one, and what only the second leads to be missed: among 150 million states
//! the probability that there is such a pair at all is 150 million² / 2⁶⁵ = 0.0006.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::{Config, Expect};
use crate::detector;
use crate::frames;
use crate::state::{Phase, State, Status, has, members};
use crate::step::{Act, Step};
use crate::symmetry::Symmetry;
use crate::truth::{Edges, deadlocked};

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
#[derive(Debug)]
pub struct Report {
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
    pub trace: Vec<(Step, State)>,
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
}

/// Goes through all states of a configuration.
pub fn explore(config: &Config, options: Options) -> Report {
    let begun = Instant::now();
    let symmetry = (!options.trace).then(|| Symmetry::of(config));
    let mut seen = Seen::new(options.trace);
    let mut start = State::start(config.calls);
    if let Some(symmetry) = &symmetry {
        start = symmetry.canonical(&start).1;
    }
    seen.insert(start.fingerprint(), 0);
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
            let parts: Vec<Part> = if batch.len() < 512 {
                vec![expand(config, symmetry.as_ref(), &seen, &batch)]
            } else {
                std::thread::scope(|scope| {
                    let workers: Vec<_> = batch
                        .chunks(share)
                        .map(|chunk| {
                            scope.spawn(|| expand(config, symmetry.as_ref(), &seen, chunk))
                        })
                        .collect();
                    let join = |worker: std::thread::ScopedJoinHandle<'_, Part>| {
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
                        report.trace = seen.way_to(config, bad);
                    }
                }
            }
            if report.outcome != Outcome::Sound {
                report.depth += 1;
                break 'levels;
            }
            if report.states >= config.bound {
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
                config.name,
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

#[derive(Default)]
struct Part {
    states: Vec<Vec<State>>,
    new: u64,
    steps: u64,
    failed: u64,
    admitted: u64,
    put_off: u64,
    wrong: Option<(Outcome, u64)>,
}

fn expand(config: &Config, symmetry: Option<&Symmetry>, seen: &Seen, batch: &[State]) -> Part {
    let mut part = Part::default();
    let mut current = Vec::new();
    let mut out = Vec::new();
    let mut nexts = Vec::new();
    for state in batch {
        let from = if seen.parents.is_empty() {
            0
        } else {
            state.fingerprint()
        };
        out.clear();
        successors(config, state, &mut out);
        part.steps += out.len() as u64;
        nexts.clear();
        for (step, next) in &out {
            match step.act {
                Act::Fail => part.failed += 1,
                Act::Admit => part.admitted += 1,
                _ => {
                    let late = matches!(
                        state.det.phase,
                        Phase::Again | Phase::Epochs | Phase::Doomed
                    );
                    part.put_off += u64::from(late && next.det.phase == Phase::Idle);
                }
            }
            nexts.push(match symmetry {
                Some(symmetry) => symmetry.canonical(next),
                None => (next.fingerprint(), *next),
            });
        }
        // Fetches what `insert` will need, all at a time.
        std::hint::black_box(nexts.iter().fold(0, |all, next| all ^ seen.peek(next.0)));
        for &(fingerprint, next) in &nexts {
            if !seen.insert(fingerprint, from) {
                continue;
            }
            part.new += 1;
            if let Some(outcome) = what_is_wrong(config, &next) {
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

/// All states one step away.
pub fn successors(config: &Config, state: &State, out: &mut Vec<(Step, State)>) {
    if state.det.phase == Phase::Phantom {
        return;
    }
    for frame in 0..config.frames {
        frames::steps(config, state, frame, out);
    }
    detector::steps(config, state, out);
    if config.judged_by_ever() {
        for (_, next) in out {
            if next.det.phase != Phase::Idle {
                next.det.ever |= deadlocked(config, next, Edges::Hard);
            }
        }
    }
}

fn what_is_wrong(config: &Config, state: &State) -> Option<Outcome> {
    if state.det.phase == Phase::Phantom {
        return Some(Outcome::Phantom);
    }
    (config.expect != Expect::Phantom && is_missed(config, state)).then_some(Outcome::Miss)
}

/// Whether a deadlock stays although everything that is due is done: all frames finish what they
/// are in the midst of and then stand still, and the detector makes all the checks that are due.
fn is_missed(config: &Config, state: &State) -> bool {
    if state.det.phase != Phase::Idle || deadlocked(config, state, Edges::All) == 0 {
        return false;
    }
    let mut state = *state;
    let mut out = Vec::new();
    let busy = |state: &State, frame: usize| {
        use Status::{Freeing, GrantedUnseen, Granting, Storing, Took, WokenUnseen};
        matches!(
            state.status[frame],
            Took | Storing | Freeing | Granting | GrantedUnseen | WokenUnseen
        )
    };
    loop {
        out.clear();
        for frame in (0..config.frames).filter(|&frame| busy(&state, frame)) {
            frames::steps(config, &state, frame, &mut out);
        }
        let Some(&(_, next)) = out.first() else { break };
        state = next;
    }
    for _ in 0..1000 {
        if state.det.phase == Phase::Idle && state.det.pending == 0 {
            return deadlocked(config, &state, Edges::All) != 0;
        }
        out.clear();
        detector::steps(config, &state, &mut out);
        match out.first() {
            Some(&(_, next)) if next.det.phase != Phase::Phantom => state = next,
            _ => return false,
        }
    }
    true
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

    /// The steps from the start to a state.
    fn way_to(&self, config: &Config, mut fingerprint: u64) -> Vec<(Step, State)> {
        let mut fingerprints = Vec::new();
        let start = State::start(config.calls);
        while fingerprint != start.fingerprint() {
            fingerprints.push(fingerprint);
            fingerprint = self.parent(fingerprint);
        }
        let mut state = start;
        let mut way = Vec::new();
        let mut out = Vec::new();
        for fingerprint in fingerprints.into_iter().rev() {
            out.clear();
            successors(config, &state, &mut out);
            let found = out
                .iter()
                .find(|(_, next)| next.fingerprint() == fingerprint);
            let &(step, next) = found.expect("a state follows from the one it was found from");
            way.push((step, next));
            state = next;
        }
        way
    }
}

/// The frames that are deadlocked in a state, for who reads a trace.
pub fn deadlocked_names(config: &Config, state: &State) -> String {
    members(deadlocked(config, state, Edges::All))
        .filter(|&frame| has(config.everyone(), frame))
        .map(|frame| char::from(b'A' + frame as u8))
        .collect()
}
