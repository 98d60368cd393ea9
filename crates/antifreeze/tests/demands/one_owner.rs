//! One owner, no stale copies (S10): whatever several processes see of an object is one history,
//! also when their connections are cut and they are killed.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::{Write, stdout};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{Daemon, InstanceMode, Proxy, Running, Sent, Serializer, expose};
use antifreeze_testkit::{End, Fault, FaultProxy, Model, Operation, Way, check_linear};
use rustix::time::{ClockId, clock_gettime};

use crate::common::process::Process;
use crate::common::{Driver, SOON, address, is_full};

crate::on_both_drivers! {
    s10_processes_that_are_killed_and_cut_off_see_one_history,
    s10_a_copy_for_each_of_them_would_be_noticed,
}

/// How many processes call at a time.
const PROCESSES: usize = 8;

/// How long a change takes; whoever were let in meanwhile would start from the same value.
const WORK: Duration = Duration::from_micros(200);

#[derive(Default)]
struct Counter(i64);

#[expose]
impl Counter {
    fn value(&self) -> i64 {
        self.0
    }

    fn add(&mut self, n: i64) -> i64 {
        let before = self.0;
        thread::sleep(WORK);
        self.0 = before + n;
        self.0
    }
}

#[derive(Default)]
struct Store(HashMap<u64, i64>);

#[expose]
impl Store {
    fn get(&self, key: u64) -> Option<i64> {
        self.0.get(&key).copied()
    }

    /// Returns what was there.
    fn put(&mut self, key: u64, value: i64) -> Option<i64> {
        self.0.insert(key, value)
    }

    /// Replaces `old` if that is there; returns what was there.
    fn exchange(&mut self, key: u64, old: Option<i64>, new: i64) -> Option<i64> {
        let found = self.0.get(&key).copied();
        thread::sleep(WORK);
        if found == old {
            self.0.insert(key, new);
        }
        found
    }
}

/// How many keys are used: few, so that all want the same.
const KEYS: u64 = 3;

/// What is asked, as a line of text: `add N`, `value`, `get K`, `put K N`, `exchange K OLD N`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Asked(Vec<String>);

impl Asked {
    fn random(random: &mut fastrand::Rng, seen: &mut HashMap<u64, String>) -> Self {
        let key = random.u64(..KEYS);
        let fresh = random.i64(1..1 << 40);
        let last = seen.get(&key).map_or("None", String::as_str);
        let text = match random.u8(..8) {
            0..2 => "add 1".to_owned(),
            2..4 => "value".to_owned(),
            4..6 => format!("get {key}"),
            6 => format!("put {key} {fresh}"),
            _ => format!("exchange {key} {last} {fresh}"),
        };
        Self(text.split(' ').map(str::to_owned).collect())
    }

    fn name(&self) -> &str {
        &self.0[0]
    }

    /// The object that it is asked of: the counter, or a key of the store.
    fn place(&self) -> Option<u64> {
        match self.name() {
            "add" | "value" => None,
            _ => self.0[1].parse().ok(),
        }
    }

    fn number(&self, at: usize) -> Option<i64> {
        self.0[at].parse().ok()
    }

    fn ask(&self, counter: &Proxy, store: &Proxy) -> Result<String, Sent> {
        let key = self.place();
        let answer = match self.name() {
            "add" => counter.call("add", (1,)).map(shown),
            "value" => counter.call("value", ()).map(shown),
            "get" => store.call("get", (key,)).map(shown),
            "put" => store.call("put", (key, self.number(2))).map(shown),
            _ => {
                let args = (key, self.number(2), self.number(3));
                store.call("exchange", args).map(shown)
            }
        };
        answer.map_err(|error| error.sent())
    }
}

fn shown(value: Option<i64>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| value.to_string())
}

/// The counter, or what stands under one key, as a number.
struct Cell;

impl Model for Cell {
    type State = Option<i64>;
    type Call = Asked;
    type Answer = String;

    fn step(state: &Option<i64>, call: &Asked, answer: Option<&String>) -> Option<Option<i64>> {
        let total = state.unwrap_or(0);
        let (next, expected) = match call.name() {
            "add" => (Some(total + 1), Some(total + 1)),
            "value" => (*state, Some(total)),
            "get" => (*state, *state),
            "put" => (call.number(2), *state),
            _ if call.number(2) == *state => (call.number(3), *state),
            _ => (*state, *state),
        };
        answer
            .is_none_or(|answer| *answer == shown(expected))
            .then_some(next)
    }
}

/// Nanoseconds of the machine's clock, which all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn say(line: &str) {
    // In one piece, so that whoever is killed leaves none behind that could be mistaken.
    let _ = stdout().write_all(format!("{line}\n").as_bytes());
    let _ = stdout().flush();
}

/// What a process of the test does: it calls, and tells before and after.
pub(crate) fn run() {
    let Ok(place) = std::env::var("TEST_PLACE") else {
        return;
    };
    let seed = std::env::var("TEST_SEED").unwrap().parse().unwrap();
    let end = now() + std::env::var("TEST_NANOS").unwrap().parse::<u64>().unwrap();
    let proxy = |id| {
        let builder = Proxy::builder(format!("PYRO:{id}@{place}").as_str()).unwrap();
        let builder = builder.serializer(Serializer::Msgpack);
        builder.lazy().unwrap().within(SOON)
    };
    let (counter, store) = (proxy("counter"), proxy("store"));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = HashMap::new();
    say("");
    while now() < end {
        let asked = Asked::random(&mut random, &mut seen);
        say(&format!("ask {} {}", now(), asked.0.join(" ")));
        match asked.ask(&counter, &store) {
            Ok(answer) => {
                say(&format!("got {} {answer}", now()));
                if let ("get", Some(key)) = (asked.name(), asked.place()) {
                    seen.insert(key, answer);
                }
            }
            Err(Sent::No) => say("not sent"),
            Err(_) => say("lost"),
        }
        // However fast the machine is, so many calls can still be put in order.
        thread::sleep(Duration::from_micros(random.u64(..6_000)));
    }
    say("end");
    exit(0);
}

/// What all processes asked, by the object that they asked.
type History = HashMap<Option<u64>, Vec<Operation<Cell>>>;

/// What was asked, got and lost in this process, in order.
fn read(lines: &[String], history: &mut History) {
    let mut asked: Option<(u64, Asked)> = None;
    // One that was killed has perhaps asked, and got nothing.
    for line in lines.iter().map(String::as_str).chain(["lost"]) {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        match (words[0].as_str(), asked.take()) {
            ("ask", _) => asked = Some((words[1].parse().unwrap(), Asked(words[2..].to_vec()))),
            (end @ ("got" | "lost"), Some((from, call))) => {
                let answer = (end == "got").then(|| words[2].clone());
                let until = answer.as_ref().map_or(0, |_| words[1].parse().unwrap());
                let place = history.entry(call.place()).or_default();
                place.push(Operation {
                    call,
                    answer,
                    from,
                    until,
                });
            }
            _ => {}
        }
    }
}

fn start(place: &str, seed: u64, time: Duration) -> Process {
    let variables = [
        ("TEST_PLACE", place),
        ("TEST_SEED", &seed.to_string()),
        ("TEST_NANOS", &time.as_nanos().to_string()),
    ];
    Process::start("calling_process", &variables)
}

fn serve(driver: Driver, register: impl FnOnce(&Daemon)) -> Running {
    let daemon = driver.builder().bind("127.0.0.1:0").unwrap();
    register(&daemon);
    daemon.start().unwrap()
}

fn s10_processes_that_are_killed_and_cut_off_see_one_history(driver: Driver) {
    let time = Duration::from_millis(if is_full() { 4_000 } else { 1_500 });
    let running = serve(driver, |daemon| {
        daemon.register("counter", Counter::default()).unwrap();
        daemon.register("store", Store::default()).unwrap();
    });
    let uri = running.daemon().uri_for("counter").unwrap();
    let network = FaultProxy::new(address(&uri));
    let place = network.address().to_string();
    let over = AtomicBool::new(false);
    let mut seeds = 0..;
    let mut lines: Vec<Vec<String>> = Vec::new();
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for seed in seeds.by_ref().take(PROCESSES) {
            let place = place.as_str();
            // Half of them are killed in the middle, and others come in their place.
            let killed = seed % 2 == 0;
            callers.push(scope.spawn(move || {
                let mut said = Vec::new();
                let started = Instant::now();
                let mut process = start(place, seed, time);
                if killed {
                    thread::sleep(time / 3 + time * seed as u32 / 32);
                    process.kill();
                    said.push(process.rest());
                    let left = time.saturating_sub(started.elapsed());
                    process = start(place, seed + 100, left);
                }
                said.push(process.rest());
                said
            }));
        }
        scope.spawn(|| {
            // The network is bad, in turns.
            let slow = Fault::Delay(Duration::from_millis(1));
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(40));
                match turn % 4 {
                    0 => network.set(Way::ToClient, slow),
                    1 => network.cut(End::Reset),
                    2 => network.set(Way::ToClient, Fault::Pass),
                    _ => network.cut(End::Eof),
                }
                turn += 1;
            }
        });
        for caller in callers {
            lines.extend(caller.join().unwrap());
        }
        over.store(true, Ordering::Relaxed);
    });

    let mut history = History::new();
    lines.iter().for_each(|lines| read(lines, &mut history));
    let (mut all, mut lost) = (0, 0);
    for (place, mut operations) in history {
        all += operations.len();
        lost += operations.iter().filter(|o| o.answer.is_none()).count();
        // All that is asked of the store tells what was there. So nothing has happened between a
        // value that nobody has found and the next one, and it need not be tried when it was there.
        let found: HashSet<_> = operations.iter().filter_map(|o| o.answer.clone()).collect();
        let is_found = |o: &Operation<Cell>| match o.call.name() {
            "put" | "exchange" => found.contains(&o.call.0[o.call.0.len() - 1]),
            _ => o.call.name() == "add",
        };
        operations.retain(|o| o.answer.is_some() || is_found(o));
        if let Err(why) = check_linear(operations) {
            panic!("{place:?}: {why}");
        }
    }
    println!("{driver:?}: {all} calls, of {lost} of which nobody knows the answer");
    assert!(all > 500, "{all} calls say nothing");
    assert!(
        lost > 0 && lost < all / 4,
        "{lost} of {all} calls were lost"
    );
}

/// The same check, of a server that does it wrong.
fn s10_a_copy_for_each_of_them_would_be_noticed(driver: Driver) {
    let running = serve(driver, |daemon| {
        let create = || Ok::<_, Infallible>(Counter::default());
        daemon
            .register_class("counter", InstanceMode::Session, create)
            .unwrap();
    });
    let uri = running.daemon().uri_for("counter").unwrap();
    let mut history = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::connect(&uri).unwrap();
        let (call, from) = (Asked(vec!["add".to_owned(), "1".to_owned()]), now());
        let answer = Some(call.ask(&proxy, &proxy).unwrap());
        history.push(Operation::<Cell> {
            call,
            answer,
            from,
            until: now(),
        });
    }
    check_linear(history).expect_err("both have counted from 0");
}
