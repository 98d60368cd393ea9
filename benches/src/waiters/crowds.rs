//! What very many can wait for.

use antifreeze_sync::{AsyncMutexGuard, AsyncPermit, OnTask, RwLockWriteGuard, task};

/// Something that is shut, and opened for one after another.
pub(super) trait Crowd: Send + Sync + 'static {
    /// Keeps it shut.
    type Shut<'a>: Send;

    fn new() -> Self;

    fn shut(&self) -> impl Future<Output = Self::Shut<'_>> + Send;

    /// Lets `count` pass, who wait or will.
    fn open(&self, shut: Self::Shut<'_>, count: usize);

    fn pass(&self) -> impl Future<Output = ()> + Send;

    /// Makes a task of a future as a user of this library has to.
    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        future
    }
}

impl Crowd for tokio::sync::Mutex<()> {
    type Shut<'a> = tokio::sync::MutexGuard<'a, ()>;

    fn new() -> Self {
        Self::new(())
    }

    fn shut(&self) -> impl Future<Output = Self::Shut<'_>> + Send {
        self.lock()
    }

    fn open(&self, shut: Self::Shut<'_>, _: usize) {
        drop(shut);
    }

    async fn pass(&self) {
        drop(self.lock().await);
    }
}

impl Crowd for tokio::sync::RwLock<()> {
    type Shut<'a> = tokio::sync::RwLockWriteGuard<'a, ()>;

    fn new() -> Self {
        Self::new(())
    }

    fn shut(&self) -> impl Future<Output = Self::Shut<'_>> + Send {
        self.write()
    }

    fn open(&self, shut: Self::Shut<'_>, _: usize) {
        drop(shut);
    }

    async fn pass(&self) {
        drop(self.read().await);
    }
}

/// Has no permit at first. Those that come stay.
impl Crowd for tokio::sync::Semaphore {
    type Shut<'a> = ();

    fn new() -> Self {
        Self::new(0)
    }

    async fn shut(&self) {}

    fn open(&self, (): (), count: usize) {
        for _ in 0..count {
            self.add_permits(1);
        }
    }

    async fn pass(&self) {
        self.acquire().await.expect("nobody closes it").forget();
    }
}

impl Crowd for antifreeze_sync::Mutex<()> {
    type Shut<'a> = AsyncMutexGuard<'a, ()>;

    fn new() -> Self {
        Self::new(())
    }

    async fn shut(&self) -> Self::Shut<'_> {
        self.lock_async().await.expect("nothing to deadlock with")
    }

    fn open(&self, shut: Self::Shut<'_>, _: usize) {
        drop(shut);
    }

    async fn pass(&self) {
        drop(self.lock_async().await.expect("nothing to deadlock with"));
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}

impl Crowd for antifreeze_sync::RwLock<()> {
    type Shut<'a> = RwLockWriteGuard<'a, (), OnTask>;

    fn new() -> Self {
        Self::new(())
    }

    async fn shut(&self) -> Self::Shut<'_> {
        self.write_async().await.expect("nothing to deadlock with")
    }

    fn open(&self, shut: Self::Shut<'_>, _: usize) {
        drop(shut);
    }

    async fn pass(&self) {
        drop(self.read_async().await.expect("nothing to deadlock with"));
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}

impl Crowd for antifreeze_sync::BoundedSemaphore {
    type Shut<'a> = AsyncPermit<'a>;

    fn new() -> Self {
        Self::new(1)
    }

    async fn shut(&self) -> Self::Shut<'_> {
        self.acquire_async()
            .await
            .expect("nothing to deadlock with")
    }

    fn open(&self, shut: Self::Shut<'_>, _: usize) {
        drop(shut);
    }

    async fn pass(&self) {
        drop(
            self.acquire_async()
                .await
                .expect("nothing to deadlock with"),
        );
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}

impl Crowd for antifreeze_sync::Queue<()> {
    type Shut<'a> = ();

    fn new() -> Self {
        Self::unbounded()
    }

    async fn shut(&self) {}

    fn open(&self, (): (), count: usize) {
        for _ in 0..count {
            self.try_put(()).expect("there is always room");
        }
    }

    async fn pass(&self) {
        self.get_async().await.expect("nothing to deadlock with");
    }

    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        task(future)
    }
}
