//! Makes a program that goes wrong as small as it can be.

use crate::lead::Fault;
use crate::program::{Choice, Program, Step};

/// A program and its schedule.
type Led = (Program, Vec<Choice>);

/// How often something smaller is tried before it counts as good.
const TRIES: usize = 3;

/// Leaves out what can be left out, as long as `run` goes wrong in the same way.
pub(crate) fn shrink(
    program: Program,
    schedule: Vec<Choice>,
    fault: &Fault,
    mut run: impl FnMut(&Program, &[Choice]) -> Option<Fault>,
) -> Option<(Program, Vec<Choice>, Fault)> {
    let mut fails = |(program, schedule): &Led| {
        (0..TRIES).find_map(|_| run(program, schedule).filter(|other| other.kind == fault.kind))
    };
    let mut best = (program, schedule);
    let mut last = fails(&best)?;
    loop {
        let mut smaller = false;
        let mut place = 0;
        while let Some(candidate) = without(&best, place) {
            match fails(&candidate) {
                Some(fault) => {
                    best = candidate;
                    last = fault;
                    smaller = true;
                }
                None => place += 1,
            }
        }
        if !smaller {
            return Some((best.0, best.1, last));
        }
    }
}

/// The same without one thing: an agent, then a step, then an entry of the schedule.
fn without((program, schedule): &Led, mut place: usize) -> Option<Led> {
    let (mut program, mut schedule) = (program.clone(), schedule.clone());
    if place < program.agents.len() {
        if program.agents.len() == 1 {
            return without_entry(program, schedule, 0);
        }
        program.agents.remove(place);
        let renumber = |agent: usize| match agent.cmp(&place) {
            std::cmp::Ordering::Less => Some(agent),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(agent - 1),
        };
        schedule = schedule
            .into_iter()
            .filter_map(|choice| {
                Some(match choice {
                    Choice::Step(agent) => Choice::Step(renumber(agent)?),
                    Choice::Expire(agent) => Choice::Expire(renumber(agent)?),
                    Choice::Cancel(agent) => Choice::Cancel(renumber(agent)?),
                    other => other,
                })
            })
            .collect();
        for agent in &mut program.agents {
            agent.steps = std::mem::take(&mut agent.steps)
                .into_iter()
                .filter_map(|step| match step {
                    Step::Join(other) => renumber(other).map(Step::Join),
                    step => Some(step),
                })
                .collect();
        }
        return Some((program, schedule));
    }
    place -= program.agents.len();
    for agent in &mut program.agents {
        if place < agent.steps.len() {
            agent.steps.remove(place);
            return Some((program, schedule));
        }
        place -= agent.steps.len();
    }
    without_entry(program, schedule, place)
}

fn without_entry(program: Program, mut schedule: Vec<Choice>, place: usize) -> Option<Led> {
    (place < schedule.len()).then(|| {
        schedule.remove(place);
        (program, schedule)
    })
}
