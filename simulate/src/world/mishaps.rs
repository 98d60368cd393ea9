//! What goes wrong.

use super::{Event, Outcome, Told, World};
use crate::program::{MILLI, Mishap};

impl World {
    pub(super) fn mishap(&mut self, number: usize) {
        match self.program.mishaps[number].1.clone() {
            Mishap::Crash(place) => self.crash(place),
            Mishap::Pause(place, time) => {
                let until = &mut self.places[place].paused_until;
                *until = (*until).max(self.now + time);
            }
            Mishap::Partition(one, other, time) if one != other => {
                self.cut.push((one, other, self.now + time));
            }
            Mishap::Partition(..) => {}
            Mishap::Cancel(chain) => {
                let Some(root) = self.chains.get(chain).map(|chain| chain.root) else {
                    return;
                };
                if self
                    .frames
                    .get(root)
                    .is_some_and(|frame| !frame.waits.is_empty())
                {
                    self.end_wait(root);
                    self.failed(root, Outcome::Error);
                }
            }
        }
    }

    pub(super) fn crash(&mut self, place: usize) {
        let old = self.places[place].node;
        self.count(place);
        for frame in 0..self.frames.len() {
            if self.frames[frame].place == place && !self.frames[frame].done {
                if !self.frames[frame].waits.is_empty() {
                    self.close_onsets(frame);
                }
                let at = &mut self.frames[frame];
                at.done = true;
                at.epoch += 2;
                at.waits.clear();
                if let Some(call) = at.call {
                    self.refuse(call);
                }
            }
        }
        self.places[place].waiting.clear();
        self.opens();
        for resource in &mut self.resources {
            if resource.place == place {
                resource.free = resource.permits;
                resource.holders.clear();
                resource.queue.clear();
            }
        }
        self.boot(place);
        for other in 0..self.places.len() {
            let node = self.places[other].node;
            if other != place && self.random.bool() {
                let at = self.now + self.random.u64(..50 * MILLI);
                self.later(at, Event::Tell(other, node, Told::Lost(old)));
            }
        }
        for frame in 0..self.frames.len() {
            let at = &self.frames[frame];
            let orphan = at.served
                && !at.done
                && at
                    .call
                    .is_some_and(|call| self.frames[self.calls[call].caller].place == place);
            if orphan {
                self.orphaned(frame);
            }
        }
    }
}
