//! Who can never go on is told so: calls, objects, workers and the user's own locks, in one graph.

use std::sync::{Arc, Barrier, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::sync::{LockError, Mutex, synchronized};
use antifreeze::{Config, Error, Exception, Object, Proxy, Running, Value, WeakObject, expose};

/// Something that a test waits for, and that must happen soon.
const SOON: Duration = Duration::from_secs(20);

/// An object that uses a lock of the test's.
struct Account {
    ledger: Arc<Mutex<Vec<String>>>,
    entered: mpsc::Sender<()>,
    go_on: Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
    itself: Arc<OnceLock<WeakObject<Self>>>,
    other: Option<Object<Self>>,
}

#[expose]
impl Account {
    /// Has the object, and when the test says so also the ledger.
    fn settle(&mut self) -> Result<usize, LockError> {
        self.wait();
        let mut ledger = self.ledger.lock()?;
        ledger.push("settled".to_owned());
        Ok(ledger.len())
    }

    fn touch(&mut self) -> bool {
        true
    }

    /// Waits for another object on this one's worker.
    fn visit(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        self.wait();
        let other = self.other.as_ref().ok_or("there is nobody to visit")?;
        Ok(other.checked_write()?.touch())
    }

    fn read_again(&self) -> bool {
        self.wait();
        self.itself().read().other.is_none()
    }

    fn write_again(&self) -> bool {
        self.itself().write().touch()
    }
}

impl Account {
    fn wait(&self) {
        self.entered.send(()).unwrap();
        self.go_on.lock().unwrap().recv_timeout(SOON).unwrap();
    }

    fn itself(&self) -> Object<Self> {
        self.itself.get().unwrap().upgrade().unwrap()
    }
}

/// An account, and the test's end of it.
struct Made {
    object: Object<Account>,
    ledger: Arc<Mutex<Vec<String>>>,
    entered: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

impl Made {
    fn new(other: Option<Object<Account>>) -> Self {
        let (enter, entered) = mpsc::channel();
        let (go_on, going) = mpsc::channel();
        let ledger = Arc::new(Mutex::named("ledger", Vec::new()));
        let itself = Arc::<OnceLock<_>>::default();
        let object = Object::new(Account {
            ledger: Arc::clone(&ledger),
            entered: enter,
            go_on: Arc::new(std::sync::Mutex::new(going)),
            itself: Arc::clone(&itself),
            other,
        });
        itself.set(object.downgrade()).ok().unwrap();
        Self {
            object,
            ledger,
            entered,
            go_on,
        }
    }

    fn wait_until_entered(&self) {
        self.entered.recv_timeout(SOON).unwrap();
    }
}

fn serve(workers: usize, accounts: &[(&str, &Made)]) -> (Running, impl Fn(&str) -> Proxy + use<>) {
    let mut config = Config::default();
    config.workers = workers;
    let daemon = crate::daemon().config(config).bind("localhost:0").unwrap();
    for (name, account) in accounts {
        daemon.register(*name, &account.object).unwrap();
    }
    let location = daemon.location().clone();
    let running = daemon.start().unwrap();
    let proxy = move |name: &str| {
        Proxy::connect(antifreeze::Uri::new(name, location.clone()).unwrap()).unwrap()
    };
    (running, proxy)
}

/// Checks what the victim's caller sees.
fn check(error: &Error, kind: &str, named: &[&str]) {
    let exception = error.remote().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(exception.class, "builtins.OSError", "{exception}");
    let [Value::Int(35), Value::Str(text)] = &exception.args[..] else {
        panic!("{exception}");
    };
    let text = text.as_str().unwrap();
    for name in named {
        assert!(text.contains(name), "{name:?} is not in {text}");
    }
    let told = exception.attribute("antifreeze").unwrap();
    let Value::Dict(told) = told else {
        panic!("{told}")
    };
    let get = |key: &str| told.get(key).map(Value::to_string);
    assert_eq!(get("kind"), Some(format!("'{kind}'")));
    assert!(text.contains(&get("id").unwrap().replace('\'', "")));
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !what() {
        assert!(Instant::now() < end);
        thread::yield_now();
    }
}

#[test]
fn a_method_and_a_local_user_of_its_object_that_wait_for_each_other_are_told() {
    let account = Made::new(None);
    let (_running, proxy) = serve(4, &[("account", &account)]);
    let ledger = account.ledger.lock().unwrap();
    let caller = thread::spawn(move || proxy("account").call::<usize>("settle", ()));
    account.wait_until_entered();
    account.go_on.send(()).unwrap();
    // The call is younger than this thread's frame, so it is the one that gives way.
    let object = account.object.checked_write().unwrap();
    drop((object, ledger));
    let error = caller.join().unwrap().unwrap_err();
    let names = [
        "call \"account.settle\"",
        "deadlocks::Account>",
        "\"ledger\"",
        "thread \"",
    ];
    check(&error, "cycle", &names);
    assert!(!account.ledger.is_locked());
}

#[test]
fn a_local_user_that_could_never_have_the_object_panics_with_the_report() {
    let account = Made::new(None);
    let (_running, proxy) = serve(4, &[("account", &account)]);
    let caller = thread::spawn(move || proxy("account").call::<usize>("settle", ()));
    account.wait_until_entered();
    let local = thread::scope(|scope| {
        let younger = scope.spawn(|| {
            let _ledger = account.ledger.lock().unwrap();
            account.go_on.send(()).unwrap();
            drop(account.object.read());
        });
        younger.join()
    });
    let panic = local.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    for name in [
        "deadlock [af-",
        "call \"account.settle\"",
        "deadlocks::Account>",
    ] {
        assert!(text.contains(name), "{name:?} is not in {text}");
    }
    assert_eq!(caller.join().unwrap().unwrap(), 1);
}

#[test]
fn a_call_that_waits_for_a_worker_whose_method_waits_for_its_object_is_told() {
    let host = Made::new(None);
    let guest = Made::new(Some(host.object.clone()));
    let (_running, proxy) = serve(1, &[("host", &host), ("guest", &guest)]);
    let (to_host, to_guest) = (proxy("host"), proxy("guest"));
    thread::scope(|scope| {
        let visit = scope.spawn(|| to_guest.call::<bool>("visit", ()));
        guest.wait_until_entered();
        let touch = scope.spawn(|| to_host.call::<bool>("touch", ()));
        // It has its object, and waits for the only worker.
        until(|| host.object.try_read().is_none());
        guest.go_on.send(()).unwrap();
        let names = [
            "\"host.touch\"",
            "\"guest.visit\"",
            "a permit of Workers \"localhost:",
            "Object<",
        ];
        check(&touch.join().unwrap().unwrap_err(), "pool", &names);
        assert!(visit.join().unwrap().unwrap());
    });
}

#[test]
fn a_method_may_read_its_own_object_again_and_is_told_that_it_cannot_write_it() {
    let account = Made::new(None);
    let (_running, proxy) = serve(4, &[("account", &account)]);
    let (one, other) = (proxy("account"), proxy("account"));
    thread::scope(|scope| {
        let again = scope.spawn(|| one.call::<bool>("read_again", ()));
        account.wait_until_entered();
        // Somebody waits to write, whom the second reading passes.
        let writer = scope.spawn(|| other.call::<bool>("touch", ()));
        until(|| account.object.try_read().is_none());
        account.go_on.send(()).unwrap();
        assert!(again.join().unwrap().unwrap());
        assert!(writer.join().unwrap().unwrap());
    });
    let error = one.call::<bool>("write_again", ()).unwrap_err();
    check(&error, "upgrade", &["\"account.write_again\"", "Object<"]);
    assert!(one.call::<bool>("touch", ()).unwrap());
}

static TILL: Mutex<()> = Mutex::named("till", ());

struct Shop;

#[synchronized(TILL)]
fn ring() -> Result<&'static str, LockError> {
    Ok("ding")
}

#[antifreeze::synchronized(TILL, panic)]
fn ring_or_panic() {}

/// What a user of locks makes of their errors.
#[derive(Debug, thiserror::Error)]
#[error("the till is stuck")]
struct Stuck(#[from] LockError);

#[expose]
impl Shop {
    fn ring(&self) -> Result<&'static str, LockError> {
        ring()
    }

    fn ring_twice(&self) -> Result<&'static str, Stuck> {
        let _till = TILL.lock()?;
        Ok(ring()?)
    }

    fn ring_and_panic(&self) -> Result<(), LockError> {
        let _till = TILL.lock()?;
        ring_or_panic();
        Ok(())
    }

    fn give_up(&self) -> Result<(), LockError> {
        let till = TILL.lock()?;
        let late = thread::scope(|scope| {
            let other = scope.spawn(|| TILL.lock_timeout(Duration::from_millis(1)).map(drop));
            other.join().unwrap()
        });
        drop(till);
        late
    }
}

#[test]
fn errors_of_locks_are_told_as_what_they_are() {
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let uri = daemon.register("shop", Shop).unwrap();
    let _running = daemon.start().unwrap();
    let shop = Proxy::connect(uri).unwrap();
    assert_eq!(shop.call::<String>("ring", ()).unwrap(), "ding");
    let error = shop.call::<String>("ring_twice", ()).unwrap_err();
    check(
        &error,
        "self_lock",
        &[
            "the till is stuck: deadlock [af-",
            "\"till\"",
            "\"shop.ring_twice\"",
        ],
    );
    let error = shop.call::<()>("ring_and_panic", ()).unwrap_err();
    check(
        &error,
        "self_lock",
        &["\"till\"", "\"shop.ring_and_panic\""],
    );
    let error = shop.call::<()>("give_up", ()).unwrap_err();
    assert_eq!(
        error.remote().map(|raised| &*raised.class),
        Some("builtins.TimeoutError")
    );
    assert_eq!(shop.call::<String>("ring", ()).unwrap(), "ding");
}

/// Has no `&mut self` methods.
struct Sign {
    entered: mpsc::Sender<()>,
    go_on: std::sync::Mutex<mpsc::Receiver<()>>,
}

#[expose]
impl Sign {
    fn stare(&self) -> Result<(), Exception> {
        self.entered.send(()).unwrap();
        self.go_on.lock().unwrap().recv_timeout(SOON).unwrap();
        Ok(())
    }

    fn glance(&self) -> bool {
        true
    }
}

#[test]
fn calls_of_an_object_without_a_lock_pass_a_local_writer_that_waits() {
    let (enter, entered) = mpsc::channel();
    let (go_on, going) = mpsc::channel();
    let sign = Object::new(Sign {
        entered: enter,
        go_on: std::sync::Mutex::new(going),
    });
    let daemon = crate::daemon().bind("localhost:0").unwrap();
    let uri = daemon.register("sign", &sign).unwrap();
    let _running = daemon.start().unwrap();
    let (one, other) = (Proxy::connect(&uri).unwrap(), Proxy::connect(&uri).unwrap());
    thread::scope(|scope| {
        let staring = scope.spawn(|| one.call::<()>("stare", ()));
        entered.recv_timeout(SOON).unwrap();
        let (tell, told) = mpsc::channel();
        let sign = &sign;
        let writer = scope.spawn(move || {
            tell.send(antifreeze::sync::frame::current()).unwrap();
            drop(sign.write());
        });
        let frame = told.recv().unwrap();
        until(|| antifreeze::sync::detector::is_waiting(frame));
        assert!(other.call::<bool>("glance", ()).unwrap());
        assert!(!writer.is_finished());
        go_on.send(()).unwrap();
        staring.join().unwrap().unwrap();
        writer.join().unwrap();
        // And one that is inside keeps them out.
        let writing = sign.write();
        let glance = scope.spawn(|| other.call::<bool>("glance", ()));
        assert!(sign.try_read().is_none());
        drop(writing);
        assert!(glance.join().unwrap().unwrap());
    });
}

/// Its methods call it again over the proxies of their callers, when all of those are in it.
struct Echo {
    all_in: Barrier,
    proxy: OnceLock<Proxy>,
    tasks: OnceLock<antifreeze::tokio::Proxy>,
}

#[expose]
impl Echo {
    #[lock(none)]
    fn shout(&self) -> Result<i64, Error> {
        self.all_in.wait();
        self.proxy.get().unwrap().call("answer", ())
    }

    #[lock(none)]
    async fn shout_async(&self) -> Result<i64, Error> {
        tokio::task::block_in_place(|| self.all_in.wait());
        self.tasks.get().unwrap().call("answer", ()).await
    }

    #[lock(none)]
    fn answer(&self) -> i64 {
        42
    }
}

#[test]
fn calls_that_leave_no_place_on_their_connection_for_those_that_they_wait_for_are_told() {
    const PLACES: usize = 2;
    let mut config = Config::default();
    config.calls_per_connection = PLACES;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let daemon = crate::daemon()
        .config(config.clone())
        .bind("localhost:0")
        .unwrap();
    let echo = Object::new(Echo {
        all_in: Barrier::new(PLACES),
        proxy: OnceLock::new(),
        tasks: OnceLock::new(),
    });
    let uri = daemon.register("echo", &echo).unwrap().to_string();
    let _running = daemon.start().unwrap();
    let check = |ends: [Result<i64, Error>; PLACES]| {
        let (ends, errors): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
        assert_eq!((ends.len(), errors.len()), (1, 1), "{errors:?}");
        let error = errors.into_iter().next().unwrap().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"calls in flight to localhost:"), "{text}");
        assert!(text.contains("Echo") || text.contains("echo."), "{text}");
    };

    let builder = Proxy::builder(uri.as_str()).unwrap().config(config.clone());
    let proxy = builder.connect().unwrap();
    echo.read().proxy.set(proxy.clone()).ok().unwrap();
    check(thread::scope(|scope| {
        let calls = [(); PLACES].map(|()| scope.spawn(|| proxy.call("shout", ())));
        calls.map(|call| call.join().unwrap())
    }));

    let builder = antifreeze::tokio::Proxy::builder(uri.as_str()).unwrap();
    let tasks = runtime.block_on(builder.config(config).connect()).unwrap();
    echo.read().tasks.set(tasks.clone()).ok().unwrap();
    let calls = [(); PLACES].map(|()| {
        let tasks = tasks.clone();
        runtime.spawn(antifreeze::sync::task(async move {
            tasks.call("shout_async", ()).await
        }))
    });
    check(calls.map(|call| runtime.block_on(call).unwrap()));
}
