//! Scenarios of sessions: oneways and their order, instances, threads, context, handshakes, and
//! connections that end.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{ErrorKind, Sent, Value, call};
use antifreeze_interop::{equal, failed};
use anyhow::{Context as _, ensure};

use crate::proxy::Proxy;
use crate::{Scenario, Setting};

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("oneway", oneway),
    ("oneway-then-call", oneway_then_call),
    ("oneway-order", oneway_order),
    ("oneway-close", oneway_close),
    ("instances", instances),
    ("shared-session", shared_session),
    ("shared-proxy", shared_proxy),
    ("pooled", pooled),
    ("connections", connections),
    ("context", context),
    ("forward", forward),
    ("response-annotations", response_annotations),
    ("handshake", handshake),
    ("refused-handshake", refused_handshake),
    ("deadline", deadline),
    ("release", release),
    ("nobody-listens", nobody_listens),
    ("broken-peer", broken_peer),
    ("follow", follow),
];

fn oneway(setting: &Setting) -> anyhow::Result<()> {
    let recorder = setting.connect()?;
    recorder.call::<()>("clear", ())?;
    recorder.oneway("note", ("a",))?;
    equal(recorder.call::<Vec<String>>("wait_for", (1,))?, vec!["a"])?;
    recorder.oneway_kw("note", (), BTreeMap::from([("x", "b")]))?;
    equal(
        recorder.call::<Vec<String>>("wait_for", (2,))?,
        vec!["a", "b"],
    )?;
    // Called as an ordinary method it answers; whether `call` of a oneway method waits is known
    // from the metadata, as in Pyro.
    recorder.call::<Value>("note", ("c",))?;
    equal(recorder.call::<Vec<String>>("wait_for", (3,))?.len(), 3)?;
    // Nobody hears of errors.
    recorder.oneway("fail", ())?;
    recorder.oneway("no_such_method", ())?;
    equal(recorder.call::<String>("plain", ("d",))?, "d")
}

/// A call after a oneway call sees what that did. Not so in Pyro5's own server.
fn oneway_then_call(setting: &Setting) -> anyhow::Result<()> {
    let journal = setting.connect()?;
    journal.call::<()>("clear", ())?;
    for i in 0..500 {
        journal.oneway("note", (2 * i,))?;
        journal.call::<()>("plain", (2 * i + 1,))?;
    }
    equal(
        journal.call::<Vec<i64>>("entries", ())?,
        (0..1000).collect::<Vec<_>>(),
    )
}

/// Oneway calls run in order, and before the call after them. Not so in Pyro5's own server.
fn oneway_order(setting: &Setting) -> anyhow::Result<()> {
    let journal = setting.connect()?;
    journal.call::<()>("clear", ())?;
    for round in 0..20_i64 {
        for i in 0..50 {
            journal.oneway("note", (round * 51 + i,))?;
        }
        journal.call::<()>("plain", (round * 51 + 50,))?;
        let entries: Vec<i64> = journal.call("entries", ())?;
        equal(entries, (0..(round + 1) * 51).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn oneway_close(setting: &Setting) -> anyhow::Result<()> {
    let watcher = setting.connect()?;
    watcher.call::<()>("clear", ())?;
    for i in 0..20 {
        let recorder = setting.connect()?;
        recorder.oneway("note", (i,))?;
        drop(recorder);
    }
    // Not `wait_for(20)`: in a multiplex server nobody is served while a method waits.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut entries: Vec<i64> = Vec::new();
    while entries.len() < 20 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        entries = watcher.call("wait_for", (0,))?;
    }
    entries.sort_unstable();
    equal(entries, (0..20).collect::<Vec<i64>>())
}

fn instances(setting: &Setting) -> anyhow::Result<()> {
    let both = |object: &str| -> anyhow::Result<(Proxy, Proxy)> {
        let uri = setting.sibling(object);
        Ok((setting.connect_to(&uri)?, setting.connect_to(&uri)?))
    };
    let number = |proxy: &Proxy| proxy.call::<u64>("number", ());
    let calls = |proxy: &Proxy| proxy.call::<u64>("calls", ());

    let (a, b) = both("session")?;
    equal(
        [calls(&a)?, calls(&a)?, calls(&b)?, calls(&a)?],
        [1, 2, 1, 3],
    )?;
    let before = number(&a)?;
    ensure!(before != number(&b)?, "two sessions share an instance");
    a.release();
    equal(calls(&a)?, 1)?;
    ensure!(
        number(&a)? != before,
        "a new connection kept the old instance"
    );

    let (a, b) = both("single")?;
    equal(number(&a)?, number(&b)?)?;
    equal(calls(&a)? + 1, calls(&b)?)?;

    let (a, _) = both("percall")?;
    equal([calls(&a)?, calls(&a)?], [1, 1])?;
    ensure!(number(&a)? != number(&a)?, "two calls share an instance");
    Ok(())
}

/// Eight threads on one proxy see one session instance, and every call is counted once.
fn shared_session(setting: &Setting) -> anyhow::Result<()> {
    const THREADS: u64 = 8;
    const CALLS: u64 = 50;
    let proxy = setting.connect()?;
    let barrier = Barrier::new(8);
    let work = || -> anyhow::Result<(u64, Vec<u64>)> {
        let proxy = proxy.clone();
        barrier.wait();
        let number = proxy.call("number", ())?;
        let calls = (0..CALLS)
            .map(|_| proxy.call("calls", ()))
            .collect::<Result<_, _>>()?;
        Ok((number, calls))
    };
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads
            .into_iter()
            .map(join)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    ensure!(
        results.iter().all(|(number, _)| *number == results[0].0),
        "{results:?}"
    );
    let mut counted: Vec<u64> = results.into_iter().flat_map(|(_, calls)| calls).collect();
    counted.sort_unstable();
    equal(counted, (1..=THREADS * CALLS).collect::<Vec<_>>())
}

/// Threads that share a proxy each get their own answers.
fn shared_proxy(setting: &Setting) -> anyhow::Result<()> {
    let proxy = setting.connect()?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8_i64)
            .map(|index| {
                let proxy = proxy.clone();
                scope.spawn(move || -> anyhow::Result<()> {
                    for i in 0..500 {
                        equal(proxy.call::<(i64, i64)>("echo", ((index, i),))?, (index, i))?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// A pool of connections lets calls run side by side that would wait for each other on one.
fn pooled(setting: &Setting) -> anyhow::Result<()> {
    let pool = setting.connect()?.pooled(4);
    pool.call::<()>("clear", ())?;
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                scope.spawn(move || pool.call::<Vec<String>>("wait_for", (1,)))
            })
            .collect();
        pool.call::<Value>("plain", ("go",))?;
        for waiter in waiters {
            equal(waiter.join().expect("no panic")?, vec!["go"])?;
        }
        Ok(())
    })
}

/// A hundred connections at once.
fn connections(setting: &Setting) -> anyhow::Result<()> {
    let proxies = (0..100)
        .map(|_| setting.connect())
        .collect::<anyhow::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = proxies
            .iter()
            .enumerate()
            .map(|(index, proxy)| {
                scope.spawn(move || -> anyhow::Result<()> {
                    for _ in 0..10 {
                        equal(proxy.call::<usize>("echo", (index,))?, index)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

#[derive(Debug, serde::Deserialize)]
struct Report {
    annotations: BTreeMap<String, String>,
    correlation_id: Option<String>,
}

const ID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn scope() -> anyhow::Result<call::Context> {
    let id = ID.parse::<uuid::Uuid>()?;
    Ok(call::Context::new()
        .annotation("XYZZ", "hello")?
        .annotation("USER", "me")?
        .correlation_id(antifreeze::CorrelationId(id.into_bytes())))
}

fn is_ours(report: &Report) -> anyhow::Result<()> {
    equal(report.correlation_id.as_deref(), Some(ID))?;
    let annotations: Vec<_> = report
        .annotations
        .iter()
        .map(|(k, v)| (&**k, &**v))
        .collect();
    equal(annotations, vec![("USER", "me"), ("XYZZ", "hello")])
}

fn context(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    let report = || object.call::<Report>("report", ());
    let before = report()?;
    ensure!(before.annotations.is_empty(), "{before:?}");
    ensure!(before.correlation_id.as_deref() != Some(ID), "{before:?}");
    is_ours(&scope()?.scope(report)?)?;
    let after = report()?;
    ensure!(
        after.annotations.is_empty(),
        "annotations outlive their scope: {after:?}"
    );
    ensure!(after.correlation_id.as_deref() != Some(ID), "{after:?}");
    Ok(())
}

/// Annotations and correlation id through one or two servers in the middle.
fn forward(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    let reports: Vec<Report> = match setting.rest.as_slice() {
        [last] => scope()?.scope(|| object.call("forward", (last,)))?,
        [middle, last] => scope()?.scope(|| object.call("forward_twice", (middle, last)))?,
        _ => anyhow::bail!("one or two more URIs are needed"),
    };
    equal(reports.len(), setting.rest.len() + 1)?;
    reports.iter().try_for_each(is_ours)
}

fn response_annotations(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    equal(
        object.call::<String>("respond", ("ANNO", "some text"))?,
        "responded",
    )?;
    equal(
        call::response_annotation("ANNO").as_deref(),
        Some(&b"some text"[..]),
    )?;
    object.call::<Value>("report", ())?;
    equal(call::response_annotation("ANNO"), None)
}

fn handshake(setting: &Setting) -> anyhow::Result<()> {
    let builder = Proxy::builder(setting.uri.as_str())?.serializer(setting.serializer);
    let calc = builder.handshake("open sesame").connect()?;
    equal(calc.call::<i64>("add", (1, 2))?, 3)
}

fn refused_handshake(setting: &Setting) -> anyhow::Result<()> {
    let result = Proxy::builder(setting.uri.as_str())?
        .serializer(setting.serializer)
        .connect();
    let error = failed(result.map(drop), &[ErrorKind::Refused], "wrong secret")?;
    equal(error.sent(), Sent::No)?;
    let builder = Proxy::builder(setting.uri.as_str())?.serializer(setting.serializer);
    let lazy = builder
        .handshake(Value::parse_literal("{'secret': [1, 2]}")?)
        .lazy()?;
    for _ in 0..2 {
        failed(
            lazy.call::<Value>("add", (1, 2)),
            &[ErrorKind::Refused],
            "wrong secret",
        )?;
    }
    Ok(())
}

/// A call that takes too long ends in time, and the proxy is of use afterwards.
fn deadline(setting: &Setting) -> anyhow::Result<()> {
    let recorder = setting.connect()?;
    recorder.call::<()>("clear", ())?;
    let begun = Instant::now();
    let hasty = recorder.within(Duration::from_millis(300));
    let error = failed(
        hasty.call::<Value>("wait_for", (1,)),
        &[ErrorKind::Timeout],
        "",
    )?;
    let took = begun.elapsed();
    ensure!(
        took >= Duration::from_millis(290) && took < Duration::from_secs(3),
        "{took:?}"
    );
    ensure!(
        error.is_timeout() && error.sent() == Sent::Maybe,
        "{error:?}"
    );
    // The late answer reaches nobody: the next call gets its own.
    equal(recorder.call::<String>("plain", ("next",))?, "next")
}

fn release(setting: &Setting) -> anyhow::Result<()> {
    let calc = setting.connect()?;
    for _ in 0..5 {
        equal(calc.call::<i64>("add", (1, 2))?, 3)?;
        calc.release();
    }
    equal(calc.call::<i64>("add", (1, 2))?, 3)
}

fn nobody_listens(setting: &Setting) -> anyhow::Result<()> {
    let result = Proxy::connect(setting.uri.as_str()).map(drop);
    let error = failed(result, &[ErrorKind::Connect], "")?;
    equal(error.sent(), Sent::No)
}

/// A peer that breaks the protocol; the rest says which kinds of error are right, and what it says.
fn broken_peer(setting: &Setting) -> anyhow::Result<()> {
    let [kinds, text] = setting.rest.as_slice() else {
        anyhow::bail!("kinds and text are needed")
    };
    let config = {
        let mut config = antifreeze::Config::default();
        config.handshake_timeout = Duration::from_secs(1);
        config.reconnect_window = Duration::ZERO;
        config
    };
    let proxy = Proxy::builder(setting.uri.as_str())?
        .serializer(setting.serializer)
        .config(config)
        .timeout(Duration::from_secs(2))
        .lazy()?;
    let begun = Instant::now();
    let error = proxy
        .call::<Value>("echo", (1,))
        .err()
        .context("no error")?;
    ensure!(
        begun.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        begun.elapsed()
    );
    let kind = format!("{:?}", error.kind());
    ensure!(
        kinds.split(',').any(|allowed| allowed == kind),
        "{error:?} is none of {kinds}"
    );
    ensure!(
        error.to_string().contains(text.as_str()),
        "{error:?} does not say {text:?}"
    );
    Ok(())
}

/// Writes numbers into a ledger whose server dies in the middle and comes back elsewhere.
///
/// A number is sent again only if the error says that it was not sent. Prints the numbers that
/// were acknowledged; whether one was written twice is for the test to see.
fn follow(setting: &Setting) -> anyhow::Result<()> {
    let ledger = setting.connect()?;
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut servers: Vec<u32> = Vec::new();
    let mut with_this_server = 0;
    for number in 0_u64.. {
        let server = loop {
            ensure!(Instant::now() < deadline, "the server did not come back");
            match ledger.call::<u32>("record", (number,)) {
                Ok(server) => break Some(server),
                Err(error) => {
                    ensure!(error.remote().is_none(), "{error:?}");
                    if error.sent() != Sent::No {
                        println!("unknown {number}");
                        break None;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let Some(server) = server else { continue };
        println!("acknowledged {number}");
        with_this_server += 1;
        if servers.last() != Some(&server) {
            servers.push(server);
            with_this_server = 1;
        }
        if servers.len() == 2 && with_this_server == 100 {
            println!("done");
            return Ok(());
        }
    }
    Ok(())
}
