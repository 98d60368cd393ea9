//! What the detector needs of the process that it is in, and what it gets to see, as plain data.

use std::time::Duration;

use antifreeze_sync::graph::{self, Candidate};

use crate::report::Report;

/// The process in which a [`Core`](crate::Core) is: who waits there for what, and how a wait is failed.
///
/// Nothing of it may block for long. Frames are known by their numbers, which are never used again.
pub trait Home {
    /// Reads these and everything in this process that they wait for.
    ///
    /// Whoever is not in it does not wait. What was read is kept under the reading's number for some
    /// seconds, so that [`confirm`](Self::confirm) can compare.
    fn read(&mut self, roots: &[Root]) -> Reading;

    /// Reads what these frames wait for once more, **all** of it, and only then looks whether each of
    /// them is still in the same wait, and with the same partners, as in that reading. None if not.
    ///
    /// Only here, [`Frame::about`] is wanted.
    fn confirm(&mut self, reading: u64, frames: &[u64]) -> Option<Reading>;

    /// Whether this call of this process was not answered: somebody waits for it, or has given it up.
    ///
    /// May say no if it does not know.
    fn is_unanswered(&mut self, call: u64) -> bool;

    /// Fails the wait of this frame, if it is still the one of that reading. Says whether it did.
    fn fail(&mut self, reading: u64, frame: u64, report: &Report) -> bool;

    /// Lets this frame in past those who only came before it, if its wait is still the one of that
    /// reading. Says whether it did.
    fn admit(&mut self, reading: u64, frame: u64) -> bool;
}

/// Where a reading begins.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Root {
    /// A frame of this process.
    Frame(u64),
    /// The frames of this process that serve this call.
    Call(CallId),
}

/// A call that some process makes. Never used again for another one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId {
    /// The process that makes it.
    pub node: u64,
    /// Its number there.
    pub seq: u64,
}

/// A process that has a detector, and how to reach that.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Peer {
    /// Its number, drawn at random when it started.
    pub node: u64,
    /// An address of one of its daemons. Empty if it has none, and so cannot be asked.
    pub address: String,
}

/// What was read of one process at about one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Its name in this process.
    pub number: u64,
    /// Those who wait.
    pub frames: Vec<Frame>,
    /// There was more than is in it.
    pub truncated: bool,
}

/// A frame that waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Its number, and what decides whether its wait is the one that fails.
    pub candidate: Candidate,
    /// The call that it serves.
    pub parent: Option<CallId>,
    /// Frames that are connected by calls have the same.
    pub chain: [u8; 16],
    /// Something that nobody knows of may wake it.
    pub external: bool,
    /// How long the latest of its waits has lasted: when that began, it was not blocked. Nobody looks at a wait
    /// that has not lasted. Peers are not told.
    pub waited: Duration,
    /// It goes on as soon as one of these ends.
    pub waits: Vec<Need>,
    /// What is told about it.
    pub about: About,
}

/// What has to happen for a wait to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// Something of frames in the same process.
    Local(graph::Need),
    /// This call returns.
    Call(Call),
}

/// A call that has not returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Its number in the process that makes it.
    pub seq: u64,
    /// Who serves it.
    pub to: Callee,
}

/// Who serves a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Callee {
    /// A process that has a detector.
    Native(Peer),
    /// A process that has none, such as a Python program.
    Opaque {
        /// Names it, the same everywhere: the address of its socket.
        location: String,
        /// It serves one call at a time, and may not have begun with this one: so no more once the
        /// connection that was made for the call is accepted.
        single_threaded: bool,
    },
    /// Not known, or not yet.
    Unknown,
}

/// A frame, for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct About {
    /// What it is, as in `thread "main"` or `call bank.A.transfer`.
    pub agent: String,
    /// The object whose method runs; empty if it is no call.
    pub object: String,
    /// The method.
    pub method: String,
    /// What it has of that which others wait for.
    pub holds: Vec<Hold>,
    /// What it waits for.
    pub waits: Vec<Wanted>,
}

/// What somebody has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hold {
    /// The lock, semaphore, …, as in `Mutex<u32> "left"`.
    pub lock: String,
    /// How: `read`, `write`, `2 permits`.
    pub mode: String,
    /// Where it was acquired; empty if that is not known.
    pub site: String,
}

/// What somebody waits for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The lock, semaphore, call, ….
    pub lock: String,
    /// How: `read`, `write`, `2 permits`, `call`.
    pub mode: String,
    /// Where the wait began; empty if that is not known.
    pub site: String,
    /// How long it has lasted.
    pub ms: u64,
    /// It is for a worker of a pool.
    pub pool: bool,
}

impl Reading {
    /// The calls in it that may wait to be served by a single-threaded place: their numbers, and where.
    pub(crate) fn queued(&self) -> impl Iterator<Item = (u64, &str)> {
        let calls = self.frames.iter().flat_map(Frame::calls);
        calls.filter_map(|call| match &call.to {
            Callee::Opaque {
                location,
                single_threaded: true,
            } => Some((call.seq, &**location)),
            _ => None,
        })
    }
}

impl Frame {
    /// Its number in its process.
    pub fn number(&self) -> u64 {
        self.candidate.frame
    }

    /// The calls that it waits for.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.waits.iter().filter_map(|need| match need {
            Need::Call(call) => Some(call),
            Need::Local(_) => None,
        })
    }

    /// Those in its own process who stand in its way.
    pub fn blockers(&self) -> impl Iterator<Item = u64> {
        self.waits.iter().flat_map(|need| {
            let (edges, holders, ahead): (&[graph::Edge], &[(graph::Edge, u64)], &[graph::Edge]) =
                match need {
                    Need::Local(graph::Need::All(edges) | graph::Need::Any(edges)) => {
                        (edges, &[], &[])
                    }
                    Need::Local(graph::Need::Permits { holders, ahead, .. }) => {
                        (&[], holders, ahead)
                    }
                    Need::Local(graph::Need::External) | Need::Call(_) => (&[], &[], &[]),
                };
            let holders = holders.iter().map(|(edge, _)| edge);
            let all = edges.iter().chain(holders).chain(ahead);
            all.map(|edge| edge.frame)
        })
    }
}
