//! What the detector's thread costs while it has nothing to do.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_sync::{Mutex, task};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::job::Executor;
use super::tasks::runtime;
use crate::children::Children;
use crate::cpus::Placement;

/// Linux keeps fifteen bytes of a thread's name.
const THREAD: &str = "antifreeze-dete";
const AGENTS: usize = 200;
const LOOK: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(300);

/// How often the detector's thread woke up within a second.
#[derive(Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Threads, and as many tasks.
    pub(crate) agents: usize,
    /// Whether there is such a thread, once somebody has waited.
    pub(crate) exists: bool,
    /// Before anybody has ever waited; 0 too if there is no thread yet.
    pub(crate) before: u64,
    /// All agents wait, and their waits have been checked.
    pub(crate) waiting: u64,
    /// Nobody waits any more.
    pub(crate) after: u64,
}

impl Idle {
    pub(crate) fn is_kept(&self) -> bool {
        self.exists && self.before == 0 && self.waiting == 0 && self.after == 0
    }
}

/// Watches it in a process of its own.
pub(super) fn watch(children: &Children) -> Result<Idle> {
    let command = children.role("detector", []);
    let idle = children.run(&command, Placement::Unpinned, Duration::from_secs(30))?;
    idle.context("the process that watches the detector hangs")
}

/// Is that process.
pub(crate) fn play() -> Result<()> {
    let lock = Arc::new(Mutex::new(0_u64));
    drop(lock.lock().expect("nobody holds it"));
    let before = wakes(LOOK)?;

    let guard = lock.lock().expect("nobody holds it");
    let ready = Arc::new(Barrier::new(AGENTS + 1));
    let threads: Vec<_> = (0..AGENTS)
        .map(|_| {
            let (lock, ready) = (Arc::clone(&lock), Arc::clone(&ready));
            thread::spawn(move || {
                ready.wait();
                *lock.lock().expect("nothing to deadlock with") += 1;
            })
        })
        .collect();
    let runtime = runtime(Executor::TwoThreads)?;
    let tasks: Vec<_> = (0..AGENTS)
        .map(|_| {
            let lock = Arc::clone(&lock);
            runtime.spawn(task(async move {
                *lock.lock_async().await.expect("nothing to deadlock with") += 1;
            }))
        })
        .collect();
    ready.wait();
    thread::sleep(SETTLE);
    let exists = detector_thread()?.is_some();
    let waiting = wakes(LOOK)?;

    drop(guard);
    for thread in threads {
        thread.join().ok().context("a thread panicked")?;
    }
    runtime.block_on(async {
        for task in tasks {
            task.await?;
        }
        anyhow::Ok(())
    })?;
    thread::sleep(SETTLE);
    let after = wakes(LOOK)?;

    let idle = Idle {
        agents: AGENTS,
        exists,
        before,
        waiting,
        after,
    };
    println!("{}", serde_json::to_string(&idle)?);
    Ok(())
}

/// Voluntary context switches of the detector's thread while `look` passes.
fn wakes(look: Duration) -> Result<u64> {
    let start = switches()?;
    thread::sleep(look);
    Ok(switches()? - start)
}

fn switches() -> Result<u64> {
    let Some(thread) = detector_thread()? else {
        return Ok(0);
    };
    let status = fs::read_to_string(thread.join("status"))?;
    let switches = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let switches = switches.context("the kernel counts no context switches")?;
    Ok(switches.trim().parse()?)
}

/// What the detector's thread has computed so far.
pub(crate) fn cpu_time() -> Result<Duration> {
    let Some(thread) = detector_thread()? else {
        return Ok(Duration::ZERO);
    };
    let schedstat = fs::read_to_string(thread.join("schedstat"))?;
    let nanoseconds = schedstat.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Waits until the detector's thread has had nothing to do for a while; gives up after a minute.
pub(crate) fn rest() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = (switches()?, cpu_time()?);
    let mut quiet = 0;
    while quiet < 5 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        let now = (switches()?, cpu_time()?);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

fn detector_thread() -> Result<Option<PathBuf>> {
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        // A thread that has just ended is none.
        let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if name.trim_end() == THREAD {
            return Ok(Some(thread));
        }
    }
    Ok(None)
}
