//! An object that hands a call on to others, to build rings of: where it comes back to an object that
//! is busy with it, somebody gets an error that names the whole ring, and nobody hangs.
//!
//! ```sh
//! cargo run -p antifreeze --example ring
//! cargo run -p antifreeze --example ring -- --threads
//! ```
//!
//! prints the URI of an object `node`. Its methods `hop`, `peek`, `hop_lock` and `pass_on` take the
//! URIs of the objects to go on to, and how many milliseconds each of them takes for it.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::sync::BoundedSemaphore;
use antifreeze::{Daemon, Proxy, expose};

type Failure = Box<dyn Error + Send + Sync>;

struct Node {
    /// Its own id.
    uri: String,
    turn: BoundedSemaphore,
}

#[expose]
impl Node {
    /// Has the object for itself until the answer is there.
    fn hop(&mut self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Failure> {
        self.go_on("hop", &path, hold_ms)
    }

    /// Shares it with others who read.
    fn peek(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Failure> {
        self.go_on("peek", &path, hold_ms)
    }

    /// Keeps others out by a lock of its own.
    fn hop_lock(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Failure> {
        let _turn = self.turn.acquire()?;
        self.go_on("hop_lock", &path, hold_ms)
    }

    /// Keeps nobody waiting.
    #[lock(none)]
    fn pass_on(&self, path: Vec<String>, hold_ms: u64) -> Result<Vec<String>, Failure> {
        self.go_on("pass_on", &path, hold_ms)
    }
}

impl Node {
    /// Takes its time, then calls the next one, and puts its own id before the answer of that.
    fn go_on(&self, method: &str, path: &[String], hold_ms: u64) -> Result<Vec<String>, Failure> {
        sleep(Duration::from_millis(hold_ms));
        let mut ids = vec![self.uri.clone()];
        if let Some((next, rest)) = path.split_first() {
            let next = Proxy::connect(next.as_str())?;
            ids.extend(next.call::<Vec<String>>(method, (rest, hold_ms))?);
        }
        Ok(ids)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let builder = match std::env::args().nth(1).as_deref() {
        None => Daemon::builder(),
        Some("--threads") => Daemon::builder().threads(),
        Some(other) => return Err(format!("expected --threads or nothing, got {other}").into()),
    };
    let daemon = builder.bind("localhost:0")?;
    let uri = daemon.uri_for("node")?.to_string();
    let turn = BoundedSemaphore::named("turn", 1);
    daemon.register(
        "node",
        Node {
            uri: uri.clone(),
            turn,
        },
    )?;
    println!("{uri}");
    daemon.serve()?;
    Ok(())
}
