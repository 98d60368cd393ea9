//! The steps, and how a reader is told of them.

use crate::config::Config;
use crate::state::{State, Status, has, members};

/// Which of its steps a frame or the detector makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "`Step::tell` says what each is")]
pub enum Act {
    Take,
    Ask,
    Block,
    Cancel,
    Release,
    Free,
    HandOver,
    WakeFirst,
    WriteOwners,
    WriteSelf,
    EndWait,
    TimeOut,
    Sleep,
    Wake,
    Notice,
    Arm,
    Disarm,
    Fire,
    Drop,
    Call,
    Return,
    Join,
    Leave,
    Notify,
    Move,
    Begin,
    Look,
    Read,
    ReadJournal,
    ReadEpoch,
    Fail,
    Admit,
    GiveUp,
}

/// Where a resource has no part in a step.
pub const NOTHING: usize = usize::MAX;

/// One step: who (for the detector: of whom), what, with which resource, how much or with whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The frame.
    pub frame: usize,
    /// What it does, or what is done to it.
    pub act: Act,
    /// The resource.
    pub resource: usize,
    /// How many permits, or the other frame.
    pub other: usize,
}

fn frame_name(frame: usize) -> char {
    char::from(b'A' + frame as u8)
}

impl Step {
    /// A sentence.
    pub fn tell(self, config: &Config, after: &State) -> String {
        let frame = frame_name(self.frame);
        let kind = config.resources.get(self.resource);
        let name = kind.map_or_else(String::new, |kind| {
            format!("{}{}", kind.letter, self.resource)
        });
        let amount = match kind {
            Some(kind) if kind.letter == 'R' && self.other == 1 => " for reading",
            Some(kind) if kind.letter == 'R' => " for writing",
            Some(kind) if kind.letter == 'S' && self.other == 2 => " (2 permits)",
            Some(kind) if kind.letter == 'S' && self.other == 3 => " (3 permits)",
            _ => "",
        };
        let task = has(config.tasks, self.frame);
        match self.act {
            Act::Take => format!("{frame} takes {name}{amount}"),
            Act::Ask if task => format!("{frame} asks for {name}{amount}, and goes on"),
            Act::Ask => format!("{frame} waits for {name}{amount}"),
            Act::Block => format!("{frame} blocks inside its poll, for {name}{amount}"),
            Act::Cancel => format!("{frame} drops its wait for {name}"),
            Act::Release if after.status[self.frame] == Status::Freeing => {
                format!("{frame} wipes itself off as owner of {name}")
            }
            Act::Release => format!("{frame} releases {name}"),
            Act::Free => format!("{frame} frees {name}"),
            Act::HandOver => format!("{frame} hands {name} to {}", frame_name(self.other)),
            Act::WakeFirst => format!(
                "{frame} frees {name}, and wakes {} to try again",
                frame_name(self.other)
            ),
            Act::WriteOwners => format!("{frame} writes down whom it gave {name}"),
            Act::WriteSelf => format!("{frame} writes itself down as owner of {name}"),
            Act::EndWait => format!("{frame} ends its wait for {name}"),
            Act::TimeOut => format!("{frame} gives up waiting for {name}"),
            Act::Sleep => format!("{frame} is pending"),
            Act::Wake => format!("{frame} is woken, for something it waits for is free"),
            Act::Notice => format!("{frame} notices and runs"),
            Act::Arm => format!("{frame} sets a timer"),
            Act::Disarm => format!("{frame} drops its timer"),
            Act::Fire => format!("{frame}'s timer wakes it"),
            Act::Drop => format!("{frame}'s timer is dropped elsewhere"),
            Act::Call => format!("{frame} calls {}", frame_name(self.other)),
            Act::Return => format!("{frame} returns"),
            Act::Join => format!("{frame} becomes a notifier of {name}"),
            Act::Leave => format!("{frame} is a notifier of {name} no more"),
            Act::Notify => format!("{frame} notifies the waiters of {name}"),
            Act::Move => format!(
                "{frame} gives its guard of {name} to {}",
                frame_name(self.other)
            ),
            Act::Begin => format!(
                "    a check begins with {frame}: {}",
                look(config, after, self.frame)
            ),
            Act::Look => format!(
                "    the check looks at {frame}: {}",
                look(config, after, self.frame)
            ),
            Act::Read => format!("    the check reads who holds {name}, for {frame}"),
            Act::ReadJournal => format!(
                "    the check reads what {} holds of {name}, for {frame}",
                frame_name(self.other)
            ),
            Act::ReadEpoch => format!("    the check reads {frame}'s epoch again"),
            Act::Fail => format!("    DEADLOCK: {frame}'s wait for {name} fails"),
            Act::Admit => format!("    {frame} is let past the waiters before it at {name}"),
            Act::GiveUp => "    the check finds something changed, and is put off".into(),
        }
    }
}

fn look(config: &Config, after: &State, frame: usize) -> String {
    let waits: Vec<String> = (0..config.resources.len())
        .filter(|&resource| after.rec[frame][resource].want() > 0)
        .map(|resource| format!("{}{resource}", config.resources[resource].letter))
        .collect();
    if waits.is_empty() {
        "its wait".into()
    } else {
        format!("it waits for {}", waits.join(" or "))
    }
}

/// What everybody holds and waits for, in one line.
pub fn summary(config: &Config, state: &State) -> String {
    let frames = members(config.everyone()).map(|frame| {
        let list = |pick: &dyn Fn(usize) -> bool| -> String {
            (0..config.resources.len())
                .filter(|&resource| pick(resource))
                .map(|resource| format!("{}{resource}", config.resources[resource].letter))
                .collect::<Vec<_>>()
                .join("+")
        };
        let holds = list(&|resource| state.cell[frame][resource].hold() > 0);
        let wants = list(&|resource| state.cell[frame][resource].want() > 0);
        format!(
            "{}[{holds}{}{wants}]",
            frame_name(frame),
            if wants.is_empty() { "" } else { "→" }
        )
    });
    frames.collect::<Vec<_>>().join(" ")
}
