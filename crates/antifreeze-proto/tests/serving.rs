//! Rows I1, W10, H18, O1 to O5: requests in order, and their answers.

mod support;

use antifreeze_proto::annotations::MAX_ANNOTATIONS;
use antifreeze_proto::{
    AnnotationId, Annotations, CloseCause, Config, CorrelationId, Flags, Input, Limits, Reply,
    Segments, SerializerId, ServerConnection, ServerEvent, StateName, Timer, UsageError,
};
use antifreeze_testkit::{Bench, Pair, RawMessage};
use bytes::Bytes;
use support::{SECOND, START, accepted, payloads, reply, request, requests};

#[test]
fn a_reply_repeats_what_the_request_said() {
    let mut server = accepted(Config::default());
    let id = CorrelationId([3; 16]);
    let flags = Flags::BATCH | Flags::KEEP_SERIALIZED | Flags(0x8000);
    let invoke = RawMessage::invoke(0x1234, "call")
        .flags(flags)
        .correlation(id);
    server.feed_message(&invoke.serializer(SerializerId(42)));
    let request = request(&mut server);
    assert!(request.batch && request.keep_serialized && !request.oneway);
    assert_eq!(
        (request.serializer, request.correlation),
        (SerializerId(42), Some(id))
    );

    let flags = Flags::EXCEPTION | Flags::BATCH | Flags::ONEWAY | Flags(0x8000);
    let reply = Reply {
        flags,
        ..reply("sorry")
    };
    server.conn.reply(server.now, request.id, reply).unwrap();
    server.drain();
    let result = RawMessage::result(0x1234, "sorry")
        .serializer(SerializerId(42))
        .correlation(id);
    assert_eq!(
        server.take_messages(),
        [result.flags(Flags::EXCEPTION | Flags::BATCH)]
    );
}

#[test]
fn a_request_without_correlation_id_can_be_given_one() {
    let mut server = accepted(Config::default());
    let noise = RawMessage {
        correlation: [9; 16],
        ..RawMessage::invoke(1, "call")
    };
    server.feed_message(&noise);
    let request = request(&mut server);
    assert_eq!(
        request.correlation, None,
        "the field means nothing without its flag"
    );
    let id = CorrelationId([3; 16]);
    let reply = Reply {
        correlation: Some(id),
        ..reply("result")
    };
    server.conn.reply(server.now, request.id, reply).unwrap();
    server.drain();
    assert_eq!(
        server.take_messages(),
        [RawMessage::result(1, "result").correlation(id)]
    );
}

#[test]
fn a_payload_of_several_pieces_is_sent_as_one() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, ""));
    let id = request(&mut server).id;
    let pieces = ["a", "", "bc", "d", "e", "f", "g"].map(Bytes::from);
    server
        .conn
        .reply(server.now, id, reply(Segments::from_iter(pieces)))
        .unwrap();
    server.drain();
    assert_eq!(server.take_messages(), [RawMessage::result(1, "abcdefg")]);
}

#[test]
fn a_ping_is_answered_by_itself() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::ping().seq(77));
    let pong = RawMessage {
        payload: b"pong".to_vec(),
        ..RawMessage::ping().seq(77)
    };
    assert_eq!(server.take_messages(), [pong]);
    assert_eq!(server.take_events(), []);
}

/// Sends so many calls at once and lets each be answered when it comes.
fn serve_all(server: &mut Bench<ServerConnection>, bytes: &[u8]) -> Vec<String> {
    let mut at = 0;
    let mut served = Vec::new();
    loop {
        at += server.feed(&bytes[at..]);
        let requests = requests(server);
        let answered: Vec<_> = requests.iter().filter(|request| !request.oneway).collect();
        assert!(answered.len() <= 1, "one call at a time");
        for request in &requests {
            served.push(String::from_utf8(request.payload.as_is().to_vec()).unwrap());
        }
        if let Some(request) = answered.first() {
            let echo = Bytes::copy_from_slice(request.payload.as_is());
            server
                .conn
                .reply(server.now, request.id, reply(echo))
                .unwrap();
        }
        server.drain();
        if server.events.is_empty() && at == bytes.len() {
            return served;
        }
    }
}

#[test]
fn pipelined_calls_are_served_one_by_one_in_order() {
    let mut server = accepted(Config::default());
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for seq in 1..500_u16 {
        let payload = format!("call {seq}");
        let flags = if seq % 5 == 0 {
            Flags::ONEWAY
        } else {
            Flags::NONE
        };
        bytes.extend(RawMessage::invoke(seq, &payload).flags(flags).encode());
        expected.push(payload);
    }
    assert_eq!(serve_all(&mut server, &bytes), expected);
    let answered: Vec<u16> = server
        .take_messages()
        .iter()
        .map(|message| message.seq)
        .collect();
    let called: Vec<u16> = (1..500).filter(|seq| seq % 5 != 0).collect();
    assert_eq!(answered, called);
}

#[test]
fn what_a_peer_sends_ahead_is_bounded() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "first"));
    let ahead = RawMessage::invoke(2, "x").encode().repeat(10_000);
    let taken = server.feed(&ahead);
    assert!(taken < 16_384, "took {taken} bytes ahead");
    assert!(!server.conn.wants_read() && server.conn.has_buffered_input());
    assert!(server.conn.read_buffer().is_empty());
    assert_eq!(
        server.deadline, None,
        "what we do not read is not the peer's delay"
    );
}

#[test]
fn while_a_call_runs_its_peer_can_still_be_seen_to_go() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "call"));
    assert!(server.conn.wants_read());
    server.input(Input::Failed(std::io::ErrorKind::ConnectionReset));
    let cause = CloseCause::Failed(std::io::ErrorKind::ConnectionReset);
    assert_eq!(server.closed(), Some(cause.clone()));
    let id = request(&mut server).id;
    let late = server.conn.reply(server.now, id, reply("result"));
    assert_eq!(late, Err(UsageError::Closed(cause)));
}

#[test]
fn oneways_do_not_occupy_the_table() {
    let mut server = accepted(Config::default());
    let oneway = RawMessage::invoke(1, "oneway")
        .flags(Flags::ONEWAY)
        .encode();
    server.feed(&oneway.repeat(3));
    assert_eq!(server.conn.state(), StateName::Idle);
    server.feed_message(&RawMessage::invoke(4, "call"));
    let requests = requests(&mut server);
    assert_eq!(payloads(&requests), ["oneway", "oneway", "oneway", "call"]);
    let unasked = server
        .conn
        .reply(server.now, requests[0].id, reply("result"));
    assert_eq!(unasked, Err(UsageError::UnknownRequest(requests[0].id)));
    server
        .conn
        .reply(server.now, requests[3].id, reply("result"))
        .unwrap();
    let twice = server
        .conn
        .reply(server.now, requests[3].id, reply("result"));
    assert_eq!(twice, Err(UsageError::UnknownRequest(requests[3].id)));
}

#[test]
fn a_oneway_before_a_hasty_end_is_still_given_out() {
    let mut server = accepted(Config::default());
    let oneway = RawMessage::invoke(1, "oneway").flags(Flags::ONEWAY);
    server.feed_message(&oneway);
    server.input(Input::Failed(std::io::ErrorKind::ConnectionReset));
    assert_eq!(payloads(&requests(&mut server)), ["oneway"]);
}

#[test]
fn a_result_that_is_too_large_can_be_replaced() {
    let limits = Limits {
        message_bytes: 100,
        ..Limits::default()
    };
    let mut server = accepted(Config {
        limits,
        ..Config::default()
    });
    server.feed_message(&RawMessage::invoke(1, "call"));
    let id = request(&mut server).id;
    let error = UsageError::TooLarge {
        size: 101,
        limit: 100,
    };
    assert_eq!(
        server.conn.reply(server.now, id, reply(vec![0; 101])),
        Err(error)
    );
    assert_eq!(server.conn.reply(server.now, id, reply("sorry")), Ok(()));
}

#[test]
fn annotations_that_no_peer_would_take_stay_here() {
    let limits = Limits {
        annotations_bytes: 16,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let check = |config: &Config, annotations: &Annotations, error| {
        let mut server = accepted(config.clone());
        server.feed_message(&RawMessage::invoke(1, "call"));
        let id = request(&mut server).id;
        let annotated = Reply {
            annotations: annotations.clone(),
            ..reply("result")
        };
        assert_eq!(server.conn.reply(server.now, id, annotated), Err(error));
        assert_eq!(server.conn.reply(server.now, id, reply("sorry")), Ok(()));
    };
    let id = |n: usize| format!("{n:04}").parse::<AnnotationId>().unwrap();
    let one = Annotations::from_iter([(id(0), Bytes::from_static(b"nine byte"))]);
    let error = UsageError::AnnotationsTooLarge {
        size: 17,
        limit: 16,
    };
    check(&config, &one, error);
    let many = Annotations::from_iter((0..=MAX_ANNOTATIONS).map(|n| (id(n), Bytes::new())));
    let error = UsageError::TooManyAnnotations {
        got: MAX_ANNOTATIONS + 1,
        limit: MAX_ANNOTATIONS,
    };
    check(&Config::default(), &many, error);
}

#[test]
fn more_calls_at_once_where_both_agree() {
    let config = Config {
        calls: 3,
        ..Config::default()
    };
    let mut pair = Pair::with(config.clone(), config).shake_hands();
    let calls = [&b"one"[..], b"two", b"three"].map(|payload| pair.call(Pair::plain(payload)));
    let busy = pair.client.conn.call(pair.now(), Pair::plain(b"four"));
    assert_eq!(busy, Err(UsageError::Busy { limit: 3 }));
    let requests = pair.requests();
    assert_eq!(payloads(&requests), ["one", "two", "three"]);
    for request in requests.iter().rev() {
        pair.reply(request.id, b"done");
    }
    let answered: Vec<_> = pair.responses().into_iter().map(|(id, _)| id).collect();
    assert_eq!(answered, [calls[2], calls[1], calls[0]]);
    assert_eq!(pair.client.conn.state(), StateName::Ready);
}

#[test]
fn a_peer_that_does_not_read_is_not_read_either() {
    let limits = Limits {
        write_queue_bytes: 10_000,
        ..Limits::default()
    };
    let mut server = accepted(Config {
        limits,
        ..Config::default()
    });
    server.window = 0;
    let pings = RawMessage::ping().encode().repeat(10_000);
    let taken = server.feed(&pings);
    assert!(taken < 20_000, "took {taken} bytes");
    assert!(!server.conn.wants_read());

    // As it reads on, all are answered.
    let mut at = taken;
    while at < pings.len() || server.conn.wants_write() {
        server.open_window(5000);
        at += server.feed(&pings[at..]);
    }
    assert_eq!(server.take_messages().len(), 10_000);
}

#[test]
fn a_socket_that_takes_a_byte_at_a_time_gets_the_same_bytes() {
    let mut server = accepted(Config::default());
    server.window = 0;
    server.feed_message(&RawMessage::invoke(1, "call").annotation(b"ABCD", b"value"));
    let request = request(&mut server);
    let annotations = request.annotations;
    let payload = Segments::from_iter([Bytes::from("res"), Bytes::from("ult")]);
    let reply = Reply {
        annotations,
        payload,
        ..Reply::default()
    };
    server.conn.reply(server.now, request.id, reply).unwrap();
    while server.conn.wants_write() {
        server.open_window(1);
    }
    let result = RawMessage::result(1, "result").annotation(b"ABCD", b"value");
    assert_eq!(server.take_messages(), [result]);
}

#[test]
fn nothing_is_read_while_events_wait_to_be_taken() {
    let check = |payload: usize, expected: usize| {
        let mut conn = accepted(Config::default()).conn;
        let message = RawMessage::invoke(1, vec![b'x'; payload]).flags(Flags::ONEWAY);
        let mut stream = message.encode();
        let mut read = 0;
        let mut now = START;
        // As long as a driver is busy with writing, say.
        while conn.wants_read() {
            let room = conn.read_buffer();
            let count = room.len().min(stream.len());
            room[..count].copy_from_slice(&stream[..count]);
            stream.drain(..count);
            if stream.is_empty() {
                stream = message.encode();
                read += 1;
            }
            conn.handle(now, Input::Read(count));
            assert!(read <= expected, "{read} calls of {payload} bytes are read");
        }
        assert_eq!(read, expected, "calls of {payload} bytes");
        assert!(conn.read_buffer().is_empty());
        // That is our delay, not the peer's.
        now = now + 60 * SECOND;
        conn.handle(now, Input::Tick);
        for _ in 0..expected {
            assert!(matches!(conn.poll_event(), Some(ServerEvent::Requested(_))));
        }
        assert_eq!(conn.poll_event(), None);
        assert!(conn.wants_read());
    };
    check(0, 64);
    check(4000, 64);
    check(100_000, 3);
    check(1_000_000, 1);
}

#[test]
fn part_of_a_message_waits_while_events_do() {
    let mut conn = accepted(Config::default()).conn;
    let call = RawMessage::invoke(1, "call").flags(Flags::ONEWAY).encode();
    let bytes = [call.repeat(64), call[..20].to_vec()].concat();
    conn.read_buffer()[..bytes.len()].copy_from_slice(&bytes);
    conn.handle(START, Input::Read(bytes.len()));
    for at in [5, 10] {
        conn.handle(START + at * SECOND, Input::Tick);
        assert!(!conn.wants_read() && conn.cause().is_none());
    }
    while conn.poll_event().is_some() {}
    conn.handle(START + 15 * SECOND, Input::Tick);
    let cause = CloseCause::TimedOut(Timer::Stall);
    assert_eq!(conn.cause(), Some(&cause));
}
