use super::*;

/// Loads from these variables and this file, where there is one.
fn load(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let read = |path: &Path| match file {
        Some(text) => {
            assert_eq!(path, Path::new("antifreeze.toml"));
            Ok(text.to_owned())
        }
        None => Err(io::ErrorKind::NotFound.into()),
    };
    Config::from_sources(variables, read).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    })
}

fn entry(config: &Config, name: &str) -> ConfigEntry {
    config
        .entries()
        .into_iter()
        .find(|entry| entry.name == name)
        .unwrap()
}

/// The text, as a variable and in the file, is the value that is written as `expected`.
fn check(name: &str, text: &str, expected: &str) {
    let variable = variable_of(name);
    let config = load(None, &[(&variable, text)]).unwrap();
    assert_eq!(entry(&config, name).value, expected, "{name} {text}");
    assert_eq!(
        entry(&config, name).source,
        ConfigSource::Variable(variable)
    );
    for line in [
        format!("{name} = {text:?}"),
        format!("{name} = {expected:?}"),
    ] {
        let config = load(Some(&line), &[]).unwrap();
        assert_eq!(entry(&config, name).value, expected, "{line}");
        let path = PathBuf::from("antifreeze.toml");
        assert_eq!(
            entry(&config, name).source,
            ConfigSource::File { path, line: 1 }
        );
    }
}

/// Neither a variable nor the file may have the text.
fn refuse(name: &str, text: &str, expected: &str) {
    let variable = variable_of(name);
    let error = load(None, &[(&variable, text)]).expect_err(text);
    assert_eq!(
        error,
        format!("{variable}: expected {expected}; got {text:?}")
    );
    let error = load(Some(&format!("\n{name} = {text:?}")), &[]).expect_err(text);
    let place = format!("antifreeze.toml line 2: {name}");
    assert_eq!(error, format!("{place}: expected {expected}; got {text:?}"));
}

/// The lines of a file are refused with this message.
fn refuse_file(file: &str, expected: &str) {
    assert_eq!(load(Some(file), &[]).expect_err(file), expected);
}

#[test]
fn every_kind_of_value_is_read_and_written() {
    check("host", "0.0.0.0", "0.0.0.0");
    check("host", " h ", "h");
    for (text, value) in [
        ("1", "true"),
        ("YES", "true"),
        ("on", "true"),
        ("False", "false"),
    ] {
        check("compression", text, value);
    }
    check("ns_port", "1", "1");
    check("serializer", "msgpack", "msgpack");
    check("prefer_ip_version", "6", "6");
    check("prefer_ip_version", "0", "any");
    check("nodes", "16_000", "16000");
    for (text, value) in [
        ("0", "0 s"),
        ("5", "5 s"),
        ("2.5", "2500 ms"),
        (".5", "500 ms"),
        ("500ms", "500 ms"),
        ("1000 ms", "1 s"),
        ("20 us", "20 us"),
        ("20µs", "20 us"),
        ("0.000000001", "0.000000001 s"),
        ("2 min", "120 s"),
        ("1h", "3600 s"),
    ] {
        check("reconnect_window", text, value);
    }
    check("call_deadline", "none", "none");
    check("call_deadline", "0", "none");
    check("call_deadline", "1.5", "1500 ms");
    for (text, value) in [
        ("1", "1 B"),
        ("1_024", "1 KiB"),
        ("64 MiB", "64 MiB"),
        ("64MiB", "64 MiB"),
        ("1 GB", "1000000000 B"),
        ("4096 KiB", "4 MiB"),
        ("1 kB", "1000 B"),
        ("1536 MiB", "1536 MiB"),
    ] {
        check("message_bytes", text, value);
    }
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_place() {
    refuse("compression", "maybe", "true or false");
    for text in ["0", "65536", "-1", "+1", "x", "1.5"] {
        refuse("ns_port", text, "a port number from 1 to 65535");
    }
    refuse("serializer", "pickle", "serpent, json, marshal or msgpack");
    refuse("prefer_ip_version", "5", "4, 6 or any");
    refuse("workers", "0", "a whole number above 0");
    refuse("nodes", "4294967296", "a whole number from 1 to 4294967295");
    for text in [
        "-1",
        "inf",
        "nan",
        "1e3",
        "1 day",
        "ms",
        "1.2.3",
        "99999999999999",
        "none",
    ] {
        refuse(
            "drain_timeout",
            text,
            "a time, such as 2.5 (seconds) or \"500 ms\"",
        );
    }
    refuse(
        "connect_timeout",
        "0",
        "a time above 0, such as 2.5 (seconds) or \"500 ms\"",
    );
    let expected = "a time, such as 2.5 (seconds) or \"500 ms\", or \"none\"";
    refuse("idle_timeout", "never", expected);
    for text in [
        "0",
        "64 XB",
        "-5",
        "1.5 MiB",
        "MiB",
        "18446744073709551615 GiB",
    ] {
        refuse(
            "message_bytes",
            text,
            "a size above 0, such as 1048576 or \"64 MiB\"",
        );
    }
}

#[test]
fn the_file_may_have_plain_numbers_and_booleans() {
    let file = "# mine\nworkers = 0x10\nnodes = 1_000\ncall_deadline = 0.5\ncompression = true\n";
    let config = load(Some(file), &[]).unwrap();
    assert_eq!((config.workers, config.nodes), (16, 1000));
    assert_eq!(config.call_deadline, Some(Duration::from_millis(500)));
    assert!(config.compression);
    assert_eq!(
        entry(&config, "compression").source.to_string(),
        "antifreeze.toml line 5"
    );
}

#[test]
fn the_file_is_refused_with_the_line() {
    refuse_file(
        "\nhots = 'x'",
        "antifreeze.toml line 2: unknown setting \"hots\"; did you mean host?",
    );
    refuse_file(
        "colour = 1",
        "antifreeze.toml line 1: unknown setting \"colour\"; `antifreeze config` lists all there \
         are",
    );
    refuse_file(
        "host = ''",
        "antifreeze.toml line 1: host: expected text that is not empty; got \"\"",
    );
    refuse_file(
        "\n\nworkers = [1]",
        "antifreeze.toml line 3: workers: expected a whole number above 0; got array",
    );
    refuse_file(
        "workers = -1",
        "antifreeze.toml line 1: workers: expected a whole number above 0; got \"-1\"",
    );
    let error = load(Some("workers = 1\nhost = \n"), &[]).unwrap_err();
    assert!(error.starts_with("antifreeze.toml line 2: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let error = load(Some("workers = 1\nworkers = 2\n"), &[]).unwrap_err();
    assert!(error.starts_with("antifreeze.toml line 2: "), "{error}");
}

#[test]
fn a_variable_overrules_the_file_and_the_file_the_default() {
    let file = "workers = 1\nnesting = 1\n";
    let config = load(Some(file), &[("ANTIFREEZE_WORKERS", "2")]).unwrap();
    assert_eq!(
        (config.workers, config.nesting, config.ns_port),
        (2, 1, 9090)
    );
    assert_eq!(
        entry(&config, "workers").source.to_string(),
        "ANTIFREEZE_WORKERS"
    );
    assert_eq!(
        entry(&config, "nesting").source.to_string(),
        "antifreeze.toml line 2"
    );
    assert_eq!(entry(&config, "ns_port").source.to_string(), "default");
}

#[test]
fn what_the_program_assigns_is_said_to_be_the_programs() {
    let mut config = load(Some("workers = 1"), &[]).unwrap();
    config.workers = 5;
    config.nesting = 5;
    assert_eq!(entry(&config, "workers").source, ConfigSource::Program);
    assert_eq!(entry(&config, "nesting").source, ConfigSource::Program);
}

#[test]
fn a_setting_can_be_set_by_name() {
    let mut config = Config::default();
    config.set("workers", "5").unwrap();
    assert_eq!(config.workers, 5);
    assert_eq!(entry(&config, "workers").source, ConfigSource::Program);
    let error = config.set("workers", "x").unwrap_err().to_string();
    assert_eq!(error, "workers: expected a whole number above 0; got \"x\"");
    let error = config.set("worker", "5").unwrap_err().to_string();
    assert_eq!(error, "unknown setting \"worker\"; did you mean workers?");
}

#[test]
fn unknown_variables_of_ours_are_refused_and_others_left_alone() {
    load(
        None,
        &[
            ("PYRO_HOST", "x"),
            ("antifreeze_x", "x"),
            ("ANTIFREEZE_HOST", ""),
        ],
    )
    .unwrap();
    load(
        None,
        &[("ANTIFREEZE_LOG", "debug"), ("ANTIFREEZE_PYTHON", "x")],
    )
    .unwrap();
    assert_eq!(
        load(None, &[("ANTIFREEZE_WORKER", "5")]).unwrap_err(),
        "ANTIFREEZE_WORKER: there is no such setting; did you mean ANTIFREEZE_WORKERS?"
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let named = [("ANTIFREEZE_CONFIG".into(), "/etc/af.toml".into())];
    let config = Config::from_sources(named.clone(), |path| {
        assert_eq!(path, Path::new("/etc/af.toml"));
        Ok("workers = 7".to_owned())
    });
    assert_eq!(config.unwrap().workers, 7);
    let error = Config::from_sources(named, |_| Err(io::ErrorKind::NotFound.into())).unwrap_err();
    let text = "cannot read /etc/af.toml (from ANTIFREEZE_CONFIG): entity not found";
    assert_eq!(error.to_string(), text);

    let denied = Config::from_sources([], |_| Err(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(
        denied.unwrap_err().to_string(),
        "cannot read antifreeze.toml: permission denied"
    );
}

#[test]
fn the_defaults_as_written_are_read_as_themselves() {
    let default = Config::default();
    let file: String = default
        .entries()
        .iter()
        .map(|e| format!("{} = {:?}\n", e.name, e.value))
        .collect();
    let read = load(Some(&file), &[]).unwrap();
    for (a, b) in default.entries().into_iter().zip(read.entries()) {
        assert_eq!(a.value, b.value, "{}", a.name);
        assert!(a.doc.ends_with('.') && !a.doc.contains('\n'), "{}", a.doc);
    }
}

#[test]
fn the_layers_below_have_the_same_defaults() {
    let config = Config::default();
    let connection = antifreeze_proto::Config {
        calls: config.calls_per_connection,
        node: antifreeze_sync::calls::node(),
        memory: config.connection().memory,
        ..antifreeze_proto::Config::default()
    };
    assert_eq!(config.connection(), connection);
    assert_eq!(config.document(), antifreeze_serial::Limits::default());
}
