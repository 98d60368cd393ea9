//! Locks for threads and tasks that cannot hang silently: if everybody waits for each other, one of
//! them gets an error that says who has what, who waits for what, and where in the code.
//!
//! ```
//! use antifreeze_sync::{LockError, Mutex, thread};
//!
//! static LEFT: Mutex<u32> = Mutex::named("left", 0);
//! static RIGHT: Mutex<u32> = Mutex::named("right", 0);
//!
//! fn add(first: &Mutex<u32>, second: &Mutex<u32>) -> Result<(), LockError> {
//!     let mut first = first.lock()?;
//!     let mut second = second.lock()?;
//!     *first += 1;
//!     *second += 1;
//!     Ok(())
//! }
//!
//! // Opposite orders: with other locks, this hangs once in a while, and for ever.
//! let anna = thread::named("anna", || (0..1000).filter_map(|_| add(&LEFT, &RIGHT).err()).last());
//! let bert = thread::named("bert", || (0..1000).filter_map(|_| add(&RIGHT, &LEFT).err()).last());
//! for thread in [anna, bert] {
//!     if let Some(error) = thread.join()?.expect("nobody panics") {
//!         println!("{error}");
//!     }
//! }
//! # Ok::<(), LockError>(())
//! ```
//!
//! prints nothing, or with some bad luck
//!
//! ```text
//! deadlock [af-54f4b446]: 2 threads wait for each other
//!   thread "anna" (frame 2)
//!       holds Mutex<u32> "left" (made at src/main.rs:3:27), acquired at src/main.rs:7:27
//!       has waited 1.2 ms at src/main.rs:8:29 for Mutex<u32> "right" (made at src/main.rs:4:28)
//!   thread "bert" (frame 3), the victim
//!       holds Mutex<u32> "right", acquired at src/main.rs:7:27
//!       has waited 1.0 ms at src/main.rs:8:29 for Mutex<u32> "left"
//!   victim: thread "bert" (frame 3); its wait failed, the others can go on
//!   help: let go of Mutex<u32> "right", then try again
//!   help: if all acquire these locks in the same order, this cannot happen
//! ```
//!
//! # What there is
//!
//! Each of them blocks threads and is awaited by tasks, which stand in one queue.
//!
//! - [`Mutex`]: data that one agent has at a time
//! - [`RwLock`]: data that many read together, and one writes alone
//! - [`ReentrantMutex`]: a mutex that its holder can lock again
//! - [`Condvar`]: waiting for a change of what a mutex protects
//! - [`BoundedSemaphore`], [`Semaphore`]: a fixed number of permits, and one that anybody adds to
//! - [`Queue`] and [`channel`]: items that some put and others get
//! - [`Event`], [`Barrier`]: something that happens, and a place where several meet
//! - [`Once`], [`Lazy`]: what is done once, by whoever needs it first
//! - [`FileLock`]: a lock that the processes of a machine share
//! - [`DeferredLock`], [`DeferredSemaphore`], [`DeferredQueue`]: under Twisted's names
//!
//! Around them:
//!
//! - [`lock_all!`]: several mutexes at once, in an order that is the same for everybody
#![cfg_attr(
    feature = "macros",
    doc = "- [`macro@synchronized`]: a function that holds a lock while it runs"
)]
//! - [`task()`], [`named_task`], [`block_on`], [`joinable`], [`mod@thread`], [`Frame`]: who waits
//! - [`detector::snapshot`]: who waits for what at this moment, as text and as a drawing
//! - [`order`]: warns of an order of locks that could deadlock, though it did not this time
#![cfg_attr(
    not(loom),
    doc = "- [`mod@lock_api`]: the face of `parking_lot`; change an import, and a deadlock is a panic"
)]
//!
//! Whoever comes from Python or Twisted finds all of it again in the [guide](mod@guide).
//!
//! # Whose wait it is
//!
//! An *agent* is whoever can hold locks and wait: a thread, a task, or a call that is being served.
//! Threads are agents without doing anything for it. A task is one if it is spawned as
//! `tokio::spawn(task(async { … }))`, with any executor. Reports call an agent by its name and its
//! *frame*, a number that no other one ever has.
//!
//! # How a deadlock is found
//!
//! Nothing happens until somebody has waited for a millisecond. Then a thread of ours looks what
//! that wait needs, who has it, what those wait for, and so on. Almost always it comes to somebody
//! who runs, and that was it. If it does not, everything is read a second time. Those who are in the
//! very same waits then were all blocked between the two readings, and since only they could let go
//! of what they hold, they still are. One of them is chosen: who was chosen less often before, then
//! one that has a deadline anyway, then the youngest. Its wait fails, and the others go on when it
//! lets go. A thread that asks for what it has itself is told at once. A reader that only a waiting
//! writer keeps out is let in, if that is all it takes.
//!
//! # What is found, and what is not
//!
//! Found is every cycle through mutexes, read-write locks, bounded permits, [`Once`] and [`Lazy`],
//! ends of threads and tasks that were started [here](mod@thread) or by [`joinable`], ends of a
//! [`channel`] that were bound, and answers to [`calls`] that are served in the same process, among
//! threads, tasks and calls in any mixture. It is also understood that a task may wait for several things at once, and go on with the first (`select!`), and that
//! some of the permits are enough. Where something is not known, nothing is claimed. A false alarm
//! takes a guard that was moved to somebody else without a word: that of a task for a `static` lock
//! into another task, or one of [`RwLock::write_then`] and the like to another frame. These hang as
//! with other locks, and all but what is foreign can be seen in
//! [`detector::snapshot`]:
//!
//! - **anonymous tasks**, those outside of [`task()`]: nobody knows what else they do
//! - **owned guards and permits**, until whoever has one in the end calls `bind`
//! - **loose things**: [`Semaphore`], [`Event`], [`Condvar`], [`Barrier`], [`Queue`] and [`FileLock`];
//!   nobody knows who will add a permit, set, notify, come, put or let go
//! - **foreign futures**: a task that also waits for a timer (so under any time-out), a socket or
//!   somebody else's channel may be woken by that; and inside of `FuturesUnordered`, or `join_all` of more than thirty, everything
//!   looks like one
//! - **foreign locks**, channels, joins of threads, and somebody else's `block_on` on a thread that
//!   holds something; tasks that share a thread which one of them blocks
//! - **frames that are two things at once**: entered on two threads, or with several futures
//! - **the middle of a long queue**: of a queue of more than 128 that mixes readers and writers, or
//!   small and large requests, only both ends are looked at
//! - **forgotten guards** (`mem::forget`) of agents that have ended: an agent that is gone does not
//!   wait
//!
//! # Fairness and cancel safety
//!
//! | | who is next | dropping the future |
//! |---|---|---|
//! | [`Mutex`], [`RwLock`] | tasks in the order in which they began to wait; a thread may pass threads that wait, for half a millisecond, unless the lock is `fair` | ends the wait; a lock that was given to it already goes on to the next |
//! | [`ReentrantMutex`], [`Once`], [`Lazy`] | the same | |
//! | [`BoundedSemaphore`], [`Semaphore`] | in the order in which they came, whatever number they want | as above |
//! | [`Queue`], [`channel`] | the first item to who waits longest | no item is lost that was not given up with it |
//! | [`Condvar`] | who waits longest | the notification goes on to the next |
//! | [`Event`] | all at once | ends the wait |
//! | [`Barrier`] | all at once | breaks the barrier |
//!
//! If giving something and the end of the wait meet, by a deadline, a drop or a deadlock, giving wins:
//! nobody has it and is told otherwise.
//!
//! # Cost
//!
//! As long as nobody waits, a lock is one word: locking and unlocking are an atomic exchange each, and
//! the owner is what is stored. Nothing is allocated. A reader also writes down, in memory of its own
//! thread, what it reads. Whoever has to wait joins a queue under a short lock and is looked at once,
//! and again where the cycle could have closed later; an hour of waiting costs no more than two
//! milliseconds. The thread that looks starts with the first wait, and sleeps while nobody has waited
//! for a millisecond.
//!
//! Where threads crowd, ours lets about as many through as `parking_lot`'s. Where tasks queue up, a
//! lock changes hands at 0.8 to 1.1 times the speed of tokio's, by the machine. A task that waits takes
//! some 250 bytes more than one that waits for a lock of tokio's. A hundred of them it keeps for its next
//! wait, which allocates nothing if nobody else, such as the detector, has them still.
//!
//! A lock is about a hundred bytes larger than its data, and as much again, and more, once it was
//! waited for. [Lock-order checking](order), on in builds for debugging, costs far more than that and
//! is one load where it is off. `benches` in the repository holds all that against other locks.
//!
//! # When not to use this crate
//!
//! - Where nobody waits while holding a lock and nobody holds two, no deadlock is possible, and
//!   `std::sync::Mutex` and `parking_lot` have the smaller locks. So also for very many locks.
//! - Where an atomic number, or a channel to the one who owns the data, will do.
//! - In signal handlers, in `no_std` programs, and where threads have real-time priorities.
//! - **Across `fork`.** The child has all locks in the state of that moment, but none of the threads
//!   that would let go of them, nor the one that finds deadlocks. It must `exec`.
//! - Between processes, except for [`FileLock`].
//!
//! # Features
//!
//! - `deadlock-detection` (on by default): without it, locks only lock, and [`LockError::Deadlock`] is
//!   returned by [`lock_all()`] alone.
//! - `macros` (on by default): `#[synchronized]`.
//! - `serde`: reports and snapshots as data.
//!
//! # Panics
//!
//! Nothing is poisoned: if somebody panics while holding a lock, it is let go, and the next one finds
//! the data as it was left. What panics is misuse ([`Condvar::wait`] with a second mutex,
//! [`Queue::task_done`] too often, joining a thread from itself, a thread that cannot be started), and
//! what asks for it: [`mod@lock_api`], dereferencing a [`Lazy`], `#[synchronized(panic)]`,
//! [`order::Level::Panic`](order::Level).

#![cfg_attr(
    any(loom, shuttle),
    allow(
        dead_code,
        unused_imports,
        reason = "some parts make no sense in a model"
    )
)]

mod agent;
mod barrier;
#[cfg(not(shuttle))]
mod brief;
pub mod calls;
#[cfg(any(loom, shuttle))]
mod checked;
mod clock;
mod condvar;
mod deferred;
pub mod detector;
mod error;
mod event;
#[doc(hidden)]
pub mod faults;
mod file_lock;
pub mod frame;
pub mod graph;
#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
mod join;
mod journal;
mod label;
mod lazy_monitor;
mod lock_all;
#[cfg(not(loom))]
pub mod lock_api;
mod monitor;
mod mutex;
mod once;
pub mod order;
mod queue;
mod raw;
mod reentrant;
mod report;
mod rwlock;
mod semaphore;
mod slab;
mod sync;
mod task;
pub mod thread;
mod view;
mod waiter;
mod waiters;

pub use agent::set_priority;
#[cfg(feature = "macros")]
pub use antifreeze_macros::synchronized;
pub use barrier::{Barrier, Party};
pub use condvar::{Condvar, WaitTimeoutResult, WaitingGuard};
pub use deferred::{
    DeferredGet, DeferredLock, DeferredQueue, DeferredSemaphore, QueueOverflow, QueueUnderflow,
};
pub use error::LockError;
pub use event::Event;
pub use file_lock::{FileLock, FileLockError, FileLockGuard};
pub use frame::Frame;
pub use join::{Joinable, TaskHandle, TaskJoin, joinable, named_joinable};
pub use lock_all::{LockAll, lock_all, lock_all_async};
pub use mutex::{AsyncMutexGuard, LockFuture, Mutex, MutexGuard, OwnedMutexGuard};
#[doc(hidden)]
pub use mutex::{Bound, OnTask, OnThread};
pub use once::{Lazy, Once};
pub use queue::{
    Consumer, GetFuture, Producer, PutError, PutFuture, Queue, QueueIter, QueueJoin, TryGetError,
    TryPutError, channel,
};
pub use reentrant::{ReentrantMutex, ReentrantMutexGuard};
pub use report::{
    AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, Site,
    WaitInfo,
};
pub use rwlock::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, PendingLock, RwLock, RwLockFuture,
    RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
pub use semaphore::{
    AsyncPermit, BoundedSemaphore, LoosePermit, LoosePermitFuture, OwnedLoosePermit, OwnedPermit,
    PendingPermit, Permit, PermitFuture, Semaphore,
};
pub use task::{Task, block_on, named_task, task};
pub use view::{Holder, ResourceState, Snapshot, WaiterState};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
