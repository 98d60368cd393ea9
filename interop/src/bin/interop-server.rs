//! Serves the objects that the tests call; `tests/twin.py` serves the same ones from Python.
//!
//! Prints one URI a line and then `ready`. Settings come from `ANTIFREEZE_*`.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use antifreeze::sync::LockError;
use antifreeze::{
    AnnotationId, Bytes, Class, Config, Daemon, DaemonHandle, Date, Error, Exception, InstanceMode,
    ItemStream, Object, Proxy, SerializedBlob, Serializer, Str, Timestamp, Uri, Value, WeakObject,
    call, expose, sync,
};
use clap::Parser;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How long anything waits for another caller, at most.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(about = "Serves the objects that the interop tests call")]
struct Options {
    /// Host to listen on.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Path of a unix socket to listen on instead; a leading @ makes it abstract.
    #[arg(long)]
    unix: Option<String>,
    /// Where the ledger writes.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Refuse clients whose handshake is not this text.
    #[arg(long)]
    secret: Option<String>,
    /// Send this with every answer.
    #[arg(long)]
    annotation: Option<String>,
    /// Serve whoever is at the other end of the socket that is the standard input, and nobody else.
    #[arg(long)]
    connected: bool,
    /// Serve with blocking threads instead of an event loop.
    #[arg(long)]
    threads: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let location = match &options.unix {
        Some(path) => format!(
            "./u:{}",
            path.replacen('@', "\0", usize::from(path.starts_with('@')))
        ),
        None if options.host.contains(':') => format!("[{}]:{}", options.host, options.port),
        None => format!("{}:{}", options.host, options.port),
    };
    let mut builder = Daemon::builder().config(Config::load()?);
    if options.threads {
        builder = builder.threads();
    }
    if let Some(secret) = options.secret {
        let welcome = Value::parse_literal("['welcome', {'to': 'the test'}]")?;
        builder = builder.on_handshake(move |info| match info.value.as_str() {
            Some(text) if text == secret => Ok(welcome.clone()),
            _ => Err("wrong secret"),
        });
    }
    if let Some(annotation) = options.annotation {
        let id = AnnotationId::known(b"DAEM");
        builder = builder.annotations(move || [(id, annotation.clone())]);
    }
    let guests = Arc::new(Guests::default());
    let told = Arc::clone(&guests);
    builder = builder.on_disconnect(move |_| told.change(|seen| seen.left += 1));
    let daemon = if options.connected {
        builder.connected_socket(io::stdin().as_fd().try_clone_to_owned()?)?
    } else {
        builder.bind(&location)?
    };

    let handle = daemon.handle();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            handle.shutdown();
        }
    });

    let shelf = Object::new(Shelf(vec!["Emma".to_owned(), "Walden".to_owned()]));
    let gate = Arc::new(GateState::default());
    let table = Arc::new(Table::default());
    let uris = [
        daemon.register("values", Values)?,
        daemon.register("calc", Calc)?,
        daemon.register("shop", Shop)?,
        daemon.register("errors", Errors { panics: 0 })?,
        daemon.register("recorder", Recorder::default())?,
        daemon.register("journal", Journal::default())?,
        daemon.register(
            "attributes",
            Attributes {
                value: Value::from(1),
            },
        )?,
        daemon.register("counter", Counter { count: 0 })?,
        daemon.register("scanner", Scanner::default())?,
        daemon.register(
            "gate",
            Gate {
                state: Arc::clone(&gate),
            },
        )?,
        daemon.register("gatekeeper", GateKeeper { state: gate })?,
        daemon.register("philosopher", Philosopher(Arc::clone(&table)))?,
        daemon.register("neighbour", Philosopher(table))?,
        daemon.register_class("session", InstanceMode::Session, Instance::new)?,
        daemon.register_class("single", InstanceMode::Single, Instance::new)?,
        daemon.register_class("percall", InstanceMode::PerCall, Instance::new)?,
        daemon.register_class("unborn", InstanceMode::Session, Unborn::new)?,
        daemon.register("context", Context)?,
        daemon.register("sequence", Sequence)?,
        daemon.register("nothing", Nothing)?,
        daemon.register("ferry", Ferry::default())?,
        daemon.register_local("desk", Desk::default)?,
        daemon.register("clerk", Clerk)?,
        daemon.register("streams", Streams::default())?,
        daemon.register("shelf", &shelf)?,
        daemon.register("library", Library(shelf.downgrade()))?,
        daemon.register("guests", GuestBook(guests))?,
        daemon.register("blobs", Blobs::default())?,
        daemon.register(
            "travel",
            Travel {
                daemon: daemon.handle(),
                kept: None,
            },
        )?,
        daemon.register(
            "ledger",
            Ledger {
                path: options.ledger,
            },
        )?,
    ];
    for uri in uris {
        println!("{uri}");
    }
    println!("ready");
    daemon.serve()?;
    Ok(())
}

/// Gives out items one by one.
#[derive(Default)]
struct Streams {
    open: Arc<(Mutex<usize>, Condvar)>,
}

/// A stream that is open.
struct Opened(Arc<(Mutex<usize>, Condvar)>);

impl Opened {
    fn new(open: &Arc<(Mutex<usize>, Condvar)>) -> Self {
        *open.0.lock() += 1;
        Self(Arc::clone(open))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        *self.0.0.lock() -= 1;
        self.0.1.notify_all();
    }
}

#[expose]
impl Streams {
    fn count(&self, n: u64) -> impl Iterator<Item = u64> + use<> {
        0..n
    }

    fn given(&self, items: Vec<Value>) -> ItemStream<Value> {
        ItemStream::new(items)
    }

    fn endless(&self) -> impl Iterator<Item = u64> + use<> {
        let opened = Opened::new(&self.open);
        (0..).inspect(move |_| {
            let _ = &opened;
        })
    }

    /// How many endless streams are open.
    fn opened(&self) -> usize {
        *self.open.0.lock()
    }

    /// Waits until so many endless streams are open.
    fn wait_open(&self, count: usize) -> Result<(), Exception> {
        let mut open = self.open.0.lock();
        let waited = self
            .open
            .1
            .wait_while_for(&mut open, |open| *open != count, PATIENCE);
        match waited.timed_out() {
            false => Ok(()),
            true => Err(Exception::new(
                "builtins.TimeoutError",
                format!("{open} are open"),
            )),
        }
    }

    fn failing(&self) -> ItemStream<u64> {
        ItemStream::try_new((0..).map(|n| match n {
            0 | 1 => Ok(n),
            _ => Err(Exception::new("builtins.ValueError", "no third one")),
        }))
    }

    /// Says what each request for an item carried, and answers with an annotation.
    fn annotated(&self) -> impl Iterator<Item = String> + use<> {
        std::iter::repeat_with(|| {
            let user = call::annotation("USER").unwrap_or_default();
            call::set_response_annotation("ITEM", user.clone()).unwrap_or_default();
            String::from_utf8_lossy(&user).into_owned()
        })
    }

    fn values(&self) -> Vec<u64> {
        vec![1, 2]
    }

    /// All items that a method of another object gives out.
    fn take(&self, uri: &str, method: &str) -> Result<Vec<Value>, Error> {
        Proxy::connect(uri)?.stream(method, ())?.collect()
    }

    #[attr]
    fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        ["one", "two"].into_iter()
    }

    fn __iter__(&self) -> impl Iterator<Item = &'static str> + use<> {
        ["first", "second"].into_iter()
    }
}

/// Is held while its items are taken.
struct Shelf(Vec<String>);

#[expose]
impl Shelf {
    fn copy(&mut self, library: &str) -> Result<Vec<String>, Error> {
        Proxy::connect(library)?.stream("books", ())?.collect()
    }

    /// The same by somebody else, who is at `reader`.
    fn copy_through(&mut self, reader: &str, library: &str) -> Result<Value, Error> {
        Proxy::connect(reader)?.call("take", (library, "books"))
    }
}

/// Gives out the books of a shelf, which it takes anew for each.
struct Library(WeakObject<Shelf>);

#[expose]
impl Library {
    fn books(&self) -> ItemStream<String> {
        let mut places = 0..;
        ItemStream::reading(self.0.clone(), move |shelf: &Shelf| {
            shelf.0.get(places.next()?).cloned()
        })
    }
}

/// What was seen of clients and of what they had.
#[derive(Default)]
struct Guests {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    left: usize,
    closed: Vec<String>,
}

impl Guests {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Seen) -> bool) -> Result<(), Exception> {
        let mut seen = self.seen.lock();
        let waited = self
            .changed
            .wait_while_for(&mut seen, |seen| !until(seen), PATIENCE);
        match waited.timed_out() {
            false => Ok(()),
            true => Err(Exception::new(
                "builtins.TimeoutError",
                "nothing of that happened",
            )),
        }
    }
}

/// What is closed when its client is gone.
struct Coat {
    name: String,
    guests: Arc<Guests>,
}

impl call::Resource for Coat {
    fn close(&self) {
        let name = self.name.clone();
        self.guests.change(|seen| seen.closed.push(name));
    }
}

/// Tracking does not keep them.
static COATS: Mutex<Vec<Arc<Coat>>> = Mutex::new(Vec::new());

struct GuestBook(Arc<Guests>);

#[expose]
impl GuestBook {
    fn track(&self, name: String) -> Result<(), Error> {
        let guests = Arc::clone(&self.0);
        let coat = Arc::new(Coat { name, guests });
        COATS.lock().push(Arc::clone(&coat));
        call::track_resource(&coat)
    }

    fn untrack(&self, name: &str) -> Result<(), Error> {
        let coats = COATS.lock();
        let mut named = coats.iter().filter(|coat| coat.name == name);
        named.try_for_each(call::untrack_resource)
    }

    fn left(&self) -> usize {
        self.0.seen.lock().left
    }

    fn closed(&self) -> Vec<String> {
        self.0.seen.lock().closed.clone()
    }

    fn wait_left(&self, count: usize) -> Result<(), Exception> {
        self.0.wait(|seen| seen.left >= count)
    }

    fn wait_closed(&self, name: &str) -> Result<(), Exception> {
        self.0
            .wait(|seen| seen.closed.iter().any(|closed| closed == name))
    }
}

/// Says the type and value in a form that both languages can write.
fn describe(value: &Value) -> String {
    let all = |items: &[Value]| items.iter().map(describe).collect::<Vec<_>>();
    match value {
        Value::None | Value::Bool(_) => value.to_string(),
        Value::Int(_) | Value::BigInt(_) => format!("int {value}"),
        Value::Float(_) => format!("float {value}"),
        Value::Complex(complex) => {
            format!(
                "complex {} {}",
                Value::from(complex.re),
                Value::from(complex.im)
            )
        }
        Value::Str(text) => format!("str {}", json(text)),
        Value::Bytes(bytes) => bytes.iter().fold("bytes ".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        Value::List(items) => format!("[{}]", all(items).join(", ")),
        Value::Tuple(items) => format!("({})", all(items).join(", ")),
        Value::Set(items) | Value::FrozenSet(items) => {
            let mut items = all(items);
            items.sort();
            format!("set {{{}}}", items.join(", "))
        }
        Value::Dict(dict) => {
            let mut entries: Vec<_> = dict
                .iter()
                .map(|(k, v)| format!("{}: {}", describe(k), describe(v)))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.kind().to_owned(),
    }
}

/// The text as Python's `json.dumps` writes it.
fn json(text: &Str) -> String {
    let mut quoted = String::from("\"");
    for unit in units(text) {
        match u8::try_from(unit) {
            Ok(b'\n') => quoted.push_str("\\n"),
            Ok(b'\r') => quoted.push_str("\\r"),
            Ok(b'\t') => quoted.push_str("\\t"),
            Ok(0x08) => quoted.push_str("\\b"),
            Ok(0x0c) => quoted.push_str("\\f"),
            Ok(b'"') => quoted.push_str("\\\""),
            Ok(b'\\') => quoted.push_str("\\\\"),
            Ok(plain @ 0x20..=0x7e) => quoted.push(char::from(plain)),
            _ => {
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        }
    }
    quoted + "\""
}

/// The text in UTF-16, in which surrogates may stand alone.
fn units(text: &Str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut surrogate = 0;
    for chunk in text.as_bytes().utf8_chunks() {
        units.extend(chunk.valid().encode_utf16());
        // One of them is three bytes that are no UTF-8, each by itself.
        for byte in chunk.invalid() {
            surrogate = surrogate << 6 | u32::from(byte & 0x3f);
            if surrogate >> 12 != 0 {
                units.push(surrogate as u16);
                surrogate = 0;
            }
        }
    }
    units
}

fn given(name: &str) -> Option<Value> {
    let literal = match name {
        "none" => "None",
        "true" => "True",
        "int" => "-42",
        "big" => "1606938044258990275541962092341162602522202993782792835301376",
        "negative_big" => "-18446744073709551617",
        "float" => "1.5",
        "inf" => return Some(f64::INFINITY.into()),
        "nan" => return Some(f64::NAN.into()),
        "text" => r#"'gr\u00fc\u00df \'dich\' "\u65e5\u672c" \0\n \U0001f600'"#,
        "bytes" => r"b'\x00\xff binary'",
        "list" => "[1, 'two', None]",
        "tuple" => "(1, 2.5, 'x')",
        "set" => "{1, 2, 3}",
        "empty_set" => "set()",
        "dict" => "{'a': 1, 'b': [True, {'c': None}]}",
        "complex" => "1+2j",
        "nested" => "{'rows': [(1, 'a'), (2, 'b')], 'meta': {'n': 2}}",
        _ => return None,
    };
    Some(Value::parse_literal(literal).expect("the literals above are right"))
}

struct Values;

#[expose]
impl Values {
    fn echo(&self, x: Value) -> Value {
        x
    }

    fn describe(&self, x: Value) -> String {
        describe(&x)
    }

    fn later(&self, time: Timestamp, seconds: f64) -> Timestamp {
        Timestamp(time.0 + seconds)
    }

    fn next_day(&self, day: Date) -> Option<Date> {
        Date::from_ordinal(day.ordinal() + 1)
    }

    fn length(&self, x: Value) -> usize {
        match &x {
            Value::Str(text) => text.to_string_lossy().chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Dict(dict) => dict.len(),
            other => other.as_slice().map_or(0, <[Value]>::len),
        }
    }

    fn give(&self, name: &str) -> Result<Value, Exception> {
        given(name).ok_or_else(|| Exception::new("builtins.KeyError", name))
    }

    fn literal(&self, text: &str) -> Result<Value, Exception> {
        let wrong = |error: Error| Exception::new("builtins.ValueError", error.to_string());
        Value::parse_literal(text).map_err(|error| wrong(error.into()))
    }

    fn filled(&self, kind: &str, size: usize) -> Value {
        match kind {
            "bytes" => Bytes::from(vec![b'x'; size]).into(),
            _ => "x".repeat(size).into(),
        }
    }

    fn nested(&self, depth: usize) -> Value {
        (1..depth).fold(Value::List(Vec::new()), |value, _| Value::List(vec![value]))
    }
}

/// A class of Python's, as `tests/shop.py` has it.
#[derive(Class)]
#[class = "shop.Order"]
struct Order {
    id: u64,
    items: Vec<String>,
}

/// A class that no program knows.
#[derive(Class)]
#[class = "shop.Basket"]
struct Basket {
    size: u32,
}

struct Shop;

#[expose]
impl Shop {
    fn add(&self, mut order: Order, item: String) -> Order {
        order.items.push(item);
        order
    }

    fn turn(&self, mut orders: Vec<Order>) -> Vec<Order> {
        orders.reverse();
        orders
    }

    fn pair(&self, id: u64) -> (u64, Order) {
        let items = vec!["x".to_owned()];
        (id, Order { id, items })
    }

    fn basket(&self) -> Basket {
        Basket { size: 3 }
    }
}

struct Calc;

#[expose]
impl Calc {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    fn greet(
        &self,
        name: &str,
        #[default = "hello".to_owned()] greeting: String,
        #[default = "!".to_owned()] punctuation: String,
    ) -> String {
        format!("{greeting} {name}{punctuation}")
    }

    fn total(&self, #[args] numbers: Vec<i64>) -> i64 {
        numbers.iter().sum()
    }

    fn settings(&self, #[kwargs] settings: BTreeMap<String, Value>) -> Vec<Vec<Value>> {
        settings
            .into_iter()
            .map(|(name, value)| vec![name.into(), value])
            .collect()
    }

    fn mixed(
        &self,
        first: Value,
        #[args] others: Vec<Value>,
        #[kwargs] named: BTreeMap<String, Value>,
    ) -> Vec<Value> {
        vec![
            first,
            Value::List(others),
            Value::Dict(named.into_iter().collect()),
        ]
    }

    fn optional(&self, x: Option<String>) -> String {
        x.unwrap_or_else(|| "nothing".to_owned())
    }

    fn half(&self, x: f64) -> f64 {
        x / 2.0
    }

    fn nothing(&self) {}

    fn pair(&self) -> (i64, &'static str) {
        (1, "x")
    }

    #[rename = "new_name"]
    fn old_name(&self) -> &'static str {
        "renamed"
    }

    fn small(&self, n: u8) -> u8 {
        n
    }

    fn text(&self, s: String) -> String {
        s
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot load settings")]
struct Settings(#[source] std::num::ParseIntError);

/// What philosophers share.
struct Table {
    left: sync::Mutex<u32>,
    right: sync::Mutex<u32>,
    both_hold_one: sync::Barrier,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            left: sync::Mutex::named("left fork", 0),
            right: sync::Mutex::named("right fork", 0),
            both_hold_one: sync::Barrier::new(2),
        }
    }
}

impl Table {
    /// Takes one fork, and when somebody else has the other one, that.
    fn dine(&self, first: &sync::Mutex<u32>, second: &sync::Mutex<u32>) -> Result<u32, LockError> {
        let mut one = first.lock()?;
        self.both_hold_one.wait_timeout(PATIENCE)?;
        let mut other = second.lock()?;
        *one += 1;
        *other += 1;
        Ok(2)
    }
}

/// Uses locks of its own, some of them shared with others.
struct Philosopher(Arc<Table>);

#[derive(Debug, thiserror::Error)]
#[error("the philosopher starves")]
struct Starved(#[source] LockError);

#[expose]
impl Philosopher {
    fn left_first(&self) -> Result<u32, LockError> {
        self.0.dine(&self.0.left, &self.0.right)
    }

    fn right_first(&self) -> Result<u32, LockError> {
        self.0.dine(&self.0.right, &self.0.left)
    }

    fn left_first_alone(&mut self) -> Result<u32, LockError> {
        self.0.dine(&self.0.left, &self.0.right)
    }

    fn right_first_alone(&mut self) -> Result<u32, LockError> {
        self.0.dine(&self.0.right, &self.0.left)
    }

    fn fail(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let _fork = self.0.left.lock()?;
        Err(Exception::new("builtins.ValueError", "the soup is cold").into())
    }

    fn explode(&self) -> Result<(), LockError> {
        let _fork = self.0.left.lock()?;
        panic!("the soup is hot")
    }

    fn is_free(&self) -> bool {
        !self.0.left.is_locked() && !self.0.right.is_locked()
    }

    fn twice(&self) -> Result<(), LockError> {
        let _fork = self.0.left.lock()?;
        self.0.left.lock().map(drop)
    }

    fn twice_and_say_so(&self) -> Result<(), Starved> {
        let _fork = self.0.left.lock().map_err(Starved)?;
        self.0.left.lock().map(drop).map_err(Starved)
    }

    fn twice_and_panic(&self) {
        let _fork = self.0.left.lock().unwrap();
        drop(self.0.left.lock().unwrap());
    }

    /// Waits for somebody who never comes.
    fn too_late(&self) -> Result<(), LockError> {
        let lonely = sync::Barrier::new(2);
        lonely.wait_timeout(Duration::from_millis(1)).map(drop)
    }
}

struct Errors {
    panics: u64,
}

#[expose]
impl Errors {
    fn builtin(&self, name: &str, message: &str) -> Result<(), Exception> {
        Err(Exception::new(format!("builtins.{name}"), message))
    }

    fn pyro(&self, name: &str, message: &str) -> Result<(), Exception> {
        Err(Exception::new(format!("Pyro5.errors.{name}"), message))
    }

    fn arguments(&self) -> Result<(), Exception> {
        let mut error = Exception::new("builtins.KeyError", "a");
        error
            .args
            .extend([Value::from(2), Value::None, Value::from(vec![1.5])]);
        Err(error)
    }

    fn no_arguments(&self) -> Result<(), Exception> {
        let mut error = Exception::new("builtins.ValueError", "");
        error.args.clear();
        Err(error)
    }

    fn attributes(&self) -> Result<(), Exception> {
        let mut error = Exception::new("builtins.ValueError", "with attributes");
        error.set_attribute("code", 42);
        error.set_attribute(
            "details",
            Value::parse_literal("{'a': [1, 2]}").unwrap_or_default(),
        );
        Err(error)
    }

    fn chain(&self) -> Result<i64, Settings> {
        "x".parse::<i64>().map_err(Settings)
    }

    fn custom(&self) -> Result<(), Exception> {
        Err(Exception::new("custom.Custom", "it is custom"))
    }

    fn os_error(&self) -> Result<Vec<u8>, io::Error> {
        std::fs::read(PathBuf::from("/no/such/file"))
    }

    fn forward(&self, uri: &str, method: &str) -> Result<Value, Error> {
        Proxy::builder(uri)?
            .serializer(Serializer::Msgpack)
            .connect()?
            .call(method, ())
    }

    fn parse(&self) -> Result<i64, std::num::ParseIntError> {
        "x".parse()
    }

    fn parse_float(&self) -> Result<f64, std::num::ParseFloatError> {
        "x".parse()
    }

    fn text_error(&self) -> Result<(), String> {
        Err("only a text".to_owned())
    }

    fn utf8(&self) -> Result<String, std::string::FromUtf8Error> {
        String::from_utf8(vec![0xff])
    }

    fn panics(&self) {
        panic!("it panicked");
    }

    fn panics_alone(&mut self) -> u64 {
        self.panics += 1;
        panic!("it panicked {} times", self.panics);
    }

    fn unencodable(&self) -> Bytes {
        Bytes::from_static(b"json cannot hold this")
    }
}

#[derive(Default)]
struct Recorder {
    entries: Mutex<Vec<Value>>,
    changed: Condvar,
}

impl Recorder {
    fn append(&self, x: Value) {
        self.entries.lock().push(x);
        self.changed.notify_all();
    }
}

#[expose]
impl Recorder {
    #[oneway]
    fn note(&self, x: Value) -> &'static str {
        self.append(x);
        "never seen"
    }

    fn plain(&self, x: Value) -> Value {
        self.append(x.clone());
        x
    }

    #[oneway]
    fn fail(&self) -> Result<(), Exception> {
        Err(Exception::new("builtins.ValueError", "nobody hears this"))
    }

    fn wait_for(&self, count: usize) -> Vec<Value> {
        let mut entries = self.entries.lock();
        let _ =
            self.changed
                .wait_while_for(&mut entries, |entries| entries.len() < count, PATIENCE);
        entries.clone()
    }

    fn clear(&self) {
        self.entries.lock().clear();
    }
}

/// What is written here one after the other stays in that order.
#[derive(Default)]
struct Journal {
    entries: Vec<Value>,
}

#[expose]
impl Journal {
    #[oneway]
    fn note(&mut self, x: Value) {
        self.entries.push(x);
    }

    fn plain(&mut self, x: Value) {
        self.entries.push(x);
    }

    fn entries(&self) -> Vec<Value> {
        self.entries.clone()
    }

    fn clear(&mut self) {
        self.entries.clear();
    }
}

struct Attributes {
    value: Value,
}

#[expose]
impl Attributes {
    #[attr]
    fn value(&self) -> Value {
        self.value.clone()
    }

    #[attr(set)]
    fn set_value(&mut self, value: Value) {
        self.value = value;
    }

    #[attr]
    fn fixed(&self) -> &'static str {
        "fixed"
    }

    #[attr]
    fn broken(&self) -> Result<i64, Exception> {
        Err(Exception::new("builtins.ValueError", "cannot be read"))
    }

    fn method(&self) -> &'static str {
        "method"
    }

    #[private]
    #[expect(dead_code, reason = "tests look that nobody can call it")]
    fn unexposed(&self) -> &'static str {
        "nobody sees this"
    }
}

struct Counter {
    count: u64,
}

#[expose]
impl Counter {
    fn increment(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn value(&self) -> u64 {
        self.count
    }
}

#[derive(Default)]
struct Scan {
    running: bool,
    aborted: bool,
}

/// Long work in one call, watched and ended by others.
#[derive(Default)]
struct Scanner {
    steps: AtomicU64,
    scan: Mutex<Scan>,
    changed: Condvar,
}

#[expose]
impl Scanner {
    fn scan(&self) -> u64 {
        let mut scan = self.scan.lock();
        *scan = Scan {
            running: true,
            aborted: false,
        };
        self.steps.store(0, Ordering::Relaxed);
        self.changed.notify_all();
        let deadline = Instant::now() + 3 * PATIENCE;
        while !scan.aborted && Instant::now() < deadline {
            self.changed.wait_for(&mut scan, Duration::from_millis(1));
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        scan.running = false;
        self.steps.load(Ordering::Relaxed)
    }

    fn started(&self) -> bool {
        let mut scan = self.scan.lock();
        let wait = self
            .changed
            .wait_while_for(&mut scan, |scan| !scan.running, PATIENCE);
        !wait.timed_out()
    }

    fn progress(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn abort(&self) {
        self.scan.lock().aborted = true;
        self.changed.notify_all();
    }
}

struct Passage {
    open: bool,
    inside: usize,
    most_inside: usize,
}

struct GateState {
    passage: Mutex<Passage>,
    changed: Condvar,
}

impl Default for GateState {
    fn default() -> Self {
        let passage = Mutex::new(Passage {
            open: true,
            inside: 0,
            most_inside: 0,
        });
        Self {
            passage,
            changed: Condvar::new(),
        }
    }
}

/// `enter` holds the object until the gate is opened.
struct Gate {
    state: Arc<GateState>,
}

#[expose]
impl Gate {
    fn enter(&mut self) -> &'static str {
        let mut passage = self.state.passage.lock();
        passage.inside += 1;
        passage.most_inside = passage.most_inside.max(passage.inside);
        self.state.changed.notify_all();
        let closed = |passage: &mut Passage| !passage.open;
        let _ = self
            .state
            .changed
            .wait_while_for(&mut passage, closed, 3 * PATIENCE);
        passage.inside -= 1;
        "done"
    }
}

struct GateKeeper {
    state: Arc<GateState>,
}

#[expose]
impl GateKeeper {
    fn set_open(&self, is_open: bool) {
        self.state.passage.lock().open = is_open;
        self.state.changed.notify_all();
    }

    fn wait_inside(&self) -> bool {
        let mut passage = self.state.passage.lock();
        let nobody = |passage: &mut Passage| passage.inside == 0;
        !self
            .state
            .changed
            .wait_while_for(&mut passage, nobody, PATIENCE)
            .timed_out()
    }

    fn inside(&self) -> usize {
        self.state.passage.lock().inside
    }

    fn most_inside(&self) -> usize {
        self.state.passage.lock().most_inside
    }
}

struct Instance {
    number: u64,
    calls: u64,
}

impl Instance {
    fn new() -> Result<Self, Error> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            calls: 0,
        })
    }
}

#[expose]
impl Instance {
    fn number(&self) -> u64 {
        self.number
    }

    fn calls(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

struct Unborn;

impl Unborn {
    fn new() -> Result<Self, Exception> {
        Err(Exception::new("builtins.ValueError", "cannot be made"))
    }
}

#[expose]
impl Unborn {
    fn number(&self) -> u64 {
        0
    }
}

/// What a call carried.
#[derive(Serialize)]
struct Report {
    annotations: BTreeMap<String, String>,
    correlation_id: Option<String>,
    has_address: bool,
}

struct Context;

#[expose]
impl Context {
    fn report(&self) -> Report {
        let latin1 = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect();
        Report {
            annotations: call::annotations()
                .iter()
                .map(|(id, value)| (id.to_string(), latin1(value)))
                .filter(|(id, _)| !id.starts_with("AF"))
                .collect(),
            correlation_id: call::correlation_id().map(|id| id.to_string()),
            has_address: call::client_address().is_some(),
        }
    }

    fn respond(&self, key: &str, text: String) -> Result<&'static str, Error> {
        call::set_response_annotation(key, text)?;
        Ok("responded")
    }

    fn respond_and_fail(&self, key: &str, text: String) -> Result<(), Exception> {
        let _ = call::set_response_annotation(key, text);
        Err(Exception::new("builtins.ValueError", "failed after all"))
    }

    fn forward(&self, uri: &str) -> Result<(Report, Value), Error> {
        let nested = Proxy::connect(uri)?.call("report", ())?;
        Ok((self.report(), nested))
    }

    fn forward_twice(&self, through: &str, uri: &str) -> Result<(Report, Value, Value), Error> {
        let (middle, last) = Proxy::connect(through)?.call("forward", (uri,))?;
        Ok((self.report(), middle, last))
    }

    /// Passes a call along the URIs; says how many it reached.
    fn relay(&self, uris: Vec<String>) -> Result<u64, Error> {
        match uris.split_first() {
            Some((next, rest)) => Ok(1 + Proxy::connect(next)?.call::<u64>("relay", (rest,))?),
            None => Ok(0),
        }
    }

    fn nested_response(&self, uri: &str, key: &str, text: &str) -> Result<String, Error> {
        Proxy::connect(uri)?.call("respond", (key, text))
    }
}

const ITEMS: [&str; 3] = ["a", "b", "c"];

struct Sequence;

#[expose]
impl Sequence {
    fn __len__(&self) -> usize {
        ITEMS.len()
    }

    fn __getitem__(&self, index: usize) -> Result<&'static str, Exception> {
        let item = ITEMS.get(index).copied();
        item.ok_or_else(|| Exception::new("builtins.IndexError", "list index out of range"))
    }

    fn __contains__(&self, item: &str) -> bool {
        ITEMS.contains(&item)
    }
}

/// Numbers in a file, which outlives the server.
struct Ledger {
    path: Option<PathBuf>,
}

#[expose]
impl Ledger {
    /// Writes the number down and says which process did.
    fn record(&mut self, number: u64) -> Result<u32, io::Error> {
        let path = self
            .path
            .as_ref()
            .ok_or_else(|| io::Error::other("there is no ledger"))?;
        let mut file = File::options().append(true).create(true).open(path)?;
        file.write_all(format!("{number}\n").as_bytes())?;
        Ok(std::process::id())
    }
}

/// Async methods, which hold their object also while they await something.
#[derive(Default)]
struct Ferry {
    aboard: watch::Sender<usize>,
    carried: u64,
    log: Vec<Value>,
}

#[expose]
impl Ferry {
    /// Leaves when so many are aboard.
    async fn cross(&self, passengers: usize) -> Result<usize, Exception> {
        self.aboard.send_modify(|aboard| *aboard += 1);
        let mut aboard = self.aboard.subscribe();
        let full = aboard.wait_for(|aboard| *aboard >= passengers);
        let crossed = matches!(timeout(PATIENCE, full).await, Ok(Ok(_)));
        crossed
            .then_some(passengers)
            .ok_or_else(|| Exception::new("builtins.TimeoutError", "nobody came"))
    }

    async fn empty(&mut self) {
        self.aboard.send_replace(0);
        self.carried = 0;
        self.log.clear();
    }

    /// Others could come in between, if it did not hold the object.
    async fn carry(&mut self, weight: u64) -> u64 {
        let before = self.carried;
        sleep(Duration::from_millis(1)).await;
        self.carried = before + weight;
        self.carried
    }

    async fn sink(&self) -> Result<(), Exception> {
        sleep(Duration::from_millis(1)).await;
        Err(Exception::new("builtins.ValueError", "it leaks"))
    }

    #[oneway]
    async fn note(&mut self, entry: Value) {
        tokio::task::yield_now().await;
        self.log.push(entry);
    }

    #[attr]
    async fn log(&self) -> &[Value] {
        &self.log
    }

    async fn forward(&self, uri: String) -> Result<Value, Error> {
        antifreeze::tokio::Proxy::connect(uri)
            .await?
            .call("report", ())
            .await
    }
}

/// A cooperative object: nothing comes between two of its awaits.
#[derive(Default)]
struct Desk {
    served: Rc<Cell<u64>>,
    bell: Notify,
}

#[expose(local)]
impl Desk {
    /// Reads, and writes what it read, without a lock.
    fn next(&self) -> u64 {
        let before = self.served.get();
        std::thread::yield_now();
        self.served.set(before + 1);
        self.bell.notify_waiters();
        before + 1
    }

    /// Lets others in until so many were served.
    async fn wait_for(&self, served: u64) -> Result<u64, Exception> {
        let all = async {
            while self.served.get() < served {
                self.bell.notified().await;
            }
            self.served.get()
        };
        let nobody = |_| Exception::new("builtins.TimeoutError", "nobody came");
        timeout(PATIENCE, all).await.map_err(nobody)
    }

    fn close(&self) {
        self.served.set(0);
    }
}

/// Calls back, once the caller can be called.
struct Clerk;

#[expose]
impl Clerk {
    fn order(&self, customer: String, what: String) -> Result<&'static str, Error> {
        call::after_reply(move || {
            let delivered = Proxy::connect(customer)
                .and_then(|customer| customer.within(PATIENCE).call::<()>("deliver", (what,)));
            if let Err(error) = delivered {
                eprintln!("not delivered: {error}");
            }
        })?;
        Ok("ordered")
    }

    async fn order_async(&self, customer: String, what: String) -> Result<&'static str, Error> {
        self.order(customer, what)
    }
}

/// Takes serialized blobs, and passes them on undecoded.
#[derive(Default)]
struct Blobs {
    target: Option<Uri>,
}

#[expose]
impl Blobs {
    fn take(&self, blob: SerializedBlob) -> Result<Vec<Value>, Error> {
        Ok(vec![blob.info().clone(), blob.decode()?])
    }

    fn aim(&mut self, uri: Uri) {
        self.target = Some(uri);
    }

    fn forward(&self, blob: SerializedBlob) -> Result<Value, Error> {
        let target = self.target.as_ref().expect("somebody aims first");
        Proxy::connect(target)?.call_blob("take", &blob)
    }
}

struct Made;

#[expose]
impl Made {
    fn name(&self) -> &'static str {
        "made"
    }
}

/// Objects that come and go as proxies.
struct Travel {
    daemon: DaemonHandle,
    kept: Option<Proxy>,
}

#[expose]
impl Travel {
    fn call(&self, proxy: Proxy, method: String, args: Vec<Value>) -> Result<Value, Error> {
        proxy.call(&method, args)
    }

    fn keep(&mut self, proxy: Proxy) {
        self.kept = Some(proxy);
    }

    fn kept(&self) -> &Option<Proxy> {
        &self.kept
    }

    /// On the connection of the last call of it, if that has not ended.
    fn call_kept(&self, method: String, args: Vec<Value>) -> Result<Option<Value>, Error> {
        // Whoever ends connections ends them when the answer was sent.
        let kept = self.kept.as_ref().map(Proxy::idempotent);
        kept.map(|kept| kept.call(&method, args)).transpose()
    }

    fn make(&self) -> Result<Object<Made>, Error> {
        let made = Object::new(Made);
        self.daemon.register(None, &made)?;
        Ok(made)
    }

    fn make_some(&self) -> Result<BTreeMap<&'static str, Vec<Object<Made>>>, Error> {
        Ok(BTreeMap::from([("made", vec![self.make()?])]))
    }
}

struct Nothing;

#[expose]
impl Nothing {}
