//! Locks for threads and tasks that cannot hang silently.

#![warn(missing_docs)]
#![allow(dead_code)]

mod error;
mod graph;
mod order;
mod report;
mod view;

pub use error::LockError;
pub use report::{AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, WaitInfo};
