//! What must not bring a daemon down: panics, floods, slow peers, busy workers.

use std::convert::Infallible;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use antifreeze::{
    Config, Daemon, ErrorKind, InstanceMode, Location, Object, Proxy, Running, Uri, expose,
};
use antifreeze_proto::Flags;
use antifreeze_testkit::{Peer, RawMessage};
use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Something that a test waits for, and that must happen soon.
const SOON: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Latch(Mutex<bool>, Condvar);

impl Latch {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.lock().unwrap();
        let (open, _) = self
            .1
            .wait_timeout_while(open, SOON, |open| !*open)
            .unwrap();
        assert!(*open, "the test never opened the latch");
    }
}

struct Thing {
    value: i64,
    latch: Arc<Latch>,
    entered: mpsc::SyncSender<()>,
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

    /// Occupies a worker until the test says so.
    fn block(&self) {
        self.entered.send(()).unwrap();
        self.latch.wait();
    }

    #[quick]
    fn quick(&self) -> i64 {
        self.value
    }
}

struct Served {
    running: Running,
    uri: Uri,
    latch: Arc<Latch>,
    entered: mpsc::Receiver<()>,
    object: Object<Thing>,
}

fn serve(set: impl FnOnce(&mut Config)) -> Served {
    let mut config = Config::default();
    set(&mut config);
    let (entered, enters) = mpsc::sync_channel(100);
    let latch = Arc::new(Latch::default());
    let object = Object::new(Thing {
        value: 0,
        latch: Arc::clone(&latch),
        entered,
    });
    let daemon = crate::daemon().config(config).bind("localhost:0").unwrap();
    let uri = daemon.register("thing", &object).unwrap();
    Served {
        running: daemon.start().unwrap(),
        uri,
        latch,
        entered: enters,
        object,
    }
}

fn address(uri: &Uri) -> SocketAddr {
    match uri.location() {
        Some(Location::Tcp { host, port }) => (host.as_str(), *port)
            .to_socket_addrs()
            .unwrap()
            .next()
            .unwrap(),
        other => panic!("{other:?}"),
    }
}

fn raw(uri: &Uri) -> Peer {
    Peer::connect(address(uri))
}

#[test]
fn a_daemon_whose_workers_are_all_inside_methods_still_answers() {
    let served = serve(|c| {
        c.workers = 2;
        c.queue_timeout = Duration::from_millis(30);
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let proxy = Proxy::connect(&served.uri).unwrap();
            scope.spawn(move || proxy.call::<()>("block", ()).unwrap());
        }
        for _ in 0..2 {
            served.entered.recv_timeout(SOON).unwrap();
        }
        let proxy = Proxy::connect(&served.uri).expect("handshakes go on");
        proxy.ping().expect("pings go on");
        assert_eq!(proxy.call::<i64>("quick", ()).unwrap(), 0);
        let error = proxy.call::<i64>("value", ()).unwrap_err();
        assert!(error.is_remote("builtins.TimeoutError"), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("all workers of the daemon are busy"),
            "{error}"
        );
        served.latch.open();
        assert_eq!(proxy.within(SOON).call::<i64>("value", ()).unwrap(), 0);
    });
}

#[test]
fn a_long_batch_whose_items_wait_neither_nests_nor_slows_down() {
    let served = serve(|_| {});
    let proxy = Proxy::connect(&served.uri).unwrap();
    let count = 20_000;
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Somebody is always inside, so that many of the items have to wait.
        for _ in 0..2 {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) == 0 {
                    drop(served.object.write());
                }
            });
        }
        let mut batch = proxy.batch();
        for _ in 0..count {
            batch.call("add", (1,)).unwrap();
        }
        let totals = batch.send_as::<i64>();
        done.store(1, Ordering::Relaxed);
        assert_eq!(totals.unwrap().last(), Some(&i64::from(count)));
    });
}

#[test]
fn what_a_registration_drops_may_use_the_daemon() {
    struct Parent(Arc<Daemon>);
    #[expose]
    impl Parent {
        fn hello(&self) {}
    }
    impl Drop for Parent {
        fn drop(&mut self) {
            self.0.unregister("child");
        }
    }
    let daemon = Arc::new(crate::daemon().bind("localhost:0").unwrap());
    for round in 0..2 {
        let object = || Object::new(Parent(Arc::clone(&daemon)));
        daemon.register("parent", object()).unwrap();
        daemon.replace("child", object()).unwrap();
        match round {
            0 => daemon.unregister("parent"),
            _ => drop(daemon.replace("parent", object()).unwrap()),
        }
        daemon
            .register("child", object())
            .expect("the parent has taken its child along");
        daemon.unregister("child");
        daemon.unregister("parent");
    }
}

#[test]
fn a_validator_that_panics_refuses_and_costs_nothing() {
    let mut config = Config::default();
    config.connections = 1;
    let daemon = crate::daemon()
        .config(config)
        .on_handshake(|info| match info.value.as_str() {
            Some("panic") => panic!("no such guest"),
            _ => Ok::<_, Infallible>("hello"),
        })
        .bind("localhost:0")
        .unwrap();
    let uri =
        daemon.register_class::<Nothing, Infallible>("nothing", InstanceMode::PerCall, || {
            panic!("no such thing")
        });
    let uri = uri.unwrap();
    let _running = daemon.start().unwrap();
    for _ in 0..3 {
        let end = Instant::now() + SOON;
        let error = loop {
            // The daemon notices the end of the connection before in its own time.
            let error = Proxy::builder(&uri)
                .unwrap()
                .handshake("panic")
                .connect()
                .unwrap_err();
            if !error.to_string().contains("too many") || Instant::now() > end {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("no such guest"), "{error}");
    }
}

struct Nothing;

#[expose]
impl Nothing {
    fn nothing(&self) {}
}

#[test]
fn bytes_that_drip_do_not_keep_a_handshake_open() {
    let served = serve(|c| c.handshake_timeout = Duration::from_millis(200));
    let mut message = RawMessage::connect("thing");
    message.claimed_payload = Some(1 << 20);
    let mut socket = std::net::TcpStream::connect(address(&served.uri)).unwrap();
    socket.write_all(&message.encode()).unwrap();
    let started = Instant::now();
    // Faster than a worker gives up on a connection, so that it is never parked.
    while socket.write_all(b"x").is_ok() {
        assert!(started.elapsed() < SOON, "the daemon goes on listening");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_peer_that_pings_without_end_does_not_keep_a_worker() {
    let served = serve(|c| c.workers = 1);
    let mut peer = raw(&served.uri);
    peer.shake_hands("thing");
    let stop = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ping = RawMessage::ping().encode();
            while stop.load(Ordering::Relaxed) == 0 {
                peer.send(&ping);
                peer.expect_message();
            }
        });
        let proxy = Proxy::connect(&served.uri).unwrap().within(SOON);
        for _ in 0..50 {
            proxy.call::<i64>("add", (1,)).unwrap();
        }
        stop.store(1, Ordering::Relaxed);
    });
}

#[test]
fn a_call_that_cannot_be_inflated_ends_its_connection_alone() {
    let served = serve(|c| c.inflated_bytes = 1000);
    let other = Proxy::connect(&served.uri).unwrap();
    let whole = RawMessage::invoke_method(1, "thing", "value").payload;
    let mut long = whole.clone();
    long.resize(1001, b' ');
    let zlib = |bytes: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let send = |payload: Vec<u8>, more: u16| {
        let mut peer = raw(&served.uri);
        peer.shake_hands("thing");
        let flags = Flags::COMPRESSED | Flags(more);
        peer.send_message(&RawMessage::invoke(1, payload).flags(flags));
        peer
    };
    assert_eq!(send(zlib(&whole), 0).expect_message().seq, 1);
    let mut cut = zlib(&whole);
    cut.truncate(20);
    for bad in [whole, cut, zlib(&long)] {
        for flags in [Flags::NONE, Flags::ONEWAY, Flags::BATCH] {
            send(bad.clone(), flags.0).expect_eof();
        }
    }
    assert_eq!(other.call::<i64>("value", ()).unwrap(), 0);
}

#[test]
fn a_class_that_is_registered_anew_has_new_instances() {
    struct Numbered(usize);
    #[expose]
    impl Numbered {
        fn number(&self) -> usize {
            self.0
        }
    }
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let register = |daemon: &Daemon, n| {
        daemon
            .register_class("k", InstanceMode::Session, move || {
                Ok::<_, Infallible>(Numbered(n))
            })
            .unwrap()
    };
    let uri = register(&daemon, 1);
    let running = daemon.start().unwrap();
    let proxy = Proxy::connect(&uri).unwrap();
    assert_eq!(proxy.call::<usize>("number", ()).unwrap(), 1);
    running.daemon().unregister("k");
    register(running.daemon(), 2);
    assert_eq!(proxy.call::<usize>("number", ()).unwrap(), 2);
}

#[test]
fn a_daemon_serves_once() {
    let served = serve(|_| {});
    let error = served.running.daemon().serve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_caller_that_resets_leaves_the_queue() {
    let served = serve(|_| {});
    let guard = served.object.write();
    let mut peer = raw(&served.uri);
    peer.shake_hands("thing");
    let add = b"# serpent utf-8 python3.2\n('thing','add',(1,),{})";
    peer.send_message(&RawMessage::invoke(1, add));
    // Neither that the call is queued nor that the reset is noticed can be seen from outside, but
    // both take far less.
    std::thread::sleep(Duration::from_millis(100));
    peer.reset();
    std::thread::sleep(Duration::from_millis(100));
    drop(guard);
    let proxy = Proxy::connect(&served.uri).unwrap();
    assert_eq!(
        proxy.call::<i64>("value", ()).unwrap(),
        0,
        "the call of nobody was run"
    );
}
