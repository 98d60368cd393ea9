//! What a server promises whatever its peers and the network do, on both drivers.
//!
//! The demands S15 to S25 have tests named after them. `FULL_TESTS=1` runs those at their
//! whole size that are scaled down otherwise.

#[path = "../common/mod.rs"]
mod common;
mod doors;
mod freeze;
mod idle;
mod life;
mod one_owner;
mod transport;

#[test]
#[ignore = "a process of its own that other tests start"]
fn server_process() {
    common::process::Server::run();
}

#[test]
#[ignore = "a process of its own that other tests start"]
fn calling_process() {
    one_owner::run();
}
