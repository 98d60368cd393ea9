//! This process, as people see it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use antifreeze_sync::calls::{self, CallInfo, Parent};
use antifreeze_sync::{AgentInfo, AgentKind, Report, ResourceState, WaiterState, detector};
use parking_lot::Mutex;

use super::lane::lane;
use super::told;
use crate::chain::Route;
use crate::rpc::Room;
use crate::uri::Location;
use crate::waits::{Call, Caller, Daemon, Frame, Graph, Hold, Lock, PastDeadlock, Wait};

/// How many who wait for locks or have them, and how many calls, are told.
const MOST: usize = 4096;

/// The daemons of this process.
static DAEMONS: Mutex<Vec<(String, Weak<Room>)>> = Mutex::new(Vec::new());

/// A daemon at this place is seen from now on.
pub(super) fn note(location: &Location, room: &Arc<Room>) {
    let mut daemons = DAEMONS.lock();
    daemons.retain(|(_, room)| room.strong_count() > 0);
    daemons.push((location.to_string(), Arc::downgrade(room)));
}

/// Who waits for whom in this process.
pub fn graph() -> Graph {
    let mut frames = Frames::default();
    let resources = detector::snapshot().resources;
    let told = |state: &ResourceState| state.waiters.len() + state.holders.len();
    let mut truncated = resources.iter().map(told).sum::<usize>() > MOST;
    let mut left = MOST;
    let mut locks = Vec::new();
    for state in &resources {
        if left > 0 {
            locks.push(frames.add_lock(state, &mut left));
        }
    }
    let mut calls = calls::outstanding(Duration::ZERO);
    calls.sort_by_key(|call| Reverse(call.waited));
    truncated |= calls.len() > MOST;
    let calls = calls.iter().take(MOST);
    Graph {
        node: node(calls::node()),
        pid: std::process::id(),
        name: name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        calls: calls.map(|call| frames.add_call(call)).collect(),
        frames: frames.0.into_values().collect(),
        locks,
        daemons: daemons(),
        truncated,
    }
}

/// The deadlocks of the last hour of which somebody of this process is told, the oldest first: its
/// wait failed, or would have if that were not left alone.
pub fn deadlocks() -> Vec<PastDeadlock> {
    let broken = detector::past().into_iter().map(|past| PastDeadlock {
        time: seconds(past.at),
        broken: true,
        text: past.report.to_string(),
        report: Report::clone(&past.report),
    });
    let reported = lane().map(|lane| lane.reported()).unwrap_or_default();
    let reported = reported.into_iter().map(|(at, report)| PastDeadlock {
        time: seconds(at),
        broken: false,
        text: report.to_string(),
        report: Report::clone(&report),
    });
    let mut all: Vec<_> = broken.chain(reported).collect();
    all.sort_by(|a, b| a.time.total_cmp(&b.time));
    all
}

/// By their number.
#[derive(Default)]
struct Frames(BTreeMap<u64, Frame>);

impl Frames {
    fn get(&mut self, frame: u64) -> &mut Frame {
        let new = || Frame {
            frame,
            ..Frame::default()
        };
        self.0.entry(frame).or_insert_with(new)
    }

    fn add(&mut self, agent: &AgentInfo, chain: u128, parent: Option<Parent>) -> &mut Frame {
        let frame = self.get(agent.frame);
        frame.name(agent);
        frame.chain = Some(format!("{chain:032x}"));
        frame.caller = parent.map(caller);
        frame
    }

    /// Adds a lock with those who wait for it and have it, no more than are `left`.
    fn add_lock(&mut self, state: &ResourceState, left: &mut usize) -> Lock {
        let lock = state.resource.id;
        let mut queue = Vec::new();
        for waiter in state.waiters.iter().take(*left) {
            let WaiterState { agent, .. } = waiter;
            queue.push(agent.frame);
            let frame = self.add(agent, waiter.chain, waiter.parent);
            frame.waits.push(Wait {
                lock,
                mode: told::mode(waiter.mode),
                site: waiter.site.to_string(),
                ms: millis(waiter.waited),
                timed: waiter.timed,
            });
        }
        *left -= queue.len();
        let mut holders = Vec::new();
        for holder in state.holders.iter().take(*left) {
            holders.push(holder.frame);
            let frame = self.get(holder.frame);
            if let Some(agent) = &holder.agent {
                frame.name(agent);
            }
            frame.holds.push(Hold {
                lock,
                mode: told::mode(holder.mode),
                site: holder.site.as_ref().map(ToString::to_string),
            });
        }
        *left -= holders.len();
        Lock {
            lock,
            name: state.resource.to_string(),
            created: state.resource.created.to_string(),
            holders,
            others: state.others,
            queue,
        }
    }

    fn add_call(&mut self, call: &CallInfo) -> Call {
        let frame = self.add(&call.agent, call.chain.id, call.parent);
        frame.calls.push(call.id.seq);
        let peer: &dyn std::any::Any = &*call.peer;
        let route = peer.downcast_ref::<Route>();
        Call {
            call: call.id.seq,
            frame: call.agent.frame,
            to: call.peer.describe(),
            node: route.and_then(|route| route.node).map(node),
            site: call.site.as_ref().map(ToString::to_string),
            ms: millis(call.waited),
            timed: call.timed,
        }
    }
}

impl Frame {
    fn name(&mut self, agent: &AgentInfo) {
        self.kind = Some(agent.kind.to_string());
        self.name.clone_from(&agent.name);
        let parts = agent.name.as_deref().and_then(|name| name.rsplit_once('.'));
        if let (AgentKind::Call, Some((object, method))) = (agent.kind, parts) {
            self.object = Some(object.to_owned());
            self.method = Some(method.to_owned());
        }
    }
}

fn caller(parent: Parent) -> Caller {
    Caller {
        node: node(parent.call.node),
        call: parent.call.seq,
        frame: parent.frame,
        opaque: parent.opaque,
    }
}

fn daemons() -> Vec<Daemon> {
    let daemons = DAEMONS.lock();
    let daemon = |(address, room): &(String, Weak<Room>)| {
        let room = room.upgrade()?;
        let (limit, free) = (room.workers.total(), room.workers.available());
        Some(Daemon {
            address: address.clone(),
            busy: limit.saturating_sub(free).into(),
            limit: limit.into(),
            queued: room.queue.len() as u64,
        })
    };
    daemons.iter().filter_map(daemon).collect()
}

fn node(node: u64) -> String {
    format!("{node:016x}")
}

/// The name of the program.
fn name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// To the microsecond.
fn millis(lasted: Duration) -> f64 {
    lasted.as_micros() as f64 / 1_000.0
}

fn seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    millis(since.unwrap_or_default()) / 1_000.0
}
