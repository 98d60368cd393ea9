//! The payload of a call, and values that wait in it undecoded.
//!
//! Which types the arguments have is known only when the method is known, and in json the method
//! may stand behind the arguments. So a first pass checks the whole payload and finds its parts,
//! and a second decodes each part into its type.

use std::any::{Any, TypeId};
use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::class::{AnyWrapper, Exception};
use crate::decode::{Decoder, Open, Source, Token, mismatch};
use crate::encode::{self, Kind};
use crate::{Error, ErrorKind, Limits, Serializer, json, marshal, msgpack, scan as text, serpent};

/// From this size of a document on it may be shared with what is decoded from it. Less is copied
/// sooner than its memory is kept for long.
const SHARED_BYTES: usize = 65_536;

/// Encodes the payload of a call behind what is already in `out`.
///
/// The arguments are a tuple, a list or any other sequence; `()` is none. The keyword arguments are
/// a map or a struct; `()` is none of them, and `&None::<()>` the None that Pyro sends where there
/// can be none: for attributes and batches.
///
/// ```
/// use antifreeze_serial::{Serializer, encode_call};
///
/// let mut out = Vec::new();
/// encode_call(Serializer::Json, "obj", "add", &(1, 2), &(), &mut out)?;
/// assert_eq!(
///     out,
///     br#"{"object": "obj", "method": "add", "params": [1, 2], "kwargs": {}}"#
/// );
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
///
/// # Errors
///
/// When the format cannot carry an argument, or the arguments are no sequence or the keyword
/// arguments no map; `out` is then as long as before.
///
/// # Wire
///
/// `(object, method, args, kwargs)`, in json a dict of the four (Pyro5 5.17, `serializers.py`,
/// `dumpsCall`). By marshal no keyword arguments are always `{}`, since Pyro cannot send None there.
pub fn encode_call<A: Serialize + ?Sized, K: Serialize + ?Sized>(
    serializer: Serializer,
    object: &str,
    method: &str,
    args: &A,
    kwargs: &K,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let args = |out: &mut Vec<u8>| push_args(serializer, args, out);
    let result = push_call(serializer, object, method, args, kwargs, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

pub(crate) fn push_call<K: Serialize + ?Sized>(
    serializer: Serializer,
    object: &str,
    method: &str,
    args: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    kwargs: &K,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let between: [&[u8]; 5] = match serializer {
        Serializer::Serpent => [b"(", b",", b",", b",", b")"],
        Serializer::Json => [
            b"{\"object\": ",
            b", \"method\": ",
            b", \"params\": ",
            b", \"kwargs\": ",
            b"}",
        ],
        Serializer::Marshal => [b")\x04", b"", b"", b"", b""],
        Serializer::Msgpack => [b"\x94", b"", b"", b"", b""],
    };
    encode::header(serializer, out);
    out.extend_from_slice(between[0]);
    encode::fragment(serializer, object, out)?;
    out.extend_from_slice(between[1]);
    encode::fragment(serializer, method, out)?;
    out.extend_from_slice(between[2]);
    args(out)?;
    out.extend_from_slice(between[3]);
    push_kwargs(serializer, kwargs, out)?;
    out.extend_from_slice(between[4]);
    Ok(())
}

/// Writes the positional arguments, which Python unpacks: a str in their place would arrive as
/// one argument for each character.
pub(crate) fn push_args<A: Serialize + ?Sized>(
    serializer: Serializer,
    args: &A,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let written = encode::fragment(serializer, args, out)?;
    let bytes = &out[start..];
    let (sequence, none, empty): (_, &[u8], &[u8]) = match serializer {
        // A complex number has parentheses, too.
        Serializer::Serpent => (
            matches!(bytes[0], b'(' | b'[') && !bytes.ends_with(b"j)"),
            b"None",
            b"()",
        ),
        Serializer::Json => (bytes[0] == b'[', b"null", b"[]"),
        Serializer::Msgpack => (
            matches!(bytes[0], 0x90..0xa0 | 0xdc | 0xdd),
            &[0xc0],
            &[0x90],
        ),
        Serializer::Marshal => (matches!(bytes[0], b'(' | b')' | b'['), b"N", b")\0"),
    };
    if written.blob || sequence {
        return Ok(());
    }
    if written.unit && bytes == none {
        out.truncate(start);
        out.extend_from_slice(empty);
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Type,
        "the arguments of a call must be a tuple or a list",
    ))
}

pub(crate) fn push_kwargs<K: Serialize + ?Sized>(
    serializer: Serializer,
    kwargs: &K,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let written = encode::fragment(serializer, kwargs, out)?;
    let bytes = &out[start..];
    let (dict, none, empty): (_, &[u8], &[u8]) = match serializer {
        Serializer::Serpent => (bytes[0] == b'{', b"None", b"{}"),
        Serializer::Json => (bytes[0] == b'{', b"null", b"{}"),
        Serializer::Msgpack => (
            matches!(bytes[0], 0x80..0x90 | 0xde | 0xdf),
            &[0xc0],
            &[0x80],
        ),
        Serializer::Marshal => (bytes[0] == b'{', b"N", b"{0"),
    };
    if bytes == none {
        if written.unit || serializer == Serializer::Marshal {
            out.truncate(start);
            out.extend_from_slice(empty);
        }
        return Ok(());
    }
    if dict {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Type,
        "the keyword arguments of a call must be a dict",
    ))
}

/// Encodes one value behind `out` without what begins a document.
///
/// # Errors
///
/// As [`encode`](crate::encode()).
pub fn encode_fragment<T: Serialize + ?Sized>(
    serializer: Serializer,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    encode::fragment(serializer, value, out).map(drop)
}

/// What takes the place of the whole argument list in a call with a serialized blob.
///
/// Elsewhere it is the value itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blob<T>(pub T);

impl<T: Serialize> Serialize for Blob<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(crate::value::token::BLOB, &self.0)
    }
}

/// Encodes behind `out` the payload of a call with a serialized blob: a value that
/// [`encode_fragment`] wrote, in place of the arguments.
///
/// # Errors
///
/// When the format cannot carry a name; `out` is then as long as before.
pub fn encode_blob_call(
    serializer: Serializer,
    object: &str,
    method: &str,
    blob: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let args = |out: &mut Vec<u8>| {
        out.extend_from_slice(blob);
        Ok(())
    };
    let result = push_call(serializer, object, method, args, &(), out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// A call, of which only the names are decoded.
#[derive(Clone, Debug)]
pub struct CallHead<'a> {
    /// The id of the object.
    pub object: Cow<'a, str>,
    /// The name of the method.
    pub method: Cow<'a, str>,
    /// The positional arguments: a tuple or list, unless the call carries a blob.
    pub args: Raw<'a>,
    /// The keyword arguments: a dict or None.
    pub kwargs: Raw<'a>,
}

/// Checks a call and finds its parts, without decoding its arguments.
///
/// ```
/// use antifreeze_serial::{Limits, Serializer, scan_call};
///
/// let payload = b"# serpent utf-8 python3.2\n('obj','add',(1,2),{})";
/// let call = scan_call(Serializer::Serpent, payload, &Limits::default())?;
/// assert_eq!((&*call.object, &*call.method), ("obj", "add"));
/// assert_eq!(call.args.decode::<(i32, i32)>()?, (1, 2));
/// assert!(call.kwargs.is_empty());
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
///
/// # Errors
///
/// When the payload is malformed, exceeds `limits` or is no call.
pub fn scan_call<'a>(
    serializer: Serializer,
    document: &'a [u8],
    limits: &Limits,
) -> Result<CallHead<'a>, Error> {
    match serializer {
        Serializer::Serpent => serpent::with_document(text::utf8(document)?, limits, |reader| {
            let head = scan_tuple(reader)?;
            reader.finish()?;
            Ok(head)
        }),
        Serializer::Json => {
            let mut reader = json::Reader::new(text::utf8(document)?, 0, *limits);
            let head = scan_dict(&mut reader)?;
            reader.finish()?;
            Ok(head)
        }
        Serializer::Msgpack => {
            let mut reader = msgpack::Reader::new(document, 0, *limits);
            let head = scan_tuple(&mut reader)?;
            reader.finish()?;
            Ok(head)
        }
        Serializer::Marshal => {
            let mut reader = marshal::Reader::new(document, *limits);
            let mut head = scan_tuple(&mut reader)?;
            reader.finish()?;
            let places = reader.places();
            head.args.know(&places);
            head.kwargs.know(&places);
            Ok(head)
        }
    }
}

#[cold]
fn no_call() -> Error {
    Error::new(
        ErrorKind::Type,
        "expected a call of object, method, arguments and keywords",
    )
}

fn scan_tuple<'a, S: Scan<'a>>(source: &mut S) -> Result<CallHead<'a>, Error> {
    let Token::Seq(mut open) = source.token()? else {
        return Err(no_call());
    };
    let object = next_text(source, &mut open)?.ok_or_else(no_call)?;
    let method = next_text(source, &mut open)?.ok_or_else(no_call)?;
    let args = next_raw(source, &mut open)?.ok_or_else(no_call)?;
    let kwargs = next_raw(source, &mut open)?.ok_or_else(no_call)?;
    if source.next_element(&mut open)? {
        return Err(no_call());
    }
    Ok(CallHead {
        object,
        method,
        args,
        kwargs,
    })
}

fn scan_dict<'a, S: Scan<'a>>(source: &mut S) -> Result<CallHead<'a>, Error> {
    let Token::Map(mut open) = source.token()? else {
        return Err(no_call());
    };
    let (mut object, mut method, mut args, mut kwargs) = (None, None, None, None);
    while source.next_key(&mut open)? {
        let key = source.token()?;
        source.before_value()?;
        let Token::Str(key) = key else {
            return Err(no_call());
        };
        match key.into_cow().as_deref() {
            Ok("object") => object = Some(text_of(source)?),
            Ok("method") => method = Some(text_of(source)?),
            Ok("params") => args = Some(source.raw()?),
            Ok("kwargs") => kwargs = Some(source.raw()?),
            _ => source.skip()?,
        }
    }
    match (object, method, args, kwargs) {
        (Some(object), Some(method), Some(args), Some(kwargs)) => Ok(CallHead {
            object,
            method,
            args,
            kwargs,
        }),
        _ => Err(no_call()),
    }
}

fn text_of<'a, S: Source<'a>>(source: &mut S) -> Result<Cow<'a, str>, Error> {
    let at = source.offset();
    match source.token()? {
        Token::Str(text) => text.into_cow().map_err(|error| error.at(at)),
        other => Err(mismatch("str", other.name()).at(at)),
    }
}

fn next_text<'a, S: Source<'a>>(
    source: &mut S,
    open: &mut Open,
) -> Result<Option<Cow<'a, str>>, Error> {
    if open.closed || !source.next_element(open)? {
        return Ok(None);
    }
    text_of(source).map(Some)
}

fn next_raw<'a, S: Scan<'a>>(source: &mut S, open: &mut Open) -> Result<Option<Raw<'a>>, Error> {
    if open.closed || !source.next_element(open)? {
        return Ok(None);
    }
    source.raw().map(Some)
}

/// Reads an item of a batch.
fn batch_item<'a, S: Scan<'a>>(source: &mut S) -> Result<CallHead<'a>, Error> {
    let at = source.offset();
    let mut open = match source.token()? {
        Token::Seq(open) if matches!(open.kind, Kind::List | Kind::Tuple) => open,
        other => return Err(mismatch("list or tuple", other.name()).at(at)),
    };
    let method = next_text(source, &mut open)?.ok_or_else(no_item)?;
    let args = next_raw(source, &mut open)?.ok_or_else(no_item)?;
    let kwargs = next_raw(source, &mut open)?.ok_or_else(no_item)?;
    // What else there is means nothing to Pyro either.
    while next_raw(source, &mut open)?.is_some() {}
    Ok(CallHead {
        object: "".into(),
        method,
        args,
        kwargs,
    })
}

#[cold]
fn no_item() -> Error {
    Error::new(
        ErrorKind::Type,
        "a batch consists of triples (method, arguments, keyword arguments)",
    )
}

/// Checks a document that is one value, and leaves it undecoded.
///
/// # Errors
///
/// When the bytes are malformed, go on after the value or exceed `limits`.
pub fn scan<'a>(
    serializer: Serializer,
    document: &'a [u8],
    limits: &Limits,
) -> Result<Raw<'a>, Error> {
    match serializer {
        Serializer::Serpent => {
            let mut reader = serpent::Reader::document(text::utf8(document)?, *limits)?;
            let raw = reader.raw()?;
            reader.finish()?;
            Ok(raw)
        }
        Serializer::Json => {
            let mut reader = json::Reader::new(text::utf8(document)?, 0, *limits);
            let raw = reader.raw()?;
            reader.finish()?;
            Ok(raw)
        }
        Serializer::Msgpack => {
            let mut reader = msgpack::Reader::new(document, 0, *limits);
            let raw = reader.raw()?;
            reader.finish()?;
            Ok(raw)
        }
        Serializer::Marshal => {
            let mut reader = marshal::Reader::new(document, *limits);
            let mut raw = reader.raw()?;
            reader.finish()?;
            raw.know(&reader.places());
            Ok(raw)
        }
    }
}

/// A format whose values can be left where they are.
trait Scan<'a>: Source<'a> {
    /// Checks and passes a value, to be decoded later.
    fn raw(&mut self) -> Result<Raw<'a>, Error>;
}

impl<'a> Scan<'a> for serpent::Reader<'a> {
    fn raw(&mut self) -> Result<Raw<'a>, Error> {
        let (start, end, careful) = self.span()?;
        let cursor = self.cursor();
        Ok(Raw {
            body: Body::Serpent {
                text: &cursor.text[start..end],
                careful,
            },
            base: cursor.base + start,
            limits: cursor.budget.limits,
        })
    }
}

impl<'a> Scan<'a> for json::Reader<'a> {
    fn raw(&mut self) -> Result<Raw<'a>, Error> {
        let (start, end) = self.span()?;
        let cursor = self.cursor();
        Ok(Raw {
            body: Body::Json(&cursor.text[start..end]),
            base: cursor.base + start,
            limits: cursor.budget.limits,
        })
    }
}

impl<'a> Scan<'a> for msgpack::Reader<'a> {
    fn raw(&mut self) -> Result<Raw<'a>, Error> {
        let base = self.offset();
        let (bytes, limits) = self.span()?;
        Ok(Raw {
            body: Body::Msgpack(bytes),
            base,
            limits,
        })
    }
}

impl<'a> Scan<'a> for marshal::Reader<'a> {
    fn raw(&mut self) -> Result<Raw<'a>, Error> {
        let span = self.span()?;
        Ok(Raw {
            base: span.0,
            limits: self.limits(),
            body: Body::Marshal {
                document: self.document(),
                span,
                places: self.known_places(),
            },
        })
    }
}

macro_rules! each {
    ($self:expr, $reader:ident => $body:expr) => {
        match $self {
            AnyReader::Serpent($reader) => $body,
            AnyReader::Json($reader) => $body,
            AnyReader::Msgpack($reader) => $body,
            AnyReader::Marshal($reader) => $body,
        }
    };
}

/// One value that is known to be well formed and not decoded yet.
#[derive(Clone)]
pub struct Raw<'a> {
    body: Body<'a>,
    /// Where in the document it stands.
    base: usize,
    limits: Limits,
}

#[derive(Clone)]
enum Body<'a> {
    Serpent {
        text: &'a str,
        /// It has parentheses that mean nothing.
        careful: bool,
    },
    Json(&'a str),
    Msgpack(&'a [u8]),
    Marshal {
        /// References may lead out of the value.
        document: &'a [u8],
        span: (usize, usize),
        places: marshal::Places,
    },
}

impl std::fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the bytes: they are somebody's data.
        write!(
            f,
            "Raw({}, {} bytes)",
            self.serializer(),
            self.as_bytes().len()
        )
    }
}

impl<'a> Raw<'a> {
    /// Returns the serializer whose bytes these are.
    pub fn serializer(&self) -> Serializer {
        match self.body {
            Body::Serpent { .. } => Serializer::Serpent,
            Body::Json(_) => Serializer::Json,
            Body::Msgpack(_) => Serializer::Msgpack,
            Body::Marshal { .. } => Serializer::Marshal,
        }
    }

    /// Returns the bytes of the value, without what begins a document.
    ///
    /// By marshal they may refer to what stands before them.
    pub fn as_bytes(&self) -> &'a [u8] {
        match &self.body {
            Body::Serpent { text, .. } | Body::Json(text) => text.as_bytes(),
            Body::Msgpack(bytes) => bytes,
            Body::Marshal { document, span, .. } => &document[span.0..span.1],
        }
    }

    /// Tells where the values stand that references mean, which is known behind the last one.
    fn know(&mut self, all: &marshal::Places) {
        if let Body::Marshal { places, .. } = &mut self.body {
            *places = all.clone();
        }
    }

    /// Makes it hold on to `document`, of which it is a part.
    ///
    /// # Panics
    ///
    /// If it is no part of `document`.
    pub fn part_of(&self, document: &Bytes) -> Part {
        let form = match &self.body {
            Body::Serpent { careful, .. } => Form::Serpent { careful: *careful },
            Body::Json(_) => Form::Json,
            Body::Msgpack(_) => Form::Msgpack,
            Body::Marshal { span, places, .. } => Form::Marshal {
                span: *span,
                places: places.clone(),
            },
        };
        let bytes = match &self.body {
            Body::Marshal { document, .. } => document,
            _ => self.as_bytes(),
        };
        Part {
            bytes: document.slice_ref(bytes),
            form,
            base: self.base,
            limits: self.limits,
        }
    }

    fn reader(&self) -> AnyReader<'a> {
        let (base, limits) = (self.base, self.limits);
        match &self.body {
            Body::Serpent { text, careful } => {
                AnyReader::Serpent(serpent::Reader::fragment(text, base, limits, *careful))
            }
            Body::Json(text) => AnyReader::Json(json::Reader::new(text, base, limits)),
            Body::Msgpack(bytes) => AnyReader::Msgpack(msgpack::Reader::new(bytes, base, limits)),
            Body::Marshal {
                document,
                span,
                places,
            } => AnyReader::Marshal(marshal::Reader::part(
                document,
                *span,
                places.clone(),
                limits,
            )),
        }
    }

    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// When it is no `T`.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        self.reader().decode()
    }

    /// Decodes it, as a part of `document`: [`Bytes`] that make up most of that are not copied, but
    /// share its memory.
    ///
    /// # Errors
    ///
    /// When it is no `T`.
    ///
    /// # Panics
    ///
    /// If it is no part of `document`.
    pub fn decode_shared<T: DeserializeOwned + 'static>(
        &self,
        document: &Bytes,
    ) -> Result<T, Error> {
        if TypeId::of::<T>() == TypeId::of::<Bytes>()
            && document.len() >= SHARED_BYTES
            && let Ok(Token::Bytes(Cow::Borrowed(bytes))) = self.reader().token()
            && bytes.len() >= document.len() / 2
        {
            let mut shared = Some(document.slice_ref(bytes));
            let same: &mut dyn Any = &mut shared;
            if let Some(value) = same.downcast_mut().and_then(Option::take) {
                return Ok(value);
            }
        }
        self.decode()
    }

    /// Returns true for None.
    pub fn is_none(&self) -> bool {
        matches!(self.reader().token(), Ok(Token::None))
    }

    /// Returns true for an empty list, tuple, set or dict.
    pub fn is_empty(&self) -> bool {
        // As everybody writes a dict without entries.
        let dict: &[u8] = match self.body {
            Body::Serpent { .. } | Body::Json(_) => b"{}",
            Body::Msgpack(_) => b"\x80",
            Body::Marshal { .. } => b"{0",
        };
        if self.as_bytes() == dict {
            return true;
        }
        let mut reader = self.reader();
        match reader.token() {
            Ok(Token::Seq(mut open)) => matches!(reader.next_element(&mut open), Ok(false)),
            Ok(Token::Map(mut open)) => matches!(reader.next_key(&mut open), Ok(false)),
            _ => false,
        }
    }

    /// Returns the elements of a list or tuple.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn items(&self) -> Result<Items<'a>, Error> {
        let mut reader = self.reader();
        match reader.token()? {
            Token::Seq(open) if matches!(open.kind, Kind::List | Kind::Tuple) => {
                Ok(Items { reader, open })
            }
            other => Err(mismatch("list or tuple", other.name()).at(self.base)),
        }
    }

    /// Returns the call that this is as an item of a batch; its object is that of the batch.
    ///
    /// # Errors
    ///
    /// When the value is no list or tuple of a method, its arguments and its keyword arguments.
    pub fn batch_item(&self) -> Result<CallHead<'a>, Error> {
        each!(&mut self.reader(), reader => batch_item(reader))
    }

    /// Returns the entries of a dict whose keys are str.
    ///
    /// # Errors
    ///
    /// When the value is something else; a key of another kind is found on the way.
    pub fn entries(&self) -> Result<Entries<'a>, Error> {
        let mut reader = self.reader();
        match reader.token()? {
            Token::Map(open) => Ok(Entries { reader, open }),
            other => Err(mismatch("dict", other.name()).at(self.base)),
        }
    }

    /// Returns the exception of a failed call, when this is its place in the answer to a batch.
    ///
    /// # Errors
    ///
    /// When it is such an exception, and its class or contents are refused.
    pub fn wrapped_exception(&self) -> Result<Option<Exception>, Error> {
        // Nearly all results are none, which shows without decoding them; by marshal the name may
        // stand elsewhere.
        if self.serializer() != Serializer::Marshal
            && memmem::find(self.as_bytes(), b"_ExceptionWrapper").is_none()
        {
            return Ok(None);
        }
        let mut reader = self.reader();
        if !matches!(reader.token()?, Token::Map(_)) {
            return Ok(None);
        }
        // Text that only mentions a wrapper is a result like any other.
        Ok(self.decode::<AnyWrapper>().ok().and_then(AnyWrapper::open))
    }
}

/// A [`Raw`] value that holds on to its document.
#[derive(Clone)]
pub struct Part {
    /// The value, or the document where references may lead out of it.
    bytes: Bytes,
    form: Form,
    base: usize,
    limits: Limits,
}

#[derive(Clone)]
enum Form {
    Serpent {
        careful: bool,
    },
    Json,
    Msgpack,
    Marshal {
        span: (usize, usize),
        places: marshal::Places,
    },
}

impl Part {
    /// Returns the value.
    pub fn raw(&self) -> Raw<'_> {
        // It was text when it was scanned.
        let text = || std::str::from_utf8(&self.bytes).unwrap_or_default();
        Raw {
            body: match &self.form {
                Form::Serpent { careful } => Body::Serpent {
                    text: text(),
                    careful: *careful,
                },
                Form::Json => Body::Json(text()),
                Form::Msgpack => Body::Msgpack(&self.bytes),
                Form::Marshal { span, places } => Body::Marshal {
                    document: &self.bytes,
                    span: *span,
                    places: places.clone(),
                },
            },
            base: self.base,
            limits: self.limits,
        }
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.raw().fmt(f)
    }
}

/// A reader of any format, for values whose type the caller knows only later.
enum AnyReader<'a> {
    Serpent(serpent::Reader<'a>),
    Json(json::Reader<'a>),
    Msgpack(msgpack::Reader<'a>),
    Marshal(marshal::Reader<'a>),
}

impl<'a> AnyReader<'a> {
    fn token(&mut self) -> Result<Token<'a>, Error> {
        each!(self, reader => reader.token())
    }

    fn next_element(&mut self, open: &mut Open) -> Result<bool, Error> {
        each!(self, reader => reader.next_element(open))
    }

    fn next_key(&mut self, open: &mut Open) -> Result<bool, Error> {
        each!(self, reader => reader.next_key(open))
    }

    fn decode<T: Deserialize<'a>>(&mut self) -> Result<T, Error> {
        each!(self, reader => T::deserialize(Decoder::new(reader)))
    }
}

/// The elements of a [`Raw`] list or tuple, one at a time.
pub struct Items<'a> {
    reader: AnyReader<'a>,
    open: Open,
}

impl<'a> Items<'a> {
    /// Decodes the next element as [`Raw::decode_shared`] does.
    ///
    /// # Errors
    ///
    /// As [`Items::next`].
    pub fn next_shared<T: DeserializeOwned + 'static>(
        &mut self,
        document: &Bytes,
    ) -> Result<Option<T>, Error> {
        if document.len() < SHARED_BYTES {
            return self.next();
        }
        let raw = self.next_raw()?;
        raw.map(|raw| raw.decode_shared(document)).transpose()
    }

    /// Decodes the next element.
    ///
    /// # Errors
    ///
    /// When it is no `T`. What comes after it cannot be read any more.
    #[expect(
        clippy::should_implement_trait,
        reason = "each element may be of another type"
    )]
    pub fn next<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, Error> {
        if self.open.closed || !self.reader.next_element(&mut self.open)? {
            return Ok(None);
        }
        self.reader.decode().map(Some)
    }

    /// Returns the next element as [`Raw::batch_item`] does.
    ///
    /// # Errors
    ///
    /// As there. What comes after it cannot be read any more.
    pub fn next_batch_item(&mut self) -> Result<Option<CallHead<'a>>, Error> {
        each!(&mut self.reader, reader => {
            if self.open.closed || !reader.next_element(&mut self.open)? {
                return Ok(None);
            }
            batch_item(reader).map(Some)
        })
    }

    /// Returns the next element undecoded.
    ///
    /// # Errors
    ///
    /// After another element could not be decoded.
    pub fn next_raw(&mut self) -> Result<Option<Raw<'a>>, Error> {
        each!(&mut self.reader, reader => next_raw(reader, &mut self.open))
    }

    /// Returns the next element, which must be text, borrowed where nothing in it is escaped.
    ///
    /// # Errors
    ///
    /// When it is no str, or one with lone surrogates.
    pub fn next_str(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        each!(&mut self.reader, reader => next_text(reader, &mut self.open))
    }
}

impl std::fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// The entries of a [`Raw`] dict, one at a time.
pub struct Entries<'a> {
    reader: AnyReader<'a>,
    open: Open,
}

impl<'a> Entries<'a> {
    /// Returns the next key and its value.
    ///
    /// # Errors
    ///
    /// When the key is no str.
    #[expect(
        clippy::should_implement_trait,
        reason = "it borrows from the document and may fail"
    )]
    pub fn next(&mut self) -> Result<Option<(Cow<'a, str>, Raw<'a>)>, Error> {
        if self.open.closed || !self.reader.next_key(&mut self.open)? {
            return Ok(None);
        }
        each!(&mut self.reader, reader => {
            let key = text_of(reader)?;
            reader.before_value()?;
            Ok(Some((key, reader.raw()?)))
        })
    }
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
