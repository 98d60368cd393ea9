//! The steps, and how a reader is told of them.

use super::config::{Config, Role};
use super::state::{FRAMES, State, Status, has, members};

/// Which of its steps a frame, a message or a detector makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "`Step::tell` says what each is")]
pub enum Act {
    Take,
    Ask,
    Release,
    TimeOut,
    Cancel,
    Call,
    Abandon,
    Arrive,
    Return,
    Deliver,
    Sleep,
    Wake,
    Fork,
    Close,
    Attach,
    Detach,
    Crash,
    Begin,
    Look,
    Pause,
    AskAgain,
    Epochs,
    Lose,
    Fail,
}

/// Where nothing else has a part in a step.
pub const NOTHING: usize = usize::MAX;

/// One step: who (for a detector: of whom), what, with which lock, frame, or by which detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The frame (of a crash: the node).
    pub frame: usize,
    /// What it does, or what is done to it.
    pub act: Act,
    /// The lock, the other frame, or the detector.
    pub other: usize,
}

/// A letter, and its node.
fn frame_name(config: &Config, frame: usize) -> String {
    let letter = char::from(b'A' + frame as u8);
    match config.frames.get(frame) {
        Some(frame) => format!("{letter}@{}", frame.node),
        None => "?".into(),
    }
}

fn lock_name(config: &Config, lock: usize) -> String {
    match config.locks.get(lock) {
        Some(lock) if lock.pool => format!("a worker of node {}", lock.node),
        Some(_) => format!("L{lock}"),
        None => "its call".into(),
    }
}

impl Step {
    /// A sentence.
    pub fn tell(self, config: &Config, after: &State) -> String {
        let frame = frame_name(config, self.frame);
        let other = || frame_name(config, self.other);
        let lock = || lock_name(config, self.other);
        let task = config
            .frames
            .get(self.frame)
            .is_some_and(|frame| frame.role == Role::Task);
        let by = || ["    ", "        "][self.other & 1];
        match self.act {
            Act::Take => format!("{frame} takes {}", lock()),
            Act::Ask if task => format!("{frame} asks for {}, and goes on", lock()),
            Act::Ask => format!("{frame} waits for {}", lock()),
            Act::Release => format!("{frame} releases {}", lock()),
            Act::TimeOut => format!("{frame} gives up waiting for {}", lock()),
            Act::Cancel => format!("{frame} drops its wait for {}", lock()),
            Act::Call => format!("{frame} calls {}", other()),
            Act::Abandon => format!("{frame} gives up its call of {}", other()),
            Act::Arrive if after.status[self.frame] == Status::Wait => {
                format!("{frame}'s call arrives, and waits for a worker")
            }
            Act::Arrive => format!("{frame}'s call arrives"),
            Act::Return => format!("{frame} returns"),
            Act::Deliver => format!("{frame}'s reply arrives"),
            Act::Sleep => format!("{frame} is pending"),
            Act::Wake => format!("{frame} is woken, for something it waits for is free"),
            Act::Fork => format!("{frame} has {} called, and does not wait for it", other()),
            Act::Close => format!("{frame} learns that its caller's connection is closed"),
            Act::Attach => format!("{frame} attaches itself to the call of {}", other()),
            Act::Detach => format!("{frame} detaches itself"),
            Act::Crash => format!("node {} crashes", self.frame),
            Act::Begin => format!("{}a check begins with {frame}", by()),
            Act::Look => format!("{}pass 1 asks for {frame}", by()),
            Act::Pause => format!("{}what was under way has arrived", by()),
            Act::AskAgain => format!("{}pass 2 reads the edges of {frame}", by()),
            Act::Epochs => format!("{}pass 2 reads the epochs of {frame}'s node", by()),
            Act::Lose => format!("{}a message is lost", by()),
            Act::Fail => format!("    DEADLOCK: {frame}'s wait for {} fails", lock()),
        }
    }
}

/// What everybody holds and waits for, in one line.
pub fn summary(config: &Config, state: &State) -> String {
    let frames = (0..config.frames.len()).filter(|&frame| state.status[frame] != Status::Unborn);
    let told = frames.map(|frame| {
        let locks = |set| members(set).map(|lock| lock_name(config, lock));
        let holds: Vec<String> = locks(state.hold[frame]).collect();
        let calls = members(state.calls(frame)).map(|call| frame_name(config, call));
        let waits: Vec<String> = locks(state.want[frame]).chain(calls).collect();
        let how = match state.status[frame] {
            Status::Sent => " sent",
            Status::Replied => " replied",
            _ => "",
        };
        format!(
            "{}[{}{}{}]{how}",
            frame_name(config, frame),
            holds.join("+"),
            if waits.is_empty() { "" } else { "→" },
            waits.join("+")
        )
    });
    told.collect::<Vec<_>>().join(" ")
}

/// The frames of a set.
pub fn names(config: &Config, set: u8) -> String {
    let there = (0..FRAMES).filter(|&frame| has(set, frame));
    there
        .map(|frame| frame_name(config, frame))
        .collect::<Vec<_>>()
        .join(" ")
}
