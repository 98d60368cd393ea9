//! Several calls in flight on one connection, between programs of ours.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use antifreeze::{Config, call, expose};
use antifreeze_proto::{Flags, Kind};
use antifreeze_testkit::{Peer, RawMessage};
use common::gate::{Served, until};
use common::{Driver, SOON, config};

const NONCE: [u8; 16] = [3; 16];

fn served(config: Config) -> Served {
    Served::new(Driver::Threads, config)
}

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

#[test]
fn calls_of_one_connection_run_at_the_same_time() {
    let served = served(Config::default());
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

#[test]
fn a_call_that_waits_for_its_object_holds_nobody_back() {
    let served = served(Config::default());
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

#[test]
fn calls_beyond_the_workers_wait_for_one() {
    let served = served(config(|config| config.workers = 2));
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

#[test]
fn every_call_has_an_answer_of_its_own() {
    const ROUNDS: usize = 100;
    const CALLS: u16 = 64;
    let served = served(Config::default());
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

#[test]
fn oneways_run_in_order_and_before_what_follows_them() {
    let served = served(Config::default());
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

#[test]
fn all_answers_come_after_the_end_of_the_questions() {
    let served = served(Config::default());
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "look", ""));
    served.gate.until_inside(2);
    peer.shutdown_write();
    served.gate.open();
    assert_eq!(sorted(answered(&mut peer, 2)), [1, 2]);
    peer.expect_eof();
}

#[test]
fn a_lost_caller_takes_its_calls_out_of_the_queue() {
    let served = served(Config::default());
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

#[test]
fn what_is_not_begun_by_the_deadline_is_dropped() {
    let served = served(config(|config| config.workers = 1));
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

#[test]
fn a_batch_ends_at_the_deadline() {
    let served = served(Config::default());
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

#[test]
fn a_method_knows_the_deadline_of_its_caller() {
    let served = served(Config::default());
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

#[test]
fn a_daemon_that_closes_lets_all_calls_finish() {
    let served = served(Config::default());
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

#[test]
fn a_daemon_that_closes_tells_those_that_wait() {
    let served = served(config(|config| {
        config.drain_timeout = Duration::from_millis(20)
    }));
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "hold", ""));
    served.gate.until_inside(1);
    peer.send_message(&invoke(2, "thing", "add", "5,"));
    peer.send_message(&invoke(3, "other", "value", ""));
    assert_eq!(answered(&mut peer, 1), [3]);
    served.running.daemon().handle().shutdown();
    let (seq, error) = raised(&mut peer);
    assert!(seq == 2 && error.contains("TimeoutError"), "{error}");
}

#[test]
fn a_stock_peer_has_one_call_at_a_time() {
    let served = served(Config::default());
    let mut peer = served.peer();
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "look", ""));
    served.gate.until_inside(1);
    peer.expect_silence(Duration::from_millis(30));
    assert_eq!(served.gate.inside(), 1);
    served.gate.open();
    assert_eq!(answered(&mut peer, 2), [1, 2]);
}

#[test]
fn a_daemon_may_be_told_to_take_one_at_a_time() {
    let config = config(|config| config.calls_per_connection = 1);
    let served = served(config);
    let mut peer = native(&served, 8);
    peer.send_message(&invoke(1, "thing", "look", ""));
    peer.send_message(&invoke(2, "thing", "value", ""));
    served.gate.until_inside(1);
    peer.expect_silence(Duration::from_millis(30));
    served.gate.open();
    assert_eq!(answered(&mut peer, 2), [1, 2]);
}
