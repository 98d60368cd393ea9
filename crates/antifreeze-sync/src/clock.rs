//! When waits began, in eight bytes each, and without looking at the clock for every one of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the first moment that is asked for counts as, so that there are some before it.
const FIRST: u64 = 1 << 32;

/// A moment, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Later than any other.
    pub(crate) const END: Self = Self(u64::MAX);

    pub(crate) fn now() -> Self {
        Self::of(Instant::now())
    }

    pub(crate) fn of(instant: Instant) -> Self {
        let nanoseconds = instant.saturating_duration_since(*BEGIN).as_nanos();
        Self(u64::try_from(nanoseconds).map_or(u64::MAX, |after| after.saturating_add(FIRST)))
    }

    /// So long before this one: a few seconds at most.
    pub(crate) fn before(self, duration: Duration) -> Self {
        let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(duration))
    }

    pub(crate) fn instant(self) -> Instant {
        *BEGIN + Duration::from_nanos(self.0.saturating_sub(FIRST))
    }

    /// How long it is from this one to `now`.
    pub(crate) fn until(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.instant())
    }
}

/// The time at which somebody looked last who looks often. Zero if nobody does at present.
pub(crate) struct Tick(AtomicU64);

impl Tick {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn note(&self, now: Instant) {
        self.0.store(Moment::of(now).0, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The time, or the time a moment ago.
    pub(crate) fn about_now(&self) -> Moment {
        match self.0.load(Ordering::Relaxed) {
            0 => Moment::now(),
            tick => Moment(tick),
        }
    }
}
