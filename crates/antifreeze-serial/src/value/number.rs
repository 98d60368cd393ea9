//! Numbers that Rust has no type of its own for.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{Str, token};
use crate::decode::Tagged;
use crate::{Error, ErrorKind};

/// An int of any size.
///
/// It wraps [`num_bigint::BigInt`], whose own serde form (a sign and a list of numbers) no Python
/// program would understand.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BigInt(pub num_bigint::BigInt);

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

impl Complex {
    /// Makes a complex number of its parts.
    pub const fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }
}

/// Writes an int in decimal, refusing what CPython would refuse to read.
pub(crate) fn decimal(value: &num_bigint::BigInt) -> Result<String, Error> {
    // The conversion is quadratic, so the check comes first: 10^4300 has 14,285 bits.
    if value.bits() <= 14_285 {
        let text = value.to_string();
        if text.trim_start_matches('-').len() <= 4300 {
            return Ok(text);
        }
    }
    Err(Error::new(ErrorKind::Limit, "int of more than 4300 digits"))
}

macro_rules! from {
    ($($source:ty)*) => {
        $(impl From<$source> for BigInt {
            fn from(value: $source) -> Self {
                Self(value.into())
            }
        })*
    };
}

from!(i32 i64 u64 i128 u128 num_bigint::BigInt);

impl From<BigInt> for num_bigint::BigInt {
    fn from(value: BigInt) -> Self {
        value.0
    }
}

impl FromStr for BigInt {
    type Err = Error;

    fn from_str(digits: &str) -> Result<Self, Error> {
        digits
            .parse()
            .map(Self)
            .map_err(|_| Error::new(ErrorKind::Syntax, "expected the digits of an int"))
    }
}

impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Complex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        super::repr::push_complex(&mut text, *self);
        f.pad(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(token::BIG_INT, &Digits(&self.0))
    }
}

/// Decimal digits for people, and the bytes of a two's complement for others.
struct Digits<'a>(&'a num_bigint::BigInt);

impl Serialize for Digits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0.to_signed_bytes_le());
        }
        let digits = decimal(self.0).map_err(|error| serde::ser::Error::custom(Tagged(error)))?;
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(token::BIG_INT, BigIntVisitor)
    }
}

/// Takes an int as such, as the bytes of a two's complement, or as decimal text.
pub(super) struct BigIntVisitor;

impl<'de> Visitor<'de> for BigIntVisitor {
    type Value = BigInt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("int")
    }

    fn visit_i64<E>(self, value: i64) -> Result<BigInt, E> {
        Ok(BigInt::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<BigInt, E> {
        Ok(BigInt::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<BigInt, E> {
        Ok(BigInt::from(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<BigInt, E> {
        Ok(BigInt::from(value))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<BigInt, E> {
        digits.parse().map_err(E::custom)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<BigInt, E> {
        Ok(BigInt(num_bigint::BigInt::from_signed_bytes_le(bytes)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<BigInt, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Serialize for Complex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(token::COMPLEX, &(self.re, self.im))
    }
}

impl<'de> Deserialize<'de> for Complex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(token::COMPLEX, ComplexVisitor)
    }
}

/// Takes a pair of floats, or a real number.
pub(super) struct ComplexVisitor;

impl<'de> Visitor<'de> for ComplexVisitor {
    type Value = Complex;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("complex")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Complex, E> {
        Ok(Complex::new(value as f64, 0.0))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Complex, E> {
        Ok(Complex::new(value as f64, 0.0))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Complex, E> {
        Ok(Complex::new(value, 0.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Complex, A::Error> {
        match (parts.next_element()?, parts.next_element()?) {
            (Some(re), Some(im)) => Ok(Complex { re, im }),
            _ => Err(de::Error::invalid_length(1, &"a pair of floats")),
        }
    }

    /// `{'__class__':'complex','real':...,'imag':...}`, for what no literal can say.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Complex, A::Error> {
        let (mut re, mut im) = (None, None);
        while let Some(key) = map.next_key::<Str>()? {
            match key.as_str() {
                Some("real") => re = Some(map.next_value()?),
                Some("imag") => im = Some(map.next_value()?),
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        match (re, im) {
            (Some(re), Some(im)) => Ok(Complex { re, im }),
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Complex, D::Error> {
        deserializer.deserialize_any(self)
    }
}
