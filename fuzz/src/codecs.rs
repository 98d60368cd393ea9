//! The codecs. The first byte of the input says which of them, the rest is the document.

use std::collections::BTreeMap;

use antifreeze_serial::{
    BigInt, Bytes, Complex, Date, FrozenSet, Limits, Raw, Serializer, Set, Str, Timestamp, Value,
    encode, encode_call, from_value, scan, scan_call, to_value,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

fn split(input: &[u8]) -> Option<(Serializer, &[u8])> {
    let (&first, document) = input.split_first()?;
    let serializer = Serializer::ALL[usize::from(first) % Serializer::ALL.len()];
    Some((serializer, document))
}

fn document<'de, T: Deserialize<'de>>(
    serializer: Serializer,
    document: &'de [u8],
) -> Result<T, antifreeze_serial::Error> {
    antifreeze_serial::decode(serializer, document, &Limits::default())
}

/// Whatever comes, decoding ends, and all ways to read a document agree on whether it is one.
pub(crate) fn decode(input: &[u8]) {
    let Some((serializer, bytes)) = split(input) else {
        return;
    };
    let value = document::<Value>(serializer, bytes);
    let ignored = document::<IgnoredAny>(serializer, bytes);
    let scanned = scan(serializer, bytes, &Limits::default());
    if let Ok(value) = &value {
        let _ = value.to_string();
        // By serpent, parentheses at the top may be missing, or mean nothing: only decoding cares.
        if serializer != Serializer::Serpent {
            assert!(ignored.is_ok(), "decoded, but not ignored");
            assert!(scanned.is_ok(), "decoded, but not scanned");
        }
    }
    if let Ok(raw) = &scanned {
        assert!(ignored.is_ok(), "scanned, but not ignored");
        assert_eq!(
            show(raw.decode::<Value>()),
            show(value),
            "a scanned value is another one"
        );
        take_apart(raw, 0);
        let whole = Bytes::copy_from_slice(bytes);
        let held = scan(serializer, &whole, &Limits::default());
        let part = held.expect("scanned before").part_of(&whole);
        assert_eq!(
            show(part.raw().decode::<Value>()),
            show(raw.decode::<Value>())
        );
    }
    if let Ok(head) = scan_call(serializer, bytes, &Limits::default()) {
        take_apart(&head.args, 0);
        take_apart(&head.kwargs, 0);
    }
}

fn take_apart(raw: &Raw<'_>, depth: u32) {
    let _ = (raw.is_none(), raw.is_empty(), raw.wrapped_exception());
    // Deeper, and wider, it is the same again.
    if depth == 3 {
        return;
    }
    if let Ok(mut items) = raw.items() {
        for _ in 0..8 {
            let Ok(Some(item)) = items.next_raw() else {
                break;
            };
            take_apart(&item, depth + 1);
        }
    }
    if let Ok(mut entries) = raw.entries() {
        for _ in 0..8 {
            let Ok(Some((_, value))) = entries.next() else {
                break;
            };
            take_apart(&value, depth + 1);
        }
    }
}

/// What was decoded can be encoded, and decodes to the same.
pub(crate) fn again(input: &[u8]) {
    let Some((serializer, bytes)) = split(input) else {
        return;
    };
    let Ok(first) = document::<Value>(serializer, bytes) else {
        return;
    };
    // By msgpack there may be objects within dicts of unknown classes; a tree is read from the top.
    if serializer != Serializer::Msgpack {
        assert_eq!(
            to_value(&first).expect("it is a value").to_string(),
            first.to_string()
        );
    }
    // Not all that a format carries was written by us: some of it we refuse to write.
    let Ok(encoded) = encode(serializer, &first) else {
        return;
    };
    let second: Value = document(serializer, &encoded).expect("we wrote it");
    // From here on nothing changes any more: sets are lists now where there are no sets.
    let encoded = encode(serializer, &second).expect("we read it");
    let third: Value = document(serializer, &encoded).expect("we wrote it");
    assert_eq!(third.to_string(), second.to_string());
    let mut call = Vec::new();
    if encode_call(serializer, "o", "m", &(&second,), &(), &mut call).is_ok() {
        let head = scan_call(serializer, &call, &Limits::default()).expect("we wrote it");
        let (third,): (Value,) = head.args.decode().expect("we wrote it");
        assert_eq!(third.to_string(), second.to_string());
    }
}

/// One field for each kind of value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Typed {
    int: i64,
    small: u8,
    float: f64,
    text: String,
    any_text: Option<Str>,
    letter: Option<char>,
    bytes: Option<Bytes>,
    list: Vec<Option<i32>>,
    pair: Option<(u8, String)>,
    set: Option<Set<i64>>,
    frozen: Option<FrozenSet<String>>,
    map: BTreeMap<String, Value>,
    big: Option<BigInt>,
    complex: Option<Complex>,
    time: Option<Timestamp>,
    date: Option<Date>,
    shape: Option<Shape>,
    inner: Option<Box<Self>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i32, i32),
    Named { name: String },
}

/// A type decodes as it does from the value that the document is.
pub(crate) fn typed(input: &[u8]) {
    let Some((serializer, bytes)) = split(input) else {
        return;
    };
    // Of a value, objects are made; of a type, only what its fields say.
    let Ok(value) = document::<Value>(serializer, bytes) else {
        return;
    };
    let by_value = from_value::<Typed>(value);
    assert_eq!(
        show(document::<Typed>(serializer, bytes)),
        show(by_value),
        "typed by {serializer}"
    );
}

/// What it is, or that it is none: errors may differ.
fn show<T: std::fmt::Debug>(result: Result<T, antifreeze_serial::Error>) -> Option<String> {
    result.ok().map(|value| format!("{value:?}"))
}

/// What Pyro5 and CPython wrote, by which the codecs are tested as well.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |serializer: Serializer, document: &[u8]| {
        let number = Serializer::ALL
            .iter()
            .position(|known| *known == serializer);
        let number = number.unwrap_or_default() as u8;
        // Large ones only take time.
        if document.len() <= 1024 {
            seeds.push([&[number], document].concat());
        }
    };
    let pyro = include_str!("../../crates/antifreeze-serial/tests/golden/pyro5-5.17.txt");
    for row in rows(pyro) {
        let captures = row[2].as_dict().cloned().unwrap_or_default();
        for (serializer, capture) in &captures {
            let serializer = serializer.as_str().and_then(|name| name.parse().ok());
            let document = capture.as_slice().and_then(|capture| capture[0].as_bytes());
            if let (Some(serializer), Some(document)) = (serializer, document) {
                add(serializer, document);
            }
        }
    }
    // What Pyro never writes, and Python reads all the same.
    add(
        Serializer::Serpent,
        br"[(1)+2j, ((2))-.5J, '\N{EN DASH}\x41' u'b', {1.5e3: 0x1f}, (('a'))]",
    );
    let marshal = include_str!("../../crates/antifreeze-serial/tests/golden/marshal-3.11.txt");
    for row in rows(marshal) {
        for document in row[2].as_slice().unwrap_or_default() {
            add(
                Serializer::Marshal,
                document.as_bytes().map_or(&[], |bytes| bytes),
            );
        }
    }
    seeds
}

fn rows(table: &str) -> Vec<Vec<Value>> {
    let table = Value::parse_literal(table).unwrap_or_default();
    let rows = table.as_slice().unwrap_or_default().iter();
    rows.filter_map(|row| row.as_slice().map(<[Value]>::to_vec))
        .filter(|row| row.len() == 3)
        .collect()
}

/// The fields of [`Typed`], each alone and all together.
pub(crate) fn typed_seeds() -> Vec<Vec<u8>> {
    let full = Typed {
        int: -70_000,
        small: 200,
        float: 1.5,
        text: "it's".into(),
        any_text: Some("text".into()),
        letter: Some('ß'),
        bytes: Some(Bytes::from_static(b"\x00\xff")),
        list: vec![Some(1), None],
        pair: Some((1, "a".into())),
        set: Some(Set(vec![1, 2])),
        frozen: Some(FrozenSet(vec!["a".into()])),
        map: BTreeMap::from([("k".into(), Value::List(vec![Value::None]))]),
        big: "9".repeat(30).parse().ok(),
        complex: Some(Complex::new(1.0, -2.0)),
        time: Some(Timestamp(1.5)),
        date: Date::new(2020, 2, 29),
        shape: Some(Shape::Named { name: "a".into() }),
        inner: Some(Box::default()),
    };
    let mut values = vec![full.clone()];
    for shape in [Shape::Point, Shape::Circle(0.5), Shape::Line(1, 2)] {
        let shape = Some(shape);
        values.push(Typed {
            shape,
            ..Typed::default()
        });
    }
    let mut seeds = Vec::new();
    for (number, serializer) in Serializer::ALL.into_iter().enumerate() {
        let mut add = |encoded: Result<Vec<u8>, antifreeze_serial::Error>| {
            if let Ok(document) = encoded {
                seeds.push([&[number as u8], &document[..]].concat());
            }
        };
        for value in &values {
            add(encode(serializer, value));
        }
        let Ok(Value::Dict(fields)) = to_value(&full) else {
            continue;
        };
        for (name, field) in fields {
            add(encode(
                serializer,
                &Value::Dict([(name, field)].into_iter().collect()),
            ));
        }
    }
    seeds
}
