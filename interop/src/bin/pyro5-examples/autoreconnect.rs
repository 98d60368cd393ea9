//! A server that ends and comes back at the same place.

use std::convert::Infallible;
use std::io::stdin;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{Config, Daemon, DaemonBuilder, InstanceMode, Location, NameServer, Uri, expose};

use crate::{Guest, Stage};

const NAME: &str = "example.autoreconnect";

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

/// What the name server knows of the server before this one, if it is to be asked.
fn existing(words: &[String], config: &Config) -> Option<Uri> {
    words.first()?;
    NameServer::locate(config).ok()?.lookup(NAME).ok()
}

/// Listens at `at`, or where the server before this one did.
pub(crate) fn bind(
    builder: DaemonBuilder,
    words: &[String],
    config: &Config,
    at: &str,
) -> anyhow::Result<Daemon> {
    let existing = existing(words, config);
    let before = existing.as_ref().and_then(Uri::location);
    Ok(builder.bind(&before.map_or_else(|| at.to_owned(), Location::to_string))?)
}

/// Under a fixed id; or, if it is told a word, under the one that the name server knows.
pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let create = move || Ok::<_, Infallible>(TestClass { second });
    let existing = existing(&stage.words, &stage.config);
    let id = match stage.words.is_empty() {
        true => Some("example.autoreconnect_fixed_objectid"),
        false => existing.as_ref().map(Uri::object),
    };
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    match stage.words.is_empty() {
        true => Ok(()),
        false => stage.name(NAME, &uri),
    }
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
