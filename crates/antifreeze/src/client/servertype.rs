//! Whether a daemon that is not ours runs one call at a time, as Pyro's multiplex server does, and the
//! one of a connected socket.
//!
//! Whoever wants to be served there waits for whoever it has called. It is asked whenever a connection
//! to it is made: once it is busy, it says nothing, and somebody else may serve there the next time.

use std::time::Instant;

use antifreeze_proto::{Annotations, Response};
use antifreeze_serial::encode_call;

use super::crank::{Outgoing, Shape};
use super::remote::Remote;
use crate::error::Error;

const DAEMON: &str = "Pyro.Daemon";

/// Whether to ask whoever is at the other end, given its process if it is one of ours.
pub(crate) fn is_wanted(peer: Option<u64>) -> bool {
    cfg!(feature = "deadlock-detection") && peer.is_none()
}

/// The call that asks.
pub(crate) fn question(remote: &Remote) -> Result<Outgoing, Error> {
    let mut payload = Vec::with_capacity(64);
    encode_call(remote.serializer, DAEMON, "info", &(), &(), &mut payload)?;
    let annotations = Annotations::new();
    Ok(Outgoing::bare(
        remote.serializer,
        Shape::Call,
        payload,
        annotations,
    ))
}

/// Until when to wait for its answer: no longer than for the handshake that it follows.
pub(crate) fn deadline(remote: &Remote, now: Instant, call: Option<Instant>) -> Option<Instant> {
    let own = now.checked_add(remote.config.handshake_timeout);
    own.into_iter().chain(call).min()
}

/// What the answer says; an exception says nothing.
pub(crate) fn is_single(remote: &Remote, answer: &Response) -> bool {
    let info = (!answer.is_exception()).then(|| remote.decode::<String>(answer));
    info.is_some_and(|info| info.is_ok_and(|info| names_single(&info)))
}

/// Whether the name of a server is in there that has one thread for all.
fn names_single(info: &str) -> bool {
    let names = ["SocketServer_Multiplex", "SocketServer_ExistingConnection"];
    names.iter().any(|name| info.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_server_tells() {
        let check = |server: &str, single| {
            let info = format!(
                "Pyro.Daemon bound on localhost:1, NAT None, 1 objects registered. \
                 Servertype: <{server} on localhost:1>"
            );
            assert_eq!(names_single(&info), single, "{info}");
        };
        check("SocketServer_Multiplex", true);
        check("SocketServer_ExistingConnection", true);
        check("SocketServer_Threadpool", false);
    }
}
