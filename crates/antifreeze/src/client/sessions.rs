//! The sessions of a proxy, and the queue of those who want one.
//!
//! With one session this is a fair lock; with several a fair pool. Whoever comes first is served
//! first, also when many threads share a proxy. Who uses a session, and who waits for one, is known
//! like everything that is waited for: if that could never end, it is an error.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use antifreeze_sync::{BoundedSemaphore, LockError, Permit};
use parking_lot::Mutex;

/// Sessions, each used by one at a time.
pub(crate) struct Sessions<S> {
    free: Mutex<Vec<Box<S>>>,
    /// As many as there are.
    turns: BoundedSemaphore,
    waiting: AtomicUsize,
}

/// A session in use. Dropping it gives it to the next one.
pub(crate) struct Taken<'a, S> {
    sessions: &'a Sessions<S>,
    session: Option<Box<S>>,
    /// It is let go after the session was put back.
    _turn: Permit<'a>,
}

/// A wait for a session that ended without one.
pub(crate) struct Unavailable {
    pub(crate) why: LockError,
    /// How many came first.
    pub(crate) ahead: usize,
}

impl<S> Sessions<S> {
    /// The sessions of a proxy of this name.
    pub(crate) fn new(name: impl Into<String>, sessions: impl Iterator<Item = S>) -> Self {
        let free: Vec<_> = sessions.map(Box::new).collect();
        let turns = u32::try_from(free.len()).unwrap_or(u32::MAX);
        Self {
            turns: BoundedSemaphore::new(turns).with_name(name),
            free: Mutex::new(free),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a session, but no longer than until `deadline`.
    #[track_caller]
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Result<Taken<'_, S>, Unavailable> {
        let turn = match self.turns.try_acquire() {
            Some(turn) => turn,
            None => {
                let ahead = 1 + self.waiting.fetch_add(1, Ordering::Relaxed);
                let turn = match deadline {
                    None => self.turns.acquire(),
                    Some(deadline) => self.turns.acquire_until(deadline),
                };
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                turn.map_err(|why| Unavailable { why, ahead })?
            }
        };
        Ok(self.lend(turn))
    }

    /// A session, if one is free now.
    #[track_caller]
    pub(crate) fn try_take(&self) -> Option<Taken<'_, S>> {
        self.turns.try_acquire().map(|turn| self.lend(turn))
    }

    fn lend<'a>(&'a self, turn: Permit<'a>) -> Taken<'a, S> {
        Taken {
            sessions: self,
            session: self.free.lock().pop(),
            _turn: turn,
        }
    }

    /// Does something with every session that nobody uses now.
    pub(crate) fn for_each_free(&self, f: impl FnMut(&mut S)) {
        self.free.lock().iter_mut().map(Box::as_mut).for_each(f);
    }
}

impl<S> Deref for Taken<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        self.session.as_deref().expect("taken until dropped")
    }
}

impl<S> DerefMut for Taken<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        self.session.as_deref_mut().expect("taken until dropped")
    }
}

impl<S> Drop for Taken<'_, S> {
    fn drop(&mut self) {
        self.sessions.free.lock().extend(self.session.take());
    }
}

/// When something that may take `limit` from now has to be over.
pub(crate) fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[test]
    fn those_who_wait_are_served_in_order() {
        let sessions = Sessions::new("proxy", std::iter::once(Vec::new()));
        let first = sessions.take(None).ok().unwrap();
        std::thread::scope(|scope| {
            for n in 0..5 {
                let sessions = &sessions;
                scope.spawn(move || sessions.take(None).ok().unwrap().push(n));
                while sessions.waiting.load(Ordering::Relaxed) <= n {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*sessions.take(None).ok().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_loses_nothing() {
        let sessions = Sessions::new("proxy", std::iter::once(()));
        let taken = sessions.take(None).ok().unwrap();
        let past = Some(Instant::now());
        std::thread::scope(|scope| {
            let late = scope.spawn(|| sessions.take(past).err().unwrap());
            let Unavailable { why, ahead } = late.join().unwrap();
            assert!(matches!(why, LockError::Timeout) && ahead == 1);
        });
        assert_eq!(sessions.waiting.load(Ordering::Relaxed), 0);
        drop(taken);
        assert!(sessions.take(past).is_ok());
    }

    #[test]
    fn who_waits_for_a_session_for_ever_is_told() {
        let sessions = Sessions::new("proxy", std::iter::once(()));
        let lock = antifreeze_sync::Mutex::new(());
        let meeting = Barrier::new(2);
        let told = std::thread::scope(|scope| {
            let one = scope.spawn(|| {
                let _taken = sessions.take(None).ok().unwrap();
                meeting.wait();
                lock.lock().err()
            });
            let other = scope.spawn(|| {
                let _held = lock.lock().unwrap();
                meeting.wait();
                sessions.take(None).err().map(|unavailable| unavailable.why)
            });
            [one, other].map(|thread| thread.join().unwrap())
        });
        let told: Vec<_> = told.into_iter().flatten().collect();
        let [LockError::Deadlock(report)] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            report.to_string().contains("BoundedSemaphore \"proxy\""),
            "{report}"
        );
    }

    #[test]
    fn a_pool_lends_as_many_as_it_has() {
        let sessions = Sessions::new("proxy", [(), ()].into_iter());
        let (told, tells) = mpsc::channel();
        let taken = (
            sessions.take(None).ok().unwrap(),
            sessions.take(None).ok().unwrap(),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| told.send(sessions.take(None).is_ok()).unwrap());
            drop(taken.1);
            assert!(tells.recv().unwrap());
        });
    }
}
