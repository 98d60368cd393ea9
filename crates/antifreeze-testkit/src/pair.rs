//! A client and a server joined by a link that can be slow, held and cut, in virtual time.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use antifreeze_proto::{
    Accept, Annotations, Call, ClientConnection, ClientEvent, CloseCause, Config, Connect, Input,
    Reply, Request, RequestId, Response, Seq, SerializerId, ServerConnection, ServerEvent,
    StateName, Time,
};

use crate::bench::{Bench, Endpoint};

/// How one direction of a link ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// In order: the reader sees the end of the stream.
    Eof,
    /// With a reset: the reader sees a failure.
    Reset,
}

/// One direction of a link: bytes on their way, never reordered.
#[derive(Debug)]
pub struct Wire {
    /// At most this many bytes come in one read.
    pub piece: usize,
    /// Nothing arrives while this is set.
    pub held: bool,
    /// The link ends like that after so many bytes in all.
    pub cut: Option<(usize, End)>,
    in_flight: Vec<u8>,
    delivered: usize,
    ended: bool,
}

impl Wire {
    fn new() -> Self {
        let in_flight = Vec::new();
        Self {
            piece: usize::MAX,
            held: false,
            cut: None,
            in_flight,
            delivered: 0,
            ended: false,
        }
    }

    /// How many bytes have arrived so far.
    pub const fn delivered(&self) -> usize {
        self.delivered
    }

    /// Moves what can be moved from `from` to `to`; says whether anything happened.
    fn carry(&mut self, from: &mut Bench<impl Endpoint>, to: &mut Bench<impl Endpoint>) -> bool {
        self.in_flight.append(&mut from.output);
        if self.ended || self.held {
            return false;
        }
        let allowed = self
            .cut
            .map_or(usize::MAX, |(after, _)| after - self.delivered);
        let ready = self.in_flight.len().min(allowed);
        let taken = to.feed_by(&self.in_flight[..ready], self.piece);
        self.in_flight.drain(..taken);
        self.delivered += taken;
        let end = match self.cut {
            Some((after, end)) if self.delivered == after => Some(end),
            _ if self.in_flight.is_empty() && from.closed().is_some() => Some(End::Eof),
            _ => None,
        };
        if let Some(end) = end {
            self.ended = true;
            to.input(match end {
                End::Eof => Input::Eof,
                End::Reset => Input::Failed(ErrorKind::ConnectionReset),
            });
        }
        taken > 0 || end.is_some()
    }
}

/// A client and a server, the link between them, and one clock.
#[derive(Debug)]
pub struct Pair {
    /// The client's end.
    pub client: Bench<ClientConnection>,
    /// The server's end.
    pub server: Bench<ServerConnection>,
    /// From the client to the server.
    pub to_server: Wire,
    /// From the server to the client.
    pub to_client: Wire,
}

impl Pair {
    /// Both ends with the default settings, before the first byte.
    pub fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    /// Both ends with these settings, before the first byte. A client that may have several calls
    /// out offers it.
    pub fn with(client: impl Into<Arc<Config>>, server: impl Into<Arc<Config>>) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let connect = Connect {
            serializer: SerializerId::SERPENT,
            seq: Seq(0),
            correlation: None,
            annotations: Annotations::new(),
            payload: b"hello"[..].into(),
            deadline: None,
        };
        let (client, nonce) = (client.into(), [7; 16]);
        let client = match client.calls {
            0 | 1 => ClientConnection::new(client, 1, now, connect),
            _ => ClientConnection::with_nonce(client, 1, now, connect, nonce),
        };
        let client = client.expect("a small connect");
        let server = ServerConnection::new(server, 2, now);
        Self {
            client: Bench::new(client, now),
            server: Bench::new(server, now),
            to_server: Wire::new(),
            to_client: Wire::new(),
        }
    }

    /// Both ends with the default settings, the handshake done and its events taken.
    pub fn ready() -> Self {
        Self::new().shake_hands()
    }

    /// Does the handshake and takes its events.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    pub fn shake_hands(mut self) -> Self {
        self.drive();
        self.accept();
        self.drive();
        assert_eq!(
            self.client.conn.state(),
            StateName::Ready,
            "the handshake is done"
        );
        self.client.take_events();
        self.server.take_events();
        self
    }

    /// The time at both ends.
    pub const fn now(&self) -> Time {
        self.client.now
    }

    /// Carries bytes both ways until nothing moves.
    pub fn drive(&mut self) {
        self.client.drain();
        self.server.drain();
        loop {
            let there = self.to_server.carry(&mut self.client, &mut self.server);
            let back = self.to_client.carry(&mut self.server, &mut self.client);
            if !there && !back {
                break;
            }
        }
    }

    /// Lets time pass at both ends, from timer to timer, carrying bytes in between.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now() + duration;
        self.drive();
        loop {
            let next = [self.client.deadline, self.server.deadline]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            let now = self.now().max(next);
            self.client.now = now;
            self.server.now = now;
            self.client.input(Input::Tick);
            self.server.input(Input::Tick);
            self.drive();
        }
        self.client.now = end;
        self.server.now = end;
    }

    /// Lets the server say yes to the client.
    ///
    /// # Panics
    ///
    /// If no client waits for it.
    pub fn accept(&mut self) {
        let accept = Accept {
            serializer: SerializerId::SERPENT,
            correlation: None,
            annotations: Annotations::new(),
            payload: b"welcome"[..].into(),
        };
        self.server
            .conn
            .accept(self.server.now, accept)
            .expect("a client waits");
    }

    /// Lets the client call and carries the call.
    ///
    /// # Panics
    ///
    /// If the client cannot.
    pub fn call(&mut self, call: Call) -> RequestId {
        let id = self
            .client
            .conn
            .call(self.client.now, call)
            .expect("the client is ready");
        self.drive();
        id
    }

    /// Lets the server answer and carries the answer.
    ///
    /// # Panics
    ///
    /// If nobody waits for it.
    pub fn reply(&mut self, id: RequestId, payload: &'static [u8]) {
        let reply = Reply {
            payload: payload.into(),
            ..Reply::default()
        };
        self.server
            .conn
            .reply(self.server.now, id, reply)
            .expect("somebody waits");
        self.drive();
    }

    /// A call by serpent with this payload and nothing else.
    pub fn plain(payload: &'static [u8]) -> Call {
        Call {
            serializer: SerializerId::SERPENT,
            oneway: false,
            batch: false,
            keep_serialized: false,
            correlation: None,
            annotations: Annotations::new(),
            chain: None,
            payload: payload.into(),
            deadline: None,
        }
    }

    /// The requests that the server has given out since the last time; other events are dropped.
    pub fn requests(&mut self) -> Vec<Request> {
        let events = self.server.take_events().into_iter();
        events
            .filter_map(|event| match event {
                ServerEvent::Requested(request) => Some(*request),
                _ => None,
            })
            .collect()
    }

    /// The answers that the client has given out since the last time; other events are dropped.
    pub fn responses(&mut self) -> Vec<(RequestId, Response)> {
        let events = self.client.take_events().into_iter();
        events
            .filter_map(|event| match event {
                ClientEvent::Returned { id, response } => Some((id, response)),
                _ => None,
            })
            .collect()
    }

    /// Why each end closed: the client's first.
    pub fn closed(&self) -> (Option<CloseCause>, Option<CloseCause>) {
        (self.client.closed(), self.server.closed())
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}
