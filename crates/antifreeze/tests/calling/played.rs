//! Tests of tasks with a daemon that is played by hand.

use std::net::TcpListener;
use std::pin::Pin;

use antifreeze::tokio::Proxy;
use antifreeze::{Config, Serializer};
use antifreeze_proto::Kind;
use antifreeze_testkit::{Peer, RawMessage};
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use super::peer::{answer, msgpack, uri};

/// Runs a test on one thread, with a daemon to be played and a proxy of its object.
pub(crate) fn check<F: Future<Output = ()>>(test: impl FnOnce(Played, Proxy) -> F) {
    check_in(&mut Builder::new_current_thread(), test);
}

/// The same in another runtime.
pub(crate) fn check_in<F: Future<Output = ()>>(
    runtime: &mut Builder,
    test: impl FnOnce(Played, Proxy) -> F,
) {
    let (listener, address) = Peer::listen();
    let mut config = Config::default();
    config.serializer = Serializer::Msgpack;
    let builder = Proxy::builder(uri(address)).unwrap().config(config);
    let proxy = builder.lazy().unwrap();
    let daemon = Played(listener);
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(test(daemon, proxy));
}

/// A daemon that is played while the tasks of the test go on.
pub(crate) struct Played(TcpListener);

impl Played {
    /// Plays, on another thread.
    pub(crate) async fn play<R: Send + 'static>(
        &self,
        play: impl FnOnce(&TcpListener) -> R + Send + 'static,
    ) -> R {
        let listener = self.0.try_clone().unwrap();
        spawn_blocking(move || play(&listener)).await.unwrap()
    }
}

/// Plays with a peer, on another thread.
pub(crate) async fn with<R: Send + 'static>(
    peer: Peer,
    play: impl FnOnce(&mut Peer) -> R + Send + 'static,
) -> (Peer, R) {
    let play = move || {
        let mut peer = peer;
        let result = play(&mut peer);
        (peer, result)
    };
    spawn_blocking(play).await.unwrap()
}

/// Lets the call go on for as long as somebody plays the daemon.
pub(crate) async fn during<R>(call: Pin<&mut impl Future>, play: impl Future<Output = R>) -> R {
    tokio::select! {
        biased;
        _ = call => panic!("the call has ended"),
        played = play => played,
    }
}

pub(crate) fn result(call: &RawMessage, value: i64) -> RawMessage {
    msgpack(Kind::Result, &value).seq(call.seq)
}

/// The session is of use: a call gets its own answer, on this connection.
pub(crate) async fn check_usable(proxy: &Proxy, peer: Peer) {
    let (called, _) = tokio::join!(
        proxy.call::<i64>("next", ()),
        with(peer, |peer| answer(peer, &7))
    );
    assert_eq!(called.unwrap(), 7);
}

/// Waits until a message has begun to come.
pub(crate) fn expect_begin(peer: &mut Peer) {
    assert_eq!(peer.expect_bytes(1), b"P");
}

/// The message that has begun to come.
pub(crate) fn expect_rest(peer: &mut Peer) -> RawMessage {
    let mut message = vec![b'P'];
    message.extend(peer.expect_bytes(39));
    let length = RawMessage::length(&message).unwrap();
    message.extend(peer.expect_bytes(length - 40));
    RawMessage::decode(&message).unwrap().0
}
