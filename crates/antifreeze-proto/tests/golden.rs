//! What a stock Pyro5 sends, read by both ends; see `golden/README.md` for where it was recorded.

mod support;

use antifreeze_proto::{
    Annotations, Call, ClientEvent, CloseCause, Config, Flags, Input, ServerEvent,
};
use antifreeze_testkit::{Pair, RawMessage};
use bytes::Bytes;
use support::{accept, client, reply, requests, server};

const TO_SERVER: &[u8] = include_bytes!("golden/session-to-server.bin");
const TO_CLIENT: &[u8] = include_bytes!("golden/session-to-client.bin");
const REFUSED: &[u8] = include_bytes!("golden/refused-to-client.bin");

/// Payloads as text, long runs of one letter cut short.
fn text(payload: &Bytes) -> String {
    let long = "a".repeat(300);
    String::from_utf8_lossy(payload)
        .replace(&long, "a...")
        .replace('\n', "⏎")
}

fn names(annotations: &Annotations) -> String {
    let all = annotations
        .iter()
        .map(|(id, value)| format!("{id}={}", text(value)));
    all.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_server_reads_a_python_client() {
    let mut server = server(Config::default());
    let mut story = Vec::new();
    let mut at = 0;
    while at < TO_SERVER.len() || !server.events.is_empty() {
        at += server.feed_by(&TO_SERVER[at..], 50);
        for event in server.take_events() {
            match event {
                ServerEvent::Connecting(shake) => {
                    let (seq, id) = (shake.seq, shake.correlation.unwrap());
                    let (names, text) = (names(&shake.annotations), text(&shake.payload));
                    story.push(format!("CONNECT {seq} {id} [{names}] {text}"));
                    server.conn.accept(server.now, accept()).unwrap();
                }
                ServerEvent::Requested(mut request) => {
                    let payload = request.payload.inflate().unwrap().clone();
                    let (seq, id) = (request.seq, request.correlation.unwrap());
                    let (names, text) = (names(&request.annotations), text(&payload));
                    let oneway = if request.oneway { " oneway" } else { "" };
                    story.push(format!("INVOKE{oneway} {seq} {id} [{names}] {text}"));
                    if !request.oneway {
                        server
                            .conn
                            .reply(server.now, request.id, reply("result"))
                            .unwrap();
                    }
                }
                ServerEvent::Closed(cause) => panic!("closed: {cause}"),
            }
        }
        server.drain();
    }
    server.input(Input::Eof);
    assert_eq!(server.closed(), Some(CloseCause::PeerClosed));
    let sent = server.take_messages();
    let pong = sent
        .iter()
        .find(|message| message.payload == b"pong")
        .unwrap();
    assert_eq!((pong.seq, pong.serializer), (0, 42));
    insta::assert_snapshot!(story.join("\n"));
}

#[test]
fn a_client_reads_a_python_server() {
    let mut client = client(Config::default());
    let mut story = Vec::new();
    for message in RawMessage::decode_all(TO_CLIENT) {
        match (message.kind, message.seq) {
            (6, _) => drop(client.conn.ping(client.now, None).unwrap()),
            // Its second call was a oneway, which got no answer.
            (5, seq) => {
                while client.conn.seq().0 + 1 < seq {
                    let oneway = Call {
                        oneway: true,
                        ..Pair::plain(b"note")
                    };
                    client.conn.call(client.now, oneway).unwrap();
                }
                client.conn.call(client.now, Pair::plain(b"echo")).unwrap();
            }
            _ => {}
        }
        client.feed_message(&message);
        story.extend(client.take_events().into_iter().map(|event| match event {
            ClientEvent::Connected { payload, .. } => format!("connected {}", text(&payload)),
            ClientEvent::Returned { id, response } => {
                assert_eq!(response.flags, Flags::CORRELATION);
                let correlation = response.correlation.unwrap();
                format!("returned {id} {correlation} {}", text(&response.payload))
            }
            ClientEvent::Ponged { id } => format!("ponged {id}"),
            other => panic!("got {other:?}"),
        }));
    }
    insta::assert_snapshot!(story.join("\n"));
}

#[test]
fn a_client_is_refused_by_a_python_server() {
    let mut client = client(Config::default());
    client.feed(REFUSED);
    let events = client.take_events();
    let [
        ClientEvent::Refused { payload, .. },
        ClientEvent::Closed(CloseCause::Refused),
    ] = &events[..]
    else {
        panic!("got {events:?}");
    };
    assert_eq!(text(payload), "# serpent utf-8 python3.2⏎'unknown object'");
}

#[test]
fn what_we_send_is_what_python_sends() {
    // The first call made again by us. Two compressors need not agree, so payloads are left out.
    let mut theirs = server(Config::default());
    theirs.feed(TO_SERVER);
    theirs.conn.accept(theirs.now, accept()).unwrap();
    theirs.drain();
    let mut first = requests(&mut theirs).remove(0);
    let mut client = support::connected(Config {
        compress: true,
        ..Config::default()
    });
    let call = Call {
        correlation: first.correlation,
        annotations: first.annotations,
        payload: first.payload.inflate().unwrap().clone().into(),
        ..Pair::plain(b"")
    };
    client.conn.call(client.now, call).unwrap();
    client.drain();
    let ours = client.take_messages().remove(0);
    let python = RawMessage::decode_all(TO_SERVER).remove(1);
    let without_payload = |message: RawMessage| RawMessage {
        payload: Vec::new(),
        ..message
    };
    assert_eq!(without_payload(ours), without_payload(python));
}
