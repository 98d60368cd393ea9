use antifreeze_sync::{LockError, Mutex, synchronized};

static LOCK: Mutex<()> = Mutex::new(());

#[synchronized("LOCK")]
fn quoted() -> Result<(), LockError> {
    Ok(())
}

#[synchronized(lock = LOCK)]
fn assigned() -> Result<(), LockError> {
    Ok(())
}

#[synchronized(LOCK, LOCK)]
fn two() -> Result<(), LockError> {
    Ok(())
}

#[synchronized(read, write, panic, panic, LOCK)]
fn words() -> Result<(), LockError> {
    Ok(())
}

#[synchronized(read)]
fn own() -> Result<(), LockError> {
    Ok(())
}

#[synchronized(static)]
fn nothing() -> Result<(), LockError> {
    Ok(())
}

fn main() {}
