//! The proxy of tasks with the methods of that of threads, so that both run the same scenarios.

use std::sync::LazyLock;
use std::time::Duration;

use antifreeze::tokio::{Proxy as TaskProxy, ProxyBuilder as TaskProxyBuilder};
use antifreeze::{Config, Error, IntoUri, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

#[derive(Clone, Debug)]
pub(crate) struct Proxy(TaskProxy);

pub(crate) struct ProxyBuilder(TaskProxyBuilder<TaskProxy>);

impl ProxyBuilder {
    pub(crate) fn config(self, config: Config) -> Self {
        Self(self.0.config(config))
    }

    pub(crate) fn timeout(self, limit: Duration) -> Self {
        Self(self.0.timeout(limit))
    }

    pub(crate) fn handshake(self, value: impl Into<Value>) -> Self {
        Self(self.0.handshake(value))
    }

    pub(crate) fn sleep_clock(self, slept: fn() -> Duration) -> Self {
        Self(self.0.sleep_clock(slept))
    }

    pub(crate) fn lazy(self) -> Result<Proxy, Error> {
        self.0.lazy().map(Proxy)
    }

    pub(crate) fn connect(self) -> Result<Proxy, Error> {
        RUNTIME.block_on(self.0.connect()).map(Proxy)
    }
}

impl Proxy {
    pub(crate) fn builder(uri: impl IntoUri) -> Result<ProxyBuilder, Error> {
        TaskProxy::builder(uri).map(ProxyBuilder)
    }

    pub(crate) fn call<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<T, Error> {
        RUNTIME.block_on(self.0.call(method, args))
    }

    pub(crate) fn oneway(&self, method: &str, args: impl Serialize) -> Result<(), Error> {
        RUNTIME.block_on(self.0.oneway(method, args))
    }

    pub(crate) fn bind(&self) -> Result<bool, Error> {
        RUNTIME.block_on(self.0.bind())
    }

    pub(crate) fn ping(&self) -> Result<(), Error> {
        RUNTIME.block_on(self.0.ping())
    }

    pub(crate) fn release(&self) {
        self.0.release();
    }

    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self(self.0.within(limit))
    }

    pub(crate) fn idempotent(&self) -> Self {
        Self(self.0.idempotent())
    }

    pub(crate) fn pooled(&self, n: usize) -> Self {
        Self(self.0.pooled(n))
    }
}
