//! One state: what the frames of all nodes are doing, which messages are under way, and what the
//! detectors have noted.

pub use crate::state::{Set, bit, has, members};

/// At most this many frames.
pub const FRAMES: usize = 6;
/// At most this many locks.
pub const LOCKS: usize = 4;
/// At most this many detectors.
pub const DETECTORS: usize = 2;
/// No frame.
pub const NOBODY: u8 = 7;
/// A call to a hop which its caller gave up and which is over, as nobody but the hop knows.
pub const GIVEN_UP: u8 = 6;

/// What a frame is doing. A served one is also the call that it serves, from its sending to the
/// arrival of its reply: nobody sees more than one of the two at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Status {
    /// Not called just now.
    Unborn,
    /// The call is under way, or not yet accepted by a hop that does one thing at a time.
    Sent,
    /// Runs. A task that was woken counts as running too.
    Run,
    /// Waits: a thread for one thing, a task for several, a hop for its call.
    Wait,
    /// Has ended, and its reply is under way.
    Replied,
}

/// How far a detector is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    /// No check is under way.
    Idle,
    /// Pass 1.
    Gather,
    /// Lets pass what was under way at the end of pass 1, because of a hop.
    Between,
    /// Pass 2.
    Again,
    /// The verdict is under way.
    Verdict,
}

/// What a detector has been told of one frame, or of the children of one call to a hop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Record(pub u64);

impl Record {
    const CALLS: u32 = 28;
    const CHILDREN: u32 = 34;
    const MOVED: u64 = 1 << 40;
    const CLAIM: u32 = 41;
    const OVER: u64 = 1 << 44;

    fn set(self, place: u32) -> Set {
        (self.0 >> place & 0x3f) as Set
    }

    fn put(&mut self, place: u32, set: Set) {
        self.0 = self.0 & !(0x3f << place) | u64::from(set) << place;
    }

    /// The locks that are waited for.
    pub fn want(self) -> Set {
        (self.0 & 15) as Set
    }

    /// Notes which locks are waited for.
    pub fn note_want(&mut self, locks: Set) {
        self.0 = self.0 & !15 | u64::from(locks);
    }

    /// Who holds one of them.
    pub fn holders(self, lock: usize) -> Set {
        self.set(4 + 6 * lock as u32)
    }

    /// Notes who holds one of them.
    pub fn note_holders(&mut self, lock: usize, frames: Set) {
        self.put(4 + 6 * lock as u32, frames);
    }

    /// The calls that are waited for.
    pub fn calls(self) -> Set {
        self.set(Self::CALLS)
    }

    /// Notes which calls are waited for.
    pub fn note_calls(&mut self, calls: Set) {
        self.put(Self::CALLS, calls);
    }

    /// Of a call to a hop: the frames known to descend from it.
    pub fn children(self) -> Set {
        self.set(Self::CHILDREN)
    }

    /// What is told of a call to a hop.
    pub fn children_only(children: Set) -> Self {
        let mut record = Self(0);
        record.note_children(children);
        record
    }

    /// Notes those.
    pub fn note_children(&mut self, children: Set) {
        self.put(Self::CHILDREN, children);
    }

    /// Whether others have been among them since.
    pub fn moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    /// Notes that.
    pub fn note_moved(&mut self) {
        self.0 |= Self::MOVED;
    }

    /// The call to a hop from which the frame says it descends.
    pub fn claim(self) -> u8 {
        let noted = (self.0 >> Self::CLAIM & 7) as u8;
        noted.checked_sub(1).unwrap_or(NOBODY)
    }

    /// Notes that call.
    pub fn note_claim(&mut self, call: u8) {
        let noted = if call == NOBODY { 0 } else { call + 1 };
        self.0 = self.0 & !(7 << Self::CLAIM) | u64::from(noted) << Self::CLAIM;
    }

    /// Whether the answer was that one of its calls has been served to the end.
    pub fn over(self) -> bool {
        self.0 & Self::OVER != 0
    }

    /// Notes that.
    pub fn note_over(&mut self) {
        self.0 |= Self::OVER;
    }
}

/// What a detector keeps between its messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Detector {
    /// How far it is.
    pub phase: Phase,
    /// The frame whose wait the check began with. The check is made by its node.
    pub root: u8,
    /// Pass 1: frames to be asked for. Pass 2: those whose edges are still to be read. Then: those of
    /// which one is the victim.
    pub todo: Set,
    /// Frames that pass 1 has asked for.
    pub seen: Set,
    /// Those of them that were waiting.
    pub asleep: Set,
    /// Those whose wait has ended since.
    pub changed: Set,
    /// The frames that pass 1 found deadlocked.
    pub found: Set,
    /// Pass 2: those whose epochs are still to be read.
    pub unsure: Set,
    /// Replies that were under way at the end of pass 1, and still are.
    pub late: Set,
    /// Likewise ends of connections.
    pub late_ends: Set,
    /// For the judge: the frames whose present wait truly was deadlocked at some instant of this check.
    pub ever: Set,
    /// For the judge: a frame of `found` was not truly deadlocked between the passes.
    pub wrong: bool,
    /// For the judge: since then a frame of `found` was helped from outside.
    pub helped: bool,
    /// For the judge: `found` rests on a fork that nothing had shown between the passes.
    pub forked: bool,
    /// What it was told.
    pub records: [Record; FRAMES],
}

impl Detector {
    /// No check is under way.
    pub const IDLE: Self = Self {
        phase: Phase::Idle,
        root: NOBODY,
        todo: 0,
        seen: 0,
        asleep: 0,
        changed: 0,
        found: 0,
        unsure: 0,
        late: 0,
        late_ends: 0,
        ever: 0,
        wrong: false,
        helped: false,
        forked: false,
        records: [Record(0); FRAMES],
    };
}

/// A state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    /// What each frame does.
    pub status: [Status; FRAMES],
    /// The locks that each holds.
    pub hold: [Set; FRAMES],
    /// The locks that each waits for.
    pub want: [Set; FRAMES],
    /// Who waits for its reply; nobody once the caller has given up.
    pub caller: [u8; FRAMES],
    /// The call to a hop whose annotation came with its own, on whatever way.
    pub claim: [u8; FRAMES],
    /// Of a call to a hop: the frames that have attached themselves to it, at its caller's node.
    pub attached: [Set; FRAMES],
    /// Served frames whose hop has closed the connection, but the end of it is under way.
    pub ends: Set,
    /// Broken: calls of which the caller's node counts a child that is no more, or remembers two.
    pub ghosts: Set,
    /// Frames whose waits are to be checked.
    pub pending: Set,
    /// A frame was failed that was not deadlocked. Nothing follows.
    pub phantom: bool,
    /// The detectors.
    pub detectors: [Detector; DETECTORS],
}

impl State {
    /// Nobody is there.
    pub const EMPTY: Self = Self {
        status: [Status::Unborn; FRAMES],
        hold: [0; FRAMES],
        want: [0; FRAMES],
        caller: [NOBODY; FRAMES],
        claim: [NOBODY; FRAMES],
        attached: [0; FRAMES],
        ends: 0,
        ghosts: 0,
        pending: 0,
        phantom: false,
        detectors: [Detector::IDLE; DETECTORS],
    };

    /// The calls of a frame that are not over.
    pub fn calls(&self, frame: usize) -> Set {
        (0..FRAMES).fold(0, |set, call| {
            set | Set::from(usize::from(self.caller[call]) == frame) << call
        })
    }

    /// Who holds a lock.
    pub fn holders(&self, lock: usize) -> Set {
        (0..FRAMES).fold(0, |set, frame| {
            set | (self.hold[frame] >> lock & 1) << frame
        })
    }

    /// A number that differs for different states, but for one pair in 2⁶⁴.
    pub fn fingerprint(&self) -> u64 {
        let each = |array: &[u8; FRAMES], bits: u32| {
            array
                .iter()
                .fold(0, |all, &one| all << bits | u64::from(one))
        };
        let sets = |sets: &[Set]| sets.iter().fold(0, |all, &set| all << 6 | u64::from(set));
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
        let mut take = |word: u64| {
            hash = (hash ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
            hash ^= hash >> 32;
        };
        let status = self.status.map(|status| status as u8);
        take(each(&status, 3) << 36 | each(&self.caller, 3) << 18 | each(&self.claim, 3));
        take(each(&self.hold, 4) << 24 | each(&self.want, 4) | u64::from(self.phantom) << 63);
        take(each(&self.attached, 6) << 18 | sets(&[self.ends, self.ghosts, self.pending]));
        for det in &self.detectors {
            let flags = [det.wrong, det.helped, det.forked];
            let flags = flags
                .iter()
                .fold(0, |all, &flag| all << 1 | u64::from(flag));
            take(flags << 6 | (det.phase as u64) << 3 | u64::from(det.root));
            if det.phase == Phase::Idle {
                continue;
            }
            let waits = [det.todo, det.seen, det.asleep, det.changed, det.found];
            take(sets(&waits) << 24 | sets(&[det.unsure, det.late, det.late_ends, det.ever]));
            for record in det.records {
                take(record.0);
            }
        }
        hash = hash.wrapping_mul(0xe703_7ed1_a0b4_28db);
        hash ^= hash >> 29;
        hash.max(1)
    }
}
