//! What a detector sees of its process in the simulated world.

use std::time::Duration;

use antifreeze_detector::faults::Fault;
use antifreeze_detector::graph::{self, Candidate, Edge, Graph};
use antifreeze_detector::{
    About, Call, CallId, Callee, Frame, Home, Need, Peer, Reading, Report, Root, Wanted,
};

use crate::program::{Kind, SECOND};
use crate::world::{By, Kept, Wait, World, address};

/// A process, as its detector sees it.
pub(crate) struct View<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) place: usize,
}

/// How many frames are read at most.
const MOST: usize = 5_000;

impl Home for View<'_> {
    fn read(&mut self, roots: &[Root]) -> Reading {
        let mut open: Vec<usize> = Vec::new();
        for root in roots {
            match root {
                Root::Frame(frame) => open.push(*frame as usize),
                Root::Call(call) => open.extend(self.world.serving(self.place, *call)),
            }
        }
        let mut known: Vec<(usize, u64)> = Vec::new();
        let mut frames = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut truncated = false;
        while let Some(frame) = open.pop() {
            if self.world.frames[frame].place != self.place || !seen.insert(frame) {
                continue;
            }
            if frames.len() == MOST {
                truncated = true;
                break;
            }
            self.world.linger();
            let Some(read) = self.world.read(frame, false) else {
                continue;
            };
            known.push((frame, self.world.frames[frame].epoch));
            open.extend(read.blockers().map(|blocker| blocker as usize));
            frames.push(read);
        }
        known.sort_unstable();
        let now = self.world.now;
        let site = &mut self.world.places[self.place];
        site.reading_count += 1;
        let number = site.reading_count;
        site.readings.push_back(Kept {
            number,
            at: now,
            epochs: known,
        });
        while site
            .readings
            .front()
            .is_some_and(|kept| kept.at + 10 * SECOND < now)
        {
            site.readings.pop_front();
        }
        Reading {
            number,
            frames,
            truncated,
        }
    }

    fn confirm(&mut self, reading: u64, frames: &[u64]) -> Option<Reading> {
        let epochs_first = self.world.fault == Some(Fault::EpochsFirst);
        if epochs_first && !self.are_same(reading, frames) {
            return None;
        }
        let mut again = Vec::new();
        let mut order: Vec<usize> = frames.iter().map(|frame| *frame as usize).collect();
        self.world.random.shuffle(&mut order);
        for frame in order {
            self.world.linger();
            again.push(self.world.read(frame, true)?);
        }
        self.world.linger();
        (epochs_first || self.are_same(reading, frames)).then_some(Reading {
            number: reading,
            frames: again,
            truncated: false,
        })
    }

    fn is_unanswered(&mut self, call: u64) -> bool {
        let number = call as usize - 1;
        let call = &self.world.calls[number];
        let waits = &self.world.frames[call.caller].waits;
        match self.world.fault {
            Some(Fault::AnsweredOccupies) => true,
            Some(Fault::GivenUpForgotten) => waits.contains(&Wait::Call(number)),
            _ => !call.answered,
        }
    }

    fn fail(&mut self, reading: u64, frame: u64, report: &Report) -> bool {
        let careless = self.world.fault == Some(Fault::StaleVerdictAccepted);
        let victim = frame as usize;
        let waits = self
            .world
            .read(victim, false)
            .is_some_and(|read| !read.candidate.spared);
        if !(careless && waits || self.are_same(reading, &[frame])) {
            return false;
        }
        self.world.fail(victim, By::Detectors(report));
        true
    }

    fn admit(&mut self, reading: u64, frame: u64) -> bool {
        self.are_same(reading, &[frame]) && self.world.admit(frame as usize)
    }
}

impl View<'_> {
    /// Whether all of these are in the same wait as in that reading.
    fn are_same(&self, reading: u64, frames: &[u64]) -> bool {
        let readings = &self.world.places[self.place].readings;
        let Some(kept) = readings.iter().rev().find(|kept| kept.number == reading) else {
            return false;
        };
        frames.iter().all(|frame| {
            let frame = *frame as usize;
            let place = kept
                .epochs
                .binary_search_by_key(&frame, |(other, _)| *other);
            place.is_ok_and(|place| self.world.waits_in(frame, kept.epochs[place].1))
        })
    }
}

impl World {
    /// The frames of a process that serve this call.
    fn serving(&self, place: usize, call: CallId) -> Vec<usize> {
        let number = call.seq as usize - 1;
        let serves = self.calls.get(number).map(|call| call.state);
        let Some(crate::world::CallState::Served(frame)) = serves else {
            return Vec::new();
        };
        let at = &self.frames[frame];
        match at.place == place && at.parent() == Some(call) {
            true => vec![frame],
            false => Vec::new(),
        }
    }

    /// Whether this is a call that was sent to somebody who serves one at a time.
    fn is_sent(&self, wait: &Wait) -> bool {
        match wait {
            Wait::Call(call) => self.calls[*call].established && self.may_be_queued(*call),
            _ => false,
        }
    }

    /// What a detector is told of a frame. In place of how long a wait has lasted stands its number, so that
    /// the truth can tell which wait a report names.
    pub(crate) fn read(&self, frame: usize, tell: bool) -> Option<Frame> {
        let at = &self.frames[frame];
        if at.waits.is_empty() {
            return None;
        }
        let mut waits = Vec::new();
        let mut about = About::default();
        if tell {
            about.agent = format!("frame {frame} of chain {}", at.root);
        }
        for wait in &at.waits {
            match wait {
                Wait::Timer => {}
                Wait::Lock(number, permits) => {
                    let resource = &self.resources[*number];
                    let edge = |frame: usize, soft| Edge {
                        frame: frame as u64,
                        soft,
                    };
                    let holders = resource.holders.iter();
                    let ahead = resource.ahead(frame);
                    waits.push(Need::Local(graph::Need::Permits {
                        wanted: (*permits).into(),
                        free: resource.free.into(),
                        holders: holders
                            .map(|(holder, n)| (edge(*holder, false), u64::from(*n)))
                            .collect(),
                        ahead: ahead.map(|other| edge(other, true)).collect(),
                    }));
                    if tell {
                        about.waits.push(Wanted {
                            lock: format!("resource {number}"),
                            mode: format!("{permits} of {}", resource.permits),
                            pool: resource.is_pool,
                            ms: at.epoch,
                            ..Wanted::default()
                        });
                    }
                }
                Wait::Call(number) => {
                    let call = &self.calls[*number];
                    let to = match self.places[call.to].kind {
                        Kind::Rust => Callee::Native(Peer {
                            node: call.to_node,
                            address: address(call.to),
                        }),
                        Kind::Python { .. } => Callee::Opaque {
                            location: address(call.to),
                            single_threaded: self.may_be_queued(*number),
                        },
                    };
                    waits.push(Need::Call(Call {
                        seq: *number as u64 + 1,
                        to,
                    }));
                    if tell {
                        about.waits.push(Wanted {
                            lock: format!("call {number}"),
                            mode: "call".into(),
                            ms: at.epoch,
                            ..Wanted::default()
                        });
                    }
                }
            }
        }
        let mut chain = [0; 16];
        chain[8..].copy_from_slice(&at.root.to_be_bytes());
        Some(Frame {
            candidate: Candidate {
                frame: frame as u64,
                // What is sent may be served all the same, so anybody else is better.
                times_victim: match at.waits.iter().any(|wait| self.is_sent(wait)) {
                    true => u32::MAX,
                    false => at.times_victim,
                },
                timed: at.timed,
                priority: at.priority,
                before_body: self.is_entering(frame),
                birth: at.birth,
                depth: at.depth,
                spared: !at.waits.iter().any(|wait| match wait {
                    Wait::Lock(..) => true,
                    Wait::Call(call) => self.may_be_queued(*call),
                    Wait::Timer => false,
                }),
            },
            parent: at.parent(),
            chain,
            external: at.waits.contains(&Wait::Timer),
            waited: Duration::from_nanos(self.now - at.since),
            waits,
            about,
        })
    }

    /// What the detector of one process does about these, who wait for each other in it: who fails, or is
    /// let past others.
    pub(crate) fn local_verdict(&self, place: usize, stuck: &[usize]) -> Option<(usize, bool)> {
        let reads: Vec<Frame> = stuck
            .iter()
            .filter_map(|frame| self.read(*frame, false))
            .collect();
        let node = |read: &Frame| {
            let waits = read.waits.iter().map(|need| match need {
                Need::Local(need) => need.clone(),
                Need::Call(call) => {
                    let callee = match self.calls[call.seq as usize - 1].state {
                        crate::world::CallState::Served(callee)
                            if self.frames[callee].place == place =>
                        {
                            callee as u64
                        }
                        _ => u64::MAX,
                    };
                    graph::Need::All(vec![Edge {
                        frame: callee,
                        soft: false,
                    }])
                }
            });
            graph::Frame {
                external: read.external,
                waits: waits.collect(),
            }
        };
        let graph = Graph {
            frames: reads
                .iter()
                .map(|read| (read.number(), node(read)))
                .collect(),
        };
        let all = graph::stuck(&graph, true);
        let hard = graph::stuck(&graph, false);
        let passes =
            |frame: &&u64| hard.binary_search(frame).is_err() && self.is_behind(**frame as usize);
        if let Some(reader) = all.iter().find(passes) {
            return Some((*reader as usize, true));
        }
        let victim = graph::victim(&graph, &all, |frame| {
            let read = reads.iter().find(|read| read.number() == frame);
            read.map_or_else(Candidate::default, |read| read.candidate)
        });
        Some((victim? as usize, false))
    }

    /// Whether it stands behind somebody in a queue.
    fn is_behind(&self, frame: usize) -> bool {
        self.frames[frame].waits.iter().any(|wait| match wait {
            Wait::Lock(resource, _) => self.resources[*resource].ahead(frame).next().is_some(),
            _ => false,
        })
    }
}
