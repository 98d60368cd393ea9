//! The workers: threads that run calls, as many as are needed and no more than allowed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::error;

/// Threads beyond the workers that calls may occupy: they read, shake hands and answer pings when
/// all workers are inside methods.
const RESERVE: usize = 2;

/// How long a worker without work stays.
const KEEP_IDLE: Duration = Duration::from_secs(10);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Something to run.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Threads that run [`Work`] in order of arrival.
pub(crate) struct Pool {
    state: Mutex<State>,
    arrived: Condvar,
    /// Told whenever a worker has nothing to do.
    rested: Condvar,
    /// The length of the queue, to be read without the lock.
    queued: AtomicUsize,
    limit: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closed: bool,
    /// Whether somebody empties the queue of a closed pool.
    discarding: bool,
    /// Woken when nothing runs.
    quiet: Option<Waker>,
}

impl Pool {
    /// A pool for so many calls at a time; no thread is started yet.
    pub(crate) fn new(workers: usize) -> Self {
        Self::with_limit(workers + RESERVE)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            rested: Condvar::new(),
            queued: AtomicUsize::new(0),
            limit,
        }
    }

    /// Runs `work` as soon as a worker is free. After [`Pool::close`] it is dropped.
    pub(crate) fn spawn(self: &Arc<Self>, work: Work) {
        let mut state = self.state.lock();
        state.queue.push_back(work);
        if state.closed {
            drop(self.discard(state));
            return;
        }
        self.queued.store(state.queue.len(), Ordering::Relaxed);
        if state.idle >= state.queue.len() {
            self.arrived.notify_one();
        } else if state.threads < self.limit {
            state.threads += 1;
            drop(state);
            self.start_worker();
        }
    }

    /// Whether work waits for a worker.
    pub(crate) fn is_pressed(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    /// Waits until nothing runs and nothing is queued, at most for `limit`; says whether that is so.
    pub(crate) fn quiesce(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let busy = |state: &mut State| !state.is_quiet();
        !self
            .rested
            .wait_while_for(&mut state, busy, limit)
            .timed_out()
    }

    /// Ready when nothing runs and nothing is queued.
    pub(crate) fn poll_quiet(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_quiet() {
            return Poll::Ready(());
        }
        state.quiet = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether this thread is a worker of some pool.
    pub(crate) fn is_here() -> bool {
        IS_WORKER.get()
    }

    /// Takes no more work and drops what is queued, telling how much it was; each worker ends after
    /// what it is doing.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = state.queue.len();
        self.queued.store(0, Ordering::Relaxed);
        self.arrived.notify_all();
        drop(self.discard(state));
        dropped
    }

    /// Drops what is queued, without the lock, because what it holds may come back with more.
    ///
    /// That is dropped here, too, one after the other: if each were dropped where it comes, a long
    /// queue at an object would nest as deep as it is long.
    fn discard<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if !std::mem::replace(&mut state.discarding, true) {
            while let Some(work) = state.queue.pop_front() {
                MutexGuard::unlocked(&mut state, || drop(work));
            }
            state.discarding = false;
        }
        state
    }

    fn start_worker(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        let name = "antifreeze-worker".to_owned();
        if let Err(why) = std::thread::Builder::new()
            .name(name)
            .spawn(move || pool.work())
        {
            let mut state = self.state.lock();
            state.threads -= 1;
            // Whoever works now will come to it.
            error!(%why, workers = state.threads, "cannot start a worker");
        }
    }

    fn work(&self) {
        IS_WORKER.set(true);
        let mut state = self.state.lock();
        loop {
            let work = if state.closed {
                None
            } else {
                state.queue.pop_front()
            };
            if let Some(work) = work {
                self.queued.store(state.queue.len(), Ordering::Relaxed);
                drop(state);
                // Methods are caught where they are called; this keeps a mistake of ours from
                // costing a worker.
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    error!("a worker's job panicked");
                }
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            self.rest(&mut state);
            let timed_out = self.arrived.wait_for(&mut state, KEEP_IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.rest(&mut state);
    }

    /// Tells those who want to know that a worker has nothing to do.
    fn rest(&self, state: &mut State) {
        self.rested.notify_all();
        if state.is_quiet()
            && let Some(quiet) = state.quiet.take()
        {
            quiet.wake();
        }
    }
}

impl State {
    fn is_quiet(&self) -> bool {
        self.idle == self.threads && self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_beyond_the_limit_waits_in_order() {
        let pool = Arc::new(Pool::with_limit(1));
        let (go, gate) = mpsc::channel::<()>();
        let (told, tells) = mpsc::channel();
        pool.spawn(Box::new(move || gate.recv().unwrap()));
        for n in 0..3 {
            let told = told.clone();
            pool.spawn(Box::new(move || told.send(n).unwrap()));
        }
        assert!(pool.is_pressed());
        go.send(()).unwrap();
        assert_eq!(tells.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(pool.quiesce(Duration::from_secs(10)));
        assert!(!pool.is_pressed());
        pool.close();
    }

    #[test]
    fn work_that_brings_more_when_it_is_dropped_does_not_nest() {
        struct Chain(Arc<Pool>, usize);
        impl Drop for Chain {
            fn drop(&mut self) {
                if self.1 > 0 {
                    let next = Self(Arc::clone(&self.0), self.1 - 1);
                    self.0.spawn(Box::new(move || drop(next)));
                }
            }
        }
        let pool = Arc::new(Pool::with_limit(1));
        pool.close();
        drop(Chain(Arc::clone(&pool), 100_000));
        assert!(pool.state.lock().queue.is_empty());
    }

    #[test]
    fn a_closed_pool_drops_what_it_is_given() {
        let pool = Arc::new(Pool::with_limit(1));
        assert_eq!(pool.close(), 0);
        let (told, tells) = mpsc::channel::<()>();
        pool.spawn(Box::new(move || told.send(()).unwrap()));
        assert!(tells.recv().is_err());
    }
}
