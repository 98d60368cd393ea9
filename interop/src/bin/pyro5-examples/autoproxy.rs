//! Objects that a method makes, and that its callers get as proxies.

use antifreeze::{DaemonHandle, Error, Object, Proxy, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

struct Thingy {
    number: i64,
}

#[expose]
impl Thingy {
    fn speak(&self, message: &str) {
        println!("Thingy {} says: {message}", self.number);
    }
}

struct Factory {
    daemon: DaemonHandle,
}

#[expose]
impl Factory {
    #[rename = "createSomething"]
    fn create_something(&self, number: i64) -> Result<Object<Thingy>, Error> {
        let thing = Object::new(Thingy { number });
        self.daemon.register(None, &thing)?;
        Ok(thing)
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let daemon = stage.daemon.handle();
    println!("{}", stage.daemon.register(None, Factory { daemon })?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let factory = guest.proxy(guest.word(0)?)?;
    let create = |number: i64| factory.call::<Proxy>("createSomething", (number,));
    let things = [create(1)?, create(2)?, create(3)?];
    let [first, second, _] = things.each_ref().map(Proxy::uri);
    ensure!(first != second, "two things are one");
    equal(first.location(), factory.uri().location())?;
    let words = ["I am the first", "I am second", "I am last then..."];
    for (thing, message) in things.iter().zip(words) {
        thing.call::<()>("speak", (message,))?;
    }
    Ok(())
}
