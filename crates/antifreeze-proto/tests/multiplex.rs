//! Many calls in flight: agreed on in the handshake, matched by number, and never with a stranger.

mod support;

use antifreeze_proto::{
    AnnotationId, Annotations, Call, Chain, ClientConnection, ClientEvent, CloseCause, Config,
    Connect, Flags, Input, Kind, Path, ProtocolError, RequestId, Sent, Seq, ServerConnection,
    StateName, Timer, UsageError,
};
use antifreeze_testkit::{Bench, Pair, RawMessage};
use bytes::Bytes;
use support::{
    NONCE, SECOND, START, accept, accepted, client, connect, offering, payloads, reply, request,
    requests, returned, server,
};

const AFNH: AnnotationId = AnnotationId::known(b"AFNH");
const AFCK: AnnotationId = AnnotationId::known(b"AFCK");

fn taking(calls: usize) -> Config {
    Config {
        calls,
        quiet: true,
        ..Config::default()
    }
}

/// A client and a server that have agreed on so many calls at once.
fn pair(calls: usize) -> Pair {
    Pair::with(taking(calls), taking(calls)).shake_hands()
}

/// A server that a client of ours was let in to, which takes so many calls.
fn native(config: Config, calls: u16) -> Bench<ServerConnection> {
    let mut server = server(config);
    server.feed_message(&RawMessage::connect("obj").hello(NONCE, calls));
    server.conn.accept(server.now, accept()).unwrap();
    server.drain();
    server.take_events();
    server.take_output();
    server
}

/// A client that a server of ours has let in, which takes so many calls.
fn welcomed(config: Config, calls: u16) -> Bench<ClientConnection> {
    let mut client = offering(config);
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome").hello(NONCE, calls));
    client.take_events();
    client
}

fn calls<const N: usize>(client: &mut Bench<ClientConnection>) -> [RequestId; N] {
    let ids = [(); N].map(|()| client.conn.call(client.now, Pair::plain(b"call")).unwrap());
    client.drain();
    ids
}

fn within(client: &Bench<ClientConnection>, seconds: u32) -> Call {
    Call {
        deadline: Some(client.now + seconds * SECOND),
        ..Pair::plain(b"call")
    }
}

/// What became of calls: `=` answered, `-` expired, `!` not executed.
fn fates(client: &mut Bench<ClientConnection>) -> Vec<String> {
    let fate = |event| match event {
        ClientEvent::Returned { id, .. } | ClientEvent::Ponged { id } => format!("={id}"),
        ClientEvent::Expired { id } => format!("-{id}"),
        ClientEvent::Unserved { id } => format!("!{id}"),
        other => format!("{other:?}"),
    };
    client.take_events().into_iter().map(fate).collect()
}

fn protocol_error(cause: Option<CloseCause>) -> Option<ProtocolError> {
    match cause? {
        CloseCause::Protocol(error) => Some(error),
        _ => None,
    }
}

// The handshake.

#[test]
fn both_ends_say_what_they_take_and_the_smaller_number_counts() {
    let check = |client: usize, server: usize, agreed: usize| {
        let pair = Pair::with(taking(client), taking(server)).shake_hands();
        let limits = (pair.client.conn.call_limit(), pair.server.conn.call_limit());
        assert_eq!(limits, (agreed, agreed), "{client} and {server}");
    };
    check(8, 8, 8);
    check(8, 3, 3);
    check(3, 8, 3);
    check(8, 1, 1);
    check(1, 8, 1);
    check(0, 0, 1);
    check(1 << 20, 1 << 20, 65_535);
}

#[test]
fn the_answer_echoes_the_nonce_and_is_written_afresh() {
    let mut server = server(Config {
        node: 7,
        ..taking(5)
    });
    let nonce = [3; 16];
    server.feed_message(&RawMessage::connect("obj").hello(nonce, 300));
    let mut accept = accept();
    accept.annotations.insert(AFNH, "somebody else's");
    server.conn.accept(server.now, accept).unwrap();
    server.drain();
    let welcome = RawMessage::new(Kind::ConnectOk, "welcome").hello(nonce, 5);
    assert_eq!(server.take_messages(), [welcome]);
}

#[test]
fn a_client_without_a_nonce_says_nothing_of_it() {
    let mut connect = connect();
    connect.annotations.insert(AFNH, "somebody else's");
    let conn = ClientConnection::new(taking(8), 7, START, connect).unwrap();
    let mut client = Bench::new(conn, START);
    assert_eq!(
        client.take_messages(),
        [RawMessage::new(Kind::Connect, "hello")]
    );
    // So an answer to it is none.
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome").hello([0; 16], 8));
    assert_eq!(client.conn.call_limit(), 1);
}

#[test]
fn what_the_ends_say_of_themselves_stays_between_them() {
    let others = RawMessage::connect("obj").annotation(b"ABCD", b"value");
    let mut server = server(taking(8));
    server.feed_message(&others.hello(NONCE, 8));
    let events = format!("{:?}", server.take_events());
    assert!(
        events.contains("ABCD") && !events.contains("AFNH"),
        "{events}"
    );

    let mut client = offering(taking(8));
    let welcome = RawMessage::new(Kind::ConnectOk, "welcome").annotation(b"ABCD", b"value");
    client.feed_message(&welcome.hello(NONCE, 8));
    let events = format!("{:?}", client.take_events());
    assert!(
        events.contains("ABCD") && !events.contains("AFNH"),
        "{events}"
    );
}

#[test]
fn only_an_echo_of_its_own_nonce_counts_for_a_client() {
    let check = |welcome: RawMessage, agreed: usize| {
        let mut client = offering(taking(8));
        client.feed_message(&welcome);
        assert_eq!(client.conn.state(), StateName::Ready);
        assert_eq!(client.conn.call_limit(), agreed, "{welcome:?}");
    };
    let welcome = || RawMessage::new(Kind::ConnectOk, "welcome");
    check(welcome().hello(NONCE, 4), 4);
    check(welcome(), 1);
    // Python hands on what came with another handshake.
    check(welcome().hello([8; 16], 4), 1);
    check(welcome().hello([0; 16], 4), 1);
    // Of the same annotation twice the last one stays, as everywhere.
    check(welcome().hello(NONCE, 4).hello([8; 16], 4), 1);
    check(welcome().annotation(b"AFNH", b""), 1);
    check(welcome().annotation(b"AFNH", &[1; 31]), 1);
    check(
        welcome().annotation(b"afnh", &welcome().hello(NONCE, 4).annotations[8..]),
        1,
    );
    // Of another version, or cut.
    let good = welcome().hello(NONCE, 4).annotations[8..].to_vec();
    check(
        welcome().annotation(b"AFNH", &[&[2], &good[1..]].concat()),
        1,
    );
    check(welcome().annotation(b"AFNH", &good[..36]), 1);
}

#[test]
fn a_malformed_offer_is_passed_over() {
    for offer in [&b""[..], &[1; 31], &[2; 37], &[0; 37], &[1; 40]] {
        let mut server = server(taking(8));
        server.feed_message(&RawMessage::connect("obj").annotation(b"AFNH", offer));
        server.conn.accept(server.now, accept()).unwrap();
        server.drain();
        let welcome = RawMessage::new(Kind::ConnectOk, "welcome");
        assert_eq!(server.take_messages(), [welcome], "{offer:?}");
        assert_eq!(server.conn.call_limit(), 1);
    }
}

#[test]
fn a_refused_client_is_told_nothing_else() {
    let mut server = server(taking(8));
    server.feed_message(&RawMessage::connect("obj").hello(NONCE, 8));
    server.conn.refuse(server.now, support::refuse()).unwrap();
    server.drain();
    let refusal = RawMessage::new(Kind::ConnectFail, "unknown object");
    assert_eq!(server.take_messages(), [refusal]);
}

// With strangers.

#[test]
fn a_stock_daemon_sees_one_call_at_a_time() {
    // One that says nothing, and one that hands on what somebody else's handshake said.
    for welcome in [
        RawMessage::new(Kind::ConnectOk, "welcome"),
        RawMessage::new(Kind::ConnectOk, "welcome").hello([8; 16], 300),
    ] {
        let mut client = offering(taking(8));
        client.feed_message(&welcome);
        client.take_events();
        for seq in 1..4 {
            let call = within(&client, 5);
            let id = client.conn.call(client.now, call).unwrap();
            assert!(!client.conn.has_room());
            let busy = client.conn.call(client.now, Pair::plain(b"call"));
            assert_eq!(busy, Err(UsageError::Busy { limit: 1 }));
            client.drain();
            // Nor is it shown what it would hand on to others.
            assert_eq!(client.take_messages(), [RawMessage::invoke(seq, "call")]);
            client.feed_message(&RawMessage::result(seq, "result").hello(NONCE, 300));
            assert_eq!(fates(&mut client), [format!("={id}")]);
        }
        assert_eq!(client.conn.call_limit(), 1);
    }
}

#[test]
fn a_stock_client_is_answered_in_order() {
    let mut server = accepted(taking(8));
    for seq in 1..4 {
        // Whatever its later messages bring with them.
        server.feed_message(&RawMessage::invoke(seq, [b'0' + seq as u8]).hello(NONCE, 300));
    }
    for expected in ["1", "2", "3"] {
        let request = request(&mut server);
        assert_eq!(payloads(std::slice::from_ref(&request)), [expected]);
        server
            .conn
            .reply(server.now, request.id, reply("result"))
            .unwrap();
        server.drain();
    }
    let seqs: Vec<_> = server
        .take_messages()
        .iter()
        .map(|message| message.seq)
        .collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn a_stock_daemon_is_given_up_at_a_deadline() {
    let mut client = client(taking(8));
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome"));
    client.take_events();
    let call = within(&client, 2);
    let id = client.conn.call(client.now, call).unwrap();
    client.drain();
    // Not even if nobody waits any more: its answer could be taken for the next one's.
    client.conn.abandon(client.now, id);
    client.advance(2 * SECOND);
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));
}

// Calls and answers.

#[test]
fn answers_come_in_any_order() {
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    for order in orders {
        let mut pair = pair(4);
        let calls = [(); 4].map(|()| pair.call(Pair::plain(b"call")));
        let requests = pair.requests();
        for at in order {
            pair.reply(requests[at].id, b"result");
        }
        let answered: Vec<_> = pair.responses().into_iter().map(|(id, _)| id).collect();
        assert_eq!(answered, order.map(|at| calls[at]));
        let states = (pair.client.conn.state(), pair.server.conn.state());
        assert_eq!(states, (StateName::Ready, StateName::Idle));
    }
}

#[test]
fn there_is_room_for_as_many_as_agreed_on() {
    let mut client = welcomed(taking(3), 9);
    let [first, ..] = calls::<3>(&mut client);
    assert!(!client.conn.has_room());
    let busy = Err(UsageError::Busy { limit: 3 });
    assert_eq!(client.conn.call(client.now, Pair::plain(b"call")), busy);
    assert_eq!(client.conn.ping(client.now, None), busy);
    // A oneway takes no room, nor does it wait for any.
    let oneway = Call {
        oneway: true,
        ..Pair::plain(b"oneway")
    };
    client.conn.call(client.now, oneway).unwrap();
    client.feed_message(&RawMessage::result(1, "result"));
    assert_eq!(fates(&mut client), [format!("={first}")]);
    assert!(client.conn.has_room());
}

#[test]
fn a_client_that_sends_more_than_agreed_on_is_thrown_out() {
    let mut server = native(taking(2), 9);
    for seq in 1..3 {
        server.feed_message(&RawMessage::invoke(seq, "call"));
    }
    // A oneway and a ping are none of them.
    server.feed_message(&RawMessage::invoke(3, "oneway").flags(Flags::ONEWAY));
    server.feed_message(&RawMessage::ping());
    assert_eq!(requests(&mut server).len(), 3);
    assert_eq!(server.take_messages().len(), 1);
    server.feed_message(&RawMessage::invoke(4, "call"));
    let error = ProtocolError::TooManyCalls { limit: 2 };
    assert_eq!(protocol_error(server.closed()), Some(error));
}

#[test]
fn a_number_that_is_in_use_is_no_new_call() {
    let mut server = native(taking(3), 9);
    for seq in [1, 2] {
        server.feed_message(&RawMessage::invoke(seq, "call"));
    }
    let first = requests(&mut server)[0].id;
    server
        .conn
        .reply(server.now, first, reply("result"))
        .unwrap();
    server.drain();
    // The first one's is free again.
    server.feed_message(&RawMessage::invoke(1, "call"));
    assert_eq!(requests(&mut server).len(), 1);
    server.feed_message(&RawMessage::invoke(2, "call"));
    let error = ProtocolError::RepeatedSequence { got: Seq(2) };
    assert_eq!(protocol_error(server.closed()), Some(error));
}

#[test]
fn numbers_in_use_are_passed_over() {
    let connect = Connect {
        seq: Seq(65_533),
        ..connect()
    };
    let conn = ClientConnection::with_nonce(taking(4), 7, START, connect, NONCE).unwrap();
    let mut client = Bench::new(conn, START);
    client.take_output();
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome").hello(NONCE, 4));
    let mut sent = |answered: &[u16]| {
        for seq in answered {
            client.feed_message(&RawMessage::result(*seq, "result"));
        }
        calls::<1>(&mut client);
        let messages = client.take_messages();
        messages
            .iter()
            .map(|message| message.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(&[]), [65_534]);
    assert_eq!(sent(&[]), [65_535]);
    assert_eq!(sent(&[]), [0]);
    // All others once more; that of the first stays out.
    let mut last = 0;
    for expected in 1..65_534 {
        assert_eq!(sent(&[last]), [expected]);
        last = expected;
    }
    assert_eq!(sent(&[last]), [0]);
    assert_eq!(sent(&[0]), [1]);
}

#[test]
fn a_number_is_in_use_whatever_was_passed_over_since() {
    let mut client = welcomed(taking(4), 4);
    let mut sent = |answered: &[u16]| {
        for seq in answered {
            client.feed_message(&RawMessage::result(*seq, "result"));
        }
        calls::<1>(&mut client);
        client.take_messages()[0].seq
    };
    // Two that stay out until their numbers were passed over, and one that stays out longer.
    let first = sent(&[]);
    assert_eq!(sent(&[]), first + 1);
    let long = first + 30_000;
    let mut last = sent(&[]);
    while last != first.wrapping_sub(1) {
        last = match last == long {
            true => sent(&[]),
            false => sent(&[last]),
        };
    }
    assert_eq!(sent(&[last]), first + 2);
    last = sent(&[first + 2, first, first + 1]);
    while last != long - 1 {
        last = sent(&[last]);
    }
    assert_eq!(sent(&[last]), long + 1);
}

#[test]
fn an_answer_to_no_call_ends_the_connection() {
    let check = |answer: RawMessage, expected: fn(&ProtocolError) -> bool| {
        let mut client = welcomed(taking(4), 4);
        calls::<3>(&mut client);
        client.feed_message(&RawMessage::result(2, "result"));
        client.take_events();
        client.feed(&answer.encode());
        let error = protocol_error(client.closed()).expect("a protocol error");
        assert!(expected(&error), "{error}");
    };
    let unknown = |error: &ProtocolError| matches!(error, ProtocolError::WrongSequence { .. });
    check(RawMessage::result(0, "result"), unknown);
    check(RawMessage::result(4, "result"), unknown);
    // The second answer to a call.
    check(RawMessage::result(2, "result"), unknown);
    check(RawMessage::ping(), |error| {
        matches!(
            error,
            ProtocolError::Unexpected {
                got: Kind::Ping,
                ..
            }
        )
    });
    check(
        RawMessage {
            serializer: 3,
            ..RawMessage::result(1, "result")
        },
        |error| matches!(error, ProtocolError::WrongSerializer { .. }),
    );
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped() {
    let mut client = welcomed(taking(2), 2);
    let [first, second] = calls::<2>(&mut client);
    client.conn.abandon(client.now, first);
    assert!(!client.conn.has_room());
    client.feed_message(&RawMessage::result(1, "result"));
    client.feed_message(&RawMessage::result(2, "result"));
    assert_eq!(fates(&mut client), [format!("={second}")]);
    assert_eq!(client.conn.state(), StateName::Ready);
    // Nothing happens to one that is over.
    client.conn.abandon(client.now, second);
    calls::<2>(&mut client);
}

#[test]
fn pings_go_between_calls() {
    let mut client = welcomed(taking(4), 4);
    let ping = client.conn.ping(client.now, None).unwrap();
    let [call] = calls(&mut client);
    let again = client.conn.ping(client.now, None).unwrap();
    client.drain();
    for _ in 0..2 {
        client.feed_message(&RawMessage::ping());
    }
    client.feed_message(&RawMessage::result(1, "result"));
    let expected = [ping, again, call].map(|id| format!("={id}"));
    assert_eq!(fates(&mut client), expected);
}

// Ends.

#[test]
fn all_answers_are_delivered_to_a_client_that_sends_nothing_more() {
    let mut server = native(taking(3), 3);
    for seq in 1..4 {
        server.feed_message(&RawMessage::invoke(seq, "call"));
    }
    server.input(Input::Eof);
    assert_eq!(server.conn.state(), StateName::HalfClosed);
    assert!(!server.conn.wants_read());
    for request in requests(&mut server).iter().rev() {
        assert_eq!(server.closed(), None);
        server
            .conn
            .reply(server.now, request.id, reply("result"))
            .unwrap();
        server.drain();
    }
    let seqs: Vec<_> = server
        .take_messages()
        .iter()
        .map(|message| message.seq)
        .collect();
    assert_eq!(seqs, [3, 2, 1]);
    assert_eq!(server.closed(), Some(CloseCause::PeerClosed));
}

#[test]
fn a_drain_waits_for_all_calls() {
    let mut pair = pair(3);
    for _ in 0..3 {
        pair.call(Pair::plain(b"call"));
    }
    pair.server.conn.drain(pair.now());
    let requests = pair.requests();
    pair.reply(requests[1].id, b"result");
    pair.reply(requests[2].id, b"result");
    assert_eq!(pair.closed(), (None, None));
    pair.reply(requests[0].id, b"result");
    assert_eq!(pair.responses().len(), 3);
    let closed = (Some(CloseCause::PeerClosed), Some(CloseCause::Drained));
    assert_eq!(pair.closed(), closed);
}

#[test]
fn pings_are_answered_and_calls_refused_while_the_last_ones_are_finished() {
    // However they come, also if the drain begins in the midst of one.
    for piece in [1, 7, 1000] {
        let mut server = native(taking(3), 3);
        server.feed_message(&RawMessage::invoke(1, "call"));
        let last = request(&mut server).id;
        let late = [
            RawMessage::invoke(2, "late"),
            RawMessage::ping(),
            RawMessage::invoke(3, "late").flags(Flags::ONEWAY),
            RawMessage::invoke(4, "late"),
            RawMessage::invoke(5, "late"),
            RawMessage::ping(),
        ];
        let late = late.map(|message| message.encode()).concat();
        server.feed(&late[..20]);
        server.conn.drain(server.now);
        server.feed_by(&late[20..], piece);
        assert!(requests(&mut server).is_empty());
        let told = server.take_messages();
        let told: Vec<_> = told
            .iter()
            .map(|message| (message.known_kind().unwrap(), message.seq))
            .collect();
        let (refused, pong) = (Kind::ConnectFail, (Kind::Ping, 0));
        assert_eq!(told, [(refused, 2), pong, (refused, 4), (refused, 5), pong]);
        server
            .conn
            .reply(server.now, last, reply("result"))
            .unwrap();
        server.drain();
        assert_eq!(server.take_messages(), [RawMessage::result(1, "result")]);
        assert_eq!(server.closed(), Some(CloseCause::Drained));
    }
}

#[test]
fn a_call_that_comes_too_late_was_not_executed() {
    let mut pair = pair(4);
    let first = pair.call(Pair::plain(b"call"));
    pair.server.conn.drain(pair.now());
    let late = calls::<2>(&mut pair.client);
    pair.drive();
    let requests = pair.requests();
    assert_eq!(payloads(&requests), ["call"]);
    let told = late.map(|id| format!("!{id}"));
    assert_eq!(fates(&mut pair.client), told);
    assert!(!pair.client.conn.has_room(), "no more are taken");
    assert_eq!(pair.closed(), (None, None));
    pair.reply(requests[0].id, b"result");
    assert_eq!(fates(&mut pair.client)[0], format!("={first}"));
    let closed = Some(CloseCause::Drained);
    assert_eq!(pair.closed(), (closed.clone(), closed));
}

#[test]
fn only_a_daemon_of_ours_refuses_a_call() {
    let check = |mut client: Bench<ClientConnection>, seq: u16, fate: Option<&str>| {
        calls::<1>(&mut client);
        client.take_output();
        client.feed_message(&RawMessage::new(Kind::ConnectFail, "late").seq(seq));
        match fate {
            Some(fate) => assert_eq!(fates(&mut client)[0], fate),
            None => assert!(protocol_error(client.closed()).is_some()),
        }
    };
    check(welcomed(taking(4), 4), 1, Some("!1"));
    check(welcomed(taking(4), 4), 2, None);
    check(support::connected(taking(4)), 1, None);
    // Nobody waits for it any more.
    let mut client = welcomed(taking(4), 4);
    let [id] = calls(&mut client);
    client.conn.abandon(client.now, id);
    client.feed_message(&RawMessage::new(Kind::ConnectFail, "late").seq(1));
    assert_eq!(client.closed(), Some(CloseCause::Drained));
}

#[test]
fn pings_that_nobody_reads_the_answers_to_are_not_read_for_ever() {
    let config = Config {
        limits: antifreeze_proto::Limits {
            write_queue_bytes: 10_000,
            ..antifreeze_proto::Limits::default()
        },
        ..taking(3)
    };
    let mut server = native(config, 3);
    server.feed_message(&RawMessage::invoke(1, "call"));
    server.conn.drain(server.now);
    server.window = 0;
    let pings = RawMessage::ping().encode().repeat(10_000);
    let taken = server.feed(&pings);
    assert!(taken < 20_000, "{taken} bytes taken");
}

#[test]
fn a_drain_that_takes_too_long_ends_with_calls_unanswered() {
    let mut server = native(taking(3), 3);
    for seq in 1..3 {
        server.feed_message(&RawMessage::invoke(seq, "call"));
    }
    let requests = requests(&mut server);
    server.conn.drain(server.now);
    server
        .conn
        .reply(server.now, requests[1].id, reply("result"))
        .unwrap();
    server.drain();
    server.advance(10 * SECOND);
    assert_eq!(server.closed(), Some(CloseCause::TimedOut(Timer::Drain)));
    assert_eq!(server.take_messages(), [RawMessage::result(2, "result")]);
    let late = server
        .conn
        .reply(server.now, requests[0].id, reply("result"));
    assert!(matches!(late, Err(UsageError::Closed(_))));
}

#[test]
fn a_client_that_drains_waits_for_those_that_somebody_wants() {
    let mut client = welcomed(taking(3), 3);
    let [first, second] = calls::<2>(&mut client);
    client.conn.abandon(client.now, first);
    client.conn.drain(client.now);
    assert_eq!(client.conn.state(), StateName::Draining);
    client.feed_message(&RawMessage::result(2, "result"));
    assert_eq!(client.closed(), Some(CloseCause::Drained));
    assert_eq!(fates(&mut client)[0], format!("={second}"));
}

#[test]
fn a_lost_connection_tells_of_each_call_how_much_was_sent() {
    let mut client = welcomed(taking(4), 4);
    // One call is 44 bytes: the second is cut.
    client.window = 50;
    let ids = calls::<3>(&mut client);
    client.input(Input::Failed(std::io::ErrorKind::ConnectionReset));
    let sent = ids.map(|id| client.conn.sent(id));
    assert_eq!(sent, [Sent::Whole, Sent::Partly, Sent::No]);
}

#[test]
fn a_reset_leaves_no_call_unanswered_that_could_be() {
    let mut server = native(taking(4), 4);
    for seq in 1..4 {
        server.feed_message(&RawMessage::invoke(seq, "call"));
    }
    let ids: Vec<_> = requests(&mut server)
        .iter()
        .map(|request| request.id)
        .collect();
    server.input(Input::Failed(std::io::ErrorKind::ConnectionReset));
    for id in ids {
        let late = server.conn.reply(server.now, id, reply("result"));
        assert!(matches!(late, Err(UsageError::Closed(_))));
    }
}

// Deadlines.

#[test]
fn a_deadline_ends_the_call_and_not_the_connection() {
    let mut client = welcomed(taking(4), 4);
    let [long] = calls(&mut client);
    let call = within(&client, 2);
    let short = client.conn.call(client.now, call).unwrap();
    client.drain();
    client.take_output();
    client.advance(2 * SECOND);
    assert_eq!(fates(&mut client), [format!("-{short}")]);
    // Whether anybody is there is asked once.
    assert_eq!(client.take_messages(), [RawMessage::ping()]);
    client.feed_message(&RawMessage::ping());
    client.feed_message(&RawMessage::result(2, "late"));
    client.advance(60 * SECOND);
    client.feed_message(&RawMessage::result(1, "result"));
    assert_eq!(fates(&mut client), [format!("={long}")]);
    assert_eq!(client.conn.state(), StateName::Ready);
}

#[test]
fn a_daemon_that_answers_not_even_a_ping_is_given_up() {
    let mut client = welcomed(taking(4), 4);
    calls::<1>(&mut client);
    let call = within(&client, 2);
    client.conn.call(client.now, call).unwrap();
    client.drain();
    client.advance(7 * SECOND - SECOND / 1000);
    assert_eq!(client.closed(), None);
    client.advance(SECOND / 1000);
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));
}

#[test]
fn a_daemon_that_moves_something_large_is_not_given_up() {
    const LARGE: &[u8] = &[b'x'; 10_000];
    // From it to us.
    let mut client = welcomed(taking(4), 4);
    let [long] = calls(&mut client);
    let call = within(&client, 1);
    client.conn.call(client.now, call).unwrap();
    client.drain();
    let answer = RawMessage::result(1, LARGE).encode();
    for piece in answer.chunks(1000) {
        client.feed(piece);
        client.advance(4 * SECOND);
        assert_eq!(client.closed(), None);
    }
    assert_eq!(fates(&mut client), ["-2".to_owned(), format!("={long}")]);
    client.advance(SECOND);
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));

    // From us to it.
    let mut client = welcomed(taking(4), 4);
    client.window = 0;
    let call = within(&client, 1);
    client.conn.call(client.now, call).unwrap();
    client.conn.call(client.now, Pair::plain(LARGE)).unwrap();
    client.drain();
    while client.conn.wants_write() {
        client.advance(4 * SECOND);
        assert_eq!(client.closed(), None);
        client.open_window(1000);
    }
    client.advance(5 * SECOND);
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));
}

#[test]
fn what_the_socket_takes_is_no_sign_of_life() {
    let mut client = welcomed(taking(100), 100);
    for _ in 0..6 {
        assert_eq!(client.closed(), None);
        let call = within(&client, 1);
        client.conn.call(client.now, call).unwrap();
        client.drain();
        client.advance(SECOND);
    }
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));
}

#[test]
fn a_daemon_that_answers_no_call_is_given_up() {
    let mut client = welcomed(taking(2), 2);
    for seconds in [1, 2] {
        let call = within(&client, seconds);
        client.conn.call(client.now, call).unwrap();
        client.drain();
    }
    client.advance(SECOND);
    client.feed_message(&RawMessage::ping());
    assert_eq!(fates(&mut client), ["-1"]);
    client.advance(SECOND);
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Reply)));
    assert_eq!(fates(&mut client)[0], "-2");
}

#[test]
fn the_deadline_of_a_oneway_ends_the_oneway_and_not_the_connection() {
    let mut client = welcomed(taking(4), 4);
    let oneway = |client: &Bench<ClientConnection>, seconds| Call {
        oneway: true,
        ..within(client, seconds)
    };
    let send = |client: &mut Bench<ClientConnection>, call| {
        let id = client.conn.call(client.now, call).unwrap();
        client.drain();
        id
    };
    let written = oneway(&client, 1);
    send(&mut client, written);
    assert_eq!(client.deadline, None, "it is written");
    client.take_output();

    // Of the first one 10 bytes are written, and of the others nothing.
    client.window = 10;
    let ids = [3, 2, 9].map(|seconds| {
        let call = oneway(&client, seconds);
        send(&mut client, call)
    });
    let call = send(&mut client, Pair::plain(b"call"));
    client.advance(2 * SECOND);
    assert_eq!(fates(&mut client), [format!("-{}", ids[1])]);
    client.advance(SECOND);
    assert_eq!(fates(&mut client), [format!("-{}", ids[0])]);
    assert_eq!(
        ids.map(|id| client.conn.sent(id)),
        [Sent::Partly, Sent::No, Sent::No]
    );
    client.open_window(usize::MAX);
    // The one that was begun is written whole, and the late one is not.
    let seqs: Vec<_> = client.take_messages().iter().map(|sent| sent.seq).collect();
    assert_eq!(seqs, [2, 4, 5, 0]);
    client.feed_message(&RawMessage::ping());
    assert_eq!(
        ids.map(|id| client.conn.sent(id)),
        [Sent::Whole, Sent::No, Sent::Whole]
    );
    client.feed_message(&RawMessage::result(5, "result"));
    client.advance(60 * SECOND);
    assert_eq!(fates(&mut client), [format!("={call}")]);
    assert_eq!(client.conn.state(), StateName::Ready);
}

#[test]
fn late_oneways_do_not_put_off_the_end_of_a_daemon_that_reads_nothing() {
    let mut client = welcomed(taking(4), 4);
    client.window = 0;
    for at in 0..10 {
        let call = Call {
            oneway: true,
            ..within(&client, 3)
        };
        let id = client.conn.call(client.now, call).unwrap();
        client.drain();
        assert_eq!(client.closed(), None, "after {at}");
        client.advance(3 * SECOND);
        assert_eq!(client.conn.sent(id), Sent::No);
    }
    assert_eq!(client.closed(), Some(CloseCause::TimedOut(Timer::Write)));
}

#[test]
fn who_abandons_a_call_is_not_told_of_its_deadline() {
    let mut client = welcomed(taking(4), 4);
    let call = within(&client, 2);
    let id = client.conn.call(client.now, call).unwrap();
    client.conn.abandon(client.now, id);
    client.drain();
    client.advance(2 * SECOND);
    assert!(fates(&mut client).is_empty());
    assert_eq!(client.closed(), None);
}

#[test]
fn several_deadlines_at_once_are_told_at_once() {
    let mut client = welcomed(taking(9), 9);
    for seconds in [3, 2, 2, 5] {
        let call = within(&client, seconds);
        client.conn.call(client.now, call).unwrap();
    }
    client.drain();
    client.advance(2 * SECOND);
    assert_eq!(fates(&mut client), ["-2", "-3"]);
    client.advance(SECOND);
    assert_eq!(fates(&mut client), ["-1"]);
    // After a sleep of the machine the rest has its time.
    client.now = client.now + 3600 * SECOND;
    client.input(Input::Resumed(3600 * SECOND));
    client.input(Input::Tick);
    assert!(fates(&mut client).is_empty());
    client.feed_message(&RawMessage::ping());
    client.feed_message(&RawMessage::result(4, "result"));
    assert_eq!(fates(&mut client), ["=4"]);
}

#[test]
fn a_chain_travels_to_whoever_serves_it() {
    let chain = Chain {
        id: 1 << 64 | 2,
        node: 1,
        frame: 3,
        call: 4,
        ..Chain::default()
    };
    let chain = Chain {
        path: Path::after(&chain),
        ..chain
    };
    let value = Bytes::from_static(b"value");
    let id = AnnotationId::known(b"USER");
    let check = |mut pair: Pair, is_native: bool| {
        let peer = pair.client.conn.peer();
        let deadline = pair.now() + SECOND;
        assert_eq!(peer.is_some(), is_native);
        pair.call(Call {
            chain: Some(chain.clone()),
            annotations: [(id, value.clone())].into_iter().collect(),
            deadline: Some(deadline),
            ..Pair::plain(b"call")
        });
        let requests = pair.requests();
        let [request] = &requests[..] else {
            panic!("{requests:?}");
        };
        assert_eq!(request.chain.as_deref(), Some(&chain));
        assert_eq!(request.peer, peer);
        assert_eq!(request.deadline, peer.map(|_| deadline));
        // It is not among the annotations.
        assert_eq!(request.annotations.len(), 1);
        assert_eq!(request.annotations.get(id), Some(&value));
        assert_eq!(&request.payload.as_is()[..], b"call");
    };
    check(pair(4), true);
    check(pair(1), false);
}

#[test]
fn a_deadline_travels() {
    let mut pair = pair(4);
    let deadline = pair.now() + SECOND / 1000 * 1500;
    let call = Call {
        deadline: Some(deadline),
        ..Pair::plain(b"call")
    };
    pair.call(call.clone());
    // Nobody waits for a oneway.
    let oneway = Call {
        oneway: true,
        ..call.clone()
    };
    pair.call(oneway);
    // What somebody else's call has brought is not handed on.
    let mut annotations = Annotations::new();
    annotations.insert(AFCK, Bytes::from_static(&[1; 63]));
    pair.call(Call {
        deadline: None,
        annotations,
        ..call
    });
    let requests = pair.requests();
    let deadlines: Vec<_> = requests.iter().map(|request| request.deadline).collect();
    assert_eq!(deadlines, [Some(deadline), None, None]);
    assert_eq!(requests[2].annotations.get(AFCK), None);
}

#[test]
fn what_a_call_says_of_its_deadline() {
    let check = |message: RawMessage, millis: Option<u32>| {
        let mut server = native(taking(1), 1);
        server.feed_message(&message);
        let request = request(&mut server);
        let expected = millis.map(|millis| server.now + SECOND / 1000 * millis);
        assert_eq!(request.deadline, expected, "{message:?}");
    };
    let invoke = || RawMessage::invoke(1, "call");
    check(invoke(), None);
    check(invoke().millis_left(250), Some(250));
    check(invoke().millis_left(0), Some(0));
    check(invoke().annotation(b"AFCK", b""), None);
    check(invoke().annotation(b"AFCK", &[1; 56]), None);
    check(invoke().annotation(b"AFCK", &[1; 62]), None);

    // Python hands it on with calls that it makes later, when it is stale.
    let mut server = accepted(taking(4));
    server.feed_message(&invoke().millis_left(250));
    assert_eq!(request(&mut server).deadline, None);
}

#[test]
fn calls_are_matched_when_bytes_come_one_at_a_time() {
    let mut pair = pair(9);
    (pair.to_server.piece, pair.to_client.piece) = (1, 1);
    let calls = [&b"one"[..], b"two", b"three"].map(|payload| pair.call(Pair::plain(payload)));
    let requests = pair.requests();
    assert_eq!(payloads(&requests), ["one", "two", "three"]);
    for (at, result) in [(2, &b"3"[..]), (0, b"1"), (1, b"2")] {
        pair.reply(requests[at].id, result);
    }
    let answers = pair.responses().into_iter();
    let answers: Vec<_> = answers
        .map(|(id, response)| (id, response.payload))
        .collect();
    let expected = [(2, "3"), (0, "1"), (1, "2")];
    assert_eq!(
        answers,
        expected.map(|(at, result)| (calls[at], Bytes::from(result)))
    );
    assert!(returned(&mut pair.client).is_empty());
}
