use antifreeze_sync::{Mutex, synchronized};

static LOCK: Mutex<()> = Mutex::new(());

struct Account {
    lock: Mutex<()>,
    balance: i64,
    names: Vec<String>,
}

impl Account {
    #[synchronized]
    fn balance(&self) -> i64 {
        self.balance
    }

    #[synchronized]
    async fn close(&self) {}

    #[synchronized(LOCK)]
    fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    #[synchronized(panic)]
    fn wait(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    #[synchronized]
    fn boxed(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>>>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn main() {}
