//! What the connections of a daemon share, and what its objects need to run.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::tokio::runtime::Handle;
use ::tokio::sync::Notify;
use antifreeze_proto::Time;
use parking_lot::Mutex;

use super::inbox::Inbox;
use crate::call::Peer;
use crate::rpc::{Host, Rpc, Session, Ticket};
use crate::server::{Clock, Pool, ServerConfig, Timers, Work};

/// Threads that may block, timers and time.
pub(crate) struct Engine {
    pub(super) pool: Arc<Pool>,
    pub(super) clock: Clock,
    /// Wakes the task that accepts, stops, and lets waits expire.
    pub(super) bell: Notify,
    waits: Mutex<Waits>,
    runtime: OnceLock<Handle>,
}

struct Waits {
    timers: Timers<Ticket>,
    /// Until when the task sleeps that lets waits expire; somebody who needs it sooner wakes it.
    sleeping_until: Option<Time>,
}

/// How far a server has come on its way to its end.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(super) enum Level {
    Serving,
    /// Connections end as soon as nothing runs on them.
    Draining,
    /// Calls that wait are refused.
    Refusing,
    /// Connections end.
    Closed,
}

/// What the connections of one daemon share.
pub(super) struct Shared {
    pub(super) rpc: Arc<Rpc>,
    pub(super) engine: Arc<Engine>,
    /// Of a connection that has ended.
    nobody: Arc<Session>,
    /// There is one connection, and the server ends with it.
    pub(super) lone: bool,
    level: AtomicU8,
    connections: Mutex<HashMap<u64, Arc<Inbox>>>,
    oneways: Mutex<Oneways>,
}

/// Oneway calls that wait or run: they may outlive their connections, but not the daemon.
#[derive(Default)]
struct Oneways {
    calls: HashMap<u64, Option<Ticket>>,
    last: u64,
}

/// Counts a oneway call that waits or runs.
pub(super) struct Oneway {
    shared: Arc<Shared>,
    key: u64,
}

impl Engine {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            pool: Arc::new(Pool::new(config.workers)),
            clock: Clock::start(config.sleep),
            bell: Notify::new(),
            waits: Mutex::new(Waits {
                timers: Timers::new(),
                sleeping_until: None,
            }),
            runtime: OnceLock::new(),
        }
    }

    /// The runtime that the daemon serves in.
    pub(super) fn run_on(&self, runtime: Handle) {
        // A daemon serves once.
        let _ = self.runtime.set(runtime);
    }

    /// Ends the waits whose time has come, and says when the next one is due.
    pub(super) fn expire(&self) -> Option<Time> {
        loop {
            let mut waits = self.waits.lock();
            match waits.timers.take_due(self.clock.now()) {
                Some(ticket) => {
                    drop(waits);
                    ticket.expire();
                }
                None => {
                    waits.sleeping_until = waits.timers.next(Ticket::may_expire);
                    return waits.sleeping_until;
                }
            }
        }
    }
}

impl Host for Engine {
    fn spawn(&self, job: Work) {
        self.pool.spawn(job);
    }

    fn instant(&self, at: Time) -> Option<Instant> {
        self.clock.instant(at).map(Into::into)
    }

    fn may_block(&self) -> bool {
        Pool::is_here()
    }

    fn runtime(&self) -> io::Result<Handle> {
        let runtime = self.runtime.get();
        runtime
            .cloned()
            .ok_or_else(|| io::Error::other("the daemon does not serve"))
    }

    fn expire_after(&self, wait: Duration, ticket: Ticket) {
        let at = self.clock.now() + wait;
        let mut waits = self.waits.lock();
        waits.timers.add(at, ticket, Ticket::may_expire);
        if waits.sleeping_until.is_none_or(|until| at < until) {
            waits.sleeping_until = Some(at);
            self.bell.notify_one();
        }
    }
}

impl Shared {
    pub(super) fn new(rpc: Arc<Rpc>, engine: Arc<Engine>, lone: bool) -> Self {
        Self {
            rpc,
            engine,
            lone,
            nobody: Arc::new(Session::new(Peer::default())),
            level: AtomicU8::new(Level::Serving as u8),
            connections: Mutex::default(),
            oneways: Mutex::default(),
        }
    }

    pub(super) fn level(&self) -> Level {
        let level = self.level.load(Ordering::SeqCst);
        [Level::Serving, Level::Draining, Level::Refusing]
            .into_iter()
            .find(|known| *known as u8 == level)
            .unwrap_or(Level::Closed)
    }

    /// Goes on to the next level, and tells all connections.
    pub(super) fn enter(&self, level: Level) {
        self.level.store(level as u8, Ordering::SeqCst);
        let told: Vec<_> = self.connections.lock().values().cloned().collect();
        for inbox in told {
            inbox.wake();
        }
        if level >= Level::Refusing {
            let tickets: Vec<_> = {
                let mut oneways = self.oneways.lock();
                oneways
                    .calls
                    .values_mut()
                    .filter_map(Option::take)
                    .collect()
            };
            for ticket in tickets {
                ticket.refuse();
            }
        }
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.lock().len()
    }

    /// Connections and calls that a daemon which closes waits for.
    pub(super) fn open(&self) -> usize {
        self.connections() + self.oneways.lock().calls.len()
    }

    /// Whether its only connection has ended.
    pub(super) fn is_deserted(&self) -> bool {
        self.lone && self.open() == 0
    }

    pub(super) fn add(&self, id: u64, inbox: Arc<Inbox>) {
        self.connections.lock().insert(id, inbox);
    }

    pub(super) fn remove(&self, id: u64) {
        self.connections.lock().remove(&id);
        self.one_less();
    }

    /// Lets go of a session. What ends with it is the user's code, which may take its time.
    pub(super) fn end(&self, session: &mut Arc<Session>) {
        let session = std::mem::replace(session, Arc::clone(&self.nobody));
        self.rpc.end(&session);
        if !session.instances.is_empty() {
            self.engine.pool.spawn(Box::new(move || drop(session)));
        }
    }

    fn one_less(&self) {
        if (self.lone || self.level() > Level::Serving) && self.open() == 0 {
            self.engine.bell.notify_one();
        }
    }
}

impl Oneway {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let mut oneways = shared.oneways.lock();
        oneways.last += 1;
        let key = oneways.last;
        oneways.calls.insert(key, None);
        let shared = Arc::clone(shared);
        Self { shared, key }
    }

    /// The ticket ends the call with the daemon.
    pub(super) fn wait(&self, ticket: Ticket) {
        let mut oneways = self.shared.oneways.lock();
        // Read under the lock, as whoever ends the waits looks for them after he has said so.
        if self.shared.level() >= Level::Refusing {
            drop(oneways);
            return ticket.refuse();
        }
        oneways.calls.insert(self.key, Some(ticket));
    }
}

impl Drop for Oneway {
    fn drop(&mut self) {
        let ticket = self.shared.oneways.lock().calls.remove(&self.key);
        // Not under the lock: what it names may be the last of something.
        drop(ticket);
        self.shared.one_less();
    }
}
