//! The truth: what every step of a program does, one after the other, and who can never go on.
//!
//! It shares nothing with the locks and the detector that are tested against it. It knows only one
//! step at a time, so a queue is a list and there are no races.

use std::collections::VecDeque;
use std::time::Duration;

use crate::program::{Mode, Program, Step, Thing, Want};

/// The state of all locks and agents between two steps.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    things: Vec<Lock>,
    agents: Vec<State>,
    /// What was granted and has not been asked for yet.
    granted: VecDeque<Granted>,
    /// There are others, of whom nothing is known.
    partial: bool,
}

#[derive(Clone, Debug)]
struct Lock {
    thing: Thing,
    holders: Vec<Hold>,
    queue: VecDeque<Waiter>,
    /// An event is set.
    set: bool,
}

/// Somebody who holds something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hold {
    pub(crate) agent: usize,
    pub(crate) mode: Mode,
}

/// Somebody who waits, and what he holds.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) agent: usize,
    pub(crate) held: Vec<(usize, Mode)>,
    /// What it wants, and whether it has that part already.
    pub(crate) wants: Vec<(Want, bool)>,
    pub(crate) joins: Option<usize>,
    pub(crate) timed: bool,
    pub(crate) external: bool,
}

/// Somebody has got what he wanted, or one part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Granted {
    pub(crate) agent: usize,
    pub(crate) part: usize,
    /// None for the end of another agent.
    pub(crate) want: Option<Want>,
}

/// Somebody in the queue of a lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Waiter {
    agent: usize,
    part: usize,
    mode: Mode,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    /// In the middle of a step.
    Doing {
        /// One part is enough.
        any: bool,
        parts: Vec<Part>,
        /// Something that no detector knows of may end it too.
        external: bool,
        timed: bool,
    },
    Joining(usize),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    want: Want,
    granted: bool,
}

/// How a step is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Manner {
    pub(crate) timed: bool,
    pub(crate) external: bool,
    /// It fails instead of waiting.
    pub(crate) hasty: bool,
    /// Whoever reads already may read again at once: threads.
    pub(crate) rereads: bool,
}

/// What came of a step at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begun {
    Done,
    Waits,
    Refused,
}

/// A deadlock as it was reported, in our own numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) members: Vec<ToldMember>,
}

impl Told {
    /// Whether the victim lets others in by failing: those before whom it stood in the queue, or by the guard
    /// that an upgrade that fails has lost.
    pub(crate) fn makes_way(&self, victim: usize) -> bool {
        let mut of_victim = self.members.iter().filter(|member| member.agent == victim);
        of_victim.any(|member| {
            let upgrades = |wait: &ToldWait| wait.mode == Mode::Upgrade;
            member.holds.iter().any(|hold| hold.queued) || member.waits.iter().any(upgrades)
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ToldMember {
    pub(crate) agent: usize,
    /// For how long, at the most.
    pub(crate) waited: Duration,
    pub(crate) waits: Vec<ToldWait>,
    pub(crate) holds: Vec<ToldHold>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ToldWait {
    pub(crate) on: On,
    pub(crate) mode: Mode,
    pub(crate) timed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ToldHold {
    pub(crate) on: On,
    pub(crate) mode: Mode,
    /// It only stands in the queue before others.
    pub(crate) queued: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum On {
    Thing(usize),
    EndOf(usize),
}

/// How many permits come from outside at a time.
pub(crate) const HELP: u32 = 3;

impl Oracle {
    pub(crate) fn new(program: &Program) -> Self {
        let lock = |thing: &Thing| Lock {
            thing: *thing,
            holders: Vec::new(),
            queue: VecDeque::new(),
            set: false,
        };
        Self {
            things: program.things.iter().map(lock).collect(),
            agents: vec![State::Idle; program.agents.len()],
            granted: VecDeque::new(),
            partial: false,
        }
    }

    /// The state of some agents who all wait, of whom is known what they hold and want. Of the queues
    /// no more is known than what a report says of them.
    pub(crate) fn frozen(program: &Program, agents: &[Frozen], told: &Told) -> Self {
        let mut oracle = Self::new(program);
        oracle.partial = true;
        let mut first = vec![0; program.things.len()];
        for frozen in agents {
            for &(thing, mode) in &frozen.held {
                oracle.things[thing].holders.push(Hold {
                    agent: frozen.agent,
                    mode,
                });
            }
            for (part, (want, granted)) in frozen.wants.iter().enumerate() {
                if !granted {
                    let waiter = Waiter {
                        agent: frozen.agent,
                        part,
                        mode: want.mode,
                    };
                    let comes_first = told.members.iter().any(|member| {
                        let queued = |hold: &ToldHold| {
                            hold.queued
                                && hold.on == On::Thing(want.thing)
                                && hold.mode == want.mode
                        };
                        member.agent == frozen.agent && member.holds.iter().any(queued)
                    });
                    let queue = &mut oracle.things[want.thing].queue;
                    if want.mode == Mode::Upgrade {
                        queue.push_front(waiter);
                        first[want.thing] += 1;
                    } else if comes_first {
                        queue.insert(first[want.thing], waiter);
                        first[want.thing] += 1;
                    } else {
                        queue.push_back(waiter);
                    }
                }
            }
            if let Some(other) = frozen.joins {
                oracle.agents[frozen.agent] = State::Joining(other);
            } else if !frozen.wants.is_empty() {
                oracle.agents[frozen.agent] = State::Doing {
                    any: false,
                    parts: frozen
                        .wants
                        .iter()
                        .map(|&(want, granted)| Part { want, granted })
                        .collect(),
                    external: frozen.external,
                    timed: frozen.timed,
                };
            }
        }
        oracle
    }

    /// Whether what an agent wants is in the hands of `others`.
    pub(crate) fn would_wait(
        program: &Program,
        agent: usize,
        want: Want,
        others: impl Iterator<Item = (usize, usize, Mode)>,
    ) -> bool {
        let thing = program.things[want.thing];
        let mut lock = Lock {
            thing,
            holders: Vec::new(),
            queue: VecDeque::new(),
            set: false,
        };
        for (other, held, mode) in others {
            if held == want.thing {
                lock.holders.push(Hold { agent: other, mode });
            }
        }
        !lock.fits(agent, want.mode)
    }

    /// An agent takes a step.
    pub(crate) fn begin(&mut self, agent: usize, step: &Step, manner: Manner) -> Begun {
        assert_eq!(
            self.agents[agent],
            State::Idle,
            "agent {agent} is in the middle of a step"
        );
        match step {
            Step::Acquire(want, _) => self.want(agent, std::slice::from_ref(want), false, manner),
            Step::Race(wants) => self.want(agent, wants, true, manner),
            Step::Both(wants) => self.want(agent, wants, false, manner),
            Step::Upgrade(thing) => {
                let want = Want {
                    thing: *thing,
                    mode: Mode::Upgrade,
                };
                self.want(agent, &[want], false, manner)
            }
            Step::Downgrade(thing) => {
                let holders = &mut self.things[*thing].holders;
                if let Some(hold) = holders
                    .iter_mut()
                    .rfind(|h| h.agent == agent && h.mode == Mode::Write)
                {
                    hold.mode = Mode::Read;
                }
                self.advance(*thing);
                Begun::Done
            }
            Step::Release(thing) => {
                self.release(agent, *thing);
                Begun::Done
            }
            Step::Join(other) => {
                if self.agents[*other] == State::Ended {
                    return Begun::Done;
                }
                self.agents[agent] = State::Joining(*other);
                Begun::Waits
            }
            Step::Pause => Begun::Done,
            Step::Set(thing) => {
                self.set(*thing);
                Begun::Done
            }
        }
    }

    fn want(&mut self, agent: usize, wants: &[Want], any: bool, manner: Manner) -> Begun {
        let mut parts: Vec<Part> = Vec::with_capacity(wants.len());
        for (number, &want) in wants.iter().enumerate() {
            let free = self.can_have_at_once(agent, want, manner.rereads);
            parts.push(Part {
                want,
                granted: free,
            });
            if free {
                self.take(agent, want);
                self.granted.push_back(Granted {
                    agent,
                    part: number,
                    want: Some(want),
                });
                if any {
                    break;
                }
            } else if !manner.hasty {
                let waiter = Waiter {
                    agent,
                    part: number,
                    mode: want.mode,
                };
                let queue = &mut self.things[want.thing].queue;
                if want.mode == Mode::Upgrade {
                    queue.push_front(waiter);
                } else {
                    queue.push_back(waiter);
                }
            }
        }
        let granted = parts.iter().filter(|part| part.granted).count();
        let done = if any {
            granted > 0
        } else {
            granted == parts.len()
        };
        self.agents[agent] = State::Doing {
            any,
            parts,
            external: manner.external,
            timed: manner.timed,
        };
        if done {
            self.leave_queues(agent);
            self.agents[agent] = State::Idle;
            Begun::Done
        } else if manner.hasty {
            self.agents[agent] = State::Idle;
            Begun::Refused
        } else {
            Begun::Waits
        }
    }

    fn can_have_at_once(&self, agent: usize, want: Want, rereads: bool) -> bool {
        let lock = &self.things[want.thing];
        let may = lock.queue.is_empty()
            || want.mode == Mode::Upgrade
            || lock.is_reentry(agent, want.mode, rereads)
            || lock.is_loose_signal();
        may && lock.fits(agent, want.mode)
    }

    fn take(&mut self, agent: usize, want: Want) {
        let lock = &mut self.things[want.thing];
        match want.mode {
            Mode::Upgrade => {
                let hold = lock
                    .holders
                    .iter_mut()
                    .rfind(|hold| hold.agent == agent && hold.mode == Mode::Upgradable)
                    .expect("an upgrade begins with an upgradable guard");
                hold.mode = Mode::Write;
            }
            Mode::Signal => {}
            mode => lock.holders.push(Hold { agent, mode }),
        }
    }

    fn release(&mut self, agent: usize, thing: usize) {
        let holders = &mut self.things[thing].holders;
        if let Some(place) = holders.iter().rposition(|hold| hold.agent == agent) {
            holders.remove(place);
        }
        self.advance(thing);
    }

    fn set(&mut self, thing: usize) {
        self.things[thing].set = true;
        self.advance(thing);
    }

    /// Something that is open to everybody is made available from outside.
    pub(crate) fn help(&mut self, thing: usize) {
        if let Thing::Loose { permits } = &mut self.things[thing].thing {
            *permits += HELP;
        }
        self.set(thing);
    }

    /// Whether somebody waits for this who can be helped.
    pub(crate) fn needs_help(&self, thing: usize) -> bool {
        let lock = &self.things[thing];
        lock.thing.is_open_ended() && !lock.queue.is_empty()
    }

    /// Serves the queue as far as it goes.
    fn advance(&mut self, thing: usize) {
        while let Some(&head) = self.things[thing].queue.front() {
            if !self.things[thing].fits(head.agent, head.mode) {
                break;
            }
            self.things[thing].queue.pop_front();
            self.grant(head, thing);
        }
    }

    fn grant(&mut self, waiter: Waiter, thing: usize) {
        self.take(
            waiter.agent,
            Want {
                thing,
                mode: waiter.mode,
            },
        );
        let want = Some(Want {
            thing,
            mode: waiter.mode,
        });
        self.granted.push_back(Granted {
            agent: waiter.agent,
            part: waiter.part,
            want,
        });
        let State::Doing { any, parts, .. } = &mut self.agents[waiter.agent] else {
            panic!("agent {} waits for nothing", waiter.agent)
        };
        parts[waiter.part].granted = true;
        if *any || parts.iter().all(|part| part.granted) {
            self.leave_queues(waiter.agent);
            self.agents[waiter.agent] = State::Idle;
        }
    }

    /// Takes an agent from all queues, which may let others in.
    fn leave_queues(&mut self, agent: usize) {
        for thing in 0..self.things.len() {
            let queue = &mut self.things[thing].queue;
            let before = queue.len();
            queue.retain(|waiter| waiter.agent != agent);
            if queue.len() != before {
                self.advance(thing);
            }
        }
    }

    /// The step of an agent ends without what it wanted: by a deadlock error, a time-out, or because
    /// it was called off. What it had got already of several things stays with it.
    pub(crate) fn give_up(&mut self, agent: usize) {
        // An upgrade that fails has lost its guard.
        if let Some(thing) = self.fail(agent) {
            self.lose(agent, thing);
        }
    }

    /// The same, but an upgrade that fails has not lost its guard yet: says what it is of.
    pub(crate) fn fail(&mut self, agent: usize) -> Option<usize> {
        let upgrading = match &self.agents[agent] {
            State::Doing { parts, .. } => parts
                .iter()
                .find(|part| part.want.mode == Mode::Upgrade)
                .map(|part| part.want.thing),
            _ => None,
        };
        self.agents[agent] = State::Idle;
        self.leave_queues(agent);
        upgrading
    }

    /// The guard of an upgrade that has failed is gone.
    pub(crate) fn lose(&mut self, agent: usize, thing: usize) {
        let lost = Hold {
            agent,
            mode: Mode::Upgradable,
        };
        let holders = &mut self.things[thing].holders;
        if let Some(place) = holders.iter().rposition(|hold| *hold == lost) {
            holders.remove(place);
        }
        self.advance(thing);
    }

    /// An agent has taken all its steps and holds nothing more.
    pub(crate) fn end(&mut self, agent: usize) {
        assert_eq!(
            self.agents[agent],
            State::Idle,
            "agent {agent} is in the middle of a step"
        );
        self.agents[agent] = State::Ended;
        for other in 0..self.agents.len() {
            if self.agents[other] == State::Joining(agent) {
                self.agents[other] = State::Idle;
                self.granted.push_back(Granted {
                    agent: other,
                    part: 0,
                    want: None,
                });
            }
        }
    }

    /// Somebody was let in before his turn, as [`Self::may_overtake`] allows.
    pub(crate) fn overtake(&mut self, agent: usize, part: usize) {
        for thing in 0..self.things.len() {
            let queue = &mut self.things[thing].queue;
            if let Some(place) = queue
                .iter()
                .position(|waiter| waiter.agent == agent && waiter.part == part)
            {
                let waiter = queue.remove(place).expect("it is there");
                self.grant(waiter, thing);
                self.advance(thing);
                return;
            }
        }
    }

    /// What was granted since the last question, in order.
    pub(crate) fn take_granted(&mut self) -> Vec<Granted> {
        self.granted.drain(..).collect()
    }

    pub(crate) fn waits(&self, agent: usize) -> bool {
        matches!(self.agents[agent], State::Doing { .. } | State::Joining(_))
    }

    /// Whether an agent has this part of what it wants, or all.
    pub(crate) fn has(&self, agent: usize, part: usize) -> bool {
        match &self.agents[agent] {
            State::Doing { parts, .. } => parts[part].granted,
            State::Joining(_) => false,
            State::Idle | State::Ended => true,
        }
    }

    /// What an agent holds: the newest last for each thing.
    pub(crate) fn held_by(&self, agent: usize) -> Vec<(usize, Mode)> {
        let of = |(number, lock): (usize, &Lock)| {
            let held = lock.holders.iter().filter(|hold| hold.agent == agent);
            held.map(|hold| (number, hold.mode)).collect::<Vec<_>>()
        };
        self.things.iter().enumerate().flat_map(of).collect()
    }

    // ---------------------------------------------------------------- who can never go on

    /// All agents that can never go on.
    ///
    /// With `overtaking`, it is assumed that those who wait only because others came before them are
    /// let past, where their lock allows it.
    pub(crate) fn deadlocked(&self, overtaking: bool) -> Vec<usize> {
        let mut stuck: Vec<bool> = (0..self.agents.len())
            .map(|agent| self.waits(agent))
            .collect();
        self.reduce(&mut stuck, overtaking);
        (0..stuck.len()).filter(|&agent| stuck[agent]).collect()
    }

    /// All that can never go on, even if those who may be are let past others now.
    pub(crate) fn truly_deadlocked(&self) -> Vec<usize> {
        let eligible = self.may_overtake();
        let mut stuck: Vec<bool> = (0..self.agents.len())
            .map(|agent| self.waits(agent) && !eligible.iter().any(|&(able, _)| able == agent))
            .collect();
        self.reduce(&mut stuck, false);
        (0..stuck.len()).filter(|&agent| stuck[agent]).collect()
    }

    /// Takes out all that can go on.
    fn reduce(&self, stuck: &mut [bool], overtaking: bool) {
        loop {
            let freed: Vec<usize> = (0..stuck.len())
                .filter(|&agent| stuck[agent] && !self.is_blocked(agent, stuck, overtaking))
                .collect();
            if freed.is_empty() {
                return;
            }
            for agent in freed {
                stuck[agent] = false;
            }
        }
    }

    /// Whether an agent can never go on if those in `stuck` cannot and all others can.
    pub(crate) fn is_blocked(&self, agent: usize, stuck: &[bool], overtaking: bool) -> bool {
        match &self.agents[agent] {
            State::Idle | State::Ended => false,
            State::Joining(other) => stuck[*other],
            State::Doing { external: true, .. } => false,
            State::Doing { parts, .. } => parts
                .iter()
                .enumerate()
                .filter(|(_, part)| !part.granted)
                .all(|(number, part)| {
                    self.is_part_blocked(agent, number, part.want, stuck, overtaking)
                }),
        }
    }

    fn is_part_blocked(
        &self,
        agent: usize,
        part: usize,
        want: Want,
        stuck: &[bool],
        overtaking: bool,
    ) -> bool {
        let lock = &self.things[want.thing];
        if lock.thing.is_open_ended() || want.mode == Mode::Signal {
            return false;
        }
        let in_the_way = lock.in_the_way(agent, want.mode, stuck);
        let passes = match lock.thing {
            // Permits can be promised before they are free, so this is always possible.
            Thing::Semaphore { strict, .. } => !strict,
            _ => overtaking && lock.may_be_overtaken(),
        };
        if passes {
            return in_the_way;
        }
        let ahead = lock
            .queue
            .iter()
            .take_while(|waiter| !(waiter.agent == agent && waiter.part == part))
            .any(|waiter| stuck[waiter.agent]);
        in_the_way || ahead
    }

    /// Who may be let in before those who came earlier, because otherwise nobody would go on.
    pub(crate) fn may_overtake(&self) -> Vec<(usize, usize)> {
        let mut eligible = Vec::new();
        let stuck = self.deadlocked(false);
        for agent in stuck {
            let State::Doing { parts, .. } = &self.agents[agent] else {
                continue;
            };
            for (number, part) in parts.iter().enumerate() {
                let lock = &self.things[part.want.thing];
                // Somebody else may have the right to upgrade.
                if self.partial && part.want.mode == Mode::Upgradable {
                    continue;
                }
                if !part.granted && lock.may_be_overtaken() && lock.fits(agent, part.want.mode) {
                    eligible.push((agent, number));
                }
            }
        }
        eligible
    }

    // ---------------------------------------------------------------- what a report must say

    /// Compares a report with the truth, before the victim's wait has ended.
    pub(crate) fn check(&self, victim: usize, told: &Told) -> Result<(), String> {
        let mut members = vec![false; self.agents.len()];
        for member in &told.members {
            if members[member.agent] {
                return Err(format!("agent {} is told twice", member.agent));
            }
            members[member.agent] = true;
        }
        if !members[victim] {
            return Err(format!(
                "victim {victim} is not in the cycle that it was told"
            ));
        }
        let truly = self.truly_deadlocked();
        for member in &told.members {
            let agent = member.agent;
            if !truly.contains(&agent) {
                return Err(format!("agent {agent} is told, but not deadlocked"));
            }
            if !self.is_blocked(agent, &members, false) {
                return Err(format!(
                    "agent {agent} is told, but the others told do not block it"
                ));
            }
            self.check_waits(member)?;
            self.check_holds(member, &told.members)?;
        }
        Ok(())
    }

    fn check_waits(&self, member: &ToldMember) -> Result<(), String> {
        let agent = member.agent;
        let mut truly = self.waits_of(agent);
        for told in &member.waits {
            let Some(place) = truly.iter().position(|wait| wait == told) else {
                return Err(format!(
                    "agent {agent} does not wait for {told:?}, but for {truly:?}"
                ));
            };
            truly.remove(place);
        }
        match truly.first() {
            Some(forgotten) => Err(format!("agent {agent} waits for {forgotten:?}, untold")),
            None => Ok(()),
        }
    }

    fn check_holds(&self, member: &ToldMember, all: &[ToldMember]) -> Result<(), String> {
        let agent = member.agent;
        for hold in &member.holds {
            let true_hold = match (hold.on, hold.queued) {
                (On::EndOf(other), _) => other == agent,
                (On::Thing(thing), false) => self.holds(agent, thing, hold.mode),
                (On::Thing(thing), true) => self.things[thing]
                    .queue
                    .iter()
                    .any(|waiter| waiter.agent == agent && waiter.mode == hold.mode),
            };
            if !true_hold {
                return Err(format!("agent {agent} does not hold {hold:?}"));
            }
        }
        for other in all {
            for wait in self.waits_of(other.agent) {
                let On::Thing(thing) = wait.on else { continue };
                let lock = &self.things[thing];
                let blocks = lock.holders.iter().any(|hold| {
                    hold.agent == agent && lock.conflicts(other.agent, wait.mode, *hold)
                });
                if blocks
                    && !member
                        .holds
                        .iter()
                        .any(|hold| hold.on == wait.on && !hold.queued)
                {
                    return Err(format!(
                        "agent {} waits for thing {thing}, which agent {agent} holds, untold",
                        other.agent
                    ));
                }
            }
        }
        Ok(())
    }

    fn holds(&self, agent: usize, thing: usize, mode: Mode) -> bool {
        let held: Vec<Mode> = self.things[thing]
            .holders
            .iter()
            .filter(|hold| hold.agent == agent)
            .map(|hold| hold.mode)
            .collect();
        match mode {
            Mode::Permits(told) => {
                let all: u32 = held.iter().map(|mode| permits(*mode)).sum();
                told == all || held.contains(&mode)
            }
            _ => held.contains(&mode),
        }
    }

    fn waits_of(&self, agent: usize) -> Vec<ToldWait> {
        match &self.agents[agent] {
            State::Joining(other) => {
                vec![ToldWait {
                    on: On::EndOf(*other),
                    mode: Mode::Signal,
                    timed: false,
                }]
            }
            State::Doing { parts, timed, .. } => parts
                .iter()
                .filter(|part| !part.granted)
                .map(|part| ToldWait {
                    on: On::Thing(part.want.thing),
                    mode: part.want.mode,
                    timed: *timed,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl Lock {
    /// Whether nobody who holds it stands in the way.
    fn fits(&self, agent: usize, mode: Mode) -> bool {
        match (self.thing, mode) {
            (
                Thing::Semaphore { permits, .. } | Thing::Loose { permits },
                Mode::Permits(wanted),
            ) => self.in_use() + wanted <= permits,
            (Thing::Event, _) => self.set,
            _ => !self
                .holders
                .iter()
                .any(|hold| self.conflicts(agent, mode, *hold)),
        }
    }

    fn in_use(&self) -> u32 {
        self.holders.iter().map(|hold| permits(hold.mode)).sum()
    }

    /// Whether it is had already by the agent, who may therefore have it again.
    fn is_reentry(&self, agent: usize, mode: Mode, rereads: bool) -> bool {
        let may = match self.thing {
            Thing::Reentrant => true,
            Thing::RwLock { strict } => rereads && !strict && mode == Mode::Read,
            _ => false,
        };
        may && self.holders.iter().any(|hold| hold.agent == agent)
    }

    /// Those who wait do not stand in the way of others.
    fn is_loose_signal(&self) -> bool {
        self.thing == Thing::Event
    }

    /// Whether a holder stands in the way of an agent that wants it in this mode.
    fn conflicts(&self, agent: usize, mode: Mode, hold: Hold) -> bool {
        match (self.thing, mode) {
            (Thing::Semaphore { .. } | Thing::Loose { .. }, _) => true,
            (Thing::Reentrant, _) => hold.agent != agent,
            (_, Mode::Read) => hold.mode == Mode::Write,
            (_, Mode::Upgradable) => matches!(hold.mode, Mode::Write | Mode::Upgradable),
            (_, Mode::Upgrade) => !(hold.agent == agent && hold.mode == Mode::Upgradable),
            _ => true,
        }
    }

    /// Whether those in front may be passed if nobody would go on otherwise.
    fn may_be_overtaken(&self) -> bool {
        matches!(
            self.thing,
            Thing::RwLock { strict: false } | Thing::Semaphore { strict: false, .. }
        )
    }

    /// Whether those who hold it and can never go on keep it from the agent for ever.
    fn in_the_way(&self, agent: usize, mode: Mode, stuck: &[bool]) -> bool {
        match (self.thing, mode) {
            (Thing::Semaphore { permits: all, .. }, Mode::Permits(wanted)) => {
                let kept: u32 = self
                    .holders
                    .iter()
                    .filter(|hold| stuck[hold.agent])
                    .map(|hold| permits(hold.mode))
                    .sum();
                all - kept < wanted
            }
            _ => self
                .holders
                .iter()
                .any(|hold| stuck[hold.agent] && self.conflicts(agent, mode, *hold)),
        }
    }
}

fn permits(mode: Mode) -> u32 {
    match mode {
        Mode::Permits(count) => count,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
