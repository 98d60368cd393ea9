//! `calls`: what one small call costs, one connection, one call at a time.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::counts::{self, Counters, Counts};
use crate::cpus::Placement;
use crate::machine::Machine;
use crate::rounds::{self, Extent, Times, progress};
use crate::row::Row;
use crate::session::Stage;
use crate::statistics::Round;
use crate::targets::{self, Target};

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    extent: Extent,
    /// Count instructions too, under valgrind
    #[arg(long)]
    instructions: bool,
    /// Only rows whose name contains this, as in "Antifreeze → Pyro5, json"; raw TCP always runs
    #[arg(long)]
    only: Option<String>,
    /// Print everything as JSON, every round of every row
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail if a target is missed
    #[arg(long)]
    pub(crate) check: bool,
}

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) calls: usize,
    /// The CPU of pinned sessions.
    pub(crate) pinned_to: usize,
    pub(crate) times: Vec<Times>,
    pub(crate) counts: Vec<Counts>,
    pub(crate) targets: Vec<Target>,
}

impl Report {
    /// The rounds of a row, if it was measured.
    pub(crate) fn rounds(&self, row: Row, placement: Placement) -> Option<&[Round]> {
        let mut times = self.times.iter();
        let times = times.find(|times| times.row == row && times.placement == placement)?;
        Some(&times.rounds)
    }

    /// What a call of a row costs, if it was counted.
    pub(crate) fn counts(&self, row: Row) -> Option<&Counts> {
        self.counts.iter().find(|counts| counts.row == row)
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let stage = Stage::set_up()?;
    let mut rows = Row::all();
    if let Some(part) = &options.only {
        rows.retain(|row| *row == Row::RAW || row.to_string().contains(part));
    }

    let machine = Machine::describe(Some(stage.python().versions()?))?;
    let times = rounds::time(&stage, &rows, &Placement::ALL, &options.extent, 1)?;
    let counters = Counters {
        strace: counts::is_there("strace"),
        valgrind: options.instructions && counts::is_there("valgrind"),
    };
    let counts = rows.iter().map(|row| {
        progress(&format!("counting {row}"));
        counts::count(&stage, *row, counters)
    });
    let mut report = Report {
        machine,
        rounds: options.extent.rounds(),
        calls: options.extent.calls(),
        pinned_to: stage.cpus.pinned_to,
        times,
        counts: counts.collect::<Result<_>>()?,
        targets: Vec::new(),
    };
    report.targets = targets::judge(&report);
    Ok(report)
}
