//! Programs that are led step by step: after each step the truth is known, and compared.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cast::{Cast, Command, Crew, Event, What};
use crate::oracle::{Begun, Granted, Manner, Oracle, Told};
use crate::program::{AfterDeadlock, Choice, Kind, Mode, Patience, Program, Step};
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
        acted: Instant::now(),
        open: false,
        early: Vec::new(),
        before: Oracle::new(program),
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
    /// When the last step was begun.
    acted: Instant,
    /// There is a deadlock of which nothing was heard yet.
    open: bool,
    /// What was heard and makes no sense yet: whoever leaves a queue lets others in before it is
    /// heard that he has left.
    early: Vec<(Event, Fault)>,
    /// How it was before the detector did something after the last step, and what it did. Who is told
    /// first is not known.
    before: Oracle,
    done: Vec<Deed>,
    /// The detector has done something, and may have done more of which nothing was heard yet.
    stirred: bool,
    /// What happened, in words.
    story: Vec<String>,
}

/// Something that the detector did.
#[derive(Clone, Debug)]
enum Deed {
    /// It failed the wait of an agent.
    Failed(usize, Told),
    /// It let an agent past others.
    LetPast(usize, usize),
}

/// Whether there is an order in which these deeds are all right.
fn some_order(oracle: &Oracle, deeds: &[Deed]) -> Checked {
    let mut first = Ok(());
    for (place, deed) in deeds.iter().enumerate() {
        let mut rest = deeds.to_vec();
        rest.remove(place);
        let outcome = follow(oracle, deed).and_then(|oracle| some_order(&oracle, &rest));
        match outcome {
            Ok(()) => return Ok(()),
            // The last one is the one that was heard last.
            Err(fault) => first = Err(fault),
        }
    }
    first
}

/// What comes of a deed, if it is right.
fn follow(oracle: &Oracle, deed: &Deed) -> Result<Oracle, Fault> {
    let mut oracle = oracle.clone();
    match deed {
        Deed::Failed(agent, told) => {
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
            oracle.give_up(*agent);
        }
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
    }
    Ok(oracle)
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
    expired: bool,
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
        match choice {
            Choice::Step(agent) => self.step(agent),
            Choice::Expire(agent) => {
                if let Some(under) = &mut self.agents[agent].step {
                    under.expired = true;
                }
                self.until_ended(agent)
            }
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
            deadline: (patience == Patience::Short).then(|| now + timeout),
            begun,
            granted: Vec::new(),
            got: 0,
            queued: false,
            expired: false,
            cancelled: false,
        });
        self.note_granted();
        self.acted = now;
        self.cast.tell(agent, Command::Take(step, timeout));
        Ok(())
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
                && !matches!(
                    want.mode,
                    Mode::Upgrade | Mode::Signal | Mode::Get | Mode::Put
                )
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
                    step.is_some_and(|under| under.queued) && !self.cast.is_waiting(agent)
                });
                if let Some(agent) = ended {
                    self.stirred = true;
                    if !self.next(self.limit)? {
                        let text = format!("agent {agent} waits no longer, and does not go on");
                        return fault(FaultKind::Lock, text);
                    }
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
            } else if self.cast.sleeps(agent) {
                if let Some(under) = &mut self.agents[agent].step {
                    under.queued = true;
                }
            } else {
                std::thread::yield_now();
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
            What::Sleeps => {
                if let Some(under) = &mut self.agents[agent].step {
                    under.queued = true;
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
        self.oracle.overtake(agent, part);
        self.note_granted();
        Ok(())
    }

    /// The detector has done something: is that right?
    fn did(&mut self, deed: Deed) -> Checked {
        self.stirred = true;
        if self.done.is_empty() {
            self.before = self.oracle.clone();
        }
        self.done.push(deed.clone());
        let outcome = match follow(&self.oracle, &deed) {
            Ok(_) => Ok(()),
            Err(_) => some_order(&self.before, &self.done),
        };
        if outcome.is_err() {
            self.done.pop();
        }
        outcome
    }

    fn ended(&mut self, agent: usize, at: Instant, end: &End) -> Checked {
        match end {
            End::Done(part) => {
                let under = self.agents[agent].step.as_ref().expect("it is in a step");
                if under.begun == Begun::Refused {
                    return fault(
                        FaultKind::Lock,
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
                        FaultKind::Lock,
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
                self.did(Deed::Failed(agent, told)).map_err(|mut fault| {
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
                self.give_up(agent);
                self.after_deadlock(agent);
                Ok(())
            }
            End::Odd(text) => fault(FaultKind::Lock, format!("agent {agent}: {text}")),
        }
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
        if self.open && self.oracle.truly_deadlocked().contains(&agent) {
            // The deadlock ends by a deadline that was near when it came up.
            if self.acted.elapsed() > SHORT / 2 && !under.expired {
                return fault(
                    FaultKind::Missed,
                    format!("agent {agent} was deadlocked and timed out"),
                );
            }
            self.seen.onsets -= 1;
            self.seen.struck += 1;
            self.open = false;
        }
        self.give_up(agent);
        Ok(())
    }

    /// A step has ended without success. A failed upgrade has lost its guard, too.
    fn give_up(&mut self, agent: usize) {
        self.agents[agent].step = None;
        self.oracle.give_up(agent);
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
        self.note_granted();
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
