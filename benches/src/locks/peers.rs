//! The locks that ours are held against.

use std::sync;
use std::sync::PoisonError;

use super::tasks::Gate;
use super::threads::Lock;

/// Locks as those of `std`, which may be poisoned.
macro_rules! poisoning {
    ($mutex:ty) => {
        impl Lock for $mutex {
            fn new() -> Self {
                Self::new(0)
            }

            fn change(&self, section: impl FnOnce(&mut u64)) {
                section(&mut self.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
    };
}

poisoning!(sync::Mutex<u64>);
poisoning!(tracing_mutex::stdsync::tracing::Mutex<u64>);
poisoning!(no_deadlocks::Mutex<u64>);

/// Locks as those of `parking_lot`.
macro_rules! plain {
    ($mutex:ty) => {
        impl Lock for $mutex {
            fn new() -> Self {
                Self::new(0)
            }

            fn change(&self, section: impl FnOnce(&mut u64)) {
                section(&mut self.lock());
            }
        }
    };
}

plain!(parking_lot::Mutex<u64>);
plain!(deloxide::Mutex<u64>);

impl Lock for sync::RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn look(&self, section: impl FnOnce(&u64)) {
        section(&self.read().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Lock for parking_lot::RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.write());
    }

    fn look(&self, section: impl FnOnce(&u64)) {
        section(&self.read());
    }
}

impl Gate for tokio::sync::Mutex<u64> {
    type Guard<'a> = tokio::sync::MutexGuard<'a, u64>;

    fn new() -> Self {
        Self::new(0)
    }

    fn enter(&self) -> impl Future<Output = Self::Guard<'_>> + Send {
        self.lock()
    }
}

impl Gate for async_lock::Mutex<u64> {
    type Guard<'a> = async_lock::MutexGuard<'a, u64>;

    fn new() -> Self {
        Self::new(0)
    }

    fn enter(&self) -> impl Future<Output = Self::Guard<'_>> + Send {
        self.lock()
    }
}

/// Permits of each semaphore.
pub(crate) const PERMITS: u16 = 2;

impl Gate for tokio::sync::Semaphore {
    type Guard<'a> = tokio::sync::SemaphorePermit<'a>;

    fn new() -> Self {
        Self::new(PERMITS.into())
    }

    async fn enter(&self) -> Self::Guard<'_> {
        self.acquire().await.expect("nobody closes it")
    }
}

impl Gate for async_lock::Semaphore {
    type Guard<'a> = async_lock::SemaphoreGuard<'a>;

    fn new() -> Self {
        Self::new(PERMITS.into())
    }

    fn enter(&self) -> impl Future<Output = Self::Guard<'_>> + Send {
        self.acquire()
    }
}
