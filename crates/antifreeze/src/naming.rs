//! Name servers: finding one, and asking it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::client::Proxy;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::uri::{IntoUri, Location, Protocol, Uri};

/// The object id of every name server.
pub(crate) const OBJECT: &str = "Pyro.NameServer";

/// A name server.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), antifreeze::Error> {
/// let names = antifreeze::locate_ns(None, None)?;
/// names.register("lab.laser", "PYRO:laser@localhost:7777", false, ["class:laser"])?;
/// assert_eq!(names.lookup("lab.laser")?.object(), "laser");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NameServer(Proxy);

/// Finds a name server and connects to it.
///
/// Without a host it is looked for on this machine, without a port at 9090; other machines are not
/// asked by broadcast. [`NameServer::locate`] follows a program's settings.
///
/// # Errors
///
/// [`ErrorKind::Naming`] if there is none.
pub fn locate_ns(host: Option<&str>, port: Option<u16>) -> Result<NameServer, Error> {
    NameServer::locate(&settings(host, port))
}

/// The default settings, but for these.
pub(crate) fn settings(host: Option<&str>, port: Option<u16>) -> Config {
    let mut config = Config::default();
    if let Some(host) = host {
        config.ns_host = host.to_owned();
    }
    if let Some(port) = port {
        config.ns_port = port;
    }
    config
}

impl NameServer {
    /// Finds the name server that the settings `ns_host` and `ns_port` say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Naming`] if there is none, [`ErrorKind::Timeout`] if the settings have a
    /// `call_deadline` and it does not answer before that.
    pub fn locate(config: &Config) -> Result<Self, Error> {
        Self::at(location(config), config.clone())
    }

    fn at(location: Location, config: Config) -> Result<Self, Error> {
        let limited = config.call_deadline.is_some();
        let uri = Uri::new(OBJECT, location)?;
        let proxy = Proxy::builder(&uri)?
            .config(config)
            .connect()
            .map_err(|error| not_found(&uri, limited, &error))?;
        Ok(Self(proxy))
    }

    /// The name server's own proxy.
    pub fn as_proxy(&self) -> &Proxy {
        &self.0
    }

    /// The URI that a name stands for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Naming`] if the name is not known, and those of [`Proxy::call`].
    pub fn lookup(&self, name: &str) -> Result<Uri, Error> {
        let found = self.0.call("lookup", (name,));
        found.map_err(|error| unknown(self.0.uri(), name, error))
    }

    /// Makes a name stand for a URI; with `safe` only if it is free.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`], among them a remote `NamingError` if `safe` and the name is taken.
    pub fn register<T: Into<String>>(
        &self,
        name: &str,
        uri: impl IntoUri,
        safe: bool,
        metadata: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let metadata: Vec<String> = metadata.into_iter().map(Into::into).collect();
        self.0.call(
            "register",
            (name, uri.into_uri()?.to_string(), safe, metadata),
        )
    }

    /// Forgets a name; says whether it was known.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let removed: u64 = self.0.call("remove", (name,))?;
        Ok(removed > 0)
    }

    /// The names that begin with `prefix`, and their URIs.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub fn list(&self, prefix: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        self.0.call("list", (prefix,))
    }

    /// The names that have all these tags, and their URIs.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub fn yplookup_all<'a>(
        &self,
        tags: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let tags: BTreeSet<&str> = tags.into_iter().collect();
        let tags: Vec<&str> = tags.into_iter().collect();
        self.0.call("yplookup", (tags, (), false))
    }
}

/// An object and where it is.
pub(crate) struct Place {
    pub(crate) object: String,
    pub(crate) location: Location,
}

/// Finds out what `uri` stands for now, asking a name server if it is a name or tags.
pub(crate) fn resolve(
    uri: &Uri,
    config: &Config,
    deadline: Option<Instant>,
) -> Result<Place, Error> {
    let found;
    let direct = match uri.protocol() {
        Protocol::Pyro => uri,
        Protocol::PyroName => {
            found = name_server(uri, config, deadline)?.lookup(uri.object())?;
            &found
        }
        Protocol::PyroMeta => {
            let matches = name_server(uri, config, deadline)?.yplookup_all(uri.tags())?;
            found = any_of(uri, matches)?;
            &found
        }
    };
    Place::of(uri, direct)
}

impl Place {
    /// The place that `uri` stands for, which is at `direct`.
    pub(crate) fn of(uri: &Uri, direct: &Uri) -> Result<Self, Error> {
        match (direct.protocol(), direct.location()) {
            (Protocol::Pyro, Some(location)) => Ok(Self {
                object: direct.object().to_owned(),
                location: location.clone(),
            }),
            _ => {
                let text = format!("{uri} stands for {direct}, expected the URI of an object");
                Err(Error::new(ErrorKind::Naming, text))
            }
        }
    }
}

/// The error of who did not find a name server at `uri`.
pub(crate) fn not_found(uri: &Uri, limited: bool, error: &Error) -> Error {
    // Whoever has set a limit wants to know that it has passed.
    let kind = if limited && error.is_timeout() {
        ErrorKind::Timeout
    } else {
        ErrorKind::Naming
    };
    Error::new(kind, format!("no name server at {uri}: {error}"))
}

/// The error of who asked the name server at `uri` for `name`.
pub(crate) fn unknown(uri: &Uri, name: &str, error: Error) -> Error {
    if error.is_remote("NamingError") {
        let text = format!("the name server at {uri} has no {name:?}");
        return Error::new(ErrorKind::Naming, text);
    }
    error
}

/// One of the objects that have the tags of `uri`.
pub(crate) fn any_of(uri: &Uri, matches: BTreeMap<String, String>) -> Result<Uri, Error> {
    let matches: Vec<String> = matches.into_values().collect();
    // Any of them, as in Pyro, so that clients spread over the objects.
    let Some(choice) = fastrand::choice(&matches) else {
        let text = format!("no registrations available with the metadata of {uri}");
        return Err(Error::new(ErrorKind::Naming, text));
    };
    choice.parse()
}

/// Where the settings say that the name server is.
pub(crate) fn location(config: &Config) -> Location {
    Location::Tcp {
        host: config.ns_host.clone(),
        port: config.ns_port,
    }
}

fn name_server(uri: &Uri, config: &Config, deadline: Option<Instant>) -> Result<NameServer, Error> {
    let location = uri.location().cloned().unwrap_or_else(|| location(config));
    let left = || deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let mut config = config.clone();
    config.call_deadline = left();
    let NameServer(proxy) = NameServer::at(location, config)?;
    // To connect has taken its part of the time, which is for all that is asked.
    Ok(NameServer(match left() {
        Some(left) => proxy.within(left),
        None => proxy,
    }))
}
