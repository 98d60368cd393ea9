//! Random programs of real processes, ours and Pyro5's, with ground truth, against the detector of
//! deadlocks that span processes.

#![forbid(unsafe_code)]

mod generate;
mod lead;
mod message;
mod model;
mod node;
mod program;
mod report;
mod run;
mod troupe;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::program::Kind;
use crate::run::Order;

/// Makes random programs, has real processes of Antifreeze and of Pyro5 run them step by step, and
/// compares what the detectors say with the truth.
///
/// The last line says how many of the deadlocks were found. The exit status is 0 if that is all of
/// them, nothing else was reported, and enough programs deadlocked and enough others did not; else 1.
#[derive(Parser)]
#[command(name = "wait-programs")]
struct Arguments {
    /// How many programs
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// What they are made from: the same seed makes the same programs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many run at a time, each in processes of its own
    #[arg(long, default_value_t = 3)]
    at_once: u64,
    /// Runs the one program with this number of that seed, and prints it
    #[arg(long)]
    only: Option<u64>,
    /// Only programs in which Python does what cannot be told from a deadlock
    #[arg(long)]
    ambiguous: bool,
    /// After how many failures to stop
    #[arg(long, default_value_t = 10)]
    enough: usize,
    /// The Python that has Pyro5
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Is one of the processes
    #[arg(long, hide = true)]
    node: Option<Driver>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Driver {
    Threads,
    Tasks,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(driver) = arguments.node {
        let kind = match driver {
            Driver::Threads => Kind::Threads,
            Driver::Tasks => Kind::Tasks,
        };
        return match node::run(kind) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let order = Order {
        count: arguments.count,
        seed: arguments.seed,
        at_once: arguments.at_once,
        ambiguous: arguments.ambiguous,
        enough: arguments.enough,
        python: arguments.python,
    };
    if let Err(problem) = run::probe(&order.python) {
        eprintln!("error: {problem}");
        return ExitCode::from(2);
    }
    if let Some(number) = arguments.only {
        return match run::run_one(&order, number) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    let tally = run::run_all(&order);
    println!("{tally}");
    match tally.passes(&order) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
