//! What is fuzzed: functions of bytes that panic if a promise is broken.
//!
//! They know nothing of where the bytes come from, so any fuzzer can call them. The one of this
//! crate ([`Fuzzer`]) damages good documents at random: it finds less than one that watches which
//! code runs, but needs nothing but a stable compiler.

#![forbid(unsafe_code)]

mod codecs;
mod connections;
mod messages;
mod mutate;

pub use crate::mutate::Fuzzer;

/// A function of bytes, and what to begin with.
#[derive(Clone, Copy)]
pub struct Target {
    /// How it is called.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Input that is as it should be.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Runs a target once.
///
/// # Panics
///
/// If a promise is broken, or there is no such target.
pub fn run(target: &str, input: &[u8]) {
    let known = TARGETS.iter().find(|known| known.name == target);
    (known.expect("a target of `TARGETS`").run)(input);
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "decode",
        run: codecs::decode,
        seeds: codecs::seeds,
    },
    Target {
        name: "again",
        run: codecs::again,
        seeds: codecs::seeds,
    },
    Target {
        name: "typed",
        run: codecs::typed,
        seeds: codecs::typed_seeds,
    },
    Target {
        name: "messages",
        run: messages::read,
        seeds: messages::seeds,
    },
    Target {
        name: "server",
        run: connections::server,
        seeds: connections::seeds,
    },
    Target {
        name: "client",
        run: connections::client,
        seeds: connections::seeds,
    },
];
