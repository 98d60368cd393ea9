//! Scenarios that are written once and run by threads and by tasks.

// Each test file uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use antifreeze_sync::{AsyncMutexGuard, LockError, Mutex, MutexGuard, RwLock, task};

/// By whom a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Threads,
    Tasks,
}

/// Plays a scenario by threads, then by tasks.
pub fn by_both(scenario: impl Fn(By)) {
    scenario(By::Threads);
    scenario(By::Tasks);
}

/// What one agent does.
pub type Part = Pin<Box<dyn Future<Output = Result<(), LockError>>>>;

impl By {
    /// Has all parts played at the same time, and gives back how each of them ended.
    pub fn play(self, parts: Vec<Box<dyn FnOnce() -> Part + Send>>) -> Vec<Result<(), LockError>> {
        match self {
            Self::Threads => {
                let threads: Vec<_> = parts
                    .into_iter()
                    .map(|part| std::thread::spawn(move || without_waiting(part())))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            }
            Self::Tasks => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async {
                    let tasks: Vec<_> = parts
                        .into_iter()
                        .map(|part| tokio::task::spawn_local(task(part())))
                        .collect();
                    let mut ends = Vec::new();
                    for task in tasks {
                        let end = tokio::time::timeout(Duration::from_secs(20), task).await;
                        ends.push(end.expect("a task hangs").unwrap());
                    }
                    ends
                })
            }
        }
    }

    /// Lets others go on for a moment.
    pub async fn pause(self) {
        match self {
            Self::Threads => std::thread::yield_now(),
            Self::Tasks => tokio::task::yield_now().await,
        }
    }

    /// Goes on when `condition` holds.
    pub async fn until(self, condition: impl Fn() -> bool) {
        while !condition() {
            self.pause().await;
        }
    }

    pub async fn lock<'a, T>(self, mutex: &'a Mutex<T>) -> Result<Held<'a, T>, LockError> {
        Ok(match self {
            Self::Threads => Held::Thread(mutex.lock()?),
            Self::Tasks => Held::Task(mutex.lock_async().await?),
        })
    }

    pub async fn read<'a, T>(self, lock: &'a RwLock<T>) -> Result<Box<dyn Guard + 'a>, LockError> {
        Ok(match self {
            Self::Threads => Box::new(lock.read()?) as Box<dyn Guard>,
            Self::Tasks => Box::new(lock.read_async().await?),
        })
    }

    pub async fn write<'a, T>(self, lock: &'a RwLock<T>) -> Result<Box<dyn Guard + 'a>, LockError> {
        Ok(match self {
            Self::Threads => Box::new(lock.write()?) as Box<dyn Guard>,
            Self::Tasks => Box::new(lock.write_async().await?),
        })
    }
}

/// The guard of a mutex.
pub enum Held<'a, T> {
    Thread(MutexGuard<'a, T>),
    Task(AsyncMutexGuard<'a, T>),
}

impl<T> std::ops::Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Thread(guard) => guard,
            Self::Task(guard) => guard,
        }
    }
}

impl<T> std::ops::DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Thread(guard) => guard,
            Self::Task(guard) => guard,
        }
    }
}

/// Some guard, to be dropped.
pub trait Guard {}
impl<T> Guard for T {}

/// Lets nobody on before all have come.
#[derive(Clone)]
pub struct Rendezvous(Arc<(std::sync::Mutex<usize>, std::sync::Condvar)>, By);

impl Rendezvous {
    pub fn of(count: usize, by: By) -> Self {
        Self(
            Arc::new((std::sync::Mutex::new(count), std::sync::Condvar::new())),
            by,
        )
    }

    pub async fn meet(&self) {
        let (missing, all_here) = &*self.0;
        *missing.lock().unwrap() -= 1;
        all_here.notify_all();
        match self.1 {
            By::Threads => {
                let mut missing = missing.lock().unwrap();
                while *missing > 0 {
                    missing = all_here.wait(missing).unwrap();
                }
            }
            By::Tasks => {
                while *missing.lock().unwrap() > 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Runs a future that never has to wait, as a thread's part does not.
pub fn without_waiting<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a thread's part must block, not be pending"),
    }
}

/// A part of a scenario.
#[macro_export]
macro_rules! part {
    ($body:expr) => {
        Box::new(move || Box::pin($body) as support::Part)
            as Box<dyn FnOnce() -> support::Part + Send>
    };
}

/// Polls a future once, as somebody who does not care when it goes on.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < end, "it never came to be");
        std::thread::yield_now();
    }
}
