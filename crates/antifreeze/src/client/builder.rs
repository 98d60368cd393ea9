//! Settings of a proxy that is not made yet.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use antifreeze_serial::{Serializer, Value};

use super::proxy::Proxy;
use super::remote::Remote;
use crate::config::Config;
use crate::error::Error;
use crate::sleep::SleepClock;
use crate::uri::{IntoUri, Uri};

/// Settings of a proxy that is not made yet: of a [`Proxy`], or of an
/// [async one](crate::tokio::Proxy).
#[derive(Clone, Debug)]
pub struct ProxyBuilder<P = Proxy> {
    uri: Uri,
    config: Config,
    handshake: Value,
    sleep: SleepClock,
    proxy: PhantomData<fn() -> P>,
}

impl<P> ProxyBuilder<P> {
    pub(crate) fn new(uri: impl IntoUri) -> Result<Self, Error> {
        Ok(Self {
            uri: uri.into_uri()?,
            config: Config::default(),
            handshake: Value::from("hello"),
            sleep: SleepClock::default(),
            proxy: PhantomData,
        })
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
            protocol: Arc::new(self.config.connection()),
            config: self.config,
            sleep: self.sleep,
        }
    }
}
