//! A server in a process of its own, and what it holds.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, stdin};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use antifreeze::{Bytes, Config, Daemon, expose};
use anyhow::Context;
use clap::ValueEnum;

/// Which driver serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Driver {
    Threads,
    EventLoop,
}

impl Driver {
    pub(crate) const BOTH: [Self; 2] = [Self::Threads, Self::EventLoop];

    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::EventLoop => "event-loop",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An object whose calls can be counted.
#[derive(Default)]
struct Tally(i64);

#[expose]
impl Tally {
    fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }

    #[oneway]
    fn add_later(&mut self, n: i64) {
        self.0 += n;
    }

    fn total(&self) -> i64 {
        self.0
    }

    fn echo(&self, data: Bytes) -> Bytes {
        data
    }

    #[quick]
    fn quick(&self) {}
}

/// So few that all of them have been needed when the server is warm.
const WORKERS: usize = 16;

/// Serves until standard input ends.
pub(crate) fn run(driver: Driver) -> anyhow::Result<()> {
    let builder = match driver {
        Driver::Threads => Daemon::builder().threads(),
        Driver::EventLoop => Daemon::builder(),
    };
    let mut config = Config::default();
    config.workers = WORKERS;
    let daemon = builder.config(config).bind("127.0.0.1:0")?;
    // One for those whose network is good, and one for the others.
    daemon.register("exact", Tally::default())?;
    daemon.register("bounded", Tally::default())?;
    println!("{}", daemon.location());
    let running = daemon.start()?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(running.stop()?)
}

/// A server process; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// What a process has taken up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
}

impl Server {
    pub(crate) fn start(driver: Driver) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", driver.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("no address: {line:?}"))?;
        Ok(Self { child, address })
    }

    pub(crate) fn held(&self) -> anyhow::Result<Held> {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status")).context("it has ended")?;
        let number = |name| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Ok(Held {
            memory: 1024 * number("VmRSS:").context("no memory")?,
            threads: number("Threads:").context("no threads")?,
            descriptors: fs::read_dir(format!("{process}/fd"))?.count() as u64,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memory,
            threads,
            descriptors,
        } = self;
        let mib = *memory as f64 / f64::from(1 << 20);
        write!(
            f,
            "{mib:.1} MiB, {threads} threads, {descriptors} descriptors"
        )
    }
}
