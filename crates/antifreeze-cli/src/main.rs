//! The command `antifreeze`.
fn main() {}
