//! One client process and one server process, from start to report.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cpus::{Cpus, Placed, Placement};
use crate::python::Python;
use crate::roles::{ClientReport, ServerReport};
use crate::row::{Peer, Row};

/// What the client shall do.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    pub(crate) warm_up: usize,
    /// On each connection.
    pub(crate) calls: usize,
    /// Each with a thread of its own in the client.
    pub(crate) connections: usize,
    /// Count allocations, and take no times.
    pub(crate) count: bool,
}

/// Something of each end.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Ends<T> {
    pub(crate) client: T,
    pub(crate) server: T,
}

impl<T> Ends<T> {
    pub(crate) fn each_ref(&self) -> Ends<&T> {
        Ends {
            client: &self.client,
            server: &self.server,
        }
    }

    pub(crate) fn map<U>(self, mut convert: impl FnMut(T) -> U) -> Ends<U> {
        Ends {
            client: convert(self.client),
            server: convert(self.server),
        }
    }

    pub(crate) fn try_map<U>(self, mut convert: impl FnMut(T) -> Result<U>) -> Result<Ends<U>> {
        Ok(Ends {
            client: convert(self.client)?,
            server: convert(self.server)?,
        })
    }

    pub(crate) fn zip<U>(self, other: Ends<U>) -> Ends<(T, U)> {
        Ends {
            client: (self.client, other.client),
            server: (self.server, other.server),
        }
    }
}

/// The beginning of the command line of a program that each end runs under; empty for none.
pub(crate) type Observer = Ends<Vec<String>>;

/// What both ends said.
pub(crate) struct Reports {
    pub(crate) client: ClientReport,
    pub(crate) server: ServerReport,
}

/// Starts peers.
pub(crate) struct Stage {
    executable: PathBuf,
    target: PathBuf,
    python: Python,
    pub(crate) cpus: Cpus,
}

impl Stage {
    pub(crate) fn set_up() -> Result<Self> {
        let executable = std::env::current_exe()?;
        let target = executable
            .ancestors()
            .nth(2)
            .context("the binary is in no target directory")?
            .to_owned();
        let python = Python::prepare(&target)?;
        Ok(Self {
            executable,
            target,
            python,
            cpus: Cpus::find()?,
        })
    }

    /// The same with another build of this program.
    pub(crate) fn with_executable(self, executable: PathBuf) -> Self {
        Self { executable, ..self }
    }

    pub(crate) fn python(&self) -> &Python {
        &self.python
    }

    /// A directory for what observers write.
    pub(crate) fn scratch(&self) -> &Path {
        &self.target
    }

    /// Runs one session and gives what both ends reported.
    pub(crate) fn run(
        &self,
        row: Row,
        placement: Placement,
        task: Task,
        observer: &Observer,
    ) -> Result<Reports> {
        self.session(row, placement, task, observer)
            .with_context(|| format!("{row}"))
    }

    fn session(
        &self,
        row: Row,
        placement: Placement,
        task: Task,
        observer: &Observer,
    ) -> Result<Reports> {
        let count = task.count.then(|| "--count".to_owned());

        let mut server = observer.server.clone();
        server.extend(self.command_line(row.server, "server"));
        if row.server != Peer::Pyro5 {
            server.extend(count.clone());
        }
        let mut client = observer.client.clone();
        client.extend(self.command_line(row.client, "client"));
        client.extend(["--serializer".to_owned(), row.serializer.name().to_owned()]);
        client.extend(["--warm-up".to_owned(), task.warm_up.to_string()]);
        client.extend(["--calls".to_owned(), task.calls.to_string()]);
        client.extend(["--connections".to_owned(), task.connections.to_string()]);
        client.extend(count);
        let (client, server) = self.play(placement, &server, client)?;
        Ok(Reports { client, server })
    }

    /// Runs a server, then a client that is told its address; gives what either says at its end.
    pub(crate) fn play<C: DeserializeOwned, S: DeserializeOwned>(
        &self,
        placement: Placement,
        server: &[String],
        mut client: Vec<String>,
    ) -> Result<(C, S)> {
        let mut server = Process::start(&self.cpus.place(placement)?, server)?;
        client.extend(["--address".to_owned(), server.line()?]);
        let client = Process::start(&self.cpus.place(placement)?, &client)?.report()?;
        Ok((client, server.report()?))
    }

    /// The beginning of the command line of one of our own roles.
    pub(crate) fn role(&self, role: &str) -> Vec<String> {
        vec![
            self.executable.display().to_string(),
            "role".to_owned(),
            role.to_owned(),
        ]
    }

    fn command_line(&self, peer: Peer, end: &str) -> Vec<String> {
        let role = match peer {
            Peer::Pyro5 => return self.python.script(&format!("{end}.py")),
            Peer::Raw => "raw",
            Peer::Prepared => "prepared",
            Peer::Antifreeze => "antifreeze",
        };
        self.role(&format!("{role}-{end}"))
    }
}

/// A peer that runs; ended when dropped before its report.
struct Process {
    command: Vec<String>,
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(_placed: &Placed<'_>, command: &[String]) -> Result<Self> {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.join(" ")))?;
        let output = child.stdout.take().context("the child has no output")?;
        Ok(Self {
            command: command.to_vec(),
            child,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} ended without a word", self.command.join(" "));
        }
        Ok(line.trim_end().to_owned())
    }

    /// Ends the child's input, and reads what it says then.
    fn report<R: DeserializeOwned>(mut self) -> Result<R> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "{} failed: {status}",
            self.command.join(" ")
        );
        serde_json::from_str(&said).with_context(|| format!("{} said {said:?}", self.command[0]))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A server that ends by itself takes with it what it started.
        drop(self.child.stdin.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Both fail for a child that has ended by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
