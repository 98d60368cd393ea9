//! What a process is told to do, a line of JSON each, and what it says. `node.py` knows the same words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::program::{Mode, Sort};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    /// New objects and locks, with these names.
    Make {
        objects: Vec<String>,
        locks: Vec<(String, Sort)>,
    },
    /// The objects and locks are not needed any more.
    Drop,
    /// A thread or task that begins here.
    Begin {
        frame: u64,
        name: String,
        task: bool,
    },
    /// A frame takes a lock.
    Lock {
        frame: u64,
        lock: String,
        mode: How,
        /// Not at all if 0.
        wait_ms: Option<u64>,
    },
    Unlock {
        frame: u64,
        lock: String,
    },
    /// A frame calls somebody.
    Call {
        frame: u64,
        #[serde(flatten)]
        call: CallOrder,
    },
    /// A frame ends.
    End {
        frame: u64,
        how: Ending,
    },
    /// Who waits now?
    Look,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CallOrder {
    pub(crate) uri: String,
    pub(crate) method: String,
    /// The number of whoever serves it.
    pub(crate) callee: u64,
    pub(crate) oneway: bool,
    pub(crate) batch: bool,
    pub(crate) limit_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    Write,
    Read,
    Permits(u32),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Return,
    /// With the last error that it got.
    Fail,
    Panic,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(crate) enum Said {
    Ready {
        place: String,
    },
    Made,
    /// What is still held, and frames that are still there.
    Dropped {
        left: Vec<String>,
    },
    /// A frame has begun.
    Entered {
        frame: u64,
    },
    /// A frame has what it wanted.
    Done {
        frame: u64,
    },
    /// It would have to wait, but was not to.
    Refused {
        frame: u64,
    },
    Failed {
        frame: u64,
        error: Failure,
    },
    /// A frame is over.
    Ended {
        frame: u64,
    },
    Waiting {
        queues: Vec<Queue>,
    },
    /// Something that cannot be.
    Confused {
        text: String,
    },
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) late: bool,
    pub(crate) deadlock: Option<Told>,
}

/// A deadlock that somebody was told of.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// As in the attribute `antifreeze` of the exception.
    pub(crate) cycle: Vec<Value>,
    pub(crate) victim: usize,
    /// None if whoever fails has waited for a lock itself.
    pub(crate) retry_safe: Option<bool>,
}

/// What is waited for, and the names of those who do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Queue {
    pub(crate) resource: Option<String>,
    pub(crate) waiters: Vec<String>,
}

impl From<Mode> for How {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Write => Self::Write,
            Mode::Read | Mode::Pass => Self::Read,
            Mode::Permits(permits) => Self::Permits(permits),
        }
    }
}
