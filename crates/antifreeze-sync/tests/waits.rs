//! What is special about waiting for a notification, an event, a barrier, a value that is made once,
//! and the end of a thread or task.

#![cfg(all(feature = "deadlock-detection", not(any(loom, shuttle))))]

mod bunch;

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use antifreeze_sync::{
    Barrier, Condvar, DeadlockKind, Event, Frame, Lazy, LockError, Mutex, Once, ReentrantMutex,
    Report, RwLock, block_on, detector, frame, joinable, named_joinable, named_task, order, task,
    thread,
};
use bunch::{By, all, bunch, by_both, eventually, eventually_waiting};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn deadlock<T>(result: Result<T, LockError>) -> Arc<Report> {
    match result {
        Err(LockError::Deadlock(report)) => report,
        Err(error) => panic!("not a deadlock: {error}"),
        Ok(_) => panic!("no deadlock was found"),
    }
}

/// The names of what is waited for, in order.
fn waited_for(report: &Report) -> Vec<&str> {
    let waits = report.members.iter().flat_map(|member| &member.waits);
    let mut names: Vec<_> = waits
        .filter_map(|wait| wait.resource.name.as_deref())
        .collect();
    names.sort_unstable();
    names
}

// Notifications.

#[test]
fn a_condvar_is_for_one_mutex_at_a_time() {
    let (first, second) = (Mutex::new(()), Mutex::new(()));
    let condvar = Condvar::named("one at a time");
    bunch(
        By::Threads,
        1,
        async |_| drop(condvar.wait(first.lock().unwrap())),
        || {
            eventually_waiting("one at a time", 1);
            let wrong = || condvar.wait(second.lock().unwrap()).map(drop);
            assert!(catch_unwind(AssertUnwindSafe(wrong)).is_err());
            assert!(!second.is_locked());
            condvar.notify_one();
        },
    );
    // Nobody waits now, so another one will do.
    let outcome = condvar.wait_timeout(second.lock().unwrap(), Duration::ZERO);
    assert!(outcome.unwrap().1.timed_out());
}

#[test]
fn nobody_goes_on_without_a_notification_and_nobody_is_blamed_for_it() {
    by_both(|by| {
        let (lock, condvar) = (Mutex::new(false), Condvar::named("lost"));
        // It comes too early, and is lost.
        assert_eq!(condvar.notify_all(), 0);
        let f = async |_| {
            let held = by.lock(&lock).await?;
            by.condvar(&condvar, held).await.map(drop)
        };
        let ends = bunch(by, 1, f, || {
            eventually_waiting("lost", 1);
            detector::settle();
            assert_eq!(bunch::waiting("lost"), 1);
            eventually(|| !lock.is_locked());
            condvar.notify_one();
        });
        assert!(ends[0].is_ok());
    });
}

/// Polls two waits until both have begun, notifies one, and drops the first.
fn check_dropped(notify: impl Fn(&Condvar) -> usize, before: bool, notified: bool) {
    let (lock, condvar) = (Mutex::new(()), Condvar::new());
    let wait = || async { condvar.wait_async(lock.lock_async().await?).await };
    let mut second = pin!(wait());
    {
        let mut first = pin!(wait());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(!before || notify(&condvar) > 0);
    }
    assert!(before || notify(&condvar) > 0);
    assert_eq!(poll(second.as_mut()).is_ready(), notified);
    // One who comes later was never meant.
    assert!(poll(pin!(wait())).is_pending());
}

#[test]
fn a_notification_of_somebody_who_is_gone_is_the_next_ones() {
    check_dropped(Condvar::notify_one, true, true);
    check_dropped(Condvar::notify_one, false, true);
    check_dropped(Condvar::notify_all, true, true);
    check_dropped(Condvar::notify_all, false, true);
}

#[test]
fn a_notification_of_all_goes_to_nobody_who_comes_later() {
    let (lock, condvar) = (Mutex::new(()), Condvar::new());
    let wait = || async { condvar.wait_async(lock.lock_async().await?).await };
    let mut later = pin!(wait());
    {
        let mut first = pin!(wait());
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(condvar.notify_all(), 1);
        assert!(poll(later.as_mut()).is_pending());
    }
    assert!(poll(later.as_mut()).is_pending());
}

#[test]
fn a_notification_is_not_lost_while_the_mutex_is_not_free() {
    let (lock, condvar) = (Mutex::new(()), Condvar::new());
    let wait = || async { condvar.wait_async(lock.lock_async().await?).await };
    let mut second = pin!(wait());
    {
        let mut first = pin!(wait());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        let held = lock.lock().unwrap();
        assert_eq!(condvar.notify_one(), 1);
        // It was notified, but cannot have the mutex.
        assert!(poll(first.as_mut()).is_pending());
        drop(held);
    }
    assert!(poll(second.as_mut()).is_ready());
}

#[test]
fn having_the_mutex_again_can_be_part_of_a_deadlock() {
    by_both(|by| {
        let (data, other) = (Mutex::named("data", ()), Mutex::named("other", ()));
        let condvar = Condvar::named("again");
        let f = async |i| -> Result<(), LockError> {
            if i == 0 {
                let _other = by.lock(&other).await?;
                let held = by.lock(&data).await?;
                drop(by.condvar(&condvar, held).await?);
            } else {
                by.until(|| bunch::waiting("again") == 1).await;
                let _data = by.lock(&data).await?;
                condvar.notify_one();
                drop(by.lock(&other).await?);
            }
            Ok(())
        };
        let ends = bunch(by, 2, f, || ());
        let reports: Vec<_> = ends
            .into_iter()
            .filter(Result::is_err)
            .map(deadlock)
            .collect();
        let [report] = &reports[..] else {
            panic!("{reports:?}")
        };
        assert_eq!(report.kind, DeadlockKind::Cycle);
        assert_eq!(waited_for(report), ["data", "other"]);
        assert!(!data.is_locked() && !other.is_locked());
    });
}

#[test]
fn lock_order_checking_warns_of_other_locks_that_are_held_while_waiting() {
    let warned = |lock: &str| {
        let warnings = order::warnings();
        warnings
            .iter()
            .any(|warning| warning.to_string().contains(lock))
    };
    by_both(|by| {
        let condvar = Condvar::named("nested monitor");
        let data = Mutex::named("the mutex that is let go", ());
        let other = Mutex::named(["held by a thread", "held by a task"][by as usize], ());
        let f = async |_| {
            let held = by.lock(&data).await.unwrap();
            drop(by.condvar(&condvar, held).await.unwrap());
            let _other = by.lock(&other).await.unwrap();
            let held = by.lock(&data).await.unwrap();
            drop(by.condvar(&condvar, held).await.unwrap());
        };
        bunch(by, 1, f, || {
            for _ in 0..2 {
                eventually_waiting("nested monitor", 1);
                condvar.notify_one();
            }
        });
    });
    assert!(warned("held by a thread") && warned("held by a task"));
    let own = |warning: &order::Warning| {
        warning
            .held
            .to_string()
            .contains("the mutex that is let go")
    };
    assert!(!order::warnings().iter().any(own));
}

// Reentrant mutexes.

#[test]
fn all_levels_are_let_go_while_waiting() {
    let lock = ReentrantMutex::new(Cell::new(0));
    let condvar = Condvar::named("levels");
    let f = async |_| {
        let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
        let inner = condvar.wait(inner).unwrap();
        assert_eq!((outer.get(), inner.get()), (7, 7));
        assert_eq!(lock.levels(), 2);
    };
    bunch(By::Threads, 1, f, || {
        eventually_waiting("levels", 1);
        lock.lock().unwrap().set(7);
        condvar.notify_one();
    });
    assert!(!lock.is_locked());
}

#[test]
fn whoever_has_other_guards_still_is_not_refused() {
    let (data, other) = (
        ReentrantMutex::named("levels of data", ()),
        Mutex::named("other", ()),
    );
    let condvar = Condvar::named("not refused");
    let waiter = async || -> Result<(), LockError> {
        let _other = other.lock()?;
        let _outer = data.lock()?;
        let inner = condvar.wait(data.lock()?)?;
        drop(inner);
        assert!(data.is_owned());
        Ok(())
    };
    let notifier = async || -> Result<(), LockError> {
        eventually_waiting("not refused", 1);
        let _data = data.lock()?;
        condvar.notify_one();
        drop(other.lock()?);
        Ok(())
    };
    let f = async |i| {
        if i == 0 {
            waiter().await
        } else {
            notifier().await
        }
    };
    let mut ends = bunch(By::Threads, 2, f, || ());
    deadlock(ends.remove(1));
    assert!(ends.remove(0).is_ok());
    assert!(!data.is_locked());
}

#[test]
fn a_call_does_not_have_what_its_thread_has() {
    let lock = ReentrantMutex::new(());
    let _held = lock.lock().unwrap();
    Frame::new("call").enter(|| {
        assert!(!lock.is_owned());
        assert!(lock.try_lock().is_none());
    });
    assert!(lock.is_owned());
}

#[test]
fn one_call_on_two_threads_does_not_have_the_data_twice() {
    let lock = ReentrantMutex::new(());
    let call = Frame::new("call");
    call.enter(|| {
        let _held = lock.lock().unwrap();
        let there = || call.enter(|| lock.try_lock().is_none());
        assert!(std::thread::scope(|scope| scope
            .spawn(there)
            .join()
            .unwrap()));
    });
}

#[test]
fn what_a_task_runs_under_a_reentrant_mutex_may_lock_it_again() {
    let lock = ReentrantMutex::new(Cell::new(0));
    let add = || lock.lock().map(|held| held.set(held.get() + 1));
    for future in [true, false].map(|ours| {
        let run = lock.run_async(|_| add().and_then(|()| add()));
        async move {
            if ours {
                named_task("adds", run).await
            } else {
                run.await
            }
        }
    }) {
        assert!(poll(pin!(future)).is_ready());
    }
    assert_eq!(lock.lock().unwrap().get(), 4);
}

#[test]
fn two_reentrant_mutexes_in_different_orders_are_a_deadlock() {
    let locks = [
        ReentrantMutex::named("rlock a", ()),
        ReentrantMutex::named("rlock b", ()),
    ];
    let both = std::sync::Barrier::new(2);
    let f = async |i: usize| -> Result<(), LockError> {
        let _mine = locks[i].lock()?;
        let _again = locks[i].lock()?;
        both.wait();
        locks[1 - i].lock().map(drop)
    };
    let ends = bunch(By::Threads, 2, f, || ());
    let mut reports = ends.into_iter().filter(Result::is_err).map(deadlock);
    assert_eq!(waited_for(&reports.next().unwrap()), ["rlock a", "rlock b"]);
    assert!(reports.next().is_none());
}

// What is made once.

#[test]
fn a_value_that_needs_itself_is_a_deadlock_that_names_it() {
    static VALUE: Lazy<Option<Arc<Report>>> = Lazy::named("ouroboros", || {
        Lazy::get(&VALUE)
            .err()
            .map(|error| deadlock::<()>(Err(error)))
    });
    let report = VALUE.as_ref().unwrap();
    assert_eq!(report.kind, DeadlockKind::SelfLock);
    assert_eq!(waited_for(report), ["ouroboros"]);
    assert!(report.to_string().contains("ouroboros"));
}

#[test]
fn two_values_that_need_each_other_are_a_deadlock_that_names_both() {
    static MEETING: std::sync::Barrier = std::sync::Barrier::new(2);
    static CHICKEN: Lazy<Result<(), LockError>> = Lazy::named("chicken", || {
        MEETING.wait();
        Lazy::get(&EGG).map(drop)
    });
    static EGG: Lazy<Result<(), LockError>> = Lazy::named("egg", || {
        MEETING.wait();
        Lazy::get(&CHICKEN).map(drop)
    });
    let other = thread::spawn(|| Lazy::get(&EGG).map(drop));
    Lazy::get(&CHICKEN).unwrap();
    other.join().unwrap().unwrap().unwrap();
    let results = [&*CHICKEN, &*EGG];
    let mut reports = results
        .into_iter()
        .filter_map(|result| result.as_ref().err());
    let report = reports.next().unwrap().deadlock().unwrap();
    assert_eq!(waited_for(report), ["chicken", "egg"]);
    assert_eq!(report.kind, DeadlockKind::Cycle);
    // The other one could be made then.
    assert!(reports.next().is_none());
}

#[test]
fn what_tasks_do_once_and_needs_each_other_is_a_deadlock() {
    let onces = [Once::named("first once"), Once::named("second once")];
    let begun = AtomicUsize::new(0);
    let f = async |i: usize| {
        let mut inner = Ok(());
        let outer = onces[i].call_once_async(async || {
            begun.fetch_add(1, SeqCst);
            By::Tasks.until(|| begun.load(SeqCst) == 2).await;
            inner = onces[1 - i].call_once_async(async || ()).await;
        });
        outer.await.unwrap();
        inner
    };
    let ends = bunch(By::Tasks, 2, f, || ());
    let mut reports = ends.into_iter().filter(Result::is_err).map(deadlock);
    assert_eq!(
        waited_for(&reports.next().unwrap()),
        ["first once", "second once"]
    );
    assert!(reports.next().is_none());
    assert!(onces.iter().all(Once::is_completed));
}

#[test]
fn it_is_done_once() {
    by_both(|by| {
        let (once, runs) = (Once::new(), AtomicUsize::new(0));
        let made = AtomicUsize::new(0);
        let lazy = Lazy::new(|| made.fetch_add(1, SeqCst));
        let f = async |_| {
            match by {
                By::Threads => once.call_once(|| _ = runs.fetch_add(1, SeqCst))?,
                By::Tasks => {
                    let run = async || {
                        tokio::task::yield_now().await;
                        runs.fetch_add(1, SeqCst);
                    };
                    once.call_once_async(run).await?;
                    Lazy::get_async(&lazy).await?;
                }
            }
            Lazy::get(&lazy).copied()
        };
        let ends = bunch(by, 5, f, || ());
        assert!(ends.iter().all(|end| matches!(end, Ok(0))), "{ends:?}");
        assert_eq!((runs.load(SeqCst), made.load(SeqCst)), (1, 1));
    });
}

#[test]
fn after_a_panic_or_a_drop_the_next_one_tries_again() {
    let (once, tries) = (Once::new(), AtomicUsize::new(0));
    let lazy = Lazy::new(|| assert!(tries.fetch_add(1, SeqCst) > 0, "on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(|| Lazy::get(&lazy).map(drop))).is_err());
    assert!(Lazy::made(&lazy).is_none());
    assert!(Lazy::get(&lazy).is_ok());
    let panics = || once.call_once(|| panic!("on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert!(poll(pin!(once.call_once_async(std::future::pending::<()>))).is_pending());
    assert!(!once.is_completed());
    once.call_once(|| ()).unwrap();
    assert!(once.is_completed());
}

#[test]
fn a_value_that_cannot_be_made_panics_with_the_report() {
    static VALUE: Lazy<u32> = Lazy::named("forced", || *VALUE + 1);
    let payload = catch_unwind(|| *VALUE).unwrap_err();
    let text = payload.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("deadlock") && text.contains("forced"),
        "{text}"
    );
}

// Ends of threads and tasks.

#[test]
fn a_thread_that_waits_for_who_joins_it_is_a_deadlock() {
    static LOCK: Mutex<()> = Mutex::named("wanted", ());
    let held = LOCK.lock().unwrap();
    let worker = thread::named("worker", || LOCK.lock().map(drop));
    let joined = worker.join();
    drop(held);
    // Whoever of the two is the victim.
    let report = match joined {
        Ok(result) => deadlock(result.unwrap()),
        Err(error) => deadlock::<()>(Err(error)),
    };
    assert_eq!(waited_for(&report), ["wanted", "worker"]);
    assert_eq!(report.kind, DeadlockKind::Cycle);
    let text = report.to_string();
    assert!(text.contains("worker") && text.contains("wanted"), "{text}");
}

#[test]
fn a_task_that_waits_for_who_joins_it_is_a_deadlock() {
    let lock = Mutex::named("wanted by a task", ());
    let (worker, handle) = named_joinable("working", async { lock.lock_async().await.map(drop) });
    let boss = async {
        let _held = lock.lock_async().await?;
        // The other one waits before this one does.
        By::Tasks
            .until(|| bunch::waiting("wanted by a task") == 1)
            .await;
        handle.await?
    };
    let mut result = Ok(());
    let boss = named_task("boss", async { result = boss.await });
    all([
        Box::pin(boss) as Pin<Box<dyn Future<Output = ()>>>,
        Box::pin(worker),
    ]
    .into_iter());
    let report = deadlock(result);
    assert_eq!(waited_for(&report), ["wanted by a task", "working"]);
}

#[test]
fn a_thread_that_joins_itself_is_a_deadlock() {
    let (give, take) = std::sync::mpsc::channel::<thread::JoinHandle<()>>();
    let failed = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&failed);
    let handle = thread::spawn(move || {
        let report = deadlock(take.recv().unwrap().join().map(drop));
        assert_eq!(report.kind, DeadlockKind::SelfLock);
        there.store(true, SeqCst);
    });
    give.send(handle).unwrap();
    eventually(|| failed.load(SeqCst));
}

#[test]
fn joining_gives_what_the_thread_gave() {
    assert_eq!(thread::spawn(|| 7).join().unwrap().unwrap(), 7);
    let panicked = thread::spawn(|| panic!("on purpose")).join().unwrap();
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"on purpose"));
    let handle = thread::spawn(|| 7);
    assert_eq!(block_on(handle.join_async()).unwrap().unwrap(), 7);
    let named = thread::named("called so", || {
        std::thread::current().name().map(str::to_owned)
    });
    assert_eq!(named.join().unwrap().unwrap().as_deref(), Some("called so"));
}

#[test]
fn joining_can_be_tried_again() {
    let go = Arc::new(Event::new());
    let there = Arc::clone(&go);
    let mut handle = thread::spawn(move || there.wait());
    let first = handle.join_timeout(Duration::from_millis(1));
    assert!(matches!(first, Err(LockError::Timeout)));
    assert!(!handle.is_finished());
    go.set();
    assert!(handle.join().unwrap().unwrap().is_ok());
}

#[test]
fn the_frame_of_a_thread_is_known_from_the_beginning() {
    let handle = thread::spawn(frame::current);
    let frame = handle.frame();
    assert_eq!(handle.join().unwrap().unwrap(), frame);
}

#[test]
fn joining_gives_what_the_task_gave_or_says_that_it_is_gone() {
    let (task, handle) = joinable(async { 7 });
    assert!(!handle.is_finished());
    block_on(task);
    assert_eq!(handle.join().unwrap(), 7);
    let (task, handle) = joinable(std::future::pending::<()>());
    drop(task);
    assert!(matches!(
        block_on(async { handle.await }),
        Err(LockError::Cancelled)
    ));
    let (task, handle) = joinable(async { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(task))).is_err());
    assert!(matches!(handle.join(), Err(LockError::Cancelled)));
}

// Barriers.

#[test]
fn whoever_gives_up_breaks_the_barrier() {
    let barrier = Barrier::new(3);
    let mut second = pin!(barrier.wait_async());
    {
        let mut first = pin!(barrier.wait_async());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
    }
    assert!(matches!(
        poll(second.as_mut()),
        Poll::Ready(Err(LockError::Broken))
    ));
    assert!(matches!(barrier.wait(), Err(LockError::Broken)));
    barrier.reset();
    assert!(!barrier.is_broken());
}

#[test]
fn whoever_is_done_may_be_dropped() {
    let barrier = Barrier::new(2);
    let (mut first, mut second) = (
        Box::pin(barrier.wait_async()),
        Box::pin(barrier.wait_async()),
    );
    assert!(poll(first.as_mut()).is_pending());
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(1))));
    // It could go on, but is dropped before it does.
    drop((first, second));
    assert!(!barrier.is_broken());
    // And one who never began.
    drop(barrier.wait_async());
    assert!(!barrier.is_broken());
}

#[test]
fn an_action_that_panics_breaks_the_barrier() {
    by_both(|by| {
        let barrier = Barrier::new(2).with_action(|| panic!("on purpose"));
        let f = async |_| CatchUnwind(Box::pin(by.barrier(&barrier))).await;
        let mut ends: Vec<_> = bunch(by, 2, f, || ())
            .into_iter()
            .map(|end| end.map(|end| end.is_err()))
            .collect();
        ends.sort_by_key(Result::is_err);
        assert!(matches!(ends[..], [Ok(true), Err(())]), "{ends:?}");
        assert!(barrier.is_broken());
    });
}

struct CatchUnwind<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, ()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}

/// A barrier whose action waits until it is told to go on.
fn slow(name: &'static str, parties: usize) -> (Arc<Event>, Arc<Event>, Barrier) {
    let (acting, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (there, go_there) = (Arc::clone(&acting), Arc::clone(&go));
    let barrier = Barrier::named(name, parties).with_action(move || {
        there.set();
        go_there.wait().unwrap();
    });
    (acting, go, barrier)
}

#[test]
fn nobody_leaves_while_the_action_runs() {
    let (acting, go, barrier) = slow("nobody leaves", 2);
    let f = async |_| {
        let end = barrier.wait_timeout(Duration::from_millis(20));
        assert!(go.is_set());
        end
    };
    let ends = bunch(By::Threads, 2, f, || {
        acting.wait().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        go.set();
    });
    // One of them may have been too late on a busy machine.
    assert!(
        ends.iter().all(Result::is_ok) || barrier.is_broken(),
        "{ends:?}"
    );
}

#[test]
fn whoever_comes_while_the_action_runs_is_of_the_next_round() {
    let (acting, go, barrier) = slow("next round", 2);
    let f = async |i: usize| {
        if i >= 2 {
            acting.wait()?;
        }
        barrier.wait()
    };
    let ends = bunch(By::Threads, 4, f, || {
        acting.wait().unwrap();
        eventually_waiting("next round", 3);
        go.set();
    });
    let mut indices: Vec<_> = ends.into_iter().map(Result::unwrap).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 0, 1, 1]);
}

#[test]
fn an_action_that_waits_for_a_party_is_a_deadlock() {
    static LOCK: Mutex<()> = Mutex::named("held by a party", ());
    let barrier = Barrier::named("acting", 2).with_action(|| drop(LOCK.lock().unwrap()));
    let f = async |i: usize| {
        if i == 0 {
            let _held = LOCK.lock()?;
            return barrier.wait().map(|_| ());
        }
        eventually_waiting("acting", 1);
        match catch_unwind(AssertUnwindSafe(|| barrier.wait())) {
            Ok(end) => end.map(|_| ()),
            // The action was the victim.
            Err(_) => Ok(()),
        }
    };
    let ends = bunch(By::Threads, 2, f, || ());
    assert!(ends.iter().any(Result::is_err), "{ends:?}");
    assert!(barrier.is_broken());
    assert!(!LOCK.is_locked());
}

#[test]
fn a_party_that_ends_elsewhere_breaks_the_barrier() {
    let barrier = Barrier::new(2);
    let f = async |i: usize| {
        let party = barrier.party();
        if i == 0 {
            // It returns early.
            return Err(LockError::Closed);
        }
        let index = party.wait()?;
        party.leave();
        Ok(index)
    };
    let ends = bunch(By::Threads, 2, f, || ());
    assert!(
        matches!(ends[..], [Err(LockError::Closed), Err(LockError::Broken)]),
        "{ends:?}"
    );
    barrier.reset();
    let f = async |_| {
        let party = barrier.party();
        let end = party.wait();
        party.leave();
        end
    };
    assert!(bunch(By::Threads, 2, f, || ()).iter().all(Result::is_ok));
    assert!(!barrier.is_broken());
}

#[test]
fn a_barrier_for_one_or_none_lets_everybody_through() {
    for parties in [0, 1] {
        let barrier = Barrier::new(parties);
        for _ in 0..3 {
            assert!(matches!(barrier.wait(), Ok(0)));
            assert!(matches!(
                poll(pin!(barrier.wait_async())),
                Poll::Ready(Ok(0))
            ));
        }
    }
}

// Wakers.

/// What an executor wakes a task with, and how many of these there are.
struct CountedWaker(std::thread::Thread, Arc<AtomicUsize>);

impl Wake for CountedWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Drop for CountedWaker {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

#[test]
fn what_wakes_a_task_is_not_kept_after_its_wait() {
    let lock = Mutex::named("soon let go of", ());
    let alive = Arc::new(AtomicUsize::new(0));
    // The wait is granted, or given up.
    for is_granted in [true, false] {
        alive.fetch_add(1, SeqCst);
        let held = lock.lock().unwrap();
        let counted = CountedWaker(std::thread::current(), Arc::clone(&alive));
        let waker = Waker::from(Arc::new(counted));
        let mut context = Context::from_waker(&waker);
        let mut waiting = Box::pin(task(async { lock.lock_async().await.map(drop) }));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        // The detector has seen it by then.
        detector::settle();
        if is_granted {
            drop(held);
            while waiting.as_mut().poll(&mut context).is_pending() {
                std::thread::park();
            }
        }
        drop((waiting, waker));
        eventually(|| alive.load(SeqCst) == 0);
    }
}

#[test]
fn what_wakes_a_task_is_not_kept_for_those_who_look_further() {
    let lock = Mutex::named("looked at from elsewhere", ());
    let alive = Arc::new(AtomicUsize::new(1));
    let held = lock.lock().unwrap();
    let counted = CountedWaker(std::thread::current(), Arc::clone(&alive));
    let waker = Waker::from(Arc::new(counted));
    let mut waiting = Box::pin(task(async { lock.lock_async().await.map(drop) }));
    let frame = waiting.frame();
    let mut context = Context::from_waker(&waker);
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let reading = detector::read(&[detector::Part::Frame(frame)], 10);
    assert_eq!(reading.frames.len(), 1);
    drop((waiting, waker, held));
    eventually(|| alive.load(SeqCst) == 0);
}

// Panics.

#[test]
fn after_a_panic_everything_can_be_had_again() {
    let mutex = Mutex::new(());
    let reentrant = ReentrantMutex::new(());
    let lock = RwLock::new(());
    let condvar = Condvar::new();
    let panics = || -> Result<(), LockError> {
        let _read = lock.read()?;
        let _levels = (reentrant.lock()?, reentrant.lock()?);
        let _held = condvar.wait_timeout(mutex.lock()?, Duration::ZERO)?;
        panic!("on purpose");
    };
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    }
    assert!(!mutex.is_locked() && !reentrant.is_locked());
    assert!(lock.try_write().is_some());
}
