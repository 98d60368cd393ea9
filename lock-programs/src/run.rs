//! Many programs at a time, and what is said of them in the end.

use std::fmt;
use std::sync::Mutex as Plain;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cast::Crew;
use crate::free;
use crate::generate::{self, Style};
use crate::lead::{self, Chooser, Fault, FaultKind, Seen};
use crate::program::{Choice, Program};
use crate::shrink;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) count: u64,
    pub(crate) seed: u64,
    /// How many programs run at a time.
    pub(crate) at_once: u64,
    /// After so many failures nothing new is learnt.
    pub(crate) enough: usize,
    pub(crate) way: Option<Way>,
    /// The number of the first one.
    pub(crate) first: u64,
    /// For up to how long threads of programs that are led sleep before each step.
    pub(crate) dawdle: Duration,
}

/// How a program is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// Step by step, with the truth beside it.
    Led,
    Free,
}

/// What came of all programs.
#[derive(Default)]
pub(crate) struct Tally {
    programs: u64,
    onsets: u64,
    found: u64,
    false_positives: u64,
    deadlocked: u64,
    contended_and_clean: u64,
    overtaken: u64,
    documented: u64,
    struck: u64,
    unneeded: u64,
    unclear: u64,
    led: u64,
    latencies: Vec<Duration>,
    time: Duration,
    pub(crate) failures: Vec<Failure>,
}

/// A program that went wrong.
pub(crate) struct Failure {
    pub(crate) number: u64,
    pub(crate) way: Way,
    pub(crate) program: Program,
    pub(crate) schedule: Vec<Choice>,
    pub(crate) fault: Fault,
}

/// A program, and how it is run: always the same for the same seed and number.
fn make(order: &Order, number: u64) -> (Program, Way, Rng) {
    let mut rng = Rng::with_seed(order.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
    // Numbers that are near give sequences that begin alike.
    rng = Rng::with_seed(rng.u64(..) ^ number.rotate_left(32));
    let style = if rng.u8(0..10) < 6 {
        Style::Wild
    } else {
        Style::Ordered
    };
    let way = if rng.u8(0..10) < 6 {
        Way::Led
    } else {
        Way::Free
    };
    let way = order.way.unwrap_or(way);
    (
        generate::program(&mut rng, style, way == Way::Led),
        way,
        rng,
    )
}

/// Makes and runs one program.
fn run_one(order: &Order, number: u64, crew: &mut Crew) -> (Seen, Program, Way) {
    let (program, way, mut rng) = make(order, number);
    let name = format!("p{number}");
    let seen = match way {
        Way::Led => lead::run(
            &program,
            &name,
            crew,
            Chooser::Chance(&mut rng),
            lead::LIMIT,
        ),
        Way::Free => free::run(&program, &name, crew, &mut rng),
    };
    (seen, program, way)
}

/// Makes a failure as small as it can be, and says whether it came up again at all.
pub(crate) fn shrink(failure: &mut Failure, dawdle: Duration) -> bool {
    let runtime = runtime();
    let mut crew = Crew::new(runtime.handle().clone());
    crew.dawdle = dawdle;
    let limit = Duration::from_millis(300);
    let run = |program: &Program, schedule: &[Choice]| {
        let chooser = Chooser::Fixed(Vec::from(schedule).into_iter());
        lead::run(program, "p", &mut crew, chooser, limit).fault
    };
    let (program, schedule) = (failure.program.clone(), failure.schedule.clone());
    let smaller = shrink::shrink(program, schedule, &failure.fault, run);
    runtime.shutdown_background();
    let Some((program, schedule, fault)) = smaller else {
        return false;
    };
    (failure.program, failure.schedule, failure.fault) = (program, schedule, fault);
    true
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime can be started")
}

/// Makes and runs all programs.
pub(crate) fn run_all(order: &Order) -> Tally {
    let runtime = runtime();
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let tally = Plain::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..order.at_once {
            let handle = runtime.handle().clone();
            let (next, enough, tally) = (&next, &enough, &tally);
            scope.spawn(move || {
                let mut crew = Crew::new(handle);
                crew.dawdle = order.dawdle;
                let mut own = Tally::default();
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= order.count {
                        break;
                    }
                    let number = order.first.wrapping_add(number);
                    let (seen, program, way) = run_one(order, number, &mut crew);
                    if own.add(seen, program, way, number) {
                        let mut tally = tally.lock().expect("not poisoned");
                        tally.failures.append(&mut own.failures);
                        if tally.failures.len() >= order.enough {
                            enough.store(true, Ordering::Relaxed);
                        }
                    }
                }
                tally.lock().expect("not poisoned").merge(own);
            });
        }
    });
    // Agents that hang are left behind.
    runtime.shutdown_background();
    let mut tally = tally.into_inner().expect("not poisoned");
    tally.time = begun.elapsed();
    tally.latencies.sort_unstable();
    tally
}

impl Tally {
    /// Says whether there is a failure.
    fn add(&mut self, seen: Seen, program: Program, way: Way, number: u64) -> bool {
        self.programs += 1;
        self.led += u64::from(way == Way::Led);
        self.onsets += u64::from(seen.onsets);
        self.found += u64::from(seen.found);
        self.false_positives += u64::from(seen.false_positives);
        self.deadlocked += u64::from(seen.onsets > 0);
        self.contended_and_clean += u64::from(seen.onsets == 0 && seen.contended);
        self.overtaken += u64::from(seen.overtaken);
        self.documented += u64::from(seen.documented);
        self.struck += u64::from(seen.struck);
        self.unneeded += u64::from(seen.unneeded);
        self.latencies.extend(seen.latencies);
        match seen.fault {
            Some(fault) if fault.kind == FaultKind::Unclear => {
                self.unclear += 1;
                false
            }
            Some(fault) => {
                let schedule = seen.schedule;
                self.failures.push(Failure {
                    number,
                    way,
                    program,
                    schedule,
                    fault,
                });
                true
            }
            None => false,
        }
    }

    fn merge(&mut self, other: Self) {
        self.programs += other.programs;
        self.led += other.led;
        self.onsets += other.onsets;
        self.found += other.found;
        self.false_positives += other.false_positives;
        self.deadlocked += other.deadlocked;
        self.contended_and_clean += other.contended_and_clean;
        self.overtaken += other.overtaken;
        self.documented += other.documented;
        self.struck += other.struck;
        self.unneeded += other.unneeded;
        self.unclear += other.unclear;
        self.latencies.extend(other.latencies);
        self.failures.extend(other.failures);
    }

    /// Whether all is as it should be.
    pub(crate) fn is_good(&self, order: &Order) -> bool {
        self.failures.is_empty()
            && self.programs == order.count
            && self.found == self.onsets
            && self.false_positives == 0
            && self.deadlocked * 4 >= self.programs
            && self.contended_and_clean * 4 >= self.programs
    }

    fn latency(&self, per_mille: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(last * per_mille / 1000)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        writeln!(
            f,
            "{} programs in {:.1} s, {} of them led step by step",
            self.programs,
            self.time.as_secs_f64(),
            self.led
        )?;
        writeln!(
            f,
            "from the last block to the error: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            milliseconds(self.latency(500)),
            milliseconds(self.latency(990)),
            milliseconds(self.latency(1000))
        )?;
        writeln!(
            f,
            "let past others {}, ended by a time-out or an abort meanwhile {}, \
             unneeded victims {}, documented misses {}, unclear {}",
            self.overtaken, self.struck, self.unneeded, self.documented, self.unclear
        )?;
        let others = self
            .failures
            .iter()
            .filter(|failure| failure.fault.kind == FaultKind::Lock);
        writeln!(
            f,
            "locks that did not do what they should {}",
            others.count()
        )?;
        write!(
            f,
            "recall {}/{}, false positives {}, deadlocked {}, contended and clean {}",
            self.found,
            self.onsets,
            self.false_positives,
            self.deadlocked,
            self.contended_and_clean
        )
    }
}
