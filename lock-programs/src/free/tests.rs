//! Reports against what was written down, by hand.
//!
//! Things: mutexes `0`, `1` and `3`, and `2`, a lock for readers and writers. Agent 0 is a task.
//!
//! Entries: the agent, then `a1` is about to acquire thing 1, `a0&1` both, `r2` to read
//! thing 2 upgradably, `u2` to upgrade; `+` has what it wanted, `g0` its first part, `!` has not,
//! `x1` lets go of thing 1. Of the report: the agent, what it waits for, and after `h` what it holds;
//! the victim first.

use super::*;
use crate::oracle::ToldHold;
use crate::program::Thing;

fn check(entries: &str, told: &str, expected: Result<(), &str>) {
    let agent = |kind| Agent {
        kind,
        after: AfterDeadlock::End,
        steps: Vec::new(),
    };
    let mutex = Thing::Mutex { fair: true };
    let program = Program {
        things: vec![mutex, mutex, Thing::RwLock { strict: false }, mutex],
        agents: vec![agent(Kind::Task), agent(Kind::Thread), agent(Kind::Thread)],
    };
    let log = Log::new(program.agents.len());
    for entry in entries.split_whitespace() {
        log.note(number(entry), note(&entry[1..]));
    }
    let story = Story::new(&program, &log);
    let members: Vec<ToldMember> = told.split(' ').map(member).collect();
    let victim = members[0].agent;
    let is_failed = |entry: &&Entry| matches!(entry.note, Note::Failed(_));
    let failed = story.agents[victim].iter().find(is_failed).unwrap();
    let told = Told { members };
    let outcome = story.check_one(victim, failed, &told, &mut Seen::default());
    let outcome = outcome.map(drop);
    assert_eq!(outcome.as_ref().map_err(String::as_str).copied(), expected);
}

fn number(text: &str) -> usize {
    usize::from(text.as_bytes()[0] - b'0')
}

fn note(text: &str) -> Note {
    let wants = |mode| Note::Wants {
        wants: text[1..]
            .split('&')
            .map(|thing| Want {
                thing: number(thing),
                mode,
            })
            .collect(),
        joins: None,
        timed: false,
        external: false,
    };
    match text.as_bytes()[0] {
        b'a' => wants(Mode::Write),
        b'r' => wants(Mode::Upgradable),
        b'u' => wants(Mode::Upgrade),
        b'+' => Note::Done,
        b'g' => Note::Got(number(&text[1..])),
        b'!' => Note::Failed(None),
        b'x' => Note::Releases(number(&text[1..])),
        other => panic!("no entry begins with {other}"),
    }
}

fn member(text: &str) -> ToldMember {
    let (waits, holds) = text[2..].split_once('h').expect("it holds something");
    let things = |text: &str| text.split('&').map(number).collect::<Vec<_>>();
    let mode = |thing| match thing {
        2 => Mode::Upgradable,
        _ => Mode::Write,
    };
    let wait = |thing| ToldWait {
        on: On::Thing(thing),
        mode: mode(thing),
        timed: false,
    };
    let hold = |thing| ToldHold {
        on: On::Thing(thing),
        mode: mode(thing),
        queued: false,
    };
    ToldMember {
        agent: number(text),
        waited: Duration::ZERO,
        waits: things(waits).into_iter().map(wait).collect(),
        holds: things(holds).into_iter().map(hold).collect(),
    }
}

#[test]
fn whoever_waits_for_the_victim_goes_on_after_it() {
    let crossed = "0a0 0+ 1a1 1+ 0a1 1a0 0!";
    let told = "0a1h0 1a0h1";
    check(&format!("{crossed} 0x0 1+"), told, Ok(()));
    let early = "agent 1 was let in before the victim let go";
    check(&format!("{crossed} 1+ 0x0"), told, Err(early));
}

#[test]
fn a_part_may_be_granted_before_the_task_can_say_that_it_failed() {
    let both = "0a0 0+ 1a1 1+ 2a3 2+ 0a1&3 1a0";
    let victims = "2a0 2! 2x3 0g1 0! 0x0 1+";
    check(&format!("{both} {victims}"), "0a1&3h0 1a0h1 2a0h3", Ok(()));
    // Nobody gave up: it would have gone on.
    check(
        &format!("{both} 2x3 0g1 0! 0x0 1+"),
        "0a1&3h0 1a0h1",
        Err(
            "agent 0 did not wait for [ToldWait { on: Thing(1), mode: Write, timed: false }, \
             ToldWait { on: Thing(3), mode: Write, timed: false }]",
        ),
    );
}

#[test]
fn a_failed_upgrade_lets_others_in() {
    let crossed = "0r2 0+ 1a1 1+ 0a1 1r2 0!";
    let told = "0a1h2 1r2h1";
    check(&format!("{crossed} 0u2 1+ 0!"), told, Ok(()));
    let early = "agent 1 was let in before the victim let go";
    check(&format!("{crossed} 0u2 1+ 0+ 0x2"), told, Err(early));
}
