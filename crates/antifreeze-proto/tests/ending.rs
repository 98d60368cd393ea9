//! How connections end: half-close, drain, cuts, and what a client knows afterwards.

mod support;

use std::io::ErrorKind;

use antifreeze_proto::{
    Call, CloseCause, Config, Flags, Input, ProtocolError, Sent, ServerEvent, StateName, Timer,
    UsageError,
};
use antifreeze_testkit::{End, Pair, RawMessage};
use support::{SECOND, accept, accepted, connected, payloads, reply, request, requests, server};

#[test]
fn an_answer_is_delivered_after_the_peer_has_sent_its_last() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "call"));
    server.input(Input::Eof);
    assert_eq!(server.conn.state(), StateName::HalfClosed);
    assert!(!server.conn.wants_read());
    assert_eq!(
        server.deadline, None,
        "the method takes as long as it takes"
    );
    let id = request(&mut server).id;
    server.conn.reply(server.now, id, reply("result")).unwrap();
    server.drain();
    assert_eq!(server.take_messages(), [RawMessage::result(1, "result")]);
    assert_eq!(
        server.take_events(),
        [ServerEvent::Closed(CloseCause::PeerClosed)]
    );
}

#[test]
fn all_that_was_sent_before_the_end_is_served() {
    let mut server = server(Config::default());
    let bytes = [
        RawMessage::connect("obj").encode(),
        RawMessage::invoke(1, "one").encode(),
        RawMessage::invoke(2, "oneway")
            .flags(Flags::ONEWAY)
            .encode(),
        RawMessage::invoke(3, "two").encode(),
    ];
    server.feed(&bytes.concat());
    server.input(Input::Eof);
    server.conn.accept(server.now, accept()).unwrap();
    server.drain();
    let first = request_after_handshake(&mut server);
    server
        .conn
        .reply(server.now, first, reply("first"))
        .unwrap();
    server.drain();
    let rest = requests(&mut server);
    assert_eq!(payloads(&rest), ["oneway", "two"]);
    assert_eq!(server.closed(), None);
    server
        .conn
        .reply(server.now, rest[1].id, reply("second"))
        .unwrap();
    server.drain();
    assert_eq!(server.take_messages().len(), 3);
    assert_eq!(server.closed(), Some(CloseCause::PeerClosed));
}

fn request_after_handshake(
    server: &mut antifreeze_testkit::Bench<antifreeze_proto::ServerConnection>,
) -> antifreeze_proto::RequestId {
    request(server).id
}

#[test]
fn the_end_inside_a_message_says_how_much_came() {
    let mut server = accepted(Config::default());
    let bytes = RawMessage::invoke(1, "payload").encode();
    server.feed(&bytes[..45]);
    server.input(Input::Eof);
    let cause = CloseCause::Truncated {
        got: 45,
        expected: Some(47),
    };
    assert_eq!(
        cause.to_string(),
        "closed by the peer after 45 bytes of a message, expected 47"
    );
    assert_eq!(server.closed(), Some(cause));
}

#[test]
fn a_drained_server_answers_and_closes() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "one"));
    server.conn.drain(server.now);
    server.feed(&RawMessage::invoke(2, "two").encode());
    let request = request(&mut server);
    server
        .conn
        .reply(server.now, request.id, reply("result"))
        .unwrap();
    server.drain();
    assert_eq!(server.take_messages(), [RawMessage::result(1, "result")]);
    assert_eq!(
        server.take_events(),
        [ServerEvent::Closed(CloseCause::Drained)]
    );
}

#[test]
fn a_drain_ends_after_ten_seconds() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "one"));
    server.conn.drain(server.now);
    server.drain();
    server.advance(9 * SECOND);
    assert_eq!(server.conn.state(), StateName::Draining);
    server.advance(SECOND);
    assert_eq!(server.closed(), Some(CloseCause::TimedOut(Timer::Drain)));
}

#[test]
fn a_server_that_is_idle_drains_at_once() {
    let mut server = accepted(Config::default());
    server.conn.drain(server.now);
    assert_eq!(server.closed(), Some(CloseCause::Drained));
}

#[test]
fn a_drained_client_waits_for_its_answer() {
    let mut pair = Pair::ready();
    pair.call(Pair::plain(b"call"));
    pair.client.conn.drain(pair.now());
    let late = pair.client.conn.call(pair.now(), Pair::plain(b"late"));
    let wrong = UsageError::WrongState {
        what: "call",
        state: StateName::Draining,
    };
    assert_eq!(late, Err(wrong));
    let id = pair.requests()[0].id;
    pair.reply(id, b"result");
    assert_eq!(pair.responses().len(), 1);
    assert_eq!(
        pair.closed(),
        (Some(CloseCause::Drained), Some(CloseCause::PeerClosed))
    );
}

#[test]
fn closing_writes_what_is_queued_and_aborting_does_not() {
    for (abort, written) in [(false, 46), (true, 0)] {
        let mut server = accepted(Config::default());
        server.feed_message(&RawMessage::invoke(1, "call"));
        let id = request(&mut server).id;
        server.conn.reply(server.now, id, reply("result")).unwrap();
        let why = CloseCause::local("security");
        if abort {
            server.conn.abort(server.now, why.clone());
        } else {
            server.conn.close(server.now, why.clone());
        }
        server.drain();
        assert_eq!(server.take_output().len(), written);
        assert_eq!(server.take_events(), [ServerEvent::Closed(why)]);
    }
}

#[test]
fn a_closed_connection_says_the_same_every_time() {
    let mut server = accepted(Config::default());
    server.feed(b"GARBAGE");
    let cause = CloseCause::Protocol(ProtocolError::NotPyro);
    assert_eq!(server.take_events(), [ServerEvent::Closed(cause.clone())]);
    server.conn.close(server.now, CloseCause::Drained);
    server.conn.abort(server.now, CloseCause::Drained);
    server.conn.drain(server.now);
    server.input(Input::Eof);
    server.input(Input::Failed(ErrorKind::BrokenPipe));
    server.input(Input::Tick);
    assert_eq!(server.take_events(), []);
    assert_eq!(server.conn.cause(), Some(&cause));
    assert_eq!(
        server.conn.accept(server.now, accept()),
        Err(UsageError::Closed(cause))
    );
    assert_eq!(server.deadline, None);
}

/// A good session of a handshake, a call and a oneway; cut in either direction after `at` bytes.
/// Says what both ends make of it.
fn cut_session(to_server: bool, at: usize, end: End) -> (Option<CloseCause>, Option<CloseCause>) {
    let quiet = Config {
        quiet: true,
        ..Config::default()
    };
    let mut pair = Pair::with(quiet.clone(), quiet);
    if to_server {
        pair.to_server.cut = Some((at, end));
    } else {
        pair.to_client.cut = Some((at, end));
    }
    pair.drive();
    if pair.server.conn.state() == StateName::Deciding {
        pair.accept();
        pair.drive();
    }
    if pair.client.conn.state() == StateName::Ready {
        pair.call(Pair::plain(b"call"));
        for request in pair.requests() {
            // Refused where the cut has been noticed already, which is as it should be.
            let _ = pair
                .server
                .conn
                .reply(pair.now(), request.id, reply("result"));
        }
        pair.drive();
    }
    if pair.client.conn.state() == StateName::Ready {
        pair.call(Call {
            oneway: true,
            ..Pair::plain(b"oneway")
        });
    }
    pair.client.conn.drain(pair.now());
    pair.drive();
    pair.advance(60 * SECOND);
    pair.closed()
}

/// The causes of one end for every cut, as runs of the same cause without its numbers.
fn runs(
    length: usize,
    cause: impl Fn(usize) -> (Option<CloseCause>, Option<CloseCause>),
) -> String {
    let name = |cause: Option<CloseCause>| match cause {
        Some(CloseCause::Truncated { .. }) => "truncated".to_owned(),
        Some(cause) => cause.to_string(),
        None => "open".to_owned(),
    };
    let mut lines: Vec<(usize, usize, String)> = Vec::new();
    for at in 0..=length {
        let (client, server) = cause(at);
        let text = format!("client: {} | server: {}", name(client), name(server));
        match lines.last_mut() {
            Some((_, end, last)) if *last == text => *end = at,
            _ => lines.push((at, at, text)),
        }
    }
    let lines = lines
        .iter()
        .map(|(from, to, text)| format!("{from:3}..={to:3} {text}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_session_cut_at_every_byte_ends_with_the_right_cause() {
    // CONNECT 45, INVOKE 44, oneway 46; CONNECTOK 47, RESULT 46.
    let mut story = String::new();
    for (name, to_server, length) in [("to server", true, 136), ("to client", false, 94)] {
        for end in [End::Eof, End::Reset] {
            let runs = runs(length, |at| cut_session(to_server, at, end));
            story += &format!("{name}, {end:?}\n{runs}\n\n");
        }
    }
    insta::assert_snapshot!(story);
}

#[test]
fn a_client_knows_how_much_of_a_call_was_sent() {
    for (window, expected) in [
        (0, Sent::No),
        (1, Sent::Partly),
        (43, Sent::Partly),
        (44, Sent::Whole),
    ] {
        let mut client = connected(Config::default());
        client.window = window;
        let id = client.conn.call(client.now, Pair::plain(b"call")).unwrap();
        client.drain();
        assert_eq!(client.conn.sent(id), expected);
        client.input(Input::Failed(ErrorKind::ConnectionReset));
        assert_eq!(client.conn.sent(id), expected, "and remembers it");
    }
}

#[test]
fn of_many_oneways_a_client_knows_each() {
    let mut client = connected(Config::default());
    client.window = 50;
    let oneway = Call {
        oneway: true,
        ..Pair::plain(b"call")
    };
    let ids: Vec<_> = (0..3)
        .map(|_| client.conn.call(client.now, oneway.clone()).unwrap())
        .collect();
    client.drain();
    client.input(Input::Eof);
    let sent: Vec<_> = ids.iter().map(|id| client.conn.sent(*id)).collect();
    assert_eq!(sent, [Sent::Whole, Sent::Partly, Sent::No]);
}
