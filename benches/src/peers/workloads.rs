//! What the contestants do, and the one number that tells how well.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::statistics::Round;

/// Calls of one batch.
pub(super) const BATCH: usize = 1_000;

const MIB: usize = 1 << 20;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Workload {
    /// One small call at a time, one connection.
    OneCall,
    /// 16 connections, one small call at a time on each.
    Connections,
    /// 64 small calls in flight on one connection.
    InFlight,
    /// 1,000 small calls in one message, one connection.
    Batches,
    /// Bytes there and back, one connection.
    Echo1,
    /// The same with more bytes.
    Echo64,
}

/// What the number of a workload is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// The p50 of a call; less is better.
    Microseconds,
    /// Of all callers together.
    CallsPerSecond,
    /// Millions of bytes that came back, each counted once, at the p50.
    MegabytesPerSecond,
}

impl Workload {
    /// All, in the order of the tables.
    pub(super) const ALL: [Self; 6] = [
        Self::OneCall,
        Self::Connections,
        Self::InFlight,
        Self::Batches,
        Self::Echo1,
        Self::Echo64,
    ];

    /// How many connections there are.
    pub(super) fn connections(self) -> usize {
        if self == Self::Connections { 16 } else { 1 }
    }

    /// How many calls are in flight on each connection.
    pub(super) fn in_flight(self) -> usize {
        if self == Self::InFlight { 64 } else { 1 }
    }

    /// How many bytes are echoed, if that is what it is about.
    pub(super) fn echo(self) -> Option<usize> {
        match self {
            Self::Echo1 => Some(MIB),
            Self::Echo64 => Some(64 * MIB),
            Self::OneCall | Self::Connections | Self::InFlight | Self::Batches => None,
        }
    }

    pub(super) fn unit(self) -> Unit {
        match self {
            Self::OneCall => Unit::Microseconds,
            Self::Connections | Self::InFlight | Self::Batches => Unit::CallsPerSecond,
            Self::Echo1 | Self::Echo64 => Unit::MegabytesPerSecond,
        }
    }

    /// What counts of one round.
    pub(super) fn value(self, round: &Round) -> f64 {
        match self.unit() {
            Unit::Microseconds => round.p50_us,
            Unit::CallsPerSecond => round.calls_per_second,
            Unit::MegabytesPerSecond => self.echo().unwrap_or_default() as f64 / round.p50_us,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Microseconds => "p50 µs",
            Self::CallsPerSecond => "calls/s",
            Self::MegabytesPerSecond => "MB/s",
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::OneCall => "one call",
            Self::Connections => "16 connections",
            Self::InFlight => "64 in flight",
            Self::Batches => "batches of 1,000",
            Self::Echo1 => "echo of 1 MiB",
            Self::Echo64 => "echo of 64 MiB",
        })
    }
}
