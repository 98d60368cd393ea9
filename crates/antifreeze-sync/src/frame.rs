//! Frames: one activation of an agent that others can name.
//!
//! Threads and [tasks](crate::task()) have frames without doing anything for it. A [`Frame`] is for
//! programs that serve calls: each call is an agent of its own, whatever thread it runs on.

use std::sync::Arc;

use crate::agent::{self, Agent, Scope};
use crate::report::AgentKind;
use crate::task::Task;

/// A call being served: an agent that can hold locks and wait.
#[derive(Clone, Debug)]
pub struct Frame(pub(crate) Arc<Agent>);

impl Frame {
    /// A frame for a call, with the name that reports and views show.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(Agent::new(AgentKind::Call, Some(name.into())))
    }

    /// Its number, which no other frame of this process ever has.
    pub fn id(&self) -> u64 {
        self.0.frame
    }

    /// Runs `f` as this frame: what it acquires belongs to the call, and it waits as the call.
    ///
    /// A lock that the thread has belongs to the thread still.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::enter(Arc::clone(&self.0));
        f()
    }

    /// Makes `future` part of this frame, wherever it is polled.
    pub fn run<F: Future>(&self, future: F) -> Task<F> {
        Task::part_of(Arc::clone(&self.0), future)
    }
}

/// The number of the frame that this code runs as.
pub fn current() -> u64 {
    agent::frame()
}
