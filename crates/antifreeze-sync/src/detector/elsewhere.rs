//! What others need who look further than this process: what was read, as plain data, and what
//! they may do about it.
//!
//! A [reading](read) is the first pass over what some frames wait for, as far as that is in this
//! process. To be [confirmed](confirm) it is read again, and then every frame must still be in the
//! same wait. The facts behind a reading are kept for a while, so that its number and a frame name a
//! wait: only that one can be [failed](fail).

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{Closure, Core, Facts, Wait, What, with_core};
use crate::calls::{CallId, Chain, Parent, Peer};
use crate::graph::{self, Edge, Need};
use crate::monitor::Obstacles;
use crate::report::{AgentInfo, HoldInfo, Report, WaitInfo};
use crate::sync::{HashMap, HashSet};

/// How long the facts behind a reading are kept, and how many frames they may be about in all.
const KEEP: Duration = Duration::from_secs(10);
const MOST_KEPT: usize = 1 << 16;

/// A frame whose wait depends on a call that is served elsewhere, as far as can be seen from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beyond {
    /// The frame.
    pub frame: u64,
    /// Whether it may well wait for one of its own callers, so that there is no use in waiting.
    pub at_once: bool,
}

type Hook = Box<dyn Fn(&[Beyond]) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Has `hook` called, on the detector's thread, with frames that have begun to wait for what only
/// others can know. It must not block. Only the first hook counts.
pub fn on_beyond(hook: impl Fn(&[Beyond]) + Send + Sync + 'static) {
    let _ = HOOK.set(Box::new(hook));
}

pub(super) fn tell(beyond: &[Beyond]) {
    if let Some(hook) = HOOK.get() {
        hook(beyond);
    }
}

/// Where to begin to read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// A frame of this process.
    Frame(u64),
    /// Whoever serves this call here.
    Serving(CallId),
}

/// What some frames wait for, as far as that is in this process.
#[derive(Clone)]
#[non_exhaustive]
pub struct Reading {
    /// Which reading it is.
    pub number: u64,
    /// Those that wait. Whoever is not among them runs.
    pub frames: Vec<ReadFrame>,
    /// For each call that was asked for, those who serve it here and wait.
    pub serving: Vec<(CallId, Vec<u64>)>,
    /// There were more than allowed.
    pub truncated: bool,
}

/// A frame that waits.
#[derive(Clone)]
#[non_exhaustive]
pub struct ReadFrame {
    /// Who it is.
    pub agent: AgentInfo,
    /// What it is part of.
    pub chain: Chain,
    /// How many calls it is away from where the chain began.
    pub depth: u8,
    /// The call that it serves.
    pub parent: Option<Parent>,
    /// Something that we know nothing of may wake it.
    pub external: bool,
    /// One of its waits has a deadline.
    pub timed: bool,
    /// It has yet to begin with what it is to do.
    pub entering: bool,
    /// None of its waits can be failed.
    pub spared: bool,
    /// It goes on as soon as one of them ends.
    pub waits: Vec<ReadWait>,
}

/// A wait.
#[derive(Clone)]
pub enum ReadWait {
    /// For something in this process.
    Here {
        /// What has to happen for it to end.
        need: Need,
        /// The wait, for people.
        info: WaitInfo,
        /// What those hold who are in its way, for people.
        holds: Vec<(u64, HoldInfo)>,
    },
    /// For the answer to a call.
    Call {
        /// Which one.
        call: CallId,
        /// Whom it was sent to.
        peer: Arc<dyn Peer>,
        /// It may be served outside of this process.
        away: bool,
        /// Those in this process who serve it and wait, and whether it came to them through other
        /// hands.
        serving: Vec<(u64, bool)>,
        /// The wait, for people.
        info: WaitInfo,
    },
}

/// Reads what `parts` wait for, and what those wait for, and so on, but no more than `most` frames.
pub fn read(parts: &[Part], most: usize) -> Reading {
    with_core(|core| core.read_for_others(parts, most, Instant::now()))
}

/// Reads `frames` again, of those of a reading. None if one of them is not in the same wait as then,
/// or if that was too long ago.
pub fn confirm(reading: u64, frames: &[u64]) -> Option<Reading> {
    with_core(|core| core.confirm_for_others(reading, frames, Instant::now()))
}

/// Fails the wait in which `frame` was in a reading, unless that has changed. Says whether it did.
pub fn fail(reading: u64, frame: u64, report: &Arc<Report>) -> bool {
    with_core(|core| {
        let Some(facts) = core.unchanged(reading, frame) else {
            return false;
        };
        let ended = &mut core.effects.ended;
        let Some((waiter, resource)) = facts.failable() else {
            return false;
        };
        let failed = resource.fail(waiter, report, ended);
        if failed {
            waiter.agent.add_victim();
            core.effects.reports.push(Arc::clone(report));
        }
        failed
    })
}

/// Lets `frame` in past those who only came before it, if it is in the wait of the reading still.
/// Says whether it did.
pub fn admit(reading: u64, frame: u64) -> bool {
    with_core(|core| {
        let Some(facts) = core.unchanged(reading, frame) else {
            return false;
        };
        let ended = &mut core.effects.ended;
        facts.waits.iter().any(|wait| wait.overtake(ended))
    })
}

/// The facts behind readings.
#[derive(Default)]
pub(super) struct Kept {
    count: u64,
    readings: VecDeque<KeptReading>,
}

struct KeptReading {
    number: u64,
    at: Instant,
    facts: HashMap<u64, Facts>,
}

impl Kept {
    fn keep(&mut self, facts: HashMap<u64, Facts>, now: Instant) -> u64 {
        self.count += 1;
        self.readings.push_back(KeptReading {
            number: self.count,
            at: now,
            facts,
        });
        let mut frames: usize = self.readings.iter().map(|kept| kept.facts.len()).sum();
        while let Some(oldest) = self.readings.front()
            && (now.saturating_duration_since(oldest.at) > KEEP || frames > MOST_KEPT)
            && self.readings.len() > 1
        {
            frames -= oldest.facts.len();
            self.readings.pop_front();
        }
        self.count
    }

    fn get(&self, number: u64) -> Option<&HashMap<u64, Facts>> {
        let mut readings = self.readings.iter();
        Some(&readings.find(|kept| kept.number == number)?.facts)
    }
}

impl Core {
    fn read_for_others(&mut self, parts: &[Part], most: usize, now: Instant) -> Reading {
        // Also those that have just begun: somebody elsewhere waits for them longer.
        self.collect(None);
        let mut frames = Vec::new();
        let mut serving = Vec::new();
        for part in parts {
            match *part {
                Part::Frame(frame) => frames.push(frame),
                Part::Serving(call) => {
                    let here: Vec<_> = self.serving(call).iter().map(|(frame, _)| *frame).collect();
                    frames.extend(&here);
                    serving.push((call, here));
                }
            }
        }
        let mut known: HashSet<u64> = frames.iter().copied().collect();
        let mut facts = HashMap::default();
        let mut truncated = false;
        while let Some(frame) = frames.pop() {
            let Some(found) = self.facts(frame) else {
                continue;
            };
            if facts.len() == most {
                truncated = true;
                break;
            }
            for next in self.leads_to(&found) {
                if known.insert(next) {
                    frames.push(next);
                }
            }
            facts.insert(frame, found);
        }
        let told = self.told(&facts, now);
        Reading {
            number: self.kept.keep(facts, now),
            frames: told,
            serving,
            truncated,
        }
    }

    fn confirm_for_others(&mut self, number: u64, frames: &[u64], now: Instant) -> Option<Reading> {
        self.collect(None);
        let before = self.kept.get(number)?;
        let again = |frame: &u64| Some((*frame, self.facts(*frame)?));
        let after: Option<HashMap<u64, Facts>> = frames.iter().map(again).collect();
        let after = after?;
        let told = self.told(&after, now);
        // Only now, after all has been read: see `Core::confirm`.
        let mut all = after.iter();
        let same = all.all(|(frame, after)| {
            before
                .get(frame)
                .is_some_and(|before| before.is_same(after))
        });
        same.then_some(Reading {
            number,
            frames: told,
            serving: Vec::new(),
            truncated: false,
        })
    }

    /// The facts of a frame now, if it is in the same wait as it was in this reading.
    fn unchanged(&self, number: u64, frame: u64) -> Option<Facts> {
        let before = self.kept.get(number)?.get(&frame)?;
        let now = self.facts(frame)?;
        before.is_same(&now).then_some(now)
    }

    /// Those in this process who are in the way.
    fn leads_to(&self, facts: &Facts) -> Vec<u64> {
        let mut next = Vec::new();
        for wait in &facts.waits {
            next.extend(wait.obstacles.everybody().map(|holding| holding.frame));
            if let What::Answer(open) = &wait.what {
                next.extend(self.serving(open.id()).iter().map(|(frame, _)| *frame));
            }
        }
        next
    }

    fn told(&self, all: &HashMap<u64, Facts>, now: Instant) -> Vec<ReadFrame> {
        all.values()
            .map(|facts| self.told_one(facts, now))
            .collect()
    }

    fn told_one(&self, facts: &Facts, now: Instant) -> ReadFrame {
        let origin = facts.who.origin().filter(|_| !facts.is_nesting());
        ReadFrame {
            agent: facts.who(),
            chain: facts.who.chain(),
            depth: facts.who.depth(),
            parent: origin.and_then(|origin| origin.parent),
            external: facts.external,
            timed: facts.is_timed(),
            entering: facts.is_entering(),
            spared: facts.is_spared(),
            waits: facts
                .waits
                .iter()
                .map(|wait| self.told_wait(facts, wait, now))
                .collect(),
        }
    }

    fn told_wait(&self, facts: &Facts, wait: &Wait, now: Instant) -> ReadWait {
        let info = wait.info(now);
        match &wait.what {
            What::Answer(open) if open.frame == facts.frame => ReadWait::Call {
                call: open.id(),
                peer: Arc::clone(&open.peer),
                away: open.away,
                serving: self.serving(open.id()),
                info,
            },
            _ => {
                let everybody = wait.obstacles.everybody();
                let hold = |holding: &crate::monitor::Holding| {
                    (holding.frame, holding.info(&info.resource))
                };
                ReadWait::Here {
                    need: wait.obstacles.need(),
                    holds: everybody.map(hold).collect(),
                    info,
                }
            }
        }
    }
}

impl Closure {
    /// Those of `frames` that could not go on if no call that is served elsewhere were answered.
    pub(super) fn beyond(&self, frames: &[u64], stuck: &[u64]) -> Vec<Beyond> {
        /// Stands for everybody elsewhere; no frame has this number.
        const ELSEWHERE: u64 = 0;
        let wait = |wait: &Wait| match wait.obstacles {
            Obstacles::Away => Need::All(vec![Edge {
                frame: ELSEWHERE,
                soft: false,
            }]),
            _ => wait.obstacles.need(),
        };
        let is_away = |wait: &Wait| matches!(wait.obstacles, Obstacles::Away);
        if !self
            .facts
            .values()
            .any(|facts| facts.waits.iter().any(is_away))
        {
            return Vec::new();
        }
        let mut graph = self.graph.clone();
        for (frame, node) in &mut graph.frames {
            if let Some(facts) = self.facts.get(frame) {
                node.waits = facts.waits.iter().map(wait).collect();
            }
        }
        let nobody = Need::All(vec![Edge {
            frame: ELSEWHERE,
            soft: false,
        }]);
        graph.frames.insert(
            ELSEWHERE,
            graph::Frame {
                external: false,
                waits: vec![nobody],
            },
        );
        let depends = graph::stuck(&graph, true);
        let is_new = |frame: &u64| {
            depends.binary_search(frame).is_ok() && stuck.binary_search(frame).is_err()
        };
        let mut frames: Vec<_> = frames.iter().copied().filter(is_new).collect();
        frames.sort_unstable();
        frames.dedup();
        let beyond = |frame| Beyond {
            frame,
            at_once: self.waits_for_ancestor(frame),
        };
        frames.into_iter().map(beyond).collect()
    }

    /// Whether somebody is in the way of `frame` for whom it was called.
    fn waits_for_ancestor(&self, frame: u64) -> bool {
        let Some(facts) = self.facts.get(&frame) else {
            return false;
        };
        let origin = facts.who.origin();
        let Some(ancestors) = origin.and_then(|origin| origin.ancestors.as_deref()) else {
            return false;
        };
        let mut in_the_way = facts
            .waits
            .iter()
            .flat_map(|wait| wait.obstacles.everybody());
        in_the_way.any(|holding| {
            let mut calls = ancestors.iter().filter(|call| call.frame == holding.frame);
            calls.any(|call| call.is_waiting())
        })
    }
}
