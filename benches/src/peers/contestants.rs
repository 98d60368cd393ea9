//! Who takes part, in what, and who plays them.

use std::fmt;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::raw::Exchange;
use super::repeat::{Calls, clients, runtime};
use super::workloads::{BATCH, Workload};
use super::{Job, antifreeze, capnp, raw, raw_tokio, redis, remoc, tarpc, tonic, zbus};
use crate::python::Python;
use crate::session::Stage;

/// A library, or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Contestant {
    /// Blocking sockets and bytes that are known before: what no remote call can beat.
    RawTcp,
    /// The same bytes in tasks of tokio.
    RawTokio,
    Antifreeze(Proxy, Driver),
    Tarpc,
    Tonic,
    Zbus,
    CapnpRpc,
    Remoc,
    /// The server in C; its client is that of raw TCP.
    Redis,
    /// Stock client, stock thread server.
    Pyro5,
}

/// Which client of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Proxy {
    Blocking,
    Async,
}

/// Which server of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Driver {
    EventLoop,
    Threads,
}

/// Serves until the process ends.
pub(crate) type Serve = Box<dyn FnOnce() -> Result<()> + Send>;

/// Ours that the targets are about: tasks at both ends, as the peers are.
pub(super) const OURS: Contestant = Contestant::Antifreeze(Proxy::Async, Driver::EventLoop);

impl Contestant {
    /// All that can take part here, in the order of the tables.
    pub(super) fn present() -> Vec<Self> {
        let mut all = vec![
            Self::RawTcp,
            Self::RawTokio,
            OURS,
            Self::Antifreeze(Proxy::Blocking, Driver::EventLoop),
            Self::Antifreeze(Proxy::Async, Driver::Threads),
            Self::Antifreeze(Proxy::Blocking, Driver::Threads),
            Self::Tarpc,
            Self::Tonic,
            Self::Zbus,
            Self::CapnpRpc,
            Self::Remoc,
            Self::Redis,
            Self::Pyro5,
        ];
        if redis::version().is_none() {
            all.retain(|contestant| *contestant != Self::Redis);
        }
        all
    }

    /// Whether it can do this at all.
    pub(super) fn takes_part(self, workload: Workload) -> bool {
        match self {
            Self::Antifreeze(..) => true,
            // Its connections carry one call at a time.
            Self::Pyro5 => workload != Workload::InFlight,
            _ => workload != Workload::Batches,
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::RawTcp => "raw TCP",
            Self::RawTokio => "raw tokio",
            Self::Antifreeze(Proxy::Async, Driver::EventLoop) => "Antifreeze async → event loop",
            Self::Antifreeze(Proxy::Async, Driver::Threads) => "Antifreeze async → threads",
            Self::Antifreeze(Proxy::Blocking, Driver::EventLoop) => "Antifreeze → event loop",
            Self::Antifreeze(Proxy::Blocking, Driver::Threads) => "Antifreeze → threads",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Zbus => "zbus",
            Self::CapnpRpc => "capnp-rpc",
            Self::Remoc => "remoc",
            Self::Redis => "redis-server",
            Self::Pyro5 => "Pyro5",
        })
    }
}

/// What starts the server, and the client but for the address.
pub(super) fn command_lines(stage: &Stage, job: Job) -> Result<(Vec<String>, Vec<String>)> {
    if job.contestant == Contestant::Pyro5 {
        return Ok(pyro5(stage.python(), job));
    }
    let told = serde_json::to_string(&job)?;
    let server = match job.contestant {
        Contestant::Redis => stage.role("redis-server"),
        _ => [stage.role("peer-server"), vec![told.clone()]].concat(),
    };
    Ok((server, [stage.role("peer-client"), vec![told]].concat()))
}

/// In msgpack, its fastest serializer that has batches: those of marshal fail in the client.
fn pyro5(python: &Python, job: Job) -> (Vec<String>, Vec<String>) {
    let Job {
        workload,
        milliseconds,
        ..
    } = job;
    let batch = (workload == Workload::Batches).then_some(BATCH);
    let mut client = python.script("peers_client.py");
    for (option, value) in [
        ("--serializer", "msgpack".to_owned()),
        ("--milliseconds", milliseconds.to_string()),
        ("--connections", workload.connections().to_string()),
        ("--batch", batch.unwrap_or_default().to_string()),
        ("--echo", workload.echo().unwrap_or_default().to_string()),
    ] {
        client.extend([option.to_owned(), value]);
    }
    (python.script("server.py"), client)
}

/// Begins to serve.
pub(super) fn serve(job: Job) -> Result<(String, Serve)> {
    match job.contestant {
        Contestant::RawTcp => raw::serve(job),
        Contestant::RawTokio => in_runtime(raw_tokio::serve(job)),
        Contestant::Antifreeze(_, driver) => antifreeze::serve(driver),
        Contestant::Tarpc => in_runtime(tarpc::serve()),
        Contestant::Tonic => in_runtime(tonic::serve()),
        Contestant::Zbus => in_runtime(zbus::serve()),
        Contestant::CapnpRpc => capnp::serve(),
        Contestant::Remoc => in_runtime(remoc::serve()),
        Contestant::Redis | Contestant::Pyro5 => bail!("{} serves itself", job.contestant),
    }
}

/// Is the client.
pub(super) fn call(job: Job, address: &str) -> Result<Calls> {
    match job.contestant {
        Contestant::RawTcp => raw::clients(job, address, &Exchange::of(job.workload)),
        Contestant::RawTokio => runtime()?.block_on(raw_tokio::clients(job, address)),
        Contestant::Antifreeze(Proxy::Blocking, _) => antifreeze::clients(job, address),
        Contestant::Antifreeze(Proxy::Async, _) => {
            runtime()?.block_on(antifreeze::async_clients(job, address))
        }
        Contestant::Tarpc => runtime()?.block_on(clients::<tarpc::Client>(job, address)),
        Contestant::Tonic => runtime()?.block_on(clients::<tonic::Client>(job, address)),
        Contestant::Zbus => runtime()?.block_on(clients::<zbus::Client>(job, address)),
        Contestant::CapnpRpc => capnp::in_this_thread(clients::<capnp::Client>(job, address)),
        Contestant::Remoc => runtime()?.block_on(clients::<remoc::Client>(job, address)),
        Contestant::Redis => redis::clients(job, address),
        Contestant::Pyro5 => bail!("{} calls itself", job.contestant),
    }
}

/// A server that binds, says where it is, and then serves in a task.
fn in_runtime<F>(bind: impl Future<Output = Result<(String, F)>>) -> Result<(String, Serve)>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let runtime = runtime()?;
    let (address, serve) = runtime.block_on(bind)?;
    // Spawned, as it would otherwise run on a thread that is none of the runtime's.
    let serve = move || runtime.block_on(async { tokio::spawn(serve).await? });
    Ok((address, Box::new(serve)))
}

/// The names and versions of the others.
pub(super) fn versions() -> Vec<String> {
    let mut locked = include_str!("../../Cargo.lock").lines();
    let mut versions = Vec::new();
    while let Some(line) = locked.next() {
        let value = |line: &str, key| {
            let quoted = line.strip_prefix(key)?.strip_prefix(" = ")?;
            Some(quoted.trim_matches('"').to_owned())
        };
        let Some(name) = value(line, "name") else {
            continue;
        };
        let version = locked.next().and_then(|line| value(line, "version"));
        if LIBRARIES.contains(&name.as_str()) {
            versions.push(format!("{name} {}", version.unwrap_or_default()));
        }
    }
    versions.extend(redis::version());
    versions
}

/// Their names in the lock file.
const LIBRARIES: [&str; 6] = ["capnp-rpc", "remoc", "tarpc", "tokio", "tonic", "zbus"];
