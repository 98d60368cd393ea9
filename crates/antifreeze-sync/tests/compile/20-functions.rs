use antifreeze_sync::{LockError, Mutex, synchronized};

static LOCK: Mutex<()> = Mutex::new(());

#[synchronized(panic, LOCK)]
const fn answer() -> u8 {
    42
}

trait Account {
    #[synchronized]
    fn balance(&self) -> Result<i64, LockError>;

    #[synchronized(panic)]
    fn close(&self);
}

#[synchronized]
#[synchronized(LOCK)]
fn twice() -> Result<(), LockError> {
    Ok(())
}

fn main() {
    let _ = twice();
    const _: u8 = answer();
}
