//! Times with and without a zone, which are text on the wire.

use antifreeze::{Timestamp, Value, expose, from_value};
use antifreeze_interop::equal;
use anyhow::Context as _;

use crate::{Guest, Stage};

/// Noon of a winter's day in Amsterdam, as Python's `isoformat` has it.
const NOON: &str = "2026-01-02T12:00:00.000005+01:00";

struct Server;

#[expose]
impl Server {
    fn echo(&self, date: Value) -> Value {
        println!("RETURNING: {date}");
        date
    }

    fn pytz(&self) -> &'static str {
        NOON
    }

    fn dateutil(&self) -> &'static str {
        NOON
    }

    fn pendulum(&self) -> &'static str {
        NOON
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.register("example.timezones", Server)?);
    Ok(())
}

/// Prints each time as it came, and in seconds since 1970.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let server = guest.proxy(guest.word(0)?)?;
    let naive: String = server.call("echo", ("2026-01-02T12:00:00",))?;
    equal(naive, "2026-01-02T12:00:00")?;
    for library in ["pytz", "dateutil", "pendulum"] {
        let time: Value = server.call(library, ())?;
        let Timestamp(seconds) = from_value(time.clone())?;
        println!("{} {seconds}", time.as_str().context("expected text")?);
    }
    Ok(())
}
