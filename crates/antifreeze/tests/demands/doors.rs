//! A daemon with several addresses: all of them lead to its objects, and what it says of itself names
//! the one that a client came through.

use std::sync::{Arc, OnceLock, Weak};

use antifreeze::{Daemon, ErrorKind, Location, Proxy, Uri, call, expose};

use crate::common::Driver;
use crate::on_both_drivers;

on_both_drivers!(
    every_address_leads_to_the_objects,
    a_uri_names_the_address_that_the_client_uses,
    an_address_that_cannot_be_had_is_named,
);

/// Knows the daemon that serves it.
#[derive(Clone, Default)]
struct Guide(Arc<OnceLock<Weak<Daemon>>>);

#[expose]
impl Guide {
    fn itself(&self) -> Uri {
        let daemon = self.0.get().and_then(Weak::upgrade);
        daemon.unwrap().uri_for("guide").unwrap()
    }

    fn entrance(&self) -> Option<String> {
        call::entrance().map(|entrance| entrance.to_string())
    }
}

/// Runs `test` beside a daemon at these addresses.
fn with_guide(driver: Driver, address: &str, others: &[String], test: impl FnOnce(&Daemon)) {
    let mut builder = driver.builder();
    for other in others {
        builder = builder.also_at(other);
    }
    let daemon = Arc::new(builder.bind(address).unwrap());
    let guide = Guide::default();
    guide.0.set(Arc::downgrade(&daemon)).unwrap();
    daemon.register("guide", guide).unwrap();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| daemon.serve());
        test(&daemon);
        daemon.handle().shutdown();
        serving.join().unwrap().unwrap();
    });
}

fn guide_at(location: &str) -> Proxy {
    Proxy::connect(format!("PYRO:guide@{location}")).unwrap()
}

fn every_address_leads_to_the_objects(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("./u:{}", directory.path().join("guide").display());
    with_guide(
        driver,
        "127.0.0.1:0",
        std::slice::from_ref(&socket),
        |daemon| {
            let tcp = daemon.location().to_string();
            for location in [&tcp, &socket] {
                let entrance: Option<String> = guide_at(location).call("entrance", ()).unwrap();
                assert_eq!(entrance.as_ref(), Some(location));
            }
            // Outside of a call it is the first that counts.
            let uri = daemon.uri_for("guide").unwrap();
            assert_eq!(uri.location(), Some(daemon.location()));
        },
    );
    assert!(directory.path().read_dir().unwrap().next().is_none());
}

fn a_uri_names_the_address_that_the_client_uses(driver: Driver) {
    let names = |through: &str, named: &str| {
        let uri: Uri = guide_at(through).call("itself", ()).unwrap();
        assert_eq!(uri.to_string(), format!("PYRO:guide@{named}"));
        assert_eq!(
            Proxy::connect(uri)
                .unwrap()
                .call::<Uri>("itself", ())
                .unwrap()
                .to_string(),
            format!("PYRO:guide@{named}")
        );
    };
    with_guide(driver, "0.0.0.0:0", &["127.0.0.3:0".to_owned()], |daemon| {
        let Location::Tcp { host, port } = daemon.location() else {
            panic!("{}", daemon.location());
        };
        assert_ne!(host, "0.0.0.0");
        for address in ["127.0.0.1", "127.0.0.2"] {
            let used = format!("{address}:{port}");
            names(&used, &used);
        }
    });
    // Whoever comes by the name keeps the name.
    with_guide(driver, "localhost:0", &[], |daemon| {
        let Location::Tcp { port, .. } = daemon.location() else {
            panic!("{}", daemon.location());
        };
        names(&format!("127.0.0.1:{port}"), &format!("localhost:{port}"));
    });
}

fn an_address_that_cannot_be_had_is_named(driver: Driver) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let refused = |others: &[&str]| {
        let builder = others
            .iter()
            .fold(driver.builder(), |builder, other| builder.also_at(*other));
        builder
            .bind("127.0.0.1:0")
            .err()
            .map(|error| (error.kind(), error.to_string()))
    };
    let (kind, text) = refused(&[&taken]).unwrap();
    assert_eq!(kind, ErrorKind::Io);
    assert!(text.contains(&taken), "{text}");
    let (kind, text) = refused(&["nowhere"]).unwrap();
    assert_eq!(kind, ErrorKind::Uri);
    assert!(text.ends_with("got \"nowhere\""), "{text}");
}
