//! What a method returns to have its result given out one item at a time.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use antifreeze_serial::Exception;
use futures_core::Stream;
use parking_lot::Mutex;
use serde::Serialize;

use super::arguments::Arguments;
use super::class::Expose;
use super::exception::{self, VALUE_ERROR};
use super::invocation::{Invocation, Job, Step, Target};
use super::object::WeakObject;
use super::outcome::{Encoded, Out, Outcome};
use super::room::Room;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A result that clients take one item at a time: Pyro's item stream.
///
/// A method of an [exposed](crate::expose) type that returns one is over when it returns, and so is its
/// hold on the object. Each item is made when a client asks for it, as a call of its own: on a worker if
/// it comes from an iterator, as a task if it comes from a [`Stream`]. So an endless stream costs
/// nothing while nobody asks, and one that blocks occupies one worker while somebody does; under
/// `#[quick]` the method promises that its items, too, can be made where messages are read.
///
/// No lock is held between items. What an item may see of the object is for the method to choose:
///
/// - [`new`](Self::new) with what it has collected is a snapshot, which no later call changes;
/// - [`reading`](Self::reading) and [`writing`](Self::writing) make each item as a call of the object, which
///   waits in its queue like all others.
///
/// A method may also return `impl Iterator`, `impl Stream`, or a `Result` with either or with an
/// `ItemStream`. In Python it is an iterator or generator, for Rust there are
/// [`Proxy::stream`](crate::Proxy::stream) and [its like for tasks](crate::tokio::Proxy::stream).
///
/// The stream belongs to the client who called. It ends with its last item, with an error, when the
/// client [closes](crate::Items) it, and, as the settings say, a while after it was made
/// (`stream_lifetime`) or after the client's connection was lost (`stream_linger`). What is made of it
/// is dropped then. Streams cannot be items of a batch.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, ItemStream, Proxy, expose};
///
/// struct Shelf {
///     books: Vec<String>,
/// }
///
/// #[expose]
/// impl Shelf {
///     /// All that are there now.
///     fn books(&self) -> ItemStream<String> {
///         ItemStream::new(self.books.clone())
///     }
///
///     fn numbers(&self, from: u64) -> impl Iterator<Item = u64> + use<> {
///         from..
///     }
/// }
///
/// # fn main() -> Result<(), antifreeze::Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// let uri = daemon.register("shelf", Shelf { books: vec!["Emma".into(), "Walden".into()] })?;
/// let running = daemon.start()?;
///
/// let shelf = Proxy::connect(uri)?;
/// for book in shelf.stream::<String>("books", ())? {
///     println!("{}", book?);
/// }
/// let some = shelf.stream::<u64>("numbers", (7,))?.take(3);
/// assert_eq!(some.collect::<Result<Vec<_>, _>>()?, [7, 8, 9]);
/// # running.stop()
/// # }
/// ```
#[must_use = "a stream does nothing unless it is returned"]
pub struct ItemStream<T>(Source<T>);

enum Source<T> {
    Iterator(Box<dyn Iterator<Item = Result<T, BoxError>> + Send>),
    Stream(Box<dyn PollNext<T>>),
    /// Each item is made by a call of an object.
    Inside(Box<dyn Enter<T>>),
}

/// Makes a call of an object of the one for an item, which calls the last argument there.
trait Enter<T>: Fn(Arguments<'_>, Job, Make<T>) -> Step + Send + Sync {}

impl<T, F> Enter<T> for F where F: Fn(Arguments<'_>, Job, Make<T>) -> Step + Send + Sync {}

type Make<T> =
    Box<dyn FnOnce(&mut dyn FnMut() -> Option<Result<T, BoxError>>, Out) -> Encoded + Send>;

/// What is polled for items.
trait PollNext<T>: FnMut(&mut Context<'_>) -> Poll<Option<Result<T, BoxError>>> + Send {}

impl<T, F> PollNext<T> for F where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<T, BoxError>>> + Send
{
}

impl<T: 'static> ItemStream<T> {
    /// The items of an iterator, or of a collection.
    ///
    /// The iterator runs on a worker, one item at a time, and may block there.
    pub fn new<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Self(Source::Iterator(Box::new(items.into_iter().map(Ok))))
    }

    /// The items of an iterator that may fail. An error is the last that the client sees.
    pub fn try_new<I, E>(items: I) -> Self
    where
        I: IntoIterator<Item = Result<T, E>>,
        I::IntoIter: Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let items = items.into_iter().map(|item| item.map_err(Into::into));
        Self(Source::Iterator(Box::new(items)))
    }

    /// The items of an async stream, which is polled as a task of the daemon while an item is asked for.
    ///
    /// If the client is lost meanwhile, or has no time left, it is polled again for the next who asks.
    pub fn from_stream<S>(items: S) -> Self
    where
        S: Stream<Item = T> + Send + 'static,
    {
        let mut items = Box::pin(items);
        Self(Source::Stream(Box::new(move |cx: &mut Context<'_>| {
            items.as_mut().poll_next(cx).map(|item| item.map(Ok))
        })))
    }

    /// The items of an async stream that may fail. An error is the last that the client sees.
    pub fn try_from_stream<S, E>(items: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut items = Box::pin(items);
        Self(Source::Stream(Box::new(move |cx: &mut Context<'_>| {
            let polled = items.as_mut().poll_next(cx);
            polled.map(|item| item.map(|item| item.map_err(Into::into)))
        })))
    }

    /// Items each of which is made by a call of the object, for reading: with all limits of its queue.
    ///
    /// If the object cannot be had, or is gone, that error is what the client sees. Who asks for an item
    /// while one is being made for another ask is told so by a `ValueError`, as by Python's generators.
    ///
    /// # Examples
    ///
    /// ```
    /// use antifreeze::{ItemStream, Object, WeakObject, expose};
    ///
    /// struct Log {
    ///     lines: Vec<String>,
    ///     itself: Option<WeakObject<Self>>,
    /// }
    ///
    /// #[expose]
    /// impl Log {
    ///     fn add(&mut self, line: String) {
    ///         self.lines.push(line);
    ///     }
    ///
    ///     /// Also those that are added while a client reads.
    ///     fn lines(&self) -> Result<ItemStream<String>, &'static str> {
    ///         let itself = self.itself.clone().ok_or("nobody serves this log")?;
    ///         let mut numbers = 0..;
    ///         Ok(ItemStream::reading(itself, move |log| {
    ///             log.lines.get(numbers.next()?).cloned()
    ///         }))
    ///     }
    /// }
    ///
    /// let log = Object::new(Log { lines: vec![], itself: None });
    /// log.write().itself = Some(log.downgrade());
    /// ```
    pub fn reading<O: Expose>(
        object: WeakObject<O>,
        next: impl FnMut(&O) -> Option<T> + Send + 'static,
    ) -> Self {
        let next = Arc::new(Mutex::new(next));
        Self::inside(object, move |call, make| {
            let next = Lent::new(&next, &call.job.room);
            let body = move |object: &O, (), out| {
                next.with(|next| make(&mut || next(object).map(Ok), out))
            };
            call.read(|_| Ok(()), body)
        })
    }

    /// Items each of which is made by a call of the object, for writing.
    ///
    /// If the object cannot be had, or is gone, that error is what the client sees.
    pub fn writing<O: Expose>(
        object: WeakObject<O>,
        next: impl FnMut(&mut O) -> Option<T> + Send + 'static,
    ) -> Self {
        let next = Arc::new(Mutex::new(next));
        Self::inside(object, move |call, make| {
            let next = Lent::new(&next, &call.job.room);
            let body = move |object: &mut O, (), out| {
                next.with(|next| make(&mut || next(object).map(Ok), out))
            };
            call.write(|_| Ok(()), body)
        })
    }

    fn inside<O: Expose>(
        object: WeakObject<O>,
        enter: impl Fn(Invocation<'_, O>, Make<T>) -> Step + Send + Sync + 'static,
    ) -> Self {
        Self(Source::Inside(Box::new(
            move |arguments: Arguments<'_>, job: Job, make: Make<T>| {
                let Some(object) = object.upgrade() else {
                    let mut gone = || Some(Err("the object of the stream is gone".into()));
                    return Step::done(job.perform(|out| make(&mut gone, out)));
                };
                let target = Target::Shared(&*object.0);
                let call = Invocation {
                    target,
                    arguments,
                    job,
                };
                enter(call, make)
            },
        )))
    }
}

/// What makes the items of a stream, in the hands of one call of the object.
struct Lent<F: Send + 'static> {
    /// None when this is dropped.
    next: Option<Arc<Mutex<F>>>,
    room: Arc<Room>,
}

impl<F: Send + 'static> Lent<F> {
    fn new(next: &Arc<Mutex<F>>, room: &Arc<Room>) -> Self {
        Self {
            next: Some(Arc::clone(next)),
            room: Arc::clone(room),
        }
    }

    /// Readers are together in their object, but only one of them makes an item. The others do not wait:
    /// each would keep a worker and the object from those who need them.
    fn with(&self, f: impl FnOnce(&mut F) -> Encoded) -> Encoded {
        let next = self.next.as_ref();
        let next = next.expect("it is there until this is dropped");
        match next.try_lock() {
            Some(mut next) => f(&mut next),
            None => {
                let text = "an item of this stream is being made for another call";
                Encoded::raised(Exception::new(VALUE_ERROR, text))
            }
        }
    }
}

impl<F: Send + 'static> Drop for Lent<F> {
    /// If the stream is over meanwhile, what the user's code has in there goes when the object is free.
    fn drop(&mut self) {
        if let Some(next) = self.next.take().and_then(Arc::into_inner) {
            self.room.run_eventually("item stream", move || drop(next));
        }
    }
}

impl<T> fmt::Debug for ItemStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").finish_non_exhaustive()
    }
}

/// What makes the items of a stream, without their type.
pub(crate) enum Producer {
    Blocking(Blocking),
    Polled(Polled),
    Inside(Inside),
}

/// Makes an item, and may block.
pub(super) type Blocking = Box<dyn FnMut(Out) -> Next + Send>;

/// Is polled for an item.
pub(super) type Polled = Box<dyn FnMut(&mut Context<'_>, Out) -> Poll<Next> + Send>;

/// Has an item made by a call of an object.
pub(super) type Inside = Box<dyn Fn(Arguments<'_>, Job, MakeInside) -> Step + Send + Sync>;

/// Is called inside of the object, with what makes the item there.
pub(super) type MakeInside = Box<dyn FnOnce(&mut dyn FnMut() -> Next) -> Encoded + Send>;

/// What a producer had when it was asked.
pub(crate) enum Next {
    Item(Encoded),
    /// There is no other one after it.
    Failed(Exception),
    End,
}

/// A stream that a method has returned, and that no client knows yet.
pub(crate) struct NewStream {
    pub(super) producer: Option<Producer>,
    /// What it is a stream of.
    pub(super) name: Arc<str>,
    pub(super) quick: bool,
    /// Where it is dropped, once it is known.
    pub(super) room: Option<Arc<Room>>,
}

impl Drop for NewStream {
    fn drop(&mut self) {
        if let (Some(producer), Some(room)) = (self.producer.take(), &self.room) {
            room.run_eventually("item stream", move || drop(producer));
        }
    }
}

impl Out {
    /// A method returned this stream.
    pub fn stream<T: Serialize + 'static>(self, stream: ItemStream<T>) -> Encoded {
        let next = |item: Option<Result<T, BoxError>>, out: Self| match item {
            Some(Ok(item)) => Next::Item(out.value(item)),
            Some(Err(error)) => Next::Failed(exception::from_error(error)),
            None => Next::End,
        };
        let producer = match stream.0 {
            Source::Iterator(mut items) => {
                Producer::Blocking(Box::new(move |out| next(items.next(), out)))
            }
            Source::Stream(mut poll) => Producer::Polled(Box::new(move |cx, out| {
                poll(cx).map(|item| next(item, out))
            })),
            Source::Inside(enter) => {
                Producer::Inside(Box::new(move |arguments, job, make: MakeInside| {
                    let make: Make<T> = Box::new(move |item, out| make(&mut || next(item(), out)));
                    enter(arguments, job, make)
                }))
            }
        };
        Encoded(Outcome::Stream(Box::new(NewStream {
            producer: Some(producer),
            name: Arc::default(),
            quick: false,
            room: None,
        })))
    }

    /// A method returned this result.
    pub fn stream_result<T: Serialize + 'static, E: Into<Box<dyn StdError + Send + Sync>>>(
        self,
        result: Result<ItemStream<T>, E>,
    ) -> Encoded {
        match result {
            Ok(stream) => self.stream(stream),
            Err(error) => Encoded::raised(exception::from_error(error.into())),
        }
    }
}
