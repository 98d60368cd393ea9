//! From bytes to serde: the rules that all formats share.
//!
//! A format is a [`Source`] of tokens; what a token may become is decided here, once.

use std::borrow::Cow;

use num_bigint::BigInt;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use crate::encode::Kind;
use crate::value::{self, Complex, Date, Timestamp, token};
use crate::{Error, ErrorKind};

/// The beginning of a value, which for scalars is all of it.
pub(crate) enum Token<'de> {
    None,
    Ellipsis,
    Bool(bool),
    Int(i64),
    /// An int above `i64::MAX`.
    Uint(u64),
    /// An int that fits into neither.
    Big(BigInt),
    Float(f64),
    Complex(Complex),
    Timestamp(Timestamp),
    Date(Date),
    Str(Text<'de>),
    Bytes(Cow<'de, [u8]>),
    /// A list, tuple or set, whose elements follow.
    Seq(Open),
    /// A dict, whose entries follow.
    Map(Open),
}

/// Text, borrowed from the document where nothing in it is escaped.
pub(crate) enum Text<'de> {
    Borrowed(&'de str),
    Owned(String),
    /// With lone surrogates, in "surrogatepass" UTF-8.
    Surrogates(Vec<u8>),
}

impl<'de> Text<'de> {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Borrowed(text) => Some(text),
            Self::Owned(text) => Some(text),
            Self::Surrogates(_) => None,
        }
    }

    pub(crate) fn into_cow(self) -> Result<Cow<'de, str>, Error> {
        match self {
            Self::Borrowed(text) => Ok(Cow::Borrowed(text)),
            Self::Owned(text) => Ok(Cow::Owned(text)),
            Self::Surrogates(_) => Err(mismatch("text", "str with lone surrogates")),
        }
    }
}

/// A container being read. Formats use what they need of it.
pub(crate) struct Open {
    pub(crate) kind: Kind,
    /// Elements or entries still to come, where the format says so in advance.
    pub(crate) left: usize,
    /// Elements or entries begun so far, up to two.
    pub(crate) begun: u8,
    /// The byte that ends it, in text.
    pub(crate) closer: u8,
    /// Parentheses around it that mean nothing, in serpent.
    pub(crate) groups: u32,
    /// Where to go on behind it, in marshal, if it is read for another time.
    pub(crate) back: usize,
    /// Set when the end has been read.
    pub(crate) closed: bool,
}

impl Open {
    pub(crate) fn new(kind: Kind, left: usize, closer: u8) -> Self {
        Self {
            kind,
            left,
            begun: 0,
            closer,
            groups: 0,
            back: 0,
            closed: false,
        }
    }
}

/// A format, as a giver of tokens.
pub(crate) trait Source<'de> {
    /// All keys of dicts are text, whatever they were.
    const TEXT_KEYS: bool = false;
    /// Class dicts within class dicts are objects already when the outer one is looked at.
    const BOTTOM_UP: bool = false;

    /// Reads the next token.
    fn token(&mut self) -> Result<Token<'de>, Error>;
    /// Reads a text that stands in the document as it is, if that is what comes next.
    ///
    /// This and its like are short ways to what nearly all values are. They may say no to what
    /// [`Source::token`] reads, and then have read nothing but blanks; errors are left to that.
    fn quick_text(&mut self) -> Option<&'de str> {
        None
    }
    /// Reads an int of 64 bits, if that is what comes next.
    fn quick_int(&mut self) -> Option<i64> {
        None
    }
    /// Reads a float, if that is what comes next.
    fn quick_float(&mut self) -> Option<f64> {
        None
    }
    /// Reads a None, if that is what comes next.
    fn take_none(&mut self) -> bool;
    /// Returns true before an element, and false after the end of the container.
    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error>;
    /// Returns true before a key, and false after the end of the container.
    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error>;
    /// Goes from behind a key to before its value.
    fn before_value(&mut self) -> Result<(), Error>;
    /// Checks and passes one value.
    fn skip(&mut self) -> Result<(), Error>;
    /// Returns where in the document it is.
    fn offset(&self) -> usize;
}

#[cold]
pub(crate) fn mismatch(expected: &str, got: &str) -> Error {
    Error::new(
        ErrorKind::Type,
        ["expected ", expected, ", got ", got].concat(),
    )
}

#[cold]
fn out_of_range(expected: &str) -> Error {
    Error::new(
        ErrorKind::Range,
        ["expected ", expected, ", got an int out of its range"].concat(),
    )
}

/// A text that `custom` turns into an error of a kind.
///
/// Between a codec and a `Deserialize` there is only serde's error trait, which knows no kinds.
pub(crate) struct Tagged(pub(crate) Error);

const TAG: char = '\u{1}';

impl std::fmt::Display for Tagged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if f.alternate() {
            write!(f, "{TAG}{}", char::from(b'a' + self.0.kind() as u8))?;
        }
        f.write_str(self.0.message())
    }
}

impl Error {
    /// Takes over somebody else's error, with its kind if it was [`Tagged`].
    #[cold]
    pub(crate) fn from_message(message: impl std::fmt::Display) -> Self {
        const KINDS: [ErrorKind; 8] = [
            ErrorKind::Syntax,
            ErrorKind::Type,
            ErrorKind::Range,
            ErrorKind::Limit,
            ErrorKind::Unsupported,
            ErrorKind::Security,
            ErrorKind::Refused,
            ErrorKind::Custom,
        ];
        let text = format!("{message:#}");
        let tagged = text.strip_prefix(TAG).and_then(|rest| {
            let mut rest = rest.chars();
            let kind = (rest.next()? as usize).checked_sub('a' as usize)?;
            Some(Self::new(*KINDS.get(kind)?, rest.as_str()))
        });
        tagged.unwrap_or_else(|| Self::new(ErrorKind::Custom, text))
    }
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::from_message(message)
    }

    #[cold]
    fn invalid_type(got: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        mismatch(&expected.to_string(), name(got))
    }

    #[cold]
    fn invalid_value(got: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let text = format!("expected {expected}, got another {}", name(got));
        match got {
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => Self::new(ErrorKind::Range, text),
            _ => Self::new(ErrorKind::Type, text),
        }
    }

    #[cold]
    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Self {
        Self::new(
            ErrorKind::Type,
            format!("expected {expected}, got {len} elements"),
        )
    }

    #[cold]
    fn unknown_variant(_got: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            ErrorKind::Type,
            format!("expected one of {}, got another str", list(expected)),
        )
    }

    #[cold]
    fn unknown_field(_got: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            ErrorKind::Type,
            format!("expected only the keys {}", list(expected)),
        )
    }

    #[cold]
    fn missing_field(field: &'static str) -> Self {
        Self::new(
            ErrorKind::Type,
            ["the key `", field, "` is missing"].concat(),
        )
    }

    #[cold]
    fn duplicate_field(field: &'static str) -> Self {
        Self::new(
            ErrorKind::Type,
            ["the key `", field, "` came twice"].concat(),
        )
    }
}

fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Names a kind of value without saying the value.
fn name(got: Unexpected<'_>) -> &'static str {
    match got {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "int",
        Unexpected::Float(_) => "float",
        Unexpected::Char(_) | Unexpected::Str(_) => "str",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "None",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "dict",
        _ => "value of another kind",
    }
}

impl Token<'_> {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => text.as_str(),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Ellipsis => "ellipsis",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(_) => "complex",
            Self::Timestamp(_) => "datetime",
            Self::Date(_) => "date",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::Map(_) => "dict",
            Self::Seq(open) => match open.kind {
                Kind::List => "list",
                Kind::Tuple => "tuple",
                _ => "set",
            },
        }
    }
}

/// Deserializes the next value of a [`Source`].
pub(crate) struct Decoder<'s, S> {
    source: &'s mut S,
    /// The value is the key of a dict.
    key: bool,
}

impl<'de, 's, S: Source<'de>> Decoder<'s, S> {
    pub(crate) fn new(source: &'s mut S) -> Self {
        Self { source, key: false }
    }

    #[inline]
    fn int<V: Visitor<'de>>(
        self,
        visitor: V,
        expected: &'static str,
        min: i64,
        max: u64,
    ) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let result = match self.source.quick_int() {
            Some(n) if n >= 0 && n as u64 <= max => visitor.visit_u64(n as u64),
            Some(n) if n < 0 && n >= min => visitor.visit_i64(n),
            Some(_) => Err(out_of_range(expected)),
            None => self.slow_int(visitor, expected, min, max),
        };
        result.map_err(|error| error.at(at))
    }

    #[inline(never)]
    fn slow_int<V: Visitor<'de>>(
        self,
        visitor: V,
        expected: &'static str,
        min: i64,
        max: u64,
    ) -> Result<V::Value, Error> {
        match self.source.token()? {
            Token::Int(n) if n < 0 && n >= min => visitor.visit_i64(n),
            Token::Int(n) if n >= 0 && n as u64 <= max => visitor.visit_u64(n as u64),
            Token::Uint(n) if n <= max => visitor.visit_u64(n),
            Token::Int(_) | Token::Uint(_) | Token::Big(_) => Err(out_of_range(expected)),
            Token::Str(Text::Borrowed(text)) if S::TEXT_KEYS && self.key => {
                match text.parse::<i128>() {
                    Ok(n) if n < 0 && n >= i128::from(min) => visitor.visit_i64(n as i64),
                    Ok(n) if n >= 0 && n <= i128::from(max) => visitor.visit_u64(n as u64),
                    Ok(_) => Err(out_of_range(expected)),
                    Err(_) => Err(mismatch("the digits of an int", "another key")),
                }
            }
            other => Err(mismatch("int", other.name())),
        }
    }

    /// Hands a token to a visitor that has not said more than serde's type hints can.
    fn visit<V: Visitor<'de>>(
        self,
        token: Token<'de>,
        at: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match token {
            Token::None => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Int(value) => visitor.visit_i64(value),
            Token::Uint(value) => visitor.visit_u64(value),
            Token::Big(value) => match (i128::try_from(&value), u128::try_from(&value)) {
                (Ok(value), _) => visitor.visit_i128(value),
                (_, Ok(value)) => visitor.visit_u128(value),
                _ => Err(out_of_range("an int of 128 bits")),
            },
            Token::Float(value) | Token::Timestamp(Timestamp(value)) => visitor.visit_f64(value),
            Token::Date(date) => visitor.visit_string(date.to_string()),
            Token::Str(Text::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Token::Str(Text::Owned(text)) => visitor.visit_string(text),
            Token::Str(Text::Surrogates(_)) => Err(mismatch("text", "str with lone surrogates")),
            Token::Bytes(Cow::Borrowed(bytes)) => visitor.visit_borrowed_bytes(bytes),
            Token::Bytes(Cow::Owned(bytes)) => visitor.visit_byte_buf(bytes),
            Token::Seq(open) => {
                return self.visit_seq(open, at, |elements| visitor.visit_seq(elements));
            }
            Token::Map(open) => {
                return self.visit_map(open, at, |entries| visitor.visit_map(entries));
            }
            token @ (Token::Ellipsis | Token::Complex(_)) => {
                let expected: &dyn de::Expected = &visitor;
                Err(mismatch(&expected.to_string(), token.name()))
            }
        };
        result.map_err(|error| error.at(at))
    }

    fn visit_seq<R>(
        self,
        mut open: Open,
        at: usize,
        visit: impl FnOnce(&mut Elements<'_, S>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut elements = Elements {
            source: &mut *self.source,
            open: &mut open,
        };
        let result = visit(&mut elements).map_err(|error| error.at(at))?;
        if !open.closed && self.source.next_element(&mut open)? {
            return Err(mismatch("fewer elements", "more").at(self.source.offset()));
        }
        Ok(result)
    }

    fn visit_map<R>(
        self,
        mut open: Open,
        at: usize,
        visit: impl FnOnce(&mut Entries<'_, S>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut entries = Entries {
            source: &mut *self.source,
            open: &mut open,
        };
        let result = visit(&mut entries).map_err(|error| error.at(at))?;
        if !open.closed && self.source.next_key(&mut open)? {
            return Err(mismatch("fewer entries", "more").at(self.source.offset()));
        }
        Ok(result)
    }

    #[inline(never)]
    fn slow_float(self) -> Result<f64, Error> {
        match self.source.token()? {
            Token::Float(value) | Token::Timestamp(Timestamp(value)) => Ok(value),
            Token::Int(value) => Ok(value as f64),
            Token::Uint(value) => Ok(value as f64),
            Token::Big(value) => big_to_f64(&value).ok_or_else(|| out_of_range("float")),
            Token::Map(open) => self.class_float(open),
            Token::Str(Text::Borrowed(text)) if S::TEXT_KEYS && self.key => text
                .parse()
                .map_err(|_| mismatch("the digits of a float", "another key")),
            other => Err(mismatch("float", other.name())),
        }
    }

    /// Reads `{'__class__':'float','value':'nan'}`, as serpent writes it (compat X2).
    fn class_float(self, mut open: Open) -> Result<f64, Error> {
        let mut value = None;
        let mut named = false;
        while self.source.next_key(&mut open)? {
            let key = self.source.token()?;
            self.source.before_value()?;
            match key.as_str() {
                Some("__class__") => named = self.source.token()?.as_str() == Some("float"),
                Some("value") => match self.source.token()? {
                    Token::Float(float) => value = Some(float),
                    text => value = text.as_str().and_then(|text| text.parse().ok()),
                },
                _ => self.source.skip()?,
            }
        }
        match value {
            Some(value) if named => Ok(value),
            _ => Err(mismatch("float", "dict")),
        }
    }

    /// Reads serpent's form of bytes, which nothing tells from a dict of the user's (compat S7).
    fn class_bytes(self, mut open: Open) -> Result<Vec<u8>, Error> {
        let mut data = None;
        let mut named = false;
        while self.source.next_key(&mut open)? {
            let key = self.source.token()?;
            self.source.before_value()?;
            match key.as_str() {
                Some("encoding") => named = self.source.token()?.as_str() == Some("base64"),
                Some("data") => match self.source.token()? {
                    Token::Str(text) => data = Some(text.into_cow()?),
                    _ => return Err(mismatch("bytes", "dict")),
                },
                _ => return Err(mismatch("bytes", "dict")),
            }
        }
        match data {
            Some(data) if named => crate::base64::decode(&data)
                .ok_or_else(|| Error::new(ErrorKind::Refused, "bytes that are not base64")),
            _ => Err(mismatch("bytes", "dict")),
        }
    }
}

macro_rules! ints {
    ($($method:ident $name:ident;)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            #[allow(clippy::cast_lossless, reason = "the same for all types")]
            self.int(visitor, stringify!($name), $name::MIN as i64, $name::MAX as u64)
        })*
    };
}

impl<'de, S: Source<'de>> de::Deserializer<'de> for Decoder<'_, S> {
    type Error = Error;

    ints! {
        deserialize_i8 i8;
        deserialize_i16 i16;
        deserialize_i32 i32;
        deserialize_i64 i64;
        deserialize_u8 u8;
        deserialize_u16 u16;
        deserialize_u32 u32;
        deserialize_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let token = self.source.token()?;
        self.visit(token, at, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        match self.source.token()? {
            Token::Str(Text::Borrowed("true")) if S::TEXT_KEYS && self.key => {
                visitor.visit_bool(true)
            }
            Token::Str(Text::Borrowed("false")) if S::TEXT_KEYS && self.key => {
                visitor.visit_bool(false)
            }
            other => self.visit(other, at, visitor),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let result = match self.source.token()? {
            Token::Int(value) => visitor.visit_i128(value.into()),
            Token::Uint(value) => visitor.visit_i128(value.into()),
            Token::Big(value) => match i128::try_from(&value) {
                Ok(value) => visitor.visit_i128(value),
                Err(_) => Err(out_of_range("i128")),
            },
            Token::Str(Text::Borrowed(text)) if S::TEXT_KEYS && self.key => match text.parse() {
                Ok(value) => visitor.visit_i128(value),
                Err(_) => Err(mismatch("the digits of an int", "another key")),
            },
            other => Err(mismatch("int", other.name())),
        };
        result.map_err(|error| error.at(at))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let result = match self.source.token()? {
            Token::Int(value) if value >= 0 => visitor.visit_u128(value as u128),
            Token::Uint(value) => visitor.visit_u128(value.into()),
            Token::Int(_) => Err(out_of_range("u128")),
            Token::Big(value) => match u128::try_from(&value) {
                Ok(value) => visitor.visit_u128(value),
                Err(_) => Err(out_of_range("u128")),
            },
            Token::Str(Text::Borrowed(text)) if S::TEXT_KEYS && self.key => match text.parse() {
                Ok(value) => visitor.visit_u128(value),
                Err(_) => Err(mismatch("the digits of an int", "another key")),
            },
            other => Err(mismatch("int", other.name())),
        };
        result.map_err(|error| error.at(at))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let value = match self.source.quick_float() {
            Some(value) => Ok(value),
            None => self.slow_float(),
        };
        value
            .and_then(|value| visitor.visit_f64(value))
            .map_err(|error: Error| error.at(at))
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        if let Some(text) = self.source.quick_text() {
            return visitor
                .visit_borrowed_str(text)
                .map_err(|error: Error| error.at(at));
        }
        match self.source.token()? {
            // Serde's own String would take bytes as well.
            token @ (Token::Str(_) | Token::Date(_)) => self.visit(token, at, visitor),
            other => Err(mismatch("str", other.name()).at(at)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let result = match self.source.token()? {
            Token::Bytes(Cow::Borrowed(bytes)) => visitor.visit_borrowed_bytes(bytes),
            Token::Bytes(Cow::Owned(bytes)) => visitor.visit_byte_buf(bytes),
            Token::Map(open) => self
                .class_bytes(open)
                .and_then(|bytes| visitor.visit_byte_buf(bytes)),
            other => Err(mismatch("bytes", other.name())),
        };
        result.map_err(|error| error.at(at))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.source.take_none() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        match self.source.token()? {
            Token::None => visitor.visit_unit(),
            other => Err(mismatch("None", other.name()).at(at)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name.as_bytes().first() != Some(&b'$') {
            return visitor.visit_newtype_struct(self);
        }
        if name == token::VALUE {
            return value::hand_over(value::read(self.source)?, visitor);
        }
        let at = self.source.offset();
        let result = match name {
            token::BIG_INT => match self.source.token()? {
                Token::Big(value) => visitor.visit_bytes(&value.to_signed_bytes_le()),
                Token::Int(value) => visitor.visit_i64(value),
                Token::Uint(value) => visitor.visit_u64(value),
                Token::Str(Text::Borrowed(text)) if S::TEXT_KEYS && self.key => {
                    visitor.visit_str(text)
                }
                other => Err(mismatch("int", other.name())),
            },
            token::COMPLEX => match self.source.token()? {
                Token::Complex(Complex { re, im }) => visitor.visit_seq(Parts([re, im], 0)),
                Token::Int(value) => visitor.visit_i64(value),
                Token::Uint(value) => visitor.visit_u64(value),
                Token::Float(value) => visitor.visit_f64(value),
                // {'__class__':'complex','real':...,'imag':...}, for what no literal can say.
                token @ Token::Map(_) => self.visit(token, at, visitor),
                other => Err(mismatch("complex", other.name())),
            },
            token::TIMESTAMP => match self.source.token()? {
                Token::Int(value) => visitor.visit_i64(value),
                Token::Uint(value) => visitor.visit_u64(value),
                Token::Float(value) | Token::Timestamp(Timestamp(value)) => {
                    visitor.visit_f64(value)
                }
                token @ Token::Str(_) => self.visit(token, at, visitor),
                other => Err(mismatch("datetime", other.name())),
            },
            token::DATE => match self.source.token()? {
                token @ (Token::Str(_) | Token::Date(_)) => self.visit(token, at, visitor),
                other => Err(mismatch("date", other.name())),
            },
            token::STR => match self.source.token()? {
                Token::Str(Text::Surrogates(bytes)) => visitor.visit_byte_buf(bytes),
                token @ Token::Str(_) => self.visit(token, at, visitor),
                other => Err(mismatch("str", other.name())),
            },
            _ => visitor.visit_newtype_struct(self),
        };
        result.map_err(|error| error.at(at))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let at = self.source.offset();
        match self.source.token()? {
            Token::Seq(open) if matches!(open.kind, Kind::List | Kind::Tuple) => {
                self.visit_seq(open, at, |elements| visitor.visit_seq(elements))
            }
            other => Err(mismatch("tuple", other.name()).at(at)),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let at = self.source.offset();
        match self.source.token()? {
            Token::Map(open) => self.visit_map(open, at, |entries| visitor.visit_map(entries)),
            other => Err(mismatch("dict", other.name()).at(at)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let at = self.source.offset();
        let result = match self.source.token()? {
            Token::Str(Text::Borrowed(text)) => {
                visitor.visit_enum(BorrowedStrDeserializer::new(text))
            }
            Token::Str(Text::Owned(text)) => {
                let variant: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            Token::Map(open) => {
                return self.visit_map(open, at, |entries| {
                    visitor.visit_enum(MapAccessDeserializer::new(entries))
                });
            }
            other => Err(mismatch("str or dict of one entry", other.name())),
        };
        result.map_err(|error| error.at(at))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.source.skip()?;
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let at = self.source.offset();
        match self.source.quick_text() {
            Some(text) => visitor
                .visit_borrowed_str(text)
                .map_err(|error: Error| error.at(at)),
            None => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        seq map
    }
}

/// Converts through decimal text, which rounds correctly.
pub(crate) fn big_to_f64(value: &BigInt) -> Option<f64> {
    // More bits than any finite float has.
    if value.bits() > 1024 {
        return None;
    }
    value
        .to_string()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// The elements of a container.
pub(crate) struct Elements<'a, S> {
    source: &'a mut S,
    open: &'a mut Open,
}

impl<'de, S: Source<'de>> SeqAccess<'de> for Elements<'_, S> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.open.closed || !self.source.next_element(self.open)? {
            return Ok(None);
        }
        seed.deserialize(Decoder::new(self.source)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        (self.open.left > 0).then_some(self.open.left)
    }
}

/// The entries of a dict.
pub(crate) struct Entries<'a, S> {
    source: &'a mut S,
    open: &'a mut Open,
}

impl<'de, S: Source<'de>> MapAccess<'de> for Entries<'_, S> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.open.closed || !self.source.next_key(self.open)? {
            return Ok(None);
        }
        seed.deserialize(Decoder {
            source: self.source,
            key: true,
        })
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.source.before_value()?;
        seed.deserialize(Decoder::new(self.source))
    }

    fn size_hint(&self) -> Option<usize> {
        (self.open.left > 0).then_some(self.open.left)
    }
}

/// The parts of a complex number.
struct Parts([f64; 2], usize);

impl<'de> SeqAccess<'de> for Parts {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(&part) = self.0.get(self.1) else {
            return Ok(None);
        };
        self.1 += 1;
        let part: de::value::F64Deserializer<Error> = part.into_deserializer();
        seed.deserialize(part).map(Some)
    }
}
