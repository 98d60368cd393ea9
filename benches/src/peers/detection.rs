//! `detection`: what it costs to look for deadlocks where there is none.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::Proxy;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::contestants::{Contestant, Driver, Proxy as Client};
use super::workloads::Workload;
use super::{Job, run};
use crate::cpus::Placement;
use crate::deadlocks::Nodes;
use crate::machine::Machine;
use crate::rounds::progress;
use crate::session::Stage;
use crate::statistics::{Round, ratio, typical};

/// A call with detection may take so much of one without.
const AT_MOST: f64 = 1.05;

/// What detectors count that is said between processes.
const MESSAGES: [&str; 4] = ["gathers", "answered", "attaches", "verdicts"];

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// How often everything is measured, one round after another
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// How long each is measured in one round
    #[arg(long, default_value_t = 400)]
    milliseconds: u64,
    /// How long objects of two processes are called, to count what their detectors say
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Print JSON, with every round
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit code 1 if a target is missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    /// Calls to objects that others wanted as well, and what detectors said to each other meanwhile.
    calls: u64,
    messages: u64,
}

/// One pair of ends, with detection and without.
#[derive(Serialize)]
struct Row {
    contestant: Contestant,
    with: Vec<Round>,
    without: Vec<Round>,
}

impl Row {
    fn ratio(&self) -> f64 {
        ratio(&self.with, &self.without)
    }
}

impl Report {
    pub(crate) fn is_kept(&self) -> bool {
        let is_cheap = |row: &Row| (row.ratio() * 100.0).round() <= AT_MOST * 100.0;
        self.rows.iter().all(is_cheap) && self.messages == 0
    }
}

/// As Markdown.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| one call, pinned, p50 µs | with | without | ratio (target {AT_MOST}) |"
        )?;
        writeln!(f, "|---|--:|--:|--:|")?;
        for row in &self.rows {
            let p50 = |rounds: &[Round]| typical(rounds, |round| round.p50_us);
            let (with, without) = (p50(&row.with), p50(&row.without));
            let (ends, ratio) = (row.contestant, row.ratio());
            writeln!(f, "| {ends} | {with:.2} | {without:.2} | {ratio:.3} |")?;
        }
        let Self {
            calls, messages, ..
        } = self;
        writeln!(
            f,
            "\n{messages} messages of detectors during {calls} calls (target 0)"
        )
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let with = Stage::set_up()?;
    let machine = Machine::describe(None)?;
    let without = Stage::set_up()?.with_executable(build_without(&with)?);
    let ends = |client, driver| Row {
        contestant: Contestant::Antifreeze(client, driver),
        with: Vec::new(),
        without: Vec::new(),
    };
    let mut rows = vec![
        ends(Client::Async, Driver::EventLoop),
        ends(Client::Blocking, Driver::EventLoop),
        ends(Client::Blocking, Driver::Threads),
    ];
    for round in 0..options.rounds {
        progress(&format!("round {} of {}", round + 1, options.rounds));
        for row in &mut rows {
            let job = Job {
                contestant: row.contestant,
                workload: Workload::OneCall,
                milliseconds: options.milliseconds,
            };
            let mut both = [(&with, &mut row.with), (&without, &mut row.without)];
            if round % 2 == 1 {
                both.reverse();
            }
            for (stage, rounds) in both {
                rounds.push(run(stage, Placement::Pinned, job)?);
            }
        }
    }
    let (calls, messages) = busy(Duration::from_secs(options.seconds))?;
    Ok(Report {
        machine,
        rows,
        calls,
        messages,
    })
}

/// Builds this program with detection compiled out, in a directory of its own.
fn build_without(stage: &Stage) -> Result<PathBuf> {
    let target = stage.scratch().join("without-detection");
    progress("building without detection");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--no-default-features", "--quiet"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the build without detection failed");
    Ok(target.join("release").join(env!("CARGO_PKG_NAME")))
}

/// Has callers want the same objects of two processes, one of which calls the other, for so long. Gives
/// the number of calls, and of messages of detectors.
fn busy(lasts: Duration) -> Result<(u64, u64)> {
    let nodes = Nodes::of_drivers(&["event-loop", "threads"])?;
    let (first, second) = (&nodes.uris[0], &nodes.uris[1]);
    let end = Instant::now() + lasts;
    let call = |uri: &str, path: &[&str]| {
        let proxy = Proxy::connect(uri)?;
        let mut calls = 0;
        while Instant::now() < end {
            let _: Vec<String> = proxy.call("hop", (path, 0))?;
            calls += 1;
        }
        anyhow::Ok(calls)
    };
    let calls = thread::scope(|scope| {
        let onward = [second.as_str()];
        let callers: Vec<_> = (0..4)
            .map(|number| match number % 2 {
                0 => scope.spawn(move || call(first, &onward)),
                _ => scope.spawn(move || call(second, &[])),
            })
            .collect();
        let all = callers.into_iter().map(|caller| {
            let ended = caller.join();
            ended.map_err(|_| anyhow::anyhow!("a caller has panicked"))?
        });
        all.sum::<Result<u64>>()
    })?;
    let messages = nodes.uris.iter().map(|uri| messages_at(uri));
    Ok((calls, messages.sum::<Result<u64>>()?))
}

fn messages_at(uri: &str) -> Result<u64> {
    let (_, place) = uri.split_once('@').context("a URI names a place")?;
    let detector = Proxy::connect(&format!("PYRO:Antifreeze.Detector@{place}"))?;
    let metrics: String = detector.call("metrics", ())?;
    let mut sum = 0;
    for name in MESSAGES {
        let name = format!("antifreeze_detector_{name}_total ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        sum += line.with_context(|| format!("no {name}"))?.parse::<u64>()?;
    }
    Ok(sum)
}
