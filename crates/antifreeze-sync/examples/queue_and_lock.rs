//! A queue and a lock together: workers take jobs from a queue and update something far away, which
//! takes two steps, in a critical section that may wait.
//!
//! ```sh
//! cargo run --release -p antifreeze-sync --example queue_and_lock
//! ```
//!
//! The queue sees to it that each job is done once; it does not keep the workers out of each other's
//! way. That is what the lock is for, and only around the two steps: the rest of the work goes on at
//! the same time.

use std::cell::Cell;
use std::time::Duration;

use antifreeze_sync::{DeferredLock, DeferredQueue, LockError, task};
use tokio::time::sleep;

const WORKERS: usize = 3;

/// A balance that is kept by somebody far away, who can be asked for it and told of a new one.
struct Bank {
    balance: Cell<u32>,
}

impl Bank {
    async fn ask(&self) -> u32 {
        sleep(Duration::from_millis(1)).await;
        self.balance.get()
    }

    async fn tell(&self, balance: u32) {
        sleep(Duration::from_millis(1)).await;
        self.balance.set(balance);
    }

    async fn deposit(&self, amount: u32) {
        let balance = self.ask().await;
        // Whoever asks now is told the old balance.
        self.tell(balance + amount).await;
    }
}

async fn work(
    jobs: &DeferredQueue<Option<u32>>,
    bank: &Bank,
    lock: Option<&DeferredLock>,
) -> Result<(), LockError> {
    while let Ok(Some(amount)) = jobs.get().await {
        match lock {
            Some(lock) => lock.run(async || bank.deposit(amount).await).await?,
            None => bank.deposit(amount).await,
        }
    }
    Ok(())
}

async fn balance_after(lock: Option<&DeferredLock>) -> Result<u32, LockError> {
    let bank = Bank {
        balance: Cell::new(0),
    };
    let jobs = DeferredQueue::new(None, None);
    for amount in 1..=10 {
        jobs.put(Some(amount))
            .expect("it is as long as it needs to be");
    }
    // One for each worker, to go home.
    for _ in 0..WORKERS {
        jobs.put(None).expect("it is as long as it needs to be");
    }
    // Agents of their own, so that a deadlock among them would be found.
    let worker = || task(work(&jobs, &bank, lock));
    tokio::try_join!(worker(), worker(), worker())?;
    Ok(bank.balance.get())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), LockError> {
    println!("ten deposits, {} in all", (1..=10).sum::<u32>());
    println!(
        "queue alone:    the balance is {}",
        balance_after(None).await?
    );
    let lock = DeferredLock::new().with_name("the bank");
    println!(
        "queue and lock: the balance is {}",
        balance_after(Some(&lock)).await?
    );
    Ok(())
}
