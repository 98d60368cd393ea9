//! What the two text formats, serpent and json, read and write alike.

use num_bigint::BigInt;

use crate::decode::Token;
use crate::{Error, ErrorKind, Limits};

/// Counts what a document asks for against what it may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    pub(crate) depth: u32,
    pub(crate) nodes: u32,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            depth: 0,
            nodes: 0,
        }
    }

    /// Counts one value.
    #[inline]
    pub(crate) fn node(&mut self) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(exceeded("values", self.limits.nodes));
        }
        Ok(())
    }

    /// Goes into a container.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(exceeded("levels of nesting", self.limits.depth));
        }
        Ok(())
    }

    /// Leaves a container.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(crate) fn digits(&self, count: usize) -> Result<(), Error> {
        if count > self.limits.digits as usize {
            return Err(exceeded("digits of an int", self.limits.digits));
        }
        Ok(())
    }
}

#[cold]
fn exceeded(what: &str, limit: u32) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!("more {what} than the limit of {limit}"),
    )
}

/// A place in a text, and what was spent to get there.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'de> {
    pub(crate) text: &'de str,
    pub(crate) pos: usize,
    /// Where in the document the text begins.
    pub(crate) base: usize,
    pub(crate) budget: Budget,
}

impl<'de> Cursor<'de> {
    pub(crate) fn new(text: &'de str, base: usize, limits: Limits) -> Self {
        Self {
            text,
            pos: 0,
            base,
            budget: Budget::new(limits),
        }
    }

    /// Returns the byte at an offset from here, and 0 behind the end.
    #[inline]
    pub(crate) fn peek_at(&self, ahead: usize) -> u8 {
        self.text
            .as_bytes()
            .get(self.pos + ahead)
            .copied()
            .unwrap_or(0)
    }

    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.peek_at(0)
    }

    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        self.pos >= self.text.len()
    }

    /// Passes a word, if it comes next and does not go on.
    #[inline]
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let rest = &self.text.as_bytes()[self.pos..];
        let found = rest.starts_with(word.as_bytes())
            && !rest.get(word.len()).is_some_and(|&byte| is_word(byte));
        if found {
            self.pos += word.len();
        }
        found
    }

    /// Passes a byte that must come next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Error> {
        if self.peek() != byte {
            return Err(self.expected(expected));
        }
        self.pos += 1;
        Ok(())
    }

    #[cold]
    pub(crate) fn expected(&self, expected: &str) -> Error {
        let got = if self.at_end() {
            "the end"
        } else {
            "something else"
        };
        self.syntax(&["expected ", expected, ", got ", got].concat())
    }

    #[cold]
    pub(crate) fn syntax(&self, message: &str) -> Error {
        Error::new(ErrorKind::Syntax, message).at(self.base + self.pos)
    }

    #[cold]
    pub(crate) fn place(&self, error: Error) -> Error {
        error.at(self.base + self.pos)
    }

    #[inline]
    pub(crate) fn node(&mut self) -> Result<(), Error> {
        self.budget
            .node()
            .map_err(|error| error.at(self.base + self.pos))
    }

    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), Error> {
        self.budget
            .enter()
            .map_err(|error| error.at(self.base + self.pos))
    }

    /// Reads a decimal int that is short and ends in punctuation, which nearly all do.
    #[inline]
    pub(crate) fn short_int(&mut self) -> Option<i64> {
        let bytes = &self.text.as_bytes()[self.pos..];
        let negative = bytes.first() == Some(&b'-');
        let digits = &bytes[usize::from(negative)..];
        let mut value = 0i64;
        let mut len = 0;
        while let Some(digit @ b'0'..=b'9') = digits.get(len).copied() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            len += 1;
            if len > 18 {
                return None;
            }
        }
        let plain = match digits.get(len) {
            None => true,
            Some(b',' | b')' | b']' | b'}' | b':') => true,
            Some(_) => false,
        };
        if len == 0 || !plain || (digits[0] == b'0' && len > 1) {
            return None;
        }
        self.pos += usize::from(negative) + len;
        Some(if negative { -value } else { value })
    }

    /// Makes an int of decimal digits.
    pub(crate) fn int(&self, digits: &str, negative: bool) -> Result<Token<'de>, Error> {
        self.budget
            .digits(digits.len())
            .map_err(|error| self.place(error))?;
        if let Ok(magnitude) = digits.parse::<u64>() {
            return Ok(small_int(magnitude, negative));
        }
        match digits.parse::<BigInt>() {
            Ok(value) => Ok(Token::Big(if negative { -value } else { value })),
            Err(_) => Err(self.syntax("invalid int")),
        }
    }

    /// Reads four hex digits or another number of them.
    pub(crate) fn hex(&mut self, count: usize) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..count {
            let digit = match self.peek() {
                byte @ b'0'..=b'9' => byte - b'0',
                byte @ b'a'..=b'f' => byte - b'a' + 10,
                byte @ b'A'..=b'F' => byte - b'A' + 10,
                _ => return Err(self.expected("a hex digit")),
            };
            value = value << 4 | u32::from(digit);
            self.pos += 1;
        }
        Ok(value)
    }
}

pub(crate) fn small_int<'de>(magnitude: u64, negative: bool) -> Token<'de> {
    match (i64::try_from(magnitude), negative) {
        (Ok(value), false) => Token::Int(value),
        (Ok(value), true) => Token::Int(-value),
        (Err(_), false) => Token::Uint(magnitude),
        (Err(_), true) if magnitude == 1 << 63 => Token::Int(i64::MIN),
        (Err(_), true) => Token::Big(-BigInt::from(magnitude)),
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Checks the text of a document.
pub(crate) fn utf8(document: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(document).map_err(|error| {
        Error::new(ErrorKind::Syntax, "text that is not UTF-8").at(error.valid_up_to())
    })
}

/// Appends a finite float as Python's `repr` writes it.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    // Take it apart into digits and a decimal point, since Python changes to exponents elsewhere.
    let mut digits = [0; 32];
    let mut len = 0;
    let mut point = None;
    let mut exponent = 0i32;
    for (i, &byte) in shortest.iter().enumerate() {
        match byte {
            b'-' if i == 0 => out.push(b'-'),
            b'.' => point = Some(len as i32),
            b'e' | b'E' => {
                exponent = std::str::from_utf8(&shortest[i + 1..])
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(0);
                break;
            }
            _ => {
                digits[len] = byte;
                len += 1;
            }
        }
    }
    // The value is 0.DIGITS times ten to the power of `point`.
    let mut point = point.unwrap_or(len as i32) + exponent;
    let zeros = digits[..len]
        .iter()
        .take_while(|&&digit| digit == b'0')
        .count();
    let digits = &digits[zeros..len];
    point -= zeros as i32;
    let significant = digits
        .iter()
        .rposition(|&digit| digit != b'0')
        .map_or(0, |last| last + 1);
    let digits = &digits[..significant];
    let Some((first, rest)) = digits.split_first() else {
        out.extend_from_slice(b"0.0");
        return;
    };
    if !(-3..=16).contains(&point) {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        let exponent = point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(
            itoa::Buffer::new()
                .format(exponent.unsigned_abs())
                .as_bytes(),
        );
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let point = point as usize;
        let whole = point.min(digits.len());
        out.extend_from_slice(&digits[..whole]);
        out.resize(out.len() + point - whole, b'0');
        out.push(b'.');
        out.extend_from_slice(if digits.len() > point {
            &digits[point..]
        } else {
            b"0"
        });
    }
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(value: f64, expected: &str) {
        let mut out = Vec::new();
        super::push_float(&mut out, value);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn floats_look_as_in_python() {
        check(0.0, "0.0");
        check(-0.0, "-0.0");
        check(1.0, "1.0");
        check(1.5, "1.5");
        check(-2.25, "-2.25");
        check(0.1, "0.1");
        check(0.001, "0.001");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(0.000012345, "1.2345e-05");
        check(1e-7, "1e-07");
        check(1e15, "1000000000000000.0");
        check(1e16, "1e+16");
        check(1e22, "1e+22");
        check(1.5e300, "1.5e+300");
        check(123456789.125, "123456789.125");
        check(9007199254740993.0, "9007199254740992.0");
        check(12345678901234567.0, "1.2345678901234568e+16");
        check(5e-324, "5e-324");
        check(1.7976931348623157e308, "1.7976931348623157e+308");
        check(1.0 / 3.0, "0.3333333333333333");
    }
}
