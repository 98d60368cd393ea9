//! Whoever is told that a wait has ended may do anything then, even panic, and the others are told.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use antifreeze_sync::{Event, Frame, LockError, OwnedRwLockWriteGuard, RwLock, block_on, detector};
use support::eventually;

const LONG: Duration = Duration::from_secs(10);

type Got = Result<OwnedRwLockWriteGuard<()>, LockError>;

/// Two calls wait for what the other one has. Both do `then` when told, and let go. Gives out how
/// their waits end.
fn two_calls_cross(
    then: impl Fn(&Got) + Clone + Send + 'static,
) -> Receiver<Result<(), LockError>> {
    let (a, b) = (Arc::new(RwLock::new(())), Arc::new(RwLock::new(())));
    let (one, other) = (Frame::new("one"), Frame::new("other"));
    let has_a = a.try_write_for(one.id()).unwrap();
    let has_b = b.try_write_for(other.id()).unwrap();
    let (sender, ends) = channel();
    let wait = |lock: &Arc<RwLock<()>>, frame: &Frame, has| {
        let (then, sender) = (then.clone(), sender.clone());
        let pending = lock.write_then(frame, move |got| {
            let _has = has;
            sender
                .send(got.as_ref().map(drop).map_err(Clone::clone))
                .unwrap();
            then(&got);
        });
        assert!(pending.is_some());
    };
    wait(&b, &one, has_a);
    wait(&a, &other, has_b);
    ends
}

/// One of the two failed, and then the other one went on.
#[track_caller]
fn check_ends(ends: &Receiver<Result<(), LockError>>) {
    let victim = ends.recv_timeout(LONG).expect("nobody failed");
    assert!(victim.unwrap_err().deadlock().is_some());
    let other = ends.recv_timeout(LONG).expect("the other one hangs");
    other.unwrap();
}

fn take_a_snapshot() {
    let _ = detector::snapshot();
    let _ = detector::is_waiting(antifreeze_sync::frame::current());
}

#[test]
fn a_call_may_ask_what_everybody_waits_for() {
    for settled in [false, true] {
        let (sender, asked) = channel();
        let ends = two_calls_cross(move |_| {
            take_a_snapshot();
            sender.send(()).unwrap();
        });
        if settled {
            detector::settle();
        }
        check_ends(&ends);
        for _ in 0..2 {
            asked.recv_timeout(LONG).expect("it hangs");
        }
    }
}

/// Asks what everybody waits for whenever it hears of something, and panics then if it is to.
#[derive(Clone, Default)]
struct Asking {
    heard: Arc<AtomicUsize>,
    panics: Arc<AtomicBool>,
}

impl tracing::Subscriber for Asking {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        take_a_snapshot();
        self.heard.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "it was to panic");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_may_ask_what_everybody_waits_for_and_panic() {
    let asking = Asking::default();
    tracing::subscriber::set_global_default(asking.clone()).unwrap();
    for panics in [false, true, false] {
        asking.panics.store(panics, Ordering::SeqCst);
        let before = asking.heard.load(Ordering::SeqCst);
        check_ends(&two_calls_cross(|_| ()));
        eventually(|| asking.heard.load(Ordering::SeqCst) > before);
    }
}

#[test]
fn deadlocks_are_found_after_a_call_panicked() {
    for _ in 0..3 {
        check_ends(&two_calls_cross(|got| {
            assert!(got.is_ok(), "the victim panics")
        }));
    }
    let ends = two_calls_cross(|_| panic!("both panic"));
    detector::settle();
    check_ends(&ends);
    check_ends(&two_calls_cross(|_| ()));
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the waker panics");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let event = Event::new();
    let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
    let wakers = [
        Waker::from(Arc::clone(&woken[0])),
        Waker::from(Arc::new(Panics)),
        Waker::from(Arc::clone(&woken[1])),
    ];
    let mut waits = [(); 3].map(|()| Box::pin(event.wait_async()));
    for (wait, waker) in waits.iter_mut().zip(&wakers) {
        assert!(
            wait.as_mut()
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
    }
    assert!(catch_unwind(AssertUnwindSafe(|| event.set())).is_err());
    assert!(woken.iter().all(|woken| woken.0.load(Ordering::SeqCst)));
    for wait in &mut waits {
        let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(()))));
    }
}

/// Has a lock that nobody has waited for by `n` calls, which do `then` with their number.
fn check_called(
    n: usize,
    then: impl Fn(&Arc<RwLock<()>>, usize, Got) + Clone + Send + 'static,
    panics: bool,
) {
    let (sender, end) = channel();
    std::thread::spawn(move || {
        let lock = Arc::new(RwLock::new(()));
        let order = Arc::new(Mutex::new(Vec::new()));
        let held = lock.try_write_for(Frame::new("first").id()).unwrap();
        for i in 0..n {
            let (then, order) = (then.clone(), Arc::clone(&order));
            let same = Arc::clone(&lock);
            let pending = lock.write_then(&Frame::new("next"), move |got| {
                order.lock().unwrap().push(i);
                then(&same, i, got);
            });
            assert!(pending.is_some());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| drop(held)));
        assert_eq!(outcome.is_err(), panics);
        assert!(order.lock().unwrap().iter().copied().eq(0..n));
        drop(lock.write().unwrap());
        sender.send(()).unwrap();
    });
    end.recv_timeout(3 * LONG).expect("they hang or fail");
}

#[test]
fn any_number_of_calls_can_follow_each_other() {
    check_called(20_000, |_, _, got| drop(got.unwrap()), false);
}

#[test]
fn a_call_that_panics_holds_none_up() {
    let then = |_: &Arc<RwLock<()>>, i, got: Got| {
        let _guard = got.unwrap();
        assert!(i % 3 != 0, "every third panics");
    };
    check_called(10, then, true);
}

#[test]
fn a_call_that_comes_later_may_wait_for_those_that_come_after_it() {
    let (sender, end) = channel();
    let [first, a, b]: [Arc<RwLock<()>>; 3] = Default::default();
    let held = first.try_write_for(Frame::new("held").id()).unwrap();
    let one = Frame::new("one");
    let has = [&a, &b].map(|lock| lock.try_write_for(one.id()).unwrap());
    // It is called, and lets two others in, which are called after it.
    let pending = first.write_then(&one, move |_| drop(has));
    assert!(pending.is_some());
    let wanted = Arc::clone(&b);
    let pending = a.write_then(&Frame::new("two"), move |_| {
        drop(wanted.write().unwrap());
        sender.send(()).unwrap();
    });
    assert!(pending.is_some());
    let pending = b.write_then(&Frame::new("three"), drop);
    assert!(pending.is_some());
    std::thread::spawn(move || drop(held));
    end.recv_timeout(LONG).expect("it hangs");
}

#[test]
fn a_call_may_wait_for_those_that_come_after_it() {
    for awaits in [false, true] {
        let then = move |lock: &Arc<RwLock<()>>, i, got: Got| {
            drop(got.unwrap());
            if i == 0 && awaits {
                block_on(async { drop(lock.write_async().await.unwrap()) });
            } else if i == 0 {
                drop(lock.write().unwrap());
            }
        };
        check_called(10, then, false);
    }
}
