//! Threads and one lock. Also part of the program in `deadlock-detection`.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::job::{Access, Contest, Effort, Outcome, Section, Start, nanoseconds};

/// Operations between two looks at the clock.
const BURST: u64 = 2_000;

/// A lock around a number.
pub(crate) trait Lock: Sync {
    fn new() -> Self;

    /// Runs `section` alone.
    fn change(&self, section: impl FnOnce(&mut u64));

    /// Runs `section`, together with other readers if the lock can do that.
    fn look(&self, section: impl FnOnce(&u64)) {
        self.change(|value| section(value));
    }
}

/// Shares no cache line with anything else, or it would matter what happens to lie beside a lock.
#[repr(align(128))]
struct Apart<T>(T);

/// Runs `contest` on a lock of this kind.
pub(crate) fn run<L: Lock>(contest: Contest, effort: Effort) -> Outcome {
    let lock = Apart(L::new());
    let lock = black_box(&lock.0);
    match contest.agents {
        1 => alone(|operations| burst(lock, contest.access, operations), effort),
        agents => together(lock, contest, agents, effort),
    }
}

/// The quickest of many bursts: the one that was disturbed least.
pub(crate) fn alone(mut burst: impl FnMut(u64), effort: Effort) -> Outcome {
    let mut timed = |operations| {
        let start = Instant::now();
        burst(operations);
        nanoseconds(start.elapsed())
    };
    let (operations, nanoseconds) = match effort {
        Effort::Operations(operations) => (operations, timed(operations)),
        Effort::Milliseconds(milliseconds) => {
            let end = Instant::now() + Duration::from_millis(milliseconds);
            let mut quickest = timed(BURST);
            while Instant::now() < end {
                quickest = quickest.min(timed(BURST));
            }
            (BURST, quickest)
        }
    };
    Outcome {
        operations,
        nanoseconds,
        cpu_nanoseconds: 0,
        fewest: operations,
    }
}

fn burst(lock: &impl Lock, access: Access, operations: u64) {
    match access {
        Access::Read => (0..operations).for_each(|_| lock.look(look)),
        _ => (0..operations).for_each(|_| lock.change(change)),
    }
}

fn together<L: Lock>(lock: &L, contest: Contest, agents: usize, effort: Effort) -> Outcome {
    let stop = Apart(AtomicBool::new(false));
    let stop = &stop.0;
    let start = Barrier::new(agents + 1);
    let most = match effort {
        Effort::Milliseconds(_) => u64::MAX,
        Effort::Operations(operations) => operations,
    };
    let agent = || {
        start.wait();
        let mut operations = 0;
        while operations < most && !stop.load(Ordering::Relaxed) {
            operate(lock, contest, operations);
            operations += 1;
        }
        operations
    };
    thread::scope(|scope| {
        let agents: Vec<_> = (0..agents).map(|_| scope.spawn(agent)).collect();
        start.wait();
        let start = Start::now();
        if let Effort::Milliseconds(milliseconds) = effort {
            thread::sleep(Duration::from_millis(milliseconds));
            stop.store(true, Ordering::Relaxed);
        }
        let outcome = start.end();
        let each = agents.into_iter().map(|agent| agent.join().unwrap_or(0));
        let each: Vec<u64> = each.collect();
        outcome(&each)
    })
}

#[inline]
fn operate(lock: &impl Lock, contest: Contest, operation: u64) {
    let reads = match contest.access {
        Access::Read => true,
        Access::MostlyRead => operation % 10 != 9,
        _ => false,
    };
    let working = contest.section == Section::Working;
    match (reads, working) {
        (true, false) => lock.look(look),
        (false, false) => lock.change(change),
        (true, true) => lock.look(|value| {
            black_box(work(40, *value));
        }),
        (false, true) => lock.change(|value| *value = work(40, *value)),
    }
    if working {
        black_box(work(160, operation));
    }
}

#[inline]
fn change(value: &mut u64) {
    *value = value.wrapping_add(1);
}

#[inline]
fn look(value: &u64) {
    black_box(*value);
}

/// About a nanosecond and a half a step, one after another.
fn work(steps: u64, seed: u64) -> u64 {
    (0..black_box(steps)).fold(seed | 1, |mut value, _| {
        value ^= value << 13;
        value ^= value >> 7;
        value ^ (value << 17)
    })
}
