//! That the explorer goes everywhere, once, and knows the truth.

use std::collections::BTreeSet;

use antifreeze_model::config::{Config, Resource};
use antifreeze_model::explore::{Machine, Options, Outcome, explore};
use antifreeze_model::state::{State, Status};
use antifreeze_model::step::{Act, NOTHING};
use antifreeze_model::truth::{Edges, deadlocked};
use antifreeze_model::{configs, nodes};

fn options(threads: usize, trace: bool) -> Options {
    Options {
        threads,
        trace,
        progress: false,
        bound: u64::MAX,
    }
}

/// All states, without renaming and without hashes.
fn all_states<M: Machine<State: Ord>>(config: &M) -> BTreeSet<M::State> {
    let start = config.start();
    let mut states = BTreeSet::from([start]);
    let mut left = vec![start];
    let mut out = Vec::new();
    while let Some(state) = left.pop() {
        out.clear();
        config.successors(&state, &mut out);
        left.extend(
            out.iter()
                .map(|(_, next)| *next)
                .filter(|next| states.insert(*next)),
        );
    }
    states
}

#[track_caller]
fn check_count<M: Machine<State: Ord>>(config: &M) {
    let states = all_states(config);
    let plain: BTreeSet<u64> = states.iter().map(M::fingerprint).collect();
    assert_eq!(plain.len(), states.len(), "fingerprints differ");
    let symmetry = config.symmetry();
    let alike: BTreeSet<M::State> = states
        .iter()
        .map(|state| M::canonical(&symmetry, state).1)
        .collect();
    for threads in [1, 2] {
        let report = explore(config, options(threads, false));
        assert_eq!(report.outcome, Outcome::Sound);
        assert_eq!(report.states, alike.len() as u64, "on {threads} threads");
    }
}

#[test]
fn threads_are_explored_once_but_for_names() {
    check_count(&Config::new("", "", 3, &[Resource::mutex().barging(); 2]));
}

#[test]
fn tasks_and_queues_are_explored_once_but_for_names() {
    let mut config = Config::new("", "", 2, &[Resource::rwlock(), Resource::mutex()]);
    check_count(&config);
    config.tasks = 1;
    check_count(&config);
    config.resources = vec![Resource::mutex(); 2];
    config.tasks = 3;
    config.timers = true;
    check_count(&config);
}

#[test]
fn events_are_explored_once_but_for_names() {
    check_count(&Config::new("", "", 2, &[Resource::event(); 2]));
}

#[test]
fn calls_are_explored_once_but_for_names() {
    let resources = [Resource::mutex(), Resource::mutex(), Resource::call()];
    let mut config = Config::new("", "", 3, &resources);
    config.calls = 4;
    check_count(&config);
}

#[test]
fn nodes_are_explored_once_but_for_names() {
    use nodes::config::{Config, Frame, Lock, Role};
    let frame = |node, role| Frame { node, role };
    let mutex = |node| Lock {
        node,
        capacity: 1,
        pool: false,
    };
    let pair = [
        frame(0, Role::Root),
        frame(1, Role::Root),
        frame(0, Role::Served),
        frame(1, Role::Served),
    ];
    let mut config = Config::new("", "", &pair, &[mutex(0), mutex(1)]);
    check_count(&config);
    config.frames[0].role = Role::Task;
    config.crashes = 3;
    config.whole_nodes = true;
    check_count(&config);
    let behind = [
        frame(0, Role::Root),
        frame(0, Role::Served),
        frame(2, Role::Hop),
    ];
    let mut config = Config::new("", "", &behind, &[mutex(0)]);
    config.hop_timeouts = true;
    config.stale = true;
    config.forks = true;
    config.forgive_forks = true;
    check_count(&config);
    config.detectors = 2;
    check_count(&config);
}

/// Does these, in order.
fn after(config: &Config, acts: &[(usize, Act, usize)]) -> State {
    acts.iter()
        .fold(State::START, |state, &(frame, act, resource)| {
            let mut out = Vec::new();
            config.successors(&state, &mut out);
            let step = out.iter().find(|(step, _)| {
                (step.frame, step.act) == (frame, act)
                    && (resource == NOTHING || step.resource == resource)
            });
            step.unwrap_or_else(|| panic!("{frame} cannot {act:?} {resource}"))
                .1
        })
}

#[test]
fn two_threads_that_wait_for_each_other_are_deadlocked() {
    let config = Config::new("", "", 3, &[Resource::mutex(); 2]);
    let half = [(0, Act::Take, 0), (1, Act::Take, 1), (0, Act::Ask, 1)];
    assert_eq!(deadlocked(&config, &after(&config, &half), Edges::All), 0);
    let whole = [&half[..], &[(1, Act::Ask, 0)]].concat();
    assert_eq!(deadlocked(&config, &after(&config, &whole), Edges::All), 3);
    // Who waits for them is, too.
    let third = [&whole[..], &[(2, Act::Ask, 0)]].concat();
    assert_eq!(deadlocked(&config, &after(&config, &third), Edges::All), 7);
}

#[test]
fn a_task_with_a_timer_is_not_deadlocked() {
    let mut config = Config::new("", "", 2, &[Resource::mutex(); 2]);
    config.tasks = 3;
    config.timers = true;
    let half = [
        (0, Act::Take, 0),
        (1, Act::Take, 1),
        (1, Act::Ask, 0),
        (1, Act::Sleep, NOTHING),
        (0, Act::Ask, 1),
    ];
    let plain = [&half[..], &[(0, Act::Sleep, NOTHING)]].concat();
    assert_eq!(deadlocked(&config, &after(&config, &plain), Edges::All), 3);
    let timed = [
        &half[..],
        &[(0, Act::Arm, NOTHING), (0, Act::Sleep, NOTHING)],
    ]
    .concat();
    assert_eq!(deadlocked(&config, &after(&config, &timed), Edges::All), 0);
}

#[test]
fn a_trace_leads_to_the_phantom() {
    let config = configs::named("first-mutex").expect("there is such a configuration");
    let report = explore(&config, options(1, true));
    assert_eq!(report.outcome, Outcome::Phantom);
    assert_eq!(report.trace.len(), report.depth);
    let told: Vec<String> = report
        .trace
        .iter()
        .map(|(step, after)| step.tell(&config, after))
        .collect();
    assert!(told[0].contains(" takes M"), "{told:#?}");
    assert!(told[report.depth - 1].contains("DEADLOCK"), "{told:#?}");
    let nobody = |(_, state): &(_, State)| deadlocked(&config, state, Edges::All) == 0;
    assert!(report.trace.iter().all(nobody));
    let running = |(_, state): &(_, State)| state.status.contains(&Status::Run);
    assert!(report.trace.iter().all(running));
}

#[test]
fn a_trace_between_nodes_leads_to_the_phantom() {
    let config = nodes::configs::named("nodes-by-frame").expect("there is such a configuration");
    let report = explore(&config, options(1, true));
    assert_eq!(report.outcome, Outcome::Phantom);
    assert_eq!(report.trace.len(), report.depth);
    let told: Vec<String> = report
        .trace
        .iter()
        .map(|(step, after)| config.tell(step, after))
        .collect();
    assert!(told[0].contains(" takes L"), "{told:#?}");
    assert!(told[report.depth - 1].contains("DEADLOCK"), "{told:#?}");
    let nobody = |(_, state): &(_, _)| nodes::truth::deadlocked(&config, state) == 0;
    assert!(report.trace.iter().all(nobody));
}
