//! Other ways to find deadlocks, to compare with: in the same programs, over the same network, judged by
//! the same truth. Within one process all but the time-out look as our detector does.

use std::collections::{HashMap, HashSet};

use antifreeze_detector::graph::{self, Candidate, Edge, Graph};
use antifreeze_detector::{Callee, Frame, Need};

use super::detectors::{By, Mail};
use super::{CallState, Event, LOCAL, Wait, World};
use crate::program::{Kind, MILLI, SECOND, Time};

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Baseline {
    /// Whoever waits sends a probe along what it waits for, and fails if that comes back: edge chasing
    /// after Chandy, Misra and Haas, for those who wait for one thing at a time.
    Probes,
    /// Every 100 ms everybody tells one process what it waits for, which puts together what it was told
    /// last.
    Leader,
    /// The same, but only those count that were in the same wait in what it was told before that.
    LeaderTwice,
    /// Whoever has waited for so long fails.
    TimeOut(Time),
}

/// How long a wait lasts before a probe is sent, and when again, as our detector does.
const PATIENCE: Time = 10 * MILLI;
const REPEATS: [Time; 3] = [90 * MILLI, 900 * MILLI, 5 * SECOND];
/// How often the leader is told something, and thinks about it.
const PERIOD: Time = 100 * MILLI;

/// What they have in mind.
#[derive(Default)]
pub(crate) struct Minds {
    /// The probes that came by, and the calls along which they were sent on.
    seen: HashSet<(Probe, usize)>,
    /// Of each process, what the leader was told last, and before.
    told: HashMap<usize, [Snapshot; 2]>,
    /// Those who told that nobody waits.
    idle: HashSet<usize>,
}

/// Somebody asks whether this wait of its is for itself, for the so many-th time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Probe {
    pub(super) origin: usize,
    epoch: u64,
    round: usize,
}

/// Who waits in a process, each with the number of the wait.
pub(super) type Snapshot = Vec<(u64, Frame)>;

impl World {
    /// Has deadlocks found in this way, from the beginning.
    pub fn rely_on(&mut self, baseline: Baseline) {
        self.baseline = Some(baseline);
        for place in 0..self.places.len() {
            self.places[place].core = None;
            if self.has_leader() && self.places[place].kind == Kind::Rust {
                let first = self.random.u64(..PERIOD);
                self.later(first, Event::Tick(place));
            }
        }
    }

    pub(super) fn has_leader(&self) -> bool {
        let leaders = [Baseline::Leader, Baseline::LeaderTwice];
        self.baseline.is_some_and(|one| leaders.contains(&one))
    }

    /// How long it lasts until a wait fails, if that is all that there is.
    pub(super) fn patience(&self) -> Option<Time> {
        match self.baseline {
            Some(Baseline::TimeOut(time)) => Some(time),
            _ => None,
        }
    }

    /// This wait leads to another process.
    pub(super) fn chase_later(&mut self, frame: usize, epoch: u64) {
        if self.baseline == Some(Baseline::Probes) {
            let origin = frame;
            let pause = self.random.u64(PATIENCE / 2..PATIENCE * 3 / 2) - LOCAL;
            let round = 0;
            let probe = Probe {
                origin,
                epoch,
                round,
            };
            self.later(self.now + pause, Event::Chase(probe));
        }
    }

    pub(super) fn chase(&mut self, probe: Probe) {
        if self.waits_in(probe.origin, probe.epoch) {
            self.send_on(probe.origin, probe);
            let pause = REPEATS[probe.round.min(REPEATS.len() - 1)];
            let round = probe.round + 1;
            self.later(self.now + pause, Event::Chase(Probe { round, ..probe }));
        }
    }

    /// Follows what this frame waits for in its process, and sends the probe where that leads. Says whether
    /// it came by its origin.
    fn send_on(&mut self, frame: usize, probe: Probe) -> bool {
        let place = self.frames[frame].place;
        let mut open = vec![frame];
        let mut known = HashSet::new();
        let mut calls = Vec::new();
        while let Some(frame) = open.pop() {
            if known.contains(&frame) {
                continue;
            }
            self.linger();
            // Whoever waits for one of several things cannot be followed in this way.
            let [wait] = self.frames[frame].waits[..] else {
                continue;
            };
            known.insert(frame);
            match wait {
                Wait::Timer => {}
                Wait::Lock(resource, wanted) => {
                    let resource = &self.resources[resource];
                    let all: u32 = resource.holders.iter().map(|(_, permits)| permits).sum();
                    let needed =
                        |(_, permits): &&(usize, u32)| resource.free + (all - permits) < wanted;
                    open.extend(resource.holders.iter().filter(needed).map(|(one, _)| *one));
                    open.extend(resource.ahead(frame).last());
                }
                Wait::Call(call) => match self.calls[call].state {
                    CallState::Served(callee) if self.frames[callee].place == place => {
                        open.push(callee);
                    }
                    _ => calls.push(call),
                },
            }
        }
        for call in calls {
            let to = self.calls[call].to;
            if self.places[to].kind == Kind::Rust && self.minds.seen.insert((probe, call)) {
                self.post(place, to, Mail::Probe(probe, call));
            }
        }
        known.contains(&probe.origin)
    }

    pub(super) fn probed(&mut self, to: usize, probe: Probe, call: usize) {
        if let CallState::Served(frame) = self.calls[call].state
            && self.frames[frame].place == to
            && self.send_on(frame, probe)
        {
            self.fail_if_same(probe.origin, probe.epoch);
        }
    }

    pub(super) fn fail_if_same(&mut self, frame: usize, epoch: u64) {
        if self.waits_in(frame, epoch) {
            self.fail(frame, By::Baseline);
        }
    }

    fn leader(&self) -> usize {
        let mut sites = self.places.iter();
        sites.position(|site| site.kind == Kind::Rust).unwrap_or(0)
    }

    pub(super) fn tick(&mut self, place: usize) {
        self.later(self.now + PERIOD, Event::Tick(place));
        let waiting: Vec<usize> = self.places[place].waiting.iter().copied().collect();
        let reads = waiting.into_iter().filter_map(|frame| {
            self.linger();
            let mut read = self.read(frame, false)?;
            for need in &mut read.waits {
                // Those before them wait, too.
                if let Need::Local(graph::Need::Permits { ahead, .. }) = need {
                    ahead.drain(..ahead.len().saturating_sub(1));
                }
            }
            Some((self.frames[frame].epoch, read))
        });
        let snapshot: Snapshot = reads.collect();
        let leader = self.leader();
        let idle = snapshot.is_empty();
        if place == leader {
            self.told(place, snapshot);
            self.lead(leader);
        } else if !idle || !self.minds.idle.contains(&place) {
            self.post(place, leader, Mail::Snapshot(place, snapshot));
        }
        match idle {
            true => self.minds.idle.insert(place),
            false => self.minds.idle.remove(&place),
        };
    }

    pub(super) fn told(&mut self, place: usize, snapshot: Snapshot) {
        let told = self.minds.told.entry(place).or_default();
        told.swap(0, 1);
        told[0] = snapshot;
    }

    /// Fails whoever cannot go on, as far as the leader was told.
    fn lead(&mut self, leader: usize) {
        let twice = self.baseline == Some(Baseline::LeaderTwice);
        let told = self.minds.told.values();
        let reads = told.flat_map(|[last, before]| {
            let waits = |(epoch, read): &(u64, Frame)| (read.number(), *epoch);
            let before: HashSet<_> = before.iter().map(waits).collect();
            let counts = move |one: &&(u64, Frame)| !twice || before.contains(&waits(one));
            last.iter().filter(counts)
        });
        let reads: HashMap<u64, &(u64, Frame)> = reads.map(|one| (one.1.number(), one)).collect();
        let serving = reads.values().filter_map(|(_, read)| {
            let call = read.parent?;
            Some((call.seq, read.number()))
        });
        let serving: HashMap<u64, u64> = serving.collect();
        let need = |need: &Need| match need {
            Need::Local(need) => need.clone(),
            Need::Call(call) => {
                let native = matches!(call.to, Callee::Native(_));
                let callee = serving.get(&call.seq).filter(|_| native);
                let edge = |frame: &u64| Edge {
                    frame: *frame,
                    soft: false,
                };
                graph::Need::All(callee.map(edge).into_iter().collect())
            }
        };
        let frames = reads.iter().map(|(number, (_, read))| {
            let frame = graph::Frame {
                external: read.external,
                waits: read.waits.iter().map(need).collect(),
            };
            (*number, frame)
        });
        let mut graph = Graph {
            frames: frames.collect(),
        };
        let mut victims = Vec::new();
        loop {
            let stuck = graph::stuck(&graph, true);
            let victim = graph::victim(&graph, &stuck, |frame| {
                let read = reads.get(&frame);
                read.map_or_else(Candidate::default, |(_, read)| read.candidate)
            });
            let Some(victim) = victim else { break };
            graph.frames.remove(&victim);
            victims.extend(reads.get(&victim).map(|(epoch, _)| (victim, *epoch)));
        }
        for (victim, epoch) in victims {
            for told in self.minds.told.values_mut() {
                told[0].retain(|(_, read)| read.number() != victim);
            }
            let frame = victim as usize;
            match self.frames[frame].place {
                place if place == leader => self.fail_if_same(frame, epoch),
                place => self.post(leader, place, Mail::Fail(frame, epoch)),
            }
        }
    }
}
