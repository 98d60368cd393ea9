//! `parking_lot` with its feature `deadlock_detection`, as one of the processes that `locks` measures.

#[path = "../../src/locks/job.rs"]
mod job;
#[path = "../../src/locks/threads.rs"]
mod threads;

use std::env;

use anyhow::{Context, Result};
use parking_lot::{Mutex, RwLock};

use crate::job::{Access, Job};
use crate::threads::Lock;

fn main() -> Result<()> {
    let job = env::args().nth(1).context("no job given")?;
    let Job {
        contest, effort, ..
    } = serde_json::from_str(&job)?;
    let outcome = match contest.access {
        Access::Mutex => threads::run::<Mutex<u64>>(contest, effort),
        _ => threads::run::<RwLock<u64>>(contest, effort),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.lock());
    }
}

impl Lock for RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.write());
    }

    fn look(&self, section: impl FnOnce(&u64)) {
        section(&self.read());
    }
}
