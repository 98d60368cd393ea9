//! What goes wrong between bytes and values, and what Python calls it.
//!
//! A message says what was expected, what came and where. It never repeats payload contents: no
//! strings, numbers or keys of the peer, only kinds, counts and offsets. Class names are the one
//! exception, because Pyro's own messages carry them and nobody could act without them.

use std::fmt;

/// Why a value could not be encoded or decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    offset: Option<usize>,
}

/// The families of [`Error`], which decide how Python sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes do not follow the format.
    Syntax,
    /// A value of another shape than the one asked for, or one that the format cannot carry.
    Type,
    /// A number outside the range of the type asked for.
    Range,
    /// Too deep, too many values, too many digits.
    Limit,
    /// Well formed, but not something this crate decodes or encodes.
    Unsupported,
    /// A class name that must never be turned into an object.
    Security,
    /// A class dict whose contents its class refuses.
    Refused,
    /// An error of a user's own `Serialize` or `Deserialize`.
    Custom,
}

impl Error {
    /// Makes an error of a kind, for code that adds rules of its own to decoding.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            offset: None,
        }))
    }

    /// Returns the family of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the byte of the document at which the trouble was noticed, where that is known.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// Returns the message without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the Python class that stands for this error when it is reported to a Pyro peer.
    pub fn python_class(&self) -> &'static str {
        match self.0.kind {
            ErrorKind::Type => "builtins.TypeError",
            ErrorKind::Range => "builtins.OverflowError",
            ErrorKind::Security => "Pyro5.errors.SecurityError",
            ErrorKind::Unsupported => "Pyro5.errors.SerializeError",
            ErrorKind::Syntax | ErrorKind::Limit | ErrorKind::Refused | ErrorKind::Custom => {
                "builtins.ValueError"
            }
        }
    }

    /// Notes where the error happened, unless a more exact place is known already.
    #[cold]
    pub(crate) fn at(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Forgets the place, for errors that did not happen in a document.
    #[cold]
    pub(crate) fn nowhere(mut self) -> Self {
        self.0.offset = None;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.offset {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}
