//! A connection to a daemon, in a task of its own.
//!
//! Callers hand it requests and wait for the answers. One who does not wait any more leaves his
//! request behind: it is sent as far as it was begun, and its answer is read and thrown away.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::tokio::sync::oneshot;
use ::tokio::task::yield_now;
use ::tokio::time::timeout_at;
use antifreeze_proto::{ClientEvent, CloseCause, RequestId, Response, Seq};
use antifreeze_serial::Value;
use antifreeze_sync::calls::Outgoing;
use antifreeze_sync::{BoundedSemaphore, OwnedPermit};
use parking_lot::Mutex;
use tracing::debug;

use super::requests::Requests;
use super::turns::{self, Claim, Turn};
use super::wire::{Wire, now};
use crate::chain::{self, By, Route, Stage, Watched};
use crate::client::crank::{self, expired, full, unserved};
use crate::client::remote::{Remote, Welcome, is_last_answer};
use crate::error::{Error, ErrorKind, Sent};
use crate::naming::Place;
use crate::net::Socket;
use crate::rpc::Metadata;
use crate::tokio::alarm::Alarm;

/// How long a caller waits beyond its deadline to be told of it.
const MARGIN: Duration = Duration::from_secs(1);

/// A connection that the daemon accepted. When nobody holds it any more, it is closed.
pub(super) struct Connection {
    requests: Arc<Requests<Request>>,
    /// As many as the calls that may be in flight, with a daemon of ours.
    places: Option<Arc<BoundedSemaphore>>,
    /// The sequence number of the last call.
    seq: Arc<AtomicU16>,
    /// The id of the object that it was made for.
    pub(super) object: String,
    pub(super) metadata: Arc<Metadata>,
    pub(super) welcome: Value,
    pub(super) route: Arc<Route>,
    socket: Weak<Socket>,
}

/// What is asked of the daemon.
pub(super) enum Message {
    /// In a box, since it goes through many hands.
    Call(Box<crank::Outgoing>),
    Ping,
}

/// How a request ended.
pub(super) enum Answer {
    Returned(Response),
    /// A oneway was written, a ping answered.
    Done,
    /// The connection ended over it, unless this is a usage error.
    Lost(Error),
    /// It was too late for it, which costs nothing else.
    Late(Error),
    /// The connection had ended before: nothing was sent.
    Stale,
}

struct Request {
    message: Message,
    deadline: Option<Instant>,
    reply: Reply,
}

/// Where an answer goes, and with it the right to have asked.
struct Reply {
    to: oneshot::Sender<(Answer, Right)>,
    right: Right,
    /// Who gets it may look for it at any time, so the right ends before.
    is_late: bool,
}

/// The answer to a request for which nobody waits now, but somebody may come.
#[derive(Default)]
pub(super) struct Later(Mutex<Option<oneshot::Receiver<(Answer, Right)>>>);

/// Waits for an answer. If this is dropped before, the answer is kept for later, if it may be.
struct Wait<'a> {
    answer: Option<oneshot::Receiver<(Answer, Right)>>,
    later: Option<&'a Later>,
}

/// What keeps others from asking at the same time, until this is answered.
enum Right {
    /// A Pyro5 daemon knows one call at a time.
    Turn(Turn),
    Place {
        _permit: Arc<OwnedPermit>,
    },
    /// It is a oneway call that nobody waits for.
    Nobody,
}

/// That a caller may ask now.
pub(super) struct Asking {
    right: Right,
    /// If it is not the right, it is kept until the request was handed over.
    turn: Option<Turn>,
    /// Until the answer is here, or nobody waits for it any more.
    _claim: Claim,
}

impl Asking {
    fn with_place(place: OwnedPermit, turn: Option<Turn>) -> Self {
        let _permit = Arc::new(place);
        Self {
            _claim: Claim::new(&_permit),
            right: Right::Place { _permit },
            turn,
        }
    }
}

impl Connection {
    /// Connects and shakes hands, all before the deadline; `seq` continues that of an earlier
    /// connection.
    pub(super) async fn open(
        remote: &Remote,
        place: Place,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        if let Some(given) = &remote.given {
            let mut wire = Wire::take(given.take()?, remote, seq)?;
            let metadata = wire.metadata(remote, &place.object, deadline).await?;
            let metadata = Arc::new(metadata);
            let single = wire.is_single(remote, deadline).await?;
            return Ok(Self::start(wire, place, seq, single, metadata, Value::None));
        }
        let route = Arc::new(Route::new(place.location.clone(), None));
        // Who serves one call at a time may say hello only after somebody who waits for us.
        let mut waiting = chain::begin(By::Task, &route, false, true, None);
        let call = waiting.id().seq;
        let greeting = async {
            let mut wire = Wire::connect(remote, &place, seq, deadline).await?;
            let watched = route.watch(call, Stage::Connecting, wire.socket());
            let event = wire.event().await;
            Ok::<_, Error>((wire, watched, remote.welcome(&place.location, event)))
        };
        let (mut wire, watched, welcome) = waiting.answered(2, greeting).await?;
        let deadlock = || watched.as_ref().and_then(Watched::deadlock);
        let welcome = welcome.map_err(|error| deadlock().unwrap_or(error));
        let Welcome { handshake, meta } = welcome?;
        let meta = Arc::new(meta);
        remote.learn(&meta);
        let asking = wire.is_single(remote, deadline);
        let single = waiting.answered(2, asking).await;
        let single = single.map_err(|error| deadlock().unwrap_or(error))?;
        drop(watched);
        drop(waiting);
        Ok(Self::start(wire, place, seq, single, meta, handshake))
    }

    /// Starts the task of a connection on which calls can be made.
    fn start(
        wire: Wire,
        place: Place,
        seq: Seq,
        single: bool,
        metadata: Arc<Metadata>,
        welcome: Value,
    ) -> Self {
        let requests = Arc::new(Requests::default());
        let seq = Arc::new(AtomicU16::new(seq.0));
        let mut route = Route::new(place.location, wire.crank.peer());
        route.single = single;
        let limit = wire.crank.call_limit();
        let places = (limit > 1).then(|| Arc::new(route.places(limit)));
        let socket = Arc::downgrade(wire.socket());
        let driver = Driver {
            wire,
            requests: Arc::clone(&requests),
            queue: VecDeque::new(),
            alarm: Alarm::default(),
            seq: Arc::clone(&seq),
            waiting: Waiting::default(),
            unwritten: VecDeque::new(),
            answered: 0,
            yielded: false,
        };
        ::tokio::spawn(driver.run());
        Self {
            requests,
            places,
            seq,
            object: place.object,
            metadata,
            welcome,
            route: Arc::new(route),
            socket,
        }
    }

    /// Waits until one more call may be in flight.
    pub(super) async fn may_ask(
        &self,
        turn: Turn,
        deadline: Option<Instant>,
    ) -> Result<Asking, Error> {
        let Some(places) = &self.places else {
            return Ok(Asking {
                _claim: Claim::new(turn.permit()),
                right: Right::Turn(turn),
                turn: None,
            });
        };
        // Others wait for the turn meanwhile.
        let claim = Claim::new(turn.permit());
        let place = turns::acquire(places, deadline).await;
        drop(claim);
        let place = place.map_err(|why| full(places, &why))?;
        Ok(Asking::with_place(place, Some(turn)))
    }

    /// Whether one more call may be in flight, of several, without waiting.
    pub(super) fn try_ask(&self) -> Option<Asking> {
        let place = self.places.as_ref()?.try_acquire_owned()?;
        Some(Asking::with_place(place, None))
    }

    /// Sends a message and waits for how it ends. Gives back the turn if it was needed until then, and
    /// nobody may look for the answer `later`.
    pub(super) async fn exchange(
        &self,
        message: Message,
        waiting: Option<&mut Outgoing>,
        deadline: Option<Instant>,
        asking: Asking,
        later: Option<&Later>,
    ) -> (Answer, Option<Turn>) {
        let Asking {
            right,
            turn,
            _claim,
        } = asking;
        let call = waiting.as_ref().map(|waiting| waiting.id().seq);
        let watch = |call| self.route.watch(call, Stage::Sent, &self.socket.upgrade()?);
        let watched = call.filter(|_| self.route.is_opaque()).and_then(watch);
        let (to, answer) = oneshot::channel();
        let request = Request {
            message,
            deadline,
            reply: Reply {
                to,
                right,
                is_late: later.is_some(),
            },
        };
        if let Err(request) = self.requests.send(request) {
            watched.into_iter().for_each(Watched::answered);
            return (Answer::Stale, turn.or_else(|| request.reply.right.turn()));
        }
        // With a place, the next one may ask now; the order is kept.
        drop(turn);
        // The task of the connection knows the deadline; but it may be in a runtime that nobody runs.
        let last = deadline.and_then(|at| at.checked_add(MARGIN));
        let mut wait = Wait {
            answer: Some(answer),
            later,
        };
        let answer = match (last, waiting) {
            (None, None) => Ok((&mut wait).await),
            (None, Some(waiting)) => Ok(waiting.answered(1, &mut wait).await),
            (Some(last), None) => timeout_at(last.into(), &mut wait).await,
            (Some(last), Some(waiting)) => {
                let answer = timeout_at(last.into(), &mut wait);
                waiting.answered(2, answer).await
            }
        };
        let Ok(answer) = answer else {
            wait.later = None;
            return (Answer::Late(expired()), None);
        };
        match answer {
            Ok((Answer::Lost(error), right)) => {
                let error = match watched {
                    Some(watched) => watched.lost(error),
                    None => error,
                };
                (Answer::Lost(error), right.turn())
            }
            Ok((answer, right)) => {
                watched.into_iter().for_each(Watched::answered);
                (answer, right.turn())
            }
            Err(_) => (Answer::Lost(shut_down()), None),
        }
    }

    /// Sends a oneway call for which nobody waits, after those that were handed over before.
    pub(super) fn send_on(&self, outgoing: Box<crank::Outgoing>) {
        let (to, _) = oneshot::channel();
        let right = Right::Nobody;
        let request = Request {
            message: Message::Call(outgoing),
            deadline: None,
            reply: Reply {
                to,
                right,
                is_late: false,
            },
        };
        // If the connection has ended, there is nothing to be told.
        drop(self.requests.send(request));
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_over()
    }

    pub(super) fn seq(&self) -> Seq {
        Seq(self.seq.load(Ordering::Relaxed))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.requests.leave();
    }
}

/// The task.
struct Driver {
    wire: Wire,
    requests: Arc<Requests<Request>>,
    /// Those that have to wait until the daemon reads, or answers what others gave up waiting for.
    queue: VecDeque<Request>,
    /// For their deadlines.
    alarm: Alarm,
    seq: Arc<AtomicU16>,
    waiting: Waiting,
    /// Oneway calls, which are over when they are written.
    unwritten: VecDeque<(RequestId, Reply)>,
    /// How many callers had their answers since it last wrote.
    answered: usize,
    /// It let others run before it writes.
    yielded: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Also when the runtime is shut down: whoever asks now learns that nothing was sent.
        drop(self.requests.close());
    }
}

impl Driver {
    async fn run(mut self) {
        if let Some(cause) = poll_fn(|cx| self.poll_end(cx)).await {
            self.end(&cause);
        }
    }

    /// Works until the connection ends, or nobody wants it any more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseCause>> {
        let mut awake = false;
        loop {
            // In every second round is written what was begun before, which takes hardly any time.
            awake = !awake;
            if awake {
                self.wire.wake();
            }
            // First what has come: an end that is known costs no call.
            while let Poll::Ready(event) = self.wire.poll_event(cx) {
                if let ClientEvent::Closed(cause) = event {
                    return Poll::Ready(Some(cause));
                }
                self.tell(event);
            }
            self.tell_written();
            // Then all that can be sent, to be written together.
            let wanted = self.requests.take(&mut self.queue);
            if !wanted && !self.wire.crank.wants_write() {
                // Nobody waits for an answer any more.
                return Poll::Ready(None);
            }
            // What cannot be written yet holds back the rest.
            let mut begun = false;
            let takes_more = !self.wire.crank.wants_write();
            if takes_more && self.has_company() && !std::mem::replace(&mut self.yielded, true) {
                // Others who had answers together with this caller are about to call again: one
                // write takes all of that. They do not wake us meanwhile.
                return pin!(yield_now()).poll(cx).map(|()| None);
            }
            self.yielded = false;
            self.answered = 0;
            while takes_more
                && self.wire.crank.has_room()
                && let Some(request) = self.queue.pop_front()
            {
                self.begin(request);
                begun = true;
            }
            if !begun && self.poll_late(cx).is_pending() && !(wanted && self.requests.has_news(cx))
            {
                return Poll::Pending;
            }
        }
    }

    /// Whether somebody wants to call while others wait for their answers, or just had them.
    fn has_company(&self) -> bool {
        let others = !self.waiting.is_empty() || self.answered > 1;
        others && !self.queue.is_empty() && self.wire.crank.has_room()
    }

    fn tell(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Returned { id, response } => {
                let Some(reply) = self.waiting.take(id) else {
                    return;
                };
                if reply.is_late && is_last_answer(&response) {
                    // The next one may ask before anybody looks at this.
                    self.take_no_more();
                }
                self.answered += 1;
                reply.send(Answer::Returned(response));
            }
            ClientEvent::Ponged { id } => self.answer(id, Answer::Done),
            ClientEvent::Expired { id } => {
                let late = self.unwritten.iter().position(|(late, _)| *late == id);
                if let Some((_, reply)) = late.and_then(|at| self.unwritten.remove(at)) {
                    return reply.send(Answer::Late(self.wire.crank.unwritten(id)));
                }
                self.answer(id, Answer::Late(expired()));
            }
            ClientEvent::Unserved { id } => {
                self.answer(id, Answer::Lost(unserved()));
                // Nor will it execute these, which need not wait until it has ended.
                self.take_no_more();
            }
            event => debug!(?event, "an event that nobody waits for"),
        }
    }

    /// Tells those whose oneway calls are written.
    fn tell_written(&mut self) {
        while let Some((id, reply)) = self.unwritten.pop_front() {
            if !self.wire.crank.is_written(id) {
                self.unwritten.push_front((id, reply));
                break;
            }
            reply.send(Answer::Done);
        }
    }

    /// Tells those in the queue for whom it is too late; waits for the next one.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadlines = self.queue.iter().filter_map(|request| request.deadline);
        ready!(self.alarm.poll(cx, deadlines.min().map(Into::into)));
        let now = now();
        let is_late = |request: &Request| request.deadline.is_some_and(|at| at <= now);
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (late, queue): (VecDeque<_>, _) = queue.partition(is_late);
        self.queue = queue;
        for request in late {
            let text = "the daemon took no more calls in time";
            let error = Error::new(ErrorKind::Timeout, text);
            request.reply.send(Answer::Late(error));
        }
        Poll::Ready(())
    }

    fn begin(&mut self, request: Request) {
        let Request {
            message,
            deadline,
            reply,
        } = request;
        if reply.to.is_closed() && !matches!(reply.right, Right::Nobody) {
            return;
        }
        if self.waiting.is_empty() && !self.wire.is_open() {
            debug!("the connection is stale");
            return reply.send(Answer::Stale);
        }
        let crank = &mut self.wire.crank;
        if deadline.is_some() {
            // The daemon is told how much time is left.
            crank.now();
        }
        let (oneway, begun) = match message {
            Message::Call(outgoing) => {
                (outgoing.shape.is_oneway(), crank.call(*outgoing, deadline))
            }
            Message::Ping => (false, crank.ping(deadline)),
        };
        self.seq.store(crank.seq().0, Ordering::Relaxed);
        match begun {
            Ok(id) if oneway => self.unwritten.push_back((id, reply)),
            Ok(id) => self.waiting.push(id, reply),
            Err(error) => reply.send(Answer::Lost(error)),
        }
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        if let Some(reply) = self.waiting.take(id) {
            self.answered += 1;
            reply.send(answer);
        }
    }

    /// Lets those who are still to be sent go elsewhere.
    fn take_no_more(&mut self) {
        let unheard = self.requests.close();
        for request in self.queue.drain(..).chain(unheard) {
            request.reply.send(Answer::Stale);
        }
    }

    /// Tells everybody who waits.
    fn end(mut self, cause: &CloseCause) {
        self.take_no_more();
        for (id, reply) in self.waiting.0.drain(..).chain(self.unwritten.drain(..)) {
            reply.send(Answer::Lost(self.wire.crank.lost(id, cause)));
        }
    }
}

/// Who waits for the answer to which call, the oldest call first.
#[derive(Default)]
struct Waiting(VecDeque<(RequestId, Reply)>);

impl Waiting {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more, whose call is younger than all others.
    fn push(&mut self, id: RequestId, reply: Reply) {
        self.0.push_back((id, reply));
    }

    fn take(&mut self, id: RequestId) -> Option<Reply> {
        // Answers tend to come in the order of their calls.
        let at = match self.0.front()? {
            (first, _) if *first == id => 0,
            _ => self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?,
        };
        self.0.remove(at).map(|(_, reply)| reply)
    }
}

impl Reply {
    fn send(self, answer: Answer) {
        let Self { to, right, is_late } = self;
        let right = if is_late {
            // Before the answer is there: whoever has it may do at once what needs the turn to be free.
            drop(right);
            Right::Nobody
        } else {
            right
        };
        // If nobody waits any more, the right ends here.
        let _ = to.send((answer, right));
    }
}

impl Later {
    /// Waits for the answer, if one was left.
    pub(super) async fn answer(&self) -> Option<Answer> {
        poll_fn(|cx| {
            let mut left = self.0.lock();
            let Some(answer) = &mut *left else {
                return Poll::Ready(None);
            };
            let answer = ready!(Pin::new(answer).poll(cx));
            *left = None;
            let lost = |_| Answer::Lost(shut_down());
            Poll::Ready(Some(answer.map_or_else(lost, |(answer, _)| answer)))
        })
        .await
    }
}

impl Future for Wait<'_> {
    type Output = Result<(Answer, Right), oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.answer.as_mut().expect("it was not answered before");
        let answer = ready!(Pin::new(answer).poll(cx));
        self.answer = None;
        Poll::Ready(answer)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let (Some(later), Some(answer)) = (self.later, self.answer.take()) {
            *later.0.lock() = Some(answer);
        }
    }
}

fn shut_down() -> Error {
    let text = "the runtime of the connection was shut down";
    Error::new(ErrorKind::Closed, text).with_sent(Sent::Maybe)
}

impl Right {
    fn turn(self) -> Option<Turn> {
        match self {
            Self::Turn(turn) => Some(turn),
            Self::Place { .. } | Self::Nobody => None,
        }
    }
}
