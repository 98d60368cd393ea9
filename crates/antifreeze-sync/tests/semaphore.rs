//! Semaphores: who gets permits when, and which deadlocks are found.
//!
//! What CPython's `lock_tests.py` tests of its semaphores stands below under the same names, except
//! for what cannot be written here: negative numbers, and releasing what was not acquired.

mod support;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_sync::{
    AsyncPermit, BoundedSemaphore, DeadlockKind, Frame, LockError, Mode, Mutex, Permit,
    PermitFuture, Semaphore, block_on, detector, frame, task,
};
use proptest::prelude::*;
use support::{By, Guard, Rendezvous, by_both, eventually, poll_once};

/// How many wait for what has this name.
fn waiting(name: &str) -> usize {
    let snapshot = detector::snapshot();
    let of_this_name = snapshot
        .resources
        .iter()
        .filter(|state| state.resource.name.as_deref() == Some(name));
    of_this_name.map(|state| state.waiters.len()).sum()
}

async fn acquire(
    by: By,
    semaphore: &BoundedSemaphore,
    n: u32,
) -> Result<Box<dyn Guard + '_>, LockError> {
    Ok(match by {
        By::Threads => Box::new(semaphore.acquire_many(n)?) as Box<dyn Guard>,
        By::Tasks => Box::new(semaphore.acquire_many_async(n).await?),
    })
}

/// The tests that both kinds have in common.
macro_rules! lock_tests {
    ($kind:ident) => {
        use super::*;
        use antifreeze_sync::$kind as SemType;

        #[test]
        fn test_acquire() {
            let sem = SemType::new(1);
            drop(sem.acquire().unwrap());
            let sem = SemType::new(2);
            let both = (sem.acquire().unwrap(), sem.acquire().unwrap());
            assert_eq!(sem.available(), 0);
            drop(both);
            assert_eq!(sem.available(), 2);
        }

        #[test]
        fn test_acquire_destroy() {
            let sem = Arc::new(SemType::default());
            let permit = sem.acquire_owned().unwrap();
            drop(sem);
            drop(permit);
        }

        #[test]
        fn test_acquire_contended() {
            let sem = Arc::new(SemType::new(7));
            let first = sem.acquire_owned().unwrap();
            let phase = Arc::new(AtomicU32::new(0));
            let (sender, acquired) = mpsc::channel();
            let threads: Vec<_> = (0..10)
                .map(|_| {
                    let (sem, phase, sender) =
                        (Arc::clone(&sem), Arc::clone(&phase), sender.clone());
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let permit = sem.acquire_owned().unwrap();
                            sender.send((phase.load(Ordering::SeqCst), permit)).unwrap();
                        }
                    })
                })
                .collect();
            let phase_of = |count: usize, expected: u32| {
                let permits: Vec<_> = (0..count).map(|_| acquired.recv().unwrap()).collect();
                // Nobody else can have any.
                assert_eq!(sem.available(), 0);
                assert!(acquired.try_recv().is_err());
                assert!(permits.iter().all(|(phase, _)| *phase == expected));
                permits
            };
            let mut held = phase_of(6, 0);
            held.push((0, first));

            phase.store(1, Ordering::SeqCst);
            drop(held);
            let mut held = phase_of(7, 1);

            phase.store(2, Ordering::SeqCst);
            let last = held.pop();
            drop(held);
            let held = phase_of(6, 2);
            assert!(sem.try_acquire().is_none());

            drop(last);
            assert_eq!(acquired.recv().unwrap().0, 2);
            drop(held);
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(sem.available(), 7);
        }

        #[test]
        fn test_multirelease() {
            let sem = Arc::new(SemType::new(7));
            let all = sem.acquire_many(7).unwrap();
            let threads: Vec<_> = (0..10)
                .map(|_| {
                    let sem = Arc::clone(&sem);
                    thread::spawn(move || (sem.acquire().map(drop), sem.acquire().map(drop)))
                })
                .collect();
            assert!(sem.try_acquire().is_none());
            drop(all);
            for thread in threads {
                assert!(matches!(thread.join().unwrap(), (Ok(()), Ok(()))));
            }
            assert_eq!(sem.available(), 7);
        }

        #[test]
        fn test_try_acquire() {
            let sem = SemType::new(2);
            let first = sem.try_acquire().unwrap();
            let _second = sem.try_acquire().unwrap();
            assert!(sem.try_acquire().is_none());
            drop(first);
            assert!(sem.try_acquire().is_some());
        }

        #[test]
        fn test_try_acquire_contended() {
            let sem = SemType::new(4);
            let _first = sem.acquire().unwrap();
            let all_tried = std::sync::Barrier::new(5);
            let got: usize = thread::scope(|scope| {
                let threads: Vec<_> = (0..5)
                    .map(|_| {
                        scope.spawn(|| {
                            let got = [sem.try_acquire(), sem.try_acquire()];
                            all_tried.wait();
                            got.iter().flatten().count()
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum()
            });
            assert_eq!(got, 3);
        }

        #[test]
        fn test_acquire_timeout() {
            let soon = Duration::from_millis(5);
            let sem = Arc::new(SemType::new(2));
            // These count as anybody's: else it would wait for itself, and be told so.
            let first = sem.acquire_owned().unwrap();
            let second = sem.acquire_owned().unwrap();
            assert!(matches!(
                sem.acquire_timeout(Duration::ZERO),
                Err(LockError::Timeout)
            ));
            assert!(matches!(
                sem.acquire_many_timeout(2, soon),
                Err(LockError::Timeout)
            ));
            assert!(matches!(
                sem.acquire_until(Instant::now()),
                Err(LockError::Timeout)
            ));
            drop(first);
            drop(sem.acquire_timeout(soon).unwrap());
            drop(sem.acquire_many_until(1, Instant::now() + soon).unwrap());
            let begin = Instant::now();
            assert!(matches!(
                sem.acquire_many_timeout(2, soon),
                Err(LockError::Timeout)
            ));
            assert!(begin.elapsed() >= soon);
            drop(second);
            // There is no greatest time-out: this would wait for ever if it had to.
            assert!(sem.acquire_timeout(Duration::MAX).is_ok());
        }

        #[test]
        fn test_default_value() {
            const NAME: &str = concat!(stringify!($kind), " of test_default_value");
            let sem = Arc::new(SemType::default().with_name(NAME));
            let permit = sem.acquire_owned().unwrap();
            thread::scope(|scope| {
                let other = scope.spawn(|| drop(sem.acquire().unwrap()));
                eventually(|| waiting(NAME) == 1);
                assert!(!other.is_finished());
                drop(permit);
            });
        }

        #[test]
        fn test_with() {
            let sem = SemType::new(2);
            let with = |panics: bool| {
                let _outer = sem.acquire().unwrap();
                assert!(sem.try_acquire().is_some());
                let _inner = sem.acquire().unwrap();
                assert!(sem.try_acquire().is_none());
                assert!(!panics, "on purpose");
            };
            with(false);
            assert_eq!(sem.available(), 2);
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with(true)));
            assert!(unwound.is_err());
            assert_eq!(sem.available(), 2);
        }

        #[test]
        fn everybody_is_served_in_order_however_much_they_want() {
            let sem = SemType::new(3);
            let all = sem.acquire_many(3).unwrap();
            let mut waits: Vec<_> = [1, 3, 1].map(|n| sem.acquire_many_async(n)).into();
            for wait in &mut waits {
                assert!(poll_once(wait).is_pending());
            }
            drop(all);
            // Whoever asks first, the first is served first, and the last waits behind the second.
            assert!(poll_once(&mut waits[2]).is_pending());
            assert!(poll_once(&mut waits[1]).is_pending());
            assert_eq!(sem.available(), 2);
            assert!(sem.try_acquire().is_none());
            let Poll::Ready(Ok(first)) = poll_once(&mut waits[0]) else {
                panic!()
            };
            drop(first);
            let Poll::Ready(Ok(second)) = poll_once(&mut waits[1]) else {
                panic!()
            };
            assert_eq!(second.permits(), 3);
            assert!(poll_once(&mut waits[2]).is_pending());
            drop(second);
            assert!(poll_once(&mut waits[2]).is_ready());
        }

        #[test]
        fn somebody_who_gives_up_holds_nobody_back() {
            let sem = SemType::new(3);
            let one = sem.acquire().unwrap();
            let mut big = sem.acquire_many_async(3);
            let mut small = sem.acquire_async();
            assert!(poll_once(&mut big).is_pending());
            assert!(poll_once(&mut small).is_pending());
            drop(big);
            assert!(poll_once(&mut small).is_ready());
            drop(one);
        }

        #[test]
        fn what_was_given_to_somebody_who_has_gone_goes_to_the_next() {
            let sem = SemType::new(2);
            let both = sem.acquire_many(2).unwrap();
            let mut first = sem.acquire_many_async(2);
            let mut second = sem.acquire_async();
            assert!(poll_once(&mut first).is_pending());
            assert!(poll_once(&mut second).is_pending());
            drop(both);
            assert_eq!(sem.available(), 0);
            drop(first);
            assert!(poll_once(&mut second).is_ready());
            drop(second);
            assert_eq!(sem.available(), 2);
        }

        #[test]
        fn no_permits_at_all_can_always_be_had() {
            let sem = SemType::new(1);
            let _one = sem.acquire().unwrap();
            assert_eq!(sem.acquire_many(0).unwrap().permits(), 0);
            assert!(sem.try_acquire_many(0).is_some());
        }

        #[test]
        fn a_permit_can_be_owned_and_outlive_its_task() {
            let sem = Arc::new(SemType::new(1));
            let permit = block_on(sem.acquire_owned_async()).unwrap();
            let mut wait = sem.acquire_owned_async();
            assert!(poll_once(&mut wait).is_pending());
            thread::spawn(move || drop(permit)).join().unwrap();
            let Poll::Ready(Ok(permit)) = poll_once(&mut wait) else {
                panic!()
            };
            assert_eq!(permit.permits(), 1);
        }

        #[test]
        fn it_can_be_printed_without_waiting() {
            let sem = SemType::named("printed", 3);
            let _two = sem.acquire_many(2).unwrap();
            let text = format!("{sem:?}");
            assert!(
                text.contains("printed") && text.contains("available: 1"),
                "{text}"
            );
        }
    };
}

mod bounded {
    lock_tests!(BoundedSemaphore);
}

mod loose {
    lock_tests!(Semaphore);

    #[test]
    fn test_release_unacquired() {
        let sem = Semaphore::new(1);
        sem.release();
        let both = (sem.acquire().unwrap(), sem.acquire().unwrap());
        assert_eq!(sem.available(), 0);
        drop(both);
    }

    #[test]
    fn permits_can_be_added_and_used_up() {
        let sem = Semaphore::new(0);
        let mut wait = sem.acquire_many_async(3);
        assert!(poll_once(&mut wait).is_pending());
        sem.add(2);
        assert!(poll_once(&mut wait).is_pending());
        sem.add(2);
        let Poll::Ready(Ok(three)) = poll_once(&mut wait) else {
            panic!()
        };
        three.forget();
        assert_eq!(sem.available(), 1);
        assert_eq!(sem.take_away(5), 1);
        assert_eq!(sem.available(), 0);
    }

    #[test]
    fn closing_ends_all_waits() {
        let sem = Semaphore::new(1);
        let one = sem.acquire().unwrap();
        let mut wait = sem.acquire_async();
        assert!(poll_once(&mut wait).is_pending());
        sem.close();
        assert!(sem.is_closed());
        assert!(matches!(
            poll_once(&mut wait),
            Poll::Ready(Err(LockError::Closed))
        ));
        drop(one);
        assert!(matches!(sem.acquire(), Err(LockError::Closed)));
        assert!(matches!(
            block_on(sem.acquire_async()),
            Err(LockError::Closed)
        ));
        assert!(sem.try_acquire().is_none());
    }

    /// Each has one of two permits and wants another one. Anybody could add one.
    #[test]
    fn a_wait_is_shown_but_never_taken_for_a_deadlock() {
        by_both(|by| {
            const NAME: &str = "anybody can add to it";
            let sem = Arc::new(Semaphore::new(2).with_name(NAME));
            let meeting = Rendezvous::of(2, by);
            let parts = (0..2).map(|_| {
                let (sem, meeting) = (Arc::clone(&sem), meeting.clone());
                part!(async move {
                    let one = match by {
                        By::Threads => sem.acquire()?,
                        By::Tasks => sem.acquire_async().await?,
                    };
                    meeting.meet().await;
                    let another = match by {
                        By::Threads => sem.acquire()?,
                        By::Tasks => sem.acquire_async().await?,
                    };
                    drop((one, another));
                    Ok(())
                })
            });
            let helper = {
                let sem = Arc::clone(&sem);
                thread::spawn(move || {
                    eventually(|| waiting(NAME) == 2);
                    detector::settle();
                    assert_eq!(waiting(NAME), 2);
                    sem.release();
                })
            };
            let ends = by.play(parts.collect());
            assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
            helper.join().unwrap();
        });
    }
}

#[test]
fn more_than_there_are_is_an_error_at_once() {
    let sem = Arc::new(BoundedSemaphore::new(2));
    for outcome in [
        sem.acquire_many(3).map(drop),
        sem.acquire_many_timeout(3, Duration::MAX).map(drop),
        block_on(sem.acquire_many_async(3)).map(drop),
    ] {
        assert!(
            matches!(
                outcome,
                Err(LockError::TooMany {
                    wanted: 3,
                    total: 2
                })
            ),
            "{outcome:?}"
        );
    }
    assert!(sem.try_acquire_many(3).is_none());
    let none = BoundedSemaphore::new(0);
    assert!(none.acquire().is_err());
    let text = sem.acquire_many(3).unwrap_err().to_string();
    assert_eq!(text, "3 permits were wanted of a semaphore that has 2");
}

/// `n` agents have one permit each of `total`, and then each of them wants `more`.
fn holders_want_more(by: By, total: u32, n: usize, more: u32) -> Vec<Result<(), LockError>> {
    let sem = Arc::new(BoundedSemaphore::new(total).with_name("connections"));
    let meeting = Rendezvous::of(n, by);
    let parts = (0..n).map(|_| {
        let (sem, meeting) = (Arc::clone(&sem), meeting.clone());
        part!(async move {
            let _one = acquire(by, &sem, 1).await?;
            meeting.meet().await;
            let _more = acquire(by, &sem, more).await?;
            Ok(())
        })
    });
    by.play(parts.collect())
}

#[test]
fn holders_that_want_more_than_is_left_are_a_deadlock() {
    by_both(|by| {
        let ends = holders_want_more(by, 2, 2, 1);
        let errors: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
        assert_eq!(errors.len(), 1, "{by:?}: {ends:?}");
        let report = errors[0].deadlock().unwrap();
        assert_eq!(report.kind, DeadlockKind::Cycle);
        assert_eq!(report.members.len(), 2);
        for member in &report.members {
            assert_eq!(member.waits[0].mode, Mode::Permits(1));
            assert_eq!(member.holds[0].mode, Mode::Permits(1));
            assert_eq!(member.holds[0].resource, member.waits[0].resource);
        }
        let text = report.to_string();
        assert!(text.contains("a permit of"), "{text}");
        assert!(text.contains("connections"), "{text}");
    });
}

/// Everybody wants all that the others have: all but one have to give up, one after the other.
#[test]
fn as_many_fail_as_have_to() {
    by_both(|by| {
        let ends = holders_want_more(by, 4, 4, 3);
        let (errors, done): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end.is_err());
        assert_eq!((errors.len(), done.len()), (3, 1), "{by:?}: {ends:?}");
        assert!(
            errors
                .iter()
                .all(|end| end.as_ref().unwrap_err().deadlock().is_some())
        );
    });
}

#[test]
fn enough_permits_are_no_deadlock() {
    by_both(|by| {
        let ends = holders_want_more(by, 3, 2, 1);
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
    });
}

#[test]
fn a_holder_that_runs_can_still_give_back() {
    by_both(|by| {
        const NAME: &str = "one of three runs";
        let sem = Arc::new(BoundedSemaphore::new(3).with_name(NAME));
        let meeting = Rendezvous::of(2, by);
        let (begin, begun) = mpsc::channel();
        let helper = {
            let sem = Arc::clone(&sem);
            thread::spawn(move || {
                let permit = sem.acquire().unwrap();
                begin.send(()).unwrap();
                eventually(|| waiting(NAME) == 2);
                detector::settle();
                assert_eq!(waiting(NAME), 2);
                drop(permit);
            })
        };
        begun.recv().unwrap();
        let parts = (0..2).map(|_| {
            let (sem, meeting) = (Arc::clone(&sem), meeting.clone());
            part!(async move {
                let _one = acquire(by, &sem, 1).await?;
                meeting.meet().await;
                let _another = acquire(by, &sem, 1).await?;
                Ok(())
            })
        });
        let ends = by.play(parts.collect());
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
        helper.join().unwrap();
    });
}

#[test]
fn to_want_more_than_the_others_have_is_a_deadlock_with_oneself() {
    let check = |error: LockError| {
        let report = error.deadlock().unwrap();
        assert_eq!(report.kind, DeadlockKind::SelfLock, "{report}");
        assert!(report.to_string().contains("permits"), "{report}");
    };
    let sem = BoundedSemaphore::new(3);
    let _two = sem.acquire_many(2).unwrap();
    check(sem.acquire_many(2).unwrap_err());
    // A wait that would end by itself is no better.
    check(
        sem.acquire_many_timeout(2, Duration::from_secs(100))
            .unwrap_err(),
    );

    let sem = BoundedSemaphore::new(1);
    let error = block_on(async {
        let _one = sem.acquire_async().await.unwrap();
        sem.acquire_async().await.map(drop).unwrap_err()
    });
    check(error);
}

/// Somebody with a lock wants one permit, and stands behind somebody who wants all of them, one of
/// which is with somebody who wants the lock. There is one left for the first.
fn small_behind_big(by: By, strict: bool, name: &'static str) -> Vec<Result<(), LockError>> {
    let mut sem = BoundedSemaphore::new(2).with_name(name);
    if strict {
        sem = sem.strict();
    }
    let sem = Arc::new(sem);
    let lock = Arc::new(Mutex::new(()).with_name(format!("lock of {name}")));
    let step = Arc::new(AtomicU32::new(0));
    let one_wants_the_lock = {
        let (sem, lock, step) = (Arc::clone(&sem), Arc::clone(&lock), Arc::clone(&step));
        part!(async move {
            by.until(|| step.load(Ordering::SeqCst) == 1).await;
            let _one = acquire(by, &sem, 1).await?;
            step.store(2, Ordering::SeqCst);
            let _lock = by.lock(&lock).await?;
            Ok(())
        })
    };
    let one_wants_all = {
        let (sem, step) = (Arc::clone(&sem), Arc::clone(&step));
        part!(async move {
            by.until(|| step.load(Ordering::SeqCst) == 2).await;
            let _all = acquire(by, &sem, 2).await?;
            Ok(())
        })
    };
    let one_has_the_lock = part!(async move {
        let _lock = by.lock(&lock).await?;
        step.store(1, Ordering::SeqCst);
        by.until(|| waiting(name) == 1).await;
        let _one = acquire(by, &sem, 1).await?;
        Ok(())
    });
    by.play(vec![one_wants_the_lock, one_wants_all, one_has_the_lock])
}

#[test]
fn a_small_request_is_let_past_a_big_one_if_all_would_wait_for_ever() {
    by_both(|by| {
        let ends = small_behind_big(by, false, "small behind big");
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
    });
}

#[test]
fn nobody_is_let_past_anybody_where_that_is_not_wanted() {
    by_both(|by| {
        let ends = small_behind_big(by, true, "strictly small behind big");
        let errors: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
        assert_eq!(errors.len(), 1, "{by:?}: {ends:?}");
        assert!(errors[0].deadlock().is_some());
    });
}

/// As above, but what is left is with somebody who runs: the small one gets it when that is done.
#[test]
fn a_small_request_is_let_past_a_big_one_before_there_is_enough_for_it() {
    const NAME: &str = "small behind big, later";
    let sem = Arc::new(BoundedSemaphore::new(2).with_name(NAME));
    let lock = Arc::new(Mutex::named("lock of the small one", ()));
    let runs = sem.acquire_owned().unwrap();
    thread::scope(|scope| {
        let locked = lock.lock().unwrap();
        let wants_the_lock = scope.spawn(|| {
            let _one = sem.acquire().unwrap();
            lock.lock().map(drop)
        });
        eventually(|| waiting("lock of the small one") == 1);
        let wants_all = scope.spawn(|| sem.acquire_many(2).map(drop));
        eventually(|| waiting(NAME) == 1);
        let helper = scope.spawn(|| {
            eventually(|| waiting(NAME) == 2);
            detector::settle();
            assert_eq!(waiting(NAME), 2);
            drop(runs);
        });
        drop(sem.acquire().unwrap());
        drop(locked);
        assert!(wants_the_lock.join().unwrap().is_ok());
        assert!(wants_all.join().unwrap().is_ok());
        helper.join().unwrap();
    });
}

/// Of all who stand behind the big one, only the last can undo the deadlock.
#[test]
fn somebody_far_behind_a_big_request_is_let_past_it() {
    const NAME: &str = "many behind big";
    const LOCK: &str = "lock of the last one";
    let sem = Arc::new(BoundedSemaphore::new(2).with_name(NAME));
    let lock = Arc::new(Mutex::named(LOCK, ()));
    thread::scope(|scope| {
        let locked = lock.lock().unwrap();
        let wants_the_lock = scope.spawn(|| {
            let _one = sem.acquire().unwrap();
            lock.lock().map(drop)
        });
        eventually(|| waiting(LOCK) == 1);
        let wants_all = scope.spawn(|| sem.acquire_many(2).map(drop));
        eventually(|| waiting(NAME) == 1);
        let small: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| sem.acquire().map(drop)))
            .collect();
        let last = sem.acquire();
        drop(locked);
        assert!(last.is_ok(), "{last:?}");
        drop(last);
        assert!(wants_the_lock.join().unwrap().is_ok());
        assert!(wants_all.join().unwrap().is_ok());
        assert!(small.into_iter().all(|small| small.join().unwrap().is_ok()));
    });
}

#[test]
fn owned_permits_count_when_somebody_says_who_has_them() {
    const NAME: &str = "owned";
    let sem = Arc::new(BoundedSemaphore::new(1).with_name(NAME));
    let permit = sem.acquire_owned().unwrap();
    thread::scope(|scope| {
        let helper = scope.spawn(|| {
            eventually(|| waiting(NAME) == 1);
            detector::settle();
            assert_eq!(waiting(NAME), 1, "nobody knows who has it");
            drop(permit);
        });
        drop(sem.acquire().unwrap());
        helper.join().unwrap();
    });
    let permit = sem.acquire_owned().unwrap();
    permit.bind();
    assert!(sem.acquire().unwrap_err().deadlock().is_some());
}

#[test]
fn several_waits_of_one_task_are_no_deadlock() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sem = BoundedSemaphore::new(1);
    let turn = || async {
        let _permit = sem.acquire_async().await?;
        tokio::task::yield_now().await;
        Ok::<_, LockError>(())
    };
    let both = runtime.block_on(task(async { tokio::join!(turn(), turn()) }));
    assert!(matches!(both, (Ok(()), Ok(()))));
}

#[test]
fn what_runs_with_a_permit_gives_it_back() {
    let sem = BoundedSemaphore::new(1);
    assert_eq!(
        block_on(sem.run_async(async || sem.available())).unwrap(),
        0
    );
    assert_eq!(sem.available(), 1);
    let mut running = Box::pin(sem.run_async(async || std::future::pending::<()>().await));
    assert!(poll_once(&mut running).is_pending());
    assert_eq!(sem.available(), 0);
    drop(running);
    assert_eq!(sem.available(), 1);
    let nested = block_on(sem.run_async(async || sem.run_async(async || ()).await)).unwrap();
    assert_eq!(
        nested.unwrap_err().deadlock().unwrap().kind,
        DeadlockKind::SelfLock
    );
}

#[test]
fn calls_get_permits_in_order_without_a_thread_that_waits() {
    let workers = Arc::new(BoundedSemaphore::new(2).with_name("workers"));
    let (begin, begun) = mpsc::channel();
    let mut pending: Vec<_> = (0..6)
        .map(|call| {
            let begin = begin.clone();
            let frame = Frame::new(format!("call {call}"));
            workers.acquire_then(&frame, move |permit| {
                begin.send((call, permit)).unwrap();
            })
        })
        .collect();
    let waits: Vec<_> = pending.iter().map(Option::is_some).collect();
    assert_eq!(waits, [false, false, true, true, true, true]);
    let mut running: VecDeque<_> = (0..2).map(|_| begun.try_recv().unwrap()).collect();
    assert!(begun.try_recv().is_err());

    let third = pending[3].take().unwrap();
    assert!(third.is_waiting());
    third.cancel();
    third.cancel();
    assert!(!third.is_waiting());
    assert!(matches!(
        begun.try_recv(),
        Ok((3, Err(LockError::Cancelled)))
    ));

    for expected in [2, 4, 5] {
        drop(running.pop_front());
        let next = begun.try_recv().unwrap();
        assert_eq!(next.0, expected);
        assert!(next.1.is_ok());
        assert!(begun.try_recv().is_err());
        running.push_back(next);
    }
    drop(running);
    assert_eq!(workers.available(), 2);
}

/// A closure that gives its permit back at once has the next one called.
#[test]
fn a_call_can_be_over_before_it_has_begun() {
    let workers = Arc::new(BoundedSemaphore::new(1));
    let permit = workers.acquire_owned().unwrap();
    let done = Arc::new(AtomicU32::new(0));
    for _ in 0..100 {
        let done = Arc::clone(&done);
        let _ = workers.acquire_then(&Frame::new("short"), move |permit| {
            drop(permit.unwrap());
            done.fetch_add(1, Ordering::SeqCst);
        });
    }
    drop(permit);
    assert_eq!(done.load(Ordering::SeqCst), 100);
    assert_eq!(workers.available(), 1);
}

/// All workers are busy with calls that wait for calls which have no worker.
#[test]
fn a_pool_whose_calls_need_the_pool_is_a_deadlock() {
    let workers = Arc::new(BoundedSemaphore::new(1).with_name("pool"));
    let answer = Arc::new(Mutex::named("answer", ()));
    let (outer, inner) = (Frame::new("outer"), Frame::new("inner"));
    let (begin, begun) = mpsc::channel();
    let start = |frame: &Frame| {
        let begin = begin.clone();
        workers.acquire_then(frame, move |permit| begin.send(permit).unwrap())
    };
    assert!(start(&outer).is_none());
    let working = begun.try_recv().unwrap().unwrap();
    // What the inner call will give back when it is done.
    let unanswered = inner.enter(|| {
        let unanswered = answer.lock_owned().unwrap();
        unanswered.bind();
        unanswered
    });
    let waits = start(&inner).unwrap();
    assert!(waits.is_waiting());
    thread::scope(|scope| {
        let waited = scope.spawn(|| outer.enter(|| answer.lock().map(drop)));
        // The inner call is the younger one: it is refused.
        let error = begun.recv().unwrap().unwrap_err();
        let report = error.deadlock().unwrap();
        assert_eq!(report.members.len(), 2, "{report}");
        assert_eq!(
            report.members[report.victim].agent.name.as_deref(),
            Some("inner")
        );
        assert!(!waits.is_waiting());
        drop(unanswered);
        assert!(waited.join().unwrap().is_ok());
    });
    drop(working);
    assert_eq!(workers.available(), 1);
}

#[test]
fn many_threads_share_few_permits() {
    let sem = Arc::new(BoundedSemaphore::new(3));
    let inside = Arc::new(AtomicU32::new(0));
    let crowded = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|seed| {
            let (sem, inside, crowded) =
                (Arc::clone(&sem), Arc::clone(&inside), Arc::clone(&crowded));
            thread::spawn(move || {
                for round in 0..500_u32 {
                    let n = 1 + (seed + round) % 3;
                    let permit = match round % 5 {
                        0 => {
                            let permit = block_on(sem.acquire_many_async(n)).unwrap();
                            inside.fetch_add(n, Ordering::SeqCst);
                            crowded.fetch_or(inside.load(Ordering::SeqCst) > 3, Ordering::SeqCst);
                            inside.fetch_sub(n, Ordering::SeqCst);
                            drop(permit);
                            continue;
                        }
                        1 => sem.acquire_many_timeout(n, Duration::from_micros(50)).ok(),
                        2 => sem.try_acquire_many(n),
                        _ => Some(sem.acquire_many(n).unwrap()),
                    };
                    if permit.is_some() {
                        inside.fetch_add(n, Ordering::SeqCst);
                        crowded.fetch_or(inside.load(Ordering::SeqCst) > 3, Ordering::SeqCst);
                        inside.fetch_sub(n, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(!crowded.load(Ordering::SeqCst));
    assert_eq!(sem.available(), 3);
}

#[test]
fn permits_belong_to_the_frame_that_acquired_them() {
    let sem = BoundedSemaphore::named("whose", 1);
    let _one = sem.acquire().unwrap();
    thread::scope(|scope| {
        let me = frame::current();
        let other = scope.spawn(|| sem.acquire_timeout(Duration::from_millis(200)).map(drop));
        eventually(|| waiting("whose") == 1 || other.is_finished());
        let snapshot = detector::snapshot();
        if let Some(state) = snapshot
            .resources
            .iter()
            .find(|state| state.resource.name.as_deref() == Some("whose"))
        {
            assert_eq!(state.holders.len(), 1);
            assert_eq!(state.holders[0].frame, me);
            assert_eq!(state.holders[0].mode, Mode::Permits(1));
        }
        assert!(matches!(other.join().unwrap(), Err(LockError::Timeout)));
    });
}

// A semaphore against the simplest thing that behaves like one.

#[derive(Clone, Debug)]
enum Op {
    Acquire(u32),
    Try(u32),
    Poll(usize),
    Drop(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..5_u32).prop_map(Op::Acquire),
        (0..5_u32).prop_map(Op::Try),
        (0..8_usize).prop_map(Op::Poll),
        (0..8_usize).prop_map(Op::Drop),
    ]
}

/// What somebody has come to.
enum Agent<'a> {
    Waits(PermitFuture<'a>),
    HasAsync(#[allow(dead_code, reason = "it is dropped")] AsyncPermit<'a>),
    Has(#[allow(dead_code, reason = "it is dropped")] Permit<'a>),
}

#[derive(Default)]
struct Model {
    free: u32,
    queue: VecDeque<(usize, u32)>,
    has: Vec<(usize, u32)>,
}

impl Model {
    fn come(&mut self, who: usize, n: u32) -> bool {
        let at_once = n == 0 || (self.queue.is_empty() && n <= self.free);
        if at_once {
            self.free -= n;
            self.has.push((who, n));
        }
        at_once
    }

    fn go(&mut self, who: usize) {
        self.queue.retain(|(waiter, _)| *waiter != who);
        if let Some(place) = self.has.iter().position(|(holder, _)| *holder == who) {
            self.free += self.has.swap_remove(place).1;
        }
        while let Some(&(waiter, n)) = self.queue.front().filter(|(_, n)| *n <= self.free) {
            self.queue.pop_front();
            self.free -= n;
            self.has.push((waiter, n));
        }
    }

    fn has(&self, who: usize) -> bool {
        self.has.iter().any(|(holder, _)| *holder == who)
    }
}

proptest! {
    #[test]
    fn it_behaves_like_a_number_and_a_line(total in 1..5_u32, ops in prop::collection::vec(op(), 1..60)) {
        let sem = BoundedSemaphore::new(total);
        let mut model = Model { free: total, ..Model::default() };
        let mut agents: Vec<(usize, Agent<'_>)> = Vec::new();
        for (who, op) in ops.into_iter().enumerate() {
            match op {
                Op::Acquire(n) => {
                    let mut future = sem.acquire_many_async(n);
                    match poll_once(&mut future) {
                        Poll::Ready(Ok(permit)) => {
                            prop_assert!(model.come(who, n));
                            agents.push((who, Agent::HasAsync(permit)));
                        }
                        Poll::Ready(Err(_)) => prop_assert!(n > total),
                        Poll::Pending => {
                            prop_assert!(!model.come(who, n));
                            model.queue.push_back((who, n));
                            agents.push((who, Agent::Waits(future)));
                        }
                    }
                }
                Op::Try(n) => {
                    let permit = sem.try_acquire_many(n);
                    prop_assert_eq!(permit.is_some(), model.come(who, n));
                    agents.extend(permit.map(|permit| (who, Agent::Has(permit))));
                }
                Op::Poll(place) => {
                    let count = agents.len().max(1);
                    if let Some((who, agent)) = agents.get_mut(place % count)
                        && let Agent::Waits(future) = agent
                    {
                        match poll_once(future) {
                            Poll::Ready(permit) => {
                                prop_assert!(model.has(*who));
                                *agent = Agent::HasAsync(permit.unwrap());
                            }
                            Poll::Pending => prop_assert!(!model.has(*who)),
                        }
                    }
                }
                Op::Drop(place) => {
                    if !agents.is_empty() {
                        let (who, agent) = agents.swap_remove(place % agents.len());
                        drop(agent);
                        model.go(who);
                    }
                }
            }
            prop_assert_eq!(sem.available(), model.free);
        }
        drop(agents);
        prop_assert_eq!(sem.available(), total);
    }
}

/// Futures can be sent to where they are polled.
#[test]
fn futures_are_send() {
    fn check<T: Send>(_: T) {}
    fn check_future<F: Future + Send + 'static>(_: F) {}
    let sem = Arc::new(BoundedSemaphore::new(1));
    check(sem.acquire_async());
    check_future(sem.acquire_owned_async());
    let loose = Arc::new(Semaphore::new(1));
    check(loose.acquire_async());
    check_future(loose.acquire_owned_async());
    check(loose.acquire().unwrap());
}
