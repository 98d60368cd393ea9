//! Chores of the project: `cargo xtask test` and others.
fn main() {}
