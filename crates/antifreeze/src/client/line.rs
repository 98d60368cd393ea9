//! A connection that many threads use at once: one of them turns its crank for all.
//!
//! Who calls while nobody does leads: it sends its call, reads, and hands out the answers of others
//! too, until it has its own. Then the next one who waits leads. Who calls meanwhile leaves its call
//! with the leader, rings, and sleeps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use antifreeze_proto::{ClientEvent, CloseCause, Input, Output, RequestId, Response, Seq, Time};
use antifreeze_sync::{BoundedSemaphore, Permit};
use parking_lot::{Condvar, Mutex};
use tracing::debug;

use super::bell::Bell;
use super::connection::{Connection, Entry};
use super::crank::{Crank, Outgoing, closed, expired, full, unserved};
use crate::error::{Error, ErrorKind, Sent};
use crate::net::Socket;

/// How long a leader without a bell sleeps before it looks for calls of others.
const DEAF: Duration = Duration::from_millis(5);

/// A connection to a daemon that takes several calls at once.
pub(crate) struct Line {
    state: Mutex<State>,
    /// As many as the calls that may be in flight.
    places: BoundedSemaphore,
    pub(crate) entry: Entry,
}

struct State {
    /// Here while nobody leads.
    wire: Option<Box<Wire>>,
    /// What others have left for the leader.
    left: VecDeque<Job>,
    /// Wakes the leader.
    sleeper: Option<Arc<Bell>>,
    /// It has ended, or shall not be used for more.
    over: bool,
    /// The sequence number of the last call, as of when somebody ceased to lead.
    seq: Seq,
}

/// What the leader has.
struct Wire {
    socket: Arc<Socket>,
    crank: Crank,
    /// They are not sent yet, for want of room.
    queue: VecDeque<Job>,
    waiting: BTreeMap<RequestId, Arc<Seat>>,
    /// Oneway calls, which are over when they are written.
    unwritten: VecDeque<(RequestId, Arc<Seat>)>,
}

/// What is asked of the daemon.
pub(crate) enum Message {
    /// In a box, since it goes through many hands.
    Call(Box<Outgoing>),
    Ping,
}

struct Job {
    message: Message,
    deadline: Option<Instant>,
    seat: Arc<Seat>,
}

/// How a message ended; there is no response to a oneway or a ping.
type Ended = Result<Option<Response>, Error>;

/// Where a thread waits.
#[derive(Default)]
struct Seat {
    told: Mutex<Option<Told>>,
    bell: Condvar,
}

enum Told {
    Ended(Ended),
    Lead(Box<Wire>),
}

impl Seat {
    fn tell(&self, told: Told) {
        *self.told.lock() = Some(told);
        self.bell.notify_one();
    }

    fn end(&self, ended: Ended) {
        self.tell(Told::Ended(ended));
    }

    fn wait(&self) -> Told {
        let mut told = self.told.lock();
        loop {
            match told.take() {
                Some(told) => return told,
                None => self.bell.wait(&mut told),
            }
        }
    }

    /// How the message of the one who leads has ended, if it has.
    fn ended(&self) -> Option<Ended> {
        match self.told.lock().take()? {
            Told::Ended(ended) => Some(ended),
            Told::Lead(_) => unreachable!("who leads is not told to"),
        }
    }
}

impl Line {
    pub(crate) fn new(connection: Connection) -> Self {
        let Connection {
            socket,
            crank,
            entry,
            ..
        } = connection;
        let seq = crank.seq();
        let places = entry.route.places(crank.call_limit());
        let wire = Wire {
            socket,
            crank,
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            unwritten: VecDeque::new(),
        };
        Self {
            state: Mutex::new(State {
                wire: Some(Box::new(wire)),
                left: VecDeque::new(),
                sleeper: None,
                over: false,
                seq,
            }),
            places,
            entry,
        }
    }

    /// Whether a call may be sent.
    pub(crate) fn is_usable(&self) -> bool {
        let mut state = self.state.lock();
        if let Some(wire) = &mut state.wire {
            wire.crank.now();
            let open = wire.crank.is_open(&wire.socket);
            state.over |= !open;
        }
        !state.over
    }

    /// Takes no more calls; those that are out are answered.
    pub(crate) fn retire(&self) {
        self.state.lock().over = true;
    }

    /// The sequence number of the last call, or nearly that.
    pub(crate) fn seq(&self) -> Seq {
        self.state.lock().seq
    }

    /// Waits until one more call may be in flight, which it may until this is dropped.
    #[track_caller]
    pub(crate) fn place(&self, deadline: Option<Instant>) -> Result<Permit<'_>, Error> {
        let place = match (self.places.try_acquire(), deadline) {
            (Some(place), _) => Ok(place),
            (None, None) => self.places.acquire(),
            (None, Some(deadline)) => self.places.acquire_until(deadline),
        };
        place.map_err(|why| full(&self.places, &why))
    }

    /// Sends a message and waits for how it ends.
    pub(crate) fn exchange(&self, message: Message, deadline: Option<Instant>) -> Ended {
        let seat = Arc::new(Seat::default());
        let job = Job {
            message,
            deadline,
            seat: Arc::clone(&seat),
        };
        let mut state = self.state.lock();
        if state.over {
            return Err(unsent("the connection was closed meanwhile"));
        }
        let Some(mut wire) = state.wire.take() else {
            state.left.push_back(job);
            let sleeper = state.sleeper.take();
            drop(state);
            if let Some(bell) = sleeper {
                bell.ring();
            }
            return match seat.wait() {
                Told::Ended(ended) => ended,
                Told::Lead(wire) => self.lead(wire, &seat),
            };
        };
        drop(state);
        wire.queue.push_back(job);
        self.lead(wire, &seat)
    }

    /// Turns the crank until one's own message has ended.
    fn lead(&self, mut wire: Box<Wire>, own: &Seat) -> Ended {
        loop {
            wire.queue.append(&mut self.state.lock().left);
            wire.begin();
            if let Some(ended) = own.ended() {
                self.hand_over(wire);
                return ended;
            }
            match wire.crank.next() {
                Output::Transmit => {
                    wire.crank.transmit(&wire.socket);
                    wire.tell_written();
                }
                Output::Event(ClientEvent::Closed(cause)) => {
                    self.end(*wire, &cause);
                    return own
                        .ended()
                        .unwrap_or_else(|| Err(closed(&cause, Sent::Maybe)));
                }
                Output::Event(event) => {
                    if let ClientEvent::Unserved { .. } = event {
                        self.retire();
                    }
                    wire.tell(event);
                }
                Output::Wait(until) => self.sleep(&mut wire, until),
            }
        }
    }

    /// Lets the next one lead who waits, if there is one.
    fn hand_over(&self, mut wire: Box<Wire>) {
        let mut state = self.state.lock();
        state.seq = wire.crank.seq();
        wire.queue.append(&mut state.left);
        match wire.heir() {
            Some(heir) => {
                drop(state);
                heir.tell(Told::Lead(wire));
            }
            None => state.wire = Some(wire),
        }
    }

    /// Tells everybody that the connection has ended.
    fn end(&self, wire: Wire, cause: &CloseCause) {
        let left = {
            let mut state = self.state.lock();
            state.over = true;
            state.seq = wire.crank.seq();
            mem::take(&mut state.left)
        };
        for (id, seat) in wire.waiting.into_iter().chain(wire.unwritten) {
            seat.end(Err(wire.crank.lost(id, cause)));
        }
        for job in wire.queue.into_iter().chain(left) {
            job.seat.end(Err(unsent(&cause.to_string())));
        }
    }

    /// Sleeps until the socket, the time, or somebody who calls has something to do.
    fn sleep(&self, wire: &mut Wire, until: Option<Time>) {
        let now = wire.crank.now();
        if wire.crank.is_overdue() {
            return wire.crank.tick(&wire.socket);
        }
        let bell = Bell::of_this_thread();
        {
            let mut state = self.state.lock();
            if !state.left.is_empty() {
                return;
            }
            state.sleeper = bell.clone();
        }
        let queued = wire.queue.iter().filter_map(|job| job.deadline).min();
        let left = [
            until.map(|at| at.saturating_since(now)),
            queued.map(|at| at.saturating_duration_since(Instant::now())),
            bell.is_none().then_some(DEAF),
        ];
        let left = left.into_iter().flatten().min();
        let writes = wire.crank.wants_write();
        let found = wire.socket.wait_or(bell.as_deref(), writes, left);
        self.state.lock().sleeper = None;
        wire.crank.now();
        let (ready, rung) = match found {
            Ok(found) => found,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => return,
            Err(why) => return wire.crank.handle(Input::Failed(why.kind())),
        };
        if let Some(bell) = bell.filter(|_| rung) {
            bell.hush();
        }
        if ready.read {
            wire.crank.receive_now(&wire.socket);
        }
        if ready.write && wire.crank.wants_write() {
            wire.crank.transmit(&wire.socket);
            wire.tell_written();
        }
    }
}

impl Wire {
    /// Sends what there is room for.
    fn begin(&mut self) {
        self.queue.retain(|job| {
            let late = job.deadline.is_some_and(|at| at <= Instant::now());
            if late {
                let text = "the daemon took no more calls in time";
                job.seat.end(Err(Error::new(ErrorKind::Timeout, text)));
            }
            !late
        });
        // What cannot be written yet holds back the rest, which can be sent elsewhere until then.
        if self.crank.wants_write() {
            return;
        }
        self.crank.now();
        while self.crank.has_room() {
            let Some(job) = self.queue.pop_front() else {
                return;
            };
            let Job {
                message,
                deadline,
                seat,
            } = job;
            let (oneway, begun) = match message {
                Message::Call(call) => (call.shape.is_oneway(), self.crank.call(*call, deadline)),
                Message::Ping => (false, self.crank.ping(deadline)),
            };
            match begun {
                Ok(id) if oneway => self.unwritten.push_back((id, seat)),
                Ok(id) => {
                    self.waiting.insert(id, seat);
                }
                Err(error) => seat.end(Err(error)),
            }
        }
    }

    /// Tells whom an event is for.
    fn tell(&mut self, event: ClientEvent) {
        let (id, ended) = match event {
            ClientEvent::Returned { id, response } => (id, Ok(Some(response))),
            ClientEvent::Ponged { id } => (id, Ok(None)),
            ClientEvent::Expired { id } => (id, Err(expired())),
            ClientEvent::Unserved { id } => (id, Err(unserved())),
            event => return debug!(?event, "an event that nobody waits for"),
        };
        if let Some(seat) = self.waiting.remove(&id) {
            return seat.end(ended);
        }
        if let Some(at) = self.unwritten.iter().position(|(late, _)| *late == id)
            && let Some((_, seat)) = self.unwritten.remove(at)
        {
            seat.end(Err(self.crank.unwritten(id)));
            // It may have kept back those that are written.
            self.tell_written();
        }
    }

    /// Tells whose oneway calls are written.
    fn tell_written(&mut self) {
        while let Some((id, seat)) = self.unwritten.front()
            && self.crank.is_written(*id)
        {
            seat.end(Ok(None));
            self.unwritten.pop_front();
        }
    }

    /// Who waits longest.
    fn heir(&self) -> Option<Arc<Seat>> {
        let waiting = self.waiting.values().next();
        let unwritten = || self.unwritten.front().map(|(_, seat)| seat);
        let queued = || self.queue.front().map(|job| &job.seat);
        waiting.or_else(unwritten).or_else(queued).cloned()
    }
}

/// The connection ended before anything of a call was sent, so it may be sent on another one.
fn unsent(why: &str) -> Error {
    Error::new(ErrorKind::Closed, why.to_owned()).with_sent(Sent::No)
}
