use antifreeze_sync::{LockError, synchronized};

struct Account {
    balance: i64,
}

impl Account {
    #[synchronized]
    fn balance(&self) -> Result<i64, LockError> {
        Ok(self.balance)
    }
}

#[synchronized(self.lock)]
fn free() -> Result<(), LockError> {
    Ok(())
}

fn main() {}
