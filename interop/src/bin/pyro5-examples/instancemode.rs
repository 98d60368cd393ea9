//! An instance for all, for each connection, for each call.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use antifreeze::{InstanceMode, Proxy, call, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

/// Says which one it is.
struct Instance {
    id: u64,
    /// Of the call that it was made for.
    correlation: Option<String>,
}

impl Instance {
    fn new(mode: InstanceMode) -> Result<Self, Infallible> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        println!("created {mode:?} instance with id {id}");
        let correlation = call::correlation_id().map(|id| id.to_string());
        Ok(Self { id, correlation })
    }
}

#[expose]
impl Instance {
    fn msg(&self, message: &str) -> u64 {
        println!("[{}] msg: {message}", self.id);
        self.id
    }
}

struct SessionInstance(Instance);

#[expose]
impl SessionInstance {
    fn msg(&self, message: &str) -> (u64, Option<String>) {
        (self.0.msg(message), self.0.correlation.clone())
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let Stage { daemon, .. } = stage;
    let (single, session, percall) = (
        InstanceMode::Single,
        InstanceMode::Session,
        InstanceMode::PerCall,
    );
    let uri = daemon.register_class(None, single, move || Instance::new(single))?;
    stage.name("instance.single", &uri)?;
    let create = move || Instance::new(session).map(SessionInstance);
    let uri = daemon.register_class(None, session, create)?;
    stage.name("instance.session", &uri)?;
    let uri = daemon.register_class(None, percall, move || Instance::new(percall))?;
    stage.name("instance.percall", &uri)
}

fn ids(proxy: &Proxy) -> anyhow::Result<Vec<u64>> {
    let id = |_| Ok(proxy.call::<u64>("msg", ("hello",))?);
    (0..3).map(id).collect()
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    // Python may give the same number to one that is made after another.
    ids(&guest.proxy("PYRONAME:instance.percall")?)?;

    let mut sessions = Vec::new();
    // Both at once, or the second could be at the place of the first.
    let proxies = [
        guest.proxy("PYRONAME:instance.session")?,
        guest.proxy("PYRONAME:instance.session")?,
    ];
    for proxy in &proxies {
        let first: (u64, String) = proxy.call("msg", ("hello",))?;
        let again: (u64, String) = proxy.call("msg", ("hello",))?;
        equal(&first, &again)?;
        uuid::Uuid::parse_str(&first.1)?;
        sessions.push(first);
    }
    ensure!(sessions[0].0 != sessions[1].0, "one instance for two");
    ensure!(sessions[0].1 != sessions[1].1, "one call for two");

    let single = ids(&guest.proxy("PYRONAME:instance.single")?)?;
    equal(single.iter().min(), single.iter().max())?;
    equal(ids(&guest.proxy("PYRONAME:instance.single")?)?, single)
}
