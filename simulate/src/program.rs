//! Programs that are spread over processes, and random ones.

use std::rc::Rc;

use fastrand::Rng;

use crate::compare::Crowd;

/// Nanoseconds.
pub type Time = u64;

pub const MICRO: Time = 1_000;
pub const MILLI: Time = 1_000 * MICRO;
pub const SECOND: Time = 1_000 * MILLI;

/// Processes, what is in them, and what is done there.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub class: Class,
    pub places: Vec<Place>,
    pub resources: Vec<Resource>,
    /// Each begins at some time, at a place.
    pub chains: Vec<Chain>,
    pub network: Network,
    pub mishaps: Vec<(Time, Mishap)>,
    /// A Python program goes on in two places for one call.
    pub forks: bool,
    /// How long it may take a process to read one frame.
    pub slow_reads: Time,
    /// How long it may take whoever is next to take what may be barged for.
    pub slow_wakes: Time,
}

/// What may be expected of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Class {
    /// Every deadlock is to be found, and nothing else.
    #[default]
    Plain,
    /// What Python does cannot be told from a deadlock, so there may be false reports.
    Ambiguous,
    /// Somebody can never be asked, so nothing may be found.
    Unreachable,
}

#[derive(Clone, Debug)]
pub struct Place {
    pub kind: Kind,
    /// What every call needs first, if the workers are limited.
    pub workers: Option<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Rust,
    /// A Python server with a thread for each connection, or one for all.
    Python {
        single_threaded: bool,
    },
}

/// So many permits, given out in the order of asking. A reader takes one, a writer all.
#[derive(Clone, Debug)]
pub struct Resource {
    pub place: usize,
    pub permits: u32,
    /// Who runs may be faster than who waits.
    pub barging: bool,
    pub is_pool: bool,
}

#[derive(Clone, Debug)]
pub struct Chain {
    pub place: usize,
    pub start: Time,
    pub script: Rc<Script>,
    pub priority: i8,
    /// How often it tries again when it was the victim.
    pub retries: u32,
}

/// What a frame does.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The object that it has while it runs.
    pub enter: Option<(usize, u32)>,
    pub steps: Vec<Step>,
    /// It goes on when what it does fails.
    pub swallows: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    Compute(Time),
    Acquire {
        resource: usize,
        permits: u32,
        timeout: Option<Time>,
    },
    /// All of it that it has.
    Release(usize),
    Call {
        to: usize,
        script: Rc<Script>,
        timeout: Option<Time>,
    },
    /// Nobody waits for it. From Python to Python it takes the context along.
    Oneway {
        to: usize,
        script: Rc<Script>,
    },
    /// Goes on with the first of these, acquisitions and calls, that is there.
    Race(Vec<Self>, Option<Time>),
}

#[derive(Clone, Debug)]
pub struct Network {
    /// One way, usually.
    pub delay: Time,
    /// How many of a thousand messages between detectors are lost, and sent twice.
    pub lost: u32,
    pub doubled: u32,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: 100 * MICRO,
            lost: 0,
            doubled: 0,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Mishap {
    /// A process ends, and starts again.
    Crash(usize),
    /// It stands still.
    Pause(usize, Time),
    /// Two processes cannot reach each other.
    Partition(usize, usize, Time),
    /// Somebody gives up what this chain waits for.
    Cancel(usize),
}

/// A random program.
pub fn generate(seed: u64) -> Program {
    let mut random = Rng::with_seed(seed);
    match random.u32(..100) {
        0..4 => phantom(&mut random),
        4..8 => fork(&mut random),
        8..9 => ambiguous(&mut random),
        9..11 => crossing_single_threaded(&mut random),
        11..12 => given_up(&mut random),
        12..13 => answered(&mut random),
        13..15 => hanging_up(&mut random),
        15..17 => crossing(&mut random),
        n => {
            let ordered = n < 68;
            Generator::new(random, ordered).program()
        }
    }
}

struct Generator {
    random: Rng,
    /// Everything is taken in one order, so nothing can go wrong.
    ordered: bool,
    program: Program,
    /// How many of a hundred waits have a deadline.
    timed: u32,
    calls: usize,
}

impl Generator {
    fn new(random: Rng, ordered: bool) -> Self {
        Self {
            random,
            ordered,
            program: Program::default(),
            timed: 0,
            calls: 0,
        }
    }

    fn program(mut self) -> Program {
        self.network();
        self.places();
        self.timed = *self.random.choice([0, 0, 5, 40].iter()).unwrap_or(&0);
        let chains = self.random.usize(2..7);
        for _ in 0..chains {
            let place = self.rust_place(0);
            let Some(place) = place else { continue };
            self.calls = 0;
            let script = self.script(place, 0, 0);
            let start = self.random.u64(..8 * MILLI);
            let priority = if self.random.u32(..10) == 0 { 1 } else { 0 };
            let retries = self.random.u32(..3);
            self.program.chains.push(Chain {
                place,
                start,
                script: Rc::new(script),
                priority,
                retries,
            });
        }
        self.mishaps();
        self.program
    }

    fn network(&mut self) {
        let far = self.random.u32(..100) < 12;
        let delay = match far {
            true => self.random.u64(10 * MILLI..60 * MILLI),
            false => self.random.u64(30 * MICRO..MILLI),
        };
        let (lost, doubled) = match self.random.u32(..10) {
            0 => (100, 20),
            1 | 2 => (10, 10),
            _ => (0, 0),
        };
        self.program.network = Network {
            delay,
            lost,
            doubled,
        };
        if self.random.u32(..4) == 0 {
            self.program.slow_reads = self.random.u64(MICRO..MILLI);
        }
    }

    fn places(&mut self) {
        let rust = self.random.usize(2..6);
        let python = self.random.usize(..3) * usize::from(self.random.bool());
        let mut kinds = vec![Kind::Rust; rust];
        for _ in 0..python {
            let single_threaded = self.random.bool();
            let place = self.random.usize(..=kinds.len());
            kinds.insert(place, Kind::Python { single_threaded });
        }
        for kind in kinds {
            let place = self.program.places.len();
            let permits = match kind {
                Kind::Rust if self.random.u32(..10) < 2 => Some(self.random.u32(1..4)),
                Kind::Python {
                    single_threaded: true,
                } => Some(1),
                _ => None,
            };
            let workers = permits.map(|permits| self.resource(place, permits, false, true));
            self.program.places.push(Place { kind, workers });
            if kind == Kind::Rust {
                for _ in 0..self.random.usize(1..4) {
                    let permits = *self
                        .random
                        .choice([1, 1, 1, 8, 8, 2, 3].iter())
                        .unwrap_or(&1);
                    let barging = self.random.u32(..4) == 0;
                    self.resource(place, permits, barging, false);
                }
            }
        }
    }

    fn resource(&mut self, place: usize, permits: u32, barging: bool, is_pool: bool) -> usize {
        self.program.resources.push(Resource {
            place,
            permits,
            barging,
            is_pool,
        });
        self.program.resources.len() - 1
    }

    fn rust_place(&mut self, from: usize) -> Option<usize> {
        let places = self.program.places.iter().enumerate().skip(from);
        let rust: Vec<usize> = places
            .filter(|(_, place)| place.kind == Kind::Rust)
            .map(|(place, _)| place)
            .collect();
        self.random.choice(rust)
    }

    /// What a frame at `place` does, that may take what comes at `least` or later in the order.
    fn script(&mut self, place: usize, depth: u32, mut least: usize) -> Script {
        let mut script = Script {
            swallows: self.random.u32(..4) == 0,
            ..Script::default()
        };
        if self.program.places[place].kind != Kind::Rust {
            for _ in 0..self.random.usize(1..3) {
                script.steps.push(self.compute());
                script.steps.extend(self.call(place, depth, least, true));
            }
            return script;
        }
        if depth > 0 && self.random.u32(..10) < 6 {
            script.enter = self.acquisition(place, &mut least).map(|(r, n, _)| (r, n));
        }
        for _ in 0..self.random.usize(1..4) {
            match self.random.u32(..100) {
                0..30 => script.steps.push(self.compute()),
                30..48 => {
                    let taken = self.acquisition(place, &mut least);
                    script
                        .steps
                        .extend(taken.map(|(resource, permits, timeout)| Step::Acquire {
                            resource,
                            permits,
                            timeout,
                        }));
                    if self.random.u32(..10) == 0 {
                        let taken = taken.map(|(resource, ..)| Step::Release(resource));
                        script.steps.push(self.compute());
                        script.steps.extend(taken);
                    }
                }
                48..92 => script.steps.extend(self.call(place, depth, least, false)),
                92..95 => {
                    let to = self.rust_place(0);
                    if let Some(to) = to.filter(|_| depth < 2 && !self.ordered) {
                        let script2 = Rc::new(self.script(to, 2, 0));
                        script.steps.push(Step::Oneway {
                            to,
                            script: script2,
                        });
                    }
                }
                _ => script.steps.extend(self.race(place, depth, least)),
            }
        }
        script.steps.push(self.compute());
        script
    }

    fn race(&mut self, place: usize, depth: u32, least: usize) -> Option<Step> {
        let mut branches: Vec<Step> = Vec::new();
        for _ in 0..2 {
            let branch = match self.random.bool() {
                true => self.call(place, depth, least, false),
                false => self
                    .acquisition(place, &mut least.clone())
                    .map(|taken| Step::Acquire {
                        resource: taken.0,
                        permits: taken.1,
                        timeout: None,
                    }),
            };
            let twice = branches.iter().any(|other| match (other, &branch) {
                (Step::Acquire { resource: one, .. }, Some(Step::Acquire { resource, .. })) => {
                    one == resource
                }
                _ => false,
            });
            branches.extend(branch.filter(|_| !twice));
        }
        let timer = (self.random.u32(..3) == 0).then(|| self.random.u64(MILLI..40 * MILLI));
        (!branches.is_empty()).then_some(Step::Race(branches, timer))
    }

    fn compute(&mut self) -> Step {
        let most = match self.random.u32(..10) {
            0 => 30 * MILLI,
            1..4 => 5 * MILLI,
            _ => MILLI,
        };
        Step::Compute(self.random.u64(10 * MICRO..most))
    }

    fn acquisition(
        &mut self,
        place: usize,
        least: &mut usize,
    ) -> Option<(usize, u32, Option<Time>)> {
        let least_here = if self.ordered { *least } else { 0 };
        let all = self.program.resources.iter().enumerate().skip(least_here);
        let here: Vec<usize> = all
            .filter(|(_, resource)| resource.place == place && !resource.is_pool)
            .map(|(number, _)| number)
            .collect();
        let resource = self.random.choice(here)?;
        *least = resource + 1;
        let all = self.program.resources[resource].permits;
        let permits = match self.random.u32(..3) {
            0 => all,
            _ => 1,
        };
        let timeout = self.timeout();
        Some((resource, permits, timeout))
    }

    fn timeout(&mut self) -> Option<Time> {
        if self.random.u32(..100) >= self.timed {
            return None;
        }
        let most = *self.random.choice([20, 100, 5000].iter()).unwrap_or(&20);
        Some(self.random.u64(MILLI..most * MILLI))
    }

    fn call(&mut self, from: usize, depth: u32, least: usize, in_python: bool) -> Option<Step> {
        if depth >= 4 || self.calls >= 8 {
            return None;
        }
        self.calls += 1;
        let places = self.program.places.iter().enumerate();
        let may_be = |(place, at): &(usize, &Place)| {
            let forward = !self.ordered || *place > from;
            // What Python programs wait for among themselves nobody can see.
            let visible = !in_python
                || at.kind == Kind::Rust
                || at.kind
                    == Kind::Python {
                        single_threaded: false,
                    }
                    && depth < 3;
            forward && visible && *place != from || (!self.ordered && !in_python && *place == from)
        };
        let places: Vec<usize> = places.filter(may_be).map(|(place, _)| place).collect();
        let to = self.random.choice(places)?;
        let first = self.program.resources.iter().position(|r| r.place == to);
        let least = first.map_or(least, |first| first.max(least));
        let script = Rc::new(self.script(to, depth + 1, least));
        // A Python program that gives up another one has moved on, and nothing shows it.
        let hidden = in_python && self.program.places[to].kind != Kind::Rust;
        let timeout = if hidden { None } else { self.timeout() };
        Some(Step::Call {
            to,
            script,
            timeout,
        })
    }

    fn mishaps(&mut self) {
        let places = self.program.places.len();
        for _ in 0..self.random.usize(..4) {
            let at = self.random.u64(..60 * MILLI);
            let place = self.random.usize(..places);
            let mishap = match self.random.u32(..30) {
                0 => Mishap::Crash(place),
                1 => Mishap::Pause(place, self.random.u64(MILLI..2 * SECOND)),
                2 => {
                    let other = self.random.usize(..places);
                    Mishap::Partition(place, other, self.random.u64(10 * MILLI..3 * SECOND))
                }
                3..7 => Mishap::Cancel(self.random.usize(..self.program.chains.len().max(1))),
                _ => continue,
            };
            self.program.mishaps.push((at, mishap));
        }
    }
}

fn rust(program: &mut Program) -> usize {
    program.places.push(Place {
        kind: Kind::Rust,
        workers: None,
    });
    program.places.len() - 1
}

fn python(program: &mut Program, single_threaded: bool) -> usize {
    let place = program.places.len();
    let workers = single_threaded.then(|| {
        program.resources.push(Resource {
            place,
            permits: 1,
            barging: false,
            is_pool: true,
        });
        program.resources.len() - 1
    });
    program.places.push(Place {
        kind: Kind::Python { single_threaded },
        workers,
    });
    place
}

fn mutex(program: &mut Program, place: usize, barging: bool) -> usize {
    program.resources.push(Resource {
        place,
        permits: 1,
        barging,
        is_pool: false,
    });
    program.resources.len() - 1
}

fn take(resource: usize) -> Step {
    Step::Acquire {
        resource,
        permits: 1,
        timeout: None,
    }
}

fn call(to: usize, steps: Vec<Step>, timeout: Option<Time>) -> Step {
    Step::Call {
        to,
        script: Rc::new(Script {
            steps,
            ..Script::default()
        }),
        timeout,
    }
}

fn chain(program: &mut Program, place: usize, start: Time, steps: Vec<Step>, swallows: bool) {
    program.chains.push(Chain {
        place,
        start,
        script: Rc::new(Script {
            enter: None,
            steps,
            swallows,
        }),
        priority: 0,
        retries: 0,
    });
}

/// Edges that exist one after the other, but never together: somebody lets go, calls out, gives up,
/// and takes again what others wait for, again and again.
pub fn phantom(random: &mut Rng) -> Program {
    let mut program = Program {
        slow_reads: random.u64(MILLI..4 * MILLI),
        slow_wakes: random.u64(MILLI..40 * MILLI),
        network: Network {
            delay: random.u64(50 * MICRO..300 * MICRO),
            ..Network::default()
        },
        ..Program::default()
    };
    let (one, two) = (rust(&mut program), rust(&mut program));
    let outer = mutex(&mut program, one, false);
    let inner = mutex(&mut program, two, true);
    // X has the outer, and asks for the inner, which it does not get for a while.
    let hold = vec![take(inner), Step::Compute(MILLI), Step::Release(inner)];
    let mut steps = vec![take(outer)];
    for _ in 0..4 {
        steps.push(call(two, hold.clone(), None));
        steps.push(Step::Compute(random.u64(10 * MICRO..MILLI)));
    }
    chain(&mut program, one, MILLI, steps, false);
    // Y has the inner, lets go, asks for the outer, gives up.
    let (held, asked) = (
        random.u64(MILLI..8 * MILLI),
        random.u64(2 * MILLI..14 * MILLI),
    );
    let mut steps = Vec::new();
    for _ in 0..random.usize(10..30) {
        steps.push(take(inner));
        steps.push(Step::Compute(random.u64(MILLI / 2..held)));
        steps.push(Step::Release(inner));
        let timeout = Some(random.u64(MILLI..asked));
        steps.push(call(one, vec![take(outer), Step::Compute(MILLI)], timeout));
    }
    chain(&mut program, two, random.u64(..MILLI), steps, true);
    program
}

/// Two chains that cross. Whoever fails there goes on, and waits for something else, which comes.
pub fn crossing(random: &mut Rng) -> Program {
    let mut program = Program {
        network: Network {
            delay: random.u64(500 * MICRO..5 * MILLI),
            ..Network::default()
        },
        ..Program::default()
    };
    let places = [rust(&mut program), rust(&mut program)];
    let locks = places.map(|place| mutex(&mut program, place, false));
    let others = places.map(|place| mutex(&mut program, place, false));
    for here in 0..2 {
        let there = 1 - here;
        let inside = Script {
            enter: None,
            steps: vec![take(locks[there]), take(others[there])],
            swallows: true,
        };
        let step = Step::Call {
            to: places[there],
            script: Rc::new(inside),
            timeout: None,
        };
        let start = random.u64(..MILLI);
        chain(
            &mut program,
            places[here],
            start,
            vec![take(locks[here]), step],
            false,
        );
        let busy = vec![
            take(others[here]),
            Step::Compute(random.u64(20 * MILLI..80 * MILLI)),
        ];
        chain(&mut program, places[here], 0, busy, false);
    }
    program
}

/// A Python program starts a thread of its own by a oneway call, which waits for what an ancestor has;
/// itself it goes on, for a short time, or with calls that can be seen.
pub fn fork(random: &mut Rng) -> Program {
    let mut program = Program {
        forks: true,
        ..Program::default()
    };
    let (one, two) = (rust(&mut program), rust(&mut program));
    let (hop, thread) = (python(&mut program, false), python(&mut program, false));
    let held = mutex(&mut program, one, false);
    let other = mutex(&mut program, two, false);
    let forked = call(one, vec![take(held)], None);
    let oneway = Step::Oneway {
        to: thread,
        script: Rc::new(Script {
            steps: vec![forked],
            ..Script::default()
        }),
    };
    let mut inside = vec![oneway];
    let busy = random.bool();
    if busy {
        // The calls wait for another chain, which has the lock for a while, again and again.
        for _ in 0..random.usize(8..16) {
            let used = vec![
                take(other),
                Step::Compute(100 * MICRO),
                Step::Release(other),
            ];
            inside.push(call(two, used, None));
            inside.push(Step::Compute(random.u64(MICRO..3 * MILLI)));
        }
        let mut steps = Vec::new();
        for _ in 0..40 {
            steps.push(take(other));
            steps.push(Step::Compute(random.u64(20 * MILLI..60 * MILLI)));
            steps.push(Step::Release(other));
            steps.push(Step::Compute(random.u64(10 * MICRO..300 * MICRO)));
        }
        chain(&mut program, two, 0, steps, false);
    } else {
        inside.push(Step::Compute(random.u64(MILLI..200 * MILLI)));
    }
    let steps = vec![take(held), call(hop, inside, None), Step::Compute(MILLI)];
    chain(&mut program, one, random.u64(..MILLI), steps, false);
    program
}

/// The same, but the Python program computes for long.
fn ambiguous(random: &mut Rng) -> Program {
    let mut program = fork(random);
    program.class = Class::Ambiguous;
    if let Some(chain) = program.chains.last_mut() {
        let mut steps = chain.script.steps.clone();
        if let Some(Step::Call { script, .. }) = steps.get_mut(1) {
            let mut inside = (**script).clone();
            inside.steps.truncate(1);
            inside
                .steps
                .push(Step::Compute(random.u64(50 * MILLI..2 * SECOND)));
            *script = Rc::new(inside);
        }
        chain.script = Rc::new(Script {
            steps,
            ..Script::default()
        });
    }
    program
}

/// Two chains meet in a Python program that serves one call at a time; or one comes back to it.
pub fn crossing_single_threaded(random: &mut Rng) -> Program {
    let mut program = Program {
        network: Network {
            delay: random.u64(50 * MICRO..2 * MILLI),
            ..Network::default()
        },
        ..Program::default()
    };
    let (one, two) = (rust(&mut program), rust(&mut program));
    let hop = python(&mut program, true);
    let lock = mutex(&mut program, two, false);
    let back = call(hop, vec![Step::Compute(MILLI)], None);
    let wait = Step::Compute(random.u64(10 * MICRO..20 * MILLI));
    if random.bool() {
        let inside = vec![call(two, vec![take(lock), Step::Compute(MILLI)], None)];
        chain(
            &mut program,
            one,
            random.u64(..5 * MILLI),
            vec![call(hop, inside, None)],
            false,
        );
        chain(
            &mut program,
            two,
            random.u64(..5 * MILLI),
            vec![take(lock), wait, back],
            false,
        );
    } else {
        let inside = vec![call(two, vec![wait, back], None)];
        chain(&mut program, one, 0, vec![call(hop, inside, None)], false);
    }
    program
}

/// Two chains meet in a Python program that serves one call at a time, and the one that it serves gives up,
/// which the program does not notice.
pub fn given_up(random: &mut Rng) -> Program {
    let mut program = Program::default();
    let (one, two) = (rust(&mut program), rust(&mut program));
    let hop = python(&mut program, true);
    let lock = mutex(&mut program, two, false);
    let inside = vec![call(two, vec![take(lock), Step::Compute(MILLI)], None)];
    let patience = Some(random.u64(5 * MILLI..300 * MILLI));
    let start = random.u64(..MILLI);
    chain(
        &mut program,
        one,
        start,
        vec![call(hop, inside, patience)],
        false,
    );
    let steps = vec![
        take(lock),
        Step::Compute(random.u64(3 * MILLI..100 * MILLI)),
        call(hop, vec![Step::Compute(MILLI)], None),
    ];
    chain(&mut program, two, 0, steps, false);
    program
}

/// A Python program that serves one call at a time has another one go on for it, and answers. Who that one
/// calls wants something of the first one, which takes long.
pub fn answered(random: &mut Rng) -> Program {
    let mut program = Program::default();
    let (one, two) = (rust(&mut program), rust(&mut program));
    let (hop, thread) = (python(&mut program, true), python(&mut program, false));
    let long = Step::Compute(random.u64(200 * MILLI..SECOND));
    let wait = Step::Compute(random.u64(MILLI..20 * MILLI));
    let oneway = Step::Oneway {
        to: thread,
        script: Rc::new(Script {
            steps: vec![call(two, vec![wait, call(hop, vec![long], None)], None)],
            ..Script::default()
        }),
    };
    chain(
        &mut program,
        one,
        random.u64(..MILLI),
        vec![call(hop, vec![oneway], None)],
        false,
    );
    program
}

/// A Python program gives up what it calls and goes on: it computes, or calls again.
pub fn hanging_up(random: &mut Rng) -> Program {
    let mut program = Program::default();
    let (one, two) = (rust(&mut program), rust(&mut program));
    let hop = python(&mut program, false);
    let held = mutex(&mut program, one, false);
    let busy = mutex(&mut program, two, false);
    let patience = Some(random.u64(5 * MILLI..150 * MILLI));
    let inside = match random.bool() {
        true => vec![
            call(one, vec![take(held)], patience),
            Step::Compute(random.u64(200 * MILLI..SECOND)),
        ],
        false => vec![
            call(two, vec![take(busy)], patience),
            call(one, vec![take(held)], None),
        ],
    };
    let step = Step::Call {
        to: hop,
        script: Rc::new(Script {
            steps: inside,
            swallows: true,
            ..Script::default()
        }),
        timeout: None,
    };
    chain(&mut program, one, MILLI, vec![take(held), step], false);
    // Has what the hop wants first, and waits for the chain that called the hop.
    let steps = vec![
        take(busy),
        Step::Compute(random.u64(2 * MILLI..4 * MILLI)),
        call(one, vec![take(held)], None),
    ];
    chain(&mut program, two, 0, steps, false);
    program
}

/// Very many agents, spread evenly, who take locks in one order, each in another process. Of a thousand,
/// so many have somebody who takes the same locks at about the same time the other way round.
pub fn crowd(seed: u64, crowd: Crowd) -> Program {
    let Crowd {
        agents,
        nodes,
        wrong,
        per_lock,
    } = crowd;
    let mut random = Rng::with_seed(seed);
    let mut program = Program {
        network: Network {
            delay: 250 * MICRO,
            ..Network::default()
        },
        ..Program::default()
    };
    let places: Vec<usize> = (0..nodes).map(|_| rust(&mut program)).collect();
    let each = (agents / nodes / per_lock).max(2);
    let locks: Vec<Vec<usize>> = places
        .iter()
        .map(|place| {
            (0..each)
                .map(|_| mutex(&mut program, *place, false))
                .collect()
        })
        .collect();
    while program.chains.len() < agents {
        let mut route: Vec<usize> = (0..3).map(|_| random.usize(..nodes)).collect();
        route.sort_unstable();
        route.dedup();
        let mut route: Vec<(usize, usize)> = route
            .into_iter()
            .map(|place| (place, locks[place][random.usize(..each)]))
            .collect();
        let start = random.u64(..SECOND);
        for _ in 0..=u32::from(random.u32(..1000) < wrong) {
            let mut steps = Vec::new();
            for (place, lock) in route.iter().rev() {
                let mut here = vec![take(*lock), Step::Compute(random.u64(MICRO..2 * MILLI))];
                here.append(&mut steps);
                steps = vec![call(*place, here, None)];
            }
            chain(&mut program, route[0].0, start, steps, false);
            route.reverse();
        }
    }
    program
}
