//! Rust types on the wire, in every format.

use std::collections::{BTreeMap, HashMap, HashSet};

use antifreeze_serial::{
    BigInt, Bytes, Complex, Error, ErrorKind, FrozenSet, Limits, Serializer, Set, Str, Value,
    decode, encode, from_value, to_value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const FORMATS: [Serializer; 4] = Serializer::ALL;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(i32, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Rectangle(i32, i32),
    Named { name: String, sides: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Text(String),
    Many(Vec<Self>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Start { at: u32 },
    Stop,
}

fn literal(text: &str) -> Value {
    Value::parse_literal(text).unwrap()
}

/// A Rust value is this Python literal, and comes back from all formats and from a tree.
#[track_caller]
fn both<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
    let tree = to_value(&value).unwrap();
    assert_eq!(tree.to_string(), text);
    assert_eq!(from_value::<T>(tree).unwrap(), value);
    for format in FORMATS {
        match encode(format, &value) {
            Ok(bytes) => {
                let back: T = decode(format, &bytes, &Limits::default())
                    .unwrap_or_else(|error| panic!("{format}: {error}"));
                assert_eq!(back, value, "{format}");
                // The same bytes as by way of the tree.
                let by_tree = encode(format, &to_value(&value).unwrap()).unwrap();
                assert_eq!(bytes, by_tree, "{format}");
            }
            Err(error) => assert!(
                error.message().contains("cannot be carried"),
                "{format}: {error}"
            ),
        }
    }
}

/// A Python literal decodes as a Rust value.
#[track_caller]
fn reads<T: DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str, value: T) {
    assert_eq!(from_value::<T>(literal(text)).unwrap(), value);
    for format in FORMATS {
        if let Ok(bytes) = encode(format, &literal(text)) {
            assert_eq!(
                decode::<T>(format, &bytes, &Limits::default()).unwrap(),
                value,
                "{format}"
            );
        }
    }
}

/// A Python literal does not decode as a Rust value, in any format.
#[track_caller]
fn refuses<T: DeserializeOwned + std::fmt::Debug>(text: &str, kind: ErrorKind, message: &str) {
    let error = from_value::<T>(literal(text)).unwrap_err();
    assert_eq!((error.kind(), error.message()), (kind, message));
    assert_eq!(error.offset(), None);
    for format in FORMATS {
        if let Ok(bytes) = encode(format, &literal(text)) {
            let error = decode::<T>(format, &bytes, &Limits::default()).unwrap_err();
            assert_eq!(error.kind(), kind, "{format}: {error}");
        }
    }
}

#[test]
fn scalars_go_both_ways() {
    both((), "None");
    both(Unit, "None");
    both(true, "True");
    both(-7i8, "-7");
    both(200u8, "200");
    both(i64::MIN, "-9223372036854775808");
    both(u64::MAX, "18446744073709551615");
    both(i128::MIN, "-170141183460469231731687303715884105728");
    both(u128::MAX, "340282366920938463463374607431768211455");
    both(BigInt::from(5), "5");
    both("9".repeat(60).parse::<BigInt>().unwrap(), &"9".repeat(60));
    both(1.5f32, "1.5");
    both(-0.1f64, "-0.1");
    both(f64::INFINITY, "inf");
    both('ß', "'ß'");
    both("it's\n".to_owned(), "\"it's\\n\"");
    both(Str::from("text"), "'text'");
    both(
        Str::from_bytes(b"a\xed\xa0\x80".to_vec()).unwrap(),
        "'a\\ud800'",
    );
    both(Complex::new(1.0, -2.0), "(1-2j)");
    both(Bytes::from_static(b"\x00\xff"), "b'\\x00\\xff'");
    both(Some(1), "1");
    both(None::<i32>, "None");
}

#[test]
fn containers_go_both_ways() {
    both((1, "a".to_owned()), "(1, 'a')");
    both([1, 2, 3], "(1, 2, 3)");
    both((1,), "(1,)");
    both(vec![vec![1], vec![]], "[[1], []]");
    both(Set(vec![1, 2]), "{1, 2}");
    both(Set(vec!["a".to_owned()]), "{'a'}");
    both(FrozenSet(vec![1]), "frozenset({1})");
    both(HashSet::from([1]), "[1]");
    both(
        BTreeMap::from([("a".to_owned(), Some(1)), ("b".to_owned(), None)]),
        "{'a': 1, 'b': None}",
    );
    both(
        BTreeMap::from([(-1, true), (2, false)]),
        "{-1: True, 2: False}",
    );
    both(
        HashMap::from([(u64::MAX, ())]),
        "{18446744073709551615: None}",
    );
    both(BTreeMap::from([(true, 1)]), "{True: 1}");
    both(vec![(Bytes::from_static(b"x"), 1)], "[(b'x', 1)]");
}

#[test]
fn tuples_are_keys_where_python_has_them() {
    let map = BTreeMap::from([((1, 2), 3)]);
    for format in [
        Serializer::Serpent,
        Serializer::Marshal,
        Serializer::Msgpack,
    ] {
        let bytes = encode(format, &map).unwrap();
        assert_eq!(
            decode::<BTreeMap<(i32, i32), i32>>(format, &bytes, &Limits::default()).unwrap(),
            map
        );
    }
    assert_eq!(
        encode(Serializer::Json, &map).unwrap_err().kind(),
        ErrorKind::Type
    );
}

#[test]
fn user_types_go_both_ways() {
    both(Point { x: 1, y: 2.0 }, "{'x': 1, 'y': 2.0}");
    both(Pair(1, "a".into()), "(1, 'a')");
    both(Meters(2.5), "2.5");
    both(Shape::Nothing, "'Nothing'");
    both(Shape::Circle(1.5), "{'Circle': 1.5}");
    both(Shape::Rectangle(1, 2), "{'Rectangle': (1, 2)}");
    both(
        Shape::Named {
            name: "a".into(),
            sides: 3,
        },
        "{'Named': {'name': 'a', 'sides': 3}}",
    );
    both(
        vec![Shape::Nothing, Shape::Circle(0.5)],
        "['Nothing', {'Circle': 0.5}]",
    );
    both(
        Flat {
            id: 1,
            rest: BTreeMap::from([("a".into(), 2)]),
        },
        "{'id': 1, 'a': 2}",
    );
    both(
        Either::Many(vec![Either::Number(1), Either::Text("a".into())]),
        "[1, 'a']",
    );
    both(
        vec![Tagged::Start { at: 1 }, Tagged::Stop],
        "[{'kind': 'Start', 'at': 1}, {'kind': 'Stop'}]",
    );
    both(
        BTreeMap::from([("k".to_owned(), Value::List(vec![1.into()]))]),
        "{'k': [1]}",
    );
}

#[test]
fn what_python_means_is_understood() {
    reads("[1, 'a']", (1, "a".to_owned()));
    reads("(1, 2)", vec![1, 2]);
    reads("{1}", vec![1]);
    reads("()", Set::<i32>(vec![]));
    reads("[1, 1]", HashSet::from([1]));
    reads("{1}", HashSet::from([1]));
    reads("3", 3.0f64);
    reads("-3", -3.0f32);
    reads("18446744073709551616", 18446744073709551616.0f64);
    assert!(
        decode::<f64>(
            Serializer::Serpent,
            b"{'__class__':'float','value':'nan'}",
            &Limits::default()
        )
        .unwrap()
        .is_nan()
    );
    reads("2", Complex::new(2.0, 0.0));
    reads("{'y': 1, 'unknown': [{}], 'x': 2}", Point { x: 2, y: 1.0 });
    reads(
        "{'data': 'AAE=', 'encoding': 'base64'}",
        Bytes::from_static(&[0, 1]),
    );
    reads("{'encoding': 'base64', 'data': ''}", Bytes::new());
    reads("{'Nothing': None}", Shape::Nothing);
    reads("{'Rectangle': [1, 2]}", Shape::Rectangle(1, 2));
}

#[test]
fn another_shape_is_a_type_error() {
    use ErrorKind::Type;
    refuses::<i64>("True", Type, "expected int, got bool");
    refuses::<i64>("1.0", Type, "expected int, got float");
    refuses::<i64>("'1'", Type, "expected int, got str");
    refuses::<bool>("1", Type, "expected a boolean, got int");
    refuses::<f64>("True", Type, "expected float, got bool");
    refuses::<f64>("'1.5'", Type, "expected float, got str");
    refuses::<f64>("{}", Type, "expected float, got dict");
    refuses::<String>("b'a'", Type, "expected str, got bytes");
    refuses::<String>(
        "'\\ud800'",
        Type,
        "expected text, got str with lone surrogates",
    );
    refuses::<String>("None", Type, "expected str, got None");
    refuses::<Bytes>("'abc'", Type, "expected bytes, got str");
    refuses::<Bytes>("[1]", Type, "expected bytes, got list");
    refuses::<Bytes>("{'data': 'AAE='}", Type, "expected bytes, got dict");
    refuses::<Vec<u8>>("b'a'", Type, "expected a sequence, got bytes");
    refuses::<Vec<i32>>("{}", Type, "expected a sequence, got dict");
    refuses::<Vec<i32>>("'ab'", Type, "expected a sequence, got str");
    refuses::<(i32, i32)>("(1,)", Type, "expected a tuple of size 2, got 1 elements");
    refuses::<(i32, i32)>("(1, 2, 3)", Type, "expected fewer elements, got more");
    refuses::<(i32,)>("1", Type, "expected tuple, got int");
    refuses::<Point>("(1, 2)", Type, "expected dict, got tuple");
    refuses::<Point>("{'x': 1}", Type, "the key `y` is missing");
    refuses::<Shape>(
        "'Other'",
        Type,
        "expected one of `Nothing`, `Circle`, `Rectangle`, `Named`, got another str",
    );
    refuses::<Shape>(
        "{'Circle': 1.0, 'Nothing': None}",
        Type,
        "expected fewer entries, got more",
    );
    refuses::<Shape>("1", Type, "expected str or dict of one entry, got int");
    refuses::<()>("0", Type, "expected None, got int");
    refuses::<BigInt>("1.5", Type, "expected int, got float");
    refuses::<char>("'ab'", Type, "expected a character, got another str");
    refuses::<Complex>("'a'", Type, "expected complex, got str");
    refuses::<i64>("1j", Type, "expected int, got complex");
    refuses::<Either>(
        "1.5",
        ErrorKind::Custom,
        "data did not match any variant of untagged enum Either",
    );
}

#[test]
fn a_number_too_large_is_a_range_error() {
    use ErrorKind::Range;
    refuses::<u8>("256", Range, "expected u8, got an int out of its range");
    refuses::<u8>("-1", Range, "expected u8, got an int out of its range");
    refuses::<i8>("-129", Range, "expected i8, got an int out of its range");
    refuses::<i64>(
        "9223372036854775808",
        Range,
        "expected i64, got an int out of its range",
    );
    refuses::<u64>("-1", Range, "expected u64, got an int out of its range");
    refuses::<u64>(
        "18446744073709551616",
        Range,
        "expected u64, got an int out of its range",
    );
    refuses::<i64>(
        "123456789012345678901234567890",
        Range,
        "expected i64, got an int out of its range",
    );
    refuses::<u128>("-1", Range, "expected u128, got an int out of its range");
    refuses::<f64>(
        &"9".repeat(400),
        Range,
        "expected float, got an int out of its range",
    );
    refuses::<std::num::NonZeroU8>("0", Range, "expected a nonzero u8, got another int");
}

#[test]
fn errors_tell_the_place_and_never_the_data() {
    let error =
        decode::<Vec<u8>>(Serializer::Json, b"[1, \"secret\"]", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "expected int, got str at byte 4");
    assert_eq!(error.python_class(), "builtins.TypeError");
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[expect(dead_code, reason = "only its name matters")]
        a: u8,
    }
    for (document, secret) in [
        ("{'a': 1, 'secret': 2}", "secret"),
        ("{'a': 'secret'}", "secret"),
        ("{'a': 98765}", "98765"),
        ("{'a': 987650000000000000000000}", "98765"),
    ] {
        let error: Error =
            decode::<Strict>(Serializer::Serpent, document.as_bytes(), &Limits::default())
                .unwrap_err();
        assert!(!error.to_string().contains(secret), "{error}");
        assert!(!format!("{error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn strings_are_borrowed_from_the_document() {
    let document = b"('plain', 'also plain')";
    let (a, b): (&str, &str) = decode(Serializer::Serpent, document, &Limits::default()).unwrap();
    assert_eq!((a, b), ("plain", "also plain"));
    let bytes = encode(Serializer::Msgpack, &Bytes::from_static(b"xyz")).unwrap();
    assert_eq!(
        decode::<&[u8]>(Serializer::Msgpack, &bytes, &Limits::default()).unwrap(),
        b"xyz"
    );
}

#[test]
fn values_go_through_foreign_formats() {
    let value = literal("{'a': [1, (2, 3.5)], 'b': None, 'c': 'x'}");
    let text = serde_json::to_string(&value).unwrap();
    assert_eq!(text, r#"{"a":[1,[2,3.5]],"b":null,"c":"x"}"#);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        literal("{'a': [1, [2, 3.5]], 'b': None, 'c': 'x'}")
    );
    assert_eq!(
        serde_json::to_string(&literal("[{1}, 10000000000000000000000, 1+2j]")).unwrap(),
        r#"[[1],"10000000000000000000000",[1.0,2.0]]"#
    );
}
