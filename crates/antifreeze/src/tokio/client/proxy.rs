//! The handle of a remote object for tasks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::tokio::time::sleep;
use antifreeze_proto::{Annotations, Response, Seq};
use antifreeze_serial::{Serializer, Value, encode_call, memory};
use antifreeze_sync::calls;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};

use super::connection::{Answer, Asking, Connection, Later, Message};
use super::items::Items;
use super::naming;
use super::turns::{Turn, Turns};
use super::wire::now;
use crate::blob::SerializedBlob;
use crate::call;
use crate::chain::{self, By};
use crate::client::ProxyBuilder;
use crate::client::batch::Batch;
use crate::client::crank::{Outgoing, Payload, Shape};
use crate::client::items::{self, Returned, Stream};
use crate::client::remote::{Remote, ends_connection};
use crate::client::retry::{Attempts, Patience};
use crate::detector;
use crate::error::{Error, ErrorKind, Sent};
use crate::rpc::Metadata;
use crate::uri::{IntoUri, Uri};

/// A remote object, as if it were here, for tasks.
///
/// It is [`antifreeze::Proxy`](crate::Proxy) with `.await`: one session on one connection, shared by
/// its clones; it connects at its first use, reconnects by itself, and never sends a call twice that
/// may have run, unless it is declared [`idempotent`](Proxy::idempotent).
///
/// With an Antifreeze daemon, calls of several tasks are in flight at the same time, each answered
/// when it is done; they are sent in the order in which they were made. A Pyro5 daemon gets one at
/// a time.
///
/// A connection belongs to the runtime in which it was made, and ends with it; the next call opens
/// another one in its own runtime.
///
/// # Cancel safety
///
/// Every future here may be dropped at any time. A call that was not begun to be sent then never
/// is; of one that was, the answer is read and thrown away, and it may run. The session stays of
/// use: with a Pyro5 daemon, which knows one call at a time, the next caller waits for that answer.
///
/// # Examples
///
/// ```
/// use antifreeze::tokio::Proxy;
/// use antifreeze::{Daemon, expose};
///
/// struct Echo;
///
/// #[expose]
/// impl Echo {
///     fn echo(&self, text: String) -> String {
///         text
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let daemon = Daemon::bind("localhost:0")?;
/// # let uri = daemon.register("echo", Echo)?;
/// # let running = daemon.start()?;
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let echo = Proxy::connect(uri).await?;
/// let answer: String = echo.call("echo", ("hello",)).await?;
/// assert_eq!(answer, "hello");
/// # drop(running);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Proxy {
    core: Arc<Core>,
    limit: Option<Duration>,
    idempotent: bool,
}

/// What the clones of a proxy share.
struct Core {
    remote: Remote,
    turns: Arc<Turns>,
    sessions: Box<[Mutex<Session>]>,
    /// How often it was released: connections made before are closed, not used.
    releases: AtomicU64,
}

#[derive(Default)]
struct Session {
    connection: Option<Arc<Connection>>,
    seq: Seq,
    /// [`Core::releases`] when the connection was made.
    releases: u64,
    /// Whether there was a connection before, so that a lost one is worth some patience.
    connected_before: bool,
}

impl ProxyBuilder<Proxy> {
    /// A proxy that connects at its first use.
    pub fn lazy(self) -> Result<Proxy, Error> {
        let remote = self.remote();
        detector::start(&remote.config);
        Ok(Proxy {
            limit: remote.config.call_deadline,
            idempotent: false,
            core: Core::new(remote, 1),
        })
    }

    /// A proxy that is connected.
    ///
    /// # Errors
    ///
    /// As [`ProxyBuilder::lazy`] and [`Proxy::connect`].
    pub async fn connect(self) -> Result<Proxy, Error> {
        let proxy = self.lazy()?;
        proxy.bind().await?;
        Ok(proxy)
    }
}

impl Proxy {
    /// A proxy for the object at `uri`, connected.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Uri`]: the text is no URI.
    /// - [`ErrorKind::Naming`]: the name server was not found, or does not know the name.
    /// - [`ErrorKind::Connect`], [`ErrorKind::Timeout`]: the daemon cannot be reached.
    /// - [`ErrorKind::Refused`]: the daemon does not have the object, or does not let us in.
    /// - [`ErrorKind::Usage`]: this is no tokio runtime.
    ///
    /// # Panics
    ///
    /// If the runtime has I/O or time disabled.
    pub async fn connect(uri: impl IntoUri) -> Result<Self, Error> {
        Self::builder(uri)?.connect().await
    }

    /// A proxy that connects at its first use.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the text is no URI.
    pub fn new(uri: impl IntoUri) -> Result<Self, Error> {
        Self::builder(uri)?.lazy()
    }

    /// Settings for a proxy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the text is no URI.
    pub fn builder(uri: impl IntoUri) -> Result<ProxyBuilder<Self>, Error> {
        ProxyBuilder::new(uri)
    }

    /// Settings for a proxy of the object with this id, at the other end of a connection that is there
    /// already; see [`DaemonBuilder::connected_socket`](crate::DaemonBuilder::connected_socket).
    ///
    /// There is no handshake. When the connection ends, so do the calls of the proxy, for good. The
    /// socket belongs to it, and is closed with it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if it is no connected stream, [`ErrorKind::Uri`] if the id is none.
    pub fn connected_socket(
        object: &str,
        socket: impl Into<OwnedFd>,
    ) -> Result<ProxyBuilder<Self>, Error> {
        ProxyBuilder::connected_socket(object, socket.into())
    }

    /// The URI that this proxy was made with.
    pub fn uri(&self) -> &Uri {
        &self.remote().uri
    }

    /// The serializer of its calls.
    pub fn serializer(&self) -> Serializer {
        self.remote().serializer
    }

    /// Calls a method and waits for what it returns.
    ///
    /// `args` is a tuple or list of the arguments; `()` is none. A method that the object declares
    /// oneway is sent without waiting, and returns None.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Remote`]: the method raised; [`Error::remote`] has the exception.
    /// - [`ErrorKind::Timeout`]: no answer within the time allowed. To a Pyro5 daemon the connection
    ///   is closed, because a late answer could be taken for the next one's. The method may still
    ///   run.
    /// - [`ErrorKind::Closed`]: the connection ended; [`Error::sent`] tells whether it may have run.
    /// - [`ErrorKind::Serialize`]: an argument cannot be encoded, or the result is no `T`.
    /// - and those of [`Proxy::connect`], if it had to connect.
    pub async fn call<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<T, Error> {
        self.call_kw(method, args, ()).await
    }

    /// Calls a method with keyword arguments, too: a map, or a struct with their names as fields.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub async fn call_kw<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<T, Error> {
        let response = self
            .send(Shape::Call, method, move |object, serializer, out| {
                encode_call(serializer, object, method, &args, &kwargs, out)
            })
            .await?;
        self.refuse_stream(response.as_ref());
        self.remote().result(method, response.as_ref())
    }

    /// Calls a method that returns an item stream: in Python an iterator or generator.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]; [`ErrorKind::Usage`] if the result is a value and no stream, or if the daemon
    /// serves no streams.
    pub async fn stream<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<Items<T>, Error> {
        self.stream_kw(method, args, ()).await
    }

    /// Calls a method that returns an item stream, with keyword arguments, too.
    ///
    /// # Errors
    ///
    /// As [`Proxy::stream`].
    pub async fn stream_kw<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<Items<T>, Error> {
        let response = self
            .exchange(Shape::Call, method, move |object, serializer, out| {
                encode_call(serializer, object, method, &args, &kwargs, out)
            })
            .await?;
        self.items(&response)
    }

    /// Reads an attribute that is an item stream.
    ///
    /// # Errors
    ///
    /// As [`Proxy::stream`].
    pub async fn stream_attr<T: DeserializeOwned + 'static>(
        &self,
        name: &str,
    ) -> Result<Items<T>, Error> {
        self.items(&self.read_attr(name).await?)
    }

    /// Calls a method, with keyword arguments, of which it is not known whether it returns a value or an
    /// item stream: for programs that show what there is.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]; [`ErrorKind::Usage`] if the result is a stream and the daemon serves none.
    pub async fn call_any<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<Returned<T, Items<T>>, Error> {
        let sent = self
            .send(Shape::Call, method, move |object, serializer, out| {
                encode_call(serializer, object, method, &args, &kwargs, out)
            })
            .await?;
        match sent {
            Some(response) if response.is_item_stream() => {
                self.items(&response).map(Returned::Items)
            }
            sent => {
                let value = self.remote().result(method, sent.as_ref())?;
                Ok(Returned::Value(value))
            }
        }
    }

    /// Reads an attribute of which it is not known whether it is a value or an item stream.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call_any`].
    pub async fn attr_any<T: DeserializeOwned + 'static>(
        &self,
        name: &str,
    ) -> Result<Returned<T, Items<T>>, Error> {
        let response = self.read_attr(name).await?;
        if response.is_item_stream() {
            self.items(&response).map(Returned::Items)
        } else {
            self.remote().decode(&response).map(Returned::Value)
        }
    }

    fn items<T: DeserializeOwned + 'static>(&self, response: &Response) -> Result<Items<T>, Error> {
        // An item that was sent is gone, so to ask again would be to leave one out.
        let proxy = Self {
            idempotent: false,
            ..self.clone()
        };
        Ok(Items::new(proxy, Stream::of(response)?))
    }

    /// Ends a stream that somebody got who wanted a value.
    fn refuse_stream(&self, response: Option<&Response>) {
        let stream = response.filter(|response| response.is_item_stream());
        if let Some(Ok(mut stream)) = stream.map(Stream::of)
            && let Some(id) = stream.end()
        {
            self.close_stream(&id);
        }
    }

    /// Tells the daemon that nobody wants a stream any more, if there is a connection.
    pub(super) fn close_stream(&self, id: &str) {
        let core = &self.core;
        let releases = core.releases.load(Ordering::Relaxed);
        let serializer = self.remote().serializer;
        let connection = core
            .sessions
            .iter()
            .find_map(|session| session.lock().usable(releases));
        if let Some(connection) = connection
            && let Some(payload) = items::encode_close(serializer, id)
        {
            let waiting = chain::begin(By::Task, &connection.route, true, false, None);
            let chain = chain::told(By::Task, &waiting, true, &connection.route);
            connection.send_on(Box::new(Outgoing::new(Shape::Oneway, payload, chain)));
        }
    }

    /// Calls a method without waiting: returns when the request is handed to the socket.
    ///
    /// Whether it ran is not known.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`], of what can go wrong until then.
    pub async fn oneway(&self, method: &str, args: impl Serialize) -> Result<(), Error> {
        self.oneway_kw(method, args, ()).await
    }

    /// Calls a method without waiting, with keyword arguments, too.
    ///
    /// # Errors
    ///
    /// As [`Proxy::oneway`].
    pub async fn oneway_kw(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<(), Error> {
        let sent = self.send(Shape::Oneway, method, move |object, serializer, out| {
            encode_call(serializer, object, method, &args, &kwargs, out)
        });
        sent.await.map(|_| ())
    }

    /// Calls a method with a serialized blob, which is the only argument.
    ///
    /// The call and its answer are in the serializer of the blob. What the blob holds is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub async fn call_blob<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        blob: &SerializedBlob,
    ) -> Result<T, Error> {
        let payload = move |object: &str| Payload::of_blob(blob, object, method);
        let response = self.send_payload(Shape::Call, method, payload).await?;
        self.remote().result(method, response.as_ref())
    }

    /// Reads an attribute.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub async fn attr<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<T, Error> {
        let response = self.read_attr(name).await?;
        self.refuse_stream(Some(&response));
        self.remote().decode(&response)
    }

    async fn read_attr(&self, name: &str) -> Result<Response, Error> {
        const METHOD: &str = "__getattr__";
        self.exchange(Shape::Call, METHOD, move |object, serializer, out| {
            encode_call(serializer, object, METHOD, &(name,), &None::<()>, out)
        })
        .await
    }

    /// Writes an attribute.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub async fn set_attr(&self, name: &str, value: impl Serialize) -> Result<(), Error> {
        const METHOD: &str = "__setattr__";
        let answered = self.exchange(Shape::Call, METHOD, move |object, serializer, out| {
            encode_call(
                serializer,
                object,
                METHOD,
                &(name, &value),
                &None::<()>,
                out,
            )
        });
        answered.await.map(|_| ())
    }

    /// Collects calls that are sent as one message and run in order.
    pub fn batch(&self) -> Batch<Self> {
        Batch::new(self.clone(), self.remote().serializer)
    }

    /// What the object exposes.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        Ok(Metadata::clone(&self.bound().await?.0.metadata))
    }

    /// What the daemon answered to our handshake value; stock daemons answer `"hello"`.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub async fn handshake_response(&self) -> Result<Value, Error> {
        Ok(self.bound().await?.0.welcome.clone())
    }

    /// Asks the daemon for a sign of life, on a new connection if the old one turns out to be dead.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub async fn ping(&self) -> Result<(), Error> {
        let deadline = self.deadline();
        let mut turn = None;
        // A ping does nothing, so it may be sent twice.
        let mut again = true;
        loop {
            let ping = |_: &Connection| Ok((Message::Ping, None));
            match self.attempt(&mut turn, ping, deadline, None).await? {
                Outcome::Answered(_) => return Ok(()),
                Outcome::Lost(error) if error.kind() == ErrorKind::Closed && again => {
                    again = false;
                }
                Outcome::Lost(error) => return Err(error.with_sent(Sent::No)),
                Outcome::Stale => {}
            }
        }
    }

    /// Connects now, if it is not connected, and says whether it had to.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub async fn bind(&self) -> Result<bool, Error> {
        let (_, new) = self.bound().await?;
        Ok(new)
    }

    /// Closes the connection, of a pooled proxy all of them; the next call opens a new one.
    ///
    /// It does not wait for calls of others: they get their answers, and the connections that they
    /// use are closed before the next call on them.
    ///
    /// A proxy that was given its connection keeps it: there would be no other one.
    pub fn release(&self) {
        if self.remote().given.is_some() {
            return;
        }
        let core = &self.core;
        core.releases.fetch_add(1, Ordering::Relaxed);
        core.turns.for_each_free(|&session| {
            let mut session = core.sessions[session].lock();
            if let Some(connection) = session.connection.clone() {
                session.forget(&connection);
            }
        });
    }

    /// The same session, whose calls may each take no longer than `limit`.
    ///
    /// The time includes connecting and waiting for others that use the proxy.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..self.clone()
        }
    }

    /// The same session, whose calls are sent again when a connection is lost, though they may have
    /// run.
    #[must_use]
    pub fn idempotent(&self) -> Self {
        Self {
            idempotent: true,
            ..self.clone()
        }
    }

    /// A proxy for the same object with up to `n` sessions, for many tasks to which neither the
    /// order of their calls nor the object's session instance matters.
    #[must_use]
    pub fn pooled(&self, n: usize) -> Self {
        Self {
            core: Core::new(self.remote().clone(), n),
            ..self.clone()
        }
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.core.remote
    }

    /// Sends a call and gives its answer.
    pub(super) async fn exchange(
        &self,
        shape: Shape,
        method: &str,
        encode: impl Encode,
    ) -> Result<Response, Error> {
        let response = self.send(shape, method, encode).await?;
        response.ok_or_else(no_answer)
    }

    /// Sends a call, on a new connection if need be, and more than once if that can do no harm.
    ///
    /// An answer that is an exception is an error. There is none to a oneway, and what the object
    /// declares oneway is sent as such (`client.py`, `_pyroInvoke`).
    pub(super) async fn send(
        &self,
        shape: Shape,
        method: &str,
        encode: impl Encode,
    ) -> Result<Option<Response>, Error> {
        self.send_payload(shape, method, self.payload(encode)).await
    }

    /// Asks for an item, or waits for the one that was asked for before.
    pub(super) async fn item(&self, encode: impl Encode, later: &Later) -> Result<Response, Error> {
        if let Some(answer) = later.answer().await {
            call::received(Annotations::new());
            match answer {
                Answer::Returned(response) => return self.remote().answer(response),
                Answer::Late(error) | Answer::Lost(error) => {
                    return Err(error.context(format_args!("calling {}", self.uri())));
                }
                // It was not sent.
                Answer::Stale | Answer::Done => {}
            }
        }
        let (mut attempts, payload) = (Attempts::new(false), self.payload(encode));
        let (shape, method) = (Shape::Call, items::METHOD);
        let answer = self.send_until_answered(shape, method, payload, &mut attempts, Some(later));
        let answer = answer.await.map_err(|error| attempts.over(error))?;
        answer.ok_or_else(no_answer)
    }

    fn payload(&self, encode: impl Encode) -> impl Fn(&str) -> Result<Payload, Error> {
        let serializer = self.remote().serializer;
        move |object: &str| {
            let write = |bytes: &mut Vec<u8>| encode(object, serializer, bytes);
            let bytes = call::outward(|| memory::written(write))?;
            Ok(Payload::new(serializer, bytes))
        }
    }

    /// The same for what is encoded already, once the object's id is known.
    async fn send_payload(
        &self,
        shape: Shape,
        method: &str,
        payload: impl Fn(&str) -> Result<Payload, Error>,
    ) -> Result<Option<Response>, Error> {
        let mut attempts = Attempts::new(self.idempotent);
        self.send_until_answered(shape, method, payload, &mut attempts, None)
            .await
            .map_err(|error| attempts.over(error))
    }

    async fn send_until_answered(
        &self,
        shape: Shape,
        method: &str,
        payload: impl Fn(&str) -> Result<Payload, Error>,
        attempts: &mut Attempts,
        later: Option<&Later>,
    ) -> Result<Option<Response>, Error> {
        let uri = self.uri();
        let deadline = self.deadline();
        let timed = deadline.is_some();
        // Only a connection knows the object's own id, where a name or tags stand for it.
        let message = |connection: &Connection| {
            let payload = payload(&connection.object)?;
            let shape = shape.declared(method, &connection.metadata);
            let (oneway, route) = (shape.is_oneway(), &connection.route);
            let waiting = chain::begin(By::Task, route, oneway, timed, None);
            let chain = chain::told(By::Task, &waiting, oneway, route);
            let outgoing = Box::new(Outgoing::new(shape, payload, chain));
            Ok((Message::Call(outgoing), Some(waiting)))
        };
        let mut turn = None;
        loop {
            match self.attempt(&mut turn, &message, deadline, later).await? {
                Outcome::Answered(answer) => return answer,
                Outcome::Lost(error) => attempts.failed(error, uri)?,
                Outcome::Stale => {}
            }
        }
    }

    /// Sends a message once. An error is not about the connection, so trying again is of no use.
    async fn attempt(
        &self,
        turn: &mut Option<Turn>,
        message: impl FnOnce(&Connection) -> Result<(Message, Option<calls::Outgoing>), Error>,
        deadline: Option<Instant>,
        later: Option<&Later>,
    ) -> Result<Outcome, Error> {
        let (connection, new, session, asking) = match self.at_once(turn) {
            Some((connection, asking)) => (connection, false, 0, asking),
            None => {
                let own = match turn.take() {
                    Some(turn) => turn,
                    None => self.turn(deadline).await?,
                };
                let session = own.session();
                let connected = self.connected(&own, deadline).await;
                // What came with the handshake, or with a name server's answer, is not this call's.
                call::received(Annotations::new());
                let (connection, new) = connected?;
                let asking = connection.may_ask(own, deadline).await;
                let asking =
                    asking.map_err(|error| error.context(format_args!("calling {}", self.uri())));
                (connection, new, session, asking?)
            }
        };
        let (message, mut waiting) = message(&connection)?;
        let exchange = connection.exchange(message, waiting.as_mut(), deadline, asking, later);
        let (answer, back) = exchange.await;
        drop(waiting);
        call::received(Annotations::new());
        *turn = back;
        let outcome = match answer {
            Answer::Returned(response) => {
                let answer = self.remote().answer(response);
                if !answer.as_ref().is_err_and(ends_connection) {
                    return Ok(Outcome::Answered(answer.map(Some)));
                }
                Outcome::Answered(answer.map(Some))
            }
            Answer::Done => return Ok(Outcome::Answered(Ok(None))),
            Answer::Late(error) => {
                return Err(error.context(format_args!("calling {}", self.uri())));
            }
            Answer::Lost(error) if error.kind() == ErrorKind::Usage => return Err(error),
            Answer::Lost(error) => Outcome::Lost(error),
            // Such a daemon could keep us busy for ever.
            Answer::Stale if new => {
                let text = "closed by the peer before anything was sent";
                Outcome::Lost(Error::new(ErrorKind::Closed, text))
            }
            Answer::Stale => Outcome::Stale,
        };
        self.core.sessions[session].lock().forget(&connection);
        Ok(outcome)
    }

    /// The connection, if this call can be sent on it now without a turn: nobody has the turn or waits
    /// for it, so none that was made before is still to be sent.
    fn at_once(&self, turn: &Option<Turn>) -> Option<(Arc<Connection>, Asking)> {
        let core = &self.core;
        let [session] = &*core.sessions else {
            return None;
        };
        if turn.is_some() || !core.turns.are_free() {
            return None;
        }
        let releases = core.releases.load(Ordering::Relaxed);
        let connection = session.lock().usable(releases)?;
        let asking = connection.try_ask()?;
        Some((connection, asking))
    }

    /// The connection, and whether it is new.
    async fn bound(&self) -> Result<(Arc<Connection>, bool), Error> {
        let deadline = self.deadline();
        let turn = self.turn(deadline).await?;
        self.connected(&turn, deadline).await
    }

    async fn turn(&self, deadline: Option<Instant>) -> Result<Turn, Error> {
        self.core
            .turns
            .take(deadline)
            .await
            .map_err(|(why, ahead)| {
                call::received(Annotations::new());
                self.remote().was_in_use(&why, ahead)
            })
    }

    /// The connection, made anew if there is none; says whether it was.
    async fn connected(
        &self,
        turn: &Turn,
        deadline: Option<Instant>,
    ) -> Result<(Arc<Connection>, bool), Error> {
        let core = &self.core;
        let releases = core.releases.load(Ordering::Relaxed);
        let (seq, connected_before) = {
            let mut session = core.sessions[turn.session()].lock();
            if let Some(connection) = session.usable(releases) {
                return Ok((connection, false));
            }
            (session.seq, session.connected_before)
        };
        let opening = open(&core.remote, seq, connected_before, deadline);
        let connection = Arc::new(opening.await?);
        let mut session = core.sessions[turn.session()].lock();
        session.connection = Some(Arc::clone(&connection));
        session.connected_before = true;
        session.releases = releases;
        Ok((connection, true))
    }

    fn deadline(&self) -> Option<Instant> {
        self.limit.and_then(|limit| now().checked_add(limit))
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Protocol, "no answer came to a call")
}

/// How an attempt at a call ended.
enum Outcome {
    /// It was answered, perhaps by an exception; or it is a oneway, and was written.
    Answered(Result<Option<Response>, Error>),
    /// It has cost the connection.
    Lost(Error),
    /// There was no connection any more.
    Stale,
}

/// Connects; where there was a connection before, with patience.
///
/// In a box, for it may ask a name server, which is to call through a proxy.
fn open(
    remote: &Remote,
    seq: Seq,
    connected_before: bool,
    deadline: Option<Instant>,
) -> Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send + '_>> {
    let mut patience = Patience::new(now(), remote.reconnect_window(connected_before));
    let open_once = async move || {
        let place = naming::resolve(&remote.uri, &remote.config, deadline).await?;
        Connection::open(remote, place, seq, deadline).await
    };
    Box::pin(async move {
        loop {
            match open_once().await {
                Ok(connection) => return Ok(connection),
                Err(error) => sleep(patience.failed(error, now(), deadline)?).await,
            }
        }
    })
}

impl Core {
    fn new(remote: Remote, sessions: usize) -> Arc<Self> {
        let sessions = sessions.max(1);
        Arc::new(Self {
            turns: Turns::new(remote.turns(), sessions),
            remote,
            sessions: (0..sessions).map(|_| Mutex::default()).collect(),
            releases: AtomicU64::new(0),
        })
    }
}

impl Session {
    /// The connection, if it was not released and has not ended.
    fn usable(&mut self, releases: u64) -> Option<Arc<Connection>> {
        let connection = self.connection.clone()?;
        if self.releases == releases && !connection.is_closed() {
            return Some(connection);
        }
        self.forget(&connection);
        None
    }

    /// Uses the connection no more.
    fn forget(&mut self, connection: &Arc<Connection>) {
        if let Some(own) = self.connection.take_if(|own| Arc::ptr_eq(own, connection)) {
            self.seq = own.seq();
        }
    }
}

/// Writes the payload of a call to the object with this id.
pub(super) trait Encode:
    Fn(&str, Serializer, &mut Vec<u8>) -> Result<(), antifreeze_serial::Error>
{
}

impl<F> Encode for F where
    F: Fn(&str, Serializer, &mut Vec<u8>) -> Result<(), antifreeze_serial::Error>
{
}

impl Serialize for Proxy {
    /// Travels as the `Proxy` object of Python: a new one, with the same object, handshake value and
    /// serializer, which connects for itself. One on a [connected socket](Proxy::connected_socket)
    /// leads nobody else anywhere, and is an error.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.remote().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proxy {
    /// Taken from a proxy, or an object for which one came, and from a `URI` or its text. It connects
    /// at its first use. It has the settings of the proxy that got it with an answer, or of the daemon
    /// that got it with a call, else the default ones; a [`ProxyBuilder`] may have others.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let builder = ProxyBuilder::<Self>::deserialize(deserializer)?;
        builder.lazy().map_err(D::Error::custom)
    }
}

/// Proxies are the same if their URIs are, whatever their settings and connections.
impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.uri() == other.uri()
    }
}

impl Eq for Proxy {}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uri().hash(state);
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("uri", self.uri())
            .field("serializer", &self.serializer())
            .finish_non_exhaustive()
    }
}
