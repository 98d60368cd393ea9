//! A daemon that asks for a word before it lets anybody in.

use antifreeze::{DaemonBuilder, ErrorKind, Value};
use antifreeze_interop::{equal, failed};

use crate::{Guest, Stage};

const SECRET: &str = "pancakes";

pub(crate) fn ask(builder: DaemonBuilder) -> DaemonBuilder {
    builder.on_handshake(|info| {
        println!("Handshake data: {}", info.value);
        if info.value.as_str() == Some(SECRET) {
            println!("Secret code okay! Connection accepted.");
            let welcome = ["how", "are", "you", "doing"].map(Value::from);
            Ok(Value::List(welcome.to_vec()))
        } else {
            println!("Secret code wrong! Connection refused.");
            Err("wrong secret code, connection refused")
        }
    })
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.uri_for("Pyro.Daemon")?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let uri = guest.word(0)?;
    let proxy = guest.builder(uri)?.handshake(SECRET).connect()?;
    let response = proxy.handshake_response()?;
    equal(response.to_string(), "['how', 'are', 'you', 'doing']")?;
    proxy.call::<()>("ping", ())?;
    let refused = guest.builder(uri)?.handshake("cookies").connect();
    failed(
        refused,
        &[ErrorKind::Refused],
        "wrong secret code, connection refused",
    )?;
    Ok(())
}
