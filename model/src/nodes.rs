//! Frames on nodes, and calls between them: the rules of detection across processes.
//!
//! A second machine, coarser within a node than the first, which shows that a node reads its own frames
//! and locks rightly. Here a lock is taken, freed and timed out in one step, and what differs is what
//! only exists between nodes.
//!
//! # What is modelled
//!
//! **Frames** again have no programs. *Roots* (threads) and *tasks* are always there; *served* frames are
//! there while they are called. A caller waits for the frame that serves its call. A call is under way,
//! is served, ends, and its reply is under way: of the first and the last of these nobody knows.
//! The caller may give up at any time; the frame goes on, and another call is another call.
//!
//! **Locks** have a number of permits, of which a frame takes one. Whoever waits takes what is free, in
//! any order, as running ones do: every order of handing over is among these. A *pool* is a lock of which
//! each served frame at its node needs one permit from its beginning to its end, so a call that
//! has arrived may wait for a worker.
//!
//! **Hops** are programs without a detector. A hop makes one call at a time, waits for it or gives it up
//! (then the called learns, later, that its connection is closed), and hands on the annotation of the
//! call that it serves, whether it waits or not: it may have others make calls that it does not wait for
//! (a *fork*), and make calls with an annotation that is *stale*, after its reply. Some do one thing
//! at a time. Whoever was called with a hop's annotation *attaches* itself to the call that it names, at the
//! node of that call's caller, at any time.
//!
//! **Nodes** crash and start again with nothing; messages between detectors are lost.
//!
//! **Detectors**: one or two checks at a time, each made by the node of the frame that it begins with. Pass 1
//! asks for frames where they are. Pass 2 asks each node of those found to read their edges again and
//! then their epochs, in one message. To read the edges of a frame is a step, and to read the epochs of a
//! node; where it says so, all that a node reads for one message is one step. Nodes are read in any
//! order. The verdict arrives at any later time, and is accepted if the wait is the same.
//!
//! # The rules for hops
//!
//! - A call to a hop waits for its child: the one frame that is attached to it. If there are several, the
//!   hop need not wait for any of them.
//! - A frame is a child until it ends, or its connection does. Pass 1 asks it, and so does pass 2.
//! - In pass 2 the children must not have changed since pass 1, not even there and back.
//! - Pass 2 begins after a pause in which what was under way at the end of pass 1 arrives.
//! - A call without a child to a hop that does one thing at a time waits for the child of another call
//!   there, unless that one was answered; it may have been given up. Such a call can be failed.
//! - A check is due for each wait for a lock or a worker that begins; for a frame that has attached itself,
//!   if it waits; for the caller when one child is left; and for a call to a hop that does one thing at a time.
//!   Where there are such hops, the waits of frames that descend from a hop's call are checked again now
//!   and then.
//!
//! # What is checked
//!
//! As for one process: **sound**, **complete**, **the rest can finish**. Messages that are under way
//! arrive before a miss is one, and frames attach themselves. Not counted as a miss: a deadlock with a call
//! to a hop from which several frames descend. Where forks are *forgiven*, a phantom does not count if
//! it rests on a single child for which its hop does not wait, and no other child has been attached between the
//! two readings of that call: nothing on the wire could have shown it.
//!
//! # What is left out
//!
//! - What one process needs alone: queues in which somebody may be let past, weights, several readers,
//!   the steps inside of taking a lock.
//! - Time. That hops are looked at twice with a pause between (250 ms) stands here as: what was under
//!   way at the end of pass 1 has arrived when pass 2 begins.
//! - Frames of a slot are told apart by what they are, not by a number: while a check knows of an
//!   ended one that waited, it does not come to know of the next one that has its place.

use crate::config::Expect;
use crate::explore::{Kind, Machine, Outcome};

pub mod config;
pub mod configs;
pub mod detector;
pub mod frames;
pub mod state;
pub mod step;
pub mod symmetry;
pub mod truth;

use config::{Config, Role};
use state::{NOBODY, Phase, State, Status, bit, members};
use step::{Act, Step};
use symmetry::Symmetry;
use truth::{deadlocked, is_given_up};

impl Machine for Config {
    type State = State;
    type Step = Step;
    type Symmetry = Symmetry;

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn expect(&self) -> Expect {
        self.expect
    }

    fn large(&self) -> bool {
        self.large
    }

    fn bound(&self) -> u64 {
        self.bound
    }

    fn start(&self) -> State {
        let mut start = State::EMPTY;
        for (frame, kind) in self.frames.iter().enumerate() {
            if matches!(kind.role, Role::Root | Role::Task) {
                start.status[frame] = Status::Run;
            }
        }
        start
    }

    fn successors(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.phantom {
            return;
        }
        for frame in 0..self.frames.len() {
            frames::steps(self, state, frame, out);
        }
        for node in members(self.crashes) {
            frames::crash(self, state, node as u8, out);
        }
        for detector in 0..self.detectors {
            detector::steps(self, state, detector, out);
        }
        if self.judged_by_ever() {
            for (_, next) in out {
                if next.detectors.iter().any(|det| det.phase != Phase::Idle) {
                    let stuck = deadlocked(self, next);
                    for det in &mut next.detectors {
                        if det.phase != Phase::Idle {
                            det.ever |= stuck;
                        }
                    }
                }
            }
        }
    }

    fn symmetry(&self) -> Symmetry {
        Symmetry::of(self)
    }

    fn canonical(symmetry: &Symmetry, state: &State) -> (u64, State) {
        symmetry.canonical(state)
    }

    fn fingerprint(state: &State) -> u64 {
        state.fingerprint()
    }

    fn wrong(&self, state: &State) -> Option<Outcome> {
        if state.phantom {
            return Some(Outcome::Phantom);
        }
        (self.expect != Expect::Phantom && is_missed(self, state)).then_some(Outcome::Miss)
    }

    fn kind(&self, step: &Step, before: &State, after: &State) -> Kind {
        let given_up = (0..self.detectors).any(|detector| {
            matches!(
                before.detectors[detector].phase,
                Phase::Between | Phase::Again
            ) && after.detectors[detector].phase == Phase::Idle
        });
        match step.act {
            Act::Fail => Kind::Failed,
            _ if given_up => Kind::PutOff,
            _ => Kind::Other,
        }
    }

    fn tell(&self, step: &Step, after: &State) -> String {
        format!(
            "{:60} {}",
            step.tell(self, after),
            step::summary(self, after)
        )
    }

    fn stuck(&self, state: &State) -> String {
        step::names(self, deadlocked(self, state))
    }
}

/// Whether a deadlock stays although everything that is due is done: messages arrive, frames attach
/// themselves, frames stand still, and the detectors make all the checks that are due.
fn is_missed(config: &Config, state: &State) -> bool {
    let idle = |state: &State| state.detectors.iter().all(|det| det.phase == Phase::Idle);
    if !idle(state) || deadlocked(config, state) == 0 {
        return false;
    }
    let mut state = settle(config, *state);
    if config.repeats {
        state.pending |= members((1 << config.frames.len()) - 1)
            .filter(|&frame| state.status[frame] == Status::Wait && !config.is_hop(frame))
            .filter(|&frame| state.claim[frame] != NOBODY)
            .fold(0, |set, frame| set | bit(frame));
    }
    let mut out = Vec::new();
    for _ in 0..1000 {
        if idle(&state) && state.pending == 0 {
            let stuck = deadlocked(config, &state);
            return stuck != 0 && !is_given_up(config, &state, stuck);
        }
        out.clear();
        // The first is never that a message is lost.
        detector::steps(config, &state, 0, &mut out);
        match out.first() {
            Some(&(_, next)) if !next.phantom => state = settle(config, next),
            _ => return false,
        }
    }
    true
}

/// All messages between frames arrive, and frames attach themselves.
fn settle(config: &Config, mut state: State) -> State {
    let mut out = Vec::new();
    loop {
        out.clear();
        for frame in 0..config.frames.len() {
            match state.status[frame] {
                Status::Sent => frames::steps(config, &state, frame, &mut out),
                Status::Replied => {
                    let next = frames::deliver(config, &state, frame);
                    out.push((
                        Step {
                            frame,
                            act: Act::Deliver,
                            other: 0,
                        },
                        next,
                    ));
                }
                _ => {}
            }
            for next in [
                frames::connection_ends(config, &state, frame),
                frames::attaches(config, &state, frame),
                frames::detaches(config, &state, frame),
            ] {
                out.extend(next.map(|next| {
                    (
                        Step {
                            frame,
                            act: Act::Attach,
                            other: 0,
                        },
                        next,
                    )
                }));
            }
        }
        match out.first() {
            Some(&(_, next)) => state = next,
            None => return state,
        }
    }
}
