//! Chains of calls through several daemons: where they wait for each other or for themselves, one of
//! them is told, and where they do not, nobody is.

use std::error::Error;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::sync::BoundedSemaphore;
use antifreeze::{Config, ErrorKind, Proxy, Running, Value, expose};

type Failure = Box<dyn Error + Send + Sync>;

/// Hands a call on to others.
struct Hop {
    turn: BoundedSemaphore,
    /// Where those wait who want to go on together.
    meeting: Arc<Barrier>,
}

#[expose]
impl Hop {
    fn hop(&mut self, path: Vec<String>) -> Result<usize, Failure> {
        go_on("hop", &path)
    }

    fn peek(&self, path: Vec<String>) -> Result<usize, Failure> {
        go_on("peek", &path)
    }

    fn hop_lock(&self, path: Vec<String>) -> Result<usize, Failure> {
        let _turn = self.turn.acquire()?;
        go_on("hop_lock", &path)
    }

    #[lock(none)]
    fn pass_on(&self, path: Vec<String>) -> Result<usize, Failure> {
        go_on("pass_on", &path)
    }

    /// Goes on with others, as its object's only user.
    fn meet(&mut self, path: Vec<String>) -> Result<usize, Failure> {
        self.meeting.wait();
        go_on("hop", &path)
    }

    /// The same with others who read.
    fn meet_reading(&self, path: Vec<String>) -> Result<usize, Failure> {
        self.meeting.wait();
        go_on("peek", &path)
    }

    /// The same, and says when it is inside.
    fn enter_then_peek(&self, path: Vec<String>) -> Result<usize, Failure> {
        self.meeting.wait();
        self.meeting.wait();
        go_on("peek", &path)
    }

    /// Reads, and calls a method that writes.
    fn peek_then_hop(&self, path: Vec<String>) -> Result<usize, Failure> {
        go_on("hop", &path)
    }

    async fn hop_async(&mut self, path: Vec<String>) -> Result<usize, Failure> {
        let Some((next, rest)) = path.split_first() else {
            return Ok(1);
        };
        let next = antifreeze::tokio::Proxy::connect(next.as_str()).await?;
        Ok(1 + next.call::<usize>("hop_async", (rest,)).await?)
    }

    /// Has somebody else go on for whom nobody waits.
    fn leave(&mut self, path: Vec<String>) -> Result<usize, Failure> {
        let Some((next, rest)) = path.split_first() else {
            return Ok(1);
        };
        Proxy::connect(next.as_str())?.oneway("leave", (rest,))?;
        thread::sleep(Duration::from_millis(20));
        Ok(1)
    }

    /// In one message with others.
    fn hop_in_batch(&mut self, path: Vec<String>) -> Result<usize, Failure> {
        let Some((next, rest)) = path.split_first() else {
            return Ok(1);
        };
        let next = Proxy::connect(next.as_str())?;
        let mut batch = next.batch();
        batch.call("peek", (Vec::<String>::new(),))?;
        batch.call("hop_in_batch", (rest,))?;
        Ok(batch.send_as::<usize>()?.into_iter().sum())
    }
}

fn go_on(method: &str, path: &[String]) -> Result<usize, Failure> {
    let Some((next, rest)) = path.split_first() else {
        return Ok(1);
    };
    Ok(1 + Proxy::connect(next.as_str())?.call::<usize>(method, (rest,))?)
}

/// So many daemons with one object each.
struct Ring {
    uris: Vec<String>,
    meeting: Arc<Barrier>,
    _running: Vec<Running>,
}

impl Ring {
    fn new(count: usize, workers: usize) -> Self {
        let meeting = Arc::new(Barrier::new(2));
        let (mut uris, mut running) = (Vec::new(), Vec::new());
        for n in 0..count {
            let mut config = Config::default();
            config.workers = workers;
            let daemon = crate::daemon().config(config).bind("localhost:0").unwrap();
            let hop = Hop {
                turn: BoundedSemaphore::new(1).with_name(format!("turn {n}")),
                meeting: Arc::clone(&meeting),
            };
            uris.push(
                daemon
                    .register(format!("node{n}").as_str(), hop)
                    .unwrap()
                    .to_string(),
            );
            running.push(daemon.start().unwrap());
        }
        Self {
            uris,
            meeting,
            _running: running,
        }
    }

    /// Calls `method` of the first of these objects, to go on to the others.
    fn call(&self, method: &str, path: &[usize]) -> Result<usize, antifreeze::Error> {
        let path: Vec<_> = path.iter().map(|n| self.uris[*n].clone()).collect();
        let (first, rest) = path.split_first().unwrap();
        let proxy = Proxy::connect(first.as_str()).unwrap();
        proxy.call(method, (rest,))
    }
}

/// Checks that a call is the victim of a deadlock of this kind, and soon.
fn check(begun: Instant, end: Result<usize, antifreeze::Error>, kind: &str, named: &[&str]) {
    let took = begun.elapsed();
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    let deadlock = error.deadlock().unwrap();
    for name in named {
        assert!(
            deadlock.text.contains(name),
            "{name:?} is not in {deadlock:?}"
        );
    }
    let told = error.remote().unwrap().attribute("antifreeze").unwrap();
    let told = told.get("kind").and_then(Value::as_str);
    assert_eq!(told, Some(kind), "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_chain_that_comes_back_to_an_object_is_told() {
    let ring = Ring::new(3, 8);
    for path in [&[0, 0][..], &[0, 1, 0], &[0, 1, 2, 0]] {
        for method in ["hop", "hop_lock", "hop_async", "hop_in_batch"] {
            let begun = Instant::now();
            let end = ring.call(method, path);
            check(begun, end, "self_lock", &[&format!("node0.{method}")]);
        }
        assert_eq!(ring.call("peek", path).unwrap(), path.len());
        assert_eq!(ring.call("pass_on", path).unwrap(), path.len());
        let begun = Instant::now();
        let upgrade = ring.call("peek_then_hop", path);
        check(
            begun,
            upgrade,
            "upgrade",
            &["node0.peek_then_hop", "node0.hop"],
        );
    }
    // All of them are free.
    for n in 0..3 {
        assert_eq!(ring.call("hop", &[n]).unwrap(), 1);
    }
}

#[test]
fn chains_that_cross_are_told_and_one_of_them_goes_on() {
    let ring = Ring::new(2, 8);
    let begun = Instant::now();
    let ends = thread::scope(|scope| {
        let paths = [[0, 1], [1, 0]];
        let chains = paths.map(|path| {
            let ring = &ring;
            scope.spawn(move || ring.call("meet", &path))
        });
        chains.map(|chain| chain.join().unwrap())
    });
    let (good, bad): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 1));
    for end in bad {
        check(begun, end, "cycle", &["node0.meet", "node1.hop"]);
    }
    let readers = thread::scope(|scope| {
        let paths = [[0, 1], [1, 0]];
        let chains = paths.map(|path| {
            let ring = &ring;
            scope.spawn(move || ring.call("meet_reading", &path))
        });
        chains.map(|chain| chain.join().unwrap().unwrap())
    });
    assert_eq!(readers, [2, 2]);
}

#[test]
fn a_daemon_whose_workers_all_call_it_is_told() {
    let check_with = |workers: usize| {
        let ring = Ring::new(1, workers);
        let begun = Instant::now();
        let path = vec![0; workers + 1];
        check(begun, ring.call("peek", &path), "pool", &["Workers"]);
        assert_eq!(ring.call("peek", &path[1..]).unwrap(), workers);
    };
    check_with(1);
    check_with(3);
}

#[test]
fn nobody_waits_for_a_oneway_call() {
    let ring = Ring::new(2, 8);
    assert_eq!(ring.call("leave", &[0, 1, 0, 1]).unwrap(), 1);
    for n in 0..2 {
        assert_eq!(ring.call("hop", &[n]).unwrap(), 1);
    }
}

#[test]
fn a_reader_passes_writers_that_wait_for_its_caller() {
    let ring = Ring::new(1, 8);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let reading = scope.spawn(|| ring.call("enter_then_peek", &[0, 0, 0]));
        ring.meeting.wait();
        for _ in 0..3 {
            let (ring, tell) = (&ring, tell.clone());
            scope.spawn(move || tell.send(ring.call("hop", &[0])).unwrap());
        }
        // They wait for the reader, and it for us.
        thread::sleep(Duration::from_millis(50));
        let early = told.try_recv();
        ring.meeting.wait();
        assert_eq!(reading.join().unwrap().unwrap(), 3);
        assert!(early.is_err(), "the writers came first: {early:?}");
    });
    drop(tell);
    assert!(told.iter().all(|end| end.is_ok()));
}
