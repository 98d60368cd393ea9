//! Detectors that are broken on purpose, so that tests can show that they would notice.

/// One way in which the detector, or its home, can be broken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// What was read once is believed.
    NoSecondPass,
    /// A home looks who is in the same wait before it reads what they wait for, not after.
    EpochsFirst,
    /// Nobody reports itself to the caller of an opaque callee.
    AttachDropped,
    /// A home fails a wait though it is not the one that was read.
    StaleVerdictAccepted,
    /// A frame with several waits counts as blocked by each of them.
    OrAsAnd,
    /// Children of an opaque call that came or went between the passes do not matter.
    ChildrenNotCompared,
    /// No time passes between the passes over an opaque call.
    OpaqueConfirmZero,
    /// Each process prefers victims of its own.
    OwnVictimsFirst,
    /// Whoever only came first is reported, not overtaken.
    SoftReported,
    /// A home does not notice that the caller of a frame, who cannot be asked, has hung up.
    HangUpIgnored,
    /// A home takes calls that were answered for some that were not.
    AnsweredOccupies,
    /// A home forgets calls that it has given up.
    GivenUpForgotten,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoSecondPass,
        Self::EpochsFirst,
        Self::AttachDropped,
        Self::StaleVerdictAccepted,
        Self::OrAsAnd,
        Self::ChildrenNotCompared,
        Self::OpaqueConfirmZero,
        Self::OwnVictimsFirst,
        Self::SoftReported,
        Self::HangUpIgnored,
        Self::AnsweredOccupies,
        Self::GivenUpForgotten,
    ];
}
