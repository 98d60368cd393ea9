//! What callers leave for the task of a connection.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// A queue from callers to one task, who is woken only while it says that it waits for them: while
/// it works or lets others go first, a request costs no wake-up.
pub(super) struct Requests<R>(Mutex<State<R>>);

struct State<R> {
    queue: VecDeque<R>,
    task: Option<Waker>,
    /// There will be no more.
    left: bool,
    /// Nobody takes them any more.
    over: bool,
}

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            task: None,
            left: false,
            over: false,
        }))
    }
}

impl<R> Requests<R> {
    /// Leaves a request; gives it back if nobody takes it any more.
    pub(super) fn send(&self, request: R) -> Result<(), R> {
        let mut state = self.0.lock();
        if state.over {
            return Err(request);
        }
        state.queue.push_back(request);
        wake(state.task.take(), state);
        Ok(())
    }

    /// There will be no more requests.
    pub(super) fn leave(&self) {
        let mut state = self.0.lock();
        state.left = true;
        wake(state.task.take(), state);
    }

    /// Whether nobody takes them any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().over
    }

    /// Takes what is there. False if there is nothing and will be no more.
    pub(super) fn take(&self, into: &mut VecDeque<R>) -> bool {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            return !state.left;
        }
        if into.is_empty() {
            std::mem::swap(into, &mut state.queue);
        } else {
            into.append(&mut state.queue);
        }
        true
    }

    /// Whether there is something to take, or to know. If not, the task is woken, once, when there is.
    pub(super) fn has_news(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        if state.left || !state.queue.is_empty() {
            return true;
        }
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        false
    }

    /// Nobody takes them any more; gives those that were not taken.
    pub(super) fn close(&self) -> VecDeque<R> {
        let mut state = self.0.lock();
        state.over = true;
        state.task = None;
        std::mem::take(&mut state.queue)
    }
}

fn wake<S>(task: Option<Waker>, state: S) {
    drop(state);
    if let Some(task) = task {
        task.wake();
    }
}
