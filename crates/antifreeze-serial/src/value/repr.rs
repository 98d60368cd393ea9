//! How Python prints values.

use std::fmt;

use super::{Complex, Value};

/// Appends a complex number as serpent writes it, which `ast.literal_eval` reads.
pub(crate) fn push_complex(_out: &mut Vec<u8>, _value: Complex) {}

impl fmt::Display for Value {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
