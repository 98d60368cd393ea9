//! What a detector does when something happens: when to look, whom to ask, whom to answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::check::{Check, Decision, Place, Settings};
use crate::faults::Fault;
use crate::home::{CallId, Callee, Home, Peer, Reading, Root};
use crate::report::Report;
use crate::wire::{Attach, Body, Child, Children, Decided, Hop, Malformed, Message, Part, Verdict};

/// How long a wait lasts before others are asked about it, half as much more or less.
const PATIENCE: Duration = Duration::from_millis(10);
/// When it is looked again, counted from the time before.
const REPEATS: [Duration; 3] = [
    Duration::from_millis(90),
    Duration::from_millis(900),
    Duration::from_secs(5),
];
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
    /// A frame of which `Served` told has ended.
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
    forked: bool,
    /// When it last reported itself.
    attached: Option<Duration>,
}

/// Whom an opaque call led to, and until when to believe each of them.
#[derive(Default)]
struct Known {
    forked: bool,
    /// How often a child came or went.
    changes: u64,
    children: Vec<(Child, Duration)>,
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
    Attach,
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

/// Waits that lead to other processes.
impl Core {
    fn on_leaves(&mut self, now: Duration, frame: u64, waited: Duration, at_once: bool) {
        let due = match at_once {
            true => now,
            false => {
                let patience = self.between(PATIENCE / 2, PATIENCE * 3 / 2);
                now + patience.saturating_sub(waited)
            }
        };
        self.forget_wait(frame);
        let wait = Wait {
            due,
            looked: 0,
            in_a_row: 0,
            after_attach: false,
        };
        self.waits.insert(frame, wait);
        self.timers.insert((due, Timer::Wait(frame)));
    }

    fn forget_wait(&mut self, frame: u64) {
        if let Some(wait) = self.waits.remove(&frame) {
            self.timers.remove(&(wait.due, Timer::Wait(frame)));
        }
    }

    fn look_at_wait_at(&mut self, due: Duration, frame: u64) {
        if let Some(wait) = self.waits.get_mut(&frame) {
            self.timers.remove(&(wait.due, Timer::Wait(frame)));
            wait.due = due;
            self.timers.insert((due, Timer::Wait(frame)));
        }
    }

    /// Looks where these waits lead. Begins a check where they leave this process, and forgets those
    /// that do not.
    fn look_at_waits(&mut self, now: Duration, frames: &[u64], home: &mut impl Home) {
        let roots: Vec<_> = frames.iter().map(|frame| Root::Frame(*frame)).collect();
        let reading = home.read(&roots);
        let leaving = leaving(&reading);
        let mut waiters = Vec::new();
        for frame in frames {
            if !leaving.contains(frame) {
                // It is looked at again soon if it came through a single-threaded place.
                self.forget_wait(*frame);
                continue;
            }
            waiters.push(*frame);
            let looked = self.waits.get(frame).map_or(0, |wait| wait.looked);
            let pause = REPEATS[looked.min(REPEATS.len() - 1)];
            let pause = match pause == REPEATS[2] {
                true => self.between(pause * 4 / 5, pause * 6 / 5),
                false => pause,
            };
            if let Some(wait) = self.waits.get_mut(frame) {
                wait.looked += 1;
            }
            self.look_at_wait_at(now + pause, *frame);
        }
        if waiters.is_empty() {
            return;
        }
        if self.attach_all(now, &reading) {
            // Whoever they report to may be asked next, so the reports go first.
            for frame in waiters {
                if let Some(wait) = self.waits.get_mut(&frame) {
                    wait.after_attach = true;
                    wait.looked = wait.looked.saturating_sub(1);
                }
            }
            return;
        }
        // Whoever occupies a single-threaded place is waited for by those who want it, wherever they are.
        let occupies = |number| {
            let served: Option<&Served> = self.served.get(&number);
            served.is_some_and(|served| served.via.is_some())
        };
        let begins = reading
            .frames
            .iter()
            .filter(|frame| frame.calls().next().is_some() || occupies(frame.number()));
        let roots = begins.map(|frame| frame.number()).collect();
        self.begin_check(now, waiters, roots, home);
    }

    fn begin_check(
        &mut self,
        now: Duration,
        waiters: Vec<u64>,
        mut roots: Vec<u64>,
        home: &mut impl Home,
    ) {
        // Those that are being checked may have been read before these waits began.
        for check in self.checks.values_mut() {
            let in_time = check.confirming && waiters.iter().any(|w| !check.waiters.contains(w));
            if !in_time && roots.iter().any(|root| check.roots.contains(root)) {
                check.again.extend(&waiters);
                roots.retain(|root| !check.roots.contains(root));
            }
        }
        if roots.is_empty() {
            return;
        }
        self.counters.checks += 1;
        let id = self.next_check;
        self.next_check = self.next_check.wrapping_add(1);
        let mut check = Check::new(waiters, roots.clone());
        for root in roots {
            check.want(&self.me, Root::Frame(root));
        }
        self.checks.insert(id, check);
        self.go_on_gathering(now, id, home);
    }

    /// Asks whoever is to be asked in the first pass, and ends that when nobody is.
    fn go_on_gathering(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        loop {
            let Some(check) = self.checks.get_mut(&id) else {
                return;
            };
            let mut here = None;
            for (peer, roots) in check.questions() {
                if peer.node == self.me.node {
                    here = Some(roots);
                    continue;
                }
                self.counters.gathers += 1;
                self.ask(now, peer, Body::Gather(roots), Purpose::Gather(id));
            }
            let Some(roots) = here else { break };
            let part = self.read(now, &roots, home);
            if let Some(check) = self.checks.get_mut(&id) {
                check.learn(self.me.node, part);
            }
        }
        if self
            .checks
            .get(&id)
            .is_some_and(|check| !check.is_waiting() && !check.confirming)
        {
            self.end_first_pass(now, id, home);
        }
    }

    fn end_first_pass(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let settings = self.settings();
        let Some(check) = self.checks.get_mut(&id) else {
            return;
        };
        check.confirming = true;
        self.counters.truncated += u64::from(check.truncated);
        if !check.reduce(settings) {
            self.end_check(now, id, false);
        } else if check.through_opaque && !self.is(Fault::OpaqueConfirmZero) {
            let due = now + self.config.opaque_confirm;
            self.timers.insert((due, Timer::Check(id)));
        } else {
            self.begin_second_pass(now, id, home);
        }
    }

    fn begin_second_pass(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let no_second_pass = self.is(Fault::NoSecondPass);
        let Some(check) = self.checks.get_mut(&id) else {
            return;
        };
        if no_second_pass {
            check.skip_confirming();
            return self.decide(now, id, home);
        }
        let places = check.to_confirm();
        for (peer, ..) in &places {
            if let Some(side) = check.sides.get_mut(&peer.node) {
                side.waiting = true;
            }
        }
        let mut here = None;
        for (peer, reading, frames) in places {
            if peer.node == self.me.node {
                here = Some((reading, frames));
                continue;
            }
            self.counters.gathers += 1;
            let body = Body::Confirm { reading, frames };
            self.ask(now, peer, body, Purpose::Confirm(id));
        }
        if let Some((reading, frames)) = here {
            let node = self.me.node;
            match self.read_again(now, reading, &frames, home) {
                Some(part) => self.confirmed(now, id, node, part, home),
                None => self.reject(now, id),
            }
        }
    }

    fn confirmed(&mut self, now: Duration, id: u32, node: u64, part: Part, home: &mut impl Home) {
        if let Some(check) = self.checks.get_mut(&id) {
            check.confirm(node, part);
            if !check.is_waiting() {
                self.decide(now, id, home);
            }
        }
    }

    fn decide(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(check) = self.checks.get(&id) else {
            return;
        };
        let settings = self.settings();
        let may_be_admitted = |id| !self.not_admitted.contains_key(&id);
        let Some(decisions) = check.decide(settings, may_be_admitted) else {
            return self.reject(now, id);
        };
        let found = !decisions.is_empty();
        for decision in decisions {
            self.counters.verdicts += 1;
            let (place, report) = match decision {
                Decision::Admit(place) => (place, None),
                Decision::Fail(place, report) => (place, Some(report)),
            };
            let purpose = match &report {
                Some(_) => Purpose::Fail,
                None => Purpose::Admit(place.frame),
            };
            let Place {
                peer,
                reading,
                frame,
            } = place;
            let verdict = Verdict {
                reading,
                frame,
                report,
            };
            if peer.node == self.me.node {
                let decided = self.execute(now, verdict, home);
                self.decided(now, self.me.node, purpose, decided);
            } else {
                self.ask(now, peer, Body::Verdict(verdict), purpose);
            }
        }
        self.end_check(now, id, found);
    }

    fn decided(&mut self, now: Duration, node: u64, purpose: Purpose, decided: Decided) {
        match decided {
            Decided::Done => self.counters.accepted += 1,
            Decided::Stale | Decided::Refused => self.counters.stale += 1,
        }
        if let (Purpose::Admit(frame), Decided::Refused) = (purpose, decided) {
            self.not_admitted.insert((node, frame), now + ADMISSION);
            self.timers.insert((now + ADMISSION, Timer::Forget));
        }
    }

    fn reject(&mut self, now: Duration, id: u32) {
        self.counters.rejected += 1;
        self.end_check(now, id, true);
    }

    /// If there is, or was, a deadlock, it is looked soon whether there still is, or another one; but not
    /// for ever, as it may be one that is not to be broken.
    fn end_check(&mut self, now: Duration, id: u32, found: bool) {
        let Some(check) = self.checks.remove(&id) else {
            return;
        };
        for frame in check.again {
            self.look_at_wait_at(now, frame);
        }
        for frame in check.waiters {
            let Some(wait) = self.waits.get_mut(&frame) else {
                continue;
            };
            wait.in_a_row = if found { wait.in_a_row + 1 } else { 0 };
            if (1..=MOST_IN_A_ROW).contains(&wait.in_a_row) {
                let pause = self.between(PATIENCE, PATIENCE * 2);
                self.look_at_wait_at(now + pause, frame);
            }
        }
    }
}

/// The frames whose waits lead to calls.
fn leaving(reading: &Reading) -> BTreeSet<u64> {
    let mut behind: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut open = Vec::new();
    for frame in &reading.frames {
        for blocker in frame.blockers() {
            behind.entry(blocker).or_default().push(frame.number());
        }
        if frame.calls().next().is_some() {
            open.push(frame.number());
        }
    }
    let mut leaving = BTreeSet::new();
    while let Some(frame) = open.pop() {
        if leaving.insert(frame) {
            open.extend(behind.get(&frame).into_iter().flatten());
        }
    }
    leaving
}

/// What this process says about itself, and does for others.
impl Core {
    fn read(&self, now: Duration, roots: &[Root], home: &mut impl Home) -> Part {
        let reading = self.read_with_occupants(roots, home);
        let mut part = self.part(now, reading);
        let asked = roots.iter().filter_map(|root| match root {
            Root::Frame(frame) => Some(*frame),
            Root::Call(_) => None,
        });
        // Frames that begin a check here are no children of anybody.
        let here = |frame: &u64| part.reading.frames.iter().any(|f| f.number() == *frame);
        let ended = asked.filter(|frame| !self.served.contains_key(frame) && !here(frame));
        part.ended = ended.collect();
        part
    }

    /// Reads these, and those of this process that occupy single-threaded places for which they wait.
    fn read_with_occupants(&self, roots: &[Root], home: &mut impl Home) -> Reading {
        let mut roots = roots.to_vec();
        loop {
            let reading = home.read(&roots);
            let calls = reading.frames.iter().flat_map(|frame| frame.calls());
            let wanted: BTreeSet<&str> = calls
                .filter_map(|call| match &call.to {
                    Callee::Opaque {
                        location,
                        single_threaded: true,
                    } => Some(&**location),
                    _ => None,
                })
                .collect();
            let occupies = |served: &Served| {
                let via = served.via.as_deref();
                via.is_some_and(|via| wanted.contains(via))
            };
            let occupants = self.served.iter().filter(|(_, served)| occupies(served));
            let mut occupants: Vec<Root> = occupants.map(|(f, _)| Root::Frame(*f)).collect();
            occupants.retain(|root| !roots.contains(root));
            if wanted.is_empty() || occupants.is_empty() {
                return reading;
            }
            occupants.sort_unstable();
            roots.extend(occupants);
        }
    }

    fn read_again(
        &self,
        now: Duration,
        reading: u64,
        frames: &[u64],
        home: &mut impl Home,
    ) -> Option<Part> {
        let reading = home.confirm(reading, frames)?;
        Some(self.part(now, reading))
    }

    fn part(&self, now: Duration, reading: Reading) -> Part {
        let mut part = Part::default();
        for frame in &reading.frames {
            for call in frame.calls() {
                if let (Callee::Opaque { .. }, Some(known)) =
                    (&call.to, self.children.get(&call.seq))
                {
                    let believed = known.children.iter().filter(|(_, until)| *until > now);
                    let children = Children {
                        forked: known.forked,
                        changes: known.changes,
                        known: believed.map(|(child, _)| child.clone()).collect(),
                    };
                    part.children.push((call.seq, children));
                }
            }
            if let Some(served) = self.served.get(&frame.number())
                && (served.forked || served.via.is_some())
            {
                part.hops.push(Hop {
                    frame: frame.number(),
                    forked: served.forked,
                    via: served.via.clone().unwrap_or_default(),
                });
            }
        }
        part.reading = reading;
        part
    }

    fn execute(&mut self, now: Duration, verdict: Verdict, home: &mut impl Home) -> Decided {
        let Verdict {
            reading,
            frame,
            report,
        } = verdict;
        let Some(report) = report else {
            // Several may have found it, and who was let past others may still wait.
            let until = now + ADMISSION;
            return if home.admit(reading, frame) {
                self.admitted.insert(frame, until);
                self.timers.insert((until, Timer::Forget));
                Decided::Done
            } else if home.confirm(reading, &[frame]).is_none() {
                Decided::Stale
            } else if self.admitted.contains_key(&frame) {
                Decided::Done
            } else {
                Decided::Refused
            };
        };
        if report.inferred && self.config.opaque == Opaque::Report {
            if !self.reported.contains(&report.id) {
                self.reported.truncate(63);
                self.reported.insert(0, report.id.clone());
                let failed = false;
                self.outputs.push(Output::Deadlock { report, failed });
            }
            return Decided::Refused;
        }
        let failed = home.fail(reading, frame, &report);
        if !failed {
            return Decided::Stale;
        }
        self.outputs.push(Output::Deadlock { report, failed });
        Decided::Done
    }

    fn on_request(&mut self, now: Duration, bytes: &[u8], home: &mut impl Home) {
        let message = match Message::decode(bytes) {
            Ok(message) if !message.body.is_answer() => message,
            Ok(_) | Err(Malformed(_)) => {
                self.counters.malformed += 1;
                // Whoever asked that understands no answer, but there has to be one.
                return self.outputs.push(Output::Answer(Vec::new()));
            }
        };
        let body = match message.body {
            _ if message.to != self.me.node => Body::Gone,
            Body::Gather(roots) => {
                self.counters.answered += 1;
                Body::Part(self.read(now, &roots, home))
            }
            Body::Confirm { reading, frames } => {
                self.counters.answered += 1;
                match self.read_again(now, reading, &frames, home) {
                    Some(part) => Body::Part(part),
                    None => Body::Changed,
                }
            }
            Body::Attach(attach) => {
                self.attached(now, attach);
                Body::Attached
            }
            Body::Verdict(verdict) => Body::Decided(self.execute(now, verdict, home)),
            Body::Part(_) | Body::Changed | Body::Attached | Body::Decided(_) | Body::Gone => {
                return;
            }
        };
        let answer = Message {
            request: message.request,
            from: self.me.node,
            to: message.from,
            body,
        };
        self.outputs.push(Output::Answer(answer.encode()));
    }
}

/// Frames that came through opaque hops, and reports of such frames.
impl Core {
    fn on_served(
        &mut self,
        now: Duration,
        frame: u64,
        parent: CallId,
        caller: Peer,
        via: Option<String>,
    ) {
        let siblings = self.by_parent.entry(parent).or_default();
        siblings.push(frame);
        let forked = siblings.len() > 1;
        let siblings = siblings.clone();
        let due = now + PATIENCE;
        let served = Served {
            parent,
            caller,
            via,
            since: now,
            due,
            forked,
            attached: None,
        };
        self.served.insert(frame, served);
        self.timers.insert((due, Timer::Served(frame)));
        if forked {
            for frame in siblings {
                if let Some(served) = self.served.get_mut(&frame) {
                    served.forked = true;
                    self.attach(now, frame, false);
                }
            }
        }
    }

    fn on_ended(&mut self, now: Duration, frame: u64) {
        if self
            .served
            .get(&frame)
            .is_some_and(|served| served.attached.is_some())
        {
            self.attach(now, frame, true);
        }
        let Some(served) = self.served.remove(&frame) else {
            return;
        };
        self.timers.remove(&(served.due, Timer::Served(frame)));
        if let Some(siblings) = self.by_parent.get_mut(&served.parent) {
            siblings.retain(|sibling| *sibling != frame);
            if siblings.is_empty() {
                self.by_parent.remove(&served.parent);
            }
        }
    }

    /// A frame that waits, or lives long, reports itself; and again, so that it stays believed.
    fn look_at_served(&mut self, now: Duration, frame: u64, home: &mut impl Home) {
        let Some(served) = self.served.get(&frame) else {
            return;
        };
        let (age, attached, occupies) = (now - served.since, served.attached, served.via.is_some());
        let waits = (occupies || attached.is_none()) && {
            let reading = home.read(&[Root::Frame(frame)]);
            reading.frames.iter().any(|read| read.number() == frame)
        };
        if match attached {
            None => waits || age >= LONG_LIFE,
            Some(before) => now >= before + REFRESH,
        } {
            self.attach(now, frame, false);
        }
        // Others may wait for it of whom nothing is known here, so nobody else would look.
        if waits && occupies && !self.waits.contains_key(&frame) {
            self.on_leaves(now, frame, PATIENCE, false);
        }
        if let Some(served) = self.served.get_mut(&frame) {
            served.due = now
                + match served.attached {
                    None => age.min(LONG_LIFE - age),
                    Some(_) if occupies => LONG_LIFE / 2,
                    Some(_) => REFRESH,
                };
            self.timers.insert((served.due, Timer::Served(frame)));
        }
    }

    /// Has those in `reading` report themselves that should and have not. Says whether there were any
    /// whose report takes time.
    fn attach_all(&mut self, now: Duration, reading: &Reading) -> bool {
        let new = |frame: &u64| {
            self.served
                .get(frame)
                .is_some_and(|served| served.attached.is_none())
        };
        let frames = reading.frames.iter().map(|frame| frame.number());
        let frames: Vec<u64> = frames.filter(new).collect();
        let mut on_the_way = false;
        for frame in frames {
            on_the_way |= self.attach(now, frame, false);
        }
        on_the_way && !self.is(Fault::AttachDropped)
    }

    /// Reports this frame to whoever made the call that led to it. Says whether that takes time.
    fn attach(&mut self, now: Duration, frame: u64, ended: bool) -> bool {
        let Some(served) = self.served.get_mut(&frame) else {
            return false;
        };
        served.attached = Some(now);
        let caller = served.caller.clone();
        let attach = Attach {
            call: served.parent.seq,
            child: Child {
                peer: self.me.clone(),
                frame,
            },
            forked: served.forked,
            ended,
        };
        if self.is(Fault::AttachDropped) {
            return false;
        }
        self.counters.attaches += 1;
        if caller.node == self.me.node {
            self.attached(now, attach);
            return false;
        }
        self.ask(now, caller, Body::Attach(attach), Purpose::Attach);
        true
    }

    fn attached(&mut self, now: Duration, attach: Attach) {
        if self.children.len() >= MOST_CALLS && !self.children.contains_key(&attach.call) {
            return;
        }
        let known = self.children.entry(attach.call).or_default();
        known.forked |= attach.forked;
        let place = known
            .children
            .iter()
            .position(|(child, _)| *child == attach.child);
        match (place, attach.ended) {
            (Some(place), true) => {
                known.changes += 1;
                known.children.remove(place);
            }
            (None, true) => {}
            (Some(place), false) => known.children[place].1 = now + BELIEVED,
            (None, false) if known.children.len() == MOST_CHILDREN => known.forked = true,
            (None, false) => {
                known.changes += 1;
                known.children.push((attach.child, now + BELIEVED));
                // It may be what was missing.
                let waits: Vec<u64> = self.waits.keys().copied().collect();
                for frame in waits {
                    self.look_at_wait_at(now, frame);
                }
            }
        }
        if known_is_empty(self.children.get(&attach.call)) {
            self.children.remove(&attach.call);
        } else {
            self.timers.insert((now + BELIEVED, Timer::Forget));
        }
    }

    fn forget(&mut self, now: Duration) {
        self.children.retain(|_, known| {
            known.children.retain(|(_, until)| *until > now);
            !known_is_empty(Some(known))
        });
        self.not_admitted.retain(|_, until| *until > now);
        self.admitted.retain(|_, until| *until > now);
    }
}

fn known_is_empty(known: Option<&Known>) -> bool {
    known.is_some_and(|known| known.children.is_empty())
}

/// Questions to peers.
impl Core {
    fn ask(&mut self, now: Duration, to: Peer, body: Body, purpose: Purpose) {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        let message = Message {
            request,
            from: self.me.node,
            to: to.node,
            body,
        };
        let bytes = message.encode();
        let due = match &*to.address {
            // Nobody can ask it.
            "" => now,
            _ => now + self.timeout(to.node),
        };
        let tries = match &*to.address {
            "" => RETRIES,
            _ => {
                self.outputs.push(Output::Send {
                    to: to.clone(),
                    bytes: bytes.clone(),
                });
                0
            }
        };
        self.timers.insert((due, Timer::Request(request)));
        self.requests.insert(
            request,
            Request {
                to,
                bytes,
                purpose,
                sent: now,
                tries,
                due,
            },
        );
    }

    fn timeout(&self, node: u64) -> Duration {
        let usual = self.round_trips.get(&node).copied().unwrap_or_default();
        (usual * 4).clamp(LEAST_TIMEOUT, MOST_TIMEOUT)
    }

    fn on_timeout(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if matches!(request.purpose, Purpose::Late) {
            self.requests.remove(&id);
            return;
        }
        self.counters.timeouts += 1;
        if request.tries < RETRIES {
            request.tries += 1;
            let pause = (request.due - request.sent).max(LEAST_TIMEOUT);
            request.due = now + pause;
            self.timers.insert((request.due, Timer::Request(id)));
            let (to, bytes) = (request.to.clone(), request.bytes.clone());
            self.outputs.push(Output::Send { to, bytes });
        } else {
            self.give_up(now, id, home);
        }
    }

    /// Whoever does not answer counts as running.
    fn give_up(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        self.timers.remove(&(request.due, Timer::Request(id)));
        self.counters.unreachable += 1;
        let purpose = std::mem::replace(&mut request.purpose, Purpose::Late);
        let node = request.to.node;
        request.due = now + REMEMBERED;
        self.timers.insert((request.due, Timer::Request(id)));
        match purpose {
            Purpose::Gather(check) => {
                if let Some(check) = self.checks.get_mut(&check) {
                    check.lose(node);
                }
                self.go_on_gathering(now, check, home);
            }
            Purpose::Confirm(check) => self.end_check(now, check, false),
            Purpose::Attach | Purpose::Fail | Purpose::Admit(_) | Purpose::Late => {}
        }
    }

    fn on_lost(&mut self, now: Duration, node: u64, home: &mut impl Home) {
        let of_it = self.requests.iter().filter(|(_, r)| r.to.node == node);
        let open = of_it.filter(|(_, r)| !matches!(r.purpose, Purpose::Late));
        let mut requests: Vec<u32> = open.map(|(id, _)| *id).collect();
        requests.sort_unstable();
        for id in requests {
            self.give_up(now, id, home);
        }
    }

    fn on_answer(&mut self, now: Duration, node: u64, bytes: &[u8], home: &mut impl Home) {
        let message = match Message::decode(bytes) {
            Ok(message) if message.body.is_answer() => message,
            Ok(_) | Err(Malformed(_)) => {
                self.counters.malformed += 1;
                return;
            }
        };
        if message.to != self.me.node {
            return;
        }
        let request = self.requests.get(&message.request);
        if request.is_none_or(|request| request.to.node != node) {
            return;
        }
        let Some(request) = self.requests.remove(&message.request) else {
            return;
        };
        self.timers
            .remove(&(request.due, Timer::Request(message.request)));
        let took = now - request.sent;
        let usual = self.round_trips.entry(node).or_insert(took);
        *usual = (*usual * 7 + took) / 8;
        match (request.purpose, message.body) {
            (Purpose::Gather(id), body) => {
                if let Some(check) = self.checks.get_mut(&id) {
                    match body {
                        Body::Part(part) => check.learn(node, part),
                        _ => check.lose(node),
                    }
                    self.go_on_gathering(now, id, home);
                }
            }
            (Purpose::Confirm(id), Body::Part(part)) => self.confirmed(now, id, node, part, home),
            (Purpose::Confirm(id), _) => self.reject(now, id),
            (Purpose::Attach, _) => {
                let waits = self.waits.iter_mut().filter(|(_, wait)| wait.after_attach);
                let waits: Vec<u64> = waits
                    .map(|(frame, wait)| {
                        wait.after_attach = false;
                        *frame
                    })
                    .collect();
                for frame in waits {
                    self.look_at_wait_at(now, frame);
                }
            }
            (purpose @ (Purpose::Fail | Purpose::Admit(_)), Body::Decided(decided)) => {
                self.decided(now, node, purpose, decided);
            }
            (Purpose::Fail | Purpose::Admit(_) | Purpose::Late, _) => {}
        }
    }
}
