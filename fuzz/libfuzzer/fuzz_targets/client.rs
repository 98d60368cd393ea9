//! The target `client` of the crate above.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| antifreeze_fuzz::run("client", input));
