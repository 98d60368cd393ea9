//! Processes that are killed, start again or stand still, and detectors that are refused or told
//! nonsense: nobody is told of a deadlock that is none, and nobody hangs.

use std::net::ToSocketAddrs;
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::Duration;

use antifreeze::{Error, ErrorKind, Proxy};
use antifreeze_testkit::{Peer, RawMessage};

use crate::common::gate::until;
use crate::common::{Driver, SOON};
use crate::link::Link;

/// So long something is held that others are to want meanwhile.
pub(crate) const HOLD: u64 = 1000;

pub(crate) type Outcome = Result<Vec<String>, Error>;

/// A chain of calls along these links and methods, each of which stays for so long.
pub(crate) fn go(path: &[(&Link, &str)], hold: u64) -> Outcome {
    let [(first, method), rest @ ..] = path else {
        return Ok(Vec::new());
    };
    let rest = rest
        .iter()
        .map(|(link, method)| format!("{method} {}", link.uri));
    let rest: Vec<_> = rest.collect();
    let first = Proxy::connect(&first.uri)?.within(SOON);
    first.call(method, (rest, hold))
}

pub(crate) fn is_free(link: &Link) -> bool {
    go(&[(link, "hop")], 0).is_ok()
}

pub(crate) fn is_deadlock(outcome: &Outcome) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Deadlock)
}

/// How many of them were told of a deadlock, which names these.
#[track_caller]
pub(crate) fn victims(outcomes: &[Outcome], links: &[&Link]) -> usize {
    let mut count = 0;
    for error in outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .filter(|error| error.kind() == ErrorKind::Deadlock)
    {
        let text = error.to_string();
        for link in links {
            assert!(text.contains(link.place()), "{} in {text}", link.place());
        }
        count += 1;
    }
    count
}

/// Two chains that cross.
fn cross(a: &Link, b: &Link) -> [Outcome; 2] {
    cross_after(150, a, b)
}

/// The same; the one that begins at `a` stays there for so long, the other one 150 ms.
fn cross_after(hold: u64, a: &Link, b: &Link) -> [Outcome; 2] {
    thread::scope(|scope| {
        let one = scope.spawn(|| go(&[(a, "hop"), (b, "hop")], hold));
        let other = scope.spawn(|| go(&[(b, "hop"), (a, "hop")], 150));
        [one.join().unwrap(), other.join().unwrap()]
    })
}

/// Three chains wait for each other, at `a`, at `b`, and at `c`, which stands still since before the
/// last of them began to wait. `then` gets what goes on when it is so.
fn with_one_stopped([a, b, c]: [&Link; 3], then: impl FnOnce()) -> [Outcome; 3] {
    thread::scope(|scope| {
        let last = scope.spawn(|| go(&[(a, "hop"), (b, "hop")], HOLD));
        sleep(Duration::from_millis(HOLD / 5));
        let first = scope.spawn(|| go(&[(c, "hop"), (a, "hop")], 0));
        until("somebody waits for a", || a.waiters() == 1);
        let second = scope.spawn(|| go(&[(b, "hop"), (c, "hop")], 0));
        until("somebody waits for c", || c.waiters() == 1);
        c.process.signal("STOP");
        until("somebody waits for b", || b.waiters() == 1);
        // Time enough to ask, to get no answer, and to ask again.
        sleep(Duration::from_millis(1500));
        let all: [ScopedJoinHandle<'_, Outcome>; 3] = [last, first, second];
        assert!(all.iter().all(|chain| !chain.is_finished()));
        for link in [a, b] {
            assert_eq!(link.count("antifreeze_detector_accepted_total"), 0);
        }
        then();
        all.map(|chain| chain.join().unwrap())
    })
}

fn a_process_in_the_cycle_that_stood_still_is_found_when_it_goes_on(driver: Driver) {
    let links = [(); 3].map(|()| Link::start(driver));
    let [a, b, c] = links.each_ref();
    let ended = with_one_stopped([a, b, c], || c.process.signal("CONT"));
    assert_eq!(victims(&ended, &[a, b, c]), 1, "{ended:?}");
    assert_eq!(ended.iter().filter(|chain| chain.is_ok()).count(), 2);
    assert!([a, b, c].into_iter().all(is_free));
}

fn a_process_in_the_cycle_is_killed_and_starts_again_at_its_port(driver: Driver) {
    let [a, b, c] = [(); 3].map(|()| Link::start(driver));
    let pid = c.process.pid().to_string();
    let kill = || {
        let done = std::process::Command::new("kill")
            .args(["-9", &pid])
            .status();
        assert!(done.unwrap().success());
    };
    let [last, first, second] = with_one_stopped([&a, &b, &c], kill);
    // Those who called it are told that it is gone; whoever waited for them goes on.
    for lost in [&first, &second] {
        assert!(lost.is_err() && !is_deadlock(lost), "{lost:?}");
    }
    assert!(last.is_ok(), "{last:?}");
    assert!(is_free(&a) && is_free(&b));
    let place = c.place().to_owned();
    drop(c);
    let c = Link::at(driver, &place);
    assert_eq!(c.place(), place);
    for link in [&a, &b, &c] {
        assert_eq!(link.count("antifreeze_detector_accepted_total"), 0);
    }
    // It is another process for everybody.
    for other in [&a, &b] {
        let ended = cross(other, &c);
        assert_eq!(victims(&ended, &[other, &c]), 1, "{ended:?}");
        assert!(is_free(&c) && is_free(other));
    }
}

/// A cycle through `a` and `b`. Somebody else reads `a`, too, and has called `d`, of which nothing is
/// heard then.
fn with_a_bystander(driver: Driver, name: &str, is_lost: bool) {
    let [a, b, d] = [(); 3].map(|()| Link::start(driver));
    thread::scope(|scope| {
        let beside = scope.spawn(|| go(&[(&a, "peek"), (&d, "hop")], HOLD));
        sleep(Duration::from_millis(HOLD * 3 / 2));
        let signal = || d.process.signal(name);
        if !is_lost {
            signal();
        }
        let one = scope.spawn(|| go(&[(&a, "peek"), (&b, "hop")], 300));
        let other = scope.spawn(|| go(&[(&b, "hop"), (&a, "hop")], 150));
        if is_lost {
            until("somebody waits for b", || b.waiters() == 1);
            signal();
        }
        until("one of them is told", || {
            one.is_finished() || other.is_finished()
        });
        if !is_lost {
            assert!(!beside.is_finished());
            d.process.signal("CONT");
        }
        let ended = [one.join().unwrap(), other.join().unwrap()];
        assert_eq!(victims(&ended, &[&a, &b]), 1, "{ended:?}");
        let beside = beside.join().unwrap();
        assert_eq!(beside.is_err(), is_lost, "{beside:?}");
        assert!(!is_deadlock(&beside), "{beside:?}");
    });
    assert!(is_free(&a) && is_free(&b));
}

fn a_bystander_that_stands_still_is_not_waited_for(driver: Driver) {
    with_a_bystander(driver, "STOP", false);
}

fn a_bystander_is_killed(driver: Driver) {
    with_a_bystander(driver, "KILL", true);
}

fn a_process_that_lets_no_detector_in_asks_others_itself(driver: Driver) {
    let (a, b) = (Link::start(driver), Link::reserved(driver, "20"));
    // The last wait is at `b`: of one at `a` only that would know, and it cannot ask.
    let ended = cross_after(HOLD, &a, &b);
    assert_eq!(victims(&ended, &[&a, &b]), 1, "{ended:?}");
    assert!(is_free(&a) && is_free(&b));
}

fn where_nobody_lets_detectors_in_waits_end_when_their_time_is_over(driver: Driver) {
    let (a, b) = (Link::reserved(driver, "3"), Link::reserved(driver, "3"));
    let ended = cross(&a, &b);
    assert_eq!(victims(&ended, &[]), 0, "{ended:?}");
    assert!(ended.iter().any(Result::is_err), "{ended:?}");
    assert!(is_free(&a) && is_free(&b));
}

fn nonsense_is_counted_and_otherwise_ignored(driver: Driver) {
    let (a, b) = (Link::start(driver), Link::start(driver));
    let address = a.place().to_socket_addrs().unwrap().next().unwrap();
    let mut random = fastrand::Rng::with_seed(18);
    let mut junk = |most: usize| -> Vec<u8> {
        let length = random.usize(..most);
        (0..length).map(|_| random.u8(..)).collect()
    };
    // To the detector,
    let mut peer = Peer::connect(address);
    peer.shake_hands("Antifreeze.Detector");
    let sent = 100;
    for seq in 1..=sent {
        let mut body = junk(200);
        // half of them in the right version.
        if let (true, Some(first)) = (seq % 2 == 0, body.first_mut()) {
            *first = 1;
        }
        let question = RawMessage::invoke_method(seq, "Antifreeze.Detector", "ask");
        peer.send_message(&question.annotation(b"AFDM", &body));
        assert_eq!(peer.expect_message().seq, seq);
    }
    assert!(a.count("antifreeze_detector_malformed_total") >= u64::from(sent) / 2);
    // in place of what a chain is, and in a handshake.
    for seq in 1..=50 {
        let mut peer = Peer::connect(address);
        peer.send_message(&RawMessage::connect("node").annotation(b"AFNH", &junk(100)));
        peer.expect_message();
        let call = "# serpent utf-8 python3.2\n('node','peek',([],0),{})";
        peer.send_message(&RawMessage::invoke(seq, call).annotation(b"AFCK", &junk(150)));
        assert_eq!(peer.expect_message().seq, seq);
    }
    let ended = cross(&a, &b);
    assert_eq!(victims(&ended, &[&a, &b]), 1, "{ended:?}");
    assert!(is_free(&a) && is_free(&b));
}

crate::on_both_drivers!(
    a_process_in_the_cycle_that_stood_still_is_found_when_it_goes_on,
    a_process_in_the_cycle_is_killed_and_starts_again_at_its_port,
    a_bystander_that_stands_still_is_not_waited_for,
    a_bystander_is_killed,
    a_process_that_lets_no_detector_in_asks_others_itself,
    where_nobody_lets_detectors_in_waits_end_when_their_time_is_over,
    nonsense_is_counted_and_otherwise_ignored,
);
