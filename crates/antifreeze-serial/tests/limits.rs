//! What a hostile document may cost.

use antifreeze_serial::{
    ErrorKind, Limits, Serializer, Value, decode, encode, num_bigint, scan, scan_call,
};

fn limits(depth: u32, nodes: u32, digits: u32) -> Limits {
    let mut limits = Limits::default();
    (limits.depth, limits.nodes, limits.digits) = (depth, nodes, digits);
    limits
}

/// Decoding and scanning agree on whether a document is within the limits.
#[track_caller]
fn check(serializer: Serializer, document: &[u8], limits: &Limits, fits: bool) {
    let decoded = decode::<Value>(serializer, document, limits).map(drop);
    let ignored = decode::<serde::de::IgnoredAny>(serializer, document, limits).map(drop);
    let scanned = scan(serializer, document, limits).map(drop);
    for result in [decoded, ignored, scanned] {
        match (result, fits) {
            (Ok(()), true) => {}
            (Err(error), false) => assert_eq!(error.kind(), ErrorKind::Limit, "{error}"),
            (result, _) => panic!("{serializer}: {result:?}"),
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let default = Limits::default();
    for (open, close) in [("[", "]"), ("(", ",)"), ("(", ")"), ("{1:", "}")] {
        for (depth, fits) in [
            (1, true),
            (199, true),
            (200, true),
            (201, false),
            (5000, false),
        ] {
            let text = [&open.repeat(depth), "1", &close.repeat(depth)].concat();
            check(Serializer::Serpent, text.as_bytes(), &default, fits);
        }
    }
    for (depth, fits) in [(200, true), (201, false), (100_000, false)] {
        let text = ["[".repeat(depth), "]".repeat(depth)].concat();
        check(Serializer::Json, text.as_bytes(), &default, fits);
        let mut bytes = vec![0x91; depth];
        bytes.push(1);
        check(Serializer::Msgpack, &bytes, &default, fits);
        let mut bytes = b")\x01".repeat(depth);
        bytes.push(b'N');
        check(Serializer::Marshal, &bytes, &default, fits);
        let bytes = [b"{N".repeat(depth), b"N".to_vec(), b"0".repeat(depth)].concat();
        check(Serializer::Marshal, &bytes, &default, fits);
    }
}

#[test]
fn values_are_counted() {
    check(Serializer::Serpent, b"[1,2,3]", &limits(200, 4, 10), true);
    check(
        Serializer::Serpent,
        b"[1,2,3,4]",
        &limits(200, 4, 10),
        false,
    );
    check(Serializer::Json, b"{\"a\": 1}", &limits(200, 3, 10), true);
    check(
        Serializer::Json,
        b"{\"a\": [1]}",
        &limits(200, 3, 10),
        false,
    );
    check(
        Serializer::Msgpack,
        b"\x93\x01\x02\x03",
        &limits(200, 4, 10),
        true,
    );
    check(
        Serializer::Msgpack,
        b"\x94\x01\x02\x03\x04",
        &limits(200, 4, 10),
        false,
    );
    check(Serializer::Marshal, b")\x03NNN", &limits(200, 4, 10), true);
    check(
        Serializer::Marshal,
        b")\x04NNNN",
        &limits(200, 4, 10),
        false,
    );
    // Also those that are only referred to.
    let twice = b")\x02\xa9\x02NNr\0\0\0\0";
    check(Serializer::Marshal, twice, &limits(200, 7, 10), true);
    check(Serializer::Marshal, twice, &limits(200, 6, 10), false);
}

#[test]
fn digits_are_counted() {
    let default = Limits::default();
    for (digits, fits) in [(4300, true), (4301, false), (100_000, false)] {
        let int = "7".repeat(digits);
        for text in [int.clone(), format!("-{int}")] {
            check(Serializer::Serpent, text.as_bytes(), &default, fits);
            check(Serializer::Json, text.as_bytes(), &default, fits);
            let mut ext = vec![0xc9];
            ext.extend_from_slice(&(text.len() as u32).to_be_bytes());
            ext.push(0x31);
            ext.extend_from_slice(text.as_bytes());
            check(Serializer::Msgpack, &ext, &default, fits);
        }
    }
    let huge = num_bigint::BigInt::from(10).pow(4300);
    let error = encode(Serializer::Json, &Value::from(huge.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    encode(Serializer::Json, &Value::from(huge - 1)).unwrap();
}

/// As long as a number may be, it is a float like any other.
#[test]
fn exponents_cost_no_more_than_their_digits() {
    let nines = "9".repeat(100_000);
    for (text, expected) in [
        (format!("1e{nines}"), f64::INFINITY),
        (format!("-1e+{nines}"), f64::NEG_INFINITY),
        (format!("1e-{nines}"), 0.0),
        (format!("0.{}1", "0".repeat(100_000)), 0.0),
        (format!("{nines}.0"), f64::INFINITY),
        (format!("0e{nines}"), 0.0),
    ] {
        for format in [Serializer::Serpent, Serializer::Json] {
            let float: f64 = decode(format, text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(float, expected, "{format}");
        }
    }
    for text in ["e5", "1e", "1e+", "-e5", ".e5"] {
        for format in [Serializer::Serpent, Serializer::Json] {
            let error = decode::<f64>(format, text.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Syntax, "{format}: {text}");
        }
    }
}

#[test]
fn lengths_are_not_believed() {
    for document in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xffa",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x31",
        b"\x91",
        b"\x81\x01",
        b"",
        b"\xc1",
        b"\xa1\xff",
    ] {
        let error = decode::<Value>(Serializer::Msgpack, document, &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax, "{document:?}: {error}");
    }
}

#[test]
fn unknown_extensions_are_named() {
    for (document, message) in [
        (&b"\xd4\x05\x00"[..], "invalid ext code for msgpack: 5"),
        (b"\xd4\x80\x00", "invalid ext code for msgpack: -128"),
    ] {
        let error = decode::<Value>(Serializer::Msgpack, document, &Limits::default()).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Unsupported, message)
        );
    }
    for document in [
        &b"\xd4\x30\x00"[..],
        b"\xd4\x32\x00",
        b"\xd4\x33\x00",
        b"\xd4\xff\x00",
        b"\xd4\x31x",
        b"\xd4\x31-",
    ] {
        let error = decode::<Value>(Serializer::Msgpack, document, &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax, "{document:?}");
    }
}

/// The innermost document that we write must fit into a call that Python will read.
#[test]
fn nothing_is_written_that_python_finds_too_deep() {
    let nested = |depth: usize| {
        let mut value = Value::Int(1);
        for _ in 0..depth {
            value = Value::List(vec![value]);
        }
        value
    };
    for format in Serializer::ALL {
        encode(format, &nested(198)).unwrap();
        assert_eq!(
            encode(format, &nested(199)).unwrap_err().kind(),
            ErrorKind::Limit
        );
    }
}

/// Parentheses whose meaning shows only behind them must not be read over and over again.
#[test]
fn lookahead_is_bounded() {
    let inner = "1,".repeat(100_000);
    let text = [&"(".repeat(150), "[", &inner, "]", &")".repeat(150)].concat();
    let error =
        decode::<Value>(Serializer::Serpent, text.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let text = ["(".repeat(20), "[1]".into(), ")".repeat(20)].concat();
    decode::<Value>(Serializer::Serpent, text.as_bytes(), &Limits::default()).unwrap();
    let text = format!("('o','m',({},),{{}})", "(([1,2]))");
    let head = scan_call(Serializer::Serpent, text.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(head.args.decode::<(Vec<i32>,)>().unwrap().0, [1, 2]);
}
