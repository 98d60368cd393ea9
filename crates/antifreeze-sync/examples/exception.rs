//! An error and a panic while a lock is held: it is free afterwards, and others go on.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example exception
//! ```
//!
//! In Python, this holds the lock for ever once the operation has raised, and every later call of
//! anybody hangs:
//!
//! ```python
//! lock.acquire()
//! do_threadunsafe_operation()
//! lock.release()
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use antifreeze_sync::{Mutex, synchronized};

type Failure = Box<dyn Error + Send + Sync>;
type Operation = fn(End) -> Result<(), Failure>;

static LOCK: Mutex<()> = Mutex::named("the website", ());

#[derive(Clone, Copy, Debug)]
enum End {
    Error,
    Panic,
    Success,
}

/// Python: `with lock: ...`
fn guard(end: End) -> Result<(), Failure> {
    let _guard = LOCK.lock()?;
    do_thread_unsafe_operation(end)
}

/// Twisted: `lock.run(do_thread_unsafe_operation, end)`
fn run(end: End) -> Result<(), Failure> {
    LOCK.run(|()| do_thread_unsafe_operation(end))?
}

/// The cookbook: `@synchronized(lock)`
#[synchronized(LOCK)]
fn decorated(end: End) -> Result<(), Failure> {
    do_thread_unsafe_operation(end)
}

fn do_thread_unsafe_operation(end: End) -> Result<(), Failure> {
    static BUSY: AtomicBool = AtomicBool::new(false);
    assert!(
        !BUSY.swap(true, Ordering::SeqCst),
        "somebody else is in here"
    );
    thread::yield_now();
    BUSY.store(false, Ordering::SeqCst);
    match end {
        End::Error => Err("no such page".into()),
        End::Panic => panic!("out of cheese"),
        End::Success => Ok(()),
    }
}

fn main() {
    let ways: [(&str, Operation); 3] = [
        ("guard", guard),
        ("run", run),
        ("#[synchronized]", decorated),
    ];
    for (name, operation) in ways {
        println!("{name}");
        for end in [End::Error, End::Panic, End::Success] {
            // A thread for each, like a server for its requests.
            let what = match thread::spawn(move || operation(end)).join() {
                Ok(Ok(())) => "went well".to_owned(),
                Ok(Err(error)) => format!("returned an error, {error}"),
                Err(_) => "panicked".to_owned(),
            };
            let lock = if LOCK.is_locked() {
                "still held"
            } else {
                "free"
            };
            println!("    {what}; the lock is {lock}");
        }
    }
}
