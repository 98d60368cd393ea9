//! What came of running a method: an encoded result, or an exception.

use std::error::Error as StdError;

use antifreeze_proto::Annotations;
use antifreeze_serial::{Exception, Serializer, memory};
use bytes::Bytes;
use serde::Serialize;

use super::after::After;
use super::exception;
use super::item_stream::NewStream;

/// Encodes the result of a method while the object is still locked, so that it may borrow from it.
#[derive(Clone, Copy)]
pub struct Out {
    pub(crate) serializer: Serializer,
    /// Whether the result becomes an item of a batch's list instead of a document of its own.
    pub(crate) fragment: bool,
}

/// An encoded result, or the exception to answer with.
pub struct Encoded(pub(crate) Outcome);

/// What came of running a method.
pub(crate) enum Outcome {
    Returned(Bytes),
    Raised(Box<Exception>),
    /// A stream, whose items the client asks for one by one.
    Stream(Box<NewStream>),
}

/// Everything that a call leaves behind.
pub(crate) struct Finished {
    pub(crate) outcome: Encoded,
    pub(crate) annotations: Annotations,
    /// Whether the connection ends after the answer.
    pub(crate) close: bool,
    /// To be dropped when the answer is written.
    pub(crate) after: After,
}

impl Out {
    /// A method returned this.
    pub fn value(self, value: impl Serialize) -> Encoded {
        let encoded = memory::written(|bytes| {
            if self.fragment {
                antifreeze_serial::encode_fragment(self.serializer, &value, bytes)
            } else {
                antifreeze_serial::encode_into(self.serializer, &value, bytes)
            }
        });
        match encoded {
            Ok(bytes) => Encoded(Outcome::Returned(bytes)),
            Err(error) => {
                let text = format!(
                    "the result cannot be encoded as {}: {error}",
                    self.serializer
                );
                Encoded::raised(Exception::new("builtins.TypeError", text))
            }
        }
    }

    /// A method returned this result; an error becomes the exception that Python will see.
    pub fn result<T: Serialize, E: Into<Box<dyn StdError + Send + Sync>>>(
        self,
        result: Result<T, E>,
    ) -> Encoded {
        match result {
            Ok(value) => self.value(value),
            Err(error) => Encoded::raised(exception::from_error(error.into())),
        }
    }
}

impl Encoded {
    pub(crate) fn raised(exception: Exception) -> Self {
        Self(Outcome::Raised(Box::new(exception)))
    }
}

impl Finished {
    pub(crate) fn raised(exception: Exception) -> Self {
        Self::new(Encoded::raised(exception), Annotations::new())
    }

    /// Takes the place of an answer that the connection does not take.
    pub(crate) fn unsendable(why: &impl std::fmt::Display) -> Self {
        Self::raised(Exception::new(
            exception::PYRO_ERROR,
            format!("the answer cannot be sent: {why}"),
        ))
    }

    pub(crate) fn new(outcome: Encoded, annotations: Annotations) -> Self {
        Self {
            outcome,
            annotations,
            close: false,
            after: After::default(),
        }
    }
}
