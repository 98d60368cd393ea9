//! Any value comes back, and no bytes bring a decoder down.

use antifreeze_serial::{
    Bytes, Complex, Dict, Limits, Serializer, Str, Value, decode, encode, encode_call, from_value,
    num_bigint, scan, scan_call, to_value,
};
use proptest::prelude::*;

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i128>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("nan is not equal to itself", |f| !f.is_nan())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ]
}

/// What only some formats carry.
fn python_scalars() -> impl Strategy<Value = Value> {
    let text = prop::collection::vec(
        prop_oneof![any::<char>().prop_map(|c| c as u32), 0xd800..0xe000u32],
        0..4,
    );
    prop_oneof![
        4 => scalars(),
        1 => (0.5..9.5, -1e9..1e9).prop_map(|(re, im)| Value::Complex(Complex { re, im })),
        1 => text.prop_map(|codes| {
            let literal: String = codes.iter().map(|code| format!("\\U{code:08x}")).collect();
            Value::parse_literal(&format!("'{literal}'")).unwrap()
        }),
        1 => Just(Value::Ellipsis),
    ]
}

fn dict(keys: BoxedStrategy<Value>, values: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((keys, values), 0..4).prop_map(|entries| {
        let mut dict = Dict::new();
        for (key, value) in entries {
            dict.insert(key, value);
        }
        Value::Dict(dict)
    })
}

/// What json carries without loss.
fn json_values() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(4, 32, 4, |inner| {
        let keys = any::<String>().prop_map(Value::from).boxed();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            dict(keys, inner.boxed()),
        ]
    })
}

/// What msgpack carries without loss.
fn msgpack_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => scalars(),
        1 => any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(Bytes::from(bytes))),
        1 => any::<(f64, f64)>()
            .prop_filter("nan", |(re, im)| !re.is_nan() && !im.is_nan())
            .prop_map(|(re, im)| Value::Complex(Complex { re, im })),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            dict(scalars().boxed(), inner.boxed()),
        ]
    })
}

/// What serpent carries without loss: no empty sets, no bytes.
fn serpent_values() -> impl Strategy<Value = Value> {
    python_scalars().prop_recursive(4, 32, 4, |inner| {
        let keys = prop_oneof![
            python_scalars(),
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())),
            prop::collection::vec(python_scalars(), 0..3).prop_map(Value::Tuple),
        ]
        .boxed();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            prop::collection::vec(keys.clone(), 1..4).prop_map(Value::Set),
            dict(keys, inner.boxed()),
        ]
    })
}

/// What marshal carries without loss, which is everything.
fn marshal_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => python_scalars(),
        1 => any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())),
        1 => any::<(bool, Vec<u8>)>().prop_map(|(negative, bytes)| {
            let magnitude = num_bigint::BigInt::from_bytes_le(num_bigint::Sign::Plus, &bytes);
            Value::from(if negative { -magnitude } else { magnitude })
        }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let keys = prop_oneof![
            python_scalars(),
            prop::collection::vec(python_scalars(), 0..3).prop_map(Value::Tuple),
            prop::collection::vec(python_scalars(), 0..3).prop_map(Value::FrozenSet),
        ]
        .boxed();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            prop::collection::vec(keys.clone(), 0..4).prop_map(Value::Set),
            prop::collection::vec(keys.clone(), 0..4).prop_map(Value::FrozenSet),
            dict(keys, inner.boxed()),
        ]
    })
}

/// What CPython made of values, with references.
fn from_cpython() -> impl Strategy<Value = Vec<u8>> {
    let table = Value::parse_literal(include_str!("golden/marshal-3.11.txt")).unwrap();
    let rows = table.as_slice().unwrap().iter();
    let documents = rows.flat_map(|row| row.as_slice().unwrap()[2].as_slice().unwrap());
    let documents = documents.map(|bytes| bytes.as_bytes().unwrap().to_vec());
    prop::sample::select(documents.collect::<Vec<_>>())
}

fn round_trip(format: Serializer, value: &Value) {
    let bytes = encode(format, value).unwrap();
    let back: Value = decode(format, &bytes, &Limits::default()).unwrap();
    assert_eq!(back, *value);
    // Undecoded, it is the same.
    assert_eq!(
        scan(format, &bytes, &Limits::default())
            .unwrap()
            .decode::<Value>()
            .unwrap(),
        *value
    );
    // So it is as an argument.
    let mut call = Vec::new();
    encode_call(format, "o", "m", &(value, 1), &(), &mut call).unwrap();
    let head = scan_call(format, &call, &Limits::default()).unwrap();
    let mut items = head.args.items().unwrap();
    assert_eq!(items.next::<Value>().unwrap().as_ref(), Some(value));
    assert_eq!(items.next::<i64>().unwrap(), Some(1));
}

/// Nothing here may panic, and a document that can be decoded can be scanned.
fn try_all(format: Serializer, document: &[u8]) {
    let limits = Limits::default();
    let decoded = decode::<Value>(format, document, &limits);
    let scanned = scan(format, document, &limits);
    if let Ok(raw) = &scanned {
        let _ = raw.decode::<Value>();
        let _ = raw.decode::<Vec<Option<(i64, String)>>>();
        let _ = (raw.is_none(), raw.is_empty(), raw.wrapped_exception());
        if let Ok(mut items) = raw.items() {
            while let Ok(Some(raw)) = items.next_raw() {
                let _ = raw.decode::<Str>();
            }
        }
        if let Ok(mut entries) = raw.entries() {
            while let Ok(Some(_)) = entries.next() {}
        }
    }
    if let Ok(value) = decoded {
        let _ = encode(format, &value);
        let _ = value.to_string();
        assert_eq!(to_value(&value).unwrap().to_string(), value.to_string());
        if format != Serializer::Serpent {
            scanned.unwrap();
        }
    }
    let _ = decode::<Vec<f64>>(format, document, &limits);
    if let Ok(head) = scan_call(format, document, &limits) {
        let _ = (head.args.decode::<Value>(), head.kwargs.decode::<Value>());
    }
}

fn mutate(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (place, kind, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"()[]{}'\"\\,:#\n jeExub0129+-._".to_vec())
    ];
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), byte), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_brings_it_back(value in json_values()) {
        round_trip(Serializer::Json, &value);
    }

    #[test]
    fn msgpack_brings_it_back(value in msgpack_values()) {
        round_trip(Serializer::Msgpack, &value);
    }

    #[test]
    fn serpent_brings_it_back(value in serpent_values()) {
        round_trip(Serializer::Serpent, &value);
    }

    #[test]
    fn marshal_brings_it_back(value in marshal_values()) {
        round_trip(Serializer::Marshal, &value);
    }

    #[test]
    fn the_tree_brings_it_back(value in serpent_values()) {
        prop_assert_eq!(&to_value(&value).unwrap(), &value);
        prop_assert_eq!(&from_value::<Value>(value.clone()).unwrap(), &value);
    }

    #[test]
    fn floats_come_back_bit_by_bit(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        for format in Serializer::ALL {
            let bytes = encode(format, &float).unwrap();
            let back: f64 = decode(format, &bytes, &Limits::default()).unwrap();
            prop_assert!(back.to_bits() == bits || (float.is_nan() && back.is_nan()));
        }
    }

    #[test]
    fn damaged_serpent_does_no_harm(value in serpent_values(), changes in changes()) {
        try_all(Serializer::Serpent, &mutate(encode(Serializer::Serpent, &value).unwrap(), &changes));
        let mut call = Vec::new();
        encode_call(Serializer::Serpent, "o", "m", &(value,), &(), &mut call).unwrap();
        try_all(Serializer::Serpent, &mutate(call, &changes));
    }

    #[test]
    fn damaged_json_does_no_harm(value in json_values(), changes in changes()) {
        try_all(Serializer::Json, &mutate(encode(Serializer::Json, &value).unwrap(), &changes));
    }

    #[test]
    fn damaged_msgpack_does_no_harm(value in msgpack_values(), changes in changes()) {
        try_all(Serializer::Msgpack, &mutate(encode(Serializer::Msgpack, &value).unwrap(), &changes));
    }

    #[test]
    fn damaged_marshal_does_no_harm(value in marshal_values(), theirs in from_cpython(), changes in changes()) {
        try_all(Serializer::Marshal, &mutate(encode(Serializer::Marshal, &value).unwrap(), &changes));
        try_all(Serializer::Marshal, &mutate(theirs, &changes));
        let mut call = Vec::new();
        encode_call(Serializer::Marshal, "o", "m", &(value,), &(), &mut call).unwrap();
        try_all(Serializer::Marshal, &mutate(call, &changes));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in any::<Vec<u8>>(), text in "[\\[\\](){}'\"b0-9a-z,:.+\\\\-]{0,24}") {
        for format in Serializer::ALL {
            try_all(format, &bytes);
            try_all(format, text.as_bytes());
        }
    }
}
