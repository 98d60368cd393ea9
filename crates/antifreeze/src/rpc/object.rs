//! An object that is shared between the program that made it and those that call it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock, Weak};

use antifreeze_serial::ProxyState;
use antifreeze_sync::{
    Bound, LockError, OnTask, OnThread, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use parking_lot::Mutex;
use serde::ser::{Error as _, Serialize, Serializer};

use super::class::{Expose, ExposeLocal};
use super::dispatch::Rpc;
use super::queue::Queue;

/// The local handle of an object whose methods other programs call.
///
/// Register it with a [`Daemon`](crate::Daemon), keep a clone, and use the object from this program
/// under the same rule as everybody else: readers together, writers alone.
///
/// It can be an argument of a call, or a result, or a part of one: what arrives is a
/// [`Proxy`](crate::Proxy) of the object, in Rust and in Python, as long as a daemon serves it.
///
/// # Examples
///
/// ```
/// use antifreeze::{Object, expose};
///
/// struct Counter(i64);
///
/// #[expose]
/// impl Counter {
///     fn add(&mut self, n: i64) -> i64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// let counter = Object::new(Counter(0));
/// counter.write().add(2);
/// assert_eq!(counter.read().0, 2);
/// ```
pub struct Object<T: Expose>(pub(crate) Arc<Cell<T>>);

/// A handle that does not keep its object alive.
pub struct WeakObject<T: Expose>(pub(crate) Weak<Cell<T>>);

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exposed, so it cannot be registered",
    label = "its methods are not exposed",
    note = "write `#[expose]` above an `impl {Self}` block with the methods that peers may call"
)]
/// Something that can be registered: a value of an exposed type, or an [`Object`] of one.
pub trait IntoObject {
    /// The exposed type.
    type Class: Expose;
    /// The object to register.
    fn into_object(self) -> Object<Self::Class>;
}

impl<T: Expose> IntoObject for T {
    type Class = T;
    #[track_caller]
    fn into_object(self) -> Object<T> {
        Object::new(self)
    }
}

impl<T: Expose> IntoObject for Object<T> {
    type Class = T;
    fn into_object(self) -> Self {
        self
    }
}

impl<T: Expose> IntoObject for &Object<T> {
    type Class = T;
    fn into_object(self) -> Object<T> {
        self.clone()
    }
}

/// Where an object lives.
pub(crate) struct Cell<T> {
    pub(crate) lock: Arc<RwLock<T>>,
    /// The calls that wait for it, from the first time that one had to.
    queue: OnceLock<Queue>,
    /// The daemons that it was registered in, the last one last.
    homes: Mutex<Vec<Weak<Rpc>>>,
}

impl<T: Expose> Cell<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        Self::of(lock_of(value))
    }
}

/// The lock around an object.
#[track_caller]
pub(super) fn lock_of<T: ExposeLocal>(value: T) -> RwLock<T> {
    let lock = RwLock::of_object(value);
    if T::class().locked {
        lock
    } else {
        // A type without `&mut self` methods has no lock as far as its calls can tell: only
        // `Object::write` ever keeps them out, while it is inside.
        lock.readers_first()
    }
}

impl<T> Cell<T> {
    pub(crate) fn of(lock: RwLock<T>) -> Self {
        Self {
            lock: Arc::new(lock),
            queue: OnceLock::new(),
            homes: Mutex::default(),
        }
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue.get_or_init(Queue::default).clone()
    }
}

impl<T: Expose> Object<T> {
    /// Makes an object of `value`.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Cell::new(value)))
    }

    /// The object for reading, together with other readers.
    ///
    /// # Blocking
    ///
    /// Waits while a `&mut self` method runs, and behind calls that came first.
    ///
    /// # Panics
    ///
    /// If it would wait for ever, with a text that names the whole cycle: as it would on a thread
    /// that has a write guard of the same object, or in a method that others wait for who keep it
    /// from the object. Callers of such a method see the deadlock as an `OSError`, as if it had
    /// returned the error of [`checked_read`](Self::checked_read).
    #[track_caller]
    pub fn read(&self) -> ReadGuard<'_, T> {
        match self.checked_read() {
            Ok(guard) => guard,
            Err(error) => refused(&error),
        }
    }

    /// The object for writing, alone.
    ///
    /// # Blocking
    ///
    /// Waits while any method of the object runs, and behind calls that came first; if the object
    /// has no `&mut self` methods, behind all calls that come meanwhile.
    ///
    /// # Panics
    ///
    /// If it would wait for ever, with a text that names the whole cycle: as it would on a thread
    /// that has a guard of the same object, or is inside one of its methods. Callers of such a
    /// method see the deadlock as an `OSError`, as if it had returned the error of
    /// [`checked_write`](Self::checked_write).
    #[track_caller]
    pub fn write(&self) -> WriteGuard<'_, T> {
        match self.checked_write() {
            Ok(guard) => guard,
            Err(error) => refused(&error),
        }
    }

    /// The object for reading, unless it could never be had: [`read`](Self::read) for programs that
    /// go on after a deadlock.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. A method may return it with `?`: the
    /// caller sees an `OSError` that tells of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use antifreeze::{Object, expose};
    /// # struct Counter(i64);
    /// # #[expose]
    /// # impl Counter {
    /// #     fn add(&mut self, n: i64) {
    /// #         self.0 += n;
    /// #     }
    /// # }
    /// let counter = Object::new(Counter(0));
    /// let writing = counter.write();
    /// let deadlock = counter.checked_read().err().unwrap();
    /// assert!(deadlock.to_string().contains("waits for what it holds itself"));
    /// ```
    #[track_caller]
    pub fn checked_read(&self) -> Result<ReadGuard<'_, T>, LockError> {
        self.0.lock.read().map(ReadGuard)
    }

    /// The object for writing, unless it could never be had: [`write`](Self::write) for programs
    /// that go on after a deadlock.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. A method may return it with `?`: the
    /// caller sees an `OSError` that tells of it.
    #[track_caller]
    pub fn checked_write(&self) -> Result<WriteGuard<'_, T>, LockError> {
        self.0.lock.write().map(WriteGuard)
    }

    /// The object for reading, for a task or an async method.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end. That is found out where the task is an
    /// agent: in async methods, and under [`sync::task`](crate::sync::task()).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::sync::LockError;
    /// use antifreeze::{Object, expose};
    ///
    /// struct Counter(i64);
    ///
    /// #[expose]
    /// impl Counter {
    ///     fn add(&mut self, n: i64) -> i64 {
    ///         self.0 += n;
    ///         self.0
    ///     }
    /// }
    ///
    /// struct Pair(Object<Counter>, Object<Counter>);
    ///
    /// #[expose]
    /// impl Pair {
    ///     /// Occupies no thread while it waits.
    ///     async fn shift(&self, n: i64) -> Result<(), LockError> {
    ///         let mut from = self.0.write_async().await?;
    ///         let mut to = self.1.write_async().await?;
    ///         from.add(-n);
    ///         to.add(n);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn read_async(&self) -> impl Future<Output = Result<AsyncReadGuard<'_, T>, LockError>> {
        let reading = self.0.lock.read_async();
        async { reading.await.map(ReadGuard) }
    }

    /// The object for writing, for a task or an async method.
    ///
    /// # Errors
    ///
    /// As [`read_async`](Self::read_async).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn write_async(&self) -> impl Future<Output = Result<AsyncWriteGuard<'_, T>, LockError>> {
        let writing = self.0.lock.write_async();
        async { writing.await.map(WriteGuard) }
    }

    /// A daemon serves it from now on.
    pub(crate) fn is_served_by(&self, daemon: &Arc<Rpc>) {
        let daemon = Arc::downgrade(daemon);
        let mut homes = self.0.homes.lock();
        homes.retain(|home| home.strong_count() > 0 && !home.ptr_eq(&daemon));
        homes.push(daemon);
    }

    /// What stands for it in other programs, as long as a daemon serves it.
    fn state(&self) -> Option<ProxyState> {
        let homes: Vec<_> = self
            .0
            .homes
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let named = |daemon: &Arc<Rpc>| {
            let (id, metadata) = daemon.registry.named(self)?;
            Some(metadata.of_proxy(&daemon.doors.uri_for(&id).ok()?))
        };
        // The one that serves the call is known to the client; else the last one.
        let (serving, others): (Vec<_>, Vec<_>) =
            homes.iter().partition(|daemon| daemon.is_serving());
        let mut daemons = serving.into_iter().chain(others.into_iter().rev());
        daemons.find_map(named)
    }

    /// The object for reading, if that is possible without waiting.
    #[track_caller]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        self.0.lock.try_read().map(ReadGuard)
    }

    /// The object for writing, if that is possible without waiting.
    #[track_caller]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.0.lock.try_write().map(WriteGuard)
    }

    /// A handle that does not keep the object alive.
    pub fn downgrade(&self) -> WeakObject<T> {
        WeakObject(Arc::downgrade(&self.0))
    }
}

impl<T: Expose> Serialize for Object<T> {
    /// An object does not travel: a `Proxy` of it does, by which the receiver calls it, as with Pyro's
    /// autoproxies. It names the daemon whose call is being served, if the object is registered in that,
    /// else the one that it was registered in last; in an answer the address
    /// of it that the client uses, and in the arguments of a call the one with the name, which others
    /// reach, too. An object that no daemon serves is an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.state() {
            Some(state) => state.serialize(serializer),
            None => Err(S::Error::custom(format_args!(
                "expected an object that a daemon serves, to send a proxy of it, got a {} that none \
                 does",
                T::class().name
            ))),
        }
    }
}

#[cold]
#[track_caller]
fn refused(error: &LockError) -> ! {
    panic!("{error}")
}

impl<T: Expose> WeakObject<T> {
    /// The object, if it still exists.
    pub fn upgrade(&self) -> Option<Object<T>> {
        self.0.upgrade().map(Object)
    }
}

impl<T: Expose> Clone for Object<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Expose> Clone for WeakObject<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

/// Proof that the object may be read. Dropping it lets the next ones in.
#[must_use = "the object is free again at once unless the guard is kept"]
pub struct ReadGuard<'a, T, W: Bound = OnThread>(RwLockReadGuard<'a, T, W>);

/// Proof that the object is ours alone. Dropping it lets the next ones in.
#[must_use = "the object is free again at once unless the guard is kept"]
pub struct WriteGuard<'a, T, W: Bound = OnThread>(RwLockWriteGuard<'a, T, W>);

/// A [`ReadGuard`] that a task may keep while it awaits something else.
pub type AsyncReadGuard<'a, T> = ReadGuard<'a, T, OnTask>;

/// A [`WriteGuard`] that a task may keep while it awaits something else.
pub type AsyncWriteGuard<'a, T> = WriteGuard<'a, T, OnTask>;

impl<T, W: Bound> Deref for ReadGuard<'_, T, W> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, W: Bound> Deref for WriteGuard<'_, T, W> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, W: Bound> DerefMut for WriteGuard<'_, T, W> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug, W: Bound> fmt::Debug for ReadGuard<'_, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Debug, W: Bound> fmt::Debug for WriteGuard<'_, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
