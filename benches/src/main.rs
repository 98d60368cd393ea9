//! Speed of Antifreeze, side by side with its limits and its peers, in one command. See README.md.

mod allocations;
mod calls;
mod children;
mod codecs;
mod counts;
mod cpus;
mod deadlocks;
mod locks;
mod machine;
mod markdown;
mod peers;
mod python;
mod roles;
mod rounds;
mod row;
mod session;
mod statistics;
mod targets;
mod throughput;
mod waiters;
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
    /// Against other libraries for remote calls: one call, many, and large ones
    Peers(peers::Options),
    /// What locks cost, with and without others who want them
    Locks(locks::Options),
    /// What it costs to have very many tasks wait for one lock
    Waiters(waiters::Options),
    /// What encoding and decoding costs, beside Python's codecs and others
    Codecs(codecs::Options),
    /// How long a deadlock lasts until it is told of
    Deadlocks(deadlocks::Options),
    /// What it costs to look for deadlocks, against a build that does not
    Detection(peers::detection::Options),
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
            let kept = report.targets.iter().all(Target::is_kept);
            Ok(exit(options.check && !kept))
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
        Command::Peers(options) => {
            let report = peers::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", peers::Markdown(&report));
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Locks(options) => {
            let report = locks::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", locks::Markdown(&report));
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Waiters(options) => {
            let report = waiters::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", waiters::Markdown(&report));
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Codecs(options) => {
            let report = codecs::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", codecs::Markdown(&report));
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Deadlocks(options) => {
            let report = deadlocks::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Detection(options) => {
            let report = peers::detection::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            Ok(exit(options.check && !report.is_kept()))
        }
        Command::Role(role) => roles::play(role).map(|()| ExitCode::SUCCESS),
    }
}

fn exit(missed: bool) -> ExitCode {
    if missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
