//! The report as Markdown.

use std::fmt::{self, Display, Formatter};

use super::job::{Codec, Contestant};
use super::{Entry, Line, Report};

/// Prints a [`Report`].
pub(crate) struct Markdown<'a>(pub(crate) &'a Report);

impl Display for Markdown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let machine = &report.machine;
        writeln!(
            out,
            "## Codecs\n\n{} ({} CPUs), Linux {}, load {}; {}; {}; commit {}\n",
            machine.cpu,
            machine.cpus,
            machine.kernel,
            machine.load,
            machine.rust,
            machine.python.as_deref().unwrap_or("no Python"),
            machine.commit,
        )?;
        if report.counted {
            writeln!(out, "Instructions per byte of Python's document.")?;
            return tables(report, out, |line, entry| {
                let instructions = entry.instructions? / line.bytes as f64;
                Some(format!("{instructions:.1}"))
            });
        }
        writeln!(
            out,
            "MB/s, by the bytes of Python's document and CPU time; medians of {} interleaved rounds of {} ms.",
            report.rounds, report.milliseconds,
        )?;
        tables(report, out, |line, entry| {
            let speed = line.speed(entry)?;
            Some(match entry.contestant {
                Contestant::Typed | Contestant::Value => {
                    let ratio = line.ratio(entry.contestant, Contestant::Python)?;
                    format!("{speed:.0} ({ratio:.1} ×)")
                }
                _ => format!("{speed:.0}"),
            })
        })?;
        writeln!(out, "\nIn brackets: how many times as fast as Python.")?;
        writeln!(out, "\n## Allocations and reallocations")?;
        tables(report, out, |_, entry| {
            Some(entry.rounds.first()?.allocations?.to_string())
        })?;
        targets(report, out)
    }
}

fn tables(
    report: &Report,
    out: &mut Formatter<'_>,
    value: impl Fn(&Line, &Entry) -> Option<String>,
) -> fmt::Result {
    for codec in Codec::ALL {
        let lines = report.lines.iter();
        let lines: Vec<&Line> = lines.filter(|line| line.contest.codec == codec).collect();
        let Some(first) = lines.first() else { continue };
        let columns = first.entries.iter().map(|entry| entry.contestant);
        let columns: Vec<Contestant> = columns.collect();
        write!(out, "\n| {codec} |")?;
        for contestant in &columns {
            write!(out, " {contestant} |")?;
        }
        writeln!(out, "\n|---|{}", "--:|".repeat(columns.len()))?;
        for line in lines {
            let contest = line.contest;
            write!(out, "| {} {} |", contest.operation, contest.dataset)?;
            for contestant in &columns {
                let value = line.entry(*contestant).and_then(|entry| value(line, entry));
                write!(out, " {} |", value.as_deref().unwrap_or("–"))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

fn targets(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    if report.targets.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## Targets, on the nested dicts\n\n| | times as fast | at least | |\n|---|--:|--:|---|"
    )?;
    for target in &report.targets {
        let measured = target
            .measured()
            .map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let verdict = if target.is_kept() { "ok" } else { "MISSED" };
        writeln!(
            out,
            "| {target} | {measured} | {} | {verdict} |",
            target.at_least()
        )?;
    }
    Ok(())
}
