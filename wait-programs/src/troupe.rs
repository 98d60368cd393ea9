//! Processes that perform programs, one after the other.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::Proxy;

use crate::message::{Order, Said};
use crate::program::{Kind, TROUPE};

/// How long a process takes to start, at most.
const START: Duration = Duration::from_secs(30);

/// One process of each number of [`TROUPE`].
pub(crate) struct Troupe {
    nodes: Vec<Node>,
    events: mpsc::Receiver<(usize, Said)>,
    /// No frame has a number below this one yet to come.
    pub(crate) next_frame: u64,
}

struct Node {
    child: Child,
    orders: ChildStdin,
    place: String,
}

impl Troupe {
    /// Starts them all.
    pub(crate) fn start(python: &Path) -> Result<Self, String> {
        let (sender, events) = mpsc::channel();
        let mut nodes = Vec::new();
        for (number, kind) in TROUPE.into_iter().enumerate() {
            nodes.push(Node::start(number, kind, python, sender.clone())?);
        }
        let mut this = Self {
            nodes,
            events,
            next_frame: 1,
        };
        let mut ready = 0;
        let deadline = Instant::now() + START;
        while ready < this.nodes.len() {
            match this.next(deadline) {
                Some((node, Said::Ready { place })) => {
                    this.nodes[node].place = place;
                    ready += 1;
                }
                Some((node, said)) => {
                    return Err(format!("process {node} did not start: {said:?}"));
                }
                None => return Err("a process did not start in time".to_owned()),
            }
        }
        Ok(this)
    }

    /// `host:port`.
    pub(crate) fn place(&self, node: usize) -> &str {
        &self.nodes[node].place
    }

    /// What the detectors of all processes have done, and what they see: for whoever looks for a mistake.
    pub(crate) fn detectors(&self) -> String {
        let mut text = String::new();
        for (node, (process, kind)) in self.nodes.iter().zip(TROUPE).enumerate() {
            if matches!(kind, Kind::Python { .. }) {
                continue;
            }
            let ask = || -> Result<(String, serde_json::Value), antifreeze::Error> {
                let uri = format!("PYRO:Antifreeze.Detector@{}", process.place);
                let detector = Proxy::connect(&uri)?.within(Duration::from_secs(5));
                Ok((detector.call("metrics", ())?, detector.call("graph", ())?))
            };
            let (metrics, graph) = match ask() {
                Ok(told) => told,
                Err(why) => {
                    text += &format!("process {node}: {why}\n");
                    continue;
                }
            };
            let counters = metrics.lines().filter(|line| !line.starts_with('#'));
            let counters: Vec<_> = counters.filter(|line| !line.ends_with(" 0")).collect();
            text += &format!("process {node}: {}\n{graph}\n", counters.join(", "));
        }
        text
    }

    pub(crate) fn tell(&mut self, node: usize, order: &Order) {
        let mut line = serde_json::to_string(order).expect("it is plain data");
        line.push('\n');
        // If the process is gone, it says so by itself.
        let _ = self.nodes[node].orders.write_all(line.as_bytes());
    }

    /// What one of them says next, if it does in time.
    pub(crate) fn next(&self, deadline: Instant) -> Option<(usize, Said)> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.events.recv_timeout(left).ok()
    }
}

impl Drop for Troupe {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended by itself.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}

impl Node {
    fn start(
        number: usize,
        kind: Kind,
        python: &Path,
        sender: mpsc::Sender<(usize, Said)>,
    ) -> Result<Self, String> {
        let own = || std::env::current_exe().map_err(|error| error.to_string());
        let mut command = match kind {
            Kind::Threads => Command::new(own()?),
            Kind::Tasks => Command::new(own()?),
            Kind::Python { .. } => Command::new(python),
        };
        match kind {
            Kind::Threads => command.args(["--node", "threads"]),
            Kind::Tasks => command.args(["--node", "tasks"]),
            Kind::Python { single } => {
                let server = if single { "multiplex" } else { "thread" };
                let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/node.py");
                command.arg(script).arg(server)
            }
        };
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .spawn();
        let mut child = started.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let (orders, output) = orders.zip(output).expect("both are pipes");
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).unwrap_or_else(|error| Said::Confused {
                    text: format!("{error} in {line}"),
                });
                if sender.send((number, said)).is_err() {
                    return;
                }
            }
            let text = "it is gone".to_owned();
            let _ = sender.send((number, Said::Confused { text }));
        });
        Ok(Self {
            child,
            orders,
            place: String::new(),
        })
    }
}
