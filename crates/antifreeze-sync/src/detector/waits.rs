//! The waits that the detector has seen, by the frames that cannot go on because of them.

use std::borrow::Borrow;
use std::slice;
use std::sync::Arc;

use crate::calls::CallId;
use crate::sync::{HashMap, HashSet};
use crate::waiter::Waiter;

/// The waits that were seen, some of which are over.
///
/// Nearly always a frame has one wait, which is its own. A million of these take little more than a
/// million pointers.
#[derive(Default)]
pub(super) struct Waits {
    own: HashSet<ByFrame>,
    /// All waits of frames that have several, or wait because of another frame.
    several: HashMap<u64, Vec<Arc<Waiter>>>,
    /// Those that serve a call, by the call.
    serving: HashMap<CallId, Vec<u64>>,
    /// How many there were when those that are over were last thrown out.
    pruned: usize,
}

impl Waits {
    /// Keeps a wait because of which `frame` cannot go on.
    pub(super) fn keep(&mut self, frame: u64, waiter: Arc<Waiter>) {
        let is_own = waiter.agent.frame == frame;
        if is_own && let Some(parent) = waiter.agent.origin().and_then(|origin| origin.parent) {
            let serving = self.serving.entry(parent.call).or_default();
            if !serving.contains(&frame) {
                serving.push(frame);
            }
        }
        if !self.several.contains_key(&frame) {
            let known = self.own.take(&frame).map(|ByFrame(known)| known);
            let known = known.filter(|known| known.is_waiting() && !Arc::ptr_eq(known, &waiter));
            if is_own && known.is_none() {
                self.own.insert(ByFrame(waiter));
                return;
            }
            self.several.insert(frame, Vec::from_iter(known));
        }
        if let Some(all) = self.several.get_mut(&frame) {
            all.retain(|known| known.is_waiting() && !Arc::ptr_eq(known, &waiter));
            all.push(waiter);
        }
    }

    /// The waits of `frame` that go on.
    pub(super) fn of(&self, frame: u64) -> impl Iterator<Item = &Arc<Waiter>> + Clone {
        let waits = match self.own.get(&frame) {
            Some(ByFrame(own)) => slice::from_ref(own),
            None => self.several.get(&frame).map_or(&[][..], Vec::as_slice),
        };
        waits.iter().filter(|waiter| waiter.is_waiting())
    }

    /// Those that serve this call, some of which may not wait any more.
    pub(super) fn serving(&self, call: CallId) -> &[u64] {
        self.serving.get(&call).map_or(&[], Vec::as_slice)
    }

    /// Everybody who has waits, some of which may be over.
    pub(super) fn frames(&self) -> impl Iterator<Item = u64> {
        let own = self.own.iter().map(|ByFrame(own)| own.agent.frame);
        own.chain(self.several.keys().copied())
    }

    /// How many frames have waits, some of which may be over.
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.several.len()
    }

    /// Throws out what is over if that may be a lot: often enough to stay small while more come, and
    /// seldom enough to cost little.
    pub(super) fn prune(&mut self) {
        if self.len() > 64 + 2 * self.pruned {
            self.tidy();
        }
    }

    /// Throws out what is over.
    pub(super) fn tidy(&mut self) {
        self.own.retain(|ByFrame(own)| own.is_waiting());
        self.several
            .retain(|_, all| all.iter().any(|waiter| waiter.is_waiting()));
        let (own, several) = (&self.own, &self.several);
        self.serving.retain(|_, frames| {
            frames.retain(|frame| own.contains(frame) || several.contains_key(frame));
            !frames.is_empty()
        });
        self.pruned = self.len();
    }
}

/// A wait that is found by the frame that waits.
struct ByFrame(Arc<Waiter>);

impl Borrow<u64> for ByFrame {
    fn borrow(&self) -> &u64 {
        &self.0.agent.frame
    }
}

impl std::hash::Hash for ByFrame {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.agent.frame.hash(state);
    }
}

impl PartialEq for ByFrame {
    fn eq(&self, other: &Self) -> bool {
        self.0.agent.frame == other.0.agent.frame
    }
}

impl Eq for ByFrame {}

impl PartialOrd for ByFrame {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByFrame {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.agent.frame.cmp(&other.0.agent.frame)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::clock::Moment;
    use crate::report::{AgentKind, Mode};
    use crate::waiter::{Ended, How, Queued, Request, Signal, State};

    fn begin(agent: &Arc<Agent>) -> Queued {
        let request = Request {
            mode: Mode::Write,
            site: std::panic::Location::caller(),
            timed: false,
        };
        let signal = Signal::Call(Box::new(Box::new(|_| ())));
        Queued::new(
            Arc::clone(agent),
            How::Call,
            request,
            Moment::now(),
            1,
            0,
            signal,
        )
        .0
    }

    #[test]
    fn waits_that_go_on_are_kept_and_those_that_are_over_go() {
        let agents: Vec<_> = (0..3).map(|_| Agent::new(AgentKind::Call, None)).collect();
        let [one, two, three] = [0, 1, 2].map(|n: usize| agents[n].frame);
        let begun = [0, 1, 1, 2].map(|n| begin(&agents[n]));
        let mut waits = Waits::default();
        for queued in &begun {
            waits.keep(queued.agent.frame, Arc::clone(queued));
            // Seeing it twice changes nothing.
            waits.keep(queued.agent.frame, Arc::clone(queued));
        }
        // The first frame cannot go on because of the last one either.
        waits.keep(one, Arc::clone(&begun[3]));
        let of = |waits: &Waits| [one, two, three].map(|frame| waits.of(frame).count());
        assert_eq!((of(&waits), waits.len()), ([2, 2, 1], 3));

        let weak = begun.each_ref().map(|queued| Arc::downgrade(queued));
        let [first, second, third, fourth] = begun;
        let mut ended = Ended::default();
        ended.end(second, State::Granted);
        ended.end(fourth, State::Granted);
        ended.tell();
        assert_eq!(of(&waits), [1, 1, 0]);
        waits.tidy();
        assert_eq!((of(&waits), waits.len()), ([1, 1, 0], 2));
        ended = Ended::default();
        ended.end(first, State::Granted);
        ended.end(third, State::Granted);
        ended.tell();
        waits.tidy();
        assert_eq!(
            (waits.len(), weak.map(|waiter| waiter.strong_count())),
            (0, [0; 4])
        );
    }
}
