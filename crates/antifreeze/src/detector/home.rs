//! This process, as the detector sees it.

use std::time::Duration;

use antifreeze_detector::{
    About, Call, CallId, Callee, Frame, Hold, Home, Need, Peer, Reading, Report, Root, Wanted,
};
use antifreeze_sync::detector::{self, Part, ReadFrame, ReadWait};
use antifreeze_sync::graph::{self, Candidate};
use antifreeze_sync::{AgentKind, HoldInfo, WaitInfo, calls};

use super::{hops, told};
use crate::chain::{self, Route, Stage};
use crate::foreign;

/// How many frames one reading may have.
const MOST_FRAMES: usize = 4096;

/// The locks and calls of this process.
pub(super) struct ThisProcess;

impl Home for ThisProcess {
    fn read(&mut self, roots: &[Root]) -> Reading {
        let part = |root: &Root| match *root {
            Root::Frame(frame) => Part::Frame(frame),
            Root::Call(CallId { node, seq }) => Part::Serving(calls::CallId { node, seq }),
        };
        let parts: Vec<_> = roots.iter().map(part).collect();
        reading(&detector::read(&parts, MOST_FRAMES), false)
    }

    fn confirm(&mut self, number: u64, frames: &[u64]) -> Option<Reading> {
        let again = detector::confirm(number, frames)?;
        Some(reading(&again, true))
    }

    fn is_unanswered(&mut self, call: u64) -> bool {
        chain::is_unanswered(call)
    }

    fn fail(&mut self, number: u64, frame: u64, report: &Report) -> bool {
        let report = told::report(report);
        detector::fail(number, frame, &report) || hops::fail(number, frame, &report)
    }

    fn admit(&mut self, number: u64, frame: u64) -> bool {
        detector::admit(number, frame)
    }
}

/// With what is told about everybody, if that is wanted.
fn reading(read: &detector::Reading, with_about: bool) -> Reading {
    let frames = read.frames.iter();
    let mut frames: Vec<_> = frames.map(|read| frame(read, with_about)).collect();
    if with_about {
        tell_holds(read, &mut frames);
    }
    Reading {
        number: read.number,
        frames,
        truncated: read.truncated,
    }
}

fn frame(read: &ReadFrame, with_about: bool) -> Frame {
    let chain = read.chain;
    let stage = read.waits.iter().find_map(hops::stage);
    Frame {
        candidate: Candidate {
            frame: read.agent.frame,
            times_victim: match stage {
                // It may be executed all the same, so anybody else is better.
                Some(Stage::Sent) => u32::MAX,
                _ => chain.times_victim.into(),
            },
            timed: read.timed,
            priority: chain.priority,
            before_body: read.entering,
            birth: chain.birth,
            depth: read.depth.into(),
            spared: read.spared && stage.is_none(),
        },
        parent: parent(read),
        chain: chain.id.to_be_bytes(),
        external: read.external,
        waited: read.waits.iter().map(waited).min().unwrap_or_default(),
        waits: read.waits.iter().map(need).collect(),
        about: match with_about {
            true => about(read),
            false => About::default(),
        },
    }
}

fn waited(wait: &ReadWait) -> Duration {
    let (ReadWait::Here { info, .. } | ReadWait::Call { info, .. }) = wait;
    info.waited
}

fn parent(read: &ReadFrame) -> Option<CallId> {
    let parent = read.parent?;
    let wanted = !parent.opaque || foreign::is_wanted(read.agent.frame);
    wanted.then_some(CallId {
        node: parent.call.node,
        seq: parent.call.seq,
    })
}

fn need(wait: &ReadWait) -> Need {
    match wait {
        ReadWait::Here { need, .. } => Need::Local(need.clone()),
        ReadWait::Call { .. } if hops::goes_on(wait) => Need::Local(graph::Need::External),
        ReadWait::Call {
            call,
            peer,
            away: true,
            ..
        } => Need::Call(Call {
            seq: call.seq,
            to: callee(&**peer),
        }),
        ReadWait::Call { serving, .. } => match serving.len() {
            // Nobody who serves it waits.
            0 => Need::Local(graph::Need::External),
            _ => {
                let edge = |&(frame, _): &(u64, bool)| graph::Edge { frame, soft: false };
                Need::Local(graph::Need::All(serving.iter().map(edge).collect()))
            }
        },
    }
}

/// Who serves a call that was sent so.
fn callee(peer: &dyn calls::Peer) -> Callee {
    let peer: &dyn std::any::Any = peer;
    match peer.downcast_ref::<Route>() {
        Some(Route {
            location,
            node: Some(node),
            ..
        }) => Callee::Native(Peer {
            node: *node,
            address: location.to_string(),
        }),
        Some(Route { hash, .. }) => Callee::Opaque {
            location: chain::place(*hash),
            // Whoever came through it knows better.
            single_threaded: true,
        },
        None => Callee::Unknown,
    }
}

fn about(read: &ReadFrame) -> About {
    let name = read.agent.name.clone().unwrap_or_default();
    let (object, method) = match (read.agent.kind, name.rsplit_once('.')) {
        (AgentKind::Call, Some((object, method))) => (object.to_owned(), method.to_owned()),
        _ => Default::default(),
    };
    About {
        agent: match &*name {
            "" => read.agent.kind.to_string(),
            name => format!("{} {name:?}", read.agent.kind),
        },
        object,
        method,
        holds: Vec::new(),
        waits: read.waits.iter().map(wanted).collect(),
    }
}

fn wanted(wait: &ReadWait) -> Wanted {
    let (ReadWait::Here { info, .. } | ReadWait::Call { info, .. }) = wait;
    let WaitInfo {
        resource,
        mode,
        site,
        waited,
        ..
    } = info;
    Wanted {
        lock: resource.to_string(),
        mode: told::mode(*mode),
        site: site.to_string(),
        ms: waited.as_millis().try_into().unwrap_or(u64::MAX),
        pool: resource.is_pool(),
    }
}

/// Notes of each what others wait for.
fn tell_holds(read: &detector::Reading, frames: &mut [Frame]) {
    for wait in read.frames.iter().flat_map(|read| &read.waits) {
        let ReadWait::Here { holds, .. } = wait else {
            continue;
        };
        for (frame, info) in holds {
            let holder = frames.iter_mut().find(|other| other.number() == *frame);
            let Some(holder) = holder else { continue };
            let hold = hold(info);
            if !info.queued && !holder.about.holds.contains(&hold) {
                holder.about.holds.push(hold);
            }
        }
    }
}

fn hold(info: &HoldInfo) -> Hold {
    Hold {
        lock: info.resource.to_string(),
        mode: told::mode(info.mode),
        site: info
            .site
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}
