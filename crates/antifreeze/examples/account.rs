//! A bank account: methods that only look run together, one that changes it runs alone.
//!
//! ```text
//! cargo run --release --example account
//! ```
//!
//! serves it and prints its URI. With that URI as its argument it is a client instead: four threads
//! share one account, and no deposit gets lost. Python programs may join in:
//!
//! ```python
//! import Pyro5.api
//! account = Pyro5.api.Proxy("PYRO:account@localhost:…")
//! print(account.deposit(10))
//! try:
//!     account.withdraw(1_000_000)
//! except ValueError as error:
//!     print(error)
//! ```

use std::{env, thread};

use antifreeze::{Daemon, Error, Exception, Proxy, expose};

struct Account {
    balance: i64,
}

#[expose]
impl Account {
    /// `&self`: with other readers.
    fn balance(&self) -> i64 {
        self.balance
    }

    /// `&mut self`: alone. Nobody sees the account between the two lines.
    fn deposit(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    /// An error is an exception at the caller. Here it is one of Python's own.
    fn withdraw(&mut self, amount: i64) -> Result<i64, Exception> {
        if amount > self.balance {
            let text = format!("{amount} is more than the balance of {}", self.balance);
            return Err(Exception::new("builtins.ValueError", text));
        }
        self.balance -= amount;
        Ok(self.balance)
    }
}

fn main() -> Result<(), Error> {
    match env::args().nth(1) {
        None => serve(),
        Some(uri) => use_account(&uri),
    }
}

fn serve() -> Result<(), Error> {
    let daemon = Daemon::bind("localhost:0")?;
    let uri = daemon.register("account", Account { balance: 0 })?;
    println!("{uri}");
    daemon.serve()
}

fn use_account(uri: &str) -> Result<(), Error> {
    let account = Proxy::connect(uri)?;
    let before: i64 = account.call("balance", ())?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| deposit_often(uri))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let after: i64 = account.call("balance", ())?;
    println!("4 threads deposited 1 a hundred times: {before} became {after}");

    match account.call::<i64>("withdraw", (after + 1,)) {
        Err(error) if error.is_remote("ValueError") => println!("refused: {error}"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}

fn deposit_often(uri: &str) -> Result<(), Error> {
    let account = Proxy::connect(uri)?;
    for _ in 0..100 {
        account.call::<i64>("deposit", (1,))?;
    }
    Ok(())
}
