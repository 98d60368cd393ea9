//! What is told about an order that can deadlock.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::Class;
use crate::report::Mode;

/// An order of acquisition that can deadlock, or that breaks the strict rule.
///
/// Its [`Display`](fmt::Display) is several lines: what is wrong, who did what where, what to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// What is wrong.
    pub kind: WarningKind,
    /// The class of the lock that was held when it was noticed.
    pub held: Class,
    /// The class of the lock that was taken then; none if it was no lock that was waited for.
    pub taken: Option<Class>,
    /// The acquisitions that do not go together, each while holding a lock. Each can come to wait
    /// for the next, and the last for the first.
    pub steps: Vec<Edge>,
}

/// What is wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WarningKind {
    /// Classes were taken in orders that contradict each other.
    Order {
        /// The writers that it needs in between, if it does: a reader only waits for another reader
        /// behind a writer that queues there already. Each of these was seen to wait for such a
        /// lock, or to be ready to.
        behind: Vec<Taken>,
    },
    /// Two locks of one class were held at once, and nothing says which comes first.
    SameClass {
        /// As for [`Order`](Self::Order).
        behind: Vec<Taken>,
    },
    /// A second lock was taken, against the rule of
    /// [`set_one_at_a_time`](super::set_one_at_a_time).
    SecondLock,
    /// Somebody waited for something else than a lock, and whoever ends that wait may need the lock.
    WaitWhileHolding {
        /// The lock that was held.
        holding: Taken,
        /// What was waited for, such as "condvar".
        what: &'static str,
        /// Where.
        site: &'static Location<'static>,
    },
    /// A lock was read again by its reader, but lets nobody past a writer that came in between.
    RecursiveRead,
}

/// One pair of the order: somebody held the one and took the other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Edge {
    /// What was held.
    pub held: Taken,
    /// What was taken then.
    pub taken: Taken,
}

/// An acquisition: the first one of its sort that was seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// The thread, task or call, for people, as in `thread 'main'`.
    pub who: Arc<str>,
    /// The class of the lock.
    pub class: Class,
    /// How it was taken.
    pub mode: Mode,
    /// Where in the code.
    pub site: &'static Location<'static>,
}

impl Edge {
    /// What it says of the classes, without who and where.
    pub(super) fn line(&self) -> String {
        let (held, taken) = (&self.held, &self.taken);
        let (hold, want) = (adverb(held.mode), adverb(taken.mode));
        format!("{} ({hold}) before {} ({want})", held.class, taken.class)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = &self.held;
        let taken = self.taken.as_ref().unwrap_or(held);
        let advice = match &self.kind {
            WarningKind::Order { behind } => {
                writeln!(
                    f,
                    "lock order: {taken} after {held}, but elsewhere before it: a deadlock"
                )?;
                self.steps(f, behind)?;
                "take them in one order everywhere, or together by lock_all!, or one at a time"
            }
            WarningKind::SameClass { behind } => {
                writeln!(
                    f,
                    "lock order: {taken} after another of its class: a deadlock, if"
                )?;
                writeln!(
                    f,
                    "  somebody does the same with the two in the other order"
                )?;
                self.steps(f, behind)?;
                "take them together by lock_all!, or give them names of their own, or, if the program \
                 guarantees an order, take the inner one in order::nested(1, ..)"
            }
            WarningKind::SecondLock => {
                writeln!(
                    f,
                    "one lock at a time: {taken} was taken while {held} was held"
                )?;
                self.steps(f, &[])?;
                "release the first before, and take what is needed out of it"
            }
            WarningKind::WaitWhileHolding {
                holding,
                what,
                site,
            } => {
                writeln!(f, "lock order: waiting for a {what} while {held} is held")?;
                writeln!(f, "  {holding}")?;
                writeln!(f, "    and then waited for a {what} at {site}")?;
                "release it before waiting: whoever is to end the wait may need it first"
            }
            WarningKind::RecursiveRead => {
                writeln!(f, "lock order: {held} is read again by its reader")?;
                self.steps(f, &[])?;
                writeln!(
                    f,
                    "  a writer that comes in between waits for the first and stops the second"
                )?;
                "pass on what the first one reads, or release it before"
            }
        };
        write!(f, "  to do: {advice}")
    }
}

impl Warning {
    fn steps(&self, f: &mut fmt::Formatter<'_>, behind: &[Taken]) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        for writer in behind {
            writeln!(f, "  while a writer queues between these readers, as here:")?;
            writeln!(f, "    {writer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Taken {
            class, mode, site, ..
        } = &self.taken;
        write!(
            f,
            "{}\n    and then {} {class} at {site}",
            self.held,
            verb(*mode)
        )
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            class,
            mode,
            site,
        } = self;
        write!(f, "{who} {} {class} at {site}", verb(*mode))
    }
}

fn verb(mode: Mode) -> &'static str {
    match mode {
        Mode::Read => "took for reading",
        Mode::UpgradableRead => "took for upgradable reading",
        Mode::Upgrade => "upgraded",
        Mode::Permits(_) => "took permits of",
        Mode::Write | Mode::Get | Mode::Put | Mode::Signal | Mode::Answer => "took",
    }
}

fn adverb(mode: Mode) -> &'static str {
    match mode {
        Mode::Read => "read",
        Mode::UpgradableRead => "upgradable read",
        Mode::Upgrade => "upgrade",
        Mode::Permits(_) => "permits",
        Mode::Write | Mode::Get | Mode::Put | Mode::Signal | Mode::Answer => "write",
    }
}
