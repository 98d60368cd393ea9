//! `#[derive(Class)]`: what is on the wire, and what is taken from it.

use std::collections::BTreeMap;

use antifreeze::{BigInt, Class, Complex, Serializer, Set, Value, from_value, to_value};
use antifreeze_serial::{Error, ErrorKind, Limits, decode, encode};

#[derive(Class, Clone, Debug, PartialEq)]
#[class = "shop.Order"]
struct Order {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// With everything that serde has no word for.
#[derive(Class, Clone, Debug, PartialEq)]
#[class = "__main__.Rich"]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rich {
    big_int: BigInt,
    any: Value,
    inner: Vec<Order>,
    tags: Set<String>,
}

#[derive(Class, Clone, Debug, PartialEq)]
#[class = "shop.Open"]
struct Open {
    id: u64,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Class, Clone, Debug, PartialEq)]
#[class = "shop.Empty"]
struct Empty {}

fn order() -> Order {
    Order {
        id: 7,
        kind: "tea".into(),
        note: None,
    }
}

/// It is this Python literal, and comes back from all formats and from a tree.
#[track_caller]
fn both<T>(object: &T, literal: &str)
where
    T: Class + serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let tree = to_value(object).unwrap();
    assert_eq!(tree.to_string(), literal);
    assert_eq!(tree.class_name(), Some(T::CLASS));
    assert_eq!(from_value::<T>(tree).unwrap(), *object);
    for format in Serializer::ALL {
        let bytes = encode(format, object).unwrap();
        let back: T = decode(format, &bytes, &Limits::default()).unwrap();
        assert_eq!(back, *object, "{format}");
    }
}

#[test]
fn objects_go_both_ways() {
    both(
        &order(),
        "{'__class__': 'shop.Order', 'id': 7, 'type': 'tea'}",
    );
    both(&Empty {}, "{'__class__': 'shop.Empty'}");
    let rest = BTreeMap::from([("more".to_owned(), Value::List(vec![1.into()]))]);
    both(
        &Open { id: 1, rest },
        "{'__class__': 'shop.Open', 'id': 1, 'more': [1]}",
    );
}

#[test]
fn fields_keep_what_serde_has_no_word_for() {
    let rich = Rich {
        big_int: "9".repeat(40).parse().unwrap(),
        any: Value::Tuple(vec![Complex::new(1.0, 2.0).into(), Value::None]),
        inner: vec![order(), order()],
        tags: Set(vec!["a".into()]),
    };
    for format in [Serializer::Serpent, Serializer::Marshal] {
        let bytes = encode(format, &rich).unwrap();
        let back: Rich = decode(format, &bytes, &Limits::default()).unwrap();
        assert_eq!(back, rich, "{format}");
    }
    assert_eq!(Rich::CLASS, "__main__.Rich");
    // As a value it is refused, as by Pyro: it might name anything.
    let bytes = encode(Serializer::Marshal, &rich).unwrap();
    let value = decode::<Value>(Serializer::Marshal, &bytes, &Limits::default());
    assert_eq!(value.unwrap_err().kind(), ErrorKind::Security);
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
    decode(Serializer::Json, json.as_bytes(), &Limits::default())
}

#[track_caller]
fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(json: &str, message: &str) {
    let error = read::<T>(json).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Type, message));
}

#[test]
fn the_class_may_stand_anywhere_or_nowhere() {
    for json in [
        r#"{"id": 7, "type": "tea", "__class__": "shop.Order"}"#,
        r#"{"id": 7, "__class__": "shop.Order", "more": [{}], "type": "tea"}"#,
        r#"{"id": 7, "type": "tea", "note": null}"#,
    ] {
        assert_eq!(read::<Order>(json).unwrap(), order(), "{json}");
    }
    // Its name may be bytes.
    let bytes = b"\x83\xc4\x09__class__\xc4\x0ashop.Order\xa2id\x07\xa4type\xa3tea";
    let back: Order = decode(Serializer::Msgpack, bytes, &Limits::default()).unwrap();
    assert_eq!(back, order());
}

#[test]
fn other_classes_are_refused() {
    let another = r#"{"__class__": "shop.Basket", "id": 7, "type": "tea"}"#;
    refused::<Order>(another, "expected shop.Order, got shop.Basket");
    refused::<Vec<Order>>(
        &format!("[{another}]"),
        "expected shop.Order, got shop.Basket",
    );
    refused::<Open>(another, "expected shop.Open, got shop.Basket");
    refused::<Order>(r#"{"__class__": 5}"#, "expected str, got int");
    refused::<Order>("[7, \"tea\"]", "expected dict, got list");
    refused::<Order>("{\"id\": 7}", "the key `type` is missing");
    refused::<Rich>(
        "{\"id\": 7}",
        "expected only the keys `bigInt`, `any`, `inner`, `tags`",
    );
}

#[test]
fn an_enum_takes_whichever_class_fits() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Either {
        Empty(Empty),
        Order(Order),
    }
    for either in [Either::Order(order()), Either::Empty(Empty {})] {
        for format in Serializer::ALL {
            let bytes = encode(format, &either).unwrap();
            let back: Either = decode(format, &bytes, &Limits::default()).unwrap();
            assert_eq!(back, either, "{format}");
        }
    }
}

/// What Pyro's `register_type_replacement` and a function that does more than copy attributes are here.
#[test]
fn a_type_may_travel_as_another() {
    /// Kept in minutes, told in hours and minutes.
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(into = "Clock", try_from = "Clock")]
    struct Minutes(u32);

    #[derive(Class)]
    #[class = "shop.Clock"]
    struct Clock {
        hours: u32,
        minutes: u32,
    }

    impl From<Minutes> for Clock {
        fn from(Minutes(all): Minutes) -> Self {
            let (hours, minutes) = (all / 60, all % 60);
            Self { hours, minutes }
        }
    }

    impl TryFrom<Clock> for Minutes {
        type Error = &'static str;

        fn try_from(Clock { hours, minutes }: Clock) -> Result<Self, &'static str> {
            if minutes >= 60 {
                return Err("an hour has 60 minutes");
            }
            Ok(Self(hours * 60 + minutes))
        }
    }

    /// With a field of a type that belongs to somebody else.
    #[derive(Class, Debug, PartialEq)]
    #[class = "shop.Opening"]
    struct Opening {
        from: Minutes,
        #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
        host: std::net::Ipv4Addr,
    }

    fn as_text<S: serde::Serializer>(
        host: &std::net::Ipv4Addr,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("host {host}"))
    }

    fn of_text<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<std::net::Ipv4Addr, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        let address = text.strip_prefix("host ").unwrap_or_default().parse();
        address.map_err(serde::de::Error::custom)
    }

    let opening = Opening {
        from: Minutes(570),
        host: [10, 0, 0, 1].into(),
    };
    both(
        &opening,
        "{'__class__': 'shop.Opening', \
         'from': {'__class__': 'shop.Clock', 'hours': 9, 'minutes': 30}, 'host': 'host 10.0.0.1'}",
    );
    let wrong = r#"{"__class__": "shop.Clock", "hours": 9, "minutes": 90}"#;
    let error = read::<Minutes>(wrong).unwrap_err();
    assert!(error.message().contains("an hour has 60 minutes"));
}
