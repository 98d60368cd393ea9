//! Between Rust types and values, without bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Value;
use crate::Error;

/// Turns anything that can be encoded into a value.
pub fn to_value<T: Serialize + ?Sized>(_value: &T) -> Result<Value, Error> {
    unimplemented!()
}

/// Turns a value into a Rust type, by the same rules as decoding it.
pub fn from_value<T: DeserializeOwned>(_value: Value) -> Result<T, Error> {
    unimplemented!()
}
