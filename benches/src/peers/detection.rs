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
use crate::counts;
use crate::cpus::Placement;
use crate::deadlocks::Nodes;
use crate::machine::Machine;
use crate::rounds::progress;
use crate::row;
use crate::session::Stage;
use crate::statistics::{Round, ratio, typical};
use crate::wire::Serializer;

/// A call with detection may take so much of one without.
const AT_MOST: f64 = 1.05;

/// The calls whose instructions are counted.
const COUNTED: row::Row = row::Row::new(
    row::Peer::Antifreeze,
    row::Peer::Antifreeze,
    Serializer::Msgpack,
);

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
    /// Count instructions too, under valgrind
    #[arg(long)]
    instructions: bool,
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
    instructions: Option<Instructions>,
    busy: Busy,
}

/// Calls to objects that others wanted as well, and what detectors said to each other meanwhile.
#[derive(Serialize)]
struct Busy {
    calls: u64,
    longest_ms: f64,
    messages: u64,
}

/// One pair of ends, with detection and without.
#[derive(Serialize)]
struct Row {
    contestant: Contestant,
    with: Vec<Round>,
    without: Vec<Round>,
}

/// What one call of a blocking proxy to a daemon of threads takes at both ends together.
#[derive(Serialize)]
struct Instructions {
    with: f64,
    without: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        ratio(&self.with, &self.without)
    }
}

impl Report {
    pub(crate) fn is_kept(&self) -> bool {
        let is_cheap = |row: &Row| (row.ratio() * 100.0).round() <= AT_MOST * 100.0;
        self.rows.iter().all(is_cheap) && self.busy.messages == 0
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
        if let Some(Instructions { with, without }) = &self.instructions {
            writeln!(
                f,
                "\nInstructions of one call, both ends, blocking proxy and threads: {with:.0} with, \
                 {without:.0} without, {:.3}",
                with / without
            )?;
        }
        let Busy {
            calls,
            longest_ms,
            messages,
        } = self.busy;
        writeln!(
            f,
            "\n{messages} messages of detectors during {calls} calls of at most {longest_ms:.1} ms \
             (target 0)"
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
    let instructions = options.instructions.then(|| {
        progress("counting instructions");
        let count = |stage| {
            let ends = counts::instructions(stage, COUNTED)?;
            let [client, server] = [ends.client, ends.server].map(|end| end.context("is ours"));
            anyhow::Ok(client? + server?)
        };
        anyhow::Ok(Instructions {
            with: count(&with)?,
            without: count(&without)?,
        })
    });
    let instructions = instructions.transpose()?;
    let busy = busy(Duration::from_secs(options.seconds))?;
    Ok(Report {
        machine,
        rows,
        instructions,
        busy,
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

/// Has callers want the same objects of two processes, one of which calls the other, for so long.
fn busy(lasts: Duration) -> Result<Busy> {
    let nodes = Nodes::of_drivers(&["event-loop", "threads"])?;
    let (first, second) = (&nodes.uris[0], &nodes.uris[1]);
    let end = Instant::now() + lasts;
    let call = |uri: &str, path: &[&str]| {
        let proxy = Proxy::connect(uri)?;
        let (mut calls, mut longest) = (0, Duration::ZERO);
        let mut last = Instant::now();
        while last < end {
            let _: Vec<String> = proxy.call("hop", (path, 0))?;
            calls += 1;
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        anyhow::Ok((calls, longest))
    };
    // More of them would have to wait for one of two processors, for longer than short.
    let [one, other] = thread::scope(|scope| {
        let one = scope.spawn(|| call(first, &[second]));
        let other = scope.spawn(|| call(second, &[]));
        [one, other].map(|caller| {
            let ended = caller.join();
            ended.map_err(|_| anyhow::anyhow!("a caller has panicked"))?
        })
    });
    let ((calls, longest), (others, other_longest)) = (one?, other?);
    let messages = nodes.uris.iter().map(|uri| messages_at(uri));
    Ok(Busy {
        calls: calls + others,
        longest_ms: longest.max(other_longest).as_secs_f64() * 1e3,
        messages: messages.sum::<Result<u64>>()?,
    })
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
