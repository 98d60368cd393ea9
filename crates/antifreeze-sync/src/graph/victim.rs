//! Whose wait fails.

use super::Graph;

/// What decides whose wait fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) frame: u64,
    /// How often it has been a victim: those who were more often are spared.
    pub(crate) times_victim: u32,
    /// Its wait has a deadline.
    pub(crate) timed: bool,
    /// Frames of the same root share it; greater is younger.
    pub(crate) birth: u64,
    /// None of its waits can be failed.
    pub(crate) spared: bool,
}

/// Whose wait fails, among the `stuck` frames of `graph`.
pub(crate) fn victim(_graph: &Graph, _stuck: &[u64], _of: impl Fn(u64) -> Candidate) -> Option<u64> {
    None
}

/// The smallest set of `stuck` frames around `victim` that proves the deadlock, in the order of
/// waiting, beginning with the lowest.
pub(crate) fn closed_set(_graph: &Graph, _stuck: &[u64], _victim: u64) -> Vec<u64> {
    Vec::new()
}
