//! Programs as JSON.
//!
//! ```json
//! {"locks": [{"kind": "mutex"}, {"kind": "rwlock"}, {"kind": "semaphore", "permits": 2}],
//!  "agents": [{"kind": "thread", "steps": [["acquire", 0], ["read", 1], ["release", 0]]},
//!             {"kind": "task", "steps": [["write", 1]]}],
//!  "schedule": [0, 1, 1, 0]}
//! ```
//!
//! An entry of the schedule lets that agent take its next step. Keys that are not known are passed
//! over. Beyond what is shown, there is what the generator makes:
//!
//! - locks: `"fair": false` for a mutex, `"strict": false` for a lock for readers and writers or a
//!   semaphore, and
//!   the kinds `loose` (with `permits`), `reentrant` and `event`
//! - agents: the kind `call`; `"after": "go on"` or `"retry"`, what they do after a deadlock
//! - steps: `["permits", 2, 3]` takes three, `["upgradable", 1]`, `["upgrade", 1]`,
//!   `["downgrade", 1]`, `["signal", 4]`, `["set", 4]`, `["join", 1]`, `["pause"]`,
//!   `["race", ["acquire", 0], ["read", 1]]`, `["both", …]`, and an acquiring step within
//!   `["try", …]`, `["long", …]`, `["short", …]` or `["once", …]`
//! - schedule: `["expire", 1]`, `["cancel", 1]`, `["help", 2]`, `["dwell"]`

use serde_json::{Map, Value, json};

use crate::program::{
    AfterDeadlock, Agent, Choice, Kind, Mode, Patience, Program, Step, Thing, Want,
};

/// A program, and in which order its agents take their steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Script {
    pub(crate) program: Program,
    pub(crate) schedule: Vec<Choice>,
}

/// Reads a program; the error says what was expected and what came.
pub(crate) fn parse(text: &str) -> Result<Script, String> {
    read(text, false)
}

/// The same for what [`write`] wrote: what is not held may be released, which does nothing.
pub(crate) fn parse_generated(text: &str) -> Result<Script, String> {
    read(text, true)
}

fn read(text: &str, lenient: bool) -> Result<Script, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("expected JSON, got {error}"))?;
    let root = object(&value, "the program")?;
    let things = list(root, "locks")?
        .iter()
        .enumerate()
        .map(|(number, value)| thing(value, &format!("lock {number}")))
        .collect::<Result<Vec<_>, _>>()?;
    let agents = list(root, "agents")?;
    let count = agents.len();
    let agents = agents
        .iter()
        .enumerate()
        .map(|(number, value)| agent(value, number, &things, count, lenient))
        .collect::<Result<Vec<_>, _>>()?;
    let schedule = match root.get("schedule") {
        None => Vec::new(),
        Some(_) => list(root, "schedule")?
            .iter()
            .enumerate()
            .map(|(place, value)| {
                choice(
                    value,
                    &format!("schedule entry {place}"),
                    count,
                    things.len(),
                )
            })
            .collect::<Result<Vec<_>, _>>()?,
    };
    Ok(Script {
        program: Program { things, agents },
        schedule,
    })
}

/// Writes a program so that [`parse`] reads the same.
pub(crate) fn write(script: &Script) -> String {
    let lines = |values: Vec<Value>| {
        let lines: Vec<String> = values.iter().map(|value| format!("  {value}")).collect();
        format!("[\n{}\n ]", lines.join(",\n"))
    };
    let locks = lines(script.program.things.iter().map(thing_value).collect());
    let agents = lines(script.program.agents.iter().map(agent_value).collect());
    let schedule = Value::Array(script.schedule.iter().map(choice_value).collect());
    format!("{{\"locks\": {locks},\n \"agents\": {agents},\n \"schedule\": {schedule}}}\n")
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{what}: expected an object, got {}", short(value)))
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], String> {
    let Some(value) = object.get(key) else {
        return Err(format!("expected a list \"{key}\", got none"));
    };
    let list = value.as_array();
    list.map(Vec::as_slice)
        .ok_or_else(|| format!("\"{key}\": expected a list, got {}", short(value)))
}

/// Enough of a value to recognise it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn text<'a>(
    object: &'a Map<String, Value>,
    key: &str,
    what: &str,
    expected: &str,
) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!(
            "{what}: \"{key}\": expected {expected}, got {}",
            short(other)
        )),
        None => Err(format!("{what}: expected \"{key}\" ({expected}), got none")),
    }
}

fn flag(object: &Map<String, Value>, key: &str, what: &str, usual: bool) -> Result<bool, String> {
    match object.get(key) {
        None => Ok(usual),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!(
            "{what}: \"{key}\": expected true or false, got {}",
            short(other)
        )),
    }
}

fn count(object: &Map<String, Value>, key: &str, what: &str) -> Result<u32, String> {
    let expected = "a number of at least 1";
    let Some(value) = object.get(key) else {
        return Err(format!("{what}: expected \"{key}\" ({expected}), got none"));
    };
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number >= 1)
        .ok_or_else(|| {
            format!(
                "{what}: \"{key}\": expected {expected}, got {}",
                short(value)
            )
        })
}

fn thing(value: &Value, what: &str) -> Result<Thing, String> {
    let object = object(value, what)?;
    match text(
        object,
        "kind",
        what,
        "\"mutex\", \"rwlock\" or \"semaphore\"",
    )? {
        "mutex" => Ok(Thing::Mutex {
            fair: flag(object, "fair", what, true)?,
        }),
        "rwlock" => Ok(Thing::RwLock {
            strict: flag(object, "strict", what, true)?,
        }),
        "semaphore" => Ok(Thing::Semaphore {
            permits: count(object, "permits", what)?,
            strict: flag(object, "strict", what, true)?,
        }),
        "loose" => Ok(Thing::Loose {
            permits: count(object, "permits", what)?,
        }),
        "reentrant" => Ok(Thing::Reentrant),
        "event" => Ok(Thing::Event),
        other => Err(format!(
            "{what}: \"kind\": expected \"mutex\", \"rwlock\" or \"semaphore\", got \"{other}\""
        )),
    }
}

fn agent(
    value: &Value,
    number: usize,
    things: &[Thing],
    agents: usize,
    lenient: bool,
) -> Result<Agent, String> {
    let what = format!("agent {number}");
    let object = object(value, &what)?;
    let kind = match text(object, "kind", &what, "\"thread\" or \"task\"")? {
        "thread" => Kind::Thread,
        "call" => Kind::Call,
        "task" => Kind::Task,
        other => {
            return Err(format!(
                "{what}: \"kind\": expected \"thread\" or \"task\", got \"{other}\""
            ));
        }
    };
    let after = match object.get("after").and_then(Value::as_str) {
        None | Some("end") => AfterDeadlock::End,
        Some("go on") => AfterDeadlock::GoOn,
        Some("retry") => AfterDeadlock::Retry,
        Some(other) => {
            return Err(format!(
                "{what}: \"after\": expected \"end\", got \"{other}\""
            ));
        }
    };
    let list = list(object, "steps").map_err(|error| format!("{what}: {error}"))?;
    let mut steps = Vec::with_capacity(list.len());
    let mut held = Vec::new();
    for (place, value) in list.iter().enumerate() {
        let what = format!("{what}, step {place}");
        let step = step(value, &what, kind, things, agents)?;
        if !lenient {
            follow(&step, &mut held).map_err(|error| format!("{what}: {error}"))?;
        }
        steps.push(step);
    }
    Ok(Agent { kind, after, steps })
}

/// Keeps account of what an agent holds if all goes well, and refuses what cannot go well.
fn follow(step: &Step, held: &mut Vec<(usize, Mode)>) -> Result<(), String> {
    let newest =
        |held: &[(usize, Mode)], thing: usize| held.iter().rposition(|&(held, _)| held == thing);
    let expect = |held: &mut Vec<(usize, Mode)>, thing: usize, from: Mode, to: Mode| match newest(
        held, thing,
    ) {
        Some(place) if held[place].1 == from => {
            held[place].1 = to;
            Ok(())
        }
        Some(place) => Err(format!(
            "expected lock {thing} to be held as {from:?}, got one held as {:?}",
            held[place].1
        )),
        None => Err(format!(
            "expected lock {thing} to be held, got one that is not"
        )),
    };
    match step {
        Step::Acquire(want, _) if want.mode == Mode::Signal => {}
        Step::Acquire(want, _) => held.push((want.thing, want.mode)),
        Step::Both(wants) => held.extend(wants.iter().map(|want| (want.thing, want.mode))),
        // Whichever it is, it may be released later.
        Step::Race(wants) => held.extend(wants.iter().map(|want| (want.thing, want.mode))),
        Step::Release(thing) => match newest(held, *thing) {
            Some(place) => {
                held.remove(place);
            }
            None => {
                return Err(format!(
                    "expected a lock that is held here, got the release of lock {thing}, which is not"
                ));
            }
        },
        Step::Upgrade(thing) => expect(held, *thing, Mode::Upgradable, Mode::Write)?,
        Step::Downgrade(thing) => expect(held, *thing, Mode::Write, Mode::Read)?,
        _ => {}
    }
    Ok(())
}

fn step(
    value: &Value,
    what: &str,
    kind: Kind,
    things: &[Thing],
    agents: usize,
) -> Result<Step, String> {
    let expected = "a step such as [\"acquire\", 0]";
    let bad = || format!("{what}: expected {expected}, got {}", short(value));
    let list = value.as_array().ok_or_else(bad)?;
    let Some((Value::String(name), rest)) = list.split_first() else {
        return Err(bad());
    };
    let only = |count: usize| {
        if rest.len() == count {
            Ok(())
        } else {
            Err(bad())
        }
    };
    let number = |place: usize, limit: usize, of: &str| -> Result<usize, String> {
        let value = rest.get(place).ok_or_else(bad)?;
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number < limit).ok_or_else(|| {
            format!(
                "{what}: expected the number of {of} below {limit}, got {}",
                short(value)
            )
        })
    };
    let lock = |place: usize| number(place, things.len(), "a lock");
    let needs = |thing: usize, needed: bool, names: &str| {
        if needed {
            Ok(())
        } else {
            Err(format!(
                "{what}: \"{name}\": expected {names}, got lock {thing}, a {}",
                name_of(&things[thing])
            ))
        }
    };
    let is_rwlock = |thing: usize| matches!(things[thing], Thing::RwLock { .. });
    let of_tasks = || match kind {
        Kind::Task => Ok(()),
        _ => Err(format!(
            "{what}: \"{name}\": expected a task to do this, got a thread"
        )),
    };
    let wants = |values: &[Value]| {
        let steps = values
            .iter()
            .map(|value| step(value, what, kind, things, agents));
        steps
            .map(|step| match step? {
                Step::Acquire(want, Patience::Forever) => Ok(want),
                _ => Err(bad()),
            })
            .collect::<Result<Vec<Want>, String>>()
    };
    let within = |patience: Patience| -> Result<Step, String> {
        only(1)?;
        Ok(Step::Acquire(wants(rest)?[0], patience))
    };
    let acquire = |thing: usize, mode: Mode| Step::Acquire(Want { thing, mode }, Patience::Forever);
    Ok(match name.as_str() {
        "acquire" => {
            only(1)?;
            let thing = lock(0)?;
            match things[thing] {
                Thing::Mutex { .. } | Thing::RwLock { .. } | Thing::Reentrant => {
                    acquire(thing, Mode::Write)
                }
                Thing::Semaphore { .. } | Thing::Loose { .. } => acquire(thing, Mode::Permits(1)),
                _ => {
                    return needs(thing, false, "a lock or a semaphore").map(|()| Step::Pause);
                }
            }
        }
        "permits" => {
            only(2)?;
            let thing = lock(0)?;
            let (Thing::Semaphore { permits, .. } | Thing::Loose { permits }) = things[thing]
            else {
                return needs(thing, false, "a semaphore").map(|()| Step::Pause);
            };
            let count = number(1, permits as usize + 1, "permits")?;
            acquire(
                thing,
                Mode::Permits(u32::try_from(count).map_err(|_| bad())?),
            )
        }
        "read" | "write" | "upgradable" => {
            only(1)?;
            let thing = lock(0)?;
            needs(thing, is_rwlock(thing), "an rwlock")?;
            acquire(
                thing,
                match name.as_str() {
                    "read" => Mode::Read,
                    "write" => Mode::Write,
                    _ => Mode::Upgradable,
                },
            )
        }
        "signal" | "set" => {
            only(1)?;
            let thing = lock(0)?;
            needs(thing, things[thing] == Thing::Event, "an event")?;
            if name == "set" {
                Step::Set(thing)
            } else {
                acquire(thing, Mode::Signal)
            }
        }
        "release" | "upgrade" | "downgrade" => {
            only(1)?;
            let thing = lock(0)?;
            needs(thing, name == "release" || is_rwlock(thing), "an rwlock")?;
            match name.as_str() {
                "release" => Step::Release(thing),
                "upgrade" => Step::Upgrade(thing),
                _ => Step::Downgrade(thing),
            }
        }
        "join" => {
            only(1)?;
            Step::Join(number(0, agents, "an agent")?)
        }
        "pause" => {
            only(0)?;
            Step::Pause
        }
        "try" => within(Patience::Try)?,
        "long" => within(Patience::Long)?,
        "short" => within(Patience::Short)?,
        "once" => {
            of_tasks()?;
            within(Patience::Once)?
        }
        "race" => {
            of_tasks()?;
            Step::Race(wants(rest)?)
        }
        "both" => {
            of_tasks()?;
            Step::Both(wants(rest)?)
        }
        other => {
            return Err(format!(
                "{what}: expected \"acquire\", \"read\", \"write\" or \"release\", got \"{other}\""
            ));
        }
    })
}

fn choice(value: &Value, what: &str, agents: usize, things: usize) -> Result<Choice, String> {
    let bad = || {
        format!(
            "{what}: expected the number of an agent below {agents}, got {}",
            short(value)
        )
    };
    let agent = |value: &Value| {
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number < agents).ok_or_else(bad)
    };
    let Some(list) = value.as_array() else {
        return Ok(Choice::Step(agent(value)?));
    };
    match (
        list.first().and_then(Value::as_str),
        &list[list.len().min(1)..],
    ) {
        (Some("expire"), [number]) => Ok(Choice::Expire(agent(number)?)),
        (Some("cancel"), [number]) => Ok(Choice::Cancel(agent(number)?)),
        (Some("help"), [number]) => {
            let number = number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            number
                .filter(|number| *number < things)
                .map(Choice::Help)
                .ok_or_else(bad)
        }
        (Some("dwell"), []) => Ok(Choice::Dwell),
        _ => Err(bad()),
    }
}

fn name_of(thing: &Thing) -> &'static str {
    match thing {
        Thing::Mutex { .. } => "mutex",
        Thing::RwLock { .. } => "rwlock",
        Thing::Semaphore { .. } => "semaphore",
        Thing::Loose { .. } => "loose",
        Thing::Reentrant => "reentrant",
        Thing::Event => "event",
    }
}

fn thing_value(thing: &Thing) -> Value {
    let kind = name_of(thing);
    match thing {
        Thing::Mutex { fair: false } => json!({"kind": kind, "fair": false}),
        Thing::RwLock { strict: false } => json!({"kind": kind, "strict": false}),
        Thing::Semaphore {
            permits,
            strict: false,
        } => {
            json!({"kind": kind, "permits": permits, "strict": false})
        }
        Thing::Semaphore { permits, .. } | Thing::Loose { permits } => {
            json!({"kind": kind, "permits": permits})
        }
        _ => json!({"kind": kind}),
    }
}

fn agent_value(agent: &Agent) -> Value {
    let kind = match agent.kind {
        Kind::Thread => "thread",
        Kind::Call => "call",
        Kind::Task => "task",
    };
    let steps: Vec<Value> = agent.steps.iter().map(step_value).collect();
    match agent.after {
        AfterDeadlock::End => json!({"kind": kind, "steps": steps}),
        AfterDeadlock::GoOn => json!({"kind": kind, "after": "go on", "steps": steps}),
        AfterDeadlock::Retry => json!({"kind": kind, "after": "retry", "steps": steps}),
    }
}

fn want_value(want: &Want) -> Value {
    match want.mode {
        Mode::Write | Mode::Permits(1) => json!(["acquire", want.thing]),
        Mode::Read => json!(["read", want.thing]),
        Mode::Upgradable | Mode::Upgrade => json!(["upgradable", want.thing]),
        Mode::Permits(count) => json!(["permits", want.thing, count]),
        Mode::Signal => json!(["signal", want.thing]),
    }
}

fn step_value(step: &Step) -> Value {
    let several = |name: &str, wants: &[Want]| {
        let mut list = vec![json!(name)];
        list.extend(wants.iter().map(want_value));
        Value::Array(list)
    };
    match step {
        Step::Acquire(want, patience) => {
            let inner = want_value(want);
            match patience {
                Patience::Forever => inner,
                Patience::Try => json!(["try", inner]),
                Patience::Long => json!(["long", inner]),
                Patience::Short => json!(["short", inner]),
                Patience::Once => json!(["once", inner]),
            }
        }
        Step::Race(wants) => several("race", wants),
        Step::Both(wants) => several("both", wants),
        Step::Upgrade(thing) => json!(["upgrade", thing]),
        Step::Downgrade(thing) => json!(["downgrade", thing]),
        Step::Release(thing) => json!(["release", thing]),
        Step::Join(agent) => json!(["join", agent]),
        Step::Pause => json!(["pause"]),
        Step::Set(thing) => json!(["set", thing]),
    }
}

fn choice_value(choice: &Choice) -> Value {
    match choice {
        Choice::Step(agent) => json!(agent),
        Choice::Expire(agent) => json!(["expire", agent]),
        Choice::Cancel(agent) => json!(["cancel", agent]),
        Choice::Help(thing) => json!(["help", thing]),
        Choice::Dwell => json!(["dwell"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = r#"{"locks":[{"kind":"mutex"},{"kind":"rwlock"},
        {"kind":"semaphore","permits":2}],"agents":[{"kind":"thread","steps":
        [["acquire",0],["read",1],["write",1],["release",0]]},
        {"kind":"task","steps":[["acquire",2]]}],"schedule":[0,1,1,0]}"#;

    #[test]
    fn what_is_written_is_read_again() {
        let script = parse(SHOWN).unwrap();
        assert_eq!(script.program.agents[0].steps.len(), 4);
        assert_eq!(script.schedule.len(), 4);
        assert_eq!(parse(&write(&script)).unwrap(), script);
        let all = r#"{"locks":[{"kind":"mutex","fair":false},{"kind":"rwlock","strict":false},
            {"kind":"loose","permits":3},{"kind":"reentrant"},{"kind":"event"}],
            "agents":[{"kind":"task","after":"retry","steps":[["race",["acquire",0],["read",1]],
            ["both",["acquire",3],["permits",2,3]],["once",["acquire",0]],["signal",4],
            ["release",1],["upgradable",1],["upgrade",1],["downgrade",1],["pause"]]},
            {"kind":"call","after":"go on","steps":[["try",["acquire",0]],["long",["read",1]],
            ["short",["write",1]],["join",0],["set",4]]}],
            "schedule":[0,["expire",1],["cancel",0],["dwell"]]}"#;
        let script = parse(all).unwrap();
        assert_eq!(parse(&write(&script)).unwrap(), script);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        let with = |lock: &str, kind: &str, steps: &str, schedule: &str| {
            format!(
                r#"{{"locks":[{lock}],"agents":[{{"kind":"{kind}","steps":{steps}}}],"schedule":{schedule}}}"#
            )
        };
        let mutex = r#"{"kind":"mutex"}"#;
        let rwlock = r#"{"kind":"rwlock"}"#;
        check("{", "expected JSON, got EOF");
        check("[]", "expected an object, got []");
        check("{}", "expected a list \"locks\", got none");
        check(r#"{"locks":3}"#, "\"locks\": expected a list, got 3");
        check(r#"{"locks":[]}"#, "expected a list \"agents\", got none");
        check(
            &with("7", "thread", "[]", "[]"),
            "lock 0: expected an object, got 7",
        );
        check(
            &with("{}", "thread", "[]", "[]"),
            "lock 0: expected \"kind\"",
        );
        check(
            &with(r#"{"kind":"spin"}"#, "thread", "[]", "[]"),
            "got \"spin\"",
        );
        check(
            &with(r#"{"kind":"semaphore"}"#, "thread", "[]", "[]"),
            "expected \"permits\" (a number of at least 1), got none",
        );
        check(
            &with(r#"{"kind":"semaphore","permits":0}"#, "thread", "[]", "[]"),
            "at least 1, got 0",
        );
        check(
            &with(mutex, "process", "[]", "[]"),
            "\"thread\" or \"task\", got \"process\"",
        );
        check(
            &with(mutex, "thread", "{}", "[]"),
            "agent 0: \"steps\": expected a list, got {}",
        );
        check(
            &with(mutex, "thread", "[3]", "[]"),
            "agent 0, step 0: expected a step such as",
        );
        check(
            &with(mutex, "thread", r#"[["acquire"]]"#, "[]"),
            "expected a step such as",
        );
        check(
            &with(mutex, "thread", r#"[["acquire",0,1]]"#, "[]"),
            "expected a step such as",
        );
        check(
            &with(mutex, "thread", r#"[["acquire",1]]"#, "[]"),
            "a lock below 1, got 1",
        );
        check(
            &with(mutex, "thread", r#"[["acquire",-1]]"#, "[]"),
            "a lock below 1, got -1",
        );
        check(
            &with(mutex, "thread", r#"[["jump",0]]"#, "[]"),
            "got \"jump\"",
        );
        check(
            &with(mutex, "thread", r#"[["read",0]]"#, "[]"),
            "an rwlock, got lock 0, a mutex",
        );
        check(
            &with(mutex, "thread", r#"[["write",0]]"#, "[]"),
            "an rwlock, got lock 0, a mutex",
        );
        check(
            &with(mutex, "thread", r#"[["release",0]]"#, "[]"),
            "the release of lock 0",
        );
        check(
            &with(
                mutex,
                "thread",
                r#"[["acquire",0],["release",0],["release",0]]"#,
                "[]",
            ),
            "agent 0, step 2: expected a lock that is held here",
        );
        check(
            &with(mutex, "thread", r#"[["race",["acquire",0]]]"#, "[]"),
            "expected a task to do this, got a thread",
        );
        check(
            &with(rwlock, "thread", r#"[["read",0],["upgrade",0]]"#, "[]"),
            "held as Upgradable",
        );
        check(
            &with(mutex, "thread", "[]", "[1]"),
            "schedule entry 0: expected the number of an",
        );
        check(&with(mutex, "thread", "[]", r#"["0"]"#), "got \"0\"");
    }
}
