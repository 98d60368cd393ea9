//! The objects that Pyro5's own tests of its server expect, so that these can be run from outside.
//!
//! ```text
//! cargo run --release --example compat_server -- --threads --commtimeout 2.0
//! ```
//!
//! prints two URIs, one a line: `something` and `unexposed`. `interop/tests/test_compat.py` runs the
//! tests of Pyro5's source distribution against it.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{env, process};

use antifreeze::num_bigint::BigInt;
use antifreeze::sync::{LockError, Mutex};
use antifreeze::{
    Bytes, Class, Config, CustomException, Daemon, Dict, Error, Exception, ItemStream,
    SerializedBlob, Value, call, expose,
};

/// What the annotation of the request has to be.
const GREETING: &[u8] = b"data from proxy via new api";

/// The object `something`. No method keeps others waiting: what can change has a lock of its own.
struct Something {
    value: Mutex<Value>,
    letters: Vec<String>,
}

/// What one of its methods makes. It is registered nowhere, so it travels as what it is.
#[derive(Class)]
#[class = "test_server.ServerTestObject"]
struct ServerTestObject {}

#[expose]
impl Something {
    #[rename = "getDict"]
    fn get_dict(&self) -> BTreeMap<&str, i64> {
        BTreeMap::from([("number", 42)])
    }

    #[rename = "getDictAttr"]
    fn get_dict_attr(&self) -> BTreeMap<&str, i64> {
        self.get_dict()
    }

    fn multiply(&self, x: Value, y: Value) -> Result<Value, Exception> {
        product(&x, &y)
    }

    fn divide(&self, x: Value, y: Value) -> Result<Value, Exception> {
        quotient(&x, &y).map_err(|mut error| {
            // Where Python would have failed.
            error.set_traceback(["    return x // y\n"]);
            error
        })
    }

    fn ping(&self) {}

    fn echo(&self, obj: Value) -> Value {
        obj
    }

    fn blob(&self, blob: SerializedBlob) -> Result<(Value, Value), Error> {
        Ok((blob.info().clone(), blob.decode()?))
    }

    async fn delay(&self, delay: f64) -> Result<String, Exception> {
        sleep(delay).await?;
        Ok(format!("slept {} seconds", delay as i64))
    }

    #[rename = "delayAndId"]
    async fn delay_and_id(&self, delay: f64, id: Value) -> Result<String, Exception> {
        sleep(delay).await?;
        Ok(match id.as_str() {
            Some(text) => format!("slept for {text}"),
            None => format!("slept for {id}"),
        })
    }

    fn testargs(
        &self,
        x: Value,
        #[args] args: Vec<Value>,
        #[kwargs] kwargs: BTreeMap<String, Value>,
    ) -> Vec<Value> {
        vec![x, Value::List(args), Dict::from_iter(kwargs).into()]
    }

    /// No client knows the class, so none can make anything of it.
    #[rename = "nonserializableException"]
    fn nonserializable_exception(&self) -> Result<(), CustomException> {
        let exception = Exception::new("support.NonserializableError", "xantippe");
        Err(CustomException(exception))
    }

    #[oneway]
    async fn oneway_delay(&self, delay: f64) -> Result<(), Exception> {
        sleep(delay).await
    }

    #[oneway]
    fn oneway_multiply(&self, x: Value, y: Value) -> Result<Value, Exception> {
        product(&x, &y)
    }

    #[attr]
    fn value(&self) -> Result<Value, LockError> {
        Ok(self.value.lock()?.clone())
    }

    #[attr(set)]
    fn set_value(&self, value: Value) -> Result<(), LockError> {
        *self.value.lock()? = value;
        Ok(())
    }

    #[attr]
    fn dictionary(&self) -> BTreeMap<&str, i64> {
        self.get_dict()
    }

    fn iterator(&self) -> ItemStream<&'static str> {
        ItemStream::new(["one", "two", "three"])
    }

    fn generator(&self) -> ItemStream<&'static str> {
        ItemStream::new(["one", "two", "three", "four", "five"])
    }

    fn response_annotation(
        &self,
    ) -> Result<BTreeMap<&'static str, BTreeMap<String, Bytes>>, Exception> {
        if call::annotation("XYZZ").as_deref() != Some(GREETING) {
            return Err(value_error(
                "expected the annotation XYZZ, and in it a greeting",
            ));
        }
        call::set_response_annotation("ANN2", "daemon annotation via new api")
            .map_err(|error| value_error(error.to_string()))?;
        let came = call::annotations();
        let came = came
            .iter()
            .map(|(id, value)| (id.to_string(), value.clone()));
        Ok(BTreeMap::from([("annotations_in_daemon", came.collect())]))
    }

    fn new_test_object(&self) -> ServerTestObject {
        ServerTestObject {}
    }

    fn __len__(&self) -> usize {
        self.letters.len()
    }

    fn __iter__(&self) -> ItemStream<String> {
        ItemStream::new(self.letters.clone())
    }

    fn __getitem__(&self, item: i64) -> Result<String, Exception> {
        // From the end, if it is negative.
        let length = self.letters.len() as i64;
        let index = if item < 0 { item + length } else { item };
        let letter = usize::try_from(index)
            .ok()
            .and_then(|at| self.letters.get(at));
        letter
            .cloned()
            .ok_or_else(|| Exception::new("builtins.IndexError", "list index out of range"))
    }
}

/// The object `unexposed`, of which only a part is exposed.
struct Named(&'static str);

#[expose]
impl Named {
    #[rename = "getName"]
    fn get_name(&self) -> &'static str {
        self.0
    }

    #[private]
    #[allow(dead_code, reason = "callers are told that it is not for them")]
    fn unexposed(&self) -> &'static str {
        "you should not see this"
    }
}

async fn sleep(seconds: f64) -> Result<(), Exception> {
    let time = Duration::try_from_secs_f64(seconds)
        .map_err(|_| value_error("sleep length must be non-negative, and not for ever"))?;
    tokio::time::sleep(time).await;
    Ok(())
}

/// Python's `x * y`, for numbers, and for a str and an int.
fn product(x: &Value, y: &Value) -> Result<Value, Exception> {
    const LONGEST_CHARS: usize = 1 << 24;
    if let (Some(x), Some(y)) = (int(x), int(y)) {
        return Ok((x * y).into());
    }
    if let (Some(x), Some(y)) = (x.as_f64(), y.as_f64()) {
        return Ok((x * y).into());
    }
    let (text, times) = match (x, y) {
        (Value::Str(text), Value::Int(times)) | (Value::Int(times), Value::Str(text)) => {
            (text.to_string(), usize::try_from(*times).unwrap_or(0))
        }
        _ => {
            let text = format!("cannot multiply {} and {}", x.kind(), y.kind());
            return Err(Exception::new("builtins.TypeError", text));
        }
    };
    if text.len().saturating_mul(times) > LONGEST_CHARS {
        return Err(Exception::new(
            "builtins.MemoryError",
            "the product is too long",
        ));
    }
    Ok(text.repeat(times).into())
}

/// Python's `x // y`, for numbers.
fn quotient(x: &Value, y: &Value) -> Result<Value, Exception> {
    let by_zero = || {
        let text = "integer division or modulo by zero";
        Exception::new("builtins.ZeroDivisionError", text)
    };
    let zero = BigInt::ZERO;
    if let (Some(x), Some(y)) = (int(x), int(y)) {
        if y == zero {
            return Err(by_zero());
        }
        let (whole, rest) = (&x / &y, &x % &y);
        let below = rest != zero && (rest < zero) != (y < zero);
        return Ok((whole - i32::from(below)).into());
    }
    match (x.as_f64(), y.as_f64()) {
        (Some(_), Some(0.0)) => Err(by_zero()),
        (Some(x), Some(y)) => Ok((x / y).floor().into()),
        _ => {
            let text = format!("cannot divide {} by {}", x.kind(), y.kind());
            Err(Exception::new("builtins.TypeError", text))
        }
    }
}

fn int(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(value) => Some(i32::from(*value).into()),
        Value::Int(value) => Some((*value).into()),
        Value::BigInt(value) => Some(value.0.clone()),
        _ => None,
    }
}

fn value_error(text: impl Into<String>) -> Exception {
    Exception::new("builtins.ValueError", text.into())
}

/// What the command line asks for.
struct Options {
    threads: bool,
    /// How long a connection may be silent.
    commtimeout: Option<Duration>,
}

impl Options {
    /// Reads the command line; none if it makes no sense.
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            threads: false,
            commtimeout: None,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--threads" => options.threads = true,
                "--multiplex" => options.threads = false,
                "--commtimeout" => {
                    let seconds = arguments.next()?.parse().ok()?;
                    let time = Duration::try_from_secs_f64(seconds).ok()?;
                    options.commtimeout = (!time.is_zero()).then_some(time);
                }
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> Result<(), Error> {
    let Some(options) = Options::read(env::args().skip(1)) else {
        eprintln!("usage: compat_server [--threads | --multiplex] [--commtimeout SECONDS]");
        process::exit(2);
    };
    let mut config = Config::default();
    config.idle_timeout = options.commtimeout;
    let mut builder = Daemon::builder().config(config);
    if options.threads {
        builder = builder.threads();
    }
    let daemon = builder.bind("localhost:0")?;
    let something = Something {
        value: Mutex::new(12345.into()),
        letters: "qwerty".chars().map(String::from).collect(),
    };
    // Standard output is flushed at the end of each line.
    println!("{}", daemon.register("something", something)?);
    println!("{}", daemon.register("unexposed", Named("hello"))?);
    daemon.serve()
}
