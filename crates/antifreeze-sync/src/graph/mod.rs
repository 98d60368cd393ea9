//! The waits-for graph as plain data, and what can be concluded from it.
//!
//! Nothing here locks or waits. The detector fills a [`Graph`] with what it read, and asks who in it
//! can never go on.

mod reduce;
#[cfg(test)]
mod tests;
mod victim;

pub(crate) use reduce::stuck;
pub(crate) use victim::{Candidate, closed_set, victim};

use crate::sync::HashMap;

/// Who waits for what, as read at about one time.
///
/// A frame that is not in it does not wait, so it can go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    pub(crate) frames: HashMap<u64, Frame>,
}

/// A frame that waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    /// Something that we know nothing of may wake it.
    pub(crate) external: bool,
    /// Its waits. It can go on as soon as one of them can end: a blocked thread has one, a task may
    /// have several.
    pub(crate) waits: Vec<Need>,
}

/// What has to happen for a wait to end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Need {
    /// All of these go on: the holders of a lock, the threads that are joined.
    All(Vec<Edge>),
    /// One of these goes on: the producers of a queue.
    Any(Vec<Edge>),
    /// `free` and the permits of holders that go on are at least `wanted`, and all those `ahead` in
    /// the queue go on.
    Permits {
        wanted: u64,
        free: u64,
        holders: Vec<(Edge, u64)>,
        ahead: Vec<Edge>,
    },
    /// Nobody knows, so it can end.
    External,
}

/// Somebody who stands in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Edge {
    pub(crate) frame: u64,
    /// It stands in the way only because it came first: it holds nothing, and could be overtaken.
    pub(crate) soft: bool,
}
