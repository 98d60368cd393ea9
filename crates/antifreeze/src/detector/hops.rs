//! Programs in between that are not ours: which of them serve one call at a time.
//!
//! Pyro's multiplex server says nothing to others while a method of it runs, not even hello. So whoever
//! wants it waits for whoever it called. That is only asked when somebody waits for such a program, on
//! a connection and a thread of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_proto::{Annotations, Seq};
use antifreeze_serial::{Serializer, encode_call};
use antifreeze_sync::detector::{self, ReadWait};
use antifreeze_sync::{Report, calls};
use parking_lot::Mutex;
use tracing::debug;

use crate::chain::{Route, Stage};
use crate::client::connection::Connection;
use crate::client::crank::{Outgoing, Shape};
use crate::client::remote::Remote;
use crate::config::Config;
use crate::error::Error;
use crate::net::Socket;
use crate::uri::Location;

/// How long a program that takes connections has to say nothing to be taken for one that serves one
/// call at a time.
const SILENCE: Duration = Duration::from_millis(500);
/// How long it is waited for what it says.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after a failure it is not asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long its answer is believed: another one may be there later.
const BELIEVED: Duration = Duration::from_secs(60);

static HOPS: Mutex<Option<HashMap<Location, Hop>>> = Mutex::new(None);

/// What is known of a program.
#[derive(Clone, Copy)]
enum Hop {
    /// It is being asked, and has taken the connection at that time.
    Asked(Option<Instant>),
    /// It has said so.
    Known { single: bool, at: Instant },
}

/// Whether the program there serves one call at a time, as far as is known. Has it asked if not.
pub(super) fn is_single_threaded(location: &Location) -> bool {
    let mut hops = HOPS.lock();
    let hops = hops.get_or_insert_default();
    match hops.get(location) {
        Some(Hop::Known { single, at }) if at.elapsed() < BELIEVED => return *single,
        Some(Hop::Asked(since)) => return since.is_some_and(|since| since.elapsed() >= SILENCE),
        Some(Hop::Known { .. }) | None => {}
    }
    let asked = location.clone();
    let asking = thread::Builder::new().name("antifreeze-asks".into());
    match asking.spawn(move || learn(&asked)) {
        Ok(_) => drop(hops.insert(location.clone(), Hop::Asked(None))),
        Err(why) => debug!(%why, "a program cannot be asked how it serves"),
    }
    false
}

/// Whether the program there has said that it serves one call at a time.
pub(crate) fn is_known_single_threaded(location: &Location) -> bool {
    let hops = HOPS.lock();
    let known = hops.as_ref().and_then(|hops| hops.get(location));
    matches!(known, Some(Hop::Known { single: true, at }) if at.elapsed() < BELIEVED)
}

fn learn(location: &Location) {
    let note = |hop| {
        HOPS.lock()
            .get_or_insert_default()
            .insert(location.clone(), hop)
    };
    let connected = || {
        note(Hop::Asked(Some(Instant::now())));
    };
    match ask(location, connected) {
        Ok(single) => {
            let at = Instant::now();
            note(Hop::Known { single, at });
        }
        Err(error) => {
            debug!(%error, %location, "a program does not say how it serves");
            thread::sleep(PAUSE);
            HOPS.lock().get_or_insert_default().remove(location);
        }
    }
}

/// Asks a daemon of Pyro what sort it is; says when it has taken the connection.
fn ask(location: &Location, connected: impl FnOnce()) -> Result<bool, Error> {
    const DAEMON: &str = "Pyro.Daemon";
    const SERIALIZER: Serializer = Serializer::Serpent;
    let mut config = Config::default();
    config.handshake_timeout = PATIENCE;
    let (remote, place) = Remote::known(DAEMON, location, SERIALIZER, config)?;
    let deadline = Instant::now().checked_add(PATIENCE);
    let socket = Socket::connect(
        location,
        remote.config.prefer_ip_version,
        remote.config.connect_timeout,
        deadline,
    )?;
    connected();
    let mut connection = Connection::greet(Arc::new(socket), &remote, place, Seq(0), deadline)?;
    if connection.entry.route.node.is_some() {
        return Ok(false);
    }
    let mut payload = Vec::with_capacity(64);
    encode_call(SERIALIZER, DAEMON, "info", &(), &(), &mut payload)?;
    let call = Outgoing::bare(SERIALIZER, Shape::Call, payload, Annotations::new());
    let answer = connection.call(call, deadline)?;
    let info: String = match answer {
        Some(answer) => remote.decode(&remote.answer(answer)?)?,
        None => String::new(),
    };
    Ok(info.contains("Multiplex"))
}

/// Ends the call to a program that is not ours for which `frame` waits, if it is still the one of that
/// reading.
pub(super) fn fail(reading: u64, frame: u64, report: &Arc<Report>) -> bool {
    let Some(again) = detector::confirm(reading, &[frame]) else {
        return false;
    };
    let mut waits = again.frames.iter().flat_map(|read| &read.waits);
    waits.any(|wait| match route(wait) {
        Some((call, route)) => route.fail(call, report),
        None => false,
    })
}

/// How far a wait for such a program has come, if it can be ended.
pub(super) fn stage(wait: &ReadWait) -> Option<Stage> {
    let (call, route) = route(wait)?;
    route.stage(call)
}

fn route(wait: &ReadWait) -> Option<(u64, &Route)> {
    let ReadWait::Call { call, peer, .. } = wait else {
        return None;
    };
    let peer: &dyn std::any::Any = &**peer;
    let route: &Route = peer.downcast_ref()?;
    (call.node == calls::node()).then_some((call.seq, route))
}
