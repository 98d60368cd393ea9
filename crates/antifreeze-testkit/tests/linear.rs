//! Which histories the checker accepts, and which it does not.

use antifreeze_testkit::{Model, Operation, check_linear};

/// A number that can be set, added to, and read.
struct Register;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Set(i64),
    Add(i64),
    Get,
}
use Call::{Add, Get, Set};

impl Model for Register {
    type State = i64;
    type Call = Call;
    type Answer = i64;

    fn step(state: &i64, call: &Call, answer: Option<&i64>) -> Option<i64> {
        let next = match *call {
            Set(value) => value,
            Add(value) => state + value,
            Get => *state,
        };
        answer.is_none_or(|answer| *answer == next).then_some(next)
    }
}

/// When it began and had its answer, what was asked, and the answer.
type Row = (u64, u64, Call, Option<i64>);

fn history(rows: &[Row]) -> Vec<Operation<Register>> {
    let operation = |&(from, until, call, answer): &Row| Operation {
        call,
        answer,
        from,
        until,
    };
    rows.iter().map(operation).collect()
}

#[track_caller]
fn check(rows: &[Row], expected: bool) {
    let found = check_linear(history(rows));
    assert_eq!(found.is_ok(), expected, "{found:?}");
}

#[test]
fn calls_one_after_the_other() {
    check(&[], true);
    check(&[(0, 1, Get, Some(0))], true);
    check(&[(0, 1, Get, Some(1))], false);
    check(&[(0, 1, Set(5), Some(5)), (2, 3, Get, Some(5))], true);
    check(&[(2, 3, Get, Some(5)), (0, 1, Set(5), Some(5))], true);
    // Too early, and too late.
    check(&[(0, 1, Get, Some(5)), (2, 3, Set(5), Some(5))], false);
    check(&[(0, 1, Set(5), Some(5)), (2, 3, Get, Some(0))], false);
}

#[test]
fn calls_that_overlap() {
    for seen in [0, 5] {
        check(&[(0, 9, Set(5), Some(5)), (1, 2, Get, Some(seen))], true);
    }
    check(&[(0, 9, Set(5), Some(5)), (1, 2, Get, Some(7))], false);
    // Once it was seen it stays, whoever looks.
    let reads = |first, second| {
        [
            (0, 9, Set(5), Some(5)),
            (1, 2, Get, Some(first)),
            (3, 4, Get, Some(second)),
        ]
    };
    check(&reads(0, 5), true);
    check(&reads(5, 0), false);
    // Two reads in two processes that disagree about the order of two writes.
    let writes = [(0, 9, Set(1), Some(1)), (0, 9, Set(2), Some(2))];
    let disagreeing = [(10, 11, Get, Some(1)), (12, 13, Get, Some(2))];
    check(&[&writes[..], &disagreeing[..1]].concat(), true);
    check(&[&writes[..], &disagreeing[..]].concat(), false);
}

#[test]
fn a_lost_update_is_noticed() {
    let both = |first, second| [(0, 5, Add(1), Some(first)), (1, 6, Add(1), Some(second))];
    check(&both(1, 2), true);
    check(&both(2, 1), true);
    check(&both(1, 1), false);
    check(&[&both(1, 2)[..], &[(7, 8, Get, Some(1))]].concat(), false);
}

#[test]
fn a_call_without_an_answer_may_have_happened_or_not_and_at_any_time() {
    for seen in [0, 5] {
        check(&[(0, 1, Set(5), None), (7, 8, Get, Some(seen))], true);
    }
    // Not before it began, not twice, and not back again.
    check(&[(0, 1, Get, Some(5)), (2, 3, Set(5), None)], false);
    check(&[(0, 1, Add(5), None), (2, 3, Get, Some(10))], false);
    let gone = [
        (0, 1, Set(5), None),
        (2, 3, Get, Some(5)),
        (4, 5, Get, Some(0)),
    ];
    check(&gone, false);
    check(
        &[
            (0, 1, Set(5), None),
            (2, 3, Get, Some(0)),
            (4, 5, Get, Some(5)),
        ],
        true,
    );
}

#[test]
fn many_without_an_answer_that_do_the_same_are_no_trouble() {
    let mut rows: Vec<Row> = (0..200).map(|at| (at, 0, Add(1), None)).collect();
    rows.extend((0..100).map(|at| (300 + 2 * at, 301 + 2 * at, Get, Some(at as i64))));
    check(&rows, true);
    rows.push((900, 901, Get, Some(201)));
    check(&rows, false);
}

/// All orders, one after the other.
fn by_force(rows: &[Row], done: &mut Vec<usize>, state: i64) -> bool {
    let open = || (0..rows.len()).filter(|index| !done.contains(index));
    if open().all(|index| rows[index].3.is_none()) {
        return true;
    }
    let may_be_next = |index: &usize| {
        let earlier = |other: usize| rows[other].3.is_some() && rows[other].1 < rows[*index].0;
        !open().any(earlier)
    };
    let candidates: Vec<_> = open().filter(may_be_next).collect();
    candidates.into_iter().any(|index| {
        let Some(next) = Register::step(&state, &rows[index].2, rows[index].3.as_ref()) else {
            return false;
        };
        done.push(index);
        let found = by_force(rows, done, next);
        done.pop();
        found
    })
}

#[test]
fn the_verdict_is_that_of_all_orders_tried() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut verdicts = [0, 0];
    for _ in 0..3_000 {
        let rows: Vec<Row> = (0..1 + random(6))
            .map(|_| {
                let from = random(8);
                let call = match random(3) {
                    0 => Set(random(2) as i64),
                    1 => Add(1),
                    _ => Get,
                };
                let answer = (random(4) > 0).then(|| random(3) as i64);
                (from, from + random(5), call, answer)
            })
            .collect();
        let expected = by_force(&rows, &mut Vec::new(), 0);
        verdicts[usize::from(expected)] += 1;
        assert_eq!(check_linear(history(&rows)).is_ok(), expected, "{rows:?}");
    }
    assert!(verdicts.iter().all(|count| *count > 300), "{verdicts:?}");
}
