//! The servers and clients of Pyro5's own examples, in Rust: each plays its part with the other half as
//! Pyro5 ships it.
//!
//! `serve` prints the URIs of its objects, then `ready`, and then what the example's server prints.
//! `visit` does what the example's client does, and checks it. Settings come from `ANTIFREEZE_*`.

#![forbid(unsafe_code)]

mod attributes;
mod autoproxy;
mod autoreconnect;
mod autoretry;
mod banks;
mod batchedcalls;
mod benchmark;
mod blob_dispatch;
mod callback;
mod callcontext;
mod chatbox;
mod circular;
mod custom_serialization;
mod diffie_hellman;
mod disconnects;
mod distributed_computing;
mod distributed_computing2;
mod distributed_computing3;
mod distributed_mandelbrot;
mod echoserver;
mod exceptions;
mod filetransfer;
mod handshake;
mod hugetransfer;
mod instancemode;
mod maxsize;
mod messagebus;
mod nameserverstress;
mod nonameserver;
mod ns_metadata;
mod oneway;
mod resourcetracking;
mod servertypes;
mod shoppingcart;
mod socketpair;
mod stockquotes;
mod streaming;
mod thirdpartylib;
mod timeout;
mod timezones;
mod unixdomainsock;
mod usersession;
mod warehouse;

use std::io;
use std::time::Duration;

use antifreeze::{Config, Daemon, DaemonBuilder, NameServer, Proxy, ProxyBuilder, Uri};
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
        /// Be called back by a daemon with blocking threads instead of an event loop.
        #[arg(long)]
        threads: bool,
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
            "autoproxy": autoproxy { serve visit },
            "autoreconnect": autoreconnect { serve visit },
            "autoretry": autoretry { serve visit },
            "banks": banks { serve visit },
            "batchedcalls": batchedcalls { serve visit },
            "benchmark": benchmark { serve visit },
            "blob-dispatch": blob_dispatch { serve visit },
            "callback": callback { serve visit },
            "callcontext": callcontext { serve visit },
            "chatbox": chatbox { serve visit },
            "circular": circular { serve visit },
            "custom-serialization": custom_serialization { serve visit },
            "diffie-hellman": diffie_hellman { serve visit },
            "disconnects": disconnects { serve visit },
            "distributed-computing": distributed_computing { serve visit },
            "distributed-computing2": distributed_computing2 { serve visit },
            "distributed-computing3": distributed_computing3 { serve visit },
            "distributed-mandelbrot": distributed_mandelbrot { serve visit },
            "echoserver": echoserver { visit },
            "exceptions": exceptions { serve visit },
            "filetransfer": filetransfer { serve visit },
            "handshake": handshake { serve visit },
            "hugetransfer": hugetransfer { serve visit },
            "instancemode": instancemode { serve visit },
            "maxsize": maxsize { visit },
            "messagebus": messagebus { serve visit },
            "nameserverstress": nameserverstress { visit },
            "nonameserver": nonameserver { serve visit },
            "ns-metadata": ns_metadata { visit },
            "oneway": oneway { serve visit },
            "resourcetracking": resourcetracking { serve visit },
            "servertypes": servertypes { serve visit },
            "shoppingcart": shoppingcart { serve visit },
            "socketpair": socketpair { serve visit },
            "stockquotes": stockquotes { serve visit },
            "streaming": streaming { serve visit },
            "thirdpartylib": thirdpartylib { serve visit },
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
    threads: bool,
}

impl Guest {
    /// The answer to the client's first question, its second ...
    fn word(&self, number: usize) -> anyhow::Result<&str> {
        let word = self.words.get(number).map(String::as_str);
        word.with_context(|| format!("word {number} is missing"))
    }

    /// A daemon of its own, to be called back.
    fn daemon(&self) -> anyhow::Result<Daemon> {
        Ok(builder(&self.config, self.threads).bind("localhost:0")?)
    }

    fn builder(&self, uri: &str) -> anyhow::Result<ProxyBuilder> {
        Ok(Proxy::builder(uri)?.config(self.config.clone()))
    }

    fn proxy(&self, uri: &str) -> anyhow::Result<Proxy> {
        Ok(self.builder(uri)?.connect()?)
    }
}

fn builder(config: &Config, threads: bool) -> DaemonBuilder {
    let builder = Daemon::builder().config(config.clone());
    if threads { builder.threads() } else { builder }
}

fn main() -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_writer(io::stderr);
    log.with_ansi(false).init();
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
            let builder = builder(&config, threads);
            // What has to be said before there is a daemon.
            let daemon = match example.name {
                "autoreconnect" => autoreconnect::bind(builder, &words, &config, &at)?,
                "callcontext" => callcontext::annotate(builder).bind(&at)?,
                "handshake" => handshake::ask(builder).bind(&at)?,
                "resourcetracking" => resourcetracking::watch(builder).bind(&at)?,
                "socketpair" => socketpair::bind(builder)?,
                _ => builder.bind(&at)?,
            };
            let stage = Stage {
                daemon,
                config,
                words,
                second,
            };
            serve(&stage)?;
            println!("ready");
            Ok(stage.daemon.serve()?)
        }
        Part::Visit {
            example,
            words,
            threads,
        } => {
            let visit = Example::find(&example)?.visit;
            let visit = visit.context("this example has no client here")?;
            let guest = Guest {
                config,
                words,
                second,
                threads,
            };
            visit(&guest)
        }
    }
}
