//! Servers of both drivers under mixed load and faults: counts must add up, and what a server holds
//! must not grow.
//!
//! Each server is a process of its own, so that its memory, descriptors and threads can be read
//! from outside. The time is cut into rounds; after each all clients leave and the server is looked
//! at. The first round warms it up, and the others are compared with that.
#![forbid(unsafe_code)]

mod load;
mod server;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::load::{Count, Load};
use crate::server::{Driver, Held, Server};

/// Runs servers of both drivers under mixed load and faults, and checks that nothing is lost and
/// nothing grows.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// How long, in minutes; half of one will do.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// In how many rounds; after each the servers are looked at.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,
    /// For the same choice of calls and faults again.
    #[arg(long)]
    seed: Option<u64>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// What a server process does, until its standard input ends.
    #[command(hide = true)]
    Serve { driver: Driver },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.role {
        Some(Role::Serve { driver }) => server::run(driver),
        None => soak(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn soak(options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!(
        "{} minutes in {} rounds, seed {seed}",
        options.minutes, options.rounds
    );
    let round = Duration::from_secs_f64(options.minutes * 60.0) / options.rounds;
    let soak = |driver: Driver| soak_one(driver, round, options.rounds, seed).context(driver);
    thread::scope(|scope| {
        let both = Driver::BOTH.map(|driver| scope.spawn(move || soak(driver)));
        both.map(|one| one.join().expect("no panic"))
            .into_iter()
            .collect()
    })
}

/// Lets one server work in rounds, and looks at it after each.
fn soak_one(driver: Driver, round: Duration, rounds: u32, seed: u64) -> anyhow::Result<()> {
    let server = Server::start(driver)?;
    let mut load = Load::new(&server, seed)?;
    // Once it has answered it is up, and then it notices that we have left.
    load.check_totals(&Count::default())?;
    thread::sleep(Duration::from_millis(500));
    let before = server.held()?;
    let mut warm: Option<Held> = None;
    let mut all = Count::default();
    for number in 1..=rounds {
        let count = load.run(round)?;
        all.add(&count);
        load.check_totals(&all)?;
        let held = settle(&server, before.descriptors)?;
        println!("{driver:<10} round {number}: {count}; {held}");
        let warm = *warm.get_or_insert(held);
        ensure!(
            held.threads <= warm.threads + SPARE_THREADS,
            "{} threads, and {} when it was warm",
            held.threads,
            warm.threads
        );
        let most = warm.memory + warm.memory / 4 + SPARE_MEMORY;
        ensure!(held.memory <= most, "{held}, and {warm} when it was warm");
    }
    println!("{driver:<10} in all:  {all}");
    Ok(())
}

/// Threads that come and go with the work.
const SPARE_THREADS: u64 = 8;

/// What an allocator may keep for later.
const SPARE_MEMORY: u64 = 16 << 20;

/// Waits until the server has noticed that everybody has left; it may not keep a descriptor.
fn settle(server: &Server, descriptors: u64) -> anyhow::Result<Held> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let held = server.held()?;
        if held.descriptors <= descriptors {
            return Ok(held);
        }
        ensure!(
            Instant::now() < end,
            "{held}, and {descriptors} descriptors at first"
        );
        thread::sleep(Duration::from_millis(20));
    }
}
