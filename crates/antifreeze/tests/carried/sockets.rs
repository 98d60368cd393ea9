//! Daemons and proxies on connections that were there before.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use antifreeze::{
    Config, ErrorKind, InstanceMode, Location, Proxy, Running, Sent, Value, expose, tokio as tasks,
};
use antifreeze_testkit::{Peer, RawMessage};

use crate::by_each;
use crate::common::{Driver, SOON, config};

struct Counter(i64);

#[expose]
impl Counter {
    fn add(&mut self, n: i64) -> i64 {
        self.0 += n;
        self.0
    }

    #[oneway]
    fn add_later(&mut self, n: i64) {
        self.0 += n;
    }

    #[callback]
    fn refuse(&self) -> Result<(), antifreeze::Exception> {
        Err(antifreeze::Exception::new("builtins.ValueError", "no"))
    }

    #[attr]
    fn count(&self) -> i64 {
        self.0
    }
}

fn serve(driver: Driver, socket: impl Into<OwnedFd>, config: Config) -> Running {
    let daemon = driver
        .builder()
        .config(config)
        .connected_socket(socket)
        .unwrap();
    daemon.register("counter", Counter(0)).unwrap();
    let create = || Ok::<_, antifreeze::Error>(Counter(0));
    daemon
        .register_class("session", InstanceMode::Session, create)
        .unwrap();
    daemon.start().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn calls_go_over_a_pair_of_sockets(driver: Driver) {
    by_each(|serializer| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let running = serve(driver, ours, Config::default());
        let builder = Proxy::connected_socket("counter", theirs).unwrap();
        let counter = builder
            .serializer(serializer)
            .timeout(SOON)
            .connect()
            .unwrap();
        assert_eq!(counter.call::<i64>("add", (1,)).unwrap(), 1);
        counter.oneway("add_later", (1,)).unwrap();
        assert_eq!(counter.attr::<i64>("count").unwrap(), 2);
        let metadata = counter.metadata().unwrap();
        assert!(metadata.methods.contains("add") && metadata.oneway.contains("add_later"));
        assert_eq!(counter.handshake_response().unwrap(), Value::None);
        counter.ping().unwrap();
        let mut batch = counter.batch();
        batch.call("add", (1,)).unwrap().call("add", (1,)).unwrap();
        assert_eq!(batch.send_as::<i64>().unwrap(), [3, 4]);
        // There is no other connection, so it stays.
        counter.release();
        assert_eq!(counter.call::<i64>("add", (1,)).unwrap(), 5);
        drop(counter);
        running.stop().unwrap();
    });
}

fn tasks_call_over_a_stream(driver: Driver) {
    let (ours, theirs) = tcp_pair();
    let running = serve(driver, ours, Config::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let builder = tasks::Proxy::connected_socket("session", theirs).unwrap();
        let counter = builder.timeout(SOON).connect().await.unwrap();
        assert_eq!(counter.call::<i64>("add", (1,)).await.unwrap(), 1);
        counter.release();
        let both = tokio::join!(counter.call::<i64>("add", (1,)), counter.ping());
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (2, ()));
    });
    drop(runtime);
    running.stop().unwrap();
}

/// `serve` returns by itself: nobody asks it to.
fn a_daemon_ends_with_its_only_connection(driver: Driver) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let daemon = driver.builder().connected_socket(ours).unwrap();
    daemon.register("counter", Counter(0)).unwrap();
    let serving = std::thread::spawn(move || daemon.serve());
    let counter = Proxy::connected_socket("counter", theirs)
        .unwrap()
        .connect()
        .unwrap();
    assert_eq!(counter.call::<i64>("add", (1,)).unwrap(), 1);
    drop(counter);
    serving.join().unwrap().unwrap();
}

fn a_proxy_ends_with_its_only_connection(driver: Driver) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let running = serve(driver, ours, Config::default());
    let counter = Proxy::connected_socket("counter", theirs)
        .unwrap()
        .connect()
        .unwrap();
    running.stop().unwrap();
    for _ in 0..2 {
        // No time is spent on looking for the daemon.
        let error = counter.call::<i64>("add", (1,)).unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, Sent::No),
            "{error}"
        );
    }
}

/// Who gets it would look for the object elsewhere.
fn a_proxy_with_its_only_connection_does_not_travel(driver: Driver) {
    let (ours, theirs) = tcp_pair();
    let running = serve(driver, ours, Config::default());
    let counter = Proxy::connected_socket("counter", theirs).unwrap();
    let counter = counter.timeout(SOON).connect().unwrap();
    let check = |error: antifreeze::Error| {
        assert_eq!(error.kind(), ErrorKind::Serialize);
        assert!(error.to_string().contains("connected socket"), "{error}");
    };
    check(counter.call::<i64>("add", (&counter,)).unwrap_err());
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let lone = tasks::Proxy::connected_socket("counter", theirs).unwrap();
    check(
        counter
            .call::<i64>("add", (lone.lazy().unwrap(),))
            .unwrap_err(),
    );
    assert_eq!(counter.call::<i64>("add", (1,)).unwrap(), 1);
    running.stop().unwrap();
}

fn a_callback_that_fails_leaves_the_only_connection(driver: Driver) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let running = serve(driver, ours, Config::default());
    let builder = Proxy::connected_socket("counter", theirs).unwrap();
    let counter = builder.timeout(SOON).connect().unwrap();
    let error = counter.call::<()>("refuse", ()).unwrap_err();
    assert!(error.is_remote("builtins.ValueError"), "{error}");
    assert_eq!(counter.call::<i64>("add", (1,)).unwrap(), 1);
    running.stop().unwrap();
}

fn an_unknown_object_is_refused(driver: Driver) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let _running = serve(driver, ours, Config::default());
    let error = Proxy::connected_socket("nobody", theirs)
        .unwrap()
        .connect()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("unknown object"), "{error}");
}

fn what_comes_first_is_a_call(driver: Driver) {
    let (ours, theirs) = tcp_pair();
    let _running = serve(driver, ours, Config::default());
    let mut peer = Peer::from(theirs);
    let call = "# serpent utf-8 python3.2\n('counter','add',(1,),{})";
    peer.send_message(&RawMessage::invoke(1, call));
    assert!(peer.expect_message().payload.ends_with(b"1"));
    // A handshake has no place here.
    peer.send_message(&RawMessage::connect("counter"));
    peer.expect_eof();
}

fn an_idle_connection_ends_when_it_is_told_to(driver: Driver) {
    let idle = config(|config| config.idle_timeout = Some(std::time::Duration::from_millis(30)));
    let (ours, theirs) = tcp_pair();
    let running = serve(driver, ours, idle);
    let mut peer = Peer::from(theirs);
    peer.expect_eof();
    running.stop().unwrap();
}

fn uris_name_the_socket(driver: Driver) {
    let (ours, theirs) = tcp_pair();
    let port = ours.local_addr().unwrap().port();
    let daemon = driver.builder().connected_socket(ours).unwrap();
    let uri = daemon.register("counter", Counter(0)).unwrap();
    assert_eq!(uri.to_string(), format!("PYRO:counter@127.0.0.1:{port}"));
    let proxy = Proxy::connected_socket("counter", theirs)
        .unwrap()
        .lazy()
        .unwrap();
    assert_eq!(proxy.uri(), &uri);

    let (ours, _theirs) = UnixStream::pair().unwrap();
    let daemon = driver.builder().connected_socket(ours).unwrap();
    assert_eq!(daemon.location(), &Location::unix("<<not-bound>>"));
}

#[test]
fn only_a_connected_stream_will_do() {
    let check = |socket: OwnedFd| {
        let again = socket.try_clone().unwrap();
        let error = antifreeze::Daemon::builder().connected_socket(socket);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Usage);
        let error = Proxy::connected_socket("counter", again).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    };
    check(TcpListener::bind("127.0.0.1:0").unwrap().into());
    check(UnixDatagram::pair().unwrap().0.into());
    check(std::fs::File::open("/dev/null").unwrap().into());

    let builder = antifreeze::Daemon::builder().also_at("localhost:0");
    let error = builder.connected_socket(UnixStream::pair().unwrap().0);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Usage);
}

crate::on_both_drivers!(
    calls_go_over_a_pair_of_sockets,
    tasks_call_over_a_stream,
    a_daemon_ends_with_its_only_connection,
    a_proxy_ends_with_its_only_connection,
    a_proxy_with_its_only_connection_does_not_travel,
    a_callback_that_fails_leaves_the_only_connection,
    an_unknown_object_is_refused,
    what_comes_first_is_a_call,
    an_idle_connection_ends_when_it_is_told_to,
    uris_name_the_socket,
);
