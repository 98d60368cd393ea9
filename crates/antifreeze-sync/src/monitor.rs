//! The slow side of every primitive: its state and its queue under one short lock.
//!
//! Who goes in, who waits and who is let in next is decided here and nowhere else, as a sequential
//! state machine ([`Rules`]). Threads, tasks and calls differ only in how they are told.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use crate::agent::{self, Agent};
use crate::clock::Moment;
use crate::detector;
use crate::graph::{Edge, Need};
use crate::journal;
use crate::label::Info;
use crate::order;
use crate::report::{Mode, Report, ResourceInfo};
use crate::sync::{BriefGuard, BriefMutex, Parker, lock_if_soon, thread_local_state};
use crate::waiter::{self, Call, Ended, How, Lent, Queued, Request, Signal, State, Wait, Waiter};
use crate::waiters::{Unseen, Waiters};

/// State and queue of one primitive.
pub(crate) struct Monitor<S> {
    info: Info,
    inner: BriefMutex<Inner<S>>,
}

/// What lies under the lock of a [`Monitor`].
pub(crate) struct Inner<S> {
    pub(crate) state: S,
    pub(crate) waiters: Waiters,
}

/// What a primitive decides.
pub(crate) trait Rules: Send + 'static {
    /// What has to happen for this wait, which goes on, to end.
    fn obstacles(&self, waiters: &Waiters, waiter: &Waiter) -> Obstacles;

    /// Ends the waits of those who can have what they want now.
    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended);

    /// Whether [`obstacles`](Self::obstacles) can ever be known. If not, waits are not looked at.
    fn may_be_claimed(&self) -> bool {
        true
    }

    /// Lets `waiter` in past those who came before it, if only they keep it out: ends its wait, or
    /// leaves it in the queue, no longer behind anybody. Says whether it did that.
    fn overtake(&mut self, waiters: &mut Waiters, waiter: &Arc<Waiter>, ended: &mut Ended) -> bool {
        let _ = (waiters, waiter, ended);
        false
    }

    /// Who has it, and whether there may be others of whom nothing is known.
    fn holders(&self) -> Holders;
}

/// Who has something.
pub(crate) struct Holders {
    pub(crate) known: Vec<Holding>,
    /// The readers of this lock, too.
    pub(crate) readers_of: Option<u64>,
    /// There may be others.
    pub(crate) others: bool,
}

/// Somebody who stands in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) frame: u64,
    pub(crate) mode: Mode,
    pub(crate) site: Option<&'static Location<'static>>,
    /// It only came first, and could be overtaken.
    pub(crate) queued: bool,
}

/// What has to happen for a wait to end.
pub(crate) enum Obstacles {
    /// All of these go on.
    All(Vec<Holding>),
    /// The readers of this lock and all of these go on.
    Readers(u64, Vec<Holding>),
    /// One of these goes on.
    Any {
        partners: Vec<Holding>,
        /// Another number whenever somebody became or ceased to be a partner.
        members: u64,
    },
    /// There are enough permits, and those ahead in the queue go on.
    Permits {
        wanted: u64,
        free: u64,
        holders: Arc<[(Holding, u64)]>,
        ahead: Vec<Holding>,
    },
    /// A call is answered that is served elsewhere.
    Away,
    /// Nobody knows.
    Unknown,
}

/// What the detector sees of a primitive.
pub(crate) trait Resource: Send + Sync {
    fn info(&self) -> ResourceInfo;
    /// Gives out those who wait since `before` or longer, each of them once. When there is nobody
    /// left to see, the queue counts as not watched. Waits for others who are there only if `before` is
    /// [`Moment::END`].
    fn see(&self, before: Moment, limit: usize, out: &mut Vec<Arc<Waiter>>) -> Unseen;
    fn id(&self) -> u64;
    /// Those who wait, in their order.
    fn waiters(&self) -> Vec<Arc<Waiter>>;
    fn is_waited_for(&self) -> bool;
    /// Whether it can ever be known who lets a wait for it end.
    fn may_be_claimed(&self) -> bool;
    /// Whether the agent with this frame waits here.
    fn has(&self, frame: u64) -> bool;
    /// None if the wait is over.
    fn obstacles(&self, waiter: &Waiter) -> Option<Obstacles>;
    /// Fails the wait, unless it is over.
    fn fail(&self, waiter: &Arc<Waiter>, report: &Arc<Report>, ended: &mut Ended) -> bool;
    /// Lets `waiter` in past those who only came before it.
    fn overtake(&self, waiter: &Arc<Waiter>, ended: &mut Ended) -> bool;
    fn holders(&self) -> (Vec<Holding>, bool);
}

impl<S> Monitor<S> {
    #[inline]
    pub(crate) fn lock(&self) -> BriefGuard<'_, Inner<S>> {
        self.inner.lock()
    }

    /// Forgets those who wait, when nobody can come any more.
    pub(crate) fn close(&self) {
        self.inner.lock().waiters.clear();
    }
}

impl<S: Rules> Monitor<S> {
    pub(crate) fn new(info: Info, state: S) -> Arc<Self> {
        let waiters = Waiters::default();
        Arc::new(Self {
            info,
            inner: BriefMutex::new(Inner { state, waiters }),
        })
    }

    /// Lets in whoever can go in after the state was changed, and tells them.
    pub(crate) fn settle(&self, mut inner: BriefGuard<'_, Inner<S>>) {
        let mut ended = Ended::default();
        inner.settle(&mut ended);
        drop(inner);
        ended.tell();
    }

    /// Tells lock-order checking of a wait for something that is no lock.
    fn announce(&self, request: &Request) {
        if order::active() && matches!(request.mode, Mode::Signal | Mode::Get | Mode::Put) {
            order::waiting(self.info.kind, request.site);
        }
    }

    /// Puts a wait at the end of the queue, or before all others.
    #[inline(always)]
    fn enqueue(
        self: &Arc<Self>,
        mut inner: BriefGuard<'_, Inner<S>>,
        (queued, wait): (Queued, Wait),
        front: bool,
    ) -> Wait {
        let news = if front {
            inner.waiters.push_front(queued)
        } else {
            inner.waiters.push(queued)
        };
        drop(inner);
        if news {
            detector::watch(self);
        }
        wait
    }

    /// Blocks the thread until its wait ends, for `deadline` at the longest.
    pub(crate) fn block(
        self: &Arc<Self>,
        inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        front: bool,
        deadline: Option<Instant>,
    ) -> Wait {
        self.block_with(inner, request, front, deadline, 0)
    }

    /// The same, with a [place](Waiter::place) for what goes with the wait.
    pub(crate) fn block_with(
        self: &Arc<Self>,
        inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        front: bool,
        deadline: Option<Instant>,
        place: u32,
    ) -> Wait {
        self.block_then(inner, request, front, deadline, place, || ())
    }

    /// The same, and calls `begun` when it stands in the queue, before the thread sleeps.
    pub(crate) fn block_then(
        self: &Arc<Self>,
        inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        front: bool,
        deadline: Option<Instant>,
        place: u32,
        begun: impl FnOnce(),
    ) -> Wait {
        thread_local_state! { static PARKER: Cell<Option<Parker>> = Cell::new(None); }
        self.announce(&request);
        let parker = PARKER
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        let queued = Queued::new(
            Agent::current(),
            How::Blocked,
            request,
            Moment::now(),
            self.info.id,
            place,
            Signal::Thread(parker.unparker()),
        );
        let waiter = self.enqueue(inner, queued, front);
        begun();
        // Whoever was let in by this thread may be what it waits for.
        waiter::make_rest();
        while waiter.is_waiting() {
            let told = match deadline {
                None => {
                    parker.park();
                    true
                }
                Some(deadline) => parker.park_deadline(deadline),
            };
            if !told {
                self.give_up(&waiter, State::TimedOut);
                break;
            }
        }
        let _ = PARKER.try_with(|cached| cached.set(Some(parker)));
        waiter
    }

    /// Puts a task into the queue.
    #[inline(always)]
    pub(crate) fn wait(
        self: &Arc<Self>,
        inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        context: &Context<'_>,
    ) -> Wait {
        self.wait_with(inner, request, context, 0)
    }

    /// The same, with a [place](Waiter::place) for what goes with the wait.
    #[inline(always)]
    pub(crate) fn wait_with(
        self: &Arc<Self>,
        mut inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        context: &Context<'_>,
        place: u32,
    ) -> Wait {
        self.announce(&request);
        let since = inner.waiters.about_now(detector::about_now());
        let id = self.info.id;
        let Some(wait) = Wait::again(context.waker(), request, since, id, place) else {
            return self.wait_anew(inner, request, false, context, place);
        };
        let queued = Queued::Lent(Lent::of(&wait));
        let wait = self.enqueue(inner, (queued, wait), false);
        // As in `block_then`: the thread may block until the task goes on.
        waiter::make_rest();
        wait
    }

    /// Puts a task into the queue, or before all others, with a wait of its own for that.
    #[cold]
    pub(crate) fn wait_anew(
        self: &Arc<Self>,
        mut inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        front: bool,
        context: &Context<'_>,
        place: u32,
    ) -> Wait {
        let since = inner.waiters.about_now(detector::about_now());
        let queued = Queued::polled(context.waker(), request, since, self.info.id, place);
        let wait = self.enqueue(inner, queued, front);
        waiter::make_rest();
        wait
    }

    /// Puts a call into the queue, which is made when the wait ends.
    pub(crate) fn call_later(
        self: &Arc<Self>,
        mut inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        front: bool,
        agent: Arc<Agent>,
        call: Call,
    ) -> Wait {
        let signal = Signal::Call(Box::new(call));
        let hurry = agent.has_ancestors();
        let since = inner.waiters.about_now(detector::about_now());
        let queued = Queued::new(agent, How::Call, request, since, self.info.id, 0, signal);
        let waiter = self.enqueue(inner, queued, front);
        if hurry {
            detector::hurry(self);
        }
        waiter
    }

    /// Has a task that waits woken by what polls it now.
    pub(crate) fn set_waker(&self, waiter: &Waiter, context: &Context<'_>) {
        let waker = context.waker();
        // Only wakers of ours are known by their data.
        if waiter.is_woken_by(waker.data()) && agent::is_polled_with(waker) {
            return;
        }
        let mut inner = self.inner.lock();
        if let Some(queued) = inner.waiters.get_mut(waiter)
            && !queued.will_wake(waker)
        {
            queued.keep().set_waker(waker);
        }
    }

    /// Ends a wait from outside, unless it is over.
    pub(crate) fn give_up(&self, waiter: &Waiter, state: State) -> bool {
        let mut ended = Ended::default();
        let over = self.end(waiter, &mut ended, |queued| queued.end(state));
        if over {
            ended.tell();
        }
        over
    }

    fn end(&self, waiter: &Waiter, ended: &mut Ended, end: impl FnOnce(&mut Queued)) -> bool {
        let mut inner = self.inner.lock();
        let Some(mut queued) = inner.waiters.remove(waiter) else {
            return false;
        };
        end(&mut queued);
        ended.push(queued);
        // Whoever leaves may have been all that kept others out.
        inner.settle(ended);
        true
    }
}

impl<S: Rules> Inner<S> {
    pub(crate) fn settle(&mut self, ended: &mut Ended) {
        self.state.settle(&mut self.waiters, ended);
    }
}

impl<S: Rules> Resource for Monitor<S> {
    fn info(&self) -> ResourceInfo {
        self.info.told()
    }

    fn see(&self, before: Moment, limit: usize, out: &mut Vec<Arc<Waiter>>) -> Unseen {
        let free = match before {
            Moment::END => Some(self.lock()),
            _ => lock_if_soon(&self.inner),
        };
        let Some(mut inner) = free else {
            return Unseen::Busy;
        };
        let unseen = inner.waiters.see(before, limit, out);
        if unseen == Unseen::Nothing {
            inner.waiters.watched = false;
        }
        unseen
    }

    fn id(&self) -> u64 {
        self.info.id
    }

    fn waiters(&self) -> Vec<Arc<Waiter>> {
        self.inner.lock().waiters.iter().cloned().collect()
    }

    fn is_waited_for(&self) -> bool {
        !self.inner.lock().waiters.is_empty()
    }

    fn may_be_claimed(&self) -> bool {
        self.inner.lock().state.may_be_claimed()
    }

    fn has(&self, frame: u64) -> bool {
        let inner = self.inner.lock();
        inner
            .waiters
            .iter()
            .any(|waiter| waiter.agent.frame == frame)
    }

    fn obstacles(&self, waiter: &Waiter) -> Option<Obstacles> {
        let inner = self.inner.lock();
        if !waiter.is_waiting() {
            return None;
        }
        let obstacles = inner.state.obstacles(&inner.waiters, waiter);
        drop(inner);
        Some(match obstacles {
            Obstacles::Readers(lock, mut others) => {
                let in_the_way = |reader: &Holding| match waiter.mode {
                    // Only one may have the right to upgrade, and the one who upgrades has it.
                    Mode::UpgradableRead => reader.mode == Mode::UpgradableRead,
                    Mode::Upgrade => reader.mode == Mode::Read,
                    _ => true,
                };
                others.extend(journal::readers(lock).into_iter().filter(in_the_way));
                Obstacles::All(others)
            }
            other => other,
        })
    }

    fn fail(&self, waiter: &Arc<Waiter>, report: &Arc<Report>, ended: &mut Ended) -> bool {
        self.end(waiter, ended, |queued| queued.fail(Arc::clone(report)))
    }

    fn overtake(&self, waiter: &Arc<Waiter>, ended: &mut Ended) -> bool {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        waiter.is_waiting() && inner.state.overtake(&mut inner.waiters, waiter, ended)
    }

    fn holders(&self) -> (Vec<Holding>, bool) {
        let holders = self.inner.lock().state.holders();
        let mut known = holders.known;
        known.extend(
            holders
                .readers_of
                .map(journal::readers)
                .into_iter()
                .flatten(),
        );
        (known, holders.others)
    }
}

impl Holding {
    /// One that waits ahead in the queue.
    pub(crate) fn queued(waiter: &Waiter) -> Self {
        Self {
            frame: waiter.agent.frame,
            mode: waiter.mode,
            site: Some(waiter.site),
            queued: true,
        }
    }

    /// One that runs on the same thread, on behalf of the one that waits for it.
    pub(crate) fn nested(frame: u64) -> Self {
        Self {
            frame,
            mode: Mode::Signal,
            site: None,
            queued: false,
        }
    }

    /// One that serves the call for whose answer another one waits.
    pub(crate) fn serving(frame: u64) -> Self {
        Self {
            mode: Mode::Answer,
            ..Self::nested(frame)
        }
    }

    fn edge(&self) -> Edge {
        Edge {
            frame: self.frame,
            soft: self.queued,
        }
    }
}

impl Obstacles {
    /// What the graph needs of it.
    pub(crate) fn need(&self) -> Need {
        let edges = |all: &[Holding]| all.iter().map(Holding::edge).collect();
        match self {
            Self::All(all) | Self::Readers(_, all) => Need::All(edges(all)),
            Self::Any { partners, .. } => Need::Any(edges(partners)),
            Self::Permits {
                wanted,
                free,
                holders,
                ahead,
            } => Need::Permits {
                wanted: *wanted,
                free: *free,
                holders: holders
                    .iter()
                    .map(|(holding, n)| (holding.edge(), *n))
                    .collect(),
                ahead: edges(ahead),
            },
            Self::Away | Self::Unknown => Need::External,
        }
    }

    /// Whether the same partners, if it has any, are there in another reading.
    pub(crate) fn has_same_members(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Any {
                    members: before, ..
                },
                Self::Any { members: after, .. },
            ) => before == after,
            (Self::Any { .. }, _) | (_, Self::Any { .. }) => false,
            _ => true,
        }
    }

    /// Whether it is enough that those go on who `run`, without looking at anybody else.
    pub(crate) fn ends_anyway(&self, run: impl Fn(u64) -> bool) -> bool {
        match self {
            Self::Permits {
                wanted,
                free,
                holders,
                ahead,
            } => {
                let mut enough = *free;
                let mut running = holders.iter().filter(|(holding, _)| run(holding.frame));
                while enough < *wanted
                    && let Some((_, permits)) = running.next()
                {
                    enough += permits;
                }
                enough >= *wanted && ahead.iter().all(|holding| run(holding.frame))
            }
            Self::Any { partners, .. } => partners.iter().any(|holding| run(holding.frame)),
            Self::Away => false,
            Self::Unknown => true,
            Self::All(all) | Self::Readers(_, all) => all.iter().all(|holding| run(holding.frame)),
        }
    }

    /// Everybody who stands in the way.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Holding> {
        let (all, permits, ahead): (&[_], &[_], &[_]) = match self {
            Self::All(all) | Self::Readers(_, all) | Self::Any { partners: all, .. } => {
                (all, &[], &[])
            }
            Self::Permits { holders, ahead, .. } => (&[], holders, ahead),
            Self::Away | Self::Unknown => (&[], &[], &[]),
        };
        all.iter()
            .chain(permits.iter().map(|(holding, _)| holding))
            .chain(ahead)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::label::Label;

    /// What nobody can have.
    struct Nothing;

    impl Rules for Nothing {
        fn obstacles(&self, _: &Waiters, _: &Waiter) -> Obstacles {
            Obstacles::Unknown
        }

        fn settle(&mut self, _: &mut Waiters, _: &mut Ended) {}

        fn holders(&self) -> Holders {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn the_detector_does_not_wait_for_who_is_at_a_queue() {
        let info = Label::new("Nothing").info(1, "");
        let monitor = Monitor::new(info, Nothing);
        let inner = monitor.lock();
        assert_eq!(monitor.see(Moment::now(), 1, &mut Vec::new()), Unseen::Busy);
        drop(inner);
        assert_eq!(
            monitor.see(Moment::now(), 1, &mut Vec::new()),
            Unseen::Nothing
        );
    }
}
