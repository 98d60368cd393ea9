//! Each state that waits for somebody does so for a bounded time; sleep of the machine is no delay.

mod support;

use std::time::Duration;

use antifreeze_proto::{
    Call, ClientConnection, CloseCause, Config, Connect, Input, Kind, Limits, Sent, ServerEvent,
    StateName, Time, Timer,
};
use antifreeze_testkit::{Bench, Pair, RawMessage};
use support::{SECOND, START, accepted, client, connect, connected, reply, request, server};

fn timed_out(timer: Timer) -> Option<CloseCause> {
    Some(CloseCause::TimedOut(timer))
}

fn with_idle() -> Config {
    let limits = Limits {
        idle: Some(60 * SECOND),
        ..Limits::default()
    };
    Config {
        limits,
        ..Config::default()
    }
}

#[test]
fn a_handshake_in_drips_is_not_enough() {
    let mut server = server(Config::default());
    let bytes = RawMessage::connect("obj").encode();
    for byte in bytes.chunks(1).take(5) {
        server.feed(byte);
        server.advance(SECOND);
    }
    assert_eq!(server.closed(), timed_out(Timer::Handshake));
    assert_eq!(server.take_output(), b"");
}

#[test]
fn a_message_may_come_in_drips_but_not_stop() {
    let mut server = accepted(Config::default());
    let bytes = RawMessage::invoke(1, "payload").encode();
    for byte in bytes.chunks(1).take(46) {
        server.feed(byte);
        server.advance(4 * SECOND);
        assert_eq!(server.conn.state(), StateName::Receiving);
    }
    server.advance(SECOND);
    assert_eq!(server.closed(), timed_out(Timer::Stall));
}

#[test]
fn a_call_runs_as_long_as_it_runs() {
    let mut server = accepted(with_idle());
    server.feed_message(&RawMessage::invoke(1, "call"));
    server.feed(&RawMessage::invoke(2, "part").encode()[..20]);
    assert_eq!(server.deadline, None);
    server.advance(3600 * SECOND);
    let id = request(&mut server).id;
    server.conn.reply(server.now, id, reply("result")).unwrap();
    server.drain();
    assert_eq!(
        server.conn.state(),
        StateName::Receiving,
        "now the rest is the peer's turn"
    );
    assert_eq!(server.deadline, Some(server.now + 5 * SECOND));
}

#[test]
fn an_idle_connection_is_kept_for_ever_unless_told() {
    let mut server = accepted(Config::default());
    assert_eq!(server.deadline, None);
    server = accepted(with_idle());
    for _ in 0..3 {
        server.advance(59 * SECOND);
        server.feed_message(&RawMessage::ping());
    }
    server.advance(60 * SECOND);
    assert_eq!(server.closed(), timed_out(Timer::Idle));
}

#[test]
fn a_peer_that_is_held_back_has_to_read_and_need_not_send() {
    let mut server = accepted(with_idle());
    server.conn.tick_held_back(server.now + 3600 * SECOND);
    assert_eq!(server.conn.state(), StateName::Idle);
    assert_eq!(server.conn.held_back_deadline(), None);
    server.feed_message(&RawMessage::invoke(1, "call"));
    server.window = 0;
    let id = request(&mut server).id;
    server.conn.reply(server.now, id, reply("result")).unwrap();
    let late = server.now + 30 * SECOND;
    assert_eq!(server.conn.held_back_deadline(), Some(late));
    server.conn.tick_held_back(late);
    assert_eq!(server.conn.state(), StateName::Closed);
    assert_eq!(server.conn.held_back_deadline(), None);
}

#[test]
fn a_reader_that_takes_nothing_is_closed() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "call"));
    server.window = 0;
    let id = request(&mut server).id;
    server.conn.reply(server.now, id, reply("result")).unwrap();
    server.drain();
    server.advance(29 * SECOND);
    server.open_window(1);
    server.advance(29 * SECOND);
    assert_eq!(server.conn.state(), StateName::Idle);
    server.advance(SECOND);
    assert_eq!(server.closed(), timed_out(Timer::Write));
}

#[test]
fn last_bytes_that_nobody_takes_are_dropped_and_the_first_cause_stays() {
    let mut server = accepted(Config::default());
    server.window = 0;
    server.feed_message(&RawMessage::ping());
    server.input(Input::Eof);
    assert_eq!(server.conn.state(), StateName::Flushing);
    server.advance(30 * SECOND);
    assert_eq!(
        server.take_events(),
        [ServerEvent::Closed(CloseCause::PeerClosed)]
    );
}

#[test]
fn a_client_waits_for_its_answer_until_the_deadline() {
    let mut client = connected(Config::default());
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.drain();
    assert_eq!(client.deadline, None, "without one, for ever");

    let mut client = connected(Config::default());
    let deadline = Some(client.now + 3 * SECOND);
    client
        .conn
        .call(
            client.now,
            Call {
                deadline,
                ..Pair::plain(b"call")
            },
        )
        .unwrap();
    client.drain();
    assert_eq!(client.deadline, deadline);
    client.advance(3 * SECOND);
    assert_eq!(client.closed(), timed_out(Timer::Reply));
}

#[test]
fn a_client_does_not_wait_for_half_an_answer() {
    let mut client = connected(Config::default());
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.drain();
    client.feed(&RawMessage::result(1, "result").encode()[..41]);
    client.advance(5 * SECOND);
    assert_eq!(client.closed(), timed_out(Timer::Stall));
}

#[test]
fn a_client_gives_up_a_daemon_that_says_nothing() {
    let mut client = client(Config::default());
    client.advance(5 * SECOND);
    assert_eq!(client.closed(), timed_out(Timer::Handshake));
}

#[test]
fn the_whole_handshake_has_one_deadline() {
    let deadline = Some(START + 2 * SECOND);
    let connect = Connect {
        deadline,
        ..connect()
    };
    let conn = ClientConnection::new(Config::default(), 7, START, connect.clone()).unwrap();
    let mut client = Bench::new(conn, START);
    let ok = RawMessage::new(Kind::ConnectOk, "welcome").encode();
    client.advance(SECOND);
    client.feed(&ok[..20]);
    assert_eq!(client.deadline, deadline, "whatever comes");
    client.advance(SECOND);
    assert_eq!(client.closed(), timed_out(Timer::Handshake));

    let conn = ClientConnection::new(Config::default(), 7, START, connect).unwrap();
    let mut client = Bench::new(conn, START);
    client.feed(&ok);
    assert_eq!(client.deadline, None, "it ends with the handshake");

    let late = Connect {
        deadline: Some(START + 60 * SECOND),
        ..support::connect()
    };
    let conn = ClientConnection::new(Config::default(), 7, START, late).unwrap();
    let client = Bench::new(conn, START);
    assert_eq!(client.deadline, Some(START + 5 * SECOND), "the earlier one");
}

#[test]
fn a_oneway_is_written_before_its_deadline() {
    let oneway = |after: Option<Duration>| Call {
        oneway: true,
        deadline: after.map(|after| START + after),
        ..Pair::plain(b"oneway")
    };
    let mut client = connected(Config::default());
    client.conn.call(START, oneway(Some(3 * SECOND))).unwrap();
    client.drain();
    assert_eq!(client.deadline, None, "it is written");

    client.window = 0;
    client.conn.call(START, oneway(None)).unwrap();
    client.drain();
    assert_eq!(client.deadline, Some(START + 30 * SECOND));
    let late = client.conn.call(START, oneway(Some(9 * SECOND))).unwrap();
    client.drain();
    client.conn.call(START, oneway(Some(60 * SECOND))).unwrap();
    client.drain();
    assert_eq!(client.deadline, Some(START + 9 * SECOND));
    for _ in 0..8 {
        client.advance(SECOND);
        client.open_window(6);
    }
    assert_eq!(client.deadline, Some(START + 9 * SECOND), "not put off");
    client.advance(SECOND);
    assert_eq!(client.closed(), timed_out(Timer::Write));
    assert_eq!(client.conn.sent(late), Sent::Partly);
}

#[test]
fn a_oneway_is_a_sign_of_life_of_our_own() {
    let mut client = connected(with_idle());
    client.advance(59 * SECOND);
    let oneway = Call {
        oneway: true,
        ..Pair::plain(b"oneway")
    };
    client.conn.call(client.now, oneway).unwrap();
    client.drain();
    assert_eq!(client.deadline, Some(client.now + 60 * SECOND));
}

#[test]
fn a_late_result_reaches_nobody() {
    let mut pair = Pair::ready();
    let deadline = Some(pair.now() + 5 * SECOND);
    pair.call(Call {
        deadline,
        ..Pair::plain(b"slow")
    });
    let id = pair.requests()[0].id;
    pair.to_client.held = true;
    pair.reply(id, b"late");
    pair.advance(5 * SECOND);
    assert_eq!(pair.client.closed(), timed_out(Timer::Reply));

    pair.to_client.held = false;
    pair.drive();
    assert_eq!(pair.responses(), []);
}

#[test]
fn after_sleep_overdue_timers_get_one_period_of_grace() {
    let mut server = server(Config::default());
    let hour = 3600 * SECOND;
    server.now = server.now + hour;
    server.input(Input::Resumed(hour));
    server.input(Input::Tick);
    assert_eq!(server.conn.state(), StateName::Handshaking);
    server.advance(4 * SECOND);
    assert_eq!(server.conn.state(), StateName::Handshaking);
    server.advance(SECOND);
    assert_eq!(
        server.closed(),
        timed_out(Timer::Handshake),
        "one, and no more"
    );
}

#[test]
fn a_short_sleep_earns_no_long_grace() {
    let mut client = connected(Config::default());
    let deadline = Some(client.now + SECOND);
    client
        .conn
        .call(
            client.now,
            Call {
                deadline,
                ..Pair::plain(b"call")
            },
        )
        .unwrap();
    client.now = client.now + 2 * SECOND;
    client.input(Input::Resumed(2 * SECOND));
    assert_eq!(client.deadline, Some(client.now + 2 * SECOND));
}

#[test]
fn timers_that_do_not_run_are_not_started_by_sleep() {
    let mut server = accepted(Config::default());
    server.input(Input::Resumed(3600 * SECOND));
    assert_eq!(server.deadline, None);
}

#[test]
fn time_does_not_overflow() {
    assert_eq!(Time::MAX + SECOND, Time::MAX);
    assert_eq!(Time::MAX.checked_add(SECOND), None);
    assert_eq!(Time::ZERO.saturating_since(Time::MAX), Duration::ZERO);
}
