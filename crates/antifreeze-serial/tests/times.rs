//! Times and dates: Python's extension types of msgpack, and text elsewhere.

use antifreeze_serial::{
    Date, ErrorKind, Limits, Serializer, Timestamp, Value, decode, encode, from_value, to_value,
};

/// A document of msgpack is this in Python, and is written as the same bytes if `again`.
#[track_caller]
fn check(document: &[u8], expected: &str, again: bool) {
    let value: Value = decode(Serializer::Msgpack, document, &Limits::default()).unwrap();
    assert_eq!(value.to_string(), expected);
    let bytes = encode(Serializer::Msgpack, &value).unwrap();
    assert_eq!(bytes == document, again, "{bytes:?}");
    assert_eq!(to_value(&value).unwrap(), value);
    assert_eq!(from_value::<Value>(value.clone()).unwrap(), value);
}

fn datetime(seconds: f64) -> Vec<u8> {
    [&b"\xd7\x32"[..], &seconds.to_le_bytes()].concat()
}

fn day(ordinal: i64) -> Vec<u8> {
    [&b"\xd7\x33"[..], &ordinal.to_le_bytes()].concat()
}

#[test]
fn datetimes_and_dates_of_msgpack_are_values() {
    let utc = "tzinfo=datetime.timezone.utc)";
    let shown = |seconds: f64, parts: &str| {
        check(
            &datetime(seconds),
            &format!("datetime.datetime({parts}, {utc}"),
            true,
        );
    };
    shown(0.0, "1970, 1, 1, 0, 0");
    shown(1.5, "1970, 1, 1, 0, 0, 1, 500000");
    shown(-0.25, "1969, 12, 31, 23, 59, 59, 750000");
    shown(1_577_934_245.000_006, "2020, 1, 2, 3, 4, 5, 6");
    shown(1_577_934_240.0, "2020, 1, 2, 3, 4");
    shown(253_402_300_799.0, "9999, 12, 31, 23, 59, 59");
    shown(-62_135_596_800.0, "1, 1, 1, 0, 0");
    check(
        &datetime(1e300),
        &format!("<datetime {} s since 1970>", 1e300),
        true,
    );
    check(&day(1), "datetime.date(1, 1, 1)", true);
    check(&day(737_484), "datetime.date(2020, 2, 29)", true);
    check(&day(3_652_059), "datetime.date(9999, 12, 31)", true);
    // As a Python on Windows writes it.
    let short = [&b"\xd6\x33"[..], &737_485i32.to_le_bytes()].concat();
    check(&short, "datetime.date(2020, 3, 1)", false);
    // Timestamps of MessagePack itself become those of Pyro.
    let two = format!("datetime.datetime(1970, 1, 1, 0, 0, 2, {utc}");
    check(b"\xd6\xff\x00\x00\x00\x02", &two, false);
    let two_and_a_half = format!("datetime.datetime(1970, 1, 1, 0, 0, 2, 500000, {utc}");
    check(
        b"\xd7\xff\x77\x35\x94\x00\x00\x00\x00\x02",
        &two_and_a_half,
        false,
    );
    for ordinal in [0, -1, 3_652_060, i64::MAX] {
        let error = decode::<Value>(Serializer::Msgpack, &day(ordinal), &Limits::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Syntax);
    }
}

/// It goes through all formats, and is this text where there is no other way.
#[track_caller]
fn both<T>(value: T, text: &str)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Copy + std::fmt::Debug,
{
    for format in Serializer::ALL {
        let bytes = encode(format, &value).unwrap();
        assert_eq!(
            decode::<T>(format, &bytes, &Limits::default()).unwrap(),
            value
        );
        if format != Serializer::Msgpack {
            let plain: String = decode(format, &bytes, &Limits::default()).unwrap();
            assert_eq!(plain, text, "{format}");
        }
        // Also as a key.
        let map = std::collections::HashMap::from([(text, 1)]);
        let keyed = encode(format, &map).unwrap();
        decode::<Value>(format, &keyed, &Limits::default()).unwrap();
    }
    assert_eq!(from_value::<T>(to_value(&value).unwrap()).unwrap(), value);
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
}

#[test]
fn times_and_dates_go_both_ways() {
    both(Timestamp(0.0), "1970-01-01T00:00:00+00:00");
    both(Timestamp(-0.25), "1969-12-31T23:59:59.750000+00:00");
    both(Timestamp(1_577_934_245.0), "2020-01-02T03:04:05+00:00");
    for (year, month, day) in [
        (1, 1, 1),
        (1999, 12, 31),
        (2000, 2, 29),
        (2020, 3, 1),
        (9999, 12, 31),
    ] {
        let date = Date::new(year, month, day).unwrap();
        both(date, &format!("{year:04}-{month:02}-{day:02}"));
    }
}

#[test]
fn every_day_has_one_ordinal() {
    let mut last = Date::from_ordinal(1).unwrap();
    for ordinal in 2..=3_652_059 {
        let date = Date::from_ordinal(ordinal).unwrap();
        let (year, month, day) = date.parts();
        assert!(date.parts() > last.parts(), "{date}");
        assert_eq!(Date::new(year, month, day), Some(date));
        last = date;
    }
    for (year, month, day) in [
        (2021, 2, 29),
        (1900, 2, 29),
        (0, 1, 1),
        (10_000, 1, 1),
        (1, 0, 1),
        (1, 13, 1),
        (1, 1, 0),
        (1, 4, 31),
    ] {
        assert_eq!(Date::new(year, month, day), None, "{year}-{month}-{day}");
    }
}

#[test]
fn times_are_read_with_any_offset() {
    #[track_caller]
    fn check(text: &str, expected: Option<f64>) {
        let found = text.parse::<Timestamp>().ok().map(|time| time.0);
        assert_eq!(found, expected, "{text}");
    }
    check("1970-01-01T01:00:00+01:00", Some(0.0));
    check("1969-12-31 18:30-05:30", Some(0.0));
    check("1970-01-01T00:00:01.5Z", Some(1.5));
    check("1970-01-01T00:00:00.25+00:00:30", Some(-29.75));
    for text in [
        "1970-01-01T00:00:00",
        "1970-01-01",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+1",
        "1970-01-01T00:00:00+01:00x",
        "1970-02-30T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "+970-01-01T00:00:00Z",
        "",
        "\u{1f600}",
    ] {
        check(text, None);
    }
}

#[test]
fn what_is_no_time_or_date_is_refused() {
    let refused = |literal: &str, kind: ErrorKind| {
        let value = Value::parse_literal(literal).unwrap();
        assert_eq!(
            from_value::<Timestamp>(value.clone()).unwrap_err().kind(),
            kind,
            "{literal}"
        );
        assert_eq!(
            from_value::<Date>(value).unwrap_err().kind(),
            kind,
            "{literal}"
        );
    };
    refused("'yesterday'", ErrorKind::Refused);
    refused("None", ErrorKind::Type);
    refused("[1]", ErrorKind::Type);
    assert_eq!(
        from_value::<Timestamp>(Value::Int(5)).unwrap(),
        Timestamp(5.0)
    );
    assert_eq!(
        from_value::<Date>(Value::Int(5)).unwrap_err().kind(),
        ErrorKind::Type
    );
    for seconds in [f64::NAN, f64::INFINITY, 1e15, 253_402_300_800.0] {
        let error = encode(Serializer::Serpent, &Timestamp(seconds)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Range, "{seconds}");
    }
}
