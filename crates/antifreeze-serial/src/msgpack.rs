//! MessagePack with Pyro's extension types.
//!
//! A datetime (ext 0x32) is seconds since 1970, as is MessagePack's own timestamp (ext -1), which is
//! only read; a date (ext 0x33) is a day of the calendar.

use std::borrow::Cow;

use crate::decode::{Open, Source, Text, Token};
use crate::encode::{self, Kind, Sink, cannot_carry};
use crate::scan::{Budget, small_int};
use crate::value::{Complex, Date, Timestamp};
use crate::{Error, ErrorKind, Limits, memory};

const EXT_COMPLEX: u8 = 0x30;
const EXT_INT: u8 = 0x31;
const EXT_DATETIME: u8 = 0x32;
const EXT_DATE: u8 = 0x33;
const EXT_TIMESTAMP: u8 = 0xff;

/// Reads one value.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'de> {
    bytes: &'de [u8],
    pos: usize,
    base: usize,
    budget: Budget,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8], base: usize, limits: Limits) -> Self {
        Self {
            bytes,
            pos: 0,
            base,
            budget: Budget::new(limits),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.pos == self.bytes.len() {
            return Ok(());
        }
        Err(self.syntax("data behind the end of the value"))
    }

    #[cold]
    fn syntax(&self, message: &str) -> Error {
        self.place(Error::new(ErrorKind::Syntax, message))
    }

    #[cold]
    fn place(&self, error: Error) -> Error {
        error.at(self.base + self.pos)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let rest = &self.bytes[self.pos..];
        if rest.len() < len {
            return Err(self.syntax("the value ends too early"));
        }
        self.pos += len;
        Ok(&rest[..len])
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn len8(&mut self) -> Result<usize, Error> {
        self.byte().map(usize::from)
    }

    #[inline]
    fn len16(&mut self) -> Result<usize, Error> {
        self.array().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    #[inline]
    fn len32(&mut self) -> Result<usize, Error> {
        self.array().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<Token<'de>, Error> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Token::Str(Text::Borrowed(text))),
            Err(_) => Err(self.syntax("text that is not UTF-8")),
        }
    }

    /// Passes a value of so many bytes.
    #[inline]
    fn quick<T>(&mut self, value: T, len: usize) -> Option<T> {
        self.budget.quick_node()?;
        self.pos += len;
        Some(value)
    }

    #[inline]
    fn binary(&mut self, len: usize) -> Result<Token<'de>, Error> {
        Ok(Token::Bytes(Cow::Borrowed(self.take(len)?)))
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: usize) -> Result<Open, Error> {
        self.budget.enter().map_err(|error| self.place(error))?;
        // Each element takes a byte at least, so an absurd length is known at once.
        let bytes = if kind == Kind::Dict {
            len.saturating_mul(2)
        } else {
            len
        };
        if bytes > self.bytes.len() - self.pos {
            return Err(self.syntax("the value ends too early"));
        }
        Ok(Open::new(kind, len, 0))
    }

    #[inline]
    fn list(&mut self, len: usize) -> Result<Token<'de>, Error> {
        self.open(Kind::List, len).map(Token::Seq)
    }

    #[inline]
    fn dict(&mut self, len: usize) -> Result<Token<'de>, Error> {
        self.open(Kind::Dict, len).map(Token::Map)
    }

    fn extension(&mut self, len: usize) -> Result<Token<'de>, Error> {
        let code = self.byte()?;
        let data = self.take(len)?;
        let token = match code {
            EXT_COMPLEX => data.split_first_chunk().and_then(|(re, im)| {
                let re = f64::from_le_bytes(*re);
                let im = f64::from_le_bytes(im.try_into().ok()?);
                Some(Token::Complex(Complex { re, im }))
            }),
            EXT_INT => return self.big_int(data),
            EXT_DATETIME => data
                .try_into()
                .ok()
                .map(|data| Token::Timestamp(Timestamp(f64::from_le_bytes(data)))),
            EXT_DATE => date(data).map(Token::Date),
            EXT_TIMESTAMP => timestamp(data).map(Token::Timestamp),
            _ => {
                let message = format!("invalid ext code for msgpack: {}", code as i8);
                return Err(self.place(Error::new(ErrorKind::Unsupported, message)));
            }
        };
        token.ok_or_else(|| self.syntax("extension of a wrong length"))
    }

    fn big_int(&self, data: &[u8]) -> Result<Token<'de>, Error> {
        let (negative, digits) = match data {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(self.syntax("int extension without an int"));
        }
        self.budget
            .digits(digits.len())
            .map_err(|error| self.place(error))?;
        let digits = String::from_utf8_lossy(digits);
        if let Ok(magnitude) = digits.parse() {
            return Ok(small_int(magnitude, negative));
        }
        match digits.parse::<num_bigint::BigInt>() {
            Ok(value) => Ok(Token::Big(if negative { -value } else { value })),
            Err(_) => Err(self.syntax("int extension without an int")),
        }
    }

    #[inline]
    fn next(&mut self, open: &mut Open) -> bool {
        if open.left == 0 {
            open.closed = true;
            self.budget.leave();
            return false;
        }
        open.left -= 1;
        true
    }

    /// Returns the bytes of the next value, which it passes, and what limits them.
    pub(crate) fn span(&mut self) -> Result<(&'de [u8], Limits), Error> {
        let start = self.pos;
        self.skip()?;
        Ok((&self.bytes[start..self.pos], self.budget.limits))
    }
}

/// Returns the day of an ordinal.
fn date(data: &[u8]) -> Option<Date> {
    // A C `long`, which has four bytes on Windows.
    let ordinal = match data.len() {
        4 => i64::from(i32::from_le_bytes(data.try_into().ok()?)),
        _ => i64::from_le_bytes(data.try_into().ok()?),
    };
    Date::from_ordinal(ordinal.try_into().ok()?)
}

/// Returns the seconds of MessagePack's own timestamp.
fn timestamp(data: &[u8]) -> Option<Timestamp> {
    let (seconds, nanos) = match data.len() {
        4 => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(data.try_into().ok()?);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        _ => {
            let (nanos, seconds) = data.split_first_chunk()?;
            (
                i64::from_be_bytes(seconds.try_into().ok()?),
                u32::from_be_bytes(*nanos),
            )
        }
    };
    Some(Timestamp(seconds as f64 + f64::from(nanos) / 1e9))
}

impl<'de> Source<'de> for Reader<'de> {
    const BOTTOM_UP: bool = true;

    #[inline]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        self.budget.node().map_err(|error| self.place(error))?;
        match self.byte()? {
            byte @ 0..0x80 => Ok(Token::Int(byte.into())),
            byte @ 0x80..0x90 => self.dict(usize::from(byte & 0xf)),
            byte @ 0x90..0xa0 => self.list(usize::from(byte & 0xf)),
            byte @ 0xa0..0xc0 => self.text(usize::from(byte & 0x1f)),
            0xc0 => Ok(Token::None),
            0xc1 => Err(self.syntax("the byte c1, which is never used")),
            0xc2 => Ok(Token::Bool(false)),
            0xc3 => Ok(Token::Bool(true)),
            0xc4 => self.len8().and_then(|len| self.binary(len)),
            0xc5 => self.len16().and_then(|len| self.binary(len)),
            0xc6 => self.len32().and_then(|len| self.binary(len)),
            0xc7 => self.len8().and_then(|len| self.extension(len)),
            0xc8 => self.len16().and_then(|len| self.extension(len)),
            0xc9 => self.len32().and_then(|len| self.extension(len)),
            0xca => Ok(Token::Float(f32::from_be_bytes(self.array()?).into())),
            0xcb => Ok(Token::Float(f64::from_be_bytes(self.array()?))),
            0xcc => Ok(Token::Int(self.byte()?.into())),
            0xcd => Ok(Token::Int(u16::from_be_bytes(self.array()?).into())),
            0xce => Ok(Token::Int(u32::from_be_bytes(self.array()?).into())),
            0xcf => Ok(small_int(u64::from_be_bytes(self.array()?), false)),
            0xd0 => Ok(Token::Int(i8::from_be_bytes(self.array()?).into())),
            0xd1 => Ok(Token::Int(i16::from_be_bytes(self.array()?).into())),
            0xd2 => Ok(Token::Int(i32::from_be_bytes(self.array()?).into())),
            0xd3 => Ok(Token::Int(i64::from_be_bytes(self.array()?))),
            byte @ 0xd4..=0xd8 => self.extension(1 << (byte - 0xd4)),
            0xd9 => self.len8().and_then(|len| self.text(len)),
            0xda => self.len16().and_then(|len| self.text(len)),
            0xdb => self.len32().and_then(|len| self.text(len)),
            0xdc => self.len16().and_then(|len| self.list(len)),
            0xdd => self.len32().and_then(|len| self.list(len)),
            0xde => self.len16().and_then(|len| self.dict(len)),
            0xdf => self.len32().and_then(|len| self.dict(len)),
            byte @ 0xe0.. => Ok(Token::Int((byte as i8).into())),
        }
    }

    #[inline]
    fn quick_text(&mut self) -> Option<&'de str> {
        let rest = self.bytes.get(self.pos..)?;
        let (text, len) = match *rest {
            [byte @ 0xa0..0xc0, ref rest @ ..] => (rest.get(..usize::from(byte & 0x1f))?, 1),
            [0xd9, len, ref rest @ ..] => (rest.get(..usize::from(len))?, 2),
            [0xda, a, b, ref rest @ ..] => (rest.get(..u16::from_be_bytes([a, b]).into())?, 3),
            _ => return None,
        };
        let len = len + text.len();
        let text = std::str::from_utf8(text).ok()?;
        self.quick(text, len)
    }

    #[inline]
    fn quick_int(&mut self) -> Option<i64> {
        let (&code, rest) = self.bytes.get(self.pos..)?.split_first()?;
        let (value, len) = match code {
            0..0x80 => (code.into(), 1),
            0xe0.. => ((code as i8).into(), 1),
            0xcc => (u8::from_be_bytes(*rest.first_chunk()?).into(), 2),
            0xcd => (u16::from_be_bytes(*rest.first_chunk()?).into(), 3),
            0xce => (u32::from_be_bytes(*rest.first_chunk()?).into(), 5),
            0xcf => (u64::from_be_bytes(*rest.first_chunk()?).try_into().ok()?, 9),
            0xd0 => (i8::from_be_bytes(*rest.first_chunk()?).into(), 2),
            0xd1 => (i16::from_be_bytes(*rest.first_chunk()?).into(), 3),
            0xd2 => (i32::from_be_bytes(*rest.first_chunk()?).into(), 5),
            0xd3 => (i64::from_be_bytes(*rest.first_chunk()?), 9),
            _ => return None,
        };
        self.quick(value, len)
    }

    #[inline]
    fn quick_float(&mut self) -> Option<f64> {
        match self.bytes.get(self.pos..)?.split_first()? {
            (0xcb, rest) => self.quick(f64::from_be_bytes(*rest.first_chunk()?), 9),
            _ => None,
        }
    }

    #[inline]
    fn take_none(&mut self) -> bool {
        let none = self.bytes.get(self.pos) == Some(&0xc0);
        self.pos += usize::from(none);
        none
    }

    #[inline]
    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        Ok(self.next(open))
    }

    #[inline]
    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        Ok(self.next(open))
    }

    #[inline]
    fn before_value(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Error> {
        match self.token()? {
            Token::Seq(mut open) => {
                while self.next(&mut open) {
                    self.skip()?;
                }
            }
            Token::Map(mut open) => {
                while self.next(&mut open) {
                    self.skip()?;
                    self.skip()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn offset(&self) -> usize {
        self.base + self.pos
    }
}

/// Writes one value.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes a length in the shortest of the forms that a type has.
    fn len(&mut self, len: usize, codes: [u8; 3]) -> Result<(), Error> {
        if let (Ok(len), true) = (u8::try_from(len), codes[0] != 0) {
            self.out.extend_from_slice(&[codes[0], len]);
        } else if let Ok(len) = u16::try_from(len) {
            self.out.push(codes[1]);
            self.out.extend_from_slice(&len.to_be_bytes());
        } else if let Ok(len) = u32::try_from(len) {
            self.out.push(codes[2]);
            self.out.extend_from_slice(&len.to_be_bytes());
        } else {
            return Err(cannot_carry("a value of 4 GiB", "msgpack"));
        }
        Ok(())
    }

    fn extension(&mut self, code: u8, data: &[u8]) -> Result<(), Error> {
        match data.len() {
            len @ (1 | 2 | 4 | 8 | 16) => self.out.push(0xd4 + len.trailing_zeros() as u8),
            len => self.len(len, [0xc7, 0xc8, 0xc9])?,
        }
        self.out.push(code);
        self.out.extend_from_slice(data);
        Ok(())
    }
}

/// Writes how many elements follow.
pub(crate) fn push_header(out: &mut Vec<u8>, dict: bool, len: usize) {
    let small = if dict { 0x80 } else { 0x90 };
    if len < 16 {
        out.push(small | len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(if dict { 0xde } else { 0xdc });
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        // More than 2^32 elements would not fit into any message.
        out.push(if dict { 0xdf } else { 0xdd });
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn none(&mut self) -> Result<(), Error> {
        self.out.push(0xc0);
        Ok(())
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.push(0xc2 | u8::from(value));
        Ok(())
    }

    #[inline]
    fn int(&mut self, value: i64) -> Result<(), Error> {
        if let Ok(value) = u64::try_from(value) {
            return self.uint(value);
        }
        if value >= -32 {
            self.out.push(value as i8 as u8);
        } else if let Ok(value) = i8::try_from(value) {
            self.out.extend_from_slice(&[0xd0, value as u8]);
        } else if let Ok(value) = i16::try_from(value) {
            self.out.push(0xd1);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.out.push(0xd2);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            self.out.push(0xd3);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        Ok(())
    }

    #[inline]
    fn uint(&mut self, value: u64) -> Result<(), Error> {
        if value < 0x80 {
            self.out.push(value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.out.extend_from_slice(&[0xcc, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.out.push(0xcd);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.out.push(0xce);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            self.out.push(0xcf);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        Ok(())
    }

    fn digits(&mut self, decimal: &str) -> Result<(), Error> {
        if let Ok(value) = decimal.parse() {
            return self.int(value);
        }
        if let Ok(value) = decimal.parse() {
            return self.uint(value);
        }
        self.extension(EXT_INT, decimal.as_bytes())
    }

    #[inline]
    fn float(&mut self, value: f64) -> Result<(), Error> {
        self.out.push(0xcb);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn complex(&mut self, value: Complex) -> Result<(), Error> {
        let mut data = [0; 16];
        data[..8].copy_from_slice(&value.re.to_le_bytes());
        data[8..].copy_from_slice(&value.im.to_le_bytes());
        self.extension(EXT_COMPLEX, &data)
    }

    fn timestamp(&mut self, value: Timestamp) -> Result<(), Error> {
        self.extension(EXT_DATETIME, &value.0.to_le_bytes())
    }

    fn date(&mut self, value: Date) -> Result<(), Error> {
        self.extension(EXT_DATE, &i64::from(value.ordinal()).to_le_bytes())
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        if text.len() < 32 {
            self.out.push(0xa0 | text.len() as u8);
        } else {
            self.len(text.len(), [0xd9, 0xda, 0xdb])?;
        }
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn surrogates(&mut self, _text: &[u8]) -> Result<(), Error> {
        Err(cannot_carry("a str with lone surrogates", "msgpack"))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        memory::reserve(self.out, bytes.len());
        self.len(bytes.len(), [0xc4, 0xc5, 0xc6])?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        Err(cannot_carry("an ellipsis", "msgpack"))
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<encode::Open, Error> {
        let start = self.out.len();
        let announced = len.unwrap_or(0);
        push_header(self.out, kind == Kind::Dict, announced);
        Ok(encode::Open {
            kind,
            count: 0,
            announced,
            start,
        })
    }

    #[inline]
    fn before_element(&mut self, open: &mut encode::Open) {
        open.count += 1;
    }

    #[inline]
    fn before_key(&mut self, open: &mut encode::Open) {
        open.count += 1;
    }

    #[inline]
    fn before_value(&mut self) {}

    #[inline]
    fn close(&mut self, open: encode::Open) {
        if open.count == open.announced {
            return;
        }
        // The length was not known in advance: make room for it now.
        let mut headers = Vec::with_capacity(8);
        push_header(&mut headers, open.kind == Kind::Dict, open.announced);
        let old = headers.len();
        headers.clear();
        push_header(&mut headers, open.kind == Kind::Dict, open.count);
        self.out.splice(open.start..open.start + old, headers);
    }
}
