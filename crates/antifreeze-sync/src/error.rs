//! Why something could not be acquired.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::report::Report;

/// Why a lock, a permit or an item could not be had.
///
/// Nothing is held when this is returned, and nobody else was delayed by it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Waiting would never have ended: the report names the whole cycle.
    ///
    /// Let go of what you hold and try again; everybody else in the cycle goes on.
    Deadlock(Arc<Report>),
    /// The time that the caller gave ran out.
    Timeout,
    /// The wait was called off from outside.
    Cancelled,
    /// A queue was closed, or everybody at its other end is gone.
    Closed,
    /// A barrier was broken: somebody else gave up waiting for it, or aborted it.
    Broken,
    /// More permits were wanted than there are in all, whoever has them.
    TooMany {
        /// How many were wanted.
        wanted: u32,
        /// How many there are.
        total: u32,
    },
}

thread_local! {
    /// The last deadlock that this thread was told of.
    static LAST: RefCell<Option<Arc<Report>>> = const { RefCell::new(None) };
}

/// The deadlock that a panic on this thread was about, if its text tells of the last one.
#[doc(hidden)]
pub fn deadlock_of_panic(text: &str) -> Option<Arc<Report>> {
    let last = LAST.try_with(|last| last.borrow().clone()).ok().flatten()?;
    text.contains(&last.id).then_some(last)
}

impl LockError {
    /// The error of somebody who is told of a deadlock.
    pub(crate) fn told(report: Arc<Report>) -> Self {
        let _ = LAST.try_with(|last| last.replace(Some(Arc::clone(&report))));
        Self::Deadlock(report)
    }

    /// The report, if this is a deadlock.
    pub fn deadlock(&self) -> Option<&Report> {
        match self {
            Self::Deadlock(report) => Some(report),
            _ => None,
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(report) => report.fmt(f),
            Self::Timeout => f.write_str("the time to wait ran out"),
            Self::Cancelled => f.write_str("the wait was called off"),
            Self::Closed => f.write_str("the other end is closed"),
            Self::Broken => f.write_str("the barrier is broken"),
            Self::TooMany { wanted, total } => {
                write!(
                    f,
                    "{wanted} permits were wanted of a semaphore that has {total}"
                )
            }
        }
    }
}

impl std::error::Error for LockError {}
