//! The annotations that a daemon adds to all its answers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use antifreeze::{AnnotationId, ErrorKind, Exception, Proxy, Uri, call, expose, tokio as tasks};
use antifreeze_testkit::{Peer, RawMessage};

use crate::common::{Driver, SOON, address, config};

const LOAD: AnnotationId = AnnotationId::known(b"LOAD");

struct Worker;

#[expose]
impl Worker {
    fn work(&self) {}

    fn respond(&self, id: String) -> Result<(), antifreeze::Error> {
        call::set_response_annotation(&id, "the method's")
    }

    fn fail(&self) -> Result<(), Exception> {
        Err(Exception::new("builtins.ValueError", "no"))
    }
}

fn serve<const N: usize>(
    driver: Driver,
    annotations: impl Fn() -> [(AnnotationId, String); N] + Send + Sync + 'static,
) -> (antifreeze::Running, Uri) {
    let builder = driver.builder().annotations(annotations);
    let daemon = builder.bind("localhost:0").unwrap();
    let uri = daemon.register("worker", Worker).unwrap();
    (daemon.start().unwrap(), uri)
}

fn got(id: &str) -> Option<String> {
    let value = call::response_annotation(id)?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn every_answer_carries_them(driver: Driver) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let (_running, uri) = serve(driver, move || {
        let nth = counter.fetch_add(1, Ordering::Relaxed);
        [(LOAD, format!("answer {nth}"))]
    });
    let worker = Proxy::new(&uri).unwrap();
    worker.bind().unwrap();
    assert_eq!(got("LOAD").as_deref(), Some("answer 0"));
    worker.call::<()>("work", ()).unwrap();
    assert_eq!(got("LOAD").as_deref(), Some("answer 1"));
    // Also with exceptions, where those of the method are not sent.
    worker.call::<()>("fail", ()).unwrap_err();
    assert_eq!(got("LOAD").as_deref(), Some("answer 2"));
    worker.call::<()>("nobody", ()).unwrap_err();
    assert_eq!(got("LOAD").as_deref(), Some("answer 3"));
    worker.batch().call("work", ()).unwrap().send().unwrap();
    assert_eq!(got("LOAD").as_deref(), Some("answer 4"));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let worker = tasks::Proxy::connect(&uri).await.unwrap();
        worker.call::<()>("work", ()).await.unwrap();
        assert_eq!(got("LOAD").as_deref(), Some("answer 6"));
    });

    // Whoever is not let in has them, too.
    let nobody = Uri::new("nobody", uri.location().unwrap().clone()).unwrap();
    let error = Proxy::connect(nobody).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let mut peer = Peer::connect(address(&uri));
    peer.send_message(&RawMessage::connect("nobody"));
    let refused = peer.expect_message();
    let told = String::from_utf8_lossy(&refused.annotations).into_owned();
    assert!(
        told.contains("LOAD") && told.ends_with("answer 8"),
        "{told:?}"
    );
}

fn they_replace_those_of_the_method(driver: Driver) {
    let (_running, uri) = serve(driver, || [(LOAD, "the daemon's".to_owned())]);
    let worker = Proxy::connect(&uri).unwrap();
    worker.call::<()>("respond", ("LOAD",)).unwrap();
    assert_eq!(got("LOAD").as_deref(), Some("the daemon's"));
    worker.call::<()>("respond", ("MINE",)).unwrap();
    let both = (got("LOAD"), got("MINE"));
    assert_eq!(
        both,
        (Some("the daemon's".into()), Some("the method's".into()))
    );
}

fn what_is_not_for_programs_to_say_is_left_out(driver: Driver) {
    let (_running, uri) = serve(driver, || {
        [b"STRM", b"BLBI", b"AFNH", b"LOAD"].map(|id| (AnnotationId::known(id), "x".to_owned()))
    });
    let worker = Proxy::connect(&uri).unwrap();
    worker.call::<()>("work", ()).unwrap();
    let ids: Vec<_> = call::response_annotations()
        .iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, [LOAD]);
}

/// More than any answer may carry, until told otherwise.
fn what_is_too_much_costs_only_the_answer(driver: Driver) {
    let value = Arc::new(Mutex::new(String::new()));
    let add = Arc::clone(&value);
    let builder = driver.builder().config(config(|config| {
        config.annotations_bytes = 1 << 10;
    }));
    let builder = builder.annotations(move || [(LOAD, add.lock().unwrap().clone())]);
    let daemon = builder.bind("localhost:0").unwrap();
    let uri = daemon.register("worker", Worker).unwrap();
    let _running = daemon.start().unwrap();
    let worker = Proxy::builder(&uri).unwrap().timeout(SOON);
    let worker = worker.connect().unwrap();
    *value.lock().unwrap() = "x".repeat(1 << 10);
    for method in ["work", "fail", "nobody"] {
        let error = worker.call::<()>(method, ()).unwrap_err();
        assert!(error.is_remote("Pyro5.errors.PyroError"), "{error}");
        assert!(error.to_string().contains("1024 bytes"), "{error}");
    }
    *value.lock().unwrap() = "little".to_owned();
    worker.call::<()>("work", ()).unwrap();
    assert_eq!(got("LOAD").as_deref(), Some("little"));
}

fn who_cannot_be_answered_is_let_go(driver: Driver) {
    let config = config(|config| config.message_bytes = 200);
    let daemon = driver.builder().config(config).bind("localhost:0").unwrap();
    let uri = daemon.register("worker", Worker).unwrap();
    let _running = daemon.start().unwrap();
    let mut peer = Peer::connect(address(&uri));
    peer.shake_hands("worker");
    // The traceback alone is too long.
    peer.send_message(&RawMessage::invoke(
        1,
        "# serpent utf-8 python3.2\n('worker','fail',(),{})",
    ));
    peer.expect_eof();
}

fn a_panic_costs_nothing_but_the_annotations(driver: Driver) {
    let (_running, uri) = serve::<0>(driver, || panic!("a mistake in the test's own code"));
    let worker = Proxy::connect(&uri).unwrap();
    worker.call::<()>("work", ()).unwrap();
    assert!(call::response_annotations().is_empty());
}

crate::on_both_drivers!(
    every_answer_carries_them,
    they_replace_those_of_the_method,
    what_is_not_for_programs_to_say_is_left_out,
    what_is_too_much_costs_only_the_answer,
    who_cannot_be_answered_is_let_go,
    a_panic_costs_nothing_but_the_annotations,
);
