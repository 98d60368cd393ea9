//! Twisted's primitives under Twisted's names, as thin layers over our own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::LockError;
use crate::label::Label;
use crate::mutex::{LockFuture, Mutex};
use crate::queue::{Getting, PutFuture, Queue, TryPutError};
use crate::semaphore::{BoundedSemaphore, PermitFuture};
use crate::sync::const_fn;

/// A lock that protects no data but a section of code: Twisted's `DeferredLock`.
///
/// It is a [fair](Mutex::fair) [`Mutex`] with nothing in it; where there is something to protect,
/// use that. It is given back by a guard, so Twisted's `release` is to drop that, and cannot be
/// called too often. A task that waits for a lock which it has itself gets a
/// [`LockError::Deadlock`], where Twisted hangs silently.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use antifreeze_sync::{DeferredLock, LockError, block_on};
///
/// async fn record(value: u32) -> u32 {
///     value
/// }
///
/// # fn main() -> Result<(), LockError> {
/// let (lock, count) = (DeferredLock::new(), Cell::new(0));
/// let next = || {
///     lock.run(async || {
///         count.set(count.get() + 1);
///         record(count.get()).await;
///         count.get()
///     })
/// };
/// assert_eq!(block_on(next())?, 1);
/// assert_eq!(block_on(next())?, 2);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DeferredLock {
    mutex: Mutex<()>,
}

impl DeferredLock {
    const_fn! {
        /// A lock that nobody has.
        #[track_caller]
        pub const fn new() -> Self {
            Self { mutex: Mutex::new(()).fair() }
        }
    }

    /// Gives it a name, which reports and views show.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self {
            mutex: self.mutex.with_name(name),
        }
    }

    /// The lock. If nobody has it, the future is ready at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire(&self) -> LockFuture<'_, ()> {
        self.mutex.lock_async()
    }

    /// Runs `f` with the lock, until its future is done.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). Then `f` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, or `f` where it is, and lets go of the lock.
    #[track_caller]
    pub fn run<R>(&self, f: impl AsyncFnOnce() -> R) -> impl Future<Output = Result<R, LockError>> {
        self.mutex.run_async(async move |()| f().await)
    }

    /// Whether somebody has the lock at this moment.
    pub fn locked(&self) -> bool {
        self.mutex.is_locked()
    }
}

impl Default for DeferredLock {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// A number of tokens: Twisted's `DeferredSemaphore`.
///
/// It is a [`BoundedSemaphore`]. Tokens are given back by guards, so Twisted's `release` is to drop
/// one, and cannot be called too often.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroU32;
/// use antifreeze_sync::{DeferredSemaphore, LockError, block_on};
///
/// # fn main() -> Result<(), LockError> {
/// let semaphore = DeferredSemaphore::new(NonZeroU32::new(2).unwrap());
/// let one_left = block_on(semaphore.run(async || semaphore.tokens()))?;
/// assert_eq!((one_left, semaphore.tokens(), semaphore.limit()), (1, 2, 2));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DeferredSemaphore {
    semaphore: BoundedSemaphore,
}

impl DeferredSemaphore {
    const_fn! {
        /// A semaphore with so many tokens: at least one, or nobody could ever have one.
        #[track_caller]
        pub const fn new(tokens: NonZeroU32) -> Self {
            let label = Label::new("DeferredSemaphore");
            Self { semaphore: BoundedSemaphore::labelled(label, tokens.get()) }
        }
    }

    /// Gives it a name, which reports and views show.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self {
            semaphore: self.semaphore.with_name(name),
        }
    }

    /// A token. If there is one, the future is ready at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire(&self) -> PermitFuture<'_> {
        self.semaphore.acquire_async()
    }

    /// Runs `f` with a token, until its future is done.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). Then `f` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, or `f` where it is, and gives the token back.
    #[track_caller]
    pub fn run<R>(&self, f: impl AsyncFnOnce() -> R) -> impl Future<Output = Result<R, LockError>> {
        self.semaphore.run_async(f)
    }

    /// How many tokens there are in all.
    pub fn limit(&self) -> u32 {
        self.semaphore.total()
    }

    /// How many tokens nobody has at this moment.
    pub fn tokens(&self) -> u32 {
        self.semaphore.available()
    }
}

/// A queue to which nobody waits to put: Twisted's `DeferredQueue`.
///
/// It is a [`Queue`] that refuses rather than waits: items beyond its size, and getters beyond its
/// backlog.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{DeferredQueue, block_on};
///
/// let queue = DeferredQueue::new(Some(1), Some(0));
/// queue.put("first").unwrap();
/// assert_eq!(queue.put("second").unwrap_err().into_item(), "second");
/// assert_eq!(block_on(queue.get()), Ok("first"));
/// assert!(block_on(queue.get()).is_err(), "nobody may wait");
/// ```
pub struct DeferredQueue<T> {
    queue: Queue<T>,
    backlog: usize,
}

impl<T> DeferredQueue<T> {
    const_fn! {
        /// A queue of so many items at most, for which so many may wait; none means any number.
        #[track_caller]
        pub const fn new(size: Option<usize>, backlog: Option<usize>) -> Self {
            let label = Label::new("DeferredQueue");
            Self { queue: Queue::labelled(label, or_any(size)), backlog: or_any(backlog) }
        }
    }

    /// Gives it a name, which views show.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self {
            queue: self.queue.with_name(name),
            backlog: self.backlog,
        }
    }

    /// How many items it can have. None if any number.
    pub fn size(&self) -> Option<usize> {
        self.queue.capacity()
    }

    /// How many may wait for an item. None if any number.
    pub fn backlog(&self) -> Option<usize> {
        (self.backlog != usize::MAX).then_some(self.backlog)
    }

    /// How many items are in it at this moment: Twisted's `pending`.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }
}

const fn or_any(limit: Option<usize>) -> usize {
    match limit {
        Some(limit) => limit,
        None => usize::MAX,
    }
}

impl<T: Send + 'static> DeferredQueue<T> {
    /// Gives the item to whoever has waited longest, or else stores it.
    ///
    /// # Errors
    ///
    /// The item, if nobody waits and the queue is full.
    pub fn put(&self, item: T) -> Result<(), QueueOverflow<T>> {
        self.queue.put_now(item).map_err(|refused| match refused {
            TryPutError::Full(item) | TryPutError::Closed(item) => QueueOverflow(item),
        })
    }

    /// Puts an item when there is room for it, which Twisted's cannot.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. If the item was not accepted until then, it is dropped too.
    #[track_caller]
    pub fn put_wait(&self, item: T) -> PutFuture<'_, T> {
        self.queue.put_async(item)
    }

    /// The next item. If there is one, the future is ready at once.
    ///
    /// Its place in the line is taken at the first poll.
    ///
    /// # Errors
    ///
    /// [`QueueUnderflow`] at once, if there is no item and no more may wait for one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. No item is lost: one that it was given already goes back
    /// to the front, or to the next who waits.
    #[track_caller]
    pub fn get(&self) -> DeferredGet<'_, T> {
        DeferredGet(Getting::new(&self.queue, self.backlog, Location::caller()))
    }
}

impl<T> fmt::Debug for DeferredQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeferredQueue")
            .field("size", &self.size())
            .field("backlog", &self.backlog())
            .field("pending", &self.pending())
            .finish()
    }
}

/// Gets an item. Made by [`DeferredQueue::get`].
#[must_use = "futures do nothing unless they are polled"]
pub struct DeferredGet<'a, T: Send + 'static>(Getting<'a, T>);

impl<T: Send + 'static> Future for DeferredGet<'_, T> {
    type Output = Result<T, QueueUnderflow>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|item| match item {
            Some(Ok(item)) => Ok(item),
            None => Err(QueueUnderflow),
            Some(Err(error)) => {
                unreachable!("it cannot be closed, nor waited for in vain: {error}")
            }
        })
    }
}

/// An item that a [`DeferredQueue`] had no room for.
pub struct QueueOverflow<T>(pub T);

impl<T> QueueOverflow<T> {
    /// The item.
    pub fn into_item(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueOverflow(..)")
    }
}

impl<T> fmt::Display for QueueOverflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is full")
    }
}

impl<T> Error for QueueOverflow<T> {}

/// There is no item in a [`DeferredQueue`], and as many wait for one as may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueUnderflow;

impl fmt::Display for QueueUnderflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is empty, and no more may wait for it")
    }
}

impl Error for QueueUnderflow {}
