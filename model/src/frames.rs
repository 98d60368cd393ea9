//! What frames do. A running frame does anything that its kind allows, at any time, for ever: the
//! model has no programs, and so covers all.

use crate::config::{Config, Fault, Second};
use crate::state::{NOBODY, Phase, Set, State, Status, bit, has, members};
use crate::step::{Act, NOTHING, Step};

/// Where the steps go.
pub type Out<'a> = &'a mut Vec<(Step, State)>;

/// How much of a resource is free.
pub fn free(config: &Config, state: &State, resource: usize) -> u8 {
    let held: u8 = (0..config.frames)
        .map(|frame| state.cell[frame][resource].hold())
        .sum();
    config.resources[resource].capacity.saturating_sub(held)
}

/// Whether the detector sees this frame waiting.
pub fn seems_waiting(state: &State, frame: usize) -> bool {
    use Status::{Block, GrantedUnseen, RunUnseen, Took, Wait, WokenUnseen};
    match state.status[frame] {
        Wait => !has(state.external, frame),
        Block | Took | GrantedUnseen | WokenUnseen | RunUnseen => true,
        _ => false,
    }
}

/// Whether somebody has the lock of this resource's queue in hand between two steps.
fn queue_locked(config: &Config, state: &State, resource: usize) -> bool {
    (0..config.frames).any(|frame| {
        state.status[frame] == Status::Granting && usize::from(state.at[frame]) == resource
    })
}

/// The epoch of this frame changes.
fn bump(config: &Config, state: &mut State, frame: usize) {
    let strict = config.second == Second::EdgesThenEpochs;
    let det = &mut state.det;
    match det.phase {
        Phase::Idle | Phase::Doomed | Phase::Phantom => {}
        Phase::Frames | Phase::Edges => det.changed |= det.seen & bit(frame),
        // The check will read this epoch yet and reject: nothing else of it matters any more.
        Phase::Again if strict && has(det.found, frame) => state.doom(),
        Phase::Epochs if has(det.todo, frame) => state.doom(),
        _ => det.changed |= det.found & bit(frame),
    }
}

/// The frame waits no more, and its epoch says so.
pub fn end_wait(config: &Config, state: &mut State, frame: usize) {
    bump(config, state, frame);
    state.det.pending &= !bit(frame);
    state.status[frame] = Status::Run;
    state.at[frame] = 0;
}

/// As [`end_wait`], for a wait that ends by the waiter itself.
fn end_own_wait(config: &Config, state: &mut State, frame: usize, resource: usize) {
    if config.broken(Fault::SilentEnd) {
        state.status[frame] = Status::RunUnseen;
        state.at[frame] = resource as u8;
        state.det.pending &= !bit(frame);
    } else {
        end_wait(config, state, frame);
    }
}

/// The waiter no longer stands in the queue, and wants nothing of the resource.
pub fn forget(state: &mut State, frame: usize, resource: usize) {
    state.cell[frame][resource].set_want(0);
    state.queue[resource].remove(frame);
}

fn write_owner(config: &Config, state: &mut State, frame: usize, resource: usize) {
    let cell = &mut state.cell[frame][resource];
    // With the fault, the frame may have released it long ago.
    let amount = if config.broken(Fault::LateOwner) {
        1
    } else {
        cell.hold()
    };
    cell.set_shown(amount);
    match state.status[frame] {
        Status::Granted => {
            state.status[frame] = Status::Run;
            state.at[frame] = 0;
        }
        Status::Block
            if !config.broken(Fault::NoCheckOnGrant)
                && !config.broken(Fault::EarlyCheckOnGrant) =>
        {
            state.det.pending |= bit(frame);
        }
        _ => {}
    }
}

/// Gives a waiter what it waits for. `at_once`: its owner word too, in the same step.
fn grant(config: &Config, state: &mut State, frame: usize, resource: usize, at_once: bool) {
    let want = state.cell[frame][resource].want();
    let hold = state.cell[frame][resource].hold();
    state.cell[frame][resource].set_hold(hold + want);
    let waits_for_it = match state.status[frame] {
        Status::Wait => true,
        Status::Block => usize::from(state.at[frame]) == resource,
        _ => false,
    };
    if waits_for_it && config.broken(Fault::SilentGrant) {
        state.queue[resource].remove(frame);
        state.status[frame] = Status::GrantedUnseen;
        state.at[frame] = resource as u8;
        state.det.pending &= !bit(frame);
    } else {
        forget(state, frame, resource);
        if waits_for_it {
            end_wait(config, state, frame);
            if !at_once && !config.broken(Fault::LateOwner) {
                state.status[frame] = Status::Granted;
            }
        } else if state.status[frame] == Status::Block {
            bump(config, state, frame);
            if config.broken(Fault::EarlyCheckOnGrant) {
                state.det.pending |= bit(frame);
            }
        }
    }
    if at_once {
        write_owner(config, state, frame, resource);
    } else {
        state.partners[resource] |= bit(frame);
    }
}

/// Grants to the first in the queue as long as there is enough. Whether it granted anything.
pub fn advance(config: &Config, state: &mut State, resource: usize, at_once: bool) -> bool {
    let mut granted = false;
    if config.resources[resource].fifo && config.resources[resource].is_lock() {
        while let Some(first) = state.queue[resource].first() {
            if free(config, state, resource) < state.cell[first][resource].want() {
                break;
            }
            grant(config, state, first, resource, at_once);
            granted = true;
        }
    }
    granted
}

/// As [`advance`], by a running frame, which then has the new owners to write down.
fn advance_by(config: &Config, state: &mut State, frame: usize, resource: usize) {
    if advance(config, state, resource, !config.fine()) && config.fine() {
        state.status[frame] = Status::Granting;
        state.at[frame] = resource as u8;
    }
}

/// A wait that the detector ends: everything in one step, under the lock of the queue.
pub fn leave_queue(config: &Config, state: &mut State, frame: usize, resource: usize) {
    forget(state, frame, resource);
    end_wait(config, state, frame);
    advance(config, state, resource, true);
}

/// Lets a waiter past those before it: in front of the queue, and in if there is room.
pub fn admit(config: &Config, state: &mut State, frame: usize, resource: usize) {
    state.queue[resource].remove(frame);
    state.queue[resource].push_first(frame);
    advance(config, state, resource, true);
}

/// Whether the detector can get the lock of this resource's queue now.
pub fn queue_free(config: &Config, state: &State, resource: usize) -> bool {
    !queue_locked(config, state, resource)
}

/// All steps that `frame` may make.
pub fn steps(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let at = usize::from(state.at[frame]);
    match state.status[frame] {
        Status::Run | Status::RunUnseen => running(config, state, frame, out),
        Status::Wait if has(config.tasks, frame) => sleeping(config, state, frame, out),
        Status::Wait => {
            for resource in 0..config.resources.len() {
                if state.cell[frame][resource].want() > 0 {
                    blocked(config, state, frame, resource, out);
                }
            }
        }
        Status::Block => blocked(config, state, frame, at, out),
        Status::Took => {
            let mut next = *state;
            next.cell[frame][at].set_want(0);
            end_wait(config, &mut next, frame);
            next.status[frame] = Status::Storing;
            next.at[frame] = at as u8;
            out.push((step(frame, Act::EndWait, at), next));
        }
        Status::Storing => {
            let mut next = *state;
            let hold = next.cell[frame][at].hold();
            next.cell[frame][at].set_shown(hold);
            next.status[frame] = Status::Run;
            next.at[frame] = 0;
            out.push((step(frame, Act::WriteSelf, at), next));
        }
        Status::Freeing => freeing(config, state, frame, at, out),
        Status::Granting => {
            let mut next = *state;
            next.status[frame] = Status::Run;
            next.at[frame] = 0;
            for owed in members(next.partners[at]) {
                write_owner(config, &mut next, owed, at);
            }
            next.partners[at] = 0;
            out.push((step(frame, Act::WriteOwners, at), next));
        }
        Status::GrantedUnseen => {
            let owed = has(state.partners[at], frame);
            if !owed {
                let mut next = *state;
                next.cell[frame][at].set_want(0);
                end_wait(config, &mut next, frame);
                out.push((step(frame, Act::Notice, at), next));
            }
        }
        Status::WokenUnseen => {
            let mut next = *state;
            end_wait(config, &mut next, frame);
            out.push((step(frame, Act::Notice, at), next));
        }
        Status::Granted | Status::Unborn => {}
    }
}

fn step(frame: usize, act: Act, resource: usize) -> Step {
    Step {
        frame,
        act,
        resource,
        other: 0,
    }
}

fn running(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let task = has(config.tasks, frame);
    let waits = state.cell[frame]
        .iter()
        .filter(|cell| cell.want() > 0)
        .count();
    for resource in 0..config.resources.len() {
        if config.resources[resource].is_call() {
            call(config, state, frame, resource, out);
        } else if !config.resources[resource].is_lock() {
            event(config, state, frame, resource, waits, out);
        } else {
            lock(config, state, frame, resource, waits, out);
        }
    }
    if task {
        let unwritten = state.cell[frame]
            .iter()
            .any(|cell| cell.hold() != cell.shown());
        if waits > 0 && !unwritten {
            let mut next = *state;
            next.status[frame] = Status::Wait;
            next.det.pending |= bit(frame);
            out.push((step(frame, Act::Sleep, NOTHING), next));
        }
        if config.timers {
            let mut next = *state;
            next.external ^= bit(frame);
            let act = if has(state.external, frame) {
                Act::Disarm
            } else {
                Act::Arm
            };
            out.push((step(frame, act, NOTHING), next));
        }
    }
}

fn lock(config: &Config, state: &State, frame: usize, resource: usize, waits: usize, out: Out<'_>) {
    let kind = &config.resources[resource];
    let cell = state.cell[frame][resource];
    let task = has(config.tasks, frame);
    let room = free(config, state, resource);
    let queue_locked = queue_locked(config, state, resource);
    if cell.want() > 0 {
        if !queue_locked {
            let mut next = *state;
            forget(&mut next, frame, resource);
            advance_by(config, &mut next, frame, resource);
            out.push((step(frame, Act::Cancel, resource), next));
        }
        if !kind.fifo && room >= cell.want() {
            take(config, state, frame, resource, cell.want(), out);
        }
    } else {
        for &wish in kind.wishes {
            let sibling = task && config.siblings && kind.capacity == 1;
            let total = cell.hold() + wish;
            // A reader asks for writing: for all permits, though it holds one.
            let upgrade = kind.letter == 'R' && kind.more && cell.hold() == 1 && wish > 1;
            let more = kind.letter != 'R' && kind.more && total <= kind.capacity;
            if cell.hold() > 0 && !(sibling || upgrade || more) {
                continue;
            }
            let passes = kind.passing && !task && room == kind.capacity;
            let first = !kind.fifo || state.queue[resource].first().is_none();
            if room >= wish && (first || passes) {
                take(config, state, frame, resource, wish, out);
            } else if !queue_locked {
                let mut next = *state;
                next.cell[frame][resource].set_want(wish);
                if kind.fifo {
                    next.queue[resource].push(frame);
                }
                let asked = Step {
                    other: usize::from(wish),
                    ..step(frame, Act::Ask, resource)
                };
                if task {
                    if waits < config.branches {
                        out.push((asked, next));
                    }
                    if config.block_in_poll && cell.hold() == 0 {
                        begin_wait(&mut next, frame, Status::Block, resource);
                        out.push((
                            Step {
                                act: Act::Block,
                                ..asked
                            },
                            next,
                        ));
                    }
                } else {
                    begin_wait(&mut next, frame, Status::Wait, 0);
                    out.push((asked, next));
                }
            }
        }
    }
    let writable = cell.shown() == cell.hold()
        || config.broken(Fault::MovedGuard)
        || config.broken(Fault::LateOwner);
    if cell.hold() > 0 && writable {
        let mut next = *state;
        if config.broken(Fault::MovedGuard) {
            for other in 0..config.frames {
                next.cell[other][resource].set_shown(0);
            }
        }
        next.cell[frame][resource].set_shown(0);
        if config.fine() {
            next.status[frame] = Status::Freeing;
            next.at[frame] = resource as u8;
            out.push((step(frame, Act::Release, resource), next));
        } else {
            freeing_as(config, &next, frame, resource, Act::Release, out);
        }
        if config.broken(Fault::MovedGuard) {
            for other in 0..config.frames {
                let holds = state.cell[other][resource].hold() > 0;
                if other != frame && state.status[other] == Status::Run && !holds {
                    let mut next = *state;
                    next.cell[frame][resource].set_hold(0);
                    next.cell[other][resource].set_hold(cell.hold());
                    let moved = Step {
                        other,
                        ..step(frame, Act::Move, resource)
                    };
                    out.push((moved, next));
                }
            }
        }
    }
}

fn begin_wait(state: &mut State, frame: usize, status: Status, at: usize) {
    state.status[frame] = status;
    state.at[frame] = at as u8;
    state.det.pending |= bit(frame);
}

fn take(config: &Config, state: &State, frame: usize, resource: usize, amount: u8, out: Out<'_>) {
    let mut next = *state;
    let hold = next.cell[frame][resource].hold();
    next.cell[frame][resource].set_hold(hold + amount);
    next.cell[frame][resource].set_want(0);
    if config.fine() {
        next.status[frame] = Status::Storing;
        next.at[frame] = resource as u8;
    } else {
        next.cell[frame][resource].set_shown(hold + amount);
    }
    let taken = Step {
        other: usize::from(amount),
        ..step(frame, Act::Take, resource)
    };
    out.push((taken, next));
}

fn freeing(config: &Config, state: &State, frame: usize, resource: usize, out: Out<'_>) {
    let fifo = config.resources[resource].fifo;
    if !(fifo || config.hand_over) || !queue_locked(config, state, resource) {
        freeing_as(config, state, frame, resource, Act::Free, out);
    }
}

fn freeing_as(
    config: &Config,
    state: &State,
    frame: usize,
    resource: usize,
    act: Act,
    out: Out<'_>,
) {
    let mut next = *state;
    next.cell[frame][resource].set_hold(0);
    if next.status[frame] == Status::Freeing {
        next.status[frame] = Status::Run;
        next.at[frame] = 0;
    }
    let freed = next;
    advance_by(config, &mut next, frame, resource);
    out.push((step(frame, act, resource), next));
    if config.resources[resource].passing
        && let Some(head) = freed.queue[resource].first()
        && free(config, &freed, resource) == config.resources[resource].capacity
        && !has(config.tasks, head)
    {
        let mut next = freed;
        forget(&mut next, head, resource);
        end_wait(config, &mut next, head);
        let woken = Step {
            other: head,
            ..step(frame, Act::WakeFirst, resource)
        };
        out.push((woken, next));
    }
    if config.hand_over && !config.resources[resource].fifo {
        for other in 0..config.frames {
            let want = freed.cell[other][resource].want();
            let waits = matches!(freed.status[other], Status::Wait | Status::Block);
            if waits && want > 0 && want <= free(config, &freed, resource) {
                let mut next = freed;
                grant(config, &mut next, other, resource, !config.fine());
                if config.fine() {
                    next.status[frame] = Status::Granting;
                    next.at[frame] = resource as u8;
                }
                let given = Step {
                    other,
                    ..step(frame, Act::HandOver, resource)
                };
                out.push((given, next));
            }
        }
    }
}

/// A thread (or a task that blocks its thread) waits for `resource`.
fn blocked(config: &Config, state: &State, frame: usize, resource: usize, out: Out<'_>) {
    let kind = &config.resources[resource];
    let want = state.cell[frame][resource].want();
    if config.timeouts && !kind.is_call() && !queue_locked(config, state, resource) {
        let mut next = *state;
        help(&mut next, frame);
        forget(&mut next, frame, resource);
        end_own_wait(config, &mut next, frame, resource);
        advance_by(config, &mut next, frame, resource);
        out.push((step(frame, Act::TimeOut, resource), next));
    }
    if kind.is_lock() && !kind.fifo && free(config, state, resource) >= want {
        let mut next = *state;
        let hold = next.cell[frame][resource].hold();
        next.cell[frame][resource].set_hold(hold + want);
        if config.fine() {
            next.status[frame] = Status::Took;
            next.at[frame] = resource as u8;
        } else {
            next.cell[frame][resource].set_shown(hold + want);
            next.cell[frame][resource].set_want(0);
            end_own_wait(config, &mut next, frame, resource);
        }
        let taken = Step {
            other: usize::from(want),
            ..step(frame, Act::Take, resource)
        };
        out.push((taken, next));
    }
}

/// A task sleeps between two polls.
fn sleeping(config: &Config, state: &State, frame: usize, out: Out<'_>) {
    let free = |resource: usize| {
        let want = state.cell[frame][resource].want();
        let kind = &config.resources[resource];
        !kind.fifo && want > 0 && free(config, state, resource) >= want
    };
    if (0..config.resources.len()).any(free) {
        let mut next = *state;
        end_wait(config, &mut next, frame);
        out.push((step(frame, Act::Wake, NOTHING), next));
    }
    if has(state.external, frame) {
        let mut next = *state;
        next.external &= !bit(frame);
        if config.broken(Fault::SilentWake) {
            next.status[frame] = Status::WokenUnseen;
        } else {
            end_wait(config, &mut next, frame);
        }
        out.push((step(frame, Act::Fire, NOTHING), next));
        if config.dropped_timers {
            let mut next = *state;
            next.external &= !bit(frame);
            if !config.broken(Fault::NoCheckOnDrop) {
                next.det.pending |= bit(frame);
            }
            out.push((step(frame, Act::Drop, NOTHING), next));
        }
    }
}

fn event(
    config: &Config,
    state: &State,
    frame: usize,
    resource: usize,
    waits: usize,
    out: Out<'_>,
) {
    let partners = state.partners[resource];
    let mut next = *state;
    next.partners[resource] ^= bit(frame);
    for reader in 0..config.frames {
        if next.rec[reader][resource].want() > 0 {
            next.rec[reader][resource].note_moved();
        }
    }
    if next.det.found != 0 {
        next.det.helped = true;
    }
    let waiting = members(config.everyone())
        .filter(|&waiter| state.cell[waiter][resource].want() > 0)
        .fold(0, |set: Set, waiter| set | bit(waiter));
    if has(partners, frame) {
        if !config.broken(Fault::NoCheckOnLeave) {
            next.det.pending |= members(waiting)
                .filter(|&waiter| state.status[waiter] == Status::Wait)
                .fold(0, |set, waiter| set | bit(waiter));
        }
        out.push((step(frame, Act::Leave, resource), next));
        if waiting != 0 {
            let mut next = *state;
            for waiter in members(waiting) {
                next.cell[waiter][resource].set_want(0);
                if next.status[waiter] == Status::Wait {
                    end_wait(config, &mut next, waiter);
                }
            }
            out.push((step(frame, Act::Notify, resource), next));
        }
    } else {
        out.push((step(frame, Act::Join, resource), next));
    }
    if state.cell[frame][resource].want() == 0 && waits < config.branches {
        let mut next = *state;
        next.cell[frame][resource].set_want(1);
        if !has(config.tasks, frame) {
            begin_wait(&mut next, frame, Status::Wait, 0);
        }
        let asked = Step {
            other: 1,
            ..step(frame, Act::Ask, resource)
        };
        out.push((asked, next));
    } else if state.cell[frame][resource].want() > 0 {
        let mut next = *state;
        next.cell[frame][resource].set_want(0);
        out.push((step(frame, Act::Cancel, resource), next));
    }
}

/// Calls are made on the caller's thread, which goes on when they return. There is nothing to check
/// when one begins: whoever is called runs.
fn call(config: &Config, state: &State, frame: usize, resource: usize, out: Out<'_>) {
    let caller = (0..config.frames).find(|&f| usize::from(state.callee[f]) == frame);
    let idle = state.cell[frame].iter().all(|cell| cell.bits() == 0);
    if let Some(caller) = caller
        && idle
        && !has(state.external, frame)
    {
        let mut next = *state;
        next.status[frame] = Status::Unborn;
        next.callee[caller] = NOBODY;
        next.cell[caller][resource].set_want(0);
        end_wait(config, &mut next, caller);
        out.push((step(frame, Act::Return, resource), next));
    }
    if has(config.tasks, frame) {
        return;
    }
    for other in 0..config.frames {
        if state.status[other] == Status::Unborn {
            let mut next = *state;
            next.status[other] = Status::Run;
            next.status[frame] = Status::Wait;
            next.callee[frame] = other as u8;
            next.cell[frame][resource].set_want(1);
            let called = Step {
                other,
                ..step(frame, Act::Call, resource)
            };
            out.push((called, next));
        }
    }
}

/// The judge notes that one of those found has been helped by something other than the detector.
fn help(state: &mut State, frame: usize) {
    if has(state.det.found, frame) {
        state.det.helped = true;
    }
}
