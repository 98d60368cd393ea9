//! Marshal as CPython writes it, and as nobody should.

use antifreeze_serial::{
    BigInt, Bytes, Error, ErrorKind, Limits, Serializer, Value, decode, encode, num_bigint, scan,
    scan_call,
};
use serde::de::IgnoredAny;

struct Row {
    name: String,
    literal: String,
    versions: Vec<Vec<u8>>,
}

/// What CPython made of values; `golden/marshal.py` tells how.
fn rows() -> Vec<Row> {
    let table = Value::parse_literal(include_str!("golden/marshal-3.11.txt")).unwrap();
    let row = |row: &Value| {
        let [name, literal, versions] = row.as_slice().unwrap() else {
            panic!("{row}")
        };
        let versions = versions.as_slice().unwrap().iter();
        Row {
            name: name.as_str().unwrap().to_owned(),
            literal: literal.as_str().unwrap().to_owned(),
            versions: versions
                .map(|bytes| bytes.as_bytes().unwrap().to_vec())
                .collect(),
        }
    };
    table.as_slice().unwrap().iter().map(row).collect()
}

fn read(document: &[u8]) -> Result<Value, Error> {
    decode(Serializer::Marshal, document, &Limits::default())
}

fn plain(value: &Value) -> Vec<u8> {
    encode(Serializer::Marshal, value).unwrap()
}

#[test]
fn all_versions_of_cpython_are_read() {
    for row in rows() {
        for bytes in &row.versions {
            assert_eq!(
                read(bytes).unwrap().to_string(),
                row.literal,
                "{}",
                row.name
            );
            let raw = scan(Serializer::Marshal, bytes, &Limits::default()).unwrap();
            let value: Value = raw.decode().unwrap();
            assert_eq!(value.to_string(), row.literal, "{}", row.name);
        }
    }
}

#[test]
fn what_cpython_wrote_comes_back_without_references() {
    for row in rows() {
        let value = read(row.versions.last().unwrap()).unwrap();
        assert_eq!(
            read(&plain(&value)).unwrap().to_string(),
            row.literal,
            "{}",
            row.name
        );
    }
}

/// The arguments of a call are taken apart before they are decoded, and refer to one another.
#[test]
fn references_lead_out_of_arguments() {
    let row = rows().into_iter().find(|row| row.name == "call").unwrap();
    for bytes in &row.versions {
        let head = scan_call(Serializer::Marshal, bytes, &Limits::default()).unwrap();
        assert_eq!((&*head.object, &*head.method), ("obj", "meth"));
        let mut items = head.args.items().unwrap();
        assert_eq!(items.next::<i32>().unwrap(), Some(1));
        assert_eq!(items.next_str().unwrap().as_deref(), Some("x"));
        assert_eq!(items.next::<String>().unwrap().as_deref(), Some("same"));
        let last = items.next_raw().unwrap().unwrap();
        assert_eq!(last.decode::<&str>().unwrap(), "same");
        assert!(items.next_raw().unwrap().is_none());
        let mut keywords = head.kwargs.entries().unwrap();
        let (key, value) = keywords.next().unwrap().unwrap();
        assert_eq!((&*key, value.decode::<&str>().unwrap()), ("k", "same"));
        let (key, value) = keywords.next().unwrap().unwrap();
        let mut pair = value.items().unwrap();
        assert_eq!(&*key, "l");
        assert_eq!(pair.next_str().unwrap().as_deref(), Some("same"));
        assert_eq!(pair.next::<Value>().unwrap(), Some(Value::Int(1_000_000)));
        assert!(keywords.next().unwrap().is_none());
    }
}

#[test]
fn a_part_holds_on_to_what_it_refers_to() {
    let row = rows().into_iter().find(|row| row.name == "call").unwrap();
    for bytes in row.versions {
        let document = Bytes::from(bytes);
        let head = scan_call(Serializer::Marshal, &document, &Limits::default()).unwrap();
        let part = head.kwargs.part_of(&document);
        drop(head);
        drop(document);
        let kwargs: Value = part.raw().decode().unwrap();
        assert_eq!(kwargs.to_string(), "{'k': 'same', 'l': ('same', 1000000)}");
    }
}

#[track_caller]
fn check(document: &[u8], literal: &str) {
    assert_eq!(read(document).unwrap().to_string(), literal);
    scan(Serializer::Marshal, document, &Limits::default()).unwrap();
}

#[test]
fn what_no_cpython_of_today_writes_is_read_as_well() {
    check(b"I\x01\0\0\0\0\0\0\x80", "-9223372036854775807");
    check(b"l\0\0\0\0", "0");
    check(b"l\xff\xff\xff\xff\x05\0", "-5");
    check(b"f\x031.5", "1.5");
    check(b"f\x03nan", "nan");
    check(b"x\x011\x04-inf", "(1-infj)");
    // Text that should be ASCII and is not.
    check(b"z\x02a\xe9", "'aé'");
    check(b"A\x02\0\0\0\xc3\xa9", "'Ã©'");
    // A dict whose end has the bit of values to remember, and a reference with it.
    check(b"{\xe9\x01\0\0\0N\xb0", "{1: None}");
    check(b"\xa9\x02\xe9\x01\0\0\0\xf2\x01\0\0\0", "(1, 1)");
    // None, bools and the ellipsis have no numbers, whatever the bit says.
    check(
        b"(\x06\0\0\0\xce\xd4\xc6\xae\xfa\x01ar\0\0\0\0",
        "(None, True, False, ..., 'a', 'a')",
    );
}

#[track_caller]
fn refused(document: &[u8], kind: ErrorKind, message: &str) {
    let error = read(document).unwrap_err();
    assert_eq!((error.kind(), error.message()), (kind, message));
    let ignored = decode::<IgnoredAny>(Serializer::Marshal, document, &Limits::default());
    assert_eq!(ignored.unwrap_err().kind(), kind);
    let scanned = scan(Serializer::Marshal, document, &Limits::default());
    assert_eq!(scanned.unwrap_err().kind(), kind);
}

#[test]
fn what_is_not_data_is_refused() {
    use ErrorKind::{Syntax, Unsupported};
    refused(b"c\0\0\0\0", Unsupported, "expected data, got code");
    refused(b"\xe3\0\0\0\0", Unsupported, "expected data, got code");
    refused(
        b"[\x01\0\0\0S",
        Unsupported,
        "expected data, got the class StopIteration",
    );
    refused(b":NNN", Unsupported, "expected data, got a slice");
    refused(b"?", Syntax, "unknown type code");
    refused(b"0", Syntax, "unknown type code");
    refused(b"(\x01\0\0\x000", Syntax, "unknown type code");
}

#[test]
fn what_is_broken_is_refused() {
    use ErrorKind::Syntax;
    let early = "the value ends too early";
    for document in [
        &b""[..],
        b"i\x01\0\0",
        b"[\x01\0\0\0",
        b"[\xff\xff\xff\x7f",
        b"[\xff\xff\xff\xff",
        b"(\0\0\0\x80N",
        b"<\x02\0\0\0N",
        b")\x02N",
        b"{",
        b"{N",
        b"{NN",
        b"s\xff\xff\xff\xffa",
        b"u\x02\0\0\0a",
        b"z\x02a",
        b"g\0\0\0\0\0\0\0",
        b"y\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"l\x05\0\0\0\x01\0",
        b"l\0\0\0\x80\x01\0",
        b"f\x041.5",
        b"r\0\0\0",
    ] {
        refused(document, Syntax, early);
    }
    refused(b"NN", Syntax, "data behind the end of the value");
    refused(b"u\x01\0\0\0\xff", Syntax, "text that is not UTF-8");
    refused(b"f\x031_0", Syntax, "expected the digits of a float");
    refused(b"f\0", Syntax, "expected the digits of a float");
    refused(b"l\x01\0\0\0\0\x80", Syntax, "int of wrong digits");
    refused(b"l\x02\0\0\0\x01\0\0\0", Syntax, "int of wrong digits");
    refused(b"r\0\0\0\0", Syntax, "a reference to nothing");
    refused(b"\xa9\x01r\x01\0\0\0", Syntax, "a reference to nothing");
    refused(
        b"\xa9\x01r\xff\xff\xff\xff",
        Syntax,
        "a reference to nothing",
    );
    // Later values are not there yet.
    refused(
        b")\x02r\0\0\0\0\xe9\x01\0\0\0",
        Syntax,
        "a reference to nothing",
    );
}

#[test]
fn what_contains_itself_is_refused() {
    let itself = "a value that contains itself";
    for document in [
        &b"\xdb\x01\0\0\0r\0\0\0\0"[..],
        b"\xa9\x01\xdb\x01\0\0\0r\0\0\0\0",
        b"\xfb\xfa\x01ar\0\0\0\x000",
        b"\xfbr\0\0\0\0N0",
        b"\xdb\x02\0\0\0\xdb\x01\0\0\0\xe9\x01\0\0\0r\0\0\0\0",
    ] {
        refused(document, ErrorKind::Limit, itself);
    }
}

/// `levels` tuples of two, each of which is twice the one before.
fn doubling(levels: u32) -> Vec<u8> {
    let mut document = Vec::new();
    for _ in 0..levels {
        document.extend_from_slice(b"\xa9\x02");
    }
    document.extend_from_slice(b"NN");
    for level in (1..levels).rev() {
        document.push(b'r');
        document.extend_from_slice(&level.to_le_bytes());
    }
    document
}

#[test]
fn references_do_not_multiply_without_end() {
    read(&doubling(10)).unwrap();
    let bomb = doubling(31);
    assert!(bomb.len() <= 217, "{}", bomb.len());
    refused(&bomb, ErrorKind::Limit, "references that repeat too much");
    // So it is with text, of which each reference would be a copy.
    let mut document = b"[\x01\x08\0\0\xf5\0\0\x01\0".to_vec();
    document.resize(document.len() + 65_536, b'x');
    for _ in 0..2048 {
        document.extend_from_slice(b"r\0\0\0\0");
    }
    refused(
        &document,
        ErrorKind::Limit,
        "references that repeat too much",
    );
    let mut limits = Limits::default();
    limits.repeated = 1 << 30;
    let texts: Vec<&str> = decode(Serializer::Marshal, &document, &limits).unwrap();
    assert_eq!(texts.len(), 2049);
    // What is only referred to often, as the names in many small dicts, is as it should be.
    let mut document = b"[\xa0\x86\x01\0{\xda\x04nameN0".to_vec();
    for _ in 1..100_000 {
        document.extend_from_slice(b"{r\0\0\0\0N0");
    }
    let dicts: Vec<Value> = decode(Serializer::Marshal, &document, &Limits::default()).unwrap();
    assert_eq!(dicts.len(), 100_000);
}

/// Only some texts that references mean are kept, each where others may want to be.
#[test]
fn each_reference_finds_its_own_text() {
    let texts: Vec<String> = (0..600).map(|number| format!("text {number}")).collect();
    let mut document = b"[\x08\x07\0\0".to_vec();
    for text in &texts {
        document.extend_from_slice(&[b'z' | 0x80, text.len() as u8]);
        document.extend_from_slice(text.as_bytes());
    }
    // Each comes twice in a row, and 600 is no multiple of how many are kept.
    let numbers = || (0..600u32).flat_map(|number| [number, number * 7 % 600]);
    for number in numbers() {
        document.push(b'r');
        document.extend_from_slice(&number.to_le_bytes());
    }
    let expected = texts
        .iter()
        .chain(numbers().map(|number| &texts[number as usize]));
    let expected: Vec<&str> = expected.map(String::as_str).collect();
    let typed: Vec<&str> = decode(Serializer::Marshal, &document, &Limits::default()).unwrap();
    assert_eq!(typed, expected);
    let value = read(&document).unwrap();
    assert_eq!(value, Value::from(expected.clone()));
    let raw = scan(Serializer::Marshal, &document, &Limits::default()).unwrap();
    assert_eq!(raw.decode::<Vec<String>>().unwrap(), expected);
}

#[test]
fn ints_of_any_size_go_both_ways() {
    for bits in (1..200u32).chain([1 << 14, 1 << 17]) {
        let power = num_bigint::BigInt::from(1) << bits;
        for int in [power.clone() - 1, power.clone(), -power.clone(), 1 - power] {
            let value = Value::from(int.clone());
            let bytes = plain(&value);
            assert_eq!(read(&bytes).unwrap(), value);
            let back: BigInt = decode(Serializer::Marshal, &bytes, &Limits::default()).unwrap();
            assert_eq!(back.0, int);
        }
    }
}

#[test]
fn keys_and_elements_of_sets_are_hashable() {
    let both = |literal: &str| encode(Serializer::Marshal, &Value::parse_literal(literal).unwrap());
    for literal in [
        "{(1, (2,)): [1]}",
        "{1: {2: {3: {4}}}}",
        "{(1, 2), 3}",
        "[{1: 2}, {1}]",
    ] {
        both(literal).unwrap();
    }
    let list = || Value::List(vec![Value::Int(1)]);
    for value in [
        Value::Set(vec![list()]),
        Value::Set(vec![Value::Tuple(vec![list()])]),
        Value::FrozenSet(vec![Value::Set(vec![])]),
        Value::Dict([(list(), 1)].into_iter().collect()),
        Value::Dict([(Value::Set(vec![]), 1)].into_iter().collect()),
    ] {
        let error = encode(Serializer::Marshal, &value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Type, "{value}");
    }
    let frozen = Value::FrozenSet(vec![Value::FrozenSet(vec![]), Value::Int(1)]);
    assert_eq!(read(&plain(&frozen)).unwrap(), frozen);
}

#[test]
fn sequences_of_unknown_length_are_counted() {
    struct Unknown(usize);
    impl serde::Serialize for Unknown {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(None)?;
            for i in 0..self.0 {
                seq.serialize_element(&i)?;
            }
            seq.end()
        }
    }
    for len in [0, 1, 255, 256, 70_000] {
        let bytes = encode(Serializer::Marshal, &(Unknown(len), "behind")).unwrap();
        let (items, behind): (Vec<usize>, &str) =
            decode(Serializer::Marshal, &bytes, &Limits::default()).unwrap();
        assert_eq!((items.len(), behind), (len, "behind"));
    }
}
