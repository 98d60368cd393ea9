//! The echo server that every Pyro5 brings; ours is `antifreeze echo`.

use antifreeze::Value;
use antifreeze_interop::{equal, raised};
use anyhow::ensure;

use crate::Guest;

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let echo = guest.proxy(guest.word(0)?)?;
    equal(echo.call::<String>("echo", ("hello",))?, "hello")?;
    equal(
        echo.call::<Vec<i64>>("echo", ([1, 2, 3, 4],))?,
        [1, 2, 3, 4],
    )?;
    let error = raised(
        echo.call::<Value>("error", ()),
        "builtins.ValueError",
        "this is the generated error from echoserver echo() method",
    )?;
    ensure!(!error.traceback().is_empty(), "an error without traceback");
    raised(
        echo.call::<Value>("error_with_text", ()),
        "builtins.ValueError",
        "the message of the error",
    )?;
    ensure!(echo.call::<f64>("nan", ())?.is_nan(), "expected nan");
    equal(echo.call::<f64>("inf", ())?, f64::INFINITY)?;
    let words = echo.stream::<String>("generator", ())?;
    equal(
        words.collect::<Result<Vec<_>, _>>()?,
        ["one", "two", "three"],
    )?;
    echo.call::<()>("oneway_echo", ("nobody hears this",))?;
    let dunder: String = echo.call("__dunder__", ())?;
    equal(dunder, "should be allowed (dunder)")?;
    equal(echo.attr::<bool>("verbose")?, false)?;
    Ok(echo.call("shutdown", ())?)
}
