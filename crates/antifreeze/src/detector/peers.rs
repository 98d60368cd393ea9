//! Asking the detectors of other processes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_detector::Peer;
use antifreeze_proto::{AnnotationId, Annotations, Seq};
use antifreeze_serial::{Serializer, encode_call};
use tracing::{debug, warn};

use super::lane::lane;
use super::object::DetectorObject;
use crate::client::connection::Connection;
use crate::client::crank::{Outgoing, Shape};
use crate::client::remote::Remote;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::net::Socket;
use crate::uri::Location;

/// The body of a question, or of an answer.
pub(super) const BODY: AnnotationId = AnnotationId::known(b"AFDM");

/// How many questions may wait for one peer; what is more is lost, and asked again.
const QUEUED: usize = 64;
/// How long a question may take, with the time to connect.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection is kept that is not used.
const KEPT: Duration = Duration::from_secs(60);

/// Those who are being asked, each by a thread of its own, since each may keep us waiting.
#[derive(Default)]
pub(super) struct Peers(HashMap<u64, SyncSender<Vec<u8>>>);

impl Peers {
    /// Has a peer asked.
    pub(super) fn send(&mut self, to: Peer, bytes: Vec<u8>) {
        let node = to.node;
        let queue = self.0.entry(node).or_insert_with(|| {
            let (queue, questions) = sync_channel(QUEUED);
            let asking = thread::Builder::new().name("antifreeze-asks".into());
            if let Err(why) = asking.spawn(move || ask_all(&to, &questions)) {
                warn!(%why, "a process cannot be asked about deadlocks");
            }
            queue
        });
        if let Err(TrySendError::Disconnected(_)) = queue.try_send(bytes) {
            self.0.remove(&node);
        }
    }

    /// Forgets a peer if there is nothing to ask it.
    pub(super) fn leave(&mut self, node: u64, is_idle: impl FnOnce() -> bool) -> bool {
        let idle = is_idle();
        if idle {
            self.0.remove(&node);
        }
        idle
    }
}

/// Asks one peer after another question, until there has been none for a while.
fn ask_all(peer: &Peer, questions: &Receiver<Vec<u8>>) {
    let Some(lane) = lane() else { return };
    let mut connection = None;
    loop {
        let question = match questions.recv_timeout(KEPT) {
            Ok(question) => question,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let mut late = None;
                let is_idle = || {
                    late = questions.try_recv().ok();
                    late.is_none()
                };
                match (lane.leave(peer.node, is_idle), late) {
                    (false, Some(question)) => question,
                    _ => return,
                }
            }
        };
        match ask(&mut connection, peer, question) {
            Ok(answer) => lane.answered(peer.node, &answer),
            Err(error) => {
                debug!(%error, address = peer.address, "a process cannot be asked about deadlocks");
                connection = None;
                lane.lost(peer.node);
            }
        }
    }
}

fn ask(
    connection: &mut Option<Connection>,
    peer: &Peer,
    question: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let deadline = Instant::now().checked_add(PATIENCE);
    if !connection.as_mut().is_some_and(Connection::is_usable) {
        *connection = None;
    }
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(peer, deadline)?),
    };
    let mut payload = Vec::with_capacity(64);
    let id = DetectorObject::ID;
    encode_call(SERIALIZER, id, "ask", &(), &(), &mut payload)?;
    let annotations = Annotations::from_iter([(BODY, question.into())]);
    let call = Outgoing::bare(SERIALIZER, Shape::Call, payload, annotations);
    let answer = connection.call(call, deadline)?;
    let body = answer.and_then(|answer| answer.annotations.get(BODY).cloned());
    body.map(Vec::from).ok_or_else(|| {
        let text = "the peer answered a question about deadlocks with none";
        Error::new(ErrorKind::Protocol, text)
    })
}

const SERIALIZER: Serializer = Serializer::Msgpack;

/// Connects to the process itself, not to another one that has its address now.
fn connect(peer: &Peer, deadline: Option<Instant>) -> Result<Connection, Error> {
    let location: Location = peer.address.parse()?;
    let mut config = Config::default();
    config.connect_timeout = PATIENCE;
    let (remote, place) = Remote::known(DetectorObject::ID, &location, SERIALIZER, config)?;
    let (prefer, limit) = (
        remote.config.prefer_ip_version,
        remote.config.connect_timeout,
    );
    // Nobody waits for this but the detector, so it is no wait of which others are to know.
    let socket = Socket::connect(&location, prefer, limit, deadline)?;
    let connection = Connection::greet(Arc::new(socket), &remote, place, Seq(0), deadline)?;
    if connection.entry.route.node != Some(peer.node) {
        let text = format!("another process is at {} now", peer.address);
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(connection)
}
