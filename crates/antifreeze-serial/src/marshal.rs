//! CPython's marshal format, as far as the text of a refused connection needs it.
//!
//! A Pyro daemon that could not read a client's first message answers with a marshalled string,
//! whatever the client asked for. Everything else in this format is refused for now.

use crate::decode::{Open, Source, Text, Token};
use crate::encode::{self, Kind, Sink};
use crate::scan::Budget;
use crate::value::{Complex, Str};
use crate::{Error, ErrorKind, Limits};

#[cold]
fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "marshal is supported for strings only",
    )
}

/// Reads one string.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'de> {
    bytes: &'de [u8],
    pos: usize,
    budget: Budget,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8], limits: Limits) -> Self {
        Self {
            bytes,
            pos: 0,
            budget: Budget::new(limits),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.pos == self.bytes.len() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Syntax, "data behind the end of the value").at(self.pos))
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let rest = &self.bytes[self.pos..];
        if rest.len() < len {
            return Err(Error::new(ErrorKind::Syntax, "the value ends too early").at(self.pos));
        }
        self.pos += len;
        Ok(&rest[..len])
    }
}

impl<'de> Source<'de> for Reader<'de> {
    fn token(&mut self) -> Result<Token<'de>, Error> {
        self.budget.node()?;
        // The high bit asks to remember the value for references, of which there are none.
        let len = match self.take(1)?[0] & 0x7f {
            b'z' | b'Z' => usize::from(self.take(1)?[0]),
            b'a' | b'A' | b'u' | b't' => {
                let mut len = [0; 4];
                len.copy_from_slice(self.take(4)?);
                u32::from_le_bytes(len) as usize
            }
            _ => return Err(unsupported()),
        };
        let bytes = self.take(len)?;
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Token::Str(Text::Borrowed(text)));
        }
        match Str::from_bytes(bytes.to_vec()) {
            Some(text) => Ok(Token::Str(Text::Surrogates(text.as_bytes().to_vec()))),
            None => Err(Error::new(ErrorKind::Syntax, "text that is not UTF-8").at(self.pos)),
        }
    }

    fn take_none(&mut self) -> bool {
        false
    }

    fn next_element(&mut self, _open: &mut Open) -> Result<bool, Error> {
        Err(unsupported())
    }

    fn next_key(&mut self, _open: &mut Open) -> Result<bool, Error> {
        Err(unsupported())
    }

    fn before_value(&mut self) -> Result<(), Error> {
        Err(unsupported())
    }

    fn skip(&mut self) -> Result<(), Error> {
        self.token().map(drop)
    }

    fn offset(&self) -> usize {
        self.pos
    }
}

/// Writes one string.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    fn long(&mut self, code: u8, text: &[u8]) -> Result<(), Error> {
        let len = u32::try_from(text.len()).map_err(|_| unsupported())?;
        self.out.push(code);
        self.out.extend_from_slice(&len.to_le_bytes());
        self.out.extend_from_slice(text);
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn none(&mut self) -> Result<(), Error> {
        Err(unsupported())
    }

    fn bool(&mut self, _value: bool) -> Result<(), Error> {
        Err(unsupported())
    }

    fn int(&mut self, _value: i64) -> Result<(), Error> {
        Err(unsupported())
    }

    fn uint(&mut self, _value: u64) -> Result<(), Error> {
        Err(unsupported())
    }

    fn digits(&mut self, _decimal: &str) -> Result<(), Error> {
        Err(unsupported())
    }

    fn float(&mut self, _value: f64) -> Result<(), Error> {
        Err(unsupported())
    }

    fn complex(&mut self, _value: Complex) -> Result<(), Error> {
        Err(unsupported())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        if !text.is_ascii() {
            return self.long(b'u', text.as_bytes());
        }
        match u8::try_from(text.len()) {
            Ok(len) => {
                self.out.extend_from_slice(&[b'z', len]);
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Err(_) => self.long(b'a', text.as_bytes()),
        }
    }

    fn surrogates(&mut self, text: &[u8]) -> Result<(), Error> {
        self.long(b'u', text)
    }

    fn bytes(&mut self, _bytes: &[u8]) -> Result<(), Error> {
        Err(unsupported())
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        Err(unsupported())
    }

    fn open(&mut self, _kind: Kind, _len: Option<usize>) -> Result<encode::Open, Error> {
        Err(unsupported())
    }

    fn before_element(&mut self, _open: &mut encode::Open) {}

    fn before_key(&mut self, _open: &mut encode::Open) {}

    fn before_value(&mut self) {}

    fn close(&mut self, _open: encode::Open) {}
}
