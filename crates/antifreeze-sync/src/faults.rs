//! Detectors that are broken on purpose, so that tests can show that they would notice.

use std::sync::atomic::{AtomicU32, Ordering};

static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// One way in which the detector can be broken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Fault {
    /// What was read once is believed.
    NoSecondPass = 1,
    /// The second pass does not look whether everybody still is in the same wait.
    NoRereading = 1 << 1,
    /// A later wait of the same frame for the same thing passes for the same wait.
    WaitsAlike = 1 << 2,
    /// Waking a task does not count as running until it is polled.
    WakeUnnoticed = 1 << 3,
    /// A task with several waits counts as blocked by each of them.
    OrAsAnd = 1 << 4,
    /// Whoever only came first is reported, not overtaken.
    SoftReported = 1 << 5,
    /// A task that waits for what it holds fails at once.
    OwnTaskFails = 1 << 6,
    /// A writer is not blocked if one of the readers runs.
    StopAtRunningReader = 1 << 7,
    /// Wakers that others hold are not counted.
    OthersCannotWake = 1 << 8,
    /// Stale copies of a waker count for ever.
    NoRenewal = 1 << 9,
    /// What a task acquires belongs to the thread that polls it.
    ThreadOwnsTasksLocks = 1 << 10,
    /// Partners that registered meanwhile do not matter.
    MembersUnnoticed = 1 << 11,
    /// A cycle that was there after another one was broken is left alone.
    OneVictimOnly = 1 << 12,
}

/// Breaks the detector in this way, or mends it.
pub fn set(fault: Fault, broken: bool) {
    if broken {
        ACTIVE.fetch_or(fault as u32, Ordering::SeqCst);
    } else {
        ACTIVE.fetch_and(!(fault as u32), Ordering::SeqCst);
    }
}

/// Whether the detector is broken in this way.
pub(crate) fn is(fault: Fault) -> bool {
    cfg!(feature = "faults") && ACTIVE.load(Ordering::Relaxed) & fault as u32 != 0
}
