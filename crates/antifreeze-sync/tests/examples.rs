//! The examples do what they say.

#![cfg(all(
    feature = "deadlock-detection",
    feature = "macros",
    not(any(loom, shuttle))
))]

use std::env;
use std::process::Command;

/// What an example prints, without what it complains of.
#[track_caller]
fn output(example: &str, arguments: &[&str]) -> String {
    // `cargo test` builds them beside the directory of the tests.
    let mut path = env::current_exe().expect("a test is a file");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("{example}{}", env::consts::EXE_SUFFIX));
    let output = Command::new(&path).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{}: {error}: build it with `cargo build --examples`",
            path.display()
        )
    });
    assert!(output.status.success(), "{example}: {output:?}");
    String::from_utf8(output.stdout).expect("examples print text")
}

/// The parts are in the output, in this order.
#[track_caller]
fn check(example: &str, arguments: &[&str], parts: &[&str]) {
    let output = output(example, arguments);
    let mut rest = &output[..];
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("{example} does not print {part:?} where it should:\n{output}");
        };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn exception() {
    let of_one = [
        "returned an error, no such page; the lock is free",
        "panicked; the lock is free",
        "went well; the lock is free",
    ];
    check("exception", &[], &of_one.repeat(3));
}

#[test]
fn lock_order() {
    check(
        "lock_order",
        &[],
        &[
            "lock order",
            "took 'orders'",
            "took 'stock'",
            "warnings with lock_all: 0",
        ],
    );
}

#[test]
fn network_counter() {
    check("network_counter", &[], &[" 2, 2\n", " 1, 2\n", " 1, 2\n"]);
}

#[test]
fn queue_and_lock() {
    check(
        "queue_and_lock",
        &[],
        &["55 in all", "queue and lock: the balance is 55"],
    );
    assert!(!output("queue_and_lock", &[]).contains("queue alone:    the balance is 55"));
}

#[test]
fn two_locks() {
    let text = output("two_locks", &[]);
    assert_eq!(text.matches("has both").count(), 1, "{text}");
    for part in ["deadlock", "\"left\"", "\"right\"", "the victim"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn waits() {
    check(
        "waits",
        &[],
        &[
            "3 agents wait",
            "\"ledger\"",
            "\"anna\"",
            "\"rates\"",
            "\"bert\"",
            "\"orders\"",
            "\"cleo\"",
        ],
    );
    check(
        "waits",
        &["dot"],
        &["digraph", "ledger", "waits to write", "}\n"],
    );
}
