//! The names by which peers know methods, attributes and arguments.

use proc_macro2::Span;
use syn::Ident;
use syn::ext::IdentExt;
use syn::parse::Parser;

use crate::attribute::{Access, Helpers};
use crate::diagnostics::Mistakes;

/// A Rust identifier as a peer writes it: without `r#`.
pub(crate) fn of(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// The name of a member, and where it stands.
///
/// `access` is none for a method. A function that writes an attribute is called `set_` and its name.
pub(crate) fn of_member(
    ident: &Ident,
    access: Option<Access>,
    helpers: &Helpers,
    mistakes: &mut Mistakes,
) -> (String, Span) {
    if let Some(rename) = &helpers.rename {
        return (rename.value(), rename.span());
    }
    let name = of(ident);
    if access != Some(Access::Write) {
        return (name, ident.span());
    }
    match name.strip_prefix("set_") {
        Some(stripped) => (stripped.to_owned(), ident.span()),
        None => {
            let message = format!(
                "which attribute does this write? Call it `set_{name}` for the attribute \
                 `{name}`, or add `#[rename = \"..\"]`"
            );
            mistakes.note(ident, message);
            (name, ident.span())
        }
    }
}

/// Says what is wrong with the name of a member, or of a parameter, that was given by `rename`.
pub(crate) fn check_writable(name: &str) -> Result<(), String> {
    let parsed = Ident::parse_any
        .parse_str(name)
        .map(|ident| ident.to_string());
    match parsed {
        // The comparison finds blanks and comments, which the parser skips.
        Ok(parsed) if parsed == name && !name.starts_with("r#") => Ok(()),
        _ if name == "_" => Ok(()),
        _ => Err(format!("`{name}` is not a name that Python can write")),
    }
}

/// Says why a member of this name cannot be called from another program, if that is so.
///
/// The rule is Pyro's (Pyro5 5.17-dev0, `server.py`, `is_private_attribute`). The library refuses
/// the same names when a peer asks for them.
pub(crate) fn check_public(name: &str) -> Result<(), String> {
    if PRIVATE_DUNDERS.contains(&name) {
        return Err(format!("`{name}` is private in Pyro and cannot be exposed"));
    }
    let dunder = name.len() > 4 && name.starts_with("__") && name.ends_with("__");
    if name.starts_with('_') && !dunder {
        return Err("names that begin with `_` are private in Pyro and cannot be exposed".into());
    }
    Ok(())
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
    use super::{check_public, check_writable};

    #[test]
    fn private_names_are_those_of_pyro() {
        for name in [
            "_",
            "_x",
            "__",
            "__x",
            "____",
            "_x__",
            "__init__",
            "__reduce__",
        ] {
            assert!(check_public(name).is_err(), "{name}");
        }
        for name in ["x", "x_", "__len__", "__getitem__", "__x__", "type"] {
            assert!(check_public(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_is_what_python_can_write() {
        for name in ["x", "größe", "type", "self", "_", "__len__", "x2"] {
            assert!(check_writable(name).is_ok(), "{name}");
        }
        for name in ["", " x", "x ", "a b", "a.b", "2x", "r#type", "a/**/", "-"] {
            assert!(check_writable(name).is_err(), "{name}");
        }
    }
}
