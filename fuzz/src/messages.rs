//! The reader of messages, behind either end of a connection.

use std::fmt::Debug;

use antifreeze_proto::{
    Call, ClientConnection, ClientEvent, CloseCause, Config, Flags, Input, Kind, Limits,
    ProtocolError, Reply, SerializerId, ServerConnection, ServerEvent, StateName,
};
use antifreeze_testkit::{Bench, Endpoint, Pair, RawMessage};

use crate::connections::{START, accept, connect};

const MESSAGE_BYTES: u64 = 1 << 20;
const INFLATED_BYTES: u64 = 1 << 16;
/// What a connection may lend before anything of a message is here, and for the next one.
const ADVANCE_BYTES: usize = 262_144 + 65_536;
/// How many calls the client makes.
const CALLS: usize = 8;

fn config(calls: usize) -> Config {
    let limits = Limits {
        message_bytes: MESSAGE_BYTES,
        connect_bytes: MESSAGE_BYTES,
        annotations_bytes: MESSAGE_BYTES,
        inflated_bytes: INFLATED_BYTES,
        ..Limits::default()
    };
    Config {
        limits,
        calls,
        quiet: true,
        ..Config::default()
    }
}

/// Bytes in any pieces mean the same, and only what has come makes a connection take memory.
///
/// The first byte says which end reads them and how much of its life is behind it, the second how
/// large the pieces are.
pub(crate) fn read(input: &[u8]) {
    let [life, piece, stream @ ..] = input else {
        return;
    };
    let piece = usize::from(*piece) % 80 + 1;
    let begun = life & 2 != 0;
    if life & 1 == 0 {
        let [whole, pieces] = [usize::MAX, piece].map(|piece| serve(begun, stream, piece));
        same(&whole, &pieces);
    } else {
        let [whole, pieces] = [usize::MAX, piece].map(|piece| visit(begun, stream, piece));
        same(&whole, &pieces);
    }
}

/// Fails unless the same happened, and the same was said.
fn same<E: PartialEq + Debug>(whole: &(Vec<E>, Vec<u8>), pieces: &(Vec<E>, Vec<u8>)) {
    for (whole, pieces) in whole.0.iter().zip(&pieces.0) {
        assert_eq!(whole, pieces, "in pieces it is another");
    }
    assert_eq!(
        whole.0.len(),
        pieces.0.len(),
        "in pieces there are not as many"
    );
    assert_eq!(whole.1, pieces.1, "in pieces it is answered otherwise");
}

/// What a server makes of it that answers each call at once.
fn serve(begun: bool, stream: &[u8], piece: usize) -> (Vec<ServerEvent>, Vec<u8>) {
    let conn = ServerConnection::new(config(1), 7, START);
    let mut server = Bench::new(conn, START);
    let mut events = Vec::new();
    let mut take = |server: &mut Bench<ServerConnection>| {
        let mut new = server.take_events();
        for event in &mut new {
            match event {
                ServerEvent::Connecting(_) => {
                    let accepted = server.conn.accept(START, accept());
                    accepted.expect("a client waits");
                }
                ServerEvent::Requested(request) => {
                    if let Err(error) = request.payload.inflate() {
                        server.conn.close(START, error.into());
                        continue;
                    }
                    let most = MESSAGE_BYTES.max(INFLATED_BYTES);
                    assert!(request.payload.as_is().len() as u64 <= most);
                    let reply = Reply {
                        payload: b"done"[..].into(),
                        ..Reply::default()
                    };
                    let replied = server.conn.reply(START, request.id, reply);
                    assert!(
                        replied.is_ok() != request.oneway || server.conn.cause().is_some(),
                        "a call is answered, and a oneway is not"
                    );
                }
                ServerEvent::Closed(_) => {}
            }
        }
        server.drain();
        let any = !new.is_empty();
        events.extend(new.into_iter().map(apart_from_state));
        any
    };
    if begun {
        server.feed_message(&RawMessage::connect("obj"));
        while take(&mut server) {}
    }
    feed(&mut server, stream, piece, &mut take);
    (events, server.take_output())
}

/// An event, but for what depends on where a piece ended: part of a message was there, or none, or
/// all of it and no call before it was answered yet.
fn apart_from_state(event: ServerEvent) -> ServerEvent {
    match event {
        ServerEvent::Closed(CloseCause::Protocol(ProtocolError::Unexpected {
            got,
            expected,
            state: StateName::Receiving | StateName::Serving,
        })) => ServerEvent::Closed(CloseCause::Protocol(ProtocolError::Unexpected {
            got,
            expected,
            state: StateName::Idle,
        })),
        event => event,
    }
}

/// What a client makes of it that has made some calls.
fn visit(begun: bool, stream: &[u8], piece: usize) -> (Vec<ClientEvent>, Vec<u8>) {
    let conn = ClientConnection::with_nonce(config(CALLS), 7, START, connect(), [7; 16]);
    let mut client = Bench::new(conn.expect("a small CONNECT"), START);
    let mut events = Vec::new();
    let mut take = |client: &mut Bench<ClientConnection>| {
        let new = client.take_events();
        events.extend(new.iter().cloned());
        !new.is_empty()
    };
    if begun {
        let welcome = RawMessage::new(Kind::ConnectOk, "welcome");
        client.feed_message(&welcome.hello([7; 16], CALLS as u16));
        for _ in 0..CALLS {
            let called = client.conn.call(
                START,
                Call {
                    deadline: None,
                    ..Pair::plain(b"call")
                },
            );
            called.expect("there is room for it");
        }
        client.drain();
    }
    feed(&mut client, stream, piece, &mut take);
    (events, client.take_output())
}

fn feed<C: Endpoint>(
    bench: &mut Bench<C>,
    stream: &[u8],
    piece: usize,
    take: &mut impl FnMut(&mut Bench<C>) -> bool,
) {
    let mut fed = 0;
    while fed < stream.len() && bench.conn.wants_read() {
        let room = bench.conn.read_buffer().len();
        assert!(
            room <= 8 * fed + ADVANCE_BYTES,
            "room for {room} bytes when {fed} had come"
        );
        let end = stream.len().min(fed.saturating_add(piece)).min(fed + room);
        fed += bench.feed(&stream[fed..end]);
        while take(bench) {}
    }
    bench.input(Input::Eof);
    while take(bench) {}
}

/// Whole messages of all kinds, and some that lie.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let compressed = |message: RawMessage| message.flags(Flags::COMPRESSED);
    // 200 times the letter a, as zlib writes it.
    let zlib = [
        0x78, 0x5e, 0x4b, 0x4c, 0x1c, 0x1e, 0, 0, 0xc2, 0x7f, 0x4b, 0xc9,
    ];
    let mut lying = RawMessage::invoke(1, "short");
    lying.claimed_payload = Some(100_000);
    let mut cut = RawMessage::invoke(1, "call").annotation(b"ABCD", b"value");
    cut.annotations.truncate(9);
    let requests = [
        RawMessage::connect("obj"),
        RawMessage::connect("obj").hello([7; 16], 3),
        RawMessage::invoke(1, "call"),
        RawMessage::invoke(2, [b'x'; 5000]),
        RawMessage::invoke(3, "call")
            .annotation(b"ABCD", b"a")
            .annotation(b"EFGH", b""),
        RawMessage::invoke(4, "batch").flags(Flags::BATCH | Flags::KEEP_SERIALIZED),
        RawMessage::invoke(5, "oneway")
            .flags(Flags::ONEWAY)
            .millis_left(5),
        RawMessage::invoke(6, "").serializer(SerializerId::MSGPACK),
        RawMessage::ping(),
        compressed(RawMessage::invoke(7, zlib)),
        lying,
        cut,
    ];
    let answers = [
        RawMessage::new(Kind::ConnectOk, "welcome").hello([7; 16], 8),
        RawMessage::new(Kind::ConnectOk, "welcome"),
        RawMessage::new(Kind::ConnectFail, "no"),
        RawMessage::result(1, "result"),
        RawMessage::result(3, "exception").flags(Flags::EXCEPTION),
        RawMessage::result(2, "item")
            .annotation(b"STRM", b"id")
            .flags(Flags::ITEM_STREAM),
        RawMessage::new(Kind::ConnectFail, "late").seq(4),
        compressed(RawMessage::result(5, zlib)),
        RawMessage::new(Kind::Ping, "pong").serializer(SerializerId(42)),
    ];
    let mut seeds = Vec::new();
    for (end, messages) in [&requests[..], &answers[..]].into_iter().enumerate() {
        let all: Vec<u8> = messages.iter().flat_map(RawMessage::encode).collect();
        let end = end as u8;
        seeds.push([&[end, 7][..], &all].concat());
        for message in messages {
            seeds.push([&[end, 20][..], &message.encode()].concat());
            seeds.push([&[end | 2, 1][..], &message.encode()].concat());
        }
    }
    seeds
}
