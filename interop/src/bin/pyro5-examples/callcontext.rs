//! Annotations and correlation ids, there and back.

use antifreeze::{AnnotationId, CorrelationId, DaemonBuilder, call, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

/// The annotation that the daemon puts on each of its answers.
const OWN: AnnotationId = AnnotationId::known(b"DDAA");

struct EchoServer;

#[expose]
impl EchoServer {
    fn echo(&self, message: String) -> String {
        println!("Got Message: {message}");
        if let Some(address) = call::client_address() {
            println!("  client_sock_addr: {address}");
        }
        if let Some(id) = call::correlation_id() {
            println!("  correlation_id: {id}");
        }
        if let Some(value) = call::annotation("XYZZ") {
            println!("  custom annotation 'XYZZ': {}", value.escape_ascii());
        }
        message
    }

    #[oneway]
    fn oneway(&self, message: String) -> String {
        self.echo(message)
    }
}

pub(crate) fn annotate(builder: DaemonBuilder) -> DaemonBuilder {
    builder.annotations(|| [(OWN, "custom response annotation set by the daemon")])
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.register("example.context", EchoServer)?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let id = CorrelationId(uuid::Uuid::new_v4().into_bytes());
    println!("correlation id set to: {id}");
    let server = guest.proxy(guest.word(0)?)?;
    let context = call::Context::new().correlation_id(id);
    let first = context
        .clone()
        .annotation("XYZZ", "custom annotation from client (1)")?;
    let echoed: String = first.scope(|| server.call("echo", ("hi there",)))?;
    equal(echoed, "hi there")?;
    let expected = &b"custom response annotation set by the daemon"[..];
    equal(call::response_annotation("DDAA").as_deref(), Some(expected))?;
    let second = context.annotation("XYZZ", "custom annotation from client (2)")?;
    second.scope(|| server.call::<()>("oneway", ("hi there ONEWAY",)))?;
    ensure!(
        call::response_annotations().is_empty(),
        "nothing answers a oneway"
    );
    Ok(())
}
