//! Chores of the project. `cargo xtask test` is what decides whether a change may land.
//!
//! It sets up everything it needs below the target directory and asks of the machine only Rust
//! (with rustfmt and clippy), a C linker, and Python with pip.

#![forbid(unsafe_code)]

mod python;
mod steps;

use std::process::ExitCode;

use crate::steps::{Options, Step};

const HELP: &str = "\
Chores of the project.

Usage: cargo xtask <COMMAND> [OPTIONS]

Commands:
  test               Everything that must pass before a change lands, in the order below
  check              rustfmt, and clippy with warnings as errors
  unit [ARGS]        Unit, property, scenario and documentation tests; ARGS go to `cargo test`
  doc                Build the documentation, broken links as errors
  build              Build every binary and example in release mode
  interop [ARGS]     Test against real Pyro5 in both directions; ARGS go to pytest
  benches            Check that the benchmarks still compile (if there are any)
  locks              Check the locks: all schedules of small programs, random ones of larger ones,
                     detectors that are broken on purpose, and random programs, also of several
                     processes
  lock-programs ARGS Run random lock programs against a model of the truth, or replay one:
                     `--count N --seed S` or `--replay FILE`; `--help` says more
  simulate ARGS      Run random distributed programs in virtual time, with ground truth:
                     `--count N --seed S`; `--help` says more
  wait-programs ARGS Random programs of real processes, ours and Pyro5's, with ground truth:
                     `--count N --seed S`; `--help` says more
  fuzz ARGS          Damaged input for all that reads bytes of peers: `--seconds N`, default 10
                     each; `--help` says more
  soak ARGS          Servers of both drivers under load and faults: `--minutes N`, default 1
  states             Renew docs/states.md, which a test compares with the code
  model ARGS         Explore the model of deadlock detection: `--full` to its end

Options:
      --keep-going   Run the remaining steps after one has failed
  -h, --help         Print this help

Environment:
  ANTIFREEZE_PYTHON  The Python to test with (default: python3, then python)
  CARGO_TARGET_DIR   Where everything is built, the Python environment too (default: target)

Exit status: 0 if every step passed, 1 if one failed, 2 if the command line makes no sense.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(problem) => {
            eprintln!("error: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Command::Run(steps, options) => steps::run_all(&steps, &options),
        Command::States => steps::renew_states(),
        Command::Program(package, arguments) => steps::run_program(package, &arguments),
        Command::WaitPrograms(arguments) => steps::run_wait_programs(&arguments),
    }
}

#[derive(Debug, PartialEq)]
enum Command {
    Help,
    Run(Vec<Step>, Options),
    States,
    /// A program of the workspace, run with these arguments.
    Program(&'static str, Vec<String>),
    /// One that needs Python, too.
    WaitPrograms(Vec<String>),
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err("a command is needed".into());
    };
    let steps = match name.as_str() {
        "help" | "--help" | "-h" => return Ok(Command::Help),
        "test" => Step::ALL.to_vec(),
        "check" => vec![Step::Format, Step::Clippy],
        "unit" => vec![Step::Unit],
        "doc" => vec![Step::Doc],
        "build" => vec![Step::Build],
        "interop" => vec![Step::Build, Step::Python, Step::Interop],
        "benches" => vec![Step::Benches],
        "locks" => vec![Step::Locks],
        "states" => return Ok(Command::States),
        "lock-programs" => return Ok(Command::Program("lock-programs", rest.to_vec())),
        "simulate" => return Ok(Command::Program("simulate", rest.to_vec())),
        "wait-programs" => return Ok(Command::WaitPrograms(rest.to_vec())),
        "fuzz" => return Ok(Command::Program("antifreeze-fuzz", rest.to_vec())),
        "soak" => return Ok(Command::Program("antifreeze-soak", rest.to_vec())),
        "model" => return Ok(Command::Program("antifreeze-model", rest.to_vec())),
        other => return Err(format!("there is no command `{other}`")),
    };
    // Whatever follows these two belongs to the tool behind them, except a leading `--help`.
    let passes_on = matches!(name.as_str(), "unit" | "interop");
    let mut options = Options::default();
    for (position, argument) in rest.iter().enumerate() {
        match argument.as_str() {
            "--help" | "-h" if position == 0 => return Ok(Command::Help),
            "--keep-going" => options.keep_going = true,
            _ if passes_on => options.rest.push(argument.clone()),
            other => return Err(format!("`{name}` does not know `{other}`")),
        }
    }
    Ok(Command::Run(steps, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Command, &str>) {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        assert_eq!(
            parse(&arguments),
            expected.map_err(String::from),
            "`{line}`"
        );
    }

    fn run(steps: &[Step], keep_going: bool, rest: &[&str]) -> Result<Command, &'static str> {
        let rest = rest.iter().copied().map(String::from).collect();
        Ok(Command::Run(steps.to_vec(), Options { keep_going, rest }))
    }

    #[test]
    fn command_lines() {
        check("test", run(&Step::ALL, false, &[]));
        check("test --keep-going", run(&Step::ALL, true, &[]));
        check("check", run(&[Step::Format, Step::Clippy], false, &[]));
        check(
            "unit -p antifreeze-proto",
            run(&[Step::Unit], false, &["-p", "antifreeze-proto"]),
        );
        check(
            "interop -k batch -x",
            run(
                &[Step::Build, Step::Python, Step::Interop],
                false,
                &["-k", "batch", "-x"],
            ),
        );
        check(
            "lock-programs --count 5",
            Ok(Command::Program(
                "lock-programs",
                vec!["--count".into(), "5".into()],
            )),
        );
        check(
            "soak --minutes 2",
            Ok(Command::Program(
                "antifreeze-soak",
                vec!["--minutes".into(), "2".into()],
            )),
        );
        check(
            "wait-programs --only 3",
            Ok(Command::WaitPrograms(vec!["--only".into(), "3".into()])),
        );
        check("interop --help", Ok(Command::Help));
        check("-h", Ok(Command::Help));
        check("", Err("a command is needed"));
        check("tset", Err("there is no command `tset`"));
        check("test -x", Err("`test` does not know `-x`"));
    }
}
