//! What can differ from one exploration to the next.

use crate::state::{FRAMES, RESOURCES, Set};

/// A resource that frames wait for.
///
/// All locks are one thing here: `capacity` permits. A mutex has one. Of a lock for readers and
/// writers a reader takes one and a writer takes all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// M, R, S, E or C.
    pub letter: char,
    /// How many permits there are. Of an event or a call: 0.
    pub capacity: u8,
    /// How many a frame may ask for.
    pub wishes: &'static [u8],
    /// Whether those who already hold some may ask for more.
    pub more: bool,
    /// Whether waiters get it in order, from hand to hand, and nobody overtakes. Otherwise anyone
    /// takes what is free.
    pub fifo: bool,
    /// Whether it is in order, but when it is quite free a running thread may take it first, and a
    /// thread at the head of the queue may be woken to try its luck instead of being given it.
    pub passing: bool,
}

impl Resource {
    const fn lock(letter: char, capacity: u8, wishes: &'static [u8]) -> Self {
        Self {
            letter,
            capacity,
            wishes,
            more: false,
            fifo: true,
            passing: false,
        }
    }

    /// A mutex.
    pub const fn mutex() -> Self {
        Self::lock('M', 1, &[1])
    }

    /// Up to three readers, or one writer.
    pub const fn rwlock() -> Self {
        Self::lock('R', 3, &[1, 3])
    }

    /// A semaphore, of which 1 to `wish` permits are asked for at a time.
    pub const fn semaphore(capacity: u8, wish: u8) -> Self {
        let wishes: &[u8] = match wish {
            1 => &[1],
            2 => &[1, 2],
            _ => &[1, 2, 3],
        };
        Self {
            more: true,
            ..Self::lock('S', capacity, wishes)
        }
    }

    /// An event with declared notifiers.
    pub const fn event() -> Self {
        Self::lock('E', 0, &[1])
    }

    /// The end of a call that a frame makes on its own thread.
    pub const fn call() -> Self {
        Self::lock('C', 0, &[1])
    }

    /// Anyone takes what is free.
    pub const fn barging(self) -> Self {
        Self {
            fifo: false,
            ..self
        }
    }

    /// In order, but running threads may be faster than the queue.
    pub const fn passing(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    /// Whoever holds some may ask for more (an upgrade, for a reader).
    pub const fn and_more(self) -> Self {
        Self { more: true, ..self }
    }

    /// Whether this is a lock, which some hold and others want.
    pub fn is_lock(&self) -> bool {
        self.capacity > 0
    }

    /// Whether this is the end of a call.
    pub fn is_call(&self) -> bool {
        self.letter == 'C'
    }
}

/// How the detector makes sure of what it has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Second {
    /// Not at all.
    Nothing,
    /// Frame by frame: its epoch, then whether it still waits for one of the deadlocked.
    FrameByFrame,
    /// All edges first, then all epochs; any change rejects.
    EdgesThenEpochs,
}

/// How much happens in one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grain {
    /// A lock is taken, freed or handed over in one step; the detector reads the wait of a frame
    /// and its edges in one.
    Coarse,
    /// As `Coarse`, but the detector reads a frame and each of its edges in steps of their own.
    Medium,
    /// Every store is a step: taking the lock, ending the wait, writing down the owner; wiping off
    /// the owner, freeing the lock; granting it, writing down the new owner.
    Fine,
    /// As `Fine`, and the journals of the holders of a lock are read one by one.
    Finest,
}

/// One thing done wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A granter leaves the epoch of the granted frame unchanged.
    SilentGrant,
    /// A wake leaves the epoch of the woken task unchanged.
    SilentWake,
    /// A wait that ends by itself leaves the epoch unchanged.
    SilentEnd,
    /// A granted frame may run before its granter has written it down as the owner.
    LateOwner,
    /// Guards move to other frames and stay attributed to the first.
    MovedGuard,
    /// Pass 2 does not ask whether the declared partners were changed and changed back.
    NoPartnersSeq,
    /// A task with several waits counts as deadlocked if one of them is.
    OrAsAnd,
    /// Who only waits behind another waiter is failed, not let past.
    SoftFailed,
    /// Pass 2 only confirms; who is failed or let past is decided by the edges of pass 1.
    OldEdges,
    /// A check ends at the first running frame it meets.
    EarlyStop,
    /// A task that waits for what itself holds counts as deadlocked at once.
    SelfIsDeadlock,
    /// A rejected check is not repeated.
    NoRepeat,
    /// A task that blocks inside a poll is not checked again when another wait of it is granted.
    NoCheckOnGrant,
    /// It is, but before it is written down as the owner.
    EarlyCheckOnGrant,
    /// A frame that makes a call on its own thread seems to run.
    NoCallEdge,
    /// The waiters of an event are not checked again when a notifier leaves.
    NoCheckOnLeave,
    /// A task is not checked again when the last foreign clone of its waker is dropped.
    NoCheckOnDrop,
}

/// What an exploration must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Nothing wrong, all explored (or the bound reached).
    Sound,
    /// A frame is failed that was not deadlocked.
    Phantom,
    /// A deadlock stays.
    Miss,
}

/// One configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How many frames there are.
    pub frames: usize,
    /// Which of them are tasks; the others are threads.
    pub tasks: Set,
    /// Which of them are calls that others make, again and again, and not there at first.
    pub calls: Set,
    /// What there is to wait for.
    pub resources: Vec<Resource>,
    /// How much happens in one step.
    pub grain: Grain,
    /// Waiting threads may give up at any time.
    pub timeouts: bool,
    /// Tasks may have a timer beside their waits.
    pub timers: bool,
    /// That timer may be dropped elsewhere, without waking the task.
    pub dropped_timers: bool,
    /// Tasks may block their thread inside a poll.
    pub block_in_poll: bool,
    /// Tasks may have a wait beside a lock of their own that it is for (`join!` of two users).
    pub siblings: bool,
    /// How many waits a task may have.
    pub branches: usize,
    /// Barging locks may also be handed over to any waiter.
    pub hand_over: bool,
    /// How the detector makes sure.
    pub second: Second,
    /// Whether pass 2 reads the epochs in steps of their own. Reading them all at once loses
    /// nothing: a changed epoch stays changed.
    pub epochs_apart: bool,
    /// Pass 2 rejects whatever is not exactly as in pass 1. Otherwise it is enough that each frame
    /// still cannot go on without the others, and that their epochs are the same.
    pub exact: bool,
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
    /// Threads, coarse, all rules kept.
    pub fn new(
        name: &'static str,
        about: &'static str,
        frames: usize,
        resources: &[Resource],
    ) -> Self {
        assert!(frames <= FRAMES && resources.len() <= RESOURCES);
        Self {
            name,
            about,
            frames,
            tasks: 0,
            calls: 0,
            resources: resources.to_vec(),
            grain: Grain::Medium,
            timeouts: true,
            timers: false,
            dropped_timers: false,
            block_in_poll: false,
            siblings: false,
            branches: 2,
            hand_over: false,
            second: Second::EdgesThenEpochs,
            epochs_apart: false,
            exact: false,
            fault: None,
            expect: Expect::Sound,
            large: false,
            bound: 150_000_000,
        }
    }

    /// All frames, as a set.
    pub fn everyone(&self) -> Set {
        (1 << self.frames) - 1
    }

    /// Whether stores are steps of their own.
    pub fn fine(&self) -> bool {
        matches!(self.grain, Grain::Fine | Grain::Finest)
    }

    /// Whether this fault is in.
    pub fn broken(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Phantoms are judged by the weakest measure where one is to be found: the failed frame was
    /// at no instant of the whole check deadlocked.
    pub fn judged_by_ever(&self) -> bool {
        self.expect == Expect::Phantom
    }
}
