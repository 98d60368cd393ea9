//! Random distributed programs in virtual time, with ground truth, against the detector of deadlocks
//! that span processes.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program of the project, not an interface")]

mod chart;
pub mod compare;
mod home;
mod oracle;
pub mod program;
mod tally;
pub mod world;

pub use antifreeze_detector::faults::Fault;

pub use crate::tally::{Order, Tally, run_all, run_one};

/// The way to break a detector that has this name.
pub fn parse_fault(name: &str) -> Result<Fault, String> {
    let known = Fault::ALL.iter().copied();
    let mut all = known.map(|fault| (format!("{fault:?}"), fault));
    let found = all.find(|(other, _)| *other == name);
    found.map(|(_, fault)| fault).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL
            .iter()
            .map(|fault| format!("{fault:?}"))
            .collect();
        format!("expected one of {}", names.join(", "))
    })
}
