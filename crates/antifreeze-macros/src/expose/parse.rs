//! From the impl block to the model: what is exposed, under which name, and how it is called.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Generics, Ident, ImplItem, ImplItemFn, ItemImpl, Signature, Type};

use crate::attribute::{Access, Helpers, Place};
use crate::diagnostics::Mistakes;
use crate::parameter::{self, Parameter, Source};
use crate::{name, types};

/// An impl block, understood.
#[derive(Debug)]
pub(crate) struct Exposed {
    pub(crate) generics: Generics,
    pub(crate) ty: Type,
    /// The name of the type without its path and generics.
    pub(crate) class: String,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) members: Vec<Member>,
    /// Functions that are marked `#[private]`.
    pub(crate) unexposed: Vec<String>,
}

/// A method or an attribute.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The conditions under which it exists.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Method(Function),
    /// At least one of the two is there.
    Attribute {
        read: Option<Function>,
        write: Option<Function>,
    },
}

/// How a function is called.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) ident: Ident,
    pub(crate) receiver: Receiver,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Returns,
    pub(crate) is_async: bool,
    pub(crate) oneway: bool,
    /// It waits for no writer but one that runs.
    pub(crate) unlocked: bool,
    pub(crate) quick: bool,
    pub(crate) callback: bool,
}

/// What a function takes of the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Receiver {
    Shared,
    Exclusive,
    /// It is an associated function.
    None,
}

/// What a function returns.
#[derive(Debug)]
pub(crate) struct Returns {
    pub(crate) shape: Shape,
    /// Where a result that cannot be encoded is reported.
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Nothing,
    Value,
    Bytes,
    Result,
    ResultOfBytes,
    /// Items that are given out one by one, in a `Result` or not.
    Items {
        of: Items,
        in_result: bool,
    },
}

/// What gives out items one by one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Items {
    ItemStream,
    Iterator,
    Stream,
}

impl Items {
    /// What a type is, as far as its name tells.
    fn of(ty: &Type) -> Option<Self> {
        if types::last_segment(ty).is_some_and(|segment| segment.ident == "ItemStream") {
            Some(Self::ItemStream)
        } else if types::is_impl_of(ty, "Iterator") {
            Some(Self::Iterator)
        } else if types::is_impl_of(ty, "Stream") {
            Some(Self::Stream)
        } else {
            None
        }
    }
}

/// Reads the block and strips it of its helper attributes.
///
/// What is wrong is noted, and left out of the result. None if nothing can be said of the type.
pub(crate) fn parse(block: &mut ItemImpl, mistakes: &mut Mistakes) -> Option<Exposed> {
    if let Some((_, path, _)) = &block.trait_ {
        let message = "`#[expose]` stands on an impl block without a trait: write \
                       `impl Account { .. }` with functions that call those of the trait";
        mistakes.note(path, message);
        // The functions are read all the same, for the sake of their attributes.
        functions(block, &mut Mistakes::default());
        return None;
    }
    let unexposed = unexposed(block);
    let members = functions(block, mistakes);

    let before = mistakes.count();
    let lifetime = match block.generics.lifetimes().next() {
        Some(declared) => Some(declared.lifetime.clone()),
        None => types::Anatomy::of(&block.self_ty).lifetime,
    };
    if let Some(lifetime) = lifetime {
        let message = "the daemon keeps an exposed object for as long as it serves, so the object \
                       cannot borrow: let it own its data, or share it with an `Arc`";
        mistakes.note(lifetime, message);
    }
    let class = types::last_segment(&block.self_ty).map(|segment| name::of(&segment.ident));
    if class.is_none() {
        mistakes.note(&block.self_ty, "only a type with a name can be exposed");
    }
    if mistakes.count() > before {
        return None;
    }
    Some(Exposed {
        generics: block.generics.clone(),
        ty: (*block.self_ty).clone(),
        class: class?,
        cfgs: cfgs(&block.attrs),
        members,
        unexposed,
    })
}

/// The names that peers are told of as there, but not for them.
fn unexposed(block: &ItemImpl) -> Vec<String> {
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    functions
        .filter(|function| function.attrs.iter().any(|a| a.path().is_ident("private")))
        .map(|function| name::of(&function.sig.ident))
        .collect()
}

fn functions(block: &mut ItemImpl, mistakes: &mut Mistakes) -> Vec<Member> {
    let mut members = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item
            && let Some(exposure) = self::function(function, mistakes)
        {
            exposure.join(&mut members, mistakes);
        }
    }
    members
}

/// One function, before it is known whether it is half of an attribute.
struct Exposure {
    name: String,
    /// Where the name stands.
    span: Span,
    access: Option<Access>,
    cfgs: Vec<Attribute>,
    function: Function,
}

fn function(item: &mut ImplItemFn, mistakes: &mut Mistakes) -> Option<Exposure> {
    let before = mistakes.count();
    let helpers = Helpers::take(&mut item.attrs, Place::Served, mistakes);
    if helpers.private.is_some() {
        if let Some(attribute) = &helpers.serving {
            mistakes.note(attribute, "the function is `#[private]`: remove this");
        }
        parameter::strip_unserved(&mut item.sig.inputs, mistakes);
        return None;
    }
    let access = helpers.attr;
    if let Some(attribute) = &helpers.oneway
        && access.is_some()
    {
        mistakes.note(
            attribute,
            "an attribute cannot be used oneway: remove one of the two",
        );
    }
    if let (Some(attribute), Some(_)) = (&helpers.quick, &item.sig.asyncness) {
        let message = "an async method waits without a thread, so it has nothing to promise: \
                       remove `#[quick]`, or write a plain `fn`";
        mistakes.note(attribute, message);
    }
    let (name, span) = name::of_member(&item.sig.ident, access, &helpers, mistakes);
    if let Err(message) = name::check_public(&name) {
        let advice = "; if it is only for this program, mark it `#[private]` or move it to another \
                      impl block";
        mistakes.note_at(span, message + advice);
    }
    refuse_unservable(&item.sig, mistakes);
    let receiver = receiver(&item.sig, mistakes);
    if let (Some(attribute), Some(Receiver::Exclusive | Receiver::None)) =
        (&helpers.unlocked, receiver)
    {
        let message = "only a `&self` method can do without its turn: a `&mut self` method needs the \
                       object for itself, and a function without `self` does not need it";
        mistakes.note(attribute, message);
    }
    let parameters = parameter::parse(&mut item.sig.inputs, mistakes);
    let returns = returns(&item.sig, mistakes);
    if mistakes.count() == before {
        match access {
            Some(Access::Read) => check_reader(&item.sig, &returns, mistakes),
            Some(Access::Write) => check_writer(&item.sig, &parameters, mistakes),
            None => {}
        }
    }
    if mistakes.count() > before {
        return None;
    }
    let function = Function {
        ident: item.sig.ident.clone(),
        receiver: receiver?,
        parameters,
        returns,
        is_async: item.sig.asyncness.is_some(),
        oneway: helpers.oneway.is_some(),
        unlocked: helpers.unlocked.is_some(),
        quick: helpers.quick.is_some(),
        callback: helpers.callback.is_some(),
    };
    Some(Exposure {
        name,
        span,
        access,
        cfgs: cfgs(&item.attrs),
        function,
    })
}

fn refuse_unservable(signature: &Signature, mistakes: &mut Mistakes) {
    if let Some(keyword) = &signature.unsafety {
        let message = "a caller in another program cannot vouch for anything, so an unsafe \
                       function cannot be served: wrap it in a safe one that checks";
        mistakes.note(keyword, message);
    }
    for parameter in &signature.generics.params {
        if !matches!(parameter, syn::GenericParam::Lifetime(_)) {
            let message = "a generic method cannot be served, because a caller does not name \
                           types: write one method for each type, or take an `antifreeze::Value`";
            mistakes.note(parameter, message);
        }
    }
}

fn receiver(signature: &Signature, mistakes: &mut Mistakes) -> Option<Receiver> {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Some(Receiver::None);
    };
    // `self: &Self` is the same as `&self`, and its type says so.
    let reference = types::referent(&receiver.ty).filter(|reference| {
        receiver.colon_token.is_none()
            || types::last_segment(&reference.elem).is_some_and(|segment| segment.ident == "Self")
    });
    match reference {
        Some(reference) if reference.mutability.is_some() => Some(Receiver::Exclusive),
        Some(_) => Some(Receiver::Shared),
        None => {
            let message = if receiver.colon_token.is_some() {
                "this kind of `self` cannot be served: take `&self` or `&mut self`"
            } else {
                "`self` by value cannot be served: take `&self` or `&mut self`"
            };
            mistakes.note(receiver, message);
            None
        }
    }
}

fn returns(signature: &Signature, mistakes: &mut Mistakes) -> Returns {
    let Some(ty) = types::returned(&signature.output) else {
        return Returns {
            shape: Shape::Nothing,
            span: signature.ident.span(),
        };
    };
    if types::is_impl_of(ty, "Future") {
        mistakes.note(
            ty,
            "write `async fn` with the type that comes of the future",
        );
    }
    let value = types::argument_of(ty, "Result").flatten().unwrap_or(ty);
    if types::last_segment(value).is_some_and(|segment| segment.ident == "Self") {
        let message = "a constructor cannot be served, because the object does not travel: mark it \
                       `#[private]`, or move it to an `impl` block without `#[expose]`";
        mistakes.note(ty, message);
    }
    let in_result = types::argument_of(ty, "Result").is_some();
    let shape = match (in_result, Items::of(value)) {
        (in_result, Some(of)) => Shape::Items { of, in_result },
        (true, None) if types::is_bytes(value) => Shape::ResultOfBytes,
        (true, None) => Shape::Result,
        (false, None) if types::is_bytes(ty) => Shape::Bytes,
        (false, None) => Shape::Value,
    };
    Returns {
        shape,
        span: ty.span(),
    }
}

fn check_reader(signature: &Signature, returns: &Returns, mistakes: &mut Mistakes) {
    let parameters = signature
        .inputs
        .iter()
        .filter(|input| matches!(input, FnArg::Typed(_)));
    for parameter in parameters {
        let message = "an attribute is read without arguments: remove the parameter, or remove \
                       `#[attr]` to expose a method";
        mistakes.note(parameter, message);
    }
    if returns.shape == Shape::Nothing {
        let message = "an attribute has a value: give the function a return type, or remove \
                       `#[attr]` to expose a method";
        mistakes.note(&signature.ident, message);
    }
}

fn check_writer(signature: &Signature, parameters: &[Parameter], mistakes: &mut Mistakes) {
    let [parameter] = parameters else {
        let message = "an attribute is written with one value: take exactly one parameter besides \
                       `self`";
        mistakes.note(&signature.ident, message);
        return;
    };
    if !matches!(parameter.source, Source::Required | Source::Optional) {
        let message = "an attribute is always written with one value: remove `#[default]`, \
                       `#[args]` or `#[kwargs]`";
        mistakes.note(&parameter.ident, message);
    }
}

impl Exposure {
    /// Adds the function to the members: alone, or as the other half of an attribute.
    fn join(self, members: &mut Vec<Member>, mistakes: &mut Mistakes) {
        let Self {
            name,
            span,
            access,
            cfgs,
            function,
        } = self;
        // Two functions with different conditions are taken for alternatives, as in Rust.
        let same = members.iter_mut().find(|member| {
            member.name == name
                && (member.cfgs == cfgs || member.cfgs.is_empty() || cfgs.is_empty())
        });
        let Some(same) = same else {
            let kind = match access {
                None => Kind::Method(function),
                Some(Access::Read) => Kind::Attribute {
                    read: Some(function),
                    write: None,
                },
                Some(Access::Write) => Kind::Attribute {
                    read: None,
                    write: Some(function),
                },
            };
            members.push(Member { name, cfgs, kind });
            return;
        };
        let half = match (&mut same.kind, access) {
            (Kind::Attribute { read, .. }, Some(Access::Read)) => Some(read),
            (Kind::Attribute { write, .. }, Some(Access::Write)) => Some(write),
            _ => None,
        };
        let message = match half {
            Some(half) if half.is_none() && same.cfgs == cfgs => {
                *half = Some(function);
                return;
            }
            Some(half) if half.is_none() => {
                "an attribute is read and written under one condition: give both functions the \
                 same `#[cfg]`"
                    .to_owned()
            }
            _ => format!(
                "`{name}` is exposed twice: give one of the two another name with \
                 `#[rename = \"..\"]`, or mark it `#[private]`"
            ),
        };
        mistakes.note_at(span, message);
    }
}

impl Member {
    /// The functions behind it.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &Function> {
        let (first, second) = match &self.kind {
            Kind::Method(function) => (Some(function), None),
            Kind::Attribute { read, write } => (read.as_ref(), write.as_ref()),
        };
        first.into_iter().chain(second)
    }
}

fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .cloned()
        .collect()
}
