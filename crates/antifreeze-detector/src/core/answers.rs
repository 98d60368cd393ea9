//! What this process says about itself, and does for others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ADMISSION, Core, Opaque, Output, Served, Timer};
use crate::home::{Callee, Home, Reading, Root};
use crate::wire::{Body, Children, Decided, Hop, Malformed, Message, Part, Verdict};

impl Core {
    pub(super) fn read(&self, now: Duration, roots: &[Root], home: &mut impl Home) -> Part {
        let reading = self.read_with_occupants(roots, home);
        let mut part = self.part(now, reading);
        let asked = roots.iter().filter_map(|root| match root {
            Root::Frame(frame) => Some(*frame),
            Root::Call(_) => None,
        });
        // Frames that begin a check here are no children of anybody.
        let here = |frame: &u64| part.reading.frames.iter().any(|f| f.number() == *frame);
        let ended = asked.filter(|frame| !self.served.contains_key(frame) && !here(frame));
        part.ended = ended.collect();
        part
    }

    /// Reads these, and those of this process that occupy single-threaded places for which they wait.
    pub(super) fn read_with_occupants(&self, roots: &[Root], home: &mut impl Home) -> Reading {
        let mut roots = roots.to_vec();
        loop {
            let reading = home.read(&roots);
            let calls = reading.frames.iter().flat_map(|frame| frame.calls());
            let wanted: BTreeSet<&str> = calls
                .filter_map(|call| match &call.to {
                    Callee::Opaque {
                        location,
                        single_threaded: true,
                    } => Some(&**location),
                    _ => None,
                })
                .collect();
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
        reading: u64,
        frames: &[u64],
        home: &mut impl Home,
    ) -> Option<Part> {
        let reading = home.confirm(reading, frames)?;
        Some(self.part(now, reading))
    }

    pub(super) fn part(&self, now: Duration, reading: Reading) -> Part {
        let mut part = Part::default();
        for frame in &reading.frames {
            for call in frame.calls() {
                if let (Callee::Opaque { .. }, Some(known)) =
                    (&call.to, self.children.get(&call.seq))
                {
                    let believed = known.children.iter().filter(|(_, until)| *until > now);
                    let children = Children {
                        forked: known.forked,
                        changes: known.changes,
                        known: believed.map(|(child, _)| child.clone()).collect(),
                    };
                    part.children.push((call.seq, children));
                }
            }
            if let Some(served) = self.served.get(&frame.number())
                && (served.forked || served.via.is_some())
            {
                part.hops.push(Hop {
                    frame: frame.number(),
                    forked: served.forked,
                    via: served.via.clone().unwrap_or_default(),
                });
            }
        }
        part.reading = reading;
        part
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
            Body::Gather(roots) => {
                self.counters.answered += 1;
                Body::Part(self.read(now, &roots, home))
            }
            Body::Confirm { reading, frames } => {
                self.counters.answered += 1;
                match self.read_again(now, reading, &frames, home) {
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
