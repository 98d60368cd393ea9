//! The order of classes as a graph, and its cycles.
//!
//! An arrow says: somebody held a lock of one class, and waited, or would have waited, for one of
//! another. A cycle of arrows is a deadlock that can happen if, at each class on it, the one who
//! waits is in the way of nothing less than what the other holds:
//!
//! | waits \ holds | write | upgradable | read |
//! |---|---|---|---|
//! | to write | waits | waits | waits |
//! | for an upgradable read | waits | waits | behind a writer |
//! | to read | waits | behind a writer | behind a writer |
//! | to upgrade | never meets | never meets | waits |
//!
//! *Behind a writer*: the lock is fair, so a reader that comes after a queued writer waits for it,
//! and thus for the readers that the writer waits for. Readers alone never deadlock. Linux' lockdep
//! takes it for granted that a writer may come, and reports such a cycle for its non-recursive
//! readers, which ours are. We wait until a writer of the class was seen (then the cycles that need
//! it are looked for again), so that a warning can name everybody it takes. Reading an instance that
//! one reads already makes no arrow at all: such a reader is let past the queue.
//! *Never meets*: whoever upgrades has the upgradable read, and nobody else has it or writes.
//! Permits are in the way of permits, since they may run out.
//!
//! Each arrow remembers what was held, and how, when it was made. Two arrows that were made while
//! one class was held in modes that exclude each other belong to agents which cannot be there at
//! the same time: the class is a *gate*, and no cycle has both. An arrow made in several
//! surroundings keeps each that no other one makes superfluous by holding less. Gates are classes
//! too: where each object has a gate of its own, what happens under the gates of two objects is
//! taken to be apart though it is not; this can hide a cycle, and never invents one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::{code, same};
use super::warning::{Edge, Taken};
use crate::report::Mode;

/// Who comes before whom.
pub(super) struct Graph {
    /// By the class where they begin.
    arrows: BTreeMap<u32, Vec<Arrow>>,
    /// The first that waited, or would have, to write a lock of this class.
    writers: BTreeMap<u32, Taken>,
}

struct Arrow {
    end: Shape,
    surroundings: Vec<Surrounding>,
}

/// An arrow as far as cycles are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) from: u32,
    pub(super) to: u32,
    /// How the one is held.
    pub(super) hold: Mode,
    /// How the other is wanted.
    pub(super) want: Mode,
    /// Whether the program chose this order; else both were taken at once, sorted by address.
    pub(super) chosen: bool,
}

/// What was held when an arrow was made, and by whom.
#[derive(Clone)]
struct Surrounding {
    gates: Gates,
    made: Arc<Edge>,
}

/// Classes on a cycle, and what shows it.
#[derive(Debug)]
pub(super) struct Cycle {
    pub(super) classes: Vec<u32>,
    pub(super) steps: Vec<Arc<Edge>>,
    /// The writers that it needs besides.
    pub(super) behind: Vec<Taken>,
}

/// How one that waits stands to one that holds.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Free,
    BehindWriter,
    Blocked,
}

impl Graph {
    /// More surroundings of one arrow than this are not kept: nearly always one of them serves.
    const MOST_SURROUNDINGS: usize = 16;
    /// A search gives up after so many steps. Without gates it takes at most ten a class.
    const MOST_STEPS: usize = 20_000;

    pub(super) const fn new() -> Self {
        Self {
            arrows: BTreeMap::new(),
            writers: BTreeMap::new(),
        }
    }

    /// Adds an arrow, and returns a cycle that it completes.
    pub(super) fn add(
        &mut self,
        shape: Shape,
        gates: &Gates,
        made: impl FnOnce() -> Edge,
    ) -> Option<Cycle> {
        let arrows = self.arrows.entry(shape.from).or_default();
        let at = arrows
            .iter()
            .position(|arrow| arrow.end.same(&shape))
            .unwrap_or_else(|| {
                arrows.push(Arrow {
                    end: shape,
                    surroundings: Vec::new(),
                });
                arrows.len() - 1
            });
        let known = &mut arrows[at].surroundings;
        if known.iter().any(|other| other.gates.within(gates)) {
            return None;
        }
        known.retain(|other| !gates.within(&other.gates));
        if known.len() >= Self::MOST_SURROUNDINGS {
            return None;
        }
        let new = Surrounding {
            gates: gates.clone(),
            made: Arc::new(made()),
        };
        known.push(new.clone());
        self.cycle(shape, &new)
    }

    /// Somebody writes this class, and might queue for it. Returns the cycles that waited for that.
    pub(super) fn writer(&mut self, class: u32, who: impl FnOnce() -> Taken) -> Vec<Cycle> {
        if self.writers.contains_key(&class) {
            return Vec::new();
        }
        self.writers.insert(class, who());
        let all = self.arrows.values().flatten();
        let behind = all.filter(|a| {
            a.end.to == class && matches!(a.end.want, Mode::Read | Mode::UpgradableRead)
        });
        behind
            .flat_map(|arrow| arrow.surroundings.iter().map(|around| (arrow.end, around)))
            .filter_map(|(shape, around)| self.cycle(shape, around))
            .collect()
    }

    /// Removes all arrows of these classes, and returns how many there were.
    pub(super) fn forget(&mut self, classes: &[u32]) -> usize {
        let mut gone = 0;
        for (from, arrows) in &mut self.arrows {
            let before = arrows.len();
            arrows.retain(|arrow| !classes.contains(from) && !classes.contains(&arrow.end.to));
            gone += before - arrows.len();
        }
        self.arrows.retain(|_, arrows| !arrows.is_empty());
        self.writers.retain(|class, _| !classes.contains(class));
        gone
    }

    /// One example of each arrow.
    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge> {
        let arrows = self.arrows.values().flatten();
        arrows
            .filter_map(|arrow| arrow.surroundings.first())
            .map(|around| &*around.made)
    }

    /// A shortest cycle that this arrow is on, if possible one that needs no further writers.
    fn cycle(&self, shape: Shape, around: &Surrounding) -> Option<Cycle> {
        [Way::Blocked, Way::BehindWriter]
            .into_iter()
            .find_map(|least| {
                if shape.from == shape.to {
                    self.within_class(shape, around, least)
                } else {
                    self.search(shape, around, least)
                }
            })
    }

    /// Two agents that each hold one lock of a class and wait for that of the other.
    fn within_class(&self, one: Shape, around: &Surrounding, least: Way) -> Option<Cycle> {
        let class = one.from;
        for arrow in self.from(class).filter(|arrow| arrow.end.to == class) {
            let other = arrow.end;
            let meets = |want, hold| self.reaches(class, want, hold, least);
            if !meets(one.want, other.hold) || !meets(other.want, one.hold) {
                continue;
            }
            // The class itself is no gate here: there are two of its locks.
            let gates = around.gates.without(class);
            let apart = |other: &&Surrounding| !gates.exclude(&other.gates);
            if let Some(other_around) = arrow.surroundings.iter().find(apart) {
                let mut steps = vec![around.made.clone()];
                if !one.same(&other) {
                    steps.push(other_around.made.clone());
                }
                let soft = [(one.want, other.hold), (other.want, one.hold)]
                    .into_iter()
                    .any(|(want, hold)| way(want, hold) == Way::BehindWriter);
                return Some(Cycle {
                    classes: vec![class],
                    steps,
                    behind: self.behind(class, soft),
                });
            }
        }
        None
    }

    /// Breadth first from the end of the arrow to its begin.
    ///
    /// What matters of a path so far is where it ends and what is wanted there, which gates it has
    /// used up, and whether it has an order that the program chose; a path that has used up more
    /// than another is dropped. A path that comes twice through a class need not be avoided: what
    /// lies between the two is a cycle itself, or the one who holds excludes the other.
    fn search(&self, first: Shape, around: &Surrounding, least: Way) -> Option<Cycle> {
        struct Path<'a> {
            last: Shape,
            gates: Gates,
            chosen: bool,
            step: &'a Arc<Edge>,
            before: Option<usize>,
        }
        let mut paths = vec![Path {
            last: first,
            gates: around.gates.clone(),
            chosen: first.chosen,
            step: &around.made,
            before: None,
        }];
        let mut at_class: BTreeMap<(u32, u64), Vec<usize>> = BTreeMap::new();
        let mut at = 0;
        while at < paths.len() && at < Self::MOST_STEPS {
            let (class, want) = (paths[at].last.to, paths[at].last.want);
            for arrow in self.from(class).filter(|arrow| arrow.end.to != class) {
                let next = arrow.end;
                if !self.reaches(class, want, next.hold, least) {
                    continue;
                }
                for other in &arrow.surroundings {
                    if paths[at].gates.exclude(&other.gates) {
                        continue;
                    }
                    let path = Path {
                        last: next,
                        gates: paths[at].gates.joined(&other.gates),
                        chosen: paths[at].chosen || next.chosen,
                        step: &other.made,
                        before: Some(at),
                    };
                    let closes = next.to == first.from
                        && path.chosen
                        && self.reaches(next.to, next.want, first.hold, least);
                    if closes {
                        let mut all = vec![&path];
                        while let Some(before) = all[all.len() - 1].before {
                            all.push(&paths[before]);
                        }
                        all.reverse();
                        let after = all.iter().skip(1).chain(all.first());
                        let behind = all.iter().zip(after).flat_map(|(path, next)| {
                            let soft = way(path.last.want, next.last.hold) == Way::BehindWriter;
                            self.behind(path.last.to, soft)
                        });
                        return Some(Cycle {
                            classes: all.iter().map(|path| path.last.from).collect(),
                            behind: behind.collect(),
                            steps: all.iter().map(|path| path.step.clone()).collect(),
                        });
                    }
                    let same_end = at_class.entry((next.to, code(next.want))).or_default();
                    let better = |known: &usize| {
                        let known = &paths[*known];
                        known.chosen >= path.chosen && known.gates.within(&path.gates)
                    };
                    if !same_end.iter().any(better) {
                        same_end.push(paths.len());
                        paths.push(path);
                    }
                }
            }
            at += 1;
        }
        None
    }

    fn from(&self, class: u32) -> impl Iterator<Item = &Arrow> {
        self.arrows.get(&class).into_iter().flatten()
    }

    fn reaches(&self, class: u32, want: Mode, hold: Mode, least: Way) -> bool {
        match way(want, hold) {
            Way::Free => false,
            Way::Blocked => true,
            Way::BehindWriter => least == Way::BehindWriter && self.writers.contains_key(&class),
        }
    }

    fn behind(&self, class: u32, soft: bool) -> Vec<Taken> {
        self.writers
            .get(&class)
            .filter(|_| soft)
            .cloned()
            .into_iter()
            .collect()
    }
}

impl Shape {
    fn same(&self, other: &Self) -> bool {
        self.from == other.from
            && self.to == other.to
            && same(self.hold, other.hold)
            && same(self.want, other.want)
            && self.chosen == other.chosen
    }
}

/// Whether one that wants a lock waits for one that holds it.
fn way(want: Mode, hold: Mode) -> Way {
    match (want, hold) {
        (Mode::Read, Mode::Read | Mode::UpgradableRead) | (Mode::UpgradableRead, Mode::Read) => {
            Way::BehindWriter
        }
        (Mode::Upgrade, Mode::UpgradableRead | Mode::Write) => Way::Free,
        _ => Way::Blocked,
    }
}

/// The classes that were held at one moment, and how; sorted by class.
///
/// Permits are not among them: several agents can have some.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates(Vec<(u32, Strength)>);

/// How much they exclude, the least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Strength {
    Read,
    Upgradable,
    Write,
}

impl Gates {
    pub(super) fn insert(&mut self, class: u32, mode: Mode) {
        let strength = match mode {
            Mode::Read => Strength::Read,
            Mode::UpgradableRead => Strength::Upgradable,
            Mode::Write | Mode::Upgrade => Strength::Write,
            Mode::Permits(_) | Mode::Get | Mode::Put | Mode::Signal | Mode::Answer => return,
        };
        match self.0.binary_search_by_key(&class, |gate| gate.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(strength),
            Err(at) => self.0.insert(at, (class, strength)),
        }
    }

    fn strength(&self, class: u32) -> Option<Strength> {
        let at = self.0.binary_search_by_key(&class, |gate| gate.0).ok()?;
        Some(self.0[at].1)
    }

    /// Whether two agents that hold these cannot be there at the same time.
    fn exclude(&self, other: &Self) -> bool {
        self.0.iter().any(|(class, mine)| {
            other.strength(*class).is_some_and(|theirs| {
                use Strength::{Upgradable, Write};
                matches!(
                    (*mine, theirs),
                    (Write, _) | (_, Write) | (Upgradable, Upgradable)
                )
            })
        })
    }

    /// Whether whatever these exclude is excluded by `other` too.
    fn within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(class, mine)| Some(*mine) <= other.strength(*class))
    }

    fn joined(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (class, strength) in &other.0 {
            match all.0.binary_search_by_key(class, |gate| gate.0) {
                Ok(at) => all.0[at].1 = all.0[at].1.max(*strength),
                Err(at) => all.0.insert(at, (*class, *strength)),
            }
        }
        all
    }

    fn without(&self, class: u32) -> Self {
        Self(
            self.0
                .iter()
                .filter(|gate| gate.0 != class)
                .copied()
                .collect(),
        )
    }
}
