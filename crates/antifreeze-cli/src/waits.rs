//! `antifreeze waits`: who waits for whom, in one or many processes.

mod ask;
mod chains;
mod dot;
mod text;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::Duration;
use std::{io, thread};

use antifreeze::{Config, Location, NameServer, Protocol, Uri, locate_ns};

use self::ask::World;
use crate::failure::Failure;
use crate::{call, output};

/// How often it is looked if nothing else is said.
const EVERY: Duration = Duration::from_secs(2);

/// Show who waits for whom, in one or many daemons
///
/// Asks each daemon who waits in its process and who holds what they wait for, and shows that as
/// chains of calls, across processes. Processes that are called are asked by themselves; those that
/// cannot be asked are shown as unreachable, or as opaque if they are no Antifreeze programs.
///
///   antifreeze waits localhost:7777
///   antifreeze waits PYRO:account@localhost:7777 localhost:7778 --watch 1
///   antifreeze waits localhost:7777 --dot | dot -Tsvg > waits.svg
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The daemons: host:port, or the URI of any of their objects
    #[arg(value_name = "URI")]
    uris: Vec<String>,
    /// Ask only these, and not those whom they call
    #[arg(long)]
    only: bool,
    #[command(flatten)]
    form: Form,
    /// Look again every so many seconds, or every two, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    watch: Option<String>,
    /// How long a daemon may take to answer, as 2.5 or 500ms
    #[arg(long, value_name = "SECONDS", value_parser = call::timeout, default_value = "5")]
    timeout: Duration,
}

/// What is printed.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(multiple = false)]
struct Form {
    /// Print JSON, as docs/waits.schema.json describes it; with --watch, a line each time
    #[arg(long)]
    json: bool,
    /// Print a drawing in the language of Graphviz
    #[arg(long)]
    dot: bool,
    /// Print the deadlocks of the last hour in full, and nothing else
    #[arg(long)]
    deadlocks: bool,
    /// Print what the detectors have counted, in the text format of Prometheus
    #[arg(long)]
    metrics: bool,
}

/// What the arguments mean.
struct Waits {
    places: Vec<Location>,
    follow: bool,
    form: Form,
    every: Option<Duration>,
    config: Config,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.understand()?.run()
    }

    fn understand(self) -> Result<Waits, Failure> {
        let mut config = Config::load()?;
        config.connect_timeout = self.timeout;
        config.call_deadline = Some(self.timeout);
        let mut uris = self.uris;
        let every = self.watch.map(|text| {
            call::timeout(&text).unwrap_or_else(|_| {
                // Then it is a daemon that stands behind `--watch`.
                uris.insert(0, text);
                EVERY
            })
        });
        if uris.is_empty() {
            let text = "expected a daemon to ask, as host:port or as the URI of one of its objects: \
                        antifreeze waits localhost:7777";
            return Err(Failure::Usage(text.to_owned()));
        }
        let places = uris.iter().map(|uri| place(uri, &config));
        Ok(Waits {
            places: places.collect::<Result<_, _>>()?,
            follow: !self.only,
            form: self.form,
            every,
            config,
        })
    }
}

impl Waits {
    fn run(self) -> Result<(), Failure> {
        self.show("")?;
        let Some(every) = self.every else {
            return Ok(());
        };
        let lead = match (io::stdout().is_terminal(), self.form.json) {
            // To the upper left corner, and nothing is left of the last time.
            (true, _) => "\x1b[H\x1b[2J",
            (false, true) => "",
            (false, false) => "\n",
        };
        loop {
            thread::sleep(every);
            match self.show(lead) {
                // It may come back.
                Err(Failure::Failed { message, .. }) => eprintln!("{}", output::clean(&message)),
                other => other?,
            }
        }
    }

    /// Prints what there is at this moment, after `lead`; fails if there is somebody who cannot be
    /// asked.
    fn show(&self, lead: &str) -> Result<(), Failure> {
        if self.form.metrics {
            return self.show_metrics(lead);
        }
        let world = World::ask(&self.places, self.follow, &self.config);
        if !world.processes.is_empty() {
            output::print(&format!("{lead}{}", self.text_of(&world)?))?;
        }
        let silent = world.unreachable.iter().filter(|peer| !peer.followed);
        failed(silent.map(|peer| format!("{}: {}", peer.address, peer.why)))
    }

    fn text_of(&self, world: &World) -> Result<String, Failure> {
        let Form {
            json,
            dot,
            deadlocks,
            ..
        } = self.form;
        if json {
            let text = match self.every {
                Some(_) => serde_json::to_string(world),
                None => serde_json::to_string_pretty(world),
            };
            return Ok(text.map_err(io::Error::from)?);
        }
        let text = match (dot, deadlocks) {
            (true, _) => dot::draw(world),
            (_, true) => text::deadlocks(world),
            _ => text::write(world),
        };
        Ok(output::clean(&text))
    }

    fn show_metrics(&self, lead: &str) -> Result<(), Failure> {
        let mut text = String::new();
        let mut silent = Vec::new();
        for place in &self.places {
            match ask::metrics(place, &self.config) {
                Ok(metrics) if self.places.len() > 1 => text += &format!("# {place}\n{metrics}"),
                Ok(metrics) => text += &metrics,
                Err(why) => silent.push(format!("{place}: {why}")),
            }
        }
        if silent.len() < self.places.len() {
            output::print(&format!("{lead}{}", output::clean(text.trim_end())))?;
        }
        failed(silent.into_iter())
    }
}

fn failed(why: impl Iterator<Item = String>) -> Result<(), Failure> {
    let why: Vec<_> = why.collect();
    if why.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed {
        message: why.join("; "),
        traceback: Vec::new(),
    })
}

/// Where the daemon is that is named so.
fn place(text: &str, config: &Config) -> Result<Location, Failure> {
    if !text.starts_with("PYRO") {
        return text.parse().map_err(Failure::usage);
    }
    let uri = Uri::parse_with_ns_port(text, config.ns_port).map_err(Failure::usage)?;
    let uri = match (uri.protocol(), uri.location()) {
        (Protocol::PyroName, Some(Location::Tcp { host, port })) => {
            locate_ns(Some(host), Some(*port))?.lookup(uri.object())?
        }
        (Protocol::PyroName, None) => NameServer::locate(config)?.lookup(uri.object())?,
        _ => uri,
    };
    uri.location()
        .cloned()
        .filter(|_| uri.protocol() == Protocol::Pyro)
        .ok_or_else(|| {
            let text =
                format!("expected host:port, or PYRO: or PYRONAME: of one object; got {text}");
            Failure::Usage(text)
        })
}
