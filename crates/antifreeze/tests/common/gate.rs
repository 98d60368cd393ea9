//! Objects for tests: one that can be made to wait, and one that opens its gate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use antifreeze::{Bytes, Config, Daemon, DaemonBuilder, Proxy, Running, Uri, expose};
use antifreeze_testkit::Peer;

use super::{Driver, SOON, address, raise_limits};

/// Where methods wait until somebody opens it.
#[derive(Debug, Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    calls: AtomicUsize,
}

impl Gate {
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// How many wait.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// How many calls were counted: those of `blob` and `count`.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until so many wait.
    #[track_caller]
    pub fn until_inside(&self, count: usize) {
        until("methods wait at the gate", || self.inside() >= count);
    }

    pub fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let (open, _) = self
            .opened
            .wait_timeout_while(open, 3 * SOON, |open| !*open)
            .unwrap();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        assert!(*open, "nobody opened the gate");
    }
}

/// Waits for something that there is no event for.
#[track_caller]
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An object with a value, and with methods that wait.
pub struct Thing {
    value: i64,
    gate: Arc<Gate>,
}

#[expose]
impl Thing {
    fn value(&self) -> i64 {
        self.value
    }

    fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    async fn add_async(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    /// Awaits what never comes.
    async fn linger(&self) {
        std::future::pending().await
    }

    #[oneway]
    fn add_later(&mut self, n: i64) {
        self.value += n;
    }

    #[quick]
    fn quick(&self) -> i64 {
        self.value
    }

    /// How many calls of it there were before.
    #[quick]
    fn count(&self) -> usize {
        self.gate.calls.fetch_add(1, Ordering::SeqCst)
    }

    fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        0..
    }

    /// Breaks its promise: waits at the gate, on a thread that reads.
    #[quick]
    fn block(&self) {
        self.gate.pass();
    }

    /// Waits at the gate, beside others.
    fn look(&self) {
        self.gate.pass();
    }

    /// Waits at the gate, alone.
    fn hold(&mut self) {
        self.gate.pass();
    }

    fn echo(&self, data: Bytes) -> Bytes {
        data
    }

    fn size(&self, data: Bytes) -> usize {
        data.len()
    }

    fn blob(&self, size: usize) -> Bytes {
        self.gate.calls.fetch_add(1, Ordering::SeqCst);
        vec![b'x'; size].into()
    }
}

/// Opens the gate from outside, for servers in other processes.
struct Keeper(Arc<Gate>);

#[expose]
impl Keeper {
    #[quick]
    fn open(&self) {
        self.0.open();
    }

    #[quick]
    fn inside(&self) -> usize {
        self.0.inside()
    }
}

/// Registers `thing`, `other` and `keeper`.
pub fn register(daemon: &Daemon) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    for id in ["thing", "other"] {
        let gate = Arc::clone(&gate);
        daemon.register(id, Thing { value: 0, gate }).unwrap();
    }
    daemon
        .register("keeper", Keeper(Arc::clone(&gate)))
        .unwrap();
    gate
}

/// A daemon that serves them in this process.
pub struct Served {
    pub running: Running,
    pub gate: Arc<Gate>,
}

impl Served {
    pub fn new(driver: Driver, config: Config) -> Self {
        Self::by(driver.builder().config(config))
    }

    pub fn by(builder: DaemonBuilder) -> Self {
        raise_limits();
        let daemon = builder.bind("127.0.0.1:0").unwrap();
        let gate = register(&daemon);
        Self {
            running: daemon.start().unwrap(),
            gate,
        }
    }

    pub fn uri(&self, id: &str) -> Uri {
        self.running.daemon().uri_for(id).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        address(&self.uri("thing"))
    }

    pub fn proxy(&self, id: &str) -> Proxy {
        let builder = Proxy::builder(self.uri(id)).unwrap();
        let builder = builder.serializer(antifreeze::Serializer::Msgpack);
        builder.connect().unwrap().within(SOON)
    }

    /// A raw peer that has shaken hands.
    pub fn peer(&self) -> Peer {
        let mut peer = Peer::connect(self.address()).patience(SOON);
        peer.shake_hands("thing");
        peer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that fails shall not wait for those at the gate.
        self.gate.open();
    }
}
