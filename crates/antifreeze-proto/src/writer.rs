//! Messages to bytes: segments that wait for the socket, never copied again.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::annotations::{Annotations, CHUNK_HEADER_BYTES, MAX_ANNOTATIONS};
use crate::chain::{ChainChunk, LEAD_BYTES};
use crate::client::Sent;
use crate::config::Config;
use crate::error::UsageError;
use crate::io::RequestId;
use crate::message::{CorrelationId, Flags, HEADER_BYTES, Header, Kind, Seq, SerializerId};
use crate::native;
use crate::segments::Segments;
use crate::time::Time;

/// What a waiting message costs us besides its bytes.
const OVERHEAD_BYTES: u64 = 320;

/// Room for more messages than these is given back when none waits.
const KEPT_MESSAGES: usize = 64;

/// A message as its sender thinks of it.
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) serializer: SerializerId,
    pub(crate) flags: Flags,
    pub(crate) seq: Seq,
    pub(crate) correlation: Option<CorrelationId>,
    pub(crate) annotations: &'a Annotations,
    /// One more of them.
    pub(crate) chain: Option<ChainChunk>,
    pub(crate) payload: Segments,
    /// The call that it makes.
    pub(crate) call: Option<RequestId>,
    /// When it must be written.
    pub(crate) deadline: Option<Time>,
}

/// A message that waits for the socket.
struct Outgoing {
    head: Head,
    annotations: Bytes,
    payload: Segments,
    call: Option<RequestId>,
    deadline: Option<Time>,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.head.length + self.annotations.len() + self.payload.len()
    }
}

/// The header, and what has no memory of its own of the annotations.
struct Head {
    bytes: [u8; HEADER_BYTES + LEAD_BYTES],
    length: usize,
}

impl Head {
    fn new(header: [u8; HEADER_BYTES], lead: &[u8]) -> Self {
        let length = HEADER_BYTES + lead.len();
        let mut bytes = [0; HEADER_BYTES + LEAD_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        bytes[HEADER_BYTES..length].copy_from_slice(lead);
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What is lent to a driver, piece by piece.
struct Lent<'s, 'a> {
    slices: &'s mut [IoSlice<'a>],
    count: usize,
    /// How much was written already of what comes next.
    skip: usize,
}

impl<'a> Lent<'_, 'a> {
    fn is_full(&self) -> bool {
        self.count == self.slices.len()
    }

    fn push(&mut self, piece: &'a [u8]) {
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        if skipped < piece.len() && !self.is_full() {
            self.slices[self.count] = IoSlice::new(&piece[skipped..]);
            self.count += 1;
        }
    }
}

/// What waits for the socket.
pub(crate) struct Writer {
    queue: VecDeque<Outgoing>,
    /// How much of the first message the socket has taken.
    taken: usize,
    /// What all messages cost us that wait, in bytes.
    pending: u64,
    /// How many of the messages that wait have a deadline.
    deadlines: usize,
    /// The socket said that it takes nothing now.
    blocked: bool,
    /// Calls that were dropped: for lateness, or because the connection closed.
    unsent: Vec<(RequestId, Sent)>,
}

impl Writer {
    pub(crate) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            taken: 0,
            pending: 0,
            deadlines: 0,
            blocked: false,
            unsent: Vec::new(),
        }
    }

    /// Queues a message; on an error nothing has changed.
    pub(crate) fn queue(&mut self, config: &Config, draft: Draft<'_>) -> Result<(), UsageError> {
        check_annotations(config, &draft)?;
        let mut payload = draft.payload;
        if config.compress {
            payload.deflate();
        }
        let payload_bytes = payload.len();
        let flags = draft
            .flags
            .without(Flags::COMPRESSED)
            .without(Flags::CORRELATION)
            .with_if(Flags::COMPRESSED, payload.is_deflated());
        let chain = draft.chain.as_ref();
        let annotations_bytes =
            draft.annotations.wire_bytes() + chain.map_or(0, ChainChunk::wire_bytes);
        let size = payload_bytes as u64 + annotations_bytes;
        // Two fields of 32 bits could say more, but no peer would take it.
        let limit = config.limits.message_bytes.min(u64::from(u32::MAX));
        if size > limit {
            return Err(UsageError::TooLarge { size, limit });
        }
        let header = Header {
            kind: draft.kind,
            serializer: draft.serializer,
            flags: flags.with_if(Flags::CORRELATION, draft.correlation.is_some()),
            seq: draft.seq,
            payload_bytes: payload_bytes as u32,
            annotations_bytes: annotations_bytes as u32,
            correlation: draft.correlation.unwrap_or_default(),
        };
        self.pending += HEADER_BYTES as u64 + size + OVERHEAD_BYTES;
        self.deadlines += usize::from(draft.deadline.is_some());
        self.queue.push_back(Outgoing {
            head: Head::new(header.encode(), chain.map_or(&[], ChainChunk::lead)),
            annotations: match draft.chain {
                Some(chain) => draft.annotations.encode_after(chain.tail),
                None => draft.annotations.encode_after(Bytes::new()),
            },
            payload,
            call: draft.call,
            deadline: draft.deadline,
        });
        Ok(())
    }

    /// Fills `slices` with what waits and returns how many were filled.
    pub(crate) fn lend<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut lent = Lent {
            slices,
            count: 0,
            skip: self.taken,
        };
        for message in &self.queue {
            lent.push(message.head.bytes());
            lent.push(&message.annotations);
            for piece in message.payload.iter() {
                if lent.is_full() {
                    return lent.count;
                }
                lent.push(piece);
            }
        }
        lent.count
    }

    /// Takes note that the socket took `count` bytes.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.blocked = count == 0;
        self.taken += count;
        while let Some(first) = self.queue.front() {
            let length = first.len();
            if self.taken < length {
                return;
            }
            self.deadlines -= usize::from(first.deadline.is_some());
            self.taken -= length;
            self.pending -= length as u64 + OVERHEAD_BYTES;
            self.queue.pop_front();
        }
        debug_assert!(self.taken == 0, "more bytes written than lent");
        self.taken = 0;
        if self.queue.capacity() > KEPT_MESSAGES {
            self.queue = VecDeque::new();
        }
    }

    /// Whether anything waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether anything waits and the socket may take it.
    pub(crate) fn is_ready(&self) -> bool {
        !self.queue.is_empty() && !self.blocked
    }

    /// Whether the socket said that it takes nothing now.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What waits costs us this many bytes.
    pub(crate) const fn pending(&self) -> u64 {
        self.pending
    }

    /// The earliest deadline of what waits.
    pub(crate) fn deadline(&self) -> Option<Time> {
        // Mostly there is none, and then a long queue is not searched for it.
        if self.deadlines == 0 {
            return None;
        }
        self.queue
            .iter()
            .filter_map(|waiting| waiting.deadline)
            .min()
    }

    /// How much of `call` the socket has taken; all, if it knows nothing of it.
    pub(crate) fn sent(&self, call: RequestId) -> Sent {
        let mut waiting = self.queue.iter();
        if self
            .queue
            .front()
            .is_some_and(|first| first.call == Some(call))
        {
            return if self.taken == 0 {
                Sent::No
            } else {
                Sent::Partly
            };
        }
        if waiting.any(|outgoing| outgoing.call == Some(call)) {
            return Sent::No;
        }
        let known = self.unsent.iter().find(|(id, _)| *id == call);
        known.map_or(Sent::Whole, |(_, sent)| *sent)
    }

    /// Ends the wait of a message whose deadline has passed, and says which call it was; to be
    /// asked again until there is none.
    ///
    /// What is not begun is dropped. Of what is, the rest must follow.
    pub(crate) fn expire(&mut self, now: Time) -> Option<RequestId> {
        if self.deadlines == 0 {
            return None;
        }
        let is_late = |waiting: &Outgoing| waiting.deadline.is_some_and(|at| at <= now);
        let begun = usize::from(self.taken != 0);
        let late = self
            .queue
            .iter_mut()
            .take(begun)
            .find(|first| is_late(first));
        if let Some(first) = late {
            self.deadlines -= 1;
            first.deadline = None;
            return first.call;
        }
        // One that is begun has no deadline that has passed, so it stays.
        let late = self.queue.iter().position(is_late)?;
        let late = self.queue.remove(late)?;
        self.deadlines -= 1;
        self.pending -= late.len() as u64 + OVERHEAD_BYTES;
        self.unsent.extend(late.call.map(|call| (call, Sent::No)));
        late.call
    }

    /// Drops what waits and remembers which calls it was.
    pub(crate) fn abandon(&mut self) {
        let first = if self.taken == 0 {
            Sent::No
        } else {
            Sent::Partly
        };
        let sent = std::iter::once(first).chain(std::iter::repeat(Sent::No));
        let waiting = self.queue.iter().zip(sent);
        let unsent = waiting.filter_map(|(outgoing, sent)| Some((outgoing.call?, sent)));
        self.unsent.extend(unsent);
        self.queue = VecDeque::new();
        self.taken = 0;
        self.pending = 0;
        self.deadlines = 0;
    }

    /// Gives back memory that holds nothing.
    pub(crate) fn release(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() != 0 {
            self.queue = VecDeque::new();
        }
    }
}

/// Refuses annotations that a peer with our limits would not take. What we add to them ourselves is
/// small, and only for peers that want it.
fn check_annotations(config: &Config, draft: &Draft<'_>) -> Result<(), UsageError> {
    let got = draft.annotations.len() + usize::from(draft.chain.is_some());
    if got > MAX_ANNOTATIONS {
        let limit = MAX_ANNOTATIONS;
        return Err(UsageError::TooManyAnnotations { got, limit });
    }
    let own = draft.annotations.get(native::HELLO);
    let own = own.map_or(0, |hello| CHUNK_HEADER_BYTES + hello.len());
    let size = draft.annotations.wire_bytes() - own as u64;
    let limit = config.limits.annotations_bytes;
    if size > limit {
        return Err(UsageError::AnnotationsTooLarge { size, limit });
    }
    Ok(())
}
