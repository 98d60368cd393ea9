//! Serialized blobs: what travels through programs that do not decode it.

use std::fmt;

use antifreeze_proto::AnnotationId;
use antifreeze_serial::{Exception, Limits, Serializer, Value, encode_blob_call, encode_fragment};
use bytes::Bytes;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};

use crate::call;
use crate::error::{Error, ErrorKind};

/// The annotation that comes with a blob: what it is about, and the names of object and method.
pub(crate) const INFO: AnnotationId = AnnotationId::known(b"BLBI");

const EXPECTED: &str = "expected a tuple of the info, an object and a method";
const VALUE_ERROR: &str = "builtins.ValueError";

/// How large that may be, since everybody on the way decodes it.
const MAX_INFO_BYTES: usize = 1 << 20;

/// Data as it is on the wire, with something that tells what it is about.
///
/// A program in the middle, such as a dispatcher, decides by the [`info`](Self::info) and passes the
/// blob on as it is: it neither decodes the data nor knows the classes in it. Only who wants to use
/// the data decodes it.
///
/// A blob is the only argument of its call: [`Proxy::call_blob`](crate::Proxy::call_blob) sends it, and
/// a method takes it as its first parameter, of this type. Its bytes are shared, so clones and
/// forwarding cost nothing.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, Error, Proxy, SerializedBlob, Serializer, expose};
///
/// struct Total;
///
/// #[expose]
/// impl Total {
///     fn add(&self, numbers: SerializedBlob) -> Result<i64, Error> {
///         let numbers: Vec<i64> = numbers.decode()?;
///         Ok(numbers.iter().sum())
///     }
/// }
///
/// struct Dispatcher(Proxy);
///
/// #[expose]
/// impl Dispatcher {
///     fn send(&self, blob: SerializedBlob) -> Result<i64, Error> {
///         assert_eq!(blob.info().as_str(), Some("numbers"));
///         self.0.call_blob("add", &blob)
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// let total = daemon.register("total", Total)?;
/// let dispatcher = daemon.register("dispatcher", Dispatcher(Proxy::new(total)?))?;
/// let running = daemon.start()?;
///
/// let blob = SerializedBlob::new(Serializer::Msgpack, "numbers", &[1, 2, 3])?;
/// let sum: i64 = Proxy::connect(dispatcher)?.call_blob("send", &blob)?;
/// assert_eq!(sum, 6);
/// running.stop()
/// # }
/// ```
///
/// # Wire
///
/// The flag KEEPSERIALIZED, and the annotation `BLBI` with what the payload need not be decoded for
/// (Pyro5 5.17, `client.py`, `SerializedBlob`).
#[derive(Clone)]
pub struct SerializedBlob {
    info: Value,
    serializer: Serializer,
    content: Content,
    limits: Limits,
}

#[derive(Clone)]
enum Content {
    /// The value.
    Data(Bytes),
    /// The payload of the call that it came with, whatever names are in there.
    Call(Bytes),
}

/// A request with a blob: what is called, and with what.
#[derive(Clone)]
pub(crate) struct BlobCall {
    pub(crate) object: String,
    pub(crate) method: String,
    pub(crate) blob: SerializedBlob,
}

/// What goes into the message of a call with a blob.
pub(crate) struct Packed {
    pub(crate) payload: Bytes,
    pub(crate) annotation: (AnnotationId, Bytes),
}

impl SerializedBlob {
    /// Encodes `data`; `info` is decoded by everybody on the way, and is a MiB at most.
    ///
    /// A call of it is one by this serializer, whichever the proxy uses for others.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`](crate::ErrorKind::Serialize) if the serializer cannot carry the data.
    pub fn new(
        serializer: Serializer,
        info: impl Into<Value>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        call::outward(|| encode_fragment(serializer, data, &mut bytes))?;
        Ok(Self {
            info: info.into(),
            serializer,
            content: Content::Data(bytes.into()),
            limits: Limits::default(),
        })
    }

    /// What it is about, in the words of whoever made it.
    pub fn info(&self) -> &Value {
        &self.info
    }

    /// The serializer by which it is encoded.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }

    /// Decodes the data.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`](crate::ErrorKind::Serialize) if it is malformed, or no `T`.
    pub fn decode<T: DeserializeOwned + 'static>(&self) -> Result<T, Error> {
        let payload = self.payload("", "")?;
        let call = antifreeze_serial::scan_call(self.serializer, &payload, &self.limits)?;
        Ok(call.args.decode_shared(&payload)?)
    }

    /// The message of a call of `method` with this blob.
    pub(crate) fn pack(&self, object: &str, method: &str) -> Result<Packed, Error> {
        let info = antifreeze_serial::encode(Serializer::Marshal, &(&self.info, object, method))?;
        if let Some(why) = too_large(&info) {
            return Err(Error::new(ErrorKind::Serialize, why));
        }
        Ok(Packed {
            payload: self.payload(object, method)?,
            annotation: (INFO, info.into()),
        })
    }

    /// The payload of a call; one that came already stays as it is.
    fn payload(&self, object: &str, method: &str) -> Result<Bytes, Error> {
        match &self.content {
            Content::Call(payload) => Ok(payload.clone()),
            Content::Data(data) => {
                let mut payload = Vec::with_capacity(data.len() + 64);
                encode_blob_call(self.serializer, object, method, data, &mut payload)?;
                Ok(payload.into())
            }
        }
    }
}

impl BlobCall {
    /// Reads what came with a blob; the payload is left alone.
    ///
    /// The error is the answer: it is missing, or is no such thing.
    pub(crate) fn read(
        annotations: &antifreeze_proto::Annotations,
        serializer: Serializer,
        payload: &Bytes,
        limits: &Limits,
    ) -> Result<Self, Exception> {
        let Some(info) = annotations.get(INFO) else {
            return Err(Exception::new("builtins.KeyError", INFO.as_str()));
        };
        if let Some(why) = too_large(info) {
            return Err(Exception::new(VALUE_ERROR, why));
        }
        let wrong = |class, why: &dyn fmt::Display| {
            Exception::new(
                class,
                format!("the annotation {INFO} of a serialized blob: {why}"),
            )
        };
        // Whoever passes the blob on need not know the classes in there.
        let read = antifreeze_serial::decode_plain_marshal(info, limits)
            .map_err(|error| wrong(error.python_class(), &error))?;
        let (Value::Tuple(parts) | Value::List(parts)) = read else {
            return Err(wrong(VALUE_ERROR, &EXPECTED));
        };
        let Ok([info, Value::Str(object), Value::Str(method)]) = <[Value; 3]>::try_from(parts)
        else {
            return Err(wrong(VALUE_ERROR, &EXPECTED));
        };
        let blob = SerializedBlob {
            info,
            serializer,
            content: Content::Call(payload.clone()),
            limits: *limits,
        };
        Ok(Self {
            object: object.to_string(),
            method: method.to_string(),
            blob,
        })
    }
}

/// Why the info of a blob is none.
fn too_large(info: &[u8]) -> Option<String> {
    let got = info.len();
    (got > MAX_INFO_BYTES).then(|| {
        format!("expected at most {MAX_INFO_BYTES} bytes of info with a serialized blob, got {got}")
    })
}

impl<'de> Deserialize<'de> for SerializedBlob {
    /// Always fails: it comes with the flag of a blob, and never within other values.
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "expected a serialized blob, got an ordinary argument",
        ))
    }
}

impl fmt::Debug for SerializedBlob {
    /// Not its data, which is somebody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Content::Data(bytes) | Content::Call(bytes)) = &self.content;
        f.debug_struct("SerializedBlob")
            .field("info", &self.info)
            .field("serializer", &self.serializer)
            .field("bytes", &bytes.len())
            .finish_non_exhaustive()
    }
}
