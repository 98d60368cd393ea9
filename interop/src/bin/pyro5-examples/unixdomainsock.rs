//! A daemon on a unix domain socket, in a folder or in the abstract namespace.

use std::convert::Infallible;

use antifreeze::{InstanceMode, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

struct Thingy;

#[expose]
impl Thingy {
    fn message(&self, arg: &str) -> &'static str {
        println!("Message received: {arg}");
        "Roger!"
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || Ok::<_, Infallible>(Thingy);
    let id = "example.unixsock";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{}", uri.to_string().replace('\0', "\\x00"));
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let uri = guest.word(0)?.replace("\\x00", "\0");
    let response: String = guest.proxy(&uri)?.call("message", ("Hello there!",))?;
    equal(response, "Roger!")
}
