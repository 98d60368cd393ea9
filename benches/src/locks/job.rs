//! What a process that is measured is told, and what it says at its end.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Whose locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contestant {
    Std,
    ParkingLot,
    /// `parking_lot` with its feature `deadlock_detection`: from a program of its own, as features
    /// are the same for all of one program.
    ParkingLotDetecting,
    Deloxide,
    TracingMutex,
    NoDeadlocks,
    Tokio,
    AsyncLock,
    Antifreeze,
    /// Ours, watching the order of locks too.
    AntifreezeOrdered,
}

/// What is done with one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Lock and unlock a mutex.
    Mutex,
    /// Of a read-write lock: read and no more.
    Read,
    /// Of a read-write lock: write and no more.
    Write,
    /// Of a read-write lock: nine reads, then a write.
    MostlyRead,
    /// A mutex that tasks await.
    AsyncMutex,
    /// A permit of a semaphore that tasks await.
    AsyncSemaphore,
}

/// How long a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Section {
    /// A number is incremented or read; tasks yield between two sections.
    Short,
    /// Some fifty nanoseconds inside, four times as long between two sections.
    Working,
    /// The task yields inside.
    Yielding,
}

/// What runs the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Executor {
    /// None: threads, one for each agent.
    Threads,
    /// Tokio, all tasks in one thread.
    OneThread,
    /// Tokio, two worker threads.
    TwoThreads,
}

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contest {
    pub(crate) access: Access,
    pub(crate) executor: Executor,
    /// Threads or tasks that want the one lock.
    pub(crate) agents: usize,
    pub(crate) section: Section,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effort {
    /// After about so many milliseconds; one agent alone reports its quickest burst.
    Milliseconds(u64),
    /// After so many operations of each agent: for counting instructions.
    Operations(u64),
}

/// What to run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contestant: Contestant,
    pub(crate) contest: Contest,
    pub(crate) effort: Effort,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Of all agents together.
    pub(crate) operations: u64,
    pub(crate) nanoseconds: u64,
    /// CPU time of the whole process meanwhile: what others do to the machine matters less to it.
    /// Zero for one agent alone.
    pub(crate) cpu_nanoseconds: u64,
    /// Of the agent that got the fewest.
    pub(crate) fewest: u64,
}

/// When something began.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    time: Instant,
    cpu_nanoseconds: u64,
}

impl Start {
    pub(crate) fn now() -> Self {
        Self {
            cpu_nanoseconds: cpu_nanoseconds(),
            time: Instant::now(),
        }
    }

    /// Sums up what each agent did since then. The threads must still be there.
    pub(crate) fn end(self) -> impl FnOnce(&[u64]) -> Outcome {
        let nanoseconds = nanoseconds(self.time.elapsed());
        let cpu_nanoseconds = cpu_nanoseconds().saturating_sub(self.cpu_nanoseconds);
        move |each| Outcome {
            operations: each.iter().sum(),
            nanoseconds,
            cpu_nanoseconds,
            fewest: each.iter().copied().min().unwrap_or(0),
        }
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Of all threads of this process that have not ended; zero where the kernel does not tell.
fn cpu_nanoseconds() -> u64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let spent = threads.filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}
