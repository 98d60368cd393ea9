//! The parameters of a function that is served: how each gets its argument.

use std::collections::BTreeSet;

use syn::punctuated::Punctuated;
use syn::{Attribute, FnArg, Ident, Pat, Token, Type};

use crate::attribute::{DefaultValue, Helpers, Place};
use crate::diagnostics::Mistakes;
use crate::{name, types};

/// One parameter of a function that is served.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    /// The name by which a peer may pass it.
    pub(crate) name: String,
    pub(crate) passing: Passing,
    pub(crate) source: Source,
}

/// What is decoded, and how it is handed to the function.
#[derive(Debug)]
pub(crate) enum Passing {
    /// The parameter's own type, by value.
    Value(Type),
    /// What owns this type, by reference.
    Borrow(Type),
    /// An `Option` of what owns this type, as an `Option` of a reference.
    BorrowOption(Type),
}

/// Where the argument comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The caller, always.
    Required,
    /// The caller, or else the default.
    Default(DefaultValue),
    /// The caller, or else `None`.
    Optional,
    /// All positional arguments that are left, as items of this type.
    Rest(Box<Type>),
    /// All keyword arguments that are left.
    Keywords,
}

impl Passing {
    /// The type that the user wrote, without its reference.
    pub(crate) fn ty(&self) -> &Type {
        match self {
            Self::Value(ty) | Self::Borrow(ty) | Self::BorrowOption(ty) => ty,
        }
    }
}

/// Reads the parameters and strips them of their helper attributes.
///
/// What is wrong is noted, and left out of the result.
pub(crate) fn parse(
    inputs: &mut Punctuated<FnArg, Token![,]>,
    mistakes: &mut Mistakes,
) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    let mut order = Order::default();
    for input in inputs {
        let FnArg::Typed(input) = input else { continue };
        let helpers = Helpers::take(&mut input.attrs, Place::ServedParameter, mistakes);
        refuse_cfg(&input.attrs, mistakes);
        let Some(ident) = plain_name(&input.pat, mistakes) else {
            continue;
        };
        let Some(passing) = passing(&input.ty, mistakes) else {
            continue;
        };
        let Some(source) = source(&helpers, &passing, &input.ty, mistakes) else {
            continue;
        };
        let name = match &helpers.rename {
            Some(rename) => rename.value(),
            None => name::of(ident),
        };
        let parameter = Parameter {
            ident: ident.clone(),
            name,
            passing,
            source,
        };
        order.check(&parameter, mistakes);
        parameters.push(parameter);
    }
    parameters
}

/// Removes the helper attributes of parameters whose function is not served, and refuses them.
pub(crate) fn strip_unserved(inputs: &mut Punctuated<FnArg, Token![,]>, mistakes: &mut Mistakes) {
    for input in inputs {
        let FnArg::Typed(input) = input else { continue };
        let helpers = Helpers::take(&mut input.attrs, Place::ServedParameter, mistakes);
        if let Some(attribute) = &helpers.serving {
            mistakes.note(attribute, "the function is `#[private]`: remove this");
        }
    }
}

/// The name of a parameter that has one.
pub(crate) fn plain_name<'p>(pattern: &'p Pat, mistakes: &mut Mistakes) -> Option<&'p Ident> {
    match pattern {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(&pattern.ident)
        }
        _ => {
            let message = "callers may pass an argument by name: give this parameter a plain one, \
                           and take the value apart in the body";
            mistakes.note(pattern, message);
            None
        }
    }
}

/// Refuses what would make the number of parameters depend on the build.
pub(crate) fn refuse_cfg(attributes: &[Attribute], mistakes: &mut Mistakes) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
    {
        let message = "write the function twice, each with its `#[cfg]`: a single parameter \
                       cannot have one";
        mistakes.note(attribute, message);
    }
}

fn passing(ty: &Type, mistakes: &mut Mistakes) -> Option<Passing> {
    let passing = if let Some(reference) = types::referent(ty) {
        if reference.mutability.is_some() {
            let message = "the caller would not see the change of a `&mut` parameter: take the \
                           value and return it";
            mistakes.note(ty, message);
            return None;
        }
        if reference
            .lifetime
            .as_ref()
            .is_some_and(|lifetime| lifetime.ident == "static")
        {
            let message = "an argument lives as long as the call: remove `'static`, or take the \
                           owned type";
            mistakes.note(ty, message);
            return None;
        }
        Passing::Borrow(types::without_lifetimes(&reference.elem))
    } else if let Some(Some(inner)) = types::argument_of(ty, "Option")
        && let Some(reference) = types::referent(inner)
        && reference.mutability.is_none()
    {
        Passing::BorrowOption(types::without_lifetimes(&reference.elem))
    } else {
        Passing::Value(types::without_lifetimes(ty))
    };

    let anatomy = types::Anatomy::of(passing.ty());
    if let Some(opaque) = &anatomy.opaque {
        let message = "an argument is decoded as one concrete type: name it (or take an \
                       `antifreeze::Value`, which holds anything)";
        mistakes.note(opaque, message);
        return None;
    }
    if let Some(reference) = &anatomy.reference {
        let message = "only a whole argument, or one in an `Option`, can be borrowed: take the \
                       owned type here, as `String` for `&str`";
        mistakes.note(reference, message);
        return None;
    }
    Some(passing)
}

fn source(
    helpers: &Helpers,
    passing: &Passing,
    ty: &Type,
    mistakes: &mut Mistakes,
) -> Option<Source> {
    let Helpers {
        default,
        args,
        kwargs,
        ..
    } = helpers;
    if let (Some(_), Some(attribute), _)
    | (Some(_), _, Some(attribute))
    | (_, Some(_), Some(attribute)) = (default, args, kwargs)
    {
        let message = "only one of `#[default]`, `#[args]` and `#[kwargs]` can say where an \
                       argument comes from";
        mistakes.note(attribute, message);
        return None;
    }
    if let (Some(name), Some(_), _) | (Some(name), _, Some(_)) = (&helpers.rename, args, kwargs) {
        mistakes.note(
            name,
            "nobody passes this parameter by its name: remove `#[rename]`",
        );
        return None;
    }
    if let Some(value) = default {
        return Some(Source::Default(value.clone()));
    }
    if args.is_some() {
        let item = match passing {
            Passing::Value(ty) => types::argument_of(ty, "Vec").flatten(),
            _ => None,
        };
        if item.is_none() {
            mistakes.note(
                ty,
                "`#[args]` collects the arguments that are left: write `Vec<T>`",
            );
        }
        return item.map(|item| Source::Rest(Box::new(item.clone())));
    }
    if kwargs.is_some() {
        if !matches!(passing, Passing::Value(_)) {
            let message = "`#[kwargs]` collects keyword arguments: write `BTreeMap<String, T>` or \
                           `HashMap<String, T>`";
            mistakes.note(ty, message);
            return None;
        }
        return Some(Source::Keywords);
    }
    let option = types::last_segment(ty).is_some_and(|segment| segment.ident == "Option");
    Some(if option {
        Source::Optional
    } else {
        Source::Required
    })
}

/// What Python demands of the order and the names of parameters.
#[derive(Default)]
struct Order {
    names: BTreeSet<String>,
    default: bool,
    rest: bool,
    keywords: bool,
}

impl Order {
    fn check(&mut self, parameter: &Parameter, mistakes: &mut Mistakes) {
        let Parameter {
            ident,
            name,
            source,
            ..
        } = parameter;
        if !self.names.insert(name.clone()) {
            mistakes.note(
                ident,
                format!("another parameter is called `{name}`: rename one"),
            );
        }
        if self.keywords {
            mistakes.note(ident, "`#[kwargs]` must be the last parameter");
        } else if self.rest && !matches!(source, Source::Keywords) {
            let message = "only a `#[kwargs]` parameter can stand after `#[args]`, which takes \
                           every argument that is left";
            mistakes.note(ident, message);
        }
        match source {
            Source::Required if self.default => {
                let message = "a parameter without a default cannot stand after one with \
                               `#[default]`: give this one a default as well, or change the order";
                mistakes.note(ident, message);
            }
            Source::Default(_) => self.default = true,
            Source::Rest(_) => self.rest = true,
            Source::Keywords => self.keywords = true,
            Source::Required | Source::Optional => {}
        }
    }
}
