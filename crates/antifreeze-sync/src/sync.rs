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
        loom::thread_local! { $(static $name: $type = $init;)* }
    };
}
#[cfg(shuttle)]
macro_rules! thread_local_state {
    ($(static $name:ident: $type:ty = $init:expr;)*) => {
        shuttle::thread_local! { $(static $name: $type = $init;)* }
    };
}
pub(crate) use thread_local_state;

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

#[cfg(not(any(loom, shuttle)))]
mod real {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread::yield_now;

    pub(crate) use parking::{Parker, Unparker};
    pub(crate) use parking_lot::{Mutex, MutexGuard};
}

#[cfg(any(loom, shuttle))]
mod checked {
    use std::sync::Arc;
    use std::time::Instant;

    #[cfg(loom)]
    use loom as checker;
    #[cfg(shuttle)]
    use shuttle as checker;

    pub(crate) use checker::hint::spin_loop;
    pub(crate) use checker::sync::MutexGuard;
    pub(crate) use checker::sync::atomic;
    pub(crate) use checker::thread::yield_now;

    /// A mutex without poisoning, as that of `parking_lot`.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|error| error.into_inner())
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(|error| error.into_inner())
        }
    }

    /// Lets its thread sleep until somebody has the token put in.
    pub(crate) struct Parker(Arc<Token>);

    /// Puts the token in.
    #[derive(Clone)]
    pub(crate) struct Unparker(Arc<Token>);

    struct Token {
        there: checker::sync::Mutex<bool>,
        put: checker::sync::Condvar,
    }

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Token {
                there: checker::sync::Mutex::new(false),
                put: checker::sync::Condvar::new(),
            }))
        }

        pub(crate) fn unparker(&self) -> Unparker {
            Unparker(Arc::clone(&self.0))
        }

        pub(crate) fn park(&self) {
            let mut there = self.0.there.lock().unwrap();
            while !*there {
                there = self.0.put.wait(there).unwrap();
            }
            *there = false;
        }

        /// Time does not pass here: a deadline is over at once, which is the case worth checking.
        pub(crate) fn park_deadline(&self, _: Instant) -> bool {
            checker::thread::yield_now();
            std::mem::take(&mut *self.0.there.lock().unwrap())
        }
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            *self.0.there.lock().unwrap() = true;
            self.0.put.notify_one();
        }
    }
}
