//! Connections on which nothing happens cost a little memory, and nothing else.

use std::thread;
use std::time::Duration;

use antifreeze_testkit::{Peer, RawMessage};

use crate::common::process::Server;
use crate::common::{Driver, SOON, is_full};

crate::on_both_drivers! {
    idle_connections_cost_no_thread_no_time_and_little_memory,
}

fn connect(server: &Server, count: usize) -> Vec<Peer> {
    let connect = |_| {
        let mut peer = Peer::connect(&*server.place).patience(SOON);
        peer.shake_hands("thing");
        peer
    };
    (0..count).map(connect).collect()
}

fn call(peer: &mut Peer) {
    peer.send_message(&RawMessage::invoke_method(1, "thing", "quick"));
    assert_eq!(peer.expect_message().seq, 1);
}

fn open_stream(peer: &mut Peer) {
    peer.send_message(&RawMessage::invoke_method(1, "thing", "numbers"));
    assert!(peer.expect_message().annotations.starts_with(b"STRM"));
}

/// The server's memory is what it has resident, before and after they came; both of its numbers are
/// taken when as many had been there before, so that what it keeps for later is not counted twice.
fn idle_connections_cost_no_thread_no_time_and_little_memory(driver: Driver) {
    let (count, most) = if is_full() {
        (10_000, 2 << 10)
    } else {
        (1_000, 4 << 10)
    };
    let settings = [
        ("ANTIFREEZE_WORKERS", "2"),
        ("ANTIFREEZE_STREAM_LIFETIME", "1 h"),
    ];
    let server = Server::start(driver, "127.0.0.1:0", &settings);
    let mut first = connect(&server, 20);
    first.iter_mut().for_each(call);
    let (memory, threads) = (server.memory(), server.status("Threads:"));
    let descriptors = server.descriptors();

    let mut idle = connect(&server, count);
    // One that has been used costs no more than one that has not.
    idle.iter_mut().step_by(7).for_each(call);
    let each = server.memory().saturating_sub(memory) / count as u64;
    let more_threads = server.status("Threads:").saturating_sub(threads);
    println!(
        "{driver:?}: {count} idle connections, {each} bytes each, {more_threads} threads more"
    );
    assert_eq!(server.descriptors(), descriptors + count);

    // Streams cost no time either, whether or not somebody has them: nothing looks for late ones.
    idle.iter_mut().step_by(9).for_each(open_stream);
    drop(idle.drain(..count / 10));

    // Those who have just worked come to rest.
    thread::sleep(Duration::from_millis(100));
    let (before, slept) = server.activity();
    thread::sleep(Duration::from_millis(500));
    let (after, sleeps) = server.activity();
    let (used, sleeps) = (after - before, sleeps - slept);
    println!("{driver:?}: {used:?} of the processor, {sleeps} wake-ups in half a second");

    idle.iter_mut().rev().step_by(3).for_each(call);
    assert!(more_threads < 4, "{more_threads} threads more");
    assert!(each <= most, "{each} bytes each");
    assert!(
        used < Duration::from_millis(25),
        "{used:?} of the processor"
    );
    assert!(sleeps < 10, "{sleeps} wake-ups");
}
