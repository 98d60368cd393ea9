//! Agents, locks and places in the code to make reports and views of, in tests.

use std::panic::Location;
use std::time::Duration;

use super::{AgentInfo, AgentKind, HoldInfo, Member, Mode, ResourceInfo, WaitInfo};

/// Texts write the first of these as `src/main.rs:1:1`, and so on.
fn sites() -> [&'static Location<'static>; 8] {
    [
        here(),
        here(),
        here(),
        here(),
        here(),
        here(),
        here(),
        here(),
    ]
}

#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

/// The place in the code that is written as `src/main.rs:n:n`.
pub(crate) fn site(n: usize) -> &'static Location<'static> {
    sites()[n - 1]
}

/// `text` with the places as they are written in expected texts.
pub(crate) fn with_short_sites(text: &str) -> String {
    // From the back, since `5:10` is also the beginning of `5:100`.
    sites()
        .iter()
        .enumerate()
        .rev()
        .fold(text.to_owned(), |text, (index, site)| {
            let n = index + 1;
            text.replace(&site.to_string(), &format!("src/main.rs:{n}:{n}"))
        })
}

pub(crate) fn agent(kind: AgentKind, frame: u64, name: &str) -> AgentInfo {
    AgentInfo {
        frame,
        kind,
        name: (!name.is_empty()).then(|| name.to_owned()),
        place: None,
    }
}

pub(crate) fn thread(frame: u64, name: &str) -> AgentInfo {
    agent(AgentKind::Thread, frame, name)
}

/// Made at 1 if its id is odd, else at 2.
pub(crate) fn resource(kind: &'static str, id: u64, name: &str) -> ResourceInfo {
    let has_data = kind.ends_with("Mutex") || kind == "RwLock" || kind == "Queue";
    ResourceInfo {
        id,
        kind: kind.into(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        data: if has_data { "u32" } else { "" }.into(),
        created: site(if id % 2 == 1 { 1 } else { 2 }).into(),
    }
}

/// For 1.25 ms, at 4.
pub(crate) fn wait(resource: ResourceInfo, mode: Mode) -> WaitInfo {
    WaitInfo {
        resource,
        mode,
        site: site(4).into(),
        waited: Duration::from_micros(1_250),
        timed: false,
    }
}

/// Acquired at 3.
pub(crate) fn hold(resource: ResourceInfo, mode: Mode) -> HoldInfo {
    HoldInfo {
        resource,
        mode,
        site: Some(site(3).into()),
        queued: false,
    }
}

pub(crate) fn member(agent: AgentInfo, holds: Vec<HoldInfo>, waits: Vec<WaitInfo>) -> Member {
    Member {
        agent,
        waits,
        holds,
    }
}

/// Frames 1 to `count`, and as many locks without names: each holds the lock of its number, and
/// waits for the next.
pub(crate) fn ring(count: u64) -> Vec<Member> {
    let lock = |id| resource("Mutex", id, "");
    let one = |id| {
        let holds = vec![hold(lock(id), Mode::Write)];
        let waits = vec![wait(lock(id % count + 1), Mode::Write)];
        member(thread(id, ""), holds, waits)
    };
    (1..=count).map(one).collect()
}

/// The lines of `text` without their common indentation, and without the empty first and last one.
pub(crate) fn unindent(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().skip(1).collect();
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().map(indent).min().unwrap_or(0);
    let lines: Vec<&str> = lines.iter().map(|line| &line[common..]).collect();
    lines.join("\n")
}
