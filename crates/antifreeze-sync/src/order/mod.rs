//! Lock order: warns of an order of acquisition that can deadlock, though it did not this time.
//!
//! Locks belong to *classes*: all locks of one name are one class, and so are all those without a
//! name that one line of code made. Whoever takes a lock of class `B` while holding one of class `A`
//! has shown that `A` comes before `B`. When somebody else later shows the opposite, the two could
//! have met, and each would have waited for the other: that is a [`Warning`], although nothing has
//! happened. One test run that takes every path once finds what would need an unlucky moment.
//!
//! This is on where `debug_assertions` are, and off otherwise. The environment variable
//! `ANTIFREEZE_LOCKDEP` with the value `off`, `warn` or `panic` says otherwise, and [`set_level`]
//! says it in code. A warning is logged once for each pair of classes, with the target
//! `antifreeze_sync::order`, and kept for [`warnings`].
//!
//! # What is no warning
//!
//! - Acquisitions by `try_lock`: they do not wait. What they took counts as held from then on.
//! - Two orders of which each was only ever taken while holding one and the same third lock, the
//!   *gate*: nobody can be in the one while somebody is in the other.
//! - Several locks taken at once by `lock_all!`, which sorts them, and locks of one class taken in
//!   an order that the program vouches for with [`nested`].
//! - Readers behind readers, unless a writer of that class was seen: see [`WarningKind::Order`].
//!
//! # When a warning is wrong
//!
//! A class is more than a lock. If two locks of one class are never used by the same threads, give
//! them different names; if an order belonged to a phase of the program that is over, [`forget`] it.

mod class;
mod graph;
mod held;
mod orders;
#[cfg(test)]
mod tests;
mod warning;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread::LocalKey;

pub use class::Class;
pub use warning::{Edge, Taken, Warning, WarningKind};

pub(crate) use class::ClassKey;
pub(crate) use held::Held;

use crate::report::Mode;
use held::{Seen, Take};
use orders::Orders;

/// What becomes of an order that can deadlock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Nothing is watched. A lock then pays for one load.
    Off,
    /// It is logged and kept as a [`Warning`].
    Warn,
    /// It is also a panic, of whoever completed it: for tests that must not pass.
    ///
    /// The panic comes when the lock has just been acquired, and unwinding releases it again like
    /// everything else that is held. A thread that is panicking already only warns.
    Panic,
}

/// Says what becomes of an order that can deadlock, from now on and whatever the environment says.
///
/// What is held at the moment of switching on is not known, and is never warned of.
///
/// ```
/// use antifreeze_sync::order::{self, Level};
///
/// order::set_level(Level::Panic);
/// assert_eq!(order::level(), Level::Panic);
/// ```
pub fn set_level(level: Level) {
    let before = LEVEL.swap(level as u8, Ordering::Relaxed);
    if before == OFF && level != Level::Off {
        // Releases were not seen in between.
        PERIOD.fetch_add(1, Ordering::Relaxed);
    }
}

/// What becomes of an order that can deadlock.
pub fn level() -> Level {
    Level::of(LEVEL.load(Ordering::Relaxed)).unwrap_or_else(level_at_first_use)
}

/// Asks for the strict rule: nobody takes a second lock while holding one.
///
/// Programs that keep to it cannot deadlock by locks at all. Each pair of classes that breaks it is
/// a warning of the kind [`WarningKind::SecondLock`]. Off at first; without effect at [`Level::Off`].
pub fn set_one_at_a_time(strict: bool) {
    ORDERS.set_one_at_a_time(strict);
}

/// All warnings so far, the oldest first.
///
/// ```
/// use antifreeze_sync::order;
///
/// // At the end of a test: whatever ran, no two orders contradict each other.
/// assert!(order::warnings().is_empty());
/// ```
pub fn warnings() -> Vec<Warning> {
    ORDERS.warnings()
}

/// Forgets all orders of a class, and returns how many it knew.
///
/// For an order that held in a phase of the program which is over. What is seen from now on counts
/// anew, but a pair that was warned of is not warned of again. A class without a name is called as
/// its [`Display`](std::fmt::Display) says.
///
/// ```
/// use antifreeze_sync::order;
///
/// // start-up took these in another order, on one thread
/// order::forget("config");
/// assert!(order::graph().iter().all(|edge| edge.held.to_string() != "'config'"));
/// ```
pub fn forget(name: &str) -> usize {
    ORDERS.forget(name)
}

/// Forgets all orders and all warnings: for tests, between one and the next.
pub fn reset() {
    ORDERS.reset();
}

/// The order of the classes, as far as it was seen.
///
/// [`graph_text`] is the same to look at and to compare.
pub fn graph() -> Vec<Edge> {
    ORDERS.edges()
}

/// The order of the classes, one pair a line.
///
/// The lines are sorted and name no place in the code but those that made nameless locks, so a copy
/// under version control changes only when the order does.
pub fn graph_text() -> String {
    ORDERS.text()
}

/// Runs `f`; locks that it takes are of the sub-class `sub` of their class.
///
/// For locks of one class that are taken in an order which the program guarantees, such as a parent
/// before its child: take the parent as usual and the child in `nested(1, …)`. Zero is the class
/// itself. The order among sub-classes is watched like that among classes.
///
/// ```
/// use antifreeze_sync::order;
///
/// let sum = order::nested(1, || 1 + 1); // || child.lock()
/// assert_eq!(sum, 2);
/// ```
pub fn nested<R>(sub: u32, f: impl FnOnce() -> R) -> R {
    with_cell(&SUB, sub, f)
}

// What follows is for the locks. A hook does nothing and costs one load while the level is `Off`;
// `active` is for callers that would have to work for its arguments.

/// How a lock was acquired.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum How {
    /// By waiting for as long as it takes, or by being ready to.
    Blocking,
    /// Only because it was free.
    Try,
}

/// Whether anything is watched. True also before the environment was asked, once.
#[inline]
pub(crate) fn active() -> bool {
    LEVEL.load(Ordering::Relaxed) != OFF
}

/// Whether anything is watched. Asks the environment if that was not done yet.
#[inline]
pub(crate) fn is_on() -> bool {
    active() && level() != Level::Off
}

/// A lock has been acquired. `seat` belongs to the lock, is zero at first, and remembers its class.
///
/// May panic: the guard must exist already, so that unwinding releases the lock and tells us so.
/// [`Mode::Upgrade`] turns an upgradable read into a write.
#[inline]
pub(crate) fn acquired(
    seat: &AtomicU32,
    key: ClassKey<'_>,
    lock: u64,
    mode: Mode,
    site: &'static Location<'static>,
    how: How,
) {
    if active() {
        acquired_watched(seat, &key, (lock, mode, site, how));
    }
}

#[inline(never)]
fn acquired_watched(
    seat: &AtomicU32,
    key: &ClassKey<'_>,
    (lock, mode, site, how): (u64, Mode, &'static Location<'static>, How),
) {
    if level() != Level::Off {
        tell(|here| {
            let class = ORDERS.class(seat, key, SUB.get());
            let group = GROUP.get();
            let take = Take {
                class,
                lock,
                mode,
                site,
                how,
                group,
            };
            ORDERS.acquired(&mut here.held, &mut here.seen, take)
        });
    }
}

/// A lock has been released, by whomever.
#[inline]
pub(crate) fn released(lock: u64, mode: Mode) {
    if active() {
        here(|here| ORDERS.released(&mut here.held, lock, mode));
    }
}

/// A lock that stays held is now held as `mode`.
#[inline]
pub(crate) fn downgraded(lock: u64, mode: Mode) {
    if active() {
        here(|here| here.held.downgraded(lock, mode));
    }
}

/// Somebody is about to wait for something that is no lock: a "condvar", an "event", a "queue", ….
///
/// The mutex of a condition variable must have been released before. May panic.
#[inline]
pub(crate) fn waiting(kind: &'static str, site: &'static Location<'static>) {
    if active() && level() != Level::Off {
        tell(|here| ORDERS.waiting(&mut here.held, &mut here.seen, kind, site));
    }
}

/// Somebody reads again, under a lock that will not let it past a waiting writer. May panic.
pub(crate) fn recursive_read(lock: u64, site: &'static Location<'static>) {
    if active() && level() != Level::Off {
        tell(|here| ORDERS.recursive_read(&mut here.held, lock, site));
    }
}

/// Runs `f`, a poll of a task or the like, as somebody who holds what `held` says.
#[inline]
pub(crate) fn with_held<R>(held: &mut Held, f: impl FnOnce() -> R) -> R {
    // While it runs, what others hold waits where this came from.
    struct Back<'a>(&'a mut Held);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            swap_held(self.0);
        }
    }
    if !active() {
        return f();
    }
    let _back = swap_held(held).then_some(Back(held));
    f()
}

/// Takes away what the running thread or task holds.
#[cfg(test)]
pub(crate) fn take_held() -> Held {
    put_held(Held::new())
}

/// Says what the running thread or task holds, and returns what was said before.
#[cfg(test)]
pub(crate) fn put_held(mut held: Held) -> Held {
    swap_held(&mut held);
    held
}

/// Whether it could be done.
fn swap_held(held: &mut Held) -> bool {
    here(|here| std::mem::swap(&mut here.held, held)).is_some()
}

/// Locks that are taken at once, in an order that is the same everywhere: by address.
///
/// Their order among each other is not one that the program chose, so two such groups never
/// contradict each other. A group contradicts orders that were taken one by one.
#[derive(Debug)]
pub(crate) struct Canonical(u64);

impl Canonical {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(if active() {
            NEXT.fetch_add(1, Ordering::Relaxed)
        } else {
            0
        })
    }

    /// Runs `f`, an acquisition or a poll of one; locks that it takes belong to this group.
    pub(crate) fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        with_cell(&GROUP, self.0, f)
    }
}

const VARIABLE: &str = "ANTIFREEZE_LOCKDEP";
const OFF: u8 = Level::Off as u8;
/// The environment was not asked yet.
const UNKNOWN: u8 = u8::MAX;

static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);
/// How often watching was switched on again.
static PERIOD: AtomicU32 = AtomicU32::new(0);
static ORDERS: Orders = Orders::new();

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here::new()) };
    static SUB: Cell<u32> = const { Cell::new(0) };
    static GROUP: Cell<u64> = const { Cell::new(0) };
}

/// What is known of the running thread or task.
struct Here {
    held: Held,
    seen: Seen,
}

impl Here {
    const fn new() -> Self {
        Self {
            held: Held::new(),
            seen: Seen::new(),
        }
    }
}

/// Nothing if the thread is about to end, or is in here already.
fn here<R>(f: impl FnOnce(&mut Here) -> R) -> Option<R> {
    HERE.try_with(|here| {
        here.try_borrow_mut().ok().map(|mut here| {
            here.held.begin(PERIOD.load(Ordering::Relaxed));
            f(&mut here)
        })
    })
    .ok()
    .flatten()
}

/// Says what is new, when nothing of ours is borrowed or locked: whoever listens may take locks.
fn tell(f: impl FnOnce(&mut Here) -> Vec<Warning>) {
    if let Some(new) = here(f)
        && !new.is_empty()
    {
        say(&new, level());
    }
}

#[cold]
fn say(new: &[Warning], level: Level) {
    for warning in new {
        tracing::warn!(target: "antifreeze_sync::order", "{warning}");
    }
    if level == Level::Panic && !std::thread::panicking() {
        let texts: Vec<String> = new.iter().map(Warning::to_string).collect();
        panic!("{}", texts.join("\n"));
    }
}

fn with_cell<T: Copy, R>(cell: &'static LocalKey<Cell<T>>, value: T, f: impl FnOnce() -> R) -> R {
    struct Back<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Back<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _back = Back(cell, cell.replace(value));
    f()
}

impl Level {
    const fn of(number: u8) -> Option<Self> {
        const { assert!(Self::Off as u8 == 0 && Self::Warn as u8 == 1 && Self::Panic as u8 == 2) };
        match number {
            0 => Some(Self::Off),
            1 => Some(Self::Warn),
            2 => Some(Self::Panic),
            _ => None,
        }
    }

    const fn default_of_build() -> Self {
        if cfg!(debug_assertions) {
            Self::Warn
        } else {
            Self::Off
        }
    }

    /// What the environment asks for: nothing, a level, or something else, which is returned.
    fn asked(value: Option<&OsStr>) -> Result<Option<Self>, String> {
        let Some(value) = value else { return Ok(None) };
        match value.to_str() {
            Some("off") => Ok(Some(Self::Off)),
            Some("warn") => Ok(Some(Self::Warn)),
            Some("panic") => Ok(Some(Self::Panic)),
            _ => Err(value.to_string_lossy().into_owned()),
        }
    }
}

#[cold]
fn level_at_first_use() -> Level {
    let asked = Level::asked(std::env::var_os(VARIABLE).as_deref());
    let chosen = asked
        .as_ref()
        .ok()
        .copied()
        .flatten()
        .unwrap_or(Level::default_of_build());
    let told = LEVEL.compare_exchange(UNKNOWN, chosen as u8, Ordering::Relaxed, Ordering::Relaxed);
    // Only now, because whoever listens may take a lock, and so come here again.
    match (told, asked) {
        (Ok(_), Err(value)) => tracing::warn!(
            target: "antifreeze_sync::order",
            "{VARIABLE} is {value:?}, expected off, warn or panic; it stays at {chosen:?}",
        ),
        (Ok(_), Ok(_)) => (),
        (Err(set), _) => return Level::of(set).unwrap_or(chosen),
    }
    chosen
}
