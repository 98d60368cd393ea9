//! The daemon's polling thread: accepts, hands ready connections to the workers, shuts down.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use antifreeze_proto::{ServerConnection, Time};
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::poller::{Found, Poller, Polling};
use super::tasks::Tasks;
use crate::error::{Error, ErrorKind};
use crate::net::{Listener, Socket};
use crate::rpc::{Host, Rpc, Ticket};
use crate::server::{Clock, LAST_WORDS, Pool, ServerConfig, Sockets, Stop, Welcome, Work};

/// How long a worker stays with a connection after a reply, if nobody else wants the worker.
///
/// Parking after every call costs a client that calls in a row more than twice the time.
const STAY: Duration = Duration::from_millis(4);

/// Threads, timers and time: what connections and objects need to run.
pub(crate) struct Engine {
    pub(crate) pool: Arc<Pool>,
    tasks: Tasks,
    pub(crate) poller: Poller,
    pub(crate) clock: Clock,
}

impl Host for Engine {
    fn spawn(&self, job: Work) {
        self.pool.spawn(job);
    }

    fn instant(&self, at: Time) -> Option<Instant> {
        self.clock.instant(at).map(Into::into)
    }

    fn may_block(&self) -> bool {
        true
    }

    fn runtime(&self) -> io::Result<Handle> {
        self.tasks.runtime()
    }

    fn expire_after(&self, wait: Duration, ticket: Ticket) {
        self.poller.expire_at(self.clock.now() + wait, ticket);
    }
}

/// What the connections of one daemon share.
pub(crate) struct Shared {
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) engine: Arc<Engine>,
    connections: AtomicUsize,
    /// Oneway calls that wait, or run as tasks: they belong to no connection any more.
    oneways: AtomicUsize,
    next_id: AtomicU64,
    draining: AtomicBool,
    /// There is one connection, and the server ends with it.
    pub(super) lone: bool,
}

impl Shared {
    /// Whether connections are to end as soon as nothing is running on them.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Connections and calls that a daemon which closes waits for.
    fn open(&self) -> usize {
        self.connections.load(Ordering::SeqCst) + self.oneways.load(Ordering::SeqCst)
    }

    /// Whether its only connection has ended.
    fn is_deserted(&self) -> bool {
        self.lone && self.open() == 0
    }

    fn one_less(&self) {
        if (self.lone || self.is_draining()) && self.open() == 0 {
            self.engine.poller.wake();
        }
    }
}

/// Counts a connection for as long as it exists.
pub(crate) struct Open(Arc<Shared>);

impl Open {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
        self.0.one_less();
    }
}

/// Counts a oneway call that nothing else counts.
pub(crate) struct Oneway(Arc<Shared>);

impl Oneway {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.oneways.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Oneway {
    fn drop(&mut self) {
        self.0.oneways.fetch_sub(1, Ordering::SeqCst);
        self.0.one_less();
    }
}

/// A daemon's listeners, connections and threads.
pub(crate) struct Server {
    polling: Polling,
    listeners: Vec<Listener>,
    /// A connection that was there before.
    connected: Option<Socket>,
    config: ServerConfig,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// A server for `sockets`; `rpc` makes the objects, given what runs them.
    pub(crate) fn new(
        sockets: Sockets,
        config: ServerConfig,
        rpc: impl FnOnce(Arc<Engine>) -> Arc<Rpc>,
    ) -> Result<Self, Error> {
        let failed =
            |why: io::Error| Error::new(ErrorKind::Io, format!("cannot wait for events: {why}"));
        let clock = Clock::start(config.sleep);
        let (poller, polling) = Poller::new(clock).map_err(failed)?;
        let engine = Arc::new(Engine {
            pool: Arc::new(Pool::new(config.workers)),
            tasks: Tasks::default(),
            poller,
            clock,
        });
        let Sockets {
            listeners,
            connected,
        } = sockets;
        for listener in &listeners {
            engine.poller.listen(listener.as_raw_fd()).map_err(failed)?;
        }
        let shared = Arc::new(Shared {
            rpc: rpc(Arc::clone(&engine)),
            engine,
            connections: AtomicUsize::new(0),
            oneways: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            lone: connected.is_some(),
        });
        Ok(Self {
            polling,
            listeners,
            connected,
            config,
            shared,
            stop: Arc::default(),
        })
    }

    /// A handle that stops the server.
    pub(crate) fn stop_handle(&self) -> Stop {
        let (asked, engine) = (Arc::clone(&self.stop), Arc::clone(&self.shared.engine));
        Stop::new(move || {
            asked.store(true, Ordering::Release);
            engine.poller.wake();
        })
    }

    pub(crate) fn rpc(&self) -> &Arc<Rpc> {
        &self.shared.rpc
    }

    /// Serves until somebody stops it, then lets running calls finish.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        if let Some(socket) = self.connected.take() {
            let begun = begin(socket, &self.shared, None, |id, now| {
                ServerConnection::without_handshake(Arc::clone(&self.config.protocol), id, now)
            });
            // There is no other one to serve.
            begun.map_err(|why| {
                Error::new(
                    ErrorKind::Io,
                    format!("cannot set up the connection: {why}"),
                )
            })?;
        }
        while !self.stop.load(Ordering::Acquire) && !self.shared.is_deserted() {
            self.turn(None)?;
        }
        self.drain()
    }

    /// Waits for the next thing to happen and hands it to a worker.
    fn turn(&mut self, until: Option<Time>) -> Result<(), Error> {
        let Self {
            polling,
            listeners,
            config,
            shared,
            ..
        } = self;
        let mut accepting = false;
        let engine = &shared.engine;
        let polled = engine.poller.poll(polling, until, |found| match found {
            Found::Ready(connection) => engine.pool.spawn(Box::new(move || connection.run())),
            Found::Due(connection) => engine.pool.spawn(Box::new(move || connection.tick())),
            Found::Accept => accepting = true,
        });
        polled
            .map_err(|why| Error::new(ErrorKind::Io, format!("cannot wait for events: {why}")))?;
        if accepting {
            for listener in listeners.iter() {
                accept_all(listener, config, shared);
            }
        }
        Ok(())
    }

    /// Takes no more connections, ends idle ones, and waits for the others.
    fn drain(&mut self) -> Result<(), Error> {
        info!(open = self.open(), "shutting down");
        for listener in self.listeners.drain(..) {
            self.shared.engine.poller.unlisten(listener.as_raw_fd());
        }
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.rpc.streams.end_all();
        let engine = Arc::clone(&self.shared.engine);
        let end = engine.clock.now() + self.config.drain;
        for connection in engine.poller.take_parked() {
            engine.pool.spawn(Box::new(move || connection.run()));
        }
        while self.open() > 0 && engine.clock.now() < end {
            self.turn(Some(end))?;
        }
        // Oneway calls may still run though their connections have ended.
        let left = end.saturating_since(engine.clock.now());
        let quiet = engine.pool.quiesce(left);
        let open = self.open();
        if open > 0 || !quiet {
            warn!(
                open,
                "calls were still running at the end of the drain time"
            );
        }
        engine.poller.refuse_waiting();
        engine.tasks.end(LAST_WORDS);
        // Those who wait for an object are told so before their connections end.
        engine.pool.quiesce(LAST_WORDS);
        engine.poller.close();
        let dropped = engine.pool.close();
        if dropped > 0 {
            warn!(dropped, "calls that had not begun were dropped");
        }
        debug!("shut down");
        Ok(())
    }

    fn open(&self) -> usize {
        self.shared.open()
    }
}

fn accept_all(listener: &Listener, config: &ServerConfig, shared: &Arc<Shared>) {
    loop {
        match listener.accept() {
            Ok(socket) => welcome(socket, config, shared),
            Err(why) => match why.kind() {
                io::ErrorKind::WouldBlock => return,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    // Out of file descriptors, most likely: those who wait are not reported again.
                    warn!(%why, "cannot accept a connection, trying again in a moment");
                    return shared.engine.poller.accept_again();
                }
            },
        }
    }
}

/// Takes up a new connection; it waits with the poller until its first byte comes.
fn welcome(socket: Socket, config: &ServerConfig, shared: &Arc<Shared>) {
    let refusal = match config.welcome(shared.connections.load(Ordering::Relaxed)) {
        Welcome::In => None,
        Welcome::Refuse(why) => Some(why),
        Welcome::Drop => return,
    };
    let begun = begin(socket, shared, refusal, |id, now| {
        ServerConnection::new(Arc::clone(&config.protocol), id, now)
    });
    if let Err(why) = begun {
        warn!(%why, "cannot set up a connection");
    }
}

fn begin(
    socket: Socket,
    shared: &Arc<Shared>,
    refusal: Option<&'static str>,
    proto: impl FnOnce(u64, Time) -> ServerConnection,
) -> io::Result<()> {
    socket.set_timeouts(Some(STAY), Some(STAY))?;
    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
    let proto = proto(id, shared.engine.clock.now());
    Box::new(Connection::new(socket, proto, Arc::clone(shared), refusal)).begin();
    Ok(())
}
