//! The lock under [`Mutex`](crate::Mutex) and [`RwLock`](crate::RwLock).
//!
//! As long as nobody waits, the whole lock is one word: free, the frame that has it alone, or how
//! many read it. One compare-and-swap takes it and records its owner. Somebody who has to wait moves
//! the word into the lock's [`Monitor`] and leaves [`MOVED`] in its place; from then on everybody
//! goes through the monitor, until nobody waits any more and the word is put back.

mod acquire;
mod state;

use std::marker::PhantomData;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use acquire::Acquire;
use state::LockState;

use crate::agent::{self, Agent};
use crate::detector;
use crate::error::LockError;
use crate::journal::{self, Slot};
use crate::label::{Label, Name, new_id};
use crate::monitor::{Holding, Inner, Monitor};
use crate::order;
use crate::report::{DeadlockKind, Member, Mode, Report};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{BriefGuard, OnceLock, const_fn, spin_loop, yield_now};
use crate::waiter::{Ended, How, Request, State, Wait, Waiter};

/// The state is in the monitor.
const MOVED: u64 = 1;
/// Somebody has the lock alone: the frame stands above the flags.
const ALONE: u64 = 2;
/// One of the readers has the right to upgrade.
const UPGRADABLE: u64 = 4;
/// Where the number of readers, or the frame, begins.
const SHIFT: u32 = 4;
const READER: u64 = 1 << SHIFT;

/// Whether a state that is in the word lets somebody in.
#[inline]
fn is_free(word: u64, mode: Mode) -> bool {
    match mode {
        Mode::Write => word == 0,
        Mode::Upgrade => word == READER | UPGRADABLE,
        Mode::UpgradableRead => word & (MOVED | ALONE | UPGRADABLE) == 0,
        _ => word & (MOVED | ALONE) == 0,
    }
}

/// A lock that can be had alone, or read together.
// In this order: what every use touches comes last, where the data of the lock follows, so that both
// travel from core to core together.
#[repr(C)]
pub(crate) struct RawLock {
    label: Label,
    monitor: OnceLock<Arc<Monitor<LockState>>>,
    policy: Policy,
    /// How often tasks look whether it becomes free before they wait.
    patience: std::sync::atomic::AtomicU8,
    /// Where lock-order checking keeps the class.
    seat: std::sync::atomic::AtomicU32,
    /// Its number, once it was needed.
    id: AtomicU64,
    /// Where whoever has it alone acquired it.
    site: AtomicPtr<Location<'static>>,
    word: AtomicU64,
}

/// Who may pass whom.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    /// Nobody overtakes anybody.
    pub(crate) fair: bool,
    /// Not even to undo a deadlock.
    pub(crate) strict: bool,
    /// Readers never wait for a writer that waits.
    pub(crate) readers_first: bool,
}

impl RawLock {
    const_fn! {
        pub(crate) const fn new(label: Label) -> Self {
            Self {
                word: AtomicU64::new(0),
                site: AtomicPtr::new(ptr::null_mut()),
                id: AtomicU64::new(0),
                monitor: OnceLock::new(),
                label,
                policy: Policy { fair: false, strict: false, readers_first: false },
                patience: std::sync::atomic::AtomicU8::new(acquire::HOPEFUL),
                seat: std::sync::atomic::AtomicU32::new(0),
            }
        }
    }

    /// Tells lock-order checking of an acquisition. The guard must exist already: this may panic.
    #[inline]
    pub(crate) fn learn(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        how: order::How,
        data: fn() -> &'static str,
    ) {
        if order::active() {
            self.learn_now(mode, site, how, data());
        }
    }

    #[cold]
    fn learn_now(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        how: order::How,
        data: &'static str,
    ) {
        let Label { kind, created, .. } = self.label;
        let class = order::ClassKey {
            name: self.label.name(),
            data,
            created,
            kind,
        };
        order::acquired(&self.seat, class, self.id(), mode, site, how);
    }

    /// Tells lock-order checking that the lock is let go.
    #[inline]
    pub(crate) fn unlearn(&self, mode: Mode) {
        if order::active() {
            self.unlearn_now(mode);
        }
    }

    #[cold]
    fn unlearn_now(&self, mode: Mode) {
        order::released(self.id(), mode);
    }

    pub(crate) const fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    pub(crate) fn rename(&mut self, name: String) {
        self.label.name = Name::Made(name.into());
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    /// The number of this lock, which no other one ever has.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        match self.id.load(Ordering::Relaxed) {
            0 => self.first_id(),
            id => id,
        }
    }

    #[cold]
    fn first_id(&self) -> u64 {
        let id = new_id();
        match self
            .id
            .compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => id,
            Err(other) => other,
        }
    }

    /// Whether anybody has it.
    pub(crate) fn is_locked(&self) -> bool {
        match self.word.load(Ordering::Acquire) {
            word if word & MOVED != 0 => self.monitor.get().is_some_and(|monitor| {
                let inner = monitor.lock();
                inner.state.owner.is_some() || inner.state.readers > 0
            }),
            word => word != 0,
        }
    }

    /// Whether somebody has it alone.
    pub(crate) fn is_locked_alone(&self) -> bool {
        match self.word.load(Ordering::Acquire) {
            word if word & MOVED != 0 => self
                .monitor
                .get()
                .is_some_and(|monitor| monitor.lock().state.owner.is_some()),
            word => word & ALONE != 0,
        }
    }

    // Acquiring.

    /// Takes the lock alone, waiting for it on this thread.
    #[inline]
    pub(crate) fn lock(
        &self,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
        data: fn() -> &'static str,
    ) -> Result<(), LockError> {
        if self.try_word_alone(agent::frame(), site) {
            return Ok(());
        }
        self.block(Mode::Write, site, deadline, data)
    }

    /// Reads together with others, waiting for it on this thread.
    #[inline]
    pub(crate) fn read(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
        data: fn() -> &'static str,
    ) -> Result<(), LockError> {
        if self.try_word_read(mode) {
            return Ok(());
        }
        self.block(mode, site, deadline, data)
    }

    /// Notes who reads, where the detector finds it.
    #[inline]
    pub(crate) fn note(
        &self,
        mode: Mode,
        frame: u64,
        site: &'static Location<'static>,
    ) -> Option<&'static Slot> {
        if cfg!(feature = "deadlock-detection") {
            journal::note(self.id(), mode, frame, site)
        } else {
            None
        }
    }

    #[inline]
    fn try_word_alone(&self, frame: u64, site: &'static Location<'static>) -> bool {
        let taken = self
            .word
            .compare_exchange(
                0,
                ALONE | frame << SHIFT,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok();
        if taken {
            self.acquired_at(site);
        }
        taken
    }

    /// Writes down where whoever has it alone acquired it, unless that is where it was acquired last: letting
    /// go has to wait for that store, an eighth of the time of locking and unlocking.
    #[inline]
    fn acquired_at(&self, site: &'static Location<'static>) {
        let site = ptr::from_ref(site).cast_mut();
        if self.site.load(Ordering::Relaxed) != site {
            self.site.store(site, Ordering::Relaxed);
        }
    }

    #[inline]
    fn try_word_read(&self, mode: Mode) -> bool {
        let add = match mode {
            Mode::UpgradableRead => READER | UPGRADABLE,
            _ => READER,
        };
        let mut word = self.word.load(Ordering::Relaxed);
        while is_free(word, mode) {
            match self.word.compare_exchange_weak(
                word,
                word + add,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(actual) => word = actual,
            }
        }
        false
    }

    /// Takes the lock if that is possible without waiting.
    pub(crate) fn try_lock(&self, mode: Mode, site: &'static Location<'static>) -> bool {
        self.try_lock_for(mode, agent::frame(), site, How::Blocked)
    }

    /// The same, for a frame that need not be the one that this thread runs as.
    #[inline]
    pub(crate) fn try_lock_for(
        &self,
        mode: Mode,
        frame: u64,
        site: &'static Location<'static>,
        how: How,
    ) -> bool {
        if self.try_word(mode, frame, site) {
            return true;
        }
        if self.word.load(Ordering::Relaxed) & MOVED == 0 {
            return false;
        }
        self.monitor.get().is_some_and(|monitor| {
            let mut inner = monitor.lock();
            self.word.load(Ordering::Relaxed) & MOVED != 0 && inner.come(mode, frame, site, how)
        })
    }

    /// Reads if nobody writes at this moment, whoever waits to do so.
    pub(crate) fn try_read_past(&self, frame: u64) -> bool {
        self.try_word_read(Mode::Read)
            || self.monitor.get().is_some_and(|monitor| {
                let mut inner = monitor.lock();
                let may = self.word.load(Ordering::Relaxed) & MOVED != 0
                    && inner.state.is_free_for(Mode::Read);
                if may {
                    inner.state.enter(Mode::Read, frame, None);
                }
                may
            })
    }

    #[inline]
    fn try_word(&self, mode: Mode, frame: u64, site: &'static Location<'static>) -> bool {
        match mode {
            Mode::Write => self.try_word_alone(frame, site),
            Mode::Upgrade => {
                let only_me = READER | UPGRADABLE;
                let taken = self
                    .word
                    .compare_exchange(
                        only_me,
                        ALONE | frame << SHIFT,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok();
                if taken {
                    self.acquired_at(site);
                }
                taken
            }
            mode => self.try_word_read(mode),
        }
    }

    /// Waits on this thread.
    #[cold]
    pub(crate) fn block(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        deadline: Option<Instant>,
        data: fn() -> &'static str,
    ) -> Result<(), LockError> {
        let frame = agent::frame();
        let request = Request {
            mode,
            site,
            timed: deadline.is_some(),
        };
        let monitor = self.monitor(data);
        let mut was_woken = false;
        loop {
            if self.spin(mode, frame, site) {
                return Ok(());
            }
            let mut inner = self.moved(monitor);
            if inner.come(mode, frame, site, How::Blocked) {
                self.move_back(&mut inner);
                return Ok(());
            }
            if self.policy.strict
                && mode == Mode::Read
                && order::active()
                && journal::reads(inner.state.id, frame)
            {
                order::recursive_read(inner.state.id, site);
            }
            if let Some(kind) = self.is_own(&inner.state, mode, frame) {
                self.move_back(&mut inner);
                drop(inner);
                return Err(own_deadlock(monitor, kind, request));
            }
            // Whoever was woken and lost the race does not lose its place, too. But whoever upgrades
            // stays first: all others wait for it to let go of what it reads.
            let head = inner.waiters.front();
            let upgrades = head.is_some_and(|head| head.mode == Mode::Upgrade);
            let keeps_place = was_woken && !inner.waiters.in_order() && !upgrades;
            let front = mode == Mode::Upgrade || keeps_place;
            let waiter = monitor.block(inner, request, front, deadline);
            match waiter.state() {
                State::Granted => return Ok(()),
                State::Woken => {
                    was_woken = true;
                    let mut inner = self.moved(monitor);
                    if inner.come(mode, frame, site, How::Blocked) {
                        self.move_back(&mut inner);
                        return Ok(());
                    }
                    // Somebody who must not be overtaken may have come meanwhile.
                    monitor.settle(inner);
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        self.put_back();
                        return Err(LockError::Timeout);
                    }
                }
                _ => {
                    self.put_back();
                    return waiter.outcome();
                }
            }
        }
    }

    /// Tries for a moment whether the lock becomes free.
    #[inline]
    fn spin(&self, mode: Mode, frame: u64, site: &'static Location<'static>) -> bool {
        if self.policy.fair {
            return false;
        }
        for round in 0..if cfg!(any(loom, shuttle)) { 0 } else { 11 } {
            // Long enough at first that whoever has the lock can take it many times before it moves to
            // another core, short enough that it is not free for long.
            if round < 4 {
                (0..16 << round).for_each(|_| spin_loop());
            } else {
                yield_now();
            }
            // Only looked at as long as it is taken: to try would take the word from the owner's
            // cache, who needs it to let go.
            let word = self.word.load(Ordering::Relaxed);
            if word & MOVED != 0 {
                return false;
            }
            if is_free(word, mode) && self.try_word(mode, frame, site) {
                return true;
            }
        }
        false
    }

    /// Whether a blocked thread would wait for itself.
    fn is_own(&self, state: &LockState, mode: Mode, frame: u64) -> Option<DeadlockKind> {
        if !cfg!(feature = "deadlock-detection") {
            return None;
        }
        if state.owner == Some(frame) && frame != agent::ANONYMOUS {
            return Some(DeadlockKind::SelfLock);
        }
        let reads = state.readers > 0 && mode == Mode::Write && journal::reads(state.id, frame);
        reads.then_some(DeadlockKind::Upgrade)
    }

    /// Waits as a task; see [`Acquire`].
    pub(crate) fn acquire<T: ?Sized>(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
    ) -> Acquire<'_, T> {
        Acquire {
            lock: self,
            site,
            waiter: None,
            mode,
            data: PhantomData,
        }
    }

    /// Has `call` called when the lock was acquired for `agent`, or could not be; at once if
    /// nothing has to be waited for. What comes back ends the wait.
    ///
    /// With `past`, a reader goes before all those who wait.
    pub(crate) fn acquire_then(
        &self,
        mode: Mode,
        past: bool,
        site: &'static Location<'static>,
        data: fn() -> &'static str,
        agent: Arc<Agent>,
        call: Box<dyn FnOnce(Result<(), LockError>) + Send>,
    ) -> Option<Wait> {
        if self.try_word(mode, agent.frame, site) {
            call(Ok(()));
            return None;
        }
        let monitor = self.monitor(data);
        let mut inner = self.moved(monitor);
        let past = past && mode == Mode::Read;
        if inner.come(mode, agent.frame, site, How::Call)
            || inner.come_past(mode, past, &agent, site)
        {
            self.move_back(&mut inner);
            drop(inner);
            call(Ok(()));
            return None;
        }
        let request = Request {
            mode,
            site,
            timed: false,
        };
        Some(monitor.call_later(inner, request, past, agent, call))
    }

    // Letting go.

    /// Lets go of a lock that was had alone.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Without looking at the word before, which takes a quarter of the time of locking and unlocking.
        if self.word.fetch_and(MOVED, Ordering::Release) & MOVED != 0 {
            self.leave(Mode::Write);
        }
    }

    /// The same for a task: where tasks meet some wait nearly always, and to read what all of them read is
    /// less than to change it.
    #[inline]
    pub(crate) fn unlock_of_task(&self) {
        if self.word.load(Ordering::Relaxed) & MOVED != 0 {
            self.leave(Mode::Write);
        } else {
            self.unlock();
        }
    }

    /// Lets go of a lock that was read.
    #[inline]
    pub(crate) fn unlock_read(&self, mode: Mode) {
        let take = match mode {
            Mode::UpgradableRead => READER | UPGRADABLE,
            _ => READER,
        };
        let mut word = self.word.load(Ordering::Relaxed);
        while word & MOVED == 0 {
            match self.word.compare_exchange_weak(
                word,
                word - take,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(actual) => word = actual,
            }
        }
        self.leave(mode);
    }

    #[cold]
    fn leave(&self, mode: Mode) {
        let mut inner = self.moved(self.there());
        inner.state.leave(mode);
        let Some(task) = inner.let_task_in() else {
            return self.settle(inner);
        };
        self.move_back(&mut inner);
        drop(inner);
        task.tell();
    }

    /// Lets go, and gives the lock to whoever waits longest.
    pub(crate) fn unlock_fair(&self) {
        if !self.try_change(|word| (word & ALONE != 0).then_some(0)) {
            self.change(|state| {
                state.leave(Mode::Write);
                state.fair_at = Instant::now();
            });
        }
    }

    /// Goes on reading what was had alone.
    pub(crate) fn downgrade(&self, to: Mode) {
        let left = if to == Mode::UpgradableRead {
            READER | UPGRADABLE
        } else {
            READER
        };
        if !self.try_change(|word| (word & ALONE != 0).then_some(left)) {
            self.change(|state| {
                state.owner = None;
                state.enter(to, 0, None);
            });
        }
    }

    /// Goes on reading without the right to upgrade.
    pub(crate) fn downgrade_upgradable(&self) {
        if !self.try_change(|word| Some(word & !UPGRADABLE)) {
            self.change(|state| state.upgradable = false);
        }
    }

    /// Whoever has the lock alone from now on is `frame`.
    #[inline]
    pub(crate) fn hand_to(&self, frame: u64) {
        let mine = ALONE | frame << SHIFT;
        if self.word.load(Ordering::Relaxed) != mine && !self.try_change(|_| Some(mine)) {
            self.change(|state| state.owner = Some(frame));
        }
    }

    /// Changes the word, if the state is there.
    fn try_change(&self, change: impl Fn(u64) -> Option<u64>) -> bool {
        let change = |word| {
            if word & MOVED == 0 {
                change(word)
            } else {
                None
            }
        };
        self.word
            .fetch_update(Ordering::Release, Ordering::Relaxed, change)
            .is_ok()
    }

    /// Changes the state in the monitor and lets in whoever can go in then.
    fn change(&self, change: impl FnOnce(&mut LockState)) {
        let mut inner = self.moved(self.there());
        change(&mut inner.state);
        self.settle(inner);
    }

    /// Lets in whoever can go in, and tells them.
    fn settle(&self, mut inner: BriefGuard<'_, Inner<LockState>>) {
        let mut ended = Ended::default();
        inner.settle(&mut ended);
        self.move_back(&mut inner);
        drop(inner);
        ended.tell();
    }

    // The monitor.

    /// The monitor, to which the state has moved.
    #[inline]
    fn there(&self) -> &Arc<Monitor<LockState>> {
        // Acquire: whoever moved the state made the monitor before, maybe just now.
        self.word.load(Ordering::Acquire);
        let Some(monitor) = self.monitor.get() else {
            unreachable!("the state has moved, so there is a monitor");
        };
        monitor
    }

    #[inline]
    fn monitor(&self, data: fn() -> &'static str) -> &Arc<Monitor<LockState>> {
        self.monitor.get_or_init(|| {
            let id = self.id();
            Monitor::new(self.label.info(id, data()), LockState::new(id, self.policy))
        })
    }

    /// The monitor's lock, with the state in it.
    #[inline]
    fn moved<'a>(&self, monitor: &'a Monitor<LockState>) -> BriefGuard<'a, Inner<LockState>> {
        let mut inner = monitor.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        while word & MOVED == 0 {
            // Acquire: whoever let go before must have been seen when we go in. Release: whoever
            // sees that the state has moved must find the monitor.
            match self
                .word
                .compare_exchange_weak(word, MOVED, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    // SAFETY: the pointer is null or was made from a `&'static Location`.
                    let site = unsafe { self.site.load(Ordering::Relaxed).as_ref() };
                    inner.state.take(word, site);
                    break;
                }
                Err(actual) => word = actual,
            }
        }
        inner
    }

    /// Puts the state back into the word if nobody waits.
    #[inline]
    fn move_back(&self, inner: &mut Inner<LockState>) {
        if inner.waiters.is_empty() {
            let site = inner
                .state
                .site
                .map_or(ptr::null_mut(), |site| ptr::from_ref(site).cast_mut());
            self.site.store(site, Ordering::Relaxed);
            // Release: whoever takes the lock by its word alone must see what was done under it.
            self.word.store(inner.state.word(), Ordering::Release);
        }
    }

    /// The same, after something else has ended a wait.
    pub(crate) fn put_back(&self) {
        if let Some(monitor) = self.monitor.get() {
            let mut inner = monitor.lock();
            if self.word.load(Ordering::Relaxed) & MOVED != 0 {
                self.move_back(&mut inner);
            }
        }
    }
}

impl Drop for RawLock {
    fn drop(&mut self) {
        // A wait can outlive its lock only by being forgotten, but then it must not keep the queue.
        if let Some(monitor) = self.monitor.get() {
            monitor.close();
        }
    }
}

impl RawLock {
    /// The error for somebody who wants the lock twice at once.
    pub(crate) fn wanted_twice(
        &self,
        site: &'static Location<'static>,
        data: fn() -> &'static str,
    ) -> LockError {
        let request = Request {
            mode: Mode::Write,
            site,
            timed: false,
        };
        let agent = Agent::current();
        let first = Holding {
            frame: agent.frame,
            mode: Mode::Write,
            site: Some(site),
            queued: false,
        };
        let member = Member::alone(&agent, self.monitor(data), request, Some(first));
        refused(DeadlockKind::SelfLock, member)
    }
}

/// The error for somebody who would wait for itself.
#[cold]
fn own_deadlock(
    monitor: &Arc<Monitor<LockState>>,
    kind: DeadlockKind,
    request: Request,
) -> LockError {
    let agent = Agent::current();
    let (id, alone) = {
        let inner = monitor.lock();
        (inner.state.id, inner.state.holding())
    };
    let reads = |reader: &Holding| reader.frame == agent.frame;
    let holding = alone.or_else(|| journal::readers(id).into_iter().find(reads));
    let member = Member::alone(&agent, monitor, request, holding);
    refused(kind, member)
}

fn refused(kind: DeadlockKind, member: Member) -> LockError {
    let report = Arc::new(Report::new(kind, vec![member], 0));
    detector::remember(&report);
    LockError::told(report)
}

impl RawLock {
    /// Ends the wait of a call, unless it is over.
    pub(crate) fn call_off(&self, waiter: &Waiter) {
        if let Some(monitor) = self.monitor.get() {
            monitor.give_up(waiter, State::Cancelled);
        }
    }

    /// Ends a wait from outside. A lock that was granted already goes on to the next.
    pub(crate) fn give_up(&self, waiter: &Waiter) {
        let Some(monitor) = self.monitor.get() else {
            return;
        };
        if monitor.give_up(waiter, State::Cancelled) {
            self.put_back();
        } else if waiter.state() == State::Granted {
            match waiter.mode {
                // It keeps its right to upgrade, which its guard gives back.
                Mode::Upgrade => self.downgrade(Mode::UpgradableRead),
                Mode::Write => self.leave(Mode::Write),
                mode => self.leave(mode),
            }
        } else {
            self.put_back();
        }
    }
}
