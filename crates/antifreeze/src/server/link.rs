//! A connection that is served, as both drivers see it: its socket and its state machine.

use std::io;
use std::sync::Arc;

use antifreeze_proto::{CloseCause, Input, Reply, RequestId, ServerConnection, Time, UsageError};
use tracing::{debug, warn};

use super::Clock;
use crate::call::Peer;
use crate::foreign;
use crate::net::{self, Socket};
use crate::rpc::{After, Envelope, Finished, Rpc, Verdict};
use crate::sleep::SleepWatch;

/// Carries bytes between a socket and a state machine, and gives that its answers.
pub(crate) struct Link {
    pub(crate) socket: Arc<Socket>,
    pub(crate) proto: ServerConnection,
    peer: Arc<Peer>,
    pub(crate) clock: Clock,
    /// It is all that its daemon has, and will have.
    lone: bool,
    /// What the calls leave whose answers are not written yet.
    after: Vec<(RequestId, After)>,
    sleep: SleepWatch,
    /// The system asks now and then whether the peer is there.
    probed: bool,
}

/// The socket has nothing, or takes nothing, now.
pub(crate) struct Blocked;

/// The answer to a call, with what has to happen when it is given.
pub(crate) struct Sealed {
    pub(crate) reply: Reply,
    envelope: Envelope,
    /// Whether the connection ends after it.
    close: bool,
    after: After,
}

impl Link {
    pub(crate) fn new(
        socket: Arc<Socket>,
        proto: ServerConnection,
        peer: Arc<Peer>,
        clock: Clock,
        lone: bool,
    ) -> Self {
        Self {
            socket,
            proto,
            peer,
            clock,
            lone,
            after: Vec::new(),
            sleep: clock.watch_sleep(),
            probed: false,
        }
    }

    /// Has it found out if the peer is gone, which may have calls that wait.
    pub(crate) fn probe(&mut self) {
        if !std::mem::replace(&mut self.probed, true) {
            self.socket.probe();
        }
    }

    /// Whether the connection has ended in both directions, which is not found by reading if nothing is
    /// read.
    pub(crate) fn notice_break(&mut self) -> bool {
        let broken = self.socket.is_broken();
        if broken {
            let why = Input::Failed(io::ErrorKind::ConnectionReset);
            self.proto.handle(self.now(), why);
        }
        broken
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Writes what is waiting to be written; if `patient`, waits a moment for the peer to take it.
    pub(crate) fn transmit(&mut self, patient: bool) -> Result<(), Blocked> {
        let sent = net::with_segments(
            |slices| self.proto.transmit(slices),
            |slices| match patient {
                true => self.socket.send(slices),
                false => self.socket.send_now(slices),
            },
        );
        match sent {
            Ok(bytes) => {
                let now = self.now();
                self.proto.handle(now, Input::Wrote(bytes));
                self.let_follow();
                self.catch_up_to(now);
            }
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Err(Blocked),
                kind => {
                    // What the peer said before it closed comes first.
                    let _ = self.receive(false);
                    self.proto.handle(self.now(), Input::Failed(kind));
                }
            },
        }
        Ok(())
    }

    /// Begins what calls have left whose answers are written now.
    fn let_follow(&mut self) {
        if !self.after.is_empty() {
            let Self { proto, after, .. } = self;
            after.retain(|(id, _)| !proto.is_written(*id));
            after.shrink_to_fit();
        }
    }

    /// Reads what is there; if `patient`, also what comes within a moment. Says how many bytes, and
    /// whether there may be more.
    pub(crate) fn receive(&mut self, patient: bool) -> Result<Received, Blocked> {
        let nothing = Received {
            bytes: 0,
            all: false,
        };
        if !self.proto.wants_read() {
            return Ok(nothing);
        }
        let buffer = self.proto.read_buffer();
        let room = buffer.len();
        let read = if patient {
            self.socket.recv(buffer)
        } else {
            self.socket.recv_now(buffer)
        };
        let (input, received) = match read {
            Ok(0) => {
                foreign::hung_up(&self.peer);
                // It may still read what is to be answered, or be gone.
                self.probe();
                (Input::Eof, nothing)
            }
            Ok(bytes) => {
                let all = bytes < room;
                (Input::Read(bytes), Received { bytes, all })
            }
            Err(why) => match why.kind() {
                io::ErrorKind::Interrupted => return Ok(nothing),
                io::ErrorKind::WouldBlock => return Err(Blocked),
                kind => {
                    foreign::hung_up(&self.peer);
                    (Input::Failed(kind), nothing)
                }
            },
        };
        self.proto.handle(self.now(), input);
        Ok(received)
    }

    /// Lets a timer fire that is due, unless what has come meanwhile stops it.
    pub(crate) fn catch_up(&mut self) {
        // The clock first: whoever is stopped in between shall find nothing late that has come.
        self.catch_up_to(self.now());
    }

    fn catch_up_to(&mut self, now: Time) {
        let is_due = |proto: &ServerConnection| proto.deadline().is_some_and(|at| at <= now);
        if is_due(&self.proto) {
            // Nothing to read is an answer, too.
            let _ = self.receive(false);
            if is_due(&self.proto) {
                self.notice_sleep(now);
                self.proto.handle(now, Input::Tick);
            }
        }
    }

    /// Lets a timer fire that is due while nothing is read.
    pub(crate) fn tick_held_back(&mut self) {
        let now = self.now();
        let until = self.proto.held_back_deadline();
        if until.is_some_and(|until| until <= now) {
            self.notice_sleep(now);
            self.proto.tick_held_back(now);
        }
    }

    /// If the machine slept, so did the peers: what is due gets some grace.
    fn notice_sleep(&mut self, now: Time) {
        if let Some(slept) = self.sleep.notice() {
            debug!(conn = self.proto.id(), ?slept, "the machine slept");
            self.proto.handle(now, Input::Resumed(slept));
        }
    }

    /// Answers the handshake.
    pub(crate) fn decide(&mut self, verdict: Verdict) {
        let now = self.now();
        let answered = match verdict {
            Verdict::Accept(accept) => self.proto.accept(now, accept),
            Verdict::Refuse(refuse) => self.proto.refuse(now, refuse),
            Verdict::Close(why) => {
                self.close(why);
                Ok(())
            }
        };
        if let Err(why) = answered {
            warn!(%why, "the handshake cannot be answered");
            self.close(CloseCause::Local(why.to_string().into()));
        }
    }

    /// Answers a call with what it left behind.
    pub(crate) fn answer(
        &mut self,
        rpc: &Rpc,
        id: RequestId,
        envelope: Envelope,
        finished: Finished,
    ) {
        let sealed = self.seal(rpc, envelope, finished);
        self.answer_with(rpc, id, sealed);
    }

    /// Makes the answer of what a call left behind.
    pub(crate) fn seal(&self, rpc: &Rpc, envelope: Envelope, mut finished: Finished) -> Sealed {
        Sealed {
            close: finished.close,
            after: std::mem::take(&mut finished.after),
            // A stream that the client is not told of goes with the connection.
            reply: envelope.seal(rpc, finished, &self.peer),
            envelope,
        }
    }

    /// Answers a call.
    pub(crate) fn answer_with(&mut self, rpc: &Rpc, id: RequestId, sealed: Sealed) {
        let Sealed {
            reply,
            envelope,
            close,
            after,
        } = sealed;
        let now = self.now();
        if !after.is_empty() {
            self.after.push((id, after));
        }
        if let Err(why) = self.proto.reply(now, id, reply) {
            let instead = Finished::unsendable(&why);
            // Without what the program adds to answers, for that may be what is too much.
            let instead = envelope.seal_bare(rpc, instead, &self.peer);
            if let Err(why) = self.proto.reply(now, id, instead) {
                self.give_up(why);
            }
        }
        if close && !self.lone {
            self.proto.drain(now);
        }
    }

    /// Not even an error can be answered, so the caller learns it from the end of the connection.
    fn give_up(&mut self, why: UsageError) {
        if self.proto.cause().is_some() {
            return debug!(%why, "an answer reaches nobody");
        }
        warn!(%why, "a call cannot be answered");
        let why = CloseCause::Local(why.to_string().into());
        self.proto.close(self.now(), why);
    }

    /// Nothing can be said that the peer would read.
    pub(crate) fn close(&mut self, why: CloseCause) {
        self.proto.close(self.now(), why);
    }
}

/// What a read brought.
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// Whether the socket had no more than that.
    pub(crate) all: bool,
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use antifreeze_proto::{Accept, Annotations, Config, SerializerId, ServerEvent, Timer};
    use antifreeze_testkit::{Peer, RawMessage};

    use super::*;
    use crate::config::IpVersion;
    use crate::uri::Location;

    const SOON: Duration = Duration::from_secs(10);

    /// A connection that has just let its peer in, and may not be idle at all.
    fn accepted() -> (Link, Peer) {
        let (listener, address): (TcpListener, _) = Peer::listen();
        let location = Location::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let socket = Socket::connect(&location, IpVersion::Any, SOON, None).unwrap();
        let mut peer = Peer::accept(&listener);
        let mut config = Config::default();
        config.limits.idle = Some(Duration::ZERO);
        let clock = Clock::start(Default::default());
        let proto = ServerConnection::new(config, 1, clock.now());
        let mut link = Link::new(Arc::new(socket), proto, Arc::default(), clock, false);
        peer.send_message(&RawMessage::connect("thing"));
        while !matches!(link.proto.poll_event(), Some(ServerEvent::Connecting(_))) {
            link.socket.wait(Some(SOON)).unwrap();
            let _ = link.receive(false);
        }
        let accept = Accept {
            serializer: SerializerId::SERPENT,
            correlation: None,
            annotations: Annotations::new(),
            payload: b"welcome"[..].into(),
        };
        link.proto.accept(clock.now(), accept).unwrap();
        (link, peer)
    }

    #[test]
    fn what_has_come_is_read_before_it_is_found_late() {
        let (mut link, mut peer) = accepted();
        peer.send_message(&RawMessage::invoke(1, "call"));
        while !link.socket.wait(Some(SOON)).unwrap().read {}
        assert!(link.transmit(false).is_ok());
        assert!(matches!(
            link.proto.poll_event(),
            Some(ServerEvent::Requested(_))
        ));

        let (mut link, _peer) = accepted();
        assert!(link.transmit(false).is_ok());
        let late = CloseCause::TimedOut(Timer::Idle);
        assert_eq!(link.proto.cause(), Some(&late));
    }
}
