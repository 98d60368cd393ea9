//! Remote attributes: those that are exposed, and no others.

use std::collections::BTreeMap;
use std::convert::Infallible;

use antifreeze::{InstanceMode, Value, expose};
use antifreeze_interop::{equal, raised};

use crate::{Guest, Stage};

struct Thingy {
    value: i64,
}

#[expose]
impl Thingy {
    fn __dunder__(&self) -> &'static str {
        "yep"
    }

    fn __len__(&self) -> usize {
        200
    }

    #[rename = "getValue"]
    fn get_value(&self) -> i64 {
        self.value
    }

    #[attr]
    fn prop_value(&self) -> i64 {
        self.value
    }

    #[attr(set)]
    fn set_prop_value(&mut self, value: i64) {
        self.value = value;
    }

    #[attr]
    fn prop_sub(&self) -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([("name", "value")])
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || Ok::<_, Infallible>(Thingy { value: 42 });
    let id = "example.attributes";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let thingy = guest.proxy(guest.word(0)?)?;
    let value: i64 = thingy.attr("prop_value")?;
    equal(value, 42)?;
    thingy.set_attr("prop_value", value + 500)?;
    equal(thingy.attr::<i64>("prop_value")?, 542)?;
    equal(thingy.call::<i64>("getValue", ())?, 542)?;
    equal(thingy.call::<String>("__dunder__", ())?, "yep")?;
    equal(thingy.call::<usize>("__len__", ())?, 200)?;
    for hidden in ["sub", "value", "_value", "__value"] {
        raised(
            thingy.attr::<Value>(hidden),
            "builtins.AttributeError",
            "attribute",
        )?;
    }
    let mut sub: BTreeMap<String, String> = thingy.attr("prop_sub")?;
    let before = sub.clone();
    // A copy is changed, not what is there.
    sub.insert("test".to_owned(), "nope".to_owned());
    equal(thingy.attr::<BTreeMap<String, String>>("prop_sub")?, before)
}
