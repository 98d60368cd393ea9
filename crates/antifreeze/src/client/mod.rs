//! Calling objects of other programs.
//!
//! Here is the proxy of blocking threads, where the caller's own thread drives the connection: it
//! writes, waits, and returns with the answer. To a daemon of ours several threads may call at the
//! same time, and one of them drives it for all (`line`). What does not wait is in `remote`, `retry` and
//! `crank`, and belongs to the proxy of tasks (`tokio/client`) as well.

pub(crate) mod batch;
mod bell;
mod builder;
pub(crate) mod connection;
pub(crate) mod crank;
pub(crate) mod given;
pub(crate) mod items;
mod line;
mod proxy;
pub(crate) mod remote;
pub(crate) mod retry;
pub(crate) mod servertype;
mod sessions;

pub use batch::{Batch, BatchResults};
pub use builder::ProxyBuilder;
pub use items::{Items, Returned};
pub use proxy::Proxy;
