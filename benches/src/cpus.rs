//! Which CPUs a child may run on.

use std::fmt;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Where the processes of one measurement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Placement {
    /// All on the same CPU: no wake-up crosses CPUs, which is what differs most between machines.
    Pinned,
    /// Wherever the kernel likes.
    Unpinned,
}

impl Placement {
    pub(crate) const ALL: [Self; 2] = [Self::Pinned, Self::Unpinned];
}

impl fmt::Display for Placement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
        })
    }
}

/// The CPUs of this process.
pub(crate) struct Cpus {
    all: CpuSet,
    /// The CPU of pinned processes: the last one, as the first often has the interrupts.
    pub(crate) pinned_to: usize,
}

impl Cpus {
    pub(crate) fn find() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| all.is_set(*cpu));
        Ok(Self {
            all,
            pinned_to: last.context("this process may run on no CPU")?,
        })
    }

    /// Moves this thread to where its next child shall run, until the guard is dropped.
    pub(crate) fn place(&self, placement: Placement) -> Result<Placed<'_>> {
        if placement == Placement::Pinned {
            let mut one = CpuSet::new();
            one.set(self.pinned_to);
            sched_setaffinity(None, &one)?;
        }
        Ok(Placed { back_to: &self.all })
    }
}

/// Children started while this lives inherit the affinity.
pub(crate) struct Placed<'a> {
    back_to: &'a CpuSet,
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        // It was allowed before; if it is no longer, the next child shows it in its times only.
        let _ = sched_setaffinity(None, self.back_to);
    }
}
