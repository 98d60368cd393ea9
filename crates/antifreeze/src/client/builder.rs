//! Settings of a proxy that is not made yet.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use antifreeze_serial::{ProxyState, Serializer, Value};
use parking_lot::Mutex;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::given::Given;
use super::proxy::Proxy;
use super::remote::Remote;
use crate::call;
use crate::config::Config;
use crate::error::Error;
use crate::net::{Socket, nowhere};
use crate::rpc::Metadata;
use crate::sleep::SleepClock;
use crate::uri::{IntoUri, Uri};

/// Settings of a proxy that is not made yet: of a [`Proxy`], or of an
/// [async one](crate::tokio::Proxy).
///
/// A parameter of this type takes a proxy that comes with a call, for a method that wants to use it
/// with settings of its own; so does a result.
#[derive(Clone, Debug)]
pub struct ProxyBuilder<P = Proxy> {
    uri: Uri,
    config: Config,
    handshake: Value,
    /// What is known of the object before it is asked.
    metadata: Option<Arc<Metadata>>,
    /// A connection that is there already.
    given: Option<Given>,
    sleep: SleepClock,
    proxy: PhantomData<fn() -> P>,
}

impl<P> ProxyBuilder<P> {
    pub(crate) fn new(uri: impl IntoUri) -> Result<Self, Error> {
        Ok(Self {
            uri: uri.into_uri()?,
            config: Config::default(),
            handshake: Value::from("hello"),
            metadata: None,
            given: None,
            sleep: SleepClock::default(),
            proxy: PhantomData,
        })
    }

    /// An object at the other end of a connection that is there already.
    pub(crate) fn connected_socket(object: &str, socket: OwnedFd) -> Result<Self, Error> {
        let socket = Socket::connected(socket)?;
        let location = socket.peer_location().unwrap_or_else(nowhere);
        let mut builder = Self::new(Uri::new(object, location)?)?;
        builder.given = Some(Given::new(socket));
        Ok(builder)
    }

    /// What has come in place of a remote object, to be used with the settings of the daemon whose call
    /// it came with, or of the proxy that got it.
    pub(crate) fn of_state(state: &ProxyState) -> Result<Self, Error> {
        let mut builder = Self::arrived(&state.uri)?;
        builder.handshake = state.handshake.clone();
        if let Some(serializer) = &state.serializer {
            builder.config.serializer = serializer.parse()?;
        }
        builder.metadata = Some(Arc::new(Metadata::of_state(state)));
        Ok(builder)
    }

    fn arrived(uri: impl IntoUri) -> Result<Self, Error> {
        let mut builder = Self::new(uri)?;
        if let Some(settings) = call::settings_of_arrivals() {
            builder.config = Config::clone(&settings);
        }
        Ok(builder)
    }

    /// Uses these settings instead of the defaults.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sends calls in this serializer.
    #[must_use]
    pub fn serializer(mut self, serializer: Serializer) -> Self {
        self.config.serializer = serializer;
        self
    }

    /// Bounds every call, connecting and waiting for others that use the proxy included.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.config.call_deadline = Some(limit);
        self
    }

    /// Introduces itself with this value when it connects; by default with `"hello"`, as Pyro does.
    #[must_use]
    pub fn handshake(mut self, value: impl Into<Value>) -> Self {
        self.handshake = value.into();
        self
    }

    /// Believes that the machine has slept as long as `slept` says. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn sleep_clock(mut self, slept: fn() -> Duration) -> Self {
        self.sleep = SleepClock::new(slept);
        self
    }

    pub(crate) fn remote(self) -> Remote {
        Remote {
            uri: self.uri,
            serializer: self.config.serializer,
            handshake: self.handshake,
            metadata: Arc::new(Mutex::new(self.metadata)),
            given: self.given,
            protocol: Arc::new(self.config.connection()),
            config: Arc::new(self.config),
            sleep: self.sleep,
        }
    }
}

impl<'de, P> Deserialize<'de> for ProxyBuilder<P> {
    /// Taken from a proxy, and from a `URI` object or its text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let builder = match &value {
            Value::Proxy(state) => Self::of_state(state),
            _ => Uri::of_value(&value).and_then(Self::arrived),
        };
        builder.map_err(D::Error::custom)
    }
}
