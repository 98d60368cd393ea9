//! One connection to a daemon.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::annotations::Annotations;
use crate::chain::{self, Chain, ChainChunk};
use crate::config::Config;
use crate::error::{CloseCause, ProtocolError, UsageError};
use crate::few::Few;
use crate::io::{Input, Output, RequestId, StateName};
use crate::message::{CorrelationId, Flags, Header, Kind, Message, Seq, SerializerId};
use crate::native::{self, Hello, Nonce};
use crate::reader::Reader;
use crate::segments::Segments;
use crate::time::Time;
use crate::timer::{Timer, Timers};
use crate::writer::{Draft, Writer};

/// What we say to be let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connect {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The sequence number to start from; the first call has the next one.
    pub seq: Seq,
    /// The correlation id.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `object`.
    pub payload: Segments,
    /// When we must have been let in, if that is before [`Limits::handshake`](crate::Limits).
    pub deadline: Option<Time>,
}

/// A call to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// Wants no reply.
    pub oneway: bool,
    /// The payload is a batch.
    pub batch: bool,
    /// The arguments are a blob.
    pub keep_serialized: bool,
    /// The correlation id.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// What it belongs to, and who makes it.
    pub chain: Option<Chain>,
    /// The call.
    pub payload: Segments,
    /// When the answer must be here, or a oneway be written. Passing it closes the connection; but
    /// where calls may be in flight beside it, the call alone is [`ClientEvent::Expired`].
    pub deadline: Option<Time>,
}

/// The daemon's answer to a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// Which serializer wrote the payload; the one of the call.
    pub serializer: SerializerId,
    /// All flags of the message.
    pub flags: Flags,
    /// The daemon's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The daemon's annotations.
    pub annotations: Annotations,
    /// The result, or the exception.
    pub payload: Bytes,
}

impl Response {
    /// Whether the payload is an exception.
    pub const fn is_exception(&self) -> bool {
        self.flags.contains(Flags::EXCEPTION)
    }

    /// Whether the result is an item stream.
    pub const fn is_item_stream(&self) -> bool {
        self.flags.contains(Flags::ITEM_STREAM)
    }
}

/// What happened on a connection to a daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// The daemon lets us in.
    Connected {
        /// Which serializer wrote the payload.
        serializer: SerializerId,
        /// The daemon's annotations.
        annotations: Annotations,
        /// A dict with `handshake` and `meta`.
        payload: Bytes,
    },
    /// The daemon does not let us in; [`ClientEvent::Closed`] follows.
    Refused {
        /// Which serializer wrote the payload, often not ours.
        serializer: SerializerId,
        /// The daemon's annotations.
        annotations: Annotations,
        /// A string that says why.
        payload: Bytes,
    },
    /// A call was answered.
    Returned {
        /// Which call.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// A call was not answered before its deadline, or a oneway not written. The connection goes on;
    /// an answer that comes later is dropped, and a oneway of which nothing was sent never will be.
    Expired {
        /// Which call.
        id: RequestId,
    },
    /// The daemon did not execute a call, for it came while the daemon ended. No more calls can be
    /// made here, and when the others are answered [`ClientEvent::Closed`] follows.
    Unserved {
        /// Which call.
        id: RequestId,
    },
    /// A ping was answered.
    Ponged {
        /// Which ping.
        id: RequestId,
    },
    /// The connection is over; said once, and last.
    Closed(CloseCause),
}

/// How much of a call the socket has taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// Nothing: the daemon cannot have seen it.
    No,
    /// A part: the daemon cannot have run it.
    Partly,
    /// All: whether it ran is known only from its answer.
    Whole,
}

/// Where a connection to a daemon is in its life.
#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// CONNECT is on its way. Nothing else may be sent before the answer.
    Handshaking,
    /// The daemon let us in, and no call is out.
    Ready,
    /// At least one call is out; only its answer may come.
    Awaiting,
    /// No new calls; those that are out are finished.
    Draining,
    /// The last bytes are being written.
    Flushing { cause: CloseCause },
    /// Nothing more happens.
    Closed { cause: CloseCause },
}

impl State {
    const fn name(&self) -> StateName {
        match self {
            Self::Handshaking => StateName::Handshaking,
            Self::Ready => StateName::Ready,
            Self::Awaiting => StateName::Awaiting,
            Self::Draining => StateName::Draining,
            Self::Flushing { .. } => StateName::Flushing,
            Self::Closed { .. } => StateName::Closed,
        }
    }
}

/// A call, or a ping, that waits for its answer.
struct Waiting {
    id: RequestId,
    kind: Kind,
    seq: Seq,
    serializer: SerializerId,
    deadline: Option<Time>,
    /// Somebody wants to be told.
    wanted: bool,
}

/// Those that wait for their answers, the oldest first.
#[derive(Default)]
struct Calls {
    all: Few<Waiting>,
    /// How many of them have a deadline.
    timed: usize,
}

impl Calls {
    fn push(&mut self, call: Waiting) {
        self.timed += usize::from(call.deadline.is_some());
        self.all.push(call);
    }

    fn take(&mut self, kind: Kind, seq: Seq) -> Option<Waiting> {
        let call = self.all.take(|call| call.kind == kind && call.seq == seq)?;
        self.timed -= usize::from(call.deadline.is_some());
        Some(call)
    }

    /// The earliest deadline.
    fn deadline(&self) -> Option<Time> {
        // Mostly there is none, and then a long queue is not searched for it.
        if self.timed == 0 {
            return None;
        }
        self.all.iter().filter_map(|call| call.deadline).min()
    }

    /// Lets calls that are late wait on without a deadline, and tells of those that somebody wants to be
    /// told of. False if a ping is late.
    fn expire(&mut self, now: Time, mut tell: impl FnMut(RequestId)) -> bool {
        let is_due = |call: &&mut Waiting| call.deadline.is_some_and(|at| at <= now);
        for call in self.all.iter_mut().filter(is_due) {
            if call.kind == Kind::Ping {
                return false;
            }
            call.deadline = None;
            self.timed -= 1;
            if std::mem::take(&mut call.wanted) {
                tell(call.id);
            }
        }
        true
    }

    /// Whether anybody wants to be told of one of them.
    fn is_any_wanted(&self) -> bool {
        self.all.iter().any(|call| call.wanted)
    }

    fn clear(&mut self) {
        self.all.clear();
        self.timed = 0;
    }
}

/// One connection to a daemon: what may be sent now, and what an answer means.
///
/// It holds no socket and reads no clock. The driver feeds it with [`handle`](Self::handle) and
/// does what [`poll_output`](Self::poll_output) says, until that says [`Output::Wait`].
///
/// ```text
///               CONNECTOK            call
/// Handshaking ────────────► Ready ────────► Awaiting
///      │                    │ │ ▲   answer   │ │
///      │                    │ │ └────────────┤ │
///      │ CONNECTFAIL,       │ │              │ │ drain
///      │ handshake timer,   │ │ drain        │ ▼
///      │ eof, bad bytes     │ │              │ Draining ── last answer ──┐
///      │                    │ ▼              │ │                         ▼
///      │                    │ Flushing ◄─────┼─┼── close ──────────── Flushing
///      ▼                    ▼  │ written     ▼ ▼                         │
///    Closed ◄───────────────┴──┴─────────────┴─┴─────────────────────────┘
///             eof, timers, deadlines, wrong answers, a failing socket, abort
/// ```
///
/// | state | timer |
/// |---|---|
/// | Handshaking | handshake, at the deadline of the CONNECT if that is earlier |
/// | Ready | idle |
/// | Awaiting | reply, at the earliest deadline of the calls that are out |
/// | Draining | drain, and reply |
/// | any, while part of a message is here | stall, started anew by every byte |
/// | any, while output waits | write stall, anew by every byte taken; deadlines of oneways |
///
/// To a Pyro daemon there is one call at a time, and a deadline that passes closes the connection:
/// a late answer could be taken for the next one's. To a daemon of ours there may be
/// [as many as agreed on](Self::call_limit), answered in any order, each known by its sequence
/// number. There the deadline of a call, or of a oneway that is not written yet, is watched by the
/// timer of the reply and ends nothing but the call, as long as the daemon goes on
/// to answer pings: one is sent then, to be answered within the time of a stall after the last byte.
pub struct ClientConnection {
    id: u64,
    config: Arc<Config>,
    state: State,
    reader: Reader,
    writer: Writer,
    timers: Timers,
    events: Few<ClientEvent>,
    calls: Calls,
    last_id: u64,
    seq: Seq,
    /// What we have said of ourselves to a daemon of ours, should it be one.
    offer: Option<Hello>,
    /// What a daemon of ours has said of itself.
    hello: Option<Hello>,
    /// No new calls.
    draining: bool,
}

impl ClientConnection {
    /// A connection whose socket was just connected; `id` names it in the log.
    ///
    /// # Errors
    ///
    /// What we say to be let in is larger than a message may be.
    pub fn new(
        config: impl Into<Arc<Config>>,
        id: u64,
        now: Time,
        connect: Connect,
    ) -> Result<Self, UsageError> {
        Self::open(config.into(), id, now, connect, None)
    }

    /// As [`new`](Self::new); a daemon of ours will know us as one of its kind, and take
    /// [as many calls at once](Config::calls) as both ends can.
    ///
    /// # Errors
    ///
    /// What we say to be let in is larger than a message may be.
    pub fn with_nonce(
        config: impl Into<Arc<Config>>,
        id: u64,
        now: Time,
        connect: Connect,
        nonce: Nonce,
    ) -> Result<Self, UsageError> {
        let config = config.into();
        let offer = Hello::new(config.node, nonce, config.calls);
        Self::open(config, id, now, connect, Some(offer))
    }

    /// A connection that both ends have agreed on elsewhere: there is no handshake, and the first call
    /// has the number after `seq`. The daemon is not known as one of ours.
    ///
    /// # Wire
    ///
    /// Pyro5 5.17, `client.py`, `Proxy` with a `connected_socket`.
    pub fn without_handshake(config: impl Into<Arc<Config>>, id: u64, now: Time, seq: Seq) -> Self {
        let mut connection = Self::new_at(config.into(), id, seq, None);
        connection.enter(now, State::Ready, "no handshake wanted");
        connection
    }

    fn new_at(config: Arc<Config>, id: u64, seq: Seq, offer: Option<Hello>) -> Self {
        Self {
            id,
            config,
            state: State::Handshaking,
            reader: Reader::new(),
            writer: Writer::new(),
            timers: Timers::new(),
            events: Few::new(),
            calls: Calls::default(),
            last_id: 0,
            seq,
            offer,
            hello: None,
            draining: false,
        }
    }

    fn open(
        config: Arc<Config>,
        id: u64,
        now: Time,
        mut connect: Connect,
        offer: Option<Hello>,
    ) -> Result<Self, UsageError> {
        connect.annotations.remove(native::HELLO);
        if let Some(offer) = &offer {
            connect.annotations.insert(native::HELLO, offer.encode());
        }
        let mut connection = Self::new_at(config, id, connect.seq, offer);
        let draft = Draft {
            kind: Kind::Connect,
            serializer: connect.serializer,
            flags: Flags::NONE,
            seq: connect.seq,
            correlation: connect.correlation,
            annotations: &connect.annotations,
            chain: None,
            payload: connect.payload,
            call: None,
            deadline: None,
        };
        connection.writer.queue(&connection.config, draft)?;
        connection
            .timers
            .start(Timer::Handshake, now, connection.config.limits.handshake);
        connection.timers.hasten(Timer::Handshake, connect.deadline);
        connection.watch_output(now);
        Ok(connection)
    }

    /// Takes note of what happened in the world.
    pub fn handle(&mut self, now: Time, input: Input) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        match input {
            Input::Read(count) => self.on_read(now, count),
            Input::Eof => self.shut(now, self.reader.cause_of_eof(), "eof"),
            Input::Wrote(count) => self.on_wrote(now, count),
            Input::Failed(kind) => self.shut(now, CloseCause::Failed(kind), "socket failed"),
            Input::Tick => self.on_tick(now),
            Input::Resumed(slept) => {
                self.timers.resume(now, slept.min(self.config.limits.grace));
            }
        }
        self.watch_output(now);
    }

    /// What the driver shall do next.
    pub fn poll_output(&mut self) -> Output<ClientEvent> {
        if self.writer.is_ready() {
            return Output::Transmit;
        }
        match self.events.pop() {
            Some(event) => Output::Event(event),
            None => Output::Wait(self.timers.next()),
        }
    }

    /// Room for the next read, answered with [`Input::Read`] of no more bytes than were read: what else
    /// is there may be of another connection.
    ///
    /// Empty while [`wants_read`](Self::wants_read) says no: a read into it would look like the
    /// end of the stream.
    pub fn read_buffer(&mut self) -> &mut [u8] {
        if self.wants_read() {
            self.reader.lend(&self.config.memory)
        } else {
            &mut []
        }
    }

    /// Whether more bytes of the daemon are welcome.
    pub const fn wants_read(&self) -> bool {
        !matches!(self.state, State::Flushing { .. } | State::Closed { .. })
    }

    /// Fills `slices` with what waits to be written and returns how many were filled.
    pub fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.writer.lend(slices)
    }

    /// Whether anything waits to be written.
    pub fn wants_write(&self) -> bool {
        !self.writer.is_empty()
    }

    /// When [`Input::Tick`] is due, also while a driver waits for the socket to take more.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Whether part of a message is here.
    pub const fn has_buffered_input(&self) -> bool {
        self.reader.buffered() != 0
    }

    /// Gives back the memory of buffers in which nothing is.
    pub fn release_buffers(&mut self) {
        self.reader.release();
        self.writer.release();
        self.events.release();
        self.calls.all.release();
    }

    /// Sends a call.
    ///
    /// # Errors
    ///
    /// The connection is not ready, or as many calls are out as may be, or too much waits to be
    /// written, or the call is larger than a message may be. Nothing was sent then.
    pub fn call(&mut self, now: Time, mut call: Call) -> Result<RequestId, UsageError> {
        self.check_room("call", !call.oneway)?;
        let id = RequestId(self.last_id + 1);
        let seq = self.free_seq();
        call.annotations.remove(chain::CHAIN);
        // Nobody waits for a oneway any more when it runs.
        let deadline = call
            .deadline
            .filter(|_| !call.oneway && self.hello.is_some());
        let left = deadline.map(|deadline| deadline.saturating_since(now));
        let chain = match (call.chain, left) {
            (None, None) => None,
            (chain, left) => Some(ChainChunk::new(&chain.unwrap_or_default(), left)),
        };
        let draft = Draft {
            kind: Kind::Invoke,
            serializer: call.serializer,
            flags: Flags::NONE
                .with_if(Flags::ONEWAY, call.oneway)
                .with_if(Flags::BATCH, call.batch)
                .with_if(Flags::KEEP_SERIALIZED, call.keep_serialized),
            seq,
            correlation: call.correlation,
            annotations: &call.annotations,
            chain,
            payload: call.payload,
            call: Some(id),
            // That of an answered call is watched until the answer is here.
            deadline: call.deadline.filter(|_| call.oneway),
        };
        self.writer.queue(&self.config, draft)?;
        self.last_id = id.0;
        self.seq = seq;
        if call.oneway {
            if self.timers.runs(Timer::Idle) {
                self.start_idle(now);
            }
        } else {
            let Call {
                serializer,
                deadline,
                ..
            } = call;
            self.calls.push(Waiting {
                id,
                kind: Kind::Result,
                seq,
                serializer,
                deadline,
                wanted: true,
            });
        }
        self.settle(now, "call sent");
        self.watch_output(now);
        if call.oneway && self.call_limit() == 1 {
            // The timer may run already, for what was to be written before.
            self.timers.hasten(Timer::Write, call.deadline);
        }
        Ok(id)
    }

    /// Asks the daemon for a sign of life; takes the place of a call.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Wire
    ///
    /// A PING with sequence number 0 and serializer id 42, as Pyro5 sends it.
    pub fn ping(&mut self, now: Time, deadline: Option<Time>) -> Result<RequestId, UsageError> {
        self.check_room("ping", true)?;
        let id = self.queue_ping(deadline, true)?;
        self.settle(now, "ping sent");
        self.watch_output(now);
        Ok(id)
    }

    fn queue_ping(
        &mut self,
        deadline: Option<Time>,
        wanted: bool,
    ) -> Result<RequestId, UsageError> {
        let id = RequestId(self.last_id + 1);
        let (kind, seq, serializer) = (Kind::Ping, Seq(0), SerializerId(42));
        let draft = Draft {
            kind,
            serializer,
            flags: Flags::NONE,
            seq,
            correlation: None,
            annotations: &Annotations::new(),
            chain: None,
            payload: Bytes::from_static(b"ping").into(),
            call: Some(id),
            deadline: None,
        };
        self.writer.queue(&self.config, draft)?;
        self.last_id = id.0;
        self.calls.push(Waiting {
            id,
            kind,
            seq,
            serializer,
            deadline,
            wanted,
        });
        Ok(id)
    }

    /// Says that nobody waits for a call, or ping, any more: its answer will be dropped.
    ///
    /// It stays one of those that are out until it is answered. Unknown ones are passed over.
    pub fn abandon(&mut self, now: Time, id: RequestId) {
        let all = self.calls.all.iter_mut();
        for call in all.filter(|call| call.id == id) {
            call.wanted = false;
        }
        self.settle(now, "abandoned");
        self.watch_output(now);
    }

    /// The next sequence number that no call has which is out.
    fn free_seq(&self) -> Seq {
        let calls = &self.calls.all;
        let mut seq = self.seq.next();
        // How many numbers were given out since that of the oldest, or more: those that were passed over
        // were of calls that are older still, though they may have been answered since.
        let since = |oldest: &Waiting| self.last_id - oldest.id.0 + self.call_limit() as u64;
        if calls.first().map_or(0, since) < u64::from(u16::MAX) {
            return seq;
        }
        // There are more numbers than calls can be out.
        while calls
            .iter()
            .any(|call| call.seq == seq && call.kind == Kind::Result)
        {
            seq = seq.next();
        }
        seq
    }

    /// How many calls may be out at once: one, but to a daemon of ours.
    pub fn call_limit(&self) -> usize {
        let agreed = self.hello.map_or(1, |hello| hello.calls.into());
        self.config.calls.clamp(1, agreed)
    }

    /// The number of the daemon's process, if it is one of ours.
    pub fn peer(&self) -> Option<u64> {
        self.hello.map(|hello| hello.node)
    }

    /// Whether a call may be sent now.
    pub fn has_room(&self) -> bool {
        self.check_room("call", true).is_ok()
    }

    fn check_room(&self, what: &'static str, answered: bool) -> Result<(), UsageError> {
        match &self.state {
            State::Ready | State::Awaiting => {}
            State::Flushing { cause } | State::Closed { cause } => {
                return Err(UsageError::Closed(cause.clone()));
            }
            state => {
                return Err(UsageError::WrongState {
                    what,
                    state: state.name(),
                });
            }
        }
        let limit = self.call_limit();
        if answered && self.calls.all.len() >= limit {
            return Err(UsageError::Busy { limit });
        }
        let (pending, limit) = (self.writer.pending(), self.config.limits.write_queue_bytes);
        if pending >= limit {
            return Err(UsageError::QueueFull { pending, limit });
        }
        Ok(())
    }

    /// How much of a call the socket has taken; stays true when the connection has closed.
    pub fn sent(&self, id: RequestId) -> Sent {
        self.writer.sent(id)
    }

    /// The sequence number used last; a new connection in place of this one goes on from it.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Takes no new calls, and closes when those that are out are answered.
    pub fn drain(&mut self, now: Time) {
        match self.state {
            State::Flushing { .. } | State::Closed { .. } => {}
            State::Handshaking => self.shut(now, CloseCause::Drained, "drained"),
            _ => {
                self.draining = true;
                self.settle(now, "draining");
            }
        }
        self.watch_output(now);
    }

    /// Writes what is queued, then closes; nobody waits for answers any more.
    pub fn close(&mut self, now: Time, why: CloseCause) {
        self.finish(now, why, "closed by us");
        self.watch_output(now);
    }

    /// Closes at once; what waits to be written is dropped.
    pub fn abort(&mut self, now: Time, why: CloseCause) {
        self.shut(now, why, "aborted by us");
    }

    /// Where the connection is in its life.
    pub const fn state(&self) -> StateName {
        self.state.name()
    }

    /// Why the connection ended, once it is about to.
    pub const fn cause(&self) -> Option<&CloseCause> {
        match &self.state {
            State::Flushing { cause } | State::Closed { cause } => Some(cause),
            _ => None,
        }
    }

    /// Whether [`poll_output`](Self::poll_output) has more to tell than to wait.
    pub fn has_output(&self) -> bool {
        self.writer.is_ready() || !self.events.is_empty()
    }

    /// The name of this connection in the log.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The settings.
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Moves to `next`: the only place that assigns `self.state`.
    fn enter(&mut self, now: Time, next: State, why: &'static str) {
        debug!(conn = self.id, from = %self.state.name(), to = %next.name(), why, "transition");
        // A timer belongs to a state, so leaving the state stops it. Those of calls, of parts of
        // messages and of writing belong to those, see `settle` and `watch_output`.
        for timer in [Timer::Handshake, Timer::Idle, Timer::Drain] {
            self.timers.stop(timer);
        }
        match &next {
            State::Ready => self.start_idle(now),
            // The handshake's timer was started with the connection.
            State::Handshaking | State::Awaiting => {}
            State::Draining => self
                .timers
                .start(Timer::Drain, now, self.config.limits.drain),
            State::Flushing { .. } => {
                if self.timers.runs(Timer::Write) {
                    self.timers.hasten(Timer::Write, self.writer.deadline());
                }
                self.timers.stop(Timer::Reply);
                self.timers.stop(Timer::Stall);
                self.calls.clear();
                self.reader.clear();
            }
            State::Closed { cause } => {
                self.calls.clear();
                self.reader.clear();
                self.writer.abandon();
                self.timers.stop_all();
                self.events.push(ClientEvent::Closed(cause.clone()));
            }
        }
        self.state = next;
    }

    /// Closes as soon as all that waits is written.
    fn finish(&mut self, now: Time, cause: CloseCause, why: &'static str) {
        match self.state {
            State::Flushing { .. } | State::Closed { .. } => {}
            _ if self.writer.is_empty() => self.enter(now, State::Closed { cause }, why),
            _ => self.enter(now, State::Flushing { cause }, why),
        }
    }

    /// Closes at once; whoever was about to close has said why already.
    fn shut(&mut self, now: Time, cause: CloseCause, why: &'static str) {
        let cause = match &self.state {
            State::Closed { .. } => return,
            State::Flushing { cause } => cause.clone(),
            _ => cause,
        };
        self.enter(now, State::Closed { cause }, why);
    }

    fn on_read(&mut self, now: Time, count: usize) {
        if !self.wants_read() {
            return;
        }
        self.reader.commit(count);
        if count != 0 {
            if self.timers.runs(Timer::Stall) {
                self.timers
                    .start(Timer::Stall, now, self.config.limits.stall);
            }
            self.see_life(now);
        }
        while self.wants_read() {
            let (state, calls) = (self.state.name(), &self.calls.all);
            let many = self.call_limit() > 1;
            let allow = |header: &Header| allow(header.kind, state, calls, many);
            let outcome = match self
                .reader
                .next(&self.config.limits, &self.config.memory, allow)
            {
                Ok(Some(message)) => self.on_message(now, message),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.complain(&error);
                return self.shut(now, error.into(), "protocol error");
            }
        }
        self.settle(now, "read");
    }

    fn on_wrote(&mut self, now: Time, count: usize) {
        let was_full = self.writer.is_blocked();
        let had_deadline = self.writer.deadline().is_some();
        self.writer.wrote(count);
        if count != 0 {
            self.timers.stop(Timer::Write);
            // What a socket takes that was not full may be read by nobody.
            if was_full {
                self.see_life(now);
            }
            if was_full || had_deadline {
                self.settle(now, "written");
            }
        }
        if let State::Flushing { cause } = &self.state
            && self.writer.is_empty()
        {
            let cause = cause.clone();
            self.enter(now, State::Closed { cause }, "written");
        }
    }

    fn on_tick(&mut self, now: Time) {
        let Some(timer) = self.timers.due(now) else {
            return;
        };
        if timer == Timer::Reply && self.expire(now) {
            return self.settle(now, "expired");
        }
        let cause = CloseCause::TimedOut(timer);
        match timer {
            Timer::Handshake | Timer::Stall | Timer::Write => self.complain(&cause),
            Timer::Idle | Timer::Reply | Timer::Drain => {}
        }
        self.shut(now, cause, "timer");
    }

    /// Gives up on the calls whose deadline has passed; says whether the connection can go on.
    fn expire(&mut self, now: Time) -> bool {
        let limit = self.call_limit();
        if limit == 1 {
            return false;
        }
        let mut patience = None;
        while let Some(id) = self.writer.expire(now) {
            // Something has to wait in its place, or a daemon that reads nothing went unnoticed.
            patience = Some(self.config.limits.write_stall);
            self.events.push(ClientEvent::Expired { id });
        }
        if self.calls.deadline().is_some_and(|at| at <= now) {
            patience = Some(self.config.limits.stall);
        }
        let Some(patience) = patience else {
            return true;
        };
        let tell = |id| self.events.push(ClientEvent::Expired { id });
        if !self.calls.expire(now, tell) {
            return false;
        }
        // A daemon that answers nobody is of no more use.
        if self.calls.all.len() >= limit && !self.calls.is_any_wanted() {
            return false;
        }
        // One that is dead must not be waited for at every call: it has the time of a stall.
        let answer_by = now + patience;
        let is_ping = |call: &&mut Waiting| call.kind == Kind::Ping;
        let Some(ping) = self.calls.all.iter_mut().find(is_ping) else {
            return self.queue_ping(Some(answer_by), false).is_ok();
        };
        if !ping.wanted {
            ping.deadline = ping.deadline.map(|at| at.min(answer_by));
        }
        true
    }

    /// Gives a daemon that moves bytes its time anew to answer the ping that follows a deadline: it
    /// may be behind something large.
    fn see_life(&mut self, now: Time) {
        let answer_by = now + self.config.limits.stall;
        let probes = |call: &&mut Waiting| call.kind == Kind::Ping && !call.wanted;
        for ping in self.calls.all.iter_mut().filter(probes) {
            ping.deadline = ping.deadline.map(|at| at.max(answer_by));
        }
    }

    fn on_message(&mut self, now: Time, message: Message) -> Result<(), ProtocolError> {
        let message = message.without_chain();
        match message.kind {
            Kind::ConnectOk => {
                self.on_connected(now, message);
                Ok(())
            }
            Kind::ConnectFail if self.state == State::Handshaking => {
                self.on_refused(now, message);
                Ok(())
            }
            Kind::ConnectFail => self.on_unserved(now, message.seq),
            // `allow` has let nothing else through.
            _ => self.on_answer(now, message),
        }
    }

    fn on_connected(&mut self, now: Time, message: Message) {
        self.enter(now, State::Ready, "CONNECTOK received");
        let Message {
            serializer,
            mut annotations,
            payload,
            ..
        } = message;
        // Another nonce is that of somebody else's handshake, which a Pyro daemon has handed on.
        let hello = annotations.remove(native::HELLO);
        self.hello = hello
            .and_then(|hello| Hello::decode(&hello))
            .filter(|hello| self.offer.is_some_and(|offer| offer.nonce == hello.nonce));
        self.events.push(ClientEvent::Connected {
            serializer,
            annotations,
            payload,
        });
    }

    fn on_refused(&mut self, now: Time, message: Message) {
        let Message {
            serializer,
            annotations,
            payload,
            ..
        } = message;
        self.events.push(ClientEvent::Refused {
            serializer,
            annotations,
            payload,
        });
        self.shut(now, CloseCause::Refused, "CONNECTFAIL received");
    }

    fn on_answer(&mut self, now: Time, message: Message) -> Result<(), ProtocolError> {
        let Message {
            kind,
            serializer,
            flags,
            seq,
            correlation,
            annotations,
            payload,
            ..
        } = message;
        let call = self.answered(kind, seq)?;
        if kind != Kind::Ping && call.serializer != serializer {
            let (expected, got) = (call.serializer, serializer);
            return Err(ProtocolError::WrongSerializer { expected, got });
        }
        if !call.wanted {
            debug!(conn = self.id, id = %call.id, "an answer that nobody waits for");
        } else if kind == Kind::Ping {
            self.events.push(ClientEvent::Ponged { id: call.id });
        } else {
            let response = Response {
                serializer,
                flags,
                correlation,
                annotations,
                payload,
            };
            self.events.push(ClientEvent::Returned {
                id: call.id,
                response,
            });
        }
        self.settle(now, "answer received");
        Ok(())
    }

    /// The daemon takes no more calls.
    fn on_unserved(&mut self, now: Time, seq: Seq) -> Result<(), ProtocolError> {
        let call = self.answered(Kind::Result, seq)?;
        if call.wanted {
            self.events.push(ClientEvent::Unserved { id: call.id });
        }
        self.draining = true;
        self.settle(now, "call refused");
        Ok(())
    }

    /// Takes out the call, or the ping, that is answered by a message of this kind and number.
    fn answered(&mut self, kind: Kind, seq: Seq) -> Result<Waiting, ProtocolError> {
        let answered = self.calls.take(kind, seq);
        answered.ok_or_else(|| {
            // A late answer to a call we gave up on would be taken for the next one's.
            let expected = self.calls.all.iter().find(|call| call.kind == kind);
            let expected = expected.map_or(self.seq, |call| call.seq);
            ProtocolError::WrongSequence { expected, got: seq }
        })
    }

    /// Moves to the state that the table of calls implies, and runs the timers that follow from
    /// it and from the buffer.
    fn settle(&mut self, now: Time, why: &'static str) {
        let next = match self.state {
            State::Handshaking => None,
            State::Flushing { .. } | State::Closed { .. } => return,
            _ if self.draining && !self.calls.is_any_wanted() => {
                return self.finish(now, CloseCause::Drained, "drained");
            }
            _ if self.draining => Some(State::Draining),
            _ if self.calls.all.is_empty() => Some(State::Ready),
            _ => Some(State::Awaiting),
        };
        if let Some(next) = next.filter(|next| *next != self.state) {
            self.enter(now, next, why);
        }
        // Where there may be several calls, one that is late is no reason to close.
        let unwritten = self.writer.deadline().filter(|_| self.call_limit() > 1);
        let deadlines = self.calls.deadline().into_iter().chain(unwritten);
        self.timers.set(Timer::Reply, deadlines.min());
        if self.reader.buffered() == 0 {
            self.timers.stop(Timer::Stall);
        } else if !self.timers.runs(Timer::Stall) {
            self.timers
                .start(Timer::Stall, now, self.config.limits.stall);
        }
    }

    fn start_idle(&mut self, now: Time) {
        let idle = self.config.limits.idle;
        self.timers.set(Timer::Idle, idle.map(|idle| now + idle));
    }

    /// Runs the timer of writing while anything waits to be written.
    fn watch_output(&mut self, now: Time) {
        if self.writer.is_empty() {
            self.timers.stop(Timer::Write);
        } else if !self.timers.runs(Timer::Write) {
            self.timers
                .start(Timer::Write, now, self.config.limits.write_stall);
            if self.call_limit() == 1 || matches!(self.state, State::Flushing { .. }) {
                self.timers.hasten(Timer::Write, self.writer.deadline());
            }
        }
    }

    /// The one line about a daemon that is given up.
    fn complain(&self, error: &dyn fmt::Display) {
        let state = self.state.name();
        if self.config.quiet {
            debug!(conn = self.id, %state, %error, "daemon given up");
        } else {
            warn!(conn = self.id, %state, %error, "daemon given up");
        }
    }
}

impl fmt::Debug for ClientConnection {
    /// Names the state, and nothing that a peer has sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("unanswered", &self.calls.all.len())
            .finish_non_exhaustive()
    }
}

/// Whether a message of this kind may come now.
fn allow(
    got: Kind,
    state: StateName,
    calls: &Few<Waiting>,
    many: bool,
) -> Result<(), ProtocolError> {
    let waits_for = |kind| calls.iter().any(|call| call.kind == kind);
    let expected = match state {
        StateName::Handshaking if matches!(got, Kind::ConnectOk | Kind::ConnectFail) => {
            return Ok(());
        }
        StateName::Handshaking => "CONNECTOK or CONNECTFAIL",
        _ if waits_for(got) => return Ok(()),
        // A call that came too late for a daemon of ours.
        _ if many && got == Kind::ConnectFail && waits_for(Kind::Result) => return Ok(()),
        _ => match calls.first() {
            None => "nothing",
            Some(call) if call.kind == Kind::Ping => "PING",
            Some(_) => "RESULT",
        },
    };
    Err(ProtocolError::Unexpected {
        got,
        expected,
        state,
    })
}
