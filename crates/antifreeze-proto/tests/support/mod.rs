//! What the tests of the core share beyond the kit.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use antifreeze_proto::{
    Accept, Annotations, ClientConnection, ClientEvent, Config, Connect, Kind, Refuse, Reply,
    Request, Segments, Seq, SerializerId, ServerConnection, ServerEvent, Time,
};
use antifreeze_testkit::{Bench, RawMessage};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const START: Time = Time::from_nanos(1_000_000_000);

pub(crate) fn accept() -> Accept {
    Accept {
        serializer: SerializerId::SERPENT,
        correlation: None,
        annotations: Annotations::new(),
        payload: b"welcome"[..].into(),
    }
}

pub(crate) fn refuse() -> Refuse {
    Refuse {
        serializer: SerializerId::SERPENT,
        correlation: None,
        annotations: Annotations::new(),
        payload: b"unknown object"[..].into(),
    }
}

pub(crate) fn reply(payload: impl Into<Segments>) -> Reply {
    Reply {
        payload: payload.into(),
        ..Reply::default()
    }
}

pub(crate) fn connect() -> Connect {
    Connect {
        serializer: SerializerId::SERPENT,
        seq: Seq(0),
        correlation: None,
        annotations: Annotations::new(),
        payload: b"hello"[..].into(),
        deadline: None,
    }
}

/// A server before the first byte.
pub(crate) fn server(config: Config) -> Bench<ServerConnection> {
    Bench::new(ServerConnection::new(config, 7, START), START)
}

/// A server that has let a client in, with nothing left to take.
pub(crate) fn accepted(config: Config) -> Bench<ServerConnection> {
    let mut server = server(config);
    server.feed_message(&RawMessage::connect("obj"));
    server.conn.accept(server.now, accept()).unwrap();
    server.drain();
    server.take_events();
    server.take_output();
    server
}

/// A client whose CONNECT is written and taken.
pub(crate) fn client(config: Config) -> Bench<ClientConnection> {
    let conn = ClientConnection::new(config, 7, START, connect()).unwrap();
    let mut client = Bench::new(conn, START);
    client.take_output();
    client
}

/// The nonce of clients that introduce themselves as ours.
pub(crate) const NONCE: [u8; 16] = [7; 16];

/// A client that offers as many calls at once as it is set to, its CONNECT written and taken.
pub(crate) fn offering(config: Config) -> Bench<ClientConnection> {
    let conn = ClientConnection::with_nonce(config, 7, START, connect(), NONCE).unwrap();
    let mut client = Bench::new(conn, START);
    client.take_output();
    client
}

/// A client that was let in, with nothing left to take.
pub(crate) fn connected(config: Config) -> Bench<ClientConnection> {
    let mut client = client(config);
    client.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome"));
    client.take_events();
    client
}

pub(crate) fn requests(server: &mut Bench<ServerConnection>) -> Vec<Request> {
    let events = server.take_events().into_iter();
    events
        .filter_map(|event| match event {
            ServerEvent::Requested(request) => Some(*request),
            _ => None,
        })
        .collect()
}

/// The one request that came.
pub(crate) fn request(server: &mut Bench<ServerConnection>) -> Request {
    let mut requests = requests(server);
    assert_eq!(requests.len(), 1, "one request came");
    requests.remove(0)
}

/// The payload of the one request that came.
pub(crate) fn payload(server: &mut Bench<ServerConnection>) -> bytes::Bytes {
    let mut request = request(server);
    request.payload.inflate().unwrap().clone()
}

pub(crate) fn payloads(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| std::str::from_utf8(request.payload.as_is()).unwrap())
        .collect()
}

pub(crate) fn returned(client: &mut Bench<ClientConnection>) -> Vec<String> {
    let events = client.take_events().into_iter();
    events
        .filter_map(|event| match event {
            ClientEvent::Returned { response, .. } => {
                Some(String::from_utf8_lossy(&response.payload).into_owned())
            }
            _ => None,
        })
        .collect()
}
