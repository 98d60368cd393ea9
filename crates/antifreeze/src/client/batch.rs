//! Several calls of one object in one message.

use std::fmt;
use std::vec;

use antifreeze_proto::Response;
use antifreeze_serial::{EncodedList, Serializer, Value, scan};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::crank::Shape;
use super::proxy::Proxy;
use super::remote::Remote;
use crate::call;
use crate::error::{Error, Sent};

/// Calls that are sent together and run in order, up to the first that raises.
///
/// # Examples
///
/// ```
/// # use antifreeze::{Daemon, Proxy, expose};
/// # struct Counter(i64);
/// # #[expose]
/// # impl Counter {
/// #     fn add(&mut self, n: i64) -> i64 {
/// #         self.0 += n;
/// #         self.0
/// #     }
/// # }
/// # fn main() -> Result<(), antifreeze::Error> {
/// # let daemon = Daemon::bind("localhost:0")?;
/// # let uri = daemon.register("counter", Counter(0))?;
/// # let running = daemon.start()?;
/// let counter = Proxy::connect(uri)?;
/// let mut batch = counter.batch();
/// batch.call("add", (1,))?.call("add", (2,))?;
/// let totals: Vec<i64> = batch.send_as()?;
/// assert_eq!(totals, [1, 3]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch<P = Proxy> {
    proxy: P,
    serializer: Serializer,
    calls: EncodedList,
}

/// The calls of a batch that is being sent.
pub(crate) struct Calls(EncodedList);

/// The results of a batch, in order; the last may be an exception.
pub struct BatchResults(vec::IntoIter<Result<Value, Error>>);

impl<P> Batch<P> {
    pub(crate) fn new(proxy: P, serializer: Serializer) -> Self {
        Self {
            proxy,
            serializer,
            calls: EncodedList::new(serializer),
        }
    }

    /// Adds a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`](crate::ErrorKind::Serialize) if an argument cannot be carried.
    pub fn call(&mut self, method: &str, args: impl Serialize) -> Result<&mut Self, Error> {
        self.call_kw(method, args, ())
    }

    /// Adds a call with keyword arguments, too.
    ///
    /// # Errors
    ///
    /// As [`Batch::call`].
    pub fn call_kw(
        &mut self,
        method: &str,
        args: impl Serialize,
        kwargs: impl Serialize,
    ) -> Result<&mut Self, Error> {
        call::outward(|| self.calls.push_call(method, &args, &kwargs))?;
        Ok(self)
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether it has no calls.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls, of which none are left.
    pub(crate) fn take(&mut self) -> Calls {
        let empty = EncodedList::new(self.serializer);
        Calls(std::mem::replace(&mut self.calls, empty))
    }

    pub(crate) fn proxy(&self) -> &P {
        &self.proxy
    }
}

impl Batch<Proxy> {
    /// Sends the calls, waits for the results, and is empty again.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`]. An exception that one of the calls raises is the last of the results; a
    /// method that does not exist fails the whole batch.
    #[track_caller]
    pub fn send(&mut self) -> Result<BatchResults, Error> {
        let response = self.exchange()?;
        BatchResults::new(self.proxy.remote(), &response)
    }

    /// Sends the calls and gives the results as one type.
    ///
    /// # Errors
    ///
    /// As [`Batch::send`]; also if one of the calls raises.
    #[track_caller]
    pub fn send_as<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Error> {
        let response = self.exchange()?;
        results(self.proxy.remote(), &response)
    }

    /// Sends the calls without waiting, and is empty again.
    ///
    /// # Errors
    ///
    /// As [`Proxy::oneway`].
    #[track_caller]
    pub fn oneway(&mut self) -> Result<(), Error> {
        let calls = self.take();
        let encode = calls.encode();
        let sent = self.proxy.send(Shape::OnewayBatch, METHOD, &encode);
        sent.map(|_| ())
    }

    #[track_caller]
    fn exchange(&mut self) -> Result<Response, Error> {
        let calls = self.take();
        self.proxy.exchange(Shape::Batch, METHOD, &calls.encode())
    }
}

impl Calls {
    /// What writes them as the payload of one call to the object of this id.
    pub(crate) fn encode(
        &self,
    ) -> impl Fn(&str, Serializer, &mut Vec<u8>) -> Result<(), antifreeze_serial::Error> {
        |object, _, out| self.0.encode_batch(object, METHOD, out)
    }
}

impl BatchResults {
    pub(crate) fn new(remote: &Remote, response: &Response) -> Result<Self, Error> {
        let mut results = Vec::new();
        each(remote, response, |result| {
            results.push(result);
            Ok(())
        })?;
        Ok(Self(results.into_iter()))
    }
}

/// The results as one type; an exception is an error.
pub(crate) fn results<T: DeserializeOwned>(
    remote: &Remote,
    response: &Response,
) -> Result<Vec<T>, Error> {
    let mut results = Vec::new();
    each(remote, response, |result| {
        results.push(result?);
        Ok(())
    })?;
    Ok(results)
}

fn each<T: DeserializeOwned>(
    remote: &Remote,
    response: &Response,
    mut take: impl FnMut(Result<T, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let unreadable = |error: antifreeze_serial::Error| {
        Error::from(error)
            .context("the answer to a batch")
            .with_sent(Sent::Yes)
    };
    let limits = remote.config.document();
    let list = scan(remote.serializer, &response.payload, &limits).map_err(unreadable)?;
    let mut items = list.items().map_err(unreadable)?;
    while let Some(item) = items.next_raw().map_err(unreadable)? {
        match item.wrapped_exception().map_err(unreadable)? {
            Some(exception) => take(Err(Error::raised(exception)))?,
            None => take(Ok(remote.decoding(|| item.decode()).map_err(unreadable)?))?,
        }
    }
    Ok(())
}

/// The method name that stands for a batch.
pub(crate) const METHOD: &str = "<batch>";

impl Iterator for BatchResults {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for BatchResults {}

impl<P: fmt::Debug> fmt::Debug for Batch<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("proxy", &self.proxy)
            .field("calls", &self.calls.len())
            .finish()
    }
}
