//! Cooperative objects: one thread, where nothing switches between two awaits.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use antifreeze::{Config, Error, ErrorKind, Exception, Proxy, Running, Uri, call, expose};
use antifreeze_testkit::{Peer, RawMessage};

use common::{Driver, SOON, bind, on_both};

/// Neither the type nor the futures of its methods can go to another thread.
struct Counter {
    count: Rc<Cell<u64>>,
    order: RefCell<Vec<u64>>,
    gate: Rc<tokio::sync::Semaphore>,
    told: mpsc::Sender<String>,
    born: thread::ThreadId,
}

impl Counter {
    fn new(told: mpsc::Sender<String>) -> Self {
        Self {
            count: Rc::default(),
            order: RefCell::default(),
            gate: Rc::new(tokio::sync::Semaphore::new(0)),
            told,
            born: thread::current().id(),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.born);
        let _ = self.told.send("dropped".to_owned());
    }
}

#[expose(local)]
impl Counter {
    /// Reads, and writes what it read: two steps that others could come between.
    async fn next(&self, awaits: bool) -> u64 {
        assert_eq!(thread::current().id(), self.born);
        let count = Rc::clone(&self.count);
        let before = count.get();
        if awaits {
            tokio::task::yield_now().await;
        } else {
            thread::yield_now();
        }
        count.set(before + 1);
        tokio::task::yield_now().await;
        before + 1
    }

    fn count(&self) -> u64 {
        self.count.get()
    }

    #[oneway]
    fn note(&self, n: u64) {
        self.order.borrow_mut().push(n);
    }

    async fn order(&self) -> Vec<u64> {
        self.order.borrow().clone()
    }

    /// Together with others, until somebody opens.
    async fn wait(&self) -> Option<String> {
        self.told.send("waits".to_owned()).unwrap();
        self.gate.acquire().await.unwrap().forget();
        let user = call::annotation("USER")?;
        Some(String::from_utf8_lossy(&user).into_owned())
    }

    async fn open(&self, n: usize) {
        self.gate.add_permits(n);
    }

    /// Alone, though it awaits something.
    async fn alone(&mut self) {
        struct Left(mpsc::Sender<String>);
        impl Drop for Left {
            fn drop(&mut self) {
                let _ = self.0.send("left".to_owned());
            }
        }
        let _left = Left(self.told.clone());
        self.told.send("alone".to_owned()).unwrap();
        std::future::pending::<()>().await;
    }

    fn fail(&self) {
        panic!("boom");
    }

    async fn version() -> &'static str {
        let version = Rc::new("1");
        tokio::task::yield_now().await;
        *version
    }

    #[attr]
    fn size(&self) -> usize {
        self.order.borrow().len()
    }
}

fn serve(driver: Driver, config: Config) -> (Running, Uri, mpsc::Receiver<String>) {
    let daemon = bind(driver, config);
    let (tell, told) = mpsc::channel();
    let uri = daemon
        .register_local("counter", || Counter::new(tell))
        .unwrap();
    (daemon.start().unwrap(), uri, told)
}

#[track_caller]
fn raised<T: std::fmt::Debug>(result: Result<T, Error>) -> Exception {
    let error = result.unwrap_err();
    let exception = error.remote().unwrap_or_else(|| panic!("{error:?}"));
    exception.clone()
}

fn next_of_many(uri: &Uri, awaits: bool) -> Vec<u64> {
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let counter = Proxy::connect(uri).unwrap();
                scope.spawn(move || {
                    let next = || counter.call::<u64>("next", (awaits,)).unwrap();
                    (0..50).map(|_| next()).collect::<Vec<_>>()
                })
            })
            .collect();
        let counted = callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap());
        counted.collect()
    })
}

#[test]
fn s24_between_two_awaits_nobody_else_runs() {
    on_both(|driver| {
        let (_running, uri, _) = serve(driver, Config::default());
        let counted = next_of_many(&uri, false);
        let each: BTreeSet<_> = counted.iter().copied().collect();
        assert_eq!(each, (1..=200).collect(), "no number was given out twice");
    });
}

#[test]
fn s24_at_an_await_others_run() {
    on_both(|driver| {
        let (_running, uri, told) = serve(driver, Config::default());
        thread::scope(|scope| {
            let wait = |user: &'static str| {
                let counter = Proxy::connect(&uri).unwrap();
                let wait = scope.spawn(move || {
                    let context = call::Context::new().annotation("USER", user).unwrap();
                    context.scope(|| counter.call::<String>("wait", ()).unwrap())
                });
                assert_eq!(told.recv_timeout(SOON).unwrap(), "waits");
                wait
            };
            // Both are inside at once, and so is whoever opens.
            let waiting = [wait("ada"), wait("bob")];
            let counter = Proxy::connect(&uri).unwrap();
            assert_eq!(counter.call::<u64>("count", ()).unwrap(), 0);
            counter.call::<()>("open", (2,)).unwrap();
            assert_eq!(waiting.map(|wait| wait.join().unwrap()), ["ada", "bob"]);
        });
    });
}

#[test]
fn its_calls_start_in_order_and_fail_alone() {
    on_both(|driver| {
        let (_running, uri, _) = serve(driver, Config::default());
        let counter = Proxy::connect(uri).unwrap();
        for n in 0..200 {
            counter.oneway("note", (n,)).unwrap();
        }
        assert_eq!(
            counter.call::<Vec<u64>>("order", ()).unwrap(),
            (0..200).collect::<Vec<_>>()
        );
        assert_eq!(counter.attr::<usize>("size").unwrap(), 200);
        assert_eq!(counter.call::<String>("version", ()).unwrap(), "1");
        let boom = raised(counter.call::<()>("fail", ()));
        assert_eq!(boom.class, "builtins.RuntimeError");
        let mut batch = counter.batch();
        for _ in 0..3 {
            batch.call("next", (true,)).unwrap();
        }
        assert_eq!(batch.send_as::<u64>().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn one_that_is_alone_keeps_others_out_until_its_caller_is_lost() {
    on_both(|driver| {
        let mut config = Config::default();
        config.queue_timeout = Duration::from_millis(100);
        let (_running, uri, told) = serve(driver, config);
        let mut peer = Peer::connect(uri.location().unwrap().to_string());
        peer.shake_hands("counter");
        peer.send_message(&RawMessage::invoke_method(1, "counter", "alone"));
        assert_eq!(told.recv_timeout(SOON).unwrap(), "alone");
        let counter = Proxy::connect(uri).unwrap();
        let busy = raised(counter.call::<u64>("count", ()));
        assert_eq!(busy.class, "builtins.TimeoutError");
        assert!(
            busy.message().contains("object counter is busy: 1 calls"),
            "{busy}"
        );
        peer.reset();
        assert_eq!(told.recv_timeout(SOON).unwrap(), "left");
        assert_eq!(counter.call::<u64>("count", ()).unwrap(), 0);
    });
}

#[test]
fn it_is_made_and_dropped_on_its_thread() {
    on_both(|driver| {
        let (running, uri, told) = serve(driver, Config::default());
        let counter = Proxy::connect(uri).unwrap();
        assert_eq!(counter.call::<u64>("next", (true,)).unwrap(), 1);
        running.daemon().unregister("counter");
        assert_eq!(told.recv_timeout(SOON).unwrap(), "dropped");
        raised(counter.call::<u64>("count", ()));
        let stillborn = running
            .daemon()
            .register_local("x", || -> Counter { panic!("no") });
        let error = stillborn.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("no"), "{error}");
    });
}

/// One of the kind that any thread may use.
struct Plain {
    total: u64,
}

#[expose]
impl Plain {
    async fn add(&mut self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        self.total += n;
        self.total
    }

    fn thread(&self) -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    fn zero() -> u64 {
        0
    }
}

#[test]
fn any_exposed_type_may_be_cooperative() {
    on_both(|driver| {
        let daemon = bind(driver, Config::default());
        let uri = daemon
            .register_local("plain", || Plain { total: 1 })
            .unwrap();
        let _running = daemon.start().unwrap();
        let plain = Proxy::connect(uri).unwrap();
        assert_eq!(plain.call::<u64>("add", (2,)).unwrap(), 3);
        assert_eq!(plain.call::<u64>("zero", ()).unwrap(), 0);
        assert_eq!(
            plain.call::<String>("thread", ()).unwrap(),
            "antifreeze-Plain"
        );
    });
}
