//! Deadlocks that span processes are found, named and broken, on both drivers and across them.

#[path = "../common/mod.rs"]
mod common;
mod conversation;
mod faults;
mod link;
mod network;
mod partitions;
mod rings;
mod scenarios;

#[test]
#[ignore = "a process of its own that other tests start"]
fn link_process() {
    link::run();
}

#[test]
#[ignore = "a process of its own that other tests start"]
fn conversation_process() {
    conversation::run();
}
