//! One state of the model: what frames and resources are doing, and what the detector has noted.

/// At most this many frames.
pub const FRAMES: usize = 4;
/// At most this many resources.
pub const RESOURCES: usize = 3;
/// No frame.
pub const NOBODY: u8 = FRAMES as u8;

/// A set of frames (or of resources), one bit each.
pub type Set = u8;

/// The set that has only `index`.
pub fn bit(index: usize) -> Set {
    1 << index
}

/// Whether `index` is in `set`.
pub fn has(set: Set, index: usize) -> bool {
    set & (1 << index) != 0
}

/// The members of a set, lowest first.
pub fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..8).filter(move |&index| has(set, index))
}

/// What a frame is doing. Those with a resource keep it in [`State::at`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Status {
    /// A call that is not being made just now.
    Unborn,
    /// Runs. A task that was woken and not yet polled counts as running too: nothing that it may
    /// do differs.
    Run,
    /// Sleeps and says so: a thread in its one wait, a task between two polls.
    Wait,
    /// A task that blocks its thread inside a poll, for one resource.
    Block,
    /// A thread that has taken what it waited for by itself, and has not ended its wait yet.
    Took,
    /// Has taken the resource, and has not written itself down as its owner yet.
    Storing,
    /// Has wiped itself off as the owner, and has not freed the resource yet.
    Freeing,
    /// Has granted the resource to others, and has not written them down as owners yet. It holds
    /// the lock of the resource's queue.
    Granting,
    /// Was granted what it waits for; runs as soon as its granter has written it down.
    Granted,
    /// Broken: was granted, but its wait still looks unchanged.
    GrantedUnseen,
    /// Broken: was woken, but its wait still looks unchanged.
    WokenUnseen,
    /// Broken: runs again, but its last wait still looks unchanged.
    RunUnseen,
}

impl Status {
    /// Whether it goes with a resource, in [`State::at`].
    pub fn has_resource(self) -> bool {
        !matches!(
            self,
            Self::Unborn | Self::Run | Self::Wait | Self::Granted | Self::WokenUnseen
        )
    }
}

/// How far the detector is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    /// No check is under way.
    Idle,
    /// Pass 1: chooses the next frame to look at.
    Frames,
    /// Pass 1: reads the owners of what the frame `cur` waits for.
    Edges,
    /// Pass 2: reads them again.
    Again,
    /// Pass 2: reads the epochs again.
    Epochs,
    /// Delivers errors, or admits readers past writers.
    Verdict,
    /// Has not noticed yet that an epoch has changed, but will.
    Doomed,
    /// Has failed a frame that was not deadlocked. Nothing follows.
    Phantom,
}

/// What the detector keeps between its reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Detector {
    /// How far it is.
    pub phase: Phase,
    /// The frame whose wait the check began with.
    pub root: u8,
    /// The frame whose edges are being read.
    pub cur: u8,
    /// Its resource whose holders are being read one by one.
    pub resource: u8,
    /// The resources of `cur` that are still to be read.
    pub left: Set,
    /// The holders that are still to be read.
    pub journals: Set,
    /// Frames whose waits are to be checked.
    pub pending: Set,
    /// Frames to be looked at in this pass.
    pub todo: Set,
    /// Frames that pass 1 has looked at.
    pub seen: Set,
    /// Those of them that were waiting.
    pub asleep: Set,
    /// Frames whose epoch has changed since pass 1 looked at them. In the real thing a counter;
    /// the detector only ever compares two of its values.
    pub changed: Set,
    /// The frames that pass 1 found deadlocked.
    pub found: Set,
    /// Those of them that have had their verdict.
    pub done: Set,
    /// For the judge: the frames that truly were deadlocked at some instant of this check.
    pub ever: Set,
    /// For the judge: a frame of `found` was not truly deadlocked between the passes.
    pub wrong: bool,
    /// For the judge: the frames of `found` that were, even if all waiters could be let past each
    /// other.
    pub hard: Set,
    /// For the judge: since then a frame of `found` was helped from outside.
    pub helped: bool,
}

impl Detector {
    const IDLE: Self = Self {
        phase: Phase::Idle,
        root: NOBODY,
        cur: NOBODY,
        resource: 0,
        left: 0,
        journals: 0,
        pending: 0,
        todo: 0,
        seen: 0,
        asleep: 0,
        changed: 0,
        found: 0,
        done: 0,
        ever: 0,
        wrong: false,
        hard: 0,
        helped: false,
    };
}

/// What the detector has read of one wait of one frame: how much it wants, who holds how much, who
/// stands before it in the queue with a bigger wish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Record(pub u16);

impl Record {
    const MOVED: u16 = 1 << 14;

    /// Nothing read yet but the wish itself.
    pub fn wish(want: u8) -> Self {
        Self(u16::from(want))
    }

    /// How much is wanted; 0 if this is no wait.
    pub fn want(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// How much `frame` holds of it.
    pub fn held(self, frame: usize) -> u8 {
        (self.0 >> (2 + 2 * frame) & 3) as u8
    }

    /// Notes how much `frame` holds.
    pub fn note_held(&mut self, frame: usize, amount: u8) {
        self.0 |= u16::from(amount & 3) << (2 + 2 * frame);
    }

    /// A number that does not depend on names.
    pub fn size(self) -> u32 {
        self.0.count_ones()
    }

    /// Who holds some of it.
    pub fn holders(self) -> Set {
        (0..FRAMES).fold(0, |set, frame| {
            set | u8::from(self.held(frame) > 0) << frame
        })
    }

    /// Who stands before this wait.
    pub fn ahead(self) -> Set {
        (self.0 >> 10 & 0xf) as u8
    }

    /// Notes who stands before this wait.
    pub fn note_ahead(&mut self, frames: Set) {
        self.0 |= u16::from(frames) << 10;
    }

    /// Whether the other says the same, whenever it was read.
    pub fn same_edges(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::MOVED == 0
    }

    /// Whether the declared partners have changed since they were read.
    pub fn partners_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    /// Notes that the declared partners have changed.
    pub fn note_moved(&mut self) {
        self.0 |= Self::MOVED;
    }
}

/// What one frame has to do with one resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Cell(u8);

impl Cell {
    /// All of it.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// How much of it the frame truly holds.
    pub fn hold(self) -> u8 {
        self.0 & 3
    }

    /// How much the owner word or journal says.
    pub fn shown(self) -> u8 {
        self.0 >> 2 & 3
    }

    /// How much it waits for.
    pub fn want(self) -> u8 {
        self.0 >> 4 & 3
    }

    /// Sets what is truly held.
    pub fn set_hold(&mut self, amount: u8) {
        self.0 = self.0 & !3 | amount;
    }

    /// Sets what the owner word or journal says.
    pub fn set_shown(&mut self, amount: u8) {
        self.0 = self.0 & !12 | amount << 2;
    }

    /// Sets what is waited for.
    pub fn set_want(&mut self, amount: u8) {
        self.0 = self.0 & !48 | amount << 4;
    }
}

/// The frames that wait for a resource, in order; four bits each, 0 = no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Queue(pub u16);

impl Queue {
    /// From first to last.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..FRAMES)
            .map(move |place| (self.0 >> (4 * place) & 15) as usize)
            .take_while(|&entry| entry != 0)
            .map(|entry| entry - 1)
    }

    /// The first.
    pub fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| (self.0 & 15) as usize - 1)
    }

    /// Appends.
    pub fn push(&mut self, frame: usize) {
        let place = self.iter().count();
        self.0 |= (frame as u16 + 1) << (4 * place);
    }

    /// Puts in front.
    pub fn push_first(&mut self, frame: usize) {
        self.0 = self.0 << 4 | (frame as u16 + 1);
    }

    /// Takes out.
    pub fn remove(&mut self, frame: usize) {
        let mut rest = Self(0);
        for other in self.iter().filter(|&other| other != frame) {
            rest.push(other);
        }
        *self = rest;
    }

    /// Who stands before `frame`.
    pub fn before(self, frame: usize) -> Set {
        self.iter()
            .take_while(|&other| other != frame)
            .fold(0, |set, other| set | bit(other))
    }
}

/// A state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    /// What each frame does.
    pub status: [Status; FRAMES],
    /// The resource that goes with it.
    pub at: [u8; FRAMES],
    /// Tasks that something else than a lock can wake: a timer holds a clone of their waker.
    pub external: Set,
    /// The frame of the call that each frame makes, on its own thread.
    pub callee: [u8; FRAMES],
    /// Each frame's part in each resource.
    pub cell: [[Cell; RESOURCES]; FRAMES],
    /// Who waits for each resource, where the order matters.
    pub queue: [Queue; RESOURCES],
    /// Of an event: its declared notifiers. Of a lock: those granted and not yet written down.
    pub partners: [Set; RESOURCES],
    /// The detector.
    pub det: Detector,
    /// What pass 1 has read.
    pub rec: [[Record; RESOURCES]; FRAMES],
}

impl State {
    /// Everybody runs, nobody holds anything.
    pub const START: Self = Self {
        status: [Status::Run; FRAMES],
        at: [0; FRAMES],
        external: 0,
        callee: [NOBODY; FRAMES],
        cell: [[Cell(0); RESOURCES]; FRAMES],
        queue: [Queue(0); RESOURCES],
        partners: [0; RESOURCES],
        det: Detector::IDLE,
        rec: [[Record(0); RESOURCES]; FRAMES],
    };

    /// The same, but that these frames are calls which are not being made yet.
    pub fn start(unborn: Set) -> Self {
        let mut start = Self::START;
        for frame in members(unborn) {
            start.status[frame] = Status::Unborn;
        }
        start
    }

    /// Ends the detector's check and forgets what it has read.
    pub fn end_check(&mut self) {
        self.det = Detector {
            pending: self.det.pending,
            ..Detector::IDLE
        };
        self.rec = Default::default();
    }

    /// The check is certain to see a changed epoch, so what else it has read does not matter.
    pub fn doom(&mut self) {
        let (root, ever) = (self.det.root, self.det.ever);
        self.end_check();
        self.det.phase = Phase::Doomed;
        self.det.root = root;
        self.det.ever = ever;
    }

    /// A number that differs for different states, but for one pair in 2⁶⁴.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = [0; 72];
        let d = &self.det;
        let small = |a: u8, b: u8| a << 4 | b;
        bytes[..4].copy_from_slice(&self.status.map(|status| status as u8));
        for frame in 0..FRAMES {
            bytes[frame] |= self.at[frame] << 4;
            for resource in 0..RESOURCES {
                bytes[4 + frame * RESOURCES + resource] = self.cell[frame][resource].0;
                let record = self.rec[frame][resource].0.to_le_bytes();
                let place = 40 + 2 * (frame * RESOURCES + resource);
                bytes[place..place + 2].copy_from_slice(&record);
            }
        }
        for resource in 0..RESOURCES {
            let queue = self.queue[resource].0.to_le_bytes();
            bytes[16 + 2 * resource..18 + 2 * resource].copy_from_slice(&queue);
            bytes[22 + resource] = self.partners[resource];
        }
        bytes[25] = small(self.external, d.pending);
        bytes[26] = d.phase as u8 | u8::from(d.wrong) << 6 | u8::from(d.helped) << 7;
        bytes[27] = small(d.root, d.cur);
        bytes[28] = small(d.resource, d.left);
        bytes[29] = small(d.journals, d.todo);
        bytes[30] = small(d.seen, d.asleep);
        bytes[31] = small(d.changed, d.found);
        bytes[32] = small(d.done, d.ever);
        bytes[33] = d.hard;
        bytes[34] = small(self.callee[0], self.callee[1]);
        bytes[35] = small(self.callee[2], self.callee[3]);
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
        for chunk in bytes.as_chunks::<8>().0 {
            hash = (hash ^ u64::from_le_bytes(*chunk)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            hash ^= hash >> 32;
        }
        hash = hash.wrapping_mul(0xe703_7ed1_a0b4_28db);
        hash ^= hash >> 29;
        hash.max(1)
    }
}
