//! What a detector does when something happens: when to look, whom to ask, whom to answer.

mod answers;
mod checks;
mod hops;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::AddAssign;
use std::time::Duration;

use crate::check::{Check, Settings};
use crate::faults::Fault;
use crate::home::{CallId, Home, Peer};
use crate::report::Report;
use crate::wire::Child;

/// How long a wait lasts before others are asked about it, half as much more or less.
const PATIENCE: Duration = Duration::from_millis(10);
/// When it is looked again, counted from the time before.
const REPEATS: [Duration; 3] = [
    Duration::from_millis(90),
    Duration::from_millis(900),
    Duration::from_secs(5),
];
/// The same where somebody could not be asked, half as much more or less.
const UNREACHABLE: Duration = Duration::from_secs(1);
/// How long a frame lives before it reports itself, even if it does not wait.
const LONG_LIFE: Duration = Duration::from_millis(100);
/// How often it does so again, and how long that is believed.
const REFRESH: Duration = Duration::from_secs(5);
const BELIEVED: Duration = Duration::from_secs(15);
/// How long an answer may take at least, and how often it is asked again.
const LEAST_TIMEOUT: Duration = Duration::from_millis(50);
const MOST_TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 2;
/// How long a question that was given up is remembered, to learn how slow its peer is.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many waits are looked at together.
const MOST_ROOTS: usize = 64;
/// How often in a row it is looked soon again where a deadlock was found.
const MOST_IN_A_ROW: u32 = 8;
/// How many times [`PATIENCE`] is waited at most where it was too early to look.
const MOST_EARLY: u32 = 5;
/// How many opaque calls, and how many children of each, are kept.
const MOST_CALLS: usize = 65_536;
const MOST_CHILDREN: usize = 16;
/// For how long it is remembered who was let past others, or could not be.
const ADMISSION: Duration = Duration::from_secs(10);

/// The detector of one process, without sockets, clocks and threads.
///
/// Times are counted from any moment that stays the same.
pub struct Core {
    me: Peer,
    config: Config,
    random: u64,
    counters: Counters,
    outputs: Vec<Output>,
    timers: BTreeSet<(Duration, Timer)>,
    /// Waits that lead to other processes.
    waits: BTreeMap<u64, Wait>,
    /// Frames that came through opaque hops.
    served: HashMap<u64, Served>,
    by_parent: HashMap<CallId, Vec<u64>>,
    /// Whom opaque calls of this process led to, by their numbers.
    children: HashMap<u64, Known>,
    checks: BTreeMap<u32, Check>,
    next_check: u32,
    requests: HashMap<u32, Request>,
    next_request: u32,
    /// How long peers take to answer.
    round_trips: HashMap<u64, Duration>,
    /// Who could not be let past others.
    not_admitted: BTreeMap<(u64, u64), Duration>,
    /// Frames of this process that were let past others.
    admitted: BTreeMap<u64, Duration>,
    /// Deadlocks that were only to be reported, and have been.
    reported: Vec<String>,
    #[cfg(feature = "faults")]
    fault: Option<Fault>,
}

/// How a detector behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to do about a deadlock that is inferred through somebody who cannot be asked.
    pub opaque: Opaque,
    /// How long such a deadlock has to last.
    pub opaque_confirm: Duration,
    /// Where its random delays begin.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            opaque: Opaque::Error,
            opaque_confirm: Duration::from_millis(250),
            seed: 0,
        }
    }
}

/// What to do about a deadlock that is inferred.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Opaque {
    /// Tell of it, and let everybody wait.
    Report,
    /// Fail the victim.
    #[default]
    Error,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// What this frame waits for leads to a call to another process; or it is itself such a call, to a
    /// place that is single-threaded.
    Leaves {
        /// The frame that waits.
        frame: u64,
        /// How long it has waited.
        waited: Duration,
        /// Its own chain may have what it waits for, so look at once.
        at_once: bool,
    },
    /// A call has begun that came over a connection to somebody who has no detector, and that names a
    /// call which led to it.
    Served {
        /// The frame that serves it.
        frame: u64,
        /// The call that it names.
        parent: CallId,
        /// How to reach whoever made that one.
        caller: Peer,
        /// Where that one went, if that is single-threaded.
        via: Option<String>,
    },
    /// A frame of which `Served` told has ended, or the connection that its call came over is lost, so
    /// that nobody waits for it any more.
    Ended {
        /// The frame.
        frame: u64,
    },
    /// A peer asks. [`Output::Answer`] is for it.
    Request(&'a [u8]),
    /// A peer answers, whose number was verified when the connection to it was made.
    Answer {
        /// The peer.
        node: u64,
        /// What it said.
        bytes: &'a [u8],
    },
    /// A peer cannot be reached, or the connection to it was lost.
    Lost {
        /// The peer.
        node: u64,
    },
    /// Time has passed.
    Time,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask this peer; its answer comes back as [`Input::Answer`].
    Send {
        /// Whom to ask.
        to: Peer,
        /// What.
        bytes: Vec<u8>,
    },
    /// Answer the request that was just put in.
    Answer(Vec<u8>),
    /// Tell people of a deadlock. A frame of this process is the victim.
    Deadlock {
        /// What is told.
        report: Report,
        /// The victim's wait has failed; it has not where deadlocks that are inferred are only reported.
        failed: bool,
    },
}

/// What a detector has done since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// How often it looked at what is beyond this process.
    pub checks: u64,
    /// Questions to peers, of either pass.
    pub gathers: u64,
    /// Questions of peers, of either pass.
    pub answered: u64,
    /// Questions that were not answered in time, each time.
    pub timeouts: u64,
    /// Checks whose second pass differed from the first.
    pub rejected: u64,
    /// Questions that were given up.
    pub unreachable: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Checks that would have had to ask for more than they may.
    pub truncated: u64,
    /// Reports to callers of opaque callees.
    pub attaches: u64,
    /// Verdicts to peers and to this process.
    pub verdicts: u64,
    /// Those of them that failed a wait, or let somebody past.
    pub accepted: u64,
    /// Those that came too late, or could not be executed.
    pub stale: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.checks += other.checks;
        self.gathers += other.gathers;
        self.answered += other.answered;
        self.timeouts += other.timeouts;
        self.rejected += other.rejected;
        self.unreachable += other.unreachable;
        self.malformed += other.malformed;
        self.truncated += other.truncated;
        self.attaches += other.attaches;
        self.verdicts += other.verdicts;
        self.accepted += other.accepted;
        self.stale += other.stale;
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Timer {
    Wait(u64),
    Served(u64),
    Request(u32),
    Check(u32),
    Forget,
}

struct Wait {
    due: Duration,
    /// How long it has to last before others are asked about it.
    patience: Duration,
    /// How often in a row it was too early to look.
    early: u32,
    /// How often it was looked at.
    looked: usize,
    /// How many of the last looks, in a row, found a deadlock, or what was one a moment before.
    in_a_row: u32,
    /// It is looked at when a report to a caller has arrived.
    after_attach: bool,
}

struct Served {
    parent: CallId,
    caller: Peer,
    via: Option<String>,
    since: Duration,
    due: Duration,
    /// When it reports itself again, if it has.
    again: Option<Duration>,
    /// The calls for which it waited, when it was looked at last, that may wait for single-threaded places.
    queued: Vec<u64>,
}

/// Whom an opaque call led to, and until when to believe each of them.
#[derive(Default)]
struct Known {
    /// How often a child came or went.
    changes: u64,
    children: Vec<(Child, Duration)>,
    /// Until when it is remembered: longer than a check may take, else those that came and went
    /// meanwhile would not be noticed.
    until: Duration,
}

struct Request {
    to: Peer,
    bytes: Vec<u8>,
    purpose: Purpose,
    sent: Duration,
    tries: u32,
    due: Duration,
}

#[derive(Clone, Copy)]
enum Purpose {
    Gather(u32),
    Confirm(u32),
    Attach(u64),
    Fail,
    Admit(u64),
    /// It was given up.
    Late,
}

impl Core {
    /// The detector of the process `me`. An empty address says that nobody can ask it.
    pub fn new(me: Peer, config: Config) -> Self {
        Self {
            random: config.seed ^ me.node | 1,
            me,
            config,
            counters: Counters::default(),
            outputs: Vec::new(),
            timers: BTreeSet::new(),
            waits: BTreeMap::new(),
            served: HashMap::new(),
            by_parent: HashMap::new(),
            children: HashMap::new(),
            checks: BTreeMap::new(),
            next_check: 0,
            requests: HashMap::new(),
            next_request: 0,
            round_trips: HashMap::new(),
            not_admitted: BTreeMap::new(),
            admitted: BTreeMap::new(),
            reported: Vec::new(),
            #[cfg(feature = "faults")]
            fault: None,
        }
    }

    /// Breaks it in this way, for tests that must notice.
    #[cfg(feature = "faults")]
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// Others can ask it at this address from now on.
    pub fn set_address(&mut self, address: String) {
        self.me.address = address;
    }

    /// What to do about deadlocks that are inferred, from now on.
    pub fn set_opaque(&mut self, opaque: Opaque) {
        self.config.opaque = opaque;
    }

    /// Takes in what happened, and says what is to be done.
    pub fn on(&mut self, now: Duration, input: Input<'_>, home: &mut impl Home) -> Vec<Output> {
        match input {
            Input::Leaves {
                frame,
                waited,
                at_once,
            } => self.on_leaves(now, frame, waited, at_once),
            Input::Served {
                frame,
                parent,
                caller,
                via,
            } => self.on_served(now, frame, parent, caller, via),
            Input::Ended { frame } => self.on_ended(now, frame),
            Input::Request(bytes) => self.on_request(now, bytes, home),
            Input::Answer { node, bytes } => self.on_answer(now, node, bytes, home),
            Input::Lost { node } => self.on_lost(now, node, home),
            Input::Time => {}
        }
        self.on_time(now, home);
        std::mem::take(&mut self.outputs)
    }

    /// When to put in [`Input::Time`]; not at all if none.
    pub fn due(&self) -> Option<Duration> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn is(&self, fault: Fault) -> bool {
        #[cfg(feature = "faults")]
        return self.fault == Some(fault);
        #[cfg(not(feature = "faults"))]
        {
            let _ = fault;
            false
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            or_as_and: self.is(Fault::OrAsAnd),
            soft_reported: self.is(Fault::SoftReported),
            children_not_compared: self.is(Fault::ChildrenNotCompared),
            own_victims_first: self.is(Fault::OwnVictimsFirst).then_some(self.me.node),
        }
    }

    /// Any time in between.
    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        // xorshift
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let span = (to - from).as_nanos() as u64;
        from + Duration::from_nanos(self.random % span.max(1))
    }

    fn on_time(&mut self, now: Duration, home: &mut impl Home) {
        let mut waits = Vec::new();
        while let Some(&(due, timer)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Wait(frame) => waits.push(frame),
                Timer::Served(frame) => self.look_at_served(now, frame, home),
                Timer::Request(request) => self.on_timeout(now, request, home),
                Timer::Check(check) => self.begin_second_pass(now, check, home),
                Timer::Forget => self.forget(now),
            }
        }
        for frames in waits.chunks(MOST_ROOTS) {
            self.look_at_waits(now, frames, home);
        }
    }
}
