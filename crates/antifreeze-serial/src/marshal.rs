//! Marshal: CPython's own format for constants, which Pyro calls "marshal", too.
//!
//! Read is what any CPython 3 writes of data, in versions 0 to 5 of the format, with references to
//! earlier values; written is version 4 without references, which CPython has read since 3.4. Code
//! and other objects of the interpreter are refused.

mod read;
mod write;

pub(crate) use self::read::{Places, Reader};
pub(crate) use self::write::{Writer, push_list_header};

/// The bit of a type code that asks the reader to remember the value.
const REMEMBER: u8 = 0x80;
