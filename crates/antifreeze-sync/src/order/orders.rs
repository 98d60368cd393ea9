//! All that was seen of the order of locks: what the hooks tell, and what is concluded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::How;
use super::class::{ClassKey, Classes};
use super::graph::{Cycle, Gates, Graph, Shape};
use super::held::{Entry, Held, Seen, Take, code, mix, same};
use super::warning::{Edge, Taken, Warning, WarningKind};
use crate::report::Mode;

/// The order of locks. The program has one; each test has its own.
pub(super) struct Orders {
    classes: Classes,
    learnt: Mutex<Learnt>,
    /// Changes when something that was seen has to be looked at again.
    epoch: AtomicU64,
    strict: AtomicBool,
    strays: Strays,
}

/// What is looked at only when something new is seen.
struct Learnt {
    graph: Graph,
    warnings: Vec<Warning>,
    /// Classes whose order was warned of: whether it needed no further writers.
    orders: BTreeMap<Vec<u32>, bool>,
    pairs: BTreeSet<(u32, u32)>,
    waits: BTreeSet<(u32, &'static str, &'static Location<'static>)>,
    rereads: BTreeSet<u32>,
}

/// Releases by others than those who had acquired the lock.
///
/// A guard may move. Whoever acquired the lock hears of its release at its next acquisition; until
/// then it counts as one that holds, and if it does not hear of it at all, for longer.
struct Strays {
    count: AtomicU64,
    last: Mutex<VecDeque<(u64, u64)>>,
}

impl Orders {
    pub(super) const fn new() -> Self {
        Self {
            classes: Classes::new(),
            learnt: Mutex::new(Learnt::new()),
            epoch: AtomicU64::new(0),
            strict: AtomicBool::new(false),
            strays: Strays {
                count: AtomicU64::new(0),
                last: Mutex::new(VecDeque::new()),
            },
        }
    }

    pub(super) fn class(&self, seat: &AtomicU32, key: &ClassKey<'_>, sub: u32) -> u32 {
        self.classes.number(seat, key, sub)
    }

    pub(super) fn set_one_at_a_time(&self, strict: bool) {
        self.strict.store(strict, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.learnt.lock().warnings.clone()
    }

    pub(super) fn forget(&self, name: &str) -> usize {
        let classes = self.classes.called(name);
        let mut learnt = self.learnt.lock();
        self.epoch.fetch_add(1, Ordering::Relaxed);
        learnt.graph.forget(&classes)
    }

    pub(super) fn reset(&self) {
        let mut learnt = self.learnt.lock();
        self.epoch.fetch_add(1, Ordering::Relaxed);
        *learnt = Learnt::new();
    }

    pub(super) fn edges(&self) -> Vec<Edge> {
        self.learnt.lock().graph.edges().cloned().collect()
    }

    pub(super) fn text(&self) -> String {
        let lines: BTreeSet<String> = self.edges().iter().map(Edge::line).collect();
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// Somebody has acquired a lock. Returns what there is to say about it that was not said yet.
    pub(super) fn acquired(&self, held: &mut Held, seen: &mut Seen, take: Take) -> Vec<Warning> {
        if matches!(take.mode, Mode::Get | Mode::Put | Mode::Signal) {
            return Vec::new();
        }
        self.hear(held);
        let again = held.has(take.lock) && !matches!(take.mode, Mode::Upgrade | Mode::Permits(_));
        let new = if again || !seen.insert(self.epoch.load(Ordering::Relaxed), key(held, &take)) {
            Vec::new()
        } else {
            self.learn(held, &take)
        };
        if take.mode == Mode::Upgrade {
            held.upgraded(&take);
        } else {
            held.push(&take, take.mode);
        }
        new
    }

    /// A lock was released, perhaps by somebody else than the one who had acquired it.
    pub(super) fn released(&self, held: &mut Held, lock: u64, mode: Mode) {
        if !held.remove(lock, mode) {
            self.strays.add(lock);
        }
    }

    /// Somebody waits for something else than a lock.
    pub(super) fn waiting(
        &self,
        held: &mut Held,
        seen: &mut Seen,
        what: &'static str,
        site: &'static Location<'static>,
    ) -> Vec<Warning> {
        self.hear(held);
        let place = mix(
            std::ptr::from_ref(site).addr() as u64,
            what.as_ptr().addr() as u64,
        );
        if held.entries().is_empty()
            || !seen.insert(self.epoch.load(Ordering::Relaxed), mix(held.chain(), place))
        {
            return Vec::new();
        }
        let mut learnt = self.learnt.lock();
        let mut new = Vec::new();
        for entry in held.entries() {
            // Whoever limits a number of workers by permits lets them wait.
            let permits = matches!(entry.mode, Mode::Permits(_));
            if !permits && learnt.waits.insert((entry.class, what, site)) {
                let holding = self.entry(held, entry);
                new.push(Warning {
                    held: holding.class.clone(),
                    taken: None,
                    kind: WarningKind::WaitWhileHolding {
                        holding,
                        what,
                        site,
                    },
                    steps: Vec::new(),
                });
            }
        }
        learnt.keep(new)
    }

    /// Somebody reads again what it reads, and may find a writer in between.
    pub(super) fn recursive_read(
        &self,
        held: &mut Held,
        lock: u64,
        site: &'static Location<'static>,
    ) -> Vec<Warning> {
        let Some(entry) = held.entries().iter().find(|entry| entry.lock == lock) else {
            return Vec::new();
        };
        let mut learnt = self.learnt.lock();
        if !learnt.rereads.insert(entry.class) {
            return Vec::new();
        }
        let first = self.entry(held, entry);
        let again = Taken {
            mode: Mode::Read,
            site,
            ..first.clone()
        };
        let new = self.warning(
            WarningKind::RecursiveRead,
            vec![Edge {
                held: first,
                taken: again,
            }],
        );
        learnt.keep(vec![new])
    }

    /// The slow half of [`acquired`](Self::acquired): these classes were not seen like this before.
    fn learn(&self, held: &Held, take: &Take) -> Vec<Warning> {
        let mut gates = Gates::default();
        let mut before: Vec<&Entry> = Vec::new();
        for entry in held.entries() {
            gates.insert(entry.class, entry.mode);
            let known = |other: &&Entry| {
                other.class == entry.class
                    && same(other.mode, entry.mode)
                    && other.group == entry.group
            };
            let other = entry.lock != take.lock || matches!(take.mode, Mode::Permits(_));
            if other && !before.iter().any(known) {
                before.push(entry);
            }
        }
        let taken = || self.taken(held, take);
        let edge = |entry: &Entry| Edge {
            held: self.entry(held, entry),
            taken: taken(),
        };

        let learnt = &mut *self.learnt.lock();
        let mut new = Vec::new();
        if self.strict.load(Ordering::Relaxed) && take.mode != Mode::Upgrade {
            for entry in &before {
                let pair = (entry.class.min(take.class), entry.class.max(take.class));
                if learnt.pairs.insert(pair) {
                    new.push(self.warning(WarningKind::SecondLock, vec![edge(entry)]));
                }
            }
        }
        if take.how == How::Blocking {
            let mut cycles = Vec::new();
            if matches!(take.mode, Mode::Write | Mode::Upgrade) {
                cycles = learnt.graph.writer(take.class, taken);
            }
            for entry in before {
                let at_once = entry.group != 0 && entry.group == take.group;
                if at_once && entry.class == take.class {
                    continue;
                }
                let shape = Shape {
                    from: entry.class,
                    to: take.class,
                    hold: entry.mode,
                    want: take.mode,
                    chosen: !at_once,
                };
                cycles.extend(learnt.graph.add(shape, &gates, || edge(entry)));
            }
            let unsaid: Vec<Cycle> = cycles.into_iter().filter(|c| learnt.is_new(c)).collect();
            new.extend(unsaid.into_iter().map(|cycle| {
                let behind = cycle.behind;
                let kind = if cycle.classes.len() == 1 {
                    WarningKind::SameClass { behind }
                } else {
                    WarningKind::Order { behind }
                };
                self.warning(
                    kind,
                    cycle.steps.iter().map(|step| Edge::clone(step)).collect(),
                )
            }));
        }
        learnt.keep(new)
    }

    /// A warning whose first step is the one that completed it.
    fn warning(&self, kind: WarningKind, steps: Vec<Edge>) -> Warning {
        Warning {
            kind,
            held: steps[0].held.class.clone(),
            taken: Some(steps[0].taken.class.clone()),
            steps,
        }
    }

    fn entry(&self, held: &Held, entry: &Entry) -> Taken {
        Taken {
            who: held.who(),
            class: self.classes.class(entry.class),
            mode: entry.mode,
            site: entry.site,
        }
    }

    fn taken(&self, held: &Held, take: &Take) -> Taken {
        Taken {
            who: held.who(),
            class: self.classes.class(take.class),
            mode: take.mode,
            site: take.site,
        }
    }

    /// Takes from `held` what others have released.
    fn hear(&self, held: &mut Held) {
        let count = self.strays.count.load(Ordering::Relaxed);
        if held.heard != count {
            if !held.entries().is_empty() {
                for (number, lock) in &*self.strays.last.lock() {
                    held.released_elsewhere(*lock, *number);
                }
            }
            held.heard = count;
        }
    }
}

/// Stands for what can be learnt from an acquisition, whichever instances it is about.
fn key(held: &Held, take: &Take) -> u64 {
    let grouped = u64::from(take.group != 0) << 1 | u64::from(held.in_group(take.group));
    let how = u64::from(take.how == How::Try) << 2;
    mix(
        held.chain(),
        u64::from(take.class) << 8 | code(take.mode) << 3 | how | grouped,
    )
}

impl Learnt {
    const fn new() -> Self {
        Self {
            graph: Graph::new(),
            warnings: Vec::new(),
            orders: BTreeMap::new(),
            pairs: BTreeSet::new(),
            waits: BTreeSet::new(),
            rereads: BTreeSet::new(),
        }
    }

    /// Whether neither this pair nor these classes were warned of, or only less certainly.
    fn is_new(&mut self, cycle: &Cycle) -> bool {
        let certain = cycle.behind.is_empty();
        let mut classes = cycle.classes.clone();
        let mut pair = vec![classes[0], *classes.get(1).unwrap_or(&classes[0])];
        pair.sort_unstable();
        classes.sort_unstable();
        let keys = [pair, classes];
        let known = |key: &Vec<u32>| self.orders.get(key).is_some_and(|known| *known >= certain);
        let new = !keys.iter().any(known);
        if new {
            self.orders.extend(keys.map(|key| (key, certain)));
        }
        new
    }

    fn keep(&mut self, new: Vec<Warning>) -> Vec<Warning> {
        self.warnings.extend_from_slice(&new);
        new
    }
}

impl Strays {
    /// So many may go unheard at a time; after that, some that acquired a lock take it for theirs.
    const MOST: usize = 256;

    fn add(&self, lock: u64) {
        let mut last = self.last.lock();
        let number = self.count.load(Ordering::Relaxed) + 1;
        if last.len() == Self::MOST {
            last.pop_front();
        }
        last.push_back((number, lock));
        self.count.store(number, Ordering::Relaxed);
    }
}
