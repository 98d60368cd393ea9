//! From a request to its reply: find the object, run the call or the batch, dress the answer.
//!
//! Knows no socket. A driver hands in what its connection asks for, and gets either the answer or a
//! promise of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use antifreeze_proto::{
    Accept, Annotations, CorrelationId, Flags, Handshake, Refuse, Reply, Request, SerializerId,
};
use antifreeze_serial::{
    CallHead, Exception, Limits, Raw, Serializer, Value, WrappedException, encode_fragment,
    encode_list_document,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::arguments::Arguments;
use super::class::Metadata;
use super::exception::{self, PYRO_ERROR, TYPE_ERROR};
use super::gate::Ticket;
use super::invocation::{Job, Progress, Room, Started, Step, Subject};
use super::outcome::{Encoded, Finished, Out};
use super::pending::Pending;
use super::registry::{Operation, Registry, Servant, SessionInstances};
use crate::call::{self, Peer, Serving};

/// The objects of a daemon, and the rules for calling them.
pub(crate) struct Rpc {
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) room: Room,
    pub(crate) validator: Option<Validator>,
}

/// Decides whether a client may connect; see
/// [`DaemonBuilder::on_handshake`](crate::DaemonBuilder::on_handshake).
pub(crate) type Validator = Box<
    dyn Fn(&HandshakeInfo) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> + Send + Sync,
>;

/// What a client says when it connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandshakeInfo {
    /// The object that it wants to use.
    pub object: String,
    /// What it sent to introduce itself; stock clients send `"hello"`.
    pub value: Value,
    /// Its address; none on a unix socket.
    pub address: Option<String>,
    /// The annotations of its message.
    pub annotations: Annotations,
}

/// One connection, seen from the objects.
pub(crate) struct Session {
    pub(crate) peer: Arc<Peer>,
    pub(crate) instances: SessionInstances,
}

impl Session {
    pub(crate) fn new(address: Option<String>) -> Self {
        Self {
            peer: Arc::new(Peer { address }),
            instances: SessionInstances::default(),
        }
    }
}

/// The answer to a handshake.
pub(crate) enum Verdict {
    Accept(Accept),
    Refuse(Refuse),
    /// Not even a refusal can be encoded: there is no such serializer.
    Close,
}

/// The answer to a request.
pub(crate) enum Answer {
    Now(Finished),
    /// It waits for its object. The ticket ends the wait early.
    Later(Arc<Pending>, Option<Ticket>),
    /// There is no such serializer, so no answer can be given.
    Close,
}

/// What is needed to make a reply of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    serializer: Serializer,
    correlation: CorrelationId,
    batch: bool,
}

/// What a batch and the calls in it have in common.
struct Order<'a> {
    servant: &'a Arc<dyn Servant>,
    id: &'a Arc<str>,
    out: Out,
    annotations: &'a Annotations,
    correlation: CorrelationId,
    started: Option<Started>,
}

impl Rpc {
    /// Answers a client that wants to connect; with `refusal` it cannot.
    pub(crate) fn handshake(
        &self,
        session: &Session,
        handshake: Handshake,
        refusal: Option<&str>,
    ) -> Verdict {
        let Some(serializer) = serializer(handshake.serializer) else {
            warn!(
                serializer = handshake.serializer.0,
                "unknown serializer in a handshake"
            );
            return Verdict::Close;
        };
        #[derive(Deserialize)]
        struct Hello {
            handshake: Value,
            object: String,
        }
        #[derive(Serialize)]
        struct Welcome {
            handshake: Value,
            meta: Metadata,
        }
        let answer = antifreeze_serial::decode(serializer, &handshake.payload, &self.limits)
            .map_err(|error| error.to_string())
            .and_then(|hello: Hello| {
                if let Some(refusal) = refusal {
                    return Err(refusal.to_owned());
                }
                let Some(meta) = self.registry.metadata(&hello.object) else {
                    return Err("unknown object".to_owned());
                };
                let handshake = match &self.validator {
                    None => Value::from("hello"),
                    Some(validate) => validate(&HandshakeInfo {
                        object: hello.object,
                        value: hello.handshake,
                        address: session.peer.address.clone(),
                        annotations: handshake.annotations.clone(),
                    })
                    .map_err(|error| error.to_string())?,
                };
                antifreeze_serial::encode(serializer, &Welcome { handshake, meta })
                    .map_err(|error| format!("the handshake cannot be answered: {error}"))
            });
        let correlation = Some(
            handshake
                .correlation
                .unwrap_or_else(call::new_correlation_id),
        );
        let serializer_id = handshake.serializer;
        match answer {
            Ok(payload) => Verdict::Accept(Accept {
                serializer: serializer_id,
                correlation,
                annotations: Annotations::new(),
                payload: payload.into(),
            }),
            Err(why) => {
                debug!(%why, "connection refused");
                // Text can be encoded by every serializer that we have.
                let payload = antifreeze_serial::encode(serializer, &why).unwrap_or_default();
                Verdict::Refuse(Refuse {
                    serializer: serializer_id,
                    correlation,
                    annotations: Annotations::new(),
                    payload: payload.into(),
                })
            }
        }
    }

    /// Runs what `request` asks for.
    ///
    /// `started` is called when a oneway call has taken its place and before its method runs; if it
    /// is not called by the time this returns, the request is over or waits for its object.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: &Request,
        started: Option<Started>,
    ) -> (Answer, Option<Envelope>) {
        let Some(serializer) = serializer(request.serializer) else {
            warn!(
                serializer = request.serializer.0,
                "unknown serializer in a request"
            );
            return (Answer::Close, None);
        };
        let envelope = Envelope {
            serializer,
            correlation: request.correlation.unwrap_or_else(call::new_correlation_id),
            batch: request.batch,
        };
        let answer = match self.call(session, request, envelope, started) {
            Ok(Step(Progress::Done(finished))) => Answer::Now(finished),
            Ok(Step(Progress::Parked(pending, ticket))) => Answer::Later(pending, ticket),
            Ok(Step(Progress::Missing(exception))) => Answer::Now(Finished::raised(exception)),
            Err(exception) => Answer::Now(Finished::raised(exception)),
        };
        (answer, Some(envelope))
    }

    fn call(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: &Request,
        envelope: Envelope,
        started: Option<Started>,
    ) -> Result<Step, Exception> {
        let head =
            antifreeze_serial::scan_call(envelope.serializer, &request.payload, &self.limits)
                .map_err(|error| undecodable(&error))?;
        if request.keep_serialized {
            let text = "this version does not take serialized blobs yet";
            return Err(Exception::new(PYRO_ERROR, text));
        }
        let (id, servant) = self
            .registry
            .find(&head.object, &session.instances)
            .inspect_err(|exception| {
                debug!(object = %head.object, class = %exception.class, "no instance");
            })?;
        let order = Order {
            servant: &servant,
            id: &id,
            out: Out {
                serializer: envelope.serializer,
                fragment: false,
            },
            annotations: &request.annotations,
            correlation: envelope.correlation,
            started,
        };
        if request.batch {
            let batch = Batch {
                rpc: Arc::clone(self),
                peer: Arc::clone(&session.peer),
                servant: Arc::clone(&servant),
                id: Arc::clone(&id),
                payload: request.payload.clone(),
                annotations: request.annotations.clone(),
                envelope,
                results: Vec::new(),
                response: Annotations::new(),
            };
            // Oneway batches run in order on their connection, as in Pyro.
            return Ok(batch.run(&head.args));
        }
        self.invoke(&session.peer, order, &head)
    }

    fn invoke(
        &self,
        peer: &Arc<Peer>,
        order: Order<'_>,
        head: &CallHead<'_>,
    ) -> Result<Step, Exception> {
        let name;
        // Before the check for private names: these two mean access to an attribute.
        let operation = match &*head.method {
            "__getattr__" | "__setattr__" => {
                let mut items = head.args.items().map_err(|error| undecodable(&error))?;
                name = items
                    .next::<String>()
                    .map_err(|error| undecodable(&error))?
                    .ok_or_else(|| {
                        Exception::new(TYPE_ERROR, "the name of the attribute is missing")
                    })?;
                let arguments = Arguments::of_attribute(&name, items);
                if head.method == "__getattr__" {
                    Operation::Get(&name, arguments)
                } else {
                    Operation::Set(&name, arguments)
                }
            }
            _ => Operation::Call(head),
        };
        Ok(self.run(peer, order, operation))
    }

    fn run(&self, peer: &Arc<Peer>, mut order: Order<'_>, operation: Operation<'_>) -> Step {
        let mut make = |subject: Subject| Job {
            out: order.out,
            serving: Serving {
                annotations: order.annotations.clone(),
                correlation: order.correlation,
                peer: Arc::clone(peer),
            },
            subject,
            room: self.room.clone(),
            started: order.started.take(),
        };
        Arc::clone(order.servant).invoke(operation, &mut make, order.id)
    }
}

/// A batch that is being run, item by item; each takes the object's lock for itself.
struct Batch {
    rpc: Arc<Rpc>,
    peer: Arc<Peer>,
    servant: Arc<dyn Servant>,
    id: Arc<str>,
    payload: Bytes,
    annotations: Annotations,
    envelope: Envelope,
    results: Vec<Vec<u8>>,
    response: Annotations,
}

impl Batch {
    /// Runs the items that are left; `args` holds all of them.
    fn run(mut self, args: &Raw<'_>) -> Step {
        match self.advance(args) {
            Ok(Advance::Over) => Step::done(self.finish()),
            Ok(Advance::Parked(item, ticket)) => {
                let whole = Arc::new(Pending::default());
                let promise = Arc::clone(&whole);
                let host = Arc::clone(&self.rpc.room.host);
                let resume = move |finished| self.resume(finished, &promise);
                if let Some((resume, finished)) = item.on_complete(resume) {
                    host.spawn(Box::new(move || resume(finished)));
                }
                Step(Progress::Parked(whole, ticket))
            }
            Err(exception) => Step::done(Finished::raised(exception)),
        }
    }

    /// An item that had to wait is done: goes on, on the thread that ran it.
    fn resume(mut self, finished: Finished, promise: &Arc<Pending>) {
        if self.take(finished).is_break() {
            return promise.complete(self.finish());
        }
        let payload = self.payload.clone();
        let limits = self.rpc.limits;
        let step = match antifreeze_serial::scan_call(self.envelope.serializer, &payload, &limits) {
            Ok(head) => self.run(&head.args),
            Err(error) => Step::done(Finished::raised(undecodable(&error))),
        };
        match step.0 {
            Progress::Done(finished) => promise.complete(finished),
            Progress::Missing(exception) => promise.complete(Finished::raised(exception)),
            Progress::Parked(rest, _) => {
                let promise = Arc::clone(promise);
                let ready = rest.on_complete(move |finished| promise.complete(finished));
                if let Some((complete, finished)) = ready {
                    complete(finished);
                }
            }
        }
    }

    /// Runs items until one has to wait, one raises, or all are done.
    fn advance(&mut self, args: &Raw<'_>) -> Result<Advance, Exception> {
        let mut items = args.items().map_err(|error| undecodable(&error))?;
        for _ in 0..self.results.len() {
            items.next_raw().map_err(|error| undecodable(&error))?;
        }
        while let Some(item) = items.next_raw().map_err(|error| undecodable(&error))? {
            let head = batch_item(&item).map_err(|error| undecodable(&error))?;
            let order = Order {
                servant: &self.servant,
                id: &self.id,
                out: Out {
                    serializer: self.envelope.serializer,
                    fragment: true,
                },
                annotations: &self.annotations,
                correlation: self.envelope.correlation,
                started: None,
            };
            // Access to attributes is a private name here, and fails, as in Pyro.
            match self.rpc.run(&self.peer, order, Operation::Call(&head)).0 {
                Progress::Parked(item, ticket) => return Ok(Advance::Parked(item, ticket)),
                // A name that does not exist fails the whole batch, as in Pyro.
                Progress::Missing(exception) => return Err(exception),
                Progress::Done(finished) => {
                    if self.take(finished).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(Advance::Over)
    }

    /// Keeps the result of an item. An exception is the last result.
    fn take(&mut self, finished: Finished) -> ControlFlow<()> {
        let own = finished
            .annotations
            .iter()
            .map(|(id, value)| (id, value.clone()));
        self.response.extend(own);
        match finished.outcome.0 {
            Ok(fragment) => {
                self.results.push(fragment);
                ControlFlow::Continue(())
            }
            Err(exception) => {
                let fragment = encode_exception(*exception, |exception| {
                    let mut out = Vec::new();
                    let wrapped = WrappedException(exception.clone());
                    encode_fragment(self.envelope.serializer, &wrapped, &mut out)?;
                    Ok(out)
                });
                self.results.push(fragment);
                ControlFlow::Break(())
            }
        }
    }

    fn finish(self) -> Finished {
        let mut list = Vec::new();
        let outcome = match encode_list_document(self.envelope.serializer, &self.results, &mut list)
        {
            Ok(()) => Encoded(Ok(list)),
            Err(error) => Encoded::raised(Exception::new(PYRO_ERROR, error.to_string())),
        };
        Finished::new(outcome, self.response)
    }
}

/// How far a batch has come.
enum Advance {
    Over,
    Parked(Arc<Pending>, Option<Ticket>),
}

fn batch_item<'a>(item: &Raw<'a>) -> Result<CallHead<'a>, antifreeze_serial::Error> {
    let wrong = || {
        antifreeze_serial::Error::new(
            antifreeze_serial::ErrorKind::Type,
            "a batch consists of triples (method, arguments, keyword arguments)",
        )
    };
    let mut parts = item.items()?;
    Ok(CallHead {
        object: "".into(),
        method: parts.next_str()?.ok_or_else(wrong)?,
        args: parts.next_raw()?.ok_or_else(wrong)?,
        kwargs: parts.next_raw()?.ok_or_else(wrong)?,
    })
}

impl Envelope {
    /// Makes the reply of what a call left behind.
    pub(crate) fn seal(self, finished: Finished) -> Reply {
        let flags = Flags::NONE.with_if(Flags::BATCH, self.batch);
        let (flags, annotations, payload) = match finished.outcome.0 {
            Ok(payload) => (flags, finished.annotations, payload),
            // As in Pyro, only a normal result brings the annotations that the method set.
            Err(exception) => {
                let payload = encode_exception(*exception, |exception| {
                    antifreeze_serial::encode(self.serializer, exception)
                });
                (flags.with(Flags::EXCEPTION), Annotations::new(), payload)
            }
        };
        Reply {
            flags,
            correlation: Some(self.correlation),
            annotations,
            payload: payload.into(),
        }
    }
}

/// Encodes an exception; if a part of it cannot be, one that tells its text instead.
fn encode_exception(
    mut exception: Exception,
    encode: impl Fn(&Exception) -> Result<Vec<u8>, antifreeze_serial::Error>,
) -> Vec<u8> {
    if exception.traceback().is_empty() {
        exception::finish_traceback(&mut exception, "Pyro.Daemon", "dispatch");
    }
    encode(&exception).unwrap_or_else(|error| {
        let Exception { class, .. } = &exception;
        let text = exception.message();
        let mut plain = Exception::new(
            PYRO_ERROR,
            format!("Error serializing exception: {error}. Original exception: {class}: {text}"),
        );
        plain.set_traceback(exception.traceback());
        encode(&plain).unwrap_or_default()
    })
}

fn undecodable(error: &antifreeze_serial::Error) -> Exception {
    warn!(%error, "a request cannot be decoded");
    Exception::new(error.python_class(), error.to_string())
}

fn serializer(id: SerializerId) -> Option<Serializer> {
    // The whole of marshal is not there yet, so to peers it does not exist.
    Serializer::from_id(id.0).filter(|serializer| *serializer != Serializer::Marshal)
}
