//! The locks with the face of [`lock_api`]: code written for `parking_lot` takes them by changing an
//! import.
//!
//! ```
//! // was: use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
//! use antifreeze_sync::lock_api::{MappedMutexGuard, Mutex, MutexGuard};
//!
//! static ACCOUNTS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
//!
//! ACCOUNTS.lock().push(100);
//! let mut first: MappedMutexGuard<'_, u32> = MutexGuard::map(ACCOUNTS.lock(), |all| &mut all[0]);
//! *first += 1;
//! assert_eq!(*first, 101);
//! ```
//!
//! Code that is generic over [`lock_api::RawMutex`] or [`lock_api::RawRwLock`] takes [`RawMutex`] and
//! [`RawRwLock`].
//!
//! # What is different
//!
//! This face has no error to return. So a wait that could never end is a **panic** with the report
//! of the deadlock, in the thread that was chosen to give way; what it holds is let go as it unwinds,
//! nothing is poisoned, and the others in the cycle go on. `try_…_for` and `try_…_until` say that the
//! lock could not be had, without waiting for the rest of the time. Where a panic is not what you
//! want, [`Mutex`](crate::Mutex) and [`RwLock`](crate::RwLock) return a [`LockError`].
//!
//! There is one exception. `MutexGuard::unlocked`, `bump` and their like take the lock again behind
//! a guard that exists all the time, and must have it when they return or unwind. If that wait is the
//! one which would have to fail, it is logged as an error and begun again, until somebody else gives
//! way or the lock becomes free; if that never happens, it hangs as it would with `parking_lot`.
//!
//! `Mutex::new` cannot know where it is called from. Reports then say of a lock only where it was
//! acquired, which is what one needs to know, and [lock-order checking](crate::order) leaves it out.
//! [`const_mutex`] and [`const_rwlock`] do know, and [`RawMutex::named`] gives a name:
//!
//! ```
//! use antifreeze_sync::lock_api::{Mutex, RawMutex, const_mutex};
//!
//! static QUEUE: Mutex<Vec<u32>> = const_mutex(Vec::new());
//! static TOTAL: Mutex<u32> = Mutex::from_raw(RawMutex::named("total"), 0);
//! # assert_eq!((QUEUE.lock().len(), *TOTAL.lock()), (0, 0));
//! ```
//!
//! A lock is larger than one of `parking_lot`, and guards stay on their thread, which keeps a list of
//! those that read. There is no condition variable, `Once` or reentrant mutex with this face:
//! [`Condvar`](crate::Condvar), [`Once`](crate::Once) and [`ReentrantMutex`](crate::ReentrantMutex)
//! return errors.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use ::lock_api::{
    GuardNoSend, RawMutexFair, RawMutexTimed, RawRwLockDowngrade, RawRwLockFair,
    RawRwLockRecursive, RawRwLockRecursiveTimed, RawRwLockTimed, RawRwLockUpgrade,
    RawRwLockUpgradeDowngrade, RawRwLockUpgradeFair, RawRwLockUpgradeTimed,
};

use crate::agent;
use crate::error::LockError;
use crate::journal::Slot;
use crate::label::Label;
use crate::order::{self, How};
use crate::raw::RawLock;
use crate::report::Mode;

/// Data that one thread has at a time. A deadlock is a panic; see the [module](self).
pub type Mutex<T> = ::lock_api::Mutex<RawMutex, T>;
/// Proof that the data of a [`Mutex`] is ours alone.
pub type MutexGuard<'a, T> = ::lock_api::MutexGuard<'a, RawMutex, T>;
/// Proof that a part of the data of a [`Mutex`] is ours alone.
pub type MappedMutexGuard<'a, T> = ::lock_api::MappedMutexGuard<'a, RawMutex, T>;

/// A [`Mutex`] that serves everybody in the order in which they came.
pub type FairMutex<T> = ::lock_api::Mutex<RawFairMutex, T>;
/// Proof that the data of a [`FairMutex`] is ours alone.
pub type FairMutexGuard<'a, T> = ::lock_api::MutexGuard<'a, RawFairMutex, T>;
/// Proof that a part of the data of a [`FairMutex`] is ours alone.
pub type MappedFairMutexGuard<'a, T> = ::lock_api::MappedMutexGuard<'a, RawFairMutex, T>;

/// Data that many threads read together, and one writes alone. A deadlock is a panic; see the
/// [module](self).
pub type RwLock<T> = ::lock_api::RwLock<RawRwLock, T>;
/// Proof that the data of a [`RwLock`] may be read.
pub type RwLockReadGuard<'a, T> = ::lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// Proof that the data of a [`RwLock`] is ours alone.
pub type RwLockWriteGuard<'a, T> = ::lock_api::RwLockWriteGuard<'a, RawRwLock, T>;
/// Proof that the data of a [`RwLock`] may be read, and written after an upgrade.
pub type RwLockUpgradableReadGuard<'a, T> = ::lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;
/// Proof that a part of the data of a [`RwLock`] may be read.
pub type MappedRwLockReadGuard<'a, T> = ::lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;
/// Proof that a part of the data of a [`RwLock`] is ours alone.
pub type MappedRwLockWriteGuard<'a, T> = ::lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

/// A mutex over `value` that knows where it was made.
#[track_caller]
pub const fn const_mutex<T>(value: T) -> Mutex<T> {
    Mutex::from_raw(RawMutex::new(), value)
}

/// A fair mutex over `value` that knows where it was made.
#[track_caller]
pub const fn const_fair_mutex<T>(value: T) -> FairMutex<T> {
    FairMutex::from_raw(RawFairMutex::new(), value)
}

/// A lock over `value` that knows where it was made.
#[track_caller]
pub const fn const_rwlock<T>(value: T) -> RwLock<T> {
    RwLock::from_raw(RawRwLock::new(), value)
}

/// The lock of a [`Mutex`], without data.
pub struct RawMutex(Raw);

/// The lock of a [`FairMutex`], without data.
pub struct RawFairMutex(Raw);

/// The lock of a [`RwLock`], without data.
pub struct RawRwLock(Raw);

/// A lock, and whether it is known where it was made.
struct Raw {
    lock: RawLock,
    has_place: bool,
}

/// What is under these locks, of which they know nothing.
fn no_data() -> &'static str {
    ""
}

macro_rules! constructors {
    ($($type:ident $kind:literal $fair:literal;)*) => {$(
        impl $type {
            /// A free lock that knows where it was made.
            #[track_caller]
            pub const fn new() -> Self {
                Self(Raw::new(Label::new($kind), $fair, true))
            }

            /// A free lock that reports and views call `name`.
            #[track_caller]
            pub const fn named(name: &'static str) -> Self {
                Self(Raw::new(Label::named($kind, name), $fair, true))
            }
        }

        impl Default for $type {
            #[track_caller]
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type))
                    .field("locked", &self.0.lock.is_locked())
                    .finish_non_exhaustive()
            }
        }
    )*};
}

constructors! {
    RawMutex "Mutex" false;
    RawFairMutex "FairMutex" true;
    RawRwLock "RwLock" false;
}

macro_rules! mutexes {
    ($($type:ident $kind:literal $fair:literal;)*) => {$(
        // SAFETY: `lock`, and the others when they return true, have taken the lock alone, and only
        // `unlock` lets it go.
        unsafe impl ::lock_api::RawMutex for $type {
            const INIT: Self = Self(Raw::new(Label::new($kind), $fair, false));

            // Who has the lock is told by who acquired it, so it must be the same who lets it go.
            type GuardMarker = GuardNoSend;

            #[track_caller]
            #[inline]
            fn lock(&self) {
                self.0.acquire(Mode::Write);
            }

            #[track_caller]
            #[inline]
            fn try_lock(&self) -> bool {
                self.0.try_acquire(Mode::Write)
            }

            #[inline]
            unsafe fn unlock(&self) {
                self.0.release(Mode::Write);
            }

            #[inline]
            fn is_locked(&self) -> bool {
                self.0.lock.is_locked()
            }
        }

        // SAFETY: as above.
        unsafe impl RawMutexFair for $type {
            unsafe fn unlock_fair(&self) {
                self.0.release_fair();
            }

            #[track_caller]
            unsafe fn bump(&self) {
                self.0.release_fair();
                self.0.acquire_again(Mode::Write);
            }
        }

        // SAFETY: as above.
        unsafe impl RawMutexTimed for $type {
            type Duration = Duration;
            type Instant = Instant;

            #[track_caller]
            fn try_lock_for(&self, timeout: Duration) -> bool {
                self.0.acquire_until(Mode::Write, Instant::now().checked_add(timeout))
            }

            #[track_caller]
            fn try_lock_until(&self, deadline: Instant) -> bool {
                self.0.acquire_until(Mode::Write, Some(deadline))
            }
        }
    )*};
}

mutexes! {
    RawMutex "Mutex" false;
    RawFairMutex "FairMutex" true;
}

// SAFETY: the functions return, or return true, only when the lock was taken in the mode that they
// are for; what excludes what is decided by `RawLock`.
unsafe impl ::lock_api::RawRwLock for RawRwLock {
    const INIT: Self = Self(Raw::new(Label::new("RwLock"), false, false));

    // A thread finds in its own notes who reads.
    type GuardMarker = GuardNoSend;

    #[track_caller]
    #[inline]
    fn lock_shared(&self) {
        self.0.acquire(Mode::Read);
    }

    #[track_caller]
    #[inline]
    fn try_lock_shared(&self) -> bool {
        self.0.try_acquire(Mode::Read)
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.0.release(Mode::Read);
    }

    #[track_caller]
    #[inline]
    fn lock_exclusive(&self) {
        self.0.acquire(Mode::Write);
    }

    #[track_caller]
    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        self.0.try_acquire(Mode::Write)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.0.release(Mode::Write);
    }

    fn is_locked(&self) -> bool {
        self.0.lock.is_locked()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.0.lock.is_locked_alone()
    }
}

// SAFETY: as for `RawRwLock`.
unsafe impl RawRwLockFair for RawRwLock {
    unsafe fn unlock_shared_fair(&self) {
        self.0.release(Mode::Read);
    }

    unsafe fn unlock_exclusive_fair(&self) {
        self.0.release_fair();
    }

    #[track_caller]
    unsafe fn bump_shared(&self) {
        self.0.release(Mode::Read);
        self.0.acquire_again(Mode::Read);
    }

    #[track_caller]
    unsafe fn bump_exclusive(&self) {
        self.0.release_fair();
        self.0.acquire_again(Mode::Write);
    }
}

// SAFETY: as for `RawRwLock`.
unsafe impl RawRwLockDowngrade for RawRwLock {
    #[track_caller]
    unsafe fn downgrade(&self) {
        self.0.downgrade(Mode::Read);
    }
}

// SAFETY: as for `RawRwLock`.
unsafe impl RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    #[track_caller]
    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.0
            .acquire_until(Mode::Read, Instant::now().checked_add(timeout))
    }

    #[track_caller]
    fn try_lock_shared_until(&self, deadline: Instant) -> bool {
        self.0.acquire_until(Mode::Read, Some(deadline))
    }

    #[track_caller]
    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.0
            .acquire_until(Mode::Write, Instant::now().checked_add(timeout))
    }

    #[track_caller]
    fn try_lock_exclusive_until(&self, deadline: Instant) -> bool {
        self.0.acquire_until(Mode::Write, Some(deadline))
    }
}

// SAFETY: as for `RawRwLock`. As long as anybody reads, this does not wait.
unsafe impl RawRwLockRecursive for RawRwLock {
    #[track_caller]
    fn lock_shared_recursive(&self) {
        if !self.try_lock_shared_recursive() {
            self.0.acquire(Mode::Read);
        }
    }

    #[track_caller]
    fn try_lock_shared_recursive(&self) -> bool {
        self.0.try_read_past()
    }
}

// SAFETY: as for `RawRwLockRecursive`.
unsafe impl RawRwLockRecursiveTimed for RawRwLock {
    #[track_caller]
    fn try_lock_shared_recursive_for(&self, timeout: Duration) -> bool {
        self.try_lock_shared_recursive() || self.try_lock_shared_for(timeout)
    }

    #[track_caller]
    fn try_lock_shared_recursive_until(&self, deadline: Instant) -> bool {
        self.try_lock_shared_recursive() || self.try_lock_shared_until(deadline)
    }
}

// SAFETY: as for `RawRwLock`. Nobody else can have the right to upgrade at the same time.
unsafe impl RawRwLockUpgrade for RawRwLock {
    #[track_caller]
    fn lock_upgradable(&self) {
        self.0.acquire(Mode::UpgradableRead);
    }

    #[track_caller]
    fn try_lock_upgradable(&self) -> bool {
        self.0.try_acquire(Mode::UpgradableRead)
    }

    unsafe fn unlock_upgradable(&self) {
        self.0.release(Mode::UpgradableRead);
    }

    // If it panics, it still is an upgradable read.
    #[track_caller]
    unsafe fn upgrade(&self) {
        self.0.acquire(Mode::Upgrade);
    }

    #[track_caller]
    unsafe fn try_upgrade(&self) -> bool {
        self.0.try_acquire(Mode::Upgrade)
    }
}

// SAFETY: as for `RawRwLockUpgrade`.
unsafe impl RawRwLockUpgradeFair for RawRwLock {
    unsafe fn unlock_upgradable_fair(&self) {
        self.0.release(Mode::UpgradableRead);
    }

    #[track_caller]
    unsafe fn bump_upgradable(&self) {
        self.0.release(Mode::UpgradableRead);
        self.0.acquire_again(Mode::UpgradableRead);
    }
}

// SAFETY: as for `RawRwLockUpgrade`.
unsafe impl RawRwLockUpgradeDowngrade for RawRwLock {
    unsafe fn downgrade_upgradable(&self) {
        self.0.give_up_upgrade();
    }

    #[track_caller]
    unsafe fn downgrade_to_upgradable(&self) {
        self.0.downgrade(Mode::UpgradableRead);
    }
}

// SAFETY: as for `RawRwLockUpgrade`.
unsafe impl RawRwLockUpgradeTimed for RawRwLock {
    #[track_caller]
    fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        self.0
            .acquire_until(Mode::UpgradableRead, Instant::now().checked_add(timeout))
    }

    #[track_caller]
    fn try_lock_upgradable_until(&self, deadline: Instant) -> bool {
        self.0.acquire_until(Mode::UpgradableRead, Some(deadline))
    }

    #[track_caller]
    unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        self.0
            .acquire_until(Mode::Upgrade, Instant::now().checked_add(timeout))
    }

    #[track_caller]
    unsafe fn try_upgrade_until(&self, deadline: Instant) -> bool {
        self.0.acquire_until(Mode::Upgrade, Some(deadline))
    }
}

impl Raw {
    const fn new(label: Label, fair: bool, has_place: bool) -> Self {
        let mut lock = RawLock::new(label);
        lock.policy_mut().fair = fair;
        Self { lock, has_place }
    }

    #[track_caller]
    #[inline]
    fn acquire(&self, mode: Mode) {
        if let Err(error) = self.wait(mode, None) {
            self.refused(mode, &error);
        }
        self.entered(mode, How::Blocking);
    }

    #[track_caller]
    fn acquire_until(&self, mode: Mode, deadline: Option<Instant>) -> bool {
        let is_ours = self.wait(mode, deadline).is_ok();
        if is_ours {
            self.entered(mode, How::Blocking);
        }
        is_ours
    }

    #[track_caller]
    #[inline]
    fn try_acquire(&self, mode: Mode) -> bool {
        let is_ours = self.lock.try_lock(mode, Location::caller());
        if is_ours {
            self.entered(mode, How::Try);
        }
        is_ours
    }

    #[track_caller]
    fn try_read_past(&self) -> bool {
        let is_ours = self.lock.try_read_past(agent::ANONYMOUS);
        if is_ours {
            self.entered(Mode::Read, How::Try);
        }
        is_ours
    }

    /// Takes the lock behind a guard that exists already, and so must not fail.
    #[track_caller]
    fn acquire_again(&self, mode: Mode) {
        if let Err(error) = self.wait(mode, None) {
            self.insist(mode, &error);
        }
        note(&self.lock, mode, Location::caller());
    }

    #[track_caller]
    #[inline]
    fn wait(&self, mode: Mode, deadline: Option<Instant>) -> Result<(), LockError> {
        let site = Location::caller();
        match mode {
            Mode::Write => self.lock.lock(site, deadline, no_data),
            Mode::Upgrade if self.lock.try_lock(mode, site) => Ok(()),
            Mode::Upgrade => self.lock.block(mode, site, deadline, no_data),
            _ => self.lock.read(mode, site, deadline, no_data),
        }
    }

    #[track_caller]
    #[cold]
    fn refused(&self, mode: Mode, error: &LockError) {
        if is_within_lock_api(Location::caller()) {
            self.insist(mode, error);
        } else {
            panic!("{error}");
        }
    }

    /// Waits again, as often as it takes, after it was refused.
    #[track_caller]
    #[cold]
    fn insist(&self, mode: Mode, error: &LockError) {
        tracing::error!(target: "antifreeze_sync", "a guard cannot do without its lock: {error}");
        // Somebody else who waits in the same cycle becomes its victim meanwhile, if anybody can.
        let mut pause = Duration::from_millis(1);
        while self.wait(mode, None).is_err() {
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Writes down what was acquired. May panic; then the lock is as it was before.
    #[track_caller]
    #[inline]
    fn entered(&self, mode: Mode, how: How) {
        let site = Location::caller();
        note(&self.lock, mode, site);
        if self.has_place && order::active() && !is_within_lock_api(site) {
            let undo = Undo { raw: self, mode };
            self.lock.learn(mode, site, how, no_data);
            mem::forget(undo);
        }
    }

    #[inline]
    fn release(&self, mode: Mode) {
        self.lock.unlearn(mode);
        match mode {
            Mode::Write => self.lock.unlock(),
            _ => {
                forget(self.lock.id(), mode, Slot::clear);
                self.lock.unlock_read(mode);
            }
        }
    }

    fn release_fair(&self) {
        self.lock.unlearn(Mode::Write);
        self.lock.unlock_fair();
    }

    #[track_caller]
    fn downgrade(&self, to: Mode) {
        // Noted before anybody can wait for this reader.
        note(&self.lock, to, Location::caller());
        if order::active() {
            order::downgraded(self.lock.id(), to);
        }
        self.lock.downgrade(to);
    }

    fn give_up_upgrade(&self) {
        let id = self.lock.id();
        if let Some(reading) = forget(id, Mode::UpgradableRead, Slot::downgrade) {
            keep(Reading {
                mode: Mode::Read,
                ..reading
            });
        }
        if order::active() {
            order::downgraded(id, Mode::Read);
        }
        self.lock.downgrade_upgradable();
    }
}

/// Lets go of a lock that has no guard yet.
struct Undo<'a> {
    raw: &'a Raw,
    mode: Mode,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        match self.mode {
            // The guard from before is still there.
            Mode::Upgrade => self.raw.downgrade(Mode::UpgradableRead),
            mode => self.raw.release(mode),
        }
    }
}

/// A lock that this thread reads.
struct Reading {
    lock: u64,
    mode: Mode,
    frame: u64,
    slot: &'static Slot,
}

thread_local! {
    // The guards have no place for it.
    static READINGS: RefCell<Vec<Reading>> = const { RefCell::new(Vec::new()) };
}

/// Notes what was acquired, where the detector finds it.
#[inline]
fn note(lock: &RawLock, mode: Mode, site: &'static Location<'static>) {
    match mode {
        Mode::Read | Mode::UpgradableRead => {
            let frame = agent::frame();
            if let Some(slot) = lock.note(mode, frame, site) {
                keep(Reading {
                    lock: lock.id(),
                    mode,
                    frame,
                    slot,
                });
            }
        }
        Mode::Upgrade => {
            forget(lock.id(), Mode::UpgradableRead, Slot::clear);
        }
        _ => {}
    }
}

#[inline]
fn keep(reading: Reading) {
    let slot = reading.slot;
    let kept = READINGS.try_with(|readings| readings.borrow_mut().push(reading));
    if kept.is_err() {
        // The thread is ending, and nobody could find it later.
        slot.clear();
    }
}

/// Takes the last such reading of this thread off the list, and has `end` called with its slot.
#[inline]
fn forget(lock: u64, mode: Mode, end: fn(&Slot)) -> Option<Reading> {
    let found = READINGS.try_with(|readings| {
        let mut readings = readings.borrow_mut();
        let found = readings
            .iter()
            .rposition(|reading| reading.lock == lock && reading.mode == mode)?;
        let ended = readings.remove(found);
        // If this thread reads it in two roles, nobody knows in which of them it ends to do so.
        for other in &mut *readings {
            if other.lock == lock && other.frame != ended.frame {
                other.frame = agent::ANONYMOUS;
                other.slot.disown();
            }
        }
        end(ended.slot);
        Some(ended)
    });
    found.ok().flatten()
}

/// Whether a lock is acquired by `lock_api` on its own account, to give it back to a guard.
///
/// All its functions that acquire a lock for a caller tell where that is.
fn is_within_lock_api(site: &Location<'_>) -> bool {
    static HOME: LazyLock<&str> = LazyLock::new(|| {
        let file = probe::file();
        file.strip_suffix("mutex.rs").unwrap_or(file)
    });
    site.file().starts_with(*HOME)
}

/// Finds out what a lock is told when `lock_api` acquires it on its own account.
mod probe {
    use std::panic::Location;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    /// A lock that remembers from where it was locked.
    struct Probe {
        is_locked: AtomicBool,
        site: Mutex<Option<&'static Location<'static>>>,
    }

    // SAFETY: whoever locks it was the first to set the flag, or panics.
    unsafe impl ::lock_api::RawMutex for Probe {
        const INIT: Self = Self {
            is_locked: AtomicBool::new(false),
            site: Mutex::new(None),
        };

        type GuardMarker = ::lock_api::GuardNoSend;

        #[track_caller]
        fn lock(&self) {
            assert!(self.try_lock(), "nobody else has it");
            *self.site.lock() = Some(Location::caller());
        }

        fn try_lock(&self) -> bool {
            !self.is_locked.swap(true, Ordering::Acquire)
        }

        unsafe fn unlock(&self) {
            self.is_locked.store(false, Ordering::Release);
        }
    }

    /// The file in which `lock_api` acquires a mutex again for its guard.
    pub(super) fn file() -> &'static str {
        let mutex = ::lock_api::Mutex::<Probe, ()>::new(());
        let mut guard = mutex.lock();
        ::lock_api::MutexGuard::unlocked(&mut guard, || ());
        drop(guard);
        // SAFETY: the raw lock is only looked at.
        let site = unsafe { mutex.raw() }.site.lock().take();
        site.map_or("", Location::file)
    }
}
