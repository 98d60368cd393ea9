//! Who calls, in an annotation of each call.

use std::collections::BTreeMap;
use std::thread;

use antifreeze::{Bytes, Exception, InstanceMode, Value, call, expose};
use antifreeze_interop::{equal, raised};
use anyhow::anyhow;
use parking_lot::Mutex;

use crate::{Guest, Stage};

const USERS: [&[u8]; 2] = [b"user123", b"admin"];

/// Who makes the call that is served, if that is somebody who may.
fn user() -> Result<Bytes, Exception> {
    let user = call::annotation("USER").unwrap_or_default();
    if USERS.contains(&&user[..]) {
        return Ok(user);
    }
    Err(Exception::new("builtins.AssertionError", "access denied"))
}

/// A connection to the database, which one may use at a time: `&mut self` is all that takes.
#[derive(Default)]
struct Database {
    storage: Mutex<BTreeMap<String, Value>>,
}

impl Database {
    fn show(&self, what: &str) -> Result<(), Exception> {
        println!("DB: user {} {what}", user()?.escape_ascii());
        Ok(())
    }
}

#[expose]
impl Database {
    fn store(&mut self, key: String, value: Value) -> Result<(), Exception> {
        self.show(&format!("stores: {key} = {value}"))?;
        self.storage.get_mut().insert(key, value);
        Ok(())
    }

    fn retrieve(&mut self, key: &str) -> Result<Value, Exception> {
        self.show(&format!("retrieve: {key}"))?;
        let unknown = || Exception::new("builtins.KeyError", key);
        self.storage.get_mut().get(key).cloned().ok_or_else(unknown)
    }

    fn ping(&self) -> &'static str {
        "hi"
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let uri = stage.daemon.register(None, Database::default())?;
    stage.name("example.usersession.singletondb", &uri)?;
    let create = || {
        user()?;
        println!("new instance and connection");
        Ok::<_, Exception>(Database::default())
    };
    let uri = stage
        .daemon
        .register_class(None, InstanceMode::Session, create)?;
    stage.name("example.usersession.sessiondb", &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let token = call::Context::new().annotation("USER", "user123")?;
    let session = "PYRONAME:example.usersession.sessiondb";
    for name in [session, "PYRONAME:example.usersession.singletondb"] {
        let proxies = [guest.proxy(name)?, guest.proxy(name)?];
        token.scope(|| {
            for (proxy, number) in proxies.iter().zip([42, 43]) {
                proxy.call::<()>("store", ("number", number))?;
                equal(proxy.call::<i64>("retrieve", ("number",))?, number)?;
            }
            anyhow::Ok(())
        })?;
        let stranger = call::Context::new().annotation("USER", "nobody")?;
        let denied = stranger.scope(|| proxies[0].call::<()>("store", ("number", 1)));
        // Who opened a session is who it is for.
        if name != session {
            raised(denied, "builtins.AssertionError", "access denied")?;
        }
    }
    // At the same time, each with a session of its own.
    let access = |base: i64| {
        let proxy = guest.proxy(session)?;
        // Python's sessions have connections of their own, to one database.
        let key = format!("number {base}");
        token.scope(|| {
            for number in base..base + 3 {
                proxy.call::<()>("store", (&key, number))?;
                equal(proxy.call::<i64>("retrieve", (&key,))?, number)?;
            }
            anyhow::Ok(())
        })
    };
    thread::scope(|scope| {
        let threads = [100, 200].map(|base| scope.spawn(move || access(base)));
        let joined = threads.map(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?);
        joined.into_iter().collect()
    })
}
