//! The waits that the detector has seen, by the frames that cannot go on because of them.

use std::borrow::Borrow;
use std::slice;
use std::sync::Arc;

use crate::agent::Agent;
use crate::calls::CallId;
use crate::sync::{HashMap, HashSet};
use crate::waiter::Waiter;

/// Waits that are over, to be dropped when nothing is locked: what wakes a task may be dropped with
/// them, and that is not ours.
pub(super) type Thrown = Vec<Arc<Waiter>>;

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
    /// Keeps a wait because of which `frame` cannot go on, and throws out those that are over.
    pub(super) fn keep(&mut self, frame: u64, waiter: Arc<Waiter>, thrown: &mut Thrown) {
        let is_own = waiter.agent.frame == frame;
        if is_own && let Some(parent) = waiter.agent.origin().and_then(|origin| origin.parent) {
            let serving = self.serving.entry(parent.call).or_default();
            if !serving.contains(&frame) {
                serving.push(frame);
            }
        }
        if !self.several.contains_key(&frame) {
            let known = self.own.take(&frame).map(|ByFrame(known)| known);
            let known = known.filter(|known| stays(known, thrown) && !Arc::ptr_eq(known, &waiter));
            if is_own && known.is_none() {
                self.own.insert(ByFrame(waiter));
                return;
            }
            self.several.insert(frame, Vec::from_iter(known));
        }
        if let Some(all) = self.several.get_mut(&frame) {
            all.retain(|known| stays(known, thrown) && !Arc::ptr_eq(known, &waiter));
            all.push(waiter);
        }
    }

    /// Throws out the waits of `agent` if all of them are over, and else those of them that only we
    /// have still.
    pub(super) fn forget(&mut self, agent: &Agent, thrown: &mut Thrown) {
        let frame = agent.frame;
        if self.of(frame).next().is_some() {
            if let Some(all) = self.several.get_mut(&frame) {
                all.retain(|known| Arc::strong_count(known) > 1 || stays(known, thrown));
            }
            return;
        }
        thrown.extend(self.own.take(&frame).map(|ByFrame(own)| own));
        thrown.extend(self.several.remove(&frame).into_iter().flatten());
        if let Some(parent) = agent.origin().and_then(|origin| origin.parent)
            && let Some(frames) = self.serving.get_mut(&parent.call)
        {
            frames.retain(|other| *other != frame);
            if frames.is_empty() {
                self.serving.remove(&parent.call);
            }
        }
    }

    /// The waits of `frame` that go on.
    pub(super) fn of(&self, frame: u64) -> impl Iterator<Item = &Arc<Waiter>> + Clone {
        let waits = self.kept(frame).iter();
        waits.filter(|waiter| waiter.is_waiting())
    }

    /// The waits of `frame`, some of which may be over.
    pub(super) fn kept(&self, frame: u64) -> &[Arc<Waiter>] {
        match self.own.get(&frame) {
            Some(ByFrame(own)) => slice::from_ref(own),
            None => self.several.get(&frame).map_or(&[][..], Vec::as_slice),
        }
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
    pub(super) fn prune(&mut self, thrown: &mut Thrown) {
        if self.len() > 64 + 2 * self.pruned {
            self.tidy(thrown);
        }
    }

    /// Throws out what is over.
    pub(super) fn tidy(&mut self, thrown: &mut Thrown) {
        self.own.retain(|ByFrame(own)| stays(own, thrown));
        self.several.retain(|_, all| {
            let goes_on = all.iter().any(|waiter| waiter.is_waiting());
            if !goes_on {
                thrown.append(all);
            }
            goes_on
        });
        let (own, several) = (&self.own, &self.several);
        self.serving.retain(|_, frames| {
            frames.retain(|frame| own.contains(frame) || several.contains_key(frame));
            !frames.is_empty()
        });
        self.pruned = self.len();
    }
}

/// Whether the wait goes on. If not, it is thrown out.
fn stays(waiter: &Arc<Waiter>, thrown: &mut Thrown) -> bool {
    let goes_on = waiter.is_waiting();
    if !goes_on && waiter.has_task() {
        thrown.push(Arc::clone(waiter));
    }
    goes_on
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
    use crate::report::{AgentKind, Mode};
    use crate::waiter::{Ended, How, Queued, Request, Signal, State};

    fn begin(agent: &Arc<Agent>) -> Queued {
        let request = Request {
            mode: Mode::Write,
            site: std::panic::Location::caller(),
            timed: false,
        };
        let signal = Signal::Call(Box::new(Box::new(|_| ())));
        Queued::new(Arc::clone(agent), How::Call, request, 1, 0, signal)
    }

    #[test]
    fn waits_that_go_on_are_kept_and_those_that_are_over_go() {
        let agents: Vec<_> = (0..3).map(|_| Agent::new(AgentKind::Call, None)).collect();
        let [one, two, three] = [0, 1, 2].map(|n: usize| agents[n].frame);
        let begun = [0, 1, 1, 2].map(|n| begin(&agents[n]));
        let (mut waits, mut thrown) = (Waits::default(), Thrown::new());
        for queued in &begun {
            waits.keep(queued.agent.frame, Arc::clone(queued), &mut thrown);
            // Seeing it twice changes nothing.
            waits.keep(queued.agent.frame, Arc::clone(queued), &mut thrown);
        }
        // The first frame cannot go on because of the last one either.
        waits.keep(one, Arc::clone(&begun[3]), &mut thrown);
        let of = |waits: &Waits| [one, two, three].map(|frame| waits.of(frame).count());
        assert_eq!((of(&waits), waits.len()), ([2, 2, 1], 3));

        let weak = begun.each_ref().map(|queued| Arc::downgrade(queued));
        let [first, second, third, fourth] = begun;
        let mut ended = Ended::default();
        ended.end(second, State::Granted);
        ended.end(fourth, State::Granted);
        ended.tell();
        assert_eq!(of(&waits), [1, 1, 0]);
        waits.tidy(&mut thrown);
        assert_eq!((of(&waits), waits.len()), ([1, 1, 0], 2));
        ended = Ended::default();
        ended.end(first, State::Granted);
        ended.end(third, State::Granted);
        ended.tell();
        waits.forget(&agents[0], &mut thrown);
        waits.forget(&agents[1], &mut thrown);
        drop(thrown);
        assert_eq!(
            (waits.len(), weak.map(|waiter| waiter.strong_count())),
            (0, [0; 4])
        );
    }
}
