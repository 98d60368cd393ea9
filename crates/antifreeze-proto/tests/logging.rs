//! What the log says: every transition once, every refused peer once, and no byte of a payload.

mod support;

use std::fmt::{Debug, Write};
use std::sync::mpsc::{Sender, channel};

use antifreeze_proto::{Config, Flags, Input};
use antifreeze_testkit::{Pair, RawMessage};
use support::{SECOND, accepted, connected, server};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Sends every event as a line.
struct Lines(Sender<String>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("antifreeze_proto")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.send(line.0).unwrap();
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn logged(run: impl FnOnce()) -> String {
    let (sender, lines) = channel();
    tracing::subscriber::with_default(Lines(sender), run);
    lines.iter().collect::<Vec<_>>().join("\n")
}

#[test]
fn every_transition_is_logged_once() {
    let log = logged(|| {
        let mut pair = Pair::ready();
        pair.call(Pair::plain(b"call"));
        let id = pair.requests()[0].id;
        pair.reply(id, b"result");
        pair.client.conn.drain(pair.now());
        pair.drive();
    });
    insta::assert_snapshot!(log);
}

#[test]
fn a_refused_peer_makes_one_warning() {
    let log = logged(|| {
        server(Config::default()).feed(b"GET / HTTP/1.1");
        server(Config {
            quiet: true,
            ..Config::default()
        })
        .feed(b"GET / HTTP/1.1");
        server(Config::default()).advance(5 * SECOND);
        accepted(Config::default()).feed(&RawMessage::result(1, "x").encode());
        connected(Config::default()).feed(&RawMessage::result(1, "x").encode());
    });
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("transition"))
        .collect();
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn no_byte_of_a_payload_is_logged() {
    const SECRET: &str = "sesame";
    let secret = |message: RawMessage| message.annotation(b"HMAC", SECRET.as_bytes()).encode();
    let log = logged(|| {
        for flags in [
            Flags::NONE,
            Flags::COMPRESSED,
            Flags::ONEWAY,
            Flags::EXCEPTION,
        ] {
            let invoke = secret(RawMessage::invoke(1, SECRET).flags(flags));
            for cut in 0..=invoke.len() {
                let mut server = accepted(Config::default());
                server.feed(&invoke[..cut]);
                server.feed(SECRET.as_bytes());
                assert!(!format!("{:?}", server.conn).contains(SECRET));
                server.input(Input::Eof);
            }
        }
        server(Config::default()).feed(SECRET.as_bytes());
        server(Config::default()).feed(&secret(RawMessage::invoke(1, SECRET)));
        connected(Config::default()).feed(&secret(RawMessage::result(1, SECRET)));
    });
    assert!(log.lines().count() > 100);
    assert!(!log.contains(SECRET), "a payload in the log");
}
