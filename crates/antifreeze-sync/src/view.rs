//! The live view: who holds what and who waits for it, at one moment.

mod dot;
mod text;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::calls::Parent;
use crate::report::{AgentInfo, Mode, ResourceInfo, Site};

/// Everything that is waited for at one moment, and by whom.
///
/// Its text is for people; [`to_dot`](Self::to_dot) draws it; with the feature `serde` it is data,
/// with source locations as `file:line:column` and times in milliseconds.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// All that somebody waits for.
    pub resources: Vec<ResourceState>,
}

/// Something that is waited for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Holder {
    /// Its frame.
    pub frame: u64,
    /// Who it is, if known.
    pub agent: Option<AgentInfo>,
    /// How it holds it.
    pub mode: Mode,
    /// Where it acquired it, if known.
    pub site: Option<Site>,
}

/// Somebody who waits.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct WaiterState {
    /// Who it is.
    pub agent: AgentInfo,
    /// How it wants it.
    pub mode: Mode,
    /// Where its wait began.
    pub site: Site,
    /// How long it has lasted.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "waited_ms", with = "crate::report::json::ms")
    )]
    pub waited: Duration,
    /// Whether it has a deadline.
    pub timed: bool,
    /// The chain of calls that it is part of; not in the data.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub chain: u128,
    /// The call that it serves, if that is known; not in the data.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub parent: Option<Parent>,
}
