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

use crate::label::WORKERS;

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
    /// unless somebody waits for several at once. It begins with the victim, if that is in it.
    pub members: Vec<Member>,
    /// The member whose wait failed, as an index.
    pub victim: usize,
    /// A program took part that cannot be asked, so it is inferred that it waits for the calls that
    /// came from it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub inferred: bool,
    /// How many more members there are, who are not told of.
    #[cfg_attr(feature = "serde", serde(default))]
    pub left_out: usize,
}

impl Report {
    /// The report of a deadlock that was not reported before.
    pub fn new(kind: DeadlockKind, members: Vec<Member>, victim: usize) -> Self {
        Self {
            id: next_id(),
            kind,
            members,
            victim,
            inferred: false,
            left_out: 0,
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
    /// Several agents have all workers of a pool, and wait for whoever needs one.
    Pool,
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

impl Member {
    /// Somebody who waits for nothing and holds nothing.
    pub fn new(agent: AgentInfo) -> Self {
        Self {
            agent,
            waits: Vec::new(),
            holds: Vec::new(),
        }
    }
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

impl AgentInfo {
    /// An agent of this process without a name.
    pub fn new(frame: u64, kind: AgentKind) -> Self {
        Self {
            frame,
            kind,
            name: None,
            place: None,
        }
    }
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

impl WaitInfo {
    /// A wait that begins now and has no deadline.
    pub fn new(resource: ResourceInfo, mode: Mode, site: Site) -> Self {
        Self {
            resource,
            mode,
            site,
            waited: Duration::ZERO,
            timed: false,
        }
    }
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

impl HoldInfo {
    /// Something that is held, nobody knows since where.
    pub fn new(resource: ResourceInfo, mode: Mode) -> Self {
        Self {
            resource,
            mode,
            site: None,
            queued: false,
        }
    }
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

impl ResourceInfo {
    /// Something of which only its number and its kind are known.
    pub fn new(id: u64, kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id,
            kind: kind.into(),
            name: None,
            data: Cow::Borrowed(""),
            created: Site::unknown(),
        }
    }

    /// Whether its permits are the workers of a pool.
    pub fn is_pool(&self) -> bool {
        self.kind == WORKERS
    }
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
