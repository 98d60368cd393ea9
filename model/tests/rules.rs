//! The small configurations, each as a test of its own: what must hold, and what must be caught.

use antifreeze_model::explore::{Machine, Options, explore};
use antifreeze_model::{configs, nodes};

const QUIET: Options = Options {
    threads: 2,
    trace: false,
    progress: false,
    bound: u64::MAX,
};

#[track_caller]
fn check(name: &str) {
    match (configs::named(name), nodes::configs::named(name)) {
        (Some(config), None) => check_config(&config),
        (None, Some(config)) => check_config(&config),
        _ => panic!("there is not one configuration `{name}`"),
    }
}

#[track_caller]
fn check_config<M: Machine>(config: &M) {
    let report = explore(config, QUIET);
    assert!(
        report.outcome.is(config.expect()),
        "{}: {:?} after {} steps and {} states, expected {:?}",
        config.name(),
        report.outcome,
        report.depth,
        report.states,
        config.expect()
    );
}

/// The names of the configurations that are not only for `--full`.
fn small<M: Machine>(configs: &[M]) -> impl Iterator<Item = &'static str> {
    configs.iter().filter(|config| !config.large()).map(M::name)
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
            for name in small(&configs::all()).chain(small(&nodes::configs::all())) {
                assert!(tested.contains(&name), "{name} is not");
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

    // Between nodes.
    calls_between_nodes: "nodes";
    nodes_that_are_read_at_once: "nodes-at-once";
    nodes_that_crash_and_messages_that_are_lost: "nodes-crash";
    tasks_that_call_other_nodes: "nodes-or";
    two_checks_at_once: "two";
    calls_back_into_a_pool_of_one: "pool";
    calls_within_a_pool_of_two: "pool-of-2";
    a_hop: "hop";
    a_hop_that_forks: "hop-forks";
    a_hop_that_does_one_thing_at_a_time: "single";

    // Mistakes between nodes.
    no_second_pass_between_nodes_is_caught: "nodes-no-pass-2";
    frame_by_frame_is_caught_between_nodes: "nodes-by-frame";
    epochs_before_edges_are_caught: "nodes-reversed";
    a_verdict_for_another_wait_is_caught: "nodes-unchecked";
    two_orders_of_victims_are_caught: "two-orders";
    a_pool_taken_for_and_is_caught: "pool-as-and";
    a_queued_call_that_is_no_frame_is_caught: "pool-unseen";
    a_fork_that_nothing_shows_is_a_phantom: "hop-fork";
    a_hop_that_gives_up_another_is_a_phantom: "hops-give-up";
    children_that_are_not_compared_are_caught: "hop-not-compared";
    children_compared_as_a_set_are_caught: "hop-as-set";
    one_child_of_several_is_caught: "hop-any-child";
    a_closed_connection_that_is_ignored_is_caught: "hop-end-ignored";
    a_child_that_is_not_confirmed_is_caught: "hop-unconfirmed";
    no_pause_is_caught_where_a_connection_ends: "hop-no-pause";
    no_pause_is_caught_where_an_annotation_is_stale: "hop-stale";
    nobody_attaching_is_caught: "hop-no-attach";
    no_check_after_attaching_is_caught: "hop-no-check";
    no_check_after_detaching_is_caught: "hop-no-check-on-detach";
    children_that_are_no_more_are_caught: "hop-ghosts";
    children_that_count_for_ever_are_caught: "hop-once-forked";
    an_occupied_hop_that_seems_free_is_caught: "single-unseen";
    an_occupied_hop_whose_caller_gave_up_is_caught: "single-outstanding";
    an_occupied_hop_that_has_answered_is_caught: "single-answered";
    any_child_of_an_occupied_hop_is_caught: "single-any-child";
    calls_to_an_occupied_hop_that_stay_are_caught: "single-no-victim";
    no_check_of_a_call_to_an_occupied_hop_is_caught: "single-no-check";
    no_repeated_check_behind_an_occupied_hop_is_caught: "single-no-repeats";
}
