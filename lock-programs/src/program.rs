//! What a lock program is: some locks, and agents that each take their steps on them.

/// A lock program.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) things: Vec<Thing>,
    pub(crate) agents: Vec<Agent>,
}

/// Something that is acquired or waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Thing {
    Mutex {
        /// Nobody barges past those who wait.
        fair: bool,
    },
    RwLock {
        /// Nobody is let past a waiting writer, not even to undo a deadlock.
        strict: bool,
    },
    /// A semaphore with a fixed number of permits.
    Semaphore {
        permits: u32,
        /// Nobody is let past others, not even to undo a deadlock.
        strict: bool,
    },
    /// A semaphore to which anybody may add permits, so that nobody can say that waiting is in vain.
    Loose {
        permits: u32,
    },
    Reentrant,
    Event,
}

/// Somebody who takes steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    pub(crate) kind: Kind,
    pub(crate) after: AfterDeadlock,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Kind {
    /// A thread under its own frame.
    Thread,
    /// A thread that serves a call.
    Call,
    Task,
}

/// What an agent does with a deadlock error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AfterDeadlock {
    /// Lets go of everything and ends.
    End,
    /// Takes the next step, and holds on to what it has.
    GoOn,
    /// Lets go of everything and begins again, a few times.
    Retry,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Acquire(Want, Patience),
    /// The first of these that can be had; the others are dropped. Tasks only.
    Race(Vec<Want>),
    /// All of these, waited for at once. Tasks only.
    Both(Vec<Want>),
    /// From the right to become the writer to being it.
    Upgrade(usize),
    /// From writing to reading.
    Downgrade(usize),
    /// Drops the newest guard of this.
    Release(usize),
    /// Waits for the end of another thread.
    Join(usize),
    /// Sleeps for some time, long enough for the detector to look.
    Pause,
    /// Sets an event.
    Set(usize),
}

/// What is to be acquired, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Want {
    pub(crate) thing: usize,
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The only mode of a mutex; of a lock for readers and writers, writing.
    Write,
    Read,
    /// Reading, with the right to become the writer.
    Upgradable,
    /// From that right to writing: never asked for by itself.
    Upgrade,
    Permits(u32),
    /// Something to happen: an event, or somebody's end.
    Signal,
}

/// For how long something is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Patience {
    Forever,
    /// Not at all.
    Try,
    /// With a deadline so far off that it never comes.
    Long,
    /// With a deadline that comes unless the lock comes first.
    Short,
    /// A task that asks once and drops its future if it would have to wait.
    Once,
}

impl Program {
    /// Whether the detector keeps a record of who waits in this step.
    pub(crate) fn is_known(&self, step: &Step) -> bool {
        !step
            .wants()
            .iter()
            .any(|want| self.things[want.thing].is_open_ended())
    }

    /// Whether any agent is joined, for which it must be a thread of its own.
    pub(crate) fn is_joined(&self, agent: usize) -> bool {
        self.agents
            .iter()
            .flat_map(|other| &other.steps)
            .any(|step| *step == Step::Join(agent))
    }
}

impl Thing {
    /// Whether it can become free by somebody who does not hold it, so that nobody who waits for it
    /// is ever deadlocked and the detector keeps no record of it.
    pub(crate) fn is_open_ended(&self) -> bool {
        matches!(self, Self::Loose { .. } | Self::Event)
    }
}

impl Step {
    /// All that it wants to acquire.
    pub(crate) fn wants(&self) -> &[Want] {
        match self {
            Self::Acquire(want, _) => std::slice::from_ref(want),
            Self::Race(wants) | Self::Both(wants) => wants,
            _ => &[],
        }
    }
}

/// What happens next in a program that is led step by step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Choice {
    /// An agent takes its next step.
    Step(usize),
    /// The deadline of an agent comes.
    Expire(usize),
    /// A task drops the future that it waits with.
    Cancel(usize),
    /// A loose semaphore gets more permits, or an event is set, from outside.
    Help(usize),
    /// Nothing, for as long as it takes the detector to look.
    Dwell,
}
