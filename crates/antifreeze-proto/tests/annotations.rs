//! Rows W4 to W6 and W8: four-letter chunks before the payload.

mod support;

use antifreeze_proto::{
    AnnotationId, Annotations, CloseCause, Config, Limits, ProtocolError, Reply, UsageError,
    annotations::MAX_ANNOTATIONS,
};
use antifreeze_testkit::RawMessage;
use bytes::Bytes;
use support::{accepted, request};

const ABCD: AnnotationId = AnnotationId::known(b"ABCD");
const WXYZ: AnnotationId = AnnotationId::known(b"WXYZ");

#[test]
fn an_id_has_four_ascii_characters() {
    assert_eq!("ABCD".parse(), Ok(ABCD));
    for wrong in ["", "ABC", "ABCDE", "ÄB1"] {
        let got = wrong.into();
        assert_eq!(
            wrong.parse::<AnnotationId>(),
            Err(UsageError::AnnotationId { got })
        );
    }
    assert_eq!(AnnotationId::new([b'A', 0xff, b'C', b'D']), None);
}

#[test]
fn a_map_keeps_its_order_and_one_value_of_each_id() {
    let mut map = Annotations::new();
    assert_eq!(map.insert(WXYZ, &b"1"[..]), None);
    assert_eq!(map.insert(ABCD, &b"2"[..]), None);
    assert_eq!(map.insert(WXYZ, &b"3"[..]), Some(Bytes::from_static(b"1")));
    let ids: Vec<_> = map.iter().map(|(id, _)| id).collect();
    assert_eq!((ids, map.len()), (vec![WXYZ, ABCD], 2));
    assert_eq!(map.remove(WXYZ).as_deref(), Some(&b"3"[..]));
    assert_eq!(map.get(WXYZ), None);
    assert_eq!(map.wire_bytes(), 9);
    assert_eq!(
        format!("{map:?}"),
        r#"{"ABCD": "1 bytes"}"#,
        "values may be secret"
    );
}

#[test]
fn they_arrive_and_go_out_before_the_payload() {
    let mut server = accepted(Config::default());
    let invoke = RawMessage::invoke(1, "call")
        .annotation(b"ABCD", b"one")
        .annotation(b"WXYZ", b"");
    server.feed_message(&invoke);
    let request = request(&mut server);
    assert_eq!(
        request.annotations.get(ABCD).map(|value| &value[..]),
        Some(&b"one"[..])
    );
    assert_eq!(
        request.annotations.get(WXYZ).map(|value| &value[..]),
        Some(&b""[..])
    );
    assert_eq!(request.payload.as_is(), "call");

    let annotations = request.annotations;
    let reply = Reply {
        annotations,
        payload: b"result"[..].into(),
        ..Reply::default()
    };
    server.conn.reply(server.now, request.id, reply).unwrap();
    server.drain();
    let result = RawMessage::result(1, "result")
        .annotation(b"ABCD", b"one")
        .annotation(b"WXYZ", b"");
    assert_eq!(server.take_messages(), [result]);
}

#[test]
fn of_the_same_id_the_last_one_stays() {
    let mut server = accepted(Config::default());
    let invoke = RawMessage::invoke(1, "")
        .annotation(b"ABCD", b"old")
        .annotation(b"ABCD", b"new");
    server.feed_message(&invoke);
    let annotations = request(&mut server).annotations;
    assert_eq!(annotations.len(), 1);
    assert_eq!(
        annotations.get(ABCD).map(|value| &value[..]),
        Some(&b"new"[..])
    );
}

#[track_caller]
fn check_closed(config: Config, invoke: &RawMessage, expected: ProtocolError) {
    let mut server = accepted(config);
    server.feed(&invoke.encode());
    assert_eq!(server.closed(), Some(CloseCause::Protocol(expected)));
    assert_eq!(server.take_output(), b"", "no reply");
}

#[test]
fn a_chunk_that_runs_past_the_end_closes() {
    let mut invoke = RawMessage::invoke(1, "payload").annotation(b"ABCD", b"value");
    invoke.annotations[7] = 6;
    let cut = ProtocolError::AnnotationCut { need: 6, left: 5 };
    check_closed(Config::default(), &invoke, cut);

    invoke.annotations = b"ABC".to_vec();
    let cut = ProtocolError::AnnotationCut { need: 8, left: 3 };
    check_closed(Config::default(), &invoke, cut);

    invoke.annotations = b"ABCD\xff\xff\xff\xff".to_vec();
    let cut = ProtocolError::AnnotationCut {
        need: 0xffff_ffff,
        left: 0,
    };
    check_closed(Config::default(), &invoke, cut);
}

#[test]
fn an_id_that_is_not_ascii_closes() {
    let invoke = RawMessage::invoke(1, "").annotation(b"AB\xc3\x84", b"");
    check_closed(
        Config::default(),
        &invoke,
        ProtocolError::AnnotationNotAscii,
    );
}

#[test]
fn more_than_the_limit_closes_after_the_header() {
    let limits = Limits {
        annotations_bytes: 16,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut invoke = RawMessage::invoke(1, "");
    invoke.claimed_annotations = Some(17);
    check_closed(
        config,
        &invoke,
        ProtocolError::AnnotationsTooLarge {
            size: 17,
            limit: 16,
        },
    );
}

#[test]
fn more_annotations_than_a_message_may_have_close() {
    let limit = MAX_ANNOTATIONS;
    let mut server = accepted(Config::default());
    let chunk = b"ABCD\0\0\0\x01";
    let mut invoke = RawMessage::invoke(1, "");
    for n in 0..limit {
        invoke.annotations.extend(chunk);
        invoke.annotations.push(n as u8);
    }
    server.feed_message(&invoke);
    let annotations = request(&mut server).annotations;
    let last = [(limit - 1) as u8];
    assert_eq!(
        annotations.get(ABCD).map(|value| &value[..]),
        Some(&last[..])
    );

    for (more, got) in [(1, limit + 1), (10_000, limit + 10_000)] {
        let mut invoke = invoke.clone();
        invoke.annotations.extend(b"WXYZ\0\0\0\0".repeat(more));
        let error = ProtocolError::TooManyAnnotations { got, limit };
        check_closed(Config::default(), &invoke, error);
    }
}
