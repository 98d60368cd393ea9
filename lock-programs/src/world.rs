//! The real locks of a program, and the hands that hold their guards.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex as Plain;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use antifreeze_sync::{
    AsyncMutexGuard, AsyncPermit, BoundedSemaphore, Event, LockError, LoosePermit, Mutex,
    MutexGuard, OnTask, Permit, ReentrantMutex, ReentrantMutexGuard, Report, RwLock,
    RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, Semaphore,
};

use crate::oracle::HELP;
use crate::program::{Mode, Patience, Program, Step, Thing, Want};

/// The real locks of a program.
pub(crate) struct World {
    pub(crate) things: Vec<Real>,
    /// Those that can be joined.
    pub(crate) threads: Vec<Plain<Option<antifreeze_sync::thread::JoinHandle<()>>>>,
}

pub(crate) enum Real {
    Mutex(Mutex<u64>),
    RwLock(RwLock<u64>),
    Semaphore(BoundedSemaphore),
    Loose(Semaphore),
    Reentrant(ReentrantMutex<u64>),
    Event(Event),
}

/// How a step ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With the part that won, of a race.
    Done(usize),
    /// It was not waited for.
    Refused,
    TimedOut,
    /// It was called off.
    Cancelled,
    Deadlock(Arc<Report>),
    /// With an error that nobody expects.
    Odd(String),
}

impl World {
    /// Makes the locks, which are named after the program and their number.
    pub(crate) fn new(program: &Program, name: &str) -> Self {
        let thing = |(number, thing): (usize, &Thing)| {
            let name = format!("{name}.{number}");
            match *thing {
                Thing::Mutex { fair } => {
                    let mutex = Mutex::new(0).with_name(name);
                    Real::Mutex(if fair { mutex.fair() } else { mutex })
                }
                Thing::RwLock { strict } => {
                    let lock = RwLock::new(0).with_name(name);
                    Real::RwLock(if strict { lock.fair().strict() } else { lock })
                }
                Thing::Semaphore { permits, strict } => {
                    let semaphore = BoundedSemaphore::new(permits).with_name(name);
                    Real::Semaphore(if strict {
                        semaphore.strict()
                    } else {
                        semaphore
                    })
                }
                Thing::Loose { permits } => Real::Loose(Semaphore::new(permits).with_name(name)),
                Thing::Reentrant => Real::Reentrant(ReentrantMutex::new(0).with_name(name)),
                Thing::Event => Real::Event(Event::new().with_name(name)),
            }
        };
        Self {
            things: program.things.iter().enumerate().map(thing).collect(),
            threads: program.agents.iter().map(|_| Plain::new(None)).collect(),
        }
    }

    /// Makes something available from outside that is open to everybody.
    pub(crate) fn help(&self, thing: usize) {
        match &self.things[thing] {
            Real::Loose(semaphore) => semaphore.add(HELP),
            Real::Event(event) => event.set(),
            _ => {}
        }
    }

    /// The things that somebody still holds.
    pub(crate) fn still_held(&self) -> Vec<usize> {
        let held = |thing: &Real| match thing {
            Real::Mutex(mutex) => mutex.is_locked(),
            Real::RwLock(lock) => lock.is_locked(),
            Real::Semaphore(semaphore) => semaphore.available() != semaphore.total(),
            Real::Reentrant(mutex) => mutex.is_locked(),
            Real::Loose(_) | Real::Event(_) => false,
        };
        (0..self.things.len())
            .filter(|&number| held(&self.things[number]))
            .collect()
    }
}

// -------------------------------------------------------------------- threads

/// What a thread holds.
pub(crate) struct Hands<'a> {
    world: &'a World,
    held: Vec<(usize, Held<'a>)>,
}

enum Held<'a> {
    Mutex {
        _guard: MutexGuard<'a, u64>,
    },
    Read {
        _guard: RwLockReadGuard<'a, u64>,
    },
    Upgradable(RwLockUpgradableReadGuard<'a, u64>),
    Write(RwLockWriteGuard<'a, u64>),
    Permit {
        _permit: Permit<'a>,
    },
    Loose {
        _permit: LoosePermit<'a>,
    },
    Reentrant {
        _guard: ReentrantMutexGuard<'a, u64>,
    },
}

fn ended(error: LockError) -> End {
    match error {
        LockError::Deadlock(report) => End::Deadlock(report),
        LockError::Timeout => End::TimedOut,
        LockError::Cancelled => End::Cancelled,
        other => End::Odd(format!("{other}")),
    }
}

/// One acquisition by a thread, in each way.
macro_rules! acquire {
    (
        $lock:expr, $patience:expr, $timeout:expr, $hold:expr,
        $try:ident, $plain:ident, $timed:ident $(, $count:expr)?
    ) => {{
        let outcome = match $patience {
            Patience::Forever => $lock.$plain($($count)?),
            Patience::Long | Patience::Short => $lock.$timed($($count,)? $timeout),
            Patience::Try | Patience::Once => match $lock.$try($($count)?) {
                Some(guard) => Ok(guard),
                None => return End::Refused,
            },
        };
        outcome.map($hold)
    }};
}

impl<'a> Hands<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self {
            world,
            held: Vec::new(),
        }
    }

    /// Takes a step, on this thread.
    pub(crate) fn take(&mut self, step: &Step, timeout: Duration) -> End {
        match step {
            Step::Acquire(want, patience) => {
                let acquired = match (&self.world.things[want.thing], want.mode) {
                    (Real::Mutex(mutex), _) => {
                        let hold = |guard| Held::Mutex { _guard: guard };
                        acquire!(mutex, patience, timeout, hold, try_lock, lock, lock_timeout)
                    }
                    (Real::RwLock(lock), Mode::Read) => {
                        let hold = |guard| Held::Read { _guard: guard };
                        acquire!(lock, patience, timeout, hold, try_read, read, read_timeout)
                    }
                    (Real::RwLock(lock), Mode::Upgradable) => acquire!(
                        lock,
                        patience,
                        timeout,
                        Held::Upgradable,
                        try_upgradable_read,
                        upgradable_read,
                        upgradable_read_timeout
                    ),
                    (Real::RwLock(lock), _) => {
                        acquire!(
                            lock,
                            patience,
                            timeout,
                            Held::Write,
                            try_write,
                            write,
                            write_timeout
                        )
                    }
                    (Real::Semaphore(semaphore), mode) => {
                        let hold = |permit| Held::Permit { _permit: permit };
                        acquire!(
                            semaphore,
                            patience,
                            timeout,
                            hold,
                            try_acquire_many,
                            acquire_many,
                            acquire_many_timeout,
                            permits(mode)
                        )
                    }
                    (Real::Loose(semaphore), mode) => {
                        let hold = |permit| Held::Loose { _permit: permit };
                        acquire!(
                            semaphore,
                            patience,
                            timeout,
                            hold,
                            try_acquire_many,
                            acquire_many,
                            acquire_many_timeout,
                            permits(mode)
                        )
                    }
                    (Real::Reentrant(mutex), _) => {
                        let hold = |guard| Held::Reentrant { _guard: guard };
                        acquire!(mutex, patience, timeout, hold, try_lock, lock, lock_timeout)
                    }
                    (Real::Event(event), _) => {
                        let outcome = match patience {
                            Patience::Long | Patience::Short => event.wait_timeout(timeout),
                            _ => event.wait(),
                        };
                        return match outcome {
                            Ok(()) => End::Done(0),
                            Err(error) => ended(error),
                        };
                    }
                };
                match acquired {
                    Ok(held) => self.held.push((want.thing, held)),
                    Err(error) => return ended(error),
                }
            }
            Step::Upgrade(thing) => {
                let place = self.held.iter().rposition(|(number, held)| {
                    number == thing && matches!(held, Held::Upgradable(_))
                });
                let Some(place) = place else {
                    return End::Odd("nothing to upgrade".into());
                };
                let (_, Held::Upgradable(guard)) = self.held.remove(place) else {
                    unreachable!()
                };
                match RwLockUpgradableReadGuard::upgrade(guard) {
                    Ok(guard) => self.held.insert(place, (*thing, Held::Write(guard))),
                    Err(error) => return ended(error),
                }
            }
            Step::Downgrade(thing) => {
                let place = self
                    .held
                    .iter()
                    .rposition(|(number, held)| number == thing && matches!(held, Held::Write(_)));
                let Some(place) = place else {
                    return End::Odd("nothing to downgrade".into());
                };
                let (_, Held::Write(guard)) = self.held.remove(place) else {
                    unreachable!()
                };
                let guard = RwLockWriteGuard::downgrade(guard);
                self.held
                    .insert(place, (*thing, Held::Read { _guard: guard }));
            }
            Step::Release(thing) => {
                let place = self.held.iter().rposition(|(number, _)| number == thing);
                let Some(place) = place else {
                    return End::Odd("nothing to release".into());
                };
                drop(self.held.remove(place));
            }
            Step::Join(agent) => {
                let handle = self.world.threads[*agent]
                    .lock()
                    .expect("not poisoned")
                    .take();
                let Some(handle) = handle else {
                    return End::Odd("nobody to join".into());
                };
                if let Err(error) = handle.join() {
                    return ended(error);
                }
            }
            Step::Pause => std::thread::sleep(PAUSE),
            Step::Set(thing) => {
                if let Real::Event(event) = &self.world.things[*thing] {
                    event.set();
                }
            }
            Step::Race(_) | Step::Both(_) => {
                return End::Odd(format!("a thread cannot take the step {step:?}"));
            }
        }
        End::Done(0)
    }

    /// The newest thing that is held.
    pub(crate) fn newest(&self) -> Option<usize> {
        self.held.last().map(|(thing, _)| *thing)
    }

    /// Whether a step makes sense with what is held.
    pub(crate) fn can(&self, step: &Step) -> bool {
        let any = |thing: usize, of: fn(&Held<'a>) -> bool| {
            self.held
                .iter()
                .any(|(number, held)| *number == thing && of(held))
        };
        match step {
            Step::Release(thing) => any(*thing, |_| true),
            Step::Upgrade(thing) => any(*thing, |held| matches!(held, Held::Upgradable(_))),
            Step::Downgrade(thing) => any(*thing, |held| matches!(held, Held::Write(_))),
            Step::Join(agent) => self.world.threads[*agent]
                .lock()
                .expect("not poisoned")
                .is_some(),
            _ => true,
        }
    }
}

/// How long a pause is: long enough for the detector to look at every wait.
pub(crate) const PAUSE: Duration = Duration::from_micros(1_500);

fn permits(mode: Mode) -> u32 {
    match mode {
        Mode::Permits(count) => count,
        _ => 1,
    }
}

// -------------------------------------------------------------------- tasks

/// What a task holds.
pub(crate) struct TaskHands<'a> {
    world: &'a World,
    held: Vec<(usize, TaskHeld<'a>)>,
}

enum TaskHeld<'a> {
    Mutex {
        _guard: AsyncMutexGuard<'a, u64>,
    },
    Read {
        _guard: RwLockReadGuard<'a, u64, OnTask>,
    },
    Upgradable(RwLockUpgradableReadGuard<'a, u64, OnTask>),
    Write(RwLockWriteGuard<'a, u64, OnTask>),
    Permit {
        _permit: AsyncPermit<'a>,
    },
    Loose {
        _permit: LoosePermit<'a>,
    },
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<TaskHeld<'a>, LockError>> + Send + 'a>>;

/// Lets others end the wait of a task without the detector's knowledge.
#[derive(Default)]
pub(crate) struct Hook {
    cancelled: AtomicBool,
    /// The poll that goes on will end with waiting for locks.
    waits: AtomicBool,
    /// How often it was asked to be polled for no reason.
    asked: AtomicU64,
    waker: Plain<Option<Waker>>,
}

impl Hook {
    /// Has the task drop what it waits with.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Has the task polled for no reason, and says the how many-th time that is.
    pub(crate) fn ask(&self) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake();
        asked
    }

    fn wake(&self) {
        let waker = self.waker.lock().expect("not poisoned").clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers the waker of the executor, of which a task's own waker knows nothing, and tells when
    /// the task has gone to sleep, with the number of what it had been asked before.
    pub(crate) async fn around<F: Future>(&self, future: F, sleeps: impl Fn(u64)) -> F::Output {
        let mut future = std::pin::pin!(future);
        poll_fn(|context| {
            let mut waker = self.waker.lock().expect("not poisoned");
            if !waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                *waker = Some(context.waker().clone());
            }
            drop(waker);
            let asked = self.asked.load(Ordering::SeqCst);
            let outcome = future.as_mut().poll(context);
            if outcome.is_pending() && self.waits.swap(false, Ordering::SeqCst) {
                sleeps(asked);
            }
            outcome
        })
        .await
    }
}

impl<'a> TaskHands<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self {
            world,
            held: Vec::new(),
        }
    }

    /// Takes a step, in a task.
    pub(crate) async fn take(
        &mut self,
        step: &Step,
        timeout: Duration,
        hook: &Hook,
        got: &mut (dyn FnMut(usize) + Send),
    ) -> End {
        match step {
            Step::Acquire(want, Patience::Once) => {
                let mut future = self.future(*want);
                let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
                drop(future);
                match first {
                    Poll::Ready(Ok(held)) => self.held.push((want.thing, held)),
                    Poll::Ready(Err(error)) => return ended(error),
                    Poll::Pending => return End::Refused,
                }
            }
            Step::Acquire(want, Patience::Short | Patience::Long) => {
                let wants = [*want];
                let wait = self.wait(&wants, false, hook, got);
                match tokio::time::timeout(timeout, wait).await {
                    Ok(end) => return end,
                    Err(_) => return End::TimedOut,
                }
            }
            Step::Acquire(want, _) => return self.wait(&[*want], false, hook, got).await,
            Step::Race(wants) => return self.wait(wants, true, hook, got).await,
            Step::Both(wants) => return self.wait(wants, false, hook, got).await,
            Step::Upgrade(thing) => {
                let place = self.held.iter().rposition(|(number, held)| {
                    number == thing && matches!(held, TaskHeld::Upgradable(_))
                });
                let Some(place) = place else {
                    return End::Odd("nothing to upgrade".into());
                };
                let (_, TaskHeld::Upgradable(guard)) = self.held.remove(place) else {
                    unreachable!()
                };
                let upgrade = RwLockUpgradableReadGuard::upgrade_async(guard);
                let future: Waiting<'a> = Box::pin(async { upgrade.await.map(TaskHeld::Write) });
                return self
                    .poll_all(vec![(*thing, Some(future))], false, hook, got)
                    .await;
            }
            Step::Downgrade(thing) => {
                let place = self.held.iter().rposition(|(number, held)| {
                    number == thing && matches!(held, TaskHeld::Write(_))
                });
                let Some(place) = place else {
                    return End::Odd("nothing to downgrade".into());
                };
                let (_, TaskHeld::Write(guard)) = self.held.remove(place) else {
                    unreachable!()
                };
                let guard = RwLockWriteGuard::downgrade(guard);
                self.held
                    .insert(place, (*thing, TaskHeld::Read { _guard: guard }));
            }
            Step::Release(thing) => {
                let place = self.held.iter().rposition(|(number, _)| number == thing);
                let Some(place) = place else {
                    return End::Odd("nothing to release".into());
                };
                drop(self.held.remove(place));
            }
            Step::Pause => tokio::time::sleep(PAUSE).await,
            Step::Join(_) | Step::Set(_) => {
                return End::Odd(format!("a task cannot take the step {step:?}"));
            }
        }
        End::Done(0)
    }

    fn future(&self, want: Want) -> Waiting<'a> {
        let world = self.world;
        match (&world.things[want.thing], want.mode) {
            (Real::Mutex(mutex), _) => {
                let future = mutex.lock_async();
                Box::pin(async { future.await.map(|guard| TaskHeld::Mutex { _guard: guard }) })
            }
            (Real::RwLock(lock), Mode::Read) => {
                let future = lock.read_async();
                Box::pin(async { future.await.map(|guard| TaskHeld::Read { _guard: guard }) })
            }
            (Real::RwLock(lock), Mode::Upgradable) => {
                let future = lock.upgradable_read_async();
                Box::pin(async { future.await.map(TaskHeld::Upgradable) })
            }
            (Real::RwLock(lock), _) => {
                let future = lock.write_async();
                Box::pin(async { future.await.map(TaskHeld::Write) })
            }
            (Real::Semaphore(semaphore), mode) => {
                let future = semaphore.acquire_many_async(permits(mode));
                Box::pin(async {
                    future
                        .await
                        .map(|permit| TaskHeld::Permit { _permit: permit })
                })
            }
            (Real::Loose(semaphore), mode) => {
                let future = semaphore.acquire_many_async(permits(mode));
                Box::pin(async {
                    future
                        .await
                        .map(|permit| TaskHeld::Loose { _permit: permit })
                })
            }
            (Real::Reentrant(_) | Real::Event(_), _) => panic!("no task waits for {want:?}"),
        }
    }

    async fn wait(
        &mut self,
        wants: &[Want],
        any: bool,
        hook: &Hook,
        got: &mut (dyn FnMut(usize) + Send),
    ) -> End {
        let futures = wants
            .iter()
            .map(|&want| (want.thing, Some(self.future(want))))
            .collect();
        self.poll_all(futures, any, hook, got).await
    }

    /// Waits for one or all of these, like `select!` and `join!` but with a word on what happens.
    async fn poll_all(
        &mut self,
        mut futures: Vec<(usize, Option<Waiting<'a>>)>,
        any: bool,
        hook: &Hook,
        got: &mut (dyn FnMut(usize) + Send),
    ) -> End {
        hook.cancelled.store(false, Ordering::SeqCst);
        let end = poll_fn(|context| {
            if hook.cancelled.swap(false, Ordering::SeqCst) {
                return Poll::Ready(End::Cancelled);
            }
            for (part, (thing, slot)) in futures.iter_mut().enumerate() {
                let Some(future) = slot else { continue };
                match future.as_mut().poll(context) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(held)) => {
                        *slot = None;
                        self.held.push((*thing, held));
                        got(part);
                        if any {
                            return Poll::Ready(End::Done(part));
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(ended(error)),
                }
            }
            if futures.iter().all(|(_, future)| future.is_none()) {
                return Poll::Ready(End::Done(0));
            }
            hook.waits.store(true, Ordering::SeqCst);
            Poll::Pending
        })
        .await;
        drop(futures);
        end
    }

    /// The newest thing that is held.
    pub(crate) fn newest(&self) -> Option<usize> {
        self.held.last().map(|(thing, _)| *thing)
    }

    /// Whether a step makes sense with what is held.
    pub(crate) fn can(&self, step: &Step) -> bool {
        let any = |thing: usize, of: fn(&TaskHeld<'a>) -> bool| {
            self.held
                .iter()
                .any(|(number, held)| *number == thing && of(held))
        };
        match step {
            Step::Release(thing) => any(*thing, |_| true),
            Step::Upgrade(thing) => any(*thing, |held| matches!(held, TaskHeld::Upgradable(_))),
            Step::Downgrade(thing) => any(*thing, |held| matches!(held, TaskHeld::Write(_))),
            Step::Join(agent) => self.world.threads[*agent]
                .lock()
                .expect("not poisoned")
                .is_some(),
            _ => true,
        }
    }
}
