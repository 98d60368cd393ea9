//! The settings: what there is to set, and where a value comes from.
//!
//! Each setting is described once, in the table of `settings!`: that is its field, its default,
//! its documentation, how its text is read and how it is written.
//!
//! [`Config::load`] is the only place in this crate that looks at the environment and at a file.
//! All else takes a [`Config`] as it is given.

mod form;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt, fs, io};

use antifreeze_detector::Opaque;
use antifreeze_serial::{Serializer, memory};
use toml::de::{DeTable, DeValue};

use self::form::Form;
use crate::{Error, ErrorKind};

/// What the names of all our environment variables begin with.
const PREFIX: &str = "ANTIFREEZE_";

/// The file that is read from the working directory, if it is there.
const FILE: &str = "antifreeze.toml";

/// The variable that names another file.
const FILE_VARIABLE: &str = "ANTIFREEZE_CONFIG";

/// Variables with our prefix that are no settings: the log filter of the command line, and what
/// the project's own tests hand to the programs that they start.
const OTHER_VARIABLES: [&str; 4] = [
    FILE_VARIABLE,
    "ANTIFREEZE_LOG",
    "ANTIFREEZE_PYTHON",
    "ANTIFREEZE_BIN_DIR",
];

/// A row of the table: one setting.
struct Setting {
    name: &'static str,
    doc: &'static [&'static str],
    expected: &'static str,
    /// Reads the text into the setting; false if it is not what is expected.
    set: fn(&mut Config, &str) -> bool,
    text: fn(&Config) -> String,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $form:expr;)+) => {
        /// What a daemon or proxy is allowed to take, how long it waits, and what it prefers.
        ///
        /// [`Config::default`] has the defaults and looks at nothing. [`Config::load`] reads the
        /// file and the environment as well. Then assign fields as you like:
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let mut config = antifreeze::Config::default();
        /// config.call_deadline = Some(Duration::from_secs(2));
        /// config.message_bytes = 16 << 20;
        /// ```
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
            /// Where a value came from and what it was then, for what was read by `load`.
            loaded: BTreeMap<&'static str, (ConfigSource, String)>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ loaded: BTreeMap::new() }
            }
        }

        const SETTINGS: &[Setting] = &[$({
            const FORM: Form<$type> = $form;
            Setting {
                name: stringify!($name),
                doc: &[$($doc),+],
                expected: FORM.expected,
                set: |config, text| {
                    let value = (FORM.read)(text);
                    value.map(|value| config.$name = value).is_some()
                },
                text: |config| (FORM.write)(&config.$name),
            }
        },)+];
    };
}

settings! {
    /// The host or address where a daemon listens if it is not told another.
    host: String = "localhost".to_owned(), form::TEXT;
    /// Which addresses of a host to prefer: 4, 6, or any for the system's order.
    prefer_ip_version: IpVersion = IpVersion::Any, form::IP_VERSION;
    /// The host of the name server.
    ns_host: String = "localhost".to_owned(), form::TEXT;
    /// The port of the name server.
    ns_port: u16 = 9090, form::PORT;

    /// The serializer of calls that a proxy makes. A daemon answers in that of the call.
    serializer: Serializer = Serializer::Serpent, form::SERIALIZER;
    /// Whether payloads that we send are compressed. What comes in is inflated anyway.
    compression: bool = false, form::FLAG;

    /// How long connecting to one address may take.
    connect_timeout: Duration = Duration::from_secs(5), form::TIMEOUT;
    /// How long a proxy goes on trying to reconnect, with growing pauses; 0 is one attempt.
    reconnect_window: Duration = Duration::from_secs(5), form::TIME;
    /// How long a call may take, with connecting and waiting for other threads that use the proxy.
    call_deadline: Option<Duration> = None, form::OPTIONAL_TIMEOUT;
    /// How long the handshake of a new connection may take.
    handshake_timeout: Duration = Duration::from_secs(5), form::TIMEOUT;
    /// How long a peer may send nothing in the middle of a message.
    stall_timeout: Duration = Duration::from_secs(5), form::TIMEOUT;
    /// How long a peer may take nothing of what waits for it.
    write_timeout: Duration = Duration::from_secs(30), form::TIMEOUT;
    /// How long a connection without any request is kept.
    idle_timeout: Option<Duration> = None, form::OPTIONAL_TIMEOUT;
    /// How long running calls may go on when a daemon shuts down.
    drain_timeout: Duration = Duration::from_secs(10), form::TIME;

    /// The size of one message, as it is transmitted.
    message_bytes: u64 = 1 << 30, form::SIZE;
    /// The size of one message's payload after inflating.
    inflated_bytes: u64 = 128 << 20, form::SIZE;
    /// The size of the annotations of one message, in either direction.
    annotations_bytes: u64 = 64 << 20, form::SIZE;
    /// What may wait to be written to one peer before no more is read from it.
    write_queue_bytes: u64 = 64 << 20, form::SIZE;
    /// How deeply the lists and dicts of one message may be nested.
    nesting: u32 = 200, form::COUNT_32;
    /// How many values one message may have, those inside of others included.
    nodes: u32 = 16_000_000, form::COUNT_32;

    /// How many connections a daemon serves at once.
    connections: usize = 20_000, form::COUNT;
    /// How many calls may be in flight on one connection between Antifreeze programs; with Pyro5 it
    /// is always one.
    calls_per_connection: usize = 64, form::COUNT;
    /// How many calls a daemon runs at once.
    workers: usize = 80, form::COUNT;
    /// How many calls may wait for one object that is busy.
    queued_per_object: usize = 1_000, form::COUNT;
    /// How many calls may wait for busy objects in all.
    queued_in_all: usize = 10_000, form::COUNT;
    /// How long a call may wait for a busy object.
    queue_timeout: Duration = Duration::from_secs(30), form::TIME;

    /// Whether methods of a daemon may return item streams.
    item_streams: bool = true, form::FLAG;
    /// How long an item stream may be used after it was made.
    stream_lifetime: Option<Duration> = None, form::OPTIONAL_TIMEOUT;
    /// How long an item stream is kept after the connection of its client was lost; 0 ends both at
    /// once.
    stream_linger: Duration = Duration::from_secs(30), form::TIME;
    /// How many item streams one connection may have at a time.
    streams_per_connection: usize = 1_000, form::COUNT;
    /// How many item streams a daemon has at a time.
    streams_in_all: usize = 10_000, form::COUNT;

    /// What to do about a deadlock that is inferred through a program that cannot be asked: error
    /// fails one of its calls, report only logs it. If one daemon or proxy of a process only
    /// reports, all of them do.
    opaque: Opaque = Opaque::Error, form::OPAQUE;
}

/// Which addresses to prefer where a host has several.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IpVersion {
    /// As the system orders them.
    #[default]
    Any,
    /// IPv4 first.
    V4,
    /// IPv6 first.
    V6,
}

/// Where the value of a setting came from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Nobody has set it.
    Default,
    /// A line of a settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// The program has assigned it.
    Program,
}

/// A setting as it stands; see [`Config::entries`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Its name: the field, and the key in the file.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: String,
    /// Its value, as it would be written in the file or the variable.
    pub value: String,
    /// The value if nobody sets it.
    pub default: String,
    /// Where the value came from.
    pub source: ConfigSource,
    /// What it means, in a sentence.
    pub doc: String,
}

impl Config {
    /// The defaults, overruled by the file, overruled by the environment.
    ///
    /// The file is `antifreeze.toml` in the working directory, if there is one, or the one that
    /// the variable `ANTIFREEZE_CONFIG` names. A setting `NAME` is the key `NAME` in the file
    /// and the variable `ANTIFREEZE_NAME`, in capitals. A variable that is empty is not set.
    ///
    /// Times are seconds, or have a unit: `0.5`, `"500 ms"`, `"2 min"`. Sizes are bytes, or have a
    /// unit: `1048576`, `"64 MiB"`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the file cannot be read, if there is no such setting, or if it
    /// cannot have the value. The message names the file and line, or the variable.
    pub fn load() -> Result<Self, Error> {
        Self::from_sources(env::vars_os(), |path| fs::read_to_string(path))
    }

    /// [`load`](Self::load), with the world as an argument.
    fn from_sources(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        read: impl FnOnce(&Path) -> io::Result<String>,
    ) -> Result<Self, Error> {
        let variables = ours(variables)?;
        let mut config = Self::default();
        let named = variables.get(FILE_VARIABLE);
        let path = PathBuf::from(named.map_or(FILE, String::as_str));
        match read(&path) {
            Ok(text) => config.apply_file(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
            Err(error) => {
                let by = if named.is_some() {
                    " (from ANTIFREEZE_CONFIG)"
                } else {
                    ""
                };
                return Err(bad(format!("cannot read {}{by}: {error}", path.display())));
            }
        }
        config.apply_variables(&variables)?;
        Ok(config)
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let place = |offset: usize| {
            let line = text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1;
            (format!("{} line {line}", path.display()), line)
        };
        let table = DeTable::parse(text).map_err(|error| {
            let (place, _) = place(error.span().map_or(0, |span| span.start));
            bad(format!("{place}: {}", error.message().trim_end()))
        })?;
        for (key, value) in table.get_ref() {
            let (name, (place, line)) = (key.get_ref(), place(key.span().start));
            let setting = SETTINGS
                .iter()
                .find(|s| s.name == name.as_ref())
                .ok_or_else(|| {
                    bad(format!(
                        "{place}: unknown setting {name:?}{}",
                        hint(name, |s| s.to_owned())
                    ))
                })?;
            let value = scalar(value.get_ref()).ok_or_else(|| {
                let kind = value.get_ref().type_str();
                bad(format!(
                    "{place}: {name}: expected {}; got {kind}",
                    setting.expected
                ))
            })?;
            let source = ConfigSource::File {
                path: path.to_owned(),
                line,
            };
            self.apply(setting, &value, source, &format!("{place}: {name}"))?;
        }
        Ok(())
    }

    fn apply_variables(&mut self, variables: &BTreeMap<String, String>) -> Result<(), Error> {
        for (variable, value) in variables {
            if OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let setting = SETTINGS.iter().find(|s| variable_of(s.name) == *variable);
            let setting = setting.ok_or_else(|| {
                let name = variable[PREFIX.len()..].to_ascii_lowercase();
                let hint = hint(&name, variable_of);
                bad(format!("{variable}: there is no such setting{hint}"))
            })?;
            self.apply(
                setting,
                value,
                ConfigSource::Variable(variable.clone()),
                variable,
            )?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        setting: &Setting,
        value: &str,
        source: ConfigSource,
        place: &str,
    ) -> Result<(), Error> {
        if !(setting.set)(self, value.trim()) {
            return Err(bad(format!(
                "{place}: expected {}; got {value:?}",
                setting.expected
            )));
        }
        self.loaded
            .insert(setting.name, (source, (setting.text)(self)));
        Ok(())
    }

    /// Sets what has this name to what this text means, as a line of the file would.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is no such setting, or if it cannot have the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let setting = SETTINGS.iter().find(|s| s.name == name).ok_or_else(|| {
            bad(format!(
                "unknown setting {name:?}{}",
                hint(name, |s| s.to_owned())
            ))
        })?;
        self.apply(setting, value, ConfigSource::Program, name)
    }

    /// Every setting with its value, where that came from, and what it means.
    pub fn entries(&self) -> Vec<ConfigEntry> {
        let default = Self::default();
        let entry = |setting: &Setting| {
            let (value, default) = ((setting.text)(self), (setting.text)(&default));
            let source = match self.loaded.get(setting.name) {
                Some((source, loaded)) if *loaded == value => source.clone(),
                None if value == default => ConfigSource::Default,
                _ => ConfigSource::Program,
            };
            let variable = variable_of(setting.name);
            let doc = setting
                .doc
                .iter()
                .map(|line| line.trim())
                .collect::<Vec<_>>()
                .join(" ");
            ConfigEntry {
                name: setting.name,
                variable,
                value,
                default,
                source,
                doc,
            }
        };
        SETTINGS.iter().map(entry).collect()
    }

    /// What the protocol core needs to know of it.
    pub(crate) fn connection(&self) -> antifreeze_proto::Config {
        antifreeze_proto::Config {
            limits: antifreeze_proto::Limits {
                message_bytes: self.message_bytes,
                inflated_bytes: self.inflated_bytes,
                annotations_bytes: self.annotations_bytes,
                handshake: self.handshake_timeout,
                stall: self.stall_timeout,
                write_stall: self.write_timeout,
                idle: self.idle_timeout,
                write_queue_bytes: self.write_queue_bytes,
                drain: self.drain_timeout,
                // The size of a CONNECT and the grace after a sleep are not settings.
                ..antifreeze_proto::Limits::default()
            },
            compress: self.compression,
            calls: self.calls_per_connection,
            node: antifreeze_sync::calls::node(),
            memory: antifreeze_proto::Memory {
                take: memory::take,
                share: memory::share,
            },
            ..antifreeze_proto::Config::default()
        }
    }

    /// What decoding one message may take.
    pub(crate) fn document(&self) -> antifreeze_serial::Limits {
        let mut limits = antifreeze_serial::Limits::default();
        limits.depth = self.nesting;
        limits.nodes = self.nodes;
        limits
    }
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Program => f.write_str("program"),
        }
    }
}

/// The variables with our prefix that are set to something.
fn ours(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut ours = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let value = value.to_str().ok_or_else(|| {
            bad(format!(
                "{name}: expected UTF-8; got {:?}",
                OsStr::new(&value)
            ))
        })?;
        if !value.is_empty() {
            ours.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(ours)
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

/// The text of a TOML value as it would stand in a variable.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(value) => Some(value.to_string()),
        DeValue::Integer(value) => i128::from_str_radix(value.as_str(), value.radix())
            .ok()
            .map(|value| value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The setting that was probably meant, as the end of a message.
fn hint(name: &str, spelled: impl Fn(&str) -> String) -> String {
    let near = SETTINGS.iter().map(|s| (edits(s.name, name), s.name)).min();
    match near {
        Some((edits, near)) if edits <= 3 => format!("; did you mean {}?", spelled(near)),
        _ => "; `antifreeze config` lists all there are".to_owned(),
    }
}

/// How many letters must be added, taken away or changed to make one name of the other.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn bad(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}
