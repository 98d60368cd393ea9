//! Which object answers to which id.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use antifreeze_serial::Exception;
use parking_lot::RwLock;

use super::class::{Expose, ExposeLocal, Metadata};
use super::daemon_object::DaemonObject;
use super::exception::DAEMON_ERROR;
use super::instances::{ServedClass, SessionInstances, Unmade};
use super::local::Local;
use super::object::Object;
use super::servant::Servant;

/// The objects of a daemon.
#[derive(Default)]
pub(crate) struct Registry {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Arc<str>, Entry>,
    /// The ids under which an object is registered, the latest last, by its address.
    by_object: HashMap<usize, Vec<Arc<str>>>,
    registered: u64,
}

struct Entry {
    target: Target,
    metadata: Arc<Metadata>,
    /// The number of this registration, for the order in which ids are listed.
    order: u64,
}

enum Target {
    Object(Arc<dyn Servant>),
    Weak(Weak<dyn Servant>),
    Class(Arc<ServedClass>),
}

/// Who serves a call.
pub(crate) enum Found {
    Ready(Arc<dyn Servant>),
    /// An instance that has to be made first.
    Unmade(Unmade),
}

/// Whether a registration keeps its object alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    Alive,
    Weakly,
}

/// Why a registration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("an object or class is already registered with the id {0:?}")]
    IdTaken(String),
    #[error("the object already has a Pyro id: {0:?}")]
    ObjectTaken(String),
    #[error("an object id cannot be empty or contain white space or '@', got {0:?}")]
    BadId(String),
}

impl Registry {
    /// Serves calls to `id` by this object; `added` is called before anybody else can see that.
    pub(crate) fn add<T: Expose>(
        &self,
        id: &str,
        object: &Object<T>,
        how: Keep,
        force: bool,
        added: impl FnOnce(),
    ) -> Result<(), RegisterError> {
        let servant: Arc<dyn Servant> = Arc::clone(&object.0) as _;
        let address = Arc::as_ptr(&object.0).addr();
        let mut entries = self.entries.write();
        if let Some(id) = entries.id_of(address).filter(|_| !force) {
            return Err(RegisterError::ObjectTaken(id.to_string()));
        }
        let target = match how {
            Keep::Alive => Target::Object(servant),
            Keep::Weakly => Target::Weak(Arc::downgrade(&servant)),
        };
        let (id, replaced) = entries.insert(id, target, T::class().metadata(), force)?;
        entries.by_object.entry(address).or_default().push(id);
        added();
        drop(entries);
        // What it drops is the user's, and may come back here.
        drop(replaced);
        Ok(())
    }

    pub(crate) fn add_class<T: Expose>(
        &self,
        id: &str,
        class: ServedClass,
    ) -> Result<(), RegisterError> {
        let target = Target::Class(Arc::new(class));
        let metadata = T::class().metadata();
        self.entries
            .write()
            .insert(id, target, metadata, false)
            .map(|_| ())
    }

    pub(crate) fn add_local<T: ExposeLocal>(
        &self,
        id: &str,
        object: Local<T>,
    ) -> Result<(), RegisterError> {
        let target = Target::Object(Arc::new(object));
        let metadata = T::class().metadata();
        self.entries
            .write()
            .insert(id, target, metadata, false)
            .map(|_| ())
    }

    /// Serves calls to `id` by what is no object of a user's, whatever did so before.
    pub(crate) fn add_servant(
        &self,
        id: &str,
        servant: Arc<dyn Servant>,
        metadata: Metadata,
    ) -> Result<(), RegisterError> {
        let target = Target::Object(servant);
        let mut entries = self.entries.write();
        entries.insert(id, target, metadata, true).map(|_| ())
    }

    /// The id under which the object was registered last, of those that it still has, and what it exposes.
    pub(crate) fn named<T: Expose>(&self, object: &Object<T>) -> Option<(Arc<str>, Arc<Metadata>)> {
        let entries = self.entries.read();
        let id = entries.id_of(Arc::as_ptr(&object.0).addr())?;
        let metadata = Arc::clone(&entries.by_id.get(id)?.metadata);
        Some((Arc::clone(id), metadata))
    }

    pub(crate) fn remove(&self, id: &str) {
        let removed = self.entries.write().remove(id);
        // What it drops is the user's, and may come back here.
        drop(removed);
    }

    /// Removes all ids of the object at once, so that none of them can be another's by then.
    pub(crate) fn remove_object<T: Expose>(&self, object: &Object<T>) {
        let mut entries = self.entries.write();
        let ids = entries.by_object.remove(&Arc::as_ptr(&object.0).addr());
        let mut ids = ids.unwrap_or_default();
        // Without it the daemon could not answer its clients any more.
        ids.retain(|id| **id != *DaemonObject::ID);
        let removed: Vec<_> = ids.iter().map(|id| entries.by_id.remove(id)).collect();
        drop(entries);
        // What it drops is the user's, and may come back here.
        drop(removed);
    }

    /// The ids of the objects, in the order of registration, but for what is only between programs of ours.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = self.entries.read();
        let mut ids: Vec<_> = entries
            .by_id
            .iter()
            .filter(|(id, _)| !id.starts_with("Antifreeze."))
            .map(|(id, entry)| (entry.order, id.to_string()))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn metadata(&self, id: &str) -> Option<Arc<Metadata>> {
        let entries = self.entries.read();
        let entry = entries.by_id.get(id)?;
        entry.target.exists().then(|| Arc::clone(&entry.metadata))
    }

    /// Who serves a call to `id` on this connection.
    ///
    /// The error is the answer to the call: nobody has the id.
    pub(crate) fn find(
        &self,
        id: &str,
        session: &SessionInstances,
    ) -> Result<(Arc<str>, Found), Exception> {
        let unknown = || Exception::new(DAEMON_ERROR, "unknown object");
        let entries = self.entries.read();
        let (id, entry) = entries.by_id.get_key_value(id).ok_or_else(unknown)?;
        let found = match &entry.target {
            Target::Object(object) => Found::Ready(Arc::clone(object)),
            Target::Weak(object) => Found::Ready(object.upgrade().ok_or_else(unknown)?),
            Target::Class(class) => match class.instance(session) {
                Ok(instance) => Found::Ready(instance),
                Err(unmade) => Found::Unmade(unmade),
            },
        };
        Ok((Arc::clone(id), found))
    }
}

impl Entries {
    /// Also gives what had the id before, to be dropped when nothing is locked.
    fn insert(
        &mut self,
        id: &str,
        target: Target,
        metadata: Metadata,
        force: bool,
    ) -> Result<(Arc<str>, Option<Entry>), RegisterError> {
        // Pyro ends the id of a URI at the first `@` or white space (`core.py`, `URI`).
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c == '@') {
            return Err(RegisterError::BadId(id.to_owned()));
        }
        if !force && self.by_id.contains_key(id) {
            return Err(RegisterError::IdTaken(id.to_owned()));
        }
        let order = self.registered;
        self.registered += 1;
        let replaced = self.remove(id);
        let id: Arc<str> = id.into();
        self.by_id.insert(
            Arc::clone(&id),
            Entry {
                target,
                metadata: Arc::new(metadata),
                order,
            },
        );
        Ok((id, replaced))
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let removed = self.by_id.remove(id)?;
        if let Some(address) = removed.target.address()
            && let Some(ids) = self.by_object.get_mut(&address)
        {
            ids.retain(|known| &**known != id);
            if ids.is_empty() {
                self.by_object.remove(&address);
            }
        }
        Some(removed)
    }

    /// The id of the object that lies at this address.
    fn id_of(&self, address: usize) -> Option<&Arc<str>> {
        let id = self.by_object.get(&address)?.last()?;
        // An address is used again when its object is gone.
        self.by_id.get(id)?.target.exists().then_some(id)
    }
}

impl Target {
    fn exists(&self) -> bool {
        match self {
            Self::Weak(object) => object.strong_count() > 0,
            Self::Object(_) | Self::Class(_) => true,
        }
    }

    fn address(&self) -> Option<usize> {
        match self {
            Self::Object(object) => Some(Arc::as_ptr(object).addr()),
            Self::Weak(object) => Some(object.as_ptr().addr()),
            Self::Class(_) => None,
        }
    }
}
