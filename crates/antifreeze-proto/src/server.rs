//! One connection of a daemon.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::annotations::Annotations;
use crate::config::Config;
use crate::error::{CloseCause, UsageError};
use crate::io::{Input, Output, RequestId, StateName};
use crate::message::{CorrelationId, Flags, Seq, SerializerId};
use crate::segments::Segments;
use crate::time::Time;

/// A client's CONNECT, which waits for `accept` or `refuse`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Handshake {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The client's sequence number, which the answer repeats by itself.
    pub seq: Seq,
    /// The client's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The client's annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `object`.
    pub payload: Bytes,
}

/// A client's INVOKE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// What `reply` wants to know.
    pub id: RequestId,
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The client's sequence number.
    pub seq: Seq,
    /// Wants no reply, and gets none.
    pub oneway: bool,
    /// The payload is a batch.
    pub batch: bool,
    /// The arguments are a blob.
    pub keep_serialized: bool,
    /// The client's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The client's annotations.
    pub annotations: Annotations,
    /// The call.
    pub payload: Bytes,
}

/// The answer that lets a client in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accept {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The correlation id; with `None` the client's own, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `meta`.
    pub payload: Segments,
}

/// The answer that keeps a client out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refuse {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The correlation id; with `None` the client's own, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A string that says why.
    pub payload: Segments,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// Of these, EXCEPTION, BATCH and ITEM_STREAM are sent; the core knows the others itself.
    pub flags: Flags,
    /// The correlation id; with `None` the request's own, if it had one.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// The result, by the serializer of the request.
    pub payload: Segments,
}

/// What happened on a daemon's connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerEvent {
    /// A client wants in.
    Connecting(Handshake),
    /// A client calls.
    Requested(Request),
    /// The connection is over; said once, and last.
    Closed(CloseCause),
}

/// One connection of a daemon.
#[derive(Debug)]
pub struct ServerConnection {
    config: Arc<Config>,
}

#[allow(unused_variables, missing_docs)]
impl ServerConnection {
    pub fn new(config: impl Into<Arc<Config>>, id: u64, now: Time) -> Self {
        Self {
            config: config.into(),
        }
    }
    pub fn handle(&mut self, now: Time, input: Input) {
        unimplemented!()
    }
    pub fn poll_output(&mut self) -> Output<ServerEvent> {
        unimplemented!()
    }
    pub fn read_buffer(&mut self) -> &mut [u8] {
        unimplemented!()
    }
    pub fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        unimplemented!()
    }
    pub fn wants_read(&self) -> bool {
        unimplemented!()
    }
    pub fn wants_write(&self) -> bool {
        unimplemented!()
    }
    pub fn has_buffered_input(&self) -> bool {
        unimplemented!()
    }
    pub fn release_buffers(&mut self) {
        unimplemented!()
    }
    pub fn accept(&mut self, now: Time, accept: Accept) -> Result<(), UsageError> {
        unimplemented!()
    }
    pub fn refuse(&mut self, now: Time, refuse: Refuse) -> Result<(), UsageError> {
        unimplemented!()
    }
    pub fn reply(&mut self, now: Time, id: RequestId, reply: Reply) -> Result<(), UsageError> {
        unimplemented!()
    }
    pub fn drain(&mut self, now: Time) {
        unimplemented!()
    }
    /// Writes what is queued, then closes.
    pub fn close(&mut self, now: Time, why: CloseCause) {
        unimplemented!()
    }
    /// Closes at once.
    pub fn abort(&mut self, now: Time, why: CloseCause) {
        unimplemented!()
    }
    pub fn state(&self) -> StateName {
        unimplemented!()
    }
    pub fn cause(&self) -> Option<&CloseCause> {
        unimplemented!()
    }
    pub fn id(&self) -> u64 {
        unimplemented!()
    }
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }
}
