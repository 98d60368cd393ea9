//! What the commands that serve have in common: where they listen, and how they stop.

use std::{process, thread};

use antifreeze::{Config, Daemon, DaemonHandle, Location};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Where to listen.
#[derive(clap::Args, Debug)]
pub(crate) struct Listen {
    /// Host or address to listen on; without it the setting `host`, which is localhost
    #[arg(short = 'n', long, value_name = "HOST")]
    host: Option<String>,
    /// Port to listen on; 0 is any free port
    #[arg(short, long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Listen on a Unix domain socket instead
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    unixsocket: Option<String>,
    /// Serve with blocking threads instead of an event loop
    #[arg(long)]
    threads: bool,
}

impl Listen {
    /// Takes the address; nothing is served before [`Daemon::serve`].
    pub(crate) fn bind(self, config: Config) -> Result<Daemon, Failure> {
        let location = match self.unixsocket {
            Some(path) => Location::unix(path),
            None => Location::tcp(self.host.unwrap_or_else(|| config.host.clone()), self.port),
        };
        let address = location.to_string();
        // Whether it can be an address; whether it is free is another matter.
        address.parse::<Location>().map_err(Failure::usage)?;
        let mut daemon = Daemon::builder().config(config);
        if self.threads {
            daemon = daemon.threads();
        }
        Ok(daemon.bind(&address)?)
    }
}

/// From now on Ctrl-C and SIGTERM end the daemon: calls that run may end, within the setting
/// `drain_timeout`. A second signal does not wait for them.
pub(crate) fn stop_on_signal(handle: DaemonHandle) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        eprintln!("ending when running calls have; a second signal ends at once");
        handle.shutdown();
        signals.next();
        eprintln!("error: stopped at once, before all calls had ended");
        process::exit(1);
    });
    Ok(())
}
