//! What we promise ourselves, and whether it was kept.

use serde::Serialize;

use crate::calls::Report;
use crate::cpus::Placement;
use crate::row::{Peer, Row};
use crate::statistics;
use crate::wire::Serializer;

/// One promise.
#[derive(Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) at_most: f64,
    /// `None` if the run left it out.
    pub(crate) measured: Option<f64>,
}

impl Target {
    /// Whether it was kept; what was not measured was not kept.
    pub(crate) fn is_kept(&self) -> bool {
        // To the two digits that are shown: a thread that was late once is no third system call.
        let kept = |measured: f64| (measured * 100.0).round() <= self.at_most * 100.0;
        self.measured.is_some_and(kept)
    }
}

/// Holds the report against our targets. Times are those with both ends on one CPU.
pub(crate) fn judge(report: &Report) -> Vec<Target> {
    let ratio = |row, baseline| {
        let rounds = report.rounds(row, Placement::Pinned)?;
        Some(statistics::ratio(
            rounds,
            report.rounds(baseline, Placement::Pinned)?,
        ))
    };

    let ours = Row::new(Peer::Antifreeze, Peer::Antifreeze, Serializer::Msgpack);
    let mut targets = vec![Target {
        what: format!("{ours}: p50 against raw TCP"),
        at_most: 1.25,
        measured: ratio(ours, Row::RAW),
    }];

    let calls = report
        .counts(ours)
        .and_then(|counts| counts.system_calls.as_ref());
    for (end, calls) in [
        ("client", calls.map(|calls| &calls.client)),
        ("server", calls.map(|calls| &calls.server)),
    ] {
        targets.push(Target {
            what: format!("{ours}: system calls per call, {end}"),
            at_most: 2.0,
            measured: calls.map(|calls| calls.values().sum()),
        });
    }

    for serializer in Serializer::ALL {
        let row = Row::new(Peer::Pyro5, Peer::Antifreeze, serializer);
        targets.push(Target {
            what: format!("{row}: p50 against prepared bytes"),
            at_most: if serializer == Serializer::Serpent {
                1.2
            } else {
                1.15
            },
            measured: ratio(row, row.against(Peer::Prepared)),
        });
        targets.push(Target {
            what: format!("{row}: p50 against Pyro5's server"),
            at_most: 0.99,
            measured: ratio(row, row.against(Peer::Pyro5)),
        });
    }
    targets
}
