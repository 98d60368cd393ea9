//! The Pyro wire protocol, sans-I/O: bytes and time go in at one door, events and bytes come out
//! at another, and whoever holds the socket turns the crank.
//!
//! A [`ServerConnection`] or a [`ClientConnection`] is a plain value with one owner, the driver:
//!
//! 1. It tells what happened: [`handle`](ServerConnection::handle) with one [`Input`].
//! 2. It does what is asked until that is to wait: [`poll_output`](ServerConnection::poll_output)
//!    until [`Output::Wait`].
//! 3. It waits for bytes, if [`wants_read`](ServerConnection::wants_read), for the socket to take
//!    more, if [`wants_write`](ServerConnection::wants_write), and for the time that
//!    [`Output::Wait`] named. Then it starts again.
//!
//! Payloads are bytes and the number of a serializer. Not here: turning values into bytes
//! (`antifreeze-serial`), finding objects and calling them, sockets, clocks and threads
//! (`antifreeze`).
//!
//! # Examples
//!
//! A whole driver, blocking, for a server that echoes:
//!
//! ```
//! use std::io::{IoSlice, Read, Write};
//! use std::time::Instant;
//!
//! use antifreeze_proto::{
//!     Accept, Annotations, CloseCause, Config, Input, Output, Reply, ServerConnection,
//!     ServerEvent, Time,
//! };
//!
//! fn serve(mut socket: impl Read + Write) -> CloseCause {
//!     let start = Instant::now();
//!     let now = || Time::ZERO + start.elapsed();
//!     let mut conn = ServerConnection::new(Config::default(), 1, now());
//!     loop {
//!         match conn.poll_output() {
//!             Output::Transmit => {
//!                 let mut slices = [IoSlice::new(&[]); 8];
//!                 let count = conn.transmit(&mut slices);
//!                 let input = match socket.write_vectored(&slices[..count]) {
//!                     Ok(written) => Input::Wrote(written),
//!                     Err(error) => Input::Failed(error.kind()),
//!                 };
//!                 conn.handle(now(), input);
//!             }
//!             Output::Event(ServerEvent::Connecting(handshake)) => {
//!                 let accept = Accept {
//!                     serializer: handshake.serializer,
//!                     correlation: None,
//!                     annotations: Annotations::new(),
//!                     payload: b"welcome"[..].into(),
//!                 };
//!                 conn.accept(now(), accept).expect("a client waits");
//!             }
//!             Output::Event(ServerEvent::Requested(mut request)) => match request.payload.inflate() {
//!                 Ok(payload) => {
//!                     let reply = Reply { payload: payload.clone().into(), ..Reply::default() };
//!                     // Whether anybody waits still does not matter to an echo.
//!                     let _ = conn.reply(now(), request.id, reply);
//!                 }
//!                 Err(error) => conn.close(now(), error.into()),
//!             },
//!             Output::Event(ServerEvent::Closed(cause)) => return cause,
//!             // A real one waits no longer than that, and says `Tick` when it is over.
//!             Output::Wait(_deadline) => {
//!                 let input = match socket.read(conn.read_buffer()) {
//!                     Ok(0) => Input::Eof,
//!                     Ok(count) => Input::Read(count),
//!                     Err(error) => Input::Failed(error.kind()),
//!                 };
//!                 conn.handle(now(), input);
//!             }
//!         }
//!     }
//! }
//!
//! # use antifreeze_testkit::RawMessage;
//! # struct Socket(std::io::Cursor<Vec<u8>>, Vec<u8>);
//! # impl Read for &mut Socket {
//! #     fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> { self.0.read(buffer) }
//! # }
//! # impl Write for &mut Socket {
//! #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.1.write(bytes) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! # let mut bytes = RawMessage::connect("echo").encode();
//! # bytes.extend(RawMessage::invoke(1, "hello").encode());
//! # let mut socket = Socket(std::io::Cursor::new(bytes), Vec::new());
//! # assert_eq!(serve(&mut socket), CloseCause::PeerClosed);
//! # let messages = RawMessage::decode_all(&socket.1);
//! # assert_eq!(messages[1], RawMessage::result(1, "hello"));
//! ```
#![forbid(unsafe_code)]

pub mod annotations;
mod chain;
mod client;
mod compress;
mod config;
mod error;
mod few;
mod io;
pub mod message;
mod native;
mod reader;
mod segments;
mod server;
mod time;
mod timer;
mod writer;

pub use annotations::{AnnotationId, Annotations};
pub use chain::{Chain, Path, Step, Target, malformed_chains};
pub use client::{Call, ClientConnection, ClientEvent, Connect, Response, Sent};
pub use config::{Config, Limits, Memory};
pub use error::{CloseCause, ProtocolError, UsageError};
pub use io::{Input, Output, RequestId, StateName};
pub use message::{CorrelationId, Flags, Header, Kind, Message, Seq, SerializerId};
pub use native::Nonce;
pub use segments::Segments;
pub use server::{
    Accept, Handshake, Payload, Refuse, Reply, Request, ServerConnection, ServerEvent,
};
pub use time::Time;
pub use timer::Timer;
