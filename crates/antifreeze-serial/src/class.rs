//! The classes that travel as dicts: exceptions, URIs, proxies.

use crate::value::{Dict, Str, Value};

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
        self.attributes.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
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
        let lines = lines.into_iter().map(|line| Value::from(line.into())).collect();
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

/// Unused for now.
pub(crate) fn _seam(_: Dict) {}
