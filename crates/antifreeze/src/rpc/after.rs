//! What methods leave to be done after their reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use antifreeze_sync::Frame;
use tracing::{error, warn};

use super::exception;
use super::invocation::Subject;
use super::room::{Held, Outside, Room, Stuck};
use crate::call::Leftover;

/// Work that a call leaves behind. It begins when this is dropped: once the reply is written, or
/// cannot be.
#[derive(Default)]
pub(crate) struct After(Vec<Errand>);

/// What one call leaves behind: a call of its own.
struct Errand {
    room: Arc<Room>,
    subject: Subject,
    leftover: Leftover,
}

impl After {
    pub(super) fn new(room: Arc<Room>, subject: Subject, leftover: Option<Leftover>) -> Self {
        let errand = |leftover| Errand {
            room,
            subject,
            leftover,
        };
        Self(leftover.map(errand).into_iter().collect())
    }

    /// Adds what another call left, which comes later.
    pub(super) fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for After {
    fn drop(&mut self) {
        for errand in self.0.drain(..) {
            errand.begin();
        }
    }
}

impl Errand {
    /// Runs it on a worker, one piece of work after the other.
    fn begin(self) {
        let Self {
            room,
            subject: Subject { object, member, .. },
            leftover,
        } = self;
        let frame = Frame::new(format!("{object}.{member}, after its reply"));
        let waiting = frame.clone();
        let work = Box::new(move |entered: Result<Held<Outside>, Stuck>| {
            let _held = match entered {
                Ok(held) => held,
                Err(stuck) => {
                    let why = stuck.exception(&object).message();
                    return warn!(%object, member, why, "work after a reply was dropped");
                }
            };
            for (serving, work) in leftover {
                let run = || catch_unwind(AssertUnwindSafe(work));
                if let Err(panic) = frame.enter(|| serving.scope(run)) {
                    let message = exception::from_panic(&*panic, member).message();
                    error!(%object, member, message, "work after a reply panicked");
                }
            }
        });
        room.wait(&(), Some(Outside), &waiting, true, None, work);
    }
}
