//! Locks for threads and tasks that cannot hang silently.
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
#[cfg(any(loom, shuttle))]
mod checked;
mod condvar;
mod deferred;
pub mod detector;
mod error;
mod event;
#[doc(hidden)]
pub mod faults;
mod file_lock;
pub mod frame;
mod graph;
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
    AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, WaitInfo,
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
