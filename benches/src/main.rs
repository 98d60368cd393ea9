//! Speed of Antifreeze, side by side with its limits and its peers, in one command. See README.md.

mod allocations;
mod calls;
mod counts;
mod machine;
mod markdown;
mod python;
mod roles;
mod rounds;
mod row;
mod session;
mod statistics;
mod targets;
mod throughput;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::allocations::CountingAllocator;
use crate::roles::Role;
use crate::targets::Target;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Speed of Antifreeze, side by side with its limits and its peers
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What one small call costs, one connection, one call at a time
    Calls(calls::Options),
    /// Calls per second of many connections at once
    Throughput(throughput::Options),
    /// Be one of the processes that are measured
    #[command(subcommand, hide = true)]
    Role(Role),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Calls(options) => {
            let report = calls::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", markdown::Calls(&report));
            }
            let missed = options.check && !report.targets.iter().all(Target::is_kept);
            Ok(if missed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Command::Throughput(options) => {
            let report = throughput::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", markdown::Throughput(&report));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Role(role) => roles::play(role).map(|()| ExitCode::SUCCESS),
    }
}
