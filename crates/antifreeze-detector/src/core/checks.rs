//! Waits that lead to other processes, and the checks that are about them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::{
    ADMISSION, Core, MOST_EARLY, MOST_IN_A_ROW, PATIENCE, Purpose, REPEATS, Timer, UNREACHABLE,
    Wait,
};
use crate::check::{Check, Decision, Place};
use crate::faults::Fault;
use crate::home::{Home, Reading, Root};
use crate::wire::{Ask, Body, Decided, Part, Verdict};

impl Core {
    pub(super) fn on_leaves(&mut self, now: Duration, frame: u64, waited: Duration, at_once: bool) {
        let patience = match at_once {
            true => Duration::ZERO,
            false => self.between(PATIENCE / 2, PATIENCE * 3 / 2),
        };
        let due = now + patience.saturating_sub(waited);
        self.forget_wait(frame);
        let wait = Wait {
            due,
            patience,
            early: 0,
            looked: 0,
            in_a_row: 0,
            after_attach: false,
        };
        self.waits.insert(frame, wait);
        self.timers.insert((due, Timer::Wait(frame)));
    }

    pub(super) fn forget_wait(&mut self, frame: u64) {
        if let Some(wait) = self.waits.remove(&frame) {
            self.timers.remove(&(wait.due, Timer::Wait(frame)));
        }
    }

    pub(super) fn look_at_wait_at(&mut self, due: Duration, frame: u64) {
        if let Some(wait) = self.waits.get_mut(&frame) {
            self.timers.remove(&(wait.due, Timer::Wait(frame)));
            wait.due = due;
            self.timers.insert((due, Timer::Wait(frame)));
        }
    }

    /// Looks where these waits lead. Begins a check where they leave this process, and forgets those
    /// that do not.
    pub(super) fn look_at_waits(&mut self, now: Duration, frames: &[u64], home: &mut impl Home) {
        let roots: Vec<_> = frames.iter().map(|frame| Root::Frame(*frame)).collect();
        let reading = home.read(&roots);
        let leaving = leaving(&reading);
        let mut waiters = Vec::new();
        for frame in frames {
            if !leaving.contains(frame) {
                // It is looked at again soon if it came through a single-threaded place.
                self.forget_wait(*frame);
                continue;
            }
            if let Some(early) = self.is_early(*frame, &reading) {
                self.look_at_wait_at(now + early, *frame);
                continue;
            }
            waiters.push(*frame);
            let looked = self.waits.get(frame).map_or(0, |wait| wait.looked);
            // Whoever wants what it occupies may be elsewhere, where nobody looks because of that.
            let last = REPEATS.len() - 1 - usize::from(self.occupies(*frame));
            let pause = REPEATS[looked.min(last)];
            let pause = match pause == REPEATS[2] {
                true => self.between(pause * 4 / 5, pause * 6 / 5),
                false => pause,
            };
            if let Some(wait) = self.waits.get_mut(frame) {
                wait.looked += 1;
            }
            self.look_at_wait_at(now + pause, *frame);
        }
        if waiters.is_empty() {
            return;
        }
        let mut reading = reading;
        if waiters.len() < frames.len() {
            let roots: Vec<_> = waiters.iter().map(|frame| Root::Frame(*frame)).collect();
            reading = home.read(&roots);
        }
        if self.attach_all(now, &reading) {
            // Whoever they report to may be asked next, so the reports go first.
            for frame in waiters {
                if let Some(wait) = self.waits.get_mut(&frame) {
                    wait.after_attach = true;
                    wait.looked = wait.looked.saturating_sub(1);
                }
            }
            return;
        }
        // Whoever occupies a single-threaded place is waited for by those who want it, wherever they are.
        let begins = reading
            .frames
            .iter()
            .filter(|frame| frame.calls().next().is_some() || self.occupies(frame.number()));
        let roots = begins.map(|frame| frame.number()).collect();
        self.begin_check(now, waiters, roots, home);
    }

    /// How long not to look at the wait of this frame, if it has begun another one since. Longer each time
    /// in a row: whoever makes one short call after the other is met in one again and again.
    fn is_early(&mut self, frame: u64, reading: &Reading) -> Option<Duration> {
        let wait = self.waits.get_mut(&frame)?;
        let mut frames = reading.frames.iter();
        let waited = frames.find(|read| read.number() == frame)?.waited;
        let missing = wait.patience.checked_sub(waited);
        let missing = missing.filter(|missing| !missing.is_zero());
        match missing {
            Some(_) => wait.early = (wait.early + 1).min(MOST_EARLY),
            None => wait.early = 0,
        }
        Some(missing? + PATIENCE * (wait.early - 1))
    }

    /// Whether this frame came through a place that may be single-threaded.
    fn occupies(&self, frame: u64) -> bool {
        let served = self.served.get(&frame);
        served.is_some_and(|served| served.via.is_some())
    }

    pub(super) fn begin_check(
        &mut self,
        now: Duration,
        waiters: Vec<u64>,
        mut roots: BTreeSet<u64>,
        home: &mut impl Home,
    ) {
        // Those that are being checked may have been read before these waits began.
        let all = roots.clone();
        for check in self.checks.values_mut() {
            let is_about = |waiter: &u64| check.waiters.contains(waiter);
            let in_time = check.confirming && !waiters.iter().all(is_about);
            if in_time || all.is_disjoint(&check.roots) {
                continue;
            }
            // Of what these lead to, one check after the other: else two that have a part each would end
            // by turns, and each begin the other one again.
            match waiters.iter().any(is_about) {
                true => roots.clear(),
                false => roots.retain(|root| !check.roots.contains(root)),
            }
            check.again.extend(&waiters);
        }
        if roots.is_empty() {
            for waiter in &waiters {
                if let Some(wait) = self.waits.get_mut(waiter) {
                    wait.looked = wait.looked.saturating_sub(1);
                }
            }
            return;
        }
        self.counters.checks += 1;
        let id = self.next_check;
        self.next_check = self.next_check.wrapping_add(1);
        let mut check = Check::new(waiters, roots.clone());
        for root in roots {
            check.want(&self.me, Ask::Root(Root::Frame(root)));
        }
        self.checks.insert(id, check);
        self.go_on_gathering(now, id, home);
    }

    /// Asks whoever is to be asked in the first pass, and ends that when nobody is.
    pub(super) fn go_on_gathering(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        loop {
            let Some(check) = self.checks.get_mut(&id) else {
                return;
            };
            let mut here = None;
            for (peer, asks) in check.questions() {
                if peer.node == self.me.node {
                    here = Some(asks);
                    continue;
                }
                self.counters.gathers += 1;
                self.ask(now, peer, Body::Gather(asks), Purpose::Gather(id));
            }
            let Some(asks) = here else { break };
            let part = self.read(now, &asks, home);
            if let Some(check) = self.checks.get_mut(&id) {
                check.learn(self.me.node, part);
            }
        }
        if self
            .checks
            .get(&id)
            .is_some_and(|check| !check.is_waiting() && !check.confirming)
        {
            self.end_first_pass(now, id, home);
        }
    }

    pub(super) fn end_first_pass(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let settings = self.settings();
        let Some(check) = self.checks.get_mut(&id) else {
            return;
        };
        check.confirming = true;
        self.counters.truncated += u64::from(check.truncated);
        if !check.reduce(settings) {
            self.end_check(now, id, false);
        } else if check.through_opaque && !self.is(Fault::OpaqueConfirmZero) {
            let due = now + self.config.opaque_confirm;
            self.timers.insert((due, Timer::Check(id)));
        } else {
            self.begin_second_pass(now, id, home);
        }
    }

    pub(super) fn begin_second_pass(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let no_second_pass = self.is(Fault::NoSecondPass);
        let Some(check) = self.checks.get_mut(&id) else {
            return;
        };
        if no_second_pass {
            check.skip_confirming();
            return self.decide(now, id, home);
        }
        let mut here = None;
        for (peer, again) in check.begin_confirming() {
            if peer.node == self.me.node {
                here = Some(again);
                continue;
            }
            self.counters.gathers += 1;
            self.ask(now, peer, Body::Confirm(again), Purpose::Confirm(id));
        }
        if let Some(again) = here {
            let node = self.me.node;
            match self.read_again(now, &again, home) {
                Some(part) => self.confirmed(now, id, node, part, home),
                None => self.reject(now, id),
            }
        }
    }

    pub(super) fn confirmed(
        &mut self,
        now: Duration,
        id: u32,
        node: u64,
        part: Part,
        home: &mut impl Home,
    ) {
        if let Some(check) = self.checks.get_mut(&id) {
            check.confirm(node, part);
            if !check.is_waiting() {
                self.decide(now, id, home);
            }
        }
    }

    pub(super) fn decide(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(check) = self.checks.get(&id) else {
            return;
        };
        let settings = self.settings();
        let may_be_admitted = |id| !self.not_admitted.contains_key(&id);
        let Some(decisions) = check.decide(settings, may_be_admitted) else {
            return self.reject(now, id);
        };
        let found = !decisions.is_empty();
        for decision in decisions {
            self.counters.verdicts += 1;
            let (place, report) = match decision {
                Decision::Admit(place) => (place, None),
                Decision::Fail(place, report) => (place, Some(report)),
            };
            let purpose = match &report {
                Some(_) => Purpose::Fail,
                None => Purpose::Admit(place.frame),
            };
            let Place {
                peer,
                reading,
                frame,
            } = place;
            let verdict = Verdict {
                reading,
                frame,
                report,
            };
            if peer.node == self.me.node {
                let decided = self.execute(now, verdict, home);
                self.decided(now, self.me.node, purpose, decided);
            } else {
                self.ask(now, peer, Body::Verdict(verdict), purpose);
            }
        }
        self.end_check(now, id, found);
    }

    pub(super) fn decided(&mut self, now: Duration, node: u64, purpose: Purpose, decided: Decided) {
        match decided {
            Decided::Done => self.counters.accepted += 1,
            Decided::Stale | Decided::Refused => self.counters.stale += 1,
        }
        if let (Purpose::Admit(frame), Decided::Refused) = (purpose, decided) {
            self.not_admitted.insert((node, frame), now + ADMISSION);
            self.timers.insert((now + ADMISSION, Timer::Forget));
        }
    }

    pub(super) fn reject(&mut self, now: Duration, id: u32) {
        self.counters.rejected += 1;
        self.end_check(now, id, true);
    }

    /// If there is, or was, a deadlock, it is looked soon whether there still is, or another one; but not
    /// for ever, as it may be one that is not to be broken. Nor is it waited long where somebody could not
    /// be asked.
    pub(super) fn end_check(&mut self, now: Duration, id: u32, found: bool) {
        let Some(check) = self.checks.remove(&id) else {
            return;
        };
        let lost = check.has_lost();
        for frame in check.again {
            self.look_at_wait_at(now, frame);
        }
        for frame in check.waiters {
            let Some(wait) = self.waits.get_mut(&frame) else {
                continue;
            };
            wait.in_a_row = if found { wait.in_a_row + 1 } else { 0 };
            let due = wait.due;
            if (1..=MOST_IN_A_ROW).contains(&wait.in_a_row) {
                let pause = self.between(PATIENCE, PATIENCE * 2);
                self.look_at_wait_at(now + pause, frame);
            } else if lost {
                let pause = self.between(UNREACHABLE / 2, UNREACHABLE * 3 / 2);
                self.look_at_wait_at(due.min(now + pause), frame);
            }
        }
    }
}

/// The frames whose waits lead to calls.
fn leaving(reading: &Reading) -> BTreeSet<u64> {
    let mut behind: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut open = Vec::new();
    for frame in &reading.frames {
        for blocker in frame.blockers() {
            behind.entry(blocker).or_default().push(frame.number());
        }
        if frame.calls().next().is_some() {
            open.push(frame.number());
        }
    }
    let mut leaving = BTreeSet::new();
    while let Some(frame) = open.pop() {
        if leaving.insert(frame) {
            open.extend(behind.get(&frame).into_iter().flatten());
        }
    }
    leaving
}
