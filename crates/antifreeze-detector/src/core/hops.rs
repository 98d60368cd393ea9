//! Frames that came through opaque hops, and reports of such frames.

use std::collections::hash_map::Entry;
use std::time::Duration;

use super::{
    BELIEVED, Core, Known, LONG_LIFE, MOST_CALLS, MOST_CHILDREN, MOST_ROOTS, PATIENCE, Purpose,
    REFRESH, Served, Timer, UNREACHABLE,
};
use crate::faults::Fault;
use crate::home::{CallId, Home, Peer, Reading, Root};
use crate::wire::{Attach, Body, Child};

impl Core {
    pub(super) fn on_served(
        &mut self,
        now: Duration,
        frame: u64,
        parent: CallId,
        caller: Peer,
        via: Option<String>,
    ) {
        let siblings = self.by_parent.entry(parent).or_default();
        siblings.push(frame);
        let siblings = siblings.clone();
        let due = now + PATIENCE;
        let served = Served {
            parent,
            caller,
            via,
            since: now,
            due,
            again: None,
            queued: Vec::new(),
        };
        self.served.insert(frame, served);
        self.timers.insert((due, Timer::Served(frame)));
        // A fork shows only while there are several.
        if siblings.len() > 1 {
            for frame in siblings {
                self.attach_first(now, frame);
            }
        }
    }

    pub(super) fn on_ended(&mut self, now: Duration, frame: u64) {
        if self
            .served
            .get(&frame)
            .is_some_and(|served| served.again.is_some())
        {
            self.attach(now, frame, true);
        }
        let Some(served) = self.served.remove(&frame) else {
            return;
        };
        self.timers.remove(&(served.due, Timer::Served(frame)));
        if let Some(siblings) = self.by_parent.get_mut(&served.parent) {
            siblings.retain(|sibling| *sibling != frame);
            if siblings.is_empty() {
                self.by_parent.remove(&served.parent);
            }
        }
    }

    /// A frame that waits, or lives long, reports itself; and again, so that it stays believed.
    pub(super) fn look_at_served(&mut self, now: Duration, frame: u64, home: &mut impl Home) {
        let Some(served) = self.served.get(&frame) else {
            return;
        };
        let (age, again, occupies) = (now - served.since, served.again, served.via.is_some());
        let reading = match occupies || again.is_none() {
            true => home.read(&[Root::Frame(frame)]),
            false => Reading::default(),
        };
        let waits = reading.frames.iter().any(|read| read.number() == frame);
        let queued: Vec<u64> = reading.queued().map(|(call, _)| call).collect();
        let is_new = queued.iter().any(|call| !served.queued.contains(call));
        if match again {
            None => waits || age >= LONG_LIFE,
            Some(again) => now >= again,
        } {
            self.attach(now, frame, false);
        }
        // Others may wait for it of whom nothing is known here, so nobody else would look. Nor does anybody
        // when whoever it has waited for all the time wants what it occupies: no wait for a lock begins.
        if waits && occupies && (is_new || !self.waits.contains_key(&frame)) {
            self.on_leaves(now, frame, PATIENCE, false);
        }
        if let Some(served) = self.served.get_mut(&frame) {
            served.queued = queued;
            served.due = now
                + match served.again {
                    None => age.min(LONG_LIFE - age),
                    Some(_) if occupies => LONG_LIFE / 2,
                    Some(again) => again.saturating_sub(now),
                };
            self.timers.insert((served.due, Timer::Served(frame)));
        }
    }

    /// Has those in `reading` report themselves that should and have not. Says whether there were any
    /// whose report takes time.
    pub(super) fn attach_all(&mut self, now: Duration, reading: &Reading) -> bool {
        let mut on_the_way = false;
        for frame in &reading.frames {
            on_the_way |= self.attach_first(now, frame.number());
        }
        on_the_way
    }

    /// Reports this frame, if that was not done before. Says whether that takes time.
    fn attach_first(&mut self, now: Duration, frame: u64) -> bool {
        let served = self.served.get(&frame);
        served.is_some_and(|served| served.again.is_none()) && self.attach(now, frame, false)
    }

    /// Reports this frame to whoever made the call that led to it. Says whether that takes time.
    pub(super) fn attach(&mut self, now: Duration, frame: u64, ended: bool) -> bool {
        let Some(served) = self.served.get_mut(&frame) else {
            return false;
        };
        served.again = Some(now + REFRESH);
        let caller = served.caller.clone();
        let attach = Attach {
            call: served.parent.seq,
            child: Child {
                peer: self.me.clone(),
                frame,
            },
            ended,
        };
        if self.is(Fault::AttachDropped) {
            return false;
        }
        self.counters.attaches += 1;
        if caller.node == self.me.node {
            self.attached(now, attach);
            return false;
        }
        self.ask(now, caller, Body::Attach(attach), Purpose::Attach(frame));
        true
    }

    /// The caller could not be told.
    pub(super) fn attach_again(&mut self, now: Duration, frame: u64) {
        if let Some(served) = self.served.get_mut(&frame)
            && !served.caller.address.is_empty()
        {
            self.timers.remove(&(served.due, Timer::Served(frame)));
            served.due = now + UNREACHABLE;
            served.again = Some(served.due);
            self.timers.insert((served.due, Timer::Served(frame)));
        }
    }

    pub(super) fn attached(&mut self, now: Duration, attach: Attach) {
        let Attach { call, child, ended } = attach;
        let full = self.children.len() >= MOST_CALLS;
        let known = match self.children.entry(call) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full || ended => return,
            Entry::Vacant(place) => place.insert(Known::default()),
        };
        known.until = now + BELIEVED;
        self.timers.insert((known.until, Timer::Forget));
        let place = known.children.iter().position(|(one, _)| *one == child);
        match (place, ended) {
            (Some(place), false) => return known.children[place].1 = known.until,
            (None, true) => return,
            (Some(place), true) => drop(known.children.remove(place)),
            (None, false) if known.children.len() == MOST_CHILDREN => {
                known.changes += 1;
                return;
            }
            (None, false) => known.children.push((child, known.until)),
        }
        known.changes += 1;
        // Who has come or gone may be what was missing, or the last that was too many; most likely for the newest. What else
        // is missing may be told to somebody else, so they are looked at soon again as well.
        let waits = self.waits.iter_mut().rev().take(MOST_ROOTS);
        let waits = waits.map(|(frame, wait)| {
            wait.looked = 0;
            *frame
        });
        for frame in waits.collect::<Vec<u64>>() {
            self.look_at_wait_at(now, frame);
        }
    }

    pub(super) fn forget(&mut self, now: Duration) {
        self.children.retain(|_, known| {
            known.children.retain(|(_, until)| *until > now);
            known.until > now
        });
        self.not_admitted.retain(|_, until| *until > now);
        self.admitted.retain(|_, until| *until > now);
    }
}
