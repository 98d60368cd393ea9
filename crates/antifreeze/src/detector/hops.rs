//! Calls to programs that are not ours, as victims: only who made them can end them.

use std::any::Any;
use std::sync::Arc;

use antifreeze_sync::detector::{self, ReadWait};
use antifreeze_sync::{Report, calls};

use crate::chain::{Route, Stage};

/// Ends the call to a program that is not ours for which `frame` waits, if it is still the one of that
/// reading.
pub(super) fn fail(reading: u64, frame: u64, report: &Arc<Report>) -> bool {
    let Some(again) = detector::confirm(reading, &[frame]) else {
        return false;
    };
    let mut waits = again.frames.iter().flat_map(|read| &read.waits);
    waits.any(|wait| match route(wait) {
        Some((call, route)) => route.fail(call, report),
        None => false,
    })
}

/// How far a wait for such a program has come, if it can be ended.
pub(super) fn stage(wait: &ReadWait) -> Option<Stage> {
    let (call, route) = route(wait)?;
    route.stage(call)
}

/// Whether this is a wait for such a program that is over, though whoever waits does not know it yet.
pub(super) fn goes_on(wait: &ReadWait) -> bool {
    route(wait).is_some_and(|(call, route)| route.is_over(call))
}

fn route(wait: &ReadWait) -> Option<(u64, &Route)> {
    let ReadWait::Call { call, peer, .. } = wait else {
        return None;
    };
    let peer: &dyn Any = &**peer;
    let route: &Route = peer.downcast_ref()?;
    (call.node == calls::node()).then_some((call.seq, route))
}
