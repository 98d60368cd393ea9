//! A connection to a daemon, in a task of its own.
//!
//! Callers hand it requests and wait for the answers. One who does not wait any more leaves his
//! request behind: it is sent as far as it was begun, and its answer is read and thrown away.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use ::tokio::sync::{mpsc, oneshot};
use antifreeze_proto::{ClientEvent, CloseCause, RequestId, Response, Seq};
use antifreeze_serial::Value;
use tracing::debug;

use super::turns::Turn;
use super::wire::Wire;
use crate::client::crank::Outgoing;
use crate::client::remote::{Remote, Welcome};
use crate::error::{Error, ErrorKind, Sent};
use crate::naming::Place;
use crate::rpc::Metadata;

/// A connection that the daemon accepted. When nobody holds it any more, it is closed.
pub(super) struct Connection {
    requests: mpsc::UnboundedSender<Request>,
    /// The sequence number of the last call.
    seq: Arc<AtomicU16>,
    /// The id of the object that it was made for.
    pub(super) object: String,
    pub(super) metadata: Metadata,
    pub(super) welcome: Value,
}

/// What is asked of the daemon.
pub(super) enum Message {
    Call(Outgoing),
    Ping,
}

/// How a request ended.
pub(super) enum Answer {
    Returned(Response),
    /// A oneway was written, a ping answered.
    Done,
    /// The connection ended over it, unless this is a usage error.
    Lost(Error),
    /// The connection had ended before: nothing was sent.
    Stale,
}

struct Request {
    message: Message,
    deadline: Option<Instant>,
    reply: Reply,
}

/// Where an answer goes, and the turn of the session with it.
struct Reply {
    to: oneshot::Sender<(Answer, Turn)>,
    turn: Turn,
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
        let mut wire = Wire::connect(remote, &place, seq, deadline).await?;
        let event = wire.event().await;
        let Welcome { handshake, meta } = remote.welcome(&place.location, event)?;
        let (requests, queue) = mpsc::unbounded_channel();
        let seq = Arc::new(AtomicU16::new(seq.0));
        let driver = Driver {
            wire,
            requests: queue,
            seq: Arc::clone(&seq),
            waiting: HashMap::new(),
            unwritten: VecDeque::new(),
        };
        ::tokio::spawn(driver.run());
        Ok(Self {
            requests,
            seq,
            object: place.object,
            metadata: meta,
            welcome: handshake,
        })
    }

    /// Sends a message and waits for how it ends. Gives back the turn, unless it was lost with the
    /// runtime.
    pub(super) async fn exchange(
        &self,
        message: Message,
        deadline: Option<Instant>,
        turn: Turn,
    ) -> (Answer, Option<Turn>) {
        let (to, answer) = oneshot::channel();
        let request = Request {
            message,
            deadline,
            reply: Reply { to, turn },
        };
        if let Err(mpsc::error::SendError(request)) = self.requests.send(request) {
            return (Answer::Stale, Some(request.reply.turn));
        }
        match answer.await {
            Ok((answer, turn)) => (answer, Some(turn)),
            Err(_) => {
                let text = "the runtime of the connection was shut down";
                let error = Error::new(ErrorKind::Closed, text).with_sent(Sent::Maybe);
                (Answer::Lost(error), None)
            }
        }
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(super) fn seq(&self) -> Seq {
        Seq(self.seq.load(Ordering::Relaxed))
    }
}

/// The task.
struct Driver {
    wire: Wire,
    requests: mpsc::UnboundedReceiver<Request>,
    seq: Arc<AtomicU16>,
    waiting: HashMap<RequestId, Reply>,
    /// Oneway calls, which are over when they are written.
    unwritten: VecDeque<(RequestId, Reply)>,
}

impl Driver {
    async fn run(mut self) {
        if let Some(cause) = poll_fn(|cx| self.poll_end(cx)).await {
            self.end(&cause);
        }
    }

    /// Works until the connection ends, or nobody wants it any more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseCause>> {
        loop {
            // First what has come: an end that is known costs no call.
            while let Poll::Ready(event) = self.wire.poll_event(cx) {
                match event {
                    ClientEvent::Returned { id, response } => {
                        self.answer(id, Answer::Returned(response));
                    }
                    ClientEvent::Ponged { id } => self.answer(id, Answer::Done),
                    ClientEvent::Closed(cause) => return Poll::Ready(Some(cause)),
                    event => debug!(?event, "an event that nobody waits for"),
                }
            }
            while let Some((id, reply)) = self.unwritten.pop_front() {
                if !self.wire.crank.is_written(id) {
                    self.unwritten.push_front((id, reply));
                    break;
                }
                reply.send(Answer::Done);
            }
            if self.wire.crank.wants_write() {
                // The daemon does not read: who wants to send more has to wait, too.
                return Poll::Pending;
            }
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(request)) => self.begin(request),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn begin(&mut self, request: Request) {
        let Request {
            message,
            deadline,
            reply,
        } = request;
        if reply.to.is_closed() {
            return;
        }
        if self.waiting.is_empty() && !self.wire.is_usable() {
            debug!("the connection is stale");
            return reply.send(Answer::Stale);
        }
        let crank = &mut self.wire.crank;
        let (oneway, begun) = match message {
            Message::Call(outgoing) => (outgoing.shape.is_oneway(), crank.call(outgoing, deadline)),
            Message::Ping => (false, crank.ping(deadline)),
        };
        self.seq.store(crank.seq().0, Ordering::Relaxed);
        match begun {
            Ok(id) if oneway => self.unwritten.push_back((id, reply)),
            Ok(id) => {
                self.waiting.insert(id, reply);
            }
            Err(error) => reply.send(Answer::Lost(error)),
        }
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&id) {
            reply.send(answer);
        }
    }

    /// Tells everybody who waits.
    fn end(mut self, cause: &CloseCause) {
        self.requests.close();
        for (id, reply) in self.waiting.drain().chain(self.unwritten.drain(..)) {
            reply.send(Answer::Lost(self.wire.crank.lost(id, cause)));
        }
        while let Ok(request) = self.requests.try_recv() {
            request.reply.send(Answer::Stale);
        }
    }
}

impl Reply {
    fn send(self, answer: Answer) {
        // If nobody waits any more, the turn ends here.
        let _ = self.to.send((answer, self.turn));
    }
}
