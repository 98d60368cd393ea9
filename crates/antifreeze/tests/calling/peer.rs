//! Daemons that are played by hand.

use std::net::{SocketAddr, TcpListener};

use antifreeze::{Metadata, Serializer};
use antifreeze_proto::{Kind, SerializerId};
use antifreeze_testkit::{Peer, RawMessage};
use serde::Serialize;

pub(crate) fn uri(address: SocketAddr) -> String {
    format!("PYRO:obj@{address}")
}

pub(crate) fn msgpack(kind: Kind, value: &impl Serialize) -> RawMessage {
    let payload = antifreeze_serial::encode(Serializer::Msgpack, value).unwrap();
    RawMessage::new(kind, payload).serializer(SerializerId::MSGPACK)
}

/// The answer of a daemon that lets the client in.
pub(crate) fn welcome(hello: &RawMessage) -> RawMessage {
    #[derive(Serialize)]
    struct Welcome {
        handshake: (),
        meta: Metadata,
    }
    let meta = Metadata::default();
    let welcome = Welcome {
        handshake: (),
        meta,
    };
    msgpack(Kind::ConnectOk, &welcome).seq(hello.seq)
}

/// Lets the next client in.
pub(crate) fn accept(listener: &TcpListener) -> Peer {
    let mut peer = Peer::accept(listener);
    let hello = peer.expect_message();
    peer.let_in(&welcome(&hello));
    peer
}

/// Answers the next call.
pub(crate) fn answer(peer: &mut Peer, value: &impl Serialize) {
    let seq = peer.expect_message().seq;
    peer.send_message(&msgpack(Kind::Result, value).seq(seq));
}
