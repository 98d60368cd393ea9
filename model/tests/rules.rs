//! The small configurations, each as a test of its own: what must hold, and what must be caught.

use antifreeze_model::configs;
use antifreeze_model::explore::{Options, explore};

const QUIET: Options = Options {
    threads: 2,
    trace: false,
    progress: false,
};

#[track_caller]
fn check(name: &str) {
    let config = configs::named(name).expect("there is such a configuration");
    let report = explore(&config, QUIET);
    assert!(
        report.outcome.is(config.expect),
        "{name}: {:?} after {} steps and {} states, expected {:?}",
        report.outcome,
        report.depth,
        report.states,
        config.expect
    );
}

macro_rules! rules {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        #[test]
        fn every_small_configuration_is_tested() {
            let tested = [$($name),*];
            for config in configs::all().iter().filter(|config| !config.large) {
                assert!(tested.contains(&config.name), "{} is not", config.name);
            }
        }
    };
}

rules! {
    // Edges first, then epochs.
    fifo_mutexes: "mutex";
    barging_mutexes: "mutex-barging";
    mutexes_whose_queue_can_be_overtaken: "mutex-passing";
    mutexes_without_time_outs: "mutex-patient";
    epochs_that_are_read_one_by_one: "mutex-epochs";
    edges_that_must_not_change_at_all: "mutex-exact";
    readers_and_writers: "rwlock-2";
    weighted_semaphores: "semaphore-2";
    tasks_with_several_waits: "or";
    tasks_and_threads_that_overtake_threads: "or-passing";
    timers_that_others_drop: "or-dropped";
    events_with_declared_notifiers: "event";
    calls_on_the_callers_thread: "call";
    calls_within_calls: "call-nested";
    threads_that_block_on_tasks: "call-task";
    strict_hand_off_needs_no_epochs_after_the_edges: "first-strict";

    // Frame by frame is not enough.
    frame_by_frame_is_caught_at_barging_mutexes: "first-mutex";
    frame_by_frame_is_caught_at_barging_rwlocks: "first-rwlock";
    frame_by_frame_is_caught_at_unfair_semaphores: "first-semaphore";
    frame_by_frame_is_caught_where_readers_pass_writers: "first-admit";
    frame_by_frame_is_caught_at_tasks: "first-or";
    an_owner_read_after_the_epoch_is_caught: "first-unpinned";

    // Mistakes.
    no_second_pass_is_caught: "no-pass-2";
    a_grant_without_an_epoch_is_caught: "silent-grant";
    a_grant_of_permits_without_an_epoch_is_caught: "silent-permit";
    a_wake_without_an_epoch_is_caught: "silent-wake";
    an_end_without_an_epoch_is_caught: "silent-end";
    an_owner_written_too_late_is_caught: "late-owner";
    a_deadlock_hidden_by_an_owner_written_too_late_is_caught: "late-owner-miss";
    a_guard_that_moves_is_caught: "moved-guard";
    partners_that_change_unnoticed_are_caught: "no-partners-seq";
    or_taken_for_and_is_caught: "or-as-and";
    failing_who_could_be_let_past_is_caught: "soft-failed";
    deciding_by_the_first_edges_is_caught: "old-edges";
    stopping_at_the_first_running_reader_is_caught: "early-stop";
    failing_a_task_for_its_own_lock_is_caught: "self-is-deadlock";
    not_repeating_a_rejected_check_is_caught: "no-repeat";
    no_check_after_a_grant_to_a_blocked_task_is_caught: "no-check-on-grant";
    a_check_before_the_new_owner_is_written_is_caught: "early-check-on-grant";
    a_caller_that_seems_to_run_is_caught: "no-call-edge";
    no_check_after_a_notifier_left_is_caught: "no-check-on-leave";
    no_check_after_a_waker_was_dropped_is_caught: "no-check-on-drop";
}
