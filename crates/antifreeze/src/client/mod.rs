//! Calling objects of other programs, on blocking threads.
//!
//! The caller's own thread drives the connection: it writes, waits, and returns with the answer.

mod batch;
mod connection;
mod proxy;
mod sessions;

pub use batch::{Batch, BatchResults};
pub use proxy::{Proxy, ProxyBuilder};
