//! Reading Python literals.

use std::borrow::Cow;

use memchr::memchr;
use num_bigint::BigInt;

use super::name;
use crate::decode::{Open, Source, Text, Token, big_to_f64};
use crate::encode::Kind;
use crate::scan::{Budget, Cursor, is_word, small_int};
use crate::value::{Complex, push_code_point};
use crate::{Error, ErrorKind, Limits};

/// Reads one expression.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'de> {
    cursor: Cursor<'de>,
    /// The text stands within brackets of the document, so that newlines mean nothing.
    nested: bool,
    /// Inside a key or an element of a set, which must be hashable.
    hashable: bool,
    /// Look ahead at each parenthesis whether it is a tuple.
    careful: bool,
    /// Parentheses around something that is no tuple were seen, or a tuple without any.
    group: bool,
    /// The document may be a tuple without parentheses, which is still to be seen.
    bare: bool,
    /// Bytes that may still be read twice; a hostile document could make that quadratic.
    ahead: usize,
}

/// A number as it stands in the text.
enum Number<'de> {
    Int(Cow<'de, str>),
    Radix(u32, Cow<'de, str>),
    Float(f64),
    Imaginary(f64),
}

/// A literal, or several that stand next to each other.
enum Piece<'de> {
    Str(Text<'de>),
    Bytes(Cow<'de, [u8]>),
}

#[derive(Clone, Copy)]
struct Prefix {
    len: usize,
    raw: bool,
    bytes: bool,
}

impl<'de> Reader<'de> {
    /// Starts a document, behind its comments.
    pub(crate) fn document(text: &'de str, limits: Limits) -> Result<Self, Error> {
        let mut reader = Self::new(text, 0, limits, false, false);
        if let Some(at) = memchr(0, text.as_bytes()) {
            reader.cursor.pos = at;
            return Err(reader.cursor.syntax("NUL byte in text"));
        }
        reader.skip_first_lines()?;
        Ok(reader)
    }

    /// Starts on a value that was found within a document.
    pub(crate) fn fragment(text: &'de str, base: usize, limits: Limits, careful: bool) -> Self {
        Self::new(text, base, limits, true, careful)
    }

    fn new(text: &'de str, base: usize, limits: Limits, nested: bool, careful: bool) -> Self {
        Self {
            cursor: Cursor::new(text, base, limits),
            nested,
            hashable: false,
            careful,
            group: false,
            bare: false,
            ahead: text.len().saturating_mul(32).saturating_add(0x1_0000),
        }
    }

    pub(crate) fn cursor(&self) -> &Cursor<'de> {
        &self.cursor
    }

    pub(crate) fn saw_group(&self) -> bool {
        self.group
    }

    pub(crate) fn be_careful(&mut self) {
        self.careful = true;
        self.bare = true;
    }

    /// Passes what may stand before the expression: comments, and lines that are empty.
    fn skip_first_lines(&mut self) -> Result<(), Error> {
        let cursor = &mut self.cursor;
        let mut first = true;
        loop {
            let line = cursor.pos;
            while matches!(cursor.peek(), b' ' | b'\t' | b'\x0c') {
                cursor.pos += 1;
            }
            match cursor.peek() {
                b'#' => skip_line(cursor),
                b'\n' | b'\r' => {}
                // Python strips blanks before the first line only.
                _ if first || cursor.pos == line || cursor.at_end() => return Ok(()),
                _ if cursor.text.as_bytes()[line..cursor.pos] == *b"\x0c" => return Ok(()),
                _ => return Err(cursor.syntax("unexpected indent")),
            }
            if cursor.at_end() {
                return Ok(());
            }
            cursor.pos += 1;
            first = false;
        }
    }

    /// Checks that nothing but blanks and comments follows.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.blanks();
        while !self.cursor.at_end() {
            match self.cursor.peek() {
                b' ' | b'\t' | b'\x0c' | b'\n' | b'\r' => self.cursor.pos += 1,
                b'#' => skip_line(&mut self.cursor),
                byte => {
                    self.group |= byte == b',';
                    return Err(self.cursor.syntax("data behind the end of the value"));
                }
            }
        }
        Ok(())
    }

    /// Passes blanks and, inside brackets, newlines and comments.
    #[inline]
    fn blanks(&mut self) {
        if self.cursor.peek() > b' ' && !matches!(self.cursor.peek(), b'#' | b'\\') {
            return;
        }
        self.blanks_slowly();
    }

    fn blanks_slowly(&mut self) {
        let inside = self.nested || self.cursor.budget.depth > 0;
        let cursor = &mut self.cursor;
        loop {
            match cursor.peek() {
                b' ' | b'\t' | b'\x0c' => cursor.pos += 1,
                b'\n' | b'\r' if inside => cursor.pos += 1,
                b'#' => {
                    skip_line(cursor);
                    if !inside {
                        return;
                    }
                }
                b'\\' if cursor.peek_at(1) == b'\n' => cursor.pos += 2,
                b'\\' if cursor.peek_at(1) == b'\r' => {
                    cursor.pos += if cursor.peek_at(2) == b'\n' { 3 } else { 2 };
                }
                _ => return,
            }
        }
    }

    #[inline]
    fn number_follows(&self) -> bool {
        match self.cursor.peek() {
            b'0'..=b'9' | b'+' | b'-' => true,
            b'.' => self.cursor.peek_at(1).is_ascii_digit(),
            _ => false,
        }
    }

    /// Reads a number, with a sign and perhaps an imaginary part.
    #[inline]
    fn number(&mut self) -> Result<Token<'de>, Error> {
        if let Some(value) = self.cursor.short_int() {
            return Ok(Token::Int(value));
        }
        let negative = self.sign();
        let first = self.operand()?;
        self.blanks();
        if matches!(first, Number::Imaginary(_)) || !matches!(self.cursor.peek(), b'+' | b'-') {
            return self.value_of(first, negative);
        }
        let real = self.value_of(first, negative)?;
        self.plus_imaginary(&real)
    }

    /// Reads the imaginary part of a complex number, before whose sign it is.
    fn plus_imaginary(&mut self, real: &Token<'de>) -> Result<Token<'de>, Error> {
        let re = match real {
            Token::Int(value) => *value as f64,
            Token::Uint(value) => *value as f64,
            Token::Float(value) => *value,
            Token::Big(value) => big_to_f64(value).ok_or_else(|| {
                let message = "complex number with a part that is too large";
                self.cursor.place(Error::new(ErrorKind::Range, message))
            })?,
            _ => return Err(self.cursor.syntax("arithmetic is not a literal")),
        };
        let minus = self.sign();
        let Number::Imaginary(im) = self.operand()? else {
            return Err(self.cursor.syntax("arithmetic is not a literal"));
        };
        Ok(Token::Complex(Complex {
            re,
            im: if minus { -im } else { im },
        }))
    }

    /// Whether an imaginary part follows the parentheses that were just read.
    #[inline]
    fn sign_follows(&mut self) -> bool {
        let behind = self.cursor.pos;
        self.blanks();
        let follows = matches!(self.cursor.peek(), b'+' | b'-');
        if !follows {
            self.cursor.pos = behind;
        }
        follows
    }

    fn sign(&mut self) -> bool {
        let negative = self.cursor.peek() == b'-';
        if negative || self.cursor.peek() == b'+' {
            self.cursor.pos += 1;
            self.blanks();
        }
        negative
    }

    fn value_of(&self, number: Number<'de>, negative: bool) -> Result<Token<'de>, Error> {
        Ok(match number {
            Number::Int(digits) => self.cursor.int(&digits, negative)?,
            Number::Radix(radix, digits) => match u64::from_str_radix(&digits, radix) {
                Ok(value) => small_int(value, negative),
                Err(_) => match BigInt::parse_bytes(digits.as_bytes(), radix) {
                    Some(value) => Token::Big(if negative { -value } else { value }),
                    None => return Err(self.cursor.syntax("invalid int")),
                },
            },
            Number::Float(value) => Token::Float(if negative { -value } else { value }),
            Number::Imaginary(value) => Token::Complex(Complex {
                re: 0.0,
                im: if negative { -value } else { value },
            }),
        })
    }

    /// Reads what stands behind a sign, which may be in parentheses.
    fn operand(&mut self) -> Result<Number<'de>, Error> {
        let mut groups = 0;
        while self.cursor.peek() == b'(' {
            self.cursor.enter()?;
            self.cursor.pos += 1;
            self.blanks();
            groups += 1;
        }
        let number = self.unsigned()?;
        self.leave_groups(groups)?;
        Ok(number)
    }

    fn unsigned(&mut self) -> Result<Number<'de>, Error> {
        let start = self.cursor.pos;
        if self.cursor.peek() == b'0' {
            let radix = match self.cursor.peek_at(1) {
                b'x' | b'X' => 16,
                b'o' | b'O' => 8,
                b'b' | b'B' => 2,
                _ => 10,
            };
            if radix != 10 {
                return self.in_radix(radix);
            }
        }
        self.digits(10);
        let whole = self.cursor.pos;
        if self.cursor.peek() == b'.' {
            self.cursor.pos += 1;
            self.digits(10);
            if self.cursor.pos - start == 1 {
                return Err(self.cursor.expected("a digit"));
            }
        }
        if self.cursor.pos == start {
            return Err(self.cursor.expected("a number"));
        }
        if matches!(self.cursor.peek(), b'e' | b'E') {
            self.cursor.pos += 1;
            if matches!(self.cursor.peek(), b'+' | b'-') {
                self.cursor.pos += 1;
            }
            let exponent = self.cursor.pos;
            self.digits(10);
            if self.cursor.pos == exponent {
                return Err(self.cursor.expected("a digit"));
            }
        }
        let end = self.cursor.pos;
        let text = clean(&self.cursor.text[start..end]);
        let imaginary = matches!(self.cursor.peek(), b'j' | b'J');
        self.cursor.pos += usize::from(imaginary);
        if is_word(self.cursor.peek()) {
            return Err(self.cursor.syntax("invalid number"));
        }
        if end == whole && !imaginary {
            if text.len() > 1 && text.starts_with('0') && text.bytes().any(|byte| byte != b'0') {
                return Err(self.cursor.syntax("int with leading zeros"));
            }
            self.cursor
                .budget
                .digits(text.len())
                .map_err(|error| self.cursor.place(error))?;
            return Ok(Number::Int(text));
        }
        let Ok(value) = text.parse() else {
            return Err(self.cursor.syntax("invalid number"));
        };
        Ok(if imaginary {
            Number::Imaginary(value)
        } else {
            Number::Float(value)
        })
    }

    fn in_radix(&mut self, radix: u32) -> Result<Number<'de>, Error> {
        self.cursor.pos += 2;
        if self.cursor.peek() == b'_' {
            self.cursor.pos += 1;
        }
        let start = self.cursor.pos;
        self.digits(radix);
        if self.cursor.pos == start || is_word(self.cursor.peek()) {
            return Err(self.cursor.syntax("invalid number"));
        }
        let text = clean(&self.cursor.text[start..self.cursor.pos]);
        // Python has no limit here, because these convert fast; memory wants one all the same.
        self.cursor
            .budget
            .digits(text.len() / 4)
            .map_err(|error| self.cursor.place(error))?;
        Ok(Number::Radix(radix, text))
    }

    /// Passes digits with single underscores between them.
    fn digits(&mut self, radix: u32) {
        let is_digit = |byte: u8| char::from(byte).is_digit(radix);
        while is_digit(self.cursor.peek()) {
            self.cursor.pos += 1;
            if self.cursor.peek() == b'_' && is_digit(self.cursor.peek_at(1)) {
                self.cursor.pos += 1;
            }
        }
    }

    /// Tells whether a string literal comes next.
    #[inline]
    fn prefix(&self) -> Result<Option<Prefix>, Error> {
        let mut prefix = Prefix {
            len: 0,
            raw: false,
            bytes: false,
        };
        match self.cursor.peek() {
            b'\'' | b'"' => return Ok(Some(prefix)),
            b'b' | b'B' | b'r' | b'R' | b'u' | b'U' | b'f' | b'F' => {}
            _ => return Ok(None),
        }
        let (mut unicode, mut format) = (false, false);
        loop {
            match self.cursor.peek_at(prefix.len) {
                b'\'' | b'"' => break,
                b'b' | b'B' if !prefix.bytes => prefix.bytes = true,
                b'r' | b'R' if !prefix.raw => prefix.raw = true,
                b'u' | b'U' if prefix.len == 0 => unicode = true,
                b'f' | b'F' if prefix.len < 2 => format = true,
                _ => return Ok(None),
            }
            prefix.len += 1;
        }
        if format {
            return Err(self
                .cursor
                .syntax("formatted string literals are not literals"));
        }
        if unicode && prefix.len > 1 {
            return Ok(None);
        }
        Ok(Some(prefix))
    }

    /// Reads a string literal and those that follow it directly.
    fn string(&mut self, prefix: Prefix) -> Result<Token<'de>, Error> {
        let mut whole = self.piece(prefix)?;
        loop {
            self.blanks();
            let Some(prefix) = self.prefix()? else { break };
            let next = self.piece(prefix)?;
            whole = match (whole, next) {
                (Piece::Str(a), Piece::Str(b)) => {
                    let mut bytes = text_bytes(a).into_owned();
                    bytes.extend_from_slice(&text_bytes(b));
                    Piece::Str(text_of(bytes))
                }
                (Piece::Bytes(a), Piece::Bytes(b)) => {
                    let mut bytes = a.into_owned();
                    bytes.extend_from_slice(&b);
                    Piece::Bytes(Cow::Owned(bytes))
                }
                _ => return Err(self.cursor.syntax("cannot mix str and bytes literals")),
            };
        }
        Ok(match whole {
            Piece::Str(text) => Token::Str(text),
            Piece::Bytes(bytes) => Token::Bytes(bytes),
        })
    }

    fn piece(&mut self, prefix: Prefix) -> Result<Piece<'de>, Error> {
        self.cursor.pos += prefix.len;
        let quote = self.cursor.peek();
        let triple = self.cursor.peek_at(1) == quote && self.cursor.peek_at(2) == quote;
        if triple {
            self.cursor.pos += 3;
        } else {
            self.cursor.pos += 1;
            let start = self.cursor.pos;
            let rest = &self.cursor.text.as_bytes()[start..];
            let stop = string_end(rest, quote);
            if rest.get(stop) == Some(&quote) {
                self.cursor.pos += stop + 1;
                let text = &self.cursor.text[start..start + stop];
                return match prefix.bytes {
                    false => Ok(Piece::Str(Text::Borrowed(text))),
                    true if text.is_ascii() => Ok(Piece::Bytes(Cow::Borrowed(text.as_bytes()))),
                    true => Err(self.cursor.syntax("bytes literal that is not ASCII")),
                };
            }
        }
        let bytes = self.unescape(prefix, quote, triple)?;
        Ok(if prefix.bytes {
            Piece::Bytes(Cow::Owned(bytes))
        } else {
            Piece::Str(text_of(bytes))
        })
    }

    /// Reads the rest of a string literal that has more in it than plain characters.
    fn unescape(&mut self, prefix: Prefix, quote: u8, triple: bool) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        loop {
            let rest = &self.cursor.text.as_bytes()[self.cursor.pos..];
            let stop = string_end(rest, quote);
            let plain = &rest[..stop];
            if prefix.bytes && !plain.is_ascii() {
                return Err(self.cursor.syntax("bytes literal that is not ASCII"));
            }
            out.extend_from_slice(plain);
            self.cursor.pos += stop;
            match rest.get(stop) {
                None => return Err(self.cursor.expected("the end of a string literal")),
                Some(b'\\') => self.escape(prefix, &mut out)?,
                Some(b'\n' | b'\r') if !triple => {
                    return Err(self
                        .cursor
                        .syntax("string literal that goes on behind its line"));
                }
                // Python reads every kind of line end as a newline.
                Some(b'\n' | b'\r') => {
                    let both = self.cursor.peek() == b'\r' && self.cursor.peek_at(1) == b'\n';
                    self.cursor.pos += if both { 2 } else { 1 };
                    out.push(b'\n');
                }
                Some(_) if !triple => {
                    self.cursor.pos += 1;
                    return Ok(out);
                }
                Some(_) if self.cursor.peek_at(1) == quote && self.cursor.peek_at(2) == quote => {
                    self.cursor.pos += 3;
                    return Ok(out);
                }
                Some(_) => {
                    self.cursor.pos += 1;
                    out.push(quote);
                }
            }
        }
    }

    fn escape(&mut self, prefix: Prefix, out: &mut Vec<u8>) -> Result<(), Error> {
        let letter = self.cursor.peek_at(1);
        if prefix.raw {
            out.push(b'\\');
            self.cursor.pos += 1;
            // The next character is no end and no escape, whatever it is.
            if matches!(letter, b'\\' | b'\'' | b'"') {
                out.push(letter);
                self.cursor.pos += 1;
            } else if matches!(letter, b'\n' | b'\r') {
                out.push(b'\n');
                self.cursor.pos += self.line_end();
            }
            return Ok(());
        }
        self.cursor.pos += 2;
        let plain = match letter {
            b'\\' | b'\'' | b'"' => letter,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'\n' => return Ok(()),
            b'\r' => {
                self.cursor.pos += usize::from(self.cursor.peek() == b'\n');
                return Ok(());
            }
            b'0'..=b'7' => {
                let mut code = u32::from(letter - b'0');
                for _ in 0..2 {
                    let digit @ b'0'..=b'7' = self.cursor.peek() else {
                        break;
                    };
                    code = code << 3 | u32::from(digit - b'0');
                    self.cursor.pos += 1;
                }
                return self.push_escaped(prefix, code, out);
            }
            b'x' => {
                let code = self.cursor.hex(2)?;
                return self.push_escaped(prefix, code, out);
            }
            b'u' if !prefix.bytes => {
                let code = self.cursor.hex(4)?;
                return self.push_escaped(prefix, code, out);
            }
            b'U' if !prefix.bytes => {
                let code = self.cursor.hex(8)?;
                return self.push_escaped(prefix, code, out);
            }
            b'N' if !prefix.bytes => {
                let code = self.name()?;
                return self.push_escaped(prefix, code, out);
            }
            // Python keeps the backslash of what is no escape.
            _ => {
                out.push(b'\\');
                self.cursor.pos -= 1;
                return Ok(());
            }
        };
        out.push(plain);
        Ok(())
    }

    /// Reads the name of a character, in braces.
    fn name(&mut self) -> Result<u32, Error> {
        self.cursor
            .expect(b'{', "`{` and the name of a character")?;
        let rest = &self.cursor.text[self.cursor.pos..];
        let name = rest.split_once('}').map(|(name, _)| name);
        // No name is so long; what is may be all of the document.
        let name = name.filter(|name| name.len() <= 100);
        let Some(character) = name.and_then(name::character) else {
            return Err(self.cursor.syntax("no such name of a character"));
        };
        self.cursor.pos += name.map_or(0, |name| name.len() + 1);
        Ok(character.into())
    }

    /// Returns the length of the end of a line, if that is what comes next.
    fn line_end(&self) -> usize {
        match (self.cursor.peek(), self.cursor.peek_at(1)) {
            (b'\r', b'\n') => 2,
            (b'\r' | b'\n', _) => 1,
            _ => 0,
        }
    }

    fn push_escaped(&self, prefix: Prefix, code: u32, out: &mut Vec<u8>) -> Result<(), Error> {
        if prefix.bytes {
            out.push(code as u8);
        } else if code > 0x10_ffff {
            return Err(self
                .cursor
                .syntax("character beyond the last one of Unicode"));
        } else {
            push_code_point(out, code);
        }
        Ok(())
    }

    /// Passes string literals that follow each other.
    fn skip_string(&mut self, first: Prefix) -> Result<(), Error> {
        let mut prefix = first;
        loop {
            self.skip_piece(prefix)?;
            self.blanks();
            match self.prefix()? {
                None => return Ok(()),
                Some(next) if next.bytes != first.bytes => {
                    return Err(self.cursor.syntax("cannot mix str and bytes literals"));
                }
                Some(next) => prefix = next,
            }
        }
    }

    fn skip_piece(&mut self, prefix: Prefix) -> Result<(), Error> {
        self.cursor.pos += prefix.len;
        let quote = self.cursor.peek();
        let triple = self.cursor.peek_at(1) == quote && self.cursor.peek_at(2) == quote;
        self.cursor.pos += if triple { 3 } else { 1 };
        loop {
            let rest = &self.cursor.text.as_bytes()[self.cursor.pos..];
            let stop = string_end(rest, quote);
            self.cursor.pos += stop;
            match rest.get(stop) {
                None => return Err(self.cursor.expected("the end of a string literal")),
                Some(b'\\') => {
                    self.cursor.pos += 1;
                    self.cursor.pos += self.line_end().max(1);
                }
                Some(b'\n' | b'\r') if !triple => {
                    return Err(self
                        .cursor
                        .syntax("string literal that goes on behind its line"));
                }
                Some(&byte) if byte == quote && !triple => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                Some(&byte)
                    if byte == quote && rest[stop..].starts_with(&[quote, quote, quote]) =>
                {
                    self.cursor.pos += 3;
                    return Ok(());
                }
                Some(_) => self.cursor.pos += 1,
            }
            // A backslash may be the last byte.
            self.cursor.pos = self.cursor.pos.min(self.cursor.text.len());
        }
    }

    /// Reads `set()`, the only call that is a literal.
    fn empty_set(&mut self) -> Result<bool, Error> {
        let start = self.cursor.pos;
        if !self.cursor.take_word("set") {
            return Ok(false);
        }
        self.blanks();
        if self.cursor.peek() == b'(' {
            self.cursor.enter()?;
            self.cursor.pos += 1;
            self.blanks();
            if self.cursor.peek() == b')' {
                return Ok(true);
            }
        }
        self.cursor.pos = start;
        Err(self.cursor.syntax("names and calls are not literals"))
    }

    fn refuse_unhashable(&self) -> Result<(), Error> {
        if !self.hashable {
            return Ok(());
        }
        Err(self.cursor.place(Error::new(
            ErrorKind::Type,
            "keys and elements of sets must be hashable",
        )))
    }

    /// Whether a string comes next that is the key of a dict, which shows quickly for nearly all.
    #[inline]
    fn plain_key_follows(&self) -> bool {
        let quote = self.cursor.peek();
        matches!(quote, b'\'' | b'"')
            && self
                .cursor
                .plain_string(quote)
                .is_some_and(|(_, end)| self.cursor.text.as_bytes().get(end + 1) == Some(&b':'))
    }

    /// Looks ahead whether `stop` follows the next value.
    fn followed_by(&mut self, stop: u8) -> Result<bool, Error> {
        let before = (
            self.cursor.pos,
            self.cursor.budget,
            self.hashable,
            self.group,
        );
        self.skip()?;
        self.blanks();
        let found = self.cursor.peek() == stop;
        let read = self.cursor.pos - before.0;
        (
            self.cursor.pos,
            self.cursor.budget,
            self.hashable,
            self.group,
        ) = before;
        match self.ahead.checked_sub(read) {
            Some(left) => self.ahead = left,
            None => {
                return Err(self.cursor.place(Error::new(
                    ErrorKind::Limit,
                    "too many brackets whose meaning shows only behind them",
                )));
            }
        }
        Ok(found)
    }

    /// Reads what a parenthesis opens: a tuple, a number or anything else in parentheses.
    fn parenthesis(&mut self) -> Result<Token<'de>, Error> {
        self.cursor.enter()?;
        self.cursor.pos += 1;
        self.blanks();
        if self.cursor.peek() == b')' {
            return Ok(Token::Seq(Open::new(Kind::Tuple, 0, b')')));
        }
        if self.number_follows() {
            let start = self.cursor.pos;
            let number = self.number()?;
            self.blanks();
            if self.cursor.peek() == b')' {
                self.leave_groups(1)?;
                return self.behind_group(number);
            }
            self.cursor.pos = start;
        } else if self.careful && !self.followed_by(b',')? {
            let mut inner = self.token()?;
            match &mut inner {
                Token::Seq(open) | Token::Map(open) => open.groups += 1,
                _ => {
                    self.leave_groups(1)?;
                    return self.behind_group(inner);
                }
            }
            return Ok(inner);
        }
        Ok(Token::Seq(Open::new(Kind::Tuple, 0, b')')))
    }

    /// Reads on behind a value in parentheses, which may be the real part of a complex number.
    fn behind_group(&mut self, inner: Token<'de>) -> Result<Token<'de>, Error> {
        if self.sign_follows() {
            return self.plus_imaginary(&inner);
        }
        Ok(inner)
    }

    #[inline]
    fn leave_groups(&mut self, count: u32) -> Result<(), Error> {
        for _ in 0..count {
            self.blanks();
            self.cursor.expect(b')', "`)`")?;
            self.cursor.budget.leave();
        }
        Ok(())
    }

    #[inline]
    fn at_close(&self, open: &Open) -> bool {
        match open.closer {
            // A tuple without parentheses ends with its line.
            0 => self.cursor.at_end() || matches!(self.cursor.peek(), b'\n' | b'\r'),
            closer => self.cursor.peek() == closer,
        }
    }

    #[inline]
    fn close(&mut self, open: &mut Open) -> Result<(), Error> {
        if open.closer != 0 {
            self.cursor.pos += 1;
            self.cursor.budget.leave();
        }
        if open.kind == Kind::Set {
            self.hashable = false;
        }
        open.closed = true;
        self.leave_groups(open.groups)
    }

    /// Goes to the next element or entry, behind the comma.
    #[inline]
    fn next(&mut self, open: &mut Open) -> Result<bool, Error> {
        self.blanks();
        if open.begun > 0 {
            if self.cursor.peek() == b',' {
                self.cursor.pos += 1;
                self.blanks();
            } else if !self.at_close(open) {
                return Err(self.cursor.expected("`,` or a closing bracket"));
            } else if open.kind == Kind::Tuple && open.begun == 1 {
                self.group = true;
                return Err(self
                    .cursor
                    .syntax("parentheses around something that is no tuple"));
            }
        }
        if self.at_close(open) {
            self.close(open)?;
            return Ok(false);
        }
        open.begun = (open.begun + 1).min(2);
        Ok(true)
    }

    /// Passes the rest of a container; `first` says whether its first element is still to come.
    fn skip_elements(&mut self, closer: u8, mut first: bool, entries: bool) -> Result<u32, Error> {
        let mut count = u32::from(!first);
        loop {
            self.blanks();
            if !first {
                match self.cursor.peek() {
                    b',' => {
                        self.cursor.pos += 1;
                        self.blanks();
                        count = count.max(2);
                    }
                    byte if byte == closer => {}
                    _ => return Err(self.cursor.expected("`,` or a closing bracket")),
                }
            }
            if self.cursor.peek() == closer {
                self.cursor.pos += 1;
                self.cursor.budget.leave();
                return Ok(count);
            }
            if entries {
                self.hashable = true;
                self.skip()?;
                self.before_value()?;
            }
            self.skip()?;
            first = false;
            count = count.max(1);
        }
    }

    fn skip_parenthesis(&mut self) -> Result<(), Error> {
        let before = (self.cursor.pos, self.cursor.budget);
        self.cursor.enter()?;
        self.cursor.pos += 1;
        self.blanks();
        let number = self.number_follows();
        // One element without a comma is no tuple; a number may have parentheses all the same.
        if self.skip_elements(b')', true, false)? == 1 {
            self.group |= !number;
            if self.sign_follows() {
                return self.skip_complex(before);
            }
        }
        Ok(())
    }

    /// Passes a complex number whose real part has parentheses, by reading it.
    #[cold]
    fn skip_complex(&mut self, (start, budget): (usize, Budget)) -> Result<(), Error> {
        (self.cursor.pos, self.cursor.budget) = (start, budget);
        let careful = std::mem::replace(&mut self.careful, true);
        let number = self.parenthesis();
        self.careful = careful;
        match number? {
            Token::Complex(_) => Ok(()),
            _ => Err(self.cursor.syntax("arithmetic is not a literal")),
        }
    }

    fn skip_brace(&mut self) -> Result<(), Error> {
        self.refuse_unhashable()?;
        self.cursor.enter()?;
        self.cursor.pos += 1;
        self.blanks();
        if self.cursor.peek() == b'}' {
            self.cursor.pos += 1;
            self.cursor.budget.leave();
            return Ok(());
        }
        self.hashable = true;
        self.skip()?;
        self.blanks();
        if self.cursor.peek() == b':' {
            self.before_value()?;
            self.skip()?;
            self.skip_elements(b'}', false, true)?;
        } else {
            self.skip_elements(b'}', false, false)?;
        }
        self.hashable = false;
        Ok(())
    }

    /// Returns the place of the next value, which it passes, and whether it needs care.
    pub(crate) fn span(&mut self) -> Result<(usize, usize, bool), Error> {
        self.blanks();
        let start = self.cursor.pos;
        let group = std::mem::replace(&mut self.group, false);
        self.skip()?;
        let end = self.cursor.pos;
        let careful = std::mem::replace(&mut self.group, group);
        Ok((start, end, careful))
    }

    #[cold]
    fn no_value(&self) -> Error {
        match self.cursor.peek() {
            byte if is_word(byte) => self.cursor.syntax("names and calls are not literals"),
            _ => self.cursor.expected("a value"),
        }
    }
}

impl<'de> Source<'de> for Reader<'de> {
    #[inline]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        self.cursor.node()?;
        self.blanks();
        if std::mem::take(&mut self.bare) && self.followed_by(b',')? {
            return Ok(Token::Seq(Open::new(Kind::Tuple, 0, 0)));
        }
        match self.cursor.peek() {
            b'\'' | b'"' => self.string(Prefix {
                len: 0,
                raw: false,
                bytes: false,
            }),
            b'0'..=b'9' | b'+' | b'-' => self.number(),
            b'(' => self.parenthesis(),
            b'[' => {
                self.refuse_unhashable()?;
                self.cursor.enter()?;
                self.cursor.pos += 1;
                Ok(Token::Seq(Open::new(Kind::List, 0, b']')))
            }
            b'{' => {
                self.refuse_unhashable()?;
                self.cursor.enter()?;
                self.cursor.pos += 1;
                self.blanks();
                if self.cursor.peek() == b'}' {
                    return Ok(Token::Map(Open::new(Kind::Dict, 0, b'}')));
                }
                self.hashable = true;
                let dict = self.plain_key_follows() || self.followed_by(b':')?;
                self.hashable = !dict;
                Ok(match dict {
                    true => Token::Map(Open::new(Kind::Dict, 0, b'}')),
                    false => Token::Seq(Open::new(Kind::Set, 0, b'}')),
                })
            }
            b'.' if self.number_follows() => self.number(),
            b'.' if self.cursor.peek_at(1) == b'.' && self.cursor.peek_at(2) == b'.' => {
                self.cursor.pos += 3;
                Ok(Token::Ellipsis)
            }
            b'N' if self.cursor.take_word("None") => Ok(Token::None),
            b'T' if self.cursor.take_word("True") => Ok(Token::Bool(true)),
            b'F' if self.cursor.take_word("False") => Ok(Token::Bool(false)),
            _ => {
                if let Some(prefix) = self.prefix()? {
                    return self.string(prefix);
                }
                if self.empty_set()? {
                    self.refuse_unhashable()?;
                    return Ok(Token::Seq(Open::new(Kind::Set, 0, b')')));
                }
                Err(self.no_value())
            }
        }
    }

    #[inline]
    fn quick_text(&mut self) -> Option<&'de str> {
        self.blanks();
        let quote = self.cursor.peek();
        if !matches!(quote, b'\'' | b'"') || self.bare {
            return None;
        }
        let (text, end) = self.cursor.plain_string(quote)?;
        // Another literal may follow, which belongs to this one, or two quotes were the beginning of
        // three.
        if !matches!(
            self.cursor.text.as_bytes().get(end + 1),
            None | Some(b',' | b':' | b')' | b']' | b'}')
        ) {
            return None;
        }
        self.cursor.budget.quick_node()?;
        self.cursor.pos = end + 1;
        Some(text)
    }

    #[inline]
    fn quick_int(&mut self) -> Option<i64> {
        self.blanks();
        if self.bare {
            return None;
        }
        self.cursor.quick_int()
    }

    #[inline]
    fn quick_float(&mut self) -> Option<f64> {
        self.blanks();
        if self.bare {
            return None;
        }
        self.cursor.quick_float()
    }

    #[inline]
    fn take_none(&mut self) -> bool {
        self.blanks();
        if self.careful && self.cursor.peek() == b'(' {
            let mut ahead = self.clone();
            let none = matches!(ahead.token(), Ok(Token::None));
            if none {
                *self = ahead;
            }
            return none;
        }
        self.cursor.take_word("None")
    }

    #[inline]
    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        let more = self.next(open)?;
        if more && open.kind == Kind::Set {
            self.hashable = true;
        }
        Ok(more)
    }

    #[inline]
    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        let more = self.next(open)?;
        self.hashable = more;
        Ok(more)
    }

    #[inline]
    fn before_value(&mut self) -> Result<(), Error> {
        self.hashable = false;
        self.blanks();
        self.cursor.expect(b':', "`:`")
    }

    #[inline]
    fn skip(&mut self) -> Result<(), Error> {
        self.blanks();
        match self.cursor.peek() {
            b'0'..=b'9' | b'-' => {
                self.cursor.node()?;
                self.number().map(drop)
            }
            b'\'' | b'"' => {
                self.cursor.node()?;
                self.skip_string(Prefix {
                    len: 0,
                    raw: false,
                    bytes: false,
                })
            }
            b'(' => {
                self.cursor.node()?;
                self.skip_parenthesis()
            }
            b'{' => {
                self.cursor.node()?;
                self.skip_brace()
            }
            b'[' => {
                self.cursor.node()?;
                self.refuse_unhashable()?;
                self.cursor.enter()?;
                self.cursor.pos += 1;
                self.skip_elements(b']', true, false).map(drop)
            }
            _ => {
                // What is left is short, so that reading it is as cheap as passing it.
                if let Some(prefix) = self.prefix()? {
                    self.cursor.node()?;
                    return self.skip_string(prefix);
                }
                match self.token()? {
                    Token::Seq(mut open) => self.next_element(&mut open).map(drop),
                    _ => Ok(()),
                }
            }
        }
    }

    #[inline]
    fn offset(&self) -> usize {
        self.cursor.base + self.cursor.pos
    }
}

/// Returns the distance to the first byte that a string literal does not simply contain.
#[inline]
fn string_end(rest: &[u8], quote: u8) -> usize {
    let special = |byte: &u8| *byte == quote || matches!(byte, b'\\' | b'\n' | b'\r');
    let near = rest.len().min(24);
    if let Some(stop) = rest[..near].iter().position(special) {
        return stop;
    }
    let stop = memchr::memchr3(quote, b'\\', b'\n', &rest[near..]).map_or(rest.len(), |n| n + near);
    memchr(b'\r', &rest[near..stop]).map_or(stop, |n| n + near)
}

fn skip_line(cursor: &mut Cursor<'_>) {
    let rest = &cursor.text.as_bytes()[cursor.pos..];
    cursor.pos += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
}

fn clean(digits: &str) -> Cow<'_, str> {
    if memchr(b'_', digits.as_bytes()).is_some() {
        Cow::Owned(digits.replace('_', ""))
    } else {
        Cow::Borrowed(digits)
    }
}

fn text_bytes(text: Text<'_>) -> Cow<'_, [u8]> {
    match text {
        Text::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Text::Owned(text) => Cow::Owned(text.into_bytes()),
        Text::Surrogates(bytes) => Cow::Owned(bytes),
    }
}

fn text_of<'de>(bytes: Vec<u8>) -> Text<'de> {
    match String::from_utf8(bytes) {
        Ok(text) => Text::Owned(text),
        Err(error) => Text::Surrogates(error.into_bytes()),
    }
}
