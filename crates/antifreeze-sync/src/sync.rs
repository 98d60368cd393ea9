//! What the locks are built of, so that loom and shuttle can take its place in tests.
//!
//! Counters that only name things stay with the standard library everywhere.

#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::*;

#[cfg(any(loom, shuttle))]
pub(crate) use self::checked::*;

/// Declares thread-local state of the model checker's threads, or of real ones.
#[cfg(not(any(loom, shuttle)))]
macro_rules! thread_local_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        thread_local! { $(static $name: $type = const { $init };)* }
    };
}
#[cfg(loom)]
macro_rules! thread_local_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        ::loom::thread_local! { $(static $name: $type = $init;)* }
    };
}
#[cfg(shuttle)]
macro_rules! thread_local_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        ::shuttle::thread_local! { $(static $name: $type = $init;)* }
    };
}
pub(crate) use thread_local_state;

/// Declares state that all threads share, which is made when it is first needed, and again for every
/// execution that a model checker looks at.
#[cfg(not(any(loom, shuttle)))]
macro_rules! global_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        $(static $name: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| $init);)*
    };
}
#[cfg(loom)]
macro_rules! global_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        ::loom::lazy_static! { $(static ref $name: $type = $init;)* }
    };
}
#[cfg(shuttle)]
macro_rules! global_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        ::shuttle::lazy_static! { $(static ref $name: $type = $init;)* }
    };
}
pub(crate) use global_state;

/// A function that is `const`, except under loom, whose atomics cannot be made at compile time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis const fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])* $visibility const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

/// Stands between a store and a load of something else that must not change places.
///
/// Both are sequentially consistent, which is enough, but not for loom: it heeds that in fences only.
#[inline]
pub(crate) fn in_order() {
    #[cfg(loom)]
    ::loom::sync::atomic::fence(::loom::sync::atomic::Ordering::SeqCst);
}

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use std::collections::{HashMap, HashSet};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread::yield_now;

    pub(crate) use parking::{Parker, Unparker};
    pub(crate) use parking_lot::Mutex;

    use crate::brief::Brief;

    /// A mutex for what takes some fifty nanoseconds.
    pub(crate) type BriefMutex<T> = lock_api::Mutex<Brief, T>;
    pub(crate) type BriefGuard<'a, T> = lock_api::MutexGuard<'a, Brief, T>;

    /// The lock, if it becomes free within some microseconds.
    #[inline]
    pub(crate) fn lock_if_soon<T>(mutex: &BriefMutex<T>) -> Option<BriefGuard<'_, T>> {
        mutex.try_lock().or_else(|| {
            // SAFETY: nothing is done with it but to take it, for which a guard is made at once.
            let brief = unsafe { mutex.raw() };
            // SAFETY: it was just taken, and for no other guard.
            brief
                .take_soon()
                .then(|| unsafe { mutex.make_guard_unchecked() })
        })
    }
}

#[cfg(any(loom, shuttle))]
mod checked {
    // The order of what is gone through must be the same in every execution.
    pub(crate) use std::collections::{BTreeMap as HashMap, BTreeSet as HashSet};
    use std::sync::Arc;
    use std::time::Instant;

    #[cfg(loom)]
    use loom as checker;
    #[cfg(shuttle)]
    use shuttle as checker;

    pub(crate) use checker::hint::spin_loop;
    pub(crate) use checker::sync::atomic;
    pub(crate) use checker::thread::yield_now;

    /// A mutex without poisoning, as that of `parking_lot`.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
            self.0.lock().unwrap_or_else(|error| error.into_inner())
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(|error| error.into_inner())
        }
    }

    pub(crate) use self::Mutex as BriefMutex;
    pub(crate) use checker::sync::MutexGuard as BriefGuard;

    pub(crate) fn lock_if_soon<T>(mutex: &BriefMutex<T>) -> Option<BriefGuard<'_, T>> {
        Some(mutex.lock())
    }

    /// A cell that is written to once. A thread that has to wait for another one to do so lets the
    /// checker know of it.
    pub(crate) struct OnceLock<T> {
        there: atomic::AtomicBool,
        making: checker::sync::Mutex<()>,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        super::const_fn! {
            pub(crate) const fn new() -> Self {
                Self {
                    there: atomic::AtomicBool::new(false),
                    making: checker::sync::Mutex::new(()),
                    value: std::sync::OnceLock::new(),
                }
            }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.there.load(atomic::Ordering::Acquire) {
                self.value.get()
            } else {
                None
            }
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            if let Some(value) = self.get() {
                return value;
            }
            let _making = self.making.lock();
            if self.value.get().is_none() {
                let _ = self.value.set(make());
                self.there.store(true, atomic::Ordering::Release);
            }
            self.value.get().unwrap()
        }
    }

    /// Lets its thread sleep until somebody has the token put in.
    pub(crate) struct Parker(Arc<Token>);

    /// Puts the token in.
    #[derive(Clone)]
    pub(crate) struct Unparker(Arc<Token>);

    #[cfg(shuttle)]
    struct Token {
        there: checker::sync::Mutex<bool>,
        put: checker::sync::Condvar,
    }

    #[cfg(shuttle)]
    impl Token {
        fn new() -> Self {
            Self {
                there: checker::sync::Mutex::new(false),
                put: checker::sync::Condvar::new(),
            }
        }

        fn take(&self) -> bool {
            std::mem::take(&mut *self.there.lock().unwrap())
        }

        fn wait(&self) {
            let mut there = self.there.lock().unwrap();
            while !*there {
                there = self.put.wait(there).unwrap();
            }
        }

        fn put(&self) {
            *self.there.lock().unwrap() = true;
            self.put.notify_one();
        }
    }

    /// Loom's condition variables and `unpark` may wake a thread from what it blocks on later.
    #[cfg(loom)]
    struct Token {
        there: atomic::AtomicBool,
        put: checker::sync::Notify,
    }

    #[cfg(loom)]
    impl Token {
        fn new() -> Self {
            Self {
                there: atomic::AtomicBool::new(false),
                put: checker::sync::Notify::new(),
            }
        }

        fn take(&self) -> bool {
            self.there.swap(false, atomic::Ordering::AcqRel)
        }

        fn wait(&self) {
            self.put.wait();
        }

        fn put(&self) {
            // A plain store could be taken for one that came before the last `take`.
            self.there.swap(true, atomic::Ordering::AcqRel);
            self.put.notify();
        }
    }

    impl Default for Parker {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Token::new()))
        }

        pub(crate) fn unparker(&self) -> Unparker {
            Unparker(Arc::clone(&self.0))
        }

        pub(crate) fn park(&self) {
            while !self.0.take() {
                self.0.wait();
            }
        }

        /// Time does not pass here: a deadline may be over at once, and that is checked.
        pub(crate) fn park_deadline(&self, _: Instant) -> bool {
            // At random a few others may run before that.
            #[cfg(shuttle)]
            for _ in 0..shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..32) {
                if self.0.take() {
                    return true;
                }
                checker::thread::yield_now();
            }
            self.0.take()
        }
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            self.0.put();
        }
    }
}
