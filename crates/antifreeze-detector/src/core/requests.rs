//! Questions to peers.

use std::time::Duration;

use super::{
    Core, LEAST_TIMEOUT, MOST_TIMEOUT, Output, Purpose, REMEMBERED, RETRIES, Request, Timer,
};
use crate::home::{Home, Peer};
use crate::wire::{Body, Malformed, Message};

impl Core {
    pub(super) fn ask(&mut self, now: Duration, to: Peer, body: Body, purpose: Purpose) {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        let message = Message {
            request,
            from: self.me.node,
            to: to.node,
            body,
        };
        let bytes = message.encode();
        let due = match &*to.address {
            // Nobody can ask it.
            "" => now,
            _ => now + self.timeout(to.node),
        };
        let tries = match &*to.address {
            "" => RETRIES,
            _ => {
                self.outputs.push(Output::Send {
                    to: to.clone(),
                    bytes: bytes.clone(),
                });
                0
            }
        };
        self.timers.insert((due, Timer::Request(request)));
        self.requests.insert(
            request,
            Request {
                to,
                bytes,
                purpose,
                sent: now,
                tries,
                due,
            },
        );
    }

    pub(super) fn timeout(&self, node: u64) -> Duration {
        let usual = self.round_trips.get(&node).copied().unwrap_or_default();
        (usual * 4).clamp(LEAST_TIMEOUT, MOST_TIMEOUT)
    }

    pub(super) fn on_timeout(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if matches!(request.purpose, Purpose::Late) {
            self.requests.remove(&id);
            return;
        }
        self.counters.timeouts += 1;
        if request.tries < RETRIES {
            request.tries += 1;
            let pause = (request.due - request.sent).max(LEAST_TIMEOUT);
            request.due = now + pause;
            self.timers.insert((request.due, Timer::Request(id)));
            let (to, bytes) = (request.to.clone(), request.bytes.clone());
            self.outputs.push(Output::Send { to, bytes });
        } else {
            self.give_up(now, id, home);
        }
    }

    /// Whoever does not answer counts as running.
    pub(super) fn give_up(&mut self, now: Duration, id: u32, home: &mut impl Home) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        self.timers.remove(&(request.due, Timer::Request(id)));
        self.counters.unreachable += 1;
        let purpose = std::mem::replace(&mut request.purpose, Purpose::Late);
        let node = request.to.node;
        request.due = now + REMEMBERED;
        self.timers.insert((request.due, Timer::Request(id)));
        match purpose {
            Purpose::Gather(check) => {
                if let Some(check) = self.checks.get_mut(&check) {
                    check.lose(node);
                }
                self.go_on_gathering(now, check, home);
            }
            Purpose::Confirm(id) => {
                if let Some(check) = self.checks.get_mut(&id) {
                    check.lose(node);
                }
                self.end_check(now, id, false);
            }
            Purpose::Attach(frame) => self.attach_again(now, frame),
            Purpose::Fail | Purpose::Admit(_) | Purpose::Late => {}
        }
    }

    pub(super) fn on_lost(&mut self, now: Duration, node: u64, home: &mut impl Home) {
        let of_it = self.requests.iter().filter(|(_, r)| r.to.node == node);
        let open = of_it.filter(|(_, r)| !matches!(r.purpose, Purpose::Late));
        let mut requests: Vec<u32> = open.map(|(id, _)| *id).collect();
        requests.sort_unstable();
        for id in requests {
            self.give_up(now, id, home);
        }
    }

    pub(super) fn on_answer(
        &mut self,
        now: Duration,
        node: u64,
        bytes: &[u8],
        home: &mut impl Home,
    ) {
        let message = match Message::decode(bytes) {
            Ok(message) if message.body.is_answer() => message,
            Ok(_) | Err(Malformed(_)) => {
                self.counters.malformed += 1;
                return;
            }
        };
        if message.to != self.me.node {
            return;
        }
        let request = self.requests.get(&message.request);
        if request.is_none_or(|request| request.to.node != node) {
            return;
        }
        let Some(request) = self.requests.remove(&message.request) else {
            return;
        };
        self.timers
            .remove(&(request.due, Timer::Request(message.request)));
        let took = now - request.sent;
        let usual = self.round_trips.entry(node).or_insert(took);
        *usual = (*usual * 7 + took) / 8;
        match (request.purpose, message.body) {
            (Purpose::Gather(id), body) => {
                if let Some(check) = self.checks.get_mut(&id) {
                    match body {
                        Body::Part(part) => check.learn(node, part),
                        _ => check.lose(node),
                    }
                    self.go_on_gathering(now, id, home);
                }
            }
            (Purpose::Confirm(id), Body::Part(part)) => self.confirmed(now, id, node, part, home),
            (Purpose::Confirm(id), _) => self.reject(now, id),
            (Purpose::Attach(_), _) => {
                let waits = self.waits.iter_mut().filter(|(_, wait)| wait.after_attach);
                let waits: Vec<u64> = waits
                    .map(|(frame, wait)| {
                        wait.after_attach = false;
                        *frame
                    })
                    .collect();
                for frame in waits {
                    self.look_at_wait_at(now, frame);
                }
            }
            (purpose @ (Purpose::Fail | Purpose::Admit(_)), Body::Decided(decided)) => {
                self.decided(now, node, purpose, decided);
            }
            (Purpose::Fail | Purpose::Admit(_) | Purpose::Late, _) => {}
        }
    }
}
