//! Registered classes: their instances come into being when a call needs them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use antifreeze_serial::Exception;
use antifreeze_sync::{OwnedRwLockWriteGuard, RwLock};
use parking_lot::Mutex;

use super::class::Expose;
use super::exception;
use super::object::Cell;
use super::servant::Servant;

/// How instances of a registered class come into being (`server.py`, `@behavior`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum InstanceMode {
    /// One for each connection, dropped with it.
    Session,
    /// One for the daemon, made at the first call.
    Single,
    /// One for each call.
    PerCall,
}

/// Makes an instance.
type Creator =
    Box<dyn Fn() -> Result<Arc<dyn Servant>, Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// A registered class.
pub(crate) struct ServedClass {
    mode: InstanceMode,
    create: Creator,
    single: Arc<Slot>,
}

/// Where an instance lies that is made when it is first needed.
struct Slot {
    instance: OnceLock<Arc<dyn Servant>>,
    /// Calls that need the instance wait here while another one makes it.
    making: Cell<()>,
}

impl Default for Slot {
    fn default() -> Self {
        let lock = RwLock::new(()).with_name("making an instance").fair();
        Self {
            instance: OnceLock::new(),
            making: Cell::of(lock),
        }
    }
}

/// The right to make an instance.
pub(crate) type Making = OwnedRwLockWriteGuard<()>;

/// The instances that belong to one connection.
#[derive(Default)]
pub(crate) struct SessionInstances(Mutex<HashMap<Class, Arc<Slot>>>);

/// A registered class, by which one it is.
struct Class(Arc<ServedClass>);

/// An instance that a call needs and that is not there yet.
pub(crate) struct Unmade {
    class: Arc<ServedClass>,
    /// None if it is for one call only.
    slot: Option<Arc<Slot>>,
}

impl ServedClass {
    pub(crate) fn new<T: Expose, E: Into<Box<dyn StdError + Send + Sync>>>(
        mode: InstanceMode,
        create: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let create = Box::new(move || match create() {
            Ok(value) => Ok(Arc::new(Cell::new(value)) as Arc<dyn Servant>),
            Err(error) => Err(error.into()),
        });
        Self {
            mode,
            create,
            single: Arc::default(),
        }
    }

    /// The instance for a call on this connection.
    pub(crate) fn instance(
        self: &Arc<Self>,
        session: &SessionInstances,
    ) -> Result<Arc<dyn Servant>, Unmade> {
        let slot = match self.mode {
            InstanceMode::PerCall => None,
            InstanceMode::Single => Some(Arc::clone(&self.single)),
            InstanceMode::Session => Some(session.slot(self)),
        };
        match slot.as_ref().and_then(|slot| slot.instance.get()) {
            Some(instance) => Ok(Arc::clone(instance)),
            None => Err(Unmade {
                class: Arc::clone(self),
                slot,
            }),
        }
    }

    /// Runs the user's code.
    fn make(&self) -> Result<Arc<dyn Servant>, Exception> {
        match catch_unwind(AssertUnwindSafe(|| (self.create)())) {
            Ok(made) => made.map_err(exception::from_error),
            Err(panic) => Err(exception::from_panic(&*panic, "__init__")),
        }
    }
}

impl Unmade {
    /// Where one has to be the only one who makes it. None if everybody makes their own.
    pub(crate) fn place(&self) -> Option<&Cell<()>> {
        self.slot.as_ref().map(|slot| &slot.making)
    }

    /// Makes the instance, if nobody has meanwhile. The caller is the only one at its
    /// [`place`](Self::place).
    pub(crate) fn make(&self) -> Result<Arc<dyn Servant>, Exception> {
        let Some(slot) = &self.slot else {
            return self.class.make();
        };
        if let Some(instance) = slot.instance.get() {
            return Ok(Arc::clone(instance));
        }
        let made = self.class.make()?;
        Ok(Arc::clone(slot.instance.get_or_init(|| made)))
    }
}

impl SessionInstances {
    /// Whether there may be any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn slot(&self, class: &Arc<ServedClass>) -> Arc<Slot> {
        let mut slots = self.0.lock();
        Arc::clone(slots.entry(Class(Arc::clone(class))).or_default())
    }
}

impl PartialEq for Class {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Class {}

impl std::hash::Hash for Class {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}
