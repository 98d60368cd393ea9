//! The object `Antifreeze.Detector` of every daemon: answers other detectors, and people.

use antifreeze_serial::Exception;

use super::lane::{Lane, lane};
use super::peers::BODY;
use crate::waits::{self, Graph, PastDeadlock};
use crate::{call, expose};

/// Answers without waiting for anybody: it takes no lock and no worker.
pub(crate) struct DetectorObject;

impl DetectorObject {
    /// Its id.
    pub(crate) const ID: &'static str = "Antifreeze.Detector";

    fn lane() -> Result<&'static Lane, Exception> {
        lane().ok_or_else(|| {
            let text = "this program was built without the detection of deadlocks";
            Exception::new("builtins.RuntimeError", text)
        })
    }
}

#[expose]
impl DetectorObject {
    /// What another detector asks, in an annotation, as is the answer.
    #[quick]
    fn ask(&self) -> Result<(), Exception> {
        let Some(question) = call::own_annotation(BODY) else {
            let text = "expected a question in the annotation AFDM, found none";
            return Err(Exception::new("builtins.ValueError", text));
        };
        let answer = Self::lane()?.answer(&question);
        call::answer_with(BODY, answer.into());
        Ok(())
    }

    /// What it has done since the process began, in the text format of Prometheus.
    #[quick]
    fn metrics(&self) -> Result<String, Exception> {
        let counters = Self::lane()?.counters();
        let all = [
            (
                "checks",
                "looks at what is beyond the process",
                counters.checks,
            ),
            ("gathers", "questions to peers", counters.gathers),
            ("answered", "questions of peers", counters.answered),
            (
                "timeouts",
                "questions not answered in time",
                counters.timeouts,
            ),
            (
                "rejected",
                "checks whose second pass differed",
                counters.rejected,
            ),
            ("unreachable", "questions given up", counters.unreachable),
            (
                "malformed",
                "messages that could not be read",
                counters.malformed,
            ),
            (
                "truncated",
                "checks that would have asked for too much",
                counters.truncated,
            ),
            (
                "attaches",
                "reports through foreign hands",
                counters.attaches,
            ),
            ("verdicts", "verdicts made", counters.verdicts),
            ("accepted", "verdicts that ended a wait", counters.accepted),
            ("stale", "verdicts that came too late", counters.stale),
        ];
        let mut text = String::new();
        for (name, help, count) in all {
            let name = format!("antifreeze_detector_{name}_total");
            text += &format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}\n");
        }
        Ok(text)
    }

    /// Who waits for whom in this process, as [`waits::Graph`] describes it.
    #[quick]
    fn graph(&self) -> Result<Graph, Exception> {
        Self::lane()?;
        Ok(waits::graph())
    }

    /// The deadlocks of the last hour, as [`waits::PastDeadlock`] describes them.
    #[quick]
    fn deadlocks(&self) -> Result<Vec<PastDeadlock>, Exception> {
        Self::lane()?;
        Ok(waits::deadlocks())
    }
}
