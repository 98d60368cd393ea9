//! A server that closes idle connections, and a client that makes its call again.

use std::convert::Infallible;
use std::thread::sleep;

use antifreeze::{InstanceMode, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

struct CalcServer;

#[expose]
impl CalcServer {
    fn add(&self, num1: i64, num2: i64) -> i64 {
        println!("calling add: {num1}, {num2}");
        num1 + num2
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || Ok::<_, Infallible>(CalcServer);
    let uri = stage
        .daemon
        .register_class(None, InstanceMode::Session, create)?;
    stage.name("example.autoretry", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let calc = guest.proxy("PYRONAME:example.autoretry")?.idempotent();
    equal(calc.call::<i64>("add", (1, 1))?, 2)?;
    equal(calc.call::<i64>("add", (2, 2))?, 4)?;
    sleep(guest.second);
    equal(calc.call::<i64>("add", (3, 3))?, 6)
}
