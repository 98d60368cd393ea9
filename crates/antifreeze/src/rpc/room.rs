//! What a call needs before it may run, and where it waits for that.
//!
//! A method needs its object, if that has a lock, and one of the workers, unless it promises to be
//! quick. Whatever is not free is waited for in a queue, without a thread. Workers are counted here
//! and not in the driver's pool, so that a daemon whose workers are all inside methods still shakes
//! hands, answers pings and says that it is busy.

use std::sync::Arc;
use std::time::Duration;

use antifreeze_serial::Exception;

use super::exception::TIMEOUT_ERROR;
use super::gate::{Admission, Entry, Gate, Mode, QueueLimits, Refusal, Ticket, Verdict};
use super::host::Host;

/// Where calls wait, and for how long.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) host: Arc<dyn Host>,
    /// For the queue of one object.
    pub(crate) objects: QueueLimits,
    /// For the queue for a worker.
    pub(crate) calls: QueueLimits,
    /// Lets as many in as there are workers.
    pub(crate) workers: Arc<Gate>,
    pub(crate) wait: Duration,
}

/// What a call needs.
#[derive(Clone, Copy)]
pub(crate) struct Needs<'a> {
    pub(crate) object: Option<(&'a Arc<Gate>, Mode)>,
    pub(crate) worker: bool,
}

/// What a call has while it runs: first the object is given back, then the worker.
#[derive(Default)]
pub(crate) struct Held {
    _object: Option<Admission>,
    _worker: Option<Admission>,
}

/// Why a call did not get what it needs.
pub(crate) struct Stuck {
    at: Place,
    why: Refusal,
    /// How long a wait may last.
    patience: Duration,
}

#[derive(Clone, Copy)]
enum Place {
    Object,
    Workers,
}

/// What runs when the wait is over.
pub(crate) type Work = Box<dyn FnOnce(Result<Held, Stuck>) + Send>;

impl Room {
    /// Takes what is needed if all of it is free; else gives the part that could be had.
    pub(crate) fn try_enter(&self, needs: Needs<'_>) -> Result<Held, Held> {
        let mut held = Held::default();
        if let Some((gate, mode)) = needs.object {
            match gate.try_enter(mode) {
                Some(admission) => held._object = Some(admission),
                None => return Err(held),
            }
        }
        if needs.worker {
            match self.workers.try_enter(Mode::Read) {
                Some(admission) => held._worker = Some(admission),
                None => return Err(held),
            }
        }
        Ok(held)
    }

    /// Waits for what is missing, and then runs `work` on a thread of the host.
    ///
    /// The ticket ends the first wait early; it is none if that is over already.
    pub(crate) fn wait(&self, needs: Needs<'_>, held: Held, work: Work) -> Option<Ticket> {
        let Some((gate, mode)) = needs.object.filter(|_| held._object.is_none()) else {
            return self.wait_for_worker(needs.worker, held, work);
        };
        let (room, worker) = (self.clone(), needs.worker);
        let resume = Box::new(move |verdict| match verdict {
            Verdict::Admitted(admission) => {
                let held = Held {
                    _object: Some(admission),
                    _worker: None,
                };
                room.wait_for_worker(worker, held, work);
            }
            Verdict::Refused(why) => room.refuse(Place::Object, why, work),
        });
        self.queued(gate.enter(mode, Some(&self.objects), resume))
    }

    fn wait_for_worker(&self, worker: bool, mut held: Held, work: Work) -> Option<Ticket> {
        if !worker {
            self.host.spawn(Box::new(move || work(Ok(held))));
            return None;
        }
        let room = self.clone();
        let resume = Box::new(move |verdict| match verdict {
            Verdict::Admitted(admission) => {
                held._worker = Some(admission);
                room.host.spawn(Box::new(move || work(Ok(held))));
            }
            Verdict::Refused(why) => {
                drop(held);
                room.refuse(Place::Workers, why, work);
            }
        });
        self.queued(self.workers.enter(Mode::Read, Some(&self.calls), resume))
    }

    fn queued(&self, entry: Entry) -> Option<Ticket> {
        match entry {
            Entry::Ended(resume, verdict) => {
                resume(verdict);
                None
            }
            Entry::Queued(ticket) => {
                self.host.expire_after(self.wait, ticket.clone());
                Some(ticket)
            }
        }
    }

    fn refuse(&self, at: Place, why: Refusal, work: Work) {
        let patience = self.wait;
        self.host
            .spawn(Box::new(move || work(Err(Stuck { at, why, patience }))));
    }
}

impl Stuck {
    /// The answer to the call.
    pub(crate) fn exception(&self, object: &str) -> Exception {
        let whose = match self.at {
            Place::Object => format!("object {object} is busy"),
            Place::Workers => "all workers of the daemon are busy".to_owned(),
        };
        let text = match &self.why {
            Refusal::Full { queued } => {
                format!("{whose}: {queued} calls queued, as many as may wait")
            }
            Refusal::TooLong { queued } => {
                let waited = self.patience.as_secs_f64();
                format!("{whose}: {queued} calls queued, waited {waited:.1} s")
            }
            Refusal::Lost => format!("{whose}, and the caller is gone"),
        };
        Exception::new(TIMEOUT_ERROR, text)
    }
}
