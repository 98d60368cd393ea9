//! All orders of a few operations.
//!
//! Every model is gone through completely, up to [`PREEMPTIONS`] changes of threads that are forced
//! on them. Loom itself fails where nobody can go on, and where data is used by two at a time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::thread::{self, JoinHandle};

use super::{detect, wake};
use crate::agent::Pulse;
use crate::calls::{self, Call, Origin, Parent, Peer};
use crate::journal;
use crate::report::Mode;
use crate::{
    BoundedSemaphore, Condvar, Event, Frame, Lazy, LockError, Mutex, MutexGuard, Once, Queue,
    RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard, block_on, detector, order, sync,
};

const PREEMPTIONS: usize = 2;

/// Goes through all that can happen in `body`.
fn model(body: impl Fn() + Send + Sync + 'static) {
    model_with(PREEMPTIONS, body);
}

/// The same with fewer preemptions, where there are too many steps for more. Loom's environment
/// variable `LOOM_MAX_PREEMPTIONS` overrules it.
fn model_with(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    // That would ask the environment in the first execution, and in no other one.
    order::set_level(order::Level::Off);
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
        "{} executions in {:.1} s, with {} preemptions at most",
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
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Over at once, in every execution.
const NO_TIME: Duration = Duration::ZERO;
/// May be over at once, but is not over before it begins.
const SOME_TIME: Duration = Duration::from_secs(3600);

/// Does all of these at once with one thing, each on a thread of its own, and hands the thing and
/// the sum of what they return to `after`.
fn all_at_once<L: 'static>(
    make: impl Fn() -> L + Send + Sync + 'static,
    uses: &'static [fn(&L) -> u32],
    after: fn(&L, u32),
) {
    all_at_once_with(PREEMPTIONS, make, uses, after);
}

/// The same with another number of preemptions.
fn all_at_once_with<L: 'static>(
    preemptions: usize,
    make: impl Fn() -> L + Send + Sync + 'static,
    uses: &'static [fn(&L) -> u32],
    after: fn(&L, u32),
) {
    let (here, there) = uses.split_first().unwrap();
    model_with(preemptions, move || {
        let thing = Arc::new(make());
        let threads: Vec<_> = there
            .iter()
            .map(|uses| {
                let thing = Arc::clone(&thing);
                spawn(move || uses(&thing))
            })
            .collect();
        let mut sum = here(&thing);
        for thread in threads {
            sum += thread.join().unwrap();
        }
        after(&thing, sum);
    });
}

mod brief {
    use super::*;
    use crate::brief::Brief;

    #[test]
    fn two_have_it_one_after_the_other() {
        model(|| {
            let lock = Arc::new((Brief::new(), UnsafeCell::new(0)));
            let add = |lock: &(Brief, UnsafeCell<u32>)| {
                lock.0.take();
                // SAFETY: the lock is taken.
                lock.1.with_mut(|sum| unsafe { *sum += 1 });
                lock.0.let_go();
            };
            let other = Arc::clone(&lock);
            let thread = spawn(move || (add(&other), add(&other)));
            add(&lock);
            thread.join().unwrap();
            // SAFETY: nobody else has it any more.
            assert_eq!(lock.1.with(|sum| unsafe { *sum }), 3);
        });
    }
}

mod mutex {
    use super::*;

    type Uses = &'static [fn(&Mutex<Data>) -> u32];

    /// One at a time has the data, nobody waits for ever, and in the end the mutex is free.
    fn check(uses: Uses) {
        all_at_once(|| Mutex::new(Data::default()), uses, after);
    }

    fn check_fair(uses: Uses) {
        all_at_once(|| Mutex::new(Data::default()).fair(), uses, after);
    }

    fn after(mutex: &Mutex<Data>, sum: u32) {
        assert!(!mutex.is_locked());
        assert_eq!(mutex.try_lock().unwrap().get(), sum);
    }

    fn lock(mutex: &Mutex<Data>) -> u32 {
        mutex.lock().unwrap().add(1);
        1
    }

    fn lock_twice(mutex: &Mutex<Data>) -> u32 {
        lock(mutex) + lock(mutex)
    }

    fn try_lock(mutex: &Mutex<Data>) -> u32 {
        mutex.try_lock().map_or(0, |mut data| {
            data.add(1);
            1
        })
    }

    fn lock_fair(mutex: &Mutex<Data>) -> u32 {
        let mut guard = mutex.lock().unwrap();
        guard.add(1);
        MutexGuard::unlock_fair(guard);
        1
    }

    fn timed(mutex: &Mutex<Data>, time: Duration) -> u32 {
        match mutex.lock_timeout(time) {
            Ok(mut data) => {
                data.add(1);
                1
            }
            Err(error) => {
                assert!(matches!(error, LockError::Timeout));
                0
            }
        }
    }

    fn no_time(mutex: &Mutex<Data>) -> u32 {
        timed(mutex, NO_TIME)
    }

    fn some_time(mutex: &Mutex<Data>) -> u32 {
        timed(mutex, SOME_TIME)
    }

    fn awaited(mutex: &Mutex<Data>) -> u32 {
        block_on(mutex.lock_async()).unwrap().add(1);
        1
    }

    fn given_up(mutex: &Mutex<Data>) -> u32 {
        match poll(&mut mutex.lock_async()) {
            Poll::Ready(data) => {
                data.unwrap().add(1);
                1
            }
            Poll::Pending => 0,
        }
    }

    #[test]
    fn a_thread_that_comes_again_and_another() {
        check(&[lock_twice, lock_twice]);
    }

    #[test]
    fn three_threads() {
        check(&[lock, lock, lock]);
    }

    #[test]
    fn three_threads_in_order() {
        check_fair(&[lock, lock, lock]);
    }

    #[test]
    fn whoever_is_woken_may_have_no_time_left() {
        check(&[lock, no_time, lock]);
    }

    #[test]
    fn whoever_waits_may_run_out_of_time() {
        check(&[lock, some_time, lock]);
    }

    #[test]
    fn whoever_waits_in_order_may_run_out_of_time() {
        check_fair(&[lock, some_time, lock]);
    }

    #[test]
    fn a_task_comes_while_a_woken_thread_is_on_its_way() {
        check(&[lock, awaited, lock]);
    }

    #[test]
    fn two_tasks_and_a_thread() {
        check(&[awaited, awaited, lock]);
    }

    #[test]
    fn a_task_is_dropped_at_any_moment() {
        check(&[lock, given_up, awaited]);
    }

    #[test]
    fn a_task_is_dropped_while_threads_wait() {
        check(&[lock, given_up, lock]);
    }

    #[test]
    fn somebody_lets_go_fairly() {
        check(&[lock_fair, lock, some_time]);
    }

    #[test]
    fn somebody_only_tries() {
        check(&[lock_fair, lock, try_lock]);
    }

    #[test]
    fn tasks_get_it_in_the_order_in_which_they_came() {
        model(|| {
            let mutex = Arc::new(Mutex::new(Data::default()));
            let held = mutex.lock().unwrap();
            let (mut first, mut second) = (mutex.lock_async(), mutex.lock_async());
            assert!(poll(&mut first).is_pending());
            assert!(poll(&mut second).is_pending());
            let thread = {
                let mutex = Arc::clone(&mutex);
                spawn(move || lock(&mutex))
            };
            drop(held);
            // The thread may run at any moment, and passes nobody.
            let Poll::Ready(guard) = poll(&mut first) else {
                panic!("it is its turn")
            };
            assert!(poll(&mut second).is_pending());
            drop(guard);
            assert!(poll(&mut second).is_ready());
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_lock_that_is_granted_to_a_dropped_task_goes_on_to_the_next() {
        model(|| {
            let mutex = Arc::new(Mutex::new(Data::default()));
            let held = mutex.lock_owned().unwrap();
            let mut first = mutex.lock_async();
            let mut second = mutex.lock_async();
            assert!(poll(&mut first).is_pending());
            assert!(poll(&mut second).is_pending());
            let thread = spawn(move || drop(held));
            drop(first);
            drop(block_on(second).unwrap());
            thread.join().unwrap();
            assert!(!mutex.is_locked());
        });
    }
}

/// Waits of tasks, which are lent to the queue.
mod lent {
    use super::*;
    use crate::waiter::limbo;

    /// Waits for a lock, but not for longer than a poll.
    async fn at_once(mutex: &Mutex<()>) {
        let mut lock = mutex.lock_async();
        poll_fn(|context| Poll::Ready(Pin::new(&mut lock).poll(context).is_ready())).await;
    }

    /// Has a task do something with two locks while threads let go of them.
    fn check<F: Future + 'static>(preemptions: usize, uses: fn([Arc<Mutex<()>>; 2]) -> F) {
        model_with(preemptions, move || {
            let locks = [(); 2].map(|()| Arc::new(Mutex::new(())));
            let holders = locks.each_ref().map(|lock| {
                let held = lock.lock_owned().unwrap();
                spawn(move || drop(held))
            });
            block_on(uses(locks.clone()));
            holders.map(|holder| holder.join().unwrap());
            assert!(locks.iter().all(|lock| lock.try_lock().is_some()));
            assert_eq!(limbo::count(), 0);
        });
    }

    #[test]
    fn a_task_waits_again_while_it_is_told_of_the_end() {
        check(2, |locks| async move {
            drop(locks[0].lock_async().await.unwrap());
            drop(locks[1].lock_async().await.unwrap());
        });
    }

    #[test]
    fn a_task_drops_its_wait_while_it_is_told_of_the_end() {
        check(2, |locks| async move {
            at_once(&locks[0]).await;
            drop(locks[1].lock_async().await.unwrap());
        });
    }
}

mod rwlock {
    use super::*;

    /// Readers and writers keep each other out, nobody waits for ever, and in the end it is free.
    fn check(uses: &'static [fn(&RwLock<Data>) -> u32]) {
        // What readers note takes many more steps.
        let preemptions = if uses.len() > 2 { 1 } else { PREEMPTIONS };
        all_at_once_with(
            preemptions,
            || RwLock::new(Data::default()),
            uses,
            |lock, sum| {
                assert!(!lock.is_locked());
                assert_eq!(lock.try_write().unwrap().get(), sum);
            },
        );
    }

    fn read(lock: &RwLock<Data>) -> u32 {
        lock.read().unwrap().get();
        0
    }

    fn write(lock: &RwLock<Data>) -> u32 {
        lock.write().unwrap().add(1);
        1
    }

    fn upgrade(lock: &RwLock<Data>) -> u32 {
        let guard = lock.upgradable_read().unwrap();
        let before = guard.get();
        let mut guard = RwLockUpgradableReadGuard::upgrade(guard).unwrap();
        assert_eq!(guard.get(), before);
        guard.add(1);
        1
    }

    fn give_up_upgrading(lock: &RwLock<Data>) -> u32 {
        let guard = lock.upgradable_read().unwrap();
        RwLockUpgradableReadGuard::downgrade(guard).get();
        0
    }

    fn downgrade(lock: &RwLock<Data>) -> u32 {
        let mut guard = lock.write().unwrap();
        guard.add(1);
        let after = guard.get();
        let guard = RwLockWriteGuard::downgrade(guard);
        assert_eq!(guard.get(), after);
        1
    }

    fn timed_write(lock: &RwLock<Data>) -> u32 {
        lock.write_timeout(SOME_TIME).map_or(0, |mut data| {
            data.add(1);
            1
        })
    }

    fn timed_read(lock: &RwLock<Data>) -> u32 {
        if let Ok(data) = lock.read_timeout(SOME_TIME) {
            data.get();
        }
        0
    }

    fn awaited_read(lock: &RwLock<Data>) -> u32 {
        block_on(lock.read_async()).unwrap().get();
        0
    }

    fn awaited_write(lock: &RwLock<Data>) -> u32 {
        block_on(lock.write_async()).unwrap().add(1);
        1
    }

    fn write_given_up(lock: &RwLock<Data>) -> u32 {
        match poll(&mut lock.write_async()) {
            Poll::Ready(data) => {
                data.unwrap().add(1);
                1
            }
            Poll::Pending => 0,
        }
    }

    #[test]
    fn the_last_reader_leaves_while_a_writer_waits() {
        check(&[read, write, read]);
    }

    #[test]
    fn two_writers_and_a_reader() {
        check(&[write, read, write]);
    }

    #[test]
    fn one_upgrades_while_others_read_and_write() {
        check(&[upgrade, read, write]);
    }

    #[test]
    fn two_upgrade() {
        check(&[upgrade, upgrade]);
    }

    #[test]
    fn one_gives_up_the_right_to_upgrade_while_another_wants_it() {
        check(&[give_up_upgrading, upgrade]);
    }

    #[test]
    fn a_writer_goes_on_reading_while_others_read_and_write() {
        check(&[downgrade, read, write]);
    }

    #[test]
    fn readers_behind_a_writer_that_runs_out_of_time() {
        check(&[read, timed_write, read]);
    }

    #[test]
    fn a_reader_runs_out_of_time() {
        check(&[write, timed_read, write]);
    }

    #[test]
    fn readers_behind_a_writer_that_is_dropped() {
        check(&[read, write_given_up, awaited_read]);
    }

    #[test]
    fn tasks_and_threads() {
        check(&[awaited_write, read, awaited_read]);
    }
}

mod others {
    use super::*;

    /// Data that somebody else says may be used.
    #[derive(Default)]
    struct Shared(UnsafeCell<u32>);

    // SAFETY: loom itself checks that nobody reads it while somebody writes.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn get(&self) -> u32 {
            // SAFETY: loom checks that nobody writes meanwhile.
            self.0.with(|data| unsafe { *data })
        }

        fn add(&self, n: u32) {
            // SAFETY: loom checks that nobody else reads or writes meanwhile.
            self.0.with_mut(|data| unsafe { *data += n });
        }
    }

    struct Permitted {
        semaphore: BoundedSemaphore,
        data: Shared,
    }

    fn check_semaphore(permits: u32, uses: &'static [fn(&Permitted) -> u32]) {
        let make = move || Permitted {
            semaphore: BoundedSemaphore::new(permits),
            data: Shared::default(),
        };
        all_at_once(make, uses, |thing, sum| {
            assert_eq!(thing.semaphore.available(), thing.semaphore.total());
            assert_eq!(thing.data.get(), sum);
        });
    }

    fn one(thing: &Permitted) -> u32 {
        let _permit = thing.semaphore.acquire().unwrap();
        thing.data.add(1);
        1
    }

    fn timed(thing: &Permitted) -> u32 {
        thing
            .semaphore
            .acquire_timeout(SOME_TIME)
            .map_or(0, |_permit| {
                thing.data.add(1);
                1
            })
    }

    fn awaited(thing: &Permitted) -> u32 {
        let _permit = block_on(thing.semaphore.acquire_async()).unwrap();
        thing.data.add(1);
        1
    }

    fn given_up(thing: &Permitted) -> u32 {
        match poll(&mut thing.semaphore.acquire_async()) {
            Poll::Ready(permit) => {
                let _permit = permit.unwrap();
                thing.data.add(1);
                1
            }
            Poll::Pending => 0,
        }
    }

    fn two(thing: &Permitted) -> u32 {
        let _permits = thing.semaphore.acquire_many(2).unwrap();
        thing.data.add(1);
        1
    }

    fn only_look(thing: &Permitted) -> u32 {
        let _permit = thing.semaphore.acquire().unwrap();
        thing.data.get();
        0
    }

    #[test]
    fn one_permit() {
        check_semaphore(1, &[one, awaited, one]);
    }

    #[test]
    fn one_permit_and_no_patience() {
        check_semaphore(1, &[one, timed, given_up]);
    }

    #[test]
    fn one_who_wants_two_permits() {
        check_semaphore(2, &[only_look, two, only_look]);
    }

    #[derive(Default)]
    struct Item(Shared);

    fn item() -> Item {
        let item = Item::default();
        item.0.add(1);
        item
    }

    /// What was put and what was got is the same, with what is left.
    fn check_queue(capacity: usize, uses: &'static [fn(&Queue<Item>) -> u32]) {
        all_at_once(
            move || Queue::bounded(capacity),
            uses,
            |queue, balance| {
                let left = queue.try_iter().map(|item| item.0.get()).sum::<u32>();
                assert_eq!(left, balance % 10);
            },
        );
    }

    fn put(queue: &Queue<Item>) -> u32 {
        queue.put(item()).unwrap();
        1
    }

    fn put_timed(queue: &Queue<Item>) -> u32 {
        queue.put_timeout(item(), SOME_TIME).is_ok().into()
    }

    /// One item less, modulo ten.
    fn get(queue: &Queue<Item>) -> u32 {
        10 - queue.get().unwrap().0.get()
    }

    fn get_given_up(queue: &Queue<Item>) -> u32 {
        match poll(&mut queue.get_async()) {
            Poll::Ready(item) => 10 - item.unwrap().0.get(),
            Poll::Pending => 0,
        }
    }

    fn get_timed(queue: &Queue<Item>) -> u32 {
        queue
            .get_timeout(SOME_TIME)
            .map_or(0, |item| 10 - item.0.get())
    }

    fn put_two(queue: &Queue<Item>) -> u32 {
        put(queue) + put(queue)
    }

    #[test]
    fn items_pass_from_hand_to_hand() {
        check_queue(0, &[get, put]);
    }

    #[test]
    fn items_pass_from_hand_to_hand_and_somebody_gives_up() {
        check_queue(0, &[get_timed, put_timed, get_given_up]);
    }

    #[test]
    fn a_queue_is_full_at_times() {
        check_queue(1, &[put_two, get, get]);
    }

    #[test]
    fn an_item_that_nobody_took_is_not_lost() {
        check_queue(1, &[put_two, get, get_given_up]);
    }

    #[test]
    fn an_item_comes_when_the_time_runs_out() {
        check_queue(1, &[put, get_timed, get_timed]);
    }

    #[test]
    fn a_notification_reaches_whoever_waits() {
        let make = || (Mutex::new(Data::default()), Condvar::new());
        all_at_once(make, &[changes, waits, waits], |_, _| ());
    }

    #[test]
    fn a_notification_for_one_who_is_gone_goes_to_another() {
        let make = || (Mutex::new(Data::default()), Condvar::new());
        all_at_once(
            make,
            &[changes_for_one, waits, waits_for_a_moment],
            |_, _| (),
        );
    }

    type Changing = (Mutex<Data>, Condvar);

    fn waits((mutex, changed): &Changing) -> u32 {
        let data = mutex.lock().unwrap();
        changed.wait_while(data, |data| data.get() == 0).unwrap();
        0
    }

    fn waits_for_a_moment((mutex, changed): &Changing) -> u32 {
        block_on(async {
            let data = mutex.lock_async().await.unwrap();
            if data.get() == 0 {
                let _ = poll(&mut Box::pin(changed.wait_async(data)));
            }
        });
        0
    }

    fn changes((mutex, changed): &Changing) -> u32 {
        mutex.lock().unwrap().add(1);
        changed.notify_all();
        0
    }

    fn changes_for_one((mutex, changed): &Changing) -> u32 {
        mutex.lock().unwrap().add(1);
        changed.notify_one();
        0
    }

    #[test]
    fn what_was_done_before_an_event_is_seen_after_it() {
        let make = || (Event::new(), Shared::default());
        fn sets((event, data): &(Event, Shared)) -> u32 {
            data.add(1);
            event.set();
            0
        }
        fn waits((event, data): &(Event, Shared)) -> u32 {
            event.wait().unwrap();
            assert_eq!(data.get(), 1);
            0
        }
        fn looks((event, data): &(Event, Shared)) -> u32 {
            if event.is_set() {
                assert_eq!(data.get(), 1);
            }
            0
        }
        all_at_once(make, &[sets, waits, looks], |_, _| ());
    }

    #[test]
    fn what_is_done_once_is_seen_by_all() {
        let make = || (Once::new(), Shared::default());
        fn needs((once, data): &(Once, Shared)) -> u32 {
            once.call_once(|| data.add(1)).unwrap();
            assert_eq!(data.get(), 1);
            0
        }
        all_at_once(make, &[needs, needs, needs], |_, _| ());
    }

    #[test]
    fn a_lazy_value_is_made_once_and_seen_by_all() {
        fn needs(lazy: &Lazy<Item>) -> u32 {
            assert_eq!(Lazy::get(lazy).unwrap().0.get(), 1);
            0
        }
        all_at_once(
            || Lazy::new(item as fn() -> Item),
            &[needs, needs],
            |_, _| (),
        );
    }
}

mod detecting {
    use super::*;

    type Locks = (Mutex<()>, Mutex<()>, RwLock<()>);

    /// Does both at once while a detector looks on. They return how many of their waits failed, which
    /// is as often as the detector says.
    fn check(preemptions: usize, first: fn(&Locks) -> usize, second: fn(&Locks) -> usize) {
        check_with(preemptions, first, second, |found| assert!(found < 2));
    }

    /// The same where nobody can wait for ever.
    fn check_harmless(preemptions: usize, first: fn(&Locks) -> usize, second: fn(&Locks) -> usize) {
        check_with(preemptions, first, second, |found| assert_eq!(found, 0));
    }

    fn check_with(
        preemptions: usize,
        first: fn(&Locks) -> usize,
        second: fn(&Locks) -> usize,
        expected: fn(usize),
    ) {
        model_with(preemptions, move || {
            let locks = Arc::new((Mutex::new(()), Mutex::new(()), RwLock::new(())));
            let over = Arc::new(AtomicUsize::new(0));
            let threads = [first, second].map(|uses| {
                let (locks, over) = (Arc::clone(&locks), Arc::clone(&over));
                spawn(move || {
                    let failed = uses(&locks);
                    over.fetch_add(1, Ordering::SeqCst);
                    wake();
                    failed
                })
            });
            let verdicts = detect(|| over.load(Ordering::SeqCst) == 2);
            let failed: usize = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            assert_eq!(failed, verdicts);
            expected(verdicts);
            assert!(!locks.0.is_locked() && !locks.1.is_locked() && !locks.2.is_locked());
        });
    }

    fn failed<T>(outcome: Result<T, LockError>) -> usize {
        match outcome {
            Err(LockError::Deadlock(report)) => {
                assert!(!report.members.is_empty());
                1
            }
            _ => 0,
        }
    }

    /// The same where the first one also calls others, which are served on threads of their own.
    fn check_calls(
        preemptions: usize,
        first: fn(&Arc<Locks>) -> usize,
        second: fn(&Arc<Locks>) -> usize,
        expected: fn(usize),
    ) {
        model_with(preemptions, move || {
            let locks = Arc::new((Mutex::new(()), Mutex::new(()), RwLock::new(())));
            let over = Arc::new(AtomicUsize::new(0));
            let threads = [first, second].map(|uses| {
                let (locks, over) = (Arc::clone(&locks), Arc::clone(&over));
                spawn(move || {
                    let failed = uses(&locks);
                    over.fetch_add(1, Ordering::SeqCst);
                    wake();
                    failed
                })
            });
            let verdicts = detect(|| over.load(Ordering::SeqCst) == 2);
            let failed = threads.map(|thread| thread.join().unwrap());
            assert_eq!(failed.iter().sum::<usize>(), verdicts);
            expected(verdicts);
            assert!(!locks.0.is_locked() && !locks.1.is_locked());
        });
    }

    struct Here;

    impl Peer for Here {
        fn describe(&self) -> String {
            String::new()
        }
    }

    /// Calls `serve`, and waits for its answer.
    fn call(locks: &Arc<Locks>, serve: fn(&Locks) -> usize) -> usize {
        let out = calls::begin(Call {
            peer: Arc::new(Here),
            away: false,
            timed: false,
            site: None,
        });
        let origin = Origin {
            chain: out.chain(),
            elder: out.frame(),
            depth: 1,
            parent: Some(Parent {
                call: out.id(),
                frame: out.frame(),
                opaque: false,
            }),
            ancestors: None,
        };
        let (frame, locks) = (Frame::from_call("served", origin), Arc::clone(locks));
        spawn(move || frame.enter(|| serve(&locks))).join().unwrap()
    }

    #[test]
    fn a_call_comes_back_to_what_its_caller_holds() {
        fn comes_back(locks: &Arc<Locks>) -> usize {
            let _a = locks.0.lock().unwrap();
            call(locks, |(a, _, _)| failed(a.lock()))
        }
        check_calls(2, comes_back, |_| 0, |found| assert_eq!(found, 1));
    }

    #[test]
    fn a_call_wants_what_somebody_has_who_may_wait_for_its_caller() {
        fn a_then_calls_b(locks: &Arc<Locks>) -> usize {
            let _a = locks.0.lock().unwrap();
            call(locks, |(_, b, _)| failed(b.lock()))
        }
        check_calls(
            1,
            a_then_calls_b,
            |locks| b_then_a(locks),
            |found| assert!(found < 2),
        );
    }

    #[test]
    fn a_call_ends_while_it_is_looked_at() {
        fn calls_b_then_waits(locks: &Arc<Locks>) -> usize {
            let held = locks.0.lock().unwrap();
            call(locks, |(_, b, _)| {
                drop(b.lock().unwrap());
                0
            });
            drop(held);
            drop(locks.1.lock().unwrap());
            0
        }
        let other = |locks: &Arc<Locks>| b_and_a_then_b_again(locks);
        check_calls(1, calls_b_then_waits, other, |found| assert_eq!(found, 0));
    }

    fn a_then_b((a, b, _): &Locks) -> usize {
        let _a = a.lock().unwrap();
        failed(b.lock())
    }

    fn b_then_a((a, b, _): &Locks) -> usize {
        let _b = b.lock().unwrap();
        failed(a.lock())
    }

    fn b_then_a_for_a_while((a, b, _): &Locks) -> usize {
        let _b = b.lock().unwrap();
        failed(a.lock_timeout(SOME_TIME))
    }

    fn b_and_a_then_b_again((a, b, _): &Locks) -> usize {
        drop(b.lock().unwrap());
        drop(a.lock().unwrap());
        drop(b.lock().unwrap());
        0
    }

    fn read_then_a((a, _, r): &Locks) -> usize {
        let _r = r.read().unwrap();
        failed(a.lock())
    }

    fn a_then_write((a, _, r): &Locks) -> usize {
        let _a = a.lock().unwrap();
        failed(r.write())
    }

    fn read_and_a_then_read_again((a, _, r): &Locks) -> usize {
        drop(r.read().unwrap());
        drop(a.lock().unwrap());
        drop(r.read().unwrap());
        0
    }

    fn a_then_b_as_a_task((a, b, _): &Locks) -> usize {
        block_on(async {
            let _a = a.lock_async().await.unwrap();
            failed(b.lock_async().await)
        })
    }

    fn a_again_as_a_task((a, _, _): &Locks) -> usize {
        block_on(async {
            for _ in 0..2 {
                drop(a.lock_async().await.unwrap());
            }
        });
        0
    }

    fn a_and_b_as_a_task((a, b, _): &Locks) -> usize {
        block_on(async {
            let held = a.lock_async().await.unwrap();
            drop(b.lock_async().await.unwrap());
            drop(held);
        });
        0
    }

    #[test]
    fn a_task_that_waits_again_is_not_taken_for_the_one_that_waited_before() {
        check_harmless(1, a_again_as_a_task, a_and_b_as_a_task);
    }

    #[test]
    fn two_threads_that_wait_for_each_other() {
        check(1, a_then_b, b_then_a);
    }

    #[test]
    fn two_threads_one_of_which_may_run_out_of_time() {
        check(1, a_then_b, b_then_a_for_a_while);
    }

    #[test]
    fn a_task_and_a_thread_that_wait_for_each_other() {
        check(1, a_then_b_as_a_task, b_then_a);
    }

    #[test]
    fn a_reader_and_a_writer_that_wait_for_each_other() {
        check(1, read_then_a, a_then_write);
    }

    #[test]
    fn two_threads_that_wait_for_the_same_at_different_times() {
        check_harmless(1, a_then_b, b_and_a_then_b_again);
    }

    #[test]
    fn a_writer_and_one_that_reads_again_and_again() {
        check_harmless(1, a_then_write, read_and_a_then_read_again);
    }

    #[test]
    fn a_task_that_something_else_will_wake_is_not_stuck() {
        model_with(2, || {
            let locks = Arc::new((Mutex::new(()), Mutex::new(())));
            let signal = Arc::new(sync::Mutex::new((false, None::<Waker>)));
            let task = {
                let (locks, signal) = (Arc::clone(&locks), Arc::clone(&signal));
                spawn(move || {
                    block_on(async {
                        let _a = locks.0.lock_async().await.unwrap();
                        let mut b = locks.1.lock_async();
                        poll_fn(|context| {
                            if let Poll::Ready(outcome) = Pin::new(&mut b).poll(context) {
                                return Poll::Ready(failed(outcome));
                            }
                            let mut signal = signal.lock();
                            signal.1 = Some(context.waker().clone());
                            if signal.0 {
                                Poll::Ready(0)
                            } else {
                                Poll::Pending
                            }
                        })
                        .await
                    })
                })
            };
            let thread = {
                let locks = Arc::clone(&locks);
                spawn(move || {
                    let _b = locks.1.lock().unwrap();
                    failed(locks.0.lock())
                })
            };
            assert_eq!(detector::settle(), 0);
            let waker = {
                let mut signal = signal.lock();
                signal.0 = true;
                signal.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            assert_eq!(task.join().unwrap() + thread.join().unwrap(), 0);
        });
    }

    #[test]
    fn a_lock_is_dropped_while_it_is_looked_at() {
        model(|| {
            let mutex = Arc::new(Mutex::new(()));
            let held = mutex.lock_owned().unwrap();
            let mut forgotten = mutex.lock_async();
            assert!(poll(&mut forgotten).is_pending());
            std::mem::forget(forgotten);
            let thread = spawn(move || drop(held));
            let looker = spawn(detector::settle);
            drop(mutex);
            thread.join().unwrap();
            assert_eq!(looker.join().unwrap(), 0);
        });
    }

    #[test]
    fn a_task_that_is_woken_while_it_falls_asleep_counts_as_awake() {
        model(|| {
            let pulse = Arc::new((Pulse::default(), AtomicBool::new(false)));
            let waker = {
                let pulse = Arc::clone(&pulse);
                spawn(move || {
                    pulse.1.store(true, Ordering::Release);
                    pulse.0.wake();
                })
            };
            let looker = {
                let pulse = Arc::clone(&pulse);
                spawn(move || (pulse.0.read(), pulse.0.read()))
            };
            let mut seen = false;
            for _ in 0..2 {
                let began = pulse.0.begin();
                if pulse.1.load(Ordering::Acquire) {
                    seen = true;
                    break;
                }
                pulse.0.sleep_after(began, 0);
            }
            waker.join().unwrap();
            let (first, second) = looker.join().unwrap();
            assert!(first <= second);
            assert!(seen || !Pulse::sleeps(pulse.0.read()));
        });
    }

    #[test]
    fn a_task_falls_asleep_though_others_drop_waits_of_it() {
        model(|| {
            let pulse = Arc::new(Pulse::default());
            for _ in 0..3 {
                pulse.wake_with_idle();
            }
            let dropper = {
                let pulse = Arc::clone(&pulse);
                spawn(move || pulse.take_idle(1))
            };
            let began = pulse.begin();
            assert!(pulse.sleep_after(began, 1));
            dropper.join().unwrap();
            let now = pulse.read();
            assert_eq!((Pulse::sleeps(now), Pulse::idle(now)), (true, 1));
        });
    }

    #[test]
    fn what_is_noted_of_a_reader_fits_together() {
        model(|| {
            let site = std::panic::Location::caller();
            let writer = spawn(move || {
                let slot = journal::note(7, Mode::Read, 70, site).unwrap();
                slot.clear();
                let slot = journal::note(8, Mode::UpgradableRead, 80, site).unwrap();
                slot.clear();
            });
            for lock in [7, 8] {
                for reader in journal::readers(lock) {
                    assert_eq!(reader.frame, lock * 10);
                    assert!(reader.site.is_some());
                }
            }
            writer.join().unwrap();
            assert!(journal::readers(7).is_empty() && journal::readers(8).is_empty());
        });
    }
}
