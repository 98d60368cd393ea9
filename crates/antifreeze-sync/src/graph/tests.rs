//! Small graphs as text, and random ones against slower ways to the same answer.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Candidate, Edge, Frame, Graph, Need, closed_set, stuck, victim};

/// Reads `1: 2 3~, any 4; 5!: 1`.
///
/// A frame, its waits, and `;`. After `!` something unknown may wake it; `~` marks one who only came
/// first. A wait is `2 3` for all, `any 2 3`, `?`, or `permits 4 free 1 of 2x3 5x1 ahead 6`.
fn graph(text: &str) -> Graph {
    let frame = |line: &str| {
        let (who, waits) = line.split_once(':').unwrap();
        let external = who.ends_with('!');
        let waits = waits.split(',').map(str::trim).filter(|w| !w.is_empty());
        let frame = Frame {
            external,
            waits: waits.map(need).collect(),
        };
        (who.trim_end_matches('!').parse().unwrap(), frame)
    };
    let lines = text.split(';').map(str::trim).filter(|l| !l.is_empty());
    Graph {
        frames: lines.map(frame).collect(),
    }
}

fn need(text: &str) -> Need {
    let edges = |text: &str| text.split_whitespace().map(edge).collect::<Vec<_>>();
    let Some(permits) = text.strip_prefix("permits ") else {
        return match text.strip_prefix("any") {
            _ if text == "?" => Need::External,
            Some(partners) => Need::Any(edges(partners)),
            None => Need::All(edges(text)),
        };
    };
    let (permits, ahead) = permits.split_once(" ahead ").unwrap_or((permits, ""));
    let (numbers, holders) = permits.split_once(" of ").unwrap_or((permits, ""));
    let (wanted, free) = numbers.split_once(" free ").unwrap();
    let holder = |text: &str| {
        let (frame, permits) = text.split_once('x').unwrap();
        (edge(frame), permits.parse().unwrap())
    };
    Need::Permits {
        wanted: wanted.parse().unwrap(),
        free: free.parse().unwrap(),
        holders: holders.split_whitespace().map(holder).collect(),
        ahead: edges(ahead),
    }
}

fn edge(text: &str) -> Edge {
    Edge {
        frame: text.trim_end_matches('~').parse().unwrap(),
        soft: text.ends_with('~'),
    }
}

/// Who is as good a victim as anybody: the greatest number is the youngest.
fn plain(frame: u64) -> Candidate {
    Candidate {
        frame,
        birth: frame,
        ..Candidate::default()
    }
}

mod reduce {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[u64]) {
        assert_eq!(stuck(&graph(text), true), expected);
    }

    #[track_caller]
    fn check_without_soft(text: &str, expected: &[u64]) {
        assert_eq!(stuck(&graph(text), false), expected);
    }

    #[test]
    fn nobody_waits() {
        check("", &[]);
        check("1:", &[]);
    }

    #[test]
    fn a_chain_ends_at_somebody_who_does_not_wait() {
        check("1: 2; 2: 3; 3: 4", &[]);
    }

    #[test]
    fn rings_of_one_two_and_three() {
        check("1: 1", &[1]);
        check("1: 2; 2: 1", &[1, 2]);
        check("1: 2; 2: 3; 3: 1", &[1, 2, 3]);
    }

    #[test]
    fn who_waits_for_a_ring_is_stuck_too() {
        check("1: 2; 2: 1; 3: 2; 4: 3; 5: 6", &[1, 2, 3, 4]);
    }

    #[test]
    fn what_is_unknown_may_end() {
        check("1!: 2; 2: 1", &[]);
        check("1: ?; 2: 1", &[]);
        check("1: 2, ?; 2: 1", &[]);
        check("1: any; 2: 1", &[]);
        check("1: permits 2 free 1; 2: 1", &[]);
    }

    #[test]
    fn all_blockers_have_to_go_on() {
        check("1: 2 9; 2: 1", &[1, 2]);
        check("1: 8 9; 2: 1", &[]);
    }

    #[test]
    fn one_partner_is_enough() {
        check("1: any 2 9; 2: 1", &[]);
        check("1: any 2 3; 2: 1; 3: 1", &[1, 2, 3]);
    }

    #[test]
    fn one_of_several_waits_is_enough() {
        check("1: 2, 9; 2: 1", &[]);
        check("1: 2, 3; 2: 1; 3: 1", &[1, 2, 3]);
    }

    #[test]
    fn permits_are_counted() {
        check("1: permits 2 free 1 of 2x1; 2: 1", &[1, 2]);
        check("1: permits 2 free 1 of 2x1 9x1; 2: 1", &[]);
        check("1: permits 3 free 1 of 2x1 9x1; 2: 1", &[1, 2]);
        check("1: permits 3 free 3 of 2x1; 2: 1", &[]);
    }

    #[test]
    fn permits_that_nobody_is_known_to_hold_come_back() {
        check("1: permits 9 free 0 of 8x1; 2: 1", &[]);
        check("1: permits 9 free 0 of 2x1; 2: 1", &[1, 2]);
    }

    #[test]
    fn one_who_holds_twice_counts_twice() {
        check("1: permits 2 free 0 of 9x1 9x1 2x5; 2: 1", &[]);
        check("1: 2 2; 2: 3; 3: 9", &[]);
    }

    #[test]
    fn numbers_beyond_all_measure_do_not_overflow() {
        let most = u64::MAX;
        let text = format!("1: permits {most} free {most} of 2x{most} 3x{most}; 2: 1; 3: 1");
        check(&text, &[]);
        let text = format!("1: permits {most} free 0 of 2x{most} 3x{most}; 2: 1; 3: 1");
        check(&text, &[1, 2, 3]);
    }

    #[test]
    fn those_ahead_in_the_queue_stand_in_the_way() {
        check("1: permits 1 free 1 ahead 2; 2: 1", &[1, 2]);
        check("1: permits 1 free 1 ahead 9; 2: 1", &[]);
        check_without_soft("1: permits 1 free 1 ahead 2; 2: 1", &[]);
    }

    #[test]
    fn who_only_came_first_can_be_left_out() {
        check("1: 2~; 2: 1", &[1, 2]);
        check_without_soft("1: 2~; 2: 1", &[]);
        check_without_soft("1: 2~ 2; 2: 1", &[1, 2]);
        check_without_soft("1: any 2~ 2; 2: 1", &[]);
        check_without_soft("1: permits 1 free 0 of 2x1 2~x1; 2: 1", &[]);
    }

    #[test]
    fn a_long_chain_and_many_waiters_take_no_time() {
        const LENGTH: u64 = 100_000;
        let all = |blocker| Frame {
            external: false,
            waits: vec![Need::All(vec![Edge {
                frame: blocker,
                soft: false,
            }])],
        };
        let chain = |last| Graph {
            frames: (0..LENGTH)
                .map(|frame| {
                    (
                        frame,
                        all(if frame < LENGTH - 1 { frame + 1 } else { last }),
                    )
                })
                .chain((LENGTH..2 * LENGTH).map(|frame| (frame, all(LENGTH / 2))))
                .collect(),
        };
        assert!(stuck(&chain(u64::MAX), true).is_empty());
        let ring = chain(0);
        let stuck = stuck(&ring, true);
        assert_eq!(stuck.len() as u64, 2 * LENGTH);
        assert_eq!(victim(&ring, &stuck, plain), Some(LENGTH - 1));
        for victim in [LENGTH - 1, 2 * LENGTH - 1] {
            assert_eq!(closed_set(&ring, &stuck, victim).len() as u64, LENGTH);
        }
    }
}

mod victims {
    use super::*;

    /// `of` changes candidates who are otherwise all alike.
    #[track_caller]
    fn check(text: &str, of: impl Fn(&mut Candidate), expected: Option<u64>) {
        let graph = graph(text);
        let candidate = |frame| {
            let mut candidate = plain(frame);
            of(&mut candidate);
            candidate
        };
        let stuck = stuck(&graph, true);
        assert_eq!(victim(&graph, &stuck, candidate), expected);
    }

    #[test]
    fn nobody_fails_where_nobody_is_stuck() {
        check("1: 2", |_| {}, None);
    }

    #[test]
    fn the_youngest_fails() {
        check("1: 2; 2: 3; 3: 1", |_| {}, Some(3));
        check("1: 2; 2: 3; 3: 1", |c| c.birth = 10 - c.frame, Some(1));
    }

    #[test]
    fn of_the_same_age_the_greater_frame_fails() {
        check("1: 2; 2: 3; 3: 1", |c| c.birth = 0, Some(3));
    }

    #[test]
    fn a_wait_with_a_deadline_fails_first() {
        check("1: 2; 2: 3; 3: 1", |c| c.timed = c.frame == 1, Some(1));
    }

    #[test]
    fn who_was_a_victim_before_is_spared() {
        let of = |c: &mut Candidate| {
            c.timed = c.frame == 3;
            c.times_victim = u32::from(c.frame == 3);
        };
        check("1: 2; 2: 3; 3: 1", of, Some(2));
    }

    #[test]
    fn then_who_matters_least_then_who_has_done_nothing_then_the_youngest_then_the_deepest() {
        let ring = "1: 2; 2: 3; 3: 1";
        check(ring, |c| c.priority = c.frame as i8 - 2, Some(1));
        check(ring, |c| c.before_body = c.frame < 3, Some(2));
        let of = |c: &mut Candidate| {
            c.birth = u64::from(c.frame < 3);
            c.depth = u32::from(c.frame == 1);
        };
        check(ring, of, Some(1));
    }

    #[test]
    fn who_only_waits_for_the_ring_does_not_fail() {
        check("1: 2; 2: 1; 3: 2; 4: 3", |_| {}, Some(2));
    }

    #[test]
    fn a_ring_that_waits_for_another_ring_does_not_fail() {
        check("1: 2; 2: 1; 3: 4 1; 4: 3", |_| {}, Some(2));
    }

    #[test]
    fn of_two_rings_the_one_with_the_lowest_candidate_fails() {
        check("1: 2; 2: 1; 3: 4; 4: 3", |_| {}, Some(4));
        check(
            "1: 2; 2: 1; 3: 4; 4: 3",
            |c| c.timed = c.frame == 1,
            Some(1),
        );
    }

    #[test]
    fn the_spared_do_not_fail() {
        check("1: 2; 2: 1", |c| c.spared = c.frame == 2, Some(1));
        check("1: 2; 2: 1", |c| c.spared = true, None);
    }

    #[test]
    fn where_the_whole_ring_is_spared_who_waits_for_it_fails() {
        check(
            "1: 2; 2: 1; 3: 2; 4: 3",
            |c| c.spared = c.frame < 3,
            Some(4),
        );
    }

    #[test]
    fn who_only_came_first_makes_no_knot_where_holders_do() {
        // The ring of 1 and 2 waits for the other only by its place in a queue.
        check(
            "1: 2; 2: 1 3~; 3: 4; 4: 3",
            |c| c.timed = c.frame == 1,
            Some(1),
        );
    }
}

mod closed_sets {
    use super::*;

    #[track_caller]
    fn check(text: &str, victim: u64, expected: &[u64]) {
        let graph = graph(text);
        let stuck = stuck(&graph, true);
        assert_eq!(closed_set(&graph, &stuck, victim), expected);
    }

    #[test]
    fn a_ring_is_in_the_order_of_waiting_and_begins_with_the_victim() {
        check("1: 1", 1, &[1]);
        check("1: 2; 2: 1", 2, &[2, 1]);
        check("1: 3; 3: 2; 2: 1", 3, &[3, 2, 1]);
    }

    #[test]
    fn who_waits_for_the_ring_is_left_out() {
        check("1: 2; 2: 1; 3: 2", 2, &[2, 1]);
    }

    #[test]
    fn the_shortest_ring_through_the_victim_is_shown() {
        check("1: 2; 2: 3 1; 3: 1", 1, &[1, 2]);
        check("1: 2; 2: 3 1; 3: 1", 3, &[3, 1, 2]);
        check("1: 1 2; 2: 1", 1, &[1]);
        check("1: 1 2; 2: 1", 2, &[2, 1]);
    }

    #[test]
    fn of_equal_ways_the_lowest_is_shown() {
        check("1: 3 2; 2: 4; 3: 4; 4: 1", 1, &[1, 2, 4]);
    }

    #[test]
    fn all_partners_are_shown() {
        check("1: any 3 2; 2: 1; 3: 1", 1, &[1, 2, 3]);
        check("1: any 2; 2: 1; 3: 1", 1, &[1, 2]);
    }

    #[test]
    fn every_wait_of_a_task_is_shown() {
        check("1: 3, 2; 2: 1; 3: 1", 1, &[1, 2, 3]);
        check("1: 2, 2; 2: 1", 1, &[1, 2]);
        // One blocker of each is enough.
        check("1: 2 4, 2 3; 2: 1; 3: 1; 4: 1", 1, &[1, 2]);
    }

    #[test]
    fn of_permits_only_those_that_matter_are_shown() {
        check("1: permits 1 free 0 of 2x1 3x1; 2: 1; 3: 1", 1, &[1, 2, 3]);
        check("1: permits 2 free 0 of 2x1 3x1; 2: 1; 3: 1", 1, &[1, 2]);
        check("1: permits 2 free 1 of 2x2 9x1; 2: 1", 1, &[]);
        check("1: permits 1 free 1 ahead 2 3; 2: 1; 3: 1", 1, &[1, 2]);
        check("1: permits 1 free 1 of 2x1 ahead 3; 2: 1; 3: 1", 1, &[1, 3]);
    }

    #[test]
    fn a_holder_proves_more_than_who_came_first() {
        check("1: 2; 2: 3 1~; 3: 1", 1, &[1, 2, 3]);
        check("1: 2; 2: 4 1~; 3: 1", 1, &[1, 2]);
    }

    #[test]
    fn what_the_victim_waits_for_is_in_it_though_it_does_not_lead_back() {
        check("1: any 2 3; 2: 1; 3: 4; 4: 3", 1, &[1, 2, 3, 4]);
    }

    #[test]
    fn a_victim_outside_of_the_ring_is_left_out() {
        check("1: 2; 2: 1; 3: 4; 4: 2", 3, &[1, 2]);
        check("1: 1; 2: 3; 3: 2; 4: any 2 1", 4, &[1]);
    }

    #[test]
    fn one_who_is_not_stuck_has_none() {
        check("1: 2", 1, &[]);
        check("1: 2; 2: 1; 3: 9", 3, &[]);
    }
}

/// Whether `need` is met when those who go on have gone on.
fn slow_is_met(need: &Need, goes: impl Fn(&Edge) -> bool, with_ahead: bool) -> bool {
    match need {
        Need::All(edges) => edges.iter().all(goes),
        Need::Any(edges) => edges.is_empty() || edges.iter().any(goes),
        Need::Permits {
            wanted,
            free,
            holders,
            ahead,
        } => {
            let known: u64 = holders.iter().map(|(_, permits)| permits).sum();
            let back = holders.iter().filter(|(edge, _)| goes(edge));
            let back: u64 = back.map(|(_, permits)| permits).sum();
            let is_first = !with_ahead || ahead.iter().all(goes);
            is_first && free + back >= *wanted.min(&(free + known))
        }
        Need::External => true,
    }
}

/// Who can never go on, by going over all of them until nothing changes any more.
fn slow_stuck(graph: &Graph, with_soft: bool) -> Vec<u64> {
    let mut stuck: BTreeSet<u64> = graph.frames.keys().copied().collect();
    loop {
        let before = stuck.clone();
        let goes = |edge: &Edge| !before.contains(&edge.frame) || edge.soft && !with_soft;
        stuck.retain(|frame| {
            let Frame { external, waits } = &graph.frames[frame];
            let can_end = |need: &Need| slow_is_met(need, goes, with_soft);
            !(*external || waits.is_empty() || waits.iter().any(can_end))
        });
        if before == stuck {
            return stuck.into_iter().collect();
        }
    }
}

/// All who are in the way of a stuck frame, and stuck themselves.
fn blockers(graph: &Graph, stuck: &[u64], frame: u64, with_soft: bool) -> Vec<u64> {
    let stays = |edge: &Edge| (with_soft || !edge.soft) && stuck.contains(&edge.frame);
    let of = |need: &Need| -> Vec<Edge> {
        let mut edges = match need {
            Need::All(edges) | Need::Any(edges) => edges.clone(),
            Need::Permits { .. } if slow_is_met(need, |edge| !stays(edge), false) => Vec::new(),
            Need::Permits { holders, .. } => holders.iter().map(|(edge, _)| *edge).collect(),
            Need::External => Vec::new(),
        };
        if let Need::Permits { ahead, .. } = need {
            edges.extend(ahead.iter().filter(|_| with_soft));
        }
        edges
    };
    let edges = graph.frames[&frame].waits.iter().flat_map(of);
    edges.filter(stays).map(|edge| edge.frame).collect()
}

/// Those who are stuck in the same way as `frame`, and whether that is behind others in a queue.
fn part_of(graph: &Graph, all: &[u64], frame: u64) -> (Vec<u64>, bool) {
    let without = slow_stuck(graph, false);
    match without.contains(&frame) {
        true => (without, false),
        false => (all.to_vec(), true),
    }
}

/// How many edges lead from each of `stuck` to each, at least one edge, where there is a way.
fn ways(graph: &Graph, stuck: &[u64], with_soft: bool) -> BTreeMap<(u64, u64), usize> {
    let mut ways = BTreeMap::new();
    for from in stuck {
        let mut at = blockers(graph, stuck, *from, with_soft);
        for length in 1..=stuck.len() {
            for to in &at {
                ways.entry((*from, *to)).or_insert(length);
            }
            at = at
                .iter()
                .flat_map(|frame| blockers(graph, stuck, *frame, with_soft))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
        }
    }
    ways
}

fn edges(frames: u64) -> impl Strategy<Value = Vec<Edge>> {
    let edge = (0..frames, prop::bool::weighted(0.2));
    prop::collection::vec(edge.prop_map(|(frame, soft)| Edge { frame, soft }), 0..4)
}

fn needs(frames: u64, only_all: bool) -> BoxedStrategy<Need> {
    let all = edges(frames).prop_map(Need::All);
    if only_all {
        return all.boxed();
    }
    let holders = (edges(frames), prop::collection::vec(0..3_u64, 4));
    let permits = (0..5_u64, 0..2_u64, holders, edges(frames)).prop_map(
        |(wanted, free, (edges, permits), ahead)| Need::Permits {
            wanted,
            free,
            holders: std::iter::zip(edges, permits).collect(),
            ahead,
        },
    );
    prop_oneof![
        10 => all,
        4 => edges(frames).prop_map(Need::Any),
        4 => permits,
        1 => Just(Need::External),
    ]
    .boxed()
}

/// With names of frames that are not in it.
fn graphs(only_all: bool) -> impl Strategy<Value = Graph> {
    let frames = 2..8_u64;
    frames.prop_flat_map(move |frames| {
        let waits = prop::collection::vec(needs(frames + 1, only_all), 0..3);
        let frame = (prop::bool::weighted(0.03), waits)
            .prop_map(|(external, waits)| Frame { external, waits });
        prop::collection::vec(frame, frames as usize).prop_map(|frames| Graph {
            frames: (0..).zip(frames).collect(),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn who_is_stuck_is_who_stays_when_all_others_went(graph in graphs(false)) {
        for with_soft in [false, true] {
            prop_assert_eq!(stuck(&graph, with_soft), slow_stuck(&graph, with_soft));
        }
    }

    #[test]
    fn leaving_out_who_only_came_first_frees_more(graph in graphs(false)) {
        let with = stuck(&graph, true);
        prop_assert!(stuck(&graph, false).iter().all(|frame| with.contains(frame)));
    }

    #[test]
    fn each_stuck_frame_has_a_stuck_frame_in_its_way(graph in graphs(false)) {
        for with_soft in [false, true] {
            let stuck = stuck(&graph, with_soft);
            for frame in &stuck {
                prop_assert!(!blockers(&graph, &stuck, *frame, with_soft).is_empty());
            }
        }
    }

    #[test]
    fn a_closed_set_blocks_itself(graph in graphs(false), with_soft: bool) {
        let all = stuck(&graph, with_soft);
        for victim in &all {
            let (part, with_soft) = part_of(&graph, &all, *victim);
            let ways = ways(&graph, &part, with_soft);
            let set = closed_set(&graph, &all, *victim);
            let alone = Graph {
                frames: set.iter().map(|frame| (*frame, graph.frames[frame].clone())).collect(),
            };
            let mut sorted = set.clone();
            sorted.sort_unstable();
            prop_assert!(!set.is_empty());
            prop_assert_eq!(stuck(&alone, with_soft), sorted, "{:?}", set);
            prop_assert_eq!(set.contains(victim), ways.contains_key(&(*victim, *victim)));
        }
    }

    #[test]
    fn if_all_wait_for_all_it_is_a_shortest_ring(graph in graphs(true), with_soft: bool) {
        let mut graph = graph;
        graph.frames.values_mut().for_each(|frame| frame.waits.truncate(1));
        let all = stuck(&graph, with_soft);
        for victim in &all {
            let (part, with_soft) = part_of(&graph, &all, *victim);
            let ways = ways(&graph, &part, with_soft);
            let ring = closed_set(&graph, &all, *victim);
            for (at, frame) in ring.iter().enumerate() {
                let next = ring[(at + 1) % ring.len()];
                prop_assert!(blockers(&graph, &part, *frame, with_soft).contains(&next));
            }
            let first = if ring.contains(victim) { Some(victim) } else { ring.iter().min() };
            prop_assert_eq!(ring.first(), first);
            if let Some(length) = ways.get(&(*victim, *victim)) {
                prop_assert!(ring.contains(victim));
                prop_assert_eq!(ring.len(), *length);
            }
        }
    }

    #[test]
    fn the_victim_is_the_lowest_of_the_last_knots(
        graph in graphs(false),
        with_soft: bool,
        traits in prop::collection::vec((0..2_u32, any::<bool>(), 0..3_u64, any::<bool>()), 8),
    ) {
        let of = |frame: u64| {
            let (times_victim, timed, birth, spared) = traits[frame as usize];
            Candidate { frame, times_victim, timed, birth, spared, ..Candidate::default() }
        };
        let all = stuck(&graph, with_soft);
        let rank = |frame: &u64| {
            let (part, with_soft) = part_of(&graph, &all, *frame);
            let ways = ways(&graph, &part, with_soft);
            let is_last = part.iter().all(|to| {
                !ways.contains_key(&(*frame, *to)) || ways.contains_key(&(*to, *frame))
            });
            let c = of(*frame);
            let youth = (u64::MAX - c.birth, u64::MAX - c.frame);
            (with_soft, !is_last, c.times_victim, !c.timed, youth)
        };
        let unspared = all.iter().copied().filter(|frame| !of(*frame).spared);
        prop_assert_eq!(victim(&graph, &all, of), unspared.min_by_key(rank));
    }
}
