//! What runs together at which sort of server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use antifreeze::{Value, expose};
use antifreeze_interop::equal;
use anyhow::{anyhow, ensure};

use crate::{Guest, Stage};

struct Server {
    callcount: AtomicI64,
    second: Duration,
}

#[expose]
impl Server {
    fn reset(&self) {
        self.callcount.store(0, Ordering::Relaxed);
    }

    fn getcount(&self) -> i64 {
        self.callcount.load(Ordering::Relaxed)
    }

    /// Calls run together, whichever driver serves them.
    fn getconfig(&self) -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([("SERVERTYPE", "thread")])
    }

    fn delay(&self) -> String {
        sleep(self.second);
        self.callcount.fetch_add(1, Ordering::Relaxed);
        format!("{:?}", thread::current().id())
    }

    #[oneway]
    fn onewaydelay(&self) {
        self.delay();
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let server = Server {
        callcount: AtomicI64::new(0),
        second: stage.second,
    };
    let uri = stage.daemon.register(None, server)?;
    stage.name("example.servertypes", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const NAME: &str = "PYRONAME:example.servertypes";
    let server = guest.proxy(NAME)?;
    server.call::<()>("reset", ())?;
    for _ in 0..5 {
        server.call::<()>("onewaydelay", ())?;
    }
    equal(server.call::<i64>("getcount", ())?, 0)?;
    let mut by = BTreeSet::new();
    for _ in 0..5 {
        by.insert(server.call::<String>("delay", ())?);
    }
    equal(by.len(), 1)?;
    equal(server.call::<i64>("getcount", ())?, 10)?;
    server.call::<()>("reset", ())?;

    let config: BTreeMap<String, Value> = server.call("getconfig", ())?;
    let servertype = config.get("SERVERTYPE").and_then(Value::as_str);
    let begun = Instant::now();
    let delayed = || anyhow::Ok(guest.proxy(NAME)?.call::<String>("delay", ())?);
    let by = thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(delayed)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect::<anyhow::Result<BTreeSet<String>>>()
    })?;
    let took = begun.elapsed();
    equal(server.call::<i64>("getcount", ())?, 5)?;
    if servertype == Some("multiplex") {
        equal(by.len(), 1)?;
        ensure!(took >= 5 * guest.second, "they ran together: {took:?}");
    } else {
        equal(by.len(), 5)?;
        ensure!(took < 5 * guest.second, "they waited in line: {took:?}");
    }
    Ok(())
}
