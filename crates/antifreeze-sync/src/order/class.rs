//! Classes of locks: all locks of one name, or all that one line of code made.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

/// A class of locks.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Class {
    /// The name that its locks were given.
    pub name: Option<Arc<str>>,
    /// The type of primitive, such as `Mutex`: of the first lock, if they have a name.
    pub kind: &'static str,
    /// The type of the data under the first lock; empty if there is none.
    pub data: &'static str,
    /// Where the first lock was made.
    pub created: &'static Location<'static>,
    /// Which sub-class it is; see [`nested`](super::nested).
    pub sub: u32,
}

/// What makes a lock belong to a class: its name if it has one, else all the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassKey<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) data: &'static str,
    pub(crate) created: &'static Location<'static>,
    pub(crate) kind: &'static str,
}

/// All classes. They are never forgotten, because locks remember their numbers.
pub(super) struct Classes(RwLock<Tables>);

type Table<K> = HashMap<K, u32, BuildHasherDefault<DefaultHasher>>;

struct Tables {
    /// By number; zero is nobody's.
    all: Vec<Class>,
    by_name: Table<Arc<str>>,
    by_place: Table<(&'static str, &'static str, &'static Location<'static>)>,
    by_sub: Table<(u32, u32)>,
}

impl Classes {
    pub(super) const fn new() -> Self {
        Self(RwLock::new(Tables {
            all: Vec::new(),
            by_name: Table::with_hasher(BuildHasherDefault::new()),
            by_place: Table::with_hasher(BuildHasherDefault::new()),
            by_sub: Table::with_hasher(BuildHasherDefault::new()),
        }))
    }

    /// The number of the class of the lock that `seat` belongs to, or of one of its sub-classes.
    pub(super) fn number(&self, seat: &AtomicU32, key: &ClassKey<'_>, sub: u32) -> u32 {
        let mut class = seat.load(Ordering::Relaxed);
        if class == 0 {
            class = self.intern(key);
            seat.store(class, Ordering::Relaxed);
        }
        if sub == 0 {
            class
        } else {
            self.intern_sub(class, sub)
        }
    }

    /// A class by its number.
    pub(super) fn class(&self, number: u32) -> Class {
        self.0.read().all[number as usize - 1].clone()
    }

    /// The numbers of all classes that are called so.
    pub(super) fn called(&self, name: &str) -> Vec<u32> {
        let tables = self.0.read();
        let called = |class: &Class| {
            class.name.as_deref() == Some(name)
                || class.to_string() == name
                || Class {
                    sub: 0,
                    ..class.clone()
                }
                .to_string()
                    == name
        };
        (1..)
            .zip(&tables.all)
            .filter(|(_, class)| called(class))
            .map(|(number, _)| number)
            .collect()
    }

    fn intern(&self, key: &ClassKey<'_>) -> u32 {
        let place = (key.kind, key.data, key.created);
        let find = |tables: &Tables| match key.name {
            Some(name) => tables.by_name.get(name).copied(),
            None => tables.by_place.get(&place).copied(),
        };
        if let Some(known) = find(&self.0.read()) {
            return known;
        }
        let tables = &mut *self.0.write();
        if let Some(known) = find(tables) {
            return known;
        }
        let name: Option<Arc<str>> = key.name.map(Arc::from);
        let number = tables.add(Class {
            name: name.clone(),
            kind: key.kind,
            data: key.data,
            created: key.created,
            sub: 0,
        });
        match name {
            Some(name) => tables.by_name.insert(name, number),
            None => tables.by_place.insert(place, number),
        };
        number
    }

    fn intern_sub(&self, class: u32, sub: u32) -> u32 {
        if let Some(known) = self.0.read().by_sub.get(&(class, sub)) {
            return *known;
        }
        let tables = &mut *self.0.write();
        if let Some(known) = tables.by_sub.get(&(class, sub)) {
            return *known;
        }
        let base = tables.all[class as usize - 1].clone();
        let number = tables.add(Class { sub, ..base });
        tables.by_sub.insert((class, sub), number);
        number
    }
}

impl Tables {
    fn add(&mut self, class: Class) -> u32 {
        self.all.push(class);
        u32::try_from(self.all.len()).expect("fewer classes than lines of code")
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "'{name}'")?,
            None if self.data.is_empty() => write!(f, "{} of {}", self.kind, self.created)?,
            None => write!(f, "{}<{}> of {}", self.kind, self.data, self.created)?,
        }
        if self.sub != 0 {
            write!(f, "#{}", self.sub)?;
        }
        Ok(())
    }
}
