//! What we promise ourselves on the nested dicts, and whether it was kept.

use serde::Serialize;

use super::Report;
use super::data::Dataset;
use super::job::{Codec, Contest, Contestant, Operation};

/// One promise.
#[derive(Serialize)]
pub(super) struct Target {
    contest: Contest,
    contestant: Contestant,
    peer: Contestant,
    at_least: f64,
    /// How many times as fast as the peer; `None` if the run left it out.
    measured: Option<f64>,
}

impl Target {
    /// Whether it was kept, to the two digits that are shown; what was not measured was not kept.
    pub(super) fn is_kept(&self) -> bool {
        let shown = |ratio: f64| (ratio * 100.0).round();
        let kept = |measured| shown(measured) >= shown(self.at_least);
        self.measured.is_some_and(kept)
    }

    pub(super) fn at_least(&self) -> f64 {
        self.at_least
    }

    pub(super) fn measured(&self) -> Option<f64> {
        self.measured
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Contest {
            codec, operation, ..
        } = self.contest;
        write!(
            out,
            "{codec}, {operation}: {} against {}",
            self.contestant, self.peer
        )
    }
}

/// Holds the report against our targets.
pub(super) fn judge(report: &Report) -> Vec<Target> {
    use Codec::{Json, Marshal, Msgpack, Serpent};
    use Contestant::{Python, RmpSerde, SerdeJson, SerdeJsonValue, Typed, Value};
    use Operation::{Decode, Encode};

    let promises = [
        (Serpent, Decode, Typed, Python, 25.0),
        (Serpent, Encode, Typed, Python, 8.0),
        (Serpent, Decode, Value, Python, 25.0),
        (Serpent, Encode, Value, Python, 8.0),
        (Marshal, Decode, Typed, Python, 2.0),
        (Marshal, Encode, Typed, Python, 1.0),
        (Json, Decode, Typed, Python, 1.0),
        (Json, Encode, Typed, Python, 2.0),
        (Json, Decode, Typed, SerdeJson, 0.5),
        (Json, Encode, Typed, SerdeJson, 0.5),
        (Json, Decode, Value, SerdeJsonValue, 0.8),
        (Json, Encode, Value, SerdeJsonValue, 0.8),
        (Msgpack, Decode, Typed, Python, 2.0),
        (Msgpack, Encode, Typed, Python, 2.0),
        (Msgpack, Decode, Typed, RmpSerde, 0.5),
        (Msgpack, Encode, Typed, RmpSerde, 0.5),
    ];
    let target = |(codec, operation, contestant, peer, at_least)| {
        let contest = Contest {
            codec,
            dataset: Dataset::Nested,
            operation,
        };
        let line = report.line(contest);
        Target {
            contest,
            contestant,
            peer,
            at_least,
            measured: line.and_then(|line| line.ratio(contestant, peer)),
        }
    };
    // A run of only some lines, or of instructions, judges what it has.
    let targets = promises.map(target).into_iter();
    targets
        .filter(|target| !report.counted && report.line(target.contest).is_some())
        .collect()
}
