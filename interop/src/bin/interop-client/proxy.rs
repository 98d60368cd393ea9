//! Both kinds of proxy as one type that blocks, so that each scenario is written once.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use antifreeze::{
    BatchResults, Config, Error, IntoUri, Metadata, SerializedBlob, Serializer, Uri, Value,
    tokio as tasks,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

/// Whether proxies are those of tasks.
pub(crate) static TASKS: AtomicBool = AtomicBool::new(false);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("the system has threads")
});

/// One of two kinds of the same thing.
#[derive(Clone, Debug)]
pub(crate) enum Kind<A, B> {
    Threads(A),
    Tasks(B),
}

use Kind::{Tasks, Threads};

/// Does the same with either kind, which waits in its own manner.
macro_rules! wait {
    ($kind:expr, $own:pat => $work:expr) => {
        match $kind {
            Threads($own) => $work,
            Tasks($own) => RUNTIME.block_on($work),
        }
    };
}

/// Makes either kind of the same expression, which cannot fail.
macro_rules! both {
    ($kind:expr, $own:pat => $work:expr) => {
        match $kind {
            Threads($own) => Threads($work),
            Tasks($own) => Tasks($work),
        }
    };
}

#[derive(Clone, Debug)]
pub(crate) struct Proxy(Kind<antifreeze::Proxy, tasks::Proxy>);

pub(crate) struct ProxyBuilder(Kind<antifreeze::ProxyBuilder, tasks::ProxyBuilder<tasks::Proxy>>);

pub(crate) struct Items<T>(Kind<antifreeze::Items<T>, tasks::Items<T>>);

pub(crate) struct Batch(Kind<antifreeze::Batch, tasks::Batch<tasks::Proxy>>);

pub(crate) struct NameServer(Kind<antifreeze::NameServer, tasks::NameServer>);

impl ProxyBuilder {
    pub(crate) fn serializer(self, serializer: Serializer) -> Self {
        Self(both!(self.0, own => own.serializer(serializer)))
    }

    pub(crate) fn config(self, config: Config) -> Self {
        Self(both!(self.0, own => own.config(config)))
    }

    pub(crate) fn timeout(self, limit: Duration) -> Self {
        Self(both!(self.0, own => own.timeout(limit)))
    }

    pub(crate) fn handshake(self, value: impl Into<Value>) -> Self {
        Self(both!(self.0, own => own.handshake(value)))
    }

    pub(crate) fn lazy(self) -> Result<Proxy, Error> {
        Ok(Proxy(both!(self.0, own => own.lazy()?)))
    }

    pub(crate) fn connect(self) -> Result<Proxy, Error> {
        let proxy = self.lazy()?;
        proxy.bind()?;
        Ok(proxy)
    }
}

impl Proxy {
    pub(crate) fn builder(uri: impl IntoUri) -> Result<ProxyBuilder, Error> {
        Ok(ProxyBuilder(if TASKS.load(Ordering::Relaxed) {
            Tasks(tasks::Proxy::builder(uri)?)
        } else {
            Threads(antifreeze::Proxy::builder(uri)?)
        }))
    }

    /// At the other end of the socket that is the standard input.
    pub(crate) fn over_stdin(object: &str) -> Result<ProxyBuilder, Error> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        let socket = socket.expect("a socket as the standard input");
        Ok(ProxyBuilder(if TASKS.load(Ordering::Relaxed) {
            Tasks(tasks::Proxy::connected_socket(object, socket)?)
        } else {
            Threads(antifreeze::Proxy::connected_socket(object, socket)?)
        }))
    }

    pub(crate) fn connect(uri: impl IntoUri) -> Result<Self, Error> {
        Self::builder(uri)?.connect()
    }

    pub(crate) fn bind(&self) -> Result<bool, Error> {
        wait!(&self.0, own => own.bind())
    }

    pub(crate) fn call<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<T, Error> {
        wait!(&self.0, own => own.call(method, args))
    }

    pub(crate) fn stream<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
    ) -> Result<Items<T>, Error> {
        Ok(Items(match &self.0 {
            Threads(own) => Threads(own.stream(method, args)?),
            Tasks(own) => Tasks(RUNTIME.block_on(own.stream(method, args))?),
        }))
    }

    pub(crate) fn stream_attr<T: DeserializeOwned + 'static>(
        &self,
        name: &str,
    ) -> Result<Items<T>, Error> {
        Ok(Items(match &self.0 {
            Threads(own) => Threads(own.stream_attr(name)?),
            Tasks(own) => Tasks(RUNTIME.block_on(own.stream_attr(name))?),
        }))
    }

    pub(crate) fn call_kw<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<T, Error> {
        wait!(&self.0, own => own.call_kw(method, args, kwargs))
    }

    pub(crate) fn call_blob<T: DeserializeOwned + 'static>(
        &self,
        method: &str,
        blob: &SerializedBlob,
    ) -> Result<T, Error> {
        wait!(&self.0, own => own.call_blob(method, blob))
    }

    pub(crate) fn oneway(&self, method: &str, args: impl Serialize) -> Result<(), Error> {
        wait!(&self.0, own => own.oneway(method, args))
    }

    pub(crate) fn oneway_kw(
        &self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<(), Error> {
        wait!(&self.0, own => own.oneway_kw(method, args, kwargs))
    }

    pub(crate) fn attr<T: DeserializeOwned + 'static>(&self, name: &str) -> Result<T, Error> {
        wait!(&self.0, own => own.attr(name))
    }

    pub(crate) fn set_attr(&self, name: &str, value: impl Serialize) -> Result<(), Error> {
        wait!(&self.0, own => own.set_attr(name, value))
    }

    pub(crate) fn batch(&self) -> Batch {
        Batch(both!(&self.0, own => own.batch()))
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, Error> {
        wait!(&self.0, own => own.metadata())
    }

    pub(crate) fn ping(&self) -> Result<(), Error> {
        wait!(&self.0, own => own.ping())
    }

    pub(crate) fn serializer(&self) -> Serializer {
        match &self.0 {
            Threads(own) => own.serializer(),
            Tasks(own) => own.serializer(),
        }
    }

    pub(crate) fn release(&self) {
        match &self.0 {
            Threads(own) => own.release(),
            Tasks(own) => own.release(),
        }
    }

    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self(both!(&self.0, own => own.within(limit)))
    }

    pub(crate) fn pooled(&self, n: usize) -> Self {
        Self(both!(&self.0, own => own.pooled(n)))
    }
}

impl<T: DeserializeOwned + 'static> Iterator for Items<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        wait!(&mut self.0, own => own.next())
    }
}

impl Batch {
    pub(crate) fn call(&mut self, method: &str, args: impl Serialize) -> Result<(), Error> {
        match &mut self.0 {
            Threads(own) => own.call(method, args).map(drop),
            Tasks(own) => own.call(method, args).map(drop),
        }
    }

    pub(crate) fn send(&mut self) -> Result<BatchResults, Error> {
        wait!(&mut self.0, own => own.send())
    }

    pub(crate) fn oneway(&mut self) -> Result<(), Error> {
        wait!(&mut self.0, own => own.oneway())
    }
}

pub(crate) fn locate_ns(host: Option<&str>, port: Option<u16>) -> Result<NameServer, Error> {
    Ok(NameServer(if TASKS.load(Ordering::Relaxed) {
        Tasks(RUNTIME.block_on(tasks::locate_ns(host, port))?)
    } else {
        Threads(antifreeze::locate_ns(host, port)?)
    }))
}

impl NameServer {
    pub(crate) fn lookup(&self, name: &str) -> Result<Uri, Error> {
        wait!(&self.0, own => own.lookup(name))
    }

    pub(crate) fn register<T: Into<String>>(
        &self,
        name: &str,
        uri: impl IntoUri,
        safe: bool,
        metadata: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        wait!(&self.0, own => own.register(name, uri, safe, metadata))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<bool, Error> {
        wait!(&self.0, own => own.remove(name))
    }

    pub(crate) fn list(&self, prefix: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        wait!(&self.0, own => own.list(prefix))
    }

    pub(crate) fn yplookup_all<'a>(
        &self,
        tags: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, Error> {
        wait!(&self.0, own => own.yplookup_all(tags))
    }
}
