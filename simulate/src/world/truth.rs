//! When a deadlock begins and ends, and whether it was found.

use super::{Latency, Onset, Path, Wait, World};
use crate::program::{Class, Kind, MICRO};

impl World {
    /// A frame has begun to wait, which may close a cycle.
    pub(super) fn closes(&mut self, frame: usize) {
        if !self.is_stuck(frame, true) {
            return;
        }
        let mut members = self.scratch.stuck();
        self.seen.largest_closure = self.seen.largest_closure.max(members.len());
        if !self.large {
            let all: Vec<usize> = (0..self.frames.len()).collect();
            for soft in [true, false] {
                self.reduce(&all, soft);
                for frame in self.scratch.stuck() {
                    let at = &mut self.frames[frame];
                    match soft {
                        true => at.note_stuck(),
                        false => at.note_hard(),
                    }
                }
            }
        } else {
            for frame in &members {
                let at = &mut self.frames[*frame];
                at.note_stuck();
                at.note_hard();
            }
        }
        let closed = members.iter().any(|member| {
            let mut found = false;
            self.blockers(*member, |blocker, _| found |= blocker == frame);
            found
        });
        if closed {
            self.seen.deadlocked = true;
            members.sort_unstable();
            let (epoch, at) = (self.frames[frame].epoch, self.now);
            self.onsets.push(Onset {
                frame,
                epoch,
                at,
                members,
                found: false,
            });
        }
    }

    /// Somebody who was in a deadlock waits no more, so others may be in none any more.
    pub(super) fn opens(&mut self) {
        if self.large {
            return;
        }
        let was_hard = |frame: &usize| {
            let at = &self.frames[*frame];
            at.was_hard == at.epoch && at.free_since.is_none()
        };
        let frames: Vec<usize> = (0..self.frames.len()).filter(was_hard).collect();
        self.reduce(&frames, false);
        let stuck = self.scratch.stuck();
        for frame in frames.into_iter().filter(|frame| !stuck.contains(frame)) {
            self.frames[frame].free_since = Some(self.now);
        }
    }

    /// This frame's wait was ended by a detector.
    pub(super) fn resolve(&mut self, frame: usize) {
        let mut onsets = std::mem::take(&mut self.onsets);
        for onset in &mut onsets {
            if !onset.found && onset.members.binary_search(&frame).is_ok() {
                onset.found = true;
                let took = ((self.now - onset.at) / MICRO) as u32;
                let opaque = self.is_opaque(&onset.members);
                let path = self.path(&onset.members, opaque);
                self.seen.latencies.push(Latency { took, path, opaque });
            }
        }
        self.onsets = onsets;
    }

    fn path(&self, members: &[usize], opaque: bool) -> Path {
        let mut places = members.iter().map(|member| self.frames[*member].place);
        let first = places.next();
        if places.all(|place| Some(place) == first) {
            Path::Local
        } else if self.rough {
            Path::Rough
        } else if opaque {
            Path::Opaque
        } else {
            Path::Near
        }
    }

    /// Whether there are Python programs in it.
    fn is_opaque(&self, members: &[usize]) -> bool {
        let mut places = members.iter().map(|member| self.frames[*member].place);
        places.any(|place| self.places[place].kind != Kind::Rust)
    }

    pub(super) fn close_onsets(&mut self, frame: usize) {
        let epoch = self.frames[frame].epoch;
        let over = |onset: &mut Onset| onset.frame == frame && onset.epoch == epoch;
        let over: Vec<Onset> = self.onsets.extract_if(.., over).collect();
        for onset in over {
            match onset.found {
                true => {
                    self.seen.found += 1;
                    self.seen.opaque_found += u64::from(self.is_opaque(&onset.members));
                }
                false => self.seen.dissolved += 1,
            }
        }
    }

    pub(super) fn finish(&mut self) {
        for place in 0..self.places.len() {
            self.count(place);
        }
        let onsets = std::mem::take(&mut self.onsets);
        for onset in onsets {
            // It may have become part of another one.
            let _ = self.is_stuck(onset.frame, true);
            let hidden = self.is_hidden(&self.scratch.stuck());
            if self.program.class == Class::Plain && !hidden {
                self.seen.missed += 1;
                self.seen.opaque_missed += u64::from(self.is_opaque(&onset.members));
                let members: Vec<_> = onset
                    .members
                    .iter()
                    .map(|member| {
                        let at = &self.frames[*member];
                        (
                            *member,
                            at.place,
                            at.waits.clone(),
                            at.context.clone(),
                            at.call,
                        )
                    })
                    .collect();
                self.problem(format!("missed since {}: {members:?}", onset.at));
            } else {
                self.seen.impossible += 1;
            }
        }
        if self.seen.missed + self.seen.impossible == 0 {
            let mut left: Vec<usize> = (0..self.frames.len()).collect();
            left.retain(|frame| !self.frames[*frame].done && !self.is_stuck(*frame, true));
            self.seen.left_over += left.len() as u64;
            if let Some(frame) = left.first() {
                let waits = self.frames[*frame].waits.clone();
                self.problem(format!("frame {frame} is left over: {waits:?}"));
            }
        }
    }

    /// Whether these wait for several Python programs that serve one call at a time: nobody who wants one
    /// of those knows who is in another. Or whether one of them is in such a program by a call of a process
    /// that has crashed: then nobody knows whether that was answered.
    fn is_hidden(&self, members: &[usize]) -> bool {
        let waits = members
            .iter()
            .flat_map(|member| &self.frames[*member].waits);
        let wanted = waits.filter_map(|wait| match wait {
            Wait::Call(call) if self.may_be_queued(*call) => Some(self.calls[*call].to),
            _ => None,
        });
        let wanted: std::collections::BTreeSet<usize> = wanted.collect();
        let is_gone = |node: u64| self.places.iter().all(|site| site.node != node);
        let mut contexts = members
            .iter()
            .filter_map(|member| self.frames[*member].context.as_ref());
        wanted.len() > 1
            || contexts.any(|context| context.via.is_some() && is_gone(context.parent.node))
    }

    pub(super) fn problem(&mut self, text: String) {
        self.seen.problem.get_or_insert(text);
    }

    pub(super) fn count(&mut self, place: usize) {
        if let Some(core) = &self.places[place].core {
            self.seen.counters += core.counters();
        }
    }
}
