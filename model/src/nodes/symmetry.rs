//! Of all states that differ only in the names of like frames, locks, nodes and detectors, one is
//! explored.

use super::config::{Config, Victims};
use super::state::{DETECTORS, Detector, FRAMES, LOCKS, Record, Set, State, members};

/// The renamings that leave a configuration as it is.
#[derive(Debug)]
pub struct Symmetry(Vec<Renaming>);

/// Where each frame, lock and detector goes.
#[derive(Debug)]
struct Renaming {
    frames: [u8; FRAMES],
    locks: [u8; LOCKS],
    swap: bool,
    frame_sets: [Set; 1 << FRAMES],
    lock_sets: [Set; 1 << LOCKS],
}

impl Symmetry {
    /// Finds them.
    pub fn of(config: &Config) -> Self {
        let mut all = Vec::new();
        let like = config.victims == Victims::Any;
        for frames in permutations::<FRAMES>(config.frames.len()).filter(|_| like) {
            for locks in permutations::<LOCKS>(config.locks.len()) {
                if keeps(config, &frames, &locks) {
                    for swap in [false, true] {
                        if !swap || config.detectors > 1 {
                            all.push(Renaming::new(frames, locks, swap));
                        }
                    }
                }
            }
        }
        Self(all)
    }

    /// The representative of all states that are `state` but for names, and its fingerprint.
    pub fn canonical(&self, state: &State) -> (u64, State) {
        let renamed = self.0.iter().map(|renaming| {
            let renamed = renaming.apply(state);
            (renamed.fingerprint(), renamed)
        });
        let least = renamed.min_by_key(|(fingerprint, _)| *fingerprint);
        least.unwrap_or_else(|| (state.fingerprint(), *state))
    }
}

/// Whether a renaming leaves a configuration as it is. Nodes go where their frames go.
fn keeps(config: &Config, frames: &[u8; FRAMES], locks: &[u8; LOCKS]) -> bool {
    let mut nodes = [None; 8];
    let mut goes = |node: u8, to: u8| *nodes[usize::from(node)].get_or_insert(to) == to;
    let like_frames = config.frames.iter().enumerate().all(|(index, frame)| {
        let to = &config.frames[usize::from(frames[index])];
        let rename = |set| members(set).fold(0, |new: Set, one| new | 1 << frames[one]);
        frame.role == to.role
            && goes(frame.node, to.node)
            && rename(config.may_call[index]) == config.may_call[usize::from(frames[index])]
    });
    let like_locks = config.locks.iter().enumerate().all(|(index, lock)| {
        let to = &config.locks[usize::from(locks[index])];
        (lock.capacity, lock.pool) == (to.capacity, to.pool) && goes(lock.node, to.node)
    });
    let like_nodes = |set: Set| {
        let moved = |&(node, to): &(usize, Option<u8>)| {
            to.is_some_and(|to| set >> node & 1 != set >> to & 1)
        };
        !nodes.iter().copied().enumerate().any(|pair| moved(&pair))
    };
    like_frames && like_locks && like_nodes(config.crashes) && like_nodes(config.single)
}

fn rename_sets<const N: usize, const SETS: usize>(to: &[u8; N]) -> [Set; SETS] {
    std::array::from_fn(|set| members(set as Set).fold(0, |new, one| new | 1 << to[one]))
}

impl Renaming {
    fn new(frames: [u8; FRAMES], locks: [u8; LOCKS], swap: bool) -> Self {
        Self {
            frames,
            locks,
            swap,
            frame_sets: rename_sets(&frames),
            lock_sets: rename_sets(&locks),
        }
    }

    fn set(&self, set: Set) -> Set {
        self.frame_sets[usize::from(set)]
    }

    fn locks(&self, set: Set) -> Set {
        self.lock_sets[usize::from(set)]
    }

    fn one(&self, frame: u8) -> u8 {
        // Nobody, and what is like it, keep their names.
        self.frames
            .get(usize::from(frame))
            .copied()
            .unwrap_or(frame)
    }

    fn apply(&self, state: &State) -> State {
        let mut new = State {
            ends: self.set(state.ends),
            ghosts: self.set(state.ghosts),
            pending: self.set(state.pending),
            phantom: state.phantom,
            ..State::EMPTY
        };
        for frame in 0..FRAMES {
            let to = usize::from(self.frames[frame]);
            new.status[to] = state.status[frame];
            new.hold[to] = self.locks(state.hold[frame]);
            new.want[to] = self.locks(state.want[frame]);
            new.caller[to] = self.one(state.caller[frame]);
            new.claim[to] = self.one(state.claim[frame]);
            new.attached[to] = self.set(state.attached[frame]);
        }
        for detector in 0..DETECTORS {
            let to = detector ^ usize::from(self.swap);
            new.detectors[to] = self.detector(&state.detectors[detector]);
        }
        new
    }

    fn detector(&self, det: &Detector) -> Detector {
        let mut records = [Record::default(); FRAMES];
        for (frame, old) in det.records.iter().enumerate() {
            if *old != Record::default() {
                records[usize::from(self.frames[frame])] = self.record(*old);
            }
        }
        Detector {
            phase: det.phase,
            root: self.one(det.root),
            todo: self.set(det.todo),
            seen: self.set(det.seen),
            asleep: self.set(det.asleep),
            changed: self.set(det.changed),
            found: self.set(det.found),
            unsure: self.set(det.unsure),
            late: self.set(det.late),
            late_ends: self.set(det.late_ends),
            ever: self.set(det.ever),
            wrong: det.wrong,
            helped: det.helped,
            forked: det.forked,
            records,
        }
    }

    fn record(&self, old: Record) -> Record {
        let mut record = Record::default();
        record.note_want(self.locks(old.want()));
        for lock in 0..LOCKS {
            record.note_holders(usize::from(self.locks[lock]), self.set(old.holders(lock)));
        }
        record.note_calls(self.set(old.calls()));
        record.note_children(self.set(old.children()));
        record.note_claim(self.one(old.claim()));
        if old.moved() {
            record.note_moved();
        }
        if old.over() {
            record.note_over();
        }
        record
    }
}

/// All orders of the first `count`; the others stay.
fn permutations<const N: usize>(count: usize) -> impl Iterator<Item = [u8; N]> {
    let all = (0..(count as u32).pow(count as u32)).map(move |mut code| {
        std::array::from_fn(|place| {
            if place >= count {
                return place as u8;
            }
            let digit = code % count as u32;
            code /= count as u32;
            digit as u8
        })
    });
    all.filter(|map: &[u8; N]| {
        map.iter().fold(0, |set: u8, &to| set | 1 << to) == ((1u16 << N) - 1) as u8
    })
}
