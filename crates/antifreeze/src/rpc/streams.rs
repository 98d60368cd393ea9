//! The item streams of a daemon: who has which, and until when (`server.py`, `streaming_responses`).
//!
//! A stream is an object with one method that needs it alone: to make the next item. So asking for an
//! item is a call like all others, which waits in a queue, runs on a worker or as a task, and stands in
//! the graph of who waits for whom.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use antifreeze_serial::Exception;
use antifreeze_sync::RwLock;
use parking_lot::Mutex;
use tracing::debug;
use uuid::Uuid;

use super::arguments::Arguments;
use super::class::{Class, Expose, ExposeLocal};
use super::exception::{self, DAEMON_ERROR};
use super::invocation::{Invocation, Job, Progress, Step, Subject, Target};
use super::item_stream::{Blocking, Inside, NewStream, Next, Polled, Producer};
use super::object::Cell;
use super::outcome::{Encoded, Out};
use super::queue::{Pending, Reason, Ticket};
use super::room::Room;
use crate::call::Peer;

/// The streams of a daemon.
pub(crate) struct Streams {
    room: Arc<Room>,
    limits: StreamLimits,
    table: Mutex<Table>,
}

/// How many streams there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    /// Whether there are any.
    pub(crate) enabled: bool,
    /// How long after it was made.
    pub(crate) lifetime: Option<Duration>,
    /// How long after the connection of its client was lost.
    pub(crate) linger: Duration,
    pub(crate) per_connection: usize,
    pub(crate) in_all: usize,
}

#[derive(Default)]
struct Table {
    streams: HashMap<Uuid, Entry>,
    /// Which ones belong to a connection.
    owned: HashMap<u64, HashSet<Uuid>>,
    /// Which ones belong to nobody, those first that were lost first.
    orphans: BTreeMap<u64, Uuid>,
    /// How many were lost so far.
    losses: u64,
    /// The daemon is shutting down, and there are no streams any more.
    closed: bool,
}

struct Entry {
    stream: Arc<ServedStream>,
    owner: Owner,
    _lifetime: Option<Timer>,
    linger: Option<Timer>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Owner {
    Connection(u64),
    /// The one that it had was lost, as this one of all losses.
    Lost(u64),
}

/// One stream.
pub(crate) struct ServedStream {
    id: Uuid,
    name: Arc<str>,
    quick: bool,
    life: Arc<Life>,
    source: Source,
}

/// The calls that make items of a stream as tasks; none when the stream is over.
struct Life(Mutex<Option<Vec<Ticket>>>);

enum Source {
    Blocking(Cell<Tap<Blocking>>),
    Polled(Cell<Tap<Polled>>),
    Inside(Visits),
}

/// What became of a stream that a method returned.
pub(crate) enum Kept {
    /// Clients ask for its items by this id.
    As(Uuid),
    /// Nobody shall have any.
    Disabled,
    /// There are too many.
    Refused(Exception),
}

impl Streams {
    pub(crate) fn new(room: Arc<Room>, limits: StreamLimits) -> Self {
        Self {
            room,
            limits,
            table: Mutex::default(),
        }
    }

    /// Keeps a stream for the client who is about to be told of it.
    pub(crate) fn keep(self: &Arc<Self>, mut new: NewStream, owner: &Peer) -> Kept {
        if !self.limits.enabled {
            return Kept::Disabled;
        }
        let Some(producer) = new.producer.take() else {
            return Kept::Disabled;
        };
        let id = Uuid::new_v4();
        let life = Arc::new(Life(Mutex::new(Some(Vec::new()))));
        let stream = Arc::new(ServedStream {
            id,
            name: Arc::clone(&new.name),
            quick: new.quick,
            source: match producer {
                Producer::Blocking(make) => Source::Blocking(self.cell(id, &new.name, make, &life)),
                Producer::Polled(make) => Source::Polled(self.cell(id, &new.name, make, &life)),
                Producer::Inside(enter) => Source::Inside(Visits {
                    enter: Some(enter),
                    end: Arc::new(self.end_of(id, &life)),
                    room: Arc::clone(&self.room),
                }),
            },
            life,
        });
        let mut table = self.table.lock();
        let is_full = table.streams.len() >= self.limits.in_all;
        let refusal = if owner.has_ended() {
            // Nobody will ever hear of it.
            Kept::Disabled
        } else if table.closed {
            Kept::Refused(exception::closing(""))
        } else if table.owned_by(owner) >= self.limits.per_connection {
            Kept::Refused(self.too_many_of_a_connection())
        } else if is_full && table.orphans.is_empty() {
            Kept::Refused(too_many("the daemon", self.limits.in_all))
        } else {
            let oldest = table.orphans.values().next().copied();
            let oldest = oldest.filter(|_| is_full);
            // Who is there goes before those who may come back.
            let room = oldest.and_then(|id| table.remove(id));
            // Under the lock, so that it cannot fire before there is something to end.
            let lifetime = self.limits.lifetime.map(|lifetime| {
                self.timer(lifetime, move |streams| {
                    debug!(stream = %id, "an item stream has come to the end of its time");
                    streams.forget(id);
                })
            });
            let entry = Entry {
                stream,
                owner: Owner::Connection(owner.id),
                _lifetime: lifetime,
                linger: None,
            };
            table.owned.entry(owner.id).or_default().insert(id);
            table.streams.insert(id, entry);
            drop(table);
            drop(room);
            return Kept::As(id);
        };
        drop(table);
        drop(stream);
        refusal
    }

    /// The stream of this id, and whether it belongs to nobody.
    fn find(&self, id: &str) -> Option<(Arc<ServedStream>, bool)> {
        let id = Uuid::try_parse(id).ok()?;
        let table = self.table.lock();
        let entry = table.streams.get(&id)?;
        let orphaned = matches!(entry.owner, Owner::Lost(_));
        Some((Arc::clone(&entry.stream), orphaned))
    }

    /// Gives a stream that belongs to nobody to a client who asks for its items.
    fn adopt(&self, id: Uuid, client: &Peer) -> Result<(), Exception> {
        let mut table = self.table.lock();
        let is_full = table.owned_by(client) >= self.limits.per_connection;
        let Table {
            streams,
            owned,
            orphans,
            ..
        } = &mut *table;
        if let Some(entry) = streams.get_mut(&id)
            && let Owner::Lost(loss) = entry.owner
            && !client.has_ended()
        {
            if is_full {
                return Err(self.too_many_of_a_connection());
            }
            entry.owner = Owner::Connection(client.id);
            entry.linger = None;
            orphans.remove(&loss);
            owned.entry(client.id).or_default().insert(id);
        }
        Ok(())
    }

    fn too_many_of_a_connection(&self) -> Exception {
        too_many("a connection", self.limits.per_connection)
    }

    /// Ends a stream; unknown ids are ignored.
    pub(crate) fn close(&self, id: &str) {
        if let Ok(id) = Uuid::try_parse(id) {
            self.forget(id);
        }
    }

    pub(crate) fn forget(&self, id: Uuid) {
        let removed = self.table.lock().remove(id);
        // Not under the lock.
        drop(removed);
    }

    /// Ends all streams, for the daemon is shutting down: whoever awaits an item might await it for ever.
    pub(crate) fn end_all(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        table.owned.clear();
        table.orphans.clear();
        let streams = std::mem::take(&mut table.streams);
        drop(table);
        for entry in streams.values() {
            entry.stream.life.end(Reason::Closing);
        }
    }

    /// What a client is told of a stream that is over, or never was.
    fn over(&self) -> Exception {
        if self.table.lock().closed {
            exception::closing("")
        } else {
            exception::terminated()
        }
    }

    /// The connection of this client was lost. Its streams stay for a while, for whoever asks.
    pub(crate) fn leave(self: &Arc<Self>, client: &Peer) {
        let linger = self.limits.linger;
        let mut gone = Vec::new();
        let mut table = self.table.lock();
        let Some(owned) = table.owned.remove(&client.id) else {
            return;
        };
        let Table {
            streams,
            orphans,
            losses,
            ..
        } = &mut *table;
        for id in owned {
            if linger.is_zero() {
                gone.extend(streams.remove(&id));
            } else if let Some(entry) = streams.get_mut(&id) {
                *losses += 1;
                let loss = *losses;
                entry.owner = Owner::Lost(loss);
                orphans.insert(loss, id);
                let timer = self.timer(linger, move |streams| streams.abandon(id, loss));
                entry.linger = Some(timer);
            }
        }
        drop(table);
        drop(gone);
    }

    /// Nobody has come for a stream since this loss of its owner.
    fn abandon(&self, id: Uuid, loss: u64) {
        let mut table = self.table.lock();
        if table.orphans.get(&loss) != Some(&id) {
            return;
        }
        let removed = table.remove(id);
        drop(table);
        debug!(stream = %id, "the client of an item stream has not come back");
        drop(removed);
    }

    fn cell<P: Send + 'static>(
        self: &Arc<Self>,
        id: Uuid,
        name: &Arc<str>,
        make: P,
        life: &Arc<Life>,
    ) -> Cell<Tap<P>> {
        let tap = Tap {
            make: Some(Mutex::new(make)),
            end: self.end_of(id, life),
            room: Arc::clone(&self.room),
        };
        let lock = RwLock::new(tap).with_name(format!("items of {name}"));
        Cell::of(lock.fair())
    }

    fn end_of(self: &Arc<Self>, id: Uuid, life: &Arc<Life>) -> End {
        End {
            id,
            streams: Arc::downgrade(self),
            life: Arc::clone(life),
        }
    }

    fn timer(
        self: &Arc<Self>,
        after: Duration,
        then: impl FnOnce(&Self) + Send + 'static,
    ) -> Timer {
        let streams = Arc::downgrade(self);
        let ticket = Ticket::default();
        ticket.begin(Pending::Time(Box::new(move || {
            if let Some(streams) = streams.upgrade() {
                then(&streams);
            }
        })));
        self.room.host.expire_after(after, ticket.clone());
        Timer(ticket)
    }
}

impl Table {
    fn remove(&mut self, id: Uuid) -> Option<Entry> {
        let entry = self.streams.remove(&id)?;
        match entry.owner {
            Owner::Lost(loss) => drop(self.orphans.remove(&loss)),
            Owner::Connection(owner) => {
                if let Some(owned) = self.owned.get_mut(&owner) {
                    owned.remove(&id);
                    if owned.is_empty() {
                        self.owned.remove(&owner);
                    }
                }
            }
        }
        Some(entry)
    }

    fn owned_by(&self, client: &Peer) -> usize {
        self.owned.get(&client.id).map_or(0, HashSet::len)
    }
}

fn too_many(whose: &str, limit: usize) -> Exception {
    let text = format!("too many item streams: {whose} may have {limit} at a time");
    Exception::new(DAEMON_ERROR, text)
}

/// A timer that does nothing any more when it is dropped.
struct Timer(Ticket);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What stands for the end of a stream, and its class.
const STOP: &str = "builtins.StopIteration";
const CLASS: &str = "ItemStream";

/// Whether the exception only says that there are no more items.
pub(super) fn is_end_of_stream(subject: &Subject, exception: &Exception) -> bool {
    subject.class == CLASS && exception.class == STOP
}

/// Asks for the next item of the stream that the arguments of a call name.
pub(super) fn next_item(
    streams: &Arc<Streams>,
    arguments: Result<(Arguments<'_>, String), Exception>,
    make: &mut dyn FnMut(Subject) -> Job,
    otherwise: Subject,
) -> Step {
    let (arguments, id) = match arguments {
        Ok(arguments) => arguments,
        Err(exception) => return Step::done(make(otherwise).raise(exception)),
    };
    let Some((stream, orphaned)) = streams.find(&id) else {
        return Step::done(make(otherwise).raise(streams.over()));
    };
    let mut job = make(stream.subject());
    if orphaned && let Err(exception) = streams.adopt(stream.id, &job.serving.peer) {
        return Step::done(job.raise(exception));
    }
    if stream.is_quick() {
        // It is over before another worker could take the connection.
        job.started = None;
    }
    let step = match &stream.source {
        Source::Blocking(cell) => Invocation {
            target: Target::Shared(cell),
            arguments,
            job,
        }
        .write(|_| Ok(()), |tap, (), out| tap.next(out)),
        Source::Polled(cell) => Invocation {
            target: Target::Shared(cell),
            arguments,
            job,
        }
        .write_async(
            |_| Ok(()),
            |tap, (), out| Box::pin(poll_fn(move |cx| tap.poll_next(cx, out))),
        ),
        Source::Inside(visits) => visits.next(arguments, job),
    };
    if let Step(Progress::Parked(_, Some(ticket))) = &step {
        stream.life.run(ticket);
    }
    step
}

impl Drop for Entry {
    /// Who waits for an item need not wait for what makes it.
    fn drop(&mut self) {
        self.stream.life.end(Reason::Terminated);
    }
}

impl Life {
    /// A call has begun to make an item, and is ended with the stream.
    fn run(&self, ticket: &Ticket) {
        match &mut *self.0.lock() {
            Some(tickets) => {
                tickets.retain(|ticket| !ticket.is_over());
                tickets.push(ticket.clone());
            }
            None => ticket.end_running(Reason::Terminated),
        }
    }

    /// Ends the calls that make an item as tasks.
    fn end(&self, why: Reason) {
        for ticket in self.take().into_iter().flatten() {
            ticket.end_running(why);
        }
    }

    /// It is over. Gives the calls that were to be ended with it.
    fn take(&self) -> Option<Vec<Ticket>> {
        self.0.lock().take()
    }

    fn is_over(&self) -> bool {
        self.0.lock().is_none()
    }
}

impl ServedStream {
    fn subject(&self) -> Subject {
        Subject {
            object: Arc::clone(&self.name),
            class: CLASS,
            member: "next",
            quick: self.is_quick(),
            callback: false,
        }
    }

    /// Whether its items are made where messages are read: none that may have to wait for an object.
    fn is_quick(&self) -> bool {
        self.quick && !matches!(self.source, Source::Inside(_))
    }
}

/// What makes the items, behind the stream's lock.
struct Tap<P: Send + 'static> {
    /// None when this is dropped. Whoever has the lock is alone with it; the mutex says so to the
    /// compiler, and is never locked.
    make: Option<Mutex<P>>,
    end: End,
    room: Arc<Room>,
}

impl Tap<Blocking> {
    fn next(&mut self, out: Out) -> Encoded {
        let Self { make, end, .. } = self;
        let make = make.as_mut().expect("it is there until this is dropped");
        end.unless_over(|| make.get_mut()(out))
    }
}

impl Tap<Polled> {
    fn poll_next(&mut self, cx: &mut Context<'_>, out: Out) -> Poll<Encoded> {
        let (Some(make), false) = (&mut self.make, self.end.life.is_over()) else {
            return Poll::Ready(Encoded::raised(self.end.exception()));
        };
        let last = Last(&self.end);
        let Poll::Ready(next) = make.get_mut()(cx, out) else {
            last.not_yet();
            return Poll::Pending;
        };
        Poll::Ready(last.unless_item(next))
    }
}

/// What is to be told when a stream ends by itself.
struct End {
    id: Uuid,
    streams: Weak<Streams>,
    life: Arc<Life>,
}

impl End {
    /// The item that `make` makes, or what the client is told instead of it.
    fn unless_over(&self, make: impl FnOnce() -> Next) -> Encoded {
        if self.life.is_over() {
            return Encoded::raised(self.exception());
        }
        let last = Last(self);
        let next = make();
        last.unless_item(next)
    }

    fn exception(&self) -> Exception {
        let streams = self.streams.upgrade();
        streams.map_or_else(exception::terminated, |streams| streams.over())
    }
}

/// The end of a stream, unless there are more items: also if making one panics.
struct Last<'a>(&'a End);

impl Last<'_> {
    fn not_yet(self) {
        std::mem::forget(self);
    }

    /// The next item, or what the client is told instead of it.
    fn unless_item(self, next: Next) -> Encoded {
        match next {
            Next::Item(item) => {
                self.not_yet();
                item
            }
            Next::Failed(exception) => Encoded::raised(exception),
            Next::End => Encoded::raised(Exception {
                class: STOP.to_owned(),
                args: Vec::new(),
                attributes: Vec::new(),
            }),
        }
    }
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        let End { id, streams, life } = self.0;
        // The call that made it is to end by itself, and others see it when it is their turn.
        drop(life.take());
        if let Some(streams) = streams.upgrade() {
            streams.forget(*id);
        }
    }
}

impl<P: Send + 'static> Drop for Tap<P> {
    /// What the user's code has in there may take its time to go, and this may be an event loop.
    fn drop(&mut self) {
        if let Some(make) = self.make.take() {
            self.room.run_eventually("item stream", move || drop(make));
        }
    }
}

/// What has items made by calls of an object, each in the queue of that.
struct Visits {
    /// None when this is dropped.
    enter: Option<Inside>,
    end: Arc<End>,
    room: Arc<Room>,
}

impl Visits {
    /// Makes the next item by a call of the object.
    fn next(&self, arguments: Arguments<'_>, job: Job) -> Step {
        let enter = self
            .enter
            .as_ref()
            .expect("it is there until this is dropped");
        let end = Arc::clone(&self.end);
        let make = move |item: &mut dyn FnMut() -> Next| end.unless_over(item);
        enter(arguments, job, Box::new(make))
    }
}

impl Drop for Visits {
    /// As that of [`Tap`].
    fn drop(&mut self) {
        if let Some(enter) = self.enter.take() {
            self.room.run_eventually("item stream", move || drop(enter));
        }
    }
}

impl<P: Send + 'static> ExposeLocal for Tap<P> {
    fn class() -> &'static Class<Self> {
        const {
            &Class {
                name: CLASS,
                locked: true,
                members: &[],
                unexposed: &[],
            }
        }
    }
}

impl<P: Send + 'static> Expose for Tap<P> {}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Instant;

    use antifreeze_proto::Time;
    use antifreeze_serial::Serializer;
    use antifreeze_sync::BoundedSemaphore;
    use tokio::runtime::Handle;

    use super::*;
    use crate::rpc::ItemStream;
    use crate::rpc::host::Host;
    use crate::rpc::queue::{Queue, QueueLimits};

    /// Time goes on for it only when the test says so.
    #[derive(Default)]
    struct Clockwork {
        timers: Mutex<Vec<(Duration, Ticket)>>,
    }

    impl Host for Clockwork {
        fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
            job();
        }

        fn may_block(&self) -> bool {
            true
        }

        fn instant(&self, _: Time) -> Option<Instant> {
            None
        }

        fn runtime(&self) -> io::Result<Handle> {
            Err(io::Error::other("there is none"))
        }

        fn expire_after(&self, wait: Duration, ticket: Ticket) {
            self.timers.lock().push((wait, ticket));
        }
    }

    impl Clockwork {
        /// How many timers would do anything.
        fn running(&self) -> usize {
            let timers = self.timers.lock();
            timers
                .iter()
                .filter(|(_, ticket)| ticket.may_expire())
                .count()
        }

        /// Lets all fire that take no longer than this.
        fn pass(&self, time: Duration) {
            let timers = self.timers.lock().clone();
            for (wait, ticket) in timers {
                if wait <= time {
                    ticket.expire();
                }
            }
        }
    }

    impl Streams {
        fn there(&self) -> (usize, usize) {
            let table = self.table.lock();
            (table.streams.len(), table.owned.len())
        }
    }

    const LIMITS: StreamLimits = StreamLimits {
        enabled: true,
        lifetime: None,
        linger: Duration::from_secs(30),
        per_connection: 2,
        in_all: 3,
    };

    fn make(limits: StreamLimits) -> (Arc<Clockwork>, Arc<Streams>) {
        let host = Arc::<Clockwork>::default();
        let queue = || QueueLimits {
            per_queue: 9,
            in_all: 9,
            all: Queue::default(),
        };
        let room = Room {
            host: Arc::clone(&host) as _,
            objects: queue(),
            calls: queue(),
            workers: Arc::new(BoundedSemaphore::of_workers(2)),
            queue: Queue::default(),
            wait: Duration::from_secs(1),
            on_error: None,
        };
        let streams = Streams::new(Arc::new(room), limits);
        (host, Arc::new(streams))
    }

    fn keep(streams: &Arc<Streams>, client: &Peer) -> Kept {
        let out = Out {
            serializer: Serializer::Json,
            fragment: false,
        };
        let Encoded(crate::rpc::Outcome::Stream(new)) = out.stream(ItemStream::new(0..3)) else {
            panic!("no stream came of a stream");
        };
        streams.keep(*new, client)
    }

    #[track_caller]
    fn kept(streams: &Arc<Streams>, client: &Peer) -> Uuid {
        match keep(streams, client) {
            Kept::As(id) => id,
            Kept::Disabled => panic!("disabled"),
            Kept::Refused(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_lost_stream_waits_for_its_client_and_no_longer() {
        let (host, streams) = make(LIMITS);
        let (one, other) = (Peer::numbered(1), Peer::numbered(2));
        let id = kept(&streams, &one);
        assert_eq!((host.running(), streams.there()), (0, (1, 1)));
        one.end();
        streams.leave(&one);
        assert_eq!((host.running(), streams.there()), (1, (1, 0)));
        assert!(streams.find(&id.to_string()).unwrap().1);
        // Somebody comes for it, and the timer has nothing to do.
        streams.adopt(id, &other).unwrap();
        assert_eq!((host.running(), streams.there()), (0, (1, 1)));
        host.pass(LIMITS.linger);
        assert!(!streams.find(&id.to_string()).unwrap().1);
        other.end();
        streams.leave(&other);
        // Who is gone already cannot have it.
        streams.adopt(id, &one).unwrap();
        assert_eq!((host.running(), streams.there()), (1, (1, 0)));
        host.pass(LIMITS.linger);
        assert!(streams.find(&id.to_string()).is_none());
        assert_eq!((host.running(), streams.there()), (0, (0, 0)));
    }

    #[test]
    fn a_lifetime_goes_on_whoever_has_the_stream() {
        let lifetime = Some(Duration::from_secs(5));
        let (host, streams) = make(StreamLimits { lifetime, ..LIMITS });
        let one = Peer::numbered(1);
        let (first, second) = (kept(&streams, &one), kept(&streams, &one));
        streams.close(&first.to_string());
        assert_eq!((host.running(), streams.there()), (1, (1, 1)));
        streams.leave(&one);
        assert_eq!(host.running(), 2);
        host.pass(Duration::from_secs(5));
        assert!(streams.find(&second.to_string()).is_none());
        // The other timer has gone with the stream.
        assert_eq!((host.running(), streams.there()), (0, (0, 0)));
    }

    #[test]
    fn there_are_as_many_as_may_be() {
        let (_, streams) = make(LIMITS);
        let (one, other) = (Peer::numbered(1), Peer::numbered(2));
        let first = kept(&streams, &one);
        kept(&streams, &one);
        assert!(matches!(keep(&streams, &one), Kept::Refused(_)));
        kept(&streams, &other);
        assert!(matches!(keep(&streams, &other), Kept::Refused(_)));
        streams.forget(first);
        assert_eq!(streams.there(), (2, 2));
        let third = kept(&streams, &other);
        // Who is gone will never hear of one.
        other.end();
        streams.forget(third);
        assert!(matches!(keep(&streams, &other), Kept::Disabled));
        let (_, none) = make(StreamLimits {
            enabled: false,
            ..LIMITS
        });
        assert!(matches!(keep(&none, &one), Kept::Disabled));
    }

    #[test]
    fn who_is_there_goes_before_those_who_may_come_back() {
        let (_, streams) = make(LIMITS);
        let [one, other, third] = [1, 2, 3].map(Peer::numbered);
        let oldest = kept(&streams, &one);
        one.end();
        streams.leave(&one);
        let next = kept(&streams, &other);
        other.end();
        streams.leave(&other);
        // The one place that is left, and then that of the one that was lost first.
        kept(&streams, &third);
        kept(&streams, &third);
        assert!(streams.find(&oldest.to_string()).is_none());
        assert!(streams.find(&next.to_string()).unwrap().1);
        assert_eq!(streams.there(), (3, 1));
        // Who has as many as may be can have no more by asking.
        assert!(matches!(keep(&streams, &third), Kept::Refused(_)));
        streams.adopt(next, &third).unwrap_err();
        assert!(streams.find(&next.to_string()).unwrap().1);
        streams.forget(next);
        assert!(streams.table.lock().orphans.is_empty());
    }

    #[test]
    fn without_linger_streams_go_with_their_connection() {
        let (host, streams) = make(StreamLimits {
            linger: Duration::ZERO,
            ..LIMITS
        });
        let one = Peer::numbered(1);
        let id = kept(&streams, &one);
        streams.leave(&one);
        assert!(streams.find(&id.to_string()).is_none());
        assert_eq!((host.running(), streams.there()), (0, (0, 0)));
    }
}
