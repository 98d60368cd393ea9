//! The detector of this process: finds deadlocks that span processes, together with those of others.
//!
//! What it decides is decided in `antifreeze-detector`, which it tells what happens here and what
//! others say. It has a thread of its own for what is due, one for each process that it asks, while
//! it asks, and answers others in the object `Antifreeze.Detector` of every daemon, which takes no
//! lock and no worker.

mod home;
mod hops;
mod lane;
mod object;
mod peers;
mod told;
mod view;

pub(crate) use self::lane::{serve_at, start};
pub(crate) use self::object::DetectorObject;
pub use self::view::{deadlocks, graph};
