//! Where an object is: the text that Pyro calls a URI.
//!
//! ```text
//! PYRO:object@host:port              the object itself
//! PYRO:object@[v6 address]:port
//! PYRO:object@./u:path               on a Unix domain socket; a leading NUL is an abstract one
//! PYRONAME:name                      whatever the name server has under this name
//! PYRONAME:name@host:port            ... and where that name server is
//! PYROMETA:tag,tag                   anything that the name server has with all these tags
//! ```
//!
//! Not here: asking the name server what a `PYRONAME` or `PYROMETA` means, and connecting.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use antifreeze_serial::{UriObject, UriState, Value};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::{Error, ErrorKind};

#[cfg(test)]
mod tests;

/// The port of a name server when a URI names only its host.
pub(crate) const NS_PORT: u16 = 9090;

/// What begins a location that is a Unix domain socket.
const UNIX: &str = "./u:";

/// The address of a remote object, or the question by which a name server finds it.
///
/// # Examples
///
/// ```
/// use antifreeze::{Location, Protocol, Uri};
///
/// let uri: Uri = "PYRO:account@localhost:7777".parse()?;
/// assert_eq!(uri.protocol(), Protocol::Pyro);
/// assert_eq!(uri.object(), "account");
/// let at = Location::Tcp { host: "localhost".to_owned(), port: 7777 };
/// assert_eq!(uri.location(), Some(&at));
/// assert_eq!(uri.to_string(), "PYRO:account@localhost:7777");
/// # Ok::<(), antifreeze::Error>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Uri {
    protocol: Protocol,
    /// For `PYROMETA` the tags: sorted, each once, joined by commas. So equal sets are equal texts.
    object: String,
    location: Option<Location>,
}

/// How the object of a [`Uri`] is found.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// `PYRO`: the object is at the location.
    Pyro,
    /// `PYRONAME`: a name server knows the name. The location, if any, is the name server's.
    PyroName,
    /// `PYROMETA`: a name server knows objects with these tags.
    PyroMeta,
}

/// Where a daemon or name server listens.
///
/// Its text is what stands after the `@` of a [`Uri`].
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Location {
    /// A host and a port.
    Tcp {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The port. A daemon takes 0 as "any free port".
        port: u16,
    },
    /// A Unix domain socket.
    Unix {
        /// The path. A leading NUL means a name in Linux's abstract namespace.
        path: String,
    },
}

/// What can be used where a [`Uri`] is wanted: a `Uri`, or text that is parsed as one.
pub trait IntoUri {
    /// Makes the URI.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the text is none.
    fn into_uri(self) -> Result<Uri, Error>;
}

impl Uri {
    /// The URI of an object: `PYRO:object@location`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`] if the object's id or the location cannot be written in a URI: an id is
    /// not empty and has neither white space nor `@`.
    pub fn new(object: impl Into<String>, location: Location) -> Result<Self, Error> {
        Self::checked(Protocol::Pyro, object.into(), Some(location))
    }

    /// A question to a name server for one name: `PYRONAME:name`, with the name server's location
    /// or without it.
    ///
    /// # Errors
    ///
    /// As for [`Uri::new`].
    pub fn name(name: impl Into<String>, server: Option<Location>) -> Result<Self, Error> {
        Self::checked(Protocol::PyroName, name.into(), server)
    }

    /// A question to a name server for any object that has all these tags: `PYROMETA:tag,tag`.
    ///
    /// # Errors
    ///
    /// As for [`Uri::new`]; a tag must not have a comma either, and there must be one at least.
    pub fn meta<T: AsRef<str>>(
        tags: impl IntoIterator<Item = T>,
        server: Option<Location>,
    ) -> Result<Self, Error> {
        let mut joined = String::new();
        for tag in tags {
            let tag = tag.as_ref();
            if tag.contains(',') {
                return Err(invalid(format!(
                    "expected tags without commas; got {}",
                    Quoted(tag)
                )));
            }
            // Also after an empty tag, so that it is seen below.
            joined.push_str(tag);
            joined.push(',');
        }
        joined.pop();
        Self::checked(Protocol::PyroMeta, joined, server)
    }

    /// How the object is found.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The object's id; of a `PYRONAME` the name; of a `PYROMETA` its tags, sorted and joined by
    /// commas.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The location of the object, or of the name server to ask. A `PYRO` URI always has one.
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// The tags of a `PYROMETA` URI, sorted; nothing for the others.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = (self.protocol == Protocol::PyroMeta).then(|| self.object.split(','));
        tags.into_iter().flatten()
    }

    /// Parses `text`, with the port to take for a name server where `text` gives only its host.
    ///
    /// `text.parse::<Uri>()` takes 9090.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Uri`], and the text says what was expected and what came.
    pub fn parse_with_ns_port(text: &str, ns_port: u16) -> Result<Self, Error> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(s, _)| is_scheme(s)) else {
            return Err(invalid(format!(
                "expected PYRO:object@host:port, PYRONAME:name or PYROMETA:tag,tag; got {}",
                Quoted(text)
            )));
        };
        let protocol = match scheme.to_ascii_uppercase().as_str() {
            "PYRO" => Protocol::Pyro,
            "PYRONAME" => Protocol::PyroName,
            "PYROMETA" => Protocol::PyroMeta,
            _ => {
                return Err(error(format!(
                    "invalid uri (protocol): expected PYRO, PYRONAME or PYROMETA; got {} in {}",
                    Quoted(scheme),
                    Quoted(text)
                )));
            }
        };
        // The id ends at the first `@`: a path may have more of them.
        let (object, location) = match rest.split_once('@') {
            Some((object, location)) => (object, Some(location)),
            None => (rest, None),
        };
        let default_port = (protocol != Protocol::Pyro).then_some(ns_port);
        let location = location
            .map(|l| Location::parse(l, default_port))
            .transpose()?;
        Self::checked(protocol, object.to_owned(), location)
    }

    /// Puts the parts together if they can be written as a URI that is read back as the same.
    fn checked(
        protocol: Protocol,
        object: String,
        location: Option<Location>,
    ) -> Result<Self, Error> {
        let what = match protocol {
            Protocol::Pyro => "an object id",
            Protocol::PyroName => "a name",
            Protocol::PyroMeta => "tags",
        };
        if object.is_empty() || object.contains(|c| is_space(c) || c == '@') {
            return Err(invalid(format!(
                "expected {what} without white space and \"@\" after \"{protocol}:\"; got {}",
                Quoted(&object)
            )));
        }
        match &location {
            Some(location) => location.check()?,
            None if protocol == Protocol::Pyro => {
                return Err(invalid(format!(
                    "expected a location after the object id, as in PYRO:{object}@host:port or \
                     PYRO:{object}@./u:path; got {}",
                    Quoted(&format!("PYRO:{object}"))
                )));
            }
            None => {}
        }
        let object = match protocol {
            Protocol::Pyro | Protocol::PyroName => object,
            Protocol::PyroMeta => {
                let mut tags: Vec<&str> = object.split(',').collect();
                tags.sort_unstable();
                tags.dedup();
                if tags[0].is_empty() {
                    return Err(invalid(format!(
                        "expected tags that are not empty; got {}",
                        Quoted(&object)
                    )));
                }
                tags.join(",")
            }
        };
        Ok(Self {
            protocol,
            object,
            location,
        })
    }
}

impl FromStr for Uri {
    type Err = Error;

    /// Parses the text of a URI. The protocol may be in lower case.
    ///
    /// Stricter than Pyro where Pyro takes what cannot work: an empty host, a port above 65535,
    /// text after the port.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse_with_ns_port(text, NS_PORT)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.object)?;
        match &self.location {
            Some(location) => write!(f, "@{location}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, for the NUL of an abstract socket.
        write!(f, "Uri({})", Quoted(&self.to_string()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pyro => "PYRO",
            Self::PyroName => "PYRONAME",
            Self::PyroMeta => "PYROMETA",
        })
    }
}

impl Location {
    /// A host and a port. An IPv6 address is given without brackets.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// Whether it stands for all addresses of a machine.
    pub(crate) fn is_wildcard(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_unspecified()),
            Self::Unix { .. } => false,
        }
    }

    /// A Unix domain socket.
    pub fn unix(path: impl Into<String>) -> Self {
        Self::Unix { path: path.into() }
    }

    fn parse(text: &str, default_port: Option<u16>) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix(UNIX) {
            let location = Self::unix(path);
            return location.check().map(|()| location);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            if rest.starts_with('[') {
                return Err(error(format!(
                    "invalid ipv6 address: enclosed in too many brackets: expected [address]:port; \
                     got {}",
                    Quoted(text)
                )));
            }
            let Some((host, after)) = rest.split_once(']') else {
                return Err(error(format!(
                    "invalid ipv6 address: expected [address]:port; got {}",
                    Quoted(text)
                )));
            };
            check_ipv6(host)?;
            match after.strip_prefix(':') {
                Some(port) => (host, port),
                None if after.is_empty() => (host, ""),
                None => return Err(bad_location(text)),
            }
        } else {
            // The host has no colon, so what follows the first one is meant as the port.
            text.split_once(':').unwrap_or((text, ""))
        };
        let port = match (port, default_port) {
            ("", Some(default)) => default,
            ("", None) => {
                return Err(error(format!(
                    "invalid port in uri, port=None: expected host:port; got {}",
                    Quoted(text)
                )));
            }
            (port, _) => parse_port(port)?,
        };
        let location = Self::tcp(host, port);
        location.check().map(|()| location)
    }

    /// Whether its text is read back as the same location.
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Tcp { host, .. } if host.contains(':') => check_ipv6(host),
            Self::Tcp { host, .. } => {
                let stray =
                    |c: char| is_space(c) || c.is_control() || matches!(c, '@' | '/' | '[' | ']');
                if host.is_empty() || host.contains(stray) {
                    return Err(bad_location(&self.to_string()));
                }
                Ok(())
            }
            Self::Unix { path } => {
                let name = path.strip_prefix('\0').unwrap_or(path);
                if name.is_empty() || name.contains([':', '\0', '\n']) {
                    return Err(error(format!(
                        "invalid uri (location): expected {UNIX} and the path of a socket, without \
                         colon, NUL and line break; got {}",
                        Quoted(&self.to_string())
                    )));
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    /// Parses `host:port`, `[v6 address]:port` or `./u:path`.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text, None)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "{UNIX}{path}"),
        }
    }
}

/// The letters before the first colon: `pyro`, then letters, in any case.
fn is_scheme(text: &str) -> bool {
    text.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("pyro"))
        && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// White space as Python's `\s` has it, because Python programs will read the URI.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

fn parse_port(text: &str) -> Result<u16, Error> {
    // `parse` alone would take a plus sign.
    let port = text
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten();
    port.ok_or_else(|| {
        error(format!(
            "invalid port in uri, port={}: expected a number from 0 to 65535",
            text.chars().take(40).collect::<String>().escape_debug()
        ))
    })
}

fn check_ipv6(host: &str) -> Result<(), Error> {
    // Pyro takes only hexadecimal digits in a zone as well, so a name of an interface is refused.
    let (address, zone) = host
        .split_once('%')
        .map_or((host, None), |(a, z)| (a, Some(z)));
    let zone_ok = zone.is_none_or(|z| !z.is_empty() && z.bytes().all(|b| b.is_ascii_hexdigit()));
    if address.parse::<Ipv6Addr>().is_err() || address.contains('.') || !zone_ok {
        return Err(error(format!(
            "invalid ipv6 address: the part between brackets must be a numeric ipv6 address; got \
             {}",
            Quoted(host)
        )));
    }
    Ok(())
}

fn bad_location(text: &str) -> Error {
    error(format!(
        "invalid uri (location): expected host:port, [v6 address]:port or {UNIX}path; got {}",
        Quoted(text)
    ))
}

fn invalid(message: String) -> Error {
    error(format!("invalid uri: {message}"))
}

fn error(message: String) -> Error {
    Error::new(ErrorKind::Uri, message)
}

/// Text from who knows where, for a message: in quotes, escaped, and not endless.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST_CHARS: usize = 200;
        match self.0.char_indices().nth(LONGEST_CHARS) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}... ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

impl Uri {
    /// The URI that has come as a `URI` object, as its text, or as a proxy.
    pub(crate) fn of_value(value: &Value) -> Result<Self, Error> {
        match (value, value.as_str()) {
            (_, Some(text)) => text.parse(),
            (Value::Uri(state), _) => Self::try_from(&**state),
            (Value::Proxy(proxy), _) => proxy.uri.parse(),
            (other, _) => Err(invalid(format!(
                "expected a URI or str; got {}",
                other.kind()
            ))),
        }
    }
}

impl IntoUri for Uri {
    fn into_uri(self) -> Result<Uri, Error> {
        Ok(self)
    }
}

impl IntoUri for &Uri {
    fn into_uri(self) -> Result<Uri, Error> {
        Ok(self.clone())
    }
}

impl IntoUri for &str {
    fn into_uri(self) -> Result<Uri, Error> {
        self.parse()
    }
}

impl IntoUri for String {
    fn into_uri(self) -> Result<Uri, Error> {
        self.parse()
    }
}

impl IntoUri for &String {
    fn into_uri(self) -> Result<Uri, Error> {
        self.parse()
    }
}

impl From<&Uri> for UriState {
    fn from(uri: &Uri) -> Self {
        let object = match uri.protocol {
            Protocol::Pyro | Protocol::PyroName => UriObject::Id(uri.object.clone()),
            Protocol::PyroMeta => UriObject::Tags(uri.tags().map(str::to_owned).collect()),
        };
        let (sockname, host, port) = match uri.location.clone() {
            None => (None, None, None),
            Some(Location::Tcp { host, port }) => (None, Some(host), Some(port)),
            Some(Location::Unix { path }) => (Some(path), None, None),
        };
        Self {
            protocol: uri.protocol.to_string(),
            object,
            sockname,
            host,
            port,
        }
    }
}

impl TryFrom<&UriState> for Uri {
    type Error = Error;

    fn try_from(state: &UriState) -> Result<Self, Error> {
        let location = match (&state.sockname, &state.host, state.port) {
            (None, None, _) => None,
            (Some(path), None, _) => Some(Location::unix(path)),
            (None, Some(host), Some(port)) => Some(Location::tcp(host, port)),
            (None, Some(_), None) | (Some(_), Some(_), _) => {
                return Err(invalid(
                    "expected a state with a host and its port, or with a socket's path".to_owned(),
                ));
            }
        };
        match (state.protocol.as_str(), &state.object) {
            ("PYRO", UriObject::Id(id)) => Self::checked(Protocol::Pyro, id.clone(), location),
            ("PYRONAME", UriObject::Id(name)) => Self::name(name, location),
            ("PYROMETA", UriObject::Tags(tags)) => Self::meta(tags, location),
            (protocol, _) => Err(invalid(format!(
                "expected a state of PYRO or PYRONAME with an id, or of PYROMETA with tags; got {}",
                Quoted(protocol)
            ))),
        }
    }
}

impl From<&Uri> for Value {
    fn from(uri: &Uri) -> Self {
        UriState::from(uri).into()
    }
}

impl From<Uri> for Value {
    fn from(uri: Uri) -> Self {
        Self::from(&uri)
    }
}

impl Serialize for Uri {
    /// Travels as the `URI` object of Python.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Uri {
    /// Taken from a `URI` object, from its text, and from a proxy, which stands for its URI.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::of_value(&value).map_err(D::Error::custom)
    }
}
