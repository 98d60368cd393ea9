//! Which timers exist, and which of them run.

use std::fmt;
use std::time::Duration;

use crate::time::Time;

/// What a connection waits for no longer than some time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Timer {
    /// The peer's part of the handshake.
    Handshake,
    /// A request, between two of them.
    Idle,
    /// The next byte of a message.
    Stall,
    /// The peer taking a byte of what waits for it, or all of a oneway call with a deadline.
    Write,
    /// The answer to our call.
    Reply,
    /// The last calls of a connection that drains.
    Drain,
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "expected the handshake, it did not come",
            Self::Idle => "expected a request, none came",
            Self::Stall => "expected the rest of a message, no byte came",
            Self::Write => "expected the peer to read, it did not in time",
            Self::Reply => "expected the reply before the deadline, it did not come",
            Self::Drain => "expected the last calls to end, they did not",
        })
    }
}

impl Timer {
    const COUNT: usize = 6;
    const ALL: [Self; Self::COUNT] = [
        Self::Handshake,
        Self::Idle,
        Self::Stall,
        Self::Write,
        Self::Reply,
        Self::Drain,
    ];
}

/// When each timer fires; [`Time::MAX`] where it does not run.
pub(crate) struct Timers {
    at: [Time; Timer::COUNT],
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            at: [Time::MAX; Timer::COUNT],
        }
    }

    /// Starts `timer`, or starts it anew.
    pub(crate) fn start(&mut self, timer: Timer, now: Time, limit: Duration) {
        self.at[timer as usize] = now + limit;
    }

    /// Lets `timer` fire at `at`, or not at all.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        self.at[timer as usize] = at.unwrap_or(Time::MAX);
    }

    /// Lets `timer` fire at `at` if that is earlier.
    pub(crate) fn hasten(&mut self, timer: Timer, at: Option<Time>) {
        let fires = &mut self.at[timer as usize];
        *fires = at.map_or(*fires, |at| at.min(*fires));
    }

    pub(crate) const fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = Time::MAX;
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn runs(&self, timer: Timer) -> bool {
        self.at[timer as usize] != Time::MAX
    }

    /// When the next timer fires.
    pub(crate) fn next(&self) -> Option<Time> {
        self.at.iter().copied().min().filter(|at| *at != Time::MAX)
    }

    /// When `timer` fires, if it runs.
    pub(crate) fn at(&self, timer: Timer) -> Option<Time> {
        Some(self.at[timer as usize]).filter(|at| *at != Time::MAX)
    }

    /// The timer that should have fired first, if any should have by `now`.
    pub(crate) fn due(&self, now: Time) -> Option<Timer> {
        let first = self.next().filter(|at| *at <= now)?;
        Timer::ALL
            .into_iter()
            .find(|timer| self.at[*timer as usize] == first)
    }

    /// Leaves every running timer at least `grace`.
    pub(crate) fn resume(&mut self, now: Time, grace: Duration) {
        for at in &mut self.at {
            *at = (*at).max(now + grace);
        }
    }
}
