//! Interleaved rounds: all rows, then all again, and so on. What slows the machine for a while slows
//! all rows of a round alike.

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::cpus::Placement;
use crate::row::Row;
use crate::session::{Observer, Stage, Task};
use crate::statistics::Round;

/// How much to measure.
#[derive(Args)]
pub(crate) struct Extent {
    /// How often every row is measured, one round after another [default: 9, with --quick 3]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,
    /// Timed calls of a row in one round, on each connection [default: 4000, with --quick 2000]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    calls: Option<usize>,
    /// Fewer rounds and calls: for a first look
    #[arg(long)]
    quick: bool,
}

impl Extent {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.unwrap_or(if self.quick { 2_000 } else { 4_000 })
    }
}

/// One row in all rounds.
#[derive(Serialize)]
pub(crate) struct Times {
    pub(crate) row: Row,
    pub(crate) placement: Placement,
    pub(crate) rounds: Vec<Round>,
}

/// Measures every row at every placement.
pub(crate) fn time(
    stage: &Stage,
    rows: &[Row],
    placements: &[Placement],
    extent: &Extent,
    connections: usize,
) -> Result<Vec<Times>> {
    let each = |placement| {
        rows.iter().map(move |row| Times {
            row: *row,
            placement,
            rounds: Vec::new(),
        })
    };
    let mut times: Vec<Times> = placements.iter().copied().flat_map(each).collect();
    let calls = extent.calls();
    let task = Task {
        warm_up: calls / 10,
        calls,
        connections,
        count: false,
    };
    for round in 1..=extent.rounds() {
        progress(&format!("round {round} of {}", extent.rounds()));
        for times in &mut times {
            let reports = stage.run(times.row, times.placement, task, &Observer::default())?;
            times.rounds.push(Round::of(reports.client));
        }
    }
    Ok(times)
}

/// Says on standard error how far it is: standard output is the report's.
pub(crate) fn progress(news: &str) {
    eprintln!("{news}");
}
