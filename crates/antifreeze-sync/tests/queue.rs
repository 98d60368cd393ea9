//! Queues: what comes out where and when, and which deadlocks are found.
//!
//! What CPython's `test_queue.py` tests of `queue.Queue` stands below under the same names, except
//! for what cannot be written here: negative time-outs, and queues that shrink.

mod support;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_sync::{
    Consumer, DeadlockKind, GetFuture, LockError, Mode, Mutex, Producer, PutFuture, Queue,
    TryGetError, TryPutError, block_on, channel, detector, task,
};
use proptest::prelude::*;
use support::{By, Rendezvous, by_both, eventually, poll_once};

const SOON: Duration = Duration::from_millis(5);

/// How many wait for what has this name.
fn waiting(name: &str) -> usize {
    let snapshot = detector::snapshot();
    let named = |state: &&_| is_named(state, name);
    snapshot
        .resources
        .iter()
        .filter(named)
        .map(|state| state.waiters.len())
        .sum()
}

fn is_named(state: &antifreeze_sync::ResourceState, name: &str) -> bool {
    state.resource.name.as_deref() == Some(name)
}

fn ready<T>(polled: Poll<T>) -> T {
    match polled {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it should have been ready"),
    }
}

// As in CPython.

const SIZE: usize = 5;

fn basic_queue_test(q: &Queue<usize>, name: &str) {
    assert!(q.is_empty() && !q.is_full());
    for item in [111, 333, 222] {
        q.put(item).unwrap();
    }
    assert_eq!([(); 3].map(|()| q.get().unwrap()), [111, 333, 222]);
    for item in 0..SIZE - 1 {
        q.put(item).unwrap();
        assert!(!q.is_empty() && !q.is_full());
    }
    q.put(100).unwrap();
    assert!(!q.is_empty() && q.is_full());
    assert!(matches!(q.try_put(200), Err(TryPutError::Full(200))));
    let refused = q.put_timeout(200, SOON).unwrap_err();
    assert!(matches!(
        (refused.item, refused.error),
        (200, LockError::Timeout)
    ));
    // Putting that has to wait.
    thread::scope(|scope| {
        let putter = scope.spawn(|| q.put(200));
        eventually(|| waiting(name) == 1);
        assert!(!putter.is_finished());
        assert_eq!(q.get().unwrap(), 0);
        putter.join().unwrap().unwrap();
        let putter = scope.spawn(|| q.put_timeout(300, Duration::from_secs(100)));
        eventually(|| waiting(name) == 1);
        assert_eq!(q.get().unwrap(), 1);
        putter.join().unwrap().unwrap();
    });
    assert_eq!(q.try_iter().collect::<Vec<_>>(), [2, 3, 100, 200, 300]);
    assert!(q.is_empty());
    assert_eq!(q.try_get(), Err(TryGetError::Empty));
    assert!(matches!(q.get_timeout(SOON), Err(LockError::Timeout)));
    assert!(matches!(
        q.get_until(Instant::now()),
        Err(LockError::Timeout)
    ));
    // Getting that has to wait.
    thread::scope(|scope| {
        let getter = scope.spawn(|| q.get().unwrap());
        eventually(|| waiting(name) == 1);
        q.put(1).unwrap();
        assert_eq!(getter.join().unwrap(), 1);
        let getter = scope.spawn(|| q.get_timeout(Duration::MAX).unwrap());
        eventually(|| waiting(name) == 1);
        q.put_until(2, Instant::now()).unwrap();
        assert_eq!(getter.join().unwrap(), 2);
    });
}

#[test]
fn test_basic() {
    const NAME: &str = "test_basic";
    let q = Queue::bounded(SIZE).with_name(NAME);
    assert_eq!(q.capacity(), Some(SIZE));
    basic_queue_test(&q, NAME);
    basic_queue_test(&q, NAME);
}

#[test]
fn test_nowait() {
    let q = Queue::bounded(SIZE);
    for item in 0..SIZE {
        q.try_put(item).unwrap();
    }
    assert!(q.try_put(100).unwrap_err().is_full());
    for item in 0..SIZE {
        assert_eq!(q.try_get(), Ok(item));
    }
    assert_eq!(q.try_get(), Err(TryGetError::Empty));
}

#[test]
#[should_panic(expected = "more often than there were items")]
fn test_queue_task_done() {
    Queue::<u32>::unbounded().task_done();
}

#[test]
fn test_queue_join() {
    let q = Queue::unbounded();
    // Done twice, to see that it can be joined twice.
    for _ in 0..2 {
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let item = q.get().unwrap();
                        if let Some(item) = item {
                            total.fetch_add(item, Ordering::SeqCst);
                        }
                        q.task_done();
                        if item.is_none() {
                            break;
                        }
                    }
                });
            }
            for item in 0..100 {
                q.put(Some(item)).unwrap();
            }
            q.join().unwrap();
            assert_eq!(total.load(Ordering::SeqCst), (0..100).sum());
            for _ in 0..2 {
                q.put(None).unwrap();
            }
            q.join().unwrap();
        });
        assert_eq!(q.unfinished(), 0);
    }
    let too_often = std::panic::AssertUnwindSafe(|| q.task_done());
    assert!(std::panic::catch_unwind(too_often).is_err());
    q.join().unwrap();
}

#[test]
fn test_shutdown_empty() {
    let q = Queue::unbounded();
    q.close();
    assert!(q.is_closed());
    let refused = q.put("data").unwrap_err();
    assert!(matches!(
        (refused.item, refused.error),
        ("data", LockError::Closed)
    ));
    assert!(matches!(q.get(), Err(LockError::Closed)));
}

#[test]
fn test_shutdown_nonempty() {
    let q = Queue::unbounded();
    q.put("data").unwrap();
    q.close();
    assert_eq!(q.get().unwrap(), "data");
    assert!(matches!(q.get(), Err(LockError::Closed)));
}

#[test]
fn test_shutdown_all_methods_in_one_thread() {
    let q = Queue::bounded(2);
    q.put("L").unwrap();
    q.try_put("O").unwrap();
    q.close();
    q.close();
    assert!(matches!(q.put("E").unwrap_err().into(), LockError::Closed));
    assert!(matches!(q.try_put("W"), Err(TryPutError::Closed("W"))));
    assert_eq!(q.get().unwrap(), "L");
    q.task_done();
    assert_eq!(q.try_get(), Ok("O"));
    q.task_done();
    q.join().unwrap();
    assert!(matches!(q.get(), Err(LockError::Closed)));
    assert_eq!(q.try_get(), Err(TryGetError::Closed));
    assert!(matches!(q.get_timeout(SOON), Err(LockError::Closed)));
}

#[test]
fn test_shutdown_all_methods_in_many_threads() {
    let q = Queue::unbounded();
    let (put, got) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(10);
    thread::scope(|scope| {
        for writer in 0..4 {
            let (q, put, start) = (&q, &put, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0.. {
                    if q.put(round).is_err() {
                        break;
                    }
                    put.fetch_add(1, Ordering::SeqCst);
                    if writer == 0 && round == 1000 {
                        q.close();
                    }
                }
            });
        }
        for _ in 0..6 {
            scope.spawn(|| {
                start.wait();
                for item in &q {
                    item.unwrap();
                    got.fetch_add(1, Ordering::SeqCst);
                    q.task_done();
                }
            });
        }
    });
    assert_eq!(put.load(Ordering::SeqCst), got.load(Ordering::SeqCst));
    q.join().unwrap();
}

#[test]
fn test_shutdown_get() {
    const NAME: &str = "test_shutdown_get";
    let q = Queue::<u32>::bounded(2).with_name(NAME);
    thread::scope(|scope| {
        let getters = [(); 3].map(|()| scope.spawn(|| q.get()));
        eventually(|| waiting(NAME) == 3);
        q.close();
        for getter in getters {
            assert!(matches!(getter.join().unwrap(), Err(LockError::Closed)));
        }
    });
}

#[test]
fn test_shutdown_put() {
    const NAME: &str = "test_shutdown_put";
    let q = Queue::bounded(1).with_name(NAME);
    q.put(0).unwrap();
    thread::scope(|scope| {
        let q = &q;
        let putters = [1, 2, 3].map(|item| scope.spawn(move || q.put(item)));
        eventually(|| waiting(NAME) == 3);
        q.close();
        for (item, putter) in (1..).zip(putters) {
            let refused = putter.join().unwrap().unwrap_err();
            assert_eq!(refused.item, item);
            assert!(matches!(refused.error, LockError::Closed));
        }
    });
    assert_eq!(q.iter().map(Result::unwrap).collect::<Vec<_>>(), [0]);
}

#[test]
fn test_shutdown_join() {
    const NAME: &str = "test_shutdown_join";
    let q = Queue::unbounded().with_name(NAME);
    q.put(1).unwrap();
    thread::scope(|scope| {
        let joiner = scope.spawn(|| q.join());
        eventually(|| waiting(NAME) == 1);
        q.close();
        // The work is still to be done.
        assert_eq!(waiting(NAME), 1);
        assert!(matches!(q.join_timeout(SOON), Err(LockError::Timeout)));
        q.get().unwrap();
        q.task_done();
        joiner.join().unwrap().unwrap();
        q.join_until(Instant::now()).unwrap();
    });
}

#[test]
fn test_many_threads() {
    let q = Queue::bounded(3);
    let mut all: Vec<usize> = thread::scope(|scope| {
        let q = &q;
        for feeder in 0..8 {
            scope.spawn(move || {
                for round in 0..200 {
                    let item = feeder * 200 + round;
                    match round % 3 {
                        0 => q.put(item).unwrap(),
                        1 => block_on(q.put_async(item)).unwrap(),
                        _ => {
                            let mut item = item;
                            while let Err(refused) = q.put_timeout(item, Duration::from_micros(20))
                            {
                                item = refused.into_item();
                            }
                        }
                    }
                }
            });
        }
        let consumers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut got = Vec::new();
                    while got.len() < 200 {
                        got.extend(match got.len() % 3 {
                            0 => q.get().ok(),
                            1 => block_on(q.get_async()).ok(),
                            _ => q.get_timeout(Duration::from_micros(20)).ok(),
                        });
                    }
                    got
                })
            })
            .collect();
        consumers
            .into_iter()
            .flat_map(|consumer| consumer.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    assert_eq!(all, (0..1600).collect::<Vec<_>>());
}

#[test]
fn test_order() {
    let q = Queue::rendezvous();
    let got: Vec<u32> = thread::scope(|scope| {
        scope.spawn(|| {
            (0..1000).for_each(|item| q.put(item).unwrap());
            q.close();
        });
        q.iter().map(Result::unwrap).collect()
    });
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
}

/// Items whose end uses the queue.
#[test]
fn test_reentrancy() {
    struct Talkative(Arc<Queue<Self>>, u32);
    impl Drop for Talkative {
        fn drop(&mut self) {
            if self.1 > 0 {
                let _ = self.0.try_put(Self(Arc::clone(&self.0), self.1 - 1));
            }
        }
    }
    let q = Arc::new(Queue::bounded(1));
    q.put(Talkative(Arc::clone(&q), 3)).unwrap();
    let mut waits = q.put_async(Talkative(Arc::clone(&q), 0));
    assert!(poll_once(&mut waits).is_pending());
    drop(waits);
    q.close();
    drop(q.get().unwrap());

    let (producer, consumer) = channel(1);
    struct Putting(Option<Producer<Self>>);
    impl Drop for Putting {
        fn drop(&mut self) {
            if let Some(producer) = self.0.take() {
                assert!(producer.try_put(Self(None)).is_err());
            }
        }
    }
    producer.put(Putting(Some(producer.clone()))).unwrap();
    // The item is dropped along with the last who could get it.
    drop(consumer);
    assert!(producer.is_empty() && producer.is_closed());
}

// What Python's cannot do.

#[test]
fn items_and_getters_meet_in_order() {
    let q = Queue::unbounded();
    let mut getters: Vec<_> = (0..10).map(|_| q.get_async()).collect();
    for getter in &mut getters {
        assert!(poll_once(getter).is_pending());
    }
    for item in 0..10 {
        q.put(item).unwrap();
    }
    assert!(q.is_empty(), "all are with their getters");
    assert_eq!(q.try_get(), Err(TryGetError::Empty));
    for (item, getter) in getters.iter_mut().enumerate().rev() {
        assert_eq!(ready(poll_once(getter)).unwrap(), item);
    }
}

#[test]
fn putters_are_served_in_order() {
    for capacity in [0, 1, 3] {
        let q = Queue::bounded(capacity);
        for item in 0..capacity {
            q.put(item).unwrap();
        }
        let mut putters: Vec<_> = (capacity..10).map(|item| q.put_async(item)).collect();
        for putter in &mut putters {
            assert!(poll_once(putter).is_pending());
        }
        // Somebody who leaves the middle takes the item along, and nobody else loses their place.
        drop(putters.remove(2));
        let mut expected: Vec<_> = (0..10).collect();
        expected.remove(capacity + 2);
        let got: Vec<_> = q.try_iter().collect();
        assert_eq!(got, expected);
        assert!(
            putters
                .iter_mut()
                .all(|putter| ready(poll_once(putter)).is_ok())
        );
    }
}

#[test]
fn a_rendezvous_takes_two() {
    let q = Queue::rendezvous();
    assert_eq!(q.capacity(), Some(0));
    assert!(q.is_full() && q.is_empty());
    assert!(matches!(q.try_put(1), Err(TryPutError::Full(1))));
    let mut getter = q.get_async();
    assert!(poll_once(&mut getter).is_pending());
    q.try_put(1).unwrap();
    assert_eq!(ready(poll_once(&mut getter)).unwrap(), 1);
    let mut putter = q.put_async(2);
    assert!(poll_once(&mut putter).is_pending());
    assert_eq!(q.try_get(), Ok(2));
    assert!(ready(poll_once(&mut putter)).is_ok());
}

#[test]
fn an_item_for_somebody_who_has_gone_goes_to_the_next() {
    let q = Queue::bounded(1);
    let (mut first, mut second) = (q.get_async(), q.get_async());
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    q.put(1).unwrap();
    drop(first);
    assert_eq!(ready(poll_once(&mut second)).unwrap(), 1);

    // Or to the front, even if it is full meanwhile.
    let mut first = q.get_async();
    assert!(poll_once(&mut first).is_pending());
    q.put(2).unwrap();
    q.put(3).unwrap();
    drop(first);
    assert_eq!(q.len(), 2);
    assert!(q.is_full());
    assert_eq!(q.try_iter().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(q.unfinished(), 3);

    // It is not lost if the queue is closed, either.
    let mut first = q.get_async();
    assert!(poll_once(&mut first).is_pending());
    q.put(4).unwrap();
    q.close();
    drop(first);
    assert_eq!(q.get().unwrap(), 4);
}

#[test]
fn what_was_not_accepted_goes_with_its_future() {
    let item = Arc::new(());
    let q = Queue::bounded(1);
    drop(q.put_async(Arc::clone(&item)));
    assert_eq!(Arc::strong_count(&item), 1);
    q.put(Arc::clone(&item)).unwrap();
    let mut putter = q.put_async(Arc::clone(&item));
    assert!(poll_once(&mut putter).is_pending());
    drop(putter);
    assert_eq!(Arc::strong_count(&item), 2);
    // Once it was accepted, it stays.
    let mut putter = q.put_async(Arc::clone(&item));
    assert!(poll_once(&mut putter).is_pending());
    q.get().unwrap();
    drop(putter);
    assert_eq!(q.len(), 1);
    // Closing gives it back.
    let mut putter = q.put_async(Arc::clone(&item));
    assert!(poll_once(&mut putter).is_pending());
    q.close();
    let refused = ready(poll_once(&mut putter)).unwrap_err();
    assert!(Arc::ptr_eq(&refused.item, &item));
    drop((refused, putter));
    drop(q);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn joining_needs_a_moment_at_which_all_is_done() {
    let q = Queue::unbounded();
    let mut join = q.join_async();
    assert!(ready(poll_once(&mut join)).is_ok());
    q.put(1).unwrap();
    q.put(2).unwrap();
    let (mut join, mut other) = (q.join_async(), q.join_async());
    assert!(poll_once(&mut join).is_pending());
    assert!(poll_once(&mut other).is_pending());
    drop(other);
    q.task_done();
    assert!(poll_once(&mut join).is_pending());
    q.task_done();
    q.put(3).unwrap();
    assert!(ready(poll_once(&mut join)).is_ok());
    assert!(poll_once(&mut q.join_async()).is_pending());
}

#[test]
fn it_can_be_a_static_and_be_printed() {
    static QUEUE: Queue<u32> = Queue::named("static", Some(2));
    QUEUE.put(1).unwrap();
    let text = format!("{QUEUE:?}");
    assert_eq!(text, r#"Queue { name: "static", capacity: 2, len: 1, .. }"#);
    assert_eq!(Queue::<u32>::unbounded().capacity(), None);
    let errors = (QUEUE.try_put(2), QUEUE.try_put(3));
    assert_eq!(format!("{errors:?}"), "(Ok(()), Err(Full(..)))");
}

// Handles.

#[test]
fn a_queue_ends_when_one_of_its_ends_is_gone() {
    let (producer, consumer) = channel(2);
    let other = producer.clone();
    producer.put(1).unwrap();
    drop(producer);
    assert!(!consumer.is_closed());
    other.put(2).unwrap();
    drop(other);
    assert!(consumer.is_closed());
    assert_eq!(consumer.len(), 2);
    assert_eq!(
        (&consumer)
            .into_iter()
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(matches!(consumer.get(), Err(LockError::Closed)));

    let item = Arc::new(());
    let (producer, consumer) = channel(1);
    let other = consumer.clone();
    producer.put(Arc::clone(&item)).unwrap();
    drop(consumer);
    assert!(!producer.is_closed());
    let mut putter = producer.put_async(Arc::clone(&item));
    assert!(poll_once(&mut putter).is_pending());
    drop(other);
    assert!(ready(poll_once(&mut putter)).is_err());
    drop(putter);
    assert!(matches!(
        producer.put(item.clone()).unwrap_err().error,
        LockError::Closed
    ));
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn whoever_waits_is_told_when_the_other_end_is_gone() {
    by_both(|by| {
        let (producer, consumer) = channel::<u32>(1);
        let left = Queue::unbounded().into_channel();
        let ends = by.play(vec![
            part!(async move {
                let waited = get(by, &consumer).await;
                assert!(matches!(waited, Err(LockError::Closed)));
                put(by, &left.0, ()).await
            }),
            part!(async move {
                by.pause().await;
                drop(producer);
                get(by, &left.1).await
            }),
        ]);
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
    });
}

#[test]
fn handles_of_an_open_queue_close_it_too() {
    let q = Arc::new(Queue::unbounded());
    let producer = q.producer();
    let consumer = q.consumer();
    producer.put(1).unwrap();
    q.put(2).unwrap();
    assert_eq!(consumer.get().unwrap(), 1);
    drop(producer);
    assert!(q.is_closed());
    assert_eq!(q.get().unwrap(), 2);
}

async fn put<T: Send + 'static>(by: By, producer: &Producer<T>, item: T) -> Result<(), LockError> {
    match by {
        By::Threads => producer.put(item),
        By::Tasks => producer.put_async(item).await,
    }?;
    Ok(())
}

async fn get<T: Send + 'static>(by: By, consumer: &Consumer<T>) -> Result<T, LockError> {
    match by {
        By::Threads => consumer.get(),
        By::Tasks => consumer.get_async().await,
    }
}

/// Two actors put into each other's inbox while their own is full.
fn actors(by: By, bound: bool, deadlocks: &Arc<AtomicUsize>) -> Vec<Result<(), LockError>> {
    let (to_anna, anna) = Queue::bounded(1).with_name("inbox of anna").into_channel();
    let (to_bert, bert) = Queue::bounded(1).with_name("inbox of bert").into_channel();
    let meeting = Rendezvous::of(2, by);
    let parts = [(anna, to_bert), (bert, to_anna)].map(|(inbox, other)| {
        let (meeting, deadlocks) = (meeting.clone(), Arc::clone(deadlocks));
        part!(async move {
            if bound {
                inbox.bind();
                other.bind();
            }
            put(by, &other, 1).await?;
            meeting.meet().await;
            let mut got = Vec::new();
            if let Err(error) = put(by, &other, 2).await {
                let report = error.deadlock().expect("the other one goes on").clone();
                assert_eq!(report.kind, DeadlockKind::Cycle);
                assert_eq!(report.members.len(), 2);
                for member in &report.members {
                    assert_eq!(member.waits[0].mode, Mode::Put);
                    assert_eq!(member.holds[0].mode, Mode::Get);
                    assert!(member.holds[0].site.is_some());
                }
                let text = report.to_string();
                assert!(
                    text.contains("room in") && text.contains("inbox of bert"),
                    "{text}"
                );
                deadlocks.fetch_add(1, Ordering::SeqCst);
                // Whoever is told so makes room, and all goes on.
                got.push(get(by, &inbox).await?);
                put(by, &other, 2).await?;
            }
            while got.len() < 2 {
                got.push(get(by, &inbox).await?);
            }
            assert_eq!(got, [1, 2]);
            // The other one may still be about to get something.
            meeting_end(by, &other).await;
            Ok(())
        })
    });
    by.play(parts.into())
}

/// Waits until everything was got.
async fn meeting_end(by: By, other: &Producer<u32>) {
    by.until(|| other.is_empty()).await;
}

#[test]
fn two_actors_that_fill_each_others_inbox_are_a_deadlock() {
    by_both(|by| {
        let deadlocks = Arc::new(AtomicUsize::new(0));
        let ends = actors(by, true, &deadlocks);
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
        assert_eq!(deadlocks.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn whoever_has_not_said_who_it_is_may_be_anybody() {
    const NAME: &str = "inbox that anybody may empty";
    by_both(|by| {
        let queues: Arc<Vec<_>> =
            Arc::new((0..2).map(|_| Queue::bounded(1).with_name(NAME)).collect());
        let parts = (0..2).map(|me| {
            let queues = Arc::clone(&queues);
            part!(async move {
                for item in 0..2 {
                    match by {
                        By::Threads => queues[1 - me].put(item)?,
                        By::Tasks => queues[1 - me].put_async(item).await?,
                    }
                }
                Ok(())
            })
        });
        let helper = {
            let queues = Arc::clone(&queues);
            thread::spawn(move || {
                eventually(|| waiting(NAME) == 2);
                detector::settle();
                assert_eq!(waiting(NAME), 2);
                queues.iter().for_each(|queue| drop(queue.get()));
            })
        };
        let ends = by.play(parts.collect());
        assert!(ends.iter().all(Result::is_ok), "{by:?}: {ends:?}");
        helper.join().unwrap();
    });
}

#[test]
fn to_wait_for_what_only_oneself_would_put_is_a_deadlock() {
    let check = |error: LockError| {
        let report = error.deadlock().unwrap();
        assert_eq!(report.kind, DeadlockKind::SelfLock);
        assert_eq!(report.members.len(), 1);
    };
    let (producer, consumer) = channel::<u32>(1);
    producer.bind();
    consumer.bind();
    check(consumer.get().unwrap_err());
    producer.put(1).unwrap();
    let refused = producer.put(2).unwrap_err();
    assert_eq!(refused.item, 2);
    check(refused.error);
    check(
        producer
            .put_timeout(2, Duration::from_secs(100))
            .unwrap_err()
            .error,
    );

    let (producer, consumer) = channel::<u32>(1);
    let waited = block_on(async {
        producer.bind();
        consumer.get_async().await
    });
    check(waited.unwrap_err());
}

/// Two could put: one waits for the getter, the other one runs, until it leaves.
#[test]
fn somebody_who_leaves_can_leave_a_deadlock_behind() {
    by_both(|by| {
        for bound in [true, false] {
            const LOCK: &str = "lock of the getter";
            const QUEUE: &str = "queue of the one who leaves";
            let lock = Arc::new(Mutex::named(LOCK, ()));
            let (producer, consumer) = Queue::<u32>::bounded(1).with_name(QUEUE).into_channel();
            let leaving = producer.clone();
            let meeting = Rendezvous::of(2, by);
            let getter = {
                let (lock, meeting) = (Arc::clone(&lock), meeting.clone());
                part!(async move {
                    let _lock = by.lock(&lock).await?;
                    meeting.meet().await;
                    get(by, &consumer).await.map(drop)
                })
            };
            let putter = part!(async move {
                producer.bind();
                meeting.meet().await;
                let _lock = by.lock(&lock).await?;
                put(by, &producer, 1).await
            });
            let leaver = thread::spawn(move || {
                if bound {
                    leaving.bind();
                }
                eventually(|| waiting(LOCK) == 1 && waiting(QUEUE) == 1);
                detector::settle();
                assert_eq!((waiting(LOCK), waiting(QUEUE)), (1, 1));
                drop(leaving);
            });
            let ends = by.play(vec![getter, putter]);
            let deadlocks = ends.iter().filter_map(|end| end.as_ref().err()?.deadlock());
            assert_eq!(deadlocks.count(), 1, "{by:?}: {ends:?}");
            leaver.join().unwrap();
        }
    });
}

#[test]
fn one_partner_that_can_go_on_is_enough() {
    const NAME: &str = "one of two consumers";
    let (producer, first) = Queue::bounded(1).with_name(NAME).into_channel();
    let second = first.clone();
    // This thread both puts and gets; another one gets too.
    producer.bind();
    first.bind();
    producer.put(1).unwrap();
    let (begin, begun) = mpsc::channel();
    let other = thread::spawn(move || {
        second.bind();
        begin.send(()).unwrap();
        eventually(|| waiting(NAME) == 1);
        detector::settle();
        second.get().unwrap()
    });
    begun.recv().unwrap();
    producer.put(2).unwrap();
    assert_eq!(other.join().unwrap(), 1);
    assert_eq!(first.get().unwrap(), 2);
}

#[test]
fn the_view_shows_who_puts_and_who_gets() {
    const NAME: &str = "shown";
    let (producer, consumer) = Queue::<u32>::bounded(1).with_name(NAME).into_channel();
    producer.bind();
    thread::scope(|scope| {
        let getter = scope.spawn(|| {
            consumer.bind();
            consumer.get()
        });
        eventually(|| waiting(NAME) == 1);
        let snapshot = detector::snapshot();
        let state = snapshot
            .resources
            .iter()
            .find(|state| is_named(state, NAME))
            .unwrap();
        assert_eq!(state.resource.data, "u32");
        assert_eq!(state.waiters[0].mode, Mode::Get);
        let modes: Vec<_> = state.holders.iter().map(|holder| holder.mode).collect();
        assert_eq!(modes, [Mode::Put, Mode::Get]);
        assert!(!state.others);
        producer.put(1).unwrap();
        assert_eq!(getter.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn several_waits_of_one_task_are_no_deadlock() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (producer, consumer) = channel(1);
    let got = runtime.block_on(task(async {
        producer.bind();
        consumer.bind();
        let gets = async {
            let mut got = Vec::new();
            while got.len() < 10 {
                got.push(consumer.get_async().await.unwrap());
            }
            got
        };
        let puts = async {
            for item in 0..10 {
                producer.put_async(item).await.unwrap();
            }
        };
        tokio::join!(gets, puts).0
    }));
    assert_eq!(got, (0..10).collect::<Vec<_>>());
}

#[test]
fn futures_are_send() {
    fn check<T: Send>(_: &T) {}
    let q = Queue::bounded(1);
    check(&q.put_async(1));
    check(&q.get_async());
    check(&q.join_async());
    check(&channel::<u32>(1));
}

// A queue against the simplest thing that behaves like one.

#[derive(Clone, Debug)]
enum Op {
    Put,
    TryPut,
    Get,
    TryGet,
    Poll(usize),
    Drop(usize),
    Done,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Put),
        2 => Just(Op::TryPut),
        6 => Just(Op::Get),
        2 => Just(Op::TryGet),
        6 => (0..8_usize).prop_map(Op::Poll),
        3 => (0..8_usize).prop_map(Op::Drop),
        1 => Just(Op::Done),
        1 => Just(Op::Close),
    ]
}

enum Agent<'a> {
    Puts(PutFuture<'a, usize>),
    Gets(GetFuture<'a, usize>),
}

/// An item is the number of the step at which it was put.
#[derive(Default)]
struct Model {
    capacity: usize,
    items: VecDeque<usize>,
    putters: VecDeque<usize>,
    getters: VecDeque<usize>,
    /// What getters were given.
    given: HashMap<usize, usize>,
    unfinished: usize,
    closed: bool,
}

impl Model {
    /// Whether it was accepted.
    fn put(&mut self, item: usize) -> bool {
        if self.closed {
            return false;
        }
        let accepted = if let Some(getter) = self.getters.pop_front() {
            self.given.insert(getter, item);
            true
        } else if self.items.len() < self.capacity {
            self.items.push_back(item);
            true
        } else {
            false
        };
        self.unfinished += usize::from(accepted);
        accepted
    }

    fn get(&mut self) -> Option<usize> {
        let item = self.items.pop_front().or_else(|| {
            let item = self.putters.pop_front()?;
            self.unfinished += 1;
            Some(item)
        });
        self.fill();
        item
    }

    fn fill(&mut self) {
        while self.items.len() < self.capacity
            && let Some(item) = self.putters.pop_front()
        {
            self.items.push_back(item);
            self.unfinished += 1;
        }
    }

    /// A getter has gone.
    fn leave(&mut self, getter: usize) {
        self.getters.retain(|waits| *waits != getter);
        if let Some(item) = self.given.remove(&getter) {
            match self.getters.pop_front() {
                Some(next) => drop(self.given.insert(next, item)),
                None => self.items.push_front(item),
            }
        }
    }
}

proptest! {
    #[test]
    fn it_behaves_like_a_list_and_two_lines(
        capacity in 0..4_usize,
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let q = Queue::bounded(capacity);
        let mut model = Model { capacity, ..Model::default() };
        let mut agents: Vec<(usize, Agent<'_>)> = Vec::new();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::Put => {
                    let mut future = q.put_async(step);
                    match poll_once(&mut future) {
                        Poll::Ready(Ok(())) => prop_assert!(model.put(step)),
                        Poll::Ready(Err(refused)) => {
                            prop_assert!(model.closed);
                            prop_assert_eq!(refused.item, step);
                        }
                        Poll::Pending => {
                            prop_assert!(!model.closed && !model.put(step));
                            model.putters.push_back(step);
                            agents.push((step, Agent::Puts(future)));
                        }
                    }
                }
                Op::TryPut => prop_assert_eq!(q.try_put(step).is_ok(), model.put(step)),
                Op::Get => {
                    let mut future = q.get_async();
                    match poll_once(&mut future) {
                        Poll::Ready(item) => {
                            prop_assert_eq!(item.ok(), model.get());
                        }
                        Poll::Pending => {
                            prop_assert!(!model.closed);
                            prop_assert_eq!(model.get(), None);
                            model.getters.push_back(step);
                            agents.push((step, Agent::Gets(future)));
                        }
                    }
                }
                Op::TryGet => prop_assert_eq!(q.try_get().ok(), model.get()),
                Op::Poll(place) if !agents.is_empty() => {
                    let place = place % agents.len();
                    let (who, agent) = &mut agents[place];
                    let over = match agent {
                        Agent::Puts(future) => match poll_once(future) {
                            Poll::Pending => {
                                prop_assert!(model.putters.contains(who));
                                false
                            }
                            Poll::Ready(Ok(())) => {
                                prop_assert!(!model.putters.contains(who));
                                true
                            }
                            Poll::Ready(Err(refused)) => {
                                prop_assert!(model.closed);
                                prop_assert_eq!(refused.item, *who);
                                true
                            }
                        },
                        Agent::Gets(future) => match poll_once(future) {
                            Poll::Pending => {
                                prop_assert!(model.getters.contains(who));
                                false
                            }
                            Poll::Ready(item) => {
                                prop_assert_eq!(item.ok(), model.given.remove(who));
                                true
                            }
                        },
                    };
                    if over {
                        drop(agents.swap_remove(place));
                    }
                }
                Op::Drop(place) if !agents.is_empty() => {
                    let (who, agent) = agents.swap_remove(place % agents.len());
                    match &agent {
                        Agent::Puts(_) => model.putters.retain(|item| *item != who),
                        Agent::Gets(_) => model.leave(who),
                    }
                    drop(agent);
                }
                Op::Done if model.unfinished > 0 => {
                    q.task_done();
                    model.unfinished -= 1;
                }
                Op::Close => {
                    q.close();
                    model.closed = true;
                    model.putters.clear();
                    model.getters.clear();
                }
                Op::Poll(_) | Op::Drop(_) | Op::Done => {}
            }
            prop_assert_eq!(q.len(), model.items.len());
            prop_assert_eq!(q.unfinished(), model.unfinished);
            prop_assert_eq!(poll_once(&mut q.join_async()).is_ready(), model.unfinished == 0);
        }
    }
}
