//! A warning about an order of locks that could deadlock, though it did not.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example lock_order
//! ```
//!
//! One thread takes two locks in one order, and later in the other. Nothing happens; but two
//! threads that did the same at the same moment would wait for each other. So it is enough to run
//! each path once, as tests do.

use antifreeze_sync::order::{self, Level};
use antifreeze_sync::{LockError, Mutex, lock_all};

static STOCK: Mutex<u32> = Mutex::named("stock", 10);
static ORDERS: Mutex<u32> = Mutex::named("orders", 0);

fn sell() -> Result<(), LockError> {
    let mut stock = STOCK.lock()?;
    let mut orders = ORDERS.lock()?;
    *stock -= 1;
    *orders += 1;
    Ok(())
}

fn take_back() -> Result<(), LockError> {
    let mut orders = ORDERS.lock()?;
    let mut stock = STOCK.lock()?;
    *stock += 1;
    *orders -= 1;
    Ok(())
}

/// How it should be: both at once, in an order that is the same for everybody.
fn sell_and_take_back() -> Result<(), LockError> {
    {
        let (mut stock, mut orders) = lock_all!(STOCK, ORDERS)?;
        *stock -= 1;
        *orders += 1;
    }
    let (mut orders, mut stock) = lock_all!(ORDERS, STOCK)?;
    *stock += 1;
    *orders -= 1;
    Ok(())
}

fn main() -> Result<(), LockError> {
    // On by itself in builds for debugging.
    order::set_level(Level::Warn);

    sell()?;
    take_back()?;
    for warning in order::warnings() {
        println!("{warning}");
    }
    println!("\nall orders that were seen:\n{}", order::graph_text());

    order::reset();
    sell_and_take_back()?;
    println!("warnings with lock_all: {}", order::warnings().len());
    Ok(())
}
