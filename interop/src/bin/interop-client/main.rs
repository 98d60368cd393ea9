//! Runs one scenario against an object, checks everything by itself, and says what is wrong.
//!
//! Exit code 0 if all was as it should be, 1 if not. The objects are those of `interop-server` and
//! of its twin in Python; a scenario knows no difference between them unless it says so.

#![forbid(unsafe_code)]

mod carried;
mod proxy;
mod scenarios;
mod sessions;

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use antifreeze::{Serializer, Value};
use anyhow::Context as _;
use clap::Parser;

use crate::proxy::Proxy;

/// Runs one scenario of the interop tests.
#[derive(Parser)]
struct Options {
    /// The scenario.
    scenario: String,
    /// The URI of the object that it needs.
    uri: String,
    /// What else the scenario needs.
    rest: Vec<String>,
    /// How calls are serialized.
    #[arg(long, default_value = "serpent")]
    serializer: Serializer,
    /// Call with the proxy of tasks, not that of threads.
    #[arg(long)]
    tasks: bool,
}

/// What a scenario is given.
struct Setting {
    uri: String,
    rest: Vec<String>,
    serializer: Serializer,
}

impl Setting {
    /// A connected proxy for the object.
    fn connect(&self) -> anyhow::Result<Proxy> {
        self.connect_to(&self.uri)
    }

    fn connect_to(&self, uri: &str) -> anyhow::Result<Proxy> {
        let builder = Proxy::builder(uri)?.serializer(self.serializer);
        builder
            .connect()
            .with_context(|| format!("cannot connect to {uri}"))
    }

    /// The URI of another object of the same daemon.
    fn sibling(&self, object: &str) -> String {
        let location = self
            .uri
            .split_once('@')
            .map_or("", |(_, location)| location);
        format!("PYRO:{object}@{location}")
    }

    /// What comes back for a tuple: only serpent has tuples.
    fn tuple(&self, items: Vec<Value>) -> Value {
        match self.serializer {
            Serializer::Serpent | Serializer::Marshal => Value::Tuple(items),
            _ => Value::List(items),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    proxy::TASKS.store(options.tasks, Ordering::Relaxed);
    let name = options.scenario;
    let setting = Setting {
        uri: options.uri,
        rest: options.rest,
        serializer: options.serializer,
    };
    let scenario = scenarios::ALL
        .iter()
        .chain(carried::ALL)
        .chain(sessions::ALL)
        .find(|(known, _)| *known == name);
    let Some((_, run)) = scenario else {
        eprintln!("there is no scenario `{name}`");
        return ExitCode::from(2);
    };
    match run(&setting) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:?}");
            ExitCode::from(1)
        }
    }
}

type Scenario = fn(&Setting) -> anyhow::Result<()>;
