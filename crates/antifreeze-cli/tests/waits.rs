//! The live view of real processes in which calls wait.

use std::io::{BufRead, BufReader, Read, stdin};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::sync::{Event, LockError};
use antifreeze::waits::{Graph, PastDeadlock};
use antifreeze::{Daemon, Error, Proxy, Serializer, expose};
use serde_json::Value;

mod schema;

/// Everybody stays until it is set.
static OPEN: Event = Event::named("open");

/// An object that calls others of its kind.
struct Node;

#[expose]
impl Node {
    /// Has the object, and calls the next of the path.
    fn hop(&mut self, path: Vec<String>) -> Result<(), Error> {
        match &*path {
            [] => Ok(()),
            [next, rest @ ..] => Proxy::connect(next)?.call("hop", (rest,)),
        }
    }

    fn read(&self) {}

    /// Has the object until it may go.
    fn stay(&mut self) -> Result<(), LockError> {
        OPEN.wait()
    }

    /// Waits for nobody, as far as can be seen.
    fn work(&self) {
        while !OPEN.is_set() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has it done by somebody else.
    fn have_worked(&self, by: String) -> Result<(), Error> {
        Proxy::connect(&by)?.call("work", ())
    }
}

struct Gate;

#[expose]
impl Gate {
    #[quick]
    fn open(&self) {
        OPEN.set();
    }
}

#[test]
#[ignore = "a process of its own that other tests start"]
fn node_process() {
    let Ok(driver) = std::env::var("TEST_DRIVER") else {
        return;
    };
    let builder = match driver.as_str() {
        "threads" => Daemon::builder().threads(),
        _ => Daemon::builder(),
    };
    let daemon = builder.bind("localhost:0").unwrap();
    daemon.register("node", Node).unwrap();
    daemon.register("free", Node).unwrap();
    daemon.register("third", Node).unwrap();
    daemon.register("gate", Gate).unwrap();
    println!("\nready {}", daemon.location());
    let _running = daemon.start().unwrap();
    // Whoever started us holds the other end.
    let _ = stdin().read(&mut [0]);
    std::process::exit(0);
}

/// A process with the objects `node` and `gate`, killed when this is dropped.
struct Process {
    child: Child,
    /// `host:port`.
    place: String,
}

impl Process {
    fn start(driver: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "node_process", "--ignored", "--nocapture"])
            .env("TEST_DRIVER", driver)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let place = lines.find_map(|line| Some(line.unwrap().strip_prefix("ready ")?.to_owned()));
        Self {
            child,
            place: place.expect("it says where it is"),
        }
    }

    fn uri(&self, object: &str) -> String {
        format!("PYRO:{object}@{}", self.place)
    }

    fn detector(&self, serializer: Serializer) -> Proxy {
        let uri = self.uri("Antifreeze.Detector");
        let proxy = Proxy::builder(&*uri).unwrap().serializer(serializer);
        proxy.connect().unwrap()
    }

    /// Waits until the process looks so.
    #[track_caller]
    fn await_graph(&self, is: impl Fn(&Graph) -> bool) {
        let detector = self.detector(Serializer::Msgpack);
        let begun = Instant::now();
        loop {
            let graph: Graph = detector.call("graph", ()).unwrap();
            if is(&graph) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{graph:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two processes with calls that wait, one for another and across both.
struct Waiting {
    first: Process,
    second: Process,
    calls: Vec<thread::JoinHandle<Result<(), Error>>>,
}

impl Waiting {
    fn start(drivers: [&str; 2]) -> Self {
        let [first, second] = drivers.map(Process::start);
        let mut waiting = Self {
            first,
            second,
            calls: Vec::new(),
        };
        let frames = |count: usize| move |graph: &Graph| graph.frames.len() == count;
        // The second object is held, the first is held by a call that wants it, and a third one
        // wants the first.
        waiting.call(&waiting.second.uri("node"), "stay", ());
        waiting.second.await_graph(frames(1));
        let path = vec![waiting.second.uri("node")];
        waiting.call(&waiting.first.uri("node"), "hop", (path,));
        waiting.second.await_graph(frames(2));
        waiting.call(&waiting.first.uri("node"), "read", ());
        waiting.first.await_graph(frames(2));
        // And this one only takes long.
        let by = waiting.second.uri("free");
        waiting.call(&waiting.first.uri("free"), "have_worked", (by,));
        waiting.first.await_graph(frames(3));
        waiting
            .second
            .await_graph(|graph| graph.daemons[0].busy == 2);
        waiting
    }

    fn call(
        &mut self,
        uri: &str,
        method: &'static str,
        args: impl serde::Serialize + Send + 'static,
    ) {
        let proxy = Proxy::connect(uri).unwrap();
        self.calls
            .push(thread::spawn(move || proxy.call(method, args)));
    }

    fn end(self) {
        for process in [&self.first, &self.second] {
            let gate = Proxy::connect(process.uri("gate")).unwrap();
            gate.call::<()>("open", ()).unwrap();
        }
        for call in self.calls {
            call.join().unwrap().unwrap();
        }
    }
}

/// What `antifreeze waits` prints with these arguments, what it says, and its exit code.
fn waits(arguments: &[&str]) -> (String, String, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_antifreeze"))
        .current_dir(directory.path())
        .env_clear()
        .arg("waits")
        .args(arguments)
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (out, err, output.status.code())
}

/// The same, where it works.
#[track_caller]
fn shown(arguments: &[&str]) -> String {
    let (out, err, code) = waits(arguments);
    assert_eq!((&*err, code), ("", Some(0)), "{out}");
    out
}

const MIXES: [[&str; 2]; 2] = [["threads", "loop"], ["loop", "threads"]];

#[test]
fn chains_are_shown_across_processes() {
    for drivers in MIXES {
        let waiting = Waiting::start(drivers);
        let Waiting { first, second, .. } = &waiting;
        let normal = |text: &str| normal(text, &waiting);
        insta::assert_snapshot!("chains", normal(&shown(&[&first.place])));
        insta::assert_snapshot!(
            "chains_only",
            normal(&shown(&[&first.uri("any"), "--only"]))
        );
        // Who is named is not found once more, and the order is that of the command line.
        let both = shown(&[&second.place, &first.place]);
        assert!(!both.contains("found as it is called"), "{both}");
        assert!(both.starts_with(&second.place), "{both}");
        waiting.end();
    }
}

#[test]
fn what_is_printed_as_json_has_the_shape_that_is_documented() {
    let waiting = Waiting::start(MIXES[0]);
    let Waiting { first, second, .. } = &waiting;
    deadlock(&first.place);
    let (out, _, code) = waits(&[&first.place, "localhost:1", "--json"]);
    assert_eq!(code, Some(1));
    let world: Value = serde_json::from_str(&out).unwrap();
    schema::check(&world);
    let count = |pointer: &str| world.pointer(pointer).unwrap().as_array().unwrap().len();
    assert_eq!(count("/processes"), 2);
    assert_eq!(count("/unreachable"), 1);
    // So all of it was looked at.
    for part in ["frames", "locks", "calls", "daemons", "deadlocks"] {
        assert!(count(&format!("/processes/0/{part}")) > 0, "{part}");
    }
    assert_eq!(
        world.pointer("/processes/1/address").unwrap(),
        &*second.place
    );
    waiting.end();
}

#[test]
fn every_serializer_carries_the_view() {
    let waiting = Waiting::start(MIXES[1]);
    deadlock(&waiting.first.place);
    for serializer in [Serializer::Serpent, Serializer::Json, Serializer::Msgpack] {
        let detector = waiting.first.detector(serializer);
        let graph: Graph = detector.call("graph", ()).unwrap();
        let [of_process, frames] = [graph.pid as usize, graph.frames.len()];
        assert_eq!((of_process, frames), (waiting.first.child.id() as usize, 3));
        let deadlocks: Vec<PastDeadlock> = detector.call("deadlocks", ()).unwrap();
        assert_eq!(deadlocks.len(), 1);
        assert_eq!(deadlocks[0].report.members.len(), 2);
    }
    waiting.end();
}

#[test]
fn deadlocks_that_were_broken_are_told() {
    let process = Process::start("loop");
    assert_eq!(
        shown(&[&process.place, "--deadlocks"]),
        "no deadlock in the last hour\n"
    );
    let told = deadlock(&process.place);
    let shown = [
        shown(&[&process.place]),
        shown(&[&process.place, "--deadlocks"]),
    ];
    let headline = told.lines().next().unwrap();
    for text in &shown {
        assert!(text.contains(headline), "{text}\ndoes not have {headline}");
    }
    assert!(
        shown[0].contains("deadlocks in the last hour: 1"),
        "{}",
        shown[0]
    );
    assert!(
        shown[1].contains(&told),
        "{}\ndoes not have {told}",
        shown[1]
    );
}

/// Has an object call itself, and gives the text of what comes of it.
fn deadlock(place: &str) -> String {
    let itself = format!("PYRO:third@{place}");
    let ended = Proxy::connect(&itself)
        .unwrap()
        .call::<()>("hop", (vec![&itself],));
    ended.unwrap_err().deadlock().unwrap().text
}

#[test]
fn what_detectors_have_counted_is_printed() {
    let [first, second] = MIXES[0].map(Process::start);
    let metrics = shown(&[&first.place, "--metrics"]);
    assert!(
        metrics.contains("\nantifreeze_detector_checks_total 0\n"),
        "{metrics}"
    );
    let metrics = shown(&[&first.place, &second.place, "--metrics"]);
    assert!(
        metrics.contains(&format!("# {}\n", second.place)),
        "{metrics}"
    );
}

#[test]
fn it_looks_again_until_it_is_ended() {
    let process = Process::start("loop");
    let mut watching = Command::new(env!("CARGO_BIN_EXE_antifreeze"))
        .args(["waits", &process.place, "--json", "--watch", "10ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for line in lines.take(3) {
        let world: Value = serde_json::from_str(&line.unwrap()).unwrap();
        schema::check(&world);
    }
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn whoever_cannot_be_asked_is_named_and_the_others_are_shown() {
    let process = Process::start("loop");
    let (out, err, code) = waits(&["localhost:1", &process.place]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with(&process.place), "{out}");
    assert!(
        out.contains("\nlocalhost:1: unreachable: cannot connect"),
        "{out}"
    );
    assert!(
        err.starts_with("error: localhost:1: cannot connect"),
        "{err}"
    );
    let (out, err, code) = waits(&["localhost:1", "--metrics"]);
    assert_eq!((&*out, code), ("", Some(1)));
    assert!(
        err.starts_with("error: localhost:1: cannot connect"),
        "{err}"
    );
}

/// The text without what differs from run to run.
fn normal(text: &str, waiting: &Waiting) -> String {
    let mut text = text.to_owned();
    for (process, name) in [(&waiting.first, "FIRST"), (&waiting.second, "SECOND")] {
        text = text.replace(&process.place, name);
        text = text.replace(&format!("process {}", process.child.id()), "process PID");
    }
    let program = std::env::current_exe().unwrap();
    text = text.replace(&*program.file_name().unwrap().to_string_lossy(), "program");
    while let Some((before, after)) = text.split_once("of process ") {
        let node = after.find(',').unwrap();
        text = format!("{before}of NODE{}", &after[node..]);
    }
    without_numbers(&text)
}

/// Without times, numbers of frames and locks, and lines of files.
fn without_numbers(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(begin);
        normal += before;
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ':');
        let (number, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        let is_any = ["frame ", "#", ".rs:"]
            .iter()
            .any(|before| normal.ends_with(before));
        let units = [" ms", " s"];
        rest = match units.iter().find_map(|unit| after.strip_prefix(unit)) {
            Some(after) => {
                normal += "TIME";
                after
            }
            None => {
                normal += if is_any { "N" } else { number };
                after
            }
        };
    }
    normal + rest
}
