//! From the function to the model: which lock, how it is taken, and what happens without it.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, GenericArgument, Ident, Item, Lit, PathArguments, ReturnType,
    Signature, Token, Type, Visibility,
};

use crate::diagnostics::Mistakes;
use crate::types;

/// A function and its lock, understood.
pub(crate) struct Synchronized {
    pub(crate) head: Head,
    pub(crate) body: Body,
    pub(crate) lock: Lock,
    pub(crate) mode: Mode,
    pub(crate) otherwise: Otherwise,
}

/// A function up to its body.
pub(crate) struct Head {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
}

/// The body of a function, which is not looked into.
pub(crate) struct Body {
    /// The attributes at its beginning, `#![..]`.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) statements: TokenStream,
    pub(crate) span: Span,
}

/// What is locked.
#[derive(Debug)]
pub(crate) enum Lock {
    /// The field `lock` of this `self`.
    Field(Token![self]),
    /// What the user named.
    Named(Box<Expr>),
    /// A lock that only this function knows.
    Own,
}

/// How the lock is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Exclusive,
    Read,
    Write,
}

/// What happens if the lock cannot be had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Otherwise {
    /// The error is returned, if what stands here can carry it.
    Return(Span),
    Panic,
}

pub(crate) fn parse(
    arguments: TokenStream,
    item: TokenStream,
    mistakes: &mut Mistakes,
) -> Option<Synchronized> {
    let Definition { head, body } = match syn::parse2(item.clone()) {
        Ok(definition) => definition,
        Err(error) => {
            match syn::parse2(item) {
                Ok(item) => note_other(&item, mistakes),
                Err(_) => mistakes.note_error(error),
            }
            return None;
        }
    };
    let before = mistakes.count();
    let arguments = Arguments::read(arguments, mistakes);
    let signature = &head.signature;
    refuse_unlockable(&head, mistakes);
    if body.is_none() {
        let message = "there is no body here that could run: write `#[synchronized]` where the \
                       function has its body";
        mistakes.note(&signature.ident, message);
    }
    let otherwise = match arguments.panic {
        Some(_) => Otherwise::Panic,
        None => Otherwise::Return(carrier(signature, arguments.lock.is_some(), mistakes)),
    };
    let lock = match (arguments.lock, signature.receiver()) {
        (Some(lock), _) => Lock::Named(Box::new(lock)),
        (None, Some(receiver)) => Lock::Field(receiver.self_token),
        (None, None) => Lock::Own,
    };
    let mode = match arguments.mode {
        None => Mode::Exclusive,
        Some(word) if matches!(lock, Lock::Own) => {
            let message = format!(
                "a function's own lock is known to nobody else, so there are no others to share \
                 it with: name an `RwLock`, as in `#[synchronized({word}, LOCK)]`"
            );
            mistakes.note(word, message);
            return None;
        }
        Some(word) if word == "read" => Mode::Read,
        Some(_) => Mode::Write,
    };
    if mistakes.count() > before {
        return None;
    }
    Some(Synchronized {
        head,
        body: body?,
        lock,
        mode,
        otherwise,
    })
}

/// A function, or the declaration of one.
struct Definition {
    head: Head,
    body: Option<Body>,
}

impl Parse for Definition {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let head = Head {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
        };
        let body = match input.parse::<Option<Token![;]>>()? {
            Some(_) => None,
            None => Some(input.parse()?),
        };
        Ok(Self { head, body })
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let content;
        let braces = syn::braced!(content in input);
        Ok(Self {
            attributes: content.call(Attribute::parse_inner)?,
            statements: content.parse()?,
            span: braces.span.join(),
        })
    }
}

/// What stands in the parentheses of the attribute.
#[derive(Default)]
struct Arguments {
    mode: Option<Ident>,
    panic: Option<Ident>,
    lock: Option<Expr>,
}

/// One of the things in the parentheses.
enum Argument {
    Word(Ident),
    Lock(Expr),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        let word = ahead.call(Ident::parse_any);
        if let Ok(word) = word
            && ["read", "write", "panic"].iter().any(|known| word == known)
            && (ahead.is_empty() || ahead.peek(Token![,]))
        {
            return Ok(Self::Word(input.call(Ident::parse_any)?));
        }
        input.parse().map(Self::Lock)
    }
}

impl Arguments {
    fn read(tokens: TokenStream, mistakes: &mut Mistakes) -> Self {
        let mut arguments = Self::default();
        let list = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens.clone());
        let Ok(list) = list else {
            let message = "write `#[synchronized]`, or the lock, as in `#[synchronized(LOCK)]`";
            mistakes.note(tokens, message);
            return arguments;
        };
        for argument in list {
            match argument {
                Argument::Word(word) if word == "panic" => match arguments.panic {
                    None => arguments.panic = Some(word),
                    Some(_) => mistakes.note(word, "`panic` stands here twice: remove one"),
                },
                Argument::Word(word) => match arguments.mode {
                    None => arguments.mode = Some(word),
                    Some(_) => mistakes.note(word, "write either `read` or `write`, once"),
                },
                Argument::Lock(lock) => arguments.read_lock(lock, mistakes),
            }
        }
        arguments
    }

    fn read_lock(&mut self, lock: Expr, mistakes: &mut Mistakes) {
        let advice = match &lock {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => format!("write the lock itself: `#[synchronized({})]`", text.value()),
            Expr::Lit(_) => "write the lock: `#[synchronized(LOCK)]`".to_owned(),
            Expr::Assign(_) => "write only the lock: `#[synchronized(LOCK)]`".to_owned(),
            _ if self.lock.is_some() => {
                "a function holds one lock: write `#[synchronized(LOCK)]`, with `read`, `write` \
                 and `panic` before the lock; take a second lock in the body"
                    .to_owned()
            }
            _ => {
                self.lock = Some(lock);
                return;
            }
        };
        mistakes.note(&lock, advice);
        // Which one was meant does not matter now, only that one was named.
        self.lock = Some(lock);
    }
}

/// Says what to do if the attribute stands on something that does not run.
fn note_other(item: &Item, mistakes: &mut Mistakes) {
    let each = "`#[synchronized]` stands on a function: write it on each one that should hold the \
                lock";
    match item {
        Item::Impl(block) => mistakes.note(block.impl_token, each),
        Item::Trait(block) => mistakes.note(block.trait_token, each),
        Item::Struct(item) => {
            let message = "`#[synchronized]` stands on a function: give the struct a field `lock: \
                           Mutex<()>`, and write the attribute on its methods";
            mistakes.note(item.struct_token, message);
        }
        _ => {
            let message = "`#[synchronized]` stands on a function: `#[synchronized] fn pay() -> \
                           Result<(), LockError> { .. }`";
            mistakes.note(item, message);
        }
    }
}

fn refuse_unlockable(head: &Head, mistakes: &mut Mistakes) {
    if let Some(keyword) = &head.signature.constness {
        let message = "a `const fn` may run in the compiler, where nobody can wait for a lock: \
                       remove `const`";
        mistakes.note(keyword, message);
    }
    for attribute in &head.attributes {
        let last = attribute.path().segments.last();
        if last.is_some_and(|segment| segment.ident == "synchronized") {
            let message = "a function holds one lock, because the order of two matters: take the \
                           second one in the body";
            mistakes.note(attribute, message);
        }
    }
    if let ReturnType::Type(_, ty) = &head.signature.output
        && returns_future(ty)
    {
        let message = "this returns a future, which runs when the lock is free again: write \
                       `async fn`, or take the lock inside the future";
        mistakes.note(ty, message);
    }
}

/// Where in the return type the error of the lock goes. Whether it fits, the compiler finds out, and
/// complains there.
fn carrier(signature: &Signature, named: bool, mistakes: &mut Mistakes) -> Span {
    let example = if named { "panic, LOCK" } else { "panic" };
    let advice = format!(
        "getting the lock can fail: return a `Result` whose error is `From<LockError>`, or write \
         `#[synchronized({example})]` to panic then"
    );
    let ReturnType::Type(_, ty) = &signature.output else {
        mistakes.note(&signature.ident, advice);
        return signature.ident.span();
    };
    match types::last_segment(ty) {
        Some(name) if name.ident == "Result" => error_type(&name.arguments).unwrap_or(ty).span(),
        Some(name) if name.ident.to_string().contains("Result") => ty.span(),
        // Why this one is wrong is told already.
        _ if returns_future(ty) => ty.span(),
        _ => {
            mistakes.note(ty, advice);
            ty.span()
        }
    }
}

/// The `E` of `Result<T, E>`.
fn error_type(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return None;
    };
    let mut types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.nth(1)
}

/// Whether the function only makes what others run later. `async_trait` rewrites functions so.
fn returns_future(ty: &Type) -> bool {
    let named =
        types::last_segment(ty).is_some_and(|name| name.ident.to_string().ends_with("Future"));
    let pinned = types::argument_of(ty, "Pin")
        .flatten()
        .and_then(types::last_segment);
    named || types::is_impl_of(ty, "Future") || pinned.is_some_and(|name| name.ident == "Box")
}
