//! Whether the machine slept: the clock of time-outs stood still meanwhile, and so did the peers.

use std::time::Duration;

/// What is less may be the time between two readings of clocks.
const LEAST: Duration = Duration::from_millis(100);

/// Tells how long the machine has slept since it was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SleepClock(fn() -> Duration);

/// Notices sleep. Whoever is woken by a timer asks it, so that nobody wakes up for its sake.
pub(crate) struct SleepWatch {
    clock: SleepClock,
    known: Duration,
}

impl SleepClock {
    /// A clock that shows this.
    pub(crate) fn new(slept: fn() -> Duration) -> Self {
        Self(slept)
    }

    /// Begins to watch.
    pub(crate) fn watch(self) -> SleepWatch {
        SleepWatch {
            clock: self,
            known: self.0(),
        }
    }
}

impl Default for SleepClock {
    /// The machine's.
    fn default() -> Self {
        Self(slept)
    }
}

impl SleepWatch {
    /// How long the machine has slept that was not noticed yet, if it has.
    pub(crate) fn notice(&mut self) -> Option<Duration> {
        let slept = self.clock.0();
        let unnoticed = slept.checked_sub(self.known)?;
        if unnoticed < LEAST {
            return None;
        }
        self.known = slept;
        Some(unnoticed)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order, so that what passes between the two readings is not taken for sleep.
    let (since_start, awake) = (read(ClockId::Boottime), read(ClockId::Monotonic));
    since_start.saturating_sub(awake)
}

/// No clock tells.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn slept() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn sleep_is_noticed_once_and_short_delays_are_none() {
        static SLEPT: AtomicU64 = AtomicU64::new(5_000);
        let mut watch =
            SleepClock::new(|| Duration::from_millis(SLEPT.load(Ordering::Relaxed))).watch();
        let mut check = |slept: u64, noticed: Option<u64>| {
            SLEPT.store(slept, Ordering::Relaxed);
            assert_eq!(watch.notice(), noticed.map(Duration::from_millis));
        };
        check(5_000, None);
        check(5_099, None);
        // Short ones are not forgotten.
        check(5_100, Some(100));
        check(5_100, None);
        check(4_000, None);
        check(65_100, Some(60_000));
    }

    #[test]
    fn a_machine_that_is_awake_does_not_sleep() {
        let mut watch = SleepClock::default().watch();
        assert_eq!(watch.notice(), None);
    }
}
