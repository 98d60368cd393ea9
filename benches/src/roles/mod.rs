//! The processes that are measured. The benchmark starts its own binary again in one of these
//! roles; the Python ones are in `python/` and talk to it in the same way.
//!
//! A server prints the address that clients shall use, serves until its standard input ends, and
//! prints a [`ServerReport`]. A client makes its calls and prints a [`ClientReport`], or what `peers`
//! wants to know of it. What has to do with locks is alone, and gets and prints JSON.

mod antifreeze;
mod prepared;
mod raw;

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::wire::Serializer;
use crate::{allocations, codecs, deadlocks, locks, peers, waiters};

/// Which process to be.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Answers a fixed number of bytes with a fixed number of bytes.
    RawServer(Count),
    /// The other end of it.
    RawClient(ClientOptions),
    /// Speaks Pyro in prepared bytes.
    PreparedServer(Count),
    /// The other end of it.
    PreparedClient(ClientOptions),
    /// A daemon with the benchmarked object.
    AntifreezeServer(Count),
    /// A proxy that calls it.
    AntifreezeClient(ClientOptions),
    /// Somebody else's server of remote calls, or one of ours: the job is JSON.
    PeerServer { job: String },
    /// redis-server, which ends when we do.
    RedisServer,
    /// The client of one of those two.
    PeerClient {
        job: String,
        #[arg(long)]
        address: String,
    },
    /// Somebody's lock, and who wants it: the job is JSON.
    Lock { job: String },
    /// Somebody's encoding or decoding: the job is JSON.
    Codec { job: String },
    /// Watches the thread that looks for deadlocks.
    Detector,
    /// Many tasks that wait: the job is JSON.
    Waiters { job: String },
    /// Objects that are held while they call others.
    DeadlockNode { driver: String, objects: usize },
}

/// Whether to count allocations (and then to take no times).
#[derive(Args, Clone, Copy)]
pub(crate) struct Count {
    #[arg(long)]
    count: bool,
}

/// What a client is told.
#[derive(Args)]
pub(crate) struct ClientOptions {
    #[arg(long)]
    address: String,
    #[arg(long)]
    serializer: Serializer,
    #[arg(long)]
    warm_up: usize,
    #[arg(long)]
    calls: usize,
    #[arg(long)]
    connections: usize,
    #[command(flatten)]
    count: Count,
}

/// What a client has to say at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct ClientReport {
    /// How long each call took; empty when counting.
    pub(crate) nanoseconds: Vec<u64>,
    /// How long all of them took together.
    pub(crate) seconds: f64,
    /// Allocations of its whole life, when counting.
    pub(crate) allocations: Option<u64>,
}

/// What a server has to say at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServerReport {
    /// Allocations of its whole life, when counting.
    pub(crate) allocations: Option<u64>,
}

/// Plays `role` to its end.
pub(crate) fn play(role: Role) -> Result<()> {
    match role {
        Role::RawServer(count) => serve(count, raw::serve),
        Role::RawClient(options) => call(&options, raw::client),
        Role::PreparedServer(count) => serve(count, prepared::serve),
        Role::PreparedClient(options) => call(&options, prepared::client),
        Role::AntifreezeServer(count) => serve(count, antifreeze::serve),
        Role::AntifreezeClient(options) => call(&options, antifreeze::client),
        Role::PeerServer { job } => serve(Count { count: false }, || peers::serve(&job)),
        Role::RedisServer => peers::serve_redis(),
        Role::PeerClient { job, address } => peers::play(&job, &address),
        Role::Lock { job } => locks::play(&job),
        Role::Codec { job } => codecs::play(&job),
        Role::Detector => locks::watch_detector(),
        Role::Waiters { job } => waiters::play(&job),
        Role::DeadlockNode { driver, objects } => deadlocks::play(&driver, objects),
    }
}

/// Runs a server: `start` gives the address and what serves it.
fn serve<S>(count: Count, start: impl FnOnce() -> Result<(String, S)>) -> Result<()>
where
    S: FnOnce() -> Result<()> + Send + 'static,
{
    if count.count {
        allocations::start();
    }
    let (address, serve) = start()?;
    println!("{address}");
    thread::spawn(move || {
        if let Err(error) = serve() {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    let allocations = count.count.then(allocations::total);
    println!("{}", serde_json::to_string(&ServerReport { allocations })?);
    Ok(())
}

/// Gives every connection a thread of its own.
fn accept(listener: &TcpListener, answer: fn(TcpStream) -> Result<()>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("{error:#}");
            }
        });
    }
}

/// Runs a client: `connect` gives the call to be repeated on one connection.
fn call<C>(options: &ClientOptions, connect: impl Fn(&ClientOptions) -> Result<C>) -> Result<()>
where
    C: FnMut() -> Result<()> + Send,
{
    if options.count.count {
        allocations::start();
    }
    let connected = (0..options.connections.max(1)).map(|_| {
        let mut call = connect(options).context("cannot connect")?;
        for _ in 0..options.warm_up {
            call()?;
        }
        Ok(call)
    });
    let mut calls: Vec<C> = connected.collect::<Result<_>>()?;

    let began = Instant::now();
    let nanoseconds = thread::scope(|scope| {
        // The first connection stays on the main thread, as in a program that has no other.
        let others: Vec<_> = calls
            .drain(1..)
            .map(|call| scope.spawn(|| repeat(call, options)))
            .collect();
        let mut nanoseconds = calls
            .drain(..)
            .map(|call| repeat(call, options))
            .collect::<Result<Vec<_>>>()?;
        for other in others {
            nanoseconds.push(
                other
                    .join()
                    .map_err(|_| anyhow!("a connection's thread panicked"))??,
            );
        }
        Ok::<_, anyhow::Error>(nanoseconds.concat())
    })?;
    let report = ClientReport {
        nanoseconds,
        seconds: began.elapsed().as_secs_f64(),
        allocations: options.count.count.then(allocations::total),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Calls again and again; gives how long each call took, unless that would disturb the counting.
fn repeat(mut call: impl FnMut() -> Result<()>, options: &ClientOptions) -> Result<Vec<u64>> {
    let mut nanoseconds = Vec::with_capacity(options.calls);
    for _ in 0..options.calls {
        if options.count.count {
            call()?;
        } else {
            let began = Instant::now();
            call()?;
            nanoseconds.push(began.elapsed().as_nanos() as u64);
        }
    }
    Ok(nanoseconds)
}
