//! What is told about a deadlock, as plain data that every process can show.

use crate::home::{About, Hold};

/// How many members are told of.
const MOST_MEMBERS: usize = 16;
/// How many waits, and things held, are told of each.
const MOST_LINES: usize = 4;

/// A cycle of waiting through several processes, which was broken by failing one of its waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Names this deadlock in logs, as in `af-7c1e03d2`: the same for whoever finds it.
    pub id: String,
    /// What sort of cycle it is.
    pub kind: Kind,
    /// Everybody in it. The first is the victim, and each waits for the next, the last for the first,
    /// unless somebody waits for several at once.
    pub members: Vec<Member>,
    /// How many more there are, who are farthest from the victim.
    pub left_out: u32,
    /// A process took part that cannot be asked, so it is inferred that it waits for the calls that
    /// came from it.
    pub inferred: bool,
}

/// What sort of cycle it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Several chains of calls wait for each other.
    Cycle,
    /// A chain waits for what it holds itself.
    SelfLock,
    /// A chain reads, and waits to write the same.
    Upgrade,
    /// Several chains have all workers of a pool, and wait for whoever needs one.
    Pool,
}

/// Somebody in a cycle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Member {
    /// Its process.
    pub node: u64,
    /// An address of that; empty if it has none.
    pub address: String,
    /// Its number in its process.
    pub frame: u64,
    /// Frames that are connected by calls have the same.
    pub chain: [u8; 16],
    /// The rest.
    pub about: About,
}

impl Report {
    /// The report of a deadlock whose members are in the order of waiting, the victim first.
    pub(crate) fn new(id: u64, mut members: Vec<Member>, inferred: bool) -> Self {
        let kind = Kind::of(&members);
        let all = members.len();
        members.truncate(MOST_MEMBERS);
        for member in &mut members {
            member.about.holds.truncate(MOST_LINES);
            member.about.waits.truncate(MOST_LINES);
        }
        Self {
            id: format!("af-{:08x}", id as u32 ^ (id >> 32) as u32),
            kind,
            left_out: (all - members.len()) as u32,
            members,
            inferred,
        }
    }
}

impl Kind {
    fn of(members: &[Member]) -> Self {
        let waits = || {
            members
                .iter()
                .flat_map(|m| m.about.waits.iter().map(move |w| (m, w)))
        };
        if waits().any(|(_, wait)| wait.pool) {
            return Self::Pool;
        }
        if members
            .windows(2)
            .any(|pair| pair[0].chain != pair[1].chain)
        {
            return Self::Cycle;
        }
        let upgrades = waits().any(|(waiter, wait)| {
            wait.mode == "write"
                && members.iter().any(|holder| {
                    let read = |hold: &Hold| hold.lock == wait.lock && hold.mode == "read";
                    holder.node == waiter.node && holder.about.holds.iter().any(read)
                })
        });
        match upgrades {
            true => Self::Upgrade,
            false => Self::SelfLock,
        }
    }
}
