//! [`FileLock`]: a lock that the processes of a machine share.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::label::{Label, Name};
use crate::lazy_monitor::{LazyMonitor, TaskWait};
use crate::monitor::{Holders, Monitor, Obstacles, Rules};
use crate::report::Mode;
use crate::waiter::{Ended, Request, State, Waiter};
use crate::waiters::Waiters;

/// How often it is tried, as in Twisted.
const INTERVAL: Duration = Duration::from_secs(1);

const SHORTEST: Duration = Duration::from_millis(1);

/// A lock that the processes of a machine share, by way of a file: Twisted's
/// `DeferredFilesystemLock`.
///
/// The operating system cannot say when the file becomes free, so it is tried again and again, once a
/// second. The file stays when the lock is let go. Who has it is known to the operating system only:
/// a wait for it is shown by [`snapshot`](crate::detector::snapshot), but is never taken for part of
/// a deadlock.
///
/// # Fairness
///
/// None. Whoever tries first when the file is free has it.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::FileLock;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let path = std::env::temp_dir().join(format!("antifreeze-doc-{}.lock", std::process::id()));
/// let lock = FileLock::new(&path);
/// let guard = lock.lock()?;
/// assert!(FileLock::new(&path).try_lock()?.is_none());
/// drop(guard);
/// assert!(FileLock::new(&path).try_lock()?.is_some());
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
pub struct FileLock {
    path: PathBuf,
    interval: Duration,
    monitor: LazyMonitor<Trying>,
}

/// Why a [`FileLock`] could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileLockError {
    /// Somebody waits already by way of the same [`FileLock`].
    AlreadyTryingToLock,
    /// The time that the caller gave ran out.
    Timeout,
    /// Somebody called [`FileLock::cancel`].
    Cancelled,
    /// The file cannot be opened or locked, whoever has it.
    Io(io::Error),
}

impl fmt::Display for FileLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyTryingToLock => f.write_str("this lock is being waited for already"),
            Self::Timeout => f.write_str("the time to wait ran out"),
            Self::Cancelled => f.write_str("the wait was called off"),
            Self::Io(error) => write!(f, "the lock file cannot be used: {error}"),
        }
    }
}

impl std::error::Error for FileLockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for FileLockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FileLock {
    /// A lock by way of the file at `path`, which is made when it is first locked.
    #[track_caller]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = Name::Made(path.to_string_lossy().into());
        let label = Label {
            name,
            ..Label::new("FileLock")
        };
        Self {
            path,
            interval: INTERVAL,
            monitor: LazyMonitor::new(label),
        }
    }

    /// Tries in steps of `interval`, instead of a second. Less than a millisecond counts as one.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(SHORTEST);
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it waits before it tries again.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The lock, if it is free.
    ///
    /// # Errors
    ///
    /// [`FileLockError::Io`] if the file cannot be opened or locked.
    pub fn try_lock(&self) -> Result<Option<FileLockGuard<'_>>, FileLockError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLockGuard { lock: self, file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The lock, for which this thread waits.
    ///
    /// # Errors
    ///
    /// [`FileLockError::AlreadyTryingToLock`] if somebody waits by way of this object,
    /// [`FileLockError::Cancelled`] after [`cancel`](Self::cancel), or [`FileLockError::Io`].
    ///
    /// # Blocking
    ///
    /// As long as somebody else has the lock.
    #[track_caller]
    pub fn lock(&self) -> Result<FileLockGuard<'_>, FileLockError> {
        self.block(Polling::new(self.interval, None), Location::caller())
    }

    /// The same, for `timeout` at the longest. It is tried once more at the end of that.
    ///
    /// # Errors
    ///
    /// [`FileLockError::Timeout`], or as [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<FileLockGuard<'_>, FileLockError> {
        self.block(
            Polling::new(self.interval, Some(timeout)),
            Location::caller(),
        )
    }

    fn block(
        &self,
        mut polling: Polling,
        site: &'static Location<'static>,
    ) -> Result<FileLockGuard<'_>, FileLockError> {
        let only = Only::begin(self)?;
        let request = Request {
            mode: Mode::Write,
            site,
            timed: polling.left.is_some(),
        };
        loop {
            if let Some(guard) = self.try_lock()? {
                return Ok(guard);
            }
            let pause = polling.refused()?;
            let inner = only.monitor.lock();
            if !inner.state.cancelled {
                let deadline = Instant::now().checked_add(pause);
                only.monitor.block(inner, request, false, deadline);
            }
            polling.cancelled = only.is_cancelled();
        }
    }

    /// The lock, for which a task waits with the help of its runtime's `sleep`: for `timeout` at the
    /// longest, if that is given. It is tried once more at the end of that.
    ///
    /// The time that passes is what was slept.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. [`cancel`](Self::cancel) does so, too, but tries once more.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use antifreeze_sync::FileLock;
    ///
    /// # let path = std::env::temp_dir().join(format!("antifreeze-task-{}.lock", std::process::id()));
    /// let lock = FileLock::new(&path);
    /// let guard = lock.lock_async(None, tokio::time::sleep).await?;
    /// # drop(guard);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[track_caller]
    pub fn lock_async(
        &self,
        timeout: Option<Duration>,
        sleep: impl AsyncFn(Duration),
    ) -> impl Future<Output = Result<FileLockGuard<'_>, FileLockError>> {
        let site = Location::caller();
        let request = Request {
            mode: Mode::Write,
            site,
            timed: timeout.is_some(),
        };
        let mut polling = Polling::new(self.interval, timeout);
        async move {
            let only = Only::begin(self)?;
            loop {
                if let Some(guard) = self.try_lock()? {
                    return Ok(guard);
                }
                let pause = polling.refused()?;
                let mut slept = pin!(sleep(pause));
                let mut wait: Option<TaskWait<Trying>> = None;
                poll_fn(|context| {
                    if wait.is_none() {
                        let inner = only.monitor.lock();
                        if inner.state.cancelled {
                            return Poll::Ready(());
                        }
                        wait = Some(TaskWait::begin(&only.monitor, inner, request, context));
                    }
                    match wait.as_ref().map(|wait| wait.poll(context)) {
                        Some(Poll::Pending) => slept.as_mut().poll(context),
                        _ => Poll::Ready(()),
                    }
                })
                .await;
                polling.cancelled = only.is_cancelled();
            }
        }
    }

    /// Has whoever waits by way of this object try once more, and then give up.
    pub fn cancel(&self) {
        let Some(monitor) = self.monitor.get() else {
            return;
        };
        let mut inner = monitor.lock();
        inner.state.cancelled = inner.state.busy;
        let mut ended = Ended::default();
        while let Some(waiter) = inner.waiters.pop() {
            ended.end(waiter, State::Cancelled);
        }
        drop(inner);
        ended.tell();
    }

    fn monitor(&self) -> &Arc<Monitor<Trying>> {
        self.monitor.get_or_init(Trying::default)
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock")
            .field("path", &self.path)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Proof that no other process, and nobody else in this one, has the lock.
#[must_use = "the lock is free again at once unless the guard is kept"]
#[clippy::has_significant_drop]
pub struct FileLockGuard<'a> {
    lock: &'a FileLock,
    file: File,
}

impl FileLockGuard<'_> {
    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for FileLockGuard<'_> {
    fn drop(&mut self) {
        // Closing is not enough if a child has inherited the file.
        if let Err(error) = self.file.unlock() {
            let path = self.lock.path.display();
            tracing::warn!(%error, %path, "a lock file cannot be let go before it is closed");
        }
    }
}

impl fmt::Debug for FileLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileLockGuard")
            .field(&self.lock.path)
            .finish()
    }
}

/// When to try again. It is tried first, then this is asked.
struct Polling {
    interval: Duration,
    /// How much may still be slept.
    left: Option<Duration>,
    /// The next try is the last one.
    cancelled: bool,
}

impl Polling {
    fn new(interval: Duration, timeout: Option<Duration>) -> Self {
        Self {
            interval,
            left: timeout,
            cancelled: false,
        }
    }

    /// Somebody else has the lock: how long to sleep before trying again.
    fn refused(&mut self) -> Result<Duration, FileLockError> {
        if self.cancelled {
            return Err(FileLockError::Cancelled);
        }
        let Some(left) = &mut self.left else {
            return Ok(self.interval);
        };
        if left.is_zero() {
            return Err(FileLockError::Timeout);
        }
        let pause = self.interval.min(*left);
        *left -= pause;
        Ok(pause)
    }
}

/// Whether somebody waits, and whether that is to end.
#[derive(Default)]
struct Trying {
    busy: bool,
    cancelled: bool,
}

/// Whoever waits, alone.
struct Only {
    monitor: Arc<Monitor<Trying>>,
}

impl Only {
    fn begin(lock: &FileLock) -> Result<Self, FileLockError> {
        let monitor = Arc::clone(lock.monitor());
        let mut inner = monitor.lock();
        if std::mem::replace(&mut inner.state.busy, true) {
            return Err(FileLockError::AlreadyTryingToLock);
        }
        drop(inner);
        Ok(Self { monitor })
    }

    fn is_cancelled(&self) -> bool {
        self.monitor.lock().state.cancelled
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        self.monitor.lock().state = Trying::default();
    }
}

impl Rules for Trying {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Checks how long it sleeps between tries that all fail.
    fn check(timeout: Option<Duration>, tries: usize, expected: &[Duration]) {
        let mut polling = Polling::new(SECOND, timeout);
        let slept: Vec<_> = (0..tries).map_while(|_| polling.refused().ok()).collect();
        assert_eq!(slept, expected);
    }

    #[test]
    fn it_is_tried_once_an_interval_and_once_more_at_the_end() {
        check(None, 3, &[SECOND; 3]);
        check(Some(Duration::ZERO), 3, &[]);
        check(Some(2 * SECOND), 9, &[SECOND; 2]);
        check(
            Some(2 * SECOND + SECOND / 2),
            9,
            &[SECOND, SECOND, SECOND / 2],
        );
        check(Some(SECOND / 4), 9, &[SECOND / 4]);
    }

    #[test]
    fn after_a_cancellation_it_is_tried_once_more() {
        let mut polling = Polling::new(SECOND, None);
        assert!(polling.refused().is_ok());
        polling.cancelled = true;
        assert!(matches!(polling.refused(), Err(FileLockError::Cancelled)));
    }
}
