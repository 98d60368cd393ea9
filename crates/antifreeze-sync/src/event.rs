//! [`Event`]: something that happens, for which any number of agents wait.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::LockError;
use crate::label::Label;
use crate::lazy_monitor::{LazyMonitor, TaskWait};
use crate::monitor::{Holders, Monitor, Obstacles, Rules};
use crate::report::Mode;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::const_fn;
use crate::waiter::{Ended, Request, State, Waiter};
use crate::waiters::Waiters;

/// Something that happens, for which any number of threads and tasks wait: Python's
/// `threading.Event`.
///
/// Nobody knows who will set it, so a wait for it is shown by
/// [`snapshot`](crate::detector::snapshot), but is never taken for part of a deadlock.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{Event, thread};
///
/// static READY: Event = Event::named("ready");
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let worker = thread::spawn(|| READY.wait());
/// READY.set();
/// worker.join()?.unwrap()?;
/// assert!(READY.is_set());
/// # Ok(()) }
/// ```
pub struct Event {
    /// Changes only under the lock of the monitor.
    set: AtomicBool,
    monitor: LazyMonitor<Happening>,
}

/// Waits end when [`Event::set`] ends them.
struct Happening;

impl Event {
    const_fn! {
        /// An event that has not happened.
        #[track_caller]
        pub const fn new() -> Self {
            Self { set: AtomicBool::new(false), monitor: LazyMonitor::new(Label::new("Event")) }
        }
    }

    const_fn! {
        /// An event that views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str) -> Self {
            Self {
                set: AtomicBool::new(false),
                monitor: LazyMonitor::new(Label::named("Event", name)),
            }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.monitor.rename(name.into());
        self
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// It has happened: everybody who waits goes on, and nobody has to wait from now on.
    ///
    /// Those who waited go on even if the event is [cleared](Self::clear) before they run.
    pub fn set(&self) {
        let mut inner = self.monitor().lock();
        self.set.store(true, Ordering::Release);
        let mut ended = Ended::default();
        while let Some(waiter) = inner.waiters.pop() {
            ended.end(waiter, State::Granted);
        }
        drop(inner);
        ended.tell();
    }

    /// It has to happen again: whoever waits from now on waits for the next [`set`](Self::set).
    pub fn clear(&self) {
        let _inner = self.monitor().lock();
        self.set.store(false, Ordering::Release);
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Blocking
    ///
    /// Until the event is set.
    #[track_caller]
    pub fn wait(&self) -> Result<(), LockError> {
        self.wait_deadline(None, Location::caller())
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`].
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), LockError> {
        self.wait_deadline(Instant::now().checked_add(timeout), Location::caller())
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`].
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> Result<(), LockError> {
        self.wait_deadline(Some(deadline), Location::caller())
    }

    fn wait_deadline(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<(), LockError> {
        if self.is_set() {
            return Ok(());
        }
        let monitor = self.monitor();
        let inner = monitor.lock();
        if self.is_set() {
            return Ok(());
        }
        let timed = deadline.is_some();
        let request = Request {
            mode: Mode::Signal,
            site,
            timed,
        };
        monitor.block(inner, request, false, deadline).outcome()
    }

    /// Waits as a task until it has happened.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait.
    #[track_caller]
    pub fn wait_async(&self) -> impl Future<Output = Result<(), LockError>> + Send + '_ {
        let site = Location::caller();
        let request = Request {
            mode: Mode::Signal,
            site,
            timed: false,
        };
        let mut wait: Option<TaskWait<Happening>> = None;
        poll_fn(move |context| {
            if let Some(wait) = &wait {
                return wait.poll(context).map(|_| wait.waiter.outcome());
            }
            if self.is_set() {
                return Poll::Ready(Ok(()));
            }
            let monitor = self.monitor();
            let inner = monitor.lock();
            if self.is_set() {
                return Poll::Ready(Ok(()));
            }
            wait = Some(TaskWait::begin(monitor, inner, request, context));
            Poll::Pending
        })
    }

    fn monitor(&self) -> &Arc<Monitor<Happening>> {
        self.monitor.get_or_init(|| Happening)
    }
}

impl Default for Event {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Event");
        if let Some(name) = self.monitor.name() {
            text.field("name", &name);
        }
        text.field("set", &self.is_set()).finish_non_exhaustive()
    }
}

impl Rules for Happening {
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
