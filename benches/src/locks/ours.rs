//! Our locks.

use antifreeze_sync::{AsyncMutexGuard, AsyncPermit, BoundedSemaphore, Mutex, RwLock, task};

use super::peers::PERMITS;
use super::tasks::Gate;
use super::threads::Lock;

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.lock().expect("nothing to deadlock with"));
    }
}

impl Lock for RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    fn change(&self, section: impl FnOnce(&mut u64)) {
        section(&mut self.write().expect("nothing to deadlock with"));
    }

    fn look(&self, section: impl FnOnce(&u64)) {
        section(&self.read().expect("nothing to deadlock with"));
    }
}

impl Gate for Mutex<u64> {
    type Guard<'a> = AsyncMutexGuard<'a, u64>;

    fn new() -> Self {
        Self::new(0)
    }

    async fn enter(&self) -> Self::Guard<'_> {
        self.lock_async().await.expect("nothing to deadlock with")
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}

impl Gate for BoundedSemaphore {
    type Guard<'a> = AsyncPermit<'a>;

    fn new() -> Self {
        Self::new(PERMITS.into())
    }

    async fn enter(&self) -> Self::Guard<'_> {
        self.acquire_async()
            .await
            .expect("nothing to deadlock with")
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}
