//! Who truly can never go on: by a way of its own, not the one of the detector.

use crate::program::Kind;
use crate::world::{CallState, Wait, World};

/// Memory that is used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The frames that are looked at, and whether each can go on.
    list: Vec<usize>,
    going: Vec<bool>,
    /// Of each frame, its place in the list, if the round is this one.
    place: Vec<(u64, usize)>,
    round: u64,
}

impl Scratch {
    /// Those of the last look who cannot go on.
    pub(crate) fn stuck(&self) -> Vec<usize> {
        let all = self.list.iter().zip(&self.going);
        all.filter(|(_, going)| !**going)
            .map(|(frame, _)| *frame)
            .collect()
    }

    fn begin(&mut self, frames: usize) {
        self.round += 1;
        self.place.resize(frames, (0, 0));
        self.list.clear();
        self.going.clear();
    }

    fn add(&mut self, frame: usize) {
        if self.place[frame].0 != self.round {
            self.place[frame] = (self.round, self.list.len());
            self.list.push(frame);
        }
    }

    /// Whoever is not looked at does not wait.
    fn goes(&self, frame: usize) -> bool {
        let (round, place) = self.place[frame];
        round != self.round || self.going[place]
    }
}

/// How much of the world is seen.
#[derive(Clone, Copy, PartialEq)]
enum Sight {
    All,
    /// One process; calls to others return, or never do.
    Within {
        place: usize,
        elsewhere_blocks: bool,
    },
}

impl World {
    /// Whether this frame can never go on. Those in whose way it then is, and those in its way, are in
    /// the scratch.
    pub(crate) fn is_stuck(&mut self, frame: usize, soft: bool) -> bool {
        self.look(&[frame], soft, Sight::All);
        !self.scratch.goes(frame)
    }

    /// Who of these, and of those in their way, can never go on: in the scratch.
    pub(crate) fn reduce(&mut self, frames: &[usize], soft: bool) {
        self.look(frames, soft, Sight::All);
    }

    /// Those because of whom this frame cannot go on, if its process alone is looked at, and calls to
    /// others return, or do not.
    pub(crate) fn locally_stuck(
        &mut self,
        frame: usize,
        elsewhere_blocks: bool,
    ) -> Option<Vec<usize>> {
        let place = self.frames[frame].place;
        let sight = Sight::Within {
            place,
            elsewhere_blocks,
        };
        self.look(&[frame], true, sight);
        (!self.scratch.goes(frame)).then(|| self.scratch.stuck())
    }

    fn look(&mut self, roots: &[usize], soft: bool, sight: Sight) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.begin(self.frames.len());
        roots.iter().for_each(|root| scratch.add(*root));
        let mut next = 0;
        while let Some(frame) = scratch.list.get(next).copied() {
            next += 1;
            let here = self.frames[frame].place;
            self.blockers(frame, |blocker, _| {
                let seen = match sight {
                    Sight::All => true,
                    Sight::Within { .. } => self.frames[blocker].place == here,
                };
                if seen {
                    scratch.add(blocker);
                }
            });
        }
        scratch.going = vec![false; scratch.list.len()];
        loop {
            let mut changed = false;
            for place in (0..scratch.list.len()).rev() {
                if !scratch.going[place] && self.can_go(scratch.list[place], &scratch, soft, sight)
                {
                    scratch.going[place] = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.scratch = scratch;
    }

    fn can_go(&self, frame: usize, scratch: &Scratch, soft: bool, sight: Sight) -> bool {
        let waits = &self.frames[frame].waits;
        waits.is_empty()
            || waits
                .iter()
                .any(|wait| self.can_end(frame, *wait, scratch, soft, sight))
    }

    fn can_end(
        &self,
        frame: usize,
        wait: Wait,
        scratch: &Scratch,
        soft: bool,
        sight: Sight,
    ) -> bool {
        match wait {
            Wait::Timer => true,
            Wait::Lock(resource, permits) => {
                let resource = &self.resources[resource];
                let holders = resource.holders.iter();
                let back = holders.filter(|(holder, _)| scratch.goes(*holder));
                let back: u32 = back.map(|(_, permits)| *permits).sum();
                let mut ahead = resource.ahead(frame);
                resource.free + back >= permits && (!soft || ahead.all(|other| scratch.goes(other)))
            }
            Wait::Call(call) => {
                let call = &self.calls[call];
                if let Sight::Within {
                    place,
                    elsewhere_blocks,
                } = sight
                    && call.to != place
                {
                    return !elsewhere_blocks;
                }
                match call.state {
                    CallState::Served(callee) => scratch.goes(callee),
                    CallState::OnItsWay => self.occupants(call.to).all(|one| scratch.goes(one)),
                    CallState::Over => true,
                }
            }
        }
    }

    /// Those who have all of a process that serves one call at a time.
    fn occupants(&self, place: usize) -> impl Iterator<Item = usize> {
        let site = &self.places[place];
        let single = site.kind
            == Kind::Python {
                single_threaded: true,
            };
        let workers = site.workers.filter(|_| single);
        let holders = workers.map(|workers| &self.resources[workers].holders);
        holders.into_iter().flatten().map(|(holder, _)| *holder)
    }

    /// Calls `tell` with everybody who may be in the way of this frame, and whether only by having come
    /// first.
    pub(crate) fn blockers(&self, frame: usize, mut tell: impl FnMut(usize, bool)) {
        for wait in &self.frames[frame].waits {
            match wait {
                Wait::Timer => {}
                Wait::Lock(resource, _) => {
                    let resource = &self.resources[*resource];
                    resource
                        .holders
                        .iter()
                        .for_each(|(holder, _)| tell(*holder, false));
                    resource.ahead(frame).for_each(|other| tell(other, true));
                }
                Wait::Call(call) => {
                    let call = &self.calls[*call];
                    match call.state {
                        CallState::Served(callee) => tell(callee, false),
                        CallState::OnItsWay => {
                            self.occupants(call.to).for_each(|one| tell(one, false));
                        }
                        CallState::Over => {}
                    }
                }
            }
        }
    }
}
