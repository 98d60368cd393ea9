//! [`Condvar`]: waiting for a change of what a mutex protects.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::LockError;
use crate::label::Label;
use crate::lazy_monitor::{LazyMonitor, TaskWait};
use crate::monitor::{Holders, Inner, Monitor, Obstacles, Rules};
use crate::mutex::{AsyncMutexGuard, Mutex, MutexGuard};
use crate::reentrant::{Levels, ReentrantMutex, ReentrantMutexGuard};
use crate::report::Mode;
use crate::sync::{self, const_fn};
use crate::waiter::{Ended, Request, State, Waiter};
use crate::waiters::Waiters;

/// Lets threads and tasks wait until somebody says that the data of a mutex has changed.
///
/// There are no wake-ups without a notification. Still, somebody else may have the data between the
/// notification and the moment when a waiter has it again, so look at it, or use
/// [`wait_while`](Self::wait_while).
///
/// Nobody knows who will notify, so a wait for that is shown by
/// [`snapshot`](crate::detector::snapshot), but is never taken for part of a deadlock. Having the
/// mutex again is a wait for a lock like any other.
///
/// # Fairness
///
/// Whoever waits longest is notified first.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{Condvar, Mutex, thread};
///
/// static JOBS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// static MORE: Condvar = Condvar::new();
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let worker = thread::spawn(|| {
///     let mut jobs = MORE.wait_while(JOBS.lock()?, |jobs| jobs.is_empty())?;
///     Ok::<_, antifreeze_sync::LockError>(jobs.pop())
/// });
/// JOBS.lock()?.push(7);
/// MORE.notify_one();
/// assert_eq!(worker.join()?.unwrap()?, Some(7));
/// # Ok(()) }
/// ```
pub struct Condvar {
    monitor: LazyMonitor<Notifying>,
}

/// Waits end when somebody notifies.
struct Notifying {
    /// Where the mutex is of those who wait.
    mutex: usize,
}

/// Whether a wait ended because its time ran out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether nobody had notified when the time ran out.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// The guard of a mutex that a thread can let go while it waits: [`MutexGuard`] and
/// [`ReentrantMutexGuard`].
pub trait WaitingGuard: Sized + private::Sealed {
    #[doc(hidden)]
    type Released;

    #[doc(hidden)]
    fn address(&self) -> usize;

    #[doc(hidden)]
    fn unlearn(&self);

    #[doc(hidden)]
    fn release(self) -> Self::Released;

    #[doc(hidden)]
    #[track_caller]
    fn acquire(released: Self::Released) -> Result<Self, LockError>;
}

mod private {
    pub trait Sealed {}
    impl<T: ?Sized> Sealed for crate::MutexGuard<'_, T> {}
    impl<T: ?Sized> Sealed for crate::ReentrantMutexGuard<'_, T> {}
}

impl<'a, T: ?Sized> WaitingGuard for MutexGuard<'a, T> {
    type Released = &'a Mutex<T>;

    fn address(&self) -> usize {
        ptr::from_ref(Self::mutex(self)).addr()
    }

    fn unlearn(&self) {
        Self::unlearn(self);
    }

    fn release(self) -> &'a Mutex<T> {
        Self::let_go(self)
    }

    #[track_caller]
    fn acquire(mutex: &'a Mutex<T>) -> Result<Self, LockError> {
        mutex.lock()
    }
}

impl<'a, T: ?Sized> WaitingGuard for ReentrantMutexGuard<'a, T> {
    type Released = (&'a ReentrantMutex<T>, Levels);

    fn address(&self) -> usize {
        ptr::from_ref(Self::mutex(self)).addr()
    }

    fn unlearn(&self) {
        Self::unlearn(self);
    }

    fn release(self) -> Self::Released {
        Self::let_go(self)
    }

    #[track_caller]
    fn acquire((mutex, levels): Self::Released) -> Result<Self, LockError> {
        mutex.lock_levels(levels)
    }
}

impl Condvar {
    const_fn! {
        /// A condition variable for any mutex, but for one at a time.
        #[track_caller]
        pub const fn new() -> Self {
            Self { monitor: LazyMonitor::new(Label::new("Condvar")) }
        }
    }

    const_fn! {
        /// A condition variable that views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str) -> Self {
            Self { monitor: LazyMonitor::new(Label::named("Condvar", name)) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.monitor.rename(name.into());
        self
    }

    /// Lets go of the data until somebody notifies.
    ///
    /// Of a [`ReentrantMutex`](crate::ReentrantMutex) all levels are let go, and had again.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the mutex could never be had again. Then the guard is gone, and the
    /// notification is another waiter's.
    ///
    /// # Blocking
    ///
    /// Until somebody notifies, and as long as somebody else has the mutex then.
    ///
    /// # Panics
    ///
    /// If others wait here for a different mutex.
    #[track_caller]
    pub fn wait<G: WaitingGuard>(&self, guard: G) -> Result<G, LockError> {
        Ok(self.wait_deadline(guard, None)?.0)
    }

    /// Lets go of the data again and again, as long as `condition` holds.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Blocking
    ///
    /// Until a notification finds that the condition does not hold any more.
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>, LockError> {
        while condition(&mut guard) {
            guard = self.wait_deadline(guard, None)?.0;
        }
        Ok(guard)
    }

    /// Lets go of the data until somebody notifies, for `timeout` at the longest.
    ///
    /// Having the data again is not part of that time.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait). That the time ran out is no error.
    #[track_caller]
    pub fn wait_timeout<G: WaitingGuard>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, WaitTimeoutResult), LockError> {
        self.wait_deadline(guard, Instant::now().checked_add(timeout))
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait). That the time ran out is no error.
    #[track_caller]
    pub fn wait_until<G: WaitingGuard>(
        &self,
        guard: G,
        deadline: Instant,
    ) -> Result<(G, WaitTimeoutResult), LockError> {
        self.wait_deadline(guard, Some(deadline))
    }

    /// Lets go of the data as long as `condition` holds, for `timeout` at the longest.
    ///
    /// The result says whether the condition still held when the time ran out.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait). That the time ran out is no error.
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<(MutexGuard<'a, T>, WaitTimeoutResult), LockError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut timed_out = false;
        loop {
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let result;
            (guard, result) = self.wait_deadline(guard, deadline)?;
            timed_out = result.timed_out();
        }
    }

    #[track_caller]
    fn wait_deadline<G: WaitingGuard>(
        &self,
        guard: G,
        deadline: Option<Instant>,
    ) -> Result<(G, WaitTimeoutResult), LockError> {
        let site = Location::caller();
        let timed = deadline.is_some();
        let request = Request {
            mode: Mode::Signal,
            site,
            timed,
        };
        let monitor = self.monitor();
        let inner = enter(monitor, guard.address());
        // Waiting with other locks held is what lock-order checking warns of, not with this one.
        guard.unlearn();
        let mut released = None;
        // Only once it stands in the queue: a notification by whoever has the mutex next reaches it.
        let let_go = || released = Some(guard.release());
        let waiter = monitor.block_then(inner, request, false, deadline, 0, let_go);
        let Some(released) = released else {
            unreachable!("the guard was let go before the wait");
        };
        match G::acquire(released) {
            Ok(guard) => Ok((guard, WaitTimeoutResult(waiter.state() == State::TimedOut))),
            Err(error) => {
                self.pass_on(&waiter);
                Err(error)
            }
        }
    }

    /// Lets go of the data until somebody notifies, as a task.
    ///
    /// The guard is kept until the future is polled for the first time.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the mutex could never be had again. Then the guard is gone, and the
    /// notification is another waiter's.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. If it was notified already, whoever waits longest then is
    /// notified in its place.
    ///
    /// # Panics
    ///
    /// If others wait here for a different mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze_sync::{Condvar, LockError, Mutex, block_on, thread};
    ///
    /// static OPEN: Mutex<bool> = Mutex::new(false);
    /// static CHANGED: Condvar = Condvar::new();
    ///
    /// # fn main() -> Result<(), LockError> {
    /// let opener = thread::spawn(|| {
    ///     *OPEN.lock()? = true;
    ///     CHANGED.notify_all();
    ///     Ok::<_, LockError>(())
    /// });
    /// block_on(async {
    ///     let mut open = OPEN.lock_async().await?;
    ///     while !*open {
    ///         open = CHANGED.wait_async(open).await?;
    ///     }
    ///     Ok::<_, LockError>(())
    /// })?;
    /// opener.join()?.unwrap()?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn wait_async<'a, T: ?Sized>(
        &'a self,
        guard: AsyncMutexGuard<'a, T>,
    ) -> impl Future<Output = Result<AsyncMutexGuard<'a, T>, LockError>> + use<'a, T> {
        let site = Location::caller();
        let request = Request {
            mode: Mode::Signal,
            site,
            timed: false,
        };
        let mutex = MutexGuard::mutex(&guard);
        let again = mutex.lock_async();
        let mut guard = Some(guard);
        async move {
            let mut notified = Notified {
                condvar: self,
                wait: None,
            };
            poll_fn(|context| match &notified.wait {
                Some(wait) => wait.poll(context).map(drop),
                None => {
                    let monitor = self.monitor();
                    let inner = enter(monitor, ptr::from_ref(mutex).addr());
                    guard.iter().for_each(MutexGuard::unlearn);
                    notified.wait = Some(TaskWait::begin(monitor, inner, request, context));
                    // Only now: a notification by whoever has the mutex next reaches this wait.
                    guard.take().map(MutexGuard::let_go);
                    Poll::Pending
                }
            })
            .await;
            let guard = again.await?;
            notified.wait = None;
            Ok(guard)
        }
    }

    /// Wakes whoever waits longest. Returns how many that are: one, or none if nobody waits.
    ///
    /// It is not necessary to have the mutex, but whoever changes the data must have it.
    pub fn notify_one(&self) -> usize {
        self.notify(1)
    }

    /// Wakes those `n` who wait longest, or all if there are fewer. Returns how many that are.
    pub fn notify(&self, n: usize) -> usize {
        self.wake(n, State::Granted)
    }

    /// Wakes all who wait. Returns how many that are.
    pub fn notify_all(&self) -> usize {
        self.wake(usize::MAX, State::Woken)
    }

    fn wake(&self, n: usize, state: State) -> usize {
        let Some(monitor) = self.monitor.get() else {
            return 0;
        };
        let mut inner = monitor.lock();
        let mut ended = Ended::default();
        let mut woken = 0;
        while woken < n
            && let Some(waiter) = inner.waiters.pop()
        {
            ended.end(waiter, state);
            woken += 1;
        }
        drop(inner);
        ended.tell();
        woken
    }

    /// Notifies another one in place of somebody who could not make use of it.
    fn pass_on(&self, waiter: &Waiter) {
        // If all were notified, nobody is left who could have been notified instead.
        if waiter.state() == State::Granted {
            self.notify_one();
        }
    }

    fn monitor(&self) -> &Arc<Monitor<Notifying>> {
        self.monitor.get_or_init(|| Notifying { mutex: 0 })
    }
}

/// The monitor's lock, if all who wait have let go of the same mutex.
fn enter(monitor: &Monitor<Notifying>, mutex: usize) -> sync::BriefGuard<'_, Inner<Notifying>> {
    let mut inner = monitor.lock();
    if inner.waiters.is_empty() {
        inner.state.mutex = mutex;
    }
    assert!(
        inner.state.mutex == mutex,
        "a condition variable is for one mutex at a time, but others wait here for another one"
    );
    inner
}

/// A task's wait for a notification, which goes to another one if the task is dropped.
struct Notified<'a> {
    condvar: &'a Condvar,
    wait: Option<TaskWait<Notifying>>,
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.take() {
            let waiter = wait.waiter.clone();
            drop(wait);
            self.condvar.pass_on(&waiter);
        }
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Condvar");
        if let Some(name) = self.monitor.name() {
            text.field("name", &name);
        }
        text.finish_non_exhaustive()
    }
}

impl Rules for Notifying {
    fn may_be_claimed(&self) -> bool {
        false
    }

    fn obstacles(&self, _: &Waiters, _: &Waiter) -> Obstacles {
        Obstacles::Unknown
    }

    fn settle(&mut self, _: &mut Waiters, _: &mut Ended) {}

    fn holders(&self) -> Holders {
        Holders {
            known: Vec::new(),
            readers_of: None,
            others: true,
        }
    }
}
