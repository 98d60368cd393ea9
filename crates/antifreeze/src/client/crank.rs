//! A connection to a daemon, but for the waiting: what both kinds of proxy do at their sockets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antifreeze_proto::{
    self as proto, AnnotationId, Annotations, Chain, ClientConnection, ClientEvent, CloseCause,
    CorrelationId, Input, Output, RequestId, Seq, Time, Timer, UsageError,
};
use antifreeze_serial::Serializer;
use antifreeze_sync::{BoundedSemaphore, LockError};
use bytes::Bytes;
use tracing::debug;

use super::remote::Remote;
use crate::blob::{Packed, SerializedBlob};
use crate::call;
use crate::error::{Error, ErrorKind, Sent};
use crate::naming::Place;
use crate::net::{self, Socket};
use crate::rpc::Metadata;
use crate::sleep::SleepWatch;

/// A connection used within this time of its last use is not checked first: a check is a system
/// call, and a daemon that closed just now is noticed by the call itself.
const FRESH: Duration = Duration::from_secs(1);

/// How much is read of what has come when a connection is about to be given up. It is more than
/// sockets hold, so that an answer that is there is found, and an end, so that a peer that never
/// stops sending wins no time.
const LAST_BYTES: usize = 16 << 20;

/// Longer than anybody waits, and short enough to be added to any time.
const AGES: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The names of connections in the log.
static IDS: AtomicU64 = AtomicU64::new(1);

/// The state machine of a connection, its clock, and what can be done without waiting.
///
/// The socket is its driver's, who knows how to wait for it.
pub(crate) struct Crank {
    proto: ClientConnection,
    clock: fn() -> Instant,
    epoch: Instant,
    sleep: SleepWatch,
    /// When the clock was read last; between two waits it need not be read again.
    time: Time,
    /// When it was used last with success, unless the daemon may have closed since.
    used: Option<Time>,
}

/// A call, encoded.
pub(crate) struct Outgoing {
    pub(crate) shape: Shape,
    payload: Payload,
    annotations: Annotations,
    chain: Chain,
    correlation: Option<CorrelationId>,
}

/// What a call says.
pub(crate) struct Payload {
    serializer: Serializer,
    bytes: Bytes,
    /// It carries a serialized blob, which this annotation tells of.
    blob: Option<(AnnotationId, Bytes)>,
}

impl Payload {
    pub(crate) fn new(serializer: Serializer, bytes: Bytes) -> Self {
        Self {
            serializer,
            bytes,
            blob: None,
        }
    }

    /// A call of `method` with a serialized blob.
    pub(crate) fn of_blob(
        blob: &SerializedBlob,
        object: &str,
        method: &str,
    ) -> Result<Self, Error> {
        let Packed {
            payload,
            annotation,
        } = blob.pack(object, method)?;
        Ok(Self {
            serializer: blob.serializer(),
            bytes: payload,
            blob: Some(annotation),
        })
    }
}

impl Outgoing {
    /// A call that carries what belongs to the code that makes it now.
    pub(crate) fn new(shape: Shape, payload: Payload, chain: Chain) -> Self {
        let (mut annotations, correlation) = call::outgoing();
        annotations.extend(payload.blob.clone());
        Self {
            shape,
            payload,
            annotations,
            chain,
            correlation,
        }
    }
}

impl Outgoing {
    /// Its number among those of this process.
    pub(crate) fn number(&self) -> u64 {
        self.chain.call
    }

    /// A call that carries nothing but this.
    pub(crate) fn bare(
        serializer: Serializer,
        shape: Shape,
        payload: Vec<u8>,
        annotations: Annotations,
    ) -> Self {
        Self {
            shape,
            payload: Payload::new(serializer, payload.into()),
            annotations,
            chain: Chain::default(),
            correlation: None,
        }
    }
}

/// The error of a call that had no place among those in flight.
pub(crate) fn full(places: &BoundedSemaphore, why: &LockError) -> Error {
    if why.deadlock().is_some() {
        return Error::unobtainable(why);
    }
    let all = places.total();
    let text = format!("{all} calls were in flight, as many as may be");
    Error::new(ErrorKind::Timeout, text)
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
    pub(crate) fn is_oneway(self) -> bool {
        matches!(self, Self::Oneway | Self::OnewayBatch)
    }

    fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::OnewayBatch)
    }

    /// The same, or a oneway if the object declares the method so.
    pub(crate) fn declared(self, method: &str, metadata: &Metadata) -> Self {
        if self == Self::Call && metadata.oneway.contains(method) {
            Self::Oneway
        } else {
            self
        }
    }
}

/// What a read that did not wait has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// So many bytes, and there may be more.
    Some(usize),
    /// So many bytes, which was all.
    All(usize),
    Nothing,
}

impl Crank {
    /// Says hello on a socket that was just connected; `seq` continues that of an earlier one.
    pub(crate) fn new(
        remote: &Remote,
        place: &Place,
        seq: Seq,
        deadline: Option<Instant>,
        clock: fn() -> Instant,
    ) -> Result<Self, Error> {
        let epoch = clock();
        let deadline = deadline.map(|at| time_at(at, epoch));
        let connect = remote.hello(&place.object, seq, deadline)?;
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        debug!(conn = id, location = %place.location, object = place.object, "connected");
        let config = Arc::clone(&remote.protocol);
        let nonce = fastrand::u128(..).to_be_bytes();
        let proto = ClientConnection::with_nonce(config, id, Time::ZERO, connect, nonce);
        let proto = proto.map_err(usage)?;
        Ok(Self {
            proto,
            clock,
            epoch,
            sleep: remote.sleep.watch(),
            time: Time::ZERO,
            used: None,
        })
    }

    /// A socket on which there is no handshake.
    pub(crate) fn without_handshake(remote: &Remote, seq: Seq, clock: fn() -> Instant) -> Self {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        debug!(conn = id, uri = %remote.uri, "connected already");
        let config = Arc::clone(&remote.protocol);
        Self {
            proto: ClientConnection::without_handshake(config, id, Time::ZERO, seq),
            clock,
            epoch: clock(),
            sleep: remote.sleep.watch(),
            time: Time::ZERO,
            used: None,
        }
    }

    /// What is to be done next.
    pub(crate) fn next(&mut self) -> Output<ClientEvent> {
        let output = self.proto.poll_output();
        if let Output::Event(event) = &output {
            match event {
                ClientEvent::Connected { .. } | ClientEvent::Ponged { .. } => {
                    self.used = Some(self.time);
                }
                // Some exceptions make a daemon close the connection behind them.
                ClientEvent::Returned { response, .. } => {
                    self.used = (!response.is_exception()).then_some(self.time);
                }
                ClientEvent::Expired { .. }
                | ClientEvent::Unserved { .. }
                | ClientEvent::Refused { .. }
                | ClientEvent::Closed(_) => {}
            }
        }
        output
    }

    /// Whether a call may be sent; asks the socket if it was unused for a while.
    pub(crate) fn is_usable(&mut self, socket: &Socket) -> bool {
        let now = self.now();
        if self.is_overdue() {
            // Unused for longer than it is to be kept.
            self.tick(socket);
        }
        if self.proto.cause().is_some() {
            return false;
        }
        self.is_fresh(now) || !socket.is_stale()
    }

    /// Whether a call may be sent, as of the last reading of the clock; reads if it was unused for a
    /// while.
    pub(crate) fn is_open(&mut self, socket: &Socket) -> bool {
        if self.is_overdue() {
            self.tick(socket);
        }
        if !self.is_fresh(self.time) && self.proto.wants_read() {
            self.receive_now(socket);
        }
        let unasked = self.proto.call_limit() == 1 && self.proto.has_buffered_input();
        self.proto.cause().is_none() && !unasked
    }

    fn is_fresh(&self, now: Time) -> bool {
        let used = self.used;
        used.is_some_and(|used| now.saturating_since(used) < FRESH)
    }

    /// How many calls may be in flight at once.
    pub(crate) fn call_limit(&self) -> usize {
        self.proto.call_limit()
    }

    /// The number of the daemon's process, if it is one of ours.
    pub(crate) fn peer(&self) -> Option<u64> {
        self.proto.peer()
    }

    /// Whether one more call may be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.proto.has_room()
    }

    /// Takes a call to be sent, at the last reading of the clock.
    pub(crate) fn call(
        &mut self,
        outgoing: Outgoing,
        deadline: Option<Instant>,
    ) -> Result<RequestId, Error> {
        let now = self.time;
        let oneway = outgoing.shape.is_oneway();
        let Payload {
            serializer,
            bytes,
            blob,
        } = outgoing.payload;
        let call = proto::Call {
            serializer: proto::SerializerId(serializer.id()),
            oneway,
            batch: outgoing.shape.is_batch(),
            keep_serialized: blob.is_some(),
            correlation: outgoing.correlation,
            annotations: outgoing.annotations,
            chain: Some(outgoing.chain),
            payload: bytes.into(),
            deadline: deadline.map(|at| time_at(at, self.epoch)),
        };
        let id = self.proto.call(now, call).map_err(usage)?;
        if oneway {
            self.used = Some(now);
        }
        Ok(id)
    }

    /// Takes a ping to be sent, at the last reading of the clock.
    pub(crate) fn ping(&mut self, deadline: Option<Instant>) -> Result<RequestId, Error> {
        let deadline = deadline.map(|at| time_at(at, self.epoch));
        self.proto.ping(self.time, deadline).map_err(usage)
    }

    /// The sequence number of the last call.
    pub(crate) fn seq(&self) -> Seq {
        self.proto.seq()
    }

    /// Whether anything waits to be written.
    pub(crate) fn wants_write(&self) -> bool {
        self.proto.wants_write()
    }

    /// Whether more bytes of the daemon are welcome.
    pub(crate) fn wants_read(&self) -> bool {
        self.proto.wants_read()
    }

    /// Whether the socket has taken all of this call.
    pub(crate) fn is_written(&self, id: RequestId) -> bool {
        self.proto.sent(id) == proto::Sent::Whole
    }

    /// The error of a oneway call that was not written in time, and has not cost the connection.
    pub(crate) fn unwritten(&self, id: RequestId) -> Error {
        let sent = match self.proto.sent(id) {
            proto::Sent::No => Sent::No,
            // The rest follows.
            proto::Sent::Partly | proto::Sent::Whole => Sent::Maybe,
        };
        closed(&CloseCause::TimedOut(Timer::Write), sent)
    }

    /// The error of a call whose connection ended.
    pub(crate) fn lost(&self, id: RequestId, cause: &CloseCause) -> Error {
        let sent = match self.proto.sent(id) {
            // Half a message cannot have been run.
            proto::Sent::No | proto::Sent::Partly => Sent::No,
            proto::Sent::Whole => Sent::Maybe,
        };
        closed(cause, sent)
    }

    /// Writes what the socket takes now: a write that waits would keep to no deadline if the peer
    /// reads a little at a time, and would not notice that it has sent a refusal.
    ///
    /// False if it took nothing.
    pub(crate) fn transmit(&mut self, socket: &Socket) -> bool {
        if self.is_overdue() {
            self.tick(socket);
            return true;
        }
        let sent = net::with_segments(
            |slices| self.proto.transmit(slices),
            |slices| socket.send_now(slices),
        );
        let input = match sent {
            Ok(bytes) => Input::Wrote(bytes),
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => return true,
                io::ErrorKind::WouldBlock => Input::Wrote(0),
                kind => {
                    // What has come may be the answer, or the reason why it was closed.
                    self.read_last(socket);
                    Input::Failed(kind)
                }
            },
        };
        let took = input != Input::Wrote(0);
        self.proto.handle(self.time, input);
        took
    }

    /// Where the next bytes belong, which [`Crank::handle`] is told of.
    pub(crate) fn read_buffer(&mut self) -> &mut [u8] {
        self.proto.read_buffer()
    }

    /// Takes note of what came of waiting.
    pub(crate) fn handle(&mut self, input: Input) {
        let now = self.now();
        self.proto.handle(now, input);
    }

    /// Reads once what has come.
    pub(crate) fn receive_now(&mut self, socket: &Socket) -> Received {
        let (input, received) = loop {
            let buffer = self.proto.read_buffer();
            let room = buffer.len();
            match socket.recv_now(buffer) {
                Ok(0) => break (Input::Eof, Received::All(0)),
                Ok(bytes) if bytes < room => break (Input::Read(bytes), Received::All(bytes)),
                Ok(bytes) => break (Input::Read(bytes), Received::Some(bytes)),
                Err(why) => match why.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Received::Nothing,
                    kind => break (Input::Failed(kind), Received::All(0)),
                },
            }
        };
        self.proto.handle(self.time, input);
        received
    }

    /// Reads what has come before the connection is given up.
    fn read_last(&mut self, socket: &Socket) {
        let mut total = 0;
        while self.proto.wants_read() && total < LAST_BYTES {
            match self.receive_now(socket) {
                Received::Some(bytes) | Received::All(bytes) => total += bytes,
                Received::Nothing => return,
            }
        }
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.proto.deadline().is_some_and(|at| at <= self.time)
    }

    /// Lets the timers fire that are due, unless what has come stops them.
    pub(crate) fn tick(&mut self, socket: &Socket) {
        self.read_last(socket);
        self.tick_now();
    }

    /// The same where nothing has come. If the machine slept, so did the daemon: what is due gets
    /// some grace.
    pub(crate) fn tick_now(&mut self) {
        if let Some(slept) = self.sleep.notice() {
            debug!(?slept, "the machine slept");
            self.handle(Input::Resumed(slept));
        }
        self.handle(Input::Tick);
    }

    /// How long it is until then, as of the last reading of the clock.
    pub(crate) fn left(&self, until: Time) -> Duration {
        until.saturating_since(self.time)
    }

    /// When that is, on the clock; with `AGES` in place of more.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.epoch + at.saturating_since(Time::ZERO).min(AGES)
    }

    /// Reads the clock.
    pub(crate) fn now(&mut self) -> Time {
        self.time = time_at((self.clock)(), self.epoch);
        self.time
    }
}

fn time_at(instant: Instant, epoch: Instant) -> Time {
    Time::ZERO + instant.saturating_duration_since(epoch)
}

fn usage(error: UsageError) -> Error {
    Error::usage(error.to_string())
}

/// The error of a call that was not answered in time, and has not cost the connection.
///
/// What is not written yet still will be.
pub(crate) fn expired() -> Error {
    closed(&CloseCause::TimedOut(Timer::Reply), Sent::Maybe)
}

/// The error of a call that the daemon did not execute, for it ends.
pub(crate) fn unserved() -> Error {
    Error::new(ErrorKind::Closed, "the daemon is shutting down").with_sent(Sent::No)
}

/// The error of what a connection that ended was used for.
pub(crate) fn closed(cause: &CloseCause, sent: Sent) -> Error {
    let kind = match cause {
        CloseCause::TimedOut(Timer::Idle) => ErrorKind::Closed,
        CloseCause::TimedOut(_) => ErrorKind::Timeout,
        CloseCause::Protocol(_) => ErrorKind::Protocol,
        CloseCause::Refused => ErrorKind::Refused,
        _ => ErrorKind::Closed,
    };
    Error::new(kind, cause.to_string()).with_sent(sent)
}
