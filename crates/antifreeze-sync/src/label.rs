//! What a lock is called and where it was made, so that people can find it.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::report::ResourceInfo;

/// The kind of semaphores whose permits are workers.
pub(crate) const WORKERS: &str = "Workers";

/// What a lock is called and where it was made.
pub(crate) struct Label {
    pub(crate) kind: &'static str,
    pub(crate) name: Name,
    pub(crate) created: &'static Location<'static>,
}

/// The name of a lock.
#[derive(Clone)]
pub(crate) enum Name {
    None,
    Static(&'static str),
    Made(Box<str>),
}

impl Label {
    #[track_caller]
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            name: Name::None,
            created: Location::caller(),
        }
    }

    #[track_caller]
    pub(crate) const fn named(kind: &'static str, name: &'static str) -> Self {
        Self {
            kind,
            name: Name::Static(name),
            created: Location::caller(),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match &self.name {
            Name::None => None,
            Name::Static(name) => Some(name),
            Name::Made(name) => Some(name),
        }
    }

    pub(crate) fn info(&self, id: u64, data: &'static str) -> Info {
        Info {
            id,
            kind: self.kind,
            name: self.name().map(Box::from),
            data,
            created: self.created,
        }
    }
}

/// What a lock is for people, kept once somebody has waited for it.
pub(crate) struct Info {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    name: Option<Box<str>>,
    data: &'static str,
    created: &'static Location<'static>,
}

impl Info {
    pub(crate) fn told(&self) -> ResourceInfo {
        ResourceInfo {
            id: self.id,
            kind: self.kind.into(),
            name: self.name.as_deref().map(str::to_owned),
            data: self.data.into(),
            created: self.created.into(),
        }
    }
}

/// A number for a lock that no other one ever has.
pub(crate) fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
