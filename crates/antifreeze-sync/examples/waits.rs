//! The live view: who waits for what, and who has it, while they do.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example waits
//! cargo run --release -p antifreeze-sync --example waits -- dot | dot -Tsvg > waits.svg
//! ```
//!
//! Nobody is deadlocked here. A program that serves requests can print the same on demand.

use std::time::Duration;

use antifreeze_sync::{LockError, Mutex, Queue, RwLock, detector, thread};

static LEDGER: Mutex<()> = Mutex::named("ledger", ());
static RATES: RwLock<()> = RwLock::named("rates", ());
static ORDERS: Queue<u32> = Queue::named("orders", None);

fn main() -> Result<(), LockError> {
    // The main thread has the ledger, anna reads the rates while she waits for it, bert wants to
    // change the rates, and cleo waits for an order.
    let ledger = LEDGER.lock()?;
    let anna = thread::named("anna", || {
        let _rates = RATES.read()?;
        LEDGER.lock().map(drop)
    });
    until(|| detector::is_waiting(anna.frame()));
    let bert = thread::named("bert", || RATES.write().map(drop));
    let cleo = thread::named("cleo", || ORDERS.get().map(drop));
    until(|| {
        [&anna, &bert, &cleo]
            .iter()
            .all(|thread| detector::is_waiting(thread.frame()))
    });

    let snapshot = detector::snapshot();
    if std::env::args().any(|argument| argument == "dot") {
        println!("{}", snapshot.to_dot());
    } else {
        println!("{snapshot}");
    }

    drop(ledger);
    ORDERS.put(1).expect("the queue is open");
    for thread in [anna, bert, cleo] {
        thread.join()?.expect("nobody panics")?;
    }
    Ok(())
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
