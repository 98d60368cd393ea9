//! How long a deadlock lasts: from the moment when the last of its calls is made until the victim's
//! caller has the error.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime};

use antifreeze::{Daemon, Error, ErrorKind, Proxy, expose};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::children::Children;
use crate::python::Python;

/// How long each object is held before the next one is called: all chains have begun by then.
const HOLD: Duration = Duration::from_millis(25);
/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Options {
    /// How many deadlocks of each sort
    #[arg(long, default_value_t = 200)]
    deadlocks: usize,
    /// Only those whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit code 1 if a target is missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// Who takes part.
#[derive(Clone, Copy)]
enum Who {
    /// A process of ours with so many objects; the driver has a name.
    Ours(usize, &'static str),
    Python(&'static str),
}

use Who::{Ours, Python as Pyro};

/// What deadlocks: chains of calls, each with the numbers of the objects that it goes through.
struct Sort {
    name: &'static str,
    who: &'static [Who],
    chains: &'static [&'static [usize]],
    target_ms: f64,
}

const PAIR: &[&[usize]] = &[&[0, 1], &[1, 0]];
const THREE: &[&[usize]] = &[&[0, 1], &[1, 2], &[2, 0]];
const HOP: &[&[usize]] = &[&[0, 1, 2], &[2, 0]];

const SORTS: [Sort; 7] = [
    Sort {
        name: "one process, event loop",
        who: &[Ours(2, "event-loop")],
        chains: PAIR,
        target_ms: 5.0,
    },
    Sort {
        name: "one process, threads",
        who: &[Ours(2, "threads")],
        chains: PAIR,
        target_ms: 5.0,
    },
    Sort {
        name: "three processes, event loop",
        who: &[Ours(1, "event-loop"); 3],
        chains: THREE,
        target_ms: 30.0,
    },
    Sort {
        name: "three processes, threads",
        who: &[Ours(1, "threads"); 3],
        chains: THREE,
        target_ms: 30.0,
    },
    Sort {
        name: "with a Python hop, threads",
        who: &[Ours(1, "threads"), Pyro("thread"), Ours(1, "threads")],
        chains: HOP,
        target_ms: 350.0,
    },
    Sort {
        name: "with a Python hop, event loop",
        who: &[Ours(1, "event-loop"), Pyro("thread"), Ours(1, "event-loop")],
        chains: HOP,
        target_ms: 350.0,
    },
    Sort {
        name: "with a single-threaded Python hop",
        who: &[Ours(1, "event-loop"), Pyro("multiplex"), Ours(1, "threads")],
        chains: HOP,
        target_ms: 350.0,
    },
];

#[derive(Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    deadlocks: usize,
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
    target_ms: f64,
}

impl Report {
    pub(crate) fn is_kept(&self) -> bool {
        self.rows.iter().all(|row| row.p99_ms <= row.target_ms)
    }
}

/// As Markdown.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| deadlock | n | p50 | p99 | most | target of p99 |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for Row {
            name,
            deadlocks,
            p50_ms,
            p99_ms,
            most_ms,
            target_ms,
        } in &self.rows
        {
            writeln!(
                f,
                "| {name} | {deadlocks} | {p50_ms:.1} ms | {p99_ms:.1} ms | {most_ms:.1} ms | {target_ms} ms |"
            )?;
        }
        Ok(())
    }
}

pub(crate) fn measure(options: &Options) -> Result<Report> {
    let children = Children::new()?;
    let python = Python::prepare(children.target()?)?;
    let wanted = SORTS
        .iter()
        .filter(|sort| sort.name.contains(&options.only));
    let stages = wanted.map(|sort| Stage::start(sort, &children, &python));
    let stages: Vec<Stage> = stages.collect::<Result<_>>()?;
    let mut took = vec![Vec::with_capacity(options.deadlocks); stages.len()];
    for round in 0..options.deadlocks + 2 {
        for (stage, took) in stages.iter().zip(&mut took) {
            let once = stage.deadlock()?;
            // The first ones connect.
            if round >= 2 {
                took.push(once);
            }
        }
    }
    let rows = stages.iter().zip(took).map(|(stage, mut took)| {
        took.sort_unstable();
        let ms = |share: f64| {
            let place = (took.len() - 1) as f64 * share;
            took[place.ceil() as usize].as_secs_f64() * 1e3
        };
        Row {
            name: stage.sort.name,
            deadlocks: took.len(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            most_ms: ms(1.0),
            target_ms: stage.sort.target_ms,
        }
    });
    Ok(Report {
        rows: rows.collect(),
    })
}

/// Processes with objects that call each other while they are held.
pub(crate) struct Nodes {
    _processes: Vec<Process>,
    pub(crate) uris: Vec<String>,
}

impl Nodes {
    /// Processes of ours with an object each, on these drivers.
    pub(crate) fn of_drivers(drivers: &[&str]) -> Result<Self> {
        let children = Children::new()?;
        Self::start(drivers.iter().map(|driver| (ours(&children, driver, 1), 1)))
    }

    /// Starts these programs, each of which says so many URIs.
    fn start(programs: impl IntoIterator<Item = (Vec<String>, usize)>) -> Result<Self> {
        let (mut processes, mut uris) = (Vec::new(), Vec::new());
        for (command, count) in programs {
            let mut process = Command::new(&command[0]);
            process
                .args(&command[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut process = Process(process.spawn()?);
            let output = process.0.stdout.take().context("the child has no output")?;
            for line in BufReader::new(output).lines().take(count) {
                uris.push(line?);
            }
            processes.push(process);
        }
        Ok(Self {
            _processes: processes,
            uris,
        })
    }
}

fn ours(children: &Children, driver: &str, count: usize) -> Vec<String> {
    children.role("deadlock-node", [driver.to_owned(), count.to_string()])
}

/// The processes of one sort.
struct Stage {
    sort: &'static Sort,
    nodes: Nodes,
    proxies: Vec<Proxy>,
}

impl Stage {
    fn start(sort: &'static Sort, children: &Children, python: &Python) -> Result<Self> {
        let programs = sort.who.iter().map(|who| match *who {
            Ours(count, driver) => (ours(children, driver, count), count),
            Pyro(servertype) => {
                let mut command = python.script("../../interop/tests/node.py");
                command.extend(["--servertype".to_owned(), servertype.to_owned()]);
                (command, 1)
            }
        });
        let nodes = Nodes::start(programs)?;
        let proxies = nodes
            .uris
            .iter()
            .map(|uri| Ok(Proxy::connect(uri)?.within(PATIENCE)));
        Ok(Self {
            sort,
            proxies: proxies.collect::<Result<_>>()?,
            nodes,
        })
    }

    /// Makes one, and says how long it lasted.
    fn deadlock(&self) -> Result<Duration> {
        let barrier = Barrier::new(self.sort.chains.len());
        let chain = |chain: &[usize]| {
            let path: Vec<_> = chain[1..]
                .iter()
                .map(|place| &self.nodes.uris[*place])
                .collect();
            let longest = self
                .sort
                .chains
                .iter()
                .map(|chain| chain.len())
                .max()
                .unwrap_or(0);
            // Those that come to their end sooner begin later.
            let hold = HOLD * (longest - 1) as u32 / (chain.len() - 1) as u32;
            barrier.wait();
            let blocked = now() + HOLD * (longest - 1) as u32;
            let outcome: Result<Vec<String>, Error> =
                self.proxies[chain[0]].call("hop", (path, hold.as_millis() as u64));
            (outcome, blocked, now())
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let chain = &chain;
            let chains = self
                .sort
                .chains
                .iter()
                .map(|path| scope.spawn(move || chain(path)));
            let chains: Vec<_> = chains.collect();
            chains.into_iter().map(|chain| chain.join()).collect()
        });
        let mut told = None;
        for outcome in outcomes {
            match outcome {
                Ok((Err(error), blocked, at)) if error.kind() == ErrorKind::Deadlock => {
                    ensure!(
                        told.replace((blocked, at)).is_none(),
                        "two victims of {}",
                        self.sort.name
                    );
                }
                Ok((outcome, ..)) => drop(outcome?),
                Err(_) => anyhow::bail!("a thread has panicked"),
            }
        }
        let told = told.with_context(|| format!("no deadlock: {}", self.sort.name));
        let (nominally, at) = told?;
        Ok(at.saturating_sub(self.last_call()?.unwrap_or(nominally)))
    }

    /// When the last call of the deadlock was made; Python does not say so.
    fn last_call(&self) -> Result<Option<Duration>> {
        if self.sort.who.iter().any(|who| matches!(who, Pyro(_))) {
            return Ok(None);
        }
        let mut last = 0;
        for proxy in &self.proxies {
            last = last.max(proxy.call("called_at", ())?);
        }
        Ok(Some(Duration::from_nanos(last)))
    }
}

/// The time, the same in all processes of this machine.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An object that is held while it calls others.
#[derive(Default)]
struct Node {
    others: Mutex<HashMap<String, Proxy>>,
    /// When it last called another one, in nanoseconds.
    called_at: AtomicU64,
}

#[expose]
impl Node {
    fn hop(&mut self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Error> {
        let Some((next, rest)) = path.split_first() else {
            return Ok(Vec::new());
        };
        sleep(Duration::from_millis(hold_ms));
        let next = self.other(next)?;
        let now = now().as_nanos() as u64;
        self.called_at.store(now, Ordering::Relaxed);
        next.call("hop", (rest, hold_ms))
    }

    #[lock(none)]
    fn called_at(&self) -> u64 {
        self.called_at.load(Ordering::Relaxed)
    }
}

impl Node {
    /// A proxy that is kept, so that to connect is not measured.
    fn other(&self, uri: &str) -> Result<Proxy, Error> {
        let known = self
            .others
            .lock()
            .ok()
            .and_then(|others| others.get(uri).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let new = Proxy::connect(uri)?;
        if let Ok(mut others) = self.others.lock() {
            others.insert(uri.to_owned(), new.clone());
        }
        Ok(new)
    }
}

/// Serves so many objects.
pub(crate) fn play(driver: &str, objects: usize) -> Result<()> {
    let builder = match driver {
        "threads" => Daemon::builder().threads(),
        _ => Daemon::builder(),
    };
    let daemon = builder.bind("localhost:0")?;
    for number in 0..objects {
        println!(
            "{}",
            daemon.register(&*format!("node{number}"), Node::default())?
        );
    }
    let _running = daemon.start()?;
    // Whoever started us holds the other end.
    let _ = stdin().read(&mut [0])?;
    Ok(())
}
