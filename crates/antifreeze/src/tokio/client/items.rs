//! Items of a remote stream, awaited one by one.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use antifreeze_proto::Response;
use futures_core::{FusedStream, Stream};
use serde::de::DeserializeOwned;

use super::connection::Later;
use super::proxy::Proxy;
use crate::client::items;
use crate::error::Error;

/// The items of a remote stream, for tasks: what comes of [`Proxy::stream`].
///
/// It is [`antifreeze::Items`](crate::Items) with `.await`: a [`Stream`] of `Result<T, Error>`, which can
/// be used without any crate for streams through [`next`](Self::next). Errors are as there.
///
/// # Cancel safety
///
/// The future of [`next`](Self::next) may be dropped at any time. An item that was asked for meanwhile is
/// what the next one gives. An item is not asked for as long as the call waits for others that use the
/// proxy; if it was asked for, others wait until it has come, and no longer. Polled as a [`Stream`], this
/// cannot know that nobody waits any more: then it keeps its place among those who want to call.
///
/// # Examples
///
/// ```no_run
/// use antifreeze::Error;
/// use antifreeze::tokio::Proxy;
///
/// async fn print(log: &Proxy) -> Result<(), Error> {
///     let mut lines = log.stream::<String>("lines", ()).await?;
///     while let Some(line) = lines.next().await {
///         println!("{}", line?);
///     }
///     Ok(())
/// }
/// ```
#[must_use = "items are only fetched when they are asked for"]
pub struct Items<T> {
    proxy: Proxy,
    stream: items::Stream,
    /// The item that was asked for.
    asked: Option<Asked>,
    /// Its answer, if it was asked for and is not waited for.
    later: Arc<Later>,
    item: PhantomData<fn() -> T>,
}

/// One who waits for an item, until this is dropped: then for nothing any more, not for a turn, and
/// only the answer is kept, if the item was asked for.
struct Waiting<'a, T>(&'a mut Items<T>);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.asked = None;
    }
}

/// A call for an item, which is on its way.
type Asked = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

impl<T: DeserializeOwned + 'static> Items<T> {
    pub(super) fn new(proxy: Proxy, stream: items::Stream) -> Self {
        Self {
            proxy,
            stream,
            asked: None,
            later: Arc::default(),
            item: PhantomData,
        }
    }

    /// Waits for the next item; none when there are no more.
    ///
    /// # Errors
    ///
    /// As [`antifreeze::Items`](crate::Items).
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        let this = Waiting(self);
        poll_fn(|cx| Pin::new(&mut *this.0).poll_next(cx)).await
    }
}

impl<T: DeserializeOwned + 'static> Stream for Items<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let asked = match &mut this.asked {
            Some(asked) => asked,
            none => {
                let Some(encode) = this.stream.encode_next() else {
                    return Poll::Ready(None);
                };
                let proxy = this.proxy.clone();
                let later = Arc::clone(&this.later);
                none.insert(Box::pin(async move { proxy.item(encode, &later).await }))
            }
        };
        let answer = ready!(asked.as_mut().poll(cx));
        this.asked = None;
        Poll::Ready(this.stream.take(this.proxy.remote(), answer))
    }
}

impl<T: DeserializeOwned + 'static> FusedStream for Items<T> {
    fn is_terminated(&self) -> bool {
        self.stream.is_over()
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        // What was asked for is sent before, if it is sent at all.
        self.asked = None;
        if let Some(id) = self.stream.end() {
            self.proxy.close_stream(&id);
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
