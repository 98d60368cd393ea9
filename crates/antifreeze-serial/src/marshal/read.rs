//! Reading marshal.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use num_bigint::{BigInt, Sign};

use super::REMEMBER;
use crate::decode::{Open, Source, Text, Token};
use crate::encode::Kind;
use crate::scan::{Budget, small_int};
use crate::value::{Complex, Str, Value};
use crate::{Error, ErrorKind, Limits};

/// Reads one value.
///
/// A reference is followed by going back to where the value stands and reading it again. So nothing
/// has to be kept but places, and borrowed text stays borrowed.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'de> {
    /// The whole document, also where only a part of it is read: references lead everywhere.
    bytes: &'de [u8],
    pos: usize,
    end: usize,
    budget: Budget,
    places: Places,
    /// Where the containers begin in which we are, if there are references.
    open: Vec<usize>,
    /// How many values are being read for another time.
    repeating: u32,
    /// Bytes that values read for another time may still take.
    repeatable: usize,
    /// Texts that references meant last, each with its number and what it takes in the document.
    recent: Vec<(u32, &'de str, usize)>,
}

/// So many are kept.
const RECENT: usize = 256;

/// Where the values stand that references may mean, by their numbers.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// There are no references.
    Unneeded,
    /// Those so far.
    Growing(Vec<u32>),
    /// All of the document.
    Known(Arc<[u32]>),
}

impl Places {
    #[inline]
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::Unneeded => &[],
            Self::Growing(places) => places,
            Self::Known(places) => places,
        }
    }
}

impl<'de> Reader<'de> {
    /// Starts a document.
    pub(crate) fn new(document: &'de [u8], limits: Limits) -> Self {
        // Most documents have no reference, which shows in one pass over them that costs little.
        let places = match memchr::memchr2(b'r', b'r' | REMEMBER, document) {
            Some(_) => Places::Growing(Vec::new()),
            None => Places::Unneeded,
        };
        Self::part(document, (0, document.len()), places, limits)
    }

    /// Starts on a value that was found within a document.
    pub(crate) fn part(
        document: &'de [u8],
        (start, end): (usize, usize),
        places: Places,
        limits: Limits,
    ) -> Self {
        Self {
            bytes: document,
            pos: start,
            end,
            budget: Budget::new(limits),
            places,
            open: Vec::new(),
            repeating: 0,
            repeatable: document
                .len()
                .min(limits.repeated)
                .saturating_mul(16)
                .saturating_add(limits.repeated),
            recent: Vec::new(),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.pos == self.end {
            return Ok(());
        }
        Err(self.syntax("data behind the end of the value"))
    }

    pub(crate) fn document(&self) -> &'de [u8] {
        self.bytes
    }

    pub(crate) fn limits(&self) -> Limits {
        self.budget.limits
    }

    /// Says where the values of the document stand, all of which has been passed.
    pub(crate) fn places(self) -> Places {
        match self.places {
            Places::Growing(places) => Places::Known(places.into()),
            places => places,
        }
    }

    /// Says where the values stand, if that is known already.
    pub(crate) fn known_places(&self) -> Places {
        match &self.places {
            Places::Growing(_) => Places::Unneeded,
            places => places.clone(),
        }
    }

    /// Returns the place of the next value, which it passes.
    pub(crate) fn span(&mut self) -> Result<(usize, usize), Error> {
        let start = self.pos;
        self.skip()?;
        Ok((start, self.pos))
    }

    #[cold]
    fn syntax(&self, message: &str) -> Error {
        self.place(Error::new(ErrorKind::Syntax, message))
    }

    #[cold]
    fn place(&self, error: Error) -> Error {
        error.at(self.pos)
    }

    #[inline]
    fn left(&self) -> usize {
        // What is read for another time may stand behind the part that is read.
        self.bytes.len() - self.pos
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
    fn len8(&mut self) -> Result<usize, Error> {
        self.array().map(|[len]: [u8; 1]| usize::from(len))
    }

    #[inline]
    fn len32(&mut self) -> Result<usize, Error> {
        self.array().map(|len| u32::from_le_bytes(len) as usize)
    }

    /// Reads a value whose type code has been read, and which began at `start`.
    #[inline]
    fn value(&mut self, code: u8, start: usize) -> Result<Token<'de>, Error> {
        let remembered = code & REMEMBER != 0;
        let code = code & !REMEMBER;
        // These have no numbers, whatever the bit says.
        if remembered && !matches!(code, b'N' | b'T' | b'F' | b'.') {
            self.remember(start);
        }
        match code {
            b'N' => Ok(Token::None),
            b'T' => Ok(Token::Bool(true)),
            b'F' => Ok(Token::Bool(false)),
            b'.' => Ok(Token::Ellipsis),
            b'i' => Ok(Token::Int(i32::from_le_bytes(self.array()?).into())),
            b'I' => Ok(Token::Int(i64::from_le_bytes(self.array()?))),
            b'l' => self.long(),
            b'g' => self.binary_float().map(Token::Float),
            b'f' => self.text_float().map(Token::Float),
            b'y' => {
                let (re, im) = (self.binary_float()?, self.binary_float()?);
                Ok(Token::Complex(Complex { re, im }))
            }
            b'x' => {
                let (re, im) = (self.text_float()?, self.text_float()?);
                Ok(Token::Complex(Complex { re, im }))
            }
            b'z' | b'Z' => self.len8().and_then(|len| self.latin(len)),
            b'a' | b'A' => self.len32().and_then(|len| self.latin(len)),
            b'u' | b't' => self.len32().and_then(|len| self.text(len)),
            b's' => {
                let len = self.len32()?;
                Ok(Token::Bytes(Cow::Borrowed(self.take(len)?)))
            }
            b')' => self
                .len8()
                .and_then(|len| self.seq(Kind::Tuple, len, start)),
            b'(' => self
                .len32()
                .and_then(|len| self.seq(Kind::Tuple, len, start)),
            b'[' => self
                .len32()
                .and_then(|len| self.seq(Kind::List, len, start)),
            b'<' => self.len32().and_then(|len| self.seq(Kind::Set, len, start)),
            b'>' => self
                .len32()
                .and_then(|len| self.seq(Kind::FrozenSet, len, start)),
            b'{' => {
                self.enter(start)?;
                Ok(Token::Map(Open::new(Kind::Dict, 0, 0)))
            }
            _ => Err(self.refused(code, start)),
        }
    }

    #[cold]
    fn refused(&self, code: u8, start: usize) -> Error {
        let what = match code {
            b'c' => "code",
            b'S' => "the class StopIteration",
            b':' => "a slice",
            _ => return Error::new(ErrorKind::Syntax, "unknown type code").at(start),
        };
        let message = ["expected data, got ", what].concat();
        Error::new(ErrorKind::Unsupported, message).at(start)
    }

    /// Gives a value the next number, when it is met for the first time.
    #[inline]
    fn remember(&mut self, start: usize) {
        if let Places::Growing(places) = &mut self.places
            && self.repeating == 0
        {
            // No message is as long as four gigabytes.
            places.push(start as u32);
        }
    }

    /// Reads a value that is no container, be it here or somewhere else. `read` gets its code and
    /// what stands behind that, and says how many bytes of that it took.
    #[inline]
    fn quick<T>(&mut self, read: impl FnOnce(u8, &'de [u8]) -> Option<(T, usize)>) -> Option<T> {
        let (&code, rest) = self.bytes.get(self.pos..)?.split_first()?;
        if code & !REMEMBER != b'r' {
            let (value, len) = read(code & !REMEMBER, rest)?;
            self.pass(code, 1 + len)?;
            return Some(value);
        }
        let number = u32::from_le_bytes(*rest.first_chunk()?);
        let (code, rest) = self.remembered(number)?;
        let (value, len) = read(code, rest)?;
        self.pass_reference(1 + len)?;
        Some(value)
    }

    /// Passes a value of so many bytes.
    #[inline]
    fn pass(&mut self, code: u8, bytes: usize) -> Option<()> {
        if self.repeating > 0 {
            self.repeatable = self.repeatable.checked_sub(bytes + size_of::<Value>())?;
        }
        self.budget.quick_node()?;
        if code & REMEMBER != 0 {
            self.remember(self.pos);
        }
        self.pos += bytes;
        Some(())
    }

    /// Passes a reference to a value of so many bytes.
    #[inline]
    fn pass_reference(&mut self, bytes: usize) -> Option<()> {
        self.repeatable = self.repeatable.checked_sub(bytes + size_of::<Value>())?;
        self.budget.quick_node()?;
        self.pos += 5;
        Some(())
    }

    /// The code of a value that was remembered, and what stands behind it.
    #[inline]
    fn remembered(&self, number: u32) -> Option<(u8, &'de [u8])> {
        let place = *self.places.as_slice().get(number as usize)? as usize;
        let (code, rest) = self.bytes.get(place..)?.split_first()?;
        Some((code & !REMEMBER, rest))
    }

    /// Reads a text that a reference means: nearly always the key of dicts, and known from the last.
    #[inline]
    fn repeated_text(&mut self, number: u32) -> Option<&'de str> {
        let slot = number as usize % RECENT;
        let (text, bytes) = match self.recent.get(slot) {
            Some(&(known, text, bytes)) if known == number && bytes > 0 => (text, bytes),
            _ => self.look_up(number)?,
        };
        self.pass_reference(bytes)?;
        Some(text)
    }

    #[inline(never)]
    fn look_up(&mut self, number: u32) -> Option<(&'de str, usize)> {
        let (code, rest) = self.remembered(number)?;
        let (text, len) = quick_text(code, rest)?;
        self.recent.resize(RECENT, (0, "", 0));
        self.recent[number as usize % RECENT] = (number, text, 1 + len);
        Some((text, 1 + len))
    }

    /// Follows a reference.
    fn repeat(&mut self) -> Result<Token<'de>, Error> {
        let number = self.len32()?;
        let Some(&start) = self.places.as_slice().get(number) else {
            return Err(self.syntax("a reference to nothing"));
        };
        let start = start as usize;
        if self.open.contains(&start) {
            let error = Error::new(ErrorKind::Limit, "a value that contains itself");
            return Err(self.place(error));
        }
        let back = mem::replace(&mut self.pos, start + 1);
        self.repeating += 1;
        let token = self.value(self.bytes[start], start)?;
        self.charge(start)?;
        match token {
            Token::Seq(open) => Ok(Token::Seq(Open { back, ..open })),
            Token::Map(open) => Ok(Token::Map(Open { back, ..open })),
            token => {
                self.repeating -= 1;
                self.pos = back;
                Ok(token)
            }
        }
    }

    /// Counts what reading for another time takes, by what it will take in memory.
    fn charge(&mut self, start: usize) -> Result<(), Error> {
        let bytes = self.pos - start + size_of::<Value>();
        match self.repeatable.checked_sub(bytes) {
            Some(left) => self.repeatable = left,
            None => {
                let message = "references that repeat too much";
                return Err(self.place(Error::new(ErrorKind::Limit, message)));
            }
        }
        Ok(())
    }

    #[inline]
    fn enter(&mut self, start: usize) -> Result<(), Error> {
        self.budget.enter().map_err(|error| self.place(error))?;
        if !matches!(self.places, Places::Unneeded) {
            self.open.push(start);
        }
        Ok(())
    }

    #[inline]
    fn leave(&mut self, open: &mut Open) {
        open.closed = true;
        self.open.pop();
        self.budget.leave();
        // No value stands in the first byte behind a reference, which takes five.
        if open.back != 0 {
            self.pos = open.back;
            self.repeating -= 1;
        }
    }

    #[inline]
    fn seq(&mut self, kind: Kind, len: usize, start: usize) -> Result<Token<'de>, Error> {
        // Each element takes a byte at least, so an absurd length is known at once.
        if len > self.left() {
            return Err(self.syntax("the value ends too early"));
        }
        self.enter(start)?;
        Ok(Token::Seq(Open::new(kind, len, 0)))
    }

    fn text(&mut self, len: usize) -> Result<Token<'de>, Error> {
        let bytes = self.take(len)?;
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Token::Str(Text::Borrowed(text)));
        }
        match Str::from_bytes(bytes.to_vec()) {
            Some(text) => Ok(Token::Str(Text::Surrogates(text.as_bytes().to_vec()))),
            None => Err(self.syntax("text that is not UTF-8")),
        }
    }

    /// Reads text of one byte a character, which is ASCII by the rules; CPython takes Latin-1.
    #[inline]
    fn latin(&mut self, len: usize) -> Result<Token<'de>, Error> {
        let bytes = self.take(len)?;
        Ok(Token::Str(match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Text::Borrowed(text),
            _ => Text::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
        }))
    }

    #[inline]
    fn binary_float(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_le_bytes)
    }

    fn text_float(&mut self) -> Result<f64, Error> {
        let len = self.len8()?;
        let text = std::str::from_utf8(self.take(len)?).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.syntax("expected the digits of a float"))
    }

    /// Reads an int of 15-bit digits, whose sign is that of their count.
    fn long(&mut self) -> Result<Token<'de>, Error> {
        let count = i32::from_le_bytes(self.array()?);
        let digits = self.take((count.unsigned_abs() as usize).saturating_mul(2))?;
        let digits = digits
            .chunks_exact(2)
            .map(|digit| u16::from_le_bytes([digit[0], digit[1]]));
        if digits.clone().any(|digit| digit >= 1 << 15) || digits.clone().next_back() == Some(0) {
            return Err(self.syntax("int of wrong digits"));
        }
        if digits.len() <= 4 {
            let fold = |value, digit| value << 15 | u64::from(digit);
            return Ok(small_int(digits.rev().fold(0, fold), count < 0));
        }
        let mut bytes = Vec::with_capacity(digits.len() * 15 / 8 + 1);
        let (mut bits, mut held) = (0u32, 0);
        for digit in digits {
            bits |= u32::from(digit) << held;
            held += 15;
            while held >= 8 {
                bytes.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        bytes.push(bits as u8);
        let magnitude = BigInt::from_bytes_le(Sign::Plus, &bytes);
        let value = if count < 0 { -magnitude } else { magnitude };
        Ok(match (i64::try_from(&value), u64::try_from(&value)) {
            (Ok(value), _) => Token::Int(value),
            (_, Ok(value)) => Token::Uint(value),
            _ => Token::Big(value),
        })
    }
}

impl<'de> Source<'de> for Reader<'de> {
    #[inline]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        self.budget.node().map_err(|error| self.place(error))?;
        let start = self.pos;
        let [code] = self.array()?;
        if code & !REMEMBER == b'r' {
            return self.repeat();
        }
        let token = self.value(code, start)?;
        if self.repeating > 0 {
            self.charge(start)?;
        }
        Ok(token)
    }

    #[inline]
    fn quick_text(&mut self) -> Option<&'de str> {
        let (&code, rest) = self.bytes.get(self.pos..)?.split_first()?;
        if code & !REMEMBER == b'r' {
            return self.repeated_text(u32::from_le_bytes(*rest.first_chunk()?));
        }
        let (text, len) = quick_text(code & !REMEMBER, rest)?;
        self.pass(code, 1 + len)?;
        Some(text)
    }

    #[inline]
    fn quick_int(&mut self) -> Option<i64> {
        self.quick(|code, rest| match code {
            b'i' => Some((i32::from_le_bytes(*rest.first_chunk()?).into(), 4)),
            _ => None,
        })
    }

    #[inline]
    fn quick_float(&mut self) -> Option<f64> {
        self.quick(|code, rest| match code {
            b'g' => Some((f64::from_le_bytes(*rest.first_chunk()?), 8)),
            _ => None,
        })
    }

    #[inline]
    fn take_none(&mut self) -> bool {
        let code = self.bytes.get(self.pos).map(|code| code & !REMEMBER);
        let none = code == Some(b'N');
        self.pos += usize::from(none);
        none
    }

    #[inline]
    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        if open.left == 0 {
            self.leave(open);
            return Ok(false);
        }
        open.left -= 1;
        Ok(true)
    }

    #[inline]
    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        let code = self.bytes.get(self.pos).map(|code| code & !REMEMBER);
        if code == Some(b'0') {
            self.pos += 1;
            self.leave(open);
            return Ok(false);
        }
        Ok(true)
    }

    #[inline]
    fn before_value(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Error> {
        match self.token()? {
            Token::Seq(mut open) => {
                while self.next_element(&mut open)? {
                    self.skip()?;
                }
            }
            Token::Map(mut open) => {
                while self.next_key(&mut open)? {
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
        self.pos
    }
}

/// Reads text of the code that needs no decoding, and says how many bytes it takes.
#[inline]
fn quick_text(code: u8, rest: &[u8]) -> Option<(&str, usize)> {
    let (len, head) = match code {
        b'z' | b'Z' => (usize::from(*rest.first()?), 1),
        b'a' | b'A' | b'u' | b't' => (u32::from_le_bytes(*rest.first_chunk()?) as usize, 4),
        _ => return None,
    };
    let text = std::str::from_utf8(rest[head..].get(..len)?).ok()?;
    // All but these say that they are ASCII; what is not is Latin-1.
    if !matches!(code, b'u' | b't') && !text.is_ascii() {
        return None;
    }
    Some((text, head + len))
}
