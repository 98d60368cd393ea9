//! The lock of an object: calls that wait for it stand in a queue here, and occupy no thread.
//!
//! Readers are let in together, a writer alone, everybody in the order of arrival. The gate only
//! decides who may go in; the data itself lies behind a lock in [`Cell`](super::object::Cell) that,
//! thanks to the gate, is always free for whoever was let in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Who may go in, and who waits for it.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// How many readers may be inside.
    capacity: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::with_capacity(usize::MAX)
    }
}

#[derive(Default)]
struct State {
    readers: usize,
    writing: bool,
    queue: VecDeque<Waiter>,
    next_ticket: u64,
}

/// How somebody wants to use the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// `&self`: with other readers.
    Read,
    /// `&mut self`: alone.
    Write,
}

struct Waiter {
    mode: Mode,
    ticket: u64,
    resume: Resume,
    /// Counts the waiter in all queues of the daemon for as long as it waits.
    _counted: Option<Counted>,
}

/// What a waiter does when its waiting ends. Called by whoever ends it, so it must be short.
pub(crate) type Resume = Box<dyn FnOnce(Verdict) + Send>;

/// How a wait ended.
pub(crate) enum Verdict {
    /// It is the waiter's turn; others wait until the admission is dropped.
    Admitted(Admission),
    /// The wait was given up.
    Refused(Refusal),
}

/// Why a wait was given up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// As many calls wait already as may.
    Full { queued: usize },
    /// The wait took too long.
    TooLong { queued: usize },
    /// The caller is gone.
    Lost,
}

/// The right to be inside. Dropping it lets the next ones in.
pub(crate) struct Admission {
    gate: Arc<Gate>,
    mode: Mode,
}

/// Names one wait, so that it can be ended from outside.
#[derive(Clone)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    ticket: u64,
}

/// How long queues may become.
#[derive(Clone)]
pub(crate) struct QueueLimits {
    pub(crate) per_queue: usize,
    pub(crate) in_all: usize,
    pub(crate) queued_in_all: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate that lets no more than `capacity` readers in at a time.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity,
        }
    }

    /// Goes in if that is possible without waiting.
    pub(crate) fn try_enter(self: &Arc<Self>, mode: Mode) -> Option<Admission> {
        let mut state = self.state.lock();
        // Nobody overtakes: where somebody waits, newcomers wait behind.
        if !state.queue.is_empty() || !state.admits(mode, self.capacity) {
            return None;
        }
        state.admit(mode);
        drop(state);
        Some(Admission {
            gate: Arc::clone(self),
            mode,
        })
    }

    /// Goes in, or queues `resume` to be called when the turn comes.
    ///
    /// A `resume` that is not called because somebody is admitted at once comes back, as does one
    /// for which there is no room in the queue.
    pub(crate) fn enter(
        self: &Arc<Self>,
        mode: Mode,
        limits: Option<&QueueLimits>,
        resume: Resume,
    ) -> Entry {
        let mut state = self.state.lock();
        if state.queue.is_empty() && state.admits(mode, self.capacity) {
            state.admit(mode);
            drop(state);
            return Entry::Ended(
                resume,
                Verdict::Admitted(Admission {
                    gate: Arc::clone(self),
                    mode,
                }),
            );
        }
        let counted = match limits
            .map(|limits| limits.take_place(state.queue.len()))
            .transpose()
        {
            Ok(counted) => counted,
            Err(refusal) => return Entry::Ended(resume, Verdict::Refused(refusal)),
        };
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(Waiter {
            mode,
            ticket,
            resume,
            _counted: counted,
        });
        Entry::Queued(Ticket {
            gate: Arc::clone(self),
            ticket,
        })
    }

    /// Ends a wait that is not over yet.
    fn give_up(self: &Arc<Self>, ticket: u64, why: impl FnOnce(usize) -> Refusal) {
        let mut state = self.state.lock();
        let Some(position) = state.position(ticket) else {
            return;
        };
        let waiter = state
            .queue
            .remove(position)
            .expect("the position was just found");
        let queued = state.queue.len();
        // A writer that leaves may have been all that kept the readers behind it out.
        let admitted = state.admit_from_queue(self.capacity);
        drop(state);
        self.resume_all(admitted);
        (waiter.resume)(Verdict::Refused(why(queued + 1)));
    }

    fn leave(self: &Arc<Self>, mode: Mode) {
        let mut state = self.state.lock();
        match mode {
            Mode::Read => state.readers -= 1,
            Mode::Write => state.writing = false,
        }
        let admitted = state.admit_from_queue(self.capacity);
        drop(state);
        self.resume_all(admitted);
    }

    fn resume_all(self: &Arc<Self>, admitted: Vec<Waiter>) {
        for waiter in admitted {
            let admission = Admission {
                gate: Arc::clone(self),
                mode: waiter.mode,
            };
            (waiter.resume)(Verdict::Admitted(admission));
        }
    }
}

/// What came of [`Gate::enter`].
pub(crate) enum Entry {
    /// Admitted or refused on the spot; the caller resumes itself.
    Ended(Resume, Verdict),
    /// In the queue.
    Queued(Ticket),
}

impl State {
    fn admits(&self, mode: Mode, capacity: usize) -> bool {
        match mode {
            Mode::Read => !self.writing && self.readers < capacity,
            Mode::Write => !self.writing && self.readers == 0,
        }
    }

    fn admit(&mut self, mode: Mode) {
        match mode {
            Mode::Read => self.readers += 1,
            Mode::Write => self.writing = true,
        }
    }

    /// Where in the queue a wait stands. Tickets are given out in order, so the queue is sorted.
    fn position(&self, ticket: u64) -> Option<usize> {
        self.queue
            .binary_search_by_key(&ticket, |waiter| waiter.ticket)
            .ok()
    }

    /// Takes those from the head of the queue who can go in now.
    fn admit_from_queue(&mut self, capacity: usize) -> Vec<Waiter> {
        let mut admitted = Vec::new();
        while let Some(mode) = self.queue.front().map(|waiter| waiter.mode) {
            if !self.admits(mode, capacity) {
                break;
            }
            self.admit(mode);
            admitted.extend(self.queue.pop_front());
        }
        admitted
    }
}

impl QueueLimits {
    fn take_place(&self, queued: usize) -> Result<Counted, Refusal> {
        if queued >= self.per_queue {
            return Err(Refusal::Full { queued });
        }
        let before = self.queued_in_all.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.queued_in_all));
        if before >= self.in_all {
            Err(Refusal::Full { queued: before })
        } else {
            Ok(counted)
        }
    }
}

impl Ticket {
    /// The wait has taken as long as it may.
    pub(crate) fn expire(&self) {
        self.gate
            .give_up(self.ticket, |queued| Refusal::TooLong { queued });
    }

    /// Whether the wait still goes on.
    pub(crate) fn is_waiting(&self) -> bool {
        self.gate.state.lock().position(self.ticket).is_some()
    }

    /// The caller is gone.
    pub(crate) fn cancel(&self) {
        self.gate.give_up(self.ticket, |_| Refusal::Lost);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.gate.leave(self.mode);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Lets `modes` arrive in this order, ends the visits in order of admission, and tells what
    /// happened: `r0` for reader 0 going in, `-` for one leaving.
    fn check(modes: &str, expected: &str) {
        let gate = Arc::new(Gate::default());
        let (told, tells) = mpsc::channel();
        for (index, letter) in modes.chars().enumerate() {
            let mode = if letter == 'r' {
                Mode::Read
            } else {
                Mode::Write
            };
            let told = told.clone();
            let resume = move |verdict| {
                if let Verdict::Admitted(admission) = verdict {
                    told.send((format!("{letter}{index}"), admission)).unwrap();
                }
            };
            if let Entry::Ended(resume, verdict) = gate.enter(mode, None, Box::new(resume)) {
                resume(verdict);
            }
        }
        let mut inside = VecDeque::new();
        let mut story = Vec::new();
        loop {
            while let Ok((name, admission)) = tells.try_recv() {
                story.push(name);
                inside.push_back(admission);
            }
            if inside.pop_front().is_none() {
                break;
            }
            story.push("-".to_owned());
        }
        assert_eq!(story.join(" "), expected);
    }

    #[test]
    fn readers_go_in_together_and_writers_alone() {
        check("r", "r0 -");
        check("rr", "r0 r1 - -");
        check("ww", "w0 - w1 -");
        check("rw", "r0 - w1 -");
    }

    #[test]
    fn nobody_overtakes() {
        check("rwr", "r0 - w1 - r2 -");
        check("wrrwr", "w0 - r1 r2 - - w3 - r4 -");
    }

    #[test]
    fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
        let gate = Arc::new(Gate::default());
        let reading = gate.try_enter(Mode::Read).unwrap();
        let (told, tells) = mpsc::channel();
        let queue = |mode| {
            let told = told.clone();
            let resume = move |verdict| match verdict {
                Verdict::Admitted(admission) => {
                    drop(admission);
                    told.send("admitted").unwrap();
                }
                Verdict::Refused(refusal) => {
                    assert!(
                        matches!(refusal, Refusal::TooLong { queued: 2 }),
                        "{refusal:?}"
                    );
                    told.send("refused").unwrap();
                }
            };
            match gate.enter(mode, None, Box::new(resume)) {
                Entry::Queued(ticket) => ticket,
                Entry::Ended(..) => panic!("must wait"),
            }
        };
        let writer = queue(Mode::Write);
        queue(Mode::Read);
        writer.expire();
        writer.expire();
        drop(reading);
        assert_eq!(
            tells.try_iter().collect::<Vec<_>>(),
            ["admitted", "refused"]
        );
        assert!(gate.state.lock().queue.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_and_counts_stay_right() {
        let limits = QueueLimits {
            per_queue: 2,
            in_all: 3,
            queued_in_all: Arc::new(AtomicUsize::new(0)),
        };
        let gate = Arc::new(Gate::default());
        let writing = gate.try_enter(Mode::Write).unwrap();
        let arrive = || match gate.enter(Mode::Read, Some(&limits), Box::new(drop)) {
            Entry::Queued(_) => None,
            Entry::Ended(_, Verdict::Refused(refusal)) => Some(refusal),
            Entry::Ended(..) => panic!("admitted beside a writer"),
        };
        assert_eq!((arrive(), arrive()), (None, None));
        assert_eq!(arrive(), Some(Refusal::Full { queued: 2 }));
        assert_eq!(limits.queued_in_all.load(Ordering::Relaxed), 2);
        drop(writing);
        assert_eq!(limits.queued_in_all.load(Ordering::Relaxed), 0);
    }
}
