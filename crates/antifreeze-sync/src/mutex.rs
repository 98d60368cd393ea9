//! [`Mutex`]: data that one agent has at a time.

use std::any::type_name;
use std::cell::UnsafeCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::agent;
use crate::error::LockError;
use crate::faults::{self, Fault};
use crate::label::Label;
use crate::order::How;
use crate::raw::{Acquire, RawLock};
use crate::report::Mode;
use crate::sync::const_fn;

/// Data that one agent has at a time: a thread, a task or a call.
///
/// A wait that could never end is an error that names the whole cycle. Nothing is poisoned: if
/// somebody panics while having the data, the next one finds it as it was left.
///
/// # Fairness
///
/// A thread may be faster than threads that wait, for half a millisecond at most; then the one that
/// waits longest gets the lock. Tasks are served in the order in which they began to wait, and nobody
/// passes them; where short uses meet and nobody waits, a task may look for some microseconds whether the
/// lock becomes free before it does. A [`fair`](Self::fair) mutex serves everybody in order.
///
/// # Cost
///
/// That of a [lock](crate#cost).
///
/// # Examples
///
/// ```
/// use antifreeze_sync::Mutex;
///
/// static ACCOUNTS: Mutex<Vec<u32>> = Mutex::named("accounts", Vec::new());
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// ACCOUNTS.lock()?.push(100);
/// assert_eq!(ACCOUNTS.lock()?.len(), 1);
/// # Ok(()) }
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawLock,
    data: UnsafeCell<T>,
}

// SAFETY: the data is sent along with its lock.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: shared access to the lock gives access to the data to one agent at a time, which amounts to
// sending the data back and forth.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A mutex over `value`, known by its type and the place where it was made.
        #[track_caller]
        pub const fn new(value: T) -> Self {
            Self { raw: RawLock::new(Label::new("Mutex")), data: UnsafeCell::new(value) }
        }
    }

    const_fn! {
        /// A mutex that reports and views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, value: T) -> Self {
            Self { raw: RawLock::new(Label::named("Mutex", name)), data: UnsafeCell::new(value) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.raw.rename(name.into());
        self
    }

    /// Serves everybody in the order in which they came, threads too.
    ///
    /// Then a contended lock changes hands with every use, which costs a change of threads each time.
    pub const fn fair(mut self) -> Self {
        self.raw.policy_mut().fair = true;
        self
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// The data, alone.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end: at once if this thread has the lock
    /// already, else after about a millisecond.
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    #[track_caller]
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError> {
        let site = Location::caller();
        self.raw.lock(site, None, type_name::<T>)?;
        Ok(self.guard(site, How::Blocking))
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, LockError> {
        self.lock_deadline(Instant::now().checked_add(timeout), Location::caller())
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn lock_until(&self, deadline: Instant) -> Result<MutexGuard<'_, T>, LockError> {
        self.lock_deadline(Some(deadline), Location::caller())
    }

    fn lock_deadline(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<MutexGuard<'_, T>, LockError> {
        self.raw.lock(site, deadline, type_name::<T>)?;
        Ok(self.guard(site, How::Blocking))
    }

    /// The data, if nobody has it.
    #[track_caller]
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let site = Location::caller();
        self.raw
            .try_lock(Mode::Write, site)
            .then(|| self.guard(site, How::Try))
    }

    /// The data, alone, for a task.
    ///
    /// The lock belongs to the [`task`](crate::task()) that awaits it. If it is free the future is
    /// ready at once; else tasks get it in the order in which they began to wait.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn lock_async(&self) -> LockFuture<'_, T> {
        let site = Location::caller();
        LockFuture {
            acquire: self.raw.acquire::<T>(Mode::Write, site),
            mutex: self,
        }
    }

    /// Runs `f` with the data, alone.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock). Then `f` was not run.
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    #[track_caller]
    pub fn run<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, LockError> {
        Ok(f(&mut *self.lock()?))
    }

    /// Runs `f` with the data, alone, until its future is done: Twisted's `DeferredLock.run`.
    ///
    /// The lock is let go when `f` is done, fails, panics, or is dropped.
    ///
    /// # Errors
    ///
    /// As [`lock_async`](Self::lock_async). Then `f` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, or `f` where it is, and lets go of the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), antifreeze_sync::LockError> {
    /// use antifreeze_sync::{Mutex, block_on};
    ///
    /// async fn record(value: u32) -> u32 {
    ///     value
    /// }
    ///
    /// let counter = Mutex::new(0);
    /// let next = block_on(counter.run_async(async |count| {
    ///     *count += 1;
    ///     record(*count).await
    /// }))?;
    /// assert_eq!(next, 1);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn run_async<R>(
        &self,
        f: impl AsyncFnOnce(&mut T) -> R,
    ) -> impl Future<Output = Result<R, LockError>> {
        let lock = self.lock_async();
        async move {
            let mut guard = lock.await?;
            let raw = &guard.mutex.raw;
            let mut done = pin!(f(&mut *guard));
            let outcome = poll_fn(|context| {
                // Whoever polls it is who will let go of the lock.
                raw.hand_to(agent::task_frame());
                done.as_mut().poll(context)
            });
            Ok(outcome.await)
        }
    }

    /// Locks as for somebody who called from `site`.
    pub(crate) fn lock_at(
        &self,
        site: &'static Location<'static>,
    ) -> Result<MutexGuard<'_, T>, LockError> {
        self.lock_deadline(None, site)
    }

    /// The same for a task.
    pub(crate) fn lock_async_at(&self, site: &'static Location<'static>) -> LockFuture<'_, T> {
        let acquire = self.raw.acquire::<T>(Mode::Write, site);
        LockFuture {
            acquire,
            mutex: self,
        }
    }

    /// The error for somebody who wants it twice at once.
    #[cold]
    pub(crate) fn wanted_twice(&self, site: &'static Location<'static>) -> LockError {
        self.raw.wanted_twice(site, type_name::<T>)
    }

    /// Whether somebody has the lock at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The data, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    #[inline]
    fn guard<W: Bound>(&self, site: &'static Location<'static>, how: How) -> MutexGuard<'_, T, W> {
        let guard = MutexGuard {
            mutex: self,
            bound: PhantomData,
        };
        if W::is_known() {
            self.raw.learn(Mode::Write, site, how, type_name::<T>);
        }
        guard
    }
}

impl<T> Mutex<T> {
    /// The data, alone, with a guard that keeps the mutex and can be sent to others.
    ///
    /// Since nobody knows who will let go of it, a wait for it is never part of a deadlock that is
    /// found, until whoever has it in the end says so by [`bind`](OwnedMutexGuard::bind).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    #[track_caller]
    pub fn lock_owned(self: &Arc<Self>) -> Result<OwnedMutexGuard<T>, LockError> {
        self.raw.lock(Location::caller(), None, type_name::<T>)?;
        Ok(OwnedMutexGuard::new(self))
    }

    /// The same for a task.
    ///
    /// # Errors
    ///
    /// As [`lock_async`](Self::lock_async).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn lock_owned_async(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<OwnedMutexGuard<T>, LockError>> + Send + use<'_, T>
    where
        T: Send,
    {
        let acquire = self.raw.acquire::<T>(Mode::Write, Location::caller());
        async move {
            acquire.await?;
            Ok(OwnedMutexGuard::new(self))
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Mutex");
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

/// What binds a guard to the thread that acquired it.
#[doc(hidden)]
pub struct OnThread(PhantomData<*const ()>);

/// A guard of this goes with its task to whatever thread polls it.
#[doc(hidden)]
pub struct OnTask(());

/// What a guard is bound to.
#[doc(hidden)]
pub trait Bound {
    /// Whether it is a task, or what that awaits.
    const IS_TASK: bool;
    /// Whether it is known who lets go of it.
    fn is_known() -> bool;
    /// To whom what is acquired through it belongs.
    fn frame() -> u64;
}

impl Bound for OnThread {
    const IS_TASK: bool = false;

    #[inline]
    fn is_known() -> bool {
        true
    }

    #[inline]
    fn frame() -> u64 {
        agent::frame()
    }
}

impl Bound for OnTask {
    const IS_TASK: bool = true;

    #[inline]
    fn is_known() -> bool {
        agent::task_frame() != agent::ANONYMOUS
    }

    #[inline]
    fn frame() -> u64 {
        agent::task_frame()
    }
}

/// Proof that the data is ours alone. Dropping it lets the next one have it.
#[must_use = "the mutex is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct MutexGuard<'a, T: ?Sized, W: Bound = OnThread> {
    mutex: &'a Mutex<T>,
    bound: PhantomData<(&'a mut T, W)>,
}

/// Proof that the data is a task's alone.
///
/// It belongs to the task that acquired it: reports name that one, and a deadlock is judged by it. The
/// guard of a `static` mutex could be moved into another task: use [`Mutex::lock_owned_async`] for
/// that, or somebody may be told of a deadlock that is none.
pub type AsyncMutexGuard<'a, T> = MutexGuard<'a, T, OnTask>;

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Lets go of the data while `f` runs, and takes it again.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`], when it is taken again. The guard is gone then, and `f` has run.
    ///
    /// # Blocking
    ///
    /// When it is taken again.
    #[track_caller]
    pub fn unlocked<R>(guard: Self, f: impl FnOnce() -> R) -> Result<(Self, R), LockError> {
        let site = Location::caller();
        let mutex = guard.mutex;
        drop(guard);
        let result = f();
        mutex.raw.lock(site, None, type_name::<T>)?;
        Ok((mutex.guard(site, How::Blocking), result))
    }
}

impl<'a, T: ?Sized, W: Bound> MutexGuard<'a, T, W> {
    /// Lets go of the data, and gives it to whoever waits longest.
    pub fn unlock_fair(guard: Self) {
        let mutex = guard.mutex;
        std::mem::forget(guard);
        mutex.raw.unlearn(Mode::Write);
        mutex.raw.unlock_fair();
    }

    /// The mutex of this guard.
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }

    /// Tells lock-order checking that the data is let go, which [`let_go`](Self::let_go) then does.
    pub(crate) fn unlearn(guard: &Self) {
        guard.mutex.raw.unlearn(Mode::Write);
    }

    /// Lets go of the data, after [`unlearn`](Self::unlearn).
    pub(crate) fn let_go(guard: Self) -> &'a Mutex<T> {
        let mutex = guard.mutex;
        std::mem::forget(guard);
        mutex.raw.unlock();
        mutex
    }
}

impl<T: ?Sized, W: Bound> Deref for MutexGuard<'_, T, W> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while its mutex is locked for it, so nobody else has the data.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized, W: Bound> DerefMut for MutexGuard<'_, T, W> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this guard is borrowed alone.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized, W: Bound> Drop for MutexGuard<'_, T, W> {
    #[inline]
    fn drop(&mut self) {
        let raw = &self.mutex.raw;
        raw.unlearn(Mode::Write);
        match W::IS_TASK {
            true => raw.unlock_of_task(),
            false => raw.unlock(),
        }
    }
}

impl<T: ?Sized + fmt::Debug, W: Bound> fmt::Debug for MutexGuard<'_, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Waits for a [`Mutex`] as a task. Made by [`Mutex::lock_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct LockFuture<'a, T: ?Sized> {
    acquire: Acquire<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<'a, T: ?Sized> Future for LockFuture<'a, T> {
    type Output = Result<AsyncMutexGuard<'a, T>, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let site = self.acquire.site();
        let mutex = self.mutex;
        Pin::new(&mut self.acquire)
            .poll(context)
            .map(|acquired| acquired.map(|_| mutex.guard(site, How::Blocking)))
    }
}

/// Proof that the data is ours alone, which keeps the mutex and may go anywhere.
#[must_use = "the mutex is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct OwnedMutexGuard<T: ?Sized> {
    mutex: Arc<Mutex<T>>,
    // It gives `&T`: whoever shares the guard must be allowed to share the data.
    data: PhantomData<T>,
}

impl<T> OwnedMutexGuard<T> {
    fn new(mutex: &Arc<Mutex<T>>) -> Self {
        // Nobody knows who will let go of it.
        if !faults::is(Fault::OwnedIsClaimed) {
            mutex.raw.hand_to(agent::ANONYMOUS);
        }
        Self {
            mutex: Arc::clone(mutex),
            data: PhantomData,
        }
    }
}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// Says that whoever calls this has the lock now and will let go of it, so that deadlocks through
    /// it are found.
    ///
    /// That is the thread or the [`task`](crate::task()). In a task of an executor that is not one of
    /// ours, it would be the thread that happens to poll it: do not call this there.
    pub fn bind(&self) {
        self.mutex.raw.hand_to(agent::frame());
    }
}

impl<T: ?Sized> Deref for OwnedMutexGuard<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while its mutex is locked for it, so nobody else has the data.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and this guard is borrowed alone.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

// SAFETY: the guard gives `&T` of the data, and the mutex itself, which may be shared if the data may
// be sent. (Sending the guard is derived: the marker decides.)
unsafe impl<T: ?Sized + Send + Sync, W: Bound> Sync for MutexGuard<'_, T, W> {}
