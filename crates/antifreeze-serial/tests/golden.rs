//! Our bytes against those of Pyro5 itself; `golden/capture.py` tells how they were taken.

use antifreeze_serial::{Limits, Serializer, Value, decode, encode, encode_call};

/// Where we write something else on purpose.
const BETTER: [(&str, &str); 3] = [
    // Pyro writes bytes as a dict even where a dict cannot stand.
    ("bytes key", "serpent"),
    // Python's json and msgpack have no word for them; ours are lists.
    ("frozenset", "json"),
    ("frozenset", "msgpack"),
];

struct Row {
    name: String,
    literal: String,
    serializer: Serializer,
    bytes: Vec<u8>,
    back: String,
}

fn rows() -> Vec<Row> {
    let table = Value::parse_literal(include_str!("golden/pyro5-5.17.txt")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rows = Vec::new();
    for row in table.as_slice().unwrap() {
        let [name, literal, captures] = row.as_slice().unwrap() else {
            panic!("{row}")
        };
        for (serializer, capture) in captures.as_dict().unwrap() {
            let [bytes, back] = capture.as_slice().unwrap() else {
                panic!("{row}")
            };
            rows.push(Row {
                name: text(name),
                literal: text(literal),
                serializer: text(serializer).parse().unwrap(),
                bytes: bytes.as_bytes().unwrap().to_vec(),
                back: text(back),
            });
        }
    }
    assert!(rows.len() > 200, "{}", rows.len());
    rows
}

/// Ours are the bytes of Pyro, but for references of marshal, which say how CPython's memory is.
#[track_caller]
fn same(name: &str, serializer: Serializer, ours: &[u8], theirs: &[u8]) {
    if serializer != Serializer::Marshal {
        let [ours, theirs] = [ours, theirs].map(|bytes| bytes.escape_ascii().to_string());
        assert_eq!(ours, theirs, "{name}");
        return;
    }
    let read = |bytes| decode::<Value>(serializer, bytes, &Limits::default()).unwrap();
    assert_eq!(read(ours).to_string(), read(theirs).to_string(), "{name}");
}

#[test]
fn literals_encode_to_the_bytes_of_pyro() {
    for Row {
        name,
        literal,
        serializer,
        bytes,
        ..
    } in rows()
    {
        if literal.is_empty() || BETTER.contains(&(&*name, serializer.name())) {
            continue;
        }
        let value = Value::parse_literal(&literal).unwrap();
        let ours = encode(serializer, &value).unwrap();
        same(&name, serializer, &ours, &bytes);
    }
}

#[test]
fn the_bytes_of_pyro_decode_to_what_pyro_decodes() {
    for Row {
        name,
        serializer,
        bytes,
        back,
        ..
    } in rows()
    {
        if back.is_empty() {
            continue;
        }
        let value: Value = decode(serializer, &bytes, &Limits::default()).unwrap();
        assert_eq!(value.to_string(), back, "{name} {serializer}");
    }
}

#[test]
fn what_pyro_encoded_encodes_the_same_again() {
    for Row {
        name,
        serializer,
        bytes,
        ..
    } in rows()
    {
        // Serpent's dict for bytes stays a dict, with other blanks.
        let stays = !name.contains("bytes");
        let Ok(value) = decode::<Value>(serializer, &bytes, &Limits::default()) else {
            assert_eq!((&*name, serializer), ("bytes key", Serializer::Serpent));
            continue;
        };
        if stays {
            let ours = encode(serializer, &value).unwrap();
            same(&name, serializer, &ours, &bytes);
        }
    }
}

#[test]
fn calls_have_the_bytes_of_pyro() {
    for row in rows().into_iter().filter(|row| row.name == "call") {
        let mut out = Vec::new();
        let kwargs = std::collections::BTreeMap::from([("k", 2)]);
        encode_call(row.serializer, "obj", "meth", &(1, "x"), &kwargs, &mut out).unwrap();
        // By marshal Pyro sends the arguments as a list, which its servers unpack like a tuple.
        if row.serializer == Serializer::Marshal {
            out = encode(
                row.serializer,
                &("obj", "meth", vec![Value::from(1), "x".into()], kwargs),
            )
            .unwrap();
        }
        same("call", row.serializer, &out, &row.bytes);
    }
}
