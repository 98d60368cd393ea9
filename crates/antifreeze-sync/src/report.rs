//! What is told about a deadlock: who waits where for what, and who has it.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// A cycle of waiting that was broken by failing one of its waits.
#[derive(Clone, Debug)]
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

/// What sort of cycle it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
#[non_exhaustive]
pub struct AgentInfo {
    /// Its frame. Never used again for another one in this process.
    pub frame: u64,
    /// What it is.
    pub kind: AgentKind,
    /// The name of the thread, task or call, if it has one.
    pub name: Option<String>,
}

/// What an agent is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
#[non_exhaustive]
pub struct WaitInfo {
    /// The lock, semaphore, queue, ….
    pub resource: ResourceInfo,
    /// How it is wanted.
    pub mode: Mode,
    /// Where in the code the wait began.
    pub site: &'static Location<'static>,
    /// How long it has lasted.
    pub waited: Duration,
    /// Whether the wait has a deadline.
    pub timed: bool,
}

/// What somebody holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HoldInfo {
    /// The lock, semaphore, ….
    pub resource: ResourceInfo,
    /// How it is held. For one that only stands in a queue before others: how it is wanted.
    pub mode: Mode,
    /// Where it was acquired, if known.
    pub site: Option<&'static Location<'static>>,
    /// Whether it is not held but only waited for, by somebody who came first.
    pub queued: bool,
}

/// A lock, semaphore, queue or other thing that is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Never used again for another one in this process.
    pub id: u64,
    /// The type of primitive, such as `Mutex`.
    pub kind: &'static str,
    /// The name it was given.
    pub name: Option<String>,
    /// The type of the data under it; empty if there is none.
    pub data: &'static str,
    /// Where it was made.
    pub created: &'static Location<'static>,
}

/// How something is wanted or held.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadlock [{}] of {} agents", self.id, self.members.len())
    }
}
