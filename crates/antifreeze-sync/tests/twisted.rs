//! What Twisted's `test_defer.py` tests of its lock, semaphore and queue, under the same names.
//!
//! A `Deferred` that has fired is a future that is ready when it is polled, and to cancel one is to
//! drop it. What cannot be written here is left out: a release too many, a lock that runs nothing,
//! a negative number of tokens.

mod support;

use std::cell::Cell;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::Poll;

use antifreeze_sync::{
    DeadlockKind, DeferredLock, DeferredQueue, DeferredSemaphore, QueueUnderflow, block_on,
};
use support::poll_once;
use tokio::sync::oneshot;

/// What an `acquire` or `run` has come to.
fn fired<T, E: std::fmt::Debug>(polled: Poll<Result<T, E>>) -> Option<T> {
    match polled {
        Poll::Ready(outcome) => Some(outcome.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn test_lock() {
    let lock = DeferredLock::new();
    let first = fired(poll_once(&mut lock.acquire())).expect("nobody has it");
    assert!(lock.locked());

    let mut second = lock.acquire();
    assert!(fired(poll_once(&mut second)).is_none());
    assert!(lock.locked());

    // It changes hands: nobody else can come in between.
    drop(first);
    assert!(lock.locked());
    assert!(fired(poll_once(&mut lock.acquire())).is_none());
    drop(fired(poll_once(&mut second)).expect("the first one has let go"));
    assert!(!lock.locked());

    let (control, controlled) = oneshot::channel();
    let argument = Cell::new(0);
    let mut running = pin!(lock.run(async || {
        argument.set(1);
        controlled.await.unwrap()
    }));
    assert!(fired(poll_once(&mut running)).is_none());
    assert!(lock.locked());
    assert_eq!(argument.get(), 1);

    let mut third = lock.acquire();
    assert!(fired(poll_once(&mut third)).is_none());
    control.send("result").unwrap();
    assert_eq!(fired(poll_once(&mut running)), Some("result"));
    assert!(lock.locked());
    let third = fired(poll_once(&mut third)).expect("what ran is done");

    let mut fourth = lock.acquire();
    assert!(fired(poll_once(&mut fourth)).is_none());
    drop(fourth);
    drop(third);
    assert!(!lock.locked());

    assert_eq!(block_on(lock.run(async || 2)).unwrap(), 2);
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelLockAfterAcquired() {
    let lock = DeferredLock::new();
    let mut acquiring = lock.acquire();
    let guard = fired(poll_once(&mut acquiring)).unwrap();
    drop(acquiring);
    assert!(lock.locked());
    drop(guard);
    assert!(!lock.locked());
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelLockBeforeAcquired() {
    let lock = DeferredLock::new();
    let guard = fired(poll_once(&mut lock.acquire())).unwrap();
    let mut second = lock.acquire();
    assert!(poll_once(&mut second).is_pending());
    drop(second);
    drop(guard);
    assert!(!lock.locked());
}

#[test]
fn a_lock_that_was_given_to_somebody_who_has_gone_goes_to_the_next() {
    let lock = DeferredLock::new();
    let guard = fired(poll_once(&mut lock.acquire())).unwrap();
    let (mut second, mut third) = (lock.acquire(), lock.acquire());
    assert!(poll_once(&mut second).is_pending());
    assert!(poll_once(&mut third).is_pending());
    drop(guard);
    drop(second);
    assert!(fired(poll_once(&mut third)).is_some());
}

#[test]
fn a_lock_is_let_go_when_what_runs_under_it_is_dropped_or_panics() {
    let lock = DeferredLock::new();
    let mut running = Box::pin(lock.run(async || std::future::pending::<()>().await));
    assert!(poll_once(&mut running).is_pending());
    assert!(lock.locked());
    drop(running);
    assert!(!lock.locked());

    let panics = std::panic::AssertUnwindSafe(|| block_on(lock.run(async || panic!("on purpose"))));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert!(!lock.locked());
}

/// Twisted hangs here without a word.
#[test]
fn a_lock_within_itself_is_an_error() {
    let lock = DeferredLock::new();
    let nested = block_on(lock.run(async || lock.run(async || ()).await)).unwrap();
    let error = nested.unwrap_err();
    assert_eq!(error.deadlock().unwrap().kind, DeadlockKind::SelfLock);
    assert!(!lock.locked());
}

#[test]
fn several_that_run_in_one_task_take_turns() {
    let (lock, count) = (DeferredLock::new(), Cell::new(0));
    let next = || async {
        let next = lock.run(async || {
            count.set(count.get() + 1);
            tokio::task::yield_now().await;
            count.get()
        });
        next.await.unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let both = antifreeze_sync::task(async { tokio::join!(next(), next()) });
    assert_eq!(runtime.block_on(both), (1, 2));
}

const N: u32 = 13;

#[test]
fn test_semaphore() {
    let semaphore = DeferredSemaphore::new(NonZeroU32::new(N).unwrap());
    let (control, controlled) = oneshot::channel();
    let argument = Cell::new(0);
    {
        let mut running = pin!(semaphore.run(async || {
            argument.set(1);
            controlled.await.unwrap()
        }));
        assert!(fired(poll_once(&mut running)).is_none());
        assert_eq!(argument.get(), 1);
        assert_eq!(semaphore.tokens(), N - 1);
        control.send("result").unwrap();
        assert_eq!(fired(poll_once(&mut running)), Some("result"));
    }
    assert_eq!((semaphore.tokens(), semaphore.limit()), (N, N));

    let mut tokens: Vec<_> = (0..N)
        .map(|_| fired(poll_once(&mut semaphore.acquire())).unwrap())
        .collect();
    assert_eq!(semaphore.tokens(), 0);

    let mut cancelled = semaphore.acquire();
    assert!(poll_once(&mut cancelled).is_pending());
    drop(cancelled);

    let mut next = semaphore.acquire();
    assert!(poll_once(&mut next).is_pending());
    tokens.pop();
    let next = fired(poll_once(&mut next)).expect("one was given back");
    assert_eq!(semaphore.tokens(), 0);

    tokens.push(next);
    for given_back in 1..=N {
        tokens.pop();
        assert_eq!(semaphore.tokens(), given_back);
    }
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_semaphoreInvalidTokens() {
    assert_eq!(
        NonZeroU32::new(0)
            .map(DeferredSemaphore::new)
            .map(|made| made.limit()),
        None
    );
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelSemaphoreAfterAcquired() {
    let semaphore = DeferredSemaphore::new(NonZeroU32::MIN);
    let mut acquiring = semaphore.acquire();
    let token = fired(poll_once(&mut acquiring)).unwrap();
    drop(acquiring);
    assert_eq!(semaphore.tokens(), 0);
    drop(token);
    assert_eq!(semaphore.tokens(), 1);
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelSemaphoreBeforeAcquired() {
    let semaphore = DeferredSemaphore::new(NonZeroU32::MIN);
    let token = fired(poll_once(&mut semaphore.acquire())).unwrap();
    let mut second = semaphore.acquire();
    assert!(poll_once(&mut second).is_pending());
    drop(second);
    drop(token);
    assert_eq!(semaphore.tokens(), 1);
}

#[test]
fn test_queue() {
    const N: usize = 2;
    const M: usize = 2;
    let queue = DeferredQueue::new(Some(N), Some(M));
    let mut getters: Vec<_> = (0..M).map(|_| queue.get()).collect();
    for getter in &mut getters {
        assert!(poll_once(getter).is_pending());
    }
    assert_eq!(
        poll_once(&mut queue.get()),
        Poll::Ready(Err(QueueUnderflow))
    );

    for item in 0..M {
        queue.put(item).unwrap();
    }
    // They have theirs already, whoever asks first.
    for (item, getter) in getters.iter_mut().enumerate().rev() {
        assert_eq!(poll_once(getter), Poll::Ready(Ok(item)));
    }
    for item in 0..N {
        queue.put(M + item).unwrap();
    }
    assert_eq!(queue.put(100).unwrap_err().into_item(), 100);
    for item in 0..N {
        assert_eq!(poll_once(&mut queue.get()), Poll::Ready(Ok(M + item)));
    }

    let queue = DeferredQueue::new(None, None);
    let mut getters: Vec<_> = (0..N).map(|_| queue.get()).collect();
    for getter in &mut getters {
        assert!(poll_once(getter).is_pending());
    }
    for item in 0..N {
        queue.put(item).unwrap();
    }
    for (item, getter) in getters.iter_mut().enumerate() {
        assert_eq!(poll_once(getter), Poll::Ready(Ok(item)));
    }

    let queue = DeferredQueue::new(Some(0), None);
    assert_eq!(queue.put(1).unwrap_err().into_item(), 1);

    let queue = DeferredQueue::<u32>::new(None, Some(0));
    assert_eq!(
        poll_once(&mut queue.get()),
        Poll::Ready(Err(QueueUnderflow))
    );
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelQueueAfterSynchronousGet() {
    let queue = DeferredQueue::new(None, None);
    let mut getting = queue.get();
    assert!(poll_once(&mut getting).is_pending());
    queue.put(1).unwrap();
    assert_eq!(poll_once(&mut getting), Poll::Ready(Ok(1)));
    drop(getting);
    assert_eq!(queue.pending(), 0);
}

#[test]
#[allow(non_snake_case, reason = "Twisted's names")]
fn test_cancelQueueAfterGet() {
    let queue = DeferredQueue::new(None, None);
    let mut getting = queue.get();
    assert!(poll_once(&mut getting).is_pending());
    drop(getting);
    queue.put(1).unwrap();
    assert_eq!(poll_once(&mut queue.get()), Poll::Ready(Ok(1)));
}

#[test]
fn an_item_for_somebody_who_has_gone_is_not_lost() {
    let queue = DeferredQueue::new(None, None);
    let (mut first, mut second) = (queue.get(), queue.get());
    assert!(poll_once(&mut first).is_pending());
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    drop(first);
    assert_eq!(queue.pending(), 2);
    assert_eq!(poll_once(&mut second), Poll::Ready(Ok(1)));
}

#[test]
fn somebody_can_wait_for_room() {
    let queue = DeferredQueue::new(Some(1), None);
    queue.put(1).unwrap();
    let mut putting = queue.put_wait(2);
    assert!(poll_once(&mut putting).is_pending());
    assert_eq!(queue.put(3).unwrap_err().into_item(), 3);
    assert_eq!(poll_once(&mut queue.get()), Poll::Ready(Ok(1)));
    assert!(fired(poll_once(&mut putting)).is_some());
    assert_eq!(poll_once(&mut queue.get()), Poll::Ready(Ok(2)));
}
