//! Places in the code.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// A place in the code of this program, or of another one that told us of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Site(Where);

#[derive(Clone, Eq, PartialEq)]
enum Where {
    Here(&'static Location<'static>),
    /// `file:line:column`.
    Told(Arc<str>),
}

impl Site {
    /// A place that nobody knows.
    pub fn unknown() -> Self {
        Self::told("")
    }

    /// The place that somebody else writes as `file:line:column`.
    pub fn told(text: &str) -> Self {
        Self(Where::Told(text.into()))
    }

    /// Whether anybody knows it.
    pub fn is_known(&self) -> bool {
        !matches!(&self.0, Where::Told(text) if text.is_empty())
    }

    /// The file.
    pub fn file(&self) -> &str {
        match &self.0 {
            Where::Here(location) => location.file(),
            Where::Told(text) => text.split(':').next().unwrap_or_default(),
        }
    }

    /// The line, counted from 1; 0 if it is not known.
    pub fn line(&self) -> u32 {
        match &self.0 {
            Where::Here(location) => location.line(),
            Where::Told(text) => {
                let line = text.rsplit(':').nth(1);
                line.and_then(|line| line.parse().ok()).unwrap_or(0)
            }
        }
    }
}

impl From<&'static Location<'static>> for Site {
    fn from(location: &'static Location<'static>) -> Self {
        Self(Where::Here(location))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Where::Here(location) => location.fmt(f),
            Where::Told(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Site {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Site {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::told(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_told_reads_as_where_it_is() {
        let here = Site::from(Location::caller());
        let told = Site::told(&here.to_string());
        assert_eq!((told.file(), told.line()), (here.file(), here.line()));
        assert_eq!(told.to_string(), here.to_string());
        assert!(here.is_known() && told.is_known() && !Site::unknown().is_known());
        let nonsense = Site::told("nowhere");
        assert_eq!((nonsense.file(), nonsense.line()), ("nowhere", 0));
    }
}
