//! What is told about a deadlock: who waits where for what, and who has it.

mod site;
mod text;

#[cfg(feature = "serde")]
pub(crate) mod json;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use site::Site;
pub(crate) use text::{Lasted, Names};

/// A cycle of waiting that was broken by failing one of its waits.
///
/// Its text says who holds what, who waits for it, where, and what the victim can do. With the
/// feature `serde` it is also data: source locations as `file:line:column`, times in milliseconds.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// Names this deadlock in logs, as in `af-7c1e03d2`.
    pub id: String,
    /// What sort of cycle it is.
    pub kind: DeadlockKind,
    /// Everybody in it, in the order of waiting: each waits for the next, the last for the first,
    /// unless somebody waits for several at once.
    pub members: Vec<Member>,
    /// The member whose wait failed, as an index.
    pub victim: usize,
}

impl Report {
    /// The report of a deadlock that was not reported before.
    pub fn new(kind: DeadlockKind, members: Vec<Member>, victim: usize) -> Self {
        Self {
            id: next_id(),
            kind,
            members,
            victim,
        }
    }
}

/// Begins anywhere, so that processes which log to the same place are unlikely to use the same.
fn next_id() -> String {
    static START: OnceLock<u32> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let start = START.get_or_init(|| RandomState::new().hash_one("deadlock") as u32);
    let id = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("af-{id:08x}")
}

/// What sort of cycle it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DeadlockKind {
    /// Several agents wait for each other.
    Cycle,
    /// One agent waits for what it holds itself.
    SelfLock,
    /// One agent reads, and waits to write the same lock.
    Upgrade,
}

/// Somebody in a cycle.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct Member {
    /// Who it is.
    pub agent: AgentInfo,
    /// What it waits for; more than one only if a task waits for several things at once.
    pub waits: Vec<WaitInfo>,
    /// What it holds of that which others in the cycle wait for.
    pub holds: Vec<HoldInfo>,
}

/// An agent: something that can hold locks and wait.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct AgentInfo {
    /// Its frame. Never used again for another one in this process.
    pub frame: u64,
    /// What it is.
    pub kind: AgentKind,
    /// The name of the thread, task or call, if it has one.
    pub name: Option<String>,
    /// The process that it is in, such as `host:port`, if that is another one.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub place: Option<String>,
}

/// What an agent is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum AgentKind {
    /// A thread.
    Thread,
    /// An asynchronous task.
    Task,
    /// A call being served.
    Call,
}

/// What somebody waits for.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct WaitInfo {
    /// The lock, semaphore, queue, ….
    pub resource: ResourceInfo,
    /// How it is wanted.
    pub mode: Mode,
    /// Where in the code the wait began.
    pub site: Site,
    /// How long it has lasted.
    #[cfg_attr(feature = "serde", serde(rename = "waited_ms", with = "json::ms"))]
    pub waited: Duration,
    /// Whether the wait has a deadline.
    pub timed: bool,
}

/// What somebody holds.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct HoldInfo {
    /// The lock, semaphore, ….
    pub resource: ResourceInfo,
    /// How it is held. For one that only stands in a queue before others: how it is wanted.
    pub mode: Mode,
    /// Where it was acquired, if known.
    pub site: Option<Site>,
    /// Whether it is not held but only waited for, by somebody who came first.
    pub queued: bool,
}

/// A lock, semaphore, queue or other thing that is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Never used again for another one in this process.
    pub id: u64,
    /// The type of primitive, such as `Mutex`.
    pub kind: Cow<'static, str>,
    /// The name it was given.
    pub name: Option<String>,
    /// The type of the data under it; empty if there is none.
    pub data: Cow<'static, str>,
    /// Where it was made.
    pub created: Site,
}

/// How something is wanted or held.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Mode {
    /// Alone.
    Write,
    /// With other readers.
    Read,
    /// With other readers, and with the right to become the writer.
    UpgradableRead,
    /// A reader with that right wants to become the writer.
    Upgrade,
    /// So many permits.
    Permits(u32),
    /// An item of a queue.
    Get,
    /// Room in a queue.
    Put,
    /// Something to happen: a notification, an event, the end of somebody.
    Signal,
    /// The answer to a call.
    Answer,
}
