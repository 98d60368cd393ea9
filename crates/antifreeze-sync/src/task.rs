//! Tasks: futures that are agents of their own.
//!
//! A task may wait for several things at once, and for things that we know nothing of: it counts as
//! blocked only while it sleeps and every waker of it that is out there is held by one of its own
//! waits. So the future inside is polled with a waker of ours, of which the copies can be counted.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use crate::agent::{self, Agent, Polling, Pulse};
use crate::detector;
use crate::faults::{self, Fault};
use crate::order::{self, Held};
use crate::report::AgentKind;
use crate::sync::atomic::Ordering;
use crate::sync::{Parker, Unparker, in_order};
use crate::waiter::{self, Wait};

pin_project! {
    /// A future that is an agent of its own: what it holds and waits for is known to be its.
    ///
    /// Made by [`task`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Task<F> {
        #[pin]
        future: F,
        me: Me,
        // A wait of it that is over, for the next one.
        reserve: Option<Wait>,
        more: Option<Box<More>>,
        // The agent may have other futures, too.
        shares: bool,
        // It can hold what others of its agent do not, for lock-order checking.
        holds: bool,
        // It is polled by another task, as a part of that.
        inside: bool,
    }
}

/// Who a task is.
enum Me {
    /// It was not polled yet.
    New(Arc<Agent>),
    /// What wakes it, twice: the future is polled with the second one.
    Known(Arc<TaskWaker>, Waker),
}

/// What few tasks have: a million others take less memory.
#[derive(Default)]
struct More {
    /// What lock-order checking knows that it holds. Made when that is switched on.
    held: Option<Held>,
    part: Option<Part>,
}

/// Makes `future` an agent of its own, so that it can be part of a deadlock that is found.
///
/// Locks that are awaited outside of such a task work as well, but nothing is known of who holds
/// them or waits for them, so a deadlock among them is not found.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use antifreeze_sync::{Mutex, task};
///
/// static TOTAL: Mutex<u32> = Mutex::new(0);
///
/// tokio::spawn(task(async {
///     *TOTAL.lock_async().await? += 1;
///     Ok::<_, antifreeze_sync::LockError>(())
/// }))
/// .await
/// .unwrap()?;
/// # Ok::<_, antifreeze_sync::LockError>(()) }).unwrap();
/// ```
pub fn task<F: Future>(future: F) -> Task<F> {
    Task::made(future, Agent::new(AgentKind::Task, None))
}

/// The same with a name, which reports and views show.
pub fn named_task<F: Future>(name: impl Into<Arc<str>>, future: F) -> Task<F> {
    Task::made(future, Agent::new(AgentKind::Task, Some(name.into())))
}

impl<F> Task<F> {
    pub(crate) fn made(future: F, agent: Arc<Agent>) -> Self {
        Self {
            holds: true,
            shares: false,
            ..Self::part_of(agent, future)
        }
    }

    /// Makes `future` part of an agent that exists already.
    pub(crate) fn part_of(agent: Arc<Agent>, future: F) -> Self {
        Self {
            future,
            me: Me::New(agent),
            reserve: None,
            more: None,
            shares: true,
            holds: false,
            inside: false,
        }
    }

    /// Makes `future` part of an agent that exists already, though not of the thread that polls it.
    pub(crate) fn part_elsewhere(agent: Arc<Agent>, future: F) -> Self {
        Self {
            holds: true,
            ..Self::part_of(agent, future)
        }
    }

    /// The number of its frame.
    pub fn frame(&self) -> u64 {
        self.me.agent().frame
    }
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let outer = context.waker();
        if agent::is_polled_with(outer) && (*this.inside || matches!(this.me, Me::New(_))) {
            // A task that is polled inside another one is part of that.
            *this.inside = true;
            return this.future.poll(context);
        }
        let shares = *this.shares;
        if shares {
            let more = this.more.get_or_insert_default();
            let agent = this.me.agent();
            more.part.get_or_insert_with(|| Part::new(agent));
        }
        let (own, waker) = this.me.for_poll_with(outer, this.reserve);
        // Several futures may be part of one agent, and take turns.
        if shares {
            *own.agent.waker.lock() = Arc::downgrade(own);
        }
        let mut context = Context::from_waker(waker);
        let is_watched = |more: &More| more.held.is_some();
        let held =
            if *this.holds && (order::is_on() || this.more.as_deref().is_some_and(is_watched)) {
                let held = &mut this.more.get_or_insert_default().held;
                let agent = &own.agent;
                let name = || agent.name().cloned();
                Some(held.get_or_insert_with(|| Held::of(agent.kind, name(), agent.frame)))
            } else {
                None
            };
        let began = own.pulse.begin();
        let polling = Polling::new(own, Cell::from_mut(this.reserve));
        let outcome = polling.run(shares, || match held {
            Some(held) => order::with_held(held, || this.future.poll(&mut context)),
            None => this.future.poll(&mut context),
        });
        if outcome.is_ready() {
            if let Some(more) = this.more {
                more.part = None;
            }
            return outcome;
        }
        if !polling.end(began) {
            return outcome;
        }
        in_order();
        // Sleeping comes before looking whether it was seen to wait, which the detector notes before
        // it looks whether it sleeps: so one of the two sees the other.
        if Arc::strong_count(own) > OWN_COPIES && own.agent.waits.load(Ordering::SeqCst) {
            // What it did may have closed a cycle through a wait that was looked at already.
            detector::look_again(&own.agent);
        }
        outcome
    }
}

impl Me {
    fn agent(&self) -> &Arc<Agent> {
        match self {
            Self::New(agent) => agent,
            Self::Known(own, _) => &own.agent,
        }
    }

    /// What wakes the task when it is polled with `outer`.
    #[inline]
    fn for_poll_with(
        &mut self,
        outer: &Waker,
        reserve: &mut Option<Wait>,
    ) -> (&Arc<TaskWaker>, &Waker) {
        if !matches!(self, Self::Known(own, _) if own.is_for(outer)) {
            self.renew(outer);
            // It has a copy of the old one.
            *reserve = None;
        }
        match self {
            Self::Known(own, waker) => (own, waker),
            Self::New(_) => unreachable!("it was just renewed"),
        }
    }

    #[cold]
    fn renew(&mut self, outer: &Waker) {
        let own = TaskWaker::new(self.agent(), outer);
        *own.agent.waker.lock() = Arc::downgrade(&own);
        let waker = Waker::from(Arc::clone(&own));
        *self = Self::Known(own, waker);
    }
}

/// Counts a future as part of its agent, and gives back the waker that the agent had before.
struct Part {
    agent: Arc<Agent>,
    before: Weak<TaskWaker>,
}

impl Part {
    fn new(agent: &Arc<Agent>) -> Self {
        agent.parts.fetch_add(1, Ordering::SeqCst);
        Self {
            agent: Arc::clone(agent),
            before: agent.waker.lock().clone(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        *self.agent.waker.lock() = std::mem::take(&mut self.before);
        self.agent.parts.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many copies of a waker a task has itself.
pub(crate) const OWN_COPIES: usize = 2;

/// Wakes a task, after noting that it is awake.
pub(crate) struct TaskWaker {
    agent: Arc<Agent>,
    /// That of the executor. When it polls with another one, the task gets another one of these.
    outer: Waker,
    /// What the task does.
    pub(crate) pulse: Pulse,
}

impl TaskWaker {
    fn new(agent: &Arc<Agent>, outer: &Waker) -> Arc<Self> {
        Arc::new(Self {
            agent: Arc::clone(agent),
            outer: outer.clone(),
            pulse: Pulse::default(),
        })
    }

    #[inline]
    pub(crate) fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Whether it is this one that `waker` uses.
    #[inline]
    pub(crate) fn is_behind(self: &Arc<Self>, waker: &Waker) -> bool {
        waker.data() == Arc::as_ptr(self).cast()
    }

    /// Whether it wakes what `outer` wakes, and is to be used still.
    #[inline]
    fn is_for(&self, outer: &Waker) -> bool {
        let renew = &self.agent.renew;
        // Copies of a waker that others keep without ever using them stay with the old one.
        if renew.load(Ordering::Relaxed) && renew.swap(false, Ordering::Relaxed) {
            return false;
        }
        let known = &self.outer;
        // The tables of functions of two copies may differ though they are equal.
        known.data() == outer.data() && (!outer.data().is_null() || known.will_wake(outer))
    }

    /// Has the executor poll the task, which is known to be awake.
    #[inline]
    pub(crate) fn have_polled(&self) {
        self.outer.wake_by_ref();
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the copy is gone: a task that was woken is not blocked, though it has not run yet.
        // One that wakes itself while it is polled does not fall asleep after that.
        if !faults::is(Fault::WakeUnnoticed) && !agent::is_woken_by_itself(self) {
            self.pulse.wake();
        }
        self.have_polled();
    }
}

/// Runs `future` on this thread until it is done, as part of what this thread is.
///
/// # Blocking
///
/// Until the future is done. What it waits for is waited for by this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Parker::new();
    let waker = Waker::from(Arc::new(ThreadWaker(parker.unparker())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(Task::part_of(Agent::current(), future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                waiter::make_rest();
                parker.park();
            }
        }
    }
}

struct ThreadWaker(Unparker);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
