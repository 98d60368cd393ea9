//! The truth: who has what, who waits for what, and who can never go on.
//!
//! It knows one step at a time and nothing of the detector. A reader takes one permit, a writer all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::program::{Mode, Sort, Thing};

/// How long an error may be on its way, through some programs of Python on a busy machine, to somebody who
/// was freed by another one meanwhile.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// All that is taken, and those who take it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) things: Vec<State>,
    pub(crate) frames: Vec<Frame>,
    /// Whose waits have ended with what they wanted since this was taken last.
    pub(crate) granted: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    sort: Sort,
    /// Frames, how many permits each has, and how it took them.
    pub(crate) holders: Vec<(usize, Mode)>,
    pub(crate) queue: VecDeque<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who waits for its end.
    pub(crate) caller: Option<usize>,
    pub(crate) wait: Wait,
    /// Whether it could not go on at some time of its last wait.
    pub(crate) stuck: Stuck,
    /// The same, or somebody stood in its way who only came first.
    pub(crate) was_behind: bool,
    /// It is nobody's but the process's that it is in, so nobody is told of it.
    pub(crate) foreign: bool,
}

/// Whether somebody could not go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stuck {
    /// At no time.
    Never,
    /// Now.
    Still,
    /// Until then.
    Until(Instant),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// It can go on.
    None,
    /// For a lock, or to begin: for an object or a place.
    Thing { thing: usize, mode: Mode },
    /// For the end of somebody.
    Call(usize),
    /// It is over.
    Ended,
}

impl Model {
    pub(crate) fn new(things: &[Thing]) -> Self {
        let state = |thing: &Thing| State {
            sort: thing.sort,
            holders: Vec::new(),
            queue: VecDeque::new(),
        };
        Self {
            things: things.iter().map(state).collect(),
            ..Self::default()
        }
    }

    /// Somebody begins, and so its caller waits.
    pub(crate) fn begin(&mut self, caller: Option<usize>, foreign: bool) -> usize {
        let frame = self.frames.len();
        self.frames.push(Frame {
            caller,
            wait: Wait::None,
            stuck: Stuck::Never,
            was_behind: false,
            foreign,
        });
        if let Some(caller) = caller {
            self.wait(caller, Wait::Call(frame));
        }
        frame
    }

    /// Whether a frame gets this now. If not, and if it is to wait, it does.
    pub(crate) fn take(&mut self, frame: usize, thing: usize, mode: Mode, waits: bool) -> bool {
        let state = &self.things[thing];
        let first = state.queue.is_empty()
            || mode == Mode::Pass
            || (mode == Mode::Read && state.sort == Sort::Object && self.is_read_for(frame, thing));
        if first && state.fits(mode) {
            self.things[thing].holders.push((frame, mode));
            return true;
        }
        if waits {
            let queue = &mut self.things[thing].queue;
            match mode {
                Mode::Pass => queue.push_front(frame),
                _ => queue.push_back(frame),
            }
            self.wait(frame, Wait::Thing { thing, mode });
        }
        false
    }

    /// Whether somebody reads it for whom this frame was called.
    fn is_read_for(&self, frame: usize, thing: usize) -> bool {
        let reads = |frame: usize| {
            let mut holders = self.things[thing].holders.iter();
            holders.any(|(holder, mode)| *holder == frame && *mode != Mode::Write)
        };
        let callers = std::iter::successors(self.frames[frame].caller, |frame| {
            self.frames[*frame].caller
        });
        callers.into_iter().any(reads)
    }

    /// Gives back what it took last of this thing, if it has it.
    pub(crate) fn release(&mut self, frame: usize, thing: usize) {
        let holders = &mut self.things[thing].holders;
        if let Some(place) = holders.iter().rposition(|(holder, _)| *holder == frame) {
            holders.remove(place);
        }
        self.advance(thing);
    }

    pub(crate) fn has(&self, frame: usize, thing: usize) -> bool {
        let mut holders = self.things[thing].holders.iter();
        holders.any(|(holder, _)| *holder == frame)
    }

    /// It is over, and whoever called it can go on.
    pub(crate) fn end(&mut self, frame: usize) {
        self.give_up(frame);
        self.frames[frame].wait = Wait::Ended;
        for thing in 0..self.things.len() {
            while self.has(frame, thing) {
                self.release(frame, thing);
            }
        }
        if let Some(caller) = self.frames[frame].caller {
            self.wait(caller, Wait::None);
        }
    }

    /// It waits no longer, and has not got what it wanted.
    pub(crate) fn give_up(&mut self, frame: usize) {
        if let Wait::Thing { thing, .. } = self.frames[frame].wait {
            self.things[thing].queue.retain(|waiter| *waiter != frame);
            self.wait(frame, Wait::None);
            self.advance(thing);
        }
    }

    /// It is let in although others came first, if there is room.
    pub(crate) fn admit(&mut self, frame: usize) -> bool {
        let Wait::Thing { thing, mode } = self.frames[frame].wait else {
            return false;
        };
        let fits = self.things[thing].fits(mode);
        if fits {
            self.grant(frame, thing, mode);
            self.advance(thing);
        }
        fits
    }

    /// Has a frame that was given this wait for it again, before all others. If it has it.
    pub(crate) fn put_back(&mut self, frame: usize, thing: usize) -> bool {
        let State { holders, queue, .. } = &mut self.things[thing];
        let Some(place) = holders.iter().position(|(holder, _)| *holder == frame) else {
            return false;
        };
        let (_, mode) = holders.remove(place);
        queue.push_front(frame);
        self.frames[frame].wait = Wait::Thing { thing, mode };
        true
    }

    fn advance(&mut self, thing: usize) {
        // Who enters a place first nobody knows before it has.
        if self.things[thing].sort == Sort::Place {
            return;
        }
        while let Some(&frame) = self.things[thing].queue.front() {
            let Wait::Thing { mode, .. } = self.frames[frame].wait else {
                unreachable!("whoever is in a queue waits");
            };
            if !self.things[thing].fits(mode) {
                break;
            }
            self.grant(frame, thing, mode);
        }
    }

    fn grant(&mut self, frame: usize, thing: usize, mode: Mode) {
        let state = &mut self.things[thing];
        state.queue.retain(|waiter| *waiter != frame);
        state.holders.push((frame, mode));
        self.wait(frame, Wait::None);
        self.granted.push(frame);
    }

    fn wait(&mut self, frame: usize, wait: Wait) {
        self.frames[frame].wait = wait;
        if wait != Wait::None {
            self.frames[frame].stuck = Stuck::Never;
            self.frames[frame].was_behind = false;
        }
    }

    /// Of each frame, whether it can never go on unless another one does that cannot either. With
    /// `soft`, whoever came first is in the way of others, too.
    pub(crate) fn stuck(&self, soft: bool) -> Vec<bool> {
        self.stuck_if(soft, |_| false)
    }

    /// The same, if those of `free` can go on.
    pub(crate) fn stuck_if(&self, soft: bool, free: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut stuck = vec![true; self.frames.len()];
        loop {
            let mut changed = false;
            for frame in 0..stuck.len() {
                if stuck[frame] && (free(frame) || self.can_go(frame, &stuck, soft)) {
                    stuck[frame] = false;
                    changed = true;
                }
            }
            if !changed {
                return stuck;
            }
        }
    }

    fn can_go(&self, frame: usize, stuck: &[bool], soft: bool) -> bool {
        match self.frames[frame].wait {
            Wait::None | Wait::Ended => true,
            Wait::Call(callee) => !stuck[callee],
            Wait::Thing { thing, mode } => {
                let state = &self.things[thing];
                let kept = state.holders.iter().filter(|(holder, _)| stuck[*holder]);
                let kept: u32 = kept.map(|(_, mode)| state.sort.permits(*mode)).sum();
                let fits = kept + state.sort.permits(mode) <= state.sort.total();
                let in_order = soft && state.sort != Sort::Place;
                let mut ahead = state.queue.iter().take_while(|other| **other != frame);
                fits && !(in_order
                    && ahead.any(|other| stuck[*other] && !self.together(*other, mode)))
            }
        }
    }

    /// Whether somebody who waits and this one both read.
    fn together(&self, other: usize, mode: Mode) -> bool {
        let reads = |mode| matches!(mode, Mode::Read | Mode::Pass);
        matches!(self.frames[other].wait, Wait::Thing { mode: theirs, .. } if reads(theirs) && reads(mode))
    }

    /// Notes of all who cannot go on now that it was so. Says how many they are.
    pub(crate) fn note_stuck(&mut self) -> usize {
        let (stuck, behind) = (self.stuck(false), self.stuck(true));
        let mut count = 0;
        for (number, frame) in self.frames.iter_mut().enumerate() {
            frame.stuck = match frame.stuck {
                _ if stuck[number] => Stuck::Still,
                Stuck::Still => Stuck::Until(Instant::now()),
                before => before,
            };
            frame.was_behind |= behind[number];
            count += usize::from(stuck[number]);
        }
        count
    }
}

impl Frame {
    /// Whether somebody may be told only now that it could not go on.
    pub(crate) fn was_stuck(&self) -> bool {
        match self.stuck {
            Stuck::Never => false,
            Stuck::Still => true,
            Stuck::Until(end) => end.elapsed() < ON_ITS_WAY,
        }
    }
}

impl State {
    pub(crate) fn fits(&self, mode: Mode) -> bool {
        let taken: u32 = self
            .holders
            .iter()
            .map(|(_, mode)| self.sort.permits(*mode))
            .sum();
        taken + self.sort.permits(mode) <= self.sort.total()
    }

    /// Nobody is inside, and somebody is about to be.
    pub(crate) fn is_open_place(&self) -> bool {
        self.sort == Sort::Place && self.holders.is_empty() && !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames take these things one after the other, `0a` frame 0 thing a, `0A` alone; `0>1` frame 0 has
    /// called frame 1. Says who can never go on, without and with those who only came first.
    #[track_caller]
    fn check(steps: &str, sorts: &[Sort], stuck: &[usize], behind: &[usize]) {
        let thing = |sort: &Sort| Thing {
            node: 0,
            sort: *sort,
        };
        let things: Vec<Thing> = sorts.iter().map(thing).collect();
        let mut model = Model::new(&things);
        for _ in 0..5 {
            model.begin(None, false);
        }
        for step in steps.split_whitespace() {
            let bytes = step.as_bytes();
            let frame = usize::from(bytes[0] - b'0');
            if bytes[1] == b'>' {
                let callee = usize::from(bytes[2] - b'0');
                model.frames[callee].caller = Some(frame);
                model.wait(frame, Wait::Call(callee));
                continue;
            }
            let thing = usize::from(bytes[1].to_ascii_lowercase() - b'a');
            let mode = match (sorts[thing], bytes[1].is_ascii_uppercase()) {
                (Sort::Semaphore(all), true) => Mode::Permits(all),
                (Sort::Semaphore(_), false) => Mode::Permits(1),
                (_, true) => Mode::Write,
                (_, false) => Mode::Read,
            };
            model.take(frame, thing, mode, true);
        }
        for (soft, expected) in [(false, stuck), (true, behind)] {
            let found = model.stuck(soft);
            let found: Vec<usize> = (0..5).filter(|frame| found[*frame]).collect();
            assert_eq!(found, expected, "{steps}, soft {soft}");
        }
    }

    #[test]
    fn who_can_never_go_on() {
        let two = [Sort::RwLock; 2];
        check("0A 1B 0B", &two, &[], &[]);
        check("0A 1B 0B 1A", &two, &[0, 1], &[0, 1]);
        check("0a 1a 0B 1B", &two, &[], &[]);
        // Both read, and want to write.
        check("0a 1a 0A 1A", &two, &[0, 1], &[0, 1]);
        // Through calls, and one that comes back.
        check("0A 0>1 2B 2>3 1B 3A", &two, &[0, 1, 2, 3], &[0, 1, 2, 3]);
        check("0A 0>1 1>2 2A", &two, &[0, 1, 2], &[0, 1, 2]);
        // A reader behind a writer who waits for it.
        check("0a 1A 0>2 2a", &two, &[], &[0, 1, 2]);
        let semaphores = [Sort::Semaphore(2); 2];
        check("0a 1a 0a", &semaphores, &[], &[]);
        check("0a 1a 0a 1a", &semaphores, &[0, 1], &[0, 1]);
        // Somebody else gives back what is enough.
        check("0a 1A 2a 3B 2B", &semaphores, &[], &[]);
        // A small request behind a large one, for whose end the large one waits.
        check("0a 1A 0>2 2a", &semaphores, &[], &[0, 1, 2]);
    }

    #[test]
    fn who_is_called_by_a_reader_of_an_object_reads_it_at_once() {
        let object = [Sort::Object];
        check("0a 1A 0>2 2a", &object, &[], &[]);
        check("0a 1A 3a", &object, &[], &[]);
    }
}
