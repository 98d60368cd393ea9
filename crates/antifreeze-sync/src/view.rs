//! The live view: who holds what and who waits for it, at one moment.

use std::panic::Location;
use std::time::Duration;

use crate::report::{AgentInfo, Mode, ResourceInfo};

/// Everything that is waited for at one moment, and by whom.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// All that somebody waits for.
    pub resources: Vec<ResourceState>,
}

/// Something that is waited for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceState {
    /// What it is.
    pub resource: ResourceInfo,
    /// Who is known to hold it.
    pub holders: Vec<Holder>,
    /// Whether others may hold it, or let waiters go on, of whom nothing is known.
    pub others: bool,
    /// Who waits, in the order of the queue.
    pub waiters: Vec<WaiterState>,
}

/// Somebody who holds something.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Its frame.
    pub frame: u64,
    /// Who it is, if known.
    pub agent: Option<AgentInfo>,
    /// How it holds it.
    pub mode: Mode,
    /// Where it acquired it, if known.
    pub site: Option<&'static Location<'static>>,
}

/// Somebody who waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaiterState {
    /// Who it is.
    pub agent: AgentInfo,
    /// How it wants it.
    pub mode: Mode,
    /// Where its wait began.
    pub site: &'static Location<'static>,
    /// How long it has lasted.
    pub waited: Duration,
    /// Whether it has a deadline.
    pub timed: bool,
}
