//! `#[synchronized]`: a function that holds a lock while it runs.
//!
//! [`parse`] reads the function up to its body, and notes every mistake; [`expand`] puts the taking
//! of the lock before the body, which stays as it is. A function with a mistake is emitted as it was
//! written, so that its callers still find it.

mod expand;
mod parse;
#[cfg(test)]
mod tests;

use proc_macro2::{Span, TokenStream};

use crate::diagnostics::Mistakes;

/// The path at which the user's crate finds the locks, written at a place.
pub(crate) type Home = fn(Span) -> TokenStream;

/// What the macro emits, apart from its mistakes.
pub(crate) fn synchronized(
    arguments: TokenStream,
    item: TokenStream,
    home: Home,
) -> (TokenStream, Mistakes) {
    let mut mistakes = Mistakes::default();
    let output = match parse::parse(arguments, item.clone(), &mut mistakes) {
        Some(synchronized) => expand::expand(&synchronized, home),
        None => item,
    };
    (output, mistakes)
}
