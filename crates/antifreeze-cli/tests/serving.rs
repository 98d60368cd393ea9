//! The commands that serve, and the commands that call them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

/// A command that serves, ended when this is dropped.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    uri: String,
    directory: TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command(directory.path(), arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut uri = String::new();
        while !uri.starts_with("PYRO:test.echoserver@") {
            uri.clear();
            assert_ne!(
                output.read_line(&mut uri).unwrap(),
                0,
                "it ends without an URI"
            );
        }
        let uri = uri.trim_end().to_owned();
        Self {
            child,
            output,
            uri,
            directory,
        }
    }

    /// Calls it from another process: the exit code, what is printed, and what is said.
    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut all = vec!["call", &self.uri];
        all.extend(arguments);
        let output = command(self.directory.path(), &all).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
        (output.status.code().unwrap(), out, err)
    }

    /// What the call prints.
    #[track_caller]
    fn check(&self, arguments: &[&str], expected: &str) {
        assert_eq!(
            self.call(arguments),
            (0, format!("{expected}\n"), String::new())
        );
    }

    /// How the call fails.
    #[track_caller]
    fn refuse(&self, arguments: &[&str], expected: &str) {
        assert_eq!(
            self.call(arguments),
            (1, String::new(), format!("error: {expected}\n"))
        );
    }

    /// Waits for the end of the process, and gives its exit code and all that it printed.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, in a directory and an environment without any of our settings.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antifreeze"));
    command.current_dir(directory).env_clear().args(arguments);
    command
}

/// The two ways to serve.
const DRIVERS: [&[&str]; 2] = [&["echo"], &["echo", "--threads"]];

#[test]
fn calls_print_what_the_object_returns() {
    for driver in DRIVERS {
        calls_print_what_it_returns(&Server::start(driver));
    }
}

fn calls_print_what_it_returns(server: &Server) {
    server.check(&["echo", "'it'"], "'it'");
    server.check(&["echo", "-5"], "-5");
    server.check(&["echo", "message=[1, (2.5, None)]"], "[1, (2.5, None)]");
    server.check(
        &["echo", "(1, {'a': True})", "--json"],
        r#"[1, {"a": true}]"#,
    );
    for serializer in ["serpent", "json", "msgpack"] {
        server.check(
            &["echo", "{'a': [1]}", "--serializer", serializer],
            "{'a': [1]}",
        );
    }
    server.check(&["verbose"], "False");
    server.check(&["inf"], "inf");
    server.check(&["__dunder__"], "'should be allowed (dunder)'");
}

#[cfg(target_os = "linux")]
#[test]
fn it_serves_with_threads_only_if_it_is_told_to() {
    for (driver, expected) in DRIVERS.into_iter().zip([true, false]) {
        let server = Server::start(driver);
        server.check(&["echo", "1"], "1");
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap()
        };
        let names: Vec<_> = tasks.map(name).collect();
        let has_loop = names
            .iter()
            .any(|name| name.trim_end() == "antifreeze-loop");
        assert_eq!(has_loop, expected, "{driver:?}: {names:?}");
    }
}

#[test]
fn a_oneway_method_is_not_waited_for() {
    let server = Server::start(&["echo"]);
    let begun = Instant::now();
    server.check(&["oneway_slow"], "None");
    assert!(begun.elapsed().as_secs() < 4, "it takes five seconds");
}

#[test]
fn items_are_printed_as_they_come() {
    let server = Server::start(&["echo"]);
    server.check(&["generator"], "'one'\n'two'\n'three'");
    server.check(&["generator", "--json"], "\"one\"\n\"two\"\n\"three\"");
}

#[test]
fn calls_that_fail_say_why() {
    let server = Server::start(&["echo"]);
    server.refuse(&["error_with_text"], "ValueError: the message of the error");
    server.refuse(
        &["nothing"],
        "AttributeError: 'Echo' object has no attribute 'nothing'",
    );
    let (code, out, said) = server.call(&["error_with_text", "--traceback"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        said.starts_with("Traceback (most recent call last):\n"),
        "{said}"
    );
    assert!(
        said.ends_with("\nerror: ValueError: the message of the error\n"),
        "{said}"
    );
    let (code, _, said) = server.call(&["slow", "--timeout", "50ms"]);
    assert_eq!(code, 1);
    assert!(said.contains("timed out"), "{said}");
}

#[test]
fn the_methods_and_attributes_are_shown() {
    let server = Server::start(&["echo"]);
    let meta = |arguments: &[&str]| {
        let output = command(server.directory.path(), arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("meta", meta(&["meta", &server.uri]));
    insta::assert_snapshot!("meta_json", meta(&["meta", &server.uri, "--json"]));
}

#[test]
fn it_listens_where_it_is_told() {
    let server = Server::start(&["echo", "-n", "127.0.0.1", "--threads"]);
    assert!(
        server.uri.starts_with("PYRO:test.echoserver@127.0.0.1:"),
        "{}",
        server.uri
    );
    server.check(&["echo", "1"], "1");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo").display().to_string();
    let server = Server::start(&["echo", "-u", &path]);
    assert_eq!(server.uri, format!("PYRO:test.echoserver@./u:{path}"));
    server.check(&["echo", "1"], "1");
}

#[test]
fn a_signal_ends_it_when_the_running_calls_have_ended() {
    for driver in DRIVERS {
        for name in ["INT", "TERM"] {
            let server = Server::start(driver);
            server.check(&["echo", "1"], "1");
            server.signal(name);
            assert_eq!(server.end(), (Some(0), String::new()));
        }
    }
}

#[test]
fn a_client_can_end_it_and_gets_its_answer() {
    for driver in DRIVERS {
        let server = Server::start(driver);
        server.check(&["shutdown"], "None");
        assert_eq!(server.end(), (Some(0), String::new()));
    }
}

#[test]
fn up_says_what_to_try_and_that_works() {
    let server = Server::start(&["up"]);
    server.check(&["echo", "\"hello\""], "'hello'");
    server.signal("INT");
    let uri = server.uri.clone();
    let (code, said) = server.end();
    assert_eq!(code, Some(0));
    for part in [
        format!("antifreeze call {uri} echo '\"hello\"'\n"),
        format!("antifreeze meta {uri}\n"),
        format!("\nimport Pyro5.api\necho = Pyro5.api.Proxy(\"{uri}\")\n"),
        "\nprint(echo.echo(\"hello\"))\n".to_owned(),
    ] {
        assert!(said.contains(&part), "{said}\ndoes not have {part}");
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_in_one_line() {
    let server = Server::start(&["echo"]);
    let port = server.uri.rsplit(':').next().unwrap();
    let output = command(server.directory.path(), &["echo", "-p", port])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("error: ") && said.contains(port), "{said}");
    assert_eq!(said.lines().count(), 1);
}
