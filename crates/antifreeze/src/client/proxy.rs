//! The client's handle of a remote object.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antifreeze_proto::{Annotations, Response, Seq};
use antifreeze_serial::{Serializer, Value, encode_call, memory};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use tracing::debug;

use super::batch::Batch;
use super::builder::ProxyBuilder;
use super::connection::{Connection, Entry};
use super::crank::{Outgoing, Payload, Shape};
use super::items::{self, Items, Returned, Stream};
use super::line::{Line, Message};
use super::remote::{Remote, ends_connection};
use super::retry::{Attempts, Patience};
use super::sessions::{Sessions, Taken, Unavailable, deadline};
use crate::blob::SerializedBlob;
use crate::call;
use crate::chain::{self, By, Route};
use crate::detector;
use crate::error::{Error, ErrorKind};
use crate::naming;
use crate::rpc::Metadata;
use crate::uri::{IntoUri, Uri};

/// A remote object, as if it were here.
///
/// One `Proxy` is one session on one connection: the object's session instance and the order of
/// oneway calls belong to it. Clones share the session. Calls that threads make at the same time are
/// in flight at the same time if the daemon is one of ours; to a Pyro5 daemon they go one after the
/// other, first come first served, see [`Proxy::pooled`] for the other choice.
///
/// It connects at its first use and reconnects by itself, looking its name up again. A call that
/// may have run is never sent twice, unless it is declared [`idempotent`](Proxy::idempotent);
/// [`Error::sent`] tells.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, Proxy, expose};
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
/// # fn main() -> Result<(), antifreeze::Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// let uri = daemon.register("echo", Echo)?;
/// let running = daemon.start()?;
///
/// let echo = Proxy::connect(uri)?;
/// let answer: String = echo.call("echo", ("hello",))?;
/// assert_eq!(answer, "hello");
/// # drop(running);
/// # Ok(())
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
    sessions: Sessions<Session>,
    /// How often it was released: connections made before are closed, not used.
    releases: AtomicU64,
    /// Streams that nobody wants any more, and of which the daemon was not told yet.
    unwanted: Mutex<Vec<String>>,
    /// Whether there are any.
    has_unwanted: AtomicBool,
}

/// Writes the payload of a call to the object with this id.
pub(super) type Encode<'a> =
    dyn Fn(&str, Serializer, &mut Vec<u8>) -> Result<(), antifreeze_serial::Error> + 'a;

#[derive(Default)]
struct Session {
    connection: Option<Link>,
    seq: Seq,
    /// [`Core::releases`] when the connection was made.
    releases: u64,
    /// Whether there was a connection before, so that a lost one is worth some patience.
    connected_before: bool,
}

/// A connection, for one call at a time or for many.
enum Link {
    Alone(Box<Connection>),
    Shared(Arc<Line>),
}

impl Link {
    fn new(connection: Connection) -> Self {
        if connection.crank.call_limit() > 1 {
            Self::Shared(Arc::new(Line::new(connection)))
        } else {
            Self::Alone(Box::new(connection))
        }
    }

    fn entry(&self) -> &Entry {
        match self {
            Self::Alone(connection) => &connection.entry,
            Self::Shared(line) => &line.entry,
        }
    }

    fn is_usable(&mut self) -> bool {
        match self {
            Self::Alone(connection) => connection.is_usable(),
            Self::Shared(line) => line.is_usable(),
        }
    }

    fn seq(&self) -> Seq {
        match self {
            Self::Alone(connection) => connection.seq(),
            Self::Shared(line) => line.seq(),
        }
    }
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
    pub fn connect(self) -> Result<Proxy, Error> {
        let proxy = self.lazy()?;
        proxy.bind()?;
        Ok(proxy)
    }
}

impl Core {
    fn new(remote: Remote, sessions: usize) -> Arc<Self> {
        let sessions = (0..sessions.max(1)).map(|_| Session::default());
        Arc::new(Self {
            sessions: Sessions::new(remote.turns(), sessions),
            remote,
            releases: AtomicU64::new(0),
            unwanted: Mutex::default(),
            has_unwanted: AtomicBool::new(false),
        })
    }

    /// Tells the daemon which streams nobody wants any more. Says whether the connection has taken it.
    fn tell_unwanted(&self, link: &mut Link, deadline: Option<Instant>) -> bool {
        if !self.has_unwanted.load(Ordering::Relaxed) {
            return true;
        }
        self.has_unwanted.store(false, Ordering::Relaxed);
        let unwanted = std::mem::take(&mut *self.unwanted.lock());
        let serializer = self.remote.serializer;
        let calls = unwanted
            .iter()
            .filter_map(|id| items::encode_close(serializer, id));
        let mut taken = true;
        for payload in calls {
            let route = Arc::clone(&link.entry().route);
            let waiting = chain::begin(By::Thread, &route, true, false, None);
            let chain = chain::told(By::Thread, &waiting, true, &route);
            let outgoing = Outgoing::new(Shape::Oneway, payload, chain);
            let told = match link {
                Link::Alone(connection) => connection.call(outgoing, deadline).map(drop),
                Link::Shared(line) => line
                    .exchange(Message::Call(Box::new(outgoing)), deadline)
                    .map(drop),
            };
            taken &= told.is_ok();
        }
        taken
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
    pub fn connect(uri: impl IntoUri) -> Result<Self, Error> {
        Self::builder(uri)?.connect()
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
    pub fn builder(uri: impl IntoUri) -> Result<ProxyBuilder, Error> {
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
    ) -> Result<ProxyBuilder, Error> {
        ProxyBuilder::connected_socket(object, socket.into())
    }

    /// The URI that this proxy was made with.
    pub fn uri(&self) -> &Uri {
        &self.core.remote.uri
    }

    /// The serializer of its calls.
    pub fn serializer(&self) -> Serializer {
        self.core.remote.serializer
    }

    /// Calls a method and waits for what it returns.
    ///
    /// `args` is a tuple or list of the arguments; `()` is none. A method that the object declares
    /// oneway is sent without waiting, and returns None.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Remote`]: the method raised; [`Error::remote`] has the exception.
    /// - [`ErrorKind::Timeout`]: no answer within the time allowed. The connection is closed,
    ///   because a late answer could be taken for the next one's. The method may still run.
    /// - [`ErrorKind::Closed`]: the connection ended; [`Error::sent`] tells whether it may have run.
    /// - [`ErrorKind::Serialize`]: an argument cannot be encoded, or the result is no `T`.
    /// - and those of [`Proxy::connect`], if it had to connect.
    #[track_caller]
    pub fn call<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<T, Error> {
        self.call_kw(method, args, ())
    }

    /// Calls a method with keyword arguments, too: a map, or a struct with their names as fields.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[track_caller]
    pub fn call_kw<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<T, Error> {
        let sent = self.send(Shape::Call, method, &|object, serializer, out| {
            encode_call(serializer, object, method, &args, &kwargs, out)
        })?;
        self.refuse_stream(sent.as_ref());
        self.remote().result(method, sent.as_ref())
    }

    /// Calls a method that returns an item stream: in Python an iterator or generator.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]; [`ErrorKind::Usage`] if the result is a value and no stream, or if the daemon
    /// serves no streams.
    #[track_caller]
    pub fn stream<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<Items<T>, Error> {
        self.stream_kw(method, args, ())
    }

    /// Calls a method that returns an item stream, with keyword arguments, too.
    ///
    /// # Errors
    ///
    /// As [`Proxy::stream`].
    #[track_caller]
    pub fn stream_kw<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<Items<T>, Error> {
        let response = self.exchange(Shape::Call, method, &|object, serializer, out| {
            encode_call(serializer, object, method, &args, &kwargs, out)
        })?;
        self.items(&response)
    }

    /// Reads an attribute that is an item stream.
    ///
    /// # Errors
    ///
    /// As [`Proxy::stream`].
    #[track_caller]
    pub fn stream_attr<T: DeserializeOwned + 'static>(
        &self,
        name: &str,
    ) -> Result<Items<T>, Error> {
        self.items(&self.read_attr(name)?)
    }

    /// Calls a method, with keyword arguments, of which it is not known whether it returns a value or an
    /// item stream: for programs that show what there is.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]; [`ErrorKind::Usage`] if the result is a stream and the daemon serves none.
    #[track_caller]
    pub fn call_any<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<Returned<T>, Error> {
        let sent = self.send(Shape::Call, method, &|object, serializer, out| {
            encode_call(serializer, object, method, &args, &kwargs, out)
        })?;
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
    #[track_caller]
    pub fn attr_any<T: DeserializeOwned + 'static>(
        &self,
        name: &str,
    ) -> Result<Returned<T>, Error> {
        let response = self.read_attr(name)?;
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
            self.close_stream(id);
        }
    }

    /// Tells the daemon that nobody wants a stream any more; now if that is possible without waiting for
    /// others, else with the next call.
    pub(super) fn close_stream(&self, id: String) {
        let core = &self.core;
        core.unwanted.lock().push(id);
        core.has_unwanted.store(true, Ordering::Relaxed);
        let Some(mut session) = core.sessions.try_take() else {
            return;
        };
        // This may be a drop, and a daemon that reads nothing is not worth more.
        let deadline = deadline(Some(core.remote.config.handshake_timeout));
        match session.connection.take() {
            Some(Link::Shared(line)) => {
                session.connection = Some(Link::Shared(Arc::clone(&line)));
                // Others may call meanwhile.
                drop(session);
                core.tell_unwanted(&mut Link::Shared(line), deadline);
            }
            Some(mut link) => {
                let taken = core.tell_unwanted(&mut link, deadline);
                session.connection = Some(link);
                if !taken {
                    session.disconnect();
                }
            }
            None => {}
        }
    }

    /// Calls a method without waiting: returns when the request is handed to the socket.
    ///
    /// Whether it ran is not known.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`], of what can go wrong until then.
    #[track_caller]
    pub fn oneway(&self, method: &str, args: impl Serialize) -> Result<(), Error> {
        self.oneway_kw(method, args, ())
    }

    /// Calls a method without waiting, with keyword arguments, too.
    ///
    /// # Errors
    ///
    /// As [`Proxy::oneway`].
    #[track_caller]
    pub fn oneway_kw(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<(), Error> {
        let sent = self.send(Shape::Oneway, method, &|object, serializer, out| {
            encode_call(serializer, object, method, &args, &kwargs, out)
        });
        sent.map(|_| ())
    }

    /// Calls a method with a serialized blob, which is the only argument.
    ///
    /// The call and its answer are in the serializer of the blob. What the blob holds is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[track_caller]
    pub fn call_blob<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        blob: &SerializedBlob,
    ) -> Result<T, Error> {
        let sent = self.send_payload(Shape::Call, method, &|object| {
            Payload::of_blob(blob, object, method)
        })?;
        self.remote().result(method, sent.as_ref())
    }

    /// Reads an attribute.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[track_caller]
    pub fn attr<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<T, Error> {
        let response = self.read_attr(name)?;
        self.refuse_stream(Some(&response));
        self.remote().decode(&response)
    }

    #[track_caller]
    fn read_attr(&self, name: &str) -> Result<Response, Error> {
        const METHOD: &str = "__getattr__";
        self.exchange(Shape::Call, METHOD, &|object, serializer, out| {
            encode_call(serializer, object, METHOD, &(name,), &None::<()>, out)
        })
    }

    /// Writes an attribute.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    #[track_caller]
    pub fn set_attr(&self, name: &str, value: impl Serialize) -> Result<(), Error> {
        let answered = self.exchange(Shape::Call, "__setattr__", &|object, serializer, out| {
            encode_call(
                serializer,
                object,
                "__setattr__",
                &(name, &value),
                &None::<()>,
                out,
            )
        });
        answered.map(|_| ())
    }

    /// Collects calls that are sent as one message and run in order.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone(), self.remote().serializer)
    }

    /// What the object exposes.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub fn metadata(&self) -> Result<Metadata, Error> {
        let deadline = deadline(self.limit);
        let mut session = self.session(deadline)?;
        Ok(session
            .connected(&self.core, deadline)?
            .entry()
            .metadata
            .as_ref()
            .clone())
    }

    /// What the daemon answered to our handshake value; stock daemons answer `"hello"`.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub fn handshake_response(&self) -> Result<Value, Error> {
        let deadline = deadline(self.limit);
        let mut session = self.session(deadline)?;
        Ok(session
            .connected(&self.core, deadline)?
            .entry()
            .welcome
            .clone())
    }

    /// Asks the daemon for a sign of life, on a new connection if the old one turns out to be dead.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    pub fn ping(&self) -> Result<(), Error> {
        let deadline = deadline(self.limit);
        match self.ping_once(deadline) {
            // A ping does nothing, so it may be sent twice.
            Err(error) if error.kind() == ErrorKind::Closed => self.ping_once(deadline),
            result => result,
        }
    }

    fn ping_once(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let mut session = self.session(deadline)?;
        match session.connected(&self.core, deadline)? {
            Link::Alone(connection) => {
                let result = connection.ping(deadline);
                if result.is_err() {
                    session.disconnect();
                }
                result
            }
            Link::Shared(line) => {
                let line = Arc::clone(line);
                drop(session);
                line.exchange(Message::Ping, deadline).map(drop)
            }
        }
    }

    /// Connects now, if it is not connected, and says whether it had to.
    ///
    /// # Errors
    ///
    /// As [`Proxy::connect`].
    pub fn bind(&self) -> Result<bool, Error> {
        let deadline = deadline(self.limit);
        let mut session = self.session(deadline)?;
        let had = session.is_connected(&self.core);
        session.connected(&self.core, deadline)?;
        Ok(!had)
    }

    /// Closes the connection, of a pooled proxy all of them; the next call opens a new one.
    ///
    /// It does not wait for calls of other threads: they get their answers, and the connections
    /// that they use are closed before the next call on them.
    ///
    /// A proxy that was given its connection keeps it: there would be no other one.
    pub fn release(&self) {
        if self.remote().given.is_some() {
            return;
        }
        self.core.releases.fetch_add(1, Ordering::Relaxed);
        self.core.sessions.for_each_free(Session::disconnect);
    }

    /// The same session, whose calls may each take no longer than `limit`.
    ///
    /// The time includes connecting and waiting for other threads that use the proxy.
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

    /// A proxy for the same object with up to `n` sessions, for many threads to which neither the
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
    #[track_caller]
    pub(super) fn exchange(
        &self,
        shape: Shape,
        method: &str,
        encode: &Encode<'_>,
    ) -> Result<Response, Error> {
        let no_answer = || Error::new(ErrorKind::Protocol, "no answer came to a call");
        self.send(shape, method, encode)?.ok_or_else(no_answer)
    }

    /// Sends a call, on a new connection if need be, and more than once if that can do no harm.
    ///
    /// An answer that is an exception is an error. There is none to a oneway, and what the object
    /// declares oneway is sent as such (`client.py`, `_pyroInvoke`).
    #[track_caller]
    pub(super) fn send(
        &self,
        shape: Shape,
        method: &str,
        encode: &Encode<'_>,
    ) -> Result<Option<Response>, Error> {
        let serializer = self.remote().serializer;
        self.send_payload(shape, method, &|object| {
            let write = |bytes: &mut Vec<u8>| encode(object, serializer, bytes);
            let bytes = call::outward(|| memory::written(write))?;
            Ok(Payload::new(serializer, bytes))
        })
    }

    /// The same for what is encoded already, once the object's id is known.
    #[track_caller]
    fn send_payload(
        &self,
        shape: Shape,
        method: &str,
        payload: &dyn Fn(&str) -> Result<Payload, Error>,
    ) -> Result<Option<Response>, Error> {
        call::received(Annotations::new());
        let mut attempts = Attempts::new(self.idempotent);
        self.send_until_answered(shape, method, payload, &mut attempts)
            .map_err(|error| attempts.over(error))
    }

    #[track_caller]
    fn send_until_answered(
        &self,
        shape: Shape,
        method: &str,
        payload: &dyn Fn(&str) -> Result<Payload, Error>,
        attempts: &mut Attempts,
    ) -> Result<Option<Response>, Error> {
        let uri = self.uri();
        let site = Location::caller();
        let deadline = deadline(self.limit);
        let mut session = self.session(deadline)?;
        loop {
            let link = session.connected(&self.core, deadline)?;
            if !self.core.tell_unwanted(link, deadline) {
                session.disconnect();
                continue;
            }
            // What came with a new connection's handshake is not this call's.
            call::received(Annotations::new());
            // Only now the object's own id is known, where a name or tags stand for it.
            let entry = link.entry();
            let payload = payload(&entry.object)?;
            let shape = shape.declared(method, &entry.metadata);
            let (oneway, timed) = (shape.is_oneway(), deadline.is_some());
            let begin = |route: &Arc<Route>| {
                let waiting = chain::begin(By::Thread, route, oneway, timed, Some(site));
                let chain = chain::told(By::Thread, &waiting, oneway, route);
                let outgoing = Outgoing::new(shape, payload, chain);
                (outgoing, waiting)
            };
            let error = match link {
                Link::Alone(connection) => {
                    let (outgoing, waiting) = begin(&connection.entry.route);
                    let ended = connection.call(outgoing, deadline);
                    drop(waiting);
                    match ended {
                        Ok(response) => return self.answer(response, || session.disconnect()),
                        Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
                        Err(error) => {
                            session.disconnect();
                            error
                        }
                    }
                }
                Link::Shared(line) => {
                    let line = Arc::clone(line);
                    // Others may call meanwhile.
                    drop(session);
                    let place = line.place(deadline)?;
                    let (outgoing, waiting) = begin(&line.entry.route);
                    let ended = line.exchange(Message::Call(Box::new(outgoing)), deadline);
                    drop(waiting);
                    // Whoever tries again needs the session first, and a place then.
                    drop(place);
                    let error = match ended {
                        Ok(response) => return self.answer(response, || line.retire()),
                        Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
                        Err(error) => error,
                    };
                    attempts.failed(error, uri)?;
                    session = self.session(deadline)?;
                    continue;
                }
            };
            attempts.failed(error, uri)?;
        }
    }

    /// What came of a call; some exceptions end the connection.
    fn answer(
        &self,
        response: Option<Response>,
        end: impl FnOnce(),
    ) -> Result<Option<Response>, Error> {
        let answer = response.map(|response| self.remote().answer(response));
        let answer = answer.transpose();
        if answer.as_ref().is_err_and(ends_connection) {
            end();
        }
        answer
    }

    fn session(&self, deadline: Option<Instant>) -> Result<Taken<'_, Session>, Error> {
        let taken = self.core.sessions.take(deadline);
        taken.map_err(|Unavailable { why, ahead }| self.remote().was_in_use(&why, ahead))
    }
}

impl Session {
    /// The connection, made anew if there is none or it has gone stale.
    fn connected(&mut self, core: &Core, deadline: Option<Instant>) -> Result<&mut Link, Error> {
        let releases = core.releases.load(Ordering::Relaxed);
        if !self.is_connected(core) {
            self.connection = Some(Link::new(self.open(core, deadline)?));
            self.connected_before = true;
            self.releases = releases;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => unreachable!("it was just made"),
        }
    }

    /// Whether there is a connection that can be used; else it is let go.
    fn is_connected(&mut self, core: &Core) -> bool {
        let releases = core.releases.load(Ordering::Relaxed);
        if self.connection.is_some() && self.releases != releases {
            self.disconnect();
        }
        let usable = self.connection.as_mut().map(Link::is_usable);
        if usable == Some(false) {
            debug!(uri = %core.remote.uri, "the connection is stale");
            self.disconnect();
        }
        self.connection.is_some()
    }

    /// Connects; where there was a connection before, with patience.
    fn open(&self, core: &Core, deadline: Option<Instant>) -> Result<Connection, Error> {
        let window = core.remote.reconnect_window(self.connected_before);
        let mut patience = Patience::new(Instant::now(), window);
        loop {
            match self.open_once(core, deadline) {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let pause = patience.failed(error, Instant::now(), deadline)?;
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn open_once(&self, core: &Core, deadline: Option<Instant>) -> Result<Connection, Error> {
        // What the name server's answer carries is none of the caller's.
        let Remote { uri, config, .. } = &core.remote;
        let place = call::apart(|| naming::resolve(uri, config, deadline))?;
        Connection::open(&core.remote, place, self.seq, deadline)
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.seq = connection.seq();
        }
    }
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
