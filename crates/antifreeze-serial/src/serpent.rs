//! Serpent.
use crate::{Error, Value};
pub(crate) fn parse_literal(_text: &str) -> Result<Value, Error> {
    unimplemented!()
}
