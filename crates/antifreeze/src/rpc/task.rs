//! Async methods: calls that run as tasks, and hold their object wherever they await something.
//!
//! Such a call takes no worker, because it occupies no thread. If its object is not free, it is queued
//! there like any other, and becomes a task when its turn has come. Dropping the task is how it is
//! ended from outside: the object is let go, and whoever waits for an answer is told why.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_serial::Exception;
use antifreeze_sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::arguments::{ArgumentError, Arguments};
use super::class::Expose;
use super::exception::{self, PYRO_ERROR, TIMEOUT_ERROR};
use super::invocation::{Invocation, Job, Progress, Step, Target};
use super::outcome::{Encoded, Finished, Out};
use super::pending::Pending;
use super::queue::{Queue, Reason, Refusal, Ticket};
use super::room::{Access, Outside, Passing, Room, Stuck};

/// A method that runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = Encoded> + Send + 'a>>;

impl<T: Expose> Invocation<'_, T> {
    /// Runs an async `&self` method.
    #[track_caller]
    pub fn read_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t T, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.read_local_async(decode, |object, arguments, out| {
                body(object, arguments, out)
            }),
            Target::Shared(cell) => self.begin(
                cell,
                decode,
                |object: &mut OwnedRwLockReadGuard<T>, arguments, out| body(object, arguments, out),
            ),
        }
    }

    /// Runs an async `&self` method that is `#[lock(none)]`.
    #[track_caller]
    pub fn read_past_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t T, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.read_local_async(decode, |object, arguments, out| {
                body(object, arguments, out)
            }),
            Target::Shared(cell) => {
                self.begin(cell, decode, |object: &mut Passing<T>, arguments, out| {
                    body(&object.0, arguments, out)
                })
            }
        }
    }

    /// Runs an async `&mut self` method.
    #[track_caller]
    pub fn write_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t mut T, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => self.write_local_async(decode, |object, arguments, out| {
                body(object, arguments, out)
            }),
            Target::Shared(cell) => self.begin(
                cell,
                decode,
                |object: &mut OwnedRwLockWriteGuard<T>, arguments, out| {
                    body(object, arguments, out)
                },
            ),
        }
    }

    /// Runs an async function without `self`, which needs no lock.
    pub fn free_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> Running<'static> + Send + 'static,
    ) -> Step {
        match self.target {
            Target::Local(_) => {
                self.free_local_async(decode, |arguments, out| body(arguments, out))
            }
            Target::Shared(_) => self.begin(&(), decode, |_: &mut Outside, arguments, out| {
                body(arguments, out)
            }),
        }
    }

    #[track_caller]
    fn begin<G: Access, A: Send + 'static>(
        self,
        of: &G::Of,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t mut G, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        let Self {
            arguments, mut job, ..
        } = self;
        let arguments = match job.decode(arguments, decode) {
            Ok(arguments) => arguments,
            Err(exception) => return Step::done(job.raise(exception)),
        };
        let room = Arc::clone(&job.room);
        let frame = job.frame.frame().clone();
        let (pending, ticket) = (Arc::new(Pending::default()), Ticket::default());
        let deadline = job.serving.deadline;
        let object = G::try_enter(of, frame.id());
        if object.is_some() {
            job.start();
        }
        let started = job.started.take();
        let answer = Answer::new(&pending, &ticket, &job, None);
        let launch = move |entered: Result<G, Stuck>| match entered {
            Ok(object) => answer.launch(job, object, |object, out| body(object, arguments, out)),
            Err(stuck) => {
                let exception = stuck.exception(&job.subject.object);
                answer.give(job.raise(exception));
            }
        };
        match object {
            Some(object) => launch(Ok(object)),
            None => room.wait_for_object(of, &frame, &ticket, deadline, launch),
        }
        if let Some(started) = started {
            started();
        }
        Step(Progress::Parked(pending, Some(ticket)))
    }
}

/// The duty to answer a call, whatever becomes of its task.
pub(super) struct Answer {
    to: Option<Arc<Pending>>,
    ticket: Ticket,
    room: Arc<Room>,
    object: Arc<str>,
    /// Those who wait for the object if its task does, and how long it may.
    queue: Option<(Queue, Duration)>,
}

impl Answer {
    pub(super) fn new(
        to: &Arc<Pending>,
        ticket: &Ticket,
        job: &Job,
        queue: Option<(Queue, Duration)>,
    ) -> Self {
        Self {
            to: Some(Arc::clone(to)),
            ticket: ticket.clone(),
            room: Arc::clone(&job.room),
            object: Arc::clone(&job.subject.object),
            queue,
        }
    }

    /// Makes a task of the call.
    fn launch<G: Access>(
        self,
        job: Job,
        object: G,
        body: impl for<'t> FnOnce(&'t mut G, Out) -> Running<'t> + Send + 'static,
    ) {
        let runtime = match self.room.host.runtime() {
            Ok(runtime) => runtime,
            Err(why) => {
                drop(object);
                let text = format!("no async method can run: {why}");
                return self.give(job.raise(Exception::new(PYRO_ERROR, text)));
            }
        };
        let ticket = self.ticket.clone();
        ticket.grant();
        let task = runtime.spawn(async move {
            // They go in the opposite order, also if the task is dropped: first the object is free.
            let answer = self;
            let mut object = object;
            let finished = job.serve(|out| body(&mut object, out)).await;
            drop(object);
            answer.give(finished);
        });
        ticket.run(task.abort_handle());
    }

    pub(super) fn give(mut self, finished: Finished) {
        self.ticket.close();
        self.deliver(finished);
    }

    fn deliver(&mut self, finished: Finished) {
        let Some(pending) = self.to.take() else {
            return;
        };
        let host = &self.room.host;
        if host.may_block() {
            // Whoever takes the answer there goes on with the connection, and may block.
            host.spawn(Box::new(move || pending.complete(finished)));
        } else {
            pending.complete(finished);
        }
    }
}

impl Drop for Answer {
    /// The task was dropped, unless it has answered.
    fn drop(&mut self) {
        if self.to.is_none() {
            return;
        }
        let exception = match (self.ticket.leave(), &self.queue) {
            (Some(Reason::TooLong), Some((queue, patience))) => {
                // It has left the queue already.
                let queued = queue.len() + 1;
                let stuck = Stuck::at_object(Refusal::TooLong { queued }, *patience);
                stuck.exception(&self.object)
            }
            (Some(reason), _) => exception::ended(reason),
            (None, _) => Exception::new(PYRO_ERROR, "the daemon ended before the method did"),
        };
        self.deliver(Finished::raised(exception));
    }
}

impl Job {
    /// Runs the method as the code that serves this call, wherever it is polled.
    pub(super) async fn serve<F: Future<Output = Encoded>>(
        self,
        body: impl FnOnce(Out) -> F,
    ) -> Finished {
        let Self {
            out,
            serving,
            mut frame,
            subject,
            room,
            ..
        } = self;
        let running = async {
            let result = caught(async move { body(out).await }).await;
            subject.outcome(&room, result)
        };
        let deadline = serving.deadline;
        let call = frame.frame().run(serving.serve_async(running));
        let ended = in_time(deadline, call).await;
        match ended {
            Some((outcome, left)) => subject.conclude(room, outcome, left),
            None => {
                let text = "the time of the caller was over before the method had ended";
                Finished::raised(Exception::new(TIMEOUT_ERROR, text))
            }
        }
    }
}

/// What comes of the future, if it comes until then.
///
/// The timer is outside of the call, which would else wait for something that is not known.
async fn in_time<F: Future>(deadline: Option<Instant>, call: F) -> Option<F::Output> {
    match deadline {
        Some(at) => tokio::time::timeout_at(at.into(), call).await.ok(),
        None => Some(call.await),
    }
}

/// The future, or its panic.
async fn caught<F: Future>(future: F) -> thread::Result<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = || future.as_mut().poll(context);
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}
