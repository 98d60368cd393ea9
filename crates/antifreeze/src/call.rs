//! What goes with a call besides its arguments: annotations, correlation id, who calls.
//!
//! A method asks here about the call that it serves, and sets annotations for its answer. Calls
//! that it makes while serving carry the annotations and the correlation id of the one being
//! served, as in Pyro (`callcontext.py`, `current_context`). An async method knows it wherever it is
//! polled; threads and tasks that a method starts know nothing of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Instant;

use antifreeze_proto::{AnnotationId, Annotations, CorrelationId};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::chain::Source;
use crate::config::Config;
use crate::error::Error;
use crate::net::Socket;
use crate::uri::Location;

thread_local! {
    static CURRENT: RefCell<Current> = RefCell::default();
}

/// What this thread does now.
#[derive(Default)]
struct Current {
    /// Those of the call being served, and those that a [`Context`] adds.
    annotations: Annotations,
    correlation: Option<CorrelationId>,
    peer: Option<Arc<Peer>>,
    deadline: Option<Instant>,
    /// Where the call comes from that is served, if that is known.
    source: Option<Source>,
    /// To be sent with the answer of the call being served.
    response: Annotations,
    /// What came with the answer to the last call that was made.
    received: Annotations,
    /// To be done after the answer; none where nothing can be left.
    after: Option<Vec<Work>>,
    /// What is encoded now is for somebody else than the client whose call is being served.
    outward: bool,
    /// Those of the proxy whose answer is being decoded.
    answered: Option<Arc<Config>>,
}

/// Something to be done after an answer.
type Work = Box<dyn FnOnce() + Send>;

/// The other end of a connection that we serve.
#[derive(Default)]
pub(crate) struct Peer {
    /// The number of the connection, among those to the daemon.
    pub(crate) id: u64,
    /// `host:port`; none for a unix socket.
    pub(crate) address: Option<String>,
    /// Our end.
    pub(crate) entrance: Option<Location>,
    /// Those of the daemon.
    settings: Arc<Config>,
    resources: Mutex<Resources>,
}

/// What is closed when a connection ends.
#[derive(Default)]
struct Resources {
    /// None as long as nothing was tracked, for that is the rule.
    tracked: Option<Box<Tracked>>,
    /// The connection has ended.
    over: bool,
}

#[derive(Default)]
struct Tracked {
    /// By their addresses, none of which is used again as long as it stands here.
    resources: BTreeMap<usize, Weak<dyn Resource>>,
    /// When those that are gone are thrown out.
    crowded_at: usize,
}

impl Peer {
    pub(crate) fn of(socket: &Socket, id: u64, settings: Arc<Config>) -> Self {
        Self {
            id,
            settings,
            address: socket.peer_address(),
            entrance: socket.local_location(),
            resources: Mutex::default(),
        }
    }

    /// The one with this number.
    #[cfg(test)]
    pub(crate) fn numbered(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// The connection has ended. Gives what is to be closed now; none if it was said before.
    pub(crate) fn end(&self) -> Option<Vec<Arc<dyn Resource>>> {
        let mut resources = self.resources.lock();
        if std::mem::replace(&mut resources.over, true) {
            return None;
        }
        let tracked = resources.tracked.take().unwrap_or_default();
        drop(resources);
        let there = tracked.resources.values().filter_map(Weak::upgrade);
        Some(there.collect())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.resources.lock().over
    }

    /// Says whether it was in time.
    fn track(&self, address: usize, resource: Weak<dyn Resource>) -> bool {
        let mut resources = self.resources.lock();
        if resources.over {
            return false;
        }
        let Tracked {
            resources,
            crowded_at,
        } = &mut **resources.tracked.get_or_insert_default();
        if resources.len() >= *crowded_at {
            resources.retain(|_, resource| resource.strong_count() > 0);
            *crowded_at = (2 * resources.len()).max(CROWDED);
        }
        resources.insert(address, resource);
        true
    }

    fn untrack(&self, address: usize) {
        let mut resources = self.resources.lock();
        let tracked = resources.tracked.as_mut();
        let removed = tracked.and_then(|tracked| tracked.resources.remove(&address));
        drop(resources);
        drop(removed);
    }
}

/// Below this many nobody looks whether tracked resources are still there.
const CROWDED: usize = 64;

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The annotations that came with the call being served; none outside of one.
pub fn annotations() -> Annotations {
    CURRENT.with_borrow(|current| current.annotations.clone())
}

/// One annotation of the call being served.
pub fn annotation(id: &str) -> Option<Bytes> {
    let id = id.parse().ok()?;
    CURRENT.with_borrow(|current| current.annotations.get(id).cloned())
}

/// The correlation id of the call being served: the caller's, or one made for this call.
pub fn correlation_id() -> Option<CorrelationId> {
    CURRENT.with_borrow(|current| current.correlation)
}

/// The address of the client whose call is being served.
///
/// None outside of a call, and for a client on a unix socket.
pub fn client_address() -> Option<String> {
    CURRENT.with_borrow(|current| current.peer.as_ref().and_then(|peer| peer.address.clone()))
}

/// The number of the connection whose call is being served, which no other connection to the daemon
/// ever has; none outside of a call.
///
/// It is the one that [`on_handshake`](crate::DaemonBuilder::on_handshake) and
/// [`on_disconnect`](crate::DaemonBuilder::on_disconnect) are told.
pub fn client_id() -> Option<u64> {
    CURRENT.with_borrow(|current| current.peer.as_ref().map(|peer| peer.id))
}

/// Something that a client has on the daemon's side, and that is to be closed when the client is gone.
pub trait Resource: Send + Sync + 'static {
    /// Closes it. The client's connection has ended.
    fn close(&self);
}

/// Has `resource` closed when the connection ends whose call is being served, if it is still there
/// then and was not [untracked](untrack_resource).
///
/// This does not keep it alive (`callcontext.py`, `track_resource`). It is closed on a thread that may
/// block, after [`on_disconnect`](crate::DaemonBuilder::on_disconnect) was told; at once and here, if
/// the connection has ended while its call is still being served.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) where no call is being served.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use antifreeze::{Error, call, expose};
///
/// /// A seat in the room, for one client.
/// struct Seat {
///     name: String,
///     taken: Arc<Mutex<Vec<String>>>,
/// }
///
/// impl call::Resource for Seat {
///     fn close(&self) {
///         self.taken.lock().unwrap().retain(|name| *name != self.name);
///     }
/// }
///
/// #[derive(Default)]
/// struct Room {
///     taken: Arc<Mutex<Vec<String>>>,
///     seats: Vec<Arc<Seat>>,
/// }
///
/// #[expose]
/// impl Room {
///     /// Free again when the client leaves, or is lost.
///     fn take(&mut self, name: String) -> Result<(), Error> {
///         let taken = Arc::clone(&self.taken);
///         taken.lock().unwrap().push(name.clone());
///         let seat = Arc::new(Seat { name, taken });
///         call::track_resource(&seat)?;
///         self.seats.push(seat);
///         Ok(())
///     }
/// }
/// ```
pub fn track_resource<R: Resource>(resource: &Arc<R>) -> Result<(), Error> {
    let peer = serving_peer()?;
    let weak: Weak<dyn Resource> = Arc::<R>::downgrade(resource);
    if !peer.track(Arc::as_ptr(resource).addr(), weak) {
        resource.close();
    }
    Ok(())
}

/// Does not have `resource` closed any more when the connection ends whose call is being served.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) where no call is being served.
pub fn untrack_resource<R: Resource>(resource: &Arc<R>) -> Result<(), Error> {
    serving_peer()?.untrack(Arc::as_ptr(resource).addr());
    Ok(())
}

fn serving_peer() -> Result<Arc<Peer>, Error> {
    CURRENT
        .with_borrow(|current| current.peer.clone())
        .ok_or_else(|| Error::usage("expected a call that is being served, for its client"))
}

/// The call that this thread serves, for code that goes on with it elsewhere when it may be over.
pub(crate) fn serving() -> Option<Serving> {
    CURRENT.with_borrow(|current| {
        Some(Serving {
            annotations: current.annotations.clone(),
            correlation: current.correlation?,
            peer: Arc::clone(current.peer.as_ref()?),
            deadline: current.deadline,
            source: current.source.clone(),
        })
    })
}

/// Runs `f`, which does not unwind and decodes what this client has sent.
pub(crate) fn decoding<R>(peer: &Arc<Peer>, f: impl FnOnce() -> R) -> R {
    let exchange =
        |peer| CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.peer, peer));
    let before = exchange(Some(Arc::clone(peer)));
    let result = f();
    exchange(before);
    result
}

/// Runs `decode`, which decodes an answer that a proxy with these settings got.
pub(crate) fn decoding_answer<R>(settings: &Arc<Config>, decode: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also when the user's code panics.
    struct Restore(Option<Arc<Config>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = self.0.take();
            CURRENT.with_borrow_mut(|current| current.answered = before);
        }
    }
    let settings = Some(Arc::clone(settings));
    let set = |current: &mut Current| std::mem::replace(&mut current.answered, settings);
    let _restore = Restore(CURRENT.with_borrow_mut(set));
    decode()
}

/// The settings for a proxy that is being decoded: of the proxy that got it with an answer, else of the
/// daemon whose call is being served.
pub(crate) fn settings_of_arrivals() -> Option<Arc<Config>> {
    let answered = CURRENT.with_borrow(|current| current.answered.clone());
    answered.or_else(settings)
}

/// The settings of the daemon whose call is being served.
pub(crate) fn settings() -> Option<Arc<Config>> {
    CURRENT.with_borrow(|current| {
        let peer = current.peer.as_ref()?;
        Some(Arc::clone(&peer.settings))
    })
}

/// Where the client whose call is being served came in: the address of this machine that it uses.
///
/// None outside of a call. A daemon that listens at several addresses names this one in the URIs that
/// it [gives out](crate::Daemon::uri_for) meanwhile.
pub fn entrance() -> Option<Location> {
    CURRENT.with_borrow(|current| {
        let peer = current.peer.as_ref()?;
        peer.entrance.clone()
    })
}

/// The same for what is encoded now, unless that is for others, who may not reach us there.
pub(crate) fn entrance_of_receiver() -> Option<Location> {
    let outward = CURRENT.with_borrow(|current| current.outward);
    entrance().filter(|_| !outward)
}

/// Runs `encode`, which encodes what leaves with a call that is made, and not with an answer.
pub(crate) fn outward<R>(encode: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also when the user's code panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| current.outward = self.0);
        }
    }
    let set = |current: &mut Current| std::mem::replace(&mut current.outward, true);
    let _restore = Restore(CURRENT.with_borrow_mut(set));
    encode()
}

/// When the caller of the call being served gives up.
///
/// None outside of a call, and if the caller waits for as long as it takes, or is no Antifreeze
/// program: Pyro5 does not tell.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use antifreeze::{call, expose};
///
/// struct Search(Vec<String>);
///
/// #[expose]
/// impl Search {
///     /// What was found by the time that the caller wants to know it.
///     fn find(&self, text: String) -> Vec<String> {
///         let margin = Duration::from_millis(10);
///         let in_time = || call::deadline().is_none_or(|at| Instant::now() + margin < at);
///         let mut found = self.0.clone();
///         found.retain(|line| in_time() && line.contains(&text));
///         found
///     }
/// }
/// ```
pub fn deadline() -> Option<Instant> {
    CURRENT.with_borrow(|current| current.deadline)
}

/// Sends an annotation with the answer of the call being served.
///
/// It is not sent with an exception, as in Pyro.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if `id` is not four ASCII characters.
pub fn set_response_annotation(id: &str, value: impl Into<Bytes>) -> Result<(), Error> {
    let id = annotation_id(id)?;
    CURRENT.with_borrow_mut(|current| current.response.insert(id, value));
    Ok(())
}

/// Runs `work` after the answer to the call being served, when its method has ended and holds
/// nothing any more.
///
/// It is what a method does that has to call its caller, or its own object: from the middle of the
/// method such a call would wait for a lock that the method, or its caller, holds. The work runs as a
/// call of its own, on a worker, with the annotations and the correlation id of this one. It also runs
/// if the method fails or its caller is gone. What one call leaves is done in order.
///
/// # Errors
///
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) where no method is being served.
///
/// # Examples
///
/// ```
/// use antifreeze::{Daemon, Error, Object, Proxy, WeakObject, call, expose};
///
/// struct Counter {
///     count: u32,
///     itself: Option<WeakObject<Self>>,
/// }
///
/// #[expose]
/// impl Counter {
///     fn add(&mut self) -> Result<u32, Error> {
///         self.count += 1;
///         let itself = self.itself.clone();
///         call::after_reply(move || {
///             // The object is free again.
///             if let Some(counter) = itself.and_then(|weak| weak.upgrade()) {
///                 counter.write().count *= 10;
///             }
///         })?;
///         Ok(self.count)
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let counter = Object::new(Counter { count: 0, itself: None });
/// counter.write().itself = Some(counter.downgrade());
/// let daemon = Daemon::bind("localhost:0")?;
/// let uri = daemon.register("counter", &counter)?;
/// let running = daemon.start()?;
/// assert_eq!(Proxy::connect(uri)?.call::<u32>("add", ())?, 1);
/// running.stop()?;
/// assert_eq!(counter.read().count, 10);
/// # Ok(())
/// # }
/// ```
pub fn after_reply(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    CURRENT.with_borrow_mut(|current| match &mut current.after {
        Some(after) => {
            after.push(Box::new(work));
            Ok(())
        }
        None => Err(Error::usage(
            "expected a method that is being served, to have its reply followed by work",
        )),
    })
}

/// An annotation that came with the answer to the last call that this thread made.
///
/// None if no answer came, or to a oneway call.
pub fn response_annotation(id: &str) -> Option<Bytes> {
    let id = id.parse().ok()?;
    CURRENT.with_borrow(|current| current.received.get(id).cloned())
}

/// The annotations that came with the answer to the last call that this thread made.
///
/// None if no answer came, or to a oneway call. To connect is a call, too, where nothing else is
/// asked for, as in [`Proxy::bind`](crate::Proxy::bind).
pub fn response_annotations() -> Annotations {
    CURRENT.with_borrow(|current| current.received.clone())
}

/// Annotations and a correlation id for the calls that a piece of code makes.
///
/// # Examples
///
/// ```
/// use antifreeze::call;
///
/// # fn main() -> Result<(), antifreeze::Error> {
/// let user = call::Context::new().annotation("USER", "ada")?;
/// user.scope(|| {
///     // Every call made here carries the annotation.
///     assert_eq!(call::annotation("USER").as_deref(), Some(&b"ada"[..]));
/// });
/// assert_eq!(call::annotation("USER"), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Context {
    annotations: Annotations,
    correlation: Option<CorrelationId>,
}

impl Context {
    /// A context that adds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an annotation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if `id` is not four ASCII characters.
    pub fn annotation(mut self, id: &str, value: impl Into<Bytes>) -> Result<Self, Error> {
        self.annotations.insert(annotation_id(id)?, value);
        Ok(self)
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn correlation_id(mut self, id: CorrelationId) -> Self {
        self.correlation = Some(id);
        self
    }

    /// Runs `f`; the calls that it makes on this thread carry what this context holds, besides what
    /// they would carry anyhow.
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Puts back what was there, also when `f` panics.
        struct Restore(Annotations, Option<CorrelationId>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| {
                    current.annotations = std::mem::take(&mut self.0);
                    current.correlation = self.1;
                });
            }
        }
        let _restore = CURRENT.with_borrow_mut(|current| {
            let restore = Restore(current.annotations.clone(), current.correlation);
            let own = self
                .annotations
                .iter()
                .map(|(id, value)| (id, value.clone()));
            current.annotations.extend(own);
            current.correlation = self.correlation.or(current.correlation);
            restore
        });
        f()
    }
}

fn annotation_id(id: &str) -> Result<AnnotationId, Error> {
    id.parse()
        .map_err(|e: antifreeze_proto::UsageError| Error::usage(e.to_string()))
}

/// The call that a piece of code serves.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) annotations: Annotations,
    pub(crate) correlation: CorrelationId,
    pub(crate) peer: Arc<Peer>,
    /// When the caller gives up.
    pub(crate) deadline: Option<Instant>,
    pub(crate) source: Option<Source>,
}

impl Serving {
    /// A call of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn of_source(source: impl Into<Option<Source>>) -> Self {
        Self {
            annotations: Annotations::new(),
            correlation: new_correlation_id(),
            peer: Arc::default(),
            deadline: None,
            source: source.into(),
        }
    }

    /// Runs `f`, which does not unwind, as code on behalf of this call.
    pub(crate) fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        self.begin(None).run(f)
    }

    /// Runs `f`, which does not unwind, as the method that serves this call; also gives what it left.
    pub(crate) fn serve<R>(self, f: impl FnOnce() -> R) -> (R, Left) {
        let mut current = self.begin(Some(Vec::new()));
        let result = current.run(f);
        (result, current.left())
    }

    /// The same for a future, wherever it is polled. It must not unwind either.
    pub(crate) async fn serve_async<F: Future>(self, future: F) -> (F::Output, Left) {
        let mut current = self.begin(Some(Vec::new()));
        let mut future = pin!(future);
        let output = poll_fn(|context| current.run(|| future.as_mut().poll(context))).await;
        (output, current.left())
    }

    fn begin(self, after: Option<Vec<Work>>) -> Current {
        Current {
            annotations: self.annotations,
            correlation: Some(self.correlation),
            peer: Some(self.peer),
            deadline: self.deadline,
            source: self.source,
            response: Annotations::new(),
            received: Annotations::new(),
            after,
            outward: false,
            answered: None,
        }
    }
}

/// What a method leaves besides its result.
pub(crate) struct Left {
    /// To be sent with its answer.
    pub(crate) annotations: Annotations,
    pub(crate) after: Option<Leftover>,
}

/// Work for after an answer, with the call on whose behalf it is.
pub(crate) type Leftover = Vec<(Serving, Box<dyn FnOnce() + Send>)>;

impl Current {
    fn left(self) -> Left {
        let after = self.after.filter(|after| !after.is_empty());
        let serving = self
            .correlation
            .zip(self.peer)
            .map(|(correlation, peer)| Serving {
                annotations: self.annotations,
                correlation,
                peer,
                // Nobody waits for it.
                deadline: None,
                source: None,
            });
        let leftover = |(after, serving): (Vec<Work>, Serving)| {
            let with = |work| (serving.clone(), work);
            after.into_iter().map(with).collect()
        };
        Left {
            annotations: self.response,
            after: after.zip(serving).map(leftover),
        }
    }

    /// Runs `f`, which does not unwind, with this as what the thread does.
    fn run<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let exchange =
            |own: &mut Self| CURRENT.with_borrow_mut(|current| std::mem::swap(current, own));
        exchange(self);
        let result = f();
        exchange(self);
        result
    }
}

/// What a call made now carries.
///
/// Everything is forwarded but what belongs to one hop only: Pyro's blob and stream marks, and our
/// own annotations, which every hop writes afresh.
pub(crate) fn outgoing() -> (Annotations, Option<CorrelationId>) {
    CURRENT.with_borrow(|current| {
        let mut annotations = current.annotations.clone();
        annotations.retain(|id, _| !is_of_one_hop(id));
        (annotations, current.correlation)
    })
}

/// Whether an annotation belongs to one message only, and is written by whoever sends that.
pub(crate) fn is_of_one_hop(id: AnnotationId) -> bool {
    matches!(
        id.as_bytes(),
        b"BLBI" | b"STRM" | b"AFCK" | b"AFNH" | b"AFDM"
    )
}

/// An annotation of ours that came with the call being served.
pub(crate) fn own_annotation(id: AnnotationId) -> Option<Bytes> {
    CURRENT.with_borrow(|current| current.annotations.get(id).cloned())
}

/// Sends an annotation of ours with the answer to the call being served.
pub(crate) fn answer_with(id: AnnotationId, value: Bytes) {
    CURRENT.with_borrow_mut(|current| current.response.insert(id, value));
}

/// Does something with where the call comes from that is served, if that is known.
pub(crate) fn with_source(f: impl FnOnce(&Source)) {
    CURRENT.with_borrow(|current| {
        if let Some(source) = &current.source {
            f(source);
        }
    });
}

/// Keeps what came with an answer for [`response_annotations`].
pub(crate) fn received(annotations: Annotations) {
    CURRENT.with_borrow_mut(|current| current.received = annotations);
}

/// Runs `f`, which makes calls that belong to another: [`response_annotations`] stays as it is.
pub(crate) fn apart<R>(f: impl FnOnce() -> R) -> R {
    let before = response_annotations();
    let result = f();
    received(before);
    result
}

/// A correlation id that is new, without asking the kernel for randomness.
pub(crate) fn new_correlation_id() -> CorrelationId {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    // The version and variant bits of a random UUID (RFC 9562), which Python checks.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    CorrelationId(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_call_forwards_its_annotations_but_not_those_of_one_hop() {
        let annotations = ["USER", "BLBI", "STRM", "AFCK", "AFNH", "AFDM"]
            .map(|id| (annotation_id(id).unwrap(), Bytes::from_static(b"x")))
            .into_iter()
            .collect();
        let correlation = new_correlation_id();
        let serving = Serving {
            annotations,
            correlation,
            ..Serving::of_source(None)
        };
        let (carried, left) = serving.serve(|| {
            set_response_annotation("ANNO", "told").unwrap();
            outgoing()
        });
        let ids: Vec<_> = carried.0.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(
            (ids, carried.1),
            (vec!["USER".to_owned()], Some(correlation))
        );
        assert_eq!(left.annotations.len(), 1);
        assert!(outgoing().0.is_empty() && outgoing().1.is_none());
    }

    #[test]
    fn bad_annotation_ids_are_the_callers_mistake() {
        let error = Context::new().annotation("TOOLONG", "").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
    }
}
