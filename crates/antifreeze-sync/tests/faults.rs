//! Detectors that are broken on purpose are caught: each scenario goes well with the real one, and
//! not with the broken one.
//!
//! All is played on one thread, in manual mode: tasks are polled by hand, and steps are taken between
//! any two things that the detector reads.
#![cfg(feature = "faults")]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use antifreeze_sync::faults::{self, Fault};
use antifreeze_sync::{
    BoundedSemaphore, Consumer, Event, LockError, Mutex, OwnedMutexGuard, Producer, RwLock,
    channel, detector, task,
};

/// The detector is one for all, so only one of these tests runs at a time.
static ALONE: StdMutex<()> = StdMutex::new(());

/// A scenario goes well, and would not with this fault.
#[track_caller]
fn catches(fault: Fault, scenario: impl Fn() -> Result<(), String>) {
    let _alone = ALONE.lock().unwrap_or_else(|error| error.into_inner());
    detector::set_manual(true);
    let sound = scenario();
    faults::look_on(None);
    faults::set(fault, true);
    let broken = scenario();
    faults::look_on(None);
    faults::set(fault, false);
    assert_eq!(sound, Ok(()), "with nothing broken");
    assert!(broken.is_err(), "{fault:?} was not noticed");
}

/// Nobody must be told of a deadlock.
fn nobody(verdicts: usize) -> Result<(), String> {
    if verdicts == 0 {
        Ok(())
    } else {
        Err(format!("{verdicts} were told of a deadlock"))
    }
}

/// A task that is polled by hand.
#[derive(Clone)]
struct Hand {
    frame: u64,
    waker: Waker,
    task: Arc<StdMutex<Polled>>,
}

type Polled = Pin<Box<dyn Future<Output = Result<(), LockError>> + Send>>;

impl Hand {
    fn new(part: impl Future<Output = Result<(), LockError>> + Send + 'static) -> Self {
        let task = task(part);
        let frame = task.frame();
        let hand = Self {
            frame,
            waker: Arc::new(ByHand).into(),
            task: Arc::new(StdMutex::new(Box::pin(task))),
        };
        assert!(hand.poll().is_none(), "it must wait for something");
        hand
    }

    /// Ends it from outside, wherever it is.
    fn abort(&self) {
        *self.task.lock().unwrap() = Box::pin(async { Ok(()) });
    }

    fn poll(&self) -> Option<Result<(), LockError>> {
        let mut task = self.task.lock().unwrap();
        match task.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        }
    }
}

/// Nobody is woken, since all are polled by hand.
struct ByHand;

impl Wake for ByHand {
    fn wake(self: Arc<Self>) {}
}

/// A branch of a task that does what it is told when it is polled, and may have itself woken.
#[derive(Clone, Default)]
struct Branch(Arc<StdMutex<Told>>);

#[derive(Default)]
struct Told {
    steps: VecDeque<Box<dyn FnOnce() + Send>>,
    /// Whether something else, which this stands for, can wake the task.
    wakes: bool,
    waker: Option<Waker>,
    ended: bool,
}

impl Branch {
    fn that_wakes() -> Self {
        let branch = Self::default();
        branch.wakes(true);
        branch
    }

    fn wakes(&self, wakes: bool) {
        self.0.lock().unwrap().wakes = wakes;
    }

    fn tell(&self, step: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().steps.push_back(Box::new(step));
    }

    fn end(&self) {
        self.0.lock().unwrap().ended = true;
    }

    /// Wakes the task, which is not polled before that is done by hand.
    fn wake(&self) {
        let waker = self.0.lock().unwrap().waker.take();
        waker.expect("it has a waker").wake();
    }

    async fn go(self) {
        poll_fn(|context| {
            loop {
                let Some(step) = self.0.lock().unwrap().steps.pop_front() else {
                    break;
                };
                step();
            }
            let mut told = self.0.lock().unwrap();
            told.waker = told.wakes.then(|| context.waker().clone());
            if told.ended {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

type Lock = Arc<Mutex<()>>;

/// Holds `has` and waits for `wants`.
fn holder(has: &Lock, wants: &Lock) -> Hand {
    let (has, wants) = (Arc::clone(has), Arc::clone(wants));
    Hand::new(async move {
        let _has = has.lock_async().await?;
        wants.lock_async().await.map(drop)
    })
}

/// Two locks, `mine` held by the caller's task, `theirs` by `other`, which waits for `mine`.
fn across(part: impl FnOnce(Lock, Lock) -> Hand) -> (Hand, Hand) {
    let (mine, theirs) = (Lock::default(), Lock::default());
    // `other` has its lock before `me` asks for it, and asks for mine when I have it.
    let go = Branch::default();
    let other = {
        let (mine, theirs, go) = (Arc::clone(&mine), Arc::clone(&theirs), go.clone());
        Hand::new(async move {
            let _theirs = theirs.lock_async().await?;
            go.go().await;
            mine.lock_async().await.map(drop)
        })
    };
    let me = part(mine, theirs);
    go.end();
    assert!(other.poll().is_none());
    (me, other)
}

#[test]
fn what_was_read_once_is_not_enough() {
    catches(Fault::NoSecondPass, || phantom(false));
}

#[test]
fn what_was_read_twice_is_not_enough_if_somebody_ran_meanwhile() {
    catches(Fault::NoRereading, || phantom(true));
}

/// `waiter` waits for `lock`, which passes between `runner` and `other`; `runner` waits for what
/// `waiter` has only while the lock is with `other`. So there never is a deadlock, but whoever reads
/// one after the other can believe so.
fn phantom(again: bool) -> Result<(), String> {
    let (lock, first) = (Lock::default(), Lock::default());
    let guard: Arc<OwnedMutexGuard<()>> = Arc::new(lock.lock_owned().unwrap());
    let waiter = holder(&first, &lock);
    let branch = Branch::that_wakes();
    let bind = |guard: &Arc<OwnedMutexGuard<()>>| {
        let guard = Arc::clone(guard);
        move || guard.bind()
    };
    branch.tell(bind(&guard));
    let runner = {
        let (first, branch) = (Arc::clone(&first), branch.clone());
        Hand::new(async move {
            let both = first.lock_async();
            let mut both = std::pin::pin!(both);
            let mut go = std::pin::pin!(branch.go());
            poll_fn(|context| {
                let done = go.as_mut().poll(context).is_ready();
                let had = both.as_mut().poll(context).is_ready();
                if done || had {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            Ok(())
        })
    };
    let (other_does, other) = {
        let branch = Branch::that_wakes();
        let does = branch.clone();
        (
            branch,
            Hand::new(async move {
                does.go().await;
                Ok(())
            }),
        )
    };
    // It is awake, and has the lock for which `waiter` waits.
    branch.wake();
    let (watched, runner_frame) = (waiter.frame, runner.frame);
    let (told, does) = (branch.clone(), runner.clone());
    let for_runner = bind(&guard);
    let for_other = bind(&guard);
    let mut for_other = Some(for_other);
    let mut for_runner = Some(for_runner);
    let other_task = other.clone();
    faults::look_on(Some(Box::new(move |pass, frame| {
        if pass == 1 && frame == watched {
            // The lock goes to the other one, and then the runner sleeps.
            other_does.tell(for_other.take().expect("once"));
            assert!(other_task.poll().is_none());
            told.wakes(false);
            assert!(does.poll().is_none());
        }
        if again && pass == 2 && frame == runner_frame {
            // It comes back to the runner, which is not asleep then.
            told.wakes(true);
            told.tell(for_runner.take().expect("once"));
            assert!(does.poll().is_none());
        }
    })));
    let verdicts = faults::check_from(waiter.frame);
    faults::look_on(None);
    drop((branch, runner, other, guard));
    nobody(verdicts)
}

/// Somebody leaves between what the detector has read and what it does about it.
fn leaves_at_last(leaves: &Hand) -> usize {
    let leaves = leaves.clone();
    // Others are deadlocked all the same.
    let _cycle = across(|mine, theirs| holder(&mine, &theirs));
    faults::look_on(Some(Box::new(move |pass, _| {
        if pass == 3 {
            leaves.abort();
        }
    })));
    let verdicts = detector::settle();
    faults::look_on(None);
    assert!(verdicts > 0, "the others were found");
    verdicts - 1
}

#[test]
fn nobody_fails_for_whom_nobody_waits_any_more() {
    catches(Fault::LeavingUnnoticed, || {
        let permits = Arc::new(BoundedSemaphore::new(2));
        let one = permits.try_acquire().unwrap();
        let go = Branch::default();
        // It would be let past the big request, but for which it waits for nothing.
        let small = {
            let (permits, go) = (Arc::clone(&permits), go.clone());
            Hand::new(async move {
                let _permit = permits.acquire_async().await?;
                go.go().await;
                permits.acquire_async().await.map(drop)
            })
        };
        let wanted = Arc::clone(&permits);
        let big = Hand::new(async move { wanted.acquire_many_async(2).await.map(drop) });
        go.end();
        assert!(small.poll().is_none());
        let verdicts = leaves_at_last(&small);
        drop(one);
        if verdicts == 0 {
            assert!(big.poll().is_some_and(|end| end.is_ok()));
        }
        nobody(verdicts)
    });
}

/// One who reads a lock and wants what the third has, a writer who waits for the lock, and the third, who
/// waits to read it behind the writer.
fn around_a_writer() -> [Hand; 3] {
    let lock = Arc::new(RwLock::new(()));
    let data = Lock::default();
    let (go, begin) = (Branch::default(), Branch::default());
    let reader = {
        let (lock, data, go) = (Arc::clone(&lock), Arc::clone(&data), go.clone());
        Hand::new(async move {
            let _reading = lock.read_async().await?;
            go.go().await;
            data.lock_async().await.map(drop)
        })
    };
    let writes = Arc::clone(&lock);
    let writer = Hand::new(async move { writes.write_async().await.map(drop) });
    let has = {
        let begin = begin.clone();
        Hand::new(async move {
            let _data = data.lock_async().await?;
            begin.go().await;
            lock.read_async().await.map(drop)
        })
    };
    go.end();
    begin.end();
    assert!(reader.poll().is_none() && has.poll().is_none());
    [reader, writer, has]
}

/// They go on, one after another.
fn all_go_on(hands: &[Hand]) {
    for hand in hands {
        assert!(
            hand.poll().is_some_and(|end| end.is_ok()),
            "all get what they want"
        );
    }
}

#[test]
fn nobody_fails_when_those_have_left_whom_a_writer_waits_for() {
    catches(Fault::LeavingUnnoticed, || {
        let [reader, writer, has] = around_a_writer();
        // Then it is the writer's turn, and nobody can be let past it.
        let verdicts = leaves_at_last(&reader);
        if verdicts == 0 {
            all_go_on(&[writer, has]);
        }
        nobody(verdicts)
    });
}

#[test]
fn a_task_with_two_waits_is_not_blocked_by_one_of_them() {
    catches(Fault::OrAsAnd, || {
        let free_later = Lock::default();
        let held = free_later.try_lock().unwrap();
        let (me, other) = across(|mine, theirs| {
            let free_later = Arc::clone(&free_later);
            Hand::new(async move {
                let _mine = mine.lock_async().await?;
                either(theirs.lock_async(), free_later.lock_async()).await
            })
        });
        let verdicts = detector::settle();
        drop(held);
        if verdicts == 0 {
            assert!(
                me.poll().is_some_and(|end| end.is_ok()),
                "it had the one that came free"
            );
            assert!(other.poll().is_some_and(|end| end.is_ok()));
        }
        nobody(verdicts)
    });
}

/// Whichever comes first.
async fn either<A, B>(
    first: impl Future<Output = Result<A, LockError>>,
    second: impl Future<Output = Result<B, LockError>>,
) -> Result<(), LockError> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(end) = first.as_mut().poll(context) {
            return Poll::Ready(end.map(drop));
        }
        second.as_mut().poll(context).map(|end| end.map(drop))
    })
    .await
}

#[test]
fn a_reader_is_let_past_a_writer_rather_than_failed() {
    catches(Fault::SoftReported, || {
        let [reader, writer, has] = around_a_writer();
        let verdicts = detector::settle();
        if verdicts == 0 {
            all_go_on(&[has, reader, writer]);
        }
        nobody(verdicts)
    });
}

#[test]
fn two_branches_of_one_task_may_take_turns() {
    catches(Fault::OwnTaskFails, || {
        let lock = Lock::default();
        let (first, second) = (Arc::clone(&lock), lock);
        let go = Branch::default();
        let told = go.clone();
        let both = Hand::new(async move {
            let one = first.run_async(async |()| told.go().await);
            let other = second.run_async(async |()| ());
            let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
            let mut missing = 2;
            let mut ends = [None, None];
            poll_fn(|context| {
                if ends[0].is_none()
                    && let Poll::Ready(end) = one.as_mut().poll(context)
                {
                    ends[0] = Some(end);
                    missing -= 1;
                }
                if ends[1].is_none()
                    && let Poll::Ready(end) = other.as_mut().poll(context)
                {
                    ends[1] = Some(end);
                    missing -= 1;
                }
                if missing == 0 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            ends.into_iter().flatten().collect()
        });
        go.end();
        match both.poll() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it waits".to_owned()),
        }
    });
}

#[test]
fn a_writer_waits_for_the_stuck_reader_though_another_one_runs() {
    catches(Fault::StopAtRunning, || {
        let lock = Arc::new(RwLock::new(()));
        let running = lock.try_read().unwrap();
        let data = Lock::default();
        let go = Branch::default();
        let reader = {
            let (lock, data, go) = (Arc::clone(&lock), Arc::clone(&data), go.clone());
            Hand::new(async move {
                let _reading = lock.read_async().await?;
                go.go().await;
                data.lock_async().await.map(drop)
            })
        };
        let _writer = {
            let lock = Arc::clone(&lock);
            Hand::new(async move {
                let _data = data.lock_async().await?;
                lock.write_async().await.map(drop)
            })
        };
        go.end();
        assert!(reader.poll().is_none());
        let verdicts = detector::settle();
        drop(running);
        if verdicts == 1 {
            Ok(())
        } else {
            Err(format!("{verdicts} verdicts"))
        }
    });
}

/// A task waits for what `other` has, and something else can wake it.
fn with_something_else(branch: &Branch) -> (Hand, Hand) {
    across(|mine, theirs| {
        let branch = branch.clone();
        Hand::new(async move {
            let _mine = mine.lock_async().await?;
            either(theirs.lock_async(), async {
                branch.go().await;
                Ok(())
            })
            .await
        })
    })
}

#[test]
fn a_task_that_something_else_can_wake_is_not_stuck() {
    catches(Fault::OthersCannotWake, || {
        let branch = Branch::that_wakes();
        let (_me, _other) = with_something_else(&branch);
        nobody(detector::settle())
    });
}

#[test]
fn a_wait_that_is_kept_when_it_is_over_neither_hides_a_waker_nor_is_taken_for_one() {
    type Look = (&'static str, fn(u64));
    fn check(look: Look, both: bool, something_else: bool) {
        let branch = Branch::default();
        branch.wakes(something_else);
        let first = Lock::default();
        let has_first = first.lock_owned().unwrap();
        let (me, _other) = across(|mine, theirs| {
            let branch = branch.clone();
            Hand::new(async move {
                let _mine = mine.lock_async().await?;
                let mut theirs = pin!(theirs.lock_async());
                let mut first = pin!(first.lock_async());
                // It may wait for both, until it gets the first.
                let got = poll_fn(|context| {
                    assert!(!both || theirs.as_mut().poll(context).is_pending());
                    first.as_mut().poll(context)
                });
                drop(got.await?);
                either(theirs, async {
                    branch.go().await;
                    Ok(())
                })
                .await
            })
        });
        let (said, look) = look;
        look(me.frame);
        drop(has_first);
        assert!(me.poll().is_none());
        let expected = usize::from(!something_else);
        assert_eq!(
            detector::settle(),
            expected,
            "{said}, {both}, {something_else}"
        );
    }
    let _alone = ALONE.lock().unwrap_or_else(|error| error.into_inner());
    detector::set_manual(true);
    let looks: [Look; 3] = [
        ("its task keeps it", |_| {}),
        ("the detector keeps it", |_| {
            assert_eq!(detector::settle(), 0)
        }),
        ("a reading keeps it", |frame| {
            let reading = detector::read(&[detector::Part::Frame(frame)], 10);
            assert!(reading.frames.iter().any(|read| read.agent.frame == frame));
        }),
    ];
    for look in looks {
        for (both, something_else) in [(false, false), (false, true), (true, false), (true, true)] {
            check(look, both, something_else);
        }
    }
}

/// Waits for both until it has both.
async fn both<A, B>(
    first: impl Future<Output = Result<A, LockError>>,
    second: impl Future<Output = Result<B, LockError>>,
) -> Result<(A, B), LockError> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut other) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(end) = first.as_mut().poll(context)
        {
            one = Some(end);
        }
        if other.is_none()
            && let Poll::Ready(end) = second.as_mut().poll(context)
        {
            other = Some(end);
        }
        match (one.take(), other.take()) {
            (Some(one), Some(other)) => Poll::Ready(Ok((one?, other?))),
            (begun, rest) => {
                (one, other) = (begun, rest);
                Poll::Pending
            }
        }
    })
    .await
}

#[test]
fn a_wait_that_is_dropped_while_its_task_is_polled_hides_nothing() {
    type Wait = Pin<Box<dyn Future<Output = Result<(), LockError>> + Send>>;
    fn check(said: &str, wait: impl FnOnce(Lock, Lock, Arc<Event>) -> Wait) {
        let (first, second, event) = (Lock::default(), Lock::default(), Arc::default());
        let held = [first.lock_owned().unwrap(), second.lock_owned().unwrap()];
        let wait = wait(first, second, Arc::clone(&event));
        let (me, _other) = across(|mine, theirs| {
            Hand::new(async move {
                let _mine = mine.lock_async().await?;
                wait.await?;
                theirs.lock_async().await.map(drop)
            })
        });
        drop(held);
        event.set();
        assert!(me.poll().is_none());
        assert_eq!(detector::settle(), 1, "{said}");
    }
    let _alone = ALONE.lock().unwrap_or_else(|error| error.into_inner());
    detector::set_manual(true);
    check("an event", |_, _, event| {
        Box::pin(async move { event.wait_async().await })
    });
    check("two locks", |first, second, _| {
        Box::pin(async move {
            both(first.lock_async(), second.lock_async())
                .await
                .map(drop)
        })
    });
    check("a lock that is not wanted any more", |first, second, _| {
        Box::pin(async move { either(first.lock_async(), second.lock_async()).await })
    });
}

#[test]
fn a_task_that_was_woken_is_not_stuck_though_it_was_not_polled_yet() {
    catches(Fault::WakeUnnoticed, || {
        let branch = Branch::that_wakes();
        let (_me, _other) = with_something_else(&branch);
        branch.wake();
        nobody(detector::settle())
    });
}

#[test]
fn a_waker_that_was_left_over_hides_nothing() {
    catches(Fault::NoRenewal, || {
        let left_over = Branch::that_wakes();
        let (me, other) = across(|mine, theirs| {
            let left_over = left_over.clone();
            Hand::new(async move {
                let _mine = mine.lock_async().await?;
                // Something is waited for, once, and given up; but it keeps the waker.
                let mut given_up = Box::pin(left_over.go());
                poll_fn(|context| {
                    let _ = given_up.as_mut().poll(context);
                    Poll::Ready(())
                })
                .await;
                drop(given_up);
                theirs.lock_async().await.map(drop)
            })
        });
        let mut verdicts = 0;
        for _ in 0..3 {
            verdicts += detector::settle();
            let _ = (me.poll(), other.poll());
            if verdicts > 0 {
                return Ok(());
            }
        }
        Err("it was never found".to_owned())
    });
}

#[test]
fn a_waker_that_was_left_over_hides_nothing_beside_another_deadlock() {
    let _alone = ALONE.lock().unwrap_or_else(|error| error.into_inner());
    detector::set_manual(true);
    let left_over = Branch::that_wakes();
    let lock = Lock::default();
    let me = {
        let (lock, left_over) = (Arc::clone(&lock), left_over);
        Hand::new(async move {
            let mut given_up = Box::pin(left_over.go());
            poll_fn(|context| {
                let _ = given_up.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            drop(given_up);
            let _once = lock.lock_async().await?;
            lock.lock_async().await.map(drop)
        })
    };
    let (_first, _second) = across(|mine, theirs| holder(&mine, &theirs));
    let mut verdicts = 0;
    for _ in 0..3 {
        verdicts += detector::settle();
        if me.poll().is_some() {
            break;
        }
    }
    assert_eq!(verdicts, 2);
}

#[test]
fn futures_that_share_a_frame_count_with_all_their_wakers() {
    let _alone = ALONE.lock().unwrap_or_else(|error| error.into_inner());
    detector::set_manual(true);
    let call = antifreeze_sync::Frame::new("a call");
    let (held, wanted) = (Lock::default(), Lock::default());
    let has = call.enter(|| held.lock().unwrap());
    let asks = holder(&wanted, &held);
    let something_else = Branch::that_wakes();
    let noop = Waker::from(Arc::new(ByHand));
    let mut context = Context::from_waker(&noop);
    let mut first = Box::pin(call.run(something_else.go()));
    let mut second = Box::pin(call.run(wanted.lock_async()));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!(
        detector::settle(),
        0,
        "the first future may go on, and let go of the lock"
    );
    drop((first, second, asks, has));
}

#[test]
fn a_thread_that_polls_has_no_part_in_what_is_awaited() {
    catches(Fault::ThreadsOwnWhatIsAwaited, || {
        let (awaited, blocked) = (Lock::default(), Lock::default());
        let go = Branch::default();
        let waits = {
            let (awaited, blocked, go) = (Arc::clone(&awaited), Arc::clone(&blocked), go.clone());
            Hand::new(async move {
                let _blocked = blocked.lock_async().await?;
                go.go().await;
                awaited.lock_async().await.map(drop)
            })
        };
        let (give, given) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // This thread polls somebody's future, which goes on elsewhere.
            let mut future = Box::pin(async move {
                let _held = awaited.lock_async().await.unwrap();
                std::future::pending::<()>().await;
            });
            assert!(
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            give.send(future as Pin<Box<dyn Future<Output = ()> + Send>>)
                .unwrap();
            tell.send(antifreeze_sync::frame::current()).unwrap();
            blocked.lock().map(drop)
        });
        let (elsewhere, frame) = (given.recv().unwrap(), told.recv().unwrap());
        go.end();
        assert!(waits.poll().is_none());
        while !detector::is_waiting(frame) {
            std::thread::yield_now();
        }
        let verdicts = detector::settle();
        drop(elsewhere);
        let _ = waits.poll();
        drop(waits);
        let _ = thread.join().unwrap();
        nobody(verdicts)
    });
}

#[test]
fn a_guard_that_went_elsewhere_is_not_blamed_on_who_acquired_it() {
    catches(Fault::OwnedIsClaimed, || {
        let (sent, held) = (Lock::default(), Lock::default());
        let (give, given) = mpsc::channel();
        let go = Branch::default();
        let waits = {
            let (sent, held, go) = (Arc::clone(&sent), Arc::clone(&held), go.clone());
            Hand::new(async move {
                let _held = held.lock_async().await?;
                go.go().await;
                sent.lock_async().await.map(drop)
            })
        };
        let _sender = Hand::new(async move {
            give.send(sent.lock_owned_async().await?).unwrap();
            held.lock_async().await.map(drop)
        });
        go.end();
        assert!(waits.poll().is_none());
        let verdicts = detector::settle();
        drop(given.recv().unwrap());
        nobody(verdicts)
    });
}

#[test]
fn partners_that_come_and_go_are_noticed() {
    catches(Fault::MembersUnnoticed, || {
        // Two who each get what the other puts, and a third who puts into one queue or the other, and
        // for a moment into both: at no time do the two depend on each other alone.
        let (puts_to_one, one_gets) = channel::<u32>(1);
        let (puts_to_two, two_gets) = channel::<u32>(1);
        let (puts_to_one, puts_to_two) = (Arc::new(puts_to_one), Arc::new(puts_to_two));
        let part = |puts: &Arc<Producer<u32>>, gets: Consumer<u32>| {
            let puts = Arc::clone(puts);
            Hand::new(async move {
                puts.bind();
                gets.bind();
                gets.get_async().await.map(drop)
            })
        };
        let one = part(&puts_to_two, one_gets);
        let two = part(&puts_to_one, two_gets);
        let branch = Branch::that_wakes();
        let does = branch.clone();
        let third = Hand::new(async move {
            does.go().await;
            Ok(())
        });
        let third_puts: Arc<StdMutex<Option<Producer<u32>>>> = Arc::default();
        let turn_to = {
            let puts = Arc::clone(&third_puts);
            move |queue: &Arc<Producer<u32>>| {
                let (queue, puts) = (Arc::clone(queue), Arc::clone(&puts));
                branch.tell(move || {
                    let new = Producer::clone(&queue);
                    new.bind();
                    // First it is at both, then it leaves the old one.
                    let old = puts.lock().unwrap().replace(new);
                    drop(old);
                });
                assert!(third.poll().is_none());
            }
        };
        turn_to(&puts_to_two);
        // Whoever is read first is read while the third is at the other queue.
        let (first, last) = (one.frame, two.frame);
        let (to_one, to_two) = (Arc::clone(&puts_to_one), Arc::clone(&puts_to_two));
        faults::look_on(Some(Box::new(move |pass, frame| match (pass, frame) {
            (1, frame) if frame == first => turn_to(&to_one),
            (2, frame) if frame == last => turn_to(&to_two),
            _ => {}
        })));
        let verdicts = faults::check_from(one.frame);
        faults::look_on(None);
        nobody(verdicts)
    });
}
