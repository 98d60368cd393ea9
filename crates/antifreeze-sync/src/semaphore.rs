//! [`BoundedSemaphore`] and [`Semaphore`]: a number of permits, for those who come first.

use std::cell::OnceCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::agent::{self, ANONYMOUS};
use crate::error::LockError;
use crate::frame::Frame;
use crate::label::{Label, Name, WORKERS, new_id};
use crate::monitor::{Holders, Holding, Inner, Monitor, Obstacles, Rules};
use crate::mutex::{OnTask, OnThread};
use crate::report::Mode;
use crate::slab::Slab;
use crate::sync::{BriefGuard, OnceLock, const_fn};
use crate::waiter::{self, Ended, How, Request, State, Wait, Waiter};
use crate::waiters::Waiters;

/// A fixed number of permits. Whoever has some gives them back by dropping a guard.
///
/// A wait that could never end is an error that names the whole cycle: everybody who could give
/// permits back waits, directly or not, for those who want them.
///
/// There is no way to give back what was not acquired, so there never are more permits than at the
/// beginning. Where permits are made by one and used up by another, use a [`Semaphore`].
///
/// # Fairness
///
/// Everybody is served in the order of arrival, threads and tasks alike: somebody who wants many
/// permits keeps out later ones who want few. There is one exception: one who wants few is let past
/// one who wants many if everybody would wait for ever otherwise, unless the semaphore is
/// [`strict`](Self::strict).
///
/// # Examples
///
/// ```
/// use antifreeze_sync::BoundedSemaphore;
///
/// static CONNECTIONS: BoundedSemaphore = BoundedSemaphore::named("connections", 8);
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let one = CONNECTIONS.acquire()?;
/// let three = CONNECTIONS.acquire_many(3)?;
/// assert_eq!(CONNECTIONS.available(), 4);
/// drop((one, three));
/// assert_eq!(CONNECTIONS.available(), 8);
/// # Ok(()) }
/// ```
pub struct BoundedSemaphore {
    core: Core,
}

/// A number of permits that anybody can add to and take away from.
///
/// Since nobody knows who will add permits, a wait for them is shown but never part of a deadlock
/// that is found. Where all permits are given back by those who acquired them, use a
/// [`BoundedSemaphore`].
///
/// # Fairness
///
/// Everybody is served in the order of arrival, threads and tasks alike: somebody who wants many
/// permits keeps out later ones who want few.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::Semaphore;
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let ready = Semaphore::new(0);
/// std::thread::scope(|scope| {
///     scope.spawn(|| ready.add(2));
///     // Used up, not given back.
///     ready.acquire_many(2)?.forget();
///     Ok::<_, antifreeze_sync::LockError>(())
/// })?;
/// assert_eq!(ready.available(), 0);
/// # Ok(()) }
/// ```
pub struct Semaphore {
    core: Core,
}

/// What both kinds have in common.
struct Core {
    label: Label,
    permits: u32,
    /// There never are more, and it is known who has them.
    bounded: bool,
    strict: bool,
    monitor: OnceLock<Arc<Monitor<Permits>>>,
}

/// The state of a semaphore.
struct Permits {
    free: u64,
    /// How many there are in all, if that is fixed.
    total: Option<u32>,
    strict: bool,
    closed: bool,
    /// Those who have permits, if their number is fixed.
    holders: Slab<Holder>,
    /// The same for the detector, which asks about each who waits; made when it first does.
    known: OnceCell<Arc<[(Holding, u64)]>>,
    /// Holders that are calls and have not been told so yet.
    calls: Vec<u32>,
    /// Those who are served before all others as soon as there is enough for them.
    first: Vec<Arc<Waiter>>,
    /// Nobody who waits wants more than this.
    most: u32,
}

/// Somebody who has permits.
#[derive(Clone, Copy)]
struct Holder {
    frame: u64,
    permits: u32,
    site: &'static Location<'static>,
}

impl BoundedSemaphore {
    const_fn! {
        /// A semaphore with this number of permits, known by the place where it was made.
        #[track_caller]
        pub const fn new(permits: u32) -> Self {
            Self::labelled(Label::new("BoundedSemaphore"), permits)
        }
    }

    const_fn! {
        /// A semaphore that reports and views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, permits: u32) -> Self {
            Self::labelled(Label::named("BoundedSemaphore", name), permits)
        }
    }

    const_fn! {
        /// A semaphore whose permits are the workers of a pool: a deadlock over them is one of
        /// [`DeadlockKind::Pool`](crate::DeadlockKind::Pool).
        #[track_caller]
        pub const fn of_workers(permits: u32) -> Self {
            Self::labelled(Label::new(WORKERS), permits)
        }
    }

    const_fn! {
        pub(crate) const fn labelled(label: Label, permits: u32) -> Self {
            Self { core: Core::new(label, permits, true) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.core.label.name = Name::Made(name.into().into());
        self
    }

    /// Lets nobody past anybody, not even to undo a deadlock: those are reported then.
    pub const fn strict(mut self) -> Self {
        self.core.strict = true;
        self
    }

    /// A permit.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Blocking
    ///
    /// Until a permit is given back, and everybody who came first was served.
    #[track_caller]
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, LockError> {
        self.block(1, None, Location::caller())
    }

    /// So many permits, at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end, and [`LockError::TooMany`] at once if
    /// the semaphore does not have so many in all.
    ///
    /// # Blocking
    ///
    /// Until enough permits are given back, and everybody who came first was served.
    #[track_caller]
    pub fn acquire_many(&self, permits: u32) -> Result<Permit<'_>, LockError> {
        self.block(permits, None, Location::caller())
    }

    /// A permit, after `timeout` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, LockError> {
        self.block(1, Instant::now().checked_add(timeout), Location::caller())
    }

    /// A permit, at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Deadlock`] if that is found out earlier.
    #[track_caller]
    pub fn acquire_until(&self, deadline: Instant) -> Result<Permit<'_>, LockError> {
        self.block(1, Some(deadline), Location::caller())
    }

    /// So many permits, after `timeout` at the latest.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), and [`LockError::Timeout`].
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        permits: u32,
        timeout: Duration,
    ) -> Result<Permit<'_>, LockError> {
        self.block(
            permits,
            Instant::now().checked_add(timeout),
            Location::caller(),
        )
    }

    /// So many permits, at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), and [`LockError::Timeout`].
    #[track_caller]
    pub fn acquire_many_until(
        &self,
        permits: u32,
        deadline: Instant,
    ) -> Result<Permit<'_>, LockError> {
        self.block(permits, Some(deadline), Location::caller())
    }

    #[inline]
    fn block(
        &self,
        permits: u32,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<Permit<'_>, LockError> {
        let place = self.core.block(permits, agent::frame(), deadline, site)?;
        Ok(self.permit(permits, place))
    }

    /// A permit, if nothing has to be waited for.
    #[track_caller]
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_permits(1, Location::caller())
    }

    /// So many permits, if nothing has to be waited for.
    #[track_caller]
    pub fn try_acquire_many(&self, permits: u32) -> Option<Permit<'_>> {
        self.try_permits(permits, Location::caller())
    }

    #[inline]
    fn try_permits(&self, permits: u32, site: &'static Location<'static>) -> Option<Permit<'_>> {
        let place = self
            .core
            .monitor()
            .lock()
            .come(permits, agent::frame(), site)?;
        Some(self.permit(permits, place))
    }

    fn permit<W>(&self, permits: u32, place: u32) -> Permit<'_, W> {
        Permit {
            semaphore: self,
            permits,
            place,
            bound: PhantomData,
        }
    }

    /// A permit, for a task.
    ///
    /// It belongs to the [`task`](crate::task()) that awaits it. If one is free the future is ready
    /// at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Deadlock`] if the wait could never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_async(&self) -> PermitFuture<'_> {
        PermitFuture(Acquire::new(self, 1, Location::caller()))
    }

    /// So many permits, at once, for a task.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_many_async(&self, permits: u32) -> PermitFuture<'_> {
        PermitFuture(Acquire::new(self, permits, Location::caller()))
    }

    /// A permit that keeps the semaphore and can be sent to others.
    ///
    /// Since nobody knows who will give it back, it is never part of a deadlock that is found, until
    /// whoever has it in the end says so by [`bind`](OwnedPermit::bind).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Blocking
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Self>) -> Result<OwnedPermit, LockError> {
        let place = self.core.block(1, ANONYMOUS, None, Location::caller())?;
        Ok(OwnedPermit {
            semaphore: Arc::clone(self),
            permits: 1,
            place,
        })
    }

    /// The same, for a task.
    ///
    /// # Errors
    ///
    /// As [`acquire_async`](Self::acquire_async).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_owned_async(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<OwnedPermit, LockError>> + Send + Unpin + use<> {
        OwnedPermitFuture(Acquire::new(Arc::clone(self), 1, Location::caller()))
    }

    /// Calls `then` with a permit when there is one for `frame`.
    ///
    /// No thread waits: `then` is called at once, or by whoever gives the permit back. So it must be
    /// short. The permit belongs to `frame` from the beginning. What comes back ends the wait; it is
    /// none if that is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, mpsc};
    /// use antifreeze_sync::{BoundedSemaphore, Frame};
    ///
    /// let workers = Arc::new(BoundedSemaphore::new(1));
    /// let (begin, begun) = mpsc::channel();
    /// for name in ["first call", "second call"] {
    ///     let begin = begin.clone();
    ///     workers.acquire_then(&Frame::new(name), move |permit| {
    ///         begin.send((name, permit)).ok();
    ///     });
    /// }
    /// let (name, permit) = begun.recv().unwrap();
    /// assert_eq!(name, "first call");
    /// assert!(begun.try_recv().is_err());
    /// drop(permit);
    /// assert_eq!(begun.recv().unwrap().0, "second call");
    /// ```
    #[track_caller]
    pub fn acquire_then(
        self: &Arc<Self>,
        frame: &Frame,
        then: impl FnOnce(Result<OwnedPermit, LockError>) + Send + 'static,
    ) -> Option<PendingPermit> {
        let site = Location::caller();
        if let Err(error) = self.core.check(1) {
            then(Err(error));
            return None;
        }
        let monitor = self.core.monitor();
        let mut inner = monitor.lock();
        if let Some(place) = inner.come(1, frame.id(), site) {
            drop(inner);
            then(Ok(OwnedPermit {
                semaphore: Arc::clone(self),
                permits: 1,
                place,
            }));
            return None;
        }
        let semaphore = Arc::clone(self);
        let number = frame.id();
        let call = Box::new(move |outcome: Result<(), LockError>| {
            then(outcome.map(|()| {
                let place = semaphore.core.monitor().lock().state.claim(number);
                OwnedPermit {
                    semaphore,
                    permits: 1,
                    place,
                }
            }));
        });
        let request = inner.request(1, site, false);
        let waiter = monitor.call_later(inner, request, false, Arc::clone(&frame.0), call);
        Some(PendingPermit {
            waiter,
            semaphore: Arc::clone(self),
        })
    }

    /// As [`acquire_owned`](Self::acquire_owned), if nothing has to be waited for.
    #[track_caller]
    pub fn try_acquire_owned(self: &Arc<Self>) -> Option<OwnedPermit> {
        self.try_acquire_for(ANONYMOUS)
    }

    /// A permit for the call with this frame, if nothing has to be waited for.
    ///
    /// It belongs to that frame wherever it goes, so the call has to keep it.
    #[track_caller]
    pub fn try_acquire_for(self: &Arc<Self>, frame: u64) -> Option<OwnedPermit> {
        let place = self
            .core
            .monitor()
            .lock()
            .come(1, frame, Location::caller())?;
        Some(OwnedPermit {
            semaphore: Arc::clone(self),
            permits: 1,
            place,
        })
    }

    /// Runs `f` with a permit, until its future is done.
    ///
    /// The permit is given back when `f` is done, fails, panics, or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire_async`](Self::acquire_async). Then `f` was not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, or `f` where it is, and gives the permit back.
    #[track_caller]
    pub fn run_async<R>(
        &self,
        f: impl AsyncFnOnce() -> R,
    ) -> impl Future<Output = Result<R, LockError>> {
        let acquire = self.acquire_async();
        async move {
            let permit = acquire.await?;
            let mut holder = agent::task_frame();
            let mut done = pin!(f());
            let outcome = poll_fn(|context| {
                // Whoever polls it is who will give the permit back.
                let frame = agent::task_frame();
                if std::mem::replace(&mut holder, frame) != frame {
                    permit.semaphore.core.hand_to(permit.place, frame);
                }
                done.as_mut().poll(context)
            });
            Ok(outcome.await)
        }
    }

    /// How many permits there are in all.
    pub fn total(&self) -> u32 {
        self.core.permits
    }

    /// How many permits nobody has at this moment.
    pub fn available(&self) -> u32 {
        // There never are more than in the beginning.
        self.core.available() as u32
    }
}

impl Semaphore {
    const_fn! {
        /// A semaphore that has this number of permits in the beginning.
        #[track_caller]
        pub const fn new(permits: u32) -> Self {
            Self { core: Core::new(Label::new("Semaphore"), permits, false) }
        }
    }

    const_fn! {
        /// A semaphore that views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, permits: u32) -> Self {
            Self { core: Core::new(Label::named("Semaphore", name), permits, false) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.core.label.name = Name::Made(name.into().into());
        self
    }

    /// A permit.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`] if the semaphore is or becomes closed.
    ///
    /// # Blocking
    ///
    /// Until there is a permit, and everybody who came first was served.
    #[track_caller]
    pub fn acquire(&self) -> Result<LoosePermit<'_>, LockError> {
        self.block(1, None, Location::caller())
    }

    /// So many permits, at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`] if the semaphore is or becomes closed.
    ///
    /// # Blocking
    ///
    /// Until there are enough permits, and everybody who came first was served.
    #[track_caller]
    pub fn acquire_many(&self, permits: u32) -> Result<LoosePermit<'_>, LockError> {
        self.block(permits, None, Location::caller())
    }

    /// A permit, after `timeout` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Closed`].
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<LoosePermit<'_>, LockError> {
        self.block(1, Instant::now().checked_add(timeout), Location::caller())
    }

    /// A permit, at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Closed`].
    #[track_caller]
    pub fn acquire_until(&self, deadline: Instant) -> Result<LoosePermit<'_>, LockError> {
        self.block(1, Some(deadline), Location::caller())
    }

    /// So many permits, after `timeout` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Closed`].
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        permits: u32,
        timeout: Duration,
    ) -> Result<LoosePermit<'_>, LockError> {
        self.block(
            permits,
            Instant::now().checked_add(timeout),
            Location::caller(),
        )
    }

    /// So many permits, at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or [`LockError::Closed`].
    #[track_caller]
    pub fn acquire_many_until(
        &self,
        permits: u32,
        deadline: Instant,
    ) -> Result<LoosePermit<'_>, LockError> {
        self.block(permits, Some(deadline), Location::caller())
    }

    fn block(
        &self,
        permits: u32,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<LoosePermit<'_>, LockError> {
        self.core.block(permits, ANONYMOUS, deadline, site)?;
        Ok(LoosePermit {
            semaphore: self,
            permits,
        })
    }

    /// A permit, if nothing has to be waited for.
    #[track_caller]
    pub fn try_acquire(&self) -> Option<LoosePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// So many permits, if nothing has to be waited for.
    #[track_caller]
    pub fn try_acquire_many(&self, permits: u32) -> Option<LoosePermit<'_>> {
        self.core
            .monitor()
            .lock()
            .come(permits, ANONYMOUS, Location::caller())?;
        Some(LoosePermit {
            semaphore: self,
            permits,
        })
    }

    /// A permit, for a task. If one is there the future is ready at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`] if the semaphore is or becomes closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_async(&self) -> LoosePermitFuture<'_> {
        LoosePermitFuture(Acquire::new(self, 1, Location::caller()))
    }

    /// So many permits, at once, for a task.
    ///
    /// # Errors
    ///
    /// [`LockError::Closed`] if the semaphore is or becomes closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_many_async(&self, permits: u32) -> LoosePermitFuture<'_> {
        LoosePermitFuture(Acquire::new(self, permits, Location::caller()))
    }

    /// A permit that keeps the semaphore.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Blocking
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Self>) -> Result<OwnedLoosePermit, LockError> {
        self.core.block(1, ANONYMOUS, None, Location::caller())?;
        Ok(OwnedLoosePermit {
            semaphore: Arc::clone(self),
            permits: 1,
        })
    }

    /// The same, for a task.
    ///
    /// # Errors
    ///
    /// As [`acquire_async`](Self::acquire_async).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait. Nobody else loses their place.
    #[track_caller]
    pub fn acquire_owned_async(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<OwnedLoosePermit, LockError>> + Send + Unpin + use<> {
        OwnedLoosePermitFuture(Acquire::new(Arc::clone(self), 1, Location::caller()))
    }

    /// Adds a permit.
    pub fn release(&self) {
        self.add(1);
    }

    /// Adds so many permits.
    pub fn add(&self, permits: u32) {
        self.core
            .change(|state| state.free = state.free.saturating_add(u64::from(permits)));
    }

    /// Takes away up to so many of the permits that nobody has, and says how many those were.
    pub fn take_away(&self, permits: u32) -> u32 {
        let mut inner = self.core.monitor().lock();
        let taken = u64::from(permits).min(inner.state.free);
        inner.state.free -= taken;
        taken as u32
    }

    /// Ends all waits with [`LockError::Closed`], as well as those that begin from now on.
    pub fn close(&self) {
        self.core.change(|state| state.closed = true);
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core
            .monitor
            .get()
            .is_some_and(|monitor| monitor.lock().state.closed)
    }

    /// How many permits nobody has at this moment.
    pub fn available(&self) -> u64 {
        self.core.available()
    }
}

impl Default for BoundedSemaphore {
    /// A semaphore with one permit.
    #[track_caller]
    fn default() -> Self {
        Self::new(1)
    }
}

impl Default for Semaphore {
    /// A semaphore with one permit.
    #[track_caller]
    fn default() -> Self {
        Self::new(1)
    }
}

impl Core {
    const_fn! {
        const fn new(label: Label, permits: u32, bounded: bool) -> Self {
            Self { label, permits, bounded, strict: false, monitor: OnceLock::new() }
        }
    }

    #[inline]
    fn monitor(&self) -> &Arc<Monitor<Permits>> {
        match self.monitor.get() {
            Some(monitor) => monitor,
            None => self.first_use(),
        }
    }

    #[cold]
    fn first_use(&self) -> &Arc<Monitor<Permits>> {
        self.monitor.get_or_init(|| {
            let state = Permits {
                free: u64::from(self.permits),
                total: self.bounded.then_some(self.permits),
                strict: self.strict,
                closed: false,
                holders: Slab::new(),
                known: OnceCell::new(),
                calls: Vec::new(),
                first: Vec::new(),
                most: 0,
            };
            Monitor::new(self.label.info(new_id(), ""), state)
        })
    }

    /// Refuses what nobody could ever have.
    #[inline]
    fn check(&self, wanted: u32) -> Result<(), LockError> {
        if self.bounded && wanted > self.permits {
            return Err(LockError::TooMany {
                wanted,
                total: self.permits,
            });
        }
        Ok(())
    }

    /// Acquires for `holder`, waiting on this thread.
    #[inline]
    fn block(
        &self,
        wanted: u32,
        holder: u64,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<u32, LockError> {
        let monitor = self.monitor();
        let mut inner = monitor.lock();
        match inner.come(wanted, holder, site) {
            Some(place) => Ok(place),
            None => self.wait_for(inner, wanted, holder, deadline, site),
        }
    }

    #[cold]
    fn wait_for(
        &self,
        mut inner: BriefGuard<'_, Inner<Permits>>,
        wanted: u32,
        holder: u64,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<u32, LockError> {
        self.check(wanted)?;
        if inner.state.closed {
            return Err(LockError::Closed);
        }
        let request = inner.request(wanted, site, deadline.is_some());
        let waiter = self.monitor().block(inner, request, false, deadline);
        waiter.outcome()?;
        let place = waiter.place();
        if self.bounded && holder != waiter.agent.frame {
            self.hand_to(place, holder);
        }
        Ok(place)
    }

    /// Whoever has these permits from now on is `frame`.
    #[cold]
    fn hand_to(&self, place: u32, frame: u64) {
        let state = &mut self.monitor().lock().state;
        state.known.take();
        if let Some(holder) = state.holders.get_mut(place) {
            holder.frame = frame;
        }
    }

    /// Gives back what is held.
    #[inline]
    fn release(&self, permits: u32, place: u32) {
        let mut inner = self.monitor().lock();
        inner.state.give_back(permits, place);
        if !inner.waiters.is_empty() {
            self.monitor().settle(inner);
        }
    }

    /// Changes the state and lets in whoever can go in then.
    fn change(&self, change: impl FnOnce(&mut Permits)) {
        let mut inner = self.monitor().lock();
        change(&mut inner.state);
        self.monitor().settle(inner);
    }

    /// Ends a wait that nobody is interested in any more. What was granted already goes on.
    fn abandon(&self, waiter: &Waiter) {
        let ended = self.monitor().give_up(waiter, State::Cancelled);
        if !ended
            && waiter.state() == State::Granted
            && let Mode::Permits(permits) = waiter.mode
        {
            self.release(permits, waiter.place());
        }
    }

    fn available(&self) -> u64 {
        match self.monitor.get() {
            Some(monitor) => monitor.lock().state.free,
            None => u64::from(self.permits),
        }
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct(self.label.kind);
        if let Some(name) = self.label.name() {
            text.field("name", &name);
        }
        if self.bounded {
            text.field("total", &self.permits);
        }
        text.field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // A wait can outlive it only by being forgotten, but then it must not keep the queue.
        if let Some(monitor) = self.monitor.get() {
            monitor.lock().state.first.clear();
            monitor.close();
        }
    }
}

impl Permits {
    /// Takes them away from those that are free, for `frame`.
    #[inline]
    fn take(&mut self, permits: u32, frame: u64, site: &'static Location<'static>) -> u32 {
        self.free -= u64::from(permits);
        self.known.take();
        match self.total {
            Some(_) => self.holders.insert(Holder {
                frame,
                permits,
                site,
            }),
            None => 0,
        }
    }

    #[inline]
    fn give_back(&mut self, permits: u32, place: u32) {
        self.known.take();
        if self.total.is_some() {
            let holder = self.holders.remove(place);
            debug_assert_eq!(holder.map(|holder| holder.permits), Some(permits));
        }
        self.free += u64::from(permits);
    }

    fn suffices(&self, waiter: &Waiter) -> bool {
        self.free >= u64::from(wanted(waiter))
    }

    /// Gives `waiter` what it wants. Its wait still has to be ended.
    fn grant(&mut self, waiter: &Waiter) {
        let place = self.take(wanted(waiter), waiter.agent.frame, waiter.site);
        waiter.set_place(place);
        if waiter.how == How::Call {
            self.calls.push(place);
        }
    }

    /// The permit that was granted to a call of `frame`, which is told of it now.
    fn claim(&mut self, frame: u64) -> u32 {
        let holders = &mut self.holders;
        let is_its = |place: &u32| {
            holders
                .get_mut(*place)
                .is_some_and(|holder| holder.frame == frame)
        };
        // All of one frame are alike.
        match self.calls.iter().position(is_its) {
            Some(index) => self.calls.swap_remove(index),
            None => unreachable!("a call is told of every grant once"),
        }
    }

    /// Those who keep `waiter` out even if there is enough for it: they came before it and want more.
    ///
    /// Whoever wants less, or as much, gets that if there is enough for `waiter`.
    fn ahead_of(&self, waiter: &Waiter, waiters: &Waiters) -> Vec<Holding> {
        let is_first = || {
            self.first
                .iter()
                .any(|first| std::ptr::eq(&**first, waiter))
        };
        if wanted(waiter) >= self.most || is_first() {
            return Vec::new();
        }
        waiters.obstructing(waiter, |other| wanted(other) > wanted(waiter))
    }

    fn holding(holder: &Holder) -> Holding {
        Holding {
            frame: holder.frame,
            mode: Mode::Permits(holder.permits),
            site: Some(holder.site),
            queued: false,
        }
    }
}

/// How many permits it waits for.
fn wanted(waiter: &Waiter) -> u32 {
    match waiter.mode {
        Mode::Permits(permits) => permits,
        _ => unreachable!("permits are all that is waited for here"),
    }
}

impl Inner<Permits> {
    /// Takes permits if that is possible and nobody is wronged by it.
    #[inline]
    fn come(&mut self, permits: u32, frame: u64, site: &'static Location<'static>) -> Option<u32> {
        let enough = self.state.free >= u64::from(permits);
        let free = enough && (self.waiters.is_empty() || permits == 0) && !self.state.closed;
        free.then(|| self.state.take(permits, frame, site))
    }

    /// What is noted of a wait that is about to begin.
    fn request(&mut self, wanted: u32, site: &'static Location<'static>, timed: bool) -> Request {
        let before = if self.waiters.is_empty() {
            0
        } else {
            self.state.most
        };
        self.state.most = before.max(wanted);
        Request {
            mode: Mode::Permits(wanted),
            site,
            timed,
        }
    }
}

impl Rules for Permits {
    fn may_be_claimed(&self) -> bool {
        self.total.is_some()
    }

    fn obstacles(&self, waiters: &Waiters, waiter: &Waiter) -> Obstacles {
        if self.total.is_none() {
            return Obstacles::Unknown;
        }
        let known = self.known.get_or_init(|| {
            let holders = self.holders.iter();
            holders
                .map(|holder| (Self::holding(holder), u64::from(holder.permits)))
                .collect()
        });
        Obstacles::Permits {
            wanted: u64::from(wanted(waiter)),
            free: self.free,
            holders: Arc::clone(known),
            ahead: self.ahead_of(waiter, waiters),
        }
    }

    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        if self.closed {
            while let Some(waiter) = waiters.pop() {
                ended.end(waiter, State::Closed);
            }
            return;
        }
        for waiter in std::mem::take(&mut self.first) {
            if !waiter.is_waiting() {
                continue;
            }
            if self.suffices(&waiter)
                && let Some(queued) = waiters.remove(&waiter)
            {
                self.grant(&queued);
                ended.end(queued, State::Granted);
            } else {
                self.first.push(waiter);
            }
        }
        while let Some(head) = waiters.front() {
            if !self.suffices(head) {
                break;
            }
            let Some(head) = waiters.pop() else { break };
            self.grant(&head);
            ended.end(head, State::Granted);
        }
    }

    fn overtake(&mut self, waiters: &mut Waiters, waiter: &Arc<Waiter>, ended: &mut Ended) -> bool {
        let is_first = self.first.iter().any(|first| Arc::ptr_eq(first, waiter));
        if self.strict || self.total.is_none() || is_first {
            return false;
        }
        if self.suffices(waiter)
            && let Some(queued) = waiters.remove(waiter)
        {
            self.grant(&queued);
            ended.end(queued, State::Granted);
        } else {
            // Others who can go on have enough for it. It gets that when they give it back.
            self.first.push(Arc::clone(waiter));
        }
        true
    }

    fn holders(&self) -> Holders {
        Holders {
            known: self.holders.iter().map(Self::holding).collect(),
            readers_of: None,
            others: self.total.is_none(),
        }
    }
}

/// Acquires permits for a task.
struct Acquire<H: Deref<Target: Has>> {
    semaphore: H,
    permits: u32,
    site: &'static Location<'static>,
    waiter: Option<Wait>,
}

/// A semaphore of either kind.
trait Has {
    fn core(&self) -> &Core;
}

impl Has for BoundedSemaphore {
    fn core(&self) -> &Core {
        &self.core
    }
}

impl Has for Semaphore {
    fn core(&self) -> &Core {
        &self.core
    }
}

impl<H: Deref<Target: Has>> Acquire<H> {
    fn new(semaphore: H, permits: u32, site: &'static Location<'static>) -> Self {
        Self {
            semaphore,
            permits,
            site,
            waiter: None,
        }
    }

    /// Gives out the place of what is `holder`'s, or the task's that waits.
    fn poll(&mut self, holder: Option<u64>, context: &Context<'_>) -> Poll<Result<u32, LockError>> {
        let core = self.semaphore.core();
        if let Some(waiter) = &self.waiter {
            core.monitor().set_waker(waiter, context);
            if waiter.is_waiting() {
                return Poll::Pending;
            }
            let outcome = waiter.outcome().map(|()| waiter.place());
            if let (Ok(place), Some(holder)) = (&outcome, holder)
                && core.bounded
            {
                core.hand_to(*place, holder);
            }
            waiter::give_back(self.waiter.take());
            return Poll::Ready(outcome);
        }
        let monitor = core.monitor();
        let mut inner = monitor.lock();
        let frame = holder.unwrap_or_else(agent::task_frame);
        if let Some(place) = inner.come(self.permits, frame, self.site) {
            return Poll::Ready(Ok(place));
        }
        core.check(self.permits)?;
        if inner.state.closed {
            return Poll::Ready(Err(LockError::Closed));
        }
        let request = inner.request(self.permits, self.site, false);
        self.waiter = Some(monitor.wait(inner, request, context));
        Poll::Pending
    }
}

impl<H: Deref<Target: Has>> Drop for Acquire<H> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.semaphore.core().abandon(&waiter);
        }
    }
}

/// Waits for permits of a [`BoundedSemaphore`] as a task.
#[must_use = "futures do nothing unless they are polled"]
pub struct PermitFuture<'a>(Acquire<&'a BoundedSemaphore>);

impl<'a> Future for PermitFuture<'a> {
    type Output = Result<AsyncPermit<'a>, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (semaphore, permits) = (self.0.semaphore, self.0.permits);
        self.0
            .poll(None, context)
            .map_ok(|place| semaphore.permit(permits, place))
    }
}

struct OwnedPermitFuture(Acquire<Arc<BoundedSemaphore>>);

impl Future for OwnedPermitFuture {
    type Output = Result<OwnedPermit, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody knows who will give it back.
        self.0
            .poll(Some(ANONYMOUS), context)
            .map_ok(|place| OwnedPermit {
                semaphore: Arc::clone(&self.0.semaphore),
                permits: self.0.permits,
                place,
            })
    }
}

/// Waits for permits of a [`Semaphore`] as a task.
#[must_use = "futures do nothing unless they are polled"]
pub struct LoosePermitFuture<'a>(Acquire<&'a Semaphore>);

impl<'a> Future for LoosePermitFuture<'a> {
    type Output = Result<LoosePermit<'a>, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (semaphore, permits) = (self.0.semaphore, self.0.permits);
        self.0
            .poll(None, context)
            .map_ok(|_| LoosePermit { semaphore, permits })
    }
}

struct OwnedLoosePermitFuture(Acquire<Arc<Semaphore>>);

impl Future for OwnedLoosePermitFuture {
    type Output = Result<OwnedLoosePermit, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(None, context).map_ok(|_| OwnedLoosePermit {
            semaphore: Arc::clone(&self.0.semaphore),
            permits: self.0.permits,
        })
    }
}

/// Permits of a [`BoundedSemaphore`]. Dropping it gives them back.
#[must_use = "the permits are given back at once unless this is kept"]
#[clippy::has_significant_drop]
pub struct Permit<'a, W = OnThread> {
    semaphore: &'a BoundedSemaphore,
    permits: u32,
    place: u32,
    bound: PhantomData<W>,
}

/// Permits of a task.
///
/// They belong to the task that acquired them: reports name that one. To give them to another one,
/// use [`BoundedSemaphore::acquire_owned_async`].
pub type AsyncPermit<'a> = Permit<'a, OnTask>;

impl<W> Permit<'_, W> {
    /// How many these are.
    pub fn permits(&self) -> u32 {
        self.permits
    }
}

impl<W> Drop for Permit<'_, W> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.core.release(self.permits, self.place);
    }
}

/// Permits of a [`BoundedSemaphore`] that keep it and may go anywhere. Dropping it gives them back.
#[must_use = "the permits are given back at once unless this is kept"]
#[clippy::has_significant_drop]
pub struct OwnedPermit {
    semaphore: Arc<BoundedSemaphore>,
    permits: u32,
    place: u32,
}

impl OwnedPermit {
    /// Says that the thread, task or call that calls this has the permits now and will give them
    /// back, so that deadlocks through them are found.
    pub fn bind(&self) {
        self.semaphore.core.hand_to(self.place, agent::frame());
    }

    /// The same for the [task](crate::task()) that is polled; outside of one, nobody has them.
    pub fn bind_to_task(&self) {
        let semaphore = &self.semaphore;
        semaphore.core.hand_to(self.place, agent::task_frame());
    }

    /// Says that nobody knows any more who will give the permits back.
    pub fn unbind(&self) {
        self.semaphore.core.hand_to(self.place, ANONYMOUS);
    }

    /// How many these are.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Where they are from.
    pub fn semaphore(&self) -> &Arc<BoundedSemaphore> {
        &self.semaphore
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.core.release(self.permits, self.place);
    }
}

/// Permits of a [`Semaphore`]. Dropping it gives them back.
#[must_use = "the permits are given back at once unless this is kept"]
#[clippy::has_significant_drop]
pub struct LoosePermit<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
}

/// Permits of a [`Semaphore`] that keep it. Dropping it gives them back.
#[must_use = "the permits are given back at once unless this is kept"]
#[clippy::has_significant_drop]
pub struct OwnedLoosePermit {
    semaphore: Arc<Semaphore>,
    permits: u32,
}

macro_rules! loose {
    ($($permit:ty),*) => {$(
        impl $permit {
            /// Uses the permits up: nobody gets them back.
            pub fn forget(mut self) {
                self.permits = 0;
            }

            /// How many these are.
            pub fn permits(&self) -> u32 {
                self.permits
            }
        }

        impl Drop for $permit {
            fn drop(&mut self) {
                if self.permits > 0 {
                    self.semaphore.core.release(self.permits, 0);
                }
            }
        }
    )*};
}

loose!(LoosePermit<'_>, OwnedLoosePermit);

/// A wait for a permit that somebody else can end.
pub struct PendingPermit {
    waiter: Wait,
    semaphore: Arc<BoundedSemaphore>,
}

impl PendingPermit {
    /// Ends the wait, unless it is over: its closure is called with [`LockError::Cancelled`].
    pub fn cancel(&self) {
        self.semaphore
            .core
            .monitor()
            .give_up(&self.waiter, State::Cancelled);
    }

    /// Whether the wait goes on.
    pub fn is_waiting(&self) -> bool {
        self.waiter.is_waiting()
    }
}

macro_rules! debug {
    ($($name:literal $type:ty: $($field:ident)*;)*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name)$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    )*};
}

debug! {
    "LoosePermit" LoosePermit<'_>: permits semaphore;
    "OwnedLoosePermit" OwnedLoosePermit: permits semaphore;
    "OwnedPermit" OwnedPermit: permits semaphore;
}

impl<W> fmt::Debug for Permit<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("permits", &self.permits)
            .field("semaphore", &self.semaphore)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
