//! Scenarios of one caller: values, calls, errors, attributes, batches, the daemon's own object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{
    Bytes, Class, Error, ErrorKind, Sent, Serializer, Value, register_dict_to_class,
    unregister_dict_to_class,
};
use antifreeze_interop::{equal, failed, raised};
use anyhow::{Context as _, ensure};

use crate::proxy::{Proxy, locate_ns};
use crate::{Scenario, Setting};

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("echo", echo),
    ("describe", describe),
    ("literal", literal),
    ("typed-values", typed_values),
    ("nesting", nesting),
    ("large", large),
    ("add", add),
    ("calls", calls),
    ("mismatch", mismatch),
    ("names", names),
    ("unknown-object", unknown_object),
    ("metadata", metadata),
    ("daemon-object", daemon_object),
    ("ping", ping),
    ("errors", errors),
    ("custom-error", custom_error),
    ("attributes", attributes),
    ("batch", batch),
    ("batch-errors", batch_errors),
    ("classes", classes),
    ("sequence", sequence),
    ("unknown-name", unknown_name),
    ("name-server", name_server),
    ("deadlock", deadlock),
    ("streams", streams),
    ("no-streams", no_streams),
    ("streams-resumed", streams_resumed),
    ("streams-lost", streams_lost),
    ("same-proxy", same_proxy),
];

fn literals(setting: &Setting) -> anyhow::Result<Vec<Value>> {
    let read = |text: &String| Value::parse_literal(text).with_context(|| text.clone());
    setting.rest.iter().map(read).collect()
}

/// Calls a method of a ring's object that never could return; prints the error.
fn deadlock(setting: &Setting) -> anyhow::Result<()> {
    let [method, path @ ..] = &*setting.rest else {
        anyhow::bail!("expected a method and where to go on to");
    };
    let result = setting.connect()?.call::<Value>(method, (path, 10));
    let error = failed(result, &[ErrorKind::Deadlock], "deadlock [af-")?;
    println!("{error}");
    Ok(())
}

fn streams(setting: &Setting) -> anyhow::Result<()> {
    let streams = setting.connect()?;
    let other = setting.connect()?;
    let all = |items: crate::proxy::Items<u64>| items.collect::<Result<Vec<_>, _>>();
    equal(all(streams.stream("count", (5,))?)?, [0, 1, 2, 3, 4])?;
    equal(all(streams.stream("count", (0,))?)?, [0; 0])?;
    let mut words = streams.stream_attr::<String>("words")?;
    equal(
        words.by_ref().collect::<Result<Vec<_>, _>>()?,
        ["one", "two"],
    )?;
    ensure!(words.next().is_none() && words.next().is_none());
    let first = streams.stream::<String>("__iter__", ())?;
    equal(first.collect::<Result<Vec<_>, _>>()?, ["first", "second"])?;
    let given = vec![Value::None, Value::from(1.5), Value::from("x")];
    let items = streams.stream::<Value>("given", (&given,))?;
    equal(items.collect::<Result<Vec<_>, _>>()?, given)?;

    let mut failing = streams.stream::<u64>("failing", ())?;
    let two = [failing.next(), failing.next()].map(|item| item.and_then(Result::ok));
    equal(two, [Some(0), Some(1)])?;
    let third = failing.next().context("no error came")?;
    raised(third, "builtins.ValueError", "no third one")?;
    ensure!(failing.next().is_none());

    // Dropped, beside another call or not, and one that nobody wanted.
    let mut endless = streams.stream::<u64>("endless", ())?;
    equal(endless.next().transpose()?, Some(0))?;
    other.call::<()>("wait_open", (1,))?;
    equal(streams.call::<Vec<u64>>("values", ())?, [1, 2])?;
    equal(endless.next().transpose()?, Some(1))?;
    drop(endless);
    none_open(&other)?;
    let wrong = streams.call::<Value>("count", (1,));
    failed(wrong, &[ErrorKind::Usage], "item stream")?;
    let wrong = streams.stream::<u64>("values", ()).map(drop);
    failed(wrong, &[ErrorKind::Usage], "got a value")?;
    equal(streams.call::<Vec<u64>>("values", ())?, [1, 2])
}

fn no_streams(setting: &Setting) -> anyhow::Result<()> {
    let streams = setting.connect()?;
    let refused = streams.stream::<u64>("count", (3,)).map(drop);
    failed(
        refused,
        &[ErrorKind::Usage],
        "not configured to allow streaming",
    )?;
    let refused = streams.call::<Value>("count", (3,));
    failed(
        refused,
        &[ErrorKind::Usage],
        "not configured to allow streaming",
    )?;
    equal(streams.call::<Vec<u64>>("values", ())?, [1, 2])
}

/// Goes on with a stream on another connection.
fn streams_resumed(setting: &Setting) -> anyhow::Result<()> {
    let streams = setting.connect()?;
    let mut endless = streams.stream::<u64>("endless", ())?;
    equal(endless.next().transpose()?, Some(0))?;
    streams.release();
    equal(endless.next().transpose()?, Some(1))?;
    streams.release();
    drop(endless);
    equal(streams.call::<Vec<u64>>("values", ())?, [1, 2])
}

/// The daemon keeps no streams of clients that are gone.
fn streams_lost(setting: &Setting) -> anyhow::Result<()> {
    let streams = setting.connect()?;
    let other = setting.connect()?;
    let mut endless = streams.stream::<u64>("endless", ())?;
    equal(endless.next().transpose()?, Some(0))?;
    streams.release();
    none_open(&other)?;
    let next = endless.next().context("no error came")?;
    raised(next, "Pyro5.errors.PyroError", "item stream terminated")?;
    ensure!(endless.next().is_none());
    Ok(())
}

/// Waits until no endless stream is open. It asks again and again: a multiplex server would see no end
/// of one while a method waits for that, and what ends it may be on its way still.
fn none_open(streams: &Proxy) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(10);
    while streams.call::<usize>("opened", ())? > 0 {
        ensure!(Instant::now() < patience, "a stream stays open");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Calls back over the proxy that it was called over.
struct Again(antifreeze::Proxy);

#[antifreeze::expose]
impl Again {
    fn pass_on(&self, path: Vec<String>, hold_ms: u64) -> Result<Value, Error> {
        self.0.call("pass_on", (path, hold_ms))
    }
}

/// Has itself called back by a Python program, with which one call at a time can be in flight; prints
/// the error.
fn same_proxy(setting: &Setting) -> anyhow::Result<()> {
    let proxy = antifreeze::Proxy::connect(&*setting.uri)?;
    let daemon = antifreeze::Daemon::bind("localhost:0")?;
    let again = daemon.register("again", Again(proxy.clone()))?.to_string();
    let _running = daemon.start()?;
    let result = proxy.call::<Value>("pass_on", ([again], 0));
    let error = failed(result, &[ErrorKind::Deadlock], "deadlock [af-")?;
    println!("{error}");
    // The other one has its turn, and the proxy goes on.
    equal(proxy.call::<Vec<String>>("pass_on", ([""; 0], 0))?.len(), 1)
}

/// Prints what comes back for each literal.
fn echo(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    for value in literals(setting)? {
        print(values.call::<Value>("echo", (value,)));
    }
    Ok(())
}

/// Prints what the server has seen for each literal.
fn describe(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    for value in literals(setting)? {
        print(values.call::<String>("describe", (value,)));
    }
    Ok(())
}

/// Prints what comes for each literal that the server makes a value of.
fn literal(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    for text in &setting.rest {
        print(values.call::<Value>("literal", (text,)));
    }
    Ok(())
}

/// Whoever reads it knows which of them should be refused.
fn print<T: Display>(result: Result<T, Error>) {
    match result {
        Ok(value) => println!("{value}"),
        Err(_) => println!("refused"),
    }
}

/// Results as Rust types.
fn typed_values(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    let json = setting.serializer == Serializer::Json;
    values.call::<()>("give", ("none",))?;
    equal(values.call::<Option<i64>>("give", ("none",))?, None)?;
    equal(values.call::<bool>("give", ("true",))?, true)?;
    equal(values.call::<i8>("give", ("int",))?, -42)?;
    equal(values.call::<i64>("give", ("int",))?, -42)?;
    equal(values.call::<f64>("give", ("int",))?, -42.0)?;
    equal(values.call::<f64>("give", ("float",))?, 1.5)?;
    equal(values.call::<f64>("give", ("inf",))?, f64::INFINITY)?;
    ensure!(values.call::<f64>("give", ("nan",))?.is_nan(), "nan");
    equal(
        values.call::<String>("give", ("text",))?,
        "gr\u{fc}\u{df} 'dich' \"\u{65e5}\u{672c}\" \0\n \u{1f600}",
    )?;
    if !json {
        equal(
            &values.call::<Bytes>("give", ("bytes",))?[..],
            &b"\x00\xff binary"[..],
        )?;
    }
    equal(
        values.call::<(i64, f64, String)>("give", ("tuple",))?,
        (1, 2.5, "x".to_owned()),
    )?;
    equal(
        values.call::<BTreeSet<i64>>("give", ("set",))?,
        BTreeSet::from([1, 2, 3]),
    )?;
    equal(
        values.call::<BTreeSet<i64>>("give", ("empty_set",))?,
        BTreeSet::new(),
    )?;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Nested {
        rows: Vec<(i64, String)>,
        meta: BTreeMap<String, i64>,
    }
    equal(
        values.call::<Nested>("give", ("nested",))?,
        Nested {
            rows: vec![(1, "a".to_owned()), (2, "b".to_owned())],
            meta: BTreeMap::from([("n".to_owned(), 2)]),
        },
    )?;

    // A result of another type than asked for is an error that says so, and nothing else breaks.
    failed(
        values.call::<String>("give", ("int",)),
        &[ErrorKind::Serialize],
        "",
    )?;
    failed(
        values.call::<i64>("give", ("float",)),
        &[ErrorKind::Serialize],
        "",
    )?;
    failed(
        values.call::<i64>("give", ("big",)),
        &[ErrorKind::Serialize],
        "",
    )?;
    equal(values.call::<i64>("give", ("int",))?, -42)
}

fn nesting(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    for depth in [1_usize, 10, 100, 190] {
        let value = (1..depth).fold(Value::List(Vec::new()), |v, _| Value::List(vec![v]));
        equal(&values.call::<Value>("nested", (depth,))?, &value)?;
        equal(&values.call::<Value>("echo", (&value,))?, &value)?;
    }
    // Too deep to be sent: our own error, before anything is sent.
    let deep = (1..5000).fold(Value::List(Vec::new()), |v, _| Value::List(vec![v]));
    let error = failed(
        values.call::<Value>("echo", (&deep,)),
        &[ErrorKind::Serialize],
        "",
    )?;
    equal(error.sent(), Sent::No)?;
    // Dropping it piece by piece, as a recursive drop would overflow the stack.
    let mut rest = deep;
    while let Value::List(mut items) = rest {
        rest = items.pop().unwrap_or_default();
    }
    equal(values.call::<i64>("echo", (1,))?, 1)
}

/// 64 MiB in each direction.
fn large(setting: &Setting) -> anyhow::Result<()> {
    const SIZE: usize = 64 << 20;
    let values = setting.connect()?;
    if setting.serializer == Serializer::Json {
        equal(values.call::<usize>("length", ("y".repeat(SIZE),))?, SIZE)?;
        let back: String = values.call("filled", ("str", SIZE))?;
        ensure!(
            back.len() == SIZE && back.bytes().all(|byte| byte == b'x'),
            "text is damaged"
        );
        return Ok(());
    }
    // Over serpent Python sees bytes as a dict of two.
    let length = values.call::<usize>("length", (Bytes::from(vec![b'y'; SIZE]),))?;
    equal(
        length,
        if setting.serializer == Serializer::Serpent {
            2
        } else {
            SIZE
        },
    )?;
    let back: Bytes = values.call("filled", ("bytes", SIZE))?;
    ensure!(
        back.len() == SIZE && back.iter().all(|&byte| byte == b'x'),
        "bytes are damaged"
    );
    Ok(())
}

fn add(setting: &Setting) -> anyhow::Result<()> {
    equal(setting.connect()?.call::<i64>("add", (1, 2))?, 3)
}

fn calls(setting: &Setting) -> anyhow::Result<()> {
    let calc = setting.connect()?;
    let keywords = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    equal(calc.call::<i64>("add", (2, 3))?, 5)?;
    equal(
        calc.call_kw::<i64>("add", (2,), BTreeMap::from([("b", 3)]))?,
        5,
    )?;
    equal(
        calc.call_kw::<i64>("add", (), BTreeMap::from([("a", 2), ("b", 3)]))?,
        5,
    )?;
    equal(calc.call::<String>("greet", ("you",))?, "hello you!")?;
    equal(calc.call::<String>("greet", ("you", "hi"))?, "hi you!")?;
    equal(
        calc.call_kw::<String>("greet", ("you",), keywords(&[("punctuation", "?")]))?,
        "hello you?",
    )?;
    equal(calc.call::<i64>("total", ())?, 0)?;
    equal(calc.call::<i64>("total", (1, 2, 3))?, 6)?;
    equal(
        calc.call_kw::<Vec<(String, String)>>("settings", (), keywords(&[("b", "1"), ("a", "x")]))?,
        vec![
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "1".to_owned()),
        ],
    )?;
    equal(calc.call::<String>("optional", ())?, "nothing")?;
    equal(
        calc.call::<String>("optional", (None::<String>,))?,
        "nothing",
    )?;
    equal(calc.call::<String>("optional", (Some("some"),))?, "some")?;
    equal(calc.call::<f64>("half", (3,))?, 1.5)?;
    calc.call::<()>("nothing", ())?;
    equal(
        calc.call::<Value>("pair", ())?,
        setting.tuple(vec![1.into(), "x".into()]),
    )?;
    equal(calc.call::<(i64, String)>("pair", ())?, (1, "x".to_owned()))?;
    equal(calc.call::<String>("new_name", ())?, "renamed")?;
    equal(calc.serializer(), setting.serializer)
}

fn mismatch(setting: &Setting) -> anyhow::Result<()> {
    let calc = setting.connect()?;
    raised(calc.call::<Value>("add", ()), "builtins.TypeError", "add")?;
    raised(calc.call::<Value>("add", (1,)), "builtins.TypeError", "add")?;
    raised(
        calc.call::<Value>("add", (1, 2, 3)),
        "builtins.TypeError",
        "add",
    )?;
    let unknown = BTreeMap::from([("c", 3)]);
    raised(
        calc.call_kw::<Value>("add", (1, 2), unknown),
        "builtins.TypeError",
        "add",
    )?;
    raised(
        calc.call::<Value>("nothing", (1,)),
        "builtins.TypeError",
        "nothing",
    )?;
    equal(calc.call::<i64>("add", (1, 2))?, 3)
}

fn names(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    let attribute_error = "builtins.AttributeError";
    for (name, text) in [
        ("_private", "attempt to access private attribute '_private'"),
        ("__init__", "attempt to access private attribute '__init__'"),
        ("missing", "'Attributes' object has no attribute 'missing'"),
        (
            "method.call",
            "'Attributes' object has no attribute 'method.call'",
        ),
        (
            "unexposed",
            "attempt to access unexposed attribute 'unexposed'",
        ),
    ] {
        let exception = raised(object.call::<Value>(name, ()), attribute_error, "")?;
        equal(exception.message(), text)?;
    }
    equal(object.call::<String>("method", ())?, "method")
}

fn unknown_object(setting: &Setting) -> anyhow::Result<()> {
    let nobody = setting.sibling("nobody");
    let result = Proxy::builder(&nobody)?
        .serializer(setting.serializer)
        .connect();
    failed(result.map(drop), &[ErrorKind::Refused], "unknown object")?;
    let lazy = Proxy::builder(&nobody)?
        .serializer(setting.serializer)
        .lazy()?;
    let error = failed(
        lazy.call::<Value>("x", ()),
        &[ErrorKind::Refused],
        "unknown object",
    )?;
    equal(error.sent(), Sent::No)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().copied().map(String::from).collect()
}

fn metadata(setting: &Setting) -> anyhow::Result<()> {
    let check = |object, methods: &[&str], oneway: &[&str], attrs: &[&str]| {
        let found = setting.connect_to(&setting.sibling(object))?.metadata()?;
        equal(&found.methods, &set(methods))?;
        equal(&found.oneway, &set(oneway))?;
        equal(&found.attrs, &set(attrs))
    };
    check(
        "attributes",
        &["method"],
        &[],
        &["value", "fixed", "broken"],
    )?;
    check(
        "recorder",
        &["note", "plain", "fail", "wait_for", "clear"],
        &["note", "fail"],
        &[],
    )?;
    check("counter", &["increment", "value"], &[], &[])?;
    check(
        "sequence",
        &["__len__", "__getitem__", "__contains__"],
        &[],
        &[],
    )
}

fn daemon_object(setting: &Setting) -> anyhow::Result<()> {
    let daemon = setting.connect_to(&setting.sibling("Pyro.Daemon"))?;
    daemon.call::<()>("ping", ())?;
    let registered: Vec<String> = daemon.call("registered", ())?;
    equal(registered.first().map(String::as_str), Some("Pyro.Daemon"))?;
    ensure!(
        registered.iter().any(|id| id == "calc"),
        "calc is not among {registered:?}"
    );
    let info: String = daemon.call("info", ())?;
    ensure!(info.starts_with("Pyro.Daemon bound on "), "{info}");
    let metadata: BTreeMap<String, BTreeSet<String>> =
        daemon.call("get_metadata", ("recorder",))?;
    equal(metadata.get("oneway"), Some(&set(&["note", "fail"])))?;
    raised(
        daemon.call::<Value>("get_metadata", ("nobody",)),
        "Pyro5.errors.DaemonError",
        "unknown object",
    )?;
    daemon.call::<()>("close_stream", ("none such",))?;
    let next = daemon.call::<Value>("get_next_stream_item", ("none such",));
    raised(next, "Pyro5.errors.PyroError", "item stream terminated")?;
    let six = [
        "close_stream",
        "get_metadata",
        "get_next_stream_item",
        "info",
        "ping",
        "registered",
    ];
    equal(daemon.metadata()?.methods, set(&six))
}

fn ping(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    for _ in 0..10 {
        object.ping()?;
    }
    equal(object.call::<i64>("add", (1, 2))?, 3)?;
    object.ping()?;
    Ok(())
}

fn errors(setting: &Setting) -> anyhow::Result<()> {
    let errors = setting.connect()?;
    for name in [
        "ValueError",
        "KeyError",
        "ZeroDivisionError",
        "OSError",
        "TimeoutError",
        "StopIteration",
    ] {
        let error = errors
            .call::<Value>("builtin", (name, "the text"))
            .unwrap_err();
        ensure!(error.is_remote(name), "{error:?}");
        equal(error.sent(), Sent::Yes)?;
        let exception = raised::<Value>(Err(error), &format!("builtins.{name}"), "the text")?;
        equal(exception.args, vec![Value::from("the text")])?;
    }
    for name in ["PyroError", "NamingError", "DaemonError"] {
        let class = format!("Pyro5.errors.{name}");
        raised(
            errors.call::<Value>("pyro", (name, "the text")),
            &class,
            "the text",
        )?;
    }
    let exception = raised(
        errors.call::<Value>("arguments", ()),
        "builtins.KeyError",
        "",
    )?;
    let expected = [
        "a".into(),
        2.into(),
        Value::None,
        Value::List(vec![1.5.into()]),
    ];
    equal(exception.args, expected.to_vec())?;
    equal(
        raised(
            errors.call::<Value>("no_arguments", ()),
            "builtins.ValueError",
            "",
        )?
        .args,
        vec![],
    )?;

    let exception = raised(
        errors.call::<Value>("attributes", ()),
        "builtins.ValueError",
        "with",
    )?;
    equal(exception.attribute("code"), Some(&Value::Int(42)))?;
    let details = Value::parse_literal("{'a': [1, 2]}")?;
    equal(exception.attribute("details"), Some(&details))?;

    let exception = raised(
        errors.call::<Value>("chain", ()),
        "builtins.RuntimeError",
        "cannot load",
    )?;
    let traceback = exception.traceback().concat();
    ensure!(
        traceback.starts_with("Traceback (most recent call last):\n"),
        "{traceback}"
    );
    ensure!(
        traceback.contains("invalid"),
        "the cause is missing: {traceback}"
    );

    let exception = raised(
        errors.call::<Value>("os_error", ()),
        "builtins.FileNotFoundError",
        "",
    )
    .or_else(|_| raised(errors.call::<Value>("os_error", ()), "builtins.OSError", ""))?;
    equal(exception.args.first(), Some(&Value::Int(2)))
}

/// A class that nobody knows here is data, not a failure of the connection.
fn custom_error(setting: &Setting) -> anyhow::Result<()> {
    let errors = setting.connect()?;
    for _ in 0..2 {
        let error = errors.call::<Value>("custom", ()).unwrap_err();
        ensure!(error.kind() == ErrorKind::Remote, "{error:?}");
        ensure!(error.to_string().contains("Custom"), "{error:?}");
    }
    raised(
        errors.call::<Value>("no_arguments", ()),
        "builtins.ValueError",
        "",
    )?;
    Ok(())
}

fn attributes(setting: &Setting) -> anyhow::Result<()> {
    let object = setting.connect()?;
    object.set_attr("value", 5)?;
    equal(object.attr::<i64>("value")?, 5)?;
    object.set_attr("value", BTreeMap::from([("a", vec![1, 2])]))?;
    equal(
        object.attr::<Value>("value")?,
        Value::parse_literal("{'a': [1, 2]}")?,
    )?;
    object.set_attr("value", None::<i64>)?;
    equal(object.attr::<Option<i64>>("value")?, None)?;
    equal(object.attr::<String>("fixed")?, "fixed")?;
    let unexposed = "attempt to access unexposed or unknown remote attribute";
    raised(
        object.set_attr("fixed", 1),
        "builtins.AttributeError",
        unexposed,
    )?;
    raised(
        object.attr::<Value>("method"),
        "builtins.AttributeError",
        unexposed,
    )?;
    raised(
        object.attr::<Value>("missing"),
        "builtins.AttributeError",
        "attribute 'missing'",
    )?;
    raised(
        object.attr::<Value>("broken"),
        "builtins.ValueError",
        "cannot be read",
    )?;
    equal(object.call::<String>("method", ())?, "method")
}

fn batch(setting: &Setting) -> anyhow::Result<()> {
    let calc = setting.connect()?;
    let mut batch = calc.batch();
    for i in 0..1000 {
        batch.call("add", (i, 1))?;
    }
    let results = batch.send()?.collect::<Result<Vec<Value>, _>>()?;
    equal(results, (1..=1000_i64).map(Value::from).collect::<Vec<_>>())?;

    equal(calc.batch().send()?.count(), 0)?;

    let recorder = setting.connect_to(&setting.sibling("recorder"))?;
    recorder.call::<()>("clear", ())?;
    let mut batch = recorder.batch();
    for i in 0..50 {
        batch.call("plain", (i,))?;
    }
    batch.oneway()?;
    equal(
        recorder.call::<Vec<i64>>("wait_for", (50,))?,
        (0..50).collect::<Vec<i64>>(),
    )
}

fn batch_errors(setting: &Setting) -> anyhow::Result<()> {
    let recorder = setting.connect_to(&setting.sibling("recorder"))?;
    recorder.call::<()>("clear", ())?;
    let mut batch = recorder.batch();
    batch.call("plain", ("a",))?;
    batch.call("plain", ())?;
    batch.call("plain", ("b",))?;
    let mut results = batch.send()?;
    equal(
        results.next().context("no first result")??,
        Value::from("a"),
    )?;
    raised(
        results.next().context("no second result")?,
        "builtins.TypeError",
        "plain",
    )?;
    ensure!(
        results.next().is_none(),
        "what follows an exception has not run"
    );
    equal(recorder.call::<Vec<String>>("wait_for", (1,))?, vec!["a"])?;

    let mut batch = recorder.batch();
    batch.call("plain", ("c",))?;
    batch.call("missing", ())?;
    let text = "'Recorder' object has no attribute 'missing'";
    raised(
        batch.send().map(|results| results.count()),
        "builtins.AttributeError",
        text,
    )?;
    equal(
        recorder.call::<Vec<String>>("wait_for", (2,))?,
        vec!["a", "c"],
    )
}

/// A class of Python's, as `tests/shop.py` has it.
#[derive(Class, Debug, PartialEq)]
#[class = "shop.Order"]
struct Order {
    id: u64,
    items: Vec<String>,
}

fn classes(setting: &Setting) -> anyhow::Result<()> {
    let shop = setting.connect()?;
    let order = |items: &[&str]| Order {
        id: 7,
        items: items.iter().map(|item| (*item).to_owned()).collect(),
    };
    equal(
        shop.call::<Order>("add", (order(&["tea"]), "milk"))?,
        order(&["tea", "milk"]),
    )?;
    let turned: Vec<Order> = shop.call("turn", (vec![order(&["a"]), order(&[])],))?;
    equal(turned, vec![order(&[]), order(&["a"])])?;
    let error = failed(
        shop.call::<Order>("basket", ()),
        &[ErrorKind::Serialize],
        "expected shop.Order, got shop.Basket",
    )?;
    ensure!(error.sent() == Sent::Yes, "{error:?}");
    // Without a type it is a dict, unless the program says otherwise.
    let basket: Value = shop.call("basket", ())?;
    equal(basket.class_name(), Some("shop.Basket"))?;
    register_dict_to_class("shop.Basket", |class, dict| {
        let size = dict.get("size").cloned().ok_or("a basket without a size")?;
        Ok(Value::Tuple(vec![class.into(), size]))
    });
    let basket: Value = shop.call("basket", ())?;
    equal(
        basket,
        Value::Tuple(vec!["shop.Basket".into(), Value::Int(3)]),
    )?;
    ensure!(unregister_dict_to_class("shop.Basket"));
    let basket: Value = shop.call("basket", ())?;
    equal(basket.class_name(), Some("shop.Basket"))
}

/// 10,000 calls one after the other.
fn sequence(setting: &Setting) -> anyhow::Result<()> {
    let values = setting.connect()?;
    for i in 0..10_000 {
        equal(values.call::<i64>("echo", (i,))?, i)?;
    }
    Ok(())
}

fn unknown_name(setting: &Setting) -> anyhow::Result<()> {
    let result = Proxy::connect(setting.uri.as_str()).map(drop);
    let error = failed(result, &[ErrorKind::Naming, ErrorKind::Connect], "")?;
    let name = setting.uri.split([':', '@']).nth(1).unwrap_or_default();
    let text = error.to_string();
    let clear = text.contains("name server") || name.split(',').all(|part| text.contains(part));
    ensure!(
        clear,
        "{error:?} says neither {name} nor that there is no name server"
    );
    Ok(())
}

/// Our client of the name server: the "URI" is its host, the rest its port.
fn name_server(setting: &Setting) -> anyhow::Result<()> {
    let port = setting.rest.first().context("no port")?.parse()?;
    let names = locate_ns(Some(&setting.uri), Some(port))?;
    let uri = "PYRO:left@localhost:1234".parse::<antifreeze::Uri>()?;
    names.register("interop.left", &uri, false, ["interop:tag"])?;
    names.register("interop.right", &uri, false, [""; 0])?;
    equal(names.lookup("interop.left")?.to_string(), uri.to_string())?;
    let again = names.register("interop.left", &uri, true, [""; 0]);
    let error = again
        .err()
        .context("a safe registration overwrote another")?;
    ensure!(
        error.to_string().contains("name already registered"),
        "{error}"
    );
    let listed = names.list(Some("interop."))?;
    equal(
        listed.keys().map(String::as_str).collect::<Vec<_>>(),
        vec!["interop.left", "interop.right"],
    )?;
    let tagged = names.yplookup_all(["interop:tag"])?;
    equal(
        tagged.keys().map(String::as_str).collect::<Vec<_>>(),
        vec!["interop.left"],
    )?;
    equal(names.remove("interop.right")?, true)?;
    equal(names.remove("interop.right")?, false)?;
    let unknown = names.lookup("interop.right");
    let error = unknown.err().context("a removed name was found")?;
    equal(error.kind(), ErrorKind::Naming)
}
