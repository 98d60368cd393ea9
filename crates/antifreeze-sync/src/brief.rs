//! A lock for what takes some fifty nanoseconds: the steps of a queue.
//!
//! It is let go of by a plain store, which takes a fifth of the time of an exchange, and where tasks hand a
//! lock around they go through their queue twice each time. So nobody can be told that it is free: whoever
//! finds it taken looks again for some microseconds, and then sleeps between two looks, because whoever has
//! it may have been interrupted, or have a million waits to look at.

#[cfg(not(loom))]
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{const_fn, spin_loop, yield_now};

/// Whether it is taken.
pub(crate) struct Brief(AtomicBool);

/// How often it is looked at before whoever wants it lets others run, and before it sleeps.
const SPINS: u32 = if cfg!(loom) { 0 } else { 100 };
const YIELDS: u32 = 4;

/// How long it sleeps between two looks. Threads that must not be kept waiting by others, by their
/// scheduling class, would have those wait for ever if they only yielded.
#[cfg(not(loom))]
const NAP: Duration = Duration::from_micros(50);

impl Brief {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        self.0
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    pub(crate) fn take(&self) {
        if !self.try_take() && !self.take_soon() {
            self.take_later();
        }
    }

    /// Takes it if it becomes free within some microseconds.
    #[cold]
    pub(crate) fn take_soon(&self) -> bool {
        (0..SPINS).any(|_| {
            spin_loop();
            !self.is_taken() && self.try_take()
        })
    }

    #[cold]
    fn take_later(&self) {
        let mut looks = 0;
        while self.is_taken() || !self.try_take() {
            if looks < YIELDS {
                looks += 1;
                yield_now();
            } else {
                nap();
            }
        }
    }

    /// Only by whoever has taken it.
    #[inline]
    pub(crate) fn let_go(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[inline]
    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(not(loom))]
fn nap() {
    std::thread::sleep(NAP);
}

#[cfg(loom)]
use crate::sync::yield_now as nap;

#[cfg(not(loom))]
// SAFETY: of all that take it one has it until that one lets go, as `compare_exchange` changes what it
// expects to find, and nothing else does. What was done before letting go is seen after taking it.
unsafe impl lock_api::RawMutex for Brief {
    const INIT: Self = Self::new();

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        self.take();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.try_take()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.let_go();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.is_taken()
    }
}
