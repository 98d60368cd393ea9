//! Several mutexes at once: nobody waits in a ring, and nobody is warned of an order.

#![cfg(all(feature = "deadlock-detection", not(any(loom, shuttle))))]

use std::panic::Location;
use std::sync::{Arc, Barrier};
use std::thread;

use antifreeze_sync::{
    AsyncMutexGuard, LockError, Mutex, MutexGuard, block_on, lock_all, lock_all_async, order, task,
};

fn mutexes<const N: usize>(name: &'static str) -> [Mutex<usize>; N] {
    std::array::from_fn(|index| Mutex::named(name, index))
}

#[test]
fn guards_come_in_the_order_in_which_the_mutexes_were_given() -> Result<(), LockError> {
    let [a, b, c] = &mutexes("given");
    for [x, y, z] in [[a, b, c], [c, b, a], [b, c, a]] {
        let expected = [x, y, z].map(|mutex| mutex.lock().map(|data| *data).unwrap());
        assert_eq!(lock_all([x, y, z])?.map(|guard| *guard), expected);
        assert_eq!(lock_all(&[x, y, z])?.map(|guard| *guard), expected);
        let (gx, gy, gz) = lock_all((x, y, z))?;
        assert_eq!([*gx, *gy, *gz], expected);
        drop((gx, gy, gz));
        let some: Vec<MutexGuard<'_, usize>> = lock_all(&[x, y, z][..])?;
        assert_eq!(
            some.iter().map(|guard| **guard).collect::<Vec<_>>(),
            expected
        );
        drop(some);
        let all: [AsyncMutexGuard<'_, usize>; 3] = block_on(lock_all_async([x, y, z]))?;
        assert_eq!(all.map(|guard| *guard), expected);
    }
    assert!(!a.is_locked() && !b.is_locked() && !c.is_locked());
    Ok(())
}

#[test]
fn types_may_differ() -> Result<(), LockError> {
    struct Shop {
        names: Mutex<Vec<String>>,
        count: Arc<Mutex<usize>>,
    }
    let shop = Shop {
        names: Mutex::default(),
        count: Arc::default(),
    };
    let unsized_data: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    {
        let (mut names, mut count, mut bytes) = lock_all!(shop.names, shop.count, unsized_data)?;
        names.push("anna".into());
        *count = names.len();
        bytes[0] = 7;
        assert!(shop.names.is_locked() && shop.count.is_locked() && unsized_data.is_locked());
    }
    let (names, count) = block_on(async { lock_all_async!(&shop.names, shop.count).await })?;
    assert_eq!((&names[..], *count), (&["anna".to_owned()][..], 1));
    Ok(())
}

#[test]
fn none_at_all_is_nothing() -> Result<(), LockError> {
    assert!(lock_all::<&[&Mutex<u8>]>(&[])?.is_empty());
    let _: [MutexGuard<'_, u8>; 0] = lock_all([])?;
    Ok(())
}

#[test]
fn a_mutex_cannot_be_given_twice() {
    #[track_caller]
    fn check(outcome: Result<(), LockError>) {
        let error = outcome.expect_err("it is there twice");
        let text = error.deadlock().expect("a deadlock").to_string();
        let line = format!("tests/lock_all.rs:{}", Location::caller().line());
        assert!(
            text.contains("\"twice\"") && text.contains(&line),
            "{line}: {text}"
        );
    }
    let [a, b] = &mutexes("twice");
    check(lock_all([a, b, a]).map(drop));
    check(lock_all(&[b, b][..]).map(drop));
    check(lock_all!(a, b, a).map(drop));
    check(block_on(lock_all_async([a, a])).map(drop));
    check(block_on(lock_all_async((b, a, a))).map(drop));
    assert!(!a.is_locked() && !b.is_locked());
}

#[test]
fn nobody_waits_in_a_ring() {
    const THREADS: usize = 4;
    let all = &mutexes::<THREADS>("ring");
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for first in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                let mine: Vec<_> = (0..3).map(|step| &all[(first + step) % THREADS]).collect();
                start.wait();
                for round in 0..500 {
                    if round % 2 == 0 {
                        lock_all(&mine[..])
                            .unwrap()
                            .iter_mut()
                            .for_each(|data| **data += 1);
                    } else {
                        let turned = async { lock_all_async!(mine[2], mine[0], mine[1]).await };
                        let (mut x, mut y, mut z) = block_on(turned).unwrap();
                        (*x, *y, *z) = (*x + 1, *y + 1, *z + 1);
                    }
                }
            });
        }
    });
    let sum: usize = all.iter().map(|mutex| *mutex.lock().unwrap()).sum();
    assert_eq!(sum, (1 + 2 + 3) + THREADS * 500 * 3);
}

#[test]
fn what_was_held_before_still_counts() {
    let [first, second] = &mutexes("held before");
    let both = &Barrier::new(2);
    let outcomes = thread::scope(|scope| {
        let threads = [(first, second), (second, first)].map(|(held, wanted)| {
            scope.spawn(move || {
                let _held = held.lock()?;
                both.wait();
                lock_all([wanted]).map(drop)
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert!(matches!(failed[..], [LockError::Deadlock(_)]), "{failed:?}");
}

#[test]
fn an_order_that_is_the_same_for_all_is_no_warning() {
    order::set_level(order::Level::Warn);
    let warned = |of: &str| {
        order::warnings()
            .iter()
            .any(|warning| warning.to_string().contains(of))
    };
    // One class, so that any order but a common one would be warned of.
    let [a, b] = &mutexes("alike");
    drop(lock_all([a, b]).unwrap());
    drop(lock_all([b, a]).unwrap());
    drop(block_on(task(lock_all_async([b, a]))).unwrap());
    drop(block_on(task(lock_all_async((a, b)))).unwrap());
    assert!(!warned("alike"));
    let (x, y) = (Mutex::named("x of two", ()), Mutex::named("y of two", ()));
    drop(lock_all((&x, &y)).unwrap());
    drop(lock_all((&y, &x)).unwrap());
    assert!(!warned("of two"));
    // One by one is another matter.
    let _x = a.lock().unwrap();
    drop(b.lock().unwrap());
    assert!(warned("alike"));
}

#[test]
fn the_futures_can_be_sent() {
    fn check<T: Send>(_: T) {}
    let [a, b] = &mutexes("sent");
    check(lock_all_async([a, b]));
    check(lock_all_async(&[a, b][..]));
    check(lock_all_async((a, b)));
}

#[test]
fn dropping_the_future_lets_go_of_what_it_has() {
    let [a, b] = &mutexes("dropped");
    let free = |mutex: &Mutex<usize>| mutex.try_lock().is_some();
    for wanted in [[a, b], [b, a]] {
        for held in [a, b] {
            let guard = held.lock().unwrap();
            let mut future = Box::pin(lock_all_async(wanted));
            let waker = std::task::Waker::noop();
            assert!(
                future
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(waker))
                    .is_pending()
            );
            drop(future);
            drop(guard);
            assert!(free(a) && free(b));
        }
    }
}
