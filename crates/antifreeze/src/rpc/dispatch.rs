//! From a request to its reply: find the object, run the call or the batch, dress the answer.
//!
//! Knows no socket. A driver hands in what its connection asks for, and gets either the answer or a
//! promise of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use antifreeze_proto::{
    Accept, AnnotationId, Annotations, CloseCause, CorrelationId, Flags, Handshake, Refuse, Reply,
    Request,
};
use antifreeze_serial::{CallHead, Exception, Limits, Serializer, Value};
use antifreeze_sync::frame::LazyFrame;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{debug, error, warn};

use super::arguments::Arguments;
use super::batch::Batch;
use super::class::Metadata;
use super::doors::Doors;
use super::exception::{self, PYRO_ERROR, TYPE_ERROR};
use super::instances::{Making, SessionInstances, Unmade};
use super::invocation::{Job, Progress, Started, Step, Subject};
use super::outcome::{Finished, Out, Outcome};
use super::pending::Pending;
use super::queue::{self, Reason, Ticket};
use super::registry::{Found, Registry};
use super::room::{Access, Held, Outside, Room, Stuck, is_over};
use super::servant::{Operation, Servant};
use super::streams::{Kept, Streams};
use crate::blob::BlobCall;
use crate::call::{self, Peer, Serving};
use crate::chain::{self, Beginning, Source};
use crate::config::Config;
use crate::deadlock;

/// The objects of a daemon, and the rules for calling them.
pub(crate) struct Rpc {
    pub(crate) registry: Registry,
    pub(crate) doors: Doors,
    pub(crate) config: Arc<Config>,
    pub(crate) limits: Limits,
    pub(crate) room: Arc<Room>,
    /// How large the answer to a batch may become.
    pub(crate) message_bytes: u64,
    pub(crate) validator: Option<Validator>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) on_disconnect: Option<OnDisconnect>,
    pub(crate) annotate: Option<Annotate>,
}

/// Decides whether a client may connect; see
/// [`DaemonBuilder::on_handshake`](crate::DaemonBuilder::on_handshake).
pub(crate) type Validator = Box<
    dyn Fn(&HandshakeInfo) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> + Send + Sync,
>;

/// Is told of clients that are gone; see
/// [`DaemonBuilder::on_disconnect`](crate::DaemonBuilder::on_disconnect).
pub(crate) type OnDisconnect = Arc<dyn Fn(&ClientInfo) + Send + Sync>;

/// A client that was let in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The number of its connection, which no other connection to the daemon ever has; a method sees
    /// it as [`call::client_id`].
    pub id: u64,
    /// The object that it wanted to use when it connected.
    pub object: String,
    /// Its address; none on a unix socket.
    pub address: Option<String>,
}
/// What goes with every answer; see [`DaemonBuilder::annotations`](crate::DaemonBuilder::annotations).
pub(crate) type Annotate = Box<dyn Fn() -> Annotations + Send + Sync>;

/// What a client says when it connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandshakeInfo {
    /// The number of its connection, as in [`ClientInfo`].
    pub client: u64,
    /// The object that it wants to use.
    pub object: String,
    /// What it sent to introduce itself; stock clients send `"hello"`.
    pub value: Value,
    /// Its address; none on a unix socket.
    pub address: Option<String>,
    /// The annotations of its message.
    pub annotations: Annotations,
    /// Its correlation id, or one made for this handshake.
    pub correlation_id: CorrelationId,
}

/// One connection, seen from the objects.
pub(crate) struct Session {
    pub(crate) peer: Arc<Peer>,
    pub(crate) instances: SessionInstances,
    beginning: Beginning,
    /// The object that it wanted to use, once it was let in; nobody else than the hook wants to know.
    accepted: OnceLock<Box<str>>,
}

impl Session {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer: Arc::new(peer),
            instances: SessionInstances::default(),
            beginning: Beginning::default(),
            accepted: OnceLock::new(),
        }
    }
}

/// The answer to a handshake.
pub(crate) enum Verdict {
    Accept(Accept),
    Refuse(Refuse),
    /// Not even a refusal can be encoded.
    Close(CloseCause),
}

/// The answer to a request.
pub(crate) enum Answer {
    Now(Finished),
    /// It waits for its object. The ticket ends the wait early.
    Later(Arc<Pending>, Option<Ticket>),
}

/// What is needed to make a reply of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(super) serializer: Serializer,
    correlation: CorrelationId,
    batch: bool,
    /// The caller is a program of ours.
    native: bool,
}

/// A request that can be run, now or when its object is there.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) rpc: Arc<Rpc>,
    pub(super) session: Arc<Session>,
    /// Shared with everything that is decoded from it.
    pub(super) payload: Bytes,
    pub(super) annotations: Annotations,
    /// The payload is to be left as it is.
    blob: bool,
    pub(super) envelope: Envelope,
    /// When the caller gives up.
    pub(super) deadline: Option<Instant>,
    /// Where it comes from, as far as that is believed.
    source: Option<Source>,
}

/// What a request asks for, before any of its arguments is decoded.
enum Head<'a> {
    Call(CallHead<'a>),
    Blob(BlobCall),
}

impl Head<'_> {
    fn object(&self) -> &str {
        match self {
            Self::Call(head) => &head.object,
            Self::Blob(call) => &call.object,
        }
    }
}

impl Rpc {
    /// Answers a client that wants to connect; with `refusal` it cannot.
    pub(crate) fn handshake(
        &self,
        session: &Session,
        handshake: Handshake,
        refusal: Option<&str>,
    ) -> Verdict {
        let Some(serializer) = Serializer::from_id(handshake.serializer.0) else {
            warn!(
                serializer = handshake.serializer.0,
                "expected serpent, marshal, json or msgpack in a handshake, got another serializer"
            );
            return Verdict::Close(unknown_serializer());
        };
        #[derive(Deserialize)]
        struct Hello {
            handshake: Value,
            object: String,
        }
        #[derive(Serialize)]
        struct Welcome<'a> {
            handshake: Value,
            meta: &'a Metadata,
        }
        let correlation = handshake
            .correlation
            .unwrap_or_else(call::new_correlation_id);
        let serializer_id = handshake.serializer;
        let answer = antifreeze_serial::decode(serializer, &handshake.payload, &self.limits)
            .map_err(|error| error.to_string())
            .and_then(|hello: Hello| {
                if let Some(refusal) = refusal {
                    return Err(refusal.to_owned());
                }
                let Some(meta) = self.registry.metadata(&hello.object) else {
                    return Err("unknown object".to_owned());
                };
                let handshake = self.validate(
                    session,
                    HandshakeInfo {
                        client: session.peer.id,
                        object: hello.object.clone(),
                        value: hello.handshake,
                        address: session.peer.address.clone(),
                        annotations: handshake.annotations,
                        correlation_id: correlation,
                    },
                )?;
                let meta = &*meta;
                let welcome =
                    antifreeze_serial::encode(serializer, &Welcome { handshake, meta })
                        .map_err(|error| format!("the handshake cannot be answered: {error}"))?;
                if self.on_disconnect.is_some() {
                    // It shakes hands once.
                    let _ = session.accepted.set(hello.object.into());
                }
                Ok(welcome)
            });
        match answer {
            Ok(payload) => Verdict::Accept(Accept {
                serializer: serializer_id,
                correlation: Some(correlation),
                annotations: self.annotations(),
                payload: payload.into(),
            }),
            Err(why) => {
                debug!(%why, "connection refused");
                // Text can be encoded by every serializer that we have.
                let payload = antifreeze_serial::encode(serializer, &why).unwrap_or_default();
                Verdict::Refuse(Refuse {
                    serializer: serializer_id,
                    correlation: Some(correlation),
                    annotations: self.annotations(),
                    payload: payload.into(),
                })
            }
        }
    }

    /// Runs what `request` asks for.
    ///
    /// `started` is called when a oneway call has taken its place and before its method runs; if it
    /// is not called by the time this returns, the request is over or waits for its object.
    ///
    /// # Errors
    ///
    /// No answer can be given, and the connection is to be closed for this.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut request: Box<Request>,
        started: Option<Started>,
    ) -> Result<(Answer, Envelope), CloseCause> {
        let Some(serializer) = Serializer::from_id(request.serializer.0) else {
            warn!(
                serializer = request.serializer.0,
                "expected serpent, marshal, json or msgpack in a request, got another serializer"
            );
            return Err(unknown_serializer());
        };
        let payload = request.payload.inflate()?.clone();
        let envelope = Envelope {
            serializer,
            correlation: request.correlation.unwrap_or_else(call::new_correlation_id),
            batch: request.batch,
            native: request.peer.is_some(),
        };
        let order = Order {
            rpc: Arc::clone(self),
            session: Arc::clone(session),
            payload,
            annotations: std::mem::take(&mut request.annotations),
            blob: request.keep_serialized,
            envelope,
            deadline: request.deadline.and_then(|at| self.room.host.instant(at)),
            source: Source::of(&request),
        };
        // A call that waits keeps what is decoded of it, and not its bytes.
        drop(request);
        let step = if is_over(order.deadline) {
            Err(Stuck::late().exception(""))
        } else {
            order.find(started)
        };
        let answer = match step {
            Ok(Step(Progress::Done(finished))) => Answer::Now(finished),
            Ok(Step(Progress::Parked(pending, ticket))) => Answer::Later(pending, ticket),
            Ok(Step(Progress::Missing(exception))) | Err(exception) => {
                Answer::Now(Finished::raised(exception))
            }
        };
        Ok((answer, envelope))
    }

    /// A connection has ended: closes what belongs to it, and tells the user's hook.
    ///
    /// That is the user's code, which runs on a thread that may block, if there is any.
    pub(crate) fn end(&self, session: &Arc<Session>) {
        let Some(resources) = session.peer.end() else {
            // It was told already.
            return;
        };
        self.streams.leave(&session.peer);
        let hook = self.on_disconnect.clone();
        let hook = hook.zip(session.accepted.get().map(|object| ClientInfo {
            id: session.peer.id,
            object: object.to_string(),
            address: session.peer.address.clone(),
        }));
        if hook.is_none() && resources.is_empty() && session.instances.is_empty() {
            return;
        }
        let session = Arc::clone(session);
        self.room.run_eventually("on_disconnect", move || {
            let serving = Serving {
                annotations: Annotations::new(),
                correlation: call::new_correlation_id(),
                peer: Arc::clone(&session.peer),
                deadline: None,
                source: None,
            };
            let guarded = |what: &str, run: &dyn Fn()| {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    let message = exception::from_panic(&*panic, what).message();
                    error!(message, "what follows the end of a connection panicked");
                }
            };
            serving.scope(|| {
                if let Some((hook, client)) = hook {
                    guarded("on_disconnect", &|| hook(&client));
                }
                for resource in resources {
                    guarded("close", &|| resource.close());
                }
            });
            // Its instances may go now.
            drop(session);
        });
    }

    /// Whether this thread serves a call of this daemon.
    pub(super) fn is_serving(&self) -> bool {
        // A daemon's settings are its own, also where they say the same.
        call::settings().is_some_and(|settings| Arc::ptr_eq(&settings, &self.config))
    }

    /// What the program wants to go with every answer.
    fn annotations(&self) -> Annotations {
        let Some(annotate) = &self.annotate else {
            return Annotations::new();
        };
        match catch_unwind(AssertUnwindSafe(annotate)) {
            Ok(mut annotations) => {
                annotations.retain(|id, _| !call::is_of_one_hop(id));
                annotations
            }
            Err(panic) => {
                let exception = exception::from_panic(&*panic, "annotations");
                error!(error = %exception.message(), "an answer goes without annotations");
                Annotations::new()
            }
        }
    }

    /// Lets the user's validator decide; the error is the text of the refusal.
    fn validate(&self, session: &Session, info: HandshakeInfo) -> Result<Value, String> {
        let Some(validate) = &self.validator else {
            return Ok(Value::from("hello"));
        };
        let serving = Serving {
            annotations: info.annotations.clone(),
            correlation: info.correlation_id,
            peer: Arc::clone(&session.peer),
            deadline: None,
            source: None,
        };
        let decided = serving.scope(|| catch_unwind(AssertUnwindSafe(|| validate(&info))));
        match decided {
            Ok(decided) => decided.map_err(|error| error.to_string()),
            Err(panic) => Err(exception::from_panic(&*panic, "on_handshake").message()),
        }
    }
}

impl Order {
    /// Finds the object, makes its instance if it must, and runs the request.
    fn find(self, started: Option<Started>) -> Result<Step, Exception> {
        let payload = self.payload.clone();
        let head = self.scan(&payload)?;
        let (id, found) = self
            .rpc
            .registry
            .find(head.object(), &self.session.instances)?;
        let unmade = match found {
            Found::Ready(servant) => return self.run(&id, &servant, head, started),
            Found::Unmade(unmade) => unmade,
        };
        if !self.rpc.room.host.may_block() {
            drop(head);
            return Ok(self.find_elsewhere(started));
        }
        let unmade = Arc::new(unmade);
        match unmade.place() {
            Some(place) => self.make::<Making>(place, &unmade, id, head, started),
            None => self.make::<Outside>(&(), &unmade, id, head, started),
        }
    }

    /// The same on a thread that may block, as the code that makes an instance does.
    fn find_elsewhere(self, started: Option<Started>) -> Step {
        let host = Arc::clone(&self.rpc.room.host);
        let (pending, ticket) = (Arc::new(Pending::default()), Ticket::default());
        let (answer, its) = (Arc::clone(&pending), ticket.clone());
        host.spawn(Box::new(move || {
            if !its.may_expire() {
                // Nothing has begun that could end.
                let reason = its.leave().unwrap_or(Reason::Lost);
                return answer.complete(Finished::raised(exception::ended(reason)));
            }
            let step = self.find(started);
            let step = step.unwrap_or_else(|e| Step::done(Finished::raised(e)));
            answer.follow(step, &its);
        }));
        Step(Progress::Parked(pending, Some(ticket)))
    }

    /// Makes the instance and then runs the request. Making it is a frame of its own.
    fn make<G: Access>(
        self,
        place: &G::Of,
        unmade: &Arc<Unmade>,
        id: Arc<str>,
        head: Head<'_>,
        started: Option<Started>,
    ) -> Result<Step, Exception> {
        let room = Arc::clone(&self.rpc.room);
        let mut frame = self.frame(&id, "__init__");
        let had = match room.try_enter::<G>(place, frame.id(), true) {
            Ok(held) => {
                let made = frame.enter(|| self.serving(|| unmade.make()));
                drop(held);
                return self.run(&id, &made?, head, started);
            }
            Err(had) => had,
        };
        let waiting = frame.frame().clone();
        let deadline = self.deadline;
        let (pending, ticket) = (Arc::new(Pending::default()), Ticket::default());
        let work = {
            let (unmade, pending) = (Arc::clone(unmade), Arc::clone(&pending));
            let ticket = ticket.clone();
            Box::new(move |entered: Result<Held<G>, Stuck>| {
                let made = match entered {
                    Ok(held) => {
                        let made = frame.enter(|| self.serving(|| unmade.make()));
                        drop(held);
                        made
                    }
                    Err(stuck) => Err(stuck.exception(&id)),
                };
                let step = made.and_then(|servant| {
                    let payload = self.payload.clone();
                    self.run(&id, &servant, self.scan(&payload)?, started)
                });
                let step = step.unwrap_or_else(|e| Step::done(Finished::raised(e)));
                pending.follow(step, &ticket);
            })
        };
        if let Some(first) = room.wait(place, had, &waiting, true, deadline, work) {
            // Unless the call has come further meanwhile.
            ticket.begin(queue::Pending::Step(first));
        }
        Ok(Step(Progress::Parked(pending, Some(ticket))))
    }

    fn scan<'a>(&self, payload: &'a Bytes) -> Result<Head<'a>, Exception> {
        let (serializer, limits) = (self.envelope.serializer, &self.rpc.limits);
        if self.blob {
            return BlobCall::read(&self.annotations, serializer, payload, limits).map(Head::Blob);
        }
        antifreeze_serial::scan_call(serializer, payload, limits)
            .map(Head::Call)
            .map_err(|error| undecodable(&error))
    }

    fn run(
        &self,
        id: &Arc<str>,
        servant: &Arc<dyn Servant>,
        head: Head<'_>,
        started: Option<Started>,
    ) -> Result<Step, Exception> {
        let head = match head {
            Head::Call(head) => head,
            Head::Blob(_) if self.envelope.batch => {
                let text = "a batch cannot be a serialized blob";
                return Err(Exception::new(TYPE_ERROR, text));
            }
            Head::Blob(BlobCall { method, blob, .. }) => {
                let operation = Operation::Blob(&method, blob);
                return Ok(self.invoke(id, servant, operation, false, started));
            }
        };
        if self.envelope.batch {
            // Oneway batches run in order on their connection, as in Pyro.
            let (id, servant) = (Arc::clone(id), Arc::clone(servant));
            return Ok(Batch::new(self.clone(), id, servant).run(&head.args));
        }
        let name;
        // Before the check for private names: these two mean access to an attribute.
        let operation = match &*head.method {
            "__getattr__" | "__setattr__" => {
                let mut items = head.args.items().map_err(|error| undecodable(&error))?;
                let missing = || Exception::new(TYPE_ERROR, "the name of the attribute is missing");
                name = items
                    .next_str()
                    .map_err(|error| undecodable(&error))?
                    .ok_or_else(missing)?;
                let arguments = Arguments::of_attribute(&name, &self.payload, items);
                if head.method == "__getattr__" {
                    Operation::Get(&name, arguments)
                } else {
                    Operation::Set(&name, arguments)
                }
            }
            _ => Operation::Call(&head, &self.payload),
        };
        Ok(self.invoke(id, servant, operation, false, started))
    }

    /// Runs one operation; its result is an item of a batch if `fragment`.
    pub(super) fn invoke(
        &self,
        id: &Arc<str>,
        servant: &Arc<dyn Servant>,
        operation: Operation<'_>,
        fragment: bool,
        mut started: Option<Started>,
    ) -> Step {
        let mut make = |subject: Subject| {
            let frame = self.frame(&subject.object, subject.member);
            Job {
                out: Out {
                    serializer: self.envelope.serializer,
                    fragment,
                },
                serving: self.context_of(&frame),
                frame,
                subject,
                room: Arc::clone(&self.rpc.room),
                started: started.take(),
            }
        };
        Arc::clone(servant).invoke(operation, &mut make, id)
    }

    /// Runs `f`, which does not unwind, as a part of serving this request.
    fn serving<R>(&self, f: impl FnOnce() -> R) -> R {
        self.context(self.source.clone()).scope(f)
    }

    fn context(&self, source: Option<Source>) -> Serving {
        Serving {
            annotations: self.annotations.clone(),
            correlation: self.envelope.correlation,
            peer: Arc::clone(&self.session.peer),
            deadline: self.deadline,
            source,
        }
    }

    /// The same, served by this frame.
    fn context_of(&self, frame: &LazyFrame) -> Serving {
        let served_by = |source: &Source| source.served_by(frame.id(), &self.session.peer);
        self.context(self.source.as_ref().map(served_by))
    }

    /// A frame for a call of `member`, which knows where it comes from.
    fn frame(&self, object: &Arc<str>, member: &'static str) -> LazyFrame {
        LazyFrame::from_call(Arc::clone(object), member, |frame| {
            chain::origin(self.source.as_ref(), frame, &self.session.beginning)
        })
    }
}

impl Envelope {
    /// Makes the reply of what a call left behind; a stream is kept for this client.
    pub(crate) fn seal(self, rpc: &Rpc, finished: Finished, client: &Peer) -> Reply {
        let mut reply = self.seal_bare(rpc, finished, client);
        // Those of the daemon replace those of the method, as in Pyro.
        reply.annotations.extend(rpc.annotations());
        reply
    }

    /// The same without the annotations of the daemon.
    pub(crate) fn seal_bare(self, rpc: &Rpc, finished: Finished, client: &Peer) -> Reply {
        let flags = Flags::NONE.with_if(Flags::BATCH, self.batch);
        let (flags, annotations, payload) = match finished.outcome.0 {
            Outcome::Returned(payload) => (flags, finished.annotations, payload),
            // As in Pyro, only a normal result brings the annotations that the method set.
            Outcome::Raised(mut exception) => {
                if !self.native {
                    // It may hand that on to others, for whom it would not be true.
                    deadlock::forbid_retry(&mut exception);
                }
                let payload = self.encode_exception(*exception);
                (flags.with(Flags::EXCEPTION), Annotations::new(), payload)
            }
            Outcome::Stream(stream) => {
                let flags = flags.with(Flags::EXCEPTION);
                let streaming = flags.with(Flags::ITEM_STREAM);
                let none = Annotations::new();
                match rpc.streams.keep(*stream, client) {
                    Kept::As(id) => {
                        let id = (AnnotationId::known(b"STRM"), id.to_string().into());
                        let named = [id].into_iter().collect();
                        (streaming, named, self.encode_stream_marker())
                    }
                    Kept::Disabled => (streaming, none, self.encode_stream_marker()),
                    Kept::Refused(why) => (flags, none, self.encode_exception(why)),
                }
            }
        };
        Reply {
            flags,
            correlation: Some(self.correlation),
            annotations,
            payload: payload.into(),
        }
    }

    /// What stands in the place of a result that is a stream (`server.py`, `handleRequest`).
    fn encode_stream_marker(self) -> Bytes {
        let text = "result of call is an iterator";
        let mut marker = Exception::new("Pyro5.errors.ProtocolError", text);
        marker.set_attribute("_pyroTraceback", Value::None);
        let encoded = antifreeze_serial::encode(self.serializer, &marker);
        encoded.unwrap_or_default().into()
    }

    fn encode_exception(self, exception: Exception) -> Bytes {
        let encode = |exception: &Exception| antifreeze_serial::encode(self.serializer, exception);
        encode_exception(exception, encode).into()
    }
}

/// Encodes an exception; if a part of it cannot be, one that tells its text instead.
pub(super) fn encode_exception(
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

fn unknown_serializer() -> CloseCause {
    CloseCause::Local("unknown serializer".into())
}

pub(super) fn undecodable(error: &antifreeze_serial::Error) -> Exception {
    warn!(%error, "a request cannot be decoded");
    Exception::new(error.python_class(), error.to_string())
}
