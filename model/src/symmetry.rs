//! Frames of one kind are alike, and so are resources: of all states that differ only in their
//! names, one is explored.

use crate::config::Config;
use crate::state::{Detector, FRAMES, NOBODY, Queue, RESOURCES, Record, Set, State, has, members};

/// The renamings that leave a configuration as it is.
#[derive(Debug)]
pub struct Symmetry {
    frames: Renamings<FRAMES, 16>,
    resources: Renamings<RESOURCES, 8>,
}

/// Where each of N goes, and where each set of them.
#[derive(Debug)]
struct Renaming<const N: usize, const SETS: usize> {
    to: [u8; N],
    set: [Set; SETS],
}

#[derive(Debug)]
struct Renamings<const N: usize, const SETS: usize> {
    /// Those that share this number are alike.
    kind: [u8; N],
    all: Vec<Renaming<N, SETS>>,
    /// The place in `all`, by `to` in two bits each.
    place: [u8; 256],
}

fn code<const N: usize>(to: &[u8; N]) -> usize {
    to.iter().fold(0, |code, &to| code << 2 | usize::from(to))
}

impl<const N: usize, const SETS: usize> Renamings<N, SETS> {
    fn of(kind: [u8; N]) -> Self {
        let mut place = [0; 256];
        let all: Vec<_> = permutations::<N>()
            .filter(|to| (0..N).all(|one| kind[usize::from(to[one])] == kind[one]))
            .enumerate()
            .map(|(index, to)| {
                place[code(&to)] = index as u8;
                let set = std::array::from_fn(|set| {
                    members(set as Set).fold(0, |new, one| new | 1 << to[one])
                });
                Renaming { to, set }
            })
            .collect();
        Self { kind, all, place }
    }

    /// Calls with every renaming that brings the marks, which do not depend on names, in order.
    fn in_order(&self, marks: &[u32; N], mut each: impl FnMut(&Renaming<N, SETS>)) {
        let mut to = [0; N];
        let mut tie = false;
        for one in 0..N {
            // The places of a kind may lie anywhere: the n-th of the kind goes to the n-th place.
            let mut smaller = 0;
            for other in 0..N {
                if other != one && self.kind[other] == self.kind[one] {
                    smaller += usize::from(marks[other] < marks[one]);
                    tie |= marks[other] == marks[one];
                }
            }
            let place = (0..N)
                .filter(|&other| self.kind[other] == self.kind[one])
                .nth(smaller);
            to[one] = place.unwrap_or(one) as u8;
        }
        if !tie {
            return each(&self.all[usize::from(self.place[code(&to)])]);
        }
        let ordered = |to: &[u8; N]| {
            (0..N).all(|a| {
                (0..N)
                    .all(|b| to[a] >= to[b] || marks[a] <= marks[b] || self.kind[a] != self.kind[b])
            })
        };
        self.all
            .iter()
            .filter(|renaming| ordered(&renaming.to))
            .for_each(each);
    }
}

impl Symmetry {
    /// Finds them.
    pub fn of(config: &Config) -> Self {
        let frame_kind = std::array::from_fn(|frame| match frame < config.frames {
            true => u8::from(has(config.tasks, frame)),
            false => 2 + frame as u8,
        });
        let resource_kind = std::array::from_fn(|resource| {
            let same = |other: &_| Some(other) == config.resources.get(resource);
            config.resources.iter().position(same).unwrap_or(resource) as u8
        });
        Self {
            frames: Renamings::of(frame_kind),
            resources: Renamings::of(resource_kind),
        }
    }

    /// The representative of all states that are `state` but for names, and its fingerprint.
    pub fn canonical(&self, state: &State) -> (u64, State) {
        let resource_marks: [u32; RESOURCES] =
            std::array::from_fn(|resource| resource_mark(state, resource));
        let sets = sets(state);
        let frame_marks: [u32; FRAMES] =
            std::array::from_fn(|frame| frame_mark(state, sets, frame, &resource_marks));
        let mut best = (u64::MAX, *state);
        self.frames.in_order(&frame_marks, |frames| {
            self.resources.in_order(&resource_marks, |resources| {
                let renamed = rename(state, frames, resources);
                let fingerprint = renamed.fingerprint();
                if fingerprint <= best.0 {
                    best = (fingerprint, renamed);
                }
            });
        });
        best
    }
}

fn mix(value: u32) -> u32 {
    let value = (value ^ value >> 15).wrapping_mul(0x2c1b_3c6d);
    (value ^ value >> 13).wrapping_mul(0x297a_2d39)
}

fn cell_mark(state: &State, frame: usize, resource: usize) -> u32 {
    u32::from(state.cell[frame][resource].bits())
        | state.rec[frame][resource].size() << 6
        | u32::from(state.partners[resource] >> frame & 1) << 10
}

/// The detector's sets, four bits each, so that those of one frame can be had at once.
fn sets(state: &State) -> u64 {
    let det = &state.det;
    [
        state.external,
        det.pending,
        det.todo,
        det.seen,
        det.asleep,
        det.changed,
        det.found,
        det.done,
        det.ever,
        det.journals,
        det.hard,
        1_u8.checked_shl(u32::from(det.root)).unwrap_or(0) & 15,
        1_u8.checked_shl(u32::from(det.cur)).unwrap_or(0) & 15,
    ]
    .iter()
    .fold(0, |all, &set| all << 4 | u64::from(set))
}

fn frame_mark(state: &State, sets: u64, frame: usize, resources: &[u32; RESOURCES]) -> u32 {
    let mine = sets >> frame & 0x1_1111_1111_1111;
    let mark = mix((mine ^ mine >> 23) as u32) ^ state.status[frame] as u32;
    (0..RESOURCES).fold(mix(mark), |mark, resource| {
        mark.wrapping_add(mix(
            (cell_mark(state, frame, resource) + 1) ^ resources[resource]
        ))
    })
}

fn resource_mark(state: &State, resource: usize) -> u32 {
    let mut mark = u32::from(state.det.left >> resource & 1);
    mark = mark << 8 | (state.queue[resource].0.leading_zeros() / 4);
    (0..FRAMES).fold(mix(mark), |mark, frame| {
        mark.wrapping_add(mix(cell_mark(state, frame, resource) + 1))
    })
}

fn rename(
    state: &State,
    frames: &Renaming<FRAMES, 16>,
    resources: &Renaming<RESOURCES, 8>,
) -> State {
    let set = |set: Set| frames.set[usize::from(set)];
    let one = |frame: u8| match frame {
        NOBODY => NOBODY,
        frame => frames.to[usize::from(frame)],
    };
    let mut new = State::START;
    for frame in 0..FRAMES {
        let to = usize::from(frames.to[frame]);
        let status = state.status[frame];
        new.status[to] = status;
        if status.has_resource() {
            new.at[to] = resources.to[usize::from(state.at[frame])];
        }
        for resource in 0..RESOURCES {
            let at = usize::from(resources.to[resource]);
            new.cell[to][at] = state.cell[frame][resource];
            let old = state.rec[frame][resource];
            if old == Record::default() {
                continue;
            }
            let mut record = Record::wish(old.want());
            for holder in 0..FRAMES {
                record.note_held(usize::from(frames.to[holder]), old.held(holder));
            }
            record.note_ahead(set(old.ahead()));
            if old.partners_moved() {
                record.note_moved();
            }
            new.rec[to][at] = record;
        }
    }
    for resource in 0..RESOURCES {
        let at = usize::from(resources.to[resource]);
        let mut rest = state.queue[resource].0;
        let mut queue = 0;
        let mut shift = 0;
        while rest != 0 {
            queue |= u16::from(frames.to[usize::from(rest & 15) - 1] + 1) << shift;
            rest >>= 4;
            shift += 4;
        }
        new.queue[at] = Queue(queue);
        new.partners[at] = set(state.partners[resource]);
    }
    new.external = set(state.external);
    for frame in 0..FRAMES {
        new.callee[usize::from(frames.to[frame])] = one(state.callee[frame]);
    }
    let det = &state.det;
    new.det = Detector {
        phase: det.phase,
        root: one(det.root),
        cur: one(det.cur),
        resource: match det.journals {
            0 => 0,
            _ => resources.to[usize::from(det.resource)],
        },
        left: resources.set[usize::from(det.left)],
        journals: set(det.journals),
        pending: set(det.pending),
        todo: set(det.todo),
        seen: set(det.seen),
        asleep: set(det.asleep),
        changed: set(det.changed),
        found: set(det.found),
        done: set(det.done),
        ever: set(det.ever),
        wrong: det.wrong,
        hard: set(det.hard),
        helped: det.helped,
    };
    new
}

fn permutations<const N: usize>() -> impl Iterator<Item = [u8; N]> {
    let all = (0..(N as u32).pow(N as u32)).map(|mut code| {
        std::array::from_fn(|_| {
            let digit = code % N as u32;
            code /= N as u32;
            digit as u8
        })
    });
    all.filter(|map: &[u8; N]| map.iter().fold(0, |set, &to| set | 1 << to) == (1 << N) - 1)
}
