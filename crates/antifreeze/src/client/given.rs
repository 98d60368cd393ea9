//! A connection that a proxy was given: there is no handshake on it, and no other one after it.

use std::sync::Arc;

use antifreeze_proto::{Annotations, Response};
use antifreeze_serial::encode_call;
use parking_lot::Mutex;

use super::crank::{Outgoing, Shape};
use super::remote::Remote;
use crate::error::{Error, ErrorKind};
use crate::net::Socket;
use crate::rpc::Metadata;

/// A socket, until the proxy has taken it.
#[derive(Clone, Debug)]
pub(crate) struct Given(Arc<Mutex<Option<Socket>>>);

impl Given {
    pub(crate) fn new(socket: Socket) -> Self {
        Self(Arc::new(Mutex::new(Some(socket))))
    }

    /// The socket.
    ///
    /// # Errors
    ///
    /// It was taken before.
    pub(crate) fn take(&self) -> Result<Socket, Error> {
        let text = "the connection that the proxy was given has ended, or is in use";
        let socket = self.0.lock().take();
        socket.ok_or_else(|| Error::new(ErrorKind::Closed, text))
    }
}

/// The call that asks what the object exposes, which a handshake would have told.
pub(crate) fn question(remote: &Remote, object: &str) -> Result<Outgoing, Error> {
    let mut payload = Vec::with_capacity(64);
    let (serializer, method) = (remote.serializer, "get_metadata");
    encode_call(
        serializer,
        "Pyro.Daemon",
        method,
        &(object,),
        &(),
        &mut payload,
    )?;
    let annotations = Annotations::new();
    Ok(Outgoing::bare(
        serializer,
        Shape::Call,
        payload,
        annotations,
    ))
}

/// What the answer says.
///
/// # Errors
///
/// [`ErrorKind::Refused`] if the daemon does not have the object.
pub(crate) fn metadata(remote: &Remote, answer: Response) -> Result<Metadata, Error> {
    let answer = remote.answer(answer).map_err(|error| {
        let text = format!("{} does not have the object: {error}", remote.uri);
        Error::new(ErrorKind::Refused, text)
    })?;
    remote.decode(&answer)
}
