//! The blocking driver: a poller for connections that wait, workers for those that have something
//! to do.
//!
//! A worker has a connection from the first byte of a message until its reply is written, and a
//! moment longer if nobody else wants a worker. A call that waits for its object has none. The
//! state machine that it drives is `antifreeze-proto`'s; nothing is decided here.

mod calls;
mod connection;
mod poller;
mod server;
mod tasks;

pub(crate) use server::Server;
