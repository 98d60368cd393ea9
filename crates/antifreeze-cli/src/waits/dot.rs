//! The live view as a picture, in the language of Graphviz.
//!
//! Boxes are frames, ellipses are what they wait for. Arrows lead from who waits to what it waits for
//! and from there to who has it, and from who calls to who serves that: a circle of arrows is a cycle
//! of waiting.

use std::fmt::{self, Display, Write};

use super::ask::World;
use super::chains::{Callee, Chains, Place};
use super::text::{Lasted, Who};

pub(super) fn draw(world: &World) -> String {
    let mut dot = String::new();
    // Strings take everything that is written to them.
    let _ = write(world, &mut dot);
    dot
}

fn write(world: &World, dot: &mut String) -> fmt::Result {
    dot.push_str("digraph waits {\n");
    dot.push_str("    rankdir=LR;\n");
    dot.push_str("    node [fontname=\"sans-serif\", shape=box];\n");
    dot.push_str("    edge [fontname=\"sans-serif\", fontsize=10];\n");
    for process in &world.processes {
        let (node, graph) = (&process.graph.node, &process.graph);
        let label = format!("{}\n{}, process {}", process.address, graph.name, graph.pid);
        writeln!(
            dot,
            "    subgraph {} {{",
            Quoted(&format!("cluster {node}"))
        )?;
        writeln!(dot, "        label={};", Quoted(&label))?;
        for frame in &graph.frames {
            let label = Quoted(&Who(frame).to_string()).to_string();
            writeln!(
                dot,
                "        {} [label={label}];",
                Id("frame", node, frame.frame)
            )?;
        }
        for lock in &graph.locks {
            let id = Id("lock", node, lock.lock);
            let label = format!("{}\nmade at {}", lock.name, lock.created);
            writeln!(
                dot,
                "        {id} [shape=ellipse, label={}];",
                Quoted(&label)
            )?;
            if lock.others {
                let others = Id("others", node, lock.lock);
                writeln!(
                    dot,
                    "        {others} [style=dotted, label=\"others, not known\"];"
                )?;
                writeln!(dot, "        {id} -> {others} [style=dotted];")?;
            }
        }
        dot.push_str("    }\n");
    }
    let chains = Chains::of(world);
    for process in &world.processes {
        for frame in &process.graph.frames {
            write_frame(Place { process, frame }, &chains, dot)?;
        }
    }
    dot.push_str("}\n");
    Ok(())
}

fn write_frame(place: Place<'_>, chains: &Chains<'_>, dot: &mut String) -> fmt::Result {
    let Place { process, frame } = place;
    let node = &*process.graph.node;
    let id = Id("frame", node, frame.frame);
    for wait in &frame.waits {
        let lock = Id("lock", node, wait.lock);
        let label = format!("waits ({})\n{}\n{}", wait.mode, Lasted(wait.ms), wait.site);
        writeln!(
            dot,
            "    {id} -> {lock} [style=dashed, label={}];",
            Quoted(&label)
        )?;
    }
    for hold in &frame.holds {
        let lock = Id("lock", node, hold.lock);
        let site = hold.site.as_deref().unwrap_or_default();
        let label = format!("is held by ({})\n{site}", hold.mode);
        writeln!(dot, "    {lock} -> {id} [label={}];", Quoted(&label))?;
    }
    for call in place.calls() {
        let label = format!(
            "calls\n{}\n{}",
            Lasted(call.ms),
            call.site.as_deref().unwrap_or_default()
        );
        let label = Quoted(&label);
        let (callees, other) = match chains.callee(process, call) {
            Callee::Waits(callees) => (callees, None),
            Callee::Runs(process) => (Vec::new(), Some(format!("{}\nruns", process.address))),
            Callee::Unreachable(why) => {
                (Vec::new(), Some(format!("{}\nunreachable: {why}", call.to)))
            }
            Callee::Gone => (Vec::new(), Some(format!("{}\nnot asked", call.to))),
            Callee::Opaque(callees) => (callees, Some(format!("{}\nopaque", call.to))),
        };
        let mut from = id.to_string();
        if let Some(other) = other {
            let between = Id("call", node, call.call);
            writeln!(
                dot,
                "    {between} [style=dotted, label={}];",
                Quoted(&other)
            )?;
            writeln!(
                dot,
                "    {from} -> {between} [style=dashed, label={label}];"
            )?;
            from = between.to_string();
        }
        for Place { process, frame } in callees {
            let callee = Id("frame", &process.graph.node, frame.frame);
            writeln!(dot, "    {from} -> {callee} [style=dashed, label={label}];")?;
        }
    }
    Ok(())
}

/// A name in the picture.
struct Id<'a>(&'a str, &'a str, u64);

impl Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, node, number) = self;
        Quoted(&format!("{what} {number} of {node}")).fmt(f)
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
