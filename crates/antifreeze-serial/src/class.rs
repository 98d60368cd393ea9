//! The classes that travel as dicts: exceptions, URIs, proxies.
//!
//! Decoding follows Pyro's `SerializerBase.dict_to_class`, with two differences. Nothing is
//! constructed: an exception is data. And a dict of an unknown class that does not say it is an
//! exception stays a dict, where Pyro refuses the whole message.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::value::{AsList, AsTuple, Dict, Str, Value, wrong};
use crate::{Error, ErrorKind, registry};

/// A Python exception as it travels.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// The full name of the class, such as `builtins.ValueError`.
    pub class: String,
    /// What its constructor is called with.
    pub args: Vec<Value>,
    /// The attributes that are set afterwards.
    pub attributes: Vec<(String, Value)>,
}

const TRACEBACK: &str = "_pyroTraceback";

impl Exception {
    /// Makes an exception with one text argument.
    ///
    /// The class is the full name of one that Python's programs know: `builtins.ValueError`,
    /// `Pyro5.errors.NamingError`. A served method that returns another one is answered with a
    /// `RuntimeError` of the same text, because stock clients could not rebuild it.
    pub fn new(class: impl Into<String>, message: impl Into<Str>) -> Self {
        Self {
            class: class.into(),
            args: vec![Value::Str(message.into())],
            attributes: Vec::new(),
        }
    }

    /// Returns what Python's `str(exception)` gives.
    pub fn message(&self) -> String {
        match self.args.as_slice() {
            [] => String::new(),
            [Value::Str(text)] => text.to_string(),
            [other] => other.to_string(),
            several => Value::Tuple(several.to_vec()).to_string(),
        }
    }

    /// Returns an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Sets an attribute, in place of an earlier one of that name.
    pub fn set_attribute(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|(key, _)| *key == name) {
            Some(slot) => slot.1 = value,
            None => self.attributes.push((name, value)),
        }
    }

    /// Returns the lines of the remote traceback, none when it has none.
    pub fn traceback(&self) -> Vec<String> {
        match self.attribute(TRACEBACK) {
            Some(Value::List(lines) | Value::Tuple(lines)) => lines
                .iter()
                .filter_map(|line| match line {
                    Value::Str(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect(),
            Some(Value::Str(text)) => vec![text.to_string()],
            _ => Vec::new(),
        }
    }

    /// Sets the lines of the traceback that Python clients show; each normally ends in a newline.
    pub fn set_traceback<I>(&mut self, lines: I)
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let lines = lines
            .into_iter()
            .map(|line| Value::from(line.into()))
            .collect();
        self.set_attribute(TRACEBACK, Value::List(lines));
    }
}

/// The exception of a call that failed within a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct WrappedException(pub Exception);

/// What a URI points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UriObject {
    /// An object id, or a name.
    Id(String),
    /// The tags of a `PYROMETA` URI.
    Tags(Vec<String>),
}

/// A `Pyro5.core.URI` as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriState {
    /// `PYRO`, `PYRONAME` or `PYROMETA`.
    pub protocol: String,
    /// The object.
    pub object: UriObject,
    /// The path of a unix domain socket.
    pub sockname: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
}

/// A `Pyro5.client.Proxy` as it travels.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyState {
    /// The URI as text.
    pub uri: String,
    /// Names of the methods that nobody waits for.
    pub oneway: Vec<String>,
    /// Names of the methods.
    pub methods: Vec<String>,
    /// Names of the attributes.
    pub attrs: Vec<String>,
    /// What the proxy says in its handshake.
    pub handshake: Value,
    /// The serializer it uses, by name, where it is not the default.
    pub serializer: Option<String>,
}

const URI: &str = "Pyro5.core.URI";
const PROXY: &str = "Pyro5.client.Proxy";
const DAEMON: &str = "Pyro5.server.Daemon";
const WRAPPER: &str = "Pyro5.core._ExceptionWrapper";

/// The classes of `Pyro5.errors`.
const PYRO_ERRORS: [&str; 10] = [
    "PyroError",
    "CommunicationError",
    "ConnectionClosedError",
    "TimeoutError",
    "ProtocolError",
    "MessageTooLargeError",
    "NamingError",
    "DaemonError",
    "SecurityError",
    "SerializeError",
];

/// The exceptions among Python's builtins, of all versions that Pyro runs on, in order.
const BUILTIN_ERRORS: [&str; 70] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "EncodingWarning",
    "EnvironmentError",
    "Exception",
    "ExceptionGroup",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "IOError",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
];

fn is_builtin(name: &str) -> bool {
    BUILTIN_ERRORS.binary_search(&name).is_ok()
}

/// Turns the class dicts in a value into what they stand for, from the top downwards.
///
/// What is inside a class dict stays as it is: Pyro hands the whole dict to the class.
pub(crate) fn revive(value: Value) -> Result<Value, Error> {
    let all = |items: Vec<Value>| items.into_iter().map(revive).collect::<Result<Vec<_>, _>>();
    Ok(match value {
        Value::List(items) => Value::List(all(items)?),
        Value::Tuple(items) => Value::Tuple(all(items)?),
        Value::Set(items) => Value::Set(all(items)?),
        Value::FrozenSet(items) => Value::FrozenSet(all(items)?),
        Value::Dict(dict) if dict.get("__class__").is_some() => return revive_dict(dict),
        Value::Dict(dict) => {
            let entries: Result<Vec<_>, Error> = dict
                .into_iter()
                .map(|(key, value)| Ok((key, revive(value)?)))
                .collect();
            Value::Dict(entries?.into())
        }
        other => other,
    })
}

/// As [`revive`], but leaves alone what it cannot turn into anything.
pub(crate) fn revive_known(value: Value) -> Value {
    let all = |items: Vec<Value>| items.into_iter().map(revive_known).collect();
    match value {
        Value::List(items) => Value::List(all(items)),
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::Set(items) => Value::Set(all(items)),
        Value::FrozenSet(items) => Value::FrozenSet(all(items)),
        Value::Dict(dict) if dict.get("__class__").is_some() => {
            revive_dict(dict.clone()).unwrap_or(Value::Dict(dict))
        }
        Value::Dict(dict) => Value::Dict(
            dict.into_iter()
                .map(|(key, value)| (key, revive_known(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Turns one class dict into what it stands for.
pub(crate) fn revive_dict(dict: Dict) -> Result<Value, Error> {
    let name = match dict.get("__class__") {
        Some(Value::Str(text)) => text.to_string(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return Ok(Value::Dict(dict)),
    };
    // First of all, as in Pyro.
    if let Some(convert) = registry::converter(&name) {
        return convert(&name, dict);
    }
    if name.contains("__") {
        let message = [
            "refused to deserialize types with double underscores in their name: ",
            &name,
        ];
        return Err(Error::new(ErrorKind::Security, message.concat()));
    }
    match name.as_str() {
        URI => uri(dict).map(|uri| Value::Uri(Box::new(uri))),
        PROXY => proxy(dict).map(|proxy| Value::Proxy(Box::new(proxy))),
        DAEMON => Ok(Value::Daemon),
        WRAPPER => wrapper(dict),
        "float" => class_float(&dict)
            .map(Value::Float)
            .ok_or_else(|| refused("float")),
        "complex" => class_complex(&dict).ok_or_else(|| refused("complex")),
        _ => match exception_class(&name, &dict) {
            Class::Exception(class) => {
                exception(class, dict).map(|exception| Value::Exception(Box::new(exception)))
            }
            Class::Data => Ok(Value::Dict(dict)),
            Class::Unknown => {
                let message = ["unsupported serialized class: ", &name].concat();
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        },
    }
}

enum Class {
    /// An exception, with the full name of its class.
    Exception(String),
    /// No exception, as far as we know.
    Data,
    Unknown,
}

fn exception_class(name: &str, dict: &Dict) -> Class {
    if let Some(short) = name.strip_prefix("Pyro5.errors.") {
        return match PYRO_ERRORS.contains(&short) {
            true => Class::Exception(name.to_owned()),
            false => Class::Unknown,
        };
    }
    if name == "struct.error" {
        return Class::Exception(name.to_owned());
    }
    let says_so = match dict.get("__exception__") {
        Some(Value::Bool(says_so)) => *says_so,
        Some(Value::Int(number)) => *number != 0,
        _ => false,
    };
    if !says_so {
        return Class::Data;
    }
    // Pyro's names come first: a bare TimeoutError is its own.
    if PYRO_ERRORS.contains(&name) {
        return Class::Exception(["Pyro5.errors.", name].concat());
    }
    if is_builtin(name) {
        return Class::Exception(["builtins.", name].concat());
    }
    match name.split_once('.') {
        Some(("builtins" | "exceptions", short)) if is_builtin(short) => {
            Class::Exception(["builtins.", short].concat())
        }
        Some(("sqlite3", short)) if short.ends_with("Error") && !short.contains('.') => {
            Class::Exception(name.to_owned())
        }
        _ => Class::Unknown,
    }
}

/// Decodes an answer that is an exception, whatever its class.
///
/// As a [`Value`] an exception of a class that Pyro does not know is refused, as Pyro does. Here it
/// is only data about what went wrong, and losing it would help nobody.
///
/// # Errors
///
/// The document is not the dict of an exception.
pub fn decode_exception(
    serializer: crate::Serializer,
    document: &[u8],
    limits: &crate::Limits,
) -> Result<Exception, Error> {
    crate::decode::<AnyException>(serializer, document, limits).map(Exception::from)
}

/// An exception of any class, in the form in which it travels.
#[derive(serde::Deserialize)]
pub(crate) struct AnyException {
    #[serde(rename = "__class__")]
    class: String,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    attributes: Dict,
}

/// A batch's result that is an exception.
#[derive(serde::Deserialize)]
pub(crate) struct AnyWrapper {
    #[serde(rename = "__class__")]
    pub(crate) class: String,
    pub(crate) exception: AnyException,
}

impl AnyWrapper {
    /// The exception, if this really is a wrapper.
    pub(crate) fn open(self) -> Option<Exception> {
        (self.class == WRAPPER).then(|| self.exception.into())
    }
}

impl From<AnyException> for Exception {
    fn from(any: AnyException) -> Self {
        let mut says_so = Dict::default();
        says_so.insert("__exception__", true);
        let class = match exception_class(&any.class, &says_so) {
            Class::Exception(full) => full,
            Class::Data | Class::Unknown => any.class,
        };
        let attributes = any.attributes.into_iter();
        let attributes = attributes
            .filter_map(|(name, value)| Some((into_string(name)?, value)))
            .collect();
        Self {
            class,
            args: any.args,
            attributes,
        }
    }
}

impl Exception {
    /// Whether stock Pyro5 clients can rebuild it; others lose it, and their connection with it.
    pub fn is_known_to_pyro(&self) -> bool {
        self.pyro_class().is_some()
    }

    /// The full name of the class as which stock Pyro5 clients rebuild it, whichever of its names it
    /// was given; none if they cannot.
    pub fn pyro_class(&self) -> Option<String> {
        let mut says_so = Dict::default();
        says_so.insert("__exception__", true);
        match exception_class(&self.class, &says_so) {
            Class::Exception(full) if !self.class.contains("__") => Some(full),
            _ => None,
        }
    }
}

fn refused(class: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        ["a dict that is no ", class, " despite its class"].concat(),
    )
}

fn into_items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            Some(items)
        }
        _ => None,
    }
}

fn into_string(value: Value) -> Option<String> {
    match value {
        Value::Str(text) => text.into_string().ok(),
        _ => None,
    }
}

/// Takes a str or None.
fn into_optional(value: Value) -> Option<Option<String>> {
    match value {
        Value::None => Some(None),
        other => into_string(other).map(Some),
    }
}

fn into_strings(value: Value) -> Option<Vec<String>> {
    into_items(value)?.into_iter().map(into_string).collect()
}

fn exception(class: String, mut dict: Dict) -> Result<Exception, Error> {
    let args = dict
        .remove("args")
        .and_then(into_items)
        .ok_or_else(|| refused("exception"))?;
    let attributes = match dict.remove("attributes") {
        None => Vec::new(),
        Some(Value::Dict(attributes)) => attributes
            .into_iter()
            .map(|(key, value)| Some((into_string(key)?, value)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| refused("exception"))?,
        Some(_) => return Err(refused("exception")),
    };
    Ok(Exception {
        class,
        args,
        attributes,
    })
}

fn wrapper(mut dict: Dict) -> Result<Value, Error> {
    let inner = match dict.remove("exception") {
        // From text the inner dict comes as it is, from msgpack as what it stands for.
        Some(Value::Dict(inner)) if inner.get("__class__").is_some() => revive_dict(inner)?,
        Some(other) => other,
        None => return Err(refused("exception wrapper")),
    };
    match inner {
        Value::Exception(exception) => Ok(Value::WrappedException(exception)),
        _ => Err(refused("exception wrapper")),
    }
}

fn class_float(dict: &Dict) -> Option<f64> {
    match dict.get("value")? {
        Value::Str(text) => text.as_str()?.parse().ok(),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

fn class_complex(dict: &Dict) -> Option<Value> {
    let part = |name| match dict.get(name)? {
        Value::Float(value) => Some(*value),
        Value::Dict(inner) => class_float(inner),
        _ => None,
    };
    Some(Value::Complex(crate::Complex::new(
        part("real")?,
        part("imag")?,
    )))
}

fn state<const N: usize>(mut dict: Dict) -> Option<[Value; N]> {
    into_items(dict.remove("state")?)?.try_into().ok()
}

fn uri(dict: Dict) -> Result<UriState, Error> {
    let read = || {
        let [protocol, object, sockname, host, port] = state(dict)?;
        let object = match object {
            Value::Str(id) => UriObject::Id(id.into_string().ok()?),
            tags => UriObject::Tags(into_strings(tags)?),
        };
        let port = match port {
            Value::None => None,
            other => Some(u16::try_from(other.as_i64()?).ok()?),
        };
        Some(UriState {
            protocol: into_string(protocol)?,
            object,
            sockname: into_optional(sockname)?,
            host: into_optional(host)?,
            port,
        })
    };
    read().ok_or_else(|| refused("URI"))
}

fn proxy(dict: Dict) -> Result<ProxyState, Error> {
    let read = || {
        let [uri, oneway, methods, attrs, handshake, serializer] = state(dict)?;
        Some(ProxyState {
            uri: into_string(uri)?,
            oneway: into_strings(oneway)?,
            methods: into_strings(methods)?,
            attrs: into_strings(attrs)?,
            handshake,
            serializer: into_optional(serializer)?,
        })
    };
    read().ok_or_else(|| refused("Proxy"))
}

/// An exception on its way to the wire.
pub(crate) struct ExceptionDict<'a>(pub(crate) &'a Exception);

impl Serialize for ExceptionDict<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("__class__", &self.0.class)?;
        map.serialize_entry("__exception__", &true)?;
        map.serialize_entry("args", &AsTuple(&self.0.args))?;
        map.serialize_entry("attributes", &Attributes(&self.0.attributes))?;
        map.end()
    }
}

struct Attributes<'a>(&'a [(String, Value)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The exception of a batch item on its way to the wire.
pub(crate) struct WrapperDict<'a>(pub(crate) &'a Exception);

impl Serialize for WrapperDict<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("__class__", WRAPPER)?;
        map.serialize_entry("exception", &ExceptionDict(self.0))?;
        map.end()
    }
}

impl Serialize for Exception {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ExceptionDict(self).serialize(serializer)
    }
}

impl Serialize for WrappedException {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WrapperDict(&self.0).serialize(serializer)
    }
}

fn serialize_class<S: Serializer>(
    serializer: S,
    class: &str,
    state: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("__class__", class)?;
    map.serialize_entry("state", state)?;
    map.end()
}

pub(crate) fn serialize_daemon<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serialize_class(serializer, DAEMON, &AsTuple::<Value>(&[]))
}

impl Serialize for UriObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Id(id) => serializer.serialize_str(id),
            Self::Tags(tags) => {
                serializer.serialize_newtype_struct(crate::value::token::SET, &AsList(tags))
            }
        }
    }
}

impl Serialize for UriState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = (
            &self.protocol,
            &self.object,
            &self.sockname,
            &self.host,
            self.port,
        );
        serialize_class(serializer, URI, &state)
    }
}

impl Serialize for ProxyState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = (
            &self.uri,
            AsTuple(&self.oneway),
            AsTuple(&self.methods),
            AsTuple(&self.attrs),
            &self.handshake,
            &self.serializer,
        );
        serialize_class(serializer, PROXY, &state)
    }
}

impl<'de> Deserialize<'de> for Exception {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Exception(exception) | Value::WrappedException(exception) => Ok(*exception),
            other => Err(wrong("exception", &other)),
        }
    }
}

impl<'de> Deserialize<'de> for WrappedException {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::WrappedException(exception) => Ok(Self(*exception)),
            other => Err(wrong("wrapped exception", &other)),
        }
    }
}

impl<'de> Deserialize<'de> for UriState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Uri(uri) => Ok(*uri),
            other => Err(wrong("URI", &other)),
        }
    }
}

impl<'de> Deserialize<'de> for ProxyState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Proxy(proxy) => Ok(*proxy),
            other => Err(wrong("Proxy", &other)),
        }
    }
}

/// So that a method can return one as its error.
impl std::error::Error for Exception {}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.class, self.message())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_of_builtins_can_be_searched() {
        assert!(super::BUILTIN_ERRORS.is_sorted());
    }
}
