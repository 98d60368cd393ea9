//! Random programs, compared with a search that tries every choice.

use proptest::prelude::*;

use super::Play;

const CLASSES: [&str; 4] = ["A", "B", "C", "D"];
const MODES: [&str; 3] = ["r", "u", ""];
const READ: usize = 0;
const UPGRADABLE: usize = 1;
const WRITE: usize = 2;
const UPGRADE: usize = 3;

/// Somebody who takes up to three locks, one after the other, the last two perhaps at once, and
/// then perhaps upgrades the first.
#[derive(Clone, Debug)]
struct Visit {
    locks: Vec<(usize, usize)>,
    upgrade: bool,
    at_once: bool,
    agent: usize,
}

fn visit() -> impl Strategy<Value = Visit> {
    let lock = (0..CLASSES.len(), 0..MODES.len());
    let locks = prop::collection::vec(lock, 2..=3);
    (
        locks,
        prop::bool::weighted(0.2),
        prop::bool::ANY,
        0..2_usize,
    )
        .prop_map(|(locks, at_once, upgrade, agent)| {
            let upgrade = upgrade && locks[0].1 == UPGRADABLE;
            Visit {
                locks,
                upgrade,
                at_once,
                agent,
            }
        })
}

impl Visit {
    fn script(&self) -> String {
        let last = self.locks.len() - 1;
        let mut script = format!("t{}:", self.agent);
        for (at, (class, mode)) in self.locks.iter().enumerate() {
            let open = if self.at_once && at == last - 1 {
                "[ "
            } else {
                ""
            };
            let name = CLASSES[*class];
            script += &format!(" {open}{}{name}{at}", MODES[*mode]);
        }
        script += " ]";
        if self.upgrade {
            script += &format!(" ^{}0", CLASSES[self.locks[0].0]);
        }
        for (at, (class, _)) in self.locks.iter().enumerate() {
            script += &format!(" -{}{at}", CLASSES[*class]);
        }
        script
    }
}

/// Somebody who holds something and waits.
struct Waiting<'a> {
    hold: (usize, usize),
    want: (usize, usize),
    held: &'a [(usize, usize)],
    chosen: bool,
}

/// Whether any agents that did these things could all wait for each other: every choice is tried.
fn can_deadlock(visits: &[Visit]) -> bool {
    let mut all = Vec::new();
    for visit in visits {
        for (at, want) in visit.locks.iter().enumerate() {
            for (before, hold) in visit.locks[..at].iter().enumerate() {
                let at_once = visit.at_once && before + 2 == visit.locks.len();
                let held = &visit.locks[..at];
                if !(at_once && hold.0 == want.0) {
                    all.push(Waiting {
                        hold: *hold,
                        want: *want,
                        held,
                        chosen: !at_once,
                    });
                }
            }
        }
    }
    for visit in visits.iter().filter(|visit| visit.upgrade) {
        let want = (visit.locks[0].0, UPGRADE);
        let held = &visit.locks;
        all.extend(held[1..].iter().map(|hold| Waiting {
            hold: *hold,
            want,
            held,
            chosen: true,
        }));
    }
    let written = |class| {
        let upgraded = |visit: &Visit| visit.upgrade && visit.locks[0].0 == class;
        visits
            .iter()
            .any(|visit| visit.locks.contains(&(class, WRITE)) || upgraded(visit))
    };
    let meets = |one: &Waiting<'_>, other: &Waiting<'_>| {
        one.want.0 == other.hold.0
            && match (one.want.1, other.hold.1) {
                (READ, READ | UPGRADABLE) | (UPGRADABLE, READ) => written(one.want.0),
                (UPGRADE, UPGRADABLE | WRITE) => false,
                _ => true,
            }
    };
    let together = |one: &Waiting<'_>, other: &Waiting<'_>, except: Option<usize>| {
        one.held.iter().all(|mine| {
            other.held.iter().all(|theirs| {
                let pair = (mine.1, theirs.1);
                let apart = matches!(pair, (WRITE, _) | (_, WRITE) | (UPGRADABLE, UPGRADABLE));
                mine.0 != theirs.0 || !apart || Some(mine.0) == except
            })
        })
    };
    let same_class = all
        .iter()
        .filter(|one| one.hold.0 == one.want.0)
        .any(|one| {
            all.iter()
                .filter(|other| other.hold.0 == other.want.0)
                .any(|other| {
                    meets(one, other) && meets(other, one) && together(one, other, Some(one.want.0))
                })
        });
    fn ring<'a>(
        path: &mut Vec<&'a Waiting<'a>>,
        all: &'a [Waiting<'a>],
        meets: &dyn Fn(&Waiting<'_>, &Waiting<'_>) -> bool,
        together: &dyn Fn(&Waiting<'_>, &Waiting<'_>, Option<usize>) -> bool,
    ) -> bool {
        let last = path[path.len() - 1];
        if path.len() > 1 && meets(last, path[0]) && path.iter().any(|step| step.chosen) {
            return true;
        }
        for next in all {
            let fits = next.hold.0 != next.want.0
                && meets(last, next)
                && path
                    .iter()
                    .all(|p| p.hold.0 != next.hold.0 && together(p, next, None));
            if fits {
                path.push(next);
                if ring(path, all, meets, together) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }
    same_class
        || all
            .iter()
            .filter(|first| first.hold.0 != first.want.0)
            .any(|first| ring(&mut vec![first], &all, &meets, &together))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_can_deadlock_is_warned_of_and_nothing_else(
        visits in prop::collection::vec(visit(), 1..10),
    ) {
        let mut play = Play::default();
        for (done, visit) in visits.iter().enumerate() {
            play.run(&visit.script());
            let said = !play.orders.0.warnings().is_empty();
            prop_assert_eq!(said, can_deadlock(&visits[..=done]), "{}", visit.script());
        }
    }
}
