//! One connection of the core with its clock, fed by hand.

use std::io::IoSlice;
use std::time::Duration;

use antifreeze_proto::{
    ClientConnection, ClientEvent, CloseCause, Input, Output, ServerConnection, ServerEvent,
    StateName, Time,
};

use crate::raw::RawMessage;

/// What a driver sees of either end.
pub trait Endpoint {
    /// What happens at this end.
    type Event;

    /// As the connection's own method.
    fn handle(&mut self, now: Time, input: Input);
    /// As the connection's own method.
    fn poll_output(&mut self) -> Output<Self::Event>;
    /// As the connection's own method.
    fn read_buffer(&mut self) -> &mut [u8];
    /// As the connection's own method.
    fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize;
    /// As the connection's own method.
    fn wants_read(&self) -> bool;
    /// As the connection's own method.
    fn wants_write(&self) -> bool;
    /// As the connection's own method.
    fn state(&self) -> StateName;
    /// As the connection's own method.
    fn cause(&self) -> Option<&CloseCause>;
}

macro_rules! endpoint {
    ($connection:ty, $event:ty) => {
        impl Endpoint for $connection {
            type Event = $event;

            fn handle(&mut self, now: Time, input: Input) {
                self.handle(now, input);
            }
            fn poll_output(&mut self) -> Output<$event> {
                self.poll_output()
            }
            fn read_buffer(&mut self) -> &mut [u8] {
                self.read_buffer()
            }
            fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
                self.transmit(slices)
            }
            fn wants_read(&self) -> bool {
                self.wants_read()
            }
            fn wants_write(&self) -> bool {
                self.wants_write()
            }
            fn state(&self) -> StateName {
                self.state()
            }
            fn cause(&self) -> Option<&CloseCause> {
                self.cause()
            }
        }
    };
}

endpoint!(ServerConnection, ServerEvent);
endpoint!(ClientConnection, ClientEvent);

/// A connection, its clock, and what came out of it so far.
#[derive(Debug)]
pub struct Bench<C: Endpoint> {
    /// The connection.
    pub conn: C,
    /// The virtual time.
    pub now: Time,
    /// Events that nobody has taken yet.
    pub events: Vec<C::Event>,
    /// Bytes written that nobody has taken yet.
    pub output: Vec<u8>,
    /// How many more bytes the socket takes.
    pub window: usize,
    /// When the connection wants to be woken.
    pub deadline: Option<Time>,
}

impl<C: Endpoint> Bench<C> {
    /// A connection whose time is `now`.
    pub fn new(conn: C, now: Time) -> Self {
        let mut bench = Self {
            conn,
            now,
            events: Vec::new(),
            output: Vec::new(),
            window: usize::MAX,
            deadline: None,
        };
        bench.drain();
        bench
    }

    /// Gives one input and does all that the connection asks for.
    pub fn input(&mut self, input: Input) {
        self.conn.handle(self.now, input);
        self.drain();
    }

    /// Lets the connection read `bytes`, in pieces of at most `piece`, as far as it wants them.
    ///
    /// Returns how many it took.
    pub fn feed_by(&mut self, bytes: &[u8], piece: usize) -> usize {
        let mut fed = 0;
        while fed < bytes.len() && self.conn.wants_read() {
            let room = self.conn.read_buffer();
            let count = room.len().min(piece).min(bytes.len() - fed);
            assert!(
                count > 0,
                "a connection that wants bytes lends room for them"
            );
            room[..count].copy_from_slice(&bytes[fed..fed + count]);
            fed += count;
            self.input(Input::Read(count));
        }
        fed
    }

    /// Lets the connection read `bytes`, as far as it wants them; returns how many it took.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.feed_by(bytes, usize::MAX)
    }

    /// Lets the connection read a message.
    ///
    /// # Panics
    ///
    /// If it does not want all of it.
    pub fn feed_message(&mut self, message: &RawMessage) {
        let bytes = message.encode();
        let taken = self.feed(&bytes);
        let (state, cause) = (self.conn.state(), self.conn.cause());
        assert_eq!(
            taken,
            bytes.len(),
            "taken by a connection that is {state} ({cause:?})"
        );
    }

    /// Does all that the connection asks for until it waits.
    pub fn drain(&mut self) {
        loop {
            match self.conn.poll_output() {
                Output::Transmit => self.write(),
                Output::Event(event) => self.events.push(event),
                Output::Wait(deadline) => break self.deadline = deadline,
            }
        }
    }

    /// Lets the socket take `window` more bytes, as a poller would find out.
    pub fn open_window(&mut self, window: usize) {
        self.window = window;
        if self.conn.wants_write() {
            self.write();
        }
        self.drain();
    }

    fn write(&mut self) {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = self.conn.transmit(&mut slices);
        let mut written = 0;
        for slice in &slices[..count] {
            let take = slice.len().min(self.window - written);
            self.output.extend_from_slice(&slice[..take]);
            written += take;
        }
        if self.window != usize::MAX {
            self.window -= written;
        }
        self.conn.handle(self.now, Input::Wrote(written));
    }

    /// Lets time pass, waking the connection whenever it wants to be woken.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    /// The events since the last time.
    pub fn take_events(&mut self) -> Vec<C::Event> {
        std::mem::take(&mut self.events)
    }

    /// The bytes written since the last time.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The messages written since the last time.
    ///
    /// # Panics
    ///
    /// If part of a message was written.
    pub fn take_messages(&mut self) -> Vec<RawMessage> {
        RawMessage::decode_all(&self.take_output())
    }

    /// Why the connection closed, if it is closed altogether.
    pub fn closed(&self) -> Option<CloseCause> {
        (self.conn.state() == StateName::Closed)
            .then(|| self.conn.cause().cloned())
            .flatten()
    }
}
