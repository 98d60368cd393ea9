//! The waits-for graph of several processes, put together from what each of them said.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use antifreeze_sync::graph::{self, Candidate, Edge, Graph};

use crate::home::{Call, CallId, Callee, Frame, Need};
use crate::wire::{Children, Part};

/// A frame of some process: the node, and its number there.
pub(crate) type Id = (u64, u64);

/// Stands for somebody who goes on.
const NOBODY: u64 = u64::MAX;

/// Parts by their nodes, put together. Frames are numbered in the order of their [`Id`]s, so everybody
/// who has the same parts has the same numbers.
pub(crate) struct Merged<'a> {
    frames: Vec<(Id, &'a Frame)>,
    pub(crate) graph: Graph,
    /// Those who wait for whom an opaque call led to, each with that call.
    opaque: Vec<(u64, CallId)>,
}

/// How to put parts together.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Frames that are known to have ended.
    pub(crate) ended: &'a BTreeSet<Id>,
    /// Whether opaque calls wait for whom they led to; if not, they return.
    pub(crate) through_opaque: bool,
    /// A frame with several waits waits for all of them, which is wrong.
    pub(crate) or_as_and: bool,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(parts: &BTreeMap<u64, &'a Part>, rules: Rules<'_>) -> Self {
        let mut frames: Vec<(Id, &Frame)> = Vec::new();
        for (node, part) in parts {
            frames.extend(part.reading.frames.iter().map(|f| ((*node, f.number()), f)));
        }
        frames.sort_unstable_by_key(|(id, _)| *id);
        frames.dedup_by_key(|(id, _)| *id);
        let mut merged = Self {
            frames,
            graph: Graph::default(),
            opaque: Vec::new(),
        };
        let calls = Calls::new(&merged, parts, rules.ended);
        let mut opaque = Vec::new();
        let mut nodes = Vec::with_capacity(merged.frames.len());
        for (number, ((node, _), frame)) in merged.frames.iter().enumerate() {
            let mut waits: Vec<graph::Need> = Vec::with_capacity(frame.waits.len());
            for need in &frame.waits {
                waits.push(match need {
                    Need::Local(need) => merged.global(*node, need),
                    Need::Call(call) => {
                        let is_opaque = matches!(call.to, Callee::Opaque { .. });
                        let callees = match rules.through_opaque || !is_opaque {
                            true => calls.callees(&merged, *node, call),
                            false => Callees::default(),
                        };
                        let through = callees.through.into_iter();
                        opaque.extend(through.map(|call| (number as u64, call)));
                        let edge = |frame| Edge { frame, soft: false };
                        graph::Need::All(callees.frames.into_iter().map(edge).collect())
                    }
                });
            }
            if rules.or_as_and {
                waits = all_of(waits);
            }
            let frame = graph::Frame {
                external: frame.external,
                waits,
            };
            nodes.push((number as u64, frame));
        }
        merged.graph.frames = nodes.into_iter().collect();
        merged.opaque = opaque;
        merged
    }

    /// Those who can never go on.
    pub(crate) fn stuck(&self, with_soft: bool) -> Vec<u64> {
        graph::stuck(&self.graph, with_soft)
    }

    pub(crate) fn id(&self, number: u64) -> Id {
        self.frames[number as usize].0
    }

    pub(crate) fn frame(&self, number: u64) -> &'a Frame {
        self.frames[number as usize].1
    }

    /// The opaque calls because of which those of `stuck` wait for each other.
    pub(crate) fn opaque_calls(&self, stuck: &[u64]) -> Vec<CallId> {
        let of_stuck = |(frame, _): &&(u64, CallId)| stuck.binary_search(frame).is_ok();
        let calls = self.opaque.iter().filter(of_stuck);
        calls.map(|(_, call)| *call).collect()
    }

    pub(crate) fn candidate(&self, number: u64) -> Candidate {
        Candidate {
            frame: number,
            ..self.frame(number).candidate
        }
    }

    /// Whether somebody of `stuck` stands in its way who only came first.
    pub(crate) fn is_behind(&self, number: u64, stuck: &[u64]) -> bool {
        let soft = |edge: &Edge| edge.soft && stuck.binary_search(&edge.frame).is_ok();
        let frame = self.graph.frames.get(&number);
        let mut waits = frame.into_iter().flat_map(|frame| &frame.waits);
        waits.any(|need| match need {
            graph::Need::All(edges) | graph::Need::Any(edges) => edges.iter().any(soft),
            graph::Need::Permits { ahead, .. } => !ahead.is_empty(),
            graph::Need::External => false,
        })
    }

    fn number(&self, id: Id) -> Option<u64> {
        let place = self.frames.binary_search_by_key(&id, |(id, _)| *id);
        place.ok().map(|place| place as u64)
    }

    fn global(&self, node: u64, need: &graph::Need) -> graph::Need {
        let edge = |edge: &Edge| Edge {
            frame: self.number((node, edge.frame)).unwrap_or(NOBODY),
            soft: edge.soft,
        };
        let edges = |all: &[Edge]| all.iter().map(edge).collect();
        match need {
            graph::Need::All(all) => graph::Need::All(edges(all)),
            graph::Need::Any(all) => graph::Need::Any(edges(all)),
            graph::Need::Permits {
                wanted,
                free,
                holders,
                ahead,
            } => graph::Need::Permits {
                wanted: *wanted,
                free: *free,
                holders: holders.iter().map(|(one, n)| (edge(one), *n)).collect(),
                ahead: edges(ahead),
            },
            graph::Need::External => graph::Need::External,
        }
    }
}

/// Which frames serve which calls.
struct Calls<'a> {
    ended: &'a BTreeSet<Id>,
    /// Of each call, those who name it as the one that they serve.
    served_by: HashMap<CallId, Vec<u64>>,
    /// Of each opaque call that was not answered, who has reported itself as its child.
    children: HashMap<CallId, &'a Children>,
    /// Of each single-threaded location, the calls to there for which somebody was called.
    begun: HashMap<&'a str, BTreeSet<CallId>>,
}

/// Whom a call waits for. Nobody if that is not known, not certain, or does not wait.
#[derive(Default)]
struct Callees {
    frames: Vec<u64>,
    /// The opaque calls from which that follows.
    through: Vec<CallId>,
}

/// Who an opaque call led to, as far as is known.
enum Led {
    /// It may not have begun.
    ToNobody,
    /// To this frame, which waits.
    To(u64),
    /// To several, or to somebody who runs, or whoever it led to is gone.
    Elsewhere,
}

impl<'a> Calls<'a> {
    fn new(merged: &Merged<'_>, parts: &BTreeMap<u64, &'a Part>, ended: &'a BTreeSet<Id>) -> Self {
        let mut calls = Self {
            ended,
            served_by: HashMap::new(),
            children: HashMap::new(),
            begun: HashMap::new(),
        };
        for (number, (_, frame)) in merged.frames.iter().enumerate() {
            if let Some(parent) = frame.parent {
                let frames = calls.served_by.entry(parent).or_default();
                frames.push(number as u64);
            }
        }
        for (node, part) in parts {
            for (seq, children) in &part.children {
                let (node, seq) = (*node, *seq);
                calls.children.insert(CallId { node, seq }, children);
            }
            for hop in &part.hops {
                let there = calls.begun.entry(&hop.via).or_default();
                there.insert(hop.parent());
            }
        }
        calls
    }

    fn callees(&self, merged: &Merged<'_>, node: u64, call: &Call) -> Callees {
        let seq = call.seq;
        let id = CallId { node, seq };
        match &call.to {
            Callee::Native(peer) => {
                let at_peer = |number: &&u64| merged.id(**number).0 == peer.node;
                let frames = self.served_by.get(&id).into_iter().flatten();
                Callees {
                    frames: only(frames.filter(at_peer)).into_iter().copied().collect(),
                    through: Vec::new(),
                }
            }
            Callee::Opaque {
                location,
                single_threaded,
            } => match self.led(merged, id) {
                Led::To(child) => Callees {
                    frames: vec![child],
                    through: vec![id],
                },
                Led::ToNobody if *single_threaded => self.occupants(merged, id, location),
                Led::ToNobody | Led::Elsewhere => Callees::default(),
            },
            Callee::Unknown => Callees::default(),
        }
    }

    /// Whom other calls to a single-threaded location have led to, which are in the way of this one until
    /// they are answered; also those that were given up.
    fn occupants(&self, merged: &Merged<'_>, call: CallId, location: &str) -> Callees {
        let mut callees = Callees::default();
        for other in self.begun.get(location).into_iter().flatten() {
            if *other != call
                && self.children.contains_key(other)
                && let Led::To(child) = self.led(merged, *other)
            {
                callees.frames.push(child);
                callees.through.extend([call, *other]);
            }
        }
        callees
    }

    /// Whom this opaque call led to. Only that frame counts which has reported itself to the caller, and
    /// still says so; any other one could be the one for which the call does not return.
    fn led(&self, merged: &Merged<'_>, call: CallId) -> Led {
        let claimants = self.served_by.get(&call).map_or(&[][..], Vec::as_slice);
        let children = self.children.get(&call);
        let attached = children.into_iter().flat_map(|children| &children.known);
        let mut child = None;
        let mut count = claimants.len();
        for id in attached.map(|child| (child.peer.node, child.frame)) {
            match merged.number(id) {
                Some(number) if claimants.contains(&number) => child = Some(number),
                // It waits, and for somebody else, if for anybody.
                Some(_) => {}
                None => count += usize::from(!self.ended.contains(&id)),
            }
        }
        match (count, child) {
            // It has begun, if it ever led to somebody.
            (0, _) if children.is_none_or(|children| children.changes == 0) => Led::ToNobody,
            (1, Some(child)) => Led::To(child),
            _ => Led::Elsewhere,
        }
    }
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}

/// The mistake of taking each of several waits for one that blocks.
fn all_of(waits: Vec<graph::Need>) -> Vec<graph::Need> {
    if waits.len() < 2 {
        return waits;
    }
    let edges = waits.into_iter().flat_map(|need| match need {
        graph::Need::All(edges) | graph::Need::Any(edges) => edges,
        graph::Need::Permits { holders, .. } => holders.into_iter().map(|(e, _)| e).collect(),
        graph::Need::External => Vec::new(),
    });
    // Whoever goes on leaves nothing to wait for, so only the others count.
    let edges: Vec<_> = edges.filter(|edge| edge.frame != NOBODY).collect();
    vec![graph::Need::All(edges)]
}
