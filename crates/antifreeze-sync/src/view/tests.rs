//! What people see of the present.

use std::time::Duration;

use super::*;
use crate::report::samples::*;

#[track_caller]
fn check(resources: Vec<ResourceState>, expected: &str) {
    let text = with_short_sites(&Snapshot { resources }.to_string());
    assert_eq!(text, unindent(expected), "\n{text}\n");
}

#[track_caller]
fn check_dot(resources: Vec<ResourceState>, expected: &str) {
    let text = with_short_sites(&Snapshot { resources }.to_dot());
    assert_eq!(text.trim_end(), unindent(expected), "\n{text}\n");
}

fn waiter(frame: u64, name: &str, mode: Mode) -> WaiterState {
    WaiterState {
        agent: thread(frame, name),
        mode,
        site: site(4).into(),
        waited: Duration::from_micros(1_250),
        timed: false,
        chain: frame.into(),
        parent: None,
    }
}

fn holder(frame: u64, name: &str, mode: Mode) -> Holder {
    Holder {
        frame,
        agent: (!name.is_empty()).then(|| thread(frame, name)),
        mode,
        site: (!name.is_empty()).then(|| site(3).into()),
    }
}

fn state(resource: ResourceInfo, holders: Vec<Holder>, waiters: Vec<WaiterState>) -> ResourceState {
    ResourceState {
        resource,
        holders,
        others: false,
        waiters,
    }
}

fn two_locks() -> Vec<ResourceState> {
    let mut patient = waiter(14, "c", Mode::Write);
    patient.timed = true;
    patient.waited = Duration::from_secs(3);
    vec![
        state(
            resource("Mutex", 7, "left"),
            vec![holder(12, "a", Mode::Write)],
            vec![waiter(13, "b", Mode::Write), patient],
        ),
        state(
            resource("RwLock", 8, ""),
            vec![holder(13, "b", Mode::Read), holder(15, "", Mode::Read)],
            vec![waiter(12, "a", Mode::Write), waiter(16, "", Mode::Read)],
        ),
    ]
}

fn others() -> Vec<ResourceState> {
    let slots = resource("BoundedSemaphore", 9, "say \"hi\"\\");
    let event = resource("Event", 11, "go");
    vec![
        ResourceState {
            others: true,
            ..state(
                slots,
                vec![holder(12, "a", Mode::Permits(2))],
                vec![waiter(13, "b", Mode::Permits(3))],
            )
        },
        ResourceState {
            others: true,
            ..state(event, vec![], vec![waiter(14, "c", Mode::Signal)])
        },
    ]
}

mod text {
    use super::*;

    #[test]
    fn nobody() {
        check(
            vec![],
            "
            nobody waits
            ",
        );
    }

    #[test]
    fn locks_with_holders_and_queues() {
        check(
            two_locks(),
            r#"
            4 agents wait
            Mutex<u32> "left" (made at src/main.rs:1:1)
                thread "a" (frame 12) holds it, acquired at src/main.rs:3:3
                1. thread "b" (frame 13) has waited 1.2 ms at src/main.rs:4:4
                2. thread "c" (frame 14) has waited 3.0 s, with a deadline, at src/main.rs:4:4
            RwLock<u32> #8 (made at src/main.rs:2:2)
                thread "b" (frame 13) holds it for reading, acquired at src/main.rs:3:3
                frame 15 holds it for reading
                1. thread "a" (frame 12) has waited 1.2 ms at src/main.rs:4:4 to write it
                2. thread (frame 16) has waited 1.2 ms at src/main.rs:4:4 to read it
            "#,
        );
    }

    #[test]
    fn who_is_not_known() {
        check(
            others(),
            r#"
            2 agents wait
            BoundedSemaphore "say \"hi\"\\" (made at src/main.rs:1:1)
                thread "a" (frame 12) holds 2 permits of it, acquired at src/main.rs:3:3
                others, of whom nothing is known, may let the next one go on
                1. thread "b" (frame 13) has waited 1.2 ms at src/main.rs:4:4 for 3 permits of it
            Event "go" (made at src/main.rs:1:1)
                others, of whom nothing is known, may let the next one go on
                1. thread "c" (frame 14) has waited 1.2 ms at src/main.rs:4:4
            "#,
        );
    }

    #[test]
    fn a_long_wait_for_nobody_known_is_pointed_out() {
        let mut stalled = others();
        stalled.remove(0);
        stalled[0].waiters[0].waited = Duration::from_secs(32);
        stalled.push(ResourceState {
            others: false,
            resource: resource("Mutex", 13, ""),
            waiters: vec![stalled[0].waiters[0].clone(), waiter(15, "", Mode::Write)],
            ..stalled[0].clone()
        });
        check(
            stalled,
            r#"
            2 agents wait
            Event "go" (made at src/main.rs:1:1)
                others, of whom nothing is known, may let the next one go on
                1. thread "c" (frame 14) has waited 32 s at src/main.rs:4:4
                stalled? nobody known can end this wait, for 32 s now
            Mutex<u32> #13 (made at src/main.rs:1:1)
                nobody holds it
                1. thread "c" (frame 14) has waited 32 s at src/main.rs:4:4
                2. thread (frame 15) has waited 1.2 ms at src/main.rs:4:4
                stalled? nobody known can end these waits, for 32 s now
            "#,
        );
    }

    #[test]
    fn a_long_wait_for_somebody_known_is_not() {
        let mut states = two_locks();
        states[0].waiters[1].waited = Duration::from_secs(32);
        assert!(
            !Snapshot { resources: states }
                .to_string()
                .contains("stalled")
        );
    }

    #[test]
    fn locks_of_the_same_name_have_a_number() {
        let mut states = two_locks();
        states[1].resource = resource("Mutex", 8, "left");
        let text = Snapshot { resources: states }.to_string();
        assert!(text.contains("Mutex<u32> \"left\" #7 (made"), "{text}");
        assert!(text.contains("Mutex<u32> \"left\" #8 (made"), "{text}");
    }

    #[test]
    fn of_very_many_only_the_first_are_told() {
        let waiters = (0..1_000_000).map(|frame| waiter(frame, "", Mode::Read));
        let holders = (0..20).map(|frame| holder(frame, "", Mode::Read));
        let resource = resource("RwLock", 7, "");
        check(
            vec![state(resource, holders.collect(), waiters.collect())],
            r#"
            1000000 agents wait
            RwLock<u32> #7 (made at src/main.rs:1:1)
                frame 0 holds it for reading
                frame 1 holds it for reading
                frame 2 holds it for reading
                frame 3 holds it for reading
                frame 4 holds it for reading
                frame 5 holds it for reading
                frame 6 holds it for reading
                frame 7 holds it for reading
                frame 8 holds it for reading
                frame 9 holds it for reading
                frame 10 holds it for reading
                frame 11 holds it for reading
                … and 8 more
                1. thread (frame 0) has waited 1.2 ms at src/main.rs:4:4 to read it
                2. thread (frame 1) has waited 1.2 ms at src/main.rs:4:4 to read it
                3. thread (frame 2) has waited 1.2 ms at src/main.rs:4:4 to read it
                4. thread (frame 3) has waited 1.2 ms at src/main.rs:4:4 to read it
                5. thread (frame 4) has waited 1.2 ms at src/main.rs:4:4 to read it
                6. thread (frame 5) has waited 1.2 ms at src/main.rs:4:4 to read it
                7. thread (frame 6) has waited 1.2 ms at src/main.rs:4:4 to read it
                8. thread (frame 7) has waited 1.2 ms at src/main.rs:4:4 to read it
                9. thread (frame 8) has waited 1.2 ms at src/main.rs:4:4 to read it
                10. thread (frame 9) has waited 1.2 ms at src/main.rs:4:4 to read it
                11. thread (frame 10) has waited 1.2 ms at src/main.rs:4:4 to read it
                12. thread (frame 11) has waited 1.2 ms at src/main.rs:4:4 to read it
                … and 999988 more, the longest for 1.2 ms
            "#,
        );
    }
}

mod dot {
    use super::*;

    #[test]
    fn nobody() {
        check_dot(
            vec![],
            r#"
            digraph waiting {
                rankdir=LR;
                node [fontname="sans-serif", shape=box];
                edge [fontname="sans-serif", fontsize=10];
            }
            "#,
        );
    }

    #[test]
    fn locks_with_holders_and_waiters() {
        check_dot(
            two_locks(),
            r#"
            digraph waiting {
                rankdir=LR;
                node [fontname="sans-serif", shape=box];
                edge [fontname="sans-serif", fontsize=10];
                frame12 [label="thread \"a\" (frame 12)"];
                frame13 [label="thread \"b\" (frame 13)"];
                frame14 [label="thread \"c\" (frame 14)"];
                frame15 [label="frame 15"];
                frame16 [label="thread (frame 16)"];
                resource7 [shape=ellipse, label="Mutex<u32> \"left\"\nmade at src/main.rs:1:1"];
                resource7 -> frame12 [label="is held by\nsrc/main.rs:3:3"];
                frame13 -> resource7 [style=dashed, label="waits for\n1.2 ms\nsrc/main.rs:4:4"];
                frame14 -> resource7 [style=dashed, label="waits for\n3.0 s, with a deadline\nsrc/main.rs:4:4"];
                resource8 [shape=ellipse, label="RwLock<u32> #8\nmade at src/main.rs:2:2"];
                resource8 -> frame13 [label="is held for reading by\nsrc/main.rs:3:3"];
                resource8 -> frame15 [label="is held for reading by"];
                frame12 -> resource8 [style=dashed, label="waits to write\n1.2 ms\nsrc/main.rs:4:4"];
                frame16 -> resource8 [style=dashed, label="waits to read\n1.2 ms\nsrc/main.rs:4:4"];
            }
            "#,
        );
    }

    #[test]
    fn who_is_not_known() {
        check_dot(
            others(),
            r#"
            digraph waiting {
                rankdir=LR;
                node [fontname="sans-serif", shape=box];
                edge [fontname="sans-serif", fontsize=10];
                frame12 [label="thread \"a\" (frame 12)"];
                frame13 [label="thread \"b\" (frame 13)"];
                frame14 [label="thread \"c\" (frame 14)"];
                resource9 [shape=ellipse, label="BoundedSemaphore \"say \\\"hi\\\"\\\\\"\nmade at src/main.rs:1:1"];
                resource9 -> frame12 [label="2 permits are held by\nsrc/main.rs:3:3"];
                others9 [style=dotted, label="others, not known"];
                resource9 -> others9 [style=dotted];
                frame13 -> resource9 [style=dashed, label="waits for 3 permits of\n1.2 ms\nsrc/main.rs:4:4"];
                resource11 [shape=ellipse, label="Event \"go\"\nmade at src/main.rs:1:1"];
                others11 [style=dotted, label="others, not known"];
                resource11 -> others11 [style=dotted];
                frame14 -> resource11 [style=dashed, label="waits for\n1.2 ms\nsrc/main.rs:4:4"];
            }
            "#,
        );
    }

    #[test]
    fn of_very_many_only_the_first_are_drawn() {
        let waiters = (0..1_000).map(|frame| waiter(frame, "", Mode::Read));
        let holders = (0..1_000).map(|frame| holder(frame, "", Mode::Read));
        let resource = resource("RwLock", 7, "");
        let state = state(resource, holders.collect(), waiters.collect());
        let dot = Snapshot {
            resources: vec![state],
        }
        .to_dot();
        assert_eq!(dot.matches("label=\"900 more\"").count(), 2);
        assert!(dot.lines().count() < 400);
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_snapshot_as_data() {
    let mut states = others();
    states.truncate(1);
    let snapshot = Snapshot { resources: states };
    let text = with_short_sites(&serde_json::to_string_pretty(&snapshot).unwrap());
    assert_eq!(
        text,
        unindent(
            r#"
            {
              "resources": [
                {
                  "resource": {
                    "id": 9,
                    "kind": "BoundedSemaphore",
                    "name": "say \"hi\"\\",
                    "data": "",
                    "created": "src/main.rs:1:1"
                  },
                  "holders": [
                    {
                      "frame": 12,
                      "agent": {
                        "frame": 12,
                        "kind": "thread",
                        "name": "a"
                      },
                      "mode": {
                        "permits": 2
                      },
                      "site": "src/main.rs:3:3"
                    }
                  ],
                  "others": true,
                  "waiters": [
                    {
                      "agent": {
                        "frame": 13,
                        "kind": "thread",
                        "name": "b"
                      },
                      "mode": {
                        "permits": 3
                      },
                      "site": "src/main.rs:4:4",
                      "waited_ms": 1.25,
                      "timed": false
                    }
                  ]
                }
              ]
            }
            "#
        ),
        "\n{text}\n"
    );
}
