//! Who truly is deadlocked, and who seems so from what a detector was told.

use super::config::{Config, Fault, Occupied};
use super::state::{Detector, FRAMES, GIVEN_UP, NOBODY, Set, State, Status, bit, has, members};

/// The members of `candidates` that remain when those which `blocked` lets go on are taken out.
fn fixpoint(mut candidates: Set, blocked: impl Fn(usize, Set) -> bool) -> Set {
    loop {
        let rest = members(candidates)
            .filter(|&frame| blocked(frame, candidates))
            .fold(0, |set, frame| set | bit(frame));
        if rest == candidates {
            return rest;
        }
        candidates = rest;
    }
}

/// The frames and calls that are deadlocked in this state: none of them can go on unless another of
/// them does. Deadlines do not count: a wait that will time out is deadlocked until it does.
pub fn deadlocked(config: &Config, state: &State) -> Set {
    let waiting = (0..config.frames.len())
        .filter(|&frame| match state.status[frame] {
            Status::Wait => true,
            Status::Sent => config.is_single(frame),
            _ => false,
        })
        .fold(0, |set, frame| set | bit(frame));
    fixpoint(waiting, |frame, among| {
        if state.status[frame] == Status::Sent {
            // It is accepted when the call that is served there is over.
            let here = config.at(config.node(frame));
            return members(here & among).any(|other| state.status[other] == Status::Wait);
        }
        let locked = |lock: usize| {
            let stuck = (state.holders(lock) & among).count_ones();
            u32::from(config.locks[lock].capacity) <= stuck
        };
        state.calls(frame) & !among == 0 && members(state.want[frame]).all(locked)
    })
}

/// Which of `candidates` seem deadlocked, by what the detector was told.
pub fn reduce(config: &Config, det: &Detector, candidates: Set) -> Set {
    fixpoint(candidates, |frame, among| {
        seems_blocked(config, det, frame, among)
    })
}

/// Whether `frame` cannot go on as long as none of `among` does.
pub fn seems_blocked(config: &Config, det: &Detector, frame: usize, among: Set) -> bool {
    let record = det.records[frame];
    let locked = |lock: usize| {
        let stuck = record.holders(lock) & among;
        match config.locks[lock].pool && config.broken(Fault::PoolAsAnd) {
            true => stuck != 0,
            false => u32::from(config.locks[lock].capacity) <= stuck.count_ones(),
        }
    };
    let served = |call: usize| match config.is_hop(call) {
        true => on_whom(config, det, call) & among != 0,
        false => has(among, call),
    };
    !record.over() && members(record.want()).all(locked) && members(record.calls()).all(served)
}

/// Whom a call to a hop seems to wait for; any of them.
pub fn on_whom(config: &Config, det: &Detector, call: usize) -> Set {
    let children = det.records[call].children();
    match children.count_ones() {
        0 if config.is_single(call) => occupants(config, det, call),
        1 => children,
        _ if config.broken(Fault::AnyChild) => children,
        _ => 0,
    }
}

/// A program that does one thing at a time does not do `call`: the frames that are the child of another
/// call there.
fn occupants(config: &Config, det: &Detector, call: usize) -> Set {
    let occupies = |frame: &usize| {
        let claim = det.records[*frame].claim();
        if claim == GIVEN_UP {
            return config.occupied == Occupied::Unanswered;
        }
        let other = usize::from(claim);
        if claim == NOBODY || other == call || config.node(other) != config.node(call) {
            return false;
        }
        let siblings = det.records[other].children() & !bit(*frame);
        match config.occupied {
            Occupied::Unseen => false,
            Occupied::Outstanding => {
                let asked = |caller: usize| has(det.records[caller].calls(), other);
                siblings == 0 && members(det.asleep).any(asked)
            }
            Occupied::Unanswered => siblings == 0 || config.broken(Fault::AnyOccupant),
        }
    };
    members(det.asleep)
        .filter(occupies)
        .fold(0, |set, frame| set | bit(frame))
}

/// Whether what was found rests on a child for which its hop does not wait, and no other child shows it.
pub fn rests_on_a_fork(config: &Config, state: &State, det: &Detector) -> bool {
    let descends = |mut frame: usize, call: usize| {
        while frame < FRAMES && frame != call {
            frame = state.caller[frame].into();
        }
        frame == call
    };
    let calls = members(det.found).fold(0, |set, frame| set | det.records[frame].calls());
    let mut forked = false;
    for call in members(calls).filter(|&call| config.is_hop(call)) {
        let children = det.records[call].children();
        if children.count_ones() > 1 {
            return false;
        }
        for child in members(on_whom(config, det, call) & det.found) {
            let of = match children {
                0 => usize::from(det.records[child].claim()),
                _ => call,
            };
            if of == usize::from(GIVEN_UP) && config.broken(Fault::AnsweredOccupies) {
                return false;
            }
            if of < FRAMES && det.records[of].children() & !bit(child) != 0 {
                return false;
            }
            forked |= !descends(child, of);
        }
    }
    forked
}

/// Whom each member of `found` waits for there.
fn next_of(config: &Config, det: &Detector, frame: usize, found: Set) -> Set {
    let record = det.records[frame];
    let locks = members(record.want()).fold(0, |set, lock| set | record.holders(lock));
    let calls = members(record.calls()).fold(0, |set, call| match config.is_hop(call) {
        true => set | on_whom(config, det, call),
        false => set | bit(call),
    });
    (locks | calls) & found
}

/// The members of the found set from which one cannot leave to another part of it: its bottom
/// strongly connected components. Failing anyone above would be in vain.
pub fn bottom(config: &Config, det: &Detector, found: Set) -> Set {
    let mut reach = [0; FRAMES];
    for frame in members(found) {
        reach[frame] = next_of(config, det, frame, found);
    }
    for _ in 0..found.count_ones() {
        for frame in members(found) {
            reach[frame] = members(reach[frame]).fold(reach[frame], |set, next| set | reach[next]);
        }
    }
    members(found)
        .filter(|&frame| members(reach[frame]).all(|next| has(reach[next], frame)))
        .fold(0, |set, frame| set | bit(frame))
}

/// Whether a deadlock that stays is one which the rules give up: several frames say that they descend
/// from one call to a hop, so it seems that the hop need not wait for any of them.
pub fn is_given_up(config: &Config, state: &State, stuck: Set) -> bool {
    (0..config.frames.len())
        .filter(|&call| config.is_hop(call))
        .any(|call| {
            let claims =
                |frame: &usize| usize::from(state.claim[*frame]) == call && !config.is_hop(*frame);
            let alive = |frame: &usize| matches!(state.status[*frame], Status::Run | Status::Wait);
            has(stuck, call)
                && (0..config.frames.len())
                    .filter(claims)
                    .filter(alive)
                    .count()
                    > 1
        })
}
