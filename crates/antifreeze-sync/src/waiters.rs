//! Those who wait for one thing, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Moment;
use crate::monitor::Holding;
use crate::waiter::{How, Lent, Queued, Waiter};

/// Those who wait for one thing, in the order in which they came.
///
/// Somebody who leaves the middle leaves a hole, so that a million who leave in any order cost no
/// more than a million times one.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Sorted by ticket. The ends are never holes.
    places: VecDeque<Place>,
    living: usize,
    /// How many of them must not be overtaken: all but blocked threads.
    in_order: usize,
    next: i64,
    /// The lowest ticket that the detector has not seen yet.
    unseen: i64,
    /// What the clock said when it was last looked at here.
    clock: Moment,
    /// The detector knows of this queue and comes by.
    pub(crate) watched: bool,
}

/// A place in the queue.
enum Place {
    Taken(Queued),
    /// Whoever had this ticket has left.
    Hole(i64),
}

impl Place {
    fn ticket(&self) -> i64 {
        match self {
            Self::Taken(queued) => queued.ticket().unwrap_or(i64::MIN),
            Self::Hole(ticket) => *ticket,
        }
    }

    fn waiter(&self) -> Option<&Arc<Waiter>> {
        match self {
            Self::Taken(queued) => Some(queued),
            Self::Hole(_) => None,
        }
    }
}

/// What is left to see in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unseen {
    Nothing,
    /// Somebody, who began to wait at this time.
    Since(Moment),
    /// More than were asked for.
    More,
    /// Nobody knows: somebody else is at the queue.
    Busy,
}

/// One in so many waits of tasks has the clock looked at, which takes a quarter of the time of a hand-over.
const LOOKS_AT_CLOCK: i64 = 64;

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.living == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.living
    }

    /// Whether somebody waits who must not be overtaken.
    pub(crate) fn in_order(&self) -> bool {
        self.in_order > 0
    }

    /// The time, or the time a moment ago: when somebody else looked, at `tick`, or one of the last to come
    /// here did, whichever is later.
    ///
    /// By the first of these alone, everybody who waits when the detector comes by might have done so since
    /// it last came by, and would be looked at though the queue moves.
    #[inline]
    pub(crate) fn about_now(&mut self, tick: Moment) -> Moment {
        if self.next % LOOKS_AT_CLOCK == 0 {
            self.clock = Moment::now();
        }
        self.clock.max(tick)
    }

    pub(crate) fn front(&self) -> Option<&Arc<Waiter>> {
        self.places.front().and_then(Place::waiter)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Waiter>> {
        self.places.iter().filter_map(Place::waiter)
    }

    /// Those before `waiter` who keep it out: of the nearest and of the first ones, in a long queue.
    ///
    /// In between nobody is looked for, since a million may ask this at once.
    pub(crate) fn obstructing(
        &self,
        waiter: &Waiter,
        is: impl Fn(&Waiter) -> bool,
    ) -> Vec<Holding> {
        const NEAR: usize = 64;
        let end = self.position(waiter).unwrap_or(0);
        let near = end.saturating_sub(NEAR);
        let places = self.places.range(near..end).rev();
        places
            .chain(self.places.range(..near.min(NEAR)))
            .filter_map(Place::waiter)
            .filter(|other| is(other))
            .map(|other| Holding::queued(other))
            .collect()
    }

    /// Puts `queued` at the end. Says whether the detector should be told of the queue.
    #[inline(always)]
    pub(crate) fn push(&mut self, queued: Queued) -> bool {
        let ticket = self.next;
        self.next += 1;
        self.admit(&queued, ticket);
        self.places.push_back(Place::Taken(queued));
        !std::mem::replace(&mut self.watched, true)
    }

    /// Puts `queued` before all others. Says whether the detector should be told of the queue.
    pub(crate) fn push_front(&mut self, queued: Queued) -> bool {
        let ticket = self.places.front().map_or(self.next, Place::ticket) - 1;
        self.admit(&queued, ticket);
        self.unseen = self.unseen.min(ticket);
        self.places.push_front(Place::Taken(queued));
        !std::mem::replace(&mut self.watched, true)
    }

    fn admit(&mut self, waiter: &Waiter, ticket: i64) {
        waiter.set_ticket(ticket);
        self.living += 1;
        self.in_order += usize::from(waiter.how != How::Blocked);
    }

    /// The first, if its wait is lent.
    #[inline(always)]
    pub(crate) fn front_lent(&self) -> Option<&Lent> {
        match self.places.front()? {
            Place::Taken(Queued::Lent(lent)) => Some(lent),
            _ => None,
        }
    }

    /// Takes out the first.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let Place::Taken(queued) = self.places.pop_front()? else {
            unreachable!("the ends are never holes");
        };
        if let Some(Place::Hole(_)) = self.places.front() {
            self.trim();
        }
        self.leave(&queued);
        Some(queued)
    }

    /// Takes `waiter` out, if it is there.
    pub(crate) fn remove(&mut self, waiter: &Waiter) -> Option<Queued> {
        let position = self.position(waiter)?;
        let place = &mut self.places[position];
        let hole = Place::Hole(place.ticket());
        let Place::Taken(queued) = std::mem::replace(place, hole) else {
            return None;
        };
        self.leave(&queued);
        self.trim();
        if self.places.len() > 32 + 2 * self.living {
            self.places.retain(|place| place.waiter().is_some());
        }
        Some(queued)
    }

    /// What goes with `waiter`, if it is there.
    pub(crate) fn get_mut(&mut self, waiter: &Waiter) -> Option<&mut Queued> {
        let position = self.position(waiter)?;
        match &mut self.places[position] {
            Place::Taken(queued) => Some(queued),
            Place::Hole(_) => None,
        }
    }

    fn leave(&mut self, waiter: &Waiter) {
        self.living -= 1;
        self.in_order -= usize::from(waiter.how != How::Blocked);
    }

    /// Takes the holes off the ends.
    fn trim(&mut self) {
        while matches!(self.places.front(), Some(Place::Hole(_))) {
            self.places.pop_front();
        }
        while matches!(self.places.back(), Some(Place::Hole(_))) {
            self.places.pop_back();
        }
    }

    /// Where `waiter` is, if it is there.
    fn position(&self, waiter: &Waiter) -> Option<usize> {
        let ticket = waiter.ticket()?;
        let first = self.places.front()?.ticket();
        // Unless holes were thrown out, tickets are without gaps.
        let guess = usize::try_from(ticket.checked_sub(first)?).ok()?;
        let is_at = |position: &usize| {
            let place = self.places.get(*position).and_then(Place::waiter);
            place.is_some_and(|there| std::ptr::eq(&**there, waiter))
        };
        Some(guess).filter(is_at).or_else(|| {
            let found = self.places.binary_search_by_key(&ticket, Place::ticket);
            found.ok().filter(is_at)
        })
    }

    /// Gives out up to `limit` of those who wait since `before` or longer, each of them once.
    pub(crate) fn see(
        &mut self,
        before: Moment,
        limit: usize,
        out: &mut Vec<Arc<Waiter>>,
    ) -> Unseen {
        let begin = self
            .places
            .partition_point(|place| place.ticket() < self.unseen);
        let enough = out.len() + limit;
        for waiter in self.places.range(begin..).filter_map(Place::waiter) {
            if waiter.since > before {
                return Unseen::Since(waiter.since);
            }
            if out.len() == enough {
                return Unseen::More;
            }
            self.unseen = waiter.ticket().map_or(self.unseen, |ticket| ticket + 1);
            out.push(Arc::clone(waiter));
        }
        self.unseen = self.next;
        Unseen::Nothing
    }

    /// Forgets everybody, and what wakes them.
    pub(crate) fn clear(&mut self) {
        for place in &mut self.places {
            if let Place::Taken(queued) = place {
                queued.keep();
            }
        }
        *self = Self {
            watched: self.watched,
            ..Self::default()
        };
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::report::{AgentKind, Mode};
    use crate::waiter::{Request, Signal, State};

    #[test]
    fn whoever_has_just_come_to_a_queue_that_moves_is_not_looked_at() {
        let agent = Agent::new(AgentKind::Call, None);
        let mut waiters = Waiters::default();
        let begin = |waiters: &mut Waiters, tick| {
            let request = Request {
                mode: Mode::Write,
                site: std::panic::Location::caller(),
                timed: false,
            };
            let since = waiters.about_now(tick);
            let signal = Signal::Call(Box::new(Box::new(|_| ())));
            let agent = Arc::clone(&agent);
            let (queued, _) = Queued::new(agent, How::Call, request, since, 1, 0, signal);
            waiters.push(queued);
        };
        // The detector has come by once, long ago.
        let tick = Moment::now();
        for _ in 0..LOOKS_AT_CLOCK {
            begin(&mut waiters, tick);
            waiters.pop().unwrap().end(State::Granted);
        }
        let before = Moment::now();
        begin(&mut waiters, tick);
        let mut seen = Vec::new();
        let unseen = waiters.see(before, 10, &mut seen);
        assert!(matches!(unseen, Unseen::Since(since) if since > before));
        assert!(seen.is_empty());
        // But whoever stays is.
        begin(&mut waiters, tick);
        let unseen = waiters.see(Moment::now(), 10, &mut seen);
        assert_eq!((unseen, seen.len()), (Unseen::Nothing, 2));
    }
}
