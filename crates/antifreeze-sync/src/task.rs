//! Tasks: futures that are agents of their own.
//!
//! A task may wait for several things at once, and for things that we know nothing of: it counts as
//! blocked only while it sleeps and every waker of it that is out there is held by one of its own
//! waits. So the future inside is polled with a waker of ours, of which the copies can be counted.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

use crate::agent::{self, Agent, Scope};
use crate::detector;
use crate::faults::{self, Fault};
use crate::order::{self, Held};
use crate::report::AgentKind;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Parker, Unparker, in_order};
use crate::waiter;

pin_project! {
    /// A future that is an agent of its own: what it holds and waits for is known to be its.
    ///
    /// Made by [`task`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Task<F> {
        #[pin]
        future: F,
        // Lent to the thread during a poll.
        agent: Option<Arc<Agent>>,
        frame: u64,
        waker: Option<OwnWaker>,
        // What lock-order checking knows that it holds.
        held: Holds,
        // The agent may have other futures, too.
        shares: bool,
        part: Option<Part>,
        // It is polled by another task, as a part of that.
        inside: bool,
    }
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
            held: Holds::Own(None),
            shares: false,
            ..Self::part_of(agent, future)
        }
    }

    /// Makes `future` part of an agent that exists already.
    pub(crate) fn part_of(agent: Arc<Agent>, future: F) -> Self {
        Self {
            future,
            frame: agent.frame,
            agent: Some(agent),
            waker: None,
            held: Holds::Others,
            shares: true,
            part: None,
            inside: false,
        }
    }

    /// Makes `future` part of an agent that exists already, though not of the thread that polls it.
    pub(crate) fn part_elsewhere(agent: Arc<Agent>, future: F) -> Self {
        Self {
            held: Holds::Own(None),
            ..Self::part_of(agent, future)
        }
    }

    /// The number of its frame.
    pub fn frame(&self) -> u64 {
        self.frame
    }
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if agent::is_polled_with(context.waker()) && (*this.inside || this.waker.is_none()) {
            // A task that is polled inside another one is part of that.
            *this.inside = true;
            return this.future.poll(context);
        }
        let Some(lent) = this.agent.take() else {
            panic!("a task was polled again after it had panicked");
        };
        // Copies of a waker that others keep without ever using them stay with the old one.
        if lent.renew.load(Ordering::Relaxed) && lent.renew.swap(false, Ordering::Relaxed) {
            *this.waker = None;
        }
        if let Some(own) = this.waker
            && !own.is_for(context.waker())
        {
            *this.waker = None;
        }
        // Several futures may be part of one agent, and take turns.
        let mut takes_turns = *this.shares;
        if takes_turns && this.part.is_none() {
            *this.part = Some(Part::new(&lent));
        }
        let own = match this.waker {
            Some(own) => own,
            empty => {
                takes_turns = true;
                empty.insert(OwnWaker::new(&lent, context.waker()))
            }
        };
        let agent = &own.shared.agent;
        if takes_turns {
            *agent.waker.lock() = Arc::downgrade(&own.shared);
        }
        own.shared.woken.store(false, Ordering::SeqCst);
        agent.pulse.begin();
        let scope = Scope::poll(lent, &own.waker, *this.shares);
        let mut context = Context::from_waker(&own.waker);
        let outcome = match this.held {
            Holds::Own(held) if order::active() || held.is_some() => {
                let held = held.get_or_insert_with(|| {
                    Box::new(Held::of(agent.kind, agent.name.clone(), agent.frame))
                });
                order::with_held(held, || this.future.poll(&mut context))
            }
            _ => this.future.poll(&mut context),
        };
        *this.agent = scope.leave();
        if outcome.is_ready() {
            *this.part = None;
            return outcome;
        }
        agent
            .pulse
            .sleep_unless(|| own.shared.woken.load(Ordering::SeqCst));
        in_order();
        // Sleeping comes before looking whether it was seen to wait, which the detector notes before
        // it looks whether it sleeps: so one of the two sees the other.
        if Arc::strong_count(&own.shared) > OWN_COPIES && agent.waits.load(Ordering::SeqCst) {
            // What it did may have closed a cycle through a wait that was looked at already.
            detector::look_again(agent);
        }
        outcome
    }
}

/// What lock-order checking knows that a task holds.
enum Holds {
    /// It is part of something else.
    Others,
    /// Made when checking is switched on: a million tasks that are not checked take less memory.
    Own(Option<Box<Held>>),
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

/// Our waker of a task, ready to be lent.
struct OwnWaker {
    shared: Arc<TaskWaker>,
    waker: Waker,
}

/// How many copies of a waker a task has itself.
pub(crate) const OWN_COPIES: usize = 2;

impl OwnWaker {
    fn new(agent: &Arc<Agent>, outer: &Waker) -> Self {
        let shared = Arc::new(TaskWaker {
            agent: Arc::clone(agent),
            woken: AtomicBool::new(false),
            outer: outer.clone(),
        });
        let waker = Waker::from(Arc::clone(&shared));
        Self { shared, waker }
    }

    /// Whether it wakes what `outer` wakes.
    fn is_for(&self, outer: &Waker) -> bool {
        let known = &self.shared.outer;
        // The tables of functions of two copies may differ though they are equal.
        known.will_wake(outer) || (known.data() == outer.data() && !outer.data().is_null())
    }
}

/// Wakes a task, after noting that it is awake.
pub(crate) struct TaskWaker {
    agent: Arc<Agent>,
    /// It was used since the last poll began.
    woken: AtomicBool,
    /// That of the executor. When it polls with another one, the task gets another one of these.
    outer: Waker,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the copy is gone: a task that was woken is not blocked, though it has not run yet.
        if !faults::is(Fault::WakeUnnoticed) {
            self.woken.store(true, Ordering::SeqCst);
            self.agent.pulse.wake();
        }
        self.outer.wake_by_ref();
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
