//! Objects and calls: what is exposed, who may use it now, what comes back.
//!
//! No sockets, and no threads but those on which cooperative objects live: the drivers bring requests
//! here and carry replies away. Time is looked at for one thing only, the deadlines of callers.

mod after;
mod arguments;
mod batch;
mod class;
mod daemon_object;
mod dispatch;
mod doors;
mod exception;
mod host;
mod instances;
mod invocation;
mod item_stream;
mod local;
mod object;
mod outcome;
mod pending;
mod queue;
mod registry;
mod room;
mod servant;
mod streams;
mod task;

pub use arguments::{ArgumentError, Arguments, FromKeywords};
pub use class::{Class, Expose, ExposeLocal, Member, MemberKind, Metadata};
pub use dispatch::{ClientInfo, HandshakeInfo};
pub use exception::CustomException;
pub use instances::InstanceMode;
pub use invocation::{Invocation, Step};
pub use item_stream::ItemStream;
pub use object::{
    AsyncReadGuard, AsyncWriteGuard, IntoObject, Object, ReadGuard, WeakObject, WriteGuard,
};
pub use outcome::{Encoded, Out};
pub use room::FailedCall;
pub use task::Running;

pub(crate) use after::After;
pub(crate) use daemon_object::{DaemonObject, DaemonServant};
pub(crate) use dispatch::{
    Annotate, Answer, Envelope, OnDisconnect, Rpc, Session, Validator, Verdict,
};
pub(crate) use doors::Doors;
pub(crate) use host::Host;
pub(crate) use instances::ServedClass;
pub(crate) use invocation::Started;
pub(crate) use local::Local;
pub(crate) use outcome::{Finished, Outcome};
pub(crate) use queue::{Queue, QueueLimits, Ticket};
pub(crate) use registry::{Keep, Registry};
pub(crate) use room::{OnError, Room};
pub(crate) use streams::{StreamLimits, Streams};
