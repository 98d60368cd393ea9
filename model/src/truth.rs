//! Who truly is deadlocked, and who seems so from what the detector has read.
//!
//! Both are a greatest fixpoint: begin with all who wait, and take out whoever can go on if all
//! outside go on, until nobody is left to take out.

use crate::config::{Config, Fault};
use crate::state::{Set, State, Status, has, members};

/// Which edges count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edges {
    /// Only those to holders.
    Hard,
    /// Also those to waiters ahead in the queue.
    All,
}

/// The frames of `candidates` that remain when those which `blocked` lets go on are taken out.
fn fixpoint(mut candidates: Set, blocked: impl Fn(usize, Set) -> bool) -> Set {
    loop {
        let rest = members(candidates)
            .filter(|&frame| blocked(frame, candidates))
            .fold(0, |set, frame| set | 1 << frame);
        if rest == candidates {
            return rest;
        }
        candidates = rest;
    }
}

/// The frames that are deadlocked in this state. Deadlines do not count: a wait that will time out
/// is deadlocked until it does.
pub fn deadlocked(config: &Config, state: &State, edges: Edges) -> Set {
    let waiting = members(config.everyone())
        .filter(|&frame| match state.status[frame] {
            Status::Wait => !has(state.external, frame),
            Status::Block => true,
            _ => false,
        })
        .fold(0, |set, frame| set | 1 << frame);
    fixpoint(waiting, |frame, among| {
        let blocked = |resource| truly_blocked(config, state, frame, resource, among, edges);
        if state.status[frame] == Status::Block {
            return blocked(usize::from(state.at[frame]));
        }
        (0..config.resources.len())
            .filter(|&resource| state.cell[frame][resource].want() > 0)
            .all(blocked)
    })
}

fn truly_blocked(
    config: &Config,
    state: &State,
    frame: usize,
    resource: usize,
    among: Set,
    edges: Edges,
) -> bool {
    let kind = &config.resources[resource];
    if kind.is_call() {
        return has(among, usize::from(state.callee[frame]));
    }
    if !kind.is_lock() {
        let partners = state.partners[resource];
        return partners != 0 && partners & !among == 0;
    }
    let stuck: u8 = members(among)
        .map(|holder| state.cell[holder][resource].hold())
        .sum();
    let want = state.cell[frame][resource].want();
    // Who stands before with no bigger wish is no obstacle of its own: it waits for the same
    // holders, and when it is granted what it waits for it becomes a holder.
    let in_the_way = |other: usize| state.cell[other][resource].want() > want;
    kind.capacity < stuck + want
        || kind.fifo
            && edges == Edges::All
            && members(state.queue[resource].before(frame) & among).any(in_the_way)
}

/// What the detector makes of its records: which of `candidates` are deadlocked.
pub fn reduce(config: &Config, state: &State, candidates: Set, edges: Edges) -> Set {
    fixpoint(candidates, |frame, among| {
        let waits = || {
            (0..config.resources.len()).filter(|&resource| state.rec[frame][resource].want() > 0)
        };
        let seems = |resource| seems_blocked(config, state, frame, resource, among, edges);
        let own = |resource: usize| state.rec[frame][resource].held(frame) > 0;
        match config.fault {
            Some(Fault::OrAsAnd) => waits().any(seems),
            Some(Fault::SelfIsDeadlock) => waits().any(own) || waits().all(seems),
            _ => waits().all(seems),
        }
    })
}

/// Whether `frame` cannot get `resource` as long as none of `among` goes on, by its record.
pub fn seems_blocked(
    config: &Config,
    state: &State,
    frame: usize,
    resource: usize,
    among: Set,
    edges: Edges,
) -> bool {
    let kind = &config.resources[resource];
    let record = state.rec[frame][resource];
    if !kind.is_lock() {
        return record.holders() != 0 && record.holders() & !among == 0;
    }
    let stuck: u8 = members(among).map(|holder| record.held(holder)).sum();
    kind.capacity < stuck + record.want() || edges == Edges::All && record.ahead() & among != 0
}

/// The members of the deadlocked set from which one cannot leave to another part of it: its bottom
/// strongly connected components. Failing anyone above would be in vain.
pub fn bottom(config: &Config, state: &State, deadlocked: Set, edges: Edges) -> Set {
    let mut reach = [0; 8];
    for frame in members(deadlocked) {
        for resource in 0..config.resources.len() {
            let record = state.rec[frame][resource];
            let ahead = if edges == Edges::All {
                record.ahead()
            } else {
                0
            };
            reach[frame] |= (record.holders() | ahead) & deadlocked;
        }
    }
    for _ in 0..deadlocked.count_ones() {
        for frame in members(deadlocked) {
            reach[frame] = members(reach[frame]).fold(reach[frame], |set, next| set | reach[next]);
        }
    }
    members(deadlocked)
        .filter(|&frame| members(reach[frame]).all(|next| has(reach[next], frame)))
        .fold(0, |set, frame| set | 1 << frame)
}
