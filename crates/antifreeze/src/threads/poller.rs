//! Everything that waits without a thread: idle connections, slow peers, timers, listeners.
//!
//! Readiness is taken as a hint, edge-triggered, and only for as long as somebody waits: a
//! connection is registered when it is parked and deregistered when a worker takes it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use antifreeze_proto::Time;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use parking_lot::Mutex;
use tracing::warn;

use super::connection::Connection;
use crate::net::Socket;
use crate::rpc::Ticket;
use crate::server::{ACCEPT_AGAIN, Clock, Timers};

/// The side of a [`Poller`] that belongs to the thread that polls.
pub(crate) struct Polling {
    poll: mio::Poll,
    events: Events,
}

/// The waiting room.
pub(crate) struct Poller {
    registry: mio::Registry,
    waker: mio::Waker,
    state: Mutex<State>,
    clock: Clock,
}

struct State {
    parked: HashMap<Token, Parked>,
    timers: Timers<Whom>,
    /// Until when the polling thread sleeps; somebody who needs it sooner wakes it.
    sleeping_until: Option<Time>,
    next_token: usize,
    /// Connections that do not know yet that they are to end are not kept any more.
    draining: bool,
    /// Nobody is kept any more.
    closed: bool,
}

enum Parked {
    /// With whether its socket is registered.
    Connection(Box<Connection>, bool),
    /// A caller that waits for an object: watched only for its death.
    Caller { socket: Arc<Socket>, ticket: Ticket },
}

enum Whom {
    Parked(Token),
    Waiting(Ticket),
    Acceptor,
}

/// What the polling thread found.
pub(crate) enum Found {
    /// The connection's socket is ready.
    Ready(Box<Connection>),
    /// The connection has waited as long as it wanted.
    Due(Box<Connection>),
    /// There may be connections to accept.
    Accept,
}

/// What a parked connection waits for, besides its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum For {
    Reading,
    Writing,
    /// For its end alone, where the system tells that.
    Break,
    /// Only for its time.
    Time,
}

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_PARKED: usize = 2;
const EVENTS: usize = 256;

impl Poller {
    /// A waiting room, and the side of it that one thread polls.
    pub(crate) fn new(clock: Clock) -> io::Result<(Self, Polling)> {
        let poll = mio::Poll::new()?;
        let poller = Self {
            registry: poll.registry().try_clone()?,
            waker: mio::Waker::new(poll.registry(), WAKER)?,
            clock,
            state: Mutex::new(State {
                parked: HashMap::new(),
                timers: Timers::new(),
                sleeping_until: None,
                next_token: FIRST_PARKED,
                draining: false,
                closed: false,
            }),
        };
        Ok((
            poller,
            Polling {
                poll,
                events: Events::with_capacity(EVENTS),
            },
        ))
    }

    /// Reports connections that come to a listening socket.
    pub(crate) fn listen(&self, listener: RawFd) -> io::Result<()> {
        self.registry
            .register(&mut SourceFd(&listener), LISTENER, Interest::READABLE)
    }

    /// Forgets a listening socket.
    pub(crate) fn unlisten(&self, listener: RawFd) {
        self.deregister(listener);
    }

    /// Looks for connections to accept once more in a moment, though nothing is reported.
    pub(crate) fn accept_again(&self) {
        let at = self.clock.now() + ACCEPT_AGAIN;
        self.state.lock().wake_at(at, Whom::Acceptor, &self.waker);
    }

    /// Keeps a connection until its socket is ready or its time has come.
    ///
    /// It comes back if it cannot be kept, or should drain and does not know it.
    pub(crate) fn park(
        &self,
        connection: Box<Connection>,
        what: For,
        until: Option<Time>,
    ) -> Result<Token, Box<Connection>> {
        let interest = match what {
            For::Reading => Some(Interest::READABLE),
            // The peer may take nothing before it has said all that it has to say.
            For::Writing if connection.wants_read() => {
                Some(Interest::WRITABLE | Interest::READABLE)
            }
            For::Writing => Some(Interest::WRITABLE),
            // That both directions have ended is told whatever one asks for.
            #[cfg(target_os = "linux")]
            For::Break => Some(Interest::PRIORITY),
            #[cfg(not(target_os = "linux"))]
            For::Break => None,
            For::Time => None,
        };
        let fd = connection.socket().as_raw_fd();
        let mut state = self.state.lock();
        if state.closed || state.draining && !connection.is_draining() {
            return Err(connection);
        }
        let token = state.token();
        if let Some(interest) = interest
            && let Err(why) = self.registry.register(&mut SourceFd(&fd), token, interest)
        {
            warn!(%why, "cannot watch a connection");
            return Err(connection);
        }
        state
            .parked
            .insert(token, Parked::Connection(connection, interest.is_some()));
        if let Some(until) = until {
            state.wake_at(until, Whom::Parked(token), &self.waker);
        }
        Ok(token)
    }

    /// Takes out a connection that waits, if it still does.
    pub(crate) fn take(&self, token: Token) -> Option<Box<Connection>> {
        let mut state = self.state.lock();
        match state.parked.remove(&token)? {
            Parked::Connection(connection, registered) => {
                self.release(&connection, registered);
                Some(connection)
            }
            Parked::Caller { .. } => None,
        }
    }

    /// Ends the wait of a caller whose connection breaks meanwhile, until [`Poller::unwatch`].
    pub(crate) fn watch(&self, socket: &Arc<Socket>, ticket: Ticket) -> Option<Token> {
        let mut state = self.state.lock();
        let token = state.token();
        let fd = socket.as_raw_fd();
        // A reset and the closing of a unix socket are reported whatever one asks for.
        let registered = self
            .registry
            .register(&mut SourceFd(&fd), token, Interest::READABLE);
        if let Err(why) = registered {
            // The caller's death will be noticed when it is answered.
            warn!(%why, "cannot watch a caller");
            return None;
        }
        let socket = Arc::clone(socket);
        state
            .parked
            .insert(token, Parked::Caller { socket, ticket });
        Some(token)
    }

    /// Stops watching a caller.
    pub(crate) fn unwatch(&self, token: Token) {
        if let Some(Parked::Caller { socket, .. }) = self.state.lock().parked.remove(&token) {
            self.deregister(socket.as_raw_fd());
        }
    }

    /// Ends the wait that `ticket` names at that time.
    pub(crate) fn expire_at(&self, at: Time, ticket: Ticket) {
        self.state
            .lock()
            .wake_at(at, Whom::Waiting(ticket), &self.waker);
    }

    /// Makes the polling thread look up.
    pub(crate) fn wake(&self) {
        if let Err(why) = self.waker.wake() {
            warn!(%why, "cannot wake the poller");
        }
    }

    /// Takes every connection out, and keeps none that does not know that it is to end.
    #[allow(clippy::vec_box, reason = "connections move about boxed")]
    pub(crate) fn take_parked(&self) -> Vec<Box<Connection>> {
        let mut state = self.state.lock();
        state.draining = true;
        let mut connections = Vec::new();
        let parked = std::mem::take(&mut state.parked);
        for (token, parked) in parked {
            match parked {
                Parked::Connection(connection, registered) => {
                    self.release(&connection, registered);
                    connections.push(connection);
                }
                caller @ Parked::Caller { .. } => {
                    state.parked.insert(token, caller);
                }
            }
        }
        connections
    }

    /// Keeps nobody from now on.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        drop(self.take_parked());
    }

    /// Refuses the calls that wait; their connections are kept until they are told.
    pub(crate) fn refuse_waiting(&self) {
        let state = self.state.lock();
        let (mut tickets, mut calls) = (Vec::new(), Vec::new());
        for parked in state.parked.values() {
            match parked {
                Parked::Connection(connection, _) => calls.extend(connection.calls()),
                Parked::Caller { ticket, .. } => tickets.push(ticket.clone()),
            }
        }
        drop(state);
        for ticket in tickets {
            ticket.refuse();
        }
        for calls in calls {
            calls.refuse_waiting();
        }
    }

    /// Waits for something to happen, at most until `until`, and hands out what did.
    pub(crate) fn poll(
        &self,
        polling: &mut Polling,
        until: Option<Time>,
        mut hand_out: impl FnMut(Found),
    ) -> io::Result<()> {
        let timeout = {
            let mut state = self.state.lock();
            let State { timers, parked, .. } = &mut *state;
            let due = timers.next(|whom| whom.is_served(parked));
            let sleep = [due, until].into_iter().flatten().min();
            state.sleeping_until = sleep;
            sleep.map(|at| at.saturating_since(self.clock.now()))
        };
        let Polling { poll, events } = polling;
        match poll.poll(events, timeout) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
        for event in events.iter() {
            match event.token() {
                WAKER => {}
                LISTENER => hand_out(Found::Accept),
                token => self.on_ready(token, event, &mut hand_out),
            }
        }
        self.on_time(&mut hand_out);
        Ok(())
    }

    fn on_ready(&self, token: Token, event: &mio::event::Event, hand_out: &mut impl FnMut(Found)) {
        let mut state = self.state.lock();
        match state.parked.get(&token) {
            Some(Parked::Connection(..)) => {}
            // The end of the caller's input alone is no reason to drop its call.
            Some(Parked::Caller { .. }) if event.is_error() || event.is_write_closed() => {}
            _ => return,
        }
        match state.parked.remove(&token) {
            Some(Parked::Connection(connection, registered)) => {
                self.release(&connection, registered);
                drop(state);
                hand_out(Found::Ready(connection));
            }
            Some(Parked::Caller { socket, ticket }) => {
                self.deregister(socket.as_raw_fd());
                drop(state);
                ticket.cancel();
            }
            None => {}
        }
    }

    fn on_time(&self, hand_out: &mut impl FnMut(Found)) {
        let now = self.clock.now();
        loop {
            let mut state = self.state.lock();
            let Some(whom) = state.timers.take_due(now) else {
                return;
            };
            match whom {
                Whom::Acceptor => {
                    drop(state);
                    hand_out(Found::Accept);
                }
                Whom::Waiting(ticket) => {
                    drop(state);
                    ticket.expire();
                }
                Whom::Parked(token) => {
                    let parked = state.parked.remove(&token);
                    if let Some(Parked::Connection(connection, registered)) = parked {
                        self.release(&connection, registered);
                        drop(state);
                        hand_out(Found::Due(connection));
                    }
                }
            }
        }
    }

    fn release(&self, connection: &Connection, registered: bool) {
        if registered {
            self.deregister(connection.socket().as_raw_fd());
        }
    }

    fn deregister(&self, fd: RawFd) {
        if let Err(why) = self.registry.deregister(&mut SourceFd(&fd)) {
            warn!(%why, "cannot stop watching a socket");
        }
    }
}

impl Whom {
    /// Whether a timer does anything for it yet.
    fn is_served(&self, parked: &HashMap<Token, Parked>) -> bool {
        match self {
            Self::Parked(token) => parked.contains_key(token),
            Self::Waiting(ticket) => ticket.may_expire(),
            Self::Acceptor => true,
        }
    }
}

impl State {
    fn token(&mut self) -> Token {
        // Never used again, so that a late report cannot hit somebody else.
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    fn wake_at(&mut self, at: Time, whom: Whom, waker: &mio::Waker) {
        let parked = &self.parked;
        self.timers.add(at, whom, |whom| whom.is_served(parked));
        if self.sleeping_until.is_none_or(|until| at < until) {
            self.sleeping_until = Some(at);
            if let Err(why) = waker.wake() {
                warn!(%why, "cannot wake the poller");
            }
        }
    }
}
