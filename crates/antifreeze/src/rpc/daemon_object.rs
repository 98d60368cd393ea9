//! The object `Pyro.Daemon` that every daemon serves: what is registered, and what it exposes.

use std::sync::{Arc, Weak};

use antifreeze_serial::Exception;

use super::class::Metadata;
use super::dispatch::Rpc;
use super::exception::{DAEMON_ERROR, PYRO_ERROR};
use crate::expose;

/// The daemon's own object (`server.py`, `DaemonObject`).
pub(crate) struct DaemonObject {
    /// The daemon's objects, this one among them.
    pub(crate) rpc: Weak<Rpc>,
    /// Where the daemon listens, for `info`.
    pub(crate) place: String,
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
        let place = &self.place;
        Ok(format!(
            "Pyro.Daemon bound on {place}, NAT None, {count} objects registered. \
             Servertype: Antifreeze threads"
        ))
    }

    #[quick]
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn get_metadata(&self, objectId: String) -> Result<Metadata, Exception> {
        let metadata = self.rpc()?.registry.metadata(&objectId);
        metadata.ok_or_else(|| Exception::new(DAEMON_ERROR, "unknown object"))
    }

    #[quick]
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn get_next_stream_item(&self, streamId: String) -> Result<(), Exception> {
        // No stream is ever given out by this version, so whichever it was is over.
        let _ = streamId;
        Err(Exception::new(PYRO_ERROR, "item stream terminated"))
    }

    #[quick]
    #[allow(non_snake_case, reason = "keyword arguments are named as in Pyro")]
    fn close_stream(&self, streamId: String) {
        let _ = streamId;
    }
}
