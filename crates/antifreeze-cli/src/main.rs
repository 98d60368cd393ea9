//! The program `antifreeze`: remote objects from the shell.
//!
//! Every command is a file of its own, and each goes the same way: its typed arguments, what they
//! mean, and then running it.
#![forbid(unsafe_code)]

mod call;
mod config;
mod echo;
mod echo_object;
mod failure;
mod listen;
mod meta;
mod output;
mod up;
mod waits;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Remote objects for Rust and Python, speaking the protocol of Pyro5.
///
/// Begin with `antifreeze up`: it serves an object and prints what you can try with it.
#[derive(Debug, Parser)]
#[command(name = "antifreeze", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit code: 0 if it worked, 1 if it did not, 2 if the command line or a setting is wrong.

Settings come from antifreeze.toml in this directory and from variables ANTIFREEZE_*; `antifreeze \
config` shows them all. ANTIFREEZE_LOG=debug shows what happens on each connection.";

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Arguments),
    Echo(echo::Arguments),
    Call(call::Arguments),
    Meta(meta::Arguments),
    Waits(waits::Arguments),
    Config(config::Arguments),
}

fn main() -> ExitCode {
    // Says by itself what is wrong, and exits with code 2.
    let arguments = Arguments::parse();
    match start_log().and_then(|()| run(arguments.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(arguments) => arguments.run(),
        Command::Echo(arguments) => arguments.run(),
        Command::Call(arguments) => arguments.run(),
        Command::Meta(arguments) => arguments.run(),
        Command::Waits(arguments) => arguments.run(),
        Command::Config(arguments) => arguments.run(),
    }
}

/// Warnings go to standard error, and whatever `ANTIFREEZE_LOG` asks for.
fn start_log() -> Result<(), Failure> {
    let wanted = std::env::var("ANTIFREEZE_LOG").unwrap_or_default();
    let wanted = if wanted.is_empty() {
        "warn"
    } else {
        wanted.as_str()
    };
    let filter = EnvFilter::try_new(wanted)
        .map_err(|error| Failure::Usage(format!("ANTIFREEZE_LOG: {error}; got {wanted:?}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_description_of_the_commands_is_sound() {
        Arguments::command().debug_assert();
    }
}
