//! What one thread or task holds, and which of its steps are known already.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::sync::Arc;

use super::How;
use crate::report::{AgentKind, Mode};

/// An acquisition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Take {
    pub(super) class: u32,
    pub(super) lock: u64,
    pub(super) mode: Mode,
    pub(super) site: &'static Location<'static>,
    pub(super) how: How,
    /// Those that are taken at once have the same number; zero: by itself.
    pub(super) group: u64,
}

/// The locks that a thread or a task holds, in the order in which it took them.
///
/// Without locks it owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    who: Option<(AgentKind, Option<Arc<str>>, u64)>,
    entries: Vec<Entry>,
    period: u32,
    /// How many releases by others it has heard of.
    pub(super) heard: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) class: u32,
    pub(super) lock: u64,
    pub(super) mode: Mode,
    pub(super) site: &'static Location<'static>,
    pub(super) group: u64,
    /// How many releases by others there had been.
    born: u64,
    /// Stands for this entry and all before it.
    chain: u64,
}

impl Held {
    /// Of whichever thread it is used by.
    pub(crate) const fn new() -> Self {
        Self {
            who: None,
            entries: Vec::new(),
            period: 0,
            heard: 0,
        }
    }

    /// Of a task or a call.
    pub(crate) const fn of(kind: AgentKind, name: Option<Arc<str>>, frame: u64) -> Self {
        Self {
            who: Some((kind, name, frame)),
            entries: Vec::new(),
            period: 0,
            heard: 0,
        }
    }

    /// Forgets what was held before watching was switched on for the last time.
    pub(super) fn begin(&mut self, period: u32) {
        if self.period != period {
            self.period = period;
            self.entries.clear();
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether this lock is among them.
    pub(super) fn has(&self, lock: u64) -> bool {
        self.entries.iter().any(|entry| entry.lock == lock)
    }

    /// The name of whom it belongs to, for people.
    pub(super) fn who(&self) -> Arc<str> {
        let (kind, name, number) = match &self.who {
            Some((kind, name, frame)) => (*kind, name.as_deref(), format!("{frame}")),
            None => {
                let thread = std::thread::current();
                let number = format!("{:?}", thread.id());
                return match thread.name() {
                    Some(name) => format!("thread '{name}'").into(),
                    None => format!("thread {number}").into(),
                };
            }
        };
        let kind = match kind {
            AgentKind::Thread => "thread",
            AgentKind::Task => "task",
            AgentKind::Call => "call",
        };
        match name {
            Some(name) => format!("{kind} '{name}'").into(),
            None => format!("{kind} {number}").into(),
        }
    }

    pub(super) fn push(&mut self, take: &Take, mode: Mode) {
        if self.entries.is_empty() {
            self.entries.reserve_exact(4);
        }
        self.entries.push(Entry {
            class: take.class,
            lock: take.lock,
            mode,
            site: take.site,
            group: take.group,
            born: self.heard,
            chain: 0,
        });
        self.link(self.entries.len() - 1);
    }

    /// The upgradable read of this lock has become a write.
    pub(super) fn upgraded(&mut self, take: &Take) {
        let at = self
            .entries
            .iter()
            .rposition(|entry| entry.lock == take.lock);
        match at {
            Some(at) => {
                self.entries[at].mode = Mode::Write;
                self.entries[at].site = take.site;
                self.link(at);
            }
            None => self.push(take, Mode::Write),
        }
    }

    pub(super) fn downgraded(&mut self, lock: u64, mode: Mode) {
        if let Some(at) = self.entries.iter().rposition(|entry| entry.lock == lock) {
            self.entries[at].mode = mode;
            self.link(at);
        }
    }

    /// Takes an acquisition of this lock away, the last one. Whether there was one.
    pub(super) fn remove(&mut self, lock: u64, mode: Mode) -> bool {
        let last = |f: &dyn Fn(&Entry) -> bool| self.entries.iter().rposition(f);
        let at = last(&|entry| entry.lock == lock && same(entry.mode, mode))
            .or_else(|| last(&|entry| entry.lock == lock));
        if let Some(at) = at {
            self.entries.remove(at);
            self.link(at);
        }
        at.is_some()
    }

    /// Somebody else released this lock as the `number`-th to do so.
    pub(super) fn released_elsewhere(&mut self, lock: u64, number: u64) {
        let before = self.entries.len();
        self.entries
            .retain(|entry| entry.lock != lock || entry.born >= number);
        if self.entries.len() != before {
            self.link(0);
        }
    }

    /// Stands for everything that is held: equal if the classes, modes and groups are.
    pub(super) fn chain(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.chain)
    }

    /// Whether the last lock belongs to this group.
    pub(super) fn in_group(&self, group: u64) -> bool {
        self.entries
            .last()
            .is_some_and(|entry| entry.group == group)
    }

    fn link(&mut self, from: usize) {
        for at in from..self.entries.len() {
            let before = at.checked_sub(1).map(|before| self.entries[before]);
            let entry = &mut self.entries[at];
            let step = (entry.class, code(entry.mode), entry.group);
            entry.chain = match before {
                // A thousand locks of one class that are held at once are one thing to know.
                Some(b) if (b.class, code(b.mode), b.group) == step => b.chain,
                _ => {
                    let group = u64::from(entry.group != 0);
                    let joined = u64::from(before.is_some_and(|b| b.group == entry.group));
                    let step =
                        u64::from(entry.class) << 8 | code(entry.mode) << 2 | group << 1 | joined;
                    mix(before.map_or(0, |b| b.chain), step)
                }
            };
        }
    }
}

/// What a thread has seen already: it can teach nobody anything.
pub(super) struct Seen {
    keys: HashSet<u64, BuildHasherDefault<AsIs>>,
    epoch: u64,
}

impl Seen {
    /// More than a program has; a program that has more only becomes slower.
    const MOST: usize = 1 << 16;

    pub(super) const fn new() -> Self {
        Self {
            keys: HashSet::with_hasher(BuildHasherDefault::new()),
            epoch: 0,
        }
    }

    /// Whether it is new, since what was known was last forgotten.
    pub(super) fn insert(&mut self, epoch: u64, key: u64) -> bool {
        if self.epoch != epoch || self.keys.len() >= Self::MOST {
            self.epoch = epoch;
            self.keys.clear();
        }
        self.keys.insert(key)
    }
}

/// The keys are mixed well enough.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

pub(super) const fn code(mode: Mode) -> u64 {
    match mode {
        Mode::Write => 0,
        Mode::Read => 1,
        Mode::UpgradableRead => 2,
        Mode::Upgrade => 3,
        Mode::Permits(_) => 4,
        Mode::Get | Mode::Put | Mode::Signal | Mode::Answer => 5,
    }
}

/// Whether two modes are of one kind: how many permits does not matter.
pub(super) const fn same(a: Mode, b: Mode) -> bool {
    code(a) == code(b)
}

/// The finaliser of splitmix64 over both.
pub(super) const fn mix(state: u64, value: u64) -> u64 {
    let x = (state ^ value)
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(state.rotate_left(23));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
