//! What the detectors do. A message to a node and its answer are one step, that at which the node
//! reads; so all delays are covered, and what is sent twice. Nodes read at different instants.

use super::config::{Children, Config, Confirm, Fault, Occupied, Victims};
use super::frames::{Out, fail, help_others};
use super::state::{Detector, FRAMES, Phase, Record, Set, State, Status, bit, has, members};
use super::step::{Act, NOTHING, Step};
use super::truth::{bottom, deadlocked, on_whom, reduce, rests_on_a_fork, seems_blocked};

/// All steps that this detector may make.
pub fn steps(config: &Config, state: &State, detector: usize, out: Out<'_>) {
    let det = &state.detectors[detector];
    let step = |act, frame: usize| Step {
        frame,
        act,
        other: detector,
    };
    match det.phase {
        Phase::Idle => {
            for root in members(state.pending) {
                let mut next = *state;
                next.pending &= !bit(root);
                let det = &mut next.detectors[detector];
                det.phase = Phase::Gather;
                det.root = root as u8;
                det.todo = bit(root);
                ask(config, &mut next, detector, root);
                out.push((step(Act::Begin, root), next));
            }
        }
        Phase::Gather => {
            for frame in members(det.todo) {
                let mut next = *state;
                ask(config, &mut next, detector, frame);
                out.push((step(Act::Look, frame), next));
            }
        }
        Phase::Between => {
            if det.late | det.late_ends == 0 {
                let mut next = *state;
                next.detectors[detector].phase = Phase::Again;
                out.push((step(Act::Pause, NOTHING), next));
            }
        }
        Phase::Again => again(config, state, detector, out),
        Phase::Verdict => verdicts(config, state, detector, out),
    }
    if config.losses && det.phase != Phase::Idle {
        let mut next = *state;
        put_off(&mut next, detector);
        out.push((step(Act::Lose, NOTHING), next));
    }
}

/// The check ends.
pub fn end_check(state: &mut State, detector: usize) {
    state.detectors[detector] = Detector::IDLE;
}

/// The check ends, and is made again if there is still something to check.
pub fn put_off(state: &mut State, detector: usize) {
    let root = usize::from(state.detectors[detector].root);
    end_check(state, detector);
    if state.status[root] == Status::Wait {
        state.pending |= bit(root);
    }
}

/// Pass 1: asks for a frame where it is, and for those there which it waits for.
fn ask(config: &Config, state: &mut State, detector: usize, frame: usize) {
    let before = *state;
    let det = &mut state.detectors[detector];
    let mut here = bit(frame);
    while here != 0 {
        for frame in members(here) {
            det.todo &= !bit(frame);
            det.seen |= bit(frame);
            read(config, &before, det, frame);
            det.todo &= !det.seen;
        }
        here = match config.whole_nodes {
            true => det.todo & config.at(config.node(frame)),
            false => 0,
        };
    }
    if det.todo == 0 {
        ask_upwards(config, &before, det);
    }
    if det.todo == 0 {
        end_of_pass_1(config, state, detector);
    }
}

/// What a node tells of one of its frames. A call that is under way, or its reply, is unknown.
fn read(config: &Config, state: &State, det: &mut Detector, frame: usize) {
    let unseen = config.broken(Fault::QueueUnseen) && {
        let pool = config.pool(config.node(frame)).map_or(0, bit);
        state.want[frame] & pool != 0
    };
    if state.status[frame] != Status::Wait || unseen {
        return;
    }
    det.asleep |= bit(frame);
    let record = &mut det.records[frame];
    record.note_want(state.want[frame]);
    record.note_calls(state.calls(frame));
    record.note_claim(state.claim[frame]);
    for lock in members(state.want[frame]) {
        record.note_holders(lock, state.holders(lock));
        det.todo |= state.holders(lock);
    }
    for call in members(state.calls(frame)) {
        if config.is_hop(call) {
            det.records[call] = Record::children_only(state.attached[call]);
            if has(state.ghosts, call) {
                det.records[frame].note_over();
            }
            det.todo |= state.attached[call];
        } else {
            det.todo |= bit(call);
        }
    }
}

/// Where a call may wait for another one at its hop: asks the callers' nodes for those calls. They are
/// known to the frames that descend from them.
fn ask_upwards(config: &Config, state: &State, det: &mut Detector) {
    let idle = |call: usize| config.is_single(call) && det.records[call].children() == 0;
    if !members(det.asleep).any(|frame| members(det.records[frame].calls()).any(idle)) {
        return;
    }
    for frame in members(det.asleep) {
        let claim = usize::from(det.records[frame].claim());
        if claim >= FRAMES || usize::from(state.claim[frame]) != claim {
            continue;
        }
        let caller = usize::from(state.caller[claim]);
        let told = |caller: usize| has(det.records[caller].calls(), claim);
        if config.occupied == Occupied::Outstanding && caller < FRAMES {
            det.todo |= bit(caller) & !det.seen;
        } else if !members(det.asleep).any(told) {
            det.records[claim] = Record::children_only(state.attached[claim]);
        }
    }
}

/// Everything there is to ask for is told: who seems deadlocked? This is also the instant at which the
/// judge compares with the truth.
fn end_of_pass_1(config: &Config, state: &mut State, detector: usize) {
    let det = &mut state.detectors[detector];
    // A child that says it descends from nobody, or runs, has no place here.
    for call in (0..config.frames.len()).filter(|&call| config.is_hop(call)) {
        let children = members(det.records[call].children())
            .filter(|&child| {
                let says = det.records[child].claim();
                !has(det.asleep, child) || usize::from(says) == call
            })
            .fold(0, |set, child| set | bit(child));
        det.records[call].note_children(children);
    }
    let found = reduce(config, det, det.asleep);
    if found == 0 {
        return end_check(state, detector);
    }
    if found & det.changed != 0 {
        return put_off(state, detector);
    }
    for frame in 0..config.frames.len() {
        let of_found = |call: usize| {
            members(found).any(|frame| {
                let record = det.records[frame];
                has(record.calls(), call) || usize::from(record.claim()) == call
            })
        };
        if !has(found, frame) && !of_found(frame) {
            det.records[frame] = Record::default();
        }
    }
    det.seen = 0;
    det.changed = 0;
    det.asleep = found;
    det.found = found;
    det.todo = found;
    det.unsure = found;
    let inferred = members(found).any(|frame| {
        let calls = det.records[frame].calls();
        members(calls).any(|call| config.is_hop(call))
    });
    det.phase = Phase::Again;
    if inferred && !config.broken(Fault::NoPause) {
        let replies = (0..config.frames.len())
            .filter(|&frame| state.status[frame] == Status::Replied)
            .fold(0, |set: Set, frame| set | bit(frame));
        det.phase = Phase::Between;
        det.late = replies;
        det.late_ends = state.ends;
    }
    let det = state.detectors[detector];
    let forked = rests_on_a_fork(config, state, &det);
    let wrong = found & !deadlocked(config, state) != 0;
    let det = &mut state.detectors[detector];
    det.forked = forked && config.forgive_forks;
    det.wrong = wrong && !det.forked && !config.judged_by_ever();
    if config.confirm == Confirm::Nothing {
        judge(config, state, detector);
    }
}

/// Pass 2.
fn again(config: &Config, state: &State, detector: usize, out: Out<'_>) {
    let det = &state.detectors[detector];
    let step = |act, frame: usize| Step {
        frame,
        act,
        other: detector,
    };
    let at_node_of = |frame: usize| config.at(config.node(frame));
    let first_there = |set: Set| {
        members(set).filter(move |&frame| set & at_node_of(frame) & (bit(frame) - 1) == 0)
    };
    // The edges.
    for frame in members(det.todo) {
        let here = at_node_of(frame);
        let (now, epochs) = match config.confirm {
            Confirm::AtOnce if det.todo & here & (bit(frame) - 1) != 0 => continue,
            Confirm::AtOnce => (det.todo & here, det.todo & here),
            Confirm::FrameByFrame => (bit(frame), bit(frame)),
            Confirm::EpochsThenEdges if has(det.unsure, frame) => continue,
            _ => (bit(frame), 0),
        };
        let mut next = *state;
        if members(now).all(|frame| edges_again(config, &mut next, detector, frame)) {
            let det = &mut next.detectors[detector];
            det.todo &= !now;
            det.unsure &= !epochs;
            confirmed(config, &mut next, detector);
        } else {
            put_off(&mut next, detector);
        }
        out.push((step(Act::AskAgain, frame), next));
    }
    // The epochs of a node. A changed one would have been noticed.
    for frame in first_there(det.unsure) {
        let here = at_node_of(frame);
        let due = match config.confirm {
            Confirm::EdgesThenEpochs => det.todo & here == 0,
            Confirm::EpochsThenEdges => true,
            _ => false,
        };
        if due {
            let mut next = *state;
            next.detectors[detector].unsure &= !here;
            confirmed(config, &mut next, detector);
            out.push((step(Act::Epochs, frame), next));
        }
    }
}

/// Reads the edges of a frame again: whether it still cannot go on without those found.
fn edges_again(config: &Config, state: &mut State, detector: usize, frame: usize) -> bool {
    let before = *state;
    let det = &mut state.detectors[detector];
    let record = &mut det.records[frame];
    for lock in members(record.want()) {
        record.note_holders(lock, before.holders(lock));
    }
    // Whether it still descends from the same call; also where the connection has ended.
    let same = record.claim() == before.claim[frame] || config.broken(Fault::ClaimUnconfirmed);
    if !same && is_child(config, det, frame) {
        return false;
    }
    // The calls to hops that it makes, and the one from which it descends, if that matters.
    let mut calls = members(det.records[frame].calls())
        .filter(|&call| config.is_hop(call))
        .fold(0, |set: Set, call| set | bit(call));
    let claim = usize::from(det.records[frame].claim());
    if claim < FRAMES && config.is_single(claim) && is_child(config, det, frame) {
        calls |= bit(claim);
    }
    for call in members(calls) {
        let record = &mut det.records[call];
        let (old, new) = (record.children(), before.attached[call]);
        let same = match config.children {
            Children::Found => old & !new == 0,
            Children::Set => old == new,
            Children::Count => !record.moved(),
        };
        if !same {
            return false;
        }
        if record.moved() && det.forked {
            // Somebody could have seen it.
            det.forked = false;
            det.wrong = !config.judged_by_ever();
        }
    }
    seems_blocked(config, det, frame, det.found)
}

/// Whether it matters from which call the frame descends.
fn is_child(config: &Config, det: &Detector, frame: usize) -> bool {
    members(det.found).any(|caller| {
        let to_hop = |call: &usize| config.is_hop(*call);
        members(det.records[caller].calls())
            .filter(to_hop)
            .any(|call| has(on_whom(config, det, call), frame))
    })
}

fn confirmed(config: &Config, state: &mut State, detector: usize) {
    let det = &state.detectors[detector];
    if det.todo | det.unsure == 0 {
        judge(config, state, detector);
    }
}

/// Everything is confirmed, and the verdict goes to the node of a victim. Unless there is one order for
/// all, any candidate may be the victim, until those change that could have been.
fn judge(config: &Config, state: &mut State, detector: usize) {
    let det = &mut state.detectors[detector];
    if det.wrong {
        end_check(state, detector);
        state.phantom = true;
        return;
    }
    let candidates = members(bottom(config, det, det.found))
        .filter(|&frame| can_fail(config, det, frame))
        .fold(0, |set: Set, frame| set | bit(frame));
    let first = candidates & candidates.wrapping_neg();
    let last = members(candidates).last().map_or(0, bit);
    let chosen = match (config.victims, detector) {
        (Victims::Any, _) => candidates,
        (Victims::Same, _) | (Victims::Differ, 0) => first,
        (Victims::Differ, _) => last,
    };
    // The verdict names the wait.
    let changed = match config.broken(Fault::VerdictUnchecked) {
        true => 0,
        false => det.changed,
    };
    *det = Detector {
        phase: Phase::Verdict,
        todo: chosen & !changed,
        root: det.root,
        found: det.found,
        ever: det.ever,
        helped: det.helped,
        forked: det.forked,
        ..Detector::IDLE
    };
    if candidates == 0 {
        end_check(state, detector);
    } else if chosen & !changed == 0 {
        put_off(state, detector);
    }
}

/// Whether a wait of this frame can be ended: for a lock or a worker, or for a call to an occupied hop.
/// Any other call is being served.
fn can_fail(config: &Config, det: &Detector, frame: usize) -> bool {
    let record = det.records[frame];
    let waits_in_line = |call: usize| config.is_single(call) && det.records[call].children() == 0;
    record.want() != 0
        || !config.broken(Fault::CallsStay) && members(record.calls()).any(waits_in_line)
}

/// The verdict arrives. The victim still waits as it did, else it would be none any more.
fn verdicts(config: &Config, state: &State, detector: usize, out: Out<'_>) {
    let det = &state.detectors[detector];
    for victim in members(det.todo) {
        let locks = state.want[victim];
        let call = usize::from(locks == 0);
        for wait in members(locks).chain(std::iter::repeat_n(config.locks.len(), call)) {
            let mut next = *state;
            if state.status[victim] == Status::Wait {
                let stuck = has(deadlocked(config, state), victim);
                let right = if config.judged_by_ever() {
                    has(det.ever, victim)
                } else {
                    stuck || det.helped
                };
                next.phantom = !right && !det.forked;
                end_check(&mut next, detector);
                help_others(config, &mut next, detector, victim);
                fail(config, &mut next, victim, wait);
            }
            let root = usize::from(det.root);
            end_check(&mut next, detector);
            if next.status[root] == Status::Wait {
                next.pending |= bit(root);
            }
            let fail = Step {
                frame: victim,
                act: Act::Fail,
                other: wait,
            };
            out.push((fail, next));
        }
    }
}
