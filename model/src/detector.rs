//! What the detector does. Each read is a step, in any order that the rules leave open, so that
//! whatever frames do can happen between any two of them.

use crate::config::{Config, Fault, Grain, Second};
use crate::frames::{Out, admit, leave_queue, queue_free, seems_waiting};
use crate::state::{NOBODY, Phase, Record, Set, State, Status, bit, has, members};
use crate::step::{Act, NOTHING, Step};
use crate::truth::{Edges, bottom, deadlocked, reduce, seems_blocked};

/// All steps that the detector may make.
pub fn steps(config: &Config, state: &State, out: Out<'_>) {
    let det = &state.det;
    match det.phase {
        Phase::Idle => {
            for root in members(det.pending) {
                let mut next = *state;
                next.det.pending &= !bit(root);
                next.det.root = root as u8;
                next.det.todo = bit(root);
                look(config, &mut next, root);
                out.push((step(root, Act::Begin, NOTHING, 0), next));
            }
        }
        Phase::Frames => {
            for frame in members(det.todo) {
                let mut next = *state;
                look(config, &mut next, frame);
                out.push((step(frame, Act::Look, NOTHING, 0), next));
            }
        }
        Phase::Edges => read_edges(config, state, out),
        Phase::Again => again(config, state, out),
        Phase::Epochs => {
            for frame in members(det.todo) {
                let mut next = *state;
                next.det.todo &= !bit(frame);
                if next.det.todo == 0 {
                    judge(config, &mut next);
                }
                out.push((step(frame, Act::ReadEpoch, NOTHING, 0), next));
            }
        }
        Phase::Verdict => verdicts(config, state, out),
        Phase::Doomed => {
            let mut next = *state;
            give_up(config, &mut next);
            out.push((step(0, Act::GiveUp, NOTHING, 0), next));
        }
        Phase::Phantom => {}
    }
}

fn step(frame: usize, act: Act, resource: usize, other: usize) -> Step {
    Step {
        frame,
        act,
        resource,
        other,
    }
}

/// What `frame` waits for, as far as anyone can see.
fn wishes(config: &Config, state: &State, frame: usize, mut note: impl FnMut(usize, u8)) {
    let at = usize::from(state.at[frame]);
    if state.status[frame] == Status::RunUnseen {
        return note(at, 1);
    }
    for resource in 0..config.resources.len() {
        let want = state.cell[frame][resource].want();
        if want > 0 && (state.status[frame] != Status::Block || resource == at) {
            note(resource, want);
        }
    }
}

/// Pass 1 looks at a frame: does it wait, and for what?
fn look(config: &Config, state: &mut State, frame: usize) {
    state.det.phase = Phase::Frames;
    state.det.todo &= !bit(frame);
    state.det.seen |= bit(frame);
    let calls = usize::from(state.callee[frame]) < config.frames;
    if !seems_waiting(state, frame) || calls && config.broken(Fault::NoCallEdge) {
        if config.broken(Fault::EarlyStop) {
            state.end_check();
        } else {
            after_frame(config, state);
        }
        return;
    }
    state.det.asleep |= bit(frame);
    state.det.cur = frame as u8;
    let before = *state;
    wishes(config, &before, frame, |resource, want| {
        state.rec[frame][resource] = Record::wish(want);
        state.det.left |= bit(resource);
    });
    state.det.phase = Phase::Edges;
    if config.grain == Grain::Coarse {
        for resource in members(state.det.left) {
            let record = read_whole(config, state, frame, resource);
            state.rec[frame][resource] = record;
            after_edge(config, state, resource);
        }
    }
}

/// One resource of one frame, in a single read.
fn read_whole(config: &Config, state: &State, frame: usize, resource: usize) -> Record {
    let mut record = read_queue(config, state, frame, resource);
    for holder in 0..config.frames {
        read_holder(config, state, (frame, &mut record), resource, holder);
    }
    record
}

/// The wish and, if others with a bigger one stand before it, those.
fn read_queue(config: &Config, state: &State, frame: usize, resource: usize) -> Record {
    let mut record = Record::wish(state.rec[frame][resource].want());
    let kind = &config.resources[resource];
    if kind.fifo && kind.capacity > 1 {
        let before = members(state.queue[resource].before(frame))
            .filter(|&other| state.cell[other][resource].want() > record.want())
            .fold(0, |set: Set, other| set | bit(other));
        record.note_ahead(before);
    }
    record
}

fn read_holder(
    config: &Config,
    state: &State,
    (frame, record): (usize, &mut Record),
    resource: usize,
    holder: usize,
) {
    let kind = &config.resources[resource];
    let held = if kind.is_call() {
        u8::from(usize::from(state.callee[frame]) == holder)
    } else if !kind.is_lock() {
        u8::from(has(state.partners[resource], holder))
    } else {
        state.cell[holder][resource].shown()
    };
    record.note_held(holder, held);
}

/// The reads of the edges of `frame` that are possible now, in pass 1.
fn read_edges(config: &Config, state: &State, out: Out<'_>) {
    let det = &state.det;
    let frame = usize::from(det.cur);
    if det.journals != 0 {
        let resource = usize::from(det.resource);
        for holder in members(det.journals) {
            let mut next = *state;
            read_holder(
                config,
                state,
                (frame, &mut next.rec[frame][resource]),
                resource,
                holder,
            );
            next.det.journals &= !bit(holder);
            if next.det.journals == 0 {
                next.det.resource = 0;
                after_edge(config, &mut next, resource);
            }
            out.push((step(frame, Act::ReadJournal, resource, holder), next));
        }
        return;
    }
    for resource in members(det.left) {
        let mut next = *state;
        if one_by_one(config, resource) {
            next.rec[frame][resource] = read_queue(config, state, frame, resource);
            next.det.resource = resource as u8;
            next.det.journals = config.everyone();
        } else {
            next.rec[frame][resource] = read_whole(config, state, frame, resource);
            after_edge(config, &mut next, resource);
        }
        out.push((step(frame, Act::Read, resource, 0), next));
    }
}

fn one_by_one(config: &Config, resource: usize) -> bool {
    config.grain == Grain::Finest && config.resources[resource].capacity > 1
}

fn after_edge(config: &Config, state: &mut State, resource: usize) {
    let frame = usize::from(state.det.cur);
    let record = state.rec[frame][resource];
    state.det.left &= !bit(resource);
    // A thread that owns what it waits for was granted it and has not woken yet: it runs.
    let mutex = config.resources[resource].capacity == 1;
    if mutex && !has(config.tasks, frame) && record.held(frame) > 0 {
        state.det.asleep &= !bit(frame);
    }
    state.det.todo |= (record.holders() | record.ahead()) & !state.det.seen;
    if state.det.left == 0 {
        state.det.cur = NOBODY;
        after_frame(config, state);
    }
}

fn after_frame(config: &Config, state: &mut State) {
    state.det.phase = Phase::Frames;
    if state.det.todo == 0 {
        end_of_pass_1(config, state);
    }
}

/// Pass 1 has read everything there is to follow: who seems deadlocked? This is also the instant
/// between the passes, at which the judge compares with the truth.
fn end_of_pass_1(config: &Config, state: &mut State) {
    let found = reduce(config, state, state.det.asleep, Edges::All);
    if found == 0 {
        return state.end_check();
    }
    if !config.judged_by_ever() {
        state.det.wrong = found & !deadlocked(config, state, Edges::All) != 0;
        state.det.hard = found & deadlocked(config, state, Edges::Hard);
    }
    for frame in 0..config.frames {
        if !has(found, frame) {
            state.rec[frame] = Default::default();
        }
    }
    state.det.seen = 0;
    state.det.asleep = 0;
    state.det.found = found;
    state.det.changed &= found;
    match config.second {
        Second::Nothing => judge(config, state),
        Second::EdgesThenEpochs if state.det.changed != 0 => state.doom(),
        _ => {
            state.det.phase = Phase::Again;
            state.det.todo = found;
        }
    }
}

/// Pass 2 reads edges (and, frame by frame, epochs).
fn again(config: &Config, state: &State, out: Out<'_>) {
    if state.det.cur == NOBODY {
        for frame in members(state.det.todo) {
            let mut next = *state;
            next.det.todo &= !bit(frame);
            next.det.cur = frame as u8;
            for (resource, record) in state.rec[frame].iter().enumerate() {
                next.det.left |= u8::from(record.want() > 0) << resource;
            }
            if config.second == Second::FrameByFrame {
                if has(next.det.changed, frame) {
                    give_up(config, &mut next);
                } else if config.grain == Grain::Coarse {
                    frame_again(config, &mut next);
                }
                out.push((step(frame, Act::ReadEpoch, NOTHING, 0), next));
            } else if config.grain == Grain::Coarse {
                frame_again(config, &mut next);
                out.push((step(frame, Act::Read, NOTHING, 0), next));
            } else {
                edges_again(config, &next, out);
            }
        }
    } else {
        edges_again(config, state, out);
    }
}

fn edges_again(config: &Config, state: &State, out: Out<'_>) {
    let det = &state.det;
    let frame = usize::from(det.cur);
    if det.journals != 0 {
        let resource = usize::from(det.resource);
        for holder in members(det.journals) {
            let mut next = *state;
            let record = &mut next.rec[frame][resource];
            read_holder(config, state, (frame, record), resource, holder);
            next.det.journals &= !bit(holder);
            if next.det.journals == 0 {
                next.det.resource = 0;
                if seems_blocked(config, &next, frame, resource, det.found, Edges::All) {
                    after_edge_again(config, &mut next, resource);
                } else {
                    give_up(config, &mut next);
                }
            }
            out.push((step(frame, Act::ReadJournal, resource, holder), next));
        }
        return;
    }
    for resource in members(det.left) {
        let mut next = *state;
        if one_by_one(config, resource) {
            assert!(!config.exact, "journals are not compared one by one");
            next.rec[frame][resource] = read_queue(config, state, frame, resource);
            next.det.resource = resource as u8;
            next.det.journals = config.everyone();
        } else if confirm(config, &mut next, frame, resource) {
            after_edge_again(config, &mut next, resource);
        } else {
            give_up(config, &mut next);
        }
        out.push((step(frame, Act::Read, resource, 0), next));
    }
}

/// All edges of the frame `cur` in one read.
fn frame_again(config: &Config, state: &mut State) {
    let frame = usize::from(state.det.cur);
    let left = state.det.left;
    if members(left).all(|resource| confirm(config, state, frame, resource)) {
        for resource in members(left) {
            after_edge_again(config, state, resource);
        }
    } else {
        give_up(config, state);
    }
}

/// Reads a resource of a frame again. Whether it still is in the way of the frame.
fn confirm(config: &Config, state: &mut State, frame: usize, resource: usize) -> bool {
    let old = state.rec[frame][resource];
    let new = read_whole(config, state, frame, resource);
    if old.partners_moved() && !config.broken(Fault::NoPartnersSeq) {
        return false;
    }
    state.rec[frame][resource] = new;
    let found = state.det.found;
    let confirmed = new.same_edges(old)
        || !config.exact && seems_blocked(config, state, frame, resource, found, Edges::All);
    if config.second == Second::FrameByFrame || config.broken(Fault::OldEdges) {
        // It confirms what pass 1 has read, no more.
        state.rec[frame][resource] = old;
    }
    confirmed
}

fn after_edge_again(config: &Config, state: &mut State, resource: usize) {
    state.det.left &= !bit(resource);
    if state.det.left != 0 {
        return;
    }
    state.det.cur = NOBODY;
    if state.det.todo != 0 {
        return;
    }
    if config.second == Second::EdgesThenEpochs && config.epochs_apart {
        state.det.phase = Phase::Epochs;
        state.det.todo = state.det.found;
    } else {
        // No epoch has changed yet, else the check would be doomed.
        judge(config, state);
    }
}

/// The check ends without a verdict and is put off, if there is still something to check.
fn give_up(config: &Config, state: &mut State) {
    let root = usize::from(state.det.root);
    state.end_check();
    if seems_waiting(state, root) && !config.broken(Fault::NoRepeat) {
        state.det.pending |= bit(root);
    }
}

/// The frames that cannot go on even if all waiters are let past each other.
fn to_fail(config: &Config, state: &State, found: Set) -> Set {
    let edges = if config.broken(Fault::SoftFailed) {
        Edges::All
    } else {
        Edges::Hard
    };
    reduce(config, state, found, edges)
}

/// Everything is confirmed. The judge compares with what was true between the passes.
fn judge(config: &Config, state: &mut State) {
    let hard = to_fail(config, state, state.det.found);
    let wrong = state.det.wrong || hard & !state.det.hard != 0;
    state.det.phase = match wrong && !config.judged_by_ever() {
        true => Phase::Phantom,
        false => Phase::Verdict,
    };
    state.det.wrong = false;
    state.det.hard = 0;
}

/// Delivers one verdict, then decides again as if its receiver went on.
fn verdicts(config: &Config, state: &State, out: Out<'_>) {
    let left = state.det.found & !state.det.done;
    let stuck = reduce(config, state, left, Edges::All);
    let hard = to_fail(config, state, stuck);
    let edges = if config.broken(Fault::SoftFailed) {
        Edges::All
    } else {
        Edges::Hard
    };
    for victim in members(bottom(config, state, hard, edges)) {
        for resource in 0..config.resources.len() {
            // Nobody can end a call but itself.
            if state.rec[victim][resource].want() > 0
                && !config.resources[resource].is_call()
                && let Some(next) = deliver(config, state, victim, resource, Edges::Hard)
            {
                out.push((step(victim, Act::Fail, resource, 0), next));
            }
        }
    }
    for waiter in members(stuck & !hard) {
        for resource in 0..config.resources.len() {
            let blocked = |edges| seems_blocked(config, state, waiter, resource, stuck, edges);
            let only_softly = state.rec[waiter][resource].want() > 0
                && blocked(Edges::All)
                && !blocked(Edges::Hard);
            if only_softly && let Some(next) = deliver(config, state, waiter, resource, Edges::All)
            {
                out.push((step(waiter, Act::Admit, resource, 0), next));
            }
        }
    }
}

/// Ends the wait of `frame`, if it is still the same. `None`: the queue is locked just now.
fn deliver(
    config: &Config,
    state: &State,
    frame: usize,
    resource: usize,
    edges: Edges,
) -> Option<State> {
    let mut next = *state;
    next.det.done |= bit(frame);
    let waits = matches!(
        state.status[frame],
        Status::Wait | Status::Block | Status::WokenUnseen
    );
    if waits && !has(state.det.changed, frame) {
        if !queue_free(config, state, resource) {
            return None;
        }
        let explained = if config.judged_by_ever() {
            edges == Edges::All || has(state.det.ever, frame)
        } else {
            state.det.helped || has(deadlocked(config, state, edges), frame)
        };
        if !explained {
            next.end_check();
            next.det.phase = Phase::Phantom;
            return Some(next);
        }
        if edges == Edges::Hard {
            leave_queue(config, &mut next, frame, resource);
        } else {
            admit(config, &mut next, frame, resource);
        }
    }
    let left = next.det.found & !next.det.done;
    if reduce(config, &next, left, Edges::All) == 0 {
        next.end_check();
    }
    Some(next)
}
