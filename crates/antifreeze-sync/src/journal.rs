//! Who reads which lock, written down where the detector finds it without any reader having to wait.
//!
//! A lock knows how many readers it has, not who they are. So each thread has some slots of its own,
//! into which it writes a lock and the frame that reads it: plain stores into memory that nobody
//! else writes to. Slots are never freed, only used again, so the detector may look at any time.
//! It looks only when somebody has waited to write for a while.

use std::cell::Cell;
use std::panic::Location;
use std::ptr;

use crate::agent::ANONYMOUS;
use crate::monitor::Holding;
use crate::report::Mode;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Mutex, global_state, thread_local_state};

const SLOTS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };

/// One lock that is read by one frame.
#[derive(Default)]
pub(crate) struct Slot {
    /// Zero if the slot is free. The lowest bit says that the right to upgrade goes with it.
    lock: AtomicU64,
    frame: AtomicU64,
    site: AtomicPtr<Location<'static>>,
}

/// The slots of one thread, or some of them.
#[derive(Default)]
struct Page {
    slots: [Slot; SLOTS],
    /// Whether a thread has it.
    taken: AtomicBool,
}

global_state! {
    static PAGES: Mutex<Vec<&'static Page>> = Mutex::new(Vec::new());
}

/// The page that a thread writes to.
struct Mine(Cell<Option<&'static Page>>, Cell<usize>);

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(page) = self.0.take() {
            page.taken.store(false, Ordering::Release);
        }
    }
}

thread_local_state! {
    static MINE: Mine = Mine(Cell::new(None), Cell::new(0));
}

/// Notes that `frame` reads `lock`.
#[inline]
pub(crate) fn note(
    lock: u64,
    mode: Mode,
    frame: u64,
    site: &'static Location<'static>,
) -> Option<&'static Slot> {
    MINE.try_with(|mine| {
        let slot = mine.free_slot();
        // Release: whoever sees these must see that the slot was free before.
        slot.frame.store(frame, Ordering::Release);
        slot.site
            .store(ptr::from_ref(site).cast_mut(), Ordering::Release);
        let upgradable = u64::from(mode == Mode::UpgradableRead);
        slot.lock.store(lock << 1 | upgradable, Ordering::Release);
        slot
    })
    .ok()
}

impl Slot {
    /// The lock is no longer read. Must come before the lock itself is let go.
    #[inline]
    pub(crate) fn clear(&self) {
        self.lock.store(0, Ordering::Release);
    }

    /// Nobody knows any more who reads.
    #[cfg_attr(
        loom,
        expect(dead_code, reason = "for locks that can be made at compile time")
    )]
    pub(crate) fn disown(&self) {
        self.frame.store(ANONYMOUS, Ordering::Relaxed);
    }

    /// The right to upgrade is given up.
    pub(crate) fn downgrade(&self) {
        let lock = self.lock.load(Ordering::Relaxed);
        self.lock.store(lock & !1, Ordering::Release);
    }

    fn read(&self, wanted: u64) -> Option<Holding> {
        let lock = self.lock.load(Ordering::Acquire);
        if lock >> 1 != wanted {
            return None;
        }
        let frame = self.frame.load(Ordering::Acquire);
        let site = self.site.load(Ordering::Acquire);
        // If the slot was used again meanwhile, what was read may be another reader's.
        if self.lock.load(Ordering::Acquire) != lock {
            return None;
        }
        Some(Holding {
            frame,
            mode: if lock & 1 == 1 {
                Mode::UpgradableRead
            } else {
                Mode::Read
            },
            // SAFETY: the pointer is null or was made from a `&'static Location` in `note`.
            site: unsafe { site.as_ref() },
            queued: false,
        })
    }
}

impl Mine {
    #[inline]
    fn free_slot(&self) -> &'static Slot {
        if let Some(page) = self.0.get() {
            let hint = self.1.get();
            for step in 0..SLOTS {
                let index = (hint + step) % SLOTS;
                let slot = &page.slots[index];
                if slot.lock.load(Ordering::Relaxed) == 0 {
                    // The same slot again and again stays in the cache.
                    self.1.set(index);
                    return slot;
                }
            }
        }
        self.new_page()
    }

    /// Goes on with another page: one that nobody has and that has room, or a new one.
    #[cold]
    fn new_page(&self) -> &'static Slot {
        let mut pages = PAGES.lock();
        if let Some(old) = self.0.take() {
            old.taken.store(false, Ordering::Release);
        }
        let room = |page: &Page| {
            page.slots
                .iter()
                .position(|slot| slot.lock.load(Ordering::Relaxed) == 0)
        };
        // A few tries are enough: full pages would otherwise be searched again and again.
        let start = turn_below(pages.len());
        let found = (0..pages.len().min(8))
            .map(|step| pages[(start + step) % pages.len()])
            .filter(|page| !page.taken.load(Ordering::Acquire))
            .find_map(|page| room(page).map(|index| (page, index)));
        let (page, index) = found.unwrap_or_else(|| {
            let page: &'static Page = Box::leak(Box::default());
            pages.push(page);
            (page, 0)
        });
        page.taken.store(true, Ordering::Release);
        self.0.set(Some(page));
        self.1.set(index);
        &page.slots[index]
    }
}

/// Some number below `n`, another one each time.
fn turn_below(n: usize) -> usize {
    use std::sync::atomic::AtomicU64;
    static TURN: AtomicU64 = AtomicU64::new(0);
    if cfg!(any(loom, shuttle)) {
        return 0;
    }
    let turn = TURN.fetch_add(8, Ordering::Relaxed);
    usize::try_from(turn)
        .unwrap_or(0)
        .checked_rem(n)
        .unwrap_or(0)
}

/// Those who read `lock`.
pub(crate) fn readers(lock: u64) -> Vec<Holding> {
    let pages = PAGES.lock();
    pages
        .iter()
        .flat_map(|page| &page.slots)
        .filter_map(|slot| slot.read(lock))
        .collect()
}

/// Whether `frame` reads `lock`, as far as this thread's own notes tell.
pub(crate) fn reads(lock: u64, frame: u64) -> bool {
    MINE.try_with(|mine| {
        mine.0.get().is_some_and(|page| {
            page.slots.iter().any(|slot| {
                slot.lock.load(Ordering::Relaxed) >> 1 == lock
                    && slot.frame.load(Ordering::Relaxed) == frame
            })
        })
    })
    .unwrap_or(false)
}
