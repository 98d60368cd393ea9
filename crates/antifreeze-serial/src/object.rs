//! Rust types that travel as objects of Python classes.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use crate::decode::{Tagged, mismatch};

/// A type that travels as an object of a Python class.
///
/// `#[derive(Class)]` of the crate `antifreeze` implements it, together with serde's traits.
pub trait Class {
    /// The name of the class, with its module.
    const CLASS: &'static str;
}

/// Deserializes an object of a class: a dict that says so in `__class__`, or none.
#[doc(hidden)]
pub struct ClassDict<D> {
    inner: D,
    class: &'static str,
}

impl<D> ClassDict<D> {
    /// The dict of an object of this class.
    pub fn new<C: Class>(inner: D) -> Self {
        Self {
            inner,
            class: C::CLASS,
        }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ClassDict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let class = self.class;
        self.inner
            .deserialize_struct(name, fields, Checked { visitor, class })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let class = self.class;
        self.inner.deserialize_map(Checked { visitor, class })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

/// Looks at the name of the class, and passes on all else.
struct Checked<V> {
    visitor: V,
    class: &'static str,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Checked<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of the class {}", self.class)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let class = self.class;
        self.visitor.visit_map(Entries { map, class })
    }

    /// As other formats write structs, which know no classes.
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(seq)
    }
}

struct Entries<A> {
    map: A,
    class: &'static str,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key_seed(Text)? {
            if key != "__class__" {
                return match key {
                    Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
                    Cow::Owned(key) => {
                        let key: StringDeserializer<A::Error> = key.into_deserializer();
                        seed.deserialize(key)
                    }
                }
                .map(Some);
            }
            let class = self.map.next_value_seed(Text)?;
            if class != self.class {
                let error = mismatch(self.class, &class);
                return Err(A::Error::custom(Tagged(error)));
            }
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// Takes a key or the name of a class, which may also come as bytes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("str")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text))
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(text).into_owned()))
    }
}
