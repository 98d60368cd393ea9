//! The object `Pyro.Daemon` that every daemon serves: what is registered, and what it exposes.

use std::sync::{Arc, Weak};

use antifreeze_serial::Exception;

use super::arguments::Arguments;
use super::class::{ExposeLocal, Metadata};
use super::dispatch::Rpc;
use super::exception::DAEMON_ERROR;
use super::invocation::{Job, Step, Subject};
use super::object::Cell;
use super::servant::{Operation, Servant};
use super::streams::{self, Streams};
use crate::expose;

/// The daemon's own object (`server.py`, `DaemonObject`).
pub(crate) struct DaemonObject {
    /// The daemon's objects, this one among them.
    pub(crate) rpc: Weak<Rpc>,
    /// Where the daemon listens, for `info`.
    pub(crate) place: String,
    /// What serves it, for `info`, too.
    pub(crate) driver: &'static str,
}

impl DaemonObject {
    /// Its id.
    pub(crate) const ID: &'static str = "Pyro.Daemon";

    fn rpc(&self) -> Result<Arc<Rpc>, Exception> {
        self.rpc
            .upgrade()
            .ok_or_else(|| Exception::new(DAEMON_ERROR, "the daemon is gone"))
    }
}

#[expose]
impl DaemonObject {
    /// All object ids, in the order of registration.
    #[quick]
    fn registered(&self) -> Result<Vec<String>, Exception> {
        Ok(self.rpc()?.registry.ids())
    }

    #[quick]
    fn ping(&self) {}

    #[quick]
    fn info(&self) -> Result<String, Exception> {
        let count = self.rpc()?.registry.ids().len();
        let Self { place, driver, .. } = self;
        Ok(format!(
            "Pyro.Daemon bound on {place}, NAT None, {count} objects registered. \
             Servertype: Antifreeze {driver}"
        ))
    }

    #[quick]
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn get_metadata(&self, objectId: String) -> Result<Metadata, Exception> {
        let metadata = self.rpc()?.registry.metadata(&objectId);
        let metadata = metadata.ok_or_else(|| Exception::new(DAEMON_ERROR, "unknown object"))?;
        Ok(Metadata::clone(&metadata))
    }

    /// Only for the metadata: [`DaemonServant`] runs it.
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn get_next_stream_item(&self, streamId: String) {
        let _ = streamId;
    }

    #[quick]
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn close_stream(&self, streamId: String) -> Result<(), Exception> {
        self.rpc()?.streams.close(&streamId);
        Ok(())
    }
}

/// The daemon's own object, as it is called: each stream makes its items behind its own lock.
pub(crate) struct DaemonServant {
    object: Arc<Cell<DaemonObject>>,
    streams: Arc<Streams>,
}

impl DaemonServant {
    pub(crate) fn new(object: DaemonObject, streams: &Arc<Streams>) -> Self {
        Self {
            object: Arc::new(Cell::new(object)),
            streams: Arc::clone(streams),
        }
    }

    pub(crate) fn metadata() -> Metadata {
        DaemonObject::class().metadata()
    }
}

impl Servant for DaemonServant {
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step {
        const NEXT: &str = "get_next_stream_item";
        let Operation::Call(head, document) = &operation else {
            return Arc::clone(&self.object).invoke(operation, make, id);
        };
        if head.method != NEXT {
            return Arc::clone(&self.object).invoke(operation, make, id);
        }
        let arguments = Arguments::new(NEXT, document, &head.args, &head.kwargs);
        let arguments = arguments.and_then(|mut arguments| {
            let stream = arguments.required::<String>("streamId")?;
            arguments.finish()?;
            Ok((arguments, stream))
        });
        let otherwise = Subject {
            object: Arc::clone(id),
            class: DaemonObject::class().name,
            member: NEXT,
            quick: true,
            callback: false,
        };
        let arguments = arguments.map_err(Exception::from);
        streams::next_item(&self.streams, arguments, make, otherwise)
    }
}
