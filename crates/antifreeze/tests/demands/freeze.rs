//! Peers that say nothing, or not enough, or too slowly, cost nobody else anything.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::Proxy;
use antifreeze_proto::Flags;
use antifreeze_testkit::RawMessage;

use crate::common::gate::Served;
use crate::common::{Driver, SOON, config, is_full, percentile};

crate::on_both_drivers! {
    silent_and_slow_peers_delay_nobody,
    a_pool_full_of_sleeping_methods_leaves_the_daemon_awake,
    callers_queued_at_one_object_delay_no_other,
    who_waits_too_long_is_told_what_for,
}

/// What nothing takes on a quiet machine; this one may be busy with other tests.
const BUSY: Duration = Duration::from_millis(100);

/// Calls, every tenth on a connection of its own; how long each took.
fn call_often(served: &Served, calls: usize) -> Vec<Duration> {
    let mut proxy = served.proxy("other");
    let end = Instant::now() + 2 * SOON;
    let call = |number| {
        let started = Instant::now();
        assert!(
            started < end,
            "only {number} of {calls} calls were made in time"
        );
        if number % 10 == 9 {
            proxy = served.proxy("other");
        }
        let answer: i64 = proxy.call("quick", ()).expect("every call is answered");
        assert_eq!(answer, 0);
        started.elapsed()
    };
    (0..calls).map(call).collect()
}

/// A socket over which bytes drip, until the test is over.
struct Drip {
    socket: TcpStream,
    bytes: Vec<u8>,
    next: usize,
}

impl Drip {
    /// One that never ends its CONNECT, or the message after it.
    fn new(served: &Served, shaken: bool) -> Self {
        let socket = TcpStream::connect(served.address()).unwrap();
        let mut endless = RawMessage::connect("thing");
        let mut bytes = Vec::new();
        if shaken {
            bytes = endless.encode();
            endless = RawMessage::invoke_method(1, "thing", "value");
        }
        endless.claimed_payload = Some(1 << 20);
        bytes.extend(endless.encode());
        let next = if shaken { bytes.len() / 2 } else { 0 };
        (&socket).write_all(&bytes[..next]).unwrap();
        Self {
            socket,
            bytes,
            next,
        }
    }

    /// Sends the next byte; a daemon may well have had enough of it.
    fn fall(&mut self) {
        let byte = self.bytes.get(self.next).unwrap_or(&0);
        self.next += 1;
        let _ = (&self.socket).write(&[*byte]);
    }
}

/// How many peers of each kind there are, and how many calls.
struct Crowd {
    silent: usize,
    halting: usize,
    dripping: usize,
    calls: usize,
}

fn silent_and_slow_peers_delay_nobody(driver: Driver) {
    let crowd = match is_full() {
        true => Crowd {
            silent: 1_000,
            halting: 100,
            dripping: 50,
            calls: 2_000,
        },
        false => Crowd {
            silent: 200,
            halting: 40,
            dripping: 20,
            calls: 500,
        },
    };
    // The fewer workers, the sooner would somebody who waits for a peer be missed.
    let served = Served::new(driver, config(|c| c.workers = 2));
    let quiet = call_often(&served, crowd.calls);

    let connect = |_| TcpStream::connect(served.address()).unwrap();
    let _silent: Vec<_> = (0..crowd.silent).map(connect).collect();
    let halting: Vec<_> = (0..crowd.halting).map(connect).collect();
    for mut socket in &halting {
        socket
            .write_all(&RawMessage::connect("thing").encode()[..20])
            .unwrap();
    }
    let mut drips: Vec<_> = (0..crowd.dripping)
        .map(|n| Drip::new(&served, n % 2 == 0))
        .collect();
    let over = AtomicBool::new(false);
    let loud = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drips.iter_mut().for_each(Drip::fall);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let loud = call_often(&served, crowd.calls);
        over.store(true, Ordering::Relaxed);
        loud
    });
    let (quiet, loud) = (percentile(&quiet, 0.99), percentile(&loud, 0.99));
    println!("{driver:?}: p99 {quiet:?} quiet, {loud:?} with them");
    let limit = if is_full() {
        5 * quiet
    } else {
        (5 * quiet).max(BUSY)
    };
    assert!(loud < limit, "p99 {quiet:?} quiet, {loud:?} with them");
}

/// Answers must come as if nothing were the matter: half of them at once, and all of them soon.
#[track_caller]
fn check_prompt(what: &str, mut call: impl FnMut()) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        call();
        times.push(started.elapsed());
    }
    let (half, all) = (percentile(&times, 0.5), percentile(&times, 1.0));
    println!("{what}: p50 {half:?}, worst {all:?}");
    assert!(half < Duration::from_millis(50), "{what}: p50 {half:?}");
    assert!(all < Duration::from_secs(2), "{what}: worst {all:?}");
}

fn daemon_object(served: &Served) -> Proxy {
    served.proxy("Pyro.Daemon")
}

fn a_pool_full_of_sleeping_methods_leaves_the_daemon_awake(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 4));
    thread::scope(|scope| {
        for _ in 0..4 {
            let proxy = served.proxy("thing");
            scope.spawn(move || proxy.call::<()>("look", ()).unwrap());
        }
        served.gate.until_inside(4);
        let itself = daemon_object(&served);
        check_prompt("ping", || itself.call("ping", ()).unwrap());
        check_prompt("the ping message", || itself.ping().unwrap());
        check_prompt("metadata", || {
            itself
                .call::<antifreeze::Value>("get_metadata", ("thing",))
                .unwrap();
        });
        check_prompt("a newcomer", || drop(served.proxy("thing")));
        let other = served.proxy("other");
        check_prompt("another object", || {
            other.call::<i64>("quick", ()).unwrap();
        });

        // An ordinary method of another object waits for a worker, and is served in its turn.
        let late = scope.spawn(move || other.call::<i64>("add", (1,)).unwrap());
        itself.ping().unwrap();
        served.gate.open();
        assert_eq!(late.join().unwrap(), 1);
    });
}

fn callers_queued_at_one_object_delay_no_other(driver: Driver) {
    let callers = 200;
    let served = Served::new(driver, config(|c| c.workers = 4));
    thread::scope(|scope| {
        let holder = served.proxy("thing");
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.gate.until_inside(1);
        let waiting: Vec<_> = (0..callers)
            .map(|_| {
                let mut peer = served.peer();
                let add = b"# serpent utf-8 python3.2\n('thing','add',(1,),{})";
                peer.send_message(&RawMessage::invoke(1, add));
                peer
            })
            .collect();
        let itself = daemon_object(&served);
        check_prompt("ping", || itself.call("ping", ()).unwrap());
        check_prompt("metadata of the object", || {
            itself
                .call::<antifreeze::Value>("get_metadata", ("thing",))
                .unwrap();
        });
        check_prompt("a newcomer", || drop(served.proxy("thing")));
        let other = served.proxy("other");
        check_prompt("another object", || {
            other.call::<i64>("add", (1,)).unwrap();
        });
        served.gate.open();
        for mut peer in waiting {
            let answer = peer.expect_message();
            assert_eq!(answer.flags & Flags::EXCEPTION.0, 0, "{answer:?}");
        }
    });
    assert_eq!(
        served.proxy("thing").call::<i64>("value", ()).unwrap(),
        callers
    );
}

fn who_waits_too_long_is_told_what_for(driver: Driver) {
    let wait = Duration::from_millis(200);
    let served = Served::new(driver, config(|c| c.queue_timeout = wait));
    thread::scope(|scope| {
        let holder = served.proxy("thing");
        scope.spawn(move || holder.call::<()>("hold", ()).unwrap());
        served.gate.until_inside(1);
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let proxy = served.proxy("thing");
                scope.spawn(move || proxy.call::<i64>("add", (1,)).unwrap_err())
            })
            .collect();
        for error in waiting.into_iter().map(|call| call.join().unwrap()) {
            assert!(error.is_remote("builtins.TimeoutError"), "{error:?}");
            let text = error.remote().unwrap().message();
            let told = text.starts_with("object thing is busy: ");
            assert!(told && text.contains(" calls queued, waited 0.2"), "{text}");
        }
        served.gate.open();
    });
    assert_eq!(served.proxy("thing").call::<i64>("add", (1,)).unwrap(), 1);
}
