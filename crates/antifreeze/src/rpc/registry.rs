//! Which object answers to which id.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::arguments::Arguments;
use super::class::{Expose, MemberKind, Metadata, is_private};
use super::exception::{self, ATTRIBUTE_ERROR, DAEMON_ERROR, TIMEOUT_ERROR};
use super::invocation::{Invocation, Job, Progress, Step, Subject};
use super::object::{Cell, Object};
use antifreeze_serial::{CallHead, Exception};

/// An object, without its type.
pub(crate) trait Servant: Send + Sync {
    /// Runs what `operation` names; `make` is called once the member is known.
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step;
}

/// What a peer asks of an object.
pub(crate) enum Operation<'a> {
    /// Run a method.
    Call(&'a CallHead<'a>),
    /// Read an attribute.
    Get(&'a str, Arguments<'a>),
    /// Write an attribute.
    Set(&'a str, Arguments<'a>),
}

impl<T: Expose> Servant for Cell<T> {
    fn invoke(
        self: Arc<Self>,
        operation: Operation<'_>,
        make: &mut dyn FnMut(Subject) -> Job,
        id: &Arc<str>,
    ) -> Step {
        let class = T::class();
        let writes = matches!(operation, Operation::Set(..));
        let subject = |member, callback| Subject {
            object: Arc::clone(id),
            class: class.name,
            member,
            callback,
        };
        let refuse = |text: String| Step(Progress::Missing(Exception::new(ATTRIBUTE_ERROR, text)));
        match operation {
            Operation::Call(head) => {
                let name = &*head.method;
                if is_private(name) {
                    return refuse(format!("attempt to access private attribute '{name}'"));
                }
                let Some(member) = class.member(name) else {
                    return refuse(format!("'{}' object has no attribute '{name}'", class.name));
                };
                let (MemberKind::Method, Some(call)) = (member.kind, member.call) else {
                    return refuse(format!("attempt to access unexposed attribute '{name}'"));
                };
                let mut job = make(subject(member.name, member.callback));
                if member.quick {
                    // It is over before another worker could take the connection.
                    job.started = None;
                }
                match Arguments::new(member.name, &head.args, &head.kwargs) {
                    Ok(arguments) => call(Invocation {
                        cell: &self,
                        arguments,
                        job,
                    }),
                    Err(error) => Step::done(job.raise(error.into())),
                }
            }
            Operation::Get(name, arguments) | Operation::Set(name, arguments) => {
                let found = class
                    .member(name)
                    .filter(|m| m.kind == MemberKind::Attribute);
                let access = found.and_then(|m| if writes { m.set } else { m.call });
                let (Some(member), Some(access)) = (found, access) else {
                    return refuse(format!(
                        "attempt to access unexposed or unknown remote attribute '{name}'"
                    ));
                };
                let job = make(subject(member.name, false));
                access(Invocation {
                    cell: &self,
                    arguments,
                    job,
                })
            }
        }
    }
}

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

/// Makes instances of a registered class.
type Creator =
    Box<dyn Fn() -> Result<Arc<dyn Servant>, Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// The objects of a daemon.
#[derive(Default)]
pub(crate) struct Registry {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Arc<str>, Entry>,
    /// The id under which an object was registered last, by its address.
    by_object: HashMap<usize, Arc<str>>,
    registered: u64,
}

struct Entry {
    target: Target,
    metadata: Metadata,
    /// The number of this registration, for the order in which ids are listed.
    order: u64,
}

enum Target {
    Object(Arc<dyn Servant>),
    Weak(Weak<dyn Servant>),
    Class(Arc<ServedClass>),
}

impl Target {
    fn address(&self) -> Option<usize> {
        match self {
            Self::Object(object) => Some(Arc::as_ptr(object).addr()),
            Self::Weak(object) => Some(object.as_ptr().addr()),
            Self::Class(_) => None,
        }
    }
}

struct ServedClass {
    mode: InstanceMode,
    create: Creator,
    /// How long a call waits for another one that makes the instance.
    patience: Duration,
    single: Slot,
}

/// Where an instance lies that is made when it is first needed.
#[derive(Default)]
struct Slot {
    instance: OnceLock<Arc<dyn Servant>>,
    /// Held while the instance is made, so that it is made once.
    making: Mutex<()>,
}

/// The instances that belong to one connection.
#[derive(Default)]
pub(crate) struct SessionInstances(Mutex<HashMap<Arc<str>, Arc<Slot>>>);

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
    pub(crate) fn add<T: Expose>(
        &self,
        id: &str,
        object: &Object<T>,
        how: Keep,
        force: bool,
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
        let id = entries.insert(id, target, T::class().metadata(), force)?;
        entries.by_object.insert(address, id);
        Ok(())
    }

    pub(crate) fn add_class<T: Expose, E: Into<Box<dyn StdError + Send + Sync>>>(
        &self,
        id: &str,
        mode: InstanceMode,
        patience: Duration,
        create: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        let create = Box::new(move || match create() {
            Ok(value) => Ok(Arc::new(Cell::new(value)) as Arc<dyn Servant>),
            Err(error) => Err(error.into()),
        });
        let class = Arc::new(ServedClass {
            mode,
            create,
            patience,
            single: Slot::default(),
        });
        let metadata = T::class().metadata();
        self.entries
            .write()
            .insert(id, Target::Class(class), metadata, false)
            .map(|_| ())
    }

    pub(crate) fn remove(&self, id: &str) {
        self.entries.write().remove(id);
    }

    /// All ids, in the order of registration.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = self.entries.read();
        let mut ids: Vec<_> = entries
            .by_id
            .iter()
            .map(|(id, entry)| (entry.order, id.to_string()))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn metadata(&self, id: &str) -> Option<Metadata> {
        let entries = self.entries.read();
        let entry = entries.by_id.get(id)?;
        let gone = matches!(&entry.target, Target::Weak(object) if object.strong_count() == 0);
        (!gone).then(|| entry.metadata.clone())
    }

    /// The instance that serves a call to `id`, made now if this is the first one.
    ///
    /// The error is the answer to the call: nobody has the id, or an instance could not be made.
    pub(crate) fn find(
        &self,
        id: &str,
        session: &SessionInstances,
    ) -> Result<(Arc<str>, Arc<dyn Servant>), Exception> {
        let unknown = || Exception::new(DAEMON_ERROR, "unknown object");
        let (id, class) = {
            let entries = self.entries.read();
            let (id, entry) = entries.by_id.get_key_value(id).ok_or_else(unknown)?;
            let id = Arc::clone(id);
            match &entry.target {
                Target::Object(object) => return Ok((id, Arc::clone(object))),
                Target::Weak(object) => return Ok((id, object.upgrade().ok_or_else(unknown)?)),
                Target::Class(class) => (id, Arc::clone(class)),
            }
        };
        // User code makes the instance, so no lock of ours may be held.
        let instance = match class.mode {
            InstanceMode::PerCall => class.make(),
            InstanceMode::Single => class.make_once(&class.single),
            InstanceMode::Session => {
                let slot = Arc::clone(session.0.lock().entry(Arc::clone(&id)).or_default());
                class.make_once(&slot)
            }
        };
        Ok((id, instance?))
    }
}

/// Whether a registration keeps its object alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    Alive,
    Weakly,
}

impl Entries {
    fn insert(
        &mut self,
        id: &str,
        target: Target,
        metadata: Metadata,
        force: bool,
    ) -> Result<Arc<str>, RegisterError> {
        // Pyro ends the id of a URI at the first `@` or white space (`core.py`, `URI`).
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c == '@') {
            return Err(RegisterError::BadId(id.to_owned()));
        }
        if !force && self.by_id.contains_key(id) {
            return Err(RegisterError::IdTaken(id.to_owned()));
        }
        let order = self.registered;
        self.registered += 1;
        self.remove(id);
        let id: Arc<str> = id.into();
        self.by_id.insert(
            Arc::clone(&id),
            Entry {
                target,
                metadata,
                order,
            },
        );
        Ok(id)
    }

    fn remove(&mut self, id: &str) {
        let removed = self.by_id.remove(id);
        let address = removed.and_then(|entry| entry.target.address());
        if let Some(address) = address
            && self
                .by_object
                .get(&address)
                .is_some_and(|known| &**known == id)
        {
            self.by_object.remove(&address);
        }
    }

    /// The id of the object that lies at this address.
    fn id_of(&self, address: usize) -> Option<&Arc<str>> {
        let id = self.by_object.get(&address)?;
        // An address is used again when its object is gone.
        let lives = match &self.by_id.get(id)?.target {
            Target::Weak(object) => object.strong_count() > 0,
            Target::Object(_) | Target::Class(_) => true,
        };
        lives.then_some(id)
    }
}

impl ServedClass {
    fn make(&self) -> Result<Arc<dyn Servant>, Exception> {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.create)()));
        match made {
            Ok(made) => made.map_err(exception::from_error),
            Err(panic) => Err(exception::from_panic(&*panic, "__init__")),
        }
    }

    /// The instance in `slot`, made now if it is not there yet.
    fn make_once(&self, slot: &Slot) -> Result<Arc<dyn Servant>, Exception> {
        if let Some(instance) = slot.instance.get() {
            return Ok(Arc::clone(instance));
        }
        // A creator that calls its own class would wait here for itself, and Pyro does for ever.
        let Some(_making) = slot.making.try_lock_for(self.patience) else {
            let waited = self.patience.as_secs_f64();
            let text = format!("another call has been making the instance for {waited:.1} s");
            return Err(Exception::new(TIMEOUT_ERROR, text));
        };
        match slot.instance.get() {
            Some(instance) => Ok(Arc::clone(instance)),
            None => {
                let made = self.make()?;
                Ok(Arc::clone(slot.instance.get_or_init(|| made)))
            }
        }
    }
}
