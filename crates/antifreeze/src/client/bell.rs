//! How a thread that sleeps at a socket is woken by another one.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

thread_local! {
    static BELL: Option<Arc<Bell>> = Bell::new().map(Arc::new).ok();
}

/// Every thread that sleeps at sockets has one.
pub(crate) struct Bell {
    listener: PipeReader,
    rope: PipeWriter,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let (listener, rope) = io::pipe()?;
        Ok(Self { listener, rope })
    }

    /// That of this thread; none if the system has no more of them.
    pub(crate) fn of_this_thread() -> Option<Arc<Self>> {
        BELL.with(Option::clone)
    }

    /// Wakes its thread, now or when it goes to sleep next.
    pub(crate) fn ring(&self) {
        // A pipe that is full has rung.
        let _ = (&self.rope).write(&[1]);
    }

    /// Forgets that it has rung. To be called only if it has.
    pub(crate) fn hush(&self) {
        let _ = (&self.listener).read(&mut [0; 64]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
