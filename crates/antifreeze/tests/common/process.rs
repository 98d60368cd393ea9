//! Processes for tests: the test program itself, started once more for one of its ignored tests.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Lines, Read, Write, stdin};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use antifreeze::Config;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{Driver, gate, raise_limits};

/// Another process, killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Its end tells the process that we are gone.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Runs the ignored test `role` of this test program, with these variables.
    pub fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(&mut Command::new(this_program()), role, variables)
    }

    /// The same in a network of its own, which is to be made ready when this returns; then
    /// [`go_on`](Self::go_on).
    pub fn start_unshared(role: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("unshare");
        let script = "echo unshared; read go; exec \"$0\" \"$@\"";
        command.args(["--net", "sh", "-c", script]);
        let mut process = Self::spawn(command.arg(this_program()), role, variables);
        process.line("unshared");
        process
    }

    /// Lets a process begin that was [`start_unshared`](Self::start_unshared).
    pub fn go_on(&mut self) {
        let stdin = self.stdin.as_mut().expect("held until the end");
        stdin.write_all(b"go\n").unwrap();
    }

    fn spawn(command: &mut Command, role: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .args(["--exact", role, "--ignored", "--nocapture"])
            .env("TEST_CHILD", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Self {
            child,
            lines,
            stdin,
        }
    }

    /// What the process says next after this word.
    #[track_caller]
    pub fn line(&mut self, word: &str) -> String {
        loop {
            let line = self.lines.next().expect("the process goes on").unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the process a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let done = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(done.unwrap().success());
    }

    /// What `kill -9` does.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// All that the process has still to say, until it ends.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server in a process of its own: `thing`, `other` and `keeper`.
#[derive(Debug)]
pub struct Server {
    pub process: Process,
    /// `host:port`.
    pub place: String,
}

impl Server {
    /// Starts one that listens at `place`, with these settings.
    pub fn start(driver: Driver, place: &str, settings: &[(&str, &str)]) -> Self {
        raise_limits();
        let driver = format!("{driver:?}");
        let mut variables = vec![("TEST_DRIVER", driver.as_str()), ("TEST_PLACE", place)];
        variables.extend(settings);
        let mut process = Process::start("server_process", &variables);
        let place = process.line("ready");
        Self { process, place }
    }

    /// What the process does if it is one.
    pub fn run() {
        if std::env::var_os("TEST_CHILD").is_none() {
            return;
        }
        if std::env::var_os("TEST_LOG").is_some() {
            tracing::subscriber::set_global_default(Transitions).unwrap();
        }
        let driver = match std::env::var("TEST_DRIVER").unwrap().as_str() {
            "Threads" => Driver::Threads,
            _ => Driver::EventLoop,
        };
        let builder = driver.builder().config(Config::load().unwrap());
        let place = std::env::var("TEST_PLACE").unwrap();
        let daemon = builder.bind(&place).unwrap();
        let _gate = gate::register(&daemon);
        println!("\nready {}", daemon.location());
        let _running = daemon.start().unwrap();
        // Whoever started us holds the other end.
        let _ = stdin().read(&mut [0]);
        std::process::exit(0);
    }

    pub fn uri(&self, id: &str) -> String {
        format!("PYRO:{id}@{}", self.place)
    }

    /// A number of `/proc/PID/status`.
    pub fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.pid());
        number(&std::fs::read_to_string(path).unwrap(), name)
    }

    /// Memory that is in use, in bytes.
    pub fn memory(&self) -> u64 {
        1024 * self.status("VmRSS:")
    }

    /// File descriptors that are open.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.pid());
        std::fs::read_dir(path).unwrap().count()
    }

    /// What its threads have used of the processors, and how often they have gone to sleep.
    pub fn activity(&self) -> (Duration, u64) {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let (mut cpu, mut sleeps) = (0, 0);
        for task in std::fs::read_dir(tasks).unwrap() {
            let path = task.unwrap().path();
            // A thread may have ended by now.
            let read = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
            let first = read("schedstat").split(' ').next().map(str::parse);
            cpu += first.and_then(Result::ok).unwrap_or(0);
            sleeps += number(&read("status"), "voluntary_ctxt_switches:");
        }
        (Duration::from_nanos(cpu), sleeps)
    }

    /// Sends the process a signal.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Prints the transitions of the first connection: from, to, and why in one word.
struct Transitions;

/// What one event says.
#[derive(Default)]
struct Said(HashMap<&'static str, String>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Transitions {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("antifreeze_proto")
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let of = |name| said.0.get(name).map_or("", String::as_str);
        if of("message") == "transition" && of("conn") == "1" {
            let why = of("why").replace(' ', "_");
            println!("\ntransition {} {} {why}", of("from"), of("to"));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
