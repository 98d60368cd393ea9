//! CPython's `test/lock_tests.py` for Lock, RLock, Event, Condition and Barrier, under the names that
//! the tests have there.
//!
//! Left out is what cannot be written with guards (releasing what is not held, waiting without the
//! lock), what is about Python's objects (weak references, forks), and invalid numbers.

#![cfg(all(feature = "deadlock-detection", not(any(loom, shuttle))))]

mod bunch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use antifreeze_sync::{Barrier, Condvar, Event, LockError, Mutex, ReentrantMutex};
use bunch::{By, assert_timeout, bunch, by_both, eventually, eventually_waiting};

const N: usize = 5;
const HALF: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(60);

/// A list to which several agents append.
struct List<T>(std::sync::Mutex<Vec<T>>);

impl<T: Clone> List<T> {
    fn new() -> Self {
        Self(std::sync::Mutex::default())
    }

    fn append(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn items(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

/// What holds for both kinds of locks.
macro_rules! base_lock_tests {
    ($Lock:ident) => {
        #[test]
        fn test_constructor() {
            drop($Lock::new(()));
        }

        #[test]
        fn test_repr() {
            let lock = $Lock::named("repr", 7);
            let text = format!("{lock:?}");
            assert_eq!(
                text,
                concat!(stringify!($Lock), " { name: \"repr\", data: 7, .. }")
            );
        }

        #[test]
        fn test_locked_repr() {
            let lock = $Lock::new(7);
            let _held = lock.lock().unwrap();
            let there = || assert!(format!("{lock:?}").contains("<locked>"));
            std::thread::scope(|scope| scope.spawn(there).join().unwrap());
        }

        #[test]
        fn test_acquire_destroy() {
            let lock = $Lock::new(());
            std::mem::forget(lock.lock().unwrap());
            drop(lock);
        }

        #[test]
        fn test_acquire_release() {
            let lock = $Lock::new(());
            drop(lock.lock().unwrap());
            assert!(!lock.is_locked());
        }

        #[test]
        fn test_try_acquire() {
            let lock = $Lock::new(());
            assert!(lock.try_lock().is_some());
            assert!(!lock.is_locked());
        }

        #[test]
        fn test_try_acquire_contended() {
            let lock = $Lock::new(());
            let _held = lock.lock().unwrap();
            let tried = bunch(By::Threads, 1, async |_| lock.try_lock().is_some(), || ());
            assert_eq!(tried, [false]);
        }

        #[test]
        fn test_with() {
            let lock = $Lock::new(());
            let f = async |_| drop(lock.lock().unwrap());
            drop(lock.lock().unwrap());
            bunch(By::Threads, 1, f, || ());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let _held = lock.lock().unwrap();
                panic!("on purpose");
            }));
            assert!(outcome.is_err());
            bunch(By::Threads, 1, f, || ());
        }

        #[test]
        fn test_thread_leak() {
            let lock = $Lock::new(());
            bunch(By::Threads, 15, async |_| drop(lock.lock().unwrap()), || ());
        }

        #[test]
        fn test_timeout() {
            let lock = $Lock::new(());
            drop(lock.lock_timeout(Duration::MAX).unwrap());
            let begun = Instant::now();
            let _held = lock.lock_timeout(LONG).unwrap();
            assert!(begun.elapsed() < LONG);
            let f = async |_| {
                let begun = Instant::now();
                assert!(matches!(lock.lock_timeout(HALF), Err(LockError::Timeout)));
                begun.elapsed()
            };
            assert_timeout(bunch(By::Threads, 1, f, || ())[0], HALF);
        }
    };
}

mod lock_tests {
    use super::*;

    base_lock_tests!(Mutex);

    #[test]
    fn test_acquire_contended() {
        by_both(|by| {
            let lock = Mutex::named("lock: acquire contended", ());
            let finished = AtomicUsize::new(0);
            let held = lock.lock().unwrap();
            let f = async |_| {
                drop(by.lock(&lock).await.unwrap());
                finished.fetch_add(1, SeqCst);
            };
            bunch(by, N, f, || {
                eventually_waiting("lock: acquire contended", N);
                assert_eq!(finished.load(SeqCst), 0);
                drop(held);
            });
            assert_eq!(finished.load(SeqCst), N);
        });
    }

    /// There the thread blocks until another one releases the lock. Here only a guard can do that.
    #[test]
    fn test_reacquire() {
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        assert!(matches!(lock.lock(), Err(LockError::Deadlock(_))));
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }

    /// A guard that may go to another thread.
    #[test]
    fn test_different_thread() {
        let lock = std::sync::Arc::new(Mutex::new(()));
        let held = lock.lock_owned().unwrap();
        std::thread::spawn(move || drop(held)).join().unwrap();
        assert!(lock.lock().is_ok());
    }

    #[test]
    fn test_state_after_timeout() {
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        let f = async |_| assert!(lock.lock_timeout(Duration::from_millis(10)).is_err());
        bunch(By::Threads, 1, f, || ());
        drop(held);
        assert!(!lock.is_locked());
        assert!(lock.try_lock().is_some());
    }
}

mod rlock_tests {
    use super::*;

    base_lock_tests!(ReentrantMutex);

    #[test]
    fn test_acquire_contended() {
        by_both(|by| {
            let lock = ReentrantMutex::named("rlock: acquire contended", ());
            let finished = AtomicUsize::new(0);
            let held = lock.lock().unwrap();
            let f = async |_| {
                match by {
                    By::Threads => drop(lock.lock().unwrap()),
                    By::Tasks => lock.run_async(|()| ()).await.unwrap(),
                }
                finished.fetch_add(1, SeqCst);
            };
            bunch(by, N, f, || {
                eventually_waiting("rlock: acquire contended", N);
                assert_eq!(finished.load(SeqCst), 0);
                drop(held);
            });
            assert_eq!(finished.load(SeqCst), N);
        });
    }

    #[test]
    fn test_reacquire() {
        let lock = ReentrantMutex::new(());
        let first = lock.lock().unwrap();
        drop(lock.lock().unwrap());
        let second = lock.try_lock().unwrap();
        drop(first);
        assert!(lock.is_locked());
        drop(second);
        assert!(!lock.is_locked());
    }

    #[test]
    fn test_recursion_count() {
        let lock = ReentrantMutex::new(());
        assert_eq!(lock.levels(), 0);
        let first = lock.lock().unwrap();
        assert_eq!(lock.levels(), 1);
        let more = (lock.lock().unwrap(), lock.lock().unwrap());
        assert_eq!(lock.levels(), 3);
        drop(more.0);
        assert_eq!(lock.levels(), 2);
        drop((first, more.1));
        assert_eq!(lock.levels(), 0);
        let phase = AtomicUsize::new(0);
        let f = async |_| {
            let _held = lock.lock().unwrap();
            phase.store(1, SeqCst);
            eventually(|| phase.load(SeqCst) == 2);
        };
        bunch(By::Threads, 1, f, || {
            eventually(|| phase.load(SeqCst) == 1);
            assert_eq!(lock.levels(), 0);
            phase.store(2, SeqCst);
        });
        assert_eq!(lock.levels(), 0);
    }

    #[test]
    #[allow(non_snake_case, reason = "it is called so there")]
    fn test__is_owned() {
        let lock = ReentrantMutex::new(());
        assert!(!lock.is_owned());
        let first = lock.lock().unwrap();
        assert!(lock.is_owned());
        let second = lock.lock().unwrap();
        assert!(lock.is_owned());
        assert_eq!(
            bunch(By::Threads, 1, async |_| lock.is_owned(), || ()),
            [false]
        );
        drop(second);
        assert!(lock.is_owned());
        drop(first);
        assert!(!lock.is_owned());
    }
}

mod event_tests {
    use super::*;

    #[test]
    fn test_is_set() {
        let event = Event::new();
        assert!(!event.is_set());
        for set in [true, true, false, false] {
            if set {
                event.set()
            } else {
                event.clear()
            }
            assert_eq!(event.is_set(), set);
        }
    }

    fn check_notify(by: By, event: &Event) {
        let (first, second) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let f = async |_| {
            by.event(event).await.unwrap();
            first.fetch_add(1, SeqCst);
            by.event(event).await.unwrap();
            second.fetch_add(1, SeqCst);
        };
        bunch(by, N, f, || {
            eventually_waiting("event: notify", N);
            assert_eq!(first.load(SeqCst), 0);
            event.set();
        });
        assert_eq!((first.into_inner(), second.into_inner()), (N, N));
    }

    #[test]
    fn test_notify() {
        by_both(|by| {
            let event = Event::named("event: notify");
            check_notify(by, &event);
            // Another time, after an explicit clear()
            event.set();
            event.clear();
            check_notify(by, &event);
        });
    }

    #[test]
    fn test_timeout() {
        by_both(|by| {
            let event = Event::new();
            let f = async |_| {
                let at_once = by.event_timeout(&event, Duration::ZERO).await.is_ok();
                let begun = Instant::now();
                let later = by.event_timeout(&event, HALF).await.is_ok();
                (at_once, later, begun.elapsed())
            };
            for (at_once, later, took) in bunch(by, N, f, || ()) {
                assert_eq!((at_once, later), (false, false));
                assert_timeout(took, HALF);
            }
            // The event is set
            event.set();
            for (at_once, later, _) in bunch(by, N, f, || ()) {
                assert_eq!((at_once, later), (true, true));
            }
        });
    }

    #[test]
    fn test_set_and_clear() {
        by_both(|by| {
            let event = Event::named("event: set and clear");
            let f = async |_| by.event_timeout(&event, LONG).await.is_ok();
            let results = bunch(by, N, f, || {
                eventually_waiting("event: set and clear", N);
                event.set();
                event.clear();
            });
            assert_eq!(results, [true; N]);
        });
    }

    #[test]
    fn test_repr() {
        let event = Event::named("repr");
        assert_eq!(
            format!("{event:?}"),
            "Event { name: \"repr\", set: false, .. }"
        );
        event.set();
        assert_eq!(
            format!("{event:?}"),
            "Event { name: \"repr\", set: true, .. }"
        );
    }
}

mod condition_tests {
    use std::cell::Cell;

    use super::*;

    /// There a condition has a lock, which can be acquired again by default.
    #[test]
    fn test_acquire() {
        let (lock, condition) = (ReentrantMutex::new(()), Condvar::new());
        let outer = lock.lock().unwrap();
        let inner = lock.lock().unwrap();
        let (inner, result) = condition.wait_timeout(inner, Duration::ZERO).unwrap();
        assert!(result.timed_out());
        assert_eq!(lock.levels(), 2);
        drop((outer, inner));
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        let (held, result) = condition.wait_timeout(held, Duration::ZERO).unwrap();
        assert!(result.timed_out());
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }

    /// There this is an error.
    #[test]
    fn test_unacquired_notify() {
        let condition = Condvar::new();
        assert_eq!(condition.notify_one(), 0);
        assert_eq!(condition.notify_all(), 0);
    }

    fn check_notify(by: By, condition: &Condvar) {
        let (lock, name) = (Mutex::new(()), "condition: notify");
        let phase = AtomicUsize::new(0);
        let (results1, results2) = (List::new(), List::new());
        let f = async |_| {
            let held = by.lock(&lock).await.unwrap();
            drop(by.condvar(condition, held).await.unwrap());
            results1.append(phase.load(SeqCst));
            let held = by.lock(&lock).await.unwrap();
            drop(by.condvar(condition, held).await.unwrap());
            results2.append(phase.load(SeqCst));
        };
        let of = |counts: &[usize]| -> Vec<usize> {
            let phases = counts.iter().enumerate();
            phases
                .flat_map(|(phase, &count)| std::iter::repeat_n(phase, count))
                .collect()
        };
        bunch(by, N, f, || {
            eventually_waiting(name, N);
            assert_eq!(results1.len(), 0);

            // Notify 3 threads at first
            let held = lock.lock().unwrap();
            assert_eq!(condition.notify(3), 3);
            assert_eq!(bunch::waiting(name), N - 3);
            phase.store(1, SeqCst);
            drop(held);
            eventually(|| results1.len() >= 3);
            assert_eq!(results1.items(), of(&[0, 3]));
            assert_eq!(results2.len(), 0);

            // Notify 5 threads: they might be in their first or second wait
            eventually_waiting(name, N);
            let held = lock.lock().unwrap();
            assert_eq!(condition.notify(5), 5);
            phase.store(2, SeqCst);
            drop(held);
            eventually(|| results1.len() + results2.len() >= N + 3);
            assert_eq!(results1.items(), of(&[0, 3, 2]));
            assert_eq!(results2.items(), of(&[0, 0, 3]));

            // Notify all threads: they are all in their second wait
            eventually_waiting(name, 2);
            let held = lock.lock().unwrap();
            assert_eq!(condition.notify_all(), 2);
            phase.store(3, SeqCst);
            drop(held);
            eventually(|| results2.len() >= N);
        });
        assert_eq!(results1.items(), of(&[0, 3, 2]));
        assert_eq!(results2.items(), of(&[0, 0, 3, 2]));
    }

    #[test]
    fn test_notify() {
        by_both(|by| {
            let condition = Condvar::named("condition: notify");
            check_notify(by, &condition);
            // A second time, to check internal state is still ok.
            check_notify(by, &condition);
        });
    }

    #[test]
    fn test_timeout() {
        let (lock, condition) = (Mutex::new(()), Condvar::new());
        let f = async |_| {
            let held = lock.lock().unwrap();
            let begun = Instant::now();
            let (_, result) = condition.wait_timeout(held, HALF).unwrap();
            (begun.elapsed(), result.timed_out())
        };
        for (took, timed_out) in bunch(By::Threads, N, f, || ()) {
            assert_timeout(took, HALF);
            assert!(timed_out);
        }
    }

    #[test]
    fn test_waitfor() {
        by_both(|by| {
            let (state, condition) = (Mutex::new(0), Condvar::new());
            let f = async |_| {
                let mut held = by.lock(&state).await.unwrap();
                while *held != 4 {
                    held = by.condvar(&condition, held).await.unwrap();
                }
            };
            bunch(by, 1, f, || {
                for _ in 0..4 {
                    *state.lock().unwrap() += 1;
                    condition.notify_one();
                }
            });
        });
        let (state, condition) = (ReentrantMutex::new(Cell::new(0)), Condvar::new());
        let f = async |_| {
            let mut held = state.lock().unwrap();
            while held.get() != 4 {
                held = condition.wait(held).unwrap();
            }
        };
        bunch(By::Threads, 1, f, || {
            for _ in 0..4 {
                let held = state.lock().unwrap();
                held.set(held.get() + 1);
                condition.notify_one();
            }
        });
    }

    #[test]
    fn test_waitfor_timeout() {
        let (state, condition) = (Mutex::new(0), Condvar::new());
        let f = async |_| {
            let held = state.lock().unwrap();
            let begun = Instant::now();
            let waited = condition.wait_timeout_while(held, HALF, |state| *state != 4);
            assert!(waited.unwrap().1.timed_out());
            assert_timeout(begun.elapsed(), HALF);
        };
        bunch(By::Threads, 1, f, || {
            // Only increment 3 times, so state == 4 is never reached.
            for _ in 0..3 {
                *state.lock().unwrap() += 1;
                condition.notify_one();
            }
        });
    }
}

mod barrier_tests {
    use super::*;

    fn multipass(by: By, passes: usize) {
        let barrier = Barrier::new(N);
        let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let f = async |_| {
            for i in 0..passes {
                before.fetch_add(1, SeqCst);
                assert_eq!(after.load(SeqCst), i * N);
                by.barrier(&barrier).await.unwrap();
                after.fetch_add(1, SeqCst);
                assert_eq!(before.load(SeqCst), (i + 1) * N);
                by.barrier(&barrier).await.unwrap();
            }
        };
        bunch(by, N, f, || ());
        assert_eq!(barrier.waiting(), 0);
        assert!(!barrier.is_broken());
    }

    #[test]
    fn test_barrier() {
        by_both(|by| multipass(by, 1));
    }

    #[test]
    fn test_barrier_10() {
        by_both(|by| multipass(by, 10));
    }

    #[test]
    fn test_wait_return() {
        by_both(|by| {
            let barrier = Barrier::new(N);
            let mut indices = bunch(by, N, async |_| by.barrier(&barrier).await.unwrap(), || ());
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2, 3, 4]);
        });
    }

    #[test]
    fn test_action() {
        by_both(|by| {
            let runs = std::sync::Arc::new(AtomicUsize::new(0));
            let barrier = Barrier::new(N).with_action({
                let runs = std::sync::Arc::clone(&runs);
                move || _ = runs.fetch_add(1, SeqCst)
            });
            let f = async |_| {
                by.barrier(&barrier).await.unwrap();
                assert_eq!(runs.load(SeqCst), 1);
            };
            bunch(by, N, f, || ());
        });
    }

    #[test]
    fn test_abort() {
        by_both(|by| {
            let barrier = Barrier::new(N);
            let f = async |_| {
                if by.barrier(&barrier).await.unwrap() == N / 2 {
                    barrier.abort();
                    return None;
                }
                Some(by.barrier(&barrier).await.is_err())
            };
            let ends = bunch(by, N, f, || ());
            assert_eq!(ends.iter().filter(|end| **end == Some(true)).count(), N - 1);
            assert!(barrier.is_broken());
        });
    }

    #[test]
    fn test_reset() {
        by_both(|by| {
            let barrier = Barrier::new(N);
            let f = async |_| {
                let mut broken = false;
                if by.barrier(&barrier).await.unwrap() == N / 2 {
                    // Wait until the other threads are all in the barrier.
                    by.until(|| barrier.waiting() == N - 1).await;
                    barrier.reset();
                } else {
                    broken = by.barrier(&barrier).await.is_err();
                }
                // Now, pass the barrier again
                by.barrier(&barrier).await.unwrap();
                broken
            };
            let ends = bunch(by, N, f, || ());
            assert_eq!(ends.iter().filter(|broken| **broken).count(), N - 1);
        });
    }

    #[test]
    fn test_abort_and_reset() {
        by_both(|by| {
            let (barrier, second) = (Barrier::new(N), Barrier::new(N));
            let f = async |_| {
                let mut broken = false;
                if by.barrier(&barrier).await.unwrap() == N / 2 {
                    barrier.abort();
                } else {
                    broken = by.barrier(&barrier).await.is_err();
                }
                // Synchronize and reset the barrier.  Must synchronize first so that everyone has
                // left it when we reset, and after so that no one enters it before the reset.
                if by.barrier(&second).await.unwrap() == N / 2 {
                    barrier.reset();
                }
                by.barrier(&second).await.unwrap();
                by.barrier(&barrier).await.unwrap();
                broken
            };
            let ends = bunch(by, N, f, || ());
            assert_eq!(ends.iter().filter(|broken| **broken).count(), N - 1);
        });
    }

    #[test]
    fn test_timeout() {
        let barrier = Barrier::new(N);
        let f = async |_| {
            // One thread is late!
            if barrier.wait().unwrap() == N / 2 {
                eventually(|| barrier.is_broken());
            }
            barrier.wait_timeout(HALF)
        };
        let ends = bunch(By::Threads, N, f, || ());
        assert!(ends.iter().all(Result::is_err), "{ends:?}");
        assert!(
            ends.iter()
                .any(|end| matches!(end, Err(LockError::Timeout)))
        );
        assert!(ends.iter().any(|end| matches!(end, Err(LockError::Broken))));
    }

    #[test]
    fn test_default_timeout() {
        let barrier = Barrier::new(2).with_timeout(HALF);
        let begun = Instant::now();
        let ends = bunch(By::Threads, 1, async |_| barrier.wait(), || ());
        assert!(matches!(ends[..], [Err(LockError::Timeout)]));
        assert_timeout(begun.elapsed(), HALF);
    }

    #[test]
    fn test_single_thread() {
        by_both(|by| {
            let barrier = Barrier::new(1);
            for _ in 0..2 {
                bunch(by, 1, async |_| by.barrier(&barrier).await.unwrap(), || ());
            }
        });
    }

    #[test]
    fn test_repr() {
        let barrier = Barrier::new(3);
        let is =
            |text: &str| assert_eq!(format!("{barrier:?}"), format!("Barrier {{ {text}, .. }}"));
        is("parties: 3, waiting: 0, broken: false");
        bunch(
            By::Threads,
            2,
            async |_| barrier.wait().unwrap(),
            || {
                eventually(|| barrier.waiting() == 2);
                is("parties: 3, waiting: 2, broken: false");
                barrier.wait().unwrap();
            },
        );
        is("parties: 3, waiting: 0, broken: false");
        barrier.abort();
        is("parties: 3, waiting: 0, broken: true");
    }
}
