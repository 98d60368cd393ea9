//! The waits-for graph as plain data, and what can be concluded from it.
//!
//! Nothing here locks or waits. A detector fills a [`Graph`] with what it read, asks who in it can
//! never go on ([`stuck`]), whose wait is to fail ([`victim`]), and what to show as the proof
//! ([`closed_set`]). Frames are numbers; it does not matter which, but where nothing else decides, the
//! greatest number is the victim. So whoever gathers frames of several processes gives them numbers in
//! an order that is the same for everybody.
//!
//! ```
//! use antifreeze_sync::graph::{Candidate, Edge, Frame, Graph, Need, stuck, victim};
//!
//! let waits_for = |frame| Frame {
//!     external: false,
//!     waits: vec![Need::All(vec![Edge { frame, soft: false }])],
//! };
//! // 1 and 2 wait for each other, 3 for 1, and 4 for 5, which runs.
//! let frames = [(1, 2), (2, 1), (3, 1), (4, 5)];
//! let graph = Graph {
//!     frames: frames.map(|(frame, other)| (frame, waits_for(other))).into(),
//! };
//! assert_eq!(stuck(&graph, true), [1, 2, 3]);
//! let candidate = |frame| Candidate { frame, ..Candidate::default() };
//! assert_eq!(victim(&graph, &[1, 2, 3], candidate), Some(2));
//! ```

mod reduce;
#[cfg(test)]
mod tests;
mod victim;

pub use reduce::stuck;
pub use victim::{Candidate, closed_set, victim};

use crate::sync::HashMap;

/// Who waits for what, as read at about one time.
///
/// A frame that is not in it does not wait, so it can go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Those who wait.
    pub frames: HashMap<u64, Frame>,
}

/// A frame that waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Something that we know nothing of may wake it.
    pub external: bool,
    /// Its waits. It can go on as soon as one of them can end: a blocked thread has one, a task may
    /// have several.
    pub waits: Vec<Need>,
}

/// What has to happen for a wait to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// All of these go on: the holders of a lock, the threads that are joined.
    All(Vec<Edge>),
    /// One of these goes on: the producers of a queue.
    Any(Vec<Edge>),
    /// `free` and the permits of holders that go on are at least `wanted`, and all those `ahead` in
    /// the queue go on.
    Permits {
        /// How many it wants.
        wanted: u64,
        /// How many nobody has.
        free: u64,
        /// Who has how many.
        holders: Vec<(Edge, u64)>,
        /// Who came first; in its way only as long as soft edges count.
        ahead: Vec<Edge>,
    },
    /// Nobody knows, so it can end.
    External,
}

/// Somebody who stands in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edge {
    /// Who it is.
    pub frame: u64,
    /// It stands in the way only because it came first: it holds nothing, and could be overtaken.
    pub soft: bool,
}
