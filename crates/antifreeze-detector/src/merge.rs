//! The waits-for graph of several processes, put together from what each of them said.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use antifreeze_sync::graph::{self, Candidate, Edge, Graph};

use crate::home::{Call, CallId, Callee, Frame, Need};
use crate::wire::Part;

/// A frame of some process: the node, and its number there.
pub(crate) type Id = (u64, u64);

/// Stands for somebody who goes on.
const NOBODY: u64 = u64::MAX;

/// Parts by their nodes, put together. Frames are numbered in the order of their [`Id`]s, so everybody
/// who has the same parts has the same numbers.
pub(crate) struct Merged<'a> {
    frames: Vec<(Id, &'a Frame)>,
    pub(crate) graph: Graph,
    /// Those who wait for an opaque call, each with that call.
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
        let mut nodes = Vec::with_capacity(merged.frames.len());
        for (number, ((node, _), frame)) in merged.frames.iter().enumerate() {
            let mut waits: Vec<graph::Need> = Vec::with_capacity(frame.waits.len());
            for need in &frame.waits {
                waits.push(match need {
                    Need::Local(need) => merged.global(*node, need),
                    Need::Call(call) => {
                        let is_opaque = matches!(call.to, Callee::Opaque { .. });
                        let callee = calls.callee(&merged, *node, call);
                        let followed = callee.filter(|_| rules.through_opaque || !is_opaque);
                        if is_opaque && followed.is_some() {
                            let seq = call.seq;
                            merged
                                .opaque
                                .push((number as u64, CallId { node: *node, seq }));
                        }
                        graph::Need::All(vec![Edge {
                            frame: followed.unwrap_or(NOBODY),
                            soft: false,
                        }])
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

    /// The opaque calls for which those of `stuck` wait.
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
    parts: &'a BTreeMap<u64, &'a Part>,
    ended: &'a BTreeSet<Id>,
    /// Of each call, those who name it as the one that they serve.
    served_by: HashMap<CallId, Vec<u64>>,
    /// Of each single-threaded location, those who came through it.
    through: HashMap<&'a str, Vec<u64>>,
    /// Those who were there twice at a time for one call.
    forked: BTreeSet<Id>,
}

impl<'a> Calls<'a> {
    fn new(
        merged: &Merged<'_>,
        parts: &'a BTreeMap<u64, &'a Part>,
        ended: &'a BTreeSet<Id>,
    ) -> Self {
        let mut served_by: HashMap<CallId, Vec<u64>> = HashMap::new();
        for (number, (_, frame)) in merged.frames.iter().enumerate() {
            if let Some(parent) = frame.parent {
                served_by.entry(parent).or_default().push(number as u64);
            }
        }
        let mut through: HashMap<&str, Vec<u64>> = HashMap::new();
        let mut forked = BTreeSet::new();
        for (node, part) in parts {
            for hop in &part.hops {
                let id = (*node, hop.frame);
                if hop.forked {
                    forked.insert(id);
                } else if let Some(number) = merged.number(id).filter(|_| !hop.via.is_empty()) {
                    through.entry(&hop.via).or_default().push(number);
                }
            }
        }
        Self {
            parts,
            ended,
            served_by,
            through,
            forked,
        }
    }

    /// Whoever this call waits for. None if that is not known, not certain, or does not wait.
    fn callee(&self, merged: &Merged<'_>, node: u64, call: &Call) -> Option<u64> {
        let id = CallId {
            node,
            seq: call.seq,
        };
        let claimants = self.served_by.get(&id).map_or(&[][..], Vec::as_slice);
        match &call.to {
            Callee::Native(peer) => {
                let at_peer = |number: &&u64| merged.id(**number).0 == peer.node;
                only(claimants.iter().filter(at_peer).copied())
            }
            Callee::Opaque {
                location,
                single_threaded,
            } => {
                let claimants = claimants.iter().map(|number| merged.id(*number));
                let mut children: BTreeSet<Id> = claimants.collect();
                let mut attached = 0;
                if let Some(known) = self.children(id) {
                    if known.forked {
                        return None;
                    }
                    let ids = known.known.iter().map(|c| (c.peer.node, c.frame));
                    let alive: BTreeSet<Id> = ids.filter(|id| !self.ended.contains(id)).collect();
                    attached = alive.len();
                    children.extend(alive);
                }
                match (children.len(), attached) {
                    // Somebody else's call occupies the only thread there.
                    (0, _) if *single_threaded => {
                        only(self.through.get(&**location)?.iter().copied())
                    }
                    (1, 1) => {
                        let child = children.pop_first()?;
                        merged
                            .number(child)
                            .filter(|_| !self.forked.contains(&child))
                    }
                    _ => None,
                }
            }
            Callee::Unknown => None,
        }
    }

    fn children(&self, call: CallId) -> Option<&crate::wire::Children> {
        let part = self.parts.get(&call.node)?;
        let mut all = part.children.iter();
        all.find(|(seq, _)| *seq == call.seq).map(|(_, c)| c)
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
