//! Any sequence of inputs and commands: no panic, one last word, and nobody is waited for without
//! a timer.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use antifreeze_proto::{
    Call, ClientConnection, ClientEvent, CloseCause, Config, Flags, Input, Kind, Limits,
    ServerConnection, ServerEvent, StateName,
};
use antifreeze_testkit::{Bench, Endpoint, Pair, RawMessage};
use proptest::prelude::*;
use support::{accept, offering, refuse, reply, server};

#[derive(Clone, Debug)]
enum Op {
    Send {
        message: u8,
        cut: usize,
        piece: usize,
    },
    Noise(Vec<u8>),
    Window(usize),
    Pass(u64),
    Sleep(u64),
    Eof,
    Fail,
    Accept,
    Refuse,
    Answer {
        index: usize,
        length: usize,
    },
    Call {
        oneway: bool,
    },
    Ping,
    Drain,
    Close,
    Abort,
    Release,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (any::<u8>(), 0..400_usize, 1..200_usize).prop_map(|(message, cut, piece)| {
            Op::Send { message, cut, piece }
        }),
        1 => any::<Vec<u8>>().prop_map(Op::Noise),
        5 => (0..300_usize).prop_map(Op::Window),
        5 => (0..6000_u64).prop_map(Op::Pass),
        1 => (0..6000_u64).prop_map(Op::Sleep),
        1 => Just(Op::Eof),
        1 => Just(Op::Fail),
        5 => Just(Op::Accept),
        1 => Just(Op::Refuse),
        10 => (0..3_usize, 0..300_usize).prop_map(|(index, length)| Op::Answer { index, length }),
        10 => any::<bool>().prop_map(|oneway| Op::Call { oneway }),
        2 => Just(Op::Ping),
        1 => Just(Op::Drain),
        1 => Just(Op::Close),
        1 => Just(Op::Abort),
        3 => Just(Op::Release),
    ]
}

fn config(calls: usize) -> Config {
    let limits = Limits {
        write_queue_bytes: 2000,
        ..Limits::default()
    };
    Config {
        limits,
        calls,
        quiet: true,
        memory: antifreeze_proto::Memory::default(),
        compress: calls == 2,
        node: 7,
    }
}

fn message(number: u8) -> RawMessage {
    let seq = u16::from(number / 16 % 4);
    match number % 10 {
        0 => RawMessage::connect("obj"),
        8 => RawMessage::connect("obj").hello([7; 16], 3),
        9 => RawMessage::new(Kind::ConnectOk, "welcome").hello([7; 16], 3),
        1 => RawMessage::invoke(seq, [number; 200]),
        2 => RawMessage::invoke(seq, "call").annotation(b"ABCD", &[number; 20]),
        3 => RawMessage::invoke(seq, "oneway").flags(Flags::ONEWAY),
        4 => RawMessage::ping(),
        5 => RawMessage::result(seq, "result"),
        6 => RawMessage::new(Kind::ConnectOk, "welcome"),
        _ => RawMessage::new(Kind::ConnectFail, "no"),
    }
}

/// What holds of every connection at any time when its driver waits.
fn check<C: Endpoint>(bench: &mut Bench<C>) {
    let state = bench.conn.state();
    let waits_for_the_peer = matches!(
        state,
        StateName::Handshaking | StateName::Receiving | StateName::Draining | StateName::Flushing
    );
    if waits_for_the_peer || bench.conn.wants_write() {
        assert!(bench.deadline.is_some(), "a timer runs while {state}");
    }
    assert_eq!(
        bench.conn.read_buffer().is_empty(),
        !bench.conn.wants_read()
    );
    let closing = matches!(state, StateName::Flushing | StateName::Closed);
    assert_eq!(bench.conn.cause().is_some(), closing);
    if state == StateName::Closed {
        assert!(!bench.conn.wants_write() && !bench.conn.wants_read());
        assert_eq!(bench.deadline, None);
    }
}

/// The inputs that both ends have; says whether it was one.
fn input<C: Endpoint>(bench: &mut Bench<C>, op: &Op) -> bool {
    match op {
        Op::Send {
            message: number,
            cut,
            piece,
        } => {
            let mut bytes = message(*number).encode();
            // Mostly whole messages, some cut.
            if *cut < bytes.len() / 4 {
                bytes.truncate(*cut);
            }
            bench.feed_by(&bytes, *piece);
        }
        Op::Noise(bytes) => {
            bench.feed(bytes);
        }
        Op::Window(window) => bench.open_window(*window),
        Op::Pass(millis) => bench.advance(Duration::from_millis(*millis)),
        Op::Sleep(millis) => {
            let slept = Duration::from_millis(*millis);
            bench.now = bench.now + slept;
            bench.input(Input::Resumed(slept));
        }
        Op::Eof => bench.input(Input::Eof),
        Op::Fail => bench.input(Input::Failed(ErrorKind::ConnectionReset)),
        _ => return false,
    }
    true
}

fn run_server(calls: usize, ops: &[Op]) {
    let mut bench: Bench<ServerConnection> = server(config(calls));
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for op in ops {
        let now = bench.now;
        if !input(&mut bench, op) {
            // What cannot be now is told so; here it only must do no harm.
            let _ = match op {
                Op::Accept => bench.conn.accept(now, accept()),
                Op::Refuse => bench.conn.refuse(now, refuse()),
                Op::Answer { index, length } if !open.is_empty() => {
                    let id = open.remove(index % open.len());
                    bench.conn.reply(now, id, reply(vec![0; *length]))
                }
                Op::Drain => {
                    bench.conn.drain(now);
                    Ok(())
                }
                Op::Close => {
                    bench.conn.close(now, CloseCause::local("enough"));
                    Ok(())
                }
                Op::Abort => {
                    bench.conn.abort(now, CloseCause::local("enough"));
                    Ok(())
                }
                Op::Release => {
                    bench.conn.release_buffers();
                    Ok(())
                }
                _ => Ok(()),
            };
            bench.drain();
        }
        for event in bench.take_events() {
            assert!(
                closed.is_empty(),
                "nothing comes after the closing, got {event:?}"
            );
            match event {
                ServerEvent::Requested(request) if !request.oneway => open.push(request.id),
                ServerEvent::Closed(cause) => closed.push(cause),
                _ => {}
            }
        }
        check(&mut bench);
    }
    bench.window = usize::MAX;
    bench.input(Input::Wrote(0));
    bench.open_window(usize::MAX);
    bench.conn.close(bench.now, CloseCause::Drained);
    bench.drain();
    assert!(
        bench.closed().is_some(),
        "what was to be written is written"
    );
}

fn run_client(calls: usize, ops: &[Op]) {
    let mut bench: Bench<ClientConnection> = offering(config(calls));
    let mut closed = 0;
    let mut out = Vec::new();
    for op in ops {
        let now = bench.now;
        if !input(&mut bench, op) {
            match op {
                Op::Call { oneway } => {
                    let deadline = (!oneway).then(|| now + Duration::from_secs(3));
                    let call = Call {
                        oneway: *oneway,
                        deadline,
                        ..Pair::plain(b"call")
                    };
                    if let (Ok(id), false) = (bench.conn.call(now, call), oneway) {
                        out.push(id);
                    }
                }
                Op::Ping => out.extend(bench.conn.ping(now, None).ok()),
                Op::Answer { index, .. } if !out.is_empty() => {
                    let id = out.remove(index % out.len());
                    bench.conn.abandon(now, id);
                }
                Op::Drain => bench.conn.drain(now),
                Op::Close => bench.conn.close(now, CloseCause::local("enough")),
                Op::Abort => bench.conn.abort(now, CloseCause::local("enough")),
                Op::Release => bench.conn.release_buffers(),
                _ => {}
            }
            bench.drain();
        }
        for event in bench.take_events() {
            assert_eq!(closed, 0, "nothing comes after the closing, got {event:?}");
            match event {
                ClientEvent::Returned { id, .. }
                | ClientEvent::Expired { id }
                | ClientEvent::Ponged { id } => {
                    let at = out.iter().position(|known| *known == id);
                    out.remove(at.expect("an answer to a call that is out, and only one"));
                }
                ClientEvent::Closed(_) => closed += 1,
                _ => {}
            }
        }
        check(&mut bench);
    }
}

proptest! {
    #[test]
    fn a_server_bears_anything(
        calls in 1_usize..4,
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        // Half of them past the handshake, where most of life is.
        run_server(calls, &ops);
        let begin = [Op::Send { message: 0, cut: 1000, piece: 1000 }, Op::Accept];
        run_server(calls, &[&begin[..], &ops].concat());
        let begin = [Op::Send { message: 8, cut: 1000, piece: 1000 }, Op::Accept];
        run_server(calls, &[&begin[..], &ops].concat());
    }

    #[test]
    fn a_client_bears_anything(
        calls in 1_usize..4,
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        run_client(calls, &ops);
        let begin = [Op::Send { message: 6, cut: 1000, piece: 1000 }];
        run_client(calls, &[&begin[..], &ops].concat());
        let begin = [Op::Send { message: 9, cut: 1000, piece: 1000 }];
        run_client(calls, &[&begin[..], &ops].concat());
    }
}
