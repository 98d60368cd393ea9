//! Two objects that talk while they hold locks, each in a process of its own: the conversation that
//! hangs for ever under Pyro.

use std::io::{Read, stdin};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use antifreeze::sync::BoundedSemaphore;
use antifreeze::{Daemon, Error, ErrorKind, Proxy, Uri, expose};

use crate::common::Driver;
use crate::common::process::Process;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a lock is held before the other object is called.
const HOLD: Duration = Duration::from_millis(100);

/// The foos and the bars. Either is in a process of its own; which methods are called tells which it is.
struct Obj {
    lock: BoundedSemaphore,
    other: OnceLock<String>,
}

#[expose]
impl Obj {
    #[lock(none)]
    fn meet(&self, other: String) -> bool {
        self.other.set(other).is_ok()
    }

    #[rename = "GetFoosLikeABar"]
    fn get_foos_like_a_bar(&self) -> Result<usize, Failure> {
        let _locked = self.lock.acquire()?;
        thread::sleep(HOLD);
        self.ask("IsFooLikeABar")
    }

    #[rename = "IsFooLikeABar"]
    fn is_foo_like_a_bar(&self) -> Result<usize, Failure> {
        let _locked = self.lock.acquire()?;
        Ok(1)
    }

    #[rename = "ComposeBars"]
    fn compose_bars(&self) -> Result<usize, Failure> {
        let _locked = self.lock.acquire()?;
        thread::sleep(HOLD);
        self.ask("GetFoosLikeABar")
    }

    /// The rule that helps: one lock at a time.
    #[rename = "ComposeBarsPolitely"]
    fn compose_politely(&self) -> Result<usize, Failure> {
        drop(self.lock.acquire()?);
        self.ask("GetFoosPolitely")
    }

    #[rename = "GetFoosPolitely"]
    fn get_foos_politely(&self) -> Result<usize, Failure> {
        drop(self.lock.acquire()?);
        self.ask("IsFooLikeABar")
    }
}

impl Obj {
    fn ask(&self, method: &str) -> Result<usize, Failure> {
        let other = self.other.get().ok_or("they have not met")?;
        Ok(Proxy::connect(other.as_str())?.call(method, ())?)
    }
}

/// The same without a lock of their own: the object is one.
struct Synchronized {
    other: OnceLock<String>,
}

#[expose]
impl Synchronized {
    #[lock(none)]
    fn meet(&self, other: String) -> bool {
        self.other.set(other).is_ok()
    }

    #[rename = "GetFoosLikeABar"]
    fn get_foos_like_a_bar(&mut self) -> Result<usize, Failure> {
        self.ask("IsFooLikeABar")
    }

    #[rename = "IsFooLikeABar"]
    fn is_foo_like_a_bar(&mut self) -> usize {
        1
    }

    #[rename = "ComposeBars"]
    fn compose_bars(&mut self) -> Result<usize, Failure> {
        self.ask("GetFoosLikeABar")
    }
}

impl Synchronized {
    fn ask(&self, method: &str) -> Result<usize, Failure> {
        thread::sleep(HOLD);
        let other = self.other.get().ok_or("they have not met")?;
        Ok(Proxy::connect(other.as_str())?.call(method, ())?)
    }
}

/// What the process does if it is one.
pub(crate) fn run() {
    if std::env::var_os("TEST_CHILD").is_none() {
        return;
    }
    let builder = match std::env::var("TEST_DRIVER").unwrap().as_str() {
        "Threads" => Daemon::builder().threads(),
        _ => Daemon::builder(),
    };
    let daemon = builder.bind("localhost:0").unwrap();
    let [object, lock] = ["TEST_OBJECT", "TEST_LOCK"].map(|name| std::env::var(name).unwrap());
    let lock = BoundedSemaphore::new(1).with_name(lock);
    let other = OnceLock::new;
    let uri = daemon.register(
        object.as_str(),
        Obj {
            lock,
            other: other(),
        },
    );
    let uri = uri.unwrap();
    let synchronized = Synchronized { other: other() };
    daemon.register("synchronized", synchronized).unwrap();
    println!("\nready {uri}");
    let _running = daemon.start().unwrap();
    // Whoever started us holds the other end.
    let _ = stdin().read(&mut [0]);
    std::process::exit(0);
}

/// The two processes, which have met.
struct Talk {
    _processes: [Process; 2],
    foos: Uri,
    bars: Uri,
}

impl Talk {
    fn start(driver: Driver) -> Self {
        let driver = format!("{driver:?}");
        let start = |object, lock| {
            let variables = [
                ("TEST_DRIVER", driver.as_str()),
                ("TEST_OBJECT", object),
                ("TEST_LOCK", lock),
            ];
            let mut process = Process::start("conversation_process", &variables);
            let uri: Uri = process.line("ready").parse().unwrap();
            (process, uri)
        };
        let (one, foos) = start("obj1", "fooLock");
        let (other, bars) = start("obj2", "barLock");
        let this = Self {
            _processes: [one, other],
            foos,
            bars,
        };
        for [this, other] in [[&this.foos, &this.bars], [&this.bars, &this.foos]] {
            for synchronized in [false, true] {
                let other = named(other, synchronized).to_string();
                let met = proxy(this, synchronized).call::<bool>("meet", (other,));
                assert!(met.unwrap());
            }
        }
        this
    }

    /// The chains begin together, each with this method of that object.
    fn run(&self, synchronized: bool, chains: &[(&Uri, &str)]) -> Vec<Result<usize, Error>> {
        let barrier = Arc::new(Barrier::new(chains.len()));
        let chains = chains.iter().map(|(uri, method)| {
            let (proxy, method) = (proxy(uri, synchronized), (*method).to_owned());
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                proxy.call(&method, ())
            })
        });
        let chains: Vec<_> = chains.collect();
        chains
            .into_iter()
            .map(|chain| chain.join().unwrap())
            .collect()
    }
}

fn named(uri: &Uri, synchronized: bool) -> Uri {
    match synchronized {
        false => uri.clone(),
        true => Uri::new("synchronized", uri.location().unwrap().clone()).unwrap(),
    }
}

fn proxy(uri: &Uri, synchronized: bool) -> Proxy {
    let proxy = Proxy::connect(named(uri, synchronized)).unwrap();
    proxy.within(Duration::from_secs(20))
}

/// Exactly one of them is told, with all these names in it.
#[track_caller]
fn check(ended: Vec<Result<usize, Error>>, talk: &Talk, words: &[&str]) {
    let count = ended.len();
    let (victims, others): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_err);
    assert_eq!((victims.len(), others.len()), (1, count - 1), "{victims:?}");
    let error = victims[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    let text = error.to_string();
    let places = [&talk.foos, &talk.bars].map(|uri| uri.location().unwrap().to_string());
    let places = places.iter().map(String::as_str);
    for word in words.iter().copied().chain(places) {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

pub(crate) fn s01a_one_chain_comes_back_to_the_lock_of_the_bars(driver: Driver) {
    let talk = Talk::start(driver);
    let ended = talk.run(false, &[(&talk.bars, "ComposeBars")]);
    let words = [
        "3 calls of one chain wait for what it holds itself",
        "call \"obj2.IsFooLikeABar\"",
        "call \"obj2.ComposeBars\"",
        "call \"obj1.GetFoosLikeABar\"",
        "holds a permit of BoundedSemaphore \"barLock\", acquired at crates/antifreeze/tests/processes/",
        "for a permit of BoundedSemaphore \"barLock\"",
        "the others can go on",
        "help: let go of BoundedSemaphore \"barLock\" before calling what calls back",
    ];
    check(ended, &talk, &words);
    // The lock is free again.
    assert_eq!(
        talk.run(false, &[(&talk.bars, "IsFooLikeABar")])[0]
            .as_ref()
            .ok(),
        Some(&1)
    );
}

pub(crate) fn s01b_two_chains_cross(driver: Driver) {
    let talk = Talk::start(driver);
    let chains = [
        (&talk.foos, "GetFoosLikeABar"),
        (&talk.bars, "GetFoosLikeABar"),
    ];
    let ended = talk.run(false, &chains);
    let words = [
        "4 calls wait for each other",
        "obj1.GetFoosLikeABar",
        "obj1.IsFooLikeABar",
        "obj2.GetFoosLikeABar",
        "obj2.IsFooLikeABar",
        "\"fooLock\"",
        "\"barLock\"",
        "help: let go of what it holds, then try again",
    ];
    check(ended, &talk, &words);
}

pub(crate) fn s01d_one_lock_at_a_time_is_never_told_of(driver: Driver) {
    let talk = Talk::start(driver);
    for _ in 0..5 {
        let chains = [
            (&talk.bars, "ComposeBarsPolitely"),
            (&talk.foos, "ComposeBarsPolitely"),
            (&talk.foos, "GetFoosPolitely"),
        ];
        for ended in talk.run(false, &chains) {
            assert_eq!(ended.unwrap(), 1);
        }
    }
    for uri in [&talk.foos, &talk.bars] {
        let uri = Uri::new("Antifreeze.Detector", uri.location().unwrap().clone());
        let detector = Proxy::connect(uri.unwrap()).unwrap();
        let deadlocks: Vec<String> = detector.call("deadlocks", ()).unwrap();
        assert!(deadlocks.is_empty(), "{deadlocks:?}");
    }
}

pub(crate) fn s01e_objects_that_are_locks(driver: Driver) {
    let talk = Talk::start(driver);
    let ended = talk.run(true, &[(&talk.bars, "ComposeBars")]);
    let words = [
        "3 calls of one chain wait for what it holds itself",
        "synchronized.ComposeBars",
        "synchronized.GetFoosLikeABar",
        "synchronized.IsFooLikeABar",
        "holds Object<processes::conversation::Synchronized>",
        "before calling what calls back",
    ];
    check(ended, &talk, &words);
    let chains = [
        (&talk.foos, "GetFoosLikeABar"),
        (&talk.bars, "GetFoosLikeABar"),
    ];
    let words = ["synchronized.GetFoosLikeABar", "synchronized.IsFooLikeABar"];
    check(talk.run(true, &chains), &talk, &words);
}

crate::on_both_drivers!(
    s01a_one_chain_comes_back_to_the_lock_of_the_bars,
    s01b_two_chains_cross,
    s01d_one_lock_at_a_time_is_never_told_of,
    s01e_objects_that_are_locks,
);
