//! A daemon and a proxy on the two ends of a socket pair. Ours is the standard input.

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};

use antifreeze::{Daemon, DaemonBuilder, Proxy, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

fn socket() -> anyhow::Result<OwnedFd> {
    Ok(stdin().as_fd().try_clone_to_owned()?)
}

pub(crate) fn bind(builder: DaemonBuilder) -> anyhow::Result<Daemon> {
    Ok(builder.connected_socket(socket()?)?)
}

struct Echo;

#[expose]
impl Echo {
    fn echo(&self, message: &str) -> &'static str {
        println!("server got message: {message}");
        "thank you"
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    stage.daemon.register("echo", Echo)?;
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let config = guest.config.clone();
    let echo = Proxy::connected_socket("echo", socket()?)?;
    let echo = echo.config(config).connect()?;
    for message in ["hello!", "hello again!"] {
        let reply: String = echo.call("echo", (message,))?;
        equal(&*reply, "thank you")?;
        println!("client got reply: {reply}");
    }
    Ok(())
}
