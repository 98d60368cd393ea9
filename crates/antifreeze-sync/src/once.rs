//! [`Once`] and [`Lazy`]: what is done once, by whoever needs it first.

use std::any::type_name;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::Location;
use std::pin::pin;

use crate::agent;
use crate::error::LockError;
use crate::label::Label;
use crate::order::How;
use crate::raw::RawLock;
use crate::report::Mode;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{OnceLock, const_fn};

/// Something that is done once, by whoever needs it first, while the others wait.
///
/// If it needs itself, at once or by way of others, that is a deadlock which names everybody in it.
/// If it panics, the next one tries again.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::Once;
///
/// static LOGGING: Once = Once::named("logging");
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let mut runs = 0;
/// LOGGING.call_once(|| runs += 1)?;
/// LOGGING.call_once(|| runs += 1)?;
/// assert_eq!(runs, 1);
/// # Ok(()) }
/// ```
pub struct Once {
    done: AtomicBool,
    /// Whoever does it has this.
    raw: RawLock,
}

/// A value that is made when it is first needed.
///
/// `*LAZY` makes it, and panics where [`Lazy::get`] returns an error. If making it panics, the next
/// one tries again.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::Lazy;
///
/// static PRIMES: Lazy<Vec<u32>> = Lazy::new(|| vec![2, 3, 5]);
///
/// assert_eq!(PRIMES.len(), 3);
/// ```
///
/// Two values that need each other cannot be made:
///
/// ```
/// use antifreeze_sync::{Lazy, LockError};
///
/// static ITSELF: Lazy<Option<u32>> = Lazy::named("itself", || {
///     assert!(matches!(Lazy::get(&ITSELF), Err(LockError::Deadlock(_))));
///     None
/// });
///
/// # fn main() -> Result<(), LockError> {
/// assert_eq!(Lazy::get(&ITSELF)?, &None);
/// # Ok(()) }
/// ```
pub struct Lazy<T, F = fn() -> T> {
    value: OnceLock<T>,
    raw: RawLock,
    make: F,
}

/// Lets go of the lock when it is dropped.
struct Doing<'a> {
    raw: &'a RawLock,
    /// Lock-order checking was told.
    learnt: bool,
}

impl<'a> Doing<'a> {
    /// It is done without awaiting anything.
    fn here(
        raw: &'a RawLock,
        site: &'static Location<'static>,
        data: fn() -> &'static str,
    ) -> Self {
        let doing = Self { raw, learnt: true };
        raw.learn(Mode::Write, site, How::Blocking, data);
        doing
    }

    /// It is done by a task, a part at a time.
    fn by_task(raw: &'a RawLock) -> Self {
        Self { raw, learnt: false }
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if self.learnt {
            self.raw.unlearn(Mode::Write);
        }
        self.raw.unlock();
    }
}

impl Once {
    const_fn! {
        /// Not done yet.
        #[track_caller]
        pub const fn new() -> Self {
            Self { done: AtomicBool::new(false), raw: RawLock::new(Label::new("Once")) }
        }
    }

    const_fn! {
        /// Not done yet, and called `name` by reports and views.
        #[track_caller]
        pub const fn named(name: &'static str) -> Self {
            Self { done: AtomicBool::new(false), raw: RawLock::new(Label::named("Once", name)) }
        }
    }

    /// Whether it is done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Runs `f`, unless this was done before. When it returns, it is done.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if `f` or another one that runs needs this, directly or not. Then this
    /// `f` was not run.
    ///
    /// # Blocking
    ///
    /// As long as somebody else runs theirs.
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<(), LockError> {
        if self.is_completed() {
            return Ok(());
        }
        let site = Location::caller();
        self.raw.lock(site, None, type_name::<()>)?;
        let _doing = Doing::here(&self.raw, site, type_name::<()>);
        if !self.is_completed() {
            f();
            self.done.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Runs `f` as a task until its future is done, unless this was done before.
    ///
    /// # Errors
    ///
    /// As [`call_once`](Self::call_once).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, or `f` where it is; then the next one begins anew.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze_sync::{Once, block_on};
    ///
    /// static CONNECTED: Once = Once::new();
    ///
    /// # fn main() -> Result<(), antifreeze_sync::LockError> {
    /// block_on(CONNECTED.call_once_async(async || ()))?;
    /// assert!(CONNECTED.is_completed());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn call_once_async(
        &self,
        f: impl AsyncFnOnce(),
    ) -> impl Future<Output = Result<(), LockError>> {
        let acquire = self.raw.acquire::<()>(Mode::Write, Location::caller());
        async move {
            if self.is_completed() {
                return Ok(());
            }
            acquire.await?;
            let _doing = Doing::by_task(&self.raw);
            if !self.is_completed() {
                let mut done = pin!(f());
                poll_fn(|context| {
                    // Whoever polls it is whom the others wait for.
                    self.raw.hand_to(agent::task_frame());
                    done.as_mut().poll(context)
                })
                .await;
                self.done.store(true, Ordering::Release);
            }
            Ok(())
        }
    }
}

impl Default for Once {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Once");
        if let Some(name) = self.raw.label().name() {
            text.field("name", &name);
        }
        text.field("completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}

impl<T, F> Lazy<T, F> {
    const_fn! {
        /// A value that `make` will make.
        #[track_caller]
        pub const fn new(make: F) -> Self {
            Self { value: OnceLock::new(), raw: RawLock::new(Label::new("Lazy")), make }
        }
    }

    const_fn! {
        /// A value that `make` will make, and that reports and views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, make: F) -> Self {
            Self { value: OnceLock::new(), raw: RawLock::new(Label::named("Lazy", name)), make }
        }
    }

    /// The value, if it was made already.
    pub fn made(this: &Self) -> Option<&T> {
        this.value.get()
    }
}

impl<T, F: Fn() -> T> Lazy<T, F> {
    /// The value, which is made now if it was not made before.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if making it needs itself, directly or by way of others.
    ///
    /// # Blocking
    ///
    /// As long as somebody makes it.
    #[track_caller]
    #[inline]
    pub fn get(this: &Self) -> Result<&T, LockError> {
        match this.value.get() {
            Some(value) => Ok(value),
            None => this.make_first(Location::caller()),
        }
    }

    #[cold]
    fn make_first(&self, site: &'static Location<'static>) -> Result<&T, LockError> {
        self.raw.lock(site, None, type_name::<T>)?;
        let _doing = Doing::here(&self.raw, site, type_name::<T>);
        Ok(self.value.get_or_init(&self.make))
    }

    /// The same as a task. If this is the one that makes it, it does so here and now.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait.
    #[track_caller]
    pub fn get_async(this: &Self) -> impl Future<Output = Result<&T, LockError>> {
        let site = Location::caller();
        let acquire = this.raw.acquire::<T>(Mode::Write, site);
        async move {
            if let Some(value) = this.value.get() {
                return Ok(value);
            }
            acquire.await?;
            // It is made without awaiting anything, so whoever runs here is who makes it.
            this.raw.hand_to(agent::frame());
            let _doing = Doing::here(&this.raw, site, type_name::<T>);
            Ok(this.value.get_or_init(&this.make))
        }
    }

    /// The value, as `*this` gives it.
    ///
    /// # Panics
    ///
    /// With the report, if making it needs itself, directly or by way of others.
    ///
    /// # Blocking
    ///
    /// As long as somebody makes it.
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        match Self::get(this) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<T, F: Fn() -> T> Deref for Lazy<T, F> {
    type Target = T;

    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Lazy");
        if let Some(name) = self.raw.label().name() {
            text.field("name", &name);
        }
        match self.value.get() {
            Some(value) => text.field("value", value),
            None => text.field("value", &format_args!("<not made yet>")),
        };
        text.finish_non_exhaustive()
    }
}
