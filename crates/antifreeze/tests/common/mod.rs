//! What tests of both drivers share: a scenario is written once, and runs on each.
#![allow(dead_code, reason = "not every test program uses all of it")]
#![allow(unreachable_pub, reason = "shared by several test programs")]

pub mod gate;
pub mod process;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use antifreeze::{Config, Daemon, DaemonBuilder, Location, Uri};

/// Something that a test waits for, and that must happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// Which of the two drivers serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Driver {
    /// Blocking threads.
    Threads,
    /// The event loop, which is what a daemon uses unless told.
    EventLoop,
}

impl Driver {
    /// A daemon of this kind that is not made yet.
    pub fn builder(self) -> DaemonBuilder {
        match self {
            Self::Threads => Daemon::builder().threads(),
            Self::EventLoop => Daemon::builder(),
        }
    }
}

/// Runs a test on each of them, and says on which it is.
pub fn on_both(test: impl Fn(Driver)) {
    for driver in [Driver::Threads, Driver::EventLoop] {
        eprintln!("on {driver:?}");
        test(driver);
    }
}

/// A daemon of this kind at some free port.
pub fn bind(driver: Driver, config: Config) -> Daemon {
    driver.builder().config(config).bind("localhost:0").unwrap()
}

/// Makes two tests of each function that takes a [`Driver`]: `threads::name`, `event_loop::name`.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),+ $(,)?) => {
        mod threads {
            $(#[test] fn $name() { super::$name($crate::common::Driver::Threads); })+
        }
        mod event_loop {
            $(#[test] fn $name() { super::$name($crate::common::Driver::EventLoop); })+
        }
    };
}

/// The default settings with these changes.
pub fn config(set: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    set(&mut config);
    config
}

/// Where a daemon listens.
pub fn address(uri: &Uri) -> SocketAddr {
    match uri.location() {
        Some(Location::Tcp { host, port }) => {
            let mut found = (host.as_str(), *port).to_socket_addrs().unwrap();
            found.next().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// Whether tests shall run at their whole size, which takes minutes.
pub fn is_full() -> bool {
    std::env::var_os("FULL_TESTS").is_some()
}

/// The time below which that share of the times lies.
pub fn percentile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// Lets this process open as many files as it may.
pub fn raise_limits() {
    let limits = getrlimit(Resource::Nofile);
    let current = limits.maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limits });
}
