//! The report as Markdown, to be read in a terminal and pasted in a README.

use std::fmt::{self, Display, Formatter};

use super::Report;
use super::contestants::Contestant;
use super::targets::Bound;
use super::workloads::{Unit, Workload};
use crate::cpus::Placement;
use crate::markdown::machine;

/// The report, to be displayed.
pub(crate) struct Markdown<'a>(pub(crate) &'a Report);

impl Display for Markdown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(out, "## Ours and others\n")?;
        machine(&report.machine, out)?;
        writeln!(out, "- {}", report.versions.join(", "))?;
        writeln!(
            out,
            "- {} interleaved rounds of {} ms each; medians over the rounds; ratios are within a \
            round, then the median",
            report.rounds, report.milliseconds
        )?;
        let pinned = format!("Both ends on CPU {}", report.pinned_to);
        table(report, Placement::Pinned, &pinned, out)?;
        table(
            report,
            Placement::Unpinned,
            "Wherever the kernel likes",
            out,
        )?;
        targets(report, out)
    }
}

fn table(
    report: &Report,
    placement: Placement,
    title: &str,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    writeln!(out, "\n### {title}\n")?;
    write!(out, "| |")?;
    for workload in Workload::ALL {
        write!(out, " {workload}, {} |", workload.unit())?;
        if workload == Workload::OneCall {
            write!(out, " × raw TCP |")?;
        }
    }
    writeln!(out, "\n|---|{}", "--:|".repeat(Workload::ALL.len() + 1))?;
    for contestant in Contestant::present() {
        let entry = |contestant, workload| report.entry(contestant, workload, placement);
        if Workload::ALL
            .iter()
            .all(|workload| entry(contestant, *workload).is_none())
        {
            continue;
        }
        write!(out, "| {contestant} |")?;
        for workload in Workload::ALL {
            let entry = entry(contestant, workload);
            match (entry, workload.unit()) {
                (None, _) => write!(out, " – |")?,
                (Some(entry), Unit::Microseconds) => write!(out, " {:.1} |", entry.typical())?,
                (Some(entry), _) => write!(out, " {:.0} |", entry.typical())?,
            }
            if workload == Workload::OneCall {
                let raw = report.entry(Contestant::RawTcp, workload, placement);
                match entry.zip(raw) {
                    Some((entry, raw)) => write!(out, " {:.2} |", entry.against(raw))?,
                    None => write!(out, " – |")?,
                }
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn targets(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(out, "\n### Targets\n")?;
    writeln!(out, "| target | ratio | measured | |")?;
    writeln!(out, "|---|--:|--:|---|")?;
    for target in &report.targets {
        let bound = match target.bound {
            Bound::AtMost(bound) => format!("≤ {bound:.2}"),
            Bound::AtLeast(bound) => format!("≥ {bound:.2}"),
        };
        let (measured, verdict) = match target.measured {
            None => ("–".to_owned(), "not measured"),
            Some(measured) if target.is_kept() => (format!("{measured:.2}"), "PASS"),
            Some(measured) => (format!("{measured:.2}"), "FAIL"),
        };
        writeln!(
            out,
            "| {} | {bound} | {measured} | {verdict} |",
            target.what
        )?;
    }
    Ok(())
}
