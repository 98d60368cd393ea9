//! Waits are followed through calls, as far as they are served in this process.

mod support;

use std::panic::Location;
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex as PlainMutex};
use std::time::{Duration, Instant};

use antifreeze_sync::calls::{self, Ancestor, Call, CallId, Chain, Origin, Outgoing, Parent, Peer};
use antifreeze_sync::detector::{self, Beyond, Part, ReadWait};
use antifreeze_sync::graph::Need;
use antifreeze_sync::{
    AgentKind, DeadlockKind, Frame, LockError, Mode, Mutex, Report, RwLock, set_priority, task,
};
use support::eventually;

struct Place(&'static str);

impl Peer for Place {
    fn describe(&self) -> String {
        self.0.to_owned()
    }
}

#[track_caller]
fn to(place: &'static str, away: bool) -> Call {
    Call {
        peer: Arc::new(Place(place)),
        away,
        timed: false,
        site: Some(Location::caller()),
    }
}

/// Where a call comes from, for whoever serves it.
fn origin(call: &Outgoing, opaque: bool) -> Origin {
    Origin {
        chain: call.chain(),
        elder: call.frame(),
        depth: call.depth() + 1,
        parent: Some(Parent {
            call: call.id(),
            frame: call.frame(),
            opaque,
        }),
        ancestors: Some(Box::new([Ancestor {
            frame: call.frame(),
            seq: call.id().seq,
        }])),
    }
}

/// Calls `serve`, which runs as a frame of its own on another thread.
fn call<R: Send>(name: &str, serve: impl FnOnce() -> R + Send) -> R {
    let out = calls::begin(to("here", false));
    let frame = Frame::from_call(name, origin(&out, false));
    std::thread::scope(|scope| scope.spawn(|| frame.enter(serve)).join().unwrap())
}

fn deadlock<T>(end: Result<T, LockError>) -> Arc<Report> {
    match end {
        Err(LockError::Deadlock(report)) => report,
        Err(error) => panic!("expected a deadlock, got {error}"),
        Ok(_) => panic!("expected a deadlock, got the lock"),
    }
}

fn is_remembered(report: &Report) -> bool {
    let past = detector::past();
    past.iter().any(|past| past.report.id == report.id)
}

#[test]
fn what_is_refused_at_once_is_remembered_too() {
    let lock = Mutex::new(());
    let held = lock.lock().unwrap();
    assert!(is_remembered(&deadlock(lock.lock())));
    drop(held);
}

#[test]
fn the_view_tells_the_chains_of_those_who_wait_and_who_holds_what_while_it_calls() {
    let lock = Mutex::named("seen from outside", ());
    let begun = calls::begin(to("here", false));
    let [holder, waiter] =
        ["holder.go", "waiter.go"].map(|name| Frame::from_call(name, origin(&begun, false)));
    let (go, gate) = mpsc::channel::<()>();
    let (lock, has) = (&lock, &Barrier::new(2));
    let seen = || {
        let mut all = detector::snapshot().resources.into_iter();
        all.find(|state| state.resource.name.as_deref() == Some("seen from outside"))
    };
    std::thread::scope(|scope| {
        let id = holder.id();
        scope.spawn(move || {
            holder.enter(|| {
                let _held = lock.lock().unwrap();
                let _calls = calls::begin(to("elsewhere", true));
                has.wait();
                let _ = gate.recv();
            });
        });
        has.wait();
        let waits = scope.spawn(move || waiter.enter(|| lock.lock().map(drop)));
        eventually(|| seen().is_some());
        let seen = seen().unwrap();
        let [by] = &seen.holders[..] else {
            panic!("one has it: {seen:?}")
        };
        let name = by.agent.as_ref().and_then(|agent| agent.name.as_deref());
        assert_eq!((by.frame, name), (id, Some("holder.go")));
        let [waiting] = &seen.waiters[..] else {
            panic!("one waits: {seen:?}")
        };
        assert_eq!(waiting.chain, begun.chain().id);
        assert_eq!(waiting.parent.map(|parent| parent.call), Some(begun.id()));
        drop(go);
        waits.join().unwrap().unwrap();
    });
}

#[test]
fn a_chain_that_comes_back_to_what_it_holds_is_found() {
    let book = Mutex::named("book", ());
    let held = book.lock().unwrap();
    let begun = Instant::now();
    let end = call("first.go", || {
        call("second.come_back", || book.lock().map(drop))
    });
    assert!(begun.elapsed() < Duration::from_millis(500));
    drop(held);
    let report = deadlock(end);
    assert!(is_remembered(&report));
    assert_eq!(report.kind, DeadlockKind::SelfLock);
    let names: Vec<_> = report
        .members
        .iter()
        .filter_map(|member| member.agent.name.as_deref())
        .collect();
    assert!(
        names.contains(&"first.go") && names.contains(&"second.come_back"),
        "{report}"
    );
    assert_eq!(
        report.members[report.victim].agent.name.as_deref(),
        Some("second.come_back")
    );
    let text = report.to_string();
    assert!(
        text.contains("for the answer of call \"first.go\""),
        "{text}"
    );
    assert!(
        text.contains("has yet to answer call \"second.come_back\""),
        "{text}"
    );
    drop(book.lock().unwrap());
}

#[test]
fn chains_that_cross_are_found() {
    let locks = [Mutex::named("left", ()), Mutex::named("right", ())];
    let meeting = Barrier::new(2);
    let ends = std::thread::scope(|scope| {
        let chain = |own: usize| {
            let (locks, meeting) = (&locks, &meeting);
            scope.spawn(move || {
                let _own = locks[own].lock()?;
                meeting.wait();
                call("other.use", || locks[1 - own].lock().map(drop))
            })
        };
        [chain(0), chain(1)].map(|chain| chain.join().unwrap())
    });
    let reports: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    assert_eq!(reports.len(), 1);
    let report = reports[0].deadlock().unwrap();
    assert_eq!(
        (report.kind, report.members.len()),
        (DeadlockKind::Cycle, 4)
    );
    let victim = &report.members[report.victim];
    assert_eq!(victim.agent.kind, AgentKind::Call);
}

#[test]
fn a_reader_whose_caller_reads_may_not_write() {
    let object = Arc::new(RwLock::of_object(0));
    let reading = object
        .try_read_for(antifreeze_sync::frame::current())
        .unwrap();
    let out = calls::begin(to("here", false));
    let frame = Frame::from_call("account.set", origin(&out, false));
    let (tell, told) = mpsc::channel();
    let begun = Instant::now();
    object.write_then(&frame, move |entered| tell.send(entered.map(drop)).unwrap());
    let report = deadlock(told.recv().unwrap());
    // No time is given to what cannot end well.
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert_eq!(report.kind, DeadlockKind::Upgrade);
    drop((reading, out));
}

/// What came of it if `serve` waits for what its caller holds, while the call is as `call` says.
fn unfound(away: bool, opaque: bool) {
    let book = Mutex::named("book", ());
    let held = book.lock().unwrap();
    let out = calls::begin(to("elsewhere", away));
    let frame = Frame::from_call("far.use", origin(&out, opaque));
    let id = frame.id();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| frame.enter(|| book.lock().map(drop)));
        eventually(|| detector::is_waiting(id));
        detector::settle();
        assert!(detector::is_waiting(id));
        drop(held);
        serving.join().unwrap().unwrap();
    });
}

#[test]
fn what_came_through_other_hands_proves_nothing() {
    unfound(false, true);
    unfound(true, true);
}

#[test]
fn a_call_that_is_answered_keeps_nobody_waiting() {
    let book = Mutex::named("book", ());
    let held = book.lock().unwrap();
    let frame = {
        let out = calls::begin(to("here", false));
        assert!(
            Ancestor {
                frame: out.frame(),
                seq: out.id().seq
            }
            .is_waiting()
        );
        assert_eq!(calls::caller_of(out.id().seq), Some(out.frame()));
        Frame::from_call("late.use", origin(&out, false))
    };
    let id = frame.id();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| frame.enter(|| book.lock().map(drop)));
        eventually(|| detector::is_waiting(id));
        detector::settle();
        assert!(detector::is_waiting(id));
        drop(held);
        serving.join().unwrap().unwrap();
    });
}

/// Whether it was told that the wait of this frame ends elsewhere.
fn told_of_those_beyond() -> impl Fn(u64) -> bool {
    static TOLD: PlainMutex<Vec<Beyond>> = PlainMutex::new(Vec::new());
    detector::on_beyond(|beyond| TOLD.lock().unwrap().extend(beyond));
    |frame| {
        let told = TOLD.lock().unwrap();
        told.iter().any(|told| told.frame == frame)
    }
}

#[test]
fn those_that_end_elsewhere_are_told_of_and_can_be_failed_from_there() {
    let is_told = told_of_those_beyond();
    let book = Mutex::named("book", ());
    let holder = Frame::new("shop.sell");
    let foreign = CallId { node: 7, seq: 8 };
    let comes_back = Frame::from_call(
        "shop.buy",
        Origin {
            chain: Chain {
                priority: 3,
                ..Chain::begin(1)
            },
            elder: 1,
            depth: 2,
            parent: Some(Parent {
                call: foreign,
                frame: 9,
                opaque: false,
            }),
            ancestors: None,
        },
    );
    let (id, back) = (holder.id(), comes_back.id());
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    std::thread::scope(|scope| {
        let book = &book;
        scope.spawn(move || {
            holder.enter(|| {
                let _held = book.lock().unwrap();
                let out = calls::begin(to("elsewhere", true));
                begin.send(out.id()).unwrap();
                released.recv().unwrap();
            });
        });
        let away = begun.recv().unwrap();
        let waiting = scope.spawn(move || comes_back.enter(|| book.lock().map(drop)));
        eventually(|| is_told(back));

        let reading = detector::read(&[Part::Serving(foreign), Part::Serving(away)], 100);
        assert_eq!(reading.serving, [(foreign, vec![back]), (away, vec![])]);
        assert_eq!((reading.frames.len(), reading.truncated), (2, false));
        let of = |frame| {
            reading
                .frames
                .iter()
                .find(|read| read.agent.frame == frame)
                .unwrap()
        };
        let waits = of(back);
        assert_eq!(
            (waits.depth, waits.chain.priority, waits.spared),
            (2, 3, false)
        );
        assert_eq!(waits.parent.unwrap().call, foreign);
        let [
            ReadWait::Here {
                need: Need::All(edges),
                holds,
                ..
            },
        ] = &waits.waits[..]
        else {
            panic!("it waits for a lock");
        };
        assert_eq!((edges[0].frame, holds[0].1.mode), (id, Mode::Write));
        assert!(of(id).spared);
        let [
            ReadWait::Call {
                call,
                peer,
                away: true,
                serving,
                ..
            },
        ] = &of(id).waits[..]
        else {
            panic!("it waits for a call");
        };
        assert_eq!(
            (*call, peer.describe(), serving.len()),
            (away, "elsewhere".to_owned(), 0)
        );
        assert!(detector::read(&[Part::Serving(foreign)], 1).truncated);

        assert!(detector::confirm(reading.number + 10, &[id, back]).is_none());
        let again = detector::confirm(reading.number, &[id, back]).unwrap();
        assert_eq!(again.frames.len(), 2);
        let report = Arc::new(Report::new(DeadlockKind::Cycle, Vec::new(), 0));
        assert!(!detector::fail(reading.number, id, &report));
        assert!(detector::fail(reading.number, back, &report));
        assert_eq!(deadlock(waiting.join().unwrap()).id, report.id);
        assert!(!detector::fail(reading.number, back, &report));
        assert!(detector::confirm(reading.number, &[id, back]).is_none());
        assert!(detector::confirm(reading.number, &[id]).is_some());
        release.send(()).unwrap();
    });
}

#[test]
fn a_task_that_still_runs_after_its_call_was_sent_is_told_of_when_it_sleeps() {
    let is_told = told_of_those_beyond();
    let book = Mutex::named("book", ());
    let (seller, buyer) = (Frame::new("shop.sell"), Frame::new("shop.buy"));
    let (sleep, asleep) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::scope(|scope| {
        let book = &book;
        let (sells, buys) = (seller.id(), buyer.id());
        scope.spawn(move || {
            let sold = seller.run(async {
                let _held = book.lock_async().await.unwrap();
                let mut out = calls::begin_async(to("elsewhere", true));
                begin.send(()).unwrap();
                asleep.recv().unwrap();
                out.answered(1, answered).await.unwrap();
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(sold);
        });
        begun.recv().unwrap();
        let buying = scope.spawn(move || buyer.enter(|| book.lock().map(drop)));
        eventually(|| detector::is_waiting(buys));
        // Nobody looks at the buyer again.
        detector::settle();
        assert!(!is_told(buys) && !is_told(sells));
        sleep.send(()).unwrap();
        eventually(|| is_told(sells));
        answer.send(()).unwrap();
        buying.join().unwrap().unwrap();
    });
}

#[test]
fn a_call_to_elsewhere_that_is_another_one_is_another_wait() {
    let frame = Frame::new("shop.sell");
    let (first, second) = frame.enter(|| {
        let first = calls::begin(to("elsewhere", true));
        let reading = detector::read(&[Part::Frame(frame.id())], 10);
        drop(first);
        let second = calls::begin(to("elsewhere", true));
        (reading.number, second)
    });
    assert!(detector::confirm(first, &[frame.id()]).is_none());
    let reading = detector::read(&[Part::Frame(frame.id())], 10);
    assert!(detector::confirm(reading.number, &[frame.id()]).is_some());
    assert_eq!(
        calls::outstanding(Duration::ZERO)
            .iter()
            .filter(|call| call.id == second.id())
            .count(),
        1
    );
}

#[test]
fn a_task_that_awaits_an_answer_waits_unless_something_else_wakes_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    // Until the other branch ends, it could still go on. A first step may keep more wakers.
    for (millis, first) in [(0, 0), (60, 0), (0, 2)] {
        let book = Arc::new(Mutex::named("book", ()));
        let ours = Arc::clone(&book);
        let end = runtime.block_on(async move {
            tokio::spawn(task(async move {
                let _held = ours.lock_async().await.unwrap();
                let mut out = calls::begin_async(to("here", false));
                let frame = Frame::from_call("far.use", origin(&out, false));
                let (tell, told) = tokio::sync::oneshot::channel();
                let theirs = Arc::clone(&ours);
                std::thread::spawn(move || {
                    let _ = tell.send(frame.enter(|| theirs.lock().map(drop)));
                });
                let timer = || tokio::time::sleep(Duration::from_millis(first.into()));
                let step = async { tokio::join!(timer(), timer()) };
                out.answered(first, step).await;
                let answered = out.answered(1, told);
                let other = tokio::time::sleep(Duration::from_millis(millis));
                tokio::join!(answered, other).0.unwrap()
            }))
            .await
            .unwrap()
        });
        let report = deadlock(end);
        assert_eq!(report.kind, DeadlockKind::SelfLock);
        assert!(report.members[report.victim].agent.name.is_some());
    }
}

#[test]
fn calls_have_the_priority_of_those_who_make_them() {
    let priority = || calls::begin(to("here", false)).chain().priority;
    let serve = |frame: &Frame, own: i8| {
        frame.enter(|| {
            set_priority(own);
            priority()
        })
    };
    set_priority(4);
    let out = calls::begin(to("here", false));
    let frame = Frame::from_call("far.use", origin(&out, false));
    assert_eq!((priority(), frame.enter(priority)), (4, 4));
    assert_eq!((serve(&frame, -3), serve(&frame, 0)), (-3, 4));
    set_priority(0);
    assert_eq!(priority(), 0);
}

#[test]
fn chains_have_the_age_of_their_roots() {
    let out = calls::begin(to("here", false));
    let again = calls::begin(to("here", false));
    assert_eq!(out.chain(), again.chain());
    assert_ne!(out.id(), again.id());
    assert_eq!(
        out.chain().id,
        u128::from(calls::node()) << 64 | u128::from(out.frame())
    );
    let frame = Frame::from_call("far.use", origin(&out, false));
    let nested = frame.enter(|| calls::begin(to("here", false)));
    assert_eq!((nested.chain(), nested.depth()), (out.chain(), 1));
    let fork = calls::fork();
    assert_ne!(fork.chain().id, out.chain().id);
    calls::was_victim();
    let next = calls::begin(to("here", false)).chain();
    assert_eq!(
        (next.birth, next.times_victim),
        (out.chain().birth, out.chain().times_victim + 1)
    );
}
