//! Who can never go on.

use super::{Frame, Graph, Need};

/// The frames of `graph` that can never go on, in ascending order.
///
/// What is left when everybody who can go on has gone on, and set others free by that. Without
/// `with_soft`, nobody stands in the way who only came first.
///
/// A wait that nobody known stands in the way of can end, and permits that nobody known holds come
/// back: so each wait of a stuck frame has a stuck frame in its way.
pub fn stuck(graph: &Graph, with_soft: bool) -> Vec<u64> {
    let mut frames: Vec<(u64, &Frame)> = graph.frames.iter().map(|(id, f)| (*id, f)).collect();
    frames.sort_unstable_by_key(|(id, _)| *id);
    let mut reduction = Reduction {
        waits: Vec::new(),
        behind: vec![Vec::new(); frames.len()],
        going: vec![false; frames.len()],
        news: Vec::new(),
    };
    for (waiter, (_, frame)) in frames.iter().enumerate() {
        reduction.add(waiter, frame, with_soft, |id| {
            frames.binary_search_by_key(&id, |(id, _)| *id).ok()
        });
    }
    reduction.run();
    frames
        .iter()
        .zip(reduction.going)
        .filter(|(_, going)| !going)
        .map(|((id, _), _)| *id)
        .collect()
}

/// Frames by their place in the sorted list, waits by theirs in `waits`.
struct Reduction {
    waits: Vec<Wait>,
    /// What to count down when this frame goes on.
    behind: Vec<Vec<(usize, Counts)>>,
    /// Who can go on.
    going: Vec<bool>,
    /// Those of them whose followers were not told yet.
    news: Vec<usize>,
}

/// All needs have the same form: everybody of some, and enough of others.
struct Wait {
    waiter: usize,
    /// How many still have to go on.
    blockers: usize,
    /// How many permits, or partners, are still missing.
    missing: u128,
}

/// What a frame that goes on does to a wait.
#[derive(Clone, Copy)]
enum Counts {
    Blocker,
    Permits(u64),
}

impl Reduction {
    fn add(
        &mut self,
        waiter: usize,
        frame: &Frame,
        with_soft: bool,
        place: impl Fn(u64) -> Option<usize>,
    ) {
        if frame.external || frame.waits.is_empty() {
            self.go(waiter);
            return;
        }
        for need in &frame.waits {
            let wait = self.waits.len();
            let (mut blockers, mut missing) = (0, missing_at_first(need));
            let mut count = |edge: &super::Edge, counts: Counts| {
                let in_the_way = with_soft || !edge.soft;
                match (place(edge.frame).filter(|_| in_the_way), counts) {
                    (Some(blocker), counts) => {
                        self.behind[blocker].push((wait, counts));
                        blockers += usize::from(matches!(counts, Counts::Blocker));
                    }
                    (None, Counts::Blocker) => {}
                    (None, Counts::Permits(some)) => {
                        missing = missing.saturating_sub(u128::from(some));
                    }
                }
            };
            match need {
                Need::All(edges) => edges.iter().for_each(|edge| count(edge, Counts::Blocker)),
                Need::Any(edges) => edges
                    .iter()
                    .for_each(|edge| count(edge, Counts::Permits(1))),
                Need::Permits { holders, ahead, .. } => {
                    for (edge, permits) in holders {
                        count(edge, Counts::Permits(*permits));
                    }
                    if with_soft {
                        ahead.iter().for_each(|edge| count(edge, Counts::Blocker));
                    }
                }
                Need::External => {}
            }
            self.waits.push(Wait {
                waiter,
                blockers,
                missing,
            });
            self.end_if_met(wait);
        }
    }

    fn run(&mut self) {
        while let Some(frame) = self.news.pop() {
            for (wait, counts) in std::mem::take(&mut self.behind[frame]) {
                let open = &mut self.waits[wait];
                match counts {
                    Counts::Blocker => open.blockers -= 1,
                    Counts::Permits(some) => {
                        open.missing = open.missing.saturating_sub(u128::from(some));
                    }
                }
                self.end_if_met(wait);
            }
        }
    }

    fn end_if_met(&mut self, wait: usize) {
        let wait = &self.waits[wait];
        if wait.blockers == 0 && wait.missing == 0 {
            self.go(wait.waiter);
        }
    }

    fn go(&mut self, frame: usize) {
        if !std::mem::replace(&mut self.going[frame], true) {
            self.news.push(frame);
        }
    }
}

/// How many permits, or partners, have to come from others before `need` is met.
pub(super) fn missing_at_first(need: &Need) -> u128 {
    match need {
        Need::All(_) | Need::External => 0,
        Need::Any(edges) => edges.len().min(1) as u128,
        Need::Permits {
            wanted,
            free,
            holders,
            ..
        } => {
            let held: u128 = holders
                .iter()
                .map(|(_, permits)| u128::from(*permits))
                .sum();
            u128::from(*wanted)
                .saturating_sub(u128::from(*free))
                .min(held)
        }
    }
}
