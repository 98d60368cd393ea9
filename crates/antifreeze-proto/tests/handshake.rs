//! Rows H1 to H9 and F6: who is let in, and what the others are told.

mod support;

use antifreeze_proto::{
    Accept, Annotations, Call, ClientConnection, ClientEvent, CloseCause, Config, CorrelationId,
    Input, Kind, Limits, ProtocolError, Refuse, Seq, SerializerId, ServerConnection, ServerEvent,
    StateName, Timer, UsageError,
};
use antifreeze_testkit::{Bench, Pair, RawMessage, marshal_text, unmarshal_text};
use support::{SECOND, START, accept, accepted, client, payload, refuse, returned, server};

#[test]
fn a_client_is_let_in_with_its_own_numbers() {
    let mut server = server(Config::default());
    let id = CorrelationId([7; 16]);
    let connect = RawMessage::connect("obj")
        .seq(0xffff)
        .correlation(id)
        .annotation(b"ABCD", b"x");
    server.feed_message(&connect);
    let events = server.take_events();
    let [ServerEvent::Connecting(handshake)] = &events[..] else {
        panic!("got {events:?}")
    };
    assert_eq!(handshake.payload, connect.payload);
    assert_eq!(handshake.annotations.len(), 1);
    assert_eq!((handshake.seq.0, handshake.correlation), (0xffff, Some(id)));

    server
        .conn
        .accept(
            server.now,
            Accept {
                serializer: SerializerId::JSON,
                ..accept()
            },
        )
        .unwrap();
    server.drain();
    let ok = RawMessage::new(Kind::ConnectOk, "welcome")
        .seq(0xffff)
        .correlation(id);
    assert_eq!(server.take_messages(), [ok.serializer(SerializerId::JSON)]);
    assert_eq!(server.conn.state(), StateName::Idle);
}

#[test]
fn a_refused_client_is_told_and_closed() {
    let mut server = server(Config::default());
    server.feed_message(&RawMessage::connect("obj").seq(3));
    server.take_events();
    server.conn.refuse(server.now, refuse()).unwrap();
    server.drain();
    let fail = RawMessage::new(Kind::ConnectFail, "unknown object").seq(3);
    assert_eq!(server.take_messages(), [fail]);
    assert_eq!(
        server.take_events(),
        [ServerEvent::Closed(CloseCause::Refused)]
    );
}

#[test]
fn a_refusal_in_marshal_is_readable_by_all() {
    let mut server = server(Config::default());
    server.feed_message(&RawMessage::connect("obj").seq(3));
    let text = "no free workers, increase server threadpool size";
    server.conn.refuse(server.now, Refuse::text(text)).unwrap();
    server.drain();
    let fail = RawMessage::new(Kind::ConnectFail, marshal_text(text)).seq(3);
    assert_eq!(
        server.take_messages(),
        [fail.serializer(SerializerId::MARSHAL)]
    );
}

/// These bytes are refused with this text, before any more of them come.
#[track_caller]
fn check_refused(config: Config, bytes: &[u8], text: &str) {
    let mut server = server(config);
    server.feed(bytes);
    let [message] = &server.take_messages()[..] else {
        panic!("expected one answer")
    };
    let expected = RawMessage::new(Kind::ConnectFail, marshal_text(text));
    assert_eq!(unmarshal_text(&message.payload), Some(text));
    assert_eq!(
        *message,
        expected.serializer(SerializerId::MARSHAL),
        "seq 0, no flags"
    );
    let events = server.take_events();
    let [ServerEvent::Closed(CloseCause::Protocol(_))] = &events[..] else {
        panic!("got {events:?}")
    };
}

#[test]
fn bytes_that_are_no_connect_are_refused_as_pyro_does() {
    let header = |message: RawMessage| message.encode()[..40].to_vec();
    let connect = RawMessage::connect("obj");
    let config = Config::default;
    check_refused(config(), b"GET / ", "invalid data");
    check_refused(config(), b"hi", "invalid data");
    check_refused(config(), b"PYRO\x01\xf5", "invalid protocol version: 501");
    let no_magic = RawMessage {
        magic: 1,
        ..connect.clone()
    };
    check_refused(
        config(),
        &header(no_magic),
        "invalid message or protocol version",
    );
    let ping = "invalid msg type 6 received (expected: 1)";
    check_refused(config(), &header(RawMessage::ping()), ping);
    let invoke = "invalid msg type 4 received (expected: 1)";
    check_refused(config(), &header(RawMessage::invoke(1, "x")), invoke);
    let unknown = "invalid msg type 99 received (expected: 1)";
    check_refused(
        config(),
        &header(RawMessage {
            kind: 99,
            ..connect.clone()
        }),
        unknown,
    );

    let limits = Limits {
        message_bytes: 50,
        ..Limits::default()
    };
    let small = Config { limits, ..config() };
    let large = RawMessage {
        claimed_payload: Some(51),
        ..connect
    };
    check_refused(small, &header(large), "message too large (51, max=50)");
}

#[test]
fn a_stranger_may_send_less_than_a_client() {
    const MIB: u32 = 1 << 20;
    let claim = |bytes| RawMessage {
        claimed_payload: Some(bytes),
        ..RawMessage::connect("obj")
    };
    let text = "message too large (16777217, max=16777216)";
    let header = &claim(16 * MIB + 1).encode()[..40];
    check_refused(Config::default(), header, text);
    let mut at_limit = server(Config::default());
    at_limit.feed(&claim(16 * MIB).encode()[..40]);
    assert_eq!(at_limit.conn.state(), StateName::Handshaking);

    let limits = Limits {
        connect_bytes: 1000,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut server = accepted(config);
    let mut invoke = RawMessage::invoke(1, "");
    invoke.payload = vec![0; 1001];
    server.feed_message(&invoke);
    assert_eq!(server.conn.state(), StateName::Serving, "only a stranger");
}

#[test]
fn a_refused_peer_makes_one_event_and_no_more_is_read() {
    let mut server = server(Config::default());
    server.window = 0;
    assert_eq!(server.feed_by(b"GET / HTTP/1.1\r\n\r\n", 1), 1);
    assert_eq!(server.conn.state(), StateName::Flushing);
    assert_eq!(server.take_events(), []);
    server.open_window(usize::MAX);
    assert_eq!(
        server.take_events(),
        [ServerEvent::Closed(ProtocolError::NotPyro.into())]
    );
}

#[test]
fn what_comes_with_the_connect_is_read_after_the_acceptance() {
    let mut server = server(Config::default());
    let both = [
        RawMessage::connect("obj").encode(),
        RawMessage::invoke(1, "call").encode(),
    ]
    .concat();
    assert_eq!(server.feed(&both), both.len());
    assert_eq!(server.take_events().len(), 1);
    server.conn.accept(server.now, accept()).unwrap();
    server.drain();
    assert_eq!(payload(&mut server), "call");
}

#[test]
fn a_client_that_goes_before_it_is_let_in_is_told_nothing() {
    let mut server = server(Config::default());
    server.input(Input::Eof);
    assert_eq!(server.closed(), Some(CloseCause::PeerClosed));
    assert_eq!(server.take_output(), b"");
}

#[test]
fn deciding_takes_as_long_as_it_takes() {
    let mut server = server(Config::default());
    server.feed_message(&RawMessage::connect("obj"));
    assert_eq!(server.deadline, None);
    server.advance(3600 * SECOND);
    server.conn.accept(server.now, accept()).unwrap();
    assert_eq!(server.conn.state(), StateName::Idle);
    let again = server.conn.accept(server.now, accept());
    let wrong = UsageError::WrongState {
        what: "accept",
        state: StateName::Idle,
    };
    assert_eq!(again, Err(wrong));
}

#[test]
fn an_answer_that_is_too_large_can_be_replaced() {
    let limits = Limits {
        message_bytes: 100,
        ..Limits::default()
    };
    let mut server = server(Config {
        limits,
        ..Config::default()
    });
    server.feed_message(&RawMessage::connect("obj"));
    let large = Accept {
        payload: vec![0; 101].into(),
        ..accept()
    };
    let error = UsageError::TooLarge {
        size: 101,
        limit: 100,
    };
    assert_eq!(server.conn.accept(server.now, large), Err(error));
    assert_eq!(server.conn.accept(server.now, accept()), Ok(()));
}

#[test]
fn a_client_learns_why_it_is_refused() {
    let mut client = client(Config::default());
    let fail = RawMessage::new(Kind::ConnectFail, marshal_text("go away"));
    client.feed_message(&fail.serializer(SerializerId::MARSHAL));
    let refused = ClientEvent::Refused {
        serializer: SerializerId::MARSHAL,
        annotations: Annotations::new(),
        payload: marshal_text("go away").into(),
    };
    assert_eq!(
        client.take_events(),
        [refused, ClientEvent::Closed(CloseCause::Refused)]
    );
}

#[test]
fn a_client_gives_up_a_daemon_that_does_not_speak_pyro() {
    let mut client = client(Config::default());
    client.feed(b"HTTP/1.1 400");
    assert_eq!(client.closed(), Some(ProtocolError::NotPyro.into()));
}

#[test]
fn both_ends_agree() {
    let mut pair = Pair::new();
    pair.drive();
    assert_eq!(pair.client.conn.state(), StateName::Handshaking);
    pair.accept();
    pair.drive();
    let connected = ClientEvent::Connected {
        serializer: SerializerId::SERPENT,
        annotations: Annotations::new(),
        payload: b"welcome"[..].into(),
    };
    assert_eq!(pair.client.take_events(), [connected]);
}

#[test]
fn both_ends_give_up_a_handshake_after_five_seconds() {
    let mut pair = Pair::new();
    pair.to_server.held = true;
    pair.advance(5 * SECOND);
    let cause = Some(CloseCause::TimedOut(Timer::Handshake));
    assert_eq!(pair.closed(), (cause.clone(), cause));
}

#[test]
fn without_a_handshake_calls_come_first() {
    let idle = Config {
        limits: Limits {
            idle: Some(60 * SECOND),
            ..Limits::default()
        },
        ..Config::default()
    };
    let conn = ServerConnection::without_handshake(idle.clone(), 7, START);
    let mut server = Bench::new(conn, START);
    // Nobody has to say hello in time.
    server.advance(59 * SECOND);
    server.feed_message(&RawMessage::invoke(1, "call"));
    assert_eq!(payload(&mut server), "call");
    assert_eq!(server.conn.call_limit(), 1);

    let conn = ServerConnection::without_handshake(idle.clone(), 7, START);
    let mut server = Bench::new(conn, START);
    server.feed_message(&RawMessage::connect("obj"));
    assert!(matches!(server.closed(), Some(CloseCause::Protocol(_))));

    let conn = ServerConnection::without_handshake(idle, 7, START);
    let mut server = Bench::new(conn, START);
    server.advance(60 * SECOND);
    assert_eq!(server.closed(), Some(CloseCause::TimedOut(Timer::Idle)));
}

#[test]
fn a_client_without_a_handshake_calls_at_once() {
    let conn = ClientConnection::without_handshake(Config::default(), 7, START, Seq(4));
    let mut client = Bench::new(conn, START);
    assert_eq!(client.take_output(), b"");
    client.advance(60 * SECOND);
    let call = Call {
        serializer: SerializerId::SERPENT,
        oneway: false,
        batch: false,
        keep_serialized: false,
        correlation: None,
        annotations: Annotations::new(),
        chain: None,
        payload: b"call"[..].into(),
        deadline: None,
    };
    client.conn.call(client.now, call).unwrap();
    client.drain();
    assert_eq!(client.take_messages(), [RawMessage::invoke(5, "call")]);
    client.feed_message(&RawMessage::result(5, "answer"));
    assert_eq!(returned(&mut client), ["answer"]);
    // There is nothing that it would be let in to.
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome"));
    assert!(matches!(client.closed(), Some(CloseCause::Protocol(_))));
}
