//! Locks for threads and tasks that cannot hang silently.

mod agent;
mod barrier;
mod condvar;
mod deferred;
pub mod detector;
mod error;
mod event;
#[cfg_attr(not(feature = "faults"), allow(dead_code))]
#[doc(hidden)]
pub mod faults;
mod file_lock;
pub mod frame;
mod graph;
mod join;
mod journal;
mod label;
mod lazy_monitor;
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
#[doc(hidden)]
pub use mutex::{Bound, OnTask, OnThread};
pub use mutex::{AsyncMutexGuard, LockFuture, Mutex, MutexGuard, OwnedMutexGuard};
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
