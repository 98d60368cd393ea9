//! From the tokens of a format to a value, without serde in between.

use std::cell::Cell;

use serde::de::{IntoDeserializer, Visitor, value::U32Deserializer};

use super::{Dict, Str, Timestamp, Value};
use crate::class;
use crate::decode::{Open, Source, Text, Token};
use crate::encode::Kind;
use crate::{Bytes, Error, ErrorKind};

thread_local! {
    /// A value on its way to [`Value::deserialize`](serde::Deserialize): serde has no word for one
    /// that is finished, and nothing else gets through its traits.
    static FINISHED: Cell<Option<Value>> = const { Cell::new(None) };
}

/// Gives the visitor of [`Value`] a value; it calls [`take_over`].
pub(crate) fn hand_over<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, Error> {
    FINISHED.set(Some(value));
    let nothing: U32Deserializer<Error> = 0u32.into_deserializer();
    let result = visitor.visit_enum(nothing);
    FINISHED.take();
    result
}

/// Takes what [`hand_over`] gives.
pub(super) fn take_over() -> Option<Value> {
    FINISHED.take()
}

/// Reads one value.
pub(crate) fn read<'de, S: Source<'de>>(source: &mut S) -> Result<Value, Error> {
    let (value, classes) = read_tree(source)?;
    if classes {
        return class::revive(value);
    }
    Ok(value)
}

/// Reads one value, in which class dicts stay dicts.
pub(crate) fn read_plain<'de, S: Source<'de>>(source: &mut S) -> Result<Value, Error> {
    const { assert!(!S::BOTTOM_UP, "it makes objects of them as it reads") };
    Ok(read_tree(source)?.0)
}

/// Reads one value, and says whether there are class dicts in it.
fn read_tree<'de, S: Source<'de>>(source: &mut S) -> Result<(Value, bool), Error> {
    let mut tree = Tree {
        source,
        items: Vec::new(),
        entries: Vec::new(),
        classes: false,
    };
    let value = tree.value()?;
    Ok((value, tree.classes))
}

/// So many elements are collected before they get memory of their own.
const COLLECTED: usize = 64;

struct Tree<'s, S> {
    source: &'s mut S,
    /// What was read of open containers whose lengths were not announced. They get memory when they
    /// end, of the right size.
    items: Vec<Value>,
    entries: Vec<(Value, Value)>,
    /// There is a class dict somewhere, which is still to become what it stands for.
    classes: bool,
}

impl<'de, S: Source<'de>> Tree<'_, S> {
    #[inline]
    fn value(&mut self) -> Result<Value, Error> {
        if let Some(text) = self.source.quick_text() {
            return Ok(Value::Str(text.into()));
        }
        if let Some(int) = self.source.quick_int() {
            return Ok(Value::Int(int));
        }
        if let Some(float) = self.source.quick_float() {
            return Ok(Value::Float(float));
        }
        self.other()
    }

    #[inline(never)]
    fn other(&mut self) -> Result<Value, Error> {
        let at = self.source.offset();
        Ok(match self.source.token()? {
            Token::None => Value::None,
            Token::Ellipsis => Value::Ellipsis,
            Token::Bool(value) => Value::Bool(value),
            Token::Int(value) => Value::Int(value),
            Token::Uint(value) => value.into(),
            Token::Big(value) => value.into(),
            Token::Float(value) => Value::Float(value),
            Token::Complex(value) => Value::Complex(value),
            Token::Timestamp(Timestamp(seconds)) => Value::Timestamp(Timestamp(seconds)),
            Token::Date(date) => Value::Date(date),
            Token::Str(Text::Borrowed(text)) => Value::Str(text.into()),
            Token::Str(Text::Owned(text)) => Value::Str(text.into()),
            Token::Str(Text::Surrogates(bytes)) => match Str::from_bytes(bytes) {
                Some(text) => Value::Str(text),
                None => {
                    let message = "text that is not UTF-8";
                    return Err(Error::new(ErrorKind::Syntax, message).at(at));
                }
            },
            Token::Bytes(bytes) => Value::Bytes(Bytes::from(bytes.into_owned())),
            Token::Seq(open) => {
                let kind = open.kind;
                let items = self.items(open)?;
                match kind {
                    Kind::Tuple => Value::Tuple(items),
                    Kind::Set => Value::Set(items),
                    Kind::FrozenSet => Value::FrozenSet(items),
                    Kind::List | Kind::Dict => Value::List(items),
                }
            }
            Token::Map(open) => return self.dict(open, at),
        })
    }

    fn items(&mut self, mut open: Open) -> Result<Vec<Value>, Error> {
        let (start, announced) = (self.items.len(), open.left);
        let mut items = room(announced);
        while self.source.next_element(&mut open)? {
            let item = self.value()?;
            if announced > 0 {
                items.push(item);
                continue;
            }
            if self.items.len() - start == COLLECTED {
                items.extend(self.items.drain(start..));
            }
            self.items.push(item);
        }
        items.extend(self.items.drain(start..));
        Ok(items)
    }

    fn dict(&mut self, mut open: Open, at: usize) -> Result<Value, Error> {
        let (start, announced) = (self.entries.len(), open.left);
        let mut entries = room(announced);
        let mut class = false;
        while self.source.next_key(&mut open)? {
            let key = self.value()?;
            class |= matches!(&key, Value::Str(text) if text == "__class__");
            self.source.before_value()?;
            let entry = (key, self.value()?);
            if announced > 0 {
                entries.push(entry);
                continue;
            }
            if self.entries.len() - start == COLLECTED {
                entries.extend(self.entries.drain(start..));
            }
            self.entries.push(entry);
        }
        entries.extend(self.entries.drain(start..));
        let dict = Dict::from(entries);
        if class && S::BOTTOM_UP {
            // What is inside has become objects already.
            return class::revive_dict(dict).map_err(|error| error.at(at));
        }
        self.classes |= class;
        Ok(Value::Dict(dict))
    }
}

/// Memory for what was announced, which may never come.
fn room<T>(announced: usize) -> Vec<T> {
    Vec::with_capacity(announced.min(1024))
}
