//! Threads that others can wait for.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use std::thread::Result;

use crate::agent::Agent;
use crate::error::LockError;
use crate::join::{self, Ending, EndsWithThis, Joining};
use crate::monitor::Monitor;

/// Runs `f` on a new thread.
///
/// Since it is known whom those wait for who [join](JoinHandle::join) it, a thread that waits for its
/// waiter is a deadlock which is found. That cannot be known with [`std::thread`].
///
/// # Panics
///
/// If the operating system has no more threads.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::thread;
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let sum = thread::spawn(|| 1 + 2);
/// assert_eq!(sum.join()?.unwrap(), 3);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_as(None, f, Location::caller())
}

/// The same with a name, which reports and views show, and the operating system too.
///
/// # Panics
///
/// If the operating system has no more threads, or the name has null bytes.
#[track_caller]
pub fn named<T: Send + 'static>(
    name: impl Into<String>,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn_as(Some(name.into()), f, Location::caller())
}

#[track_caller]
fn spawn_as<T: Send + 'static>(
    name: Option<String>,
    f: impl FnOnce() -> T + Send + 'static,
    site: &'static Location<'static>,
) -> JoinHandle<T> {
    let agent = Agent::of_thread(name.as_deref().map(Arc::from));
    let frame = agent.frame;
    let ending = Ending::of(&agent, site);
    let ends = EndsWithThis(Arc::clone(&ending));
    let builder = match name {
        Some(name) => std::thread::Builder::new().name(name),
        None => std::thread::Builder::new(),
    };
    let thread = builder.spawn(move || {
        let _ends = ends;
        agent.begin_thread();
        f()
    });
    match thread {
        Ok(thread) => JoinHandle {
            thread: Some(thread),
            ending,
            frame,
        },
        Err(error) => panic!("no thread can be started: {error}"),
    }
}

/// Waits for a thread. Dropping it lets the thread go on alone.
pub struct JoinHandle<T> {
    /// None once it was joined.
    thread: Option<std::thread::JoinHandle<T>>,
    ending: Arc<Monitor<Ending>>,
    frame: u64,
}

impl<T> JoinHandle<T> {
    /// The number of the thread's frame.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Whether the thread has ended, or is about to.
    pub fn is_finished(&self) -> bool {
        join::is_over(&self.ending)
    }

    /// What the thread returned, or the payload of its panic.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if it waits for this thread. Then it goes on alone.
    ///
    /// # Blocking
    ///
    /// Until the thread has ended.
    #[track_caller]
    pub fn join(mut self) -> std::result::Result<Result<T>, LockError> {
        join::block(&self.ending, None, Location::caller())?;
        Ok(self.take())
    }

    /// The same, for `timeout` at the longest. After an error it can be tried again.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    ///
    /// # Panics
    ///
    /// If the thread was joined before.
    #[track_caller]
    pub fn join_timeout(&mut self, timeout: Duration) -> std::result::Result<Result<T>, LockError> {
        join::block(
            &self.ending,
            Instant::now().checked_add(timeout),
            Location::caller(),
        )?;
        Ok(self.take())
    }

    /// What the thread returned, for which a task waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the thread waits for this task. Then it goes on alone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, and the thread goes on alone.
    #[track_caller]
    pub fn join_async(mut self) -> impl Future<Output = std::result::Result<Result<T>, LockError>> {
        let joining = Joining::new(Arc::clone(&self.ending), Location::caller());
        async move {
            joining.await?;
            Ok(self.take())
        }
    }

    /// What came of a thread that has nothing left to do but to clean up.
    #[track_caller]
    fn take(&mut self) -> Result<T> {
        self.thread.take().expect("a thread is joined once").join()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("frame", &self.frame)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
