//! Who competes in what, and what we promise ourselves of it.

use std::fmt;

use super::job::{Access, Contest, Contestant, Executor, Outcome, Section};
use super::{Entry, Line};
use crate::cpus::Placement;

/// A promise about the ratio of ours and a peer's.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) peer: Contestant,
    pub(super) limit: Limit,
}

/// What a ratio may be.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    /// To the two digits that are shown.
    pub(super) fn is_kept(&self, ratio: f64) -> bool {
        let shown = |number: f64| (number * 100.0).round();
        match self.limit {
            Limit::AtMost(most) => shown(ratio) <= shown(most),
            Limit::AtLeast(least) => shown(ratio) >= shown(least),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(out, "≤ {most:.2}"),
            Self::AtLeast(least) => write!(out, "≥ {least:.2}"),
        }
    }
}

impl Contest {
    /// Whether nobody else wants the lock.
    pub(super) fn is_alone(self) -> bool {
        self.agents == 1
    }

    /// What is reported: nanoseconds an operation of one agent alone, millions of operations a
    /// second of several.
    pub(super) fn value(self, outcome: Outcome) -> f64 {
        let (operations, nanoseconds) = (outcome.operations as f64, outcome.nanoseconds as f64);
        if self.is_alone() {
            nanoseconds / operations
        } else {
            operations * 1e3 / nanoseconds
        }
    }

    pub(super) fn placement(self) -> Placement {
        if self.is_alone() {
            Placement::Pinned
        } else {
            Placement::Unpinned
        }
    }

    /// Whether two runs take the same instructions: threads decide nothing.
    pub(super) fn repeats_exactly(self) -> bool {
        self.is_alone() || self.executor == Executor::OneThread
    }

    /// What we promise ourselves.
    pub(super) fn target(self) -> Target {
        let (peer, alone, together) = match self.access {
            Access::Mutex => (Contestant::ParkingLot, 1.3, 0.9),
            Access::Read | Access::Write | Access::MostlyRead => (Contestant::ParkingLot, 1.5, 0.9),
            Access::AsyncMutex | Access::AsyncSemaphore => (Contestant::Tokio, 1.3, 1.0),
        };
        let limit = if self.is_alone() {
            Limit::AtMost(alone)
        } else {
            Limit::AtLeast(together)
        };
        Target { peer, limit }
    }

    fn contestants(self) -> &'static [Contestant] {
        use Contestant::{
            Antifreeze, AntifreezeOrdered, AsyncLock, Deloxide, NoDeadlocks, ParkingLot,
            ParkingLotDetecting, Std, Tokio, TracingMutex,
        };
        match self.access {
            Access::Mutex => &[
                Std,
                ParkingLot,
                Antifreeze,
                AntifreezeOrdered,
                ParkingLotDetecting,
                Deloxide,
                TracingMutex,
                NoDeadlocks,
            ],
            Access::Read | Access::Write | Access::MostlyRead => {
                &[Std, ParkingLot, Antifreeze, ParkingLotDetecting]
            }
            Access::AsyncMutex | Access::AsyncSemaphore => &[Tokio, Antifreeze, AsyncLock],
        }
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Mutex => "Mutex",
            Access::Read => "RwLock, read",
            Access::Write => "RwLock, write",
            Access::MostlyRead => "RwLock, 90 % read",
            Access::AsyncMutex => "async Mutex",
            Access::AsyncSemaphore => "async Semaphore",
        };
        write!(out, "{access}, ")?;
        let agents = self.agents;
        match (agents, self.executor) {
            (1, _) => return out.write_str("alone"),
            (_, Executor::Threads) => write!(out, "{agents} threads, ")?,
            (_, Executor::OneThread) => write!(out, "{agents} tasks in 1 thread, ")?,
            (_, Executor::TwoThreads) => write!(out, "{agents} tasks in 2 threads, ")?,
        }
        out.write_str(match self.section {
            Section::Short => "short",
            Section::Working => "working",
            Section::Yielding => "yielding",
        })
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Std => "std",
            Self::ParkingLot => "parking_lot",
            Self::ParkingLotDetecting => "parking_lot, detecting",
            Self::Deloxide => "deloxide",
            Self::TracingMutex => "tracing-mutex",
            Self::NoDeadlocks => "no_deadlocks",
            Self::Tokio => "tokio",
            Self::AsyncLock => "async-lock",
            Self::Antifreeze => "Antifreeze",
            Self::AntifreezeOrdered => "Antifreeze, order",
        })
    }
}

/// All contests, in the order in which each round runs them.
pub(super) fn all() -> Vec<Line> {
    contests()
        .into_iter()
        .map(|contest| Line {
            contest,
            entries: contest
                .contestants()
                .iter()
                .map(|contestant| Entry {
                    contestant: *contestant,
                    rounds: Vec::new(),
                    instructions: None,
                })
                .collect(),
        })
        .collect()
}

fn contests() -> Vec<Contest> {
    let contest = |access, executor, agents, section| Contest {
        access,
        executor,
        agents,
        section,
    };
    let threads = [Access::Mutex, Access::Read, Access::Write];
    let tasks = [Access::AsyncMutex, Access::AsyncSemaphore];

    let mut contests = Vec::new();
    contests.extend(threads.map(|access| contest(access, Executor::Threads, 1, Section::Short)));
    contests.extend(tasks.map(|access| contest(access, Executor::OneThread, 1, Section::Short)));
    for access in [Access::Mutex, Access::Write, Access::MostlyRead] {
        for section in [Section::Short, Section::Working] {
            contests.extend([2, 4, 16].map(|n| contest(access, Executor::Threads, n, section)));
        }
    }
    for access in tasks {
        for (executor, section) in [
            (Executor::OneThread, Section::Yielding),
            (Executor::TwoThreads, Section::Yielding),
            (Executor::TwoThreads, Section::Short),
        ] {
            contests.extend([4, 16].map(|n| contest(access, executor, n, section)));
        }
    }
    contests
}
