//! Locks for threads and tasks that cannot hang silently.

mod agent;
mod deferred;
pub mod detector;
mod error;
#[cfg_attr(not(feature = "faults"), allow(dead_code))]
#[doc(hidden)]
pub mod faults;
pub mod frame;
mod graph;
mod journal;
mod label;
mod monitor;
mod mutex;
pub mod order;
mod queue;
mod raw;
mod report;
mod rwlock;
mod semaphore;
mod slab;
mod sync;
mod task;
mod view;
mod waiter;
mod waiters;

pub use deferred::{
    DeferredGet, DeferredLock, DeferredQueue, DeferredSemaphore, QueueOverflow, QueueUnderflow,
};
pub use error::LockError;
pub use frame::Frame;
pub use mutex::{AsyncMutexGuard, LockFuture, Mutex, MutexGuard, OwnedMutexGuard};
pub use queue::{
    Consumer, GetFuture, Producer, PutError, PutFuture, Queue, QueueIter, QueueJoin, TryGetError,
    TryPutError, channel,
};
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
