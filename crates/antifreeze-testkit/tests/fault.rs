//! What the fault proxy does to bytes on their way.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_testkit::{End, Fault, FaultProxy, Peer, Way};

/// Long enough to tell from nothing, and short enough to wait for.
const MOMENT: Duration = Duration::from_millis(30);

/// A proxy and both ends of a connection through it: the client's and the server's.
fn connected() -> (FaultProxy, Peer, Peer) {
    let (listener, address) = Peer::listen();
    let proxy = FaultProxy::new(address);
    let client = Peer::connect(proxy.address());
    (proxy, client, Peer::accept(&listener))
}

#[test]
fn bytes_pass_both_ways_and_so_does_each_end() {
    let (proxy, mut client, mut server) = connected();
    let large = vec![7; 1 << 20];
    client.send(b"hello");
    assert_eq!(server.expect_bytes(5), b"hello");
    thread::scope(|scope| {
        scope.spawn(|| server.send(&large));
        assert_eq!(client.expect_bytes(large.len()), large);
    });
    assert_eq!(proxy.carried(Way::ToServer), 5);
    client.shutdown_write();
    server.expect_eof();
    server.send(b"last");
    assert_eq!(client.expect_bytes(4), b"last");
    assert_eq!(proxy.connections(), 1);
    drop(server);
    client.expect_eof();
    let end = Instant::now() + Peer::PATIENCE;
    while proxy.connections() > 0 {
        assert!(Instant::now() < end, "the connection is forgotten");
        thread::yield_now();
    }
}

#[test]
fn delayed_bytes_arrive_later_and_in_order() {
    let (proxy, mut client, mut server) = connected();
    proxy.set(Way::ToServer, Fault::Delay(MOMENT));
    let started = Instant::now();
    client.send(b"slow");
    proxy.set(Way::ToClient, Fault::Pass);
    server.send(b"fast");
    assert_eq!(client.expect_bytes(4), b"fast");
    assert_eq!(server.expect_bytes(4), b"slow");
    assert!(started.elapsed() >= MOMENT);
}

#[test]
fn dripping_bytes_arrive_one_by_one() {
    let (proxy, mut client, mut server) = connected();
    let pause = Duration::from_millis(3);
    proxy.set(Way::ToServer, Fault::Drip(pause));
    let started = Instant::now();
    client.send(b"0123456789");
    assert_eq!(server.expect_bytes(10), b"0123456789");
    assert!(started.elapsed() >= 9 * pause);
}

#[test]
fn what_is_held_waits_and_what_vanished_is_lost() {
    let (proxy, mut client, mut server) = connected();
    proxy.set(Way::ToServer, Fault::Hold);
    client.send(b"held");
    server.expect_silence(MOMENT);
    proxy.set(Way::ToServer, Fault::Pass);
    assert_eq!(server.expect_bytes(4), b"held");

    proxy.set(Way::ToServer, Fault::Vanish);
    client.send(b"lost");
    drop(client);
    server.expect_silence(MOMENT);
    assert_eq!(proxy.carried(Way::ToServer), 4);
    drop(proxy);
    server.expect_eof();
}

#[test]
fn a_cut_comes_after_exactly_so_many_bytes() {
    for end in [End::Eof, End::Reset] {
        let (proxy, mut client, mut server) = connected();
        client.send(b"01");
        assert_eq!(server.expect_bytes(2), b"01");
        proxy.set(Way::ToServer, Fault::Cut(5, end));
        client.send(b"23456789");
        // A reset may overtake what is not read yet.
        if end == End::Eof {
            assert_eq!(server.expect_bytes(3), b"234");
            server.expect_eof();
            server.send(b"back");
            assert_eq!(client.expect_bytes(4), b"back");
        }
        let deadline = Instant::now() + Peer::PATIENCE;
        while proxy.carried(Way::ToServer) < 5 {
            assert!(Instant::now() < deadline, "five bytes arrive");
            thread::yield_now();
        }
        assert_eq!(proxy.carried(Way::ToServer), 5);
    }
}

#[test]
fn all_are_cut_at_once_and_new_ones_are_not() {
    for end in [End::Eof, End::Reset] {
        let (listener, address) = Peer::listen();
        let proxy = FaultProxy::new(address);
        let connect = || (Peer::connect(proxy.address()), Peer::accept(&listener));
        let (mut client, mut server) = connect();
        proxy.cut(end);
        client.expect_eof();
        server.expect_eof();
        let (mut client, mut server) = connect();
        client.send(b"again");
        assert_eq!(server.expect_bytes(5), b"again");
        drop(client);
        server.expect_eof();
    }
}

#[test]
fn a_reset_is_passed_on_and_nobody_there_is_a_reset() {
    let (_proxy, client, mut server) = connected();
    client.reset();
    server.expect_eof();

    let nobody: SocketAddr = Peer::listen().1;
    let proxy = FaultProxy::new(nobody);
    Peer::connect(proxy.address()).expect_eof();
}
