//! An object to call from Python.
//!
//! ```text
//! cargo run --release --example echo
//! ```
//!
//! prints a URI. In Python, with that URI:
//!
//! ```python
//! import Pyro5.api
//! echo = Pyro5.api.Proxy("PYRO:echo@localhost:…")
//! print(echo.echo([1, "two", None]))
//! print(echo.shout("hello", times=3))
//! ```

use antifreeze::{Daemon, Error, Value, expose};

struct Echo;

#[expose]
impl Echo {
    /// A `Value` is anything that Python can send.
    fn echo(&self, message: Value) -> Value {
        message
    }

    /// Typed parameters are checked: `echo.shout(5)` raises a `TypeError` in Python. They are known
    /// there by their names, and may have defaults.
    fn shout(&self, text: &str, #[default = 1] times: usize) -> String {
        text.to_uppercase().repeat(times)
    }
}

fn main() -> Result<(), Error> {
    let daemon = Daemon::bind("localhost:0")?;
    let uri = daemon.register("echo", Echo)?;
    println!("{uri}");
    daemon.serve()
}
