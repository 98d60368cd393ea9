//! Explores the model: `antifreeze-model [--full] [--trace] [CONFIG…]`.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use antifreeze_model::config::Expect;
use antifreeze_model::explore::{Machine, Options, Outcome, Report, explore};
use antifreeze_model::{configs, nodes};

const HELP: &str = "\
Explores the model of deadlock detection: all states, step by step.

Usage: antifreeze-model [OPTIONS] [CONFIG]…

Without CONFIG: all small configurations; with --full, all.

Options:
      --full       The large configurations too
      --trace      Print the shortest way to what goes wrong in each CONFIG
      --list       Print the names of the configurations, and what they are about
      --progress   Say on stderr how far each has come
      --bound N    Explore at most N states of each
      --threads N  Explore on N threads (default: as many as there are processors)
  -h, --help       Print this help

Exit status: 0 if each came to what was expected of it, 1 if one did not, 2 if the command line
makes no sense.
";

fn main() -> ExitCode {
    let mut full = false;
    let mut list = false;
    let mut options = Options {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        trace: false,
        progress: false,
        bound: u64::MAX,
    };
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => full = true,
            "--trace" => options.trace = true,
            "--list" => list = true,
            "--progress" => options.progress = true,
            "--threads" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) if count > 0 => options.threads = count,
                _ => return bad_usage("--threads needs a number"),
            },
            "--bound" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) => options.bound = count,
                None => return bad_usage("--bound needs a number"),
            },
            "-h" | "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            option if option.starts_with('-') => {
                return bad_usage(&format!("there is no option `{option}`"));
            }
            name => names.push(name.to_owned()),
        }
    }
    let (processes, nodes) = (configs::all(), nodes::configs::all());
    let known = |name: &str| {
        processes.iter().any(|config| config.name() == name)
            || nodes.iter().any(|config| config.name() == name)
    };
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return bad_usage(&format!(
            "there is no configuration `{name}`; --list tells which are"
        ));
    }
    if !list {
        println!(
            "{:24} {:>11} {:>6} {:>9} {:>9} {:>9} {:>7}  result",
            "configuration", "states", "depth", "failed", "admitted", "put off", "time"
        );
    }
    let chosen = |name: &str, large: bool| match names.is_empty() {
        true => full || !large,
        false => names.iter().any(|chosen| chosen == name),
    };
    let right = run(&processes, &chosen, list, options) & run(&nodes, &chosen, list, options);
    match right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Explores those chosen, or lists them. Whether each came to what was expected.
fn run<M: Machine>(
    all: &[M],
    chosen: &dyn Fn(&str, bool) -> bool,
    list: bool,
    options: Options,
) -> bool {
    let mut right = true;
    for config in all
        .iter()
        .filter(|config| chosen(config.name(), config.large()))
    {
        if list {
            println!("{:24} {}", config.name(), config.about());
            continue;
        }
        let report = explore(config, options);
        right &= report.outcome.is(config.expect());
        println!(
            "{:24} {:>11} {:>6} {:>9} {:>9} {:>9} {:>6.1}s  {}",
            config.name(),
            report.states,
            report.depth,
            report.failed,
            report.admitted,
            report.put_off,
            report.time.as_secs_f64(),
            verdict(config, &report)
        );
        std::io::stdout()
            .flush()
            .expect("standard output takes text");
        print_trace(config, &report);
    }
    right
}

fn bad_usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}\n\n{HELP}");
    ExitCode::from(2)
}

fn verdict<M: Machine>(config: &M, report: &Report<M>) -> String {
    let result = match report.outcome {
        Outcome::Sound => "explored whole, sound".to_owned(),
        Outcome::Bound => "bound reached, nothing found".to_owned(),
        Outcome::Phantom => format!("phantom after {} steps", report.depth),
        Outcome::Miss => format!("miss after {} steps", report.depth),
    };
    let expected = match (config.expect(), report.outcome.is(config.expect())) {
        (Expect::Sound, true) => "",
        (_, true) => ", as expected",
        (_, false) => "  ✗ NOT EXPECTED",
    };
    result + expected
}

fn print_trace<M: Machine>(config: &M, report: &Report<M>) {
    for (number, (step, after)) in report.trace.iter().enumerate() {
        let stuck = config.stuck(after);
        let stuck = if stuck.is_empty() {
            String::new()
        } else {
            format!("  deadlocked: {stuck}")
        };
        println!("{:4}  {}{stuck}", number + 1, config.tell(step, after));
    }
}
