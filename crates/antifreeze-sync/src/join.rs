//! Waiting for the end of a thread or a task.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::agent::Agent;
use crate::error::LockError;
use crate::label::{Label, Name, new_id};
use crate::lazy_monitor::TaskWait;
use crate::monitor::{Holders, Holding, Monitor, Obstacles, Rules};
use crate::report::{AgentKind, Mode};
use crate::sync::Mutex;
use crate::task::Task;
use crate::waiter::{Ended, Request, State, Waiter};
use crate::waiters::Waiters;

/// The end of an agent. Nobody but itself brings it about, so whoever waits for it waits for that one.
pub(crate) struct Ending {
    frame: u64,
    begun: &'static Location<'static>,
    is_over: bool,
}

impl Ending {
    pub(crate) fn of(agent: &Agent, begun: &'static Location<'static>) -> Arc<Monitor<Self>> {
        let kind = match agent.kind {
            AgentKind::Thread => "thread",
            AgentKind::Task => "task",
            AgentKind::Call => "call",
        };
        let name = agent
            .name()
            .map_or(Name::None, |name| Name::Made((&**name).into()));
        let label = Label {
            kind,
            name,
            created: begun,
        };
        let ending = Self {
            frame: agent.frame,
            begun,
            is_over: false,
        };
        Monitor::new(label.info(new_id(), ""), ending)
    }

    fn holding(&self) -> Option<Holding> {
        (!self.is_over).then_some(Holding {
            frame: self.frame,
            mode: Mode::Signal,
            site: Some(self.begun),
            queued: false,
        })
    }
}

impl Rules for Ending {
    fn obstacles(&self, _: &Waiters, _: &Waiter) -> Obstacles {
        Obstacles::All(self.holding().into_iter().collect())
    }

    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        while self.is_over
            && let Some(waiter) = waiters.pop()
        {
            ended.end(waiter, State::Granted);
        }
    }

    fn holders(&self) -> Holders {
        Holders {
            known: self.holding().into_iter().collect(),
            readers_of: None,
            others: false,
        }
    }
}

/// Ends the agent when it is dropped.
pub(crate) struct EndsWithThis(pub(crate) Arc<Monitor<Ending>>);

impl Drop for EndsWithThis {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.state.is_over = true;
        self.0.settle(inner);
    }
}

/// Whether the agent has ended.
pub(crate) fn is_over(ending: &Monitor<Ending>) -> bool {
    ending.lock().state.is_over
}

/// Blocks the thread until the agent has ended.
pub(crate) fn block(
    ending: &Arc<Monitor<Ending>>,
    deadline: Option<Instant>,
    site: &'static Location<'static>,
) -> Result<(), LockError> {
    let inner = ending.lock();
    if inner.state.is_over {
        return Ok(());
    }
    let request = Request {
        mode: Mode::Signal,
        site,
        timed: deadline.is_some(),
    };
    ending.block(inner, request, false, deadline).outcome()
}

/// A task's wait for the end of an agent.
pub(crate) struct Joining {
    ending: Arc<Monitor<Ending>>,
    site: &'static Location<'static>,
    wait: Option<TaskWait<Ending>>,
}

impl Joining {
    pub(crate) fn new(ending: Arc<Monitor<Ending>>, site: &'static Location<'static>) -> Self {
        Self {
            ending,
            site,
            wait: None,
        }
    }
}

impl Future for Joining {
    type Output = Result<(), LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(wait) = &self.wait {
            return wait.poll(context).map(|_| wait.waiter.outcome());
        }
        let ending = Arc::clone(&self.ending);
        let inner = ending.lock();
        if inner.state.is_over {
            return Poll::Ready(Ok(()));
        }
        let request = Request {
            mode: Mode::Signal,
            site: self.site,
            timed: false,
        };
        self.wait = Some(TaskWait::begin(&ending, inner, request, context));
        Poll::Pending
    }
}

pin_project! {
    /// The future of a task whose end others wait for. Made by [`joinable`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Joinable<F: Future> {
        #[pin]
        future: F,
        result: Arc<Mutex<Option<F::Output>>>,
        ends: Option<EndsWithThis>,
    }
}

impl<F: Future> Future for Joinable<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let output = ready!(this.future.poll(context));
        *this.result.lock() = Some(output);
        *this.ends = None;
        Poll::Ready(())
    }
}

/// A task whose result others can wait for, and the handle to do so.
///
/// Since it is known whom they wait for, a task that waits for its waiter is a deadlock which is
/// found. That cannot be known with an executor's own handle.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
/// use antifreeze_sync::joinable;
///
/// let (task, sum) = joinable(async { 1 + 2 });
/// tokio::spawn(task);
/// assert_eq!(sum.await?, 3);
/// # Ok::<_, antifreeze_sync::LockError>(()) }).unwrap();
/// ```
#[track_caller]
pub fn joinable<F: Future>(future: F) -> (Task<Joinable<F>>, TaskHandle<F::Output>) {
    joinable_as(None, future, Location::caller())
}

/// The same with a name, which reports and views show.
#[track_caller]
pub fn named_joinable<F: Future>(
    name: impl Into<Arc<str>>,
    future: F,
) -> (Task<Joinable<F>>, TaskHandle<F::Output>) {
    joinable_as(Some(name.into()), future, Location::caller())
}

fn joinable_as<F: Future>(
    name: Option<Arc<str>>,
    future: F,
    site: &'static Location<'static>,
) -> (Task<Joinable<F>>, TaskHandle<F::Output>) {
    let agent = Agent::new(AgentKind::Task, name);
    let ending = Ending::of(&agent, site);
    let result = Arc::new(Mutex::new(None));
    let handle = TaskHandle {
        ending: Arc::clone(&ending),
        result: Arc::clone(&result),
    };
    let future = Joinable {
        future,
        result,
        ends: Some(EndsWithThis(ending)),
    };
    (Task::made(future, agent), handle)
}

/// Waits for a task that [`joinable`] has made. Dropping it lets the task go on alone.
pub struct TaskHandle<T> {
    ending: Arc<Monitor<Ending>>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> TaskHandle<T> {
    /// Whether the task has ended, by its result or otherwise.
    pub fn is_finished(&self) -> bool {
        is_over(&self.ending)
    }

    /// The result of the task, for which this thread waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Cancelled`] if the task was dropped before it was done, or panicked.
    /// [`LockError::Deadlock`] if it waits for this thread.
    ///
    /// # Blocking
    ///
    /// Until the task has ended.
    #[track_caller]
    pub fn join(self) -> Result<T, LockError> {
        block(&self.ending, None, Location::caller())?;
        self.take()
    }

    /// The same, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`], or as [`join`](Self::join).
    #[track_caller]
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<T, LockError> {
        block(
            &self.ending,
            Instant::now().checked_add(timeout),
            Location::caller(),
        )?;
        self.take()
    }

    /// The result of the task, for which this task waits. The same as awaiting the handle, but
    /// reports then say where.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait, and the task goes on alone.
    #[track_caller]
    pub fn join_async(self) -> TaskJoin<T> {
        let joining = Joining::new(Arc::clone(&self.ending), Location::caller());
        TaskJoin {
            joining,
            handle: self,
        }
    }

    fn take(&self) -> Result<T, LockError> {
        self.result.lock().take().ok_or(LockError::Cancelled)
    }
}

impl<T> IntoFuture for TaskHandle<T> {
    type Output = Result<T, LockError>;
    type IntoFuture = TaskJoin<T>;

    #[track_caller]
    fn into_future(self) -> TaskJoin<T> {
        self.join_async()
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("TaskHandle")
            .field("finished", &finished)
            .finish_non_exhaustive()
    }
}

/// Waits for the result of a task. Made by [`TaskHandle::join_async`].
#[must_use = "futures do nothing unless they are polled"]
pub struct TaskJoin<T> {
    joining: Joining,
    handle: TaskHandle<T>,
}

impl<T> Future for TaskJoin<T> {
    type Output = Result<T, LockError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.joining).poll(context));
        Poll::Ready(joined.and_then(|()| self.handle.take()))
    }
}
