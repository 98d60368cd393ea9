//! The server's side: a daemon, the objects that it serves, and its life.

use std::error::Error as StdError;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use antifreeze_proto::{AnnotationId, Annotations};
use antifreeze_serial::{Bytes, Value};
use antifreeze_sync::BoundedSemaphore;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::client::{Proxy, ProxyBuilder};
use crate::config::Config;
use crate::detector::{self, DetectorObject};
use crate::error::{Error, ErrorKind};
use crate::net::{Listener, Socket, nowhere, reachable_host};
use crate::rpc::{
    Annotate, ClientInfo, DaemonObject, DaemonServant, Doors, Expose, ExposeLocal, FailedCall,
    HandshakeInfo, Host, InstanceMode, IntoObject, Keep, Local, Object, OnDisconnect, OnError,
    Queue, QueueLimits, Registry, Room, Rpc, ServedClass, StreamLimits, Streams, Validator,
};
use crate::server::{LAST_WORDS, ServerConfig, Sockets, Stop};
use crate::sleep::SleepClock;
use crate::uri::{Location, Uri};
use crate::{threads, tokio};

/// Serves objects to other programs.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, expose};
///
/// struct Account {
///     balance: i64,
/// }
///
/// #[expose]
/// impl Account {
///     fn balance(&self) -> i64 {
///         self.balance
///     }
///
///     fn deposit(&mut self, amount: i64) -> i64 {
///         self.balance += amount;
///         self.balance
///     }
/// }
///
/// # fn main() -> Result<(), antifreeze::Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// let uri = daemon.register("account", Account { balance: 0 })?;
/// println!("{uri}");
/// # let handle = daemon.handle();
/// # std::thread::spawn(move || handle.shutdown());
/// daemon.serve()
/// # }
/// ```
pub struct Daemon {
    rpc: Arc<Rpc>,
    stop: Stop,
    /// Taken by whoever serves.
    server: Mutex<Option<Driver>>,
}

/// What carries calls between sockets and objects.
enum Driver {
    EventLoop(tokio::Server),
    Threads(threads::Server),
}

/// Settings of a [`Daemon`] that is not made yet.
#[derive(Default)]
pub struct DaemonBuilder {
    config: Config,
    validator: Option<Validator>,
    on_disconnect: Option<OnDisconnect>,
    on_error: Option<OnError>,
    annotate: Option<Annotate>,
    threads: bool,
    also_at: Vec<String>,
    sleep: SleepClock,
}

/// Registers objects with a daemon and stops it, from any thread.
///
/// It does not keep the daemon alive, so the daemon's own objects may have one.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, DaemonHandle, Error, Object, Proxy, expose};
///
/// struct Ticket(u32);
///
/// #[expose]
/// impl Ticket {
///     fn number(&self) -> u32 {
///         self.0
///     }
/// }
///
/// struct Office {
///     daemon: DaemonHandle,
///     last: u32,
/// }
///
/// #[expose]
/// impl Office {
///     /// The caller gets a proxy of the new ticket.
///     fn issue(&mut self) -> Result<Object<Ticket>, Error> {
///         self.last += 1;
///         let ticket = Object::new(Ticket(self.last));
///         self.daemon.register(None, &ticket)?;
///         Ok(ticket)
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// let office = Office { daemon: daemon.handle(), last: 0 };
/// let office = Proxy::new(daemon.register("office", office)?)?;
/// let running = daemon.start()?;
///
/// let ticket: Proxy = office.call("issue", ())?;
/// assert_eq!(ticket.call::<u32>("number", ())?, 1);
/// running.stop()
/// # }
/// ```
#[derive(Clone)]
pub struct DaemonHandle {
    stop: Stop,
    rpc: Weak<Rpc>,
}

/// A daemon that serves on threads of its own. Dropping it shuts the daemon down.
#[must_use = "the daemon is shut down when this is dropped"]
pub struct Running {
    daemon: Daemon,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl DaemonBuilder {
    /// Uses these settings instead of the defaults.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Serves on blocking threads instead of an event loop.
    #[must_use]
    pub fn threads(mut self) -> Self {
        self.threads = true;
        self
    }

    /// Listens at this address as well, as in [`Daemon::bind`]: at a unix socket beside a port, say.
    ///
    /// URIs name the address given to [`bind`](Self::bind); but those that the daemon gives out while
    /// it serves a call name the one through which the client came in.
    #[must_use]
    pub fn also_at(mut self, address: impl Into<String>) -> Self {
        self.also_at.push(address.into());
        self
    }

    /// Lets `validate` decide who may connect: what it returns is sent to the client, which sees an
    /// error as a refusal with this text (`server.py`, `validateHandshake`).
    #[must_use]
    pub fn on_handshake<V, E>(
        mut self,
        validate: impl Fn(&HandshakeInfo) -> Result<V, E> + Send + Sync + 'static,
    ) -> Self
    where
        V: Into<Value>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.validator = Some(Box::new(move |info| {
            validate(info).map(Into::into).map_err(Into::into)
        }));
        self
    }

    /// Tells `hook` of each client that was let in, when its connection has ended (`server.py`,
    /// `clientDisconnect`).
    ///
    /// It runs on a worker and may block; a call of the client's may still be running then. Clients who are
    /// still there when a daemon ends are told of if there is time for it (`drain_timeout`). Its item
    /// streams are [let go](Config::stream_linger) before, what it [tracks](crate::call::track_resource) is
    /// closed after that.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::{Daemon, call, expose};
    ///
    /// struct Chat;
    ///
    /// #[expose]
    /// impl Chat {
    ///     fn join(&self) {
    ///         println!("client {:?} is here", call::client_id());
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), antifreeze::Error> {
    /// let daemon = Daemon::builder()
    ///     .on_disconnect(|client| println!("client {} has left", client.id))
    ///     .bind("localhost:0")?;
    /// daemon.register("chat", Chat)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_disconnect(mut self, hook: impl Fn(&ClientInfo) + Send + Sync + 'static) -> Self {
        self.on_disconnect = Some(Arc::new(hook));
        self
    }

    /// Tells `hook` of each call that fails, oneway calls among them, whose errors nobody else sees: of
    /// what a method returns as an error, of panics, and of calls that did not come to their method
    /// (`server.py`, `methodcall_error_handler`).
    ///
    /// It runs on a worker and may block, and the caller does not wait for it, so it may be told after
    /// the answer was sent, and of two calls in any order. [`call::client_id`](crate::call::client_id)
    /// and its like are known.
    ///
    /// It is not told of calls of what does not exist or that cannot be decoded at all, nor of those
    /// whose object cannot be made, whose time was over before they began, or that end from outside,
    /// as async methods do whose time is over; nor of results that cannot be sent and streams that
    /// are refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::Daemon;
    ///
    /// # fn main() -> Result<(), antifreeze::Error> {
    /// let daemon = Daemon::builder()
    ///     .on_error(|call| eprintln!("{}.{}: {}", call.object, call.member, call.exception))
    ///     .bind("localhost:0")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_error(mut self, hook: impl Fn(&FailedCall<'_>) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    /// Sends these annotations with every answer: to handshakes, whether or not the client is let in,
    /// to calls, and with exceptions (`server.py`, `Daemon.annotations`).
    ///
    /// They replace those of the same name that a method [sets](crate::call::set_response_annotation).
    /// `annotate` is asked whenever an answer is written, on a thread that others wait for, so it
    /// must not block. It knows nothing of the call. If it panics, that answer goes without them.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::{AnnotationId, Daemon, Proxy, call, expose};
    ///
    /// struct Greeter;
    ///
    /// #[expose]
    /// impl Greeter {
    ///     fn hello(&self) -> &'static str {
    ///         "hello"
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), antifreeze::Error> {
    /// const ZONE: AnnotationId = AnnotationId::known(b"ZONE");
    ///
    /// let daemon = Daemon::builder()
    ///     .annotations(|| [(ZONE, "eu-west")])
    ///     .bind("localhost:0")?;
    /// let uri = daemon.register("greeter", Greeter)?;
    /// let running = daemon.start()?;
    ///
    /// Proxy::connect(uri)?.call::<String>("hello", ())?;
    /// assert_eq!(call::response_annotation("ZONE").as_deref(), Some(&b"eu-west"[..]));
    /// running.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn annotations<A, V>(mut self, annotate: impl Fn() -> A + Send + Sync + 'static) -> Self
    where
        A: IntoIterator<Item = (AnnotationId, V)>,
        V: Into<Bytes>,
    {
        let all = move || {
            let each = annotate().into_iter().map(|(id, value)| (id, value.into()));
            Annotations::from_iter(each)
        };
        self.annotate = Some(Box::new(all));
        self
    }

    /// Believes that the machine has slept as long as `slept` says. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn sleep_clock(mut self, slept: fn() -> Duration) -> Self {
        self.sleep = SleepClock::new(slept);
        self
    }

    /// A daemon that listens at `address`; see [`Daemon::bind`].
    ///
    /// # Errors
    ///
    /// As [`Daemon::bind`].
    pub fn bind(self, address: &str) -> Result<Daemon, Error> {
        let (config, also_at) = (&self.config, &self.also_at);
        let asked = parse(address)?;
        let mut listeners = Listener::bind(&asked, config.prefer_ip_version)?;
        let location = match (asked, listeners.first().map(Listener::port)) {
            (Location::Tcp { host, .. }, Some(Ok(port))) => Location::Tcp {
                host: reachable_host(host),
                port,
            },
            (asked, _) => asked,
        };
        let named = listeners.len();
        for address in also_at {
            listeners.extend(Listener::bind(&parse(address)?, config.prefer_ip_version)?);
        }
        let doors = listeners.iter().filter_map(Listener::location).enumerate();
        let others = doors.filter(|(nth, door)| *nth >= named || door.is_wildcard());
        let others = others.map(|(_, door)| door).collect();
        self.build(
            Doors { location, others },
            Sockets {
                listeners,
                connected: None,
            },
        )
    }

    /// A daemon that serves one client, on a connection that is there already: one end of a socket
    /// pair, or a stream that was accepted elsewhere.
    ///
    /// There is no handshake, so nobody is asked whether the client may connect. The daemon ends with
    /// the connection. The socket belongs to it, and is closed with it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if it is no connected stream, or together with [`also_at`](Self::also_at).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    ///
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
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let daemon = Daemon::builder().connected_socket(ours)?;
    /// daemon.register("echo", Echo)?;
    /// let running = daemon.start()?;
    ///
    /// let echo = Proxy::connected_socket("echo", theirs)?.connect()?;
    /// assert_eq!(echo.call::<String>("echo", ("hello",))?, "hello");
    /// # drop((echo, running));
    /// # Ok(())
    /// # }
    /// ```
    pub fn connected_socket(self, socket: impl Into<OwnedFd>) -> Result<Daemon, Error> {
        if !self.also_at.is_empty() {
            let text =
                "a daemon on a connected socket listens nowhere, expected no further address";
            return Err(Error::usage(text));
        }
        let socket = Socket::connected(socket.into())?;
        let location = socket.local_location().unwrap_or_else(nowhere);
        let others = Vec::new();
        self.build(
            Doors { location, others },
            Sockets {
                listeners: Vec::new(),
                connected: Some(socket),
            },
        )
    }

    fn build(self, doors: Doors, sockets: Sockets) -> Result<Daemon, Error> {
        let Self {
            config,
            validator,
            on_disconnect,
            on_error,
            annotate,
            threads,
            sleep,
            ..
        } = self;
        let listens = !sockets.listeners.is_empty();
        let location = doors.location.clone();
        detector::start(&config);
        let mut protocol = config.connection();
        // Connections end later than waits do, so that those who wait can be told.
        protocol.limits.drain += LAST_WORDS;
        let server_config = ServerConfig {
            protocol: Arc::new(protocol),
            workers: config.workers,
            connections: config.connections,
            drain: config.drain_timeout,
            sleep,
        };
        let place = location.to_string();
        let workers =
            BoundedSemaphore::of_workers(u32::try_from(config.workers).unwrap_or(u32::MAX))
                .with_name(place.clone());
        let rpc = move |host: Arc<dyn Host>| {
            Arc::new_cyclic(|rpc| {
                let all = Queue::default();
                let registry = Registry::default();
                let limits = StreamLimits {
                    enabled: config.item_streams,
                    lifetime: config.stream_lifetime,
                    linger: config.stream_linger,
                    per_connection: config.streams_per_connection,
                    in_all: config.streams_in_all,
                };
                let room = Arc::new(Room {
                    host,
                    objects: QueueLimits {
                        per_queue: config.queued_per_object,
                        in_all: config.queued_in_all,
                        all: all.clone(),
                    },
                    calls: QueueLimits {
                        per_queue: config.queued_in_all,
                        in_all: config.queued_in_all,
                        all,
                    },
                    workers: Arc::new(workers),
                    queue: Queue::default(),
                    wait: config.queue_timeout,
                    on_error,
                });
                let streams = Arc::new(Streams::new(Arc::clone(&room), limits));
                let itself = DaemonObject {
                    rpc: rpc.clone(),
                    place,
                    driver: if threads { "threads" } else { "event loop" },
                };
                let itself = Arc::new(DaemonServant::new(itself, &streams));
                registry
                    .add_servant(DaemonObject::ID, itself, DaemonServant::metadata())
                    .expect("the first object of a registry, and its id is a good one");
                registry
                    .add(
                        DetectorObject::ID,
                        &Object::new(DetectorObject),
                        Keep::Alive,
                        true,
                        || {},
                    )
                    .expect("the second one, and its id is a good one, too");
                Rpc {
                    registry,
                    doors,
                    config: Arc::new(config.clone()),
                    limits: config.document(),
                    message_bytes: config.message_bytes,
                    room,
                    validator,
                    streams,
                    on_disconnect,
                    annotate,
                }
            })
        };
        let (rpc, stop, driver) = if threads {
            let server = threads::Server::new(sockets, server_config, |host| rpc(host))?;
            let (rpc, stop) = (Arc::clone(server.rpc()), server.stop_handle());
            (rpc, stop, Driver::Threads(server))
        } else {
            let server = tokio::Server::new(sockets, server_config, |host| rpc(host));
            let (rpc, stop) = (Arc::clone(server.rpc()), server.stop_handle());
            (rpc, stop, Driver::EventLoop(server))
        };
        if listens {
            detector::serve_at(&location, &rpc.room);
        }
        Ok(Daemon {
            rpc,
            stop,
            server: Mutex::new(Some(driver)),
        })
    }
}

impl Daemon {
    /// A daemon that listens at `address`: `host:port`, `[v6]:port` or `./u:path` for a unix socket.
    ///
    /// Port 0 is any free port. A daemon at `0.0.0.0` or `[::]` listens at all addresses of the
    /// machine, and its URIs have the machine's name. Clients can connect from now on; they are
    /// served once [`serve`](Daemon::serve) or [`start`](Daemon::start) is called.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the address is none, [`ErrorKind::Io`] if it cannot be listened at.
    pub fn bind(address: &str) -> Result<Self, Error> {
        Self::builder().bind(address)
    }

    /// Settings for a daemon.
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder::default()
    }

    /// Where it listens.
    pub fn location(&self) -> &Location {
        &self.rpc.doors.location
    }

    /// Serves an object under `id`, or under a new id if that is `None`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if the id is taken or cannot be part of a URI, or if the object is
    /// registered already.
    pub fn register<'a>(
        &self,
        id: impl Into<Option<&'a str>>,
        object: impl IntoObject,
    ) -> Result<Uri, Error> {
        let id = id.into().map_or_else(new_id, str::to_owned);
        self.add(&id, &object.into_object(), Keep::Alive, false)
    }

    /// Serves an object under `id`, whether or not another one is registered under it, or the
    /// object under another id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if the id cannot be part of a URI.
    pub fn replace(&self, id: &str, object: impl IntoObject) -> Result<Uri, Error> {
        self.add(id, &object.into_object(), Keep::Alive, true)
    }

    /// Serves an object for as long as somebody else keeps it alive; then its id is unknown.
    ///
    /// # Errors
    ///
    /// As [`Daemon::register`].
    pub fn register_weak<'a, T: Expose>(
        &self,
        id: impl Into<Option<&'a str>>,
        object: &Object<T>,
    ) -> Result<Uri, Error> {
        let id = id.into().map_or_else(new_id, str::to_owned);
        self.add(&id, object, Keep::Weakly, false)
    }

    /// Serves instances of a class, which `create` makes when they are needed.
    ///
    /// An error of `create` is the answer to the call that needed the instance.
    ///
    /// # Errors
    ///
    /// As [`Daemon::register`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use antifreeze::{Daemon, InstanceMode, expose};
    ///
    /// struct Cart(Vec<String>);
    ///
    /// #[expose]
    /// impl Cart {
    ///     fn add(&mut self, item: String) -> usize {
    ///         self.0.push(item);
    ///         self.0.len()
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), antifreeze::Error> {
    /// let daemon = Daemon::bind("localhost:0")?;
    /// // Every customer, that is every connection, has a cart of its own.
    /// daemon.register_class("cart", InstanceMode::Session, || Ok::<_, Infallible>(Cart(vec![])))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_class<'a, T: Expose, E: Into<Box<dyn StdError + Send + Sync>>>(
        &self,
        id: impl Into<Option<&'a str>>,
        mode: InstanceMode,
        create: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Uri, Error> {
        let id = id.into().map_or_else(new_id, str::to_owned);
        self.rpc
            .registry
            .add_class::<T>(&id, ServedClass::new(mode, create))
            .map_err(|error| Error::usage(error.to_string()))?;
        self.uri_for(&id)
    }

    /// Makes an object on a thread of its own, and serves it there.
    ///
    /// It need not be `Send`: `Rc`, `Cell` and handles that belong to one thread are welcome. All its
    /// methods are tasks of that one thread, so they interleave only at `.await`, and what stands
    /// between two of them needs no lock. A type that is not `Send`, or whose async methods have
    /// futures that are not, stands under `#[expose(local)]`; any other exposed type may be served so,
    /// too.
    ///
    /// The thread ends when the object was unregistered, or the daemon dropped, and the last call is
    /// over. A method that blocks holds up all calls of the object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if the id is taken or cannot be part of a URI, [`ErrorKind::Io`] if the
    /// system has no thread to give or `make` panics.
    ///
    /// # Blocking
    ///
    /// Until the object is made.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// use antifreeze::{Daemon, expose};
    ///
    /// struct Counter {
    ///     count: Rc<Cell<u32>>,
    /// }
    ///
    /// #[expose(local)]
    /// impl Counter {
    ///     /// Nobody comes between the two statements, though many may be in here at once.
    ///     async fn next(&self) -> u32 {
    ///         let next = self.count.get() + 1;
    ///         self.count.set(next);
    ///         tokio::task::yield_now().await;
    ///         next
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), antifreeze::Error> {
    /// let daemon = Daemon::bind("localhost:0")?;
    /// daemon.register_local("counter", || Counter { count: Rc::default() })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_local<'a, T: ExposeLocal>(
        &self,
        id: impl Into<Option<&'a str>>,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Uri, Error> {
        let id = id.into().map_or_else(new_id, str::to_owned);
        let object = Local::start(make)
            .map_err(|why| Error::new(ErrorKind::Io, format!("no object on a thread: {why}")))?;
        self.rpc
            .registry
            .add_local(&id, object)
            .map_err(|error| Error::usage(error.to_string()))?;
        self.uri_for(&id)
    }

    /// Forgets an id. Calls that are under way end normally; unknown ids are ignored.
    pub fn unregister(&self, id: &str) {
        forget(&self.rpc, id);
    }

    /// Forgets all ids that an object is registered under.
    pub fn unregister_object<T: Expose>(&self, object: &Object<T>) {
        self.rpc.registry.remove_object(object);
    }

    /// The URI of an object id, whether or not it is registered.
    ///
    /// If the daemon listens at several addresses, or at all of the machine, and serves a call at this
    /// moment, it is the URI by which that client reaches the object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the id cannot be part of a URI.
    pub fn uri_for(&self, id: &str) -> Result<Uri, Error> {
        self.rpc.doors.uri_for(id)
    }

    /// A proxy for a registered object, to be called from here or to be sent to others.
    ///
    /// An [`Object`] can be sent as it is; this is for those that have no such handle: instances of
    /// [classes](Self::register_class) and [local objects](Self::register_local). It has the settings of
    /// the daemon.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if no object has this id.
    pub fn proxy_for(&self, id: &str) -> Result<Proxy, Error> {
        proxy_for(&self.rpc, id)
    }

    /// A handle that shuts the daemon down.
    pub fn handle(&self) -> DaemonHandle {
        DaemonHandle {
            stop: self.stop.clone(),
            rpc: Arc::downgrade(&self.rpc),
        }
    }

    /// Serves on this thread until [`DaemonHandle::shutdown`] is called.
    ///
    /// The event loop brings a runtime of its own. At the end it accepts nobody any more, lets
    /// running calls finish for as long as the setting `drain_timeout` says, and returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if it serves already or has served, or inside of a tokio runtime, which
    /// it would block: that is what [`run`](Self::run) is for. [`ErrorKind::Io`] if the system
    /// refuses to wait for events.
    pub fn serve(&self) -> Result<(), Error> {
        if ::tokio::runtime::Handle::try_current().is_ok() {
            let text =
                "serve() would block the tokio runtime that it is called in; use .run().await";
            return Err(Error::usage(text));
        }
        self.take_driver()?.serve()
    }

    /// Serves in the tokio runtime that it is awaited in, until [`DaemonHandle::shutdown`] is called.
    ///
    /// The runtime may be of either kind, and must have I/O and time enabled. With
    /// [`threads`](DaemonBuilder::threads) the threads of the daemon serve, and this waits for them.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the event loop ends at once: connections are closed, and calls that
    /// have not begun are dropped. With threads, those shut down as if asked to. Shut the daemon down
    /// and await this to let running calls finish.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); [`ErrorKind::Usage`] outside of a runtime.
    ///
    /// # Panics
    ///
    /// If I/O or time is not enabled in the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::{Daemon, expose};
    ///
    /// struct Greeter;
    ///
    /// #[expose]
    /// impl Greeter {
    ///     fn hello(&self) -> &'static str {
    ///         "hello"
    ///     }
    /// }
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let daemon = Daemon::bind("localhost:0")?;
    /// println!("{}", daemon.register("greeter", Greeter)?);
    /// # daemon.handle().shutdown();
    /// daemon.run().await
    /// # })
    /// # .unwrap();
    /// # Ok::<(), antifreeze::Error>(())
    /// ```
    pub async fn run(&self) -> Result<(), Error> {
        if ::tokio::runtime::Handle::try_current().is_err() {
            let text = "run() needs a tokio runtime, there is none here; use .serve()";
            return Err(Error::usage(text));
        }
        self.take_driver()?.run(self.stop.clone()).await
    }

    /// Serves on a thread of its own until the result is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] if it serves already or has served, [`ErrorKind::Io`] if the system has
    /// no thread to give.
    pub fn start(self) -> Result<Running, Error> {
        let driver = self.take_driver()?;
        let thread = on_a_thread(move || driver.serve())?;
        Ok(Running {
            daemon: self,
            thread: Some(thread),
        })
    }

    fn take_driver(&self) -> Result<Driver, Error> {
        self.server
            .lock()
            .take()
            .ok_or_else(|| Error::usage("the daemon serves already, or has ended"))
    }

    fn add<T: Expose>(
        &self,
        id: &str,
        object: &Object<T>,
        keep: Keep,
        force: bool,
    ) -> Result<Uri, Error> {
        add(&self.rpc, id, object, keep, force)
    }
}

fn forget(rpc: &Rpc, id: &str) {
    // Without it the daemon could not answer its clients any more.
    if id != DaemonObject::ID {
        rpc.registry.remove(id);
    }
}

fn proxy_for(rpc: &Rpc, id: &str) -> Result<Proxy, Error> {
    let metadata = rpc.registry.metadata(id);
    let metadata = metadata
        .ok_or_else(|| Error::usage(format!("expected the id of an object, got {id:?}")))?;
    let state = metadata.of_proxy(&rpc.doors.uri_for(id)?);
    let builder = ProxyBuilder::<Proxy>::of_state(&state)?;
    builder.config(Config::clone(&rpc.config)).lazy()
}

fn add<T: Expose>(
    rpc: &Arc<Rpc>,
    id: &str,
    object: &Object<T>,
    keep: Keep,
    force: bool,
) -> Result<Uri, Error> {
    rpc.registry
        .add(id, object, keep, force, || object.is_served_by(rpc))
        .map_err(|error| Error::usage(error.to_string()))?;
    rpc.doors.uri_for(id)
}

impl Driver {
    fn serve(self) -> Result<(), Error> {
        match self {
            Self::EventLoop(server) => server.block_on(),
            Self::Threads(server) => server.run(),
        }
    }

    async fn run(self, stop: Stop) -> Result<(), Error> {
        match self {
            Self::EventLoop(server) => server.run().await,
            Self::Threads(server) => {
                /// Shuts the daemon down if nobody waits for it any more.
                struct Guard(Stop);
                impl Drop for Guard {
                    fn drop(&mut self) {
                        self.0.ask();
                    }
                }
                let _guard = Guard(stop);
                let (tell, told) = ::tokio::sync::oneshot::channel();
                // Its end is told, so nobody joins it.
                drop(on_a_thread(move || tell.send(server.run()))?);
                told.await.unwrap_or_else(|_| Err(panicked()))
            }
        }
    }
}

fn on_a_thread<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    std::thread::Builder::new()
        .name("antifreeze-daemon".to_owned())
        .spawn(f)
        .map_err(|why| Error::new(ErrorKind::Io, format!("no thread to serve on: {why}")))
}

fn panicked() -> Error {
    Error::new(ErrorKind::Io, "the daemon's thread panicked")
}

fn parse(address: &str) -> Result<Location, Error> {
    address.parse().map_err(|_| {
        let expected = "expected host:port, [v6]:port or ./u:path";
        Error::new(
            ErrorKind::Uri,
            format!("cannot listen there: {expected}, got {address:?}"),
        )
    })
}

/// An id as Pyro makes them (`server.py`, `register`).
fn new_id() -> String {
    format!("obj_{}", Uuid::new_v4().simple())
}

impl DaemonHandle {
    /// Asks the daemon to end: running calls finish, then [`Daemon::serve`] returns.
    pub fn shutdown(&self) {
        self.stop.ask();
    }

    /// Serves an object under `id`, or under a new id if that is `None`; see [`Daemon::register`].
    ///
    /// # Errors
    ///
    /// As [`Daemon::register`]; [`ErrorKind::Usage`] also if the daemon is gone.
    pub fn register<'a>(
        &self,
        id: impl Into<Option<&'a str>>,
        object: impl IntoObject,
    ) -> Result<Uri, Error> {
        let id = id.into().map_or_else(new_id, str::to_owned);
        add(&self.rpc()?, &id, &object.into_object(), Keep::Alive, false)
    }

    /// Forgets an id; see [`Daemon::unregister`].
    pub fn unregister(&self, id: &str) {
        if let Some(rpc) = self.rpc.upgrade() {
            forget(&rpc, id);
        }
    }

    /// Forgets the ids of an object; see [`Daemon::unregister_object`].
    pub fn unregister_object<T: Expose>(&self, object: &Object<T>) {
        if let Some(rpc) = self.rpc.upgrade() {
            rpc.registry.remove_object(object);
        }
    }

    /// The URI of an object id; see [`Daemon::uri_for`].
    ///
    /// # Errors
    ///
    /// As [`Daemon::uri_for`]; [`ErrorKind::Usage`] if the daemon is gone.
    pub fn uri_for(&self, id: &str) -> Result<Uri, Error> {
        self.rpc()?.doors.uri_for(id)
    }

    /// A proxy for a registered object; see [`Daemon::proxy_for`].
    ///
    /// # Errors
    ///
    /// As [`Daemon::proxy_for`]; [`ErrorKind::Usage`] also if the daemon is gone.
    pub fn proxy_for(&self, id: &str) -> Result<Proxy, Error> {
        proxy_for(&*self.rpc()?, id)
    }

    fn rpc(&self) -> Result<Arc<Rpc>, Error> {
        let rpc = self.rpc.upgrade();
        rpc.ok_or_else(|| Error::usage("the daemon of the handle is gone"))
    }
}

impl Running {
    /// The daemon, to register more objects or to get a handle.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Shuts the daemon down and waits until it has ended.
    ///
    /// # Errors
    ///
    /// What [`Daemon::serve`] returned.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.daemon.handle().shutdown();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(panicked()),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Who wants to know calls `stop`.
        let _ = self.end();
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon")
            .field("location", self.location())
            .finish_non_exhaustive()
    }
}
