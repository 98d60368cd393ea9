//! Replays a program that somebody wrote, on real locks and with the real detector.

use std::time::{Duration, Instant};

use antifreeze_sync::{Report, detector};
use serde_json::json;

use crate::cast::{Cast, Command, Crew, Event, What};
use crate::json::Script;
use crate::program::{Choice, Kind, Program};
use crate::run::runtime;
use crate::world::End;

/// Nothing takes longer than this.
const LIMIT: Duration = Duration::from_secs(10);

/// What came of a program.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) deadlocks: Vec<Found>,
    /// The agents that have taken all their steps.
    pub(crate) finished: Vec<usize>,
}

/// A deadlock that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The place in the schedule, or its length for what comes after it.
    pub(crate) after: usize,
    /// Whose wait failed.
    pub(crate) agent: usize,
    /// Which of its steps that was.
    pub(crate) step: usize,
    /// All agents of the cycle, in ascending order.
    pub(crate) cycle: Vec<usize>,
}

impl Outcome {
    /// One line of JSON.
    pub(crate) fn line(&self) -> String {
        let deadlock = |found: &Found| {
            let cycle: Vec<String> = found.cycle.iter().map(usize::to_string).collect();
            format!(
                "{{\"after\":{},\"agent\":{},\"step\":{},\"cycle\":[{}]}}",
                found.after,
                found.agent,
                found.step,
                cycle.join(",")
            )
        };
        let deadlocks: Vec<String> = self.deadlocks.iter().map(deadlock).collect();
        format!(
            "{{\"deadlocks\":[{}],\"finished\":{}}}",
            deadlocks.join(","),
            json!(self.finished)
        )
    }
}

/// Replays a program: each entry of the schedule lets an agent take a step; then all go on to their
/// ends, the lowest first.
///
/// The detector's own thread is stopped for good: it looks only when a step is done.
///
/// # Errors
///
/// If an agent neither goes on nor is found to be deadlocked, with what came until then.
pub(crate) fn replay(script: &Script) -> Result<Outcome, (Outcome, String)> {
    detector::set_manual(true);
    let runtime = runtime();
    let mut crew = Crew::new(runtime.handle().clone());
    crew.fresh = true;
    let cast = Cast::start(&script.program, "p", &mut crew);
    let agents = script
        .program
        .agents
        .iter()
        .map(|_| Agent::default())
        .collect();
    let mut replay = Replay {
        program: &script.program,
        cast,
        agents,
        at: 0,
        found: Vec::new(),
        outcome: Outcome::default(),
    };
    let result = replay.run(&script.schedule);
    let mut outcome = replay.outcome;
    outcome.finished.sort_unstable();
    // Those that hang are left behind.
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(outcome),
        Err(problem) => Err((outcome, problem)),
    }
}

struct Replay<'a> {
    program: &'a Program,
    cast: Cast,
    agents: Vec<Agent>,
    /// The place in the schedule.
    at: usize,
    /// Deadlocks of which the order is not known yet.
    found: Vec<(String, Found)>,
    outcome: Outcome,
}

/// How far an agent is.
#[derive(Default)]
struct Agent {
    /// How many steps it has taken or begun.
    next: usize,
    under_way: bool,
    /// The task has gone to sleep in the middle of its step.
    sleeps: bool,
    /// It has been told to end.
    ending: bool,
    gone: bool,
}

impl Replay<'_> {
    fn run(&mut self, schedule: &[Choice]) -> Result<(), String> {
        for agent in 0..self.agents.len() {
            self.end_if_done(agent);
        }
        self.settle()?;
        for (at, choice) in schedule.iter().enumerate() {
            self.at = at;
            match choice {
                Choice::Step(agent) if self.can(*agent) => self.step(*agent),
                Choice::Cancel(agent) if self.agents[*agent].under_way => {
                    if let Some(hook) = self.cast.hook(*agent) {
                        self.agents[*agent].sleeps = false;
                        hook.cancel();
                    }
                }
                Choice::Help(thing) => self.cast.world.help(*thing),
                _ => {}
            }
            self.settle()?;
        }
        self.at = schedule.len();
        while let Some(agent) = (0..self.agents.len()).find(|&agent| self.can(agent)) {
            self.step(agent);
            self.settle()?;
        }
        let left: Vec<_> = (0..self.agents.len())
            .filter(|&a| !self.agents[a].gone)
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "agents {left:?} wait for ever, and no deadlock was found"
            ))
        }
    }

    fn can(&self, agent: usize) -> bool {
        let agent = &self.agents[agent];
        !agent.under_way && !agent.ending
    }

    fn step(&mut self, agent: usize) {
        let state = &mut self.agents[agent];
        let step = self.program.agents[agent].steps[state.next].clone();
        state.next += 1;
        state.under_way = true;
        state.sleeps = false;
        self.cast.tell(agent, Command::Take(step, LIMIT));
    }

    /// Whoever has taken all steps ends, and lets go of what it holds.
    fn end_if_done(&mut self, agent: usize) {
        if self.agents[agent].next == self.program.agents[agent].steps.len() {
            self.outcome.finished.push(agent);
            self.end(agent);
        }
    }

    fn end(&mut self, agent: usize) {
        self.agents[agent].ending = true;
        self.cast.tell(agent, Command::Finish);
    }

    /// Waits until everybody has taken the step that he is in, or stands in a queue, and no more
    /// deadlocks are found.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            self.absorb()?;
            // The deadlocks that were found before are broken now.
            self.found.sort_by(|(one, _), (other, _)| older(one, other));
            self.outcome
                .deadlocks
                .extend(self.found.drain(..).map(|(_, found)| found));
            if detector::settle() == 0 && self.is_settled() {
                return Ok(());
            }
        }
    }

    fn absorb(&mut self) -> Result<(), String> {
        let end = Instant::now() + LIMIT;
        loop {
            while let Ok(event) = self.cast.events.try_recv() {
                self.hear(event)?;
            }
            if self.is_settled() {
                return Ok(());
            }
            match self.cast.events.recv_timeout(Duration::from_micros(50)) {
                Ok(event) => self.hear(event)?,
                Err(_) if Instant::now() > end => {
                    return Err("an agent neither goes on nor waits".into());
                }
                Err(_) => {}
            }
        }
    }

    fn is_settled(&mut self) -> bool {
        let Self {
            program,
            cast,
            agents,
            ..
        } = self;
        agents.iter().enumerate().all(|(number, agent)| {
            if !agent.under_way {
                return !agent.ending || agent.gone;
            }
            let Agent { next, sleeps, .. } = *agent;
            let Program { agents, .. } = program;
            let task = agents[number].kind == Kind::Task;
            if program.is_known(&agents[number].steps[next - 1]) {
                (sleeps || !task) && cast.is_waiting(number)
            } else if task {
                sleeps
            } else {
                cast.sleeps(number)
            }
        })
    }

    fn hear(&mut self, event: Event) -> Result<(), String> {
        let agent = event.agent;
        match event.what {
            What::Started(..) => {}
            What::Sleeps(_) => self.agents[agent].sleeps = true,
            What::Got(_) => self.agents[agent].sleeps = false,
            What::Gone => self.agents[agent].gone = true,
            What::Ended(end) => {
                self.agents[agent].under_way = false;
                match end {
                    End::Deadlock(report) => {
                        let found = self.found(agent, &report)?;
                        self.found.push((report.id.clone(), found));
                        self.end(agent);
                    }
                    End::Odd(text) => return Err(format!("agent {agent}: {text}")),
                    End::Done(_) | End::Refused | End::TimedOut | End::Cancelled => {
                        self.end_if_done(agent);
                    }
                }
            }
        }
        Ok(())
    }

    fn found(&self, agent: usize, report: &Report) -> Result<Found, String> {
        let mut cycle = Vec::with_capacity(report.members.len());
        for member in &report.members {
            let number = self.cast.agent(member.agent.frame).ok_or_else(|| {
                format!(
                    "a deadlock names frame {}, which is no agent",
                    member.agent.frame
                )
            })?;
            cycle.push(number);
        }
        cycle.sort_unstable();
        Ok(Found {
            after: self.at,
            agent,
            step: self.agents[agent].next - 1,
            cycle,
        })
    }
}

/// Which report was made first, by their numbers, which may begin anew.
pub(crate) fn older(one: &str, other: &str) -> std::cmp::Ordering {
    let number = |id: &str| u32::from_str_radix(id.trim_start_matches("af-"), 16).unwrap_or(0);
    let (one, other) = (number(one), number(other));
    if one == other {
        std::cmp::Ordering::Equal
    } else if other.wrapping_sub(one) < u32::MAX / 2 {
        std::cmp::Ordering::Less
    } else {
        std::cmp::Ordering::Greater
    }
}
