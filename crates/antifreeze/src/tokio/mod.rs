//! The event loop: tasks of tokio over the same state machines that threads drive.
//!
//! [`Proxy`] is the proxy of the crate's root with `.await`. It works in runtimes of one thread and
//! of many, which need I/O and time enabled, as `#[tokio::main]` does.

mod alarm;
mod client;
mod server;

use std::io;
use std::os::fd::AsRawFd;

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;

pub use crate::client::{Batch, BatchResults, ProxyBuilder};
pub use client::{Items, NameServer, Proxy, locate_ns};
pub(crate) use server::Server;

/// Watches a socket for as long as the result is there.
///
/// # Errors
///
/// The system cannot watch one more.
fn watch<S: AsRawFd>(socket: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for the sake of sockets that somebody else closes; \
                  ours live as long as they are watched"
    )]
    AsyncFd::with_interest(socket, interest)
}
