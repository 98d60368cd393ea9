//! What we promise ourselves against the peers, and whether it was kept.

use serde::Serialize;

use super::Report;
use super::contestants::{Contestant, OURS};
use super::workloads::Workload;
use crate::cpus::Placement;

/// One promise.
#[derive(Serialize)]
pub(super) struct Target {
    pub(super) what: String,
    pub(super) bound: Bound,
    /// The ratio; `None` if the run left it out.
    pub(super) measured: Option<f64>,
}

/// What a ratio may be.
#[derive(Clone, Copy, Serialize)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    /// Whether it was kept, to the two digits that are shown; what was not measured was not kept.
    pub(super) fn is_kept(&self) -> bool {
        let shown = |ratio: f64| (ratio * 100.0).round();
        self.measured.is_some_and(|measured| match self.bound {
            Bound::AtMost(bound) => shown(measured) <= shown(bound),
            Bound::AtLeast(bound) => shown(measured) >= shown(bound),
        })
    }
}

/// Holds the report against our targets.
pub(super) fn judge(report: &Report) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    use Contestant::{Pyro5, RawTcp, Tarpc};

    let promises = [
        (Workload::OneCall, RawTcp, AtMost(1.35)),
        (Workload::OneCall, Tarpc, AtMost(0.99)),
        (Workload::Connections, RawTcp, AtLeast(0.75)),
        (Workload::Connections, Tarpc, AtLeast(1.5)),
        (Workload::InFlight, Tarpc, AtLeast(2.5)),
        (Workload::Batches, Pyro5, AtLeast(3.0)),
        (Workload::Echo1, RawTcp, AtLeast(0.6)),
        (Workload::Echo64, RawTcp, AtLeast(0.5)),
    ];
    let mut targets = Vec::new();
    for placement in Placement::ALL {
        targets.extend(promises.map(|(workload, peer, bound)| {
            let ratio = || {
                let ours = report.entry(OURS, workload, placement)?;
                Some(ours.against(report.entry(peer, workload, placement)?))
            };
            Target {
                what: format!(
                    "{placement}: {workload}, {} against {peer}",
                    workload.unit()
                ),
                bound,
                measured: ratio(),
            }
        }));
    }
    targets
}
