//! Twisted's tests of `DeferredFilesystemLock` (`test_defer.DeferredFilesystemLockTests`), under the
//! names that they have there, and what else a lock by way of a file promises.
//!
//! Time is what the runtime's `sleep` makes of it, so these sleep for no time at all.

#![cfg(all(feature = "deadlock-detection", not(any(loom, shuttle))))]

use std::cell::RefCell;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use antifreeze_sync::{FileLock, FileLockError, block_on, detector};

const TENTH: Duration = Duration::from_millis(100);

/// A path that no other test uses. The file is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("antifreeze-{}-{count}.lock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn lock(&self) -> FileLock {
        FileLock::new(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Later<'a> = (Duration, Box<dyn FnOnce() + 'a>);

/// A clock that stands still unless somebody sleeps: Twisted's `task.Clock`.
#[derive(Default)]
struct Clock<'a> {
    now: RefCell<Duration>,
    /// What happens once at a certain time.
    later: RefCell<Option<Later<'a>>>,
}

impl<'a> Clock<'a> {
    fn call_later(&self, delay: Duration, call: impl FnOnce() + 'a) {
        *self.later.borrow_mut() = Some((*self.now.borrow() + delay, Box::new(call)));
    }

    async fn sleep(&self, duration: Duration) {
        let now = *self.now.borrow() + duration;
        *self.now.borrow_mut() = now;
        let due = self.later.borrow_mut().take_if(|(time, _)| *time <= now);
        if let Some((_, call)) = due {
            call();
        }
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Sleeps for ever the first time.
async fn never(_: Duration) {
    pending().await
}

/// Sleeps until it is polled again.
async fn a_moment(_: Duration) {
    let mut polled = false;
    poll_fn(|_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Test that the lock can be acquired when no lock is held
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_waitUntilLockedWithNoLock() -> Result<(), Box<dyn Error>> {
    let (place, clock) = (Place::new(), Clock::default());
    let lock = place.lock();
    let _guard = block_on(lock.lock_async(Some(TENTH), async |pause| clock.sleep(pause).await))?;
    assert_eq!(*clock.now.borrow(), Duration::ZERO);
    Ok(())
}

/// Test that the lock can not be acquired when the lock is held for longer than the timeout.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_waitUntilLockedWithTimeoutLocked() -> Result<(), Box<dyn Error>> {
    let (place, clock) = (Place::new(), Clock::default());
    let (lock, other) = (place.lock(), place.lock());
    let _held = other.lock()?;
    let timeout = Duration::from_millis(5500);
    let outcome = block_on(lock.lock_async(Some(timeout), async |pause| clock.sleep(pause).await));
    assert!(matches!(outcome, Err(FileLockError::Timeout)));
    assert_eq!(*clock.now.borrow(), timeout);
    Ok(())
}

/// Test that a lock can be acquired while a lock is held but the lock is unlocked before our timeout.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_waitUntilLockedWithTimeoutUnlocked() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (place.lock(), place.lock());
    let clock = Clock::default();
    let held = other.lock()?;
    clock.call_later(Duration::from_secs(1), move || drop(held));
    let timeout = Duration::from_millis(5500);
    let _guard = block_on(lock.lock_async(Some(timeout), async |pause| clock.sleep(pause).await))?;
    assert_eq!(*clock.now.borrow(), Duration::from_secs(1));
    Ok(())
}

/// There it is the global reactor. Here it is up to the caller, but the interval is the same.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_defaultScheduler() {
    assert_eq!(Place::new().lock().interval(), Duration::from_secs(1));
}

/// Test that an appropriate exception is raised when attempting to wait concurrently.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_concurrentUsage() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (place.lock(), place.lock());
    let held = other.lock()?;
    let mut first = pin!(lock.lock_async(None, a_moment));
    assert!(poll(first.as_mut()).is_pending());
    let second = block_on(lock.lock_async(None, never));
    assert!(matches!(second, Err(FileLockError::AlreadyTryingToLock)));
    assert!(matches!(
        lock.lock(),
        Err(FileLockError::AlreadyTryingToLock)
    ));
    drop(held);
    assert!(matches!(poll(first.as_mut()), Poll::Ready(Ok(_))));
    Ok(())
}

/// Test that a DeferredFilesystemLock can be used multiple times
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_multipleUsages() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let lock = place.lock();
    for _ in 0..2 {
        drop(block_on(lock.lock_async(None, never))?);
        drop(lock.lock()?);
    }
    Ok(())
}

/// When the wait is cancelled, it ends, and the lock can be used again.
fn check_cancel(timeout: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (place.lock(), place.lock());
    let held = other.lock()?;
    let mut first = pin!(lock.lock_async(timeout, never));
    assert!(poll(first.as_mut()).is_pending());
    lock.cancel();
    assert!(matches!(
        poll(first.as_mut()),
        Poll::Ready(Err(FileLockError::Cancelled))
    ));
    // Nobody is trying any more.
    let mut second = pin!(lock.lock_async(timeout, never));
    assert!(poll(second.as_mut()).is_pending());
    // It is tried once more when it is cancelled.
    drop(held);
    lock.cancel();
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
    Ok(())
}

/// When cancelling a Deferred, it errbacks with CancelledError, and the try lock call is cancelled.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_cancelDeferUntilLocked() -> Result<(), Box<dyn Error>> {
    check_cancel(None)
}

/// The same with a timeout.
#[test]
#[allow(non_snake_case, reason = "it is called so there")]
fn test_cancelDeferUntilLockedWithTimeout() -> Result<(), Box<dyn Error>> {
    check_cancel(Some(Duration::from_secs(1)))
}

#[test]
fn a_wait_that_is_dropped_leaves_the_lock_usable() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (place.lock(), place.lock());
    let held = other.lock()?;
    {
        let mut first = pin!(lock.lock_async(None, never));
        assert!(poll(first.as_mut()).is_pending());
    }
    drop(held);
    drop(lock.lock()?);
    Ok(())
}

#[test]
fn a_thread_waits_until_the_file_is_free() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (
        place.lock().with_interval(Duration::from_millis(1)),
        place.lock(),
    );
    let held = other.lock()?;
    assert!(matches!(
        lock.lock_timeout(Duration::from_millis(3)),
        Err(FileLockError::Timeout)
    ));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        while lock.try_lock().is_ok() && detector_shows(&lock) == 0 {
            std::thread::yield_now();
        }
        drop(held);
        waiter.join().unwrap()
    })?;
    Ok(())
}

#[test]
fn a_thread_that_waits_can_be_called_off() -> Result<(), Box<dyn Error>> {
    let place = Place::new();
    let (lock, other) = (place.lock(), place.lock());
    let _held = other.lock()?;
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        while detector_shows(&lock) == 0 {
            std::thread::yield_now();
        }
        lock.cancel();
        assert!(matches!(
            waiter.join().unwrap(),
            Err(FileLockError::Cancelled)
        ));
    });
    Ok(())
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let lock = FileLock::new("/nowhere/at/all.lock");
    assert!(matches!(lock.lock(), Err(FileLockError::Io(_))));
    // And nobody is trying any more.
    assert!(matches!(lock.lock(), Err(FileLockError::Io(_))));
}

/// How many are shown to wait for it.
fn detector_shows(lock: &FileLock) -> usize {
    let name = lock.path().to_string_lossy();
    let snapshot = detector::snapshot();
    let states = snapshot.resources.iter();
    let here = states.filter(|state| state.resource.name.as_deref() == Some(&*name));
    here.map(|state| state.waiters.len()).sum()
}
