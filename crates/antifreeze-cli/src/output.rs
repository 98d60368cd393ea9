//! What goes to standard output and standard error.

use std::io::{self, Write};

use antifreeze::{Error, Serializer, Value};

use crate::failure::Failure;

/// Prints a line, and sees to it that whoever reads us has it at once.
pub(crate) fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Text of a peer for a terminal: control characters, which could steer it, are escaped.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// The value as Pyro's own JSON serializer would write it.
pub(crate) fn json(value: &Value) -> Result<String, Failure> {
    let json = antifreeze_serial::encode(Serializer::Json, value).map_err(Error::from)?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}
