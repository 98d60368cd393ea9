//! What was measured where, for the head of a report.

use std::fs;
use std::process::Command;
use std::thread;

use anyhow::Result;
use serde::Serialize;

/// The machine and the versions.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// Of the last one, five and fifteen minutes when measuring began: on a busy machine p99 and
    /// calls per second tell about the others.
    pub(crate) load: String,
    pub(crate) rust: String,
    /// `None` where none takes part.
    pub(crate) python: Option<String>,
    /// Of this checkout.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn describe(python: Option<String>) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            cpu: model.map_or("unknown CPU", |(_, model)| model).to_owned(),
            cpus: thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
            rust: says(&["rustc", "--version"]),
            python,
            commit: says(&[
                "git",
                "-C",
                env!("CARGO_MANIFEST_DIR"),
                "describe",
                "--always",
                "--dirty",
            ]),
        })
    }
}

/// What a command prints; nobody's report fails for want of git.
fn says(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => format!("{} unknown", command[0]),
    }
}
