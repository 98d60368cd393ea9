//! Runs the targets for a while: `cargo xtask fuzz --seconds 60`.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, io};

use antifreeze_fuzz::{Fuzzer, TARGETS, Target};
use clap::Parser;

/// Damages good input at random, and looks for promises that are broken.
#[derive(Parser)]
struct Options {
    /// Only the target of this name.
    #[arg(long)]
    target: Option<String>,
    /// For how long each target is run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What the random numbers begin with.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run this input once, which a run before has written.
    #[arg(long, requires = "target")]
    replay: Option<PathBuf>,
    /// Write what each target begins with into a folder of its name in here, for another fuzzer.
    #[arg(long, conflicts_with = "replay")]
    write_seeds: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let chosen = |target: &&Target| {
        let name = options.target.as_deref();
        name.is_none_or(|name| name == target.name)
    };
    let targets: Vec<_> = TARGETS.iter().filter(chosen).collect();
    if targets.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        eprintln!("no such target, expected one of {names}");
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        if let Some(path) = &options.replay {
            match fs::read(path) {
                Ok(input) => (target.run)(&input),
                Err(error) => {
                    eprintln!("{}: {error}", path.display());
                    return ExitCode::from(2);
                }
            }
            continue;
        }
        if let Some(folder) = &options.write_seeds {
            if let Err(error) = write_seeds(*target, &folder.join(target.name)) {
                eprintln!("{}: {error}", folder.display());
                return ExitCode::from(2);
            }
            continue;
        }
        if let Err(input) = run(*target, &options) {
            let path = format!("{}-finding", target.name);
            match fs::write(&path, &input) {
                Ok(()) => eprintln!("{}: see above; the input is in {path}", target.name),
                Err(error) => eprintln!("{path}: {error}; the input is {input:?}"),
            }
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn write_seeds(target: Target, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut seeds = (target.seeds)().into_iter().enumerate();
    seeds.try_for_each(|(number, seed)| fs::write(folder.join(format!("{number:04}")), seed))
}

fn run(target: Target, options: &Options) -> Result<(), Vec<u8>> {
    let mut fuzzer = Fuzzer::new(target, options.seed);
    let begun = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    fuzzer.run_seeds()?;
    let mut inputs = 0u64;
    while begun.elapsed() < limit {
        for _ in 0..64 {
            fuzzer.step()?;
        }
        inputs += 64;
    }
    let memory = peak_memory().unwrap_or_default();
    println!(
        "{}: {inputs} inputs, at most {memory} of memory",
        target.name
    );
    Ok(())
}

/// What the operating system says of the most memory that was in use.
fn peak_memory() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
