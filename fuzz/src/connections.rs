//! The two ends of a connection, under any sequence of inputs and commands.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use antifreeze_proto::{
    Accept, Annotations, Call, ClientConnection, ClientEvent, CloseCause, Config, Connect, Flags,
    Input, Kind, Limits, Refuse, Reply, RequestId, Seq, SerializerId, ServerConnection,
    ServerEvent, StateName, Time, UsageError,
};
use antifreeze_testkit::{Bench, Endpoint, Pair, RawMessage};
use arbitrary::{Result, Unstructured};

pub(crate) const START: Time = Time::from_nanos(1_000_000_000);

const SECOND: Duration = Duration::from_secs(1);
const MESSAGE_BYTES: u64 = 3000;
const WRITE_QUEUE_BYTES: u64 = 2000;
/// What may wait to be written: what the queue may hold, and one more message for each call.
const MOST_WAITING: usize = 20_000;
/// What may be taken of a peer without anything coming of it: what is read ahead, and a buffer.
const MOST_AHEAD: usize = 4096 + 4096 + MESSAGE_BYTES as usize;

pub(crate) fn connect() -> Connect {
    Connect {
        serializer: SerializerId::SERPENT,
        seq: Seq(0),
        correlation: None,
        annotations: Annotations::new(),
        payload: b"hello"[..].into(),
        deadline: None,
    }
}

pub(crate) fn accept() -> Accept {
    Accept {
        serializer: SerializerId::SERPENT,
        correlation: None,
        annotations: Annotations::new(),
        payload: b"welcome"[..].into(),
    }
}

/// Something that happens, or that somebody does.
#[derive(Debug)]
enum Op {
    /// A message comes, whole or cut, in pieces, again and again.
    Send {
        message: RawMessage,
        cut: Option<usize>,
        piece: usize,
        times: usize,
    },
    Noise(Vec<u8>),
    Window(usize),
    Pass(Duration),
    Sleep(Duration),
    Tick,
    HeldBack,
    Eof,
    Fail,
    Accept,
    Refuse,
    Answer {
        index: usize,
        length: usize,
    },
    AnswerAgain(usize),
    Call {
        oneway: bool,
        length: usize,
        limit: Option<Duration>,
    },
    Ping,
    Abandon(usize),
    Drain,
    Close,
    Abort,
    Release,
}

impl Op {
    fn take(u: &mut Unstructured<'_>) -> Result<Self> {
        let millis = |u: &mut Unstructured<'_>| u.int_in_range(0..=7000).map(Duration::from_millis);
        Ok(match u.int_in_range(0..=63_u8)? {
            0..=15 => Self::Send {
                message: message(u.arbitrary()?),
                cut: None,
                piece: u.int_in_range(1..=255)?,
                times: 1,
            },
            16..=18 => Self::Send {
                message: message(u.arbitrary()?),
                cut: Some(u.int_in_range(0..=255)?),
                piece: 64,
                times: 1,
            },
            19 | 20 => Self::Send {
                message: message(u.arbitrary()?),
                cut: None,
                piece: 1000,
                times: u.int_in_range(1..=255)?,
            },
            21 => {
                let length = u.int_in_range(0..=60)?;
                Self::Noise(u.bytes(length)?.to_vec())
            }
            22..=26 => Self::Window(u.int_in_range(0..=300)?),
            27 => Self::Window(usize::MAX),
            28..=31 => Self::Pass(millis(u)?),
            32 => Self::Sleep(millis(u)?),
            33 => Self::Tick,
            34 => Self::HeldBack,
            35 => Self::Eof,
            36 => Self::Fail,
            37..=39 => Self::Accept,
            40 => Self::Refuse,
            41..=45 => Self::Answer {
                index: u.int_in_range(0..=3)?,
                length: u.int_in_range(0..=300)?,
            },
            46 => Self::Answer {
                index: 0,
                length: u.int_in_range(0..=4000)?,
            },
            47 => Self::AnswerAgain(u.int_in_range(0..=3)?),
            48..=53 => Self::Call {
                oneway: u.arbitrary()?,
                length: u.int_in_range(0..=3500)?,
                limit: if u.arbitrary()? {
                    Some(millis(u)?)
                } else {
                    None
                },
            },
            54 | 55 => Self::Ping,
            56 | 57 => Self::Abandon(u.int_in_range(0..=3)?),
            58 => Self::Drain,
            59 => Self::Close,
            60 => Self::Abort,
            _ => Self::Release,
        })
    }
}

/// What peers say, with one of four numbers.
fn message(number: u8) -> RawMessage {
    let seq = u16::from(number / 64);
    match number % 16 {
        0 => RawMessage::connect("obj"),
        1 => RawMessage::connect("obj").hello([7; 16], 3),
        2 => RawMessage::new(Kind::ConnectOk, "welcome"),
        3 => RawMessage::new(Kind::ConnectOk, "welcome").hello([7; 16], 3),
        4 => RawMessage::new(Kind::ConnectFail, "no").seq(seq),
        5 => RawMessage::new(Kind::Ping, "pong").serializer(SerializerId(42)),
        6 => RawMessage::ping(),
        7 => RawMessage::invoke(seq, "oneway").flags(Flags::ONEWAY),
        8 => RawMessage::invoke(seq, "call").annotation(b"ABCD", &[number; 20]),
        9 => RawMessage::invoke(seq, "call").millis_left(20),
        10 => RawMessage::invoke(seq, [number; 2900]),
        11 => RawMessage::invoke(seq, [number; 200]),
        12 => RawMessage::result(seq, [number; 200]),
        _ => RawMessage::result(seq, "result"),
    }
}

fn config(kind: u8) -> Config {
    let limits = Limits {
        message_bytes: MESSAGE_BYTES,
        inflated_bytes: MESSAGE_BYTES,
        write_queue_bytes: WRITE_QUEUE_BYTES,
        idle: (kind & 4 != 0).then_some(2 * SECOND),
        ..Limits::default()
    };
    Config {
        limits,
        calls: usize::from(kind % 4) + 1,
        compress: kind & 8 != 0,
        node: 7,
        quiet: true,
        ..Config::default()
    }
}

/// What holds of every connection at any time when its driver waits.
struct Watch {
    /// Bytes that were taken since anything came of some.
    ahead: usize,
    written: usize,
}

impl Watch {
    const fn new() -> Self {
        Self {
            ahead: 0,
            written: 0,
        }
    }

    /// The inputs that both ends have; says whether it was one.
    fn input<C: Endpoint>(&mut self, bench: &mut Bench<C>, op: &Op) -> bool {
        match op {
            Op::Send {
                message,
                cut,
                piece,
                times,
            } => {
                let mut bytes = message.encode();
                bytes.truncate(cut.unwrap_or(usize::MAX));
                for _ in 0..*times {
                    self.ahead += bench.feed_by(&bytes, *piece);
                    self.check(bench);
                }
            }
            Op::Noise(bytes) => self.ahead += bench.feed(bytes),
            Op::Window(window) => bench.open_window(*window),
            Op::Pass(time) => bench.advance(*time),
            Op::Sleep(time) => {
                bench.now = bench.now + *time;
                bench.input(Input::Resumed(*time));
            }
            Op::Tick => bench.input(Input::Tick),
            Op::Eof => bench.input(Input::Eof),
            Op::Fail => bench.input(Input::Failed(ErrorKind::ConnectionReset)),
            _ => return false,
        }
        true
    }

    fn check<C: Endpoint>(&mut self, bench: &mut Bench<C>) {
        let state = bench.conn.state();
        let waits_for_the_peer = matches!(
            state,
            StateName::Handshaking
                | StateName::Receiving
                | StateName::Draining
                | StateName::Flushing
        );
        if waits_for_the_peer || bench.conn.wants_write() {
            assert!(bench.deadline.is_some(), "no timer runs while {state}");
        }
        let (closing, closed) = (state == StateName::Flushing, state == StateName::Closed);
        assert_eq!(
            bench.conn.read_buffer().is_empty(),
            !bench.conn.wants_read()
        );
        assert_eq!(bench.conn.cause().is_some(), closing || closed);
        if closed {
            assert!(!bench.conn.wants_write() && !bench.conn.wants_read());
            assert_eq!(bench.deadline, None);
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let count = bench.conn.transmit(&mut slices);
        let waiting: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        assert!(
            waiting <= MOST_WAITING,
            "{waiting} bytes wait to be written"
        );
        // What is said too late is dropped.
        let progress = !bench.events.is_empty() || bench.output.len() != self.written;
        if progress || matches!(state, StateName::Draining | StateName::Closed) {
            self.ahead = 0;
        }
        self.written = bench.output.len();
        assert!(self.ahead <= MOST_AHEAD, "{} bytes are kept", self.ahead);
    }
}

/// Shows what was done when a promise is broken.
struct Story(Vec<Op>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:#?}", self.0);
        }
    }
}

/// A daemon's end: a call that was given out can be answered until the connection closes, once, and
/// what is answered is written, once.
pub(crate) fn server(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(kind) = u.arbitrary() else { return };
    let conn = ServerConnection::new(config(kind), 7, START);
    let mut served = Served {
        bench: Bench::new(conn, START),
        watch: Watch::new(),
        open: Vec::new(),
        answered: Vec::new(),
        owed: Vec::new(),
        read: 0,
        closed: false,
        lost: false,
    };
    let mut story = Story(Vec::new());
    // Half of them begin past the handshake, where most of life is.
    if kind & 16 != 0 {
        served.run(
            Op::Send {
                message: message(u8::from(kind & 32 != 0)),
                cut: None,
                piece: 1000,
                times: 1,
            },
            &mut story,
        );
        served.run(Op::Accept, &mut story);
    }
    while !u.is_empty() {
        let Ok(op) = Op::take(&mut u) else { break };
        served.run(op, &mut story);
    }
    served.end();
}

struct Served {
    bench: Bench<ServerConnection>,
    watch: Watch,
    /// Calls that were given out, with their numbers.
    open: Vec<(RequestId, u16)>,
    answered: Vec<RequestId>,
    /// The numbers of those that were answered, but whose answer is not written.
    owed: Vec<u16>,
    /// How much of the output was looked at.
    read: usize,
    closed: bool,
    /// What waited to be written was dropped.
    lost: bool,
}

impl Served {
    fn run(&mut self, op: Op, story: &mut Story) {
        story.0.push(op);
        let op = &story.0[story.0.len() - 1];
        let waited = self.bench.conn.wants_write();
        if !self.watch.input(&mut self.bench, op) {
            self.command(op);
            self.bench.drain();
        }
        // A failure, or the timer of writing, whatever the cause is that was said before.
        let cuts = matches!(
            op,
            Op::Fail | Op::Abort | Op::Pass(_) | Op::Tick | Op::HeldBack
        );
        self.lost |= waited && cuts && self.bench.conn.state() == StateName::Closed;
        self.watch.check(&mut self.bench);
        self.take();
    }

    fn command(&mut self, op: &Op) {
        let (now, conn) = (self.bench.now, &mut self.bench.conn);
        let deciding = conn.state() == StateName::Deciding;
        match op {
            Op::HeldBack => conn.tick_held_back(now),
            Op::Accept => assert_eq!(conn.accept(now, accept()).is_ok(), deciding),
            Op::Refuse => {
                let refused = conn.refuse(now, Refuse::text("unknown object"));
                assert_eq!(refused.is_ok(), deciding);
            }
            Op::Answer { index, length } if !self.open.is_empty() => {
                self.answer(index % self.open.len(), *length);
            }
            Op::AnswerAgain(index) if !self.answered.is_empty() => {
                let id = self.answered[index % self.answered.len()];
                let again = conn.reply(now, id, Reply::default());
                assert!(again.is_err(), "{id} was answered before");
            }
            Op::Drain => conn.drain(now),
            Op::Close => conn.close(now, CloseCause::local("enough")),
            Op::Abort => conn.abort(now, CloseCause::local("enough")),
            Op::Release => conn.release_buffers(),
            _ => {}
        }
    }

    fn answer(&mut self, index: usize, length: usize) {
        let (id, seq) = self.open[index];
        let reply = Reply {
            payload: vec![0; length].into(),
            ..Reply::default()
        };
        let conn = &mut self.bench.conn;
        match conn.reply(self.bench.now, id, reply) {
            Ok(()) => {
                self.open.remove(index);
                self.answered.push(id);
                self.owed.push(seq);
                self.watch.ahead = 0;
            }
            // It waits still.
            Err(UsageError::TooLarge { .. }) => assert!(length as u64 > MESSAGE_BYTES),
            Err(error) => assert!(conn.cause().is_some(), "{id} cannot be answered: {error}"),
        }
    }

    /// Looks at what was given out and written.
    fn take(&mut self) {
        for event in self.bench.take_events() {
            assert!(
                !self.closed,
                "nothing comes after the closing, got {event:?}"
            );
            match event {
                ServerEvent::Requested(request) if !request.oneway => {
                    self.open.push((request.id, request.seq.0));
                }
                ServerEvent::Closed(_) => self.closed = true,
                _ => {}
            }
        }
        let limit = self.bench.conn.call_limit();
        if self.bench.conn.cause().is_none() {
            assert!(
                self.open.len() <= limit,
                "{} calls at once",
                self.open.len()
            );
        }
        while let Some((message, length)) = RawMessage::decode(&self.bench.output[self.read..]) {
            self.read += length;
            if message.known_kind() == Some(Kind::Result) {
                let owed = self.owed.iter().position(|seq| *seq == message.seq);
                self.owed
                    .swap_remove(owed.expect("an answer to a call that was made"));
            }
        }
    }

    /// Lets the connection end as it should.
    fn end(mut self) {
        self.bench.open_window(usize::MAX);
        self.take();
        while let Some(index) = self.open.len().checked_sub(1) {
            self.answer(index, 10);
            if self.bench.conn.cause().is_some() {
                break;
            }
        }
        self.bench.conn.close(self.bench.now, CloseCause::Drained);
        self.bench.drain();
        self.take();
        assert!(self.closed, "what was to be written is written");
        assert!(
            self.lost || self.owed.is_empty(),
            "answers are missing: {:?}",
            self.owed
        );
    }
}

/// A client's end: each call comes to one end, and no other call ever does.
pub(crate) fn client(input: &[u8]) {
    let mut u = Unstructured::new(input);
    let Ok(kind) = u.arbitrary() else { return };
    let conn = ClientConnection::with_nonce(config(kind), 7, START, connect(), [7; 16]);
    let mut visitor = Visitor {
        bench: Bench::new(conn.expect("a small CONNECT"), START),
        watch: Watch::new(),
        waiting: Vec::new(),
        oneways: BTreeSet::new(),
        closed: false,
    };
    let mut story = Story(Vec::new());
    if kind & 16 != 0 {
        visitor.run(
            Op::Send {
                message: message(2 + u8::from(kind & 32 != 0)),
                cut: None,
                piece: 1000,
                times: 1,
            },
            &mut story,
        );
    }
    while !u.is_empty() {
        let Ok(op) = Op::take(&mut u) else { break };
        visitor.run(op, &mut story);
    }
    visitor.end();
}

struct Visitor {
    bench: Bench<ClientConnection>,
    watch: Watch,
    /// Calls and pings somebody waits for.
    waiting: Vec<RequestId>,
    oneways: BTreeSet<RequestId>,
    closed: bool,
}

impl Visitor {
    /// The longest that anybody waits for an answer.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn run(&mut self, op: Op, story: &mut Story) {
        story.0.push(op);
        let op = &story.0[story.0.len() - 1];
        if !self.watch.input(&mut self.bench, op) {
            self.command(op);
            self.bench.drain();
        }
        self.watch.check(&mut self.bench);
        self.take();
    }

    fn command(&mut self, op: &Op) {
        let (now, conn) = (self.bench.now, &mut self.bench.conn);
        match *op {
            Op::Call {
                oneway,
                length,
                limit,
            } => {
                let call = Call {
                    oneway,
                    payload: vec![0; length].into(),
                    deadline: match limit {
                        None if oneway => None,
                        limit => Some(now + limit.unwrap_or(Self::PATIENCE)),
                    },
                    ..Pair::plain(b"")
                };
                let had_room = conn.has_room();
                match conn.call(now, call) {
                    Ok(id) if oneway => drop(self.oneways.insert(id)),
                    Ok(id) => self.waiting.push(id),
                    Err(UsageError::TooLarge { .. }) => {
                        assert!(length as u64 + 100 > MESSAGE_BYTES);
                    }
                    Err(error) => assert!(!had_room, "there was room: {error}"),
                }
            }
            Op::Ping => {
                let ping = conn.ping(now, Some(now + Self::PATIENCE));
                self.waiting.extend(ping.ok());
            }
            Op::Abandon(index) if !self.waiting.is_empty() => {
                let id = self.waiting.remove(index % self.waiting.len());
                conn.abandon(now, id);
                // Its answer comes to nothing.
                self.watch.ahead = 0;
            }
            Op::Drain => conn.drain(now),
            Op::Close => conn.close(now, CloseCause::local("enough")),
            Op::Abort => conn.abort(now, CloseCause::local("enough")),
            Op::Release => conn.release_buffers(),
            _ => {}
        }
    }

    fn take(&mut self) {
        for event in self.bench.take_events() {
            assert!(
                !self.closed,
                "nothing comes after the closing, got {event:?}"
            );
            match event {
                ClientEvent::Expired { id } if self.oneways.remove(&id) => {}
                ClientEvent::Returned { id, .. }
                | ClientEvent::Expired { id }
                | ClientEvent::Unserved { id }
                | ClientEvent::Ponged { id } => {
                    let at = self.waiting.iter().position(|waiting| *waiting == id);
                    let at = at.expect("an answer to a call that waits, and only one");
                    self.waiting.swap_remove(at);
                }
                ClientEvent::Closed(_) => self.closed = true,
                ClientEvent::Connected { .. } | ClientEvent::Refused { .. } => {}
            }
        }
    }

    /// Lets time pass in which nothing comes.
    fn end(mut self) {
        self.bench.open_window(usize::MAX);
        for _ in 0..10 {
            self.bench.advance(Self::PATIENCE);
        }
        self.take();
        let lost = self.closed || self.waiting.is_empty();
        assert!(lost, "nobody waits for ever, but {:?}", self.waiting);
        self.bench.conn.close(self.bench.now, CloseCause::Drained);
        self.bench.drain();
        self.take();
        assert!(self.closed, "what was to be written is written");
    }
}

/// Random operations: there is no good document of them.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut seed = |length| -> Vec<u8> { (0..length).map(|_| rng.u8(..)).collect() };
    (1..=64).map(|size| seed(size * 8)).collect()
}
