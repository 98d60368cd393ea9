//! The report of `locks` as Markdown.

use std::fmt::{self, Display, Formatter};

use super::job::{Contestant, Executor, Outcome};
use super::{Entry, Line, Report};
use crate::markdown::machine;

/// The report, to be displayed.
pub(crate) struct Markdown<'a>(pub(crate) &'a Report);

impl Display for Markdown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(out, "## Locks\n")?;
        machine(&report.machine, out)?;
        if report.counted {
            let title = "Instructions of one operation, which repeat exactly";
            let lines: Vec<&Line> = report.lines.iter().collect();
            let value = |_: &Line, entry: &Entry| Some(format!("{:.0}", entry.instructions?));
            return table(title, &lines, value, out);
        }

        writeln!(
            out,
            "- {} interleaved rounds of {} ms for each; medians over the rounds; ratios are taken \
            within a round, then the median (and the quartiles)",
            report.rounds, report.milliseconds
        )?;
        let lines = report.lines.iter();
        let (alone, together): (Vec<_>, Vec<_>) = lines.partition(|line| line.contest.is_alone());
        let value = |line: &Line, entry: &Entry| {
            let value = entry.typical(|outcome| line.contest.value(outcome))?;
            Some(format!("{value:.2}"))
        };
        let title = format!("Nobody else wants it: ns, on CPU {}", report.pinned_to);
        judged(&title, &alone, value, out)?;
        let title = "Many want it: millions of operations a second, wherever the kernel likes";
        judged(title, &together, value, out)?;

        // Whoever sleeps long costs little of it, but on a busy machine it is what can be trusted.
        let title = "The same: CPU time of one operation, ns";
        let cpu = |_: &Line, entry: &Entry| {
            let cpu = |outcome: Outcome| outcome.cpu_nanoseconds as f64 / outcome.operations as f64;
            Some(format!("{:.1}", entry.typical(cpu)?))
        };
        table(title, &together, cpu, out)?;

        // Who gives up fairness is fast.
        let title = "The unluckiest agent's part of an even share";
        let part = |line: &Line, entry: &Entry| {
            let agents = line.contest.agents as f64;
            let part =
                |outcome: Outcome| outcome.fewest as f64 * agents / outcome.operations as f64;
            Some(format!("{:.2}", entry.typical(part)?))
        };
        table(title, &together, part, out)?;
        idle(report, out)
    }
}

/// One table for threads, one for tasks.
fn table(
    title: &str,
    lines: &[&Line],
    value: impl Fn(&Line, &Entry) -> Option<String>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    for lines in of_the_same_kind(lines) {
        head(title, lines, "", "", out)?;
        for line in lines {
            row(line, &columns(lines), &value, out)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// The same, held against our targets.
fn judged(
    title: &str,
    lines: &[&Line],
    value: impl Fn(&Line, &Entry) -> Option<String>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    for lines in of_the_same_kind(lines) {
        head(
            title,
            lines,
            " ours against | target | |",
            "---|--:|---|",
            out,
        )?;
        for line in lines {
            row(line, &columns(lines), &value, out)?;
            let target = line.contest.target();
            match line.against_peer() {
                Some(ratio) => write!(
                    out,
                    " {}: {:.2} ({:.2} – {:.2}) |",
                    target.peer, ratio.median, ratio.lower, ratio.upper
                )?,
                None => write!(out, " – |")?,
            }
            let verdict = line.is_kept().map_or("not measured", verdict);
            writeln!(out, " {} | {verdict} |", target.limit)?;
        }
    }
    Ok(())
}

fn head(
    title: &str,
    lines: &[&Line],
    more: &str,
    more_rule: &str,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    let columns = columns(lines);
    write!(out, "\n### {title}\n\n| |")?;
    for contestant in &columns {
        write!(out, " {contestant} |")?;
    }
    writeln!(
        out,
        "{more}\n|---|{}{more_rule}",
        "--:|".repeat(columns.len())
    )
}

/// Leaves the line open.
fn row(
    line: &Line,
    columns: &[Contestant],
    value: impl Fn(&Line, &Entry) -> Option<String>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    write!(out, "| {} |", line.contest)?;
    for contestant in columns {
        let value = line.entry(*contestant).and_then(|entry| value(line, entry));
        write!(out, " {} |", value.as_deref().unwrap_or("–"))?;
    }
    Ok(())
}

/// The contestants of some lines.
fn columns(lines: &[&Line]) -> Vec<Contestant> {
    let mut columns = Vec::new();
    for entry in lines.iter().flat_map(|line| &line.entries) {
        if !columns.contains(&entry.contestant) {
            columns.push(entry.contestant);
        }
    }
    columns
}

/// Threads and tasks have different contestants.
fn of_the_same_kind<'a>(lines: &'a [&'a Line]) -> impl Iterator<Item = &'a [&'a Line]> {
    lines.chunk_by(|one, other| {
        let threads = |line: &Line| line.contest.executor == Executor::Threads;
        threads(one) == threads(other)
    })
}

fn idle(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    let Some(idle) = &report.idle else {
        return Ok(());
    };
    let verdict = if idle.exists {
        verdict(idle.is_kept())
    } else {
        "there is no such thread"
    };
    writeln!(
        out,
        "\n### Wake-ups of the detector's thread in a second\n\n\
        | before anybody waited | {0} threads and {0} tasks wait | afterwards | target | |\n\
        |--:|--:|--:|--:|---|\n\
        | {1} | {2} | {3} | 0 | {verdict} |",
        idle.agents, idle.before, idle.waiting, idle.after,
    )
}

fn verdict(kept: bool) -> &'static str {
    if kept { "ok" } else { "MISSED" }
}
