//! `throughput`: calls per second of many connections at once, each with one call at a time.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cpus::Placement;
use crate::machine::Machine;
use crate::rounds::{self, Extent, Times};
use crate::row::{Peer, Row};
use crate::session::Stage;
use crate::wire::Serializer;

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    extent: Extent,
    /// Connections, each with a thread of its own in the client
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Print everything as JSON, every round of every row
    #[arg(long)]
    pub(crate) json: bool,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) calls: usize,
    pub(crate) connections: usize,
    pub(crate) times: Vec<Times>,
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let Options {
        extent,
        connections,
        ..
    } = options;
    let stage = Stage::set_up()?;
    // A client of prepared bytes loads a server without being the bottleneck, as Python would be.
    let rows = [
        (Peer::Raw, Peer::Raw),
        (Peer::Prepared, Peer::Prepared),
        (Peer::Prepared, Peer::Antifreeze),
        (Peer::Prepared, Peer::Pyro5),
        (Peer::Antifreeze, Peer::Antifreeze),
        (Peer::Pyro5, Peer::Antifreeze),
        (Peer::Pyro5, Peer::Pyro5),
    ]
    .map(|(client, server)| Row::new(client, server, Serializer::Msgpack));
    Ok(Report {
        // Described first: the load is the one before ours.
        machine: Machine::describe(Some(stage.python().versions()?))?,
        rounds: extent.rounds(),
        calls: extent.calls(),
        connections: *connections,
        times: rounds::time(&stage, &rows, &[Placement::Unpinned], extent, *connections)?,
    })
}
