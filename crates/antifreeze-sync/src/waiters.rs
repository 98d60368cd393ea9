//! Those who wait for one thing, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::monitor::Holding;
use crate::waiter::{How, Waiter};

/// Those who wait for one thing, in the order in which they came.
///
/// Somebody who leaves the middle leaves a hole, so that a million who leave in any order cost no
/// more than a million times one.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Sorted by ticket. The ends are never holes.
    places: VecDeque<(i64, Option<Arc<Waiter>>)>,
    living: usize,
    /// How many of them must not be overtaken: all but blocked threads.
    in_order: usize,
    next: i64,
    /// The lowest ticket that the detector has not seen yet.
    unseen: i64,
    /// The detector knows of this queue and comes by.
    pub(crate) watched: bool,
}

/// What is left to see in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unseen {
    Nothing,
    /// Somebody, who began to wait at this time.
    Since(Instant),
    /// More than were asked for.
    More,
}

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

    pub(crate) fn front(&self) -> Option<&Arc<Waiter>> {
        self.places.front().and_then(|(_, waiter)| waiter.as_ref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Waiter>> {
        self.places.iter().filter_map(|(_, waiter)| waiter.as_ref())
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
            .filter_map(|(_, other)| other.as_deref())
            .filter(|other| is(other))
            .map(Holding::queued)
            .collect()
    }

    /// Puts `waiter` at the end. Says whether the detector should be told of the queue.
    pub(crate) fn push(&mut self, waiter: Arc<Waiter>) -> bool {
        let ticket = self.next;
        self.next += 1;
        self.admit(&waiter, ticket);
        self.places.push_back((ticket, Some(waiter)));
        !std::mem::replace(&mut self.watched, true)
    }

    /// Puts `waiter` before all others. Says whether the detector should be told of the queue.
    pub(crate) fn push_front(&mut self, waiter: Arc<Waiter>) -> bool {
        let ticket = self.places.front().map_or(self.next, |(first, _)| *first) - 1;
        self.admit(&waiter, ticket);
        self.unseen = self.unseen.min(ticket);
        self.places.push_front((ticket, Some(waiter)));
        !std::mem::replace(&mut self.watched, true)
    }

    fn admit(&mut self, waiter: &Waiter, ticket: i64) {
        waiter.set_ticket(ticket);
        self.living += 1;
        self.in_order += usize::from(waiter.how != How::Blocked);
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Waiter>> {
        let (_, waiter) = self.places.pop_front()?;
        self.trim();
        if let Some(waiter) = &waiter {
            self.leave(waiter);
        }
        waiter
    }

    /// Takes `waiter` out, if it is there.
    pub(crate) fn remove(&mut self, waiter: &Waiter) -> bool {
        let Some(position) = self.position(waiter) else {
            return false;
        };
        let place = &mut self.places[position].1;
        if !place
            .as_deref()
            .is_some_and(|there| std::ptr::eq(there, waiter))
        {
            return false;
        }
        *place = None;
        self.leave(waiter);
        self.trim();
        if self.places.len() > 32 + 2 * self.living {
            self.places.retain(|(_, waiter)| waiter.is_some());
        }
        true
    }

    pub(crate) fn contains(&self, waiter: &Waiter) -> bool {
        self.position(waiter)
            .and_then(|position| self.places[position].1.as_deref())
            .is_some_and(|there| std::ptr::eq(there, waiter))
    }

    fn leave(&mut self, waiter: &Waiter) {
        self.living -= 1;
        self.in_order -= usize::from(waiter.how != How::Blocked);
    }

    /// Takes the holes off the ends.
    fn trim(&mut self) {
        while matches!(self.places.front(), Some((_, None))) {
            self.places.pop_front();
        }
        while matches!(self.places.back(), Some((_, None))) {
            self.places.pop_back();
        }
    }

    fn position(&self, waiter: &Waiter) -> Option<usize> {
        let ticket = waiter.ticket()?;
        self.places
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()
    }

    /// Gives out up to `limit` of those who wait since `before` or longer, each of them once.
    pub(crate) fn see(
        &mut self,
        before: Instant,
        limit: usize,
        out: &mut Vec<Arc<Waiter>>,
    ) -> Unseen {
        let begin = self
            .places
            .partition_point(|(ticket, _)| *ticket < self.unseen);
        let enough = out.len() + limit;
        for (ticket, waiter) in self.places.range(begin..) {
            let Some(waiter) = waiter else { continue };
            if waiter.since > before {
                return Unseen::Since(waiter.since);
            }
            if out.len() == enough {
                return Unseen::More;
            }
            self.unseen = ticket + 1;
            out.push(Arc::clone(waiter));
        }
        self.unseen = self.next;
        Unseen::Nothing
    }

    /// Forgets everybody.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            watched: self.watched,
            ..Self::default()
        };
    }
}
