//! Being one of the processes that are measured.

use std::sync;

use anyhow::{Result, bail, ensure};

use super::job::{Access, Contestant, Job, Outcome};
use super::{tasks, threads};

/// Runs a [`Job`], and prints its [`Outcome`].
pub(crate) fn play(job: &str) -> Result<()> {
    let outcome = run(serde_json::from_str(job)?)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn run(job: Job) -> Result<Outcome> {
    let Job {
        contestant,
        contest,
        effort,
    } = job;
    match contestant {
        Contestant::Deloxide => ensure!(
            deloxide::Deloxide::new().callback(|_| {}).start().is_ok(),
            "deloxide does not start"
        ),
        Contestant::AntifreezeOrdered => {
            antifreeze_sync::order::set_level(antifreeze_sync::order::Level::Warn);
        }
        _ => {}
    }
    Ok(match (contest.access, contestant) {
        (Access::Mutex, Contestant::Std) => threads::run::<sync::Mutex<u64>>(contest, effort),
        (Access::Mutex, Contestant::ParkingLot) => {
            threads::run::<parking_lot::Mutex<u64>>(contest, effort)
        }
        (Access::Mutex, Contestant::Deloxide) => {
            threads::run::<deloxide::Mutex<u64>>(contest, effort)
        }
        (Access::Mutex, Contestant::TracingMutex) => {
            threads::run::<tracing_mutex::stdsync::tracing::Mutex<u64>>(contest, effort)
        }
        (Access::Mutex, Contestant::NoDeadlocks) => {
            threads::run::<no_deadlocks::Mutex<u64>>(contest, effort)
        }
        (Access::Mutex, Contestant::Antifreeze | Contestant::AntifreezeOrdered) => {
            threads::run::<antifreeze_sync::Mutex<u64>>(contest, effort)
        }
        (Access::Read | Access::Write | Access::MostlyRead, Contestant::Std) => {
            threads::run::<sync::RwLock<u64>>(contest, effort)
        }
        (Access::Read | Access::Write | Access::MostlyRead, Contestant::ParkingLot) => {
            threads::run::<parking_lot::RwLock<u64>>(contest, effort)
        }
        (Access::Read | Access::Write | Access::MostlyRead, Contestant::Antifreeze) => {
            threads::run::<antifreeze_sync::RwLock<u64>>(contest, effort)
        }
        (Access::AsyncMutex, Contestant::Tokio) => {
            tasks::run::<tokio::sync::Mutex<u64>>(contest, effort)?
        }
        (Access::AsyncMutex, Contestant::AsyncLock) => {
            tasks::run::<async_lock::Mutex<u64>>(contest, effort)?
        }
        (Access::AsyncMutex, Contestant::Antifreeze) => {
            tasks::run::<antifreeze_sync::Mutex<u64>>(contest, effort)?
        }
        (Access::AsyncSemaphore, Contestant::Tokio) => {
            tasks::run::<tokio::sync::Semaphore>(contest, effort)?
        }
        (Access::AsyncSemaphore, Contestant::AsyncLock) => {
            tasks::run::<async_lock::Semaphore>(contest, effort)?
        }
        (Access::AsyncSemaphore, Contestant::Antifreeze) => {
            tasks::run::<antifreeze_sync::BoundedSemaphore>(contest, effort)?
        }
        (access, contestant) => bail!("{contestant} has nothing for {access:?}"),
    })
}
