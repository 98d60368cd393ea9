//! Name servers, asked by tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::proxy::Proxy;
use super::wire::now;
use crate::config::Config;
use crate::error::Error;
use crate::naming::{self, OBJECT, Place};
use crate::uri::{IntoUri, Location, Protocol, Uri};

/// A name server, for tasks.
///
/// # Examples
///
/// ```no_run
/// # async fn names() -> Result<(), antifreeze::Error> {
/// let names = antifreeze::tokio::locate_ns(None, None).await?;
/// let uri = names.lookup("lab.laser").await?;
/// assert_eq!(uri.object(), "laser");
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
/// [`ErrorKind::Naming`](crate::ErrorKind::Naming) if there is none.
pub async fn locate_ns(host: Option<&str>, port: Option<u16>) -> Result<NameServer, Error> {
    NameServer::locate(&naming::settings(host, port)).await
}

impl NameServer {
    /// Finds the name server that the settings `ns_host` and `ns_port` say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Naming`](crate::ErrorKind::Naming) if there is none,
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if the settings have a `call_deadline` and it
    /// does not answer before that.
    pub async fn locate(config: &Config) -> Result<Self, Error> {
        Self::at(naming::location(config), config.clone()).await
    }

    async fn at(location: Location, config: Config) -> Result<Self, Error> {
        let limited = config.call_deadline.is_some();
        let uri = Uri::new(OBJECT, location)?;
        let connected = Proxy::builder(&uri)?.config(config).connect().await;
        connected
            .map(Self)
            .map_err(|error| naming::not_found(&uri, limited, &error))
    }

    /// The name server's own proxy.
    pub fn as_proxy(&self) -> &Proxy {
        &self.0
    }

    /// The URI that a name stands for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Naming`](crate::ErrorKind::Naming) if the name is not known, and those of
    /// [`Proxy::call`].
    pub async fn lookup(&self, name: &str) -> Result<Uri, Error> {
        let found = self.0.call("lookup", (name,)).await;
        found.map_err(|error| naming::unknown(self.0.uri(), name, error))
    }

    /// Makes a name stand for a URI; with `safe` only if it is free.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`], among them a remote `NamingError` if `safe` and the name is taken.
    pub async fn register<T: Into<String>>(
        &self,
        name: &str,
        uri: impl IntoUri,
        safe: bool,
        metadata: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        let metadata: Vec<String> = metadata.into_iter().map(Into::into).collect();
        let uri = uri.into_uri()?.to_string();
        self.0.call("register", (name, uri, safe, metadata)).await
    }

    /// Forgets a name; says whether it was known.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        let removed: u64 = self.0.call("remove", (name,)).await?;
        Ok(removed > 0)
    }

    /// The names that begin with `prefix`, and their URIs.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub async fn list(&self, prefix: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        self.0.call("list", (prefix,)).await
    }

    /// The names that have all these tags, and their URIs.
    ///
    /// # Errors
    ///
    /// Those of [`Proxy::call`].
    pub async fn yplookup_all<'a>(
        &self,
        tags: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let tags: BTreeSet<&str> = tags.into_iter().collect();
        let tags: Vec<&str> = tags.into_iter().collect();
        self.0.call("yplookup", (tags, (), false)).await
    }
}

/// Finds out what `uri` stands for now, asking a name server if it is a name or tags.
pub(super) async fn resolve(
    uri: &Uri,
    config: &Config,
    deadline: Option<Instant>,
) -> Result<Place, Error> {
    match uri.protocol() {
        Protocol::Pyro => Place::of(uri, uri),
        Protocol::PyroName => {
            let names = name_server(uri, config, deadline).await?;
            Place::of(uri, &names.lookup(uri.object()).await?)
        }
        Protocol::PyroMeta => {
            let names = name_server(uri, config, deadline).await?;
            let matches = names.yplookup_all(uri.tags()).await?;
            Place::of(uri, &naming::any_of(uri, matches)?)
        }
    }
}

async fn name_server(
    uri: &Uri,
    config: &Config,
    deadline: Option<Instant>,
) -> Result<NameServer, Error> {
    let location = uri.location().cloned();
    let location = location.unwrap_or_else(|| naming::location(config));
    let left = || deadline.map(|at| at.saturating_duration_since(now()));
    let mut config = config.clone();
    config.call_deadline = left();
    let NameServer(proxy) = NameServer::at(location, config).await?;
    // To connect has taken its part of the time, which is for all that is asked.
    Ok(NameServer(match left() {
        Some(left) => proxy.within(left),
        None => proxy,
    }))
}
