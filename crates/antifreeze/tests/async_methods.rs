//! Async methods: tasks that hold their object wherever they await something.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::sync::{LockError, Mutex as NamedMutex};
use antifreeze::{
    Config, Error, Exception, Expose, Object, Proxy, Running, Uri, Value, WeakObject, call, expose,
};
use antifreeze_testkit::{Peer, RawMessage};
use tokio::sync::{Barrier, Semaphore};

use common::{Driver, SOON, bind, on_both};

/// Serves one object until the guard is dropped.
fn serve<T: Expose>(driver: Driver, object: T) -> (Running, Object<T>, Uri) {
    serve_with(driver, Config::default(), object)
}

fn serve_with<T: Expose>(driver: Driver, config: Config, object: T) -> (Running, Object<T>, Uri) {
    let daemon = bind(driver, config);
    let object = Object::new(object);
    let uri = daemon.register("desk", &object).unwrap();
    (daemon.start().unwrap(), object, uri)
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !what() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

/// The exception that a call raised.
#[track_caller]
fn raised<T: std::fmt::Debug>(result: Result<T, Error>) -> Exception {
    let error = result.unwrap_err();
    let exception = error.remote().unwrap_or_else(|| panic!("{error:?}"));
    exception.clone()
}

/// Where async methods stand until the test lets them go on.
#[derive(Clone)]
struct Gate {
    entered: mpsc::Sender<&'static str>,
    go_on: Arc<Semaphore>,
}

impl Gate {
    fn new() -> (Self, mpsc::Receiver<&'static str>) {
        let (entered, enters) = mpsc::channel();
        let go_on = Arc::new(Semaphore::new(0));
        (Self { entered, go_on }, enters)
    }

    async fn pass(&self, who: &'static str) {
        /// Says that a method is not inside any more, however it left.
        struct Left(mpsc::Sender<&'static str>);
        impl Drop for Left {
            fn drop(&mut self) {
                let _ = self.0.send("left");
            }
        }
        let _left = Left(self.entered.clone());
        self.entered.send(who).unwrap();
        self.go_on.acquire().await.unwrap().forget();
    }
}

#[track_caller]
fn expect(told: &mpsc::Receiver<&'static str>, expected: &str) {
    assert_eq!(told.recv_timeout(SOON).unwrap(), expected);
}

struct Desk {
    gate: Gate,
    total: i64,
    notes: Vec<i64>,
    together: Arc<Barrier>,
}

impl Desk {
    fn new() -> (Self, mpsc::Receiver<&'static str>) {
        let (gate, told) = Gate::new();
        let desk = Self {
            gate,
            total: 0,
            notes: Vec::new(),
            together: Arc::new(Barrier::new(3)),
        };
        (desk, told)
    }
}

#[expose]
impl Desk {
    async fn add(&mut self, n: i64, #[default = 1] times: i64) -> i64 {
        tokio::task::yield_now().await;
        self.total += n * times;
        self.total
    }

    fn total(&self) -> i64 {
        self.total
    }

    async fn longest<'a>(&self, words: &'a [String]) -> Option<&'a str> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        words.iter().map(|word| &**word).max_by_key(|w| w.len())
    }

    async fn parse(text: &str) -> Result<i64, std::num::ParseIntError> {
        tokio::task::yield_now().await;
        text.parse()
    }

    #[attr]
    async fn size(&self) -> usize {
        self.notes.len()
    }

    #[attr(set)]
    async fn set_size(&mut self, size: usize) {
        tokio::task::yield_now().await;
        self.notes.resize(size, 0);
    }

    async fn hold(&mut self) {
        self.gate.pass("hold").await;
    }

    async fn look(&self) {
        self.gate.pass("look").await;
    }

    async fn meet(&self) {
        self.together.wait().await;
    }

    #[oneway]
    async fn note(&mut self, n: i64) {
        for _ in 0..n % 3 {
            tokio::task::yield_now().await;
        }
        self.notes.push(n);
    }

    async fn notes(&self) -> &[i64] {
        &self.notes
    }

    async fn explode(&mut self) {
        tokio::task::yield_now().await;
        panic!("boom");
    }
}

#[test]
fn they_are_called_like_any_other() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Desk::new().0);
        let desk = Proxy::connect(uri).unwrap();
        assert_eq!(desk.call::<i64>("add", (2,)).unwrap(), 2);
        let times = HashMap::from([("times", 3)]);
        assert_eq!(desk.call_kw::<i64>("add", (2,), times).unwrap(), 8);
        assert_eq!(desk.call::<i64>("total", ()).unwrap(), 8);
        let longest = desk.call::<String>("longest", (["a", "ccc", "bb"],));
        assert_eq!(longest.unwrap(), "ccc");
        assert_eq!(desk.call::<i64>("parse", ("12",)).unwrap(), 12);
        let wrong = raised(desk.call::<i64>("parse", ("twelve",)));
        assert_eq!(wrong.class, "builtins.ValueError");
        assert_eq!(
            raised(desk.call::<i64>("add", ())).class,
            "builtins.TypeError"
        );
        desk.set_attr("size", 3).unwrap();
        assert_eq!(desk.attr::<usize>("size").unwrap(), 3);
    });
}

#[test]
fn an_exclusive_one_holds_its_object_while_it_awaits() {
    on_both(|driver| {
        let (desk, told) = Desk::new();
        let gate = desk.gate.clone();
        let (_running, object, uri) = serve(driver, desk);
        thread::scope(|scope| {
            let call = |method| {
                let proxy = Proxy::connect(&uri).unwrap();
                scope.spawn(move || proxy.call::<Value>(method, ()).unwrap())
            };
            let holding = call("hold");
            expect(&told, "hold");
            assert!(object.try_read().is_none());
            let waiting = call("total");
            let ping = Proxy::connect(&uri).unwrap();
            ping.bind().unwrap();
            assert!(!waiting.is_finished());
            gate.go_on.add_permits(1);
            expect(&told, "left");
            holding.join().unwrap();
            waiting.join().unwrap();
        });
    });
}

#[test]
fn shared_ones_run_together() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Desk::new().0);
        thread::scope(|scope| {
            for _ in 0..3 {
                let desk = Proxy::connect(&uri).unwrap();
                scope.spawn(move || desk.call::<()>("meet", ()).unwrap());
            }
        });
    });
}

#[test]
fn they_occupy_no_worker() {
    on_both(|driver| {
        let (desk, told) = Desk::new();
        let gate = desk.gate.clone();
        let mut config = Config::default();
        config.workers = 1;
        let (_running, _, uri) = serve_with(driver, config, desk);
        thread::scope(|scope| {
            for _ in 0..20 {
                let desk = Proxy::connect(&uri).unwrap();
                scope.spawn(move || desk.call::<()>("look", ()).unwrap());
            }
            for _ in 0..20 {
                expect(&told, "look");
            }
            let desk = Proxy::connect(&uri).unwrap();
            assert_eq!(desk.call::<i64>("total", ()).unwrap(), 0);
            gate.go_on.add_permits(20);
        });
    });
}

#[test]
fn one_that_panics_lets_go_of_its_object() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Desk::new().0);
        let desk = Proxy::connect(uri).unwrap();
        let panicked = raised(desk.call::<()>("explode", ()));
        assert_eq!(panicked.class, "builtins.RuntimeError");
        assert!(panicked.message().contains("boom"), "{panicked}");
        assert_eq!(desk.call::<i64>("add", (1,)).unwrap(), 1);
    });
}

#[test]
fn oneways_run_in_order_and_before_what_follows() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Desk::new().0);
        let desk = Proxy::connect(uri).unwrap();
        for n in 0..200 {
            desk.oneway("note", (n,)).unwrap();
        }
        let notes = desk.call::<Vec<i64>>("notes", ()).unwrap();
        assert_eq!(notes, (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn items_of_a_batch_run_one_after_the_other() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Desk::new().0);
        let desk = Proxy::connect(uri).unwrap();
        let mut batch = desk.batch();
        for n in 0..100 {
            batch.call("note", (n,)).unwrap();
            batch.call("total", ()).unwrap();
        }
        assert_eq!(batch.send().unwrap().count(), 200);
        let notes = desk.call::<Vec<i64>>("notes", ()).unwrap();
        assert_eq!(notes, (0..100).collect::<Vec<_>>());

        for method in ["add", "explode", "add"] {
            let n = if method == "add" { vec![1] } else { vec![] };
            batch.call(method, n).unwrap();
        }
        let results: Vec<_> = batch.send().unwrap().collect();
        assert_eq!(results.len(), 2, "the one that raised is the last");
        assert!(results[0].is_ok() && results[1].is_err());
    });
}

#[test]
fn a_caller_that_is_lost_ends_its_method() {
    on_both(|driver| {
        let (desk, told) = Desk::new();
        let (_running, object, uri) = serve(driver, desk);
        let mut peer = Peer::connect(uri.location().unwrap().to_string());
        peer.shake_hands("desk");
        peer.send_message(&RawMessage::invoke_method(1, "desk", "hold"));
        expect(&told, "hold");
        peer.reset();
        expect(&told, "left");
        until(|| object.try_write().is_some());
    });
}

#[test]
fn a_method_whose_caller_has_no_time_left_is_dropped() {
    on_both(|driver| {
        let (desk, told) = Desk::new();
        let (_running, object, uri) = serve(driver, desk);
        let mut peer = Peer::connect(uri.location().unwrap().to_string());
        peer.send_message(&RawMessage::connect("desk").hello([7; 16], 1));
        peer.expect_message();
        // On a machine that is busy the time may be over before the call can begin.
        let (seq, late) = (1..)
            .map(|seq| {
                let hold = RawMessage::invoke_method(seq, "desk", "hold");
                peer.send_message(&hold.millis_left(200));
                (seq, peer.expect_message())
            })
            .find(|_| told.try_recv() == Ok("hold"))
            .unwrap();
        assert_eq!(late.seq, seq);
        let text = String::from_utf8_lossy(&late.payload).into_owned();
        assert!(text.contains("before the method had ended"), "{text}");
        expect(&told, "left");
        until(|| object.try_write().is_some());
    });
}

#[test]
fn a_caller_that_says_no_more_is_still_answered() {
    on_both(|driver| {
        let (desk, told) = Desk::new();
        let gate = desk.gate.clone();
        let (_running, _, uri) = serve(driver, desk);
        let mut peer = Peer::connect(uri.location().unwrap().to_string());
        peer.shake_hands("desk");
        peer.send_message(&RawMessage::invoke_method(1, "desk", "hold"));
        expect(&told, "hold");
        peer.shutdown_write();
        gate.go_on.add_permits(1);
        assert_eq!(peer.expect_message().seq, 1);
        peer.expect_eof();
    });
}

#[test]
fn a_daemon_that_ends_waits_for_them_and_then_drops_them() {
    on_both(|driver| {
        for drain in [SOON, Duration::ZERO] {
            let (desk, told) = Desk::new();
            let gate = desk.gate.clone();
            let mut config = Config::default();
            config.drain_timeout = drain;
            let (running, object, uri) = serve_with(driver, config, desk);
            let desk = Proxy::connect(uri).unwrap();
            thread::scope(|scope| {
                let holding = scope.spawn(move || desk.call::<()>("hold", ()));
                expect(&told, "hold");
                let stopping = scope.spawn(|| running.stop());
                if drain == SOON {
                    gate.go_on.add_permits(1);
                }
                expect(&told, "left");
                assert_eq!(holding.join().unwrap().is_ok(), drain == SOON);
                stopping.join().unwrap().unwrap();
                until(|| object.try_write().is_some());
            });
        }
    });
}

/// Tells what it knows of the call that it serves.
struct Clerk;

#[expose]
impl Clerk {
    async fn who(&self, pauses: usize) -> String {
        let before = told();
        for _ in 0..pauses {
            tokio::task::yield_now().await;
            assert_eq!(told(), before);
        }
        call::set_response_annotation("ECHO", before.clone()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(told(), before);
        // A task of its own knows nothing of the call.
        assert_eq!(tokio::spawn(async { told() }).await.unwrap(), "nobody");
        before
    }
}

fn told() -> String {
    match call::annotation("USER") {
        Some(user) => String::from_utf8(user.to_vec()).unwrap(),
        None => "nobody".to_owned(),
    }
}

#[test]
fn each_knows_the_call_that_it_serves_wherever_it_goes_on() {
    on_both(|driver| {
        let (_running, _, uri) = serve(driver, Clerk);
        thread::scope(|scope| {
            for n in 0..8 {
                let clerk = Proxy::connect(&uri).unwrap();
                scope.spawn(move || {
                    let name = format!("user {n}");
                    let context = call::Context::new()
                        .annotation("USER", name.clone())
                        .unwrap();
                    context.scope(|| {
                        for pauses in 0..20 {
                            assert_eq!(clerk.call::<String>("who", (pauses,)).unwrap(), name);
                            let echo = call::response_annotation("ECHO").unwrap();
                            assert_eq!(echo, name.as_bytes());
                        }
                    });
                });
            }
        });
    });
}

/// An object that uses a lock, and another object.
struct Account {
    gate: Gate,
    ledger: Arc<NamedMutex<i64>>,
    other: Arc<Mutex<Option<WeakObject<Self>>>>,
}

#[expose]
impl Account {
    /// Has the object, and when the test says so also the ledger.
    async fn settle(&mut self) -> Result<i64, LockError> {
        self.gate.pass("settle").await;
        let mut ledger = self.ledger.lock_async().await?;
        *ledger += 1;
        Ok(*ledger)
    }

    /// Has the object, and when the test says so also the other one.
    async fn visit(&mut self) -> Result<(), LockError> {
        self.gate.pass("visit").await;
        let other = self
            .other
            .lock()
            .unwrap()
            .as_ref()
            .and_then(WeakObject::upgrade)
            .unwrap();
        drop(other.write_async().await?);
        Ok(())
    }

    /// The same on a thread.
    fn visit_blocking(&mut self) -> Result<(), LockError> {
        self.gate.entered.send("visit_blocking").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(self.gate.go_on.acquire())
            .unwrap()
            .forget();
        let other = self
            .other
            .lock()
            .unwrap()
            .as_ref()
            .and_then(WeakObject::upgrade)
            .unwrap();
        drop(other.checked_write()?);
        Ok(())
    }
}

fn account(gate: &Gate) -> (Object<Account>, Arc<NamedMutex<i64>>) {
    let ledger = Arc::new(NamedMutex::named("ledger", 0));
    let account = Account {
        gate: gate.clone(),
        ledger: Arc::clone(&ledger),
        other: Arc::default(),
    };
    (Object::new(account), ledger)
}

/// Checks what the victim's caller sees.
fn check_deadlock(exception: &Exception, named: &[&str]) {
    assert_eq!(exception.class, "builtins.OSError", "{exception}");
    let [Value::Int(35), Value::Str(text)] = &exception.args[..] else {
        panic!("{exception}");
    };
    let text = text.as_str().unwrap();
    for name in named {
        assert!(text.contains(name), "{name:?} is not in {text}");
    }
}

#[test]
fn one_that_waits_for_whoever_waits_for_its_object_is_told() {
    on_both(|driver| {
        let (gate, told) = Gate::new();
        let (object, ledger) = account(&gate);
        let daemon = bind(driver, Config::default());
        let uri = daemon.register("account", &object).unwrap();
        let _running = daemon.start().unwrap();
        let has_ledger = ledger.lock().unwrap();
        let caller = thread::spawn(move || Proxy::connect(uri).unwrap().call::<i64>("settle", ()));
        expect(&told, "settle");
        gate.go_on.add_permits(1);
        // The call is younger than this thread's frame, so it is the one that gives way.
        drop(object.checked_write().unwrap());
        drop(has_ledger);
        let names = [
            "call \"account.settle\"",
            "Object<async_methods::Account>",
            "\"ledger\"",
            "thread \"",
        ];
        check_deadlock(&raised(caller.join().unwrap()), &names);
        assert!(!ledger.is_locked());
    });
}

#[test]
fn two_that_want_each_others_objects_are_told_whatever_they_run_as() {
    on_both(|driver| {
        for (first, second) in [("visit", "visit"), ("visit", "visit_blocking")] {
            let (gate, told) = Gate::new();
            let [(one, _), (two, _)] = [account(&gate), account(&gate)];
            *one.read().other.lock().unwrap() = Some(two.downgrade());
            *two.read().other.lock().unwrap() = Some(one.downgrade());
            let daemon = bind(driver, Config::default());
            let [to_one, to_two] = [("one", &one), ("two", &two)]
                .map(|(name, object)| daemon.register(name, object).unwrap());
            let _running = daemon.start().unwrap();
            let results = thread::scope(|scope| {
                let call = |uri: Uri, method| {
                    let caller = Proxy::connect(uri).unwrap();
                    let call = scope.spawn(move || caller.call::<()>(method, ()));
                    expect(&told, method);
                    call
                };
                let calls = [call(to_one, first), call(to_two, second)];
                gate.go_on.add_permits(2);
                calls.map(|call| call.join().unwrap())
            });
            let (fine, victims): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!((fine.len(), victims.len()), (1, 1));
            let names = [
                "\"one.visit",
                "\"two.visit",
                "Object<async_methods::Account>",
            ];
            for victim in victims {
                check_deadlock(&raised(victim), &names);
            }
        }
    });
}
