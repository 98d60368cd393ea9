//! Serialize for values.

use serde::ser::{Serialize, Serializer};

use super::Value;

/// Elements that are a Python set on the wire, whatever collection holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<T>(pub Vec<T>);

/// Elements that are a Python frozenset on the wire, where the format has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrozenSet<T>(pub Vec<T>);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        unimplemented!()
    }
}
