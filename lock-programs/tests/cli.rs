//! The program as it is called: what it prints, and with which status it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the program.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lock-programs"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints text")
}

fn last_line(output: &Output) -> String {
    stdout(output).lines().last().unwrap_or_default().to_owned()
}

/// Programs that went wrong once.
fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/led");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("there is a corpus")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    paths
}

/// Writes a program to a file of its own.
fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    fs::write(&path, text).expect("there is room");
    path.to_str().expect("it is text").to_owned()
}

#[test]
fn what_went_wrong_once_is_right_now() {
    let paths = corpus();
    assert!(paths.len() >= 4);
    for path in paths {
        let output = run(&["--check", path.to_str().expect("it is text")]);
        assert!(
            output.status.success(),
            "{}: {}{}",
            path.display(),
            stdout(&output),
            stderr(&output)
        );
    }
}

#[test]
fn a_replay_names_each_deadlock_and_who_finished() {
    let check = |name: &str, text: &str, expected: &str| {
        let path = file(name, text);
        // Whatever the threads do, it is always the same.
        for _ in 0..3 {
            let output = run(&["--replay", &path]);
            assert_eq!(stdout(&output), format!("{expected}\n"), "{name}");
            assert!(output.status.success(), "{name}: {}", stderr(&output));
        }
    };
    let agents = |one: &str, other: &str| {
        format!(r#""agents":[{{"kind":{one}}},{{"kind":{other}}}],"schedule"#)
    };
    let crossed = agents(
        r#""thread","steps":[["acquire",0],["acquire",1]]"#,
        r#""task","steps":[["acquire",1],["acquire",0]]"#,
    );
    let two = r#"{"locks":[{"kind":"mutex"},{"kind":"mutex"}],"#;
    check(
        "crossed",
        &format!(r#"{two}{crossed}":[0,1,0,1]}}"#),
        r#"{"deadlocks":[{"after":3,"agent":1,"step":1,"cycle":[0,1]}],"finished":[0]}"#,
    );
    check(
        "crossed-at-the-end",
        &format!(r#"{two}{crossed}":[0,1]}}"#),
        r#"{"deadlocks":[{"after":2,"agent":1,"step":1,"cycle":[0,1]}],"finished":[0]}"#,
    );
    check(
        "one-after-the-other",
        &format!(r#"{two}{crossed}":[0,0,1,1]}}"#),
        r#"{"deadlocks":[],"finished":[0,1]}"#,
    );
    check(
        "own",
        r#"{"locks":[{"kind":"rwlock"}],"schedule":[0,0],
            "agents":[{"kind":"thread","steps":[["upgradable",0],["write",0]]}]}"#,
        r#"{"deadlocks":[{"after":1,"agent":0,"step":1,"cycle":[0]}],"finished":[]}"#,
    );
    let permits = agents(
        r#""thread","steps":[["acquire",0],["acquire",0]]"#,
        r#""thread","steps":[["acquire",0],["acquire",0]]"#,
    );
    check(
        "permits",
        &format!(r#"{{"locks":[{{"kind":"semaphore","permits":2}}],{permits}":[0,1,0,1]}}"#),
        r#"{"deadlocks":[{"after":3,"agent":1,"step":1,"cycle":[0,1]}],"finished":[0]}"#,
    );
    check(
        "nobody",
        r#"{"locks":[],"agents":[]}"#,
        r#"{"deadlocks":[],"finished":[]}"#,
    );
}

#[test]
fn the_corpus_can_be_replayed() {
    for path in corpus() {
        let output = run(&["--replay", path.to_str().expect("it is text")]);
        let text = stdout(&output);
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            stderr(&output)
        );
        assert!(
            text.starts_with("{\"deadlocks\":[") && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn what_is_no_program_is_refused_in_one_line_with_status_2() {
    let check = |name: &str, text: &str, expected: &str| {
        for option in ["--replay", "--check"] {
            let output = run(&[option, &file(name, text)]);
            assert_eq!(output.status.code(), Some(2), "{name}");
            assert_eq!(stdout(&output), "", "{name}");
            let error = stderr(&output);
            assert!(
                error.starts_with("error: ") && error.lines().count() == 1,
                "{error}"
            );
            assert!(error.contains(expected), "{name}: {error}");
        }
    };
    check("empty", "", "expected JSON, got");
    check("list", "[1]", "expected an object, got [1]");
    check("no-locks", "{}", "expected a list \"locks\", got none");
    check(
        "no-such-lock",
        r#"{"locks":[],"agents":[{"kind":"task","steps":[["acquire",0]]}]}"#,
        "agent 0, step 0: expected the number of a lock below 0, got 0",
    );
    check(
        "no-such-agent",
        r#"{"locks":[],"agents":[],"schedule":[0]}"#,
        "schedule entry 0",
    );
    check("deep", &"[".repeat(100_000), "expected JSON, got");
    let output = run(&["--replay", "/nowhere/at/all.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: expected a file that can be read, got /nowhere"));
}

#[test]
fn random_programs_end_with_one_line_of_figures() {
    let output = run(&["--count", "200", "--seed", "7", "--at-once", "8"]);
    let line = last_line(&output);
    assert!(output.status.success(), "{line}\n{}", stderr(&output));
    let figures: Vec<u64> = line
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|figure| !figure.is_empty())
        .map(|figure| figure.parse().expect("a number"))
        .collect();
    let &[found, onsets, wrong, deadlocked, clean] = &figures[..] else {
        panic!("{line}")
    };
    assert_eq!(
        line,
        format!(
            "recall {found}/{onsets}, false positives {wrong}, \
             deadlocked {deadlocked}, contended and clean {clean}"
        )
    );
    assert!(found == onsets && wrong == 0 && deadlocked >= 50 && clean >= 50);
}

#[test]
fn threads_that_sleep_on_the_way_to_their_waits_are_not_taken_for_waiting() {
    let output = run(&[
        "--count",
        "100",
        "--seed",
        "3",
        "--only",
        "led",
        "--dawdle",
        "3",
        "--at-once",
        "16",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn only_what_is_known_can_be_broken() {
    let output = run(&["--broken", "everything"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected one of no-second-pass, "));
}

#[cfg(not(feature = "faults"))]
#[test]
fn nothing_can_be_broken_without_the_feature() {
    let output = run(&["--broken", "or-as-and"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: expected a build with the feature faults for --broken or-as-and, got one without\n"
    );
}
