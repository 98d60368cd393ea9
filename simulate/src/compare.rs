//! Our detector beside others: as a table, and as charts.

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path as File;

use fastrand::Rng;

use crate::chart::{Chart, Scale};
use crate::program::{
    Class, MICRO, MILLI, Mishap, Network, Program, SECOND, Time, crowd, generate,
};
use crate::tally::{Tally, Times, run_many};
use crate::world::{Baseline, Latency, Path, Seen, World};

/// Who finds deadlocks; nobody else but our detector.
type Finder = Option<Baseline>;

const FINDERS: [Finder; 6] = [
    None,
    Some(Baseline::Probes),
    Some(Baseline::Leader),
    Some(Baseline::LeaderTwice),
    Some(Baseline::TimeOut(100 * MILLI)),
    Some(Baseline::TimeOut(SECOND)),
];

fn name(finder: Finder) -> &'static str {
    match finder {
        None => "Antifreeze",
        Some(Baseline::Probes) => "probes",
        Some(Baseline::Leader) => "leader",
        Some(Baseline::LeaderTwice) => "leader, seen twice",
        Some(Baseline::TimeOut(time)) if time < SECOND => "time-out of 100 ms",
        Some(Baseline::TimeOut(_)) => "time-out of 1 s",
    }
}

/// What there is between processes, and what goes wrong.
#[derive(Clone, Copy)]
enum Setting {
    Near,
    Far,
    Rough,
    /// This delay, and nothing else.
    Delay(Time),
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::Near => "near: up to 1 ms one way",
            Self::Far => "far: 40 ms one way",
            Self::Rough => {
                "near, one message of ten is lost, one of fifty doubled, and in each program a process \
                 crashes or stands still for up to 2 s, or two cannot reach each other for up to 3 s"
            }
            Self::Delay(_) => "",
        }
    }

    /// The same program here.
    fn of(self, mut program: Program, seed: u64) -> Program {
        let mut random = Rng::with_seed(seed);
        let near = program.network.delay.min(MILLI);
        let (delay, lost, doubled) = match self {
            Self::Near => (near, 0, 0),
            Self::Far => (40 * MILLI, 0, 0),
            Self::Rough => (near, 100, 20),
            Self::Delay(delay) => (delay, 0, 0),
        };
        program.network = Network {
            delay,
            lost,
            doubled,
        };
        // Then neither answers nor calls that show a fork are there in time.
        if program.forks && (delay > MILLI || lost > 0) {
            program.class = Class::Ambiguous;
        }
        program
            .mishaps
            .retain(|(_, mishap)| matches!(mishap, Mishap::Cancel(_)));
        if matches!(self, Self::Rough) {
            let (place, other) = (
                random.usize(..program.places.len()),
                random.usize(..program.places.len()),
            );
            let mishap = match random.u32(..3) {
                0 => Mishap::Crash(place),
                1 => Mishap::Pause(place, random.u64(MILLI..2 * SECOND)),
                _ => Mishap::Partition(place, other, random.u64(10 * MILLI..3 * SECOND)),
            };
            let at = random.u64(..60 * MILLI);
            program.mishaps.push((at, mishap));
        }
        program
    }
}

/// How many programs, and from where.
#[derive(Clone, Copy)]
pub struct Sample {
    pub count: u64,
    pub seed: u64,
    pub threads: Option<usize>,
}

impl Sample {
    fn run(self, finder: Finder, setting: Setting) -> Tally {
        run_many(self.count, self.threads, |number| {
            let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
            let program = setting.of(generate(seed), seed);
            let mut world = World::new(program.clone(), seed, None);
            if let Some(baseline) = finder {
                world.rely_on(baseline);
            }
            world.run();
            (program, world.seen)
        })
    }
}

/// The table, in Markdown.
pub fn table(sample: Sample) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for setting in [Setting::Near, Setting::Far, Setting::Rough] {
        writeln!(out, "{} programs, {}:\n", sample.count, setting.name())?;
        writeln!(
            out,
            "| | found, Rust only | p50, p99 | found, through Python | p50, p99 | false positives | needless \
             victims | wrong where a fork is hidden | messages a program, a deadlock |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        for finder in FINDERS {
            let seen = sample.run(finder, setting).sum;
            let found = |found: u64, missed: u64| {
                let all = (found + missed).max(1);
                format!("{:.2} %", found as f64 * 100.0 / all as f64)
            };
            let times = |opaque| {
                let times = beyond(&seen).filter(|one| one.opaque == opaque);
                let times: Vec<u32> = times.map(|one| one.took).collect();
                match times.is_empty() {
                    true => "–".into(),
                    false => {
                        let Times { p50, p99, .. } = Times::of(times);
                        format!("{p50:.0}, {p99:.0} ms")
                    }
                }
            };
            let messages = seen.messages as f64;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1}, {:.0} |",
                name(finder),
                found(
                    seen.found - seen.opaque_found,
                    seen.missed - seen.opaque_missed
                ),
                times(false),
                found(seen.opaque_found, seen.opaque_missed),
                times(true),
                seen.false_positives,
                seen.late.len(),
                seen.ambiguous + seen.overdue,
                messages / sample.count as f64,
                messages / beyond(&seen).count().max(1) as f64,
            )?;
        }
        writeln!(out)?;
    }
    Ok(out)
}

/// Of the deadlocks through several processes.
fn beyond(seen: &Seen) -> impl Iterator<Item = &Latency> {
    let all = seen.latencies.iter();
    all.filter(|one| one.path != Path::Local)
}

/// Very many agents.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub agents: usize,
    pub nodes: usize,
    /// So many of a thousand take locks against the order.
    pub wrong: u32,
    /// So many agents come to each lock in a second.
    pub per_lock: usize,
}

impl Crowd {
    pub fn run(self, seed: u64, finder: Finder) -> Tally {
        let mut world = World::new(crowd(seed, self), seed, None);
        world.large = true;
        if let Some(baseline) = finder {
            world.rely_on(baseline);
        }
        world.run();
        let mut tally = Tally::default();
        tally.add(0, &Program::default(), world.seen);
        tally
    }
}

/// Writes the charts into a directory.
pub fn charts(sample: Sample, most_agents: usize, into: &File) -> io::Result<()> {
    std::fs::write(
        into.join("detection-latency.svg"),
        latency(sample, most_agents).to_string(),
    )?;
    std::fs::write(
        into.join("detection-false-positives.svg"),
        false_positives(sample).to_string(),
    )?;
    std::fs::write(
        into.join("detection-messages.svg"),
        messages(sample).to_string(),
    )
}

fn latency(sample: Sample, most_agents: usize) -> Chart {
    let mut chart = Chart::new(
        "From the last wait to the verdict",
        ("agents", Scale::Log),
        ("ms", Scale::Log),
    );
    let sizes = [
        (1_000, 10),
        (10_000, 100),
        (100_000, 300),
        (1_000_000, 1_000),
    ];
    for finder in [None, FINDERS[1], FINDERS[2], FINDERS[3]] {
        let (mut usual, mut slow) = (Vec::new(), Vec::new());
        for (agents, nodes) in sizes {
            // Where deadlocks last, everybody comes to wait, and that takes long to simulate.
            let most = match finder {
                None => most_agents,
                Some(Baseline::Probes) => most_agents.min(10_000),
                Some(_) => most_agents.min(1_000),
            };
            if agents > most {
                continue;
            }
            let crowd = Crowd {
                agents,
                nodes,
                wrong: 20,
                per_lock: 20,
            };
            let seen = crowd.run(sample.seed, finder).sum;
            let took: Vec<u32> = beyond(&seen).map(|one| one.took).collect();
            if took.is_empty() {
                continue;
            }
            let times = Times::of(took);
            usual.push((agents as f64, times.p50));
            slow.push((agents as f64, times.p99));
        }
        chart.line(format!("{}, p50", name(finder)), usual);
        chart.line(format!("{}, p99", name(finder)), slow);
    }
    chart
}

fn false_positives(sample: Sample) -> Chart {
    let mut chart = Chart::new(
        "Verdicts for somebody who was in no deadlock",
        ("one way between two processes, ms", Scale::Log),
        ("of 1,000 programs", Scale::FromZero),
    );
    for finder in FINDERS {
        let delays = [50, 200, 1_000, 5_000, 20_000, 80_000, 200_000];
        let points = delays.map(|delay| {
            let tally = sample.run(finder, Setting::Delay(delay * MICRO));
            let wrong = tally.sum.false_positives as f64 * 1000.0;
            (delay as f64 / 1000.0, wrong / sample.count as f64)
        });
        chart.line(name(finder).into(), points.into());
    }
    chart
}

fn messages(sample: Sample) -> Chart {
    let mut chart = Chart::new(
        "Messages, 1,000 agents in 10 processes",
        ("agents that come to each lock in a second", Scale::Log),
        ("messages in all", Scale::Log),
    );
    for finder in [None, FINDERS[1], FINDERS[2]] {
        let loads = [2, 5, 10, 20, 40];
        let points = loads.map(|per_lock| {
            let crowd = Crowd {
                agents: 1_000,
                nodes: 10,
                wrong: 5,
                per_lock,
            };
            let seen = crowd.run(sample.seed, finder).sum;
            (per_lock as f64, seen.messages.max(1) as f64)
        });
        chart.line(name(finder).into(), points.into());
    }
    chart
}
