//! The sessions of a proxy, and the queue of those who want one.
//!
//! With one session this is a fair lock; with several a fair pool. Whoever comes first is served
//! first, also when many threads share a proxy.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Sessions, each used by one at a time.
pub(crate) struct Sessions<S> {
    state: Mutex<State<S>>,
}

struct State<S> {
    free: Vec<Box<S>>,
    waiting: VecDeque<Arc<Place<S>>>,
}

/// Where somebody waits.
struct Place<S> {
    given: Mutex<Option<Box<S>>>,
    told: Condvar,
}

/// A session in use. Dropping it gives it to the next one.
pub(crate) struct Taken<'a, S> {
    sessions: &'a Sessions<S>,
    session: Option<Box<S>>,
}

impl<S> Sessions<S> {
    pub(crate) fn new(sessions: impl Iterator<Item = S>) -> Self {
        let free = sessions.map(Box::new).collect();
        Self {
            state: Mutex::new(State {
                free,
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Waits for a session; gives up at the deadline and says how many were ahead.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Result<Taken<'_, S>, usize> {
        let mut state = self.state.lock();
        if let Some(session) = state.free.pop() {
            return Ok(Taken {
                sessions: self,
                session: Some(session),
            });
        }
        let ahead = state.waiting.len() + 1;
        let place = Arc::new(Place {
            given: Mutex::new(None),
            told: Condvar::new(),
        });
        state.waiting.push_back(Arc::clone(&place));
        drop(state);

        let mut given = place.given.lock();
        let mut late = false;
        while given.is_none() && !late {
            match deadline {
                None => place.told.wait(&mut given),
                Some(deadline) => late = place.told.wait_until(&mut given, deadline).timed_out(),
            }
        }
        if given.is_none() {
            drop(given);
            // Nobody gives to a place that is not in the queue, so after this it is decided.
            self.state
                .lock()
                .waiting
                .retain(|other| !Arc::ptr_eq(other, &place));
            given = place.given.lock();
        }
        match given.take() {
            Some(session) => Ok(Taken {
                sessions: self,
                session: Some(session),
            }),
            None => Err(ahead),
        }
    }

    /// Does something with every session that nobody uses now.
    pub(crate) fn for_each_free(&self, f: impl FnMut(&mut S)) {
        let mut state = self.state.lock();
        state.free.iter_mut().map(Box::as_mut).for_each(f);
    }

    fn give_back(&self, session: Box<S>) {
        let mut state = self.state.lock();
        match state.waiting.pop_front() {
            Some(place) => {
                // Still under the queue's lock, so that who gives up cannot miss it.
                *place.given.lock() = Some(session);
                place.told.notify_one();
            }
            None => state.free.push(session),
        }
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
        if let Some(session) = self.session.take() {
            self.sessions.give_back(session);
        }
    }
}

/// When something that may take `limit` from now has to be over.
pub(crate) fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn those_who_wait_are_served_in_order() {
        let sessions = Sessions::new(std::iter::once(Vec::new()));
        let first = sessions.take(None).ok().unwrap();
        std::thread::scope(|scope| {
            for n in 0..5 {
                let sessions = &sessions;
                scope.spawn(move || sessions.take(None).ok().unwrap().push(n));
                while sessions.state.lock().waiting.len() <= n {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*sessions.take(None).ok().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_loses_nothing() {
        let sessions = Sessions::new(std::iter::once(()));
        let taken = sessions.take(None).ok().unwrap();
        let past = Some(Instant::now());
        assert_eq!(sessions.take(past).err(), Some(1));
        assert!(sessions.state.lock().waiting.is_empty());
        drop(taken);
        assert!(sessions.take(past).is_ok());
    }

    #[test]
    fn a_pool_lends_as_many_as_it_has() {
        let sessions = Sessions::new([(), ()].into_iter());
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
