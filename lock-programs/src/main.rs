//! Random lock programs with ground truth, against the deadlock detector of antifreeze-sync.

#![forbid(unsafe_code)]

mod broken;
mod cast;
mod free;
mod generate;
mod json;
mod lead;
mod oracle;
mod program;
mod replay;
mod report;
mod run;
mod shrink;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use antifreeze_sync::faults::Fault;
use clap::Parser;

use crate::lead::Chooser;
use crate::run::{Order, Way};

/// Makes random lock programs, runs them, and compares what the detector says with the truth.
///
/// The last line says how many of the deadlocks were found. The exit status is 0 if that is all of
/// them, nothing else was reported, and enough programs deadlocked and enough others did not; else 1.
#[derive(Parser)]
#[command(name = "lock-programs")]
struct Arguments {
    /// How many programs
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// What they are made from: the same seed makes the same programs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many run at a time
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    at_once: u64,
    /// The number of the first one
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads that are led sleep for up to so many milliseconds before each step, as on a busy machine
    #[arg(
        long,
        default_value_t = 0,
        value_name = "MILLISECONDS",
        conflicts_with_all = ["replay", "check"]
    )]
    dawdle: u64,
    /// Only those that are led step by step, or only those that run freely
    #[arg(long, value_parser = ["led", "free"])]
    only: Option<String>,
    /// After how many failures to stop
    #[arg(long, default_value_t = 20)]
    enough: usize,
    /// Breaks the detector in this way, which needs the feature `faults`: the status should be 1 then
    #[arg(long, value_name = "NAME", value_parser = broken::parse)]
    broken: Option<Fault>,
    /// Runs the program in this file as its schedule says, and says what came of it in one line of
    /// JSON; status 2 if that is no program
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    replay: Option<PathBuf>,
    /// Runs the program in this file as its schedule says, and compares it with the truth
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(fault) = arguments.broken
        && let Err(problem) = broken::set(fault)
    {
        eprintln!("error: {problem}");
        return ExitCode::from(2);
    }
    match &arguments {
        Arguments {
            replay: Some(path), ..
        } => replay(path),
        Arguments {
            check: Some(path), ..
        } => check(path),
        _ => generate(&arguments),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let error = |error| {
        format!(
            "expected a file that can be read, got {}: {error}",
            path.display()
        )
    };
    std::fs::read_to_string(path).map_err(error)
}

fn replay(path: &Path) -> ExitCode {
    let script = match read(path).and_then(|text| json::parse(&text)) {
        Ok(script) => script,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    match replay::replay(&script) {
        Ok(outcome) => {
            println!("{}", outcome.line());
            ExitCode::SUCCESS
        }
        Err((outcome, problem)) => {
            println!("{}", outcome.line());
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> ExitCode {
    let script = match read(path).and_then(|text| json::parse_generated(&text)) {
        Ok(script) => script,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = run::runtime();
    let mut crew = cast::Crew::new(runtime.handle().clone());
    let chooser = Chooser::Fixed(script.schedule.into_iter());
    let seen = lead::run(&script.program, "p", &mut crew, chooser, lead::LIMIT);
    runtime.shutdown_background();
    println!(
        "recall {}/{}, false positives {}",
        seen.found, seen.onsets, seen.false_positives
    );
    match seen.fault {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            eprintln!("{:?}: {}", fault.kind, fault.text);
            ExitCode::FAILURE
        }
    }
}

fn generate(arguments: &Arguments) -> ExitCode {
    let order = Order {
        count: arguments.count,
        seed: arguments.seed,
        at_once: arguments.at_once,
        enough: arguments.enough,
        first: arguments.first,
        dawdle: Duration::from_millis(arguments.dawdle),
        way: arguments.only.as_deref().map(|only| match only {
            "led" => Way::Led,
            _ => Way::Free,
        }),
    };
    let mut tally = run::run_all(&order);
    for (place, failure) in tally.failures.iter_mut().enumerate() {
        let shrinks = arguments.broken.is_none() && failure.way == Way::Led && place < 8;
        if shrinks && !run::shrink(failure, order.dawdle) {
            eprintln!("this did not come up again when it was run once more:");
        }
        eprintln!(
            "program {} of seed {} ({:?}), {:?}: {}",
            failure.number, order.seed, failure.way, failure.fault.kind, failure.fault.text
        );
        let program = failure.program.clone();
        let script = json::Script {
            program,
            schedule: failure.schedule.clone(),
        };
        eprintln!("{}", json::write(&script));
    }
    println!("{tally}");
    if tally.is_good(&order) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
