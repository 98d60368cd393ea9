//! The arguments of a call, decoded one by one as the types of the method's parameters.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use antifreeze_serial::{Bytes, Entries, Exception, Items, Raw};
use serde::de::DeserializeOwned;

use super::exception::TYPE_ERROR;
use crate::blob::SerializedBlob;

/// What a peer passed, still encoded.
pub struct Arguments<'a> {
    /// The method, for error texts.
    method: &'a str,
    positional: Positional<'a>,
    taken: usize,
    keywords: Vec<(Cow<'a, str>, Raw<'a>)>,
    /// What a keyword is refused with when its parameter has a positional argument already.
    filled: Vec<&'static str>,
}

/// What was passed without a name.
enum Positional<'a> {
    /// The arguments that are left, and what they are part of.
    Items(Items<'a>, &'a Bytes),
    /// All of them as a serialized blob, until it is taken.
    Blob(Option<SerializedBlob>),
}

/// The arguments do not fit the method.
pub struct ArgumentError(Box<Exception>);

impl From<ArgumentError> for Exception {
    fn from(error: ArgumentError) -> Self {
        *error.0
    }
}

/// A map that takes all keyword arguments which no other parameter takes.
pub trait FromKeywords: Sized {
    /// What a value is decoded as.
    type Value: DeserializeOwned;
    /// Collects them.
    fn from_keywords(keywords: impl Iterator<Item = (String, Self::Value)>) -> Self;
}

impl<V: DeserializeOwned> FromKeywords for BTreeMap<String, V> {
    type Value = V;
    fn from_keywords(keywords: impl Iterator<Item = (String, V)>) -> Self {
        keywords.collect()
    }
}

impl<V: DeserializeOwned, S: std::hash::BuildHasher + Default> FromKeywords
    for HashMap<String, V, S>
where
    String: Hash,
{
    type Value = V;
    fn from_keywords(keywords: impl Iterator<Item = (String, V)>) -> Self {
        keywords.collect()
    }
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(
        method: &'a str,
        document: &'a Bytes,
        args: &Raw<'a>,
        kwargs: &Raw<'a>,
    ) -> Result<Self, ArgumentError> {
        let keywords = if kwargs.is_empty() {
            Vec::new()
        } else {
            let entries = kwargs.entries().map_err(|_| {
                // Python's text for the None that its clients send with attributes and batches.
                let came = if kwargs.is_none() {
                    "NoneType"
                } else {
                    "something else"
                };
                let text = format!("{method}() argument after ** must be a mapping, not {came}");
                type_error(text)
            })?;
            keywords(method, entries)?
        };
        let items = args
            .items()
            .map_err(|error| bad_argument(method, "args", &error))?;
        Ok(Self {
            method,
            positional: Positional::Items(items, document),
            taken: 0,
            keywords,
            filled: Vec::new(),
        })
    }

    /// A serialized blob, which is the only argument of its call.
    pub(crate) fn of_blob(method: &'a str, blob: SerializedBlob) -> Self {
        Self {
            method,
            positional: Positional::Blob(Some(blob)),
            taken: 0,
            keywords: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// The arguments from the second on, of a call that passed the name of an attribute first.
    pub(crate) fn of_attribute(name: &'a str, document: &'a Bytes, items: Items<'a>) -> Self {
        Self {
            method: name,
            positional: Positional::Items(items, document),
            taken: 0,
            keywords: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// An argument that must be there.
    ///
    /// # Errors
    ///
    /// It is missing, or has another type.
    pub fn required<T: DeserializeOwned + 'static>(
        &mut self,
        name: &'static str,
    ) -> Result<T, ArgumentError> {
        let missing = self.taken;
        self.optional(name)?.ok_or_else(|| {
            let place = missing + 1;
            let method = self.method;
            type_error(format!(
                "{method}() missing required argument {place}: '{name}'"
            ))
        })
    }

    /// An argument with a default.
    ///
    /// # Errors
    ///
    /// It has another type.
    pub fn or_else<T: DeserializeOwned + 'static>(
        &mut self,
        name: &'static str,
        default: impl FnOnce() -> T,
    ) -> Result<T, ArgumentError> {
        Ok(self.optional(name)?.unwrap_or_else(default))
    }

    /// All positional arguments that are left.
    ///
    /// # Errors
    ///
    /// One of them has another type.
    pub fn rest<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, ArgumentError> {
        let mut rest = Vec::new();
        let items = match &mut self.positional {
            Positional::Items(items, _) => items,
            Positional::Blob(None) => return Ok(rest),
            Positional::Blob(Some(_)) => return Err(no_blob(self.method, "*args")),
        };
        while let Some(value) = items
            .next()
            .map_err(|error| bad_argument(self.method, "*args", &error))?
        {
            self.taken += 1;
            rest.push(value);
        }
        Ok(rest)
    }

    /// All keyword arguments that are left.
    ///
    /// # Errors
    ///
    /// One of them has another type, or names a parameter that has its argument already.
    pub fn keywords<C: FromKeywords>(&mut self) -> Result<C, ArgumentError> {
        self.refuse_filled()?;
        let mut decoded = Vec::with_capacity(self.keywords.len());
        for (name, raw) in self.keywords.drain(..) {
            let value = raw
                .decode()
                .map_err(|error| bad_argument(self.method, &name, &error))?;
            decoded.push((name.into_owned(), value));
        }
        Ok(C::from_keywords(decoded.into_iter()))
    }

    /// Checks that nothing is left over.
    ///
    /// # Errors
    ///
    /// More arguments came than the method takes.
    pub fn finish(&mut self) -> Result<(), ArgumentError> {
        let takes = self.taken;
        let mut left = 0;
        match &mut self.positional {
            Positional::Items(items, _) => {
                while items
                    .next_raw()
                    .map_err(|error| bad_argument(self.method, "args", &error))?
                    .is_some()
                {
                    left += 1;
                }
            }
            Positional::Blob(blob) => left += usize::from(blob.is_some()),
        }
        if left > 0 {
            let given = takes + left;
            let method = self.method;
            return Err(type_error(format!(
                "{method}() takes {takes} positional argument{} but {given} were given",
                if takes == 1 { "" } else { "s" }
            )));
        }
        self.refuse_filled()?;
        match self.keywords.first() {
            None => Ok(()),
            Some((name, _)) => {
                let method = self.method;
                let text = format!("{method}() got an unexpected keyword argument '{name}'");
                Err(type_error(text))
            }
        }
    }

    fn optional<T: DeserializeOwned + 'static>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, ArgumentError> {
        let positional = match &mut self.positional {
            Positional::Items(items, document) => items
                .next_shared(document)
                .map_err(|error| bad_argument(self.method, name, &error))?,
            Positional::Blob(blob) => match blob.take() {
                Some(blob) => Some(as_argument(blob).ok_or_else(|| no_blob(self.method, name))?),
                None => None,
            },
        };
        if positional.is_some() {
            self.taken += 1;
            if !self.keywords.is_empty() {
                self.filled.push(name);
            }
            return Ok(positional);
        }
        let Some(position) = self.keywords.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, raw) = self.keywords.swap_remove(position);
        let decoded = match &self.positional {
            Positional::Items(_, document) => raw.decode_shared(document),
            Positional::Blob(_) => raw.decode(),
        };
        decoded
            .map(Some)
            .map_err(|error| bad_argument(self.method, name, &error))
    }

    fn refuse_filled(&self) -> Result<(), ArgumentError> {
        match self
            .keywords
            .iter()
            .find(|(key, _)| self.filled.iter().any(|name| key == name))
        {
            None => Ok(()),
            Some((name, _)) => {
                let method = self.method;
                Err(type_error(format!(
                    "{method}() got multiple values for argument '{name}'"
                )))
            }
        }
    }
}

fn keywords<'a>(
    method: &str,
    mut entries: Entries<'a>,
) -> Result<Vec<(Cow<'a, str>, Raw<'a>)>, ArgumentError> {
    let mut keywords = Vec::new();
    while let Some(entry) = entries
        .next()
        .map_err(|error| bad_argument(method, "kwargs", &error))?
    {
        keywords.push(entry);
    }
    Ok(keywords)
}

/// The blob, if the parameter takes one.
fn as_argument<T: 'static>(blob: SerializedBlob) -> Option<T> {
    let mut blob = Some(blob);
    let same: &mut dyn Any = &mut blob;
    same.downcast_mut::<Option<T>>()?.take()
}

fn no_blob(method: &str, name: &str) -> ArgumentError {
    type_error(format!(
        "{method}() argument '{name}' is no serialized blob, and nothing else can be made of one"
    ))
}

fn type_error(text: String) -> ArgumentError {
    ArgumentError(Box::new(Exception::new(TYPE_ERROR, text)))
}

fn bad_argument(method: &str, name: &str, error: &antifreeze_serial::Error) -> ArgumentError {
    let text = format!("{method}() argument '{name}': {error}");
    ArgumentError(Box::new(Exception::new(error.python_class(), text)))
}
