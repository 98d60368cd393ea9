//! The live view as text.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::time::Duration;

use super::{Holder, ResourceState, Snapshot, WaiterState};
use crate::report::{Lasted, Names};

/// How many holders and how many waiters of one resource are told.
const MOST_LINES: usize = 12;

/// Who waits longer than this for nobody known is pointed out.
const STALLED: Duration = Duration::from_secs(10);

impl Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters = self.resources.iter().flat_map(|state| &state.waiters);
        let waiting: HashSet<u64> = waiters.map(|waiter| waiter.agent.frame).collect();
        match waiting.len() {
            0 => f.write_str("nobody waits")?,
            1 => f.write_str("1 agent waits")?,
            many => write!(f, "{many} agents wait")?,
        }
        let names = Names::of(self.resources.iter().map(|state| &state.resource));
        for state in &self.resources {
            state.write(&names, f)?;
        }
        Ok(())
    }
}

impl ResourceState {
    /// Who waits longest, if it is for so long that somebody should look, and nobody is known who
    /// can end it.
    fn stalled(&self) -> Option<Duration> {
        let waited = self.waiters.iter().map(|waiter| waiter.waited);
        let longest = waited.max().filter(|longest| *longest >= STALLED);
        longest.filter(|_| self.holders.is_empty())
    }

    fn write(&self, names: &Names, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            holders,
            others,
            waiters,
        } = self;
        let name = names.name(resource);
        write!(f, "\n{name} (made at {})", resource.created)?;
        for holder in holders.iter().take(MOST_LINES) {
            write!(f, "\n    {} ", Who(holder))?;
            holder.mode.write_held(resource, &"it", f)?;
            if let Some(site) = &holder.site {
                write!(f, ", acquired at {site}")?;
            }
        }
        if let Some(more @ 1..) = holders.len().checked_sub(MOST_LINES) {
            write!(f, "\n    … and {more} more")?;
        }
        if *others {
            f.write_str("\n    others, of whom nothing is known, may let the next one go on")?;
        } else if holders.is_empty() {
            f.write_str("\n    nobody holds it")?;
        }
        for (place, waiter) in (1..).zip(waiters).take(MOST_LINES) {
            waiter.write(place, self, f)?;
        }
        let rest = waiters.get(MOST_LINES..).unwrap_or_default();
        if let Some(longest) = rest.iter().map(|waiter| waiter.waited).max() {
            let (more, longest) = (rest.len(), Lasted(longest));
            write!(f, "\n    … and {more} more, the longest for {longest}")?;
        }
        if let Some(longest) = self.stalled() {
            let longest = Lasted(longest);
            let what = if waiters.len() == 1 {
                "this wait"
            } else {
                "these waits"
            };
            write!(
                f,
                "\n    stalled? nobody known can end {what}, for {longest} now"
            )?;
        }
        Ok(())
    }
}

impl WaiterState {
    fn write(&self, place: usize, of: &ResourceState, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            agent,
            mode,
            site,
            waited,
            timed,
            ..
        } = self;
        let waited = Lasted(*waited);
        write!(f, "\n    {place}. {agent} has waited {waited}")?;
        if *timed {
            f.write_str(", with a deadline,")?;
        }
        write!(f, " at {site}")?;
        match &*mode.wanted(&of.resource) {
            "for" => Ok(()),
            wanted => write!(f, " {wanted} it"),
        }
    }
}

/// The name of a holder, if it is known.
pub(super) struct Who<'a>(pub(super) &'a Holder);

impl Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.agent {
            Some(agent) => agent.fmt(f),
            None => write!(f, "frame {}", self.0.frame),
        }
    }
}
