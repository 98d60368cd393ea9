//! What the command line says without any server.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;

/// The command, in a directory and an environment without any of our settings.
fn antifreeze(directory: &Path) -> Command {
    let mut command = Command::cargo_bin("antifreeze").unwrap();
    command.current_dir(directory).env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    antifreeze(directory.path())
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// It ends with this code, prints nothing, and says all of this.
fn refuse(arguments: &[&str], code: i32, expected: &[&str]) {
    let output = run(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    for part in expected {
        assert!(
            said.contains(part),
            "{arguments:?}: {said}\ndoes not have {part}"
        );
    }
}

#[test]
fn bad_usage_ends_with_code_2_and_says_how_it_is_used() {
    refuse(&[], 2, &["Usage: antifreeze <COMMAND>", "up"]);
    refuse(
        &["cal"],
        2,
        &["unrecognized subcommand 'cal'", "'call'", "Usage"],
    );
    refuse(
        &["call"],
        2,
        &["<URI>", "<METHOD>", "Usage: antifreeze call"],
    );
    refuse(
        &["call", "PYRO:o@h:1", "m", "--jsn"],
        2,
        &["'--jsn'", "'--json'", "Usage"],
    );
    refuse(&["echo", "-p", "65536"], 2, &["'--port <PORT>'", "65536"]);
    refuse(
        &["waits", "localhost:1", "--json", "--dot"],
        2,
        &["--json", "cannot be used with", "Usage"],
    );
    refuse(
        &["echo", "-u", "x", "-p", "1"],
        2,
        &["--unixsocket", "cannot be used with", "Usage"],
    );
}

#[test]
fn a_bad_value_ends_with_code_2_and_says_what_was_expected() {
    refuse(
        &["meta", "nonsense"],
        2,
        &["error: invalid uri: expected PYRO:", "\"nonsense\""],
    );
    refuse(
        &["call", "PYRO:o", "m"],
        2,
        &["error: invalid uri: expected a location"],
    );
    let uri = "PYRO:o@localhost:1";
    refuse(
        &["call", uri, "m", "hello"],
        2,
        &["expected a Python literal", "'\"hello\"'"],
    );
    refuse(
        &["call", uri, "m", "a=1", "a=1"],
        2,
        &["error: the argument a is there twice\n"],
    );
    refuse(
        &["call", uri, "m", "--serializer", "pickle"],
        2,
        &["pickle", "serpent, marshal"],
    );
    refuse(
        &["call", uri, "m", "--timeout", "soon"],
        2,
        &["expected a time", "500 ms", "soon"],
    );
}

#[test]
fn waits_says_how_to_name_a_daemon() {
    for arguments in [["waits"].as_slice(), &["waits", "--json", "--watch", "1"]] {
        refuse(
            arguments,
            2,
            &[
                "error: expected a daemon to ask, as host:port or as the URI",
                "antifreeze waits localhost:7777",
            ],
        );
    }
    for (name, expected) in [
        ("localhost", "\"localhost\""),
        ("PYRO:o", "expected a location"),
        (
            "PYROMETA:a",
            "expected host:port, or PYRO: or PYRONAME: of one object; got PYROMETA:a",
        ),
    ] {
        refuse(&["waits", name], 2, &["error: ", expected]);
        // Whatever stands behind it that is no time is a daemon.
        refuse(&["waits", "--watch", name], 2, &["error: ", expected]);
    }
}

#[test]
fn a_server_that_is_not_there_ends_with_code_1_and_one_line() {
    for arguments in [
        ["meta", "PYRO:o@localhost:1"].as_slice(),
        &["call", "PYRO:o@localhost:1", "m"],
        &["waits", "localhost:1"],
        &["waits", "PYRO:o@localhost:1", "--deadlocks"],
    ] {
        refuse(arguments, 1, &["error: ", "localhost:1"]);
        assert_eq!(text(&run(arguments).stderr).lines().count(), 1);
    }
}

#[test]
fn the_help_reads_like_this() {
    for command in ["", "up", "echo", "call", "meta", "waits", "config"] {
        let arguments = [command, "--help"];
        let output = run(if command.is_empty() {
            &arguments[1..]
        } else {
            &arguments
        });
        assert!(output.status.success());
        let name = if command.is_empty() {
            "antifreeze"
        } else {
            command
        };
        insta::assert_snapshot!(format!("help_{name}"), text(&output.stdout));
    }
}

#[test]
fn the_settings_read_like_this() {
    insta::assert_snapshot!("config", text(&run(&["config"]).stdout));
}

#[test]
fn the_settings_that_are_printed_are_a_settings_file() {
    let directory = tempfile::tempdir().unwrap();
    let printed = antifreeze(directory.path())
        .arg("config")
        .output()
        .unwrap()
        .stdout;
    std::fs::write(directory.path().join("antifreeze.toml"), &printed).unwrap();
    let again = antifreeze(directory.path())
        .arg("config")
        .output()
        .unwrap()
        .stdout;
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(text(&printed)), values(text(&again)));
    assert!(
        text(&again).contains("workers = 80  # antifreeze.toml line 68"),
        "{}",
        text(&again)
    );
}

#[test]
fn a_setting_says_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("my.toml");
    std::fs::write(&file, "workers = 3\nnodes = 4\n").unwrap();
    let output = antifreeze(directory.path())
        .env("ANTIFREEZE_CONFIG", &file)
        .env("ANTIFREEZE_NODES", "5")
        .args(["config", "--json"])
        .output()
        .unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = |name: &str| {
        all.as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(setting("workers")["value"], "3");
    assert_eq!(setting("workers")["default"], "80");
    assert_eq!(
        setting("workers")["source"],
        format!("{} line 1", file.display())
    );
    assert_eq!(setting("nodes")["value"], "5");
    assert_eq!(setting("nodes")["source"], "ANTIFREEZE_NODES");
    assert_eq!(setting("host")["source"], "default");
    assert_eq!(setting("host")["variable"], "ANTIFREEZE_HOST");
}

#[test]
fn a_wrong_setting_stops_every_command_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("antifreeze.toml"), "\nwork = 3\n").unwrap();
    for arguments in [["config"].as_slice(), &["up"], &["meta", "PYRO:o@h:1"]] {
        let output = antifreeze(directory.path())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(
            said.starts_with("error: antifreeze.toml line 2: unknown setting \"work\""),
            "{said}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let output = antifreeze(directory.path())
        .env("ANTIFREEZE_WORKERS", "many")
        .arg("config")
        .output()
        .unwrap();
    let expected = "error: ANTIFREEZE_WORKERS: expected a whole number above 0; got \"many\"\n";
    assert_eq!(text(&output.stderr), expected);
}
