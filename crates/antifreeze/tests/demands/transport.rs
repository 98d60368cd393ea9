//! What sockets do, and servers must expect: S15 to S19.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{Bytes, Daemon, Proxy, Serializer};
use antifreeze_proto::{Flags, Kind, SerializerId};
use antifreeze_testkit::{Peer, RawMessage};
use serde::Serialize;
use socket2::SockRef;

use crate::common::gate::{Served, register, until};
use crate::common::process::Server;
use crate::common::{Driver, SOON, address, config, is_full, percentile};

crate::on_both_drivers! {
    s15_all_who_came_before_the_daemon_was_ready_are_served,
    s15_a_message_whose_rest_is_late_occupies_nobody,
    s15_a_read_that_fills_the_buffer_promises_no_more,
    s16_a_slow_reader_gets_all_of_it_and_delays_nobody,
    s16_a_reader_that_never_reads_holds_its_producer_back_and_is_closed,
    s17_a_connection_that_was_waited_for_is_waited_for_again,
    s17_endless_work_on_some_connections_leaves_time_for_others,
    s18_two_peers_that_write_at_each_other_finish,
    s18_a_client_that_writes_while_it_is_answered_finishes,
    s19_an_answer_is_delivered_after_the_end_of_the_question,
    s19_an_end_that_waits_for_an_answer_costs_no_time,
}

/// More than a worker of the threads driver waits for the next byte, so that it has to park.
const PARKED: Duration = Duration::from_millis(8);

/// A call by msgpack, which carries bytes as they are.
fn invoke(seq: u16, method: &str, args: &impl Serialize) -> RawMessage {
    let mut payload = Vec::new();
    let none = std::collections::BTreeMap::<String, ()>::new();
    antifreeze_serial::encode_call(
        Serializer::Msgpack,
        "thing",
        method,
        args,
        &none,
        &mut payload,
    )
    .unwrap();
    RawMessage::invoke(seq, payload).serializer(SerializerId::MSGPACK)
}

#[track_caller]
fn check_answer(answer: &RawMessage, seq: u16) {
    assert_eq!(answer.known_kind(), Some(Kind::Result), "{}", answer.kind);
    assert_eq!(answer.flags & Flags::EXCEPTION.0, 0, "call {seq} raised");
    assert_eq!(answer.seq, seq);
}

/// One report that somebody came may stand for many, at each of the listeners.
fn s15_all_who_came_before_the_daemon_was_ready_are_served(driver: Driver) {
    let daemon: Daemon = driver.builder().bind("localhost:0").unwrap();
    let _gate = register(&daemon);
    let uri = daemon.uri_for("thing").unwrap();
    let port = address(&uri).port();
    let mut peers: Vec<Peer> = Vec::new();
    for host in ["127.0.0.1", "::1"] {
        // A machine may have no IPv6.
        let connect = |_| TcpStream::connect((host, port)).ok();
        peers.extend((0..50).filter_map(connect).map(Peer::from));
    }
    assert!(peers.len() >= 50);
    // Some of them are gone before anybody looks.
    for peer in peers.drain(10..20) {
        peer.reset();
    }
    let _running = daemon.start().unwrap();
    for peer in &mut peers {
        peer.shake_hands("thing");
        peer.send_message(&invoke(1, "value", &()));
    }
    for peer in &mut peers {
        check_answer(&peer.expect_message(), 1);
    }
}

/// A socket that is ready to be read may hold one byte of many.
fn s15_a_message_whose_rest_is_late_occupies_nobody(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 1));
    let message = invoke(1, "add", &(1,)).encode();
    let mut peers: Vec<_> = (0..16).map(|_| served.peer()).collect();
    for (count, peer) in peers.iter_mut().enumerate() {
        // In the header, right behind it, and in the payload.
        peer.send(&message[..1 + 3 * count]);
    }
    let proxy = served.proxy("other");
    for _ in 0..20 {
        proxy.call::<i64>("value", ()).unwrap();
    }
    for (count, peer) in peers.iter_mut().enumerate() {
        peer.send(&message[1 + 3 * count..]);
        check_answer(&peer.expect_message(), 1);
    }
    assert_eq!(served.proxy("thing").call::<i64>("value", ()).unwrap(), 16);
}

/// A read that takes exactly what was there leaves a poller that believes in more.
fn s15_a_read_that_fills_the_buffer_promises_no_more(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 1));
    let mut peer = served.peer();
    let overhead = invoke(0, "size", &(Bytes::from(vec![0; 60_000]),))
        .encode()
        .len()
        - 60_000;
    for (seq, whole) in [256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072]
        .into_iter()
        .flat_map(|size| [size - 1, size, size + 1])
        .enumerate()
    {
        let seq = seq as u16 + 1;
        let message = invoke(seq, "size", &(Bytes::from(vec![0; whole - overhead]),));
        peer.send_message(&message);
        check_answer(&peer.expect_message(), seq);
    }
    // A worker that read on would be missed now.
    served.proxy("other").call::<i64>("value", ()).unwrap();
}

/// A peer whose socket takes little.
fn narrow(served: &Served) -> Peer {
    let peer = served.peer();
    SockRef::from(peer.socket())
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    peer
}

fn s16_a_slow_reader_gets_all_of_it_and_delays_nobody(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 1));
    let size = 8 << 20;
    let mut peer = narrow(&served);
    peer.send_message(&invoke(1, "blob", &(size,)));
    until("the answer is begun", || served.gate.calls() == 1);
    let proxy = served.proxy("other");
    for _ in 0..20 {
        proxy.call::<i64>("value", ()).unwrap();
        // It takes a little in between, so that all is written in many parts.
        let mut little = [0; 512];
        peer.socket().peek(&mut little).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let answer = peer.expect_message();
    check_answer(&answer, 1);
    assert!(answer.payload.len() > size);
    let blob = &answer.payload[answer.payload.len() - size..];
    assert!(blob.iter().all(|byte| *byte == b'x'));
}

fn s16_a_reader_that_never_reads_holds_its_producer_back_and_is_closed(driver: Driver) {
    const ANSWER: usize = 256 << 10;
    let served = Served::new(
        driver,
        config(|c| {
            c.workers = 2;
            c.write_queue_bytes = 1 << 20;
            c.write_timeout = Duration::from_millis(500);
        }),
    );
    let peer = narrow(&served);
    let mut socket = peer.socket();
    let calls = 1_000;
    for seq in 0..calls {
        socket
            .write_all(&invoke(seq, "blob", &(ANSWER,)).encode())
            .unwrap();
    }
    let end = Instant::now() + SOON;
    while socket.write_all(&RawMessage::ping().encode()).is_ok() {
        assert!(Instant::now() < end, "the daemon waits for ever");
        served.proxy("other").call::<i64>("value", ()).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    // What the kernel holds for both ends, and what the connection may; a little more is in work.
    let most = ((8 << 20) + (1 << 20)) / ANSWER + 4;
    let made = served.gate.calls();
    println!("{driver:?}: {made} answers made, at most {most} expected");
    assert!(made <= most, "{made} answers were made for nobody");
}

/// Edge-triggered readiness is told once: whoever waits again must say so again.
fn s17_a_connection_that_was_waited_for_is_waited_for_again(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 1));
    let mut peers: Vec<_> = (0..4).map(|_| served.peer()).collect();
    let message = invoke(1, "add", &(1,)).encode();
    for byte in &message {
        for peer in &mut peers {
            peer.send(&[*byte]);
        }
        thread::sleep(PARKED);
    }
    for peer in &mut peers {
        check_answer(&peer.expect_message(), 1);
        // Idle once more, and called once more.
        peer.expect_silence(PARKED);
        peer.send(&message);
        check_answer(&peer.expect_message(), 1);
    }
    // The same for writing: a reader that takes little, and then more, many times.
    let mut peer = narrow(&served);
    peer.send_message(&invoke(2, "blob", &(4 << 20,)));
    for _ in 0..50 {
        let mut part = vec![0; 32 << 10];
        peer.socket().read_exact(&mut part).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut rest = vec![0; (4 << 20) - 50 * (32 << 10)];
    peer.socket().read_exact(&mut rest).unwrap();
}

/// Writes as many calls as the socket takes, and says how many.
fn pile_up(peer: &Peer) -> usize {
    let call = invoke(1, "count", &()).encode();
    let mut socket = peer.socket();
    socket.set_nonblocking(true).unwrap();
    let mut whole = 0;
    while whole < 5_000 && socket.write(&call).is_ok_and(|count| count == call.len()) {
        whole += 1;
    }
    whole
}

/// Every thread that reads comes to a connection with a pile of work, before it comes to others.
///
/// How many of an event loop's threads are blocked, and what waits for which, is not in our hands.
#[test]
fn s17_on_threads_a_pile_of_work_is_put_aside_for_others() {
    /// A worker, and the two beyond.
    const READERS: usize = 3;
    let served = Served::new(Driver::Threads, config(|c| c.workers = 1));
    let some = |count| (0..count).map(|_| served.peer()).collect::<Vec<_>>();
    let (mut blocking, piles, mut quiet) = (some(READERS), some(READERS), some(5));
    for peer in &mut blocking {
        peer.send_message(&invoke(1, "block", &()));
    }
    served.gate.until_inside(READERS);
    let least = piles.iter().map(pile_up).min().unwrap();
    for peer in &mut quiet {
        peer.send_message(&invoke(1, "count", &()));
    }
    // So that all of them were seen to be ready, in this order.
    thread::sleep(Duration::from_millis(20));
    served.gate.open();
    let mut before: Vec<usize> = quiet
        .iter_mut()
        .map(|peer| {
            let answer = peer.expect_message();
            check_answer(&answer, 1);
            let limits = antifreeze_serial::Limits::default();
            antifreeze_serial::decode(Serializer::Msgpack, &answer.payload, &limits).unwrap()
        })
        .collect();
    before.sort_unstable();
    println!("calls before quiet ones: {before:?}; a pile is {least}");
    // A thread may be stopped at any time, so not each of them.
    assert!(before[2] < least, "{before:?}, a pile is {least}");
}

/// Sends calls without end and reads the answers as they come.
fn flood(served: &Served, over: &AtomicBool) -> usize {
    let peer = served.peer();
    let calls: Vec<u8> = (0..64)
        .flat_map(|seq| invoke(seq, "quick", &()).encode())
        .collect();
    let socket = peer.socket();
    socket.set_nonblocking(true).unwrap();
    let (mut at, mut answered) = (0, 0);
    let mut buffer = vec![0; 64 << 10];
    while !over.load(Ordering::Relaxed) {
        let mut idle = true;
        for done in [(&*socket).write(&calls[at..]), (&*socket).read(&mut buffer)] {
            match done {
                Ok(count) => idle &= count == 0,
                Err(why) => assert_eq!(why.kind(), ErrorKind::WouldBlock, "nobody had time for it"),
            }
        }
        if idle {
            thread::yield_now();
        }
        (at, answered) = (at % calls.len(), answered + 1);
    }
    answered
}

fn s17_endless_work_on_some_connections_leaves_time_for_others(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 1));
    let floods = 2 * thread::available_parallelism().unwrap().get() + 4;
    let over = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        for _ in 0..floods {
            scope.spawn(|| flood(&served, &over));
        }
        let mut times = Vec::new();
        for round in 0..100 {
            let started = Instant::now();
            // Old connections and new ones.
            let proxy = served.proxy("other");
            for _ in 0..2 {
                let answer: i64 = proxy.call("quick", ()).unwrap();
                assert_eq!(answer, 0, "in round {round}");
            }
            times.push(started.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        times
    });
    let p99 = percentile(&times, 0.99);
    println!("{driver:?}: p99 of connecting and two calls beside {floods} floods: {p99:?}");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
}

/// What each end has to say at once; far more than sockets hold.
fn volume() -> usize {
    if is_full() { 64 << 20 } else { 16 << 20 }
}

/// The second call is written before a byte of the answer to the first is read.
fn s18_two_peers_that_write_at_each_other_finish(driver: Driver) {
    let size = volume();
    // Whoever reads while its own words wait has to keep both.
    let room = 2 * size as u64;
    let served = Served::new(driver, config(|c| c.write_queue_bytes = room));
    let mut peer = served.peer();
    peer.send_message(&invoke(1, "blob", &(size,)));
    peer.send_message(&invoke(2, "size", &(Bytes::from(vec![0; size]),)));
    let answer = peer.expect_message();
    check_answer(&answer, 1);
    assert!(answer.payload.len() > size);
    check_answer(&peer.expect_message(), 2);
}

/// Threads that share a proxy send and receive at once, as far as the protocol allows.
fn s18_a_client_that_writes_while_it_is_answered_finishes(driver: Driver) {
    let served = Served::new(driver, config(|_| {}));
    let proxy: Proxy = served.proxy("thing");
    let size = volume() / 2;
    thread::scope(|scope| {
        for _ in 0..2 {
            let proxy = &proxy;
            scope.spawn(move || {
                let data = Bytes::from(vec![1; size]);
                let back: Bytes = proxy.call("echo", (&data,)).unwrap();
                assert_eq!(back.len(), size);
            });
        }
    });
}

fn s19_an_answer_is_delivered_after_the_end_of_the_question(driver: Driver) {
    let served = Served::new(driver, config(|c| c.workers = 2));
    // Small, large, and one that has to wait for its turn.
    for method in ["value", "blob", "look"] {
        let mut peer = served.peer();
        let message = match method {
            "blob" => invoke(1, method, &(4 << 20,)),
            _ => invoke(1, method, &()),
        };
        peer.send_message(&message);
        peer.shutdown_write();
        if method == "look" {
            served.gate.until_inside(1);
            peer.expect_silence(PARKED);
            served.gate.open();
        }
        check_answer(&peer.expect_message(), 1);
        peer.expect_eof();
    }
}

/// A socket at its end stays readable: who does not take that into account, runs in circles.
fn s19_an_end_that_waits_for_an_answer_costs_no_time(driver: Driver) {
    let server = Server::start(driver, "127.0.0.1:0", &[]);
    let mut peers: Vec<_> = (0..4).map(|_| Peer::connect(&*server.place)).collect();
    for peer in &mut peers {
        peer.shake_hands("thing");
        peer.send_message(&invoke(1, "look", &()));
        peer.shutdown_write();
    }
    let keeper = Proxy::connect(server.uri("keeper")).unwrap();
    while keeper.call::<usize>("inside", ()).unwrap() < peers.len() {
        thread::sleep(Duration::from_millis(1));
    }
    let (before, slept) = server.activity();
    thread::sleep(Duration::from_millis(500));
    let (after, sleeps) = server.activity();
    let (used, sleeps) = (after - before, sleeps - slept);
    println!("{driver:?}: {used:?} of the processor, {sleeps} wake-ups");
    assert!(
        used < Duration::from_millis(50),
        "{used:?} of the processor"
    );
    keeper.call::<()>("open", ()).unwrap();
    for peer in &mut peers {
        check_answer(&peer.expect_message(), 1);
        peer.expect_eof();
    }
}
