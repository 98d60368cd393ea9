//! One call of one member: decode the arguments, take the object's lock, run, encode, let go.
//!
//! If the lock or a worker is not free the call is queued, as a closure, and the thread that brought
//! it goes on with other work. Waiting or running, the call is a frame of its own: what it holds and
//! what it waits for is known.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use antifreeze_serial::Exception;
use antifreeze_sync::frame::LazyFrame;
use antifreeze_sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};
use tracing::error;

use super::after::After;
use super::arguments::{ArgumentError, Arguments};
use super::class::Expose;
use super::exception;
use super::local::Local;
use super::object::Cell;
use super::outcome::{Encoded, Finished, Out, Outcome};
use super::pending::Pending;
use super::queue::Ticket;
use super::room::{Access, FailedCall, Held, Outside, Passing, Room, Stuck, Work};
use super::streams::is_end_of_stream;
use crate::call::{self, Left, Serving};

/// A call on its way to a method of `T`.
pub struct Invocation<'a, T: 'static> {
    pub(crate) target: Target<'a, T>,
    pub(crate) arguments: Arguments<'a>,
    pub(crate) job: Job,
}

/// The object that a call is for.
pub(crate) enum Target<'a, T> {
    /// Any thread may use it.
    Shared(&'a Cell<T>),
    /// It has a thread of its own.
    Local(&'a Local<T>),
}

impl<T> Clone for Target<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Target<'_, T> {}

/// How far a call has come.
pub struct Step(pub(crate) Progress);

pub(crate) enum Progress {
    Done(Finished),
    /// The object has no such member that may be used.
    Missing(Exception),
    /// It waits for its object, or runs elsewhere. The ticket is none if it does not wait.
    Parked(Arc<Pending>, Option<Ticket>),
}

/// What goes with a call, wherever it runs.
pub(crate) struct Job {
    pub(crate) out: Out,
    pub(crate) serving: Serving,
    pub(crate) frame: LazyFrame,
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
    #[track_caller]
    pub fn read<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.read_local(decode, body),
            Target::Shared(cell) => self.enter(
                cell,
                decode,
                |object: &mut OwnedRwLockReadGuard<T>, arguments, out| body(object, arguments, out),
            ),
        }
    }

    /// Runs a `&self` method that is `#[lock(none)]`: it waits for no writer but one that runs.
    #[track_caller]
    pub fn read_past<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.read_local(decode, body),
            Target::Shared(cell) => {
                self.enter(cell, decode, |object: &mut Passing<T>, arguments, out| {
                    body(&object.0, arguments, out)
                })
            }
        }
    }

    /// Runs a `&mut self` method.
    #[track_caller]
    pub fn write<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&mut T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.write_local(decode, body),
            Target::Shared(cell) => self.enter(
                cell,
                decode,
                |object: &mut OwnedRwLockWriteGuard<T>, arguments, out| {
                    body(object, arguments, out)
                },
            ),
        }
    }

    /// Runs a function without `self`, which needs no lock.
    pub fn free<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.free_local(decode, body),
            Target::Shared(_) => self.enter(&(), decode, |_: &mut Outside, arguments, out| {
                body(arguments, out)
            }),
        }
    }

    #[inline]
    #[track_caller]
    fn enter<G: Access, A: Send + 'static>(
        self,
        of: &G::Of,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&mut G, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        let Self {
            arguments, mut job, ..
        } = self;
        let arguments = match job.decode(arguments, decode) {
            Ok(arguments) => arguments,
            Err(exception) => return Step::done(job.raise(exception)),
        };
        let worker = !job.subject.quick;
        let room = Arc::clone(&job.room);
        let entered = match room.try_enter::<G>(of, job.frame.id(), worker) {
            Ok(mut held) => {
                job.start();
                if !worker || room.host.may_block() {
                    let finished = job.perform(|out| body(&mut held.object, arguments, out));
                    drop(held);
                    return Step::done(finished);
                }
                Ok(held)
            }
            // Only who waits has to be known to others.
            Err(had) => Err((had, job.frame.frame().clone())),
        };
        let deadline = job.serving.deadline;
        let started = job.started.take();
        let pending = Arc::new(Pending::default());
        let work: Work<G> = {
            let pending = Arc::clone(&pending);
            Box::new(move |entered: Result<Held<G>, Stuck>| {
                let finished = match entered {
                    Ok(mut held) => {
                        let finished = job.perform(|out| body(&mut held.object, arguments, out));
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
        let ticket = match entered {
            Ok(held) => {
                room.run(held, deadline, work);
                None
            }
            Err((had, frame)) => room.wait(of, had, &frame, worker, deadline, work),
        };
        if let Some(started) = started {
            started();
        }
        Step(Progress::Parked(pending, ticket))
    }
}

impl Step {
    pub(crate) fn done(finished: Finished) -> Self {
        Self(Progress::Done(finished))
    }
}

impl Job {
    /// Decodes the arguments. The error is the end of the call.
    #[inline]
    pub(super) fn decode<A>(
        &self,
        mut arguments: Arguments<'_>,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
    ) -> Result<A, Exception> {
        // Types of the user's decode themselves here, so a panic is possible.
        let decoded = call::decoding(&self.serving.peer, || {
            catch_unwind(AssertUnwindSafe(|| decode(&mut arguments)))
        });
        match decoded {
            Ok(decoded) => decoded.map_err(Exception::from),
            Err(panic) => Err(exception::from_panic(&*panic, self.subject.member)),
        }
    }

    /// The call has taken its place: what follows a oneway may come.
    pub(super) fn start(&mut self) {
        if let Some(started) = self.started.take() {
            started();
        }
    }

    /// Runs the method as the code that serves this call.
    pub(super) fn perform(self, body: impl FnOnce(Out) -> Encoded) -> Finished {
        let Self {
            out,
            serving,
            frame,
            subject,
            room,
            ..
        } = self;
        let run = || {
            let result = catch_unwind(AssertUnwindSafe(|| body(out)));
            subject.outcome(&room, result)
        };
        let (outcome, left) = frame.enter(|| serving.serve(run));
        subject.conclude(room, outcome, left)
    }

    pub(crate) fn raise(self, exception: Exception) -> Finished {
        let Self {
            serving,
            subject,
            room,
            ..
        } = self;
        subject.tell(&room, &exception, || Some(serving));
        subject.finish(Finished::raised(exception))
    }
}

impl Subject {
    /// What a method returned, or what its panic becomes. Tells the user's hook of an error.
    pub(super) fn outcome(&self, room: &Arc<Room>, result: thread::Result<Encoded>) -> Encoded {
        let outcome = result
            .unwrap_or_else(|panic| Encoded::raised(exception::from_panic(&*panic, self.member)));
        if let Encoded(Outcome::Raised(exception)) = &outcome {
            self.tell(room, exception, call::serving);
        }
        outcome
    }

    /// Has the user's hook told of an error, on a worker and as code on behalf of the call.
    fn tell(
        &self,
        room: &Arc<Room>,
        exception: &Exception,
        serving: impl FnOnce() -> Option<Serving>,
    ) {
        if room.on_error.is_none() || is_end_of_stream(self, exception) {
            return;
        }
        let Some(mut serving) = serving() else { return };
        // Nobody waits for it.
        serving.deadline = None;
        serving.source = None;
        let (subject, room, exception) = (self.clone(), Arc::clone(room), exception.clone());
        let host = Arc::clone(&room.host);
        // This may be an event loop or the detector, or hold the lock of a queue, so that not even the
        // workers can be asked for a place here.
        host.spawn(Box::new(move || {
            let place = Arc::clone(&room);
            place.run_eventually("on_error", move || {
                serving.scope(|| subject.tell_now(&room, &exception));
            });
        }));
    }

    fn tell_now(&self, room: &Room, exception: &Exception) {
        let Some(hook) = &room.on_error else { return };
        let failed = FailedCall {
            object: &self.object,
            member: self.member,
            exception,
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(&failed))) {
            let message = exception::from_panic(&*panic, "on_error").message();
            error!(message, "the hook for errors panicked");
        }
    }

    /// Makes an end of what came of a method.
    pub(super) fn conclude(&self, room: Arc<Room>, mut outcome: Encoded, left: Left) -> Finished {
        if let Encoded(Outcome::Stream(stream)) = &mut outcome {
            stream.name = format!("{}.{}", self.object, self.member).into();
            stream.quick = self.quick;
            stream.room = Some(Arc::clone(&room));
        }
        let mut finished = Finished::new(outcome, left.annotations);
        if left.after.is_some() {
            finished.after = After::new(room, self.clone(), left.after);
        }
        self.finish(finished)
    }

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
