//! Class dicts: which become objects, which stay data, which are refused (compat X1).

use antifreeze_serial::{
    ErrorKind, Exception, Limits, ProxyState, Serializer, UriObject, UriState, Value,
    WrappedException, decode, encode, register_dict_to_class, unregister_dict_to_class,
};

const FORMATS: [Serializer; 4] = Serializer::ALL;

fn through(format: Serializer, value: &Value) -> Result<Value, antifreeze_serial::Error> {
    decode(format, &encode(format, value).unwrap(), &Limits::default())
}

/// A class dict becomes an exception of this class, in all formats.
#[track_caller]
fn becomes(class: &str, says_so: bool, expected: &str) {
    let text = format!(
        "{{'__class__': '{class}', '__exception__': {}, 'args': [1]}}",
        if says_so { "True" } else { "False" }
    );
    for format in FORMATS {
        let back = through(format, &literal_data(&text)).unwrap();
        let exception = back
            .as_exception()
            .unwrap_or_else(|| panic!("{class}: {back}"));
        assert_eq!(exception.class, expected, "{format}");
        assert_eq!(exception.args, [Value::Int(1)]);
    }
}

/// Builds the dict itself, since reading the literal would already make an object of it.
fn literal_data(text: &str) -> Value {
    let (head, rest) = text.split_at(1);
    let plain = [head, "'x':0, ", rest]
        .concat()
        .replace("__class__", "class?");
    let mut value = Value::parse_literal(&plain).unwrap();
    rename(&mut value);
    value
}

fn rename(value: &mut Value) {
    match value {
        Value::Dict(dict) => {
            *value = Value::Dict(
                dict.iter()
                    .filter(|(key, _)| key.as_str() != Some("x"))
                    .map(|(key, inner)| {
                        let mut inner = inner.clone();
                        rename(&mut inner);
                        match key.as_str() {
                            Some("class?") => (Value::from("__class__"), inner),
                            _ => (key.clone(), inner),
                        }
                    })
                    .collect(),
            );
        }
        Value::List(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

#[track_caller]
fn stays(text: &str) {
    for format in FORMATS {
        let value = literal_data(text);
        assert_eq!(through(format, &value).unwrap(), value, "{format}");
    }
}

#[track_caller]
fn refused(text: &str, kind: ErrorKind, message: &str) {
    for format in FORMATS {
        let error = through(format, &literal_data(text)).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, message), "{format}");
    }
}

#[test]
fn exceptions_are_known_by_name() {
    becomes("builtins.ValueError", true, "builtins.ValueError");
    becomes("exceptions.ValueError", true, "builtins.ValueError");
    becomes("ValueError", true, "builtins.ValueError");
    becomes("TimeoutError", true, "Pyro5.errors.TimeoutError");
    becomes("builtins.TimeoutError", true, "builtins.TimeoutError");
    becomes("NamingError", true, "Pyro5.errors.NamingError");
    becomes("Pyro5.errors.NamingError", true, "Pyro5.errors.NamingError");
    becomes(
        "Pyro5.errors.NamingError",
        false,
        "Pyro5.errors.NamingError",
    );
    becomes("struct.error", false, "struct.error");
    becomes("sqlite3.OperationalError", true, "sqlite3.OperationalError");
    becomes("builtins.SystemExit", true, "builtins.SystemExit");
}

#[test]
fn unknown_classes_are_data_unless_they_say_they_are_exceptions() {
    stays("{'__class__': 'module.Class', 'x1': 1}");
    stays("{'__class__': 'module.Class', 'inner': {'__class__': 'other.X'}}");
    stays("{'__class__': 'builtins.ValueError', 'args': []}");
    stays("{'__class__': 'Pyro5.util.JsonSerializer'}");
    stays("{'__class__': 5}");
    stays(
        "[{'a': {'__class__': 'collections.OrderedDict', 'items': []}}]"
            .trim_start_matches("[")
            .trim_end_matches("]"),
    );
}

#[test]
fn dangerous_and_unknown_names_are_refused() {
    refused(
        "{'__class__': '__main__.X'}",
        ErrorKind::Security,
        "refused to deserialize types with double underscores in their name: __main__.X",
    );
    refused(
        "{'k': [{'__class__': 'a.__b'}]}",
        ErrorKind::Security,
        "refused to deserialize types with double underscores in their name: a.__b",
    );
    refused(
        "{'__class__': 'module.Error', '__exception__': True, 'args': []}",
        ErrorKind::Unsupported,
        "unsupported serialized class: module.Error",
    );
    refused(
        "{'__class__': 'builtins.open', '__exception__': True, 'args': []}",
        ErrorKind::Unsupported,
        "unsupported serialized class: builtins.open",
    );
    refused(
        "{'__class__': 'Pyro5.errors.Nope', '__exception__': True, 'args': []}",
        ErrorKind::Unsupported,
        "unsupported serialized class: Pyro5.errors.Nope",
    );
    refused(
        "{'__class__': 'ValueError', '__exception__': True}",
        ErrorKind::Refused,
        "a dict that is no exception despite its class",
    );
    refused(
        "{'__class__': 'ValueError', '__exception__': True, 'args': 'abc'}",
        ErrorKind::Refused,
        "a dict that is no exception despite its class",
    );
    refused(
        "{'__class__': 'Pyro5.core.URI', 'state': [1]}",
        ErrorKind::Refused,
        "a dict that is no URI despite its class",
    );
    refused(
        "{'__class__': 'Pyro5.client.Proxy'}",
        ErrorKind::Refused,
        "a dict that is no Proxy despite its class",
    );
    refused(
        "{'__class__': 'Pyro5.core._ExceptionWrapper', 'exception': 5}",
        ErrorKind::Refused,
        "a dict that is no exception wrapper despite its class",
    );
}

/// However the name is written, and wherever it comes from.
#[test]
fn names_hide_nowhere() {
    for (format, document) in [
        (
            Serializer::Json,
            &br#"{"\u005f_class__": "__main__.X"}"#[..],
        ),
        (Serializer::Json, br#"{"__class__": "os.\u005f_import"}"#),
        (
            Serializer::Json,
            br#"{"__class__": "a.B", "__class__": "__main__.X"}"#,
        ),
        (
            Serializer::Json,
            br#"[1, {"a": [{"__class__": "__main__.X"}]}]"#,
        ),
        (Serializer::Serpent, br"{'\x5f_class__':'__main__.X'}"),
        (Serializer::Serpent, b"{'__' 'class__':'__main__.X'}"),
        (
            Serializer::Serpent,
            br"{'\N{LOW LINE}_class__':'__main__.X'}",
        ),
        (Serializer::Serpent, b"{('__class__'):('__main__.X')}"),
        (Serializer::Serpent, b"{'__class__':b'__main__.X'}"),
        (
            Serializer::Msgpack,
            b"\x81\xd9\x09__class__\xda\0\x0a__main__.X",
        ),
        (
            Serializer::Msgpack,
            b"\x81\xa1k\x91\x81\xa9__class__\xc4\x0a__main__.X",
        ),
        (
            Serializer::Marshal,
            b"{u\x09\0\0\0__class__z\x0a__main__.X0",
        ),
        (
            Serializer::Marshal,
            b"[\x03\0\0\0\xda\x09__class__\xda\x0a__main__.X{r\0\0\0\0r\x01\0\0\x000",
        ),
        (
            Serializer::Marshal,
            b"[\x02\0\0\0\xfbz\x04type{\xda\x09__class__\xda\x03a.B00{r\x01\0\0\0z\x0a__main__.X0",
        ),
    ] {
        let error = decode::<Value>(format, document, &Limits::default()).unwrap_err();
        let (kind, what) = (error.kind(), String::from_utf8_lossy(document));
        assert_eq!(kind, ErrorKind::Security, "{format}: {what}: {error}");
    }
}

#[test]
fn a_class_name_may_be_bytes() {
    let value: Value = decode(
        Serializer::Msgpack,
        b"\x83\xa9__class__\xc4\x0aValueError\xad__exception__\xc3\xa4args\x90",
        &Limits::default(),
    )
    .unwrap();
    assert_eq!(value.as_exception().unwrap().class, "builtins.ValueError");
}

/// Text leaves what is inside a class dict alone, msgpack has made objects of it already (S17).
#[test]
fn inner_class_dicts_depend_on_the_format() {
    let inner = Exception::new("builtins.KeyError", "k");
    let mut outer = Exception::new("builtins.ValueError", "v");
    outer.set_attribute("cause", inner.clone());
    for format in FORMATS {
        let back = through(format, &outer.clone().into()).unwrap();
        let cause = back.as_exception().unwrap().attribute("cause").unwrap();
        match format {
            Serializer::Msgpack => assert_eq!(cause.as_exception().unwrap().class, inner.class),
            _ => assert_eq!(cause.class_name(), Some("builtins.KeyError")),
        }
        // Either way it goes out as it came in.
        assert_eq!(
            encode(format, &back).unwrap(),
            encode(format, &outer).unwrap()
        );
    }
}

#[test]
fn exceptions_keep_what_they_carry() {
    let mut exception = Exception::new("builtins.OSError", "deadlock");
    exception.args.insert(0, Value::Int(35));
    exception.set_attribute(
        "antifreeze",
        Value::parse_literal("{'id': 'af-1', 'cycle': ['a', 'b']}").unwrap(),
    );
    exception.set_traceback([
        "Traceback (most recent call last):\n",
        "OSError: deadlock\n",
    ]);
    for format in FORMATS {
        let bytes = encode(format, &exception).unwrap();
        let back: Exception = decode(format, &bytes, &Limits::default()).unwrap();
        assert_eq!(back, exception, "{format}");
        assert_eq!(back.traceback().len(), 2);
        assert_eq!(back.message(), "(35, 'deadlock')");
        let bytes = encode(format, &WrappedException(exception.clone())).unwrap();
        let value: Value = decode(format, &bytes, &Limits::default()).unwrap();
        assert_eq!(value, Value::WrappedException(Box::new(exception.clone())));
    }
    assert_eq!(
        Exception::new("builtins.ValueError", "boom").message(),
        "boom"
    );
}

#[test]
fn uris_and_proxies_go_both_ways() {
    let uri = UriState {
        protocol: "PYRO".into(),
        object: UriObject::Id("obj".into()),
        sockname: None,
        host: Some("localhost".into()),
        port: Some(4444),
    };
    let meta = UriState {
        protocol: "PYROMETA".into(),
        object: UriObject::Tags(vec!["a".into()]),
        ..uri.clone()
    };
    let proxy = ProxyState {
        uri: "PYRO:obj@localhost:4444".into(),
        oneway: vec!["a".into()],
        methods: vec!["a".into(), "b".into()],
        attrs: vec![],
        handshake: "hello".into(),
        serializer: Some("json".into()),
    };
    for format in FORMATS {
        for uri in [&uri, &meta] {
            let bytes = encode(format, uri).unwrap();
            assert_eq!(
                decode::<UriState>(format, &bytes, &Limits::default()).unwrap(),
                *uri
            );
        }
        let bytes = encode(format, &proxy).unwrap();
        assert_eq!(
            decode::<ProxyState>(format, &bytes, &Limits::default()).unwrap(),
            proxy
        );
        let error = decode::<UriState>(format, &bytes, &Limits::default()).unwrap_err();
        assert_eq!(error.message(), "expected URI, got Proxy");
        assert_eq!(through(format, &Value::Daemon).unwrap(), Value::Daemon);
    }
}

/// Whoever registers a name is asked first, and gets what is inside as Pyro's serializers leave it.
#[test]
fn registered_names_become_what_their_converter_says() {
    register_dict_to_class("registered.Outer", |class, dict| {
        assert_eq!(class, "registered.Outer");
        let inner = dict.get("inner").cloned().ok_or("nothing inside")?;
        Ok(Value::Tuple(vec![inner]))
    });
    register_dict_to_class("__main__.Inner", |_, dict| {
        Ok(Value::Int(dict.len() as i64))
    });
    // Also one of Pyro's own, which no other test here uses.
    register_dict_to_class("Pyro5.errors.MessageTooLargeError", |_, _| {
        Ok("large".into())
    });
    let large = literal_data("{'__class__': 'Pyro5.errors.MessageTooLargeError', 'args': []}");
    let inner = literal_data("{'__class__': '__main__.Inner', 'a': 1}");
    let outer = |inner: &Value| {
        let mut dict = antifreeze_serial::Dict::new();
        dict.insert("__class__", "registered.Outer");
        dict.insert("inner", inner.clone());
        Value::Dict(dict)
    };
    for format in FORMATS {
        assert_eq!(through(format, &inner).unwrap(), Value::Int(2), "{format}");
        let expected = match format {
            Serializer::Msgpack => Value::Int(2),
            _ => inner.clone(),
        };
        let list = Value::List(vec![outer(&inner), large.clone()]);
        let made = Value::List(vec![Value::Tuple(vec![expected]), "large".into()]);
        assert_eq!(through(format, &list).unwrap(), made, "{format}");
        let broken = through(format, &literal_data("{'__class__': 'registered.Outer'}"));
        let error = broken.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Refused, "nothing inside")
        );
        assert_eq!(error.python_class(), "builtins.ValueError");
    }
    let registered = [
        "registered.Outer",
        "__main__.Inner",
        "Pyro5.errors.MessageTooLargeError",
    ];
    for name in registered {
        assert!(unregister_dict_to_class(name));
        assert!(!unregister_dict_to_class(name));
    }
    for format in FORMATS {
        let error = through(format, &inner).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Security);
        let none = literal_data("{'__class__': 'registered.Outer'}");
        assert_eq!(through(format, &none).unwrap(), none);
    }
}
