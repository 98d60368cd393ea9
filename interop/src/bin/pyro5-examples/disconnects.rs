//! A server that closes idle connections, and a client that asks whether it is still there.

use std::convert::Infallible;
use std::io::stdin;

use antifreeze::{InstanceMode, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

struct TestDisconnect;

#[expose]
impl TestDisconnect {
    fn echo(&self, arg: String) -> String {
        println!("echo: {arg}");
        arg
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || Ok::<_, Infallible>(TestDisconnect);
    let id = "example.disconnect";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let object = guest.proxy(guest.word(0)?)?;
    equal(object.call::<String>("echo", ("12345",))?, "12345")?;
    println!("continue?");
    stdin().read_line(&mut String::new())?;
    object.ping()?;
    equal(object.call::<String>("echo", ("12345",))?, "12345")
}
