//! Python's str, which may hold surrogates that no Rust string can.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::scan::{beyond_ascii, is_plain};

/// A Python str: nearly always a Rust string, at times one with lone surrogates.
///
/// Python makes such strings from file names that are not UTF-8, and serpent carries them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Str(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// Without memory of its own up to 24 bytes, as nearly all keys of dicts are.
    Text(CompactString),
    /// UTF-8, with each surrogate as three bytes of its own (Python's "surrogatepass").
    /// Holds at least one surrogate, so that equal strings are equal here.
    Surrogates(Box<[u8]>),
}

impl Str {
    /// Returns the text, unless there are surrogates in it.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::Text(text) => Some(text),
            Repr::Surrogates(_) => None,
        }
    }

    /// Returns the text, with U+FFFD for each surrogate.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Text(text) => Cow::Borrowed(text),
            Repr::Surrogates(bytes) => Cow::Owned(
                code_points(bytes)
                    .map(|c| char::from_u32(c).unwrap_or('\u{fffd}'))
                    .collect(),
            ),
        }
    }

    /// Returns the bytes that Python's `encode('utf-8', 'surrogatepass')` gives.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Text(text) => text.as_bytes(),
            Repr::Surrogates(bytes) => bytes,
        }
    }

    /// Makes a str of what Python's `encode('utf-8', 'surrogatepass')` gave.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        match String::from_utf8(bytes) {
            Ok(text) => Some(text.into()),
            Err(error) => {
                let bytes = error.into_bytes().into_boxed_slice();
                is_surrogatepass(&bytes).then_some(Self(Repr::Surrogates(bytes)))
            }
        }
    }

    /// Returns the text, or the str itself when it has surrogates.
    ///
    /// # Errors
    ///
    /// The str, unchanged, when it has surrogates.
    pub fn into_string(self) -> Result<String, Self> {
        match self.0 {
            Repr::Text(text) => Ok(text.into_string()),
            repr @ Repr::Surrogates(_) => Err(Self(repr)),
        }
    }
}

/// Appends a code point, which may be a surrogate.
pub(crate) fn push_code_point(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice(&[
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]),
    }
}

fn is_surrogatepass(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(_) => return true,
            Err(error) => match &rest[error.valid_up_to()..] {
                [0xed, 0xa0..=0xbf, 0x80..=0xbf, tail @ ..] => rest = tail,
                _ => return false,
            },
        }
    }
    true
}

/// Goes through the code points of bytes for which [`is_surrogatepass`] holds.
fn code_points(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *bytes.get(at)?;
        let (len, bits) = match first {
            0..0x80 => (1, u32::from(first)),
            0x80..0xe0 => (2, u32::from(first & 0x1f)),
            0xe0..0xf0 => (3, u32::from(first & 0x0f)),
            _ => (4, u32::from(first & 0x07)),
        };
        let tail = &bytes[at + 1..(at + len).min(bytes.len())];
        at += len;
        Some(
            tail.iter()
                .fold(bits, |code, byte| code << 6 | u32::from(byte & 0x3f)),
        )
    })
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a Python string literal for text in "surrogatepass" UTF-8, quoted as `repr` does it.
pub(crate) fn push_repr_str(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    if is_plain(text, b'\'', beyond_ascii) {
        out.push(b'\'');
        out.extend_from_slice(text);
        out.push(b'\'');
        return;
    }
    let quote = quote_for(text);
    out.push(quote);
    let mut written = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        let len = match byte {
            b' '..=b'~' if byte != b'\\' && byte != quote => {
                at += 1;
                continue;
            }
            // Surrogates.
            0xed if text[at + 1] >= 0xa0 => 3,
            0x80.. => {
                let character = character(&text[at..]);
                if is_printable(character) {
                    at += character.len_utf8();
                    continue;
                }
                character.len_utf8()
            }
            _ => 1,
        };
        out.extend_from_slice(&text[written..at]);
        match (len, byte) {
            (1, _) => push_escape(out, byte),
            (3, 0xed) if text[at + 1] >= 0xa0 => {
                let low = u32::from(text[at + 1] & 0x3f) << 6 | u32::from(text[at + 2] & 0x3f);
                push_unicode(out, 0xd000 | low);
            }
            _ => push_unicode(out, u32::from(character(&text[at..]))),
        }
        at += len;
        written = at;
    }
    out.extend_from_slice(&text[written..]);
    out.push(quote);
}

/// The character at the start of `text`, which is UTF-8 but for surrogates.
fn character(text: &[u8]) -> char {
    let len = match text[0] {
        ..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    let character = text
        .get(..len)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    character
        .and_then(|text| text.chars().next())
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Whether Python's `repr` shows the character as it is (`str.isprintable`).
fn is_printable(character: char) -> bool {
    character == ' '
        || !matches!(
            character.general_category_group(),
            GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator
        )
}

/// Appends the shortest escape of a character beyond ASCII.
fn push_unicode(out: &mut Vec<u8>, code: u32) {
    let (letter, digits) = match code {
        ..0x100 => (b'x', 2),
        0x100..0x1_0000 => (b'u', 4),
        _ => (b'U', 8),
    };
    out.extend_from_slice(&[b'\\', letter]);
    for digit in (0..digits).rev() {
        out.push(HEX[(code >> (4 * digit) & 0xf) as usize]);
    }
}

/// Appends a Python bytes literal, quoted as `repr` does it.
pub(crate) fn push_repr_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let quote = quote_for(bytes);
    out.reserve(bytes.len() + 3);
    out.extend_from_slice(&[b'b', quote]);
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'\\' && byte != quote => out.push(byte),
            0x80.. => push_hex(out, byte),
            _ => push_escape(out, byte),
        }
    }
    out.push(quote);
}

fn quote_for(text: &[u8]) -> u8 {
    if memchr::memchr(b'\'', text).is_some() && memchr::memchr(b'"', text).is_none() {
        b'"'
    } else {
        b'\''
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\\' | b'\'' | b'"' => out.extend_from_slice(&[b'\\', byte]),
        _ => push_hex(out, byte),
    }
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]];
    out.extend_from_slice(b"\\x");
    out.extend_from_slice(&digits);
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl From<&str> for Str {
    #[inline]
    fn from(text: &str) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut literal = Vec::new();
        push_repr_str(&mut literal, self.as_bytes());
        // The literal of a str is text by construction: surrogates are escaped.
        f.write_str(&String::from_utf8_lossy(&literal))
    }
}
