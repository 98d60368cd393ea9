//! The machine of one process: its steps, and what is wrong with a state.

use crate::config::{Config, Expect};
use crate::detector;
use crate::explore::{Kind, Machine, Outcome};
use crate::frames;
use crate::state::{Phase, State, Status, has, members};
use crate::step::{self, Act, Step};
use crate::symmetry::Symmetry;
use crate::truth::{Edges, deadlocked};

impl Machine for Config {
    type State = State;
    type Step = Step;
    type Symmetry = Symmetry;

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn expect(&self) -> Expect {
        self.expect
    }

    fn large(&self) -> bool {
        self.large
    }

    fn bound(&self) -> u64 {
        self.bound
    }

    fn start(&self) -> State {
        State::start(self.calls)
    }

    fn successors(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.det.phase == Phase::Phantom {
            return;
        }
        for frame in 0..self.frames {
            frames::steps(self, state, frame, out);
        }
        detector::steps(self, state, out);
        if self.judged_by_ever() {
            for (_, next) in out {
                if next.det.phase != Phase::Idle {
                    next.det.ever |= deadlocked(self, next, Edges::Hard);
                }
            }
        }
    }

    fn symmetry(&self) -> Symmetry {
        Symmetry::of(self)
    }

    fn canonical(symmetry: &Symmetry, state: &State) -> (u64, State) {
        symmetry.canonical(state)
    }

    fn fingerprint(state: &State) -> u64 {
        state.fingerprint()
    }

    fn wrong(&self, state: &State) -> Option<Outcome> {
        if state.det.phase == Phase::Phantom {
            return Some(Outcome::Phantom);
        }
        (self.expect != Expect::Phantom && is_missed(self, state)).then_some(Outcome::Miss)
    }

    fn kind(&self, step: &Step, before: &State, after: &State) -> Kind {
        let late = matches!(
            before.det.phase,
            Phase::Again | Phase::Epochs | Phase::Doomed
        );
        match step.act {
            Act::Fail => Kind::Failed,
            Act::Admit => Kind::Admitted,
            _ if late && after.det.phase == Phase::Idle => Kind::PutOff,
            _ => Kind::Other,
        }
    }

    fn tell(&self, step: &Step, after: &State) -> String {
        format!(
            "{:60} {}",
            step.tell(self, after),
            step::summary(self, after)
        )
    }

    fn stuck(&self, state: &State) -> String {
        members(deadlocked(self, state, Edges::All))
            .filter(|&frame| has(self.everyone(), frame))
            .map(|frame| char::from(b'A' + frame as u8))
            .collect()
    }
}

/// Whether a deadlock stays although everything that is due is done: all frames finish what they
/// are in the midst of and then stand still, and the detector makes all the checks that are due.
fn is_missed(config: &Config, state: &State) -> bool {
    if state.det.phase != Phase::Idle || deadlocked(config, state, Edges::All) == 0 {
        return false;
    }
    let mut state = *state;
    let mut out = Vec::new();
    let busy = |state: &State, frame: usize| {
        use Status::{Freeing, GrantedUnseen, Granting, Storing, Took, WokenUnseen};
        matches!(
            state.status[frame],
            Took | Storing | Freeing | Granting | GrantedUnseen | WokenUnseen
        )
    };
    loop {
        out.clear();
        for frame in (0..config.frames).filter(|&frame| busy(&state, frame)) {
            frames::steps(config, &state, frame, &mut out);
        }
        let Some(&(_, next)) = out.first() else { break };
        state = next;
    }
    for _ in 0..1000 {
        if state.det.phase == Phase::Idle && state.det.pending == 0 {
            return deadlocked(config, &state, Edges::All) != 0;
        }
        out.clear();
        detector::steps(config, &state, &mut out);
        match out.first() {
            Some(&(_, next)) if next.det.phase != Phase::Phantom => state = next,
            _ => return false,
        }
    }
    true
}
