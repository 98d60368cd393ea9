//! `waiters`: very many tasks wait for one lock. What one of them takes, and whether that stays so.

mod crowds;

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use antifreeze_sync::detector;
use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};

use self::crowds::Crowd;
use crate::allocations;
use crate::children::Children;
use crate::cpus::Placement;
use crate::locks::{Executor, cpu_time, rest, runtime, yield_once};
use crate::machine::Machine;
use crate::markdown::machine;
use crate::rounds::progress;
use crate::statistics::median;

/// Nothing here is so slow, unless it is quadratic.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many bytes more than tokio's a waiter of ours may take.
const MORE_BYTES: f64 = 256.0;

/// How many times as much more expensive ours may get than tokio's, from the fewest waiters to the
/// most: caches cost both, a quadratic step costs a hundred times as much.
const STEEPER: f64 = 2.0;

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// The most tasks that wait; also measured are a tenth and a hundredth of it
    #[arg(long, default_value_t = 1_000_000, value_parser = RangedU64ValueParser::<usize>::new().range(100..))]
    count: usize,
    /// How often all is measured
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: usize,
    /// Print everything as JSON, every round
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail if a target is missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// What tasks wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Mutex,
    /// Readers behind a writer.
    RwLock,
    Semaphore,
    /// They want an item each; tokio's wait for permits, as only one can wait for its items.
    Queue,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Mutex, Self::RwLock, Self::Semaphore, Self::Queue];
}

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Side {
    /// Bare tasks.
    Tokio,
    /// Tasks that are agents of their own.
    Antifreeze,
}

/// How the waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    /// One after another gets the lock.
    Granted,
    /// All are aborted, in no order.
    Cancelled,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Job {
    side: Side,
    kind: Kind,
    count: usize,
    end: End,
}

/// All of one waiter, on average.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Outcome {
    live_bytes: f64,
    resident_bytes: f64,
    /// To spawn it, run it and put it in the queue.
    queue_nanoseconds: f64,
    /// CPU time of the detector's thread until it rested, in all.
    checks_milliseconds: f64,
    /// To check all that wait once more, in all.
    settle_milliseconds: f64,
    /// To end its waiting.
    end_nanoseconds: f64,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: usize,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    kind: Kind,
    side: Side,
    count: usize,
    granted: Vec<Outcome>,
    cancelled: Vec<Outcome>,
}

/// Measures, each in a process of its own.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let children = Children::new()?;
    let machine = Machine::describe(None)?;
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        for count in [options.count / 100, options.count / 10, options.count] {
            lines.extend([Side::Tokio, Side::Antifreeze].map(|side| Line {
                kind,
                side,
                count,
                granted: Vec::new(),
                cancelled: Vec::new(),
            }));
        }
    }
    for round in 1..=options.rounds {
        progress(&format!("round {round} of {}", options.rounds));
        for line in &mut lines {
            let run = |end| -> Result<Outcome> {
                let job = serde_json::to_string(&Job {
                    side: line.side,
                    kind: line.kind,
                    count: line.count,
                    end,
                })?;
                let command = children.role("waiters", [job]);
                let outcome = children.run(&command, Placement::Pinned, PATIENCE)?;
                let hangs = || format!("{:?}, {:?} of {}: hangs", line.side, line.kind, line.count);
                outcome.with_context(hangs)
            };
            line.granted.push(run(End::Granted)?);
            line.cancelled.push(run(End::Cancelled)?);
        }
    }
    Ok(Report {
        machine,
        rounds: options.rounds,
        lines,
    })
}

/// Is one of those processes.
pub(crate) fn play(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let outcome = match (job.side, job.kind) {
        (Side::Tokio, Kind::Mutex) => wait::<tokio::sync::Mutex<()>>(job),
        (Side::Tokio, Kind::RwLock) => wait::<tokio::sync::RwLock<()>>(job),
        (Side::Tokio, Kind::Semaphore | Kind::Queue) => wait::<tokio::sync::Semaphore>(job),
        (Side::Antifreeze, Kind::Mutex) => wait::<antifreeze_sync::Mutex<()>>(job),
        (Side::Antifreeze, Kind::RwLock) => wait::<antifreeze_sync::RwLock<()>>(job),
        (Side::Antifreeze, Kind::Semaphore) => wait::<antifreeze_sync::BoundedSemaphore>(job),
        (Side::Antifreeze, Kind::Queue) => wait::<antifreeze_sync::Queue<()>>(job),
    }?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn wait<C: Crowd>(job: Job) -> Result<Outcome> {
    allocations::start();
    let runtime = runtime(Executor::OneThread)?;
    runtime.block_on(C::task(async move { queue_and_end::<C>(job).await }))
}

async fn queue_and_end<C: Crowd>(job: Job) -> Result<Outcome> {
    let Job { count, end, .. } = job;
    let crowd = Arc::new(C::new());
    let shut = crowd.shut().await;
    let begun = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut waiters = Vec::with_capacity(count);
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);

    let (live, resident, start) = (allocations::live_bytes(), resident_bytes()?, Instant::now());
    for _ in 0..count {
        let (crowd, begun, ended) = (
            Arc::clone(&crowd),
            Arc::clone(&begun),
            Ended(Arc::clone(&ended)),
        );
        waiters.push(tokio::spawn(C::task(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            crowd.pass().await;
            drop(ended);
        })));
    }
    while begun.load(Ordering::Relaxed) < count {
        yield_once().await;
    }
    let queue = start.elapsed();
    let live = allocations::live_bytes() - live;
    let resident = resident_bytes()?.saturating_sub(resident);
    ensure!(ended.load(Ordering::Relaxed) == 0, "somebody did not wait");

    let (mut checks, mut settle) = (Duration::ZERO, Duration::ZERO);
    if job.side == Side::Antifreeze {
        rest()?;
        checks = cpu_time()?;
        let start = Instant::now();
        let found = detector::settle();
        settle = start.elapsed();
        ensure!(found == 0, "a deadlock was found where there is none");
    }

    let start = Instant::now();
    match end {
        End::Granted => {
            crowd.open(shut, count);
            all_have_ended(&ended, count).await;
        }
        End::Cancelled => {
            order.iter().for_each(|index| waiters[*index].abort());
            all_have_ended(&ended, count).await;
            // Nobody is left for whom it would be kept.
            crowd.open(shut, 1);
            crowd.pass().await;
        }
    }
    let end = start.elapsed();

    let each = |duration: Duration| duration.as_nanos() as f64 / count as f64;
    Ok(Outcome {
        live_bytes: live as f64 / count as f64,
        resident_bytes: resident as f64 / count as f64,
        queue_nanoseconds: each(queue),
        checks_milliseconds: checks.as_secs_f64() * 1e3,
        settle_milliseconds: settle.as_secs_f64() * 1e3,
        end_nanoseconds: each(end),
    })
}

async fn all_have_ended(ended: &AtomicUsize, count: usize) {
    while ended.load(Ordering::Relaxed) < count {
        yield_once().await;
    }
}

/// Counts tasks that have ended, one way or the other.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Of the whole process.
fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.context("the kernel tells no VmRSS")?;
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// A promise, and what came of it.
struct Target {
    what: String,
    at_most: f64,
    measured: f64,
}

impl Target {
    fn is_kept(&self) -> bool {
        (self.measured * 100.0).round() <= self.at_most * 100.0
    }
}

/// What one number of the lines is called, and where it is.
type Number = (&'static str, fn(&Line) -> f64);

const TIMES: [Number; 3] = [
    ("queue", Line::queue),
    ("grant", Line::grant),
    ("cancel", Line::cancel),
];

impl Line {
    fn typical(&self, number: fn(&Outcome) -> f64) -> f64 {
        median(self.granted.iter().chain(&self.cancelled).map(number))
    }

    fn queue(&self) -> f64 {
        self.typical(|outcome| outcome.queue_nanoseconds)
    }

    fn grant(&self) -> f64 {
        median(self.granted.iter().map(|outcome| outcome.end_nanoseconds))
    }

    fn cancel(&self) -> f64 {
        median(self.cancelled.iter().map(|outcome| outcome.end_nanoseconds))
    }

    fn live(&self) -> f64 {
        self.typical(|outcome| outcome.live_bytes)
    }

    fn resident(&self) -> f64 {
        self.typical(|outcome| outcome.resident_bytes)
    }

    fn checks(&self) -> f64 {
        self.typical(|outcome| outcome.checks_milliseconds)
    }

    fn settle(&self) -> f64 {
        self.typical(|outcome| outcome.settle_milliseconds)
    }
}

impl Report {
    /// Whether all was kept that we promise ourselves.
    pub(crate) fn is_kept(&self) -> bool {
        self.targets().iter().all(Target::is_kept)
    }

    fn lines_of(&self, kind: Kind, side: Side) -> impl Iterator<Item = &Line> {
        let lines = self.lines.iter();
        lines.filter(move |line| line.kind == kind && line.side == side)
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for kind in Kind::ALL {
            let ends = |side| {
                let mut lines = self.lines_of(kind, side);
                let fewest = lines.next()?;
                Some((fewest, lines.last()?))
            };
            let (Some(tokio), Some(ours)) = (ends(Side::Tokio), ends(Side::Antifreeze)) else {
                continue;
            };
            let bytes: [Number; 2] = [("live", Line::live), ("resident", Line::resident)];
            targets.extend(bytes.map(|(what, number)| Target {
                what: format!("{kind:?}: {what} bytes of a waiter beyond tokio's"),
                at_most: MORE_BYTES,
                measured: number(ours.1) - number(tokio.1),
            }));
            targets.extend(TIMES.map(|(what, number)| {
                let steep = |(fewest, most): (&Line, &Line)| number(most) / number(fewest);
                Target {
                    what: format!(
                        "{kind:?}: {what}, how much dearer with {} waiters than with {}, against tokio",
                        ours.1.count, ours.0.count
                    ),
                    at_most: STEEPER,
                    measured: steep(ours) / steep(tokio),
                }
            }));
        }
        targets
    }
}

/// The report, to be displayed.
pub(crate) struct Markdown<'a>(pub(crate) &'a Report);

impl Display for Markdown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(out, "## Very many tasks wait for one lock\n")?;
        machine(&report.machine, out)?;
        writeln!(
            out,
            "- tasks of tokio in one thread; medians of {} rounds; all but the checks per waiter\n",
            report.rounds
        )?;
        writeln!(
            out,
            "| | waiters | whose | live bytes | resident bytes | queue ns | grant ns | cancel ns | \
            checks in all, ms | checking all again, ms |\n\
            |---|--:|---|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        for line in &report.lines {
            writeln!(
                out,
                "| {:?} | {} | {:?} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} |",
                line.kind,
                line.count,
                line.side,
                line.live(),
                line.resident(),
                line.queue(),
                line.grant(),
                line.cancel(),
                line.checks(),
                line.settle(),
            )?;
        }
        writeln!(
            out,
            "\n| target | at most | measured | |\n|---|--:|--:|---|"
        )?;
        for target in report.targets() {
            let verdict = if target.is_kept() { "ok" } else { "MISSED" };
            writeln!(
                out,
                "| {} | {:.2} | {:.2} | {verdict} |",
                target.what, target.at_most, target.measured
            )?;
        }
        Ok(())
    }
}
