//! The rules of deadlock detection, explored state by state.
//!
//! `antifreeze-sync` fails a wait only if it is part of a deadlock, and fails one in each deadlock.
//! Whether the *rules* by which it does so are right cannot be seen from its code, nor from tests of
//! it: what goes wrong needs a frame to time out, take a lock and wait again just between two reads
//! of the detector. So the rules stand here once more, without the code, as a machine that is small
//! enough to be driven through **all** its states. This crate knows nothing of `antifreeze-sync`, and
//! nothing here is used by it.
//!
//! There are two machines: the one described here, of one process, in which every store and every read
//! can be a step; and that of [`nodes`], of several processes, in which calls and messages are.
//!
//! # What is modelled
//!
//! **Frames** are threads and tasks. They have no programs: a frame that runs may at any time take
//! whatever is free, ask for whatever is not, let go of what it holds, for ever. So what holds here
//! holds for every program of that many frames and resources.
//!
//! - A *thread* has one wait, which it may give up at any time (it times out).
//! - A *task* has several waits, and sleeps until one of them ends (OR). When it is polled it may drop
//!   waits, ask for more, set a timer that will wake it, and in some configurations block its thread.
//! - A *call* is a frame that another one runs on its own thread, and waits for.
//!
//! **Resources** are locks with a number of permits (a mutex has one; of an RwLock a reader takes
//! one and a writer takes all) and events with declared notifiers. Locks are FIFO, handed from one to
//! the next; or *barging*, taken by whoever is fastest; or FIFO where running threads may be faster
//! than the queue (*passing*). Barging locks may also be handed over to anyone.
//!
//! **The detector** makes one check at a time. A check is due for each frame that begins to wait, for
//! a task after every poll, and in a few other cases that [`configs`] names by leaving them out. In
//! pass 1 it looks at that frame, at who holds what it waits for, at what those wait for, and so on,
//! and reduces what it read: the rest, if there is one, seems deadlocked. In pass 2 it reads the edges
//! of those again, all of them, **and then** all their epochs; a change of any epoch rejects, and
//! the check is put off. If nothing has changed, one frame of a bottom component is failed if it is
//! still in the same wait, or let past those who only came before it, if that is enough; then the rest is
//! reduced again as if that one went on, until nothing is left.
//!
//! Each of these reads is a step of its own, in any order that the rules leave open, and anything may
//! happen between any two. [`config::Grain`] says how fine that is: at the finest, taking a lock,
//! ending the wait for it, writing down its owner, wiping that off, freeing it, granting it to another,
//! writing down that one, and reading what one frame holds of it are all different steps. A verdict
//! may come at any later time.
//!
//! # What is checked
//!
//! The truth is known in every state: [`truth::deadlocked`] is the greatest set of waiting frames none
//! of which can go on unless another of them does.
//!
//! 1. **Sound.** When a check succeeds, all the frames that it found were truly deadlocked at the instant
//!    between its passes. When a wait is then failed, its frame is deadlocked at that very instant,
//!    unless one of those found was helped from outside since: its wait timed out, its timer was set
//!    free, or somebody became a notifier of an event. A failed frame without that is a *phantom*.
//!    (Where a phantom is what must be found, it counts only if the failed frame was at **no** instant
//!    of the check deadlocked.)
//! 2. **Complete.** Whenever a frame is deadlocked and no check is under way: if now everybody finishes
//!    the operation in which they are and then stands still, and all checks that are due are made, no
//!    frame is deadlocked any more. Otherwise that is a *miss*. This includes that a check which nobody
//!    disturbs comes to a decision.
//! 3. **The rest can finish.** That is in the same condition: it asks for the truth after the errors,
//!    not for an error.
//!
//! What the model is worth is seen by breaking it: most configurations have one mistake each, and a
//! phantom or a miss must be found there. `--trace NAME` shows the shortest way to it.
//!
//! # What is left out
//!
//! - Memory order: a store is seen by all from its step on. The code's orderings are loom's subject.
//! - Lost wake-ups: whoever waits for something that is free may take it at any time.
//! - That waiting threads and running ones are scheduled, and polls happen at all.
//! - A task that is granted a lock and never polls that future again.
//! - Other processes: see [`nodes`].
//! - One frame on two threads at a time. It can let go of things while it waits, so nothing here holds
//!   for it.
//!
//! # How it is explored
//!
//! Breadth first, so that what is found is found by a shortest way. Epochs are counters in the real
//! thing; as the detector only compares two of them for equality, the model keeps for each frame whether
//! its epoch has changed since it was read, which makes the states finite. States that differ only in the
//! names of like frames and like resources are explored once ([`symmetry`]). The set of states keeps
//! 64 bits of each ([`explore`] says how likely that hides something). Once a check is certain to see a
//! changed epoch, what else it knows is forgotten; and as a changed epoch stays changed, reading all
//! of them at once loses nothing against reading them one by one (`mutex-epochs` does the latter).
#![forbid(unsafe_code)]

pub mod config;
pub mod configs;
pub mod detector;
pub mod explore;
pub mod frames;
pub mod nodes;
mod process;
pub mod state;
pub mod step;
pub mod symmetry;
pub mod truth;
