//! The object of the echo server: what Pyro5's has, to try and test clients with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use antifreeze::{Config, Daemon, DaemonHandle, Exception, ItemStream, Uri, Value, expose};

use crate::failure::Failure;
use crate::listen::{self, Listen};
use crate::output;

/// What clients know it by.
const ID: &str = "test.echoserver";

/// How long the slow methods take.
const SLOW: Duration = Duration::from_secs(5);

/// Starts to serve the object: what is left to do is [`Daemon::serve`].
pub(crate) fn bind(listen: Listen, config: Config) -> Result<(Daemon, Uri), Failure> {
    let daemon = listen.bind(config)?;
    listen::stop_on_signal(daemon.handle())?;
    let echo = Echo {
        daemon: daemon.handle(),
        verbose: AtomicBool::new(false),
    };
    let uri = daemon.register(ID, echo)?;
    Ok((daemon, uri))
}

/// The object. It has no state to protect, so its methods run together.
struct Echo {
    daemon: DaemonHandle,
    /// Whether calls are told on standard output.
    verbose: AtomicBool,
}

impl Echo {
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose.load(Ordering::Relaxed) {
            // Nobody has to read it.
            let _ = output::print(&output::clean(&what()));
        }
    }
}

#[expose]
impl Echo {
    #[quick]
    fn echo(&self, message: Value) -> Value {
        self.tell(|| format!("echo: {message}"));
        message
    }

    fn error(&self) -> Result<(), Exception> {
        self.tell(|| "error: generating exception".to_owned());
        let text = "this is the generated error from echoserver echo() method";
        Err(Exception::new("builtins.ValueError", text))
    }

    fn error_with_text(&self) -> Result<(), Exception> {
        self.tell(|| "error: generating exception".to_owned());
        Err(Exception::new(
            "builtins.ValueError",
            "the message of the error",
        ))
    }

    #[oneway]
    fn oneway_echo(&self, message: Value) {
        self.tell(|| format!("oneway_echo: {message}"));
    }

    fn slow(&self) -> &'static str {
        self.tell(|| "slow: waiting a bit...".to_owned());
        thread::sleep(SLOW);
        self.tell(|| "slow: returning result".to_owned());
        "Finally, an answer!"
    }

    #[quick]
    fn generator(&self) -> ItemStream<&'static str> {
        self.tell(|| "generator: a stream of three items".to_owned());
        ItemStream::new(["one", "two", "three"])
    }

    #[quick]
    fn nan(&self) -> f64 {
        f64::NAN
    }

    #[quick]
    fn inf(&self) -> f64 {
        f64::INFINITY
    }

    #[oneway]
    fn oneway_slow(&self) {
        self.tell(|| "oneway_slow: waiting a bit...".to_owned());
        thread::sleep(SLOW);
        self.tell(|| "oneway_slow: returning result".to_owned());
    }

    /// Shows that names like this one may be called, and those that only begin with `_` may not.
    #[quick]
    fn __dunder__(&self) -> &'static str {
        "should be allowed (dunder)"
    }

    /// Ends the process, after the answer to this call.
    fn shutdown(&self) {
        self.tell(|| "shutting down".to_owned());
        self.daemon.shutdown();
    }

    #[attr]
    fn verbose(&self) -> bool {
        self.verbose.load(Ordering::Relaxed)
    }

    #[attr(set)]
    fn set_verbose(&self, on: bool) {
        self.verbose.store(on, Ordering::Relaxed);
    }
}
