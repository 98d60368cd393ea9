//! [`Barrier`]: a place where several agents wait for each other.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::agent;
use crate::error::LockError;
use crate::label::Label;
use crate::lazy_monitor::{LazyMonitor, TaskWait};
use crate::monitor::{Holders, Holding, Inner, Monitor, Obstacles, Rules};
use crate::report::Mode;
use crate::sync::{BriefGuard, const_fn};
use crate::waiter::{Ended, Request, State, Waiter};
use crate::waiters::Waiters;

/// A place where a fixed number of threads and tasks wait for each other, again and again: Python's
/// `threading.Barrier`.
///
/// Whoever gives up waiting breaks it, since the others would wait for ever: by a timeout, by
/// dropping its future, or by a panic of the action. They all get [`LockError::Broken`], as does
/// everybody who comes later, until it is [`reset`](Self::reset). A [`party`](Self::party) breaks it
/// also when it ends elsewhere.
///
/// Nobody knows who has yet to come, so a wait for that is shown by
/// [`snapshot`](crate::detector::snapshot), but is never taken for part of a deadlock. While the
/// action runs, all others wait for it, and that is.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{Barrier, thread};
///
/// static BOTH: Barrier = Barrier::new(2);
///
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// let other = thread::spawn(|| BOTH.wait());
/// let here = BOTH.wait()?;
/// let there = other.join()?.unwrap()?;
/// assert_eq!(here + there, 1);
/// # Ok(()) }
/// ```
pub struct Barrier {
    parties: usize,
    timeout: Option<Duration>,
    action: Option<Box<dyn Fn() + Send + Sync>>,
    monitor: LazyMonitor<Meeting>,
}

/// Who has come. The queue holds those who wait: those of this round, and behind them those who came
/// while its action ran.
struct Meeting {
    parties: usize,
    /// How many have come in this round.
    arrived: usize,
    broken: bool,
    acting: Option<Acting>,
    /// How many rounds have ended, by success or otherwise.
    rounds: u64,
    /// How the last ones ended, the last one in the lowest bit: 1 is success.
    outcomes: u64,
    /// How many waits have begun, which is the ticket of the next.
    waits: i64,
}

/// All have come, and one of them runs the action.
struct Acting {
    frame: u64,
    site: &'static Location<'static>,
    /// Waits from this ticket on are not of this round.
    first_early: i64,
}

/// What becomes of somebody who comes.
enum Arrival {
    /// Others have yet to come.
    Waits(Place),
    /// It was the last one.
    Last(Place),
    /// The action of the round before runs still.
    Early,
}

/// A place in a round.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    round: u64,
}

impl Barrier {
    const_fn! {
        /// A barrier that opens when `parties` have come. Nobody ever waits at one for none or one.
        #[track_caller]
        pub const fn new(parties: usize) -> Self {
            Self::with_label(Label::new("Barrier"), parties)
        }
    }

    const_fn! {
        /// A barrier that views call `name`.
        #[track_caller]
        pub const fn named(name: &'static str, parties: usize) -> Self {
            Self::with_label(Label::named("Barrier", name), parties)
        }
    }

    const_fn! {
        const fn with_label(label: Label, parties: usize) -> Self {
            Self { parties, timeout: None, action: None, monitor: LazyMonitor::new(label) }
        }
    }

    /// Gives it a name that is made at run time.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.monitor.rename(name.into());
        self
    }

    /// Has the last one that comes run `action` before anybody goes on.
    ///
    /// If it panics, the barrier is broken.
    pub fn with_action(mut self, action: impl Fn() + Send + Sync + 'static) -> Self {
        self.action = Some(Box::new(action));
        self
    }

    /// Has threads wait for `timeout` at the longest if they say nothing else.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many have to come.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many wait at this moment for others to come.
    pub fn waiting(&self) -> usize {
        self.monitor.get().map_or(0, |monitor| {
            let inner = monitor.lock();
            if inner.state.acting.is_some() {
                0
            } else {
                inner.state.arrived
            }
        })
    }

    /// Whether it is of no use until it is [`reset`](Self::reset).
    pub fn is_broken(&self) -> bool {
        self.monitor
            .get()
            .is_some_and(|monitor| monitor.lock().state.broken)
    }

    /// Waits until all have come. Returns how many came before this one, which is different for each.
    ///
    /// # Errors
    ///
    /// [`LockError::Broken`] if somebody else gave up, now or earlier. [`LockError::Timeout`] if the
    /// time of this barrier ran out. [`LockError::Deadlock`] if the action waits for somebody who
    /// waits here.
    ///
    /// # Blocking
    ///
    /// Until all have come, and the action is over.
    ///
    /// # Panics
    ///
    /// If the action does.
    #[track_caller]
    pub fn wait(&self) -> Result<usize, LockError> {
        let deadline = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.wait_deadline(deadline, Location::caller())
    }

    /// The same, for `timeout` at the longest.
    ///
    /// Whoever waits when all have come does not leave before the action is over, however long that
    /// takes.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or as [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, LockError> {
        self.wait_deadline(Instant::now().checked_add(timeout), Location::caller())
    }

    /// The same, until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or as [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> Result<usize, LockError> {
        self.wait_deadline(Some(deadline), Location::caller())
    }

    fn wait_deadline(
        &self,
        deadline: Option<Instant>,
        site: &'static Location<'static>,
    ) -> Result<usize, LockError> {
        let request = Request {
            mode: Mode::Signal,
            site,
            timed: deadline.is_some(),
        };
        let monitor = self.monitor();
        let mut deadline = deadline;
        let mut place = None;
        loop {
            let mut inner = monitor.lock();
            match place {
                None => match inner.state.arrive()? {
                    Arrival::Waits(mine) => place = Some(mine),
                    Arrival::Last(mine) => return self.open(inner, mine, site),
                    Arrival::Early => {}
                },
                Some(mine) => match inner.state.outcome(mine) {
                    Some(true) => return Ok(mine.index),
                    Some(false) => return Err(LockError::Broken),
                    None => {}
                },
            }
            inner.state.waits += 1;
            let waiter = monitor.block(inner, request, false, deadline);
            match (waiter.state(), place) {
                (State::Granted, Some(mine)) => return Ok(mine.index),
                (State::Woken, _) => {}
                (State::TimedOut, Some(mine)) => match monitor.lock().state.outcome(mine) {
                    Some(true) => return Ok(mine.index),
                    Some(false) => return Err(LockError::Timeout),
                    // The others may rely on it being here as long as the action runs.
                    None => deadline = None,
                },
                (_, place) => {
                    if let Some(mine) = place {
                        self.give_up(mine);
                    }
                    return waiter.outcome().map(|()| 0);
                }
            }
        }
    }

    /// Waits as a task until all have come. Returns how many came before this one.
    ///
    /// # Errors
    ///
    /// [`LockError::Broken`] if somebody else gave up, now or earlier. [`LockError::Deadlock`] if the
    /// action waits for somebody who waits here.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits breaks the barrier.
    ///
    /// # Panics
    ///
    /// If the action does.
    #[track_caller]
    pub fn wait_async(&self) -> impl Future<Output = Result<usize, LockError>> + Send + '_ {
        let site = Location::caller();
        let mut arrived = Arrived {
            barrier: self,
            place: None,
            wait: None,
        };
        poll_fn(move |context| {
            let outcome = arrived.poll(site, context);
            if outcome.is_ready() {
                arrived.place = None;
            }
            outcome
        })
    }

    /// Somebody of whom the others expect that it comes: when it is dropped, the barrier breaks.
    ///
    /// So the others do not wait for a thread that has panicked, for a task that was dropped, or for a
    /// function that returned early. Whoever is done says so with [`Party::leave`].
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze_sync::{Barrier, LockError, thread};
    ///
    /// static BOTH: Barrier = Barrier::new(2);
    ///
    /// # fn main() -> Result<(), LockError> {
    /// let other = thread::spawn(|| {
    ///     let _party = BOTH.party();
    ///     panic!("on purpose");
    /// });
    /// assert!(matches!(BOTH.wait(), Err(LockError::Broken)));
    /// assert!(other.join()?.is_err());
    /// # Ok(()) }
    /// ```
    pub fn party(&self) -> Party<'_> {
        Party { barrier: self }
    }

    /// Breaks the barrier, for those who wait and for all who come later.
    pub fn abort(&self) {
        self.end_round(self.monitor().lock(), true);
    }

    /// Mends the barrier. Those who wait get [`LockError::Broken`].
    pub fn reset(&self) {
        self.end_round(self.monitor().lock(), false);
    }

    /// Ends the round without success.
    fn end_round(&self, mut inner: BriefGuard<'_, Inner<Meeting>>, broken: bool) {
        let mut ended = Ended::default();
        let Inner { state, waiters } = &mut *inner;
        state.fail(broken, waiters, &mut ended);
        drop(inner);
        ended.tell();
    }

    /// Breaks the barrier if the round of this place has not ended.
    fn give_up(&self, place: Place) {
        let inner = self.monitor().lock();
        if inner.state.outcome(place).is_none() {
            self.end_round(inner, true);
        }
    }

    /// All have come: runs the action, and lets everybody go on.
    fn open<'a>(
        &'a self,
        mut inner: BriefGuard<'a, Inner<Meeting>>,
        place: Place,
        site: &'static Location<'static>,
    ) -> Result<usize, LockError> {
        if let Some(action) = &self.action {
            let first_early = inner.state.waits;
            inner.state.acting = Some(Acting {
                frame: agent::frame(),
                site,
                first_early,
            });
            drop(inner);
            let on_panic = GivesUp(self, place);
            action();
            std::mem::forget(on_panic);
            inner = self.monitor().lock();
            if inner.state.outcome(place).is_some() {
                return Err(LockError::Broken);
            }
        }
        let mut ended = Ended::default();
        let Inner { state, waiters } = &mut *inner;
        state.succeed(waiters, &mut ended);
        drop(inner);
        ended.tell();
        Ok(place.index)
    }

    fn monitor(&self) -> &Arc<Monitor<Meeting>> {
        self.monitor.get_or_init(|| Meeting {
            parties: self.parties,
            arrived: 0,
            broken: false,
            acting: None,
            rounds: 0,
            outcomes: 0,
            waits: 0,
        })
    }
}

/// Breaks the barrier when it is dropped.
struct GivesUp<'a>(&'a Barrier, Place);

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        self.0.give_up(self.1);
    }
}

/// A task that has come.
struct Arrived<'a> {
    barrier: &'a Barrier,
    place: Option<Place>,
    wait: Option<TaskWait<Meeting>>,
}

impl Arrived<'_> {
    fn poll(
        &mut self,
        site: &'static Location<'static>,
        context: &Context<'_>,
    ) -> Poll<Result<usize, LockError>> {
        if let Some(wait) = &self.wait {
            let state = std::task::ready!(wait.poll(context));
            let outcome = wait.waiter.outcome();
            self.wait = None;
            match (state, self.place) {
                (State::Granted, Some(mine)) => return Poll::Ready(Ok(mine.index)),
                (State::Woken, _) => {}
                (_, place) => {
                    if let Some(mine) = place {
                        self.barrier.give_up(mine);
                    }
                    return Poll::Ready(outcome.map(|()| 0));
                }
            }
        }
        let monitor = self.barrier.monitor();
        let mut inner = monitor.lock();
        match inner.state.arrive()? {
            Arrival::Waits(mine) => self.place = Some(mine),
            Arrival::Last(mine) => return Poll::Ready(self.barrier.open(inner, mine, site)),
            Arrival::Early => {}
        }
        inner.state.waits += 1;
        let request = Request {
            mode: Mode::Signal,
            site,
            timed: false,
        };
        self.wait = Some(TaskWait::begin(monitor, inner, request, context));
        Poll::Pending
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        self.wait = None;
        if let Some(mine) = self.place {
            self.barrier.give_up(mine);
        }
    }
}

/// Somebody whom the others wait for. Made by [`Barrier::party`].
#[must_use = "the barrier is broken at once unless the party is kept"]
pub struct Party<'a> {
    barrier: &'a Barrier,
}

impl Party<'_> {
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait`].
    ///
    /// # Blocking
    ///
    /// As [`Barrier::wait`].
    #[track_caller]
    pub fn wait(&self) -> Result<usize, LockError> {
        self.barrier.wait()
    }

    /// As [`Barrier::wait_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait_timeout`].
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, LockError> {
        self.barrier.wait_timeout(timeout)
    }

    /// As [`Barrier::wait_async`].
    ///
    /// # Errors
    ///
    /// As [`Barrier::wait_async`].
    ///
    /// # Cancel safety
    ///
    /// As [`Barrier::wait_async`].
    #[track_caller]
    pub fn wait_async(&self) -> impl Future<Output = Result<usize, LockError>> + Send + '_ {
        self.barrier.wait_async()
    }

    /// Nobody expects it to come again.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        self.barrier.abort();
    }
}

impl fmt::Debug for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Party").field(self.barrier).finish()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Barrier");
        if let Some(name) = self.monitor.name() {
            text.field("name", &name);
        }
        text.field("parties", &self.parties)
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

impl Meeting {
    fn arrive(&mut self) -> Result<Arrival, LockError> {
        if self.broken {
            return Err(LockError::Broken);
        }
        if self.acting.is_some() {
            return Ok(Arrival::Early);
        }
        let place = Place {
            index: self.arrived,
            round: self.rounds,
        };
        self.arrived += 1;
        let last = self.arrived >= self.parties;
        Ok(if last {
            Arrival::Last(place)
        } else {
            Arrival::Waits(place)
        })
    }

    /// Whether the round of this place was a success, once it has ended.
    fn outcome(&self, place: Place) -> Option<bool> {
        // It is asked for right after the end, so it is among the last ones.
        let back = self.rounds.checked_sub(place.round + 1)?;
        Some(back < 64 && self.outcomes >> back & 1 == 1)
    }

    fn succeed(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        let early = self
            .acting
            .as_ref()
            .map_or(i64::MAX, |acting| acting.first_early);
        self.next_round(true);
        while let Some(mut waiter) = waiters.pop() {
            let is_early = waiter.ticket().is_none_or(|ticket| ticket >= early);
            waiter.end(if is_early {
                State::Woken
            } else {
                State::Granted
            });
            ended.push(waiter);
        }
    }

    fn fail(&mut self, broken: bool, waiters: &mut Waiters, ended: &mut Ended) {
        self.next_round(false);
        self.broken = broken;
        while let Some(waiter) = waiters.pop() {
            ended.end(waiter, State::Broken);
        }
    }

    fn next_round(&mut self, success: bool) {
        self.acting = None;
        self.arrived = 0;
        self.rounds += 1;
        self.outcomes = self.outcomes << 1 | u64::from(success);
    }
}

impl Rules for Meeting {
    fn obstacles(&self, _: &Waiters, _: &Waiter) -> Obstacles {
        match self.holding() {
            Some(holding) => Obstacles::All(vec![holding]),
            None => Obstacles::Unknown,
        }
    }

    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        // Whoever has come and does not wait any more has given up. While the action runs, they
        // decide that themselves.
        if self.acting.is_none() && waiters.len() < self.arrived {
            self.fail(true, waiters, ended);
        }
    }

    fn holders(&self) -> Holders {
        Holders {
            known: self.holding().into_iter().collect(),
            readers_of: None,
            others: self.acting.is_none(),
        }
    }
}

impl Meeting {
    /// Whoever runs the action.
    fn holding(&self) -> Option<Holding> {
        self.acting.as_ref().map(|acting| Holding {
            frame: acting.frame,
            mode: Mode::Signal,
            site: Some(acting.site),
            queued: false,
        })
    }
}
