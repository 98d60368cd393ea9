//! Many orders of many operations, at random.
//!
//! What an agent does is drawn at random too, from the same seed as the order. Shuttle prints the
//! schedule of an execution that fails, for `shuttle::replay`, and it fails where nobody can go on.
//! `SHUTTLE_RANDOM_SEED` begins with another seed, and `CHECKED_TIMES` does everything so many times
//! as often. Memory is sequentially consistent here; what that hides, the exhaustive tests find.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex as Plain;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;

use super::{detect, wake};
use crate::agent;
use crate::{
    BoundedSemaphore, Condvar, LockError, Mutex, MutexGuard, Queue, RwLock,
    RwLockUpgradableReadGuard, RwLockWriteGuard, block_on, order, task,
};

/// May be over at once, but is not over before it begins.
const SOME_TIME: Duration = Duration::from_secs(3600);

/// Runs `body` so often in a random order, and as often in orders with few changes of threads.
fn check(times: usize, body: impl Fn() + Send + Sync + 'static) {
    order::set_level(order::Level::Off);
    let more: usize = std::env::var("CHECKED_TIMES").map_or(1, |more| more.parse().unwrap());
    let times = times * more;
    let body = Arc::new(body);
    let begun = Instant::now();
    run(RandomScheduler::new(times), &body);
    for depth in 2..=4 {
        run(PctScheduler::new(depth, times / 3), &body);
    }
    println!(
        "{} executions in {:.1} s",
        2 * times,
        begun.elapsed().as_secs_f64()
    );
}

fn run(scheduler: impl Scheduler + 'static, body: &Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = shuttle::Config::new();
    config.stack_size = 0x40000;
    let body = Arc::clone(body);
    shuttle::Runner::new(scheduler, config).run(move || body());
}

/// Spawns so many agents, and waits until all have done their operations.
fn agents<L: Send + Sync + 'static>(
    n: usize,
    operations: usize,
    thing: &Arc<L>,
    operate: impl Fn(&L) + Copy + Send + 'static,
) {
    let threads: Vec<_> = (0..n)
        .map(|_| {
            let thing = Arc::clone(thing);
            thread::spawn(move || {
                for _ in 0..operations {
                    operate(&thing);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn any(below: usize) -> usize {
    thread_rng().gen_range(0..below)
}

/// Polls a few times and then gives up.
fn poll_for_a_while<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..any(4) {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(output);
        }
        thread::yield_now();
    }
    None
}

/// Who is in, counted by those who are.
#[derive(Default)]
struct Inside {
    readers: AtomicUsize,
    writers: AtomicUsize,
}

impl Inside {
    fn write(&self) {
        assert_eq!(self.readers.load(Ordering::SeqCst), 0);
        assert_eq!(self.writers.fetch_add(1, Ordering::SeqCst), 0);
        thread::yield_now();
        assert_eq!(self.readers.load(Ordering::SeqCst), 0);
        assert_eq!(self.writers.fetch_sub(1, Ordering::SeqCst), 1);
    }

    fn read(&self) {
        self.readers.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.writers.load(Ordering::SeqCst), 0);
        thread::yield_now();
        assert_eq!(self.writers.load(Ordering::SeqCst), 0);
        self.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

// Mutexes.

fn use_mutex(mutex: &Mutex<Inside>) {
    match any(8) {
        0 => {
            if let Some(inside) = mutex.try_lock() {
                inside.write();
            }
        }
        1 => {
            if let Ok(inside) = mutex.lock_timeout(SOME_TIME) {
                inside.write();
            }
        }
        2 => block_on(mutex.lock_async()).unwrap().write(),
        3 => block_on(task(mutex.lock_async())).unwrap().write(),
        4 => {
            if let Some(inside) = poll_for_a_while(mutex.lock_async()) {
                inside.unwrap().write();
            }
        }
        5 => {
            let inside = mutex.lock().unwrap();
            inside.write();
            MutexGuard::unlock_fair(inside);
        }
        _ => mutex.lock().unwrap().write(),
    }
}

fn check_mutex(times: usize, n: usize, operations: usize, make: fn() -> Mutex<Inside>) {
    check(times, move || {
        let mutex = Arc::new(make());
        agents(n, operations, &mutex, use_mutex);
        assert!(!mutex.is_locked());
    });
}

#[test]
fn a_few_use_a_mutex_in_all_ways() {
    check_mutex(4_000, 4, 5, || Mutex::new(Inside::default()));
}

#[test]
fn a_few_use_a_fair_mutex_in_all_ways() {
    check_mutex(4_000, 4, 5, || Mutex::new(Inside::default()).fair());
}

#[test]
fn many_use_a_mutex_in_all_ways() {
    check_mutex(60, 8, 100, || Mutex::new(Inside::default()));
}

/// Nobody who waits in order is passed by more than everybody else once.
fn check_overtaking(make: fn() -> Mutex<usize>, use_it: fn(&Mutex<usize>)) {
    const N: usize = 5;
    check(1_000, move || {
        let mutex = Arc::new(make());
        let others: Vec<_> = (1..N)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || (0..8).for_each(|_| use_it(&mutex)))
            })
            .collect();
        for _ in 0..4 {
            let mut future = Box::pin(mutex.lock_async());
            let waiting = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            let before = match &waiting {
                Poll::Ready(guard) => **guard.as_ref().unwrap(),
                // Whoever has it now may have counted already or not.
                Poll::Pending => COUNT.with(|count| count.get()),
            };
            let guard = match waiting {
                Poll::Ready(guard) => guard,
                Poll::Pending => block_on(future),
            };
            assert!(*guard.unwrap() - before < N);
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

thread_local! {
    // All of shuttle's threads are one.
    static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn count(uses: &mut usize) {
    *uses += 1;
    COUNT.with(|count| count.set(*uses));
}

#[test]
fn a_task_is_passed_by_nobody_who_came_later() {
    check_overtaking(
        || {
            COUNT.with(|count| count.set(0));
            Mutex::new(0)
        },
        |mutex| count(&mut mutex.lock().unwrap()),
    );
}

#[test]
fn a_task_in_a_fair_mutex_is_passed_by_nobody_who_came_later() {
    check_overtaking(
        || {
            COUNT.with(|count| count.set(0));
            Mutex::new(0).fair()
        },
        |mutex| {
            if let Ok(mut uses) = mutex.lock_timeout(SOME_TIME) {
                count(&mut uses);
            }
        },
    );
}

// Read-write locks.

fn use_rwlock(lock: &RwLock<Inside>) {
    match any(12) {
        0 => {
            if let Some(inside) = lock.try_write() {
                inside.write();
            }
        }
        1 => {
            if let Ok(inside) = lock.write_timeout(SOME_TIME) {
                inside.write();
            }
        }
        2 => {
            if let Ok(inside) = lock.read_timeout(SOME_TIME) {
                inside.read();
            }
        }
        3 => block_on(lock.write_async()).unwrap().write(),
        4 => block_on(task(lock.read_async())).unwrap().read(),
        5 => {
            if let Some(inside) = poll_for_a_while(lock.write_async()) {
                inside.unwrap().write();
            }
        }
        6 => {
            if let Some(inside) = poll_for_a_while(lock.read_async()) {
                inside.unwrap().read();
            }
        }
        7 => {
            let inside = lock.write().unwrap();
            inside.write();
            RwLockWriteGuard::downgrade(inside).read();
        }
        8 => {
            let inside = lock.upgradable_read().unwrap();
            inside.read();
            RwLockUpgradableReadGuard::upgrade(inside).unwrap().write();
        }
        9 => {
            let inside = lock.upgradable_read().unwrap();
            inside.read();
            match any(3) {
                0 => RwLockUpgradableReadGuard::downgrade(inside).read(),
                1 => {
                    if let Ok(inside) = RwLockUpgradableReadGuard::try_upgrade(inside) {
                        inside.write();
                    }
                }
                _ => {}
            }
        }
        10 => {
            let inside = block_on(lock.upgradable_read_async()).unwrap();
            let upgraded = poll_for_a_while(RwLockUpgradableReadGuard::upgrade_async(inside));
            if let Some(inside) = upgraded {
                inside.unwrap().write();
            }
        }
        _ => lock.read().unwrap().read(),
    }
}

fn check_rwlock(times: usize, n: usize, operations: usize, make: fn() -> RwLock<Inside>) {
    check(times, move || {
        let lock = Arc::new(make());
        agents(n, operations, &lock, use_rwlock);
        assert!(!lock.is_locked());
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn a_few_use_a_rwlock_in_all_ways() {
    check_rwlock(4_000, 4, 5, || RwLock::new(Inside::default()));
}

#[test]
fn a_few_use_a_strict_rwlock_in_all_ways() {
    check_rwlock(4_000, 4, 5, || RwLock::new(Inside::default()).strict());
}

#[test]
fn many_use_a_rwlock_in_all_ways() {
    check_rwlock(60, 8, 100, || RwLock::new(Inside::default()));
}

// Semaphores.

const PERMITS: usize = 3;

fn use_semaphore((semaphore, used): &(BoundedSemaphore, AtomicUsize)) {
    let wanted = 1 + any(PERMITS);
    let work = || {
        assert!(used.fetch_add(wanted, Ordering::SeqCst) + wanted <= PERMITS);
        thread::yield_now();
        used.fetch_sub(wanted, Ordering::SeqCst);
    };
    let permits = wanted as u32;
    match any(5) {
        0 => {
            if let Some(_permits) = semaphore.try_acquire_many(permits) {
                work();
            }
        }
        1 => {
            if let Ok(_permits) = semaphore.acquire_many_timeout(permits, SOME_TIME) {
                work();
            }
        }
        2 => {
            let _permits = block_on(task(semaphore.acquire_many_async(permits))).unwrap();
            work();
        }
        3 => {
            if let Some(_permits) = poll_for_a_while(semaphore.acquire_many_async(permits)) {
                work();
            }
        }
        _ => {
            let _permits = semaphore.acquire_many(permits).unwrap();
            work();
        }
    }
}

fn check_semaphore(times: usize, n: usize, operations: usize) {
    check(times, move || {
        let thing = Arc::new((BoundedSemaphore::new(PERMITS as u32), AtomicUsize::new(0)));
        agents(n, operations, &thing, use_semaphore);
        assert_eq!(thing.0.available() as usize, PERMITS);
    });
}

#[test]
fn a_few_use_permits_in_all_ways() {
    check_semaphore(4_000, 4, 5);
}

#[test]
fn many_use_permits_in_all_ways() {
    check_semaphore(60, 8, 100);
}

// Queues.

type Item = (usize, usize);

/// Puts this item in some way. Says whether it was accepted.
fn put(queue: &Queue<Item>, item: Item) -> bool {
    match any(5) {
        0 => queue.try_put(item).is_ok(),
        1 => queue.put_timeout(item, SOME_TIME).is_ok(),
        2 => block_on(task(queue.put_async(item))).is_ok(),
        _ => queue.put(item).is_ok(),
    }
}

/// Gets an item in some way, or gives up, or finds the queue closed.
fn get(queue: &Queue<Item>, gives_up: bool) -> Option<Result<Item, LockError>> {
    match any(5) {
        0 => queue.try_get().ok().map(Ok),
        1 => match queue.get_timeout(SOME_TIME) {
            Err(LockError::Timeout) => None,
            item => Some(item),
        },
        2 => Some(block_on(task(queue.get_async()))),
        3 if gives_up => poll_for_a_while(queue.get_async()),
        _ => Some(queue.get()),
    }
}

/// Every item that was accepted is got once, and those of one producer in order.
fn check_queue(times: usize, capacity: Option<usize>, producers: usize, operations: usize) {
    check_queue_with(times, capacity, producers, operations, false);
    check_queue_with(times, capacity, producers, operations, true);
}

fn check_queue_with(
    times: usize,
    capacity: Option<usize>,
    producers: usize,
    operations: usize,
    // What was given to one who gave up goes back to the front, so there is no order then.
    gives_up: bool,
) {
    check(times, move || {
        let queue = Arc::new(match capacity {
            Some(capacity) => Queue::bounded(capacity),
            None => Queue::unbounded(),
        });
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let mut items: Vec<Item> = Vec::new();
                    loop {
                        match get(&queue, gives_up) {
                            Some(Ok(item)) => items.push(item),
                            Some(Err(error)) => {
                                assert!(matches!(error, LockError::Closed));
                                return items;
                            }
                            None => {}
                        }
                    }
                })
            })
            .collect();
        let putting: Vec<_> = (0..producers)
            .map(|producer| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    (0..operations)
                        .filter(|n| put(&queue, (producer, *n)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut accepted = Vec::new();
        for (producer, thread) in putting.into_iter().enumerate() {
            accepted.extend(thread.join().unwrap().into_iter().map(|n| (producer, n)));
        }
        queue.close();
        let mut got = Vec::new();
        for consumer in consumers {
            let items = consumer.join().unwrap();
            for producer in 0..producers {
                let numbers = items
                    .iter()
                    .filter(|item| item.0 == producer)
                    .map(|item| item.1);
                assert!(gives_up || numbers.is_sorted());
            }
            got.extend(items);
        }
        got.sort_unstable();
        assert_eq!(got, accepted);
        assert!(queue.is_empty());
    });
}

#[test]
fn items_pass_from_hand_to_hand() {
    check_queue(1_500, Some(0), 2, 5);
}

#[test]
fn a_queue_is_full_at_times() {
    check_queue(1_500, Some(2), 2, 5);
}

#[test]
fn a_queue_has_room_for_everything() {
    check_queue(1_500, None, 2, 5);
}

#[test]
fn many_items_pass_through_a_small_queue() {
    check_queue(30, Some(1), 4, 60);
}

// Condition variables.

/// A buffer with one place, where everybody waits for one condition of two.
#[test]
fn no_notification_is_lost() {
    check(2_000, || {
        let thing = Arc::new((Mutex::new(None::<usize>), Condvar::new(), Condvar::new()));
        let getting = {
            let thing = Arc::clone(&thing);
            thread::spawn(move || {
                let (place, filled, emptied) = &*thing;
                (0..12)
                    .map(|n| {
                        let mut item = if n % 2 == 0 {
                            let item = place.lock().unwrap();
                            filled
                                .wait_while(item, |item| item.is_none())
                                .unwrap()
                                .take()
                        } else {
                            block_on(async {
                                let mut item = place.lock_async().await.unwrap();
                                while item.is_none() {
                                    item = filled.wait_async(item).await.unwrap();
                                }
                                item.take()
                            })
                        };
                        emptied.notify_one();
                        item.take().unwrap()
                    })
                    .sum::<usize>()
            })
        };
        // These wait too, but not for long.
        let passers_by = {
            let thing = Arc::clone(&thing);
            thread::spawn(move || {
                for _ in 0..4 {
                    let waiting = async {
                        let item = thing.0.lock_async().await.unwrap();
                        drop(thing.1.wait_async(item).await);
                    };
                    poll_for_a_while(waiting);
                }
            })
        };
        agents(3, 4, &thing, |(place, filled, emptied)| {
            let item = place.lock().unwrap();
            let mut item = emptied.wait_while(item, |item| item.is_some()).unwrap();
            *item = Some(1);
            drop(item);
            // One of those who pass by may take note of it without any use.
            filled.notify_all();
        });
        assert_eq!(getting.join().unwrap(), 12);
        passers_by.join().unwrap();
    });
}

// The detector.

/// Who has which lock, and who wants which, as they say themselves.
#[derive(Default)]
struct Told {
    holders: Vec<Option<u64>>,
    wanted: std::collections::BTreeMap<u64, usize>,
}

impl Told {
    /// Whether following what each one wants leads back to `frame`.
    fn is_cycle(&self, frame: u64) -> bool {
        let mut present = frame;
        for _ in 0..=self.holders.len() {
            let Some(holder) = self
                .wanted
                .get(&present)
                .and_then(|lock| self.holders[*lock])
            else {
                return false;
            };
            if holder == frame {
                return true;
            }
            present = holder;
        }
        false
    }
}

/// Everybody takes some locks in any order. Whoever is told of a deadlock lets go of all; nobody
/// else is told of one, and all come to an end.
fn check_detector(times: usize, n: usize, locks: usize, operations: usize, awaited: bool) {
    check(times, move || {
        let told = Told {
            holders: vec![None; locks],
            ..Told::default()
        };
        let told = Arc::new(Plain::new(told));
        let locks: Arc<Vec<_>> = Arc::new((0..locks).map(Mutex::new).collect());
        let over = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..n)
            .map(|_| {
                let (locks, over, told) =
                    (Arc::clone(&locks), Arc::clone(&over), Arc::clone(&told));
                thread::spawn(move || {
                    let failed = (0..operations)
                        .filter(|_| {
                            if awaited && any(2) == 0 {
                                block_on(task(hold_some(&locks, &told)))
                            } else {
                                block_on(hold_some_blocking(&locks, &told))
                            }
                        })
                        .count();
                    over.fetch_add(1, Ordering::SeqCst);
                    wake();
                    failed
                })
            })
            .collect();
        let verdicts = detect(|| over.load(Ordering::SeqCst) == n);
        let failed: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(verdicts, failed);
        assert!(locks.iter().all(|lock| !lock.is_locked()));
    });
}

fn some_locks(all: usize) -> Vec<usize> {
    let mut wanted: Vec<_> = (0..all).collect();
    for last in (1..all).rev() {
        wanted.swap(last, any(last + 1));
    }
    wanted.truncate(3);
    wanted
}

macro_rules! hold_some {
    ($name:ident, $lock:ident $($await:tt)*) => {
        /// Takes some of them, and says whether that failed.
        async fn $name(locks: &[Mutex<usize>], told: &Plain<Told>) -> bool {
            let frame = agent::frame();
            let mut held = Vec::new();
            let mut failed = false;
            for lock in some_locks(locks.len()) {
                told.lock().wanted.insert(frame, lock);
                let outcome = locks[lock].$lock()$($await)*;
                match outcome {
                    Ok(guard) => {
                        let mut told = told.lock();
                        told.wanted.remove(&frame);
                        told.holders[lock] = Some(frame);
                        drop(told);
                        held.push(guard);
                    }
                    Err(LockError::Deadlock(_)) => {
                        failed = true;
                        let mut told = told.lock();
                        assert!(told.is_cycle(frame), "it would not have waited for ever");
                        told.wanted.remove(&frame);
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            for guard in held {
                told.lock().holders[*guard] = None;
                drop(guard);
            }
            failed
        }
    };
}

hold_some!(hold_some, lock_async.await);
hold_some!(hold_some_blocking, lock);

#[test]
fn threads_that_wait_for_each_other_are_found_and_no_others() {
    check_detector(3_000, 3, 3, 3, false);
}

#[test]
fn tasks_that_wait_for_each_other_are_found_and_no_others() {
    check_detector(3_000, 3, 3, 3, true);
}

#[test]
fn many_that_wait_for_each_other_are_found_and_no_others() {
    check_detector(100, 6, 5, 12, true);
}
