//! What tests share: raw messages, connections without sockets, a simulated link, a raw peer, a bad
//! network.
//!
//! - [`RawMessage`]: a message byte by byte, which may lie.
//! - [`Bench`]: one connection of the core with its clock, fed by hand.
//! - [`Pair`]: a client and a server joined by a link that can be slow, held and cut.
//! - [`Peer`]: a scripted peer on a real socket.
//! - [`FaultProxy`]: a bad network between real sockets.
//! - [`check_linear`]: whether a history of calls is that of one object.
//!
//! It panics where a test should fail, and is for tests only.
#![forbid(unsafe_code)]

mod bench;
mod fault;
mod linear;
mod pair;
mod peer;
mod raw;

pub use bench::{Bench, Endpoint};
pub use fault::{Fault, FaultProxy, Way};
pub use linear::{Model, Operation, check_linear};
pub use pair::{End, Pair, Wire};
pub use peer::Peer;
pub use raw::{RawMessage, marshal_text, unmarshal_text};
