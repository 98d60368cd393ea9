//! Errors of all kinds, with what is told of where they happened.

use antifreeze::{Exception, Value, expose};
use antifreeze_interop::{equal, raised};
use anyhow::ensure;
use serde::{Serialize, Serializer, ser};

use crate::{Guest, Stage};

/// What no serializer carries.
struct Unserializable;

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("don't know how to serialize a function"))
    }
}

fn value_error() -> Exception {
    Exception::new("builtins.ValueError", "a valueerror! Great!")
}

struct TestClass;

#[expose]
impl TestClass {
    fn div(&self, arg1: f64, arg2: f64) -> Result<f64, Exception> {
        if arg2 == 0.0 {
            let class = "builtins.ZeroDivisionError";
            return Err(Exception::new(class, "division by zero"));
        }
        Ok(arg1 / arg2)
    }

    fn error(&self) -> Result<(), Exception> {
        Err(value_error())
    }

    /// Returns it.
    fn error2(&self) -> Exception {
        value_error()
    }

    fn othererr(&self) -> Result<(), String> {
        Err("a runtime error!".to_owned())
    }

    #[oneway]
    fn onewayerr(&self) -> Result<(), Exception> {
        Err(Exception::new(
            "builtins.ValueError",
            "error in oneway call!",
        ))
    }

    fn complexerror(&self) -> i64 {
        let none: Option<i64> = "going down...".parse().ok();
        none.expect("a number to divide by 2")
    }

    fn unserializable(&self) -> Unserializable {
        Unserializable
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let uri = stage.daemon.register(None, TestClass)?;
    stage.name("example.exceptions", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let test = guest.proxy("PYRONAME:example.exceptions")?;
    equal(test.call::<f64>("div", (2.0, 9.0))?, 2.0 / 9.0)?;
    raised(
        test.call::<f64>("div", (2, 0)),
        "builtins.ZeroDivisionError",
        "division by zero",
    )?;
    raised(
        test.call::<Value>("error", ()),
        "builtins.ValueError",
        "a valueerror! Great!",
    )?;
    let returned: Exception = test.call("error2", ())?;
    equal(returned.message(), value_error().message())?;
    raised(
        test.call::<Value>("othererr", ()),
        "builtins.RuntimeError",
        "a runtime error!",
    )?;
    test.call::<()>("onewayerr", ())?;
    // Python sends the function as a dict that names its class, and no client can make one of it.
    let function: Value = test.call("unserializable", ())?;
    equal(function.class_name(), Some("builtins.function"))?;
    let error = raised(
        test.call::<Value>("complexerror", ()),
        "builtins.TypeError",
        "unsupported operand",
    )?;
    let traceback = error.traceback().concat();
    // Where it happened, and by what way.
    for name in ["complexerror", "crash", "crash2"] {
        ensure!(traceback.contains(name), "{name} is not in {traceback}");
    }
    Ok(())
}
