//! The runtime of async methods: a daemon that serves none has none.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

/// How many threads poll tasks. Methods that block belong to the workers.
const THREADS: usize = 2;

/// Where async methods run, from the first call of one.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Unmade,
    Made(Runtime),
    Ended,
}

impl Tasks {
    pub(crate) fn runtime(&self) -> io::Result<Handle> {
        let mut state = self.0.lock();
        if let State::Unmade = *state {
            let runtime = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("antifreeze-tasks")
                .enable_all()
                .build()?;
            *state = State::Made(runtime);
        }
        match &*state {
            State::Made(runtime) => Ok(runtime.handle().clone()),
            _ => Err(io::Error::other("the daemon has ended")),
        }
    }

    /// Drops all tasks, and waits that long until they are gone.
    pub(crate) fn end(&self, patience: Duration) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Ended);
        match before {
            // Inside of somebody's runtime, waiting for one is not allowed.
            State::Made(runtime) if Handle::try_current().is_ok() => runtime.shutdown_background(),
            State::Made(runtime) => runtime.shutdown_timeout(patience),
            _ => {}
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, and this may be one of them.
        if let State::Made(runtime) = std::mem::replace(self.0.get_mut(), State::Ended) {
            runtime.shutdown_background();
        }
    }
}
