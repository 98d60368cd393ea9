//! The named scenarios, each on both drivers, with what is told.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use antifreeze::sync::Mutex;
use antifreeze::{Error, ErrorKind, Proxy, expose};

use crate::common::Driver::{self, EventLoop, Threads};
use crate::common::bind;
use crate::common::gate::until;
use crate::link::Link;

/// So long every object is held before the next one is called, so that all chains have begun.
const HOLD: u64 = 150;

/// Where a chain goes: a link, and the method there.
type Step<'a> = (&'a Link, &'a str);

/// Makes a call at the first of these, which goes on to the others.
fn go(path: &[Step<'_>], hold: u64) -> Result<Vec<String>, Error> {
    let [(first, method), rest @ ..] = path else {
        return Ok(Vec::new());
    };
    let rest = rest
        .iter()
        .map(|(link, method)| format!("{method} {}", link.uri));
    let rest: Vec<_> = rest.collect();
    let first = Proxy::connect(&first.uri)?.within(Duration::from_secs(20));
    first.call(method, (rest, hold))
}

/// The same for several at once.
fn go_all(paths: &[&[Step<'_>]], hold: u64) -> Vec<Result<Vec<String>, Error>> {
    let barrier = Barrier::new(paths.len());
    thread::scope(|scope| {
        let go = |path| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                go(path, hold)
            })
        };
        let chains: Vec<_> = paths.iter().map(|path| go(*path)).collect();
        chains
            .into_iter()
            .map(|chain| chain.join().unwrap())
            .collect()
    })
}

/// It tells of a deadlock, with all these words.
#[track_caller]
fn check(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

/// Exactly one of them is told, with all these words.
#[track_caller]
fn check_one(ended: Vec<Result<Vec<String>, Error>>, words: &[&str]) {
    let count = ended.len();
    let (victims, others): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_err);
    assert_eq!((victims.len(), others.len()), (1, count - 1), "{victims:?}");
    check(victims[0].as_ref().unwrap_err(), words);
}

fn other(driver: Driver) -> Driver {
    match driver {
        Threads => EventLoop,
        EventLoop => Threads,
    }
}

fn s03_two_chains_cross_over_two_nodes(driver: Driver) {
    for second in [driver, other(driver)] {
        let (a, b) = (Link::start(driver), Link::start(second));
        let paths: [&[Step<'_>]; 2] = [&[(&a, "hop"), (&b, "hop")], &[(&b, "hop"), (&a, "hop")]];
        let words = [
            "4 calls wait for each other",
            "call \"node.hop\"",
            &format!("at {}", a.place()),
            &format!("at {}", b.place()),
            "the victim",
            "to write Object<processes::link::Node>",
            "for writing, acquired at crates/antifreeze/tests/processes/link.rs",
            "its wait failed, the others can go on",
        ];
        check_one(go_all(&paths, HOLD), &words);
    }
}

fn s05_all_workers_of_a_pool_wait_for_one(driver: Driver) {
    for workers in [1, 8] {
        let (pool, other) = (Link::with_workers(driver, workers), Link::start(driver));
        let path: &[Step<'_>] = &[(&pool, "pass_on"), (&other, "pass_on"), (&pool, "pass_on")];
        let words = [
            "calls have all workers that they wait for",
            "call \"node.pass_on\"",
            &format!("holds a permit of Workers \"{}\"", pool.place()),
            &format!("for a permit of Workers \"{}\"", pool.place()),
            "allow more workers",
            &format!("for the answer of call \"{}\"", other.place()),
        ];
        check_one(go_all(&vec![path; workers], 2 * HOLD), &words);
        // With one more, somebody goes on, and so does everybody.
        let pool = Link::with_workers(driver, workers + 1);
        let path: &[Step<'_>] = &[(&pool, "pass_on"), (&other, "pass_on"), (&pool, "pass_on")];
        for ended in go_all(&vec![path; workers], 2 * HOLD) {
            assert_eq!(ended.unwrap().len(), 3);
        }
        assert_eq!(pool.count("antifreeze_detector_verdicts_total"), 0);
    }
}

/// Of the test's own process: calls back over the proxy that was called over.
struct Again(Proxy);

#[expose]
impl Again {
    #[lock(none)]
    fn pass_on(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Failure> {
        Ok(self.0.call("pass_on", (path, hold_ms))?)
    }
}

fn s10_a_proxy_is_used_by_what_was_called_over_it(driver: Driver) {
    let server = Link::start(driver);
    let proxy = Proxy::connect(&server.uri)
        .unwrap()
        .within(Duration::from_secs(20));
    let daemon = bind(driver, antifreeze::Config::default());
    let again = daemon.register("again", Again(proxy.clone())).unwrap();
    let _running = daemon.start().unwrap();
    let path = [again.to_string()];
    // Many calls are in flight over it, of several threads at a time.
    thread::scope(|scope| {
        for _ in 0..4 {
            let proxy = &proxy;
            let path = &path;
            scope.spawn(move || {
                let names: Vec<String> = proxy.call("pass_on", (path, 20)).unwrap();
                assert_eq!(names, [server_name(proxy), server_name(proxy)]);
            });
        }
    });
    assert_eq!(server.count("antifreeze_detector_verdicts_total"), 0);
}

fn server_name(proxy: &Proxy) -> String {
    proxy.uri().location().unwrap().to_string()
}

/// Of the test's own process: needs what the test holds.
struct Client(&'static Mutex<u32>);

#[expose]
impl Client {
    #[lock(none)]
    fn pass_on(&self, _path: Vec<String>, _hold_ms: u64) -> Result<Vec<String>, Failure> {
        *self.0.lock()? += 1;
        Ok(Vec::new())
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn s11_a_callback_wants_the_lock_that_its_caller_holds(driver: Driver) {
    let till: &'static Mutex<u32> = Box::leak(Box::new(Mutex::named("till", 0)));
    let daemon = bind(driver, antifreeze::Config::default());
    let uri = daemon.register("client", Client(till)).unwrap().to_string();
    let place = daemon.location().to_string();
    let _running = daemon.start().unwrap();
    let server = Link::start(driver);
    let call = || {
        let proxy = Proxy::connect(&server.uri)
            .unwrap()
            .within(Duration::from_secs(20));
        proxy.call::<Vec<String>>("hop", ([format!("pass_on {uri}")], 0))
    };
    let held = till.lock().unwrap();
    let error = call().unwrap_err();
    drop(held);
    let words = [
        "wait for what it holds itself",
        "Mutex<u32> \"till\"",
        "call \"client.pass_on\"",
        "call \"node.hop\"",
        "acquired at crates/antifreeze/tests/processes/scenarios.rs",
        &place,
        server.place(),
    ];
    check(&error, &words);
    call().unwrap();
    assert_eq!(*till.lock().unwrap(), 1);
}

fn s18_waits_that_never_are_at_the_same_time_are_no_deadlock(driver: Driver) {
    let links = [(); 3].map(|()| Link::start(driver));
    let [a, b, c] = links.each_ref();
    // All in the same order, held for about as long as it takes to begin a check.
    let paths: [&[Step<'_>]; 6] = [
        &[(a, "hop"), (b, "hop"), (c, "hop")],
        &[(a, "hop"), (c, "hop_lock")],
        &[(b, "peek"), (c, "hop")],
        &[(a, "peek"), (b, "peek"), (c, "peek")],
        &[(b, "hop_lock"), (c, "hop_lock")],
        &[(a, "hop"), (b, "hop_lock")],
    ];
    for hold in [0, 3, 10, 12, 20, 40] {
        for ended in go_all(&paths, hold) {
            ended.unwrap();
        }
    }
    // Those who wait too long give up, and so what they held is free before it is looked again.
    for wait in [5, 10, 11, 13, 20, 50] {
        let holds = |link: &Link| Proxy::connect(&link.uri).unwrap();
        thread::scope(|scope| {
            let long = scope.spawn(|| go(&[(b, "hop"), (c, "hop")], 60));
            let short = holds(a).within(Duration::from_millis(wait));
            let next = [format!("hop {}", b.uri)];
            let late = short.call::<Vec<String>>("hop", (&next[..], 0));
            assert!(late.is_ok() || late.is_err_and(|error| error.kind() == ErrorKind::Timeout));
            long.join().unwrap().unwrap();
        });
    }
    for link in &links {
        assert_eq!(link.count("antifreeze_detector_verdicts_total"), 0);
    }
}

fn s18_a_victim_that_is_in_two_cycles_is_enough(driver: Driver) {
    let links = [(); 3].map(|()| Link::start(driver));
    let [a, b, c] = links.each_ref();
    // The first waits for both of those who read `a`, and each of them for something that it has.
    let first: &[Step<'_>] = &[(b, "hop"), (c, "hop"), (a, "hop")];
    let readers: [&[Step<'_>]; 2] = [&[(a, "peek"), (b, "hop")], &[(a, "peek"), (c, "hop")]];
    let ended = thread::scope(|scope| {
        let first = scope.spawn(|| go(first, HOLD));
        // They go on when it has both of its objects.
        let others = go_all(&readers, 5 * HOLD / 2);
        let mut ended = vec![first.join().unwrap()];
        ended.extend(others);
        ended
    });
    let victims: Vec<_> = ended
        .iter()
        .filter_map(|ended| ended.as_ref().err())
        .collect();
    assert!(matches!(victims.len(), 1 | 2), "{victims:?}");
    for victim in &victims {
        check(victim, &["wait for each other", "call \"node.", a.place()]);
    }
    // If the first does not fail, which is in both, each of the others has to. Who looks when only one
    // of the cycles was there may choose another one than who looks a moment later.
    assert!(ended[0].is_err() || victims.len() == 2, "{ended:?}");
    let verdicts = links
        .iter()
        .map(|link| link.count("antifreeze_detector_accepted_total"));
    assert_eq!(verdicts.sum::<u64>(), victims.len() as u64);
}

fn s22_a_caller_that_is_killed_leaves_the_queue_or_lets_go(driver: Driver) {
    let (mut caller, callee) = (Link::start(driver), Link::start(driver));
    thread::scope(|scope| {
        // While its call waits: it never gets to run.
        let holder = scope.spawn(|| go(&[(&callee, "hop")], 4 * HOLD));
        thread::sleep(Duration::from_millis(HOLD));
        let uris = (caller.uri.clone(), callee.uri.clone());
        let lost = scope.spawn(move || {
            let caller = Proxy::connect(&uris.0).unwrap();
            let path = [format!("hop {}", uris.1)];
            caller.call::<Vec<String>>("hop", (&path[..], 0))
        });
        let waiting = || callee.count("antifreeze_detector_checks_total");
        let _ = waiting();
        thread::sleep(Duration::from_millis(HOLD));
        caller.process.kill();
        assert!(lost.join().unwrap().is_err());
        holder.join().unwrap().unwrap();
        assert_eq!(go(&[(&callee, "hop")], 0).unwrap().len(), 1);
    });
    // While its call runs: that finishes, and lets go.
    let mut caller = Link::start(driver);
    thread::scope(|scope| {
        let uri = caller.uri.clone();
        let path = [format!("hop {}", callee.uri)];
        let lost = scope.spawn(move || {
            let caller = Proxy::connect(&uri).unwrap();
            caller.call::<Vec<String>>("hop", (&path[..], 2 * HOLD))
        });
        thread::sleep(Duration::from_millis(3 * HOLD));
        caller.process.kill();
        assert!(lost.join().unwrap().is_err());
        until("the object is free", || go(&[(&callee, "hop")], 0).is_ok());
    });
    assert_eq!(callee.count("antifreeze_detector_verdicts_total"), 0);
}

fn s25_large_messages_in_both_directions_at_once(driver: Driver) {
    let (a, b) = (Link::start(driver), Link::start(driver));
    let size = 16 << 20;
    thread::scope(|scope| {
        let send = |from: &Link, to: &Link| {
            let (from, to) = (from.uri.clone(), to.uri.clone());
            scope.spawn(move || {
                let proxy = Proxy::connect(&from)
                    .unwrap()
                    .within(Duration::from_secs(60));
                proxy.call::<usize>("swap", (to, size, 4))
            })
        };
        let sent = [send(&a, &b), send(&b, &a), send(&a, &b), send(&b, &a)];
        for sent in sent {
            assert_eq!(sent.join().unwrap().unwrap(), 4 * size);
        }
    });
    for link in [&a, &b] {
        assert_eq!(link.count("antifreeze_detector_verdicts_total"), 0);
    }
}

crate::on_both_drivers!(
    s03_two_chains_cross_over_two_nodes,
    s05_all_workers_of_a_pool_wait_for_one,
    s10_a_proxy_is_used_by_what_was_called_over_it,
    s11_a_callback_wants_the_lock_that_its_caller_holds,
    s18_waits_that_never_are_at_the_same_time_are_no_deadlock,
    s18_a_victim_that_is_in_two_cycles_is_enough,
    s22_a_caller_that_is_killed_leaves_the_queue_or_lets_go,
    s25_large_messages_in_both_directions_at_once,
);
