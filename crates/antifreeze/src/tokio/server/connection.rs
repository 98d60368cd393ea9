//! One connection that we serve: a task that turns the crank of its state machine.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use antifreeze_proto::{
    CloseCause, Handshake, Input, Output, Request, RequestId, ServerConnection, ServerEvent, Time,
};
use tracing::debug;

use super::engine::{Level, Oneway, Shared};
use super::inbox::{Caller, Inbox, Note};
use crate::blob;
use crate::call::Peer;
use crate::net::Socket;
use crate::rpc::{Answer, Envelope, Finished, Session, Started, Ticket};
use crate::server::{Blocked, Farewell, Link, ONEWAYS, Sealed, log_oneway};
use crate::tokio::alarm::Alarm;
use crate::tokio::watch;

/// How many steps one connection may take in a row, and how many bytes it may bring, before the
/// others have their turn. A call is about four steps.
const TURN: usize = 64;
const TURN_BYTES: usize = 1 << 18;

/// What has more bytes is decoded on a thread that may take its time.
const LARGE: usize = 1 << 16;

/// An answer that has more bytes is compressed there: these take some 100 µs.
const LARGE_TO_DEFLATE: usize = 1 << 13;

/// A connection, with its socket. It holds no buffer and no timer while it is idle.
pub(super) struct Connection {
    /// Tells when the socket may be ready.
    ready: AsyncFd<Arc<Socket>>,
    link: Link,
    session: Arc<Session>,
    inbox: Arc<Inbox>,
    alarm: Alarm,
    /// Why it will not be let in, if that is clear already.
    refusal: Option<&'static str>,
    draining: bool,
    /// Calls that wait, to be ended with the connection.
    waiting: Vec<(RequestId, Ticket)>,
    /// Oneway calls that run or wait.
    oneways: usize,
    /// A oneway call that has not taken its place yet.
    unplaced: Option<RequestId>,
    /// A request is being inflated.
    inflating: bool,
    /// The request that came after it.
    next: Option<Box<Request>>,
    /// Set when all is said, and the peer shall have time to read it.
    farewell: Option<Farewell>,
    /// Last, because the server may end when it is dropped: the socket is closed then.
    shared: Known,
}

/// The server, which knows a connection until this is dropped.
struct Known {
    by: Arc<Shared>,
    id: u64,
}

impl Deref for Known {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.by
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.by.remove(self.id);
    }
}

impl Connection {
    /// A new connection, which does nothing until it is spawned.
    pub(super) fn new(
        socket: Socket,
        proto: ServerConnection,
        shared: Arc<Shared>,
        refusal: Option<&'static str>,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = watch(Arc::clone(&socket), both)?;
        let settings = Arc::clone(&shared.rpc.config);
        let session = Arc::new(Session::new(Peer::of(&socket, proto.id(), settings)));
        let inbox = Arc::default();
        let id = proto.id();
        shared.add(id, Arc::clone(&inbox));
        Ok(Self {
            ready,
            link: Link::new(
                socket,
                proto,
                Arc::clone(&session.peer),
                shared.engine.clock,
                shared.lone,
            ),
            session,
            inbox,
            alarm: Alarm::default(),
            refusal,
            draining: false,
            waiting: Vec::new(),
            oneways: 0,
            unplaced: None,
            inflating: false,
            next: None,
            farewell: None,
            shared: Known { by: shared, id },
        })
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.inbox.watch(cx);
        let level = self.shared.level();
        if level == Level::Closed {
            debug!(connection = self.link.proto.id(), "connection closed");
            return Poll::Ready(());
        }
        if self.farewell.is_some() {
            return self.hear_out(cx);
        }
        if level >= Level::Draining && !self.draining {
            self.draining = true;
            let now = self.link.now();
            self.link.proto.drain(now);
        }
        if level >= Level::Refusing {
            self.waiting
                .drain(..)
                .for_each(|(_, ticket)| ticket.refuse());
        }
        self.run(cx)
    }
}

impl Connection {
    /// Does what there is to do, until there is nothing or others want their turn.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = 0;
        for _ in 0..TURN {
            while let Some(note) = self.inbox.pop() {
                self.heed(note);
            }
            if let Some(request) = self.next.take() {
                if self.is_held_back() {
                    self.next = Some(request);
                    // Nothing is read meanwhile, so what the peer has to send is not late.
                    self.link.tick_held_back();
                    let until = self.link.proto.held_back_deadline();
                    match self.poll_socket(cx, until) {
                        Poll::Ready(_) => continue,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                self.serve(request);
                continue;
            }
            // First what came: nothing blocks here, and one write takes all answers.
            let output = match self.link.proto.poll_event() {
                Some(event) => Output::Event(event),
                None => self.link.proto.poll_output(),
            };
            match output {
                Output::Transmit => {
                    if let Err(Blocked) = self.link.transmit(false) {
                        let now = self.link.now();
                        self.link.proto.handle(now, Input::Wrote(0));
                    }
                }
                Output::Event(ServerEvent::Connecting(handshake)) => self.decide(handshake),
                Output::Event(ServerEvent::Requested(request)) => {
                    self.next = Some(request);
                }
                Output::Event(ServerEvent::Closed(cause)) => return self.end(&cause, cx),
                Output::Wait(Some(until)) if until <= self.link.now() => self.link.catch_up(),
                Output::Wait(until) => match self.poll_socket(cx, until) {
                    Poll::Ready(received) => bytes += received,
                    Poll::Pending => return Poll::Pending,
                },
            }
            if bytes >= TURN_BYTES {
                break;
            }
        }
        // Endless work on one connection must not keep the others waiting, nor those whose sockets
        // became ready meanwhile.
        pin!(::tokio::task::yield_now()).poll(cx)
    }

    /// Moves bytes if the socket lets us, and says how many came; else waits for that, or until
    /// `until`.
    fn poll_socket(&mut self, cx: &mut Context<'_>, until: Option<Time>) -> Poll<usize> {
        let Self { ready, link, .. } = self;
        while self.next.is_none()
            && link.proto.wants_read()
            && let Poll::Ready(polled) = ready.poll_read_ready(cx)
        {
            let Ok(mut readable) = polled else {
                return Poll::Ready(self.fail(io::ErrorKind::ConnectionAborted));
            };
            match link.receive(false) {
                Err(Blocked) => readable.clear_ready(),
                Ok(received) => {
                    if received.all {
                        readable.clear_ready();
                    }
                    return Poll::Ready(received.bytes);
                }
            }
        }
        // Also tells that the peer is gone when nothing more is read from it.
        while (link.proto.wants_write() || !self.waiting.is_empty())
            && let Poll::Ready(polled) = ready.poll_write_ready(cx)
        {
            let Ok(mut writable) = polled else {
                return Poll::Ready(self.fail(io::ErrorKind::ConnectionAborted));
            };
            let closed = writable.ready().is_write_closed();
            writable.clear_ready();
            if link.proto.wants_write() {
                if link.transmit(false).is_ok() {
                    return Poll::Ready(0);
                }
            } else if closed {
                return Poll::Ready(self.fail(io::ErrorKind::ConnectionReset));
            }
        }
        link.proto.release_buffers();
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        let until = until.and_then(|until| self.link.clock.instant(until));
        ready!(self.alarm.poll(cx, until));
        Poll::Ready(0)
    }

    fn fail(&mut self, why: io::ErrorKind) -> usize {
        let now = self.link.now();
        self.link.proto.handle(now, Input::Failed(why));
        0
    }

    /// Takes note of what happened elsewhere.
    fn heed(&mut self, note: Note) {
        match note {
            Note::Decided(verdict) => self.link.decide(verdict),
            Note::Inflated(request) => {
                self.inflating = false;
                match request {
                    Ok(request) => self.serve(request),
                    Err(error) => self.link.close(error.into()),
                }
            }
            Note::Placed(id) => self.placed(id),
            Note::Waits(_, ticket) if self.shared.level() >= Level::Refusing => ticket.refuse(),
            Note::Waits(id, ticket) => {
                self.link.probe();
                self.waiting.push((id, ticket));
            }
            Note::Ended(id, envelope, finished) => {
                self.waiting.retain(|(waiting, _)| *waiting != id);
                let sealed = self.link.seal(&self.shared.rpc, envelope, finished);
                if self.shared.rpc.config.compression
                    && sealed.reply.payload.len() > LARGE_TO_DEFLATE
                    && self.link.proto.cause().is_none()
                {
                    return self.deflate(id, sealed);
                }
                self.link.answer_with(&self.shared.rpc, id, sealed);
            }
            Note::Deflated(id, sealed) => self.link.answer_with(&self.shared.rpc, id, *sealed),
            Note::Over(id) => self.over(id),
            Note::Unanswerable(caller, why) => {
                if caller.oneway {
                    self.over(caller.id);
                }
                self.link.close(why);
            }
        }
    }

    /// Answers the handshake.
    fn decide(&mut self, handshake: Handshake) {
        let Shared { rpc, engine, .. } = &**self.shared;
        let refusal = self.refusal;
        if rpc.validator.is_none() && handshake.payload.len() <= LARGE {
            let verdict = rpc.handshake(&self.session, handshake, refusal);
            return self.link.decide(verdict);
        }
        // The user's code may take its time to decide.
        let (rpc, session, inbox) = (
            Arc::clone(rpc),
            Arc::clone(&self.session),
            Arc::clone(&self.inbox),
        );
        engine.pool.spawn(Box::new(move || {
            let verdict = rpc.handshake(&session, handshake, refusal);
            inbox.push(Note::Decided(verdict));
        }));
    }

    /// Whether the next request has to wait for those before it.
    fn is_held_back(&self) -> bool {
        self.inflating || self.unplaced.is_some() || self.oneways >= ONEWAYS
    }

    /// Runs a request, or has it run.
    fn serve(&mut self, request: Box<Request>) {
        if request.payload.is_compressed() {
            return self.inflate(request);
        }
        let Request {
            id, oneway, batch, ..
        } = *request;
        let caller = Caller { id, oneway };
        let mut started: Option<Started> = None;
        if oneway {
            self.link.socket.acknowledge_now();
            self.oneways += 1;
            self.unplaced = Some(id);
            // A oneway batch runs in order on its connection, as in Pyro.
            if !batch {
                let inbox = Arc::clone(&self.inbox);
                started = Some(Box::new(move || inbox.push(Note::Placed(id))));
            }
        }
        let rpc = Arc::clone(&self.shared.rpc);
        if !batch && bytes_to_decode(&request) <= LARGE {
            let dispatched = rpc.dispatch(&self.session, request, started);
            let (shared, inbox) = (Arc::clone(&self.shared), Arc::clone(&self.inbox));
            let count = || Oneway::new(&shared);
            return report(inbox, caller, count, dispatched, |note| self.heed(note));
        }
        let (session, inbox) = (Arc::clone(&self.session), Arc::clone(&self.inbox));
        // From now on, for its connection may end before a thread takes it up.
        let counted = oneway.then(|| Oneway::new(&self.shared));
        let shared = Arc::clone(&self.shared);
        self.shared.engine.pool.spawn(Box::new(move || {
            let dispatched = rpc.dispatch(&session, request, started);
            let count = || counted.unwrap_or_else(|| Oneway::new(&shared));
            report(Arc::clone(&inbox), caller, count, dispatched, |note| {
                inbox.push(note);
            });
        }));
    }

    /// Has a large request inflated before it is served; those that follow it wait, as they would if
    /// more of it had to come.
    fn inflate(&mut self, mut request: Box<Request>) {
        self.inflating = true;
        let (session, inbox) = (Arc::clone(&self.session), Arc::clone(&self.inbox));
        self.shared.engine.pool.spawn(Box::new(move || {
            if session.peer.has_ended() {
                return;
            }
            let inflated = request.payload.inflate().map(drop);
            inbox.push(Note::Inflated(inflated.map(|()| request)));
        }));
    }

    /// Has a large answer compressed before it is given, while others are served.
    fn deflate(&self, id: RequestId, mut sealed: Sealed) {
        let (session, inbox) = (Arc::clone(&self.session), Arc::clone(&self.inbox));
        self.shared.engine.pool.spawn(Box::new(move || {
            if session.peer.has_ended() {
                return;
            }
            sealed.reply.payload.deflate();
            inbox.push(Note::Deflated(id, Box::new(sealed)));
        }));
    }

    fn over(&mut self, oneway: RequestId) {
        self.oneways -= 1;
        self.placed(oneway);
    }

    fn placed(&mut self, id: RequestId) {
        if self.unplaced == Some(id) {
            self.unplaced = None;
        }
    }

    /// Ends the waits of calls whose caller is gone.
    fn cancel_waiting(&mut self) {
        self.waiting
            .drain(..)
            .for_each(|(_, ticket)| ticket.cancel());
    }

    fn end(&mut self, cause: &CloseCause, cx: &mut Context<'_>) -> Poll<()> {
        debug!(connection = self.link.proto.id(), %cause, "connection ended");
        self.farewell = Farewell::begin(&self.link.socket, cause, self.link.now());
        self.inbox.close();
        self.cancel_waiting();
        self.shared.rpc.end(&self.session);
        self.hear_out(cx)
    }

    /// Reads what a refused peer still sends, until it closes or has had its time.
    fn hear_out(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(farewell) = &mut self.farewell
            && self.shared.level() == Level::Serving
            && let Some(until) = farewell.listen(&self.link.socket, self.link.now())
        {
            match self.ready.poll_read_ready(cx) {
                Poll::Ready(Ok(mut readable)) => readable.clear_ready(),
                Poll::Ready(Err(_)) => break,
                Poll::Pending => ready!(self.alarm.poll(cx, self.link.clock.instant(until))),
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inbox.close();
        self.cancel_waiting();
        self.shared.end(&mut self.session);
    }
}

/// How much of a request is decoded at most before its method runs.
fn bytes_to_decode(request: &Request) -> usize {
    let info = request
        .keep_serialized
        .then(|| request.annotations.get(blob::INFO));
    request.payload.as_is().len() + info.flatten().map_or(0, |info| info.len())
}

/// Tells the connection of a call that was dispatched; what comes later goes to its inbox.
fn report(
    inbox: Arc<Inbox>,
    caller: Caller,
    count: impl FnOnce() -> Oneway,
    dispatched: Result<(Answer, Envelope), CloseCause>,
    mut tell: impl FnMut(Note),
) {
    let (answer, envelope) = match dispatched {
        Ok(dispatched) => dispatched,
        Err(why) => return tell(Note::Unanswerable(caller, why)),
    };
    let (pending, ticket) = match answer {
        Answer::Now(finished) => return tell(ended(caller, envelope, finished)),
        Answer::Later(pending, ticket) => (pending, ticket),
    };
    let mut counted = None;
    if caller.oneway {
        // It runs whether or not its caller is still there.
        let oneway = count();
        if let Some(ticket) = ticket {
            oneway.wait(ticket);
        }
        counted = Some(oneway);
    } else if let Some(ticket) = ticket {
        tell(Note::Waits(caller.id, ticket));
    }
    let later = move |finished| {
        inbox.push(ended(caller, envelope, finished));
        drop(counted);
    };
    if let Some((_, finished)) = pending.on_complete(later) {
        tell(ended(caller, envelope, finished));
    }
}

fn ended(caller: Caller, envelope: Envelope, finished: Finished) -> Note {
    if caller.oneway {
        log_oneway(finished);
        Note::Over(caller.id)
    } else {
        Note::Ended(caller.id, envelope, finished)
    }
}
