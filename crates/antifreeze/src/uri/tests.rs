use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// The text is the URI that prints as `expected`, and that is read back as the same.
fn check(text: &str, expected: &str) {
    let uri: Uri = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
    assert_eq!(uri.to_string(), expected, "{text:?}");
    assert_eq!(expected.parse::<Uri>().unwrap(), uri, "{text:?}");
}

/// The text is refused, in words that contain all of `expected`.
fn refuse(text: &str, expected: &[&str]) {
    let error = text.parse::<Uri>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Uri, "{text:?}");
    for part in expected {
        assert!(
            error.to_string().contains(part),
            "{text:?}: {error}\ndoes not have {part}"
        );
    }
}

#[test]
fn every_form_is_read_and_written() {
    for same in [
        "PYRO:obj@localhost:4444",
        "PYRO:obj@127.0.0.1:65535",
        "PYRO:obj@host-1.example:0",
        "PYRO:Pyro.Daemon@[::1]:4444",
        "PYRO:obj@[fe80::1%1]:4444",
        "PYRO:obj@./u:/tmp/my socket@home",
        "PYRO:obj@./u:relative",
        "PYRO:obj@./u:\0abstract",
        "PYRO:a:b/c,d=e@h:1",
        "PYRO:žluťoučký@h:1",
        "PYRONAME:some.name",
        "PYRONAME:some.name@h:1234",
        "PYRONAME:some.name@./u:/tmp/ns",
        "PYROMETA:a,b",
        "PYROMETA:class:x.Y,resource@h:1",
    ] {
        check(same, same);
    }
    check("pyro:obj@h:1", "PYRO:obj@h:1");
    check("PyroName:obj", "PYRONAME:obj");
    check("PYRONAME:obj@h", "PYRONAME:obj@h:9090");
    check("PYRONAME:obj@h:", "PYRONAME:obj@h:9090");
    check("PYRONAME:obj@[::1]", "PYRONAME:obj@[::1]:9090");
    check("PYROMETA:b,a,b@h", "PYROMETA:a,b@h:9090");
    check("PYRO:obj@h:0080", "PYRO:obj@h:80");
}

#[test]
fn what_is_no_uri_is_refused_with_a_reason() {
    for text in [
        "",
        "obj",
        "PYRO",
        "http://x",
        " PYRO:obj@h:1",
        "PYRO1:obj@h:1",
        "P€RO:o@h:1",
    ] {
        refuse(
            text,
            &[
                "invalid uri: expected PYRO:object@host:port",
                &format!("{text:?}"),
            ],
        );
    }
    refuse(
        "PYROLOC:obj@h:1",
        &["invalid uri (protocol)", "PYRONAME", "\"PYROLOC\""],
    );
    for text in [
        "PYRO:",
        "PYRO:@h:1",
        "PYRO:a b@h:1",
        "PYRO:a\u{1c}b@h:1",
        "PYRO:a\u{a0}@h:1",
    ] {
        refuse(text, &["invalid uri: expected an object id"]);
    }
    refuse(
        "PYRO:obj",
        &[
            "invalid uri: expected a location",
            "PYRO:obj@host:port",
            "\"PYRO:obj\"",
        ],
    );
    refuse("PYRONAME:", &["invalid uri: expected a name"]);
    refuse(
        "PYROMETA:a,,b",
        &["invalid uri: expected tags that are not empty", "\"a,,b\""],
    );

    for location in ["./u:", "./u:\0", "./u:/tmp/a:b", "./u:a\0b", "./u:a\nb"] {
        refuse(
            &format!("PYRO:o@{location}"),
            &["invalid uri (location): expected ./u:"],
        );
    }
    for location in [
        ":1", "a b:1", "a@b:1", "/tmp/x:1", "h]:1", "[::1]x", "a\0b:1",
    ] {
        refuse(
            &format!("PYRO:o@{location}"),
            &["invalid uri (location): expected host:port"],
        );
    }
    refuse(
        "PYRO:o@[[::1]]:1",
        &["invalid ipv6 address: enclosed in too many brackets"],
    );
    for location in [
        "[]:1",
        "[localhost]:1",
        "[1.2.3.4]:1",
        "[::ffff:1.2.3.4]:1",
        "[::1%eth0]:1",
    ] {
        refuse(
            &format!("PYRO:o@{location}"),
            &["invalid ipv6 address: the part between brackets"],
        );
    }
    refuse(
        "PYRO:o@[::1:1",
        &["invalid ipv6 address: expected [address]:port"],
    );

    for location in ["h", "h:", "[::1]", "[::1]:"] {
        refuse(
            &format!("PYRO:o@{location}"),
            &["invalid port in uri, port=None", location],
        );
    }
    for port in [
        "x",
        "-1",
        "+1",
        " 80",
        "8_0",
        "65536",
        "1:2",
        "99999999999999999999",
    ] {
        let port_is = format!("port={port}");
        refuse(
            &format!("PYRO:o@h:{port}"),
            &["invalid port in uri", &port_is, "0 to 65535"],
        );
        refuse(
            &format!("PYRO:o@[::1]:{port}"),
            &["invalid port in uri", &port_is],
        );
    }
}

#[test]
fn a_long_or_binary_text_makes_a_short_clean_message() {
    let error = "x\0\n"
        .repeat(1_000_000)
        .parse::<Uri>()
        .unwrap_err()
        .to_string();
    assert!(error.len() < 1_000, "{} bytes", error.len());
    assert!(!error.contains(char::is_control));
    let error = format!("PYRO:o@h:{}", "\n".repeat(1_000_000))
        .parse::<Uri>()
        .unwrap_err();
    assert!(error.to_string().len() < 300 && !error.to_string().contains(char::is_control));
}

#[test]
fn the_parts_are_there_to_be_asked_for() {
    let uri: Uri = "pyrometa:b,a,b@[::1]:12".parse().unwrap();
    assert_eq!(uri.protocol(), Protocol::PyroMeta);
    assert_eq!(uri.object(), "a,b");
    assert_eq!(uri.tags().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(uri.location(), Some(&Location::tcp("::1", 12)));

    let uri: Uri = "PYRO:a,b@./u:\0x".parse().unwrap();
    assert_eq!(uri.tags().count(), 0);
    assert_eq!(uri.location(), Some(&Location::unix("\0x")));
    assert_eq!(format!("{uri:?}"), r#"Uri("PYRO:a,b@./u:\0x")"#);

    let uri = Uri::parse_with_ns_port("PYRONAME:x@h", 7).unwrap();
    assert_eq!(uri.location(), Some(&Location::tcp("h", 7)));
}

#[test]
fn what_is_put_together_is_checked_too() {
    let uri = Uri::new("o", Location::tcp("::1", 5)).unwrap();
    assert_eq!(uri.to_string(), "PYRO:o@[::1]:5");
    assert_eq!(Uri::name("n", None).unwrap().to_string(), "PYRONAME:n");
    assert_eq!(
        Uri::meta(["b", "a"], None).unwrap().to_string(),
        "PYROMETA:a,b"
    );

    Uri::new("a@b", Location::tcp("h", 5)).unwrap_err();
    Uri::new("o", Location::tcp("", 5)).unwrap_err();
    Uri::new("o", Location::tcp("a:b", 5)).unwrap_err();
    Uri::new("o", Location::unix("a:b")).unwrap_err();
    Uri::name("a b", None).unwrap_err();
    Uri::meta(["a,b"], None).unwrap_err();
    Uri::meta(["a", ""], None).unwrap_err();
    Uri::meta([] as [&str; 0], None).unwrap_err();
}

#[test]
fn equal_uris_are_one_in_a_set() {
    let uris: HashSet<Uri> = [
        "PYROMETA:a,b",
        "pyrometa:b,a",
        "PYROMETA:b,a,a",
        "PYROMETA:a",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    assert_eq!(uris.len(), 2);
}

#[test]
fn a_location_alone_is_read_for_listening() {
    for same in ["localhost:0", "0.0.0.0:1", "[::]:0", "./u:/tmp/x"] {
        assert_eq!(same.parse::<Location>().unwrap().to_string(), same);
    }
    for bad in ["localhost", "", ":0", "[::]", "./u:"] {
        assert_eq!(
            bad.parse::<Location>().expect_err(bad).kind(),
            ErrorKind::Uri
        );
    }
}

/// The state of what Python sends, and the URI it is, if it is one.
#[track_caller]
fn check_state(
    protocol: &str,
    object: UriObject,
    (sockname, host, port): (Option<&str>, Option<&str>, Option<u16>),
    expected: Option<&str>,
) {
    let (sockname, host) = (sockname.map(str::to_owned), host.map(str::to_owned));
    let state = UriState {
        protocol: protocol.to_owned(),
        object,
        sockname,
        host,
        port,
    };
    let uri = Uri::try_from(&state).map(|uri| uri.to_string());
    match expected {
        Some(expected) => assert_eq!(uri.unwrap(), expected),
        None => assert_eq!(uri.unwrap_err().kind(), ErrorKind::Uri),
    }
}

#[test]
fn the_state_that_python_sends_is_checked() {
    let id = || UriObject::Id("o".to_owned());
    let tags = || UriObject::Tags(vec!["b".to_owned(), "a".to_owned()]);
    let at_host = (None, Some("h"), Some(5));
    check_state("PYRO", id(), at_host, Some("PYRO:o@h:5"));
    check_state(
        "PYRO",
        id(),
        (None, Some("::1"), Some(5)),
        Some("PYRO:o@[::1]:5"),
    );
    check_state(
        "PYRO",
        id(),
        (Some("/s"), None, None),
        Some("PYRO:o@./u:/s"),
    );
    check_state("PYRONAME", id(), (None, None, None), Some("PYRONAME:o"));
    check_state("PYROMETA", tags(), at_host, Some("PYROMETA:a,b@h:5"));

    check_state("PYRO", id(), (None, None, None), None);
    check_state("PYRO", id(), (None, Some("h"), None), None);
    check_state("PYRO", id(), (Some("/s"), Some("h"), Some(5)), None);
    check_state("PYRO", id(), (None, Some("a b"), Some(5)), None);
    check_state("PYRO", tags(), at_host, None);
    check_state("PYROMETA", id(), at_host, None);
    check_state("HTTP", id(), at_host, None);
    check_state("PYRO", UriObject::Id(String::new()), at_host, None);
}

fn location() -> impl Strategy<Value = Location> {
    prop_oneof![
        ("[a-z0-9.-]{1,20}", any::<u16>()).prop_map(|(host, port)| Location::Tcp { host, port }),
        (any::<u128>(), any::<u16>()).prop_filter_map("mapped IPv4", |(bits, port)| {
            let host = Ipv6Addr::from(bits).to_string();
            (!host.contains('.')).then_some(Location::Tcp { host, port })
        }),
        "\0?[^:\0\n]{1,20}".prop_map(|path| Location::Unix { path }),
    ]
}

fn uri() -> impl Strategy<Value = Uri> {
    let id = "[^\\s@\x1c-\x1f\u{85}]{1,20}";
    let tags = prop::collection::vec("[^\\s@,\x1c-\x1f\u{85}]{1,8}", 1..4);
    prop_oneof![
        (id, location()).prop_map(|(id, l)| Uri::new(id, l).unwrap()),
        (id, prop::option::of(location())).prop_map(|(id, l)| Uri::name(id, l).unwrap()),
        (tags, prop::option::of(location())).prop_map(|(tags, l)| Uri::meta(tags, l).unwrap()),
    ]
}

proptest! {
    #[test]
    fn the_text_of_a_uri_is_read_as_the_same_uri(uri in uri()) {
        prop_assert_eq!(&uri.to_string().parse::<Uri>().unwrap(), &uri);
    }

    #[test]
    fn the_state_of_a_uri_is_taken_as_the_same_uri(uri in uri()) {
        prop_assert_eq!(&Uri::try_from(&UriState::from(&uri)).unwrap(), &uri);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(PYRO|PYRONAME|PYROMETA)?:?.{0,30}@?(\\./u:|\\[)?.{0,20}") {
        let _ = text.parse::<Uri>();
    }
}
