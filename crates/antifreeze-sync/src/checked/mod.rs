//! Model checking: loom tries all orders in which a few operations can go on, also those that only
//! weak memory has, and shuttle tries many orders of many operations at random.
//!
//! ```console
//! $ RUSTFLAGS="--cfg loom" cargo test --release -p antifreeze-sync --lib checked
//! $ RUSTFLAGS="--cfg shuttle" cargo test --release -p antifreeze-sync --lib checked
//! ```

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, shuttle))]
mod shuttle;

use parking_lot::Mutex;

#[cfg(test)]
use crate::detector;
#[cfg(test)]
use crate::sync::{Parker, yield_now};
use crate::sync::{Unparker, global_state};

global_state! {
    // Whoever has the part of the detector's own thread, which does not exist here.
    static WATCHER: Mutex<Option<Unparker>> = Mutex::new(None);
}

/// There is something for the detector to do.
pub(crate) fn wake() {
    let watcher = WATCHER.lock().clone();
    if let Some(watcher) = watcher {
        watcher.unpark();
    }
}

/// Does what the detector does until `is_over`, and says how many waits it failed.
///
/// Whoever makes that true must call [`wake`].
#[cfg(test)]
fn detect(is_over: impl Fn() -> bool) -> usize {
    let parker = Parker::new();
    *WATCHER.lock() = Some(parker.unparker());
    let mut verdicts = 0;
    loop {
        let found = detector::settle();
        verdicts += found;
        if is_over() {
            return verdicts;
        }
        if found > 0 {
            continue;
        }
        if detector::is_unsure() {
            yield_now();
        } else {
            parker.park();
        }
    }
}
