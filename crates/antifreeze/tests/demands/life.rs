//! Timers, states, callbacks, and processes that end: S20 to S25.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{Daemon, ErrorKind, Proxy, Running, Sent, Uri, expose};
use antifreeze_proto::{Flags, Input, Kind, Limits, StateName};
use antifreeze_testkit::{Pair, Peer, RawMessage};

use crate::common::gate::{Served, until};
use crate::common::process::Server;
use crate::common::{Driver, SOON, config};

crate::on_both_drivers! {
    s20_a_method_may_call_back_into_whoever_called_it,
    s21_each_state_that_waits_for_a_peer_has_its_timer,
    s21_a_server_that_was_stopped_closes_nobody_who_has_spoken_meanwhile,
    s21_eight_hours_of_sleep_close_nobody_who_is_healthy_and_leave_nobody_who_is_dead,
    s22_every_transition_is_logged_and_none_is_left_out,
    s25_an_object_moves_to_another_process_by_its_uri_alone,
    s25_a_crash_is_an_error_to_its_callers_and_nothing_else_to_anybody,
}

/// Works, and tells somebody how far it is.
struct Worker;

#[expose]
impl Worker {
    fn work(&self, steps: u32, listener: Uri) -> Result<u32, antifreeze::Error> {
        let listener = Proxy::connect(listener)?.within(SOON);
        let mut sum = 0;
        for step in 0..steps {
            sum += listener.call::<u32>("progress", (step,))?;
        }
        Ok(sum)
    }

    fn weight(&self) -> u32 {
        10
    }
}

/// Hears of it, and asks back.
struct Listener {
    worker: Uri,
    heard: Vec<u32>,
}

#[expose]
impl Listener {
    fn progress(&mut self, step: u32) -> Result<u32, antifreeze::Error> {
        self.heard.push(step);
        let worker = Proxy::connect(&self.worker)?.within(SOON);
        Ok(step * worker.call::<u32>("weight", ())?)
    }

    fn heard(&self) -> Vec<u32> {
        self.heard.clone()
    }
}

fn serve(driver: Driver, register: impl FnOnce(&Daemon) -> Uri) -> (Running, Uri) {
    let daemon = driver.builder().bind("127.0.0.1:0").unwrap();
    let uri = register(&daemon);
    (daemon.start().unwrap(), uri)
}

fn s20_a_method_may_call_back_into_whoever_called_it(driver: Driver) {
    let (_working, worker) = serve(driver, |d| d.register("worker", Worker).unwrap());
    let heard = Vec::new();
    let listener = Listener {
        worker: worker.clone(),
        heard,
    };
    let (_listening, listener) = serve(driver, |d| d.register("listener", listener).unwrap());
    let proxy = Proxy::connect(&worker).unwrap().within(SOON);
    assert_eq!(proxy.call::<u32>("work", (4, &listener)).unwrap(), 60);
    let heard: Vec<u32> = Proxy::connect(&listener)
        .unwrap()
        .call("heard", ())
        .unwrap();
    assert_eq!(heard, [0, 1, 2, 3]);
}

/// The peer is closed, and not before it has had that time since `started`.
#[track_caller]
fn check_closed(mut peer: Peer, started: Instant, limit: Duration) {
    peer.expect_eof();
    let took = started.elapsed();
    assert!(
        took >= limit,
        "closed after {took:?}, {limit:?} are allowed"
    );
}

fn s21_each_state_that_waits_for_a_peer_has_its_timer(driver: Driver) {
    // Each its own, so that it can be seen which one it was.
    let [handshake, stall, idle] = [200, 400, 600].map(Duration::from_millis);
    let served = Served::new(
        driver,
        config(|c| {
            (c.handshake_timeout, c.stall_timeout) = (handshake, stall);
            c.idle_timeout = Some(idle);
        }),
    );
    let started = Instant::now();
    let new = || Peer::connect(served.address()).patience(SOON);
    let silent = new();
    let mut halting = new();
    halting.send(&RawMessage::connect("thing").encode()[..20]);
    let mut stalled = served.peer();
    stalled.send(&RawMessage::invoke_method(1, "thing", "value").encode()[..50]);
    let idling = served.peer();
    let mut pinging = served.peer();
    let mut calling = served.peer();
    calling.send_message(&RawMessage::invoke_method(1, "thing", "look"));
    thread::scope(|scope| {
        scope.spawn(|| check_closed(silent, started, handshake));
        scope.spawn(|| check_closed(halting, started, handshake));
        scope.spawn(|| check_closed(stalled, started, stall));
        scope.spawn(|| check_closed(idling, started, idle));
        while started.elapsed() < 2 * idle {
            pinging.send_message(&RawMessage::ping());
            pinging.expect_message();
            thread::sleep(idle / 10);
        }
    });
    // A call takes as long as it takes.
    served.gate.open();
    assert_eq!(calling.expect_message().seq, 1);
    // It had its time after the last ping, and not only after the first.
    check_closed(pinging, started, 2 * idle + idle / 2);
}

/// A stopped process is what a machine that sleeps looks like to the others.
fn s21_a_server_that_was_stopped_closes_nobody_who_has_spoken_meanwhile(driver: Driver) {
    let stall = Duration::from_secs(1);
    let settings = [
        ("ANTIFREEZE_STALL_TIMEOUT", "1 s"),
        ("ANTIFREEZE_IDLE_TIMEOUT", "1 s"),
    ];
    let server = Server::start(driver, "127.0.0.1:0", &settings);
    let message = RawMessage::invoke_method(1, "thing", "value").encode();
    let new = || {
        let mut peer = Peer::connect(&*server.place).patience(SOON);
        peer.shake_hands("thing");
        peer
    };
    let (mut speaking, mut idling, mut silent) = (new(), new(), new());
    speaking.send(&message[..50]);
    silent.send(&message[..50]);
    server.signal("STOP");
    thread::sleep(2 * stall);
    speaking.send(&message[50..]);
    idling.send(&message);
    server.signal("CONT");
    assert_eq!(speaking.expect_message().seq, 1, "it has spoken");
    assert_eq!(idling.expect_message().seq, 1, "and so has that one");
    silent.expect_eof();
}

const NIGHT: Duration = Duration::from_secs(8 * 3600);

/// How many nights a machine has slept, as the daemon of each driver is told.
static NIGHTS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn slept(driver: Driver) -> Duration {
    NIGHT * NIGHTS[driver as usize].load(Ordering::Relaxed)
}

/// The clock of time-outs stands still at night, and so do the peers: in the morning all are late.
fn s21_eight_hours_of_sleep_close_nobody_who_is_healthy_and_leave_nobody_who_is_dead(
    driver: Driver,
) {
    let grace = Limits::default().grace;
    let short = Duration::from_millis(500);
    let config = config(|c| {
        (c.handshake_timeout, c.stall_timeout) = (short, short);
        (c.idle_timeout, c.write_timeout) = (Some(short), short);
    });
    let builder = driver.builder().config(config);
    let served = Served::by(builder.sleep_clock(match driver {
        Driver::Threads => || slept(Driver::Threads),
        Driver::EventLoop => || slept(Driver::EventLoop),
    }));
    let message = RawMessage::invoke_method(1, "thing", "value").encode();
    let new = || Peer::connect(served.address()).patience(SOON);
    let new_half = || {
        let mut peer = new();
        peer.send(&RawMessage::connect("thing").encode()[..20]);
        peer
    };
    let half = || {
        let mut peer = served.peer();
        peer.send(&message[..50]);
        peer
    };
    let started = Instant::now();
    // Two of each: one is still there in the morning, and one is not.
    let [mut connecting, lost_connecting] = [new_half(), new_half()];
    let [mut speaking, lost_speaking] = [half(), half()];
    let [mut idling, lost_idling] = [served.peer(), served.peer()];
    NIGHTS[driver as usize].fetch_add(1, Ordering::Relaxed);
    thread::sleep((started + 3 * short).saturating_duration_since(Instant::now()));
    connecting.send(&RawMessage::connect("thing").encode()[20..]);
    speaking.send(&message[50..]);
    idling.send(&message);
    let welcome = connecting.expect_message();
    assert_eq!(welcome.known_kind(), Some(Kind::ConnectOk), "connecting");
    assert_eq!(speaking.expect_message().seq, 1, "within a message");
    assert_eq!(idling.expect_message().seq, 1, "idle");
    thread::scope(|scope| {
        for mut lost in [lost_connecting, lost_speaking, lost_idling] {
            scope.spawn(move || {
                lost.expect_eof();
                let took = started.elapsed();
                assert!(took >= grace, "closed after {took:?}");
                assert!(took < 2 * grace, "closed after {took:?}");
            });
        }
    });
    // Once it is awake, the usual limits apply.
    let started = Instant::now();
    half().expect_eof();
    assert!(started.elapsed() < grace);
}

/// The machine's sleep, as the core is told of it; both ends have slept.
#[test]
fn s21_eight_hours_of_sleep_close_no_healthy_connection_and_leave_no_dead_one() {
    let night = NIGHT;
    let sleep = |pair: &mut Pair| {
        let now = pair.now() + night;
        (pair.client.now, pair.server.now) = (now, now);
        for input in [Input::Resumed(night), Input::Tick] {
            pair.client.input(input.clone());
            pair.server.input(input);
        }
        pair.drive();
    };
    let states = |pair: &Pair| (pair.client.conn.state(), pair.server.conn.state());

    let mut idle = Pair::ready();
    sleep(&mut idle);
    assert_eq!(states(&idle), (StateName::Ready, StateName::Idle));

    // A call is on its way in the evening, and answered in the morning.
    let mut calling = Pair::ready();
    calling.call(Pair::plain(b"call"));
    sleep(&mut calling);
    let id = calling.requests()[0].id;
    calling.reply(id, b"result");
    assert_eq!(calling.responses().len(), 1);

    // Half of a message came: the rest has a moment, and not for ever.
    let mut dead = Pair::ready();
    let message = RawMessage::invoke(1, "call").encode();
    dead.server.feed(&message[..20]);
    sleep(&mut dead);
    assert_eq!(
        dead.server.conn.state(),
        StateName::Receiving,
        "it has a moment"
    );
    dead.advance(Duration::from_secs(60));
    assert!(dead.server.closed().is_some(), "but no more than that");
}

/// Lines that the core logs for a connection, in a server of its own: from, to, why.
fn s22_every_transition_is_logged_and_none_is_left_out(driver: Driver) {
    let mut server = Server::start(driver, "127.0.0.1:0", &[("TEST_LOG", "1")]);
    let mut peer = Peer::connect(&*server.place).patience(SOON);
    peer.shake_hands("thing");
    let message = RawMessage::invoke_method(1, "thing", "value").encode();
    peer.send(&message[..50]);
    // So that the first half is seen by itself.
    peer.expect_silence(Duration::from_millis(20));
    peer.send(&message[50..]);
    peer.expect_message();
    peer.shutdown_write();
    peer.expect_eof();
    let mut state = "handshaking".to_owned();
    let mut seen = vec![state.clone()];
    while state != "closed" {
        let line = server.process.line("transition");
        let words: Vec<_> = line.split_whitespace().collect();
        let [from, to, why] = words[..] else {
            panic!("{line:?}")
        };
        assert_eq!(from, state, "something is left out before {line:?}");
        assert!(!why.is_empty());
        state = to.to_owned();
        seen.push(state.clone());
    }
    let expected = [
        "handshaking",
        "deciding",
        "idle",
        "receiving",
        "serving",
        "idle",
        "closed",
    ];
    assert_eq!(seen, expected);
}

/// What a server says to a peer that does this and that, right and wrong.
fn transcript(driver: Driver) -> Vec<RawMessage> {
    let served = Served::new(driver, config(|_| {}));
    let call = |seq, method, args| {
        let call = format!("# serpent utf-8 python3.2\n('thing','{method}',{args},{{}})");
        RawMessage::invoke(seq, call)
    };
    let mut said = Vec::new();
    let mut peer = Peer::connect(served.address()).patience(SOON);
    said.push(peer.shake_hands("thing"));
    let calls = [
        call(1, "add", "(5,)"),
        call(2, "value", "()"),
        RawMessage::ping().seq(3),
        call(4, "add", "('x',)"),
        call(5, "add", "()"),
        call(6, "nothing", "()"),
        RawMessage::invoke_method(7, "nobody", "value"),
        RawMessage::invoke(8, "not a call at all"),
        call(9, "add_later", "(1,)").flags(Flags::ONEWAY),
        call(10, "value", "()"),
    ];
    for message in &calls {
        peer.send_message(message);
        if message.flags & Flags::ONEWAY.0 == 0 {
            said.push(peer.expect_message());
        }
    }
    // Nobody shakes hands twice.
    peer.send_message(&RawMessage::connect("thing"));
    peer.expect_eof();
    for refused in [RawMessage::connect("nobody"), RawMessage::ping()] {
        let mut peer = Peer::connect(served.address()).patience(SOON);
        peer.send_message(&refused);
        said.push(peer.expect_message());
        peer.expect_eof();
    }
    for message in &mut said {
        // Chance, but for whether there is one.
        message.correlation = [0; 16];
    }
    said
}

#[test]
fn s23_threads_and_the_event_loop_say_the_same() {
    let (threads, event_loop) = (transcript(Driver::Threads), transcript(Driver::EventLoop));
    assert_eq!(threads.len(), 12);
    for (one, other) in threads.iter().zip(&event_loop) {
        assert_eq!(one, other);
    }
}

/// What a client does, wherever the object is.
fn count_to_ten(uri: &str) -> Result<Vec<i64>, antifreeze::Error> {
    let proxy = Proxy::connect(uri)?.within(SOON);
    (0..10).map(|n| proxy.call("add", (n,))).collect()
}

fn s25_an_object_moves_to_another_process_by_its_uri_alone(driver: Driver) {
    let here = Served::new(driver, config(|_| {}));
    let there = Server::start(driver, "127.0.0.1:0", &[]);
    let uris = [here.uri("thing").to_string(), there.uri("thing")];
    let [one, other] = uris.map(|uri| count_to_ten(&uri).unwrap());
    assert_eq!(one, other);
    assert_eq!(one.last(), Some(&45));
}

/// Asks an object of another process.
struct Middle {
    remote: String,
    asked: usize,
}

#[expose]
impl Middle {
    fn ask(&mut self) -> Result<(), antifreeze::Error> {
        self.asked += 1;
        Proxy::connect(self.remote.as_str())?
            .within(SOON)
            .call("look", ())
    }

    fn asked(&self) -> usize {
        self.asked
    }
}

fn s25_a_crash_is_an_error_to_its_callers_and_nothing_else_to_anybody(driver: Driver) {
    let mut there = Server::start(driver, "127.0.0.1:0", &[]);
    let middle = Middle {
        remote: there.uri("thing"),
        asked: 0,
    };
    let here = Served::new(driver, config(|_| {}));
    here.running.daemon().register("middle", middle).unwrap();
    let (other, middle) = (here.proxy("other"), here.proxy("middle"));
    let keeper = Proxy::connect(there.uri("keeper")).unwrap();
    let direct: Vec<_> = (0..4)
        .map(|_| Proxy::connect(there.uri("thing")).unwrap())
        .collect();
    thread::scope(|scope| {
        let calls: Vec<_> = direct
            .iter()
            .map(|proxy| scope.spawn(|| proxy.within(SOON).call::<()>("look", ())))
            .collect();
        let through = scope.spawn(|| middle.call::<()>("ask", ()));
        let inside = || keeper.call::<usize>("inside", ()).unwrap();
        until("all are inside", || inside() == calls.len() + 1);

        there.process.kill();
        assert_eq!(other.call::<i64>("add", (1,)).unwrap(), 1);
        for call in calls {
            let error = call.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
            assert_eq!(error.sent(), Sent::Maybe);
        }
        // A communication error of somebody else is no communication error of the caller's.
        let error = through.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Remote, "{error:?}");
    });
    assert_eq!(
        middle.call::<usize>("asked", ()).unwrap(),
        1,
        "its object goes on"
    );

    // It is started again where it was, and its callers go on, too.
    let _again = Server::start(driver, &there.place, &[]);
    for proxy in &direct {
        assert_eq!(proxy.call::<i64>("value", ()).unwrap(), 0);
    }
}
