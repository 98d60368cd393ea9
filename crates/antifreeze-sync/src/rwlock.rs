//! [`RwLock`]: data that many read together, and one writes alone.

use std::any::type_name;
use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::agent;
use crate::error::LockError;
use crate::frame::Frame;
use crate::journal::Slot;
use crate::label::Label;
use crate::mutex::{Bound, OnTask, OnThread};
use crate::order::{self, How};
use crate::raw::{Acquire, RawLock};
use crate::report::Mode;
use crate::sync::const_fn;
use crate::waiter::{self, Wait, Waiter};

/// Data that many agents read together, and one writes alone.
///
/// A wait that could never end is an error that names the whole cycle. Nothing is poisoned.
///
/// # Fairness
///
/// Everybody is served in the order of arrival, readers that stand together at once: a writer that
/// waits keeps later readers out. There are four exceptions. Among threads, a writer that runs
/// already may be faster than those that wait, for half a millisecond at most. Before it waits as the
/// first one, a task may look for some microseconds whether whoever writes is done. Whoever reads may
/// read again. And a reader is let in past a writer if everybody would wait for ever otherwise,
/// unless the lock is [`strict`](Self::strict).
///
/// # Cost
///
/// That of a [lock](crate#cost).
///
/// # Examples
///
/// ```
/// use antifreeze_sync::RwLock;
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let limits = RwLock::new((0, 100));
/// limits.write()?.1 = 200;
/// let (first, second) = (limits.read()?, limits.read()?);
/// assert_eq!(first.1, second.1);
/// # Ok(()) }
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawLock,
    data: UnsafeCell<T>,
}

// SAFETY: the data is sent along with its lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: several agents may have `&T` at a time, and one after the other `&mut T`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock over `value`, known by its type and the place where it was made.
        #[track_caller]
        pub const fn new(value: T) -> Self {
            Self { raw: RawLock::new(Label::new("RwLock")), data: UnsafeCell::new(value) }
        }
    }

    const_fn! {
        /// A lock that reports and views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, value: T) -> Self {
            Self { raw: RawLock::new(Label::named("RwLock", name)), data: UnsafeCell::new(value) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.raw.rename(name.into());
        self
    }

    /// Serves threads in the order in which they came, too.
    pub const fn fair(mut self) -> Self {
        self.raw.policy_mut().fair = true;
        self
    }

    /// Lets nobody past a writer that waits, not even one who reads already or to undo a deadlock.
    ///
    /// Such deadlocks are reported then. It implies [`fair`](Self::fair).
    pub const fn strict(mut self) -> Self {
        self.raw.policy_mut().fair = true;
        self.raw.policy_mut().strict = true;
        self
    }

    /// Never lets readers wait for a writer that waits itself, so those who keep coming can keep it
    /// waiting for ever.
    ///
    /// This is for data that is hardly ever written, and read by some who call each other, so that a
    /// writer between them must not stop them. Writers are served in the order in which they came.
    pub const fn readers_first(mut self) -> Self {
        self.raw.policy_mut().fair = true;
        self.raw.policy_mut().readers_first = true;
        self
    }

    /// The lock of an object that is called from elsewhere; reports and views call it `Object`.
    #[doc(hidden)]
    #[track_caller]
    pub fn of_object(value: T) -> Self {
        Self {
            raw: RawLock::new(Label::new("Object")),
            data: UnsafeCell::new(value),
        }
        .fair()
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

/// The three ways to acquire, each in the same five variants.
macro_rules! ways {
    ($(
        $what:literal, $mode:ident, $guard:ident, $owned:ident:
        $blocking:ident $timeout:ident $until:ident $tried:ident $awaited:ident $then:ident $tried_for:ident;
    )*) => {
        impl<T: ?Sized> RwLock<T> {
            $(
                #[doc = concat!("The data, ", $what, ".")]
                ///
                /// # Errors
                ///
                /// [`LockError::Deadlock`] if the wait could never end.
                ///
                /// # Blocking
                ///
                /// As long as others are in the way, or came first.
                #[track_caller]
                #[inline]
                pub fn $blocking(&self) -> Result<$guard<'_, T>, LockError> {
                    $guard::block(self, Location::caller(), None)
                }

                /// The same, for `timeout` at the longest.
                ///
                /// # Errors
                ///
                /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
                #[track_caller]
                pub fn $timeout(&self, timeout: Duration) -> Result<$guard<'_, T>, LockError> {
                    $guard::block(self, Location::caller(), Instant::now().checked_add(timeout))
                }

                /// The same, until `deadline` at the latest.
                ///
                /// # Errors
                ///
                /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
                #[track_caller]
                pub fn $until(&self, deadline: Instant) -> Result<$guard<'_, T>, LockError> {
                    $guard::block(self, Location::caller(), Some(deadline))
                }

                /// The same, if that is possible without waiting.
                #[track_caller]
                #[inline]
                pub fn $tried(&self) -> Option<$guard<'_, T>> {
                    let site = Location::caller();
                    self.raw.try_lock(Mode::$mode, site).then(|| $guard::new(self, agent::frame(), site).learnt(site, How::Try))
                }

                /// The same, for a task.
                ///
                /// # Errors
                ///
                /// [`LockError::Deadlock`] if the wait could never end.
                ///
                /// # Cancel safety
                ///
                /// Dropping the future ends the wait. Nobody else loses their place.
                #[track_caller]
                pub fn $awaited(&self) -> RwLockFuture<'_, T, $guard<'_, T, OnTask>> {
                    RwLockFuture {
                        acquire: self.raw.acquire::<T>(Mode::$mode, Location::caller()),
                        lock: self,
                        make: |lock, frame, site| $guard::new(lock, frame, site).learnt(site, How::Blocking),
                    }
                }
            )*
        }

        impl<T: 'static> RwLock<T> {
            $(
                #[doc = concat!("The data, ", $what, ", for the call with this frame, if it can be had at once.")]
                ///
                /// It belongs to that frame wherever the guard goes, so the call has to keep it.
                #[track_caller]
                #[inline]
                pub fn $tried_for(self: &Arc<Self>, frame: u64) -> Option<$owned<T>> {
                    let site = Location::caller();
                    self.raw
                        .try_lock_for(Mode::$mode, frame, site, waiter::How::Call)
                        .then(|| $owned::new(Arc::clone(self), frame, site))
                }

                #[doc = concat!("Calls `then` with the data, ", $what, ", when it can be had for `frame`.")]
                ///
                /// No thread waits: `then` is called at once, or by whoever lets the last one in the way
                /// go. So it must be short. What comes back ends the wait; it is none if that is over.
                #[track_caller]
                pub fn $then(
                    self: &Arc<Self>,
                    frame: &Frame,
                    then: impl FnOnce(Result<$owned<T>, LockError>) + Send + 'static,
                ) -> Option<PendingLock>
                where
                    T: Send + Sync,
                {
                    let site = Location::caller();
                    let (lock, number) = (Arc::clone(self), frame.id());
                    let call = Box::new(move |outcome: Result<(), LockError>| {
                        then(match outcome {
                            Ok(()) => Ok($owned::new(lock, number, site)),
                            Err(error) => {
                                lock.raw.put_back();
                                Err(error)
                            }
                        });
                    });
                    let agent = Arc::clone(&frame.0);
                    let waiter = self.raw.acquire_then(Mode::$mode, false, site, type_name::<T>, agent, call)?;
                    let lock = Arc::clone(self);
                    Some(PendingLock { waiter, give_up: Box::new(move |waiter| lock.raw.call_off(waiter)) })
                }
            )*
        }
    };
}

ways! {
    "with other readers", Read, RwLockReadGuard, OwnedRwLockReadGuard:
    read read_timeout read_until try_read read_async read_then try_read_for;
    "alone", Write, RwLockWriteGuard, OwnedRwLockWriteGuard:
    write write_timeout write_until try_write write_async write_then try_write_for;
}

impl<T: ?Sized> RwLock<T> {
    /// The data, with other readers, for the call with this frame, whoever waits to write it.
    #[track_caller]
    pub fn try_read_past_for(self: &Arc<Self>, frame: u64) -> Option<OwnedRwLockReadGuard<T>> {
        let site = Location::caller();
        self.raw
            .try_read_past(frame)
            .then(|| OwnedRwLockReadGuard::new(Arc::clone(self), frame, site))
    }

    /// As [`read_then`](Self::read_then), but before all those who wait already.
    #[track_caller]
    pub fn read_past_then(
        self: &Arc<Self>,
        frame: &Frame,
        then: impl FnOnce(Result<OwnedRwLockReadGuard<T>, LockError>) + Send + 'static,
    ) -> Option<PendingLock>
    where
        T: Send + Sync + 'static,
    {
        let site = Location::caller();
        let (lock, number) = (Arc::clone(self), frame.id());
        let call = Box::new(move |outcome: Result<(), LockError>| {
            then(match outcome {
                Ok(()) => Ok(OwnedRwLockReadGuard::new(lock, number, site)),
                Err(error) => {
                    lock.raw.put_back();
                    Err(error)
                }
            });
        });
        let (raw, agent) = (&self.raw, Arc::clone(&frame.0));
        let waiter = raw.acquire_then(Mode::Read, true, site, type_name::<T>, agent, call)?;
        let lock = Arc::clone(self);
        let give_up = Box::new(move |waiter: &Waiter| lock.raw.call_off(waiter));
        Some(PendingLock { waiter, give_up })
    }

    /// The data, with other readers, and with the right to become the writer later.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Blocking
    ///
    /// As long as somebody writes, or has this right, or came first.
    #[track_caller]
    pub fn upgradable_read(&self) -> Result<RwLockUpgradableReadGuard<'_, T>, LockError> {
        RwLockUpgradableReadGuard::block(self, Location::caller(), None)
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn upgradable_read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockUpgradableReadGuard<'_, T>, LockError> {
        let deadline = Instant::now().checked_add(timeout);
        RwLockUpgradableReadGuard::block(self, Location::caller(), deadline)
    }

    /// The same, if that is possible without waiting.
    #[track_caller]
    pub fn try_upgradable_read(&self) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        let site = Location::caller();
        self.raw.try_lock(Mode::UpgradableRead, site).then(|| {
            RwLockUpgradableReadGuard::new(self, agent::frame(), site).learnt(site, How::Try)
        })
    }

    /// The same, for a task.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn upgradable_read_async(
        &self,
    ) -> RwLockFuture<'_, T, RwLockUpgradableReadGuard<'_, T, OnTask>> {
        RwLockFuture {
            acquire: self
                .raw
                .acquire::<T>(Mode::UpgradableRead, Location::caller()),
            lock: self,
            make: |lock, frame, site| {
                RwLockUpgradableReadGuard::new(lock, frame, site).learnt(site, How::Blocking)
            },
        }
    }

    /// Whether somebody reads or writes at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The data, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("RwLock");
        if let Some(name) = self.raw.label().name() {
            text.field("name", &name);
        }
        match self.try_read() {
            Some(guard) => text.field("data", &&*guard),
            None => text.field("data", &format_args!("<locked>")),
        };
        text.finish_non_exhaustive()
    }
}

/// What a reader gives back.
struct Reading {
    mode: Mode,
    slot: Option<&'static Slot>,
}

impl Reading {
    #[inline]
    fn begin(raw: &RawLock, mode: Mode, frame: u64, site: &'static Location<'static>) -> Self {
        Self {
            mode,
            slot: raw.note(mode, frame, site),
        }
    }

    /// The note goes first: as long as it stands, its frame really reads.
    #[inline]
    fn end(&self, raw: &RawLock) {
        self.forget();
        raw.unlock_read(self.mode);
    }

    #[inline]
    fn forget(&self) {
        if let Some(slot) = self.slot {
            slot.clear();
        }
    }
}

/// Proof that the data may be read. Dropping it lets the next ones in.
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct RwLockReadGuard<'a, T: ?Sized, W: Bound = OnThread> {
    lock: &'a RwLock<T>,
    reading: Reading,
    bound: PhantomData<(&'a T, W)>,
}

/// Proof that the data is ours alone. Dropping it lets the next ones in.
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct RwLockWriteGuard<'a, T: ?Sized, W: Bound = OnThread> {
    lock: &'a RwLock<T>,
    bound: PhantomData<(&'a mut T, W)>,
}

/// Proof that the data may be read, and written after an [`upgrade`](Self::upgrade).
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct RwLockUpgradableReadGuard<'a, T: ?Sized, W: Bound = OnThread> {
    lock: &'a RwLock<T>,
    reading: Reading,
    bound: PhantomData<(&'a mut T, W)>,
}

/// Proof that the data may be read, which keeps the lock and may go anywhere.
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct OwnedRwLockReadGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
    reading: Reading,
}

/// Proof that the data is ours alone, which keeps the lock and may go anywhere.
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct OwnedRwLockWriteGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
}

impl<'a, T: ?Sized, W: Bound> RwLockReadGuard<'a, T, W> {
    #[inline]
    fn new(lock: &'a RwLock<T>, frame: u64, site: &'static Location<'static>) -> Self {
        let reading = Reading::begin(&lock.raw, Mode::Read, frame, site);
        Self {
            lock,
            reading,
            bound: PhantomData,
        }
    }

    #[inline]
    fn block(
        lock: &'a RwLock<T>,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
    ) -> Result<Self, LockError> {
        lock.raw.read(Mode::Read, site, deadline, type_name::<T>)?;
        Ok(Self::new(lock, agent::frame(), site).learnt(site, How::Blocking))
    }
}

impl<'a, T: ?Sized, W: Bound> RwLockUpgradableReadGuard<'a, T, W> {
    fn new(lock: &'a RwLock<T>, frame: u64, site: &'static Location<'static>) -> Self {
        let reading = Reading::begin(&lock.raw, Mode::UpgradableRead, frame, site);
        Self {
            lock,
            reading,
            bound: PhantomData,
        }
    }

    fn block(
        lock: &'a RwLock<T>,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
    ) -> Result<Self, LockError> {
        lock.raw
            .read(Mode::UpgradableRead, site, deadline, type_name::<T>)?;
        Ok(Self::new(lock, agent::frame(), site).learnt(site, How::Blocking))
    }

    /// Goes on reading without the right to become the writer.
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T, W> {
        let guard = ManuallyDrop::new(guard);
        let reading = Reading {
            mode: Mode::Read,
            slot: guard.reading.slot,
        };
        if let Some(slot) = reading.slot {
            slot.downgrade();
        }
        guard.lock.raw.downgrade_upgradable();
        if W::is_known() && order::active() {
            order::downgraded(guard.lock.raw.id(), Mode::Read);
        }
        RwLockReadGuard {
            lock: guard.lock,
            reading,
            bound: PhantomData,
        }
    }

    /// Becomes the writer if nobody else reads; else the guard comes back.
    ///
    /// # Errors
    ///
    /// The guard, if others read.
    #[track_caller]
    pub fn try_upgrade(guard: Self) -> Result<RwLockWriteGuard<'a, T, W>, Self> {
        let site = Location::caller();
        let raw = &guard.lock.raw;
        if raw.try_lock_for(Mode::Upgrade, W::frame(), site, waiter::How::Blocked) {
            Ok(Self::upgraded(guard).learnt_as(Mode::Upgrade, site, How::Try))
        } else {
            Err(guard)
        }
    }

    fn upgraded(guard: Self) -> RwLockWriteGuard<'a, T, W> {
        let guard = ManuallyDrop::new(guard);
        guard.reading.forget();
        RwLockWriteGuard {
            lock: guard.lock,
            bound: PhantomData,
        }
    }
}

impl<'a, T: ?Sized> RwLockUpgradableReadGuard<'a, T> {
    /// Becomes the writer, before all others that wait.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. The guard is gone then.
    ///
    /// # Blocking
    ///
    /// As long as others read.
    #[track_caller]
    pub fn upgrade(guard: Self) -> Result<RwLockWriteGuard<'a, T>, LockError> {
        let site = Location::caller();
        if !guard.lock.raw.try_lock(Mode::Upgrade, site) {
            guard
                .lock
                .raw
                .block(Mode::Upgrade, site, None, type_name::<T>)?;
        }
        Ok(Self::upgraded(guard).learnt_as(Mode::Upgrade, site, How::Blocking))
    }
}

impl<'a, T: ?Sized> RwLockUpgradableReadGuard<'a, T, OnTask> {
    /// Becomes the writer, before all others that wait, for a task.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. The guard is gone then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait and lets go of what was read.
    #[track_caller]
    pub fn upgrade_async(
        guard: Self,
    ) -> impl Future<Output = Result<RwLockWriteGuard<'a, T, OnTask>, LockError>> {
        let site = Location::caller();
        async move {
            guard.lock.raw.acquire::<T>(Mode::Upgrade, site).await?;
            Ok(Self::upgraded(guard).learnt_as(Mode::Upgrade, site, How::Blocking))
        }
    }
}

impl<'a, T: ?Sized, W: Bound> RwLockWriteGuard<'a, T, W> {
    fn new(lock: &'a RwLock<T>, _: u64, _: &'static Location<'static>) -> Self {
        Self {
            lock,
            bound: PhantomData,
        }
    }

    #[inline]
    fn block(
        lock: &'a RwLock<T>,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
    ) -> Result<Self, LockError> {
        lock.raw.lock(site, deadline, type_name::<T>)?;
        Ok(Self {
            lock,
            bound: PhantomData,
        }
        .learnt(site, How::Blocking))
    }

    /// Goes on reading, and lets other readers in.
    #[track_caller]
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T, W> {
        let guard = ManuallyDrop::new(guard);
        let lock = guard.lock;
        // Noted before anybody can wait for this reader.
        let new = RwLockReadGuard::new(lock, W::frame(), Location::caller());
        lock.raw.downgrade(Mode::Read);
        if W::is_known() && order::active() {
            order::downgraded(lock.raw.id(), Mode::Read);
        }
        new
    }

    /// Lets go of the data, and gives it to whoever waits longest.
    pub fn unlock_fair(guard: Self) {
        let guard = ManuallyDrop::new(guard);
        guard.unlearn();
        guard.lock.raw.unlock_fair();
    }
}

/// What lock-order checking is told, once the guard is there.
macro_rules! learning {
    ($($guard:ident $mode:ident,)*) => {$(
        impl<'a, T: ?Sized, W: Bound> $guard<'a, T, W> {
            #[inline]
            fn learnt(self, site: &'static Location<'static>, how: How) -> Self {
                self.learnt_as(Mode::$mode, site, how)
            }

            #[inline]
            fn learnt_as(self, mode: Mode, site: &'static Location<'static>, how: How) -> Self {
                if W::is_known() {
                    self.lock.raw.learn(mode, site, how, type_name::<T>);
                }
                self
            }

            #[inline]
            fn unlearn(&self) {
                self.lock.raw.unlearn(Mode::$mode);
            }
        }
    )*};
}

learning! {
    RwLockReadGuard Read,
    RwLockUpgradableReadGuard UpgradableRead,
    RwLockWriteGuard Write,
}

impl<T: ?Sized> OwnedRwLockReadGuard<T> {
    fn new(lock: Arc<RwLock<T>>, frame: u64, site: &'static Location<'static>) -> Self {
        let reading = Reading::begin(&lock.raw, Mode::Read, frame, site);
        Self { lock, reading }
    }
}

impl<T: ?Sized> OwnedRwLockWriteGuard<T> {
    fn new(lock: Arc<RwLock<T>>, _: u64, _: &'static Location<'static>) -> Self {
        Self { lock }
    }
}

/// Reading through a guard, and writing through some, and letting go.
macro_rules! guards {
    ($($guard:ident [$($parameters:tt)*] [$($arguments:tt)*] $drop:expr;)*) => {$(
        impl<$($parameters)*> Deref for $guard<$($arguments)*> {
            type Target = T;
            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: a guard exists only while its lock is held for it, so nobody writes.
                unsafe { &*self.lock.data.get() }
            }
        }

        impl<$($parameters)*> fmt::Debug for $guard<$($arguments)*>
        where
            T: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<$($parameters)*> Drop for $guard<$($arguments)*> {
            #[inline]
            fn drop(&mut self) {
                let drop: fn(&Self) = $drop;
                drop(self);
            }
        }
    )*};
}

macro_rules! write_guards {
    ($($guard:ident [$($parameters:tt)*] [$($arguments:tt)*];)*) => {$(
        impl<$($parameters)*> DerefMut for $guard<$($arguments)*> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the guard of a writer exists only while nobody else reads or writes, and it
                // is borrowed alone.
                unsafe { &mut *self.lock.data.get() }
            }
        }
    )*};
}

guards! {
    RwLockReadGuard ['a, T: ?Sized, W: Bound] ['a, T, W] |guard| {
        guard.unlearn();
        guard.reading.end(&guard.lock.raw);
    };
    RwLockUpgradableReadGuard ['a, T: ?Sized, W: Bound] ['a, T, W] |guard| {
        guard.unlearn();
        guard.reading.end(&guard.lock.raw);
    };
    RwLockWriteGuard ['a, T: ?Sized, W: Bound] ['a, T, W] |guard| {
        guard.unlearn();
        guard.lock.raw.unlock();
    };
    OwnedRwLockReadGuard [T: ?Sized] [T] |guard| guard.reading.end(&guard.lock.raw);
    OwnedRwLockWriteGuard [T: ?Sized] [T] |guard| guard.lock.raw.unlock();
}

write_guards! {
    RwLockWriteGuard ['a, T: ?Sized, W: Bound] ['a, T, W];
    OwnedRwLockWriteGuard [T: ?Sized] [T];
}

/// Waits for a [`RwLock`] as a task.
#[must_use = "futures do nothing unless they are polled"]
pub struct RwLockFuture<'a, T: ?Sized, G> {
    acquire: Acquire<'a, T>,
    lock: &'a RwLock<T>,
    make: fn(&'a RwLock<T>, u64, &'static Location<'static>) -> G,
}

impl<T: ?Sized, G> Future for RwLockFuture<'_, T, G> {
    type Output = Result<G, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (lock, make, site) = (self.lock, self.make, self.acquire.site());
        Pin::new(&mut self.acquire)
            .poll(context)
            .map(|acquired| acquired.map(|frame| make(lock, frame, site)))
    }
}

/// A wait that somebody else can end.
pub struct PendingLock {
    waiter: Wait,
    give_up: Box<dyn Fn(&Waiter) + Send + Sync>,
}

impl PendingLock {
    /// Ends the wait, unless it is over: its closure is called with [`LockError::Cancelled`].
    pub fn cancel(&self) {
        (self.give_up)(&self.waiter);
    }

    /// Whether the wait goes on.
    pub fn is_waiting(&self) -> bool {
        self.waiter.is_waiting()
    }
}
