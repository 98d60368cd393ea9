//! Detectors, and messages between them.

use std::time::Duration;

use antifreeze_detector::faults::Fault;
use antifreeze_detector::{Input, Member, Output, Report};

use super::baselines::{Probe, Snapshot};
use super::{Event, LOCAL, Letter, Outcome, Told, Wait, World};
use crate::home::View;
use crate::program::{Class, MICRO};

/// Who gives a verdict.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// The detector of one process.
    Process,
    /// Those of several.
    Detectors(&'a Report),
    /// Something else.
    Baseline,
}

/// What is in a message.
#[derive(Clone)]
pub(super) enum Mail {
    Request(Vec<u8>),
    Answer(Vec<u8>),
    /// A probe, along this call.
    Probe(Probe, usize),
    Snapshot(usize, Snapshot),
    Fail(usize, u64),
}

impl World {
    pub(super) fn tell(&mut self, place: usize, node: u64, told: Told) {
        if self.places[place].node != node {
            return;
        }
        match told {
            Told::Leaves(frame, epoch) => {
                if self.waits_in(frame, epoch) {
                    let waited = Duration::from_nanos(self.now - self.frames[frame].since);
                    let frame = frame as u64;
                    let at_once = false;
                    self.on(
                        place,
                        Input::Leaves {
                            frame,
                            waited,
                            at_once,
                        },
                    );
                }
            }
            Told::Served(frame) => {
                let at = &self.frames[frame];
                if let Some(context) = at.context.clone().filter(|_| !at.done) {
                    self.on(
                        place,
                        Input::Served {
                            frame: frame as u64,
                            parent: context.parent,
                            caller: context.caller,
                            via: context.via,
                        },
                    );
                }
            }
            Told::Ended(frame) => self.ended(place, frame),
            Told::HungUp(_) if self.fault == Some(Fault::HangUpIgnored) => {}
            Told::HungUp(frame) => {
                self.frames[frame].hung_up = true;
                self.ended(place, frame);
            }
            Told::Lost(node) => self.on(place, Input::Lost { node }),
        }
    }

    fn ended(&mut self, place: usize, frame: usize) {
        let frame = frame as u64;
        self.on(place, Input::Ended { frame });
    }

    pub(super) fn on(&mut self, place: usize, input: Input<'_>) {
        let Some(mut core) = self.places[place].core.take() else {
            return;
        };
        let now = Duration::from_nanos(self.now);
        let outputs = core.on(now, input, &mut View { world: self, place });
        let due = core.due().map(|due| due.as_nanos() as u64);
        self.places[place].core = Some(core);
        for output in outputs {
            match output {
                Output::Send { to, bytes } => {
                    let to = self.place_at(&to.address);
                    self.post(place, to, Mail::Request(bytes));
                }
                // Only to a request, which `deliver` handles.
                Output::Answer(bytes) => self.answer = bytes,
                Output::Deadlock { .. } => {}
            }
        }
        let site = &mut self.places[place];
        if let Some(due) = due
            && site.timer.is_none_or(|timer| due < timer)
        {
            site.timer = Some(due);
            let node = site.node;
            self.later(due, Event::Timer(place, node));
        }
    }

    pub(super) fn place_at(&self, address: &str) -> usize {
        address[1..].parse().unwrap_or(0)
    }

    pub(super) fn post(&mut self, from: usize, to: usize, mail: Mail) {
        self.seen.messages += 1;
        if let Mail::Request(bytes) | Mail::Answer(bytes) = &mail {
            self.seen.bytes += bytes.len() as u64;
        }
        let copies = match self.random.u32(..1000) {
            n if n < self.program.network.lost => 0,
            n if n >= 1000 - self.program.network.doubled => 2,
            _ => 1,
        };
        if self.cut_until(from, to) > self.now {
            return;
        }
        for _ in 0..copies {
            let at = self.now + self.delay(from, to);
            let letter = Letter {
                from,
                from_node: self.places[from].node,
                to,
                mail: mail.clone(),
            };
            self.later(at, Event::Message(Box::new(letter)));
        }
    }

    pub(super) fn deliver(&mut self, letter: Letter) {
        let Letter {
            from,
            from_node,
            to,
            mail,
        } = letter;
        match mail {
            Mail::Request(bytes) => {
                self.answer.clear();
                self.on(to, Input::Request(&bytes));
                let answer = std::mem::take(&mut self.answer);
                if !answer.is_empty() {
                    self.post(to, from, Mail::Answer(answer));
                }
            }
            Mail::Answer(bytes) => {
                let (node, bytes) = (from_node, &*bytes);
                self.on(to, Input::Answer { node, bytes });
            }
            Mail::Probe(probe, call) => self.probed(to, probe, call),
            Mail::Snapshot(place, snapshot) => self.told(place, snapshot),
            Mail::Fail(frame, epoch) => self.fail_if_same(frame, epoch),
        }
    }

    pub(super) fn local_check(&mut self, frame: usize, epoch: u64) {
        if !self.waits_in(frame, epoch) {
            return;
        }
        self.seen.contended = true;
        let place = self.frames[frame].place;
        if let Some(patience) = self.patience() {
            let until = self.frames[frame].since + patience;
            match until <= self.now {
                true => self.fail(frame, By::Baseline),
                false => self.later(until, Event::LocalCheck(frame, epoch)),
            }
        } else if let Some(stuck) = self.locally_stuck(frame, false) {
            let verdict = self.local_verdict(place, &stuck);
            match verdict {
                Some((victim, false)) => self.fail(victim, By::Process),
                Some((reader, true)) => drop(self.admit(reader)),
                None => {}
            }
            for frame in stuck {
                let epoch = self.frames[frame].epoch;
                self.later(self.now + LOCAL, Event::LocalCheck(frame, epoch));
            }
        } else if self.locally_stuck(frame, true).is_some() {
            let node = self.places[place].node;
            self.later(
                self.now,
                Event::Tell(place, node, Told::Leaves(frame, epoch)),
            );
            self.chase_later(frame, epoch);
        }
    }

    /// A verdict.
    pub(crate) fn fail(&mut self, victim: usize, by: By<'_>) {
        self.seen.verdicts += 1;
        let at = &self.frames[victim];
        let report = match by {
            By::Detectors(report) => Some(report),
            By::Process | By::Baseline => None,
        };
        // Baselines know of nobody who could be let past others.
        let soft = matches!(by, By::Baseline);
        let was_stuck = match soft {
            true => at.stuck_in.last() == Some(&at.epoch),
            false => at.was_hard == at.epoch,
        };
        let late = at.free_since.map_or(0, |since| self.now - since);
        let real = self.is_stuck(victim, soft);
        if !real && was_stuck {
            self.seen.late.push((late / MICRO) as u32);
        } else if !real && self.program.class == Class::Ambiguous {
            self.seen.ambiguous += 1;
        } else if !real && report.is_some_and(|report| self.waits_for_overdue(&report.members)) {
            self.seen.overdue += 1;
        } else if !real {
            self.seen.false_positives += 1;
            let soft = self.is_stuck(victim, true);
            let (now, waits) = (self.now, &self.frames[victim].waits);
            self.problem(format!(
                "frame {victim} failed at {now}, soft {soft}, waits {waits:?}\n{report:?}"
            ));
        }
        if let Some(report) = report {
            // What is named may have ended since it was read, but was a deadlock then.
            let named = |member: &&Member| {
                let at = &self.frames[member.frame as usize];
                let mut waits = member.about.waits.iter();
                waits.any(|wait| at.stuck_in.contains(&wait.ms))
            };
            if real && let Some(wrong) = report.members.iter().find(|member| !named(member)) {
                self.seen.misnamed += 1;
                let at = &self.frames[wrong.frame as usize];
                let stuck_in = &at.stuck_in;
                self.problem(format!(
                    "misnamed {wrong:?}, stuck in {stuck_in:?}\n{report:#?}"
                ));
            }
        }
        self.resolve(victim);
        let waits = self.frames[victim].waits.clone();
        self.end_wait(victim);
        for wait in waits {
            if let Wait::Call(call) = wait
                && self.may_be_queued(call)
            {
                self.hang_up(call);
            }
        }
        if let Some(chain) = self.frames[victim].chain {
            self.chains[chain].times_victim += 1;
        }
        self.failed(victim, Outcome::Deadlock);
    }

    /// Lets a frame in past those who only came first.
    pub(crate) fn admit(&mut self, frame: usize) -> bool {
        let waits = self.frames[frame].waits.clone();
        for wait in waits {
            let Wait::Lock(resource, _) = wait else {
                continue;
            };
            if self.resources[resource].ahead(frame).next().is_some() {
                self.seen.admitted += 1;
                self.resolve(frame);
                let mut queue = self.resources[resource].queue.iter_mut();
                if let Some(queued) = queue.find(|queued| queued.frame == frame) {
                    queued.passes = true;
                }
                self.settle(resource);
                return true;
            }
        }
        false
    }
}
