//! `peers`: ours against other libraries for remote calls, and against what none of them can beat.

mod antifreeze;
mod capnp;
mod contestants;
pub(crate) mod detection;
mod markdown;
mod raw;
mod raw_tokio;
mod redis;
mod remoc;
mod repeat;
mod targets;
mod tarpc;
mod tonic;
mod workloads;
mod zbus;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};

use self::contestants::Contestant;
pub(crate) use self::markdown::Markdown;
pub(crate) use self::redis::serve as serve_redis;
use self::targets::Target;
use self::workloads::Workload;
use crate::cpus::Placement;
use crate::machine::Machine;
use crate::roles::ServerReport;
use crate::rounds::progress;
use crate::session::Stage;
use crate::statistics::{Round, median};

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// How often everything is measured, one round after another [default: 9, with --quick 3]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,
    /// How long each is measured in one round [default: 400, with --quick 100]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    milliseconds: Option<u64>,
    /// Fewer and shorter rounds: for a first look
    #[arg(long)]
    quick: bool,
    /// Only what contains this, as in "tarpc" or "Antifreeze, 64 in flight"; raw TCP always runs
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
    /// Of the peers.
    versions: Vec<String>,
    rounds: usize,
    milliseconds: u64,
    /// The CPU of pinned sessions.
    pinned_to: usize,
    entries: Vec<Entry>,
    targets: Vec<Target>,
}

/// One contestant at one workload.
#[derive(Serialize)]
struct Entry {
    contestant: Contestant,
    workload: Workload,
    placement: Placement,
    rounds: Vec<Round>,
}

/// What both ends are told.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Job {
    contestant: Contestant,
    workload: Workload,
    milliseconds: u64,
}

impl Report {
    /// Whether all was kept that we promise ourselves.
    pub(crate) fn is_kept(&self) -> bool {
        self.targets.iter().all(Target::is_kept)
    }

    fn entry(
        &self,
        contestant: Contestant,
        workload: Workload,
        placement: Placement,
    ) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            (entry.contestant, entry.workload, entry.placement) == (contestant, workload, placement)
        })
    }
}

impl Entry {
    /// In the unit of the workload.
    fn values(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(|round| self.workload.value(round))
    }

    fn typical(&self) -> f64 {
        median(self.values())
    }

    /// The median of the ratios within the rounds.
    fn against(&self, other: &Self) -> f64 {
        let ratios = self.values().zip(other.values());
        median(ratios.map(|(value, base)| value / base))
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 });
    let default = if options.quick { 100 } else { 400 };
    let milliseconds = options.milliseconds.unwrap_or(default);
    let stage = Stage::set_up()?;
    // Described first: the load is the one before ours.
    let machine = Machine::describe(Some(stage.python().versions()?))?;
    let mut contests = contests(options.only.as_deref());

    for round in 0..rounds {
        progress(&format!("round {} of {rounds}", round + 1));
        for entries in &mut contests {
            // Each round begins with another one.
            let first = round % entries.len();
            let (later, sooner) = entries.split_at_mut(first);
            for entry in sooner.iter_mut().chain(later) {
                let job = Job {
                    contestant: entry.contestant,
                    workload: entry.workload,
                    milliseconds,
                };
                let round = run(&stage, entry.placement, job);
                let round = round.with_context(|| format!("{}, {}", job.contestant, job.workload));
                entry.rounds.push(round?);
            }
        }
    }
    let mut report = Report {
        machine,
        versions: contestants::versions(),
        rounds,
        milliseconds,
        pinned_to: stage.cpus.pinned_to,
        entries: contests.into_iter().flatten().collect(),
        targets: Vec::new(),
    };
    report.targets = targets::judge(&report);
    Ok(report)
}

/// Who competes with whom: each at the same workload and the same placement, none of them empty.
fn contests(only: Option<&str>) -> Vec<Vec<Entry>> {
    let contestants = Contestant::present();
    let mut contests = Vec::new();
    for placement in Placement::ALL {
        for workload in Workload::ALL {
            let entries = contestants.iter().map(|contestant| Entry {
                contestant: *contestant,
                workload,
                placement,
                rounds: Vec::new(),
            });
            let wanted = |entry: &Entry| {
                let name = format!("{}, {workload}", entry.contestant);
                entry.contestant.takes_part(workload)
                    && only.is_none_or(|part| {
                        entry.contestant == Contestant::RawTcp || name.contains(part)
                    })
            };
            contests.push(entries.filter(wanted).collect::<Vec<_>>());
        }
    }
    contests.retain(|entries| !entries.is_empty());
    contests
}

fn run(stage: &Stage, placement: Placement, job: Job) -> Result<Round> {
    let (server, client) = contestants::command_lines(stage, job)?;
    let (round, ServerReport { .. }) = stage.play(placement, &server, client)?;
    Ok(round)
}

/// Begins to serve: where, and what does it.
pub(crate) fn serve(job: &str) -> Result<(String, contestants::Serve)> {
    let job: Job = serde_json::from_str(job)?;
    contestants::serve(job)
}

/// Is a client.
pub(crate) fn play(job: &str, address: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job)?;
    repeat::give_up_after(Duration::from_secs(60));
    let round = contestants::call(job, address)?.into_round();
    println!("{}", serde_json::to_string(&round)?);
    Ok(())
}
