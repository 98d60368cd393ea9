//! [`ReentrantMutex`]: a mutex that its holder can lock again.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::agent;
use crate::error::LockError;
use crate::label::{Label, new_id};
use crate::mutex::OnThread;
use crate::order::How;
use crate::raw::RawLock;
use crate::report::Mode;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{const_fn, thread_local_state};

/// How long whoever holds other levels still waits before it waits again for a lock that it was
/// refused.
const PAUSE: Duration = Duration::from_millis(1);

thread_local_state! {
    // A number that no other thread has. Zero until it is needed.
    static THREAD: Cell<u64> = Cell::new(0);
}

/// Data that one agent has at a time, which may lock it again while it has it: Python's
/// `threading.RLock`.
///
/// The holder is a thread, and as what it runs: a [call](crate::Frame) that is served on a thread
/// does not have what the thread has locked before. Since several guards may exist at a time, they
/// only give `&T`; put a `Cell` or `RefCell` inside to change it.
///
/// # Fairness
///
/// As of [`Mutex`](crate::Mutex).
///
/// # Cost
///
/// That of a [lock](crate#cost).
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use antifreeze_sync::{LockError, ReentrantMutex};
///
/// struct Account(ReentrantMutex<Cell<i64>>);
///
/// impl Account {
///     fn deposit(&self, amount: i64) -> Result<(), LockError> {
///         let balance = self.0.lock()?;
///         balance.set(balance.get() + amount);
///         Ok(())
///     }
///
///     fn correct(&self, wrong: i64, right: i64) -> Result<(), LockError> {
///         let _both = self.0.lock()?;
///         self.deposit(-wrong)?;
///         self.deposit(right)
///     }
/// }
///
/// # fn main() -> Result<(), LockError> {
/// let account = Account(ReentrantMutex::new(Cell::new(0)));
/// account.correct(10, 30)?;
/// assert_eq!(account.0.lock()?.get(), 20);
/// # Ok(()) }
/// ```
pub struct ReentrantMutex<T: ?Sized> {
    raw: RawLock,
    /// The thread that has it, or zero. Only that thread puts its own number here and takes it away.
    thread: AtomicU64,
    /// What that thread runs as. This and the next only change, and only matter, while it is locked.
    frame: AtomicU64,
    levels: AtomicU32,
    data: T,
}

// SAFETY: only the thread that has the lock has `&T`: whoever enters again is looked up by the number
// of its thread, and guards stay on their thread unless `T` is `Sync`. So several threads have it one
// after the other, which amounts to sending the data back and forth.
unsafe impl<T: ?Sized + Send> Sync for ReentrantMutex<T> {}

/// How often somebody has locked it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Levels(u32);

impl<T> ReentrantMutex<T> {
    const_fn! {
        /// A mutex over `value`, known by its type and the place where it was made.
        #[track_caller]
        pub const fn new(value: T) -> Self {
            Self::with_label(Label::new("ReentrantMutex"), value)
        }
    }

    const_fn! {
        /// A mutex that reports and views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, value: T) -> Self {
            Self::with_label(Label::named("ReentrantMutex", name), value)
        }
    }

    const_fn! {
        const fn with_label(label: Label, value: T) -> Self {
            Self {
                raw: RawLock::new(label),
                thread: AtomicU64::new(0),
                frame: AtomicU64::new(0),
                levels: AtomicU32::new(0),
                data: value,
            }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.raw.rename(name.into());
        self
    }

    /// Serves everybody in the order in which they came.
    pub const fn fair(mut self) -> Self {
        self.raw.policy_mut().fair = true;
        self
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data
    }
}

impl<T: ?Sized> ReentrantMutex<T> {
    /// The data, for this thread. At once if it has it already.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    ///
    /// # Panics
    ///
    /// If it is locked more than four billion times.
    #[track_caller]
    pub fn lock(&self) -> Result<ReentrantMutexGuard<'_, T>, LockError> {
        self.lock_deadline(None, Location::caller())
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ReentrantMutexGuard<'_, T>, LockError> {
        self.lock_deadline(Instant::now().checked_add(timeout), Location::caller())
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn lock_until(&self, deadline: Instant) -> Result<ReentrantMutexGuard<'_, T>, LockError> {
        self.lock_deadline(Some(deadline), Location::caller())
    }

    fn lock_deadline(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<ReentrantMutexGuard<'_, T>, LockError> {
        if let Some(guard) = self.again() {
            return Ok(guard);
        }
        self.raw.lock(site, deadline, type_name::<T>)?;
        Ok(self.taken(Levels(1), site, How::Blocking))
    }

    /// The data, if nobody else has it.
    #[track_caller]
    pub fn try_lock(&self) -> Option<ReentrantMutexGuard<'_, T>> {
        let site = Location::caller();
        let taken = || self.raw.try_lock(Mode::Write, site);
        self.again()
            .or_else(|| taken().then(|| self.taken(Levels(1), site, How::Try)))
    }

    /// Runs `f` with the data.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock). Then `f` was not run.
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    #[track_caller]
    pub fn run<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, LockError> {
        Ok(f(&*self.lock()?))
    }

    /// Runs `f` with the data, which is awaited as a task. What `f` calls may lock it again.
    ///
    /// There is no guard to keep while awaiting something else: the branches of a task take turns
    /// then, so they would all have the data at the same time.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. Then `f` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn run_async<R>(
        &self,
        f: impl FnOnce(&T) -> R,
    ) -> impl Future<Output = Result<R, LockError>> {
        let site = Location::caller();
        let acquire = self.raw.acquire::<T>(Mode::Write, site);
        async move {
            if let Some(guard) = self.again() {
                return Ok(f(&*guard));
            }
            acquire.await?;
            // `f` runs here and now, whether or not this is a task of ours.
            self.raw.hand_to(agent::frame());
            Ok(f(&*self.taken(Levels(1), site, How::Blocking)))
        }
    }

    /// Whether this thread has the lock, as what it runs now.
    pub fn is_owned(&self) -> bool {
        thread_number().is_some_and(|number| number == self.thread.load(Ordering::Relaxed))
            && self.frame.load(Ordering::Relaxed) == agent::frame()
    }

    /// How often this thread has locked it.
    pub fn levels(&self) -> u32 {
        if self.is_owned() {
            self.levels.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Whether somebody has the lock at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The data, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.data
    }

    /// One more level for whoever has it.
    fn again(&self) -> Option<ReentrantMutexGuard<'_, T>> {
        if !self.is_owned() {
            return None;
        }
        let levels = self.levels.load(Ordering::Relaxed).checked_add(1);
        self.levels
            .store(levels.expect("it is locked too often"), Ordering::Relaxed);
        Some(ReentrantMutexGuard {
            mutex: self,
            bound: PhantomData,
        })
    }

    /// Notes that this thread has just got the lock.
    fn taken(
        &self,
        levels: Levels,
        site: &'static Location<'static>,
        how: How,
    ) -> ReentrantMutexGuard<'_, T> {
        self.thread
            .store(thread_number().unwrap_or(0), Ordering::Relaxed);
        self.frame.store(agent::frame(), Ordering::Relaxed);
        self.levels.store(levels.0, Ordering::Relaxed);
        let guard = ReentrantMutexGuard {
            mutex: self,
            bound: PhantomData,
        };
        self.raw.learn(Mode::Write, site, how, type_name::<T>);
        guard
    }

    fn unlock(&self) {
        self.thread.store(0, Ordering::Relaxed);
        self.raw.unlock();
    }

    /// Takes back all levels that [`ReentrantMutexGuard::let_go`] has let go.
    ///
    /// Somebody who has other guards still cannot be refused: these promise the data. It waits on, so
    /// the next victim is somebody else in the cycle.
    #[track_caller]
    pub(crate) fn lock_levels(
        &self,
        levels: Levels,
    ) -> Result<ReentrantMutexGuard<'_, T>, LockError> {
        let site = Location::caller();
        loop {
            match self.raw.lock(site, None, type_name::<T>) {
                Ok(()) => return Ok(self.taken(levels, site, How::Blocking)),
                Err(error) if levels.0 == 1 => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// A number that no other thread ever has. None while the thread ends.
fn thread_number() -> Option<u64> {
    let number = |thread: &Cell<u64>| {
        if thread.get() == 0 {
            thread.set(new_id());
        }
        thread.get()
    };
    THREAD.try_with(number).ok()
}

impl<T: Default> Default for ReentrantMutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for ReentrantMutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("ReentrantMutex");
        if let Some(name) = self.raw.label().name() {
            text.field("name", &name);
        }
        match self.try_lock() {
            Some(guard) => text.field("data", &&*guard),
            None => text.field("data", &format_args!("<locked>")),
        };
        text.finish_non_exhaustive()
    }
}

/// Proof that this thread has the data. Dropping the last one lets the next thread have it.
#[must_use = "the mutex is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct ReentrantMutexGuard<'a, T: ?Sized> {
    mutex: &'a ReentrantMutex<T>,
    bound: PhantomData<(&'a T, OnThread)>,
}

impl<'a, T: ?Sized> ReentrantMutexGuard<'a, T> {
    /// The mutex of this guard.
    pub fn mutex(guard: &Self) -> &'a ReentrantMutex<T> {
        guard.mutex
    }

    /// Tells lock-order checking that the data is let go, which [`let_go`](Self::let_go) then does.
    pub(crate) fn unlearn(guard: &Self) {
        guard.mutex.raw.unlearn(Mode::Write);
    }

    /// Lets go of all levels, after [`unlearn`](Self::unlearn).
    pub(crate) fn let_go(guard: Self) -> (&'a ReentrantMutex<T>, Levels) {
        let mutex = guard.mutex;
        std::mem::forget(guard);
        let levels = Levels(mutex.levels.load(Ordering::Relaxed));
        mutex.unlock();
        (mutex, levels)
    }
}

impl<T: ?Sized> Deref for ReentrantMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.mutex.data
    }
}

impl<T: ?Sized> Drop for ReentrantMutexGuard<'_, T> {
    fn drop(&mut self) {
        let levels = self.mutex.levels.load(Ordering::Relaxed) - 1;
        self.mutex.levels.store(levels, Ordering::Relaxed);
        if levels == 0 {
            Self::unlearn(self);
            self.mutex.unlock();
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
