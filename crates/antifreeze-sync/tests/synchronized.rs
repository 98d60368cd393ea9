//! What `#[synchronized]` promises to those who write it on a function.

#![cfg(all(feature = "macros", not(loom), not(shuttle)))]

use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use antifreeze_sync::{LockError, Mutex, RwLock, synchronized};

/// How a function ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Value,
    Return,
    QuestionMark,
    Error,
    Panic,
}

const ENDS: [End; 5] = [
    End::Value,
    End::Return,
    End::QuestionMark,
    End::Error,
    End::Panic,
];

/// Says whether the lock was taken while it was dropped.
struct Witness<'a>(&'a Cell<bool>, &'a Mutex<()>);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.0.set(self.1.is_locked());
    }
}

impl Witness<'_> {
    fn number(&self, text: &str) -> Result<u32, Box<dyn Error>> {
        Ok(text.parse()?)
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that is done when the flag is set.
async fn flagged(flag: &Cell<bool>) {
    poll_fn(|_| {
        if flag.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn however_a_function_ends_its_lock_is_free() {
    #[synchronized(lock)]
    fn run(lock: &Mutex<()>, end: End) -> Result<u32, Box<dyn Error>> {
        assert!(lock.is_locked());
        match end {
            End::Return => return Ok(1),
            End::QuestionMark => _ = "x".parse::<u32>()?,
            End::Error => return Err("wrong".into()),
            End::Panic => panic!("on purpose"),
            End::Value => {}
        }
        Ok(1)
    }
    let lock = Mutex::new(());
    for end in ENDS {
        let _ = catch_unwind(AssertUnwindSafe(|| run(&lock, end)));
        assert!(!lock.is_locked(), "{end:?}");
    }
}

#[test]
fn however_an_async_function_ends_its_lock_is_free() {
    #[synchronized(lock)]
    async fn run(lock: &Mutex<()>, go: &Cell<bool>, end: End) -> Result<u32, Box<dyn Error>> {
        flagged(go).await;
        assert!(lock.is_locked());
        match end {
            End::Return => return Ok(1),
            End::QuestionMark => _ = "x".parse::<u32>()?,
            End::Error => return Err("wrong".into()),
            End::Panic => panic!("on purpose"),
            End::Value => {}
        }
        Ok(1)
    }
    let lock = Mutex::new(());
    for end in ENDS {
        let go = Cell::new(false);
        let mut future = pin!(run(&lock, &go, end));
        assert!(!lock.is_locked(), "it has not begun");
        assert!(poll(future.as_mut()).is_pending());
        assert!(lock.is_locked(), "it waits for something else");
        go.set(true);
        let _ = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut())));
        assert!(!lock.is_locked(), "{end:?}");
    }
    {
        let never = Cell::new(false);
        let mut future = pin!(run(&lock, &never, End::Value));
        assert!(poll(future.as_mut()).is_pending());
        assert!(lock.is_locked());
    }
    assert!(!lock.is_locked(), "it was dropped");
}

#[test]
fn nothing_of_the_body_outlives_the_lock() {
    #[synchronized(lock)]
    fn temporary(lock: &Mutex<()>, locked: &Cell<bool>) -> Result<u32, Box<dyn Error>> {
        Witness(locked, lock).number("1")
    }
    #[synchronized(lock)]
    fn variable(lock: &Mutex<()>, locked: &Cell<bool>) -> Result<u32, Box<dyn Error>> {
        let witness = Witness(locked, lock);
        witness.number("x")
    }
    #[synchronized(lock)]
    async fn held(lock: &Mutex<()>, locked: &Cell<bool>) -> Result<u32, Box<dyn Error>> {
        Witness(locked, lock).number("1")
    }
    let lock = Mutex::new(());
    let check = |locked: &Cell<bool>| assert!(locked.replace(false));
    let locked = Cell::new(false);
    temporary(&lock, &locked).unwrap();
    check(&locked);
    variable(&lock, &locked).unwrap_err();
    check(&locked);
    assert!(poll(pin!(held(&lock, &locked))).is_ready());
    check(&locked);
}

static LEDGER: Mutex<()> = Mutex::named("ledger", ());
static SOMEBODY_WRITES: AtomicBool = AtomicBool::new(false);

fn write_alone() {
    assert!(!SOMEBODY_WRITES.swap(true, Ordering::Relaxed));
    thread::yield_now();
    SOMEBODY_WRITES.store(false, Ordering::Relaxed);
}

#[synchronized(LEDGER)]
fn deposit() -> Result<(), LockError> {
    write_alone();
    Ok(())
}

#[synchronized(LEDGER)]
fn withdraw() -> Result<(), LockError> {
    write_alone();
    Err(LockError::Cancelled)
}

#[synchronized(panic, LEDGER)]
async fn balance() {
    write_alone();
}

#[test]
fn functions_with_one_lock_exclude_each_other() {
    const TIMES: usize = 1000;
    thread::scope(|scope| {
        scope.spawn(|| (0..TIMES).for_each(|_| deposit().unwrap()));
        scope.spawn(|| (0..TIMES).for_each(|_| _ = withdraw().unwrap_err()));
        scope.spawn(|| (0..TIMES).for_each(|_| antifreeze_sync::block_on(balance())));
    });
    assert!(!LEDGER.is_locked());
}

#[test]
fn a_function_has_a_lock_of_its_own_whatever_its_types() {
    #[synchronized]
    fn enter<T: Default>(inside: &AtomicU32, both: &dyn Fn()) -> Result<T, LockError> {
        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
        both();
        inside.fetch_sub(1, Ordering::Relaxed);
        Ok(T::default())
    }
    let inside = AtomicU32::new(0);
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            for _ in 0..1000 {
                enter::<u8>(&inside, &thread::yield_now).unwrap();
            }
        });
        begin.wait();
        for _ in 0..1000 {
            enter::<String>(&inside, &thread::yield_now).unwrap();
        }
    });
}

struct Account {
    lock: Mutex<i64>,
    shared: Arc<Mutex<()>>,
    balance: i64,
    name: String,
}

impl Account {
    fn new(shared: &Arc<Mutex<()>>) -> Self {
        Self {
            lock: Mutex::new(0),
            shared: Arc::clone(shared),
            balance: 0,
            name: "Ada".to_owned(),
        }
    }

    #[synchronized]
    fn while_locked<T>(&self, f: impl FnOnce() -> T) -> Result<T, LockError> {
        assert!(self.lock.is_locked());
        Ok(f())
    }

    #[synchronized(self.shared)]
    fn name(&self) -> Result<&str, LockError> {
        assert!(self.shared.is_locked());
        Ok(&self.name)
    }

    #[synchronized]
    fn deposit(&mut self, amount: i64) -> Result<i64, LockError> {
        self.balance += amount;
        Ok(self.balance)
    }

    #[synchronized(Arc::clone(&self.shared))]
    fn replace(&mut self, other: Self) -> Result<(), LockError> {
        assert!(self.shared.is_locked());
        *self = other;
        Ok(())
    }
}

#[test]
fn each_object_has_its_own_lock_unless_one_is_shared() {
    let shared = Arc::new(Mutex::new(()));
    let mut one = Account::new(&shared);
    let two = Account::new(&shared);
    let (own, of_other) = two
        .while_locked(|| one.while_locked(|| (one.lock.is_locked(), two.lock.is_locked())))
        .unwrap()
        .unwrap();
    assert!(own && of_other);
    assert_eq!(one.name().unwrap(), "Ada");
    assert_eq!(one.deposit(2).unwrap(), 2);
    one.replace(two).unwrap();
    assert_eq!(one.balance, 0);
    assert!(!shared.is_locked() && !one.lock.is_locked());
}

#[test]
fn async_functions_get_their_lock_in_the_order_in_which_they_came() {
    #[synchronized(lock)]
    async fn wait(lock: &Mutex<()>, go: &Cell<bool>) -> Result<(), LockError> {
        flagged(go).await;
        Ok(())
    }
    let lock = Mutex::new(());
    let go = [const { Cell::new(false) }; 3];
    let mut first = pin!(wait(&lock, &go[0]));
    let mut second = pin!(wait(&lock, &go[1]));
    let mut third = pin!(wait(&lock, &go[2]));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert!(poll(third.as_mut()).is_pending());
    go.iter().for_each(|go| go.set(true));
    assert!(poll(second.as_mut()).is_pending(), "the first has it still");
    assert!(poll(first.as_mut()).is_ready());
    assert!(poll(third.as_mut()).is_pending(), "it is the second's turn");
    assert!(poll(second.as_mut()).is_ready());
    assert!(poll(third.as_mut()).is_ready());
    assert!(!lock.is_locked());
}

#[test]
fn a_waiter_that_is_dropped_delays_nobody() {
    #[synchronized(lock)]
    async fn wait(lock: &Mutex<()>, go: &Cell<bool>) -> Result<(), LockError> {
        flagged(go).await;
        Ok(())
    }
    let lock = Mutex::new(());
    let go = Cell::new(false);
    let mut first = pin!(wait(&lock, &go));
    assert!(poll(first.as_mut()).is_pending());
    let mut third = pin!(wait(&lock, &go));
    {
        let mut second = pin!(wait(&lock, &go));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
    }
    go.set(true);
    assert!(poll(first.as_mut()).is_ready());
    assert!(poll(third.as_mut()).is_ready());
}

#[test]
fn readers_run_together_and_a_writer_alone() {
    #[synchronized(read, rates)]
    fn read<T>(rates: &RwLock<u8>, f: impl FnOnce() -> T) -> Result<T, LockError> {
        Ok(f())
    }
    #[synchronized(write, rates)]
    fn write<T>(rates: &RwLock<u8>, f: impl FnOnce() -> T) -> Result<T, LockError> {
        Ok(f())
    }
    #[synchronized(rates, read)]
    async fn read_async(rates: &RwLock<u8>) -> Result<bool, LockError> {
        Ok(rates.try_write().is_none() && rates.try_read().is_some())
    }
    #[synchronized(write, panic, rates)]
    async fn write_async(rates: &RwLock<u8>) -> bool {
        rates.try_read().is_none()
    }
    let rates = RwLock::new(0);
    let can_read = || rates.try_read().is_some();
    let can_write = || rates.try_write().is_some();
    assert!(read(&rates, || can_read() && !can_write()).unwrap());
    assert!(write(&rates, || !can_read() && !can_write()).unwrap());
    assert!(matches!(
        poll(pin!(read_async(&rates))),
        Poll::Ready(Ok(true))
    ));
    assert!(matches!(poll(pin!(write_async(&rates))), Poll::Ready(true)));
    assert!(can_write());
}

#[cfg(feature = "deadlock-detection")]
const LINE_OF_ENDLESS: u32 = line!() + 4;

#[cfg(feature = "deadlock-detection")]
#[synchronized]
fn endless(depth: u32) -> Result<u32, LockError> {
    endless(depth + 1)
}

#[cfg(feature = "deadlock-detection")]
#[test]
fn a_function_that_calls_itself_is_told_of_the_deadlock() {
    let error = endless(0).unwrap_err();
    let report = error.deadlock().expect("a deadlock");
    let wait = &report.members[0].waits[0];
    assert_eq!(wait.site.file(), file!());
    assert_eq!(wait.site.line(), LINE_OF_ENDLESS);
    assert_eq!(wait.resource.created.line(), LINE_OF_ENDLESS);
    assert_eq!(wait.resource.name.as_deref(), Some("synchronized::endless"));
    // The lock is free again, so this is told again, and does not hang.
    endless(0).unwrap_err();
}

#[cfg(feature = "deadlock-detection")]
#[test]
fn an_async_function_that_awaits_itself_is_told_of_the_deadlock() {
    #[synchronized]
    async fn endless() -> Result<(), Box<dyn Error>> {
        Box::pin(endless()).await
    }
    let error = antifreeze_sync::block_on(endless()).unwrap_err();
    let error = error.downcast::<LockError>().unwrap();
    assert!(error.deadlock().is_some(), "{error}");
}

#[cfg(feature = "deadlock-detection")]
#[test]
fn panic_panics_with_the_report() {
    #[synchronized(panic)]
    fn endless(f: &dyn Fn(&dyn Fn())) {
        f(&|| endless(f));
    }
    let panic = catch_unwind(|| endless(&|f| f())).unwrap_err();
    let message = panic.downcast::<String>().unwrap();
    assert!(message.contains("synchronized::endless"), "{message}");
}
