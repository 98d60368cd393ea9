//! Lists whose elements are encoded one by one: the calls of a batch, and their results.

use serde::Serialize;

use crate::call::{push_args, push_call, push_kwargs};
use crate::{Error, Serializer, encode, marshal, msgpack};

/// A list that grows in its encoded form.
///
/// ```
/// use antifreeze_serial::{EncodedList, Serializer};
///
/// let mut calls = EncodedList::new(Serializer::Json);
/// calls.push_call("add", &(1, 2), &())?;
/// calls.push_call("reset", &(), &())?;
/// let mut out = Vec::new();
/// calls.encode_batch("obj", "<batch>", &mut out)?;
/// assert_eq!(
///     out,
///     br#"{"object": "obj", "method": "<batch>", "params": [["add", [1, 2], {}], ["reset", [], {}]], "kwargs": null}"#
/// );
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EncodedList {
    serializer: Serializer,
    /// The elements, with what stands between them.
    elements: Vec<u8>,
    len: usize,
}

impl EncodedList {
    /// A list without elements.
    pub fn new(serializer: Serializer) -> Self {
        Self {
            serializer,
            elements: Vec::new(),
            len: 0,
        }
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes its elements have.
    pub fn bytes(&self) -> usize {
        self.elements.len()
    }

    /// Adds a value that was encoded by [`encode_fragment`](crate::encode_fragment).
    pub fn push_fragment(&mut self, fragment: &[u8]) {
        self.separate();
        self.elements.extend_from_slice(fragment);
        self.len += 1;
    }

    /// Adds a call: the triple of method, arguments and keyword arguments.
    ///
    /// # Errors
    ///
    /// As [`encode_call`](crate::encode_call()); the list is then as before.
    pub fn push_call<A: Serialize + ?Sized, K: Serialize + ?Sized>(
        &mut self,
        method: &str,
        args: &A,
        kwargs: &K,
    ) -> Result<(), Error> {
        let start = self.elements.len();
        self.separate();
        let written = push_triple(self.serializer, method, args, kwargs, &mut self.elements);
        match written {
            Ok(()) => self.len += 1,
            Err(_) => self.elements.truncate(start),
        }
        written
    }

    /// Writes it behind `out` as a document.
    ///
    /// # Errors
    ///
    /// When it has more elements than marshal can count.
    pub fn encode_document(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        encode::header(self.serializer, out);
        self.encode(out)
    }

    /// Writes behind `out` the payload of a call whose arguments are this list, and which has no
    /// keyword arguments.
    ///
    /// # Errors
    ///
    /// As [`EncodedList::encode_document`].
    pub fn encode_batch(&self, object: &str, method: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        let args = |out: &mut Vec<u8>| self.encode(out);
        push_call(self.serializer, object, method, args, &None::<()>, out)
    }

    fn separate(&mut self) {
        if self.len == 0 {
            return;
        }
        let separator: &[u8] = match self.serializer {
            Serializer::Serpent => b",",
            Serializer::Json => b", ",
            Serializer::Msgpack | Serializer::Marshal => b"",
        };
        self.elements.extend_from_slice(separator);
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(self.elements.len() + 8);
        let closer: &[u8] = match self.serializer {
            Serializer::Serpent | Serializer::Json => {
                out.push(b'[');
                b"]"
            }
            Serializer::Marshal => {
                marshal::push_list_header(out, self.len)?;
                b""
            }
            Serializer::Msgpack => {
                msgpack::push_header(out, false, self.len);
                b""
            }
        };
        out.extend_from_slice(&self.elements);
        out.extend_from_slice(closer);
        Ok(())
    }
}

fn push_triple<A: Serialize + ?Sized, K: Serialize + ?Sized>(
    serializer: Serializer,
    method: &str,
    args: &A,
    kwargs: &K,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let between: [&[u8]; 4] = match serializer {
        Serializer::Serpent => [b"(", b",", b",", b")"],
        Serializer::Marshal => [b")\x03", b"", b"", b""],
        Serializer::Json => [b"[", b", ", b", ", b"]"],
        Serializer::Msgpack => [b"\x93", b"", b"", b""],
    };
    out.extend_from_slice(between[0]);
    encode::fragment(serializer, method, out)?;
    out.extend_from_slice(between[1]);
    push_args(serializer, args, out)?;
    out.extend_from_slice(between[2]);
    push_kwargs(serializer, kwargs, out)?;
    out.extend_from_slice(between[3]);
    Ok(())
}
