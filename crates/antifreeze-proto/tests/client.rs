//! Rows I1 to I3: calls, and which answers are theirs.

mod support;

use antifreeze_proto::{
    Annotations, Call, ClientEvent, CloseCause, Config, CorrelationId, Flags, Kind, Limits,
    ProtocolError, Response, SerializerId, StateName, UsageError,
};
use antifreeze_testkit::{Pair, RawMessage};
use support::{client, connected, returned};

#[test]
fn a_call_goes_out_with_the_next_number() {
    let mut client = connected(Config::default());
    let id = CorrelationId([5; 16]);
    let call = Call {
        correlation: Some(id),
        batch: true,
        ..Pair::plain(b"call")
    };
    let first = client.conn.call(client.now, call).unwrap();
    client.drain();
    let invoke = RawMessage::invoke(1, "call")
        .flags(Flags::BATCH)
        .correlation(id);
    assert_eq!(client.take_messages(), [invoke]);
    assert_eq!(client.conn.state(), StateName::Awaiting);

    let flags = Flags::EXCEPTION | Flags::ITEM_STREAM;
    client.feed_message(&RawMessage::result(1, "sorry").flags(flags));
    let response = Response {
        serializer: SerializerId::SERPENT,
        flags,
        correlation: None,
        annotations: Annotations::new(),
        payload: b"sorry"[..].into(),
    };
    assert!(response.is_exception() && response.is_item_stream());
    assert_eq!(
        client.take_events(),
        [ClientEvent::Returned {
            id: first,
            response
        }]
    );
    assert_eq!(client.conn.state(), StateName::Ready);
}

#[test]
fn a_oneway_waits_for_nothing() {
    let mut client = connected(Config::default());
    let oneway = Call {
        oneway: true,
        keep_serialized: true,
        ..Pair::plain(b"call")
    };
    client.conn.call(client.now, oneway).unwrap();
    client.drain();
    let flags = Flags::ONEWAY | Flags::KEEP_SERIALIZED;
    assert_eq!(
        client.take_messages(),
        [RawMessage::invoke(1, "call").flags(flags)]
    );
    assert_eq!(client.conn.state(), StateName::Ready);
}

#[test]
fn a_ping_is_a_call_of_its_own_kind() {
    let mut client = connected(Config::default());
    let id = client.conn.ping(client.now, None).unwrap();
    client.drain();
    assert_eq!(client.take_messages(), [RawMessage::ping()]);
    let busy = client.conn.call(client.now, Pair::plain(b"call"));
    assert_eq!(busy, Err(UsageError::Busy { limit: 1 }));
    client.feed_message(&RawMessage::ping());
    assert_eq!(client.take_events(), [ClientEvent::Ponged { id }]);
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.feed_message(&RawMessage::result(1, "result"));
    assert_eq!(
        returned(&mut client),
        ["result"],
        "it takes no sequence number"
    );
}

#[track_caller]
fn check_answer(answer: &RawMessage, expected: ProtocolError, text: &str) {
    let mut client = connected(Config {
        quiet: true,
        ..Config::default()
    });
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.drain();
    client.feed(&answer.encode());
    assert_eq!(expected.to_string(), text);
    assert_eq!(
        client.take_events(),
        [ClientEvent::Closed(CloseCause::Protocol(expected))]
    );
}

#[test]
fn only_the_answer_to_the_call_is_taken() {
    use antifreeze_proto::Seq;
    check_answer(
        &RawMessage::result(9, ""),
        ProtocolError::WrongSequence {
            expected: Seq(1),
            got: Seq(9),
        },
        "expected a reply with sequence number 1, got 9",
    );
    check_answer(
        &RawMessage::result(1, "").serializer(SerializerId::JSON),
        ProtocolError::WrongSerializer {
            expected: SerializerId::SERPENT,
            got: SerializerId::JSON,
        },
        "expected a reply by serializer 1, got one by 3",
    );
    check_answer(
        &RawMessage::invoke(1, ""),
        ProtocolError::Unexpected {
            got: Kind::Invoke,
            expected: "RESULT",
            state: StateName::Awaiting,
        },
        "expected RESULT while awaiting, got INVOKE",
    );
}

#[test]
fn an_answer_that_nobody_asked_for_closes() {
    let mut client = connected(Config {
        quiet: true,
        ..Config::default()
    });
    client.feed(&RawMessage::result(1, "").encode());
    let error = ProtocolError::Unexpected {
        got: Kind::Result,
        expected: "nothing",
        state: StateName::Ready,
    };
    assert_eq!(client.closed(), Some(error.into()));
}

#[test]
fn the_answer_before_the_end_is_taken() {
    let mut client = connected(Config::default());
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.drain();
    client.feed_by(&RawMessage::result(1, "result").encode(), 7);
    client.input(antifreeze_proto::Input::Eof);
    assert_eq!(returned(&mut client), ["result"]);
    assert_eq!(client.closed(), Some(CloseCause::PeerClosed));
}

#[test]
fn sequence_numbers_go_round() {
    let mut client = connected(Config::default());
    for _ in 0..=0xffff_u32 {
        let oneway = Call {
            oneway: true,
            ..Pair::plain(b"")
        };
        client.conn.call(client.now, oneway).unwrap();
    }
    assert_eq!(client.conn.seq().0, 0);
    client.conn.call(client.now, Pair::plain(b"call")).unwrap();
    client.drain();
    client.feed_message(&RawMessage::result(1, "result"));
    assert_eq!(returned(&mut client), ["result"]);
}

#[test]
fn nothing_can_be_called_before_the_handshake() {
    let mut client = client(Config::default());
    let early = client.conn.call(client.now, Pair::plain(b"call"));
    let wrong = UsageError::WrongState {
        what: "call",
        state: StateName::Handshaking,
    };
    assert_eq!(early, Err(wrong));
}

#[test]
fn a_call_that_cannot_be_sent_changes_nothing() {
    let limits = Limits {
        message_bytes: 10,
        write_queue_bytes: 1,
        ..Limits::default()
    };
    let mut client = connected(Config {
        limits,
        ..Config::default()
    });
    let large = client.conn.call(client.now, Pair::plain(b"eleven byte"));
    assert_eq!(
        large,
        Err(UsageError::TooLarge {
            size: 11,
            limit: 10
        })
    );
    assert_eq!(
        (client.conn.state(), client.conn.seq().0),
        (StateName::Ready, 0)
    );

    client.window = 0;
    let oneway = Call {
        oneway: true,
        ..Pair::plain(b"call")
    };
    client.conn.call(client.now, oneway.clone()).unwrap();
    let full = client.conn.call(client.now, oneway);
    assert!(
        matches!(full, Err(UsageError::QueueFull { limit: 1, .. })),
        "got {full:?}"
    );
}
