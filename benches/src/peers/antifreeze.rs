//! Ours, on both drivers, as users write it.

use antifreeze::{Bytes, Daemon, Proxy, Serializer, expose};
use anyhow::{Result, ensure};

use super::Job;
use super::contestants::{Driver, Serve};
use super::repeat::{Calls, check_echo, check_sum, in_threads, payload};
use super::workloads::{BATCH, Workload};
use crate::wire::OBJECT;

struct Calculator;

#[expose]
impl Calculator {
    #[quick]
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    #[quick]
    fn echo(&self, data: Bytes) -> Bytes {
        data
    }
}

pub(super) fn serve(driver: Driver) -> Result<(String, Serve)> {
    let builder = match driver {
        Driver::EventLoop => Daemon::builder(),
        Driver::Threads => Daemon::builder().threads(),
    };
    let daemon = builder.bind("127.0.0.1:0")?;
    let uri = daemon.register(OBJECT, Calculator)?;
    Ok((uri.to_string(), Box::new(move || Ok(daemon.serve()?))))
}

/// The blocking proxy; calls in flight are threads that share one.
pub(super) fn clients(job: Job, address: &str) -> Result<Calls> {
    let mut proxies = Vec::new();
    for _ in 0..job.workload.connections() {
        let proxy = Proxy::builder(address)?
            .serializer(Serializer::Msgpack)
            .connect()?;
        proxies.extend(vec![proxy; job.workload.in_flight()]);
    }
    let proxies = proxies.into_iter();
    match (job.workload, job.workload.echo()) {
        (Workload::Batches, _) => in_threads(job, proxies.map(batch).collect()),
        (_, None) => in_threads(job, proxies.map(add).collect()),
        (_, Some(length)) => {
            let data = payload(length);
            in_threads(
                job,
                proxies.map(|proxy| echo(proxy, data.clone())).collect(),
            )
        }
    }
}

fn add(proxy: Proxy) -> impl FnMut() -> Result<usize> {
    move || check_sum(proxy.call("add", (20, 22))?)
}

fn echo(proxy: Proxy, data: Bytes) -> impl FnMut() -> Result<usize> {
    move || {
        let came: Bytes = proxy.call("echo", (&data,))?;
        check_echo(&data, came.len())
    }
}

fn batch(proxy: Proxy) -> impl FnMut() -> Result<usize> {
    move || {
        let mut batch = proxy.batch();
        for _ in 0..BATCH {
            batch.call("add", (20, 22))?;
        }
        let sums: Vec<i64> = batch.send_as()?;
        ensure!(sums == [42; BATCH], "not all sums came back as 42");
        Ok(BATCH)
    }
}
