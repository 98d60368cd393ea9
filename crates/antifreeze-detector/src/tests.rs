//! Worlds as text, whose processes have a detector each, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use antifreeze_sync::graph::{self, Candidate, Edge};

use crate::{
    About, Call, CallId, Callee, Config, Core, Counters, Frame, Home, Input, Kind, Member, Need,
    Opaque, Output, Peer, Reading, Report, Root, Wanted,
};

mod wire;

/// Between two processes, one way.
const DELAY: Duration = Duration::from_millis(1);

/// Processes `a` to `z`, and who waits there for what.
///
/// Reads `a1: a2 a3~; a2: b1; b1: ?c1, c2; c1: Q!`: a frame and its waits. A wait is a list of frames of
/// the same process, those with `~` only came first; or a call, to a frame of another process, or
/// through an opaque hop (`?c1`) which may be single-threaded (`Q?c1`), or to one which never gets to
/// it (`Q!`). A frame marked `1+` is served for whom it is the child of, without waiting.
#[derive(Default)]
struct World {
    nodes: BTreeMap<u64, Node>,
    queue: Vec<(Duration, u64, Mail)>,
    now: Duration,
    /// Who failed, and when.
    failed: Vec<(String, Duration)>,
    admitted: Vec<String>,
    reports: Vec<(Report, bool)>,
    /// Messages to these nodes get lost.
    deaf: BTreeSet<u64>,
    sent: usize,
}

struct Node {
    core: Core,
    state: State,
}

/// Who waits for what in one process, each with a number that changes with every wait.
#[derive(Clone, Default)]
struct State {
    frames: BTreeMap<u64, (Frame, u64)>,
    read: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// Calls that nobody waits for any more, though they were not answered.
    given_up: BTreeSet<u64>,
    failed: Vec<u64>,
    admitted: Vec<u64>,
    refuses: bool,
}

enum Mail {
    Request { from: u64, bytes: Vec<u8> },
    Answer { from: u64, bytes: Vec<u8> },
}

impl Home for State {
    fn read(&mut self, roots: &[Root]) -> Reading {
        let mut open: Vec<u64> = Vec::new();
        for root in roots {
            match root {
                Root::Frame(frame) => open.push(*frame),
                Root::Call(call) => {
                    let frames = self.frames.iter();
                    let serving = frames.filter(|(_, (frame, _))| frame.parent == Some(*call));
                    open.extend(serving.map(|(number, _)| *number));
                }
            }
        }
        let mut known = BTreeMap::new();
        let mut frames = Vec::new();
        while let Some(number) = open.pop() {
            if let Some((frame, epoch)) = self.frames.get(&number)
                && known.insert(number, *epoch).is_none()
            {
                open.extend(frame.blockers());
                frames.push(frame.clone());
            }
        }
        let number = self.read.len() as u64 + 1;
        self.read.insert(number, known);
        Reading {
            number,
            frames,
            truncated: false,
        }
    }

    fn confirm(&mut self, reading: u64, frames: &[u64]) -> Option<Reading> {
        let before = self.read.get(&reading)?;
        let again = frames.iter().map(|number| {
            let (frame, epoch) = self.frames.get(number)?;
            (before.get(number) == Some(epoch)).then(|| frame.clone())
        });
        Some(Reading {
            number: reading,
            frames: again.collect::<Option<_>>()?,
            truncated: false,
        })
    }

    fn is_unanswered(&mut self, call: u64) -> bool {
        let mut calls = self.frames.values().flat_map(|(frame, _)| frame.calls());
        calls.any(|open| open.seq == call) || self.given_up.contains(&call)
    }

    fn fail(&mut self, reading: u64, frame: u64, _report: &Report) -> bool {
        let same = self.confirm(reading, &[frame]).is_some();
        if same {
            self.frames.remove(&frame);
            self.failed.push(frame);
        }
        same
    }

    fn admit(&mut self, reading: u64, frame: u64) -> bool {
        let admitted = !self.refuses && self.confirm(reading, &[frame]).is_some();
        if admitted {
            self.frames.remove(&frame);
            self.admitted.push(frame);
        }
        admitted
    }
}

/// `b3`: node 2, frame 3.
fn id(text: &str) -> (u64, u64) {
    let (node, frame) = text.split_at(1);
    let node = u64::from(node.as_bytes()[0] - b'a' + 1);
    (node, frame.parse().unwrap())
}

fn name((node, frame): (u64, u64)) -> String {
    format!("{}{frame}", (b'a' + node as u8 - 1) as char)
}

fn peer(node: u64) -> Peer {
    Peer {
        node,
        address: format!("{}:1", name((node, 0)).trim_end_matches('0')),
    }
}

impl World {
    fn new(text: &str) -> Self {
        Self::with(text, &Config::default())
    }

    fn with(text: &str, config: &Config) -> Self {
        let mut world = Self::default();
        let mut served = Vec::new();
        for line in text
            .split(';')
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (who, waits) = line.split_once(':').unwrap();
            let (node, number) = id(who);
            world.node(node, config);
            let mut frame = frame(number);
            for (place, wait) in waits.split(',').map(str::trim).enumerate() {
                let seq = number * 100 + place as u64;
                let call = CallId { node, seq };
                let last = wait.as_bytes()[wait.len() - 1];
                let to = if let Some((location, child)) = wait.split_once('?') {
                    let via = (!location.is_empty()).then(|| location.to_owned());
                    served.push((id(child), call, Some(via.clone())));
                    world.node(id(child).0, config);
                    opaque(location, via.is_some())
                } else if last == b'!' {
                    opaque(wait.trim_end_matches('!'), true)
                } else if wait.starts_with(&who[..1]) {
                    let edge = |other: &str| Edge {
                        frame: id(other.trim_end_matches('~')).1,
                        soft: other.ends_with('~'),
                    };
                    let edges = wait.split_whitespace().map(edge).collect();
                    frame.waits.push(Need::Local(graph::Need::All(edges)));
                    continue;
                } else {
                    served.push((id(wait), call, None));
                    Callee::Native(peer(id(wait).0))
                };
                frame.waits.push(Need::Call(Call { seq, to }));
                frame.candidate.spared = true;
            }
            world
                .node(node, config)
                .state
                .frames
                .insert(number, (frame, 0));
        }
        for ((node, frame), parent, via) in served {
            let state = &mut world.node(node, config).state;
            if let Some((frame, _)) = state.frames.get_mut(&frame) {
                frame.parent = Some(parent);
            }
            if let Some(via) = via {
                let caller = peer(parent.node);
                world.on(
                    node,
                    Input::Served {
                        frame,
                        parent,
                        caller,
                        via,
                    },
                );
            }
        }
        world
    }

    fn node(&mut self, node: u64, config: &Config) -> &mut Node {
        self.nodes.entry(node).or_insert_with(|| Node {
            core: Core::new(peer(node), config.clone()),
            state: State::default(),
        })
    }

    fn on(&mut self, node: u64, input: Input<'_>) -> Option<Vec<u8>> {
        let Node { core, state } = self.nodes.get_mut(&node).unwrap();
        let outputs = core.on(self.now, input, state);
        let now = self.now;
        let named = |frames: &mut Vec<u64>| -> Vec<String> {
            frames.drain(..).map(|frame| name((node, frame))).collect()
        };
        self.failed
            .extend(named(&mut state.failed).into_iter().map(|who| (who, now)));
        self.admitted.extend(named(&mut state.admitted));
        let mut answer = None;
        for output in outputs {
            match output {
                Output::Send { to, bytes } => {
                    self.sent += 1;
                    if self.nodes.contains_key(&to.node) && !self.deaf.contains(&to.node) {
                        let mail = Mail::Request { from: node, bytes };
                        self.queue.push((self.now + DELAY, to.node, mail));
                    }
                }
                Output::Answer(bytes) => answer = Some(bytes),
                Output::Deadlock { report, failed } => self.reports.push((report, failed)),
            }
        }
        answer
    }

    /// Lets every wait of frames that can fail be told to its detector, and time pass.
    fn run(&mut self, time: Duration) {
        let waits: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|(node, at)| {
                let frames = at.state.frames.iter();
                let locks = frames.filter(|(_, (frame, _))| {
                    let occupied = |call: &Call| {
                        matches!(
                            &call.to,
                            Callee::Opaque {
                                single_threaded: true,
                                ..
                            }
                        )
                    };
                    !frame.candidate.spared || frame.calls().any(occupied)
                });
                locks.map(|(frame, _)| (*node, *frame)).collect::<Vec<_>>()
            })
            .collect();
        for (node, frame) in waits {
            let waited = Duration::from_millis(1);
            let at_once = false;
            self.on(
                node,
                Input::Leaves {
                    frame,
                    waited,
                    at_once,
                },
            );
        }
        self.pass(time);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let mail = self.queue.iter().map(|(at, ..)| *at).min();
            let timer = self
                .nodes
                .iter()
                .filter_map(|(node, n)| Some((n.core.due()?, *node)))
                .min();
            let next = mail.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if let Some(place) = self.queue.iter().position(|(at, ..)| *at <= next) {
                let (_, to, mail) = self.queue.remove(place);
                match mail {
                    Mail::Request { from, bytes } => {
                        if let Some(bytes) = self.on(to, Input::Request(&bytes)) {
                            let mail = Mail::Answer { from: to, bytes };
                            self.queue.push((self.now + DELAY, from, mail));
                        }
                    }
                    Mail::Answer { from, bytes } => {
                        self.on(
                            to,
                            Input::Answer {
                                node: from,
                                bytes: &bytes,
                            },
                        );
                    }
                }
            } else if let Some((_, node)) = timer {
                self.on(node, Input::Time);
            }
        }
    }

    fn failed(&self) -> Vec<&str> {
        self.failed.iter().map(|(who, _)| &**who).collect()
    }

    fn counters(&self) -> Counters {
        let all = self.nodes.values().map(|node| node.core.counters());
        all.fold(Counters::default(), |sum, one| Counters {
            checks: sum.checks + one.checks,
            rejected: sum.rejected + one.rejected,
            unreachable: sum.unreachable + one.unreachable,
            timeouts: sum.timeouts + one.timeouts,
            attaches: sum.attaches + one.attaches,
            gathers: sum.gathers + one.gathers,
            ..sum
        })
    }
}

fn frame(number: u64) -> Frame {
    Frame {
        candidate: Candidate {
            frame: number,
            birth: number,
            ..Candidate::default()
        },
        chain: [number as u8; 16],
        about: About {
            agent: format!("call object.method{number}"),
            waits: vec![Wanted {
                lock: format!("Mutex<()> \"lock {number}\""),
                mode: "write".into(),
                site: "src/main.rs:1:1".into(),
                ms: 12,
                pool: false,
            }],
            ..About::default()
        },
        waited: SECOND,
        ..Frame::default()
    }
}

fn opaque(location: &str, single_threaded: bool) -> Callee {
    Callee::Opaque {
        location: location.into(),
        single_threaded,
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn check(text: &str, failed: &[&str]) {
    let mut world = World::new(text);
    world.run(SECOND * 2);
    let mut found = world.failed();
    found.sort_unstable();
    assert_eq!(found, failed, "{text}");
}

/// Two chains that cross: each holds an object and calls the other.
const CROSSING: &str = "a1: b2; b2: b1; b1: a2; a2: a1";

#[test]
fn two_chains_that_cross_are_found_by_both_and_one_fails() {
    let mut world = World::new(CROSSING);
    world.run(SECOND);
    assert_eq!(world.failed(), ["b2"]);
    let (_, at) = world.failed[0];
    assert!(at <= Duration::from_millis(25), "{at:?}");
}

#[test]
fn nobody_is_asked_about_waits_that_have_just_begun() {
    let mut world = World::new(CROSSING);
    let age = |world: &mut World, waited| {
        let nodes = world.nodes.values_mut();
        for (frame, _) in nodes.flat_map(|node| node.state.frames.values_mut()) {
            frame.waited = waited;
        }
    };
    // As of somebody who makes one short call after the other.
    age(&mut world, Duration::from_millis(1));
    world.run(SECOND);
    assert_eq!(world.sent, 0);
    age(&mut world, SECOND);
    world.pass(SECOND);
    assert_eq!(world.failed(), ["b2"]);
}

#[test]
fn looks_that_overlap_do_not_go_on_for_ever() {
    let text = "a1: a2 a3; a4: a2; a2: b1; a3: c1; b5: b6; c5: c6";
    let check = |later: Duration| {
        let mut world = World::new(text);
        for frame in [4, 1] {
            let waited = Duration::from_millis(1);
            let at_once = true;
            let leaves = Input::Leaves {
                frame,
                waited,
                at_once,
            };
            world.on(1, leaves);
            world.pass(later);
        }
        world.pass(SECOND * 10);
        assert!(world.sent < 20, "{later:?}: {}", world.sent);
    };
    check(DELAY / 2);
    check(DELAY * 10);
}

#[test]
fn what_is_known_late_is_found_soon_however_much_was_known_before() {
    let mut world = World::new(
        "a1: a2; a2: ?b1; b1: ?b2; b2: a1; a6: ?b6; b6: ?c6; a7: ?b7; b7: ?c7; a8: ?b8; b8: ?c8",
    );
    let (b, b1) = (2, CallId { node: 2, seq: 100 });
    world.on(b, Input::Ended { frame: 2 });
    world.run(Duration::from_millis(40));
    let served = Input::Served {
        frame: 2,
        parent: b1,
        caller: peer(b),
        via: None,
    };
    world.on(b, served);
    world.pass(SECOND);
    assert_eq!(world.failed(), ["a1"]);
}

#[test]
fn nobody_fails_who_can_go_on() {
    check("a1: b2; b2: b1; b1: a2", &[]);
    check("a1: b2; b2: b1; b1: a2, b9; a2: a1", &[]);
    check("a1: b2", &[]);
}

#[test]
fn no_message_is_sent_where_no_wait_leads_to_a_call() {
    let mut world = World::new("a1: a2; a3: a4; b1: c1");
    world.run(SECOND * 60);
    assert_eq!((world.sent, world.counters().checks), (0, 0));
}

#[test]
fn a_ring_of_any_length_is_found() {
    check("a1: b2; b2: b1; b1: c2; c2: c1; c1: a2; a2: a1", &["c2"]);
    check(
        "a1: b1; b1: a2; a2: b2; b2: a3; a3: b3; b3: a4; a4: a1",
        &["a4"],
    );
}

#[test]
fn nobody_fails_for_whom_others_fail_anyway() {
    // The younger reader is the best victim, but for the older one the writer has to fail all the same.
    let readers = "a5: b5; b5: b1; a9: b9; b9: b1";
    check(&format!("a7: a5 a9; {readers}; b1: a7"), &["a7"]);
    // Two rings that have nobody in common.
    let other = "a5: b6; b6: b5; b5: a6; a6: a5";
    check(&format!("{CROSSING}; {other}; a3: a1 a5"), &["b2", "b6"]);
    // Of those who were chosen, the one in the middle is not needed: the others harm less.
    let chain = "a9: a7; a7: a9 a5; a5: a7 a4; a4: b1; b1: a5";
    check(chain, &["a5", "a9"]);
    // To be let past others is of no use to somebody who waits for the victim, too.
    check(
        "a1: a5 a3~; a3: a1; a5: b5; b5: b1; b1: a2; a2: a1",
        &["b5"],
    );
}

#[test]
fn of_several_waits_one_is_enough() {
    // The task on `b` waits for one of two calls.
    check("a1: b2; b2: b1; b1: a2, c1; a2: a1", &[]);
    check(
        "a1: b2; b2: b1; b1: a2, c1; a2: a1; c1: c2; c2: a3; a3: a1",
        &["a3"],
    );
}

#[test]
fn a_chain_through_an_opaque_hop_is_found_when_it_has_lasted() {
    let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1");
    world.run(SECOND * 2);
    assert_eq!(world.failed(), ["b2"]);
    let (_, at) = world.failed[0];
    assert!((260..350).contains(&at.as_millis()), "{at:?}");
    assert!(world.reports[0].0.inferred);
}

#[test]
fn two_children_of_an_opaque_call_are_a_fork() {
    check("a1: ?b2; b2: b1; b1: a2; a2: a1", &["b2"]);
    for also in ["b", "c", "a"] {
        let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1; c9: c8");
        let parent = CallId { node: 1, seq: 100 };
        let node = id(&format!("{also}1")).0;
        let caller = peer(1);
        world.on(
            node,
            Input::Served {
                frame: 50,
                parent,
                caller,
                via: None,
            },
        );
        world.run(SECOND * 2);
        assert!(world.failed().is_empty(), "with a child at {also}");
        world.on(node, Input::Ended { frame: 50 });
        world.pass(SECOND);
        assert_eq!(world.failed(), ["b2"], "after that at {also}");
    }
}

#[test]
fn a_child_that_came_between_the_passes_is_a_fork() {
    let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1; c9: c8");
    world.run(Duration::from_millis(150));
    let parent = CallId { node: 1, seq: 100 };
    let caller = peer(1);
    world.on(
        3,
        Input::Served {
            frame: 50,
            parent,
            caller,
            via: None,
        },
    );
    world.pass(SECOND);
    assert!(world.failed().is_empty());
    assert!(world.counters().rejected > 0);
}

#[test]
fn whoever_wants_a_single_threaded_hop_waits_for_the_one_in_it() {
    check("a1: Q?b2; b2: b1; b1: Q!", &["b2"]);
    check("a1: Q?b2; b2: b1; b1: R!", &[]);
    check("a1: ?b2; b2: b1; b1: Q!", &[]);
    // A chain that comes back.
    check("a1: Q?b2; b2: Q!", &[]);
}

#[test]
fn only_a_call_that_was_not_answered_occupies_a_single_threaded_hop() {
    for (given_up, sibling, failed) in [
        (true, false, &["b2"][..]),
        (true, true, &[]),
        (false, false, &[]),
    ] {
        let mut world = World::new("a1: Q?b2; b2: b1; b1: Q!; c9: c8");
        let state = &mut world.nodes.get_mut(&1).unwrap().state;
        state.frames.clear();
        state.given_up.extend(given_up.then_some(100));
        if sibling {
            let parent = CallId { node: 1, seq: 100 };
            let served = Input::Served {
                frame: 50,
                parent,
                caller: peer(1),
                via: Some("Q".into()),
            };
            world.on(3, served);
        }
        world.run(SECOND * 2);
        assert_eq!(world.failed(), failed, "given up: {given_up}, {sibling}");
    }
}

#[test]
fn whose_caller_has_hung_up_is_no_child() {
    // Between the passes; the detector may not have been told yet.
    for told in [false, true] {
        let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1");
        world.run(Duration::from_millis(150));
        let state = &mut world.nodes.get_mut(&2).unwrap().state;
        state.frames.get_mut(&2).unwrap().0.parent = None;
        if told {
            world.on(2, Input::Ended { frame: 2 });
        }
        world.pass(SECOND * 10);
        assert!(world.failed().is_empty(), "told: {told}");
    }
}

#[test]
fn whoever_wants_a_hop_long_after_its_occupant_began_to_wait_is_found() {
    let check = |before: &str, after: &str, soon: Duration| {
        let mut world = World::new(before);
        world.run(SECOND * 12);
        assert!(world.failed().is_empty(), "{before}");
        let (mut wants, _) = World::new(after).nodes[&2].state.frames[&1].clone();
        if let [Need::Call(call)] = &mut wants.waits[..] {
            call.seq += 1;
        }
        let node = world.nodes.get_mut(&2).unwrap();
        node.state.frames.insert(1, (wants, 1));
        world.pass(soon);
        assert_eq!(world.failed().len(), 1, "{after}");
    };
    let soon = Duration::from_millis(350);
    check("a1: Q?b2; b2: b1; b1: R!", "a1: Q?b2; b2: b1; b1: Q!", soon);
    // Nobody of the process in which it begins to want it looks.
    check(
        "a1: Q?c3; c3: b2; b2: b1",
        "a1: Q?c3; c3: b2; b2: b1; b1: Q!",
        SECOND * 3 / 2,
    );
}

#[test]
fn what_is_inferred_may_be_told_only() {
    let config = Config {
        opaque: Opaque::Report,
        ..Config::default()
    };
    let mut world = World::with("a1: ?b2; b2: b1; b1: a2; a2: a1", &config);
    world.run(SECOND * 10);
    assert!(world.failed().is_empty());
    let told: Vec<_> = world.reports.iter().map(|(_, failed)| *failed).collect();
    assert_eq!(told, [false]);
}

#[test]
fn who_only_came_first_is_passed() {
    let mut world = World::new("a1: b2; b2: b3~; b3: b1; b1: a2; a2: a1~");
    world.run(SECOND);
    assert!(world.failed().is_empty());
    assert_eq!(world.admitted.len(), 1);
}

#[test]
fn who_cannot_be_passed_is_part_of_the_deadlock() {
    let mut world = World::new("a1: b2; b2: b1~; b1: a2; a2: a1~");
    world
        .nodes
        .values_mut()
        .for_each(|node| node.state.refuses = true);
    world.run(SECOND);
    assert_eq!((world.failed(), world.admitted.len()), (vec!["b2"], 0));
}

#[test]
fn nobody_fails_while_somebody_cannot_be_asked() {
    let mut world = World::new(CROSSING);
    world.deaf.extend([1, 2]);
    world.run(SECOND * 3);
    assert!(world.failed().is_empty());
    assert!(world.counters().unreachable > 0);
    world.deaf.clear();
    world.pass(SECOND * 10);
    assert_eq!(world.failed(), ["b2"]);
}

#[test]
fn a_lost_connection_is_no_answer() {
    let mut world = World::new(CROSSING);
    world.deaf.extend([1, 2]);
    world.run(Duration::from_millis(20));
    world.on(1, Input::Lost { node: 2 });
    world.on(2, Input::Lost { node: 1 });
    assert_eq!(world.counters().unreachable, 2);
    world.deaf.clear();
    world.pass(SECOND);
    assert_eq!(world.failed(), ["b2"]);
}

#[test]
fn a_wait_that_changed_between_the_passes_does_not_fail() {
    let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1");
    world.run(Duration::from_millis(150));
    for node in world.nodes.values_mut() {
        node.state
            .frames
            .values_mut()
            .for_each(|(_, epoch)| *epoch += 1);
    }
    world.pass(Duration::from_millis(250));
    assert!(world.failed().is_empty());
    assert!(world.counters().rejected > 0);
    world.pass(SECOND);
    assert_eq!(world.failed(), ["b2"]);
}

#[test]
fn two_deadlocks_at_once_both_end() {
    let other = "c1: d2; d2: d1; d1: c2; c2: c1; d5: a1";
    check(&format!("{CROSSING}; {other}"), &["b2", "d2"]);
}

#[test]
fn the_report_names_everybody_and_says_what_it_is() {
    let mut world = World::new("a1: ?b2; b2: b1; b1: a2; a2: a1");
    world.run(SECOND);
    let (report, _) = &world.reports[0];
    let named = |member: &Member| format!("{}@{}", member.about.agent, member.address);
    let members: Vec<_> = report.members.iter().map(named).collect();
    let expected = [
        "call object.method2@b:1",
        "call object.method1@b:1",
        "call object.method2@a:1",
        "call object.method1@a:1",
    ];
    assert_eq!(members, expected);
    assert_eq!((report.kind, report.inferred), (Kind::Cycle, true));
}
