//! Serpent: Python literals, which the receiver gives to `ast.literal_eval`.
//!
//! Written is what Pyro's own serpent writes, except where that could not be read again; read is
//! everything that `ast.literal_eval` takes.

mod name;
mod read;
mod write;

use serde::Deserialize;

use crate::decode::Decoder;
use crate::{Error, ErrorKind, Limits, Value, scan};

pub(crate) use self::read::Reader;
pub(crate) use self::write::Writer;

/// What Pyro's serpent writes first; any comment or nothing is read as well.
pub(crate) const HEADER: &[u8] = b"# serpent utf-8 python3.2\n";

/// Decodes a document, or a literal without a header.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    document: &'de [u8],
    limits: &Limits,
) -> Result<T, Error> {
    decode_text(scan::utf8(document)?, limits)
}

fn decode_text<'de, T: Deserialize<'de>>(text: &'de str, limits: &Limits) -> Result<T, Error> {
    with_document(text, limits, |reader| {
        let value = T::deserialize(Decoder::new(reader))?;
        reader.finish()?;
        Ok(value)
    })
}

/// Reads a document, and once more with care if it has parentheses that mean nothing.
///
/// Whether a parenthesis opens a tuple shows only behind its first element. Since nobody writes
/// any other kind, the first attempt takes it for granted.
pub(crate) fn with_document<'de, R>(
    text: &'de str,
    limits: &Limits,
    mut read: impl FnMut(&mut Reader<'de>) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut reader = Reader::document(text, *limits)?;
    let result = read(&mut reader);
    let doubtful = result.as_ref().is_err_and(|error| {
        // A str in parentheses, say, may have been taken for a tuple and refused as one.
        let refused = matches!(error.kind(), ErrorKind::Type | ErrorKind::Custom);
        reader.saw_group() || (refused && memchr::memchr(b'(', text.as_bytes()).is_some())
    });
    if doubtful {
        let mut reader = Reader::document(text, *limits)?;
        reader.be_careful();
        return read(&mut reader);
    }
    result
}

pub(crate) fn parse_literal(text: &str) -> Result<Value, Error> {
    decode_text(text, &Limits::default())
}
