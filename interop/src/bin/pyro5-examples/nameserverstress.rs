//! Many threads that use the name server at the same time.

use std::thread;

use antifreeze::{ErrorKind, NameServer};
use antifreeze_interop::equal;
use anyhow::{anyhow, ensure};

use crate::Guest;

const PREFIX: &str = "stresstest.";
const URI: &str = "PYRO:objname@host:555";
const TRASHERS: usize = 5;
const ROUNDS: usize = 40;

/// Registers names, removes some that others have registered, and looks for them all.
fn trash(names: &NameServer, number: usize) -> anyhow::Result<()> {
    let others = |round: usize| format!("{PREFIX}{}", round * (number + 1) % 7);
    for round in 0..ROUNDS {
        names.register(&others(round), URI, false, [""; 0])?;
        names.register(&format!("{PREFIX}own.{number}.{round}"), URI, true, [""; 0])?;
        names.remove(&others(round + 1))?;
        match names.lookup(&others(round + 2)) {
            Ok(uri) => equal(uri.to_string(), URI)?,
            Err(error) => ensure!(error.kind() == ErrorKind::Naming, "{error}"),
        }
        let own = names.list(Some(&format!("{PREFIX}own.{number}.")))?;
        equal(own.len(), round + 1)?;
    }
    Ok(())
}

/// All but the last one share a proxy.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let shared = NameServer::locate(&guest.config)?;
    let own = NameServer::locate(&guest.config)?;
    thread::scope(|scope| {
        let trashers = (1..=TRASHERS).map(|number| {
            let names = if number < TRASHERS { &shared } else { &own };
            scope.spawn(move || trash(names, number))
        });
        let trashers: Vec<_> = trashers.collect();
        let mut ended = trashers.into_iter().map(|trasher| trasher.join());
        ended.try_for_each(|end| end.map_err(|_| anyhow!("it panicked"))?)
    })?;
    let own = shared.list(Some(&format!("{PREFIX}own.")))?;
    equal(own.len(), TRASHERS * ROUNDS)?;
    shared.as_proxy().call::<u64>("remove", ((), PREFIX))?;
    equal(shared.list(Some(PREFIX))?.len(), 0)
}
