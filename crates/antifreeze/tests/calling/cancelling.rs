//! What stays when a call of a task is not waited for any more.

use std::pin::{Pin, pin};
use std::time::Duration;

use antifreeze::tokio::{Items, Proxy};
use antifreeze::{Daemon, Exception, expose};
use antifreeze_proto::{Flags, Kind};
use antifreeze_testkit::{Peer, RawMessage};
use tokio::runtime::Builder;

use super::peer::{accept, answer, msgpack};
use super::played::{
    Played, check, check_in, check_usable, during, expect_begin, expect_rest, result, with,
};

/// Nothing comes within this time that would come at all.
const SILENCE: Duration = Duration::from_millis(50);

/// More than sockets hold.
const LARGE: usize = 32 << 20;

#[test]
fn a_call_that_waits_for_the_handshake_takes_its_connection_along() {
    check(async |daemon, proxy| {
        let mut peer = {
            let mut call = pin!(proxy.call::<i64>("never", ()));
            let hello = daemon.play(|listener| {
                let mut peer = Peer::accept(listener);
                peer.expect_message();
                peer
            });
            during(call.as_mut(), hello).await
        };
        peer = with(peer, |peer| peer.expect_eof()).await.0;
        drop(peer);
        let (bound, peer) = tokio::join!(proxy.bind(), daemon.play(accept));
        bound.unwrap();
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_call_that_waits_for_its_answer_makes_the_next_one_wait_for_it_too() {
    check(async |daemon, proxy| {
        let (peer, dropped) = {
            let mut call = pin!(proxy.call::<i64>("dropped", ()));
            let called = daemon.play(|listener| {
                let mut peer = accept(listener);
                let call = peer.expect_message();
                (peer, call)
            });
            during(call.as_mut(), called).await
        };
        let mut next = pin!(proxy.call::<i64>("next", ()));
        let late = with(peer, move |peer| {
            // A Pyro5 daemon knows one call at a time.
            peer.expect_silence(SILENCE);
            peer.send_message(&result(&dropped, 1));
            peer.expect_message()
        });
        let (peer, call) = during(next.as_mut(), late).await;
        let answered = with(peer, move |peer| peer.send_message(&result(&call, 2)));
        let (next, (peer, ())) = tokio::join!(next, answered);
        assert_eq!(next.unwrap(), 2);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_call_that_waits_for_another_one_is_never_sent() {
    check(async |daemon, proxy| {
        let mut first = pin!(proxy.call::<i64>("first", ()));
        let called = daemon.play(|listener| {
            let mut peer = accept(listener);
            let call = peer.expect_message();
            (peer, call)
        });
        let (peer, call) = during(first.as_mut(), called).await;
        {
            let mut dropped = pin!(proxy.call::<i64>("dropped", ()));
            let yielded = tokio::task::yield_now();
            during(dropped.as_mut(), yielded).await;
        }
        let answered = with(peer, move |peer| {
            peer.send_message(&result(&call, 1));
            peer.expect_silence(SILENCE);
        });
        let (first, (peer, ())) = tokio::join!(first, answered);
        assert_eq!(first.unwrap(), 1);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_call_that_was_only_handed_over_is_never_sent() {
    check(async |daemon, proxy| {
        let (bound, peer) = tokio::join!(proxy.bind(), daemon.play(accept));
        bound.unwrap();
        // The task of the connection has the same thread, and had no time to send it.
        {
            let dropped = pin!(proxy.call::<i64>("dropped", ()));
            during(dropped, std::future::ready(())).await;
        }
        let mut next = pin!(proxy.call::<i64>("next", ()));
        let only = with(peer, |peer| {
            let call = peer.expect_message();
            let name = call.payload.windows(4).any(|bytes| bytes == b"next");
            assert!(name, "the dropped call was sent");
            call
        });
        let (peer, call) = during(next.as_mut(), only).await;
        let answered = with(peer, move |peer| peer.send_message(&result(&call, 1)));
        assert_eq!(tokio::join!(next, answered).0.unwrap(), 1);
    });
}

/// Drops a call of which the daemon has not read all yet; what it then reads is whole.
fn check_half_written(call: impl AsyncFn(&Proxy, &str), is_answered: bool) {
    check(async move |daemon, proxy| {
        let large = "x".repeat(LARGE);
        let peer = {
            let mut call = pin!(call(&proxy, &large));
            let begun = daemon.play(|listener| {
                let mut peer = accept(listener);
                expect_begin(&mut peer);
                peer
            });
            during(call.as_mut(), begun).await
        };
        let rest = with(peer, move |peer| {
            let call = expect_rest(peer);
            assert!(call.payload.len() > LARGE);
            if is_answered {
                peer.send_message(&result(&call, 1));
            }
        });
        let peer = rest.await.0;
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_call_that_is_half_written_is_written_whole_and_its_answer_thrown_away() {
    let call = async |proxy: &Proxy, text: &str| {
        let _ = proxy.call::<i64>("take", (text,)).await;
    };
    check_half_written(call, true);
}

#[test]
fn a_oneway_that_is_half_written_is_written_whole() {
    let oneway = async |proxy: &Proxy, text: &str| {
        let _ = proxy.oneway("take", (text,)).await;
    };
    check_half_written(oneway, false);
}

#[test]
fn a_dropped_call_keeps_its_deadline_for_the_sake_of_those_who_wait() {
    check(async |daemon, proxy| {
        let peer = {
            let hasty = proxy.within(Duration::from_millis(100));
            let mut call = pin!(hasty.call::<i64>("dropped", ()));
            let called = daemon.play(|listener| {
                let mut peer = accept(listener);
                peer.expect_message();
                peer
            });
            during(call.as_mut(), called).await
        };
        let again = daemon.play(|listener| {
            let mut peer = accept(listener);
            answer(&mut peer, &3);
            peer
        });
        let (next, again) = tokio::join!(proxy.call::<i64>("next", ()), again);
        assert_eq!(next.unwrap(), 3);
        with(peer, |peer| peer.expect_eof()).await;
        check_usable(&proxy, again).await;
    });
}

#[test]
fn when_nobody_is_left_the_connection_is_closed() {
    check(async |daemon, proxy| {
        let peer = {
            let mut call = pin!(proxy.call::<i64>("dropped", ()));
            let called = daemon.play(|listener| {
                let mut peer = accept(listener);
                peer.expect_message();
                peer
            });
            during(call.as_mut(), called).await
        };
        drop(proxy);
        with(peer, |peer| peer.expect_eof()).await;
    });
}

/// A stream of numbers, and the daemon that is to be asked for them.
async fn numbers(daemon: &Played, proxy: &Proxy) -> (Items<i64>, Peer) {
    let streamed = daemon.play(|listener| {
        let mut peer = accept(listener);
        let call = peer.expect_message();
        let flags = Flags::EXCEPTION.with(Flags::ITEM_STREAM);
        let id = b"55a4a2a8-3f2b-4d3e-8f0a-5a6b2f8f9f10";
        peer.send_message(&result(&call, 0).flags(flags).annotation(b"STRM", id));
        peer
    });
    let (items, peer) = tokio::join!(proxy.stream("numbers", ()), streamed);
    (items.unwrap(), peer)
}

/// Asks for an item and does not wait for it; the daemon is to answer.
async fn ask(items: &mut Items<i64>, peer: Peer) -> (Peer, RawMessage) {
    let mut next = pin!(items.next());
    let asked = with(peer, |peer| peer.expect_message());
    during(next.as_mut(), asked).await
}

#[test]
fn an_item_that_is_not_waited_for_keeps_nobody_waiting_once_it_came() {
    check(async |daemon, proxy| {
        let (mut items, peer) = numbers(&daemon, &proxy).await;
        let (peer, asked) = ask(&mut items, peer).await;
        let peer = with(peer, move |peer| peer.send_message(&result(&asked, 1)));
        check_usable(&proxy, peer.await.0).await;
        assert_eq!(items.next().await.unwrap().unwrap(), 1);
    });
}

#[test]
fn an_item_that_is_waited_for_again_is_asked_for_once() {
    check(async |daemon, proxy| {
        let (mut items, peer) = numbers(&daemon, &proxy).await;
        let (peer, asked) = ask(&mut items, peer).await;
        let answered = with(peer, move |peer| {
            peer.expect_silence(SILENCE);
            peer.send_message(&result(&asked, 1));
        });
        let (item, (peer, ())) = tokio::join!(items.next(), answered);
        assert_eq!(item.unwrap().unwrap(), 1);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn an_answer_that_ends_the_connection_does_so_though_nobody_looks_at_it() {
    check(async |daemon, proxy| {
        let (mut items, peer) = numbers(&daemon, &proxy).await;
        let (peer, asked) = ask(&mut items, peer).await;
        let peer = with(peer, move |peer| {
            let why = Exception::new("Pyro5.errors.SerializeError", "no such thing");
            let answer = msgpack(Kind::Result, &why).flags(Flags::EXCEPTION);
            peer.send_message(&answer.seq(asked.seq));
        });
        // It has not closed it yet.
        let _peer = peer.await.0;
        let again = daemon.play(|listener| {
            let mut peer = accept(listener);
            answer(&mut peer, &3);
        });
        let (next, ()) = tokio::join!(proxy.call::<i64>("next", ()), again);
        assert_eq!(next.unwrap(), 3);
        let error = items.next().await.unwrap().unwrap_err();
        assert_eq!(error.remote().unwrap().message(), "no such thing");
    });
}

#[test]
fn whoever_has_an_item_has_the_turn_back() {
    // The connection's task runs on another thread.
    check_in(&mut Builder::new_multi_thread(), async |daemon, proxy| {
        for _ in 0..200 {
            let (mut items, peer) = numbers(&daemon, &proxy).await;
            let answered = with(peer, |peer| {
                let asked = peer.expect_message();
                peer.send_message(&result(&asked, 1));
            });
            let (item, (peer, ())) = tokio::join!(items.next(), answered);
            assert_eq!(item.unwrap().unwrap(), 1);
            // A connection in use would be closed later.
            proxy.release();
            with(peer, |peer| peer.expect_eof()).await;
        }
    });
}

#[test]
fn an_item_that_waits_for_another_call_leaves_the_queue() {
    check(async |daemon, proxy| {
        let (mut items, peer) = numbers(&daemon, &proxy).await;
        let mut first = pin!(proxy.call::<i64>("first", ()));
        let called = with(peer, |peer| peer.expect_message());
        let (peer, call) = during(first.as_mut(), called).await;
        {
            let mut next = pin!(items.next());
            during(next.as_mut(), tokio::task::yield_now()).await;
        }
        let answered = with(peer, move |peer| peer.send_message(&result(&call, 1)));
        let (first, (peer, ())) = tokio::join!(first, answered);
        assert_eq!(first.unwrap(), 1);
        check_usable(&proxy, peer).await;
    });
}

/// Polls a call so many times, each when it was woken, and drops it; true if it has ended.
async fn poll_times(mut call: Pin<&mut impl Future>, times: usize) -> bool {
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(false);
        }
        left -= 1;
        call.as_mut().poll(cx).map(|_| true)
    })
    .await
}

struct Echo;

#[expose]
impl Echo {
    fn echo(&self, value: i64) -> i64 {
        value
    }
}

#[test]
fn a_call_may_be_dropped_at_every_await() {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let uri = daemon.register("echo", Echo).unwrap();
    let _running = daemon.start().unwrap();
    let proxy = Proxy::new(uri).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for connected in [false, true] {
            for times in 0_i64.. {
                if !connected {
                    proxy.release();
                }
                let ended = {
                    let call = pin!(proxy.call::<i64>("echo", (-times,)));
                    poll_times(call, times as usize).await
                };
                let echoed: i64 = proxy.call("echo", (times,)).await.unwrap();
                assert_eq!(echoed, times);
                if ended {
                    assert!(times > 1, "it has ended without waiting");
                    break;
                }
            }
        }
    });
}
