//! What a proxy knows of its object, and what it makes of the daemon's messages.

use std::sync::Arc;
use std::time::Duration;

use antifreeze_proto::{self as proto, ClientEvent, Connect, Response, Seq, SerializerId, Time};
use antifreeze_serial::{Exception, Limits, ProxyState, Serializer, Value, decode_exception};
use antifreeze_sync::{LockError, calls};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serializer as Format};
use serde::{Deserialize, Serialize};

use super::crank::closed;
use super::given::Given;
use super::items;
use crate::call;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Sent};
use crate::naming::Place;
use crate::rpc::Metadata;
use crate::sleep::SleepClock;
use crate::uri::{Location, Uri};

/// A remote object, and how to talk to it.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) uri: Uri,
    pub(crate) serializer: Serializer,
    pub(crate) handshake: Value,
    /// What is known of the object: since the proxy was made, or a daemon has told it.
    pub(crate) metadata: Arc<Mutex<Option<Arc<Metadata>>>>,
    /// A connection that was there before, instead of those that are made.
    pub(crate) given: Option<Given>,
    pub(crate) config: Arc<Config>,
    pub(crate) protocol: Arc<proto::Config>,
    pub(crate) sleep: SleepClock,
}

/// What the daemon said when it let us in.
#[derive(Debug, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) handshake: Value,
    pub(crate) meta: Metadata,
}

impl Remote {
    /// An object of another program that nobody but us asks for, and where it is.
    pub(crate) fn known(
        object: &'static str,
        location: &Location,
        serializer: Serializer,
        config: Config,
    ) -> Result<(Self, Place), Error> {
        let remote = Self {
            uri: Uri::new(object, location.clone())?,
            serializer,
            handshake: Value::from("hello"),
            metadata: Arc::default(),
            given: None,
            protocol: Arc::new(config.connection()),
            config: Arc::new(config),
            sleep: SleepClock::default(),
        };
        let place = Place {
            object: object.to_owned(),
            location: location.clone(),
        };
        Ok((remote, place))
    }

    /// For how long the daemon is looked for; where it was reached before, it is worth some patience.
    pub(crate) fn reconnect_window(&self, connected_before: bool) -> Option<Duration> {
        (connected_before && self.given.is_none()).then_some(self.config.reconnect_window)
    }

    /// A daemon has told what the object exposes.
    pub(crate) fn learn(&self, metadata: &Arc<Metadata>) {
        *self.metadata.lock() = Some(Arc::clone(metadata));
    }

    /// Writes what travels of a proxy: neither its connection nor its limits (`client.py`, `Proxy`).
    pub(crate) fn serialize<S: Format>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.given.is_some() {
            let Self { uri, .. } = self;
            let text = format_args!(
                "expected a proxy that others can use, got that of {uri} on a connected socket"
            );
            return Err(S::Error::custom(text));
        }
        let metadata = self.metadata.lock().clone().unwrap_or_default();
        let state = ProxyState {
            handshake: self.handshake.clone(),
            // The receiver has a default of its own.
            serializer: (self.serializer != Serializer::Serpent)
                .then(|| self.serializer.name().to_owned()),
            ..metadata.of_proxy(&self.uri)
        };
        state.serialize(serializer)
    }

    /// What is said to be let in, for the object of this id.
    pub(crate) fn hello(
        &self,
        object: &str,
        seq: Seq,
        deadline: Option<Time>,
    ) -> Result<Connect, Error> {
        #[derive(Serialize)]
        struct Hello<'a> {
            handshake: &'a Value,
            object: &'a str,
        }
        let hello = Hello {
            handshake: &self.handshake,
            object,
        };
        let payload = antifreeze_serial::encode(self.serializer, &hello)?;
        let (annotations, correlation) = call::outgoing();
        Ok(Connect {
            serializer: SerializerId(self.serializer.id()),
            seq,
            correlation,
            annotations,
            payload: payload.into(),
            deadline,
        })
    }

    /// What the first event of a connection means.
    pub(crate) fn welcome(
        &self,
        location: &Location,
        event: ClientEvent,
    ) -> Result<Welcome, Error> {
        match event {
            ClientEvent::Connected {
                serializer,
                annotations,
                payload,
            } => {
                let serializer = known(serializer)?;
                let welcome =
                    antifreeze_serial::decode(serializer, &payload, &self.config.document())
                        .map_err(|error| {
                            let text = format!("{location} sent a handshake that is none: {error}");
                            Error::new(ErrorKind::Protocol, text)
                        })?;
                call::received(annotations);
                Ok(welcome)
            }
            ClientEvent::Refused {
                serializer,
                payload,
                ..
            } => {
                let why = known(serializer)
                    .and_then(|serializer| {
                        let limits = self.config.document();
                        let text: String =
                            antifreeze_serial::decode(serializer, &payload, &limits)?;
                        Ok(text)
                    })
                    .unwrap_or_else(|_| "for a reason that cannot be read".to_owned());
                let text = format!("connection to {location} rejected: {why}");
                Err(Error::new(ErrorKind::Refused, text))
            }
            ClientEvent::Closed(cause) => {
                Err(closed(&cause, Sent::No).context(format_args!("no handshake with {location}")))
            }
            ClientEvent::Returned { .. }
            | ClientEvent::Expired { .. }
            | ClientEvent::Unserved { .. }
            | ClientEvent::Ponged { .. } => Err(Error::new(
                ErrorKind::Protocol,
                "an answer came before the handshake",
            )),
        }
    }

    /// What the queue is called of those who want to use the proxy.
    pub(crate) fn turns(&self) -> String {
        format!("turns of a proxy of {}", self.uri)
    }

    /// The error of who waited in vain for others that use the proxy.
    pub(crate) fn was_in_use(&self, why: &LockError, ahead: usize) -> Error {
        if why.deadlock().is_some() {
            return Error::unobtainable(why);
        }
        let text = format!(
            "the proxy of {} was in use, with {ahead} calls ahead of this one",
            self.uri
        );
        Error::new(ErrorKind::Timeout, text)
    }

    /// The answer to a call, unless it is an error; its annotations are those of
    /// [`call::response_annotations`] from now on.
    pub(crate) fn answer(&self, mut response: Response) -> Result<Response, Error> {
        if response.is_item_stream() {
            // It is an exception only for clients that know no streams.
            return Ok(response);
        }
        call::received(std::mem::take(&mut response.annotations));
        if response.is_exception() {
            let limits = self.config.document();
            let serializer = known(response.serializer)?;
            let exception = decode_exception(serializer, &response.payload, &limits);
            let error = Error::raised(exception.map_err(undecodable)?);
            if error.kind() == ErrorKind::Deadlock {
                calls::was_victim();
            }
            return Err(error);
        }
        Ok(response)
    }

    /// The result in an answer.
    pub(crate) fn decode<T: DeserializeOwned + 'static>(
        &self,
        response: &Response,
    ) -> Result<T, Error> {
        if response.is_item_stream() {
            return Err(items::unexpected(response));
        }
        let limits = self.config.document();
        // That of the call, which may carry a blob in another one than the proxy's.
        let serializer = known(response.serializer)?;
        self.decoding(|| antifreeze_serial::decode_shared(serializer, &response.payload, &limits))
            .map_err(undecodable)
    }

    /// Runs `decode`, which decodes an answer: proxies in it have the settings of this one.
    pub(crate) fn decoding<R>(&self, decode: impl FnOnce() -> R) -> R {
        call::decoding_answer(&self.config, decode)
    }

    /// The result of a call: what came, or the nothing that a oneway method returns.
    pub(crate) fn result<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        response: Option<&Response>,
    ) -> Result<T, Error> {
        match response {
            Some(response) => self.decode(response),
            None => antifreeze_serial::from_value(Value::None).map_err(|_| {
                let text = format!("{method} is oneway, and returns nothing that can be used");
                Error::usage(text).with_sent(Sent::Maybe)
            }),
        }
    }
}

/// Whether the daemon closes the connection after it answered so (`server.py`, `handleRequest`).
pub(crate) fn ends_connection(error: &Error) -> bool {
    error.remote().is_some_and(is_last)
}

/// The same, of an answer that nobody has decoded yet.
pub(crate) fn is_last_answer(response: &Response) -> bool {
    let exception = || {
        let serializer = known(response.serializer).ok()?;
        decode_exception(serializer, &response.payload, &Limits::default()).ok()
    };
    response.is_exception() && exception().is_some_and(|exception| is_last(&exception))
}

fn is_last(exception: &Exception) -> bool {
    matches!(
        &*exception.class,
        "Pyro5.errors.SecurityError"
            | "Pyro5.errors.SerializeError"
            | "Pyro5.errors.CommunicationError"
            | "Pyro5.errors.ConnectionClosedError"
            | "Pyro5.errors.TimeoutError"
            | "Pyro5.errors.ProtocolError"
            | "Pyro5.errors.MessageTooLargeError"
    )
}

fn known(serializer: SerializerId) -> Result<Serializer, Error> {
    Serializer::from_id(serializer.0).ok_or_else(|| {
        Error::new(
            ErrorKind::Protocol,
            format!("unknown serializer {serializer} in an answer"),
        )
    })
}

fn undecodable(error: antifreeze_serial::Error) -> Error {
    Error::from(error)
        .context("the answer")
        .with_sent(Sent::Yes)
}
