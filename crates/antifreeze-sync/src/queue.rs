//! [`Queue`]: items that some put and others get.
//!
//! Those who wait to put have left their item here, and those who waited to get find theirs here,
//! each in a place of its own. So an item and its getter belong together from the moment at which
//! the wait ends, whoever runs first after that. There never are some who wait to put and some who
//! wait to get at the same time.

use std::any::type_name;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::agent::{ANONYMOUS, Agent};
use crate::detector;
use crate::error::LockError;
use crate::label::{Label, Name, new_id};
use crate::monitor::{Holders, Holding, Inner, Monitor, Obstacles, Rules};
use crate::report::Mode;
use crate::slab::Slab;
use crate::sync::{OnceLock, const_fn};
use crate::waiter::{self, Ended, Request, State, Wait, Waiter};
use crate::waiters::Waiters;

/// Items that some put and others get, first in, first out: Python's `queue.Queue`.
///
/// Anybody can put and get, so a wait is shown but never part of a deadlock that is found. Where it
/// is known who does which, use a [`channel`].
///
/// # Fairness
///
/// Items come out in the order in which they were put. Threads and tasks are served in the order in
/// which they came: the first item goes to the getter that waits longest, even if others run first.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::Queue;
///
/// static JOBS: Queue<u32> = Queue::named("jobs", Some(8));
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// std::thread::scope(|scope| {
///     let worker = scope.spawn(|| {
///         let mut total = 0;
///         for job in JOBS.iter() {
///             total += job?;
///             JOBS.task_done();
///         }
///         Ok::<_, antifreeze_sync::LockError>(total)
///     });
///     for job in 1..=100 {
///         JOBS.put(job)?;
///     }
///     JOBS.join()?;
///     JOBS.close();
///     assert_eq!(worker.join().unwrap()?, 5050);
///     Ok(())
/// })
/// # }
/// ```
pub struct Queue<T> {
    label: Label,
    capacity: usize,
    line: OnceLock<Arc<Monitor<Line<T>>>>,
    /// Those who wait until all is done. Locked before the line, where both are.
    joins: OnceLock<Arc<Monitor<Joins>>>,
}

/// The state of a queue.
struct Line<T> {
    capacity: usize,
    items: VecDeque<T>,
    /// What those who wait to put want to put, and what those who waited to get were given.
    moving: Slab<T>,
    closed: bool,
    /// How many items were put and not yet reported as done.
    unfinished: usize,
    /// Whoever puts or gets has a handle.
    only_handles: bool,
    producers: Slab<Handle>,
    consumers: Slab<Handle>,
    /// How often a handle came, went or was bound.
    members: u64,
}

/// Somebody who puts, or gets.
#[derive(Default)]
struct Handle {
    bound: Option<(Arc<Agent>, &'static Location<'static>)>,
}

/// Those who wait until all is done.
struct Joins;

/// An item that was not put, and why.
pub struct PutError<T> {
    /// The item.
    pub item: T,
    /// Why it was not put.
    pub error: LockError,
}

/// An item that could not be put without waiting.
pub enum TryPutError<T> {
    /// There is no room: Python's `queue.Full`.
    Full(T),
    /// The queue was closed, or nobody is left to get it.
    Closed(T),
}

/// Why there was no item to get without waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TryGetError {
    /// There is none at this moment: Python's `queue.Empty`.
    Empty,
    /// There will never be one again: the queue was closed, or nobody is left to put one.
    Closed,
}

impl<T> Queue<T> {
    const_fn! {
        /// A queue with room for so many items. One without any room is a
        /// [rendezvous](Self::rendezvous).
        #[track_caller]
        pub const fn bounded(capacity: usize) -> Self {
            Self::labelled(Label::new("Queue"), capacity)
        }
    }

    const_fn! {
        /// A queue with room for everything.
        #[track_caller]
        pub const fn unbounded() -> Self {
            Self::labelled(Label::new("Queue"), usize::MAX)
        }
    }

    const_fn! {
        /// A queue without room: to put an item is to wait until somebody gets it.
        #[track_caller]
        pub const fn rendezvous() -> Self {
            Self::labelled(Label::new("Queue"), 0)
        }
    }

    const_fn! {
        /// A queue that reports and views call `name`, with room for so many items, or for everything.
        #[track_caller]
        pub const fn named(name: &'static str, capacity: Option<usize>) -> Self {
            let capacity = match capacity {
                Some(capacity) => capacity,
                None => usize::MAX,
            };
            Self::labelled(Label::named("Queue", name), capacity)
        }
    }

    const_fn! {
        pub(crate) const fn labelled(label: Label, capacity: usize) -> Self {
            Self { label, capacity, line: OnceLock::new(), joins: OnceLock::new() }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.label.name = Name::Made(name.into().into());
        self
    }

    /// How many items there is room for. None if for everything.
    pub fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    /// How many items are in it at this moment.
    pub fn len(&self) -> usize {
        self.line
            .get()
            .map_or(0, |line| line.lock().state.items.len())
    }

    /// Whether no item is in it at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in it at this moment.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.line.get().is_some_and(|line| line.lock().state.closed)
    }

    /// How many items were put for which nobody has called [`task_done`](Self::task_done) yet.
    pub fn unfinished(&self) -> usize {
        self.line
            .get()
            .map_or(0, |line| line.lock().state.unfinished)
    }
}

/// What can be done by whoever puts.
macro_rules! puts {
    ($type:ident) => {
        impl<T: Send + 'static> $type<T> {
            /// Puts an item.
            ///
            /// # Errors
            ///
            /// The item, with [`LockError::Closed`] if nobody will ever get it, or with
            /// [`LockError::Deadlock`] if the wait could never end.
            ///
            /// # Blocking
            ///
            /// While there is no room, and until everybody who came first was served.
            #[track_caller]
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.queue().block_put(item, None, Location::caller())
            }

            /// Puts an item, after `timeout` at the latest.
            ///
            /// # Errors
            ///
            /// As [`put`](Self::put), and [`LockError::Timeout`].
            #[track_caller]
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
                let deadline = Instant::now().checked_add(timeout);
                self.queue().block_put(item, deadline, Location::caller())
            }

            /// Puts an item, at `deadline` at the latest.
            ///
            /// # Errors
            ///
            /// As [`put`](Self::put), and [`LockError::Timeout`].
            #[track_caller]
            pub fn put_until(&self, item: T, deadline: Instant) -> Result<(), PutError<T>> {
                self.queue()
                    .block_put(item, Some(deadline), Location::caller())
            }

            /// Puts an item, if nothing has to be waited for: Python's `put_nowait`.
            ///
            /// # Errors
            ///
            /// The item, if there is no room, or if nobody will ever get it.
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.queue().put_now(item)
            }

            /// Puts an item, for a task. If there is room, the future is ready at once.
            ///
            /// # Errors
            ///
            /// As [`put`](Self::put).
            ///
            /// # Cancel safety
            ///
            /// Dropping the future ends the wait. If the item was not accepted until then, it is
            /// dropped too. Nobody else loses their place.
            #[track_caller]
            pub fn put_async(&self, item: T) -> PutFuture<'_, T> {
                let site = Location::caller();
                PutFuture {
                    queue: self.queue(),
                    site,
                    item: Some(item),
                    waiter: None,
                }
            }
        }
    };
}

/// What can be done by whoever gets.
macro_rules! gets {
    ($type:ident) => {
        impl<T: Send + 'static> $type<T> {
            /// The next item.
            ///
            /// # Errors
            ///
            /// [`LockError::Closed`] if no item is left and none will ever be put, or
            /// [`LockError::Deadlock`] if the wait could never end.
            ///
            /// # Blocking
            ///
            /// Until there is an item, and everybody who came first has one.
            #[track_caller]
            pub fn get(&self) -> Result<T, LockError> {
                self.queue().block_get(None, Location::caller())
            }

            /// The next item, after `timeout` at the latest.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get), and [`LockError::Timeout`].
            #[track_caller]
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, LockError> {
                self.queue()
                    .block_get(Instant::now().checked_add(timeout), Location::caller())
            }

            /// The next item, at `deadline` at the latest.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get), and [`LockError::Timeout`].
            #[track_caller]
            pub fn get_until(&self, deadline: Instant) -> Result<T, LockError> {
                self.queue().block_get(Some(deadline), Location::caller())
            }

            /// The next item, if nothing has to be waited for: Python's `get_nowait`.
            ///
            /// # Errors
            ///
            /// Says whether there may be one later.
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.queue().get_now()
            }

            /// The next item, for a task. If there is one, the future is ready at once.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get).
            ///
            /// # Cancel safety
            ///
            /// Dropping the future ends the wait. No item is lost: one that it was given already
            /// goes back to the front, or to the next who waits. Then there may be one item more in
            /// the queue than there is room for.
            #[track_caller]
            pub fn get_async(&self) -> GetFuture<'_, T> {
                GetFuture(Getting::new(self.queue(), usize::MAX, Location::caller()))
            }

            /// Gets one item after the other until the queue is closed and empty.
            ///
            /// The iterator waits as [`get`](Self::get) does, and gives out its errors.
            #[track_caller]
            pub fn iter(&self) -> QueueIter<'_, T> {
                QueueIter {
                    queue: self.queue(),
                    site: Location::caller(),
                }
            }

            /// Gets the items that are there, without waiting.
            pub fn try_iter(&self) -> impl Iterator<Item = T> + use<'_, T> {
                let queue = self.queue();
                std::iter::from_fn(move || queue.get_now().ok())
            }

            /// Says that the work on an item that was got is done.
            ///
            /// # Panics
            ///
            /// If that was said of all items already.
            pub fn task_done(&self) {
                self.queue().one_done();
            }
        }

        impl<'a, T: Send + 'static> IntoIterator for &'a $type<T> {
            type Item = Result<T, LockError>;
            type IntoIter = QueueIter<'a, T>;

            #[track_caller]
            fn into_iter(self) -> QueueIter<'a, T> {
                self.iter()
            }
        }
    };
}

puts!(Queue);
gets!(Queue);
puts!(Producer);
gets!(Consumer);

impl<T: Send + 'static> Queue<T> {
    fn queue(&self) -> &Self {
        self
    }

    /// Waits until the work on all items is [done](Self::task_done).
    ///
    /// # Errors
    ///
    /// None at present: nobody knows who does the work, so the wait is never part of a deadlock that
    /// is found.
    ///
    /// # Blocking
    ///
    /// Until there was a moment at which all was done.
    #[track_caller]
    pub fn join(&self) -> Result<(), LockError> {
        self.block_join(None, Location::caller())
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`].
    #[track_caller]
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), LockError> {
        self.block_join(Instant::now().checked_add(timeout), Location::caller())
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`].
    #[track_caller]
    pub fn join_until(&self, deadline: Instant) -> Result<(), LockError> {
        self.block_join(Some(deadline), Location::caller())
    }

    fn block_join(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<(), LockError> {
        let joins = self.joins();
        let inner = joins.lock();
        if self.unfinished() == 0 {
            return Ok(());
        }
        let request = Request {
            mode: Mode::Signal,
            site,
            timed: deadline.is_some(),
        };
        joins.block(inner, request, false, deadline).outcome()
    }

    /// The same, for a task.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait.
    #[track_caller]
    pub fn join_async(&self) -> QueueJoin<'_, T> {
        QueueJoin {
            queue: self,
            site: Location::caller(),
            waiter: None,
        }
    }

    /// Lets no more items in. Those that are there can still be got.
    ///
    /// Everybody who waits to put gets the item back, and everybody who waits to get an item is told
    /// that none will come.
    pub fn close(&self) {
        let mut inner = self.line().lock();
        inner.state.closed = true;
        self.line().settle(inner);
    }

    /// Makes it a queue that is used through handles only, so that it is known who puts and who gets.
    ///
    /// See [`channel`].
    pub fn into_channel(self) -> (Producer<T>, Consumer<T>) {
        self.line().lock().state.only_handles = true;
        let queue = Arc::new(self);
        (queue.producer(), queue.consumer())
    }

    /// A handle to put items. When the last one is dropped, the queue is closed.
    ///
    /// As long as the queue can be used without a handle too, waits for it are not part of deadlocks
    /// that are found; see [`into_channel`](Self::into_channel).
    pub fn producer(self: &Arc<Self>) -> Producer<T> {
        let place = self.line().lock().state.register(Mode::Put);
        Producer {
            queue: Arc::clone(self),
            place,
        }
    }

    /// A handle to get items. When the last one is dropped, the queue is closed.
    ///
    /// As long as the queue can be used without a handle too, waits for it are not part of deadlocks
    /// that are found; see [`into_channel`](Self::into_channel).
    pub fn consumer(self: &Arc<Self>) -> Consumer<T> {
        let place = self.line().lock().state.register(Mode::Get);
        Consumer {
            queue: Arc::clone(self),
            place,
        }
    }

    // Putting and getting.

    fn block_put(
        &self,
        item: T,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<(), PutError<T>> {
        let line = self.line();
        let mut inner = line.lock();
        if inner.state.closed {
            return Err(PutError {
                item,
                error: LockError::Closed,
            });
        }
        let mut ended = Ended::default();
        let Err(item) = inner.offer(item, &mut ended) else {
            drop(inner);
            ended.tell();
            return Ok(());
        };
        let place = inner.state.moving.insert(item);
        let request = Request {
            mode: Mode::Put,
            site,
            timed: deadline.is_some(),
        };
        let waiter = line.block_with(inner, request, false, deadline, place);
        waiter.outcome().map_err(|error| PutError {
            item: self.take_moved(&waiter),
            error,
        })
    }

    pub(crate) fn put_now(&self, item: T) -> Result<(), TryPutError<T>> {
        let mut inner = self.line().lock();
        if inner.state.closed {
            return Err(TryPutError::Closed(item));
        }
        let mut ended = Ended::default();
        let outcome = inner.offer(item, &mut ended);
        drop(inner);
        ended.tell();
        outcome.map_err(TryPutError::Full)
    }

    fn block_get(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<T, LockError> {
        let line = self.line();
        let mut inner = line.lock();
        let mut ended = Ended::default();
        if let Some(item) = inner.take(&mut ended) {
            drop(inner);
            ended.tell();
            return Ok(item);
        }
        if inner.state.closed {
            return Err(LockError::Closed);
        }
        let request = Request {
            mode: Mode::Get,
            site,
            timed: deadline.is_some(),
        };
        let waiter = line.block(inner, request, false, deadline);
        waiter.outcome().map(|()| self.take_moved(&waiter))
    }

    fn get_now(&self) -> Result<T, TryGetError> {
        let mut inner = self.line().lock();
        let mut ended = Ended::default();
        let item = inner.take(&mut ended);
        let closed = inner.state.closed;
        drop(inner);
        ended.tell();
        item.ok_or(if closed {
            TryGetError::Closed
        } else {
            TryGetError::Empty
        })
    }

    /// What goes with a wait that has ended, and belongs to whoever waited.
    fn take_moved(&self, waiter: &Waiter) -> T {
        match self.line().lock().state.moving.remove(waiter.place()) {
            Some(item) => item,
            None => unreachable!("it is taken once"),
        }
    }

    fn one_done(&self) {
        let mut joins = self.joins().lock();
        let left = {
            let unfinished = &mut self.line().lock().state.unfinished;
            let left = unfinished.checked_sub(1);
            *unfinished = left.unwrap_or(0);
            left
        };
        let mut ended = Ended::default();
        if left == Some(0) {
            while let Some(waiter) = joins.waiters.pop() {
                ended.end(waiter, State::Granted);
            }
        }
        drop(joins);
        ended.tell();
        assert!(
            left.is_some(),
            "task_done() was called more often than there were items"
        );
    }

    fn line(&self) -> &Arc<Monitor<Line<T>>> {
        self.line.get_or_init(|| {
            let line = Line {
                capacity: self.capacity,
                items: VecDeque::new(),
                moving: Slab::new(),
                closed: false,
                unfinished: 0,
                only_handles: false,
                producers: Slab::new(),
                consumers: Slab::new(),
                members: 0,
            };
            Monitor::new(self.label.info(new_id(), type_name::<T>()), line)
        })
    }

    fn joins(&self) -> &Arc<Monitor<Joins>> {
        self.joins
            .get_or_init(|| Monitor::new(self.label.info(new_id(), type_name::<T>()), Joins))
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // A wait can outlive it only by being forgotten, but then it must not keep the queue. And the
        // detector may come by later, but the items end here.
        if let Some(line) = self.line.get() {
            line.close();
            let mut inner = line.lock();
            let items = std::mem::take(&mut inner.state.items);
            let moving = std::mem::replace(&mut inner.state.moving, Slab::new());
            drop(inner);
            drop((items, moving));
        }
        if let Some(joins) = self.joins.get() {
            joins.close();
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct(self.label.kind);
        if let Some(name) = self.label.name() {
            text.field("name", &name);
        }
        if let Some(capacity) = self.capacity() {
            text.field("capacity", &capacity);
        }
        text.field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Inner<Line<T>> {
    /// Takes an item in if nothing has to be waited for, else gives it back.
    fn offer(&mut self, item: T, ended: &mut Ended) -> Result<(), T> {
        match self.waiters.front().map(|waiter| waiter.mode) {
            Some(Mode::Get) => {
                self.state.unfinished += 1;
                self.state.hand_over(item, &mut self.waiters, ended);
            }
            None if self.state.items.len() < self.state.capacity => {
                self.state.unfinished += 1;
                self.state.items.push_back(item);
            }
            _ => return Err(item),
        }
        Ok(())
    }

    /// Takes an item out if nothing has to be waited for.
    fn take(&mut self, ended: &mut Ended) -> Option<T> {
        let item = match self.state.items.pop_front() {
            Some(item) => item,
            None => self.state.take_over(&mut self.waiters, ended)?,
        };
        self.settle(ended);
        Some(item)
    }

    /// Puts back an item that was given to somebody who has gone.
    fn put_back(&mut self, item: T, ended: &mut Ended) {
        self.state.items.push_front(item);
        self.settle(ended);
    }
}

impl<T> Line<T> {
    /// Gives an item to the first who waits to get one.
    fn hand_over(&mut self, item: T, waiters: &mut Waiters, ended: &mut Ended) {
        if let Some(getter) = waiters.pop() {
            getter.set_place(self.moving.insert(item));
            ended.end(getter, State::Granted);
        }
    }

    /// Takes the item of the first who waits to put one.
    fn take_over(&mut self, waiters: &mut Waiters, ended: &mut Ended) -> Option<T> {
        waiters
            .front()
            .filter(|waiter| waiter.mode == Mode::Put && !self.closed)?;
        let putter = waiters.pop()?;
        let item = self.moving.remove(putter.place())?;
        self.unfinished += 1;
        ended.end(putter, State::Granted);
        Some(item)
    }

    fn handles(&self, mode: Mode) -> &Slab<Handle> {
        if mode == Mode::Put {
            &self.producers
        } else {
            &self.consumers
        }
    }

    fn handles_mut(&mut self, mode: Mode) -> &mut Slab<Handle> {
        if mode == Mode::Put {
            &mut self.producers
        } else {
            &mut self.consumers
        }
    }

    fn register(&mut self, mode: Mode) -> u32 {
        self.members += 1;
        self.handles_mut(mode).insert(Handle::default())
    }

    fn bind(
        &mut self,
        mode: Mode,
        place: u32,
        agent: Arc<Agent>,
        site: &'static Location<'static>,
    ) {
        self.members += 1;
        if let Some(handle) = self.handles_mut(mode).get_mut(place) {
            handle.bound = Some((agent, site)).filter(|(agent, _)| agent.frame != ANONYMOUS);
        }
    }

    /// Whoever has a handle of this kind and has said so.
    fn bound(&self, mode: Mode) -> impl Iterator<Item = Holding> {
        let bound = self
            .handles(mode)
            .iter()
            .filter_map(|handle| handle.bound.as_ref());
        bound.map(move |(agent, site)| Holding {
            frame: agent.frame,
            mode,
            site: Some(*site),
            queued: false,
        })
    }
}

impl<T: Send + 'static> Rules for Line<T> {
    fn may_be_claimed(&self) -> bool {
        self.only_handles
    }

    fn obstacles(&self, _: &Waiters, waiter: &Waiter) -> Obstacles {
        let needed = if waiter.mode == Mode::Get {
            Mode::Put
        } else {
            Mode::Get
        };
        let partners: Vec<_> = self.bound(needed).collect();
        if !self.only_handles || partners.len() < self.handles(needed).len() {
            return Obstacles::Unknown;
        }
        Obstacles::Any {
            partners,
            members: self.members,
        }
    }

    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        while let Some(Mode::Get) = waiters.front().map(|waiter| waiter.mode)
            && let Some(item) = self.items.pop_front()
        {
            self.hand_over(item, waiters, ended);
        }
        while self.items.len() < self.capacity
            && let Some(item) = self.take_over(waiters, ended)
        {
            self.items.push_back(item);
        }
        if self.closed {
            while let Some(waiter) = waiters.pop() {
                ended.end(waiter, State::Closed);
            }
        }
    }

    fn holders(&self) -> Holders {
        let known: Vec<_> = self.bound(Mode::Put).chain(self.bound(Mode::Get)).collect();
        let all = self.producers.len() + self.consumers.len();
        let others = !self.only_handles || known.len() < all;
        Holders {
            known,
            readers_of: None,
            others,
        }
    }
}

impl Rules for Joins {
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

/// Puts an item as a task. Made by [`Queue::put_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct PutFuture<'a, T: Send + 'static> {
    queue: &'a Queue<T>,
    site: &'static Location<'static>,
    item: Option<T>,
    waiter: Option<Wait>,
}

impl<T: Send + 'static> Unpin for PutFuture<'_, T> {}

impl<T: Send + 'static> Future for PutFuture<'_, T> {
    type Output = Result<(), PutError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(waiter) = &this.waiter {
            this.queue.line().set_waker(waiter, context);
            if waiter.is_waiting() {
                return Poll::Pending;
            }
            let outcome = waiter.outcome().map_err(|error| PutError {
                item: this.queue.take_moved(waiter),
                error,
            });
            waiter::give_back(this.waiter.take());
            return Poll::Ready(outcome);
        }
        let Some(item) = this.item.take() else {
            panic!("a future is not polled again when it is done");
        };
        let line = this.queue.line();
        let mut inner = line.lock();
        if inner.state.closed {
            return Poll::Ready(Err(PutError {
                item,
                error: LockError::Closed,
            }));
        }
        let mut ended = Ended::default();
        let Err(item) = inner.offer(item, &mut ended) else {
            drop(inner);
            ended.tell();
            return Poll::Ready(Ok(()));
        };
        let place = inner.state.moving.insert(item);
        let request = Request {
            mode: Mode::Put,
            site: this.site,
            timed: false,
        };
        this.waiter = Some(line.wait_with(inner, request, context, place));
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for PutFuture<'_, T> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        self.queue.line().give_up(&waiter, State::Cancelled);
        if waiter.state() != State::Granted {
            drop(self.queue.take_moved(&waiter));
        }
    }
}

/// Gets an item as a task, unless too many wait already.
pub(crate) struct Getting<'a, T: Send + 'static> {
    queue: &'a Queue<T>,
    /// How many may wait before it.
    backlog: usize,
    site: &'static Location<'static>,
    waiter: Option<Wait>,
}

impl<'a, T: Send + 'static> Getting<'a, T> {
    pub(crate) fn new(
        queue: &'a Queue<T>,
        backlog: usize,
        site: &'static Location<'static>,
    ) -> Self {
        Self {
            queue,
            backlog,
            site,
            waiter: None,
        }
    }

    /// None if too many wait already.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Result<T, LockError>>> {
        if let Some(waiter) = &self.waiter {
            self.queue.line().set_waker(waiter, context);
            if waiter.is_waiting() {
                return Poll::Pending;
            }
            let outcome = waiter.outcome().map(|()| self.queue.take_moved(waiter));
            waiter::give_back(self.waiter.take());
            return Poll::Ready(Some(outcome));
        }
        let line = self.queue.line();
        let mut inner = line.lock();
        let mut ended = Ended::default();
        if let Some(item) = inner.take(&mut ended) {
            drop(inner);
            ended.tell();
            return Poll::Ready(Some(Ok(item)));
        }
        if inner.state.closed {
            return Poll::Ready(Some(Err(LockError::Closed)));
        }
        if inner.waiters.len() >= self.backlog {
            return Poll::Ready(None);
        }
        let request = Request {
            mode: Mode::Get,
            site: self.site,
            timed: false,
        };
        self.waiter = Some(line.wait(inner, request, context));
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for Getting<'_, T> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let line = self.queue.line();
        if !line.give_up(&waiter, State::Cancelled) && waiter.state() == State::Granted {
            let mut inner = line.lock();
            let Some(item) = inner.state.moving.remove(waiter.place()) else {
                return;
            };
            let mut ended = Ended::default();
            inner.put_back(item, &mut ended);
            drop(inner);
            ended.tell();
        }
    }
}

/// Gets an item as a task. Made by [`Queue::get_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct GetFuture<'a, T: Send + 'static>(Getting<'a, T>);

impl<T: Send + 'static> Future for GetFuture<'_, T> {
    type Output = Result<T, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|item| match item {
            Some(item) => item,
            None => unreachable!("any number may wait"),
        })
    }
}

/// Waits for all work as a task. Made by [`Queue::join_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct QueueJoin<'a, T: Send + 'static> {
    queue: &'a Queue<T>,
    site: &'static Location<'static>,
    waiter: Option<Wait>,
}

impl<T: Send + 'static> Future for QueueJoin<'_, T> {
    type Output = Result<(), LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(waiter) = &self.waiter {
            self.queue.joins().set_waker(waiter, context);
            if waiter.is_waiting() {
                return Poll::Pending;
            }
            let outcome = waiter.outcome();
            waiter::give_back(self.waiter.take());
            return Poll::Ready(outcome);
        }
        let joins = self.queue.joins();
        let inner = joins.lock();
        if self.queue.unfinished() == 0 {
            return Poll::Ready(Ok(()));
        }
        let request = Request {
            mode: Mode::Signal,
            site: self.site,
            timed: false,
        };
        self.waiter = Some(joins.wait(inner, request, context));
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for QueueJoin<'_, T> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.queue.joins().give_up(&waiter, State::Cancelled);
        }
    }
}

/// One item after the other. Made by [`Queue::iter`].
pub struct QueueIter<'a, T> {
    queue: &'a Queue<T>,
    site: &'static Location<'static>,
}

impl<T: Send + 'static> Iterator for QueueIter<'_, T> {
    type Item = Result<T, LockError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.queue.block_get(None, self.site) {
            Err(LockError::Closed) => None,
            item => Some(item),
        }
    }
}

/// A queue with room for so many items, of which it is known who puts and who gets.
///
/// There may be any number of each: handles can be cloned. When nobody is left who puts, getting
/// ends after the last item; when nobody is left who gets, putting fails, and the items are dropped.
///
/// Whoever says that it is the one who puts, by [`Producer::bind`], or gets, by
/// [`Consumer::bind`], can be part of a deadlock that is found. An empty queue can only be waited
/// for in vain if everybody who has a [`Producer`] has said so and will never go on, and so for a
/// full one.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{LockError, channel};
///
/// # fn main() -> Result<(), LockError> {
/// let (requests, server) = channel::<u32>(1);
/// let (answers, client) = channel::<u32>(1);
/// std::thread::scope(|scope| {
///     scope.spawn(move || {
///         server.bind();
///         answers.bind();
///         for request in &server {
///             answers.put(request? + 1)?;
///         }
///         Ok::<_, LockError>(())
///     });
///     requests.bind();
///     client.bind();
///     requests.put(1)?;
///     assert_eq!(client.get()?, 2);
///     // There is no request, so there will be no answer: each waits for the other. One of them is
///     // told so, and if that is the server, the client is told that nobody is left to answer.
///     assert!(client.get().is_err());
///     drop(requests);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn channel<T: Send + 'static>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    Queue::bounded(capacity).into_channel()
}

/// A handle to put items into a queue.
///
/// Cloning gives a handle of its own, which nobody is bound to yet.
pub struct Producer<T: Send + 'static> {
    queue: Arc<Queue<T>>,
    place: u32,
}

/// A handle to get items out of a queue.
///
/// Cloning gives a handle of its own, which nobody is bound to yet.
pub struct Consumer<T: Send + 'static> {
    queue: Arc<Queue<T>>,
    place: u32,
}

macro_rules! handles {
    ($($name:literal $handle:ident $mode:ident $make:ident $does:literal;)*) => {$(
        impl<T: Send + 'static> $handle<T> {
            fn queue(&self) -> &Queue<T> {
                &self.queue
            }

            #[doc = concat!(
                "Says that the thread, [task](crate::task()) or call that calls this is the one that ",
                $does, " through this handle, so that deadlocks through it are found."
            )]
            ///
            /// Whoever has the handle next has to say so again. It must not be called in a task of
            /// an executor that was not made with [`task`](crate::task()): that would name the thread.
            #[track_caller]
            pub fn bind(&self) {
                let (agent, site) = (Agent::current(), Location::caller());
                self.queue.line().lock().state.bind(Mode::$mode, self.place, agent, site);
            }

            /// How many items are in the queue at this moment.
            pub fn len(&self) -> usize {
                self.queue.len()
            }

            /// Whether no item is in the queue at this moment.
            pub fn is_empty(&self) -> bool {
                self.queue.is_empty()
            }

            /// Whether the queue was closed, or nobody is left at its other end.
            pub fn is_closed(&self) -> bool {
                self.queue.is_closed()
            }

            /// Lets no more items in. Those that are there can still be got.
            pub fn close(&self) {
                self.queue.close();
            }
        }

        impl<T: Send + 'static> Clone for $handle<T> {
            fn clone(&self) -> Self {
                self.queue.$make()
            }
        }

        impl<T: Send + 'static> Drop for $handle<T> {
            fn drop(&mut self) {
                self.queue.forget(Mode::$mode, self.place);
            }
        }

        impl<T: Send + 'static> fmt::Debug for $handle<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name).field("queue", &self.queue).finish_non_exhaustive()
            }
        }
    )*};
}

handles! {
    "Producer" Producer Put producer "puts";
    "Consumer" Consumer Get consumer "gets";
}

impl<T: Send + 'static> Queue<T> {
    /// One handle less.
    fn forget(&self, mode: Mode, place: u32) {
        let mut inner = self.line().lock();
        let state = &mut inner.state;
        state.members += 1;
        let handle = state.handles_mut(mode).remove(place);
        let left = state
            .handles(mode)
            .iter()
            .find_map(|handle| handle.bound.as_ref());
        // Those who are left may be all who wait for each other, and begin no new wait.
        let left = left
            .map(|(agent, _)| Arc::clone(agent))
            .filter(|_| state.only_handles);
        let is_last = state.handles(mode).len() == 0;
        let mut unwanted = VecDeque::new();
        if is_last {
            state.closed = true;
            if state.only_handles && mode == Mode::Get {
                unwanted = std::mem::take(&mut state.items);
            }
        }
        let waiting = !inner.waiters.is_empty();
        self.line().settle(inner);
        if let Some(agent) = left.filter(|_| waiting) {
            detector::look_again(&agent);
        }
        // These may run code of others.
        drop((unwanted, handle));
    }
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        self.item
    }
}

impl<T> From<PutError<T>> for LockError {
    fn from(error: PutError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> Error for PutError<T> {}

impl<T> TryPutError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }

    /// Whether there may be room later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T> Error for TryPutError<T> {}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::Closed => "the queue is empty and closed",
        })
    }
}

impl Error for TryGetError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Resource;

    fn obstacles<T: Send + 'static>(getting: &Getting<'_, T>) -> Obstacles {
        let waiter = getting.waiter.as_ref().unwrap();
        getting.queue.line().obstacles(waiter).unwrap()
    }

    fn frames(obstacles: &Obstacles) -> Vec<u64> {
        obstacles.everybody().map(|holding| holding.frame).collect()
    }

    #[test]
    fn a_partner_that_came_and_went_is_noticed() {
        let (producer, consumer) = channel::<u32>(1);
        let mut getting = Getting::new(consumer.queue(), usize::MAX, Location::caller());
        assert!(
            getting
                .poll(&Context::from_waker(std::task::Waker::noop()))
                .is_pending()
        );
        assert!(matches!(obstacles(&getting), Obstacles::Unknown));

        producer.bind();
        let before = obstacles(&getting);
        assert_eq!(frames(&before), [crate::frame::current()]);
        assert!(before.has_same_members(&obstacles(&getting)));

        #[expect(
            clippy::redundant_clone,
            reason = "that there is another one is the point"
        )]
        let other = producer.clone();
        assert!(matches!(obstacles(&getting), Obstacles::Unknown));
        assert!(!before.has_same_members(&obstacles(&getting)));
        drop(other);
        let after = obstacles(&getting);
        assert_eq!(frames(&after), frames(&before));
        assert!(!before.has_same_members(&after));
    }
}
