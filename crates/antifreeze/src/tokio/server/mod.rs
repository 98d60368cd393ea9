//! The driver of a daemon on tokio: a task for each connection, over the state machines that
//! threads drive elsewhere.
//!
//! Readiness is a hint, edge-triggered by tokio: a task reads until it has all that was there, and
//! after so many steps in a row lets the others go first. On the loop nothing blocks: methods run on
//! the threads of a pool, but for those that promise to be quick, and so does everything else that is
//! the user's code or may take long.

mod connection;
mod engine;
mod inbox;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::{future::Future, io};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::{Builder, Handle};
use antifreeze_proto::{Config, ServerConnection, Time};
use tracing::{debug, info, warn};

use self::connection::Connection;
use self::engine::{Engine, Level, Shared};
use super::alarm::Alarm;
use super::watch;
use crate::error::{Error, ErrorKind};
use crate::net::{Listener, Socket};
use crate::rpc::Rpc;
use crate::server::{ACCEPT_AGAIN, LAST_WORDS, ServerConfig, Sockets, Stop, Welcome};

/// How many connections are accepted in a row.
const ACCEPTS: usize = 64;

/// A daemon's listeners and connections.
pub(crate) struct Server {
    sockets: Sockets,
    config: ServerConfig,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

/// A server that runs; dropping it ends everything at once.
struct Serving {
    listeners: Vec<AsyncFd<Listener>>,
    config: ServerConfig,
    shared: Arc<Shared>,
    alarm: Alarm,
    next_id: u64,
    /// Until then nobody is accepted.
    accept_at: Option<Time>,
}

impl Server {
    /// A server for `sockets`; `rpc` makes the objects, given what runs them.
    pub(crate) fn new(
        sockets: Sockets,
        config: ServerConfig,
        rpc: impl FnOnce(Arc<Engine>) -> Arc<Rpc>,
    ) -> Self {
        let engine = Arc::new(Engine::new(&config));
        let rpc = rpc(Arc::clone(&engine));
        let lone = sockets.connected.is_some();
        Self {
            sockets,
            config,
            shared: Arc::new(Shared::new(rpc, engine, lone)),
            stop: Arc::default(),
        }
    }

    /// A handle that stops the server.
    pub(crate) fn stop_handle(&self) -> Stop {
        let (asked, engine) = (Arc::clone(&self.stop), Arc::clone(&self.shared.engine));
        Stop::new(move || {
            asked.store(true, Ordering::Release);
            engine.bell.notify_one();
        })
    }

    pub(crate) fn rpc(&self) -> &Arc<Rpc> {
        &self.shared.rpc
    }

    /// Serves on a runtime of its own until somebody stops it.
    pub(crate) fn block_on(self) -> Result<(), Error> {
        let runtime = Builder::new_multi_thread()
            .thread_name("antifreeze-loop")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|why| Error::new(ErrorKind::Io, format!("no runtime to serve on: {why}")))?;
        let result = runtime.block_on(self.run());
        // Nobody waits for a task that does not come back.
        runtime.shutdown_background();
        result
    }

    /// Serves until somebody stops it, then lets running calls finish.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Self {
            sockets,
            config,
            shared,
            stop,
        } = self;
        let Sockets {
            listeners,
            connected,
        } = sockets;
        shared.engine.run_on(Handle::current());
        let listeners = listeners
            .into_iter()
            .map(|listener| watch(listener, Interest::READABLE))
            .collect::<io::Result<_>>()
            .map_err(unable)?;
        let mut serving = Serving {
            listeners,
            config,
            shared,
            alarm: Alarm::default(),
            next_id: 1,
            accept_at: None,
        };
        if let Some(socket) = connected {
            let begun = serving.begin(socket, None, |config, id, now| {
                ServerConnection::without_handshake(config, id, now)
            });
            // There is no other one to serve.
            begun.map_err(unable)?;
        }
        while !stop.load(Ordering::Acquire) && !serving.shared.is_deserted() {
            serving.turn(None).await?;
        }
        serving.drain().await
    }
}

impl Serving {
    /// Takes no more connections, ends idle ones, and waits for the others.
    async fn drain(&mut self) -> Result<(), Error> {
        info!(open = self.shared.open(), "shutting down");
        self.listeners.clear();
        let end = self.shared.engine.clock.now() + self.config.drain;
        self.shared.enter(Level::Draining);
        self.shared.rpc.streams.end_all();
        let (quiet, open) = loop {
            self.until_all_ended(end).await?;
            // What calls leave behind may still run, and may wait for something again.
            let (quiet, open) = (self.until_quiet(end).await, self.shared.open());
            if !quiet || open == 0 || self.shared.engine.clock.now() >= end {
                break (quiet, open);
            }
        };
        if open > 0 || !quiet {
            warn!(
                open,
                "calls were still running at the end of the drain time"
            );
            // Those who wait for an object are told so before their connections end.
            let end = self.shared.engine.clock.now() + LAST_WORDS;
            self.shared.enter(Level::Refusing);
            self.until_all_ended(end).await?;
        }
        debug!("shut down");
        Ok(())
    }

    async fn until_all_ended(&mut self, end: Time) -> Result<(), Error> {
        while self.shared.open() > 0 && self.shared.engine.clock.now() < end {
            self.turn(Some(end)).await?;
        }
        Ok(())
    }

    /// Waits until nothing runs on the pool, and says whether that is so.
    async fn until_quiet(&mut self, end: Time) -> bool {
        let Self { shared, alarm, .. } = self;
        let engine = &shared.engine;
        loop {
            let mut rung = pin!(engine.bell.notified());
            let quiet = poll_fn(|cx| {
                let until = engine.expire().map_or(end, |due| due.min(end));
                if engine.pool.poll_quiet(cx).is_ready() {
                    return Poll::Ready(true);
                }
                match rung.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => alarm.poll(cx, engine.clock.instant(until)).map(|()| false),
                }
            });
            if quiet.await {
                return true;
            }
            if engine.clock.now() >= end {
                return false;
            }
        }
    }

    /// Waits for the next thing to happen, at most until `until`: accepts, and lets waits expire.
    async fn turn(&mut self, until: Option<Time>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let mut rung = pin!(shared.engine.bell.notified());
        poll_fn(|cx| {
            let due = shared.engine.expire();
            if rung.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(accepted) = self.poll_accept(cx) {
                return Poll::Ready(accepted.map_err(unable));
            }
            let until = [until, due, self.accept_at].into_iter().flatten().min();
            let until = until.and_then(|until| shared.engine.clock.instant(until));
            self.alarm.poll(cx, until).map(Ok)
        })
        .await
    }

    /// Takes up those who want to connect; ready if there may be more of them.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.shared.engine.clock.now();
        if self.accept_at.is_some_and(|at| now < at) {
            return Poll::Pending;
        }
        self.accept_at = None;
        let mut listeners = std::mem::take(&mut self.listeners);
        // One that is always busy must not keep the others waiting.
        if !listeners.is_empty() {
            listeners.rotate_left(1);
        }
        let mut accepts = 0;
        let polled = listeners.iter().find_map(|listener| {
            while let Poll::Ready(ready) = listener.poll_read_ready(cx) {
                let mut ready = match ready {
                    Ok(ready) => ready,
                    Err(why) => return Some(Err(why)),
                };
                match listener.get_ref().accept() {
                    Ok(socket) => self.welcome(socket),
                    Err(why) => match why.kind() {
                        io::ErrorKind::WouldBlock => ready.clear_ready(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                        _ => {
                            // Out of file descriptors, most likely.
                            warn!(%why, "cannot accept a connection, trying again in a moment");
                            self.accept_at = Some(now + ACCEPT_AGAIN);
                            return Some(Ok(()));
                        }
                    },
                }
                accepts += 1;
                if accepts == ACCEPTS {
                    // The connections themselves want their turn.
                    return Some(Ok(()));
                }
            }
            None
        });
        self.listeners = listeners;
        polled.map_or(Poll::Pending, Poll::Ready)
    }

    /// Starts a task for a new connection.
    fn welcome(&mut self, socket: Socket) {
        let refusal = match self.config.welcome(self.shared.connections()) {
            Welcome::In => None,
            Welcome::Refuse(why) => Some(why),
            Welcome::Drop => return,
        };
        let begun = self.begin(socket, refusal, |config, id, now| {
            ServerConnection::new(config, id, now)
        });
        if let Err(why) = begun {
            warn!(%why, "cannot watch a connection");
        }
    }

    fn begin(
        &mut self,
        socket: Socket,
        refusal: Option<&'static str>,
        proto: impl FnOnce(Arc<Config>, u64, Time) -> ServerConnection,
    ) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let now = self.shared.engine.clock.now();
        let proto = proto(Arc::clone(&self.config.protocol), id, now);
        let connection = Connection::new(socket, proto, Arc::clone(&self.shared), refusal)?;
        ::tokio::spawn(connection);
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.enter(Level::Closed);
        let dropped = self.shared.engine.pool.close();
        if dropped > 0 {
            warn!(dropped, "calls that had not begun were dropped");
        }
    }
}

fn unable(why: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot wait for events: {why}"))
}
