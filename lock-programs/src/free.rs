//! Programs whose agents run freely, and what can be proved of them afterwards.
//!
//! Each agent writes down what it is about to do before it does it, and what came of it after, with
//! stamps from one counter. While it waits it writes nothing, so what it wrote until then is exactly
//! what it has: every report can be checked against that when the program has ended.

use std::sync::Arc;
use std::sync::Mutex as Plain;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antifreeze_sync::Report;
use fastrand::Rng;

use crate::cast::{Cast, Command, Crew, What};
use crate::lead::{Fault, FaultKind, Seen};
use crate::oracle::{Frozen, On, Oracle, Told, ToldMember, ToldWait};
use crate::program::{AfterDeadlock, Agent, Kind, Mode, Patience, Program, Step, Want};
use crate::report::told;
use crate::world::{End, Hands, Hook, TaskHands};

/// A program that has not ended by then never will.
const LIMIT: Duration = Duration::from_secs(10);
/// After this time, help comes to those who wait for something that is open to everybody.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often an agent begins again after a deadlock.
const ATTEMPTS: u8 = 2;

/// What all agents of a program wrote down.
pub(crate) struct Log {
    stamp: AtomicU64,
    agents: Vec<Plain<Vec<Entry>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    stamp: u64,
    at: Instant,
    note: Note,
}

#[derive(Clone, Debug)]
enum Note {
    /// It is about to acquire these.
    Wants {
        wants: Vec<Want>,
        joins: Option<usize>,
        timed: bool,
        external: bool,
    },
    /// It has this part.
    Got(usize),
    /// It has what it wanted.
    Done,
    /// It has not, and holds nothing of it.
    Failed(Option<Arc<Report>>),
    /// It is about to let go of the newest of this.
    Releases(usize),
    Downgrades(usize),
    /// It is aborted soon.
    Aborted,
}

impl Log {
    fn new(agents: usize) -> Self {
        Self {
            stamp: AtomicU64::new(0),
            agents: (0..agents).map(|_| Plain::default()).collect(),
        }
    }

    fn note(&self, agent: usize, note: Note) {
        let stamp = self.stamp.fetch_add(1, Ordering::SeqCst);
        let entry = Entry {
            stamp,
            at: Instant::now(),
            note,
        };
        self.agents[agent].lock().expect("not poisoned").push(entry);
    }
}

/// What one agent does of a program.
pub(crate) struct Part {
    number: usize,
    agent: Agent,
    log: Arc<Log>,
    rng: Rng,
}

/// What comes next.
enum Next {
    Step(Step),
    Release(usize),
    End,
}

/// How far an agent is.
#[derive(Default)]
struct Way {
    next: usize,
    attempts: u8,
    leaving: bool,
    again: bool,
}

impl Way {
    fn next(&mut self, agent: &Agent, newest: Option<usize>) -> Next {
        if !self.leaving && self.next >= agent.steps.len() {
            self.leaving = true;
        }
        if self.leaving {
            if let Some(thing) = newest {
                return Next::Release(thing);
            }
            if !self.again {
                return Next::End;
            }
            (self.again, self.leaving, self.next) = (false, false, 0);
        }
        self.next += 1;
        match agent.steps.get(self.next - 1) {
            Some(step) => Next::Step(step.clone()),
            None => Next::End,
        }
    }

    fn failed(&mut self, after: AfterDeadlock) {
        match after {
            AfterDeadlock::GoOn => {}
            AfterDeadlock::Retry if self.attempts < ATTEMPTS => {
                self.attempts += 1;
                self.leaving = true;
                self.again = true;
            }
            AfterDeadlock::End | AfterDeadlock::Retry => self.leaving = true,
        }
    }
}

impl Part {
    /// Takes all steps on this thread.
    pub(crate) fn run(&mut self, hands: &mut Hands<'_>) {
        let mut way = Way::default();
        loop {
            let step = match way.next(&self.agent, hands.newest()) {
                Next::End => return,
                Next::Release(thing) => Step::Release(thing),
                Next::Step(step) => step,
            };
            if !hands.can(&step) {
                continue;
            }
            match self.rng.u8(0..16) {
                0 => std::thread::yield_now(),
                1..=4 => std::thread::sleep(Duration::from_micros(self.rng.u64(1..200))),
                5 => std::thread::sleep(Duration::from_micros(self.rng.u64(500..2_000))),
                _ => {}
            }
            let timeout = self.timeout(&step);
            self.before(&step);
            let end = hands.take(&step, timeout);
            self.after(&step, end, &mut way);
        }
    }

    /// Takes all steps in a task.
    pub(crate) async fn run_task(&mut self, hands: &mut TaskHands<'_>, hook: &Hook) {
        let mut way = Way::default();
        loop {
            let step = match way.next(&self.agent, hands.newest()) {
                Next::End => return,
                Next::Release(thing) => Step::Release(thing),
                Next::Step(step) => step,
            };
            if !hands.can(&step) {
                continue;
            }
            match self.rng.u8(0..16) {
                0..=3 => tokio::task::yield_now().await,
                4 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => {}
            }
            let timeout = self.timeout(&step);
            self.before(&step);
            let (log, number) = (Arc::clone(&self.log), self.number);
            let mut got = |part| log.note(number, Note::Got(part));
            let end = hands.take(&step, timeout, hook, &mut got).await;
            self.after(&step, end, &mut way);
        }
    }

    fn timeout(&mut self, step: &Step) -> Duration {
        match step {
            Step::Acquire(_, Patience::Short) => Duration::from_micros(self.rng.u64(500..20_000)),
            _ => Duration::from_secs(600),
        }
    }

    fn before(&self, step: &Step) {
        let note = match step {
            Step::Release(thing) => Note::Releases(*thing),
            Step::Downgrade(thing) => Note::Downgrades(*thing),
            Step::Upgrade(thing) => Note::Wants {
                wants: vec![Want {
                    thing: *thing,
                    mode: Mode::Upgrade,
                }],
                joins: None,
                timed: false,
                external: false,
            },
            step => {
                let ends = matches!(step, Step::Acquire(_, Patience::Short | Patience::Long));
                let task = self.agent.kind == Kind::Task;
                Note::Wants {
                    wants: step.wants().to_vec(),
                    joins: if let Step::Join(other) = step {
                        Some(*other)
                    } else {
                        None
                    },
                    timed: ends && !task,
                    external: ends && task,
                }
            }
        };
        self.log.note(self.number, note);
    }

    fn after(&self, step: &Step, end: End, way: &mut Way) {
        let waits = !matches!(step, Step::Release(_) | Step::Downgrade(_));
        match end {
            End::Done(_) => {
                if waits {
                    self.log.note(self.number, Note::Done);
                }
            }
            End::Deadlock(report) => {
                self.log.note(self.number, Note::Failed(Some(report)));
                way.failed(self.agent.after);
            }
            End::Refused | End::TimedOut | End::Cancelled => {
                self.log.note(self.number, Note::Failed(None));
            }
            End::Odd(text) => panic!("agent {}, {step:?}: {text}", self.number),
        }
    }
}

/// Lets the agents of a program run, and checks what they wrote down.
pub(crate) fn run(program: &Program, name: &str, crew: &mut Crew, rng: &mut Rng) -> Seen {
    let cast = Cast::start(program, name, crew);
    let log = Arc::new(Log::new(program.agents.len()));
    for (number, agent) in program.agents.iter().enumerate() {
        let part = Part {
            number,
            agent: agent.clone(),
            log: Arc::clone(&log),
            rng: rng.fork(),
        };
        cast.tell(number, Command::Run(part));
        cast.tell(number, Command::Finish);
    }
    let tasks = (0..program.agents.len()).filter(|&a| program.agents[a].kind == Kind::Task);
    let tasks: Vec<usize> = tasks.collect();
    if !tasks.is_empty() && rng.u8(0..8) == 0 {
        let task = tasks[rng.usize(0..tasks.len())];
        std::thread::sleep(Duration::from_micros(rng.u64(0..4_000)));
        log.note(task, Note::Aborted);
        cast.abort(task);
    }
    let mut seen = Seen::default();
    let mut left = program.agents.len();
    let end = Instant::now() + LIMIT;
    let mut help_at = Instant::now() + PATIENCE;
    while left > 0 {
        let now = Instant::now();
        if now >= help_at {
            // What is open to everybody comes from outside in the end.
            (0..program.things.len()).for_each(|thing| cast.world.help(thing));
            help_at = now + PATIENCE / 5;
        }
        match cast
            .events
            .recv_timeout(help_at.min(end).saturating_duration_since(now))
        {
            Ok(event) if matches!(event.what, What::Gone) => left -= 1,
            Ok(_) => {}
            Err(_) if Instant::now() >= end => break,
            Err(_) => {}
        }
    }
    let story = Story::new(program, &log);
    let outcome = story.check(&cast, &mut seen);
    seen.contended = story.is_contended();
    if left > 0 {
        seen.onsets += 1;
        let text = story.hung();
        seen.fault = Some(Fault {
            kind: FaultKind::Missed,
            text,
        });
        cast.abandon(crew);
    } else if let Err(fault) = outcome {
        if fault.kind == FaultKind::FalsePositive {
            seen.false_positives += 1;
        }
        seen.fault = Some(fault);
    } else {
        let held = cast.world.still_held();
        if !held.is_empty() {
            let text = format!("all agents have ended, but {held:?} are not free");
            seen.fault = Some(Fault {
                kind: FaultKind::Lock,
                text,
            });
        }
    }
    seen
}

/// All that was written down.
struct Story<'a> {
    program: &'a Program,
    agents: Vec<Vec<Entry>>,
}

/// What an agent has and wants at one moment.
#[derive(Clone, Debug, Default)]
struct Moment {
    held: Vec<(usize, Mode)>,
    wait: Option<Wait>,
}

/// One wait of an agent from its begin to its end.
#[derive(Clone, Debug)]
struct Span {
    agent: usize,
    begun: u64,
    at: Instant,
    ended: u64,
    /// It ended by an error.
    failed: bool,
    wants: Vec<Want>,
    joins: Option<usize>,
    timed: bool,
}

/// One of the waits of each, in all ways in which they lasted at the same time.
fn together(spans: &[Vec<Span>], begun: u64, ended: u64) -> Vec<Vec<Span>> {
    let Some((first, rest)) = spans.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for span in first.iter().rev() {
        let (begun, ended) = (begun.max(span.begun), ended.min(span.ended));
        if begun < ended {
            for mut others in together(rest, begun, ended) {
                others.push(span.clone());
                all.push(others);
            }
        }
    }
    all
}

/// Whether there is an order of these, from this place on, that is right.
fn in_some_order<T>(all: &mut [T], from: usize, is_right: &impl Fn(&[T]) -> bool) -> bool {
    if from == all.len() {
        return is_right(all);
    }
    (from..all.len()).any(|place| {
        all.swap(from, place);
        let found = in_some_order(all, from + 1, is_right);
        all.swap(from, place);
        found
    })
}

impl Span {
    fn is_told(&self, told: &[ToldWait]) -> bool {
        let same = |want: &Want, told: &ToldWait| {
            told.on == On::Thing(want.thing) && told.mode == want.mode && told.timed == self.timed
        };
        if let Some(other) = self.joins {
            return matches!(told, [told] if told.on == On::EndOf(other));
        }
        self.wants.len() == told.len()
            && self
                .wants
                .iter()
                .all(|want| told.iter().any(|told| same(want, told)))
    }
}

#[derive(Clone, Debug)]
struct Wait {
    at: Instant,
    wants: Vec<Want>,
    joins: Option<usize>,
    granted: Vec<usize>,
    timed: bool,
    external: bool,
}

impl Moment {
    fn follow(&mut self, entry: &Entry) {
        match &entry.note {
            Note::Wants {
                wants,
                joins,
                timed,
                external,
            } => {
                self.wait = Some(Wait {
                    at: entry.at,
                    wants: wants.clone(),
                    joins: *joins,
                    granted: Vec::new(),
                    timed: *timed,
                    external: *external,
                });
            }
            Note::Got(part) => self.got(*part),
            Note::Done => {
                // Threads say nothing of parts, since they want one thing at a time.
                if self
                    .wait
                    .as_ref()
                    .is_some_and(|w| w.granted.is_empty() && w.wants.len() == 1)
                {
                    self.got(0);
                }
                self.wait = None;
            }
            Note::Failed(_) => {
                if let Some(wait) = self.wait.take()
                    && let [
                        Want {
                            thing,
                            mode: Mode::Upgrade,
                        },
                    ] = wait.wants[..]
                {
                    self.release(|held| held == (thing, Mode::Upgradable));
                }
            }
            Note::Releases(thing) => self.release(|(held, _)| held == *thing),
            Note::Downgrades(thing) => {
                let place = self
                    .held
                    .iter()
                    .rposition(|held| *held == (*thing, Mode::Write));
                if let Some(place) = place {
                    self.held[place].1 = Mode::Read;
                }
            }
            Note::Aborted => {}
        }
    }

    fn got(&mut self, part: usize) {
        let Some(wait) = &mut self.wait else { return };
        wait.granted.push(part);
        let Want { thing, mode } = wait.wants[part];
        if mode == Mode::Upgrade {
            let place = self
                .held
                .iter()
                .rposition(|held| *held == (thing, Mode::Upgradable));
            if let Some(place) = place {
                self.held[place].1 = Mode::Write;
            }
        } else {
            self.held.push((thing, mode));
        }
    }

    fn release(&mut self, which: impl Fn((usize, Mode)) -> bool) {
        if let Some(place) = self.held.iter().rposition(|held| which(*held)) {
            self.held.remove(place);
        }
    }
}

impl<'a> Story<'a> {
    fn new(program: &'a Program, log: &Log) -> Self {
        let agents = log
            .agents
            .iter()
            .map(|agent| agent.lock().expect("not poisoned").clone());
        Self {
            program,
            agents: agents.collect(),
        }
    }

    /// What an agent had and wanted before the entry with this stamp.
    fn before(&self, agent: usize, stamp: u64) -> Moment {
        let mut moment = Moment::default();
        for entry in self.agents[agent]
            .iter()
            .take_while(|entry| entry.stamp < stamp)
        {
            moment.follow(entry);
        }
        moment
    }

    /// Checks every report.
    fn check(&self, cast: &Cast, seen: &mut Seen) -> Result<(), Fault> {
        for (victim, entries) in self.agents.iter().enumerate() {
            for entry in entries {
                if let Note::Failed(Some(report)) = &entry.note {
                    seen.onsets += 1;
                    let wrong = |text: String| Fault {
                        kind: FaultKind::FalsePositive,
                        text: format!("{text}\n{report}"),
                    };
                    let told = told(report, cast).map_err(wrong)?;
                    let since = self
                        .check_one(victim, entry, &told, seen)
                        .map_err(|text| wrong(format!("{text}\n{}", self.text(entry.stamp))))?;
                    seen.found += 1;
                    seen.latencies
                        .push(entry.at.saturating_duration_since(since));
                }
            }
        }
        Ok(())
    }

    /// Checks one report, and says when its last wait began.
    fn check_one(
        &self,
        victim: usize,
        failed: &Entry,
        told: &Told,
        seen: &mut Seen,
    ) -> Result<Instant, String> {
        let made_way = told.makes_way(victim);
        let mut spans: Vec<Vec<Span>> = Vec::new();
        for member in &told.members {
            let agent = member.agent;
            let mut spans_of = self.waits(agent);
            spans_of.retain(|wait| wait.begun < failed.stamp && wait.is_told(&member.waits));
            if agent == victim {
                spans_of.retain(|wait| {
                    wait.ended == failed.stamp
                        || self.is_same_step(wait, failed)
                            && (made_way || self.has_given_up(victim, wait, told))
                });
            }
            if spans_of.is_empty() {
                return Err(format!("agent {agent} did not wait for {:?}", member.waits));
            }
            spans.push(spans_of);
        }
        let released = self.lets_go(victim, failed.stamp);
        let mut outcome = Err("the members did not wait at the same time".to_owned());
        for waits in together(&spans, 0, u64::MAX) {
            let checked = self.check_waits(victim, &waits, released, told);
            if checked.is_ok() || outcome.is_err() {
                outcome = checked;
            }
            if outcome.is_ok() {
                break;
            }
        }
        let (since, is_struck) = outcome?;
        seen.struck += u32::from(is_struck);
        Ok(since)
    }

    /// When an agent first let go of anything after this stamp, or ended.
    fn lets_go(&self, agent: usize, after: u64) -> u64 {
        let entries = &self.agents[agent];
        let from = entries.partition_point(|entry| entry.stamp <= after);
        let lets_go = |place: &usize| match &entries[*place].note {
            Note::Releases(_) | Note::Downgrades(_) => true,
            // An upgrade that fails loses its guard, before that is written down.
            Note::Wants { wants, .. } => {
                let upgrades = wants.iter().any(|want| want.mode == Mode::Upgrade);
                let next = entries.get(place + 1).map(|entry| &entry.note);
                upgrades && matches!(next, Some(Note::Failed(_)))
            }
            _ => false,
        };
        let place = (from..entries.len()).find(lets_go);
        let entry = place.map_or_else(|| entries.last(), |place| entries.get(place));
        entry.map_or(u64::MAX, |entry| entry.stamp)
    }

    /// Whether an earlier wait of whoever failed was in the same step, of which a part was granted before
    /// its task was polled and could say that it failed.
    fn is_same_step(&self, wait: &Span, failed: &Entry) -> bool {
        let begins = |entry: &&Entry| matches!(entry.note, Note::Wants { .. });
        let entries = &self.agents[wait.agent];
        let before = entries
            .iter()
            .take_while(|entry| entry.stamp < failed.stamp);
        let step = before.filter(begins).last().map(|entry| entry.stamp);
        step.is_some_and(|step| wait.begun >= step && wait.ended < failed.stamp)
    }

    /// Whether another one of those told failed, timed out or was aborted during this wait of the victim:
    /// otherwise nobody could have granted any of it.
    fn has_given_up(&self, victim: usize, wait: &Span, told: &Told) -> bool {
        let gave_up =
            |other: &Span| other.failed && other.begun < wait.ended && other.ended > wait.begun;
        let members = told.members.iter().map(|member| member.agent);
        members
            .filter(|&agent| agent != victim)
            .any(|agent| self.waits(agent).iter().any(gave_up))
    }

    /// Checks these waits of the members of a cycle, and says when the last one began and whether one
    /// of them was cut short by an error of its own.
    fn check_waits(
        &self,
        victim: usize,
        waits: &[Span],
        released: u64,
        told: &Told,
    ) -> Result<(Instant, bool), String> {
        let made_way = told.makes_way(victim);
        let mut is_struck = false;
        for wait in waits {
            if wait.agent == victim {
                // A part of it was granted before it could say that it failed.
                is_struck |= !wait.failed;
                continue;
            }
            if wait.ended > released {
                continue;
            }
            // It went on before the victim let go of anything. Whoever fails may write that down after
            // those whom it let in.
            let others = waits
                .iter()
                .any(|other| other.agent != wait.agent && other.agent != victim && other.failed);
            if wait.failed || others {
                is_struck = true;
            } else if !made_way {
                return Err(format!(
                    "agent {} was let in before the victim let go",
                    wait.agent
                ));
            }
        }
        // Nobody wrote down when it went into its queue, only that it was about to.
        let mut waits = waits.to_vec();
        waits.sort_by_key(|wait| wait.begun);
        let queued = |member: &ToldMember| member.holds.iter().any(|hold| hold.queued);
        let mut moments: Vec<_> = waits
            .iter()
            .map(|wait| (wait.agent, self.before(wait.agent, wait.ended)))
            .collect();
        let outcome = self.oracle(&moments, told).check(victim, told);
        if outcome.is_err() {
            let is_right = |moments: &[(usize, Moment)]| {
                self.oracle(moments, told).check(victim, told).is_ok()
            };
            if !told.members.iter().any(queued) || !in_some_order(&mut moments, 0, &is_right) {
                outcome?;
            }
        }
        let last = waits
            .iter()
            .max_by_key(|wait| wait.begun)
            .expect("there are members");
        Ok((last.at, is_struck))
    }

    /// All waits of an agent. One that got a part of what it wants ends, and goes on as another.
    fn waits(&self, agent: usize) -> Vec<Span> {
        let mut moment = Moment::default();
        let mut waits: Vec<Span> = Vec::new();
        let mut aborted = false;
        for entry in &self.agents[agent] {
            if moment.wait.is_some()
                && let Some(wait) = waits.last_mut()
                && wait.ended == u64::MAX
            {
                match entry.note {
                    Note::Failed(_) | Note::Aborted => wait.failed = true,
                    _ => {}
                }
                if !matches!(entry.note, Note::Aborted) {
                    wait.ended = entry.stamp;
                }
            }
            aborted |= matches!(entry.note, Note::Aborted);
            moment.follow(entry);
            if let (Some(wait), Note::Wants { .. } | Note::Got(_)) = (&moment.wait, &entry.note) {
                let wants = wait.wants.iter().enumerate();
                let left = wants.filter(|(part, _)| !wait.granted.contains(part));
                waits.push(Span {
                    agent,
                    begun: entry.stamp,
                    at: wait.at,
                    ended: u64::MAX,
                    failed: aborted,
                    wants: left.map(|(_, want)| *want).collect(),
                    joins: wait.joins,
                    timed: wait.timed,
                });
            }
        }
        waits
    }

    fn oracle(&self, moments: &[(usize, Moment)], told: &Told) -> Oracle {
        let frozen = |(agent, moment): &(usize, Moment)| {
            let wait = moment.wait.clone();
            Frozen {
                agent: *agent,
                held: moment.held.clone(),
                wants: wait.as_ref().map_or_else(Vec::new, |wait| {
                    let granted = |part| wait.granted.contains(&part);
                    wait.wants
                        .iter()
                        .enumerate()
                        .map(|(p, &want)| (want, granted(p)))
                        .collect()
                }),
                joins: wait.as_ref().and_then(|wait| wait.joins),
                timed: wait.as_ref().is_some_and(|wait| wait.timed),
                external: wait.as_ref().is_some_and(|wait| wait.external),
            }
        };
        let frozen: Vec<Frozen> = moments.iter().map(frozen).collect();
        Oracle::frozen(self.program, &frozen, told)
    }

    /// Whether anybody ever wanted what another one had.
    fn is_contended(&self) -> bool {
        let mut all: Vec<(usize, &Entry)> = Vec::new();
        for (agent, entries) in self.agents.iter().enumerate() {
            all.extend(entries.iter().map(|entry| (agent, entry)));
        }
        all.sort_by_key(|(_, entry)| entry.stamp);
        let mut moments = vec![Moment::default(); self.agents.len()];
        for (agent, entry) in all {
            if let Note::Wants { wants, .. } = &entry.note {
                let holds = |want: &Want| {
                    let others = moments
                        .iter()
                        .enumerate()
                        .filter(|(other, _)| *other != agent);
                    let held = others.flat_map(|(other, moment)| {
                        moment
                            .held
                            .iter()
                            .map(move |(thing, mode)| (other, *thing, *mode))
                    });
                    Oracle::would_wait(self.program, agent, *want, held)
                };
                if wants.iter().any(holds) {
                    return true;
                }
            }
            moments[agent].follow(entry);
        }
        false
    }

    /// What happened until somewhat after this stamp.
    fn text(&self, until: u64) -> String {
        let mut all: Vec<(u64, String)> = Vec::new();
        for (agent, entries) in self.agents.iter().enumerate() {
            for entry in entries.iter().filter(|entry| entry.stamp < until + 20) {
                let note = match &entry.note {
                    Note::Wants {
                        wants, joins: None, ..
                    } => {
                        let want = |want: &Want| format!("{:?} {}", want.mode, want.thing);
                        wants.iter().map(want).collect::<Vec<_>>().join(" and ")
                    }
                    Note::Failed(Some(report)) => format!("fails, {}", report.id),
                    other => format!("{other:?}"),
                };
                all.push((
                    entry.stamp,
                    format!("  {} agent {agent}: {note}", entry.stamp),
                ));
            }
        }
        all.sort();
        all.into_iter()
            .map(|(_, line)| line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Who is deadlocked in a program that does not end.
    fn hung(&self) -> String {
        let moments: Vec<_> = (0..self.agents.len())
            .map(|agent| (agent, self.before(agent, u64::MAX)))
            .collect();
        let stuck = self.oracle(&moments, &Told::default()).deadlocked(true);
        let waits: Vec<_> = moments
            .iter()
            .filter_map(|(agent, moment)| moment.wait.as_ref().map(|wait| (agent, &wait.wants)))
            .collect();
        format!("the program does not end; deadlocked: {stuck:?}; waits: {waits:?}")
    }
}

#[cfg(test)]
mod tests;
