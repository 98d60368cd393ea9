//! Calls of several tasks over one connection.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use antifreeze::tokio::Proxy;
use antifreeze::{Daemon, Error, ErrorKind, Sent, call, expose};
use antifreeze_proto::Kind;
use antifreeze_testkit::{Peer, RawMessage};
use tokio::runtime::Builder;

use super::peer::{accept, answer, welcome};
use super::played::{check, check_usable, during, expect_begin, expect_rest, result, with};

/// Nothing comes within this time that would come at all.
const SILENCE: Duration = Duration::from_millis(50);

/// Far less than any other time-out, and far more than a busy machine is late.
const SOON: Duration = Duration::from_secs(3);

/// More than sockets hold.
const LARGE: usize = 32 << 20;

/// Lets the next client in, as a daemon of ours that takes so many calls at once.
fn accept_many(listener: &TcpListener, calls: u16) -> Peer {
    let mut peer = Peer::accept(listener);
    let hello = peer.expect_message();
    // Its nonce stands behind the header of the annotation, version and node.
    let mut theirs = hello.annotations.windows(4 + 4 + 12 + 16);
    let theirs = theirs.find(|bytes| bytes.starts_with(b"AFNH"));
    let nonce = theirs.expect("it is one of ours")[20..].try_into().unwrap();
    peer.send_message(&welcome(&hello).hello(nonce, calls));
    peer
}

fn expect_messages<const N: usize>(peer: &mut Peer) -> [RawMessage; N] {
    std::array::from_fn(|_| peer.expect_message())
}

#[test]
fn each_call_gets_its_own_answer_in_whichever_order_they_come() {
    check(async |daemon, proxy| {
        let answers = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            let [a, b, c] = expect_messages(&mut peer);
            for (call, value) in [(c, 3), (a, 1), (b, 2)] {
                peer.send_message(&result(&call, value));
            }
            peer
        });
        let clone = proxy.clone();
        let (a, b, c, peer) = tokio::join!(
            proxy.call::<i64>("a", ()),
            clone.call::<i64>("b", ()),
            proxy.call::<i64>("c", ()),
            answers
        );
        assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (1, 2, 3));
        check_usable(&proxy, peer).await;
    });
}

/// Of four calls only so many are sent before one is answered.
fn check_limit(accept: impl FnOnce(&TcpListener) -> Peer + Send + 'static, limit: usize) {
    check(async move |daemon, proxy| {
        let answers = daemon.play(move |listener| {
            let mut peer = accept(listener);
            let mut calls: VecDeque<_> = (0..limit).map(|_| peer.expect_message()).collect();
            peer.expect_silence(SILENCE);
            let mut unsent = 4 - limit;
            while let Some(call) = calls.pop_front() {
                peer.send_message(&result(&call, 1));
                if unsent > 0 {
                    calls.push_back(peer.expect_message());
                    unsent -= 1;
                }
            }
            peer
        });
        let call = async || proxy.call::<i64>("x", ()).await.unwrap();
        let (a, b, c, d, peer) = tokio::join!(call(), call(), call(), call(), answers);
        assert_eq!([a, b, c, d], [1; 4]);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_daemon_gets_no_more_calls_at_once_than_it_takes() {
    check_limit(|listener| accept_many(listener, 2), 2);
}

#[test]
fn a_pyro5_daemon_gets_one_call_at_a_time() {
    check_limit(accept, 1);
    // Somebody else's handshake, which Python may hand on.
    let leaks = |listener: &TcpListener| {
        let mut peer = Peer::accept(listener);
        let hello = peer.expect_message();
        peer.let_in(&welcome(&hello).hello([7; 16], 8));
        peer
    };
    check_limit(leaks, 1);
}

#[test]
fn a_deadline_costs_its_call_and_nothing_else() {
    check(async |daemon, proxy| {
        let mut patient = pin!(proxy.call::<i64>("patient", ()));
        let begun = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            let call = peer.expect_message();
            (peer, call)
        });
        let (peer, call) = during(patient.as_mut(), begun).await;
        let limit = Duration::from_millis(50);
        let hasty = proxy.within(limit);
        let started = Instant::now();
        let late = with(peer, |peer| {
            let hasty = peer.expect_message();
            assert_eq!(
                peer.expect_message().kind,
                Kind::Ping as u8,
                "it looks who is there"
            );
            peer.send_message(&RawMessage::ping());
            hasty
        });
        let (error, (peer, hasty)) = tokio::join!(hasty.call::<i64>("hasty", ()), late);
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Timeout, Sent::Maybe)
        );
        assert!(started.elapsed() >= limit);
        let answers = with(peer, move |peer| {
            peer.send_message(&result(&hasty, 1));
            peer.send_message(&result(&call, 2));
        });
        let (patient, (peer, ())) = tokio::join!(patient, answers);
        assert_eq!(patient.unwrap(), 2);
        check_usable(&proxy, peer).await;
    });
}

/// While that call goes on, one with a deadline is too late before it was sent, and costs nothing.
async fn check_never_sent(proxy: &Proxy, goes_on: Pin<&mut impl Future>) {
    let limit = Duration::from_millis(50);
    let started = Instant::now();
    let hasty = proxy.within(limit);
    let error = during(goes_on, hasty.call::<i64>("hasty", ())).await;
    let (error, took) = (error.unwrap_err(), started.elapsed());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
    assert!(took >= limit && took < SOON, "{error:?} after {took:?}");
}

#[test]
fn who_waits_for_a_place_waits_until_the_deadline_only() {
    check(async |daemon, proxy| {
        let mut others = pin!(async {
            let call = || proxy.call::<i64>("x", ());
            tokio::join!(call(), call())
        });
        let begun = daemon.play(|listener| {
            let mut peer = accept_many(listener, 2);
            let calls: [_; 2] = expect_messages(&mut peer);
            (peer, calls)
        });
        let (peer, calls) = during(others.as_mut(), begun).await;
        check_never_sent(&proxy, others.as_mut()).await;
        let answers = with(peer, move |peer| {
            for call in calls {
                peer.send_message(&result(&call, 1));
            }
        });
        let ((a, b), (peer, ())) = tokio::join!(others, answers);
        assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_daemon_that_does_not_read_is_waited_for_until_the_deadline_only() {
    check(async |daemon, proxy| {
        let large = "x".repeat(LARGE);
        let mut first = pin!(proxy.call::<i64>("take", (&large,)));
        let begun = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            expect_begin(&mut peer);
            peer
        });
        let peer = during(first.as_mut(), begun).await;
        check_never_sent(&proxy, first.as_mut()).await;
        let answered = with(peer, |peer| {
            let call = expect_rest(peer);
            peer.send_message(&result(&call, 1));
        });
        let (first, (peer, ())) = tokio::join!(first, answered);
        assert_eq!(first.unwrap(), 1);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_released_connection_goes_on_until_its_calls_are_answered() {
    check(async |daemon, proxy| {
        let mut first = pin!(proxy.call::<i64>("first", ()));
        let begun = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            let call = peer.expect_message();
            (peer, call)
        });
        let (old, call) = during(first.as_mut(), begun).await;
        proxy.release();
        let again = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            answer(&mut peer, &2);
            peer
        });
        let next = async { tokio::join!(proxy.call::<i64>("next", ()), again) };
        let (next, new) = during(first.as_mut(), next).await;
        assert_eq!(next.unwrap(), 2);
        let answered = with(old, move |peer| {
            peer.send_message(&result(&call, 1));
            peer.expect_eof();
        });
        assert_eq!(tokio::join!(first, answered).0.unwrap(), 1);
        check_usable(&proxy, new).await;
    });
}

#[test]
fn a_dropped_call_holds_up_nobody() {
    check(async |daemon, proxy| {
        let (peer, dropped) = {
            let mut call = pin!(proxy.call::<i64>("dropped", ()));
            let begun = daemon.play(|listener| {
                let mut peer = accept_many(listener, 8);
                let call = peer.expect_message();
                (peer, call)
            });
            during(call.as_mut(), begun).await
        };
        let answers = with(peer, move |peer| {
            answer(peer, &2);
            peer.send_message(&result(&dropped, 1));
        });
        let (next, (peer, ())) = tokio::join!(proxy.call::<i64>("next", ()), answers);
        assert_eq!(next.unwrap(), 2);
        check_usable(&proxy, peer).await;
    });
}

#[test]
fn a_lost_connection_tells_all_and_repeats_what_may_be_repeated() {
    check(async |daemon, proxy| {
        let plays = daemon.play(|listener| {
            let mut peer = accept_many(listener, 8);
            let _: [_; 2] = expect_messages(&mut peer);
            drop(peer);
            let mut peer = accept_many(listener, 8);
            answer(&mut peer, &1);
            peer
        });
        let again = proxy.idempotent();
        let (once, again, peer) = tokio::join!(
            proxy.call::<i64>("once", ()),
            again.call::<i64>("again", ()),
            plays
        );
        let error = once.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, Sent::Maybe)
        );
        assert_eq!(again.unwrap(), 1);
        check_usable(&proxy, peer).await;
    });
}

struct Journal(Vec<i64>);

#[expose]
impl Journal {
    fn note(&mut self, entry: i64) -> i64 {
        self.0.push(entry);
        entry
    }

    fn entries(&self) -> Vec<i64> {
        self.0.clone()
    }
}

/// Tasks of this runtime call over one connection, each in order.
fn check_tasks(mut runtime: Builder) {
    const TASKS: i64 = 8;
    const CALLS: i64 = 50;
    let daemon = Daemon::bind("localhost:0").unwrap();
    let uri = daemon.register("journal", Journal(Vec::new())).unwrap();
    let _running = daemon.start().unwrap();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = Proxy::connect(uri).await.unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let proxy = proxy.clone();
                tokio::spawn(async move {
                    for i in 0..CALLS / 2 {
                        let entry = task * CALLS + 2 * i;
                        proxy.oneway("note", (entry,)).await.unwrap();
                        let noted: i64 = proxy.call("note", (entry + 1,)).await.unwrap();
                        assert_eq!(noted, entry + 1);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let entries: Vec<i64> = proxy.call("entries", ()).await.unwrap();
        for task in 0..TASKS {
            let range = task * CALLS..(task + 1) * CALLS;
            let own: Vec<i64> = entries
                .iter()
                .copied()
                .filter(|e| range.contains(e))
                .collect();
            assert_eq!(own, range.collect::<Vec<_>>());
        }
    });
}

#[test]
fn tasks_share_a_proxy_on_runtimes_of_one_thread_and_of_many() {
    check_tasks(Builder::new_current_thread());
    check_tasks(Builder::new_multi_thread());
}

#[test]
fn a_connection_ends_with_its_runtime_and_the_next_one_gets_a_new_one() {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let uri = daemon.register("journal", Journal(Vec::new())).unwrap();
    let _running = daemon.start().unwrap();
    let proxy = Proxy::new(uri).unwrap();
    for entry in 0..3 {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let noted: i64 = runtime.block_on(proxy.call("note", (entry,))).unwrap();
        assert_eq!(noted, entry);
    }
}

#[test]
fn outside_of_a_runtime_a_proxy_says_that_it_needs_one() {
    let proxy = Proxy::new("PYRO:obj@localhost:1").unwrap();
    let error = antifreeze::sync::block_on(proxy.bind()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
}

struct Middle(Proxy);

#[expose]
impl Middle {
    async fn ask(&self) -> Result<Vec<Option<String>>, Error> {
        tokio::task::yield_now().await;
        let there = self.0.call("user", ()).await?;
        Ok(vec![user(), there])
    }
}

struct Far;

#[expose]
impl Far {
    fn user(&self) -> Option<String> {
        user()
    }
}

/// Whose call it is, as an annotation says.
fn user() -> Option<String> {
    let user = call::annotation("USER")?;
    Some(String::from_utf8_lossy(&user).into_owned())
}

#[test]
fn a_call_of_an_async_method_carries_the_annotations_of_the_one_it_serves() {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let far = daemon.register("far", Far).unwrap();
    let middle = Middle(Proxy::new(far).unwrap());
    let uri = daemon.register("middle", middle).unwrap();
    let _running = daemon.start().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::connect(uri)).unwrap();
    let ask = || runtime.block_on(proxy.call::<Vec<Option<String>>>("ask", ()));
    let context = call::Context::new().annotation("USER", "ada").unwrap();
    let ada = Some("ada".to_owned());
    assert_eq!(context.scope(ask).unwrap(), [ada.clone(), ada]);
    assert_eq!(ask().unwrap(), [None, None]);
}

#[test]
fn a_deadline_holds_though_nobody_runs_the_runtime_of_the_connection() {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let uri = daemon.register("far", Far).unwrap();
    let _running = daemon.start().unwrap();
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let proxy = first.block_on(Proxy::connect(uri)).unwrap();
    first.block_on(proxy.ping()).unwrap();
    let limited = proxy.within(Duration::from_millis(1));
    let error = second.block_on(limited.ping()).unwrap_err();
    assert_eq!(
        (error.kind(), error.sent()),
        (ErrorKind::Timeout, Sent::Maybe)
    );
}
