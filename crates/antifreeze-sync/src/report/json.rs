//! Source locations and times as data.

use std::panic::Location;
use std::time::Duration;

use serde::Serializer;

/// `file:line:column`.
pub(crate) fn site<S: Serializer>(
    site: &&'static Location<'static>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(site)
}

/// `file:line:column`, if known.
pub(crate) fn known_site<S: Serializer>(
    known: &Option<&'static Location<'static>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match known {
        Some(known) => site(known, serializer),
        None => serializer.serialize_none(),
    }
}

/// Milliseconds, to the microsecond.
pub(crate) fn ms<S: Serializer>(lasted: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(lasted.as_micros() as f64 / 1_000.0)
}
