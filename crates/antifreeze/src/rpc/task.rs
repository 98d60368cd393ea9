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

use antifreeze_serial::Exception;
use antifreeze_sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::arguments::{ArgumentError, Arguments};
use super::class::Expose;
use super::exception::{self, PYRO_ERROR};
use super::host::Host;
use super::invocation::{Invocation, Job, Progress, Step};
use super::object::Cell;
use super::outcome::{Encoded, Finished, Out};
use super::pending::Pending;
use super::queue::{Reason, Ticket};
use super::room::{Access, Outside, Stuck};

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
        let cell: &Cell<T> = self.cell;
        self.begin(
            cell,
            decode,
            |object: &mut OwnedRwLockReadGuard<T>, arguments, out| body(object, arguments, out),
        )
    }

    /// Runs an async `&mut self` method.
    #[track_caller]
    pub fn write_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t mut T, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        let cell: &Cell<T> = self.cell;
        self.begin(
            cell,
            decode,
            |object: &mut OwnedRwLockWriteGuard<T>, arguments, out| body(object, arguments, out),
        )
    }

    /// Runs an async function without `self`, which needs no lock.
    pub fn free_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> Running<'static> + Send + 'static,
    ) -> Step {
        self.begin(&(), decode, |_: &mut Outside, arguments, out| {
            body(arguments, out)
        })
    }

    #[track_caller]
    fn begin<G: Access, A: Send + 'static>(
        self,
        of: &G::Of,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t mut G, A, Out) -> Running<'t> + Send + 'static,
    ) -> Step {
        let (mut job, arguments) = match self.decode(decode) {
            Ok(decoded) => decoded,
            Err(step) => return step,
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
        let answer = Answer {
            to: Some(Arc::clone(&pending)),
            host: Arc::clone(&room.host),
            ticket: ticket.clone(),
        };
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
struct Answer {
    to: Option<Arc<Pending>>,
    host: Arc<dyn Host>,
    ticket: Ticket,
}

impl Answer {
    /// Makes a task of the call.
    fn launch<G: Access>(
        self,
        job: Job,
        object: G,
        body: impl for<'t> FnOnce(&'t mut G, Out) -> Running<'t> + Send + 'static,
    ) {
        let runtime = match self.host.runtime() {
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

    fn give(mut self, finished: Finished) {
        self.ticket.close();
        self.deliver(finished);
    }

    fn deliver(&mut self, finished: Finished) {
        let Some(pending) = self.to.take() else {
            return;
        };
        if self.host.may_block() {
            // Whoever takes the answer there goes on with the connection, and may block.
            self.host
                .spawn(Box::new(move || pending.complete(finished)));
        } else {
            pending.complete(finished);
        }
    }
}

impl Drop for Answer {
    /// The task was dropped.
    fn drop(&mut self) {
        let why = match self.ticket.leave() {
            Some(Reason::Lost) => "the caller is gone",
            _ => "the daemon ended before the method did",
        };
        let exception = Exception::new(PYRO_ERROR, why);
        self.deliver(Finished::raised(exception));
    }
}

impl Job {
    /// Runs the method as the code that serves this call, wherever it is polled.
    async fn serve<F: Future<Output = Encoded>>(self, body: impl FnOnce(Out) -> F) -> Finished {
        let Self {
            out,
            serving,
            mut frame,
            subject,
            ..
        } = self;
        let running = caught(async move { body(out).await });
        let (result, annotations) = frame.frame().run(serving.around(running)).await;
        let outcome = result.unwrap_or_else(|panic| {
            Encoded::raised(exception::from_panic(&*panic, subject.member))
        });
        subject.finish(Finished::new(outcome, annotations))
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
