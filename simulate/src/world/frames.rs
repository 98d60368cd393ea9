//! What frames do: take, wait, let go.

use std::rc::Rc;

use super::{Context, Event, Frame, LOCAL, Outcome, Queued, Told, Wait, World};
use crate::program::{Kind, MICRO, MILLI, Script, Step, Time};

impl World {
    pub(super) fn start(&mut self, number: usize) {
        let chain = &self.program.chains[number];
        let (place, priority) = (chain.place, chain.priority);
        let script = Rc::clone(&chain.script);
        let frame = self.frame(place, Some(number), script, None, None);
        self.frames[frame].priority = priority;
        self.frames[frame].birth = self.program.chains[number].start;
        self.frames[frame].root = number as u64;
        self.frames[frame].times_victim = self.chains[number].times_victim;
        self.chains[number].root = frame;
        self.go(frame);
    }

    pub(super) fn frame(
        &mut self,
        place: usize,
        chain: Option<usize>,
        script: Rc<Script>,
        call: Option<usize>,
        context: Option<Context>,
    ) -> usize {
        let caller = call.map(|call| &self.frames[self.calls[call].caller]);
        let (depth, birth, root) = caller.map_or((0, self.now, 0), |caller| {
            (caller.depth + 1, caller.birth, caller.root)
        });
        let times_victim = caller.map_or(0, |caller| caller.times_victim);
        let priority = caller.map_or(0, |caller| caller.priority);
        let chain = chain.or_else(|| caller.and_then(|caller| caller.chain));
        self.frames.push(Frame {
            place,
            chain,
            root,
            birth,
            depth,
            times_victim,
            priority,
            script,
            next: 0,
            waits: Vec::new(),
            timed: false,
            epoch: 0,
            since: 0,
            call,
            context,
            served: false,
            hung_up: false,
            done: false,
            stuck_in: Vec::new(),
            was_hard: u64::MAX,
            free_since: None,
        });
        self.frames.len() - 1
    }

    pub(crate) fn waits_in(&self, frame: usize, epoch: u64) -> bool {
        let frame = &self.frames[frame];
        frame.epoch == epoch && !frame.waits.is_empty()
    }

    /// Whether its method has yet to begin.
    pub(crate) fn is_entering(&self, frame: usize) -> bool {
        let frame = &self.frames[frame];
        frame.call.is_some() && frame.next <= 2
    }

    pub(super) fn go_soon(&mut self, frame: usize) {
        let (epoch, pause) = (self.frames[frame].epoch, self.random.u64(MICRO..30 * MICRO));
        self.later(self.now + pause, Event::Go(frame, epoch));
    }

    pub(super) fn go(&mut self, frame: usize) {
        loop {
            let at = &mut self.frames[frame];
            let script = Rc::clone(&at.script);
            let next = at.next;
            at.next += 1;
            let step = match next {
                0 => {
                    let workers = at.call.and(self.places[at.place].workers);
                    match workers {
                        Some(workers) => self.acquire(frame, workers, 1, None),
                        None => true,
                    }
                }
                1 => match script.enter {
                    Some((resource, permits)) => self.acquire(frame, resource, permits, None),
                    None => true,
                },
                _ => match script.steps.get(next - 2) {
                    Some(step) => self.act(frame, step),
                    None => return self.end(frame, Outcome::Done),
                },
            };
            if !step {
                return;
            }
        }
    }

    /// Does a step. Says whether the next one can follow at once.
    pub(super) fn act(&mut self, frame: usize, step: &Step) -> bool {
        match step {
            Step::Compute(time) => {
                let epoch = self.frames[frame].epoch;
                self.later(self.now + time, Event::Go(frame, epoch));
                false
            }
            Step::Acquire {
                resource,
                permits,
                timeout,
            } => self.acquire(frame, *resource, *permits, *timeout),
            Step::Release(resource) => {
                self.release(frame, *resource);
                true
            }
            Step::Call {
                to,
                script,
                timeout,
            } => {
                let call = self.call(frame, *to, script);
                self.block(frame, vec![Wait::Call(call)], *timeout);
                false
            }
            Step::Oneway { to, script } => {
                let from = self.frames[frame].place;
                let python = |place: usize| self.places[place].kind != Kind::Rust;
                let context = self.frames[frame].context.clone();
                let context = context.filter(|_| python(from) && python(*to));
                let at = self.travel(from, *to);
                self.later(at, Event::Oneway(*to, Rc::clone(script), context));
                true
            }
            Step::Race(branches, timer) => {
                let mut waits = Vec::new();
                for branch in branches {
                    match branch {
                        Step::Acquire {
                            resource, permits, ..
                        } if self.may_take(*resource, *permits) => {
                            let free = self.take(frame, *resource, *permits);
                            debug_assert!(free, "it was free");
                            return true;
                        }
                        Step::Acquire {
                            resource, permits, ..
                        } => waits.push(Wait::Lock(*resource, *permits)),
                        Step::Call { to, script, .. } => {
                            let call = self.call(frame, *to, script);
                            waits.push(Wait::Call(call));
                        }
                        _ => {}
                    }
                }
                if timer.is_some() {
                    waits.push(Wait::Timer);
                }
                self.block(frame, waits, *timer);
                false
            }
        }
    }

    pub(super) fn acquire(
        &mut self,
        frame: usize,
        resource: usize,
        permits: u32,
        timeout: Option<Time>,
    ) -> bool {
        if self.take(frame, resource, permits) {
            return true;
        }
        self.block(frame, vec![Wait::Lock(resource, permits)], timeout);
        false
    }

    pub(super) fn may_take(&self, resource: usize, permits: u32) -> bool {
        let resource = &self.resources[resource];
        permits <= resource.free && (resource.queue.is_empty() || resource.barging)
    }

    pub(super) fn take(&mut self, frame: usize, resource: usize, permits: u32) -> bool {
        let free = self.may_take(resource, permits);
        if free {
            let resource = &mut self.resources[resource];
            resource.free -= permits;
            resource.holders.push((frame, permits));
        }
        free
    }

    pub(super) fn block(&mut self, frame: usize, waits: Vec<Wait>, timeout: Option<Time>) {
        let mut looked_at = false;
        for wait in &waits {
            match wait {
                Wait::Lock(resource, permits) => {
                    self.resources[*resource].queue.push_back(Queued {
                        frame,
                        permits: *permits,
                        passes: false,
                    });
                    looked_at = true;
                }
                Wait::Call(call) => {
                    let to = &self.places[self.calls[*call].to];
                    looked_at |= to.kind
                        == Kind::Python {
                            single_threaded: true,
                        };
                }
                Wait::Timer => {}
            }
        }
        let at = &mut self.frames[frame];
        let timed = timeout.is_some() && !waits.contains(&Wait::Timer);
        at.waits = waits;
        at.timed = timed;
        at.epoch += 1;
        at.since = self.now;
        let (epoch, place) = (at.epoch, at.place);
        if self.has_leader() {
            self.places[place].waiting.insert(frame);
        }
        if let Some(timeout) = timeout {
            self.later(self.now + timeout, Event::Timeout(frame, epoch));
        }
        if looked_at && self.places[self.frames[frame].place].kind == Kind::Rust {
            self.later(self.now + LOCAL, Event::LocalCheck(frame, epoch));
        }
        self.closes(frame);
    }

    /// Ends a wait, however it ends.
    pub(super) fn end_wait(&mut self, frame: usize) {
        self.close_onsets(frame);
        let at = &mut self.frames[frame];
        let was_hard = at.was_hard == at.epoch;
        at.epoch += 1;
        at.timed = false;
        let waits = std::mem::take(&mut at.waits);
        let place = at.place;
        self.places[place].waiting.remove(&frame);
        if was_hard {
            self.opens();
        }
        for wait in waits {
            match wait {
                Wait::Lock(resource, _) => {
                    self.resources[resource]
                        .queue
                        .retain(|queued| queued.frame != frame);
                    match self.resources[resource].barging {
                        true => self.later(self.now, Event::Wake(resource)),
                        false => self.settle(resource),
                    }
                }
                Wait::Call(call) => self.give_up(call),
                Wait::Timer => {}
            }
        }
    }

    pub(super) fn release(&mut self, frame: usize, resource: usize) {
        let here = &mut self.resources[resource];
        let mut freed = 0;
        here.holders.retain(|(holder, permits)| {
            freed += if *holder == frame { *permits } else { 0 };
            *holder != frame
        });
        here.free += freed;
        if freed == 0 {
            return;
        }
        match here.barging {
            false => self.settle(resource),
            true => {
                let slow = self.program.slow_wakes.max(30 * MICRO);
                let at = self.now + self.random.u64(10 * MICRO..slow);
                self.later(at, Event::Wake(resource));
            }
        }
    }

    /// Gives to those who are next in the queue.
    pub(super) fn settle(&mut self, resource: usize) {
        loop {
            let here = &self.resources[resource];
            let mut queue = here.queue.iter().enumerate();
            let next = queue.find(|(place, queued)| {
                (*place == 0 || queued.passes) && queued.permits <= here.free
            });
            let Some((_, next)) = next else { break };
            let (frame, permits) = (next.frame, next.permits);
            self.grant(resource, frame, permits);
        }
    }

    pub(super) fn grant(&mut self, resource: usize, frame: usize, permits: u32) {
        let here = &mut self.resources[resource];
        here.queue.retain(|queued| queued.frame != frame);
        here.free -= permits;
        here.holders.push((frame, permits));
        self.end_wait(frame);
        self.go_soon(frame);
    }

    /// What a frame does when what it does fails.
    pub(super) fn failed(&mut self, frame: usize, outcome: Outcome) {
        let at = &self.frames[frame];
        match at.script.swallows && at.next > 2 {
            true => self.go_soon(frame),
            false => self.end(frame, outcome),
        }
    }

    pub(super) fn end(&mut self, frame: usize, outcome: Outcome) {
        self.let_go(frame);
        let at = &self.frames[frame];
        if let Some(call) = at.call {
            let (from, to) = (at.place, self.frames[self.calls[call].caller].place);
            self.over(call);
            let at = self.travel(from, to);
            self.later(at, Event::Return(call, outcome));
        } else if let Some(number) = at.chain.filter(|_| outcome == Outcome::Deadlock) {
            let chain = &mut self.chains[number];
            if chain.retries > 0 {
                chain.retries -= 1;
                let pause = self.random.u64(MICRO..3 * MILLI);
                self.later(self.now + pause, Event::Start(number));
            }
        }
    }

    pub(super) fn let_go(&mut self, frame: usize) {
        self.frames[frame].done = true;
        let place = self.frames[frame].place;
        if self.large {
            let script = Rc::clone(&self.frames[frame].script);
            let taken = script.steps.iter().filter_map(|step| match step {
                Step::Acquire { resource, .. } => Some(*resource),
                _ => None,
            });
            let first = script.enter.map(|(resource, _)| resource);
            for resource in first
                .into_iter()
                .chain(self.places[place].workers)
                .chain(taken)
            {
                self.release(frame, resource);
            }
        } else {
            for resource in 0..self.resources.len() {
                if self.resources[resource].place == place {
                    self.release(frame, resource);
                }
            }
        }
        if self.frames[frame].served {
            let node = self.places[place].node;
            self.later(self.now, Event::Tell(place, node, Told::Ended(frame)));
        }
    }
}
