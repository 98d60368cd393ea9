//! Deserialize for values.
//!
//! Our own codecs hand over what serde has no word for as variants of an enum; any other format
//! goes through `deserialize_any`.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::number::{BigIntVisitor, ComplexVisitor};
use super::{BigInt, Date, Dict, Str, Timestamp, Value, token};
use crate::Bytes;
use crate::class;
use crate::decode::{Tagged, Variant};

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let classes = Cell::new(false);
        let value = Seed { classes: &classes }.deserialize(deserializer)?;
        if classes.get() {
            return class::revive(value).map_err(|error| D::Error::custom(Tagged(error)));
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Dict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Dict(dict) => Ok(dict),
            other => Err(wrong::<D::Error>("dict", &other)),
        }
    }
}

/// Says that a value of another kind came.
pub(crate) fn wrong<E: de::Error>(expected: &str, got: &Value) -> E {
    E::custom(Tagged(crate::decode::mismatch(expected, got.kind())))
}

/// Takes one value, and notes when there is a class dict in it.
#[derive(Clone, Copy)]
struct Seed<'c> {
    classes: &'c Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_newtype_struct(token::VALUE, self)
    }
}

impl Seed<'_> {
    fn items<'de, A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items)
    }
}

/// Takes the elements of a container.
struct ItemsVisitor<'c>(Seed<'c>);

impl<'de> Visitor<'de> for ItemsVisitor<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<Value>, A::Error> {
        self.0.items(seq)
    }
}

/// Takes raw bytes, of which some variants consist.
struct RawBytes;

impl<'de> DeserializeSeed<'de> for RawBytes {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for RawBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        self.items(seq).map(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0).min(1024));
        while let Some(key) = map.next_key_seed(self)? {
            if let Value::Str(text) = &key
                && text == "__class__"
            {
                self.classes.set(true);
            }
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Value::Dict(entries.into()))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let (variant, access) = access.variant()?;
        Ok(match variant {
            Variant::Ellipsis => {
                access.unit_variant()?;
                Value::Ellipsis
            }
            Variant::Tuple => Value::Tuple(access.tuple_variant(0, ItemsVisitor(self))?),
            Variant::Set => Value::Set(access.tuple_variant(0, ItemsVisitor(self))?),
            Variant::Frozen => Value::FrozenSet(access.tuple_variant(0, ItemsVisitor(self))?),
            Variant::Complex => Value::Complex(access.tuple_variant(2, ComplexVisitor)?),
            Variant::BigInt => {
                let bytes = access.newtype_variant_seed(RawBytes)?;
                let value: BigInt = BigIntVisitor.visit_bytes::<A::Error>(&bytes)?;
                value.into()
            }
            Variant::Timestamp => {
                let bytes = access.newtype_variant_seed(RawBytes)?.try_into();
                let bytes = bytes.map_err(|_| A::Error::custom("a datetime of a wrong length"))?;
                Value::Timestamp(Timestamp(f64::from_le_bytes(bytes)))
            }
            Variant::Date => {
                let bytes = access.newtype_variant_seed(RawBytes)?.try_into();
                let date = bytes
                    .ok()
                    .map(u32::from_le_bytes)
                    .and_then(Date::from_ordinal);
                Value::Date(date.ok_or_else(|| A::Error::custom("no such date"))?)
            }
            Variant::Surrogates => {
                let bytes = access.newtype_variant_seed(RawBytes)?;
                match Str::from_bytes(bytes) {
                    Some(text) => Value::Str(text),
                    None => return Err(A::Error::custom("text that is not UTF-8")),
                }
            }
            Variant::Dict => {
                let classes = Cell::new(false);
                // Not the outer one: what is inside has become objects already.
                let value = access.struct_variant(&[], EntriesVisitor(&classes))?;
                if classes.get() {
                    return class::revive_dict(value)
                        .map_err(|error| A::Error::custom(Tagged(error)));
                }
                Value::Dict(value)
            }
        })
    }
}

/// Takes the entries of a dict whose inner class dicts are objects already.
struct EntriesVisitor<'c>(&'c Cell<bool>);

impl<'de> Visitor<'de> for EntriesVisitor<'_> {
    type Value = Dict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dict")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dict, A::Error> {
        match (Seed { classes: self.0 }).visit_map(map)? {
            Value::Dict(dict) => Ok(dict),
            other => Err(wrong("dict", &other)),
        }
    }
}

impl<'de> Deserialize<'de> for Str {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(token::STR, StrVisitor)
    }
}

/// Takes text as such, or as bytes when it has surrogates.
struct StrVisitor;

impl<'de> Visitor<'de> for StrVisitor {
    type Value = Str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("str")
    }

    fn visit_str<E>(self, text: &str) -> Result<Str, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Str, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Str, E> {
        Str::from_bytes(bytes.to_vec()).ok_or_else(|| E::custom("text that is not UTF-8"))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Str, D::Error> {
        deserializer.deserialize_any(self)
    }
}
