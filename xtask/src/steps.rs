//! The steps of a full check: what each one runs, and how the outcome is told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::python;

/// One thing that can pass or fail by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Format,
    Clippy,
    Unit,
    Locks,
    Doc,
    Build,
    Python,
    Interop,
    WaitPrograms,
    Benches,
}

impl Step {
    /// Cheap steps first, so that a slip is told in seconds. `Build` stands before `Interop`
    /// and `WaitPrograms`, which run the release binaries: they must be built anyway, and big
    /// transfers would say nothing about a debug build.
    pub(crate) const ALL: [Self; 10] = [
        Self::Format,
        Self::Clippy,
        Self::Unit,
        Self::Locks,
        Self::Doc,
        Self::Build,
        Self::Python,
        Self::Interop,
        Self::WaitPrograms,
        Self::Benches,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Unit => "unit tests",
            Self::Locks => "lock checks",
            Self::Doc => "documentation",
            Self::Build => "release build",
            Self::Python => "python set-up",
            Self::Interop => "interop tests",
            Self::WaitPrograms => "wait programs",
            Self::Benches => "benches compile",
        })
    }
}

/// What the command line asked for besides the steps.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) keep_going: bool,
    /// Arguments for the tool behind the step.
    pub(crate) rest: Vec<String>,
}

/// How a step ended.
enum Outcome {
    Passed,
    Failed(anyhow::Error),
    NotRun,
}

/// Runs the steps in order and prints one line for each at the end.
pub(crate) fn run_all(steps: &[Step], options: &Options) -> ExitCode {
    let started = Instant::now();
    let place = Place::find();
    let mut results: Vec<(Step, Duration, Outcome)> = Vec::new();
    let mut stopped = false;
    for &step in steps {
        if stopped {
            results.push((step, Duration::ZERO, Outcome::NotRun));
            continue;
        }
        eprintln!("\n==> {step}");
        let begun = Instant::now();
        let outcome = match run(step, &place, options) {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("error: {step}: {error:#}");
                stopped = !options.keep_going;
                Outcome::Failed(error)
            }
        };
        results.push((step, begun.elapsed(), outcome));
    }

    println!("\nSummary");
    for (step, took, outcome) in &results {
        let seconds = took.as_secs_f64();
        match outcome {
            Outcome::Passed => println!("  {step:<16} ok      {seconds:>7.1} s"),
            Outcome::Failed(error) => println!("  {step:<16} FAILED  {seconds:>7.1} s  {error:#}"),
            Outcome::NotRun => println!("  {step:<16} not run"),
        }
    }
    let ok = results
        .iter()
        .all(|(.., outcome)| matches!(outcome, Outcome::Passed));
    let verdict = if ok { "ok" } else { "FAILED" };
    println!(
        "  {:<16} {verdict:<6}  {:>7.1} s",
        "in all",
        started.elapsed().as_secs_f64()
    );
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn run(step: Step, place: &Place, options: &Options) -> anyhow::Result<()> {
    match step {
        Step::Format => place.cargo(&["fmt", "--all", "--", "--check"]),
        Step::Clippy => place.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
        Step::Unit if options.rest.is_empty() => place.cargo(&["test", "--workspace"]),
        Step::Unit => {
            let mut arguments = vec!["test"];
            arguments.extend(options.rest.iter().map(String::as_str));
            place.cargo(&arguments)
        }
        Step::Locks => check_locks(place),
        Step::Doc => {
            let mut command = place.cargo_command();
            command.env("RUSTDOCFLAGS", "-D warnings");
            // Libraries only: the binary `antifreeze` would write over the library's pages.
            command.args(["doc", "--workspace", "--no-deps", "--lib"]);
            succeed(&mut command)
        }
        Step::Build => place.cargo(&["build", "--release", "--workspace", "--bins", "--examples"]),
        Step::Python => python::set_up(place).map(drop),
        Step::Interop => {
            let mut command = Command::new(python::interpreter(place));
            command
                .current_dir(place.root.join("interop"))
                .args(["-m", "pytest"])
                .args(&options.rest)
                .env("ANTIFREEZE_BIN_DIR", place.target.join("release"))
                .env("PYTHONDONTWRITEBYTECODE", "1");
            succeed(&mut command)
        }
        Step::WaitPrograms => {
            let mut command = Command::new(place.target.join("release/wait-programs"));
            command
                .arg("--python")
                .arg(python::interpreter(place))
                .args(["--count", "80"]);
            succeed(&mut command)
        }
        Step::Benches => {
            let manifest = place.root.join("benches/Cargo.toml");
            if !manifest.exists() {
                println!("there are no benches yet");
                return Ok(());
            }
            let mut command = place.cargo_command();
            command
                .args(["check", "--all-targets", "--manifest-path"])
                .arg(&manifest);
            succeed(&mut command)
        }
    }
}

/// What ordinary tests cannot show of locks: every schedule, every mistake, and any program.
fn check_locks(place: &Place) -> anyhow::Result<()> {
    place.cargo(&[
        "test",
        "-p",
        "antifreeze-sync",
        "--features",
        "faults",
        "--test",
        "faults",
    ])?;
    place.cargo(&["test", "-p", "lock-programs", "--features", "faults"])?;
    // The checkers take the place of threads and atomics, so all is built once more, apart.
    for checker in ["loom", "shuttle"] {
        let mut command = place.cargo_command();
        command
            .args([
                "test",
                "--release",
                "-p",
                "antifreeze-sync",
                "--lib",
                "checked",
            ])
            .env("RUSTFLAGS", format!("--cfg {checker}"))
            .env("CARGO_TARGET_DIR", place.target.join(checker));
        succeed(&mut command)?;
    }
    place.cargo(&[
        "run",
        "--release",
        "-p",
        "lock-programs",
        "--",
        "--count",
        "4000",
    ])?;
    place.cargo(&[
        "run",
        "--release",
        "-p",
        "simulate",
        "--",
        "--count",
        "20000",
    ])
}

/// Writes docs/states.md anew, by the test that compares it with the code.
pub(crate) fn renew_states() -> ExitCode {
    let mut command = Place::find().cargo_command();
    command
        .args(["test", "-p", "antifreeze-proto", "--test", "transitions"])
        .env("RENEW_STATES", "1");
    match succeed(&mut command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Runs a program of the workspace and passes on its exit code and all that it prints.
pub(crate) fn run_program(package: &str, arguments: &[String]) -> ExitCode {
    let place = Place::find();
    let mut command = place.cargo_command();
    command
        .args(["run", "--release", "--quiet", "-p", package, "--"])
        .args(arguments);
    // Paths among the arguments are meant from here.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
        command.env("CARGO_TARGET_DIR", &place.target);
    }
    match command.status() {
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
        ),
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            ExitCode::from(1)
        }
    }
}

/// Runs random programs of real processes, in the environment of the interop tests.
pub(crate) fn run_wait_programs(arguments: &[String]) -> ExitCode {
    let place = Place::find();
    if let Err(error) = python::set_up(&place) {
        eprintln!("error: real Pyro5 is needed for this: {error:#}");
        return ExitCode::from(2);
    }
    let python = python::interpreter(&place).to_string_lossy().into_owned();
    let all = [&["--python".to_owned(), python], arguments].concat();
    run_program("wait-programs", &all)
}

/// Where things are.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Place {
    fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is a folder of the workspace")
            .to_path_buf();
        // A relative directory means relative to where cargo was started, as for cargo itself.
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .filter(|value| !value.is_empty())
            .and_then(|value| std::path::absolute(value).ok())
            .unwrap_or_else(|| root.join("target"));
        Self { root, target }
    }

    fn cargo(&self, arguments: &[&str]) -> anyhow::Result<()> {
        succeed(self.cargo_command().args(arguments))
    }

    fn cargo_command(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        if std::env::var_os("CI").is_some() {
            // Nothing is built twice there, and nobody opens a debugger. Not for a developer:
            // other flags than those of a plain `cargo build` would build everything again.
            command
                .env("CARGO_INCREMENTAL", "0")
                .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
        }
        command
    }
}

/// Runs `command` with our own output and fails if it does.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = Path::new(command.get_program())
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let line = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .fold(name, |line, argument| line + " " + &argument);
    eprintln!("    {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}
