//! Cooperative objects: each lives on one thread of its own, where nothing switches between two awaits.
//!
//! All calls of such an object are tasks of its thread, so it need be neither `Send` nor `Sync`. What
//! its methods take of it is governed by the same lock as everywhere: `&mut self` has the object alone
//! also while it awaits something. A call is a frame that waits as a task, and takes no worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::{io, thread};

use antifreeze_sync::{LockError, RwLock};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::arguments::{ArgumentError, Arguments};
use super::class::ExposeLocal;
use super::exception;
use super::invocation::{Invocation, Progress, Step, Target};
use super::object;
use super::outcome::{Encoded, Out};
use super::pending::Pending;
use super::queue::{Place, Queue, Ticket};
use super::room::Stuck;
use super::task::Answer;

/// The way to an object that lives on a thread of its own, which ends with the last call after this is
/// dropped.
pub(crate) struct Local<T> {
    visits: mpsc::UnboundedSender<Visit<T>>,
    pub(super) queue: Queue,
}

/// A method that runs on the thread of its object.
pub(super) type LocalRunning<'a> = Pin<Box<dyn Future<Output = Encoded> + 'a>>;

/// The object, where it lives.
type Home<T> = Rc<RwLock<T>>;

/// Goes to the object's thread, and starts a task there.
type Visit<T> = Box<dyn FnOnce(&Home<T>) + Send>;

impl<T: ExposeLocal> Local<T> {
    /// Starts a thread, and makes the object there.
    ///
    /// # Errors
    ///
    /// There is no thread to be had, or `make` panicked.
    pub(crate) fn start(make: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (visits, visitors) = mpsc::unbounded_channel();
        let (tell, told) = threads::sync_channel(1);
        let name = format!("antifreeze-{}", T::class().name);
        thread::Builder::new().name(name).spawn(move || {
            let built = runtime::Builder::new_current_thread().enable_all().build();
            match built {
                Ok(runtime) => {
                    let tasks = LocalSet::new();
                    tasks.block_on(&runtime, live(make, &tell, visitors));
                    // Whoever is still inside may end.
                    runtime.block_on(tasks);
                }
                Err(why) => tell_once(&tell, Err(why)),
            }
        })?;
        let gone = |_| Err(io::Error::other("its thread ended at once"));
        told.recv().unwrap_or_else(gone)?;
        Ok(Self {
            visits,
            queue: Queue::default(),
        })
    }
}

/// The life of an object: it is made, and visited until nobody can come any more.
async fn live<T: ExposeLocal>(
    make: impl FnOnce() -> T,
    tell: &threads::SyncSender<io::Result<()>>,
    mut visitors: mpsc::UnboundedReceiver<Visit<T>>,
) {
    let home = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(object) => Rc::new(object::lock_of(object)),
        Err(panic) => {
            let text = exception::from_panic(&*panic, "register_local").message();
            return tell_once(tell, Err(io::Error::other(text)));
        }
    };
    tell_once(tell, Ok(()));
    while let Some(visit) = visitors.recv().await {
        visit(&home);
    }
}

fn tell_once(tell: &threads::SyncSender<io::Result<()>>, what: io::Result<()>) {
    // Whoever asked waits for it.
    let _ = tell.send(what);
}

/// A call that stands before its object.
struct Entry {
    ticket: Ticket,
    _place: Place,
}

impl Entry {
    /// It is inside now.
    fn pass(self) {
        self.ticket.pass();
    }
}

impl<T: ExposeLocal> Invocation<'_, T> {
    /// Runs a `&self` method of an object that has a thread of its own.
    pub fn read_local<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.visit(decode, |home, arguments, out, entry| async move {
            let object = home.read_async().await?;
            entry.pass();
            Ok(body(&object, arguments, out))
        })
    }

    /// Runs a `&mut self` method of an object that has a thread of its own.
    pub fn write_local<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(&mut T, A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.visit(decode, |home, arguments, out, entry| async move {
            let mut object = home.write_async().await?;
            entry.pass();
            Ok(body(&mut object, arguments, out))
        })
    }

    /// Runs a function without `self` where the objects of its type live.
    pub fn free_local<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> Encoded + Send + 'static,
    ) -> Step {
        self.visit(decode, |_, arguments, out, entry| async move {
            entry.pass();
            Ok(body(arguments, out))
        })
    }

    /// Runs an async `&self` method of an object that has a thread of its own.
    pub fn read_local_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t T, A, Out) -> LocalRunning<'t> + Send + 'static,
    ) -> Step {
        self.visit(decode, |home, arguments, out, entry| async move {
            let object = home.read_async().await?;
            entry.pass();
            Ok(body(&object, arguments, out).await)
        })
    }

    /// Runs an async `&mut self` method of an object that has a thread of its own.
    pub fn write_local_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl for<'t> FnOnce(&'t mut T, A, Out) -> LocalRunning<'t> + Send + 'static,
    ) -> Step {
        self.visit(decode, |home, arguments, out, entry| async move {
            let mut object = home.write_async().await?;
            entry.pass();
            Ok(body(&mut object, arguments, out).await)
        })
    }

    /// Runs an async function without `self` where the objects of its type live.
    pub fn free_local_async<A: Send + 'static>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(A, Out) -> LocalRunning<'static> + Send + 'static,
    ) -> Step {
        self.visit(decode, |_, arguments, out, entry| async move {
            entry.pass();
            Ok(body(arguments, out).await)
        })
    }

    /// Sends the call to the object's thread, where it becomes a task. Calls start in the order in
    /// which they were sent.
    fn visit<A: Send + 'static, F>(
        self,
        decode: impl FnOnce(&mut Arguments<'_>) -> Result<A, ArgumentError>,
        body: impl FnOnce(Home<T>, A, Out, Entry) -> F + Send + 'static,
    ) -> Step
    where
        F: Future<Output = Result<Encoded, LockError>> + 'static,
    {
        let Target::Local(local) = self.target else {
            unreachable!("an object under `#[expose(local)]` can only be registered as a local one")
        };
        let Self {
            arguments, mut job, ..
        } = self;
        let arguments = match job.decode(arguments, decode) {
            Ok(arguments) => arguments,
            Err(exception) => return Step::done(job.raise(exception)),
        };
        let patience = job.room.patience(job.serving.deadline);
        let place = match job.room.objects.take_place(&local.queue) {
            Ok(place) => place,
            Err(why) => {
                let stuck = Stuck::at_object(why, patience);
                let exception = stuck.exception(&job.subject.object);
                return Step::done(job.raise(exception));
            }
        };
        let (pending, ticket) = (Arc::new(Pending::default()), Ticket::default());
        let (room, started) = (Arc::clone(&job.room), job.started.take());
        let answer = Answer::new(
            &pending,
            &ticket,
            &job,
            Some((local.queue.clone(), patience)),
        );
        let entry = Entry {
            ticket: ticket.clone(),
            _place: place,
        };
        let theirs = ticket.clone();
        let visit: Visit<T> = Box::new(move |home| {
            let home = Rc::clone(home);
            let task = spawn_local(async move {
                // If the task is dropped, the call leaves the queue before it is answered.
                let entry = entry;
                let answer = answer;
                let finished = job
                    .serve(|out| async move {
                        let outcome = body(home, arguments, out, entry).await;
                        outcome.unwrap_or_else(|error| {
                            Encoded::raised(exception::from_lock_error(&error))
                        })
                    })
                    .await;
                answer.give(finished);
            });
            theirs.stand(task.abort_handle());
        });
        // If its thread is gone, the visit is dropped, and that answers the call.
        drop(local.visits.send(visit));
        room.host.expire_after(patience, ticket.clone());
        if let Some(started) = started {
            started();
        }
        Step(Progress::Parked(pending, Some(ticket)))
    }
}
