//! `calls`: what one small call costs, one connection, one call at a time.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::counts::{self, Counters, Counts};
use crate::machine::Machine;
use crate::row::Row;
use crate::session::{Observer, Placement, Stage, Task};
use crate::statistics::Round;

/// What to measure, and how to say it.
#[derive(Args)]
pub(crate) struct Options {
    /// How often every row is measured, one round after another [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Timed calls of a row in one round [default: 10000, with --quick 2000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    calls: Option<u32>,
    /// Fewer rounds and calls: for a first look
    #[arg(long)]
    quick: bool,
    /// Count instructions too, under valgrind
    #[arg(long)]
    instructions: bool,
    /// Only rows whose name contains this, as in "Antifreeze → Pyro5, json"; raw TCP always runs
    #[arg(long)]
    only: Option<String>,
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
    /// The CPU of pinned sessions.
    pub(crate) pinned_to: usize,
    pub(crate) times: Vec<Times>,
    pub(crate) counts: Vec<Counts>,
}

/// One row in all rounds.
#[derive(Serialize)]
pub(crate) struct Times {
    pub(crate) row: Row,
    pub(crate) placement: Placement,
    pub(crate) rounds: Vec<Round>,
}

impl Report {
    /// The rounds of a row, if it was measured.
    pub(crate) fn rounds(&self, row: Row, placement: Placement) -> Option<&[Round]> {
        let mut times = self.times.iter();
        let times = times.find(|times| times.row == row && times.placement == placement)?;
        Some(&times.rounds)
    }
}

/// Measures.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    let (rounds, calls) = if options.quick {
        (3, 2_000)
    } else {
        (5, 10_000)
    };
    let rounds = options.rounds.map_or(rounds, usize::from);
    let calls = options.calls.map_or(calls, |calls| calls as usize);
    let stage = Stage::set_up()?;
    let mut rows = Row::all();
    if let Some(part) = &options.only {
        rows.retain(|row| *row == Row::RAW || row.to_string().contains(part));
    }

    let times = time(&stage, &rows, rounds, calls)?;
    let counters = Counters {
        strace: counts::is_there("strace"),
        valgrind: options.instructions && counts::is_there("valgrind"),
    };
    let counts = rows.iter().map(|row| {
        progress(&format!("counting {row}"));
        counts::count(&stage, *row, counters)
    });
    Ok(Report {
        machine: Machine::describe(&stage)?,
        rounds,
        calls,
        pinned_to: stage.cpu,
        times,
        counts: counts.collect::<Result<_>>()?,
    })
}

/// Measures all rows, then all again, and so on: what slows the machine for a while slows all rows
/// of a round alike.
fn time(stage: &Stage, rows: &[Row], rounds: usize, calls: usize) -> Result<Vec<Times>> {
    let mut times: Vec<Times> = Placement::ALL
        .into_iter()
        .flat_map(|placement| {
            rows.iter().map(move |row| Times {
                row: *row,
                placement,
                rounds: Vec::new(),
            })
        })
        .collect();
    let task = Task {
        warm_up: calls / 10,
        calls,
        count: false,
    };
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}"));
        for times in &mut times {
            let reports = stage.run(times.row, times.placement, task, &Observer::default())?;
            times.rounds.push(Round::of(reports.client.nanoseconds));
        }
    }
    Ok(times)
}

/// Standard output is the report's.
fn progress(news: &str) {
    eprintln!("{news}");
}
