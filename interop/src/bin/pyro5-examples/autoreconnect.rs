//! A server that ends and comes back at the same place.

use std::convert::Infallible;
use std::io::stdin;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{InstanceMode, expose};

use crate::{Guest, Stage};

struct TestClass {
    second: Duration,
}

#[expose]
impl TestClass {
    fn method(&self, arg: i64) {
        println!("Method called with {arg}");
        sleep(self.second);
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let create = move || Ok::<_, Infallible>(TestClass { second });
    let id = "example.autoreconnect_fixed_objectid";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

/// Calls once for each line that it is told.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let object = guest.proxy(guest.word(0)?)?.idempotent();
    for line in stdin().lines() {
        line?;
        object.call::<()>("method", (42,))?;
        println!("called");
    }
    Ok(())
}
