//! Scripts of acquisitions, and what is said about them.

mod random;

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::AtomicU32;

use super::held::{Held, Seen, Take};
use super::orders::Orders;
use super::*;
use crate::report::AgentKind;

/// Runs a script such as `t1: A B -B -A; t2: B A`.
///
/// `A` writes, `rA` reads, `uA` reads and may upgrade, `^A` upgrades, `vA` downgrades, `pA` takes a
/// permit, `?A` tries; `-A` releases. `A2` is another lock of the class of `A`, `A#1` is taken as
/// one of a sub-class. `[` and `]` are around what is taken at once. `~x` waits for an `x`; `=A`
/// reads again. `!A` forgets a class. `t1` goes on where it stopped.
#[derive(Default)]
struct Play {
    orders: Box<Stage>,
    agents: BTreeMap<String, (Held, Seen, u64)>,
    groups: u64,
}

struct Stage(Orders);

impl Default for Stage {
    fn default() -> Self {
        Self(Orders::new())
    }
}

impl Play {
    fn run(&mut self, script: &str) -> Vec<Warning> {
        let mut said = Vec::new();
        for part in script.split(';') {
            let (agent, steps) = part.split_once(':').expect("a name before a colon");
            for step in steps.split_whitespace() {
                said.extend(self.step(agent.trim(), step));
            }
        }
        said
    }

    #[track_caller]
    fn step(&mut self, agent: &str, step: &str) -> Vec<Warning> {
        let orders = &self.orders.0;
        let new = || {
            (
                Held::of(AgentKind::Task, Some(agent.into()), 7),
                Seen::new(),
                0,
            )
        };
        let (held, seen, group) = self.agents.entry(agent.to_owned()).or_insert_with(new);
        let site = Location::caller();
        if step == "[" {
            self.groups += 1;
            *group = self.groups;
            return Vec::new();
        } else if step == "]" {
            *group = 0;
            return Vec::new();
        }
        let (how, rest) = match step.strip_prefix('?') {
            Some(rest) => (How::Try, rest),
            None => (How::Blocking, step),
        };
        let (rest, sub) = rest.split_once('#').unwrap_or((rest, "0"));
        let at = rest.find(|c: char| c.is_ascii_uppercase()).unwrap_or(1);
        let (verb, lock) = rest.split_at(at);
        let name = lock.get(..1).unwrap_or_default();
        let number = u64::from(name.bytes().next().unwrap_or_default()) << 8
            | lock.get(1..).and_then(|n| n.parse().ok()).unwrap_or(0);
        let mode = match verb {
            "" => Mode::Write,
            "r" => Mode::Read,
            "u" => Mode::UpgradableRead,
            "^" => Mode::Upgrade,
            "p" => Mode::Permits(1),
            "-" => {
                let entry = held.entries().iter().rfind(|entry| entry.lock == number);
                let mode = entry.map_or(Mode::Write, |entry| entry.mode);
                orders.released(held, number, mode);
                return Vec::new();
            }
            "v" => {
                held.downgraded(number, Mode::Read);
                return Vec::new();
            }
            "~" => return orders.waiting(held, seen, "condvar", site),
            "=" => return orders.recursive_read(held, number, site),
            "!" => {
                orders.forget(name);
                return Vec::new();
            }
            other => panic!("unknown verb {other:?}"),
        };
        let key = ClassKey {
            name: Some(name),
            data: "",
            created: site,
            kind: "Mutex",
        };
        let class = orders.class(&AtomicU32::new(0), &key, sub.parse().expect("a number"));
        let take = Take {
            class,
            lock: number,
            mode,
            site,
            how,
            group: *group,
        };
        orders.acquired(held, seen, take)
    }
}

/// A warning in short, as in `order B A behind A`: the classes held along the cycle.
fn short(warning: &Warning) -> String {
    let name = |class: &Class| class.to_string().replace('\'', "");
    let names = |all: &[Taken]| -> String {
        let names: Vec<String> = all.iter().map(|taken| name(&taken.class)).collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(" behind {}", names.join(" "))
        }
    };
    let held: Vec<String> = warning
        .steps
        .iter()
        .map(|step| name(&step.held.class))
        .collect();
    match &warning.kind {
        WarningKind::Order { behind } => format!("order {}{}", held.join(" "), names(behind)),
        WarningKind::SameClass { behind } => format!("same {}{}", held[0], names(behind)),
        WarningKind::SecondLock => {
            format!("second {} {}", held[0], name(&warning.steps[0].taken.class))
        }
        WarningKind::WaitWhileHolding { holding, what, .. } => {
            format!("wait {} {what}", name(&holding.class))
        }
        WarningKind::RecursiveRead => format!("reread {}", held[0]),
    }
}

fn shorts(warnings: &[Warning]) -> String {
    warnings.iter().map(short).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let mut play = Play::default();
    let said = play.run(script);
    assert_eq!(shorts(&said), expected, "{script}");
    assert_eq!(shorts(&play.orders.0.warnings()), expected, "{script}");
}

#[track_caller]
fn check_strict(script: &str, expected: &str) {
    let mut play = Play::default();
    play.orders.0.set_one_at_a_time(true);
    assert_eq!(shorts(&play.run(script)), expected, "{script}");
}

#[test]
fn two_orders_that_contradict_each_other_are_warned_of_though_nobody_waited() {
    check("t1: A B -B -A; t2: A B", "");
    check("t1: A B -B -A; t2: B A", "order B A");
    // one thread alone suffices to show both
    check("t1: A B -B -A B A", "order B A");
    check("t1: A -A B -B; t2: B -B A", "");
    // released in the order of acquisition
    check("t1: A B -A C -B -C; t2: A C", "");
    check("t1: A B -A C -B -C; t2: C A", "order C A B");
    check("t1: A B -A C -B -C; t2: C B", "order C B");
}

#[test]
fn rings_of_any_length_are_found_when_they_close() {
    check("t1: A B; t2: B C; t3: C A", "order C A B");
    check("t3: C A; t1: A B; t2: B C", "order B C A");
    check(
        "t1: A B; t2: B C; t3: C D; t4: D E; t5: E A",
        "order E A B C D",
    );
    // the shortest, though a longer one is there too
    check("t1: A B; t2: B C; t3: A C; t4: C A", "order C A");
    check("t1: A B; t2: B C; t3: A C", "");
}

#[test]
fn a_pair_is_warned_of_once() {
    check("t1: A B; t2: B A; t3: B A; t4: A B", "order B A");
    check("t1: A B -B -A A2 B2; t2: B A -A -B B2 A2", "order B A");
    // a ring that closes again in another mode
    check(
        "t1: A B; t2: B C; t3: C A; t4: rA B; t5: rC A; t6: rB C",
        "order C A B",
    );
    check(
        "t1: A B; t2: B A; t1: C; t3: C D; t4: D C",
        "order B A, order D C",
    );
}

#[test]
fn orders_under_one_gate_do_not_contradict_each_other() {
    check("t1: G A B; t2: G B A", "");
    check("t1: G A B; t2: H B A", "order B A");
    check("t1: G A B; t2: B A", "order B A");
    // later also without the gate
    check("t1: G A B -B -A -G A B; t2: G B A", "order B A");
    check("t1: G A B; t2: G B A -A -B -G B A", "order B A");
    check(
        "t1: G A B; t2: G B A -A -B -G; t3: A B; t2: H B A",
        "order A B",
    );
    check("t1: G A B; t2: G H B A; t3: H A B", "");
    check("t1: G A B; t2: G B A; t3: H A B; t4: H B A", "order A B");
    // the way under one gate is barred, that under the other is not
    check("t1: G B C; t2: H B C; t3: G C A; t4: A B", "order A B C");
    // two of three are never there together
    check("t1: G A B; t2: G B C; t3: C A", "");
    check("t1: G A B; t2: H B C; t3: C A", "order C A B");
    // whoever reads the gate lets others read it
    check("t1: rG A B; t2: rG B A", "order B A");
    check("t1: rG A B; t2: G B A", "");
    check("t1: uG A B; t2: uG B A", "");
    check("t1: uG A B; t2: rG B A", "order B A");
    check("t1: pG A B; t2: pG B A", "order B A");
    // a gate that was only tried is held as well
    check("t1: ?G A B; t2: ?G B A", "");
    check("t1: G A1 A2; t2: G A2 A1", "");
    check("t1: G A1 A2; t2: H A1 A2", "same A");
}

#[test]
fn one_mode_in_the_way_of_another_is_enough() {
    // t1 holds A and wants B, t2 holds B and wants A
    check("t1: rA B; t2: rB A", "order B A");
    check("t1: A rB; t2: B rA", "order B A");
    check("t1: uA uB; t2: uB uA", "order B A");
    check("t1: uA B; t2: uB A", "order B A");
    check("t1: A uB; t2: B uA", "order B A");
    check("t1: pA B; t2: B pA", "order B pA".replace('p', "").as_str());
}

#[test]
fn readers_alone_never_deadlock() {
    check("t1: rA rB; t2: rB rA", "");
    check("t1: rA rB; t2: B rA", "");
    check("t1: rA rB; t2: rB A", "");
    check("t1: rA rB; t2: rB rC; t3: rC rA", "");
    check("t1: rA uB; t2: rB rA", "");
}

#[test]
fn readers_behind_a_writer_do() {
    check(
        "t0: A -A B -B; t1: rA rB; t2: rB rA",
        "order B A behind A B",
    );
    // the writer came later: looked at again
    check("t1: rA rB; t2: rB rA; t3: A; t4: B", "order A B behind B A");
    check("t1: rA rB; t2: rB rA; t3: A; t4: rB", "");
    check("t1: rA rB; t2: B rA; t3: A", "order B A behind A");
    // B of t2 is itself a writer of B
    check("t1: rA rB; t2: rB A -A -B; t3: B", "order A B behind B");
    check("t1: rA rB; t2: rB rA; t3: ?A; t4: ?B", "");
    check("t1: rA uB; t2: rB rA; t3: A -A B", "order A B behind B A");
    // then without: that is another matter
    check(
        "t0: A -A B -B; t1: rA rB; t2: rB rA; t3: A B; t4: B A",
        "order B A behind A B, order A B",
    );
    check("t1: A B; t2: B A; t3: rA rB; t4: rB rA", "order B A");
}

#[test]
fn an_upgrade_waits_for_readers_only() {
    check("t1: uA ^A", "");
    check("t1: uA B ^A", "");
    check("t1: uA B ^A -B -A; t2: rA B", "order A B");
    check("t1: uA B; t2: B uA", "order B A");
    check("t1: uA ^A B; t2: B rA", "order B A");
    // what was upgraded is a write from then on, and no gate before
    check("t1: uA ^A vA rB; t2: rB uA", "");
    check("t1: uA ^A -A B; t2: B A", "");
}

#[test]
fn a_downgraded_lock_is_held_for_reading() {
    check("t1: A vA rB; t2: rB rA", "");
    check("t1: A vA -A rB; t2: rB A", "");
    check("t1: A rB; t2: rB rA", "");
    check("t1: C; t1: -C A rB; t2: B rA", "order B A");
}

#[test]
fn a_try_waits_for_nobody_but_holds() {
    check("t1: A ?B; t2: B ?A", "");
    check("t1: A ?B; t2: B A", "");
    check("t1: ?A B; t2: ?B A", "order B A");
    check("t1: A1 ?A2", "");
}

#[test]
fn two_of_one_class_need_an_order() {
    check("t1: A1 A2", "same A");
    check("t1: A1 A2 A3", "same A");
    check("t1: A1 -A1 A2", "");
    check("t1: rA1 A2", "same A");
    check("t1: rA1 rA2", "");
    check(
        "t1: rA1 rA2; t2: A3",
        "same A behind A A".replace(" A A", " A").as_str(),
    );
    check("t1: A1 A2#1", "");
    check("t1: A1 A2#1; t2: A1#1 A2", "order A#1 A");
    check("t1: A2#1 A3#1", "same A#1");
    // the parent is a gate
    check("t1: A1 A2#1 A3#1", "");
    // half of it waits for the other half of somebody else
    check("t1: pA1 pA1", "same A");
    check("t1: pA1 -A1 pA1", "");
}

#[test]
fn what_is_taken_at_once_needs_none() {
    check("t1: [ A1 A2 A3 ]", "");
    check("t1: A1 [ A2 A3 ]", "same A");
    check("t1: [ A1 A2 ] A3", "same A");
    check("t1: [ A1 A2 ] [ A3 A4 ]", "same A");
    // by address the one is first today, the other tomorrow
    check("t1: [ A B ]; t2: [ B A ]", "");
    check("t1: [ A B ]; t2: B A", "order B A");
    check("t1: A B; t2: [ B A ]", "order B A");
    check("t1: [ A B ]; t2: [ B C ]; t3: [ C A ]", "");
    check("t1: [ A B ]; t2: B C; t3: [ C A ]", "order C A B");
    check("t1: [ A B ] C; t2: C A", "order C A");
    // the same way once at once, once by choice
    check(
        "t1: [ B C ]; t2: B C; t3: [ C A ]; t4: [ A B ]",
        "order A B C",
    );
}

#[test]
fn what_one_holds_already_can_be_had_again() {
    check("t1: rA B rA", "");
    check(
        "t1: rA B rA -A -A -B; t2: B rA; t3: A",
        "order B A behind A",
    );
    check("t1: A B A -A; t2: B A", "order B A");
    // one of two is released: the other is held
    check("t1: rA rA -A B; t2: B A", "order B A");
    check("t1: rA =A =A", "reread A");
    check("t1: =A", "");
}

#[test]
fn one_at_a_time_is_a_rule_that_can_be_asked_for() {
    check_strict("t1: A -A B -B", "");
    check_strict("t1: A B; t2: A B", "second A B");
    check_strict("t1: A B -B -A; t2: B A", "second A B, order B A");
    check_strict("t1: A ?B", "second A B");
    check_strict("t1: A B C", "second A B, second A C, second B C");
    check_strict(
        "t1: A B -A C -C -B A B C",
        "second A B, second B C, second A C",
    );
    check_strict("t1: rA rA", "");
    check_strict("t1: uA ^A", "");
    let mut play = Play::default();
    assert_eq!(shorts(&play.run("t1: A B -B -A")), "");
    play.orders.0.set_one_at_a_time(true);
    assert_eq!(shorts(&play.run("t1: A B -B -A")), "second A B");
}

#[test]
fn waiting_for_something_else_while_holding_is_warned_of() {
    check("t1: ~", "");
    check("t1: A -A ~", "");
    check("t1: A ~ ~ -A A ~", "wait A condvar");
    check("t1: A B ~", "wait A condvar, wait B condvar");
    check("t1: pA ~", "");
    // the mutex of the condition is taken again under what is held
    check("t1: A B -B ~ B; t2: B A", "wait A condvar, order B A");
}

#[test]
fn what_is_forgotten_does_not_count() {
    check("t1: A B -B -A; t0: !A; t2: B A", "");
    check("t1: A B -B -A; t0: !C; t2: B A", "order B A");
    check("t1: A B -B -A; t0: !A; t1: A B; t2: B A", "order B A");
    check("t1: A B; t2: B A; t0: !A; t3: A B; t4: B A", "order B A");
    check("t1: rA rB; t2: rB rA; t3: A; t0: !A; t4: B", "");
}

#[test]
fn a_release_by_somebody_else_is_heard_of() {
    check("t1: A; t2: -A; t1: B; t3: B A", "");
    check("t1: A -A; t2: -A; t1: A B; t3: B A", "order B A");
    // released by another, then acquired anew
    check("t1: A; t2: -A; t1: A B; t3: B A", "order B A");
    check("t1: -Z -Z; t2: A B; t3: B A", "order B A");
}

#[test]
fn a_warning_says_who_did_what_where_and_what_to_do() {
    let mut play = Play::default();
    let mut line = |agent: &str, step: &str| {
        let site = Location::caller().to_string();
        play.step(agent, step);
        site
    };
    line("reader", "rA");
    let [a, b] = [line("writer", "A"), line("writer", "B")];
    let [c, d] = [line("other", "rB"), line("other", "rA")];
    let _ = (a, b, c, d);
    let here = |said: &Warning| said.steps[0].taken.site.to_string();
    let all = play.orders.0.warnings();
    let site = here(&all[0]);
    assert_eq!(
        all[0].to_string(),
        format!(
            "lock order: 'A' after 'B', but elsewhere before it: a deadlock\n  \
             task 'other' took for reading 'B' at {site}\n    \
             and then took for reading 'A' at {site}\n  \
             task 'writer' took 'A' at {site}\n    \
             and then took 'B' at {site}\n  \
             to do: take them in one order everywhere, or together by lock_all!, or one at a time"
        )
    );
}

#[test]
fn the_graph_is_text_that_says_no_lines() {
    let mut play = Play::default();
    play.run("t2: B rC; t1: A B; t3: A B");
    assert_eq!(
        play.orders.0.text(),
        "'A' (write) before 'B' (write)\n'B' (write) before 'C' (read)\n"
    );
    play.orders.0.reset();
    assert_eq!(play.orders.0.text(), "");
}

#[test]
fn nameless_locks_are_of_the_line_that_made_them() {
    let orders = Orders::new();
    let class = |data, created| {
        let key = ClassKey {
            name: None,
            data,
            created,
            kind: "Mutex",
        };
        orders.class(&AtomicU32::new(0), &key, 0)
    };
    let (one, two) = (Location::caller(), spot());
    assert_eq!(class("u8", one), class("u8", one));
    assert_ne!(class("u8", one), class("u8", two));
    assert_ne!(class("u8", one), class("u16", one));
}

#[track_caller]
fn spot() -> &'static Location<'static> {
    Location::caller()
}

#[test]
fn the_environment_is_believed_only_if_it_makes_sense() {
    let asked = |text: &str| Level::asked(Some(text.as_ref()));
    assert_eq!(Level::asked(None), Ok(None));
    assert_eq!(asked("off"), Ok(Some(Level::Off)));
    assert_eq!(asked("warn"), Ok(Some(Level::Warn)));
    assert_eq!(asked("panic"), Ok(Some(Level::Panic)));
    assert_eq!(asked("loud"), Err("loud".to_owned()));
    assert_eq!(asked(""), Err(String::new()));
}

#[test]
fn at_panic_a_warning_is_a_panic_but_never_a_second_one() {
    struct Unwinding<'a>(&'a [Warning]);
    impl Drop for Unwinding<'_> {
        fn drop(&mut self) {
            say(self.0, Level::Panic);
        }
    }
    let mut play = Play::default();
    let said = play.run("t1: A B -B -A; t2: B A");
    say(&said, Level::Warn);
    let outcome = std::panic::catch_unwind(|| {
        let _again = Unwinding(&said);
        say(&said, Level::Panic);
    });
    let text = outcome.expect_err("a panic");
    let text = text.downcast_ref::<String>().expect("a text");
    assert_eq!(*text, said[0].to_string());
    // it came after the acquisition, so what unwinds releases
    assert_eq!(shorts(&play.run("t2: -A -B; t2: C")), "");
    assert_eq!(play.agents["t2"].0.entries().len(), 1);
}

/// The hooks themselves, on names that nobody else has.
#[test]
fn what_a_task_holds_moves_with_it() {
    if level() == Level::Off {
        set_level(Level::Warn);
    }
    let site = Location::caller();
    let take = |name: &'static str, lock| {
        let key = ClassKey {
            name: Some(name),
            data: "",
            created: site,
            kind: "Mutex",
        };
        acquired(
            &AtomicU32::new(0),
            key,
            lock,
            Mode::Write,
            site,
            How::Blocking,
        );
    };
    let mut task = Held::of(AgentKind::Task, Some("mover".into()), 1);
    let numbers = [u64::MAX, u64::MAX - 1, u64::MAX - 2, u64::MAX - 3];
    with_held(&mut task, || take("hooks.a", numbers[0]));
    take("hooks.b", numbers[1]);
    let mut task = std::thread::spawn(move || {
        with_held(&mut task, || {
            take("hooks.c", numbers[2]);
            Canonical::new().during(|| nested(1, || take("hooks.d", numbers[3])));
            released(numbers[3], Mode::Write);
            released(numbers[2], Mode::Write);
        });
        task
    })
    .join()
    .expect("no warning");
    with_held(&mut task, || released(numbers[0], Mode::Write));
    assert!(task.entries().is_empty());
    assert_eq!(take_held().entries().len(), 1);
    let text = graph_text();
    let mine: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("'hooks."))
        .collect();
    assert_eq!(
        mine,
        [
            "'hooks.a' (write) before 'hooks.c' (write)",
            "'hooks.a' (write) before 'hooks.d'#1 (write)",
            "'hooks.c' (write) before 'hooks.d'#1 (write)",
        ]
    );
    assert_eq!(&*task.who(), "task 'mover'");
}
