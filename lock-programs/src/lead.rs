//! Programs that are led step by step: after each step the truth is known, and compared.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cast::{Cast, Command, Crew, Event, What};
use crate::oracle::{Begun, Granted, Manner, Oracle, Told};
use crate::program::{AfterDeadlock, Choice, Kind, Mode, Patience, Program, Step};
use crate::replay::older;
use crate::report::told;
use crate::world::End;

/// After how long something that should come is missed.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// A deadline that comes unless the lock comes first.
const SHORT: Duration = Duration::from_millis(30);
/// So long after its consequence a cause may be heard of.
const LATE: Duration = Duration::from_secs(1);
/// If it is nearer than this, nothing else happens before it.
const NEAR: Duration = Duration::from_millis(10);
/// A deadline that never comes.
const LONG: Duration = Duration::from_secs(600);
/// A verdict comes within this, mostly.
const VERDICT: Duration = Duration::from_millis(3);
/// Long enough for the detector to look at every wait.
const DWELL: Duration = Duration::from_millis(2);
/// How often an agent begins again after a deadlock.
const ATTEMPTS: u8 = 2;

/// What was seen of one program.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// True deadlocks that came up.
    pub(crate) onsets: u32,
    /// Those that were found.
    pub(crate) found: u32,
    /// How often somebody had to be let past others so that all could go on.
    pub(crate) overtaken: u32,
    pub(crate) false_positives: u32,
    /// Deadlocks that cannot be found, since the detector cannot know that nothing else will come.
    pub(crate) documented: u32,
    /// Agents whose part in a deadlock ended by something else before it could be looked at.
    pub(crate) struck: u32,
    /// Agents that were deadlocked, and failed before it could be seen that the failure of another one
    /// was enough.
    pub(crate) unneeded: u32,
    pub(crate) contended: bool,
    /// From the last block to the error.
    pub(crate) latencies: Vec<Duration>,
    /// What was wrong.
    pub(crate) fault: Option<Fault>,
    pub(crate) schedule: Vec<Choice>,
}

/// How the locks or the detector were wrong.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FaultKind {
    /// A deadlock was not found.
    Missed,
    /// There was none, or not with these members.
    FalsePositive,
    /// A lock let somebody in whom it should not, or did not let somebody in.
    Lock,
    /// A time-out came so late that its order with the next step is not known.
    Unclear,
}

type Checked = Result<(), Fault>;

fn fault(kind: FaultKind, text: impl Into<String>) -> Checked {
    Err(Fault {
        kind,
        text: text.into(),
    })
}

/// Who takes the next step.
pub(crate) enum Chooser<'a> {
    Chance(&'a mut Rng),
    /// These, then always the lowest agent that can.
    Fixed(std::vec::IntoIter<Choice>),
}

/// Runs a program and compares each step with the truth.
///
/// What should happen must happen within `limit`.
pub(crate) fn run(
    program: &Program,
    name: &str,
    crew: &mut Crew,
    chooser: Chooser<'_>,
    limit: Duration,
) -> Seen {
    let cast = Cast::start(program, name, crew);
    let agents = program.agents.iter().map(|_| Agent::default()).collect();
    let mut lead = Lead {
        program,
        oracle: Oracle::new(program),
        cast,
        agents,
        chooser,
        seen: Seen::default(),
        limit,
        dawdle: crew.dawdle,
        acted: Instant::now(),
        open: false,
        struck: None,
        lapsed: false,
        early: Vec::new(),
        before: Before {
            oracle: Oracle::new(program),
            agents: Vec::new(),
        },
        done: Vec::new(),
        stirred: false,
        story: Vec::new(),
    };
    let outcome = lead.run();
    if let Err(mut fault) = outcome {
        let story = &lead.story[lead.story.len().saturating_sub(24)..];
        fault.text = format!("{}\n  {}", fault.text, story.join("\n  "));
        let Lead { cast, mut seen, .. } = lead;
        match fault.kind {
            FaultKind::FalsePositive => seen.false_positives += 1,
            FaultKind::Missed | FaultKind::Lock | FaultKind::Unclear => {}
        }
        seen.fault = Some(fault);
        cast.abandon(crew);
        return seen;
    }
    lead.seen
}

struct Lead<'a> {
    program: &'a Program,
    oracle: Oracle,
    cast: Cast,
    agents: Vec<Agent>,
    chooser: Chooser<'a>,
    seen: Seen,
    limit: Duration,
    /// Threads sleep for up to so long before each step.
    dawdle: Duration,
    /// When the last step was begun.
    acted: Instant,
    /// There is a deadlock of which nothing was heard yet.
    open: bool,
    /// Who last left a deadlock at its deadline, and who else was in it.
    struck: Option<(usize, Vec<usize>)>,
    /// Somebody's deadline came after the last step was begun.
    lapsed: bool,
    /// What was heard and makes no sense yet: whoever leaves a queue lets others in before it is
    /// heard that he has left.
    early: Vec<(Event, Fault)>,
    /// How it was before the detector did something after the last step, and what it did. Who is told
    /// first is not known.
    before: Before,
    done: Vec<Deed>,
    /// The detector has done something, and may have done more of which nothing was heard yet.
    stirred: bool,
    /// What happened, in words.
    story: Vec<String>,
}

/// The truth at some moment, and what each agent held and had been granted in its step.
struct Before {
    oracle: Oracle,
    agents: Vec<(Vec<usize>, Vec<usize>)>,
}

/// Something that happened without a step of the program.
#[derive(Clone, Debug)]
enum Deed {
    /// The detector failed the wait of an agent, with this report.
    Failed(usize, Told, String),
    /// The detector let an agent past others.
    LetPast(usize, usize),
    /// An agent has given up by itself.
    Left(usize),
    /// An agent whose upgrade failed has lost its guard.
    Lost(usize, usize),
}

impl Deed {
    fn is_older(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(.., one), Self::Failed(.., other)) => older(one, other).is_lt(),
            _ => false,
        }
    }
}

/// What is assumed of deeds of which the order is not known.
#[derive(Clone, Copy, Debug)]
struct Assumed {
    /// Reports have their numbers in order.
    numbered: bool,
    /// Between an upgrade that fails and the end of its guard, other things may happen.
    lingers: bool,
}

/// What comes of these deeds in an order in which they are all right.
fn some_order(oracle: &Oracle, deeds: &[Deed], assumed: Assumed) -> Result<Oracle, Fault> {
    let mut outcome = Ok(oracle.clone());
    for (place, deed) in deeds.iter().enumerate() {
        if assumed.numbered && deeds.iter().any(|other| other.is_older(deed)) {
            continue;
        }
        let mut rest = deeds.to_vec();
        rest.remove(place);
        outcome = follow(oracle, deed, assumed.lingers).and_then(|(oracle, lingers)| {
            rest.extend(lingers);
            some_order(&oracle, &rest, assumed)
        });
        // If there is none, the last one is the one that was heard last.
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// What comes of a deed, if it is right, and what is still to come of it.
fn follow(oracle: &Oracle, deed: &Deed, lingers: bool) -> Result<(Oracle, Option<Deed>), Fault> {
    let mut oracle = oracle.clone();
    let mut more = None;
    match deed {
        Deed::Failed(agent, told, _) => {
            let wrong = |text| Fault {
                kind: FaultKind::FalsePositive,
                text,
            };
            let truth = oracle.truly_deadlocked();
            if !truth.contains(agent) {
                let text = format!("agent {agent} is not deadlocked (truly: {truth:?})");
                return Err(wrong(text));
            }
            oracle.check(*agent, told).map_err(wrong)?;
            match oracle.fail(*agent) {
                Some(thing) if lingers => more = Some(Deed::Lost(*agent, thing)),
                Some(thing) => oracle.lose(*agent, thing),
                None => {}
            }
        }
        // In another order it was its turn.
        Deed::LetPast(agent, part) if oracle.has(*agent, *part) => {}
        Deed::LetPast(agent, part) => {
            if !oracle.may_overtake().contains(&(*agent, *part)) {
                let text = format!("agent {agent} was let in out of turn, part {part}");
                return Err(Fault {
                    kind: FaultKind::Lock,
                    text,
                });
            }
            oracle.overtake(*agent, *part);
        }
        Deed::Left(agent) => {
            if !oracle.waits(*agent) {
                let text = format!("agent {agent} gave up what it had");
                return Err(Fault {
                    kind: FaultKind::Lock,
                    text,
                });
            }
            oracle.give_up(*agent);
        }
        Deed::Lost(agent, thing) => oracle.lose(*agent, *thing),
    }
    Ok((oracle, more))
}

/// How far an agent is.
#[derive(Default)]
struct Agent {
    next: usize,
    attempts: u8,
    step: Option<Under>,
    /// What it holds, the newest last.
    held: Vec<usize>,
    leaving: bool,
    again: bool,
    gone: bool,
}

/// A step that is under way.
struct Under {
    step: Step,
    /// When its deadline comes.
    deadline: Option<Instant>,
    /// What the oracle said at first.
    begun: Begun,
    /// Parts that were granted, and those of which that was heard.
    granted: Vec<usize>,
    got: usize,
    /// It is known to stand in its queues.
    queued: bool,
    /// What a task was asked last, to know that it still sleeps.
    asked: u64,
    cancelled: bool,
}

impl Lead<'_> {
    fn run(&mut self) -> Checked {
        loop {
            self.settle()?;
            if self.agents.iter().all(|agent| agent.gone) {
                break;
            }
            let Some(choice) = self.choose()? else {
                continue;
            };
            self.seen.schedule.push(choice);
            self.story.push(format!("{choice:?}"));
            self.act(choice)?;
        }
        let held = self.cast.world.still_held();
        if held.is_empty() {
            Ok(())
        } else {
            fault(
                FaultKind::Lock,
                format!("all agents have ended, but {held:?} are not free"),
            )
        }
    }

    // ---------------------------------------------------------------- choosing

    fn choose(&mut self) -> Result<Option<Choice>, Fault> {
        let now = Instant::now();
        let near = |under: &Under| under.deadline.is_some_and(|at| at < now + NEAR);
        if let Some(agent) =
            (0..self.agents.len()).find(|&agent| self.agents[agent].step.as_ref().is_some_and(near))
        {
            return Ok(Some(Choice::Expire(agent)));
        }
        let able: Vec<usize> = (0..self.agents.len())
            .filter(|&a| self.is_able(a))
            .collect();
        let timed: Vec<usize> = (0..self.agents.len())
            .filter(|&a| self.is_timed(a))
            .collect();
        let tasks: Vec<usize> = (0..self.agents.len())
            .filter(|&a| self.may_cancel(a))
            .collect();
        let somebody_waits = able.len() < self.agents.iter().filter(|agent| !agent.gone).count();
        match &mut self.chooser {
            Chooser::Fixed(choices) => {
                for choice in choices.by_ref() {
                    match choice {
                        Choice::Step(agent) if able.contains(&agent) => return Ok(Some(choice)),
                        Choice::Expire(agent) if timed.contains(&agent) => return Ok(Some(choice)),
                        Choice::Cancel(agent) if tasks.contains(&agent) => return Ok(Some(choice)),
                        Choice::Dwell | Choice::Help(_) => return Ok(Some(choice)),
                        _ => {}
                    }
                }
            }
            Chooser::Chance(rng) => {
                let odds = rng.u8(0..100);
                if odds < 4 && !tasks.is_empty() {
                    return Ok(Some(Choice::Cancel(tasks[rng.usize(0..tasks.len())])));
                }
                if odds < 8 && !timed.is_empty() {
                    return Ok(Some(Choice::Expire(timed[rng.usize(0..timed.len())])));
                }
                if odds < 11 && somebody_waits {
                    return Ok(Some(Choice::Dwell));
                }
                if !able.is_empty() {
                    return Ok(Some(Choice::Step(able[rng.usize(0..able.len())])));
                }
            }
        }
        // Nobody can take a step, or the schedule has ended.
        if let Some(&agent) = able.first() {
            return Ok(Some(Choice::Step(agent)));
        }
        if let Some(&agent) = timed.first() {
            return Ok(Some(Choice::Expire(agent)));
        }
        let helped = (0..self.program.things.len()).find(|&thing| self.oracle.needs_help(thing));
        if let Some(thing) = helped {
            return Ok(Some(Choice::Help(thing)));
        }
        if let Some(&agent) = tasks.first() {
            return Ok(Some(Choice::Cancel(agent)));
        }
        Err(Fault {
            kind: FaultKind::Lock,
            text: "nobody can go on, and yet nobody is deadlocked".into(),
        })
    }

    fn is_able(&self, agent: usize) -> bool {
        !self.agents[agent].gone && self.agents[agent].step.is_none()
    }

    fn is_timed(&self, agent: usize) -> bool {
        self.agents[agent]
            .step
            .as_ref()
            .is_some_and(|under| under.deadline.is_some())
    }

    fn may_cancel(&self, agent: usize) -> bool {
        self.program.agents[agent].kind == Kind::Task && self.agents[agent].step.is_some()
    }

    // ---------------------------------------------------------------- acting

    fn act(&mut self, choice: Choice) -> Checked {
        self.done.clear();
        self.struck = None;
        self.lapsed = false;
        match choice {
            Choice::Step(agent) => self.step(agent),
            Choice::Expire(agent) => self.until_ended(agent),
            Choice::Cancel(agent) => {
                if let Some(under) = &mut self.agents[agent].step {
                    under.cancelled = true;
                }
                self.acted = Instant::now();
                self.cast.hook(agent).expect("it is a task").cancel();
                self.until_ended(agent)
            }
            Choice::Help(thing) => {
                self.oracle.help(thing);
                self.note_granted();
                self.cast.world.help(thing);
                Ok(())
            }
            Choice::Dwell => {
                let until = Instant::now() + DWELL;
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    self.next(left)?;
                }
                Ok(())
            }
        }
    }

    fn until_ended(&mut self, agent: usize) -> Checked {
        while self.agents[agent].step.is_some() {
            if !self.next(self.limit)? {
                return fault(
                    FaultKind::Lock,
                    format!("agent {agent} did not end its wait when it should"),
                );
            }
        }
        Ok(())
    }

    /// Has an agent take its next step, or let go of one thing if it is leaving.
    fn step(&mut self, agent: usize) -> Checked {
        let state = &mut self.agents[agent];
        let steps = &self.program.agents[agent].steps;
        loop {
            if !state.leaving && state.next >= steps.len() {
                state.leaving = true;
            }
            if state.leaving {
                if let Some(&thing) = state.held.last() {
                    return self.begin(agent, Step::Release(thing));
                }
                if state.again {
                    (state.again, state.leaving, state.next) = (false, false, 0);
                    continue;
                }
                return self.finish(agent);
            }
            let step = &steps[state.next];
            state.next += 1;
            let possible = match step {
                Step::Release(thing) => state.held.contains(thing),
                Step::Upgrade(thing) => self
                    .oracle
                    .held_by(agent)
                    .contains(&(*thing, Mode::Upgradable)),
                Step::Downgrade(thing) => {
                    self.oracle.held_by(agent).contains(&(*thing, Mode::Write))
                }
                Step::Join(other) => {
                    self.program.agents[*other].kind == Kind::Thread && state.attempts == 0
                }
                _ => true,
            };
            if possible {
                let step = step.clone();
                return self.begin(agent, step);
            }
        }
    }

    fn begin(&mut self, agent: usize, step: Step) -> Checked {
        let task = self.program.agents[agent].kind == Kind::Task;
        let patience = match &step {
            Step::Acquire(_, patience) => *patience,
            _ => Patience::Forever,
        };
        let ends = matches!(patience, Patience::Short | Patience::Long);
        let manner = Manner {
            timed: ends && !task,
            external: ends && task,
            hasty: matches!(patience, Patience::Try | Patience::Once),
            rereads: !task,
        };
        let timeout = if patience == Patience::Short {
            SHORT
        } else {
            LONG
        };
        let now = Instant::now();
        // Of those whom the detector does not know, only their sleeping tells that they wait.
        let naps = !task && !self.dawdle.is_zero() && self.program.is_known(&step);
        let nap = if naps { self.nap(now) } else { Duration::ZERO };
        let begun = self.oracle.begin(agent, &step, manner);
        self.story
            .push(format!("agent {agent}: {step:?}: {begun:?}"));
        if let Step::Release(thing) = &step {
            let held = &mut self.agents[agent].held;
            if let Some(place) = held.iter().rposition(|held| held == thing) {
                held.remove(place);
            }
        }
        self.seen.contended |= begun == Begun::Waits;
        self.agents[agent].step = Some(Under {
            step: step.clone(),
            deadline: (patience == Patience::Short).then(|| now + nap + timeout),
            begun,
            granted: Vec::new(),
            got: 0,
            queued: false,
            asked: 0,
            cancelled: false,
        });
        self.note_granted();
        self.acted = now;
        if naps {
            self.cast.tell(agent, Command::Dawdle(nap));
        }
        self.cast.tell(agent, Command::Take(step, timeout));
        Ok(())
    }

    /// How long somebody sleeps before a step: often until just before the deadline of somebody else, when
    /// a verdict comes as late as that.
    fn nap(&self, now: Instant) -> Duration {
        let steps = self.agents.iter().filter_map(|agent| agent.step.as_ref());
        let deadline = steps.filter_map(|under| under.deadline).min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let part = fastrand::f32();
        match left.filter(|left| *left <= self.dawdle) {
            Some(left) if fastrand::bool() => left.saturating_sub(VERDICT.mul_f32(part)),
            _ => self.dawdle.mul_f32(part),
        }
    }

    fn finish(&mut self, agent: usize) -> Checked {
        self.oracle.end(agent);
        self.note_granted();
        self.cast.tell(agent, Command::Finish);
        while !self.agents[agent].gone {
            if !self.next(self.limit)? {
                return fault(FaultKind::Lock, format!("agent {agent} does not end"));
            }
        }
        Ok(())
    }

    /// Takes in what the oracle has granted.
    fn note_granted(&mut self) {
        for Granted { agent, part, want } in self.oracle.take_granted() {
            if let Some(under) = &mut self.agents[agent].step {
                under.granted.push(part);
            }
            if let Some(want) = want
                && !matches!(want.mode, Mode::Upgrade | Mode::Signal)
            {
                self.agents[agent].held.push(want.thing);
            }
        }
    }

    // ---------------------------------------------------------------- hearing

    /// Waits until everything has happened that should, and nobody is deadlocked.
    fn settle(&mut self) -> Checked {
        loop {
            self.absorb()?;
            let stuck = self.oracle.truly_deadlocked();
            if !stuck.is_empty() {
                if !self.open {
                    self.open = true;
                    self.seen.onsets += 1;
                }
                if !self.next(self.limit)? {
                    return fault(FaultKind::Missed, format!("{stuck:?} are deadlocked"));
                }
                continue;
            }
            self.open = false;
            let eligible = self.oracle.may_overtake();
            if eligible.is_empty() {
                return Ok(());
            }
            if !self.next(self.limit)? {
                let softly = self.oracle.deadlocked(false);
                return fault(
                    FaultKind::Missed,
                    format!("{softly:?} cannot go on, and none of {eligible:?} is let past"),
                );
            }
        }
    }

    /// Waits until each agent has done what the oracle says, and those that wait stand in a queue.
    fn absorb(&mut self) -> Checked {
        let mut looked_since = None;
        loop {
            while let Ok(event) = self.cast.events.try_recv() {
                self.hear(event)?;
            }
            let late = (0..self.agents.len()).find(|&agent| {
                self.agents[agent].step.as_ref().is_some_and(|under| {
                    !self.oracle.waits(agent) || under.granted.len() > under.got
                })
            });
            if let Some(agent) = late {
                if !self.next(self.limit)? {
                    let step = self.agents[agent].step.as_ref().map(|under| &under.step);
                    return fault(
                        FaultKind::Lock,
                        format!("agent {agent} should have been let in: {step:?}"),
                    );
                }
                continue;
            }
            if !self.early.is_empty() {
                self.next(LATE)?;
                continue;
            }
            if std::mem::take(&mut self.stirred) {
                // Whoever waits no longer will be heard of.
                let ended = (0..self.agents.len()).find(|&agent| {
                    let step = self.agents[agent].step.as_ref();
                    step.is_some_and(|under| under.queued && self.program.is_known(&under.step))
                        && !self.cast.is_waiting(agent)
                });
                if let Some(agent) = ended {
                    self.stirred = true;
                    if !self.next(self.limit)? {
                        let text = format!("agent {agent} waits no longer, and does not go on");
                        return fault(FaultKind::Lock, text);
                    }
                } else {
                    self.ask();
                }
                continue;
            }
            let unsettled = (0..self.agents.len())
                .find(|&agent| self.agents[agent].step.as_ref().is_some_and(|u| !u.queued));
            let Some(agent) = unsettled else {
                return Ok(());
            };
            if self.program.agents[agent].kind == Kind::Task {
                if !self.next(self.limit)? {
                    return fault(FaultKind::Lock, format!("task {agent} does not sleep"));
                }
            } else if self.is_in_queue(agent) {
                if let Some(under) = &mut self.agents[agent].step {
                    under.queued = true;
                }
            } else if looked_since.get_or_insert_with(Instant::now).elapsed() > self.limit {
                let text = format!("agent {agent} neither goes on nor waits");
                return fault(FaultKind::Lock, text);
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Whether a thread has come to its wait. On a busy machine it may sleep on the way there, too.
    fn is_in_queue(&mut self, agent: usize) -> bool {
        let step = self.agents[agent].step.as_ref();
        let known = step.is_some_and(|under| self.program.is_known(&under.step));
        self.cast.sleeps(agent) && (!known || self.cast.is_waiting(agent))
    }

    /// Has those tasks tell how they are that wait for several things: they may still stand in one
    /// queue when they have left another one.
    fn ask(&mut self) {
        for (number, agent) in self.agents.iter_mut().enumerate() {
            if let Some(under) = &mut agent.step
                && under.queued
                && under.step.wants().len() > 1
                && let Some(hook) = self.cast.hook(number)
            {
                under.queued = false;
                under.asked = hook.ask();
            }
        }
    }

    /// Hears the next event, if there is one in time.
    fn next(&mut self, limit: Duration) -> Result<bool, Fault> {
        let limit = if self.early.is_empty() {
            limit
        } else {
            limit.min(LATE)
        };
        match self.cast.events.recv_timeout(limit) {
            Ok(event) => self.hear(event).map(|()| true),
            // Nothing has come that would explain it.
            Err(_) if !self.early.is_empty() => Err(self.early.swap_remove(0).1),
            Err(_) => Ok(false),
        }
    }

    fn hear(&mut self, event: Event) -> Checked {
        if self
            .early
            .iter()
            .any(|(early, _)| early.agent == event.agent)
        {
            let text = format!("agent {} went on", event.agent);
            self.early.push((
                event,
                Fault {
                    kind: FaultKind::Lock,
                    text,
                },
            ));
            return Ok(());
        }
        self.try_event(event);
        // It may explain what came before it.
        let mut before = usize::MAX;
        while !self.early.is_empty() && self.early.len() < before {
            before = self.early.len();
            let early = std::mem::take(&mut self.early);
            for (event, fault) in early {
                if self
                    .early
                    .iter()
                    .any(|(early, _)| early.agent == event.agent)
                {
                    self.early.push((event, fault));
                } else {
                    self.try_event(event);
                }
            }
        }
        Ok(())
    }

    fn try_event(&mut self, event: Event) {
        let what = match &event.what {
            What::Ended(End::Deadlock(report)) => format!("fails, {}", report.id),
            what => format!("{what:?}"),
        };
        self.story
            .push(format!("    agent {}: {what}", event.agent));
        if let Err(fault) = self.follow(&event) {
            self.early.push((event, fault));
        }
    }

    /// Follows what an agent tells. If that makes no sense, nothing has changed.
    fn follow(&mut self, event: &Event) -> Checked {
        let Event { agent, at, what } = event;
        let (agent, at) = (*agent, *at);
        match what {
            What::Started(..) => Ok(()),
            What::Sleeps(asked) => {
                if let Some(under) = &mut self.agents[agent].step {
                    under.queued |= *asked >= under.asked;
                }
                Ok(())
            }
            What::Got(part) => {
                let under = self.agents[agent].step.as_ref().expect("it is in a step");
                if !under.granted.contains(part) {
                    self.overtaken(agent, *part)?;
                }
                if let Some(under) = &mut self.agents[agent].step {
                    under.got += 1;
                }
                Ok(())
            }
            What::Gone => {
                self.agents[agent].gone = true;
                Ok(())
            }
            What::Ended(end) => self.ended(agent, at, end),
        }
    }

    /// Somebody was let in although the queue says otherwise.
    fn overtaken(&mut self, agent: usize, part: usize) -> Checked {
        self.did(Deed::LetPast(agent, part))?;
        self.seen.overtaken += 1;
        Ok(())
    }

    /// The detector has done something: is that right? Then it is so.
    fn did(&mut self, deed: Deed) -> Checked {
        self.stirred = true;
        if self.done.is_empty() {
            self.remember();
        }
        let in_order = !self.done.iter().any(|done| deed.is_older(done));
        let next = follow(&self.oracle, &deed, false);
        self.done.push(deed.clone());
        if in_order && let Ok((oracle, _)) = next {
            self.oracle = oracle;
            self.note_granted();
            return Ok(());
        }
        let known = Assumed {
            numbered: true,
            lingers: false,
        };
        let (before, done) = (&self.before.oracle, &self.done);
        let outcome = some_order(before, done, known).or_else(|fault| {
            let unneeded = match &deed {
                // It may have been let past somebody first.
                Deed::Failed(agent, ..) => before.deadlocked(false).contains(agent),
                _ => false,
            };
            let lingering = Assumed {
                lingers: true,
                ..known
            };
            if unneeded && let Ok(oracle) = some_order(before, done, lingering) {
                self.seen.unneeded += 1;
                return Ok(oracle);
            }
            let any = Assumed {
                numbered: false,
                ..known
            };
            some_order(before, done, any).map_err(|_| fault)
        });
        match outcome {
            Ok(oracle) => {
                self.adopt(oracle);
                Ok(())
            }
            Err(fault) => {
                self.done.pop();
                Err(fault)
            }
        }
    }

    /// Remembers how it is before the detector does something.
    fn remember(&mut self) {
        let agents = self.agents.iter().map(|agent| {
            let granted = agent.step.as_ref().map(|under| under.granted.clone());
            (agent.held.clone(), granted.unwrap_or_default())
        });
        self.before = Before {
            oracle: self.oracle.clone(),
            agents: agents.collect(),
        };
    }

    /// All has happened in another order than it was heard.
    fn adopt(&mut self, oracle: Oracle) {
        for (agent, (held, granted)) in self.agents.iter_mut().zip(&self.before.agents) {
            agent.held.clone_from(held);
            if let Some(under) = &mut agent.step {
                under.granted.clone_from(granted);
            }
        }
        self.oracle = oracle;
        self.note_granted();
        (0..self.agents.len()).for_each(|agent| self.forget_lost(agent));
    }

    fn ended(&mut self, agent: usize, at: Instant, end: &End) -> Checked {
        match end {
            End::Done(part) => {
                let under = self.agents[agent].step.as_ref().expect("it is in a step");
                if under.begun == Begun::Refused {
                    return fault(
                        self.kind_of_surprise(),
                        format!("agent {agent} got what was not free: {:?}", under.step),
                    );
                }
                let race = matches!(under.step, Step::Race(_));
                if self.oracle.waits(agent) {
                    self.overtaken(agent, *part)?;
                } else if race && !under.granted.contains(part) {
                    return fault(
                        FaultKind::Lock,
                        format!("part {part} won for agent {agent}, not {:?}", under.granted),
                    );
                }
                self.agents[agent].step = None;
                Ok(())
            }
            End::Refused => {
                let under = self.agents[agent].step.as_ref().expect("it is in a step");
                if under.begun != Begun::Refused {
                    return fault(
                        self.kind_of_surprise(),
                        format!("agent {agent} was refused what is free: {:?}", under.step),
                    );
                }
                self.agents[agent].step = None;
                Ok(())
            }
            End::TimedOut => self.timed_out(agent),
            End::Cancelled => {
                let under = self.agents[agent].step.as_ref().expect("it is in a step");
                if !under.cancelled || !self.oracle.waits(agent) {
                    return fault(
                        FaultKind::Lock,
                        format!("agent {agent} was called off: {:?}", under.step),
                    );
                }
                self.give_up(agent);
                Ok(())
            }
            End::Deadlock(report) => {
                let told = told(report, &self.cast).map_err(|text| Fault {
                    kind: FaultKind::FalsePositive,
                    text: format!("{text}\n{report}"),
                })?;
                let crossed = self.crossed(agent, &told);
                let done = self.did(Deed::Failed(agent, told, report.id.clone()));
                if crossed && done.is_err() {
                    self.give_up(agent);
                    self.after_deadlock(agent);
                    return Ok(());
                }
                done.map_err(|mut fault| {
                    fault.text = format!("{}\n{report}", fault.text);
                    fault
                })?;
                if !self.open {
                    self.seen.onsets += 1;
                }
                self.open = false;
                self.seen.found += 1;
                self.seen
                    .latencies
                    .push(at.saturating_duration_since(self.acted));
                self.agents[agent].step = None;
                self.forget_lost(agent);
                self.after_deadlock(agent);
                Ok(())
            }
            End::Odd(text) => fault(FaultKind::Lock, format!("agent {agent}: {text}")),
        }
    }

    /// What it is if somebody who does not wait gets what is not free, or not what is.
    fn kind_of_surprise(&self) -> FaultKind {
        if self.lapsed {
            FaultKind::Unclear
        } else {
            FaultKind::Lock
        }
    }

    /// Whether a verdict and a deadline crossed: both ended the same deadlock, and the deadline was
    /// heard of first.
    fn crossed(&self, agent: usize, told: &Told) -> bool {
        self.struck.as_ref().is_some_and(|(left, deadlocked)| {
            let mut members = told.members.iter();
            deadlocked.contains(&agent)
                && self.oracle.waits(agent)
                && members.any(|member| {
                    member.agent == *left && member.waits.iter().any(|wait| wait.timed)
                })
        })
    }

    fn timed_out(&mut self, agent: usize) -> Checked {
        let under = self.agents[agent].step.as_ref().expect("it is in a step");
        let due = under
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        if !due {
            return fault(
                FaultKind::Lock,
                format!("agent {agent} timed out too early: {:?}", under.step),
            );
        }
        if !self.oracle.waits(agent) {
            return fault(FaultKind::Unclear, format!("agent {agent} timed out"));
        }
        self.lapsed = true;
        let deadlocked = self.oracle.truly_deadlocked();
        if deadlocked.contains(&agent) {
            // The deadlock ends by a deadline that was near when it came up.
            if std::mem::take(&mut self.open) {
                self.seen.onsets -= 1;
                self.seen.struck += 1;
            }
            // Somebody may have been failed for it already, even if it is heard of only now.
            self.struck = Some((agent, deadlocked.into_iter().collect()));
            self.stirred = true;
        }
        self.give_up(agent);
        Ok(())
    }

    /// A step has ended without success, by a time-out or because it was called off.
    fn give_up(&mut self, agent: usize) {
        self.agents[agent].step = None;
        self.oracle.give_up(agent);
        if !self.done.is_empty() {
            self.done.push(Deed::Left(agent));
        }
        self.forget_lost(agent);
        self.note_granted();
    }

    /// A failed upgrade has lost its guard, too.
    fn forget_lost(&mut self, agent: usize) {
        let truly = self.oracle.held_by(agent);
        let held = &mut self.agents[agent].held;
        for thing in 0..self.program.things.len() {
            let now = truly.iter().filter(|(held, _)| *held == thing).count();
            while held.iter().filter(|held| **held == thing).count() > now {
                let place = held
                    .iter()
                    .rposition(|held| *held == thing)
                    .expect("it is there");
                held.remove(place);
            }
        }
    }

    fn after_deadlock(&mut self, agent: usize) {
        let state = &mut self.agents[agent];
        match self.program.agents[agent].after {
            AfterDeadlock::GoOn => {}
            AfterDeadlock::Retry if state.attempts < ATTEMPTS => {
                state.attempts += 1;
                state.leaving = true;
                state.again = true;
            }
            AfterDeadlock::End | AfterDeadlock::Retry => state.leaving = true,
        }
    }
}
