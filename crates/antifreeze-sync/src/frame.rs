//! Frames: one activation of an agent that others can name.
//!
//! Threads and [tasks](crate::task()) have frames without doing anything for it. A [`Frame`] is for
//! programs that serve calls: each call is an agent of its own, whatever thread it runs on. Where
//! most calls never wait, a [`LazyFrame`] costs them next to nothing.

use std::fmt;
use std::sync::Arc;

use crate::agent::{self, Agent};
use crate::calls::Origin;
use crate::report::AgentKind;
use crate::task::Task;

/// A call being served: an agent that can hold locks and wait.
///
/// It does one thing at a time: it waits for what its call needs, then it runs. If it is entered on
/// two threads at once, it counts as going on, whatever it waits for.
#[derive(Clone, Debug)]
pub struct Frame(pub(crate) Arc<Agent>);

impl Frame {
    /// A frame for a call, with the name that reports and views show.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(Agent::new(AgentKind::Call, Some(name.into())))
    }

    /// The same, for a call of which is known where it comes from.
    pub fn from_call(name: impl Into<Arc<str>>, origin: Origin) -> Self {
        let (frame, name) = (agent::new_frame(), Some(name.into()));
        let agent = Agent::with_origin(frame, AgentKind::Call, name, Some(origin));
        Self(Arc::new(agent))
    }

    /// Its number, which no other frame of this process ever has.
    pub fn id(&self) -> u64 {
        self.0.frame
    }

    /// Runs `f` as this frame: what it acquires belongs to the call, and it waits as the call.
    ///
    /// A lock that the thread has belongs to the thread still.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        agent::run_as(&self.0, f)
    }

    /// Makes `future` part of this frame, wherever it is polled.
    pub fn run<F: Future>(&self, future: F) -> Task<F> {
        Task::part_elsewhere(Arc::clone(&self.0), future)
    }
}

/// A frame of which only the number is there until it has to wait.
///
/// It is for calls that are served once, by one thread at a time.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use antifreeze_sync::Mutex;
/// use antifreeze_sync::frame::LazyFrame;
///
/// static BOOK: Mutex<u32> = Mutex::named("book", 0);
///
/// let account: Arc<str> = "account".into();
/// let call = LazyFrame::new(account, "deposit");
/// // While it waits, it is shown as `call "account.deposit"`.
/// call.enter(|| {
///     *BOOK.lock()? += 1;
///     Ok::<_, antifreeze_sync::LockError>(())
/// })?;
/// # Ok::<(), antifreeze_sync::LockError>(())
/// ```
pub struct LazyFrame(Lazy);

enum Lazy {
    Unmade(Unmade),
    Made(Frame),
}

/// What is needed to make an agent.
#[derive(Clone)]
pub(crate) struct Unmade {
    frame: u64,
    object: Arc<str>,
    member: &'static str,
    origin: Option<Origin>,
}

impl LazyFrame {
    /// A frame for a call of `member` of `object`, which will be called `object.member`.
    #[inline]
    pub fn new(object: Arc<str>, member: &'static str) -> Self {
        Self(Lazy::Unmade(Unmade {
            frame: agent::new_frame(),
            object,
            member,
            origin: None,
        }))
    }

    /// The same, for a call of which is known where it comes from; `origin` is told its number.
    #[inline]
    pub fn from_call(
        object: Arc<str>,
        member: &'static str,
        origin: impl FnOnce(u64) -> Origin,
    ) -> Self {
        let frame = agent::new_frame();
        Self(Lazy::Unmade(Unmade {
            frame,
            object,
            member,
            origin: Some(origin(frame)),
        }))
    }

    /// Its number, which no other frame of this process ever has.
    #[inline]
    pub fn id(&self) -> u64 {
        match &self.0 {
            Lazy::Unmade(unmade) => unmade.frame,
            Lazy::Made(frame) => frame.id(),
        }
    }

    /// The whole of it, for a call that has to wait before it can run.
    pub fn frame(&mut self) -> &Frame {
        if let Lazy::Unmade(unmade) = &self.0 {
            self.0 = Lazy::Made(Frame(unmade.make()));
        }
        match &self.0 {
            Lazy::Made(frame) => frame,
            Lazy::Unmade(_) => unreachable!("it was just made"),
        }
    }

    /// Runs `f` as this frame: what it acquires belongs to the call, and it waits as the call.
    #[inline]
    pub fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        match &self.0 {
            Lazy::Made(frame) => frame.enter(f),
            Lazy::Unmade(unmade) => agent::run_as_unmade(unmade, f),
        }
    }
}

impl fmt::Debug for LazyFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyFrame").field(&self.id()).finish()
    }
}

impl Unmade {
    #[cold]
    pub(crate) fn make(&self) -> Arc<Agent> {
        Arc::new(Agent::with_origin(
            self.frame,
            AgentKind::Call,
            Some(self.name().into()),
            self.origin.clone(),
        ))
    }

    #[inline]
    pub(crate) fn frame(&self) -> u64 {
        self.frame
    }

    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.object, self.member)
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

/// The number of the frame that this code runs as.
pub fn current() -> u64 {
    agent::frame()
}
