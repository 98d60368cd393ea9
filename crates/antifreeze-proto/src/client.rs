//! One connection to a daemon.

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

/// What we say to be let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connect {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// The sequence number to start from; the first call has the next one.
    pub seq: Seq,
    /// The correlation id.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// A dict with `handshake` and `object`.
    pub payload: Segments,
}

/// A call to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Which serializer wrote the payload.
    pub serializer: SerializerId,
    /// Wants no reply.
    pub oneway: bool,
    /// The payload is a batch.
    pub batch: bool,
    /// The arguments are a blob.
    pub keep_serialized: bool,
    /// The correlation id.
    pub correlation: Option<CorrelationId>,
    /// Our annotations.
    pub annotations: Annotations,
    /// The call.
    pub payload: Segments,
    /// When the answer must be here; passing it closes the connection.
    pub deadline: Option<Time>,
}

/// The daemon's answer to a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// Which serializer wrote the payload; the one of the call.
    pub serializer: SerializerId,
    /// All flags of the message.
    pub flags: Flags,
    /// The daemon's correlation id, if it sent one.
    pub correlation: Option<CorrelationId>,
    /// The daemon's annotations.
    pub annotations: Annotations,
    /// The result, or the exception.
    pub payload: Bytes,
}

impl Response {
    /// Whether the payload is an exception.
    pub const fn is_exception(&self) -> bool {
        self.flags.contains(Flags::EXCEPTION)
    }

    /// Whether the result is an item stream.
    pub const fn is_item_stream(&self) -> bool {
        self.flags.contains(Flags::ITEM_STREAM)
    }
}

/// What happened on a connection to a daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// The daemon lets us in.
    Connected {
        /// Which serializer wrote the payload.
        serializer: SerializerId,
        /// The daemon's annotations.
        annotations: Annotations,
        /// A dict with `handshake` and `meta`.
        payload: Bytes,
    },
    /// The daemon does not let us in; [`ClientEvent::Closed`] follows.
    Refused {
        /// Which serializer wrote the payload, often not ours.
        serializer: SerializerId,
        /// The daemon's annotations.
        annotations: Annotations,
        /// A string that says why.
        payload: Bytes,
    },
    /// A call was answered.
    Returned {
        /// Which call.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// A ping was answered.
    Ponged {
        /// Which ping.
        id: RequestId,
    },
    /// The connection is over; said once, and last.
    Closed(CloseCause),
}

/// How much of a call the socket has taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// Nothing: the daemon cannot have seen it.
    No,
    /// A part: the daemon cannot have run it.
    Partly,
    /// All: whether it ran is known only from its answer.
    Whole,
}

/// One connection to a daemon.
#[derive(Debug)]
pub struct ClientConnection {
    config: Arc<Config>,
}

#[allow(unused_variables, missing_docs)]
impl ClientConnection {
    pub fn new(
        config: impl Into<Arc<Config>>,
        id: u64,
        now: Time,
        connect: Connect,
    ) -> Result<Self, UsageError> {
        Ok(Self {
            config: config.into(),
        })
    }
    pub fn handle(&mut self, now: Time, input: Input) {
        unimplemented!()
    }
    pub fn poll_output(&mut self) -> Output<ClientEvent> {
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
    pub fn call(&mut self, now: Time, call: Call) -> Result<RequestId, UsageError> {
        unimplemented!()
    }
    pub fn ping(&mut self, now: Time, deadline: Option<Time>) -> Result<RequestId, UsageError> {
        unimplemented!()
    }
    pub fn sent(&self, id: RequestId) -> Sent {
        unimplemented!()
    }
    /// The sequence number used last; a reconnect goes on from it.
    pub fn seq(&self) -> Seq {
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
