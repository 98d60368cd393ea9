//! Calls that take too long, and a daemon that never says hello.

use std::thread::sleep;
use std::time::{Duration, Instant};

use antifreeze::{Daemon, ErrorKind, expose};
use antifreeze_interop::{equal, failed};
use anyhow::ensure;

use crate::{Guest, Stage};

struct TimeoutServer {
    second: Duration,
}

#[expose]
impl TimeoutServer {
    fn delay(&self, amount: u32) -> String {
        println!("sleeping {amount}");
        sleep(self.second * amount);
        println!("done.");
        format!("slept {amount} seconds")
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let uri = stage.daemon.register(None, TimeoutServer { second })?;
    stage.name("example.timeout", &uri)?;
    // It listens, and nobody ever serves it.
    let frozen = Box::leak(Box::new(Daemon::bind("localhost:0")?));
    let uri = frozen.register(None, TimeoutServer { second })?;
    stage.name("example.timeout.frozendaemon", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let second = guest.second;
    let object = guest.proxy("PYRONAME:example.timeout")?;
    equal(object.call::<String>("delay", (2,))?, "slept 2 seconds")?;

    let begun = Instant::now();
    let late = object.within(second).call::<String>("delay", (5,));
    failed(late, &[ErrorKind::Timeout], "")?;
    ensure!(begun.elapsed() < 5 * second, "that was no time-out");
    // The proxy connects again.
    equal(object.call::<String>("delay", (1,))?, "slept 1 seconds")?;

    let begun = Instant::now();
    let frozen = guest
        .builder("PYRONAME:example.timeout.frozendaemon")?
        .timeout(second)
        .connect();
    failed(frozen, &[ErrorKind::Timeout], "")?;
    ensure!(begun.elapsed() < 5 * second, "that was no time-out");
    Ok(())
}
