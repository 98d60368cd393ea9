//! Results that come item by item, of methods and of attributes.

use std::convert::Infallible;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{BigInt, InstanceMode, expose, num_bigint};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

struct Streamer {
    second: Duration,
}

#[expose]
impl Streamer {
    fn list(&self) -> Vec<i64> {
        (1..10).collect()
    }

    fn iterator(&self) -> impl Iterator<Item = i64> + use<> {
        self.list().into_iter()
    }

    fn generator(&self) -> impl Iterator<Item = i64> + use<> {
        1..10
    }

    fn slow_generator(&self) -> impl Iterator<Item = i64> + use<> {
        let pause = self.second / 2;
        (1..10).inspect(move |_| sleep(pause))
    }

    fn fibonacci(&self) -> impl Iterator<Item = BigInt> + use<> {
        let (mut a, mut b) = (num_bigint::BigInt::ZERO, num_bigint::BigInt::from(1));
        std::iter::repeat_with(move || {
            let next = &a + &b;
            let current = std::mem::replace(&mut a, std::mem::replace(&mut b, next));
            BigInt::from(current)
        })
    }

    #[attr]
    fn prop_iter(&self) -> impl Iterator<Item = i64> + use<> {
        1..11
    }

    #[attr]
    fn prop_generator(&self) -> impl Iterator<Item = i64> + use<> {
        0..10
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let create = move || Ok::<_, Infallible>(Streamer { second });
    let id = "example.streamer";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let streamer = guest.proxy(guest.word(0)?)?;
    let listed: Vec<i64> = streamer.call("list", ())?;
    for method in ["iterator", "generator", "slow_generator"] {
        let items = streamer.stream::<i64>(method, ())?;
        equal(items.collect::<Result<Vec<_>, _>>()?, listed.clone())?;
    }
    // It has no end, so we leave it.
    let numbers = streamer.stream::<BigInt>("fibonacci", ())?;
    let hundredth = numbers.take(101).last().transpose()?;
    let expected: BigInt = "354224848179261915075".parse()?;
    equal(hundredth, Some(expected))?;
    equal(streamer.call::<Vec<i64>>("list", ())?, listed)
}
