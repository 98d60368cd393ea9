//! Calls from one process to another.

use std::rc::Rc;

use antifreeze_detector::{CallId, Peer};

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
            if self.frames[caller].done {
                self.orphaned(frame);
            }
        }
        self.go(frame);
    }

    /// Whoever serves a program that is gone notices that.
    pub(super) fn orphaned(&mut self, frame: usize) {
        let place = self.frames[frame].place;
        let (node, at) = (
            self.places[place].node,
            self.now + self.random.u64(..50 * MILLI),
        );
        self.later(at, Event::Tell(place, node, Told::Ended(frame)));
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

    /// Whether a call has not been accepted yet, by somebody who serves one at a time.
    pub(crate) fn may_be_failed(&self, call: usize) -> bool {
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
        self.places[call.to].kind == single && !accepted
    }

    /// Takes back a call that has not been accepted yet.
    pub(super) fn hang_up(&mut self, call: usize) {
        if let CallState::Served(callee) = self.calls[call].state {
            self.end_wait(callee);
            self.frames[callee].done = true;
        }
        self.calls[call].state = CallState::Over;
    }

    pub(super) fn refuse(&mut self, call: usize) {
        self.calls[call].state = CallState::Over;
        let (from, to) = (
            self.calls[call].to,
            self.frames[self.calls[call].caller].place,
        );
        let at = self.travel(from, to);
        self.later(at, Event::Return(call, Outcome::Error));
    }

    pub(super) fn returned(&mut self, call: usize, outcome: Outcome) {
        let caller = self.calls[call].caller;
        if !self.frames[caller].waits.contains(&Wait::Call(call)) {
            return;
        }
        self.end_wait(caller);
        match outcome {
            Outcome::Done => self.go_soon(caller),
            error => self.failed(caller, error),
        }
    }
}
