//! Item streams and whatever else belongs to a client, on both drivers.

#[path = "../common/mod.rs"]
mod common;
mod deadlocks;
mod errors;
mod leaving;
mod taking;
