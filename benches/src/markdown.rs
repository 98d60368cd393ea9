//! A report as Markdown, to be read in a terminal and pasted in a README.

use std::fmt::{self, Display, Formatter};

use crate::calls::Report;
use crate::counts::SystemCalls;
use crate::cpus::Placement;
use crate::machine::Machine;
use crate::row::{Peer, Row};
use crate::statistics::{ratio, typical};
use crate::throughput;

/// The report of `calls`, to be displayed.
pub(crate) struct Calls<'a>(pub(crate) &'a Report);

/// The report of `throughput`, to be displayed.
pub(crate) struct Throughput<'a>(pub(crate) &'a throughput::Report);

impl Display for Calls<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(out, "## One small call at a time, one connection\n")?;
        machine(&report.machine, out)?;
        writeln!(
            out,
            "- `add(20, 22)`; {} interleaved rounds of {} calls a row; medians over the rounds; \
            ratios are of p50, within a round, then the median",
            report.rounds, report.calls
        )?;
        let pinned = format!("Both ends on CPU {}", report.pinned_to);
        times(report, Placement::Pinned, &pinned, out)?;
        times(
            report,
            Placement::Unpinned,
            "Wherever the kernel likes",
            out,
        )?;
        counts(report, out)?;
        targets(report, out)
    }
}

impl Display for Throughput<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        writeln!(
            out,
            "## {} connections, one call at a time on each\n",
            report.connections
        )?;
        machine(&report.machine, out)?;
        writeln!(
            out,
            "- `add(20, 22)`, msgpack; {} interleaved rounds of {} calls a connection; \
            medians over the rounds\n",
            report.rounds, report.calls
        )?;
        writeln!(out, "| client | server | calls/s | p50 µs | p99 µs |")?;
        writeln!(out, "|---|---|--:|--:|--:|")?;
        for times in &report.times {
            writeln!(
                out,
                "| {} | {} | {:.0} | {:.1} | {:.1} |",
                times.row.client,
                times.row.server,
                typical(&times.rounds, |round| round.calls_per_second),
                typical(&times.rounds, |round| round.p50_us),
                typical(&times.rounds, |round| round.p99_us),
            )?;
        }
        Ok(())
    }
}

pub(crate) fn machine(machine: &Machine, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        out,
        "- {}, {} CPUs, Linux {}, load before {}",
        machine.cpu, machine.cpus, machine.kernel, machine.load
    )?;
    writeln!(out, "- Antifreeze {}, {}", machine.commit, machine.rust)?;
    match &machine.python {
        Some(python) => writeln!(out, "- {python}"),
        None => Ok(()),
    }
}

fn times(
    report: &Report,
    placement: Placement,
    title: &str,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    writeln!(out, "\n### {title}\n")?;
    writeln!(
        out,
        "| {:<14} | {:<14} | {:<10} | p50 µs | p99 µs | calls/s | × raw TCP | × prepared | × Pyro5 |",
        "client", "server", "serializer"
    )?;
    writeln!(out, "|---|---|---|--:|--:|--:|--:|--:|--:|")?;
    for times in report
        .times
        .iter()
        .filter(|times| times.placement == placement)
    {
        let row = times.row;
        let against = |other: Row| {
            let baseline = report.rounds(other, placement)?;
            Some(ratio(&times.rounds, baseline))
        };
        let another_server = |server| {
            let other = row.against(server);
            (row.client == Peer::Pyro5 && other != row).then(|| against(other))?
        };
        writeln!(
            out,
            "| {:<14} | {:<14} | {:<10} | {:>6.1} | {:>6.1} | {:>7.0} | {:>9} | {:>10} | {:>7} |",
            row.client,
            row.server,
            row.serializer,
            typical(&times.rounds, |round| round.p50_us),
            typical(&times.rounds, |round| round.p99_us),
            typical(&times.rounds, |round| round.calls_per_second),
            cell(against(Row::RAW)),
            cell(another_server(Peer::Prepared)),
            cell(another_server(Peer::Pyro5)),
        )?;
    }
    writeln!(
        out,
        "\n× prepared, × Pyro5: against the same client at prepared bytes, at Pyro5's server."
    )
}

fn counts(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(out, "\n### What repeats exactly, per call\n")?;
    writeln!(
        out,
        "| client | server | serializer | client: system calls | server: system calls \
        | allocations, client / server | instructions, client / server |"
    )?;
    writeln!(out, "|---|---|---|---|---|--:|--:|")?;
    for counts in &report.counts {
        let row = counts.row;
        let calls = counts.system_calls.as_ref();
        let instructions = counts.instructions.unwrap_or_default();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} / {} | {} / {} |",
            row.client,
            row.server,
            row.serializer,
            named(calls.map(|calls| &calls.client)),
            named(calls.map(|calls| &calls.server)),
            cell(counts.allocations.client),
            cell(counts.allocations.server),
            whole(instructions.client),
            whole(instructions.server),
        )?;
    }
    if report
        .counts
        .iter()
        .any(|counts| counts.system_calls.is_none())
    {
        writeln!(
            out,
            "\nSystem calls were not counted: strace is not installed."
        )?;
    }
    Ok(())
}

fn targets(report: &Report, out: &mut Formatter<'_>) -> fmt::Result {
    writeln!(out, "\n### Targets, both ends on one CPU\n")?;
    writeln!(out, "| target | at most | measured | |")?;
    writeln!(out, "|---|--:|--:|---|")?;
    for target in &report.targets {
        let verdict = match target.measured {
            None => "not measured",
            Some(_) if target.is_kept() => "PASS",
            Some(_) => "FAIL",
        };
        let measured = cell(target.measured);
        writeln!(
            out,
            "| {} | {:.2} | {measured} | {verdict} |",
            target.what, target.at_most
        )?;
    }
    Ok(())
}

/// The sum of system calls, then each by name.
fn named(calls: Option<&SystemCalls>) -> String {
    let Some(calls) = calls else {
        return "–".to_owned();
    };
    let each: Vec<String> = calls
        .iter()
        .map(|(name, count)| format!("{name} {count:.2}"))
        .collect();
    format!("{:.2} ({})", calls.values().sum::<f64>(), each.join(", "))
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

fn whole(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
}
