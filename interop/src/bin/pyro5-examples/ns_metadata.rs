//! Objects that are found in the name server by what they are.

use std::collections::{BTreeMap, BTreeSet};

use antifreeze::{ErrorKind, NameServer, Uri};
use antifreeze_interop::{equal, failed};

use crate::Guest;

const PREFIX: &str = "example.resource.";
const RESOURCES: [(&str, &[&str]); 5] = [
    ("laserprinter", &["resource:printer", "performance:fast"]),
    ("matrixprinter", &["resource:printer", "performance:slow"]),
    ("photoprinter", &["resource:printer", "performance:slow"]),
    ("diskstorage", &["resource:storage", "performance:fast"]),
    ("telephone", &["resource:communication"]),
];

/// Registers them, and looks them up.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let names = NameServer::locate(&guest.config)?;
    for (name, tags) in RESOURCES {
        let uri = format!("PYRO:{name}@localhost:1");
        names.register(&format!("{PREFIX}{name}"), uri, true, tags.to_vec())?;
    }
    let check = |found: BTreeMap<String, String>, expected: &[&str]| {
        let expected = expected.iter().map(|name| {
            let uri = format!("PYRO:{name}@localhost:1");
            (format!("{PREFIX}{name}"), uri)
        });
        equal(found, expected.collect::<BTreeMap<_, _>>())
    };
    check(names.yplookup_all(["resource:storage"])?, &["diskstorage"])?;
    let fast = ["resource:printer", "performance:fast"];
    check(names.yplookup_all(fast)?, &["laserprinter"])?;
    // What our handle of a name server has no method for, its proxy has.
    let any = ("resource:storage", "resource:communication");
    let found = names.as_proxy().call("yplookup", ((), any, false))?;
    check(found, &["diskstorage", "telephone"])?;

    let photo = format!("{PREFIX}photoprinter");
    let (uri, mut tags): (Uri, BTreeSet<String>) =
        names.as_proxy().call("lookup", (&photo, true))?;
    equal(uri.object(), "photoprinter")?;
    tags.remove("performance:slow");
    tags.insert("performance:fast".to_owned());
    names
        .as_proxy()
        .call::<()>("set_metadata", (&photo, tags))?;
    check(names.yplookup_all(fast)?, &["laserprinter", "photoprinter"])?;

    let itself = guest.proxy("PYROMETA:class:Pyro5.nameserver.NameServer")?;
    let found: Uri = itself.call("lookup", (&photo,))?;
    equal(found, uri)?;
    // It is found, but nobody is there.
    let storage = guest.builder("PYROMETA:resource:storage,performance:fast")?;
    let kinds = [ErrorKind::Connect];
    failed(storage.connect(), &kinds, "cannot connect to localhost:1")?;
    Ok(())
}
