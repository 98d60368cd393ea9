//! An object that is shared between the program that made it and those that call it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak, mpsc};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::class::Expose;
use super::gate::{Admission, Entry, Gate, Mode, Verdict};

/// The local handle of an object whose methods other programs call.
///
/// Register it with a [`Daemon`](crate::Daemon), keep a clone, and use the object from this program
/// under the same rule as everybody else: readers together, writers alone.
///
/// # Examples
///
/// ```
/// use antifreeze::{Object, expose};
///
/// struct Counter(i64);
///
/// #[expose]
/// impl Counter {
///     fn add(&mut self, n: i64) -> i64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// let counter = Object::new(Counter(0));
/// counter.write().add(2);
/// assert_eq!(counter.read().0, 2);
/// ```
pub struct Object<T: Expose>(pub(crate) Arc<Cell<T>>);

/// A handle that does not keep its object alive.
pub struct WeakObject<T: Expose>(pub(crate) Weak<Cell<T>>);

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exposed, so it cannot be registered",
    label = "its methods are not exposed",
    note = "write `#[expose]` above an `impl {Self}` block with the methods that peers may call"
)]
/// Something that can be registered: a value of an exposed type, or an [`Object`] of one.
pub trait IntoObject {
    /// The exposed type.
    type Class: Expose;
    /// The object to register.
    fn into_object(self) -> Object<Self::Class>;
}

impl<T: Expose> IntoObject for T {
    type Class = T;
    fn into_object(self) -> Object<T> {
        Object::new(self)
    }
}

impl<T: Expose> IntoObject for Object<T> {
    type Class = T;
    fn into_object(self) -> Self {
        self
    }
}

impl<T: Expose> IntoObject for &Object<T> {
    type Class = T;
    fn into_object(self) -> Object<T> {
        self.clone()
    }
}

/// Where an object lives.
pub(crate) struct Cell<T> {
    /// None for a type without `&mut self` methods, which needs no lock.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Always free for whoever the gate let in, and only taken by those.
    data: RwLock<T>,
}

impl<T: Expose> Cell<T> {
    pub(crate) fn new(value: T) -> Self {
        let gate = T::class().locked.then(Arc::default);
        Self {
            gate,
            data: RwLock::new(value),
        }
    }
}

impl<T> Cell<T> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.data.read_recursive()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.data.write()
    }
}

impl<T> Cell<T> {
    fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        Some(WriteGuard {
            data: self.data.try_write()?,
            _admission: None,
        })
    }
}

impl<T: Expose> Object<T> {
    /// Makes an object of `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Cell::new(value)))
    }

    /// The object for reading, together with other readers.
    ///
    /// # Blocking
    ///
    /// Waits while a `&mut self` method runs, and behind calls that came first. It never ends on a
    /// thread that has a write guard of the same object, or is inside one of its `&mut self` methods,
    /// or has a read guard and behind it somebody waits to write.
    pub fn read(&self) -> ReadGuard<'_, T> {
        let admission = self.0.gate.as_ref().map(|gate| wait(gate, Mode::Read));
        ReadGuard {
            data: self.0.read(),
            _admission: admission,
        }
    }

    /// The object for writing, alone.
    ///
    /// # Blocking
    ///
    /// Waits while any method of the object runs, and behind calls that came first. It never ends on
    /// a thread that has a guard of the same object, or is inside one of its methods.
    ///
    /// An object without `&mut self` methods has no queue: calls that come while this guard is held
    /// wait for it on their workers.
    pub fn write(&self) -> WriteGuard<'_, T> {
        let admission = self.0.gate.as_ref().map(|gate| wait(gate, Mode::Write));
        WriteGuard {
            data: self.0.write(),
            _admission: admission,
        }
    }

    /// The object for reading, if that is possible without waiting.
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        let admission = match &self.0.gate {
            Some(gate) => Some(gate.try_enter(Mode::Read)?),
            None => None,
        };
        Some(ReadGuard {
            data: self.0.read(),
            _admission: admission,
        })
    }

    /// The object for writing, if that is possible without waiting.
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        let admission = match &self.0.gate {
            Some(gate) => Some(gate.try_enter(Mode::Write)?),
            // Without a gate others may be reading.
            None => return self.0.try_write(),
        };
        Some(WriteGuard {
            data: self.0.write(),
            _admission: admission,
        })
    }

    /// A handle that does not keep the object alive.
    pub fn downgrade(&self) -> WeakObject<T> {
        WeakObject(Arc::downgrade(&self.0))
    }
}

impl<T: Expose> WeakObject<T> {
    /// The object, if it still exists.
    pub fn upgrade(&self) -> Option<Object<T>> {
        self.0.upgrade().map(Object)
    }
}

impl<T: Expose> Clone for Object<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Expose> Clone for WeakObject<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

/// Waits on this thread for its turn in the queue of calls.
fn wait(gate: &Arc<Gate>, mode: Mode) -> Admission {
    if let Some(admission) = gate.try_enter(mode) {
        return admission;
    }
    let (tell, told) = mpsc::sync_channel(1);
    let resume = Box::new(move |verdict| {
        // The receiver waits below for as long as it takes.
        let _ = tell.send(verdict);
    });
    if let Entry::Ended(resume, verdict) = gate.enter(mode, None, resume) {
        resume(verdict);
    }
    match told.recv() {
        Ok(Verdict::Admitted(admission)) => admission,
        Ok(Verdict::Refused(_)) | Err(_) => {
            unreachable!("a local wait has no limits, and nobody has its ticket")
        }
    }
}

/// Proof that the object may be read. Dropping it lets the next ones in.
#[must_use = "the object is free again at once unless the guard is kept"]
pub struct ReadGuard<'a, T> {
    // Dropped in this order: first the data, then the right to it.
    data: RwLockReadGuard<'a, T>,
    _admission: Option<Admission>,
}

/// Proof that the object is ours alone. Dropping it lets the next ones in.
#[must_use = "the object is free again at once unless the guard is kept"]
pub struct WriteGuard<'a, T> {
    // Dropped in this order: first the data, then the right to it.
    data: RwLockWriteGuard<'a, T>,
    _admission: Option<Admission>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}
