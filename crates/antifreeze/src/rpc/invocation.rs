//! One call of one member: decode the arguments, take the object's lock, run, encode, let go.
//!
//! If the lock or a worker is not free the call is queued, as a closure, and the thread that brought
//! it goes on with other work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use antifreeze_serial::Exception;
use tracing::error;

use super::arguments::{ArgumentError, Arguments};
use super::class::Expose;
use super::exception;
use super::gate::{Mode, Ticket};
use super::object::Cell;
use super::outcome::{Encoded, Finished, Out, Outcome};
use super::pending::Pending;
use super::room::{Held, Needs, Room, Stuck};
use crate::call::Serving;

/// A call on its way to a method of `T`.
pub struct Invocation<'a, T: 'static> {
    pub(crate) cell: &'a Arc<Cell<T>>,
    pub(crate) arguments: Arguments<'a>,
    pub(crate) job: Job,
}

/// How far a call has come.
pub struct Step(pub(crate) Progress);

pub(crate) enum Progress {
    Done(Finished),
    /// The object has no such member that may be used.
    Missing(Exception),
    /// It waits for its object. The ticket is none if the wait is over already.
    Parked(Arc<Pending>, Option<Ticket>),
}

/// What goes with a call, wherever it runs.
pub(crate) struct Job {
    pub(crate) out: Out,
    pub(crate) serving: Serving,
    pub(crate) subject: Subject,
    pub(crate) room: Arc<Room>,
    pub(crate) started: Option<Started>,
}

/// Called when a oneway call has taken its place, so that what follows it may come.
pub(crate) type Started = Box<dyn FnOnce() + Send>;

/// What is called, for error texts.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) object: Arc<str>,
    pub(crate) class: &'static str,
    pub(crate) member: &'static str,
    pub(crate) quick: bool,
    pub(crate) callback: bool,
}

impl<T: Expose> Invocation<'_, T> {
    /// Runs a `&self` method.
    pub fn read<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.enter(Some(Mode::Read), decode, move |cell, arguments, out| {
            body(&cell.read(), arguments, out)
        })
    }

    /// Runs a `&mut self` method.
    pub fn write<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&mut T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.enter(Some(Mode::Write), decode, move |cell, arguments, out| {
            body(&mut cell.write(), arguments, out)
        })
    }

    /// Runs a function without `self`, which needs no lock.
    pub fn free<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.enter(None, decode, move |_, arguments, out| body(arguments, out))
    }

    fn enter<A: Send + 'static>(
        mut self,
        mode: Option<Mode>,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&Cell<T>, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        // Types of the user's decode themselves here, so a panic is possible.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(&mut self.arguments)));
        let arguments = match decoded {
            Ok(Ok(arguments)) => arguments,
            Ok(Err(error)) => return Step::done(self.job.raise(error.into())),
            Err(panic) => {
                let exception = exception::from_panic(&*panic, self.job.subject.member);
                return Step::done(self.job.raise(exception));
            }
        };
        let Self { cell, mut job, .. } = self;
        let needs = Needs {
            object: cell.gate.as_ref().zip(mode),
            worker: !job.subject.quick,
        };
        let room = Arc::clone(&job.room);
        let held = match room.try_enter(needs) {
            Ok(held) => {
                job.start();
                let finished = job.perform(|out| body(cell, arguments, out));
                drop(held);
                return Step::done(finished);
            }
            Err(held) => held,
        };
        let pending = Arc::new(Pending::default());
        let work = {
            let (cell, pending) = (Arc::clone(cell), Arc::clone(&pending));
            Box::new(move |entered: Result<Held, Stuck>| {
                let finished = match entered {
                    Ok(held) => {
                        let finished = job.perform(|out| body(&cell, arguments, out));
                        // The lock is free before the reply is written.
                        drop(held);
                        finished
                    }
                    Err(stuck) => {
                        let exception = stuck.exception(&job.subject.object);
                        job.raise(exception)
                    }
                };
                pending.complete(finished);
            })
        };
        let ticket = room.wait(needs, held, work);
        Step(Progress::Parked(pending, ticket))
    }
}

impl Step {
    pub(crate) fn done(finished: Finished) -> Self {
        Self(Progress::Done(finished))
    }
}

impl Job {
    /// The call has taken its place: what follows a oneway may come.
    fn start(&mut self) {
        if let Some(started) = self.started.take() {
            started();
        }
    }

    /// Runs the method as the code that serves this call.
    fn perform(self, body: impl FnOnce(Out) -> Encoded) -> Finished {
        let Self {
            out,
            serving,
            subject,
            ..
        } = self;
        let (result, annotations) = serving.scope(|| catch_unwind(AssertUnwindSafe(|| body(out))));
        let outcome = result.unwrap_or_else(|panic| {
            Encoded::raised(exception::from_panic(&*panic, subject.member))
        });
        subject.finish(Finished::new(outcome, annotations))
    }

    pub(crate) fn raise(self, exception: Exception) -> Finished {
        self.subject.finish(Finished::raised(exception))
    }
}

impl Subject {
    /// Gives an exception its traceback, and ends the connection where Pyro does.
    fn finish(&self, mut finished: Finished) -> Finished {
        if let Encoded(Outcome::Raised(exception)) = &mut finished.outcome {
            let Self {
                object,
                class,
                member,
                ..
            } = self;
            exception::finish_traceback(exception, object, format_args!("{class}.{member}"));
            if self.callback {
                error!(%object, method = member, class = %exception.class, "a callback raised");
                finished.close = true;
            }
        }
        finished
    }
}
