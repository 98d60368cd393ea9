//! What can differ from one exploration to the next.

use super::state::{DETECTORS, FRAMES, LOCKS, Set, bit, has};
use crate::config::Expect;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Is always there: a thread of its own.
    Root,
    /// A task that is always there, and may wait for several things at once.
    Task,
    /// Serves calls, one after the other.
    Served,
    /// Serves calls where no detector is: a program that hands on the annotation of the call that it
    /// serves to each that it makes.
    Hop,
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its node; of a hop: its program.
    pub node: u8,
    /// What it is.
    pub role: Role,
}

/// A number of permits, of which a frame takes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// Where it is.
    pub node: u8,
    /// How many there are.
    pub capacity: u8,
    /// Whether these are the workers of the node, of which each served frame there needs one from its
    /// beginning to its end.
    pub pool: bool,
}

/// How pass 2 goes at one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confirm {
    /// Not at all.
    Nothing,
    /// Frame by frame: its epoch and its edges at once.
    FrameByFrame,
    /// All edges and epochs of the node in one step.
    AtOnce,
    /// The edges, frame by frame, and then all epochs.
    EdgesThenEpochs,
    /// The epochs, and then the edges, frame by frame.
    EpochsThenEdges,
}

/// What must be the same of the children of a call to a hop, in both passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Children {
    /// The one that was found must still be there.
    Found,
    /// Their set.
    Set,
    /// The number of changes to it, too.
    Count,
}

/// When a call to a hop that does one thing at a time waits for another call there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occupied {
    /// Never.
    Unseen,
    /// If the other is outstanding, and has one child.
    Outstanding,
    /// If it has one child, be it outstanding or given up.
    Unanswered,
}

/// How the victim is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victims {
    /// Any candidate; so all orders are explored.
    Any,
    /// Everybody takes the first in the same order, so one deadlock must have one victim.
    Same,
    /// Each detector has an order of its own, and still one deadlock must have one victim.
    Differ,
}

/// One thing done wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A verdict is accepted by whatever the frame waits for by then.
    VerdictUnchecked,
    /// Whoever wants a worker seems stuck if one of those who have one is.
    PoolAsAnd,
    /// A queued call is no frame, and so seems to run.
    QueueUnseen,
    /// Nobody attaches.
    NoAttach,
    /// There is no check after a frame has attached itself.
    NoCheckOnAttach,
    /// There is no check after all children of a call but one have gone.
    NoCheckOnDetach,
    /// A child that is no more counts as one.
    GhostsCount,
    /// A connection that its hop has closed still makes its frame a child.
    EndIgnored,
    /// Pass 2 does not ask a child whether it still descends from the call.
    ClaimUnconfirmed,
    /// Pass 2 begins at once, also with a hop.
    NoPause,
    /// One of several children is enough.
    AnyChild,
    /// A call that was answered goes on to occupy its hop, for those who descend from it.
    AnsweredOccupies,
    /// A call of which there were two children never has one again.
    OnceForked,
    /// A call to an occupied hop waits for any of several children of another call.
    AnyOccupant,
    /// There is no check when a call to a hop begins that does one thing at a time.
    NoCheckOnCall,
    /// A call to a hop cannot be failed.
    CallsStay,
}

/// One configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The frames.
    pub frames: Vec<Frame>,
    /// Whom each of them may call.
    pub may_call: Vec<Set>,
    /// What there is to wait for.
    pub locks: Vec<Lock>,
    /// How many checks may be under way at once.
    pub detectors: usize,
    /// Whether waits may end by themselves: for locks, for workers, for calls.
    pub timeouts: bool,
    /// Nodes that may crash, and start again with nothing.
    pub crashes: Set,
    /// Whether messages between detectors may be lost.
    pub losses: bool,
    /// Whether the waits of those who descend from a call to a hop are checked again now and then, not
    /// just when something happens to them.
    pub repeats: bool,
    /// Whether a node tells of all its frames that are asked for, and of those they wait for, in one
    /// step.
    pub whole_nodes: bool,
    /// How pass 2 goes.
    pub confirm: Confirm,
    /// Programs that do one thing at a time.
    pub single: Set,
    /// Whether hops may give up their calls.
    pub hop_timeouts: bool,
    /// Whether hops may have others make calls that they do not wait for, with the same annotation.
    pub forks: bool,
    /// Whether hops may make calls with an old annotation, after their reply.
    pub stale: bool,
    /// Whether a frame failed because of a fork that nothing has shown counts as right.
    pub forgive_forks: bool,
    /// What must be the same of the children of a call.
    pub children: Children,
    /// Whether calls wait for others at programs that do one thing at a time.
    pub occupied: Occupied,
    /// How victims are chosen.
    pub victims: Victims,
    /// What is done wrong on purpose.
    pub fault: Option<Fault>,
    /// What must come of it.
    pub expect: Expect,
    /// Only with `--full`.
    pub large: bool,
    /// Give up after so many states.
    pub bound: u64,
}

impl Config {
    /// One detector, all rules kept. Frames may call those of other nodes; hops may call served frames,
    /// and hops of programs behind their own.
    pub fn new(name: &'static str, about: &'static str, frames: &[Frame], locks: &[Lock]) -> Self {
        assert!(frames.len() <= FRAMES && locks.len() <= LOCKS);
        let may = |caller: &Frame, called: &Frame| match (caller.role, called.role) {
            (_, Role::Root | Role::Task) => false,
            (Role::Hop, Role::Hop) => caller.node < called.node,
            _ => caller.node != called.node,
        };
        let may_call = |caller| {
            let called = |index| Set::from(may(caller, &frames[index])) << index;
            (0..frames.len()).fold(0, |set, index| set | called(index))
        };
        Self {
            name,
            about,
            frames: frames.to_vec(),
            may_call: frames.iter().map(may_call).collect(),
            locks: locks.to_vec(),
            detectors: 1,
            timeouts: true,
            crashes: 0,
            losses: false,
            repeats: false,
            whole_nodes: false,
            confirm: Confirm::EdgesThenEpochs,
            single: 0,
            hop_timeouts: false,
            forks: false,
            stale: false,
            forgive_forks: false,
            children: Children::Count,
            occupied: Occupied::Unanswered,
            victims: Victims::Any,
            fault: None,
            expect: Expect::Sound,
            large: false,
            bound: 150_000_000,
        }
        .checked()
    }

    fn checked(self) -> Self {
        assert!(self.detectors <= DETECTORS);
        self
    }

    /// The node of a frame.
    pub fn node(&self, frame: usize) -> u8 {
        self.frames[frame].node
    }

    /// Whether this is a hop.
    pub fn is_hop(&self, frame: usize) -> bool {
        self.frames[frame].role == Role::Hop
    }

    /// Whether this is a hop that does one thing at a time.
    pub fn is_single(&self, frame: usize) -> bool {
        self.is_hop(frame) && has(self.single, usize::from(self.node(frame)))
    }

    /// Whether this frame may wait for several things at once.
    pub fn is_task(&self, frame: usize) -> bool {
        self.frames[frame].role == Role::Task
    }

    /// The frames at a node.
    pub fn at(&self, node: u8) -> Set {
        let here = |frame: &usize| self.node(*frame) == node;
        (0..self.frames.len())
            .filter(here)
            .fold(0, |set, frame| set | bit(frame))
    }

    /// The workers of a node, if they are limited.
    pub fn pool(&self, node: u8) -> Option<usize> {
        self.locks
            .iter()
            .position(|lock| lock.pool && lock.node == node)
    }

    /// Whether this fault is in.
    pub fn broken(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Phantoms are judged by the weakest measure where one is to be found: the failed frame was
    /// at no instant of the whole check deadlocked.
    pub fn judged_by_ever(&self) -> bool {
        self.expect == Expect::Phantom && self.victims == Victims::Any
    }
}
