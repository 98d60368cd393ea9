//! What frames do, and messages between them. A running frame does anything that its kind allows, at
//! any time, for ever.

use super::config::{Config, Fault, Role, Victims};
use super::detector::{end_check, put_off};
use super::state::{FRAMES, GIVEN_UP, NOBODY, Phase, State, Status, bit, has, members};
use super::step::{Act, NOTHING, Step};
use super::truth::deadlocked;

/// Where the steps go.
pub type Out<'a> = &'a mut Vec<(Step, State)>;

/// How many permits of a lock are free.
fn free(config: &Config, state: &State, lock: usize) -> u8 {
    config.locks[lock].capacity - state.holders(lock).count_ones() as u8
}

/// The frame runs, and its epoch says so.
fn wake(config: &Config, state: &mut State, frame: usize) {
    state.status[frame] = Status::Run;
    state.pending &= !bit(frame);
    bump(config, state, frame);
}

/// The epoch of this frame changes.
fn bump(config: &Config, state: &mut State, frame: usize) {
    for detector in 0..config.detectors {
        let det = &mut state.detectors[detector];
        det.ever &= !bit(frame);
        let over = match det.phase {
            Phase::Idle => false,
            Phase::Gather => {
                det.changed |= det.asleep & bit(frame);
                false
            }
            // It will be noticed: nothing else of this check matters any more.
            Phase::Between => has(det.found, frame),
            Phase::Again => {
                det.changed |= det.found & bit(frame);
                has(det.unsure, frame)
            }
            Phase::Verdict if config.broken(Fault::VerdictUnchecked) => false,
            Phase::Verdict => {
                let was = det.todo;
                det.todo &= !bit(frame);
                was != 0 && det.todo == 0
            }
        };
        if over {
            put_off(state, detector);
        }
    }
}

/// The judge notes that a frame which may have been found was helped, not by its verdict.
fn help(config: &Config, state: &mut State, frame: usize) {
    let stuck = || deadlocked(config, state);
    let stuck = if config.is_hop(frame) { stuck() } else { 0 };
    for det in &mut state.detectors {
        det.helped |= has(det.found | stuck, frame);
    }
}

/// The frame ends: what was known of it is void, and its reply is on its way.
fn end(config: &Config, state: &mut State, frame: usize) {
    if state.status[frame] == Status::Wait {
        wake(config, state, frame);
    }
    state.hold[frame] = 0;
    state.want[frame] = 0;
    if !config.is_hop(frame) {
        state.claim[frame] = NOBODY;
    }
    state.ends &= !bit(frame);
    for call in 0..FRAMES {
        if has(state.attached[call], frame) {
            detach(config, state, frame, call);
            if config.broken(Fault::GhostsCount) {
                state.ghosts |= bit(call);
            }
        }
    }
    for det in &mut state.detectors {
        det.late_ends &= !bit(frame);
        if det.phase != Phase::Gather || has(det.asleep, frame) {
            continue;
        }
        // Whoever asks for it from now on, or has, learns that it is gone or ran.
        det.todo &= !bit(frame);
        det.seen &= !bit(frame);
        for record in &mut det.records {
            if has(record.calls(), frame) {
                record.note_calls(record.calls() & !bit(frame));
                record.note_over();
            }
            record.note_children(record.children() & !bit(frame));
            for lock in 0..config.locks.len() {
                record.note_holders(lock, record.holders(lock) & !bit(frame));
            }
        }
    }
    if usize::from(state.caller[frame]) < FRAMES {
        state.status[frame] = Status::Replied;
    } else {
        vacate(config, state, frame);
    }
}

/// Nothing is left of a served frame and of the call.
fn vacate(config: &Config, state: &mut State, frame: usize) {
    // Its caller's node knows that it is over if it has seen the reply.
    let unknown =
        usize::from(state.caller[frame]) >= FRAMES || config.broken(Fault::AnsweredOccupies);
    let over = match config.is_single(frame) && unknown {
        true => GIVEN_UP,
        false => NOBODY,
    };
    state.status[frame] = Status::Unborn;
    state.caller[frame] = NOBODY;
    state.claim[frame] = NOBODY;
    state.attached[frame] = 0;
    state.ghosts &= !bit(frame);
    for other in 0..FRAMES {
        if usize::from(state.claim[other]) == frame {
            state.claim[other] = over;
            if over == NOBODY {
                state.ends &= !bit(other);
            }
        }
    }
    let ends = state.ends;
    for det in &mut state.detectors {
        det.late &= !bit(frame);
        det.late_ends &= ends;
    }
}

/// The caller waits no more for a call, which may go on without. Its node goes on to know the children
/// of one that may occupy its hop.
pub fn abandon(config: &Config, state: &mut State, call: usize) {
    state.caller[call] = NOBODY;
    state.ghosts &= !bit(call);
    if !config.is_single(call) {
        state.attached[call] = 0;
    }
    if state.status[call] == Status::Replied {
        vacate(config, state, call);
    }
}

/// A child of a call is none any more. If that leaves one, it may be this for which the hop waits.
fn detach(config: &Config, state: &mut State, frame: usize, call: usize) {
    state.attached[call] &= !bit(frame);
    note_moved(config, state, call);
    let caller = usize::from(state.caller[call]);
    if caller < FRAMES
        && state.status[caller] == Status::Wait
        && state.attached[call].count_ones() == 1
        && !config.broken(Fault::NoCheckOnDetach)
    {
        state.pending |= bit(caller);
    }
}

/// The children of a call, as its caller's node knows them, have changed.
fn note_moved(config: &Config, state: &mut State, call: usize) {
    let caller = usize::from(state.caller[call]);
    for det in &mut state.detectors {
        let unread = match det.phase {
            Phase::Gather | Phase::Between => det.asleep,
            Phase::Again => det.todo,
            Phase::Idle | Phase::Verdict => 0,
        };
        let says_so = |frame: usize| usize::from(det.records[frame].claim()) == call;
        let occupies = config.is_single(call) && members(unread).any(says_so);
        if caller < FRAMES && has(unread, caller) || occupies {
            det.records[call].note_moved();
        }
    }
}

/// One of the waits of a frame fails: for a lock, or for a call.
pub fn fail(config: &Config, state: &mut State, frame: usize, lock: usize) {
    if lock < config.locks.len() {
        state.want[frame] &= !bit(lock);
        if config.locks[lock].pool {
            return end(config, state, frame);
        }
    } else {
        for call in members(state.calls(frame)) {
            abandon(config, state, call);
        }
    }
    wake(config, state, frame);
}

/// All steps that `frame` may make.
pub fn steps(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    match (state.status[frame], config.frames[frame].role) {
        (Status::Unborn, _) => {}
        (Status::Sent, _) => arrive(config, state, frame, out),
        (Status::Run, Role::Hop) => hop_runs(config, state, frame, out),
        (Status::Run, _) => runs(config, state, frame, out),
        (Status::Wait, Role::Hop) => hop_gives_up(config, state, frame, out),
        (Status::Wait, Role::Task) => sleeps(config, state, frame, out),
        (Status::Wait, _) => waits(config, state, frame, out),
        (Status::Replied, _) => replied(config, state, frame, out),
    }
    if let Some(next) = connection_ends(config, state, frame) {
        out.push((step(frame, Act::Close, NOTHING), next));
    }
    if let Some(next) = attaches(config, state, frame) {
        out.push((step(frame, Act::Attach, state.claim[frame].into()), next));
    }
    if let Some(next) = detaches(config, state, frame) {
        out.push((step(frame, Act::Detach, NOTHING), next));
    }
}

fn step(frame: usize, act: Act, other: usize) -> Step {
    Step { frame, act, other }
}

/// A call arrives. Limited workers are fought over by all that have arrived.
fn arrive(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let mut next = *state;
    next.status[frame] = Status::Run;
    if config.is_single(frame) {
        let here = config.at(config.node(frame));
        let busy = |other: usize| matches!(state.status[other], Status::Run | Status::Wait);
        if members(here).any(busy) {
            return;
        }
    } else if let Some(pool) = config.pool(config.node(frame))
        && !config.is_hop(frame)
    {
        if free(config, state, pool) == 0 {
            next.status[frame] = Status::Wait;
            next.want[frame] = bit(pool);
            next.pending |= bit(frame);
        } else {
            next.hold[frame] = bit(pool);
        }
    }
    out.push((step(frame, Act::Arrive, NOTHING), next));
}

fn runs(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let task = config.is_task(frame);
    let calls = state.calls(frame);
    let waits = state.want[frame].count_ones() + calls.count_ones();
    for (lock, kind) in config.locks.iter().enumerate() {
        if kind.pool || kind.node != config.node(frame) {
            continue;
        }
        let mut next = *state;
        let act = if has(state.hold[frame], lock) {
            next.hold[frame] &= !bit(lock);
            Act::Release
        } else if free(config, state, lock) > 0 {
            next.hold[frame] |= bit(lock);
            next.want[frame] &= !bit(lock);
            Act::Take
        } else if !has(state.want[frame], lock) && waits < 2 {
            next.want[frame] |= bit(lock);
            if !task {
                next.status[frame] = Status::Wait;
                next.pending |= bit(frame);
            }
            Act::Ask
        } else {
            continue;
        };
        out.push((step(frame, act, lock), next));
    }
    for call in members(config.may_call[frame]) {
        if state.status[call] == Status::Unborn && waits < 2 {
            let mut next = *state;
            send(config, &mut next, call, frame);
            if !task {
                next.status[frame] = Status::Wait;
            }
            out.push((step(frame, Act::Call, call), next));
        }
    }
    if config.frames[frame].role == Role::Served {
        let pool = config.pool(config.node(frame)).map_or(0, bit);
        if state.hold[frame] & !pool == 0 {
            let mut next = *state;
            end(config, &mut next, frame);
            out.push((step(frame, Act::Return, NOTHING), next));
        }
    }
    if task {
        for lock in members(state.want[frame]) {
            let mut next = *state;
            next.want[frame] &= !bit(lock);
            out.push((step(frame, Act::Cancel, lock), next));
        }
        for call in members(calls) {
            let mut next = *state;
            abandon(config, &mut next, call);
            out.push((step(frame, Act::Abandon, call), next));
        }
        if waits > 0 {
            let mut next = *state;
            next.status[frame] = Status::Wait;
            next.pending |= bit(frame);
            out.push((step(frame, Act::Sleep, NOTHING), next));
        }
    }
}

fn send(config: &Config, state: &mut State, call: usize, caller: usize) {
    state.status[call] = Status::Sent;
    state.caller[call] = caller as u8;
    if config.is_hop(caller) {
        // It hands on the annotation.
        state.claim[call] = state.claim[caller];
    } else if config.is_hop(call) {
        state.claim[call] = call as u8;
        if config.is_single(call) && !config.broken(Fault::NoCheckOnCall) {
            state.pending |= bit(caller);
        }
    }
}

/// A thread waits for one thing.
fn waits(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    for lock in members(state.want[frame]) {
        if free(config, state, lock) > 0 {
            let mut next = *state;
            next.hold[frame] |= bit(lock);
            next.want[frame] = 0;
            wake(config, &mut next, frame);
            out.push((step(frame, Act::Take, lock), next));
        }
        if config.timeouts {
            let mut next = *state;
            help(config, &mut next, frame);
            fail(config, &mut next, frame, lock);
            out.push((step(frame, Act::TimeOut, lock), next));
        }
    }
    for call in members(state.calls(frame)) {
        if config.timeouts {
            let mut next = *state;
            help(config, &mut next, frame);
            abandon(config, &mut next, call);
            wake(config, &mut next, frame);
            out.push((step(frame, Act::Abandon, call), next));
        }
    }
}

/// A task sleeps until one of the things it waits for is there.
fn sleeps(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    if members(state.want[frame]).any(|lock| free(config, state, lock) > 0) {
        let mut next = *state;
        wake(config, &mut next, frame);
        out.push((step(frame, Act::Wake, NOTHING), next));
    }
    if config.timeouts {
        let mut next = *state;
        help(config, &mut next, frame);
        wake(config, &mut next, frame);
        out.push((step(frame, Act::TimeOut, config.locks.len()), next));
    }
}

fn hop_runs(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    for call in members(config.may_call[frame]) {
        if state.status[call] != Status::Unborn {
            continue;
        }
        let mut next = *state;
        send(config, &mut next, call, frame);
        next.status[frame] = Status::Wait;
        out.push((step(frame, Act::Call, call), next));
        if config.forks {
            fork(config, state, frame, call, out);
        }
    }
    let mut next = *state;
    end(config, &mut next, frame);
    out.push((step(frame, Act::Return, NOTHING), next));
}

/// Somebody else calls, with the same annotation; nobody here waits for it.
fn fork(config: &Config, state: &State, frame: usize, call: usize, out: Out<'_>) {
    if !config.is_hop(call) && usize::from(state.claim[frame]) < FRAMES {
        let mut next = *state;
        next.status[call] = Status::Sent;
        next.claim[call] = state.claim[frame];
        out.push((step(frame, Act::Fork, call), next));
    }
}

/// A hop gives up its call. The called learns that its connection is closed, later.
fn hop_gives_up(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    if !config.hop_timeouts {
        return;
    }
    for call in members(state.calls(frame)) {
        let mut next = *state;
        help(config, &mut next, frame);
        let active = state.status[call] != Status::Replied;
        if active && !config.is_hop(call) && state.claim[call] != NOBODY {
            next.ends |= bit(call);
        }
        abandon(config, &mut next, call);
        next.status[frame] = Status::Run;
        out.push((step(frame, Act::Abandon, call), next));
    }
}

fn replied(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let next = deliver(config, state, frame);
    out.push((step(frame, Act::Deliver, NOTHING), next));
    if config.stale && config.is_hop(frame) {
        for call in members(config.may_call[frame]) {
            if state.status[call] == Status::Unborn {
                fork(config, state, frame, call, out);
            }
        }
    }
}

/// A reply arrives.
pub fn deliver(config: &Config, state: &State, frame: usize) -> State {
    let mut next = *state;
    let caller = usize::from(state.caller[frame]);
    vacate(config, &mut next, frame);
    if config.is_hop(caller) {
        next.status[caller] = Status::Run;
    } else if next.status[caller] == Status::Wait {
        wake(config, &mut next, caller);
    }
    next
}

/// The end of a connection arrives: its frame descends from nobody any more.
pub fn connection_ends(config: &Config, state: &State, frame: usize) -> Option<State> {
    let arrives = has(state.ends, frame) && state.status[frame] != Status::Sent;
    arrives.then(|| {
        let mut next = *state;
        next.ends &= !bit(frame);
        if !config.broken(Fault::EndIgnored) {
            next.claim[frame] = NOBODY;
        }
        for det in &mut next.detectors {
            det.late_ends &= !bit(frame);
        }
        next
    })
}

/// A frame attaches itself to the call from which it descends, at the caller's node.
pub fn attaches(config: &Config, state: &State, frame: usize) -> Option<State> {
    let call = usize::from(state.claim[frame]);
    let there = matches!(state.status[frame], Status::Run | Status::Wait);
    if !there
        || config.is_hop(frame)
        || call >= FRAMES
        || usize::from(state.caller[call]) >= FRAMES && !config.is_single(call)
        || has(state.attached[call], frame)
        || config.broken(Fault::NoAttach)
    {
        return None;
    }
    let mut next = *state;
    next.attached[call] |= bit(frame);
    if config.broken(Fault::OnceForked) && next.attached[call].count_ones() > 1 {
        next.ghosts |= bit(call);
    }
    note_moved(config, &mut next, call);
    if state.status[frame] == Status::Wait && !config.broken(Fault::NoCheckOnAttach) {
        next.pending |= bit(frame);
    }
    Some(next)
}

/// The caller's node learns that a frame descends from the call no more.
pub fn detaches(config: &Config, state: &State, frame: usize) -> Option<State> {
    let left =
        |&call: &usize| has(state.attached[call], frame) && usize::from(state.claim[frame]) != call;
    (0..FRAMES).find(left).map(|call| {
        let mut next = *state;
        detach(config, &mut next, frame, call);
        next
    })
}

/// A node crashes, and starts again with nothing.
pub fn crash(config: &Config, state: &State, node: u8, out: Out<'_>) {
    let here = config.at(node);
    let mut next = *state;
    for detector in 0..config.detectors {
        let det = &mut next.detectors[detector];
        det.helped |= det.found & here != 0;
        if has(here, det.root.into()) && det.phase != Phase::Verdict {
            end_check(&mut next, detector);
        }
    }
    for frame in members(here) {
        for call in members(next.calls(frame)) {
            abandon(config, &mut next, call);
        }
        let served = config.frames[frame].role == Role::Served;
        match next.status[frame] {
            Status::Sent | Status::Run | Status::Wait if served => end(config, &mut next, frame),
            Status::Wait => wake(config, &mut next, frame),
            _ => {}
        }
        next.hold[frame] = 0;
        next.want[frame] = 0;
    }
    out.push((step(usize::from(node), Act::Crash, NOTHING), next));
}

/// The judge takes note that a verdict was delivered; where everybody must choose the same victim, it
/// excuses no second one.
pub fn help_others(config: &Config, state: &mut State, detector: usize, victim: usize) {
    if config.victims == Victims::Any {
        for (other, det) in state.detectors.iter_mut().enumerate() {
            det.helped |= other != detector && has(det.found, victim);
        }
    }
}
