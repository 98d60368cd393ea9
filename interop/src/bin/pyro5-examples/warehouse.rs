//! The tutorial: a place where visitors leave and take things.

use antifreeze::{Exception, expose};
use antifreeze_interop::{equal, raised};

use crate::{Guest, Stage};

struct Warehouse {
    contents: Vec<String>,
}

#[expose]
impl Warehouse {
    fn list_contents(&self) -> &[String] {
        &self.contents
    }

    fn take(&mut self, name: &str, item: &str) -> Result<(), Exception> {
        let at = self.contents.iter().position(|known| known == item);
        let missing = || Exception::new("builtins.ValueError", "list.remove(x): x not in list");
        self.contents.remove(at.ok_or_else(missing)?);
        println!("{name} took the {item}.");
        Ok(())
    }

    fn store(&mut self, name: &str, item: String) {
        println!("{name} stored the {item}.");
        self.contents.push(item);
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let contents = ["chair", "bike", "flashlight", "laptop", "couch"];
    let contents = contents.map(str::to_owned).to_vec();
    let uri = stage
        .daemon
        .register("example.warehouse", Warehouse { contents })?;
    println!("{uri}");
    stage.name("example.warehouse", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let warehouse = guest.proxy(guest.word(0)?)?;
    let contents = || warehouse.call::<Vec<String>>("list_contents", ());
    let before = contents()?;
    warehouse.call::<()>("store", ("Janet", "television set"))?;
    warehouse.call::<()>("take", ("Janet", "couch"))?;
    raised(
        warehouse.call::<()>("take", ("Henry", "couch")),
        "builtins.ValueError",
        "list.remove(x)",
    )?;
    let mut expected = before;
    expected.retain(|item| item != "couch");
    expected.push("television set".to_owned());
    equal(contents()?, expected)
}
