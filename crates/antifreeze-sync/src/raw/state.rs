//! The state of a lock for which somebody waits, and who goes in next.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ALONE, Policy, SHIFT, UPGRADABLE};
use crate::agent::Agent;
use crate::calls::Ancestor;
use crate::journal;
use crate::monitor::{Holders, Holding, Inner, Obstacles, Rules};
use crate::report::Mode;
use crate::waiter::{Ended, How, Lent, Queued, State, Waiter};
use crate::waiters::Waiters;

/// How long threads may pass each other before the one that waits longest gets the lock.
const FAIR_AFTER: Duration = if cfg!(any(loom, shuttle)) {
    // No clock may decide what a model checker sees: there, only `fair` and `unlock_fair` do.
    Duration::from_secs(3600)
} else {
    Duration::from_micros(500)
};

/// A call that is further away from its root is not let past writers for those that it serves.
const DEEPEST: u8 = 64;

/// The state of a lock for which somebody waits.
pub(crate) struct LockState {
    /// The frame that has it alone.
    pub(super) owner: Option<u64>,
    pub(super) site: Option<&'static Location<'static>>,
    pub(super) readers: u64,
    pub(super) upgradable: bool,
    /// When the next thread in the queue gets the lock even if others are faster.
    pub(super) fair_at: Instant,
    pub(super) policy: Policy,
    pub(super) id: u64,
}

impl LockState {
    pub(super) fn new(id: u64, policy: Policy) -> Self {
        Self {
            owner: None,
            site: None,
            readers: 0,
            upgradable: false,
            fair_at: Instant::now() + FAIR_AFTER,
            policy,
            id,
        }
    }

    pub(super) fn take(&mut self, word: u64, site: Option<&'static Location<'static>>) {
        let number = word >> SHIFT;
        let alone = word & ALONE != 0;
        self.owner = alone.then_some(number);
        self.site = site.filter(|_| alone);
        self.readers = if alone { 0 } else { number };
        self.upgradable = word & UPGRADABLE != 0;
    }

    pub(super) fn word(&self) -> u64 {
        match self.owner {
            Some(frame) => ALONE | frame << SHIFT,
            None if self.upgradable => UPGRADABLE | self.readers << SHIFT,
            None => self.readers << SHIFT,
        }
    }

    pub(super) fn is_free_for(&self, mode: Mode) -> bool {
        self.owner.is_none()
            && match mode {
                Mode::Read => true,
                Mode::UpgradableRead => !self.upgradable,
                Mode::Upgrade => self.readers == 1,
                _ => self.readers == 0,
            }
    }

    pub(super) fn enter(
        &mut self,
        mode: Mode,
        frame: u64,
        site: Option<&'static Location<'static>>,
    ) {
        match mode {
            Mode::Read => self.readers += 1,
            Mode::UpgradableRead => {
                self.readers += 1;
                self.upgradable = true;
            }
            _ => {
                self.readers = 0;
                self.upgradable = false;
                self.owner = Some(frame);
                self.site = site;
            }
        }
    }

    pub(super) fn leave(&mut self, mode: Mode) {
        match mode {
            Mode::Read => self.readers -= 1,
            Mode::UpgradableRead => {
                self.readers -= 1;
                self.upgradable = false;
            }
            _ => self.owner = None,
        }
    }

    /// Lets somebody in who was just taken from the queue.
    fn grant(&mut self, mut queued: Queued, ended: &mut Ended) {
        // First the wait is over, then it owns: so it never looks as if it waited for itself.
        queued.end(State::Granted);
        self.enter(queued.mode, queued.agent.frame, Some(queued.site));
        ended.push(queued);
    }

    /// Lets those in who want to read, wherever in the queue they stand.
    fn let_all_readers_in(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        let readers: Vec<_> = waiters
            .iter()
            .filter(|waiter| waiter.mode == Mode::Read)
            .cloned()
            .collect();
        for queued in readers.iter().filter_map(|reader| waiters.remove(reader)) {
            self.grant(queued, ended);
        }
    }

    /// Whether somebody reads who waits for the answer to a call for which `agent` was called.
    fn is_read_for(&self, agent: &Agent) -> bool {
        let Some(origin) = agent.origin().filter(|origin| origin.depth <= DEEPEST) else {
            return false;
        };
        let Some(ancestors) = origin.ancestors.as_deref() else {
            return false;
        };
        let readers = journal::readers(self.id);
        let reads = |call: &&Ancestor| readers.iter().any(|reader| reader.frame == call.frame);
        ancestors.iter().filter(reads).any(|call| call.is_waiting())
    }

    pub(super) fn holding(&self) -> Option<Holding> {
        self.owner.map(|frame| Holding {
            frame,
            mode: Mode::Write,
            site: self.site,
            queued: false,
        })
    }
}

impl Inner<LockState> {
    /// Goes in if that is possible and nobody is wronged by it.
    pub(super) fn come(
        &mut self,
        mode: Mode,
        frame: u64,
        site: &'static Location<'static>,
        how: How,
    ) -> bool {
        let state = &mut self.state;
        if !state.is_free_for(mode) {
            return false;
        }
        let may = self.waiters.is_empty()
            // Its owner waits for the others to leave, so whoever upgrades comes first.
            || mode == Mode::Upgrade
            || (mode == Mode::Read && state.policy.readers_first)
            // A free lock for which threads wait: the fastest one gets it.
            || (how == How::Blocked
                && !state.policy.fair
                && !self.waiters.in_order()
                && state.readers == 0)
            // Somebody who reads may read again, or would wait for who waits for it.
            || (mode == Mode::Read
                && how == How::Blocked
                && !state.policy.strict
                && journal::reads(state.id, frame));
        if may {
            state.enter(mode, frame, Some(site));
        }
        may
    }
}

impl Inner<LockState> {
    /// Lets in a task that wants the lock alone, if that is next and nobody looks at it. It is what
    /// [`settle`](Rules::settle) does then, which takes longer to find out.
    #[inline(always)]
    pub(super) fn let_task_in(&mut self) -> Option<Lent> {
        let head = self.waiters.front_lent()?;
        let is_next = head.mode == Mode::Write
            && head.is_alone()
            && self.state.is_free_for(Mode::Write)
            && !self.state.policy.readers_first;
        if !is_next {
            return None;
        }
        let Some(Queued::Lent(task)) = self.waiters.pop() else {
            unreachable!("it was just there");
        };
        task.grant();
        self.state
            .enter(Mode::Write, task.agent.frame, Some(task.site));
        Some(task)
    }

    /// Lets a reader in before all those who wait, if it asks for that, or if it is read already by
    /// somebody for whom it was called: those who wait to write would wait for it, and it for them.
    pub(super) fn come_past(
        &mut self,
        mode: Mode,
        past: bool,
        agent: &Agent,
        site: &'static Location<'static>,
    ) -> bool {
        let state = &mut self.state;
        let may = mode == Mode::Read
            && state.is_free_for(mode)
            && (past || (!state.policy.strict && state.is_read_for(agent)));
        if may {
            state.enter(mode, agent.frame, Some(site));
        }
        may
    }
}

impl Rules for LockState {
    fn obstacles(&self, waiters: &Waiters, waiter: &Waiter) -> Obstacles {
        if let Some(owner) = self.holding() {
            return Obstacles::All(vec![owner]);
        }
        let ahead = || waiters.obstructing(waiter, |other| other.mode != Mode::Read);
        match waiter.mode {
            // Only those who came before and cannot go in keep a reader out.
            Mode::Read => Obstacles::All(ahead()),
            Mode::UpgradableRead if !self.upgradable => Obstacles::All(ahead()),
            Mode::UpgradableRead => Obstacles::Readers(self.id, ahead()),
            _ if self.readers == 0 => Obstacles::All(Vec::new()),
            _ => Obstacles::Readers(self.id, Vec::new()),
        }
    }

    fn settle(&mut self, waiters: &mut Waiters, ended: &mut Ended) {
        if self.policy.readers_first && self.owner.is_none() {
            self.let_all_readers_in(waiters, ended);
        }
        while self.owner.is_none()
            && let Some(head) = waiters.front()
        {
            if !self.is_free_for(head.mode) {
                break;
            }
            let passable =
                head.how == How::Blocked && head.mode == Mode::Write && !self.policy.fair;
            if passable && !waiters.in_order() {
                let now = Instant::now();
                if now < self.fair_at {
                    // Threads that run already may take it first; that is faster for all. One is
                    // woken with every use, so soon nobody waits and the word is put back.
                    if let Some(head) = waiters.pop() {
                        ended.end(head, State::Woken);
                    }
                    break;
                }
                self.fair_at = now + FAIR_AFTER;
            }
            let Some(head) = waiters.pop() else { break };
            self.grant(head, ended);
        }
    }

    fn overtake(&mut self, waiters: &mut Waiters, waiter: &Arc<Waiter>, ended: &mut Ended) -> bool {
        if self.policy.strict
            || !matches!(waiter.mode, Mode::Read | Mode::UpgradableRead)
            || self.readers == 0
            || !self.is_free_for(waiter.mode)
        {
            return false;
        }
        let Some(queued) = waiters.remove(waiter) else {
            return false;
        };
        self.grant(queued, ended);
        true
    }

    fn holders(&self) -> Holders {
        Holders {
            known: self.holding().into_iter().collect(),
            readers_of: (self.readers > 0).then_some(self.id),
            others: false,
        }
    }
}
