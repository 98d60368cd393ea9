//! Chains of calls that cross, and chains that come back.

use std::thread;
use std::time::Duration;

use antifreeze::{Error, ErrorKind, Proxy};

use crate::common::Driver::{self, EventLoop, Threads};
use crate::link::Link;

const MIXES: [&[Driver]; 4] = [
    &[Threads, Threads],
    &[EventLoop, EventLoop],
    &[Threads, EventLoop],
    &[EventLoop, Threads, EventLoop],
];

/// So long every object is held before the next one is called, so that all chains have begun.
const HOLD: u64 = 150;

struct Ring(Vec<Link>);

impl Ring {
    fn start(drivers: &[Driver]) -> Self {
        Self(drivers.iter().map(|driver| Link::start(*driver)).collect())
    }

    /// Begins a chain of calls at the first of each path, all at once, and says how each ended.
    fn run(&self, method: &str, paths: &[Vec<usize>]) -> Vec<Result<Vec<String>, Error>> {
        let chain = |path: &Vec<usize>| {
            let uris: Vec<_> = path.iter().map(|link| &*self.0[*link].uri).collect();
            let first = Proxy::connect(uris[0])?.within(Duration::from_secs(20));
            first.call(method, (&uris[1..], HOLD))
        };
        thread::scope(|scope| {
            let chains: Vec<_> = paths
                .iter()
                .map(|path| scope.spawn(|| chain(path)))
                .collect();
            let ended = chains.into_iter().map(|chain| chain.join().unwrap());
            ended.collect()
        })
    }

    /// One chain from each link to the next one.
    fn crossing(&self) -> Vec<Vec<usize>> {
        let count = self.0.len();
        (0..count)
            .map(|link| vec![link, (link + 1) % count])
            .collect()
    }

    /// A chain from the first link through all others and back.
    fn round(&self) -> Vec<usize> {
        (0..self.0.len()).chain([0]).collect()
    }
}

/// All chains end, exactly one of them with the error, which names everybody.
#[track_caller]
fn one_fails(ring: &Ring, method: &str, paths: &[Vec<usize>]) {
    let ended = ring.run(method, paths);
    let (victims, others): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_err);
    assert_eq!(
        (victims.len(), others.len()),
        (1, paths.len() - 1),
        "{others:?}"
    );
    let error = victims[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    let text = error.to_string();
    for Link { uri, .. } in &ring.0 {
        let place = uri.rsplit('@').next().unwrap();
        assert!(text.contains(place), "{place} is not in {text}");
    }
    assert!(text.contains(&format!("node.{method}")), "{text}");
    // Nobody is left in the way of anybody.
    for link in 0..ring.0.len() {
        let [ended] = &ring.run(method, &[vec![link]])[..] else {
            unreachable!("one path")
        };
        assert!(ended.is_ok(), "{ended:?}");
    }
}

#[test]
fn two_chains_that_cross_over_processes() {
    for drivers in MIXES {
        let ring = Ring::start(drivers);
        for method in ["hop", "hop_lock", "hop_async"] {
            one_fails(&ring, method, &ring.crossing());
        }
    }
}

#[test]
fn a_chain_that_comes_back_to_what_it_holds() {
    for drivers in MIXES {
        let ring = Ring::start(drivers);
        for method in ["hop", "hop_lock", "hop_async"] {
            one_fails(&ring, method, &[ring.round()]);
        }
    }
}

#[test]
fn readers_and_those_without_a_lock_come_back_as_they_like() {
    for drivers in MIXES {
        let ring = Ring::start(drivers);
        for method in ["peek", "pass_on"] {
            let mut paths = ring.crossing();
            paths.push(ring.round());
            for ended in ring.run(method, &paths) {
                assert!(ended.is_ok(), "{ended:?}");
            }
        }
        for link in &ring.0 {
            assert_eq!(link.count("antifreeze_detector_verdicts_total"), 0);
        }
    }
}
