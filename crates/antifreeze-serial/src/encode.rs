//! From serde to bytes: the rules that all formats share.
//!
//! A format is a [`Sink`]; what a Rust struct, enum or reserved newtype becomes is decided here,
//! once.

use num_bigint::BigInt;
use serde::ser::{self, Serialize};

use crate::value::{Complex, Date, Timestamp, decimal, token};
use crate::{Error, ErrorKind, Serializer, json, marshal, msgpack, serpent};

/// Pyro's serpent encodes 200 levels and spends two of them on the call itself.
pub(crate) const MAX_DEPTH: u32 = 198;

/// What kind of container is written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Tuple,
    Set,
    FrozenSet,
    Dict,
}

/// A container being written.
pub(crate) struct Open {
    pub(crate) kind: Kind,
    /// How many elements or entries were written.
    pub(crate) count: usize,
    /// How many were announced.
    pub(crate) announced: usize,
    /// Where in the output it began.
    pub(crate) start: usize,
}

/// A format, as a receiver of values.
pub(crate) trait Sink {
    fn none(&mut self) -> Result<(), Error>;
    fn bool(&mut self, value: bool) -> Result<(), Error>;
    fn int(&mut self, value: i64) -> Result<(), Error>;
    fn uint(&mut self, value: u64) -> Result<(), Error>;
    /// An int too large for the other two.
    fn digits(&mut self, decimal: &str) -> Result<(), Error>;
    /// An int of any size.
    fn big(&mut self, value: &BigInt) -> Result<(), Error> {
        self.digits(&decimal(value)?)
    }
    fn float(&mut self, value: f64) -> Result<(), Error>;
    fn complex(&mut self, value: Complex) -> Result<(), Error>;
    /// A point in time, which most formats have no word for.
    fn timestamp(&mut self, value: Timestamp) -> Result<(), Error> {
        self.text(&value.to_text()?)
    }
    /// A day, which most formats have no word for.
    fn date(&mut self, value: Date) -> Result<(), Error> {
        self.text(&value.to_string())
    }
    fn text(&mut self, text: &str) -> Result<(), Error>;
    /// Text with lone surrogates, in "surrogatepass" UTF-8.
    fn surrogates(&mut self, text: &[u8]) -> Result<(), Error>;
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error>;
    fn ellipsis(&mut self) -> Result<(), Error>;
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<Open, Error>;
    fn before_element(&mut self, open: &mut Open);
    fn before_key(&mut self, open: &mut Open);
    fn before_value(&mut self);
    fn close(&mut self, open: Open);
}

#[cold]
pub(crate) fn cannot_carry(what: &str, format: &str) -> Error {
    Error::new(
        ErrorKind::Type,
        [what, " cannot be carried by ", format].concat(),
    )
}

/// What the next value is to be written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Itself,
    Set,
    FrozenSet,
    BigInt,
    Surrogates,
    Timestamp,
    Date,
    /// The pair that follows is one complex number.
    Complex,
    /// A float of such a pair.
    Part,
}

/// Serializes into a [`Sink`].
pub(crate) struct Encoder<S> {
    sink: S,
    depth: u32,
    next: As,
    parts: (f64, f64),
    /// Whether the last None was a unit, which for arguments means "nothing" and not "None".
    unit: bool,
    /// Whether a [`crate::Blob`] was written.
    blob: bool,
}

impl<S: Sink> Encoder<S> {
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<Open, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::Limit,
                "nested too deeply, the limit is 198",
            ));
        }
        self.depth += 1;
        self.sink.open(kind, len)
    }

    fn close(&mut self, open: Open) {
        self.depth -= 1;
        self.sink.close(open);
    }

    /// Opens the one-entry dict that stands for an enum variant with contents.
    fn open_variant(&mut self, variant: &str) -> Result<Open, Error> {
        let mut open = self.open(Kind::Dict, Some(1))?;
        self.sink.before_key(&mut open);
        self.sink.text(variant)?;
        self.sink.before_value();
        Ok(open)
    }
}

/// How a value ended up in the output.
pub(crate) struct Written {
    /// It was a unit: `()`, not `Option::None`.
    pub(crate) unit: bool,
    /// There was a [`crate::Blob`] in it.
    pub(crate) blob: bool,
}

pub(crate) fn run<S: Sink, T: Serialize + ?Sized>(sink: S, value: &T) -> Result<Written, Error> {
    let mut encoder = Encoder {
        sink,
        depth: 0,
        next: As::Itself,
        parts: (0.0, 0.0),
        unit: false,
        blob: false,
    };
    value.serialize(&mut encoder)?;
    Ok(Written {
        unit: encoder.unit,
        blob: encoder.blob,
    })
}

/// Encodes one value behind `out`, which is left as it was on failure.
pub(crate) fn fragment<T: Serialize + ?Sized>(
    serializer: Serializer,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<Written, Error> {
    let start = out.len();
    let written = match serializer {
        Serializer::Serpent => run(serpent::Writer::new(out), value),
        Serializer::Marshal => run(marshal::Writer::new(out), value),
        Serializer::Json => run(json::Writer::new(out), value),
        Serializer::Msgpack => run(msgpack::Writer::new(out), value),
    };
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Writes what stands before the value of a document.
pub(crate) fn header(serializer: Serializer, out: &mut Vec<u8>) {
    if serializer == Serializer::Serpent {
        out.extend_from_slice(serpent::HEADER);
    }
}

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::from_message(message)
    }
}

impl<'a, S: Sink> ser::Serializer for &'a mut Encoder<S> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a, S>;
    type SerializeTuple = Compound<'a, S>;
    type SerializeTupleStruct = Compound<'a, S>;
    type SerializeTupleVariant = Compound<'a, S>;
    type SerializeMap = Compound<'a, S>;
    type SerializeStruct = Compound<'a, S>;
    type SerializeStructVariant = Compound<'a, S>;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.sink.bool(value)
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.sink.int(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        if let Ok(small) = i64::try_from(value) {
            self.sink.int(small)
        } else if let Ok(small) = u64::try_from(value) {
            self.sink.uint(small)
        } else {
            self.sink.digits(itoa::Buffer::new().format(value))
        }
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.sink.int(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.sink.uint(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        match u64::try_from(value) {
            Ok(small) => self.sink.uint(small),
            Err(_) => self.sink.digits(itoa::Buffer::new().format(value)),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        match self.next {
            As::Part => {
                self.parts = (self.parts.1, value);
                Ok(())
            }
            As::Timestamp => {
                self.next = As::Itself;
                self.sink.timestamp(Timestamp(value))
            }
            _ => self.sink.float(value),
        }
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.sink.text(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if self.next == As::Date {
            self.next = As::Itself;
            return self.sink.date(text.parse()?);
        }
        self.sink.text(text)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        match std::mem::replace(&mut self.next, As::Itself) {
            As::Surrogates => self.sink.surrogates(bytes),
            As::BigInt => self.sink.big(&BigInt::from_signed_bytes_le(bytes)),
            next => {
                self.next = next;
                self.sink.bytes(bytes)
            }
        }
    }

    /// Our own big ints come as bytes, since not all formats want decimals.
    fn is_human_readable(&self) -> bool {
        self.next != As::BigInt
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.unit = false;
        self.sink.none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.unit = true;
        self.sink.none()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        if name == token::ELLIPSIS {
            return self.sink.ellipsis();
        }
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.sink.text(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if name.as_bytes().first() == Some(&b'$') {
            self.blob |= name == token::BLOB;
            self.next = match name {
                token::SET => As::Set,
                token::FROZEN_SET => As::FrozenSet,
                token::BIG_INT => As::BigInt,
                token::STR => As::Surrogates,
                token::COMPLEX => As::Complex,
                token::TIMESTAMP => As::Timestamp,
                token::DATE => As::Date,
                _ => As::Itself,
            };
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let open = self.open_variant(variant)?;
        value.serialize(&mut *self)?;
        self.close(open);
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'a, S>, Error> {
        let kind = match self.next {
            As::Set => Kind::Set,
            As::FrozenSet => Kind::FrozenSet,
            _ => Kind::List,
        };
        self.next = As::Itself;
        Compound::new(self, kind, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'a, S>, Error> {
        if self.next == As::Complex {
            self.next = As::Part;
            return Ok(Compound {
                encoder: self,
                open: None,
                outer: None,
            });
        }
        Compound::new(self, Kind::Tuple, Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Compound<'a, S>, Error> {
        Compound::new(self, Kind::Tuple, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a, S>, Error> {
        let outer = self.open_variant(variant)?;
        let open = Some(self.open(Kind::Tuple, Some(len))?);
        Ok(Compound {
            encoder: self,
            open,
            outer: Some(outer),
        })
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'a, S>, Error> {
        Compound::new(self, Kind::Dict, len)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'a, S>, Error> {
        Compound::new(self, Kind::Dict, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'a, S>, Error> {
        let outer = self.open_variant(variant)?;
        let open = Some(self.open(Kind::Dict, Some(len))?);
        Ok(Compound {
            encoder: self,
            open,
            outer: Some(outer),
        })
    }
}

/// A container on its way into a [`Sink`].
pub(crate) struct Compound<'a, S> {
    encoder: &'a mut Encoder<S>,
    /// None while the parts of a complex number are collected.
    open: Option<Open>,
    /// The dict of the enum variant whose contents these are.
    outer: Option<Open>,
}

impl<'a, S: Sink> Compound<'a, S> {
    #[inline]
    fn new(encoder: &'a mut Encoder<S>, kind: Kind, len: Option<usize>) -> Result<Self, Error> {
        let open = Some(encoder.open(kind, len)?);
        Ok(Self {
            encoder,
            open,
            outer: None,
        })
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if let Some(open) = &mut self.open {
            self.encoder.sink.before_element(open);
        }
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        if let Some(open) = &mut self.open {
            self.encoder.sink.before_key(open);
        }
        key.serialize(&mut *self.encoder)
    }

    #[inline]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.encoder.sink.before_value();
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        if let Some(open) = &mut self.open {
            self.encoder.sink.before_key(open);
        }
        self.encoder.sink.text(name)?;
        self.value(value)
    }

    #[inline]
    fn finish(self) -> Result<(), Error> {
        match self.open {
            Some(open) => self.encoder.close(open),
            None => {
                self.encoder.next = As::Itself;
                let (re, im) = self.encoder.parts;
                self.encoder.sink.complex(Complex { re, im })?;
            }
        }
        if let Some(outer) = self.outer {
            self.encoder.close(outer);
        }
        Ok(())
    }
}

macro_rules! compound {
    ($($trait:ident $method:ident;)*) => {
        $(impl<S: Sink> ser::$trait for Compound<'_, S> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

compound! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl<S: Sink> ser::SerializeMap for Compound<'_, S> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

macro_rules! record {
    ($($trait:ident)*) => {
        $(impl<S: Sink> ser::$trait for Compound<'_, S> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

record!(SerializeStruct SerializeStructVariant);
