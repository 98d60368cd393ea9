//! Bytes to messages: in any pieces, bounded by what has come.

mod support;

use antifreeze_proto::{CloseCause, Config, Flags, Input, Limits, ProtocolError, ServerEvent};
use antifreeze_testkit::RawMessage;
use proptest::prelude::*;
use support::{accept, accepted, payload, payloads, requests, server};

/// A session of one CONNECT and several oneways of many sizes, and what it should give.
fn session() -> (Vec<u8>, Vec<String>) {
    let mut bytes = RawMessage::connect("obj").encode();
    let mut expected = Vec::new();
    for (index, length) in [0, 1, 39, 40, 41, 100, 4000, 4096, 9000, 3, 70_000, 5]
        .into_iter()
        .enumerate()
    {
        let payload = format!("{index}:").repeat(length / 2 + 1);
        let message = RawMessage::invoke(index as u16, &payload).flags(Flags::ONEWAY);
        bytes.extend(message.annotation(b"TEST", b"value").encode());
        expected.push(payload);
    }
    (bytes, expected)
}

fn read_in_pieces(sizes: &[usize]) {
    let (bytes, expected) = session();
    let mut server = server(Config::default());
    let mut got = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + sizes.next().unwrap());
        let fed = server.feed(&bytes[at..end]);
        assert!(fed > 0, "the connection reads on");
        at += fed;
        for event in server.take_events() {
            match event {
                ServerEvent::Connecting(_) => server.conn.accept(server.now, accept()).unwrap(),
                ServerEvent::Requested(request) => got.push(*request),
                ServerEvent::Closed(cause) => panic!("closed: {cause}"),
            }
        }
        server.drain();
    }
    // The last ones may have come with the acceptance.
    got.extend(requests(&mut server));
    assert_eq!(payloads(&got), expected);
    assert!(!server.conn.has_buffered_input());
}

#[test]
fn one_byte_at_a_time() {
    read_in_pieces(&[1]);
}

#[test]
fn all_at_once() {
    read_in_pieces(&[usize::MAX / 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_pieces_give_the_same_messages(sizes in proptest::collection::vec(1_usize..5000, 1..20)) {
        read_in_pieces(&sizes);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>, piece in 1_usize..100) {
        let mut server = accepted(Config { quiet: true, ..Config::default() });
        server.feed_by(&bytes, piece);
        server.input(Input::Eof);
        prop_assert!(server.closed().is_some());
    }

    #[test]
    fn any_flaw_in_a_message_does_no_harm(at in 0_usize..200, value: u8, piece in 1_usize..100) {
        let message = RawMessage::invoke(1, vec![7; 100]).annotation(b"ABCD", &[1; 40]);
        let mut bytes = message.flags(Flags::ONEWAY).encode();
        let at = at % bytes.len();
        bytes[at] = value;
        let mut server = accepted(Config { quiet: true, ..Config::default() });
        server.feed_by(&bytes, piece);
        server.input(Input::Eof);
        let unanswered = !requests(&mut server).iter().all(|request| request.oneway);
        prop_assert!(server.closed().is_some() || unanswered);
    }
}

fn limited_to(message_bytes: u64) -> Config {
    Config {
        limits: Limits {
            message_bytes,
            ..Limits::default()
        },
        ..Config::default()
    }
}

#[test]
fn a_message_at_the_limit_is_read_and_a_larger_one_is_not() {
    let mut server = accepted(limited_to(120));
    server.feed_message(&RawMessage::invoke(1, [0; 100]).annotation(b"ABCD", &[0; 12]));
    assert_eq!(payload(&mut server).len(), 100);

    let mut server = accepted(limited_to(120));
    let mut invoke = RawMessage::invoke(1, "");
    invoke.claimed_payload = Some(100);
    invoke.claimed_annotations = Some(21);
    let header = invoke.encode();
    server.feed(&header[..39]);
    assert_eq!(server.closed(), None);
    server.feed(&header[39..]);
    let error = ProtocolError::TooLarge {
        size: 121,
        limit: 120,
    };
    assert_eq!(server.closed(), Some(CloseCause::Protocol(error)));
    assert_eq!(server.take_output(), b"", "no reply");
}

#[test]
fn an_announced_length_takes_little_memory_before_its_bytes_come() {
    let mut server = accepted(Config::default());
    let mut invoke = RawMessage::invoke(1, "");
    invoke.claimed_payload = Some(1 << 30);
    server.feed(&invoke.encode());
    assert_eq!(server.closed(), None, "a message at the limit is welcome");
    let mut came = 40;
    let chunk = [1; 65_536];
    for _ in 0..64 {
        let room = server.conn.read_buffer().len();
        assert!(
            room <= (8 * came).max(262_144),
            "lent {room} bytes when {came} had come"
        );
        came += server.feed(&chunk[..room.min(chunk.len())]);
    }
}

#[test]
fn a_large_payload_owns_its_memory_alone() {
    let mut server = accepted(Config::default());
    let large = RawMessage::invoke(1, vec![3; 1 << 20])
        .flags(Flags::ONEWAY)
        .encode();
    let small = RawMessage::invoke(2, "small").flags(Flags::ONEWAY).encode();
    let both = [large, small].concat();
    assert_eq!(server.feed(&both), both.len());
    let requests = requests(&mut server);
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert!(request.payload.as_is().is_unique() || request.seq.0 == 2);
    }
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut server = accepted(Config::default());
    server.feed_message(&RawMessage::invoke(1, "call"));
    let held = payload(&mut server);
    server.conn.release_buffers();
    // The next one on this thread has it, but for the payload.
    let mut other = accepted(Config::default());
    let lent = other.conn.read_buffer().as_ptr_range();
    let held_from = held.as_ptr();
    assert!(
        held_from < lent.start && lent.end <= held_from.wrapping_add(4096),
        "{lent:?} was lent, not what follows {held_from:?}"
    );
    other.feed_message(&RawMessage::invoke(1, "another call"));
    assert_eq!(payload(&mut other), "another call");
    assert_eq!(held, "call", "a payload outlives the buffer");
}
