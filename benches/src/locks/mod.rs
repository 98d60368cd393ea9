//! `locks`: what locks cost, with and without others who want them.

mod contests;
mod detector;
mod job;
mod markdown;
mod ours;
mod peers;
mod play;
mod tasks;
mod threads;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use self::detector::Idle;
pub(crate) use self::detector::{cpu_time, play as watch_detector, rest};
pub(crate) use self::job::Executor;
use self::job::{Contest, Contestant, Effort, Job, Outcome};
pub(crate) use self::markdown::Markdown;
pub(crate) use self::play::play;
pub(crate) use self::tasks::{runtime, yield_once};
use crate::children::Children;
use crate::counts::{is_there, read_callgrind};
use crate::cpus::Placement;
use crate::machine::Machine;
use crate::rounds::progress;
use crate::statistics::median;

/// A contestant that has not ended so long after it should have makes no progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// How often every contestant is measured, one round after another [default: 15, with --quick 3]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,
    /// How long each is measured in one round [default: 40, with --quick 20]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    milliseconds: Option<u64>,
    /// Fewer and shorter rounds: for a first look
    #[arg(long)]
    quick: bool,
    /// Count instructions, under valgrind, and take no times
    #[arg(long)]
    instructions: bool,
    /// Only lines whose name contains this, as in "RwLock" or "16 tasks"
    #[arg(long)]
    only: Option<String>,
    /// Print everything as JSON, every round of every contestant
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail if a target is missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// Whether instructions were counted, and no times taken.
    counted: bool,
    rounds: usize,
    milliseconds: u64,
    /// The CPU of agents that are alone.
    pinned_to: usize,
    lines: Vec<Line>,
    /// `None` if the detector was not looked at.
    idle: Option<Idle>,
}

/// One contest, and all who take part.
#[derive(Serialize)]
struct Line {
    contest: Contest,
    entries: Vec<Entry>,
}

/// One contestant in one contest.
#[derive(Serialize)]
struct Entry {
    contestant: Contestant,
    /// `None` for a round in which it made no progress.
    rounds: Vec<Option<Outcome>>,
    /// Of one operation, if they were counted.
    instructions: Option<f64>,
}

impl Report {
    /// Whether all was kept that we promise ourselves.
    pub(crate) fn is_kept(&self) -> bool {
        let mut lines = self.lines.iter();
        lines.all(|line| line.is_kept() != Some(false))
            && self.idle.as_ref().is_none_or(Idle::is_kept)
    }
}

impl Line {
    fn entry(&self, contestant: Contestant) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.contestant == contestant)
    }

    /// Ours against the peer of the target, within each round.
    fn against_peer(&self) -> Option<Spread> {
        let ours = self.entry(Contestant::Antifreeze)?;
        let peer = self.entry(self.contest.target().peer)?;
        let ratios = ours.rounds.iter().zip(&peer.rounds);
        Spread::of(ratios.filter_map(|(ours, peer)| {
            Some(self.contest.value((*ours)?) / self.contest.value((*peer)?))
        }))
    }

    /// Whether the target is kept; `None` if it was not measured.
    fn is_kept(&self) -> Option<bool> {
        let ratio = self.against_peer()?.median;
        Some(self.contest.target().is_kept(ratio))
    }
}

/// A median, and the quartiles around it.
#[derive(Clone, Copy)]
struct Spread {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        Some(Self {
            lower: values[last / 4],
            upper: values[last - last / 4],
            median: median(values),
        })
    }
}

impl Entry {
    /// The median over the rounds, in the unit of the contest.
    fn typical(&self, value: impl Fn(Outcome) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().flatten().copied().map(value).collect();
        (!values.is_empty()).then(|| median(values))
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    if options.instructions && !is_there("valgrind") {
        bail!(
            "instructions are counted by valgrind, which is not installed: \
            `apt install valgrind`, `dnf install valgrind` or the like brings it"
        );
    }
    let stage = Stage::set_up()?;
    let machine = Machine::describe(None)?;
    let mut lines = contests::all();
    if let Some(part) = &options.only {
        lines.retain(|line| line.contest.to_string().contains(part));
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 15 });
    let milliseconds = options
        .milliseconds
        .unwrap_or(if options.quick { 20 } else { 40 });
    let mut idle = None;
    if options.instructions {
        lines.retain(|line| line.contest.repeats_exactly());
        for line in &mut lines {
            progress(&format!("counting {}", line.contest));
            for entry in &mut line.entries {
                entry.instructions = stage.instructions(line.contest, entry.contestant)?;
            }
        }
    } else {
        for round in 0..rounds {
            progress(&format!("round {} of {rounds}", round + 1));
            for line in &mut lines {
                stage.round(line, round, Effort::Milliseconds(milliseconds))?;
            }
        }
        if options.only.is_none() {
            progress("watching the detector");
            idle = Some(detector::watch(&stage.children)?);
        }
    }
    Ok(Report {
        machine,
        counted: options.instructions,
        rounds,
        milliseconds,
        pinned_to: stage.children.cpus.pinned_to,
        lines,
        idle,
    })
}

/// Starts contestants.
struct Stage {
    children: Children,
    /// The program with `parking_lot`'s deadlock detection.
    detecting: PathBuf,
}

impl Stage {
    /// Builds the program that is apart. Its features would be ours, were it built with us.
    fn set_up() -> Result<Self> {
        let children = Children::new()?;
        let target = children.target()?.join("deadlock-detection");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--release", "--quiet", "--locked"])
            .arg("--manifest-path")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/deadlock-detection/Cargo.toml"
            ))
            .arg("--target-dir")
            .arg(&target)
            .stdout(Stdio::null());
        let status = build.status().context("cannot start cargo")?;
        ensure!(status.success(), "cannot build deadlock-detection");
        Ok(Self {
            children,
            detecting: target.join("release/deadlock-detection"),
        })
    }

    /// Everybody in one contest, one after another, each round beginning with another one.
    fn round(&self, line: &mut Line, round: usize, effort: Effort) -> Result<()> {
        let contest = line.contest;
        let count = line.entries.len();
        for turn in 0..count {
            let entry = &mut line.entries[(round + turn) % count];
            // Who has hung once is not waited for again.
            let hangs = entry.rounds.iter().any(Option::is_none);
            let outcome = if hangs {
                None
            } else {
                let command = self.command(contest, entry.contestant, effort)?;
                self.children.run(&command, contest.placement(), PATIENCE)?
            };
            entry.rounds.push(outcome);
        }
        Ok(())
    }

    fn command(
        &self,
        contest: Contest,
        contestant: Contestant,
        effort: Effort,
    ) -> Result<Vec<String>> {
        let job = serde_json::to_string(&Job {
            contestant,
            contest,
            effort,
        })?;
        Ok(match contestant {
            Contestant::ParkingLotDetecting => vec![self.detecting.display().to_string(), job],
            _ => self.children.role("lock", [job]),
        })
    }

    /// The difference between a short and a long run, so that starting and ending cancel out.
    fn instructions(&self, contest: Contest, contestant: Contestant) -> Result<Option<f64>> {
        const SHORT: u64 = 1_000;
        const LONG: u64 = 3 * SHORT;

        let count = |operations| -> Result<Option<u64>> {
            let file = self.children.target()?.join("callgrind-lock.out");
            let mut command: Vec<String> = ["valgrind", "--quiet", "--tool=callgrind"]
                .map(str::to_owned)
                .into();
            command.push(format!("--callgrind-out-file={}", file.display()));
            command.extend(self.command(contest, contestant, Effort::Operations(operations))?);
            let patience = Duration::from_secs(120);
            let outcome: Option<Outcome> =
                self.children.run(&command, Placement::Pinned, patience)?;
            outcome.map(|_| read_callgrind(&file)).transpose()
        };
        let operations = (LONG - SHORT) * contest.agents as u64;
        Ok(count(SHORT)?
            .zip(count(LONG)?)
            .map(|(short, long)| (long as f64 - short as f64) / operations as f64))
    }
}
