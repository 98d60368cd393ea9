//! From the trait to the model: what can be called, and what comes back.

use proc_macro2::TokenStream;
use quote::format_ident;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Generics, Ident, ItemTrait, Lifetime, Lit, MetaNameValue,
    ReturnType, Signature, Token, TraitItem, TraitItemFn, Type, Visibility,
};

use crate::attribute::{Access, Helpers, Place};
use crate::diagnostics::Mistakes;
use crate::{name, parameter, types};

/// A trait that describes a remote object, understood.
#[derive(Debug)]
pub(crate) struct Described {
    /// All that the user wrote: docs, conditions, lint levels.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    /// The trait.
    pub(crate) subject: Ident,
    /// The struct.
    pub(crate) proxy: Ident,
    /// Its methods are async, as those of the trait.
    pub(crate) asynchronous: bool,
    pub(crate) methods: Vec<Method>,
}

/// One method of the proxy.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) ident: Ident,
    /// What the remote object calls it.
    pub(crate) name: String,
    pub(crate) generics: Generics,
    /// The lifetime of `&'a self`.
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) parameters: Vec<Parameter>,
    /// What comes back if all goes well; none for nothing.
    pub(crate) returns: Option<Type>,
    pub(crate) action: Action,
    pub(crate) idempotent: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Call,
    Oneway,
    Read,
    Write,
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) role: Role,
}

/// What an argument is in the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Positional,
    /// All positional arguments at once.
    All,
    /// All keyword arguments at once.
    Keywords,
    /// A serialized blob, which is the only argument.
    Blob,
}

/// Functions that every proxy has.
const TAKEN: &[&str] = &["connect", "new", "as_proxy"];

/// As many arguments as serde can encode without a list.
const MOST_ARGUMENTS: usize = 16;

/// Reads `name = "X"` from the arguments of the macro itself.
pub(crate) fn chosen_name(arguments: TokenStream, mistakes: &mut Mistakes) -> Option<Ident> {
    let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(arguments.clone());
    let Ok(pairs) = pairs else {
        mistakes.note(
            arguments,
            "write `#[proxy]` or `#[proxy(name = \"AccountProxy\")]`",
        );
        return None;
    };
    let mut chosen = None;
    for pair in pairs {
        let name = match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(name),
                ..
            }) if pair.path.is_ident("name") => name.parse::<Ident>().ok(),
            _ => None,
        };
        match name {
            None => {
                mistakes.note(
                    pair,
                    "write `name = \"AccountProxy\"`, the name of the struct",
                );
            }
            Some(_) if chosen.is_some() => mistakes.note(pair, "the name stands here twice"),
            Some(name) => chosen = Some(name),
        }
    }
    chosen
}

/// Reads the trait. What is wrong is noted, and left out of the result.
pub(crate) fn parse(item: ItemTrait, name: Option<Ident>, mistakes: &mut Mistakes) -> Described {
    if !item.generics.params.is_empty() {
        let message = "a remote object has no type parameters: write one trait for each type, or \
                       give the methods the parameters";
        mistakes.note(&item.generics, message);
    }
    if !item.supertraits.is_empty() {
        let message = "`#[proxy]` turns the trait into a struct, which has no supertraits: write \
                       all methods here, and implement other traits for the struct";
        mistakes.note(&item.supertraits, message);
    }
    if let Some(keyword) = &item.unsafety {
        mistakes.note(keyword, "calling a remote object is safe: remove `unsafe`");
    }
    let asynchronous = item.items.iter().find_map(|item| match item {
        TraitItem::Fn(function) => Some(function.sig.asyncness.is_some()),
        _ => None,
    });
    let asynchronous = asynchronous.unwrap_or(false);
    let mut methods = Vec::new();
    for item in item.items {
        match item {
            TraitItem::Fn(function) => methods.extend(method(function, asynchronous, mistakes)),
            other => {
                let message = "a `#[proxy]` trait holds only functions: move this out";
                mistakes.note(other, message);
            }
        }
    }
    Described {
        attributes: item.attrs,
        visibility: item.vis,
        proxy: name.unwrap_or_else(|| format_ident!("{}Proxy", item.ident)),
        subject: item.ident,
        asynchronous,
        methods,
    }
}

fn method(mut item: TraitItemFn, asynchronous: bool, mistakes: &mut Mistakes) -> Option<Method> {
    let before = mistakes.count();
    let helpers = Helpers::take(&mut item.attrs, Place::Called, mistakes);
    let access = helpers.attr;
    let action = match (access, &helpers.oneway) {
        (None, None) => Action::Call,
        (None, Some(_)) => Action::Oneway,
        (Some(Access::Read), None) => Action::Read,
        (Some(Access::Write), None) => Action::Write,
        (Some(_), Some(attribute)) => {
            mistakes.note(
                attribute,
                "an attribute cannot be used oneway: remove one of the two",
            );
            Action::Call
        }
    };
    let ident = &item.sig.ident;
    let (name, span) = name::of_member(ident, access, &helpers, mistakes);
    if let Err(message) = name::check_public(&name) {
        mistakes.note_at(span, message);
    }
    if TAKEN.contains(&ident.to_string().as_str()) {
        let message = format!(
            "every proxy has a function `{ident}` already: give this one another name and add \
             `#[rename = \"{name}\"]`"
        );
        mistakes.note(ident, message);
    }
    if let Some(body) = &item.default {
        let message = "the remote object has the body: end the function with `;`";
        mistakes.note(body, message);
    }
    refuse_mix(&item.sig, asynchronous, mistakes);
    refuse_unsafe(&item.sig, mistakes);
    let lifetime = receiver(&item.sig, mistakes);
    let returns = returns(&item.sig.output, action, mistakes);
    let typed = item.sig.inputs.len() - usize::from(item.sig.receiver().is_some());
    let parameters: Vec<_> = item
        .sig
        .inputs
        .into_iter()
        .filter_map(|input| described_parameter(input, mistakes))
        .collect();
    check_parameters(&item.sig.ident, &parameters, typed, action, mistakes);
    if mistakes.count() > before {
        return None;
    }
    Some(Method {
        attributes: item.attrs,
        ident: item.sig.ident,
        name,
        generics: item.sig.generics,
        lifetime,
        parameters,
        returns,
        action,
        idempotent: helpers.idempotent.is_some(),
    })
}

/// A proxy is of one kind, that of its first function.
fn refuse_mix(signature: &Signature, asynchronous: bool, mistakes: &mut Mistakes) {
    match &signature.asyncness {
        Some(keyword) if !asynchronous => {
            let message = "a proxy blocks or is awaited, and the functions before this one block: \
                           write a plain `fn` here or `async fn` for all of them, or a second \
                           trait with `#[proxy(name = \"..\")]`";
            mistakes.note(keyword, message);
        }
        None if asynchronous => {
            let message = "a proxy blocks or is awaited, and the functions before this one are \
                           awaited: write `async fn` here or a plain `fn` for all of them, or a \
                           second trait with `#[proxy(name = \"..\")]`";
            mistakes.note(signature.fn_token, message);
        }
        _ => {}
    }
}

fn refuse_unsafe(signature: &Signature, mistakes: &mut Mistakes) {
    if let Some(keyword) = &signature.unsafety {
        mistakes.note(keyword, "calling a remote object is safe: remove `unsafe`");
    }
}

/// Checks that the receiver is `&self`, and returns its lifetime.
fn receiver(signature: &Signature, mistakes: &mut Mistakes) -> Option<Lifetime> {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        let message = "a remote method is called on an object: take `&self`";
        mistakes.note(&signature.ident, message);
        return None;
    };
    let reference = receiver
        .reference
        .as_ref()
        .filter(|_| receiver.mutability.is_none());
    let Some((_, lifetime)) = reference else {
        let message = "take `&self`: a proxy is only a way to the object, which decides by itself \
                       whether a method changes it";
        mistakes.note(receiver, message);
        return None;
    };
    lifetime.clone()
}

fn returns(output: &ReturnType, action: Action, mistakes: &mut Mistakes) -> Option<Type> {
    let ty = types::returned(output);
    let value = match ty.and_then(|ty| types::argument_of(ty, "Result")) {
        Some(None) => {
            let message = "the proxy has to know what comes back: write `Result<T, Error>`";
            mistakes.note(ty, message);
            return None;
        }
        Some(value) => value.filter(|value| !types::is_unit(value)),
        None => ty,
    };
    let needs_value = action == Action::Read;
    let Some(value) = value else {
        if needs_value {
            let message = "an attribute has a value: give the function a return type, or remove \
                           `#[attr]` to call a method";
            mistakes.note_at(syn::spanned::Spanned::span(output), message);
        }
        return None;
    };
    if matches!(action, Action::Oneway | Action::Write) {
        let message = match action {
            Action::Oneway => {
                "a oneway call brings nothing back: remove the return type, or remove `#[oneway]` \
                 to wait for the answer"
            }
            _ => "writing an attribute brings nothing back: remove the return type",
        };
        mistakes.note(value, message);
    }
    let anatomy = types::Anatomy::of(value);
    if let Some(opaque) = &anatomy.opaque {
        let message = "what comes back is decoded as one concrete type: name it (or return an \
                       `antifreeze::Value`, which holds anything)";
        mistakes.note(opaque, message);
    } else if let Some(reference) = &anatomy.reference {
        let message = "what comes back is a copy that nobody here owns yet: return the owned \
                       type, as `String` for `&str`";
        mistakes.note(reference, message);
    }
    Some(value.clone())
}

fn described_parameter(input: FnArg, mistakes: &mut Mistakes) -> Option<Parameter> {
    let FnArg::Typed(mut input) = input else {
        return None;
    };
    let helpers = Helpers::take(&mut input.attrs, Place::CalledParameter, mistakes);
    parameter::refuse_cfg(&input.attrs, mistakes);
    let ident = parameter::plain_name(&input.pat, mistakes)?.clone();
    let role = match (&helpers.args, &helpers.kwargs) {
        (None, None) if types::is_blob(&input.ty) => Role::Blob,
        (None, None) => Role::Positional,
        (Some(_), None) => Role::All,
        (None, Some(_)) => Role::Keywords,
        (Some(attribute), Some(_)) => {
            mistakes.note(
                attribute,
                "a parameter holds either `#[args]` or `#[kwargs]`",
            );
            return None;
        }
    };
    Some(Parameter {
        attributes: input.attrs,
        ident,
        ty: *input.ty,
        role,
    })
}

fn check_parameters(
    function: &Ident,
    parameters: &[Parameter],
    written: usize,
    action: Action,
    mistakes: &mut Mistakes,
) {
    match action {
        Action::Read => {
            for parameter in parameters {
                let message = "an attribute is read without arguments: remove the parameter, or \
                               remove `#[attr]` to call a method";
                mistakes.note(&parameter.ident, message);
            }
        }
        Action::Write if written != 1 => {
            let message = "an attribute is written with one value: take exactly one parameter \
                           besides `&self`";
            mistakes.note(function, message);
        }
        Action::Write => {
            for parameter in parameters.iter().filter(|it| it.role != Role::Positional) {
                let message = "an attribute is written with one value: remove `#[args]` or \
                               `#[kwargs]`";
                mistakes.note(&parameter.ident, message);
            }
        }
        Action::Call | Action::Oneway => check_roles(parameters, action, mistakes),
    }
}

fn check_roles(parameters: &[Parameter], action: Action, mistakes: &mut Mistakes) {
    let count = |role| {
        parameters
            .iter()
            .filter(|parameter| parameter.role == role)
            .count()
    };
    for (index, parameter) in parameters.iter().enumerate() {
        let ident = &parameter.ident;
        match parameter.role {
            Role::Positional if index == MOST_ARGUMENTS => {
                let message = "a proxy passes at most 16 arguments: take the others as `#[kwargs]`";
                mistakes.note(ident, message);
            }
            Role::Positional => {}
            Role::All if count(Role::Positional) + count(Role::All) > 1 => {
                let message = "in a proxy, `#[args]` holds all positional arguments: remove the \
                               others, or call the method through `as_proxy().call(..)`";
                mistakes.note(ident, message);
            }
            Role::Keywords if index + 1 < parameters.len() => {
                mistakes.note(ident, "`#[kwargs]` must be the last parameter");
            }
            Role::Blob if parameters.len() > 1 => {
                mistakes.note(ident, "a serialized blob is the only argument of its call");
            }
            Role::Blob if action == Action::Oneway => {
                let message = "remove `#[oneway]`: a call with a serialized blob is one if the object \
                               declares the method so";
                mistakes.note(ident, message);
            }
            Role::All | Role::Keywords | Role::Blob => {}
        }
    }
}
