//! Every way to break the detectors is noticed; and what is not broken passes the same programs.

use simulate::program::{
    Program, answered, crossing, crossing_single_threaded, fork, generate, given_up, hanging_up,
    phantom,
};
use simulate::{Fault, Tally, world};

/// Runs so many programs of a sort.
fn tally(make: fn(u64) -> Program, count: u64, fault: Option<Fault>) -> Tally {
    let mut tally = Tally::default();
    for number in 0..count {
        let program = make(number);
        let seen = world::run(program.clone(), number, fault);
        tally.add(number, &program, seen);
    }
    tally
}

/// What is counted of a broken detector is more than this, and nothing of one that is not broken.
#[track_caller]
fn check(
    make: fn(u64) -> Program,
    count: u64,
    fault: Fault,
    wrong: impl Fn(&Tally) -> u64,
    at_least: u64,
) {
    let sound = tally(make, count, None);
    assert_eq!(
        wrong(&sound),
        0,
        "{fault:?} is not needed for this:\n{sound}"
    );
    let broken = tally(make, count, Some(fault));
    assert!(
        wrong(&broken) >= at_least,
        "{fault:?} is not noticed:\n{broken}"
    );
}

fn false_positives(tally: &Tally) -> u64 {
    tally.sum.false_positives
}

fn random(seed: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed)
}

#[test]
fn believing_what_was_read_once_finds_phantoms() {
    check(
        |seed| phantom(&mut random(seed)),
        2000,
        Fault::NoSecondPass,
        false_positives,
        5,
    );
}

#[test]
fn looking_at_epochs_before_edges_finds_phantoms() {
    check(
        |seed| phantom(&mut random(seed)),
        20_000,
        Fault::EpochsFirst,
        false_positives,
        1,
    );
}

#[test]
fn without_reports_of_children_deadlocks_through_python_are_missed() {
    let missed = |tally: &Tally| tally.sum.missed;
    check(generate, 2000, Fault::AttachDropped, missed, 5);
}

#[test]
fn a_verdict_that_comes_too_late_fails_the_wrong_wait() {
    check(
        generate,
        10_000,
        Fault::StaleVerdictAccepted,
        false_positives,
        1,
    );
}

#[test]
fn taking_one_of_several_waits_for_all_finds_what_is_no_deadlock() {
    check(generate, 2000, Fault::OrAsAnd, false_positives, 5);
}

#[test]
fn children_that_come_and_go_between_the_passes_are_noticed() {
    check(
        |seed| fork(&mut random(seed)),
        300,
        Fault::ChildrenNotCompared,
        false_positives,
        5,
    );
}

#[test]
fn believing_a_child_of_an_opaque_hop_at_once_finds_what_is_no_deadlock() {
    check(
        |seed| fork(&mut random(seed)),
        300,
        Fault::OpaqueConfirmZero,
        false_positives,
        5,
    );
}

#[test]
fn whoever_prefers_victims_of_its_own_fails_too_many() {
    let late = |tally: &Tally| tally.sum.late.len() as u64;
    check(
        |seed| crossing(&mut random(seed)),
        300,
        Fault::OwnVictimsFirst,
        late,
        5,
    );
}

#[test]
fn whoever_only_came_first_is_no_reason_to_fail() {
    check(generate, 5000, Fault::SoftReported, false_positives, 5);
}

#[test]
fn a_call_that_a_python_program_has_given_up_leads_to_nobody() {
    let make = |seed| hanging_up(&mut random(seed));
    // Until it gave up, there was a deadlock.
    let late = |tally: &Tally| tally.sum.late.len() as u64;
    check(make, 300, Fault::HangUpIgnored, late, 5);
    let missed = |tally: &Tally| tally.sum.missed;
    check(make, 300, Fault::HangUpIgnored, missed, 5);
}

#[test]
fn a_call_that_was_answered_occupies_nobody() {
    check(
        |seed| answered(&mut random(seed)),
        300,
        Fault::AnsweredOccupies,
        false_positives,
        5,
    );
}

#[test]
fn a_call_that_was_given_up_still_occupies_a_single_threaded_hop() {
    check(
        |seed| given_up(&mut random(seed)),
        300,
        Fault::GivenUpForgotten,
        |tally| tally.sum.missed,
        5,
    );
}

#[test]
fn two_chains_in_one_single_threaded_hop_are_found() {
    let tally = tally(
        |seed| crossing_single_threaded(&mut random(seed)),
        200,
        None,
    );
    assert!(tally.sum.found > 100 && tally.sum.missed == 0, "{tally}");
}
