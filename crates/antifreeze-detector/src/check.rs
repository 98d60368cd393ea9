//! One check: what was gathered of whom, in both passes, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use antifreeze_sync::graph::{self, Graph};

use crate::home::{CallId, Callee, Peer, Root};
use crate::merge::{Id, Merged, Rules};
use crate::report::{Member, Report};
use crate::wire::{Again, Ask, Children, Hop, Part};

/// So many frames, and nodes, are asked for by one check.
const MOST_FRAMES: usize = 4096;
const MOST_NODES: usize = 256;

/// What was gathered so far.
#[derive(Default)]
pub(crate) struct Check {
    /// Whose waits it is about.
    pub(crate) waiters: Vec<u64>,
    /// The frames of this process where it begins: those that wait for calls to elsewhere.
    pub(crate) roots: BTreeSet<u64>,
    /// It has to be made once more for these waits, which it may have been too early for.
    pub(crate) again: Vec<u64>,
    sides: BTreeMap<u64, Side>,
    /// Whether opaque calls are followed.
    pub(crate) through_opaque: bool,
    /// Those who could not go on, as of the first pass, by their nodes.
    stuck: BTreeMap<u64, Vec<u64>>,
    /// The opaque calls because of which.
    opaque: Vec<CallId>,
    /// The second pass is on.
    pub(crate) confirming: bool,
    /// There is more than it may ask for.
    pub(crate) truncated: bool,
    ended: BTreeSet<Id>,
    frames: usize,
}

/// What was gathered of one process.
pub(crate) struct Side {
    peer: Peer,
    asked: BTreeSet<Ask>,
    wanted: BTreeSet<Ask>,
    /// It was asked and has not answered.
    waiting: bool,
    /// It did not answer, so whatever it has can go on.
    lost: bool,
    first: Option<Part>,
    second: Option<Part>,
}

/// What to do about a deadlock.
pub(crate) enum Decision {
    /// Let this frame in past those who only came before it.
    Admit(Place),
    /// Fail the wait of this frame.
    Fail(Place, Report),
}

/// A frame whose wait was confirmed.
pub(crate) struct Place {
    pub(crate) peer: Peer,
    pub(crate) reading: u64,
    pub(crate) frame: u64,
}

/// What a [`Check`] has to know of its detector.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) or_as_and: bool,
    pub(crate) soft_reported: bool,
    pub(crate) children_not_compared: bool,
    /// The node whose frames are preferred as victims, which is wrong.
    pub(crate) own_victims_first: Option<u64>,
}

impl Check {
    /// A check that is about the waits of `waiters`, and begins at `roots`.
    pub(crate) fn new(waiters: Vec<u64>, roots: BTreeSet<u64>) -> Self {
        Self {
            waiters,
            roots,
            ..Self::default()
        }
    }

    /// Has `peer` asked for this, if that has not been done.
    pub(crate) fn want(&mut self, peer: &Peer, ask: Ask) {
        let room = self.sides.len() < MOST_NODES && self.frames < MOST_FRAMES;
        if !room && !self.sides.contains_key(&peer.node) {
            self.truncated = true;
            return;
        }
        let side = self.sides.entry(peer.node).or_insert_with(|| Side {
            peer: peer.clone(),
            asked: BTreeSet::new(),
            wanted: BTreeSet::new(),
            waiting: false,
            lost: false,
            first: None,
            second: None,
        });
        if side.lost || side.asked.contains(&ask) {
            return;
        }
        match self.frames < MOST_FRAMES {
            true => drop(side.wanted.insert(ask)),
            false => self.truncated = true,
        }
    }

    /// Whom to ask for what now. All that was asked for before is asked for again: so what is known of
    /// a process is of one time.
    pub(crate) fn questions(&mut self) -> Vec<(Peer, Vec<Ask>)> {
        let mut questions = Vec::new();
        for side in self.sides.values_mut() {
            if !side.waiting && !side.wanted.is_empty() {
                side.waiting = true;
                let wanted = std::mem::take(&mut side.wanted);
                side.asked.extend(wanted);
                questions.push((side.peer.clone(), side.asked.iter().copied().collect()));
            }
        }
        questions
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.sides.values().any(|side| side.waiting)
    }

    /// Takes in what `node` said in the first pass, and wants what follows from it.
    pub(crate) fn learn(&mut self, node: u64, part: Part) {
        let Some(side) = self.sides.get_mut(&node) else {
            return;
        };
        side.waiting = false;
        self.truncated |= part.reading.truncated;
        self.ended
            .extend(part.ended.iter().map(|frame| (node, *frame)));
        let before = side
            .first
            .as_ref()
            .map_or(0, |part| part.reading.frames.len());
        self.frames = self.frames - before + part.reading.frames.len();
        let mut wanted: Vec<(Peer, Ask)> = Vec::new();
        for call in part.reading.frames.iter().flat_map(|frame| frame.calls()) {
            let id = CallId {
                node,
                seq: call.seq,
            };
            match &call.to {
                Callee::Native(peer) => wanted.push((peer.clone(), Ask::Root(Root::Call(id)))),
                Callee::Opaque { .. } => {
                    let children = children_of(&part, call.seq).into_iter();
                    for child in children.flat_map(|children| &children.known) {
                        let root = Root::Frame(child.frame);
                        wanted.push((child.peer.clone(), Ask::Root(root)));
                    }
                }
                Callee::Unknown => {}
            }
        }
        side.first = Some(part);
        wanted.extend(self.occupants());
        for (peer, ask) in wanted {
            self.want(&peer, ask);
        }
    }

    /// Who can say whether a call was answered that seems to occupy what others wait for.
    fn occupants(&self) -> Vec<(Peer, Ask)> {
        let parts = self.parts(false);
        if parts.values().all(|part| part.hops.is_empty()) {
            return Vec::new();
        }
        let mut queued: HashMap<&str, Vec<CallId>> = HashMap::new();
        for (node, part) in &parts {
            for (seq, location) in part.reading.queued() {
                let calls = queued.entry(location).or_default();
                calls.push(CallId { node: *node, seq });
            }
        }
        let occupies = |hop: &&Hop| {
            let there = queued.get(&*hop.via);
            there.is_some_and(|calls| calls.iter().any(|call| *call != hop.parent()))
        };
        let hops = parts.values().flat_map(|part| &part.hops);
        let callers = hops.filter(occupies);
        callers
            .map(|hop| (hop.caller.clone(), Ask::Made(hop.call)))
            .collect()
    }

    /// Takes in what `node` said in the second pass.
    pub(crate) fn confirm(&mut self, node: u64, part: Part) {
        if let Some(side) = self.sides.get_mut(&node) {
            side.waiting = false;
            side.second = Some(part);
        }
    }

    /// Does without what `node` has.
    pub(crate) fn lose(&mut self, node: u64) {
        if let Some(side) = self.sides.get_mut(&node) {
            side.waiting = false;
            side.lost = true;
            side.wanted.clear();
        }
    }

    /// Whether somebody did not answer.
    pub(crate) fn has_lost(&self) -> bool {
        self.sides.values().any(|side| side.lost)
    }

    /// Who cannot go on, as far as the first pass can tell. Says whether there is anybody.
    pub(crate) fn reduce(&mut self, settings: Settings) -> bool {
        for through_opaque in [false, true] {
            let parts = self.parts(false);
            let merged = Merged::new(&parts, self.rules(through_opaque, settings));
            let stuck = merged.stuck(true);
            let mut by_node: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for (node, frame) in stuck.iter().map(|number| merged.id(*number)) {
                by_node.entry(node).or_default().push(frame);
            }
            let opaque = merged.opaque_calls(&stuck);
            self.through_opaque = through_opaque;
            self.stuck = by_node;
            self.opaque = opaque;
            if !self.stuck.is_empty() {
                return true;
            }
        }
        false
    }

    /// Begins the second pass: what to ask for, and whom.
    pub(crate) fn begin_confirming(&mut self) -> Vec<(Peer, Again)> {
        let mut places = Vec::new();
        for (node, side) in &mut self.sides {
            let calls = self.opaque.iter().filter(|call| call.node == *node);
            let again = Again {
                reading: side.first.as_ref().map_or(0, |part| part.reading.number),
                frames: self.stuck.get(node).cloned().unwrap_or_default(),
                calls: calls.map(|call| call.seq).collect(),
            };
            if !(again.frames.is_empty() && again.calls.is_empty()) {
                side.waiting = true;
                places.push((side.peer.clone(), again));
            }
        }
        places
    }

    /// Has the first pass stand for the second, which is wrong.
    pub(crate) fn skip_confirming(&mut self) {
        for (node, side) in &mut self.sides {
            let Some(mut part) = side.first.clone() else {
                continue;
            };
            let stuck = self.stuck.get(node).map_or(&[][..], Vec::as_slice);
            part.reading
                .frames
                .retain(|frame| stuck.contains(&frame.number()));
            side.second = Some(part);
        }
    }

    /// What to do about it, now that both passes are over. None if they differ.
    pub(crate) fn decide(
        &self,
        settings: Settings,
        may_be_admitted: impl Fn(Id) -> bool,
    ) -> Option<Vec<Decision>> {
        let parts = self.parts(true);
        let mut merged = Merged::new(&parts, self.rules(self.through_opaque, settings));
        let stuck = merged.stuck(true);
        let before = self.stuck.iter();
        let before = before.flat_map(|(node, frames)| frames.iter().map(|frame| (*node, *frame)));
        if !before.eq(stuck.iter().map(|number| merged.id(*number))) {
            return None;
        }
        let opaque = merged.opaque_calls(&stuck);
        let same = |call: &CallId| self.same_children(*call);
        if !settings.children_not_compared && !opaque.iter().all(same) {
            return None;
        }
        let mut decided: Vec<Decided> = Vec::new();
        loop {
            let stuck = merged.stuck(true);
            if stuck.is_empty() {
                return Some(needed(&mut merged.graph, decided));
            }
            let hard = merged.stuck(false);
            let admitted = stuck.iter().copied().find(|number| {
                hard.binary_search(number).is_err()
                    && merged.is_behind(*number, &stuck)
                    && may_be_admitted(merged.id(*number))
                    && !settings.soft_reported
            });
            if let Some(number) = admitted {
                let decision = Decision::Admit(self.place(merged.id(number))?);
                decided.push(Decided::new(&mut merged.graph, number, decision));
                continue;
            }
            let victim = graph::victim(&merged.graph, &stuck, |number| {
                let mut candidate = merged.candidate(number);
                if let Some(own) = settings.own_victims_first {
                    candidate.times_victim = u32::from(merged.id(number).0 != own);
                }
                candidate
            });
            let Some(victim) = victim else {
                return Some(needed(&mut merged.graph, decided));
            };
            let report = self.report(&merged, &stuck, victim);
            let decision = Decision::Fail(self.place(merged.id(victim))?, report);
            decided.push(Decided::new(&mut merged.graph, victim, decision));
        }
    }

    fn report(&self, merged: &Merged<'_>, stuck: &[u64], victim: u64) -> Report {
        let mut numbers = graph::closed_set(&merged.graph, stuck, victim);
        let inferred = !merged.opaque_calls(&sorted(&numbers)).is_empty();
        // The victim waits for a ring that it is not in.
        if numbers.first() != Some(&victim) {
            numbers.insert(0, victim);
        }
        let ids = sorted(&numbers).into_iter().map(|number| merged.id(number));
        let name = ids.fold(0xcbf2_9ce4_8422_2325_u64, |hash, (node, frame)| {
            let mixed = (hash ^ node).wrapping_mul(0x0100_0000_01b3);
            (mixed ^ frame).wrapping_mul(0x0100_0000_01b3)
        });
        let members = numbers.iter().map(|number| {
            let (node, frame) = merged.id(*number);
            let told = merged.frame(*number);
            let side = self.sides.get(&node);
            Member {
                node,
                address: side.map_or_else(String::new, |side| side.peer.address.clone()),
                frame,
                chain: told.chain,
                about: told.about.clone(),
            }
        });
        Report::new(name, members.collect(), inferred)
    }

    fn place(&self, (node, frame): Id) -> Option<Place> {
        let side = self.sides.get(&node)?;
        Some(Place {
            peer: side.peer.clone(),
            reading: side.second.as_ref()?.reading.number,
            frame,
        })
    }

    fn parts(&self, second: bool) -> BTreeMap<u64, &Part> {
        let parts = self.sides.iter().filter_map(|(node, side)| {
            let part = if second { &side.second } else { &side.first };
            Some((*node, part.as_ref()?))
        });
        parts.collect()
    }

    fn rules(&self, through_opaque: bool, settings: Settings) -> Rules<'_> {
        Rules {
            ended: &self.ended,
            through_opaque,
            or_as_and: settings.or_as_and,
        }
    }

    /// Whether this call led to the same children in both passes, and to no others in between.
    fn same_children(&self, call: CallId) -> bool {
        let side = self.sides.get(&call.node);
        side.is_some_and(|side| match (&side.first, &side.second) {
            (Some(first), Some(second)) => {
                children_of(first, call.seq) == children_of(second, call.seq)
            }
            _ => false,
        })
    }
}

/// A decision, and the frame that it lets go on, which is no longer in the graph.
struct Decided {
    decision: Decision,
    number: u64,
    frame: graph::Frame,
}

impl Decided {
    fn new(graph: &mut Graph, number: u64, decision: Decision) -> Self {
        let frame = graph.frames.remove(&number).unwrap_or_default();
        Self {
            decision,
            number,
            frame,
        }
    }
}

/// Without those victims whose waits need not fail, because others were chosen after them: of two readers and
/// the writer that they and who wait for it are all in the way of, the writer is enough.
///
/// `graph` is that without all who can go on then. Whoever was chosen before somebody is let past others has to
/// fail all the same: who is let past still waits, only not for those.
fn needed(graph: &mut Graph, decided: Vec<Decided>) -> Vec<Decision> {
    let is_admission = |decided: &Decided| matches!(decided.decision, Decision::Admit(_));
    let fixed = decided.iter().rposition(is_admission);
    let fixed = fixed.map_or(0, |last| last + 1);
    let few = decided.len() < fixed + 2;
    let left = match few {
        true => Vec::new(),
        false => graph::stuck(graph, true),
    };
    let mut needed = Vec::with_capacity(decided.len());
    // The last ones first: whom it harms least to fail was chosen first.
    for (place, decided) in decided.into_iter().enumerate().rev() {
        let Decided {
            decision,
            number,
            frame,
        } = decided;
        if !few && place >= fixed {
            graph.frames.insert(number, frame);
            if graph::stuck(graph, true) == left {
                continue;
            }
            graph.frames.remove(&number);
        }
        needed.push(decision);
    }
    needed.reverse();
    needed
}

fn children_of(part: &Part, call: u64) -> Option<&Children> {
    let all = &part.children;
    let place = all.binary_search_by_key(&call, |(seq, _)| *seq).ok()?;
    Some(&all[place].1)
}

fn sorted(numbers: &[u64]) -> Vec<u64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
}
