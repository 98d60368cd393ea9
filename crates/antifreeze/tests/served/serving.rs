//! What a daemon and a proxy promise each other, over real sockets.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use antifreeze_proto::{Kind, SerializerId};
use antifreeze_testkit::{Peer, RawMessage};

use antifreeze::{
    Config, Error, ErrorKind, InstanceMode, Metadata, Object, Proxy, Running, Sent, Serializer,
    Uri, Value, expose,
};

/// Something that a test waits for, and that must happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A gate that methods wait at until the test opens it.
#[derive(Clone, Default)]
struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let (open, _) = self
            .0
            .1
            .wait_timeout_while(open, SOON, |open| !*open)
            .unwrap();
        assert!(*open, "the test never opened the latch");
    }
}

struct Counter {
    value: i64,
    latch: Latch,
    entered: mpsc::SyncSender<()>,
}

#[expose]
impl Counter {
    fn value(&self) -> i64 {
        self.value
    }

    fn add(&mut self, n: i64) -> i64 {
        self.value += n;
        self.value
    }

    #[oneway]
    fn add_later(&mut self, n: i64) {
        self.value += n;
    }

    /// Holds the object until the test says so.
    fn hold(&mut self) {
        self.entered.send(()).unwrap();
        self.latch.wait();
    }

    fn look(&self) {
        self.entered.send(()).unwrap();
        self.latch.wait();
    }

    fn explode(&mut self) {
        panic!("boom");
    }
}

struct Served {
    running: Running,
    uri: Uri,
    latch: Latch,
    entered: mpsc::Receiver<()>,
}

fn serve_with(config: Config) -> Served {
    let (entered, enters) = mpsc::sync_channel(100);
    let latch = Latch::default();
    let daemon = crate::daemon().config(config).bind("localhost:0").unwrap();
    let counter = Counter {
        value: 0,
        latch: latch.clone(),
        entered,
    };
    let uri = daemon.register("counter", counter).unwrap();
    Served {
        running: daemon.start().unwrap(),
        uri,
        latch,
        entered: enters,
    }
}

fn serve() -> Served {
    serve_with(Config::default())
}

fn config(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    set(&mut config);
    config
}

#[test]
fn every_serializer_carries_a_call() {
    let served = serve();
    for serializer in [Serializer::Serpent, Serializer::Json, Serializer::Msgpack] {
        let proxy = Proxy::builder(&served.uri)
            .unwrap()
            .serializer(serializer)
            .connect()
            .unwrap();
        let before: i64 = proxy.call("value", ()).unwrap();
        assert_eq!(proxy.call::<i64>("add", (2,)).unwrap(), before + 2);
    }
}

#[test]
fn readers_run_together() {
    let served = serve();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let proxy = Proxy::connect(&served.uri).unwrap();
            scope.spawn(move || proxy.call::<()>("look", ()).unwrap());
        }
        for _ in 0..3 {
            served
                .entered
                .recv_timeout(SOON)
                .expect("all three are inside at once");
        }
        served.latch.open();
    });
}

/// It was too late for the call. The daemon knows the deadline, too, and may be the first to say so.
#[track_caller]
fn check_late(error: &Error) {
    match error.kind() {
        ErrorKind::Timeout => assert_eq!(error.sent(), Sent::Maybe),
        _ => assert!(error.is_remote("TimeoutError"), "{error:?}"),
    }
}

#[test]
fn a_writer_runs_alone_and_others_wait_in_order() {
    let served = serve();
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let reader = Proxy::connect(&served.uri)
            .unwrap()
            .within(Duration::from_millis(50));
        let error = reader.call::<i64>("value", ()).unwrap_err();
        served.latch.open();
        check_late(&error);
    });
    assert_eq!(
        Proxy::connect(&served.uri)
            .unwrap()
            .call::<i64>("value", ())
            .unwrap(),
        0
    );
}

#[test]
fn a_call_that_waits_for_its_object_occupies_no_worker() {
    let served = serve_with(config(|c| c.workers = 4));
    let echo = served.running.daemon().register("other", Echo).unwrap();
    let waiting = 200;
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let connected = Arc::new(Barrier::new(waiting + 1));
        for _ in 0..waiting {
            let (uri, connected) = (&served.uri, Arc::clone(&connected));
            scope.spawn(move || {
                let proxy = Proxy::connect(uri).unwrap();
                connected.wait();
                proxy.call::<i64>("add", (1,)).unwrap()
            });
        }
        connected.wait();
        // However many are queued by now: the others must be served as if nothing were the matter.
        let other = Proxy::connect(&echo).unwrap().within(SOON);
        for n in 0..50 {
            assert_eq!(other.call::<i64>("echo", (n,)).unwrap(), n);
        }
        served.latch.open();
    });
    let total: i64 = Proxy::connect(&served.uri)
        .unwrap()
        .call("value", ())
        .unwrap();
    assert_eq!(total, waiting as i64);
}

#[test]
fn waiting_too_long_is_an_error_that_names_the_object() {
    let served = serve_with(config(|c| c.queue_timeout = Duration::from_millis(30)));
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let waiter = Proxy::connect(&served.uri).unwrap();
        let error = waiter.call::<i64>("value", ()).unwrap_err();
        let exception = error.remote().expect("the daemon answered");
        assert_eq!(exception.class, "builtins.TimeoutError");
        let text = exception.message();
        assert!(
            text.starts_with("object counter is busy: 1 calls queued, waited 0."),
            "{text}"
        );
        served.latch.open();
        assert_eq!(waiter.call::<i64>("value", ()).unwrap(), 0);
    });
}

#[test]
fn a_full_queue_refuses_at_once() {
    let served = serve_with(config(|c| c.queued_per_object = 1));
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let results: Vec<_> = (0..2)
            .map(|_| {
                let proxy = Proxy::connect(&served.uri).unwrap();
                scope.spawn(move || proxy.call::<i64>("value", ()))
            })
            .collect();
        // One of the two takes the only place, the other is refused; which, the network decides.
        while !results.iter().any(|result| result.is_finished()) {
            std::thread::yield_now();
        }
        served.latch.open();
        let results: Vec<_> = results
            .into_iter()
            .map(|result| result.join().unwrap())
            .collect();
        let refused: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "{results:?}");
        assert!(refused[0].is_remote("builtins.TimeoutError"));
    });
}

#[test]
fn connections_beyond_the_limit_are_refused_with_a_reason() {
    let served = serve_with(config(|c| c.connections = 1));
    let first = Proxy::connect(&served.uri).unwrap();
    let error = Proxy::connect(&served.uri).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().contains("too many connections"),
        "{error}"
    );
    assert_eq!(first.call::<i64>("value", ()).unwrap(), 0);
    first.release();
    // The daemon notices the end of the first in its own time.
    let end = Instant::now() + SOON;
    while let Err(error) = Proxy::connect(&served.uri) {
        assert!(Instant::now() < end, "{error}");
    }
}

#[test]
fn a_panic_is_an_error_and_leaves_the_object_usable() {
    let served = serve();
    let proxy = Proxy::connect(&served.uri).unwrap();
    let error = proxy.call::<()>("explode", ()).unwrap_err();
    assert!(error.is_remote("RuntimeError"), "{error:?}");
    assert!(error.to_string().contains("boom"));
    assert_eq!(proxy.call::<i64>("add", (1,)).unwrap(), 1);
}

#[test]
fn a_call_after_oneways_sees_them_all() {
    let served = serve();
    let proxy = Proxy::connect(&served.uri).unwrap();
    for round in 1..=50 {
        for _ in 0..10 {
            proxy.oneway("add_later", (1,)).unwrap();
        }
        assert_eq!(proxy.call::<i64>("value", ()).unwrap(), round * 10);
    }
}

#[test]
fn many_oneways_to_a_busy_object_are_held_back_and_none_is_lost() {
    let served = serve();
    let count = 500;
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let proxy = Proxy::connect(&served.uri).unwrap();
        for _ in 0..count {
            proxy.oneway("add_later", (1,)).unwrap();
        }
        served.latch.open();
        assert_eq!(proxy.call::<i64>("value", ()).unwrap(), count);
    });
}

#[test]
fn the_local_handle_waits_in_the_same_queue() {
    let counter = Object::new(Counter {
        value: 0,
        latch: Latch::default(),
        entered: mpsc::sync_channel(1).0,
    });
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let uri = daemon.register("counter", &counter).unwrap();
    let running = daemon.start().unwrap();
    let proxy = Proxy::connect(&uri).unwrap();
    let guard = counter.write();
    let late = std::thread::scope(|scope| {
        let proxy = proxy.within(Duration::from_millis(30));
        let late = scope.spawn(move || proxy.call::<i64>("add", (5,)));
        late.join().unwrap().unwrap_err()
    });
    check_late(&late);
    drop(guard);
    // That call may still run: its caller is gone, but nobody told the daemon in time.
    let before = proxy.call::<i64>("value", ()).unwrap();
    counter.write().add(1);
    assert_eq!(proxy.call::<i64>("value", ()).unwrap(), before + 1);
    drop(running);
}

#[test]
fn a_weak_object_is_unknown_when_it_is_gone() {
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let object = Object::new(Echo);
    let uri = daemon.register_weak("echo", &object).unwrap();
    let running = daemon.start().unwrap();
    let proxy = Proxy::connect(&uri).unwrap();
    assert_eq!(proxy.call::<i64>("echo", (1,)).unwrap(), 1);
    drop(object);
    let error = proxy.call::<i64>("echo", (1,)).unwrap_err();
    assert!(error.is_remote("DaemonError"), "{error:?}");
    assert_eq!(Proxy::connect(&uri).unwrap_err().kind(), ErrorKind::Refused);
    drop(running);
}

#[test]
fn ids_are_taken_once_unless_forced() {
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let object = Object::new(Echo);
    daemon.register("a", &object).unwrap();
    assert_eq!(
        daemon.register("a", Echo).unwrap_err().kind(),
        ErrorKind::Usage
    );
    assert_eq!(
        daemon.register("b", &object).unwrap_err().kind(),
        ErrorKind::Usage
    );
    daemon.replace("a", Echo).unwrap();
    daemon.unregister("a");
    daemon.register("a", Echo).unwrap();
    for bad in ["", "a b", "a@b"] {
        assert_eq!(
            daemon.register(bad, Echo).unwrap_err().kind(),
            ErrorKind::Usage,
            "{bad:?}"
        );
    }
    let generated = daemon.register(None, Echo).unwrap();
    assert!(generated.object().starts_with("obj_") && generated.object().len() == 36);
}

struct Echo;

#[expose]
impl Echo {
    #[quick]
    fn echo(&self, value: Value) -> Value {
        value
    }
}

/// An object that tells which of its kind it is.
struct Numbered(usize);

#[expose]
impl Numbered {
    fn number(&self) -> usize {
        self.0
    }
}

fn numbered(mode: InstanceMode) -> (Running, Uri) {
    let made = AtomicUsize::new(0);
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let create = move || Ok::<_, Infallible>(Numbered(made.fetch_add(1, Ordering::Relaxed)));
    let uri = daemon.register_class("numbered", mode, create).unwrap();
    (daemon.start().unwrap(), uri)
}

#[test]
fn instances_are_made_as_the_mode_says() {
    let numbers = |mode| {
        let (_running, uri) = numbered(mode);
        let proxies = [Proxy::connect(&uri).unwrap(), Proxy::connect(&uri).unwrap()];
        let mut seen = Vec::new();
        for proxy in [&proxies[0], &proxies[0], &proxies[1], &proxies[1]] {
            seen.push(proxy.call::<usize>("number", ()).unwrap());
        }
        seen
    };
    assert_eq!(numbers(InstanceMode::Session), [0, 0, 1, 1]);
    assert_eq!(numbers(InstanceMode::Single), [0, 0, 0, 0]);
    assert_eq!(numbers(InstanceMode::PerCall), [0, 1, 2, 3]);
}

#[test]
fn threads_that_share_a_proxy_share_its_session() {
    let (_running, uri) = numbered(InstanceMode::Session);
    let proxy = Proxy::connect(&uri).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let proxy = proxy.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(proxy.call::<usize>("number", ()).unwrap(), 0);
                }
            });
        }
    });
}

#[test]
fn a_creator_that_fails_answers_the_call_and_may_succeed_later() {
    let attempts = AtomicUsize::new(0);
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let uri = daemon
        .register_class("late", InstanceMode::Single, move || {
            match attempts.fetch_add(1, Ordering::Relaxed) {
                0 => Err("the device is off"),
                n => Ok(Numbered(n)),
            }
        })
        .unwrap();
    let _running = daemon.start().unwrap();
    let proxy = Proxy::connect(&uri).unwrap();
    let error = proxy.call::<usize>("number", ()).unwrap_err();
    assert_eq!(error.remote().unwrap().message(), "the device is off");
    assert_eq!(proxy.call::<usize>("number", ()).unwrap(), 1);
}

#[test]
fn a_proxy_reconnects_and_sends_nothing_twice() {
    let served = serve();
    let proxy = Proxy::connect(&served.uri).unwrap();
    assert_eq!(proxy.call::<i64>("add", (1,)).unwrap(), 1);
    let port = match served.uri.location() {
        Some(antifreeze::Location::Tcp { port, .. }) => *port,
        other => panic!("{other:?}"),
    };
    served.running.stop().unwrap();
    let (entered, _enters) = mpsc::sync_channel(1);
    let daemon = crate::daemon().bind(&format!("localhost:{port}")).unwrap();
    let latch = Latch::default();
    daemon
        .register(
            "counter",
            Counter {
                value: 10,
                latch,
                entered,
            },
        )
        .unwrap();
    let _running = daemon.start().unwrap();
    // It may find the old connection closed only by using it; then the call has not run.
    match proxy.call::<i64>("add", (1,)) {
        Ok(value) => assert_eq!(value, 11),
        Err(error) => {
            assert_eq!(error.sent(), Sent::Maybe, "{error:?}");
            assert_eq!(proxy.call::<i64>("add", (1,)).unwrap(), 11);
        }
    }
}

#[test]
fn a_call_that_may_have_run_is_only_repeated_if_it_is_idempotent() {
    // A daemon that takes the request, closes without an answer, and counts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("PYRO:x@{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut peer = Peer::from(stream.unwrap());
            let hello = peer.expect_message();
            peer.let_in(&accepted(&hello));
            peer.expect_message();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let proxy = Proxy::builder(uri.as_str())
        .unwrap()
        .serializer(Serializer::Msgpack)
        .connect()
        .unwrap();
    let error = proxy.call::<()>("x", ()).unwrap_err();
    assert_eq!(
        (error.kind(), error.sent()),
        (ErrorKind::Closed, Sent::Maybe)
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    proxy.idempotent().call::<()>("x", ()).unwrap_err();
    assert!(requests.load(Ordering::Relaxed) > 2);
}

/// The answer of a daemon that lets the client in.
fn accepted(hello: &RawMessage) -> RawMessage {
    #[derive(serde::Serialize)]
    struct Welcome {
        handshake: (),
        meta: Metadata,
    }
    let welcome = Welcome {
        handshake: (),
        meta: Metadata::default(),
    };
    let payload = antifreeze_serial::encode(Serializer::Msgpack, &welcome).unwrap();
    RawMessage::new(Kind::ConnectOk, payload)
        .seq(hello.seq)
        .serializer(SerializerId::MSGPACK)
}

#[test]
fn shutting_down_lets_running_calls_finish() {
    let served = serve();
    let proxy = Proxy::connect(&served.uri).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| proxy.call::<()>("hold", ()));
        served.entered.recv_timeout(SOON).unwrap();
        let handle = served.running.daemon().handle();
        handle.shutdown();
        served.latch.open();
        call.join().unwrap().expect("the answer still comes");
    });
    let started = Instant::now();
    served.running.stop().unwrap();
    assert!(started.elapsed() < SOON);
    assert_eq!(
        Proxy::connect(&served.uri).unwrap_err().kind(),
        ErrorKind::Connect
    );
}

#[test]
fn a_method_that_never_ends_does_not_keep_a_daemon_from_ending() {
    let served = serve_with(config(|c| c.drain_timeout = Duration::from_millis(50)));
    let proxy = Proxy::connect(&served.uri).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| proxy.call::<()>("hold", ()));
        served.entered.recv_timeout(SOON).unwrap();
        served.running.stop().unwrap();
        served.latch.open();
        let _ = call.join().unwrap();
    });
}

#[test]
fn a_validator_decides_who_connects() {
    let daemon = crate::daemon()
        .on_handshake(|info| match info.value.as_str() {
            Some("open sesame") => Ok(format!("welcome to {}", info.object)),
            _ => Err("wrong word"),
        })
        .bind("localhost:0")
        .unwrap();
    let uri = daemon.register("cave", Echo).unwrap();
    let _running = daemon.start().unwrap();
    let error = Proxy::connect(&uri).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().ends_with("rejected: wrong word"),
        "{error}"
    );
    let proxy = Proxy::builder(&uri)
        .unwrap()
        .handshake("open sesame")
        .connect()
        .unwrap();
    assert_eq!(
        proxy.handshake_response().unwrap(),
        Value::from("welcome to cave")
    );
}

#[test]
fn a_daemon_at_all_addresses_does_not_say_so_in_its_uris() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let daemon = match crate::daemon().bind(address) {
            Ok(daemon) => daemon,
            // A machine may have no IPv6 at all.
            Err(error) => {
                assert!(address.starts_with('['), "{error}");
                continue;
            }
        };
        let uri = daemon.register("echo", Echo).unwrap();
        let Some(antifreeze::Location::Tcp { host, port }) = uri.location() else {
            panic!("{uri}")
        };
        assert!(!["0.0.0.0", "::"].contains(&host.as_str()), "{uri}");
        let _running = daemon.start().unwrap();
        let here = format!("PYRO:echo@127.0.0.1:{port}");
        assert_eq!(
            Proxy::connect(here)
                .unwrap()
                .call::<i64>("echo", (1,))
                .unwrap(),
            1
        );
    }
}

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.sock");
    let daemon = crate::daemon()
        .bind(&format!("./u:{}", path.display()))
        .unwrap();
    let uri = daemon.register("echo", Echo).unwrap();
    let running = daemon.start().unwrap();
    assert_eq!(
        Proxy::connect(&uri)
            .unwrap()
            .call::<i64>("echo", (1,))
            .unwrap(),
        1
    );
    assert!(path.exists());
    running.stop().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_batch_runs_in_order_up_to_the_first_exception() -> Result<(), Error> {
    let served = serve();
    let proxy = Proxy::connect(&served.uri)?;
    let mut batch = proxy.batch();
    batch
        .call("add", (1,))?
        .call("add", (2,))?
        .call("explode", ())?
        .call("add", (4,))?;
    let results: Vec<_> = batch.send()?.collect();
    assert_eq!(results.len(), 3);
    assert_eq!(results[1].as_ref().unwrap(), &Value::from(3_i64));
    assert!(results[2].as_ref().unwrap_err().is_remote("RuntimeError"));
    assert_eq!(proxy.call::<i64>("value", ())?, 3);
    batch.call("add", (1,))?.call("nonsense", ())?;
    assert!(batch.send().err().unwrap().is_remote("AttributeError"));
    assert!(batch.is_empty());
    assert_eq!(batch.send()?.count(), 0);
    Ok(())
}

#[test]
fn a_batch_whose_item_waits_goes_on_when_its_turn_comes() {
    let served = serve();
    std::thread::scope(|scope| {
        let holder = Proxy::connect(&served.uri).unwrap();
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.entered.recv_timeout(SOON).unwrap();
        let proxy = Proxy::connect(&served.uri).unwrap();
        let totals = scope.spawn(move || {
            let mut batch = proxy.batch();
            for _ in 0..5 {
                batch.call("add", (1,)).unwrap();
            }
            batch.send_as::<i64>().unwrap()
        });
        served.latch.open();
        assert_eq!(totals.join().unwrap(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn threads_with_a_pooled_proxy_call_at_the_same_time() {
    let served = serve();
    let proxy = Proxy::connect(&served.uri).unwrap().pooled(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let proxy = proxy.clone();
            scope.spawn(move || proxy.call::<()>("look", ()).unwrap());
        }
        for _ in 0..3 {
            served
                .entered
                .recv_timeout(SOON)
                .expect("all three are inside at once");
        }
        served.latch.open();
    });
}
