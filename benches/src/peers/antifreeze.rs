//! Ours, both proxies and both drivers, as users write it.

use antifreeze::{Batch, Bytes, Daemon, Proxy, Serializer, expose, tokio};
use anyhow::{Result, ensure};

use super::Job;
use super::contestants::{Driver, Serve};
use super::repeat::{self, Caller, Calls, check_echo, check_sum, in_tasks, in_threads, payload};
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
    move || check_sums(&full(proxy.batch())?.send_as()?)
}

fn full<P>(mut batch: Batch<P>) -> Result<Batch<P>> {
    for _ in 0..BATCH {
        batch.call("add", (20, 22))?;
    }
    Ok(batch)
}

fn check_sums(sums: &[i64]) -> Result<usize> {
    ensure!(sums == [42; BATCH], "not all sums came back as 42");
    Ok(BATCH)
}

/// The async proxy; calls in flight are tasks that share one.
pub(super) async fn async_clients(job: Job, address: &str) -> Result<Calls> {
    if job.workload == Workload::Batches {
        let Client(proxy) = <Client as repeat::Client>::connect(address).await?;
        return in_tasks(job, vec![Batches(proxy)]).await;
    }
    repeat::clients::<Client>(job, address).await
}

#[derive(Clone)]
struct Client(tokio::Proxy);

impl repeat::Client for Client {
    async fn connect(address: &str) -> Result<Self> {
        let builder = tokio::Proxy::builder(address)?.serializer(Serializer::Msgpack);
        Ok(Self(builder.connect().await?))
    }

    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.0.call("add", (a, b)).await?)
    }

    async fn echo(&self, data: Bytes) -> Result<usize> {
        let came: Bytes = self.0.call("echo", (data,)).await?;
        Ok(came.len())
    }
}

struct Batches(tokio::Proxy);

impl Caller for Batches {
    async fn call(&mut self) -> Result<usize> {
        check_sums(&full(self.0.batch())?.send_as().await?)
    }
}
