//! What is told about a deadlock, as plain data that every process can show.

use std::fmt::{self, Display};

use crate::home::{About, Hold, Wanted};

/// How many members are told of; of a longer cycle, the middle is left out.
const MOST_MEMBERS: usize = 16;
/// How many waits, and things held, are told of each.
const MOST_LINES: usize = 4;
/// How long the text may be.
const MOST_TEXT: usize = 8 * 1024;

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
    /// How many more there are, who come before the last [`tail`](Self::tail) members.
    pub left_out: u32,
    /// A process took part that cannot be asked, so it is inferred that it waits for the calls that
    /// came from it.
    pub inferred: bool,
    /// The victim's method has not begun: whoever called it can call it again. That is no promise for
    /// those who called the caller.
    pub retry_safe: bool,
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
    /// All workers of a pool wait for one.
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
    /// How many members come after those that were left out.
    pub fn tail(&self) -> usize {
        if self.left_out == 0 {
            return 0;
        }
        self.members.len() / 4
    }

    /// The report of a deadlock whose members are in the order of waiting, the victim first.
    pub(crate) fn new(id: u64, mut members: Vec<Member>, inferred: bool, retry_safe: bool) -> Self {
        let kind = Kind::of(&members);
        let all = members.len();
        members = elided(members, MOST_MEMBERS);
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
            retry_safe,
        }
    }

    fn write(&self, most: usize, f: &mut impl fmt::Write) -> fmt::Result {
        write!(f, "deadlock [{}]: {}", self.id, Headline(self))?;
        let members: Vec<_> = self.members.iter().collect();
        let (all, tail) = (members.len(), self.tail());
        let shown = elided(members, most);
        let left_out = self.left_out as usize + all - shown.len();
        let tail = match shown.len() < all {
            true => shown.len() / 4,
            false => tail,
        };
        for (place, member) in shown.iter().enumerate() {
            if left_out > 0 && place + tail == shown.len() {
                write!(f, "\n  … {left_out} more …")?;
            }
            member.write(place == 0, f)?;
        }
        if left_out > 0 && tail == 0 {
            write!(f, "\n  … {left_out} more …")?;
        }
        if let Some(victim) = self.members.first() {
            let others = match all {
                1 => "",
                _ => ", the others can go on",
            };
            write!(f, "\n  victim: {}; its wait failed{others}", victim.name())?;
        }
        if self.retry_safe {
            f.write_str("\n  its method has not begun: its caller can safely call it again")?;
        }
        if self.inferred {
            f.write_str(
                "\n  inferred: a program in between cannot be asked; it is taken to wait for the \
                 calls that came from it",
            )?;
        }
        match self.kind {
            Kind::SelfLock => f.write_str(
                "\n  help: let go before calling out, or split the object, so that the call that \
                 comes back needs something else",
            ),
            Kind::Upgrade => f.write_str(
                "\n  help: take it for writing from the beginning, or let go of it before the call",
            ),
            Kind::Pool => f.write_str("\n  help: allow more workers, or do not call back"),
            Kind::Cycle => {
                f.write_str("\n  help: if all take these in the same order, this cannot happen")
            }
        }
    }
}

/// At most `most` of them: without those in the middle, nearer to the end.
fn elided<T>(mut all: Vec<T>, most: usize) -> Vec<T> {
    if all.len() > most {
        let tail = most / 4;
        let from = most - tail;
        let to = all.len() - tail;
        all.drain(from..to);
    }
    all
}

/// Its text, of 8 KiB at most.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut most = self.members.len().max(1);
        loop {
            let mut text = String::new();
            self.write(most, &mut text)?;
            if text.len() <= MOST_TEXT || most == 1 {
                return f.write_str(prefix(&text, MOST_TEXT));
            }
            most /= 2;
        }
    }
}

/// As much of it as `most` bytes have room for.
pub(crate) fn prefix(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What happened, in one line.
struct Headline<'a>(&'a Report);

impl Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            kind,
            members,
            left_out,
            ..
        } = self.0;
        let count = |mut all: Vec<Vec<u8>>| {
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        let chains = count(members.iter().map(|m| m.chain.to_vec()).collect());
        let nodes = count(
            members
                .iter()
                .map(|m| m.node.to_be_bytes().to_vec())
                .collect(),
        );
        let least = if *left_out > 0 { "at least " } else { "" };
        let several = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let nodes = several(nodes, "process").replace("processs", "processes");
        let chains = several(chains, "chain");
        match kind {
            Kind::Cycle => write!(
                f,
                "{least}{chains} of calls in {least}{nodes} wait for each other"
            ),
            Kind::SelfLock => write!(
                f,
                "a chain of calls through {least}{nodes} waits for what it holds itself"
            ),
            Kind::Upgrade => write!(
                f,
                "a chain of calls through {least}{nodes} reads a lock and waits to write it"
            ),
            Kind::Pool => write!(
                f,
                "{least}{chains} of calls in {least}{nodes} have all workers of a pool and wait for one"
            ),
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

    /// Its name as data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cycle => "deadlock",
            Self::SelfLock => "self",
            Self::Upgrade => "upgrade",
            Self::Pool => "pool",
        }
    }
}

impl Member {
    fn name(&self) -> String {
        let Self {
            frame,
            node,
            address,
            ..
        } = self;
        let agent = match &*self.about.agent {
            "" => "somebody",
            agent => agent,
        };
        match &**address {
            "" => format!("{agent} (frame {frame} of process {node:016x})"),
            address => format!("{agent} (frame {frame} at {address})"),
        }
    }

    fn write(&self, is_victim: bool, f: &mut impl fmt::Write) -> fmt::Result {
        write!(f, "\n  {}", self.name())?;
        if is_victim {
            f.write_str(", the victim")?;
        }
        f.write_str("\n      chain ")?;
        self.chain
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        for Hold { lock, mode, site } in &self.about.holds {
            write!(f, "\n      holds {lock} ({mode}){}", At(", acquired", site))?;
        }
        for Wanted {
            lock,
            mode,
            site,
            ms,
            ..
        } in &self.about.waits
        {
            write!(
                f,
                "\n      has waited {ms} ms{} for {lock} ({mode})",
                At("", site)
            )?;
        }
        Ok(())
    }
}

/// A place in the code, if it is known.
struct At<'a>(&'static str, &'a str);

impl Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            "" => Ok(()),
            site => write!(f, "{} at {site}", self.0),
        }
    }
}
