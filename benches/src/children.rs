//! Processes that are measured alone, from their command line to what they say.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::cpus::{Cpus, Placement};

/// Starts children.
pub(crate) struct Children {
    executable: PathBuf,
    pub(crate) cpus: Cpus,
}

impl Children {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            executable: std::env::current_exe()?,
            cpus: Cpus::find()?,
        })
    }

    /// The target directory.
    pub(crate) fn target(&self) -> Result<&Path> {
        let target = self.executable.ancestors().nth(2);
        target.context("the binary is in no target directory")
    }

    /// The command line of one of our own roles.
    pub(crate) fn role(
        &self,
        role: &str,
        options: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        let mut command = vec![
            self.executable.display().to_string(),
            "role".to_owned(),
            role.to_owned(),
        ];
        command.extend(options);
        command
    }

    /// What a child says; `None` if it has not ended in time.
    pub(crate) fn run<R: DeserializeOwned>(
        &self,
        command: &[String],
        placement: Placement,
        patience: Duration,
    ) -> Result<Option<R>> {
        let child = {
            let _placed = self.cpus.place(placement)?;
            Command::new(&command[0])
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        };
        let mut child = Killed(child.with_context(|| format!("cannot start {}", command[0]))?);
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = child.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(4));
        };
        ensure!(status.success(), "{} failed: {status}", command.join(" "));
        let mut said = String::new();
        let mut output = child.0.stdout.take().context("the child has no output")?;
        output.read_to_string(&mut said)?;
        // The last line: deloxide begins with a banner.
        let last = said.lines().last().unwrap_or_default();
        let outcome = serde_json::from_str(last);
        outcome.with_context(|| format!("{} said {said:?}", command.join(" ")))
    }
}

/// A child that does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail for a child that has ended, which is the usual case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
