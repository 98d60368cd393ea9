//! Rows F1 to F4: zlib of payloads, bounded.

mod support;

use antifreeze_proto::{CloseCause, Config, Flags, Kind, Limits, ProtocolError, Segments};
use antifreeze_testkit::RawMessage;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use std::io::Write;
use support::{accepted, connected, payload, reply, request, server};

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compressed(bytes: &[u8]) -> RawMessage {
    RawMessage::invoke(1, zlib(bytes)).flags(Flags::COMPRESSED)
}

fn inflating_to_at_most(inflated_bytes: u64) -> Config {
    Config {
        limits: Limits {
            inflated_bytes,
            ..Limits::default()
        },
        ..Config::default()
    }
}

fn compressing() -> Config {
    Config {
        compress: true,
        ..Config::default()
    }
}

/// What a server with these settings answers a call with.
fn answer(config: Config, payload: impl Into<Segments>) -> RawMessage {
    let mut server = accepted(config);
    server.feed_message(&RawMessage::invoke(1, ""));
    let id = request(&mut server).id;
    server.conn.reply(server.now, id, reply(payload)).unwrap();
    server.drain();
    server.take_messages().remove(0)
}

#[test]
fn more_than_a_hundred_bytes_are_compressed() {
    let at = |length: usize| answer(compressing(), vec![b'x'; length]);
    assert_eq!((at(100).flags, at(100).payload.len()), (0, 100));
    assert_eq!(at(101).flags, Flags::COMPRESSED.0);
    assert!(at(101).payload.len() < 50);
    assert_eq!(answer(Config::default(), vec![b'x'; 5000]).flags, 0);
}

#[test]
fn what_was_compressed_before_is_sent_as_it_is() {
    let plain = vec![b'x'; 5000];
    let mut deflated = Segments::from(plain.clone());
    deflated.deflate();
    let expected = answer(compressing(), plain);
    for config in [compressing(), Config::default()] {
        let answer = answer(config, deflated.clone());
        assert_eq!(answer.flags, Flags::COMPRESSED.0);
        assert_eq!(answer.payload, expected.payload);
    }
    let mut small = Segments::from(vec![b'x'; 100]);
    small.deflate();
    assert!(!small.is_deflated());
}

#[test]
#[should_panic(expected = "nothing is added to what is deflated")]
fn nothing_is_added_to_what_is_compressed() {
    let mut payload = Segments::from(vec![b'x'; 5000]);
    payload.deflate();
    payload.push("more");
}

#[test]
fn the_compressed_bit_of_the_caller_is_ignored() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, ""));
    let id = request(&mut server).id;
    let mut reply = reply(vec![b'x'; 5000]);
    reply.flags = Flags::COMPRESSED | Flags::EXCEPTION;
    server.conn.reply(server.now, id, reply).unwrap();
    server.drain();
    assert_eq!(server.take_messages()[0].flags, Flags::EXCEPTION.0);
}

#[test]
fn what_is_compressed_is_inflated_whatever_our_settings() {
    let mut server = accepted(Config::default());
    server.feed_message(&compressed(&[b'y'; 3000]));
    assert_eq!(payload(&mut server), vec![b'y'; 3000]);
}

#[test]
fn a_large_call_is_inflated_by_whoever_has_the_time() {
    let check = |size: usize, later: bool| {
        let mut server = accepted(Config::default());
        server.feed_message(&compressed(&vec![b'y'; size]));
        let mut request = request(&mut server);
        assert_eq!(request.payload.is_compressed(), later, "{size}");
        assert_eq!(request.payload.as_is().len() < size, later, "{size}");
        // Once is enough.
        for _ in 0..2 {
            assert_eq!(request.payload.inflate().unwrap().len(), size);
            assert!(!request.payload.is_compressed());
        }
    };
    check(65_536, false);
    check(65_537, true);
    check(1 << 20, true);
}

#[test]
fn what_nobody_reads_is_not_inflated() {
    let mut server = accepted(inflating_to_at_most(10));
    let ping = RawMessage::new(Kind::Ping, zlib(&[0; 1000])).flags(Flags::COMPRESSED);
    server.feed_message(&ping);
    server.drain();
    assert_eq!(server.take_messages()[0].payload, b"pong");
}

#[test]
fn the_bit_is_cleared_when_it_is_inflated() {
    let mut client = connected(Config::default());
    client
        .conn
        .call(client.now, antifreeze_testkit::Pair::plain(b"call"))
        .unwrap();
    client.drain();
    let flags = Flags::COMPRESSED | Flags::EXCEPTION;
    client.feed_message(&RawMessage::result(1, zlib(b"text")).flags(flags));
    let events = client.take_events();
    let [antifreeze_proto::ClientEvent::Returned { response, .. }] = &events[..] else {
        panic!("expected an answer, got {events:?}");
    };
    assert_eq!(
        (&response.payload[..], response.flags),
        (&b"text"[..], Flags::EXCEPTION)
    );
}

#[track_caller]
fn check_closed(config: Config, invoke: &RawMessage, expected: ProtocolError) {
    let mut server = accepted(config);
    server.feed(&invoke.encode());
    assert_eq!(server.closed(), Some(CloseCause::Protocol(expected)));
    assert_eq!(server.take_output(), b"", "no reply");
}

/// The same, told to whoever inflates it if that may take long.
#[track_caller]
fn check_bomb(config: Config, invoke: &RawMessage, expected: ProtocolError) {
    if config.limits.inflated_bytes <= 65_536 {
        return check_closed(config, invoke, expected);
    }
    let mut server = accepted(config);
    server.feed(&invoke.encode());
    assert_eq!(request(&mut server).payload.inflate(), Err(expected));
}

#[test]
fn corrupt_and_cut_streams_close() {
    let whole = compressed(&[b'z'; 300]);
    for cut in 0..whole.payload.len() {
        let mut invoke = whole.clone();
        invoke.payload.truncate(cut);
        let bad = ProtocolError::BadCompression { size: cut as u64 };
        check_closed(Config::default(), &invoke, bad);
    }
    let mut invoke = whole;
    invoke.payload[0] ^= 0xff;
    let bad = ProtocolError::BadCompression {
        size: invoke.payload.len() as u64,
    };
    check_closed(Config::default(), &invoke, bad);
}

#[test]
fn bytes_after_the_stream_are_ignored_as_python_does() {
    let mut invoke = compressed(b"text");
    invoke.payload.extend_from_slice(b"more");
    let mut server = accepted(Config::default());
    server.feed_message(&invoke);
    assert_eq!(payload(&mut server), "text");
}

#[test]
fn the_limit_is_exact() {
    for limit in [0, 1, 63, 64, 65, 1000, 70_000] {
        let exact = compressed(&vec![b'a'; limit as usize]);
        let mut server = accepted(inflating_to_at_most(limit));
        server.feed_message(&exact);
        assert_eq!(payload(&mut server).len() as u64, limit);

        let more = compressed(&vec![b'a'; limit as usize + 1]);
        let error = ProtocolError::InflatesTooLarge { limit };
        check_bomb(inflating_to_at_most(limit), &more, error);
    }
}

#[test]
fn a_bomb_is_refused() {
    // A thousandfold: 16 MiB of zeros in 16 KiB.
    let bomb = compressed(&vec![0; 16 << 20]);
    assert!(bomb.payload.len() < 20_000);
    let error = ProtocolError::InflatesTooLarge { limit: 1 << 20 };
    check_bomb(inflating_to_at_most(1 << 20), &bomb, error);
}

proptest! {
    #[test]
    fn what_we_compress_we_inflate(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
        let mut whole = vec![b'.'; 101];
        let mut segments = Segments::from(whole.clone());
        for piece in pieces {
            whole.extend_from_slice(&piece);
            segments.push(Bytes::from(piece));
        }
        let sent = answer(compressing(), segments);
        let mut server = accepted(Config::default());
        server.feed_message(&RawMessage::invoke(1, sent.payload).flags(Flags(sent.flags)));
        prop_assert_eq!(payload(&mut server), whole);
    }
}

#[test]
fn what_a_stranger_sends_inflates_to_less() {
    let limits = Limits {
        connect_bytes: 1000,
        ..Limits::default()
    };
    let mut server = server(Config {
        limits,
        ..Config::default()
    });
    let connect = RawMessage::new(Kind::Connect, zlib(&[0; 1001])).flags(Flags::COMPRESSED);
    server.feed(&connect.encode());
    let error = ProtocolError::InflatesTooLarge { limit: 1000 };
    assert_eq!(server.closed(), Some(CloseCause::Protocol(error)));
}
