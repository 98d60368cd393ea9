//! Several agents that do the same, as CPython's `lock_tests.Bunch`: by threads, then by tasks.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use antifreeze_sync::{
    AsyncMutexGuard, Barrier, Condvar, Event, LockError, Mutex, MutexGuard, block_on, detector,
    task,
};

/// Who plays a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    Threads,
    Tasks,
}

/// Plays a scenario by threads, then by tasks.
pub(crate) fn by_both(scenario: impl Fn(By)) {
    scenario(By::Threads);
    scenario(By::Tasks);
}

/// Has `n` agents do `part`, while this thread does `meanwhile`. Returns what came of each.
pub(crate) fn bunch<T: Send, F: Future<Output = T>>(
    by: By,
    n: usize,
    part: impl Fn(usize) -> F + Sync,
    meanwhile: impl FnOnce(),
) -> Vec<T> {
    std::thread::scope(|scope| {
        let part = &part;
        let threads: Vec<_> = match by {
            By::Threads => (0..n)
                .map(|i| scope.spawn(move || vec![block_on(part(i))]))
                .collect(),
            By::Tasks => vec![scope.spawn(move || all((0..n).map(|i| task(part(i)))))],
        };
        meanwhile();
        let ends = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        ends.collect()
    })
}

/// Polls all these until each is done.
pub(crate) fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| Ok(Box::pin(future))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    runtime.block_on(poll_fn(|context| {
        let mut pending = false;
        for future in &mut futures {
            if let Ok(running) = future {
                match running.as_mut().poll(context) {
                    Poll::Ready(output) => *future = Err(output),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }));
    let output = |future: Result<Pin<Box<F>>, F::Output>| future.err();
    futures.into_iter().filter_map(output).collect()
}

impl By {
    pub(crate) async fn lock<'a, T>(self, mutex: &'a Mutex<T>) -> Result<Held<'a, T>, LockError> {
        Ok(match self {
            Self::Threads => Held::Thread(mutex.lock()?),
            Self::Tasks => Held::Task(mutex.lock_async().await?),
        })
    }

    pub(crate) async fn event(self, event: &Event) -> Result<(), LockError> {
        match self {
            Self::Threads => event.wait(),
            Self::Tasks => event.wait_async().await,
        }
    }

    pub(crate) async fn event_timeout(
        self,
        event: &Event,
        timeout: Duration,
    ) -> Result<(), LockError> {
        match self {
            Self::Threads => event.wait_timeout(timeout),
            Self::Tasks => match tokio::time::timeout(timeout, event.wait_async()).await {
                Ok(result) => result,
                Err(_) => Err(LockError::Timeout),
            },
        }
    }

    pub(crate) async fn barrier(self, barrier: &Barrier) -> Result<usize, LockError> {
        match self {
            Self::Threads => barrier.wait(),
            Self::Tasks => barrier.wait_async().await,
        }
    }

    pub(crate) async fn condvar<'a, T>(
        self,
        condvar: &'a Condvar,
        held: Held<'a, T>,
    ) -> Result<Held<'a, T>, LockError> {
        Ok(match held {
            Held::Thread(guard) => Held::Thread(condvar.wait(guard)?),
            Held::Task(guard) => Held::Task(condvar.wait_async(guard).await?),
        })
    }

    /// Goes on when `condition` holds.
    pub(crate) async fn until(self, condition: impl Fn() -> bool) {
        while !condition() {
            match self {
                Self::Threads => std::thread::yield_now(),
                Self::Tasks => tokio::task::yield_now().await,
            }
        }
    }
}

/// The guard of a mutex.
pub(crate) enum Held<'a, T> {
    Thread(MutexGuard<'a, T>),
    Task(AsyncMutexGuard<'a, T>),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Thread(guard) => guard,
            Self::Task(guard) => guard,
        }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Thread(guard) => guard,
            Self::Task(guard) => guard,
        }
    }
}

/// How many wait for what has this name.
pub(crate) fn waiting(name: &str) -> usize {
    let snapshot = detector::snapshot();
    let named = |name_there: &Option<String>| name_there.as_deref() == Some(name);
    let resources = snapshot
        .resources
        .iter()
        .filter(|state| named(&state.resource.name));
    resources.map(|state| state.waiters.len()).sum()
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "it never came to be");
        std::thread::yield_now();
    }
}

/// Waits until so many wait for what has this name.
#[track_caller]
pub(crate) fn eventually_waiting(name: &str, count: usize) {
    eventually(|| waiting(name) == count);
}

/// The waiting may end a little early by the clock, and late on a busy machine.
#[track_caller]
pub(crate) fn assert_timeout(actual: Duration, expected: Duration) {
    assert!(actual >= expected.mul_f64(0.6), "{actual:?}");
    assert!(
        actual < expected * 10 + Duration::from_secs(20),
        "{actual:?}"
    );
}
