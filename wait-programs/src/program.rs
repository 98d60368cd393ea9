//! What is done: things that are taken, and chains of calls through processes that take them.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// A program for some of the processes of a troupe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) things: Vec<Thing>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) class: Class,
}

/// What may be expected of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Class {
    /// Every deadlock is found, and nothing else.
    #[default]
    Plain,
    /// What Python does cannot be told from a deadlock, so there may be false reports.
    Ambiguous,
}

/// What a process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Ours, served by threads.
    Threads,
    /// Ours, served on the event loop.
    Tasks,
    /// Pyro5's, with a thread for each connection, or one for all.
    Python { single: bool },
}

/// The processes of a troupe, by their numbers. There is one of those that serve one call at a time:
/// who occupies one knows nothing of who occupies another, so a cycle through two cannot be found.
pub(crate) const TROUPE: [Kind; 7] = [
    Kind::Threads,
    Kind::Tasks,
    Kind::Threads,
    Kind::Tasks,
    Kind::Python { single: false },
    Kind::Python { single: false },
    Kind::Python { single: true },
];

impl Kind {
    pub(crate) fn is_python(self) -> bool {
        matches!(self, Self::Python { .. })
    }
}

/// Something that one frame has, or several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thing {
    pub(crate) node: usize,
    pub(crate) sort: Sort,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Sort {
    /// An object, taken by calls of its methods.
    Object,
    Mutex,
    RwLock,
    /// A bounded semaphore with so many permits.
    Semaphore(u32),
    /// All of a Python program that serves one call at a time.
    Place,
}

/// As many read together as like.
pub(crate) const ALL: u32 = 1 << 20;

impl Sort {
    /// How many permits there are.
    pub(crate) fn total(self) -> u32 {
        match self {
            Self::Semaphore(permits) => permits,
            Self::Mutex | Self::Place => 1,
            Self::Object | Self::RwLock => ALL,
        }
    }

    /// Whether frames take it by a call of a lock, and not by beginning.
    pub(crate) fn is_lock(self) -> bool {
        !matches!(self, Self::Object | Self::Place)
    }

    /// How many permits somebody takes who wants it in this mode.
    pub(crate) fn permits(self, mode: Mode) -> u32 {
        match (self, mode) {
            (Self::Object | Self::RwLock, Mode::Read | Mode::Pass) => 1,
            (_, Mode::Permits(permits)) => permits,
            _ => self.total(),
        }
    }
}

/// How a thing is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Write,
    Read,
    /// Reading, whoever waits to write: `#[lock(none)]`.
    Pass,
    Permits(u32),
}

/// How long something is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Patience {
    Forever,
    /// Not at all.
    Try,
    /// With a deadline that never comes.
    Long,
    /// With one that comes after so many milliseconds.
    Short(u64),
}

/// What begins somewhere, not called by anybody.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) node: usize,
    /// A task; else a thread.
    pub(crate) task: bool,
    pub(crate) script: Rc<Script>,
    /// How often it begins again after it was told of a deadlock.
    pub(crate) retries: u32,
}

/// What a frame does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// It goes on when something fails.
    pub(crate) swallows: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum End {
    #[default]
    Return,
    /// With all that it still holds.
    Panic,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Lock {
        thing: usize,
        mode: Mode,
        patience: Patience,
    },
    Unlock(usize),
    Call(Call),
    /// Nothing, for so many milliseconds.
    Pause(u64),
}

/// A call of an object of ours, or of a Python program.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) node: usize,
    /// What it takes before it begins, and how.
    pub(crate) enters: Option<(usize, Mode)>,
    /// The method is an `async fn`.
    pub(crate) task: bool,
    /// Nobody waits for it.
    pub(crate) oneway: bool,
    /// It has a deadline that never comes.
    pub(crate) timed: bool,
    /// As the only one of a batch.
    pub(crate) batch: bool,
    pub(crate) script: Rc<Script>,
}

/// The name of the object without a lock that each process of ours has.
pub(crate) const OPEN: &str = "open";

/// Whether the object with this name has no lock.
pub(crate) fn is_open(name: &str) -> bool {
    name.ends_with(OPEN)
}
