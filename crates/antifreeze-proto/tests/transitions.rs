//! Every state against everything that can happen in it, as one table for each end: docs/states.md.
//!
//! A cell names the state afterwards, and: `*` an event other than the closing, `>` bytes
//! written, `!` closed for a protocol error, `?` our caller was told that it cannot be. A dot
//! stands for nothing at all.

mod support;

use std::fmt::Write;
use std::time::Duration;

use antifreeze_proto::{
    Call, ClientConnection, ClientEvent, CloseCause, Config, Flags, Input, Kind, Limits, RequestId,
    ServerConnection, ServerEvent, StateName, UsageError,
};
use antifreeze_testkit::{Bench, Endpoint, Pair, RawMessage};
use support::{
    NONCE, SECOND, START, accept, accepted, client, connected, offering, refuse, reply, server,
};

/// Messages by name; that of `garbage` has the length of a header, and a wrong magic number.
fn message(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "CONNECT" => RawMessage::connect("obj").encode(),
        "CONNECTOK" => RawMessage::new(Kind::ConnectOk, "welcome").encode(),
        "CONNECTFAIL" => RawMessage::new(Kind::ConnectFail, "no").encode(),
        "INVOKE" => RawMessage::invoke(2, "call").encode(),
        "INVOKE oneway" => RawMessage::invoke(2, "call").flags(Flags::ONEWAY).encode(),
        "RESULT" => RawMessage::result(1, "result").encode(),
        "RESULT wrong seq" => RawMessage::result(9, "result").encode(),
        "RESULT wrong ser." => RawMessage {
            serializer: 3,
            ..RawMessage::result(1, "result")
        }
        .encode(),
        "PING" => RawMessage::ping().encode(),
        "garbage" => RawMessage {
            magic: 0,
            ..RawMessage::invoke(2, "")
        }
        .encode(),
        _ => return None,
    })
}

fn config() -> Config {
    let limits = Limits {
        idle: Some(60 * SECOND),
        ..Limits::default()
    };
    Config {
        limits,
        quiet: true,
        ..Config::default()
    }
}

/// What a bench shows of the last stimulus.
fn cell<C: Endpoint>(
    before: StateName,
    bench: &mut Bench<C>,
    result: Result<(), UsageError>,
    is_closing: impl Fn(&C::Event) -> bool,
) -> String {
    bench.drain();
    let state = bench.conn.state();
    let mut cell = state.to_string();
    let mut marks = String::new();
    if bench.take_events().iter().any(|event| !is_closing(event)) {
        marks.push('*');
    }
    if !bench.take_output().is_empty() {
        marks.push('>');
    }
    if before != StateName::Closed && matches!(bench.conn.cause(), Some(CloseCause::Protocol(_))) {
        marks.push('!');
    }
    if result.is_err() {
        marks.push('?');
    }
    if state == before && marks.is_empty() {
        return ".".into();
    }
    if state == before {
        cell.clear();
    }
    cell + &marks
}

/// A table in Markdown, whose source can be read, too.
fn table(states: &[&str], stimuli: &[&str], cell: impl Fn(&str, &str) -> String) -> String {
    let mut rows = vec![vec![String::new()], vec!["---".to_owned()]];
    rows[0].extend(states.iter().map(|state| state.to_string()));
    rows[1].extend(states.iter().map(|_| "---".to_owned()));
    for stimulus in stimuli {
        let cells = states.iter().map(|state| cell(state, stimulus));
        rows.push(std::iter::once(stimulus.to_string()).chain(cells).collect());
    }
    let widths: Vec<_> = (0..=states.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap())
        .collect();
    let mut table = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            write!(table, "| {cell:width$} ").unwrap();
        }
        table.push_str("|\n");
    }
    table
}

/// The committed document must be what the code does.
#[test]
fn the_document_of_states_is_as_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/states.md");
    let document = format!(
        include_str!("states.md.in"),
        server = server_transitions(),
        server_timers = server_timers(),
        client = client_transitions(),
        client_timers = client_timers(),
    );
    if std::env::var_os("RENEW_STATES").is_some() {
        return std::fs::write(path, document).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == document,
        "docs/states.md is stale: renew it with `cargo xtask states`, and read what has changed"
    );
}

/// What the next timer does where nothing else happens, and when.
fn timer<C: Endpoint>(before: StateName, bench: &mut Bench<C>) -> String {
    let Some(deadline) = bench.deadline else {
        return "none".into();
    };
    let after = deadline.saturating_since(bench.now).as_secs();
    bench.advance(SECOND * u32::try_from(after).unwrap());
    let state = bench.conn.state();
    match bench.conn.cause() {
        Some(CloseCause::TimedOut(timer)) => format!("{timer:?} {after} s: {state}"),
        // Why it is about to close is said already.
        _ if before == StateName::Flushing => format!("Write {after} s: {state}"),
        _ => format!("Reply {after} s: {state}"),
    }
}

const SERVER_STATES: [&str; 9] = [
    "handshaking",
    "deciding",
    "idle",
    "receiving",
    "serving",
    "half-closed",
    "draining",
    "flushing",
    "closed",
];

fn server_transitions() -> String {
    let stimuli = [
        "CONNECT",
        "INVOKE",
        "INVOKE oneway",
        "PING",
        "RESULT",
        "garbage",
        "eof",
        "reset",
        "2 seconds",
        "an hour",
        "written",
        "accept",
        "refuse",
        "reply",
        "drain",
        "close",
        "abort",
    ];
    table(&SERVER_STATES, &stimuli, |state, stimulus| {
        let (mut bench, bytes, id) = server_in(state, stimulus);
        let before = bench.conn.state();
        let local = CloseCause::local("enough");
        let mut result = Ok(());
        match stimulus {
            "eof" => bench.input(Input::Eof),
            "reset" => bench.input(Input::Failed(std::io::ErrorKind::ConnectionReset)),
            "2 seconds" => bench.advance(2 * SECOND),
            "an hour" => bench.advance(Duration::from_secs(3600)),
            "written" => bench.open_window(usize::MAX),
            "accept" => result = bench.conn.accept(bench.now, accept()),
            "refuse" => result = bench.conn.refuse(bench.now, refuse()),
            "reply" => {
                // Where no request was made, one that never was.
                let id = id.unwrap_or_else(unknown_id);
                result = bench.conn.reply(bench.now, id, reply("result"));
            }
            "drain" => bench.conn.drain(bench.now),
            "close" => bench.conn.close(bench.now, local),
            "abort" => bench.conn.abort(bench.now, local),
            _ => {
                bench.feed(&bytes.unwrap());
            }
        }
        cell(before, &mut bench, result, |event| {
            matches!(event, ServerEvent::Closed(_))
        })
    })
}

/// Which timer ends the state if nothing happens.
fn server_timers() -> String {
    let circumstances = ["nothing", "part of a message", "peer does not read"];
    table(&SERVER_STATES, &circumstances, |state, circumstance| {
        let (mut bench, ..) = server_in(state, "");
        let before = bench.conn.state();
        match circumstance {
            "part of a message" if bench.conn.wants_read() && state != "receiving" => {
                let message = if before == StateName::Handshaking {
                    "CONNECT"
                } else {
                    "INVOKE"
                };
                bench.feed(&message_bytes(message)[..20]);
            }
            "part of a message" => return ".".into(),
            "peer does not read" if bench.conn.wants_read() && before != StateName::Draining => {
                // An answer that waits to be written, to a ping that comes before anything else.
                bench.window = 0;
                let fed = bench.feed(&message_bytes("PING"));
                if fed == 0 || !bench.conn.wants_write() || bench.conn.cause().is_some() {
                    return ".".into();
                }
            }
            "peer does not read" => return ".".into(),
            _ => {}
        }
        timer(before, &mut bench)
    })
}

fn message_bytes(name: &str) -> Vec<u8> {
    message(name).expect("a message by this name")
}

/// A server in this state, of which a message has come as far as that is part of the state, with what
/// is still to come of it, and the request that is unanswered.
fn server_in(
    state: &str,
    stimulus: &str,
) -> (Bench<ServerConnection>, Option<Vec<u8>>, Option<RequestId>) {
    let mut bench = match state {
        "handshaking" | "deciding" => server(config()),
        _ => accepted(config()),
    };
    let mut bytes = message(stimulus);
    match state {
        "deciding" => bench.feed_message(&RawMessage::connect("obj")),
        "receiving" => {
            // The message that comes is the one of which a part is here.
            let whole = bytes.unwrap_or_else(|| message("INVOKE").unwrap());
            bench.feed(&whole[..39]);
            bytes = message(stimulus).map(|bytes| bytes[39..].to_vec());
        }
        "serving" | "half-closed" | "draining" | "flushing" => {
            bench.feed_message(&RawMessage::invoke(1, "call"));
        }
        _ => {}
    }
    let id = bench
        .take_events()
        .into_iter()
        .find_map(|event| match event {
            ServerEvent::Requested(request) => Some(request.id),
            _ => None,
        });
    let local = CloseCause::local("enough");
    match state {
        "half-closed" => bench.input(Input::Eof),
        "draining" => bench.conn.drain(bench.now),
        "flushing" => {
            bench.window = 0;
            bench
                .conn
                .reply(bench.now, id.unwrap(), reply("result"))
                .unwrap();
            bench.conn.close(bench.now, local);
        }
        "closed" => bench.conn.abort(bench.now, local),
        _ => {}
    }
    bench.drain();
    bench.take_events();
    let before = bench.conn.state();
    assert_eq!(before.as_str(), state);
    (bench, bytes, id)
}

/// The id of a request of another connection, which has had more of them.
fn unknown_id() -> RequestId {
    let mut other = accepted(config());
    other.feed_message(&RawMessage::invoke(1, "").flags(Flags::ONEWAY));
    other.feed_message(&RawMessage::invoke(2, "").flags(Flags::ONEWAY));
    support::requests(&mut other)[1].id
}

const CLIENT_STATES: [&str; 6] = [
    "handshaking",
    "ready",
    "awaiting",
    "draining",
    "flushing",
    "closed",
];

fn client_transitions() -> String {
    let stimuli = [
        "CONNECTOK",
        "CONNECTFAIL",
        "RESULT",
        "RESULT wrong seq",
        "RESULT wrong ser.",
        "INVOKE",
        "PING",
        "garbage",
        "eof",
        "reset",
        "2 seconds",
        "an hour",
        "written",
        "call",
        "oneway",
        "ping",
        "drain",
        "close",
        "abort",
    ];
    table(&CLIENT_STATES, &stimuli, |state, stimulus| {
        let mut bench = client_in(state, Pair::plain(b"call"));
        let (before, now) = (bench.conn.state(), bench.now);
        let local = CloseCause::local("enough");
        let mut result = Ok(());
        let oneway = Call {
            oneway: true,
            ..Pair::plain(b"oneway")
        };
        match stimulus {
            "eof" => bench.input(Input::Eof),
            "reset" => bench.input(Input::Failed(std::io::ErrorKind::ConnectionReset)),
            "2 seconds" => bench.advance(2 * SECOND),
            "an hour" => bench.advance(Duration::from_secs(3600)),
            "written" => bench.open_window(usize::MAX),
            "call" => result = bench.conn.call(now, Pair::plain(b"call")).map(drop),
            "oneway" => result = bench.conn.call(now, oneway).map(drop),
            "ping" => result = bench.conn.ping(now, None).map(drop),
            "drain" => bench.conn.drain(now),
            "close" => bench.conn.close(now, local),
            "abort" => bench.conn.abort(now, local),
            _ => {
                bench.feed(&message(stimulus).unwrap());
            }
        }
        cell(before, &mut bench, result, |event| {
            matches!(event, ClientEvent::Closed(_))
        })
    })
}

/// Which timer ends the state if nothing happens.
fn client_timers() -> String {
    let circumstances = [
        "nothing",
        "part of a message",
        "daemon does not read",
        "call with a deadline",
        "and others beside it",
    ];
    table(&CLIENT_STATES, &circumstances, |state, circumstance| {
        let call = Call {
            deadline: circumstance
                .contains("deadline")
                .then(|| START + 3 * SECOND),
            ..Pair::plain(b"call")
        };
        let mut bench = client_in(state, call);
        let before = bench.conn.state();
        let is_out = matches!(state, "awaiting" | "draining");
        match circumstance {
            "part of a message" if bench.conn.wants_read() => {
                bench.feed(&message_bytes("RESULT")[..20]);
            }
            "daemon does not read" if state == "ready" || state == "awaiting" => {
                bench.window = 0;
                let oneway = Call {
                    oneway: true,
                    ..Pair::plain(b"oneway")
                };
                bench.conn.call(bench.now, oneway).unwrap();
                bench.drain();
            }
            "call with a deadline" if is_out => {}
            "and others beside it" if is_out => {
                bench = offering(Config {
                    calls: 2,
                    ..config()
                });
                bench.feed_message(&RawMessage::new(Kind::ConnectOk, "welcome").hello(NONCE, 2));
                let deadline = Some(START + 3 * SECOND);
                for deadline in [deadline, None] {
                    let call = Call {
                        deadline,
                        ..Pair::plain(b"call")
                    };
                    bench.conn.call(bench.now, call).unwrap();
                }
                if state == "draining" {
                    bench.conn.drain(bench.now);
                }
                bench.drain();
            }
            "nothing" => {}
            _ => return ".".into(),
        }
        timer(before, &mut bench)
    })
}

/// A client in this state; where a call is out, it is this one.
fn client_in(state: &str, call: Call) -> Bench<ClientConnection> {
    let mut bench = match state {
        "handshaking" => client(config()),
        _ => connected(config()),
    };
    let local = CloseCause::local("enough");
    let now = bench.now;
    match state {
        "awaiting" | "draining" | "flushing" => {
            bench.window = if state == "flushing" { 0 } else { usize::MAX };
            bench.conn.call(now, call).unwrap();
        }
        _ => {}
    }
    bench.drain();
    match state {
        "draining" => bench.conn.drain(now),
        "flushing" => bench.conn.close(now, local),
        "closed" => bench.conn.abort(now, local),
        _ => {}
    }
    bench.drain();
    bench.take_events();
    bench.take_output();
    let before = bench.conn.state();
    assert_eq!(before.as_str(), state);
    bench
}
