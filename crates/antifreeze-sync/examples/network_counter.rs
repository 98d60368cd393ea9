//! A counter that tells somebody over the network of each number before it returns it: two uses at
//! once, without a lock, with one, and with the state where nobody else has it.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example network_counter
//! ```
//!
//! It is the example that Twisted users are given for `DeferredLock`:
//!
//! ```python
//! def next(self):
//!     return self._lock.run(self._next)
//! ```

use std::cell::Cell;
use std::time::Duration;

use antifreeze_sync::{LockError, Mutex};
use tokio::time::sleep;

/// Tells somebody far away.
async fn record(_count: u32) {
    sleep(Duration::from_millis(20)).await;
}

/// No lock: what is returned is what the counter says when the answer has come.
struct Careless {
    count: Cell<u32>,
}

impl Careless {
    async fn next(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        record(self.count.get()).await;
        self.count.get()
    }
}

/// The second use begins when the first is over. The lock has the state inside, so there is no way
/// to it that forgets the lock.
struct Locked {
    count: Mutex<u32>,
}

impl Locked {
    async fn next(&self) -> Result<u32, LockError> {
        self.count
            .run_async(async |count| {
                *count += 1;
                record(*count).await;
                *count
            })
            .await
    }
}

/// Each use keeps its own number, on its own stack. Both tell of theirs at the same time, and there
/// is nothing to lock: nobody else runs between two lines without an `await`.
struct Unshared {
    count: Cell<u32>,
}

impl Unshared {
    async fn next(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        let count = self.count.get();
        record(count).await;
        count
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), LockError> {
    let counter = Careless {
        count: Cell::new(0),
    };
    let (first, second) = tokio::join!(counter.next(), counter.next());
    println!("without the lock:   {first}, {second}");

    let counter = Locked {
        count: Mutex::named("count", 0),
    };
    let (first, second) = tokio::join!(counter.next(), counter.next());
    println!("with the lock:      {}, {}", first?, second?);

    let counter = Unshared {
        count: Cell::new(0),
    };
    let (first, second) = tokio::join!(counter.next(), counter.next());
    println!("state on the stack: {first}, {second}");
    Ok(())
}
