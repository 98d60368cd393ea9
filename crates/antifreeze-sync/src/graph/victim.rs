//! Whose wait fails, and what is shown as the proof.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::reduce::missing_at_first;
use super::{Edge, Frame, Graph, Need};

/// What decides whose wait fails.
///
/// What comes first in it decides first. Everything but `frame` may be left at its default where it
/// is not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Candidate {
    /// Who it is; of equals, the greatest number fails.
    pub frame: u64,
    /// How often it has been a victim: those who were more often are spared.
    pub times_victim: u32,
    /// Its wait has a deadline.
    pub timed: bool,
    /// The lower it is, the sooner it fails.
    pub priority: i8,
    /// It is a call whose method has not begun, so that nothing is lost if it fails.
    pub before_body: bool,
    /// Frames of the same root share it; greater is younger.
    pub birth: u64,
    /// How many calls lead to it from its root.
    pub depth: u32,
    /// None of its waits can be failed.
    pub spared: bool,
}

impl Candidate {
    /// The lowest is taken.
    fn rank(&self) -> impl Ord + use<> {
        (
            self.times_victim,
            !self.timed,
            self.priority,
            !self.before_body,
            (
                Reverse(self.birth),
                Reverse(self.depth),
                Reverse(self.frame),
            ),
        )
    }
}

/// Whose wait fails, among the `stuck` frames of `graph`; nobody if all are spared.
///
/// It is one of a knot that waits for nobody outside itself: to fail anybody else would not set the
/// knot free. Only where all such knots are spared, those who wait for them can fail; and only
/// where all are spared whom holders keep waiting, those who stand behind others in a queue.
pub fn victim(graph: &Graph, stuck: &[u64], of: impl Fn(u64) -> Candidate) -> Option<u64> {
    [false, true].into_iter().find_map(|with_soft| {
        let part = StuckPart::new(graph, stuck, with_soft);
        let knots = Knots::new(&part.edges());
        let lowest = |last: bool| {
            (0..part.frames.len())
                .filter(|place| knots.is_last(*place) == last)
                .map(|place| of(part.id(place)))
                .filter(|candidate| !candidate.spared)
                .min_by_key(Candidate::rank)
                .map(|candidate| candidate.frame)
        };
        lowest(true).or_else(|| lowest(false))
    })
}

/// The smallest set of `stuck` frames around `victim` that proves the deadlock, in the order of
/// waiting: it begins with `victim`, and who is nearer to it comes first.
///
/// Small, rather than smallest, where somebody waits for one of several: all of those are in it. If
/// `victim` waits for a ring without being in it, it is that ring, from its lowest.
pub fn closed_set(graph: &Graph, stuck: &[u64], victim: u64) -> Vec<u64> {
    // Whoever holds something is the better proof: only without one, it takes who came first.
    let part_of_victim = |with_soft| {
        let part = StuckPart::new(graph, stuck, with_soft);
        let place = part.place(victim)?;
        Some((part, place))
    };
    let Some((part, victim)) = part_of_victim(false).or_else(|| part_of_victim(true)) else {
        return Vec::new();
    };
    let chosen = Chosen::new(&part, victim);
    let mut members = chosen.reachable(victim);
    if !chosen.leads_back(victim, &members) {
        let knot = chosen.smallest_last_knot(&members);
        members = chosen.reachable(knot[0]);
    }
    members.into_iter().map(|place| part.id(place)).collect()
}

/// The stuck frames, each by its place in ascending order, and who among them is in whose way.
struct StuckPart<'a> {
    frames: Vec<(u64, &'a Frame)>,
    with_soft: bool,
}

impl<'a> StuckPart<'a> {
    /// Without `with_soft`, only those who are stuck though nobody came first.
    fn new(graph: &'a Graph, stuck: &[u64], with_soft: bool) -> Self {
        let known = |id: &u64| Some((*id, graph.frames.get(id)?));
        let mut frames: Vec<_> = stuck.iter().filter_map(known).collect();
        frames.sort_unstable_by_key(|(id, _)| *id);
        frames.dedup_by_key(|(id, _)| *id);
        if !with_soft && frames.iter().any(|(_, frame)| has_soft(frame)) {
            let without = super::stuck(graph, false);
            frames.retain(|(id, _)| without.binary_search(id).is_ok());
        }
        Self { frames, with_soft }
    }

    fn id(&self, place: usize) -> u64 {
        self.frames[place].0
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.frames.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    fn needs(&self, place: usize) -> &'a [Need] {
        &self.frames[place].1.waits
    }

    fn blocker(&self, edge: &Edge) -> Option<usize> {
        self.place(edge.frame)
            .filter(|_| self.with_soft || !edge.soft)
    }

    /// Who is in the way of whom.
    fn edges(&self) -> Vec<Vec<usize>> {
        let blockers = |place| {
            let mut blockers = Vec::new();
            for need in self.needs(place) {
                let InTheWay { together, each } = self.in_the_way(need);
                blockers.extend(together);
                blockers.extend(each);
            }
            sorted(blockers)
        };
        (0..self.frames.len()).map(blockers).collect()
    }

    fn in_the_way(&self, need: &Need) -> InTheWay {
        let mut each = Vec::new();
        let mut holders = Vec::new();
        let mut total: u128 = 0;
        let mut hold = |edge: &Edge, permits: u64| {
            total += u128::from(permits);
            holders.extend(self.blocker(edge).map(|place| (place, u128::from(permits))));
        };
        match need {
            Need::All(edges) => each.extend(edges.iter().filter_map(|edge| self.blocker(edge))),
            Need::Any(edges) => edges.iter().for_each(|edge| hold(edge, 1)),
            Need::Permits {
                holders: all,
                ahead,
                ..
            } => {
                all.iter().for_each(|(edge, permits)| hold(edge, *permits));
                if self.with_soft {
                    each.extend(ahead.iter().filter_map(|edge| self.blocker(edge)));
                }
            }
            Need::External => {}
        }
        // What they keep is only missed if what all others can give does not suffice.
        let missing = missing_at_first(need);
        let is_missed = |kept: u128| total - kept < missing;
        let alone = holders.iter().filter(|(_, permits)| is_missed(*permits));
        each.extend(alone.map(|(place, _)| *place));
        if !is_missed(holders.iter().map(|(_, permits)| permits).sum()) {
            holders.clear();
        }
        InTheWay {
            together: holders.into_iter().map(|(place, _)| place).collect(),
            each,
        }
    }
}

/// Whether anybody may stand in the way of `frame` who only came first.
fn has_soft(frame: &Frame) -> bool {
    frame.waits.iter().any(|need| match need {
        Need::All(edges) | Need::Any(edges) => edges.iter().any(|edge| edge.soft),
        Need::Permits { holders, ahead, .. } => {
            !ahead.is_empty() || holders.iter().any(|(edge, _)| edge.soft)
        }
        Need::External => false,
    })
}

/// Who of the stuck frames keep a wait from ending.
struct InTheWay {
    /// All of these are enough for that.
    together: Vec<usize>,
    /// Any one of these is.
    each: Vec<usize>,
}

/// Of all who are in the way, those who are shown.
struct Chosen {
    edges: Vec<Vec<usize>>,
}

impl Chosen {
    /// One blocker where one is enough, on a shortest way to `victim`.
    fn new(part: &StuckPart<'_>, victim: usize) -> Self {
        let ways = distances(&part.edges(), victim);
        let shown = |place| {
            let mut shown = Vec::new();
            for need in part.needs(place) {
                let InTheWay { together, each } = part.in_the_way(need);
                let way = |blocker: &usize| (ways[*blocker], *blocker);
                let nearest = each.into_iter().min_by_key(way);
                // If only a longer way leads over one, it could miss the victim.
                let shortest = together.iter().map(|blocker| ways[*blocker]).min();
                match nearest.filter(|one| shortest.is_none_or(|way| ways[*one] <= way)) {
                    Some(one) => shown.push(one),
                    None => shown.extend(together),
                }
            }
            sorted(shown)
        };
        Self {
            edges: (0..part.frames.len()).map(shown).collect(),
        }
    }

    /// `from` and all that its edges lead to, the nearest first.
    fn reachable(&self, from: usize) -> Vec<usize> {
        let mut seen = vec![false; self.edges.len()];
        seen[from] = true;
        let mut reached = vec![from];
        let mut done = 0;
        while let Some(&place) = reached.get(done) {
            done += 1;
            for next in &self.edges[place] {
                if !std::mem::replace(&mut seen[*next], true) {
                    reached.push(*next);
                }
            }
        }
        reached
    }

    fn leads_back(&self, to: usize, members: &[usize]) -> bool {
        members.iter().any(|place| self.edges[*place].contains(&to))
    }

    /// Of the knots within `members`, which are some, that wait for nobody outside themselves, the smallest.
    fn smallest_last_knot(&self, members: &[usize]) -> Vec<usize> {
        let knots = Knots::new(&self.edges);
        let mut last: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in members.iter().filter(|place| knots.is_last(**place)) {
            last.entry(knots.of[*place]).or_default().push(*place);
        }
        last.values_mut().for_each(|knot| knot.sort_unstable());
        let smallest = last.into_values().min_by_key(|knot| (knot.len(), knot[0]));
        smallest.unwrap_or_default()
    }
}

fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

/// How many edges each place is away from `to`.
fn distances(edges: &[Vec<usize>], to: usize) -> Vec<usize> {
    let mut behind = vec![Vec::new(); edges.len()];
    for (place, blockers) in edges.iter().enumerate() {
        for blocker in blockers {
            behind[*blocker].push(place);
        }
    }
    let mut distances = vec![usize::MAX; edges.len()];
    distances[to] = 0;
    let mut open = VecDeque::from([to]);
    while let Some(place) = open.pop_front() {
        for waiter in &behind[place] {
            if distances[*waiter] == usize::MAX {
                distances[*waiter] = distances[place] + 1;
                open.push_back(*waiter);
            }
        }
    }
    distances
}

/// The strongly connected components.
struct Knots {
    /// Which one each place is in.
    of: Vec<usize>,
    /// Whether an edge leads from it to another one.
    leads_out: Vec<bool>,
}

impl Knots {
    /// Tarjan's algorithm, with a path of its own instead of recursion: chains can be as long as
    /// there are frames.
    fn new(edges: &[Vec<usize>]) -> Self {
        const NONE: usize = usize::MAX;
        let mut knots = Self {
            of: vec![NONE; edges.len()],
            leads_out: Vec::new(),
        };
        let mut number = vec![NONE; edges.len()];
        let mut low = vec![NONE; edges.len()];
        let mut numbered = 0;
        // Numbered, and in no knot yet.
        let mut open = Vec::new();
        // From a root to where we are, each with how many of its edges were followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in 0..edges.len() {
            if number[root] == NONE {
                path.push((root, 0));
            }
            while let Some((place, followed)) = path.last_mut() {
                let place = *place;
                if number[place] == NONE {
                    number[place] = numbered;
                    low[place] = numbered;
                    numbered += 1;
                    open.push(place);
                }
                if let Some(next) = edges[place].get(*followed).copied() {
                    *followed += 1;
                    if number[next] == NONE {
                        path.push((next, 0));
                    } else if knots.of[next] == NONE {
                        low[place] = low[place].min(number[next]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent] = low[*parent].min(low[place]);
                }
                if low[place] == number[place] {
                    let first = open
                        .iter()
                        .rposition(|member| *member == place)
                        .unwrap_or(0);
                    knots.close(&open.split_off(first), edges);
                }
            }
        }
        knots
    }

    /// All that its edges lead to is in a knot already, or in this one.
    fn close(&mut self, members: &[usize], edges: &[Vec<usize>]) {
        let knot = self.leads_out.len();
        for member in members {
            self.of[*member] = knot;
        }
        let mut blockers = members.iter().flat_map(|member| &edges[*member]);
        self.leads_out
            .push(blockers.any(|blocker| self.of[*blocker] != knot));
    }

    fn is_last(&self, place: usize) -> bool {
        !self.leads_out[self.of[place]]
    }
}
