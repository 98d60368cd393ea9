//! A [`Monitor`] that is made when it is first needed, and the waits of tasks in it.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::label::{Label, Name, new_id};
use crate::monitor::{Inner, Monitor, Rules};
use crate::sync::{BriefGuard, OnceLock, const_fn};
use crate::waiter::{self, Request, State, Wait};

/// A [`Monitor`] that is made when it is first needed, so that its primitive can be a `static`.
pub(crate) struct LazyMonitor<S: Rules> {
    label: Label,
    monitor: OnceLock<Arc<Monitor<S>>>,
}

impl<S: Rules> LazyMonitor<S> {
    const_fn! {
        pub(crate) const fn new(label: Label) -> Self {
            Self { label, monitor: OnceLock::new() }
        }
    }

    pub(crate) fn rename(&mut self, name: String) {
        self.label.name = Name::Made(name.into());
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.label.name()
    }

    /// The monitor, if anybody needed it yet.
    pub(crate) fn get(&self) -> Option<&Arc<Monitor<S>>> {
        self.monitor.get()
    }

    pub(crate) fn get_or_init(&self, state: impl FnOnce() -> S) -> &Arc<Monitor<S>> {
        self.monitor
            .get_or_init(|| Monitor::new(self.label.info(new_id(), ""), state()))
    }
}

impl<S: Rules> Drop for LazyMonitor<S> {
    fn drop(&mut self) {
        // A wait can outlive its primitive only by being forgotten, but must not keep the queue.
        if let Some(monitor) = self.monitor.get() {
            monitor.close();
        }
    }
}

/// A wait of a task. Dropping it ends the wait.
pub(crate) struct TaskWait<S: Rules> {
    monitor: Arc<Monitor<S>>,
    pub(crate) waiter: Wait,
}

impl<S: Rules> TaskWait<S> {
    /// Puts the task into the queue.
    pub(crate) fn begin(
        monitor: &Arc<Monitor<S>>,
        inner: BriefGuard<'_, Inner<S>>,
        request: Request,
        context: &Context<'_>,
    ) -> Self {
        Self {
            monitor: Arc::clone(monitor),
            waiter: monitor.wait(inner, request, context),
        }
    }

    /// How it ended, once it has.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<State> {
        self.monitor.set_waker(&self.waiter, context);
        match self.waiter.state() {
            State::Waiting => Poll::Pending,
            ended => Poll::Ready(ended),
        }
    }
}

impl<S: Rules> Drop for TaskWait<S> {
    fn drop(&mut self) {
        if self.waiter.is_waiting() {
            self.monitor.give_up(&self.waiter, State::Cancelled);
        } else {
            waiter::give_back(Some(self.waiter.clone()));
        }
    }
}
