//! What repeats exactly: system calls, allocations and instructions of one call.
//!
//! Each is the difference between a short and a long run, so that starting, connecting and ending
//! cancel out. Both ends share one CPU, as that is where a run repeats best.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cpus::Placement;
use crate::row::{Peer, Row};
use crate::session::{Ends, Observer, Stage, Task};

const WARM_UP: usize = 200;
const SHORT: usize = 1_000;
const LONG: usize = 3 * SHORT;

/// System calls by name.
pub(crate) type SystemCalls = BTreeMap<String, f64>;

/// What one call of a row costs.
#[derive(Serialize)]
pub(crate) struct Counts {
    pub(crate) row: Row,
    /// `None` where nothing can count them.
    pub(crate) system_calls: Option<Ends<SystemCalls>>,
    /// `None` for an end in Python.
    pub(crate) allocations: Ends<Option<f64>>,
    /// In user space; `None` unless asked for, and for an end in Python.
    pub(crate) instructions: Option<Ends<Option<f64>>>,
}

/// Which programs that count to use.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) strace: bool,
    pub(crate) valgrind: bool,
}

/// Whether a program can be started here.
pub(crate) fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Counts what a call of `row` costs.
pub(crate) fn count(stage: &Stage, row: Row, counters: Counters) -> Result<Counts> {
    Ok(Counts {
        row,
        system_calls: counters
            .strace
            .then(|| system_calls(stage, row))
            .transpose()?,
        allocations: allocations(stage, row)?,
        instructions: counters
            .valgrind
            .then(|| instructions(stage, row))
            .transpose()?,
    })
}

fn allocations(stage: &Stage, row: Row) -> Result<Ends<Option<f64>>> {
    let run = |calls| -> Result<_> {
        let reports = stage.run(
            row,
            Placement::Pinned,
            counting(calls),
            &Observer::default(),
        )?;
        Ok(Ends {
            client: reports.client.allocations,
            server: reports.server.allocations,
        })
    };
    let (short, long) = (run(SHORT)?, run(LONG)?);
    Ok(short
        .zip(long)
        .map(|(short, long)| Some(per_call(short?, long?))))
}

fn system_calls(stage: &Stage, row: Row) -> Result<Ends<SystemCalls>> {
    let run = |calls| -> Result<_> {
        let written = written_to(stage, "strace");
        let observer = written
            .each_ref()
            .map(|file| ["strace", "-f", "-c", "-o", file].map(str::to_owned).into());
        stage.run(row, Placement::Pinned, counting(calls), &observer)?;
        written.try_map(|file| read_strace(Path::new(&file)))
    };
    let (short, long) = (run(SHORT)?, run(LONG)?);
    Ok(short.zip(long).map(|(short, long)| {
        let mut difference = SystemCalls::new();
        for (name, count) in long {
            let per_call = per_call(short.get(&name).copied().unwrap_or(0), count);
            // What happens less than once in fifty calls belongs to no call: a thread that was late.
            if per_call.abs() >= 0.02 {
                difference.insert(name, per_call);
            }
        }
        difference
    }))
}

/// The count of each system call in the table that `strace -c` wrote: its fourth and last columns.
fn read_strace(file: &Path) -> Result<BTreeMap<String, u64>> {
    let table = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let name = *columns.last()?;
        let count = columns.get(3)?.parse().ok()?;
        (name != "total").then(|| (name.to_owned(), count))
    };
    Ok(table.lines().filter_map(row).collect())
}

/// The instructions that both ends of a call take; `None` for an end in Python.
pub(crate) fn instructions(stage: &Stage, row: Row) -> Result<Ends<Option<f64>>> {
    let run = |calls| -> Result<_> {
        let written = written_to(stage, "callgrind");
        let observed = written.zip(Ends {
            client: row.client,
            server: row.server,
        });
        let observed = observed.map(|(file, peer)| (peer != Peer::Pyro5).then_some(file));
        let observer = observed.each_ref().map(|file| match file {
            Some(file) => vec![
                "valgrind".to_owned(),
                "--quiet".to_owned(),
                "--tool=callgrind".to_owned(),
                format!("--callgrind-out-file={file}"),
            ],
            None => Vec::new(),
        });
        stage.run(row, Placement::Pinned, counting(calls), &observer)?;
        observed.try_map(|file| {
            file.map(|file| read_callgrind(Path::new(&file)))
                .transpose()
        })
    };
    let (short, long) = (run(SHORT)?, run(LONG)?);
    Ok(short
        .zip(long)
        .map(|(short, long)| Some(per_call(short?, long?))))
}

/// The total that callgrind writes at the end of its file.
pub(crate) fn read_callgrind(file: &Path) -> Result<u64> {
    let profile = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let total = profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.with_context(|| format!("{} has no totals", file.display()))?;
    Ok(total.trim().parse()?)
}

fn counting(calls: usize) -> Task {
    Task {
        warm_up: WARM_UP,
        calls,
        connections: 1,
        count: true,
    }
}

fn written_to(stage: &Stage, observer: &str) -> Ends<String> {
    let file = |end| {
        stage
            .scratch()
            .join(format!("{observer}-{end}.out"))
            .display()
            .to_string()
    };
    Ends {
        client: file("client"),
        server: file("server"),
    }
}

fn per_call(short: u64, long: u64) -> f64 {
    (long as f64 - short as f64) / (LONG - SHORT) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_straces_table_is_no_system_call() {
        let file = std::env::temp_dir().join(format!("strace-table-{}", std::process::id()));
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
             60.00    0.000060           6        10           recvfrom\n\
             40.00    0.000040           4        11         1 sendto\n\
            100.00    0.000100           4        21         1 total\n";
        fs::write(&file, table).unwrap();
        let counts = read_strace(&file);
        fs::remove_file(&file).unwrap();
        let expected = [("recvfrom".to_owned(), 10), ("sendto".to_owned(), 11)];
        assert_eq!(counts.unwrap(), BTreeMap::from(expected));
    }
}
