//! What a type exposes: the static description that `#[expose]` generates.

use std::collections::BTreeSet;

use antifreeze_serial::{ProxyState, Set, Value};
use serde::{Deserialize, Serialize};

use super::invocation::{Invocation, Step};
use crate::uri::Uri;

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exposed",
    label = "its methods are not exposed",
    note = "write `#[expose]` above an `impl {Self}` block with the methods that peers may call",
    note = "under `#[expose(local)]` it can be registered with `Daemon::register_local` alone"
)]
/// A type whose methods and attributes can be used from other programs.
///
/// Implemented by [`#[expose]`](crate::expose); there is no reason to write it by hand.
pub trait Expose: ExposeLocal + Send + Sync {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exposed",
    label = "its methods are not exposed",
    note = "write `#[expose]` or `#[expose(local)]` above an `impl {Self}` block with the methods \
            that peers may call"
)]
/// A type whose methods other programs can use, if need be on one thread only.
///
/// Implemented by [`#[expose]` and `#[expose(local)]`](crate::expose); there is no reason to write it by
/// hand.
pub trait ExposeLocal: Sized + 'static {
    /// The description that `#[expose]` generated.
    #[doc(hidden)]
    fn class() -> &'static Class<Self>;
}

/// The exposed members of `T`.
pub struct Class<T: 'static> {
    /// The name of the Rust type, as it appears in Python's error texts.
    pub name: &'static str,
    /// Whether any member takes `&mut self`; a type without such a member has no object lock.
    pub locked: bool,
    /// Methods and attributes, in the order of the source.
    pub members: &'static [Member<T>],
    /// Functions that stand among them and are not exposed.
    pub unexposed: &'static [&'static str],
}

/// One exposed method or attribute.
pub struct Member<T: 'static> {
    /// The name that a peer uses.
    pub name: &'static str,
    /// Method or attribute.
    pub kind: MemberKind,
    /// Whether clients are told to call it without waiting for an answer.
    pub oneway: bool,
    /// Whether it promises not to block, so that an event loop may run it in place.
    pub quick: bool,
    /// Whether its errors are raised here, too, as Pyro's `@callback` does.
    pub callback: bool,
    /// Runs the method, or reads the attribute.
    pub call: Option<fn(Invocation<'_, T>) -> Step>,
    /// Writes the attribute.
    pub set: Option<fn(Invocation<'_, T>) -> Step>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemberKind {
    /// Called with arguments.
    Method,
    /// Read, and perhaps written, by name.
    Attribute,
}

/// The names that an object exposes, as a daemon tells them to its clients.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize)]
pub struct Metadata {
    /// Methods, oneway ones included.
    pub methods: BTreeSet<String>,
    /// Methods that are called without waiting for an answer.
    pub oneway: BTreeSet<String>,
    /// Attributes.
    pub attrs: BTreeSet<String>,
}

impl Metadata {
    /// What travels in place of an object that is at `uri` and exposes this.
    pub(crate) fn of_proxy(&self, uri: &Uri) -> ProxyState {
        let all = |names: &BTreeSet<String>| names.iter().cloned().collect();
        ProxyState {
            uri: uri.to_string(),
            oneway: all(&self.oneway),
            methods: all(&self.methods),
            attrs: all(&self.attrs),
            handshake: Value::from("hello"),
            serializer: None,
        }
    }

    /// What came with a proxy.
    pub(crate) fn of_state(state: &ProxyState) -> Self {
        let all = |names: &[String]| names.iter().cloned().collect();
        Self {
            methods: all(&state.methods),
            oneway: all(&state.oneway),
            attrs: all(&state.attrs),
        }
    }
}

impl Serialize for Metadata {
    /// Python's clients do set arithmetic with the three members, so sets they must be.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Sets<'a> {
            methods: Set<&'a String>,
            oneway: Set<&'a String>,
            attrs: Set<&'a String>,
        }
        Sets {
            methods: self.methods.iter().collect(),
            oneway: self.oneway.iter().collect(),
            attrs: self.attrs.iter().collect(),
        }
        .serialize(serializer)
    }
}

impl<T> Class<T> {
    pub(crate) fn member(&self, name: &str) -> Option<&'static Member<T>> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        for member in self.members {
            let name = member.name.to_owned();
            match member.kind {
                MemberKind::Attribute => metadata.attrs.insert(name),
                MemberKind::Method => {
                    if member.oneway {
                        metadata.oneway.insert(name.clone());
                    }
                    metadata.methods.insert(name)
                }
            };
        }
        metadata
    }
}

/// Whether Pyro refuses the name to everybody (`server.py`, `is_private_attribute`).
pub(crate) fn is_private(name: &str) -> bool {
    if !name.starts_with('_') {
        return false;
    }
    if PRIVATE_DUNDERS.contains(&name) {
        return true;
    }
    let dunder = name.len() > 4 && name.starts_with("__") && name.ends_with("__");
    !dunder
}

/// Python's own special methods, which would let a peer reach behind the object.
const PRIVATE_DUNDERS: &[&str] = &[
    "__init__",
    "__init_subclass__",
    "__class__",
    "__module__",
    "__weakref__",
    "__call__",
    "__new__",
    "__del__",
    "__repr__",
    "__str__",
    "__format__",
    "__nonzero__",
    "__bool__",
    "__coerce__",
    "__cmp__",
    "__eq__",
    "__ne__",
    "__hash__",
    "__ge__",
    "__gt__",
    "__le__",
    "__lt__",
    "__dir__",
    "__enter__",
    "__exit__",
    "__copy__",
    "__deepcopy__",
    "__sizeof__",
    "__getattr__",
    "__setattr__",
    "__hasattr__",
    "__getattribute__",
    "__delattr__",
    "__instancecheck__",
    "__subclasscheck__",
    "__getinitargs__",
    "__getnewargs__",
    "__getstate__",
    "__setstate__",
    "__reduce__",
    "__reduce_ex__",
    "__subclasshook__",
];

#[cfg(test)]
mod tests {
    use super::{PRIVATE_DUNDERS, is_private};

    #[test]
    fn the_macros_refuse_what_the_daemon_refuses() {
        // A crate of macros cannot export its list, so it is compared as text.
        let macros = include_str!("../../../antifreeze-macros/src/name.rs");
        let start = macros
            .find("PRIVATE_DUNDERS: ")
            .expect("the list in the macros");
        let list = &macros[start..][..macros[start..].find("];").expect("its end")];
        let theirs: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        assert_eq!(theirs, PRIVATE_DUNDERS);
    }

    #[test]
    fn private_names_are_those_of_pyro() {
        for name in [
            "_",
            "_x",
            "__",
            "__x",
            "____",
            "__init__",
            "__reduce__",
            "_x__",
        ] {
            assert!(is_private(name), "{name}");
        }
        for name in ["x", "x_", "__len__", "__dunder__", "__x__", ""] {
            assert!(!is_private(name), "{name}");
        }
    }
}
