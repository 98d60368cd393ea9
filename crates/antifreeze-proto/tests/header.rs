//! The 40 bytes, one by one.

use antifreeze_proto::{CorrelationId, Flags, Header, Kind, ProtocolError, Seq, SerializerId};
use antifreeze_testkit::RawMessage;

fn sample() -> Header {
    Header {
        kind: Kind::Invoke,
        serializer: SerializerId::MSGPACK,
        flags: Flags::ONEWAY | Flags::CORRELATION,
        seq: Seq(0x0102),
        payload_bytes: 0x0304_0506,
        annotations_bytes: 0x0708_090a,
        correlation: CorrelationId(
            *b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        ),
    }
}

#[test]
fn every_field_has_its_place() {
    let bytes = sample().encode();
    let hex: Vec<String> = bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    insta::assert_snapshot!(hex.join(" "), @"5059524f 01f60404 00440102 03040506 0708090a 10111213 14151617 18191a1b 1c1d1e1f 00004dc5");
    assert_eq!(Header::decode(&bytes), Ok(sample()));
}

#[test]
fn the_reserved_field_may_hold_anything() {
    let mut bytes = sample().encode();
    bytes[36..38].copy_from_slice(&[0xab, 0xcd]);
    assert_eq!(Header::decode(&bytes), Ok(sample()));
}

#[test]
fn unknown_flags_are_kept_and_shown() {
    let flags = Flags(0x8001);
    assert_eq!(
        format!("{flags:?} {:?}", Flags::NONE),
        "EXCEPTION|0x8000 0x0"
    );
}

#[test]
fn a_wrong_header_is_told_as_soon_as_it_shows() {
    #[track_caller]
    fn check(bytes: &[u8], expected: Result<(), ProtocolError>) {
        assert_eq!(Header::check_start(bytes), expected);
    }
    check(b"", Ok(()));
    check(b"PY", Ok(()));
    check(b"G", Err(ProtocolError::NotPyro));
    check(b"PYRP", Err(ProtocolError::NotPyro));
    check(b"PYRO\x01", Ok(()));
    check(b"PYRO\x01\xf6", Ok(()));
    check(
        b"PYRO\x01\xf5",
        Err(ProtocolError::UnsupportedVersion {
            got: 501,
            expected: 502,
        }),
    );
}

#[test]
fn magic_and_kind_are_checked() {
    let mut bytes = sample().encode();
    bytes[39] = 0;
    assert_eq!(
        Header::decode(&bytes),
        Err(ProtocolError::WrongMagic { got: 0x4d00 })
    );
    let mut bytes = sample().encode();
    bytes[6] = 9;
    assert_eq!(
        Header::decode(&bytes),
        Err(ProtocolError::UnknownKind { got: 9 })
    );
}

#[test]
fn sequence_numbers_wrap() {
    assert_eq!(Seq(0xffff).next(), Seq(0));
}

#[test]
fn a_correlation_id_reads_as_a_uuid() {
    let text = sample().correlation.to_string();
    assert_eq!(text, "10111213-1415-1617-1819-1a1b1c1d1e1f");
}

#[test]
fn the_kit_writes_the_same_bytes() {
    let raw = RawMessage {
        seq: 3,
        ..RawMessage::new(Kind::Result, "")
    };
    let header = Header {
        kind: Kind::Result,
        serializer: SerializerId::SERPENT,
        flags: Flags::NONE,
        seq: Seq(3),
        payload_bytes: 0,
        annotations_bytes: 0,
        correlation: CorrelationId::default(),
    };
    assert_eq!(raw.encode(), header.encode());
}
