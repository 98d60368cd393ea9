//! All orders of a few operations.
//!
//! Every model is gone through completely, up to [`PREEMPTIONS`] changes of threads that are forced
//! on them. Loom itself fails where nobody can go on, and where data is used by two at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

use super::{detect, wake};
use crate::agent::Pulse;
use crate::journal;
use crate::report::Mode;
use crate::{
    BoundedSemaphore, Condvar, Event, Lazy, LockError, Mutex, MutexGuard, Once, Queue, RwLock,
    RwLockUpgradableReadGuard, RwLockWriteGuard, block_on, detector,
};

const PREEMPTIONS: usize = 3;

/// Goes through all that can happen in `body`.
fn model(body: impl Fn() + Send + Sync + 'static) {
    model_with(PREEMPTIONS, body);
}

/// The same with fewer preemptions, where there are too many steps for more. Loom's environment
/// variable `LOOM_MAX_PREEMPTIONS` overrules it.
#[track_caller]
fn model_with(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    static NAMES: &str = "executions";
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 50_000;
    if builder.log {
        // This one shows what it does.
        return loom::model(body);
    }
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let begun = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!(
        "{} {NAMES} in {:.1} s, with {} preemptions at most",
        count.load(Ordering::Relaxed),
        begun.elapsed().as_secs_f64(),
        builder.preemption_bound.unwrap_or(usize::MAX),
    );
}

/// Data of which loom sees every use.
#[derive(Debug, Default)]
struct Data(UnsafeCell<u32>);

// SAFETY: loom itself checks that nobody reads it while somebody writes. That it is always under a
// lock is what these tests are about.
unsafe impl Sync for Data {}

impl Data {
    fn get(&self) -> u32 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.0.with(|data| unsafe { *data })
    }

    fn add(&mut self, n: u32) {
        // SAFETY: loom checks that nobody else reads or writes meanwhile.
        self.0.with_mut(|data| unsafe { *data += n });
    }
}

fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    thread::spawn(f)
}

/// Polls once, so that it stands in the queue if it has to.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Over at once, in every execution.
const NO_TIME: Duration = Duration::ZERO;
/// May be over at once, but is not over before it begins.
const SOME_TIME: Duration = Duration::from_secs(3600);

// Mutual exclusion, and publication of what was done under the lock.

fn check_exclusion(make: fn() -> Mutex<Data>, uses: [fn(&Mutex<Data>); 2]) {
    model(move || {
        let mutex = Arc::new(make());
        let threads = uses.map(|uses| {
            let mutex = Arc::clone(&mutex);
            spawn(move || uses(&mutex))
        });
        lock(&mutex);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!mutex.is_locked());
        assert_eq!(mutex.lock().unwrap().get() % 10, 1);
    });
}

/// Waits for it and uses it once.
fn lock(mutex: &Mutex<Data>) {
    mutex.lock().unwrap().add(1);
}

fn barging() -> Mutex<Data> {
    Mutex::new(Data::default())
}

fn fair() -> Mutex<Data> {
    Mutex::new(Data::default()).fair()
}

fn lock_ten(mutex: &Mutex<Data>) {
    mutex.lock().unwrap().add(10);
}

#[test]
fn three_threads_have_the_mutex_one_at_a_time() {
    check_exclusion(barging, [lock_ten, lock_ten]);
}

#[test]
fn three_threads_have_a_fair_mutex_one_at_a_time() {
    check_exclusion(fair, [lock_ten, lock_ten]);
}
