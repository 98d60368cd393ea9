//! Calls from one process to another.

use std::rc::Rc;

use antifreeze_detector::{CallId, Member, Peer};

use super::{Call, CallState, Context, Event, Outcome, Told, Wait, World, address};
use crate::program::{Kind, MILLI, Script};

impl World {
    pub(super) fn call(&mut self, caller: usize, to: usize, script: &Rc<Script>) -> usize {
        let from = self.frames[caller].place;
        self.calls.push(Call {
            caller,
            to,
            to_node: self.places[to].node,
            script: Rc::clone(script),
            state: CallState::OnItsWay,
            over_since: 0,
            answered: false,
            established: self.random.bool(),
        });
        let call = self.calls.len() - 1;
        let at = self.travel(from, to);
        self.later(at, Event::Arrive(call));
        call
    }

    pub(super) fn arrive(&mut self, number: usize) {
        let call = &self.calls[number];
        if call.state == CallState::Over {
            return;
        }
        let (caller, to) = (call.caller, call.to);
        if call.to_node != self.places[to].node {
            return self.refuse(number);
        }
        let from = self.frames[caller].place;
        let context = match (self.places[from].kind, self.places[to].kind) {
            (Kind::Rust, kind) => Some(Context {
                parent: CallId {
                    node: self.places[from].node,
                    seq: number as u64 + 1,
                },
                caller: Peer {
                    node: self.places[from].node,
                    address: address(from),
                },
                via: (kind
                    == Kind::Python {
                        single_threaded: true,
                    })
                .then(|| address(to)),
            }),
            _ => self.frames[caller].context.clone(),
        };
        let script = Rc::clone(&call.script);
        let frame = self.frame(to, None, script, Some(number), context);
        self.calls[number].state = CallState::Served(frame);
        if self.places[from].kind != Kind::Rust {
            self.served(frame);
            if !self.frames[caller].waits.contains(&Wait::Call(number)) {
                self.orphaned(frame);
            }
        }
        self.go(frame);
    }

    /// Whoever serves a program that is gone, or has given up, notices that.
    pub(super) fn orphaned(&mut self, frame: usize) {
        let place = self.frames[frame].place;
        let (node, at) = (
            self.places[place].node,
            self.now + self.random.u64(..50 * MILLI),
        );
        self.later(at, Event::Tell(place, node, Told::HungUp(frame)));
    }

    /// Nobody waits for this call any more. If a Python program made it, the connection is closed.
    pub(super) fn give_up(&mut self, call: usize) {
        let Call { caller, state, .. } = self.calls[call];
        if self.places[self.frames[caller].place].kind != Kind::Rust
            && let CallState::Served(callee) = state
            && self.frames[callee].served
        {
            self.orphaned(callee);
        }
    }

    /// Tells the detector of a frame that came from Python.
    pub(super) fn served(&mut self, frame: usize) {
        let place = self.frames[frame].place;
        if self.places[place].kind == Kind::Rust && self.frames[frame].context.is_some() {
            self.frames[frame].served = true;
            let node = self.places[place].node;
            self.later(self.now, Event::Tell(place, node, Told::Served(frame)));
        }
    }

    /// Whether a call to somebody who serves one at a time may not have begun, as far as its caller knows.
    pub(crate) fn may_be_queued(&self, call: usize) -> bool {
        let call = &self.calls[call];
        let single = Kind::Python {
            single_threaded: true,
        };
        let accepted = match call.state {
            CallState::OnItsWay => false,
            CallState::Served(callee) => {
                let callee = &self.frames[callee];
                callee.next > 1 || callee.waits.is_empty()
            }
            CallState::Over => true,
        };
        self.places[call.to].kind == single && (call.established || !accepted)
    }

    pub(super) fn over(&mut self, call: usize) {
        let call = &mut self.calls[call];
        call.state = CallState::Over;
        call.over_since = self.now;
    }

    /// Takes back a call that has not been accepted yet; one that is sent may be served later.
    pub(super) fn hang_up(&mut self, call: usize) {
        if self.calls[call].established {
            return;
        }
        if let CallState::Served(callee) = self.calls[call].state {
            self.end_wait(callee);
            self.frames[callee].done = true;
        }
        self.calls[call].state = CallState::Over;
    }

    pub(super) fn refuse(&mut self, call: usize) {
        self.over(call);
        let (from, to) = (
            self.calls[call].to,
            self.frames[self.calls[call].caller].place,
        );
        let at = self.travel(from, to);
        self.later(at, Event::Return(call, Outcome::Error));
    }

    /// Whether somebody of these waits for an answer that has been under way for longer than detectors wait.
    pub(super) fn waits_for_overdue(&self, members: &[Member]) -> bool {
        let patience = self.config.opaque_confirm.as_nanos() as u64;
        let frames = members.iter().map(|member| member.frame as usize);
        let mut waits = frames.flat_map(|frame| &self.frames[frame].waits);
        waits.any(|wait| match wait {
            Wait::Call(call) => {
                let call = &self.calls[*call];
                call.state == CallState::Over && call.over_since + patience < self.now
            }
            _ => false,
        })
    }

    pub(super) fn returned(&mut self, call: usize, outcome: Outcome) {
        let caller = self.calls[call].caller;
        if !self.frames[caller].waits.contains(&Wait::Call(call)) {
            return;
        }
        self.calls[call].answered = true;
        self.end_wait(caller);
        match outcome {
            Outcome::Done => self.go_soon(caller),
            error => self.failed(caller, error),
        }
    }
}
