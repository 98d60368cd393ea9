//! What several processes have told, put together: who serves whose call.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use antifreeze::waits::{Call, Frame, Graph, Lock};

use super::ask::{Process, World};

/// The frames of all processes.
pub(super) struct Chains<'a> {
    pub(super) world: &'a World,
    /// By the process of the caller and the number of the call.
    serving: HashMap<(&'a str, u64), Vec<Place<'a>>>,
    /// Who is part of which chain, those first that have waited longest.
    pub(super) all: Vec<Vec<Place<'a>>>,
    /// The numbers of the chains, from 1.
    numbers: HashMap<&'a str, usize>,
}

/// A frame, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) process: &'a Process,
    pub(super) frame: &'a Frame,
}

/// Who serves a call.
pub(super) enum Callee<'a> {
    /// These, who wait themselves.
    Waits(Vec<Place<'a>>),
    /// Somebody in this process, who does not wait, if the call has come there.
    Runs(&'a Process),
    /// The process cannot be asked, for this reason.
    Unreachable(&'a str),
    /// Another process has its address now, or this one was not asked.
    Gone,
    /// No program of ours; but these have been called through it.
    Opaque(Vec<Place<'a>>),
}

impl<'a> Chains<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let mut serving: HashMap<_, Vec<_>> = HashMap::new();
        let mut chains: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for process in &world.processes {
            for frame in &process.graph.frames {
                let place = Place { process, frame };
                if let Some(caller) = &frame.caller {
                    let call = (&*caller.node, caller.call);
                    serving.entry(call).or_default().push(place);
                }
                if let Some(chain) = &frame.chain {
                    chains.entry(&**chain).or_default().push(place);
                }
            }
        }
        let mut chains: Vec<_> = chains.into_iter().collect();
        let longest = |places: &[Place<'_>]| places.iter().map(Place::micros).max();
        chains.sort_by_key(|(_, places)| Reverse(longest(places)));
        let names = chains.iter().map(|(chain, _)| *chain);
        Self {
            world,
            serving,
            numbers: names.zip(1..).collect(),
            all: chains.into_iter().map(|(_, places)| places).collect(),
        }
    }

    /// The number of the chain that a frame is part of.
    pub(super) fn number(&self, frame: &Frame) -> Option<usize> {
        self.numbers.get(frame.chain.as_deref()?).copied()
    }

    /// Whether the call that it serves is known.
    pub(super) fn is_called(&self, place: Place<'_>) -> bool {
        let Some(caller) = &place.frame.caller else {
            return false;
        };
        let process = self.process(&caller.node);
        process.is_some_and(|process| process.graph.call(caller.call).is_some())
    }

    pub(super) fn process(&self, node: &str) -> Option<&'a Process> {
        let mut processes = self.world.processes.iter();
        processes.find(|process| process.graph.node == node)
    }

    /// Who serves a call of this process.
    pub(super) fn callee(&self, process: &Process, call: &'a Call) -> Callee<'a> {
        let serving = self.serving.get(&(&*process.graph.node, call.call));
        let serving = serving.cloned().unwrap_or_default();
        let Some(node) = &call.node else {
            return Callee::Opaque(serving);
        };
        if !serving.is_empty() {
            return Callee::Waits(serving);
        }
        if let Some(process) = self.process(node) {
            return Callee::Runs(process);
        }
        let mut unreachable = self.world.unreachable.iter();
        match unreachable.find(|peer| peer.address == call.to) {
            Some(peer) => Callee::Unreachable(&peer.why),
            None => Callee::Gone,
        }
    }
}

impl<'a> Place<'a> {
    /// How long it has waited for what it has waited for longest.
    fn micros(&self) -> u64 {
        let waits = self.frame.waits.iter().map(|wait| wait.ms);
        let calls = self.calls().map(|call| call.ms);
        let longest = waits.chain(calls).fold(0.0, f64::max);
        (longest * 1_000.0) as u64
    }

    /// The calls that it waits for.
    pub(super) fn calls(self) -> impl Iterator<Item = &'a Call> {
        let calls = self.frame.calls.iter();
        let calls = calls.filter_map(move |call| self.process.graph.call(*call));
        calls.filter(move |call| call.frame == self.frame.frame)
    }
}

/// Finding things by their number.
pub(super) trait Find {
    fn call(&self, call: u64) -> Option<&Call>;
    fn lock(&self, lock: u64) -> Option<&Lock>;
    fn frame(&self, frame: u64) -> Option<&Frame>;
}

impl Find for Graph {
    fn call(&self, call: u64) -> Option<&Call> {
        self.calls.iter().find(|known| known.call == call)
    }

    fn lock(&self, lock: u64) -> Option<&Lock> {
        self.locks.iter().find(|known| known.lock == lock)
    }

    fn frame(&self, frame: u64) -> Option<&Frame> {
        self.frames.iter().find(|known| known.frame == frame)
    }
}
