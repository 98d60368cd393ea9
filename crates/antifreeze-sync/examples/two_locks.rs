//! Two threads take two locks in opposite orders. One of them gets an error that names the whole
//! cycle, and the other one goes on.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example two_locks
//! ```

use std::sync::Barrier;
use std::thread;

use antifreeze_sync::{LockError, Mutex};

static LEFT: Mutex<u32> = Mutex::named("left", 0);
static RIGHT: Mutex<u32> = Mutex::named("right", 0);

fn main() {
    // Both threads have their first lock before either asks for its second.
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for (name, first, second) in [("anna", &LEFT, &RIGHT), ("bert", &RIGHT, &LEFT)] {
            let both = &both;
            let take_both = move || match add_to_both(first, second, both) {
                Ok(()) => println!("{name}: has both"),
                Err(error) => println!("{name}: {error}"),
            };
            thread::Builder::new()
                .name(name.into())
                .spawn_scoped(scope, take_both)
                .expect("a thread can be started");
        }
    });
}

fn add_to_both(first: &Mutex<u32>, second: &Mutex<u32>, both: &Barrier) -> Result<(), LockError> {
    let mut first = first.lock()?;
    both.wait();
    let mut second = second.lock()?;
    *first += 1;
    *second += 1;
    Ok(())
}
