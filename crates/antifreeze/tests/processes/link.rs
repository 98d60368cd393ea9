//! One object in a process of its own, which calls others of its kind.

use std::io::{Read, stdin};
use std::thread;
use std::time::Duration;

use antifreeze::sync::BoundedSemaphore;
use antifreeze::waits::Graph;
use antifreeze::{Bytes, Error, Proxy, Serializer, expose};

use crate::common::Driver;
use crate::common::process::Process;

/// A process with the object `node`.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) process: Process,
    pub(crate) uri: String,
}

impl Link {
    pub(crate) fn start(driver: Driver) -> Self {
        Self::with_workers(driver, 80)
    }

    pub(crate) fn with_workers(driver: Driver, workers: usize) -> Self {
        Self::with(driver, &[("ANTIFREEZE_WORKERS", &workers.to_string())])
    }

    /// Where another one was before.
    pub(crate) fn at(driver: Driver, place: &str) -> Self {
        Self::with(driver, &[("TEST_PLACE", place)])
    }

    /// One that does not let detectors of others in, and in which nobody waits longer than so many seconds.
    pub(crate) fn reserved(driver: Driver, seconds: &str) -> Self {
        let variables = [
            ("TEST_RESERVED", "1"),
            ("ANTIFREEZE_QUEUE_TIMEOUT", seconds),
        ];
        Self::with(driver, &variables)
    }

    /// One in a network of its own. `ready` is told its process id, and makes that network.
    pub(crate) fn elsewhere(
        driver: Driver,
        variables: &[(&str, &str)],
        ready: impl FnOnce(u32),
    ) -> Self {
        Self::make(driver, variables, |variables| {
            let mut process = Process::start_unshared("link_process", variables);
            ready(process.pid());
            process.go_on();
            process
        })
    }

    fn with(driver: Driver, more: &[(&str, &str)]) -> Self {
        Self::make(driver, more, |variables| {
            Process::start("link_process", variables)
        })
    }

    fn make(
        driver: Driver,
        more: &[(&str, &str)],
        start: impl FnOnce(&[(&str, &str)]) -> Process,
    ) -> Self {
        let driver = format!("{driver:?}");
        let mut variables = vec![("TEST_DRIVER", &*driver), ("ANTIFREEZE_WORKERS", "80")];
        variables.extend(more);
        let mut process = start(&variables);
        let uri = process.line("ready");
        Self { process, uri }
    }

    /// `host:port`.
    pub(crate) fn place(&self) -> &str {
        self.uri.rsplit('@').next().unwrap()
    }

    /// How many wait in it for objects and locks.
    pub(crate) fn waiters(&self) -> usize {
        let graph: Graph = self.detector().call("graph", ()).unwrap();
        let waits = graph.frames.iter().filter(|frame| !frame.waits.is_empty());
        waits.count()
    }

    fn detector(&self) -> Proxy {
        let uri = self.uri.replace("PYRO:node@", "PYRO:Antifreeze.Detector@");
        Proxy::connect(&uri).unwrap()
    }

    /// What its detector has counted.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let metrics: String = self.detector().call("metrics", ()).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().unwrap()
    }
}

struct Node {
    name: String,
    lock: BoundedSemaphore,
}

/// Each method stays for a while, then calls the next of the path, and gives the names of all. Who is to
/// be called by another method stands behind its name.
#[expose]
impl Node {
    fn hop(&mut self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Error> {
        self.go_on("hop", &path, hold_ms)
    }

    fn peek(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Error> {
        self.go_on("peek", &path, hold_ms)
    }

    fn hop_lock(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, BoxedError> {
        let _permit = self.lock.acquire()?;
        Ok(self.go_on("hop_lock", &path, hold_ms)?)
    }

    #[lock(none)]
    fn pass_on(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Error> {
        self.go_on("pass_on", &path, hold_ms)
    }

    /// Sends so much to another one, and gets it back, so often.
    #[lock(none)]
    fn swap(&self, other: String, size: usize, times: usize) -> Result<usize, Error> {
        let builder = Proxy::builder(&other)?.serializer(Serializer::Msgpack);
        let (other, data) = (builder.connect()?, Bytes::from(vec![b'x'; size]));
        let mut sum = 0;
        for _ in 0..times {
            sum += other.call::<Bytes>("echo", (&data,))?.len();
        }
        Ok(sum)
    }

    #[lock(none)]
    fn echo(&self, data: Bytes) -> Bytes {
        data
    }

    async fn hop_async(&mut self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Error> {
        tokio::time::sleep(Duration::from_millis(hold_ms)).await;
        let mut names = vec![self.name.clone()];
        if let [next, rest @ ..] = &*path {
            let next = antifreeze::tokio::Proxy::connect(next).await?;
            let others: Vec<String> = next.call("hop_async", (rest, hold_ms)).await?;
            names.extend(others);
        }
        Ok(names)
    }
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Node {
    fn go_on(&self, method: &str, path: &[String], hold_ms: u64) -> Result<Vec<String>, Error> {
        thread::sleep(Duration::from_millis(hold_ms));
        let mut names = vec![self.name.clone()];
        if let [next, rest @ ..] = path {
            let (method, next) = next.split_once(' ').unwrap_or((method, next));
            let next = Proxy::connect(next)?;
            names.extend(next.call::<Vec<String>>(method, (rest, hold_ms))?);
        }
        Ok(names)
    }
}

/// What the process does if it is one.
pub(crate) fn run() {
    if std::env::var_os("TEST_CHILD").is_none() {
        return;
    }
    let driver = match std::env::var("TEST_DRIVER").unwrap().as_str() {
        "Threads" => Driver::Threads,
        _ => Driver::EventLoop,
    };
    let mut builder = driver.builder().config(antifreeze::Config::load().unwrap());
    if std::env::var_os("TEST_RESERVED").is_some() {
        builder = builder.on_handshake(|info| match &*info.object {
            "Antifreeze.Detector" => Err("nobody is told who waits here"),
            _ => Ok("hello"),
        });
    }
    let place = std::env::var("TEST_PLACE").unwrap_or_else(|_| "localhost:0".into());
    let daemon = builder.bind(&place).unwrap();
    let name = daemon.location().to_string();
    let lock = BoundedSemaphore::new(1).with_name("lock of the node");
    let uri = daemon.register("node", Node { name, lock }).unwrap();
    println!("\nready {uri}");
    let _running = daemon.start().unwrap();
    // Whoever started us holds the other end.
    let _ = stdin().read(&mut [0]);
    std::process::exit(0);
}
