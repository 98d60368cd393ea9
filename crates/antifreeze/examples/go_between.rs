//! The conversation with a Python program in between, which is as it is: its Pyro5 knows nothing of
//! locks. It hands on for whom it calls, and so the cycle is found through it all the same.
//!
//! ```text
//! python3 -m pip install Pyro5
//! cargo run -p antifreeze --example go_between
//! ```
//!
//! `PYTHON` names another interpreter. The program is `go_between.py`, beside this file.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use antifreeze::sync::BoundedSemaphore;
use antifreeze::{Daemon, ErrorKind, Proxy, expose};

type Failure = Box<dyn Error + Send + Sync>;

/// Needs to know from the other one, through the go-between, whether a foo is like a bar.
struct Obj1 {
    foo_lock: BoundedSemaphore,
    go_between: String,
}

#[expose]
impl Obj1 {
    #[rename = "GetFoosLikeABar"]
    fn get_foos_like_a_bar(&self, obj2: String) -> Result<bool, Failure> {
        let _locked = self.foo_lock.acquire()?;
        let go_between = Proxy::connect(&self.go_between)?;
        Ok(go_between.call("pass_on", (&obj2, "IsFooLikeABar"))?)
    }
}

struct Obj2 {
    bar_lock: BoundedSemaphore,
    itself: String,
    obj1: String,
}

#[expose]
impl Obj2 {
    #[rename = "IsFooLikeABar"]
    fn is_foo_like_a_bar(&self) -> Result<bool, Failure> {
        let _locked = self.bar_lock.acquire()?;
        Ok(true)
    }

    #[rename = "ComposeBars"]
    fn compose_bars(&self) -> Result<bool, Failure> {
        let _locked = self.bar_lock.acquire()?;
        let obj1 = Proxy::connect(&self.obj1)?;
        Ok(obj1.call("GetFoosLikeABar", (&self.itself,))?)
    }
}

fn main() -> Result<(), Failure> {
    let (_python, go_between) = start_python()?;
    let (one, other) = (Daemon::bind("localhost:0")?, Daemon::bind("localhost:0")?);
    let obj1 = Obj1 {
        foo_lock: BoundedSemaphore::named("fooLock", 1),
        go_between,
    };
    let obj1 = one.register("obj1", obj1)?.to_string();
    let obj2 = Obj2 {
        bar_lock: BoundedSemaphore::named("barLock", 1),
        itself: other.uri_for("obj2")?.to_string(),
        obj1: obj1.clone(),
    };
    let obj2 = other.register("obj2", obj2)?.to_string();
    let _running = (one.start()?, other.start()?);

    // By itself, either of them is fine.
    let is_like: bool = Proxy::connect(&obj1)?.call("GetFoosLikeABar", (&obj2,))?;
    println!("a foo is like a bar: {is_like}");

    match Proxy::connect(&obj2)?.call::<bool>("ComposeBars", ()) {
        Err(error) if error.kind() == ErrorKind::Deadlock => println!("{error}"),
        other => println!("{other:?}"),
    }
    Ok(())
}

/// Starts the go-between; gives its URI.
fn start_python() -> Result<(Python, String), Failure> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/go_between.py");
    let mut command = Command::new(python);
    let mut child = command.arg(program).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the program has no output")?;
    let child = Python(child);
    let uri = BufReader::new(output).lines().next();
    Ok((child, uri.ok_or("is Pyro5 installed for this Python?")??))
}

/// Ended with the example.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
