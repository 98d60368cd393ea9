//! `antifreeze config`: every setting.

use antifreeze::{Config, ConfigEntry};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;

/// Show every setting, its value, and where that came from
///
/// What is printed is a settings file with these values. To change some for good, keep their lines
/// in antifreeze.toml in the working directory, or in a file that ANTIFREEZE_CONFIG names. A
/// variable overrules the file: ANTIFREEZE_WORKERS for workers.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Print JSON: a list of objects with name, value, default, source, variable and doc
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let entries = Config::load()?.entries();
        let text = if self.json {
            let entries: Vec<Value> = entries.iter().map(to_json).collect();
            format!("{:#}", Value::from(entries))
        } else {
            let entries: Vec<String> = entries.iter().map(to_toml).collect();
            entries.join("\n\n")
        };
        Ok(output::print(&text)?)
    }
}

fn to_toml(entry: &ConfigEntry) -> String {
    let ConfigEntry {
        doc,
        name,
        source,
        value,
        ..
    } = entry;
    let bare = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
    // JSON's strings are TOML's too.
    let value = if bare {
        value.clone()
    } else {
        Value::from(value.as_str()).to_string()
    };
    format!("# {doc}\n{name} = {value}  # {source}")
}

fn to_json(entry: &ConfigEntry) -> Value {
    json!({
        "name": entry.name,
        "value": entry.value,
        "default": entry.default,
        "source": entry.source.to_string(),
        "variable": entry.variable,
        "doc": entry.doc,
    })
}
