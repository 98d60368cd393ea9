// What a proxy promises when its peer is slow, silent, or gone: included once for each kind of proxy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze_proto::{Flags, Kind, SerializerId};
use antifreeze_testkit::{Peer, RawMessage};

use antifreeze::{
    Config, Error, ErrorKind, Exception, Sent, Serializer, Uri, call,
};

use super::peer::{accept, answer, msgpack, uri, welcome};

/// What a call may take in these tests.
const LIMIT: Duration = Duration::from_millis(200);

/// Far less than any other time-out, and far more than a busy machine is late.
const SOON: Duration = Duration::from_secs(3);

/// More than sockets hold.
const LARGE: usize = 32 << 20;

fn builder(uri: &str) -> ProxyBuilder {
    let mut config = Config::default();
    config.serializer = Serializer::Msgpack;
    config.reconnect_window = Duration::ZERO;
    Proxy::builder(uri).unwrap().config(config)
}

/// Plays a daemon on a thread of its own while `client` runs with its URI.
fn against<R>(
    daemon: impl FnOnce(TcpListener) + Send + 'static,
    client: impl FnOnce(&str) -> R,
) -> R {
    let (listener, address) = Peer::listen();
    let daemon = thread::spawn(move || daemon(listener));
    let result = client(&uri(address));
    daemon.join().expect("the daemon has seen what it should");
    result
}

#[track_caller]
fn check_late(started: Instant, limit: Duration, error: &Error) {
    let took = started.elapsed();
    assert!(error.is_timeout(), "{error:?}");
    assert!(
        took >= limit && took < limit + SOON,
        "{error:?} after {took:?}"
    );
}

/// The call is late, of a daemon that lets the client in and then does that until the test is over.
#[track_caller]
fn check_late_call(
    daemon: impl FnOnce(Peer, mpsc::Receiver<()>) + Send + 'static,
    limit: Duration,
    call: impl FnOnce(&Proxy) -> Result<(), Error>,
) -> Error {
    let (done, over) = mpsc::channel();
    let daemon = |listener: TcpListener| daemon(accept(&listener), over);
    against(daemon, |uri| {
        let proxy = builder(uri).connect().unwrap();
        let started = Instant::now();
        let error = call(&proxy.within(limit)).unwrap_err();
        check_late(started, limit, &error);
        drop(done);
        error
    })
}

/// Reads a little at a time until the test is over.
fn sip(mut socket: impl Read, over: &mpsc::Receiver<()>) {
    let mut buffer = [0; 4096];
    while over.try_recv() == Err(TryRecvError::Empty) && socket.read(&mut buffer).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_peer_that_reads_nothing_holds_a_call_until_its_deadline_only() {
    let large = "x".repeat(LARGE);
    let (done, over) = mpsc::channel::<()>();
    let daemon = move |listener: TcpListener| {
        let _calls = (accept(&listener), accept(&listener));
        let _ = over.recv();
    };
    against(daemon, |uri| {
        let proxy = builder(uri).connect().unwrap();
        let started = Instant::now();
        let late = proxy.within(LIMIT).call::<()>("take", (&large,));
        let error = late.unwrap_err();
        check_late(started, LIMIT, &error);
        assert_eq!(error.sent(), Sent::No);

        // To connect is not what shall be late.
        assert!(proxy.bind().unwrap());
        let started = Instant::now();
        let late = proxy.within(LIMIT).oneway("take", (&large,));
        let error = late.unwrap_err();
        check_late(started, LIMIT, &error);
        assert_eq!(error.sent(), Sent::No);
        drop(done);
    });
}

#[test]
fn a_peer_that_reads_slowly_holds_a_call_until_its_deadline_only() {
    let large = "x".repeat(LARGE);
    let error = check_late_call(
        |peer, over| sip(peer.socket(), &over),
        LIMIT,
        |proxy| proxy.call("take", (&large,)),
    );
    assert_eq!(error.sent(), Sent::No);
    check_late_call(
        |peer, over| sip(peer.socket(), &over),
        LIMIT,
        |proxy| proxy.oneway("take", (&large,)),
    );
}

#[test]
fn a_slow_peer_on_a_unix_socket_holds_a_call_until_its_deadline_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (done, over) = mpsc::channel();
    let daemon = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let read = || {
            let mut message = vec![0; 40];
            (&socket).read_exact(&mut message).unwrap();
            message.resize(RawMessage::length(&message).unwrap(), 0);
            (&socket).read_exact(&mut message[40..]).unwrap();
            RawMessage::decode(&message).unwrap().0
        };
        let hello = welcome(&read());
        (&socket).write_all(&hello.encode()).unwrap();
        let servertype = RawMessage::result(read().seq, "").serializer(SerializerId::MSGPACK);
        (&socket).write_all(&servertype.encode()).unwrap();
        sip(socket, &over);
    });
    let uri = format!("PYRO:obj@./u:{}", path.display());
    let proxy = builder(&uri).connect().unwrap();
    let large = "x".repeat(LARGE);
    let started = Instant::now();
    let error = proxy
        .within(LIMIT)
        .call::<()>("take", (&large,))
        .unwrap_err();
    check_late(started, LIMIT, &error);
    drop(done);
    daemon.join().unwrap();
}

#[test]
fn an_answer_that_does_not_end_holds_a_call_until_its_deadline_only() {
    // Short, because nothing slows down the bytes that come meanwhile.
    let limit = Duration::from_millis(50);
    let error = check_late_call(
        |mut peer, _| {
            let mut result = msgpack(Kind::Result, &()).seq(peer.expect_message().seq);
            result.claimed_payload = Some(1 << 29);
            peer.send_message(&result);
            while peer.socket().write_all(&[0; 4096]).is_ok() {}
        },
        limit,
        |proxy| proxy.call("flood", ()),
    );
    assert_eq!(error.sent(), Sent::Maybe);
}

#[test]
fn a_handshake_has_no_longer_than_the_call() {
    let (_silent, address) = Peer::listen();
    let started = Instant::now();
    let error = builder(&uri(address)).timeout(LIMIT).connect().unwrap_err();
    check_late(started, LIMIT, &error);

    let drips = |listener: TcpListener| {
        let mut peer = Peer::accept(&listener);
        let mut welcome = welcome(&peer.expect_message());
        welcome.payload.resize(10_000, 0);
        for byte in welcome.encode() {
            if peer.socket().write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    };
    against(drips, |uri| {
        let started = Instant::now();
        let error = builder(uri).timeout(LIMIT).connect().unwrap_err();
        check_late(started, LIMIT, &error);
    });
}

#[test]
fn a_name_server_has_no_longer_than_the_call() {
    let (_silent, address) = Peer::listen();
    let started = Instant::now();
    let uri = format!("PYRONAME:obj@{address}");
    let error = builder(&uri).timeout(LIMIT).connect().unwrap_err();
    check_late(started, LIMIT, &error);
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_waited_for_until_the_deadline_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let new = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    let listener = new();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = new();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&address) {
            Ok(()) => waiting.push(socket),
            Err(_) => break,
        }
    }
    let uri = format!("PYRO:obj@./u:{}", path.display());
    let started = Instant::now();
    let error = builder(&uri).timeout(LIMIT).connect().unwrap_err();
    check_late(started, LIMIT, &error);
}

#[test]
fn a_refusal_is_heard_also_when_the_daemon_reads_nothing() {
    let daemon = |listener: TcpListener| {
        let mut peer = Peer::accept(&listener);
        // With most of the CONNECT unread, to close resets the connection.
        peer.expect_bytes(1);
        peer.send_message(&msgpack(Kind::ConnectFail, &"too many clients"));
    };
    against(daemon, |uri| {
        let large = "x".repeat(LARGE);
        let error = builder(uri).handshake(large).connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        let text = error.to_string();
        assert!(text.ends_with("rejected: too many clients"), "{text}");
    });
}

#[test]
fn a_call_that_was_sent_once_may_have_run_whatever_came_after() {
    let daemon = |listener: TcpListener| {
        let mut peer = accept(&listener);
        peer.expect_message();
        drop(listener);
    };
    against(daemon, |uri| {
        let proxy = builder(uri).connect().unwrap();
        let error = proxy.idempotent().call::<()>("once", ()).unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Connect, Sent::Maybe)
        );
    });
}

/// The ids of the annotations that came with the last answer.
fn ids() -> Vec<String> {
    let annotations = call::response_annotations();
    annotations.iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn response_annotations_are_those_of_the_last_call() {
    let daemon = |listener: TcpListener| {
        let mut peer = Peer::accept(&listener);
        let hello = peer.expect_message();
        peer.let_in(&welcome(&hello).annotation(b"HAND", b""));
        for _ in 0..2 {
            let seq = peer.expect_message().seq;
            let result = msgpack(Kind::Result, &()).seq(seq);
            peer.send_message(&result.annotation(b"ANSW", b""));
            peer.expect_message();
        }
        drop((peer, listener));
    };
    against(daemon, |uri| {
        let proxy = builder(uri).lazy().unwrap();
        proxy.bind().unwrap();
        assert_eq!(ids(), ["HAND"]);
        proxy.call::<()>("with", ()).unwrap();
        assert_eq!(ids(), ["ANSW"]);
        proxy.oneway("later", ()).unwrap();
        assert!(ids().is_empty());
        proxy.call::<()>("with", ()).unwrap();
        proxy.call::<()>("fail", ()).unwrap_err();
        assert!(ids().is_empty());
    });
}

#[test]
fn what_a_name_server_sends_along_is_not_the_callers() {
    let daemon = |listener: TcpListener| {
        // A port that nobody listens at.
        let (nobody, address) = Peer::listen();
        drop(nobody);
        let mut peer = Peer::accept(&listener);
        let hello = peer.expect_message();
        peer.let_in(&welcome(&hello).annotation(b"HAND", b""));
        let seq = peer.expect_message().seq;
        let found: Uri = uri(address).parse().unwrap();
        let result = msgpack(Kind::Result, &found).seq(seq);
        peer.send_message(&result.annotation(b"NAME", b""));
    };
    against(daemon, |uri| {
        let name = uri.replace("PYRO:", "PYRONAME:");
        let error = builder(&name)
            .lazy()
            .unwrap()
            .call::<()>("x", ())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
        assert!(ids().is_empty());
    });
}

#[test]
fn release_closes_what_is_free_now_and_the_rest_before_its_next_use() {
    let (listener, address) = Peer::listen();
    let proxy = builder(&uri(address)).lazy().unwrap().pooled(2);
    thread::scope(|scope| {
        let busy = scope.spawn(|| proxy.call::<i64>("long", ()));
        let mut long = accept(&listener);
        let seq = long.expect_message().seq;
        let short = scope.spawn(|| proxy.call::<i64>("short", ()));
        let mut free = accept(&listener);
        answer(&mut free, &2);
        assert_eq!(short.join().unwrap().unwrap(), 2);

        proxy.release();
        free.expect_eof();
        long.send_message(&msgpack(Kind::Result, &1).seq(seq));
        assert_eq!(
            busy.join().unwrap().unwrap(),
            1,
            "the running call is finished"
        );

        let again = scope.spawn(|| proxy.call::<i64>("again", ()));
        answer(&mut accept(&listener), &3);
        assert_eq!(again.join().unwrap().unwrap(), 3);
        long.expect_eof();
    });
}

#[test]
fn a_ping_on_a_dead_connection_is_sent_on_a_new_one() {
    let (closed, told) = mpsc::channel();
    let daemon = move |listener: TcpListener| {
        drop(accept(&listener));
        closed.send(()).unwrap();
        let mut peer = accept(&listener);
        assert_eq!(peer.expect_message(), RawMessage::ping());
        peer.send_message(&RawMessage::ping());
    };
    against(daemon, |uri| {
        let proxy = builder(uri).connect().unwrap();
        told.recv().unwrap();
        proxy.ping().unwrap();
    });
}

#[test]
fn after_an_exception_a_closed_connection_is_noticed_before_the_next_call() {
    let (closed, told) = mpsc::channel();
    let daemon = move |listener: TcpListener| {
        let mut peer = accept(&listener);
        let seq = peer.expect_message().seq;
        let exception = Exception::new("builtins.ValueError", "no");
        let result = msgpack(Kind::Result, &exception).flags(Flags::EXCEPTION);
        peer.send_message(&result.seq(seq));
        drop(peer);
        closed.send(()).unwrap();
        answer(&mut accept(&listener), &5);
    };
    against(daemon, |uri| {
        let proxy = builder(uri).connect().unwrap();
        let error = proxy.call::<i64>("x", ()).unwrap_err();
        assert!(error.is_remote("ValueError"), "{error:?}");
        told.recv().unwrap();
        assert_eq!(proxy.call::<i64>("x", ()).unwrap(), 5);
    });
}

/// The daemon slept, too, so it is late without being dead.
#[test]
fn a_call_that_was_out_while_the_machine_slept_has_a_moment_more() {
    const NAP: Duration = Duration::from_millis(500);
    static NAPS: AtomicU32 = AtomicU32::new(0);
    let nap = || NAPS.fetch_add(1, Ordering::Relaxed);
    let daemon = move |listener: TcpListener| {
        let mut peer = accept(&listener);
        let call = peer.expect_message();
        nap();
        thread::sleep(2 * LIMIT);
        peer.send_message(&msgpack(Kind::Result, &7).seq(call.seq));
        // It is awake now, and this one is not answered.
        peer.expect_message();
        peer.expect_eof();
        let mut peer = accept(&listener);
        peer.expect_message();
        nap();
        peer.expect_eof();
    };
    against(daemon, |uri| {
        let builder = builder(uri).sleep_clock(|| NAP * NAPS.load(Ordering::Relaxed));
        let proxy = builder.connect().unwrap().within(LIMIT);
        assert_eq!(proxy.call::<i64>("next", ()).unwrap(), 7);
        for limit in [LIMIT, LIMIT + NAP] {
            let started = Instant::now();
            let error = proxy.call::<i64>("next", ()).unwrap_err();
            check_late(started, limit, &error);
        }
    });
}
