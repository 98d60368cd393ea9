//! Programs by chance.

use fastrand::Rng;

use crate::program::{AfterDeadlock, Agent, Kind, Mode, Patience, Program, Step, Thing, Want};

/// What a program is made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// Anything goes.
    Wild,
    /// Everybody acquires in the same order and nobody reads before writing, so there is much
    /// waiting and no deadlock.
    Ordered,
}

/// Makes a program.
///
/// Not every one that is wild deadlocks, and that is wanted: most of all those that nearly do.
pub(crate) fn program(rng: &mut Rng, style: Style, led: bool) -> Program {
    let things = match style {
        Style::Wild => rng.usize(1..=4),
        Style::Ordered => rng.usize(2..=4),
    };
    let mut things: Vec<Thing> = (0..things).map(|_| thing(rng, style)).collect();
    if things.iter().all(|thing| *thing == Thing::Reentrant) {
        things[0] = Thing::Mutex { fair: true };
    }
    let count = match style {
        Style::Wild => rng.usize(2..=5),
        Style::Ordered => rng.usize(3..=6),
    };
    // Several races at once can end in more than one way, which the oracle does not know.
    let racer = rng.usize(0..count * 2);
    let mut agents: Vec<Agent> = (0..count)
        .map(|number| {
            let kind = match rng.u8(0..10) {
                0..=2 => Kind::Thread,
                3..=5 => Kind::Call,
                _ => Kind::Task,
            };
            let after = match rng.u8(0..4) {
                0 => AfterDeadlock::GoOn,
                1 => AfterDeadlock::Retry,
                _ => AfterDeadlock::End,
            };
            let mut maker = Maker {
                rng,
                things: &things,
                kind,
                led,
                races: racer == number,
            };
            let steps = match style {
                Style::Wild => maker.wild(),
                Style::Ordered => maker.ordered(),
            };
            Agent { kind, after, steps }
        })
        .collect();
    if style == Style::Wild && rng.u8(0..12) == 0 {
        add_join(rng, &mut agents);
    }
    Program { things, agents }
}

fn thing(rng: &mut Rng, style: Style) -> Thing {
    match rng.u8(0..20) {
        0..=7 => Thing::Mutex { fair: rng.bool() },
        8..=13 => Thing::RwLock {
            strict: rng.u8(0..4) == 0,
        },
        14..=17 => Thing::Semaphore {
            permits: rng.u32(1..=4),
            strict: rng.bool(),
        },
        18 if style == Style::Wild => Thing::Loose {
            permits: rng.u32(1..=2),
        },
        _ => Thing::Reentrant,
    }
}

/// One thread joins another, at some moment.
fn add_join(rng: &mut Rng, agents: &mut [Agent]) {
    let threads: Vec<usize> = (0..agents.len())
        .filter(|&agent| agents[agent].kind == Kind::Thread)
        .collect();
    if threads.len() >= 2 {
        let joiner = threads[rng.usize(0..threads.len())];
        let joined = threads[rng.usize(0..threads.len())];
        if joiner != joined {
            let place = rng.usize(0..=agents[joiner].steps.len());
            agents[joiner].steps.insert(place, Step::Join(joined));
        }
    }
}

struct Maker<'a> {
    rng: &'a mut Rng,
    things: &'a [Thing],
    kind: Kind,
    /// Each step has one outcome only.
    led: bool,
    races: bool,
}

impl Maker<'_> {
    fn wild(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut held: Vec<Want> = Vec::new();
        let length = self.rng.usize(2..=9);
        while steps.len() < length {
            let hungry = held.len() < 3 && self.rng.u8(0..10) < 7;
            if hungry || held.is_empty() {
                let step = self.acquire();
                match &step {
                    Step::Acquire(want, _) => held.push(*want),
                    Step::Both(wants) => held.extend(wants),
                    Step::Race(wants) => held.push(wants[0]),
                    _ => {}
                }
                steps.push(step);
                continue;
            }
            let place = self.rng.usize(0..held.len());
            let Want { thing, mode } = held[place];
            match (mode, self.rng.u8(0..8)) {
                (Mode::Upgradable, 0..=4) => {
                    held[place].mode = Mode::Write;
                    steps.push(Step::Upgrade(thing));
                }
                (Mode::Write, 0..=1) if matches!(self.things[thing], Thing::RwLock { .. }) => {
                    held[place].mode = Mode::Read;
                    steps.push(Step::Downgrade(thing));
                }
                (_, 7) if self.rng.u8(0..6) == 0 => steps.push(Step::Pause),
                _ => {
                    held.remove(place);
                    steps.push(Step::Release(thing));
                }
            }
        }
        steps
    }

    /// Everything in the order of the numbers, and let go in any order.
    fn ordered(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.rng.usize(1..=3) {
            let mut held = Vec::new();
            for thing in self.usable() {
                if self.rng.u8(0..4) == 0 {
                    continue;
                }
                let want = Want {
                    thing,
                    mode: self.mode(thing),
                };
                let patience = match self.rng.u8(0..16) {
                    0 if self.kind != Kind::Task => Patience::Try,
                    0 => Patience::Once,
                    1 if self.kind != Kind::Task => Patience::Long,
                    _ => Patience::Forever,
                };
                steps.push(Step::Acquire(want, patience));
                held.push(thing);
                if want.mode == Mode::Upgradable && self.rng.bool() {
                    steps.push(Step::Upgrade(thing));
                    if self.rng.bool() {
                        steps.push(Step::Downgrade(thing));
                    }
                }
            }
            if self.rng.u8(0..10) == 0 {
                steps.push(Step::Pause);
            }
            self.rng.shuffle(&mut held);
            steps.extend(held.into_iter().map(Step::Release));
        }
        steps
    }

    fn acquire(&mut self) -> Step {
        let want = self.want();
        let task = self.kind == Kind::Task;
        match self.rng.u8(0..24) {
            0 if task => Step::Acquire(want, Patience::Once),
            0 => Step::Acquire(want, Patience::Try),
            1 | 2 if !task => Step::Acquire(want, Patience::Long),
            3 => Step::Acquire(want, Patience::Short),
            4..=6 if task => {
                let other = self.want();
                Step::Both(vec![want, other])
            }
            7..=10 if task && (self.races || self.is_mutex(want.thing)) => {
                for _ in 0..8 {
                    let other = self.want();
                    if other.thing != want.thing && (self.races || self.is_mutex(other.thing)) {
                        return Step::Race(vec![want, other]);
                    }
                }
                Step::Acquire(want, Patience::Forever)
            }
            _ => Step::Acquire(want, Patience::Forever),
        }
    }

    /// A task has no way to own a reentrant mutex while it waits.
    fn usable(&self) -> Vec<usize> {
        let usable =
            |thing: &usize| self.kind != Kind::Task || self.things[*thing] != Thing::Reentrant;
        (0..self.things.len()).filter(usable).collect()
    }

    fn is_mutex(&self, thing: usize) -> bool {
        matches!(self.things[thing], Thing::Mutex { .. })
    }

    fn want(&mut self) -> Want {
        let usable = self.usable();
        let thing = usable[self.rng.usize(0..usable.len())];
        Want {
            thing,
            mode: self.mode(thing),
        }
    }

    fn mode(&mut self, thing: usize) -> Mode {
        match self.things[thing] {
            Thing::RwLock { .. } => match self.rng.u8(0..10) {
                0..=5 => Mode::Read,
                6 => Mode::Upgradable,
                _ => Mode::Write,
            },
            // The detector may promise permits, of which nothing can be seen for some time.
            Thing::Semaphore { strict: false, .. } if self.led => Mode::Permits(1),
            Thing::Semaphore { permits, .. } | Thing::Loose { permits } => {
                Mode::Permits(if self.rng.bool() {
                    1
                } else {
                    self.rng.u32(1..=permits)
                })
            }
            Thing::Event => Mode::Signal,
            _ => Mode::Write,
        }
    }
}
