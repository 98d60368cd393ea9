//! The live view as text.

use std::collections::HashSet;
use std::fmt::{self, Display, Write};
use std::time::SystemTime;

use antifreeze::waits::{Daemon, Frame, PastDeadlock, Wait};

use super::ask::{Process, Unreachable, World};
use super::chains::{Callee, Chains, Find, Place};

/// How many holders of one lock are told.
const MOST_HOLDERS: usize = 12;
/// How many calls deep a chain is told.
const DEEPEST: usize = 100;

/// Everything: processes, chains, and how many deadlocks there were.
pub(super) fn write(world: &World) -> String {
    let mut text = Text::default();
    // Strings take everything that is written to them.
    let _ = text.write(world);
    text.text
}

/// The deadlocks of the last hour in full.
pub(super) fn deadlocks(world: &World) -> String {
    let deadlocks = world.deadlocks();
    let full = |deadlock: &&PastDeadlock| {
        let Happened { ago, how } = Happened::of(deadlock);
        format!("{ago} ago, {how}:\n{}", deadlock.text)
    };
    match &deadlocks[..] {
        [] => "no deadlock in the last hour".to_owned(),
        some => some.iter().map(full).collect::<Vec<_>>().join("\n\n"),
    }
}

impl World {
    /// Each once, the oldest first.
    fn deadlocks(&self) -> Vec<&PastDeadlock> {
        let all = self.processes.iter().flat_map(|process| &process.deadlocks);
        let mut all: Vec<_> = all.collect();
        all.sort_by(|a, b| a.time.total_cmp(&b.time));
        let mut told = Vec::new();
        all.retain(|deadlock| {
            let id = &deadlock.report.id;
            let new = !told.contains(id);
            told.push(id.clone());
            new
        });
        all
    }
}

#[derive(Default)]
struct Text {
    text: String,
    /// Who is in it: each once, whatever somebody tells.
    told: HashSet<*const Frame>,
}

impl Text {
    fn write(&mut self, world: &World) -> fmt::Result {
        for process in &world.processes {
            writeln!(self.text, "{}", Head(process))?;
        }
        for Unreachable { address, why, .. } in &world.unreachable {
            writeln!(self.text, "{address}: unreachable: {why}")?;
        }
        let chains = Chains::of(world);
        match chains.all.len() {
            0 => write!(self.text, "\nnobody waits")?,
            1 => write!(self.text, "\n1 chain waits")?,
            many => write!(self.text, "\n{many} chains wait")?,
        }
        for (number, places) in (1..).zip(&chains.all) {
            self.chain(number, places, &chains)?;
        }
        let deadlocks = world.deadlocks();
        if deadlocks.is_empty() {
            return Ok(());
        }
        let count = deadlocks.len();
        write!(
            self.text,
            "\n\ndeadlocks in the last hour: {count} (--deadlocks tells all of them)"
        )?;
        for deadlock in deadlocks {
            let Happened { ago, how } = Happened::of(deadlock);
            let headline = deadlock.text.lines().next().unwrap_or_default();
            write!(self.text, "\n  {ago} ago, {how}: {headline}")?;
        }
        Ok(())
    }

    fn chain(&mut self, number: usize, places: &[Place<'_>], chains: &Chains<'_>) -> fmt::Result {
        write!(self.text, "\n\nchain {number}")?;
        let Some(first) = places
            .first()
            .and_then(|place| place.frame.chain.as_deref())
        else {
            return Ok(());
        };
        let (node, frame) = first.split_at_checked(16).unwrap_or_default();
        if chains.process(node).is_none() {
            let frame = u64::from_str_radix(frame, 16).unwrap_or(0);
            write!(
                self.text,
                ", begun by frame {frame} of process {node}, which was not asked"
            )?;
        }
        let (called, roots): (Vec<Place<'_>>, Vec<Place<'_>>) = places
            .iter()
            .copied()
            .partition(|place| chains.is_called(*place));
        // Those who were called come behind those who call them, unless they are too far from there.
        for place in roots.into_iter().chain(called) {
            if self.told.insert(place.frame) {
                self.frame(place, 1, chains)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, place: Place<'_>, depth: usize, chains: &Chains<'_>) -> fmt::Result {
        let Place { process, frame } = place;
        let margin = &"  ".repeat(depth);
        write!(self.text, "\n{margin}{} at {}", Who(frame), process.address)?;
        for hold in &frame.holds {
            let (lock, mode) = (process.lock(hold.lock), &hold.mode);
            write!(self.text, "\n{margin}    holds {lock} ({mode})")?;
            self.site("acquired at", hold.site.as_deref())?;
        }
        for wait in &frame.waits {
            self.wait(place, wait, margin, chains)?;
        }
        for call in place.calls() {
            let (to, lasted) = (&call.to, Lasted(call.ms));
            let timed = if call.timed { ", with a deadline" } else { "" };
            write!(
                self.text,
                "\n{margin}    has waited {lasted} for the answer of {to}{timed}"
            )?;
            self.site("at", call.site.as_deref())?;
            let callees = match chains.callee(process, call) {
                Callee::Waits(callees) => callees,
                Callee::Runs(process) => {
                    write!(
                        self.text,
                        "\n{margin}  runs at {}, or has yet to come there",
                        process.address
                    )?;
                    continue;
                }
                Callee::Unreachable(why) => {
                    write!(self.text, "\n{margin}  unreachable: {why}")?;
                    continue;
                }
                Callee::Gone => {
                    write!(self.text, "\n{margin}  {to} was not asked")?;
                    continue;
                }
                Callee::Opaque(callees) => {
                    write!(
                        self.text,
                        "\n{margin}  opaque: {to} is no Antifreeze program, and cannot be asked"
                    )?;
                    callees
                }
            };
            for callee in callees {
                if depth < DEEPEST && self.told.insert(callee.frame) {
                    self.frame(callee, depth + 1, chains)?;
                }
            }
        }
        Ok(())
    }

    fn wait(
        &mut self,
        place: Place<'_>,
        wait: &Wait,
        margin: &str,
        chains: &Chains<'_>,
    ) -> fmt::Result {
        let Place { process, frame } = place;
        let (lock, lasted, mode) = (process.lock(wait.lock), Lasted(wait.ms), &wait.mode);
        let timed = if wait.timed { ", with a deadline" } else { "" };
        write!(
            self.text,
            "\n{margin}    has waited {lasted} for {lock} ({mode}){timed}"
        )?;
        self.site("at", Some(&wait.site))?;
        let Some(lock) = process.graph.lock(wait.lock) else {
            return Ok(());
        };
        for holder in lock.holders.iter().take(MOST_HOLDERS) {
            let holder = process.graph.frame(*holder);
            let Some(holder) = holder else { continue };
            write!(self.text, "\n{margin}        held by {}", Who(holder))?;
            match chains.number(holder) {
                _ if holder.frame == frame.frame => write!(self.text, ", itself")?,
                Some(number) if chains.number(frame) == Some(number) => {
                    write!(self.text, ", of this chain")?;
                }
                Some(number) => write!(self.text, ", of chain {number}")?,
                None => write!(self.text, ", which runs")?,
            }
        }
        if let Some(more @ 1..) = lock.holders.len().checked_sub(MOST_HOLDERS) {
            write!(self.text, "\n{margin}        and by {more} more")?;
        }
        if lock.others {
            write!(
                self.text,
                "\n{margin}        others, of whom nothing is known, may let it go on"
            )?;
        }
        match lock.queue.iter().position(|other| *other == frame.frame) {
            None | Some(0) => Ok(()),
            Some(ahead) => write!(
                self.text,
                "\n{margin}        {ahead} ahead of it in the queue"
            ),
        }
    }

    fn site(&mut self, what: &str, site: Option<&str>) -> fmt::Result {
        match site {
            Some(site) if !site.is_empty() => write!(self.text, ", {what} {site}"),
            _ => Ok(()),
        }
    }
}

impl Process {
    pub(super) fn lock(&self, lock: u64) -> &str {
        let known = self.graph.lock(lock);
        known.map_or("something", |lock| &lock.name)
    }
}

/// A process and its workers.
struct Head<'a>(&'a Process);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process {
            address,
            followed,
            graph,
            ..
        } = self.0;
        write!(f, "{address}: {}, process {}", graph.name, graph.pid)?;
        if *followed {
            f.write_str(", found as it is called")?;
        }
        for daemon in &graph.daemons {
            let Daemon {
                address: other,
                busy,
                limit,
                queued,
                ..
            } = daemon;
            match other == address {
                true => write!(f, ", {busy} of {limit} workers busy")?,
                false => write!(f, ", {busy} of {limit} workers busy at {other}")?,
            }
            if *queued > 0 {
                write!(f, ", {queued} calls wait for one")?;
            }
        }
        if graph.truncated {
            f.write_str(", has more than it tells")?;
        }
        Ok(())
    }
}

/// As in `call "node.hop" (frame 12)`.
pub(super) struct Who<'a>(pub(super) &'a Frame);

impl Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame {
            frame, kind, name, ..
        } = self.0;
        match (kind, name) {
            (Some(kind), Some(name)) => write!(f, "{kind} {name:?} (frame {frame})"),
            (Some(kind), None) => write!(f, "{kind} (frame {frame})"),
            (None, _) => write!(f, "frame {frame}"),
        }
    }
}

/// When a deadlock was, and what was done about it.
struct Happened {
    ago: Lasted,
    how: &'static str,
}

impl Happened {
    fn of(deadlock: &PastDeadlock) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let ago = (now.as_secs_f64() - deadlock.time).max(0.0);
        Self {
            ago: Lasted(ago * 1_000.0),
            how: match deadlock.broken {
                true => "broken",
                false => "left alone",
            },
        }
    }
}

/// Milliseconds, as people read them.
pub(super) struct Lasted(pub(super) f64);

impl Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Cut off, not rounded: nothing is said to have lasted longer than it has.
        let millis = self.0.max(0.0) as u64;
        let seconds = millis / 1_000;
        match seconds {
            0 => write!(f, "{millis} ms"),
            1..10 => write!(f, "{seconds}.{} s", millis / 100 % 10),
            10..60 => write!(f, "{seconds} s"),
            60..3_600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {} min", seconds / 3_600, seconds / 60 % 60),
        }
    }
}
