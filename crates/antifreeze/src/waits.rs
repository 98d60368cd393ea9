//! The live view of a process as plain data: who waits for whom, at one moment.
//!
//! Every daemon gives it to others as `graph()` and `deadlocks()` of its object
//! `Antifreeze.Detector`; the command `antifreeze waits` draws it.
//!
//! ```
//! use antifreeze::{Daemon, Proxy, waits};
//!
//! # fn main() -> Result<(), antifreeze::Error> {
//! let running = Daemon::bind("localhost:0")?.start()?;
//! let detector = format!("PYRO:Antifreeze.Detector@{}", running.daemon().location());
//! let graph: waits::Graph = Proxy::connect(&detector)?.call("graph", ())?;
//! assert_eq!(graph.node, waits::graph().node);
//! running.stop()
//! # }
//! ```

use antifreeze_sync::Report;
use serde::{Deserialize, Serialize};

pub use crate::detector::{deadlocks, graph};

/// Who waits in a process, for what, and who has it.
///
/// Each lock and each call is read by itself, so what goes on at the same time may show twice or not
/// at all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Graph {
    /// The process, as a number in hexadecimal digits that no other one has, not even the next one
    /// at the same address.
    pub node: String,
    /// Its number in its system.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// The version of Antifreeze in it.
    pub version: String,
    /// Those who wait, and those who hold what others wait for.
    pub frames: Vec<Frame>,
    /// What is waited for.
    pub locks: Vec<Lock>,
    /// Calls that were made here and are not answered.
    pub calls: Vec<Call>,
    /// Its daemons.
    pub daemons: Vec<Daemon>,
    /// There was more than is told.
    pub truncated: bool,
}

/// A thread, a task, or a call that is served.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Frame {
    /// Its number in its process.
    pub frame: u64,
    /// `thread`, `task` or `call`; none if it runs and nobody needed to know what it is.
    pub kind: Option<String>,
    /// The name of the thread or task, or `object.method`.
    pub name: Option<String>,
    /// The object of a call.
    pub object: Option<String>,
    /// The method of a call.
    pub method: Option<String>,
    /// Frames that are connected by calls have the same: the process and the frame that it began
    /// with, in sixteen hexadecimal digits each. None if the frame is known only as a holder.
    pub chain: Option<String>,
    /// The call that it serves, if that is known.
    pub caller: Option<Caller>,
    /// What it waits for, other than calls.
    pub waits: Vec<Wait>,
    /// The calls that it has made and waits for, by their number.
    pub calls: Vec<u64>,
    /// What it holds of that which others wait for.
    pub holds: Vec<Hold>,
}

/// A call, as whoever serves it knows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Caller {
    /// The process of the caller.
    pub node: String,
    /// The number of the call there.
    pub call: u64,
    /// The frame that made it.
    pub frame: u64,
    /// It came through a program that knows nothing of this.
    pub opaque: bool,
}

/// A wait for a lock or the like.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Wait {
    /// The number of the lock.
    pub lock: u64,
    /// How it is wanted: `write`, `read`, `upgrade`, `upgradable read`, `3 permits`, `get`, `put` or
    /// `signal`.
    pub mode: String,
    /// Where in the code the wait began, as `file:line:column`.
    pub site: String,
    /// How many milliseconds it has lasted.
    pub ms: f64,
    /// It has a deadline.
    pub timed: bool,
}

/// Something that is held.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Hold {
    /// The number of the lock.
    pub lock: u64,
    /// How it is held, as in [`Wait`].
    pub mode: String,
    /// Where in the code it was acquired, if known.
    pub site: Option<String>,
}

/// Something that is waited for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Lock {
    /// Its number in its process.
    pub lock: u64,
    /// As in `Mutex<u32> "left"`.
    pub name: String,
    /// Where in the code it was made.
    pub created: String,
    /// The frames that have it.
    pub holders: Vec<u64>,
    /// Others, of whom nothing is known, may have it or let the next one go on.
    pub others: bool,
    /// The frames that wait for it, in their order.
    pub queue: Vec<u64>,
}

/// A call that is not answered yet.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Call {
    /// Its number in its process.
    pub call: u64,
    /// The frame that makes it.
    pub frame: u64,
    /// Whom it was sent to, as `host:port`.
    pub to: String,
    /// The process there. None if that is not one of ours, so that it cannot be asked.
    pub node: Option<String>,
    /// Where in the code it was made, if known.
    pub site: Option<String>,
    /// How many milliseconds it has lasted.
    pub ms: f64,
    /// Its caller gives up at some time.
    pub timed: bool,
}

/// A daemon and its pool of workers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Daemon {
    /// Where it listens.
    pub address: String,
    /// How many workers are in methods.
    pub busy: u64,
    /// How many may be.
    pub limit: u64,
    /// How many calls wait for one.
    pub queued: u64,
}

/// A deadlock that was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct PastDeadlock {
    /// When, in seconds since 1970.
    pub time: f64,
    /// It was broken by failing somebody in this process, and not only reported.
    pub broken: bool,
    /// Who was in it, who held what and waited for what.
    pub text: String,
    /// The same as data.
    pub report: Report,
}
