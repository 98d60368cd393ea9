//! The deadlocks of the last hour.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::report::Report;

/// How many are remembered, and for how long.
const MOST: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

static PAST: Mutex<VecDeque<Past>> = Mutex::new(VecDeque::new());

/// A deadlock that was broken by failing somebody of this process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Past {
    /// When that was.
    pub at: SystemTime,
    /// Who was in it.
    pub report: Arc<Report>,
}

/// The deadlocks of the last hour in which somebody of this process failed, the oldest first; no
/// more than a hundred.
pub fn past() -> Vec<Past> {
    let is_recent = |past: &&Past| past.at.elapsed().unwrap_or_default() <= HOUR;
    PAST.lock().iter().filter(is_recent).cloned().collect()
}

/// Adds a deadlock to [`past`] that was broken by failing somebody otherwise than with
/// [`fail`](super::fail).
pub fn remember(report: &Arc<Report>) {
    let mut past = PAST.lock();
    if past.len() == MOST {
        past.pop_front();
    }
    past.push_back(Past {
        at: SystemTime::now(),
        report: Arc::clone(report),
    });
}
