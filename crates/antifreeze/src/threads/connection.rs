//! One connection that we serve: turns the crank of its state machine while there is something to
//! do, and goes back to the poller when there is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use antifreeze_proto::{
    CloseCause, Handshake, Output, Request, ServerConnection, ServerEvent, StateName, Time,
};
use parking_lot::Mutex;
use tracing::debug;

use super::calls::{Answered, Call, Calls, Owner, deliver};
use super::poller::For;
use super::server::{Oneway, Open, Shared};
use crate::call::Peer;
use crate::net::Socket;
use crate::rpc::{Answer, Session};
use crate::server::{Blocked, Farewell, Link, ONEWAYS, log_oneway};

/// How many steps one connection may take in a row while others wait for a worker. A call is about
/// four of them.
const TURN: usize = 64;

/// A connection, with its socket.
pub(crate) struct Connection {
    link: Link,
    session: Arc<Session>,
    shared: Arc<Shared>,
    oneways: Arc<AtomicUsize>,
    /// Calls that run at the same time, once a peer of ours has made one, or something is held back.
    calls: Option<Owner>,
    /// What `calls` said last of that.
    held: bool,
    /// Why it will not be let in, if that is clear already.
    refusal: Option<&'static str>,
    draining: bool,
    /// Set when all is said, and the peer shall have time to read it.
    farewell: Option<Farewell>,
    _open: Open,
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        proto: ServerConnection,
        shared: Arc<Shared>,
        refusal: Option<&'static str>,
    ) -> Self {
        let settings = Arc::clone(&shared.rpc.config);
        let session = Arc::new(Session::new(Peer::of(&socket, proto.id(), settings)));
        let open = Open::new(&shared);
        Self {
            link: Link::new(
                Arc::new(socket),
                proto,
                Arc::clone(&session.peer),
                shared.engine.clock,
                shared.lone,
            ),
            session,
            shared,
            oneways: Arc::default(),
            calls: None,
            held: false,
            refusal,
            draining: false,
            farewell: None,
            _open: open,
        }
    }

    /// Whether it is to end as soon as nothing runs on it.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether more of what the peer sends is welcome.
    pub(crate) fn wants_read(&self) -> bool {
        !self.is_held_back() && self.link.proto.wants_read()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.link.socket
    }

    /// What its calls share that run at the same time.
    pub(crate) fn calls(&self) -> Option<Calls> {
        self.calls.as_ref().map(|owner| owner.0.clone())
    }

    /// Waits for the first byte of a new connection.
    pub(crate) fn begin(mut self: Box<Self>) {
        match self.link.proto.poll_output() {
            Output::Wait(until) => {
                if let Some(connection) = self.park(For::Reading, until) {
                    connection.run();
                }
            }
            _ => self.run(),
        }
    }

    /// The time for which it was parked has come.
    pub(crate) fn tick(mut self: Box<Self>) {
        if !self.is_held_back() {
            self.link.catch_up();
        }
        self.run();
    }

    /// Does what there is to do. Runs methods, so it belongs on a worker.
    pub(crate) fn run(mut self: Box<Self>) {
        if self.farewell.is_some() {
            return self.hear_out();
        }
        for step in 0.. {
            self.take_answers();
            if !self.draining && self.shared.is_draining() {
                self.draining = true;
                self.link.proto.drain(self.link.now());
            }
            if step >= TURN && self.is_pressed() {
                // Endless work on one connection must not keep the others waiting.
                let pool = Arc::clone(&self.shared.engine.pool);
                return pool.spawn(Box::new(move || self.run()));
            }
            if self.is_held_back() {
                match self.stand_by() {
                    Some(connection) => self = connection,
                    None => return,
                }
                continue;
            }
            match self.link.proto.poll_output() {
                Output::Transmit => {
                    if let Err(Blocked) = self.link.transmit(!self.is_pressed())
                        && !self.receive_meanwhile()
                    {
                        let until = self.link.proto.deadline();
                        match self.park(For::Writing, until) {
                            Some(connection) => self = connection,
                            None => return,
                        }
                    }
                }
                Output::Event(ServerEvent::Connecting(handshake)) => self.decide(handshake),
                Output::Event(ServerEvent::Requested(request)) => match self.serve(request) {
                    Some(connection) => self = connection,
                    None => return,
                },
                Output::Event(ServerEvent::Closed(cause)) => return self.end(&cause),
                Output::Wait(Some(until)) if until <= self.link.now() => self.link.catch_up(),
                Output::Wait(_) if !self.link.proto.wants_read() && self.link.notice_break() => {}
                Output::Wait(until) if !self.link.proto.wants_read() => {
                    match self.park(For::Break, until) {
                        Some(connection) => self = connection,
                        None => return,
                    }
                }
                Output::Wait(until) => {
                    // Answers of calls that run elsewhere shall not wait for the next request.
                    let busy = matches!(
                        self.link.proto.state(),
                        StateName::Serving | StateName::Draining
                    );
                    let patient = !busy && !self.is_pressed();
                    if let Err(Blocked) = self.link.receive(patient) {
                        match self.park(For::Reading, until) {
                            Some(connection) => self = connection,
                            None => return,
                        }
                    }
                }
            }
        }
    }

    /// Whether others wait for a worker.
    fn is_pressed(&self) -> bool {
        self.shared.engine.pool.is_pressed()
    }

    /// Reads while the peer takes nothing, for it may be busy writing to us; says whether anything
    /// came.
    fn receive_meanwhile(&mut self) -> bool {
        let came = (0..TURN)
            .take_while(|_| self.link.proto.wants_read() && self.link.receive(false).is_ok())
            .count();
        // However much it says, it must not take nothing for ever.
        self.link.catch_up();
        came > 0
    }

    /// Answers the handshake.
    fn decide(&mut self, handshake: Handshake) {
        let rpc = &self.shared.rpc;
        let verdict = rpc.handshake(&self.session, handshake, self.refusal);
        self.link.decide(verdict);
    }

    /// Runs a request. None if the connection has been handed on.
    fn serve(mut self: Box<Self>, mut request: Box<Request>) -> Option<Box<Self>> {
        // Here, so that it is one at a time of each connection.
        if let Err(error) = request.payload.inflate() {
            self.link.close(error.into());
            return Some(self);
        }
        if request.oneway {
            self.link.socket.acknowledge_now();
            let crowded = self.oneways.load(Ordering::Relaxed) >= ONEWAYS;
            // A oneway batch runs in order on its connection, as in Pyro.
            return if crowded || request.batch {
                self.serve_held(request)
            } else {
                self.serve_oneway(request)
            };
        }
        if self.link.proto.call_limit() > 1 {
            return self.serve_beside(request);
        }
        let id = request.id;
        let rpc = &self.shared.rpc;
        let dispatched = rpc.dispatch(&self.session, request, None);
        let (answer, envelope) = match dispatched {
            Ok(dispatched) => dispatched,
            Err(why) => {
                self.link.close(why);
                return Some(self);
            }
        };
        match answer {
            Answer::Now(finished) => {
                self.link.answer(&self.shared.rpc, id, envelope, finished);
                Some(self)
            }
            Answer::Later(pending, ticket) => {
                let engine = Arc::clone(&self.shared.engine);
                self.link.probe();
                let watched = ticket.and_then(|t| engine.poller.watch(&self.link.socket, t));
                self.link.proto.release_buffers();
                let resume = move |finished| {
                    if let Some(token) = watched {
                        self.shared.engine.poller.unwatch(token);
                    }
                    self.link.answer(&self.shared.rpc, id, envelope, finished);
                    self.run();
                };
                if let Some((resume, finished)) = pending.on_complete(resume) {
                    engine.pool.spawn(Box::new(move || resume(finished)));
                }
                None
            }
        }
    }

    /// Runs a request of a peer that may have several at the same time.
    ///
    /// This thread runs it while the connection waits for more; but if there is more already, the
    /// thread goes on with the connection, and another one runs the request.
    fn serve_beside(mut self: Box<Self>, request: Box<Request>) -> Option<Box<Self>> {
        // Once the call waits, somebody else may have the connection.
        self.link.probe();
        let calls = self.calls.get_or_insert_default().0.clone();
        let call = Call {
            request,
            session: Arc::clone(&self.session),
            shared: Arc::clone(&self.shared),
            calls,
        };
        let goes_on = if self.link.proto.has_output() {
            Some(self)
        } else {
            let until = self.link.proto.deadline();
            let what = if self.link.proto.wants_read() {
                For::Reading
            } else {
                For::Break
            };
            self.keep(what, until)
        };
        match goes_on {
            Some(connection) => {
                let pool = Arc::clone(&connection.shared.engine.pool);
                pool.spawn(Box::new(move || {
                    if let Some(connection) = call.run() {
                        connection.run();
                    }
                }));
                Some(connection)
            }
            None => call.run(),
        }
    }

    /// Takes up what calls have left that ran elsewhere.
    fn take_answers(&mut self) {
        let Some(Owner(calls)) = &self.calls else {
            return;
        };
        let answers = {
            let mut state = calls.lock();
            state.parked = None;
            self.held = state.held;
            std::mem::take(&mut state.answers)
        };
        for answered in answers {
            match answered.answer {
                Ok((envelope, finished)) => {
                    let rpc = &self.shared.rpc;
                    self.link.answer(rpc, answered.id, envelope, finished);
                }
                Err(why) => self.link.close(why),
            }
        }
    }

    /// Runs a oneway call here, while another worker goes on with the connection.
    ///
    /// It goes on when the call has taken its place at the object, so that oneways start in order
    /// and before the calls that follow them.
    fn serve_oneway(self: Box<Self>, request: Box<Request>) -> Option<Box<Self>> {
        let (session, shared) = (Arc::clone(&self.session), Arc::clone(&self.shared));
        let oneways = Arc::clone(&self.oneways);
        oneways.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Mutex::new(Some(self)));
        let started: crate::rpc::Started = {
            let (connection, shared) = (Arc::clone(&connection), Arc::clone(&shared));
            Box::new(move || {
                if let Some(connection) = connection.lock().take() {
                    shared.engine.pool.spawn(Box::new(move || connection.run()));
                }
            })
        };
        let dispatched = shared.rpc.dispatch(&session, request, Some(started));
        let taken = connection.lock().take();
        let answer = match dispatched {
            Ok((answer, _)) => answer,
            Err(why) => {
                oneways.fetch_sub(1, Ordering::Relaxed);
                let mut connection = taken?;
                connection.link.close(why);
                return Some(connection);
            }
        };
        match answer {
            Answer::Now(finished) => {
                oneways.fetch_sub(1, Ordering::Relaxed);
                log_oneway(finished);
            }
            Answer::Later(pending, _) => {
                let counted = Oneway::new(&shared);
                let done = move |finished| {
                    oneways.fetch_sub(1, Ordering::Relaxed);
                    drop(counted);
                    log_oneway(finished);
                };
                if let Some((done, finished)) = pending.on_complete(done) {
                    shared.engine.pool.spawn(Box::new(move || done(finished)));
                }
            }
        }
        taken
    }

    /// Runs a oneway call that holds back what comes after it until it has ended; answers to what
    /// came before are written meanwhile.
    fn serve_held(mut self: Box<Self>, request: Box<Request>) -> Option<Box<Self>> {
        let (session, shared) = (Arc::clone(&self.session), Arc::clone(&self.shared));
        let calls = self.calls.get_or_insert_default().0.clone();
        calls.lock().held = true;
        self.held = true;
        let counted = Oneway::new(&shared);
        if let Some(connection) = self.stand_by() {
            shared.engine.pool.spawn(Box::new(move || connection.run()));
        }
        let id = request.id;
        let dispatched = shared.rpc.dispatch(&session, request, None);
        let answer = match dispatched {
            Ok((answer, _)) => answer,
            Err(why) => {
                calls.lock().held = false;
                let answer = Err(why);
                return deliver(&shared, &calls, Answered { id, answer });
            }
        };
        let pending = match answer {
            Answer::Now(finished) => {
                log_oneway(finished);
                return calls.release(&shared);
            }
            Answer::Later(pending, _) => pending,
        };
        let engine = Arc::clone(&shared.engine);
        let done = move |finished| {
            drop(counted);
            log_oneway(finished);
            if let Some(connection) = calls.release(&shared) {
                connection.run();
            }
        };
        if let Some((done, finished)) = pending.on_complete(done) {
            engine.pool.spawn(Box::new(move || done(finished)));
        }
        None
    }

    /// Whether a oneway call holds back what comes after it.
    fn is_held_back(&self) -> bool {
        self.held && self.link.proto.cause().is_none()
    }

    /// Writes what there is while it is held back. It comes back if there may be more to do.
    fn stand_by(mut self: Box<Self>) -> Option<Box<Self>> {
        // Nothing is read meanwhile, so what the peer has to send is not late.
        self.link.tick_held_back();
        let until = self.link.proto.held_back_deadline();
        if !self.link.proto.wants_write() {
            return self.park(For::Time, until);
        }
        match self.link.transmit(false) {
            Ok(()) => Some(self),
            Err(Blocked) => self.park(For::Writing, until),
        }
    }

    /// Waits without a thread. It comes back if there is something to do.
    fn park(mut self: Box<Self>, what: For, until: Option<Time>) -> Option<Box<Self>> {
        self.link.proto.release_buffers();
        self.keep(what, until)
    }

    /// Waits without a thread, and keeps its buffers.
    fn keep(self: Box<Self>, what: For, until: Option<Time>) -> Option<Box<Self>> {
        let engine = Arc::clone(&self.shared.engine);
        let calls = self.calls();
        // Held until it is known where the connection is: an answer finds it there, or we the answer.
        let mut state = calls.as_ref().map(Calls::lock);
        if state
            .as_ref()
            .is_some_and(|state| !state.answers.is_empty() || self.held && !state.held)
        {
            return Some(self);
        }
        let mut connection = match engine.poller.park(self, what, until) {
            Ok(token) => {
                if let Some(state) = &mut state {
                    state.parked = Some(token);
                }
                return None;
            }
            Err(connection) => connection,
        };
        drop(state);
        if connection.farewell.is_some() {
            return None;
        }
        if connection.draining || !connection.shared.is_draining() {
            let now = connection.link.now();
            let cause = CloseCause::Local("the daemon is closing".into());
            connection.link.proto.abort(now, cause);
        }
        Some(connection)
    }

    fn end(mut self: Box<Self>, cause: &CloseCause) {
        debug!(connection = self.link.proto.id(), %cause, "connection ended");
        // Whoever waits for an object waits for nobody.
        self.calls = None;
        self.shared.rpc.end(&self.session);
        self.farewell = Farewell::begin(&self.link.socket, cause, self.link.now());
        if self.farewell.is_some() {
            self.hear_out();
        }
    }

    /// Reads what a refused peer still sends, until it closes or has had its time.
    fn hear_out(mut self: Box<Self>) {
        let now = self.link.now();
        if let Some(farewell) = &mut self.farewell
            && let Some(until) = farewell.listen(&self.link.socket, now)
        {
            // Nobody has an answer for it, so it does not come back.
            drop(self.park(For::Reading, Some(until)));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Unless it was told before, as when the daemon closes.
        self.shared.rpc.end(&self.session);
    }
}
