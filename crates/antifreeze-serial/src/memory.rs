//! Memory of payloads: for the large ones, used again while they keep coming; for the small ones, a
//! place of each thread to write them to.
//!
//! Fresh memory is slow: the kernel hands it out page by page and clears each, which takes several
//! times as long as filling it, and allocators give large blocks back at once. So blocks that are
//! let go here wait for a second for the next large payload.

use std::cell::Cell;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Smaller blocks are left to the allocator.
const LARGE_BYTES: usize = 1 << 20;
/// At most so much waits to be used again.
const KEPT_BYTES: usize = 256 << 20;
/// How long a block waits.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// What is larger is not copied out of the memory that it was written to.
const SCRATCH_BYTES: usize = 4096;

thread_local! {
    /// Where this thread writes what is small.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

static SPARE: Mutex<Spare> = Mutex::new(Spare {
    blocks: Vec::new(),
    bytes: 0,
    tidied: false,
});

/// Blocks that nobody uses.
struct Spare {
    /// Since when each of them waits; all of its bytes are initialized.
    blocks: Vec<(Instant, Vec<u8>)>,
    bytes: usize,
    /// A thread frees those that waited for long enough.
    tidied: bool,
}

/// Returns a block of at least `least` bytes, which hold anything: one of `best` bytes or more if
/// one waits to be used again.
pub fn take(least: usize, best: usize) -> Vec<u8> {
    let kept = (best >= LARGE_BYTES).then(|| spare().take(best)).flatten();
    kept.unwrap_or_else(|| vec![0; least])
}

/// Makes the first `len` bytes of a block shareable; when the last share is dropped, the block may
/// be used again.
///
/// # Panics
///
/// If the block is shorter.
pub fn share(mut block: Vec<u8>, len: usize) -> Bytes {
    assert!(len <= block.len(), "the block has {} bytes", block.len());
    if block.capacity() < LARGE_BYTES {
        block.truncate(len);
        return block.into();
    }
    Bytes::from_owner(Shared { block, len })
}

/// Makes all of a block shareable, as [`share`] does.
pub fn share_whole(block: Vec<u8>) -> Bytes {
    let len = block.len();
    share(block, len)
}

/// What `write` writes, shareable: if it is small, in one allocation of just its size.
///
/// # Errors
///
/// That of `write`.
pub fn written<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Bytes, E> {
    // Whoever writes may call this, and has another one then.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    if scratch.capacity() == 0 {
        scratch.reserve_exact(SCRATCH_BYTES / 8);
    }
    let outcome = write(&mut scratch);
    if scratch.capacity() > SCRATCH_BYTES {
        return outcome.map(|()| share_whole(scratch));
    }
    let written = outcome.map(|()| Bytes::copy_from_slice(&scratch));
    scratch.clear();
    let _ = SCRATCH.try_with(|place| place.set(scratch));
    written
}

/// Makes room for `more` bytes behind what is in `out`.
pub(crate) fn reserve(out: &mut Vec<u8>, more: usize) {
    let want = out.len() + more;
    if more < LARGE_BYTES || want <= out.capacity() {
        return;
    }
    // What comes after the large part shall not make it move.
    let roomy = want + 4096;
    let Some(mut block) = spare().take(roomy) else {
        return out.reserve_exact(more + 4096);
    };
    block.clear();
    block.extend_from_slice(out);
    *out = block;
}

struct Shared {
    block: Vec<u8>,
    len: usize,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.block[..self.len]
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let block = mem::take(&mut self.block);
        let start_tidying = spare().keep(block, Instant::now());
        if start_tidying {
            let tidying = thread::Builder::new().name("antifreeze-memory".into());
            if tidying.spawn(tidy).is_err() {
                let unkept = spare().give_up();
                drop(unkept);
            }
        }
    }
}

impl Spare {
    /// The smallest block that is large enough, but not much too large.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits = |block: &Vec<u8>| (bytes..=2 * bytes).contains(&block.len());
        let waiting = self.blocks.iter().enumerate();
        let (at, _) = waiting
            .filter(|(_, (_, block))| fits(block))
            .min_by_key(|(_, (_, block))| block.len())?;
        let (_, block) = self.blocks.swap_remove(at);
        self.bytes -= block.len();
        Some(block)
    }

    /// Says whether somebody has to begin to tidy.
    fn keep(&mut self, mut block: Vec<u8>, now: Instant) -> bool {
        if self.bytes + block.capacity() > KEPT_BYTES {
            return false;
        }
        block.resize(block.capacity(), 0);
        self.bytes += block.len();
        self.blocks.push((now, block));
        !mem::replace(&mut self.tidied, true)
    }

    /// Takes out what has waited for long enough; says when to come again, if anything is left.
    fn stale(&mut self, now: Instant) -> (Vec<Vec<u8>>, Option<Instant>) {
        let is_stale = |since: Instant| now.saturating_duration_since(since) >= KEPT_FOR;
        let (stale, blocks): (Vec<_>, Vec<_>) = mem::take(&mut self.blocks)
            .into_iter()
            .partition(|(since, _)| is_stale(*since));
        self.blocks = blocks;
        let stale: Vec<_> = stale.into_iter().map(|(_, block)| block).collect();
        self.bytes -= stale.iter().map(Vec::len).sum::<usize>();
        let next = self.blocks.iter().map(|(since, _)| *since + KEPT_FOR).min();
        self.tidied = next.is_some();
        (stale, next)
    }

    /// Nobody can tidy, so nothing is kept.
    fn give_up(&mut self) -> Vec<(Instant, Vec<u8>)> {
        self.bytes = 0;
        self.tidied = false;
        mem::take(&mut self.blocks)
    }
}

fn spare() -> MutexGuard<'static, Spare> {
    // Whatever panicked, the blocks are only bytes.
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees blocks until there are none.
fn tidy() {
    loop {
        let now = Instant::now();
        let (stale, next) = spare().stale(now);
        // Freeing takes a while, so the lock is free meanwhile.
        drop(stale);
        let Some(next) = next else { return };
        thread::sleep(next.saturating_duration_since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn empty() -> Spare {
        Spare {
            blocks: Vec::new(),
            bytes: 0,
            tidied: false,
        }
    }

    fn check(kept: &[usize], wanted: usize, found: Option<usize>) {
        let mut spare = empty();
        for bytes in kept {
            spare.keep(vec![1; *bytes], Instant::now());
        }
        let block = spare.take(wanted);
        assert_eq!(block.as_ref().map(Vec::len), found);
        let left = kept.iter().sum::<usize>() - found.unwrap_or(0);
        assert_eq!(spare.bytes, left);
    }

    #[test]
    fn the_smallest_block_that_is_large_enough_is_used_again() {
        check(&[], MIB, None);
        check(&[4 * MIB, 2 * MIB, 3 * MIB], 2 * MIB, Some(2 * MIB));
        check(&[4 * MIB, 2 * MIB, 3 * MIB], 2 * MIB + 1, Some(3 * MIB));
        check(&[2 * MIB], 3 * MIB, None);
        check(&[8 * MIB], 3 * MIB, None);
    }

    #[test]
    fn no_more_is_kept_than_so_much() {
        let mut spare = empty();
        for _ in 0..3 {
            spare.keep(vec![0; 100 * MIB], Instant::now());
        }
        assert_eq!((spare.blocks.len(), spare.bytes), (2, 200 * MIB));
    }

    #[test]
    fn blocks_that_nobody_wants_are_freed_after_a_while() {
        let mut spare = empty();
        let start = Instant::now();
        assert!(spare.keep(vec![0; MIB], start));
        let half = start + KEPT_FOR / 2;
        assert!(!spare.keep(vec![0; 2 * MIB], half), "one tidies already");
        assert_eq!(spare.stale(half).1, Some(start + KEPT_FOR));
        let (stale, next) = spare.stale(start + KEPT_FOR);
        assert_eq!((stale.len(), next), (1, Some(half + KEPT_FOR)));
        let (stale, next) = spare.stale(half + KEPT_FOR);
        assert_eq!((stale.len(), next, spare.bytes), (1, None, 0));
        assert!(spare.keep(vec![0; MIB], half), "nobody tidies any more");
    }

    #[test]
    fn what_is_shared_is_what_was_written() {
        let mut block = take(2 * MIB, 2 * MIB);
        block[..3].copy_from_slice(b"abc");
        let shared = share(block, 3);
        assert_eq!(&shared[..], b"abc");
        let mut out = b"head".to_vec();
        reserve(&mut out, 2 * MIB);
        assert_eq!(out, b"head");
        assert!(out.capacity() >= 2 * MIB + 4);
    }
}
