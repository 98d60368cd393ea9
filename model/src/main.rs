//! Explores the model: `antifreeze-model [--full] [--trace] [CONFIG…]`.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use antifreeze_model::config::{Config, Expect};
use antifreeze_model::explore::{self, Options, Outcome, Report};
use antifreeze_model::{configs, step};

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
    };
    let mut bound = u64::MAX;
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
                Some(count) => bound = count,
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
    let all = configs::all();
    if let Some(name) = names
        .iter()
        .find(|name| all.iter().all(|config| config.name != **name))
    {
        return bad_usage(&format!(
            "there is no configuration `{name}`; --list tells which are"
        ));
    }
    let chosen = all.iter().filter(|config| match names.is_empty() {
        true => full || !config.large,
        false => names.iter().any(|name| name == config.name),
    });
    if list {
        for config in chosen {
            println!("{:24} {}", config.name, config.about);
        }
        return ExitCode::SUCCESS;
    }
    println!(
        "{:24} {:>11} {:>6} {:>9} {:>9} {:>9} {:>7}  result",
        "configuration", "states", "depth", "failed", "admitted", "put off", "time"
    );
    let mut right = true;
    for config in chosen {
        let mut config = config.clone();
        config.bound = config.bound.min(bound);
        let config = &config;
        let report = explore::explore(config, options);
        right &= report.outcome.is(config.expect);
        println!(
            "{:24} {:>11} {:>6} {:>9} {:>9} {:>9} {:>6.1}s  {}",
            config.name,
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
    if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn bad_usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}\n\n{HELP}");
    ExitCode::from(2)
}

fn verdict(config: &Config, report: &Report) -> String {
    let result = match report.outcome {
        Outcome::Sound => "explored whole, sound".to_owned(),
        Outcome::Bound => "bound reached, nothing found".to_owned(),
        Outcome::Phantom => format!("phantom after {} steps", report.depth),
        Outcome::Miss => format!("miss after {} steps", report.depth),
    };
    let expected = match (config.expect, report.outcome.is(config.expect)) {
        (Expect::Sound, true) => "",
        (_, true) => ", as expected",
        (_, false) => "  ✗ NOT EXPECTED",
    };
    result + expected
}

fn print_trace(config: &Config, report: &Report) {
    for (number, (step, after)) in report.trace.iter().enumerate() {
        let stuck = explore::deadlocked_names(config, after);
        let stuck = if stuck.is_empty() {
            String::new()
        } else {
            format!("  deadlocked: {stuck}")
        };
        println!(
            "{:4}  {:60} {}{stuck}",
            number + 1,
            step.tell(config, after),
            step::summary(config, after),
        );
    }
}
