//! Finds deadlocks that span processes: the part that needs no sockets, clocks or threads.
//!
//! A [`Core`] is told what happens in its process, what its peers say, and what time it is; it says
//! whom to send what, and by when it wants to hear of the time again. It looks at its process through
//! [`Home`]. The daemon has one, and so has the simulator, with worlds of its own.
//!
//! # How it works
//!
//! Nothing happens until something that a frame waits for has led to an outstanding call to another
//! process for about ten milliseconds ([`Input::Leaves`]). Then the missing part of the waits-for graph
//! is **pulled**: the peer that serves the call says what that waits for in its process, which may lead
//! to other peers, and so on. If in all that was gathered somebody can never go on, those are gathered
//! a **second time**. Each process reads what all of its frames wait for, and only then looks whether
//! each is still in the same wait. If everybody is, all of them were blocked by each other at the moment
//! between the two passes; and since only they could let go of what they hold, they still are. One of them
//! is chosen, by rules that give the same one everywhere, and the process that it is in fails its wait,
//! unless it is over.
//!
//! So whoever is slow, unreachable, or gone makes no deadlock, only a later look. Nothing is kept of
//! others but who reports itself through an opaque hop.
//!
//! # Opaque hops
//!
//! A Python program in between cannot be asked, but it hands on which call it serves. The frame that
//! it calls next learns that from its call ([`Input::Served`]) and reports itself to the process that
//! made it, when it waits or lives long. That is only taken for the reason why the call does not return
//! if it is the only such frame, and stays that for [`Config::opaque_confirm`]; and a deadlock that
//! needs it is said to be inferred. It is none any more once the program has closed the connection
//! ([`Input::Ended`]).
//!
//! A program that serves one call at a time makes others wait for the frame that it has called. That is
//! so as long as the call is not answered for which it did, even if that was given up; whoever made it is
//! asked ([`Home::is_unanswered`]).

#![forbid(unsafe_code)]

mod check;
mod core;
#[doc(hidden)]
pub mod faults;
mod home;
mod merge;
mod report;
#[cfg(test)]
mod tests;
mod wire;

pub use antifreeze_sync::graph;

pub use self::core::{Config, Core, Counters, Input, Opaque, Output};
pub use self::home::{
    About, Call, CallId, Callee, Frame, Hold, Home, Need, Peer, Reading, Root, Wanted,
};
pub use self::report::{Kind, Member, Report};
