//! The face of `lock_api`: what `parking_lot` promises holds, and a deadlock is a panic.

#![cfg(all(feature = "deadlock-detection", not(any(loom, shuttle))))]

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_sync::lock_api::{
    FairMutex, FairMutexGuard, MappedMutexGuard, MappedRwLockReadGuard, Mutex, MutexGuard,
    RawFairMutex, RawMutex, RawRwLock, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
    RwLockWriteGuard, const_mutex, const_rwlock,
};
use antifreeze_sync::{Frame, detector, order};

const LONG: Duration = Duration::from_secs(60);

fn named<T>(name: &'static str, value: T) -> Mutex<T> {
    Mutex::from_raw(RawMutex::named(name), value)
}

/// The text of the panic in which `f` ends.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it should have panicked"),
        Err(payload) => text(payload.as_ref()),
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    payload.downcast_ref::<String>().expect("a message").clone()
}

/// Waits until somebody waits for a lock of this name.
fn until_waited_for(name: &str) {
    while !detector::snapshot().to_string().contains(name) {
        thread::yield_now();
    }
}

// One program on both.

fn count_together<R: lock_api::RawMutex + Send + Sync>() -> u32 {
    let total = lock_api::Mutex::<R, u32>::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| *total.lock() += 1));
        }
    });
    total.into_inner()
}

fn read_and_write<R>() -> (u32, u32)
where
    R: lock_api::RawRwLockUpgradeDowngrade
        + lock_api::RawRwLockRecursive
        + lock_api::RawRwLockTimed<Duration = Duration>
        + Send
        + Sync,
{
    let cell = lock_api::RwLock::<R, (u32, u32)>::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let mut both = cell.write();
                    both.0 += 1;
                    thread::yield_now();
                    both.1 += 1;
                    let both = lock_api::RwLockWriteGuard::downgrade(both);
                    assert_eq!(both.0, both.1);
                }
            });
            scope.spawn(|| {
                for _ in 0..300 {
                    let both = cell.upgradable_read();
                    let before = *both;
                    let mut both = lock_api::RwLockUpgradableReadGuard::upgrade(both);
                    assert_eq!(*both, before, "nobody wrote in between");
                    both.0 += 1;
                    both.1 += 1;
                    let both = lock_api::RwLockWriteGuard::downgrade_to_upgradable(both);
                    let both = lock_api::RwLockUpgradableReadGuard::downgrade(both);
                    assert_eq!(both.0, both.1);
                }
            });
            scope.spawn(|| {
                for _ in 0..300 {
                    let first = cell.read();
                    let again = cell.read_recursive();
                    assert_eq!(first.0, again.1);
                    drop(first);
                    assert_eq!(again.0, again.1);
                    drop(again);
                    drop(cell.try_write_for(Duration::from_micros(1)));
                }
            });
        }
    });
    cell.into_inner()
}

#[test]
fn generic_programs_count_alike() {
    assert_eq!(count_together::<parking_lot::RawMutex>(), 4000);
    assert_eq!(count_together::<RawMutex>(), 4000);
    assert_eq!(count_together::<RawFairMutex>(), 4000);
    assert_eq!(read_and_write::<parking_lot::RawRwLock>(), (1200, 1200));
    assert_eq!(read_and_write::<RawRwLock>(), (1200, 1200));
}

// What `parking_lot` promises.

#[test]
fn a_mutex_excludes_and_lets_go() {
    let mut mutex = Mutex::new(vec![1, 2]);
    assert_eq!(format!("{mutex:?}"), "Mutex { data: [1, 2] }");
    let guard = mutex.lock();
    assert!(mutex.is_locked() && mutex.try_lock().is_none());
    assert_eq!(format!("{mutex:?}"), "Mutex { data: <locked> }");
    drop(guard);
    assert!(!mutex.is_locked());
    mutex.get_mut().push(3);
    assert_eq!(mutex.into_inner(), [1, 2, 3]);
}

#[test]
fn data_may_be_unsized() {
    let mutex: &Mutex<[u32]> = &Mutex::new([1, 2, 3]);
    mutex.lock()[0] = 4;
    let lock: &RwLock<[u32]> = &RwLock::new([1, 2, 3]);
    lock.write()[2] = 5;
    assert_eq!(
        (&*mutex.lock(), &*lock.read()),
        (&[4, 2, 3][..], &[1, 2, 5][..])
    );
}

#[test]
fn nothing_is_poisoned() {
    let mutex = Mutex::new(1);
    let lock = RwLock::new(1);
    panic_of(|| {
        let (_mutex, _lock) = (mutex.lock(), lock.write());
        panic!("{}", "while holding both");
    });
    panic_of(|| {
        let _lock = lock.read();
        panic!("{}", "while reading");
    });
    assert_eq!((*mutex.lock(), *lock.write()), (1, 1));
}

#[test]
fn a_lock_can_be_taken_while_unwinding() {
    struct AddsWhenDropped<'a>(&'a Mutex<u32>);
    impl Drop for AddsWhenDropped<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }
    let mutex = Mutex::new(1);
    panic_of(|| {
        let _adds = AddsWhenDropped(&mutex);
        panic!("{}", "now");
    });
    assert_eq!(*mutex.lock(), 2);
}

#[test]
fn a_guard_may_outlive_its_thread_locals() {
    struct WritesWhenDropped(RwLock<()>);
    impl Drop for WritesWhenDropped {
        fn drop(&mut self) {
            drop(self.0.write());
            drop(self.0.read());
        }
    }
    thread_local! {
        static LAST: WritesWhenDropped = const { WritesWhenDropped(RwLock::new(())) };
    }
    thread_local! {
        static KEPT: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
    }
    static LOCK: RwLock<()> = const_rwlock(());
    let thread = thread::spawn(|| {
        KEPT.with(|kept| *kept.borrow_mut() = None);
        LAST.with(|_| ());
        KEPT.with(|kept| *kept.borrow_mut() = Some(LOCK.read()));
    });
    thread.join().unwrap();
    drop(
        LOCK.try_write_for(LONG)
            .expect("the reader is gone with its thread"),
    );
}

#[test]
fn guards_go_on_with_a_part() {
    let mutex = Mutex::new((1, "two"));
    let first: MappedMutexGuard<'_, u32> = MutexGuard::map(mutex.lock(), |both| &mut both.0);
    assert!(mutex.is_locked());
    drop(first);
    let refused = MutexGuard::try_map(mutex.lock(), |_| None::<&mut u32>);
    assert_eq!(refused.expect_err("the whole").1, "two");
    assert!(!mutex.is_locked());

    let lock = RwLock::new((1, "two"));
    let second: MappedRwLockReadGuard<'_, &str> = RwLockReadGuard::map(lock.read(), |both| &both.1);
    assert!(lock.try_write().is_none() && lock.try_read().is_some());
    drop(second);
    let first = RwLockWriteGuard::map(lock.write(), |both| &mut both.0);
    assert!(lock.is_locked_exclusive());
    drop(first);
    assert!(!lock.is_locked());
}

#[test]
fn who_may_be_in_together() {
    let lock = RwLock::new(());
    let free = |lock: &RwLock<()>| {
        let read = lock.try_read().is_some();
        let upgradable = lock.try_upgradable_read().is_some();
        let write = lock.try_write().is_some();
        [read, upgradable, write]
    };
    assert_eq!(free(&lock), [true, true, true]);
    let guard = lock.read();
    assert_eq!(free(&lock), [true, true, false]);
    drop(guard);
    let guard = lock.upgradable_read();
    assert_eq!(free(&lock), [true, false, false]);
    let guard = RwLockUpgradableReadGuard::upgrade(guard);
    assert_eq!(free(&lock), [false, false, false]);
    let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
    assert_eq!(free(&lock), [true, false, false]);
    let guard = RwLockUpgradableReadGuard::downgrade(guard);
    assert_eq!(free(&lock), [true, true, false]);
    drop(guard);
    let guard = lock.write();
    assert_eq!(free(&lock), [false, false, false]);
    let guard = RwLockWriteGuard::downgrade(guard);
    assert_eq!(free(&lock), [true, true, false]);
    drop(guard);
    let mut guard = lock.upgradable_read();
    guard.with_upgraded(|()| assert_eq!(free(&lock), [false, false, false]));
    RwLockUpgradableReadGuard::bump(&mut guard);
    assert_eq!(free(&lock), [true, false, false]);
    drop(guard);
    assert_eq!(free(&lock), [true, true, true]);
}

#[test]
fn a_recursive_read_passes_a_waiting_writer() {
    let lock = Arc::new(RwLock::from_raw(RawRwLock::named("recursive"), 1));
    let first = lock.read();
    let writer = thread::spawn({
        let lock = Arc::clone(&lock);
        move || *lock.write() += 1
    });
    until_waited_for("recursive");
    // Nobody can know that the first reader waits for this one.
    let (tell, told) = mpsc::channel();
    let other = thread::spawn({
        let lock = Arc::clone(&lock);
        move || tell.send(*lock.read_recursive()).unwrap()
    });
    assert_eq!(told.recv_timeout(LONG), Ok(1));
    assert_eq!(lock.try_read_recursive_for(LONG).as_deref(), Some(&1));
    drop(first);
    other.join().unwrap();
    writer.join().unwrap();
    assert_eq!(*lock.read(), 2);
}

#[test]
fn time_runs_out() {
    let (mutex, lock) = (Mutex::new(()), RwLock::new(()));
    let (_mutex, read) = (mutex.lock(), lock.read());
    let soon = Duration::from_millis(5);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(mutex.try_lock_for(soon).is_none());
            assert!(mutex.try_lock_until(Instant::now()).is_none());
            assert!(lock.try_write_for(soon).is_none());
            assert!(lock.try_read_for(soon).is_some());
            let upgradable = lock.try_upgradable_read_for(soon).unwrap();
            let upgradable = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, soon)
                .expect_err("another thread reads");
            assert!(RwLockUpgradableReadGuard::try_upgrade(upgradable).is_err());
        });
    });
    drop(read);
    assert!(lock.try_write_for(soon).is_some());
}

#[test]
fn a_bump_gives_the_lock_to_who_waits() {
    let mutex = FairMutex::from_raw(RawFairMutex::named("bumped"), Vec::new());
    let mut guard = mutex.lock();
    thread::scope(|scope| {
        scope.spawn(|| mutex.lock().push("the one who waited"));
        until_waited_for("bumped");
        FairMutexGuard::bump(&mut guard);
        guard.push("the one who bumped");
    });
    assert_eq!(*guard, ["the one who waited", "the one who bumped"]);
}

// Deadlocks.

#[test]
fn a_cycle_is_a_panic_of_one_and_the_other_goes_on() {
    let (left, right) = (named("left", 0), named("right", 0));
    let both = Barrier::new(2);
    let take_both = |first: &Mutex<u32>, second: &Mutex<u32>| {
        let mut first = first.lock();
        both.wait();
        let mut second = second.lock();
        *first += 1;
        *second += 1;
    };
    let outcomes = thread::scope(|scope| {
        let anna = scope.spawn(|| take_both(&left, &right));
        let bert = scope.spawn(|| take_both(&right, &left));
        [anna.join(), bert.join()]
    });
    let reports: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(reports.len(), 1, "one is enough");
    let report = text(reports[0].as_ref());
    for part in [
        "deadlock",
        "Mutex \"left\"",
        "Mutex \"right\"",
        "tests/lock_api.rs",
    ] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    assert_eq!((*left.lock(), *right.lock()), (1, 1));
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let mutex = Mutex::new(());
    let lock = RwLock::new(());
    let report = panic_of(|| {
        let _first = mutex.lock();
        let _again = mutex.lock();
    });
    assert!(
        report.contains("deadlock") && report.contains("tests/lock_api.rs"),
        "{report}"
    );
    let report = panic_of(|| {
        let _reads = lock.read();
        let _writes = lock.write();
    });
    assert!(report.contains("upgradable_read"), "{report}");
    let report = panic_of(|| {
        let _writes = lock.write();
        let _reads = lock.read();
    });
    assert!(report.contains("deadlock"), "{report}");
    assert!(!mutex.is_locked() && !lock.is_locked());
}

#[test]
fn a_wait_with_a_deadline_ends_early() {
    let mutex = Mutex::new(());
    let _first = mutex.lock();
    let begun = Instant::now();
    assert!(mutex.try_lock_for(LONG).is_none());
    assert!(begun.elapsed() < LONG);
}

#[test]
fn two_readers_that_want_to_write_are_told() {
    let lock = RwLock::from_raw(RawRwLock::named("shared"), 0);
    let both = Barrier::new(2);
    let read_then_write = || {
        let read = lock.read();
        both.wait();
        let mut write = lock.try_write_for(LONG);
        if let Some(write) = &mut write {
            **write += *read;
        }
        write.is_some()
    };
    let outcomes = thread::scope(|scope| {
        let threads = [scope.spawn(read_then_write), scope.spawn(read_then_write)];
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(outcomes, [false, false]);
    assert!(lock.try_write().is_some());
}

#[test]
fn a_failed_upgrade_leaves_what_was_read() {
    let lock = RwLock::from_raw(RawRwLock::named("upgraded"), 0);
    let mutex = named("held by the one who upgrades", ());
    let both = Barrier::new(2);
    let (upgrade, other) = thread::scope(|scope| {
        let upgrade = scope.spawn(|| {
            let upgradable = lock.upgradable_read();
            let _mutex = mutex.lock();
            both.wait();
            *RwLockUpgradableReadGuard::upgrade(upgradable) += 1;
        });
        let other = scope.spawn(|| {
            let _read = lock.read();
            both.wait();
            drop(mutex.lock());
        });
        (upgrade.join(), other.join())
    });
    assert!(upgrade.is_err() != other.is_err(), "one is enough");
    assert_eq!(*lock.write(), u32::from(upgrade.is_ok()));
    assert!(!mutex.is_locked());
}

#[test]
fn a_guard_is_never_without_its_lock() {
    /// `unlocked` takes the lock, and has the closure called while it is let go for a while.
    fn check<L: Sync>(first: &L, unlocked: fn(&L, &dyn Fn()), lock: fn(&L, &dyn Fn())) {
        let second = named("kept", 0);
        // Whoever is chosen first, it ends with the panic of the one who can. The younger is chosen.
        for keeper_is_younger in [true, false] {
            let entered = AtomicBool::new(false);
            let (is_born, is_unlocked) = (Barrier::new(2), Barrier::new(2));
            thread::scope(|scope| {
                let keeps = scope.spawn(|| {
                    if keeper_is_younger {
                        is_born.wait();
                    }
                    let _second = second.lock();
                    unlocked(first, &|| {
                        is_unlocked.wait();
                        while !entered.load(Ordering::SeqCst) {
                            thread::yield_now();
                        }
                    });
                });
                let other = scope.spawn(|| {
                    if keeper_is_younger {
                        drop(second.lock());
                        is_born.wait();
                    }
                    is_unlocked.wait();
                    lock(first, &|| {
                        entered.store(true, Ordering::SeqCst);
                        drop(second.lock());
                    });
                });
                let report = text(other.join().expect_err("it has to give way").as_ref());
                assert!(report.contains("\"kept\""), "{report}");
                keeps.join().unwrap();
            });
        }
    }
    let lock = |first: &Mutex<u32>, then: &dyn Fn()| {
        let _first = first.lock();
        then();
    };
    let write = |first: &RwLock<u32>, then: &dyn Fn()| {
        let _first = first.write();
        then();
    };
    let mutex = Mutex::new(0);
    check(
        &mutex,
        |first, then| MutexGuard::unlocked(&mut first.lock(), then),
        lock,
    );
    check(
        &mutex,
        |first, then| MutexGuard::unlocked_fair(&mut first.lock(), then),
        lock,
    );
    let rwlock = RwLock::new(0);
    check(
        &rwlock,
        |first, then| RwLockReadGuard::unlocked(&mut first.read(), then),
        write,
    );
    check(
        &rwlock,
        |first, then| RwLockWriteGuard::unlocked(&mut first.write(), then),
        write,
    );
    let upgradable = |first: &RwLock<u32>, then: &dyn Fn()| {
        RwLockUpgradableReadGuard::unlocked(&mut first.upgradable_read(), then);
    };
    check(&rwlock, upgradable, write);
    assert!(mutex.try_lock().is_some() && rwlock.try_write().is_some());
}

#[test]
fn a_reader_in_two_roles_is_nobody_once_one_of_them_ends() {
    let lock = RwLock::from_raw(RawRwLock::named("in two roles"), ());
    let call = Frame::new("call");
    let as_thread = lock.read();
    let as_call = call.enter(|| lock.read());
    drop(as_thread);
    // It is the call that reads now, though the guard is with the thread; so nothing is claimed.
    thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.write()));
        until_waited_for("in two roles");
        detector::settle();
        until_waited_for("in two roles");
        drop(as_call);
        writer.join().unwrap();
    });
    assert!(!lock.is_locked());
}

// Lock order.

#[test]
fn orders_are_watched_where_the_place_is_known() {
    order::set_level(order::Level::Warn);
    fn in_both_orders(first: &Mutex<()>, second: &Mutex<()>) {
        for (outer, inner) in [(first, second), (second, first)] {
            let _outer = outer.lock();
            drop(inner.lock());
        }
    }
    let warned = |of: &str| {
        let warnings = order::warnings();
        warnings
            .iter()
            .any(|warning| warning.to_string().contains(of))
    };
    in_both_orders(&named("egg", ()), &named("hen", ()));
    assert!(warned("hen"));
    let before = order::warnings().len();
    in_both_orders(&const_mutex(()), &const_mutex(()));
    assert!(order::warnings().len() > before);
    assert!(warned("tests/lock_api.rs"));
    in_both_orders(&Mutex::new(()), &Mutex::new(()));
    assert!(!warned("src/lock_api.rs"));
}

#[test]
fn a_panic_about_the_order_leaves_no_lock_behind() {
    // In a process of its own: the level is everybody's.
    if std::env::var_os("ANTIFREEZE_TEST_ORDER").is_none() {
        let test = "a_panic_about_the_order_leaves_no_lock_behind";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact"])
            .env("ANTIFREEZE_TEST_ORDER", "1")
            .env("ANTIFREEZE_LOCKDEP", "panic")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let mutex = named("ordered mutex", ());
    let lock = RwLock::from_raw(RawRwLock::named("ordered lock"), ());
    let write_last = || {
        let _mutex = mutex.lock();
        drop(lock.write());
    };
    write_last();
    let report = panic_of(|| {
        let _lock = lock.write();
        drop(mutex.lock());
    });
    assert!(report.contains("ordered mutex"), "{report}");
    assert!(!mutex.is_locked() && !lock.is_locked());
    write_last();
}
