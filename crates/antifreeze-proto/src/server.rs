//! One connection of a daemon.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::annotations::Annotations;
use crate::chain::{self, Chain};
use crate::client::Sent;
use crate::compress;
use crate::config::Config;
use crate::error::{CloseCause, ProtocolError, UsageError};
use crate::few::Few;
use crate::io::{Input, Output, RequestId, StateName};
use crate::message::{CorrelationId, Flags, Header, Kind, Message, Seq, SerializerId};
use crate::native::{self, Hello};
use crate::reader::Reader;
use crate::segments::Segments;
use crate::time::Time;
use crate::timer::{Timer, Timers};
use crate::writer::{Draft, Writer};

/// How much a peer may send ahead of our answer before we stop taking it from the socket.
const READ_AHEAD_BYTES: usize = 4096;
/// How many events may wait to be taken from us before we stop reading.
const WAITING_EVENTS: usize = 64;
/// How large the calls may be together that wait to be taken from us, before we stop reading.
const WAITING_BYTES: usize = 262_144;

/// A client's CONNECT, which waits for `accept` or `refuse`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Handshake {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The client's sequence number, which the answer repeats by itself.
    pub seq: Seq,
    /// The client's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The client's annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `object`.
    pub payload: Bytes,
}

/// A client's INVOKE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What `reply` wants to know.
    pub id: RequestId,
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The client's sequence number.
    pub seq: Seq,
    /// Wants no reply, and gets none.
    pub oneway: bool,
    /// The payload is a batch.
    pub batch: bool,
    /// The arguments are a blob.
    pub keep_serialized: bool,
    /// The client's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The client's annotations.
    pub annotations: Annotations,
    /// What it belongs to, and who makes it. From a [peer](Self::peer) that is not one of ours, it is
    /// who once made a call for which this one may be made.
    pub chain: Option<Arc<Chain>>,
    /// The number of the client's process, if it is one of ours.
    pub peer: Option<u64>,
    /// The call.
    pub payload: Payload,
    /// When its caller gives up, if that is a peer of ours and has said so.
    pub deadline: Option<Time>,
}

/// The payload of a call, which may have to be inflated.
///
/// A connection inflates what is small. The rest is left to you, because it may take long: a hundred
/// kilobytes may stand for a hundred megabytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    bytes: Bytes,
    /// To how many bytes it may be inflated, if it is compressed.
    inflates_to: Option<u64>,
}

impl Payload {
    /// Whether it is compressed still.
    pub const fn is_compressed(&self) -> bool {
        self.inflates_to.is_some()
    }

    /// What is here of it: the call, if it [is not compressed](Self::is_compressed).
    pub const fn as_is(&self) -> &Bytes {
        &self.bytes
    }

    /// The call as its sender has encoded it, inflated once and for all.
    ///
    /// # Errors
    ///
    /// If it is compressed, and no zlib, or stands for more than
    /// [`inflated_bytes`](crate::Limits::inflated_bytes). The connection is to be
    /// [closed](ServerConnection::close) for it.
    pub fn inflate(&mut self) -> Result<&Bytes, ProtocolError> {
        if let Some(limit) = self.inflates_to {
            self.bytes = compress::inflate(&self.bytes, limit)?;
            self.inflates_to = None;
        }
        Ok(&self.bytes)
    }
}

/// The answer that lets a client in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accept {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The correlation id; with `None` the client's own, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `meta`.
    pub payload: Segments,
}

/// The answer that keeps a client out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refuse {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The correlation id; with `None` the client's own, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A string that says why.
    pub payload: Segments,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// Of these, EXCEPTION, BATCH and ITEM_STREAM are sent; the core knows the others itself.
    pub flags: Flags,
    /// The correlation id; with `None` the request's own, if it had one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// The result, by the serializer of the request.
    pub payload: Segments,
}

/// What happened on a daemon's connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerEvent {
    /// A client wants in.
    Connecting(Handshake),
    /// A client calls.
    Requested(Box<Request>),
    /// The connection is over; said once, and last.
    ///
    /// All is written by then. To close a socket in which bytes of the peer are unread resets it,
    /// and may destroy the last answer on its way: shut down writing, read for a moment, then close.
    Closed(CloseCause),
}

/// Where a daemon's connection is in its life.
#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// No CONNECT yet, or part of one.
    Handshaking,
    /// The CONNECT was given out; our own side decides, so no timer runs.
    Deciding {
        seq: Seq,
        correlation: Option<CorrelationId>,
    },
    /// Accepted, and nothing is going on.
    Idle,
    /// Part of a message is here, and no call is unanswered.
    Receiving,
    /// At least one call is unanswered.
    Serving,
    /// The peer sends nothing more and waits for its last answers.
    HalfClosed,
    /// No new calls; those that are unanswered are finished.
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
            Self::Deciding { .. } => StateName::Deciding,
            Self::Idle => StateName::Idle,
            Self::Receiving => StateName::Receiving,
            Self::Serving => StateName::Serving,
            Self::HalfClosed => StateName::HalfClosed,
            Self::Draining => StateName::Draining,
            Self::Flushing { .. } => StateName::Flushing,
            Self::Closed { .. } => StateName::Closed,
        }
    }
}

/// A call that waits for our reply.
struct Unanswered {
    id: RequestId,
    seq: Seq,
    serializer: SerializerId,
    correlation: Option<CorrelationId>,
}

/// One connection of a daemon: which request comes next, and what may be answered.
///
/// It holds no socket and reads no clock. The driver feeds it with [`handle`](Self::handle) and
/// does what [`poll_output`](Self::poll_output) says, until that says [`Output::Wait`].
///
/// ```text
///              CONNECT           accept         first byte
/// Handshaking ─────────► Deciding ─────► Idle ◄───────────► Receiving
///      │                    │             ▲ │                   │
///      │ bad bytes,         │ refuse      │ │ INVOKE            │ INVOKE
///      │ handshake timer,   │       reply │ ▼                   │
///      │ eof                │            Serving ◄──────────────┘
///      │                    │             │   │
///      │                    │         eof │   │ drain
///      │                    │             ▼   ▼
///      │                    │    HalfClosed   Draining
///      │                    │             │   │ last reply, drain timer
///      ▼                    ▼             ▼   ▼
///   Flushing ◄── bad bytes, eof, timers of any state, close
///      │ written, write timer
///      ▼
///   Closed  ◄── a failing socket, abort
/// ```
///
/// | state | timer |
/// |---|---|
/// | Handshaking | handshake |
/// | Idle | idle |
/// | Receiving | stall, started anew by every byte |
/// | Draining | drain |
/// | any, while output waits | write stall, started anew by every byte taken |
///
/// A Pyro peer has one call at a time: while that is unanswered the next is not read; up to one
/// buffer of what the peer sends ahead is taken from the socket, so that its end or reset is
/// noticed. A peer of ours may have [as many as agreed on](Self::call_limit), which are answered
/// in any order, and never sends more. While its last calls are finished its pings are answered, and
/// calls that come too late are refused with a CONNECTFAIL of their number: they were not executed.
pub struct ServerConnection {
    id: u64,
    config: Arc<Config>,
    state: State,
    reader: Reader,
    writer: Writer,
    timers: Timers,
    events: Few<ServerEvent>,
    calls: Few<Unanswered>,
    last_id: u64,
    /// What a peer of ours has said of itself.
    hello: Option<Hello>,
    /// The peer sends nothing more.
    eof: bool,
    /// No new calls.
    draining: bool,
}

impl Refuse {
    /// A refusal that every Pyro client can read, whatever its serializer.
    ///
    /// What is not ASCII, or beyond 255 characters, is left out.
    pub fn text(text: &str) -> Self {
        Self {
            serializer: SerializerId::MARSHAL,
            correlation: None,
            annotations: Annotations::new(),
            payload: marshal_text(text).into(),
        }
    }
}

impl ServerConnection {
    /// A connection that was just accepted; `id` names it in the log.
    pub fn new(config: impl Into<Arc<Config>>, id: u64, now: Time) -> Self {
        let mut connection = Self {
            id,
            config: config.into(),
            state: State::Handshaking,
            reader: Reader::new(),
            writer: Writer::new(),
            timers: Timers::new(),
            events: Few::new(),
            calls: Few::new(),
            last_id: 0,
            hello: None,
            eof: false,
            draining: false,
        };
        connection
            .timers
            .start(Timer::Handshake, now, connection.config.limits.handshake);
        connection
    }

    /// A connection that both ends have agreed on elsewhere: there is no handshake, and what comes
    /// first is a call. The peer is not known as one of ours.
    ///
    /// # Wire
    ///
    /// Pyro5 5.17, `svr_existingconn.py`.
    pub fn without_handshake(config: impl Into<Arc<Config>>, id: u64, now: Time) -> Self {
        let mut connection = Self::new(config, id, now);
        connection.enter(now, State::Idle, "no handshake wanted");
        connection
    }

    /// Takes note of what happened in the world.
    pub fn handle(&mut self, now: Time, input: Input) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        match input {
            Input::Read(count) => self.on_read(now, count),
            Input::Eof => self.on_eof(now),
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
    pub fn poll_output(&mut self) -> Output<ServerEvent> {
        if self.writer.is_ready() {
            return Output::Transmit;
        }
        match self.events.pop() {
            Some(event) => Output::Event(event),
            None => Output::Wait(self.timers.next()),
        }
    }

    /// What has happened, though something waits to be written: whoever answers at once what came
    /// together writes all answers together.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop()
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

    /// What is waited for whether or not anything is read.
    const HELD_BACK: [Timer; 2] = [Timer::Write, Timer::Drain];

    /// Whether more bytes of the peer are welcome.
    pub fn wants_read(&self) -> bool {
        match self.state {
            State::Flushing { .. } | State::Closed { .. } => false,
            _ if self.eof => false,
            _ if self.is_full() => false,
            // They are dropped, but an end or a reset tells that nobody waits.
            State::Draining if self.is_deaf() => true,
            _ => !self.is_blocked() || self.reader.buffered() < READ_AHEAD_BYTES,
        }
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

    /// When [`tick_held_back`](Self::tick_held_back) is due, for a driver that reads nothing for a
    /// while: then it is not the peer who sends nothing.
    pub fn held_back_deadline(&self) -> Option<Time> {
        let at = Self::HELD_BACK.map(|timer| self.timers.at(timer));
        at.into_iter().flatten().min()
    }

    /// Lets a timer fire that is due, but for those of what the peer has to send.
    pub fn tick_held_back(&mut self, now: Time) {
        let due = |timer: &Timer| self.timers.at(*timer).is_some_and(|at| at <= now);
        if let Some(timer) = Self::HELD_BACK.into_iter().find(due) {
            self.expire(now, timer);
            self.watch_output(now);
        }
    }

    /// Whether bytes of the peer wait here that are no event yet.
    pub const fn has_buffered_input(&self) -> bool {
        self.reader.buffered() != 0
    }

    /// Gives back the memory of buffers in which nothing is; a driver does it before it parks us.
    pub fn release_buffers(&mut self) {
        self.reader.release();
        self.writer.release();
        self.events.release();
        self.calls.release();
    }

    /// Lets the client in.
    ///
    /// # Errors
    ///
    /// No client waits for it, or the answer is too large; then it waits still.
    pub fn accept(&mut self, now: Time, accept: Accept) -> Result<(), UsageError> {
        let Accept {
            serializer,
            correlation,
            mut annotations,
            payload,
        } = accept;
        annotations.remove(native::HELLO);
        if let Some(Hello { nonce, .. }) = self.hello {
            let hello = Hello::new(self.config.node, nonce, self.config.calls);
            annotations.insert(native::HELLO, hello.encode());
        }
        let kind = Kind::ConnectOk;
        self.decide(
            "accept",
            kind,
            serializer,
            correlation,
            &annotations,
            payload,
        )?;
        self.enter(now, State::Idle, "accepted");
        self.proceed(now, "accepted");
        self.watch_output(now);
        Ok(())
    }

    /// Keeps the client out, and closes when it has been told.
    ///
    /// # Errors
    ///
    /// No client waits for it, or the answer is too large; then it waits still.
    pub fn refuse(&mut self, now: Time, refuse: Refuse) -> Result<(), UsageError> {
        let Refuse {
            serializer,
            correlation,
            annotations,
            payload,
        } = refuse;
        let kind = Kind::ConnectFail;
        self.decide(
            "refuse",
            kind,
            serializer,
            correlation,
            &annotations,
            payload,
        )?;
        self.finish(now, CloseCause::Refused, "refused");
        self.watch_output(now);
        Ok(())
    }

    fn decide(
        &mut self,
        what: &'static str,
        kind: Kind,
        serializer: SerializerId,
        correlation: Option<CorrelationId>,
        annotations: &Annotations,
        payload: Segments,
    ) -> Result<(), UsageError> {
        let State::Deciding {
            seq,
            correlation: theirs,
        } = self.state
        else {
            return Err(self.unable(what));
        };
        let draft = Draft {
            kind,
            serializer,
            flags: Flags::NONE,
            seq,
            correlation: correlation.or(theirs),
            annotations,
            chain: None,
            payload,
            call: None,
            deadline: None,
        };
        self.writer.queue(&self.config, draft)
    }

    /// Answers a request; sequence number, serializer and correlation id are the request's.
    ///
    /// # Errors
    ///
    /// Nobody waits for it, or the answer is too large; then the request waits still, so that a
    /// smaller one can say so.
    pub fn reply(&mut self, now: Time, id: RequestId, reply: Reply) -> Result<(), UsageError> {
        if matches!(self.state, State::Flushing { .. } | State::Closed { .. }) {
            return Err(self.unable("reply"));
        }
        let Some(call) = self.calls.iter().find(|call| call.id == id) else {
            return Err(UsageError::UnknownRequest(id));
        };
        let allowed = Flags::EXCEPTION | Flags::BATCH | Flags::ITEM_STREAM;
        let draft = Draft {
            kind: Kind::Result,
            serializer: call.serializer,
            flags: reply.flags & allowed,
            seq: call.seq,
            correlation: reply.correlation.or(call.correlation),
            annotations: &reply.annotations,
            chain: None,
            payload: reply.payload,
            call: Some(id),
            deadline: None,
        };
        self.writer.queue(&self.config, draft)?;
        self.calls.take(|call| call.id == id);
        self.proceed(now, "replied");
        self.watch_output(now);
        Ok(())
    }

    /// Whether no part of the answer to this request waits to be written.
    pub fn is_written(&self, id: RequestId) -> bool {
        self.writer.sent(id) == Sent::Whole
    }

    /// Takes no new calls, and closes when those that are unanswered are answered.
    pub fn drain(&mut self, now: Time) {
        match self.state {
            State::Flushing { .. } | State::Closed { .. } => {}
            State::Handshaking | State::Deciding { .. } => {
                self.finish(now, CloseCause::Drained, "drained");
            }
            _ => {
                self.draining = true;
                if self.is_deaf() {
                    self.reader.clear();
                }
                self.settle(now, "draining");
            }
        }
        self.watch_output(now);
    }

    /// Writes what is queued, then closes; calls that are unanswered stay so.
    pub fn close(&mut self, now: Time, why: CloseCause) {
        if let CloseCause::Protocol(error) = &why {
            self.complain(error);
        }
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

    /// How many calls of this peer may be unanswered at once: one, but for a peer of ours.
    pub fn call_limit(&self) -> usize {
        let agreed = self.hello.map_or(1, |hello| hello.calls.into());
        self.config.calls.clamp(1, agreed)
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
        // A timer belongs to a state, so leaving the state stops it. That of writing belongs to
        // what waits to be written, see `watch_output`.
        for timer in [Timer::Handshake, Timer::Idle, Timer::Stall, Timer::Drain] {
            self.timers.stop(timer);
        }
        let limits = &self.config.limits;
        match &next {
            State::Handshaking => self.timers.start(Timer::Handshake, now, limits.handshake),
            State::Idle => {
                self.timers
                    .set(Timer::Idle, limits.idle.map(|idle| now + idle));
            }
            State::Receiving => self.timers.start(Timer::Stall, now, limits.stall),
            State::Draining => self.timers.start(Timer::Drain, now, limits.drain),
            // Here it is we who take our time.
            State::Deciding { .. } | State::Serving | State::HalfClosed => {}
            State::Flushing { .. } => {
                self.calls.clear();
                self.reader.clear();
            }
            State::Closed { cause } => {
                self.calls.clear();
                self.reader.clear();
                self.writer.abandon();
                self.timers.stop_all();
                self.events.push(ServerEvent::Closed(cause.clone()));
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
        match self.state {
            State::Flushing { .. } => return,
            // They only tell that the peer is still there.
            State::Draining if self.is_deaf() => return self.reader.clear(),
            _ => self.reader.commit(count),
        }
        if count != 0 {
            let limits = &self.config.limits;
            if self.timers.runs(Timer::Stall) {
                self.timers.start(Timer::Stall, now, limits.stall);
            }
            if self.timers.runs(Timer::Idle) {
                self.timers
                    .set(Timer::Idle, limits.idle.map(|idle| now + idle));
            }
        }
        self.proceed(now, "read");
    }

    fn on_eof(&mut self, now: Time) {
        self.eof = true;
        self.proceed(now, "eof");
    }

    fn on_wrote(&mut self, now: Time, count: usize) {
        self.writer.wrote(count);
        if count != 0 {
            self.timers.stop(Timer::Write);
        }
        match &self.state {
            State::Flushing { cause } if self.writer.is_empty() => {
                let cause = cause.clone();
                self.enter(now, State::Closed { cause }, "written");
            }
            // The peer reads again, so its next request may be read.
            _ => self.proceed(now, "written"),
        }
    }

    fn on_tick(&mut self, now: Time) {
        let Some(timer) = self.timers.due(now) else {
            return;
        };
        if timer == Timer::Stall && self.is_full() {
            // It is not the peer who lets the rest of its message wait.
            return self.timers.start(timer, now, self.config.limits.stall);
        }
        self.expire(now, timer);
    }

    fn expire(&mut self, now: Time, timer: Timer) {
        let cause = CloseCause::TimedOut(timer);
        match timer {
            Timer::Handshake | Timer::Stall | Timer::Write => {
                self.complain(&cause);
            }
            Timer::Idle | Timer::Reply | Timer::Drain => {}
        }
        if timer == Timer::Write {
            self.shut(now, cause, "timer");
        } else {
            self.finish(now, cause, "timer");
        }
    }

    /// Reads as many messages as may be read now, then says where that leaves us.
    fn proceed(&mut self, now: Time, why: &'static str) {
        while self.may_read_message() {
            let state = self.state.name();
            let allow = |header: &Header| allow(header.kind, state);
            let narrow;
            let limits = if state == StateName::Handshaking {
                narrow = self.config.limits.before_accepting();
                &narrow
            } else {
                &self.config.limits
            };
            match self.reader.next(limits, &self.config.memory, allow) {
                Ok(Some(message)) => {
                    if let Err(error) = self.on_message(now, message) {
                        return self.on_broken(now, error);
                    }
                }
                Ok(None) => break,
                Err(error) => return self.on_broken(now, error),
            }
        }
        self.settle(now, why);
    }

    fn may_read_message(&self) -> bool {
        match self.state {
            State::Handshaking => true,
            State::Idle
            | State::Receiving
            | State::Serving
            | State::HalfClosed
            | State::Draining => !self.is_deaf() && !self.is_blocked(),
            _ => false,
        }
    }

    /// Whether the next message has to wait until we have answered, or the peer has read.
    fn is_blocked(&self) -> bool {
        matches!(self.state, State::Deciding { .. })
            // Who may have several keeps to the limit, and its pings shall be answered.
            || self.call_limit() == 1 && !self.calls.is_empty()
            || self.writer.pending() >= self.config.limits.write_queue_bytes
    }

    /// Whether what the peer says is of no interest any more. One that may have several calls asks
    /// whether we are there while it waits for those that are unanswered.
    fn is_deaf(&self) -> bool {
        self.draining && self.call_limit() == 1
    }

    /// Whether what was read has to be taken from us before we read more: a driver that has to
    /// write first may take nothing for a while, and oneways are limited by nothing else.
    fn is_full(&self) -> bool {
        let bytes = |event: &ServerEvent| match event {
            ServerEvent::Requested(request) => request.payload.as_is().len(),
            ServerEvent::Connecting(_) | ServerEvent::Closed(_) => 0,
        };
        !self.events.is_empty()
            && (self.events.len() >= WAITING_EVENTS
                || self.events.iter().map(bytes).sum::<usize>() >= WAITING_BYTES)
    }

    fn on_message(&mut self, now: Time, message: Message) -> Result<(), ProtocolError> {
        match message.kind {
            Kind::Connect => self.on_connect(now, message.without_chain()),
            Kind::Ping => self.on_ping(message),
            _ if self.draining => self.on_late(&message),
            // `allow` has let nothing else through.
            _ => return self.on_invoke(now, message),
        }
        Ok(())
    }

    fn on_connect(&mut self, now: Time, message: Message) {
        let Message {
            serializer,
            seq,
            correlation,
            mut annotations,
            payload,
            ..
        } = message;
        let hello = annotations.remove(native::HELLO);
        self.hello = hello.and_then(|hello| Hello::decode(&hello));
        self.enter(
            now,
            State::Deciding { seq, correlation },
            "CONNECT received",
        );
        let handshake = Handshake {
            serializer,
            seq,
            correlation,
            annotations,
            payload,
        };
        self.events.push(ServerEvent::Connecting(handshake));
    }

    /// Answers with the same sequence number, and the same serializer id even if nobody knows it.
    fn on_ping(&mut self, message: Message) {
        let draft = Draft {
            kind: Kind::Ping,
            serializer: message.serializer,
            flags: Flags::NONE,
            seq: message.seq,
            correlation: message.correlation,
            annotations: &Annotations::new(),
            chain: None,
            payload: Bytes::from_static(b"pong").into(),
            call: None,
            deadline: None,
        };
        // Too large only for a limit of less than four bytes, and then nobody gets an answer.
        if let Err(error) = self.writer.queue(&self.config, draft) {
            debug!(conn = self.id, %error, "ping not answered");
        }
    }

    /// Tells a peer of ours that its call was not executed. Nobody waits for a oneway.
    fn on_late(&mut self, message: &Message) {
        debug!(conn = self.id, seq = %message.seq, "a call that comes too late");
        if message.flags.contains(Flags::ONEWAY) {
            return;
        }
        let draft = Draft {
            kind: Kind::ConnectFail,
            serializer: SerializerId::MARSHAL,
            flags: Flags::NONE,
            seq: message.seq,
            correlation: message.correlation,
            annotations: &Annotations::new(),
            chain: None,
            payload: marshal_text("the daemon is shutting down").into(),
            call: None,
            deadline: None,
        };
        if let Err(error) = self.writer.queue(&self.config, draft) {
            debug!(conn = self.id, %error, "refusal not sent");
        }
    }

    fn on_invoke(&mut self, now: Time, message: Message) -> Result<(), ProtocolError> {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        let Message {
            serializer,
            flags,
            seq,
            correlation,
            annotations,
            chain,
            payload,
            ..
        } = message;
        let oneway = flags.contains(Flags::ONEWAY);
        let peer = self.hello.map(|hello| hello.node);
        let chain = chain.and_then(|chain| chain::decode(&chain));
        let (chain, left) = chain.unwrap_or_default();
        if !oneway {
            let limit = self.call_limit();
            if self.calls.len() >= limit {
                return Err(ProtocolError::TooManyCalls { limit });
            }
            if self.calls.iter().any(|call| call.seq == seq) {
                return Err(ProtocolError::RepeatedSequence { got: seq });
            }
            self.calls.push(Unanswered {
                id,
                seq,
                serializer,
                correlation,
            });
            if !matches!(self.state, State::Serving | State::HalfClosed) {
                self.enter(now, State::Serving, "INVOKE received");
            }
        }
        self.events.push(ServerEvent::Requested(Box::new(Request {
            id,
            serializer,
            seq,
            oneway,
            batch: flags.contains(Flags::BATCH),
            keep_serialized: flags.contains(Flags::KEEP_SERIALIZED),
            correlation,
            annotations,
            chain: chain.map(Arc::new),
            peer,
            payload: Payload {
                bytes: payload,
                inflates_to: flags
                    .contains(Flags::COMPRESSED)
                    .then_some(self.config.limits.inflated_bytes),
            },
            deadline: left.filter(|_| peer.is_some()).map(|left| now + left),
        })));
        Ok(())
    }

    /// The peer broke the protocol: told why before it was let in, and never after.
    fn on_broken(&mut self, now: Time, error: ProtocolError) {
        self.complain(&error);
        if self.state == State::Handshaking {
            let draft = Draft {
                kind: Kind::ConnectFail,
                serializer: SerializerId::MARSHAL,
                flags: Flags::NONE,
                seq: Seq(0),
                correlation: None,
                annotations: &Annotations::new(),
                chain: None,
                payload: marshal_text(&refusal(&error)).into(),
                call: None,
                deadline: None,
            };
            if let Err(error) = self.writer.queue(&self.config, draft) {
                debug!(conn = self.id, %error, "refusal not sent");
            }
        }
        self.finish(now, error.into(), "protocol error");
    }

    /// Moves to the state that table, buffer, end and drain imply.
    fn settle(&mut self, now: Time, why: &'static str) {
        let none_unanswered = self.calls.is_empty();
        let blocked = self.is_blocked();
        let next = match self.state {
            State::Handshaking if self.eof => {
                return self.finish(now, self.reader.cause_of_eof(), "eof");
            }
            State::Handshaking
            | State::Deciding { .. }
            | State::Flushing { .. }
            | State::Closed { .. } => return,
            _ if self.draining && none_unanswered => {
                return self.finish(now, CloseCause::Drained, "drained");
            }
            _ if self.draining => State::Draining,
            _ if self.eof && none_unanswered && !blocked => {
                return self.finish(now, self.reader.cause_of_eof(), "eof");
            }
            _ if self.eof => State::HalfClosed,
            _ if !none_unanswered => State::Serving,
            _ if self.reader.buffered() != 0 => State::Receiving,
            _ => State::Idle,
        };
        if next != self.state {
            self.enter(now, next, why);
        }
        // Part of a message that nobody reads on is not the peer's delay.
        let waits = self.reader.buffered() != 0 && !blocked && !self.eof && !self.draining;
        if !waits {
            self.timers.stop(Timer::Stall);
        } else if !self.timers.runs(Timer::Stall) {
            self.timers
                .start(Timer::Stall, now, self.config.limits.stall);
        }
    }

    /// Runs the timer of writing while anything waits to be written.
    fn watch_output(&mut self, now: Time) {
        if self.writer.is_empty() {
            self.timers.stop(Timer::Write);
        } else if !self.timers.runs(Timer::Write) {
            self.timers
                .start(Timer::Write, now, self.config.limits.write_stall);
        }
    }

    /// The one line about a peer that is thrown out.
    fn complain(&self, error: &dyn fmt::Display) {
        let state = self.state.name();
        if self.config.quiet {
            debug!(conn = self.id, %state, %error, "client refused");
        } else {
            warn!(conn = self.id, %state, %error, "client refused");
        }
    }

    fn unable(&self, what: &'static str) -> UsageError {
        match &self.state {
            State::Flushing { cause } | State::Closed { cause } => {
                UsageError::Closed(cause.clone())
            }
            state => UsageError::WrongState {
                what,
                state: state.name(),
            },
        }
    }
}

impl fmt::Debug for ServerConnection {
    /// Names the state, and nothing that a peer has sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("unanswered", &self.calls.len())
            .finish_non_exhaustive()
    }
}

/// Whether a message of this kind may come now.
fn allow(got: Kind, state: StateName) -> Result<(), ProtocolError> {
    match (state, got) {
        (StateName::Handshaking, Kind::Connect) => Ok(()),
        (StateName::Handshaking, _) => Err(ProtocolError::Unexpected {
            got,
            expected: "CONNECT",
            state,
        }),
        (_, Kind::Invoke | Kind::Ping) => Ok(()),
        _ => Err(ProtocolError::Unexpected {
            got,
            expected: "INVOKE or PING",
            state,
        }),
    }
}

/// What Pyro5 says to a client that it cannot understand, in its words where it has some.
fn refusal(error: &ProtocolError) -> String {
    match error {
        ProtocolError::NotPyro => "invalid data".into(),
        ProtocolError::UnsupportedVersion { got, .. } => format!("invalid protocol version: {got}"),
        ProtocolError::WrongMagic { .. } => "invalid message or protocol version".into(),
        ProtocolError::UnknownKind { got } => {
            format!("invalid msg type {got} received (expected: 1)")
        }
        ProtocolError::Unexpected { got, .. } => {
            format!("invalid msg type {} received (expected: 1)", got.as_u8())
        }
        ProtocolError::TooLarge { size, limit } => {
            format!("message too large ({size}, max={limit})")
        }
        ProtocolError::AnnotationCut { .. } => {
            "annotation chunk length exceeds remaining data".into()
        }
        other => other.to_string(),
    }
}

/// `text` as Python's marshal writes a short ASCII string, which every Pyro client can read.
fn marshal_text(text: &str) -> Bytes {
    const SHORT_ASCII: u8 = 0xfa;
    let text: Vec<u8> = text.bytes().filter(u8::is_ascii).take(255).collect();
    let mut bytes = Vec::with_capacity(2 + text.len());
    bytes.push(SHORT_ASCII);
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(&text);
    bytes.into()
}
