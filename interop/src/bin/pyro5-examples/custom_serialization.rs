//! Classes of the program's own, one under a name that it chose.

use antifreeze::{Class, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

#[derive(Class, Debug, PartialEq)]
#[class = "waheeee-custom-thingy"]
struct Thingy {
    #[serde(rename = "number-attribute")]
    number: i64,
}

#[derive(Class, Debug, PartialEq)]
#[class = "mycustomclasses.OtherThingy"]
struct OtherThingy {
    number: i64,
}

struct Server;

#[expose]
impl Server {
    fn method(&self, arg: Thingy) -> Thingy {
        println!("method called, arg= {arg:?}");
        Thingy { number: 999 }
    }

    fn othermethod(&self, arg: OtherThingy) -> OtherThingy {
        println!("othermethod called, arg= {arg:?}");
        OtherThingy { number: 999 }
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!(
        "{}",
        stage.daemon.register("example.customclasses", Server)?
    );
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let server = guest.proxy(guest.word(0)?)?;
    let thingy: Thingy = server.call("method", (Thingy { number: 42 },))?;
    equal(thingy, Thingy { number: 999 })?;
    let other: OtherThingy = server.call("othermethod", (OtherThingy { number: 42 },))?;
    equal(other, OtherThingy { number: 999 })
}
