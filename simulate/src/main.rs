//! Random distributed programs in virtual time, with ground truth, against the detector of deadlocks
//! that span processes.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulate::compare::{self, Crowd, Sample};
use simulate::{Order, run_all};

/// Makes random programs that are spread over processes, runs them in virtual time, and compares what the
/// detectors say with the truth.
///
/// The last line says how many of the deadlocks were found. The exit status is 0 if that is all of
/// them, nothing else was reported, and enough programs deadlocked and enough others did not; else 1.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many programs
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// What they are made from: the same seed makes the same programs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many threads run them
    #[arg(long)]
    threads: Option<usize>,
    /// Runs the one program with this number of that seed, and prints it
    #[arg(long)]
    only: Option<u64>,
    /// Instead, one program with so many agents
    #[arg(long)]
    agents: Option<usize>,
    /// In so many processes
    #[arg(long, default_value_t = 100, requires = "agents")]
    nodes: usize,
    /// So many of a thousand agents take locks against the order
    #[arg(long, default_value_t = 50, requires = "agents")]
    wrong: u32,
    /// So many agents come to each lock in a second
    #[arg(long, default_value_t = 20, requires = "agents")]
    per_lock: usize,
    /// Instead, compares with other ways to find deadlocks, in so many programs, and prints a table in Markdown
    #[arg(long)]
    baselines: bool,
    /// Instead, makes charts of the same in this directory, in so many programs for each point, and with up
    /// to so many agents, else a million
    #[arg(long, value_name = "DIRECTORY")]
    charts: Option<PathBuf>,
    /// Breaks the detectors in this way: the status should be 1 then
    #[arg(long, value_name = "NAME", value_parser = simulate::parse_fault)]
    broken: Option<antifreeze_detector::faults::Fault>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let order = Order {
        count: arguments.count,
        seed: arguments.seed,
        threads: arguments.threads,
        fault: arguments.broken,
    };
    if let Some(number) = arguments.only {
        let (program, seen) = simulate::run_one(&order, number);
        println!("{program:#?}\n{seen:#?}");
        return ExitCode::SUCCESS;
    }
    let sample = Sample {
        count: arguments.count,
        seed: arguments.seed,
        threads: arguments.threads,
    };
    let made = match (&arguments.charts, arguments.baselines) {
        (Some(into), _) => Some({
            let most = arguments.agents.unwrap_or(1_000_000);
            compare::charts(sample, most, into)
        }),
        (None, true) => Some(match compare::table(sample) {
            Ok(table) => {
                print!("{table}");
                Ok(())
            }
            Err(error) => Err(std::io::Error::other(error)),
        }),
        (None, false) => None,
    };
    if let Some(made) = made {
        return match made {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let begun = Instant::now();
    let tally = match arguments.agents {
        None => run_all(&order),
        Some(agents) => Crowd {
            agents,
            nodes: arguments.nodes,
            wrong: arguments.wrong,
            per_lock: arguments.per_lock,
        }
        .run(arguments.seed, None),
    };
    if arguments.agents.is_some() {
        println!("simulated in {:.1} s", begun.elapsed().as_secs_f64());
    }
    println!("{tally}");
    let passes = match arguments.agents {
        None => tally.passes(),
        Some(_) => tally.is_right(),
    };
    match passes {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
