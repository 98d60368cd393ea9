//! What a connection may take, how long it waits, and what it does by itself.

use std::time::Duration;

use bytes::Bytes;

/// The settings of a connection; share one among many with an `Arc`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Bounds on size and time.
    pub limits: Limits,
    /// Compress payloads of more than 100 bytes that we send; what comes in is inflated anyway.
    pub compress: bool,
    /// How many calls may be unanswered at once, if the peer is one of ours and takes as many; with
    /// Pyro peers it is always one. No more than 65,535.
    pub calls: usize,
    /// Who we are, told to peers of ours.
    pub node: u64,
    /// Log refused peers at level debug instead of warn.
    pub quiet: bool,
    /// Where the memory of large messages comes from.
    pub memory: Memory,
}

/// Gives out memory for large messages, and takes it back.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// A block of at least `least` bytes; if there is one without taking more memory, of `best` bytes.
    pub take: fn(least: usize, best: usize) -> Vec<u8>,
    /// The first so many bytes of a block, which is at an end when the last share of them is dropped.
    pub share: fn(block: Vec<u8>, len: usize) -> Bytes,
}

/// The allocator's.
impl Default for Memory {
    fn default() -> Self {
        Self {
            take: |least, _| vec![0; least],
            share: |mut block, len| {
                block.truncate(len);
                block.into()
            },
        }
    }
}

impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.take, other.take) && std::ptr::fn_addr_eq(self.share, other.share)
    }
}

impl Eq for Memory {}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            compress: false,
            calls: 1,
            node: 0,
            quiet: false,
            memory: Memory::default(),
        }
    }
}

/// Bounds on what a peer can make a connection hold, and on how long it can make it wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Payload as transmitted and annotations of one message together, in and out.
    pub message_bytes: u64,
    /// Payload of one message after inflating.
    pub inflated_bytes: u64,
    /// The same two for a CONNECT that comes in, where they are smaller: nobody is known yet.
    pub connect_bytes: u64,
    /// Annotations of one message.
    pub annotations_bytes: u64,
    /// From the start of a connection until it is accepted; our own decision is not counted.
    pub handshake: Duration,
    /// Without any byte in the middle of a message.
    pub stall: Duration,
    /// Without the peer taking any byte of what waits for it.
    pub write_stall: Duration,
    /// Without any request; `None` is for ever.
    pub idle: Option<Duration>,
    /// Bytes waiting to be written beyond which nothing more is read.
    pub write_queue_bytes: u64,
    /// From [`drain`](crate::ServerConnection::drain) until the last call is answered.
    pub drain: Duration,
    /// What every running timer has left, at least, when the machine wakes from sleep.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            message_bytes: 1024 * MIB,
            inflated_bytes: 128 * MIB,
            connect_bytes: 16 * MIB,
            annotations_bytes: 64 * MIB,
            handshake: Duration::from_secs(5),
            stall: Duration::from_secs(5),
            write_stall: Duration::from_secs(30),
            idle: None,
            write_queue_bytes: 64 * MIB,
            drain: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Those that hold until a peer is let in.
    pub(crate) fn before_accepting(&self) -> Self {
        Self {
            message_bytes: self.message_bytes.min(self.connect_bytes),
            inflated_bytes: self.inflated_bytes.min(self.connect_bytes),
            ..self.clone()
        }
    }
}
