//! The scripted peer against the core on a real socket.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_proto::{
    Accept, Annotations, CloseCause, Config, Input, Kind, Output, Reply, ServerConnection,
    ServerEvent, StateName, Time,
};
use antifreeze_testkit::{Peer, RawMessage, unmarshal_text};

/// The simplest driver there is; it answers every call with the call.
fn serve(mut socket: TcpStream) -> CloseCause {
    let start = Instant::now();
    let now = || Time::ZERO + start.elapsed();
    let mut conn = ServerConnection::new(
        Config {
            quiet: true,
            ..Config::default()
        },
        1,
        now(),
    );
    loop {
        match conn.poll_output() {
            Output::Transmit => {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = conn.transmit(&mut slices);
                let written = socket.write_vectored(&slices[..count]);
                conn.handle(
                    now(),
                    written.map_or_else(|e| Input::Failed(e.kind()), Input::Wrote),
                );
            }
            Output::Event(ServerEvent::Connecting(handshake)) => {
                let accept = Accept {
                    serializer: handshake.serializer,
                    correlation: None,
                    annotations: Annotations::new(),
                    payload: b"welcome"[..].into(),
                };
                conn.accept(now(), accept).unwrap();
            }
            Output::Event(ServerEvent::Requested(mut request)) => {
                let reply = Reply {
                    payload: request.payload.inflate().unwrap().clone().into(),
                    ..Reply::default()
                };
                conn.reply(now(), request.id, reply).unwrap();
            }
            Output::Event(ServerEvent::Closed(cause)) => return cause,
            Output::Wait(_) => {
                assert_ne!(conn.state(), StateName::Closed);
                let read = socket.read(conn.read_buffer());
                let input = match read {
                    Ok(0) => Input::Eof,
                    Ok(count) => Input::Read(count),
                    Err(error) => Input::Failed(error.kind()),
                };
                conn.handle(now(), input);
            }
        }
    }
}

/// What a script sees of a server, and why that closed.
fn with_server(script: impl FnOnce(Peer)) -> CloseCause {
    let (listener, address) = Peer::listen();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    script(Peer::connect(address));
    server.join().unwrap()
}

#[test]
fn a_peer_calls_and_is_answered() {
    let cause = with_server(|mut peer| {
        assert_eq!(peer.shake_hands("echo").known_kind(), Some(Kind::ConnectOk));
        peer.send_slowly(&RawMessage::invoke(1, "hello").encode(), Duration::ZERO);
        assert_eq!(peer.expect_message(), RawMessage::result(1, "hello"));
        peer.expect_silence(Duration::from_millis(5));
        peer.send_message(&RawMessage::invoke(2, "last"));
        peer.shutdown_write();
        assert_eq!(peer.expect_message(), RawMessage::result(2, "last"));
        peer.expect_eof();
    });
    assert_eq!(cause, CloseCause::PeerClosed);
}

#[test]
fn a_peer_is_refused() {
    with_server(|mut peer| {
        peer.send(b"PYRO\x01\xf5");
        let refusal = peer.expect_message();
        assert_eq!(
            unmarshal_text(&refusal.payload),
            Some("invalid protocol version: 501")
        );
        peer.expect_eof();
    });
}

#[test]
fn a_peer_resets() {
    let cause = with_server(|mut peer| {
        peer.shake_hands("echo");
        peer.reset();
    });
    assert_eq!(
        cause,
        CloseCause::Failed(std::io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn a_peer_is_a_server_too() {
    let (listener, address) = Peer::listen();
    let client = thread::spawn(move || Peer::connect(address).shake_hands("echo"));
    let mut peer = Peer::accept(&listener).patience(Duration::from_secs(5));
    assert_eq!(peer.expect_message(), RawMessage::connect("echo"));
    peer.send_message(&RawMessage::new(Kind::ConnectOk, "welcome"));
    assert_eq!(
        client.join().unwrap(),
        RawMessage::new(Kind::ConnectOk, "welcome")
    );
}
