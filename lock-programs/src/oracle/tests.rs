//! Small cases by hand.
//!
//! Things: `m` mutex, `r` lock for readers and writers, `R` the same but strict, `s2` semaphore with
//! two permits, `S2` the same but strict, `l2` the same but loose, `c` reentrant mutex, `e` event; numbered from 0.
//!
//! Steps: the agent, then `a0` acquires thing 0, `r0` reads it, `g0` reads it upgradably, `u0`
//! upgrades, `d0` downgrades, `p0x2` takes two permits, `x0` releases, `j1` joins agent 1, `s0` sets,
//! `|` a race, `&` both, `!` gives up, `.` ends, `^` is let in before its turn.
//!
//! Outcome: the agent with `+` done, `-` waits; `<` those that are granted something by it; then in
//! braces who is deadlocked, with `~` those who are so only as long as nobody is let past.

use super::*;
use crate::program::{AfterDeadlock, Agent, Kind, Patience};

fn check(things: &str, steps: &str, expected: &str) {
    let things = things.split(' ').map(thing).collect();
    let agent = Agent {
        kind: Kind::Thread,
        after: AfterDeadlock::End,
        steps: Vec::new(),
    };
    let program = Program {
        things,
        agents: vec![agent; 6],
    };
    let mut oracle = Oracle::new(&program);
    let mut told = Vec::new();
    for text in steps.split(' ') {
        let agent: usize = text[..1].parse().unwrap();
        let mut line = match &text[1..] {
            "!" => {
                oracle.give_up(agent);
                format!("{agent}!")
            }
            "." => {
                oracle.end(agent);
                format!("{agent}.")
            }
            "^" => {
                let (agent, part) = oracle.may_overtake()[0];
                oracle.overtake(agent, part);
                format!("{agent}^")
            }
            text => match oracle.begin(agent, &step(text), Manner::default()) {
                Begun::Done => format!("{agent}+"),
                Begun::Waits => format!("{agent}-"),
                Begun::Refused => format!("{agent}x"),
            },
        };
        let at_once = matches!(line.as_bytes()[1], b'+' | b'-');
        for granted in oracle.take_granted() {
            if !(at_once && granted.agent == agent) {
                line += &format!("<{}", granted.agent);
            }
        }
        let list = |agents: Vec<usize>| {
            agents
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let truly = oracle.deadlocked(true);
        let softly = oracle.deadlocked(false);
        if !truly.is_empty() {
            line += &format!("{{{}}}", list(truly.clone()));
        }
        if softly != truly {
            line += &format!("{{~{}}}", list(softly));
        }
        told.push(line);
    }
    assert_eq!(told.join(" "), expected, "{steps}");
}

fn thing(text: &str) -> Thing {
    let number = || text[1..].parse().unwrap();
    match &text[..1] {
        "m" => Thing::Mutex { fair: true },
        "r" => Thing::RwLock { strict: false },
        "R" => Thing::RwLock { strict: true },
        "s" => Thing::Semaphore {
            permits: number(),
            strict: false,
        },
        "S" => Thing::Semaphore {
            permits: number(),
            strict: true,
        },
        "l" => Thing::Loose { permits: number() },
        "c" => Thing::Reentrant,
        "e" => Thing::Event,
        other => panic!("{other}"),
    }
}

fn step(text: &str) -> Step {
    if text.contains('|') {
        return Step::Race(text.split('|').map(want).collect());
    }
    if text.contains('&') {
        return Step::Both(text.split('&').map(want).collect());
    }
    let thing = || text[1..].parse().unwrap();
    match &text[..1] {
        "u" => Step::Upgrade(thing()),
        "d" => Step::Downgrade(thing()),
        "x" => Step::Release(thing()),
        "j" => Step::Join(thing()),
        "s" => Step::Set(thing()),
        _ => Step::Acquire(want(text), Patience::Forever),
    }
}

fn want(text: &str) -> Want {
    let (thing, mode) = match text[1..].split_once('x') {
        Some((thing, count)) => (thing, Mode::Permits(count.parse().unwrap())),
        None => {
            let mode = match &text[..1] {
                "a" => Mode::Write,
                "r" => Mode::Read,
                "g" => Mode::Upgradable,
                "p" => Mode::Permits(1),
                "w" => Mode::Signal,
                other => panic!("{other}"),
            };
            (&text[1..], mode)
        }
    };
    Want {
        thing: thing.parse().unwrap(),
        mode,
    }
}

#[test]
fn a_mutex_goes_to_those_who_wait_in_order() {
    check("m", "0a0 1a0 2a0 0x0 1x0 2x0", "0+ 1- 2- 0+<1 1+<2 2+");
    check("m", "0a0 1a0 2a0 1! 0x0", "0+ 1- 2- 1! 0+<2");
}

#[test]
fn two_mutexes_in_opposite_order_deadlock() {
    check("m m", "0a0 1a1 0a1 1a0", "0+ 1+ 0- 1-{0 1}");
    check(
        "m m",
        "0a0 1a1 0a1 1a0 1! 1x1 0x1 0x0",
        "0+ 1+ 0- 1-{0 1} 1! 1+<0 0+ 0+",
    );
    check(
        "m m m",
        "0a0 1a1 2a2 0a1 1a2 2a0",
        "0+ 1+ 2+ 0- 1- 2-{0 1 2}",
    );
    check(
        "m m m",
        "0a0 1a1 0a1 2a0 1a2 1x2 1x1",
        "0+ 1+ 0- 2- 1+ 1+ 1+<0",
    );
}

#[test]
fn whoever_waits_for_the_deadlocked_is_deadlocked_too() {
    check("m m", "0a0 1a1 0a1 1a0 2a0", "0+ 1+ 0- 1-{0 1} 2-{0 1 2}");
}

#[test]
fn a_mutex_deadlocks_its_own_holder_and_a_reentrant_one_does_not() {
    check("m", "0a0 0a0", "0+ 0-{0}");
    check("c", "0a0 0a0 1a0 0x0 0x0", "0+ 0+ 1- 0+ 0+<1");
    check("c", "0a0 1a0 0a0", "0+ 1- 0+");
}

#[test]
fn readers_share_and_a_queued_writer_holds_back_later_readers() {
    check(
        "r",
        "0r0 1r0 2a0 3r0 0x0 1x0 2x0",
        "0+ 1+ 2- 3- 0+ 1+<2 2+<3",
    );
    check("r", "0a0 1r0 2r0 3a0 4r0 0x0", "0+ 1- 2- 3- 4- 0+<1<2");
    check("r", "0r0 1a0 2r0 1!", "0+ 1- 2- 1!<2");
}

#[test]
fn a_reader_who_waits_behind_a_writer_only_is_let_past_unless_the_lock_is_strict() {
    check("r", "0r0 1a0 0r0 0^ 0x0 0x0", "0+ 1- 0-{~0 1} 0^<0 0+ 0+<1");
    check("R", "0r0 1a0 0r0", "0+ 1- 0-{0 1}");
    check("r m", "0r0 1a1 2a0 1r0 0a1", "0+ 1+ 2- 1- 0-{~0 1 2}");
    check("R m", "0r0 1a1 2a0 1r0 0a1", "0+ 1+ 2- 1- 0-{0 1 2}");
}

#[test]
fn a_writer_waits_for_every_reader() {
    check("r m", "0r0 1r0 2a1 2a0 1a1", "0+ 1+ 2+ 2- 1-{1 2}");
    check("r", "0r0 0a0", "0+ 0-{0}");
    check("r", "0a0 0r0", "0+ 0-{0}");
    check("r", "0r0 1r0 0a0 1x0", "0+ 1+ 0-{0} 1+{0}");
}

#[test]
fn one_reader_may_upgrade_when_the_others_have_gone() {
    check("r", "0g0 1r0 0u0 1x0 0d0 1r0", "0+ 1+ 0- 1+<0 0+ 1+");
    check("r", "0g0 1g0 0x0", "0+ 1- 0+<1");
    check("r", "0g0 1r0 0u0 1a0", "0+ 1+ 0- 1-{0 1}");
    check("r", "0g0 1r0 0u0 0!", "0+ 1+ 0- 0!");
    check("r", "0g0 1r0 2a0 0u0 1x0 0x0", "0+ 1+ 2- 0- 1+<0 0+<2");
    check("r", "0a0 1r0 0d0 0x0", "0+ 1- 0+<1 0+");
}

#[test]
fn permits_count() {
    check("s2", "0p0 1p0 0p0 1p0", "0+ 1+ 0- 1-{0 1}");
    check("s2", "0p0 1p0 2p0 0p0 1x0", "0+ 1+ 2- 0- 1+<2");
    check("s3", "0p0 1p0 2p0 0p0 1p0", "0+ 1+ 2+ 0- 1-");
    check("S3", "0p0 1p0 2p0 0p0x2 1p0", "0+ 1+ 2+ 0- 1-{0 1}");
    check("S3 m", "0p0x2 1a1 2p0x2 1p0 0a1", "0+ 1+ 2- 1- 0-{0 1 2}");
    check("s3", "0p0 1p0 2p0 0p0x2 1p0", "0+ 1+ 2+ 0- 1-");
    check("l2", "0p0 0p0 0p0", "0+ 0+ 0-");
}

#[test]
fn a_race_is_won_by_the_first() {
    check("m m", "0a0 1a1 2a0|a1 1x1 2x1 0x0", "0+ 1+ 2- 1+<2 2+ 0+");
    check("m m m", "2a2 0a0 1a1 2a0|a1 0a2", "2+ 0+ 1+ 2- 0-");
    check(
        "m m m",
        "2a2 0a0 1a1 2a0|a1 0a2 1a2",
        "2+ 0+ 1+ 2- 0- 1-{0 1 2}",
    );
}

#[test]
fn both_must_be_had() {
    check("m m", "0a0 1a1 2a0&a1 0x0 1x1", "0+ 1+ 2- 0+<2 1+<2");
    check("m", "0a0&a0", "0-{0}");
    check("m m", "1a1 0a0&a1 1a0", "1+ 0- 1-{0 1}");
}

#[test]
fn joining_waits_for_the_end() {
    check("m", "0a0 1a0 0j1", "0+ 1- 0-{0 1}");
    check("m", "0j1 1a0 1x0 1.", "0- 1+ 1+ 1.<0");
    check("m", "0j0", "0-{0}");
}

#[test]
fn a_thread_that_reads_may_read_again_past_those_who_wait() {
    let things = vec![Thing::RwLock { strict: false }];
    let agent = Agent {
        kind: Kind::Thread,
        after: AfterDeadlock::End,
        steps: Vec::new(),
    };
    let mut oracle = Oracle::new(&Program {
        things,
        agents: vec![agent; 2],
    });
    let thread = Manner {
        rereads: true,
        ..Manner::default()
    };
    assert_eq!(oracle.begin(0, &step("r0"), thread), Begun::Done);
    assert_eq!(oracle.begin(1, &step("a0"), thread), Begun::Waits);
    assert_eq!(oracle.begin(0, &step("r0"), thread), Begun::Done);
}

#[test]
fn nobody_can_say_that_an_event_will_not_come() {
    check("e m", "0a1 0w0 1a1 1! 1s0", "0+ 0- 1- 1! 1+<0");
}

fn told(agent: usize, waits: &[(usize, Mode)], holds: &[(usize, Mode)]) -> ToldMember {
    ToldMember {
        agent,
        waited: Duration::ZERO,
        waits: waits
            .iter()
            .map(|&(thing, mode)| ToldWait {
                on: On::Thing(thing),
                mode,
                timed: false,
            })
            .collect(),
        holds: holds
            .iter()
            .map(|&(thing, mode)| ToldHold {
                on: On::Thing(thing),
                mode,
                queued: false,
            })
            .collect(),
    }
}

#[test]
fn a_report_must_name_a_cycle_that_there_is() {
    let things = vec![Thing::Mutex { fair: true }; 3];
    let agent = Agent {
        kind: Kind::Thread,
        after: AfterDeadlock::End,
        steps: Vec::new(),
    };
    let mut oracle = Oracle::new(&Program {
        things,
        agents: vec![agent; 3],
    });
    for (agent, text) in [
        (0, "a0"),
        (1, "a1"),
        (2, "a2"),
        (0, "a1"),
        (1, "a0"),
        (2, "a0"),
    ] {
        oracle.begin(agent, &step(text), Manner::default());
    }
    let write = Mode::Write;
    let zero = told(0, &[(1, write)], &[(0, write)]);
    let one = told(1, &[(0, write)], &[(1, write)]);
    let two = told(2, &[(0, write)], &[]);
    let check = |victim, members: &[&ToldMember], expected: &str| {
        let told = Told {
            members: members.iter().copied().cloned().collect(),
        };
        let outcome = oracle.check(victim, &told).err().unwrap_or_default();
        assert!(
            outcome.contains(expected) && outcome.is_empty() == expected.is_empty(),
            "{outcome}"
        );
    };
    check(0, &[&zero, &one], "");
    check(1, &[&one, &zero], "");
    check(2, &[&zero, &one], "victim 2 is not in the cycle");
    check(0, &[&zero], "the others told do not block it");
    check(2, &[&two, &zero, &one], "");
    check(0, &[&zero, &zero], "told twice");
    check(
        0,
        &[&told(0, &[(2, write)], &[(0, write)]), &one],
        "does not wait for",
    );
    check(0, &[&told(0, &[], &[(0, write)]), &one], "untold");
    check(
        0,
        &[&told(0, &[(1, Mode::Read)], &[(0, write)]), &one],
        "does not wait for",
    );
    check(
        0,
        &[&told(0, &[(1, write)], &[]), &one],
        "which agent 0 holds, untold",
    );
    check(
        0,
        &[&told(0, &[(1, write)], &[(0, write), (2, write)]), &one],
        "does not hold",
    );
}
