//! One connection to a daemon, driven by the thread that makes the call.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antifreeze_proto::{
    self as proto, ClientConnection, ClientEvent, CloseCause, Connect, Input, Output, Response,
    Seq, SerializerId, Time, Timer,
};
use antifreeze_serial::{Serializer, Value};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::call;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Sent};
use crate::net::Socket;
use crate::rpc::Metadata;
use crate::uri::Location;

/// How many segments one write takes.
const SEGMENTS: usize = 16;

/// A connection used within this time of its last use is not checked first: a check is a system
/// call, and a daemon that closed just now is noticed by the call itself.
const FRESH: Duration = Duration::from_secs(1);

/// How much is read of what has come when a connection is about to be given up. It is more than
/// sockets hold, so that an answer that is there is found, and an end, so that a peer that never
/// stops sending wins no time.
const LAST_BYTES: usize = 16 << 20;

/// The names of connections in the log.
static IDS: AtomicU64 = AtomicU64::new(1);

/// What is needed to connect.
pub(crate) struct Target<'a> {
    pub(crate) object: &'a str,
    pub(crate) location: &'a Location,
    pub(crate) serializer: Serializer,
    pub(crate) handshake: &'a Value,
    pub(crate) config: &'a Config,
    pub(crate) protocol: &'a Arc<proto::Config>,
}

/// A connection that the daemon accepted.
pub(crate) struct Connection {
    socket: Socket,
    proto: ClientConnection,
    epoch: Instant,
    /// When the clock was read last; between two waits it need not be read again.
    time: Time,
    read_timeout: Option<Duration>,
    /// When it was used last with success, unless the daemon may have closed since.
    used: Option<Time>,
    /// The id of the object that it was made for.
    pub(crate) object: String,
    pub(crate) metadata: Metadata,
    pub(crate) welcome: Value,
}

/// A call, encoded.
pub(crate) struct Outgoing {
    pub(crate) serializer: Serializer,
    pub(crate) shape: Shape,
    pub(crate) payload: Bytes,
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Call,
    Oneway,
    Batch,
    OnewayBatch,
}

impl Shape {
    fn is_oneway(self) -> bool {
        matches!(self, Self::Oneway | Self::OnewayBatch)
    }

    fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::OnewayBatch)
    }
}

impl Connection {
    /// Connects and shakes hands, all before the deadline; `seq` continues that of an earlier
    /// connection.
    pub(crate) fn open(
        target: &Target<'_>,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        let Target {
            object,
            location,
            serializer,
            handshake,
            config,
            protocol,
        } = *target;
        let socket = Socket::connect(
            location,
            config.prefer_ip_version,
            config.connect_timeout,
            deadline,
        )?;
        #[derive(Serialize)]
        struct Hello<'a> {
            handshake: &'a Value,
            object: &'a str,
        }
        let payload = antifreeze_serial::encode(serializer, &Hello { handshake, object })?;
        let (annotations, correlation) = call::outgoing();
        let epoch = Instant::now();
        let connect = Connect {
            serializer: SerializerId(serializer.id()),
            seq,
            correlation,
            annotations,
            payload: payload.into(),
            deadline: deadline.map(|at| time_at(at, epoch)),
        };
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        debug!(conn = id, %location, object, "connected");
        let proto = ClientConnection::new(Arc::clone(protocol), id, Time::ZERO, connect)
            .map_err(|error| Error::usage(error.to_string()))?;
        let mut connection = Self {
            socket,
            proto,
            epoch,
            time: Time::ZERO,
            read_timeout: None,
            used: None,
            object: object.to_owned(),
            metadata: Metadata::default(),
            welcome: Value::None,
        };
        connection.shake_hands(target)?;
        Ok(connection)
    }

    fn shake_hands(&mut self, target: &Target<'_>) -> Result<(), Error> {
        let Target {
            location, config, ..
        } = *target;
        match self.next_event() {
            ClientEvent::Connected {
                serializer,
                annotations,
                payload,
            } => {
                #[derive(Deserialize)]
                struct Welcome {
                    handshake: Value,
                    meta: Metadata,
                }
                let serializer = known(serializer)?;
                let welcome: Welcome =
                    antifreeze_serial::decode(serializer, &payload, &config.document()).map_err(
                        |error| {
                            let text = format!("{location} sent a handshake that is none: {error}");
                            Error::new(ErrorKind::Protocol, text)
                        },
                    )?;
                call::received(annotations);
                self.metadata = welcome.meta;
                self.welcome = welcome.handshake;
                self.used = Some(self.time);
                Ok(())
            }
            ClientEvent::Refused {
                serializer,
                payload,
                ..
            } => {
                let why = known(serializer)
                    .and_then(|serializer| {
                        let text: String =
                            antifreeze_serial::decode(serializer, &payload, &config.document())?;
                        Ok(text)
                    })
                    .unwrap_or_else(|_| "for a reason that cannot be read".to_owned());
                let text = format!("connection to {location} rejected: {why}");
                Err(Error::new(ErrorKind::Refused, text))
            }
            ClientEvent::Closed(cause) => {
                Err(closed(&cause, Sent::No).context(format_args!("no handshake with {location}")))
            }
            ClientEvent::Returned { .. } | ClientEvent::Ponged { .. } => Err(Error::new(
                ErrorKind::Protocol,
                "an answer came before the handshake",
            )),
        }
    }

    /// Whether a call may be sent; asks the socket if it was unused for a while.
    pub(crate) fn is_usable(&mut self) -> bool {
        let now = self.now();
        if self.is_overdue() {
            // Unused for longer than it is to be kept.
            self.tick();
        }
        if self.proto.cause().is_some() {
            return false;
        }
        let fresh = self
            .used
            .is_some_and(|used| now.saturating_since(used) < FRESH);
        fresh || !self.socket.is_stale()
    }

    /// Sends a call and waits for its answer; none for a oneway.
    ///
    /// After an error other than a usage error the connection is over.
    pub(crate) fn call(
        &mut self,
        outgoing: Outgoing,
        deadline: Option<Instant>,
    ) -> Result<Option<Response>, Error> {
        let (annotations, correlation) = call::outgoing();
        let now = self.now();
        let deadline = deadline.map(|at| time_at(at, self.epoch));
        let call = proto::Call {
            serializer: SerializerId(outgoing.serializer.id()),
            oneway: outgoing.shape.is_oneway(),
            batch: outgoing.shape.is_batch(),
            keep_serialized: false,
            correlation,
            annotations,
            payload: outgoing.payload.into(),
            deadline,
        };
        let id = self
            .proto
            .call(now, call)
            .map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        if outgoing.shape.is_oneway() {
            return match self.flush() {
                None => {
                    self.used = Some(self.time);
                    Ok(None)
                }
                Some(cause) => Err(self.lost(id, &cause)),
            };
        }
        loop {
            match self.next_event() {
                ClientEvent::Returned {
                    id: returned,
                    response,
                } if returned == id => {
                    // Some exceptions make a daemon close the connection behind them.
                    self.used = (!response.is_exception()).then_some(self.time);
                    return Ok(Some(response));
                }
                ClientEvent::Closed(cause) => return Err(self.lost(id, &cause)),
                event => debug!(?event, "an event that nobody waits for"),
            }
        }
    }

    /// Sends a ping and waits for its answer.
    pub(crate) fn ping(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let now = self.now();
        let deadline = deadline.map(|at| time_at(at, self.epoch));
        let id = self
            .proto
            .ping(now, deadline)
            .map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        loop {
            match self.next_event() {
                ClientEvent::Ponged { id: ponged } if ponged == id => {
                    self.used = Some(self.time);
                    return Ok(());
                }
                ClientEvent::Closed(cause) => return Err(closed(&cause, Sent::No)),
                event => debug!(?event, "an event that nobody waits for"),
            }
        }
    }

    /// The sequence number of the last call.
    pub(crate) fn seq(&self) -> Seq {
        self.proto.seq()
    }

    fn lost(&self, id: proto::RequestId, cause: &CloseCause) -> Error {
        let sent = match self.proto.sent(id) {
            // Half a message cannot have been run.
            proto::Sent::No | proto::Sent::Partly => Sent::No,
            proto::Sent::Whole => Sent::Maybe,
        };
        closed(cause, sent)
    }

    /// Turns the crank until something is to be told.
    fn next_event(&mut self) -> ClientEvent {
        loop {
            match self.proto.poll_output() {
                Output::Transmit => self.transmit(),
                Output::Event(event) => return event,
                Output::Wait(until) if self.proto.wants_write() => self.wait_to_write(until),
                Output::Wait(until) => self.receive(until),
            }
        }
    }

    /// Writes everything that waits; gives the cause if the connection ends over it.
    fn flush(&mut self) -> Option<CloseCause> {
        loop {
            match self.proto.poll_output() {
                Output::Transmit => self.transmit(),
                Output::Event(ClientEvent::Closed(cause)) => return Some(cause),
                Output::Event(event) => debug!(?event, "an event that nobody waits for"),
                Output::Wait(until) if self.proto.wants_write() => self.wait_to_write(until),
                Output::Wait(_) => return None,
            }
        }
    }

    /// Writes what the socket takes now: a write that waits would keep to no deadline if the peer
    /// reads a little at a time, and would not notice that it has sent a refusal.
    fn transmit(&mut self) {
        if self.is_overdue() {
            return self.tick();
        }
        let mut slices = [IoSlice::new(&[]); SEGMENTS];
        let count = self.proto.transmit(&mut slices);
        let input = match self.socket.send_now(&slices[..count]) {
            Ok(bytes) => Input::Wrote(bytes),
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => return,
                io::ErrorKind::WouldBlock => Input::Wrote(0),
                kind => {
                    // What has come may be the answer, or the reason why it was closed.
                    self.read_last();
                    Input::Failed(kind)
                }
            },
        };
        let now = self.now();
        self.proto.handle(now, input);
    }

    /// Waits until the socket takes more, or the peer says something in the meantime.
    fn wait_to_write(&mut self, until: Option<Time>) {
        let now = self.now();
        if self.is_overdue() {
            return self.tick();
        }
        let ready = match self.socket.wait(until.map(|at| at.saturating_since(now))) {
            Ok(ready) => ready,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => return,
            Err(why) => return self.proto.handle(now, Input::Failed(why.kind())),
        };
        self.now();
        if ready.read {
            self.receive_now();
        }
        if ready.write && self.proto.wants_write() {
            self.transmit();
        }
    }

    fn receive(&mut self, until: Option<Time>) {
        if self.is_overdue() {
            return self.tick();
        }
        if let Err(why) = self.set_read_timeout(until) {
            return self.proto.handle(self.time, Input::Failed(why.kind()));
        }
        let input = match self.socket.recv(self.proto.read_buffer()) {
            Ok(0) => Input::Eof,
            Ok(bytes) => Input::Read(bytes),
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => return,
                io::ErrorKind::WouldBlock => Input::Tick,
                kind => Input::Failed(kind),
            },
        };
        let now = self.now();
        self.proto.handle(now, input);
    }

    /// Reads once what has come; says how much, if there was something.
    fn receive_now(&mut self) -> Option<usize> {
        let (input, bytes) = loop {
            match self.socket.recv_now(self.proto.read_buffer()) {
                Ok(0) => break (Input::Eof, 0),
                Ok(bytes) => break (Input::Read(bytes), bytes),
                Err(why) => match why.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return None,
                    kind => break (Input::Failed(kind), 0),
                },
            }
        };
        self.proto.handle(self.time, input);
        Some(bytes)
    }

    /// Reads what has come before the connection is given up.
    fn read_last(&mut self) {
        let mut total = 0;
        while self.proto.wants_read() && total < LAST_BYTES {
            match self.receive_now() {
                Some(bytes) => total += bytes,
                None => return,
            }
        }
    }

    fn is_overdue(&self) -> bool {
        self.proto.deadline().is_some_and(|at| at <= self.time)
    }

    /// Lets the timers fire that are due, unless what has come stops them.
    fn tick(&mut self) {
        self.read_last();
        let now = self.now();
        self.proto.handle(now, Input::Tick);
    }

    /// Bounds the next read, without a system call if the last bound is near enough.
    fn set_read_timeout(&mut self, until: Option<Time>) -> io::Result<()> {
        let wanted = until.map(|until| until.saturating_since(self.time));
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

    fn now(&mut self) -> Time {
        self.time = time_at(Instant::now(), self.epoch);
        self.time
    }
}

fn time_at(instant: Instant, epoch: Instant) -> Time {
    Time::ZERO + instant.saturating_duration_since(epoch)
}

fn known(serializer: SerializerId) -> Result<Serializer, Error> {
    Serializer::from_id(serializer.0).ok_or_else(|| {
        Error::new(
            ErrorKind::Protocol,
            format!("unknown serializer {serializer} in an answer"),
        )
    })
}

fn closed(cause: &CloseCause, sent: Sent) -> Error {
    let kind = match cause {
        CloseCause::TimedOut(Timer::Idle) => ErrorKind::Closed,
        CloseCause::TimedOut(_) => ErrorKind::Timeout,
        CloseCause::Protocol(_) => ErrorKind::Protocol,
        CloseCause::Refused => ErrorKind::Refused,
        _ => ErrorKind::Closed,
    };
    Error::new(kind, cause.to_string()).with_sent(sent)
}
