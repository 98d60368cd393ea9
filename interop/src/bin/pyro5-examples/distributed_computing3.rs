//! Workers that are found by what they can do.

use antifreeze::{NameServer, Proxy, expose};
use antifreeze_interop::equal;

use crate::distributed_computing::factorize;
use crate::{Guest, Stage};

const TAG: &str = "example3.worker.factorizer";

struct Worker;

#[expose]
impl Worker {
    fn factorize(&self, n: u64) -> Vec<u64> {
        println!("factorize request received for {n}");
        factorize(n)
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let uri = stage.daemon.register(None, Worker)?;
    let names = NameServer::locate(&stage.config)?;
    let name = format!("Worker_{}", std::process::id());
    Ok(names.register(&name, &uri, true, [TAG])?)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    for factor in 1..=10_u64 {
        let worker: Proxy = guest.proxy(&format!("PYROMETA:{TAG}"))?;
        let number = 3217 * 4567 * factor;
        let mut factors: Vec<u64> = worker.call("factorize", (number,))?;
        factors.sort_unstable();
        equal(factors, factorize(number))?;
    }
    Ok(())
}
