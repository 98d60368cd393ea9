//! A kitchen: a dish in the oven occupies no thread, and tasks order many of them at once.
//!
//! ```text
//! cargo run --release --example kitchen
//! ```
//!
//! serves it in the runtime of the program and prints its URI. With that URI as its argument it is a
//! client instead, whose tasks order fifty dishes over one connection. Python programs may join in:
//!
//! ```python
//! import Pyro5.api
//! kitchen = Pyro5.api.Proxy("PYRO:kitchen@localhost:…")
//! print(kitchen.bake("bread", 2))
//! print(kitchen.clean())
//! ```

use std::env;
use std::time::{Duration, Instant};

use antifreeze::{Daemon, Error, expose, proxy};
use tokio::task::JoinSet;
use tokio::time::sleep;

struct Kitchen {
    cleaned: u32,
}

#[expose]
impl Kitchen {
    /// `&self`: with other dishes. If whoever ordered it is gone, it is taken out again.
    async fn bake(&self, dish: String, seconds: f64) -> Result<String, String> {
        let time = Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())?;
        sleep(time).await;
        Ok(format!("{dish}, baked for {time:?}"))
    }

    /// `&mut self`: alone, also while it awaits something. It waits until the oven is empty.
    async fn clean(&mut self) -> u32 {
        sleep(Duration::from_millis(500)).await;
        self.cleaned += 1;
        self.cleaned
    }
}

/// What clients know of it: `KitchenProxy`, whose methods are async, as these are.
#[proxy]
trait Kitchen {
    async fn bake(&self, dish: &str, seconds: f64) -> String;
    async fn clean(&self) -> u32;
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    match env::args().nth(1) {
        None => serve().await,
        Some(uri) => order(&uri).await,
    }
}

async fn serve() -> Result<(), Error> {
    let daemon = Daemon::bind("localhost:0")?;
    let uri = daemon.register("kitchen", Kitchen { cleaned: 0 })?;
    println!("{uri}");
    daemon.run().await
}

async fn order(uri: &str) -> Result<(), Error> {
    let kitchen = KitchenProxy::connect(uri).await?;
    let started = Instant::now();
    let mut dishes = JoinSet::new();
    for number in 1..=50 {
        let kitchen = kitchen.clone();
        dishes.spawn(async move { kitchen.bake(&format!("dish {number}"), 1.0).await });
    }
    let dishes = dishes.join_all().await;
    let dishes = dishes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let took = started.elapsed();
    println!("{} dishes of a second each took {took:.1?}", dishes.len());
    println!("cleaned for the {}. time", kitchen.clean().await?);
    Ok(())
}
