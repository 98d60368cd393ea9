//! One connection to a daemon, driven by the thread that makes the call.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use antifreeze_proto::{ClientEvent, CloseCause, Input, Output, Response, Seq, Time};
use antifreeze_serial::Value;
use tracing::debug;

use super::crank::{Crank, Outgoing, closed};
use super::given;
use super::remote::{Remote, Welcome};
use super::servertype;
use crate::chain::{self, By, Route, Stage, Watched};
use crate::error::{Error, Sent};
use crate::naming::Place;
use crate::net::Socket;
use crate::rpc::Metadata;

/// A connection that the daemon accepted.
pub(crate) struct Connection {
    pub(super) socket: Arc<Socket>,
    pub(super) crank: Crank,
    read_timeout: Option<Duration>,
    pub(crate) entry: Entry,
}

/// What is known since the daemon let us in.
pub(crate) struct Entry {
    /// The id of the object that the connection was made for.
    pub(crate) object: String,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) welcome: Value,
    pub(crate) route: Arc<Route>,
}

impl Connection {
    /// Connects and shakes hands, all before the deadline; `seq` continues that of an earlier
    /// connection.
    pub(crate) fn open(
        remote: &Remote,
        place: Place,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        if let Some(given) = &remote.given {
            return Self::take(given.take()?, remote, place, seq, deadline);
        }
        let config = &remote.config;
        let route = Arc::new(Route::new(place.location.clone(), None));
        // Who serves one call at a time may say hello only after somebody who waits for us.
        let waiting = chain::begin(By::Thread, &route, false, true, None);
        let socket = Arc::new(Socket::connect(
            &place.location,
            config.prefer_ip_version,
            config.connect_timeout,
            deadline,
        )?);
        let watched = route.watch(waiting.id().seq, Stage::Connecting, &socket);
        let greeted = Self::greet(socket, remote, place, seq, deadline).and_then(|mut greeted| {
            greeted.ask_servertype(remote, deadline)?;
            Ok(greeted)
        });
        greeted.map_err(|error| {
            watched
                .and_then(|watched| watched.deadlock())
                .unwrap_or(error)
        })
    }

    /// Goes on with a socket on which no hands are shaken.
    fn take(
        socket: Socket,
        remote: &Remote,
        place: Place,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        let question = given::question(remote, &place.object)?;
        let mut connection = Self {
            socket: Arc::new(socket),
            crank: Crank::without_handshake(remote, seq, Instant::now),
            read_timeout: None,
            entry: Entry {
                object: place.object,
                metadata: Arc::default(),
                welcome: Value::None,
                route: Arc::new(Route::new(place.location, None)),
            },
        };
        connection.crank.now();
        let answer = connection.call(question, deadline);
        let answer = answer.map_err(|error| error.with_sent(Sent::No))?;
        if let Some(answer) = answer {
            connection.entry.metadata = Arc::new(given::metadata(remote, answer)?);
        }
        connection.ask_servertype(remote, deadline)?;
        Ok(connection)
    }

    fn ask_servertype(&mut self, remote: &Remote, deadline: Option<Instant>) -> Result<(), Error> {
        if !servertype::is_wanted(self.crank.peer()) {
            return Ok(());
        }
        let question = servertype::question(remote)?;
        let deadline = servertype::deadline(remote, Instant::now(), deadline);
        let answer = self.call(question, deadline);
        let answer = answer.map_err(|error| error.with_sent(Sent::No))?;
        if let (Some(answer), Some(route)) = (answer, Arc::get_mut(&mut self.entry.route)) {
            route.single = servertype::is_single(remote, &answer);
        }
        Ok(())
    }

    /// Shakes hands on a socket that is connected.
    pub(crate) fn greet(
        socket: Arc<Socket>,
        remote: &Remote,
        place: Place,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        let crank = Crank::new(remote, &place, seq, deadline, Instant::now)?;
        let mut connection = Self {
            socket,
            crank,
            read_timeout: None,
            entry: Entry {
                object: place.object,
                metadata: Arc::default(),
                welcome: Value::None,
                route: Arc::new(Route::new(place.location, None)),
            },
        };
        let event = connection.next_event();
        let Welcome { handshake, meta } =
            remote.welcome(&connection.entry.route.location, event)?;
        if let Some(route) = Arc::get_mut(&mut connection.entry.route) {
            route.node = connection.crank.peer();
        }
        connection.entry.metadata = Arc::new(meta);
        remote.learn(&connection.entry.metadata);
        connection.entry.welcome = handshake;
        Ok(connection)
    }

    /// Whether a call may be sent.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.crank.is_usable(&self.socket)
    }

    /// Sends a call and waits for its answer; none for a oneway.
    ///
    /// After an error other than a usage error the connection is over.
    pub(crate) fn call(
        &mut self,
        outgoing: Outgoing,
        deadline: Option<Instant>,
    ) -> Result<Option<Response>, Error> {
        let oneway = outgoing.shape.is_oneway();
        let route = Arc::clone(&self.entry.route);
        let watched = match oneway {
            true => None,
            false => route.watch(outgoing.number(), Stage::Sent, &self.socket),
        };
        let id = match self.crank.call(outgoing, deadline) {
            Ok(id) => id,
            Err(error) => {
                watched.into_iter().for_each(Watched::answered);
                return Err(error);
            }
        };
        if oneway {
            return match self.flush() {
                None => Ok(None),
                Some(cause) => Err(self.crank.lost(id, &cause)),
            };
        }
        loop {
            match self.next_event() {
                ClientEvent::Returned {
                    id: returned,
                    response,
                } if returned == id => {
                    watched.into_iter().for_each(Watched::answered);
                    return Ok(Some(response));
                }
                ClientEvent::Closed(cause) => {
                    let error = self.crank.lost(id, &cause);
                    return Err(match watched {
                        Some(watched) => watched.lost(error),
                        None => error,
                    });
                }
                event => debug!(?event, "an event that nobody waits for"),
            }
        }
    }

    /// Sends a ping and waits for its answer.
    pub(crate) fn ping(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.crank.now();
        let id = self.crank.ping(deadline)?;
        loop {
            match self.next_event() {
                ClientEvent::Ponged { id: ponged } if ponged == id => return Ok(()),
                ClientEvent::Closed(cause) => return Err(closed(&cause, Sent::No)),
                event => debug!(?event, "an event that nobody waits for"),
            }
        }
    }

    /// The sequence number of the last call.
    pub(crate) fn seq(&self) -> Seq {
        self.crank.seq()
    }

    /// Turns the crank until something is to be told.
    fn next_event(&mut self) -> ClientEvent {
        loop {
            match self.crank.next() {
                Output::Transmit => {
                    self.crank.transmit(&self.socket);
                }
                Output::Event(event) => return event,
                Output::Wait(until) if self.crank.wants_write() => self.wait_to_write(until),
                Output::Wait(until) => self.receive(until),
            }
        }
    }

    /// Writes everything that waits; gives the cause if the connection ends over it.
    fn flush(&mut self) -> Option<CloseCause> {
        loop {
            match self.crank.next() {
                Output::Transmit => {
                    self.crank.transmit(&self.socket);
                }
                Output::Event(ClientEvent::Closed(cause)) => return Some(cause),
                Output::Event(event) => debug!(?event, "an event that nobody waits for"),
                Output::Wait(until) if self.crank.wants_write() => self.wait_to_write(until),
                Output::Wait(_) => return None,
            }
        }
    }

    /// Waits until the socket takes more, or the peer says something in the meantime.
    fn wait_to_write(&mut self, until: Option<Time>) {
        self.crank.now();
        if self.crank.is_overdue() {
            return self.crank.tick(&self.socket);
        }
        let ready = match self.socket.wait(until.map(|at| self.crank.left(at))) {
            Ok(ready) => ready,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => return,
            Err(why) => return self.crank.handle(Input::Failed(why.kind())),
        };
        self.crank.now();
        if ready.read {
            self.crank.receive_now(&self.socket);
        }
        if ready.write && self.crank.wants_write() {
            self.crank.transmit(&self.socket);
        }
    }

    fn receive(&mut self, until: Option<Time>) {
        if self.crank.is_overdue() {
            return self.crank.tick(&self.socket);
        }
        if let Err(why) = self.set_read_timeout(until) {
            return self.crank.handle(Input::Failed(why.kind()));
        }
        let input = match self.socket.recv(self.crank.read_buffer()) {
            Ok(0) => Input::Eof,
            Ok(bytes) => Input::Read(bytes),
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => return,
                io::ErrorKind::WouldBlock => return self.crank.tick_now(),
                kind => Input::Failed(kind),
            },
        };
        self.crank.handle(input);
    }

    /// Bounds the next read, without a system call if the last bound is near enough.
    fn set_read_timeout(&mut self, until: Option<Time>) -> io::Result<()> {
        let wanted = until.map(|until| self.crank.left(until));
        let near = match (self.read_timeout, wanted) {
            (None, None) => true,
            (Some(set), Some(wanted)) => set >= wanted && set - wanted <= set / 16,
            _ => false,
        };
        if !near {
            self.socket.set_read_timeout(wanted)?;
            self.read_timeout = wanted;
        }
        Ok(())
    }
}
