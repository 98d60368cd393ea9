//! The payload of a call, and values that wait in it undecoded.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::class::Exception;
use crate::{Error, Limits, Serializer};

/// Encodes the payload of a call.
pub fn encode_call<A: Serialize + ?Sized, K: Serialize + ?Sized>(
    serializer: Serializer,
    object: &str,
    method: &str,
    args: &A,
    kwargs: &K,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let _ = (serializer, object, method, args, kwargs, out);
    unimplemented!()
}

/// Encodes one value without what begins a document.
pub fn encode_fragment<T: Serialize + ?Sized>(
    serializer: Serializer,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let _ = (serializer, value, out);
    unimplemented!()
}

/// Writes the document that is the list of `fragments`.
pub fn encode_list_document(
    serializer: Serializer,
    fragments: &[impl AsRef<[u8]>],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let _ = (serializer, fragments, out);
    unimplemented!()
}

/// Checks a document that is one value, and leaves it undecoded.
pub fn scan<'a>(
    serializer: Serializer,
    document: &'a [u8],
    limits: &Limits,
) -> Result<Raw<'a>, Error> {
    let _ = (serializer, document, limits);
    unimplemented!()
}

/// Finds the parts of a call without decoding its arguments.
pub fn scan_call<'a>(
    serializer: Serializer,
    document: &'a [u8],
    limits: &Limits,
) -> Result<CallHead<'a>, Error> {
    let _ = (serializer, document, limits);
    unimplemented!()
}

/// The argument of a call that takes the place of the whole argument list.
pub struct Blob<T>(pub T);

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

/// One value that is known to be well formed and not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    serializer: Serializer,
    bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Returns the serializer whose bytes these are.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }
    /// Returns the bytes of the value.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// Decodes the value.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        unimplemented!()
    }
    /// Returns true for None.
    pub fn is_none(&self) -> bool {
        unimplemented!()
    }
    /// Returns true for an empty list, tuple, set or dict.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// Returns the elements of a list or tuple.
    pub fn items(&self) -> Result<Items<'a>, Error> {
        unimplemented!()
    }
    /// Returns the entries of a dict.
    pub fn entries(&self) -> Result<Entries<'a>, Error> {
        unimplemented!()
    }
    /// Returns the exception of a failed call in the answer to a batch.
    pub fn wrapped_exception(&self) -> Result<Option<Exception>, Error> {
        unimplemented!()
    }
}

/// The elements of a [`Raw`] list or tuple, one at a time.
pub struct Items<'a> {
    raw: PhantomData<&'a [u8]>,
}

impl<'a> Items<'a> {
    /// Decodes the next element.
    #[allow(clippy::should_implement_trait, reason = "it decodes, and may fail")]
    pub fn next<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, Error> {
        unimplemented!()
    }
    /// Returns the next element undecoded.
    pub fn next_raw(&mut self) -> Result<Option<Raw<'a>>, Error> {
        unimplemented!()
    }
    /// Returns the next element, which must be text.
    pub fn next_str(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        unimplemented!()
    }
}

/// The entries of a [`Raw`] dict, one at a time.
pub struct Entries<'a> {
    raw: PhantomData<&'a [u8]>,
}

impl<'a> Entries<'a> {
    /// Returns the next key and its value.
    #[allow(clippy::should_implement_trait, reason = "it may fail")]
    pub fn next(&mut self) -> Result<Option<(Cow<'a, str>, Raw<'a>)>, Error> {
        unimplemented!()
    }
}
