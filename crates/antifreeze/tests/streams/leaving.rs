//! What a daemon does when a client is gone: it tells the hook, and closes what is the client's.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use antifreeze::{DaemonBuilder, InstanceMode, Proxy, Running, Uri, call, expose};
use antifreeze_testkit::{Peer, RawMessage};

use crate::common::{Driver, SOON, address};
use crate::on_both_drivers;

/// A resource that tells when it is closed.
struct Seat {
    name: String,
    told: Mutex<mpsc::Sender<String>>,
}

impl call::Resource for Seat {
    fn close(&self) {
        let told = self.told.lock().unwrap();
        // The client is still known.
        let client = call::client_id().unwrap();
        let _ = told.send(format!("{} of {client} closed", self.name));
        assert!(self.name != "panics");
    }
}

struct Room {
    seats: Vec<Arc<Seat>>,
    told: mpsc::Sender<String>,
}

#[expose]
impl Room {
    fn take(&mut self, name: String) -> Result<u64, antifreeze::Error> {
        let told = Mutex::new(self.told.clone());
        let seat = Arc::new(Seat { name, told });
        call::track_resource(&seat)?;
        self.seats.push(seat);
        Ok(call::client_id().unwrap())
    }

    fn keep(&mut self, name: String) -> Result<(), antifreeze::Error> {
        let mut seats = self.seats.iter().filter(|seat| seat.name == name);
        seats.try_for_each(call::untrack_resource)
    }

    /// Drops the seat, which nobody can close then.
    fn leave(&mut self, name: String) {
        self.seats.retain(|seat| seat.name != name);
    }
}

/// An instance that belongs to a client.
struct Visit(mpsc::Sender<String>);

#[expose]
impl Visit {
    fn begin(&self) {}
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _ = self.0.send("instance dropped".to_owned());
    }
}

struct Served {
    running: Running,
    uri: Uri,
    told: mpsc::Receiver<String>,
}

impl Served {
    fn new(driver: Driver) -> Self {
        Self::by(driver, |builder| builder)
    }

    fn by(driver: Driver, set: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Self {
        let (tell, told) = mpsc::channel();
        let hook = Mutex::new(tell.clone());
        let builder = driver.builder().on_disconnect(move |client| {
            assert_eq!(call::client_id(), Some(client.id));
            assert_eq!(call::client_address(), client.address);
            let text = format!("{} of {} has left", client.id, client.object);
            let _ = hook.lock().unwrap().send(text);
        });
        let daemon = set(builder).bind("127.0.0.1:0").unwrap();
        let visits = Mutex::new(tell.clone());
        let visit =
            move || Ok::<_, std::convert::Infallible>(Visit(visits.lock().unwrap().clone()));
        daemon
            .register_class("visit", InstanceMode::Session, visit)
            .unwrap();
        let seats = Vec::new();
        let uri = daemon.register("room", Room { seats, told: tell }).unwrap();
        Self {
            running: daemon.start().unwrap(),
            uri,
            told,
        }
    }

    fn proxy(&self) -> Proxy {
        Proxy::connect(&self.uri).unwrap().within(SOON)
    }

    #[track_caller]
    fn until(&self, what: &str) {
        assert_eq!(self.told.recv_timeout(SOON).as_deref(), Ok(what));
    }
}

fn the_hook_is_told_once_of_each_client_that_was_let_in(driver: Driver) {
    let served = Served::by(driver, |builder| {
        builder.on_handshake(|info| match info.value.as_str() {
            Some("hello") => Ok("welcome"),
            _ => Err("go away"),
        })
    });
    let proxy = served.proxy();
    let client = proxy.call::<u64>("take", ("a",)).unwrap();
    proxy.release();
    served.until(&format!("{client} of room has left"));
    served.until(&format!("a of {client} closed"));
    // It is another client now.
    let next = proxy.call::<u64>("take", ("b",)).unwrap();
    assert_ne!(client, next);

    // Who was not let in cannot leave.
    let mut peer = Peer::connect(address(&served.uri)).patience(SOON);
    peer.shake_hands("none such");
    peer.expect_eof();
    let refused = Proxy::builder(&served.uri)
        .unwrap()
        .handshake("no")
        .connect();
    assert!(refused.is_err());
    drop(Peer::connect(address(&served.uri)));

    let mut peer = Peer::connect(address(&served.uri)).patience(SOON);
    peer.shake_hands("room");
    peer.reset();
    let told = served.told.recv_timeout(SOON).unwrap();
    assert!(told.ends_with("of room has left"), "{told}");

    // Who breaks the protocol leaves, too.
    let mut peer = Peer::connect(address(&served.uri)).patience(SOON);
    peer.shake_hands("visit");
    peer.send_message(&RawMessage::invoke_method(1, "visit", "begin"));
    peer.expect_message();
    peer.send(b"nonsense that is no message at all, and long enough for one");
    let mut told = [(); 2].map(|()| served.told.recv_timeout(SOON).unwrap());
    told.sort();
    assert!(
        told[0].ends_with("of visit has left") && told[1] == "instance dropped",
        "{told:?}"
    );

    // The last one leaves with the daemon.
    let Served { running, told, .. } = served;
    running.stop().unwrap();
    let mut rest: Vec<_> = told.try_iter().collect();
    rest.sort();
    assert_eq!(
        rest,
        [
            format!("{next} of room has left"),
            format!("b of {next} closed")
        ]
    );
}

fn what_is_tracked_is_closed_with_its_connection(driver: Driver) {
    let served = Served::new(driver);
    let (one, other) = (served.proxy(), served.proxy());
    let mut client = 0;
    for name in ["kept", "panics", "left", "closed"] {
        client = one.call::<u64>("take", (name,)).unwrap();
    }
    let staying = other.call::<u64>("take", ("other",)).unwrap();
    one.call::<()>("keep", ("kept",)).unwrap();
    // Nobody else can have it kept.
    other.call::<()>("keep", ("closed",)).unwrap();
    one.call::<()>("leave", ("left",)).unwrap();
    one.release();
    served.until(&format!("{client} of room has left"));
    let mut told = [(); 2].map(|()| served.told.recv_timeout(SOON).unwrap());
    told.sort();
    assert_eq!(
        told,
        ["closed", "panics"].map(|name| format!("{name} of {client} closed"))
    );
    other.release();
    served.until(&format!("{staying} of room has left"));
    served.until(&format!("other of {staying} closed"));
    let more = served.told.recv_timeout(Duration::ZERO);
    assert!(more.is_err(), "{more:?}");
}

fn tracking_needs_a_client(_: Driver) {
    let (told, _) = mpsc::channel();
    let seat = Arc::new(Seat {
        name: "nobody's".to_owned(),
        told: Mutex::new(told),
    });
    for error in [
        call::track_resource(&seat).unwrap_err(),
        call::untrack_resource(&seat).unwrap_err(),
    ] {
        assert_eq!(error.kind(), antifreeze::ErrorKind::Usage);
    }
    assert_eq!(call::client_id(), None);
}

on_both_drivers!(
    the_hook_is_told_once_of_each_client_that_was_let_in,
    what_is_tracked_is_closed_with_its_connection,
    tracking_needs_a_client,
);
