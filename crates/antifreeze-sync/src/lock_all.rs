//! Several mutexes at once, in an order that is the same for everybody.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;

use crate::error::LockError;
use crate::mutex::{AsyncMutexGuard, LockFuture, Mutex, MutexGuard};
use crate::order::Canonical;

/// Takes several mutexes at once, and returns their guards in the order in which they were given.
///
/// They are taken in the order of their addresses, so two agents that take the same ones this way,
/// named in whatever order, cannot wait for each other. What is held already when this is called is
/// not part of that order.
///
/// Tuples may be of different types and give a tuple of guards, arrays give an array, slices give a
/// `Vec`. [`lock_all!`](crate::lock_all!) borrows the mutexes itself.
///
/// # Errors
///
/// [`LockError::Deadlock`] at once if a mutex is given twice, and otherwise as [`Mutex::lock`]. None
/// of them is held then.
///
/// # Blocking
///
/// As long as somebody else has one of them. Those that come before it in the order are held
/// meanwhile.
///
/// # Examples
///
/// ```
/// use antifreeze_sync::{LockError, Mutex, lock_all};
///
/// fn transfer(from: &Mutex<u32>, to: &Mutex<u32>, amount: u32) -> Result<(), LockError> {
///     let [mut from, mut to] = lock_all([from, to])?;
///     *from -= amount;
///     *to += amount;
///     Ok(())
/// }
///
/// # fn main() -> Result<(), LockError> {
/// let (anna, bert) = (Mutex::new(5), Mutex::new(5));
/// transfer(&anna, &bert, 2)?;
/// transfer(&bert, &anna, 1)?;
/// assert_eq!((*anna.lock()?, *bert.lock()?), (4, 6));
/// assert!(transfer(&anna, &anna, 1).is_err());
/// # Ok(()) }
/// ```
#[track_caller]
pub fn lock_all<L: LockAll>(locks: L) -> Result<L::Guards, LockError> {
    locks.take(Location::caller())
}

/// The same for a task, which waits for one after the other in the order of their addresses.
///
/// # Errors
///
/// As [`lock_all`].
///
/// # Cancel safety
///
/// Dropping the future ends the wait, and lets go of those that it has already.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), antifreeze_sync::LockError> {
/// use antifreeze_sync::{Mutex, block_on, lock_all_async};
///
/// let (names, count) = (Mutex::new(vec!["anna"]), Mutex::new(1));
/// block_on(async {
///     let (mut names, mut count) = lock_all_async((&names, &count)).await?;
///     names.push("bert");
///     *count = names.len();
///     # assert_eq!(*count, 2);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn lock_all_async<L: LockAll>(
    locks: L,
) -> impl Future<Output = Result<L::AsyncGuards, LockError>> {
    locks.take_async(Location::caller())
}

/// Takes several mutexes at once: [`lock_all()`](crate::lock_all()) of what is named, whether that is
/// a mutex, a reference to one, or an `Arc` of one.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use antifreeze_sync::{LockError, Mutex, lock_all};
///
/// struct Shop {
///     stock: Mutex<u32>,
///     sold: Arc<Mutex<Vec<&'static str>>>,
/// }
///
/// impl Shop {
///     fn sell(&self, what: &'static str) -> Result<(), LockError> {
///         let (mut stock, mut sold) = lock_all!(self.stock, self.sold)?;
///         *stock -= 1;
///         sold.push(what);
///         Ok(())
///     }
/// }
/// # let shop = Shop { stock: Mutex::new(1), sold: Arc::default() };
/// # shop.sell("pear").unwrap();
/// # assert_eq!((*shop.stock.lock().unwrap(), &shop.sold.lock().unwrap()[..]), (0, &["pear"][..]));
/// ```
#[macro_export]
macro_rules! lock_all {
    ($($lock:expr),+ $(,)?) => {
        $crate::lock_all(($($crate::__private::mutex(&$lock),)+))
    };
}

/// The same for a task: [`lock_all_async()`](crate::lock_all_async()) of what is named.
///
/// ```
/// use antifreeze_sync::{Mutex, lock_all_async, task};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task(async {
/// let (left, right) = (Mutex::new(1), Mutex::new("two"));
/// let (left, right) = lock_all_async!(left, right).await?;
/// assert_eq!((*left, *right), (1, "two"));
/// # Ok::<_, antifreeze_sync::LockError>(()) })).unwrap();
/// ```
#[macro_export]
macro_rules! lock_all_async {
    ($($lock:expr),+ $(,)?) => {
        $crate::lock_all_async(($($crate::__private::mutex(&$lock),)+))
    };
}

/// Mutexes that can be taken at once: references to them in a tuple of up to eight, an array, or a
/// slice.
pub trait LockAll: Sealed {
    /// What proves that all are ours, in the same order.
    type Guards;
    /// The same for a task.
    type AsyncGuards;

    #[doc(hidden)]
    fn take(self, site: &'static Location<'static>) -> Result<Self::Guards, LockError>;

    #[doc(hidden)]
    fn take_async(
        self,
        site: &'static Location<'static>,
    ) -> impl Future<Output = Result<Self::AsyncGuards, LockError>>;
}

use sealed::Sealed;

mod sealed {
    /// What nobody else can implement.
    pub trait Sealed {}
}

/// A mutex among several.
#[derive(Clone, Copy)]
struct Entry {
    address: usize,
    index: usize,
}

impl Entry {
    fn new<T: ?Sized>(index: usize, mutex: &Mutex<T>) -> Self {
        // No two mutexes are at the same place, because none is empty.
        let address = ptr::from_ref(mutex).cast::<()>().addr();
        Self { address, index }
    }
}

/// Puts them into the order in which they are taken. The error is the position of one that is there
/// twice.
fn sort(entries: &mut [Entry]) -> Result<(), usize> {
    entries.sort_unstable_by_key(|entry| (entry.address, entry.index));
    match entries
        .windows(2)
        .find(|two| two[0].address == two[1].address)
    {
        Some(two) => Err(two[1].index),
        None => Ok(()),
    }
}

/// Waits for one of a group.
async fn wait<'a, T: ?Sized>(
    group: &Canonical,
    mut lock: LockFuture<'a, T>,
) -> Result<AsyncMutexGuard<'a, T>, LockError> {
    poll_fn(|context| group.during(|| Pin::new(&mut lock).poll(context))).await
}

impl<T: ?Sized> Sealed for &[&Mutex<T>] {}

impl<'a, T: ?Sized> LockAll for &[&'a Mutex<T>] {
    type Guards = Vec<MutexGuard<'a, T>>;
    type AsyncGuards = Vec<AsyncMutexGuard<'a, T>>;

    fn take(self, site: &'static Location<'static>) -> Result<Self::Guards, LockError> {
        let entries = sorted(self).map_err(|index| self[index].wanted_twice(site))?;
        let group = Canonical::new();
        let mut guards: Vec<_> = self.iter().map(|_| None).collect();
        for Entry { index, .. } in entries {
            guards[index] = Some(group.during(|| self[index].lock_at(site))?);
        }
        Ok(guards.into_iter().flatten().collect())
    }

    async fn take_async(
        self,
        site: &'static Location<'static>,
    ) -> Result<Self::AsyncGuards, LockError> {
        let entries = sorted(self).map_err(|index| self[index].wanted_twice(site))?;
        let group = Canonical::new();
        let mut guards: Vec<_> = self.iter().map(|_| None).collect();
        for Entry { index, .. } in entries {
            guards[index] = Some(wait(&group, self[index].lock_async_at(site)).await?);
        }
        Ok(guards.into_iter().flatten().collect())
    }
}

fn sorted<T: ?Sized>(locks: &[&Mutex<T>]) -> Result<Vec<Entry>, usize> {
    let mut entries: Vec<_> = (0..)
        .zip(locks)
        .map(|(index, lock)| Entry::new(index, lock))
        .collect();
    sort(&mut entries)?;
    Ok(entries)
}

impl<T: ?Sized, const N: usize> Sealed for [&Mutex<T>; N] {}

impl<'a, T: ?Sized, const N: usize> LockAll for [&'a Mutex<T>; N] {
    type Guards = [MutexGuard<'a, T>; N];
    type AsyncGuards = [AsyncMutexGuard<'a, T>; N];

    fn take(self, site: &'static Location<'static>) -> Result<Self::Guards, LockError> {
        (&self).take(site)
    }

    async fn take_async(
        self,
        site: &'static Location<'static>,
    ) -> Result<Self::AsyncGuards, LockError> {
        (&self).take_async(site).await
    }
}

impl<T: ?Sized, const N: usize> Sealed for &[&Mutex<T>; N] {}

impl<'a, T: ?Sized, const N: usize> LockAll for &[&'a Mutex<T>; N] {
    type Guards = [MutexGuard<'a, T>; N];
    type AsyncGuards = [AsyncMutexGuard<'a, T>; N];

    fn take(self, site: &'static Location<'static>) -> Result<Self::Guards, LockError> {
        self.as_slice().take(site).map(exactly)
    }

    async fn take_async(
        self,
        site: &'static Location<'static>,
    ) -> Result<Self::AsyncGuards, LockError> {
        self.as_slice().take_async(site).await.map(exactly)
    }
}

fn exactly<G, const N: usize>(guards: Vec<G>) -> [G; N] {
    match guards.try_into() {
        Ok(guards) => guards,
        Err(_) => unreachable!("there is a guard for each mutex"),
    }
}

macro_rules! tuples {
    ($($($T:ident $lock:ident $guard:ident $index:literal)+;)*) => {$(
        impl<$($T: ?Sized),+> Sealed for ($(&Mutex<$T>,)+) {}

        impl<'a, $($T: ?Sized),+> LockAll for ($(&'a Mutex<$T>,)+) {
            type Guards = ($(MutexGuard<'a, $T>,)+);
            type AsyncGuards = ($(AsyncMutexGuard<'a, $T>,)+);

            fn take(self, site: &'static Location<'static>) -> Result<Self::Guards, LockError> {
                tuples!(@take self site ($($lock $guard $index)+) |group, lock| {
                    group.during(|| lock.lock_at(site))?
                })
            }

            async fn take_async(
                self,
                site: &'static Location<'static>,
            ) -> Result<Self::AsyncGuards, LockError> {
                tuples!(@take self site ($($lock $guard $index)+) |group, lock| {
                    wait(&group, lock.lock_async_at(site)).await?
                })
            }
        }
    )*};
    (
        @take $locks:ident $site:ident ($($lock:ident $guard:ident $index:literal)+)
        |$group:ident, $one:ident| $take:block
    ) => {{
        let ($($lock,)+) = $locks;
        let mut entries = [$(Entry::new($index, $lock)),+];
        if let Err(index) = sort(&mut entries) {
            return Err(match index {
                $($index => $lock.wanted_twice($site),)+
                _ => unreachable!("there are no more"),
            });
        }
        let $group = Canonical::new();
        $(let mut $guard = None;)+
        for Entry { index, .. } in entries {
            match index {
                $($index => {
                    let $one = $lock;
                    $guard = Some($take);
                })+
                _ => unreachable!("there are no more"),
            }
        }
        match ($($guard,)+) {
            ($(Some($guard),)+) => Ok(($($guard,)+)),
            _ => unreachable!("there is a guard for each mutex"),
        }
    }};
}

tuples! {
    A a ga 0;
    A a ga 0 B b gb 1;
    A a ga 0 B b gb 1 C c gc 2;
    A a ga 0 B b gb 1 C c gc 2 D d gd 3;
    A a ga 0 B b gb 1 C c gc 2 D d gd 3 E e ge 4;
    A a ga 0 B b gb 1 C c gc 2 D d gd 3 E e ge 4 F f gf 5;
    A a ga 0 B b gb 1 C c gc 2 D d gd 3 E e ge 4 F f gf 5 G g gg 6;
    A a ga 0 B b gb 1 C c gc 2 D d gd 3 E e ge 4 F f gf 5 G g gg 6 H h gh 7;
}
