//! Many programs, and what came of all of them.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use antifreeze_detector::faults::Fault;

use crate::program::{Class, Program, generate};
use crate::world::{Path, Seen, run};

/// Which programs to run.
pub struct Order {
    pub count: u64,
    pub seed: u64,
    pub threads: Option<usize>,
    pub fault: Option<Fault>,
}

/// What came of them.
#[derive(Default)]
pub struct Tally {
    programs: u64,
    pub sum: Seen,
    pub deadlocked: u64,
    pub clean: u64,
    ambiguous_programs: u64,
    problems: Vec<(u64, String)>,
}

/// How many programs a thread takes at a time.
const BATCH: u64 = 64;
/// How many problems are told.
const MOST_PROBLEMS: usize = 5;

/// Runs them all.
pub fn run_all(order: &Order) -> Tally {
    run_many(order.count, order.threads, |number| run_one(order, number))
}

/// Runs so many programs, each with its number.
pub(crate) fn run_many(
    count: u64,
    threads: Option<usize>,
    run: impl Fn(u64) -> (Program, Seen) + Sync,
) -> Tally {
    let threads = threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let next = AtomicU64::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    if from >= count {
                        break;
                    }
                    for number in from..count.min(from + BATCH) {
                        let (program, seen) = run(number);
                        tally.add(number, &program, seen);
                    }
                }
                total.lock().expect("nobody panics").merge(tally);
            });
        }
    });
    let mut tally = total.into_inner().expect("nobody panics");
    tally.problems.sort();
    tally
}

/// Runs one of them.
pub fn run_one(order: &Order, number: u64) -> (Program, Seen) {
    let seed = order.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
    let program = generate(seed);
    let seen = run(program.clone(), seed, order.fault);
    (program, seen)
}

impl Tally {
    pub fn add(&mut self, number: u64, program: &Program, seen: Seen) {
        self.programs += 1;
        if program.class == Class::Ambiguous {
            self.ambiguous_programs += 1;
        } else if seen.found + seen.missed > 0 {
            self.deadlocked += 1;
        } else if seen.contended && !seen.deadlocked {
            self.clean += 1;
        }
        if let Some(problem) = &seen.problem {
            self.problems.push((number, problem.clone()));
            self.problems.truncate(64);
        }
        self.sum.add(seen);
    }

    fn merge(&mut self, other: Self) {
        self.programs += other.programs;
        self.deadlocked += other.deadlocked;
        self.clean += other.clean;
        self.ambiguous_programs += other.ambiguous_programs;
        self.problems.extend(other.problems);
        self.sum.add(other.sum);
    }

    /// Whether all deadlocks were found, and nothing else, in enough programs of both sorts.
    pub fn passes(&self) -> bool {
        let enough = |n: u64| n * 4 >= self.programs;
        self.is_right() && enough(self.deadlocked) && enough(self.clean)
    }

    /// Whether all deadlocks were found, and nothing else.
    pub fn is_right(&self) -> bool {
        let sum = &self.sum;
        sum.missed + sum.false_positives + sum.misnamed + sum.left_over == 0
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.found += other.found;
        self.missed += other.missed;
        self.opaque_found += other.opaque_found;
        self.opaque_missed += other.opaque_missed;
        self.dissolved += other.dissolved;
        self.impossible += other.impossible;
        self.false_positives += other.false_positives;
        self.late.extend(other.late);
        self.ambiguous += other.ambiguous;
        self.overdue += other.overdue;
        self.misnamed += other.misnamed;
        self.left_over += other.left_over;
        self.verdicts += other.verdicts;
        self.admitted += other.admitted;
        self.latencies.extend(other.latencies);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.events += other.events;
        self.counters += other.counters;
        self.largest_closure = self.largest_closure.max(other.largest_closure);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = &self.sum;
        for (number, problem) in self.problems.iter().take(MOST_PROBLEMS) {
            writeln!(f, "program {number}: {problem}")?;
        }
        writeln!(f, "programs {}, events {}", self.programs, sum.events)?;
        writeln!(
            f,
            "verdicts {}, let past others {}, too late {}, misnamed {}, left over {}",
            sum.verdicts,
            sum.admitted,
            sum.late.len(),
            sum.misnamed,
            sum.left_over
        )?;
        writeln!(
            f,
            "counted apart: {} deadlocks that ended otherwise, {} that nobody could find; {} programs \
             with ambiguous forks, {} false reports in them; {} where an answer was overdue",
            sum.dissolved, sum.impossible, self.ambiguous_programs, sum.ambiguous, sum.overdue
        )?;
        let messages = sum.messages as f64 / (sum.counters.accepted.max(1)) as f64;
        writeln!(
            f,
            "messages {} ({messages:.1} a verdict through several processes), bytes {}, {:?}",
            sum.messages, sum.bytes, sum.counters
        )?;
        let paths = [
            (Path::Local, "one process"),
            (Path::Near, "several"),
            (Path::Opaque, "with a Python hop"),
            (Path::Rough, "far, lossy or with mishaps"),
        ];
        for (path, name) in paths {
            let of_path = sum.latencies.iter().filter(|one| one.path == path);
            let all: Vec<u32> = of_path.map(|one| one.took).collect();
            if !all.is_empty() {
                let count = all.len();
                let times = Times::of(all);
                writeln!(
                    f,
                    "last wait to verdict, {name}: {count} deadlocks, {times}"
                )?;
            }
        }
        if !sum.late.is_empty() {
            let times = Times::of(sum.late.clone());
            writeln!(f, "too late, since the deadlock was over: {times}")?;
        }
        write!(
            f,
            "recall {}/{}, false positives {}, deadlocked {}, contended and clean {}",
            sum.found,
            sum.found + sum.missed,
            sum.false_positives,
            self.deadlocked,
            self.clean
        )
    }
}

/// Times, in milliseconds.
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Times {
    /// Of these, of which there is at least one, in microseconds.
    pub(crate) fn of(mut all: Vec<u32>) -> Self {
        all.sort_unstable();
        let at = |part: usize| f64::from(all[(all.len() - 1) * part / 1000]) / 1000.0;
        Self {
            p50: at(500),
            p99: at(990),
            p999: at(999),
            max: at(1000),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.1} ms"
        )
    }
}
