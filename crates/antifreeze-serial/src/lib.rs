//! Values as Pyro5 puts them on the wire.
//!
//! This crate turns Rust values into the bytes of Pyro's serializers and back: `serpent`, `marshal`,
//! `json` and `msgpack`. Rust types go through serde and never pass through an intermediate tree;
//! what has no type yet is a [`Value`].
//!
//! It knows the layout of a call ([`encode_call`], [`scan_call`]) and of the class dicts that stand
//! for exceptions, URIs and proxies, but no objects, no connections and no framing.
#![forbid(unsafe_code)]

mod base64;
mod call;
mod class;
mod decode;
mod encode;
mod error;
mod json;
mod list;
mod marshal;
pub mod memory;
mod msgpack;
mod object;
mod registry;
mod scan;
mod serpent;
mod value;

use std::any::TypeId;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use bytes::Bytes;
pub use num_bigint;

pub use crate::call::{
    Blob, CallHead, Entries, Items, Part, Raw, encode_blob_call, encode_call, encode_fragment,
    scan, scan_call,
};
pub use crate::class::{
    Exception, ProxyState, UriObject, UriState, WrappedException, decode_exception,
};
pub use crate::error::{Error, ErrorKind};
pub use crate::list::EncodedList;
pub use crate::object::{Class, ClassDict};
pub use crate::registry::{register_dict_to_class, unregister_dict_to_class};
pub use crate::value::{
    BigInt, Complex, Date, Dict, FrozenSet, Set, Str, Timestamp, Value, from_value, to_value,
};

/// One of Pyro's serialization formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Serializer {
    /// Python literals as text, Pyro's default.
    Serpent,
    /// CPython's own format for constants.
    Marshal,
    /// JSON with Python's extensions.
    Json,
    /// MessagePack with Pyro's extension types.
    Msgpack,
}

impl Serializer {
    /// All serializers, in the order of their wire ids.
    pub const ALL: [Self; 4] = [Self::Serpent, Self::Marshal, Self::Json, Self::Msgpack];

    /// Returns the number that stands for this serializer in a message header.
    pub const fn id(self) -> u8 {
        match self {
            Self::Serpent => 1,
            Self::Marshal => 2,
            Self::Json => 3,
            Self::Msgpack => 4,
        }
    }

    /// Returns the serializer of a wire id.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Serpent),
            2 => Some(Self::Marshal),
            3 => Some(Self::Json),
            4 => Some(Self::Msgpack),
            _ => None,
        }
    }

    /// Returns Pyro's name for it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serpent => "serpent",
            Self::Marshal => "marshal",
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

impl fmt::Display for Serializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Serializer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|serializer| serializer.name() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    "unknown serializer, expected serpent, marshal, json or msgpack",
                )
            })
    }
}

/// What a document may ask of its decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Containers open at the same time.
    pub depth: u32,
    /// Values in one document, containers and keys included.
    pub nodes: u32,
    /// Decimal digits of one integer; CPython has the same limit. Marshal has no decimals.
    pub digits: u32,
    /// Bytes of memory for values that references repeat, which only marshal has. Besides, they may
    /// take sixteen times as much as the document, but no more than sixteen times this.
    pub repeated: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 200,
            nodes: 16_000_000,
            digits: 4300,
            repeated: 64 << 20,
        }
    }
}

/// Encodes a whole document.
///
/// ```
/// use antifreeze_serial::{Serializer, encode};
///
/// let bytes = encode(Serializer::Serpent, &(1, "two", [3.0]))?;
/// assert_eq!(bytes, b"# serpent utf-8 python3.2\n(1,'two',(3.0,))");
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
///
/// # Errors
///
/// When the format cannot carry the value, or the value's own `Serialize` fails.
pub fn encode<T: Serialize + ?Sized>(serializer: Serializer, value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(128);
    encode_into(serializer, value, &mut out)?;
    Ok(out)
}

/// Encodes a whole document behind what is already in `out`.
///
/// # Errors
///
/// As [`encode`](encode()); `out` is then as long as before.
pub fn encode_into<T: Serialize + ?Sized>(
    serializer: Serializer,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    encode::header(serializer, out);
    match encode::fragment(serializer, value, out) {
        Ok(_) => Ok(()),
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Decodes a whole document straight into a Rust type.
///
/// ```
/// use antifreeze_serial::{Limits, Serializer, Value, decode};
///
/// let document = br#"{"name": "printer", "port": 9090}"#;
/// let value: Value = decode(Serializer::Json, document, &Limits::default())?;
/// assert_eq!(value.get("port").and_then(Value::as_i64), Some(9090));
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
///
/// # Errors
///
/// When the bytes are malformed or go on after the value, exceed `limits`, or hold something else
/// than `T`.
pub fn decode<'de, T: Deserialize<'de>>(
    serializer: Serializer,
    document: &'de [u8],
    limits: &Limits,
) -> Result<T, Error> {
    match serializer {
        Serializer::Serpent => serpent::decode(document, limits),
        Serializer::Marshal => {
            let mut reader = marshal::Reader::new(document, *limits);
            let value = T::deserialize(decode::Decoder::new(&mut reader))?;
            reader.finish()?;
            Ok(value)
        }
        Serializer::Json => {
            let mut reader = json::Reader::new(scan::utf8(document)?, 0, *limits);
            let value = T::deserialize(decode::Decoder::new(&mut reader))?;
            reader.finish()?;
            Ok(value)
        }
        Serializer::Msgpack => {
            let mut reader = msgpack::Reader::new(document, 0, *limits);
            let value = T::deserialize(decode::Decoder::new(&mut reader))?;
            reader.finish()?;
            Ok(value)
        }
    }
}

/// Decodes a whole marshal document as Python itself does: what stands for an object of a class stays a
/// dict.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_plain_marshal(document: &[u8], limits: &Limits) -> Result<Value, Error> {
    let mut reader = marshal::Reader::new(document, *limits);
    let value = value::read_plain(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Decodes a document: if that is one value of the type [`Bytes`], large and as it stands, it is not
/// copied, but shares its memory.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_shared<T: DeserializeOwned + 'static>(
    serializer: Serializer,
    document: &Bytes,
    limits: &Limits,
) -> Result<T, Error> {
    if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        return scan(serializer, document, limits)?.decode_shared(document);
    }
    decode(serializer, document, limits)
}
