//! Leads the processes through a program, one step at a time, with the truth beside it.
//!
//! A step is given, and then it is waited until all that must come of it has come: those who have what
//! they wanted have said so, and the others stand in the queues where they should. So the truth is known
//! at every moment. Only the detectors act by themselves.

mod follow;

use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::message::{CallOrder, Ending, Failure, Order, Said};
use crate::model::{Model, Wait};
use crate::program::{
    Call, Chain, Class, End, Mode, OPEN, Patience, Program, Script, Sort, Step, TROUPE,
};
use crate::troupe::Troupe;

/// How long anything but a deadlock may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who waits for longer than this has had to wait.
const LONG: Duration = Duration::from_millis(1);
/// What a deadline that never comes is.
const NEVER_MS: u64 = 60_000;

/// What came of a program.
#[derive(Default)]
pub(crate) struct Seen {
    /// Deadlocks that a verdict ended, that none did, and that a deadline ended before.
    pub(crate) found: u64,
    pub(crate) missed: u64,
    pub(crate) dissolved: u64,
    /// Verdicts for somebody who was in no deadlock, or in none any more.
    pub(crate) false_positives: u64,
    pub(crate) late: u64,
    pub(crate) misnamed: u64,
    /// Those whom the detector let in before others.
    pub(crate) let_past: u64,
    pub(crate) deadlocked: bool,
    /// Somebody has waited.
    pub(crate) contended: bool,
    /// A Python program made a call for another one, and a deadlock that was found led through one.
    pub(crate) hopped: bool,
    pub(crate) opaque: u64,
    pub(crate) frames: usize,
    /// From the last wait to the verdict, and whether a Python program was in it, or several processes.
    pub(crate) latencies: Vec<(Path, Duration)>,
    /// What went wrong, and all that happened before it.
    pub(crate) problem: Option<String>,
    pub(crate) story: Vec<String>,
}

/// What a cycle leads through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Path {
    Local,
    Several,
    Python,
}

type Checked<T = ()> = Result<T, String>;

/// Runs a program.
pub(crate) fn run(program: &Program, name: &str, troupe: &mut Troupe, rng: &mut Rng) -> Seen {
    let mut lead = Lead::new(program, name, troupe, rng);
    if let Err(problem) = lead.play() {
        lead.seen.problem = Some(problem);
    }
    lead.seen.frames = lead.roles.len();
    lead.troupe.next_frame += lead.roles.len() as u64;
    lead.seen
}

pub(crate) struct Lead<'a> {
    pub(crate) program: &'a Program,
    pub(crate) name: &'a str,
    pub(crate) troupe: &'a mut Troupe,
    rng: &'a mut Rng,
    base: u64,
    pub(crate) model: Model,
    pub(crate) roles: Vec<Role>,
    /// How it was at each time when the deadlocks changed, as long as they last.
    past: Vec<(Instant, Model)>,
    /// The same of deadlocks that are over: somebody may have been told of them at the same time as whoever
    /// set the others free.
    over: Vec<(Instant, Model)>,
    /// Since when somebody cannot go on, and how many.
    stuck: Option<(Instant, usize)>,
    /// Chains that have not begun, and how often each may.
    to_begin: Vec<(usize, u32)>,
    early: Vec<(Instant, Said)>,
    begun: Instant,
    seen: Seen,
}

/// A frame, as it is led.
pub(crate) struct Role {
    pub(crate) node: usize,
    /// As reports call it.
    pub(crate) name: String,
    pub(crate) is_call: bool,
    pub(crate) in_batch: bool,
    script: Rc<Script>,
    next: usize,
    chain: usize,
    retries: u32,
    /// What it must say next.
    expects: Option<Expect>,
    /// What failed last, unless that was put up with.
    failed: Option<Outcome>,
    waits_since: Instant,
    /// What it waits for, or waited for before it went on.
    waited_for: Option<usize>,
    /// It was seen where it waits.
    settled: bool,
    /// The wait ends at this time.
    until: Option<Instant>,
    /// Its caller has given up.
    orphan: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Expect {
    Entered,
    Done,
    Refused,
    Failed(Outcome),
    Ended,
}

/// How something failed.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Deadlock(String),
    Late,
    Other,
}

impl Outcome {
    fn of(error: &Failure) -> Self {
        match &error.deadlock {
            Some(told) => Self::Deadlock(told.id.clone()),
            None if error.late => Self::Late,
            None => Self::Other,
        }
    }
}

impl<'a> Lead<'a> {
    fn new(program: &'a Program, name: &'a str, troupe: &'a mut Troupe, rng: &'a mut Rng) -> Self {
        let chains = program.chains.iter().enumerate();
        Self {
            program,
            name,
            base: troupe.next_frame,
            troupe,
            rng,
            model: Model::new(&program.things),
            roles: Vec::new(),
            past: Vec::new(),
            over: Vec::new(),
            stuck: None,
            to_begin: chains.map(|(chain, of)| (chain, of.retries)).collect(),
            early: Vec::new(),
            begun: Instant::now(),
            seen: Seen::default(),
        }
    }

    fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        let line = format!(
            "{:8.1} ms  {}",
            self.begun.elapsed().as_secs_f64() * 1e3,
            text(self)
        );
        self.seen.story.push(line);
    }

    /// The name of an object or a lock.
    pub(crate) fn name_of(&self, thing: usize) -> String {
        format!("{}.{thing}", self.name)
    }

    fn open_of(&self, node: usize) -> String {
        format!("{}.{node}.{OPEN}", self.name)
    }

    fn play(&mut self) -> Checked {
        self.set_up()?;
        // At times all take turns, so that each has something before anybody wants a second thing.
        let fair = self.rng.bool();
        let mut turn = 0;
        loop {
            self.settle()?;
            let able: Vec<usize> = (0..self.roles.len())
                .filter(|frame| self.is_able(*frame))
                .collect();
            let choices = able.len() + self.to_begin.len();
            let waits = self
                .model
                .frames
                .iter()
                .any(|frame| matches!(frame.wait, Wait::Thing { .. }));
            if self.stuck.is_some() && (choices == 0 || self.rng.u32(..3) == 0) {
                self.await_verdict()?;
                continue;
            }
            if choices == 0 {
                if !waits {
                    break;
                }
                self.await_way_past()?;
                continue;
            }
            if waits && self.rng.u32(..6) == 0 {
                let ms = match self.rng.u32(..40) {
                    0 => 300,
                    _ => self.rng.u64(2..25),
                };
                self.dwell(Duration::from_millis(ms))?;
                continue;
            }
            turn += 1;
            let choice = match self.program.class {
                // Who was forked waits before the other one computes.
                Class::Ambiguous => choices - 1,
                Class::Plain if fair => turn % choices,
                Class::Plain => self.rng.usize(..choices),
            };
            match choice.checked_sub(self.to_begin.len()) {
                None => {
                    let (chain, retries) = self.to_begin.remove(choice);
                    self.begin(chain, retries)?;
                }
                Some(place) => self.step(able[place])?,
            }
        }
        self.clean_up()
    }

    fn nodes(&self) -> Vec<usize> {
        (0..TROUPE.len()).collect()
    }

    fn set_up(&mut self) -> Checked {
        let mut waits_for = 0;
        for node in self.nodes() {
            if TROUPE[node].is_python() {
                continue;
            }
            let things = self.program.things.iter().enumerate();
            let here: Vec<_> = things.filter(|(_, thing)| thing.node == node).collect();
            let objects = here.iter().filter(|(_, thing)| thing.sort == Sort::Object);
            let mut objects: Vec<String> = objects.map(|(thing, _)| self.name_of(*thing)).collect();
            objects.push(self.open_of(node));
            let locks = here.iter().filter(|(_, of)| of.sort.is_lock());
            let locks = locks.map(|(thing, of)| (self.name_of(*thing), of.sort));
            let order = Order::Make {
                objects,
                locks: locks.collect(),
            };
            self.troupe.tell(node, &order);
            waits_for += 1;
        }
        let deadline = Instant::now() + PATIENCE;
        while waits_for > 0 {
            match self.troupe.next(deadline) {
                Some((_, Said::Made)) => waits_for -= 1,
                // Of the program before this one, which went on for a little.
                Some((node, Said::Confused { text })) => {
                    return Err(format!("process {node}: {text}"));
                }
                Some(_) => {}
                None => return Err("a process does not answer".to_owned()),
            }
        }
        Ok(())
    }

    /// Nothing may be left behind.
    fn clean_up(&mut self) -> Checked {
        let deadline = Instant::now() + PATIENCE;
        for node in self.nodes() {
            loop {
                self.troupe.tell(node, &Order::Drop);
                let left = match self.troupe.next(deadline) {
                    Some((_, Said::Dropped { left })) => left,
                    Some((_, said)) => {
                        return Err(format!("after the end, somebody said {said:?}"));
                    }
                    None => return Err(format!("process {node} does not answer")),
                };
                if left.is_empty() {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(format!("process {node} has left {left:?} behind"));
                }
            }
        }
        Ok(())
    }

    fn is_able(&self, frame: usize) -> bool {
        self.model.frames[frame].wait == Wait::None && self.roles[frame].expects.is_none()
    }

    fn add(&mut self, role: Role, caller: Option<usize>) -> usize {
        let foreign = TROUPE[role.node].is_python();
        let frame = self.model.begin(caller, foreign);
        self.roles.push(role);
        frame
    }

    fn role(&self, node: usize, name: String, script: &Rc<Script>, chain: usize) -> Role {
        Role {
            node,
            name,
            is_call: true,
            in_batch: false,
            script: Rc::clone(script),
            next: 0,
            chain,
            retries: 0,
            expects: Some(Expect::Entered),
            failed: None,
            waits_since: Instant::now(),
            waited_for: None,
            settled: false,
            until: None,
            orphan: false,
        }
    }

    fn begin(&mut self, number: usize, retries: u32) -> Checked {
        let Chain {
            node, task, script, ..
        } = &self.program.chains[number];
        let name = format!("{} chain {number} ({retries})", self.name);
        let mut role = self.role(*node, name.clone(), script, number);
        role.is_call = false;
        role.retries = retries;
        let frame = self.add(role, None);
        self.note(|_| format!("frame {frame} begins in process {node}: chain {number}"));
        let order = Order::Begin {
            frame: self.base + frame as u64,
            name,
            task: *task,
        };
        self.troupe.tell(*node, &order);
        Ok(())
    }

    /// The next step of a frame.
    fn step(&mut self, frame: usize) -> Checked {
        let role = &mut self.roles[frame];
        let script = Rc::clone(&role.script);
        if role.failed.is_some() && script.swallows {
            role.failed = None;
        }
        let next = script
            .steps
            .get(role.next)
            .filter(|_| role.failed.is_none() && !role.orphan);
        let Some(step) = next else {
            return self.end(frame, script.end);
        };
        role.next += 1;
        match step {
            Step::Lock {
                thing,
                mode,
                patience,
            } => self.lock(frame, *thing, *mode, *patience),
            Step::Unlock(thing) => {
                if self.model.has(frame, *thing) {
                    self.note(|lead| format!("frame {frame} lets go of {}", lead.name_of(*thing)));
                    let order = Order::Unlock {
                        frame: self.base + frame as u64,
                        lock: self.name_of(*thing),
                    };
                    self.roles[frame].expects = Some(Expect::Done);
                    self.troupe.tell(self.roles[frame].node, &order);
                    self.model.release(frame, *thing);
                    self.changed();
                }
                Ok(())
            }
            Step::Call(call) => self.call(frame, call),
            Step::Pause(ms) => self.dwell(Duration::from_millis(*ms)),
        }
    }

    fn lock(&mut self, frame: usize, thing: usize, mode: Mode, patience: Patience) -> Checked {
        let wait_ms = match patience {
            Patience::Forever => None,
            Patience::Try => Some(0),
            Patience::Long => Some(NEVER_MS),
            Patience::Short(ms) => Some(ms),
        };
        let now = Instant::now();
        let gets = self
            .model
            .take(frame, thing, mode, patience != Patience::Try);
        self.note(|lead| {
            let (name, sort) = (lead.name_of(thing), lead.program.things[thing].sort);
            format!("frame {frame} takes {name} ({sort:?}, {mode:?}, {patience:?}): {gets}")
        });
        let role = &mut self.roles[frame];
        role.expects = match (gets, patience) {
            (true, _) => Some(Expect::Done),
            (false, Patience::Try) => Some(Expect::Refused),
            (false, _) => None,
        };
        role.until = match patience {
            Patience::Short(ms) if !gets => Some(now + Duration::from_millis(ms)),
            _ => None,
        };
        role.waits_since = now;
        role.waited_for = (!gets).then_some(thing);
        role.settled = false;
        let order = Order::Lock {
            frame: self.base + frame as u64,
            lock: self.name_of(thing),
            mode: mode.into(),
            wait_ms,
        };
        self.troupe.tell(self.roles[frame].node, &order);
        self.changed();
        Ok(())
    }

    fn call(&mut self, frame: usize, call: &Call) -> Checked {
        let Call {
            node, enters, task, ..
        } = *call;
        let to_python = TROUPE[node].is_python();
        let object = match enters {
            _ if to_python => "puppet".to_owned(),
            Some((thing, _)) => self.name_of(thing),
            None => self.open_of(node),
        };
        let method = match enters {
            _ if to_python => "run",
            Some((_, Mode::Write)) => "write",
            Some((_, Mode::Read)) => "read",
            Some(_) => "pass",
            None => "enter",
        };
        let method = match task && !to_python {
            true => format!("{method}_as_task"),
            false => method.to_owned(),
        };
        let mut role = self.role(
            node,
            format!("{object}.{method}"),
            &call.script,
            self.roles[frame].chain,
        );
        role.in_batch = call.batch;
        let caller = (!call.oneway).then_some(frame);
        let callee = self.add(role, caller);
        if call.oneway {
            self.roles[frame].expects = Some(Expect::Done);
        }
        let gets = match enters {
            Some((thing, mode)) => self.model.take(callee, thing, mode, true),
            None => true,
        };
        if !gets {
            self.roles[callee].expects = None;
            self.roles[callee].waited_for = enters.map(|(thing, _)| thing);
        }
        self.seen.hopped |= to_python && !TROUPE[self.roles[frame].node].is_python();
        self.note(|lead| {
            let oneway = if call.oneway { ", oneway" } else { "" };
            let name = &lead.roles[callee].name;
            format!(
                "frame {frame} calls {name} in process {node} as frame {callee}{oneway}: {gets}"
            )
        });
        let order = Order::Call {
            frame: self.base + frame as u64,
            call: CallOrder {
                uri: format!("PYRO:{object}@{}", self.troupe.place(node)),
                method,
                callee: self.base + callee as u64,
                oneway: call.oneway,
                batch: call.batch,
                limit_ms: call.timed.then_some(NEVER_MS),
            },
        };
        self.troupe.tell(self.roles[frame].node, &order);
        self.changed();
        Ok(())
    }

    fn end(&mut self, frame: usize, how: End) -> Checked {
        let role = &mut self.roles[frame];
        let failed = role.failed.clone();
        let (how, outcome) = match (&failed, how) {
            _ if role.orphan => (Ending::Return, Expect::Done),
            // For the caller it is an error like any other that its time was over.
            (Some(Outcome::Late), _) => (Ending::Fail, Expect::Failed(Outcome::Other)),
            (Some(failed), _) => (Ending::Fail, Expect::Failed(failed.clone())),
            (None, End::Return) => (Ending::Return, Expect::Done),
            (None, End::Panic) => (Ending::Panic, Expect::Failed(Outcome::Other)),
        };
        role.expects = Some(Expect::Ended);
        if !role.is_call && matches!(failed, Some(Outcome::Deadlock(_))) && role.retries > 0 {
            self.to_begin.push((role.chain, role.retries - 1));
        }
        let node = role.node;
        self.note(|_| format!("frame {frame} ends: {how:?}"));
        if let Some(caller) = self.model.frames[frame].caller {
            self.roles[caller].expects = Some(outcome);
        }
        self.model.end(frame);
        let order = Order::End {
            frame: self.base + frame as u64,
            how,
        };
        self.troupe.tell(node, &order);
        self.changed();
        Ok(())
    }

    /// Something is as it was not before: takes note of who has got what he wanted, and of who cannot go
    /// on any more.
    fn changed(&mut self) {
        for frame in std::mem::take(&mut self.model.granted) {
            let role = &mut self.roles[frame];
            let began = role.is_call && role.next == 0;
            role.expects = Some(if began { Expect::Entered } else { Expect::Done });
            self.waited(frame);
        }
        let before = self.stuck.map_or(0, |(_, count)| count);
        let count = self.model.note_stuck();
        if count == 0 {
            self.stuck = None;
            self.over.append(&mut self.past);
            return;
        }
        self.seen.deadlocked = true;
        if before != count {
            self.note(|lead| {
                let stuck = lead.model.stuck(false);
                let stuck: Vec<usize> = (0..stuck.len()).filter(|frame| stuck[*frame]).collect();
                format!("now frames {stuck:?} can never go on")
            });
            self.stuck = Some((Instant::now(), count));
            self.past.push((Instant::now(), self.model.clone()));
        }
    }

    fn waited(&mut self, frame: usize) {
        let role = &mut self.roles[frame];
        role.until = None;
        self.seen.contended |= role.settled && role.waits_since.elapsed() >= LONG;
    }
}
