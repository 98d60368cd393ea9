//! What is to happen at some time, in one heap.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use antifreeze_proto::Time;

/// Timers are cheap; below this many nobody looks whether they are still needed.
const CROWDED: usize = 4096;

/// Timers, each with whom it serves.
pub(crate) struct Timers<W> {
    heap: BinaryHeap<Reverse<Due<W>>>,
    /// When the timers that serve nobody any more are thrown out.
    crowded_at: usize,
}

struct Due<W> {
    at: Time,
    whom: W,
}

impl<W> Timers<W> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            crowded_at: CROWDED,
        }
    }

    /// Adds a timer; if there are many, those that serve nobody any more go.
    pub(crate) fn add(&mut self, at: Time, whom: W, serves: impl Fn(&W) -> bool) {
        if self.heap.len() >= self.crowded_at {
            self.heap.retain(|due| serves(&due.0.whom));
            self.crowded_at = (2 * self.heap.len()).max(CROWDED);
        }
        self.heap.push(Reverse(Due { at, whom }));
    }

    /// When the next timer fires that serves anybody; nobody shall wake for the others.
    pub(crate) fn next(&mut self, serves: impl Fn(&W) -> bool) -> Option<Time> {
        while let Some(due) = self.heap.peek() {
            if serves(&due.0.whom) {
                return Some(due.0.at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes out a timer that has fired by `now`.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<W> {
        let due = self.heap.peek_mut().filter(|due| due.0.at <= now)?;
        Some(std::collections::binary_heap::PeekMut::pop(due).0.whom)
    }
}

impl<W> PartialEq for Due<W> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<W> Eq for Due<W> {}

impl<W> PartialOrd for Due<W> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<W> Ord for Due<W> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_those_that_serve_nobody_go() {
        let mut timers = Timers::new();
        for n in (0..CROWDED as u64).rev() {
            timers.add(Time::from_nanos(n), n, |_| true);
        }
        timers.add(Time::from_nanos(1), 1, |n| n % 1000 == 0);
        assert_eq!(timers.next(|_| true), Some(Time::ZERO));
        let mut fired = Vec::new();
        while let Some(n) = timers.take_due(Time::from_nanos(2000)) {
            fired.push(n);
        }
        assert_eq!(fired, [0, 1, 1000, 2000]);
        assert_eq!(timers.next(|_| true), Some(Time::from_nanos(3000)));
        assert_eq!(timers.next(|n| *n > 3000), Some(Time::from_nanos(4000)));
        assert_eq!(timers.next(|_| false), None);
    }
}
