//! Whether a report is true: who is in it, what each has and waits for, and that none of them can go on.

use std::time::Instant;

use serde_json::Value;

use crate::lead::Lead;
use crate::message::Told;
use crate::model::{Model, Wait};
use crate::program::{Mode, Sort};

/// Compares what frame `told_frame` was told with the truth at any time of `past`; the victim's wait is that
/// of `victim`.
pub(crate) fn check(
    lead: &Lead<'_>,
    past: &[(Instant, Model)],
    told_frame: usize,
    victim: usize,
    told: &Told,
) -> Result<(), String> {
    if told.cycle.is_empty() {
        // A batch of Pyro's loses all but the text.
        let lost = lead.roles.iter().any(|role| role.in_batch);
        return lost
            .then_some(())
            .ok_or_else(|| "it names nobody".to_owned());
    }
    let entering = victim != told_frame;
    let is_place = match lead.model.frames[victim].wait {
        Wait::Thing { thing, .. } => lead.program.things[thing].sort == Sort::Place,
        _ => false,
    };
    // A call that does not get into a Python program is a frame only here.
    let named_victim = if is_place { told_frame } else { victim };
    // Python may hand it on to others, for whom it would not be true. Of a batch others may have run.
    let native = !lead.model.frames[told_frame].foreign && !lead.roles[victim].in_batch;
    if entering && !is_place && told.retry_safe != Some(native) {
        return Err(format!(
            "nothing was executed, but retry_safe is {:?}",
            told.retry_safe
        ));
    }
    let mut problem = String::new();
    // It may tell how it was before something else changed.
    for (_, model) in past.iter().rev() {
        match check_at(lead, model, named_victim, told) {
            Ok(()) => return Ok(()),
            Err(text) if problem.is_empty() => problem = text,
            Err(_) => {}
        }
    }
    Err(problem)
}

fn check_at(lead: &Lead<'_>, model: &Model, victim: usize, told: &Told) -> Result<(), String> {
    if told.victim >= told.cycle.len() {
        return Err("the victim is not in it".to_owned());
    }
    let stuck = model.stuck(false);
    let frames = 0..model.frames.len();
    let frames: Vec<usize> = frames.filter(|frame| stuck[*frame]).collect();
    let mut candidates = Vec::new();
    for (place, member) in told.cycle.iter().enumerate() {
        let fits = |frame: &usize| {
            (place == told.victim) == (*frame == victim)
                && is_told_of(lead, model, *frame, member, victim)
        };
        let fitting: Vec<usize> = frames.iter().copied().filter(fits).collect();
        if fitting.is_empty() {
            return Err(format!("nobody who is deadlocked is {member}"));
        }
        candidates.push(fitting);
    }
    match is_closed(lead, model, &candidates, &mut Vec::new()) {
        true => Ok(()),
        false => Err("some of them could go on, as far as is told".to_owned()),
    }
}

/// Whether some frames, one of each of these, cannot go on because of nobody else. Several may have the
/// same name and the same wait.
fn is_closed(
    lead: &Lead<'_>,
    model: &Model,
    candidates: &[Vec<usize>],
    named: &mut Vec<usize>,
) -> bool {
    let Some((first, rest)) = candidates.split_first() else {
        // What is foreign is not named, nor what did not get into it.
        let unseen = |frame: usize| model.frames[frame].foreign && lead.roles[frame].is_call;
        let still = model.stuck_if(false, |frame| !unseen(frame) && !named.contains(&frame));
        return named.iter().all(|frame| still[*frame]);
    };
    first.iter().any(|frame| {
        if named.contains(frame) {
            return false;
        }
        named.push(*frame);
        let closed = is_closed(lead, model, rest, named);
        named.pop();
        closed
    })
}

/// Whether this frame can be meant.
fn is_told_of(lead: &Lead<'_>, model: &Model, frame: usize, member: &Value, victim: usize) -> bool {
    let role = &lead.roles[frame];
    if model.frames[frame].foreign {
        return false;
    }
    let agent = &member["agent"];
    // One's own process is not named.
    let here = lead.troupe.place(lead.roles[victim].node);
    let place = agent["place"].as_str().unwrap_or(here);
    let is_call = agent["kind"] == "call";
    if place != lead.troupe.place(role.node)
        || agent["name"].as_str() != Some(&role.name)
        || is_call != role.is_call
    {
        return false;
    }
    let waits = member["waits"].as_array().map_or(&[][..], Vec::as_slice);
    let holds = member["holds"].as_array().map_or(&[][..], Vec::as_slice);
    waits.len() == 1
        && waits.iter().all(|wait| waits_so(lead, model, frame, wait))
        && holds.iter().all(|hold| has_so(lead, model, frame, hold))
}

fn waits_so(lead: &Lead<'_>, model: &Model, frame: usize, wait: &Value) -> bool {
    match model.frames[frame].wait {
        Wait::Thing { thing, mode } => is_thing(lead, thing, mode, wait),
        Wait::Call(_) => wait["mode"] == "answer",
        Wait::None | Wait::Ended => false,
    }
}

/// What it has, or stands in the way of others for.
fn has_so(lead: &Lead<'_>, model: &Model, frame: usize, hold: &Value) -> bool {
    if hold["queued"] == true {
        return waits_so(lead, model, frame, hold);
    }
    // Whoever serves a call has the answer.
    if hold["mode"] == "answer" {
        return model.frames[frame].caller.is_some();
    }
    (0..model.things.len()).any(|thing| {
        let mut holders = model.things[thing].holders.iter();
        holders.any(|(holder, mode)| *holder == frame && is_thing(lead, thing, *mode, hold))
    })
}

fn is_thing(lead: &Lead<'_>, thing: usize, mode: Mode, told: &Value) -> bool {
    let told_mode = &told["mode"];
    let mode = match mode {
        Mode::Write => told_mode == "write",
        Mode::Read | Mode::Pass => told_mode == "read",
        Mode::Permits(permits) => told_mode["permits"] == permits,
    };
    let resource = &told["resource"];
    let is_it = match lead.program.things[thing].sort {
        Sort::Object => resource["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("Object")),
        _ => resource["name"].as_str() == Some(&lead.name_of(thing)),
    };
    mode && is_it
}
