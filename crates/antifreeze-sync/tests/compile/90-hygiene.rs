//! Nothing has to be imported, nothing of the user's gets in the way, and nothing is warned of.
#![no_implicit_prelude]
#![deny(
    warnings,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    single_use_lifetimes
)]

use ::antifreeze_sync::{LockError, Mutex, RwLock, synchronized};
use ::std::boxed::Box;
use ::std::clone::Clone;
use ::std::convert::From;
use ::std::error::Error;
use ::std::future::Future;
use ::std::iter::{self, Iterator};
use ::std::marker::Send;
use ::std::ops::Fn;
use ::std::result::Result;
use ::std::sync::Arc;
use ::std::{todo, unreachable};

/// Names of the prelude, with other meanings.
pub struct Ok;
/// Not the one of `core`.
pub struct Err;
/// Neither.
pub mod core {}
/// Neither.
pub mod std {}

static LOCK: Mutex<()> = Mutex::new(());
static RATES: RwLock<u8> = RwLock::new(1);

fn okay<T, E>(value: T) -> Result<T, E> {
    Result::Ok(value)
}

/// The names in here are those that the macro uses.
#[synchronized]
pub fn names(lock: u8, guard: u8) -> Result<u8, LockError> {
    #![allow(unused_parens)]
    let _guard = (guard);
    let error = LOCK.is_locked();
    okay(lock + _guard + if error { 1 } else { 0 })
}

/// Returned early, in all ways.
#[synchronized(LOCK)]
pub fn early(number: u8) -> Result<u8, Box<dyn Error>> {
    if number == 1 {
        return okay(1);
    }
    let names = names(1, 2)?;
    okay(names)
}

/// A coercion to what is returned.
#[synchronized]
pub fn coerced() -> Result<Box<dyn Fn() -> u8>, LockError> {
    okay(Box::new(|| 1))
}

/// What is returned has no name.
#[synchronized(read, RATES)]
pub fn unnamed(rates: impl Iterator<Item = u8>) -> Result<impl Iterator<Item = u8>, LockError> {
    okay(rates.chain(iter::once(1)))
}

/// A body that does not end.
#[synchronized(panic)]
pub fn endless() -> ! {
    loop {
        ::std::thread::park();
    }
}

#[synchronized(panic, write, RATES)]
async fn unwritten() -> u8 {
    todo!()
}

/// With its own error.
pub struct Broke;

impl From<LockError> for Broke {
    fn from(_: LockError) -> Self {
        Self
    }
}

/// An object.
pub struct Account {
    lock: Mutex<u8>,
    shared: Arc<Mutex<()>>,
    balance: u64,
}

impl Account {
    /// Borrowed from what is locked, but not from the lock.
    #[synchronized]
    pub fn balance(&self) -> Result<&u64, Broke> {
        okay(&self.balance)
    }

    /// Changes other fields.
    #[synchronized]
    pub fn deposit(&mut self, (a, mut b): (u64, u64), mut c: u64) -> Result<u64, Broke> {
        b += a;
        c += b;
        self.balance += c;
        okay(self.balance)
    }

    /// Changes the whole, with a lock that is not part of it.
    #[synchronized(Arc::clone(&self.shared))]
    pub fn replace(&mut self, other: Self) -> Result<(), Broke> {
        *self = other;
        okay(())
    }

    /// Keeps all that can be said of a function.
    ///
    /// # Safety
    ///
    /// None is needed.
    #[synchronized(&*self.shared)]
    #[inline]
    pub unsafe fn keep<'a, T>(&'a self, value: &'a T) -> Result<&'a T, Broke>
    where
        T: Clone,
    {
        okay(value)
    }

    #[synchronized(account.shared)]
    async fn of_argument(
        account: &Self,
        more: impl Future<Output = u64> + Send,
    ) -> Result<u64, Broke> {
        let more = more.await;
        okay(account.balance + more)
    }
}

/// A trait.
pub trait Bank {
    /// With a body.
    #[synchronized(LOCK)]
    fn provided(&self) -> Result<(), LockError> {
        okay(())
    }
    /// Implemented elsewhere.
    fn required(&self) -> impl Future<Output = Result<(), LockError>> + Send;
}

impl Bank for Account {
    #[synchronized]
    async fn required(&self) -> Result<(), LockError> {
        okay(())
    }
}

macro_rules! synchronized_function {
    ($name:ident, $result:ty, $body:block) => {
        #[synchronized]
        fn $name() -> $result $body
    };
}

synchronized_function!(from_a_macro, Result<u8, LockError>, { okay(1) });

fn is_send<T: Send>(_: T) {}

fn main() {
    let account = Account {
        lock: Mutex::new(1),
        shared: Arc::new(Mutex::new(())),
        balance: 1,
    };
    is_send(account.required());
    is_send(Account::of_argument(&account, ::std::future::ready(1)));
    is_send(unwritten());
    if from_a_macro().is_err() {
        unreachable!()
    }
}
