//! `antifreeze echo`: the echo server.

use antifreeze::Config;

use crate::failure::Failure;
use crate::listen::Listen;
use crate::{echo_object, output};

/// Serve the echo object, to try and test clients with
///
/// Prints its URI, test.echoserver at some address, on a line of its own, and serves until Ctrl-C.
/// The object has the methods of Pyro5's echo server: echo, error, error_with_text, oneway_echo,
/// slow, generator, nan, inf, oneway_slow, shutdown, and the attribute verbose.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    listen: Listen,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (daemon, uri) = echo_object::bind(self.listen, Config::load()?)?;
        output::print(&uri.to_string())?;
        Ok(daemon.serve()?)
    }
}
