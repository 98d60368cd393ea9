//! Deadlocks are found, named and broken; what only looks like one is left alone.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use antifreeze_sync::{
    AgentKind, DeadlockKind, Event, Frame, LockError, Mutex, Report, RwLock,
    RwLockUpgradableReadGuard, RwLockWriteGuard, block_on, detector, named_task, set_priority,
    task,
};
use support::{By, Rendezvous, by_both, eventually};

/// `n` agents stand in a ring: each has a lock and asks for that of its neighbour.
fn ring(by: By, n: usize) -> Vec<Result<(), LockError>> {
    ring_of(by, n, |_| {})
}

/// The same, where each first does this, with its number.
fn ring_of(
    by: By,
    n: usize,
    begin: impl Fn(usize) + Copy + Send + 'static,
) -> Vec<Result<(), LockError>> {
    let locks: Arc<Vec<_>> = Arc::new(
        (0..n)
            .map(|i| Mutex::new(i).with_name(format!("lock {i}")))
            .collect(),
    );
    let meeting = Rendezvous::of(n, by);
    let parts = (0..n).map(|i| {
        let (locks, meeting) = (Arc::clone(&locks), meeting.clone());
        part!(async move {
            begin(i);
            let _mine = by.lock(&locks[i]).await?;
            meeting.meet().await;
            let _theirs = by.lock(&locks[(i + 1) % locks.len()]).await?;
            Ok(())
        })
    });
    by.play(parts.collect())
}

fn reports(ends: &[Result<(), LockError>]) -> Vec<&Report> {
    ends.iter()
        .filter_map(|end| end.as_ref().err())
        .map(|error| error.deadlock().expect("no other error"))
        .collect()
}

#[test]
fn rings_of_any_size_lose_one_of_their_members() {
    by_both(|by| {
        for n in [2, 3, 4, 5, 8, 16, 32, 64] {
            let ends = ring(by, n);
            let reports = reports(&ends);
            assert_eq!(reports.len(), 1, "{by:?} {n}: {ends:?}");
            assert_eq!(reports[0].members.len(), n);
            assert_eq!(reports[0].kind, DeadlockKind::Cycle);
            // Every member waits for what the next one holds.
            for (i, member) in reports[0].members.iter().enumerate() {
                let next = &reports[0].members[(i + 1) % n];
                assert_eq!(member.waits.len(), 1);
                assert_eq!(next.holds.len(), 1);
                assert_eq!(member.waits[0].resource, next.holds[0].resource);
                assert!(
                    next.holds[0]
                        .site
                        .as_ref()
                        .unwrap()
                        .file()
                        .ends_with("mod.rs")
                );
            }
        }
    });
}

#[test]
fn the_youngest_is_the_victim() {
    by_both(|by| {
        let ends = ring(by, 2);
        let report = reports(&ends)[0];
        let frames: Vec<_> = report
            .members
            .iter()
            .map(|member| member.agent.frame)
            .collect();
        assert_eq!(Some(&frames[report.victim]), frames.iter().max());
    });
}

#[test]
fn who_has_the_lowest_priority_fails() {
    by_both(|by| {
        for lowest in 0..3 {
            let begin = move |i| set_priority(if i == lowest { -1 } else { 5 });
            let failed: Vec<bool> = ring_of(by, 3, begin).iter().map(Result::is_err).collect();
            let expected: Vec<bool> = (0..3).map(|i| i == lowest).collect();
            assert_eq!(failed, expected, "{by:?}");
        }
    });
}

#[test]
fn a_thread_that_locks_twice_is_told_at_once() {
    let lock = Mutex::named("twice", ());
    let held = lock.lock().unwrap();
    let error = lock.lock().unwrap_err();
    let report = error.deadlock().unwrap();
    assert_eq!(report.kind, DeadlockKind::SelfLock);
    assert_eq!(report.members[0].waits[0].site.line(), line!() - 3);
    let held_at = report.members[0].holds[0].site.as_ref();
    assert_eq!(held_at.unwrap().line(), line!() - 6);
    assert!(error.to_string().contains("deadlock") && error.to_string().contains("\"twice\""));
    drop(held);
    drop(lock.lock().unwrap());
}

#[test]
fn a_task_that_locks_twice_is_told_too() {
    let lock = Mutex::new(());
    let error = block_on(task(async {
        let _held = lock.lock_async().await?;
        lock.lock_async().await.map(drop)
    }))
    .unwrap_err();
    assert_eq!(error.deadlock().unwrap().kind, DeadlockKind::SelfLock);
    assert!(!lock.is_locked());
}

#[test]
fn a_reader_that_wants_to_write_is_told() {
    by_both(|by| {
        let lock = Arc::new(RwLock::new(()));
        let ends = by.play(vec![part!(async move {
            let _reading = by.read(&lock).await?;
            by.write(&lock).await.map(drop)
        })]);
        assert_eq!(reports(&ends)[0].kind, DeadlockKind::Upgrade, "{by:?}");
    });
}

#[test]
fn two_readers_that_both_want_to_write() {
    by_both(|by| {
        let lock = Arc::new(RwLock::new(0));
        let meeting = Rendezvous::of(2, by);
        let part = || {
            let (lock, meeting) = (Arc::clone(&lock), meeting.clone());
            part!(async move {
                let reading = by.read(&lock).await?;
                meeting.meet().await;
                let writing = by.write(&lock).await;
                drop(reading);
                writing.map(drop)
            })
        };
        let ends = by.play(vec![part(), part()]);
        // Each of them reads and waits to write, so each waits for itself, too.
        assert_eq!(reports(&ends).len(), 2, "{by:?} {ends:?}");
        assert!(!lock.is_locked());
    });
}

#[test]
fn an_upgradable_reader_upgrades_when_the_others_have_left() {
    let lock = RwLock::new(1);
    let mine = lock.upgradable_read().unwrap();
    let theirs = lock.read().unwrap();
    assert!(lock.try_upgradable_read().is_none());
    let mine = RwLockUpgradableReadGuard::try_upgrade(mine).unwrap_err();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(lock.write_timeout(Duration::ZERO).is_err()));
    });
    drop(theirs);
    let mut mine = RwLockUpgradableReadGuard::upgrade(mine).unwrap();
    *mine += 1;
    drop(mine);
    assert_eq!(*lock.read().unwrap(), 2);
}

fn is_waited_for(name: &str) -> bool {
    let waited_for = detector::snapshot().resources;
    waited_for
        .iter()
        .any(|state| state.resource.name.as_deref() == Some(name))
}

#[test]
fn a_reader_may_read_again_though_a_writer_waits() {
    by_both(|by| {
        let name = format!("read again by {by:?}");
        let lock = Arc::new(RwLock::new(()).with_name(&name));
        let meeting = Rendezvous::of(2, by);
        let writes = Arc::new(AtomicUsize::new(0));
        let reading = {
            let (lock, meeting, writes) = (Arc::clone(&lock), meeting.clone(), Arc::clone(&writes));
            part!(async move {
                let _first = by.read(&lock).await?;
                meeting.meet().await;
                by.until(|| is_waited_for(&name)).await;
                let _second = by.read(&lock).await?;
                assert_eq!(writes.load(Ordering::SeqCst), 0);
                Ok(())
            })
        };
        let writing = part!(async move {
            meeting.meet().await;
            let _writing = by.write(&lock).await?;
            writes.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        for end in by.play(vec![reading, writing]) {
            end.unwrap();
        }
    });
}

#[test]
fn a_strict_lock_lets_nobody_past_and_reports() {
    let lock = Arc::new(RwLock::new(()).strict());
    let reading = lock.read().unwrap();
    let writer = {
        let lock = Arc::clone(&lock);
        std::thread::spawn(move || lock.write().map(drop))
    };
    eventually(|| lock.try_read().is_none());
    // The writer waits for us, and we for the writer.
    let again = lock.read();
    let ends = [again.map(drop), {
        drop(reading);
        writer.join().unwrap()
    }];
    assert_eq!(reports(&ends).len(), 1, "{ends:?}");
    assert_eq!(reports(&ends)[0].members.len(), 2);
}

#[test]
fn a_wait_with_a_deadline_is_the_first_to_fail() {
    let (left, right) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let meeting = Rendezvous::of(2, By::Threads);
    let began = Instant::now();
    let first = {
        let (left, right, meeting) = (Arc::clone(&left), Arc::clone(&right), meeting.clone());
        part!(async move {
            let _left = left.lock()?;
            meeting.meet().await;
            right.lock_timeout(Duration::from_secs(30)).map(drop)
        })
    };
    let second = part!(async move {
        let _right = right.lock()?;
        meeting.meet().await;
        left.lock().map(drop)
    });
    let ends = By::Threads.play(vec![first, second]);
    assert!(
        ends[0]
            .as_ref()
            .is_err_and(|error| error.deadlock().is_some()),
        "{ends:?}"
    );
    assert!(ends[1].is_ok());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it was found long before the deadline"
    );
}

#[test]
fn a_deadline_ends_a_wait_that_is_no_deadlock() {
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let waiting = {
        let lock = Arc::clone(&lock);
        std::thread::spawn(move || lock.lock_timeout(Duration::from_millis(5)).map(drop))
    };
    assert!(matches!(waiting.join().unwrap(), Err(LockError::Timeout)));
    drop(held);
    assert!(!lock.is_locked());
    drop(lock.lock_until(Instant::now()).unwrap());
}

#[test]
fn locks_under_a_common_one_are_no_deadlock() {
    by_both(|by| {
        let gate = Arc::new(Mutex::new(()));
        let locks = Arc::new([Mutex::new(0), Mutex::new(0)]);
        let part = |first: usize| {
            let (gate, locks) = (Arc::clone(&gate), Arc::clone(&locks));
            part!(async move {
                for _ in 0..200 {
                    let _gate = by.lock(&gate).await?;
                    let mut one = by.lock(&locks[first]).await?;
                    by.pause().await;
                    let mut other = by.lock(&locks[1 - first]).await?;
                    *one += 1;
                    *other += 1;
                }
                Ok(())
            })
        };
        for end in by.play(vec![part(0), part(1)]) {
            end.unwrap();
        }
        assert_eq!(*locks[0].lock().unwrap(), 400);
    });
}

#[test]
fn cycles_that_share_a_member_are_all_broken() {
    // The middle one has two locks; each of its neighbours has one and wants one of the middle's,
    // which wants both of theirs, one after the other.
    by_both(|by| {
        let locks: Arc<Vec<_>> = Arc::new((0..4).map(|_| Mutex::new(())).collect());
        let meeting = Rendezvous::of(3, by);
        let part = |has: &'static [usize], wants: &'static [usize]| {
            let (locks, meeting) = (Arc::clone(&locks), meeting.clone());
            part!(async move {
                let mut held = Vec::new();
                for &i in has {
                    held.push(by.lock(&locks[i]).await?);
                }
                meeting.meet().await;
                for &i in wants {
                    held.push(by.lock(&locks[i]).await?);
                }
                Ok(())
            })
        };
        let ends = by.play(vec![
            part(&[0, 1], &[2, 3]),
            part(&[2], &[0]),
            part(&[3], &[1]),
        ]);
        assert!(!reports(&ends).is_empty(), "{ends:?}");
        assert!(locks.iter().all(|lock| !lock.is_locked()));
    });
}

#[test]
fn somebody_who_swallows_the_error_and_tries_again_is_spared_next_time() {
    let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
    let rounds = 20;
    let part = |mine: usize| {
        let locks = Arc::clone(&locks);
        std::thread::spawn(move || {
            let mut failed = 0;
            for _ in 0..rounds {
                loop {
                    let first = locks[mine].lock().unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                    match locks[1 - mine].lock() {
                        Ok(_) => break,
                        Err(error) => {
                            assert!(error.deadlock().is_some());
                            failed += 1;
                        }
                    }
                    drop(first);
                }
            }
            failed
        })
    };
    let failed: Vec<i32> = [part(0), part(1)]
        .map(|thread| thread.join().unwrap())
        .into();
    assert!(failed.iter().sum::<i32>() > 0, "they never met");
    // Nobody is always the victim.
    assert!(
        (failed[0] - failed[1]).abs() <= 3 + failed[0].min(failed[1]),
        "{failed:?}"
    );
}

#[test]
fn a_task_that_something_else_can_wake_is_not_stuck() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let there = Arc::new(tokio::sync::Barrier::new(2));
        let patient = {
            let (locks, there) = (Arc::clone(&locks), Arc::clone(&there));
            tokio::spawn(task(async move {
                let _first = locks[0].lock_async().await?;
                there.wait().await;
                // No deadlock as long as the timer can end it.
                tokio::select! {
                    second = locks[1].lock_async() => second.map(|_| "both"),
                    () = tokio::time::sleep(Duration::from_millis(30)) => Ok("gave up"),
                }
            }))
        };
        let other = tokio::spawn(task(async move {
            let _second = locks[1].lock_async().await?;
            there.wait().await;
            let _first = locks[0].lock_async().await?;
            Ok::<_, LockError>("both")
        }));
        assert_eq!(patient.await.unwrap().unwrap(), "gave up");
        assert_eq!(other.await.unwrap().unwrap(), "both");
    });
}

#[test]
fn a_branch_that_ends_leaves_the_deadlock_of_the_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let there = Arc::new(tokio::sync::Barrier::new(2));
        let part = |mine: usize| {
            let (locks, there) = (Arc::clone(&locks), Arc::clone(&there));
            tokio::spawn(task(async move {
                let _mine = locks[mine].lock_async().await?;
                there.wait().await;
                let pause = tokio::time::sleep(Duration::from_millis(5 + 10 * mine as u64));
                let (theirs, ()) = tokio::join!(locks[1 - mine].lock_async(), pause);
                theirs.map(drop)
            }))
        };
        let ends = [part(0), part(1)];
        let mut failed = 0;
        for end in ends {
            failed += usize::from(end.await.unwrap().is_err());
        }
        assert_eq!(failed, 1);
    });
}

#[test]
fn a_task_that_was_aborted_leaves_its_place() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let lock = Arc::new(Mutex::new(0));
        let held = lock.lock_async().await.unwrap();
        let waiting = |add: i32| {
            let lock = Arc::clone(&lock);
            let task = task(async move {
                *lock.lock_async().await? += add;
                Ok::<_, LockError>(())
            });
            let frame = task.frame();
            let task = tokio::spawn(task);
            eventually(|| detector::is_waiting(frame));
            task
        };
        let (first, second) = (waiting(1), waiting(2));
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        drop(held);
        second.await.unwrap().unwrap();
        assert_eq!(*lock.lock().unwrap(), 2);
    });
}

/// The counter of which Twisted's documentation of `DeferredLock` speaks.
struct NetworkCounter {
    count: Mutex<u32>,
}

impl NetworkCounter {
    async fn next(&self) -> Result<u32, LockError> {
        self.count
            .run_async(async |count| {
                *count += 1;
                record(*count).await;
                *count
            })
            .await
    }
}

async fn record(_: u32) {
    tokio::task::yield_now().await;
}

#[test]
fn two_uses_of_a_counter_in_one_task() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let counter = NetworkCounter {
        count: Mutex::new(0),
    };
    let (first, second) = runtime.block_on(named_task("both", async {
        tokio::join!(counter.next(), counter.next())
    }));
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
}

#[test]
fn a_run_inside_a_run_of_the_same_lock_is_an_error() {
    let lock = Mutex::new(());
    let inner = block_on(lock.run_async(async |_| lock.run_async(async |_| ()).await)).unwrap();
    assert_eq!(
        inner.unwrap_err().deadlock().unwrap().kind,
        DeadlockKind::SelfLock
    );
    let other = Mutex::new(());
    block_on(lock.run_async(async |_| other.run_async(async |_| ()).await))
        .unwrap()
        .unwrap();
}

#[test]
fn locks_of_tasks_that_are_not_ours_work_but_are_not_claimed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let there = Arc::new(tokio::sync::Barrier::new(2));
        let part = |mine: usize| {
            let (locks, there) = (Arc::clone(&locks), Arc::clone(&there));
            tokio::spawn(async move {
                let _mine = locks[mine].lock_async().await.unwrap();
                there.wait().await;
                let theirs = locks[1 - mine].lock_async();
                tokio::time::timeout(Duration::from_millis(20), theirs)
                    .await
                    .is_err()
            })
        };
        let (first, second) = (part(0), part(1));
        // Nobody is told of a deadlock; the time-outs end it.
        assert!(first.await.unwrap() || second.await.unwrap());
    });
}

#[test]
fn a_call_that_wants_what_its_own_thread_holds_is_told() {
    let lock = Mutex::named("of the thread", ());
    let held = lock.lock().unwrap();
    let error = Frame::new("a call")
        .enter(|| lock.lock().map(drop))
        .unwrap_err();
    let report = error.deadlock().unwrap();
    let members: Vec<_> = report
        .members
        .iter()
        .map(|member| member.agent.kind)
        .collect();
    assert_eq!(members, [AgentKind::Call, AgentKind::Thread], "{report}");
    assert_eq!(
        report.members[report.victim].agent.name.as_deref(),
        Some("a call")
    );
    drop(held);
    assert!(!lock.is_locked());
}

#[test]
fn a_thread_that_is_inside_a_call_is_part_of_a_ring() {
    let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
    let meeting = Rendezvous::of(2, By::Threads);
    let part = |mine: usize| {
        let (locks, meeting) = (Arc::clone(&locks), meeting.clone());
        part!(async move {
            let _mine = locks[mine].lock()?;
            meeting.meet().await;
            Frame::new(format!("call {mine}")).enter(|| locks[1 - mine].lock().map(drop))
        })
    };
    let ends = By::Threads.play(vec![part(0), part(1)]);
    assert_eq!(reports(&ends).len(), 1, "{ends:?}");
    assert_eq!(reports(&ends)[0].members.len(), 4);
}

#[test]
fn a_task_inside_a_thread_that_waits_for_it_is_part_of_that() {
    let lock = Mutex::new(());
    let held = lock.lock().unwrap();
    let error = block_on(task(async { lock.lock_async().await.map(drop) })).unwrap_err();
    assert_eq!(error.deadlock().unwrap().kind, DeadlockKind::SelfLock);
    drop(held);
}

#[test]
fn a_frame_that_runs_elsewhere_too_is_not_claimed() {
    let locks = [Mutex::new(()), Mutex::new(())];
    let call = Frame::new("a call");
    let (go, gone) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (call, locks) = (&call, &locks);
        // The call has the first lock on one thread, and will let go of it …
        let other = scope.spawn(move || {
            call.enter(|| {
                let held = locks[0].lock().unwrap();
                go.send(()).unwrap();
                eventually(|| locks[1].is_locked());
                std::thread::sleep(Duration::from_millis(20));
                drop(held);
            });
        });
        gone.recv().unwrap();
        // … while it waits on another one for somebody who waits for that lock.
        let between = scope.spawn(|| {
            let _second = locks[1].lock()?;
            locks[0].lock().map(drop)
        });
        eventually(|| locks[1].is_locked());
        let waited = call.enter(|| locks[1].lock().map(drop));
        assert!(waited.is_ok(), "{waited:?}");
        assert!(between.join().unwrap().is_ok());
        other.join().unwrap();
    });
}

#[test]
fn a_task_that_is_given_a_lock_while_it_blocks_its_thread_is_looked_at_again() {
    let [wanted, other] = [Mutex::new(()), Mutex::new(())];
    let held = wanted.lock().unwrap();
    std::thread::scope(|scope| {
        let (wanted, other) = (&wanted, &other);
        // It has `other`, and will ask for `wanted` when the task stands in line for that.
        let late = scope.spawn(move || {
            let _other = other.lock()?;
            eventually(|| detector::snapshot().to_string().contains("in line"));
            std::thread::sleep(Duration::from_millis(10));
            wanted.lock().map(drop)
        });
        eventually(|| other.is_locked());
        let in_line = std::thread::Builder::new().name("in line".to_owned());
        let blocking = in_line.spawn_scoped(scope, move || {
            block_on(async {
                let asked = wanted.lock_async();
                let mut asked = std::pin::pin!(asked);
                std::future::poll_fn(|context| {
                    if asked.as_mut().poll(context).is_ready() {
                        return std::task::Poll::Ready(Ok(()));
                    }
                    // It stands in line, and now blocks the thread that polls it.
                    std::task::Poll::Ready(other.lock().map(drop))
                })
                .await
            })
        });
        let blocking = blocking.unwrap();
        // Long after all were looked at, the lock goes to the task, which cannot take it.
        std::thread::sleep(Duration::from_millis(60));
        drop(held);
        let ends = [late.join().unwrap(), blocking.join().unwrap()];
        assert_eq!(reports(&ends).len(), 1, "{ends:?}");
    });
}

/// Runs `part` on a runtime, outside of any task of ours, and then has its thread lock `other`.
fn outside_of_tasks(part: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(part);
}

#[test]
fn what_is_changed_outside_of_tasks_belongs_to_nobody() {
    let lock = RwLock::new(());
    let held = std::cell::Cell::new(0);
    outside_of_tasks(async {
        let reading = RwLock::upgradable_read_async(&lock).await.unwrap();
        let Ok(writing) = RwLockUpgradableReadGuard::try_upgrade(reading) else {
            panic!("it is alone")
        };
        // This thread polls, but has no part in it: the wait is no deadlock.
        assert!(matches!(
            lock.write_timeout(Duration::from_millis(5)),
            Err(LockError::Timeout)
        ));
        let reading = RwLockWriteGuard::downgrade(writing);
        assert!(matches!(
            lock.write_timeout(Duration::from_millis(5)),
            Err(LockError::Timeout)
        ));
        drop(reading);
        held.set(1);
    });
    assert_eq!(held.get(), 1);
}

#[test]
fn a_task_that_blocks_on_something_inside_a_poll_is_found_all_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        let there = Arc::new(tokio::sync::Barrier::new(2));
        let part = |mine: usize| {
            let (locks, there) = (Arc::clone(&locks), Arc::clone(&there));
            tokio::spawn(task(async move {
                let _mine = locks[mine].lock_async().await?;
                there.wait().await;
                let theirs = locks[1 - mine].lock_async();
                let mut theirs = std::pin::pin!(theirs);
                std::future::poll_fn(move |context| {
                    let end = theirs.as_mut().poll(context);
                    // Whatever else is awaited while it is polled.
                    block_on(async { pause().await });
                    end.map(|end| end.map(drop))
                })
                .await
            }))
        };
        let ends = [part(0), part(1)];
        let mut failed = 0;
        for end in ends {
            let end = tokio::time::timeout(Duration::from_secs(20), end);
            failed += usize::from(end.await.expect("it was missed").unwrap().is_err());
        }
        assert_eq!(failed, 1);
    });
}

/// Is pending once.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn whoever_waits_for_what_is_never_claimed_is_seen_to_wait() {
    let event = Event::new();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let event = &event;
        scope.spawn(move || {
            tell.send(antifreeze_sync::frame::current()).unwrap();
            event.wait()
        });
        let frame = told.recv().unwrap();
        eventually(|| detector::is_waiting(frame));
        // The detector has long looked at it, and let it be.
        std::thread::sleep(Duration::from_millis(20));
        assert!(detector::is_waiting(frame));
        event.set();
    });
}

#[test]
fn a_deadlock_is_found_while_others_ask_what_everybody_waits_for() {
    let over = AtomicBool::new(false);
    let all_told = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(detector::snapshot());
            }
        });
        let all_told = (0..300).all(|_| {
            let locks = [Mutex::new(()), Mutex::new(())];
            let barrier = Barrier::new(2);
            let cross = |first: usize, second: usize| {
                let _first = locks[first].lock()?;
                barrier.wait();
                let limit = Duration::from_secs(10);
                locks[second].lock_timeout(limit).map(drop)
            };
            let ends: [Result<(), LockError>; 2] = std::thread::scope(|scope| {
                let one = scope.spawn(|| cross(0, 1));
                let other = scope.spawn(|| cross(1, 0));
                [one.join().unwrap(), other.join().unwrap()]
            });
            let told = |end: &Result<(), LockError>| matches!(end, Err(LockError::Deadlock(_)));
            ends.iter().any(told)
        });
        over.store(true, Ordering::Relaxed);
        all_told
    });
    assert!(all_told, "a deadlock was not found");
}
