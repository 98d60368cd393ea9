//! Reports as text, and the words that the live view has in common with them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::time::Duration;

use super::{
    AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, WaitInfo,
};

/// Of more members than this, those in the middle are left out.
const MOST_MEMBERS: usize = 16;

/// How many waits and how many holds of one member are told.
const MOST_LINES: usize = 8;

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.members.iter().flat_map(|member| &member.waits);
        let holds = self.members.iter().flat_map(|member| &member.holds);
        let resources = waits.map(|wait| &wait.resource);
        let names = Names::of(resources.chain(holds.map(|hold| &hold.resource)));
        write!(f, "deadlock [{}]: {}", self.id, Headline(self))?;
        let mut told = HashSet::new();
        let mut next = 0;
        for index in self.shown() {
            if index > next {
                let left_out = index - next;
                write!(f, "\n  … {left_out} more …")?;
            }
            self.write_member(index, &names, &mut told, f)?;
            next = index + 1;
        }
        if self.left_out > 0 {
            write!(f, "\n  … {} more …", self.left_out)?;
        }
        self.write_advice(&names, f)
    }
}

impl Report {
    /// Which members are told, in ascending order: both ends, and always the victim.
    fn shown(&self) -> Vec<usize> {
        let count = self.members.len();
        if count <= MOST_MEMBERS {
            return (0..count).collect();
        }
        let half = MOST_MEMBERS / 2;
        let is_shown =
            |index: &usize| *index < half || *index >= count - half || *index == self.victim;
        (0..count).filter(is_shown).collect()
    }

    fn write_member(
        &self,
        index: usize,
        names: &Names,
        told: &mut HashSet<u64>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Member {
            agent,
            waits,
            holds,
        } = &self.members[index];
        write!(f, "\n  {agent}")?;
        if index == self.victim && self.members.len() > 1 {
            write!(f, ", the victim")?;
        }
        for hold in holds.iter().take(MOST_LINES) {
            let HoldInfo { resource, mode, .. } = hold;
            let name = names.introduce(resource, told);
            f.write_str("\n      ")?;
            if hold.queued {
                let wanted = mode.wanted(resource);
                write!(f, "came first in the queue {wanted} {name}")?;
            } else {
                mode.write_held(resource, &name, f)?;
            }
            match &hold.site {
                Some(site) if hold.is_let_go() => write!(f, ", acquired at {site}")?,
                Some(site) => write!(f, ", at {site}")?,
                None => {}
            }
        }
        write_left_out(holds.len(), "it holds", f)?;
        for wait in waits.iter().take(MOST_LINES) {
            let WaitInfo {
                mode, site, waited, ..
            } = wait;
            let deadline = if wait.timed { ", with a deadline," } else { "" };
            let lasted = Lasted(*waited);
            let wanted = mode.wanted(&wait.resource);
            let resource = names.introduce(&wait.resource, told);
            write!(f, "\n      has waited {lasted}{deadline}")?;
            if site.is_known() {
                write!(f, " at {site}")?;
            }
            write!(f, " {wanted} {resource}")?;
        }
        write_left_out(waits.len(), "it waits for", f)
    }

    fn write_advice(&self, names: &Names, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(victim) = self.members.get(self.victim) else {
            return write!(
                f,
                "\n  victim: somebody who waits for them; its wait failed"
            );
        };
        let agent = &victim.agent;
        let others = if self.members.len() > 1 {
            ", the others can go on"
        } else {
            ""
        };
        write!(f, "\n  victim: {agent}; its wait failed{others}")?;
        if self.inferred {
            f.write_str(
                "\n  inferred: a program in between cannot be asked; it is taken to wait for the \
                 calls that came from it",
            )?;
        }
        match self.kind {
            DeadlockKind::SelfLock | DeadlockKind::Upgrade if self.members.len() > 1 => {
                self.write_chain_advice(victim, names, f)
            }
            DeadlockKind::SelfLock => self.write_self_lock_advice(victim, names, f),
            DeadlockKind::Upgrade => f.write_str(
                "\n  help: let go of the lock before waiting to write it, or read it with \
                 `upgradable_read` if it may have to be written",
            ),
            DeadlockKind::Pool => f.write_str(
                "\n  help: allow more workers, or do not wait in one for whoever needs another",
            ),
            DeadlockKind::Cycle => {
                let held: Vec<_> = victim
                    .holds
                    .iter()
                    .filter(|hold| hold.is_let_go())
                    .collect();
                match held[..] {
                    [hold] => {
                        let resource = names.name(&hold.resource);
                        write!(f, "\n  help: let go of {resource}, then try again")?;
                    }
                    _ => write!(f, "\n  help: let go of what it holds, then try again")?,
                }
                if self.is_about_order() {
                    f.write_str(
                        "\n  help: if all acquire these locks in the same order, this cannot happen",
                    )?;
                }
                Ok(())
            }
        }
    }

    /// What to do about a chain of calls that comes back to where it is.
    fn write_chain_advice(
        &self,
        victim: &Member,
        names: &Names,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Some(WaitInfo { resource, .. }) = victim.waits.first() else {
            return Ok(());
        };
        let name = names.name(resource);
        write!(
            f,
            "\n  help: let go of {name} before calling what calls back"
        )?;
        if resource.kind == "Object" {
            f.write_str(
                "\n  help: a method of Rust that has `&mut self` cannot be entered again: split the \
                 object, or take `&self` and lock inside of it what has to be; a `&self` method \
                 that is `#[lock(none)]` waits for no writer that waits itself",
            )?;
        }
        Ok(())
    }

    fn write_self_lock_advice(
        &self,
        victim: &Member,
        names: &Names,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Some(WaitInfo { resource, mode, .. }) = victim.waits.first() else {
            return Ok(());
        };
        let name = names.name(resource);
        match mode {
            Mode::Permits(_) => write!(
                f,
                "\n  help: acquire all permits of {name} at once, or let go of some first",
            ),
            _ => write!(
                f,
                "\n  help: let go of {name} first; to try again while holding it fails again",
            ),
        }?;
        if resource.kind == "Mutex" {
            f.write_str("\n  help: a `ReentrantMutex` can be locked again by its holder")?;
        }
        Ok(())
    }

    /// Whether it is a ring of locks: nothing else than their order makes it.
    fn is_about_order(&self) -> bool {
        let mut locks = HashSet::new();
        let all_are_locks = self.members.iter().all(|member| {
            let [wait] = &member.waits[..] else {
                return false;
            };
            locks.insert(wait.resource.id);
            wait.mode.is_of_a_lock() && member.holds.iter().all(HoldInfo::is_let_go)
        });
        all_are_locks && locks.len() > 1
    }
}

impl HoldInfo {
    /// Whether it can be given back by whoever holds it.
    fn is_let_go(&self) -> bool {
        !self.queued && (self.mode.is_of_a_lock() || matches!(self.mode, Mode::Permits(_)))
    }
}

impl Mode {
    fn is_of_a_lock(self) -> bool {
        match self {
            Self::Write | Self::Read | Self::UpgradableRead | Self::Upgrade => true,
            Self::Permits(_) | Self::Get | Self::Put | Self::Signal | Self::Answer => false,
        }
    }
}

fn write_left_out(count: usize, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match count.saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => write!(f, "\n      … {more} more that {what} …"),
    }
}

/// What happened, in one line.
struct Headline<'a>(&'a Report);

impl Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = &self.0.members;
        let kinds = [AgentKind::Thread, AgentKind::Task, AgentKind::Call];
        let counts = kinds.map(|kind| {
            let alike = members.iter().filter(|member| member.agent.kind == kind);
            (kind, alike.count())
        });
        let counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
        if self.0.left_out > 0 {
            f.write_str("more than ")?;
        }
        for (index, (kind, count)) in counts.iter().enumerate() {
            f.write_str(match index {
                0 => "",
                _ if index + 1 == counts.len() => " and ",
                _ => ", ",
            })?;
            match count {
                1 => write!(f, "a {kind}")?,
                _ => write!(f, "{count} {kind}s")?,
            }
        }
        f.write_str(match (members.len(), self.0.kind) {
            (0 | 1, DeadlockKind::Upgrade) => " reads a lock and waits to write it",
            (0 | 1, _) => " waits for what it holds itself",
            (_, DeadlockKind::Cycle) => " wait for each other",
            (_, DeadlockKind::Pool) => " have all workers that they wait for",
            (_, DeadlockKind::Upgrade) => " of one chain wait to write what it reads",
            (_, DeadlockKind::SelfLock) => " of one chain wait for what it holds itself",
        })
    }
}

impl Display for AgentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "thread",
            Self::Task => "task",
            Self::Call => "call",
        })
    }
}

/// `thread "main" (frame 1)`.
impl Display for AgentInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            frame,
            kind,
            name,
            place,
        } = self;
        write!(f, "{kind} ")?;
        if let Some(name) = name {
            write!(f, "{name:?} ")?;
        }
        match place {
            Some(place) => write!(f, "(frame {frame} at {place})"),
            None => write!(f, "(frame {frame})"),
        }
    }
}

/// `Mutex<u32> "left"`, and without a name `Mutex<u32> #7`.
impl Display for ResourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.data.is_empty() {
            write!(f, "<{}>", self.data)?;
        }
        match &self.name {
            Some(name) => write!(f, " {name:?}"),
            None => write!(f, " #{}", self.id),
        }
    }
}

/// Which names tell resources apart, and which need a number because others have the same.
pub(crate) struct Names {
    shared: HashSet<u64>,
}

impl Names {
    pub(crate) fn of<'a>(resources: impl Iterator<Item = &'a ResourceInfo>) -> Self {
        let mut first: HashMap<(&str, &str), u64> = HashMap::new();
        let mut shared = HashSet::new();
        for ResourceInfo { id, kind, name, .. } in resources {
            let Some(name) = name else { continue };
            let known = *first.entry((kind, name)).or_insert(*id);
            if known != *id {
                shared.extend([known, *id]);
            }
        }
        Self { shared }
    }

    pub(crate) fn name<'a>(&self, resource: &'a ResourceInfo) -> Named<'a> {
        Named {
            resource,
            numbered: self.shared.contains(&resource.id),
            introduced: false,
        }
    }

    /// The name; and where it was made, when it is told for the first time.
    fn introduce<'a>(&self, resource: &'a ResourceInfo, told: &mut HashSet<u64>) -> Named<'a> {
        Named {
            introduced: told.insert(resource.id),
            ..self.name(resource)
        }
    }
}

/// A resource, so that it cannot be mistaken for another one of the same text.
pub(crate) struct Named<'a> {
    resource: &'a ResourceInfo,
    numbered: bool,
    introduced: bool,
}

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.resource;
        resource.fmt(f)?;
        if self.numbered {
            write!(f, " #{}", resource.id)?;
        }
        if self.introduced && resource.created.is_known() {
            write!(f, " (made at {})", resource.created)?;
        }
        Ok(())
    }
}

impl Mode {
    /// What somebody has to do with `resource`, who is in the way of others; `name` stands for it.
    pub(crate) fn write_held(
        self,
        resource: &ResourceInfo,
        name: &dyn Display,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match self {
            Self::Write | Self::Read | Self::UpgradableRead | Self::Upgrade => {
                write!(f, "holds {name}{}", self.shared(resource))
            }
            Self::Permits(1) => write!(f, "holds a permit of {name}"),
            Self::Permits(some) => write!(f, "holds {some} permits of {name}"),
            Self::Get => write!(f, "takes items out of {name}"),
            Self::Put => write!(f, "puts items into {name}"),
            // Not a type: the thread, task or call itself, whose end is waited for.
            Self::Signal if resource.kind.starts_with(char::is_lowercase) => {
                write!(f, "has to end first, as {name}")
            }
            Self::Signal => write!(f, "can signal {name}"),
            Self::Answer => write!(f, "has yet to answer {name}"),
        }
    }

    /// How a lock is held, if it can be held in different ways.
    pub(crate) fn shared(self, lock: &ResourceInfo) -> &'static str {
        match self {
            Self::Write if lock.is_exclusive() => "",
            Self::Write => " for writing",
            Self::Read => " for reading",
            Self::UpgradableRead | Self::Upgrade => " for upgradable reading",
            Self::Permits(_) | Self::Get | Self::Put | Self::Signal | Self::Answer => "",
        }
    }

    /// What stands between "waits" and the resource.
    pub(crate) fn wanted(self, resource: &ResourceInfo) -> Cow<'static, str> {
        match self {
            Self::Write if resource.is_exclusive() => "for".into(),
            Self::Write => "to write".into(),
            Self::Read => "to read".into(),
            Self::UpgradableRead => "for an upgradable read of".into(),
            Self::Upgrade => "to upgrade its read of".into(),
            Self::Permits(1) => "for a permit of".into(),
            Self::Permits(some) => format!("for {some} permits of").into(),
            Self::Get => "for an item of".into(),
            Self::Put => "for room in".into(),
            Self::Signal => "for".into(),
            Self::Answer => "for the answer of".into(),
        }
    }
}

impl ResourceInfo {
    /// Whether it has one holder at most, so that this need not be said.
    fn is_exclusive(&self) -> bool {
        self.kind.ends_with("Mutex")
    }
}

/// A time in the unit that suits it: `1.2 ms`, `34 s`, `2 min 5 s`.
pub(crate) struct Lasted(pub(crate) Duration);

impl Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(lasted) = self;
        let (micros, seconds) = (lasted.as_micros(), lasted.as_secs());
        // Cut off, not rounded: nothing is said to have lasted longer than it has.
        match (seconds, micros) {
            (0, ..10_000) => write!(f, "{}.{} ms", micros / 1_000, micros / 100 % 10),
            (0, _) => write!(f, "{} ms", micros / 1_000),
            (..10, _) => write!(f, "{seconds}.{} s", micros / 100_000 % 10),
            (..60, _) => write!(f, "{seconds} s"),
            (..3_600, _) => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {} min", seconds / 3_600, seconds / 60 % 60),
        }
    }
}
