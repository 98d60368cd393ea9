//! A process of ours: its methods, threads and tasks do what they are told, one step at a time.
//!
//! While one waits for its next step it counts as running: what brings the step is foreign to the locks.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::{self, Write};
use std::sync::mpsc as plain;
use std::sync::{Mutex as Plain, MutexGuard as PlainGuard};
use std::time::Duration;

use antifreeze::sync::{
    self, AsyncMutexGuard, AsyncPermit, BoundedSemaphore, LockError, Mutex, MutexGuard, OnTask,
    Permit, Report, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use antifreeze::{Config, Daemon, Error, Object, Proxy, Serializer, Value, expose, waits};
use tokio::sync::mpsc;

use crate::message::{CallOrder, Ending, Failure, How, Order, Queue, Said, Told};
use crate::program::{Kind, Sort, is_open};

type Boxed = Box<dyn StdError + Send + Sync>;

/// Serves until whoever started this process is gone.
pub(crate) fn run(kind: Kind) -> Result<(), Boxed> {
    let builder = match kind {
        Kind::Threads => Daemon::builder().threads(),
        _ => Daemon::builder(),
    };
    let daemon = builder.bind("localhost:0")?;
    let place = daemon.location().to_string();
    let running = daemon.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    say(&Said::Ready { place });
    let mut objects: Vec<String> = Vec::new();
    let mut puppets: Vec<(String, Object<Puppet>)> = Vec::new();
    for line in io::stdin().lines() {
        match serde_json::from_str(&line?)? {
            Order::Make {
                objects: names,
                locks,
            } => {
                puppets.clear();
                for name in names {
                    if is_open(&name) {
                        running.daemon().register(name.as_str(), Open)?;
                    } else {
                        let puppet = Object::new(Puppet);
                        running.daemon().register(name.as_str(), &puppet)?;
                        puppets.push((name.clone(), puppet));
                    }
                    objects.push(name);
                }
                *all_locks() = locks.into_iter().map(make).collect();
                say(&Said::Made);
            }
            Order::Drop => {
                for name in objects.drain(..) {
                    running.daemon().unregister(&name);
                }
                let held = puppets
                    .iter()
                    .filter(|(_, puppet)| puppet.try_write().is_none());
                let mut left = left();
                left.extend(held.map(|(name, _)| name.clone()));
                say(&Said::Dropped { left });
            }
            Order::Begin {
                frame,
                name,
                task: false,
            } => drop(sync::thread::named(&name, move || perform(frame))),
            Order::Begin {
                frame,
                name,
                task: true,
            } => drop(runtime.spawn(sync::named_task(name, perform_as_task(frame)))),
            Order::Look => say(&Said::Waiting { queues: look() }),
            order @ (Order::Lock { frame, .. }
            | Order::Unlock { frame, .. }
            | Order::Call { frame, .. }
            | Order::End { frame, .. }) => match stage().get(&frame) {
                Some(actor) => actor.send(order),
                None => say(&Said::Confused {
                    text: format!("there is no frame {frame}"),
                }),
            },
        }
    }
    // Whoever still waits for something is not waited for.
    std::process::exit(0);
}

/// An object that is one lock.
struct Puppet;

#[expose]
impl Puppet {
    fn write(&mut self, frame: u64) -> Result<(), Boxed> {
        perform(frame)
    }

    fn read(&self, frame: u64) -> Result<(), Boxed> {
        perform(frame)
    }

    #[lock(none)]
    fn pass(&self, frame: u64) -> Result<(), Boxed> {
        perform(frame)
    }

    async fn write_as_task(&mut self, frame: u64) -> Result<(), Boxed> {
        perform_as_task(frame).await
    }

    async fn read_as_task(&self, frame: u64) -> Result<(), Boxed> {
        perform_as_task(frame).await
    }

    #[lock(none)]
    async fn pass_as_task(&self, frame: u64) -> Result<(), Boxed> {
        perform_as_task(frame).await
    }
}

/// An object without a lock.
struct Open;

#[expose]
impl Open {
    #[lock(none)]
    fn enter(&self, frame: u64) -> Result<(), Boxed> {
        perform(frame)
    }

    #[lock(none)]
    async fn enter_as_task(&self, frame: u64) -> Result<(), Boxed> {
        perform_as_task(frame).await
    }
}

fn say(said: &Said) {
    let mut line = serde_json::to_string(said).expect("it is plain data");
    line.push('\n');
    // Nobody listens any more if this fails.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// The locks of the program that runs. They are never freed, so that guards need no owner.
static LOCKS: Plain<Vec<(String, AnyLock)>> = Plain::new(Vec::new());
/// The frames that take orders.
static STAGE: Plain<Option<HashMap<u64, Actor>>> = Plain::new(None);

#[derive(Clone, Copy)]
enum AnyLock {
    Mutex(&'static Mutex<()>),
    RwLock(&'static RwLock<()>),
    Semaphore(&'static BoundedSemaphore),
}

fn make((name, lock): (String, Sort)) -> (String, AnyLock) {
    let made = match lock {
        Sort::Mutex => AnyLock::Mutex(leak(Mutex::new(()).with_name(&name))),
        Sort::RwLock => AnyLock::RwLock(leak(RwLock::new(()).with_name(&name))),
        Sort::Semaphore(permits) => {
            AnyLock::Semaphore(leak(BoundedSemaphore::new(permits).with_name(&name)))
        }
        Sort::Object | Sort::Place => unreachable!("{name} is no lock"),
    };
    (name, made)
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn all_locks() -> PlainGuard<'static, Vec<(String, AnyLock)>> {
    LOCKS.lock().expect("nobody panics with it")
}

fn lock_of(name: &str) -> AnyLock {
    let locks = all_locks();
    let found = locks.iter().find(|(known, _)| known == name);
    found.expect("the lock was made").1
}

/// What the program that ends has left behind.
fn left() -> Vec<String> {
    let frames = stage()
        .keys()
        .map(|frame| format!("frame {frame}"))
        .collect();
    let is_held = |(_, made): &&(String, AnyLock)| match made {
        AnyLock::Mutex(mutex) => mutex.try_lock().is_none(),
        AnyLock::RwLock(lock) => lock.try_write().is_none(),
        AnyLock::Semaphore(semaphore) => semaphore.available() != semaphore.total(),
    };
    let locks = all_locks();
    let held = locks.iter().filter(is_held);
    let mut left: Vec<String> = frames;
    left.extend(held.map(|(name, _)| name.clone()));
    left
}

/// Every queue, and who stands in it.
fn look() -> Vec<Queue> {
    let queues = sync::detector::snapshot().resources.into_iter();
    let queue = |state: sync::ResourceState| Queue {
        resource: state.resource.name,
        waiters: state
            .waiters
            .into_iter()
            .map(|waiter| waiter.agent.name.unwrap_or_default())
            .collect(),
    };
    queues.map(queue).collect()
}

enum Actor {
    Thread(plain::Sender<Order>),
    Task(mpsc::UnboundedSender<Order>),
}

impl Actor {
    fn send(&self, order: Order) {
        // It is gone only if the program went wrong.
        let _ = match self {
            Self::Thread(orders) => orders.send(order).is_ok(),
            Self::Task(orders) => orders.send(order).is_ok(),
        };
    }
}

struct Stage(PlainGuard<'static, Option<HashMap<u64, Actor>>>);

impl std::ops::Deref for Stage {
    type Target = HashMap<u64, Actor>;
    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it was made")
    }
}

impl std::ops::DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("it was made")
    }
}

fn stage() -> Stage {
    let mut stage = STAGE.lock().expect("nobody panics with it");
    stage.get_or_insert_default();
    Stage(stage)
}

/// A frame from its beginning to its end.
struct Part {
    frame: u64,
    last: Option<Boxed>,
}

impl Part {
    fn begin(frame: u64, actor: Actor) -> Self {
        stage().insert(frame, actor);
        say(&Said::Entered { frame });
        Self { frame, last: None }
    }

    /// Tells what came of an order.
    fn tell<E: Into<Boxed>>(&mut self, outcome: Result<bool, E>, failure: fn(&E) -> Failure) {
        let frame = self.frame;
        match outcome {
            Ok(true) => say(&Said::Done { frame }),
            Ok(false) => say(&Said::Refused { frame }),
            Err(error) => {
                let said = Said::Failed {
                    frame,
                    error: failure(&error),
                };
                self.last = Some(error.into());
                say(&said);
            }
        }
    }

    fn end(self, how: Ending) -> Result<(), Boxed> {
        match (how, self.last) {
            (Ending::Fail, Some(error)) => Err(error),
            (Ending::Panic, _) => std::panic::resume_unwind(Box::new("told to")),
            _ => Ok(()),
        }
    }
}

/// Says so when everything else of the frame is gone.
struct Leaves(u64);

impl Drop for Leaves {
    fn drop(&mut self) {
        stage().remove(&self.0);
        say(&Said::Ended { frame: self.0 });
    }
}

fn perform(frame: u64) -> Result<(), Boxed> {
    let (sender, orders) = plain::channel();
    let mut part = Part::begin(frame, Actor::Thread(sender));
    let leaves = Leaves(frame);
    let mut held: Vec<(String, Guard)> = Vec::new();
    for order in orders {
        match order {
            Order::Lock {
                lock,
                mode,
                wait_ms,
                ..
            } => {
                let outcome = match wait_ms {
                    None => take(&lock, mode).map(Some),
                    Some(0) => Ok(try_take(&lock, mode)),
                    Some(ms) => take_within(&lock, mode, Duration::from_millis(ms)).map(Some),
                };
                let outcome = outcome.map(|guard| {
                    let has = guard.is_some();
                    held.extend(guard.map(|guard| (lock, guard)));
                    has
                });
                part.tell(outcome, of_lock);
            }
            Order::Unlock { lock, .. } => {
                let_go(&mut held, &lock);
                part.tell(Ok::<_, Error>(true), of_call);
            }
            Order::Call { call: made, .. } => {
                part.tell(call(&made).map(|()| true), of_call);
            }
            Order::End { how, .. } => {
                drop(held);
                drop(leaves);
                return part.end(how);
            }
            _ => unreachable!("no order for a frame"),
        }
    }
    Ok(())
}

async fn perform_as_task(frame: u64) -> Result<(), Boxed> {
    let (sender, mut orders) = mpsc::unbounded_channel();
    let mut part = Part::begin(frame, Actor::Task(sender));
    let leaves = Leaves(frame);
    let mut held: Vec<(String, AsyncGuard)> = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Lock { lock, mode, .. } => {
                let outcome = take_as_task(&lock, mode).await.map(|guard| {
                    held.push((lock, guard));
                    true
                });
                part.tell(outcome, of_lock);
            }
            Order::Unlock { lock, .. } => {
                let_go(&mut held, &lock);
                part.tell(Ok::<_, Error>(true), of_call);
            }
            Order::Call { call, .. } => {
                part.tell(call_as_task(&call).await.map(|()| true), of_call);
            }
            Order::End { how, .. } => {
                drop(held);
                drop(leaves);
                return part.end(how);
            }
            _ => unreachable!("no order for a frame"),
        }
    }
    Ok(())
}

/// Drops the newest guard of this lock.
fn let_go<G>(held: &mut Vec<(String, G)>, lock: &str) {
    let newest = held.iter().rposition(|(name, _)| name == lock);
    drop(newest.map(|place| held.remove(place)));
}

#[expect(dead_code, reason = "what is in it is kept, and dropped")]
enum Guard {
    Mutex(MutexGuard<'static, ()>),
    Read(RwLockReadGuard<'static, ()>),
    Write(RwLockWriteGuard<'static, ()>),
    Permits(Permit<'static>),
}

#[expect(dead_code, reason = "what is in it is kept, and dropped")]
enum AsyncGuard {
    Mutex(AsyncMutexGuard<'static, ()>),
    Read(RwLockReadGuard<'static, (), OnTask>),
    Write(RwLockWriteGuard<'static, (), OnTask>),
    Permits(AsyncPermit<'static>),
}

fn permits(mode: How) -> u32 {
    match mode {
        How::Permits(permits) => permits,
        How::Write | How::Read => 1,
    }
}

fn take(lock: &str, mode: How) -> Result<Guard, LockError> {
    Ok(match lock_of(lock) {
        AnyLock::Mutex(mutex) => Guard::Mutex(mutex.lock()?),
        AnyLock::RwLock(lock) if mode == How::Read => Guard::Read(lock.read()?),
        AnyLock::RwLock(lock) => Guard::Write(lock.write()?),
        AnyLock::Semaphore(semaphore) => Guard::Permits(semaphore.acquire_many(permits(mode))?),
    })
}

fn try_take(lock: &str, mode: How) -> Option<Guard> {
    match lock_of(lock) {
        AnyLock::Mutex(mutex) => mutex.try_lock().map(Guard::Mutex),
        AnyLock::RwLock(lock) if mode == How::Read => lock.try_read().map(Guard::Read),
        AnyLock::RwLock(lock) => lock.try_write().map(Guard::Write),
        AnyLock::Semaphore(semaphore) => semaphore
            .try_acquire_many(permits(mode))
            .map(Guard::Permits),
    }
}

fn take_within(lock: &str, mode: How, limit: Duration) -> Result<Guard, LockError> {
    Ok(match lock_of(lock) {
        AnyLock::Mutex(mutex) => Guard::Mutex(mutex.lock_timeout(limit)?),
        AnyLock::RwLock(lock) if mode == How::Read => Guard::Read(lock.read_timeout(limit)?),
        AnyLock::RwLock(lock) => Guard::Write(lock.write_timeout(limit)?),
        AnyLock::Semaphore(semaphore) => {
            Guard::Permits(semaphore.acquire_many_timeout(permits(mode), limit)?)
        }
    })
}

async fn take_as_task(lock: &str, mode: How) -> Result<AsyncGuard, LockError> {
    Ok(match lock_of(lock) {
        AnyLock::Mutex(mutex) => AsyncGuard::Mutex(mutex.lock_async().await?),
        AnyLock::RwLock(lock) if mode == How::Read => AsyncGuard::Read(lock.read_async().await?),
        AnyLock::RwLock(lock) => AsyncGuard::Write(lock.write_async().await?),
        AnyLock::Semaphore(semaphore) => {
            AsyncGuard::Permits(semaphore.acquire_many_async(permits(mode)).await?)
        }
    })
}

fn call(made: &CallOrder) -> Result<(), Error> {
    let proxy = made.limited(
        Proxy::builder(&made.uri)?
            .config(config())
            .serializer(made.serializer())
            .lazy()?,
        Proxy::within,
    );
    let (method, arguments) = (&made.method, (made.callee,));
    if made.oneway {
        return proxy.oneway(method, arguments);
    }
    if !made.batch {
        return proxy.call::<Value>(method, arguments).map(drop);
    }
    let mut batch = proxy.batch();
    batch.call(method, arguments)?;
    batch.send_as::<Value>().map(drop)
}

async fn call_as_task(made: &CallOrder) -> Result<(), Error> {
    use antifreeze::tokio::Proxy;
    let proxy = made.limited(
        Proxy::builder(&made.uri)?
            .config(config())
            .serializer(made.serializer())
            .lazy()?,
        Proxy::within,
    );
    let (method, arguments) = (&made.method, (made.callee,));
    if made.oneway {
        return proxy.oneway(method, arguments).await;
    }
    if !made.batch {
        return proxy.call::<Value>(method, arguments).await.map(drop);
    }
    let mut batch = proxy.batch();
    batch.call(method, arguments)?;
    batch.send_as::<Value>().await.map(drop)
}

/// Who waits for a busy program may wait for long.
fn config() -> Config {
    let mut config = Config::default();
    config.handshake_timeout = Duration::from_secs(60);
    config
}

impl CallOrder {
    /// One of those that everybody has.
    fn serializer(&self) -> Serializer {
        match self.callee % 3 {
            0 => Serializer::Serpent,
            1 => Serializer::Json,
            _ => Serializer::Msgpack,
        }
    }

    fn limited<P>(&self, proxy: P, within: fn(&P, Duration) -> P) -> P {
        match self.limit_ms {
            Some(ms) => within(&proxy, Duration::from_millis(ms)),
            None => proxy,
        }
    }
}

fn of_lock(error: &LockError) -> Failure {
    Failure {
        text: error.to_string(),
        late: matches!(error, LockError::Timeout),
        deadlock: error.deadlock().map(|report| told(report, None)),
    }
}

fn of_call(error: &Error) -> Failure {
    let deadlock = error.deadlock().map(|deadlock| {
        let retry_safe = Some(deadlock.retry_safe);
        let data = error
            .remote()
            .and_then(|raised| raised.attribute("antifreeze"));
        let data = data.and_then(|data| serde_json::to_value(data).ok());
        if let Some(data) = data {
            return Told {
                retry_safe,
                ..serde_json::from_value(data).unwrap_or_default()
            };
        }
        // It was found here, or came through a batch of Pyro's, which loses attributes.
        let past = waits::deadlocks().into_iter();
        let found = past
            .map(|past| past.report)
            .find(|report| report.id == deadlock.id);
        match found {
            Some(report) => told(&report, retry_safe),
            None => Told {
                id: deadlock.id,
                retry_safe,
                ..Told::default()
            },
        }
    });
    Failure {
        text: error.to_string(),
        late: error.is_timeout(),
        deadlock,
    }
}

fn told(report: &Report, retry_safe: Option<bool>) -> Told {
    let member = |member| serde_json::to_value(member).expect("it is plain data");
    Told {
        id: report.id.clone(),
        cycle: report.members.iter().map(member).collect(),
        victim: report.victim,
        retry_safe,
    }
}
