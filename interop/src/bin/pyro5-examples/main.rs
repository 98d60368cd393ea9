//! The servers and clients of Pyro5's own examples, in Rust: each plays its part with the other half as
//! Pyro5 ships it.
//!
//! `serve` prints the URIs of its objects, then `ready`, and then what the example's server prints.
//! `visit` does what the example's client does, and checks it. Settings come from `ANTIFREEZE_*`.

#![forbid(unsafe_code)]

mod attributes;
mod autoreconnect;
mod autoretry;
mod banks;
mod batchedcalls;
mod benchmark;
mod callcontext;
mod circular;
mod custom_serialization;
mod diffie_hellman;
mod disconnects;
mod echoserver;
mod exceptions;
mod filetransfer;
mod handshake;
mod hugetransfer;
mod instancemode;
mod maxsize;
mod nonameserver;
mod oneway;
mod resourcetracking;
mod servertypes;
mod stockquotes;
mod streaming;
mod timeout;
mod timezones;
mod unixdomainsock;
mod usersession;
mod warehouse;

use std::time::Duration;

use antifreeze::{Config, Daemon, NameServer, Proxy, ProxyBuilder, Uri};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// The Rust halves of Pyro5's examples.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    part: Part,
    /// How long a second is on this stage.
    #[arg(long, global = true, default_value_t = 1000)]
    second_ms: u64,
}

#[derive(Subcommand)]
enum Part {
    /// Plays an example's server.
    Serve {
        example: String,
        /// What the server is told when it starts.
        words: Vec<String>,
        /// Serve with blocking threads instead of an event loop.
        #[arg(long)]
        threads: bool,
        /// Where to listen.
        #[arg(long, default_value = "localhost:0")]
        at: String,
    },
    /// Plays an example's client.
    Visit {
        example: String,
        /// What the client is told when it asks.
        words: Vec<String>,
    },
}

struct Example {
    name: &'static str,
    serve: Option<fn(&Stage) -> anyhow::Result<()>>,
    visit: Option<fn(&Guest) -> anyhow::Result<()>>,
}

macro_rules! examples {
    ($($name:literal: $module:ident { $($part:ident)* },)*) => {
        [$(Example { $($part: Some($module::$part),)* ..Example::new($name) },)*]
    };
}

impl Example {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            serve: None,
            visit: None,
        }
    }

    fn all() -> impl IntoIterator<Item = Self> {
        examples! {
            "attributes": attributes { serve visit },
            "autoreconnect": autoreconnect { serve visit },
            "autoretry": autoretry { serve visit },
            "banks": banks { serve visit },
            "batchedcalls": batchedcalls { serve visit },
            "benchmark": benchmark { serve visit },
            "callcontext": callcontext { serve visit },
            "circular": circular { serve visit },
            "custom-serialization": custom_serialization { serve visit },
            "diffie-hellman": diffie_hellman { serve visit },
            "disconnects": disconnects { serve visit },
            "echoserver": echoserver { visit },
            "exceptions": exceptions { serve visit },
            "filetransfer": filetransfer { serve visit },
            "handshake": handshake { serve visit },
            "hugetransfer": hugetransfer { serve visit },
            "instancemode": instancemode { serve visit },
            "maxsize": maxsize { visit },
            "nonameserver": nonameserver { serve visit },
            "oneway": oneway { serve visit },
            "resourcetracking": resourcetracking { serve visit },
            "servertypes": servertypes { serve visit },
            "stockquotes": stockquotes { serve visit },
            "streaming": streaming { serve visit },
            "timeout": timeout { serve visit },
            "timezones": timezones { serve visit },
            "unixdomainsock": unixdomainsock { serve visit },
            "usersession": usersession { serve visit },
            "warehouse": warehouse { serve visit },
        }
    }

    fn find(name: &str) -> anyhow::Result<Self> {
        let mut all = Self::all().into_iter();
        let known = all.find(|example| example.name == name);
        known.with_context(|| format!("there is no example `{name}`"))
    }
}

/// Where an example is served.
struct Stage {
    daemon: Daemon,
    config: Config,
    words: Vec<String>,
    second: Duration,
}

impl Stage {
    /// Gives an object its name in the name server, as `Pyro5.api.serve` does.
    fn name(&self, name: &str, uri: &Uri) -> anyhow::Result<()> {
        let names = NameServer::locate(&self.config)?;
        Ok(names.register(name, uri, false, [""; 0])?)
    }
}

/// Who plays a client.
struct Guest {
    config: Config,
    words: Vec<String>,
    second: Duration,
}

impl Guest {
    /// The answer to the client's first question, its second ...
    fn word(&self, number: usize) -> anyhow::Result<&str> {
        let word = self.words.get(number).map(String::as_str);
        word.with_context(|| format!("word {number} is missing"))
    }

    fn builder(&self, uri: &str) -> anyhow::Result<ProxyBuilder> {
        Ok(Proxy::builder(uri)?.config(self.config.clone()))
    }

    fn proxy(&self, uri: &str) -> anyhow::Result<Proxy> {
        Ok(self.builder(uri)?.connect()?)
    }
}

fn main() -> anyhow::Result<()> {
    let Options { part, second_ms } = Options::parse();
    let config = Config::load()?;
    let second = Duration::from_millis(second_ms);
    match part {
        Part::Serve {
            example,
            words,
            threads,
            at,
        } => {
            let example = Example::find(&example)?;
            let serve = example.serve.context("this example has no server here")?;
            let mut builder = Daemon::builder().config(config.clone());
            if threads {
                builder = builder.threads();
            }
            // What has to be said before there is a daemon.
            builder = match example.name {
                "handshake" => handshake::ask(builder),
                "resourcetracking" => resourcetracking::watch(builder),
                _ => builder,
            };
            let stage = Stage {
                daemon: builder.bind(&at)?,
                config,
                words,
                second,
            };
            serve(&stage)?;
            println!("ready");
            Ok(stage.daemon.serve()?)
        }
        Part::Visit { example, words } => {
            let visit = Example::find(&example)?.visit;
            let visit = visit.context("this example has no client here")?;
            let guest = Guest {
                config,
                words,
                second,
            };
            visit(&guest)
        }
    }
}
