//! Every state against everything that can happen in it, as one table for each end.
//!
//! A cell names the state afterwards, and: `*` an event other than the closing, `>` bytes
//! written, `!` closed for a protocol error, `?` our caller was told that it cannot be. A dot
//! stands for nothing at all.

mod support;

use std::fmt::Write;
use std::time::Duration;

use antifreeze_proto::{
    ClientEvent, CloseCause, Config, Flags, Input, Kind, Limits, ServerEvent, StateName, UsageError,
};
use antifreeze_testkit::{Bench, Endpoint, Pair, RawMessage};
use support::{SECOND, accept, accepted, client, connected, refuse, reply, server};

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

fn table(states: &[&str], stimuli: &[&str], cell: impl Fn(&str, &str) -> String) -> String {
    let mut table = format!("{:18}", "");
    for state in states {
        write!(table, "{state:13}").unwrap();
    }
    for stimulus in stimuli {
        write!(table, "\n{stimulus:18}").unwrap();
        for state in states {
            write!(table, "{:13}", cell(state, stimulus)).unwrap();
        }
    }
    table
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn server_transitions() {
    let states = [
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
    let table = table(&states, &stimuli, |state, stimulus| {
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
                bench.conn.close(bench.now, local.clone());
            }
            "closed" => bench.conn.abort(bench.now, local.clone()),
            _ => {}
        }
        bench.drain();
        bench.take_events();
        let before = bench.conn.state();
        assert_eq!(before.as_str(), state);

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
    });
    insta::assert_snapshot!(table);
}

/// The id of a request of another connection, which has had more of them.
fn unknown_id() -> antifreeze_proto::RequestId {
    let mut other = accepted(config());
    other.feed_message(&RawMessage::invoke(1, "").flags(Flags::ONEWAY));
    other.feed_message(&RawMessage::invoke(2, "").flags(Flags::ONEWAY));
    support::requests(&mut other)[1].id
}

#[test]
fn client_transitions() {
    let states = [
        "handshaking",
        "ready",
        "awaiting",
        "draining",
        "flushing",
        "closed",
    ];
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
    let table = table(&states, &stimuli, |state, stimulus| {
        let mut bench = match state {
            "handshaking" => client(config()),
            _ => connected(config()),
        };
        let local = CloseCause::local("enough");
        let now = bench.now;
        match state {
            "awaiting" | "draining" | "flushing" => {
                bench.window = if state == "flushing" { 0 } else { usize::MAX };
                bench.conn.call(now, Pair::plain(b"call")).unwrap();
            }
            _ => {}
        }
        bench.drain();
        match state {
            "draining" => bench.conn.drain(now),
            "flushing" => bench.conn.close(now, local.clone()),
            "closed" => bench.conn.abort(now, local.clone()),
            _ => {}
        }
        bench.drain();
        bench.take_events();
        bench.take_output();
        let before = bench.conn.state();
        assert_eq!(before.as_str(), state);

        let mut result = Ok(());
        let oneway = antifreeze_proto::Call {
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
    });
    insta::assert_snapshot!(table);
}
