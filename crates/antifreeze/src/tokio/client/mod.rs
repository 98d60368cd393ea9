//! Calling objects of other programs, from tasks.
//!
//! A connection is a task of its own; callers hand it requests and wait for the answers. Whatever is
//! not waiting is shared with the proxy of threads (`client`).

mod batch;
mod connection;
mod items;
mod naming;
mod proxy;
mod requests;
mod turns;
mod wire;

pub use items::Items;
pub use naming::{NameServer, locate_ns};
pub use proxy::Proxy;
