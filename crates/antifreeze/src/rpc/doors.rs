//! Where the objects of a daemon are reached: what their URIs say.

use crate::call;
use crate::error::Error;
use crate::uri::{Location, Uri};

/// The addresses of a daemon.
pub(crate) struct Doors {
    /// The one with the name.
    pub(crate) location: Location,
    /// Where it listens that this does not say.
    pub(crate) others: Vec<Location>,
}

impl Doors {
    /// The URI of an object id, by which the client reaches it whose call is being served, if that
    /// came in through another door than the one with the name. What leaves with a call to others
    /// names the door with the name.
    pub(crate) fn uri_for(&self, id: &str) -> Result<Uri, Error> {
        let ours = |used: &Location| self.others.iter().any(|door| leads_to(door, used));
        let entrance = call::entrance_of_receiver().filter(ours);
        Uri::new(id, entrance.unwrap_or_else(|| self.location.clone()))
    }
}

/// Whether who came in at `used` came through this door.
fn leads_to(door: &Location, used: &Location) -> bool {
    match (door, used) {
        (Location::Tcp { port, .. }, Location::Tcp { port: other, .. }) if door.is_wildcard() => {
            port == other
        }
        _ => door == used,
    }
}
