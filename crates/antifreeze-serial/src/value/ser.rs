//! Serialize for values, and for the containers that serde has no word for.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeTuple, Serializer};

use super::{Dict, Str, Value, token};
use crate::class::{ExceptionDict, WrapperDict};

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident $token:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name<T>(pub Vec<T>);

        impl<T: Serialize> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct(token::$token, &self.0)
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Vec::deserialize(deserializer).map(Self)
            }
        }

        impl<T> FromIterator<T> for $name<T> {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                Self(items.into_iter().collect())
            }
        }

        impl<T> IntoIterator for $name<T> {
            type Item = T;
            type IntoIter = std::vec::IntoIter<T>;

            fn into_iter(self) -> Self::IntoIter {
                self.0.into_iter()
            }
        }

        impl<T> From<Vec<T>> for $name<T> {
            fn from(items: Vec<T>) -> Self {
                Self(items)
            }
        }

        impl<T, S: BuildHasher> From<HashSet<T, S>> for $name<T> {
            fn from(items: HashSet<T, S>) -> Self {
                items.into_iter().collect()
            }
        }

        impl<T> From<BTreeSet<T>> for $name<T> {
            fn from(items: BTreeSet<T>) -> Self {
                items.into_iter().collect()
            }
        }

        impl<T: Eq + Hash, S: BuildHasher + Default> From<$name<T>> for HashSet<T, S> {
            fn from(items: $name<T>) -> Self {
                items.into_iter().collect()
            }
        })*
    };
}

sets! {
    /// Elements that are a Python set on the wire, whatever collection holds them.
    Set SET;
    /// Elements that are a Python frozenset on the wire, where the format has one.
    FrozenSet FROZEN_SET;
}

/// Elements that are a list on the wire.
pub(crate) struct AsList<'a, T>(pub(crate) &'a [T]);

impl<T: Serialize> Serialize for AsList<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            seq.serialize_element(item)?;
        }
        seq.end()
    }
}

/// Elements that are a tuple on the wire.
pub(crate) struct AsTuple<'a, T>(pub(crate) &'a [T]);

impl<T: Serialize> Serialize for AsTuple<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for item in self.0 {
            tuple.serialize_element(item)?;
        }
        tuple.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Ellipsis => serializer.serialize_unit_struct(token::ELLIPSIS),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::BigInt(value) => value.serialize(serializer),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Complex(value) => value.serialize(serializer),
            Self::Timestamp(value) => value.serialize(serializer),
            Self::Date(value) => value.serialize(serializer),
            Self::Str(text) => text.serialize(serializer),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(items) => AsList(items).serialize(serializer),
            Self::Tuple(items) => AsTuple(items).serialize(serializer),
            Self::Set(items) => serializer.serialize_newtype_struct(token::SET, &AsList(items)),
            Self::FrozenSet(items) => {
                serializer.serialize_newtype_struct(token::FROZEN_SET, &AsList(items))
            }
            Self::Dict(dict) => dict.serialize(serializer),
            Self::Exception(exception) => ExceptionDict(exception).serialize(serializer),
            Self::WrappedException(exception) => WrapperDict(exception).serialize(serializer),
            Self::Uri(uri) => uri.serialize(serializer),
            Self::Proxy(proxy) => proxy.serialize(serializer),
            Self::Daemon => crate::class::serialize_daemon(serializer),
        }
    }
}

impl Serialize for Dict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

struct RawBytes<'a>(&'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Str {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_newtype_struct(token::STR, &RawBytes(self.as_bytes())),
        }
    }
}
