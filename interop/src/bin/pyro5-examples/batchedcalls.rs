//! Many calls in one message, and an error in the middle of them.

use std::convert::Infallible;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{Exception, InstanceMode, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

struct Thingy {
    second: Duration,
}

#[expose]
impl Thingy {
    fn multiply(&self, a: i64, b: i64) -> i64 {
        a * b
    }

    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    fn divide(&self, a: i64, b: i64) -> Result<i64, Exception> {
        let by_zero = || {
            Exception::new(
                "builtins.ZeroDivisionError",
                "integer division or modulo by zero",
            )
        };
        a.checked_div_euclid(b).ok_or_else(by_zero)
    }

    fn delay(&self, seconds: f64) -> f64 {
        sleep(self.second.mul_f64(seconds));
        seconds
    }

    fn printmessage(&self, message: &str) -> i64 {
        println!("{message}");
        0
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let create = move || Ok::<_, Infallible>(Thingy { second });
    let id = "example.batched";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const LOOPS: i64 = 500;
    let thingy = guest.proxy(guest.word(0)?)?;
    let mut batch = thingy.batch();
    let mut fill = |last: &str| {
        batch.call("printmessage", (format!("beginning {last}"),))?;
        for _ in 0..LOOPS {
            batch.call("multiply", (7, 6))?.call("add", (10, 20))?;
        }
        batch.call("printmessage", (format!("end of {last}"),))?;
        Ok::<_, anyhow::Error>(std::mem::replace(&mut batch, thingy.batch()))
    };
    let totals: Vec<i64> = fill("batch #1")?.send_as()?;
    equal(totals.iter().sum::<i64>(), LOOPS * (7 * 6 + 10 + 20))?;
    fill("batch #2")?.oneway()?;

    for divisor in [3, 2, 1, 0, -1] {
        batch.call("divide", (100, divisor))?;
    }
    let mut results = batch.send()?;
    for expected in [33, 50, 100] {
        let result = results.next().transpose()?;
        equal(result.and_then(|value| value.as_i64()), Some(expected))?;
    }
    let Some(Err(error)) = results.next() else {
        anyhow::bail!("nothing fails");
    };
    ensure!(error.is_remote("ZeroDivisionError"), "{error:?}");
    ensure!(results.next().is_none(), "the batch ends with its error");
    Ok(())
}
