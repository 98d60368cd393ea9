//! Being one of the processes that are measured.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use antifreeze_serial::{Limits, Value, decode, encode};
use anyhow::{Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use super::data::{Dataset, Network};
use super::job::{Contestant, Effort, Job, Operation, Outcome};
use crate::allocations;
use crate::statistics::median;

/// Runs a [`Job`], and prints its [`Outcome`].
pub(crate) fn play(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job)?;
    let document = fs::read(&job.document)?;
    let outcome = match job.contest.dataset {
        Dataset::Nested => run::<Network>(&job, &document),
        Dataset::Ints => run::<Vec<i64>>(&job, &document),
        Dataset::Floats => run::<Vec<f64>>(&job, &document),
        Dataset::Texts => run::<Vec<String>>(&job, &document),
        Dataset::Bytes => run::<ByteBuf>(&job, &document),
    };
    println!("{}", serde_json::to_string(&outcome?)?);
    Ok(())
}

fn run<T>(job: &Job, document: &[u8]) -> Result<Outcome>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let serializer = job.contest.codec.serializer();
    let limits = Limits::default();
    match job.contestant {
        Contestant::Typed => both(
            job,
            document,
            |document| Ok(decode::<T>(serializer, document, &limits)?),
            |value| Ok(encode(serializer, value)?),
        ),
        Contestant::Value => both(
            job,
            document,
            |document| Ok(decode::<Value>(serializer, document, &limits)?),
            |value| Ok(encode(serializer, value)?),
        ),
        Contestant::SerdeJson => both(
            job,
            document,
            |document| Ok(serde_json::from_slice::<T>(document)?),
            |value| Ok(serde_json::to_vec(value)?),
        ),
        Contestant::SerdeJsonValue => both(
            job,
            document,
            |document| Ok(serde_json::from_slice::<serde_json::Value>(document)?),
            |value| Ok(serde_json::to_vec(value)?),
        ),
        Contestant::Sonic => both(
            job,
            document,
            |document| Ok(sonic_rs::from_slice::<T>(document)?),
            |value| Ok(sonic_rs::to_vec(value)?),
        ),
        Contestant::SonicValue => both(
            job,
            document,
            |document| Ok(sonic_rs::from_slice::<sonic_rs::Value>(document)?),
            |value| Ok(sonic_rs::to_vec(value)?),
        ),
        Contestant::RmpSerde => both(
            job,
            document,
            |document| Ok(rmp_serde::from_slice::<T>(document)?),
            |value| Ok(rmp_serde::to_vec_named(value)?),
        ),
        Contestant::Rmpv => both(
            job,
            document,
            |mut document| Ok(rmpv::decode::read_value(&mut document)?),
            |value| {
                let mut out = Vec::new();
                rmpv::encode::write_value(&mut out, value)?;
                Ok(out)
            },
        ),
        Contestant::Python => bail!("that is another program"),
    }
}

/// Does what is wanted of two functions that are each other's inverse.
fn both<V: PartialEq>(
    job: &Job,
    document: &[u8],
    decode: impl Fn(&[u8]) -> Result<V>,
    encode: impl Fn(&V) -> Result<Vec<u8>>,
) -> Result<Outcome> {
    let value = decode(document)?;
    let again = decode(&encode(&value)?)?;
    ensure!(again == value, "what was encoded is something else");
    drop(again);
    match job.contest.operation {
        Operation::Decode => repeat(job.effort, || decode(black_box(document))),
        Operation::Encode => repeat(job.effort, || encode(black_box(&value))),
    }
}

/// Dropping what comes out belongs to it, as it does in Python.
fn repeat<R>(effort: Effort, work: impl Fn() -> Result<R>) -> Result<Outcome> {
    let once = || work().map(|result| drop(black_box(result)));
    let mut times = Vec::new();
    match effort {
        Effort::Milliseconds(milliseconds) => {
            let duration = Duration::from_millis(milliseconds);
            // The first time is to warm up; there are at least two others.
            once()?;
            let end = Instant::now() + duration;
            while times.len() < 2 || Instant::now() < end {
                let before = cpu_time();
                once()?;
                times.push((cpu_time() - before).as_nanos() as f64);
            }
        }
        Effort::Times(count) => {
            for _ in 0..count {
                once()?;
            }
            return Ok(Outcome {
                nanoseconds: 0.0,
                allocations: None,
            });
        }
    }
    allocations::start();
    let before = allocations::total();
    once()?;
    Ok(Outcome {
        nanoseconds: median(times),
        allocations: Some(allocations::total() - before),
    })
}

/// Of this thread: what others do meanwhile disturbs little.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
