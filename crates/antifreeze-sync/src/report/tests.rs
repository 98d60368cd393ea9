//! What people read about a deadlock.

use std::collections::HashSet;

use super::samples::*;
use super::*;

fn report(kind: DeadlockKind, members: Vec<Member>, victim: usize) -> Report {
    Report {
        id: "af-7c1e03d2".to_owned(),
        kind,
        members,
        victim,
        inferred: false,
        left_out: 0,
    }
}

#[track_caller]
fn check(report: &Report, expected: &str) {
    let text = with_short_sites(&report.to_string());
    assert_eq!(text, unindent(expected), "\n{text}\n");
}

fn mutex(id: u64, name: &str) -> ResourceInfo {
    resource("Mutex", id, name)
}

fn rwlock(id: u64, name: &str) -> ResourceInfo {
    resource("RwLock", id, name)
}

fn left_and_right() -> Vec<Member> {
    let (left, right) = (mutex(7, "left"), mutex(8, "right"));
    vec![
        member(
            thread(12, "a"),
            vec![hold(left.clone(), Mode::Write)],
            vec![wait(right.clone(), Mode::Write)],
        ),
        member(
            thread(13, "b"),
            vec![hold(right, Mode::Write)],
            vec![wait(left, Mode::Write)],
        ),
    ]
}

#[test]
fn two_threads_and_two_locks() {
    check(
        &report(DeadlockKind::Cycle, left_and_right(), 1),
        r#"
        deadlock [af-7c1e03d2]: 2 threads wait for each other
          thread "a" (frame 12)
              holds Mutex<u32> "left" (made at src/main.rs:1:1), acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> "right" (made at src/main.rs:2:2)
          thread "b" (frame 13), the victim
              holds Mutex<u32> "right", acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> "left"
          victim: thread "b" (frame 13); its wait failed, the others can go on
          help: let go of Mutex<u32> "right", then try again
          help: if all acquire these locks in the same order, this cannot happen
        "#,
    );
}

#[test]
fn locks_without_a_name_have_a_number() {
    let mut members = ring(2);
    members[0].waits[0].timed = true;
    members[0].waits[0].waited = Duration::from_secs(3);
    members[1].holds[0].site = None;
    check(
        &report(DeadlockKind::Cycle, members, 0),
        r#"
        deadlock [af-7c1e03d2]: 2 threads wait for each other
          thread (frame 1), the victim
              holds Mutex<u32> #1 (made at src/main.rs:1:1), acquired at src/main.rs:3:3
              has waited 3.0 s, with a deadline, at src/main.rs:4:4 for Mutex<u32> #2 (made at src/main.rs:2:2)
          thread (frame 2)
              holds Mutex<u32> #2
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> #1
          victim: thread (frame 1); its wait failed, the others can go on
          help: let go of Mutex<u32> #1, then try again
          help: if all acquire these locks in the same order, this cannot happen
        "#,
    );
}

#[test]
fn locks_of_the_same_name_have_a_number_too() {
    let mut members = left_and_right();
    for member in &mut members {
        member.holds[0].resource.name = Some("account".to_owned());
        member.waits[0].resource.name = Some("account".to_owned());
    }
    check(
        &report(DeadlockKind::Cycle, members, 1),
        r#"
        deadlock [af-7c1e03d2]: 2 threads wait for each other
          thread "a" (frame 12)
              holds Mutex<u32> "account" #7 (made at src/main.rs:1:1), acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> "account" #8 (made at src/main.rs:2:2)
          thread "b" (frame 13), the victim
              holds Mutex<u32> "account" #8, acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> "account" #7
          victim: thread "b" (frame 13); its wait failed, the others can go on
          help: let go of Mutex<u32> "account" #8, then try again
          help: if all acquire these locks in the same order, this cannot happen
        "#,
    );
}

#[test]
fn a_mutex_that_is_locked_twice() {
    let left = mutex(7, "left");
    let member = member(
        thread(1, "main"),
        vec![hold(left.clone(), Mode::Write)],
        vec![wait(left, Mode::Write)],
    );
    check(
        &report(DeadlockKind::SelfLock, vec![member], 0),
        r#"
        deadlock [af-7c1e03d2]: a thread waits for what it holds itself
          thread "main" (frame 1)
              holds Mutex<u32> "left" (made at src/main.rs:1:1), acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for Mutex<u32> "left"
          victim: thread "main" (frame 1); its wait failed
          help: let go of Mutex<u32> "left" first; to try again while holding it fails again
          help: a `ReentrantMutex` can be locked again by its holder
        "#,
    );
}

#[test]
fn permits_that_are_acquired_one_by_one() {
    let slots = resource("BoundedSemaphore", 7, "slots");
    let member = member(
        agent(AgentKind::Task, 5, ""),
        vec![hold(slots.clone(), Mode::Permits(1))],
        vec![wait(slots, Mode::Permits(2))],
    );
    check(
        &report(DeadlockKind::SelfLock, vec![member], 0),
        r#"
        deadlock [af-7c1e03d2]: a task waits for what it holds itself
          task (frame 5)
              holds a permit of BoundedSemaphore "slots" (made at src/main.rs:1:1), acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for 2 permits of BoundedSemaphore "slots"
          victim: task (frame 5); its wait failed
          help: acquire all permits of BoundedSemaphore "slots" at once, or let go of some first
        "#,
    );
}

#[test]
fn a_reader_who_wants_to_write() {
    let table = rwlock(7, "table");
    let member = member(
        agent(AgentKind::Call, 5, "bank.A.transfer"),
        vec![hold(table.clone(), Mode::Read)],
        vec![wait(table, Mode::Write)],
    );
    check(
        &report(DeadlockKind::Upgrade, vec![member], 0),
        r#"
        deadlock [af-7c1e03d2]: a call reads a lock and waits to write it
          call "bank.A.transfer" (frame 5)
              holds RwLock<u32> "table" (made at src/main.rs:1:1) for reading, acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 to write RwLock<u32> "table"
          victim: call "bank.A.transfer" (frame 5); its wait failed
          help: let go of the lock before waiting to write it, or read it with `upgradable_read` if it may have to be written
        "#,
    );
}

#[test]
fn all_ways_to_hold_and_to_wait() {
    let table = rwlock(7, "table");
    let slots = resource("BoundedSemaphore", 9, "slots");
    let jobs = resource("Queue", 11, "jobs");
    let go = resource("Event", 13, "go");
    let queued = HoldInfo {
        queued: true,
        site: Some(site(5).into()),
        ..hold(table.clone(), Mode::Write)
    };
    let members = vec![
        member(
            thread(1, "reader"),
            vec![
                hold(table.clone(), Mode::UpgradableRead),
                hold(jobs.clone(), Mode::Put),
            ],
            vec![wait(slots.clone(), Mode::Permits(1))],
        ),
        member(
            agent(AgentKind::Task, 2, "worker"),
            vec![
                hold(slots.clone(), Mode::Permits(3)),
                hold(jobs.clone(), Mode::Get),
            ],
            vec![
                wait(jobs.clone(), Mode::Put),
                wait(table.clone(), Mode::Read),
            ],
        ),
        member(
            agent(AgentKind::Task, 3, ""),
            vec![queued, hold(go.clone(), Mode::Signal)],
            vec![
                wait(table.clone(), Mode::Upgrade),
                wait(table, Mode::UpgradableRead),
            ],
        ),
        member(
            agent(AgentKind::Call, 4, "bank.A.transfer"),
            vec![hold(slots, Mode::Permits(1))],
            vec![wait(jobs, Mode::Get), wait(go, Mode::Signal)],
        ),
    ];
    check(
        &report(DeadlockKind::Cycle, members, 3),
        r#"
        deadlock [af-7c1e03d2]: a thread, 2 tasks and a call wait for each other
          thread "reader" (frame 1)
              holds RwLock<u32> "table" (made at src/main.rs:1:1) for upgradable reading, acquired at src/main.rs:3:3
              puts items into Queue<u32> "jobs" (made at src/main.rs:1:1), at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for a permit of BoundedSemaphore "slots" (made at src/main.rs:1:1)
          task "worker" (frame 2)
              holds 3 permits of BoundedSemaphore "slots", acquired at src/main.rs:3:3
              takes items out of Queue<u32> "jobs", at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for room in Queue<u32> "jobs"
              has waited 1.2 ms at src/main.rs:4:4 to read RwLock<u32> "table"
          task (frame 3)
              came first in the queue to write RwLock<u32> "table", at src/main.rs:5:5
              can signal Event "go" (made at src/main.rs:1:1), at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 to upgrade its read of RwLock<u32> "table"
              has waited 1.2 ms at src/main.rs:4:4 for an upgradable read of RwLock<u32> "table"
          call "bank.A.transfer" (frame 4), the victim
              holds a permit of BoundedSemaphore "slots", acquired at src/main.rs:3:3
              has waited 1.2 ms at src/main.rs:4:4 for an item of Queue<u32> "jobs"
              has waited 1.2 ms at src/main.rs:4:4 for Event "go"
          victim: call "bank.A.transfer" (frame 4); its wait failed, the others can go on
          help: let go of BoundedSemaphore "slots", then try again
        "#,
    );
}

#[test]
fn two_threads_that_join_each_other() {
    let members = [(1, "a", "b"), (2, "b", "a")].map(|(frame, name, other)| {
        let thread_itself = |name| resource("thread", if name == "a" { 1 } else { 2 }, name);
        let holds = vec![HoldInfo {
            site: None,
            ..hold(thread_itself(name), Mode::Signal)
        }];
        let waits = vec![wait(thread_itself(other), Mode::Signal)];
        member(thread(frame, name), holds, waits)
    });
    check(
        &report(DeadlockKind::Cycle, members.into(), 1),
        r#"
        deadlock [af-7c1e03d2]: 2 threads wait for each other
          thread "a" (frame 1)
              has to end first, as thread "a" (made at src/main.rs:1:1)
              has waited 1.2 ms at src/main.rs:4:4 for thread "b" (made at src/main.rs:2:2)
          thread "b" (frame 2), the victim
              has to end first, as thread "b"
              has waited 1.2 ms at src/main.rs:4:4 for thread "a"
          victim: thread "b" (frame 2); its wait failed, the others can go on
          help: let go of what it holds, then try again
        "#,
    );
}

#[test]
fn of_a_long_ring_both_ends_and_the_victim_are_told() {
    let mut members = ring(100);
    for Member { holds, waits, .. } in &mut members {
        holds.clear();
        waits.clear();
    }
    check(
        &report(DeadlockKind::Cycle, members, 50),
        r#"
        deadlock [af-7c1e03d2]: 100 threads wait for each other
          thread (frame 1)
          thread (frame 2)
          thread (frame 3)
          thread (frame 4)
          thread (frame 5)
          thread (frame 6)
          thread (frame 7)
          thread (frame 8)
          … 42 more …
          thread (frame 51), the victim
          … 41 more …
          thread (frame 93)
          thread (frame 94)
          thread (frame 95)
          thread (frame 96)
          thread (frame 97)
          thread (frame 98)
          thread (frame 99)
          thread (frame 100)
          victim: thread (frame 51); its wait failed, the others can go on
          help: let go of what it holds, then try again
        "#,
    );
}

#[test]
fn a_ring_of_sixteen_is_told_whole() {
    let text = report(DeadlockKind::Cycle, ring(16), 0).to_string();
    assert_eq!(text.matches("has waited").count(), 16);
    assert!(!text.contains('…'));
}

#[test]
fn one_who_holds_much_is_not_told_whole() {
    let mut members = left_and_right();
    let slots = (0..20).map(|id| hold(mutex(id, ""), Mode::Write));
    members[0].holds.extend(slots);
    let text = report(DeadlockKind::Cycle, members, 1).to_string();
    assert!(
        text.contains("\n      … 13 more that it holds …\n"),
        "{text}"
    );
}

#[test]
fn names_cannot_break_the_lines() {
    let mut members = left_and_right();
    members[0].agent.name = Some("a\n\"b\"".to_owned());
    let text = report(DeadlockKind::Cycle, members, 1).to_string();
    assert!(text.contains(r#"thread "a\n\"b\"" (frame 12)"#), "{text}");
}

#[test]
fn a_victim_outside_of_the_ring_is_said_to_be_so() {
    let text = report(DeadlockKind::Cycle, left_and_right(), 2).to_string();
    let last = text.lines().last();
    assert_eq!(
        last,
        Some("  victim: somebody who waits for them; its wait failed")
    );
}

#[test]
fn times_are_cut_to_what_matters() {
    let check = |micros, expected: &str| {
        assert_eq!(Lasted(Duration::from_micros(micros)).to_string(), expected);
    };
    check(0, "0.0 ms");
    check(1_290, "1.2 ms");
    check(9_999, "9.9 ms");
    check(10_000, "10 ms");
    check(999_999, "999 ms");
    check(1_000_000, "1.0 s");
    check(9_990_000, "9.9 s");
    check(59_990_000, "59 s");
    check(125_000_000, "2 min 5 s");
    check(3_600_000_000, "1 h 0 min");
    check(90_060_000_000, "25 h 1 min");
}

#[test]
fn ids_are_hexadecimal_and_differ() {
    let id = || Report::new(DeadlockKind::Cycle, Vec::new(), 0).id;
    let ids: HashSet<String> = (0..1_000).map(|_| id()).collect();
    assert_eq!(ids.len(), 1_000);
    let is_hex = |text: &str| text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit());
    assert!(
        ids.iter()
            .all(|id| id.strip_prefix("af-").is_some_and(is_hex))
    );
}

#[cfg(feature = "serde")]
#[test]
fn a_report_as_data() {
    let mut members = left_and_right();
    members[0].agent.name = None;
    members[0].holds[0].site = None;
    members.truncate(1);
    members[0].waits[0].mode = Mode::Permits(2);
    let report = report(DeadlockKind::SelfLock, members, 0);
    let text = with_short_sites(&serde_json::to_string_pretty(&report).unwrap());
    assert_eq!(
        text,
        unindent(
            r#"
            {
              "id": "af-7c1e03d2",
              "kind": "self_lock",
              "members": [
                {
                  "agent": {
                    "frame": 12,
                    "kind": "thread",
                    "name": null
                  },
                  "waits": [
                    {
                      "resource": {
                        "id": 8,
                        "kind": "Mutex",
                        "name": "right",
                        "data": "u32",
                        "created": "src/main.rs:2:2"
                      },
                      "mode": {
                        "permits": 2
                      },
                      "site": "src/main.rs:4:4",
                      "waited_ms": 1.25,
                      "timed": false
                    }
                  ],
                  "holds": [
                    {
                      "resource": {
                        "id": 7,
                        "kind": "Mutex",
                        "name": "left",
                        "data": "u32",
                        "created": "src/main.rs:1:1"
                      },
                      "mode": "write",
                      "site": null,
                      "queued": false
                    }
                  ]
                }
              ],
              "victim": 0,
              "inferred": false,
              "left_out": 0
            }
            "#
        ),
        "\n{text}\n"
    );
}
