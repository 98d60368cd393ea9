//! `#[proxy]`: a trait that describes a remote object becomes a struct that calls it.
//!
//! [`parse`] turns the trait into a model and notes every mistake; [`expand`] turns the model into
//! the struct. The struct is emitted with the methods that are right even if others are not, so
//! that one mistake does not make the whole proxy disappear.

mod expand;
mod parse;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Item;

use crate::diagnostics::Mistakes;

/// What the macro emits, apart from its mistakes.
pub(crate) fn proxy(arguments: TokenStream, item: TokenStream) -> (TokenStream, Mistakes) {
    let mut mistakes = Mistakes::default();
    let name = parse::chosen_name(arguments, &mut mistakes);
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Trait(item)) => {
            let described = parse::parse(item, name, &mut mistakes);
            (expand::expand(&described), mistakes)
        }
        Ok(item) => {
            let message = "`#[proxy]` stands on a trait: `#[proxy] trait Account { .. }`";
            mistakes.note(&item, message);
            (item.into_token_stream(), mistakes)
        }
        Err(error) => {
            mistakes.note_error(error);
            (item, mistakes)
        }
    }
}
