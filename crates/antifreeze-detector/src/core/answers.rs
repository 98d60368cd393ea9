//! What this process says about itself, and does for others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ADMISSION, Core, Opaque, Output, Served, Timer};
use crate::home::{Callee, Home, Reading, Root};
use crate::wire::{Again, Ask, Body, Children, Decided, Hop, Malformed, Message, Part, Verdict};

impl Core {
    pub(super) fn read(&self, now: Duration, asks: &[Ask], home: &mut impl Home) -> Part {
        let (mut roots, mut made, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for ask in asks {
            match *ask {
                Ask::Root(root) => roots.push(root),
                Ask::Made(call) => made.push(call),
            }
            if let Ask::Root(Root::Frame(frame)) = ask
                && !self.served.contains_key(frame)
            {
                ended.push(*frame);
            }
        }
        let reading = self.read_with_occupants(roots, home);
        Part {
            ended,
            ..self.part(now, reading, &made, home)
        }
    }

    /// Reads these, and those of this process that occupy single-threaded places for which they wait.
    fn read_with_occupants(&self, mut roots: Vec<Root>, home: &mut impl Home) -> Reading {
        loop {
            let reading = home.read(&roots);
            let wanted: BTreeSet<&str> = reading.queued().map(|(_, location)| location).collect();
            let occupies = |served: &Served| {
                let via = served.via.as_deref();
                via.is_some_and(|via| wanted.contains(via))
            };
            let occupants = self.served.iter().filter(|(_, served)| occupies(served));
            let mut occupants: Vec<Root> = occupants.map(|(f, _)| Root::Frame(*f)).collect();
            occupants.retain(|root| !roots.contains(root));
            if wanted.is_empty() || occupants.is_empty() {
                return reading;
            }
            occupants.sort_unstable();
            roots.extend(occupants);
        }
    }

    pub(super) fn read_again(
        &self,
        now: Duration,
        again: &Again,
        home: &mut impl Home,
    ) -> Option<Part> {
        let reading = match &*again.frames {
            [] => Reading::default(),
            frames => home.confirm(again.reading, frames)?,
        };
        Some(self.part(now, reading, &again.calls, home))
    }

    /// What is known here about what was read, and about these calls if they were not answered.
    fn part(&self, now: Duration, reading: Reading, made: &[u64], home: &mut impl Home) -> Part {
        let calls = reading.frames.iter().flat_map(|frame| frame.calls());
        let opaque = calls.filter(|call| matches!(call.to, Callee::Opaque { .. }));
        let mut calls: BTreeSet<u64> = opaque.map(|call| call.seq).collect();
        calls.extend(made.iter().filter(|call| home.is_unanswered(**call)));
        let children = calls.into_iter().filter_map(|call| {
            let known = self.children.get(&call)?;
            let believed = known.children.iter().filter(|(_, until)| *until > now);
            let children = Children {
                changes: known.changes,
                known: believed.map(|(child, _)| child.clone()).collect(),
            };
            Some((call, children))
        });
        let hops = reading.frames.iter().filter_map(|frame| {
            let served = self.served.get(&frame.number())?;
            Some(Hop {
                frame: frame.number(),
                caller: served.caller.clone(),
                call: served.parent.seq,
                via: served.via.clone()?,
            })
        });
        Part {
            children: children.collect(),
            hops: hops.collect(),
            ended: Vec::new(),
            reading,
        }
    }

    pub(super) fn execute(
        &mut self,
        now: Duration,
        verdict: Verdict,
        home: &mut impl Home,
    ) -> Decided {
        let Verdict {
            reading,
            frame,
            report,
        } = verdict;
        let Some(report) = report else {
            // Several may have found it, and who was let past others may still wait.
            let until = now + ADMISSION;
            return if home.admit(reading, frame) {
                self.admitted.insert(frame, until);
                self.timers.insert((until, Timer::Forget));
                Decided::Done
            } else if home.confirm(reading, &[frame]).is_none() {
                Decided::Stale
            } else if self.admitted.contains_key(&frame) {
                Decided::Done
            } else {
                Decided::Refused
            };
        };
        if report.inferred && self.config.opaque == Opaque::Report {
            if !self.reported.contains(&report.id) {
                self.reported.truncate(63);
                self.reported.insert(0, report.id.clone());
                let failed = false;
                self.outputs.push(Output::Deadlock { report, failed });
            }
            return Decided::Refused;
        }
        let failed = home.fail(reading, frame, &report);
        if !failed {
            return Decided::Stale;
        }
        self.outputs.push(Output::Deadlock { report, failed });
        Decided::Done
    }

    pub(super) fn on_request(&mut self, now: Duration, bytes: &[u8], home: &mut impl Home) {
        let message = match Message::decode(bytes) {
            Ok(message) if !message.body.is_answer() => message,
            Ok(_) | Err(Malformed(_)) => {
                self.counters.malformed += 1;
                // Whoever asked that understands no answer, but there has to be one.
                return self.outputs.push(Output::Answer(Vec::new()));
            }
        };
        let body = match message.body {
            _ if message.to != self.me.node => Body::Gone,
            Body::Gather(asks) => {
                self.counters.answered += 1;
                Body::Part(self.read(now, &asks, home))
            }
            Body::Confirm(again) => {
                self.counters.answered += 1;
                match self.read_again(now, &again, home) {
                    Some(part) => Body::Part(part),
                    None => Body::Changed,
                }
            }
            Body::Attach(attach) => {
                self.attached(now, attach);
                Body::Attached
            }
            Body::Verdict(verdict) => Body::Decided(self.execute(now, verdict, home)),
            Body::Part(_) | Body::Changed | Body::Attached | Body::Decided(_) | Body::Gone => {
                return;
            }
        };
        let answer = Message {
            request: message.request,
            from: self.me.node,
            to: message.from,
            body,
        };
        self.outputs.push(Output::Answer(answer.encode()));
    }
}
