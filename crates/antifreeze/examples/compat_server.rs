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

    fn blob(&self, b: SerializedBlob) -> Result<(Value, Value), Error> {
        Ok((b.info().clone(), b.decode()?))
    }

    async fn delay(&self, s: f64) -> Result<String, Exception> {
        sleep(s).await?;
        Ok(format!("slept {} seconds", s as i64))
    }

    #[rename = "delayAndId"]
    async fn delay_and_id(&self, s: f64, id: Value) -> Result<String, Exception> {
        sleep(s).await?;
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
    async fn oneway_delay(&self, s: f64) -> Result<(), Exception> {
        sleep(s).await
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

    fn __getitem__(&self, item: Value) -> Result<String, Exception> {
        let index = int(&item).ok_or_else(|| {
            let text = format!("list indices must be integers, not {}", item.kind());
            Exception::new("builtins.TypeError", text)
        })?;
        // From the end, if it is negative.
        let from_end = index < BigInt::ZERO;
        let index = if from_end {
            index + self.letters.len()
        } else {
            index
        };
        let index = usize::try_from(index).ok();
        let letter = index.and_then(|at| self.letters.get(at));
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
    if let (Some(x), Some(y)) = (float(x)?, float(y)?) {
        return Ok((x * y).into());
    }
    let (text, times) = match (x, y) {
        (Value::Str(text), times) | (times, Value::Str(text)) => (text.to_string(), int(times)),
        _ => (String::new(), None),
    };
    let Some(times) = times else {
        let text = format!("cannot multiply {} and {}", x.kind(), y.kind());
        return Err(Exception::new("builtins.TypeError", text));
    };
    // A negative number of times is none.
    let times = times.max(BigInt::ZERO);
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    if text.len().saturating_mul(times) > LONGEST_CHARS {
        return Err(Exception::new(
            "builtins.MemoryError",
            "the product is too long",
        ));
    }
    Ok(match text.is_empty() {
        true => text,
        false => text.repeat(times),
    }
    .into())
}

/// Python's `x // y`, for numbers.
fn quotient(x: &Value, y: &Value) -> Result<Value, Exception> {
    let by_zero = |text: &str| Exception::new("builtins.ZeroDivisionError", text);
    let zero = BigInt::ZERO;
    if let (Some(x), Some(y)) = (int(x), int(y)) {
        if y == zero {
            return Err(by_zero("integer division or modulo by zero"));
        }
        let (whole, rest) = (&x / &y, &x % &y);
        let below = rest != zero && (rest < zero) != (y < zero);
        return Ok((whole - i32::from(below)).into());
    }
    match (float(x)?, float(y)?) {
        (Some(_), Some(0.0)) => Err(by_zero("float floor division by zero")),
        (Some(x), Some(y)) => Ok(floor_of_quotient(x, y).into()),
        _ => {
            let text = format!("cannot divide {} by {}", x.kind(), y.kind());
            Err(Exception::new("builtins.TypeError", text))
        }
    }
}

/// The floor of the exact quotient, where `x / y` may have been rounded up to a whole number.
fn floor_of_quotient(x: f64, y: f64) -> f64 {
    let rest = x % y;
    let below = rest != 0.0 && (rest < 0.0) != (y < 0.0);
    let whole = (x - rest) / y - f64::from(u8::from(below));
    if whole == 0.0 {
        return 0.0_f64.copysign(x / y);
    }
    // It is one already, but for what the division has lost.
    let floor = whole.floor();
    floor + f64::from(u8::from(whole - floor > 0.5))
}

fn int(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(value) => Some(i32::from(*value).into()),
        Value::Int(value) => Some((*value).into()),
        Value::BigInt(value) => Some(value.0.clone()),
        _ => None,
    }
}

/// A number as a float; the error is that of an int that is none.
fn float(value: &Value) -> Result<Option<f64>, Exception> {
    if let Value::BigInt(int) = value {
        let float: f64 = int.0.to_string().parse().unwrap_or(f64::INFINITY);
        return if float.is_finite() {
            Ok(Some(float))
        } else {
            let text = "int too large to convert to float";
            Err(Exception::new("builtins.OverflowError", text))
        };
    }
    Ok(match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        _ => value.as_f64(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what Python does with `x // y`, in Python's words.
    fn divided(x: &str, y: &str) -> String {
        let value = |text: &str| match text {
            "inf" => f64::INFINITY.into(),
            _ => Value::parse_literal(text).unwrap(),
        };
        match quotient(&value(x), &value(y)) {
            Ok(Value::Float(float)) => format!("{float:?}"),
            Ok(whole) => whole.to_string(),
            Err(error) => error.message(),
        }
    }

    #[test]
    fn numbers_are_divided_as_in_python() {
        let check = |x, y, result: &str| assert_eq!(divided(x, y), result, "{x} // {y}");
        check("7", "2", "3");
        check("-7", "2", "-4");
        check("7", "-2", "-4");
        check("True", "1", "1");
        check("100000000000000000000", "3", "33333333333333333333");
        check("1", "0", "integer division or modulo by zero");
        check("1", "0.1", "9.0");
        check("-1", "inf", "-1.0");
        check("1", "inf", "0.0");
        check("inf", "1", "NaN");
        check("-7.5", "2", "-4.0");
        check("-0.0", "2", "-0.0");
        check("True", "0.5", "2.0");
        check("100000000000000000000", "1e20", "1.0");
        check("1", "0.0", "float floor division by zero");
        let large = format!("1{}", "0".repeat(400));
        check(&large, "1.0", "int too large to convert to float");
        check("'x'", "1", "cannot divide str by int");
    }

    #[test]
    fn products_are_those_of_python() {
        let check = |x: Value, y: Value, result: Value| {
            assert_eq!(product(&x, &y).ok(), Some(result), "{x} * {y}");
        };
        let large = Value::parse_literal("-100000000000000000000").unwrap();
        check("ab".into(), true.into(), "ab".into());
        check("ab".into(), large.clone(), "".into());
        check(large, 0.5.into(), (-5e19).into());
        assert!(product(&"a".into(), &"b".into()).is_err());
    }
}
