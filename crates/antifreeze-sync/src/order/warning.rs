//! What is told about an order that can deadlock.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::Class;
use crate::report::Mode;

/// An order of acquisition that can deadlock, or that breaks the strict rule.
///
/// Its [`Display`](fmt::Display) is several lines: what is wrong, who did what where, what to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// What is wrong.
    pub kind: WarningKind,
    /// The class of the lock that was held when it was noticed.
    pub held: Class,
    /// The class of the lock that was taken then; none if it was no lock that was waited for.
    pub taken: Option<Class>,
    /// The acquisitions that do not go together, each while holding a lock. Each can come to wait
    /// for the next, and the last for the first.
    pub steps: Vec<Edge>,
}

/// What is wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WarningKind {
    /// Classes were taken in orders that contradict each other.
    Order {
        /// The writers that it needs in between, if it does: a reader only waits for another reader
        /// behind a writer that queues there already. Each of these was seen to wait for such a
        /// lock, or to be ready to.
        behind: Vec<Taken>,
    },
    /// Two locks of one class were held at once, and nothing says which comes first.
    SameClass {
        /// As for [`Order`](Self::Order).
        behind: Vec<Taken>,
    },
    /// A second lock was taken, against the rule of
    /// [`set_one_at_a_time`](super::set_one_at_a_time).
    SecondLock,
    /// Somebody waited for something else than a lock, and whoever ends that wait may need the lock.
    WaitWhileHolding {
        /// The lock that was held.
        holding: Taken,
        /// What was waited for, such as "condvar".
        what: &'static str,
        /// Where.
        site: &'static Location<'static>,
    },
    /// A lock was read again by its reader, but lets nobody past a writer that came in between.
    RecursiveRead,
}

/// One pair of the order: somebody held the one and took the other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Edge {
    /// What was held.
    pub held: Taken,
    /// What was taken then.
    pub taken: Taken,
}

/// An acquisition: the first one of its sort that was seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// The thread, task or call, for people, as in `thread 'main'`.
    pub who: Arc<str>,
    /// The class of the lock.
    pub class: Class,
    /// How it was taken.
    pub mode: Mode,
    /// Where in the code.
    pub site: &'static Location<'static>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock order")
    }
}
