use antifreeze_sync::{Mutex, synchronized};

static LOCK: Mutex<()> = Mutex::new(());

struct SearchResult;

#[synchronized(LOCK)]
fn text() -> Result<i64, String> {
    Err("broke".to_owned())
}

#[synchronized(LOCK)]
async fn search() -> SearchResult {
    SearchResult
}

fn main() {}
