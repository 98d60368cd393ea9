//! The live view as a picture.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};

use super::text::Who;
use super::{Holder, ResourceState, Snapshot, WaiterState};
use crate::report::{Lasted, Mode, Names, ResourceInfo};

/// How many waiters, and how many holders, of one resource are drawn.
const MOST_ARROWS: usize = 100;

impl Snapshot {
    /// The same as a graph in the language of Graphviz.
    ///
    /// Boxes are agents, ellipses are what they wait for. Arrows lead from who waits to what it
    /// waits for, and from there to who holds it: a circle of arrows is a cycle of waiting.
    pub fn to_dot(&self) -> String {
        let mut dot = String::new();
        // Strings take everything that is written to them.
        let _ = self.write_dot(&mut dot);
        dot
    }

    fn write_dot(&self, dot: &mut String) -> fmt::Result {
        dot.push_str("digraph waiting {\n");
        dot.push_str("    rankdir=LR;\n");
        dot.push_str("    node [fontname=\"sans-serif\", shape=box];\n");
        dot.push_str("    edge [fontname=\"sans-serif\", fontsize=10];\n");
        for (frame, agent) in self.agents() {
            writeln!(dot, "    frame{frame} [label={}];", Quoted(&agent))?;
        }
        let names = Names::of(self.resources.iter().map(|state| &state.resource));
        for state in &self.resources {
            state.write_dot(&names, dot)?;
        }
        dot.push_str("}\n");
        Ok(())
    }

    /// All agents that are drawn, by frame.
    fn agents(&self) -> BTreeMap<u64, String> {
        let mut agents = BTreeMap::new();
        for state in &self.resources {
            for WaiterState { agent, .. } in state.waiters.iter().take(MOST_ARROWS) {
                agents.insert(agent.frame, agent.to_string());
            }
        }
        for state in &self.resources {
            for holder in state.holders.iter().take(MOST_ARROWS) {
                let unknown = || Who(holder).to_string();
                agents.entry(holder.frame).or_insert_with(unknown);
            }
        }
        agents
    }
}

impl ResourceState {
    fn write_dot(&self, names: &Names, dot: &mut String) -> fmt::Result {
        let Self {
            resource,
            holders,
            others,
            waiters,
        } = self;
        let ResourceInfo { id, created, .. } = resource;
        let label = format!("{}\nmade at {created}", names.name(resource));
        writeln!(
            dot,
            "    resource{id} [shape=ellipse, label={}];",
            Quoted(&label)
        )?;
        for Holder {
            frame, mode, site, ..
        } in holders.iter().take(MOST_ARROWS)
        {
            let mut label = held_by(*mode, resource);
            if let Some(site) = site {
                write!(label, "\n{site}")?;
            }
            let label = Quoted(&label);
            writeln!(dot, "    resource{id} -> frame{frame} [label={label}];")?;
        }
        if let Some(more @ 1..) = holders.len().checked_sub(MOST_ARROWS) {
            writeln!(
                dot,
                "    holders{id} [style=dotted, label=\"{more} more\"];"
            )?;
            writeln!(dot, "    resource{id} -> holders{id} [style=dotted];")?;
        }
        if *others {
            writeln!(
                dot,
                "    others{id} [style=dotted, label=\"others, not known\"];"
            )?;
            writeln!(dot, "    resource{id} -> others{id} [style=dotted];")?;
        }
        for WaiterState {
            agent,
            mode,
            site,
            waited,
            timed,
            ..
        } in waiters.iter().take(MOST_ARROWS)
        {
            let (frame, waited) = (agent.frame, Lasted(*waited));
            let deadline = if *timed { ", with a deadline" } else { "" };
            let wanted = mode.wanted(resource);
            let label = format!("waits {wanted}\n{waited}{deadline}\n{site}");
            let label = Quoted(&label);
            writeln!(
                dot,
                "    frame{frame} -> resource{id} [style=dashed, label={label}];"
            )?;
        }
        if let Some(more @ 1..) = waiters.len().checked_sub(MOST_ARROWS) {
            writeln!(
                dot,
                "    waiters{id} [style=dotted, label=\"{more} more\"];"
            )?;
            writeln!(dot, "    waiters{id} -> resource{id} [style=dotted];")?;
        }
        Ok(())
    }
}

/// What stands on the arrow from a resource to who is in the way.
fn held_by(mode: Mode, resource: &ResourceInfo) -> String {
    match mode {
        Mode::Permits(1) => "a permit is held by".to_owned(),
        Mode::Permits(some) => format!("{some} permits are held by"),
        Mode::Get => "is emptied by".to_owned(),
        Mode::Put => "is filled by".to_owned(),
        Mode::Signal => "can be signalled by".to_owned(),
        Mode::Answer => "is answered by".to_owned(),
        Mode::Write | Mode::Read | Mode::UpgradableRead | Mode::Upgrade => {
            format!("is held{} by", mode.shared(resource))
        }
    }
}

/// A string as Graphviz reads it.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}
