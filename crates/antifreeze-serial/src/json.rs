//! JSON as Python speaks it: with `NaN` and `Infinity`, ints of any size and lone surrogates.

use crate::decode::{Open, Source, Text, Token};
use crate::encode::{self, Kind, Sink, cannot_carry};
use crate::scan::{Cursor, is_plain, plain_len, push_float};
use crate::value::{Complex, push_code_point};
use crate::{Error, Limits};

/// Reads one value.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'de> {
    cursor: Cursor<'de>,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(text: &'de str, base: usize, limits: Limits) -> Self {
        Self {
            cursor: Cursor::new(text, base, limits),
        }
    }

    pub(crate) fn cursor(&self) -> &Cursor<'de> {
        &self.cursor
    }

    /// Checks that nothing but blanks follows.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.blanks();
        if self.cursor.at_end() {
            return Ok(());
        }
        Err(self.cursor.syntax("data behind the end of the value"))
    }

    #[inline]
    fn blanks(&mut self) {
        // Python writes one blank behind each comma and colon.
        if self.cursor.peek() == b' ' {
            self.cursor.pos += 1;
        }
        while matches!(self.cursor.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.cursor.pos += 1;
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Token<'de>, Error> {
        if let Some(value) = self.cursor.short_int() {
            return Ok(Token::Int(value));
        }
        let start = self.cursor.pos;
        let negative = self.cursor.peek() == b'-';
        self.cursor.pos += usize::from(negative);
        if negative && self.cursor.take_word("Infinity") {
            return Ok(Token::Float(f64::NEG_INFINITY));
        }
        let digits = self.cursor.pos;
        self.digits()?;
        if self.cursor.pos - digits > 1 && self.cursor.text.as_bytes()[digits] == b'0' {
            return Err(self.cursor.syntax("int with leading zeros"));
        }
        let whole = self.cursor.pos;
        if self.cursor.peek() == b'.' {
            self.cursor.pos += 1;
            self.digits()?;
        }
        if matches!(self.cursor.peek(), b'e' | b'E') {
            self.cursor.pos += 1;
            if matches!(self.cursor.peek(), b'+' | b'-') {
                self.cursor.pos += 1;
            }
            self.digits()?;
        }
        if self.cursor.pos == whole {
            return self.cursor.int(&self.cursor.text[digits..whole], negative);
        }
        match self.cursor.text[start..self.cursor.pos].parse() {
            Ok(value) => Ok(Token::Float(value)),
            Err(_) => Err(self.cursor.syntax("invalid number")),
        }
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !self.cursor.peek().is_ascii_digit() {
            return Err(self.cursor.expected("a digit"));
        }
        while self.cursor.peek().is_ascii_digit() {
            self.cursor.pos += 1;
        }
        Ok(())
    }

    /// Reads a string, behind whose opening quote it is.
    #[inline]
    fn string(&mut self) -> Result<Text<'de>, Error> {
        let start = self.cursor.pos;
        let stop = self.pass_plain()?;
        if self.cursor.peek() == b'"' {
            self.cursor.pos += 1;
            return Ok(Text::Borrowed(&self.cursor.text[start..stop]));
        }
        let mut out = Vec::with_capacity(stop - start + 16);
        out.extend_from_slice(&self.cursor.text.as_bytes()[start..stop]);
        let mut surrogates = false;
        loop {
            self.cursor.pos += 1;
            surrogates |= self.escape(&mut out)?;
            let start = self.cursor.pos;
            let stop = self.pass_plain()?;
            out.extend_from_slice(&self.cursor.text.as_bytes()[start..stop]);
            if self.cursor.peek() == b'"' {
                self.cursor.pos += 1;
                break;
            }
        }
        if surrogates {
            return Ok(Text::Surrogates(out));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Text::Owned(text)),
            Err(_) => Err(self.cursor.syntax("text that is not UTF-8")),
        }
    }

    /// Goes to the next quote or backslash and returns where that is.
    fn pass_plain(&mut self) -> Result<usize, Error> {
        let rest = &self.cursor.text.as_bytes()[self.cursor.pos..];
        self.cursor.pos += plain_len(rest, b'"');
        match self.cursor.peek() {
            b'"' | b'\\' => Ok(self.cursor.pos),
            _ if self.cursor.at_end() => Err(self.cursor.expected("the end of a string")),
            _ => Err(self.cursor.syntax("control character in a string")),
        }
    }

    /// Reads what stands behind a backslash; returns true for a lone surrogate.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
        let letter = self.cursor.peek();
        self.cursor.pos += 1;
        out.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = self.cursor.hex(4)?;
                if (0xd800..0xdc00).contains(&code)
                    && self.cursor.peek() == b'\\'
                    && self.cursor.peek_at(1) == b'u'
                {
                    let first = self.cursor.pos;
                    self.cursor.pos += 2;
                    let low = self.cursor.hex(4)?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    } else {
                        self.cursor.pos = first;
                    }
                }
                push_code_point(out, code);
                return Ok((0xd800..0xe000).contains(&code));
            }
            _ => {
                self.cursor.pos -= 1;
                return Err(self.cursor.expected("an escape sequence"));
            }
        });
        Ok(false)
    }

    fn skip_string(&mut self) -> Result<(), Error> {
        loop {
            self.pass_plain()?;
            self.cursor.pos += 1;
            if self.cursor.text.as_bytes()[self.cursor.pos - 1] == b'"' {
                return Ok(());
            }
            match self.cursor.peek() {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.cursor.pos += 1,
                b'u' => {
                    self.cursor.pos += 1;
                    self.cursor.hex(4)?;
                }
                _ => return Err(self.cursor.expected("an escape sequence")),
            }
        }
    }

    #[inline]
    fn next(&mut self, open: &mut Open) -> Result<bool, Error> {
        self.blanks();
        // A closing bracket may stand where a comma could, but not behind one.
        if self.cursor.peek() == open.closer {
            self.cursor.pos += 1;
            self.cursor.budget.leave();
            open.closed = true;
            return Ok(false);
        }
        if open.begun > 0 {
            self.cursor.expect(b',', "`,` or a closing bracket")?;
            self.blanks();
        }
        open.begun = 1;
        Ok(true)
    }

    /// Returns the place of the next value, which it passes.
    pub(crate) fn span(&mut self) -> Result<(usize, usize), Error> {
        self.blanks();
        let start = self.cursor.pos;
        self.skip()?;
        Ok((start, self.cursor.pos))
    }
}

impl<'de> Source<'de> for Reader<'de> {
    const TEXT_KEYS: bool = true;

    #[inline]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        self.cursor.node()?;
        self.blanks();
        match self.cursor.peek() {
            b'"' => {
                self.cursor.pos += 1;
                self.string().map(Token::Str)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'[' => {
                self.cursor.enter()?;
                self.cursor.pos += 1;
                Ok(Token::Seq(Open::new(Kind::List, 0, b']')))
            }
            b'{' => {
                self.cursor.enter()?;
                self.cursor.pos += 1;
                Ok(Token::Map(Open::new(Kind::Dict, 0, b'}')))
            }
            b'n' if self.cursor.take_word("null") => Ok(Token::None),
            b't' if self.cursor.take_word("true") => Ok(Token::Bool(true)),
            b'f' if self.cursor.take_word("false") => Ok(Token::Bool(false)),
            b'N' if self.cursor.take_word("NaN") => Ok(Token::Float(f64::NAN)),
            b'I' if self.cursor.take_word("Infinity") => Ok(Token::Float(f64::INFINITY)),
            _ => Err(self.cursor.expected("a value")),
        }
    }

    #[inline]
    fn quick_text(&mut self) -> Option<&'de str> {
        self.blanks();
        if self.cursor.peek() != b'"' {
            return None;
        }
        let (text, end) = self.cursor.plain_string(b'"')?;
        self.cursor.budget.quick_node()?;
        self.cursor.pos = end + 1;
        Some(text)
    }

    #[inline]
    fn quick_int(&mut self) -> Option<i64> {
        self.blanks();
        self.cursor.quick_int()
    }

    #[inline]
    fn quick_float(&mut self) -> Option<f64> {
        self.blanks();
        self.cursor.quick_float()
    }

    #[inline]
    fn take_none(&mut self) -> bool {
        self.blanks();
        self.cursor.take_word("null")
    }

    #[inline]
    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        self.next(open)
    }

    #[inline]
    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        let more = self.next(open)?;
        if more && self.cursor.peek() != b'"' {
            return Err(self.cursor.expected("a string as key"));
        }
        Ok(more)
    }

    #[inline]
    fn before_value(&mut self) -> Result<(), Error> {
        self.blanks();
        self.cursor.expect(b':', "`:`")
    }

    #[inline]
    fn skip(&mut self) -> Result<(), Error> {
        self.blanks();
        if self.cursor.peek() == b'"' {
            self.cursor.node()?;
            self.cursor.pos += 1;
            return self.skip_string();
        }
        match self.token()? {
            Token::Seq(mut open) => {
                while self.next_element(&mut open)? {
                    self.skip()?;
                }
            }
            Token::Map(mut open) => {
                while self.next_key(&mut open)? {
                    self.skip()?;
                    self.before_value()?;
                    self.skip()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn offset(&self) -> usize {
        self.cursor.base + self.cursor.pos
    }
}

/// Writes one value.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The next value is a key, which must become a string.
    key: bool,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, key: false }
    }

    /// Writes a word or number, as Python does also where it is a key.
    #[inline]
    fn plain(&mut self, text: &[u8]) -> Result<(), Error> {
        if self.key {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text);
        if self.key {
            self.out.push(b'"');
        }
        Ok(())
    }

    #[inline]
    fn separate(&mut self, open: &mut encode::Open) {
        if open.count > 0 {
            self.out.extend_from_slice(b", ");
        }
        open.count += 1;
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn none(&mut self) -> Result<(), Error> {
        self.plain(b"null")
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.plain(if value { b"true" } else { b"false" })
    }

    #[inline]
    fn int(&mut self, value: i64) -> Result<(), Error> {
        self.plain(itoa::Buffer::new().format(value).as_bytes())
    }

    #[inline]
    fn uint(&mut self, value: u64) -> Result<(), Error> {
        self.plain(itoa::Buffer::new().format(value).as_bytes())
    }

    fn digits(&mut self, decimal: &str) -> Result<(), Error> {
        self.plain(decimal.as_bytes())
    }

    #[inline]
    fn float(&mut self, value: f64) -> Result<(), Error> {
        if value.is_nan() {
            return self.plain(b"NaN");
        }
        if value.is_infinite() {
            return self.plain(if value > 0.0 {
                b"Infinity"
            } else {
                b"-Infinity"
            });
        }
        if self.key {
            self.out.push(b'"');
        }
        push_float(self.out, value);
        if self.key {
            self.out.push(b'"');
        }
        Ok(())
    }

    fn complex(&mut self, _value: Complex) -> Result<(), Error> {
        Err(cannot_carry("a complex number", "json"))
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        push_string(self.out, text);
        Ok(())
    }

    fn surrogates(&mut self, _text: &[u8]) -> Result<(), Error> {
        Err(cannot_carry("a str with lone surrogates", "json"))
    }

    fn bytes(&mut self, _bytes: &[u8]) -> Result<(), Error> {
        Err(cannot_carry("bytes", "json"))
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        Err(cannot_carry("an ellipsis", "json"))
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<encode::Open, Error> {
        if self.key {
            return Err(cannot_carry("a container as key of a dict", "json"));
        }
        let start = self.out.len();
        self.out.push(if kind == Kind::Dict { b'{' } else { b'[' });
        Ok(encode::Open {
            kind,
            count: 0,
            announced: len.unwrap_or(0),
            start,
        })
    }

    #[inline]
    fn before_element(&mut self, open: &mut encode::Open) {
        self.separate(open);
    }

    #[inline]
    fn before_key(&mut self, open: &mut encode::Open) {
        self.separate(open);
        self.key = true;
    }

    #[inline]
    fn before_value(&mut self) {
        self.key = false;
        self.out.extend_from_slice(b": ");
    }

    #[inline]
    fn close(&mut self, open: encode::Open) {
        self.out
            .push(if open.kind == Kind::Dict { b'}' } else { b']' });
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if is_plain(bytes, b'"', |_| 0) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 0xf)];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]),
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}
