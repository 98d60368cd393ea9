//! Hosts that cannot reach each other for a while: nobody is told of a deadlock that is none, and what
//! could not be found is found when they can.

use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::Duration;

use crate::common::Driver;
use crate::common::gate::until;
use crate::faults::{HOLD, Outcome, go, is_deadlock, is_free, victims};
use crate::link::Link;
use crate::network::{Network, in_a_network};

/// Which ways are cut, of those from one host to another.
type Ways = [(usize, usize)];

const BOTH: &Ways = &[(0, 1), (1, 0)];
const ONE: &Ways = &[(0, 1)];

/// So many seconds are enough for everything.
const LONG: &str = "20";

/// Time enough to ask, to get no answer, and to ask again.
const WHILE: Duration = Duration::from_millis(1500);

/// Two chains wait for each other at `a` and `b`, to which they came by way of `c`; these ways between
/// `a` and `b` are cut. `then` gets what goes on when that has been so for a while.
fn with_a_cut(network: &Network, ways: &Ways, then: impl FnOnce()) -> [Outcome; 2] {
    let [a, b, c] = network.links();
    // These two have met by now, so what is cut are connections that are there.
    let met = go(&[(a, "hop"), (b, "hop"), (a, "peek")], 0);
    assert!(is_deadlock(&met));
    let before = accepted(network);
    ways.iter().for_each(|way| network.cut(*way));
    thread::scope(|scope| {
        let first = [(a, "hop"), (c, "pass_on"), (b, "hop")];
        let second = [(b, "hop"), (c, "pass_on"), (a, "hop")];
        let one = scope.spawn(move || go(&first, 400));
        let other = scope.spawn(move || go(&second, 400));
        for link in [a, b] {
            until("somebody waits", || link.waiters() == 1);
        }
        sleep(WHILE);
        let all: [ScopedJoinHandle<'_, Outcome>; 2] = [one, other];
        assert!(all.iter().all(|chain| !chain.is_finished()));
        then();
        let ended = all.map(|chain| chain.join().unwrap());
        let told = victims(&ended, &[a, b]) as u64;
        assert_eq!(accepted(network), before + told, "{ended:?}");
        assert!([a, b, c].into_iter().all(is_free));
        ended
    })
}

/// How many verdicts were carried out.
fn accepted(network: &Network) -> u64 {
    let links: [&Link; 3] = network.links();
    let counts = links.map(|link| link.count("antifreeze_detector_accepted_total"));
    counts.into_iter().sum()
}

fn check_heals(driver: Driver, ways: &'static Ways) {
    in_a_network(|| {
        let network = Network::start::<3>(driver, LONG);
        let mend = || ways.iter().for_each(|way| network.mend(*way));
        let ended = with_a_cut(&network, ways, mend);
        assert_eq!(ended.iter().filter(|end| is_deadlock(end)).count(), 1);
        assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1);
    });
}

fn what_could_not_be_found_is_found_when_hosts_reach_each_other_again(driver: Driver) {
    check_heals(driver, BOTH);
}

fn what_could_not_be_found_is_found_when_answers_arrive_again(driver: Driver) {
    check_heals(driver, ONE);
}

fn nobody_is_told_of_what_ended_before_hosts_reached_each_other_again(driver: Driver) {
    in_a_network(|| {
        let network = Network::start::<3>(driver, "5");
        let [a, b, _] = network.links();
        let ended = with_a_cut(&network, BOTH, || {
            until("their time is over", || a.waiters() + b.waiters() == 0);
            BOTH.iter().for_each(|way| network.mend(*way));
            sleep(WHILE);
        });
        assert!(ended.iter().any(Result::is_err), "{ended:?}");
        assert!(!ended.iter().any(is_deadlock), "{ended:?}");
    });
}

fn a_call_beside_that_is_cut_off_is_not_waited_for_and_goes_on_afterwards(driver: Driver) {
    in_a_network(|| {
        let network = Network::start::<3>(driver, LONG);
        let [a, b, beside] = network.links();
        let ways = [(0, 2), (2, 0), (1, 2), (2, 1)];
        thread::scope(|scope| {
            let call = scope.spawn(move || go(&[(a, "peek"), (beside, "hop")], HOLD));
            sleep(Duration::from_millis(HOLD * 3 / 2));
            ways.iter().for_each(|way| network.cut(*way));
            let one = scope.spawn(move || go(&[(a, "peek"), (b, "hop")], HOLD));
            sleep(Duration::from_millis(HOLD / 3));
            let other = scope.spawn(move || go(&[(b, "hop"), (a, "hop")], HOLD));
            until("one of them is told", || {
                one.is_finished() || other.is_finished()
            });
            assert!(!call.is_finished());
            ways.iter().for_each(|way| network.mend(*way));
            let ended = [one.join().unwrap(), other.join().unwrap()];
            assert_eq!(victims(&ended, &[a, b]), 1, "{ended:?}");
            let call = call.join().unwrap();
            assert!(call.is_ok(), "{call:?}");
        });
    });
}

crate::on_both_drivers!(
    what_could_not_be_found_is_found_when_hosts_reach_each_other_again,
    what_could_not_be_found_is_found_when_answers_arrive_again,
    nobody_is_told_of_what_ended_before_hosts_reached_each_other_again,
    a_call_beside_that_is_cut_off_is_not_waited_for_and_goes_on_afterwards,
);
