//! Several calls in flight on one connection, between programs of ours.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{Bytes, Config, Error, ErrorKind, InstanceMode, Proxy, Sent, call, expose};
use antifreeze_proto::{Flags, Kind};
use antifreeze_testkit::{Peer, RawMessage};
use common::gate::{Gate, Served, until};
use common::{Driver, SOON, config};

on_both_drivers! {
    calls_of_one_connection_run_at_the_same_time,
    a_call_that_waits_for_its_object_holds_nobody_back,
    calls_beyond_the_workers_wait_for_one,
    every_call_has_an_answer_of_its_own,
    oneways_run_in_order_and_before_what_follows_them,
    oneways_hold_back_what_follows_and_not_what_came_before,
    all_answers_come_after_the_end_of_the_questions,
    a_lost_caller_takes_its_calls_out_of_the_queue,
    a_lost_caller_of_a_class_leaves_the_queue_too,
    a_lost_caller_of_a_batch_leaves_the_queue_whatever_it_waits_for,
    a_cooperative_object_that_is_blocked_keeps_nobody_for_ever,
    what_is_not_begun_by_the_deadline_is_dropped,
    a_batch_ends_at_the_deadline,
    a_method_knows_the_deadline_of_its_caller,
    a_daemon_that_closes_lets_all_calls_finish,
    a_daemon_that_closes_tells_those_that_wait,
    a_call_that_comes_while_the_daemon_ends_was_not_executed,
    a_stock_peer_has_one_call_at_a_time,
    a_daemon_may_be_told_to_take_one_at_a_time,
    threads_that_share_a_proxy_call_at_the_same_time,
    each_thread_gets_its_own_answers,
    oneways_of_a_thread_come_before_its_next_call,
    the_deadline_of_one_call_is_none_of_the_others,
    calls_beyond_what_the_daemon_takes_wait_for_room,
}

const NONCE: [u8; 16] = [3; 16];

/// A peer that has told the daemon that it can have so many calls in flight.
fn native(served: &Served, calls: u16) -> Peer {
    let mut peer = Peer::connect(served.address()).patience(SOON);
    peer.send_message(&RawMessage::connect("thing").hello(NONCE, calls));
    let welcome = peer.expect_message();
    assert_eq!(welcome.known_kind(), Some(Kind::ConnectOk));
    assert!(
        contains(&welcome.annotations, &NONCE),
        "the nonce comes back"
    );
    peer
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn invoke(seq: u16, object: &str, method: &str, args: &str) -> RawMessage {
    let call = format!("# serpent utf-8 python3.2\n('{object}','{method}',({args}),{{}})");
    RawMessage::invoke(seq, call)
}

/// The numbers of the next answers, none of which is an exception.
#[track_caller]
fn answered(peer: &mut Peer, count: usize) -> Vec<u16> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        let answer = peer.expect_message();
        assert_eq!(answer.flags & Flags::EXCEPTION.0, 0, "{answer:?}");
        seqs.push(answer.seq);
    }
    seqs
}

/// The number and the text of the next answer, which is an exception.
#[track_caller]
fn raised(peer: &mut Peer) -> (u16, String) {
    let answer = peer.expect_message();
    assert_ne!(answer.flags & Flags::EXCEPTION.0, 0, "{answer:?}");
    (answer.seq, String::from_utf8(answer.payload).unwrap())
}

fn sorted(mut seqs: Vec<u16>) -> Vec<u16> {
    seqs.sort_unstable();
    seqs
}

/// The value of the object, asked for on a connection of its own.
fn value(served: &Served) -> i64 {
    served.proxy("thing").call("value", ()).unwrap()
}

fn calls_of_one_connection_run_at_the_same_time(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 8);
    // Both that come together and one after the other.
    peer.send(
        &[
            invoke(1, "thing", "look", "").encode(),
            invoke(2, "thing", "look", "").encode(),
        ]
        .concat(),
    );
    served.gate.until_inside(2);
    peer.send_message(&invoke(3, "thing", "look", ""));
    served.gate.until_inside(3);
    for seq in [4, 5] {
        peer.send_message(&invoke(seq, "thing", "value", ""));
        assert_eq!(answered(&mut peer, 1), [seq]);
    }
    peer.send_message(&RawMessage::ping());
    assert_eq!(peer.expect_message().known_kind(), Some(Kind::Ping));
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 3)), [1, 2, 3]);
}

fn a_call_that_waits_for_its_object_holds_nobody_back(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "hold", ""));
    served.gate.until_inside(1);
    peer.send_message(&invoke(2, "thing", "add", "5,"));
    peer.send_message(&invoke(3, "other", "add", "5,"));
    peer.send_message(&invoke(4, "thing", "value", ""));
    peer.send_message(&invoke(5, "other", "value", ""));
    assert_eq!(sorted(answered(&mut peer, 2)), [3, 5]);
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 3)), [1, 2, 4]);
    assert_eq!(value(&served), 5);
}

fn calls_beyond_the_workers_wait_for_one(driver: Driver) {
    let served = Served::new(driver, config(|config| config.workers = 2));
    let mut peer = native(&served, 8);
    for seq in 1..7 {
        peer.send_message(&invoke(seq, "thing", "look", ""));
    }
    served.gate.until_inside(2);
    // The connection is still heard.
    peer.send_message(&RawMessage::ping());
    assert_eq!(peer.expect_message().known_kind(), Some(Kind::Ping));
    peer.send_message(&invoke(7, "thing", "quick", ""));
    assert_eq!(answered(&mut peer, 1), [7]);
    assert_eq!(served.gate.inside(), 2);
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 6)), [1, 2, 3, 4, 5, 6]);
}

fn every_call_has_an_answer_of_its_own(driver: Driver) {
    const ROUNDS: usize = 100;
    const CALLS: u16 = 64;
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, CALLS);
    let mut sums = BTreeSet::new();
    for round in 0..ROUNDS {
        let calls = (0..CALLS).map(|seq| invoke(seq, "thing", "add", "1,").encode());
        let calls: Vec<_> = calls.collect();
        if round % 2 == 0 {
            peer.send(&calls.concat());
        } else {
            calls.iter().for_each(|call| peer.send(call));
        }
        let mut seqs = BTreeSet::new();
        for _ in 0..CALLS {
            let answer = peer.expect_message();
            assert!(seqs.insert(answer.seq), "a second answer to {}", answer.seq);
            let text = String::from_utf8(answer.payload).unwrap();
            sums.insert(text.lines().last().unwrap().parse::<usize>().unwrap());
        }
    }
    // Each addition has run once and told another sum.
    assert!(sums.into_iter().eq(1..=ROUNDS * usize::from(CALLS)));
}

fn oneways_run_in_order_and_before_what_follows_them(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 64);
    let mut bytes = Vec::new();
    for seq in 1..=60 {
        let oneway = invoke(100 + seq, "thing", "add_later", "1,").flags(Flags::ONEWAY);
        bytes.extend(oneway.encode());
        bytes.extend(invoke(seq, "thing", "value", "").encode());
    }
    peer.send(&bytes);
    for _ in 1..=60 {
        let answer = peer.expect_message();
        let text = String::from_utf8(answer.payload).unwrap();
        let value: u16 = text.lines().last().unwrap().parse().unwrap();
        assert!(value >= answer.seq, "{value} after {} oneways", answer.seq);
    }
}

fn oneways_hold_back_what_follows_and_not_what_came_before(driver: Driver) {
    let add = "# serpent utf-8 python3.2\n('thing','add_later',(1,),{})";
    let batch = "# serpent utf-8 python3.2\n('thing','<batch>',[('add',(1,),{})],{})";
    for (count, call, flags) in [(70, add, Flags::NONE), (1, batch, Flags::BATCH)] {
        let served = Served::new(driver, Config::default());
        let late = Arc::new(Gate::default());
        let daemon = served.running.daemon();
        daemon.register("late", Fresh(Arc::clone(&late))).unwrap();
        let mut other = native(&served, 2);
        other.send_message(&invoke(1, "thing", "hold", ""));
        served.gate.until_inside(1);

        let mut peer = native(&served, 8);
        peer.send_message(&invoke(1, "late", "look", ""));
        late.until_inside(1);
        for seq in 0..count {
            let oneway = RawMessage::invoke(100 + seq, call);
            peer.send_message(&oneway.flags(Flags::ONEWAY | flags));
        }
        peer.send_message(&invoke(2, "other", "value", ""));
        peer.expect_silence(Duration::from_millis(20));
        late.open();
        assert_eq!(answered(&mut peer, 1), [1]);
        peer.expect_silence(Duration::from_millis(20));
        served.gate.open();
        assert_eq!(answered(&mut peer, 1), [2]);
        assert_eq!(answered(&mut other, 1), [1]);
        assert_eq!(value(&served), i64::from(count));
    }
}

fn all_answers_come_after_the_end_of_the_questions(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "look", ""));
    served.gate.until_inside(2);
    peer.shutdown_write();
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 2)), [1, 2]);
    peer.expect_eof();
}

fn a_lost_caller_takes_its_calls_out_of_the_queue(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut other = native(&served, 2);
    other.send_message(&invoke(1, "thing", "hold", ""));
    served.gate.until_inside(1);
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "add", "5,"));
    peer.send_message(&invoke(2, "thing", "add", "7,"));
    // They have taken their places when what comes after them is answered.
    peer.send_message(&invoke(3, "other", "value", ""));
    assert_eq!(answered(&mut peer, 1), [3]);
    peer.reset();
    // One that was not let in shows when those two are gone: it is behind them.
    let behind = RefCell::new(native(&served, 2));
    until("the lost calls leave", || {
        let mut behind = behind.borrow_mut();
        behind.send_message(&invoke(1, "thing", "add", "1,").millis_left(1));
        raised(&mut behind).1.contains(": 1 calls queued")
    });
    served.gate.open();
    assert_eq!(answered(&mut other, 1), [1]);
    assert_eq!(value(&served), 0);
}

/// Each call has an object of its own, which is made on a thread that may block.
fn a_lost_caller_of_a_class_leaves_the_queue_too(driver: Driver) {
    let served = Served::new(driver, config(|config| config.workers = 1));
    let gate = Arc::clone(&served.gate);
    let made = move || Ok::<_, Infallible>(Fresh(Arc::clone(&gate)));
    let daemon = served.running.daemon();
    daemon
        .register_class("fresh", InstanceMode::PerCall, made)
        .unwrap();
    let mut other = native(&served, 2);
    other.send_message(&invoke(1, "thing", "look", ""));
    served.gate.until_inside(1);
    let behind = RefCell::new(native(&served, 2));
    let until_queued = |count: &str| {
        until(count, || {
            let mut behind = behind.borrow_mut();
            behind.send_message(&invoke(1, "thing", "value", "").millis_left(1));
            raised(&mut behind).1.contains(count)
        });
    };
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "fresh", "look", ""));
    until_queued(": 2 calls queued");
    peer.reset();
    until_queued(": 1 calls queued");
    served.gate.open();
    assert_eq!(answered(&mut other, 1), [1]);
}

/// Its second item waits when it is lost.
fn a_lost_caller_of_a_batch_leaves_the_queue_whatever_it_waits_for(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let behind = RefCell::new(native(&served, 2));
    let until_queued = |count: &str| {
        until(count, || {
            let mut behind = behind.borrow_mut();
            behind.send_message(&invoke(1, "thing", "add", "0,").millis_left(1));
            let answer = behind.expect_message().payload;
            contains(&answer, count.as_bytes())
        });
    };
    let [mut first, mut second, mut peer] = [(); 3].map(|()| native(&served, 2));
    first.send_message(&invoke(1, "thing", "linger", ""));
    until_queued(": 1 calls queued");
    let items = "[('add',(1,),{}),('add',(2,),{}),('add',(4,),{})]";
    let call = format!("# serpent utf-8 python3.2\n('thing','<batch>',{items},{{}})");
    peer.send_message(&RawMessage::invoke(1, call).flags(Flags::BATCH));
    until_queued(": 2 calls queued");
    second.send_message(&invoke(1, "thing", "hold", ""));
    until_queued(": 3 calls queued");
    // Now the first item runs, and the second one waits for whoever came before it.
    first.reset();
    served.gate.until_inside(1);
    until_queued(": 2 calls queued");
    peer.reset();
    until_queued(": 1 calls queued");
    served.gate.open();
    assert_eq!(answered(&mut second, 1), [1]);
    assert_eq!(value(&served), 1);
}

/// Made anew for each call.
struct Fresh(Arc<Gate>);

#[expose]
impl Fresh {
    fn look(&self) {
        self.0.pass();
    }
}

fn what_is_not_begun_by_the_deadline_is_dropped(driver: Driver) {
    let served = Served::new(driver, config(|config| config.workers = 1));
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "add", "5,").millis_left(0));
    let (seq, error) = raised(&mut peer);
    assert_eq!(seq, 1);
    assert!(error.contains("TimeoutError"), "{error}");
    assert!(
        error.contains("the time of the caller was over before the call began"),
        "{error}"
    );

    peer.send_message(&invoke(2, "thing", "hold", ""));
    served.gate.until_inside(1);
    // One waits for the object, and one for a worker.
    for (seq, object, reason) in [
        (
            3,
            "thing",
            "object thing is busy: 1 calls queued, waited 0.0 s",
        ),
        (
            4,
            "other",
            "all workers of the daemon are busy: 1 calls queued, waited 0.0 s",
        ),
    ] {
        let begun = Instant::now();
        peer.send_message(&invoke(seq, object, "add", "5,").millis_left(30));
        let (answered, error) = raised(&mut peer);
        assert_eq!(answered, seq);
        assert!(
            error.contains("TimeoutError") && error.contains(reason),
            "{error}"
        );
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
    served.gate.open();
    assert_eq!(answered(&mut peer, 1), [2]);
    assert_eq!(value(&served), 0);
}

fn a_batch_ends_at_the_deadline(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "hold", ""));
    served.gate.until_inside(1);
    let items = "[('add',(1,),{}),('add',(1,),{})]";
    let call = format!("# serpent utf-8 python3.2\n('thing','<batch>',{items},{{}})");
    let batch = RawMessage::invoke(2, call).flags(Flags::BATCH);
    peer.send_message(&batch.millis_left(20));
    let answer = peer.expect_message();
    let text = String::from_utf8(answer.payload).unwrap();
    assert!(answer.seq == 2 && text.contains("TimeoutError"), "{text}");
    served.gate.open();
    assert_eq!(answered(&mut peer, 1), [1]);
    assert_eq!(value(&served), 0);
}

struct Clock;

#[expose]
impl Clock {
    /// How many milliseconds the caller has left.
    fn left(&self) -> Option<u128> {
        let at = call::deadline()?;
        Some(at.saturating_duration_since(Instant::now()).as_millis())
    }
}

fn a_method_knows_the_deadline_of_its_caller(driver: Driver) {
    let served = Served::new(driver, Config::default());
    served.running.daemon().register("clock", Clock).unwrap();
    let check = |message: RawMessage, least: u128, most: u128| {
        let mut peer = native(&served, 8);
        peer.send_message(&message);
        let text = String::from_utf8(peer.expect_message().payload).unwrap();
        let left: u128 = text.lines().last().unwrap().parse().unwrap_or(0);
        assert!((least..=most).contains(&left), "{text}");
    };
    check(invoke(1, "clock", "left", ""), 0, 0);
    check(
        invoke(1, "clock", "left", "").millis_left(3_600_000),
        3_500_000,
        3_600_000,
    );
    // A Pyro peer may hand on one that is stale.
    let mut stock = served.peer();
    stock.send_message(&invoke(1, "clock", "left", "").millis_left(0));
    let answer = stock.expect_message();
    assert!(answer.payload.ends_with(b"None"), "{answer:?}");
}

/// A cooperative object that blocks its thread, as none should.
struct Stubborn(Arc<Gate>);

#[expose(local)]
impl Stubborn {
    fn block(&self) {
        self.0.pass();
    }

    fn value(&self) -> u64 {
        0
    }
}

/// Its thread takes no calls, so they have not even begun to wait when their time is over.
fn a_cooperative_object_that_is_blocked_keeps_nobody_for_ever(driver: Driver) {
    let config = config(|config| config.queue_timeout = Duration::from_millis(30));
    let served = Served::new(driver, config);
    let gate = Arc::clone(&served.gate);
    let daemon = served.running.daemon();
    daemon
        .register_local("stubborn", move || Stubborn(gate))
        .unwrap();
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "stubborn", "block", ""));
    peer.send_message(&invoke(2, "thing", "hold", ""));
    served.gate.until_inside(2);
    peer.send_message(&invoke(3, "stubborn", "value", ""));
    for seq in [4, 5] {
        // When their time is over, so is that of the one before them.
        peer.send_message(&invoke(seq, "thing", "value", ""));
        assert_eq!(raised(&mut peer).0, seq);
    }
    served.gate.open();
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let answer = peer.expect_message();
        let which = match answer.flags & Flags::EXCEPTION.0 {
            0 => &mut answers,
            _ => &mut errors,
        };
        which.push(answer.seq);
    }
    assert_eq!((sorted(answers), errors), (vec![1, 2], vec![3]));
}

fn a_daemon_that_closes_lets_all_calls_finish(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "look", ""));
    served.gate.until_inside(2);
    served.running.daemon().handle().shutdown();
    until("the daemon takes nobody any more", || {
        std::net::TcpStream::connect(served.address()).is_err()
    });
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 2)), [1, 2]);
    peer.expect_eof();
}

fn a_daemon_that_closes_tells_those_that_wait(driver: Driver) {
    let served = Served::new(
        driver,
        config(|config| config.drain_timeout = Duration::from_millis(20)),
    );
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "hold", ""));
    served.gate.until_inside(1);
    peer.send_message(&invoke(2, "thing", "add", "5,"));
    peer.send_message(&invoke(3, "thing", "add_async", "5,"));
    peer.send_message(&invoke(4, "other", "linger", ""));
    peer.send_message(&invoke(5, "other", "value", ""));
    assert_eq!(answered(&mut peer, 1), [5]);
    let stock = ["add", "add_async"].map(|method| {
        let mut peer = served.peer();
        peer.send_message(&invoke(9, "thing", method, "5,"));
        // So that it waits before the daemon closes.
        peer.expect_silence(Duration::from_millis(20));
        peer
    });
    served.running.daemon().handle().shutdown();
    let check = |(seq, error): (u16, String)| {
        let told = error.contains("DaemonError") && error.contains("the daemon is shutting down");
        assert!(told, "{seq}: {error}");
        seq
    };
    let told = (0..3).map(|_| check(raised(&mut peer))).collect();
    assert_eq!(sorted(told), [2, 3, 4]);
    for mut peer in stock {
        check(raised(&mut peer));
    }
}

/// Calls until that fails, beside a call that is waited for while the daemon ends.
fn a_call_that_comes_while_the_daemon_ends_was_not_executed(driver: Driver) {
    let check = |served: &Served, count: &mut dyn FnMut() -> Result<usize, Error>| {
        served.running.daemon().handle().shutdown();
        let mut counted = 0;
        let error = loop {
            match count() {
                Ok(before) => assert_eq!(before, counted),
                Err(error) => break error,
            }
            counted += 1;
        };
        assert_eq!(error.sent(), Sent::No, "{error:?}");
        assert_eq!(served.gate.calls(), counted);
        served.gate.open();
    };
    let patience = config(|c| c.reconnect_window = Duration::ZERO);

    let served = Served::new(driver, Config::default());
    let proxy = Proxy::builder(served.uri("thing")).unwrap();
    let proxy = proxy.config(patience.clone()).connect().unwrap();
    thread::scope(|scope| {
        let looking = scope.spawn(|| proxy.call::<()>("look", ()));
        served.gate.until_inside(1);
        check(&served, &mut || proxy.call("count", ()));
        looking.join().unwrap().expect("that one is answered");
    });

    let served = Served::new(driver, Config::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = antifreeze::tokio::Proxy::builder(served.uri("thing")).unwrap();
    let proxy = runtime.block_on(proxy.config(patience).connect()).unwrap();
    let looking = proxy.clone();
    let looking = runtime.spawn(async move { looking.call::<()>("look", ()).await });
    served.gate.until_inside(1);
    check(&served, &mut || runtime.block_on(proxy.call("count", ())));
    let looked = runtime.block_on(looking).unwrap();
    looked.expect("that one is answered");
}

fn a_stock_peer_has_one_call_at_a_time(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let mut peer = served.peer();
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "look", ""));
    served.gate.until_inside(1);
    peer.expect_silence(Duration::from_millis(30));
    assert_eq!(served.gate.inside(), 1);
    served.gate.open();
    assert_eq!(answered(&mut peer, 2), [1, 2]);
}

fn a_daemon_may_be_told_to_take_one_at_a_time(driver: Driver) {
    let config = config(|config| config.calls_per_connection = 1);
    let served = Served::new(driver, config);
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "value", ""));
    served.gate.until_inside(1);
    peer.expect_silence(Duration::from_millis(30));
    served.gate.open();
    assert_eq!(answered(&mut peer, 2), [1, 2]);
}

// The proxy.

/// Runs `f` on so many threads at the same time, with the number of each.
fn on_threads<R: Send>(count: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let f = &f;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || f(n))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}

fn threads_that_share_a_proxy_call_at_the_same_time(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let proxy = served.proxy("thing");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| proxy.call::<()>("look", ()).unwrap());
        }
        served.gate.until_inside(4);
        for _ in 0..10 {
            assert_eq!(proxy.call::<i64>("value", ()).unwrap(), 0);
        }
        served.gate.open();
    });
}

fn each_thread_gets_its_own_answers(driver: Driver) {
    const CALLS: usize = 300;
    let served = Served::new(driver, Config::default());
    let proxy = served.proxy("thing");
    let sums = on_threads(16, |n| {
        let mut sums = Vec::new();
        for round in 0..CALLS {
            let text = format!("{n} {round}");
            let echoed: Bytes = proxy.call("echo", (Bytes::from(text.clone()),)).unwrap();
            assert_eq!(echoed, text);
            sums.push(proxy.call::<usize>("add", (1,)).unwrap());
            if round % 50 == n {
                proxy.ping().unwrap();
            }
        }
        assert!(sums.is_sorted(), "one thread's calls run in order");
        sums
    });
    let sums: BTreeSet<_> = sums.into_iter().flatten().collect();
    assert!(sums.into_iter().eq(1..=16 * CALLS));
}

fn oneways_of_a_thread_come_before_its_next_call(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let proxy = served.proxy("thing");
    on_threads(4, |_| {
        for _ in 0..50 {
            let before: i64 = proxy.call("value", ()).unwrap();
            proxy.oneway("add_later", (1,)).unwrap();
            assert!(proxy.call::<i64>("value", ()).unwrap() > before);
        }
    });
    assert_eq!(value(&served), 200);
}

fn the_deadline_of_one_call_is_none_of_the_others(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let proxy = served.proxy("thing");
    let at_gate = || proxy.call::<()>("look", ());
    thread::scope(|scope| {
        let patient = scope.spawn(at_gate);
        served.gate.until_inside(1);
        // Whether it leads or not.
        for _ in 0..3 {
            let hasty = proxy.within(Duration::from_millis(20));
            let error = hasty.call::<()>("look", ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert_eq!(error.sent(), Sent::Maybe);
        }
        assert_eq!(proxy.call::<i64>("quick", ()).unwrap(), 0);
        served.gate.open();
        patient.join().unwrap().unwrap();
    });
}

fn calls_beyond_what_the_daemon_takes_wait_for_room(driver: Driver) {
    let config = config(|config| config.calls_per_connection = 2);
    let served = Served::new(driver, config);
    let proxy = served.proxy("thing");
    thread::scope(|scope| {
        let calls: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| proxy.call::<()>("look", ())))
            .collect();
        served.gate.until_inside(2);
        let hasty = proxy.within(Duration::from_millis(20));
        let error = hasty.call::<i64>("value", ()).unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
        assert_eq!(served.gate.inside(), 2);
        served.gate.open();
        for call in calls {
            call.join().unwrap().unwrap();
        }
    });
    assert_eq!(proxy.call::<i64>("value", ()).unwrap(), 0);
}

/// Lets a client in as a daemon that takes so many calls at once; gives its peer.
fn accept(listener: &TcpListener, calls: u16) -> Peer {
    let mut peer = Peer::accept(listener).patience(SOON);
    let connect = peer.expect_message();
    let at = connect.annotations.windows(4).position(|id| id == b"AFNH");
    let nonce = at.expect("it offers to take several calls") + 8 + 12;
    let nonce = connect.annotations[nonce..nonce + 16].try_into().unwrap();
    let welcome = "# serpent utf-8 python3.2\n{'handshake':'hello','meta':{'methods':('f',),'oneway':(),'attrs':()}}";
    peer.send_message(&RawMessage::new(Kind::ConnectOk, welcome).hello(nonce, calls));
    peer
}

fn result(seq: u16, value: &str) -> RawMessage {
    RawMessage::result(seq, format!("# serpent utf-8 python3.2\n{value}"))
}

#[test]
fn a_lost_connection_ends_the_calls_that_are_out() {
    let (listener, address) = Peer::listen();
    let proxy = Proxy::new(format!("PYRO:obj@{address}"))
        .unwrap()
        .within(SOON);
    let daemon = thread::spawn(move || {
        let mut peer = accept(&listener, 8);
        let seqs = [(); 3].map(|()| peer.expect_message().seq);
        // The last one is answered, and the others are not.
        peer.send_message(&result(seqs[2], "7"));
        drop(peer);
        let mut peer = accept(&listener, 8);
        let seq = peer.expect_message().seq;
        peer.send_message(&result(seq, "8"));
        peer.expect_eof();
    });
    let results = on_threads(3, |_| proxy.call::<i64>("f", ()));
    let (answered, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((answered.len(), lost.len()), (1, 2));
    for result in lost {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, Sent::Maybe)
        );
    }
    assert_eq!(proxy.call::<i64>("f", ()).unwrap(), 8);
    proxy.release();
    daemon.join().unwrap();
}

#[test]
fn an_answer_that_comes_too_late_reaches_nobody() {
    let (listener, address) = Peer::listen();
    let proxy = Proxy::new(format!("PYRO:obj@{address}"))
        .unwrap()
        .within(SOON);
    let (late, told) = mpsc::channel();
    let daemon = thread::spawn(move || {
        let mut peer = accept(&listener, 8);
        let call = peer.expect_message();
        assert!(
            contains(&call.annotations, b"AFCK"),
            "its deadline goes with it"
        );
        told.recv().unwrap();
        // Whether we are there is asked, because the call was not answered.
        assert_eq!(peer.expect_message().known_kind(), Some(Kind::Ping));
        peer.send_message(&RawMessage::ping());
        peer.send_message(&result(call.seq, "1"));
        let call = peer.expect_message();
        peer.send_message(&result(call.seq, "2"));
        peer.expect_eof();
    });
    // Connecting shall not take up the time of the call.
    proxy.bind().unwrap();
    let error = proxy
        .within(Duration::from_millis(20))
        .call::<i64>("f", ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    late.send(()).unwrap();
    assert_eq!(proxy.call::<i64>("f", ()).unwrap(), 2);
    proxy.release();
    daemon.join().unwrap();
}

#[test]
fn a_oneway_that_cannot_be_written_in_time_costs_the_others_nothing() {
    let (listener, address) = Peer::listen();
    let proxy = Proxy::new(format!("PYRO:obj@{address}"))
        .unwrap()
        .within(SOON);
    let (late, told) = mpsc::channel();
    let daemon = thread::spawn(move || {
        let mut peer = accept(&listener, 8);
        told.recv().unwrap();
        loop {
            let call = peer.expect_message();
            if call.flags & Flags::ONEWAY.0 == 0 {
                break peer.send_message(&result(call.seq, "7"));
            }
        }
        peer.expect_eof();
    });
    thread::scope(|scope| {
        let large = scope.spawn(|| proxy.call::<i64>("f", ("x".repeat(32 << 20),)));
        // Some may be written before the large call is begun.
        let hasty = proxy.within(Duration::from_millis(20));
        let error = loop {
            if let Err(error) = hasty.oneway("f", ()) {
                break error;
            }
        };
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
        late.send(()).unwrap();
        assert_eq!(large.join().unwrap().unwrap(), 7);
    });
    proxy.release();
    daemon.join().unwrap();
}
