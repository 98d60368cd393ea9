//! What `#[synchronized]` writes and the calls of `antifreeze` need, and nobody else.

pub use crate::error::deadlock_of_panic;

use crate::{LockError, Mutex};

/// A mutex, whatever it was behind.
pub fn mutex<T: ?Sized>(mutex: &Mutex<T>) -> &Mutex<T> {
    mutex
}

/// What a function may return that holds a lock while it runs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry the error of a lock",
    label = "cannot be made from a `LockError`",
    note = "a synchronized function returns a `Result` whose error is `From<LockError>`: implement \
            that, or return a `LockError` or a `Box<dyn Error>`",
    note = "`#[synchronized(panic)]` returns anything, and panics if the lock cannot be had"
)]
pub trait Refusable {
    /// What the function returns if it was not run.
    fn refused(error: LockError) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<LockError>> Refusable for Result<T, E> {
    fn refused(error: LockError) -> Self {
        Err(error.into())
    }
}

/// What a function returns that was not run for want of its lock.
pub fn refused<R: Refusable>(error: LockError) -> R {
    R::refused(error)
}

/// What becomes of a function that returns something else.
#[cold]
#[track_caller]
pub fn panic(error: LockError) -> ! {
    panic!("{error}")
}
