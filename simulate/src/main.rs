//! Random distributed programs in virtual time, with ground truth, against the detector of deadlocks
//! that span processes.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
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
    let tally = match arguments.agents {
        None => run_all(&order),
        Some(agents) => {
            let begun = Instant::now();
            let (nodes, wrong) = (arguments.nodes, arguments.wrong);
            let tally = simulate::run_crowd(&order, agents, nodes, wrong);
            println!("simulated in {:.1} s", begun.elapsed().as_secs_f64());
            println!("{tally}");
            return match tally.is_right() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            };
        }
    };
    println!("{tally}");
    match tally.passes() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
