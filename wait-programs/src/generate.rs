//! Programs by chance.

use std::rc::Rc;

use fastrand::Rng;

use crate::program::{
    Call, Chain, Class, End, Kind, Mode, Patience, Program, Script, Sort, Step, TROUPE, Thing,
};

/// How many calls one chain makes, about, and how deep they go.
const MOST_CALLS: usize = 7;
const DEEPEST: u32 = 4;

/// A random program: some in which all is taken in one order, so that there is much waiting and no
/// deadlock; some in which chains want what others have, in a ring; and some at random.
pub(crate) fn program(rng: &mut Rng) -> Program {
    let style = rng.u32(..100);
    let mut maker = Maker::new(rng, style < 54);
    let chains = match style {
        0..54 => maker.rng.usize(3..=7),
        54..78 => {
            maker.ring();
            maker.rng.usize(0..=2)
        }
        _ => maker.rng.usize(2..=6),
    };
    for _ in 0..chains {
        maker.chain();
    }
    maker.program
}

/// A Python program has a thread of another one make a call for it that waits for what an ancestor
/// has, and itself goes on for a while: nothing on the wire tells that from a call it waits for.
pub(crate) fn ambiguous(rng: &mut Rng) -> Program {
    let mut maker = Maker::empty(rng, false);
    let node = maker.rng.usize(0..4);
    let sort = maker.lock();
    let lock = maker.thing(node, sort);
    let mode = maker.mode(sort, true);
    let take = Step::Lock {
        thing: lock,
        mode,
        patience: Patience::Forever,
    };
    let to_ours = call(node, None, vec![take.clone()]);
    let mut fork = call(5, None, vec![Step::Call(to_ours)]);
    fork.oneway = true;
    let busy = Step::Pause(maker.rng.u64(50..2000));
    let hop = call(4, None, vec![Step::Call(fork), busy]);
    maker.root(node, false, vec![take, Step::Call(hop)]);
    maker.program.class = Class::Ambiguous;
    maker.program
}

fn call(node: usize, enters: Option<(usize, Mode)>, steps: Vec<Step>) -> Call {
    let script = Script {
        steps,
        ..Script::default()
    };
    Call {
        node,
        enters,
        task: false,
        oneway: false,
        timed: false,
        batch: false,
        script: Rc::new(script),
    }
}

struct Maker<'a> {
    rng: &'a mut Rng,
    /// Everybody takes things in the order of their numbers.
    ordered: bool,
    program: Program,
    /// The processes of ours, and of Pyro's, that take part.
    ours: Vec<usize>,
    python: Vec<usize>,
    /// How many calls the chain makes so far.
    calls: usize,
}

impl<'a> Maker<'a> {
    fn empty(rng: &'a mut Rng, ordered: bool) -> Self {
        Self {
            rng,
            ordered,
            program: Program::default(),
            ours: Vec::new(),
            python: Vec::new(),
            calls: 0,
        }
    }

    fn new(rng: &'a mut Rng, ordered: bool) -> Self {
        let mut this = Self::empty(rng, ordered);
        let count = this.rng.usize(1..=3);
        this.ours = this.some(0..4, count);
        // One process alone is the matter of lock-programs; here there are several.
        let with_python = this.ours.len() == 1 || this.rng.u32(..100) < 30;
        if with_python {
            let count = this.rng.usize(1..=2);
            this.python = this.some(4..TROUPE.len(), count);
        }
        let mut things = this.rng.usize(2..=5);
        if this.python.contains(&6) {
            things += 1;
        }
        let place = this.rng.usize(..things);
        for number in 0..things {
            if number == place && this.python.contains(&6) {
                this.thing(6, Sort::Place);
                continue;
            }
            let node = this.ours[this.rng.usize(..this.ours.len())];
            let sort = match this.rng.u32(..10) {
                0..6 => Sort::Object,
                _ => this.lock(),
            };
            this.thing(node, sort);
        }
        this
    }

    fn some(&mut self, from: std::ops::Range<usize>, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = from.collect();
        self.rng.shuffle(&mut all);
        all.truncate(count);
        all
    }

    fn lock(&mut self) -> Sort {
        match self.rng.u32(..3) {
            0 => Sort::Mutex,
            1 => Sort::RwLock,
            _ => Sort::Semaphore(self.rng.u32(1..=3)),
        }
    }

    fn thing(&mut self, node: usize, sort: Sort) -> usize {
        self.program.things.push(Thing { node, sort });
        self.program.things.len() - 1
    }

    /// How to take a thing; whole, if `alone`.
    fn mode(&mut self, sort: Sort, alone: bool) -> Mode {
        match sort {
            Sort::Semaphore(permits) if alone => Mode::Permits(permits),
            Sort::Semaphore(permits) => Mode::Permits(self.rng.u32(1..=permits)),
            Sort::Object | Sort::RwLock if !alone => match self.rng.u32(..10) {
                0..5 => Mode::Write,
                5..9 => Mode::Read,
                _ if sort == Sort::Object => Mode::Pass,
                _ => Mode::Read,
            },
            _ => Mode::Write,
        }
    }

    fn root(&mut self, node: usize, task: bool, steps: Vec<Step>) {
        let script = Script {
            steps,
            swallows: self.rng.u32(..4) == 0,
            end: End::Return,
        };
        let retries = self.rng.u32(..3);
        self.program.chains.push(Chain {
            node,
            task,
            script: Rc::new(script),
            retries,
        });
    }

    /// A chain at random.
    fn chain(&mut self) {
        self.calls = 0;
        let threaded: Vec<usize> = self
            .python
            .iter()
            .copied()
            .filter(|node| *node != 6)
            .collect();
        if !threaded.is_empty() && self.rng.u32(..5) == 0 {
            let node = threaded[self.rng.usize(..threaded.len())];
            let steps = self.python_steps(0, 0);
            return self.root(node, false, steps);
        }
        let node = self.ours[self.rng.usize(..self.ours.len())];
        let task = self.rng.bool();
        let steps = self.steps(node, 0, 0, task, Vec::new());
        self.root(node, task, steps);
    }

    /// What a frame of ours does that may take what comes at `least` or later in the order. It has
    /// some already.
    fn steps(
        &mut self,
        node: usize,
        least: usize,
        depth: u32,
        task: bool,
        had: Vec<usize>,
    ) -> Vec<Step> {
        let (mut steps, mut least, mut has) = (Vec::new(), least, had);
        for _ in 0..self.rng.usize(1..=3) {
            let first = if self.ordered { least } else { 0 };
            let all = self.program.things.len();
            if first >= all {
                break;
            }
            let thing = self.rng.usize(first..all);
            let Thing { node: at, sort } = self.program.things[thing];
            if at == node && sort.is_lock() {
                // What is said of reading twice is said of one frame only.
                if has.contains(&thing) && sort != Sort::Mutex {
                    continue;
                }
                steps.push(self.take(thing, task));
                has.push(thing);
                least = thing + 1;
            } else {
                steps.extend(self.reach(thing, depth, false).map(Step::Call));
            }
            if !has.is_empty() && self.rng.u32(..6) == 0 {
                let place = self.rng.usize(..has.len());
                steps.push(Step::Unlock(has.swap_remove(place)));
            }
        }
        steps
    }

    fn take(&mut self, thing: usize, task: bool) -> Step {
        let sort = self.program.things[thing].sort;
        let patience = match self.rng.u32(..25) {
            // Under a time-out a task also waits for a timer.
            _ if task => Patience::Forever,
            0 => Patience::Try,
            1 | 2 => Patience::Long,
            3 => Patience::Short(self.rng.u64(20..80)),
            _ => Patience::Forever,
        };
        Step::Lock {
            thing,
            mode: self.mode(sort, false),
            patience,
        }
    }

    /// What a Python frame does: it calls.
    fn python_steps(&mut self, least: usize, depth: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.rng.usize(1..=2) {
            let first = if self.ordered { least } else { 0 };
            let all = first..self.program.things.len();
            // What Python programs wait for among themselves nobody can see.
            let all: Vec<usize> = all
                .filter(|thing| self.program.things[*thing].sort != Sort::Place)
                .collect();
            if let Some(thing) = self.rng.choice(all) {
                steps.extend(self.reach(thing, depth, true).map(Step::Call));
            }
        }
        steps
    }

    /// A call that takes a thing, and does something while it has it.
    fn reach(&mut self, thing: usize, depth: u32, from_python: bool) -> Option<Call> {
        if depth >= DEEPEST || self.calls >= MOST_CALLS {
            return None;
        }
        self.calls += 1;
        let Thing { node, sort } = self.program.things[thing];
        if depth < 2 && sort != Sort::Place && self.rng.u32(..16) == 0 {
            // It is a chain of its own.
            let mut call = self.serve(thing, depth + 1, 0);
            call.oneway = true;
            return Some(call);
        }
        if sort == Sort::Place {
            let steps = self.python_steps(thing + 1, depth + 1);
            return Some(call(node, Some((thing, Mode::Write)), steps));
        }
        let mut inner = self.serve(thing, depth + 1, thing + 1);
        inner.timed = !from_python && self.rng.u32(..16) == 0;
        inner.batch = self.rng.u32(..12) == 0;
        Some(self.hop(inner, depth))
    }

    /// Maybe a Python program makes the call.
    fn hop(&mut self, inner: Call, depth: u32) -> Call {
        let threaded: Vec<usize> = self
            .python
            .iter()
            .copied()
            .filter(|node| *node != 6)
            .collect();
        let odds = if threaded.is_empty() { 0 } else { 40 };
        if depth >= 3 || self.rng.u32(..100) >= odds {
            return inner;
        }
        let node = threaded[self.rng.usize(..threaded.len())];
        let mut outer = call(
            node,
            None,
            vec![Step::Call(Call {
                timed: false,
                ..inner
            })],
        );
        if self.rng.u32(..4) == 0 {
            Rc::make_mut(&mut outer.script).swallows = true;
        }
        outer
    }

    /// A method of ours that has this thing, and what it does then.
    fn serve(&mut self, thing: usize, depth: u32, least: usize) -> Call {
        let Thing { node, sort } = self.program.things[thing];
        let task = self.rng.u32(..3) == 0;
        let mut had = Vec::new();
        let mut steps = Vec::new();
        let mode = self.mode(sort, false);
        let enters = (sort == Sort::Object).then_some((thing, mode));
        if enters.is_none() {
            steps.push(self.take(thing, task));
            had.push(thing);
        }
        steps.extend(self.steps(node, least, depth, task, had));
        let script = Script {
            steps,
            swallows: self.rng.u32(..4) == 0,
            end: match self.rng.u32(..25) {
                0 => End::Panic,
                _ => End::Return,
            },
        };
        Call {
            task,
            script: Rc::new(script),
            ..call(node, enters, Vec::new())
        }
    }

    /// Chains each of which has one thing and wants the next one; or one that comes back.
    fn ring(&mut self) {
        let count = self.rng.usize(1..=4).min(self.program.things.len());
        let mut ring = self.some(0..self.program.things.len(), count);
        if let [one] = ring[..] {
            let others: Vec<usize> = (0..self.program.things.len())
                .filter(|other| *other != one)
                .collect();
            ring.extend(
                self.rng
                    .choice(others)
                    .filter(|_| self.program.things[one].sort == Sort::Place || self.rng.bool()),
            );
            ring.push(one);
            return self.along(&ring);
        }
        for place in 0..ring.len() {
            let next = (place + 1) % ring.len();
            self.along(&[ring[place], ring[next]]);
        }
    }

    /// A chain that takes all of these, whole, one after the other.
    fn along(&mut self, things: &[usize]) {
        let first = self.program.things[things[0]].node;
        let node = match TROUPE[first].is_python() {
            true => self.ours[self.rng.usize(..self.ours.len())],
            false if self.rng.bool() => first,
            false => self.ours[self.rng.usize(..self.ours.len())],
        };
        let task = self.rng.bool();
        let steps = self.nest(node, things);
        self.root(node, task, steps);
    }

    fn nest(&mut self, node: usize, things: &[usize]) -> Vec<Step> {
        let [thing, rest @ ..] = things else {
            return Vec::new();
        };
        let Thing { node: at, sort } = self.program.things[*thing];
        let mode = self.mode(sort, true);
        let take = sort.is_lock().then_some(Step::Lock {
            thing: *thing,
            mode,
            patience: Patience::Forever,
        });
        let mut steps: Vec<Step> = take.into_iter().collect();
        if sort.is_lock() && at == node && self.rng.u32(..3) > 0 {
            steps.extend(self.nest(node, rest));
            return steps;
        }
        steps.extend(self.nest(at, rest));
        let enters = (!sort.is_lock()).then_some((*thing, mode));
        let mut inner = call(at, enters, steps);
        inner.task = TROUPE[at] != (Kind::Python { single: true }) && self.rng.u32(..3) == 0;
        let made = match sort {
            Sort::Place => inner,
            _ => self.hop(inner, 0),
        };
        vec![Step::Call(made)]
    }
}
