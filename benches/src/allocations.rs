//! Counting what the allocator is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator; counts only after [`start`], so that timed runs pay one predicted
/// branch for it.
pub(crate) struct CountingAllocator;

/// Counts from now on.
pub(crate) fn start() {
    COUNTING.store(true, Ordering::Relaxed);
}

/// Allocations and reallocations since [`start`].
pub(crate) fn total() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes allocated and not freed since [`start`]; what was there before and is freed counts against.
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// Notes a block of `old` bytes that becomes one of `new` bytes.
fn note(old: usize, new: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        if new > 0 {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        LIVE_BYTES.fetch_add(new as i64 - old as i64, Ordering::Relaxed);
    }
}

// SAFETY: every method hands its arguments to `System` unchanged; counting touches only atomics
// and so never allocates.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: the caller's promise about `layout` is the one `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(layout.size(), new_size);
        // SAFETY: every block comes from `System`, and the caller's promises are the ones it asks for.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(layout.size(), 0);
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
