//! Items of a remote stream, taken one by one.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

use antifreeze_proto::{AnnotationId, Response};
use antifreeze_serial::{Serializer, encode_call};
use serde::de::DeserializeOwned;

use super::crank::{Payload, Shape};
use super::proxy::Proxy;
use super::remote::Remote;
use crate::error::{Error, ErrorKind, Sent};

const STREAM: AnnotationId = AnnotationId::known(b"STRM");
const STOP: &str = "builtins.StopIteration";

/// The object that knows the streams of a daemon.
const DAEMON: &str = "Pyro.Daemon";

/// The items of a remote stream: what comes of [`Proxy::stream`].
///
/// Each is asked for when it is wanted, as a call of the proxy, with its time limit; nothing is fetched
/// in advance. When this is dropped before the end, the daemon is told that nobody wants the rest.
/// That is not waited for; if the proxy is in use, its next call tells.
///
/// # Errors
///
/// An item may be an error. After [`ErrorKind::Closed`], [`ErrorKind::Connect`] and
/// [`ErrorKind::Timeout`] one may go on: the proxy connects anew, and a daemon keeps streams for a while
/// after it lost their client (its setting `stream_linger`; 30 seconds by default, as with Pyro5). What
/// the daemon was sending when the connection was lost is not sent again, so an item may be missing;
/// [`Error::sent`] tells. A generator of Pyro5 that still makes the item for which there was no time ends
/// with an error when it is asked for another one. Any other error is the last item.
///
/// # Examples
///
/// ```no_run
/// use antifreeze::{Error, Proxy};
///
/// /// The first line with a word, of a remote file that may be long.
/// fn find(log: &Proxy, word: &str) -> Result<Option<String>, Error> {
///     for line in log.stream::<String>("lines", ())? {
///         let line = line?;
///         if line.contains(word) {
///             return Ok(Some(line));
///         }
///     }
///     Ok(None)
/// }
/// ```
#[must_use = "items are only fetched when they are asked for"]
pub struct Items<T> {
    proxy: Proxy,
    stream: Stream,
    item: PhantomData<fn() -> T>,
}

/// What a call has returned of which that was not known before: see [`Proxy::call_any`].
#[derive(Debug)]
pub enum Returned<T, I = Items<T>> {
    /// A value.
    Value(T),
    /// An item stream.
    Items(I),
}

impl<T: DeserializeOwned + 'static> Items<T> {
    pub(super) fn new(proxy: Proxy, stream: Stream) -> Self {
        Self {
            proxy,
            stream,
            item: PhantomData,
        }
    }
}

impl<T: DeserializeOwned + 'static> Iterator for Items<T> {
    type Item = Result<T, Error>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        let encode = self.stream.encode_next()?;
        let answer = self.proxy.exchange(Shape::Call, METHOD, &encode);
        drop(encode);
        self.stream.take(self.proxy.remote(), answer)
    }
}

impl<T: DeserializeOwned + 'static> FusedIterator for Items<T> {}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if let Some(id) = self.stream.end() {
            self.proxy.close_stream(id);
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("proxy", &self.proxy)
            .field("over", &self.stream.is_over())
            .finish_non_exhaustive()
    }
}

/// What asking for an item is called; no method of an object can be.
pub(crate) const METHOD: &str = "<item>";

/// A remote stream.
pub(crate) struct Stream {
    /// What the daemon knows it by, as far as is known here.
    id: Option<String>,
    /// Nobody asks for items any more.
    over: bool,
}

impl Stream {
    /// The stream that a call has returned.
    pub(crate) fn of(response: &Response) -> Result<Self, Error> {
        if !response.is_item_stream() {
            let text = "expected an item stream, got a value; `call` takes these";
            return Err(Error::usage(text).with_sent(Sent::Yes));
        }
        let id = response.annotations.get(STREAM);
        let id = id.and_then(|id| std::str::from_utf8(id).ok());
        match id {
            Some(id) => Ok(Self {
                id: Some(id.to_owned()),
                over: false,
            }),
            None => Err(unexpected(response)),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Its id, if the daemon is to be told that nobody wants the rest.
    pub(crate) fn end(&mut self) -> Option<String> {
        self.id.take()
    }

    /// What writes the call for the next item; none if there is none.
    pub(crate) fn encode_next(
        &self,
    ) -> Option<
        impl Fn(&str, Serializer, &mut Vec<u8>) -> Result<(), antifreeze_serial::Error> + use<>,
    > {
        let id = self.id.clone().filter(|_| !self.over)?;
        Some(move |_: &str, serializer, out: &mut Vec<u8>| {
            encode_call(
                serializer,
                DAEMON,
                "get_next_stream_item",
                &(&id,),
                &(),
                out,
            )
        })
    }

    /// The item in an answer.
    pub(crate) fn take<T: DeserializeOwned + 'static>(
        &mut self,
        remote: &Remote,
        answer: Result<Response, Error>,
    ) -> Option<Result<T, Error>> {
        let error = match answer {
            Ok(response) => {
                let item = remote.decode(&response);
                self.over = item.is_err();
                return Some(item);
            }
            Err(error) => error,
        };
        if error.remote().is_some_and(|why| why.class == STOP) {
            self.over = true;
            self.id = None;
            return None;
        }
        // It may be about this item alone, and then the daemon has more of them.
        self.over = !matches!(
            error.kind(),
            ErrorKind::Closed | ErrorKind::Connect | ErrorKind::Timeout
        );
        Some(Err(error))
    }
}

/// The call that ends a stream.
pub(crate) fn encode_close(serializer: Serializer, id: &str) -> Option<Payload> {
    let mut payload = Vec::with_capacity(96);
    let encoded = encode_call(
        serializer,
        DAEMON,
        "close_stream",
        &(id,),
        &(),
        &mut payload,
    );
    encoded.ok()?;
    Some(Payload::new(serializer, payload.into()))
}

/// The error of who expected a value and got a stream.
pub(crate) fn unexpected(response: &Response) -> Error {
    let text = if response.annotations.get(STREAM).is_some() {
        "the result is an item stream: ask for it with `stream`"
    } else {
        "the result is an item stream, but the daemon is not configured to allow streaming"
    };
    Error::usage(text).with_sent(Sent::Yes)
}
