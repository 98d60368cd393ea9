//! Waits for what must come of a step, and follows what the processes say, if that can be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Checked, Expect, Lead, Outcome, PATIENCE, Path, Role};
use crate::message::{Failure, Order, Queue, Said, Told};
use crate::model::{Model, Wait};
use crate::program::{Class, Sort, TROUPE};
use crate::report;

/// How long a deadlock may last until it is found.
const T_MAX: Duration = Duration::from_secs(5);
/// For how long what cannot be yet may wait for what explains it.
const EARLY: Duration = Duration::from_secs(2);

impl Lead<'_> {
    /// Waits until all that must come has come.
    pub(super) fn settle(&mut self) -> Checked {
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            self.hear(Instant::now())?;
            if let Some(text) = self.outstanding() {
                if Instant::now() > deadline {
                    return Err(format!("{text} has not come"));
                }
                if self.hear(Instant::now() + Duration::from_millis(500))? {
                    deadline = Instant::now() + PATIENCE;
                }
                continue;
            }
            if !self.early.is_empty() {
                self.hear(Instant::now() + EARLY)?;
                continue;
            }
            let Some(frame) = self.unsettled() else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(format!("frame {frame} does not stand where it should wait"));
            }
            self.look(frame)?;
        }
    }

    /// Something that must be said yet.
    fn outstanding(&self) -> Option<String> {
        for (frame, role) in self.roles.iter().enumerate() {
            if let Some(expects) = &role.expects {
                return Some(format!("{expects:?} of frame {frame}"));
            }
            if role.until.is_some() {
                return Some(format!("the deadline of frame {frame}"));
            }
        }
        let open = self
            .model
            .things
            .iter()
            .position(|thing| thing.is_open_place());
        open.map(|thing| format!("the next one in {}", self.name_of(thing)))
    }

    /// A frame that should stand in a queue and was not seen there.
    fn unsettled(&mut self) -> Option<usize> {
        for (frame, role) in self.roles.iter_mut().enumerate() {
            if let Wait::Thing { thing, .. } = self.model.frames[frame].wait
                && !role.settled
            {
                // Whoever wants into a place is in no queue of ours, and in no order.
                if self.program.things[thing].sort != Sort::Place {
                    return Some(frame);
                }
                role.settled = true;
            }
        }
        None
    }

    /// Looks whether the queue in which a frame waits is as long as it should be.
    fn look(&mut self, frame: usize) -> Checked {
        let Wait::Thing { thing, .. } = self.model.frames[frame].wait else {
            return Ok(());
        };
        let node = self.program.things[thing].node;
        self.troupe.tell(node, &Order::Look);
        let deadline = Instant::now() + PATIENCE;
        let queues = loop {
            match self.troupe.next(deadline) {
                Some((from, Said::Waiting { queues })) if from == node => break queues,
                Some((from, said)) => self.take_up(from, said)?,
                None => return Err(format!("process {node} does not answer")),
            }
        };
        let wanted = &self.model.things[thing].queue;
        if self.length(thing, &queues) == wanted.len() {
            for frame in wanted.clone() {
                self.roles[frame].settled = true;
            }
        }
        Ok(())
    }

    /// How many stand in the queue of a thing.
    fn length(&self, thing: usize, queues: &[Queue]) -> usize {
        let name = self.name_of(thing);
        if self.program.things[thing].sort != Sort::Object {
            let queue = queues
                .iter()
                .find(|queue| queue.resource.as_ref() == Some(&name));
            return queue.map_or(0, |queue| queue.waiters.len());
        }
        // Objects have no names, but those who wait for them do.
        let objects = queues.iter().filter(|queue| queue.resource.is_none());
        let waiters = objects.flat_map(|queue| &queue.waiters);
        let is_of = |waiter: &&String| {
            let rest = waiter.strip_prefix(&name);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        waiters.filter(is_of).count()
    }

    /// Lets time go by, in which only detectors do something.
    pub(super) fn dwell(&mut self, time: Duration) -> Checked {
        self.note(|_| format!("nothing for {time:?}"));
        let deadline = Instant::now() + time;
        while self.hear(deadline)? {}
        Ok(())
    }

    /// Somebody cannot go on: that has to be found.
    pub(super) fn await_verdict(&mut self) -> Checked {
        let Some((since, count)) = self.stuck else {
            return Ok(());
        };
        let found = self.seen.found;
        while self.stuck == Some((since, count)) && self.seen.found == found {
            if since.elapsed() > T_MAX {
                self.seen.missed += 1;
                let detectors = self.troupe.detectors();
                return Err(format!("a deadlock was not found\n{detectors}"));
            }
            self.hear(since + T_MAX + Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Somebody could go on but for the order in which others came, which the detector is to undo.
    pub(super) fn await_way_past(&mut self) -> Checked {
        let before = self.seen.let_past;
        let deadline = Instant::now() + T_MAX;
        while self.seen.let_past == before && self.stuck.is_none() {
            if Instant::now() > deadline {
                return Err("nobody is let past others, and nobody can go on".to_owned());
            }
            self.hear(deadline)?;
        }
        Ok(())
    }

    /// Hears what is said next, if anything is until then.
    fn hear(&mut self, deadline: Instant) -> Checked<bool> {
        let oldest = self.early.iter().map(|(since, _)| *since + EARLY).min();
        let until = oldest.map_or(deadline, |oldest| oldest.min(deadline));
        if let Some((node, said)) = self.troupe.next(until) {
            self.take_up(node, said)?;
            return Ok(true);
        }
        match oldest.is_some_and(|oldest| oldest <= Instant::now()) {
            true => Err(self.unexplained()),
            false => Ok(false),
        }
    }

    /// What was said and has no explanation.
    fn unexplained(&mut self) -> String {
        let (_, said) = self.early.remove(0);
        if let Said::Failed {
            error:
                Failure {
                    deadlock: Some(_),
                    text,
                    ..
                },
            frame,
        } = &said
        {
            self.seen.false_positives += 1;
            return format!("a false report for frame {}: {text}", frame - self.base);
        }
        format!("it makes no sense: {said:?}")
    }

    fn take_up(&mut self, node: usize, said: Said) -> Checked {
        if let Said::Confused { text } = said {
            return Err(format!("process {node}: {text}"));
        }
        if !self.follow(&said)? {
            self.early.push((Instant::now(), said));
            return Ok(());
        }
        // It may explain what came before.
        let mut again = true;
        while again {
            again = false;
            for place in 0..self.early.len() {
                let said = self.early[place].1.clone();
                if self.follow(&said)? {
                    self.early.remove(place);
                    again = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Follows what was said, if that makes sense now.
    fn follow(&mut self, said: &Said) -> Checked<bool> {
        let number = match said {
            Said::Entered { frame }
            | Said::Done { frame }
            | Said::Refused { frame }
            | Said::Failed { frame, .. }
            | Said::Ended { frame } => *frame,
            Said::Ready { .. }
            | Said::Made
            | Said::Dropped { .. }
            | Said::Waiting { .. }
            | Said::Confused { .. } => {
                return Ok(false);
            }
        };
        // It may be of a program that was before this one.
        let Some(frame) = number.checked_sub(self.base).map(|frame| frame as usize) else {
            return Ok(true);
        };
        if frame >= self.roles.len() {
            return Ok(false);
        }
        let expected = match said {
            Said::Entered { .. } => Expect::Entered,
            Said::Done { .. } => Expect::Done,
            Said::Refused { .. } => Expect::Refused,
            Said::Failed { error, .. } => Expect::Failed(Outcome::of(error)),
            _ => Expect::Ended,
        };
        if self.roles[frame].expects.as_ref() == Some(&expected) {
            if let Said::Failed {
                error:
                    Failure {
                        deadlock: Some(told),
                        ..
                    },
                ..
            } = said
                && told.retry_safe == Some(true)
            {
                return Err(format!(
                    "frame {frame} is told to try again what was executed"
                ));
            }
            let role = &mut self.roles[frame];
            role.expects = None;
            if let Expect::Failed(outcome) = expected {
                role.failed = Some(outcome);
            }
            return Ok(true);
        }
        if let Said::Failed {
            error: Failure {
                deadlock: Some(told),
                ..
            },
            ..
        } = said
            && self.crossed(frame, told)
        {
            return Ok(true);
        }
        if self.roles[frame].expects.is_some() {
            return Ok(false);
        }
        match said {
            Said::Entered { .. } | Said::Done { .. } => Ok(self.let_in(frame)),
            Said::Failed {
                error:
                    Failure {
                        deadlock: Some(told),
                        ..
                    },
                ..
            } => self.verdict(frame, told),
            Said::Failed {
                error: Failure { late: true, .. },
                ..
            } => Ok(self.too_late(frame)),
            _ => Ok(false),
        }
    }

    /// Somebody got what he wanted although the model did not say so: he is the next one in a place, or
    /// was let past others.
    fn let_in(&mut self, frame: usize) -> bool {
        let Wait::Thing { thing, .. } = self.model.frames[frame].wait else {
            return false;
        };
        let in_order = self.program.things[thing].sort != Sort::Place;
        if in_order && !self.model.frames[frame].was_behind {
            return false;
        }
        if !self.model.admit(frame) && !self.let_in_before(frame, thing) {
            return false;
        }
        self.seen.let_past += u64::from(in_order);
        self.note(|_| format!("frame {frame} is let in"));
        self.changed();
        self.roles[frame].expects = None;
        true
    }

    /// The same, where the model has given the thing to the one in front of it, just when it was let past
    /// that one.
    fn let_in_before(&mut self, frame: usize, thing: usize) -> bool {
        let is_unseen = |role: &Role| {
            matches!(role.expects, Some(Expect::Entered | Expect::Done))
                && role.waited_for == Some(thing)
        };
        let Some(first) = self.roles.iter().position(is_unseen) else {
            return false;
        };
        if !self.model.put_back(first, thing) {
            return false;
        }
        let is_in = self.model.admit(frame);
        match is_in {
            true => self.roles[first].expects = None,
            false => drop(self.model.admit(first)),
        }
        is_in
    }

    fn too_late(&mut self, frame: usize) -> bool {
        let role = &mut self.roles[frame];
        let due = role.until.is_some_and(|until| Instant::now() >= until);
        let waits = matches!(self.model.frames[frame].wait, Wait::Thing { .. });
        if !due || !waits {
            return false;
        }
        role.until = None;
        role.failed = Some(Outcome::Late);
        self.seen.dissolved += u64::from(self.model.stuck(false)[frame]);
        self.note(|_| format!("the time of frame {frame} is over"));
        self.waited(frame);
        self.model.give_up(frame);
        self.changed();
        true
    }

    /// A frame is told of a deadlock.
    fn verdict(&mut self, frame: usize, told: &Told) -> Checked<bool> {
        // It is the victim, or the call that it has made and that did not begin.
        let victim = match self.model.frames[frame].wait {
            Wait::Thing { .. } => frame,
            Wait::Call(callee) => match self.model.frames[callee].wait {
                Wait::Thing { .. } if self.roles[callee].next == 0 => callee,
                _ => return Ok(false),
            },
            Wait::None | Wait::Ended => return Ok(false),
        };
        if self.program.class == Class::Ambiguous {
            self.seen.false_positives += 1;
        } else if self.model.stuck(false)[victim] && !self.is_over(frame, victim, told) {
            self.seen.found += 1;
            let path = self.path(victim);
            self.seen.opaque += u64::from(path == Path::Python);
            if let Some((since, _)) = self.stuck {
                self.seen.latencies.push((path, since.elapsed()));
            }
            if let Err(text) = report::check(self, &self.past, frame, victim, told) {
                self.seen.misnamed += 1;
                return Err(format!("misnamed, frame {frame}: {text}\n{told:#?}"));
            }
        } else if self.model.frames[victim].was_stuck() {
            self.seen.late += 1;
        } else {
            return Ok(false);
        }
        self.note(|_| {
            format!(
                "frame {frame} is told of {}: frame {victim} waits no longer",
                told.id
            )
        });
        let place = match self.model.frames[victim].wait {
            Wait::Thing { thing, .. } => self.program.things[thing].sort == Sort::Place,
            _ => false,
        };
        self.waited(victim);
        self.roles[frame].failed = Some(Outcome::Deadlock(told.id.clone()));
        self.model.give_up(victim);
        if victim != frame {
            self.model.end(victim);
            self.model.frames[victim].caller = None;
            // It may have been sent already.
            self.roles[victim].orphan = place;
        }
        self.stuck = None;
        self.changed();
        Ok(true)
    }

    /// Whether a frame is told of a deadlock that has ended, which it was in with the wait that it is in now,
    /// and not of the one that it is in now.
    fn is_over(&self, frame: usize, victim: usize, told: &Told) -> bool {
        let tells_of =
            |past: &[(Instant, Model)]| report::check(self, past, frame, victim, told).is_ok();
        let in_this_wait = |(at, model): &&(Instant, Model)| {
            let before = model.frames.get(victim).map(|frame| frame.wait);
            before == Some(self.model.frames[victim].wait) && self.roles[victim].waits_since <= *at
        };
        let mut over = self.over.iter().filter(in_this_wait);
        !tells_of(&self.past) && over.any(|past| tells_of(std::slice::from_ref(past)))
    }

    /// A frame is told of a deadlock that is no more: it was told before what it waited for became
    /// free, by whom another verdict had freed. If that is so.
    fn crossed(&mut self, frame: usize, told: &Told) -> bool {
        let victim = match self.model.frames[frame].wait {
            Wait::Call(callee) => callee,
            _ => frame,
        };
        let unconfirmed = match &self.roles[victim].expects {
            Some(Expect::Entered) => victim != frame,
            Some(Expect::Done) => victim == frame,
            _ => false,
        };
        let Some(thing) = self.roles[victim].waited_for.filter(|_| unconfirmed) else {
            return false;
        };
        if !self.model.frames[victim].was_stuck() {
            return false;
        }
        self.seen.late += 1;
        self.note(|_| {
            format!(
                "frame {frame} was told of {}: frame {victim} has not got in",
                told.id
            )
        });
        self.roles[victim].expects = None;
        self.roles[frame].failed = Some(Outcome::Deadlock(told.id.clone()));
        match victim == frame {
            true => self.model.release(frame, thing),
            false => self.model.end(victim),
        }
        self.changed();
        true
    }

    /// What those lead through who cannot go on because of whom this one cannot.
    fn path(&self, victim: usize) -> Path {
        let stuck = self.model.stuck(false);
        let mut seen = vec![victim];
        let mut next = 0;
        while let Some(frame) = seen.get(next).copied() {
            next += 1;
            let on = match self.model.frames[frame].wait {
                Wait::Call(callee) => vec![callee],
                Wait::Thing { thing, .. } => {
                    let holders = self.model.things[thing].holders.iter();
                    holders.map(|(holder, _)| *holder).collect()
                }
                Wait::None | Wait::Ended => Vec::new(),
            };
            for frame in on {
                if stuck[frame] && !seen.contains(&frame) {
                    seen.push(frame);
                }
            }
        }
        let kinds: HashMap<usize, _> = seen
            .iter()
            .map(|frame| (self.roles[*frame].node, TROUPE[self.roles[*frame].node]))
            .collect();
        match kinds.values().any(|kind| kind.is_python()) {
            true => Path::Python,
            false if kinds.len() > 1 => Path::Several,
            false => Path::Local,
        }
    }
}
