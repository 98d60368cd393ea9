//! Values without a Rust type: everything that Pyro can carry.

mod de;
mod number;
mod read;
mod repr;
mod ser;
mod text;
mod time;
mod tree;

use crate::Bytes;
use crate::class::{Exception, ProxyState, UriState};
use crate::{Error, ErrorKind};

pub(crate) use self::de::wrong;
pub(crate) use self::number::decimal;
pub use self::number::{BigInt, Complex};
pub(crate) use self::read::{hand_over, read, read_plain};
pub(crate) use self::ser::{AsList, AsTuple};
pub use self::ser::{FrozenSet, Set};
pub use self::text::Str;
pub(crate) use self::text::{push_code_point, push_repr_bytes, push_repr_str};
pub use self::time::{Date, Timestamp};
pub use self::tree::{from_value, to_value};

/// Names of newtypes by which our types and our codecs recognise each other.
///
/// Any other serde format sees a newtype struct and goes through it.
pub(crate) mod token {
    pub(crate) const VALUE: &str = "$antifreeze::Value";
    pub(crate) const ELLIPSIS: &str = "$antifreeze::Ellipsis";
    pub(crate) const SET: &str = "$antifreeze::Set";
    pub(crate) const FROZEN_SET: &str = "$antifreeze::FrozenSet";
    pub(crate) const COMPLEX: &str = "$antifreeze::Complex";
    pub(crate) const BIG_INT: &str = "$antifreeze::BigInt";
    pub(crate) const BLOB: &str = "$antifreeze::Blob";
    pub(crate) const STR: &str = "$antifreeze::Str";
    pub(crate) const TIMESTAMP: &str = "$antifreeze::Timestamp";
    pub(crate) const DATE: &str = "$antifreeze::Date";
}

/// A value as Python sees it.
///
/// `Display` prints what Python's `repr` would, and [`Value::parse_literal`] reads it back.
///
/// ```
/// use antifreeze_serial::Value;
///
/// let value = Value::parse_literal("{'point': (1, 2.5), 'tags': ['a']}")?;
/// assert_eq!(value.get("tags").and_then(|tags| tags.as_slice()), Some(&["a".into()][..]));
/// assert_eq!(value.to_string(), "{'point': (1, 2.5), 'tags': ['a']}");
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `...`, which a literal may contain.
    Ellipsis,
    /// `True` or `False`.
    Bool(bool),
    /// An int of 64 bits.
    Int(i64),
    /// An int that does not fit into 64 bits; smaller ones are always [`Value::Int`].
    BigInt(BigInt),
    /// A float.
    Float(f64),
    /// A complex number.
    Complex(Complex),
    /// A datetime, from msgpack.
    Timestamp(Timestamp),
    /// A date, from msgpack.
    Date(Date),
    /// A str.
    Str(Str),
    /// Bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<Self>),
    /// A tuple.
    Tuple(Vec<Self>),
    /// A set, in the order in which it came.
    Set(Vec<Self>),
    /// A frozenset, in the order in which it came.
    FrozenSet(Vec<Self>),
    /// A dict, also one that stands for an object of an unknown class.
    Dict(Dict),
    /// An exception, as data; nothing is raised.
    Exception(Box<Exception>),
    /// The exception of a call that failed within a batch.
    WrappedException(Box<Exception>),
    /// A `Pyro5.core.URI`.
    Uri(Box<UriState>),
    /// A `Pyro5.client.Proxy`.
    Proxy(Box<ProxyState>),
    /// A `Pyro5.server.Daemon`, of which nothing but the class travels.
    Daemon,
}

impl Value {
    /// Reads a Python literal, as typed at a shell.
    ///
    /// # Errors
    ///
    /// When the text is not a literal: a call, a name, an operator.
    pub fn parse_literal(text: &str) -> Result<Self, Error> {
        crate::serpent::parse_literal(text)
    }

    /// Returns what kind of value this is, in Python's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Ellipsis => "ellipsis",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(_) => "complex",
            Self::Timestamp(_) => "datetime",
            Self::Date(_) => "date",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Dict(_) => "dict",
            Self::Exception(_) | Self::WrappedException(_) => "exception",
            Self::Uri(_) => "URI",
            Self::Proxy(_) => "Proxy",
            Self::Daemon => "Daemon",
        }
    }

    /// Returns true for `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the int, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the float, or the int as a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// Returns the str, unless it has lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => text.as_str(),
            _ => None,
        }
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the elements of a list, tuple, set or frozenset.
    pub fn as_slice(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) | Self::FrozenSet(items) => {
                Some(items)
            }
            _ => None,
        }
    }

    /// Returns the dict.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// Returns the exception, wrapped or not.
    pub fn as_exception(&self) -> Option<&Exception> {
        match self {
            Self::Exception(exception) | Self::WrappedException(exception) => Some(exception),
            _ => None,
        }
    }

    /// Returns the value of a str key, when this is a dict.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_dict()?.get(key)
    }

    /// Returns the name in `__class__`, when this is a dict that has one.
    pub fn class_name(&self) -> Option<&str> {
        self.get("__class__")?.as_str()
    }
}

/// The entries of a dict in their order, with keys of any kind.
///
/// Two dicts are equal when they have the same entries in any order. Where a key came twice, the
/// last one counts, as in Python.
#[derive(Clone, Debug, Default)]
pub struct Dict(Vec<(Value, Value)>);

impl Dict {
    /// Makes an empty dict.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a str key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Returns the value of a key of any kind.
    pub fn get_value(&self, key: &Value) -> Option<&Value> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }

    /// Sets the value of a key; a new key goes to the end.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().rev().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// Appends an entry without looking whether the key is there already.
    pub fn push(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// Takes out the value of a str key.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().rposition(|(k, _)| k.as_str() == Some(key))?;
        Some(self.0.remove(at).1)
    }

    /// Returns the entries in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Value, Value)> {
        self.0.iter()
    }
}

impl PartialEq for Dict {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
            || (self.len() == other.len()
                && self
                    .iter()
                    .all(|(key, value)| other.get_value(key) == Some(value)))
    }
}

impl From<Vec<(Value, Value)>> for Dict {
    fn from(entries: Vec<(Value, Value)>) -> Self {
        Self(entries)
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl IntoIterator for Dict {
    type Item = (Value, Value);
    type IntoIter = std::vec::IntoIter<(Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Dict {
    type Item = &'a (Value, Value);
    type IntoIter = std::slice::Iter<'a, (Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

macro_rules! from {
    ($($source:ty => |$value:ident| $target:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Self {
                $target
            }
        })*
    };
}

from! {
    () => |_unit| Self::None;
    bool => |value| Self::Bool(value);
    i8 => |value| Self::Int(value.into());
    i16 => |value| Self::Int(value.into());
    i32 => |value| Self::Int(value.into());
    i64 => |value| Self::Int(value);
    u8 => |value| Self::Int(value.into());
    u16 => |value| Self::Int(value.into());
    u32 => |value| Self::Int(value.into());
    u64 => |value| BigInt::from(value).into();
    i128 => |value| BigInt::from(value).into();
    u128 => |value| BigInt::from(value).into();
    usize => |value| BigInt::from(value as u64).into();
    isize => |value| Self::Int(value as i64);
    f32 => |value| Self::Float(value.into());
    f64 => |value| Self::Float(value);
    &str => |value| Self::Str(value.into());
    String => |value| Self::Str(value.into());
    Str => |value| Self::Str(value);
    Bytes => |value| Self::Bytes(value);
    Complex => |value| Self::Complex(value);
    Timestamp => |value| Self::Timestamp(value);
    Date => |value| Self::Date(value);
    Dict => |value| Self::Dict(value);
    Exception => |value| Self::Exception(Box::new(value));
    UriState => |value| Self::Uri(Box::new(value));
    ProxyState => |value| Self::Proxy(Box::new(value));
}

impl From<BigInt> for Value {
    fn from(value: BigInt) -> Self {
        match i64::try_from(&value.0) {
            Ok(small) => Self::Int(small),
            Err(_) => Self::BigInt(value),
        }
    }
}

impl From<num_bigint::BigInt> for Value {
    fn from(value: num_bigint::BigInt) -> Self {
        BigInt(value).into()
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl TryFrom<Value> for Exception {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self, Error> {
        match value {
            Value::Exception(exception) | Value::WrappedException(exception) => Ok(*exception),
            other => Err(Error::new(
                ErrorKind::Type,
                ["expected an exception, got ", other.kind()].concat(),
            )),
        }
    }
}
