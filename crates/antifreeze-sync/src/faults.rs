//! Detectors that are broken on purpose, and a look over the detector's shoulder, so that tests can
//! show that they would notice. Without the feature `faults` nothing of it is there.

#[cfg(feature = "faults")]
use std::sync::atomic::{AtomicU32, Ordering};

/// One way in which the detector can be broken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Fault {
    /// What was read once is believed.
    NoSecondPass = 1,
    /// What was read the second time is believed, whoever has run meanwhile.
    NoRereading = 1 << 1,
    /// A task that was woken counts as asleep until it is polled.
    WakeUnnoticed = 1 << 2,
    /// A task with several waits counts as blocked by each of them.
    OrAsAnd = 1 << 3,
    /// Whoever only came first is reported, not overtaken.
    SoftReported = 1 << 4,
    /// A task that asks for what it has fails at once.
    OwnTaskFails = 1 << 5,
    /// Somebody who waits for several is not blocked if one of them runs.
    StopAtRunning = 1 << 6,
    /// Wakers that others have are not counted.
    OthersCannotWake = 1 << 7,
    /// Left over copies of a waker count for ever.
    NoRenewal = 1 << 8,
    /// What is acquired by awaiting it belongs to the thread that polls.
    ThreadsOwnWhatIsAwaited = 1 << 9,
    /// A guard that may go anywhere belongs to whoever acquired it.
    OwnedIsClaimed = 1 << 10,
    /// Partners that registered meanwhile do not matter.
    MembersUnnoticed = 1 << 11,
    /// That somebody has just left counts as a refusal to let it past others.
    LeavingUnnoticed = 1 << 12,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NoSecondPass,
        Self::NoRereading,
        Self::WakeUnnoticed,
        Self::OrAsAnd,
        Self::SoftReported,
        Self::OwnTaskFails,
        Self::StopAtRunning,
        Self::OthersCannotWake,
        Self::NoRenewal,
        Self::ThreadsOwnWhatIsAwaited,
        Self::OwnedIsClaimed,
        Self::MembersUnnoticed,
        Self::LeavingUnnoticed,
    ];
}

#[cfg(feature = "faults")]
static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// Breaks the detector in this way, or mends it.
#[cfg(feature = "faults")]
pub fn set(fault: Fault, broken: bool) {
    if broken {
        ACTIVE.fetch_or(fault as u32, Ordering::SeqCst);
    } else {
        ACTIVE.fetch_and(!(fault as u32), Ordering::SeqCst);
    }
}

/// Whether the detector is broken in this way.
#[inline]
pub(crate) fn is(fault: Fault) -> bool {
    #[cfg(feature = "faults")]
    return ACTIVE.load(Ordering::Relaxed) & fault as u32 != 0;
    #[cfg(not(feature = "faults"))]
    {
        let _ = fault;
        false
    }
}

/// Called with the number of the pass and the frame when the detector has read that frame, with
/// frame zero when it has read all; with 3 and zero when all of that is confirmed.
#[cfg(feature = "faults")]
type Onlooker = Box<dyn FnMut(u32, u64) + Send>;

#[cfg(feature = "faults")]
static ONLOOKER: parking_lot::Mutex<Option<Onlooker>> = parking_lot::Mutex::new(None);

/// Has `onlooker` called between any two things that the detector reads, and before it acts on them.
#[cfg(feature = "faults")]
pub fn look_on(onlooker: Option<Onlooker>) {
    *ONLOOKER.lock() = onlooker;
}

/// The detector has come to the end of this.
#[inline]
pub(crate) fn has_read(pass: u32, frame: u64) {
    #[cfg(feature = "faults")]
    if let Some(onlooker) = &mut *ONLOOKER.lock() {
        onlooker(pass, frame);
    }
    #[cfg(not(feature = "faults"))]
    let _ = (pass, frame);
}

/// Looks at everything that `frame` waits for, beginning with it. Says how many waits failed.
#[cfg(feature = "faults")]
pub fn check_from(frame: u64) -> usize {
    crate::detector::check_from(frame)
}
