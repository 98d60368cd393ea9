//! From the model to the code: take the lock, then run the body.
//!
//! What is generated has the hygiene of the macro ([`Span::mixed_site`]), so that the body sees none
//! of its names. Only what says where it is called from, as the taking of a lock does for reports,
//! stands at the name of the function, as if the user had written it there.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ExprReference, Ident, Token};

use super::Home;
use super::parse::{Body, Head, Lock, Mode, Otherwise, Synchronized};
use crate::name;

/// The function with the lock around its body.
///
/// Nothing of the body outlives the lock, in the older editions neither:
///
/// ```edition2021
/// use antifreeze_sync::{LockError, Mutex, synchronized};
///
/// static LOCK: Mutex<()> = Mutex::new(());
///
/// struct Temporary;
///
/// impl Temporary {
///     fn number(&self) -> Result<u32, LockError> {
///         Ok(1)
///     }
/// }
///
/// impl Drop for Temporary {
///     fn drop(&mut self) {
///         assert!(LOCK.is_locked());
///     }
/// }
///
/// #[synchronized(LOCK)]
/// fn last_expression() -> Result<u32, LockError> {
///     Temporary.number()
/// }
///
/// assert_eq!(last_expression()?, 1);
/// # Ok::<(), LockError>(())
/// ```
pub(crate) fn expand(synchronized: &Synchronized, home: Home) -> TokenStream {
    let Head {
        attributes,
        visibility,
        signature,
    } = &synchronized.head;
    let Body {
        attributes: inner_attributes,
        statements,
        span,
    } = &synchronized.body;
    let here = Span::mixed_site();
    let lock = lock(synchronized, home);
    let taken = taken(synchronized, home);
    let otherwise = otherwise(synchronized, home);
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned! {here=>
            #(#inner_attributes)*
            let lock = #lock;
            let _guard = match #taken {
                ::core::result::Result::Ok(guard) => guard,
                ::core::result::Result::Err(error) => #otherwise,
            };
            #statements
        },
    );
    // The braces belong to this crate's edition, in which what is temporary in the last expression
    // does not outlive the variables, and so not the guard. Before 2024 it did.
    block.set_span(here.located_at(*span));
    quote!(#(#attributes)* #visibility #signature #block)
}

/// A reference to what is locked.
fn lock(synchronized: &Synchronized, home: Home) -> TokenStream {
    let here = Span::mixed_site();
    match &synchronized.lock {
        Lock::Field(this) => {
            // The user's `self`, but if it has no such field, the attribute is to blame.
            let mut this = *this;
            this.span = this.span.located_at(Span::call_site());
            let field = Ident::new("lock", Span::call_site());
            quote_spanned!(here=> &#this.#field)
        }
        Lock::Named(lock) => {
            let reference = ExprReference {
                attrs: Vec::new(),
                and_token: Token![&](here),
                mutability: None,
                expr: lock.clone(),
            };
            quote!(#reference)
        }
        Lock::Own => {
            let ident = &synchronized.head.signature.ident;
            let home_here = home(here);
            let home_there = home(ident.span());
            let name = format!("::{}", name::of(ident));
            let name = quote_spanned!(here=> ::core::concat!(::core::module_path!(), #name));
            let new = quote_spanned!(ident.span()=> #home_there::Mutex::named(#name, ()));
            quote_spanned! {here=> {
                static LOCK: #home_here::Mutex<()> = #new;
                &LOCK
            }}
        }
    }
}

/// The call that takes the lock.
fn taken(synchronized: &Synchronized, home: Home) -> TokenStream {
    let signature = &synchronized.head.signature;
    let is_async = signature.asyncness.is_some();
    let (kind, function) = match (synchronized.mode, is_async) {
        (Mode::Exclusive, false) => ("Mutex", "lock"),
        (Mode::Exclusive, true) => ("Mutex", "lock_async"),
        (Mode::Read, false) => ("RwLock", "read"),
        (Mode::Read, true) => ("RwLock", "read_async"),
        (Mode::Write, false) => ("RwLock", "write"),
        (Mode::Write, true) => ("RwLock", "write_async"),
    };
    // If it is another kind of lock, or none at all, the compiler points at what was named.
    let named = match &synchronized.lock {
        Lock::Named(lock) => lock.span(),
        Lock::Field(_) | Lock::Own => Span::call_site(),
    };
    let lock = Ident::new("lock", Span::mixed_site().located_at(named));
    let place = signature.ident.span();
    let home = home(place);
    let kind = Ident::new(kind, place);
    let function = Ident::new(function, place);
    let wait = is_async.then(|| quote!(.await));
    quote_spanned!(place=> #home::#kind::#function(#lock) #wait)
}

/// What is done with the error of the lock.
fn otherwise(synchronized: &Synchronized, home: Home) -> TokenStream {
    let here = Span::mixed_site();
    let error = Ident::new("error", here);
    match synchronized.otherwise {
        Otherwise::Return(place) => {
            // If it does not fit, the compiler points at the type that it should fit into.
            let place = here.located_at(place);
            let home = home(place);
            let refused = quote_spanned!(place=> #home::__private::refused(#error));
            quote_spanned!(here=> return #refused)
        }
        Otherwise::Panic => {
            let place = synchronized.head.signature.ident.span();
            let home = home(place);
            quote_spanned!(place=> #home::__private::panic(#error))
        }
    }
}
