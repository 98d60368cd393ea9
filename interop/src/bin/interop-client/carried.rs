//! Scenarios of what calls carry besides plain values: blobs, objects that travel as proxies; and of
//! a socket that was connected before.

use std::collections::BTreeMap;
use std::sync::mpsc;

use antifreeze::{Daemon, Object, SerializedBlob, Value, expose, from_value};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::proxy::Proxy;
use crate::{Scenario, Setting};

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("blob", blob),
    ("callback", callback),
    ("connected", connected),
    ("made", made),
];

fn blob(setting: &Setting) -> anyhow::Result<()> {
    let blobs = setting.connect()?;
    let data = Value::parse_literal("{'numbers': [1, 2.5], 'deep': [[None]]}")?;
    let blob = SerializedBlob::new(setting.serializer, "about", &data)?;
    let expected = [Value::from("about"), data];
    equal(blobs.call_blob::<Vec<Value>>("take", &blob)?, &expected)?;
    blobs.call::<()>("aim", (&setting.uri,))?;
    equal(blobs.call_blob::<Vec<Value>>("forward", &blob)?, &expected)
}

struct Listener(mpsc::SyncSender<String>);

#[expose]
impl Listener {
    fn hear(&self, text: String) -> usize {
        let length = text.len();
        let _ = self.0.send(text);
        length
    }
}

/// The server calls an object of this program that came as an argument, and gives it back.
fn callback(setting: &Setting) -> anyhow::Result<()> {
    let (told, heard) = mpsc::sync_channel(4);
    let listener = Object::new(Listener(told));
    let daemon = Daemon::bind("localhost:0")?;
    let uri = daemon.register("listener", &listener)?;
    let _running = daemon.start()?;
    let travel = setting.connect()?;
    equal(
        travel.call::<usize>("call", (&listener, "hear", ["hello"]))?,
        5,
    )?;
    equal(heard.recv()?, "hello")?;
    travel.call::<()>("keep", (&listener,))?;
    let kept: antifreeze::Proxy = travel.call("kept", ())?;
    equal(kept.uri(), &uri)?;
    equal(kept.call::<usize>("hear", ("directly",))?, 8)?;
    equal(heard.recv()?, "directly")
}

/// Objects of the server arrive as proxies, wherever they stand in a result.
fn made(setting: &Setting) -> anyhow::Result<()> {
    let travel = setting.connect()?;
    let made: antifreeze::Proxy = travel.call("make", ())?;
    equal(made.call::<String>("name", ())?, "made")?;
    let some: BTreeMap<String, Vec<antifreeze::tokio::Proxy>> = travel.call("make_some", ())?;
    ensure!(some["made"].len() == 1, "{some:?}");
    let value: Value = travel.call("make", ())?;
    ensure!(matches!(value, Value::Proxy(_)), "{value:?}");
    let made: antifreeze::Proxy = from_value(value)?;
    equal(made.call::<String>("name", ())?, "made")
}

/// The object at the other end of the standard input has the id that is given as the URI.
fn connected(setting: &Setting) -> anyhow::Result<()> {
    let builder = Proxy::over_stdin(&setting.uri)?.serializer(setting.serializer);
    let calc = builder.connect()?;
    equal(calc.call::<i64>("add", (1, 2))?, 3)?;
    calc.ping()?;
    ensure!(calc.metadata()?.methods.contains("add"), "no metadata");
    calc.release();
    equal(calc.call::<i64>("add", (2, 3))?, 5)
}
