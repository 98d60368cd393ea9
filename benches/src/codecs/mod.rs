//! `codecs`: what encoding and decoding costs, beside Python's own codecs and those of others.

mod data;
mod job;
mod markdown;
mod play;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use self::data::Dataset;
use self::job::{Contest, Contestant, Effort, Job, Outcome};
pub(crate) use self::markdown::Markdown;
pub(crate) use self::play::play;
use self::targets::Target;
use crate::children::Children;
use crate::counts::{is_there, read_callgrind};
use crate::cpus::Placement;
use crate::machine::Machine;
use crate::python::Python;
use crate::rounds::progress;
use crate::statistics::median;

/// One that has not ended after so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// How often every contestant is measured, one round after another [default: 9, with --quick 3]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,
    /// How long each is measured in one round [default: 100, with --quick 30]
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    milliseconds: Option<u64>,
    /// Fewer and shorter rounds: for a first look
    #[arg(long)]
    quick: bool,
    /// Count instructions, under valgrind, and take no times
    #[arg(long)]
    instructions: bool,
    /// Only lines whose name contains this, as in "msgpack" or "decode 100,000 ints"
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
    lines: Vec<Line>,
    targets: Vec<Target>,
}

/// One contest, and all who take part.
#[derive(Serialize)]
struct Line {
    contest: Contest,
    /// Of the document that Python makes: what speed is counted by, for all.
    bytes: u64,
    entries: Vec<Entry>,
}

/// One contestant in one contest.
#[derive(Serialize)]
struct Entry {
    contestant: Contestant,
    rounds: Vec<Outcome>,
    /// Of one time, if they were counted.
    instructions: Option<f64>,
}

impl Report {
    /// Whether all was kept that we promise ourselves.
    pub(crate) fn is_kept(&self) -> bool {
        self.targets.iter().all(Target::is_kept)
    }

    fn line(&self, contest: Contest) -> Option<&Line> {
        self.lines.iter().find(|line| line.contest == contest)
    }
}

impl Line {
    fn entry(&self, contestant: Contestant) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.contestant == contestant)
    }

    /// How many times as fast `contestant` is as `peer`: the median of the ratios of all rounds.
    fn ratio(&self, contestant: Contestant, peer: Contestant) -> Option<f64> {
        let (ours, peers) = (self.entry(contestant)?, self.entry(peer)?);
        if ours.rounds.is_empty() {
            return None;
        }
        let rounds = ours.rounds.iter().zip(&peers.rounds);
        Some(median(
            rounds.map(|(ours, peers)| peers.nanoseconds / ours.nanoseconds),
        ))
    }

    /// Millions of bytes a second.
    fn speed(&self, entry: &Entry) -> Option<f64> {
        let speed = |outcome: &Outcome| self.bytes as f64 * 1e3 / outcome.nanoseconds;
        (!entry.rounds.is_empty()).then(|| median(entry.rounds.iter().map(speed)))
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
    let machine = Machine::describe(Some(stage.python.versions()?))?;
    let mut lines = stage.lines()?;
    if let Some(part) = &options.only {
        lines.retain(|line| line.contest.to_string().contains(part));
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 });
    let milliseconds = options
        .milliseconds
        .unwrap_or(if options.quick { 30 } else { 100 });
    if options.instructions {
        // Copying takes as many instructions as the machine likes.
        lines.retain(|line| line.contest.dataset != Dataset::Bytes);
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
    }
    let mut report = Report {
        machine,
        counted: options.instructions,
        rounds,
        milliseconds,
        lines,
        targets: Vec::new(),
    };
    report.targets = targets::judge(&report);
    Ok(report)
}

/// Starts contestants.
struct Stage {
    children: Children,
    python: Python,
    /// Where the documents are.
    documents: PathBuf,
}

impl Stage {
    fn set_up() -> Result<Self> {
        let children = Children::new()?;
        let python = Python::prepare(children.target()?)?;
        let documents = children.target()?.join("benches-codecs");
        fs::create_dir_all(&documents)?;
        Ok(Self {
            children,
            python,
            documents,
        })
    }

    /// Has Python make the documents.
    fn lines(&self) -> Result<Vec<Line>> {
        progress("making documents");
        let mut command = self.python.script("codec.py");
        command.push("prepare".to_owned());
        for dataset in Dataset::ALL {
            let source = self.documents.join(dataset.name());
            fs::write(&source, dataset.source()?)?;
            command.push(source.display().to_string());
        }
        let sizes: Option<BTreeMap<String, u64>> =
            self.children.run(&command, Placement::Unpinned, PATIENCE)?;
        let sizes = sizes.context("Python makes no documents")?;
        let line = |contest: Contest| {
            let entry = |contestant| Entry {
                contestant,
                rounds: Vec::new(),
                instructions: None,
            };
            let document = self.document(contest);
            let name = document.file_name().unwrap_or_default().to_string_lossy();
            let bytes = sizes.get(&*name).copied();
            Ok(Line {
                contest,
                bytes: bytes.with_context(|| format!("there is no {name}"))?,
                entries: contest.contestants().into_iter().map(entry).collect(),
            })
        };
        Contest::all().map(line).collect()
    }

    fn document(&self, contest: Contest) -> PathBuf {
        let name = format!("{}.{}", contest.dataset.name(), contest.codec);
        self.documents.join(name)
    }

    /// Everybody in one contest, one after another, each round beginning with another one.
    fn round(&self, line: &mut Line, round: usize, effort: Effort) -> Result<()> {
        let count = line.entries.len();
        for turn in 0..count {
            let entry = &mut line.entries[(round + turn) % count];
            let command = self.command(line.contest, entry.contestant, effort)?;
            let outcome = self.children.run(&command, Placement::Unpinned, PATIENCE)?;
            let outcome = outcome.with_context(|| format!("{} hangs", entry.contestant))?;
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
            document: self.document(contest),
            effort,
        })?;
        Ok(match contestant {
            Contestant::Python => {
                let mut command = self.python.script("codec.py");
                command.extend(["measure".to_owned(), job]);
                command
            }
            _ => self.children.role("codec", [job]),
        })
    }

    /// The difference between a short and a long run, so that starting and ending cancel out.
    fn instructions(&self, contest: Contest, contestant: Contestant) -> Result<Option<f64>> {
        const SHORT: u64 = 1;
        const LONG: u64 = 3;

        if contestant == Contestant::Python {
            return Ok(None);
        }
        let count = |times| -> Result<u64> {
            let file = self.documents.join("callgrind.out");
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--tool=callgrind"]);
            valgrind.arg(format!("--callgrind-out-file={}", file.display()));
            valgrind.args(self.command(contest, contestant, Effort::Times(times))?);
            let status = valgrind.stdout(Stdio::null()).status()?;
            ensure!(status.success(), "{valgrind:?} failed: {status}");
            read_callgrind(&file)
        };
        let difference = count(LONG)? as f64 - count(SHORT)? as f64;
        Ok(Some(difference / (LONG - SHORT) as f64))
    }
}
