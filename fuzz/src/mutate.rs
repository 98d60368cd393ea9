//! Damaging input at random.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;

use crate::Target;

/// No input is larger, so that many are tried.
const MAX_BYTES: usize = 4096;

/// Words that say something in one of the formats.
const WORDS: [&[u8]; 32] = [
    b"__class__",
    b"'__class__':",
    b"\"__class__\": ",
    b"builtins.ValueError",
    b"Pyro5.core.URI",
    b"Pyro5.core._ExceptionWrapper",
    b"float",
    b"nan",
    b"state",
    b"args",
    b"1e30000",
    b"-1e-30000",
    b"9223372036854775808",
    b"1j",
    b"0x_1",
    b"\\ud800",
    b"\\N{DIGIT ONE}",
    b"set()",
    b"...",
    b"((",
    b"))",
    b",)",
    b"'''",
    b"r\x00\x00\x00\x00",
    b"r\x01\x00\x00\x00",
    b"\xfb\xfa\x01a",
    b"\xa9\x02",
    b"l\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xdf\xff\xff\xff\xff",
    b"\xd7\x32",
    b"\xc7\x03\x31",
];

/// Makes input for a target, and runs it.
pub struct Fuzzer {
    target: Target,
    /// Good documents, and some damaged ones that were decoded all the same.
    corpus: Vec<Vec<u8>>,
    rng: Rng,
}

impl Fuzzer {
    /// Begins with the seeds of the target; the same `seed` makes the same input.
    pub fn new(target: Target, seed: u64) -> Self {
        Self {
            target,
            corpus: (target.seeds)(),
            rng: Rng::with_seed(seed),
        }
    }

    /// Runs all of what the target begins with, undamaged.
    ///
    /// # Errors
    ///
    /// The input for which it panicked.
    pub fn run_seeds(&mut self) -> Result<(), Vec<u8>> {
        for input in self.corpus.clone() {
            self.run(input)?;
        }
        Ok(())
    }

    /// Runs one more input.
    ///
    /// # Errors
    ///
    /// The input for which it panicked.
    pub fn step(&mut self) -> Result<(), Vec<u8>> {
        let input = self.input();
        self.run(input)
    }

    fn run(&mut self, input: Vec<u8>) -> Result<(), Vec<u8>> {
        let run = AssertUnwindSafe(|| (self.target.run)(&input));
        match catch_unwind(run) {
            Ok(()) => Ok(()),
            Err(_) => Err(input),
        }
    }

    fn input(&mut self) -> Vec<u8> {
        let mut input = self.any_seed();
        let most = 1 << self.rng.u32(0..5);
        let changes = 1 + self.rng.usize(0..most);
        for _ in 0..changes {
            self.change(&mut input);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn any_seed(&mut self) -> Vec<u8> {
        self.rng.choice(&self.corpus).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let at = rng.usize(0..=input.len());
        let end = (at + rng.usize(0..32)).min(input.len());
        match rng.u32(0..10) {
            0 => input.insert(at, rng.u8(..)),
            1 => drop(input.drain(at..end)),
            2 => input.truncate(at),
            3 if at < input.len() => input[at] ^= 1 << rng.u32(0..8),
            4 if at < input.len() => input[at] = rng.u8(..),
            5 => {
                let copy = input[at..end].to_vec();
                let times = rng.usize(1..4);
                input.splice(at..at, copy.repeat(times));
            }
            6 | 7 => {
                let word = WORDS[rng.usize(0..WORDS.len())];
                let over = if rng.bool() { word.len() } else { 0 };
                let end = (at + over).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            8 => {
                let other = self.any_seed();
                let from = self.rng.usize(0..=other.len());
                let len = self.rng.usize(0..64);
                let piece = other[from..].iter().take(len).copied();
                input.splice(at..at, piece);
            }
            _ if at < input.len() => {
                input[at] = input[at].wrapping_add(rng.u8(0..3).wrapping_sub(1))
            }
            _ => {}
        }
    }
}
