//! Between Rust types and values, without bytes: the tree of values is one more format.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Complex, Date, Dict, Str, Timestamp, Value};
use crate::class::{ExceptionDict, WrapperDict};
use crate::decode::{Decoder, Open, Source, Text, Token, mismatch};
use crate::encode::{self, Kind, Sink};
use crate::{BigInt, Bytes, Error, class};

/// Turns anything that can be encoded into a value.
///
/// # Errors
///
/// When it is nested too deeply, or its own `Serialize` fails.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    Ok(class::revive_known(build(value)?))
}

/// Builds the tree, with classes as the dicts that stand for them.
fn build<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    let mut builder = Builder {
        open: Vec::new(),
        done: None,
    };
    encode::run(&mut builder, value)?;
    Ok(builder.done.unwrap_or_default())
}

/// Turns a value into a Rust type, by the same rules as decoding it.
///
/// # Errors
///
/// When the value is no `T`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    let mut walker = Walker {
        next: Some(value),
        frames: Vec::new(),
    };
    T::deserialize(Decoder::new(&mut walker)).map_err(Error::nowhere)
}

/// Puts values together.
struct Builder {
    /// The elements so far of each open container; of a dict, keys and values in turn.
    open: Vec<Vec<Value>>,
    done: Option<Value>,
}

impl Builder {
    fn put(&mut self, value: impl Into<Value>) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(items) => items.push(value.into()),
            None => self.done = Some(value.into()),
        }
        Ok(())
    }
}

impl Sink for &mut Builder {
    #[inline]
    fn none(&mut self) -> Result<(), Error> {
        self.put(())
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.put(value)
    }

    #[inline]
    fn int(&mut self, value: i64) -> Result<(), Error> {
        self.put(value)
    }

    #[inline]
    fn uint(&mut self, value: u64) -> Result<(), Error> {
        self.put(value)
    }

    fn digits(&mut self, decimal: &str) -> Result<(), Error> {
        self.put(decimal.parse::<BigInt>()?)
    }

    fn big(&mut self, value: &num_bigint::BigInt) -> Result<(), Error> {
        self.put(value.clone())
    }

    #[inline]
    fn float(&mut self, value: f64) -> Result<(), Error> {
        self.put(value)
    }

    fn complex(&mut self, value: Complex) -> Result<(), Error> {
        self.put(value)
    }

    fn timestamp(&mut self, value: Timestamp) -> Result<(), Error> {
        self.put(value)
    }

    fn date(&mut self, value: Date) -> Result<(), Error> {
        self.put(value)
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.put(text)
    }

    fn surrogates(&mut self, text: &[u8]) -> Result<(), Error> {
        match Str::from_bytes(text.to_vec()) {
            Some(text) => self.put(text),
            None => Err(mismatch("text", "bytes that are not UTF-8")),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.put(Bytes::copy_from_slice(bytes))
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        self.put(Value::Ellipsis)
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<encode::Open, Error> {
        self.open
            .push(Vec::with_capacity(len.unwrap_or(0).min(1024)));
        Ok(encode::Open {
            kind,
            count: 0,
            announced: 0,
            start: 0,
        })
    }

    #[inline]
    fn before_element(&mut self, _open: &mut encode::Open) {}

    #[inline]
    fn before_key(&mut self, _open: &mut encode::Open) {}

    #[inline]
    fn before_value(&mut self) {}

    #[inline]
    fn close(&mut self, open: encode::Open) {
        let items = self.open.pop().unwrap_or_default();
        let value = match open.kind {
            Kind::List => Value::List(items),
            Kind::Tuple => Value::Tuple(items),
            Kind::Set => Value::Set(items),
            Kind::FrozenSet => Value::FrozenSet(items),
            Kind::Dict => {
                let mut entries = Vec::with_capacity(items.len() / 2);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    entries.push((key, value));
                }
                Value::Dict(entries.into())
            }
        };
        match self.open.last_mut() {
            Some(items) => items.push(value),
            None => self.done = Some(value),
        }
    }
}

/// Takes values apart.
struct Walker {
    next: Option<Value>,
    frames: Vec<Frame>,
}

enum Frame {
    Items(std::vec::IntoIter<Value>),
    /// The entries, and the value whose key was given last.
    Entries(std::vec::IntoIter<(Value, Value)>, Option<Value>),
}

impl Walker {
    fn seq<'de>(&mut self, kind: Kind, items: Vec<Value>) -> Token<'de> {
        self.frames.push(Frame::Items(items.into_iter()));
        Token::Seq(Open::new(kind, 0, 0))
    }

    fn dict<'de>(&mut self, dict: Dict) -> Token<'de> {
        self.frames.push(Frame::Entries(dict.into_iter(), None));
        Token::Map(Open::new(Kind::Dict, 0, 0))
    }

    /// Takes apart the dict that stands for a class.
    fn class<'de>(&mut self, class: &impl Serialize) -> Result<Token<'de>, Error> {
        match build(class)? {
            Value::Dict(dict) => Ok(self.dict(dict)),
            other => Err(mismatch("class dict", other.kind())),
        }
    }
}

impl<'de> Source<'de> for Walker {
    fn token(&mut self) -> Result<Token<'de>, Error> {
        Ok(match self.next.take().unwrap_or_default() {
            Value::None => Token::None,
            Value::Ellipsis => Token::Ellipsis,
            Value::Bool(value) => Token::Bool(value),
            Value::Int(value) => Token::Int(value),
            Value::BigInt(value) => match u64::try_from(&value.0) {
                Ok(value) => crate::scan::small_int(value, false),
                Err(_) => Token::Big(value.0),
            },
            Value::Float(value) => Token::Float(value),
            Value::Complex(value) => Token::Complex(value),
            Value::Timestamp(value) => Token::Timestamp(value),
            Value::Date(value) => Token::Date(value),
            Value::Str(text) => Token::Str(match text.into_string() {
                Ok(text) => Text::Owned(text),
                Err(text) => Text::Surrogates(text.as_bytes().to_vec()),
            }),
            Value::Bytes(bytes) => Token::Bytes(Cow::Owned(bytes.into())),
            Value::List(items) => self.seq(Kind::List, items),
            Value::Tuple(items) => self.seq(Kind::Tuple, items),
            Value::Set(items) => self.seq(Kind::Set, items),
            Value::FrozenSet(items) => self.seq(Kind::FrozenSet, items),
            Value::Dict(dict) => self.dict(dict),
            Value::Exception(exception) => self.class(&ExceptionDict(&exception))?,
            Value::WrappedException(exception) => self.class(&WrapperDict(&exception))?,
            Value::Uri(uri) => self.class(&*uri)?,
            Value::Proxy(proxy) => self.class(&*proxy)?,
            Value::Daemon => self.class(&Value::Daemon)?,
        })
    }

    fn take_none(&mut self) -> bool {
        let none = matches!(self.next, Some(Value::None));
        if none {
            self.next = None;
        }
        none
    }

    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        self.next = match self.frames.last_mut() {
            Some(Frame::Items(items)) => items.next(),
            _ => None,
        };
        if self.next.is_none() {
            self.frames.pop();
            open.closed = true;
        }
        Ok(self.next.is_some())
    }

    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        self.next = match self.frames.last_mut() {
            Some(Frame::Entries(entries, held)) => entries.next().map(|(key, value)| {
                *held = Some(value);
                key
            }),
            _ => None,
        };
        if self.next.is_none() {
            self.frames.pop();
            open.closed = true;
        }
        Ok(self.next.is_some())
    }

    fn before_value(&mut self) -> Result<(), Error> {
        if let Some(Frame::Entries(_, held)) = self.frames.last_mut() {
            self.next = held.take();
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Error> {
        self.next = None;
        Ok(())
    }

    fn offset(&self) -> usize {
        0
    }
}
