use std::sync::Arc;

use antifreeze::expose;

struct Account {
    balance: i64,
}

#[expose]
impl Account {
    fn close(self) -> i64 {
        self.balance
    }

    fn share(self: Arc<Self>) -> i64 {
        self.balance
    }

    fn balance(&self) -> i64 {
        self.balance
    }
}

fn main() {
    let daemon = antifreeze::Daemon::bind("localhost:0").unwrap();
    // The type is still exposed: no second error comes from here.
    daemon.register("account", Account { balance: 0 }).unwrap();
}
