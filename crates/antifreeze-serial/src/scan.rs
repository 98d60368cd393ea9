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

    /// Counts one value, unless that would be one too many.
    #[inline]
    pub(crate) fn quick_node(&mut self) -> Option<()> {
        if self.nodes >= self.limits.nodes {
            return None;
        }
        self.nodes += 1;
        Some(())
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

    /// Reads an int as [`Source::quick_int`](crate::decode::Source::quick_int) does.
    #[inline]
    pub(crate) fn quick_int(&mut self) -> Option<i64> {
        if !matches!(self.peek(), b'0'..=b'9' | b'-') {
            return None;
        }
        let start = self.pos;
        let value = self.short_int()?;
        if self.budget.quick_node().is_none() {
            self.pos = start;
            return None;
        }
        Some(value)
    }

    /// Reads a float with a point, and behind it punctuation.
    #[inline]
    pub(crate) fn quick_float(&mut self) -> Option<f64> {
        let bytes = &self.text.as_bytes()[self.pos..];
        let negative = bytes.first() == Some(&b'-');
        let whole = usize::from(negative);
        let (mut mantissa, mut end) = (0u64, whole);
        let mut digits = |end: &mut usize| {
            while let Some(digit @ b'0'..=b'9') = bytes.get(*end) {
                mantissa = mantissa
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(digit - b'0'));
                *end += 1;
            }
        };
        digits(&mut end);
        let point = end;
        if point == whole || bytes.get(point) != Some(&b'.') {
            return None;
        }
        if bytes[whole] == b'0' && point - whole > 1 {
            return None;
        }
        end += 1;
        digits(&mut end);
        let decimals = end - point - 1;
        if decimals == 0 {
            return None;
        }
        let exponent = end;
        if let Some(b'e' | b'E') = bytes.get(end) {
            end += 1;
            end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
            let first = end;
            while let Some(b'0'..=b'9') = bytes.get(end) {
                end += 1;
            }
            if end == first {
                return None;
            }
        }
        if !matches!(
            bytes.get(end),
            None | Some(b',' | b')' | b']' | b'}' | b':')
        ) {
            return None;
        }
        // Both are exact as floats, so their quotient is the float that is nearest.
        let value = if end == exponent && end - whole <= 16 {
            let value = mantissa as f64 / POWERS[decimals];
            if negative { -value } else { value }
        } else {
            self.text.get(self.pos..self.pos + end)?.parse().ok()?
        };
        self.budget.quick_node()?;
        self.pos += end;
        Some(value)
    }

    /// Reads a string in these quotes that has nothing in it but what it says. What ends it is at
    /// the returned place.
    #[inline]
    pub(crate) fn plain_string(&self, quote: u8) -> Option<(&'de str, usize)> {
        let start = self.pos + 1;
        let bytes = self.text.as_bytes().get(start..)?;
        let end = start + plain_len(bytes, quote);
        if self.text.as_bytes().get(end) != Some(&quote) {
            return None;
        }
        Some((self.text.get(start..end)?, end))
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

/// Powers of ten that are floats exactly.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;

/// Finds what a string in these quotes cannot simply contain: the quote, a backslash, control
/// characters. The lowest high bit that is set is that of the first such byte.
#[inline]
fn special(word: u64, quote: u8) -> u64 {
    let is = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let control = word.wrapping_sub(0x20 * ONES) & !word;
    (is(quote) | is(b'\\') | control) & HIGH_BITS
}

/// Finds what is not ASCII, and the last character of that, which is a control character, too.
#[inline]
pub(crate) fn beyond_ascii(word: u64) -> u64 {
    (word | word.wrapping_add(ONES)) & HIGH_BITS
}

/// Returns how many bytes come before a quote, a backslash or a control character.
#[inline]
pub(crate) fn plain_len(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = special(u64::from_le_bytes(*word), quote);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte == quote || *byte == b'\\' || *byte < b' ';
    let rest = bytes[at..].iter().position(special);
    rest.map_or(bytes.len(), |rest| at + rest)
}

/// Whether a string in these quotes can simply contain the text, and `more` finds nothing in it.
#[inline]
pub(crate) fn is_plain(text: &[u8], quote: u8, more: impl Fn(u64) -> u64) -> bool {
    let plain = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        special(word, quote) | more(word) == 0
    };
    // Words overlap where the text does not end with one.
    if let Some(last) = text.last_chunk() {
        return plain(*last) && text.as_chunks().0.iter().all(|word| plain(*word));
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let [a, b, c, d] = *first;
        let [e, f, g, h] = *last;
        return plain([a, b, c, d, e, f, g, h]);
    }
    match *text {
        [a, .., c] => {
            let b = text[text.len() / 2];
            plain([a, b, c, c, c, c, c, c])
        }
        [a] => plain([a; 8]),
        [] => true,
    }
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
    // Between these both write the same, without an exponent.
    if (1e-4..1e16).contains(&value.abs()) {
        out.extend_from_slice(shortest);
    } else {
        push_digits(out, shortest);
    }
}

/// Appends a number in decimal as Python's `repr` writes floats.
fn push_digits(out: &mut Vec<u8>, shortest: &[u8]) {
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
    use super::*;

    #[test]
    fn what_strings_cannot_contain_is_found_wherever_it_stands() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let special = byte < b' ' || byte == b'\\' || byte == b'"';
                    assert_eq!(is_plain(&text, b'"', |_| 0), !special, "{text:?}");
                    let ascii = !special && byte < 0x7f;
                    assert_eq!(is_plain(&text, b'"', beyond_ascii), ascii, "{text:?}");
                    // The first one counts, whatever comes behind it.
                    text[at + 1..].fill(b'"');
                    let end = if special { at } else { at + 1 };
                    assert_eq!(plain_len(&text, b'"'), end.min(len), "{text:?}");
                }
            }
            assert!(is_plain(&vec![b'x'; len], b'"', beyond_ascii));
        }
    }

    /// Bits of floats of all sizes.
    fn floats() -> impl Iterator<Item = f64> {
        let mut bits = 1u64;
        let random = std::iter::from_fn(move || {
            // Knuth's generator, whose high bits are good enough.
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Some(bits)
        });
        let decimal = |bits: u64| (bits >> 40) as f64 / POWERS[bits as usize % 16];
        random
            .flat_map(move |bits| [f64::from_bits(bits), decimal(bits)])
            .filter(|value| value.is_finite())
            .take(100_000)
    }

    #[test]
    fn floats_are_read_quickly_as_rust_reads_them() {
        let mut quick = 0;
        for value in floats() {
            let mut text = Vec::new();
            push_float(&mut text, value);
            let text = String::from_utf8(text).unwrap();
            let mut cursor = Cursor::new(&text, 0, Limits::default());
            if let Some(read) = cursor.quick_float() {
                assert_eq!(read.to_bits(), value.to_bits(), "{text}");
                assert!(cursor.at_end());
                quick += 1;
            }
        }
        assert!(quick > 80_000, "{quick}");
    }

    #[test]
    fn floats_are_written_quickly_as_by_taking_them_apart() {
        for value in floats() {
            let mut quick = Vec::new();
            push_float(&mut quick, value);
            let mut slow = Vec::new();
            push_digits(
                &mut slow,
                zmij::Buffer::new().format_finite(value).as_bytes(),
            );
            assert_eq!(quick, slow, "{value:e}");
        }
    }

    #[test]
    fn what_needs_a_closer_look_is_left_to_others() {
        for text in [
            "", "-", "1", "1.", ".5", "1.x", "01.5", "-01.5", "1.5e", "1.5e+", "1_0.5", "1.5_0",
            "1.5j", "1.5 ", "+1.5", "inf", "1e5",
        ] {
            let mut cursor = Cursor::new(text, 0, Limits::default());
            assert_eq!(cursor.quick_float(), None, "{text}");
            assert_eq!(cursor.pos, 0, "{text}");
        }
    }

    #[track_caller]
    fn check(value: f64, expected: &str) {
        let mut out = Vec::new();
        push_float(&mut out, value);
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
