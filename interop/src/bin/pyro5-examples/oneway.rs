//! Calls that go on when their caller has gone on.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use antifreeze::{InstanceMode, Proxy, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

struct Server {
    busy: AtomicBool,
    second: Duration,
}

#[expose]
impl Server {
    #[oneway]
    fn oneway_start(&self, duration: u32) {
        println!("start request received. Starting work...");
        self.busy.store(true, Ordering::Relaxed);
        for done in 0..duration {
            sleep(self.second);
            println!("{}", duration - done);
        }
        println!("work is done!");
        self.busy.store(false, Ordering::Relaxed);
    }

    fn ready(&self) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }

    fn result(&self) -> &'static str {
        "The result :)"
    }

    fn nothing(&self) {
        println!("nothing got called, doing nothing");
    }

    #[oneway]
    fn oneway_work(&self) {
        for step in 1..=10 {
            println!("work work.. {step}");
            sleep(self.second);
        }
        println!("work's done!");
    }
}

/// The one of the second client.
struct Counter {
    count: AtomicI64,
    second: Duration,
}

#[expose]
impl Counter {
    #[oneway]
    fn increment_oneway(&self) {
        self.increment();
    }

    fn increment(&self) {
        sleep(self.second / 2);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn getcount(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let second = stage.second;
    let create = move || {
        Ok::<_, Infallible>(Server {
            busy: AtomicBool::new(false),
            second,
        })
    };
    let uri = stage
        .daemon
        .register_class(None, InstanceMode::Session, create)?;
    stage.name("example.oneway", &uri)?;
    let count = AtomicI64::new(0);
    let uri = stage.daemon.register(None, Counter { count, second })?;
    stage.name("example.oneway2", &uri)
}

fn start_and_wait(server: &Proxy, second: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    server.call::<()>("oneway_start", (6,))?;
    for _ in 0..4 {
        server.call::<()>("nothing", ())?;
    }
    ensure!(begun.elapsed() < 5 * second, "we were held up");
    let mut questions = 0;
    while !server.call::<bool>("ready", ())? {
        questions += 1;
        sleep(second / 2);
    }
    ensure!(questions > 0, "it was done too soon");
    equal(server.call::<String>("result", ())?, "The result :)")?;
    Ok(server.call("oneway_work", ())?)
}

fn count(counter: &Proxy, second: Duration) -> anyhow::Result<()> {
    for _ in 0..3 {
        counter.call::<()>("increment", ())?;
    }
    let before: i64 = counter.call("getcount", ())?;
    for _ in 0..3 {
        counter.call::<()>("increment_oneway", ())?;
    }
    equal(counter.call::<i64>("getcount", ())?, before)?;
    let begun = Instant::now();
    while counter.call::<i64>("getcount", ())? < before + 3 {
        ensure!(begun.elapsed() < 20 * second, "some were lost");
        sleep(second / 10);
    }
    Ok(())
}

/// Does what the first client does, or the second.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let second = guest.second;
    match guest.word(0)? {
        "1" => start_and_wait(&guest.proxy("PYRONAME:example.oneway")?, second),
        _ => count(&guest.proxy("PYRONAME:example.oneway2")?, second),
    }
}
