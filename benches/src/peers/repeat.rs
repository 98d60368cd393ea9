//! Calling again and again for a while, in threads or in tasks.

use std::future::Future;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::Job;
use crate::statistics::Round;

/// Calls that were made.
#[derive(Default)]
pub(super) struct Calls {
    /// How long each call took, or what several calls did at once.
    nanoseconds: Vec<u64>,
    calls: usize,
    /// How long all of them took together.
    seconds: f64,
}

impl Calls {
    /// Sums up.
    pub(super) fn into_round(self) -> Round {
        Round::new(self.nanoseconds, self.calls, self.seconds)
    }

    fn note(&mut self, took: Duration, calls: usize) {
        self.nanoseconds.push(took.as_nanos() as u64);
        self.calls += calls;
    }

    fn sum(all: impl IntoIterator<Item = Self>, took: Duration) -> Self {
        let mut sum = Self {
            seconds: took.as_secs_f64(),
            ..Self::default()
        };
        for mut each in all {
            sum.nanoseconds.append(&mut each.nanoseconds);
            sum.calls += each.calls;
        }
        sum
    }
}

impl Job {
    fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    fn warm_up(self) -> Duration {
        self.duration() / 5
    }
}

/// Makes a process that hangs end with an error.
pub(super) fn give_up_after(patience: Duration) {
    thread::spawn(move || {
        thread::sleep(patience);
        eprintln!("gave up after {patience:?}");
        std::process::exit(1);
    });
}

/// Repeats each caller in a thread of its own. A caller says how many calls it made.
pub(super) fn in_threads<C>(job: Job, callers: Vec<C>) -> Result<Calls>
where
    C: FnMut() -> Result<usize> + Send,
{
    let warm = Barrier::new(callers.len() + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = callers
            .into_iter()
            .map(|mut call| {
                let warm = &warm;
                scope.spawn(move || {
                    let warmed_up = repeat(job.warm_up(), &mut call);
                    warm.wait();
                    warmed_up.and_then(|_| repeat(job.duration(), call))
                })
            })
            .collect();
        warm.wait();
        let began = Instant::now();
        let calls: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let took = began.elapsed();
        let calls = calls
            .into_iter()
            .map(|calls| calls.map_err(|_| anyhow!("a caller panicked"))?)
            .collect::<Result<Vec<_>>>()?;
        Ok(Calls::sum(calls, took))
    })
}

fn repeat(duration: Duration, mut call: impl FnMut() -> Result<usize>) -> Result<Calls> {
    let mut calls = Calls::default();
    let mut now = Instant::now();
    let end = now + duration;
    while now < end {
        let made = call()?;
        let before = std::mem::replace(&mut now, Instant::now());
        calls.note(now - before, made);
    }
    Ok(calls)
}

/// Something that can be called again and again.
pub(super) trait Caller: Send + 'static {
    /// Calls, and says how many calls that were.
    fn call(&mut self) -> impl Future<Output = Result<usize>> + Send;
}

/// Repeats each caller in a task of its own.
pub(super) async fn in_tasks<C: Caller>(job: Job, callers: Vec<C>) -> Result<Calls> {
    let warm = Arc::new(tokio::sync::Barrier::new(callers.len() + 1));
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            let warm = Arc::clone(&warm);
            tokio::spawn(async move {
                let warmed_up = repeat_async(job.warm_up(), &mut caller).await;
                warm.wait().await;
                warmed_up?;
                repeat_async(job.duration(), &mut caller).await
            })
        })
        .collect();
    warm.wait().await;
    let began = Instant::now();
    let mut calls = Vec::new();
    for task in tasks {
        calls.push(task.await??);
    }
    Ok(Calls::sum(calls, began.elapsed()))
}

async fn repeat_async(duration: Duration, caller: &mut impl Caller) -> Result<Calls> {
    let mut calls = Calls::default();
    let mut now = Instant::now();
    let end = now + duration;
    while now < end {
        let made = caller.call().await?;
        let before = std::mem::replace(&mut now, Instant::now());
        calls.note(now - before, made);
    }
    Ok(calls)
}

/// The client of a library with async calls; clones share a connection.
pub(super) trait Client: Clone + Send + Sync + 'static {
    /// Connects to where its server says that it is.
    fn connect(address: &str) -> impl Future<Output = Result<Self>> + Send;

    /// The sum.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = Result<i64>> + Send;

    /// Sends the bytes there and back, and gives the length of what came back.
    fn echo(&self, data: Bytes) -> impl Future<Output = Result<usize>> + Send;
}

/// Connects and calls as the job says: 64 calls in flight are 64 tasks that share a connection.
pub(super) async fn clients<C: Client>(job: Job, address: &str) -> Result<Calls> {
    let mut callers = Vec::new();
    let data = job.workload.echo().map(payload);
    for _ in 0..job.workload.connections() {
        let client = C::connect(address).await?;
        callers.extend((0..job.workload.in_flight()).map(|_| Remote {
            client: client.clone(),
            data: data.clone(),
        }));
    }
    in_tasks(job, callers).await
}

struct Remote<C> {
    client: C,
    /// `None` for the small call.
    data: Option<Bytes>,
}

impl<C: Client> Caller for Remote<C> {
    async fn call(&mut self) -> Result<usize> {
        match &self.data {
            None => check_sum(self.client.add(20, 22).await?),
            Some(data) => check_echo(data, self.client.echo(data.clone()).await?),
        }
    }
}

/// Checks the answer of the small call; gives how many calls that was.
pub(super) fn check_sum(sum: i64) -> Result<usize> {
    ensure!(sum == 42, "20 + 22 came back as {sum}");
    Ok(1)
}

/// Checks how much came back; gives how many calls that was.
pub(super) fn check_echo(sent: &[u8], came: usize) -> Result<usize> {
    ensure!(
        came == sent.len(),
        "{came} bytes came back instead of {}",
        sent.len()
    );
    Ok(1)
}

/// What is echoed.
pub(super) fn payload(length: usize) -> Bytes {
    vec![0x5a; length].into()
}

/// As `#[tokio::main]` makes it, which is what the documentation of all of them begins with.
pub(super) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    Ok(runtime?)
}
