//! What people see of processes that have told this.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::ask::World;
use super::{dot, text};

/// A chain from process 1 goes through a program that cannot be asked to process 2, where it waits
/// behind somebody for what process 1 has in another chain; others call where nobody answers.
fn world() -> World {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let call = |call: u64, to: &str, node: Value| {
        json!({"call": call, "frame": 12, "to": to, "node": node, "ms": 1_250.5, "timed": call == 70,
               "site": "src/a.rs:1:1"})
    };
    let past = |id: &str, ago: f64, broken: bool| {
        json!({"time": now - ago, "broken": broken, "text": format!("deadlock [{id}]: 2 calls\n  more"),
               "report": {"id": id, "kind": "cycle", "members": [], "victim": 0}})
    };
    let world = json!({
        "processes": [{
            "address": "one:1", "followed": false, "node": NODES[0], "pid": 11, "name": "first",
            "frames": [
                {"frame": 12, "kind": "task", "name": "\"a\"", "chain": chain(0, 12),
                 "calls": [66, 67, 68, 69, 70, 71]},
            ],
            "calls": [
                call(66, "python:1", Value::Null), call(67, "two:2", NODES[1].into()),
                call(68, "gone:3", NODES[2].into()), call(69, "other:4", NODES[3].into()),
                call(70, "python:2", Value::Null),
            ],
            "daemons": [
                {"address": "one:1", "busy": 2, "limit": 2, "queued": 3},
                {"address": "one:9", "busy": 0, "limit": 80},
            ],
            "deadlocks": [past("af-1", 7_350.0, true), past("af-2", 3_750.0, false)],
        }, {
            "address": "two:2", "followed": true, "node": NODES[1], "pid": 22, "name": "second",
            "truncated": true,
            "frames": [
                {"frame": 5, "kind": "call", "name": "node.hop", "chain": chain(0, 12),
                 "caller": {"node": NODES[0], "call": 66, "frame": 12, "opaque": true},
                 "waits": [{"lock": 7, "mode": "write", "site": "src/b.rs:2:2", "ms": 71_000, "timed": true}]},
                {"frame": 6, "kind": "thread", "chain": chain(1, 6),
                 "waits": [{"lock": 7, "mode": "2 permits", "site": "", "ms": 3_700_000}],
                 "holds": [{"lock": 7, "mode": "read", "site": "src/b.rs:3:3"}]},
                {"frame": 8, "holds": [{"lock": 7, "mode": "read"}]},
            ],
            "locks": [{"lock": 7, "name": "RwLock<()> #7", "created": "src/b.rs:1:1",
                       "holders": [6, 8], "others": true, "queue": [6, 5]}],
            "deadlocks": [past("af-1", 7_350.0, true)],
        }],
        "unreachable": [{"address": "gone:3", "followed": true, "why": "cannot connect"}],
    });
    serde_json::from_value(world).unwrap()
}

const NODES: [&str; 4] = [
    "1111111111111111",
    "2222222222222222",
    "3333333333333333",
    "4444444444444444",
];

fn chain(node: usize, frame: u64) -> String {
    format!("{}{frame:016x}", NODES[node])
}

#[test]
fn the_text_reads_like_this() {
    insta::assert_snapshot!("text", text::write(&world()));
}

#[test]
fn the_picture_is_drawn_like_this() {
    insta::assert_snapshot!("dot", dot::draw(&world()));
}

#[test]
fn the_deadlocks_read_like_this() {
    insta::assert_snapshot!("deadlocks", text::deadlocks(&world()));
}

#[test]
fn who_is_quiet_is_told_to_be() {
    let mut world = world();
    world.processes.truncate(1);
    world.unreachable.clear();
    let process = &mut world.processes[0];
    process.graph.frames.clear();
    process.deadlocks.clear();
    let text = text::write(&world);
    assert!(text.ends_with("\n\nnobody waits"), "{text}");
    assert_eq!(text::deadlocks(&world), "no deadlock in the last hour");
}

#[test]
fn everybody_is_told_of_once_also_if_somebody_tells_of_a_ring() {
    let frame = |frame: u64, caller: u64| {
        json!({"frame": frame, "chain": chain(0, 1), "calls": [frame],
               "caller": {"node": NODES[0], "call": caller, "frame": caller}})
    };
    let call = |call: u64| json!({"call": call, "frame": call, "node": NODES[0]});
    let world = json!({"unreachable": [], "processes": [{
        "address": "one:1", "followed": false, "node": NODES[0], "deadlocks": [],
        "frames": [frame(1, 2), frame(2, 1), frame(3, 9), frame(4, 3), frame(4, 3)],
        "calls": [call(1), call(2), call(3), call(4)],
    }]});
    let text = text::write(&serde_json::from_value(world).unwrap());
    for (frame, times) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        let name = format!("frame {frame} at one:1");
        assert_eq!(text.matches(&name).count(), times, "{name}\n{text}");
    }
}
