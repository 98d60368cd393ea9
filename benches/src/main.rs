//! Speed of Antifreeze, side by side with its limits and its peers, in one command. See README.md.

mod allocations;
mod calls;
mod counts;
mod machine;
mod markdown;
mod python;
mod roles;
mod row;
mod session;
mod statistics;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::allocations::CountingAllocator;
use crate::roles::Role;

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
    /// Be one of the processes that are measured
    #[command(subcommand, hide = true)]
    Role(Role),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Calls(options) => {
            let report = calls::measure(&options)?;
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", markdown::Page(&report));
            }
            Ok(())
        }
        Command::Role(role) => roles::play(role),
    }
}
